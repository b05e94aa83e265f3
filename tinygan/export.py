"""python -m tinygan.export RUN generator.onnx: a trained network for other tools, as an ONNX graph
or, as generator.safetensors, its weights alone, which PyTorch loads into the same layers.

RUN is the folder of a training run, or one of its checkpoints (RUN/best.npz). Which network it is,
the file's name tells, or --part: generator or discriminator, decoder or encoder; without either it
is the one that samples are drawn from. Weights are the moving average that samples are drawn from,
where there is one, or with --last those of the last step. In code: `train.load` and `tinygan.io`.
Only what this command made before, and nobody changed, is replaced: a file holds its own SHA-256.
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from . import __version__, files, io, nn
from .cli import Parser, run
from .data import DataError
from .models.labels import chosen, joined
from .train import load

PARTS = {"generator": "images", "decoder": "images", "discriminator": "logits", "encoder": "mean"}
SUFFIXES = ".onnx", ".safetensors"
SEAL = re.compile(rb"sha256:([0-9a-f]{64})")  # of the file with zeros in its place
UNSEALED = "0" * 64


class Drawing(nn.Module):
    """What makes images in [-1, 1], or points, of noise (n, latent), and labels (n,) if it was
    taught any.
    """

    inputs = "noise"

    def __init__(self, name, network, model):
        setattr(self, name, network)  # by which its weights are called
        self.outputs = [_kind(model)]
        self.name, self.classes = name, _rows(model)
        self.image = model.likelihood.image if name == "decoder" else lambda samples: samples
        self.example = np.zeros((1, model.latent), np.float32)

    def forward(self, noise, labels=None):
        network = getattr(self, self.name)
        points = noise if labels is None else joined(noise, self.classes(labels))
        return self.image(network(points))


class Looking(nn.Module):
    """What looks at images (n, ...) in [-1, 1], or at points, and labels (n,): a discriminator,
    which gives logits (n, 1), or an encoder: means and log variances, (n, latent) each.
    """

    def __init__(self, name, network, model):
        setattr(self, name, network)
        self.inputs = _kind(model)
        self.name, self.classes = name, _rows(model)
        encodes = name == "encoder"
        self.latent = model.latent if encodes else None
        self.outputs = ["mean", "log_variance"] if encodes else ["logits"]
        self.target = model.likelihood.target if encodes else lambda images: images
        self.example = np.zeros_like(model.sample(1))

    def forward(self, images, labels=None):
        out = getattr(self, self.name)(self.target(images))
        if labels is not None:
            out = chosen(out, self.classes(labels))
        return (out[:, : self.latent], out[:, self.latent :]) if self.latent else out


def _kind(model):
    """What a model's samples are called."""
    return "images" if len(model.sample_shape) == 3 else "points"


def _rows(model):
    """Labels as `labels.one_hot` has them, in terms that a graph knows; None without classes."""
    if not model.classes:
        return None
    rows = nn.Embedding(model.classes, model.classes)
    rows.weight.data[...] = np.eye(model.classes)
    return rows


def main():
    """Load, choose, write."""
    args = arguments()
    check(args.out)
    model = load(args.run)
    name, network = part(args, model)
    write = _graph if args.out.suffix == ".onnx" else _weights
    try:
        with files.replacing(args.out) as temporary:
            words = write(temporary, name, network, model, described(args, model, name))
            temporary.write_bytes(sealed(temporary.read_bytes()))
        print(f"{args.out}: {words}")
    except (ImportError, io.ExportError) as e:
        raise DataError(f"{args.out}: {e}") from None


def _graph(path, name, network, model, words):
    """Write an ONNX graph; what it takes and gives."""
    whole = (Drawing if PARTS[name] == "images" else Looking)(name, network, model)
    names, examples = [whole.inputs], [whole.example]
    if model.classes:
        names.append("labels")
        examples.append(np.zeros(1, np.int64))
    named = {"input_names": names, "output_names": whole.outputs}
    io.export_onnx(whole, examples, path, **named, metadata=words)
    shapes = [str(a.shape).replace("1", "n", 1) for a in examples]
    taken = " and ".join(f"{name} {shape}" for name, shape in zip(names, shapes))
    return f"takes {taken}, gives {' and '.join(whole.outputs)}"


def _weights(path, name, network, model, words):
    """Write weights alone; how many they are."""
    if model.classes and PARTS[name] == "images":
        k = model.classes
        rows = f"(n, {k}): sqrt({k}) at the class, 0 elsewhere"
        words["input"] = f"noise (n, {model.latent}) beside {rows}"
    io.save_safetensors(path, network, words)
    count = sum(a.size for a in network.state_dict().values())
    return f"{name}, {count} numbers by the names of its layers"


def parts(model, last):
    """{name: network}, first the one that samples are drawn from."""
    if hasattr(model, "encode"):
        both = model.network if last else model.average
        return {"decoder": both.decoder, "encoder": both.encoder}
    if hasattr(model, "tokenizer"):
        raise DataError(
            f"{type(model).__name__}: makes no samples of noise; in code io.export_onnx, or "
            "io.save_safetensors(path, model.network), write its network"
        )
    if not hasattr(model, "generator"):
        raise DataError(
            f"{type(model).__name__}: its samples take many calls of its network, which no file "
            "here holds; in code io.save_safetensors(path, model.average) writes its weights"
        )
    drawing = model.generator if last else model.average
    return {"generator": drawing, "discriminator": model.discriminator}


def part(args, model):
    """The part that was asked for, by --part or by the file's name: its name and network."""
    there = parts(model, args.last)
    name = args.part or args.out.stem
    if args.part is None and name not in PARTS:
        name = next(iter(there))
    if name not in there:
        raise DataError(f"{args.run}: has no {name}; --part is one of {', '.join(there)}")
    return name, there[name]


def described(args, model, name):
    """What a file says of itself; `model` is the recipe of which models.build makes it."""
    words = {"made_by": f"tinygan {__version__}", "part": name, "seal": f"sha256:{UNSEALED}"}
    averaged = not args.last and name != "discriminator"
    words["weights"] = "moving average" if averaged else "last step"
    words["model"] = json.dumps(model.recipe)
    return words


def check(out):
    """DataError if something is there that was not made here."""
    if not out.exists():
        return
    if not out.is_file():
        raise DataError(f"{out}: is no file; take another name")
    content = out.read_bytes()
    if not SEAL.search(content) or sealed(content) != content:
        raise DataError(
            f"{out}: was not made here, or was changed, and is not replaced; take another name"
        )


def sealed(content):
    """A file's bytes with the SHA-256 of the rest of them where its metadata has a place for it."""
    empty = SEAL.sub(f"sha256:{UNSEALED}".encode(), content)
    seal = hashlib.sha256(empty).hexdigest().encode()
    return SEAL.sub(b"sha256:" + seal, content)


def arguments():
    """The command line."""
    parser = Parser("Write a trained network for other tools.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or one of its checkpoints")
    kinds = "NAME.onnx, a graph that other tools run, or NAME.safetensors, weights by name"
    add("out", type=Path, metavar="FILE", help=kinds)
    which = f"{', '.join(PARTS)} (default: as FILE is called, or what samples are drawn from)"
    add("--part", help=which)
    weights = "the weights of the last step, to train on, not their moving average"
    add("--last", action="store_true", help=weights)
    args = parser.parse_args()
    if args.out.suffix not in SUFFIXES:
        parser.error(f"FILE: {args.out} must end in {' or '.join(SUFFIXES)}")
    return args


if __name__ == "__main__":
    run(main)

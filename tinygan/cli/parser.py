"""The flags of a training run, their defaults, and what they were to a run that goes on."""

import argparse
import contextlib
import inspect
import sys
from pathlib import Path

from ..checkpoint import read_meta
from ..models import DIFFUSIONS, LOSSES
from ..models.options import OPTIONS
from ..ops.augment import changes
from ..train import TRACKERS
from ..train.run import LATEST, check_folder

MOST_SAMPLES = 1_000_000  # 784 MB of digits
# what `Parser.adversarial` adds
GAME = ("loss", "d_lr", "n_critic", "packing", "spectral", "minibatch_std", "r1", "r2")
GAME += ("smoothing",)
SIZED = ("dcgan", "upsample")  # GANs whose width can be chosen
# what `Parser.sampling` adds: how flows and diffusions make samples
SAMPLING = ("steps", "guidance", "method", "eta")
# and `Parser.diffusion`: these, and how they are made and learn
DIFFUSION = (*SAMPLING, "width", "hidden", "heads", "drop", "times", "coupling", "schedule")
DIFFUSION += ("predict", "timesteps")
# what `Parser.text` adds about a Transformer, and `Parser.writing` about how it writes
TEXT = ("context", "width", "depth", "heads", "dropout", "positions")
WRITING = ("temperature", "top_k", "top_p")
# what concerns only this call, and not the run that it makes or goes on with
PASSING = ("out", "device", "resume", "overwrite")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose help shows the defaults."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=_Formatter)
        self.only = {}  # the name of a flag's value -> the models that take it

    def training(
        self, models, *, model, epochs, batch_size, out, lr="the model's own", conditional=False,
        pictures=True,
    ):  # fmt: skip
        """Add the flags of a training run and their defaults; `epochs`, `batch_size` and `lr` say
        theirs in words. conditional: None for what has labels. pictures: whether it learns from
        those, of the user's choice.
        """
        add = self.add_argument
        if len(models) > 1:
            add("--model", choices=[*models], default=model, help="the networks")
        if pictures:
            teach = {"action": argparse.BooleanOptionalAction, "default": conditional}
            when = " (default: if the pictures have labels)" if conditional is None else ""
            add("--conditional", **teach, help=f"teach it which class is which{when}")
        places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
        add("--device", **places, help="auto: the GPU if one is usable")
        rounding = {"choices": ["float32", "tf32"], "default": "float32"}
        add("--precision", **rounding, help="of matrix products; tf32: faster, on a GPU only")
        off = "on a GPU, launch a step's kernels one by one and not as a CUDA graph"
        add("--no-capture", action="store_true", help=off)
        if pictures:
            self._data()
            self._judged()
        self.set_defaults(evaluate=0, samples=0)
        add("--epochs", type=number(int, 1), help=f"passes over the data (default: {epochs})")
        add("--batch-size", type=number(int, 2), help=f"samples a step (default: {batch_size})")
        add("--lr", type=number(float, 0), help=f"Adam's learning rate (default: {lr})")
        add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="of all randomness")
        self.folder(out)
        seen = "show the run in TensorBoard (`tensorboard --logdir OUT`) or W&B, or write log.csv"
        add("--track", choices=[*TRACKERS], help=seen)

    def adversarial(self, loss="non-saturating", gamma=1):
        """Add the flags about which game two networks play; `GAME` names them. loss: the game that
        the caller lets them play where none is named; gamma: the weights of r3gan's penalties.
        """
        add = self.add_argument
        games = f"the game that the networks play (default: {loss})"
        add("--loss", choices=[*LOSSES], help=games)
        add("--d-lr", type=number(float, 0), help="D's own learning rate (default: --lr's)")
        updates = "updates of D for each of G; an epoch has N times fewer steps (default: 1)"
        add("--n-critic", type=number(int, 1, 100), metavar="N", help=updates)
        packs = "D judges so many samples at once, as PacGAN's does (default: 1)"
        add("--packing", type=number(int, 1, 64), metavar="M", help=packs)
        bounded = "divide each of D's layers by its largest singular value"
        differs = "tell D's last layer how much the samples of a batch differ"
        add("--spectral", action="store_true", help=bounded)
        add("--minibatch-std", action="store_true", help=differs)
        slopes = "weight of the zero-centred penalty at {} samples "
        slopes += f"(default: 0; of r3gan, {gamma})"
        add("--r1", type=number(float, 0), metavar="GAMMA", help=slopes.format("real"))
        add("--r2", type=number(float, 0), metavar="GAMMA", help=slopes.format("fake"))
        sure = "real samples are real with probability 1 - S (default: 0)"
        add("--smoothing", type=number(float, 0, 0.5), metavar="S", help=sure)

    def width(self):
        """Add the width of those networks that have one to choose."""
        width = f"channels of the narrowest layer of {' or '.join(SIZED)} (default: 16)"
        self.add_argument("--width", type=number(int, 1, 1024), help=width)
        self.only["width"] = SIZED

    def sampling(self):
        """Add the flags about how flows and diffusions make samples; `SAMPLING` names them."""
        add = self.add_argument
        calls = "steps from noise to a sample, of ddpm at most as many as its noise has"
        add("--steps", type=number(int, 1, 10_000), metavar="N", help=calls + _own("steps"))
        told = "how much more than told samples are of their class; 1: no more" + _own("guidance")
        add("--guidance", type=number(float, 0, 100), metavar="W", help=told)
        solver = "how flow makes a step (default: heun, two calls of the network)"
        add("--method", choices=OPTIONS["method"], help=solver)
        fresh = "noise that ddpm adds in a step: 0, none, is DDIM, 1 is DDPM (default: 0)"
        add("--eta", type=number(float, 0, 1), metavar="E", help=fresh)
        self.only |= {"method": ("flow",), "eta": ("ddpm",)}

    def diffusion(self):
        """Add the flags about flows and diffusions, how they sample among them; `DIFFUSION` names
        them.
        """
        self.sampling()
        add = self.add_argument
        finest = "channels of the finest level (default: 32)"
        add("--width", type=number(int, 1, 1024), help=finest)
        whole = "features of the dense layer in the middle; 0: none (default: 256)"
        add("--hidden", type=number(int, 0, 8192), help=whole)
        add("--heads", type=number(int, 0, 64), help="of attention there (default: 0, none)")
        untold = "share of labels that it is not told (default: 0.1)"
        add("--drop", type=number(float, 0, 1), metavar="P", help=untold)
        add("--times", choices=OPTIONS["times"], help="when flow is taught (default: logit-normal)")
        noise = "which noise flow joins with which picture (default: independent)"
        add("--coupling", choices=OPTIONS["coupling"], help=noise)
        grows = "how ddpm's noise grows (default: cosine)"
        add("--schedule", choices=OPTIONS["schedule"], help=grows)
        said = "what ddpm's network says (default: v)"
        add("--predict", choices=OPTIONS["predict"], help=said)
        add("--timesteps", type=number(int, 1, 100_000), help="of ddpm's noise (default: 1000)")
        self.only |= {"times": ("flow",), "coupling": ("flow",)}
        self.only |= {"schedule": ("ddpm",), "predict": ("ddpm",), "timesteps": ("ddpm",)}

    def text(self, tokens="pairs", **sizes):
        """Add the flags about a text and the Transformer that reads it; `TEXT` names the latter.
        tokens and sizes: the defaults.
        """
        add = self.add_argument
        plays = "a text in UTF-8; bundled: eight plays by Shakespeare"
        add("--data", default="bundled", metavar="FILE", help=plays)
        kinds = {"choices": ["characters", "bytes", "pairs"], "default": tokens}
        add("--tokens", **kinds, help="what it is cut into; pairs: of bytes, learnt from the text")
        size = {"type": number(int, 256, 1 << 16), "default": 1024, "metavar": "N"}
        add("--vocabulary", **size, help="how many tokens there are of --tokens pairs")
        add("--context", type=number(int, 1, 1 << 14), help="tokens that it sees at a time")
        add("--width", type=number(int, 2, 1 << 14), help="features of each place")
        add("--depth", type=number(int, 1, 256), help="blocks")
        add("--heads", type=number(int, 1, 256), help="of each block's attention")
        add("--dropout", type=number(float, 0, 0.99), metavar="P", help="in training")
        places = {"choices": ["learnt", "rotary"], "default": "learnt"}
        add("--positions", **places, help="how places are told apart")
        self.set_defaults(**{"dropout": 0.0} | sizes)

    def writing(self, length):
        """Add the flags about how a language model writes, `length` tokens unless told otherwise;
        `WRITING` names how these are drawn.
        """
        add = self.add_argument
        add("--prompt", metavar="TEXT", help="what a text begins with (default: a line's end)")
        tokens = f"of a text, in tokens (default: {length})"
        add("--length", type=number(int, 0, 1 << 20), metavar="N", help=tokens)
        cold = "below 1 likely tokens become likelier, 0: always the likeliest (default: 1)"
        add("--temperature", type=number(float, 0, 1e30), metavar="T", help=cold)
        add("--top-k", type=number(int, 1), metavar="K", help="draw of the K likeliest tokens")
        most = "draw of the likeliest that have this much probability together"
        add("--top-p", type=number(float, 1e-6, 1), metavar="P", help=most)

    def _data(self):
        """The flags about pictures to learn from."""
        add = self.add_argument
        sets = (
            "bundled (10,000 digits); full, fashion, kmnist, emnist or cifar10, fetched once; a "
            "folder of pictures, whose folders are the classes; or a file, .npz, .npy or IDX"
        )
        add("--data", default="bundled", metavar="SET", help=sets)
        size = "make them N x N pixels (default: the set's own, if all are squares of one size up "
        size += "to 128; else 32)"
        add("--side", type=number(int, 8, 256), metavar="N", help=size)
        add("--colour", choices=["grey", "rgb"], help="make them that (default: as they are)")
        add("--fit", choices=["crop", "pad"], default="crop", help="how they become squares")
        behind = "the colour behind what is transparent, or beside what is padded"
        add("--background", default="white", metavar="COLOUR", help=behind)

    def folder(self, out):
        """Add the flags about a run's folder, `out` unless told otherwise."""
        add = self.add_argument
        where = "where everything is written"
        add("--out", type=Path, default=Path(out), metavar="DIR", help=where)
        again = "go on from the checkpoint in --out, with the flags of that run but for those given"
        begun = self.add_mutually_exclusive_group()
        begun.add_argument("--resume", action="store_true", help=again)
        anew = "begin anew in an --out that holds a run"
        begun.add_argument("--overwrite", action="store_true", help=anew)

    def _judged(self):
        """The flags about what is made of a trained model of pictures."""
        add = self.add_argument
        count = {"type": number(int, 0), "default": 0, "metavar": "N"}
        figures = "FID and coverage every N epochs, to be compared with each other only: they are "
        figures += "of all pictures, and tinygan.evaluate's of a part; best.npz is kept"
        add("--evaluate", **count, help=figures)
        count["type"] = number(int, 0, MOST_SAMPLES)
        add("--samples", **count, help="pictures to write to OUT/samples.npz at the end")

    def parse_args(self, args=None, namespace=None):
        """With --resume, what is not said is as it was said to the run that goes on."""
        found, was = super().parse_args(args, namespace), {}
        if getattr(found, "resume", False):
            if not (found.out / LATEST).exists():
                self.error(f"{found.out} holds no checkpoint: leave out --resume to begin")
            with contextlib.suppress(
                ValueError, KeyError, TypeError
            ):  # not said, or by an older one
                said = read_meta(found.out / LATEST)["notes"]["arguments"]
                known = [a for a in self._actions if a.dest in said and a.dest not in PASSING]
                was = {a.dest: _default(a, said[a.dest]) for a in known}
                self.set_defaults(**was)
            found = super().parse_args(args, namespace)
            if "model" in was and found.model != was["model"]:
                self.error(f"{found.out} is a run of --model {was['model']}: leave out --model")
        for name, models in self.only.items():
            given = getattr(found, name) is not None and hasattr(found, "model")
            if given and found.model not in models:
                self.error(f"--{name} is for --model {' or '.join(models)}, not {found.model}")
        if hasattr(found, "resume"):  # a training run: before anything is loaded for it
            check_folder(found.out, found.resume, found.overwrite)
        return found

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def policy(text):
    """An argument type: a policy of `ops.augment`; "none" is the empty one."""
    text = "" if text == "none" else text
    try:
        changes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _own(option):
    """What flows and diffusions have as an option unless it is chosen, in words."""
    made = {name: inspect.signature(build).parameters for name, build in DIFFUSIONS.items()}
    own = ", ".join(f"of {name} {known[option].default}" for name, known in made.items())
    return f" (default: the model's own; {own})"


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that no help has in words, but for None, and False, which goes without."""

    def _get_help_string(self, action):
        told = action.default is None or action.default is False or "(default" in action.help
        return action.help if told else super()._get_help_string(action)


def _default(action, value):
    """A value from a file as a default: it must be what could have been typed; else ValueError."""
    if value is None:
        typed = action.default is None
    elif isinstance(action, argparse.BooleanOptionalAction):
        typed = isinstance(value, bool)
    elif isinstance(value, bool) or isinstance(action.default, bool):
        typed = type(value) is type(action.default)
    elif action.choices:
        typed = value in action.choices
    else:
        typed = isinstance(value, str if action.type is None else str | int | float)
    if not typed:
        raise ValueError(f"{value} is no {action.dest}")
    return value if action.type is None or value is None else str(value)


def number(kind, least, most=None):
    """An argument type: a finite number of that kind, from `least` to `most` if there is one; a
    whole one has at most 31 bits, since what reckons with it may need a float.
    """
    limit = most or (2**31 - 1 if kind is int else sys.float_info.max)

    def parse(text):
        value = kind(text)
        if not least <= value <= limit:
            wanted = f"from {least} to {most}" if most else f"at least {least}"
            wanted = f"at most {limit}" if value > limit and not most else wanted
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text:.40}")
        return value

    parse.__name__ = kind.__name__
    return parse

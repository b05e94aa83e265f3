"""safetensors and PyTorch's files of weights: read and written as the libraries do, and hostile
ones refused in one line; `python -m tinygan.export`.
"""

import contextlib
import json
import os
import re
import struct
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygan import Tensor, checkpoint, cli, export, io, models, nn, no_grad, ops, random
from tinygan.data import DataError
from tinygan.testing import strategies

NUMBERS = "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@given(st.lists(strategies.arrays(), max_size=3), st.sampled_from(NUMBERS))
def test_arrays_come_back(tmp_path_factory, arrays, dtype):
    """Of every layout in memory, and every dtype; the reference implementation agrees."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    state = {f"{i}.é": a.astype(dtype) for i, a in enumerate(arrays)}
    state |= {f"{i}.view": a.astype(dtype).T[..., ::-1] for i, a in enumerate(arrays) if a.ndim}
    state |= {f"{i}.big": a.astype(a.dtype.newbyteorder(">")) for i, a in enumerate(arrays)}
    io.save_safetensors(path, state)
    with warnings.catch_warnings(action="ignore"):
        ours = io.load_safetensors(path)
    theirs = safetensors.load_file(path)
    assert ours.keys() == theirs.keys() == state.keys()
    for name, a in state.items():
        native = a.astype(a.dtype.newbyteorder("="))
        wide = native.astype(np.float32) if a.dtype == np.float16 else native
        assert same(theirs[name], native) and same(ours[name], wide)
        assert ours[name].flags.writeable
    safetensors.save_file({k: np.asarray(a, order="C") for k, a in state.items()}, path)
    with warnings.catch_warnings(action="ignore"):
        again = io.load(path)
    assert all(same(again[name], a) for name, a in ours.items())


def test_a_network_and_its_metadata(tmp_path):
    path = tmp_path / "net.safetensors"
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    io.save_safetensors(path, net, {"step": "3", "who": "mé"})
    assert io.read_metadata(path) == {"step": "3", "who": "mé"}
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(io.load(path))
    assert all(same(a, other.state_dict()[k]) for k, a in net.state_dict().items())
    io.save_safetensors(path, {"a": Tensor([1.0, 2.0])})
    assert io.read_metadata(path) == {} and same(io.load(path)["a"], np.float32([1, 2]))
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_bfloat16_and_half_become_float32_with_a_word(tmp_path):
    a = np.float32([1, -2.5, 3e38, np.inf])
    halves = (a.view(np.uint32) >> 16).astype("<u2").tobytes()
    path = written(
        tmp_path, {"a": ["BF16", [2, 2], 0, 8], "b": ["F16", [1], 8, 10]}, halves + b"\0<"
    )
    with pytest.warns(UserWarning, match="2 arrays of BF16 and F16 are read as float32$"):
        found = io.load(path)
    exact = (a.view(np.uint32) & 0xFFFF0000).view(np.float32).reshape(2, 2)
    assert same(found["a"], exact) and same(found["b"], np.float32([1]))


def test_a_byte_that_is_no_bool_is_true(tmp_path):
    found = io.load(written(tmp_path, {"a": ["BOOL", [3], 0, 3]}, b"\0\1\7"))["a"]
    assert found.dtype == bool and found.view(np.uint8).tolist() == [0, 1, 1]


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    io.save_safetensors(path, {"a": np.zeros(2)})
    before = path.read_bytes()
    ones = np.ones(2)
    for wrong in ({"a": 1j * ones}, {"a": [1]}, {"a": None}, {3: ones}, {"__metadata__": ones}):
        with pytest.raises(TypeError, match="save_safetensors: .*a|3"):
            io.save_safetensors(path, wrong)
    for wrong in ({"\ud800": ones}, {b"a": ones}):
        with pytest.raises(TypeError, match="is no name of an array"):
            io.save_safetensors(path, wrong)
    for wrong in ({"step": 3}, {3: "step"}, {"a": "\ud800"}, [("a", "b")], "text"):
        with pytest.raises(TypeError, match="metadata must be text"):
            io.save_safetensors(path, {}, wrong)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_what_is_saved_is_loaded_however_long_its_header(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    weights, metadata = {"x" * 5_000_000: np.ones(1)}, {"config": "y" * 5_000_000}
    io.save_safetensors(path, weights, metadata)
    assert io.load(path).keys() == weights.keys() and io.read_metadata(path) == metadata
    before = path.read_bytes()
    monkeypatch.setattr(io.safetensors, "HEADER", 9_000_000)
    with pytest.raises(ValueError, match="names and metadata of 100.* may have 9000000"):
        io.save_safetensors(path, weights, metadata)
    assert path.read_bytes() == before
    with pytest.raises(DataError, match="a header of 100.* bytes: it may have 9000000"):
        io.load(path)


def written(folder, entries, body=b"", length=None, metadata=None):
    """A file of such a header: {name: [dtype, shape, start, end]}, or bytes."""
    header = entries
    if not isinstance(entries, bytes):
        keys = lambda e: {"dtype": e[0], "shape": e[1], "data_offsets": e[2:]}
        header = {name: keys(e) for name, e in entries.items()}
        header |= {} if metadata is None else {"__metadata__": metadata}
        header = json.dumps(header).encode()
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)
    return path


EIGHT = b"\0" * 8
HOSTILE = {
    "a header of 2**64": ({}, b"", 2**64 - 1),
    "a header of 5 MB": ({}, b" " * 5_000_000, 5_000_000),
    "a header of 101 MB": ({}, b"", 101_000_000),
    "no JSON": (b"nonsense",),
    "no UTF-8": (b"{\"\xff\": 1}",),
    "nested": (b'{"a":' * 100_000,),
    "twice": (b'{"a": 1, "a": 1}',),
    "a byte more": ({"a": ["F32", [2], 0, 8]}, EIGHT + b"x"),
    "a byte less": ({"a": ["F32", [2], 0, 8]}, EIGHT[:7]),
    "overlap": (
        {"a": ["F32", [2], 0, 8], "b": ["F32", [2], 0, 8]},
        EIGHT,
    ),
    "gap": (
        {"a": ["U8", [2], 0, 2], "b": ["U8", [2], 6, 8]},
        EIGHT,
    ),
    "another size": ({"a": ["F32", [3], 0, 8]}, EIGHT),
    "overflow": ({"a": ["F32", [1 << 40, 1 << 40], 0, 0]},),
    "negative": ({"a": ["F32", [-2], 0, -8]}, EIGHT),
    "true": ({"a": ["F32", [True, 2], 0, 8]}, EIGHT),
    "huge": ({"a": ["F32", [0, 10**30], 0, 0]},),
    "65 dimensions": ({"a": ["U8", [1] * 65, 0, 1]}, b"\0"),
    "F8": ({"a": ["F8_E4M3", [8], 0, 8]}, EIGHT),
    "empty entry": (b'{"a": {}}',),
    "no entry": (b'{"a": 3}',),
    "no dict": (b"[1]",),
    "metadata": ({}, b"", None, {"a": 3}),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path, what):
    path = written(tmp_path, *HOSTILE[what])
    with pytest.raises(DataError, match=f"^{path}: not a whole .safetensors [^\\n]*") as e:
        io.load(path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 400
    with contextlib.suppress(DataError):  # nothing else; of an array's kind it says nothing
        io.read_metadata(path)


def test_no_file_of_weights(tmp_path):
    path = tmp_path / "a.safetensors"
    for name in ("a.safetensors", "a.pt"):
        with pytest.raises(DataError, match="No such file|is not there"):
            io.load(tmp_path / name)
    (tmp_path / "b.safetensors").mkdir()
    os.mkfifo(tmp_path / "c.safetensors")
    for name in "bc":
        with pytest.raises(DataError, match="is not a regular file"):
            io.load(tmp_path / f"{name}.safetensors")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not a whole .safetensors"):
        io.load(path)
    with pytest.raises(DataError, match=r"none of the files .* \['.safetensors', '.pt', '.pth'\]"):
        io.load(tmp_path / "a.npz")
    io.save_safetensors(path, {"a": np.zeros(3)})
    with pytest.raises(DataError, match="bytes, more than the 20 allowed"):
        io.load_safetensors(path, limit=20)


@given(st.data())
def test_damage_is_one_line_or_the_arrays(tmp_path_factory, data):
    """Whatever a flipped byte, or a cut, makes of a file."""
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    io.save_safetensors(path, {"a": np.arange(3.0), "b": np.ones((2, 1), np.int8)}, {"k": "v"})
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] or whole)
    try:
        with warnings.catch_warnings(action="ignore"):
            io.load(path)
    except DataError as e:
        assert "\n" not in str(e)


# PyTorch


def twin(torch, width=16, latent=64):
    """models.dcgan's generator, as PyTorch has it."""
    t = torch.nn
    return t.Sequential(
        t.Linear(latent, 4 * width * 49), t.BatchNorm1d(4 * width * 49), t.ReLU(),
        t.Unflatten(1, (4 * width, 7, 7)),
        t.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
        t.BatchNorm2d(2 * width), t.ReLU(),
        t.ConvTranspose2d(2 * width, 1, 4, stride=2, padding=1), t.Tanh(),
    )  # fmt: skip


def test_pytorchs_twin_gives_the_same_both_ways(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "a.safetensors"
    ours, theirs = models.dcgan().generator, twin(torch)
    for name, a in ours.state_dict().items():
        if name.endswith("var"):
            a[...] = np.random.default_rng(1).uniform(0.5, 2, a.shape)
    z = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)

    def agree(tolerance=2e-6):
        with no_grad(), torch.no_grad():
            a, b = ours.eval()(Tensor(z)).data, theirs.eval()(torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(a, b, atol=tolerance)

    io.save_safetensors(path, ours)
    theirs.load_state_dict(safetensors.load_file(path))
    agree()
    theirs = twin(torch)
    safetensors.save_model(theirs, str(path))
    ours.load_state_dict(io.load(path))
    agree()
    for suffix in ("pt", "pth"):
        theirs = twin(torch)
        torch.save(theirs.state_dict(), tmp_path / f"a.{suffix}")
        ours.load_state_dict(io.load(tmp_path / f"a.{suffix}"))
        agree()
    theirs.bfloat16()
    torch.save({"G": theirs.state_dict(), "epoch": 3}, tmp_path / "a.pt")
    with pytest.warns(UserWarning, match="14 arrays of torch.bfloat16 are read as float32"):
        ours.load_state_dict(io.load_torch(tmp_path / "a.pt", "G"))
    theirs.float()
    agree()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_pytorchs_files_are_looked_at(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"

    def refused(words, key=None, **options):
        with pytest.raises(DataError, match=f"^{path}: [^\\n]*{words}[^\\n]*$"):
            io.load_torch(path, key, **options)

    for words, saved in {
        "holds no state dict, but str": "text",
        r"but \['G', 'epoch'\]; load_torch\(path, key\)": {"G": {}, "epoch": 3},
        "'epoch' is no array of real numbers": {"epoch": 3},
        "'z' is no array": {"z": torch.zeros(2, dtype=torch.complex64)},
        "'s' is no array": {"s": torch.eye(2).to_sparse()},
        "'m' is no array": {"m": torch.empty(2, device="meta")},
        "'f' is no array": {"f": torch.zeros(2).to(torch.float8_e4m3fn)},
        "'n' is no array": {"n": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])},
        "4000000000000 bytes": {"e": torch.zeros(1).expand(10**6, 10**6)},
        "PyTorch reads no weights there": {"f": print},
    }.items():
        torch.save(saved, path)
        refused(words)
    torch.save({"G": {"w": torch.ones(2, requires_grad=True)}}, path)
    assert same(io.load_torch(path, "G")["w"], np.ones(2, np.float32))
    refused("no state dict by the name 'D'", "D")
    refused("8 bytes of arrays", "G", limit=7)
    assert io.load_torch(path, "G", limit=8).keys() == {"w"}
    torch.save({"w": torch.tensor([1 + 2j]).conj().imag}, path)
    assert same(io.load_torch(path)["w"], np.float32([-2]))
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[:100], whole[:-100]):
        path.write_bytes(damaged)
        refused("PyTorch reads no weights there")


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pt").touch()
    with pytest.raises(ImportError, match="^load_torch: needs PyTorch .pip install torch."):
        io.load(tmp_path / "a.pt")


# python -m tinygan.export


@pytest.fixture
def exported(monkeypatch, capsys):
    """exported(*arguments): the exit code and what was printed, one line."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["export", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            cli.run(export.main)
        out, err = capsys.readouterr()
        assert (out + err).count("\n") == 1
        return done.value.code or 0, (out + err).strip()

    return call


def trained(folder, family="gan", name="dcgan", **options):
    """A run's folder, and its model after a step."""
    random.manual_seed(1)
    model = models.build({"family": family, "model": name, "latent": 5, **options})
    images = np.tanh(random.default.normal((8, *model.sample(1).shape[1:])))
    labels = np.arange(8) % model.classes if model.classes else None
    model.step((images, labels) if model.classes else images)
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder / "checkpoint.npz", model.parts(), {"step": 1, "model": model.recipe})
    return model


@pytest.mark.parametrize("classes, colour", [(0, {}), (10, {"side": 16, "channels": 3})])
@pytest.mark.parametrize("family, name", [("gan", "dcgan"), ("vae", "conv")])
def test_what_others_run_is_what_the_model_does(tmp_path, exported, family, name, classes, colour):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    model = trained(tmp_path / "run", family, name, classes=classes, **colour)
    images = np.tanh(random.default.normal((7, *model.sample(1).shape[1:])))
    noise, labels = model.noise(7), np.array([3, 1, 4, 1, 5, 9, 2]) if classes else None

    def agree(file, *wanted, flags=()):
        code, words = exported(tmp_path / "run", tmp_path / file, *flags)
        assert code == 0, words
        session = ort.InferenceSession(tmp_path / file)
        said = session.get_modelmeta().custom_metadata_map
        assert json.loads(said["model"]) == model.recipe and "made_by" in said
        given = {"noise": noise, "images": images, "labels": labels}
        given = {i.name: given[i.name] for i in session.get_inputs()}
        assert all(name in words for name in given) and ("labels" in given) == bool(classes)
        for a, b in zip(session.run(None, given), wanted, strict=True):
            np.testing.assert_allclose(a, ops.raw(b), atol=2e-5)
        return [*given, *(o.name for o in session.get_outputs())]

    sample = model.sample(7, noise, labels)
    with no_grad():
        if family == "gan":
            assert agree("generator.onnx", sample)[-1] == "images"
            agree("a.onnx", sample)
            model.generator.eval(), model.discriminator.eval()
            last = model.generate(noise, labels)
            assert np.abs(last.data - sample).max() > 1e-3
            agree("generator.onnx", last, flags=["--last"])
            judged = model.discriminate(images, labels)
            agree("b.onnx", judged, flags=["--part", "discriminator"])
            assert agree("discriminator.onnx", judged)[-1] == "logits"
        else:
            agree("a.onnx", sample)
            agree("decoder.onnx", sample)
            encoded = model.encode(model.likelihood.target(images), labels, model.average)
            assert agree("encoder.onnx", *encoded)[-2:] == ["mean", "log_variance"]
            encoded = model.encode(model.likelihood.target(images), labels)
            agree("encoder.onnx", *encoded, flags=["--last"])


def test_weights_say_what_they_are(tmp_path, exported):
    model, path = trained(tmp_path, classes=10), tmp_path / "generator.safetensors"
    assert exported(tmp_path, path)[0] == 0
    words = io.read_metadata(path)
    assert json.loads(words["model"]) == model.recipe and words["weights"] == "moving average"
    assert words["input"] == "noise (n, 5) beside (n, 10): sqrt(10) at the class, 0 elsewhere"
    net = models.build(model.recipe).generator
    net.load_state_dict(io.load(path))
    noise = model.noise(3)
    rows = np.eye(10, dtype=np.float32)[[4, 4, 9]] * 10**0.5
    with no_grad():
        samples = net.eval()(np.concatenate([noise, rows], 1)).data
    np.testing.assert_array_equal(samples, model.sample(3, noise, np.array([4, 4, 9])))
    for part, flags in (("generator", ["--last"]), ("discriminator", [])):
        code, line = exported(tmp_path / "checkpoint.npz", path, "--part", part, *flags)
        assert code == 0 and f"{part}, " in line
        assert io.read_metadata(path)["weights"] == "last step"
        found, own = io.load(path), getattr(model, part).state_dict()
        assert found.keys() == own.keys() and all(same(a, own[k]) for k, a in found.items())


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_what_was_made_here_and_not_changed_is_replaced(tmp_path, exported, suffix):
    pytest.importorskip("onnx" if suffix == "onnx" else "safetensors")
    path = tmp_path / f"generator.{suffix}"
    trained(tmp_path)
    for _ in range(2):
        assert exported(tmp_path, path)[0] == 0
    made = path.read_bytes()

    def kept():
        before = path.read_bytes()
        code, line = exported(tmp_path, path)
        assert code == 2 and "was not made here, or was changed" in line
        assert path.read_bytes() == before

    weight = 8 + int.from_bytes(made[:8], "little") if suffix == "safetensors" else len(made) // 2
    path.write_bytes(made[:weight] + bytes([made[weight] ^ 1]) + made[weight + 1 :])
    kept()
    path.write_bytes(b"my notes on tinygan")
    kept()
    own = nn.Sequential(nn.Linear(4, 3))
    if suffix == "onnx":
        io.export_onnx(own, np.ones((1, 4)), path, metadata={"made_by": "tinygan 1"})
    else:
        weights = {name: a + 1 for name, a in own.state_dict().items()}
        io.save_safetensors(path, weights, {"made_by": "tinygan 1", "part": "generator"})
    kept()


def test_a_mistake_is_one_line(tmp_path, exported, monkeypatch):
    run = tmp_path / "run"
    trained(run, "vae", "mlp")
    (tmp_path / "other.onnx").write_bytes(b"somebody else's")
    (tmp_path / "folder.onnx").mkdir()
    there = sorted(tmp_path.rglob("*"))
    for words, arguments in {
        "there is no checkpoint": (tmp_path / "none", "a.onnx"),
        "must end in .onnx or .safetensors": (run, "a.npz"),
        "has no discriminator; --part is one of decoder, encoder": (run, "discriminator.onnx"),
        "has no head; --part is one of decoder, encoder": (run, "a.onnx", "--part", "head"),
        "was not made here, .* and is not replaced": (run, "other.onnx"),
        "is no file": (run, "folder.onnx"),
        "No such file or directory: .*none/a.safetensors": (run, "none/a.safetensors"),
        "unrecognized arguments: --better": (run, "a.onnx", "--better"),
    }.items():
        source, out, *flags = arguments
        code, line = exported(source, tmp_path / out, *flags)
        assert code == 2 and re.search(words, line), line
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, line = exported(run, tmp_path / "a.onnx")
    assert code == 2 and line.endswith('pip install "tinygan[io]"')
    assert sorted(tmp_path.rglob("*")) == there


def test_a_network_that_onnx_has_not_is_one_line(tmp_path, exported, monkeypatch):
    pytest.importorskip("onnx")
    trained(tmp_path / "run")
    halved = staticmethod(lambda x: ops.where(x.data > 0, x, 0.0))
    monkeypatch.setattr(nn.Tanh, "function", halved)
    code, line = exported(tmp_path / "run", tmp_path / "a.onnx")
    assert code == 2 and "where, in layer generator.8 (Tanh), is given" in line
    assert not (tmp_path / "a.onnx").exists()

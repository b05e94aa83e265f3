"""Checkpoints and .npz files that somebody else made or damaged: one line each, nothing changed."""

import json
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import settings
from runs import same, weights

from tinygan import checkpoint, files, models, nn, optim, random
from tinygan.checkpoint import CheckpointError

FLIPS = 8 * settings().max_examples  # 200, and under `intense` 8,000


class Model:
    """What a checkpoint meets: weights, running statistics, an average, optimizers of two kinds."""

    def __init__(self, width=3):
        random.manual_seed(0)
        net, average = (nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width)) for _ in "ab")
        self._parts = {"net": net, "average": average, "ema": optim.EMA(average, net)}
        self._parts["adam"] = optim.Adam(net.parameters(), amsgrad=True)
        self._parts["rmsprop"] = optim.RMSprop(net.parameters())

    def parts(self):
        return self._parts


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def path(model, tmp_path):
    checkpoint.save(tmp_path / "c.npz", model.parts(), {"step": 7})
    return tmp_path / "c.npz"


def refused(path, model, words):
    """The one line by which a checkpoint is refused; the model has not changed."""
    before = weights(model)
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoint.load(path, model.parts())
    line = str(caught.value)
    assert str(path) in line and len(line.splitlines()) == 1 and line.isprintable()
    assert "--" not in line and same(before, weights(model))
    return line


def changed(path, **arrays):
    """Rewrite the file with some arrays exchanged; None takes one away."""
    arrays = dict(np.load(path)) | arrays
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


def test_what_is_saved_is_loaded(path, model, tmp_path):
    other = Model()
    for a in other.parts()["net"].state_dict().values():
        a[...] = 9
    assert checkpoint.load(path, other.parts()) == {"version": 2, "step": 7}
    assert same(weights(other), weights(model))
    assert checkpoint.read_meta(path) == {"version": 2, "step": 7}
    changed(path, meta=np.array('{"step": 3}'))  # from before files had a version
    assert checkpoint.load(path, other.parts()) == {"version": 1, "step": 3}
    # one part's name may begin another's
    parts = {"a": model.parts()["net"], "a/b": other.parts()["net"]}
    checkpoint.save(path, parts, {"step": 0})
    checkpoint.load(path, parts)


def test_all_mismatches_are_listed(path, model):
    line = refused(path, Model(width=4), "belongs to another model; .* arrays differ")
    count = sum(a.ndim > 0 and 3 in a.shape for a in weights(model).values())
    assert (
        f" {count} of {len(weights(model))} arrays differ" in line
        and f"and {count - 5} more" in line
    )
    assert "adam/exp_avg.0 is (3, 2) float32 in the file and (4, 2) float32 in the model" in line
    weight = np.load(path)["net/0.weight"]
    extra = {"net/0.weight": None, "net/0.bias": np.zeros(3), "x\n\x1b[31m" + "y" * 999: weight}
    changed(path, **extra)
    line = refused(
        path, model, "3 of .. arrays differ: net/0.bias is .* float64 in the file and .*32"
    )
    assert "net/0.weight is not in the file" in line and len(line) < 500


def test_a_step_of_another_form_is_no_step_that_is_shared(path, model):
    model.parts()["other"] = nn.Sequential()
    model.parts()["other"].step = nn.Parameter(np.float32(1))
    changed(path, **{"other/step": np.ones(1, np.float32)})
    refused(path, model, "other/step is .1,. float32 in the file and .. float32 in the model")


@pytest.mark.parametrize("dtype", ["int8", "float64", "float16", "complex64", ">f4", "U3", "bool"])
def test_another_dtype_is_no_match(path, model, dtype):
    changed(path, **{"net/0.weight": np.ones((3, 2), dtype)})
    refused(
        path, model, "1 of .. arrays differ: net/0.weight is .* in the file and .* float32 in the m"
    )


BAD = {
    "net/0.weight": np.nan,
    "net/0.bias": -np.inf,
    "net/1.running_mean": np.nan,
    "net/1.running_var": -1,
    "average/1.running_mean": np.inf,
    "ema/updates": -10,
    "adam/exp_avg_sq.1": -1e-20,
    "adam/max_exp_avg_sq.1": -1,
    "adam/step": -1,
    "adam/lr": np.nan,
    "rmsprop/square_avg.0": -1,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_number_is_neither_loaded_nor_saved(name, path, model):
    array = np.load(path)[name]
    array.flat[-1] = BAD[name]
    kind = "NaN or infinity" if not np.isfinite(BAD[name]) else "negative numbers"
    good = path.read_bytes()
    part, _, key = name.partition("/")
    model.parts()[part].state_dict()[key][...] = array
    with pytest.raises(CheckpointError, match=f"not saved, since {name} holds {kind}"):
        checkpoint.save(path, model.parts(), {"step": 8})
    assert path.read_bytes() == good and list(path.parent.iterdir()) == [path]
    changed(path, **{name: array})
    refused(path, Model(), f"not loaded, since {name} holds {kind}")


def test_a_network_may_hold_negative_numbers_under_any_name(tmp_path):
    net = nn.Sequential()
    net.sum, net.step, net.square_avg = (nn.Parameter(np.float32([-1])) for _ in "abc")
    checkpoint.save(tmp_path / "c.npz", {"net": net}, {"step": 0})
    checkpoint.load(tmp_path / "c.npz", {"net": net})


class Masked(nn.Module):
    """A layer with a mask and with a number that no rule is about."""

    def __init__(self):
        self.mask = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
        self.log_running_var = nn.Parameter(np.float32([-1]))
        self.tied = self.log_running_var


def test_a_buffer_may_hold_infinity_and_a_name_may_end_in_that_of_a_variance(tmp_path):
    path, net = tmp_path / "c.npz", Masked()
    checkpoint.save(path, {"net": net}, {"step": 0})
    other = Masked()
    other.mask[...] = 0
    checkpoint.load(path, {"net": other})
    np.testing.assert_array_equal(other.mask, net.mask)
    for name in ("log_running_var", "tied"):
        changed(path, **{f"net/{name}": np.float32([-np.inf])})
        with pytest.raises(CheckpointError, match=f"net/{name} holds NaN or infinity"):
            checkpoint.load(path, {"net": other})
        checkpoint.save(path, {"net": net}, {"step": 0})
    net.mask[0] = np.nan
    with pytest.raises(CheckpointError, match="not saved, since net/mask holds NaN$"):
        checkpoint.save(path, {"net": net}, {"step": 1})


class State(dict):
    """A thing whose state is these arrays."""

    def state_dict(self):
        return self


NUMBER = np.zeros((), np.float32)


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        (
            {"a": {"b/c": NUMBER}, "a/b": {"c": NUMBER}},
            CheckpointError,
            "two arrays are called a/b/c",
        ),
        (
            {"a": {f"{i}": NUMBER for i in range(66_000)}},
            CheckpointError,
            "66000 arrays are too many",
        ),
        (
            {"a": {f"{i:0999}": NUMBER for i in range(5_000)}},
            CheckpointError,
            "5000 arrays are too many",
        ),
        ({"a": {"b\0c": NUMBER}}, CheckpointError, "no name that can be printed"),
        ({"a": {"b\ud800": NUMBER}}, CheckpointError, "no name that can be printed"),
        ({"a": {"step": 3}}, TypeError, "a/step must be an array of numbers, got int"),
        ({"a": {"lr": np.float32(3)}}, TypeError, "a/lr must be an array of numbers, got float32"),
        ({"a": {"b": np.array([None])}}, TypeError, "a/b must be .* got object"),
        ({"a": {"b": np.zeros(1, "M8[s]")}}, TypeError, "a/b must be .* got datetime64"),
    ],
    ids=["names", "count", "directory", "nul", "surrogate", "int", "scalar", "object", "dates"],
)
def test_what_load_would_refuse_is_not_saved(parts, error, words, path):
    good = path.read_bytes()
    with pytest.raises(error, match=f"c.npz: .*{words}"):
        checkpoint.save(path, {name: State(part) for name, part in parts.items()}, {"step": 0})
    assert path.read_bytes() == good and list(path.parent.iterdir()) == [path]


def test_the_directory_of_a_file_is_no_larger_than_was_reckoned(path, model):
    size = int.from_bytes(path.read_bytes()[-10:-6], "little")
    names = [*weights(model), "meta"]
    assert size <= sum(checkpoint.ENTRY + len(name) for name in names) < files.DIRECTORY


META = {
    "{": "not JSON",
    "[1]": "no dict",
    "null": "no dict",
    "{}": "step is None",
    '{"step": -1}': "step is -1",
    '{"step": true}': "step is True",
    '{"step": 1.0}': "step is 1.0",
    '{"step": "1"}': "step is '1'",
    '{"step": "\\ud800\\n"}': "step is ",
    '{"step": 1' + "0" * 30 + "}": "step is 1000",
    '{"step": 1' + "0" * 5000 + "}": "not JSON",
    '{"step": NaN}': "NaN is no number",
    '{"step": 1, "loss": -Infinity}': "Infinity is no number",
    '{"step": 1, "seed": "0"}': "seed is '0'",
    '{"step": 1, "seed": 4294967296}': "seed is 4294967296",
    '{"step": 1, "epoch": null}': "epoch is None",
    '{"step": 1, "config": []}': "config, is no dict",
    '{"step": 1, "version": "2"}': "version is '2'",
    '{"step": 1, "version": 3}': "made by a newer tinygan",
    "[" * 100_000: "not JSON",
    '{"step": 1, "x": ' + "[" * 20_000 + "]" * 20_000 + "}": "not JSON",
}


@pytest.mark.parametrize("words", META, ids=range(len(META)))
def test_meta_data_that_is_damaged(words, path, model):
    changed(path, meta=np.array(words))
    refused(path, model, META[words])
    with pytest.raises(CheckpointError):
        checkpoint.read_meta(path)


def test_meta_data_that_is_none(path, model):
    long = np.array('{"step": 1}' + " " * 2**22)
    for other in (None, np.array(1), np.array(["{}"]), long, np.array(b'{"step": 1}')):
        changed(path, meta=other)
        refused(path, model, "meta")
    changed(path, meta=np.array([{"step": 1}], object))
    refused(path, model, "'meta.npy' holds object, neither numbers nor text")


@pytest.mark.parametrize("meta", [{}, {"step": -1}, {"step": 1, "x": "y" * 2**22}])
def test_no_file_is_made_that_could_not_be_loaded(meta, path, model):
    good = path.read_bytes()
    with pytest.raises(CheckpointError, match="meta data"):
        checkpoint.save(path, model.parts(), meta)
    assert path.read_bytes() == good


def test_damaged_bits_are_noticed_or_harmless(path, model):
    """Every byte that matters lies under a checksum; those of dates and the like may change."""
    good, before, rng, harmless = path.read_bytes(), weights(model), np.random.default_rng(0), 0
    other = Model()
    for bit in rng.integers(0, 8 * len(good), FLIPS):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            checkpoint.load(path, other.parts())
            harmless += 1
        except CheckpointError as e:
            assert len(str(e).splitlines()) == 1 and str(path) in str(e)
        assert same(weights(other), before)
    assert harmless < FLIPS / 2


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_of_an_npz_is_one_error(save, tmp_path):
    path, rng = tmp_path / "samples.npz", np.random.default_rng(0)
    images = rng.integers(0, 2, (20, 5, 5), np.uint8)
    save(
        path, images=images, labels=np.arange(20), order=np.asfortranarray(rng.normal(size=(3, 4)))
    )
    good, whole = path.read_bytes(), files.read_npz(path)
    assert same(whole, dict(np.load(path))) and whole["order"].flags.f_contiguous
    ways = [(at, rng.integers(1, 256)) for at in rng.integers(0, len(good), FLIPS)]
    for at, mask in ways:
        data = bytearray(good)
        data[at] ^= mask
        path.write_bytes(data)
        try:
            assert same(files.read_npz(path), whole)
        except ValueError as e:
            assert len(str(e).splitlines()) == 1 and type(e) is ValueError
    for length in {*rng.integers(0, len(good), FLIPS // 4), *range(-30, 0)}:
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match="samples.npz: not a whole .npz"):
            files.read_npz(path)
    path.write_bytes(good + b"more")
    with pytest.raises(ValueError, match="the end of a zip file is missing"):
        files.read_npz(path)


def npz(path, *members, method=zipfile.ZIP_STORED):
    """An archive of (name, content) pairs."""
    with zipfile.ZipFile(path, "w", method) as file, warnings.catch_warnings(action="ignore"):
        for name, content in members:
            file.writestr(name, content)


def npy(words, data=b""):
    """An .npy whose header is `words`."""
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words.encode() + data


def header(descr="'<f4'", shape="(1,)"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


HEADERS = [
    "-" * 9000 + "1",
    "1+" * 4900 + "1",
    "[" * 4000,
    "a" + ".a" * 4000,
    "{[]: 1}",
    '{1: 2, "a": 3}',
    '"""',
    "'\\d'",
    "x" * 60_000,
    "__import__('os').abort()",
    header(shape="(-1,)"),
    header(shape="(True,)"),
    header(shape="(3L,)"),
    header(shape="(" + "9" * 30 + ",)"),
    header(shape="(0, " + "9" * 30 + ")"),
    header(shape=str((0,) * 70)),
    header("'|O'"),
    header("'<U0'", "(1000000000000,)"),
    header("'|V0'"),
    header("[('a', '<f4')]"),
    header("('<f4', (9,))"),
    header("'<M8[s]'"),
    header("'<U9999999999'"),
]


@pytest.mark.parametrize("words", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_promise_or_do_harm(words, tmp_path):
    npz(tmp_path / "a.npz", ("a.npy", npy(words)))
    with pytest.raises(ValueError, match="not a whole .npz|neither numbers nor text") as caught:
        files.read_npz(tmp_path / "a.npz")
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 500


ONE = npy(header(), b"abcd")  # an array of one float32
LYING = [
    ("overlaps", lambda b: patch(b, directory=2, at=42, value=0)),
    ("differ", lambda b: patch(b, directory=1, at=42, value=b.index(b"PK\3\4", 4))),
    ("bytes", lambda b: patch(b, directory=1, at=24, value=2**31)),
    ("CRC", lambda b: patch(b, directory=1, at=16, value=1)),
    ("encrypted", lambda b: patch(b, directory=1, at=6, value=1 << 16 | 20)),
    ("method 12", lambda b: patch(b, directory=1, at=10, value=12)),
    ("directory too large", lambda b: b[:-10] + (2**23).to_bytes(4, "little") + b[-6:]),
    ("directory too large", lambda b: b[:-22] + b"PK\6\7" + bytes(16) + b[-22:]),
    ("lost entries", lambda b: patch(b, directory=1, at=32, value=60)),  # a comment of 60 bytes
]


def patch(data, directory, at, value):
    """The zip file with 4 bytes of an entry of its directory exchanged."""
    start = -1
    for _ in range(directory):
        start = data.index(b"PK\1\2", start + 1)
    return data[: start + at] + value.to_bytes(4, "little") + data[start + at + 4 :]


@pytest.mark.parametrize("words, lie", LYING)
def test_zip_files_that_lie(words, lie, tmp_path):
    path = tmp_path / "a.npz"
    npz(path, ("a.npy", ONE), ("b.npy", ONE))
    assert files.read_npz(path)["b"].tobytes() == b"abcd"
    path.write_bytes(lie(path.read_bytes()))
    with pytest.raises(ValueError, match=f"not a whole .npz .*{words}"):
        files.read_npz(path)


def test_archives_of_other_things(tmp_path):
    path = tmp_path / "a.npz"
    for members, words in {
        (("a.npy", ONE), ("a.npy", ONE)): "twice",
        (("a.npy", ONE), ("run.py", b"1")): "no .npy",
        (("a.npy", b""),): "magic",
        (("a.npy", b"\x93NUMPY\x02\x00" + b"\xff" * 4),): "version",
        (("a.npy", ONE + b"e"),): "bytes",
        (("a.npy", ONE[:-1]),): "bytes",
    }.items():
        npz(path, *members)
        with pytest.raises(ValueError, match=f"not a whole .npz .*{words}"):
            files.read_npz(path)
    npz(path, ("a.npy", ONE), method=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="method 14"):
        files.read_npz(path)
    npz(path, ("a.npy", ONE))
    with pytest.raises(KeyError, match="no array 'b', only .'a'"):
        files.read_npz(path, ["a", "b"], error=KeyError)


def test_what_is_too_large_is_not_inflated(path, model, tmp_path):
    large = np.zeros(1 << 26, np.uint8)  # 64 MiB, in 64 KiB
    np.savez_compressed(tmp_path / "samples.npz", images=large, small=np.zeros(3))
    arrays = dict(np.load(path)) | {"net/0.weight": large.view(np.float32).reshape(-1, 2)}
    np.savez_compressed(path, **arrays)
    del arrays, large
    tracemalloc.start()
    refused(path, model, "1 of .. arrays differ: net/0.weight is .8388608, 2. float32 in the file")
    with pytest.raises(ValueError, match="holds 67108888 bytes of arrays, more than the 1000000"):
        files.read_npz(tmp_path / "samples.npz", limit=10**6)
    assert files.read_npz(tmp_path / "samples.npz", ["small"], limit=24)["small"].size == 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6, peak


def test_a_real_model_of_each_kind(tmp_path):
    for make in (lambda: models.dcgan(width=2), models.VAES["mlp"]):
        model = make()
        checkpoint.save(tmp_path / "c.npz", model.parts(), {"step": 1, "config": {"lr": 0.1}})
        assert checkpoint.load(tmp_path / "c.npz", make().parts())["config"] == {"lr": 0.1}
        words = str(np.load(tmp_path / "c.npz")["meta"])
        assert json.loads(words) == checkpoint.read_meta(tmp_path / "c.npz")

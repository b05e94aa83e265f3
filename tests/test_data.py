"""The data room: IDX files good and hostile, the bundled digits, folders, the download without a
network, batches.

Hostile input has one contract, checked by `refused`: a DataError of one line that names the file.
"""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import json
import os
import threading
import time
import tracemalloc
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygan import data, random
from tinygan.data import fetch as fetching
from tinygan.data import Batches, DataError, Scale, binarise, load, mnist, read_idx, scale, split


def header(code, *sizes):
    return bytes((0, 0, code, len(sizes))) + np.array(sizes, ">u4").tobytes()


def idx(array):
    return (
        header(CODES[array.dtype.name], *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(str(part) in message for part in parts), message


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    # one for all examples of a property: each overwrites it
    return tmp_path_factory.mktemp("idx") / "file"


CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}
ARRAYS = hnp.arrays(
    st.sampled_from(sorted(CODES)), hnp.array_shapes(max_dims=5, min_side=0, max_side=5)
)
PLAIN = idx(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
PACKED, SHA256 = gzip.compress(PLAIN), hashlib.sha256(PLAIN).hexdigest()
IMAGES = np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28)
TRAIN = [remote.name for remote in mnist.FULL.parts["train"]]
REMOTE = fetching.Remote("f.gz", SHA256, 100, inflated=1000)
LABELS, MIRRORS = np.array([9, 0, 5], np.uint8), ("one/", "two/", "three/")
HOSTILE = [
    (b"PK" + PLAIN[2:], "not an IDX file"),
    (b"\0\0\x0a" + PLAIN[3:], "element type 0x0a"),
    (header(8) + b"x", "0 dimensions"),
    (header(8, *[1] * 255) + b"x", "255 dimensions"),
    (PLAIN[:-1], "only 47 follow"),
    (PLAIN + b"x", "bytes follow the 48"),
    (header(8, 1 << 15, (1 << 15) + 1), "promises (32768, 32769)"),
    (header(8, 0, *[0xFFFFFFFF] * 30), "promises (0, "),  # overflows an int64, behind a zero
    (header(8, 1 << 30), "only 0 follow"),
    (gzip.compress(PLAIN + b"x"), "follow the 48"),
    (PACKED[:-8] + bytes(4) + PACKED[-4:], "CRC"),
    (PACKED[:10] + b"\xff" * 20 + PACKED[30:], "decompressing"),
    (PACKED + b"rubbish", "damaged gzip"),
]


@given(ARRAYS, st.sampled_from([bytes, gzip.compress]))
def test_idx_round_trip(scratch, array, pack):
    scratch.write_bytes(pack(idx(array)))
    read = read_idx(scratch)
    assert read.dtype == array.dtype and read.dtype.isnative and read.flags.writeable
    np.testing.assert_array_equal(read, array, strict=True)


@pytest.mark.parametrize(("data", "reason"), HOSTILE, ids=[reason for _, reason in HOSTILE])
def test_hostile_idx_is_refused(tmp_path, data, reason):
    refused(lambda: read_idx(tmp_path / "file"), tmp_path / "file", "No such file")
    (tmp_path / "file").write_bytes(data)
    refused(lambda: read_idx(tmp_path / "file"), tmp_path / "file", reason, ";")


@pytest.mark.parametrize("data", [PLAIN, PACKED], ids=["plain", "gzip"])
def test_every_truncation_is_refused(scratch, data):
    for end in range(len(data)):
        scratch.write_bytes(data[:end])
        refused(lambda: read_idx(scratch), scratch)


@given(
    st.sampled_from([PLAIN, PACKED]),
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 255)), max_size=4),
)
def test_flipped_bytes_give_an_array_or_a_data_error(scratch, data, flips):
    data = bytearray(data)
    for at, mask in flips:
        data[at % len(data)] ^= mask
    scratch.write_bytes(data)
    with contextlib.suppress(DataError):
        assert isinstance(read_idx(scratch), np.ndarray)


@pytest.mark.parametrize("size", [3, 1 << 20])
def test_gzip_bomb_is_not_inflated(tmp_path, size):
    # 200 MiB inflated
    (tmp_path / "bomb").write_bytes(gzip.compress(header(8, size) + bytes(20 << 20), 1) * 10)
    tracemalloc.start()
    refused(lambda: read_idx(tmp_path / "bomb"), "bytes follow")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("shape", [(1 << 14, 64, 64), (85_000, 28, 28)], ids=str)
def test_what_is_no_set_is_refused_before_it_is_inflated(tmp_path, shape):
    """The larger one is a gigabyte, the other 64 MiB for three labels."""
    few = 64 << 20  # of elements that are really there
    bomb = gzip.compress(header(8, *shape)) + gzip.compress(bytes(1 << 20), 1) * (few >> 20)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    tracemalloc.start()
    refused(lambda: load(tmp_path), "ubyte", f"3 labels for {shape[0]} images")
    refused(lambda: read_idx(tmp_path / "train-images-idx3-ubyte.gz", limit=1 << 20), "1048576")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_limit_is_of_elements(tmp_path):
    (tmp_path / "file").write_bytes(PLAIN)
    assert read_idx(tmp_path / "file", limit=48).shape == (2, 3, 4)
    refused(lambda: read_idx(tmp_path / "file", limit=47), "more than the 47 bytes allowed")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        refused(lambda path=path: read_idx(path), path, "not a regular file")


def test_bundled_digits_are_the_mnist_test_set():
    images, labels, _ = load()
    assert images.shape == (10_000, 28, 28) and images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:5].tolist() == [7, 2, 1, 0, 4] and images.max() == 255


def test_a_damaged_installation_is_told(tmp_path, monkeypatch):
    for name in mnist.SHIPPED:
        (tmp_path / name).write_bytes((mnist.BUNDLED / name).read_bytes())
    monkeypatch.setattr(mnist, "BUNDLED", tmp_path)
    assert len(load().images) == 10_000
    for name in mnist.SHIPPED:
        content = bytearray((tmp_path / name).read_bytes())
        content[4] ^= 1  # gzip's time stamp: nothing else notices
        (tmp_path / name).write_bytes(content)
        refused(load, tmp_path / name, "SHA-256 differs", "install tinygan again")
        (tmp_path / name).unlink()
        refused(load, tmp_path / name, "No such file", "install tinygan again")
        content[4] ^= 1
        (tmp_path / name).write_bytes(content)


def fill(
    folder,
    images=IMAGES,
    labels=LABELS,
    names=("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
):
    for name, array in zip(names, (images, labels), strict=True):
        (folder / name).write_bytes(
            gzip.compress(idx(array)) if name.endswith(".gz") else idx(array)
        )


@pytest.mark.parametrize(
    ("part", "joint", "packed"), [*product(["train", "t10k"], "-.", ["", ".gz"])]
)
def test_folder_of_idx_files(tmp_path, part, joint, packed):
    fill(
        tmp_path,
        names=[
            f"{part}-images{joint}idx3-ubyte{packed}",
            f"{part}-labels{joint}idx1-ubyte{packed}",
        ],
    )
    digits = load(str(tmp_path))
    assert np.array_equal(digits.images, IMAGES) and np.array_equal(digits.labels, LABELS)


def test_folder_prefers_the_training_set_and_its_own_labels(tmp_path):
    fill(tmp_path, IMAGES[:1], LABELS[:1], ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    fill(tmp_path)
    assert len(load(tmp_path).images) == 3
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refused(lambda: load(tmp_path), "train-images-idx3-ubyte", "labels are missing")


def test_split_holds_out_digits(tmp_path, monkeypatch):
    (images, labels, _), held = split()
    assert np.array_equal(held.images, load().images[::10]) and np.array_equal(
        held.labels, load().labels[::10]
    )
    assert len(images) == len(labels) == 9000
    assert not {i.tobytes() for i in images} & {i.tobytes() for i in held.images}
    fill(tmp_path, IMAGES[:2], LABELS[:2], ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    assert [d.labels.tolist() for d in split(tmp_path)] == [[0], [9]]
    fill(tmp_path, names=TRAIN)
    assert [d.labels.tolist() for d in split(str(tmp_path))] == [[9, 0, 5], [9, 0]]
    parts = [data.Pictures(IMAGES[:n], LABELS[:n]) for n in (3, 2)]
    monkeypatch.setattr(mnist.Files, "read", lambda self: parts[0])
    monkeypatch.setattr(mnist, "bundled", lambda: parts[1])
    assert split("full") == (parts[0], parts[1])


WRONG = [
    (LABELS, LABELS, "images-idx3-ubyte: should hold images"),
    (IMAGES, IMAGES, "labels-idx1-ubyte: should hold labels"),
    (IMAGES.reshape(3, 784), LABELS, "(3, 784) uint8"),
    (IMAGES.astype(np.float32), LABELS, "float32"),
    (IMAGES, LABELS.astype(np.float32), "float32"),
    (IMAGES, LABELS[:2], "2 labels for 3 images"),
    (IMAGES[:0], LABELS[:0], "no images"),
]


@pytest.mark.parametrize(("images", "labels", "reason"), WRONG)
def test_wrong_sources_are_refused(tmp_path, images, labels, reason):
    refused(lambda: load(tmp_path / "fulll"), "fulll", "'bundled', 'full', 'fashion'", "folder")
    refused(lambda: load(tmp_path), tmp_path, "holds no pictures")
    fill(tmp_path, images, labels)
    refused(lambda: load(tmp_path), tmp_path, reason)


class Reply(io.BytesIO):  # what urlopen returns
    length = None


class Broken(Reply):
    def read1(self, n=-1):
        if piece := super().read1(10):
            return piece
        raise ConnectionResetError("connection reset")


def fetch(folder, *replies):
    """Fetch "f.gz" from mirrors that answer with these replies in turn; the path and the urls that
    were opened.
    """
    opener = Mock(side_effect=replies)
    return fetching.fetch(REMOTE, folder, MIRRORS, "the remedy", opener), [
        call.args[0] for call in opener.mock_calls
    ]


def test_download_is_kept_and_repaired(tmp_path):
    folder = tmp_path / "new" / "cache"
    path, urls = fetch(folder, Reply(PACKED))
    assert path == folder / "f.gz" and path.read_bytes() == PACKED and urls == ["one/f.gz"]
    assert fetch(folder) == (path, [])  # cached: no network
    path.write_bytes(PACKED[:-1])
    _, urls = fetch(folder, Reply(gzip.compress(PLAIN + b"x")), Broken(PACKED), Reply(PACKED))
    assert path.read_bytes() == PACKED and urls == ["one/f.gz", "two/f.gz", "three/f.gz"]
    assert list(folder.iterdir()) == [path]


def test_a_checksum_is_of_the_file_or_of_what_is_inside(tmp_path):
    again = gzip.compress(PLAIN, 1, mtime=7)
    as_it_is = fetching.Remote("f.gz", hashlib.sha256(PACKED).hexdigest(), len(PACKED))
    for remote, packed in ((REMOTE, PACKED), (REMOTE, again), (as_it_is, PACKED)):
        (tmp_path / "f.gz").write_bytes(packed)
        assert fetching.fetch(remote, tmp_path, (), "the remedy") == tmp_path / "f.gz"
    (tmp_path / "f.gz").write_bytes(again)
    refused(lambda: fetching.fetch(as_it_is, tmp_path, (), "the remedy"), "no mirror")
    (tmp_path / "f.gz").unlink()
    os.mkfifo(tmp_path / "f.gz")  # opening it waits for a writer
    refused(lambda: fetching.fetch(as_it_is, tmp_path, (), "the remedy"), "no mirror")


def test_failing_download_says_why_and_leaves_nothing(tmp_path):
    replies = Broken(PACKED), Reply(b"<html>"), Reply(bytes(101))
    named = (
        *MIRRORS,
        "connection reset",
        "SHA-256 differs",
        "more than 100 bytes",
        tmp_path,
        "the remedy",
    )
    refused(lambda: fetch(tmp_path, *replies), f"{tmp_path}/f.gz: no mirror", *named)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


class Trickle:
    """A server that sends its headers at once and then a byte every hundredth of a second."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                # many refuse "Python-urllib"
                self.send_response(200 if self.headers["User-Agent"] == "tinygan" else 403)
                self.send_header("Content-Length", len(PACKED))
                self.end_headers()
                with contextlib.suppress(OSError):  # the other side has had enough
                    for byte in PACKED:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.01)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def test_a_server_that_trickles_is_left_in_time(tmp_path, monkeypatch):
    with Trickle() as mirror:
        path = fetching.fetch(REMOTE, tmp_path, [mirror], "the remedy")
        assert path.read_bytes() == PACKED
        path.unlink()
        monkeypatch.setattr(fetching, "PATIENCE", 0.1)
        start = time.monotonic()
        refused(
            lambda: fetching.fetch(REMOTE, tmp_path, [mirror], "the remedy"),
            mirror,
            "in 0.101 seconds",  # and what its size adds
        )
        assert time.monotonic() - start < 0.4 and not list(tmp_path.iterdir())


def test_what_killed_downloads_left_is_swept(tmp_path):
    fetch(tmp_path, Reply(PACKED))
    old, young = (tmp_path / f".f.{digit * 8}.part.gz" for digit in "ab")
    for part in (old, young):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - fetching.PATIENCE - 1,) * 2)
    fetch(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"f.gz", young.name}


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    refused(lambda: fetch(tmp_path / "file" / "cache"), "file/cache/f.gz: cannot be written")
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(os, "fsync", full)
    refused(lambda: fetch(tmp_path, Reply(PACKED)), f"{tmp_path}/f.gz: cannot", "No space left")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_who_has_no_home_is_told(monkeypatch):
    monkeypatch.setattr(fetching.sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(fetching.Path, "home", Mock(side_effect=RuntimeError("no home")))
    refused(lambda: load("full"), "HOME", "folder")


def test_full_reads_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetching.sys, "platform", "linux")
    (tmp_path / "tinygan").mkdir()
    fill(tmp_path / "tinygan", names=TRAIN)
    remotes = [
        remote._replace(sha256=hashlib.sha256(idx(array)).hexdigest())
        for remote, array in zip(mnist.FULL.parts["train"], (IMAGES, LABELS), strict=True)
    ]
    monkeypatch.setattr(mnist, "FULL", mnist.FULL._replace(parts={"train": remotes}))
    assert np.array_equal(load("full").images, IMAGES)


def test_batches_cover_an_epoch_repeat_it_and_refuse_what_does_not_exist():
    images = np.arange(50, dtype=np.uint8).repeat(28 * 28).reshape(50, 28, 28)
    batches, resumed = Batches(images, 8, seed=3), Batches(images, 8, seed=3)
    epochs = [
        np.concatenate([batches.batch(epoch, i) for i in range(len(batches))]) for epoch in range(2)
    ]
    assert (
        len(batches) == 6 and epochs[0].shape == (48, 1, 28, 28) and epochs[0].dtype == np.float32
    )
    numbers = lambda images: np.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()
    drawn = [numbers(epoch) for epoch in epochs]
    assert all(len(set(order)) == 48 for order in drawn) and drawn[0] != drawn[1]
    assert np.array_equal(resumed.batch(1, 2), epochs[1][16:24])
    assert np.array_equal(batches.batch(0, 5), epochs[0][40:])  # back to an earlier epoch
    assert batches.rows(1, 2).tolist() == drawn[1][16:24] and numbers(
        batches.at(np.array([49, 3, 3]))
    ) == [49, 3, 3]
    assert not np.array_equal(Batches(images, 8, seed=4).batch(0, 0), epochs[0][:8])
    # the range of tanh
    assert Batches(np.array([[[0, 255]]], np.uint8), 1).batch(0, 0).tolist() == [[[[-1, 1]]]]
    for size in (0, -1, 4):
        with pytest.raises(ValueError, match=rf"batch_size is {size} .* 3 rows"):
            Batches(IMAGES, size)
    for i in (-1, 1):
        with pytest.raises(IndexError, match=f"batch {i} "):
            Batches(IMAGES, 2).batch(0, i)


def test_binarised_batches_draw_anew_and_a_seed_gives_one_fixed_set():
    images = np.full((40, 50, 50), 64, np.uint8)
    images[:, 0], images[:, 1] = 0, 255
    fixed, same = (binarise(images, random.Generator(0, 4)) for _ in range(2))
    assert (
        np.array_equal(fixed, same)
        and fixed.dtype == np.uint8
        and set(np.unique(fixed)) == {0, 255}
    )
    random.manual_seed(0)
    static, dynamic = Batches(fixed, 40), Batches(images, 40, transform=data.binarised)
    one, two = dynamic.batch(0, 0), dynamic.batch(0, 0)
    assert not np.array_equal(one, two) and np.array_equal(static.batch(0, 0), static.batch(0, 0))
    for x in (one, two, static.batch(0, 0)):
        assert set(np.unique(x)) == {-1, 1} and abs((x[:, :, 2:] == 1).mean() - 64 / 255) < 0.005
        assert (x[:, :, 0] == -1).all() and (x[:, :, 1] == 1).all()
    for u in (0.0, 1 - 2.0**-24):  # the least and the greatest that `uniform` gives
        source = Mock(uniform=lambda shape, device: np.full(shape, u, np.float32))
        assert binarise(np.array([0, 255], np.uint8), source).tolist() == [0, 255]


def test_levels_become_places_between_them_and_the_next():
    """Of grey and colours, bytes and floats, to [-1, 1]; drawn anew, and the same for one step."""
    levels = np.arange(256, dtype=np.uint8).repeat(64).reshape(2, 64, 128)
    spread = data.Dequantise()
    random.manual_seed(0)
    batches = Batches(levels, 2, transform=spread)
    one, two = batches.at(np.arange(2)), batches.at(np.arange(2))
    assert one.shape == (2, 1, 64, 128) and one.dtype == np.float32 and (one != two).mean() > 0.99
    places = (one[:, 0] + 1) * 128 - levels
    assert -1e-4 < places.min() < 0.01 and 0.99 < places.max() < 1 + 1e-4
    assert abs(places.mean() - 0.5) < 0.01 and abs(places.var() - 1 / 12) < 0.002
    assert -1 <= one.min() and one.max() <= 1
    random.default.seek(0)
    np.testing.assert_array_equal(spread((levels / 127.5 - 1).astype(np.float32)), one)
    colours = spread(np.stack([levels[:, :, :9]] * 3, 3))
    assert colours.shape == (2, 3, 64, 9) and (colours[:, 0] != colours[:, 1]).any()
    assert (np.floor((colours + 1) * 128) - levels[:, None, :, :9] <= 1).all()
    assert batches.identity()["transform"] == "Dequantise" and repr(spread) == "Dequantise"
    for wrong in GREY, GREY / 3:
        refused(lambda: Batches(wrong, 2, transform=spread), "Dequantise: floats", "(6, 4, 5)")
    refused(lambda: spread(levels[0]), "(n, h, w)")


RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (10, 4, 5, 3), np.uint8)
TOKENS = RNG.integers(0, 99, (10, 7))


def test_batches_hold_any_arrays_of_one_length_and_keep_or_drop_the_rest():
    """Order and remainder are the same for all; each array keeps its rank and dtype."""
    arrays = (COLOURS, np.arange(10), TOKENS.astype(np.uint16), TOKENS / 3 + 1j, TOKENS > 50)
    for drop_last, sizes in ((True, [4, 4]), (False, [4, 4, 2])):
        batches = Batches(arrays, 4, 3, drop_last=drop_last)
        assert len(batches) == len(sizes)
        for i, size in enumerate(sizes):
            rows = batches.rows(1, i)
            images, *others = batches.batch(1, i)
            assert rows.shape == (size,) and images.dtype == np.float32
            assert np.array_equal(images, scale(COLOURS[rows]))
            for part, array in zip(others, arrays[1:], strict=True):
                np.testing.assert_array_equal(part, array[rows], strict=True)
    drawn = np.concatenate([batches.rows(1, i) for i in range(3)])
    assert sorted(drawn) == list(range(10))
    batch = Batches(TOKENS, 4, transform=None).batch(0, 0)
    assert isinstance(batch, np.ndarray) and batch.dtype == np.int64  # one array: no tuple
    assert isinstance(Batches((TOKENS,), 4, transform=None).batch(0, 0), tuple)
    digits = Batches(data.Pictures(IMAGES, LABELS, ("nine", "zero", "five")), 3)
    assert [part.shape for part in digits.batch(0, 0)] == [(3, 1, 28, 28), (3,)]
    longer = Batches(TOKENS, 5, transform=lambda rows: rows[:, :3])
    assert longer.batch(0, 0).shape == (5, 3)


def test_batches_are_iterated_as_one_epoch():
    batches = Batches((IMAGES, LABELS), 2, drop_last=False)
    for epoch, walk in ((0, batches), (0, batches), (2, batches.epoch(2))):
        found = list(walk)
        assert len(found) == 2
        for i, batch in enumerate(found):
            for ours, theirs in zip(batch, batches.batch(epoch, i), strict=True):
                assert np.array_equal(ours, theirs)


def test_scale_gives_what_models_see():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    before = (every.astype("float32") / 127.5 - 1)[:, None]
    np.testing.assert_array_equal(scale(every), before, strict=True)
    for low, high in ((0, 1), (-1, 1), (0, 255), (-3, 5)):
        for dtype in (np.float16, np.float32, np.float64, ">f4"):
            floats = (every / 255 * (high - low) + low).astype(dtype)
            scaled = Scale(low, high)(floats)
            assert scaled.dtype == np.float32 and scaled.dtype.isnative
            np.testing.assert_allclose(scaled, before, atol=2e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_array_equal(scale(before[:, 0]), before, strict=True)  # not a bit is lost
    colours = scale(COLOURS)
    assert colours.shape == (10, 3, 4, 5)
    np.testing.assert_array_equal(colours[:, 1], scale(COLOURS[..., 1])[:, 0])
    np.testing.assert_array_equal(scale(COLOURS[..., :1]), scale(COLOURS[..., 0]))
    assert Batches(COLOURS, 4).batch(0, 0).shape == (4, 3, 4, 5)
    scale(before[:, 0] * np.float32(1.0001))  # what rounding adds is no other range
    assert scale(every[:0]).shape == (0, 1, 16, 16)


GREY = RNG.uniform(-1, 1, (6, 4, 5)).astype(np.float32)
HOLED = np.where(GREY == GREY[2, 2, 2], np.nan, GREY)
NO_PICTURES = [
    (TOKENS, "pictures are (n, h, w)", "(10, 7) int64", "transform=None"),
    (COLOURS[None], "(1, 10, 4, 5, 3) uint8", "transform=None"),
    (COLOURS[..., :2], "c of 1 or 3", "(10, 4, 5, 2)"),
    (np.concatenate([COLOURS, COLOURS], 3)[..., :4], "images[..., :3]", "(10, 4, 5, 4)"),
    (scale(COLOURS), "(10, 3, 4, 5) float32", "transpose(0, 2, 3, 1)", "transform=None"),
    (COLOURS[:, :0], "empty", "(10, 0, 5, 3)"),
    (GREY > 0, "(6, 4, 5) bool", "images * np.uint8(255)"),
    (IMAGES.astype(np.int64), "(3, 28, 28) int64", "astype('uint8')"),
    (GREY.astype(np.complex64), "complex64"),
    (HOLED, "NaN or infinity", "(6, 4, 5) float32"),
    (np.where(np.isnan(HOLED), np.inf, HOLED), "NaN or infinity"),
    (GREY * 127.5 + 127.5, "from -1 to 1", "data.Scale(low, high)", "images / 127.5 - 1"),
    (GREY * 2, "from -1 to 1"),
    ((GREY + 1) / 2, "nothing here is below 0", "data.Scale(0, 1)"),
    (IMAGES % 2, "0 to 255", "images * 255"),
]


@pytest.mark.parametrize(("images", "words"), [(images, words) for images, *words in NO_PICTURES])
def test_what_is_no_picture_is_refused_before_training(images, words):
    refused(lambda: Batches((images, np.arange(len(images))), 1), "scale:", *words)
    refused(lambda: scale(images), *words)
    assert Batches(images, 1, transform=None).batch(0, 0).dtype == images.dtype


def test_a_stated_range_is_kept():
    half = (GREY + 1) / 2
    np.testing.assert_allclose(
        Batches(half, 6, transform=Scale(0, 1)).at(np.arange(6))[:, 0], GREY, atol=1e-6
    )
    Batches(half, 6, transform=Scale(-1, 1))  # it is said to be that
    refused(lambda: Batches(GREY, 6, transform=Scale(0, 1)), "from 0 to 1", "from -0.9")
    for limits in ((1, 0), (0, 0), (0, np.inf), (np.nan, 1)):
        refused(lambda: Scale(*limits), "low must be less than high")


def test_a_batch_is_made_without_a_look_at_its_values(monkeypatch):
    """A look waits for a GPU, which a captured step may not: rows are looked at once, before."""
    for images, transform in ((GREY, scale), (GREY, Scale(-1, 1)), (IMAGES, data.binarised)):
        batches = Batches(images, 2, transform=transform)
        with monkeypatch.context() as patch:
            for kind in (Scale, type(data.binarised)):
                patch.setattr(kind, "check", Mock(side_effect=AssertionError))
            batches.batch(0, 0)


def test_binarised_wants_bytes():
    for call in (
        lambda: Batches(GREY, 2, transform=data.binarised),
        lambda: data.binarised(GREY),
        lambda: binarise(GREY, random.default),
    ):
        refused(call, "binarise: pixels are uint8", "(6, 4, 5) float32", "127.5")
    refused(lambda: Batches(TOKENS.astype(np.uint8), 2, transform=data.binarised), "(n, h, w)")


class Elsewhere:
    """As a tensor of another library on a GPU."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert")


WORDS = np.array(["a", "b", "c"])
ODD = [
    ([IMAGES, LABELS], "list", "a tuple"),
    ({"images": IMAGES}, "dict"),
    ((), "empty"),
    (7, "array 0 is int", "np.asarray"),
    ("images", "array 0 is str"),
    ((IMAGES, None), "array 1 is NoneType"),
    ((IMAGES, LABELS[:2]), "one length", "(3, 28, 28) and (2,)"),
    ((IMAGES, WORDS), "array 1, (3,) <U1, holds no numbers"),
    ((IMAGES, [[1], [2, 3], [4]]), "array 1", "one shape"),
    ((IMAGES, Elsewhere()), "array 1", "can't convert", "on the host"),
    (IMAGES.astype(object), "holds no numbers"),
    (np.float32(3), "has no rows"),
    (GREY.astype(">f4"), "byte order", "newbyteorder"),
    (np.ma.masked_equal(IMAGES, 3), "masked", "filled"),
    (IMAGES[:0], "0 rows"),
]


@pytest.mark.parametrize(("arrays", "words"), [(arrays, words) for arrays, *words in ODD])
def test_what_is_no_array_is_refused(arrays, words):
    refused(lambda: Batches(arrays, 1), "Batches: ", *words)


def test_wrong_options_are_refused():
    for size in (2.0, "2", None):
        refused(lambda: Batches(IMAGES, size), f"batch_size is {size!r}", "whole number, 1 to 3")
    refused(lambda: Batches(IMAGES, 2, 0, True), "transform is True")
    with pytest.raises(ValueError, match="seed must be a whole number"):
        Batches(IMAGES, 2, seed=-1)


def test_what_becomes_an_array_is_taken(tmp_path):
    class Series:
        __array__ = staticmethod(lambda dtype=None, copy=None: LABELS)

    for labels in ([9, 0, 5], Series(), LABELS):
        batches = Batches((IMAGES, labels), 3)
        assert batches.batch(0, 0)[1].tolist() == LABELS[batches.rows(0, 0)].tolist()
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = Batches(np.load(tmp_path / "images.npy", mmap_mode="r"), 2)
    assert isinstance(mapped.arrays[0], np.memmap) and not isinstance(mapped.batch(0, 0), np.memmap)
    assert np.array_equal(mapped.batch(0, 0), Batches(IMAGES, 2).batch(0, 0))


def test_identity_is_of_the_content(tmp_path, monkeypatch):
    def data_of(*arrays, **options):
        return Batches(arrays, 2, transform=None, **options).identity()["data"]

    identity = Batches((COLOURS, TOKENS), 2, 5, drop_last=False).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert {k: identity[k] for k in ("batch_size", "order", "drop_last", "transform")} == {
        "batch_size": 2, "order": 5, "drop_last": False, "transform": "Scale(-1, 1)"
    }  # fmt: skip
    same = identity["data"]
    np.save(tmp_path / "a.npy", COLOURS)
    turned = np.ascontiguousarray(COLOURS.T).T
    for other in (COLOURS.copy(), turned, np.load(tmp_path / "a.npy", mmap_mode="r")):
        assert data_of(other, TOKENS, seed=3) == same
    monkeypatch.setattr(data.batches, "PIECE", 100)
    assert data_of(turned, TOKENS) == same  # however it is cut
    changed = COLOURS.copy()
    changed[-1, -1, -1, -1] ^= 1
    others = [
        data_of(changed, TOKENS),
        data_of(COLOURS),
        data_of(TOKENS, COLOURS),
        data_of(COLOURS.reshape(10, 5, 4, 3), TOKENS),
        data_of(COLOURS.view(np.int8), TOKENS),
        data_of(COLOURS[::-1], TOKENS),
        data_of(TOKENS > 50, TOKENS.astype(np.float16), TOKENS * 1j),
    ]
    assert len({same, *others}) == 1 + len(others)
    batches, drawn = Batches((COLOURS, TOKENS), 2), []
    monkeypatch.setattr(data.batches.hashlib, "blake2b", Mock(side_effect=drawn.append))
    batches.batch(0, 0)
    assert not drawn  # asked for only


def test_a_transforms_name_is_part_of_the_identity():
    def flipped(images):
        return scale(images[:, ::-1])

    names = [
        Batches(IMAGES, 2, transform=transform).identity()["transform"]
        for transform in (flipped, data.binarised, None, Scale(0, 1))
    ]
    assert names == ["flipped", "binarised", None, "Scale(0, 1)"]

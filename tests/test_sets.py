"""The sets that have names: files in their exact formats, but small, from a mirror that is none.

Hostile input has one contract, checked by `refused`: a DataError of one line that names the file.
"""

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import textwrap
import tracemalloc
import zipfile

import numpy as np
import pytest

from tinygan import data
from tinygan.data import DataError, archives, load, mnist, named, split
from tinygan.data import fetch as fetching

RNG = np.random.default_rng(14)
SIZES = {"train": 6, "test": 3}


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(str(part) in message for part in parts), message


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes())


def drawn(classes, *shape):
    """{part: (images, labels)}, the last class among the labels."""
    parts = {}
    for part, n in SIZES.items():
        labels = RNG.integers(0, classes, n, np.uint8)
        labels[-1] = classes - 1
        parts[part] = RNG.integers(0, 256, (n, *shape), np.uint8), labels
    return parts


DIGITS, LETTERS, COLOURS = drawn(10, 28, 28), drawn(47, 28, 28), drawn(10, 32, 32, 3)


def members(parts=LETTERS):
    """Of EMNIST's zip: {name: bytes}, the images transposed as they are published."""
    found = {"gzip/emnist-letters-mapping.txt": b"1 65 97\n"}
    for part, (images, labels) in parts.items():
        stem = f"gzip/emnist-balanced-{part}"
        found[f"{stem}-images-idx3-ubyte.gz"] = idx(images.transpose(0, 2, 1))
        found[f"{stem}-labels-idx1-ubyte.gz"] = idx(labels)
    return found


def zipped(contents, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file.getvalue()


def batches(parts=COLOURS):
    """Of CIFAR-10's tar: {name: bytes}; there are three pictures in a batch here."""
    found = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    names = {"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)}
    for part, (images, labels) in parts.items():
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        rows = np.concatenate([labels[:, None], planes], axis=1)
        for name, batch in zip(names[part], np.split(rows, len(names[part])), strict=True):
            found[f"cifar-10-batches-bin/{name}.bin"] = batch.astype(np.uint8).tobytes()
    return found


def tarred(contents, *others):
    """others: further TarInfos, without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for info in others:
            archive.addfile(info)
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Reply(io.BytesIO):  # what urlopen returns
    length = None


@pytest.fixture
def web(tmp_path, monkeypatch):
    """{url: content} of a web without anything else; the cache is empty. web.asked: which urls were
    asked for.
    """

    class Web(dict):
        asked = []

    found = Web()

    def opener(url, timeout):
        found.asked.append(url)
        if url not in found:
            raise OSError("Network is unreachable")
        return Reply(found[url])

    monkeypatch.setattr(fetching, "_urlopen", opener)
    monkeypatch.setattr(fetching.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(archives, "EMNIST", SIZES)
    small = {"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)}
    monkeypatch.setattr(archives, "CIFAR10", small)
    monkeypatch.setattr(archives, "BATCH", 3)
    monkeypatch.setattr(archives, "SLACK", 1 << 20)
    return found


def publish(web, monkeypatch, name, content):
    """An archive at the last mirror of a set, its checksum in the table."""
    sets = {"emnist": named.EMNIST, "cifar10": named.CIFAR10}
    remote = sets[name].remote._replace(
        sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    archive = sets[name]._replace(remote=remote)
    monkeypatch.setitem(data.SETS, name, data.SETS[name]._replace(read=archive.read))
    web[archive.mirrors[-1] + remote.name] = content


def publish_files(web, monkeypatch, name, arrays=DIGITS):
    files = {"fashion": named.FASHION, "kmnist": named.KMNIST}[name]
    parts = {}
    for part, two in arrays.items():
        parts[part] = []
        for remote, array in zip(files.parts[part], two, strict=True):
            content = idx(array)
            parts[part].append(
                remote._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            )
            web[files.mirrors[-1] + remote.name] = content
    files = files._replace(parts=parts)
    monkeypatch.setitem(data.SETS, name, data.SETS[name]._replace(read=files.read))


def same(pictures, part):
    images, labels = part
    np.testing.assert_array_equal(pictures.images, images, strict=True)
    assert pictures.labels.tolist() == labels.tolist() and pictures.labels.dtype.kind in "iu"


def test_the_table_of_sets():
    assert [*data.SETS] == ["bundled", "full", "fashion", "kmnist", "emnist", "cifar10"]
    assert [name for name, one in data.SETS.items() if not one.official] == ["bundled"]
    archived = [named.EMNIST, named.CIFAR10]
    filed = [named.FASHION, named.KMNIST, mnist.FULL]
    remotes = [one.remote for one in archived]
    remotes += [remote for one in filed for part in one.parts.values() for remote in part]
    assert len({remote.sha256 for remote in remotes}) == len(remotes) == 12
    for remote in remotes:
        assert re.fullmatch("[0-9a-f]{64}", remote.sha256) and remote.size < 600 << 20
    for one in archived + filed:
        schemes = [mirror.partition(":")[0] for mirror in one.mirrors]
        assert schemes == sorted(schemes, reverse=True)  # https first
        assert all(mirror.endswith("/") for mirror in one.mirrors)
    assert [len(one.names) for one in archived + filed] == [47, 10, 10, 10, 0]
    assert all(len(set(one.names)) == len(one.names) for one in archived + filed)
    wanted = ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    for one in filed[:2]:
        assert (one.parts["train"][0].name, one.parts["test"][1].name) == wanted


@pytest.mark.parametrize("name", ["fashion", "kmnist"])
def test_sets_in_mnists_format(web, tmp_path, monkeypatch, name):
    publish_files(web, monkeypatch, name)
    whole = load(name)
    same(whole, DIGITS["train"])
    assert whole.classes == 10 and whole.names[0] in ("T-shirt/top", "o")
    assert not any("t10k" in url for url in web.asked)  # the test set was not asked for
    learn, held = split(name)
    same(learn, DIGITS["train"])
    same(held, DIGITS["test"])
    assert held.names == whole.names
    web.clear()
    same(split(name)[1], DIGITS["test"])  # cached
    folder = tmp_path / "tinygan" / name
    assert len([*folder.iterdir()]) == 4
    image = folder / "train-images-idx3-ubyte.gz"
    image.write_bytes(image.read_bytes()[:-9])
    refused(lambda: load(name), image, "no mirror", "unreachable", f"put {image.name} and ", folder)


ARCHIVES = [
    ("emnist", zipped(members()), LETTERS),
    ("emnist", zipped(members(), zipfile.ZIP_STORED), LETTERS),
    ("cifar10", tarred(batches()), COLOURS),
]


def test_a_label_of_no_class_is_refused(web, monkeypatch):
    publish_files(web, monkeypatch, "kmnist", beyond(DIGITS))
    refused(lambda: load("kmnist"), "kmnist/train-labels", "the label 10", "from 0 to 9")


KINDS = ["deflated", "stored", "tar"]


@pytest.mark.parametrize(("name", "content", "parts"), ARCHIVES, ids=KINDS)
def test_sets_in_archives(web, tmp_path, monkeypatch, name, content, parts):
    """Upright images, in the order of the labels; the archive makes room for its pictures."""
    publish(web, monkeypatch, name, content)
    learn, held = split(name)
    same(learn, parts["train"])
    same(held, parts["test"])
    assert learn.names == held.names and learn.classes == (47 if name == "emnist" else 10)
    assert learn.names[-1] in ("t", "truck") and learn.images.flags.writeable
    asked = len(web.asked)
    assert [path.name for path in (tmp_path / "tinygan" / name).iterdir()] == ["pictures.npz"]
    web.clear()
    same(load(name), parts["train"])  # cached: no network
    assert len(web.asked) == asked


def test_a_damaged_cache_is_filled_again(web, tmp_path, monkeypatch):
    publish(web, monkeypatch, "cifar10", tarred(batches()))
    load("cifar10")
    cache = tmp_path / "tinygan" / "cifar10" / "pictures.npz"
    whole = bytearray(cache.read_bytes())
    for at in (len(whole) // 3, -30):
        broken = whole.copy()
        broken[at] ^= 1
        cache.write_bytes(broken)
        web.asked.clear()
        same(load("cifar10"), COLOURS["train"])
        assert web.asked
    np.savez(cache, train_images=np.zeros((2, 32, 32)), train_labels=np.zeros(2, np.uint8))
    same(load("cifar10"), COLOURS["train"])


def test_an_archive_that_was_put_there_is_taken(web, tmp_path, monkeypatch):
    content = zipped(members())
    publish(web, monkeypatch, "emnist", content)
    web.clear()
    folder = tmp_path / "tinygan" / "emnist"
    refused(
        lambda: load("emnist"), folder / "gzip.zip", "unreachable", f"put gzip.zip into {folder}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gzip.zip").write_bytes(content)
    same(load("emnist"), LETTERS["train"])


@pytest.mark.parametrize(("name", "content", "parts"), ARCHIVES[1:], ids=KINDS[1:])
def test_another_archive_is_refused(web, tmp_path, monkeypatch, name, content, parts):
    publish(web, monkeypatch, name, content)
    (url,) = web
    for sent, why in (
        (content[:-1], "its SHA-256 differs"),
        (content[:-1] + b"x", "its SHA-256 differs"),
        (content + b"x", f"more than {len(content)} bytes"),
    ):
        web[url] = sent
        refused(lambda: split(name), why, url.rpartition("/")[0], "put ")
        assert not [*(tmp_path / "tinygan" / name).iterdir()]


def without(contents, word):
    return {name: content for name, content in contents.items() if word not in name}


def renamed(contents, word, content):
    return {name: content if word in name else old for name, old in contents.items()}


def link(name, kind=tarfile.SYMTYPE, target="../../../etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 3 * 3073
    return info


def wrong_crc(content):
    """The zip with another checksum for each of its members."""
    content = bytearray(content)
    for found in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[found.start() + 16] ^= 1
    return bytes(content)


def beyond(parts):
    """With labels of which one is of no class."""
    return {part: (images, labels + np.uint8(1)) for part, (images, labels) in parts.items()}


def pax():
    """A tar that begins with a header of 9 MiB, which a reader would hold as a whole."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 9 << 20
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(9 << 20), 1)


PAX = pax()
BOMB = gzip.compress(bytes(1 << 20), 1) * 96
LABELS = "balanced-train-labels"
ONE = "cifar-10-batches-bin/data_batch_1.bin"
HUGE = gzip.compress(b"\0\0\x08\3" + np.array([1 << 10, 1 << 10, 1 << 10], ">u4").tobytes())
FEW = {"train": (LETTERS["train"][0][:5], LETTERS["train"][1]), "test": LETTERS["test"]}
WRONG = [
    ("emnist", b"PK no zip", "not a zip file"),
    ("emnist", zipped(members())[:-30], "not a zip file"),
    ("emnist", zipped(without(members(), LABELS)), f"gzip/emnist-{LABELS}-idx1-ubyte.gz"),
    ("emnist", zipped(renamed(members(), LABELS, b"1234")), "Not a gzipped file"),
    ("emnist", zipped(renamed(members(), LABELS, idx(np.zeros((1, 6), np.uint8)))), "(1, 6) uint8"),
    ("emnist", zipped(renamed(members(), LABELS, BOMB)), "element type 0x00"),
    ("emnist", zipped(renamed(members(), "train-images", HUGE + BOMB)), "more than the 4704 bytes"),
    ("emnist", zipped(members(FEW)), "(5, 28, 28) uint8, not (6, 28, 28)"),
    ("emnist", zipped(members(beyond(LETTERS))), "labels not all from 0 to 46"),
    ("emnist", wrong_crc(zipped(members())), "CRC"),
    ("emnist", zipped(renamed(members(), LABELS, idx(LETTERS["train"][1])[:-9])), "ended before"),
    ("cifar10", b"\x1f\x8b no tar", ""),
    ("cifar10", gzip.compress(b"no tar" * 200), ""),
    ("cifar10", tarred(batches())[:-2000], "ended before"),
    ("cifar10", tarred(without(batches(), "test_batch")), "test_batch are not there"),
    ("cifar10", tarred(renamed(batches(), "batch_1", b"1" * 3073)), "no file of 9219 bytes"),
    ("cifar10", tarred(batches(beyond(COLOURS))), "labels not all from 0 to 9"),
    ("cifar10", tarred(without(batches(), "batch_1"), link(ONE)), f"{ONE} is no file"),
    ("cifar10", tarred(without(batches(), "batch_1"), link(ONE, tarfile.LNKTYPE)), "is no file"),
    (
        "cifar10",
        tarred({f"../{name}": content for name, content in batches().items()}),
        "not there",
    ),
    ("cifar10", BOMB, "are not there"),  # a tar that ends at once
    ("cifar10", tarred({"zeros": bytes(9 << 20)}), "inflates to more"),
    ("cifar10", PAX, "inflates to more"),
]


IDS = [f"{name}-{why}" for name, _, why in WRONG]


@pytest.mark.parametrize(("name", "content", "why"), WRONG, ids=IDS)
def test_what_a_published_archive_might_hold_is_refused(
    web, tmp_path, monkeypatch, name, content, why
):
    """Its checksum is right; yet nothing is written, and little inflated."""
    publish(web, monkeypatch, name, content)
    tracemalloc.start()
    refused(lambda: load(name), f"{name}/", "remove it", why)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert [path.name for path in (tmp_path / "tinygan").rglob("*.*")] == [
        {"emnist": "gzip.zip", "cifar10": "cifar-10-binary.tar.gz"}[name]
    ]


def test_strange_members_beside_the_wanted_ones_are_left_alone(web, tmp_path, monkeypatch):
    others = [link("../../x"), link("/etc/x", tarfile.LNKTYPE), tarfile.TarInfo("/abs")]
    others[2].type = tarfile.FIFOTYPE
    contents = {"../escaped.bin": b"x", f"./{ONE}": b"y", **batches()}
    publish(web, monkeypatch, "cifar10", tarred(contents, *others))
    same(load("cifar10"), COLOURS["train"])
    contents = {"../escaped": b"x", "/abs": b"x", **members()}
    publish(web, monkeypatch, "emnist", zipped(contents))
    same(load("emnist"), LETTERS["train"])
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert found == ["tinygan/cifar10/pictures.npz", "tinygan/emnist/pictures.npz"]


def test_a_cache_without_room_is_one_line(web, tmp_path, monkeypatch):
    publish(web, monkeypatch, "emnist", zipped(members()))

    def full(*args, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    refused(lambda: load("emnist"), "pictures.npz: cannot be written", "No space", "MiB")
    assert [path.name for path in (tmp_path / "tinygan/emnist").iterdir()] == ["gzip.zip"]


def test_another_process_was_here_first(web, tmp_path, monkeypatch):
    """It has filled the cache and removed the archive that this one had just checked."""
    content = tarred(batches())
    publish(web, monkeypatch, "cifar10", content)
    load("cifar10")
    cache = tmp_path / "tinygan" / "cifar10" / "pictures.npz"
    filled = cache.read_bytes()
    cache.unlink()

    def late(path):
        path.unlink()
        cache.write_bytes(filled)
        return archives.cifar10(path)

    archive = data.SETS["cifar10"].read.__self__._replace(unpack=late)
    monkeypatch.setitem(data.SETS, "cifar10", data.SETS["cifar10"]._replace(read=archive.read))
    same(load("cifar10"), COLOURS["train"])


SCRIPT = """
    import io, os, sys, time
    from pathlib import Path
    from tinygan.data import archives, named
    from tinygan.data import fetch as fetching

    class Slow(io.BytesIO):
        length = None
        def read1(self, n):
            time.sleep(0.001)
            return super().read1(4000)

    folder, sha256, me, other = Path(sys.argv[1]), *sys.argv[2:]
    archives.EMNIST = {"train": 6, "test": 3}
    content = (folder / "content").read_bytes()
    fetching._urlopen = lambda url, timeout: Slow(content)
    remote = named.EMNIST.remote._replace(sha256=sha256, size=len(content))
    archive = named.EMNIST._replace(remote=remote)
    for i in range(15):
        os.environ["XDG_CACHE_HOME"] = str(folder / f"cache{i}")
        (folder / f"{me}{i}").touch()
        while not (folder / f"{other}{i}").exists():
            time.sleep(0.0002)
        pictures = archive.read("train")
        assert len(pictures.images) == 6 and pictures.labels[-1] == 46
"""


def test_processes_may_load_at_once(tmp_path):
    content = zipped(members())
    (tmp_path / "content").write_bytes(content)
    words = [str(tmp_path), hashlib.sha256(content).hexdigest()]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *words]
    runs = [
        subprocess.Popen([*command, *names], stderr=subprocess.PIPE, text=True)
        for names in ("ab", "ba")
    ]
    errors = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    left = [path.name for path in tmp_path.glob("cache*/tinygan/emnist/*")]
    assert set(left) <= {"pictures.npz", "gzip.zip"} and left.count("pictures.npz") == 15

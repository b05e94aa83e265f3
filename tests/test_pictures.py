"""Folders of pictures and files of arrays: what becomes of every kind, and that of what is damaged
or made to do harm one line is said.

The pictures are drawn here, with Pillow. Each test has a cache of its own.
"""

import contextlib
import io
import os
import signal
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from test_data import fill, header, idx, refused

from tinygan import data, files
from tinygan.data import Pictures, cache, decode, folder, load, mnist, pictures, sets, split
from tinygan.data.resize import luma, wanted

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
EXIF = 0x0112
FINE = {"quality": 100, "subsampling": 0}  # a JPEG whose colours stay in their places


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(cache, "cache_folder", lambda: place)
    return place / "pictures"


@pytest.fixture(autouse=True)
def silence():
    """A warning is an error, but where it is asked for."""
    with warnings.catch_warnings(action="error"):
        yield


def put(path, picture=PHOTO, mode=None, **options):
    """Save an array, or Pillow's image, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def plain(colour, size=(8, 8), mode="RGB"):
    return Image.new(mode, size, colour)


def one(path, side=8, **options):
    """The only picture of a folder in which there is nothing else."""
    (image,) = pictures(path, side, **options).images
    return image


def quarters(size=16):
    """Red above green left, blue above white right: every turn of it is another picture."""
    image = np.full((size, size, 3), 255, np.uint8)
    half = size // 2
    image[:half, :half], image[half:, :half], image[:half, half:] = RED, GREEN, BLUE
    return image


def test_folders_are_classes_and_the_order_is_that_of_paths(tmp_path):
    shades = {"b/2.png": 10, "a/x/9.png": 20, "b/10.png": 30, "a/1.PNG": 40, "Z/1.png": 50}
    for name, shade in shades.items():
        put(tmp_path / name, plain(shade, mode="L"))
    found = pictures(tmp_path, 4)
    assert found.images[:, 0, 0].tolist() == [50, 40, 20, 30, 10]
    assert found.labels.tolist() == [0, 1, 1, 2, 2] and found.names == ("Z", "a", "b")
    assert found.labels.dtype == np.int64 and found.classes == 3
    assert found.images.dtype == np.uint8 and found.images.flags.c_contiguous


def test_without_classes_there_are_no_labels(tmp_path):
    put(tmp_path / "flat" / "1.png"), put(tmp_path / "flat" / "2.png")
    put(tmp_path / "single" / "x" / "a" / "1.png"), put(tmp_path / "single" / "x" / "b" / "2.png")
    put(tmp_path / "each" / "a" / "1.png"), put(tmp_path / "each" / "b" / "1.png")
    for name in ("flat", "single", "each"):
        found = pictures(tmp_path / name, 4)
        assert len(found.images) == 2 and found.labels is None and found.names == ()
        assert found.classes == 0


def test_pictures_beside_classes_are_refused(tmp_path):
    put(tmp_path / "1.png"), put(tmp_path / "a" / "1.png")
    refused(lambda: pictures(tmp_path), tmp_path, "1 pictures beside folders with 1", "move")


@pytest.mark.parametrize("ext", ["png", "jpg", "webp", "bmp", "gif"])
def test_every_format_by_content_and_not_by_suffix(tmp_path, ext):
    path = put(tmp_path / f"a.{ext}", quarters(), **FINE if ext == "jpg" else {})
    path.rename(tmp_path / "a.png")
    image = one(tmp_path, 16).astype(int)
    assert np.abs(image - quarters())[[3, 3, 12, 12], [3, 12, 3, 12]].max() <= 3


MODES = [  # mode, options of saving, a colour, what becomes of it on blue
    ("1", "png", 1, 255),
    ("L", "png", 77, 77),
    ("LA", "png", (200, 0), BLUE),
    ("RGBA", "png", (255, 0, 0, 0), BLUE),
    ("RGBA", "webp", (255, 0, 0, 0), BLUE),
    ("RGBA", "png", (255, 0, 0, 51), (51, 0, 204)),
    ("CMYK", "jpg", (0, 255, 255, 0), (255, 0, 0)),
    ("I;16", "png", 300 * 257 // 2, 150),
    ("I;16", "png", 65535, 255),
    ("I;16", "png", 257, 1),
    ("P", "gif", 3, None),
]


@pytest.mark.parametrize(("mode", "ext", "colour", "becomes"), MODES)
def test_modes(tmp_path, mode, ext, colour, becomes):
    put(tmp_path / f"a.{ext}", plain(colour, mode=mode), **FINE if ext == "jpg" else {})
    image = one(tmp_path, background="blue")
    if becomes is None:
        assert image.shape == (8, 8)  # the default palette of one colour is grey
        return
    assert image.shape == (8, 8, 3) if np.ndim(becomes) else image.shape == (8, 8)
    assert np.abs(image.astype(int) - becomes).max() <= (ext == "jpg")


def test_transparent_colours_do_not_bleed_into_what_is_resized(tmp_path):
    """Red that nobody sees, between stripes of white."""
    rgba = np.full((32, 32, 4), 255, np.uint8)
    rgba[:, ::2] = (255, 0, 0, 0)
    put(tmp_path / "a.png", rgba)
    assert one(tmp_path).tolist() == np.full((8, 8), 255).tolist()


def test_palettes_with_a_transparent_entry(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([*RED, *GREEN])
    palette.paste(0, (0, 0, 4, 8))
    put(tmp_path / "p" / "a.png", palette, transparency=0)
    put(tmp_path / "g" / "a.gif", palette, transparency=0)
    grey = plain(7, mode="I;16")
    put(tmp_path / "s" / "a.png", grey, transparency=7)
    for name in "pg":
        image = one(tmp_path / name, background=(9, 8, 7))
        assert (image[:, :4] == (9, 8, 7)).all() and (image[:, 4:] == GREEN).all()
    assert (one(tmp_path / "s", background=(9, 9, 9)) == 9).all()


def test_pixels_of_unknown_range_are_left_out(tmp_path):
    for mode in "IF":
        with pytest.raises(ValueError, match="32 bits a pixel"):
            decode.flat(plain(1, mode=mode), RED)
    put(tmp_path / "a.png"), put(tmp_path / "b.tif", plain(1, mode="F"))
    (tmp_path / "b.tif").rename(tmp_path / "c.png")
    put(tmp_path / "b.tif")
    with pytest.warns(UserWarning, match=r"left out 2: b\.tif \(tif is not read; .*, c\.png"):
        assert len(pictures(tmp_path).images) == 1


TURNED = {  # how a picture lies in a file whose EXIF says so
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("ext", ["png", "jpg", "webp"])
def test_orientation(tmp_path, ext):
    for value, turned in TURNED.items():
        exif = Image.Exif()
        exif[EXIF] = value
        # EXIF 2.3: 6 is what is to be turned clockwise, so that row 0 is the right side
        lies = np.ascontiguousarray(turned(quarters()))
        put(tmp_path / f"{value}.{ext}", lies, exif=exif, **FINE if ext == "jpg" else {})
    for image in pictures(tmp_path, 16).images.astype(int):
        assert np.abs(image - quarters())[[3, 3, 12, 12], [3, 12, 3, 12]].max() <= 3


def test_damaged_exif_is_no_orientation(tmp_path):
    for i, exif in enumerate(
        (b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    ):
        put(tmp_path / f"{i}.jpg", quarters(), exif=exif)
    assert len(pictures(tmp_path).images) == 2


def test_colour_profiles_are_ignored(tmp_path):
    put(tmp_path / "a.png", quarters(), icc_profile=b"no profile at all")
    assert np.array_equal(one(tmp_path, 16), quarters())


def test_crop_takes_the_middle_and_pad_keeps_all(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8], wide[:, 8:16], wide[:, 16:] = RED, GREEN, BLUE
    put(tmp_path / "w" / "a.png", wide), put(tmp_path / "h" / "a.png", wide.swapaxes(0, 1).copy())
    assert (one(tmp_path / "w") == GREEN).all() and (one(tmp_path / "h") == GREEN).all()
    padded = one(tmp_path / "w", 24, fit="pad", background=(1, 2, 3))
    assert np.array_equal(padded[8:16], wide)
    assert (padded[:8] == (1, 2, 3)).all() and (padded[16:] == (1, 2, 3)).all()
    other = one(tmp_path / "h", 24, fit="pad", background=(1, 2, 3))
    assert np.array_equal(other, padded.swapaxes(0, 1))


def test_a_crop_of_the_side_is_not_resampled(tmp_path):
    put(tmp_path / "a.png", PHOTO[:, :31])  # an odd remainder: not by half a pixel
    assert np.array_equal(one(tmp_path, 24), PHOTO[:, 3:27])


def test_resizing_does_not_alias_and_keeps_the_mean(tmp_path):
    y, x = np.mgrid[:256, :256]
    board = ((x + y) % 2 * 255).astype(np.uint8)  # the finest there is: a grey from afar
    put(tmp_path / "a.png", board)
    assert np.abs(one(tmp_path, 24).astype(int) - 127).max() <= 8


def test_huge_jpegs_are_decoded_at_a_fraction(tmp_path, monkeypatch):
    y, x = np.mgrid[:512, :640].astype(float)
    waves = [127 + 100 * np.sin(x / a) * np.cos(y / b) for a, b in ((31, 40), (17, 90), (60, 25))]
    path = put(tmp_path / "a.jpg", np.stack(waves, -1).astype(np.uint8), quality=95)
    fast = decode.read(path, wanted(32))
    with Image.open(path) as picture:
        monkeypatch.setattr(type(picture), "draft", lambda self, mode, size: None)
    slow = decode.read(path, wanted(32))
    error = np.abs(fast.astype(int) - slow)
    assert error.any() and error.max() <= 6 and error.mean() < 1.5


def test_small_thin_and_tiny_pictures(tmp_path):
    for name, size in (("1", (1, 1)), ("2", (1, 20000)), ("3", (20000, 1)), ("4", (3, 5))):
        put(tmp_path / f"{name}.png", plain(RED, size))
    assert (pictures(tmp_path).images == RED).all()
    padded = pictures(tmp_path, fit="pad", background="black").images
    assert (padded[1, :, 16] == RED).all() or (padded[1, :, 15] == RED).all()
    assert (padded[1].any(-1).sum(), padded[2].any(-1).sum()) == (32, 32)


def test_grey_or_rgb_by_what_is_there(tmp_path):
    grey = RNG.integers(0, 256, (16, 16), np.uint8)
    put(tmp_path / "a.png", grey)
    put(tmp_path / "b.png", grey, mode="RGBA")
    put(tmp_path / "c.jpg", grey, mode="RGB")
    found = pictures(tmp_path, 16)
    assert found.images.shape == (3, 16, 16) and np.array_equal(found.images[1], grey)
    assert pictures(tmp_path, 16, "rgb").images.shape == (3, 16, 16, 3)
    for least, shape in ((3, (4, 16, 16)), (4, (4, 16, 16, 3))):  # as rounding adds, and more
        nearly = np.stack([grey, grey, np.clip(grey, least, None) - least], -1)
        put(tmp_path / "d.png", nearly)
        assert pictures(tmp_path, 16).images.shape == shape
    forced = pictures(tmp_path, 16, "grey").images
    assert forced.shape == (4, 16, 16) and np.array_equal(forced[0], grey)
    assert np.array_equal(forced[3], luma(nearly))


def test_luma_is_pillows():
    assert np.array_equal(luma(PHOTO), np.asarray(Image.fromarray(PHOTO).convert("L")))
    greys = np.arange(256, dtype=np.uint8)
    assert np.array_equal(luma(greys[:, None].repeat(3, 1)), greys)


def test_a_sets_own_side(tmp_path):
    for i in range(3):
        put(tmp_path / f"{i}.png", PHOTO[:20, :20])
    (tmp_path / "bad.png").write_text("text")
    with pytest.warns(UserWarning, match="bad.png"):
        found = load(tmp_path)
    assert np.array_equal(found.images[0], PHOTO[:20, :20])
    (tmp_path / "bad.png").unlink()
    put(tmp_path / "3.png", PHOTO[:20, :21])
    assert load(tmp_path).images.shape[1:3] == (32, 32) and load(tmp_path, 7).images.shape[1] == 7
    (tmp_path / "large").mkdir()
    put(tmp_path / "large" / "a.png", plain(RED, (129, 129)))
    assert load(tmp_path / "large").images.shape[1] == 32


def chunk(kind, content):
    whole = kind + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


def png(width, height, *chunks):
    sizes = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + sizes + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def whole(ext, picture=PHOTO, **options):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, ext, **options)
    return stream.getvalue()


def sized(jpeg, side):
    """A JPEG whose header says that it has this side."""
    at = jpeg.index(b"\xff\xc2") + 5  # after the marker of a frame in passes, length, precision
    return jpeg[:at] + struct.pack(">HH", side, side) + jpeg[at + 4 :]


BOMB = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(64 << 20), 9))
BROKEN = {
    "text": (b"hello, I am no picture\n", "none of PNG"),
    "empty": (b"", "none of PNG"),
    "promise": (png(100_000, 100_000), "exceeds limit"),
    "large": (png(10_000, 10_000), "10000 x 10000"),
    "progressive": (sized(whole("jpeg", progressive=True), 12_000), "12000 x 12000"),
    "bomb": (png(4, 4, BOMB), "too large"),
    "cut": (whole("png")[:-900], "truncated"),
    "cut jpeg": (whole("jpeg")[:300], ""),
    "cut gif": (whole("gif")[:-200], ""),
    "cut webp": (whole("webp")[:-100], ""),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of PNG"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pictures_are_left_out_counted_and_named(tmp_path, kind):
    content, reason = BROKEN[kind]
    put(tmp_path / "a" / "1.png"), put(tmp_path / "a" / "2.png"), put(tmp_path / "b" / "1.png")
    (tmp_path / "b" / "bad.png").write_bytes(content)
    tracemalloc.start()
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning) as caught:
            found = pictures(tmp_path, 8)
        assert found.labels.tolist() == [0, 0, 1]
        line = str(caught[0].message)
        assert len(caught) == 1 and "\n" not in line
        assert line.startswith(f"{tmp_path}: left out 1: b/bad.png (") and reason in line
    assert tracemalloc.get_traced_memory()[1] < 80 << 20  # PNG's text has a limit of its own
    tracemalloc.stop()
    (tmp_path / "all").mkdir()
    for i in range(5):
        (tmp_path / "all" / f"{i}.png").write_bytes(content)
    refused(
        lambda: pictures(tmp_path / "all"), "none of its 5 pictures", "2.png", "and 2 more", ";"
    )


def test_the_others_close_up_over_broken_pictures(tmp_path):
    for i in range(9):
        put(tmp_path / f"{i}.png", plain((i, 99, 99)))
    for i in (0, 3, 4):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    with pytest.warns(UserWarning, match="left out 3: 0.png"):
        found = pictures(tmp_path, 8)
    assert found.images[:, 0, 0, 0].tolist() == [1, 2, 5, 6, 7, 8]


def test_a_class_of_broken_pictures_is_none(tmp_path):
    for name in "abc":
        put(tmp_path / name / "1.png"), put(tmp_path / name / "2.png")
    for i in "12":
        (tmp_path / "b" / f"{i}.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.warns(UserWarning, match="no classes: b, empty"):
        found = pictures(tmp_path)
    assert found.names == ("a", "c") and found.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("names", [(" ", "a"), ("a\nb", r"a\nb"), ("\n" * 130, "a")])
def test_a_folder_that_can_name_no_class_is_told(tmp_path, names):
    for name in names:
        put(tmp_path / name / "1.png"), put(tmp_path / name / "2.png")
    refused(lambda: pictures(tmp_path), f"{tmp_path}: the name of a class, ", "rename")


def test_what_is_no_regular_picture(tmp_path):
    """Pipes, devices, folders with a picture's name, circles of links, names that cannot print."""
    for name in ("a/1.png", "a/x.png/2.png", "b/3.png", "b/.hidden.png", "__MACOSX/4.png"):
        put(tmp_path / name)
    for name in ("b/Thumbs.db", "a/list.txt", "b/no\nline.png"):
        (tmp_path / name).touch()
    put(tmp_path / ".git" / "1.png")
    with contextlib.suppress(OSError):  # not every file system takes it
        (tmp_path / os.fsdecode(b"b/\xff.png")).touch()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    for link, to in (("a/zero.png", "/dev/zero"), ("a/gone.png", "nowhere"), ("a/up", "..")):
        os.symlink(to, tmp_path / link)
    os.symlink(".", tmp_path / "self")
    os.symlink("loop", tmp_path / "loop")
    os.truncate(put(tmp_path / "b" / "sparse.png"), decode.MAX_FILE + 1)
    with pytest.warns(UserWarning, match=r"left out \d: a/gone.png \(No such file"):
        found = pictures(tmp_path)
    assert found.names == ("a", "b") and found.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", ["checkpoint.npz", "config.json"])
@pytest.mark.parametrize("run", ["run", "runs/first"])
def test_what_a_training_run_drew_is_no_picture_of_a_set(tmp_path, run, name):
    put(tmp_path / "a.png"), put(tmp_path / "b.png")
    for made in ("samples/1.png", "made.png"):
        put(tmp_path / run / made)
    (tmp_path / run / name).touch()
    with warnings.catch_warnings(action="ignore"):
        assert len(pictures(tmp_path, 8).images) == 2
    assert len(pictures(tmp_path / run / "samples", 8).images) == 1  # who asks for them
    (tmp_path / run / name).unlink()  # a class that is called "samples" is one
    refused(lambda: pictures(tmp_path), "2 pictures beside folders with 2")


def test_circles_of_links_between_classes_end(tmp_path):
    for name in "abcdef":
        put(tmp_path / name / "1.png"), put(tmp_path / name / "2.png")
        for other in "abcdef":
            os.symlink(tmp_path / other, tmp_path / name / f"to {other}")
    found = pictures(tmp_path, 4)
    assert np.bincount(found.labels).tolist() == [12] * 6  # each has all, once


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable_files_are_left_out_and_asked_for_again(tmp_path):
    path = put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    path.chmod(0)
    with pytest.warns(UserWarning, match="Permission denied"):
        pictures(tmp_path)
    path.chmod(0o600)
    assert len(pictures(tmp_path).images) == 2


def test_a_passing_failure_is_not_kept(tmp_path, monkeypatch, own_cache):
    put(tmp_path / "a.png"), put(tmp_path / "b.png")
    with monkeypatch.context() as patch:
        really = decode.read
        failing = lambda path, want: (
            really(path, want) if path.endswith("a.png") else open(tmp_path / "gone")
        )
        patch.setattr(decode, "read", failing)
        with pytest.warns(UserWarning, match="b.png"):
            assert len(pictures(tmp_path).images) == 1
    assert not own_cache.exists() and len(pictures(tmp_path).images) == 2


def test_animations_give_their_first_frame(tmp_path):
    frames = [plain(RED), plain(GREEN), plain(BLUE)]
    for ext, options in (("gif", {}), ("webp", {"lossless": True}), ("png", {})):
        put(tmp_path / f"a.{ext}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert (pictures(tmp_path, 8).images == RED).all()


SOURCES = [
    ("gone", "no such folder"),
    ("file.png", "is a file; pass the folder"),
    ("empty", "holds no pictures", "png"),
    ("texts", "holds no pictures", "1 other files", ".npz"),
]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, *words in SOURCES])
def test_what_is_no_folder_of_pictures(tmp_path, name, words):
    (tmp_path / "empty").mkdir(), (tmp_path / "texts").mkdir()
    (tmp_path / "file.png").touch(), (tmp_path / "texts" / "a.txt").touch()
    refused(lambda: pictures(tmp_path / name), tmp_path / name, *words)


WRONG = [
    ({"side": 0}, "side is 0", "1 to 1024"),
    ({"side": -1}, "side is -1"),
    ({"side": 5000}, "side is 5000"),
    ({"side": 2.5}, "side is 2.5"),
    ({"side": True}, "side is True"),
    ({"side": "32"}, "side is '32'"),
    ({"colour": "gray"}, "colour is 'gray'", "'grey', 'rgb'"),
    ({"colour": 3}, "colour is 3"),
    ({"fit": None}, "fit is None", "'crop', 'pad'"),
    ({"background": "blurple"}, "background is 'blurple'", "CSS"),
    ({"background": "#ff000080"}, "opaque"),
    ({"background": (1, 2)}, "(1, 2)"),
    ({"background": (0, 0, 256)}, "256"),
    ({"background": (0, 0, 0.5)}, "0.5"),
    ({"background": None}, "None"),
]


@pytest.mark.parametrize(("options", "words"), [(o, words) for o, *words in WRONG])
def test_wrong_options_are_one_line_for_every_source(tmp_path, options, words):
    put(tmp_path / "a.png")
    refused(lambda: pictures(tmp_path, **options), *words)
    for source in ("bundled", tmp_path):
        refused(lambda source=source: load(source, **options), *words)
        refused(lambda source=source: split(source, **options), *words)


@pytest.mark.parametrize("option", ["side", "colour", "background", "fit"])
def test_a_long_wrong_option_is_not_repeated_whole(option):
    with pytest.raises(data.DataError, match=f"{option} is 'aaa") as caught:
        load("bundled", **{option: "a" * 3000})
    assert len(str(caught.value)) < 300


def test_memory_is_counted_before_a_picture_is_decoded(tmp_path, monkeypatch):
    put(tmp_path / "a.png"), put(tmp_path / "b.png")
    monkeypatch.setattr("tinygan.data.resize.MAX_SET", 2 * 32 * 32 * 3 - 1)
    monkeypatch.setattr(decode, "read", None)
    refused(lambda: pictures(tmp_path), tmp_path, "2 pictures of 32 x 32 x 3", "smaller side")
    np.save(tmp_path / "a.npy", GREYS)
    for options in ({"colour": "rgb"}, {"side": 99}):
        monkeypatch.setattr("tinygan.data.resize.MAX_SET", GREYS.nbytes * 3 - 1)
        refused(lambda: load(tmp_path / "a.npy", **options), "5 pictures of", "smaller side")


def count_reads(monkeypatch):
    """How many pictures were decoded, by now."""
    reads, really = [], decode.read

    def read(path, want):
        reads.append(path)
        return really(path, want)

    monkeypatch.setattr(decode, "read", read)
    return reads


def same(a: Pictures, b: Pictures):
    labels = a.labels is b.labels is None or np.array_equal(a.labels, b.labels)
    return np.array_equal(a.images, b.images) and labels and a.names == b.names


def test_the_cache_answers_until_something_changes(tmp_path, monkeypatch, own_cache):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        put(tmp_path / name)
    reads = count_reads(monkeypatch)
    first = pictures(tmp_path, 8)
    assert same(first, pictures(tmp_path, 8)) and len(reads) == 3
    assert same(first, pictures(os.path.relpath(tmp_path), 8)) and len(reads) == 3
    assert len(list(own_cache.iterdir())) == 1
    changes = [
        lambda: put(tmp_path / "a" / "1.png", PHOTO[::-1].copy()),
        lambda: put(tmp_path / "a" / "3.png"),
        lambda: (tmp_path / "a" / "3.png").unlink(),
        lambda: (tmp_path / "b").rename(tmp_path / "c"),
        lambda: os.utime(tmp_path / "a" / "2.png", (1, 1)),
        lambda: monkeypatch.setattr(folder, "VERSION", 0),
    ]
    for change in changes:
        change(), reads.clear()
        found = pictures(tmp_path, 8)
        assert reads and len(list(own_cache.iterdir())) == 1, change
        reads.clear()
        assert same(found, pictures(tmp_path, 8)) and not reads
    options = [{"side": 9}, {"colour": "grey"}, {"background": "black"}, {"fit": "pad"}]
    for option in options:
        pictures(tmp_path, **{"side": 8, **option})
        assert reads, option
        reads.clear()


def _exchanged(a, b):
    a.rename(a.with_name("aside")), b.rename(a), a.with_name("aside").rename(b)


def _overwritten(path, other):
    """By a tool that keeps the time, as rsync and cp -p do."""
    path.write_bytes(other.read_bytes())
    os.utime(path, (1, 1))


def _linked_elsewhere(link, other):
    link.unlink(), link.symlink_to(other)


@pytest.mark.parametrize("way", ["files moved", "folders moved", "overwritten", "linked"])
def test_other_pictures_of_the_same_size_and_time_are_not_those_in_the_cache(tmp_path, way):
    """Of the same size: bitmaps."""
    shades = {"a/1.bmp": 10, "a/2.bmp": 20, "b/1.bmp": 30, "b/2.bmp": 40, "../other.bmp": 50}
    root = tmp_path / "set"
    for name, shade in shades.items():
        os.utime(put(root / name, plain(shade, mode="L")), (1, 1))
    (root / "c").mkdir(), (root / "c" / "1.bmp").symlink_to(root / "a" / "1.bmp")
    first = pictures(root, 8).images[:, 0, 0].tolist()
    change, *which = {
        "files moved": (_exchanged, "a/1.bmp", "a/2.bmp"),
        "folders moved": (_exchanged, "a", "b"),
        "overwritten": (_overwritten, "a/1.bmp", "../other.bmp"),
        "linked": (_linked_elsewhere, "c/1.bmp", "../other.bmp"),
    }[way]
    change(*(root / name for name in which))
    found = {
        "files moved": [20, 10, 30, 40, 20],
        "folders moved": [30, 40, 10, 20, 30],
        "overwritten": [50, 20, 30, 40, 50],
        "linked": [10, 20, 30, 40, 50],
    }[way]
    assert first == [10, 20, 30, 40, 10]
    assert pictures(root, 8).images[:, 0, 0].tolist() == found


@contextlib.contextmanager
def in_time(seconds=20):
    """What takes longer, as one that waits for the other end of a pipe, is interrupted."""

    def late(*_):
        raise AssertionError(f"waited for {seconds} seconds")  # no OSError, which is passed over

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_cache_that_may_be_read_but_not_touched_answers(tmp_path, monkeypatch):
    put(tmp_path / "a.png")
    pictures(tmp_path, 8)

    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", forbidden)
    reads = count_reads(monkeypatch)
    assert len(pictures(tmp_path, 8).images) == 1 and not reads


def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, own_cache):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        put(tmp_path / name)
    first = pictures(tmp_path, 8)
    (place,) = own_cache.iterdir()
    good = place.read_bytes()
    reads = count_reads(monkeypatch)
    with files.Npz(place) as npz:
        arrays = {name: npz.read(name) for name in npz.headers}
    hostile = [good[:100], b"", good[:-30] + bytes(30)]
    flipped = bytearray(good)
    flipped[good.index(first.images.tobytes()[:64])] ^= 1
    hostile.append(bytes(flipped))
    for change in (
        {"labels": np.array([0, 1, 2])},
        {"labels": np.array([0, 0, -1])},
        {"labels": np.array([0, 1])},
        {"labels": np.array([0.0, 0, 1])},
        {"images": first.images.astype(np.float32)},
        {"images": first.images[:0], "labels": first.labels[:0]},
        {"images": first.images[0], "labels": first.labels[:0]},
        {"images": np.array(7, np.uint8)},
        {"names": np.frombuffer(b"\xff" * 8, "<U1")},
        {"note": np.frombuffer(b"\xff" * 4, "<U1")[0:1].reshape(())},
        {"fingerprint": np.array("0" * 32)},
    ):
        stream = io.BytesIO()
        np.savez(stream, **{**arrays, **change})
        hostile.append(stream.getvalue())
    for content in hostile:
        place.write_bytes(content)
        reads.clear()
        assert same(first, pictures(tmp_path, 8)) and len(reads) == 3
    place.unlink()
    place.mkdir()  # it can be neither read nor written
    assert same(first, pictures(tmp_path, 8))
    place.rmdir()
    os.mkfifo(place)
    with in_time():
        assert same(first, pictures(tmp_path, 8))


def test_no_cache_is_no_failure(tmp_path, monkeypatch):
    put(tmp_path / "a.png")
    (tmp_path / "file").touch()
    for where in (tmp_path / "file", "/dev/null", "/proc"):
        monkeypatch.setattr(cache, "cache_folder", lambda where=where: type(tmp_path)(where))
        assert len(pictures(tmp_path).images) == 1

    def homeless():
        raise data.DataError("no home")

    monkeypatch.setattr(cache, "cache_folder", homeless)
    assert len(pictures(tmp_path).images) == 1


def test_the_cache_has_a_limit(tmp_path, monkeypatch, own_cache):
    """Of three, which it cannot hold, the one goes that was used longest ago."""
    put(tmp_path / "a.png")
    for side in (64, 65):
        pictures(tmp_path, side, "rgb")
        newest = max(own_cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (side, side))
    monkeypatch.setattr(cache, "MAX_CACHE", newest.stat().st_size * 5 // 2)
    reads = count_reads(monkeypatch)
    pictures(tmp_path, 64, "rgb")
    assert not reads
    pictures(tmp_path, 66, "rgb")
    assert len(list(own_cache.iterdir())) == 2 and len(reads) == 1
    pictures(tmp_path, 64, "rgb"), pictures(tmp_path, 66, "rgb")
    assert len(reads) == 1
    pictures(tmp_path, 65, "rgb")
    assert len(reads) == 2


def test_split_leaves_every_class_something_to_learn_from(tmp_path):
    for k in range(21):
        for i in range(1 if k in (0, 10) else 2):  # the first, and another, begin a tenth
            put(tmp_path / f"{k:02}" / f"{i}.png", plain((k, k, k)))
    learn, held = split(tmp_path, 4)
    assert set(learn.labels) == set(range(21)) and len(held.images) == 3
    assert len(learn.images) + len(held.images) == 40
    assert learn.names == held.names and len(learn.names) == 21
    for part in (learn, held):
        assert np.array_equal(part.images[:, 0, 0], part.labels)
    put(tmp_path / "lonely" / "a.png")
    refused(lambda: split(tmp_path / "lonely"), "one picture", "two")


TENTHS = {  # labels, and how many of each class are held out
    "in turn": (np.arange(60) % 10, [1, 1, 0, 1, 0, 1, 1, 0, 1, 0]),
    "in turn, 20 of each": (np.arange(200) % 10, [2] * 10),
    "sorted": (np.arange(200) // 20, [2] * 10),
    "each tenth another class": (np.where(np.arange(100) % 10, 0, 1), [9, 1]),
    "too many of a small class": (np.isin(np.arange(100), [0, 10, 20, *range(1, 8)]) * 1, [9, 1]),
    "pairs": (np.arange(40) % 20, [1, 0, 0, 0, 0] * 4),
    "fair as they are": (np.r_[np.arange(10), np.arange(10)[::-1]] % 2, [1, 1]),
    "a number that no picture has": (np.arange(40) % 2 * 2, [2, 0, 2]),
    "one of a class": (np.r_[0, np.ones(19, int)], [0, 1]),
    "one of each": (np.arange(5), [1, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", TENTHS)
def test_a_tenth_of_each_class_is_held_out(name):
    labels, wanted = TENTHS[name]
    held = sets.each_tenth(Pictures(np.zeros((len(labels), 2, 2), np.uint8), labels))
    assert np.bincount(labels[held], minlength=len(wanted)).tolist() == wanted
    if name == "fair as they are":
        assert np.flatnonzero(held).tolist() == [0, 10]


def test_of_digits_and_of_what_has_no_labels_each_tenth_is_held_out():
    for whole in (load(), Pictures(np.zeros((21, 2, 2), np.uint8))):
        held = sets.each_tenth(whole)
        assert np.flatnonzero(held).tolist() == [*range(0, len(held), 10)]


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


GREYS = RNG.integers(0, 256, (5, 6, 6), np.uint8)
COLOURS = RNG.integers(0, 256, (5, 6, 6, 3), np.uint8)
FORMS = [
    (GREYS, GREYS),
    (GREYS[..., None], GREYS),
    (GREYS[:, None], GREYS),
    (COLOURS, COLOURS),
    (COLOURS.transpose(0, 3, 1, 2), COLOURS),
    (np.asfortranarray(COLOURS), COLOURS),
    (GREYS.astype(np.int64), GREYS),
    (GREYS.astype(">u2"), GREYS),
    (GREYS / 255, GREYS),
    ((GREYS / 255).astype(np.float32), GREYS),
    ((GREYS / 127.5 - 1).astype(np.float32), GREYS),
    (np.float32(GREYS / 127.5 - 1) * np.float32(1.0001), GREYS),
    (np.concatenate([COLOURS, np.full((5, 6, 6, 1), 255, np.uint8)], -1), COLOURS),
]


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_arrays_of_every_form(tmp_path, form):
    given, wanted = FORMS[form]
    np.save(tmp_path / "a.npy", given)
    save(tmp_path / "a.npz", images=given)
    (tmp_path / "a.npz").rename(tmp_path / "named anyhow")
    for name in ("a.npy", "named anyhow"):
        found = load(tmp_path / name)
        assert np.array_equal(found.images, wanted) and found.images.dtype == np.uint8
        assert found.images.flags.c_contiguous and found.labels is None and found.names == ()


def test_transparent_arrays_lie_on_the_background(tmp_path):
    clear = np.zeros((2, 5, 5, 4), np.uint8)
    np.save(tmp_path / "a.npy", clear)
    assert (load(tmp_path / "a.npy", background="lime").images == GREEN).all()


REFUSED = [
    (GREYS.reshape(5, 36), "(5, 36)"),
    (GREYS[..., None].repeat(2, -1), "(5, 6, 6, 2)"),
    (COLOURS[:, :3], "(5, 3, 6, 3)", "told from heights"),
    (COLOURS[0], "images[None]"),
    (GREYS[:0], "no images"),
    (GREYS[:, :0], "no pixels"),
    (GREYS > 9, "bool", "255"),
    (GREYS // 255, "images * 255"),
    (GREYS.astype(np.int16) - 300, "from -"),
    (GREYS.astype(np.uint16) + 300, "0 to 255"),
    (GREYS.astype(np.float32), "astype('uint8')"),
    (GREYS * np.float32(np.nan), "nan"),
    (GREYS / 100.0 - 2, "floats go"),
    (GREYS / 255.0 - 0.02, "does not say which", "from -0.02 to", "images.clip(0, 1)"),
    (GREYS / 255.0 - 0.5, "does not say which", "(images + 1) / 2"),
    (GREYS[:, :, :4], "images[None]", "images[..., None]"),
    (GREYS + 1j, "complex"),
    (GREYS.astype(str), "<U"),
]


@pytest.mark.parametrize(("images", "words"), [(images, words) for images, *words in REFUSED])
def test_arrays_that_are_no_pictures(tmp_path, images, words):
    np.save(tmp_path / "a.npy", images)
    refused(lambda: load(tmp_path / "a.npy"), tmp_path / "a.npy", *words)
    save(tmp_path / "a.npz", x=images)
    refused(lambda: load(tmp_path / "a.npz"), tmp_path / "a.npz", "(x)", *words)


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([0, 1, 1, 0, 2], [0, 1, 1, 0, 2], ()),
        (np.array([0, 1, 1, 0, 2], np.uint8), [0, 1, 1, 0, 2], ()),
        (np.array([[0], [1], [1], [0], [2]]), [0, 1, 1, 0, 2], ()),
        ([7, -3, 7, 10, 7], [1, 0, 1, 2, 1], ("-3", "7", "10")),
        ([1, 2, 1, 2, 1], [0, 1, 0, 1, 0], ("1", "2")),
        ([True, False, True, True, False], [1, 0, 1, 1, 0], ()),
        (["ox", "cat", "ox", "a\nb", "cat"], [2, 1, 2, 0, 1], ("a\\nb", "cat", "ox")),
        (np.array([2**64 - 1, 0, 0, 0, 1], np.uint64), [2, 0, 0, 0, 1], ("0", "1", str(2**64 - 1))),
    ],
)
def test_labels_of_every_kind(tmp_path, labels, numbers, names):
    found = load(save(tmp_path / "a.npz", x=GREYS, y=labels))
    assert found.labels.dtype == np.int64 and found.labels.tolist() == numbers
    assert found.names == names and found.classes == len(set(numbers))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.zeros(5)}, ["labels.astype(int)"]),
        ({"labels": np.eye(5, dtype=int)}, ["labels.argmax(1)"]),
        ({"labels": np.zeros(4, int)}, ["(labels): 4 labels for 5 images"]),
        ({"labels": np.array(5)}, ["should hold labels"]),
        ({"labels": np.array([b"a"] * 5)}, ["neither numbers nor text"]),
        ({"labels": np.array([None] * 5)}, ["neither numbers nor text"]),
        ({"labels": np.arange(5), "names": np.array(["a", "b"])}, ["2 names", "from 0 to 4"]),
        ({"labels": np.arange(5) % 2, "names": np.array(["a", "a"])}, ["'a', is there twice"]),
        ({"labels": np.array(list("ab \nb"))}, ["' ', has not 1 to 255", "rename"]),
        ({"labels": np.array(["a" * 300, *"bbbb"])}, ["'aaa", "has not 1 to 255"]),
        ({"labels": np.array(["a\nb", r"a\nb", *"bbb"])}, ["is there twice, as it is printed"]),
        ({"labels": np.arange(5) % 2 - 1, "names": np.array(["a", "b"])}, ["from -1"]),
    ],
)
def test_labels_that_are_none(tmp_path, arrays, words):
    save(tmp_path / "a.npz", images=GREYS, **arrays)
    refused(lambda: load(tmp_path / "a.npz"), tmp_path / "a.npz", *words)


def test_an_npz_of_samples_is_a_set(tmp_path):
    made = {"images": COLOURS, "labels": np.arange(5) % 2, "names": np.array(["cat", "dog"])}
    found = load(save(tmp_path / "samples.npz", **made))
    assert found.names == ("cat", "dog") and found.labels.tolist() == [0, 1, 0, 1, 0]
    assert np.array_equal(found.images, COLOURS)
    learn, held = split(tmp_path / "samples.npz")
    assert len(learn.images) == 4 and len(held.images) == 1
    refused(lambda: load(save(tmp_path / "b.npz", pictures=GREYS)), "['pictures']", "images=")


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_hostile_array_files(tmp_path):
    path = tmp_path / "a"
    np.save(tmp_path / "pickle.npy", np.array([Touch(tmp_path / "touched")], object))
    refused(lambda: load(tmp_path / "pickle.npy"), "neither numbers nor text")
    np.savez(tmp_path / "pickle.npz", images=np.array([Touch(tmp_path / "touched")], object))
    with pytest.raises(data.DataError, match="neither numbers nor text") as caught:
        load(tmp_path / "pickle.npz")
    assert "not a whole" not in str(caught.value) and ".astype(str)" in str(caught.value)
    assert not (tmp_path / "touched").exists()
    stream = io.BytesIO()
    np.save(stream, GREYS)
    whole = stream.getvalue()
    tracemalloc.start()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(lambda: load(path), path)
    huge = whole.replace(b"(5, 6, 6)", b"(9999999999, 6, 6)")
    huge = huge.replace(b" " * 9 + b"\n", b"\n")
    path.write_bytes(huge)
    refused(lambda: load(path), path, "9999999999", "180 follow")
    path.write_bytes(whole + b"x")
    refused(lambda: load(path), path, "181 follow")
    path.write_bytes(header(8, 1 << 15, 64, 64))
    refused(lambda: load(path), path, "only 0 follow")
    path.write_bytes(header(8, 1 << 20, 64, 64))
    refused(lambda: load(path), path, "more than the")
    path.write_bytes(b"text")
    refused(lambda: load(path), path, "no .npz, .npy or IDX file")
    path.write_bytes(b"PK\3\4 and no more")
    refused(lambda: load(path), path, "not a whole .npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/1.png", whole)
    refused(lambda: load(path), path, "'photos/1.png' is no .npy", "zip of pictures", "unpacked")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_an_npz_bomb_is_not_inflated(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((1000, 100, 100), np.uint8))
    monkeypatch.setattr("tinygan.data.arrays.MAX_BYTES", 9_999_999)
    tracemalloc.start()
    refused(lambda: load(tmp_path / "a.npz"), "10000000 bytes", "9999999 allowed")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_folder_of_idx_files_by_any_name(tmp_path):
    names = ["pictures.idx", "what they show"]
    fill(tmp_path, COLOURS, np.array([3, 3, 8, 8, 3], np.int32), names)
    (tmp_path / "read me.txt").write_text("about them")
    found = load(tmp_path)
    assert np.array_equal(found.images, COLOURS)
    assert found.labels.tolist() == [0, 0, 1, 1, 0] and found.names == ("3", "8")
    assert np.array_equal(load(tmp_path / "pictures.idx").images, COLOURS)
    refused(lambda: load(tmp_path / "what they show"), "should hold images", "(5,) int32")
    (tmp_path / "what they show").unlink()
    assert load(tmp_path).labels is None
    (tmp_path / "second").write_bytes(idx(GREYS))
    refused(lambda: load(tmp_path), "2 IDX files of images", "pictures.idx, second", "leave one")


def test_an_mnist_folder_of_letters(tmp_path):
    t10k = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    fill(tmp_path, GREYS, np.array([1, 26, 3, 3, 26], np.uint8))
    fill(tmp_path, GREYS[:2], np.array([26, 3], np.uint8), t10k)
    learn, held = split(tmp_path)
    assert learn.names == held.names == ("1", "3", "26")
    assert learn.labels.tolist() == [0, 2, 1, 1, 2] and held.labels.tolist() == [2, 1]
    fill(tmp_path, GREYS[:2], np.array([26, 4], np.uint8), t10k)
    refused(lambda: split(tmp_path), "t10k holds the label 4 that train does not")
    fill(tmp_path, GREYS[:2, :5], np.array([26, 3], np.uint8), t10k)
    refused(lambda: split(tmp_path), "(6, 6) in train and (5, 6) in t10k", "side")
    assert split(tmp_path, 8)[1].images.shape == (2, 8, 8)
    digits = np.array([0, 1, 2, 3, 3], np.uint8)
    fill(tmp_path, GREYS, digits)
    fill(tmp_path, GREYS[:2], np.array([3, 4], np.uint8), t10k)
    refused(lambda: split(tmp_path), "t10k holds the label 4 that train does not")


def test_a_side_and_a_colour_for_every_source(tmp_path, monkeypatch):
    digits = load("bundled", side=32).images
    assert digits.shape == (10_000, 32, 32) and digits.dtype == np.uint8
    once = Image.fromarray(load().images[0]).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(digits[0], once)
    monkeypatch.setattr(mnist.Files, "read", lambda self: Pictures(GREYS, np.arange(5)))
    monkeypatch.setattr(mnist, "bundled", lambda: Pictures(GREYS[:2], np.arange(2)))
    assert [part.images.shape for part in split("full", 9, "rgb")] == [(5, 9, 9, 3), (2, 9, 9, 3)]
    np.save(tmp_path / "a.npy", COLOURS)
    assert np.array_equal(load(tmp_path / "a.npy", colour="grey").images, luma(COLOURS))
    wide = GREYS[:, :4]
    np.save(tmp_path / "b.npy", wide)
    assert load(tmp_path / "b.npy").images.shape == (5, 4, 6)
    assert np.array_equal(load(tmp_path / "b.npy", side=4).images, wide[:, :, 1:5])
    padded = load(tmp_path / "b.npy", 6, fit="pad", background="red").images
    assert np.array_equal(padded[:, 1:5], wide) and (padded[:, 0] == luma(np.uint8(RED))).all()
    coloured = load(tmp_path / "b.npy", 6, "rgb", "red", "pad").images
    assert (coloured[:, 0] == RED).all() and coloured.flags.c_contiguous


REAL = {ext: whole(ext, RNG.integers(0, 256, (12, 9, 3), np.uint8)) for ext in decode.FORMATS}


@pytest.mark.parametrize("ext", sorted(REAL))
def test_flipped_bytes_give_a_picture_or_a_line(tmp_path, ext):
    rng = np.random.default_rng(1)
    for i in range(60):
        damaged = bytearray(REAL[ext])
        for at in rng.integers(0, len(damaged), rng.integers(1, 9)):
            damaged[at] = rng.integers(256)
        (tmp_path / f"{i}.png").write_bytes(damaged[: rng.integers(len(damaged) // 2, 10**6)])
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(data.DataError):
            assert pictures(tmp_path).images.shape[1:3] == (32, 32)
    assert len(caught) <= 1 and time.monotonic() - start < 20

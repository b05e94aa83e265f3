"""Judges of pictures that are no digits: one that learns from labels, one that was taught nothing,
one with a function of the user's own; what is in another range; and the command line with them.
"""

import argparse
import os
import sys

import numpy as np
import pytest
from test_metrics import DIGITS, IMAGES, LABELS, command, figures
from test_pictures import in_time

from tinygan import cli, data, models, plot, random
from tinygan.cli.real import check
from tinygan.data import DataError, Pictures
from tinygan.metrics import Classifier, Judge, classifier, judge_of, teach


def shapes(n=400, side=16, seed=0):
    """Four classes of pictures on white: a bright disc or square, red or blue, at any place."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    y, x = np.mgrid[:side, :side]
    images = np.full((n, side, side, 3), 255, np.uint8)
    for image, label, (cy, cx) in zip(images, labels, rng.integers(4, side - 3, (n, 2))):
        away = np.stack([abs(y - cy), abs(x - cx)])
        inside = (away**2).sum(0) <= 16 if label % 2 else away.max(0) <= 3
        image[inside] = (230, 40, 30) if label < 2 else (20, 60, 240)
    return Pictures(images, labels, ("red box", "red disc", "blue box", "blue disc"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def short(monkeypatch):
    """Few epochs, and nothing is kept in the user's own cache."""
    monkeypatch.setattr(teach, "EPOCHS", 25)
    monkeypatch.setattr(teach, "SEEN", 10_000)


def quick(monkeypatch):
    """Too short to learn anything."""
    monkeypatch.setattr(teach, "SEEN", 100)
    monkeypatch.setattr(teach, "EPOCHS", 1)


def weights(judge):
    return {name: a.copy() for name, a in judge.net.state_dict().items()}


# A judge that learns from labels


def test_a_judge_learns_from_labels_once_and_says_how_good_it_is(cache, short):
    told, steps, pictures = [], [], shapes()
    random.manual_seed(5).seek(3)
    random.default.normal((2,))
    progress = lambda given: steps.append(given) or given
    judge = judge_of(pictures, n=200, cache=cache, say=told.append, progress=progress)
    words = "training a judge on 360 pictures of 4 classes, once, a minute or two at most ..."
    assert told == [words] and steps == [range(100)]
    assert (random.default.seed, random.default.step, random.default.draw) == (5, 3, 1)
    assert judge.about.startswith("a classifier that learnt from 360 of these pictures, right on ")
    right = int(judge.about.split("right on ")[1].split("%")[0])
    assert right >= 90 and "of 40 others (" in judge.about and "guessing" not in judge.about
    assert judge.features.shape == (200, 64) and len(judge.classes) == 4

    others = shapes(200, seed=1)
    seen = judge.look(data.scale(others.images))[1].argmax(1)
    assert (seen == others.labels).mean() > 0.9
    floor = judge(data.scale(others.images))
    assert floor["missing"] == 0 and floor["score"] > 3 and floor["class_kl"] < 0.1
    few = judge(data.scale(others.images[others.labels > 0]))
    assert few["missing"] == 1
    inverse = judge(data.scale(255 - others.images))
    noise = judge(2 * random.Generator(0).uniform((200, 3, 16, 16)) - 1)
    for name in ("fid", "kid", "sliced"):
        assert floor[name] < min(inverse[name], noise[name]), name

    again = judge_of(pictures, n=200, cache=cache, say=told.append)
    assert len(told) == 1 and again.about == judge.about
    assert again(data.scale(others.images)) == floor
    (path,) = cache.iterdir()
    for changed in (pictures._replace(labels=(pictures.labels + 1) % 4), shapes(399)):
        place = teach._place(changed, cache)
        assert place.parent == cache and place != path


@pytest.mark.parametrize(
    "damage", ["torn", "empty", "other", "nan", "dtype", "extra", "folder", "pipe"]
)
def test_a_damaged_cache_is_made_anew(damage, tmp_path, monkeypatch):
    quick(monkeypatch)
    pictures, told = shapes(60, 8), []
    first = weights(judge_of(pictures, cache=tmp_path, say=told.append))
    (path,) = tmp_path.iterdir()
    content, state = path.read_bytes(), dict(first)
    if damage == "nan":
        state["logits.bias"][1] = np.nan
    elif damage == "dtype":
        state["logits.bias"] = state["logits.bias"].astype(np.float64)
    elif damage == "extra":
        state["more"] = np.zeros(3)
    elif damage == "other":
        state = Classifier(8, 3, 5).state_dict()
    if damage in ("torn", "empty"):
        path.write_bytes(content[: len(content) // 2] if damage == "torn" else b"")
    elif damage in ("folder", "pipe"):
        path.unlink()
        path.mkdir() if damage == "folder" else os.mkfifo(path)
    else:
        np.savez(path, **state)
    with in_time():
        again = weights(judge_of(pictures, cache=tmp_path, say=told.append))
    assert len(told) == 2 and all(
        np.array_equal(again[k], a, True) for k, a in first.items() if k != "logits.bias"
    )
    assert damage in ("folder", "pipe") or path.read_bytes() == content


def test_no_place_for_a_cache_is_no_failure(tmp_path, monkeypatch):
    quick(monkeypatch)
    (tmp_path / "file").write_bytes(b"")

    def homeless():
        raise DataError("no home")

    for folder in (tmp_path / "file", None):
        monkeypatch.setattr(teach, "cache_folder", homeless)
        assert "learnt from 54" in judge_of(shapes(60, 8), cache=folder, say=str).about
    monkeypatch.setattr(teach, "cache_folder", lambda: tmp_path / "new")
    judge_of(shapes(60, 8), say=str)
    (path,) = (tmp_path / "new" / "judges").iterdir()
    assert path.suffix == ".npz"


def test_labels_that_teach_nothing_are_said_to(monkeypatch, tmp_path):
    quick(monkeypatch)
    pictures = shapes(200, 8)
    chance = pictures._replace(labels=np.random.default_rng(2).integers(0, 4, 200), names=())
    about = judge_of(chance, cache=tmp_path, say=str).about
    assert about.endswith("; not clearly better than guessing, so that its features are weak")
    rare = pictures._replace(labels=np.where(np.arange(200) < 3, 4, pictures.labels), names=())
    assert (
        "; 1 of 5 classes had fewer than 10 pictures"
        in judge_of(rare, cache=tmp_path, say=str).about
    )


def test_a_run_is_judged_by_all_classes_of_a_sorted_set(monkeypatch, tmp_path):
    labels = np.arange(60) // 6
    real = Pictures(np.repeat(labels, 64).astype(np.uint8).reshape(60, 8, 8), labels)
    rows = cli.training.spread(real, 20)
    assert np.bincount(labels[rows]).tolist() == [2] * 10 and len(set(rows)) == 20
    shown = []
    judge_of = lambda some, *_, **say: shown.append(some) or argparse.Namespace(about="")
    monkeypatch.setattr(cli.training, "JUDGED_MOST", 20)
    monkeypatch.setattr(cli.training, "judge_of", judge_of)
    model = models.mlp(2, side=8, classes=10, names=tuple("abcdefghij"))
    judged = cli.training.Judged(argparse.Namespace(seed=0, evaluate=1), model, real)
    judged.run = argparse.Namespace(out=tmp_path)
    judged.begin()
    assert np.array_equal(shown[0].images, real.images[rows])
    assert cli.training.asked(model, real, 20).tolist() == labels[rows].tolist()


def test_a_judge_sees_a_part_of_each_class_whatever_the_order(monkeypatch, tmp_path):
    quick(monkeypatch)
    in_turn = shapes(200, 8)._replace(labels=np.arange(200) % 10, names=())
    about = judge_of(in_turn, cache=tmp_path, say=str).about
    assert "of 20 others (10% are of one class)" in about


def test_digits_keep_the_classifier_that_ships_and_other_labels_do_not(monkeypatch):
    digits = Pictures(DIGITS[:300], LABELS[:300].astype(np.int64))
    judge = judge_of(digits, n=50, say=None)
    assert judge.about == classifier.SHIPPED
    assert judge(IMAGES[300:350]) == Judge(IMAGES[:50])(IMAGES[300:350])
    monkeypatch.setattr(teach, "taught", lambda pictures, *rest: Classifier(28, 1, 10, "taught"))
    for other in (
        digits._replace(labels=9 - digits.labels),
        digits._replace(images=digits.images.transpose(0, 2, 1)),
        digits._replace(images=255 - digits.images),
    ):
        assert judge_of(other, say=None).about == "taught"


@pytest.mark.parametrize("side", [8, 16, 28, 29, 32, 64, 128])
def test_a_classifier_has_as_many_stages_as_its_images_need(side):
    net = Classifier(side, 3, 4).eval()
    assert net(np.zeros((2, 3, side, side), np.float32)).shape == (2, 4)
    stages = sum(isinstance(layer, classifier.nn.Conv2d) for layer in net.modules())
    assert stages == {64: 3, 128: 4}.get(side, 2)


# A judge without labels

FIRST = [0.8996638, -1.6085995, -0.774608]  # weights on every machine


def test_random_features_are_the_same_everywhere_and_said_to_be_weak():
    pictures = shapes(120)._replace(labels=None, names=())
    random.manual_seed(7)
    judge = judge_of(pictures)
    assert judge.about.startswith("random features, which are weak") and "no labels" in judge.about
    assert judge.classes is None and random.default.draw == 0
    random.manual_seed(8)
    others = shapes(120, seed=1).images
    figures = judge_of(pictures)(data.scale(others))
    assert figures == judge(data.scale(others))
    assert not figures.keys() & {"score", "class_kl", "missing"}
    assert 0.1 < judge.features.std(0).mean() < 2
    first = judge.net.state_dict()["features.0.weight"][0, 0, 0, :3]
    np.testing.assert_allclose(first, FIRST, rtol=1e-5)
    noise = random.Generator(0).uniform(others.shape) * 255
    for worse in (255 - others, noise.astype(np.uint8)):
        found = judge(data.scale(worse))
        assert all(found[name] > 3 * figures[name] for name in ("fid", "kid", "sliced"))


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.zeros(60, int), "classes: 1, pictures: 60"),
        (np.arange(60) % 7, "classes: 7, pictures: 60"),
    ],
)
def test_too_few_classes_or_pictures_teach_nothing(labels, why):
    assert why in judge_of(Pictures(shapes(60, 8).images, labels), say=None).about


def test_pictures_that_are_not_square_are_for_a_users_own_features():
    wide = Pictures(np.zeros((40, 8, 12), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    with pytest.raises(DataError, match=r"square pictures only, got \(40, 8, 12\); crop"):
        judge_of(wide)


# Features of the user's own


def pooled(images):
    """(n, c, h, w) -> (n, c * 4): the means of quarters, in the hands of NumPy."""
    n, c, h, w = images.shape
    return images.reshape(n, c, 2, h // 2, 2, w // 2).mean((3, 5)).reshape(n, -1)


def test_a_users_own_features_are_what_is_compared():
    real, others = (data.scale(shapes(600, seed=seed).images) for seed in (0, 1))
    seen = []
    own = lambda images: seen.append((type(images), images.dtype, len(images))) or pooled(images)
    judge = Judge(real, features=own)
    assert seen == [(np.ndarray, np.float32, 500), (np.ndarray, np.float32, 100)]
    np.testing.assert_array_equal(judge.features, np.float32(pooled(real)))
    assert judge.about == "features by <lambda>" and judge.classes is None
    figures, expected = judge(others), Judge(real, features=lambda x: pooled(x).tolist())(others)
    assert figures == expected and figures["fid"] < judge(-others)["fid"]
    assert Judge(
        real, features=lambda x: Classifier(16, 3, 4).eval().features(x)
    ).features.shape == (600, 64)


def test_features_of_pytorch(monkeypatch):
    torch = pytest.importorskip("torch")
    real = data.scale(shapes(40).images)
    pool = lambda x: torch.nn.functional.avg_pool2d(torch.from_numpy(x), 8).flatten(1)
    np.testing.assert_allclose(Judge(real, features=pool).features, pooled(real), atol=1e-6)
    with pytest.raises(DataError, match="Judge: <lambda> gives Tensor, no array .*detach"):
        Judge(real, features=lambda x: pool(x).requires_grad_())


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (lambda x: pooled(x)[1:], r"must give numbers \(40, d\), .* got \(39, 12\) float32"),
        (lambda x: pooled(x)[0], r"a row for each image, got \(12,\) float32"),
        (lambda x: pooled(x)[:, :0], r"got \(40, 0\)"),
        (lambda x: x, r"got \(40, 3, 16, 16\)"),
        (lambda x: None, r"got \(\) object"),
        (lambda x: [[1], [2, 3]], "gives list, no array"),
        (lambda x: pooled(x) * np.nan, "gives NaN or infinity"),
        (lambda x: pooled(x).astype(str), r"got \(40, 12\) <U"),
    ],
)
def test_wrong_features_are_one_line(own, words):
    with pytest.raises(DataError, match=words) as error:
        Judge(data.scale(shapes(40).images), features=own)
    assert "\n" not in str(error.value)


def test_features_that_change_in_number_are_refused():
    real = data.scale(shapes(520, 8).images)
    with pytest.raises(DataError, match="features by <lambda> differ in number from call to call"):
        Judge(real, features=lambda x: np.zeros((len(x), 3 if len(x) == 500 else 4)))


# Ranges


@pytest.fixture(scope="module")
def digits():
    return Judge(IMAGES[:60])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: (x + 1) / 2, r"nothing is below 0 in .* from 0 to 1; .* images \* 2 - 1"),
        (lambda x: (x + 1) * 0.499 + 1e-3, r"from 0.001 to 0.999; .* images \* 2 - 1"),
        (lambda x: np.minimum(x, 0) * 1.5, r"from -1.5 to 0; make them images.clip\(-1, 1\)"),
        (lambda x: (x + 1) * 127.5, r"in \[-1, 1\], got .* from 0 to 255; .*images / 127.5 - 1"),
        (lambda x: x * 1.5, r"from -1.5 to 1.5; make them images.clip\(-1, 1\)"),
        (lambda x: np.uint8((x + 1) * 127.5), "of floats in .* uint8 .*data.scale"),
        (lambda x: np.int64(x), "of floats in .* int64"),
    ],
)
def test_images_in_another_range_are_refused_real_ones_and_samples(digits, change, words):
    for judge in (digits, Judge):
        with pytest.raises(DataError, match="^Judge: .*" + words):
            judge(change(IMAGES[60:120]))


def test_what_is_bright_dark_or_rounded_is_judged(digits):
    rng = np.random.default_rng(0)
    some = IMAGES[60:120]
    bright = rng.uniform(0.1, 1, some.shape).astype(np.float32)
    for images in (
        some.astype(np.float16), some * 1.001, np.zeros_like(some), np.ones_like(some),
        -np.ones_like(some), bright, bright * 0 + 0.001,
    ):  # fmt: skip
        assert np.isfinite(digits(images)["fid"])
    judge = Judge(bright)  # all real ones are bright: nothing is known of samples
    assert judge(bright)["fid"] < 1e-6 and np.isfinite(judge((some + 1) / 2)["fid"])
    collapsed = np.tile(np.linspace(0.003, 0.9, 784, dtype=np.float32), 60).reshape(some.shape)
    assert np.isfinite(digits(collapsed[:, :, ::-1])["fid"])


# The command


def test_a_set_that_holds_one_picture_many_times_is_judged_without_a_warning(
    tmp_path, capsys, monkeypatch
):
    same = Pictures(np.full((60, 16, 16), 77, np.uint8))
    for room in (data, data.sets):
        monkeypatch.setattr(room, "load", lambda source, *args, **form: same)
    np.savez(tmp_path / "samples.npz", images=same.images)
    code, out, complaint = command(monkeypatch, capsys, tmp_path / "samples.npz", "--data", "same")
    assert code is None and not complaint
    table = figures(out[6:])
    assert table["distance to nearest training picture (1)"][:2] == [1, 1]
    assert table["Frechet distance (low)"][-1] > 1e6  # and no column runs into another


@pytest.fixture
def colour(tmp_path, monkeypatch, cache, short):
    """A set of shapes by the name of "shapes", and a file of samples, 90 of them, of other ones."""
    sets = {"shapes": shapes(), "nameless": shapes()._replace(labels=None, names=())}
    sets["grey"] = Pictures(sets["shapes"].images[..., 0], sets["shapes"].labels)
    for room in (data, data.sets):
        monkeypatch.setattr(
            room, "load", lambda source, *args, **form: asked.append(form) or sets[source]
        )
    monkeypatch.setattr(teach, "cache_folder", lambda: cache / "user")
    asked, made = [], shapes(90, seed=3)
    path = tmp_path / "samples.npz"
    np.savez(path, images=made.images, labels=made.labels, names=np.array(made.names))
    return path, asked


def test_the_command_judges_pictures_in_colour(colour, tmp_path, monkeypatch, capsys):
    path, asked = colour
    args = ("--data", "shapes", "--background", "black", "--fit", "pad")
    code, out, complaint = command(monkeypatch, capsys, path, *args, "--report", tmp_path / "p.png")
    assert code is None and not complaint
    form = {"side": 16, "colour": "rgb", "background": "black", "fit": "pad"}
    assert asked[0] == form
    assert out[0].startswith(
        "90 samples against 90 pictures of shapes (fit pad, background black); nearest neighbours"
    )
    assert out[2].startswith(
        "real pictures: the other half of shapes (fit pad, background black), "
    )
    (head,) = [i for i, line in enumerate(out) if line.split()[:2] == ["model", "real"]]
    assert out[head - 1].startswith("judge: a classifier that learnt from 180 of these pictures")
    table = figures(out[head + 1 : -1])
    model, real, means, noise = table["Frechet distance (low)"]
    assert model < means and real < means and real < noise
    assert (
        table["judge sees the class asked for (1)"][0] > 0.8
        and table["missing classes (0)"][0] == 0
    )
    from PIL import Image

    page = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    assert (abs(page.astype(int) - (230, 40, 30)).max(1) < 40).sum() > 500  # red discs


def test_the_command_without_labels_leaves_out_what_needs_classes(
    colour, tmp_path, monkeypatch, capsys
):
    path, _ = colour
    args = (path, "--data", "nameless", "--report", tmp_path / "p.png")
    code, out, complaint = command(monkeypatch, capsys, *args)
    assert code is None and not complaint
    assert out[3].startswith("judge: random features, which are weak")
    assert out[4].split() == ["model", "real", "mean", "picture", "noise"]
    assert not any("class" in line for line in out[5:]) and (tmp_path / "p.png").exists()


def test_the_command_with_features_of_the_users_own(colour, tmp_path, monkeypatch, capsys):
    path, _ = colour
    (tmp_path / "my_features_of_shapes.py").write_text(
        "def f(images):\n    return images.mean((2, 3))\n\n\n"
        "def wrong(images):\n    return images[0]\n\n\nnumber = 3\n"
    )
    (tmp_path / "my_torn_module.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", os.getcwd())])
    flags = (path, "--data", "shapes", "--features")
    code, out, complaint = command(monkeypatch, capsys, *flags, "my_features_of_shapes:f")
    assert code is None and not complaint and out[3] == "judge: features by f"
    for named, words in {
        "my_features_of_shapes:g": "my_features_of_shapes has no function 'g'",
        "my_features_of_shapes:number": "has no function 'number'",
        "my_features_of_shapes": "give module:function",
        "no_such_module_here:f": "cannot be imported (ModuleNotFoundError",
        "my_torn_module:f": "'my_torn_module' cannot be imported (SyntaxError",
        ":f": "'' cannot be imported",
        "my_features_of_shapes:wrong": "a row for each image, got (3, 16, 16)",
    }.items():
        code, _, complaint = command(monkeypatch, capsys, *flags, named)
        assert code == 2 and len(complaint) == 1 and words in complaint[0]


@pytest.mark.parametrize(
    ("change", "source", "words"),
    [
        ({}, "grey", "the samples are (16, 16, 3), but the pictures of grey are (16, 16)"),
        ({"images": shapes(30, 8).images, "labels": np.arange(30)}, "shapes", "are (8, 8, 3), but"),
        (
            {"names": np.array(["a", "b"])},
            "shapes",
            "are of 'a', but the pictures of shapes are of 'red box'",
        ),
        (
            {"names": np.array([["a"]])},
            "shapes",
            "`names` must be words, (classes,), got (1, 1) <U1",
        ),
        ({"names": np.frombuffer(b"\xff" * 8, "<U1")}, "shapes", "`names` is no text"),
    ],
)
def test_samples_that_do_not_fit_the_set_are_one_line(
    colour, change, source, words, monkeypatch, capsys
):
    path, _ = colour
    made = shapes(90, seed=3)
    np.savez(path, **{"images": made.images, "labels": made.labels} | change)
    code, out, complaint = command(monkeypatch, capsys, path, "--data", source)
    assert code == 2 and not out and len(complaint) == 1 and words in complaint[0]


@pytest.mark.parametrize(("k", "named"), [(62, True), (0, False)])
def test_a_page_shows_any_number_of_classes(k, named, tmp_path):
    images = shapes(20).images
    classes = {whose: np.full(k, 1 / k) for whose in ("samples", "real")} if k else {}
    names = tuple(f"a long name of class {i}" for i in range(k)) if named else ()
    pairs = {"above": [images[:4], images[:4]], "below": [images[:4], images[:4]]}
    table = [["", "model"], ["row", "1.0"]]
    plot.report(tmp_path / "p.png", "title", table, images, pairs, classes, names)
    assert (tmp_path / "p.png").stat().st_size > 10_000


# The last: from here on the process sees a GPU


def test_a_judge_learns_on_the_gpu_too(gpu, tmp_path, monkeypatch):
    quick(monkeypatch)
    pictures = shapes(60, 8)
    images = data.scale(pictures.images)
    for some in (pictures, pictures._replace(labels=None)):
        found = [
            judge_of(some, where, cache=tmp_path / where, say=str).look(images)[0]
            for where in ("cpu", "gpu")
        ]
        np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("names", ["abcdefy", "abcdefgz", "abcdef"], ids=len)
def test_samples_of_classes_of_other_names_are_refused_wherever_they_differ(names):
    pictures = Pictures(np.zeros((8, 8, 8), np.uint8), np.arange(8) % 6, tuple("abcdefg"))
    check(pictures, pictures, "photos")
    with pytest.raises(DataError, match="the samples are of .*, but the pictures of photos are of"):
        check(pictures._replace(names=tuple(names)), pictures, "photos")

"""python -m tinygan.evaluate: what the samples' file says of the set that its model learnt from."""

import numpy as np
import pytest
from runs import example, folder
from test_metrics import DIGITS, LABELS, command

from tinygan import data, evaluate, sample
from tinygan.metrics import Judge

EMOJI = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A judge that looks at the mean of four quarters."""

    def quarters(x):
        n, c, h, w = x.shape
        return x.reshape(n, c, 2, h // 2, 2, w // 2).mean((3, 5)).reshape(n, -1)

    look = lambda training, n, *others: Judge(data.scale(training.images[:n]), "cpu", quarters)
    monkeypatch.setattr(evaluate, "judged", look)


def test_a_run_and_its_samples_say_what_they_learnt_from(tmp_path, monkeypatch, capsys):
    folder(tmp_path / "digits", 60)
    monkeypatch.chdir(tmp_path)
    flags = ["--data", "digits", "--fit", "pad", "--background", "black", "--out", "run"]
    flags += ["--width", 1, "--epochs", 1, "--batch-size", 30, "--samples", 20]
    done = example("mnist_gan", *flags)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("sys.argv", ["sample.py", "run", "-n", "20"])
    sample.main()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in (tmp_path / "run", tmp_path / "run" / "made.npz"):
        capsys.readouterr()
        code, out, complaint = command(monkeypatch, capsys, path)
        assert code is None and not complaint
        made = f"{tmp_path}/digits (fit pad, background black)"
        assert out[0].startswith(f"20 samples against 20 pictures of {made}; ")
        name = "samples.npz" if path.is_dir() else path.name
        assert out[2].endswith(
            f"; {name} says so: --data {tmp_path}/digits --fit pad --background black"
        )


def test_what_is_said_wins_over_what_the_samples_say(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "emoji.npz", images=EMOJI)
    path, said = tmp_path / "samples.npz", {"data": "bundled", "fit": "pad", "background": "red"}
    np.savez(path, images=EMOJI, **said)
    args = path, "--data", tmp_path / "emoji.npz", "--fit", "crop"
    code, out, _ = command(monkeypatch, capsys, *args)
    assert code is None and f"pictures of {tmp_path}/emoji.npz (background red); " in out[0]
    assert out[3].endswith("; samples.npz says so: --background red")


def test_of_samples_that_say_nothing_only_such_as_may_be_digits_are_held_against_them(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / "samples.npz"
    refused = [
        {"images": EMOJI},
        {"images": DIGITS[:30, :16, :16]},
        {"images": DIGITS[:30], "labels": LABELS[:30], "names": np.array([*"abcdefghij"])},
    ]
    for arrays in refused:
        np.savez(path, **arrays)
        code, out, complaint = command(monkeypatch, capsys, path)
        assert code == 2 and not out
        words = f"{path}: does not say what its model learnt from: give --data SET"
        assert complaint == [f"evaluate.py: {words}"]
    other = {"data": np.arange(3), "fit": np.array(["pad"]), "background": np.array("x" * 5000)}
    for arrays in ({}, other):  # somebody else's arrays
        np.savez(path, images=DIGITS[:30], **arrays)
        code, out, _ = command(monkeypatch, capsys, path)
        assert code is None and "of bundled; " in out[0]
        words = "; nothing says that the model learnt from these: --data names others"
        assert out[2].endswith(words)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.arange(30) % 12}, "the samples are of 12 classes, but the pictures of bu"),
        (
            {"names": np.array([*"abc"])},
            "the samples are of 3 classes, but the pictures of bundled",
        ),
        ({"data": "no/such\033"}, "its model learnt from no/such\\x1b, which is not there; --data"),
        ({"background": "no colour"}, "no colour"),
        ({"fit": "squeeze"}, "fit is 'squeeze'"),
        ({"fit": np.frombuffer(b"\xff" * 4, "<U1").reshape(())}, "`fit` is no text"),
    ],
)
def test_what_cannot_be_is_one_line(arrays, words, tmp_path, monkeypatch, capsys):
    path = tmp_path / "samples.npz"
    np.savez(path, **{"images": DIGITS[:30], "data": "bundled"} | arrays)
    code, out, complaint = command(monkeypatch, capsys, path)
    assert code == 2 and not out and len(complaint) == 1 and words in complaint[0]


def test_a_folder_without_samples_is_one_line(tmp_path, monkeypatch, capsys):
    code, _, complaint = command(monkeypatch, capsys, tmp_path)
    assert code == 2 and f"{tmp_path}/samples.npz: there is no such file; a tr" in complaint[0]


def test_the_page_says_how_far_to_trust_it(tmp_path, monkeypatch, capsys):
    titles, draw = [], evaluate.plot.report
    monkeypatch.setattr(
        evaluate.plot, "report", lambda path, *page: titles.append(page[0]) or draw(path, *page)
    )
    path, report = tmp_path / "samples.npz", ["--report", tmp_path / "p.png"]
    real = evaluate.split("bundled").others.images[:40]
    for images, doubts in ((real, ""), (0 * real + 255, "class means and noise")):
        np.savez(path, images=images, data="bundled")
        code, out, _ = command(monkeypatch, capsys, path, *report)
        assert code is None
        title = titles.pop().split("\n")
        assert out[0].startswith(title[0]) and title[1] == out[2] and title[2] == out[3]
        assert title[1].startswith("real pictures: ") and title[2].startswith("judge: features by")
        assert title[3:] == out[-2:-1] * bool(doubts)
        words = f"by Frechet distance the samples are worse than {doubts}: little training, another"
        assert any(line.startswith(words) for line in out) == bool(doubts)


def test_a_long_title_of_a_page_is_wrapped(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, plain = [], Figure.suptitle
    monkeypatch.setattr(
        Figure, "suptitle", lambda self, *args, **more: drawn.append(plain(self, *args, **more))
    )
    pairs = {"above": [DIGITS[:4], DIGITS[:4]], "below": [DIGITS[:4], DIGITS[:4]]}
    title = "samples\n" + "judge: a $classifier$ that learnt " * 15
    evaluate.plot.report(
        tmp_path / "p.png", title, [["", "m"], ["row", "1"]], DIGITS[:9], pairs, {}
    )
    (text,) = drawn
    assert text.get_text().split() == title.split() and text.get_text().count("\n") > 2
    assert text.get_window_extent().width < text.figure.bbox.width

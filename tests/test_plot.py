"""Pictures: what is drawn is what was given, in colour too; what is missing or torn is left out;
files are written whole.
"""

import os
import resource

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image, ImageSequence

from tinygan import data, plot, random

RNG = np.random.default_rng(0)
GREY = RNG.uniform(-1, 1, (5, 1, 4, 6)).astype(np.float32)
COLOURS = RNG.uniform(-1, 1, (5, 3, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("images", [GREY, COLOURS], ids=["grey", "colours"])
def test_a_grid_shows_every_image_and_channel(tmp_path, images):
    pixels = plot.to_uint8(images)
    assert pixels.dtype == np.uint8 and pixels.shape[:3] == (5, 4, 6)
    for channel in range(images.shape[1]):
        expected = np.rint((images[:, channel] + 1) * 127.5)
        np.testing.assert_array_equal(pixels.reshape(5, 4, 6, -1)[..., channel], expected)
    plot.grid(pixels, tmp_path / "grid.png", columns=2, zoom=3)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))[::3, ::3]
    assert picture.shape == (12, 12, *pixels.shape[3:])
    for i, image in enumerate(pixels):
        row, column = divmod(i, 2)
        cell = picture[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        np.testing.assert_array_equal(cell, image)
    assert (picture[8:, 6:] == (255 if images is COLOURS else 0)).all()  # no sixth image


@pytest.mark.parametrize("side", [4, 16, 40, 128])
@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "colours"])
def test_a_grid_has_the_names_of_its_columns_above_it(tmp_path, side, colours):
    images = RNG.integers(0, 255, (6, side, side, *colours), np.uint8)
    plot.grid(images, tmp_path / "plain.png", columns=3)
    plain = np.asarray(Image.open(tmp_path / "plain.png"))
    heights = {}
    for names in (
        ["a", "b", "c"],
        ["a", "smileys and emotion", "c"],
        ["a", "x" * 300, "\n \udc80"],
    ):
        plot.grid(images, tmp_path / "named.png", columns=3, names=names)
        named = np.asarray(Image.open(tmp_path / "named.png"))
        heights[names[1][0]] = height = len(named) - len(plain)
        np.testing.assert_array_equal(named[height:], plain)
        columns = np.hsplit(named[:height], 3)
        # white, and letters in black, of which none reaches a neighbour
        edges = [column[:, [0, -1]] for column in columns]
        assert side == 4 or all((edge == 255).all() for edge in edges)
        assert all((column < 100).any() for column in columns[:2])
    # turned where it is longer than its column is wide, and cut where it is much longer
    assert heights["b"] < 22 or side == 4
    assert heights["s"] == heights["b"] or side < 128
    assert heights["x"] < 200
    with pytest.raises(ValueError, match="grid: 3 columns need as many names, got 2"):
        plot.grid(images, tmp_path / "none.png", columns=3, names=["a", "b"])
    assert not (tmp_path / "none.png").exists()


def test_small_pictures_are_shown_twice_as_large(tmp_path):
    for side, shown in ((63, 126), (64, 64)):
        plot.grid(np.zeros((1, side, side), np.uint8), tmp_path / "grid.png", columns=1)
        assert Image.open(tmp_path / "grid.png").size == (shown, shown)


def test_values_beyond_the_range_are_cut():
    images = np.array([-9, -1, 0, 1, 9], np.float32).reshape(5, 1, 1, 1)
    assert plot.to_uint8(images).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("shape", [(5, 2, 4, 6), (5, 4, 4, 6), (5, 4, 6), (4, 6)], ids=str)
def test_what_cannot_be_drawn_is_refused(shape):
    with pytest.raises(ValueError, match=r"to_uint8: images are \(n, 1, h, w\) or .* got \("):
        plot.to_uint8(np.zeros(shape, np.float32))
    for wrong in ((5, 4, 6, 2), (5, 1, 4, 6), (0, 4, 6), (4, 6)):
        with pytest.raises(ValueError, match=r"sheet: images are .* got .* to_uint8"):
            plot.sheet(np.zeros(wrong, np.uint8), 2)


# Animations


def pictures(folder, n):
    """n files whose brightness counts."""
    for i in range(n):
        Image.fromarray(np.full((4, 4), i % 250, np.uint8)).save(folder / f"{i:04}.png")
    return sorted(folder.glob("*.png"))


def brightness(path):
    """The brightness and milliseconds of each frame of an animation."""
    with Image.open(path) as gif:
        return [
            (frame.convert("L").getpixel((0, 0)), frame.info["duration"])
            for frame in ImageSequence.Iterator(gif)
        ]


def test_an_animation_keeps_no_picture_open(tmp_path):
    """Of a thousand epochs: a process may have so many files open, and no more."""
    paths = pictures(tmp_path, 300)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 30, limits[1]))
    try:
        plot.animate(paths, tmp_path / "a.gif")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    frames = brightness(tmp_path / "a.gif")
    assert len(frames) == plot.pictures.FRAMES < 300
    assert frames[0] == (0, 250) and frames[-1] == (299 % 250, 2000)


def test_thinned_frames_are_evenly_spaced(tmp_path, monkeypatch):
    monkeypatch.setattr(plot.pictures, "FRAMES", 5)
    frames = [np.full((4, 4), i, np.uint8) for i in range(41)]
    plot.animate(frames, tmp_path / "a.gif", 40)
    rests = [40] * 4 + [2000]
    assert brightness(tmp_path / "a.gif") == list(zip([0, 10, 20, 30, 40], rests, strict=True))
    plot.animate(iter(frames[:3]), tmp_path / "a.gif", 40)
    assert [value for value, _ in brightness(tmp_path / "a.gif")] == [0, 1, 2]


def test_missing_and_torn_pictures_are_left_out(tmp_path):
    paths = pictures(tmp_path, 8)
    content = paths[1].read_bytes()
    paths[0].unlink()
    paths[1].write_bytes(content[: len(content) // 2])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(content[:40] + b"\0" + content[41:])
    paths[7].write_bytes(content[:-30])
    plot.animate(paths, tmp_path / "a.gif")
    assert brightness(tmp_path / "a.gif") == [(4, 250), (5, 250), (6, 2000)]
    plot.animate(paths[:3], tmp_path / "none.gif")
    plot.animate([], tmp_path / "none.gif")
    assert not (tmp_path / "none.gif").exists()


def test_an_animation_of_colours(tmp_path):
    frames = [np.zeros((4, 4, 3), np.uint8) + np.array(c, np.uint8) for c in np.eye(3) * 200]
    plot.animate(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        seen = [f.convert("RGB").getpixel((1, 1)) for f in ImageSequence.Iterator(gif)]
    assert seen == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


# Curves


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: {label: (steps, values, how)}, and the limits of the axis last made."""
    lines, plain, made = {}, Axes.plot, []

    def spy(self, steps, values, how, label):
        lines[label] = (np.asarray(steps).tolist(), np.asarray(values).tolist(), how)
        made.append(self)
        return plain(self, steps, values, how, label=label)

    monkeypatch.setattr(Axes, "plot", spy)
    lines["axes"] = lambda: made[-1]
    return lines


def records(n, **losses):
    steps = range(1, n + 1)
    return [{"step": i, "epoch": 1, "seconds": 0.1 * i, "lr": 0.1} | losses for i in steps]


def test_negative_losses_are_seen_and_nothing_is_called_nats(tmp_path, drawn):
    plot.curves(records(9, d_loss=-5.0, loss=2.0), tmp_path / "c.png")
    bottom, top = drawn["axes"]().get_ylim()
    assert bottom < -5 and top > 2 and drawn["axes"]().get_ylabel() == "loss"
    assert drawn["d loss"] == (list(range(1, 10)), [-5.0] * 9, "-")
    plot.curves(records(9, loss=2.0), tmp_path / "c.png")
    assert drawn["axes"]().get_ylim()[0] == 0
    assert Image.open(tmp_path / "c.png").size == (770, 440)


def test_what_few_records_hold_is_drawn_as_dots_and_what_is_no_loss_is_not(tmp_path, drawn):
    log = records(400, loss=1.0)
    for i, record in enumerate(log):
        record["loss"] = float(i)
    log[99] |= {"held_out_loss": 3.0, "fid": 7.0, "coverage": 0.5}
    log[199] |= {"held_out_loss": 2.0, "d_loss": float("nan"), "word": "x", "kept": True}
    log.insert(50, {"event": "resumed", "step": 50, "loss": 1e9})
    log.insert(0, {"versions": 1.0})
    plot.curves(log, tmp_path / "c.png", window=10)
    del drawn["axes"]
    assert set(drawn) == {"loss", "held out loss"}
    assert drawn["held out loss"] == ([100, 200], [3.0, 2.0], "o")
    steps, values, how = drawn["loss"]
    assert how == "-" and steps == list(range(10, 401))
    np.testing.assert_allclose(values, np.arange(4.5, 395))  # the mean of ten
    assert (tmp_path / "c.png").exists()


@pytest.mark.parametrize("log", [[], [{"event": "start"}], records(3), records(3, fid=2.0)])
def test_without_a_loss_there_is_no_picture(tmp_path, log):
    plot.curves(log, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


# Files


def write_grid(path):
    plot.grid(plot.to_uint8(GREY), path)


def write_animation(path):
    plot.animate(list(plot.to_uint8(GREY)), path.with_suffix(".gif"))


def write_curves(path):
    plot.curves(records(5, loss=1.0), path)


def write_report(path):
    images = plot.to_uint8(GREY.repeat(7, 2).repeat(5, 3))
    pairs = {"above": [images, images], "below": [images, images]}
    classes = {"a": np.full(10, 0.1), "b": np.full(10, 0.1)}
    plot.report(path, "title", [["", "x"], ["row", "1"]], images, pairs, classes)


def test_a_title_is_no_formula(tmp_path):
    images = plot.to_uint8(GREY.repeat(7, 2).repeat(5, 3))
    classes = {"a": np.full(10, 0.1), "b": np.full(10, 0.1)}
    pairs = {"$x_$": [images, images], "b": [images, images]}
    table = [["", "$x_$"], ["$x_$", "1"]]
    plot.report(tmp_path / "p.png", "of d$x_$", table, images, pairs, classes)
    plot.curves(records(9, **{"$x_$": 1.0}), tmp_path / "c.png")


@pytest.mark.parametrize("ends", [(1.7e308, -1.7e308), (1.7e308, 1.7e308), (10**400, float("nan"))])
@pytest.mark.parametrize("window", [1, 50])
def test_losses_that_are_too_large_to_draw_are_left_out(ends, window, tmp_path, drawn):
    log = records(200, loss=1.0)
    for i in range(100, 200, 2):
        log[i]["loss"], log[i + 1]["loss"] = ends
    plot.curves(log, tmp_path / "c.png", window)
    assert max(drawn["loss"][1]) <= 1 and (tmp_path / "c.png").exists()


WRITERS = [write_grid, write_animation, write_curves, write_report]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_kill_leaves_the_old_picture(tmp_path, monkeypatch, write):
    write(tmp_path / "p.png")
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    assert before

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "p.png")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_figure_without_a_suffix_is_a_png_of_that_name(tmp_path):
    write_curves(tmp_path / "losses")
    assert Image.open(tmp_path / "losses").format == "PNG"


@pytest.mark.parametrize(
    ("shape", "names", "empty"),
    [((3, 8, 8), None, 0), ((3, 8, 8), ["a", "b"], 255), ((3, 8, 8, 3), None, 255)],
)
def test_what_is_left_over_is_white_below_names_and_in_colour(shape, names, empty, tmp_path):
    plot.grid(np.full(shape, 99, np.uint8), tmp_path / "grid.png", columns=2, zoom=1, names=names)
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    assert (picture[-8:, 8:] == empty).all() and (picture[-16:, :8] == 99).all()


# The plane


def at(picture, panel, extent, x, y):
    """The colour of a frame at a place (x, y) of a panel, whose edge is 10 pixels from its side."""
    column = 480 * panel + 10 + 460 * (x + extent) / (2 * extent)
    row = len(picture) - 10 - 460 * (y + extent) / (2 * extent)
    return picture[int(row), int(column)].astype(int)


def is_blue(colour):
    return colour[2] > colour[0] + 30


def is_orange(colour):
    return colour[0] > colour[2] + 30


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["ring", "checkerboard"])
def test_a_frame_shows_the_density_the_points_and_the_field(name):
    toy = data.TOYS[name]
    mode, empty = {"ring": ((1, 0), (0, 0)), "checkerboard": ((1, 1), (1, -1))}[name]
    fake = np.array([[-1.2, -1.3]] * 3 + [[99, 0]], np.float32)
    frame = plot.plane(toy, fake, lambda places: places[:, 0] - 0.3, np.ones((4, 2)), "step 7")
    assert frame.dtype == np.uint8 and frame.shape[1:] == (960, 3)
    assert is_blue(at(frame, 0, toy.extent, *mode))
    assert (at(frame, 0, toy.extent, *empty) == 255).all()
    assert is_orange(at(frame, 0, toy.extent, -1.2, -1.3))  # a point
    assert is_orange(at(frame, 1, toy.extent, -1.4, 1)) and is_blue(
        at(frame, 1, toy.extent, 1.4, 1)
    )
    line = [at(frame, 1, toy.extent, x, 0.9).sum() for x in np.linspace(-1.4, 1.4, 561)]
    assert min(line[330:350]) < 300 < min(line[:330] + line[350:])  # at 0.3, where it is 0
    bare = plot.plane(toy, fake, lambda places: places[:, 0] - 0.3)
    assert (bare != frame).any()
    corner = frame[-40:-12, 380:468]
    assert (abs(corner.astype(int) - (232, 89, 12)) < 60).all(2).any()  # "25% outside"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("flow", "score"), [(0.0, 0.0), (1e-38, -3.0), (np.nan, 0.0), (1e30, 1e30)]
)
def test_a_frame_of_a_game_that_is_over(flow, score):
    """Nothing moves, D says the same everywhere, or a model diverged."""
    fake = np.array([[0, 0], [np.nan, 1]], np.float32)
    fake = fake if score else fake[1:]
    moves = np.full_like(fake, flow)
    scores = lambda places: np.full(len(places), score, np.float32)
    frame = plot.plane(data.TOYS["ring"], fake, scores, moves)
    assert frame.dtype == np.uint8 and frame.shape[1:] == (960, 3)


def test_a_field_is_asked_of_places_that_are_evenly_spread_in_the_window():
    asked = []
    plot.plane(data.TOYS["ring"], GREY[:, 0, 0, :2], lambda x: asked.append(x) or x[:, 1])
    (places,) = asked
    assert places.dtype == np.float32 and places.shape == (120**2, 2)
    np.testing.assert_allclose([places.min(), places.max()], [-1.4875, 1.4875])
    np.testing.assert_allclose(places[1] - places[0], [0.025, 0], atol=1e-6)  # a row from below


def test_arrows_lead_where_the_flow_does(monkeypatch):
    drawn, plain = [], Axes.quiver

    def spy(self, *arrays, **options):
        drawn.extend(np.stack(arrays).T)
        return plain(self, *arrays, **options)

    monkeypatch.setattr(Axes, "quiver", spy)
    fake = RNG.uniform(-1, 1, (300, 2)).astype(np.float32)
    flow = RNG.normal(size=(300, 2)) * 1e-6
    plot.plane(data.TOYS["ring"], fake, lambda places: places[:, 0], flow)
    points, arrows = np.hsplit(np.array(drawn), 2)
    np.testing.assert_array_equal(points, fake[:200])
    lengths = np.hypot(*flow[:200].T)
    turn = (arrows * flow[:200]).sum(1) / (np.hypot(*arrows.T) * lengths)
    np.testing.assert_allclose(turn, 1, rtol=1e-6)
    longest = np.hypot(*arrows.T)
    np.testing.assert_allclose(longest.max(), 1.5 / 6)
    shorter = lengths < np.quantile(lengths, 0.9)
    ratio = longest[shorter] / lengths[shorter]
    np.testing.assert_allclose(ratio, ratio[0])
    assert 18 <= (longest > 0.2499).sum() <= 21


@pytest.mark.parametrize("toy", [None, "grid"])
def test_points_alone(tmp_path, toy):
    given = data.TOYS["grid"].sample(500, random.Generator(0))
    plot.points(given, tmp_path / "points.png", toy and data.TOYS[toy], "some points")
    picture = np.asarray(Image.open(tmp_path / "points.png").convert("RGB")).astype(int)
    orange = picture[..., 0] > picture[..., 2] + 100
    assert orange.mean() > 0.001
    blue = (picture[..., 2] > picture[..., 0] + 60).any()
    assert blue == (toy is not None)


@pytest.mark.parametrize("given", [np.zeros((0, 2)), np.full((3, 2), np.nan), np.zeros((2, 2))])
def test_the_window_of_no_points(tmp_path, given):
    plot.points(given, tmp_path / "points.png")
    assert (tmp_path / "points.png").exists()


@pytest.mark.parametrize("best", [np.minimum, np.maximum])
def test_a_search_shows_each_trial_in_each_panel(best, tmp_path, monkeypatch):
    figures = []
    keep = lambda figure, path: figures.append(figure) or save(figure, path)
    save = plot.trials.__globals__["save"]
    monkeypatch.setitem(plot.trials.__globals__, "save", keep)
    found = [(0, 900.0, "done"), (1, 5.0, "pruned"), (2, None, "failed"), (4, 10.0, "done")]
    settings = {"lr": [1e-5, 1e-1, 2e-3, 1e-3], "batch-size": ["128", "64", "32", "64"]}
    settings |= {"spectral": [True, False, True, True]}
    plot.trials(found, settings, tmp_path / "t.png", "fid", log=["lr"], best=best)
    assert Image.open(tmp_path / "t.png").size[0] > 1000
    panels = figures[0].axes
    assert [axes.get_xlabel() for axes in panels] == ["trial", *settings, "", ""]
    assert [axes.get_xscale() for axes in panels[:3]] == ["linear", "log", "linear"]
    assert panels[0].get_yscale() == "log" and panels[0].get_ylabel() == "fid"
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["32", "64", "128"]
    assert [label.get_text() for label in panels[3].get_xticklabels()] == ["no", "yes"]
    (line,) = panels[0].lines  # what is pruned or failed is no best
    expected = [900, 900, 900, 10 if best is np.minimum else 900]
    np.testing.assert_array_equal(line.get_xydata(), [*zip([0, 1, 2, 4], expected)])
    for axes, places in zip(panels, ([0, 1, 2, 4], settings["lr"], [2, 1, 0, 1], [1, 0, 1, 1])):
        dots = {c.get_label(): c.get_offsets().data.tolist() for c in axes.collections}
        assert dots["done"] == [[places[0], 900], [places[3], 10]]
        assert dots["pruned"] == [[places[1], 5]] and dots["failed"] == [[places[2], 0.96]]


def test_a_search_of_one_trial_that_failed(tmp_path):
    plot.trials([(0, None, "failed")], {"lr": [0.5]}, tmp_path / "t.png", log=["lr"])
    assert (tmp_path / "t.png").exists()

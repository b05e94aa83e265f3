"""Trackers: what is read back is what the run's records say, whatever happened to the run."""

import csv
import gc
import struct
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image
from runs import Line

from tinygan import data, random, train


class Drawn(Line):
    """A line with a picture of its slope."""

    rate = 0.02

    def preview(self, path):
        shade = int(255 * float(self.slope.data) / 3)
        Image.new("RGB", (6, 4), (shade, 0, 255)).save(path.with_suffix(".png"))

    def parts(self):
        return {"line": self}

    def state_dict(self):
        return {"slope": self.slope.data}

    def load_state_dict(self, state):
        self.slope.data[...] = state["slope"]


class Undrawn(train.Summary):
    """Without the curves at the end of a run, which take longer than all the rest of it."""

    def end(self, error):
        pass


def line():
    random.manual_seed(0)
    x = random.Generator(1).normal((40,))
    return Drawn(), data.Batches((x, 3 * x), 8, transform=None)  # 5 steps an epoch


def figures(model):
    return train.Evaluate(lambda: {"slope": float(model.slope.data), "lost": float("nan")})


def run(tracker, out, epochs=2, cut=None, after=False, **options):
    """A run with a tracker and figures, which comes after the tracker if so; killed in a step."""
    model, batches = line()

    def step(batch):
        if random.default.step == cut:
            raise KeyboardInterrupt
        return model.step(batch)

    callbacks = [tracker, figures(model)] if after else [figures(model), tracker]
    callbacks.append(Undrawn())
    return train.train(model, batches, epochs, out, step=step, callbacks=callbacks, **options)


def killed(make, out, at, **options):
    with pytest.raises(KeyboardInterrupt):
        run(make(), out, epochs=3, cut=at, **options)
    return run(make(), out, epochs=3, resume=True, **options)


def table(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_table(out, records):
    rows = table(out)
    assert [int(row["step"]) for row in rows] == [r["step"] for r in records]
    for row, record in zip(rows, records, strict=True):
        assert float(row["loss"]) == record["loss"] and int(row["epoch"]) == record["epoch"]
        assert row["slope"] == (str(record["slope"]) if "slope" in record else "")
        assert "lost" not in row  # never a finite number


@pytest.mark.parametrize("after", [False, True])
def test_a_table_has_a_column_for_what_comes_late(after, tmp_path):
    records = run(train.CSV(), tmp_path, after=after)
    assert ["slope" in r for r in records] == [False] * 4 + [True] + [False] * 4 + [True]
    check_table(tmp_path, records)
    run(train.CSV(every=3), tmp_path, overwrite=True)
    assert [int(row["step"]) for row in table(tmp_path)] == [3, 5, 6, 9, 10]


@pytest.mark.parametrize("at", [3, 5, 7, 10])
def test_a_table_goes_on_where_the_checkpoint_stands(at, tmp_path):
    whole = run(train.CSV(), tmp_path / "whole", epochs=3)
    if at > 3:
        records = killed(train.CSV, tmp_path / "killed", at)
    else:  # before the first checkpoint: begun anew
        with pytest.raises(KeyboardInterrupt):
            run(train.CSV(), tmp_path / "killed", epochs=3, cut=at)
        (tmp_path / "killed/log.csv").write_text("step,loss\n1,2\n2,")  # torn
        records = run(train.CSV(), tmp_path / "killed", epochs=3)
    assert [r["loss"] for r in records] == [r["loss"] for r in whole]
    check_table(tmp_path / "killed", records)


def test_a_tracker_of_a_run_that_goes_on_has_the_steps_before_it_too(tmp_path):
    model, batches = line()
    train.train(model, batches, 1, tmp_path)
    model, batches = line()
    train.train(model, batches, 2, tmp_path, callbacks=[train.CSV()], resume=True)
    assert [int(row["step"]) for row in table(tmp_path)] == [*range(1, 11)]


def events(folder):
    """The events of its files: TFRecord frames of a length, its checksum, a message and its own."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            found.append(Event.FromString(raw[12 : 12 + length]))
            assert len(raw) >= 16 + length  # nothing torn
            raw = raw[16 + length :]
    return found


def curves(folder):
    """{tag: [(step, value)]} of the scalars, and the same of the pictures."""
    scalars, pictures = {}, {}
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
            elif value.WhichOneof("value") == "image":
                image = (value.image.width, value.image.height, value.image.encoded_image_string)
                pictures.setdefault(value.tag, []).append((event.step, image))
    return scalars, pictures


@pytest.mark.parametrize("after", [False, True])
def test_tensorboard_has_each_step_once_and_the_pictures(after, tmp_path):
    pytest.importorskip("tensorboardX")
    make = lambda: train.TensorBoard(every=1)
    for out in (tmp_path / "whole", tmp_path / "killed"):
        if out.name == "whole":
            records = run(make(), out, epochs=3, after=after)
        else:
            records = killed(make, out, 8, after=after)
        scalars, pictures = curves(out / "tensorboard")
        assert scalars.keys() == {"loss", "slope"}
        assert scalars["loss"] == [(r["step"], np.float32(r["loss"])) for r in records]
        ends = [r for r in records if "slope" in r]
        assert scalars["slope"] == [(r["step"], np.float32(r["slope"])) for r in ends]
        assert [step for step, _ in pictures["samples"]] == [5, 10, 15]
        for _, (width, height, encoded) in pictures["samples"]:
            assert (width, height) == (6, 4) and encoded.startswith(b"\x89PNG")
        text = [
            v for e in events(out / "tensorboard") for v in e.summary.value if "config" in v.tag
        ]
        assert len(text) == 1 and b'"versions"' in text[0].tensor.string_val[0]


def test_figures_keep_their_names(tmp_path):
    pytest.importorskip("tensorboardX")
    names = ["a b", "a,b", "a_b", "/a", "a/é"]
    asked = train.Evaluate(lambda: {name: float(i) for i, name in enumerate(names)})
    callbacks = [asked, train.TensorBoard(every=5), train.CSV(), Undrawn()]
    train.train(*line(), 2, tmp_path, callbacks=callbacks)
    scalars, _ = curves(tmp_path / "tensorboard")
    for i, name in enumerate(names):
        assert scalars[name] == [(5, i), (10, i)]
        assert [row[name] for row in table(tmp_path) if row[name]] == [str(float(i))] * 2


def test_no_file_is_left_open(tmp_path):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run(train.CSV(), tmp_path)
        gc.collect()
    assert not [w for w in told if issubclass(w.category, ResourceWarning)]


def test_tensorboards_own_reader_agrees(tmp_path):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    records = killed(lambda: train.TensorBoard(every=2), tmp_path, 8)
    found = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    steps = [r["step"] for r in records if r["step"] % 2 == 0 or r["step"] % 5 == 0]
    assert [event.step for event in found.Scalars("loss")] == steps
    assert [event.step for event in found.Images("samples")] == [5, 10, 15]


def test_runs_share_a_folder_of_curves_and_none_touches_another(tmp_path):
    pytest.importorskip("tensorboardX")
    make, shared = lambda: train.TensorBoard(tmp_path / "curves", every=1), tmp_path / "curves"

    def read():
        return {path: path.read_bytes() for path in shared.rglob("*.tinygan")}

    first = run(make(), tmp_path / "b")
    before = read()
    run(Undrawn(), tmp_path / "c")  # not tracked: only its resumption is
    run(make(), tmp_path / "c", epochs=3, resume=True)
    run(make(), tmp_path / "other/b")  # of the same name
    assert len(before) == 1 and len(read()) == 3 and before.items() <= read().items()
    assert {path.parent.name.rpartition("-")[0] for path in read()} == {"b", "c"}
    with pytest.raises(KeyboardInterrupt):
        run(make(), tmp_path / "e", cut=3)
    for options in ({}, {"overwrite": True}, {"resume": True, "epochs": 3}):  # begun anew, twice
        records = run(make(), tmp_path / "e", **options)
        (own,) = shared.glob("e-*")
        scalars, _ = curves(own)
        assert [step for step, _ in scalars["loss"]] == [r["step"] for r in records]
    (own,) = {path.parent for path in before}
    assert [step for step, _ in curves(own)[0]["loss"]] == [r["step"] for r in first]


def test_who_shows_the_curves_is_told_to_forget_what_was_read(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import SessionLog

    run(train.TensorBoard(), tmp_path)
    for options in ({"resume": True, "epochs": 3}, {"overwrite": True}):
        run(train.TensorBoard(), tmp_path, **options)
        found = events(tmp_path / "tensorboard")
        told = [i for i, event in enumerate(found) if event.HasField("session_log")]
        (first,) = [i for i, event in enumerate(found[:3]) if event.HasField("session_log")]
        assert told == [first] and found[first].step == 0
        assert found[first].session_log.status == SessionLog.START


@pytest.fixture
def wandb(monkeypatch):
    """A package that only notes what it is told, in folders as wandb makes them."""
    told = []

    class Run:
        step = 0

        def __init__(self, **options):
            mode = "offline-" if options["mode"] == "offline" else ""
            folder = f"{options['dir']}/wandb/{mode}run-{len(told)}-{options['id']}"
            self.options, self.logged, self.finished = options, [], False
            self.step = told[-1].step if options["resume"] and told else 0
            train.run.Path(folder).mkdir(parents=True)
            told.append(self)

        def log(self, values, step):
            assert step >= self.step
            self.step = step
            self.logged.append((step, values))

        def finish(self):
            self.finished = True

    package = types.SimpleNamespace(init=Run, Image=lambda pixels: pixels.shape)
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")
    return told


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_weights_and_biases_is_told_each_step_once(mode, wandb, tmp_path):
    options = {} if mode == "offline" else {"mode": mode}
    records = killed(lambda: train.WandB(every=1, name="a", **options), tmp_path, 8)
    first, second = wandb
    assert first.options["mode"] == second.options["mode"] == mode and first.finished
    assert first.options["id"] == second.options["id"] and second.options["name"] == "a"
    assert "versions" in first.options["config"] and first.options["dir"] == str(tmp_path)
    if mode == "offline":  # the second has all, and the first one's folder is gone
        assert len([*tmp_path.glob("wandb/*run-*")]) == 1
        logged = second.logged
    else:
        logged = first.logged + second.logged[1:]  # its step 8 again
        logged = [pair for i, pair in enumerate(logged) if pair not in logged[:i]]
    losses = {step: values["loss"] for step, values in logged if "loss" in values}
    assert losses == {r["step"]: r["loss"] for r in records}
    slopes = {step: values["slope"] for step, values in logged if "slope" in values}
    assert slopes == {r["step"]: r["slope"] for r in records if "slope" in r}
    assert [step for step, values in logged if values.get("samples")] == [5, 10, 15]
    assert all(np.isfinite(v["loss"]) and "lost" not in v for _, v in logged if "loss" in v)


def test_weights_and_biases_offline(tmp_path):
    pytest.importorskip("wandb")
    run(train.WandB(every=5), tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    assert file.stat().st_size > 1000 and len([*folder.rglob("*.png")]) == 2


class Fails(train.Tracker):
    every = 1

    def __init__(self, where):
        self.where, self.calls = where, []

    def open(self):
        pass

    def fail(self, name):
        self.calls.append(name)
        if name == self.where:
            raise OSError("the disk is full")

    def put(self, step, record):
        self.fail("put")

    def picture(self, step, path):
        self.fail("picture")

    def close(self):
        self.fail("close")


@pytest.mark.parametrize("where", ["put", "picture", "close"])
def test_what_fails_on_the_way_is_a_warning_and_no_end(where, tmp_path):
    tracker = Fails(where)
    with pytest.warns(UserWarning, match="Fails: the disk is full; the run goes on without it"):
        records = run(tracker, tmp_path)
    assert len(records) == 10 and tracker.calls.count(where) == 1 and tracker.calls[-1] == where
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Fails(None), tmp_path, overwrite=True)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_removed(tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").touch()
    run(train.CSV(), tmp_path / "a")
    (tmp_path / "a/tensorboard").touch()
    before = contents(tmp_path)
    for tracker in (train.TensorBoard(tmp_path / "file"), train.TensorBoard()):
        for options in ({"overwrite": True}, {"resume": True, "epochs": 3}):
            with pytest.raises(OSError, match="file|tensorboard"):
                run(tracker, tmp_path / "a", **options)
    assert contents(tmp_path) == before


def test_two_trackers_that_write_one_file_are_refused(wandb, tmp_path):
    pytest.importorskip("tensorboardX")
    records = run(train.CSV(), tmp_path)
    before = contents(tmp_path)
    model, batches = line()
    for make in (train.CSV, train.WandB, train.TensorBoard, lambda: train.TensorBoard(tmp_path)):
        for pair in ([make(), make()], [make()] * 2):
            name = type(pair[0]).__name__
            with pytest.raises(ValueError, match=f"{name}: another tracker of this run writes"):
                train.train(model, batches, 2, tmp_path, callbacks=pair, overwrite=True)
    assert contents(tmp_path) == before and not wandb
    both = [train.TensorBoard(tmp_path / name, every=1) for name in "ab"]
    callbacks = [*both, train.CSV(), Fails(None), Fails(None), Undrawn()]
    train.train(*line(), 2, tmp_path, callbacks=callbacks, overwrite=True)
    for path in tmp_path.glob("[ab]/*"):
        assert [step for step, _ in curves(path)[0]["loss"]] == [r["step"] for r in records]


@pytest.mark.parametrize("name", train.TRACKERS)
def test_what_is_missing_is_said_before_anything_is_changed(name, wandb, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace())
    tracker = train.TRACKERS[name]()
    with pytest.raises(ValueError, match=f"{type(tracker).__name__}: writes into the run's folder"):
        run(tracker, None)
    with pytest.raises(ValueError, match="every must be a number above 0"):
        train.TRACKERS[name](every=0)
    with pytest.raises(ValueError, match="every must be a whole number, got 1.5"):
        train.TRACKERS[name](every=1.5)
    packages = {"tensorboard": ("tensorboardX", "tinygan[track]"), "wandb": ("wandb", "wandb")}
    if name in packages:
        module, install = packages[name]
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f'{module} cannot.*pip install "') as caught:
            train.TRACKERS[name]()
        assert install in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_overwriting_takes_what_trackers_wrote_and_nothing_else(wandb, tmp_path):
    run(train.CSV(), tmp_path)
    for name, ours in {
        "tensorboard/events.out.tfevents.1.host.tinygan": True,
        "tensorboard/events.out.tfevents.2.host": False,
        "wandb/offline-run-1-tinygan12ab/files/x.png": True,
        "wandb/offline-run-1-mine/files/x.png": False,
        "tensorboard/notes.txt": False,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("ours" if ours else "mine")
    model, batches = line()
    train.train(model, batches, 1, tmp_path, overwrite=True)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert not (tmp_path / "log.csv").exists()
    assert {path.read_text() for path in left if path.parent.parts[-1] != "samples"
            and path.suffix in (".tinygan", ".host", ".txt")} == {"mine"}  # fmt: skip
    assert not (tmp_path / "wandb/offline-run-1-tinygan12ab").exists()
    assert (tmp_path / "wandb/offline-run-1-mine/files/x.png").exists()


def test_a_table_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "log.csv").write_text("mine")
    for overwrite in (True, False):
        with pytest.raises(train.RunExistsError, match="log.csv: belongs to no run of ours"):
            run(train.CSV(), tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert (tmp_path / "log.csv").read_text() == "mine"

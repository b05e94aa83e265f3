"""The loop and its callbacks: what a model must have, who is told of what and when, and what is
written.
"""

import json
import threading

import numpy as np
import pytest
from PIL import Image
from runs import Line, same, weights

from tinygan import Tensor, checkpoint, data, models, nn, optim, random, train

DIGITS = data.load()


def tiny(seed=0):
    random.manual_seed(seed)
    return models.dcgan(width=2, latent=5), data.Batches(DIGITS.images[:160], 32, seed)


def line(n=40, batch_size=8):
    x = random.Generator(1).normal((n,))
    return Line(), data.Batches((x, 3 * x), batch_size, transform=None)


def test_a_model_with_a_step_alone_trains(tmp_path, capsys):
    model, batches = line()
    records = train.train(model, batches, 8, tmp_path)
    assert [r["step"] for r in records] == [*range(1, 41)] and records[-1]["epoch"] == 8
    assert abs(model.slope.data - 3) < 0.01 and records[-1]["loss"] < 1e-3 < records[0]["loss"]
    assert not list((tmp_path / "samples").iterdir()) and (tmp_path / "losses.png").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0].startswith("epoch 1/8  loss ")


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, batches = tiny()
    records = train.train(model, batches, 2)
    assert len(records) == 10 and not list(tmp_path.iterdir())
    before = weights(model)
    model, batches = tiny()
    for listed in train.loop(model, batches, 2):  # a training of one's own
        for optimizer in model.optimizers:
            optimizer.lr = 2e-3 * train.second_half(listed[-1]["step"] / 10)
    trained, own = weights(model), {k: v for k, v in before.items() if "optimizer/lr" not in k}
    assert same({k: trained[k] for k in own}, own)


def test_a_model_with_step_and_sample_shows_its_samples_in_colour(tmp_path):
    class Painter(Line):
        def sample(self, n):
            colours = random.default.uniform((n, 3, 1, 1))  # draws what no step must miss
            return np.broadcast_to(2 * colours - 1, (n, 3, 5, 4))

    batches = line()[1]
    train.train(Painter(), batches, 2, tmp_path)
    picture = np.asarray(Image.open(tmp_path / "samples/epoch-002.png"))
    assert picture.shape == (80, 64, 3) and picture.std(axis=(0, 1)).min() > 10
    assert (tmp_path / "samples.gif").stat().st_size


@pytest.mark.parametrize("seeds", [False, True])
def test_a_preview_may_draw_random_numbers(seeds, tmp_path):
    class Drawing(models.GAN):
        def preview(self, path):
            self.noise(3)
            if seeds:  # as one does who wants to see the same samples again
                random.manual_seed(3)
            path.with_suffix(".txt").write_text("a line of text\n")

    trained = []
    for kind in (models.GAN, Drawing):
        model, batches = tiny()
        model.__class__ = kind
        train.train(model, batches, 3, tmp_path / kind.__name__)
        trained.append(weights(model))
    assert same(*trained)
    names = sorted(path.name for path in (tmp_path / "Drawing/samples").iterdir())
    assert names == ["epoch-001.txt", "epoch-002.txt", "epoch-003.txt"]


def test_callbacks_are_told_in_order_and_their_figures_are_logged(tmp_path):
    told = []

    class Told(train.Callback):
        def begin(self):
            told.append(("begin", self.run.total))

        def before(self, progress):
            told.append(("before", progress))

        def records(self, records):
            told.append(("records", [r["step"] for r in records]))

        def epoch(self, record):
            told.append(("epoch", record["step"], record.get("figure")))

        def end(self, error):
            told.append(("end", error))

    figures = iter([5.0, 4.0])
    evaluate = train.Evaluate(lambda: {"figure": next(figures)}, every=2)
    model, batches = line(16)
    records = train.train(model, batches, 3, tmp_path, callbacks=[evaluate, Told()])
    assert told[:4] == [("begin", 6), ("before", 0), ("records", [1]), ("before", 1 / 6)]
    assert [t for t in told if t[0] == "epoch"] == [
        ("epoch", 2, None),
        ("epoch", 4, 5.0),
        ("epoch", 6, 4.0),
    ]
    assert told[-1] == ("end", None)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(text) for text in lines] == records
    assert [r.get("figure") for r in records] == [None, None, None, 5.0, None, 4.0]


def test_the_end_of_a_failed_run_is_told_and_its_rates_are_restored(tmp_path):
    class Ends(train.Callback):
        def end(self, error):
            self.error = error

    model, batches = tiny()
    ends = Ends()

    def step(batch):
        if random.default.step == 8:
            raise ZeroDivisionError("as it happens")
        return model.step(batch)

    rates = [optimizer.lr for optimizer in model.optimizers]
    with pytest.raises(ZeroDivisionError):
        train.train(model, batches, 2, tmp_path, step=step, callbacks=[ends])
    assert isinstance(ends.error, ZeroDivisionError)
    assert [optimizer.lr for optimizer in model.optimizers] == rates
    model, batches = tiny()
    train.train(model, batches, 2, tmp_path, resume=True)
    assert model.optimizers[0].lr == rates[0]  # or a second training would begin where one ended
    trained = weights(model)
    model, batches = tiny()
    train.train(model, batches, 2)
    assert same(weights(model), trained)


def test_early_stop_ends_with_everything_saved(tmp_path, capsys):
    losses = iter([3.0, 2.0, 2.5, 2.1, 0.1])
    evaluate = train.Evaluate(lambda: {"held_out_loss": next(losses)})
    model, batches = tiny()
    stop = train.EarlyStop(patience=2)
    records = train.train(model, batches, 9, tmp_path, callbacks=[evaluate, stop])
    assert records[-1] == records[19] and records[-1]["held_out_loss"] == 2.1
    assert "held_out_loss has not fallen below 2 for 2 epochs" in capsys.readouterr().out
    assert (tmp_path / "samples/epoch-004.png").exists() and (tmp_path / "losses.png").exists()
    model, batches = tiny()  # the records decide, not how often one asks
    callbacks = [evaluate, train.EarlyStop(patience=2)]
    again = train.train(model, batches, 9, tmp_path, callbacks=callbacks, resume=True)
    assert again == records
    with pytest.raises(ValueError, match="no record has 'held_out_loss': let an Evaluate"):
        train.train(*line(), 2, callbacks=[train.EarlyStop()])


def test_early_stop_looks_at_what_an_epoch_ended_with():
    sparse = iter([float("nan"), 9, 8, 7])
    evaluate = train.Evaluate(lambda: {"held_out_loss": next(sparse)}, every=2)
    callbacks = [evaluate, train.EarlyStop(patience=1)]
    assert len(train.train(*line(16), 8, callbacks=callbacks)) == 16
    model, batches = line()
    rising = lambda batch: {"loss": random.default.step}
    stop = train.EarlyStop("loss", patience=2)
    assert train.train(model, batches, 8, step=rising, callbacks=[stop])[-1]["epoch"] == 3


def test_the_best_of_figures_that_may_be_nan(tmp_path):
    figures = iter([float("nan"), np.float32(5), 4, 6])
    evaluate = train.Evaluate(lambda: {"x": next(figures)}, best="x")
    train.train(*tiny(), 3, tmp_path, callbacks=[evaluate])
    assert checkpoint.read_meta(tmp_path / "best.npz")["step"] == 15
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(text).get("x", 0) for text in lines if '"x"' in text] == [None, 5, 4]
    (tmp_path / "log.jsonl").unlink()  # the checkpoint knows the best
    train.train(*tiny(), 4, tmp_path, callbacks=[evaluate], resume=True)
    assert checkpoint.read_meta(tmp_path / "best.npz")["step"] == 15
    for wrong, words in (
        (lambda: train.Evaluate(dict, every=0), "Evaluate: every must be a number above 0, got 0"),
        (lambda: train.Checkpoint(steps="3"), "Checkpoint: steps must be a number above 0"),
        (lambda: train.train(*line(), 1, callbacks=[evaluate]), "best is kept in the run's folder"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_checkpoints_every_so_many_steps_or_minutes(tmp_path, monkeypatch):
    for name, often in (("steps", {"steps": 2}), ("minutes", {"minutes": 1e-9})):
        saved, save = [], train.run.Run.save
        keep = lambda run, name, saved=saved: (saved.append(run.step), save(run, name))
        monkeypatch.setattr(train.run.Run, "save", keep)
        train.train(*tiny(), 2, tmp_path / name, callbacks=[train.Checkpoint(**often)])
        monkeypatch.undo()
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        assert len(log) == 10
        assert saved == ([2, 4, 5, 7, 9, 10] if name == "steps" else [*range(1, 11)])


def test_two_trainings_do_not_share_a_process(tmp_path):
    model, batches = line()
    inner = line()

    def step(batch):
        with pytest.raises(train.TrainingError, match="another run trains in this process"):
            train.train(*inner, 1)
        return model.step(batch)

    train.train(model, batches, 1, step=step)
    train.train(*inner, 1)  # one after the other they do

    refused, begun = [], threading.Event()

    def wait(batch):
        begun.set()
        other.join()
        return model.step(batch)

    def second():
        begun.wait()
        try:
            train.train(*inner, 1)
        except train.TrainingError as error:
            refused.append(error)

    other = threading.Thread(target=second)
    other.start()
    train.train(model, batches, 1, step=wait)
    assert len(refused) == 1


def test_what_is_no_step_no_data_and_no_callback_is_said_at_the_door():
    model, batches = line()
    for returned, words in (
        (None, "step must return {name: loss}, got NoneType"),
        (Tensor(1.0), "step must return {name: loss}, got Tensor"),
        ({"loss": np.zeros(3)}, r"step must return numbers, got loss of \(3,\) float64"),
        ({"loss": "low"}, "step must return numbers, got loss"),
        ({"step": 0.5}, "step must not name a loss 'step'"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            train.train(model, batches, 1, step=lambda batch, returned=returned: returned)
    with pytest.raises(TypeError, match="batches must be a data.Batches, got ndarray"):
        train.train(model, np.zeros((4, 3)), 1)
    with pytest.raises(TypeError, match="callbacks must be a list of Callbacks, got .*Bar"):
        train.train(model, batches, 1, callbacks=train.Bar())
    with pytest.raises(TypeError, match="callbacks must be a list of Callbacks, got .*Bar"):
        train.train(model, batches, 1, callbacks=[train.Bar])


def test_losses_are_numbers_of_any_kind_and_name():
    model, batches = line(16)
    kinds = iter([{"a": 1.5}, {"b": np.float32(2), "c": 3}])
    records = train.train(model, batches, 1, step=lambda batch: next(kinds))
    seen = [{k: v for k, v in r.items() if k in "abc"} for r in records]
    assert seen == [{"a": 1.5}, {"b": 2.0, "c": 3.0}]
    assert len(train.train(model, batches, 1, step=lambda batch: {})) == 2


def test_the_end_reaches_all_in_order_whatever_fails():
    told = []

    class Ends(train.Callback):
        def __init__(self, name, fail=None):
            self.name, self.fail = name, fail

        def end(self, error):
            told.append((self.name, type(error)))
            if self.fail:
                raise self.fail

    three = [Ends("a"), Ends("b", KeyError("late")), Ends("c")]
    with pytest.raises(KeyError, match="late"):
        train.train(*line(), 1, callbacks=three)
    assert told == [("a", type(None)), ("b", type(None)), ("c", KeyError)]


@pytest.mark.parametrize("epochs", [0, -1, 2.0, True, "3", None])
def test_epochs_are_whole_numbers(epochs, tmp_path):
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1"):
        train.train(*line(), epochs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_classifier_learns():
    import sys

    from runs import ROOT

    sys.path.insert(0, str(ROOT / "examples"))
    from mnist_classifier import Classifier

    random.manual_seed(0)
    model = Classifier()
    training, unseen = data.split("bundled")
    train.train(model, data.Batches((training.images, training.labels), 64), 1)
    assert (model.answers(data.scale(unseen.images)) == unseen.labels).mean() > 0.9
    assert isinstance(model.network, nn.Sequential) and isinstance(model.optimizers[0], optim.Adam)


@pytest.mark.parametrize(("notebook", "seconds"), [(True, 1), (False, None)])
def test_a_notebook_keeps_few_outputs_of_the_bar(notebook, seconds, monkeypatch):
    from tqdm import tqdm

    told, callbacks = [], train.callbacks
    monkeypatch.setattr(callbacks, "notebook", lambda: notebook)
    bar = lambda **options: told.append(options) or tqdm(**options | {"disable": True})
    monkeypatch.setattr(callbacks, "tqdm", lambda: bar)
    train.train(*line(), 1)
    assert told[0].get("mininterval") == seconds

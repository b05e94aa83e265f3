"""A BERT: what it hides, what it learns of it, and how a few labels put that to use."""

import numpy as np
import pytest

from tinygan import data, models, nn, ops, random
from tinygan.train import load, train

LETTERS = data.Characters("\n abcdef")
SMALL = {"context": 8, "width": 16, "depth": 2, "heads": 2}
LINE = "abc fed\n"


def small(**options):
    random.manual_seed(0)
    return models.bert(LETTERS, **SMALL | options)


def state(module):
    return {name: a.copy() for name, a in module.state_dict().items()}


def rows(n, t=8, seed=0):
    return np.random.default_rng(seed).integers(0, 8, (n, t)).astype(np.int32)


@pytest.mark.parametrize(
    ("t", "share", "count"), [(64, 0.15, 10), (8, 0.01, 1), (9, 0.5, 4), (7, 1.0, 7), (1, 0.1, 1)]
)
def test_as_many_places_of_each_row_are_chosen_and_none_twice(t, share, count):
    model, batch = small(share=share), rows(500, t)
    seen, places = model.hidden(batch)
    own = np.sort(places.reshape(500, count))
    assert (own // t == np.arange(500)[:, None]).all()
    assert (np.diff(own) > 0).all()
    others = np.ones(batch.size, bool)
    others[places] = False
    assert (seen.reshape(-1)[others] == batch.reshape(-1)[others]).all()
    assert seen.dtype == batch.dtype and (seen <= model.mask).all()
    # each place as often as any other
    often = np.bincount(places % t, minlength=t) / 500
    assert np.abs(often - count / t).max() < 5 * (count / t / 500) ** 0.5


def test_most_are_hidden_some_replaced_and_some_stay():
    model, batch = small(share=0.5), rows(4000)
    seen, places = model.hidden(batch)
    was, now = batch.reshape(-1)[places], seen.reshape(-1)[places]
    masked = now == 8  # one more than there are letters
    assert model.mask == 8
    assert masked.mean() == pytest.approx(0.8, abs=0.01)
    # one of eight is replaced by itself
    assert (now == was).mean() == pytest.approx(0.1 + 0.1 / 8, abs=0.01)
    for token in range(8):
        replaced = (now == token) & (was != token)
        assert replaced.sum() / (was != token).sum() == pytest.approx(0.1 / 8, abs=0.004)


def test_what_is_hidden_is_other_in_every_step_and_the_same_for_who_asks_so():
    model, batch = small(), rows(4)
    draws = [model.hidden(batch, random.Generator(3))[0] for _ in range(2)]
    assert (draws[0] == draws[1]).all()
    one, two = (model.hidden(batch)[1] for _ in range(2))
    assert (one != two).any()
    assert model.held_out([batch] * 3) == model.held_out([batch] * 3)
    assert float(model.loss(batch).data) != float(model.loss(batch).data)


def test_its_loss_is_of_what_is_to_be_guessed_alone():
    model, batch = small(share=0.4), rows(5)
    seen, places = model.hidden(batch, random.Generator(1))
    p = ops.softmax(model.network(seen)).data.reshape(-1, 9).astype(float)
    wanted = -np.log(p[places, batch.reshape(-1)[places]]).mean()
    assert float(model.loss(batch, random.Generator(1)).data) == pytest.approx(wanted, rel=1e-5)


def test_each_place_sees_all_others():
    model, one = small(), rows(1)
    for p in model.network.parameters():
        p.data *= 5
    two = one.copy()
    two[0, 7] = (one[0, 7] + 1) % 8
    differ = np.abs(model.network(one).data - model.network(two).data).max(-1)
    assert (differ > 0).all()


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A model that knows one line by heart, and its run."""
    out = tmp_path_factory.mktemp("bert") / "run"
    random.manual_seed(0)
    model = models.bert(LETTERS, lr=1e-2, share=0.25, positions="rotary", **SMALL)
    batches = data.Windows(LETTERS.encode(LINE * 80), 7, 8)
    first = model.held_out(batches)
    train(model, batches, 30, out)
    assert first > 1.9 and model.held_out(batches) < 0.8
    return model, out


def test_it_guesses_what_is_hidden(reader):
    model = reader[0]
    text = LETTERS.encode(LINE * 2)
    whole = np.stack([text[i : i + 8] for i in range(8)])
    seen = whole.copy()
    seen[:, 3] = model.mask
    guessed = model.guess(seen)
    assert guessed.shape == (8, 8) and (guessed == whole).mean() > 0.8
    assert (guessed[:, 3] == whole[:, 3]).mean() >= 0.75
    assert model.network.training


def test_it_is_the_same_when_loaded(reader):
    model, out = reader
    again = load(out)
    assert again.recipe == model.recipe and again.share == 0.25 and again.mask == 8
    ours, theirs = state(model.network), state(again.network)
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)


def texts(n, seed=0):
    """Texts of 6 letters, and whether there is an "a" before any "b"."""
    found = np.random.default_rng(seed).integers(1, 5, (n, 6)).astype(np.int32)
    return found, (found == 2).sum(1) > (found == 3).sum(1)


@pytest.mark.parametrize(("prefix", "frozen"), [(0, False), (2, False), (2, True)])
def test_a_classifier_learns_of_labels(reader, prefix, frozen):
    model, (tokens, labels) = reader[0], texts(200)
    before = state(model.network)
    random.manual_seed(0)
    learner = models.TextClassifier(model, 2, prefix, frozen, lr=1e-2, weight_decay=0.01)
    start = state(learner.network)
    batches = data.Batches((tokens, labels.astype(np.int64)), 40, transform=None)
    first = float(learner.step(batches.batch(0, 0))["loss"])
    train(learner, batches, 30)
    assert first > 0.5
    assert (learner.answers(tokens) == labels).mean() > (0.8 if frozen else 0.95)
    for name, p in learner.network.named_parameters():
        stays = frozen and name.startswith("network.")
        assert np.array_equal(p.data, start[name]) == stays, name
    # the model that it began with is as it was
    now = state(model.network)
    assert all(np.array_equal(now[name], before[name]) for name in before)


def test_only_a_prefix_and_a_dense_layer_of_a_frozen_network_learn():
    learner = models.TextClassifier(small(), 3, prefix=2, frozen=True)
    assert sorted(p.shape for p in learner.optimizer.params) == [(2, 16), (3,), (3, 16)]
    # a prefix is a matrix of places: it stands ahead of the text, and is no part of what is given
    reader, tokens = learner.network, rows(3, 6)
    assert reader.context == 6 and reader.prefix.shape == (2, 16)
    given = reader.network.features(tokens, prefix=reader.prefix)
    assert given.shape == (3, 6, 16)
    reader.prefix.data[...] = 9 * np.arange(16)
    assert (reader.network.features(tokens, prefix=reader.prefix).data != given.data).any()
    with pytest.raises(ValueError, match="make 9 places, and its context has 8"):
        learner.step((rows(3, 7), np.arange(3)))


def test_its_answers_are_those_of_its_scores_however_many_texts():
    learner, tokens = models.TextClassifier(small(), 3), rows(600)
    with learner.resting():
        wanted = learner.network(tokens).data.argmax(1)
    assert (learner.answers(tokens) == wanted).all() and len(set(wanted)) > 1


def test_a_classifier_may_begin_with_a_language_model():
    random.manual_seed(0)
    learner = models.TextClassifier(models.gpt(LETTERS, **SMALL), 2, prefix=1)
    assert isinstance(learner.network.head, nn.Linear) and learner.answers(rows(3, 7)).shape == (3,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.step(rows(2).astype(np.float32)), "step: needs tokens, raw integers"),
        (lambda m: m.step(rows(2)[0]), "needs tokens"),
        (lambda m: m.step(rows(2, 9)), "make 9 places, and its context has 8"),
        (lambda m: m.step(rows(0)), "needs tokens"),
        (lambda m: m.guess(rows(2).tolist()), "guess: needs tokens"),
        (lambda m: m.guess(rows(2) + 0.5), "guess: needs tokens"),
        (lambda m: models.TextClassifier(m, 1), "classes must be at least 2 and whole, got 1"),
        (lambda m: models.TextClassifier(m, 2.0), "classes must be at least 2 and whole"),
        (lambda m: models.TextClassifier(m, 2, -1), "prefix must be at least 0 and whole, got -1"),
        (lambda m: models.TextClassifier(m, 2, 8), "prefix 8 leaves no place for text"),
        (lambda m: models.TextClassifier(m, 2, max_norm=-1), "TextClassifier: max_norm must be"),
        (lambda m: classifier(m).answers(rows(2)[0]), "answers: needs tokens"),
        (lambda m: classifier(m).step((rows(2), np.arange(3))), "needs a label for each text"),
        (lambda m: classifier(m).step((rows(2), [0, 1])), "needs a label for each text"),
        (lambda m: classifier(m).step((rows(2), np.ones(2))), "integers"),
    ],
)  # fmt: skip
def test_what_it_refuses(call, words):
    model = small()
    with pytest.raises(ValueError, match=words):
        call(model)


def classifier(model):
    return models.TextClassifier(model, 2)


def test_a_label_that_is_no_class():
    with pytest.raises(IndexError, match="label 2 is none of 2 classes"):
        classifier(small()).step((rows(2), np.array([0, 2])))


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), True])
def test_a_share_that_is_none(share):
    with pytest.raises(ValueError, match="share"):
        small(share=share)


def test_the_mask_fits_into_narrow_integers():
    random.manual_seed(0)
    model = models.bert(data.Bytes(), context=32, width=8, depth=1, heads=2)
    losses = []
    for dtype in (np.uint8, np.int32):
        random.default.seek(1)
        losses.append(float(model.loss(np.full((2, 32), 101, dtype)).data))
    assert losses[0] == losses[1]


def test_a_label_that_is_no_class_and_a_classifier_of_a_classifier():
    model = models.bert(data.Bytes(), context=8, width=8, depth=1, heads=2)
    classifier = models.TextClassifier(model, 2)
    for label in (-100, -1, 2):
        with pytest.raises(IndexError, match=f"label {label} is none of 2 classes"):
            classifier.step((np.zeros((1, 8), np.int32), np.array([label])))
    with pytest.raises(TypeError, match="a BERT or a GPT"):
        models.TextClassifier(classifier, 2)
    with pytest.raises(ValueError, match="share"):
        model.share = 5


def test_every_place_is_hidden_as_often_where_stretches_differ():
    random.manual_seed(0)
    model = models.bert(data.Bytes(), share=0.5, context=3, width=8, depth=1, heads=2)
    _, places = model.hidden(np.zeros((3000, 3), np.int32))  # two of three: stretches of 1 and 2
    shares = np.bincount(places % 3, minlength=3) / 3000
    assert shares.tolist() == pytest.approx([2 / 3] * 3, abs=0.04)

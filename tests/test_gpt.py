"""A GPT: what it learns, how it writes, and what it refuses."""

import math

import numpy as np
import pytest

from tinygan import checkpoint, data, models, nn, random
from tinygan.models import transformer
from tinygan.models.gpt import drawn
from tinygan.train import load, train

LETTERS = data.Characters("\n abcdef")
SMALL = {"context": 8, "width": 16, "depth": 2, "heads": 2}


def small(**options):
    random.manual_seed(0)
    return models.gpt(LETTERS, **SMALL | options)


def lively(**options):
    """A model of weights so large that what it writes hangs on what it has read."""
    model = small(**options)
    for p in model.network.parameters():
        if p.ndim > 1:
            p.data *= 10
    return model


def written(model, length, start=((1, 2),), seed=3, **how):
    source = random.Generator(seed)
    return np.array([*model.stream(np.array(start), length, source, **how)]).T


def test_its_loss_is_the_mean_surprise_at_each_next_token():
    model = lively()
    batch = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int32)
    total = 0
    for row in batch:
        for i in range(1, len(row)):
            scores = model.network(row[None, :i]).data[0, -1].astype(float)
            total += math.log(np.exp(scores).sum()) - scores[row[i]]
    assert float(model.loss(batch).data) == pytest.approx(total / 6, rel=1e-5)


def test_no_place_sees_what_comes_after_it():
    model, rows = lively(), np.arange(8)[None]
    other = rows.copy()
    other[0, 5:] = 0
    ours, theirs = (model.network(x).data for x in (rows, other))
    np.testing.assert_array_equal(ours[:, :5], theirs[:, :5])
    assert np.abs(ours[:, 5:] - theirs[:, 5:]).min(-1).max() > 0


@pytest.mark.parametrize("positions", ["learnt", "rotary"])
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.8}])
def test_a_cache_changes_nothing(positions, how):
    model = lively(positions=positions)
    start = [[1, 2, 3], [4, 5, 6]]
    # 30 tokens in a context of 8: it is full, and half forgotten, many times
    with_cache, without = (written(model, 30, start, cached=c, **how) for c in (True, False))
    np.testing.assert_array_equal(with_cache, without)


@pytest.mark.parametrize("positions", ["learnt", "rotary"])
def test_several_tokens_may_follow_a_cache(positions):
    model, rows = lively(positions=positions), np.array([[1, 5, 2, 6, 3, 0, 7]])
    cache = []
    with model.resting() as network:
        parts = [network(rows[:, a:b], cache).data for a, b in ((0, 1), (1, 4), (4, 7))]
        whole = network(rows).data
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_full_context_forgets_its_first_half():
    model, start = lively(), np.random.default_rng(0).integers(0, 8, (40, 8))
    first, second = written(model, 2, start, temperature=0).T
    with model.resting() as network:
        np.testing.assert_array_equal(network(start).data[:, -1].argmax(1), first)
        half = np.append(start[:, 5:], first[:, None], 1)  # four, of a context of eight
        np.testing.assert_array_equal(network(half).data[:, -1].argmax(1), second)
        third = network(half[:, 2:]).data[:, -1].argmax(1)
    assert (third != second).any()


def test_a_context_of_one_and_prompts_beyond_the_context():
    model = lively(context=1)
    assert written(model, 5).shape == (1, 5)
    model = lively()
    long = np.array([[7, 6, 5, 1, 2, 3, 4, 5, 6, 7, 1]])
    np.testing.assert_array_equal(written(model, 4, long), written(model, 4, long[:, -8:]))


def test_tokens_are_drawn_as_often_as_they_are_likely():
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    u = (np.arange(2000) + 0.5) / 2000

    def shares(**how):
        chosen = drawn(np.tile(scores, (2000, 1)).astype(np.float32), u, **how)
        return np.bincount(chosen, minlength=4) / 2000

    near = {"abs": 2e-3}
    assert shares().tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], **near)
    sharp = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert shares(temperature=0.5).tolist() == pytest.approx(list(sharp / sharp.sum()), **near)
    assert shares(temperature=0).tolist() == [1, 0, 0, 0]
    assert shares(top_k=2).tolist() == pytest.approx([0.625, 0.375, 0, 0], **near)
    assert shares(top_k=9).tolist() == shares().tolist()
    assert shares(top_p=0.8).tolist() == pytest.approx([0.625, 0.375, 0, 0], **near)
    assert shares(top_p=0.81).tolist() == pytest.approx([0.526, 0.316, 0.158, 0], **near)
    assert shares(top_p=0.01).tolist() == [1, 0, 0, 0]
    assert shares(top_p=1.0).tolist() == shares().tolist()
    both = shares(top_k=3, top_p=0.6)  # of three, the first two have 0.84
    assert both.tolist() == pytest.approx([0.625, 0.375, 0, 0], **near)


def test_the_least_and_the_largest_number_draw_tokens_that_may_be():
    scores = np.array([[-np.inf, 0, 0, -np.inf]], np.float32)
    for u, token in ((0.0, 1), (1 - 2**-24, 2), (np.nextafter(1, 0), 2)):
        assert drawn(scores, np.array([u])) == token


def test_a_block_is_the_encoders_layer_its_dropout_too():
    random.manual_seed(0)
    block = transformer.Block(16, 2, True, False, dropout=0.5, bias=True, activation="gelu")
    options = {"dropout": 0.5, "activation": "gelu", "batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(16, 2, 64, **options)
    layer.load_state_dict(block.state_dict())
    x = random.default.normal((3, 5, 16))
    for training in (True, False):
        random.default.seek(1)
        ours = block.train(training)(x)[0].data
        random.default.seek(1)
        np.testing.assert_allclose(ours, layer.train(training)(x, is_causal=True).data, rtol=1e-5)


def test_the_coldest_is_the_likeliest_and_broken_scores_are_told():
    scores = np.array([[1.0, 5.0, 4.0, -np.inf]], np.float32)
    for temperature in (5e-324, 1e-300, 1e-30, 0):
        assert drawn(scores, np.array([0.7]), temperature) == 1
    with pytest.raises(ValueError, match="not numbers"):
        drawn(scores * np.nan, np.array([0.7]))
    for scale in (1e300, 1e-30):  # hot: even shares of those that may be
        shares = np.bincount(
            drawn(np.tile(scores, (300, 1)), (np.arange(300) + 0.5) / 300, scale), minlength=4
        )
        assert shares.tolist() == ([100, 100, 100, 0] if scale > 1 else [0, 300, 0, 0])


def test_narrow_integers_are_tokens_as_wide_ones_are():
    random.manual_seed(0)
    model = models.gpt(data.BytePairs.train(data.text()[:5000], 300), **SMALL)
    start = np.array([[101, 32, 116]])
    for dtype in (np.uint8, np.int8, np.uint16, np.int64):
        made = written(model, 40, start.astype(dtype))
        np.testing.assert_array_equal(made, written(model, 40, start))
    assert made.max() > 256


def test_options_are_checked_when_they_are_changed():
    model = small()
    with pytest.raises(ValueError, match="max_norm"):
        model.max_norm = -1
    with pytest.raises(AttributeError, match="context is 8 for good"):
        model.context = 9
    model.max_norm = 0.0
    assert model.step(np.arange(9)[None] % 8)["loss"] > 0


def test_more_tokens_than_a_checkpoint_can_say_are_refused_before_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "META_BYTES", 400)
    made, batches = small(), data.Windows(np.arange(100) % 8, 8, 4)
    monkeypatch.setattr(made, "step", lambda batch: pytest.fail("it went on"), raising=False)
    with pytest.raises(checkpoint.CheckpointError, match="fewer tokens"):
        train(made, batches, 1, tmp_path / "run")
    assert not (tmp_path / "run/log.jsonl").exists()


def test_it_learns_a_text_by_heart_and_writes_it():
    line = "abc fed\n"
    random.manual_seed(0)
    model = models.gpt(LETTERS, lr=1e-2, **SMALL)
    batches = data.Windows(LETTERS.encode(line * 60), 8, 8)
    train(model, batches, 12)
    assert model.held_out(batches) < 0.3
    texts = model.sample(2, "abc", 13, temperature=0)
    assert texts == ["abc fed\nabc fed\n"] * 2
    assert model.sample(1, "abc", 40, stop="\n", temperature=0) == ["abc fed"]
    assert model.sample(1, "a\nbc", 20, stop="d", temperature=0)[0].startswith("a\nbc")


def test_a_text_ends_where_stop_comes_first_and_is_not_looked_for_in_the_prompt():
    model = lively()
    long = model.sample(3, "a\n", 60, source=random.Generator(5))
    cut = model.sample(3, "a\n", 60, stop="\n", source=random.Generator(5))
    assert [text[2:].split("\n")[0] for text in long] == [text[2:] for text in cut]


def test_it_is_the_same_when_loaded_and_previews_the_same(tmp_path):
    model = lively(dropout=0.2, positions="rotary", bias=False, weight_decay=0.0)
    batches = data.Windows(np.arange(100) % 8, 8, 4)
    train(model, batches, 2, tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.recipe == model.recipe
    assert again.sample(2, "ab", 20, source=random.Generator(1)) == model.sample(
        2, "ab", 20, source=random.Generator(1)
    )
    shown = [(tmp_path / "run/samples" / f"epoch-00{i}.txt").read_text() for i in (1, 2)]
    model.preview(tmp_path / "epoch-009")
    assert (tmp_path / "epoch-009.txt").read_text() == shown[1]
    assert model.network.training  # the preview took dropout away, and gave it back


def test_decay_is_of_matrices_alone_and_gradients_are_clipped():
    model = small(lr=0.1, weight_decay=0.5, max_norm=1e-30)
    before = {k: a.copy() for k, a in model.network.state_dict().items()}
    model.step(np.arange(9)[None] % 8)
    for name, a in model.network.state_dict().items():
        factor = 0.95 if a.ndim > 1 else 1.0
        np.testing.assert_allclose(a, factor * before[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.sample(1, ""), "the prompt is empty"),
        (lambda m: m.sample(1, "x"), "none of the 8 known"),
        (lambda m: m.sample(1, "a", temperature=-1), "temperature must be from 0 to"),
        (lambda m: m.sample(1, "a", temperature=float("nan")), "temperature must be"),
        (lambda m: m.sample(1, "a", top_k=0), "top_k must be at least 1 and whole, got 0"),
        (lambda m: m.sample(1, "a", top_k=1.5), "top_k must be at least 1 and whole"),
        (lambda m: m.sample(1, "a", top_p=0), "top_p must be from 1e-06 to 1"),
        (lambda m: m.sample(0), "n must be at least 1"),
        (lambda m: m.sample(1, "a", -1), "length must be at least 0"),
        (lambda m: next(m.stream(np.zeros((1, 0), int), 1)), "t at least 1"),
        (lambda m: next(m.stream(np.zeros((1, 2)), 1)), "needs tokens"),
        (lambda m: m.network(np.zeros((1, 9), int)), "make 9 places, and its context has 8"),
        (lambda m: m.step(np.zeros((2, 1), int)), "t at least 2"),
        (lambda m: m.step(np.zeros((2, 5), np.float32)), "needs tokens"),
    ],
)  # fmt: skip
def test_what_it_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call(small())


@pytest.mark.parametrize(
    "options",
    [{"heads": 3}, {"positions": "none"}, {"context": 0}, {"depth": 0}, {"dropout": 2.0}],
)
def test_options_that_make_no_model(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        small(**options)

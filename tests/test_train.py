"""Training: the three models step, a run resumes bit by bit, and what goes wrong is said and loses
nothing.
"""

import json
import os
import signal
import sys

import numpy as np
import pytest
from runs import ROOT, example, same, weights

from tinygan import checkpoint, data, models, nn, optim, plot, random, train
from tinygan.checkpoint import CheckpointError
from tinygan.nn import losses

DIGITS = data.load("bundled").images


def tiny(seed=0):
    random.manual_seed(seed)
    return models.dcgan(width=2, latent=5), data.Batches(DIGITS[:160], 32, seed)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_steps_and_samples(name):
    random.manual_seed(0)
    gan = models.MODELS[name]()
    before = weights(gan)
    result = gan.step(DIGITS[:4, None] / np.float32(127.5) - np.float32(1))
    assert set(result) == {"d_loss", "g_loss"} and all(
        np.isfinite(v) and v.dtype == np.float32 for v in result.values()
    )
    moved = [k for k, v in weights(gan).items() if not np.array_equal(v, before[k])]
    parameters = [
        f"{n}/{k}"
        for n in ("generator", "discriminator")
        for k, _ in getattr(gan, n).named_parameters()
    ]
    assert set(parameters) <= set(moved)
    images = gan.sample(3)
    assert (
        images.shape == (3, 1, 28, 28) and images.dtype == np.float32 and np.abs(images).max() <= 1
    )
    z = gan.noise(300)
    # one sample, whatever its batch
    np.testing.assert_allclose(gan.sample(300, z)[270:], gan.sample(30, z[270:]), atol=1e-5)


def test_dcgan_makes_images_of_other_sides():
    gan = models.dcgan(width=1, latent=2, side=12)
    gan.step(np.zeros((2, 1, 12, 12), np.float32))
    assert gan.sample(2).shape == (2, 1, 12, 12)
    with pytest.raises(ValueError, match="multiple of 4, got 30"):
        models.dcgan(side=30)


def test_the_discriminators_update_leaves_the_generator_alone_and_the_other_way_round():
    gan, batches = tiny()
    generator, discriminator = gan.generator.state_dict(), gan.discriminator.state_dict()
    seen = []

    def watch(optimizer, others):
        plain = optimizer.step

        def step(grads):
            before = {k: v.copy() for k, v in others.items()}
            plain(grads)
            seen.append(same(before, others))

        optimizer.step = step

    watch(gan.d_optimizer, generator), watch(gan.g_optimizer, discriminator)
    gan.step(batches.batch(0, 0))
    assert seen == [True, True]


@pytest.mark.parametrize("objective", [losses.non_saturating, losses.hinge, losses.wasserstein])
def test_objectives_train(objective):
    random.manual_seed(0)
    gan = models.dcgan(width=2, latent=5, objective=objective)
    assert np.isfinite(gan.step(np.zeros((4, 1, 28, 28), np.float32))["d_loss"])


def test_the_critic_of_a_wgan_gp_settles_where_the_penalty_balances_the_gap():
    random.manual_seed(0)
    generator, critic = nn.Linear(1, 2), nn.Linear(2, 1)
    generator.load_state_dict({"weight": np.zeros((2, 1)), "bias": np.zeros(2)})
    gan = models.WGANGP(generator, critic, latent=1, lr=0)
    gan.d_optimizer = optim.SGD(critic.parameters(), 0.03)
    # fakes are (0, 0), real samples (3, 4): d_loss is -5s + 10(s - 1)^2 for a slope s towards them
    for _ in range(200):
        result = gan.step(np.array([[3, 4]] * 4, np.float32))
        random.default.next_step()
    np.testing.assert_allclose(critic.weight.data, [[0.75, 1.0]], rtol=1e-5)
    np.testing.assert_allclose(result["d_loss"], -5.625, rtol=1e-5)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    gan, batches = tiny()
    train.train(gan, batches, 3, tmp_path / "whole")
    expected, log = weights(gan), (tmp_path / "whole/log.jsonl").read_text().splitlines()

    gan, batches = tiny()
    calls, handler = [], signal.getsignal(signal.SIGINT)

    def step(real):  # Ctrl-C in the middle of the second epoch
        calls.append(1)
        if len(calls) == 8:
            signal.raise_signal(signal.SIGINT)
        return gan.step(real)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 8 of 15; .*resume to go on"):
        train.train(gan, batches, 3, tmp_path / "cut", step=step)
    assert len(calls) == 8
    gan, batches = tiny()
    random.default.seek(3)  # the state of the process does not matter
    train.train(gan, batches, 3, tmp_path / "cut", resume=True)
    assert same(weights(gan), expected)
    resumed = (tmp_path / "cut/log.jsonl").read_text().splitlines()
    strip = lambda lines: [
        {k: v for k, v in json.loads(r).items() if k != "seconds"} for r in lines
    ]
    assert strip(resumed) == strip(log) and len(log) == 15
    assert signal.getsignal(signal.SIGINT) is handler
    pictures = [p.name for p in sorted((tmp_path / "cut/samples").iterdir())]
    assert pictures == ["epoch-001.png", "epoch-002.png", "epoch-003.png"]
    assert all((tmp_path / "cut" / name).stat().st_size for name in ("samples.gif", "losses.png"))


def test_a_judge_is_asked_and_the_best_weights_are_kept(tmp_path):
    scores, seen = iter([7.0, 3.0, 5.0, 4.0]), []

    def judge(images):
        seen.append((images.shape, weights(gan)))
        return {"fid": next(scores), "coverage": 0.5}

    gan, batches = tiny()
    points = gan.noise(10_000, random.Generator(0, 5))
    figures = lambda: judge(gan.sample(10_000, points))
    train.train(gan, batches, 7, tmp_path, callbacks=[train.Evaluate(figures, every=2, best="fid")])
    ended = weights(gan)
    assert [shape for shape, _ in seen] == [(10_000, 1, 28, 28)] * 4
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    judged = [(r["epoch"], r["fid"], r["coverage"]) for r in log if "fid" in r]
    assert judged == [(2, 7, 0.5), (4, 3, 0.5), (6, 5, 0.5), (7, 4, 0.5)]
    assert checkpoint.load(tmp_path / "best.npz", gan.parts())["epoch"] == 4 and same(
        weights(gan), seen[1][1]
    )
    gan, batches = tiny()
    train.train(gan, batches, 7, tmp_path / "alone")
    assert same(weights(gan), ended)  # judging draws nothing that training would


def test_resume_refuses_another_run_and_changes_nothing(tmp_path):
    gan, batches = tiny()
    train.train(gan, batches, 1, tmp_path, config={"targets": "grey"})
    path, before = tmp_path / "checkpoint.npz", weights(gan)
    with pytest.raises(CheckpointError, match="another run: config.targets was grey, is static"):
        train.train(gan, batches, 2, tmp_path, resume=True, config={"targets": "static"})
    train.train(gan, batches, 1, tmp_path, resume=True, config={"targets": "grey"})
    other = models.dcgan(width=3, latent=5)
    untouched = weights(other)
    with pytest.raises(CheckpointError, match="belongs to another model; .* arrays differ: "):
        checkpoint.load(path, other.parts())
    assert same(weights(other), untouched)
    for damage in (path.read_bytes()[:-200], b"", b"PK\x03\x04 no"):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match=f"{path}: not a whole .npz"):
            checkpoint.load(path, gan.parts())
    assert same(weights(gan), before)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "none.npz", gan.parts())


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    gan, _ = tiny()
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, gan.parts(), {"step": 1})

    def full(fd):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, gan.parts(), {"step": 2})
    assert checkpoint.load(path, gan.parts())["step"] == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    gan, batches = tiny()
    calls = []

    def step(real):
        calls.append(1)
        return {"d_loss": np.float32(np.nan if len(calls) == 7 else 1), "g_loss": np.float32(1)}

    with pytest.raises(
        train.TrainingError, match=r"step 7: .*d_loss nan.*lower learning rate.*checkpoint\.npz"
    ):
        train.train(gan, batches, 3, tmp_path, step=step)
    assert checkpoint.load(tmp_path / "checkpoint.npz", gan.parts())["step"] == 5


def test_learning_rate_falls_over_the_second_half(tmp_path):
    gan, batches = tiny()
    rates = []

    def step(real):
        rates.append(gan.g_optimizer.lr)
        return {"d_loss": 1.0, "g_loss": 1.0}

    train.train(gan, batches, 2, tmp_path, step=step)
    np.testing.assert_allclose(rates, 2e-3 * np.minimum(1, 2 * (1 - np.arange(10) / 10)))


def test_a_schedule_scales_the_learning_rate_of_each_group(tmp_path):
    gan, batches = tiny()
    first, *others = gan.generator.parameters()
    gan.g_optimizer, rates = (
        optim.Adam([{"params": first, "lr": 0.5}, {"params": others}], 0.25),
        [],
    )

    def step(real):
        rates.append([group["lr"] for group in gan.g_optimizer.param_groups])
        return {"d_loss": 1.0, "g_loss": 1.0}

    schedule = optim.schedules.warmup(optim.schedules.cosine, 0.2)
    train.train(gan, batches, 2, tmp_path, step=step, schedule=schedule)
    np.testing.assert_allclose(
        rates, [[0.5 * f, 0.25 * f] for f in map(schedule, np.arange(10) / 10)]
    )
    assert rates[0] == [0, 0] and rates[2] == [0.5, 0.25]


def test_to_uint8_and_grid(tmp_path):
    from PIL import Image

    images = np.stack([np.full((1, 2, 3), v, np.float32) for v in (-1, 0, 1)])
    assert [i[0, 0] for i in plot.to_uint8(images)] == [0, 128, 255]
    plot.grid(plot.to_uint8(images), tmp_path / "g.png", columns=2, zoom=1)
    picture = np.asarray(Image.open(tmp_path / "g.png"))
    assert picture.shape == (4, 6) and (picture[2:, :3] == 255).all()
    assert not picture[:2, :3].any() and not picture[2:, 3:].any()


def test_the_example_makes_digits(tmp_path):
    out = tmp_path / "run"
    done = example(
        "mnist_gan", "--epochs", 1, "--width", 4, "--samples", 64, "--out", out, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out / "samples/epoch-001.png")
    images = np.load(out / "samples.npz")["images"]
    assert images.shape == (64, 28, 28) and images.dtype == np.uint8
    assert (
        images.max() > 150
        and images.mean() < 128
        and len(np.unique(images.reshape(64, -1), axis=0)) == 64
    )
    center, edge = images[:, 8:20, 8:20].mean(), images[:, :, [0, 1, 26, 27]].mean()
    assert center > 2 * edge  # ink in the middle, as digits have it


def test_the_examples_step_is_the_models_step():
    sys.path.insert(0, str(ROOT / "examples"))
    from mnist_gan import adversarial_step

    results = []
    for step in (lambda gan, x: gan.step(x), adversarial_step):
        gan, batches = tiny()
        for i in range(3):
            step(gan, batches.batch(0, i))
            random.default.next_step()
        results.append(weights(gan))
    assert same(*results)


@pytest.mark.parametrize(
    "args, words",
    [
        (["--device", "gpu"], "CuPy"),
        (["--data", "nowhere"], "nowhere"),
        (["--epochs", "0"], "must be at least 1"),
        (["--epochs", "many"], "invalid"),
        (["--model", "mlp", "--width", "8"], "--width is for"),
        (["--batch-size", "20000"], "20000"),
        (["--resume"], "leave out --resume to begin"),
        (["--lr", "nan"], "must be"),
        (["--seed", "-1"], "must be"),
        (["--precision", "tf32"], "use precision float32"),
        (["--seed", str(2**32)], "4294967295"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(args, words, tmp_path):
    if args == ["--device", "gpu"] and __import__("importlib").util.find_spec("cupy"):
        pytest.skip("CuPy is installed: the sentence depends on the machine")
    where = "gpu" if "gpu" in args else "cpu"
    done = example("mnist_gan", *args, "--out", tmp_path / "run", "--device", where)
    lines = done.stderr.strip().splitlines()
    assert (
        done.returncode == 2
        and len(lines) == 1
        and words in lines[0]
        and lines[0].startswith("mnist_gan.py: ")
    )

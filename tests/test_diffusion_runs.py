"""Flows and diffusions as models that are remembered: recipes, what is refused, and runs that are
loaded and resumed to the bit.
"""

import json

import numpy as np
import pytest
from runs import resumed, same, weights

from tinygan import checkpoint, data, models, random, train

PICTURES = {"width": 8, "hidden": 8, "heads": 1, "side": 8, "classes": 2, "names": ["a", "b"]}
PICTURES |= {"guidance": 1.5, "steps": 2, "drop": 0.3, "decay": 0.5}
POINTS = {"width": 8, "depth": 1, "steps": 2, "scale": 0.5}
MEMBERS = [
    ("diffusion", "flow", PICTURES | {"method": "rk4", "times": "uniform"}),
    ("diffusion", "ddpm", PICTURES | {"timesteps": 7, "schedule": "linear", "predict": "eps"}),
    ("plane", "flow", POINTS | {"lr": 0.01}),
    ("plane", "ddpm", POINTS | {"eta": 1.0, "clip": False}),  # its previews draw noise
]


def test_every_member_is_here():
    assert {name for family, name, _ in MEMBERS if family == "diffusion"} == {*models.DIFFUSIONS}
    assert {name for family, name, _ in MEMBERS if family == "plane"} == {*models.PLANES}


def made(family, name, options, seed=0):
    """A model and batches for it."""
    random.manual_seed(seed)
    model = models.build({"family": family, "model": name, **options})
    real = np.random.default_rng(0).uniform(-1, 1, (12, *model.sample_shape)).astype(np.float32)
    labels = np.arange(12) % max(1, model.classes)
    arrays = (real, labels) if model.classes else real
    return model, data.Batches(arrays, 4, seed, transform=None)


@pytest.mark.parametrize("family, name, options", MEMBERS)
def test_a_recipe_makes_the_same_again(family, name, options):
    random.manual_seed(1)
    model = (models.DIFFUSIONS if family == "diffusion" else models.PLANES)[name](**options)
    random.manual_seed(1)
    again = models.build(model.recipe)
    assert again.recipe == model.recipe and type(again) is type(model)
    assert model.recipe.items() >= options.items() and same(weights(again), weights(model))
    plain = (int, float, str, tuple)
    told, found = (
        {k: v for k, v in vars(m).items() if isinstance(v, plain)} for m in (model, again)
    )
    assert found.pop("_recorded") == told.pop("_recorded") and found == told
    assert told.items() >= {k: v for k, v in options.items() if k in told and k != "names"}.items()


@pytest.mark.parametrize(
    "name, wrong, words",
    [
        (
            "flow",
            {"method": "leap"},
            "method must be one of euler, midpoint, heun, rk4, got 'leap'",
        ),
        ("flow", {"times": "late"}, "times must be one of uniform, logit-normal, got 'late'"),
        ("flow", {"coupling": "x" * 99}, "coupling must be one of independent, optimal, got 'xxx"),
        ("ddpm", {"schedule": "x"}, "schedule must be one of linear, cosine, got 'x'"),
        ("ddpm", {"predict": "x0"}, "predict must be one of eps, v, got 'x0'"),
        ("ddpm", {"timesteps": 0}, "timesteps must be at least 1, got 0"),
        ("ddpm", {"timesteps": 1.5}, "timesteps cannot be 1.5"),
        ("ddpm", {"eta": 1.5}, "eta must be from 0 to 1, got 1.5"),
        ("ddpm", {"schedule": "linear", "timesteps": 1}, "timesteps 1 are too few"),
        ("ddpm", {"clip": 1}, "clip cannot be 1"),
        ("flow", {"steps": 0}, "steps must be at least 1, got 0"),
        ("flow", {"steps": 4.0}, "steps cannot be 4.0"),
        ("flow", {"drop": 1.1}, "drop must be from 0 to 1, got 1.1"),
        ("flow", {"scale": 0}, "scale must be from 1e-30 to .*, got 0"),
        ("flow", {"scale": [1, 2]}, r"scale must be from 1e-30 to .*, got \[1, 2\]"),
        ("ddpm", {"guidance": [2]}, r"guidance cannot be \[2\]"),
        ("flow", {"heads": 5}, "5 heads cannot share 64 channels equally"),
        ("flow", {"hidden": -1}, "hidden must be at least 0, got -1"),
        ("flow", {"side": 6}, "side must be a multiple of 4, got 6"),
        ("flow", {"schedule": "cosine"}, "unexpected keyword argument 'schedule'"),
        ("ddpm", {"names": ["one"]}, "a model of 0 classes needs as many names, got 1"),
    ],
)
def test_what_no_recipe_may_say_is_refused_in_a_line(name, wrong, words):
    with pytest.raises(ValueError, match=f"^{name}: [^\n]*{words}[^\n]*$"):
        models.build({"family": "diffusion", "model": name} | wrong)


@pytest.mark.parametrize("family, name, options", MEMBERS)
def test_a_run_is_loaded_and_resumes_to_the_bit(family, name, options, tmp_path):
    model, batches = made(family, name, options)
    before = weights(model)
    train.train(model, batches, 2, tmp_path / "whole")
    still = [k for k, a in weights(model).items() if np.array_equal(before[k], a)]
    # every weight, average and moment of one moves
    assert all("frequencies" in k or k == "optimizer/lr" for k in still)
    cut = resumed(lambda: made(family, name, options), 2, 4, tmp_path / "cut")
    assert same(weights(cut), weights(model))
    loaded = train.load(tmp_path / "cut")
    assert loaded.recipe == model.recipe and same(weights(loaded), weights(model))
    noise, pictures = model.noise(5), []
    for m in (model, loaded):
        random.manual_seed(3)
        pictures.append(m.sample(5, noise, labels=["b", "a"] * 2 + ["a"] if m.classes else None))
    assert np.array_equal(*pictures) and pictures[0].shape == (5, *model.sample_shape)


@pytest.mark.parametrize(
    "options, other",
    [(MEMBERS[0][2], {"steps": 3, "guidance": 2.0, "method": "euler"}), (POINTS, {"eta": 1.0})],
)
def test_a_run_that_goes_on_may_make_samples_otherwise(options, other, tmp_path):
    """Which changes nothing in what it learns, and is known of it from then on; where all is done,
    too.
    """
    family, name = ("diffusion", "flow") if "steps" in other else ("plane", "ddpm")
    whole, batches = made(family, name, options)
    train.train(whole, batches, 2, tmp_path / "6")
    ways = iter([options, options | other])
    half = resumed(lambda: made(family, name, next(ways)), 2, 4, tmp_path / "3")
    done, batches = made(family, name, options | other)
    train.train(done, batches, 2, tmp_path / "6", resume=True)
    for at, model in (3, half), (6, done):
        assert same(weights(model), weights(whole))
        out = tmp_path / f"{at}"
        meta = checkpoint.read_meta(out / "checkpoint.npz")
        said = json.loads((out / "config.json").read_text())
        for recipe in meta["model"], meta["config"]["model"], said["model"], train.load(out).recipe:
            assert recipe.items() >= other.items()
        records = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        (event,) = [record for record in records if "event" in record]
        assert event == {"step": at, "event": "resumed", **other}
        with pytest.raises(checkpoint.CheckpointError, match="model.drop was .*, is 0.7"):
            train.train(*made(family, name, options | {"drop": 0.7}), 2, out, resume=True)

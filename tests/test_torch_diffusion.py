"""Flow matching and diffusion beside PyTorch, if installed: the same network written there, its
losses and gradients for every weight, five steps of training, and samples; the same batches, times
and noise.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from tinygan import grad, models, ops, optim, random

torch = pytest.importorskip("torch")
BENCH = str(Path(__file__).parent.parent / "bench")
sys.path.append(BENCH)
from agree import drawn  # noqa: E402
from peers.with_diffusion import TorchDiffusion  # noqa: E402

sys.path.remove(BENCH)
torch.set_num_threads(1)  # the arrays are small
NET = {"width": 8, "hidden": 8, "heads": 2, "side": 8, "classes": 3, "guidance": 1.5}
MEMBERS = {
    "flow": lambda: models.flow(**NET),
    "flow, uniform t": lambda: models.flow(**NET, times="uniform"),
    "ddpm v": lambda: models.ddpm(**NET),
    "ddpm eps": lambda: models.ddpm(**NET, predict="eps", schedule="linear"),
}
BATCHES = np.random.default_rng(0).uniform(-1, 1, (5, 6, 1, 8, 8))
LABELS = np.arange(6) % 3


def pair(name, dtype):
    """tinygan's model and PyTorch's twin, of the same weights, none of them 0."""
    random.manual_seed(0)
    model = MEMBERS[name]()
    for i, p in enumerate(model.network.parameters()):
        p.data += 0.1 * np.random.default_rng(i).standard_normal(p.shape).astype(np.float32)
    if dtype == np.float64:
        model.network.double(), model.average.double()
        model.optimizer = optim.Adam(model.network.parameters(), 4e-3, (0.9, 0.99))
        model.ema = optim.EMA(model.average, model.network)
        model.noise = lambda n, source=None: random.default.normal((n, model.latent), dtype)
    model.average.load_state_dict(model.network.state_dict())
    model.optimizer.param_groups[0]["eps"] = 1e-3  # a gradient of 0 is not blown up
    return model, TorchDiffusion(model)


def given(model, n, dtype):
    """What a step of tinygan draws next, as tensors."""
    place = random.default.step, random.default.draw
    parts = drawn(model, n, dtype)
    random.default.step, random.default.draw = place
    return tuple(torch.from_numpy(np.copy(a)) for a in parts)


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-6), (np.float64, 1e-10)])
@pytest.mark.parametrize("name", MEMBERS)
def test_five_steps_are_pytorchs(name, dtype, rtol):
    model, twin = pair(name, dtype)
    for batch in BATCHES.astype(dtype):
        random.default.next_step()
        parts = given(model, len(batch), dtype)
        twin.draw = lambda n, parts=parts: parts
        theirs = twin.step((batch, LABELS))["loss"]
        assert float(model.step((batch, LABELS))["loss"]) == pytest.approx(theirs, rel=rtol)
    state = twin.net.state_dict()
    for key, a in model.network.state_dict().items():
        tolerance = 1e-3 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(a, state[key], rtol=tolerance, atol=tolerance, err_msg=key)
    for key, a in model.average.state_dict().items():
        np.testing.assert_allclose(a, twin.average.get(key, state[key]), 1e-3, 1e-3, err_msg=key)


@pytest.mark.parametrize("name", MEMBERS)
def test_gradients_of_every_weight_are_pytorchs(name):
    """And their gradients, of a mix of them."""
    model, twin = pair(name, np.float64)
    rows = np.eye(3)[LABELS]
    parts = given(model, 6, np.float64)
    random.default.bernoulli(1 - model.drop, (6, 1), np.float64)
    loss = model.loss(BATCHES[0], rows)
    math = torch.nn.attention.SDPBackend.MATH  # PyTorch's fused attention has no second order
    with torch.nn.attention.sdpa_kernel(math):
        other = twin.loss(torch.tensor(BATCHES[0]), torch.tensor(rows), *parts[1:])
    assert float(loss) == pytest.approx(other.item(), rel=1e-12)
    names, parameters = zip(*model.network.named_parameters())
    theirs = [dict(twin.net.named_parameters())[name] for name in names]
    first = grad(loss, parameters, create_graph=True)
    expected = torch.autograd.grad(other, theirs, create_graph=True)
    along = [np.random.default_rng(i).standard_normal(p.shape) for i, p in enumerate(parameters)]
    slope = sum((ops.sum(a * v) for a, v in zip(first, along)), 0.0)
    its = sum((a * torch.tensor(v)).sum() for a, v in zip(expected, along))
    second = grad(slope, parameters), torch.autograd.grad(its, theirs)
    for ours, others in ((first, expected), second):
        for key, a, b in zip(names, map(ops.raw, ours), others):
            b = b.detach().numpy()
            assert abs(a).max() > 1e-9, key
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * abs(b).max(), err_msg=key)


@pytest.mark.parametrize("name, options", [
    ("flow", {"steps": 4}), ("flow", {"steps": 5, "guidance": 1.0}), ("ddpm v", {"steps": 4}),
    ("ddpm eps", {"steps": 4}),
])  # fmt: skip
def test_samples_are_pytorchs(name, options):
    """By Heun's method and by DDIM, guided."""
    # the noise that eps names is over sqrt(abar), which is small at first: float32 is too coarse
    dtype = np.float64 if "eps" in name else np.float32
    model, twin = pair(name, dtype)
    noise = model.noise(6)
    ours = model.sample(6, noise, LABELS, **options)
    rows = torch.tensor(np.eye(3, dtype=dtype)[LABELS])
    guidance = options.get("guidance", model.guidance)
    theirs = twin.sample(torch.tensor(noise).view(6, 1, 8, 8), rows, options["steps"], guidance)
    theirs = np.clip(theirs, -1, 1)  # as pictures are
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

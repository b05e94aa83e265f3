"""What the tests of training runs share: the weights of a model, a run that is cut short and
resumed, and the examples, started as a user starts them.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygan import Tensor, data, grad, ops, random, train

ROOT = Path(__file__).parent.parent


class Narrow:
    """p(x|z) = N(output, 0.5**2), the likelihood of VAEs of which p(x) is known."""

    discrete = False

    def target(self, images):
        return images

    def log_p(self, output, x):
        return -ops.sum((x - output) ** 2 / 0.5 + 0.5 * np.log(2 * np.pi * 0.25), axis=1)


class Line:
    """y = a x to points on the line of slope 3: a step and no more."""

    rate = 0.2

    def __init__(self):
        self.slope = Tensor(np.zeros((), np.float32))

    def step(self, batch):
        x, y = batch
        loss = ((self.slope * x - y) ** 2).mean()
        self.slope.data -= self.rate * grad(loss, self.slope)
        return {"loss": loss.data}


def weights(model):
    return {
        f"{p}/{k}": a.copy()
        for p, thing in model.parts().items()
        for k, a in thing.state_dict().items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def resumed(make, epochs, at, out):
    """The model of make() -> (model, batches) after a run that was cut at a step, and resumed with
    another such model.
    """
    model, batches = make()

    def step(batch):
        if random.default.step == at:
            raise KeyboardInterrupt
        return model.step(batch)

    with pytest.raises(KeyboardInterrupt):
        train.train(model, batches, epochs, out, step=step)
    model, batches = make()
    train.train(model, batches, epochs, out, resume=True)
    return model


def example(name, *args, **kwargs):
    """An example of that name, run by a Python of its own."""
    command = [sys.executable, str(ROOT / f"examples/{name}.py"), *map(str, args)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    kwargs = {"capture_output": True, "text": True, "env": env, "timeout": 120} | kwargs
    return subprocess.run(command, **kwargs)


def folder(path, n, part="train"):
    """A folder of n of the bundled digits as IDX files."""
    path.mkdir(exist_ok=True)
    for name, array in zip(("images-idx3", "labels-idx1"), data.load()[:2], strict=True):
        shape = (n, *array.shape[1:])
        head = bytes((0, 0, 8, array.ndim)) + np.array(shape, ">u4").tobytes()
        (path / f"{part}-{name}-ubyte").write_bytes(head + array[:n].tobytes())


def assert_spelled_out(step, make, batches):
    """An example's step(model, batch) is the model's own, to the bit, over these batches."""
    found = []
    for each in (step, lambda model, batch: model.step(batch)):
        random.manual_seed(3)
        model = make()
        found.append(([each(model, b)["loss"].item() for b in batches], weights(model)))
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1])
    assert len(set(found[0][0])) == len(batches)

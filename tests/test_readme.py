"""The README's Python runs as printed."""

import importlib.util
import re
from pathlib import Path

import numpy as np

import tinygan as tg

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("faces.npz", images=np.zeros((64, 28, 28), np.uint8))
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    for block in blocks:
        if "import torch" not in block or importlib.util.find_spec("torch"):
            exec(compile(block, "README.md", "exec"), names)
    assert len(blocks) == 10 and names["batches"].batch(0, 0).shape == (32, 1, 28, 28)
    x = tg.Tensor(np.array([2.0]))
    np.testing.assert_array_equal(tg.grad(names["cube"](x), x), [12.0])
    assert (
        list(names["Scale"](3).state_dict()) == ["weight"]
        and Path("runs/mine/samples.gif").stat().st_size
    )
    assert str(tg.grad((names["x"] ** 3).sum(), names["x"])) == "[ 3. 12.]"

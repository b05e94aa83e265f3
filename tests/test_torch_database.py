"""A few samples of each operation and module of PyTorch's databases, where PyTorch is installed.

All of them: `python bench/torch_ops.py --reference --extremal`, and `--modules`.
"""

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch.testing._internal.common_methods_invocations", exc_type=ImportError)
sys.path.append(str(Path(__file__).parent.parent / "bench"))
import torch_ops  # noqa: E402


@pytest.mark.parametrize(
    "run, least", [(torch_ops.run, 100), (torch_ops.run_modules, 35)], ids=["operations", "modules"]
)
def test_no_sample_differs_from_pytorch(run, least):
    rows = run(limit=3)
    told = [row["told"].get(kind, {}) for row in rows for kind in ("differs", "crashed")]
    assert not [line for lines in told for line in lines.values()]
    assert len({row["op"] for row in rows if row.get("equal")}) >= least

"""The gradient checker finds each wrong gradient of `seeded_torch_bugs.py`, and none in the right
ones beside them.
"""

import pytest

torch = pytest.importorskip("torch")

from seeded_torch_bugs import BUGS, CLEAN  # noqa: E402
from torch.utils._pytree import tree_map  # noqa: E402

from tinygan.testing import GradientError, check_grads, check_module  # noqa: E402


def check(f, inputs, options):
    """To order 1: rules that go by way of NumPy have no second derivative to be right or wrong."""
    check_all = check_module if isinstance(f, torch.nn.Module) else check_grads
    check_all(f, *inputs, order=1, **options)


@pytest.mark.parametrize("name", BUGS)
def test_a_wrong_gradient_is_found(name):
    with pytest.raises(GradientError):
        check(*BUGS[name]())


@pytest.mark.parametrize("name", CLEAN)
def test_a_right_gradient_passes(name):
    check(*CLEAN[name]())


def test_a_bug_is_in_the_gradient_alone():
    for name in BUGS:
        torch.manual_seed(0)
        f, inputs, options = BUGS[name]()
        torch.manual_seed(0)
        g, others, _ = CLEAN[name]()
        tracked = tree_map(lambda x: x.requires_grad_(), inputs)
        found, right = (h(*x, **options.get("kwargs", {})) for h, x in ((f, tracked), (g, others)))
        torch.testing.assert_close(found, right, rtol=0, atol=0, msg=name)
    assert len(BUGS) == len(CLEAN) >= 14

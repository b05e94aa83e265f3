"""The gradient checker finds each wrong gradient of `seeded_bugs.py`, and none in the right ones
beside them.
"""

import numpy as np
import pytest
from seeded_bugs import BUGS, CLEAN

from tinygan.testing import GradientError, check_grads

# what divides by zero does so on purpose
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@quiet
@pytest.mark.parametrize("name", BUGS)
def test_a_wrong_gradient_is_found(name):
    f, vjp, inputs = BUGS[name]()
    with pytest.raises(GradientError):
        check_grads(f, *inputs, vjp=vjp)


@quiet
@pytest.mark.parametrize("name", CLEAN)
def test_a_right_gradient_passes(name):
    f, vjp, inputs = CLEAN[name]()
    check_grads(f, *inputs, vjp=vjp)


def test_a_bug_is_in_the_rule_alone_and_nothing_is_shared_between_checks():
    for name in BUGS:
        (f, _, inputs), (g, _, others) = BUGS[name](), CLEAN[name]()
        for x, y in zip(inputs, others, strict=True):
            np.testing.assert_array_equal(x, y, strict=True)
            assert not np.may_share_memory(x, y), name
        np.testing.assert_array_equal(f(*inputs), g(*others), err_msg=name)
    assert len(BUGS) == len(CLEAN) >= 95

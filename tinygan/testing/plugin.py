"""A pytest plugin, there once tinygan is installed: the fixture `gradcheck` and the marker that
sets its options.

    @pytest.mark.gradcheck(order=1)
    def test_my_layer(gradcheck):
        gradcheck(my_layer, np.random.randn(3, 4))
"""

import functools

import pytest


def pytest_configure(config):
    """Tell pytest of the marker."""
    marker = "gradcheck(order=2, rtol=None, ...): options of the gradcheck fixture"
    config.addinivalue_line("markers", marker)


@pytest.fixture
def gradcheck(request):
    """`tinygan.testing.check_grads`, with the options of a gradcheck marker on the test."""
    from .check import check_grads

    marker = request.node.get_closest_marker("gradcheck")
    return functools.partial(check_grads, **(marker.kwargs if marker else {}))

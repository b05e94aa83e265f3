"""Hypothesis strategies for arrays and convolutions, and profiles: what to check gradients with.

    @given(strategies.broadcastable(2))
    def test_hypot(arrays):
        check_grads(hypot, *arrays)

Everything drawn is legal and shrinks to something small: sides to 1 (or 0), numbers to 0, steps to
1. Needs Hypothesis.
"""

import dataclasses

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.extra import numpy as hnp

from .layouts import LAYOUTS, REPEATED


def register_profiles():
    """The profiles `dev`, `ci` (the same examples each time) and `intense` (a thousand;
    --hypothesis-profile intense).

    None has a deadline, which a first call that compiles would miss, and `dev` is loaded; but a
    profile that is registered under one of these names stays what it is, and one that somebody has
    loaded stays loaded.
    """
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]  # first calls compile
    plain = {"deadline": None, "suppress_health_check": quiet}
    ours = {
        "dev": {"max_examples": 25},
        "ci": {"max_examples": 25, "derandomize": True},
        "intense": {"max_examples": 1000},
    }
    for name, options in ours.items():
        if not _taken(name):
            settings.register_profile(name, **plain, **options)
    if settings.get_current_profile_name() == "default":
        settings.load_profile("dev")


def _taken(name):
    """Whether somebody has registered a profile; Hypothesis itself has a `ci`."""
    try:
        found = settings.get_profile(name)
    except InvalidArgument:
        return False
    hypothesis_own = found.derandomize, found.max_examples, found.database
    return name != "ci" or hypothesis_own != (True, 100, None)


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=4):
    """Shapes of arrays, () and sides of 0 among them."""
    sides = {"min_side": min_side, "max_side": max_side}
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, **sides)


@st.composite
def arrays(draw, shape=None, dtype=np.float64, ties=True, low=-4, high=4, negative_strides=True):
    """Arrays of numbers from `low` to `high`, in any memory layout. shape: a shape or a strategy of
    them; any, by default.

    ties: quarters, many of them equal or 0, the places of kinks; without ties no two numbers are
    alike and none is near 0. negative_strides=False: none that torch.from_numpy would refuse, these
    and read-only memory.
    """
    shape = shapes() if shape is None else shape
    if isinstance(shape, st.SearchStrategy):
        shape = draw(shape)
    size = int(np.prod(shape))
    if ties:
        quarters = st.integers(4 * low, 4 * high)
        numbers = np.array(draw(st.lists(quarters, min_size=size, max_size=size)), float) / 4
    else:
        part = draw(st.sampled_from([0.3, 0.45, 0.7]))  # no multiple of it is whole
        places = np.array(draw(st.permutations(range(size))), float) + part
        numbers = low + (high - low) * places / max(size, 1)
    a = numbers.reshape(shape).astype(dtype)
    refused = () if negative_strides else ("negative-stride", "read-only", *REPEATED)
    names = [name for name in LAYOUTS if (ties or name not in REPEATED) and name not in refused]
    layout = draw(st.sampled_from([None, *names]))
    return np.asarray(LAYOUTS[layout](a)) if layout else a


@st.composite
def broadcastable(draw, n=2, **options):
    """n arrays whose shapes go together; options as those of `arrays`."""
    several = hnp.mutually_broadcastable_shapes(num_shapes=n, min_side=0, max_side=3, max_dims=3)
    return [draw(arrays(shape, **options)) for shape in draw(several).input_shapes]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A legal configuration: n images, `groups` times c channels to o channels; for each axis the
    kernel, the output's size, the steps, and `extra`: pixels that the image has beyond what the
    outputs need (a stride's remainder, or output_padding)."""

    n: int
    groups: int
    c: int
    o: int
    axes: tuple  # of (kernel, out, stride, padding, dilation, extra)

    kernel, out, stride, padding, dilation, extra = (
        property(lambda self, i=i: tuple(a[i] for a in self.axes)) for i in range(6)
    )

    @property
    def image(self):
        """The image's sides."""
        side = lambda k, out, s, p, d, extra: (out - 1) * s + d * (k - 1) + 1 + extra - 2 * p
        return tuple(side(*axis) for axis in self.axes)

    @property
    def shapes(self):
        """Of the images x, the weight and the outputs y; for conv_transpose2d y is the input."""
        channels, filters = self.groups * self.c, self.groups * self.o
        return (
            (self.n, channels, *self.image),
            (filters, self.c, *self.kernel),
            (self.n, filters, *self.out),
        )

    @property
    def options(self):
        """Arguments of conv2d by name."""
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


@st.composite
def _axes(draw, transposed):
    kernel, stride, dilation, out = (draw(st.integers(1, most)) for most in (3, 3, 3, 4))
    extra = draw(st.integers(0, (max(stride, dilation) if transposed else stride) - 1))
    total = (out - 1) * stride + dilation * (kernel - 1) + 1 + extra
    return kernel, out, stride, draw(st.integers(0, (total - 1) // 2)), dilation, extra


def convolutions(transposed=False):
    """Legal configurations of conv2d, or of conv_transpose2d with its output_padding."""
    small = st.integers(1, 2)
    axes = _axes(transposed)
    return st.builds(Convolution, small, st.integers(1, 3), small, small, st.tuples(axes, axes))

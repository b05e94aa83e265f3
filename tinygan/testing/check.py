"""`check_grads`: is this gradient right? Here are its options; the questions are in `questions`,
the numbers in `jacobian`."""

import warnings

import numpy as np

from . import report
from .adapt import adapt
from .case import Case, Options, attempt
from .containers import leaves
from .questions import Questions, neighbours
from .report import GradientError


def check_grads(
    f, *inputs, kwargs=None, constant=(), order=2, vjp=None, jvp=None, engine=None, rtol=None,
    layouts=True, nondeterminism=0.0, skip=(), seed=0,
):  # fmt: skip
    """Raise GradientError unless the gradients of f at `inputs` are right, and their gradients in
    turn, up to `order`.

    f: a function of tinygan Tensors, or of the kind of array that the inputs are (torch, JAX,
      MyGrad; HIPS autograd has no kind of its own: engine="autograd"), giving one or several of
      them; or of NumPy arrays, with its gradient by hand vjp(g, *inputs), to order 1; or an object
      with the two methods of `testing.engines`.
    inputs, kwargs (a dict): arrays of floats, any shape, also inside of lists, tuples and dicts. A
      Python float counts as one, but for torch and in kwargs. Complex arrays count as pairs of
      real numbers (a gradient by hand is d/dx + i d/dy). All else, integers, flags, None, is
      handed to f as it is.
    constant: names, as messages have them, of what is not differentiable: ["input 1",
      "output 0['mask']", "input weight"]; with what is inside of it.
    jvp: True to compare forward mode with the gradients as well (torch, JAX, autograd); or, beside
      a vjp by hand, jvp(t, *inputs) with the tangents t of the inputs.
    rtol: for each entry of the Jacobian, 1e-9 in float64 and 1e-4 in float32 unless given, on top
      of the error that the numeric derivative has by its own account. Nothing is absolute: f may
      be scaled by 1e-30.
    layouts=False: do not ask how f and its gradients take arrays that are not in C order.
    nondeterminism: by how much (absolute) outputs and gradients may differ when asked for again.
    skip: questions to leave out: "memory" (a gradient shares it with an input or a cotangent),
      "repeats", "linearity", "same array twice", "partial" (one input differentiated, the others
      not), "untracked" (none is), "symmetry" (of second derivatives).
    """
    __tracebackhide__ = True
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    defaults = check_grads.__kwdefaults__
    named = {name: x for name, x in dict(locals()).items() if x is not defaults.get(name, x)}
    if unknown := set(skip) - set(Questions.NAMES):
        words = f"{', '.join(map(repr, unknown))} is none of {', '.join(Questions.NAMES)}"
        raise ValueError(f"check_grads: skip: {words}")
    options = Options(order, rtol, layouts, nondeterminism, skip, forward=bool(jvp))
    rng = np.random.default_rng(seed)

    def call_elsewhere(value, arrays):
        for point in neighbours(arrays, rng):
            attempt(lambda: value(*point))

    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a neighbouring point may be outside of f's domain
            parts = {"kwargs": kwargs or {}, "vjp": vjp, "jvp": jvp, "engine": engine}
            fn, arrays, flat = adapt(f, inputs, call_elsewhere, constant=constant, **parts)
            if jvp and not getattr(fn, "jvp", None):
                words = f"jvp={jvp!r}, but {type(fn).__name__} has no forward mode"
                raise TypeError(f"check_grads: {words}")
            return ask(fn, arrays, flat, options, rng)
    except GradientError as e:
        try:
            again = report.script(f, inputs, named)
        except Exception as broken:
            again = f"# no script could be written: {type(broken).__name__}: {broken}"
        error = type(e)(f"{e}\n\nTo see it again:\n\n{again}")
    raise error  # without the frames of this room


def ask(fn, arrays, flat, options, rng):
    """All questions, of a function in the protocol."""
    outs = fn.value(*arrays)
    if not outs:
        inputs, kwargs = flat.given
        results = [y for _, y in leaves(flat.f(*inputs, **kwargs))]
        kinds = [f"{np.shape(y)} {getattr(y, 'dtype', type(y).__name__)}" for y in results]
        kinds = ", ".join(kinds) or "nothing"
        raise GradientError(f"f gives no floats to differentiate, but {kinds}")
    outputs = flat.outputs
    if len(outputs) != len(outs):
        outputs = [f"output {j}" for j in range(len(outs))]
    sizes = [0.0] * len(outs)
    Questions(Case(fn, arrays, flat.inputs, outputs, sizes, options=options, rng=rng)).run()

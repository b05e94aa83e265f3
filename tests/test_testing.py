"""tinygan.testing: what it says, at kinks and jumps, of large functions, for each engine; its
strategies, plugin and scripts.

`test_seeded_bugs.py` asks whether it finds wrong gradients, `test_gradients.py` whether it passes
right ones.
"""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings

from tinygan import Tensor, grad, ops, primitive
from tinygan import nn
from tinygan.testing import (
    GradientError, KinkError, check_grads, check_module, jacobian, numeric, report, strategies,
)  # fmt: skip

pytest_plugins = ["pytester"]
rng = np.random.default_rng(0)
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def the_same_numbers_for_each_test():
    global rng
    rng = np.random.default_rng(0)


def real(*shape):
    return rng.standard_normal(shape)


def message(*args, **kwargs):
    with pytest.raises(GradientError) as caught:
        check_grads(*args, **kwargs)
    return str(caught.value)


def python(*arguments):
    """What a fresh Python gives for a file, or for "-c" and a program."""
    here = {"PYTHONPATH": str(ROOT), "PATH": ""}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=here)


def cubed(factor):
    @primitive
    def cube(x):
        return x**3

    cube.defvjp(lambda g, out, x: factor * g * x**2)
    return cube


def called(f):
    """A primitive without a decorator, of a function or a lambda."""
    cube = primitive(f)
    cube.defvjp(lambda g, out, x: 2.9 * g * x**2)
    return cube


def plain_cube(x):
    return x**3


def test_the_message_names_the_place_and_both_numbers():
    x = np.array([[1.0, 2.0, 3.0]])
    text = message(lambda x: x * 2.0, x, vjp=lambda g, x: g * np.array([[2.0, 2.5, 2.0]]))
    assert text.startswith("d output 0[0, 1] / d input 0: grad[0, 1]: analytic 2.5, numeric 2.0 ± ")
    assert message(
        lambda x: (x.sum(), x * 2.0), np.ones(2), vjp=lambda g, x: g[0] + 3 * g[1]
    ).startswith("d output 1[0] /")


def scripts():
    k, w = 3, real(2, 2)
    return {
        "lambda": ((lambda x: x * k, real(2)), {"vjp": lambda g, x: k * g * 1.01}),
        "primitive": ((cubed(2.9), real(2)), {}),
        "primitive of a lambda": ((called(lambda x: x**3), real(2)), {}),
        "primitive of a function": ((called(plain_cube), real(2)), {}),
        "partial": ((functools.partial(lambda x, n: cubed(n)(x), n=2.9), real(2)), {"order": 1}),
        "closure": (
            (lambda x: np.tanh(x @ w), real(70, 2)),
            {"vjp": lambda g, x: g @ w.T, "rtol": 1e-3},
        ),
    }


@pytest.mark.parametrize("name", scripts())
def test_the_script_in_the_message_runs_and_fails_alike(name, tmp_path):
    args, kwargs = scripts()[name]
    said, script = message(*args, **kwargs).split("\n\nTo see it again:\n\n")
    (tmp_path / "again.py").write_text(script)
    run = python(tmp_path / "again.py")
    assert f"GradientError: {said}" in run.stderr


PROGRAM = """
import numpy as np
from tinygan import primitive
from tinygan.testing import check_grads

@primitive
def cube(x):
    return x**3

cube.defvjp(lambda g, out, x: 2.9 * g * x**2)

class Scaled:
    def __call__(self, x):
        return 3.0 * x

try:
    check_grads({}, np.ones(2){})
except AssertionError as e:
    print(e)
"""


@pytest.mark.parametrize("f, more", [("cube", ""), ("Scaled()", ", vjp=lambda g, x: 2.0 * g")])
def test_the_script_says_what_it_lacks_where_no_file_has_the_source(f, more):
    run = python("-c", PROGRAM.format(f, more))
    assert "analytic" in run.stdout, run.stderr
    assert "its source is in no file" in run.stdout
    assert "x0 = np.array([1.0, 1.0], np.float64)" in run.stdout


def test_the_message_says_why_there_is_no_script(monkeypatch):
    def broken(*args):
        raise RecursionError("too deep")

    monkeypatch.setattr(report, "script", broken)
    text = message(lambda x: x, np.ones(2), vjp=lambda g, x: 2 * g)
    assert text.endswith("# no script could be written: RecursionError: too deep")


def test_second_and_third_derivatives_are_checked():
    @primitive
    def square(x):
        return x * x

    # right, but a constant to the second derivative
    square.defvjp(lambda g, out, x: g * 2.0 * ops.raw(x))
    check_grads(square, real(3), order=1)
    assert "order 2" in message(square, real(3))

    @primitive
    def cube(x):
        return x * x * x

    @primitive
    def slope(x):
        return 3 * x * x

    cube.defvjp(lambda g, out, x: g * slope(x))
    slope.defvjp(lambda g, out, x: g * 6.0 * ops.raw(x))
    check_grads(cube, real(3), order=2)
    assert "order 3" in message(cube, real(3), order=3)


def test_an_asymmetric_second_derivative_is_found(monkeypatch):
    f = cubed(3)
    f.defvjp(lambda g, out, x: g * ops.raw(3 * x * x) + g * (x - ops.raw(x))[::-1])
    assert "order 2" in message(f, real(3))
    monkeypatch.setattr(jacobian.Jacobian, "check", lambda self: None)  # without any numbers
    assert "second derivatives in input 0 and input 0 are not symmetric" in message(f, real(3))


def test_a_cotangent_clipped_far_out_is_found():
    assert "64 times it gives something else" in message(
        lambda x: 2 * x, real(3), vjp=lambda g, x: 2 * np.clip(g, -10, 10)
    )


def test_what_is_changed_in_place_is_named():
    assert "changed its cotangent in place" in message(
        np.sin, real(3), vjp=lambda g, x: np.negative(g, out=g) * -np.cos(x)
    )
    assert "changed an input in place" in message(
        np.sin, real(3), vjp=lambda g, x: g * np.cos(x) + 0 * np.add(x, 1, out=x)
    )


@pytest.mark.parametrize(
    "x, slope, passes", [(0.0, 0.3, True), (0.0, 1.0, True), (0.0, 1.1, False), (0.0, -0.1, False)]
)
def test_at_a_kink_any_slope_between_the_two_passes(x, slope, passes):
    relu = lambda x: np.maximum(x, 0)
    vjp = lambda g, x: g * np.where(x > 0, 1.0, np.where(x == 0, slope, 0.0))
    if passes:
        return check_grads(relu, np.array([x, 1.0, -1.0]), vjp=vjp)
    with pytest.raises(KinkError, match="one-sided derivatives 0.0 and 1.0"):
        check_grads(relu, np.array([x, 1.0, -1.0]), vjp=vjp)


def test_a_kink_where_random_points_find_a_constant():
    check_grads(ops.maximum, np.array(-2.5), np.array(-2.5))
    assert "numeric" in message(
        lambda x: np.maximum(x, -9.0), np.array(0.5), vjp=lambda g, x: g * 0.5
    )


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5])
def test_near_a_kink_only_the_slope_on_this_side_passes(distance):
    relu = lambda x: np.maximum(x, 0)
    check_grads(relu, np.array([distance, -distance]), vjp=lambda g, x: g * (x > 0))
    assert "numeric" in message(
        relu, np.array([distance, -distance]), vjp=lambda g, x: g * (x != 0)
    )


def test_a_jump_has_no_derivative_to_check_and_noise_is_refused():
    check_grads(lambda x: np.floor(x), np.array([1.0, 1.5]), vjp=lambda g, x: g * 0)
    noise = lambda x: x + 1e-3 * np.sin(1e13 * x)
    with pytest.raises(KinkError, match="does not converge"):
        check_grads(noise, real(2), vjp=lambda g, x: g * 1.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1.0, 1e20])
def test_nothing_is_absolute(scale):
    check_grads(lambda x: np.tanh(x) * scale, real(4), vjp=lambda g, x: g * scale / np.cosh(x) ** 2)
    assert message(
        lambda x: np.tanh(x) * scale,
        real(4),
        vjp=lambda g, x: g * scale * (1 + 1e-8) / np.cosh(x) ** 2,
    )


def test_in_a_large_array_the_wrong_number_is_found_and_named():
    x, wrong = real(300, 400), np.ones((300, 400))
    wrong[123, 45] = 1.001
    assert " grad[123, 45]: " in message(
        lambda x: np.sin(x), x, vjp=lambda g, x: g * np.cos(x) * wrong
    )
    check_grads(ops.relu, x)
    # many a kink, at which nothing is asked of a sum
    check_grads(ops.relu, np.where(x > 1, 0.0, x), order=1)


def test_float32_is_checked_in_float32():
    x = real(5, 4).astype(np.float32)
    check_grads(ops.tanh, x)
    assert "is (5, 4) float32, but its gradient is (5, 4) float64" in message(
        lambda x: x * np.float32(2), x, vjp=lambda g, x: g.astype(np.float64)
    )
    w = real(4, 4).astype(np.float32)
    assert message(lambda x: x @ w, x, vjp=lambda g, x: g @ w.T * np.float32(1 + 1e-4))


def test_rounding_that_a_rule_may_have_is_no_error():
    check_grads(ops.tanh, np.array([0.0, 4.0]))  # 1 - tanh(4)**2 is right to 6e-14


def test_integer_inputs_and_outputs_are_constants():
    check_grads(lambda x, i: x[i], real(4, 2), np.array([1, 1, 3]))
    check_grads(lambda x: (x * 2.0, np.arange(3)), real(2))
    check_grads(
        lambda x, i: (x[i], i),
        real(4),
        np.array([0, 2]),
        vjp=lambda g, x, i: (np.bincount(i, g[0], 4), None),
    )


def test_mistakes_of_the_caller():
    with pytest.raises(TypeError, match=r"needs an input of floats, got \(3,\) int64"):
        check_grads(ops.exp, np.arange(3))
    with pytest.raises(
        ValueError, match="engine 'tensorflow' is none of tinygan, torch, jax, autograd, mygrad"
    ):
        check_grads(ops.exp, real(2), engine="tensorflow")
    with pytest.raises(ValueError, match="vjp gave 1 gradients for 2 inputs"):
        check_grads(np.add, real(2), real(2), vjp=lambda g, x, y: g)
    assert "f gives no floats to differentiate, but (2,) int64" in message(
        lambda x: np.argsort(x), real(2), vjp=lambda g, x: x
    )
    assert "not finite here" in message(np.log, np.array([0.0, 1.0]), vjp=lambda g, x: g / x)


def test_any_object_with_the_two_methods():
    class Doubled:
        def value(self, x):
            return (2 * x,)

        def vjp(self, x):
            return (2 * x,), lambda cs: [2.001 * cs[0]]

    assert "analytic 2.001" in message(Doubled(), real(2))


def test_tensors_as_inputs():
    check_grads(lambda x, y: (x * y, ops.sum(x)), Tensor(real(2)), Tensor(real(2, 2)), order=3)


def test_torch():
    torch = pytest.importorskip("torch")
    check_grads(torch.nn.functional.gelu, torch.tensor(real(3)))
    check_grads(lambda a, b: (a @ b, a.sum()), torch.tensor(real(3, 4)), torch.tensor(real(4, 2)))
    check_grads(
        torch.conv2d, torch.tensor(real(1, 2, 4, 4)).float(), torch.tensor(real(2, 2, 2, 2)).float()
    )

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return 3.000001 * g * ctx.saved_tensors[0] ** 2

    text = message(Cube.apply, torch.tensor(real(2)))
    assert "class Cube(torch.autograd.Function)" in text and "f = Cube.apply" in text


def test_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    x, y = jnp.asarray(real(2, 3), "float32"), jnp.asarray(real(3, 2), "float32")
    check_grads(lambda x, y: (jnp.tanh(x) @ y, jnp.sum(x)), x, y)
    with jax.enable_x64(True):
        check_grads(lambda x: jnp.sin(x) * x, jnp.asarray(real(2)))
        f = jax.custom_vjp(jnp.sin)
        f.defvjp(lambda x: (f(x), x), lambda x, g: (g * 1.001 * jnp.cos(x),))
        assert "numeric" in message(f, jnp.asarray(real(2)), order=1)


def test_autograd():
    anp = pytest.importorskip("autograd.numpy")
    check_grads(
        lambda x, y: (anp.tanh(x) @ y, anp.sum(x)), real(2, 3), real(3, 2), engine="autograd"
    )


def test_mygrad():
    mg = pytest.importorskip("mygrad")
    check_grads(lambda x, y: mg.tanh(x) * y, mg.tensor(real(2, 3)), mg.tensor(real(3)))


def slope_of(f):
    F = lambda t: np.atleast_1d(f(t))
    values = lambda t, columns: np.array([F(t)] * len(columns))
    return numeric.slopes(numeric.Curves(values, F(0.0), eps=2.0**-52, rtol=1e-9), 1)[0]


def test_slope_of_known_functions():
    for f, expected in [
        (np.exp, 1.0),
        (lambda t: t**5 + 3 * t, 3.0),
        (lambda t: np.sin(20 * t), 20.0),
        (lambda t: 1e8 + t, 1.0),
    ]:
        s = slope_of(f)
        assert (
            abs(s.value[0] - expected) <= 2 * s.error[0] <= 1e-5 * expected
            and s.gap[0] == 0
            and s.exists[0]
        )
    s = slope_of(lambda t: np.array([abs(t), max(t, 0) + 3 * t, float(t > 0), np.sqrt(abs(t))]))
    np.testing.assert_allclose([*s.low[:2], *s.high[:2]], [-1, 3, 1, 4], atol=1e-9)
    assert s.exists.tolist() == [True, True, False, False]


def test_a_smooth_slope_is_sure_to_eleven_digits_after_a_few_steps():
    at = []
    s = slope_of(lambda t: at.append(t) or np.array([np.exp(t), np.sin(3 * t) + 2]))
    np.testing.assert_allclose(s.value, [1, 3], rtol=1e-11)
    assert len(at) <= 13 and not s.rough.any()


def test_complex_step_is_taken_only_where_it_agrees():
    s, ih = slope_of(np.exp), 1j * numeric.COMPLEX
    sharp = numeric.complex_step(np.exp([ih]), s)
    assert sharp.value == [1.0] and sharp.error < s.error
    assert numeric.complex_step(np.array([1.0 + 0j]), s).value == s.value  # np.real is not analytic


def test_a_complex_step_is_confirmed_by_two_differences():
    roughly, bent = lambda t: np.real(t) + 1e-8 * t, lambda t: np.maximum(np.real(t), 0)
    fs = np.expm1, np.sin, np.abs, roughly, bent
    F = lambda t, columns: np.array([[f(t)] for f in fs])[columns]
    curves = numeric.Curves(F, np.array([0.0]), eps=2.0**-52, rtol=1e-9)
    s, sure = numeric.confirmed(curves, F(1j * numeric.COMPLEX, range(5)))
    np.testing.assert_array_equal(s.value[:2], [[1], [1]])
    assert sure.tolist() == [True, True, False, False, False]


def test_slopes_that_are_sure_earlier_take_no_further_steps():
    asked = []

    def F(t, columns):
        asked.append(list(columns))
        return np.array([[3 * t], [np.exp(t)], [np.abs(t) ** 1.5]])[columns]

    s = numeric.slopes(numeric.Curves(F, np.array([0.0]), eps=2.0**-52, rtol=1e-9), 2)
    np.testing.assert_allclose(s.value, [[3], [1]], rtol=1e-11, atol=1e-11)
    assert [0, 1] in asked and asked[-1] == [1]


# what other people's functions are like: no false alarm, no crash


def torch_functions(torch):
    """name -> (f, inputs, options): each has a right gradient, yet was refused or an error."""
    x, y, z = (torch.tensor(real(*shape)) for shape in [(3,), (2, 3), (3, 3)])
    functional = torch.nn.functional
    tails = torch.tensor([-7.58, -5.2, 0.3], dtype=torch.float64)
    lstm = torch.nn.LSTM(3, 2).double()

    def dropped(x):
        torch.manual_seed(0)
        mask = torch.empty_like(x).bernoulli_(0.5)  # drawn in the order of memory
        return x * mask

    def truncated(x):
        return torch.div(x, 2.5, rounding_mode="trunc")

    def statistics(x):
        return torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)

    return {
        "linear but for rounding": (torch.matrix_exp, [z], {}),
        "linear but for rounding, by logarithms": (lambda x: torch.logcumsumexp(x, 0), [x], {}),
        "view": (lambda x: x.view(6), [y], {}),
        "as_strided": (lambda x: torch.as_strided(x, (2, 2), (1, 2)), [y], {}),
        "dropout": (dropped, [y], {}),
        "values of a table": (torch.special.ndtr, [tails], {}),
        "values of a grid": (lambda x: torch.round(x, decimals=3), [5 * x], {}),
        "jumps further out": (truncated, [torch.tensor(3.0)], {}),
        "zeros that rounding blurs": (torch.linalg.qr, [z], {}),
        "all cancels": (lambda x: functional.normalize(x, p=0.5, dim=0), [y[:1]], {}),
        "affine between thresholds": (lambda x: functional.normalize(x, p=3.0, eps=4.0), [y], {}),
        "a derivative without memory": (torch.abs, [x], {}),
        "a loss": (functional.l1_loss, [x, y[0]], {}),
        "Parameter": (torch.tanh, [torch.nn.Parameter(x)], {}),
        "integers among the outputs": (torch.frexp, [x], {}),
        "outputs that are not differentiable": (statistics, [y], {}),
        "named outputs": (lambda x: {"a": x.sin(), "b": [x.cos(), None, 3]}, [x], {}),
        "nested outputs": (lstm, [torch.tensor(real(4, 2, 3))], {}),
        "None, a string, a flag": (lambda x, n, s, b: x * len(s), [x, None, "ab", True], {}),
        "a list and a dict": (lambda xs, d: torch.cat(xs) * d["w"], [[x, x], {"w": y[0, 0]}], {}),
        "keywords": (torch.nn.functional.softmax, [y], {"kwargs": {"dim": 1}}),
        "keywords that are differentiated": (functional.linear, [y], {"kwargs": {"weight": z}}),
        "a number": (functional.leaky_relu, [x, 0.2], {}),
        "complex": (lambda z: (z * z.conj() + z.exp()).sum(0), [torch.complex(y, y.flip(0))], {}),
        "complex to real": (torch.abs, [torch.complex(x, x.flip(0))], {}),
        "real to complex": (torch.linalg.eigvals, [z], {}),
        "bfloat16": (torch.tanh, [x.bfloat16()], {}),
        "float16": (torch.tanh, [x.half()], {}),
        "forward mode": (lambda x, w: torch.tanh(x @ w), [y, z], {"jvp": True}),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "linear but for rounding",
        "linear but for rounding, by logarithms",
        "view",
        "as_strided",
        "dropout",
        "values of a table",
        "values of a grid",
        "jumps further out",
        "zeros that rounding blurs",
        "all cancels",
        "affine between thresholds",
        "a derivative without memory",
        "a loss",
        "Parameter",
        "integers among the outputs",
        "outputs that are not differentiable",
        "named outputs",
        "nested outputs",
        "None, a string, a flag",
        "a list and a dict",
        "keywords",
        "keywords that are differentiated",
        "a number",
        "complex",
        "complex to real",
        "real to complex",
        "bfloat16",
        "float16",
        "forward mode",
    ],
)
def test_a_right_function_of_torch_passes(name):
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes")
    f, inputs, options = torch_functions(pytest.importorskip("torch"))[name]
    check_grads(f, *inputs, **options)


def test_autograds_sequences_and_dicts():
    anp = pytest.importorskip("autograd.numpy")
    x = real(3, 3)
    check_grads(anp.linalg.slogdet, x, engine="autograd")
    check_grads(anp.linalg.eigh, x + x.T, engine="autograd", order=1)
    check_grads(lambda x: anp.split(x, 3), x, engine="autograd")
    check_grads(lambda x: {"a": anp.sin(x)}, x, engine="autograd")
    check_grads(lambda x: anp.fft.fft(anp.sin(x)), x[0], engine="autograd")
    check_grads(lambda x: anp.sin(x) * x, x, engine="autograd", jvp=True)


def test_jax_with_complex_numbers_and_forward_mode():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(real(3))
        check_grads(jax.numpy.prod, x, jvp=True)
        check_grads(lambda z: jax.numpy.exp(z) * z.conj(), x + 1j * x[::-1], jvp=True)
        check_grads(jax.numpy.fft.rfft, x)


def test_complex_gradients_by_hand_are_torchs():
    z = real(3) + 1j * real(3)
    check_grads(lambda z: z**2, z, vjp=lambda g, z: g * np.conj(2 * z))
    check_grads(lambda z: np.abs(z), z, vjp=lambda g, z: g * z / np.abs(z))
    assert "d output 0[0, 1] / d input 0: grad[0, 0]" in message(
        lambda z: z**2, z, vjp=lambda g, z: g * 2 * z
    )


def test_containers_by_hand():
    f = lambda xs, d: {"y": xs[0] * xs[1], "n": 3, "z": [np.sin(d["w"])]}
    vjp = lambda g, xs, d: ([g["y"] * xs[1], g["y"] * xs[0]], {"w": g["z"][0] * np.cos(d["w"])})
    check_grads(f, [real(2), real(2)], {"w": real(3), "name": "x"}, vjp=vjp)
    wrong = lambda g, xs, d: ([g["y"] * xs[1], g["y"] * xs[0]], {"w": g["z"][0] * np.sin(d["w"])})
    text = message(f, [real(2), real(2)], {"w": real(3), "name": "x"}, vjp=wrong)
    assert text.startswith("d output 0['z'][0][0] / d input 1['w']: grad[0]: analytic ")


def test_what_is_named_constant_is_not_differentiated():
    check_grads(lambda x, y: x * ops.raw(y), real(2), real(2), constant=["input 1"])
    assert "d input 1: grad" in message(lambda x, y: x * ops.raw(y), real(2), real(2))
    check_grads(
        lambda x: {"y": 2 * x, "mask": ops.raw(x) * 2}, real(2), constant=["output 0['mask']"]
    )
    check_grads(lambda x, w: x * ops.raw(w), real(2), kwargs={"w": real(2)}, constant=["input w"])


# questions that are harder, and the ways to leave them out


def test_a_cotangent_clipped_at_100_or_flushed_below_a_threshold_is_found():
    assert "not linear" in message(
        np.sin, real(3), vjp=lambda g, x: np.clip(g, -100, 100) * np.cos(x)
    )
    assert "not linear" in message(
        np.sin, real(3), vjp=lambda g, x: np.where(np.abs(g) < 1e-4, 0, g) * np.cos(x)
    )


def test_ways_out():
    rough = np.random.default_rng(0)
    vjp = lambda g, x: 2 * g + 1e-12 * rough.standard_normal(2)
    text = message(lambda x: 2 * x, real(2), vjp=vjp)
    assert "asked for twice, differs (nondeterminism=1e-9, say, allows for it" in text
    check_grads(lambda x: 2 * x, real(2), vjp=vjp, nondeterminism=1e-9, skip="linearity")
    by_memory = lambda g, x: (2 * x.ravel() * g.ravel("K")).reshape(x.shape)
    assert "Fortran-ordered cotangents give another gradient" in message(
        np.square, real(2, 3), vjp=by_memory
    )
    check_grads(np.square, real(2, 3), vjp=by_memory, layouts=False)
    with pytest.raises(ValueError, match="skip: 'sums' is none of memory, repeats, linearity"):
        check_grads(ops.exp, real(2), skip=["sums"])
    with pytest.raises(TypeError, match="jvp=True, but Tinygan has no forward mode"):
        check_grads(ops.exp, real(2), jvp=True)


def test_f_may_read_memory_if_its_gradient_does_too():
    block = lambda x: x.ravel("K")
    order = lambda x: "F" if x.flags.f_contiguous else "C"
    check_grads(block, real(2, 3), vjp=lambda g, x: g.reshape(x.shape, order=order(x)) * 1.0)
    text = message(block, real(2, 3), vjp=lambda g, x: g.reshape(x.shape) * 1.0)
    assert (
        "Fortran-ordered inputs give another output, whose gradient is wrong: d output 0[" in text
    )


def test_forward_mode_by_hand():
    f, vjp = (lambda x, y: np.sin(x) * y), lambda g, x, y: (g * np.cos(x) * y, g * np.sin(x))
    check_grads(
        f, real(2), real(2), vjp=vjp, jvp=lambda t, x, y: t[0] * np.cos(x) * y + t[1] * np.sin(x)
    )
    text = message(
        f, real(2), real(2), vjp=vjp, jvp=lambda t, x, y: t[0] * np.cos(x) * y - t[1] * np.sin(x)
    )
    assert text.startswith("d output 0[0] / d input 1[0]: forward mode ") and ", backward " in text


def test_a_function_that_is_right_once_is_told_of_order_1():
    torch = pytest.importorskip("torch")
    from torch.autograd.function import once_differentiable

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos()

    check_grads(Once.apply, torch.tensor(real(2)), order=1)
    text = message(Once.apply, torch.tensor(real(2)))
    assert "once_differentiable" in text and "Order 1 is right: pass order=1 if f is meant" in text


def test_modules():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).double()
    x, before = real(5, 3), {name: a.copy() for name, a in net.state_dict().items()}
    check_module(net, x)
    check_module(net, x, order=1, constant=["parameter['0.bias']"])
    for name, a in net.state_dict().items():
        np.testing.assert_array_equal(a, before[name], err_msg=name)
    assert all(
        p is q
        for p, q in zip(net.parameters(), (net[0].weight, net[0].bias, net[1].weight, net[1].bias))
    )
    with pytest.raises(
        TypeError, match="needs a tinygan.nn.Module or a torch.nn.Module, got function"
    ):
        check_module(lambda x: x, x)


def test_a_module_with_a_parameter_in_two_places_and_a_wrong_gradient():
    class Tied(nn.Module):
        def __init__(self, factor):
            self.first = nn.Linear(3, 3)
            self.again = [self.first.weight]
            self.cube = cubed(factor)

        def forward(self, x):
            return self.cube(self.first(x)) @ self.again[0]

    check_module(Tied(3).double(), real(2, 3), order=1)
    with pytest.raises(GradientError, match="parameter"):
        check_module(Tied(2.9).double(), real(2, 3), order=1, constant=["input 0"])


@pytest.mark.parametrize("engine", ["tinygan", "torch"])
def test_a_module_of_another_dtype_than_its_input_is_told_to_be_cast(engine):
    if engine == "torch":
        torch = pytest.importorskip("torch")
        net, x = torch.nn.Linear(3, 4), torch.tensor(real(2, 3))
    else:
        net, x = nn.Linear(3, 4), real(2, 3)
    with pytest.raises((TypeError, RuntimeError)) as caught:
        check_module(net, x)
    (note,) = [note for note in caught.value.__notes__ if "check_" in note]
    assert note == (
        "check_module: the parameters are float32 and the inputs float64: pass net.double() and "
        "inputs of float64"
    )
    check_module(net.double(), x)


@pytest.mark.parametrize("f", [np.tanh, np.sum])
def test_a_numpy_function_without_its_gradient_is_told_what_it_needs(f):
    with pytest.raises(TypeError) as caught:
        check_grads(f, real(3))
    assert "give its gradient, vjp=" in caught.value.__notes__[-1]


def test_torch_modules_and_their_script(tmp_path):
    torch = pytest.importorskip("torch")

    class Wrong(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.scale = torch.nn.Linear(3, 2), torch.nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.linear(x) * self.scale + self.scale.detach()

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    # PyTorch's batch_norm takes a strided weight for dense
    check_module(net, torch.tensor(real(5, 3)), layouts=False)
    with pytest.raises(GradientError) as caught:
        check_module(Wrong().double(), torch.tensor(real(5, 3)), order=1)
    said, script = str(caught.value).split("\n\nTo see it again:\n\n")
    assert "d parameter['scale']: grad[0]: analytic" in said
    (tmp_path / "again.py").write_text(script)
    run = python(tmp_path / "again.py")
    assert f"GradientError: {said}" in run.stderr, run.stderr


def test_a_failure_in_pytest_is_the_message(pytester):
    pytester.makepyfile("""
        import numpy as np
        from tinygan.testing import check_grads

        def test_wrong():
            check_grads(np.sin, np.ones(2), vjp=lambda g, x: g * np.cos(x) * 1.01)
    """)
    out = pytester.runpytest("-p", "tinygan.testing.plugin").stdout.str()
    assert "analytic 0.545" in out and "check.py" not in out and "raise error" not in out


def test_profiles_have_no_deadline_and_leave_what_is_there():
    program = """
from hypothesis import settings
from tinygan.testing import strategies
{}
strategies.register_profiles()
now = settings.default
print(now.deadline, now.max_examples, settings.get_profile("dev").max_examples)
"""

    def printed(name=None, examples=None):
        """With a profile of somebody else's that is there and loaded."""
        before = f"settings.register_profile({name!r}, max_examples={examples}, deadline=None)"
        before += f"; settings.load_profile({name!r})"
        run = python("-c", program.format(before if name else ""))
        return run.stdout.split() or run.stderr

    assert printed() == ["None", "25", "25"]
    assert printed("dev", 7) == ["None", "7", "7"]
    assert printed("own", 9) == ["None", "9", "25"]


@given(
    strategies.arrays(negative_strides=False), strategies.broadcastable(2, negative_strides=False)
)
def test_arrays_that_torch_takes(a, several):
    torch = pytest.importorskip("torch")
    for x in (a, *several):
        assert torch.from_numpy(x).shape == x.shape and x.flags.writeable


@given(strategies.arrays(), strategies.arrays(ties=False), strategies.broadcastable(3))
def test_arrays_are_what_they_say(a, b, several):
    assert (
        a.dtype == np.float64 and np.array_equal(4 * a, np.round(4 * a)) and np.all(np.abs(a) <= 4)
    )
    assert len(np.unique(b)) == b.size and np.all(np.abs(b) <= 4) and np.all(b != 0)
    np.broadcast(*several)


@pytest.mark.parametrize(
    "of_interest",
    [
        lambda a: a.size == 0,
        lambda a: a.ndim == 0,
        lambda a: not a.flags.writeable and a.size,
        lambda a: 0 in a.strides and a.size > 1,
        lambda a: any(s < 0 for s in a.strides),
        lambda a: a.ndim == 2 and a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a: a.size > 2 and len(np.unique(a)) < a.size,
        lambda a: np.any(a == 0),
    ],
)
def test_arrays_of_every_kind_are_drawn(of_interest):
    find(strategies.arrays(), of_interest, settings=settings(max_examples=2000, derandomize=True))


@given(strategies.convolutions(), strategies.convolutions(transposed=True))
def test_every_convolution_drawn_is_legal(c, t):
    x, w, y = map(np.zeros, c.shapes)
    assert ops.conv2d(x, w, **c.options).shape == y.shape
    x, w, y = map(np.zeros, t.shapes)
    assert ops.conv_transpose2d(y, w, output_padding=t.extra, **t.options).shape == x.shape


def test_convolutions_shrink_to_the_smallest():
    smallest = find(
        strategies.convolutions(),
        lambda c: c.stride[0] > 1,
        settings=settings(derandomize=True, database=None),
    )
    assert smallest == strategies.Convolution(1, 1, 1, 1, ((1, 1, 2, 0, 1, 0), (1, 1, 1, 0, 1, 0)))


def test_hypothesis_shrinks_to_the_bug():
    @settings(database=None, derandomize=True)
    @given(strategies.arrays())
    def fails(x):
        check_grads(cubed(2), x, order=1)

    with pytest.raises(GradientError) as caught:
        fails()
    assert "x0 = np.array(0.25, np.float64)" in str(caught.value)


def test_the_plugin(pytester):
    pytester.makepyfile("""
        import numpy as np, pytest

        def test_right(gradcheck):
            gradcheck(np.sin, np.ones(2), vjp=lambda g, x: g * np.cos(x))

        @pytest.mark.gradcheck(rtol=0.1)
        def test_nearly(gradcheck):
            gradcheck(np.sin, np.ones(2), vjp=lambda g, x: g * np.cos(x) * 1.01)

        def test_wrong(gradcheck):
            gradcheck(np.sin, np.ones(2), vjp=lambda g, x: g * np.cos(x) * 1.01)
    """)
    result = pytester.runpytest("-p", "tinygan.testing.plugin", "--strict-markers")
    result.assert_outcomes(passed=2, failed=1)


def test_the_example_runs():
    run = python(ROOT / "examples/check_your_gradients.py")
    assert run.returncode == 0 and run.stdout.count("The right rule passes") >= 2
    assert run.stdout.count("To see it again") == run.stdout.count("The right rule passes")
    # a docstring of two lines is printed as one
    assert "forgetting to transpose w goes unnoticed while w is square.\n" in run.stdout


def test_usable_without_the_rest():
    heavy = "numba", "hypothesis", "torch", "jax", "mygrad"
    program = f"""
import sys
import numpy as np
from tinygan.testing import check_grads
check_grads(np.sin, np.ones(3), vjp=lambda g, x: g * np.cos(x))
print([name for name in {heavy} if name in sys.modules])
"""
    run = python("-c", program)
    assert run.stdout.strip() == "[]", run.stderr


def test_a_reader_of_the_gradient_gets_what_grad_gives():
    x = Tensor(real(3))
    np.testing.assert_array_equal(grad(ops.sum(cubed(3)(x)), x), 3 * x.data**2)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("x", [[-2.25, 2.75, -2.75], [-3.25, -3.5, 1.75]])
def test_numbers_that_cancel_inside_a_function_round_as_large_ones(x, seed):
    # one output is near 1: 1 - it is not exact
    check_grads(lambda x: ops.softmax(x, 0), np.array(x), seed=seed)


@pytest.mark.parametrize("rule", [
    lambda g, x: g.flat[0] * x if (g == g.flat[0]).all() else 3 * g * x * x,
    lambda g, x: 2 * g * x * x if (g > 0).all() else 3 * g * x * x,
    lambda g, x: 3 * g * x * x if g.strides != x.strides or x.flags.c_contiguous
    else (3 * g.ravel("K") * x.ravel("K") ** 2).reshape(x.shape),
])  # fmt: skip
def test_rules_that_are_right_for_the_usual_cotangents_only(rule):
    with pytest.raises(GradientError):
        check_grads(lambda x: x**3, real(3, 4), vjp=rule)
    check_grads(lambda x: x**3, real(3, 4), vjp=lambda g, x: 3 * g * x * x)


def test_a_gradient_that_is_the_cotangent_may_be_allowed():
    with pytest.raises(GradientError, match="memory"):
        check_grads(lambda x: x + 0, real(3), vjp=lambda g, x: g)
    check_grads(lambda x: x + 0, real(3), vjp=lambda g, x: g, skip="memory")
    with pytest.raises(TypeError) as e:
        check_grads(np.sin, real(3))
    assert "vjp=" in "".join(e.value.__notes__)


def test_a_gradient_that_is_nan_is_said_to_be():
    @primitive
    def root(x):
        return np.sqrt(x)

    root.defvjp(lambda g, out, x: g / out * 0.5)
    with pytest.raises(GradientError) as caught:
        check_grads(root, np.array([1.0, 0.0]))
    assert "gives a gradient that is NaN, for input 0 at (1,), where it is 0" in str(caught.value)

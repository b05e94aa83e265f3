"""tinygan.testing: what it says, at kinks and jumps, of large functions, for each engine; its strategies, plugin and scripts.

That it finds wrong gradients: `test_seeded_bugs.py`. That it passes right ones: `test_gradients.py`.
"""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings

from tinygan import Tensor, grad, ops, primitive
from tinygan.testing import GradientError, KinkError, check_grads, jacobian, numeric, strategies

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


def cubed(factor):
    @primitive
    def cube(x):
        return x**3

    cube.defvjp(lambda g, out, x: factor * g * x**2)
    return cube


def test_the_message_names_the_place_and_both_numbers():
    x = np.array([[1.0, 2.0, 3.0]])
    text = message(lambda x: x * 2.0, x, vjp=lambda g, x: g * np.array([[2.0, 2.5, 2.0]]))
    assert text.startswith("d output 0[0, 1] / d input 0: grad[0, 1]: analytic 2.5, numeric 2.0 ± ")
    assert message(lambda x: (x.sum(), x * 2.0), np.ones(2), vjp=lambda g, x: g[0] + 3 * g[1]).startswith("d output 1[0] /")


def scripts():
    k, w = 3, real(2, 2)
    return {
        "lambda": ((lambda x: x * k, real(2)), {"vjp": lambda g, x: k * g * 1.01}),
        "primitive": ((cubed(2.9), real(2)), {}),
        "partial": ((functools.partial(lambda x, n: cubed(n)(x), n=2.9), real(2)), {"order": 1}),
        "closure": ((lambda x: np.tanh(x @ w), real(70, 2)), {"vjp": lambda g, x: g @ w.T, "rtol": 1e-3}),
    }


@pytest.mark.parametrize("name", scripts())
def test_the_script_in_the_message_runs_and_fails_alike(name, tmp_path):
    args, kwargs = scripts()[name]
    said, script = message(*args, **kwargs).split("\n\nTo see it again:\n\n")
    (tmp_path / "again.py").write_text(script)
    run = subprocess.run([sys.executable, tmp_path / "again.py"], capture_output=True, text=True, cwd=ROOT,
                         env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert f"GradientError: {said}" in run.stderr


def test_second_and_third_derivatives_are_checked():
    @primitive
    def square(x):
        return x * x

    square.defvjp(lambda g, out, x: g * 2.0 * ops.raw(x))  # right, but a constant to the second derivative
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
    assert "64 times it gives something else" in message(lambda x: 2 * x, real(3), vjp=lambda g, x: 2 * np.clip(g, -10, 10))


def test_what_is_changed_in_place_is_named():
    assert "changed its cotangent in place" in message(np.sin, real(3), vjp=lambda g, x: np.negative(g, out=g) * -np.cos(x))
    assert "changed an input in place" in message(np.sin, real(3), vjp=lambda g, x: g * np.cos(x) + 0 * np.add(x, 1, out=x))


@pytest.mark.parametrize("x, slope, passes", [(0.0, 0.3, True), (0.0, 1.0, True), (0.0, 1.1, False), (0.0, -0.1, False)])
def test_at_a_kink_any_slope_between_the_two_passes(x, slope, passes):
    relu = lambda x: np.maximum(x, 0)
    vjp = lambda g, x: g * np.where(x > 0, 1.0, np.where(x == 0, slope, 0.0))
    if passes:
        return check_grads(relu, np.array([x, 1.0, -1.0]), vjp=vjp)
    with pytest.raises(KinkError, match="one-sided derivatives 0.0 and 1.0"):
        check_grads(relu, np.array([x, 1.0, -1.0]), vjp=vjp)


def test_a_kink_where_random_points_find_a_constant():
    check_grads(ops.maximum, np.array(-2.5), np.array(-2.5))
    assert "numeric" in message(lambda x: np.maximum(x, -9.0), np.array(0.5), vjp=lambda g, x: g * 0.5)


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5])
def test_near_a_kink_only_the_slope_on_this_side_passes(distance):
    relu = lambda x: np.maximum(x, 0)
    check_grads(relu, np.array([distance, -distance]), vjp=lambda g, x: g * (x > 0))
    assert "numeric" in message(relu, np.array([distance, -distance]), vjp=lambda g, x: g * (x != 0))


def test_a_jump_has_no_derivative_to_check_and_noise_is_refused():
    check_grads(lambda x: np.floor(x), np.array([1.0, 1.5]), vjp=lambda g, x: g * 0)
    noise = lambda x: x + 1e-3 * np.sin(1e13 * x)
    with pytest.raises(KinkError, match="does not converge"):
        check_grads(noise, real(2), vjp=lambda g, x: g * 1.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1.0, 1e20])
def test_nothing_is_absolute(scale):
    check_grads(lambda x: np.tanh(x) * scale, real(4), vjp=lambda g, x: g * scale / np.cosh(x) ** 2)
    assert message(lambda x: np.tanh(x) * scale, real(4), vjp=lambda g, x: g * scale * (1 + 1e-8) / np.cosh(x) ** 2)


def test_in_a_large_array_the_wrong_number_is_found_and_named():
    x, wrong = real(300, 400), np.ones((300, 400))
    wrong[123, 45] = 1.001
    assert " grad[123, 45]: " in message(lambda x: np.sin(x), x, vjp=lambda g, x: g * np.cos(x) * wrong)
    check_grads(ops.relu, x)
    check_grads(ops.relu, np.where(x > 1, 0.0, x), order=1)  # many a kink, at which nothing is asked of a sum


def test_float32_is_checked_in_float32():
    x = real(5, 4).astype(np.float32)
    check_grads(ops.tanh, x)
    assert "is (5, 4) float32, but its gradient is (5, 4) float64" in message(
        lambda x: x * np.float32(2), x, vjp=lambda g, x: g.astype(np.float64))
    w = real(4, 4).astype(np.float32)
    assert message(lambda x: x @ w, x, vjp=lambda g, x: g @ w.T * np.float32(1 + 1e-4))


def test_rounding_that_a_rule_may_have_is_no_error():
    check_grads(ops.tanh, np.array([0.0, 4.0]))  # 1 - tanh(4)**2 is right to 6e-14


def test_integer_inputs_and_outputs_are_constants():
    check_grads(lambda x, i: x[i], real(4, 2), np.array([1, 1, 3]))
    check_grads(lambda x: (x * 2.0, np.arange(3)), real(2))
    check_grads(lambda x, i: (x[i], i), real(4), np.array([0, 2]), vjp=lambda g, x, i: (np.bincount(i, g[0], 4), None))


def test_mistakes_of_the_caller():
    with pytest.raises(TypeError, match=r"needs an input of floats, got \(3,\) int64"):
        check_grads(ops.exp, np.arange(3))
    with pytest.raises(ValueError, match="engine 'tensorflow' is none of tinygan, torch, jax, autograd, mygrad"):
        check_grads(ops.exp, real(2), engine="tensorflow")
    with pytest.raises(ValueError, match="vjp gave 1 gradients for 2 inputs"):
        check_grads(np.add, real(2), real(2), vjp=lambda g, x, y: g)
    assert "f gives no floats to differentiate, but (2,) int64" in message(lambda x: np.argsort(x), real(2), vjp=lambda g, x: x)
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
    check_grads(torch.conv2d, torch.tensor(real(1, 2, 4, 4)).float(), torch.tensor(real(2, 2, 2, 2)).float())

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
    check_grads(lambda x, y: (anp.tanh(x) @ y, anp.sum(x)), real(2, 3), real(3, 2), engine="autograd")


def test_mygrad():
    mg = pytest.importorskip("mygrad")
    check_grads(lambda x, y: mg.tanh(x) * y, mg.tensor(real(2, 3)), mg.tensor(real(3)))


def test_slope_of_known_functions():
    for f, expected in [(np.exp, 1.0), (lambda t: t**5 + 3 * t, 3.0), (lambda t: np.sin(20 * t), 20.0), (lambda t: 1e8 + t, 1.0)]:
        s = numeric.slope(lambda t: np.array([f(t)]), 2.0**-52, 1e-9)
        assert abs(s.value[0] - expected) <= 2 * s.error[0] <= 1e-5 * expected and s.gap[0] == 0 and s.exists[0]
    s = numeric.slope(lambda t: np.array([abs(t), max(t, 0) + 3 * t, float(t > 0), np.sqrt(abs(t))]), 2.0**-52, 1e-9)
    np.testing.assert_allclose([*s.low[:2], *s.high[:2]], [-1, 3, 1, 4], atol=1e-9)
    assert s.exists.tolist() == [True, True, False, False]


def test_a_smooth_slope_is_sure_to_eleven_digits_after_a_few_steps():
    at = []
    s = numeric.slope(lambda t: at.append(t) or np.array([np.exp(t), np.sin(3 * t) + 2]), 2.0**-52, 1e-9)
    np.testing.assert_allclose(s.value, [1, 3], rtol=1e-11)
    assert len(at) <= 13 and not s.rough.any()


def test_complex_step_is_taken_only_where_it_agrees():
    s = numeric.slope(lambda t: np.array([np.exp(t)]), 2.0**-52, 1e-9)
    sharp = numeric.complex_step(lambda t: np.array([np.exp(t)]), s)
    assert sharp.value == [1.0] and sharp.error < s.error
    assert numeric.complex_step(lambda t: np.array([np.exp(np.real(t))]), s).value == s.value  # np.real is not analytic


@given(strategies.arrays(), strategies.arrays(ties=False), strategies.broadcastable(3))
def test_arrays_are_what_they_say(a, b, several):
    assert a.dtype == np.float64 and np.array_equal(4 * a, np.round(4 * a)) and np.all(np.abs(a) <= 4)
    assert len(np.unique(b)) == b.size and np.all(np.abs(b) <= 4) and np.all(b != 0)
    np.broadcast(*several)


@pytest.mark.parametrize("of_interest", [
    lambda a: a.size == 0, lambda a: a.ndim == 0, lambda a: not a.flags.writeable and a.size,
    lambda a: 0 in a.strides and a.size > 1,
    lambda a: any(s < 0 for s in a.strides), lambda a: a.ndim == 2 and a.flags.f_contiguous and not a.flags.c_contiguous,
    lambda a: a.size > 2 and len(np.unique(a)) < a.size, lambda a: np.any(a == 0),
])  # fmt: skip
def test_arrays_of_every_kind_are_drawn(of_interest):
    find(strategies.arrays(), of_interest, settings=settings(max_examples=2000, derandomize=True))


@given(strategies.convolutions(), strategies.convolutions(transposed=True))
def test_every_convolution_drawn_is_legal(c, t):
    x, w, y = map(np.zeros, c.shapes)
    assert ops.conv2d(x, w, **c.options).shape == y.shape
    x, w, y = map(np.zeros, t.shapes)
    assert ops.conv_transpose2d(y, w, output_padding=t.extra, **t.options).shape == x.shape


def test_convolutions_shrink_to_the_smallest():
    smallest = find(strategies.convolutions(), lambda c: c.stride[0] > 1, settings=settings(derandomize=True, database=None))
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
    run = subprocess.run([sys.executable, ROOT / "examples/check_your_gradients.py"], capture_output=True, text=True, cwd=ROOT,
                         env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert run.returncode == 0 and run.stdout.count("The right rule passes") >= 2
    assert run.stdout.count("To see it again") == run.stdout.count("The right rule passes")


def test_usable_without_the_rest():
    code = "import sys; from tinygan.testing import check_grads; import numpy as np; "
    code += "check_grads(np.sin, np.ones(3), vjp=lambda g, x: g * np.cos(x)); "
    code += "print([m for m in ('numba', 'hypothesis', 'torch', 'jax', 'tinygan.ops', 'tinygan.nn') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    print(out)
    assert "numba" not in out and "hypothesis" not in out and "torch" not in out


def test_a_reader_of_the_gradient_gets_what_grad_gives():
    x = Tensor(real(3))
    np.testing.assert_array_equal(grad(ops.sum(cubed(3)(x)), x), 3 * x.data**2)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("x", [[-2.25, 2.75, -2.75], [-3.25, -3.5, 1.75]])
def test_numbers_that_cancel_inside_a_function_round_as_large_ones(x, seed):
    check_grads(lambda x: ops.softmax(x, 0), np.array(x), seed=seed)  # one output is near 1: 1 - it is not exact

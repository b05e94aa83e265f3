"""jax.numpy and its neighbours: functions by the kind of input that makes sense for them, and
others one by one.
"""

import types

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import jax.test_util
import numpy as np
from jax import lax, nn

jax.config.update("jax_enable_x64", True)

NUMPY, SPECIAL = "numpy", "scipy.special"
BY_NAME = (  # where in jax, the names of the inputs below, the names of the functions
    (NUMPY, "x", "abs arccos arcsin arcsinh arctan arctanh cbrt ceil conj copy cos cosh deg2rad"),
    (NUMPY, "x", "exp exp2 expm1 fix floor i0 imag real angle nan_to_num negative positive"),
    (NUMPY, "x", "rad2deg rint round sign sin sinc sinh square tan tanh trunc ravel transpose"),
    (NUMPY, "x", "matrix_transpose flip rot90 squeeze atleast_3d sort sum prod mean std var max"),
    (NUMPY, "x", "min nansum nanprod nanmean nanstd nanvar nanmax nanmin median nanmedian ptp"),
    (NUMPY, "x", "cumsum cumprod nancumsum nancumprod average diff ediff1d gradient tril triu"),
    (NUMPY, "x", "unwrap cov corrcoef diagonal trace modf frexp zeros_like asarray"),
    (NUMPY, "p", "log log10 log1p log2 sqrt reciprocal"),
    (NUMPY, "above1", "arccosh"),
    (NUMPY, "a b", "add subtract multiply divide arctan2 copysign fmax fmin maximum minimum fmod"),
    (NUMPY, "a b", "remainder hypot logaddexp logaddexp2 heaviside divmod floor_divide inner dot"),
    (NUMPY, "a b", "kron outer cross matmul vdot vecdot"),
    (NUMPY, "p y", "power float_power"),
    (NUMPY, "v w", "convolve correlate polyadd polymul polyval"),
    (NUMPY, "v", "diag diagflat vander polyder polyint trapezoid cumulative_sum cumulative_prod"),
    (NUMPY, "v", "fft.fft fft.ifft fft.rfft fft.hfft fft.fftshift"),
    ("numpy.linalg", "spd", "cholesky det inv eigh eigvalsh slogdet svd svdvals qr pinv norm cond"),
    ("numpy.linalg", "spd", "vector_norm eigvals"),
    ("numpy.linalg", "a b", "solve tensordot"),
    ("scipy.linalg", "spd", "expm cholesky lu block_diag toeplitz"),
    ("scipy.linalg", "spd b", "solve solve_triangular"),
    (
        "nn",
        "x",
        "relu relu6 sigmoid softplus sparse_plus sparse_sigmoid soft_sign silu log_sigmoid",
    ),
    ("nn", "x", "leaky_relu hard_sigmoid hard_silu hard_tanh elu celu selu gelu squareplus mish"),
    ("nn", "x", "softmax log_softmax logsumexp standardize"),
    ("nn", "even", "glu"),
    ("nn", "query key value", "dot_product_attention"),
    (SPECIAL, "p", "digamma entr erf erfc erfinv exp1 expi expit factorial fresnel gamma gammaln"),
    (SPECIAL, "p", "i0 i0e i1 i1e log_ndtr logit logsumexp ndtr ndtri softmax spence sici"),
    (SPECIAL, "p above1_too", "beta betaln gammainc gammaincc kl_div rel_entr poch xlog1py xlogy"),
    (SPECIAL, "above2 above1_too", "zeta"),
    (SPECIAL, "above1 above2_too between", "hyp1f1"),
    ("lax", "p", "bessel_i0e bessel_i1e cumlogsumexp cummax cummin cumprod cumsum digamma erf_inv"),
    ("lax", "p", "lgamma logistic rsqrt sort"),
    ("lax", "square square_too", "igamma igammac rem batch_matmul"),
)


def cases():
    """{name: (True, () -> samples)} of all functions."""
    inputs = drawn()
    table = by_name(inputs)
    for group in (in_numpy, moving, decompositions, in_scipy, in_lax, control_flow, transformed):
        for name, (f, *given) in group(inputs).items():
            table[name] = f, given
    return {
        name: (True, lambda f=f, given=given: sample(f, given))
        for name, (f, given) in table.items()
    }


def sample(f, inputs):
    """The one sample of a function."""
    f = jax.jit(f)  # or a loop would be compiled at each call

    def own(order):
        jax.test_util.check_grads(f, inputs, order=order, modes=["rev"])

    return [(f, list(map(jnp.asarray, inputs)), own)]


def drawn():
    """Inputs by name: p, q and what is `between` in (0.1, 0.9), the others of either sign."""
    rng = np.random.default_rng(0)

    def unit(*shape):
        return rng.uniform(0.1, 0.9, shape)

    def signed(*shape):
        return unit(*shape) * rng.choice([-1.0, 1.0], shape)

    i = types.SimpleNamespace()
    i.x, i.y, i.p, i.q = signed(2, 3), signed(2, 3), unit(2, 3), unit(2, 3)
    i.a, i.b, i.v, i.w = signed(3, 3), signed(3, 3), signed(4), signed(4)
    i.spd = i.a @ i.a.T + np.eye(3)
    i.above1, i.above1_too, i.above2, i.above2_too = 1 + i.p, 1 + i.q, 2 + i.p, 2 + i.q
    i.even, i.between, i.square, i.square_too = signed(2, 4), unit(2, 3), unit(3, 3), unit(3, 3)
    i.query, i.key, i.value = (signed(1, 3, 2, 2) for _ in range(3))
    i.images, i.filters, i.transposed = signed(1, 2, 5, 5), signed(3, 2, 3, 3), signed(2, 2, 3, 3)
    i.tall = signed(4, 2)
    return i


def by_name(inputs):
    """{name: (f, inputs)} of those of BY_NAME that this JAX has."""
    table = {}
    for module, given, names in BY_NAME:
        for name in names.split():
            f = jax
            for part in f"{module}.{name}".split("."):
                f = getattr(f, part, None)
            if f is not None:
                table[f"{module}.{name}"] = f, [getattr(inputs, key) for key in given.split()]
    return table


def in_numpy(i):
    """jax.numpy, what picks, joins and sums."""
    return {
        "numpy.clip": (lambda x: jnp.clip(x, -0.5, 0.5), i.x),
        "numpy.where": (lambda x, y: jnp.where(x > y, x * x, y), i.x, i.y),
        "numpy.select": (lambda x, y: jnp.select([x > 0, y > 0], [x, y], x * y), i.x, i.y),
        "numpy.interp": (
            lambda x, y: jnp.interp(x, jnp.array([-1.0, -0.25, 0.25, 1.0]), y),
            i.x,
            i.v,
        ),
        "numpy.einsum": (lambda a, b: jnp.einsum("ij,kj->ik", a, b), i.a, i.b),
        "numpy.tensordot": (lambda a, b: jnp.tensordot(a, b, 1), i.a, i.b),
        "numpy.quantile": (lambda x: jnp.quantile(x, 0.3), i.x),
        "numpy.percentile": (lambda x: jnp.percentile(x, 70, axis=1), i.x),
        "numpy.partition": (lambda x: jnp.partition(x, 1), i.x),
        "numpy.ldexp": (lambda x: jnp.ldexp(x, 3), i.x),
        "numpy.round to 3 decimals": (lambda x: jnp.round(x, 3), i.x),
        "numpy.histogram": (lambda x: jnp.histogram(x, 3)[0], i.x),
        "numpy.piecewise": (lambda x: jnp.piecewise(x, [x < 0, x >= 0], [jnp.sin, jnp.cos]), i.x),
        "numpy.apply_along_axis": (lambda x: jnp.apply_along_axis(jnp.cumsum, 1, x), i.x),
        "numpy.nanmean with NaN": (lambda x: jnp.nanmean(jnp.append(x, jnp.nan)), i.x),
    }


def moving(i):
    """jax.numpy, what moves numbers."""
    return {
        "numpy.concatenate": (lambda x, y: jnp.concatenate([x, y]), i.x, i.y),
        "numpy.stack": (lambda x, y: jnp.stack([x, y], 1), i.x, i.y),
        "numpy.hstack": (lambda x, y: jnp.hstack([x, y]), i.x, i.y),
        "numpy.split": (lambda x: jnp.split(x, 3, 1), i.x),
        "numpy.meshgrid": (jnp.meshgrid, i.v, i.w),
        "numpy.broadcast_arrays": (jnp.broadcast_arrays, i.v[:3], i.a),
        "numpy.broadcast_to": (lambda x: jnp.broadcast_to(x, (4, 2, 3)), i.x),
        "numpy.reshape": (lambda x: x.reshape(3, 2), i.x),
        "numpy.take": (lambda x: jnp.take(x, np.array([2, 0, 2]), 1), i.x),
        "numpy.take_along_axis": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), i.x),
        "numpy.at set": (lambda x, y: x.at[0].set(y[1]), i.x, i.y),
        "numpy.at add": (lambda x, y: x.at[np.array([0, 0])].add(y), i.x, i.y),
        "numpy.at multiply": (lambda x, y: x.at[0].multiply(y[0], unique_indices=True), i.x, i.y),
        "numpy.pad reflect": (lambda x: jnp.pad(x, 1, "reflect"), i.x),
        "numpy.pad edge": (lambda x: jnp.pad(x, 2, "edge"), i.x),
        "numpy.repeat": (lambda x: jnp.repeat(x, 3, 1), i.x),
        "numpy.tile": (lambda x: jnp.tile(x, (2, 2)), i.x),
        "numpy.roll": (lambda x: jnp.roll(x, 1, 1), i.x),
    }


def decompositions(i):
    """Linear algebra and Fourier transforms."""
    return {
        "numpy.fft.irfft": (lambda x: jnp.fft.irfft(x + 1j * x), i.v),
        "numpy.fft.fft2, absolute": (lambda x: jnp.abs(jnp.fft.fft2(x)), i.a),
        "numpy.linalg.matrix_power": (lambda a: jnp.linalg.matrix_power(a, 3), i.a),
        "numpy.linalg.lstsq": (lambda a, v: jnp.linalg.lstsq(a, v)[0], i.tall, i.v),
        "numpy.linalg.norm 1": (lambda a: jnp.linalg.norm(a, 1), i.a),
        "numpy.linalg.norm nuclear": (lambda a: jnp.linalg.norm(a, "nuc"), i.a),
        "numpy.linalg.svd thin": (lambda a: jnp.linalg.svd(a, full_matrices=False), i.tall),
        "lax.linalg.triangular_solve": (
            lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
            i.spd,
            i.b,
        ),
    }


def in_scipy(i):
    """jax.nn, special functions and densities."""
    return {
        "nn.one_hot": (lambda x: nn.one_hot(jnp.array([1, 0]), 3) * x, i.x),
        "nn.softmax, masked": (lambda x: nn.softmax(x, where=x > -0.5), i.x),
        "nn.gelu exact": (lambda x: nn.gelu(x, approximate=False), i.x),
        "special.betainc in x": (lambda x: jsp.special.betainc(1.5, 2.5, x), i.p),
        "special.polygamma": (lambda x: jsp.special.polygamma(1, x), i.p),
        "special.multigammaln": (lambda x: jsp.special.multigammaln(x, 2), 2 + i.p),
        "special.expn": (lambda x: jsp.special.expn(2, x), i.p),
        "special.ndtr far out": (jsp.special.ndtr, np.array([-7.58, 0.3])),
        "stats.norm.logpdf": (jsp.stats.norm.logpdf, i.x, i.y, i.p),
        "stats.gamma.logpdf": (jsp.stats.gamma.logpdf, i.p, 1 + i.q),
        "stats.beta.logpdf": (jsp.stats.beta.logpdf, i.p, 1 + i.q, 2 + i.p),
        "stats.t.logpdf": (jsp.stats.t.logpdf, i.x, 3 + i.p),
        "ndimage.map_coordinates": (
            lambda a: jsp.ndimage.map_coordinates(a, [i.p.ravel(), i.q.ravel()], 1),
            i.a,
        ),
    }


def in_lax(i):
    """Convolutions, windows and slices."""
    return {
        "lax.conv": (lambda x, w: lax.conv(x, w, (2, 2), "SAME"), i.images, i.filters),
        "lax.conv_transpose": (
            lambda x, w: lax.conv_transpose(
                x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
            ),
            i.images[..., :2, :2],
            i.transposed,
        ),
        "lax.reduce_window max": (
            lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"),
            i.images,
        ),
        "lax.reduce_window sum": (
            lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME"),
            i.images,
        ),
        "lax.dynamic_slice": (lambda x: lax.dynamic_slice(x, (0, 1), (2, 2)), i.x),
        "lax.dynamic_update_slice": (
            lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (1, 1)),
            i.x,
            i.y,
        ),
        "lax.top_k": (lambda x: lax.top_k(x, 2), i.x),
    }


def control_flow(i):
    """Loops and branches."""
    return {
        "lax.scan": (lambda x: lax.scan(lambda c, r: (c * r, c + r), jnp.ones(3), x), i.x),
        "lax.associative_scan": (lambda x: lax.associative_scan(jnp.multiply, x), i.x),
        "lax.while, by fori": (lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), x), i.x),
        "lax.cond": (lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), i.x),
        "lax.map": (lambda x: lax.map(jnp.cumprod, x), i.x),
    }


def transformed(i):
    """JAX's transformations, and its random numbers."""
    return {
        "jit": (jax.jit(lambda x: jnp.tanh(x) @ x.T), i.x),
        "vmap": (jax.vmap(jnp.outer), i.x, i.y),
        "checkpoint": (jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), i.x),
        "grad": (jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 3)), i.x),
        "jax.random dropout": (
            lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape),
            i.x,
        ),
        "jax.random.gamma": (lambda a: jax.random.gamma(jax.random.key(0), a), 1 + i.p),
        "jax.random.normal, scaled": (
            lambda m, s: m + s * jax.random.normal(jax.random.key(0), (2, 3)),
            i.x,
            i.p,
        ),
    }

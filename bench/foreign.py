"""What tinygan.testing.check_grads makes of other people's functions: PyTorch's operation database
and jax.numpy.

    python bench/foreign.py [--engine torch] [--only cumprod] [--order 1] [--seconds 10] [--samples
    4]
        [--out FILE]

These gradients have been tested for years, so that an alarm is likely to be the checker's own
fault. Each function is tried on its first small samples, in a worker process that is replaced if it
dies or hangs, and gets a line:

    passed
    agreed     an alarm that the framework's own checker raises too (torch: gradcheck in slow mode, with the wrapper and the
               tolerance for nondeterminism that its database gives; jax: check_grads)
    explained  an alarm or exception whose reason stands in KNOWN below, and is one
    FALSE      any other alarm
    CRASH      an exception that is no GradientError, or the death of the process
    late       no answer in --seconds of processor time for a sample
    skipped    no sample to be had, or none with a float to differentiate

--order 2 asks for second derivatives as well where there are any. Written to --out as it comes;
then the counts.
"""

import argparse
import collections
import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from common import machine

OVERLAP = "the rule clears a part of a copy that keeps the cotangent's strides, where numbers share a place"
KNOWN = {  # (engine, function): why its gradient is rightly refused
    ("torch", "nn.functional.hardsigmoid"): "the rule has 1/6 in float32, for float64 too",
    (
        "torch",
        "as_strided (partial_views)",
    ): "its input is a view, and it reads the storage around it",
    ("torch", "diagonal_scatter"): OVERLAP,
    ("torch", "slice_scatter"): OVERLAP,
}
WORST = ("passed", "skipped", "late", "explained", "agreed", "CRASH", "FALSE")
OUTCOMES = ("passed", "agreed", "explained", "FALSE", "CRASH", "late", "skipped")
NUMBERS = 100  # a sample that has at most so many is small


NOWHERE = open(os.devnull, "w")


class Late(BaseException):
    """The time for a check is over; no Exception, so that nobody takes it for its own."""


# PyTorch


def torch_cases():
    """{name: (whether there are second derivatives, () -> samples)}, a sample being (f, inputs, its
    own checker(order)).
    """
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    torch.set_num_threads(1)
    cases = {}
    for op in op_db:
        if op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu"):
            name = op.name + (f" ({op.variant_test_name})" if op.variant_test_name else "")
            cases[name] = op.supports_gradgrad, lambda op=op: torch_samples(op)
    return cases


def torch_samples(op):
    import itertools

    import torch
    from torch.utils import _pytree as tree

    torch.manual_seed(0)
    for sample in itertools.islice(op.sample_inputs("cpu", torch.float64, requires_grad=True), 20):
        leaves, form = tree.tree_flatten((sample.input, sample.args, sample.kwargs))
        places = [
            i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor) and x.requires_grad
        ]

        def f(*inputs, sample=sample, leaves=leaves, form=form, places=places):
            given = dict(zip(places, inputs))
            parts = [given.get(i, x) for i, x in enumerate(leaves)]
            x, args, kwargs = tree.tree_unflatten(parts, form)
            out = op.gradcheck_wrapper(op.op, x, *args, **kwargs)
            return (sample.output_process_fn_grad or (lambda y: y))(out)

        tracked = [leaves[i] for i in places]

        def own(order, f=f, inputs=tracked):
            options = {"nondet_tol": op.gradcheck_nondet_tol, "fast_mode": False}
            torch.autograd.gradcheck(f, inputs, **options)
            if order > 1:
                torch.autograd.gradgradcheck(f, inputs, **options)

        yield f, [x.detach().clone() for x in tracked], own


# JAX


def jax_cases():
    # most of the time is compilation
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    import jax
    import jax.test_util

    jax.config.update("jax_enable_x64", True)
    cases = {}
    for name, (f, inputs) in jax_functions().items():
        f = jax.jit(f)  # or a loop would be compiled at each call

        def sample(f=f, inputs=inputs):
            own = lambda order: jax.test_util.check_grads(f, inputs, order=order, modes=["rev"])
            return [(f, list(map(jax.numpy.asarray, inputs)), own)]

        cases[name] = True, sample
    return cases


def jax_functions():
    """{name: (f, inputs)}: functions by the kind of input that makes sense for them, and others one
    by one.
    """
    import jax
    import jax.numpy as jnp
    import jax.scipy as jsp
    import numpy as np
    from jax import lax, nn

    rng = np.random.default_rng(0)

    def unit(*shape):
        return rng.uniform(0.1, 0.9, shape)

    def signed(*shape):
        return unit(*shape) * rng.choice([-1.0, 1.0], shape)

    table = {}

    def add(module, names, *inputs, **options):
        for name in names.split():
            f, owner = module, module.__name__.removeprefix("jax.")
            for part in name.split("."):
                f = getattr(f, part, None)
            if f is not None:
                table[f"{owner}.{name}"] = (lambda *a, f=f: f(*a, **options)), inputs

    x, y, p, q, a, b, v, w = (
        signed(2, 3), signed(2, 3), unit(2, 3), unit(2, 3), signed(3, 3), signed(3, 3), signed(4), signed(4)
    )  # fmt: skip
    spd = a @ a.T + np.eye(3)
    add(
        jnp,
        "abs arccos arcsin arcsinh arctan arctanh cbrt ceil conj copy cos cosh deg2rad exp exp2 expm1 fix floor i0 imag "
        "real angle nan_to_num negative positive rad2deg rint round sign sin sinc sinh square tan tanh trunc ravel "
        "transpose matrix_transpose flip rot90 squeeze atleast_3d sort sum prod mean std var max min nansum nanprod "
        "nanmean nanstd nanvar nanmax nanmin median nanmedian ptp cumsum cumprod nancumsum nancumprod average diff "
        "ediff1d gradient tril triu unwrap cov corrcoef diagonal trace modf frexp zeros_like asarray",
        x,
    )
    add(jnp, "log log10 log1p log2 sqrt reciprocal", p)
    add(jnp, "arccosh", 1 + p)
    add(
        jnp,
        "add subtract multiply divide arctan2 copysign fmax fmin maximum minimum fmod remainder hypot logaddexp "
        "logaddexp2 heaviside divmod floor_divide inner dot kron outer cross matmul vdot vecdot",
        a,
        b,
    )
    add(jnp, "power float_power", p, y)
    add(jnp, "convolve correlate polyadd polymul polyval", v, w)
    add(
        jnp,
        "diag diagflat vander polyder polyint trapezoid cumulative_sum cumulative_prod fft.fft fft.ifft fft.rfft "
        "fft.hfft fft.fftshift",
        v,
    )
    add(
        jnp.linalg,
        "cholesky det inv eigh eigvalsh slogdet svd svdvals qr pinv norm cond vector_norm eigvals",
        spd,
    )
    add(jnp.linalg, "solve tensordot", a, b)
    add(jsp.linalg, "expm cholesky lu block_diag toeplitz", spd)
    add(jsp.linalg, "solve solve_triangular", spd, b)
    add(
        nn,
        "relu relu6 sigmoid softplus sparse_plus sparse_sigmoid soft_sign silu log_sigmoid leaky_relu hard_sigmoid "
        "hard_silu hard_tanh elu celu selu gelu squareplus mish softmax log_softmax logsumexp standardize",
        x,
    )
    add(nn, "glu", signed(2, 4))
    add(nn, "dot_product_attention", signed(1, 3, 2, 2), signed(1, 3, 2, 2), signed(1, 3, 2, 2))
    add(
        jsp.special,
        "digamma entr erf erfc erfinv exp1 expi expit factorial fresnel gamma gammaln i0 i0e i1 i1e log_ndtr "
        "logit logsumexp ndtr ndtri softmax spence sici",
        p,
    )
    add(jsp.special, "beta betaln gammainc gammaincc kl_div rel_entr poch xlog1py xlogy", p, 1 + q)
    add(jsp.special, "zeta", 2 + p, 1 + q)
    add(jsp.special, "hyp1f1", 1 + p, 2 + q, unit(2, 3))
    add(
        lax,
        "bessel_i0e bessel_i1e cumlogsumexp cummax cummin cumprod cumsum digamma erf_inv lgamma logistic rsqrt sort",
        p,
    )
    add(lax, "igamma igammac rem batch_matmul", unit(3, 3), unit(3, 3))

    images, filters = signed(1, 2, 5, 5), signed(3, 2, 3, 3)
    others = {
        "numpy.clip": (lambda x: jnp.clip(x, -0.5, 0.5), x),
        "numpy.where": (lambda x, y: jnp.where(x > y, x * x, y), x, y),
        "numpy.select": (lambda x, y: jnp.select([x > 0, y > 0], [x, y], x * y), x, y),
        "numpy.concatenate": (lambda x, y: jnp.concatenate([x, y]), x, y),
        "numpy.stack": (lambda x, y: jnp.stack([x, y], 1), x, y),
        "numpy.hstack": (lambda x, y: jnp.hstack([x, y]), x, y),
        "numpy.split": (lambda x: jnp.split(x, 3, 1), x),
        "numpy.meshgrid": (jnp.meshgrid, v, w),
        "numpy.broadcast_arrays": (jnp.broadcast_arrays, v[:3], a),
        "numpy.broadcast_to": (lambda x: jnp.broadcast_to(x, (4, 2, 3)), x),
        "numpy.reshape": (lambda x: x.reshape(3, 2), x),
        "numpy.take": (lambda x: jnp.take(x, np.array([2, 0, 2]), 1), x),
        "numpy.take_along_axis": (lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), x),
        "numpy.at set": (lambda x, y: x.at[0].set(y[1]), x, y),
        "numpy.at add": (lambda x, y: x.at[np.array([0, 0])].add(y), x, y),
        "numpy.at multiply": (lambda x, y: x.at[0].multiply(y[0], unique_indices=True), x, y),
        "numpy.interp": (lambda x, y: jnp.interp(x, jnp.array([-1.0, -0.25, 0.25, 1.0]), y), x, v),
        "numpy.pad reflect": (lambda x: jnp.pad(x, 1, "reflect"), x),
        "numpy.pad edge": (lambda x: jnp.pad(x, 2, "edge"), x),
        "numpy.repeat": (lambda x: jnp.repeat(x, 3, 1), x),
        "numpy.tile": (lambda x: jnp.tile(x, (2, 2)), x),
        "numpy.roll": (lambda x: jnp.roll(x, 1, 1), x),
        "numpy.einsum": (lambda a, b: jnp.einsum("ij,kj->ik", a, b), a, b),
        "numpy.tensordot": (lambda a, b: jnp.tensordot(a, b, 1), a, b),
        "numpy.quantile": (lambda x: jnp.quantile(x, 0.3), x),
        "numpy.percentile": (lambda x: jnp.percentile(x, 70, axis=1), x),
        "numpy.partition": (lambda x: jnp.partition(x, 1), x),
        "numpy.ldexp": (lambda x: jnp.ldexp(x, 3), x),
        "numpy.round to 3 decimals": (lambda x: jnp.round(x, 3), x),
        "numpy.histogram": (lambda x: jnp.histogram(x, 3)[0], x),
        "numpy.piecewise": (lambda x: jnp.piecewise(x, [x < 0, x >= 0], [jnp.sin, jnp.cos]), x),
        "numpy.apply_along_axis": (lambda x: jnp.apply_along_axis(jnp.cumsum, 1, x), x),
        "numpy.nanmean with NaN": (lambda x: jnp.nanmean(jnp.append(x, jnp.nan)), x),
        "numpy.fft.irfft": (lambda x: jnp.fft.irfft(x + 1j * x), v),
        "numpy.fft.fft2, absolute": (lambda x: jnp.abs(jnp.fft.fft2(x)), a),
        "numpy.linalg.matrix_power": (lambda a: jnp.linalg.matrix_power(a, 3), a),
        "numpy.linalg.lstsq": (lambda a, v: jnp.linalg.lstsq(a, v)[0], signed(4, 2), v),
        "numpy.linalg.norm 1": (lambda a: jnp.linalg.norm(a, 1), a),
        "numpy.linalg.norm nuclear": (lambda a: jnp.linalg.norm(a, "nuc"), a),
        "numpy.linalg.svd thin": (lambda a: jnp.linalg.svd(a, full_matrices=False), signed(4, 2)),
        "nn.one_hot": (lambda x: nn.one_hot(jnp.array([1, 0]), 3) * x, x),
        "nn.softmax, masked": (lambda x: nn.softmax(x, where=x > -0.5), x),
        "nn.gelu exact": (lambda x: nn.gelu(x, approximate=False), x),
        "special.betainc in x": (lambda x: jsp.special.betainc(1.5, 2.5, x), p),
        "special.polygamma": (lambda x: jsp.special.polygamma(1, x), p),
        "special.multigammaln": (lambda x: jsp.special.multigammaln(x, 2), 2 + p),
        "special.expn": (lambda x: jsp.special.expn(2, x), p),
        "special.ndtr far out": (jsp.special.ndtr, np.array([-7.58, 0.3])),
        "stats.norm.logpdf": (jsp.stats.norm.logpdf, x, y, p),
        "stats.gamma.logpdf": (jsp.stats.gamma.logpdf, p, 1 + q),
        "stats.beta.logpdf": (jsp.stats.beta.logpdf, p, 1 + q, 2 + p),
        "stats.t.logpdf": (jsp.stats.t.logpdf, x, 3 + p),
        "ndimage.map_coordinates": (lambda a: jsp.ndimage.map_coordinates(a, [p.ravel(), q.ravel()], 1), a),
        "lax.conv": (lambda x, w: lax.conv(x, w, (2, 2), "SAME"), images, filters),
        "lax.conv_transpose": (lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
                               images[..., :2, :2], signed(2, 2, 3, 3)),
        "lax.reduce_window max": (lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"), images),
        "lax.reduce_window sum": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME"), images),
        "lax.dynamic_slice": (lambda x: lax.dynamic_slice(x, (0, 1), (2, 2)), x),
        "lax.dynamic_update_slice": (lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (1, 1)), x, y),
        "lax.top_k": (lambda x: lax.top_k(x, 2), x),
        "lax.scan": (lambda x: lax.scan(lambda c, r: (c * r, c + r), jnp.ones(3), x), x),
        "lax.associative_scan": (lambda x: lax.associative_scan(jnp.multiply, x), x),
        "lax.while, by fori": (lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), x), x),
        "lax.cond": (lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), x),
        "lax.map": (lambda x: lax.map(jnp.cumprod, x), x),
        "lax.linalg.triangular_solve": (lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True), spd, b),
        "jit": (jax.jit(lambda x: jnp.tanh(x) @ x.T), x),
        "vmap": (jax.vmap(jnp.outer), x, y),
        "checkpoint": (jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), x),
        "grad": (jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 3)), x),
        "jax.random dropout": (lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x),
        "jax.random.gamma": (lambda a: jax.random.gamma(jax.random.key(0), a), 1 + p),
        "jax.random.normal, scaled": (lambda m, s: m + s * jax.random.normal(jax.random.key(0), (2, 3)), x, p),
    }  # fmt: skip
    return table | {name: (f, inputs) for name, (f, *inputs) in others.items()}


# the worker


def alarmed(call, seconds):
    """What the call gives in so many seconds of processor time; one that never hears the alarm ends
    the process.
    """

    def late(*_):
        raise Late

    signal.signal(signal.SIGPROF, late)
    faulthandler.dump_traceback_later(20 * seconds, exit=True, file=NOWHERE)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def line(e):
    """An exception's first line."""
    return f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"[:200]


def verdict(key, sample, order, seconds):
    """(outcome, words) for one sample."""
    from tinygan.testing import GradientError, check_grads

    f, inputs, own = sample
    try:
        alarmed(lambda: check_grads(f, *inputs, order=order), seconds)
        return "passed", ""
    except Late:
        return "late", f"inputs of shape {', '.join(str(tuple(x.shape)) for x in inputs)}"
    except GradientError as e:
        alarm, words = True, str(e).strip().splitlines()[0]
    except Exception as e:
        alarm, words = False, line(e)
    try:
        alarmed(lambda: own(order), 2 * seconds)
    except Late:
        pass  # it has not said that anything is wrong
    except Exception as e:
        return (
            ("agreed", f"{words} | {line(e)}")
            if alarm
            else ("skipped", f"its own checker: {line(e)}")
        )
    if words.startswith("f gives no floats") and "complex" not in words:
        return "skipped", words
    if key in KNOWN:
        return "explained", f"{KNOWN[key]} | {words}"
    return "FALSE" if alarm else "CRASH", words


def attempt(engine, name, twice, samples, order, seconds, most):
    """(outcome, words) for a function, by the worst of its samples."""
    try:
        found = alarmed(lambda: [s for s in samples() if s[1]], seconds)
    except (Exception, Late) as e:
        return "skipped", f"its samples fail: {line(e)}"
    size = lambda s: sum(x.size if engine == "jax" else x.numel() for x in s[1])
    small = [s for s in found if 0 < size(s) <= NUMBERS] or sorted(found, key=size)[:1]
    if not small:
        return "skipped", "no sample has a float to differentiate"
    verdicts = [verdict((engine, name), s, min(order, 1 + twice), seconds) for s in small[:most]]
    return max(verdicts, key=lambda v: WORST.index(v[0]))


def child(engine, names, order, seconds, most):
    """Print a line for each function as it is done."""
    warnings.simplefilter("ignore")
    cases = {"torch": torch_cases, "jax": jax_cases}[engine]()
    if names is None:
        print(json.dumps(list(cases)))
    for name in names or ():
        twice, samples = cases[name]
        print(
            json.dumps([name, *attempt(engine, name, twice, samples, order, seconds, most)]),
            flush=True,
        )


def answers(**options):
    """The lines of a worker, until it ends."""
    command = [sys.executable, __file__, "--child", json.dumps(options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as worker:
        try:
            for text in worker.stdout:
                with contextlib.suppress(json.JSONDecodeError):  # what a function may print
                    yield json.loads(text)
        finally:
            worker.kill()


def outcomes(engine, names, **options):
    """(name, outcome, words) for each, with a fresh worker after one that did not come back."""
    while names:
        done = 0
        for answer in answers(engine=engine, names=names, **options):
            yield answer
            done += 1
        names = names[done:]
        if names:
            yield names[0], "CRASH", "the process died, or hung without hearing the alarm"
            names = names[1:]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("torch", "jax"), help="both unless given")
    parser.add_argument("--only", help="functions whose name has this regular expression in it")
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="of processor time for a sample")
    parser.add_argument("--samples", type=int, default=4, help="so many of each function, at most")
    parser.add_argument("--out", type=Path, help="a file to write to as well")
    args = parser.parse_args()
    options = {"order": args.order, "seconds": args.seconds, "most": args.samples}
    file = args.out.open("w") if args.out else None

    def tell(text):
        print(text, flush=True)
        if file:
            print(text, file=file, flush=True)

    for engine in [args.engine] if args.engine else ("torch", "jax"):
        try:
            tell(f"{engine}, order {args.order}: {machine('numpy', engine)}")
            names = next(answers(engine=engine, names=None, **options))
        except (ImportError, StopIteration):
            tell(f"{engine}: not installed")
            continue
        names = [n for n in names if re.search(args.only or "", n)]
        counts = collections.Counter()
        for name, outcome, words in outcomes(engine, names, **options):
            counts[outcome] += 1
            tell(f"{name:42} {outcome:10} {words}".rstrip())
        tell(
            f"{engine}: {sum(counts.values())} functions: "
            + ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
            + "\n"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(**json.loads(sys.argv[2]))
    else:
        main()

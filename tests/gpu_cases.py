"""Cases for the GPU, run by `test_gpu_host.py` and `test_capture.py` on the stand-in and by
`test_gpu.py` on a device.

A case calls one function of `kernels/gpu/` and of `kernels/reference.py` with the same arrays and
compares what they return and what they changed in place. MODELS makes every model, small, and a few
by other objectives; `trained` trains one.
"""

import copy
import dataclasses
import functools

import numpy as np
import pytest

from tinygan import device, models, nn, random
from tinygan.kernels import reference
from tinygan.nn import losses

rng = np.random.default_rng(0)


@dataclasses.dataclass
class Case:
    name: str
    args: tuple
    rtol: float = 0  # 0: equal to the last bit
    dtype: str = ""

    def __str__(self):
        return f"{self.name}-{self.dtype}" if self.dtype else self.name

    def check(self, gpu, to_gpu, to_host):
        """to_gpu copies an array to the device, with its layout; to_host copies one back."""
        ours, theirs = copied(self.args, lambda a: a.copy("K")), copied(self.args, to_gpu)
        expected = getattr(reference, self.name)(*ours)
        result = to_host(getattr(gpu, self.name)(*theirs))
        if expected is not None:
            self.compare(result, expected)
        for a, b in zip(arrays(ours), arrays(theirs)):
            self.compare(to_host(b), a)

    def compare(self, result, expected):
        if isinstance(expected, tuple):
            for r, e in zip(result, expected, strict=True):
                self.compare(r, e)
        else:
            assert result.shape == expected.shape and result.dtype == expected.dtype
            np.testing.assert_allclose(result, expected, rtol=self.rtol, atol=self.rtol)


def arrays(x):
    if isinstance(x, tuple):
        return [a for i in x for a in arrays(i)]
    return [x] if hasattr(x, "dtype") else []


def copied(x, copy):
    if isinstance(x, tuple):
        return tuple(copied(i, copy) for i in x)
    return copy(x) if isinstance(x, np.ndarray) else x


def _cases(dtype):
    def real(*shape):
        return rng.standard_normal(shape).astype(dtype)

    def whole(*shape):
        return rng.integers(-8, 9, shape).astype(dtype)

    def case(name, *args, rtol=0.0):
        return Case(name, args, rtol, dtype)

    near = 2e-6 if dtype == "float32" else 1e-13
    strided = ((3, 4), (3, 2), (2, 1), (1, 0), (1, 2))  # size, kernel, stride, padding, dilation
    last = np.moveaxis(whole(2, 5, 6, 5), 1, 3)  # an NCHW array seen as NHWC
    c = [real(5), abs(real(5)) + 1]
    step = np.array([3 << 32 | 7], np.int64)
    key = (0xDEADBEEF, 3), 5, step
    image = np.moveaxis(real(2, 4, 4, 3), 3, 1)  # channels-last memory behind NCHW
    edge = np.array([[-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan]], dtype)
    yield case("gemm", whole(5, 7), whole(7, 3))
    yield case("gemm", whole(2, 1, 5, 7), whole(3, 7, 2))
    yield from (case("contiguous", last), case("contiguous", whole(3, 2)))
    yield case("gemm", whole(2, 0), whole(0, 3))
    yield case("gemm", real(40, 70), real(70, 30), rtol=20 * near)
    yield case("im2col", last, *strided)
    apart = (4, 4), (2, 2), (2, 2), (0, 0), (1, 1)
    yield case("im2col", real(1, 9, 9, 300), *apart)  # more columns than threads
    yield case("im2col", real(0, 6, 5, 5), *strided)
    yield case("col2im", whole(2 * 12, 30), whole(2, 6, 5, 5), *strided)
    yield case("col2im", real(16, 4 * 300), real(1, 9, 9, 300), *apart)
    yield case("col2im", real(0, 30), real(0, 6, 5, 5), *strided)
    for n in (0, 3):
        x, w, y, geometry = whole(n, 6, 5, 5), whole(3, 2, 5, 7), whole(n, 3, 4, 7), strided[2:]
        yield case("conv", x, w, (3, 4), *geometry)
        yield case("conv_transpose", y, w, (6, 5), *geometry)
        yield case("conv", x, w, (3, 4), *geometry, whole(7))
        yield case("conv_transpose", y, w, (6, 5), *geometry, whole(5))
        yield case("conv_filter", x, y, (3, 2), *geometry)
    for slope in (0.0, 0.2):
        yield from (case("leaky", a, a, slope) for a in (image, edge, real(0, 3)))
        yield from (case("leaky", real(*a.shape), a, slope) for a in (image, edge, real(3)))
    large = np.array([[-1e30, -800, -90, -87.5, -20, -0.0, 0, 1e-9, 30, 90, 1e30, np.nan]], dtype)
    for a in (image, large, real(0, 3), real(3)[::2]):
        yield case("silu", a, rtol=near)
        yield case("silu_grad", real(*a.shape), a, rtol=2 * near)
        for name in ("gelu", "gelu_tanh"):
            yield case(name, a, rtol=near)
            yield case(f"{name}_grad", real(*a.shape), a, rtol=2 * near)
    edges = np.array([[-np.inf, -88.5, 88.5, 1e-3, -17, 17, np.inf, *large[0]]], dtype)
    for a in (image, edges, real(0, 3), real(3)[::2]):
        targets = rng.integers(0, 5, a.shape).astype(dtype) / 4
        yield case("softplus", a, rtol=near)
        yield from (case(name, a, targets, rtol=near) for name in ("bce", "bce_grad"))
        yield from (case(name, a, 0.75, rtol=near) for name in ("bce", "bce_grad"))
    yield case("softmax_rows", real(6, 4), -3.0, True, rtol=2 * near)
    nothing = np.array([[-np.inf, -np.inf], [-np.inf, 1], [np.nan, 0]], dtype)
    for a in (real(2, 3, 5), real(6, 4), real(3, 40)[:, ::3], nothing, real(0, 3), real(2, 0)):
        for causal in (False, True):
            yield case("softmax_rows", a, 0.7, causal, rtol=2 * near)
        p = reference.softmax_rows(np.nan_to_num(a), 1.0, False)
        yield case("softmax_rows_grad", real(*a.shape), p, 0.7, rtol=2 * near)
        if a.ndim == 2 and a.shape[1]:
            yield case("log_softmax_at", a, np.arange(len(a)) % a.shape[1], rtol=2 * near)
    for shape in ((2, 3, 5, 6), (4, 2), (0, 3, 4)):
        yield case("turn", whole(*shape), *whole(2, shape[-2], shape[-1] // 2))
    for n, d in ((1, 5), (3, 1), (6, 40), (0, 3)):
        x, g, w, b = real(n, d) + 3, real(n, d), real(d), real(d)
        yield case("layer_norm", x, w, b, 1e-5, rtol=20 * near)
        yield case("layer_norm_grad", g, x, w, 1e-2, rtol=60 * near)
    for rows in (1, 50, 3000):
        x, g = real(rows, 5) + 3, real(rows, 5)
        yield case("affine", x, *c, rtol=near)
        yield case("norm_sums", g, x, *c, rtol=60 * near)
        yield case("moments", x, rtol=20 * near)
        yield case("norm_grad", g, x, *c, *c, c[1], rtol=9 * near)
    yield from (case("moments", whole(16, 300)), case("column_sums", whole(16, 300)))
    for shape in (9000, 40), (5000, 1), (3, 0), (0, 3):
        yield case("column_sums", whole(*shape))
    yield case("norm_sums", whole(3000, 33), whole(3000, 33), whole(33), np.exp2(whole(33) % 2))
    yield case("affine", whole(9, 5), whole(5), whole(5))
    yield case("norm_sums", whole(40, 300), whole(40, 300), whole(300), np.exp2(whole(300) % 4))
    for n, p, k in ((3, 1, 5), (2, 40, 5), (3, 49, 300), (2, 1030, 3), (0, 4, 3), (2, 4, 0)):
        x, g, center, scale = real(n, p, k) + 3, real(n, p, k), real(n, k) + 3, real(n, k)
        yield case("sample_moments", x, rtol=20 * near)
        yield case("sample_sums", g, x, center, rtol=60 * near)
        yield case("sample_affine", x, center, scale, g[:, 0].copy(), rtol=9 * near)
        yield case("sample_affine", x, center, scale, center, g, scale, rtol=9 * near)
        x, g, center = whole(n, p, k), whole(n, p, k), whole(n, k)
        yield case("sample_sums", g, x, center)
        yield case("sample_affine", x, center, center, center, g, center)
    crossed = np.swapaxes(whole(2, 5, 40), 1, 2)  # an NCHW array seen as rows of channels
    yield case("sample_sums", crossed, 2 * crossed, whole(2, 5))
    far = real(2, 40, 5) / 8 + 1000  # squares about 0 would cancel
    yield case("sample_moments", far, rtol=20 * near)
    some = [(2, 4, 4, 3), (), (0,), (5,), (1, 3000), (41, 50)]
    for shapes in (some, [(3,)] * 200):  # more than one launch takes
        ps = tuple(np.moveaxis(real(*s), 3, 1) if len(s) == 4 else real(*s) for s in shapes)
        # some lie otherwise than p, m and v
        grads = tuple(np.ascontiguousarray(a[::-1]) if a.ndim else a for a in ps)
        states = np.negative, np.abs, np.square
        ms, vs, peaks = (tuple(np.asarray(f(a)) for a in ps) for f in states)
        steps, rate = np.arange(1, 1 + len(ps)) ** 3, np.array(1e-3)
        given = ps, grads, ms, vs, rate, steps
        for beta1, amsgrad in ((0.0, [peaks]), (0.5, [])):
            yield case("adam", *given, beta1, 0.999, 1e-8, *amsgrad, rtol=near)
        yield case("lerp", ps, grads, np.array(0.25), rtol=near)
    sparse = real(6, 5)[:, ::2], real(5, 12)[::2, ::2].T, real(6, 3), abs(real(3, 6).T)
    yield case("adam", *((a,) for a in sparse), rate, steps[:1], 0.9, 0.999, 1e-8, rtol=near)
    lost = [real(3, 20) for _ in range(3)]  # p, g and m; a NaN in v or in the largest v stays
    v, largest = np.square(real(3, 20)), np.square(real(3, 20))
    v[1, 4] = largest[2, 7] = np.nan
    lost = [*((a,) for a in (*lost, v)), rate, steps[:1], 0.9, 0.999, 1e-8, (largest,)]
    yield case("adam", *lost, rtol=near)
    yield case("lerp", (whole(4),), (whole(4),), np.array(0.5))
    yield case("index_add", np.zeros((4, 3), dtype), np.array([1, 3, 1]), whole(3, 3))
    yield case("index_add", np.zeros((300, 3), dtype), np.array([1, 255, 1], np.uint8), whole(3, 3))
    yield case("index_add", np.zeros((4, 3), dtype), (slice(None), np.array([2, 2])), whole(4, 2))
    for shape in ((1,), (3, 2, 5), (1030,), (0,)):
        out = np.full(shape, 9, dtype)
        yield from (case("uniform", out, *key), case("normal", out, *key, rtol=10 * near))
        yield case("bernoulli", out, 0.3, 1 / 0.7, *key)
    yield case("uniform", np.zeros((4, 3), dtype).T, *key)
    if dtype == "float32":
        yield from (case("bits", n, *key) for n in (0, 1, 7, 5000))


CASES = [case for dtype in ("float32", "float64") for case in _cases(dtype)]
both = tuple(np.arange(7, dtype=dtype) for dtype in ("float32", "float64", "float32"))
CASES.append(Case("lerp", (both, tuple(2 * a for a in both), np.array(0.5))))

ONES, PI = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
VECTORS = [  # counter, key, output: the known answers published with Random123
    ((0, 0, 0, 0), (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ((ONES,) * 4, (ONES,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (PI[:4], PI[4:], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


def known_answer(gpu, to_gpu, counter, key):
    """Four words from the device function itself, for a counter beyond any array's."""
    once = 'extern "C" __global__ void once(unsigned* words, unsigned k0, unsigned k1) {'
    once += " philox(words, k0, k1); }"
    words = to_gpu(np.array(counter, np.uint32))
    kernel = gpu.launch.compiled(gpu.cuda.RANDOM + once, "once", "f")
    gpu.launch.launch(kernel, 1, (1, 1), words, *map(np.uint32, key))
    return words


def check_cupys_ways(x, to_gpu):
    """Where CuPy 14.2, and so its stand-in, differs from NumPy, asked of an array x (2, 3)."""
    for call in (
        lambda: np.eye(2, like=x),
        lambda: np.ones(2, like=x),
        lambda: np.full(2, 1.0, like=x),
        lambda: np.add.at(x, (0, 1), 1.0),
        lambda: np.add.at(x, [0], 1.0),
        lambda: np.add(x, [1.0, 2.0, 3.0]),
        lambda: np.add(x, np.ones(3, x.dtype)),
        lambda: np.sum(x, where=x > 0),
    ):
        with pytest.raises(TypeError):
            call()
    assert np.zeros_like(x, shape=()).shape == np.full_like(x, 0, shape=0).shape == (2, 3)
    assert np.identity(2, like=x).shape == np.zeros((2, 2), like=x).shape == (2, 2)
    for y in (x.T * 2, np.exp(x.T), np.where(x.T > 0, x.T, 0.0), copy.deepcopy(x.T), x.T.copy()):
        assert y.flags.c_contiguous
    for y in (x.T.copy("K"), np.copy(x.T), x.T.astype("float64"), np.empty_like(x.T)):
        assert y.flags.f_contiguous
    rows = to_gpu(np.array([1, 1]))
    x[...] = 0
    device.module(x).add.at(x, (rows, slice(0, 2)), x[:, :2] + 1)
    assert device.to_host(x).tolist() == [[0, 0, 0], [2, 2, 0]]


small = functools.partial(models.dcgan, width=2, latent=3)


def critics(device):
    """A discriminator of the layers that only discriminators have."""
    discriminator = nn.Sequential(
        nn.spectral_norm(nn.Conv2d(1, 2, 4, 4)), nn.LeakyReLU(0.2), nn.MinibatchStdDev(2),
        nn.spectral_norm(nn.Conv2d(3, 4, 3, 2)), nn.Flatten(), nn.MinibatchStdDev(),
        nn.spectral_norm(nn.Linear(37, 6)), nn.Maxout(2), nn.spectral_norm(nn.Linear(3, 1)),
    )  # fmt: skip
    return models.GAN(small().generator, discriminator, 3, objective=losses.hinge, device=device)


MODELS = {
    f"gan {name}": functools.partial(make, latent=3) for name, make in models.MODELS.items()
} | {"gan dcgan": small}
MODELS["gan upsample"] = functools.partial(models.upsample, width=2, latent=3)
MODELS |= {f"vae {name}": functools.partial(make, latent=3) for name, make in models.VAES.items()}
MODELS |= {loss: functools.partial(small, loss=loss, n_critic=2) for loss in models.LOSSES}
MODELS |= {"packed": functools.partial(small, loss="r3gan", packing=2), "critics": critics}
MODELS |= {"augmented": functools.partial(small, augment="flip,shift,colour,cutout")}
MODELS |= {"no noise": functools.partial(models.VAES["mlp"], latent=3, beta=0)}
MODELS |= {
    f"conditional {name}": functools.partial(MODELS[name], classes=3)
    for name in ("gan dcgan", "vae conv")
}
MODELS["colour vae"] = functools.partial(models.VAES["conv"], width=2, latent=3, channels=3)
net = {"width": 8, "hidden": 8, "heads": 1}
MODELS |= {
    f"diffusion {name}": functools.partial(make, **net, steps=2, guidance=1.5, classes=3)
    for name, make in models.DIFFUSIONS.items()
}
MODELS |= {
    f"plane {name}": functools.partial(make, width=8, depth=1, steps=2)
    for name, make in models.PLANES.items()
}
MODELS["diffusion ddpm"] = functools.partial(MODELS["diffusion ddpm"], predict="eps", eta=1.0)
small_text = {"context": 6, "width": 8, "depth": 1, "heads": 2}
MODELS |= {
    f"text {name}": functools.partial(make, **small_text) for name, make in models.TEXTS.items()
}
MODELS["text gpt"] = functools.partial(MODELS["text gpt"], dropout=0.1, positions="rotary")


def classifier(device):
    """Of texts, by what a Transformer says of them behind a prompt that is learnt."""
    model = models.bert(context=8, width=8, depth=1, heads=2, device=device)
    return models.TextClassifier(model, 3, prefix=2, frozen=True)


MODELS["text classes"] = classifier


def trained(name, where, steps=4, wrap=lambda step: step, watch=lambda: None):
    """(the model, the losses of each step, what `watch` gave after each) of so many steps from seed
    0, `wrap` around each.
    """
    random.manual_seed(0)
    model = MODELS[name](device=where)
    for optimizer in model.optimizers:
        # a bias before batch normalisation has gradient 0: do not blow up its rounding
        optimizer.param_groups[0]["eps"] = 1e-3
    random.default.seek(1)
    batches = texts(name, where, steps) if "text" in name else pictures(model, name, where, steps)
    step, history, seen = wrap(model.step), [], []
    for batch in batches:
        watch()
        history.append({k: np.copy(v) for k, v in step(batch).items()})
        random.default.next_step()
        seen.append(watch())
    return model, [{k: float(v) for k, v in loss.items()} for loss in history], seen


def texts(name, where, steps):
    """So many batches of tokens, with labels where they are for classes."""
    tokens = np.random.default_rng(0).integers(0, 256, (steps, 4, 7 if "gpt" in name else 6))
    batches = [device.to(batch, where) for batch in tokens]
    if "classes" in name:
        batches = [(x, device.to(np.array([1, 0, 2, 1]), where)) for x in batches]
    return batches


def pictures(model, name, where, steps):
    """So many batches of images, or points, with labels where there are classes."""
    shape = (2,) if "plane" in name else (3 if "colour" in name else 1, 28, 28)
    shape = steps, 4 if "5x5" not in name else 2, *shape
    real = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    batches = [device.to(batch, where) for batch in real]
    if model.classes:
        labels = [np.array([i, 0, 2, 1], np.uint8) % 3 for i in range(steps)]
        batches = [(x, device.to(y, where)) for x, y in zip(batches, labels)]
    return batches


def state(model):
    """Every array that training changes, on the host."""
    states = {part: thing.state_dict() for part, thing in model.parts().items()}
    return {f"{part}.{k}": device.to_host(a) for part in states for k, a in states[part].items()}


def assert_same_model(ours, theirs, **tolerance):
    """To the last bit unless a tolerance (rtol, atol) says otherwise."""
    ours, theirs = state(ours), state(theirs)
    assert ours.keys() == theirs.keys()
    for name, a in ours.items():
        assert a.dtype == theirs[name].dtype
        np.testing.assert_allclose(theirs[name], a, err_msg=name, **(tolerance or {"rtol": 0}))


def sampler(name, where="gpu", **options):
    """A diffusion of untrained weights, none of them 0, and random numbers of seed 0."""
    random.manual_seed(0)
    model = MODELS[name](device=where, **({"side": 8} if "diffusion" in name else {}), **options)
    for i, p in enumerate(model.average.parameters()):
        noise = np.random.default_rng(i).standard_normal(p.shape).astype(np.float32)
        p.data += 0.1 * device.to(noise, where)
    return model


def eagerly(model, n, **how):
    """Samples that no graph made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "_replayed", lambda self, how: self._whole)
        return device.to_host(model.sample(n, **how))


SAMPLERS = [  # a model, so many samples, and how they are made
    ("diffusion flow", 6, {}),
    ("diffusion flow", 6, {"method": "midpoint", "guidance": 1}),
    ("diffusion ddpm", 6, {}),  # of eta 1: each step draws
    ("diffusion ddpm", 6, {"eta": 0.0}),
    ("plane flow", 600, {}),  # in batches of 250, the last of 100
    ("plane ddpm", 600, {"eta": 1.0}),
]


def same_samples(name, n, how):
    """The model, after it made the same samples as another without a graph and the CPU's did, four
    times in a row.
    """
    eager, captured, cpu = sampler(name), sampler(name), sampler(name, "cpu")
    runs = [], [], []
    for model, made in zip((eager, captured, cpu), runs):
        random.default.seek(1)
        for _ in range(4):
            sample = eagerly if model is eager else type(model).sample
            made.append(device.to_host(sample(model, n, **how)))
    for ours, theirs, host in zip(*runs):
        assert np.array_equal(theirs, ours)
        np.testing.assert_allclose(ours, host, rtol=2e-3, atol=2e-3)
    assert not np.array_equal(runs[1][2], runs[1][3])  # other noise, in a replay too
    return captured

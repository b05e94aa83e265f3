"""`CASES` calls every operation, on arrays away from kinks and ties; tests run over it."""

import math

import numpy as np

from tinygan import device, ops, random
from tinygan.nn import losses
from tinygan.ops import conv


data = np.random.default_rng(0)


def real(*shape):
    """Numbers of both signs from 0.4 to 2, no two alike: away from kinks and ties."""
    n = math.prod(shape)
    x = (data.permutation(n) + 0.5) / max(n, 1) * 3.2 - 1.6 + 0.01 * data.uniform()
    return (x + np.where(x < 0, -0.4, 0.4)).reshape(shape)


def positive(*shape):
    return np.asarray(np.abs(real(*shape)))


def on(x, a):
    """The array, or those in the tuple, where x lives."""
    if isinstance(a, tuple):
        return tuple(on(x, i) for i in a)
    return device.to_device_of(a, ops.raw(x)) if isinstance(a, np.ndarray) else a


mask, rows = np.array([[True, False, True], [False, False, True]]), np.array([2, 0, 2])
PAIRS = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
]
PAIRS += [((0, 3), (1, 3))]
AXES = [
    ((2, 3), {}),
    ((2, 3), {"axis": 1}),
    ((2, 3, 2), {"axis": (0, -1), "keepdims": True}),
    ((), {}),
]
AXES += [((2, 3, 4), {"axis": (0, 1)})]  # the axes in an order that is not its own inverse
AXES += [
    ((2, 3, 2), {"axis": (2, 0)}),
    ((2, 3), {"axis": -2, "keepdims": True}),
    ((1, 3), {"axis": 0}),
]
EMPTY = [((0, 3), {"axis": 0}), ((0, 3), {})]


def pairs(f, make=real, shapes=PAIRS):
    return [(f, make(*a), np.asarray(real(*b) * 1.07)) for a, b in shapes]


def each(f, make=real, shapes=((2, 3), (), (0, 2))):
    return [(f, make(*shape)) for shape in shapes]


def along(op, extra=()):
    return [
        (lambda x, options=options: op(x, **options), shape) for shape, options in (*AXES, *extra)
    ]


def indexed(*indices):
    return [(lambda x, i=i: x[on(x, i)], (2, 3)) for i in indices]


def where_first(x):
    return ops.where(on(x, np.array([[True], [False]])), x, -np.inf)


def turned(x):
    angles = np.arange(6).reshape(3, 2).astype(x.dtype)
    return ops.attention._turned(x, *on(x, (np.cos(angles), np.sin(angles))))


def normalised(x, weight=None, bias=None, eps=1e-5):
    return ops.batch_norm(x, None, None, weight, bias, True, eps=eps)


def normalised_by_running(x, weight=None, bias=None):
    return ops.batch_norm(
        x, on(x, np.ones(2, x.dtype)), on(x, np.full(2, 3, x.dtype)), weight, bias
    )


geometry = conv.Geometry(size=(2, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=1)


def _dropped(x):
    """The same elements at each call."""
    random.default.seek(1)
    return ops.dropout(x, 0.4)


CASES = {  # a function and its arguments: arrays, or the shapes of arrays
    "add": pairs(ops.add) + [(lambda x: 2 + x, (3,)), (lambda x: x + x, (3,))],
    "subtract": pairs(ops.subtract) + [(lambda x: 2 - x, (3,))],
    "multiply": pairs(ops.multiply) + [(lambda x: x * 3, (3,)), (lambda x: x * x * x, (3,))],
    "divide": pairs(ops.divide) + [(lambda x: 1 / x, (3,)), (lambda x: x / 3, (3,))],
    "negative": each(ops.negative),
    "power": pairs(ops.power, positive)
    + [(lambda x, n=n: x**n, (2, 3)) for n in (-1, 0, 1, 2, 3)]
    + [(lambda x, n=n: x**n, positive(3)) for n in (-1.5, 2.5)],
    "exp": each(ops.exp),
    "log": each(ops.log, positive),
    "sqrt": each(ops.sqrt, positive),
    "sin": each(ops.sin),
    "cos": each(ops.cos),
    "abs": each(ops.abs),
    "maximum": pairs(ops.maximum) + [(lambda x: ops.maximum(x, 0.3), (3,))],
    "minimum": pairs(ops.minimum) + [(lambda x: ops.minimum(0.3, x), (3,))],
    "where": pairs(lambda x, y: ops.where(on(x, mask), x, y), shapes=PAIRS[:-1])
    + [(lambda x: ops.where(on(x, mask[0]), x, 1.0), (2, 3))],
    "xlogy": [(ops.xlogy, real(*a), positive(*b)) for a, b in PAIRS]
    + [(lambda y: ops.xlogy(2, y), positive(3))],
    "clip": [
        (lambda x: ops.clip(x, -1.1, 0.93), (2, 3)),
        (lambda x: ops.clip(x, max=0.9), ()),
        (lambda x: ops.clip(x, 0), (0,)),
    ],
    "astype": [(lambda x: ops.astype(x * 2, x.dtype), (2, 3))],
    "broadcast_to": [
        (lambda x: ops.broadcast_to(x, (2, 3)), shape) for shape in ((3,), (2, 1), (), (2, 3))
    ],
    "sum": along(ops.sum, EMPTY),
    "mean": along(ops.mean),
    "std": along(ops.std, [((2, 3), {"axis": 1, "correction": 1})])[1:3],
    "cumsum": [(lambda x, i=i: ops.cumsum(x, i), (2, 3)) for i in (0, -1)]
    + [(lambda x: ops.cumsum(x, 0), (0, 2))],
    "var": along(ops.var) + [(lambda x: ops.var(x, 1, correction=1), (2, 3))],
    "vector_norm": along(ops.vector_norm),
    "prod": along(ops.prod, EMPTY)
    + [(ops.prod, np.array([0.0, 2.0, 0.0])), (ops.prod, np.array([0.0, 2.0, 3.0]))],
    "max": along(ops.max),
    "min": along(ops.min),
    "logsumexp": along(ops.logsumexp),
    "reshape": [
        (lambda x: ops.reshape(x, (3, -1)), (2, 3)),
        (lambda x: ops.reshape(x, (1, 1)), ()),
    ],
    "transpose": [
        (lambda x, axes=axes: ops.transpose(x, axes), (2, 3, 2))
        for axes in (None, (1, 2, 0), (-1, 0, 1))
    ],
    "squeeze": [
        (ops.squeeze, (1, 3, 1)),
        (lambda x: ops.squeeze(x, (0, 1)), (1, 3, 1)),
        (lambda x: ops.squeeze(x, -1), (1, 1)),
    ],
    "unsqueeze": [(lambda x, i=i: ops.unsqueeze(x, i), (2, 3)) for i in (0, 1, 2, -1)]
    + [(lambda x: ops.unsqueeze(x, 0), ())],
    "flip": [(lambda x, i=i: ops.flip(x, i), (2, 3)) for i in (0, -1)],
    "swapaxes": [(lambda x: ops.swapaxes(x, 0, -1), (2, 3, 2))],
    "getitem": indexed(
        0,
        (1, 2),
        slice(None, None, -2),
        (..., 1),
        (None, slice(1)),
        ...,
        None,
        slice(0, 0),
        mask,
        mask & False,
    )
    + indexed(
        (slice(None), rows),
        (..., None, rows),
        (0, rows),
        ([0, 1, 1], [2, 2, 2]),
        ([0, 0], slice(1, 3)),
    )
    + indexed(np.array([[1, 1], [0, 1]])),
    "pad": [(lambda x: ops.pad(x, ((1, 0), (0, 2))), (2, 3)), (lambda x: ops.pad(x, ()), ())],
    "concatenate": [
        (lambda x, y, i=i: ops.concatenate([x, y, x], i), a, b)
        for a, b, i in (((2, 3), (1, 3), 0), ((2, 1), (2, 3), -1), ((2, 0), (2, 2), 1))
    ],
    "stack": [(lambda x, y, i=i: ops.stack([x, y, x], i), (2, 3), (2, 3)) for i in (0, 1, -1)]
    + [(lambda x: ops.stack([x, x]), ())],
    "flatten": [
        (ops.flatten, (2, 3, 2)),
        (lambda x: ops.flatten(x, 0, 1), (2, 3, 2)),
        (lambda x: ops.flatten(x, -2), (2, 3)),
    ],
    "matmul": [
        (ops.matmul, a, b)
        for a, b in (
            ((2, 3), (3, 2)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((2, 2, 3), (3, 2)),
            ((2, 3), (2, 3, 2)),
            ((3,), (2, 3, 2)),
            ((2, 2, 3), (3,)),
            ((2, 1, 2, 3), (3, 3, 1)),
            ((0, 3), (3, 2)),
            ((2, 0), (0, 2)),
            ((2, 2, 2), (1, 2, 2)),
        )
    ],
    "einsum": [
        (lambda *xs, s=s: ops.einsum(s, *xs), *shapes)
        for s, *shapes in (
            ("ij,jk->ik", (2, 3), (3, 2)),
            ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
            ("...ij,...jk", (2, 2, 3), (2, 3, 2)),
            ("...ij,jk->k...i", (2, 2, 3), (3, 2)),
            ("ij->", (2, 3)),
            ("ijk->ki", (2, 3, 2)),
            ("ij,kl->k", (2, 3), (1, 4)),
            ("i,i,i->", (3,), (3,), (3,)),
            ("ji,ki,jk->ij", (2, 3), (2, 3), (2, 2)),
            ("ij,jk", (0, 3), (3, 2)),
            ("i,j", (2,), (3,)),
        )
    ],
    "linear": [
        (ops.linear, *shapes)
        for shapes in (
            ((2, 3), (4, 3), (4,)),
            ((2, 2, 3), (2, 3)),
            ((3,), (2, 3), (2,)),
            ((0, 3), (2, 3), (2,)),
        )
    ],
    "leaky_relu": each(ops.leaky_relu)
    + each(lambda x: ops.leaky_relu(x, 0.2))
    + each(lambda x: ops.leaky_relu(x**3, negative_slope=0.3)),
    "relu": each(ops.relu) + each(lambda x: ops.relu(x) ** 2),
    "tanh": each(ops.tanh),
    "sigmoid": each(ops.sigmoid),
    "softplus": each(ops.softplus),
    "softmax": [(lambda x, i=i: ops.softmax(x, i), (2, 3)) for i in (0, -1)]
    + [(ops.softmax, (0, 3))],
    "log_softmax": [(lambda x, i=i: ops.log_softmax(x, i), (2, 3)) for i in (0, -1)]
    + [(ops.log_softmax, (0, 3))],
    "elu": each(ops.elu) + each(lambda x: ops.elu(x, 0.5)),
    "gelu": each(ops.gelu) + each(lambda x: ops.gelu(x, "tanh")),
    "silu": each(ops.silu),
    "max_pool2d": [
        (lambda x: ops.max_pool2d(x, 2), (2, 2, 4, 5)),
        (lambda x: ops.max_pool2d(x, (3, 2), 2, 1), (1, 2, 4, 4)),
        (lambda x: ops.max_pool2d(x, 2, 1), (1, 1, 3, 3)),
        (lambda x: ops.max_pool2d(x, 2), (0, 2, 2, 2)),
    ],
    "avg_pool2d": [
        (lambda x: ops.avg_pool2d(x, 2), (2, 2, 4, 5)),
        (lambda x: ops.avg_pool2d(x, 3, 2, 1), (1, 2, 4, 4)),
    ],
    "adaptive_avg_pool2d": [(lambda x: ops.adaptive_avg_pool2d(x, (2, 1)), (2, 2, 3, 4))],
    "interpolate": [
        (lambda x: ops.interpolate(x, scale_factor=2), (1, 2, 2, 3)),
        (lambda x: ops.interpolate(x, 3), (1, 2, 2, 2)),
        (lambda x: ops.interpolate(x, (3, 4), mode="bilinear"), (1, 2, 2, 3)),
        (lambda x: ops.interpolate(x, (3, 4), None, "bilinear", True), (1, 2, 2, 3)),
    ],
    "pad2d": [
        (lambda x, mode=mode: ops.pad2d(x, (1, 2, 0, 2), mode), (1, 2, 3, 3))
        for mode in ("constant", "reflect", "replicate", "circular")
    ],
    "augment": [  # each call draws the same numbers
        (lambda x, name=name: ops.augment(x, name, random.Generator(1)), (2, 2, 4, 5))
        for name in ("flip", "shift", "colour", "cutout", "shift,colour,flip")
    ],
    "pixel_shuffle": [(lambda x: ops.pixel_shuffle(x, 2), (1, 8, 2, 3))],
    "pixel_unshuffle": [(lambda x: ops.pixel_unshuffle(x, 2), (1, 2, 4, 6))],
    "scaled_dot_product_attention": [
        (ops.scaled_dot_product_attention, (2, 3), (4, 3), (4, 2)),
        (ops.scaled_dot_product_attention, (2, 1, 3, 2), (2, 4, 2), (1, 4, 3)),
        (lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True), *[(3, 2)] * 3),
        (
            lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, on(q, mask), scale=0.7),
            (2, 3),
            (3, 3),
            (3, 2),
        ),
        (  # a bias that learns, and a query that may look nowhere
            lambda q, k, v, b: ops.scaled_dot_product_attention(q, k, v, where_first(b)),
            *[(2, 3)] * 3,
            (2, 1),
        ),
        (
            lambda q, k: ops.attention_weights(q, k, on(q, mask) & False, is_causal=True),
            (2, 1),
            (3, 1),
        ),
        (lambda q, k: ops.attention_weights(q, k, is_causal=True), (2, 4, 2), (3, 2)),
        (ops.scaled_dot_product_attention, (2, 1, 3), (2, 1, 3), (2, 1, 2)),
        (  # queries turned by their places
            lambda q, k, v: ops.scaled_dot_product_attention(turned(q), turned(k), v),
            *[(1, 3, 4)] * 3,
        ),
        (ops.scaled_dot_product_attention, (2, 3), (0, 3), (0, 2)),
        (ops.scaled_dot_product_attention, (0, 3), (2, 3), (2, 2)),
        (
            lambda q: ops.scaled_dot_product_attention(
                q, q * q, q, on(q, np.eye(3).astype(q.dtype))
            ),
            (3, 2),
        ),
    ],
    "conv1d": [
        (lambda x, w, b: ops.conv1d(x, w, b, 2, 1, 2, 2), (2, 2, 7), (4, 1, 3), (4,)),
        (lambda x, w: ops.conv1d(x, w, padding="same"), (1, 2, 5), (1, 2, 2)),
    ],
    "conv_transpose1d": [
        (lambda x, w, b: ops.conv_transpose1d(x, w, b, 2, 1, 1, 2), (1, 2, 3), (2, 1, 3), (2,))
    ],
    "group_norm": [
        (lambda x, w, b: ops.group_norm(x, 2, w, b), (2, 4, 3), (4,), (4,)),
        (lambda x, w, b: ops.group_norm(x, 2, w, b), (2, 4, 2, 1), (2, 4), (2, 4)),
        (lambda x, w, b: ops.group_norm(x, 2, w, b), (3, 2, 3), (2,), (3, 2)),
        (lambda x: ops.group_norm(x, 2), (2, 6)),
    ],
    "conv2d": [
        (lambda x, w, b: ops.conv2d(x, w, b, 2, 1, groups=2), (1, 2, 3, 4), (4, 1, 2, 3), (4,))
    ],
    "conv_transpose2d": [
        (
            lambda x, w, b: ops.conv_transpose2d(x, w, b, (2, 1), 1, (1, 0), 2),
            (1, 2, 2, 2),
            (2, 1, 2, 3),
            (2,),
        )
    ],
    "_filter": [(lambda x, y: conv._filter(x, y, geometry), (2, 1, 3, 4), (2, 2, 2, 2))],
    "batch_norm": [(normalised, shape, (2,), (2,)) for shape in ((4, 2), (2, 2, 3), (2, 2, 2, 1))]
    + [(lambda x: normalised(x, eps=0.5), (3, 2))]
    + [(normalised_by_running, (2, 2, 2), (2,), (2,)), (normalised_by_running, (3, 2))],
    "layer_norm": [(lambda x, w, b: ops.layer_norm(x, 3, w, b), (2, 3), (3,), (3,))]
    + [(lambda x: ops.layer_norm(x, (2, 2)), (2, 2, 2))],
    "losses": [
        (
            lambda x, t: losses.binary_cross_entropy_with_logits(x, t, reduction="none"),
            (2, 3),
            positive(2, 3),
        ),
        (lambda x: losses.cross_entropy(x, on(x, rows)), (3, 3)),
        (losses.gaussian_kl, (2, 3), (2, 3)),
        (
            lambda x: losses.cross_entropy(
                x, on(x, rows), on(x, np.ones(3, x.dtype)), 2, "sum", 0.1
            ),
            (3, 3),
        ),
        (lambda x, t: losses.binary_cross_entropy(x, t), positive(2, 3) / 3, positive(2, 3) / 3),
    ],
    "attention_weights": [(ops.attention_weights, (2, 3), (4, 3))],
    "dropout": [(_dropped, (3, 4)), (_dropped, (2, 3, 2, 2))],
}
ALL = {
    f"{name}-{i}": (f, [real(*a) if isinstance(a, tuple) else a for a in arguments])
    for name, cases in CASES.items()
    for i, (f, *arguments) in enumerate(cases)
}

"""What each operation becomes in ONNX: a function of the graph, the call's result, and the
arguments that the operation itself has.

Those that are one node of the same arguments are a row of a dict; the others follow in groups, as
in `ops`; `indexing` has x[index]. The operations are the primitives of `ops`, the private ones too,
of which the public are made.
"""

import math

import numpy as np

from ..ops import activations, arith, attention, conv, derived, norm, rectifiers, reduce
from ..ops import groups as by_group, shape as shapes
from ..ops.linear import _linear as linear, _matmul as matmul
from .trace import UNKNOWN, Size, Value

SAME = {
    arith.abs: "Abs",
    arith.add: "Add",
    arith.cos: "Cos",
    arith.divide: "Div",
    arith.exp: "Exp",
    arith.log: "Log",
    arith.maximum: "Max",
    arith.minimum: "Min",
    arith.multiply: "Mul",
    arith.negative: "Neg",
    arith.power: "Pow",
    arith.sin: "Sin",
    arith.sqrt: "Sqrt",
    arith.subtract: "Sub",
    activations.sigmoid: "Sigmoid",
    activations.softplus: "Softplus",
    activations.tanh: "Tanh",
    matmul: "MatMul",
}
REDUCED = {  # those that take axes
    reduce.sum: "ReduceSum",
    reduce.max: "ReduceMax",
    reduce.min: "ReduceMin",
    reduce.logsumexp: "ReduceLogSumExp",
    derived.prod: "ReduceProd",
    derived.vector_norm: "ReduceL2",
}
TABLE = {}


def becomes(operation):
    """Decorate what writes an operation: f(graph, out, *args, **kwargs) -> a node's name."""

    def decorate(f):
        TABLE[operation] = f
        return f

    return decorate


def _same(kind):
    return lambda graph, out, *args: graph.node(kind, *args)


def _reduction(kind):
    def reduced(graph, out, x, axis=None, keepdims=False):
        if axis is None:
            axis = tuple(range(len(x.shape)))
        axes = axis if isinstance(axis, tuple) else (axis,)
        if not axes:  # over nothing, which ONNX takes for everything
            graph.refuse("over no axis has no counterpart in ONNX")
        return graph.node(kind, x, graph.integers(axes), keepdims=int(keepdims))

    return reduced


@becomes(reduce._var)
def _var(graph, out, x, axis=None, keepdims=False):
    axis = tuple(range(len(x.shape))) if axis is None else axis
    mean = _reduction("ReduceMean")(graph, out, x, axis, keepdims=True)
    return _reduction("ReduceSumSquare")(graph, out, graph.node("Sub", x, mean), axis, keepdims)


TABLE |= {op: _same(kind) for op, kind in SAME.items()}
TABLE |= {op: _reduction(kind) for op, kind in REDUCED.items()}

# Element by element


@becomes(arith.where)
def _where(graph, out, condition, x, y):
    if isinstance(x, Value) and isinstance(y, Value) and x == y:
        return graph.take(x)  # as in an embedding, whose rows are the same either way
    if condition is UNKNOWN:
        graph.take(UNKNOWN)
    if isinstance(condition, Value):
        condition = graph.node("Cast", condition, to=graph.onnx.TensorProto.BOOL)
    else:
        condition = np.asarray(condition, bool)
    return graph.node("Where", condition, x, y)


@becomes(arith._clip)
def _clip(graph, out, x, low, high):
    name = graph.take(x)
    for kind, bound in (("Max", low), ("Min", high)):
        name = name if bound is None else graph.node(kind, name, bound)
    return name


@becomes(arith._astype)
def _astype(graph, out, x, dtype):
    if dtype != np.float32:
        graph.refuse(f"to {dtype} has no place in a graph of float32")
    return graph.take(x)


@becomes(activations._leaky)
def _leaky(graph, out, x, at, slope):
    if not isinstance(at, Value) or at != x:  # as in derivatives
        above = graph.node("Greater", at, 0.0)
        return graph.node("Where", above, x, graph.node("Mul", x, float(slope)))
    if not slope:
        return graph.node("Relu", x)
    return graph.node("LeakyRelu", x, alpha=float(slope))


@becomes(rectifiers._gelu)
def _gelu(graph, out, x):
    erf = graph.node("Erf", graph.node("Mul", x, math.sqrt(0.5)))
    return graph.node("Mul", x, graph.node("Mul", graph.node("Add", erf, 1.0), 0.5))


@becomes(rectifiers._gelu_tanh)
def _gelu_tanh(graph, out, x):
    square = graph.node("Mul", graph.node("Mul", x, x), rectifiers.CUBE)
    slope = graph.node("Add", square, rectifiers.SLOPE)
    return graph.node("Mul", x, graph.node("Sigmoid", graph.node("Mul", x, slope)))


@becomes(rectifiers.silu)
def _silu(graph, out, x):
    return graph.node("Mul", x, graph.node("Sigmoid", x))


# Over an axis


@becomes(activations.softmax)
def _softmax(graph, out, x, axis=-1):
    return graph.node("Softmax", x, axis=axis)


@becomes(activations.log_softmax)
def _log_softmax(graph, out, x, axis=-1):
    return graph.node("LogSoftmax", x, axis=axis)


@becomes(attention._softmax_rows)
def _softmax_rows(graph, out, x, *, scale, causal):
    """With 0 for what is -inf: a row of nothing else would be NaN."""
    x = graph.node("Mul", x, float(scale))
    if causal:
        row, column = (np.arange(n) for n in out.shape[-2:])
        x = graph.node("Where", column <= row[:, None], x, -np.inf)
    least = float(np.finfo(np.float32).min)
    p = graph.node("Softmax", graph.node("Max", x, least), axis=-1)
    return graph.node("Where", graph.node("Less", x, least), 0.0, p)


@becomes(attention._turned)
def _turned(graph, out, x, cos, sin):
    turned = np.kron(np.array([[0, 1], [-1, 0]], cos.dtype), np.identity(cos.shape[1], cos.dtype))
    s = graph.node("MatMul", x, turned)  # with -b, a for each pair a, b of x
    cos, sin = (np.concatenate([a, a], axis=1) for a in (cos, sin))
    return graph.node("Add", graph.node("Mul", x, cos), graph.node("Mul", s, sin))


@becomes(derived._cumsum)
def _cumsum(graph, out, x, axis):
    return graph.node("CumSum", x, graph.initializer(np.array(axis, np.int64)))


@becomes(norm._batch_norm)
def _batch_norm(graph, out, x, weight, bias, *, center, inv, eps, across):
    """By the batch's own statistics, which follow from x."""
    axes = graph.integers([i for i in range(len(x.shape)) if i != 1])
    d = graph.node("Sub", x, graph.node("ReduceMean", x, axes))
    variance = graph.node("ReduceMean", graph.node("Mul", d, d), axes)
    scale = graph.node("Sqrt", graph.node("Add", variance, float(eps)))
    column = graph.integers([-1] + [1] * (len(x.shape) - 2))
    weight, bias = (graph.node("Reshape", a, column) for a in (weight, bias))
    normal = graph.node("Div", d, scale)
    return graph.node("Add", graph.node("Mul", normal, weight), bias)


@becomes(by_group._layer_norm)
def _layer_norm(graph, out, x, weight, bias, *, eps):
    axes = graph.integers(range(len(x.shape) - len(weight.shape), len(x.shape)))
    d = graph.node("Sub", x, graph.node("ReduceMean", x, axes))
    variance = graph.node("ReduceMean", graph.node("Mul", d, d), axes)
    normal = graph.node("Div", d, graph.node("Sqrt", graph.node("Add", variance, float(eps))))
    return graph.node("Add", graph.node("Mul", normal, weight), bias)


@becomes(by_group._group_norm)
def _group_norm(graph, out, x, weight, bias, *, groups, center, inv, eps):
    """By each group's own statistics, with each group as one row: a size of 0 is x's own."""
    rows = graph.node("Reshape", x, graph.integers([0, groups, -1]))
    axes = graph.integers([2])
    d = graph.node("Sub", rows, graph.node("ReduceMean", rows, axes))
    variance = graph.node("ReduceMean", graph.node("Mul", d, d), axes)
    scale = graph.node("Sqrt", graph.node("Add", variance, float(eps)))
    pixels = [1] * (len(x.shape) - 2)
    shape = graph.integers([0, x.shape[1], *x.shape[2:]])
    column = graph.integers([-1, x.shape[1], *pixels])
    normal = graph.node("Reshape", graph.node("Div", d, scale), shape)
    weight, bias = (graph.node("Reshape", a, column) for a in (weight, bias))
    return graph.node("Add", graph.node("Mul", normal, weight), bias)


# Products


@becomes(linear)
def _linear(graph, out, x, w, b=None):
    return graph.node("Gemm", x, w, b, transB=1)


def _spatial(geometry):
    """The attributes that both convolutions have."""
    return {
        "strides": geometry.stride,
        "pads": geometry.padding * 2,
        "dilations": geometry.dilation,
        "group": geometry.groups,
    }


@becomes(conv._conv)
def _conv(graph, out, x, w, b, geometry):
    return graph.node("Conv", x, w, b, **_spatial(geometry))


@becomes(conv._transposed)
def _transposed(graph, out, y, w, b, geometry):
    """With `extra` pixels at the end, which ONNX allows where they are fewer than the stride. With
    dilation there may be more: then the whole is made, and its edges taken away or zeros added.
    """
    if not all(isinstance(n, int) for n in (*geometry.size, *y.shape[2:])):
        graph.refuse("of pictures whose size is the batch's has no counterpart in ONNX")
    axes = zip(geometry.size, y.shape[2:], w.shape[2:], *geometry[1:4])
    extra = [size - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for size, n, k, s, p, d in axes]
    options = _spatial(geometry)
    if all(e < s for e, s in zip(extra, geometry.stride)):
        return graph.node("ConvTranspose", y, w, b, **options, output_padding=extra)
    name = graph.node("ConvTranspose", y, w, **options | {"pads": [0] * 4})
    before = [-p for p in geometry.padding]
    after = [e - p for e, p in zip(extra, geometry.padding)]
    name = graph.node("Pad", name, graph.integers([0, 0, *before, 0, 0, *after]))
    if b is None:
        return name
    return graph.node("Add", name, graph.node("Reshape", b, graph.integers([-1, 1, 1])))


# Shapes


@becomes(shapes.reshape)
def _reshape(graph, out, x, shape):
    sizes = [-1 if isinstance(n, Size) else n for n in out.shape]  # -1: what is left over
    if sizes.count(-1) > 1 or 0 in sizes:  # of nothing, nothing is left over
        sizes = out.shape
    options = {"allowzero": 1} if 0 in sizes else {}  # else a 0 is the size that was there
    return graph.node("Reshape", x, graph.integers(sizes), **options)


@becomes(shapes.transpose)
def _transpose(graph, out, x, axes=None):
    if len(x.shape) < 2:
        return graph.take(x)
    axes = range(len(x.shape))[::-1] if axes is None else [a % len(x.shape) for a in axes]
    return graph.node("Transpose", x, perm=[*axes])


@becomes(arith.broadcast_to)
def _broadcast_to(graph, out, x, shape):
    return graph.node("Expand", x, graph.integers(out.shape))


@becomes(shapes._concatenate)
def _concatenate(graph, out, *xs, axis):
    return graph.node("Concat", *xs, axis=axis)

"""A network as an ONNX graph (https://onnx.ai/onnx/operators): what the tape of its forward pass
calls, call by call, in the words of `operations` and `layers`, which say what becomes of each.
"""

import collections
import warnings

import numpy as np

from .. import __version__, files
from ..arrays import describe
from ..autograd import Tensor
from ..device import is_array
from ..extras import package
from ..nn import Module
from . import indexing, layers, operations
from .text import is_text, is_text_by_name
from .trace import UNKNOWN, ExportError, Root, Size, Value, trace

OPSET = 18  # the first in which all reductions take their axes alike
WRITERS = operations.TABLE | indexing.TABLE
MOST = (1 << 31) - (1 << 20)  # bytes that a protobuf may have, less the graph's own


def export_onnx(
    net, inputs, path, opset=OPSET, input_names=None, output_names=None, metadata=None
):  # fmt: skip
    """Replace `path` by the ONNX graph of a module in eval mode; the module stays as it is.

    inputs: an example, or a tuple of one for each argument: arrays (n, ...) of floats, or of whole
    numbers, such as labels. The first axis is the batch, and the graph takes any; other sizes are
    fixed. Weights are float32, by their state_dict names. opset: 18 or a newer one. metadata: {str:
    str}, kept in the file.

    The length of texts is fixed too. A causal `models.Transformer` is exported with as many tokens
    as its context has: a shorter text may have any tokens behind it, which its own scores do not
    depend on. One that looks both ways is exported once for each length.

    Batches of 1, 2, 3, 17 and 257 (67 where those take more than a gigabyte) are tried: a size that
    bends between those, such as min(n, 32), is refused where it matters; one that bends beyond is
    taken for what it is up to there. Their numbers lie between the example's least and greatest (or
    about it, where it is one number); in some passes they are 0, or 1000 times as far above, or
    below. Python's `if` on values goes the way that it goes for those: where all go one way, the
    graph goes that way for every input.

    What depends on an input's values otherwise than by operations (a comparison, an index, noise)
    is on no tape: a ValueError, an ExportError, names the operation and the layer, as it does what
    ONNX has not. Layers that compare (ELU, PReLU, MaxPool2d) are known as a whole. ImportError
    without onnx.

    Not the same there: onnxruntime's max, min and max pooling pass NaN over, which here is what
    they give; and a label of -1, an IndexError here, is the last row of an embedding.
    """
    onnx = package("onnx", "tinygan[io]")
    if not isinstance(net, Module):
        raise TypeError(f"export_onnx: needs a Module, got {describe(net):.80}")
    latest = onnx.defs.onnx_opset_version()
    if not isinstance(opset, int) or not OPSET <= opset <= latest:
        raise ExportError(f"export_onnx: opset must be from {OPSET} to {latest}, got {opset!r}")
    if any(a.dtype == np.float64 for a in net.state_dict().values()):
        warnings.warn("export_onnx: weights of float64 are written as float32", stacklevel=2)
    metadata = {} if metadata is None else metadata
    if not is_text_by_name(metadata):
        raise ExportError(f"export_onnx: metadata must be text by name, got {metadata!r:.80}")
    examples = inputs if isinstance(inputs, tuple | list) else (inputs,)
    found = trace(net, examples, layers.whole)
    names = (
        _names("input", input_names, found.inputs),
        _names("output", output_names, found.outputs),
    )
    graph = Graph(onnx, found, *names)
    for call in found.calls:
        graph.call(call)
    model = graph.model(opset)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    with files.replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _names(word, given, values):
    """The names of inputs or outputs: those given, or "input", or "input_0", "input_1", ..."""
    if given is None:
        count = len(values)
        return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]
    given = [given] if isinstance(given, str) else list(given)
    if odd := [a for a in given if not is_text(a) or not a or a.startswith("/")]:
        raise ExportError(
            f"export_onnx: {odd[0]!r:.80} is no name of an {word}: text, which begins with no /"
        )
    if len({*given}) != len(values):
        raise ExportError(f"export_onnx: {len(values)} {word}s need as many names, got {given}")
    return given


class Graph:
    """The graph as it grows. `operations` and `layers` say what to add by `node`."""

    def __init__(self, onnx, found, inputs, outputs):
        self.onnx, self.found, self.outputs = onnx, found, outputs
        self.nodes, self.initializers, self.current = [], {}, None
        self.names = {v.key: name for v, name in zip(found.inputs, inputs)}
        self.state = {id(a): name for name, a in reversed(found.net.state_dict().items())}
        self.counts = collections.Counter()
        self.constants = {}  # the names of arrays that have none in the network
        names = [*inputs, *outputs, *{*self.state.values()}]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ExportError(f"export_onnx: {twice[0]!r} would be the name of two things")

    def call(self, call):
        """Add what a call becomes."""
        self.current = call
        layer = getattr(call.op, "layer", None)
        if layer is not None:
            name = layers.TABLE[type(layer)].nodes(self, layer, *call.args, call.out)
        elif call.op in WRITERS:
            name = WRITERS[call.op](self, call.out, *call.args, **call.kwargs)
        else:
            self.refuse("has no counterpart in ONNX")
        self.names[call.out.key] = name

    def refuse(self, why):
        """ExportError about the call that is being written, or about an output."""
        if self.current is None:
            raise ExportError(f"export_onnx: an output of the network {why}")
        name, layer = self.current.op.__name__.strip("_"), self.current.layer
        modules = dict(self.found.net.named_modules())
        kind = type(modules[layer]).__name__
        where = f"in layer {layer} ({kind})" if layer else f"in {kind}"
        raise ExportError(f"export_onnx: {name}, {where}, {why}")

    def node(self, kind, *inputs, **attributes):
        """Add a node of one output; its name. inputs: names, or what `take` takes."""
        where = f"{self.current.layer}/{kind}" if self.current else kind
        self.counts[where] += 1
        name = f"/{where}_{self.counts[where]}"
        taken = [a if isinstance(a, str) else self.take(a) for a in inputs]
        while taken[-1] == "":
            taken.pop()
        made = self.onnx.helper.make_node(kind, taken, [name], name=name, **attributes)
        self.nodes.append(made)
        return name

    def take(self, a):
        """The name of a Value, Parameter, array or number in the graph; "" for None."""
        if a is None:
            return ""
        if a is UNKNOWN:
            self.refuse(
                "is given what follows from an input's values, or the batch, by a comparison, an"
                " index, NumPy or chance, which is on no tape; the layers nn.ELU, nn.PReLU and"
                " nn.MaxPool2d, which compare, are known as a whole"
            )
        if isinstance(a, Value):
            return self.names[a.key]
        if isinstance(a, Root):
            return self.node("Sqrt", a.size)
        if isinstance(a, Size):
            number = self.node("Squeeze", self.size(a))
            return self.node("Cast", number, to=self.onnx.TensorProto.FLOAT)
        a = a.data if isinstance(a, Tensor) else a
        if is_array(a):
            return self.initializer(a if a.dtype == bool else np.asarray(a, np.float32), a)
        return self.initializer(np.array(a, np.float32))

    def integers(self, numbers):
        """The name of whole numbers, some of which may be Sizes, as int64: an array, or a list."""
        if isinstance(numbers, Value):
            return self.take(numbers)
        if is_array(numbers):
            return self.initializer(np.asarray(numbers, np.int64))
        if any(n is UNKNOWN for n in numbers):
            self.take(UNKNOWN)
        if not any(isinstance(n, Size) for n in numbers):
            return self.initializer(np.array(numbers, np.int64))
        parts = [self.size(n) if isinstance(n, Size) else self.integers([n]) for n in numbers]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def size(self, size):
        """The name of a Size as an int64 of shape (1,)."""
        first = self.names[self.found.inputs[0].key]
        name = self.node("Shape", first, start=0, end=1)
        if size.times != 1:
            name = self.node("Mul", name, self.integers([size.times]))
        return self.node("Add", name, self.integers([size.plus])) if size.plus else name

    def initializer(self, a, origin=None):
        """The name of an array in the graph: its state_dict name, if it has one."""
        name = self.state.get(id(origin))
        if name is None:
            key = (a.dtype.str, a.shape, a.tobytes())
            name = self.constants.setdefault(key, f"/constant_{len(self.constants)}")
        self.initializers[name] = a
        return name

    def model(self, opset):
        """The ModelProto of what was added."""
        helper = self.onnx.helper
        self._name_outputs()
        total = sum(a.nbytes for a in self.initializers.values())
        if total > MOST:
            raise ExportError(f"export_onnx: {total} bytes of weights: a file holds {MOST}")

        def end(name, value, dtype):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            shape = [_dimension(n) for n in value.shape]
            return helper.make_tensor_value_info(name, kind, shape)

        inputs = [self.names[value.key] for value in self.found.inputs]
        inputs = [*map(end, inputs, self.found.inputs, self.found.dtypes)]
        outputs = [end(*named, np.float32) for named in zip(self.outputs, self.found.outputs)]
        arrays = [_tensor(self.onnx, name, a) for name, a in self.initializers.items()]
        graph = helper.make_graph(self.nodes, "tinygan", inputs, outputs, arrays)
        imports = [helper.make_opsetid("", opset)]
        made_by = {"producer_name": "tinygan", "producer_version": __version__}
        version = helper.find_min_ir_version_for(imports)
        return helper.make_model(graph, opset_imports=imports, ir_version=version, **made_by)

    def _name_outputs(self):
        """Give the nodes that make the outputs their names; what is no node's, or has a name by
        now, is copied.
        """
        self.current = None
        made, renamed = {node.output[0] for node in self.nodes}, {}
        for value, name in zip(self.found.outputs, self.outputs):
            source = self.take(value)
            if source in made and source not in renamed:
                renamed[source] = name
            else:
                copied = self.node("Identity", source)
                renamed[copied] = name
        for node in self.nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]


def _tensor(onnx, name, a):
    return onnx.numpy_helper.from_array(np.asarray(a, order="C"), name)


def _dimension(n):
    """A size as ONNX has it: a number, a name for the batch, or None for another that moves."""
    if isinstance(n, int):
        return n
    return "batch" if n == Size(1, 0) else None

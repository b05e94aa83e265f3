"""Raw arrays where they meet the graph: which may become a Tensor, what those of one call must have
in common, whose memory a gradient has, how a state is copied in, and how errors describe them.

Nearly every call is of arrays of one dtype, and passes this room by. It knows no graph: a Tensor is
to it a thing with `data`, `shape` and `dtype`.
"""

import itertools

import numpy as np

from .device import KNOWN, is_array, module, of, to_device_of

NumPyArray, NumPyScalar = np.ndarray, np.generic
CUDA = 2  # DLPack's number for the memory of an NVIDIA GPU


def describe(*things):
    """'(2, 3) float32 cpu' of a Tensor or array, its repr of anything else; for all errors."""
    words = []
    for a in things:
        words.append(f"{a.shape} {a.dtype} {home(a)}" if hasattr(a, "dtype") else repr(a))
    return ", ".join(words)


def home(a):
    """'cpu' or 'gpu', where an array, or the data of a Tensor, is; of others their library."""
    array = _held(a)
    return type(a).__module__ if array is None else of(array)


def _held(a):
    """The array that a is, or holds as its `data`, as a Tensor does; None of anything else."""
    if isinstance(a, NumPyScalar) or is_array(a):
        return a
    data = getattr(a, "data", None)
    return data if is_array(data) else None


def foreign(a):
    """Whether a, of no type in KNOWN, may be an array all the same."""
    kind = type(a)  # and not a itself: np.float32, the dtype, has both
    return hasattr(kind, "__dlpack__") or hasattr(kind, "__array__")


def adopted(a):
    """The array of another library (PyTorch, JAX, ...) as NumPy's or CuPy's, which shares its
    memory, by DLPack; what else calls itself an array, such as np.matrix, whose * is another, or
    pandas' Series, which adds by its index, as `np.asarray` has it; anything else as it is.
    TypeError for one that cannot be shared, or has a mask.
    """
    if type(a) in KNOWN or not foreign(a):
        return a
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: x.filled(value) has none")
    if isinstance(a, NumPyArray) or not hasattr(a, "__dlpack__"):
        return np.asarray(a)
    if _held(a) is not None:
        return a
    try:
        return module("gpu" if a.__dlpack_device__()[0] == CUDA else "cpu").from_dlpack(a)
    except Exception as e:
        raise TypeError(
            f"{describe(a)}: NumPy cannot share this array ({e}): it must be in no graph"
            " (x.detach()), dense, of a dtype that NumPy has (bfloat16: cast it to float32), on the"
            " CPU or, where CuPy is, a CUDA device"
        ) from e


def _as_array(a):
    a = adopted(a)
    held = _held(a)
    return np.asarray(a) if held is None else held


def plain(a):
    """A NumPy scalar, which would promote float32, counts as the Python number it holds."""
    return a.item() if isinstance(a, NumPyScalar) else a


def is_integer(a):
    """Whether a is an array of integers or booleans."""
    return getattr(getattr(a, "dtype", None), "kind", "O") in "iub"


def floats(data):
    """What a Tensor holds: an array of float32 or float64 itself, numbers and lists in float32."""
    data = adopted(data)
    if isinstance(data, (int, float, list, tuple, NumPyScalar)):
        data = np.asarray(data, getattr(data, "dtype", np.float32))
    if not is_array(data) or data.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"Tensor: needs floats, float32 or float64, got {describe(data)}; labels, indices and"
            " masks stay raw arrays, .astype(np.float32) casts others"
        )
    return data


def unified(op, f, args, kwargs):
    """f(*args, **kwargs) for raw arguments of more than one dtype, and the arguments as they count:
    NumPy scalars are numbers, and integers that would promote floats are cast.
    """
    args = [plain(a) for a in args]
    arrays = [a for a in args if hasattr(a, "dtype")]
    dtype, *others = sorted({a.dtype for a in arrays if a.dtype.kind == "f"})
    if others:
        raise TypeError(
            f"{op.__name__.strip('_')}: {dtype} and {others[0]} do not mix ({describe(*arrays)}):"
            " cast one, a Tensor by x.float(), a raw array by a.astype(np.float32), or net.double()"
        )
    if not op.elementwise:  # integers may be indices or labels: only their result tells
        data = f(*args, **kwargs)
        if data.dtype == dtype:
            return data, args
    args = [a.astype(dtype) if is_integer(a) else a for a in args]
    return f(*args, **kwargs), args


def explain(op, args, error):
    """What an operation had been given when an error came, as a note to it; a TypeError instead if
    that was on two devices.
    """
    told = describe(*args)
    if len({home(a) for a in args if hasattr(a, "dtype")}) > 1:
        raise TypeError(f"{op.__name__}: arguments on two devices, {told}: move one") from error
    error.add_note(f"in {op.__name__}({told})")


def refuse_another(op, data, dtype, args):
    """TypeError for a result not of the Tensors' dtype, unless an argument is the dtype it has."""
    got = getattr(data, "dtype", None)
    # None is asked for first, since a dtype compares equal to it: np.dtype(float) == None
    if got is None or (got != dtype and not any(a is got for a in args)):
        raise TypeError(
            f"{op.__name__.strip('_')}: gives {describe(data)} for Tensors of {dtype}:"
            f" make lists, complex numbers and None arrays of {dtype}"
        )


def unshared(arrays, others):
    """The arrays, each with memory of its own: copied where that is shared with `others`, with an
    array before it, or among its own elements. NumPy scalars become arrays.
    """
    kept = list(others)
    apart = _apart(kept + arrays)
    for i, a in enumerate(arrays):
        if isinstance(a, NumPyScalar):
            arrays[i] = a = np.array(a)
        elif a is None or not a.size:
            continue
        elif 0 in a.strides or (not apart and any(np.may_share_memory(a, b) for b in kept)):
            arrays[i] = a = a.copy()
        kept.append(a)
    return arrays


def _apart(arrays):
    """Whether no two share memory, found by sorting; False too where not all are NumPy's arrays."""
    if not all(isinstance(a, NumPyArray) for a in arrays):
        return False
    extents = sorted(map(np.lib.array_utils.byte_bounds, arrays))
    return all(end <= start for (_, end), (start, _) in itertools.pairwise(extents))


def refuse_unused(inputs, gradients):
    """ValueError that names the inputs without a gradient."""
    if missing := [i for i, x in enumerate(inputs) if x not in gradients]:
        named = [f"{inputs[i].name or f'inputs[{i}]'} {describe(inputs[i])}" for i in missing]
        lost = f"grad: the outputs do not depend on {'; '.join(named)}, or only by arguments"
        raise ValueError(f"{lost} without a rule (allow_unused=True gives None for these)")


def writable(a):
    """Whether the array may be changed in place, as all of CuPy's may."""
    return getattr(a.flags, "writeable", True)


def copy_in(owner, own, new, strict=True):
    """Copy arrays, Tensors or PyTorch's into the arrays of `own`, by name.

    On any mismatch a ValueError lists all, and nothing is changed. strict: a name that is missing
    on either side is a mismatch too.
    """
    new = {name: _as_array(a) for name, a in new.items()}
    common = [name for name in own if name in new]
    wrong = []
    if strict:
        wrong += [f"missing {name} {describe(own[name])}" for name in own if name not in new]
        wrong += [f"unexpected {name} {describe(new[name])}" for name in new if name not in own]
    for name in common:
        target = own[name]
        source = new[name]
        if source.shape != target.shape:
            wrong.append(f"{name} has shape {source.shape}, not {target.shape}")
        if source.dtype.kind not in "biuf":
            wrong.append(f"{name} holds {source.dtype}")
        if not writable(target):
            wrong.append(f"{name} is read-only")
    if wrong:
        kind = type(owner).__name__
        raise ValueError(f"load_state_dict: {kind} is unchanged, since {'; '.join(wrong)}")
    for name in common:
        own[name][...] = to_device_of(new[name], own[name])

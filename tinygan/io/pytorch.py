"""PyTorch's own files of weights, .pt and .pth, read by PyTorch, where it is installed.

They are pickles. `weights_only` lets none of them run code; what they claim is still looked at
before memory is taken for it.
"""

import os
import warnings

import numpy as np

from ..data import DataError

KINDS = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


def load_torch(path, key=None, limit=1 << 32):
    """{name: array} of a state dict that `torch.save` wrote; what is in it is copied to NumPy.

    key: which of several state dicts, of a file such as {"model": state_dict, "epoch": 3}. bfloat16
    and half precision become float32, exactly, and a warning says so. DataError for a file that is
    none, or whose arrays have more than `limit` bytes together; ImportError without PyTorch.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise DataError(f"{path}: is no file" if os.path.exists(path) else f"{path}: is not there")
    torch = _torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # its readers of zip files and pickles have many
        why = " ".join(str(e).split())[:150] or type(e).__name__
        raise DataError(f"{path}: PyTorch reads no weights there ({why})") from None
    state = _chosen(path, state, key)
    odd = [n for n, t in state.items() if not isinstance(t, torch.Tensor) or _is_odd(torch, t)]
    if odd:
        raise DataError(f"{path}: {odd[0]!r:.80} is no array of real numbers")
    total = sum(t.numel() * t.element_size() for t in state.values())
    if total > limit:  # a tensor may be many times as large as its memory
        raise DataError(f"{path}: holds {total} bytes of arrays, more than the {limit} allowed")
    narrow = {n: t.dtype for n, t in state.items() if t.dtype in (torch.half, torch.bfloat16)}
    if narrow:
        kinds = " and ".join(sorted({str(dtype) for dtype in narrow.values()}))
        words = f"{path}: {len(narrow)} arrays of {kinds} are read as float32"
        warnings.warn(words, stacklevel=2)
    cast = {n: t.detach().float() if n in narrow else t.detach() for n, t in state.items()}
    # a view may be marked as the negative, or conjugate, of its memory
    return {
        name: np.array(t.resolve_conj().resolve_neg().numpy(), order="C")
        for name, t in cast.items()
    }


def _torch():
    try:
        import torch
    except ImportError:
        words = "load_torch: needs PyTorch (pip install torch); .safetensors does not"
        raise ImportError(words) from None
    return torch


def _chosen(path, found, key):
    """The state dict that a file is, or holds by the name `key`."""
    state = found
    if key is not None:
        state = found.get(key) if isinstance(found, dict) else None
    flat = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not flat or any(isinstance(value, dict) for value in state.values()):
        held = (
            [str(name) for name in found][:8] if isinstance(found, dict) else type(found).__name__
        )
        words = f"holds no state dict{f' by the name {key!r}' if key else ''}, but {held}"
        raise DataError(f"{path}: {words}; load_torch(path, key) takes one of several")
    return state


def _is_odd(torch, t):
    """Whether NumPy has no such array: sparse, quantised, complex, or without memory."""
    there = t.layout == torch.strided and t.device.type == "cpu" and not t.is_nested
    return not there or str(t.dtype).removeprefix("torch.") not in KINDS

"""Interchange: weights and networks as files that other tools read, and theirs as ours read them.

`load` gives the arrays of a file of weights by name, for `net.load_state_dict`: safetensors, which
`save_safetensors` writes, and PyTorch's .pt. `export_onnx` writes a network, whatever it computes,
as an ONNX graph. The packages that they need, safetensors, PyTorch and onnx, are imported when they
are used. What is read may come from anybody: whatever is wrong with it is a one-line
DataError. This room knows layers and operations, and of the models only the Transformer that
`load_gpt2` reads GPT-2's weights into.
"""

from pathlib import Path

from ..data import DataError
from .gpt2 import load_gpt2, save_gpt2
from .onnx import export_onnx
from .pytorch import load_torch
from .safetensors import load_safetensors, read_metadata, save_safetensors
from .trace import ExportError

__all__ = [
    "ExportError", "export_onnx", "load", "load_gpt2", "load_safetensors", "load_torch",
    "read_metadata", "save_gpt2", "save_safetensors",
]  # fmt: skip
READERS = {".safetensors": load_safetensors, ".pt": load_torch, ".pth": load_torch}


def load(path):
    """{name: array} of a file of weights, which its suffix tells how to read."""
    suffix = Path(path).suffix
    if suffix not in READERS:
        raise DataError(f"{path}: is none of the files of weights that are read: {[*READERS]}")
    return READERS[suffix](path)

"""How a loop becomes machine code: compiled by Numba at its first call, and kept on disk if it can.

Numba's cache raises what goes wrong with its files in the middle of whatever called the loop, or
when this package is imported. Here a cache that fails costs time alone: the bits stay the same.
"""

import contextlib
import functools
import hashlib
import importlib.resources
import warnings

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.sigutils import normalize_signature

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

# The types that loops are compiled for: no others, nor these in another order of bytes.
TYPES = np.dtype("f4"), np.dtype("f8")

# An index that cannot be negative: Numba need not wrap it around, and the loop becomes vector code.
word = np.uintp


def jit(f):
    """f, a loop over arrays and numbers, compiled for the types that it is called with."""
    compiled = numba.njit(nogil=True, error_model="numpy")(f)
    try:
        compiled._cache = Cache(f)
    except Exception as e:  # no folder that could be written to
        _warn(e)
    return compiled


class Cache(FunctionCache):
    """Numba's folder of compiled functions, for functions of a package; it may fail.

    Numba compiles anew when the file that holds f has changed. But machine code also holds what f
    takes from other files: constants (`thresholds`), and other loops and instructions (`matmul`,
    `microkernel`). Left alone, Numba would go on with the old ones, and give wrong numbers without
    a word. So all files count that f may take something from: those of its folder and of the one
    above, where what is common to all devices lies.
    """

    def __init__(self, f):
        super().__init__(f)
        package = f.__globals__["__package__"]
        if not package:
            raise ValueError(f"{f.__qualname__} is in no package, whose files would be looked at")
        self._cache_file._source_stamp = _digest(package)

    def _index_key(self, sig, codegen):
        """Without what f refers to, which the digest covers."""
        return sig, codegen.magic_tuple()

    def load_overload(self, sig, target_context):
        try:
            found = super().load_overload(sig, target_context)
            # where two processes wrote at once, the index may name the other's code
            if found and found.signature.args != normalize_signature(sig)[0]:
                raise ValueError(f"code for {found.signature.args}")
            return found
        except Exception as e:
            _warn(e, self.cache_path)
            with contextlib.suppress(Exception):
                self.flush()  # the next process finds what this one compiles

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as e:
            _warn(e, self.cache_path)


@functools.cache
def _digest(package):
    """A hash of the source files of a package and of the one that it is part of."""
    digest = hashlib.sha256()
    for folder in filter(None, (package, package.rpartition(".")[0])):
        paths = importlib.resources.files(folder).iterdir()
        for path in sorted(paths, key=lambda path: path.name):
            if path.name.endswith(".py"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


_warned = []


def _warn(error, folder="Numba's folder"):
    """Say so, once in a process."""
    if not _warned:
        _warned.append(error)
        warnings.warn(
            f"tinygan: compiled loops cannot be kept in {folder}, or are damaged there: they are "
            f"compiled in this process, for some seconds ({type(error).__name__}: {error}). Delete "
            "the .nbi and .nbc files, or set NUMBA_CACHE_DIR to a folder that can be written to",
            stacklevel=2,
        )

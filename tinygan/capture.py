"""A training step as a CUDA graph: one launch instead of hundreds, each of which costs the host
more than the GPU.

The first call of a captured step runs as it is, the second is recorded beside, and from then on the
recording is replayed. It repeats the kernels with the very memory and numbers they had: what
changes from step to step must live on the device (as Adam's step, the learning rate and the random
counter do), and what a step does in Python happens no more.
"""

import functools
import itertools
import types
import warnings
import weakref

import numpy as np

from . import device, kernels, random, recording

MOST = 8  # recordings of one step; if it is called in more ways than that, they will hardly repeat


def capture(step):
    """`step` with the same arguments and results, replayed where an argument, or a part of a tuple,
    list or dictionary, is a GPU array.

    Its results are arrays that the next call overwrites: copy what is to be kept. Calls follow one
    another on one stream. There is a recording for each combination of shapes, dtypes and other
    arguments, precision and place in the random numbers, which come from `random.default`. A step
    that cannot be captured, since it reads a value on the host, say, runs as it is, with one
    warning that names the reason.
    """
    recordings, refusal = {}, None  # a recording by signature: None after the first call

    @functools.wraps(step)
    def captured(*args, **kwargs):
        nonlocal refusal
        call = args, kwargs
        if refusal or not any(map(_on_gpu, flatten(call))):
            return step(*args, **kwargs)
        key = signature(call)
        if recordings.get(key):
            return recordings[key].replay(call)
        if key in recordings:  # the kernels are compiled: the first call launched them
            results, recordings[key] = _record(step, call)
            refusal = recordings[key].refusal
        else:
            results, recordings[key] = step(*args, **kwargs), None
            if len(recordings) > MOST:
                refusal = f"it is called in more than {MOST} ways: {WAYS}"
        if refusal:
            recordings.clear()  # for ever
            warnings.warn(
                f"tinygan: this step runs without a CUDA graph, which cannot capture it: {refusal}",
                stacklevel=2,
            )
        return results

    return captured


WAYS = "shapes, dtypes, other arguments, precisions, seeds, random draws before it"


def signature(call):
    """A dictionary's key: what decides which kernels a call launches, and with which numbers."""
    nesting = repr(unflatten(call, itertools.repeat("")))
    around = kernels.matmul_precision.get(), recording.mode.recording
    place = random.default.seed, random.default.draw
    return nesting, *map(_constant, flatten(call)), *around, *place


def _constant(leaf):
    """What a recording keeps of an argument: of a GPU array all but its numbers, else the value."""
    if _on_gpu(leaf):
        return leaf.shape, leaf.dtype
    if isinstance(leaf, np.ndarray):
        return leaf.shape, leaf.dtype, leaf.tobytes()
    if isinstance(leaf, (int, float, complex, str, bytes, np.generic)):
        return repr(leaf)  # 1, 1.0 and True are equal, and so are 0.0 and -0.0
    return id(leaf)  # a recording keeps its arguments, so that no other thing gets the number


def _on_gpu(a):
    return device.is_array(a) and device.of(a) == "gpu"


def flatten(tree):
    """The leaves of tuples, lists and dictionaries in one another, in their order."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return [tree]
    return [leaf for part in tree for leaf in flatten(part)]


def unflatten(tree, leaves):
    """Such a tree with other leaves, taken from an iterator."""
    if isinstance(tree, dict):
        return {key: unflatten(part, leaves) for key, part in tree.items()}
    if not isinstance(tree, (tuple, list)):
        return next(leaves)
    parts = [unflatten(part, leaves) for part in tree]
    return tree._make(parts) if hasattr(tree, "_make") else type(tree)(parts)  # named tuples


@functools.cache
def side_stream(cuda):
    """The stream for recordings: CUDA captures none that is the default one or waits for it. There
    is but one, since cuBLAS keeps a workspace for each.
    """
    return cuda.Stream(non_blocking=True)


class _Recording:
    """A call to be replayed on arguments like its own, or why it cannot be.

    Its graph, inputs and results lie in a memory pool of its own, for the graph goes on writing to
    its addresses, which another pool would hand to others. They live and die together: a CuPy pool
    that is merely dropped never gives its memory back.
    """

    def __init__(self, pool):
        self.refusal, self.kept = None, types.SimpleNamespace()
        # given `self.kept` and not `self`, which is gone when it runs
        weakref.finalize(self, _release, self.kept, pool).atexit = False

    def replay(self, call):
        kept = self.kept
        for ours, theirs in zip(kept.inputs, flatten(call)):
            if _on_gpu(theirs):
                ours[...] = theirs
        kept.graph.launch()
        random.default.step += kept.steps
        random.default.draw = kept.draw
        return kept.results


_gone = []  # pools of recordings that are gone, while somebody uses their memory: kept results


def _release(kept, pool):
    vars(kept).clear()
    _gone.append(pool)
    _free_memory()


def _free_memory():
    """Give back the memory of all recordings that are gone, but for what somebody still uses."""
    for pool in _gone[:]:
        pool.free_all_blocks()
        if not pool.total_bytes():
            _gone.remove(pool)


def _record(step, call):
    """A call's results, and its _Recording."""
    _free_memory()
    cuda, source = device.module("gpu").cuda, random.default
    main_stream, pool = cuda.get_current_stream(), cuda.MemoryPool()
    made, side = _Recording(pool), side_stream(cuda)
    side.wait_event(main_stream.record())  # the arguments are still being computed there
    try:
        with side, cuda.using_allocator(pool.malloc):
            inputs = [a.copy("K") if _on_gpu(a) else a for a in flatten(call)]
            args, kwargs = unflatten(call, iter(inputs))
            step_before, draw_before = source.step, source.draw
            # on this stream cuBLAS starts and the pool grows, as they must not under capture
            results = step(*args, **kwargs)
            step_after, draw_after = source.step, source.draw
            source.draw = draw_before  # the recording is of the same call
            try:
                side.begin_capture()
                try:
                    made.kept.results = step(*args, **kwargs)
                finally:  # a stream left capturing would refuse all further work
                    made.kept.graph = side.end_capture()
            except Exception as e:
                made.refusal = f"{type(e).__name__}: {e}"
            source.step, source.draw = step_after, draw_after
            made.kept.steps, made.kept.draw = step_after - step_before, draw_after
            made.kept.inputs = inputs
    finally:
        main_stream.wait_event(side.record())  # what follows reads the results
    return results, made

"""A training step as a CUDA graph: one launch instead of hundreds, each of which costs the host
more than the GPU.

The first call of a captured step runs as it is, the second is recorded beside, and from then on the
recording is replayed. It repeats the kernels with the very memory and numbers they had: what
changes from step to step must live on the device (as Adam's step, the learning rate and the random
counter do), and what a step does in Python happens no more.
"""

import functools
import warnings
import weakref

from . import device, random

MOST = 8  # recordings of one step; if it is called in more ways than that, they will hardly repeat


def capture(step):
    """`step` with the same arguments and results, replayed where an argument, or a part of a tuple,
    is a GPU array.

    Its results are arrays that the next call overwrites: copy what is to be kept. Calls follow one
    another on one stream. There is a recording for each combination of shapes and other arguments.
    Random numbers come from `random.default`. A step that cannot be captured, since it reads a
    value on the host, say, runs as it is, with one warning that names the reason.
    """
    recordings, refused = {}, []

    @functools.wraps(step)
    def replayed(*args, **kwargs):
        given, source, reason = (args, tuple(kwargs.values())), random.default, None
        if refused or not any(map(_on_gpu, _leaves(given))):
            return step(*args, **kwargs)
        known = ((a.shape, a.dtype) if _on_gpu(a) else a for a in _leaves(given))
        key = repr([_with(given, known), [*kwargs], source.seed, source.draw])
        if recordings.get(key):
            return recordings[key](given)
        if key in recordings:  # the kernels are compiled: they were called before
            results, recordings[key], reason = _record(step, args, kwargs)
        else:
            results, recordings[key] = step(*args, **kwargs), None
            if len(recordings) > MOST:
                reason = f"it is called in more than {MOST} ways: shapes, arguments, seeds, random draws before it"
        if reason:
            refused.append(reason)
            recordings.clear()
            _Recording.release()
            warnings.warn(
                f"tinygan: this step runs without a CUDA graph, which cannot capture it: {reason}",
                stacklevel=2,
            )
        return results

    return replayed


def _on_gpu(a):
    return device.is_array(a) and device.of(a) == "gpu"


def _leaves(x):
    return [leaf for i in x for leaf in _leaves(i)] if isinstance(x, tuple) else [x]


def _with(x, leaves):
    return tuple(_with(i, leaves) for i in x) if isinstance(x, tuple) else next(leaves)


# one: cuBLAS has a workspace for each stream
_stream = functools.cache(lambda cuda: cuda.Stream(non_blocking=True))


class _Recording:
    """Replays a call on arguments like its own: a graph, its inputs and results, and a memory pool.

    They live and die together. A CuPy pool that is merely dropped never gives its memory back.
    """

    gone = []  # pools of recordings that are gone, while somebody uses their memory: kept results

    def __init__(self, pool):
        self.held = []
        weakref.finalize(self, _Recording.release, self.held, pool).atexit = False

    def __call__(self, given):
        graph, inputs, results, counters = self.held
        for to, a in zip(inputs, _leaves(given)):
            if _on_gpu(a):
                to[...] = a
        graph.launch()
        source, steps, draw = random.default, *counters
        source.step, source.draw = source.step + steps, draw
        return results

    @classmethod
    def release(cls, held=None, pool=None):
        """Forget what a recording held, and free the memory of all that are gone."""
        if pool:
            held.clear()
            cls.gone.append(pool)
        for pool in cls.gone[:]:
            pool.free_all_blocks()
            if not pool.total_bytes():
                cls.gone.remove(pool)


def _record(step, args, kwargs):
    """A call's results, its _Recording or None, and why there is none or None."""
    _Recording.release()
    cuda, source, reason = device.module("gpu").cuda, random.default, None
    here, there, pool = cuda.get_current_stream(), _stream(cuda), cuda.MemoryPool()
    recording = _Recording(pool)
    there.wait_event(here.record())
    try:
        with there, cuda.using_allocator(pool.malloc):
            inputs = [
                a.copy("K") if _on_gpu(a) else a for a in _leaves((args, tuple(kwargs.values())))
            ]
            own_args, own_values = _with((args, tuple(kwargs.values())), iter(inputs))
            own = functools.partial(step, *own_args, **dict(zip(kwargs, own_values)))
            before = source.step, source.draw
            now = own()  # cuBLAS starts and the pool grows, as a recording must not
            after, source.draw = (source.step, source.draw), before[1]
            try:
                there.begin_capture()
                try:
                    results = own()
                finally:
                    graph = there.end_capture()
                recording.held += graph, inputs, results, (after[0] - before[0], after[1])
            except Exception as e:
                reason = f"{type(e).__name__}: {e}"
            source.step, source.draw = after
    finally:
        here.wait_event(there.record())
    return now, None if reason else recording, reason

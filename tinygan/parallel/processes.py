"""What a process knows of the others: `World`, it is alone; `MPI`; `NCCL`. They have one face.

Nothing here waits for ever: all waiting is in `MPI.wait`.
"""

import atexit
import contextlib
import functools
import hashlib
import json
import os
import sys
import time

import numpy as np

from .. import device, random
from ..autograd import primitive
from ..extras import package
from ..nn.norm import _BatchNorm
from .gradients import Gradients

PATIENCE = 600.0  # seconds; PyTorch waits as long for NCCL
LOOK = 0.01  # seconds after which one that waits looks whether that is in vain
GRACE = 0.3  # seconds that a process that was told to stop waits for the others to end the step
LINGER = 0.5, 2.0  # seconds that the first process, and others, leave to all for their last words
FAILED = 1  # the tag of a message that says why a process ends


class ParallelError(RuntimeError):
    """The processes cannot go on together; the message says why."""


class World:
    """A process alone. rank: its number among all, from 0; size: how many there are."""

    rank, size = 0, 1

    def mean(self, x):
        """The mean over all processes of an array or a Tensor, which is as large in each; its
        gradient is the same mean.
        """
        return x

    def rows(self, rows, model):
        """This process's share of the rows of a batch."""
        return rows

    @contextlib.contextmanager
    def step(self):
        """Within, a step is made: gradients of parameters, moments and random numbers are those of
        all processes; outside they are a process's own.
        """
        yield

    def any(self, flag):
        """Whether any process says so."""
        return flag

    def alike(self, run):
        """An error unless the weights are the same in all."""

    @contextlib.contextmanager
    def joined(self, run, interrupted):
        """Within, the processes train a `train.run.Run` together, from where the first stands.
        interrupted(): whether this one was told to stop.
        """
        yield

    def failed(self, error):
        """This process ends, and the others cannot go on."""


class MPI(World):
    """Processes that mpirun started; the arguments are those of `parallel.world`."""

    def __init__(self, patience=PATIENCE, sync=True):
        self.mpi = package("mpi4py.MPI", "tinygan[mpi]")
        package("threadpoolctl", "tinygan[mpi]").threadpool_limits(device.cores())  # NumPy's BLAS
        self.comm = self.mpi.COMM_WORLD.Dup()
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.patience, self.sync = patience, sync
        self.interrupted, self.gradients, self.norms = lambda: False, [], []
        self.local = self.comm.Split_type(self.mpi.COMM_TYPE_SHARED)  # those of this machine
        crowded = self.local.Get_size() > (os.cpu_count() or 1)
        # one that only watches would take a core from those that are waited for
        self.rest = functools.partial(time.sleep, 5e-5) if crowded else lambda: None

    def mean(self, x):
        return _mean(x, world=self)

    def reduced(self, x):
        """The mean of a raw array; of integers, as float64."""
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        flat = device.to_host(x).reshape(-1).copy()
        self.wait([self.begin(flat)])
        return device.to_device_of((flat / flat.dtype.type(self.size)).reshape(x.shape), x)

    def begin(self, flat):
        """Begin to replace an array by its sum over all processes; what to wait for."""
        return self.comm.Iallreduce(self.mpi.IN_PLACE, flat)

    def wait(self, requests):
        """Until they are done; ParallelError if another process failed or hangs, or this one was
        told to stop and the others do not end the step.
        """
        begun = looked = time.monotonic()
        while not self.mpi.Request.Testall(requests):
            now = time.monotonic()
            if now - looked < LOOK:
                self.rest()
                continue
            looked = now
            if self.comm.Iprobe(tag=FAILED):
                raise ParallelError(self.comm.recv(tag=FAILED))
            if self.interrupted() and now - begun > GRACE:
                raise ParallelError(f"process {self.rank} was told to stop, and others are gone")
            if now - begun > self.patience:
                words = f"has waited {self.patience:g} s for another, and gives up"
                raise ParallelError(f"process {self.rank} {words}")

    def rows(self, rows, model):
        updates = model.slices(len(rows)) if hasattr(model, "slices") else [slice(None)]
        own = []
        for part in (rows[update] for update in updates):
            if len(part) % self.size:
                raise ParallelError(
                    f"{self.size} processes cannot share {len(part)} samples an update: make the"
                    f" size of each batch, the last one's too, a multiple of {self.size}"
                )
            n = len(part) // self.size
            own.append(part[self.rank * n :][:n])
        return np.concatenate(own)

    @contextlib.contextmanager
    def step(self):
        if not self.gradients:
            raise ParallelError("a loop of several processes is within `joined`, as `train` is")
        random.default.share = self.rank, self.size
        for gradients in self.gradients:
            gradients.hook()
        for norm in self.norms:
            norm.across = self
        try:
            yield
        finally:
            random.default.share = 0, 1
            for gradients in self.gradients:
                gradients.unhook()
            for norm in self.norms:
                norm.across = None
        if any(gradients.left for gradients in self.gradients):
            raise ParallelError(
                "a step asked for the gradients of some of an optimizer's parameters alone: give"
                " the others an optimizer of their own"
            )

    def any(self, flag):
        return bool(self.reduced(np.array([flag], np.float32)).any())

    def alike(self, run):
        digest = hashlib.blake2b(digest_size=32)
        arrays = [p.data for optimizer in run.model.optimizers for p in optimizer.params]
        if self.sync:  # else running averages are a process's own
            arrays += [a for part in run.parts.values() for a in part.state_dict().values()]
        for array in arrays:
            digest.update(np.ascontiguousarray(device.to_host(array)))
        own = np.frombuffer(digest.digest(), np.uint8)
        if self.any(not np.array_equal(self.spread(own), own)):
            raise ParallelError(
                "the processes' weights are no longer the same: a callback of the first has changed"
                " a rate, say, or an optimizer is none of the model's `optimizers`"
            )

    def spread(self, array):
        """The first process's values of an array, which is as large in each, on the host."""
        host = np.array(device.to_host(array), order="C")
        self.wait([self.comm.Ibcast(host)])
        return host

    @contextlib.contextmanager
    def joined(self, run, interrupted):
        self.interrupted = interrupted
        self._agree(run.facts())
        run.start = run.step = int(self.spread(np.array(run.step)))
        for part in run.parts.values():
            part.load_state_dict({k: self.spread(a) for k, a in part.state_dict().items()})
        optimizers = getattr(run.model, "optimizers", ())
        if not optimizers:
            kind = type(run.model).__name__
            raise ParallelError(f"{kind} names no `optimizers`, whose gradients would be shared")
        self.alike(run)  # what is in no part was not sent
        for p in (p for optimizer in optimizers for p in optimizer.params):
            if p.hook:
                raise ParallelError(f"{p.name or 'a parameter'} {p.shape} has a hook of its own")
        for i in {0, run.steps - 1}:  # the last may be smaller
            self.rows(run.batches.rows(0, i), run.model)
        self.gradients = [Gradients(self, o.params) for o in optimizers]
        self.norms = [m for part in run.parts.values() for m in _norms(part)] if self.sync else []
        atexit.unregister(_leave)  # of a training that failed before
        try:
            yield
        finally:
            self.gradients, self.norms = [], []

    def _agree(self, facts):
        """ParallelError unless these, {name: value}, are the first process's as well."""
        own = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        sizes = self.spread(np.array(len(own)))
        first = json.loads(self.spread(np.resize(own, int(sizes))).tobytes())
        apart = {k for k in first.keys() | facts.keys() if first.get(k) != facts.get(k)}
        if self.any(bool(apart)):
            words = [f"{k} is {facts.get(k)}, and {first.get(k)} in process 0" for k in apart]
            other = "another process has other settings or data: its own line says which"
            raise ParallelError(f"process {self.rank}: {'; '.join(words) or other}")

    def failed(self, error):
        if not isinstance(error, ParallelError):  # of which the others know, or hear nothing
            words = f"process {self.rank} ended: {str(error) or type(error).__name__}"
            for other in {*range(self.size)} - {self.rank}:
                self.comm.isend(words, other, FAILED)
        atexit.register(_leave, LINGER[self.rank > 0])  # MPI's own end would wait for them


class NCCL(MPI):
    """The same, for arrays on NVIDIA GPUs, one to a process, counted on each machine."""

    def __init__(self, patience=PATIENCE, sync=True):
        super().__init__(patience, sync)
        runtime = device.module("gpu").cuda.runtime
        runtime.setDevice(self.local.Get_rank() % runtime.getDeviceCount())
        distributed = package("cupyx.distributed", "tinygan[gpu]")
        self.nccl = distributed.init_process_group(self.size, self.rank, use_mpi=True)

    def begin(self, flat):
        if device.of(flat) == "cpu":
            return super().begin(flat)
        self.nccl.all_reduce(flat, flat)  # in its turn among the GPU's kernels
        return self.mpi.REQUEST_NULL

    def reduced(self, x):
        if device.of(x) == "cpu":
            return super().reduced(x)
        flat = x.reshape(-1).copy()
        self.begin(flat)
        return (flat / flat.dtype.type(self.size)).reshape(x.shape)


@primitive
def _mean(x, *, world):
    return world.reduced(x)


_mean.defvjp(lambda g, out, x, *, world: _mean(g, world=world))


def _norms(thing):
    """The batch normalisations in a part of a model."""
    modules = thing.modules() if hasattr(thing, "modules") else ()
    return [m for m in modules if isinstance(m, _BatchNorm)]


def _leave(seconds):
    """End as one that failed, in so many seconds: mpirun stops the others then."""
    time.sleep(seconds)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(1)

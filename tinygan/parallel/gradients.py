"""The mean gradients of parameters that several processes share, sent while they are found."""

import functools

import numpy as np

from .. import device, kernels
from ..autograd import Tensor

BUCKET = 1 << 20  # bytes that are sent at a time


class Gradients:
    """The means of the gradients of some parameters, which come one by one as a backward walk finds
    them, mostly from the last to the first. They are copied into buckets, and each is sent when it
    is full, while the walk goes on.
    """

    def __init__(self, world, params):
        self.world, self.params, self.left, self.requests = world, params, {}, []
        self.buckets, size = [], BUCKET
        for p in reversed(params):
            if size >= BUCKET or self.buckets[-1][0].dtype != p.dtype:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(p)
            size += p.data.nbytes

    def hook(self):
        """Hear of the parameters' gradients."""
        for p in self.params:
            p.hook = functools.partial(self.take, p)

    def unhook(self):
        for p in self.params:
            p.hook = None

    def start(self):
        """Memory for the next walk: who has the gradients of the last may keep them."""
        for params in self.buckets:
            first = params[0].data
            flat = kernels.of(first).empty((sum(p.data.size for p in params),), first.dtype)
            bucket, place = [flat, len(params)], 0
            for p in params:
                order = device.memory_order(p.data)
                own = flat[place : place + p.data.size].reshape([p.shape[i] for i in order])
                self.left[p] = own.transpose(device.inverse(order)), bucket
                place += p.data.size

    def take(self, p, g):
        """The hook of a parameter: where its mean gradient will be when the last has come."""
        if isinstance(g, Tensor):
            raise NotImplementedError("gradients of parameters by create_graph=True are not shared")
        if not self.left:
            self.start()
        own, bucket = self.left.pop(p)
        np.divide(g, g.dtype.type(self.world.size), out=own)
        bucket[1] -= 1
        if not bucket[1]:
            self.requests.append(self.world.begin(bucket[0]))
        if self.left:
            self.world.mpi.Request.Testall(self.requests)  # MPI moves when it is asked
        else:
            self.world.wait(self.requests)
            self.requests = []
        return own

"""Several processes that train one model, each on its share of every batch: data-parallel training.

    mpirun -n 4 python examples/mnist_gan.py

All begin with the same weights. In a step each computes gradients of its share; all take the mean
over the processes, which is the gradient of the whole batch, and so the same step: their weights
never differ by a bit. Random numbers are counted through the whole batch, and BatchNorm takes the
whole batch's moments, so that any number of processes trains what one would, but for rounding.

A `World` is what a process knows of the others. There are three, with one face: `World`, a process
alone; `MPI`, through mpi4py; `NCCL`, the same with gradients that go from GPU to GPU. They know no
algorithm: what they need of a model is `optimizers`, `parts()` and, of one that makes several
updates of a batch, `slices(n)`, what each of these takes.

What is averaged are gradients: a loss must be a mean over samples that weigh the same, and what
looks at a batch otherwise (`nn.MinibatchStdDev`, a flow's optimal coupling) sees a share of it.

Nobody waits for ever. A process that fails tells the others, and all end with a line each. One that
is killed is reported by mpirun, which asks the others to stop. One that hangs is given up after
`patience` seconds.
"""

import os

from .processes import MPI, NCCL, PATIENCE, ParallelError, World

__all__ = ["MPI", "NCCL", "ParallelError", "World", "count", "number", "world"]

# how Open MPI and MPICH tell a process how many there are, and which of them it is
SIZES = "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"
NUMBERS = "OMPI_COMM_WORLD_RANK", "PMI_RANK"


def number():
    """Which of the processes that mpirun started this is: 0 if it is alone."""
    return max(int(os.environ.get(name, 0)) for name in NUMBERS)


def count():
    """How many processes mpirun started; 1 if this one is alone."""
    return max(int(os.environ.get(name, 1)) for name in SIZES)


def world(where="cpu", patience=PATIENCE, sync=True):
    """The World that this process was started in: alone, unless mpirun started several.

    where: "gpu" if it trains on one. patience: seconds until a process that does not answer is
    given up. sync: BatchNorm takes the moments of the whole batch (Ioffe & Szegedy 2015 in many
    processes, PyTorch's SyncBatchNorm); else each process those of its share, and the first one's
    running averages count.
    """
    if count() == 1:
        return World()
    return (NCCL if where == "gpu" else MPI)(patience, sync)

"""What tests/test_parallel.py starts with mpirun: models trained for some steps, whose weights each
process saves.

    parallel_case.py OUT KINDS [OPTION=JSON ...]
"""

import copy
import json
import os
import pickle
import signal
import sys
import time
import types
import warnings
from functools import partial
from pathlib import Path

import cupy_standin as standin
import numpy as np
from runs import Line, weights

from tinygan import cli, data, device, models, nn, parallel, random
from tinygan.train import Schedule, loop, second_half, train

SMALL = {"latent": 8, "width": 4}
WORDS = {"kind": "characters", "characters": "abcdefgh"}
TINY = {"tokenizer": WORDS, "context": 9, "width": 8, "depth": 2, "heads": 2}
KINDS = {
    "mlp": lambda **on: models.mlp(**on, latent=8),
    "dcgan": lambda **on: models.dcgan(**on, **SMALL, classes=10, augment="colour,shift,cutout"),
    "wgan-gp": lambda **on: models.dcgan(**on, **SMALL, loss="wgan-gp", n_critic=2),
    "r3gan": lambda **on: models.dcgan(**on, **SMALL, loss="r3gan"),
    "vae": lambda **on: models.VAES["conv"](**on, latent=4, width=4, classes=10),
    "flow": lambda **on: models.flow(**on, width=8, classes=10),
    "ddpm": lambda **on: models.ddpm(**on, width=8),
    "gpt": lambda **on: models.gpt(**on, **TINY, dropout=0.1),
    "line": lambda device: Line(),  # which moves without an optimizer
    "bert": lambda **on: models.bert(**on, **TINY),
}
STEPS = 4  # in an epoch


class Fault(Schedule):
    """What goes wrong ahead of a step of one process; a schedule, which all have."""

    def __init__(self, what, step, number):
        super().__init__(second_half)
        self.what, self.at, self.number, self.steps = what, step, number, 0

    def before(self, progress):
        super().before(progress)
        copy.deepcopy(self.run.model), pickle.dumps(self.run.model)  # as a callback may
        if self.steps == self.at and parallel.number() == self.number:
            if self.what == "raise":
                raise OSError("the disk is full")
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "term":
                os.kill(os.getpid(), signal.SIGTERM)
            if self.what == "drift":
                self.run.model.optimizers[0].param_groups[0]["lr"] *= 2
            time.sleep({"hang": 3600, "slow": 1}.get(self.what, 0))
        self.steps += 1


def batches(kind, model, n, dtype, seed):
    if kind in ("gpt", "bert"):
        tokens = np.arange(9 * n * STEPS).reshape(-1, 9) * 7 % 8
        return data.Batches(tokens, n, transform=None)
    images = np.random.default_rng(seed).integers(0, 256, (STEPS * n, 28, 28), np.uint8)
    images = device.to(images, getattr(model, "device", "cpu"))
    arrays = (images, np.arange(len(images)) % 10) if getattr(model, "classes", 0) else images
    return data.Batches(arrays, n, transform=lambda x: data.scale.apply(x).astype(dtype))


def run(
    out, kind, dtype="float64", epochs=5, batch_size=24, seed=(0,), pictures=(0,), patience=20,
    sync=True, fault=None, keep=False, resume=False, where="cpu",
    joined=True, nccl=False,
):  # fmt: skip
    """seed, pictures: of each process, the last for those that come after. nccl: itself, of one
    process too.
    """
    number = parallel.number()
    random.manual_seed(seed[min(number, len(seed) - 1)])
    model = KINDS[kind](device=where)
    world = (parallel.NCCL if nccl else partial(parallel.world, where))(patience, sync)
    fault = [Fault(*fault)] if fault else []
    of = batches(kind, model, batch_size, dtype, pictures[min(number, len(pictures) - 1)])
    if not joined:
        return [*loop(model, of, epochs, world=world)]
    folder = out / "run" if keep or resume else None
    train(model, of, epochs, folder, callbacks=fault, resume=resume, world=world)
    found = {name: device.to_host(a) for name, a in weights(model).items()}
    np.savez(out / f"{kind}-{world.rank}.npz", **found)


def pretend_gpu():
    """The stand-in for CuPy; its NCCL has sums by MPI, recorded as kernels are."""
    from mpi4py import MPI

    def all_reduce(source, target):
        assert source is target and source.flags.c_contiguous
        standin.write(lambda: MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, target.a))

    def begin(n, rank, use_mpi):
        assert (n, rank, use_mpi) == (MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank, True)
        return types.SimpleNamespace(all_reduce=all_reduce)

    sys.modules |= standin.make()
    sys.modules["cupy"].cuda.runtime.setDevice = lambda number: None
    sys.modules["cupyx.distributed"] = types.SimpleNamespace(init_process_group=begin)


def main(out, kinds, *options):
    told = {name: json.loads(value) for name, _, value in (o.partition("=") for o in options)}
    if told.get("dtype", "float64") == "float64":  # all networks, as they are given to models
        to = nn.Module.to
        nn.Module.to = lambda self, device: to(self, device, np.float64)
    if told.get("where") == "gpu" and not told.get("nccl"):
        pretend_gpu()
    warnings.filterwarnings("error", "tinygan: this step runs without a CUDA graph")
    for kind in kinds.split(","):
        run(Path(out), kind, **told)


if __name__ == "__main__":
    cli.run(lambda: main(*sys.argv[1:]))

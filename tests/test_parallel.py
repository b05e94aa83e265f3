"""Several processes train what one would: the same weights, and an end to all if one fails.

They are started with mpirun, more of them than there may be cores.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT

from tinygan import device

pytest.importorskip("mpi4py")
FOUND = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(not FOUND, reason="there is no mpirun")
CASE = ROOT / "tests/parallel_case.py"
# biases under a batch normalisation, which takes them away again: their gradients are but rounding
# errors, of which Adam makes steps as large as any
IDLE = ("generator/0.bias", "generator/4.bias", "average/0.bias", "average/4.bias")
IDLE += tuple(f"g_optimizer/exp_avg{of}.{i}" for of in ("", "_sq") for i in (1, 5))


def launch(n, *command, timeout=120):
    """The finished mpirun of n processes of Python; its seconds are in `seconds`."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    env = os.environ | root | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    words = [FOUND, "--oversubscribe", "-n", str(n), sys.executable, *map(str, command)]
    begun = time.monotonic()
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=timeout)
    done.seconds = time.monotonic() - begun
    return done


def trained(n, out, kinds, *options):
    """{kind: the weights in each process} after a training by n of them."""
    out.mkdir()
    done = launch(n, CASE, out, ",".join(kinds), *options)
    assert done.returncode == 0, done.stderr
    return {
        kind: [dict(np.load(out / f"{kind}-{number}.npz")) for number in range(n)] for kind in kinds
    }


def apart(one, other):
    """The largest difference of any array, beside the array's largest number."""
    found = {
        name: np.abs(a - other[name]).max() / np.abs(a).max()
        for name, a in one.items()
        if a.size and a.any() and not (name in IDLE and "generator/1.running_mean" in one)
    }
    return max(found.values())


def identical(weights):
    return all(np.array_equal(weights[0][k], w[k]) for w in weights[1:] for k in w)


KINDS = ["mlp", "dcgan", "wgan-gp", "r3gan", "vae", "flow", "ddpm", "gpt", "bert"]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return trained(1, tmp_path_factory.mktemp("single") / "1", KINDS)


@pytest.mark.parametrize("n, kinds", [(2, KINDS), (4, ["dcgan", "bert"])])
def test_any_number_of_processes_train_the_same(n, kinds, single, tmp_path):
    many = trained(n, tmp_path / "many", kinds)
    for kind in kinds:
        assert identical(many[kind]), kind
        # the running means hold the idle biases
        most = 1e-12 if kind in ("mlp", "vae", "gpt", "bert") else 1e-8
        assert apart(single[kind][0], many[kind][0]) < most, kind


def test_float32_within_rounding(tmp_path):
    options = 'dtype="float32"', "epochs=1"
    (one,) = trained(1, tmp_path / "1", ["mlp"], *options)["mlp"]
    two = trained(2, tmp_path / "2", ["mlp"], *options)["mlp"]
    assert identical(two) and apart(one, two[0]) < 1e-3


def test_gradients_go_from_gpu_to_gpu(tmp_path):
    """On the stand-in: steps are captured, and what NCCL does in them is replayed."""
    kinds, options = ["mlp", "dcgan"], ('dtype="float32"', "epochs=2")
    one = trained(1, tmp_path / "1", kinds, *options)
    two = trained(2, tmp_path / "2", kinds, *options, 'where="gpu"')
    for kind in kinds:
        assert identical(two[kind]) and apart(one[kind][0], two[kind][0]) < 2e-2, kind


@pytest.mark.gpu
def test_nccl_of_one_process(tmp_path):
    """On a GPU: NCCL refuses two processes on one, so that this sees that its calls are right and
    can be captured, not what they carry.
    """
    try:
        device.resolve("gpu")
    except device.DeviceError as e:
        pytest.skip(str(e))
    kinds, options = ["mlp", "dcgan"], ('dtype="float32"', "epochs=2")
    one = trained(1, tmp_path / "1", kinds, *options)
    other = trained(1, tmp_path / "2", kinds, *options, 'where="gpu"', "nccl=true")
    for kind in kinds:
        assert apart(one[kind][0], other[kind][0]) < 2e-2, kind


def test_without_sync_each_takes_its_own_moments(single, tmp_path):
    many = trained(2, tmp_path / "2", ["dcgan", "mlp"], "sync=false")
    trainable = {k: [w[k] for w in many["dcgan"]] for k in many["dcgan"][0] if "running" not in k}
    assert all(np.array_equal(a, b) for a, b in trainable.values())
    assert apart(single["dcgan"][0], many["dcgan"][0]) > 1e-3
    assert apart(single["mlp"][0], many["mlp"][0]) < 1e-12


@pytest.mark.parametrize(
    "fault, most, said",
    [
        ('["raise", 3, 1]', 15, "process 1 ended: the disk is full"),
        ('["kill", 3, 1]', 15, "was told to stop, and others are gone"),
        ('["hang", 3, 1]', 20, "has waited 3 s for another, and gives up"),
        ('["drift", 2, 1]', 15, "weights are no longer the same"),
        ('["raise", 3, 0]', 15, "process 0 ended: the disk is full"),
    ],
)
def test_where_one_fails_all_end_with_a_line(fault, most, said, tmp_path):
    done = launch(2, CASE, tmp_path, "mlp", f"fault={fault}", "patience=3", "keep=true")
    assert done.returncode and done.seconds < most
    own = [line for line in done.stderr.splitlines() if line.startswith("parallel_case.py: ")]
    assert any(said in line for line in own), done.stderr
    assert "Traceback" not in done.stderr


def test_a_slow_one_is_waited_for(single, tmp_path):
    slow = trained(2, tmp_path / "2", ["mlp"], 'fault=["slow", 3, 1]', "patience=3")
    assert apart(single["mlp"][0], slow["mlp"][1]) < 1e-12


@pytest.mark.parametrize(
    "option, said",
    [("seed=[0,1]", "seed is 1, and 0 in process 0"), ("pictures=[0,1]", "batches.data is ")],
)
def test_processes_that_differ_do_not_begin(option, said, tmp_path):
    done = launch(2, CASE, tmp_path, "mlp", option)
    assert done.returncode and said in done.stderr and "another process has other" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("*.npz"))


def test_a_batch_that_cannot_be_shared(tmp_path):
    done = launch(2, CASE, tmp_path, "mlp", "batch_size=25")
    assert "2 processes cannot share 25 samples an update" in done.stderr
    assert "a multiple of 2" in done.stderr


def test_one_is_told_to_stop_and_four_go_on(tmp_path, single):
    """The checkpoint is that of a single run, whoever resumes."""
    done = launch(2, CASE, tmp_path, "mlp", 'fault=["term", 6, 1]', "keep=true")
    assert done.returncode and "stopped after step 7 of 20" in done.stderr
    done = launch(4, CASE, tmp_path, "mlp", "resume=true")
    assert done.returncode == 0, done.stderr
    many = [dict(np.load(tmp_path / f"mlp-{number}.npz")) for number in range(4)]
    assert identical(many) and apart(single["mlp"][0], many[0]) < 1e-12


def test_an_example_speaks_once(tmp_path):
    command = ROOT / "examples/mnist_gan.py", "--epochs", 1, "--batch-size", 2000, "--out"
    done = launch(2, *command, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("10000 pictures") == 1 and (tmp_path / "run/log.jsonl").exists()
    done = launch(2, *command, tmp_path / "run")
    assert done.returncode and "holds a run already" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loop_of_ones_own_is_not_left_alone(tmp_path):
    done = launch(2, CASE, tmp_path, "mlp", "joined=false")
    assert done.returncode and "is within `joined`, as `train` is" in done.stderr


def test_a_model_without_optimizers_is_refused(tmp_path):
    done = launch(2, CASE, tmp_path, "line", 'dtype="float32"')
    assert "Line names no `optimizers`, whose gradients would be shared" in done.stderr
    assert "Traceback" not in done.stderr

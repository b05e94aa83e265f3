"""How the benchmarks measure: taking turns, asking a fresh process, naming the machine.

On import it loads the standard library alone: Linux counts the memory of a process that starts
another in the other's peak.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine(*packages):
    """The processor, its vector features, and the versions of what is measured, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    versions = [f"{p} {importlib.metadata.version(p)}" for p in packages]
    return ", ".join(
        [
            f"{name} ({vectors()})",
            f"{CORES} cores" if CORES > 1 else "1 core",
            f"python {platform.python_version()}",
            *versions,
        ]
    )


def vectors():
    """What numbers side by side this processor knows, the widest."""
    import llvmlite.binding as llvm

    found = llvm.get_host_cpu_features()
    names = {"avx512f": "AVX-512", "avx2": "AVX2", "neon": "NEON"}
    return next((name for feature, name in names.items() if found.get(feature)), "no AVX2")


def restricted(vectors):
    """What in a process's environment keeps tinygan, NumPy and its BLAS to "avx2"; None keeps them
    to nothing.
    """
    if vectors is None:
        return {}
    import llvmlite.binding as llvm
    from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

    found = [name for name, there in llvm.get_host_cpu_features().items() if there]
    kept = [name for name in found if not name.startswith(("avx512", "avx10", "amx"))]
    wide = [name for name in dispatched if name.startswith(("AVX512", "X86_V4"))]
    return {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in kept),
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
        "OPENBLAS_CORETYPE": "Haswell",
    }


def noted(path):
    """The runs in a file, {tuple of what was run: figures}, but for a line that is torn."""
    runs = {}
    for line in path.read_text().splitlines() if path and path.exists() else []:
        with contextlib.suppress(ValueError, TypeError):
            key, figures = json.loads(line)
            runs[tuple(key)] = figures
    return runs


def note(path, key, figures):
    """Add a run to the file, if there is one: on a line of its own, the last may be torn."""
    if path:
        torn = path.exists() and not path.read_text().endswith("\n")
        with path.open("a") as file:
            file.write("\n" * torn + json.dumps([key, figures]) + "\n")


class Steps:
    """So many steps over `batches` as one epoch, for `loop`."""

    def __init__(self, batches, steps):
        self.batches, self.steps, self.at = batches, steps, batches.at

    def __len__(self):
        return self.steps

    def rows(self, epoch, i):
        return self.batches.rows(*divmod(i, len(self.batches)))


def timed(f, n):
    """Milliseconds per call, of n."""
    start = time.perf_counter()
    for _ in range(n):
        f()
    return (time.perf_counter() - start) * 1e3 / n


def turns(runs, rounds, seconds=1.0):
    """{name: n -> milliseconds per call, of n} -> {name: [those, one a round]}, A B A B, so that a
    slow moment hits both.
    """
    counts, times = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run(2)
        counts[name] = max(1, round(1e3 * seconds / run(1)))
    for _ in range(rounds):
        for name, run in runs.items():
            run(1)
            times[name].append(run(counts[name]))
    return times


def race(runs, rounds, seconds=1.0):
    """`turns` of functions in this process, {name: f}."""
    return turns({name: functools.partial(timed, f) for name, f in runs.items()}, rounds, seconds)


def speed(times, name, base):
    """How many times as fast as `base` is: the median over rounds."""
    return statistics.median(b / t for b, t in zip(times[base], times[name]))


def launch(script, env, before, options):
    """What subprocess is to start: the script's child(**options); `env` adds to its environment,
    `before` are words ahead of the command.
    """
    command = [*before, sys.executable, script, "--child", json.dumps(options)]
    return {
        "args": command,
        "env": os.environ | (env or {}),
        "stdout": subprocess.PIPE,
        "text": True,
    }


def ask(script, env=None, before=(), **options):
    """What the script's child(**options) gives, in a process of its own."""
    done = subprocess.run(**launch(script, env, before, options), check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def running(name, script, env=None, before=(), **options):
    """The script's child(**options), which is to `obey`, in a process of its own, as a function for
    `turns`.
    """
    process = subprocess.Popen(**launch(script, env, before, options), stdin=subprocess.PIPE)

    def run(n):
        with contextlib.suppress(BrokenPipeError):
            print(n, file=process.stdin, flush=True)
        line = process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{name}: its process ended before it answered, with code {process.wait()}"
            )
        return float(line)

    try:
        run(1)  # or it would still load and compile beside the next
        yield run
    finally:
        process.communicate()  # closes its stdin, which ends it, and waits


def obey(f):
    """Call f as often as each line of stdin says, and print milliseconds per call."""
    for line in sys.stdin:
        print(timed(f, int(line)), flush=True)


def answer(main, child):
    """Run a script: main(), or the child for the `ask` or `running` that started it."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(**json.loads(sys.argv[2]))))
    else:
        main()


def peak():
    """The most memory that this process has had at a time, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (20 if sys.platform == "darwin" else 10)
    )

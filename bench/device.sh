#!/bin/bash
# What a machine with a GPU is asked, in less than eight minutes and without a network.
#
#     bench/device.sh OUT          # everything
#     bench/device.sh OUT short    # a little of each part: a rehearsal, on a stand-in for CuPy too
#
# Needs CuPy, and a python3 (or $PYTHON) of 3.11 or later; what else is missing is named in
# OUT/environment.txt, and costs its part alone. Each part has its own limit and writes its own
# file as it goes: OUT/environment.txt, gan.txt and gan/, tests.txt, bench.txt, compile.txt. One
# line for each is in OUT/summary.txt. Exit status 0: every part ran to its end without a fault.

set -u
out=$(mkdir -p "${1:?usage: bench/device.sh OUT [short]}" && cd "$1" && pwd) || exit 2
size=${2:-full}
patience=1
[ "$size" = short ] && patience=5
python=${PYTHON:-python3}
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
failed=0
: > "$out/summary.txt"

part() {  # part NAME SECONDS COMMAND...: run it for so long at most
    local name=$1 limit=$(($2 * patience)) start=$SECONDS status=0
    shift 2
    { echo "\$ $*"; timeout --signal=INT --kill-after=10 "$limit" "$@"; } > "$out/$name.txt" 2>&1 || status=$?
    local words="status $status"
    [ $status = 0 ] && words="ok"
    [ $status = 124 ] || [ $status = 137 ] && words="cut short after $limit s"
    echo "$name: $words, $((SECONDS - start)) s" | tee -a "$out/summary.txt"
    [ $status = 0 ] || failed=1
}

has() { "$python" -c "import $1" 2> /dev/null; }

environment() {
    nvidia-smi || echo "nvidia-smi is missing or failed"
    "$python" - << 'END'
import importlib, os, platform, sys

print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
for name, for_what in {
    "numpy": "everything", "cupy": "everything", "PIL": "pictures", "tqdm": "training",
    "matplotlib": "the curves that end a training", "pytest": "the tests", "xdist": "eight tests at a time",
    "numba": "the speed of what runs on the CPU", "torch": "PyTorch's columns",
}.items():
    try:
        module = importlib.import_module(name)
        print(f"{name} {getattr(module, '__version__', '')}")
    except Exception as e:
        print(f"{name} is missing, which is for {for_what}: {type(e).__name__}: {e}")
if "torch" in sys.modules:
    print("PyTorch sees the GPU:", sys.modules["torch"].cuda.is_available())
from tinygan import device

device.resolve("gpu")
print(device.describe())
END
}
export -f environment
export python
part environment 40 bash -c environment

# What only draws curves and the progress may be missing: these do nothing, and are found last.
stubs="$out/stubs"
has tqdm || { mkdir -p "$stubs"; echo "from unittest.mock import MagicMock as tqdm" > "$stubs/tqdm.py"; }
has matplotlib || {
    mkdir -p "$stubs/matplotlib"
    cat > "$stubs/matplotlib/figure.py" << 'END'
from unittest.mock import MagicMock

class Figure(MagicMock):
    def savefig(self, path, **options):
        open(path, "wb").close()
END
}
[ -d "$stubs" ] && export PYTHONPATH="$PYTHONPATH:$stubs"

if [ "$size" = short ]; then
    gan=(--width 1 --batch-size 5000 --samples 20)
    tests=(-k "raw_function and gemm")
    rows=(--models vae-mlp --widths 1 --batch-sizes 4 --columns eager captured --precisions float32)
    rows+=(--rounds 1 --square 64)
else
    gan=(--samples 10000)  # to be judged elsewhere: python -m tinygan.evaluate
    tests=()
    rows=(--models gpt gan-dcgan gan-dcgan5x5 vae-conv gan-mlp flow ddpm --widths 1 --batch-sizes 128 --rounds 3)
    rows+=(--columns eager captured torch graphs)
fi
part gan 70 "$python" examples/mnist_gan.py --device gpu --epochs 2 "${gan[@]}" --out "$out/gan" --overwrite
has xdist && tests+=(-n "$(($(nproc) < 12 ? $(nproc) : 12))")
part tests 240 "$python" -m pytest tests/test_gpu.py tests/test_parallel.py -m gpu -v --tb=short -p no:cacheprovider \
    ${tests[@]+"${tests[@]}"}
part bench 150 "$python" bench/gpu.py "${rows[@]}" --limit 120
left=$((470 - SECONDS))  # torch.compile takes its time: what there is
if [ "$size" = full ] && [ $left -gt 60 ] && has torch; then
    part compile $left "$python" bench/gpu.py --models gan-dcgan gpt --widths 1 --batch-sizes 128 \
        --rounds 3 --columns captured compile --precisions float32 --limit $((left / 2))
fi
exit $failed

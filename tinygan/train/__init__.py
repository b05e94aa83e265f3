"""Training a model: a loop that yields records, callbacks that are told of them, a folder that
holds the run and from which it goes on.

Read `loop.py` first: `loop` is the whole of training, `train` is that and the folder.
`callbacks.py`, `pictures.py` and `trackers.py` have what happens beside the steps, one small class
a purpose, and `run.py` the files of a run. This room knows no algorithm.

Of a model it calls `step(batch) -> {name: raw scalar}` and, where they exist, `parts() -> {name:
thing with state_dict}` (what a checkpoint holds), `optimizers` (whose learning rates follow a
schedule), `sample(n)` and `preview(path)`, which writes path and a suffix. Of the data it needs
`len`, `rows(epoch, i)` and `at(rows)`, as `data.Batches` has them.
"""

from ..optim.schedules import constant, second_half
from .callbacks import (
    AtEnd, Bar, Callback, Checkpoint, EarlyStop, Evaluate, Lines, Log, Schedule,
)  # fmt: skip
from .loop import loop, train
from .pictures import Preview, Summary
from .run import Interrupted, RunExistsError, TrainingError, load
from .trackers import CSV, TRACKERS, TensorBoard, Tracker, WandB

__all__ = [
    "CSV", "TRACKERS", "AtEnd", "Bar", "Callback", "Checkpoint", "EarlyStop", "Evaluate",
    "Interrupted", "Lines", "Log", "Preview", "RunExistsError", "Schedule", "Summary",
    "TensorBoard", "Tracker", "TrainingError", "WandB", "constant", "load", "loop", "second_half",
    "train",
]  # fmt: skip

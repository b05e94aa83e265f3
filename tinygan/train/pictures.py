"""The callbacks that draw: what the model shows of itself each epoch, and the run at its end."""

import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

from .. import device, files, ops, plot
from .callbacks import Callback, say
from .run import DRAWING, drawn_in


class Preview(Callback):
    """What the model draws of itself each `every` epochs, in samples/."""

    def __init__(self, *, every=1):
        self.every = every

    def begin(self):
        run = self.run
        epoch, inside = divmod(run.start, run.steps)
        if epoch and not inside and epoch not in map(drawn_in, run.drawn()):
            self.draw(epoch)  # the run was cut between the checkpoint and its picture

    def epoch(self, record):
        if record["epoch"] % self.every == 0 or record["epoch"] == self.run.epochs:
            self.draw(record["epoch"])

    def draw(self, epoch):
        pictures = self.run.pictures
        with tempfile.TemporaryDirectory(dir=pictures, **DRAWING) as folder:
            preview(self.run.model, Path(folder) / f"epoch-{epoch:03}")
            for drawn in Path(folder).iterdir():
                with files.replacing(pictures / drawn.name) as temporary:
                    os.replace(drawn, temporary)


class Summary(Callback):
    """At the end of a run: its pictures as samples.gif, the losses as losses.png."""

    def end(self, error):
        if error is not None:
            return
        drawn, out = self.run.drawn(), self.run.out
        try:
            if frames := [path for path in drawn if path.suffix == ".png"]:
                plot.animate(frames, out / "samples.gif")
            plot.curves(self.run.records, out / "losses.png")
        except Exception as failed:  # the run is done, and its checkpoint saved
            warnings.warn(f"tinygan: {out}: could not be summed up: {failed}", stacklevel=2)
        if drawn:
            say(str(drawn[-1]))


def preview(model, path):
    """Let the model draw itself: it writes `path` with a suffix of its choice. Without a `preview`
    of its own it is a grid of samples, if those are images; else nothing.
    """
    if hasattr(model, "preview"):
        model.preview(path)
        if not any(path.parent.iterdir()):
            raise ValueError(f"preview(path) must write path and a suffix: {path.name}.png, say")
    elif hasattr(model, "sample"):
        images = np.asarray(device.to_host(ops.raw(model.sample(64))))
        if images.ndim == 4 and images.shape[1] in (1, 3):
            plot.grid(plot.to_uint8(images), path.with_suffix(".png"))

"""A training run as flags ask for it: its pictures, what a model must know of them, its figures and
its samples.
"""

import math
import sys
from pathlib import Path

import numpy as np

from .. import data, parallel, random
from ..data import DataError
from ..metrics import judge_of
from ..metrics.judge import LEAST
from ..train import TRACKERS, AtEnd, Evaluate, Preview, second_half, train
from ..train.callbacks import live, notebook, say, tqdm
from .parser import PASSING
from .samples import learnt, noted, save_samples

JUDGED = 5  # the random stream of the latent points of which the judge sees samples
JUDGED_MOST = 10_000  # of those, and of real pictures
# what a builder of models says -> the flag that helps
HELPING = {
    "side must": "--side",
    "heads cannot": "--heads",
    "timesteps": "--timesteps",
    "is of samples without labels": "--no-conditional",
    "keeps back all labels": "--drop",
    "taught samples without labels": "--guidance 1",
    "minibatch_std cannot": "another --model",
}
PREVIEWS = 200  # pictures that a run draws on its way, at most


def pictures(args, read):
    """What --data names, in the form that flags ask for. read: `data.load` or `data.split`.

    DataError for an --out that is the folder of the pictures, among which its own would be.
    """
    if args.data not in data.SETS and args.out.resolve() == Path(args.data).resolve():
        raise DataError(f"{args.out}: holds the pictures; take another --out")
    return read(args.data, args.side, args.colour, background=args.background, fit=args.fit)


def fitting(args, pictures):
    """What a builder of models must know of the pictures, as keywords: side, channels, and classes
    and their names, if it is to be taught them. DataError for what does not fit.
    """
    height, width, *channels = pictures.images.shape[1:]
    if height != width:
        raise DataError(
            f"{args.data}: its pictures are {height} x {width} pixels: --side N makes them square"
        )
    if len(pictures.images) < 2:
        raise DataError(f"{args.data}: leaves one picture to learn from; give two or more")
    if args.conditional and not pictures.classes:
        raise DataError(f"{args.data}: has no labels to teach; leave out --conditional")
    told = args.conditional or args.conditional is None and pictures.classes > 1
    classes, names = (pictures.classes, pictures.names) if told else (0, ())
    channels = channels[0] if channels else 1
    return {"side": height, "channels": channels, "classes": classes, "names": names}


def built(build, **options):
    """The model that `build` makes; DataError, with the flag that helps, for what it cannot be made
    for.
    """
    try:
        model = build(**options)
    except ValueError as error:
        flags = [f" ({flag})" for words, flag in HELPING.items() if words in str(error)]
        raise DataError(f"{error}{''.join(flags)}") from error
    check_given(type(model).__name__, model, options)
    return model


def check_given(name, model, given):
    """DataError, which `name` heads, for options about samples that were given, and that change
    nothing in what this flow or diffusion does.
    """
    if idle := [option for option in ("guidance", "drop") if option in given and not model.classes]:
        raise DataError(f"{name}: this model was taught no classes; leave out --{idle[0]}")
    steps, most = given.get("steps", 0), getattr(model, "timesteps", math.inf)
    if steps > most:
        raise DataError(f"{name}: this model's noise has {most} steps, not {steps} (--steps)")


def in_words(pictures):
    """Such as "1906 pictures of 32 x 32 in colour, 9 classes"."""
    count, height, width, *channels = pictures.images.shape
    classes = f", {pictures.classes} classes" if pictures.classes else ""
    classes = ", one class, which needs no labels" if pictures.classes == 1 else classes
    return f"{count} pictures of {height} x {width} in {'colour' if channels else 'grey'}{classes}"


def options(args, *names):
    """Those flags of `names` that were given, as keywords for what builds a model."""
    given = {name: getattr(args, name) for name in names}
    return {
        name: value for name, value in given.items() if value is not None and value is not False
    }


def share(args, batch_size, rows):
    """How many samples a step of a game takes for so many an update; DataError where they cannot be
    packed, or where all the `rows` that there are do not suffice for D's updates.
    """
    packing = args.packing or 1
    if batch_size % packing:
        raise DataError(
            f"--packing {packing}: a batch of {batch_size} leaves a rest: --batch-size takes "
            f"multiples of {packing}"
        )
    updates = args.n_critic or 1
    if batch_size <= rows < updates * batch_size:
        raise DataError(
            f"--n-critic {updates}: a step takes {updates} batches of {batch_size}, and there are "
            f"{rows} samples: lower it or --batch-size"
        )
    return batch_size * updates


def run_training(
    args, model, batches, *, real, step, config=None, schedule=second_half, callbacks=()
):
    """Train a model as the flags of `Parser.training` ask, and write the samples they ask for.

    real: the `Pictures` that --evaluate compares samples with; the rest: see `train`.
    """
    arguments = noted(args, PASSING)
    if args.evaluate:
        if (found := len(real.images)) < LEAST:  # before anything is made or replaced
            words = f"the judge needs {LEAST} pictures, found {found}; leave out --evaluate"
            raise DataError(f"{args.data}: {words}")
        callbacks = [Judged(args, model, real), *callbacks]
    if args.samples:
        labels = asked(model, real, args.samples)
        told = {"labels": labels, "learnt": learnt(arguments)}
        save = lambda: save_samples(model, args.samples, args.out / "samples.npz", **told)
        callbacks = [AtEnd(save), *callbacks]  # first: what a caller does at the end may fail
    if args.epochs > PREVIEWS:  # of a small set there may be a thousand, of a second each
        callbacks = [*callbacks, Preview(every=-(-args.epochs // PREVIEWS))]
    if args.track:
        callbacks = [*callbacks, TRACKERS[args.track]()]
    if parallel.count() > 1:
        say(f"{parallel.count()} processes, each with its share of a batch of {batches.batch_size}")
    train(
        model,
        batches,
        args.epochs,
        args.out,
        step=step,
        schedule=schedule,
        callbacks=callbacks,
        resume=args.resume,
        overwrite=args.overwrite,
        config={"precision": args.precision, **(config or {})},
        notes={"arguments": arguments},
        graph=not args.no_capture,
    )
    if parallel.number():  # what comes after training is the first process's
        sys.exit()


class Judged(Evaluate):
    """How as many samples compare with the real pictures. The judge, which may have to learn, is
    made as the run begins: a folder that is not for this run was refused before.
    """

    def __init__(self, args, model, real):
        super().__init__(None, every=args.evaluate, best="fid")
        self.args, self.model, self.real = args, model, real

    def begin(self):
        super().begin()
        model, n = self.model, min(JUDGED_MOST, len(self.real.images))
        judge = judge_of(self.real.rows(spread(self.real, n)), model.device, say=say, progress=bar)
        say(f"judge: {judge.about}")
        points = model.noise(n, random.Generator(self.args.seed, JUDGED))
        labels = asked(model, self.real, n)

        def figures():
            found = judge(model.sample(n, points, labels))
            return {name: found[name] for name in ("fid", "coverage")}

        self.figures = figures


def bar(steps):
    """The steps in which a judge learns, with a progress bar where somebody watches."""
    file = sys.stdout if notebook() else sys.stderr
    return tqdm()(steps, desc="judge", unit="step", leave=False, file=file, disable=not live())


def spread(real, n):
    """The numbers of n of the pictures, evenly from first to last: classes may be sorted."""
    return np.linspace(0, len(real.images) - 1, n).round().astype(int)


def asked(model, real, n):
    """The labels of n samples of a model: where classes have names, and so may be of any size, as
    often as the real pictures have them; else None, the classes in turn.
    """
    return real.labels[spread(real, n)] if model.names else None

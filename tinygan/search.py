"""python -m tinygan.search examples/mnist_gan.py --vary lr=1e-5:1e-2:log --trials 20 -- --epochs 4
--evaluate 1: with which settings of an example is a figure of its log best?

A trial runs the script as a process of its own, with the flags behind the lone dashes, those that
vary, and a folder in OUT. Its log is read as it grows: Optuna (Akiba 2019) is told the figure of
each epoch, stops a trial that is behind the median of the others there, and takes the next settings
from where good ones are dense (TPE, Bergstra 2011). What a search knows is in OUT/search.db: one
that was killed at any moment goes on with --resume.
"""

import argparse
import csv
import re
import shlex
import shutil
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from . import files, plot
from .cli import Parser, number, run, say
from .data import DataError
from .extras import package
from .train.loop import signals
from .trials import FORMS, Trial, share, short, space, start, words

STUDY, TABLE, PICTURE = "search.db", "search.csv", "search.png"
OURS = re.compile(r"search\.(db(-journal)?|csv|png)|trial-\d{3,}|\..*\.part.*")
# what a search keeps to its end, and what it is where nothing was said
SAID = {"script": None, "flags": [], "vary": [], "figure": "fid", "maximise": False, "seed": 0}
FREE = {"trials": 20, "prune": True}  # and what may be said anew
COLUMNS = "trial", "state", "seconds", "failed"  # of the table, beside figure and settings
STARTS = 5  # trials at random settings, before there is something to go by
FAILING = 3  # so many that failed, and none that did not, end a search
LOOK = 0.1  # seconds between looks at the logs


def main():
    """Open, search, show."""
    args = arguments()
    optuna = package("optuna", "tinygan[search]")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check(args)
    if not args.again:
        asked(optuna, args, {})  # before anything is made
    args.out.mkdir(parents=True, exist_ok=True)
    with files.locked(args.out), signals() as caught:
        study, spaces = opened(optuna, args)
        search(optuna, study, spaces, args, caught)
        rows = tabulated(study, spaces, args)
        draw(rows, spaces, args)
    for cells in [[*rows[0]][:-1], *([*map(in_words, row.values())][:-1] for row in rows)]:
        say("".join(f"{cell:>14}" for cell in cells))
    if rows[0]["state"] != "done":
        raise DataError(f"{args.out}: no trial came to its end; {TABLE} there says why")
    say(f"{args.out / TABLE}, {args.out / PICTURE}; the best, trial {rows[0]['trial']}:")
    say(shlex.join(["python", args.script, *args.flags, *words(study.best_params)]))


def check(args):
    """DataError if the folder is not for such a search: what was not made here is left alone."""
    found = {path.name for path in args.out.iterdir()} if args.out.is_dir() else set()
    other = sorted(name for name in found if STUDY not in found or not OURS.fullmatch(name))
    if other:
        raise DataError(f"{args.out / other[0]}: was not made by a search; take another --out")
    if args.again and not found:
        raise DataError(f"{args.out}: holds no search; leave out --resume to begin one")
    if found and not args.again and not args.overwrite:
        raise DataError(
            f"{args.out}: holds a search already (--resume, --overwrite or another --out)"
        )


def opened(optuna, args):
    """The study in OUT and {name: what it varies over}. The args of one that goes on become what
    they were, and trials that did not end are to be run again.
    """
    path = args.out / STUDY
    for old in args.out.iterdir() if args.overwrite else ():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        kept = optuna.get_all_study_names(storage)
        study = optuna.load_study(study_name=STUDY, storage=storage) if kept else None
        said = study.user_attrs.get("said") if kept and study.get_trials() is not None else None
    except Exception as error:  # whatever SQLAlchemy makes of a file that is none of its own
        words = str(error).partition("\n")[0]
        raise DataError(f"{path}: no search, or a broken one ({words})") from None
    if args.again and not said:
        raise DataError(f"{path}: holds no search yet; begin one with --overwrite")
    spaces, starts = asked(optuna, args, said or {})
    direction = "maximize" if args.maximise else "minimize"
    study = study or optuna.create_study(study_name=STUDY, storage=storage, direction=direction)
    study.set_user_attr("said", {name: getattr(args, name) for name in SAID | FREE})
    study.pruner = optuna.pruners.MedianPruner(STARTS)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    for chosen in starts:
        study.enqueue_trial(chosen, skip_if_exists=True)
    return study, spaces


def asked(optuna, args, said):
    """{name: what it varies over} and the settings to start from. Args become what was `said` when
    the search began, where they say nothing; DataError where they say something else, whose figures
    could not be compared.
    """
    for name, usual in (SAID | FREE).items():
        now, was = getattr(args, name), said.get(name, usual)
        if now is None or now == []:
            setattr(args, name, was)
        elif said and now != was and name in SAID:
            was = " ".join(was) if isinstance(was, list) else was
            raise DataError(f"{args.out}: another search: its {name} is {was} (another --out)")
    if not args.script or not args.vary:
        raise DataError("a new search needs SCRIPT and --vary")
    if not Path(args.script).is_file():
        raise DataError(f"{args.script}: there is no such script")
    spaces = [space(optuna, text) for text in args.vary]
    columns = [*COLUMNS, args.figure, *(name for name, _ in spaces)]
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"--vary, --figure: {name} would be two columns of the table")
    for name, _ in spaces:
        if f"--{name}" in (flag.partition("=")[0] for flag in args.flags):
            raise DataError(f"--vary {name}: --{name} stands behind the lone -- as well")
    spaces = dict(spaces)
    return spaces, [start(spaces, texts) for texts in args.start or ()]


def search(optuna, study, spaces, args, caught):
    """Run trials until there are as many as were asked for. KeyboardInterrupt if a signal was
    `caught`; DataError if all fail.
    """
    running, failures = {}, []  # {slot: Trial}, and what is known of those that ended
    try:
        while not caught:
            for slot in sorted({*range(args.jobs)} - {*running}):
                if trial := following(optuna, study, spaces, args):
                    running[slot] = begun(trial, args, share(slot, args.jobs))
            if not running:
                return
            time.sleep(LOOK)
            for slot, each in [*running.items()]:
                if over(optuna, study, each, args):
                    del running[slot]
                    failures.append(report(study, spaces, args, each.trial.number)["failed"])
            if len(failures) >= FAILING and all(failures):
                raise DataError(f"the first {len(failures)} trials failed: {failures[-1]}")
    finally:
        for each in running.values():
            each.process.terminate()  # all of them, before one is waited for
        for each in running.values():
            each.stop()
    stopped = KeyboardInterrupt(f"stopped; {args.out} holds the search (--resume)")
    stopped.signal = caught[0]
    raise stopped


def following(optuna, study, spaces, args):
    """Optuna's next trial; None if there are as many as were asked for."""
    put_off = optuna.trial.TrialState.WAITING, optuna.trial.TrialState.FAIL
    number = sum(trial.state not in put_off for trial in study.get_trials(deepcopy=False))
    if number >= args.trials:
        return None
    # a search that goes on asks for what it would have asked for
    seed = zlib.crc32(f"{args.seed} {number}".encode())
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTS, seed=seed)
    return study.ask(spaces)


def begun(trial, args, cores):
    """The trial with its process."""
    command = [sys.executable, args.script, *args.flags]
    return Trial(trial, args.figure, args.out / f"trial-{trial.number:03}", command, cores)


def over(optuna, study, each, args):
    """Whether a trial ended, failed, or is stopped here, which the study is told then."""
    code = each.process.poll()
    news = each.follow(ended=code is not None)
    pruned = code is None and news and args.prune and each.trial.should_prune()
    if code is None and not pruned:
        return False
    if pruned:
        each.stop()
    failed = "" if pruned else each.complaint()
    if failed:
        each.trial.set_user_attr("failed", failed)
    each.trial.set_user_attr("seconds", round(time.monotonic() - each.clock, 1))
    if failed or pruned:  # TPE learns of both that these are no good settings
        study.tell(each.trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(each.trial, each.figure())
    return True


def report(study, spaces, args, number):
    """Say how a trial ended, and write the table; its row."""
    rows = tabulated(study, spaces, args)
    (row,) = [row for row in rows if row["trial"] == number]
    settings = ", ".join(f"{name} {in_words(row[name])}" for name in spaces)
    figure = row["failed"] or f"{args.figure} {in_words(row[args.figure])}"
    best = f"; best {in_words(rows[0][args.figure])}" if rows[0]["state"] == "done" else ""
    say(f"trial {number} {row['state']}: {settings}: {figure}, {row['seconds']:.0f} s{best}")
    return row


def tabulated(study, spaces, args):
    """Write the trials that ended as a table; its rows, {column: value}, the best first."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if "seconds" in trial.user_attrs and trial.state.is_finished():
            failed = trial.user_attrs.get("failed", "")
            state = "failed" if failed else "done" if trial.state.name == "COMPLETE" else "pruned"
            figure = None if failed else trial.value
            row = {"trial": trial.number, args.figure: figure, **trial.params, "state": state}
            rows.append(row | {"seconds": trial.user_attrs["seconds"], "failed": failed})
    order, sign = ["done", "pruned", "failed"], -1 if args.maximise else 1
    rows.sort(key=lambda row: (order.index(row["state"]), sign * (row[args.figure] or 0)))
    with files.replacing(args.out / TABLE) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def in_words(value):
    """A cell of the table."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return short(value)


def draw(rows, spaces, args):
    """Draw the trials, in their order."""
    rows = sorted(rows, key=lambda row: row["trial"])
    found = [(row["trial"], row[args.figure], row["state"]) for row in rows]
    settings = {name: [row[name] for row in rows] for name in spaces}
    log = [name for name, kind in spaces.items() if getattr(kind, "log", False)]
    best = np.maximum if args.maximise else np.minimum
    plot.trials(found, settings, args.out / PICTURE, name=args.figure, log=log, best=best)


def arguments():
    """The command line."""
    parser = Parser("Search for the settings of an example with which a figure of its log is best.")
    parser.usage = "%(prog)s SCRIPT --vary NAME=LOW:HIGH ... [options] [-- FLAGS OF SCRIPT]"
    add = parser.add_argument
    add("script", nargs="?", metavar="SCRIPT", help="an example, or what has such flags and a log")
    forms = f"flags of SCRIPT that vary: {FORMS}"
    add("--vary", nargs="+", metavar="SPACE", help=forms)
    first = "settings to begin with, NAME=VALUE for some of those that vary; may be said often"
    add("--start", nargs="+", action="append", metavar="SETTING", help=first)
    add("--trials", type=number(int, 1, 100_000), help="in all (default: 20)")
    add("--figure", help="of the log, the least at the end of a run is best (default: fid)")
    add("--maximise", action="store_true", default=None, help="the most is best")
    stop = "stop a trial that is behind the median of the others at its epoch (default: yes)"
    add("--prune", action=argparse.BooleanOptionalAction, help=stop)
    at_once = "trials at a time, each with its share of the cores"
    add("--jobs", type=number(int, 1, 1000), default=1, metavar="N", help=at_once)
    add("--seed", type=number(int, 0, 2**32 - 1), help="of the search alone (default: 0)")
    add("--out", type=Path, default=Path("runs/search"), metavar="DIR", help="where it all lies")
    begun = parser.add_mutually_exclusive_group()
    again = "go on with the search in --out, as it was begun; --trials may ask for more"
    begun.add_argument("--resume", dest="again", action="store_true", help=again)
    anew = "begin anew in an --out that holds a search"
    begun.add_argument("--overwrite", action="store_true", help=anew)
    own, flags = sys.argv[1:], []
    if "--" in own:
        own, flags = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)
    args.flags = flags
    return args


if __name__ == "__main__":
    run(main)

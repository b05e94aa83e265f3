"""PyTorch's own databases of operations and modules, put to tinygan: who answers, who refuses.

    python bench/torch_ops.py [--reference] [--extremal] [--modules] [--only sum,std] [--out FILE]

Each sample of op_db (torch.testing._internal, float64) is put to every face that tinygan has of
that operation: the function of `ops` or of the losses, the method of `Tensor` with PyTorch's own
arguments, the operator. A face is found by its name; TABLE holds those whose name or arguments
differ. Compared to 1e-10: the value; the gradient for a random cotangent, plain and recorded; the
gradient, to inputs and cotangent, of the inner product of the gradients with random arrays; the
value of inputs that lie otherwise in memory. Then the value (1e-5) and the gradient (1e-4) in
float32, to which the inputs are rounded beforehand.

equal: all of these. explained: they differ, for the reason in EXPLAINED. differs: a wrong number,
shape or dtype. refused: a ValueError, TypeError or IndexError that names something public.
crashed: any other error. missing: an option outside this table. --reference: the larger sets of
samples. --extremal: NaN, infinities, huge and tiny numbers. --modules: module_db instead, with
constructor arguments, state_dict and the gradients of the parameters.
"""

import argparse
import contextlib
import functools
import itertools
import json
import re
import types
import warnings

import numpy as np
import torch
from torch.func import functional_call
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.opinfo import core
from torch_compare import KINDS, DiffersError, Theirs, leaves_of, mapped, outcome
from torch_faces import faces

from tinygan import Tensor, nn

torch.set_num_threads(1)  # the arrays are tiny


def samples(info, reference, extremal):
    """The database's samples, rounded to float32 where that is finite."""
    makers = [info.reference_inputs if reference else info.sample_inputs]
    kinds = {core.UnaryUfuncInfo: "unary", core.BinaryUfuncInfo: "binary"}
    for kind in [word for cls, word in kinds.items() if extremal and isinstance(info, cls)]:
        for values in "extremal", "small", "large":
            maker = getattr(core, f"generate_elementwise_{kind}_{values}_value_tensors")
            makers.append(functools.partial(maker, info))
    for make in makers:
        late = False
        torch.manual_seed(0)
        options = {"device": "cpu", "dtype": torch.float64}
        try:
            made = list(make(**options, requires_grad=info.supports_autograd))
        except (RuntimeError, ValueError):  # it writes in place, or makes integers by the same call
            torch.manual_seed(0)
            made, late = list(make(**options, requires_grad=False)), info.supports_autograd
        for sample in made:
            for t in leaves_of([sample.input, sample.args, sample.kwargs]):
                if t.dtype == torch.float64:
                    rounded = t.detach().float().double()
                    with contextlib.suppress(RuntimeError):  # an expanded one
                        t.data.copy_(torch.where(rounded.isfinite(), rounded, t.detach()))
                    if late:
                        t.requires_grad_()
            yield sample


def show(thing):
    """An argument in few words."""
    if isinstance(thing, torch.Tensor):
        strides = "" if thing.is_contiguous() else f" strides {thing.stride()}"
        return f"{str(thing.dtype)[6:]}{tuple(thing.shape)}{strides}"
    if isinstance(thing, dict):
        return ", ".join(f"{key}={show(value)}" for key, value in thing.items())
    if isinstance(thing, list | tuple):
        return "(" + ", ".join(map(show, thing)) + ")"
    return repr(thing)


def inputs_of(*parts):
    return ", ".join(filter(None, (show(part) for part in parts)))


class Rows(list):
    """One row for each face: how many samples of each kind, and up to six of their words."""

    def __init__(self, progress):
        self.progress = progress

    def add(self, row, kind, text, sample):
        row[kind] = row.get(kind, 0) + 1
        told = row["told"].setdefault(kind, {})
        if text and len(told) < 6:
            told.setdefault(re.sub(r"[\d.-]+", "", text)[:60], f"({sample}) -> {text}")

    def close(self, *rows):
        self.extend(rows)
        for row in rows:
            self.progress(row)


def run(only=(), reference=False, extremal=False, limit=None, progress=lambda row: None):
    rows = Rows(progress)
    for info in op_db:
        full, found = faces(info)
        wanted = not only or full in only or info.name in only
        if not found or not wanted or not info.supports_dtype(torch.float64, "cpu"):
            continue
        own = {name: {"op": full, "face": name, "told": {}} for name in found}
        for sample in itertools.islice(samples(info, reference, extremal), limit):
            if sample.kwargs.get("dropout_p"):  # random: no two are alike
                continue
            told = inputs_of(sample.input, *sample.args, sample.kwargs)
            theirs = answer(info.op, sample)
            for name, face in found.items():
                rows.add(own[name], *outcome(full, face, theirs, sample), told)
        rows.close(*own.values())
    return rows


def answer(op, sample):
    """PyTorch's answers, or the words with which it refuses its own sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Theirs(op, sample)
        except Exception as e:
            return f"{type(e).__name__}: {e}"[:200]


def run_modules(only=(), limit=None, progress=lambda row: None):
    rows = Rows(progress)
    for info in module_db:
        if only and info.name not in only:
            continue
        row = {"op": info.name, "face": info.name, "told": {}}
        for training in True, False:
            torch.manual_seed(0)
            all_of_them = info.module_inputs_func(info, "cpu", torch.float64, True, training)
            for given in itertools.islice(all_of_them, limit):
                made, fed = given.constructor_input, given.forward_input
                if fed is not None:
                    told = f"{inputs_of(*made.args, made.kwargs)}) in training={training} mode of ("
                    told += inputs_of(*fed.args, fed.kwargs)
                    rows.add(row, *module(info, given, training), told)
        rows.close(row)
    return rows


def module(info, given, training):
    """Parameters are handed over as further arguments, so that their gradients are compared too."""
    name, made, fed = info.name.removeprefix("nn."), given.constructor_input, given.forward_input
    if not hasattr(nn, name) or any(isinstance(x, torch.nn.Module) for x in made.args):
        return "missing", ""  # or made of a layer of PyTorch's own
    try:
        torch.manual_seed(1)
        theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
    except Exception:
        return "theirs", ""
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    names = [n for n, _ in theirs.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in theirs.parameters()]
    sample = types.SimpleNamespace(input=list(fed.args), args=weights, kwargs=fed.kwargs)

    def op(inputs, *weights, **kwargs):
        fresh = {key: value.clone() for key, value in state.items()}
        return functional_call(theirs, fresh | dict(zip(names, weights)), tuple(inputs), kwargs)

    def face(inputs, *weights, **kwargs):
        args, options = mapped([list(made.args), made.kwargs], lambda t: t.detach().numpy())
        net = getattr(nn, name)(*args, **options).double().train(training)
        if list(net.state_dict()) != list(state):
            raise DiffersError(f"state_dict has {list(net.state_dict())}, expected {list(state)}")
        net.load_state_dict(state)
        if any(
            x.dtype == np.float32
            for x in (*inputs, *weights, *kwargs.values())
            if isinstance(x, Tensor)
        ):
            net.float()
        for path, weight in zip(names, weights):
            *way, last = path.split(".")
            home = net
            for step in way:
                home = getattr(home, step)
            vars(home)[last] = weight
        return net(*inputs, **kwargs)

    return outcome(info.name, face, answer(op, sample), sample)


def summary(rows):
    """The totals in two lines."""
    rows = [row for row in rows if any(row.get(kind) for kind in KINDS)]
    answered = {row["op"] for row in rows if row.get("equal", 0) + row.get("explained", 0)}
    counts = ", ".join(f"{sum(row.get(kind, 0) for row in rows)} {kind}" for kind in KINDS)
    here = len({row["op"] for row in rows})
    total = f"{len(answered)} answered of {here} that tinygan has, under {len(rows)} names"
    return f"{total}\nsamples: {counts}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", action="store_true", help="the larger sets of samples")
    parser.add_argument("--extremal", action="store_true", help="NaN, infinities, huge, tiny")
    parser.add_argument("--modules", action="store_true", help="the database of modules instead")
    parser.add_argument("--all", action="store_true", help="every row, not only the troubled")
    parser.add_argument("--only", default="", help="names of PyTorch's, with commas")
    parser.add_argument("--limit", type=int, help="so many samples of each operation at most")
    parser.add_argument("--out", help="a file for the rows, as JSON")
    args = parser.parse_args()

    def progress(row):
        if args.all or any(row.get(kind) for kind in ("differs", "refused", "crashed")):
            counts = " ".join(
                f"{row[kind]} {kind}" for kind in (*KINDS, "missing", "theirs") if row.get(kind)
            )
            print(f"{row['op']:36} {row['face']:24} {counts}", flush=True)
            for kind in "differs", "crashed", "refused":
                for line in row["told"].get(kind, {}).values():
                    print(f"      {kind}: {line}", flush=True)

    only = [name for name in args.only.split(",") if name]
    if args.modules:
        rows = run_modules(only, args.limit, progress)
    else:
        rows = run(only, args.reference, args.extremal, args.limit, progress)
    print(summary(rows))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"torch": torch.__version__, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()

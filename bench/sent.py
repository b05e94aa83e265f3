"""What the processes of a training send each other, and when: noted where it is handed to MPI, and
expected from the model's shapes.
"""

import time
import types


class Watch:
    """Stands between a `parallel.MPI` and its library, and notes what is begun and completed."""

    def __init__(self, world):
        self.plain, self.world, self.begin_plain = world.mpi.Request, world, world.begin
        self.reduced_plain, self.wait_plain = world.reduced, world.wait
        self.log, self.ends, self.inside = [], [], False
        world.mpi = types.SimpleNamespace(IN_PLACE=world.mpi.IN_PLACE, Request=self)
        world.begin, world.reduced, world.wait = self.begin, self.reduced, self.wait

    def now(self):
        return 1e3 * (time.perf_counter() - self.start)

    def begin(self, flat):
        request, kind = self.begin_plain(flat), "others" if self.inside else "gradients"
        event = {"kind": kind, "bytes": flat.nbytes, "begun": self.now(), "done": None}
        self.log.append((event, request))
        return request

    def Testall(self, requests):
        complete = self.plain.Testall(requests)
        for event, request in self.log:
            if event["done"] is None and request.Test():
                event["done"] = self.now()
        return complete

    def reduced(self, x):
        self.inside = True
        try:
            return self.reduced_plain(x)
        finally:
            self.inside = False

    def wait(self, requests):
        if not self.inside:  # a walk has ended: its gradients are waited for
            self.ends.append(self.now())
        self.wait_plain(requests)

    def step(self, f):
        """What one step sent, {"sent": [events], "seconds", "hidden"}, in milliseconds from its
        begin; "end" of an event is that of its walk, "hidden" the part of the gradients' time
        before it.
        """
        self.log, self.ends, self.start = [], [], time.perf_counter()
        f()
        seconds, sent = self.now(), [event for event, _ in self.log]
        own = [event for event in sent if event["kind"] == "gradients"]
        for event in own:
            event["end"] = min(end for end in self.ends if end >= event["begun"])
        under_way = sum(e["done"] - e["begun"] for e in own)
        within = sum(max(0, min(e["done"], e["end"]) - e["begun"]) for e in own)
        return {"sent": sent, "seconds": seconds, "hidden": within / under_way if own else 0}


def expected(model, batch_size):
    """{"gradients", "others"}: the bytes that a float32 step of a model must send."""
    updates = len(model.slices(batch_size)) if hasattr(model, "slices") else 1
    counts = [1] * len(model.optimizers)
    if hasattr(model, "d_optimizer"):
        counts[model.optimizers.index(model.d_optimizer)] = updates
    pairs = zip(counts, model.optimizers)
    gradients = sum(n * p.data.nbytes for n, o in pairs for p in o.params)
    # forward for each update's samples, and backward for the last's
    moments = (2 * updates + 2) * 4 * sum(channels(model))
    losses = 2 if hasattr(model, "d_optimizer") else len(getattr(model, "losses", ("loss",)))
    return {"gradients": gradients, "others": moments + 4 * (losses + 1)}


def channels(model):
    """Those of each batch normalisation that is trained."""
    parts = [m for m in model.parts().values() if hasattr(m, "modules")]
    norms = [m for part in parts for m in part.modules() if type(m).__name__.startswith("BatchN")]
    return [m.num_features for m in norms if m.training]


def draw(step, path):
    """A picture of a step: what was under way when, a row each, and where walks end."""
    from matplotlib.figure import Figure

    own = [e for e in step["sent"] if e["kind"] == "gradients"]
    figure = Figure(figsize=(8, 0.25 * len(own) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, e in enumerate(own):
        axes.barh(row, e["done"] - e["begun"], left=e["begun"], color="tab:blue")
        axes.text(e["done"], row, f" {e['bytes'] / 1e6:.2g} MB", va="center", fontsize=7)
    for end in {e["end"] for e in own}:
        axes.axvline(end, color="tab:red", linewidth=1)
    axes.set(xlabel="ms since the step began; red: a backward walk ends", ylabel="bucket")
    axes.set(xlim=(0, step["seconds"]), yticks=[])
    figure.savefig(path, dpi=100)

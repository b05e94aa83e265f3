"""Four ways to choose latent points whose samples are better: by rejection, by Markov chains, as
the best of a few, and by climbing.

This file knows scores, which may be D's or anybody's, and `Calibration`, which makes D's a ratio of
densities.
"""

import inspect

import numpy as np

from .. import device, ops, random
from ..autograd import Tensor, grad
from ..models.labels import joined, one_hot
from .calibration import Calibration
from .draws import ROWS, Critic, Refined, asked, judged, kinds, log_uniform, part, propose, whole


class RejectionError(RuntimeError):
    """D rejects so much that the draws that were allowed give too few samples."""


def rejection(
    model,
    n,
    labels=None,
    *,
    calibration=None,
    percentile=95.0,
    burn_in=10_000,
    epsilon=1e-6,
    most=None,
    source=None,
):
    """n samples by discriminator rejection sampling (Azadi 2019, figure 1): a sample is kept with
    probability p_data / (M p_G), where M is the largest ratio seen of its class.

    labels: the class of each sample asked for, which stays so; None: in turn. calibration: of D's
    logits, which else are taken as they are: for log(p_data / p_G). Those of logistic losses are
    meant so, R3GAN's but for a constant, which M takes up; those of the hinge, of least squares and
    of WGANs are scores, and need the calibration. burn_in: samples, of all classes together, that
    look for M first; later ones may raise it. percentile: as M is large, few would be kept; so the
    odds of all are raised until they are even at this percentile of the samples. Of a DCGAN's
    digits a half is kept at 50, a third at 80, the paper's, and a fifth at 95; None is exact
    rejection. most: the draws after which there is a RejectionError, 1,000 a sample unless given.
    """
    if percentile is not None and not 0 <= percentile <= 100:
        raise ValueError(f"rejection: percentile must be from 0 to 100 or None, got {percentile}")
    if not 0 < epsilon < np.inf:
        raise ValueError(f"rejection: epsilon must be above 0, and finite, got {epsilon}")
    labels, source = asked(model, n, labels), source or random.default
    most = 1000 * n if most is None else most
    whole("rejection", burn_in=burn_in, most=most)
    critic = Critic(model, calibration)
    classes, kind = np.unique(kinds(labels, n), return_inverse=True)
    each = -(-burn_in // len(classes))
    told = None if labels is None else classes.repeat(each)
    _, first = propose(model, each * len(classes), told, critic, source)
    acceptance = _Acceptance(first.reshape(len(classes), each), percentile, epsilon)
    points, scores = np.empty((n, model.latent), np.float32), np.empty(n)
    waiting, draws, taken = np.arange(n), 0, 0
    while len(waiting):
        if draws >= most:
            few = f"{draws} draws gave {n - len(waiting)} of {n} samples"
            remedy = "raise most, or lower percentile"
            raise RejectionError(f"rejection: {few}, as D rejects nearly all: {remedy}")
        # where few wait, each gets several proposals, and takes the first that is kept
        slots = np.resize(waiting, min(ROWS, most - draws))
        new, found = propose(model, len(slots), part(labels, slots), critic, source)
        log_p = acceptance(found, kind[slots])
        kept = np.flatnonzero(log_uniform(len(slots), source) <= log_p)
        filled, where = np.unique(slots[kept], return_index=True)
        points[filled] = new[kept[where]]
        scores[filled] = found[kept[where]]
        waiting = np.setdiff1d(waiting, filled)
        draws += len(slots)
        taken += len(kept)
    points = device.to(points, model.device)
    return Refined(points, labels, scores, taken / draws, draws + len(first))


class _Acceptance:
    """The log probability that samples are kept, by their log ratios and kinds, (n,) each: that of
    sigmoid(F - gamma), Azadi 2019, equations 7 and 8, where each kind has an M of its own.

    first: the log ratios of the burn-in, (kinds, each).
    """

    def __init__(self, first, percentile, epsilon):
        self.top, self.epsilon = first.max(1), epsilon  # top: log M, (kinds,)
        self.even = None if percentile is None else np.percentile(first, percentile, axis=1)

    def odds(self, ratios, kind):
        """F: sigmoid(F) is exp(ratio) / M, but for epsilon."""
        below = ratios - self.top[kind]
        return below - np.log(-np.expm1(below - self.epsilon))

    def __call__(self, ratios, kind):
        np.maximum.at(self.top, kind, ratios)
        gamma = 0.0 if self.even is None else self.odds(self.even[kind], kind)
        return -np.logaddexp(0, gamma - self.odds(ratios, kind))


def metropolis_hastings(model, n, calibration, labels=None, *, steps=100, source=None):
    """n samples by the Metropolis-Hastings GAN (Turner 2019, algorithm 1): each is where a chain
    ends that was offered `steps` samples of G, and moved to one with probability min(1, its ratio
    p_data / p_G over that of where the chain was). No largest ratio is needed.

    A chain begins at the score of a real sample of its class, one of those of the `Calibration`,
    and so needs no burn-in; one that never moved begins again, at a sample of G's. Costs n * steps
    samples. `accepted` is the share of offers that were taken: of 1 D has nothing to say, near 0
    more steps are needed.
    """
    whole("metropolis_hastings", steps=steps)
    if not isinstance(calibration, Calibration):
        wanted = "needs the Calibration that refine.calibrated(model, images) finds"
        raise ValueError(f"metropolis_hastings: {wanted}, got {calibration!r:.50}")
    labels, source = asked(model, n, labels), source or random.default
    critic = Critic(model, calibration)
    at = _starts(calibration, kinds(labels, n), np.exp(log_uniform(n, source)))
    points = np.empty((n, model.latent), np.float32)
    moves = np.zeros(n, int)

    def walk(chains):
        for _ in range(steps):
            new, found = propose(model, len(chains), part(labels, chains), critic, source)
            taken = log_uniform(len(chains), source) <= found - at[chains]
            there = chains[taken]
            points[there] = new[taken]
            at[there] = found[taken]
            moves[there] += 1

    walk(np.arange(n))
    stuck = np.flatnonzero(moves == 0)
    if len(stuck):
        told = part(labels, stuck)
        points[stuck], at[stuck] = propose(model, len(stuck), told, critic, source)
        walk(stuck)
    offers = (n + len(stuck)) * steps
    points = device.to(points, model.device)
    return Refined(points, labels, at, moves.sum() / offers, offers + len(stuck))


def _starts(known, wanted, uniform):
    """The log ratio of a real sample of each class that is wanted (n,), picked by numbers from
    (0, 1] among those of a `Calibration`.
    """
    at, theirs = np.empty(len(wanted)), kinds(known.labels, len(known.real))
    for kind in np.unique(wanted):
        own, here = known.real[theirs == kind], wanted == kind
        if not len(own):
            missing = f"no real sample of class {kind} was calibrated with"
            raise ValueError(f"metropolis_hastings: {missing}, where its chains could begin")
        at[here] = own[np.ceil(uniform[here] * len(own)).astype(int) - 1]
    return at


def best_of(model, n, k, score=None, labels=None, *, source=None):
    """n samples, each the best of k of its class by a score; of VAEs, too, if a score is given.

    score: (samples, labels) -> (n,), the higher the better, such as how sure a judge is of the
    class that was asked for; None: D's logits. Samples become what the score likes, and that only:
    the larger k, the more alike they are, and coverage and recall fall; and whoever chose them
    cannot judge them any more.
    """
    whole("best_of", k=k)
    if score is not None and not _of_two(score):
        wanted = "a function of (samples, labels) that gives (n,)"
        raise ValueError(f"best_of: score must be {wanted}, got {score!r:.50}")
    labels, source = asked(model, n, labels), source or random.default
    score = score or Critic(model)
    points, scores = propose(model, n, labels, score, source)
    points = points.copy()
    for _ in range(k - 1):
        new, found = propose(model, n, labels, score, source)
        better = found > scores
        points[better] = new[better]
        scores[better] = found[better]
    return Refined(device.to(points, model.device), labels, scores, 1 / k, n * k)


def _of_two(score):
    """Whether it can be called with samples and labels."""
    try:
        inspect.signature(score).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a function written in C may not say
        pass
    return True


def latent_optimised(model, n, labels=None, *, steps=10, lr=0.1, damping=None, source=None):
    """n samples whose points climbed D's logit: `steps` times z + lr * g, where g is the gradient
    of D(G(z)), plain unless there is a damping.

    damping: of the natural gradient, g / (damping + |g|**2), where one sample stands for the Fisher
    information (Wu 2019, equation 13; theirs is one step, lr 0.9 and damping 5). Where D is right,
    a few small steps mend flaws (Liu 2020 climbs in a layer of G instead); many lead out of the
    Gaussian that G knows, to the few samples that D likes best.
    """
    whole("latent_optimised", steps=steps)
    lr, damping = float(lr), None if damping is None else float(damping)  # no NumPy scalars
    labels, critic = asked(model, n, labels), Critic(model)
    points = model.noise(n, source)
    for i in range(0, n, ROWS):
        told = part(labels, slice(i, i + ROWS))
        z = points[i : i + ROWS]
        rows = one_hot(told, model.classes, z)
        for _ in range(steps):
            z = Tensor(z)
            g = grad(ops.sum(critic(model.draw(joined(z, rows)), told)), z)
            if damping is not None:
                g = g / (damping + (g**2).sum(1, keepdims=True))
            z = z.data + lr * g
        points[i : i + ROWS] = z
    scores = judged(model, points, labels, critic)
    return Refined(points, labels, scores, 1.0, n * (steps + 1))

"""Schedules of the learning rate: functions from progress, which goes from 0 to 1, to a factor.

For the trainer `train(..., schedule=schedules.cosine)`; in a loop of one's own
`optimizer.lr = lr * cosine(step / steps)`; other numbers `lambda progress: cosine(progress, 0.1)`.
"""

import math


def constant(progress):
    """Always 1."""
    return 1.0


def second_half(progress):
    """1 for the first half, then on a straight line down to 0."""
    return min(1.0, 2 * (1 - progress))


def linear(progress, start=1.0, end=0.0):
    """On a straight line from `start` to `end`."""
    return start + (end - start) * progress


def cosine(progress, end=0.0):
    """From 1 to `end` along half a wave (Loshchilov & Hutter 2017)."""
    return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2


def exponential(progress, end=0.01):
    """From 1 to `end`, by the same factor in every step."""
    return end**progress


def steps(progress, at=(0.5, 0.75), factor=0.1):
    """1, and less by `factor` from each progress in `at` on."""
    return factor ** sum(progress >= p for p in at)


def warmup(schedule=constant, share=0.1, start=0.0):
    """The schedule that rises from `start` to 1 in the first `share` of training and runs through
    all of `schedule` in the rest.
    """
    if not 0 <= share < 1:
        raise ValueError(f"warmup: share must be from 0 to below 1, got {share}")

    def warmed(progress):
        if progress < share:
            return linear(progress / share, start, 1.0)
        return schedule((progress - share) / (1 - share))

    return warmed

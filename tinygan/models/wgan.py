"""Wasserstein GANs: a critic whose slopes are bounded, by clipped weights (Arjovsky 2017) or by a
penalty (Gulrajani 2017).

A critic's slope is meant to be that at one sample, so that batch normalisation, by which it depends
on others, does not belong in one (Gulrajani 2017, section 4); `nn.MinibatchStdDev`, which does the
same, is used all the same (Karras 2018).
"""

from .. import random
from ..nn.losses import gradient_penalty, wasserstein
from .gan import GAN, check


class WGAN(GAN):
    """The Wasserstein GAN by clipping: after each update, D's weights are cut to [-clip, clip]
    (Arjovsky 2017, algorithm 1; there with n_critic=5, lr 5e-5 and no momentum).

    That is a crude bound: weights gather at -clip and clip, and as D is deep or narrow its
    gradients vanish or explode (Gulrajani 2017, section 3).
    """

    def __init__(self, *networks_and_latent, clip=0.01, objective=wasserstein, **options):
        super().__init__(*networks_and_latent, objective=objective, **options)
        check("clip", clip, 1e-30)
        self.clip = clip

    def constrain(self):
        """Cut D's weights, in place."""
        for parameter in self.d_optimizer.params:
            parameter.data[...] = parameter.data.clip(-self.clip, self.clip)


class WGANGP(GAN):
    """The Wasserstein GAN whose critic D is kept at slopes near 1 (Gulrajani 2017, equation 3).

    A step updates D once (the paper: n_critic=5, at lr 1e-4 and betas 0, 0.9). With `augment` the
    slope is that of D after the change, which the mixed samples go through like all that D sees. It
    costs a second derivative a step, and asks for slope 1 where a finished game would have 0.
    """

    def __init__(self, *networks_and_latent, penalty=10.0, objective=wasserstein, **options):
        super().__init__(*networks_and_latent, objective=objective, **options)
        check("penalty", penalty)
        self.penalty = penalty

    def d_loss(self, D, fake, real):
        mix = random.default.uniform((len(real) // self.packing,), device=self.device)
        return super().d_loss(D, fake, real) + self.penalty * gradient_penalty(D, real, fake, mix)

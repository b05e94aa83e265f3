"""R3GAN (Huang, Gokaslan, Kuleshov & Tompkin 2024, "The GAN is dead; long live the GAN!"): a
relativistic game with zero-centred penalties at real and at fake samples.
"""

from ..nn.losses import relativistic
from .gan import GAN


class R3GAN(GAN):
    """Real and fake samples compete in pairs, and one zero-centred penalty is used twice: as R1 and
    as R2, each weighed by gamma / 2 (Huang 2024, section 2).

    With the pairs no mode is given up for long, and with the penalties the game converges near a
    solution (proposition II). It costs two second derivatives a step, and gamma must suit the
    scale of the samples: too low, and D runs away; too high, and it tells nothing.
    """

    def __init__(self, *networks_and_latent, r1=1.0, r2=1.0, objective=relativistic, **options):
        super().__init__(*networks_and_latent, r1=r1, r2=r2, objective=objective, **options)

    def g_loss(self, D, fake, real):
        return self.objective(D(real), D(fake))  # the roles exchanged

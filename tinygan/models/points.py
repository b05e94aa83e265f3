"""GANs of points in the plane, small enough that training shows in seconds: for `data.TOYS`."""

from .. import nn
from .adversarial import adversarial
from .recipes import recipe


@recipe("toy", "mlp")
def points(latent=2, width=128, lr=1e-3, packing=1, minibatch_std=False, **options):
    """Two networks of two hidden layers: G latent-128-128-2, D 2-128-128-1.

    packing, minibatch_std: as of `dcgan`; options: of `GAN` and `adversarial`.
    """
    std = [nn.MinibatchStdDev()] if minibatch_std else []
    generator = nn.Sequential(
        nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 2),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Linear(2 * packing, width), nn.LeakyReLU(0.2), nn.Linear(width, width),
        nn.LeakyReLU(0.2), *std, nn.Linear(width + len(std), 1),
    )  # fmt: skip
    return adversarial(generator, discriminator, latent, lr=lr, packing=packing, **options)


@recipe("toy", "pacgan")
def pacgan(latent=2, lr=1e-4, packing=1, **options):
    """The networks of PacGAN's experiments in the plane (Lin 2018, after ALI, Dumoulin 2017).

    G has four hidden layers of 400 features and batch normalisation, D three of 200 maxout units of
    5 pieces; weights from N(0, 0.02), Adam with betas 0.8 and 0.999.
    """
    generator, features = [], latent
    for _ in range(4):
        generator += [nn.Linear(features, 400, bias=False), nn.BatchNorm1d(400), nn.ReLU()]
        features = 400
    discriminator, features = [], 2 * packing
    for _ in range(3):
        discriminator += [nn.Linear(features, 1000), nn.Maxout(5)]
        features = 200
    networks = [*generator, nn.Linear(400, 2)], [*discriminator, nn.Linear(200, 1)]
    networks = (nn.init.dcgan(nn.Sequential(*layers)) for layers in networks)
    return adversarial(*networks, latent, lr=lr, betas=(0.8, 0.999), packing=packing, **options)

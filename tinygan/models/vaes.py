"""VAEs for pictures: of dense layers, and of convolutions."""

from itertools import pairwise

from .. import nn
from .likelihoods import likelihood as chosen
from .recipes import recipe
from .sizes import check_pictures, halved
from .vae import VAE


@recipe("vae", "mlp")
def mlp(
    latent=20, lr=3e-3, side=28, channels=1, classes=0, names=(), likelihood="auto", **options
):  # fmt: skip
    """The VAE of dense layers, 784-400-latent-400-784, of PyTorch's examples (vae/main.py).

    likelihood: see `likelihoods`; "auto" is bernoulli for 1 channel and logistic for 3.
    """
    check_pictures("mlp", side, channels)
    p_x = chosen(likelihood, channels)
    maps = p_x.outputs * channels
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * side**2, 400),
        nn.ReLU(),
        nn.Linear(400, (classes or 1) * 2 * latent),
    )
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 400),
        nn.ReLU(),
        nn.Linear(400, maps * side**2),
        nn.Unflatten(1, (maps, side, side)),
    )
    options |= {"classes": classes, "names": names, "likelihood": p_x}
    return VAE(encoder, decoder, latent, lr, **options)


@recipe("vae", "conv")
def conv(
    latent=20, lr=3e-3, side=28, channels=1, classes=0, names=(), width=32, likelihood="auto",
    **options,
):  # fmt: skip
    """The VAE of 4x4 convolutions, as deep as the pictures are large, and their transposes back.

    side, channels: see `sizes.halved`. Where the side halves, the channels double: 28 -> 14 -> 7
    with 1, width and 2 * width. likelihood: as of `mlp`.
    """
    sides = halved("conv", side, channels)
    smallest = sides[-1]
    p_x = chosen(likelihood, channels)
    down = [channels] + [width * 2**i for i in range(len(sides) - 1)]
    dense = down[-1] * smallest**2

    encoder = []
    for c, d in pairwise(down):
        encoder += [nn.Conv2d(c, d, 4, stride=2, padding=1), nn.ReLU()]
    encoder += [nn.Flatten(), nn.Linear(dense, (classes or 1) * 2 * latent)]

    decoder = [nn.Linear(latent + classes, dense), nn.ReLU()]
    decoder += [nn.Unflatten(1, (down[-1], smallest, smallest))]
    for c, d in pairwise(down[:0:-1]):
        decoder += [nn.ConvTranspose2d(c, d, 4, stride=2, padding=1), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(width, p_x.outputs * channels, 4, stride=2, padding=1)]

    options |= {"classes": classes, "names": names, "likelihood": p_x}
    return VAE(nn.Sequential(*encoder), nn.Sequential(*decoder), latent, lr, **options)

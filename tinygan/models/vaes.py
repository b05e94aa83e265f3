"""VAEs for 28x28 images: of dense layers, and of convolutions."""

from .. import nn
from .recipes import recipe
from .vae import VAE


@recipe("vae", "mlp")
def mlp(latent=20, lr=3e-3, classes=0, **options):
    """The VAE of dense layers, 784-400-latent-400-784, of PyTorch's examples (vae/main.py)."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, (classes or 1) * 2 * latent)
    )
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 400),
        nn.ReLU(),
        nn.Linear(400, 784),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return VAE(encoder, decoder, latent, lr, classes=classes, **options)


@recipe("vae", "conv")
def conv(latent=20, lr=3e-3, classes=0, **options):
    """The VAE of two 4x4 convolutions 28 -> 14 -> 7 with 32 and 64 channels, and their transposes
    back.
    """
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 7 * 7, (classes or 1) * 2 * latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 64 * 7 * 7), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )  # fmt: skip
    return VAE(encoder, decoder, latent, lr, classes=classes, **options)

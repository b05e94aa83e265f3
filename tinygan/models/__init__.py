"""One algorithm to a file: its networks, objective, `step(batch)` and `sample(n)`.

MODELS names the GANs of pictures, POINTS those of points in the plane, VAES the VAEs, DIFFUSIONS
the flows and diffusions of pictures, PLANES those of points, TEXTS the models of text; LOSSES names
the games that GANs play. `build` makes a model again from the `recipe` it remembers.
"""

from . import vaes
from .adversarial import LOSSES, adversarial
from .bert import BERT, TextClassifier
from .dcgan import dcgan, dcgan5x5
from .ddpm import DDPM
from .diffusions import ddpm, flow, point_ddpm, point_flow
from .flow import Flow
from .gan import GAN
from .gpt import GPT
from .likelihoods import LIKELIHOODS
from .mlp import mlp
from .pointnet import PointNet
from .points import pacgan, points
from .r3gan import R3GAN
from .recipes import FAMILIES, build
from .texts import bert, gpt
from .transformer import Transformer
from .upsample import Upsample, upsample
from .unet import UNet
from .vae import VAE
from .wgan import WGAN, WGANGP

MODELS, POINTS, VAES = FAMILIES["gan"], FAMILIES["toy"], FAMILIES["vae"]
DIFFUSIONS, PLANES, TEXTS = FAMILIES["diffusion"], FAMILIES["plane"], FAMILIES["text"]

__all__ = [
    "BERT",
    "DDPM",
    "DIFFUSIONS",
    "Flow",
    "GAN",
    "GPT",
    "LIKELIHOODS",
    "LOSSES",
    "MODELS",
    "PLANES",
    "POINTS",
    "PointNet",
    "R3GAN",
    "TEXTS",
    "TextClassifier",
    "Transformer",
    "UNet",
    "Upsample",
    "VAE",
    "VAES",
    "WGAN",
    "WGANGP",
    "adversarial",
    "bert",
    "build",
    "dcgan",
    "dcgan5x5",
    "ddpm",
    "flow",
    "gpt",
    "mlp",
    "pacgan",
    "point_ddpm",
    "point_flow",
    "points",
    "upsample",
]

"""Flows and diffusions for pictures, of one small U-Net, and for points of the plane."""

from .ddpm import DDPM
from .flow import Flow
from .pointnet import PointNet
from .recipes import recipe
from .unet import UNet


@recipe("diffusion", "flow")
def flow(
    width=32, hidden=256, heads=0, side=28, channels=1, classes=0, steps=8, guidance=1.25, **options
):  # fmt: skip
    """Flow matching for pictures, (n, channels, side, side) in [-1, 1].

    width, hidden, heads: see `UNet`; options: of `Flow` and `Diffusion`, such as method, times,
    coupling, lr, drop.
    """
    network = UNet(side, channels, classes, width, hidden, heads)
    options |= {"classes": classes, "steps": steps, "guidance": guidance}
    return Flow(network, (channels, side, side), **options)


@recipe("diffusion", "ddpm")
def ddpm(
    width=32, hidden=256, heads=0, side=28, channels=1, classes=0, steps=16, guidance=1.25,
    **options,
):  # fmt: skip
    """A diffusion for pictures: the same network. options: of `DDPM` and `Diffusion`, such as
    timesteps, schedule, predict, eta, lr, drop.
    """
    network = UNet(side, channels, classes, width, hidden, heads)
    options |= {"classes": classes, "steps": steps, "guidance": guidance}
    return DDPM(network, (channels, side, side), **options)


@recipe("plane", "flow")
def point_flow(width=128, depth=3, lr=2e-3, steps=32, times="uniform", classes=0, **options):
    """Flow matching for points of the plane, (n, 2), for `data.TOYS`: see `PointNet`."""
    options |= {"lr": lr, "steps": steps, "times": times, "classes": classes}
    return Flow(PointNet(width, depth, classes), (2,), **options)


@recipe("plane", "ddpm")
def point_ddpm(width=128, depth=3, lr=2e-3, steps=100, clip=False, classes=0, **options):
    """A diffusion for points of the plane: the same network."""
    options |= {"lr": lr, "steps": steps, "clip": clip, "classes": classes}
    return DDPM(PointNet(width, depth, classes), (2,), **options)

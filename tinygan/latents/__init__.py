"""What can be done with the points of a latent space, once a generator or decoder is trained.

`points.py`: ways from one to another, points nearer to the mean, directions that change an
attribute. `inversion.py`: the point whose sample is nearest to a picture, and the rest of a picture
of which a part is known. Points are raw arrays on either device, whose last axis is the latent one.
This room knows no files and no judge: what an attribute is, the caller says.

    a, b = gan.noise(2)
    path = latents.slerp(a, b, 8)
    digits = gan.sample(8, path, labels=[3] * 8)  # give labels, or each point is of another class
    found = latents.invert(gan, images)  # the points of pictures in [-1, 1], found.z
"""

from .inversion import Inversion, inpaint, invert
from .points import directions, lerp, moved, slerp, truncated, walk

__all__ = [
    "Inversion", "directions", "inpaint", "invert", "lerp", "moved", "slerp", "truncated", "walk",
]  # fmt: skip

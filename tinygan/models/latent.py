"""What GANs and VAEs have in common: points z of a latent space, and samples that are made of them.

This room knows layers, losses and optimizers; it knows nothing of files, progress bars or data
sets, but that a preview is a picture.
"""

import numpy as np

from .. import device, optim, plot, random
from ..recording import no_grad
from .labels import joined, one_hot

PREVIEW = 2  # the random stream of the points that every preview of a run shows


class LatentModel:
    """A model that makes samples of latent points (n, latent), told a class for each or none.

    Has `latent`, `classes` (0: it was taught none), `device`, and `draw(points)`: the samples, a
    Tensor, of points (n, latent + classes) that have heard their labels.
    """

    def noise(self, n, source=None):
        """n latent points from N(0, 1), (n, latent), from random.default or another generator."""
        return (source or random.default).normal((n, self.latent), device=self.device)

    def sample(self, n, noise=None, labels=None):
        """n samples as a raw array, from fresh noise or the `noise` (n, latent) given.

        labels: the class of each, integers (n,); None: the classes in turn. ValueError unless they
        are n, or if the model knows no classes; IndexError for one that is no class.
        """
        if labels is not None and not self.classes:
            raise ValueError("sample: this model was taught no classes: leave out labels")
        if labels is not None and np.shape(labels) != (n,):
            raise ValueError(
                f"sample: {n} samples need labels of shape ({n},), got {np.shape(labels)}"
            )
        noise = self.noise(n) if noise is None else noise
        if noise.shape != (n, self.latent):
            raise ValueError(
                f"sample: {n} samples need noise of shape {(n, self.latent)}, got {noise.shape}"
            )
        points = joined(noise, one_hot(labels, self.classes, noise))
        with no_grad():
            return np.concatenate([self.draw(points[i : i + 250]).data for i in range(0, n, 250)])

    def preview(self, path):
        """Draw `path`.png, a grid of samples of the same points each time: a column a class."""
        columns = self.classes or 8
        points = self.noise(8 * columns, random.Generator(random.default.seed, PREVIEW))
        images = plot.to_uint8(device.to_host(self.sample(len(points), points)))
        path = path.with_name(f"{path.name}.png")
        plot.grid(images, path, columns)
        return path

    def parts(self):
        """Everything that training changes, by name: what a checkpoint holds."""
        return {name: getattr(self, name) for name in self.trained}

    @property
    def optimizers(self):
        """For a trainer that schedules the learning rate."""
        return [part for part in self.parts().values() if isinstance(part, optim.Optimizer)]

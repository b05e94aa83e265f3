"""What GANs and VAEs have in common: points z of a latent space, and samples that are made of them.

This room knows layers, losses and optimizers; it knows nothing of files, progress bars or data
sets, but that a preview is a picture.
"""

import functools

import numpy as np

from .. import device, optim, plot, random
from ..recording import no_grad
from .given import check_dtype, dtype_of
from .labels import asked, joined, one_hot

PREVIEW = 2  # the random stream of the points that every preview of a run shows
COLUMNS = 16  # of a preview, at most
SCATTERED = 2000  # points of the plane in a preview


class LatentModel:
    """A model that makes samples of latent points (n, latent), told a class for each or none.

    Has `latent`, `classes` (0: it was taught none), their `names`, () if they have none, `device`,
    and `draw(points)`: the samples, a Tensor, of points (n, latent + classes) that have heard their
    labels. how: the names of what else its `draw` takes.
    """

    how = ()

    def __repr__(self):
        made = {**(getattr(self, "recipe", None) or {})}
        words = [f"{k}={v!r}" for k, v in made.items() if k not in ("family", "model")]
        return f"{made.get('model', type(self).__name__)}({', '.join(words)})"

    def noise(self, n, source=None):
        """n latent points from N(0, 1), (n, latent), from random.default or another generator, in
        the dtype of the model's weights.
        """
        return (source or random.default).normal((n, self.latent), dtype_of(self), self.device)

    def sample(self, n, noise=None, labels=None, **how):
        """n samples as a raw array, from fresh noise or the `noise` (n, latent) given.

        labels: the class of each, integers or names (n,); None: the classes in turn. Where names
        are numbers, such as "1" to "7", a list must hold names, and an array of integers holds
        places among them, from 0. ValueError unless they are n, for a name that is no class's, or
        if the model knows no classes; IndexError for a number that is no class.

        how: what else the model's `draw` takes.
        """
        labels = asked("sample", self, n, labels)
        noise = self.noise(n) if noise is None else noise
        check_dtype("sample: noise", self, noise)
        if noise.shape != (n, self.latent):
            raise ValueError(
                f"sample: {n} samples need noise of shape {(n, self.latent)}, got {noise.shape}"
            )
        points = joined(noise, one_hot(labels, self.classes, noise))
        with no_grad():
            made = [self.draw(points[i : i + 250], **how).data for i in range(0, n, 250)]
            return np.concatenate(made)

    @functools.cached_property
    def sample_shape(self):
        """Of one sample: (channels, side, side) if they are pictures. What there is decides, so
        that it is true of networks of your own, too.
        """
        like = self.average.parameters()[0].data
        return self.sample(1, np.zeros_like(like, shape=(1, self.latent))).shape[1:]

    @property
    def channels(self):
        """Of its pictures: 1 if they are grey, 3 if they are RGB."""
        return self.sample_shape[0]

    @property
    def side(self):
        """Of its pictures, in pixels."""
        return self.sample_shape[-1]

    def preview(self, path):
        """Draw `path`.png, a grid of samples of the same points each time: a column a class, with
        its name if it has one; of more than 16 classes, 16 of them, evenly spread. Of samples that
        are no pictures, but points of the plane, a scatter plot.
        """
        path = path.with_name(f"{path.name}.png")
        source = random.Generator(random.default.seed, PREVIEW)
        if self.sample_shape == (2,):
            points = self.noise(SCATTERED, source)
            plot.points(device.to_host(self.sample(SCATTERED, points)), path)
            return path
        columns = min(self.classes or 8, COLUMNS)
        shown = np.linspace(0, self.classes - 1, columns).round().astype(int)
        labels = np.tile(shown, 8) if self.classes else None
        points = self.noise(8 * columns, source)
        images = plot.to_uint8(device.to_host(self.sample(len(points), points, labels)))
        names = [self.names[k] for k in shown] if self.names else None
        plot.grid(images, path, columns, names=names)
        return path

    def parts(self):
        """Everything that training changes, by name: what a checkpoint holds."""
        return {name: getattr(self, name) for name in self.trained}

    @property
    def optimizers(self):
        """For a trainer that schedules the learning rate."""
        return [part for part in self.parts().values() if isinstance(part, optim.Optimizer)]

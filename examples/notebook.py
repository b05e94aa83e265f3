# %% [markdown]
"""# An evening with tinygan

A notebook that is kept as a script: `jupytext --to notebook examples/notebook.py` makes it one, and
Jupyter with jupytext installed opens it as it is. Run cell after cell (Shift-Enter); it takes two
minutes on two cores, needs no GPU and downloads nothing.

## 1. A Tensor and its gradient
"""

# %%
import numpy as np
from PIL import Image

import tinygan as tg
from tinygan import data, models, plot, random
from tinygan.testing import GradientError, check_grads
from tinygan.train import train

x = tg.Tensor(np.array([1.0, 2.0]), name="x")
y = (x**3).sum()
tg.grad(y, x)  # 3 x**2

# %% [markdown]
# A `Tensor` remembers how it was made, and `grad` walks that record backwards. The record is the
# tape, and it can be drawn. (The picture needs Graphviz; without it you see its text.)

# %%
plot.graph(y)

# %% [markdown]
# With `create_graph=True` a gradient is a Tensor as well, with a tape of its own, and so there is a
# second derivative. Find in the picture where the rule of `power` has multiplied.

# %%
(slope,) = tg.grad(y, [x], create_graph=True)
print(tg.grad(slope.sum(), x))  # 6 x
plot.graph(slope)

# %% [markdown]
# ## 2. Digits
# The 10,000 digits that ship with the package; here are the first of each kind.

# %%
digits = data.load()
first = [np.flatnonzero(digits.labels == k)[:8] for k in range(10)]


def show(images, columns, zoom=3):
    """A grid of images, (n, h, w) of uint8, as a picture."""
    return Image.fromarray(plot.sheet(images, columns).repeat(zoom, 0).repeat(zoom, 1))


show(digits.images[np.transpose(first).ravel()], 10)

# %% [markdown]
# ## 3. A game of two networks
# A generator makes digits of random points, a discriminator tells them from real ones, and both are
# told which digit it is. This is what the generator is to lower: its tape runs through the
# discriminator back to the weights of both.

# %%
random.manual_seed(0)
gan = models.dcgan(classes=10)
fake = gan.generate(gan.noise(4), [0, 1, 2, 3])
g_loss = gan.objective(gan.discriminate(fake, [0, 1, 2, 3]))
plot.graph(g_loss, {"G": gan.generator, "D": gan.discriminator})

# %% [markdown]
# An epoch shows every digit once. Eight of them make legible digits; the command
# `python examples/mnist_gan.py` takes 32.

# %%
EPOCHS = 8
batches = data.Batches((digits.images, digits.labels), batch_size=32)
records = train(gan, batches, EPOCHS, "runs/notebook", overwrite=True)

# %%
Image.open("runs/notebook/losses.png")

# %% [markdown]
# Neither loss falls to nothing: what one player gains the other loses. What counts is the digits.

# %%
show(plot.to_uint8(gan.sample(80)), 10)

# %% [markdown]
# ## 4. A walk in latent space
# Every digit is made of a point, 64 random numbers. On the way from one point to another the
# digits change little by little, and most on the way are digits as well: the generator has not
# learnt its pictures by heart. On an arc, since points near 0 are unlikely under N(0, 1).

# %%
start, end = gan.noise(10), gan.noise(10)
angles = np.linspace(0, np.pi / 2, 12, dtype=np.float32)
walk = [gan.sample(10, start * np.cos(a) + end * np.sin(a)) for a in angles]  # a column each
show(plot.to_uint8(np.stack(walk, axis=1).reshape(-1, 1, 28, 28)), len(walk), zoom=2)

# %% [markdown]
# ## 5. An operation of your own
# A function on raw arrays, and one rule for its argument: the incoming gradient `g` times the
# slope. `check_grads` compares it with slopes that it finds in the values alone, and its derivative
# too.


# %%
@tg.primitive
def cube(x):
    return x**3


cube.defvjp(lambda g, out, x: 3 * g * x**2)
check_grads(cube, np.array([-1.0, 0.0, 2.0]))  # says nothing: it is right

# %% [markdown]
# With a mistake in the seventh digit:

# %%
cube.defvjp(lambda g, out, x: 3.000001 * g * x**2)
try:
    check_grads(cube, np.array([-1.0, 0.0, 2.0]))
except GradientError as error:
    print(str(error).splitlines()[0])

# %% [markdown]
# Where to go on: `tinygan/autograd.py` is the tape, `tinygan/models/gan.py` the game; the README
# has the order of the rest.

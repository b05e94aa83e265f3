"""Train a flow, or a diffusion model, on handwritten digits: noise becomes a digit, step by step.

    python examples/mnist_diffusion.py   # the digits that ship with the package, any CPU, 5 minutes
    python examples/mnist_diffusion.py --model ddpm --steps 50 --eta 1    # as Ho 2020 makes samples
    python examples/mnist_diffusion.py --device gpu --data full --width 48
    python examples/mnist_diffusion.py --data photos --side 32    # your own, a folder is a class

Nobody plays against anybody here: a network sees digits with noise in them, and learns by least
squares to say what is to be changed. Asked again and again, it makes digits of nothing but noise,
and of digits that are noisy or half missing. Read `flow_step`, then `ddpm_step`.
"""

import numpy as np

from tinygan import cli, data, device, grad, kernels, latents, no_grad, ops, plot, random
from tinygan.cli.training import spread
from tinygan.models import DIFFUSIONS
from tinygan.models.labels import joined, one_hot
from tinygan.models.latent import COLUMNS
from tinygan.nn.losses import mse
from tinygan.optim import schedules
from tinygan.train import AtEnd

EPOCHS = 24  # of 10,000 pictures; of fewer as many more
WARMUP = 100  # steps in which the learning rate rises
PICTURES = 7  # the random stream of the noise that the last pictures are made of


def flow_step(flow, batch):
    """One update on a batch of real digits; this is `flow.step`, spelled out."""
    x, rows = flow.told(batch)  # digits (n, 1, 28, 28), and what is said of each, (n, 10)

    # Noise and a digit, and a straight line from the one, at t = 0, to the other, at t = 1. Where
    # on it the network is asked is random: mostly in the middle, where there is most to learn.
    noise = flow.noise(len(x)).reshape(x.shape)
    t = ops.sigmoid(random.default.normal((len(x),), device=flow.device))
    along = t.reshape(-1, 1, 1, 1)
    between = (1 - along) * noise + along * x

    # Which way does it go from here? Many lines cross at a place; least squares teaches the mean of
    # their directions, and who follows that from noise gets to a digit.
    loss = mse(flow.network(between, t, rows), x - noise)

    flow.optimizer.step(grad(loss, flow.network.parameters()))
    flow.ema.update()  # samples are drawn with a moving average of the weights
    return {"loss": loss.data}


def ddpm_step(ddpm, batch):
    """The same for a diffusion, `ddpm.step`: noise is not on a line with the digit, but added to it
    in a thousand small steps.
    """
    x, rows = ddpm.told(batch)

    # After k of them a * x is left of the digit, under s * noise; k = 0 is the digit (t = 1).
    u = random.default.uniform((len(x),), device=ddpm.device)
    k = (u * ddpm.timesteps).astype(int) + 1
    noise = ddpm.noise(len(x)).reshape(x.shape)
    a, s = ddpm.shares(k, x)
    t = (1 - k / ddpm.timesteps).astype(x.dtype)

    # What is noise in it? The network says v, of which noise and digit are found alike.
    loss = mse(ddpm.network(a * x + s * noise, t, rows), a * noise - s * x)

    ddpm.optimizer.step(grad(loss, ddpm.network.parameters()))
    ddpm.ema.update()
    return {"loss": loss.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    pictures = cli.pictures(args, data.load)
    place = device.describe() if where == "gpu" else "CPU"
    print(f"{cli.in_words(pictures)}; {args.model} on the {place}")

    random.manual_seed(args.seed)
    chosen = cli.fitting(args, pictures) | cli.options(args, "lr", *cli.DIFFUSION)
    model = cli.built(DIFFUSIONS[args.model], device=where, **chosen)
    # a few, evenly spread, are kept from the model, to be shown to it at the end
    count = len(pictures.images)
    kept = spread(pictures, min(COLUMNS, max(1, count // 10)))
    known, held = pictures.rows(np.delete(np.arange(count), kept)), pictures.rows(kept)
    images = device.to(known.images, where)
    arrays = (images, known.labels) if model.classes else images
    batches = data.Batches(arrays, args.batch_size or min(64, len(images)), args.seed)
    args.epochs = args.epochs or min(1000, max(EPOCHS, EPOCHS * 10_000 // count))
    share = min(0.5, WARMUP / (args.epochs * len(batches)))

    # other times, noise chosen for a digit, or noise as the answer: see flow.py and ddpm.py
    other = cli.options(args, "times", "coupling", "predict")
    own = {"flow": flow_step, "ddpm": ddpm_step}[args.model]
    step = model.step if other else lambda batch: own(model, batch)
    options = {"schedule": schedules.warmup(schedules.second_half, share, start=1 / WARMUP)}
    options["callbacks"] = [AtEnd(lambda: draw(model, held, args))]
    with kernels.precision(args.precision, where):
        cli.run_training(args, model, batches, step=step, real=known, **options)


def draw(model, held, args):
    """Noise becoming samples; pictures of which half is missing; others like them; and from one
    noise to another.
    """
    uint8 = lambda images: plot.to_uint8(device.to_host(images))
    write = lambda name, title, blocks: cli.draw_rows(args.out / f"{name}.png", title, blocks)
    source = random.Generator(args.seed, PICTURES)

    columns = min(model.classes or 8, COLUMNS)
    shown = np.linspace(0, max(0, model.classes - 1), columns).round().astype(int)
    noise = model.noise(8 * columns, source)
    points = joined(noise, one_hot(np.tile(shown, 8), model.classes, noise))
    with no_grad():
        path = [ops.raw(x) for x in model.path(points, 32)]
    zoom = max(1, 600 // (max(8, columns) * model.side))
    frames = [uint8(x) for x in (noise.reshape(path[0].shape), *path)]
    frames = [plot.sheet(x, columns).repeat(zoom, 0).repeat(zoom, 1) for x in frames]
    plot.animate(frames, args.out / "noise.gif", 80)

    x = device.to(data.scale(held.images), model.device)
    labels = held.labels if model.classes else None
    n, _, h, w = x.shape
    known = np.ones_like(x, bool, shape=(n, h, w))
    known[: n // 2, h // 2 :] = known[n // 2 :, :, w // 2 :] = False
    filled = [model.inpaint(x, known, labels, steps=50) for _ in range(2)]
    rows = [uint8(y) for y in (np.where(known[:, None], x, 0), *filled, x)]
    write("inpainting", "known; filled by the model; again; as they were", [rows])

    rows = [uint8(x), *(uint8(model.vary(x, s, labels)) for s in (0.25, 0.5, 0.75, 0.9))]
    write("variations", "as they are; 25, 50, 75 and 90 % of the way to noise, and back", [rows])

    ways = latents.slerp(model.noise(8, source), model.noise(8, source), COLUMNS)
    tell = lambda k: shown[k % columns].repeat(COLUMNS) if model.classes else None
    rows = [uint8(model.sample(COLUMNS, ways[:, k], tell(k))) for k in range(8)]
    write("interpolation", "from one noise to another, on the sphere", [rows])
    names = "noise.gif", "inpainting.png", "variations.png", "interpolation.png"
    cli.say(f"drawn: {', '.join(str(args.out / name) for name in names)}")


def arguments():
    """The command line."""
    parser = cli.Parser("Train a flow or a diffusion model on digits, or on pictures of your own.")
    words = {"epochs": f"{EPOCHS}, of a small set more", "batch_size": "64"}
    words["out"] = "runs/mnist_diffusion"
    parser.training(DIFFUSIONS, model="flow", conditional=None, **words)
    parser.diffusion()
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

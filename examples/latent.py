"""What lies between, around and behind the samples of a trained GAN or VAE.

    python examples/latent.py runs/mnist_gan       # all pictures, into runs/mnist_gan/latent
    python examples/latent.py runs/mnist_vae --only walk inversion --n 100

A generator makes a picture of each point z of a Gaussian. Here z moves: along a line or a sphere,
towards the mean, in the direction of a class, round and round; and back from a picture to the z it
may have come from, even if half of it is missing. Each function below draws one picture.
"""

from pathlib import Path

import numpy as np

from tinygan import cli, data, device, latents, metrics, no_grad, plot, random
from tinygan.metrics.distances import nearest
from tinygan.models.labels import joined, one_hot
from tinygan.models.latent import COLUMNS, LatentModel
from tinygan.sample import taught
from tinygan.train import load


def interpolation(model, args, draw):
    """Straight ways between two points and, below, round ones: at 64 dimensions they look alike."""
    blocks = []
    for k in range(6):
        a, b = model.noise(2)
        labels = np.full(COLUMNS, k % model.classes) if model.classes else None
        ways = latents.lerp(a, b, COLUMNS), latents.slerp(a, b, COLUMNS)
        blocks.append([made(model, way, labels) for way in ways])
    draw("from one point to another: straight, and below it round, on the sphere", blocks)


def truncation(model, args, draw):
    """Nearer to the mean, samples are cleaner, and more and more of them the same."""

    def row(**how):  # of the same points each time
        how |= {"source": random.Generator(args.seed), "device": model.device}
        return made(model, latents.truncated(COLUMNS, model.latent, **how))

    shares, bounds = (0, 0.25, 0.5, 0.75, 1), (0.1, 0.5, 1, 1.5, 2)
    blocks = [row(psi=p) for p in shares], [row(threshold=t) for t in bounds]
    shares, bounds = (", ".join(map(str, values)) for values in (shares, bounds))
    draw(f"from above: psi {shares}; then no number of z beyond {bounds}", blocks)


def directions(model, args, draw):
    """What makes a sample one of a class: the label, if the model knows labels, else a direction in
    which a judge sees more and more samples of the class.
    """
    if model.classes:
        shown = np.unique(np.linspace(0, model.classes - 1, 10).round().astype(int))
        rows = one_hot(shown, model.classes, model.noise(len(shown)))
        told = [joined(z[None].repeat(len(rows), 0), rows) for z in model.noise(8)]
        ways = [latents.walk(p, 2, closed=False, way=latents.lerp) for p in told]
        with no_grad():
            rows = [uint8(model.draw(way).data) for way in ways]
        return draw("a row is one z; every second column half one label, half the next", [rows])
    judge = metrics.judge_of(args.known, model.device, n=1000, say=cli.say, progress=cli.bar)
    points, others, start = model.noise(5000), model.noise(500), model.noise(1)
    look = lambda z: judge.look(model.sample(len(z), z))[1]
    if (seen := look(points)) is None:
        return cli.say("directions: of pictures without labels the judge knows no classes")
    seen = seen.argmax(1)[:, None] == np.arange(seen.shape[1])
    classes, rows = np.flatnonzero(abs(seen.mean(0) - 0.5) < 0.495)[:COLUMNS], []
    if not len(classes):
        return cli.say("directions: all samples are of one class to the judge")
    for c, along in zip(classes, latents.directions(points, seen[:, classes])):
        rows.append(made(model, latents.moved(start, along, np.linspace(-4, 4, 13))[:, 0]))
        shares = [(look(z).argmax(1) == c).mean() for z in latents.moved(others, along, [0, 3])]
        cli.say(f"class {c}: {shares[0]:.0%} of samples, 3 deviations further {shares[1]:.0%}")
    draw("a sample moved from -4 to 4 along each class's direction", [rows])


def walk(model, args, draw):
    """Sixteen samples, each on a round of its own."""
    labels = np.arange(16) % model.classes if model.classes else None
    path = latents.walk(model.noise(6 * 16).reshape(6, 16, -1), 12)
    frames = [plot.sheet(made(model, z, labels), 8).repeat(3, 0).repeat(3, 1) for z in path]
    plot.animate(frames[1:] + frames[:1], args.out / "walk.gif", 80)  # which rests on the last


def inversion(model, args, draw):
    """Pictures that were held out, above the samples that come nearest to them."""
    found = latents.invert(model, args.held, args.labels)
    x, near = device.to_host(args.held), device.to_host(found.samples)
    real = data.scale(args.known.images)
    copied = nearest(*(a.reshape(len(a), -1) for a in (x, real)))[1] ** 2 / x[0].size
    mse, mean = float(found.mse.mean()), ((x - real.mean(0)) ** 2).mean()
    cli.say(
        f"mean squared error of {len(x)} held-out pictures: samples {mse:.4f}, the nearest of the "
        f"others {copied.mean():.4f}, the mean picture {mean:.4f}"
    )
    columns = min(len(x), COLUMNS)
    parts = [slice(i, i + columns) for i in range(0, len(x) - columns + 1, columns)[:4]]
    blocks = [[uint8(x[part]), uint8(near[part])] for part in parts]
    draw("held out, and below each the sample that comes nearest", blocks)


def inpainting(model, args, draw):
    """Pictures of which a part is known, what the model makes of that, and what they were."""
    x = args.held[:COLUMNS]
    n, _, h, w = x.shape
    masks = np.ones((4, h, w), bool)
    masks[0, h // 2 :] = masks[1, :, : w // 2] = False
    masks[2, h // 4 : -h // 4, w // 4 : -w // 4] = False
    masks[3] = random.default.uniform((h, w)) < 0.2
    masks = device.to(masks[np.arange(n) * 4 // n], model.device)
    rows = np.where(masks[:, None], x, 0), latents.inpaint(model, x, masks), x
    draw("known; filled by the model; as they were", [[*map(uint8, rows)]])


uint8 = lambda images: plot.to_uint8(device.to_host(images))
made = lambda model, z, labels=None: uint8(model.sample(len(z), z, labels))


PICTURES = [interpolation, truncation, directions, walk, inversion, inpainting]
PICTURES = {picture.__name__: picture for picture in PICTURES}


def main():
    what = [f"{name}: {' '.join(f.__doc__.split())}" for name, f in PICTURES.items()]
    parser = cli.Parser(f"Draw what lies behind a model's samples. {' '.join(what)}")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run's folder, or one of its checkpoints")
    add("--only", nargs="+", choices=PICTURES, metavar="PICTURE", help=f"of {', '.join(PICTURES)}")
    add("--n", type=cli.number(int, 1, 10_000), default=32, help="held-out pictures to invert")
    add("--data", metavar="SET", help="where those are from (default: what the model learnt from)")
    add("--seed", type=cli.number(int, 0, 2**32 - 1), default=0, help="other points for each")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU if usable")
    add("--out", type=Path, metavar="DIR", help="where they are drawn (default: RUN/latent)")
    args = parser.parse_args()
    model = load(args.run, device.resolve(args.device))
    if not isinstance(model, LatentModel) or len(model.sample_shape) != 3:
        raise data.DataError(f"{args.run}: its model makes no pictures of latent points")
    names = args.only or [*PICTURES]
    if {"directions", "inversion", "inpainting"} & {*names}:
        found = cli.held_out(model, args.n, args.data, taught(args.run))
        args.known, args.held, args.labels = found
    args.out = args.out or (args.run if args.run.is_dir() else args.run.parent) / "latent"
    cli.own_folder(args.out, [f"{name}.png" for name in PICTURES] + ["walk.gif"])
    for name in names:
        random.manual_seed(args.seed)
        draw = lambda title, blocks: cli.draw_rows(args.out / f"{name}.png", title, blocks)
        PICTURES[name](model, args, draw)
    print(args.out)


if __name__ == "__main__":
    cli.run(main)

"""Stacked MNIST: does a generator make all of a thousand kinds of pictures? They can be counted.

    python examples/stacked_mnist.py --epochs 1 --lr 1e-3 --out runs/short    # some minutes
    python examples/stacked_mnist.py                          # R3GAN's game, hours
    python examples/stacked_mnist.py --loss non-saturating --out runs/plain   # the plain game

Three digits at random are the red, green and blue of one picture (Metz 2017), and a classifier of
digits reads the three of each sample: of the thousand numbers from 000 to 999, how many are there,
and how far are their shares from equal ones? The protocol is that of VEEGAN (Srivastava 2017) and
PacGAN (Lin 2018): 128,000 pictures, batches of 64, 50 epochs, 26,000 samples.
"""

import numpy as np

from tinygan import cli, data, device, kernels, metrics, random
from tinygan.models import MODELS
from tinygan.train import Evaluate

MODES = 1000
READ = 0.9  # of the digits, at least, the judge must read rightly to count others
TRAINING, JUDGED = 128_000, 26_000  # pictures, and samples to be counted
STACK, POINTS = 6, 7  # the random streams of the stacks, and of the points that are counted


def modes(images, judge):
    """Which of the thousand numbers each picture (n, 3, h, w) in [-1, 1] shows, (n,)."""
    digits = [judge.look(images[:, c : c + 1])[1].argmax(axis=1) for c in range(3)]
    return np.array([100, 10, 1]) @ digits


def figures(images, judge):
    """How many of the thousand are there, and the divergence of their shares from equal ones."""
    counts = np.bincount(modes(images, judge), minlength=MODES)
    return {"modes": int((counts > 0).sum()), "kl": metrics.histogram_kl(counts, MODES)}


def judge_of_digits(source, digits, where):
    """Who reads digits; DataError for pictures that are none in its eyes."""
    some = digits.rows(slice(None, None, len(digits.images) // 1000 or 1))
    seen = data.scale(some.images)
    judge = metrics.Judge(seen, where)
    read = (judge.look(seen)[1].argmax(axis=1) == some.labels).mean()
    if some.labels is not None and read < READ:
        raise data.DataError(
            f"--data {source}: the judge reads {read:.0%} of these pictures as their labels say, "
            f"and counts modes only where it reads {READ:.0%}: they must be digits"
        )
    return judge


def main():
    args = arguments()
    where = device.resolve(args.device)
    digits = data.load(args.data, 28, "grey")
    source = random.Generator(args.seed, STACK)
    judge = judge_of_digits(args.data, digits, where)
    pictures = data.stacked(digits, args.pictures, source)
    real = data.scale(pictures.images[:JUDGED])
    words = ", ".join(f"{name} {value:.4g}" for name, value in figures(real, judge).items())
    print(f"{args.pictures} stacks of three digits; {len(real)} of them: {words}", flush=True)

    random.manual_seed(args.seed)
    game = cli.options(args, "lr", "width", "latent", *cli.GAME)
    gan = cli.built(MODELS[args.model], device=where, channels=3, **game)
    images = device.to(pictures.images, where)
    batches = data.Batches(images, cli.share(args, args.batch_size, len(images)), args.seed)
    points = gan.noise(JUDGED, random.Generator(args.seed, POINTS))
    count = lambda: figures(gan.sample(JUDGED, points), judge)
    callbacks = [Evaluate(count, every=args.count)]
    with kernels.precision(args.precision, where):
        cli.run_training(args, gan, batches, real=pictures, step=gan.step, callbacks=callbacks)
    found = count()
    print(f"{found['modes']} of {MODES} modes, KL {found['kl']:.3f} nats")


def arguments():
    """The command line."""
    parser = cli.Parser("Count the modes that a GAN learns, of a thousand.")
    parser.training(
        MODELS,
        model="dcgan",
        epochs="50",
        batch_size="64",
        lr="0.0002",
        out="runs/stacked_mnist",
        pictures=False,
    )
    parser.adversarial(loss="r3gan")
    parser.width()
    add = parser.add_argument
    add("--data", default="bundled", metavar="SET", help="the digits to stack, as of mnist_gan.py")
    add("--pictures", type=cli.number(int, 64), default=TRAINING, help="stacks to learn from")
    add("--count", type=cli.number(int, 1), default=5, metavar="N", help="modes every N epochs")
    add("--latent", type=cli.number(int, 1, 4096), default=100, help="dimensions of z")
    parser.set_defaults(loss="r3gan", epochs=50, batch_size=64, lr=2e-4)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

"""Train a GAN in two stages: small digits first, then a network that doubles them.

    python examples/upsample_gan.py         # the digits that ship with the package, 14 -> 28
    python examples/upsample_gan.py --content 0     # the second stage learns by the game alone
    python examples/upsample_gan.py --data photos --side 64 --width 32      # your own, 32 -> 64

The second stage doubles real pictures as well: super-resolution. At the end it does so with some
that it has never seen, halved, and `doubled.png` shows them: halved, by bicubic interpolation, by
the network, and as they were. Read `models/upsample.py` first, and then `resolved` here.
"""

import math

import numpy as np

from tinygan import cli, data, device, kernels, ops, plot, random
from tinygan.metrics import judge_of
from tinygan.metrics.judge import LEAST
from tinygan.models import MODELS
from tinygan.train import AtEnd

SMALL = 5000  # pictures that D would learn by heart, unless it sees nothing but changed ones
POLICY = "colour,shift,cutout"
SHOWN = 8  # rows of doubled.png
MOST = 1000  # held-out pictures that are doubled


def main():
    args = arguments()
    where = device.resolve(args.device)
    known, unknown = cli.pictures(args, data.split)  # to learn from, and to double
    place = device.describe() if where == "gpu" else "CPU"
    print(f"{cli.in_words(known)}; in two stages on the {place}")

    random.manual_seed(args.seed)
    chosen = cli.fitting(args, known) | cli.options(args, "lr", "width", "content", *cli.GAME)
    chosen["augment"] = POLICY if len(known.images) < SMALL else ""
    gan = cli.built(MODELS["upsample"], device=where, **chosen)
    images = device.to(known.images, where)
    batch_size = args.batch_size or min(32, len(images))
    arrays = (images, known.labels) if gan.classes else images
    batches = data.Batches(arrays, cli.share(args, batch_size, len(images)), args.seed)
    args.epochs = args.epochs or min(1000, max(32, 10_000 // len(batches)))

    report = AtEnd(lambda: compare(args, gan, known, unknown))
    with kernels.precision(args.precision, where):
        cli.run_training(args, gan, batches, step=gan.step, callbacks=[report], real=known)


def compare(args, gan, known, unknown):
    """Print how well held-out pictures come back from half their side, each way; draw some."""
    some = unknown.rows(np.arange(min(MOST, len(unknown.images))))
    ways = resolved(gan, data.scale(some.images))
    seen = None
    if known.classes > 1 and len(known.images) >= LEAST:
        judge = judge_of(known, gan.device, LEAST, say=cli.say, progress=cli.bar)
        seen = {way: judge.look(x)[1].argmax(1) for way, x in ways.items()}
    cli.say(f"{len(some.images)} held-out pictures, halved, and doubled again:")
    cli.say(f"{'':12}{'squared error':>14}{'PSNR, dB':>10}{'read rightly':>14}")
    for way, x in ways.items():
        # of pictures in [0, 1], where 1 is the peak of the signal
        error = float(np.mean((x - ways["real"]) ** 2, dtype=np.float64)) / 4
        psnr = f"{-10 * math.log10(error):.2f}" if error else "infinite"
        right = f"{(seen[way] == some.labels).mean():.1%}" if seen else "-"
        cli.say(f"{way:12}{error:14.5f}{psnr:>10}{right:>14}")
    path = args.out / "doubled.png"
    drawn = np.stack([plot.to_uint8(x[:SHOWN]) for x in ways.values()], 1)  # a row a picture
    plot.grid(drawn.reshape(-1, *drawn.shape[2:]), path, columns=len(ways), names=[*ways])
    cli.say(str(path))


def resolved(gan, real):
    """{way: (n, c, 2s, 2s)} of pictures (n, c, 2s, 2s) in [-1, 1], made half as large, in steps of
    1/255 as a file holds them, and doubled again: each pixel four times, by Pillow, by the network.
    """
    small = plot.to_uint8(ops.avg_pool2d(real, 2))
    low = data.scale(small)
    ours = gan.upscale(low, gan.noise(len(low), random.Generator(0)))
    return {
        "nearest": low.repeat(2, 2).repeat(2, 3),
        "bicubic": data.scale(np.stack([bicubic(picture) for picture in small])),
        "ours": device.to_host(ours),
        "real": real,
    }


def bicubic(picture):
    """A picture of bytes, (s, s) or (s, s, 3), twice as large by Pillow."""
    from PIL import Image

    height, width = picture.shape[:2]
    size = 2 * width, 2 * height
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def arguments():
    """The command line."""
    parser = cli.Parser("Train a GAN in two stages, and double pictures with the second.")
    parser.training(
        ["upsample"],
        model="upsample",
        conditional=None,
        epochs="32, of a small set more, for 10,000 steps",
        batch_size="32",
        out="runs/upsample_gan",
    )
    width = "channels of its narrowest layers (default: 16)"
    parser.add_argument("--width", type=cli.number(int, 1, 1024), help=width)
    content = "weight of the squared error of doubled real pictures (default: 10)"
    parser.add_argument("--content", type=cli.number(float, 0), help=content)
    parser.adversarial()
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

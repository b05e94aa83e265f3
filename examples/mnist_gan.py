"""Train a GAN on handwritten digits: the first page of tinygan.

    python examples/mnist_gan.py                        # the digits that ship with the package, any CPU, two minutes
    python examples/mnist_gan.py --no-conditional       # the original game: nobody says which digit is which
    python examples/mnist_gan.py --device gpu --data full

A generator G turns random points z into images; a discriminator D scores images, high for real and
low for G's. They play against each other, one move each a step, until G's digits pass. Read
`adversarial_step` below first: it is the whole idea.
"""

import numpy as np

from tinygan import data, device, grad, kernels, plot, random
from tinygan.cli import Parser, number, run
from tinygan.metrics import Judge
from tinygan.models import MODELS
from tinygan.nn.losses import binary_cross_entropy_with_logits as cross_entropy
from tinygan.train import second_half, train


def adversarial_step(gan, batch):
    """One move of each player on a batch of real images (n, 1, 28, 28); this is `gan.step`, spelled
    out.
    """
    # the two networks; if conditional, they are told which digits the real images show
    real, G, D = gan.players(batch)
    fake = G(gan.noise(len(real)))

    # D learns to say 1 to real images and 0 to fake ones. fake.data is a plain array, a constant: G
    # stays out of it.
    d_loss = cross_entropy(D(fake.data), 0.0) + cross_entropy(D(real), 1.0)
    gan.d_optimizer.step(grad(d_loss, gan.discriminator.parameters()))

    # G learns to make D say 1. Its gradient flows through D, but only G's parameters are asked for,
    # and only G moves.
    g_loss = cross_entropy(D(fake), 1.0)
    gan.g_optimizer.step(grad(g_loss, gan.generator.parameters()))

    gan.ema.update()  # samples are drawn from a moving average of G, steadier than G itself
    return {"d_loss": d_loss.data, "g_loss": g_loss.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    kernels.precision(args.precision, where)
    digits = data.load(args.data)
    print(
        f"{len(digits.images)} digits, {args.model} on the {device.describe() if where == 'gpu' else 'CPU'}"
    )

    random.manual_seed(args.seed)
    options = {} if args.lr is None else {"lr": args.lr}
    if args.width:
        options["width"] = args.width
    gan = MODELS[args.model](classes=10 if args.conditional else 0, device=where, **options)
    batch_size = args.batch_size or (32 if args.model == "dcgan" else 128)
    batches = data.Batches((device.to(digits.images, where), digits.labels), batch_size, args.seed)

    names = ("model", "conditional", "precision", "data", "batch_size", "lr", "width", "seed")
    config = {name: getattr(args, name) for name in names}
    step = lambda batch: adversarial_step(gan, batch)
    judge = Judge(data.scale(digits.images[:10_000]), where) if args.evaluate else None
    options = args.resume, config, judge, args.evaluate, not args.no_capture
    picture = train(gan, batches, args.epochs, args.out, step, second_half, *options)

    if args.samples:
        images = plot.to_uint8(device.to_host(gan.sample(args.samples)))
        np.savez_compressed(args.out / "samples.npz", images=images)
        print(f"{args.samples} digits: {args.out / 'samples.npz'}")
    print(picture)


def arguments():
    """The command line."""
    parser = Parser("Train a GAN on handwritten digits.")
    parser.training(
        MODELS, "dcgan", 32, "32 for dcgan, else 128", "runs/mnist_gan", conditional=True
    )
    parser.add_argument(
        "--width", type=number(int, 1), help="channels of dcgan's narrowest layer; None: 16"
    )
    args = parser.parse_args()
    if args.width and args.model != "dcgan":
        parser.error(f"--width is for --model dcgan, not {args.model}")
    return args


if __name__ == "__main__":
    run(main)

"""Train a VAE on handwritten digits: the other way to make them.

    python examples/mnist_vae.py                        # the digits that ship with the package, any CPU, a minute or so
    python examples/mnist_vae.py --latent 2             # and a map of the plane that its digits lie in
    python examples/mnist_vae.py --conditional          # digits of the class you ask for
    python examples/mnist_vae.py --model conv --targets dynamic --data full --iwae 5000

An encoder gives each image x a little Gaussian cloud of points z; a decoder turns points back into
images. Clouds that keep what the decoder needs, and that together fill one big Gaussian, make every
point of that Gaussian a digit. Read `elbo_step`.
"""

import numpy as np

from tinygan import data, device, grad, kernels, ops, plot, random
from tinygan.cli import Parser, number, run
from tinygan.metrics import Judge
from tinygan.models import VAES
from tinygan.models.labels import joined, unpack
from tinygan.nn.losses import binary_cross_entropy_with_logits as cross_entropy
from tinygan.nn.losses import gaussian_kl
from tinygan.train import train

TARGETS = 4  # the random stream that decides which pixels of binarised digits are ink


def elbo_step(vae, batch):
    """One update on images (n, 1, 28, 28); this is `vae.step`, spelled out."""
    # labels: rows that are 1 at the class; without --conditional they are empty
    images, labels = unpack(batch, vae.classes)
    x = vae.target(images)  # from [-1, 1] to the probability of ink, 0 to 1

    # Each image has its cloud, q(z|x): a mean and a variance in every direction. One point z is
    # drawn from it, as mean + deviation * noise, so that the gradient finds its way to mean and
    # deviation. Without a KL term there is no cloud.
    mean, log_variance = vae.encode(x, vae.encoder, labels)
    z = mean + ops.exp(0.5 * log_variance) * vae.noise(len(x)) if vae.beta else mean

    # What the decoder makes of z should be x: the nats still needed to name x once z is known ...
    reconstruction = ops.mean(
        ops.sum(cross_entropy(vae.decoder(joined(z, labels)), x, reduction="none"), axis=(1, 2, 3))
    )
    # ... and the nats needed to name z, given that everybody knows N(0, 1). Their sum bounds -log
    # p(x): the ELBO, negated.
    kl = gaussian_kl(mean, log_variance)
    loss = reconstruction + vae.beta * kl

    vae.optimizer.step(grad(loss, vae.optimizer.params))
    # pictures and figures come from a moving average of the weights, better than the last ones
    vae.ema.update()
    return {"loss": loss.data, "reconstruction": reconstruction.data, "kl": kl.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    kernels.precision(args.precision, where)
    (digits, labels), (held_out, held_labels) = data.split(args.data)
    print(
        f"{len(digits)} digits, {args.model} on the {device.describe() if where == 'gpu' else 'CPU'}"
    )

    random.manual_seed(args.seed)
    fixed = random.Generator(args.seed, TARGETS)
    if args.targets != "grey":
        held_out = data.binarise(held_out, fixed)
    if args.targets == "static":
        digits = data.binarise(digits, fixed)
    batches = data.Batches(
        (device.to(digits, where), labels),
        args.batch_size or 128,
        args.seed,
        data.binarised if args.targets == "dynamic" else data.scale,
    )
    options = {} if args.lr is None else {"lr": args.lr}
    vae = VAES[args.model](
        args.latent, beta=args.beta, device=where, classes=10 if args.conditional else 0, **options
    )

    names = (
        "model",
        "conditional",
        "precision",
        "data",
        "batch_size",
        "lr",
        "latent",
        "beta",
        "targets",
        "seed",
    )
    config = {name: getattr(args, name) for name in names}
    steady = lambda progress: 1.0  # the moving average does what a falling learning rate would
    judge = Judge(data.scale(digits[:10_000]), where) if args.evaluate else None
    options = args.resume, config, judge, args.evaluate, not args.no_capture
    picture = train(
        vae, batches, args.epochs, args.out, lambda batch: elbo_step(vae, batch), steady, *options
    )

    images = device.to(data.scale(held_out), where)
    bound = vae.elbo((images, held_labels))
    bound = bound if args.beta else {"reconstruction": bound["reconstruction"]}
    print(
        f"{len(images)} held-out digits, nats each: "
        + ", ".join(f"{k} {v:.2f}" for k, v in bound.items())
    )
    if args.iwae:
        some = slice(None, None, len(images) // 1000 or 1)  # a thousand take minutes
        bound = vae.iwae((images[some], held_labels[some]), args.iwae)
        print(
            f"log p(x{'|class' * args.conditional}) is at least {bound.mean():.2f} (IWAE-{args.iwae} of {len(bound)} digits)"
        )
    pictures(vae, (images[:16], held_labels[:16]), args.out)
    if args.samples:
        np.savez_compressed(args.out / "samples.npz", images=drawn(vae, vae.noise(args.samples)))
        print(f"{args.samples} digits: {args.out / 'samples.npz'}")
    print(picture)


def drawn(vae, points, labels=None):
    """The decoder's images of points (n, latent) and labels (n,), None: each in turn, as (n, 28,
    28) uint8.
    """
    return plot.to_uint8(
        device.to_host(vae.sample(len(points), device.to(points, vae.device), labels))
    )


def pictures(vae, batch, out):
    """Digits above their reconstructions; a walk from the first digit to the second, as a strip and
    moving; the plane. If conditional, walk and plane stay in the class of the first digit: what
    changes is the handwriting.
    """
    (images, labels), (_, rows) = batch, unpack(batch, vae.classes)
    means = device.to_host(vae.encode(vae.target(images), rows=rows)[0].data)
    originals = plot.to_uint8(device.to_host(images))
    plot.grid(
        np.concatenate([originals, drawn(vae, means, labels)]),
        out / "reconstructions.png",
        columns=len(images),
    )
    walk = drawn(vae, np.linspace(means[0], means[1], 16), labels[:1].repeat(16))
    plot.grid(walk, out / "interpolation.png", columns=16)
    plot.animate(list(walk.repeat(4, 1).repeat(4, 2)), out / "interpolation.gif", 100)
    if vae.latent == 2:
        plot.grid(
            drawn(vae, plot.manifold(20), labels[:1].repeat(400)), out / "manifold.png", columns=20
        )


def arguments():
    """The command line."""
    parser = Parser("Train a VAE on handwritten digits.")
    parser.training(VAES, "mlp", 60, "128", "runs/mnist_vae")
    add = parser.add_argument
    add("--latent", type=number(int, 1), default=20, help="dimensions of z")
    add(
        "--beta",
        type=number(float, 0),
        default=1.0,
        help="weight of the KL term; 0: an autoencoder, without noise",
    )
    add(
        "--targets",
        choices=["grey", "static", "dynamic"],
        default="grey",
        help="as they are, binarised once, or at each step",
    )
    add(
        "--iwae",
        type=number(int, 0),
        default=0,
        metavar="K",
        help="bound log p(x) with K points for each of 1,000 digits",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)

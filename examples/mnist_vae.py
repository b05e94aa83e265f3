"""Train a VAE on handwritten digits: the other way to make them.

    python examples/mnist_vae.py    # the digits that ship with the package, any CPU, a minute or so
    python examples/mnist_vae.py --latent 2      # and a map of the plane that its digits lie in
    python examples/mnist_vae.py --conditional   # digits of the class you ask for
    python examples/mnist_vae.py --model conv --targets dynamic --data full --iwae 5000

An encoder gives each image x a little Gaussian cloud of points z; a decoder turns points back into
images. Clouds that keep what the decoder needs, and that together fill one big Gaussian, make every
point of that Gaussian a digit. Read `elbo_step`.
"""

import numpy as np

from tinygan import cli, data, device, grad, kernels, ops, plot, random
from tinygan.models import VAES
from tinygan.nn.losses import binary_cross_entropy_with_logits as cross_entropy
from tinygan.nn.losses import gaussian_kl
from tinygan.train import AtEnd, Evaluate, constant

TARGETS = 4  # the random stream that decides which pixels of binarised digits are ink


def elbo_step(vae, batch):
    """One update on a batch of images (n, 1, 28, 28); this is `vae.step`, spelled out."""
    # images in [-1, 1], and, if it learns classes, which digit each one shows, (n,)
    images, labels = batch if vae.classes else (batch, None)
    x = vae.likelihood.target(images)  # from [-1, 1] to the probability of ink, 0 to 1

    # Each image has its cloud, q(z|x): a mean and a variance in every direction. One point z is
    # drawn from it, as mean + deviation * noise, so that the gradient finds its way to mean and
    # deviation. Without a KL term there is no cloud.
    mean, log_variance = vae.encode(x, labels)
    z = mean + ops.exp(0.5 * log_variance) * vae.noise(len(x)) if vae.beta else mean

    # What the decoder makes of z should be x: the nats still needed to name x once z is known ...
    missed = cross_entropy(vae.decode(z, labels), x, reduction="none")  # of each pixel
    reconstruction = ops.mean(ops.sum(missed, axis=(1, 2, 3)))
    # ... and the nats needed to name z, given that everybody knows N(0, 1). Their sum bounds
    # -log p(x): the ELBO, negated.
    kl = gaussian_kl(mean, log_variance)
    loss = reconstruction + vae.beta * kl

    vae.optimizer.step(grad(loss, vae.optimizer.params))
    # pictures and figures come from a moving average of the weights, better than the last ones
    vae.ema.update()
    return {"loss": loss.data, "reconstruction": reconstruction.data, "kl": kl.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    (digits, labels, _), (held_out, held_labels, _) = data.split(args.data)
    place = device.describe() if where == "gpu" else "CPU"
    print(f"{len(digits)} digits, {args.model} on the {place}")

    random.manual_seed(args.seed)
    once = random.Generator(args.seed, TARGETS)
    held_out = held_out if args.targets == "grey" else data.binarise(held_out, once)
    digits = data.binarise(digits, once) if args.targets == "static" else digits
    seen = data.binarised if args.targets == "dynamic" else data.scale
    arrays = (device.to(digits, where), labels) if args.conditional else device.to(digits, where)
    batches = data.Batches(arrays, args.batch_size or 128, args.seed, transform=seen)
    chosen = cli.options(args, "latent", "beta", "lr")
    vae = VAES[args.model](classes=10 if args.conditional else 0, device=where, **chosen)

    unseen = device.to(data.scale(held_out), where)
    unseen = (unseen, held_labels) if args.conditional else unseen
    cost = "elbo" if args.beta else "reconstruction"
    loss = lambda: {"held_out_loss": abs(vae.elbo(unseen)[cost])}

    def report():
        figures(args, vae, unseen, held_labels)
        pictures(vae, unseen, held_labels, args.out)

    with kernels.precision(args.precision, where):
        cli.run_training(
            args,
            vae,
            batches,
            step=lambda batch: elbo_step(vae, batch),
            schedule=constant,  # the moving average does what a falling rate would
            callbacks=[Evaluate(loss), AtEnd(report)],
            config={"targets": args.targets},
            real=digits,
        )


def figures(args, vae, batch, labels):
    """Print how well held-out digits are described, in nats each."""
    bound = vae.elbo(batch)
    names = list(bound) if args.beta else ["reconstruction"]
    words = ", ".join(f"{name} {bound[name]:.2f}" for name in names)
    cli.say(f"{len(labels)} held-out digits, nats each: {words}")
    if args.iwae:
        some = slice(None, None, len(labels) // 1000 or 1)  # a thousand take minutes
        batch = (batch[0][some], labels[some]) if args.conditional else batch[some]
        bound = vae.iwae(batch, args.iwae)
        known = "|class" if args.conditional else ""
        mean, of = bound.mean(), f"IWAE-{args.iwae} of {len(bound)} digits"
        cli.say(f"log p(x{known}) is at least {mean:.2f} ({of})")


def pictures(vae, batch, labels, out):
    """Sixteen digits above their reconstructions; a walk from the first digit to the second, as a
    strip and moving; the plane. If conditional, walk and plane stay in the class of the first
    digit: what changes is the handwriting.
    """
    images, told = (batch[0][:16], labels[:16]) if vae.classes else (batch[:16], None)
    stay = lambda n: None if told is None else told[:1].repeat(n)
    draw = lambda z, labels: plot.to_uint8(
        device.to_host(vae.sample(len(z), device.to(z, vae.device), labels))
    )
    means = device.to_host(vae.encode(vae.likelihood.target(images), told, vae.average)[0].data)
    originals = plot.to_uint8(device.to_host(images))
    both = np.concatenate([originals, draw(means, told)])
    plot.grid(both, out / "reconstructions.png", columns=len(images))

    # of a tiny set one digit alone may be held out, and the walk stays where it is
    walk = draw(np.linspace(means[0], means[:2][-1], 16), stay(16))
    plot.grid(walk, out / "interpolation.png", columns=16)
    plot.animate(list(walk.repeat(4, 1).repeat(4, 2)), out / "interpolation.gif", 100)
    if vae.latent == 2:
        plot.grid(draw(plot.manifold(20), stay(400)), out / "manifold.png", columns=20)


def arguments():
    """The command line."""
    parser = cli.Parser("Train a VAE on handwritten digits.")
    parser.training(VAES, model="mlp", epochs=60, batch_size="128", out="runs/mnist_vae")
    add = parser.add_argument
    add("--latent", type=cli.number(int, 1), default=20, help="dimensions of z")
    no_noise = "weight of the KL term; 0: an autoencoder, without noise"
    add("--beta", type=cli.number(float, 0), default=1.0, help=no_noise)
    when = {"choices": ["grey", "static", "dynamic"], "default": "grey"}
    add("--targets", **when, help="as they are, binarised once, or at each step")
    bound = "bound log p(x) with K points for each of 1,000 digits"
    add("--iwae", type=cli.number(int, 0), default=0, metavar="K", help=bound)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

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
from tinygan.nn.losses import gaussian_kl
from tinygan.train import AtEnd, Evaluate, constant

TARGETS = 4  # the random stream that decides which pixels of binarised pictures are ink


def elbo_step(vae, batch):
    """One update on a batch of images (n, 1, 28, 28); this is `vae.step`, spelled out."""
    # images in [-1, 1], and, if it learns classes, which digit each one shows, (n,)
    images, labels = batch if vae.classes else (batch, None)
    x = vae.likelihood.target(images)  # of grey images the probability of ink, from 0 to 1

    # Each image has its cloud, q(z|x): a mean and a variance in every direction. One point z is
    # drawn from it, as mean + deviation * noise, so that the gradient finds its way to mean and
    # deviation. Without a KL term there is no cloud.
    mean, log_variance = vae.encode(x, labels)
    z = mean + ops.exp(0.5 * log_variance) * vae.noise(len(x)) if vae.beta else mean

    # What the decoder makes of z should be x: the nats still needed to name x once z is known. Of
    # grey images that is the cross-entropy of their pixels, see models/likelihoods.py ...
    reconstruction = -ops.mean(vae.likelihood.log_p(vae.decode(z, labels), x))
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
    known, unknown = cli.pictures(args, data.split)  # to learn from, and to be tested with
    if args.targets != "grey" and known.images.ndim == 4:
        raise data.DataError(f"--targets {args.targets}: ink or none is for grey: --colour grey")
    place = device.describe() if where == "gpu" else "CPU"
    print(f"{cli.in_words(known)}; {args.model} on the {place}")

    random.manual_seed(args.seed)
    once = random.Generator(args.seed, TARGETS)
    images, held_out = known.images, unknown.images
    held_out = held_out if args.targets == "grey" else data.binarise(held_out, once)
    images = data.binarise(images, once) if args.targets == "static" else images
    chosen = cli.fitting(args, known) | cli.options(args, "latent", "beta", "lr", "likelihood")
    vae = cli.built(VAES[args.model], device=where, **chosen)
    images, unseen = device.to(images, where), device.to(data.scale(held_out), where)
    seen = data.binarised if args.targets == "dynamic" else data.scale
    arrays = (images, known.labels) if vae.classes else images
    batch_size = args.batch_size or min(128, len(images))
    batches = data.Batches(arrays, batch_size, args.seed, transform=seen)
    args.epochs = args.epochs or min(1000, max(60, 4_000 // len(batches)))
    unseen = (unseen, unknown.labels) if vae.classes else unseen
    cost = "elbo" if args.beta else "reconstruction"
    loss = lambda: {"held_out_loss": abs(vae.elbo(unseen)[cost])}

    def report():
        figures(args, vae, unseen)
        pictures(vae, unseen, args.out)

    with kernels.precision(args.precision, where):
        cli.run_training(
            args,
            vae,
            batches,
            step=lambda batch: elbo_step(vae, batch),
            schedule=constant,  # the moving average does what a falling rate would
            callbacks=[Evaluate(loss), AtEnd(report)],
            config={"targets": args.targets},
            real=known,
        )


def figures(args, vae, batch):
    """Print how well held-out pictures are described, in nats each."""
    images, labels = batch if vae.classes else (batch, None)
    bound = vae.elbo(batch)
    names = list(bound) if args.beta else ["reconstruction"]
    words = ", ".join(f"{name} {bound[name]:.2f}" for name in names if name != "bits")
    bits = f"; {bound['bits']:.3f} bits per dimension" if "bits" in bound else ""
    cli.say(f"{len(images)} held-out pictures, nats each: {words}{bits}")
    if args.iwae:
        some = slice(None, None, len(images) // 1000 or 1)  # a thousand take minutes
        batch = (images[some], labels[some]) if vae.classes else images[some]
        bound = vae.iwae(batch, args.iwae)
        known = "|class" if vae.classes else ""
        mean, of = bound.mean(), f"IWAE-{args.iwae} of {len(bound)} pictures"
        cli.say(f"log p(x{known}) is at least {mean:.2f} ({of})")


def pictures(vae, batch, out):
    """Sixteen pictures above their reconstructions; a walk from the first to the second, as a strip
    and moving; the plane. If conditional, walk and plane stay in the class of the first.
    """
    images, told = (part[:16] for part in batch) if vae.classes else (batch[:16], None)
    stay = lambda n: None if told is None else told[:1].repeat(n)
    draw = lambda z, labels: plot.to_uint8(
        device.to_host(vae.sample(len(z), device.to(z, vae.device), labels))
    )
    means = device.to_host(vae.encode(vae.likelihood.target(images), told, vae.average)[0].data)
    originals = plot.to_uint8(device.to_host(images))
    both = np.concatenate([originals, draw(means, told)])
    plot.grid(both, out / "reconstructions.png", columns=len(images))

    # of a tiny set one picture alone may be held out, and the walk stays where it is
    walk = draw(np.linspace(means[0], means[:2][-1], 16), stay(16))
    plot.grid(walk, out / "interpolation.png", columns=16)
    plot.animate(list(walk.repeat(4, 1).repeat(4, 2)), out / "interpolation.gif", 100)
    if vae.latent == 2:
        plot.grid(draw(plot.manifold(20), stay(400)), out / "manifold.png", columns=20)


def arguments():
    """The command line."""
    parser = cli.Parser("Train a VAE on handwritten digits, or on pictures of your own.")
    epochs = "60, of a small set more, for 4,000 steps"
    parser.training(VAES, model="mlp", epochs=epochs, batch_size="128", out="runs/mnist_vae")
    add = parser.add_argument
    add("--latent", type=cli.number(int, 1, 4096), default=20, help="dimensions of z")
    no_noise = "weight of the KL term; 0: an autoencoder, without noise"
    add("--beta", type=cli.number(float, 0), default=1.0, help=no_noise)
    when = {"choices": ["grey", "static", "dynamic"], "default": "grey"}
    add("--targets", **when, help="as they are, binarised once, or at each step")
    says = {"choices": ["auto", "bernoulli", "logistic"], "default": "auto"}
    add("--likelihood", **says, help="of pixels; auto: bernoulli for grey, logistic for colour")
    bound = "bound log p(x) with K points for each of 1,000 digits"
    add("--iwae", type=cli.number(int, 0), default=0, metavar="K", help=bound)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

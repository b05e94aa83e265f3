"""Train a GAN on handwritten digits: two networks play against each other.

    python examples/mnist_gan.py      # the digits that ship with the package, any CPU, two minutes
    python examples/mnist_gan.py --no-conditional     # nobody says which digit is which
    python examples/mnist_gan.py --device gpu --data full
    python examples/mnist_gan.py --loss wgan-gp      # another game; `--help` lists them
    python examples/mnist_gan.py --data photos --side 32    # your own, a folder in it is a class

A generator G turns random points z into images; a discriminator D scores images, high for real and
low for G's. They take turns, one move each a step, until G's digits pass. Read `adversarial_step`
first: it is the whole idea.
"""

from tinygan import cli, data, device, grad, kernels, random
from tinygan.models import MODELS
from tinygan.nn.losses import binary_cross_entropy_with_logits as cross_entropy

SMALL = 5000  # pictures that D would learn by heart, unless ...
POLICY = "colour,shift,cutout"  # ... it sees nothing but changed ones, see ops/augment.py


def adversarial_step(gan, batch):
    """One move of each player on a batch of real digits; this is `gan.step`, spelled out."""
    # images (n, 1, 28, 28) in [-1, 1], and which digit each one shows, (n,), which both are told
    real, labels = batch if gan.classes else (batch, None)

    z = gan.noise(len(real))  # random points, (n, latent)
    fake = gan.generate(z, labels)  # G's images of them

    # D learns to say 1 to real images and 0 to fake ones; of a small set `discriminate` shows it
    # both changed at random. fake.data is a plain array, a constant: G stays out of it.
    says_real = gan.discriminate(real, labels)
    says_fake = gan.discriminate(fake.data, labels)
    d_loss = cross_entropy(says_fake, 0.0) + cross_entropy(says_real, 1.0)
    gan.d_optimizer.step(grad(d_loss, gan.discriminator.parameters()))

    # G learns to make D say 1. Its gradient flows through D, but only G's parameters are asked for,
    # and only G moves.
    g_loss = cross_entropy(gan.discriminate(fake, labels), 1.0)
    gan.g_optimizer.step(grad(g_loss, gan.generator.parameters()))

    gan.ema.update()  # samples are drawn from a moving average of G, steadier than G itself
    return {"d_loss": d_loss.data, "g_loss": g_loss.data}


def main():
    args = arguments()
    where = device.resolve(args.device)
    # images of 0 to 255, (n, 28, 28) if they are digits, and labels (n,)
    pictures = cli.pictures(args, data.load)
    place = device.describe() if where == "gpu" else "CPU"
    print(f"{cli.in_words(pictures)}; {args.model} on the {place}")

    if args.augment is None and len(pictures.images) < SMALL:
        args.augment = POLICY
        print(f"so few that D sees them changed at random: --augment {POLICY}")
    random.manual_seed(args.seed)
    game = cli.options(args, *cli.GAME)
    chosen = cli.fitting(args, pictures) | cli.options(args, "lr", "width", "augment") | game
    gan = cli.built(MODELS[args.model], device=where, **chosen)
    images = device.to(pictures.images, where)
    usual = 32 if args.model in cli.SIZED else 128
    batch_size = args.batch_size or min(usual, len(images))
    arrays = (images, pictures.labels) if gan.classes else images
    batches = data.Batches(arrays, cli.share(args, batch_size, len(images)), args.seed)
    args.epochs = args.epochs or min(1000, max(32, 10_000 // (len(images) // batch_size)))

    # the same two moves with other losses, or D's more often, are in tinygan/models/gan.py
    other = game or args.model == "upsample"
    step = gan.step if other else lambda batch: adversarial_step(gan, batch)
    with kernels.precision(args.precision, where):
        cli.run_training(args, gan, batches, step=step, real=pictures)


def arguments():
    """The command line."""
    parser = cli.Parser("Train a GAN on handwritten digits, or on pictures of your own.")
    parser.training(
        MODELS,
        model="dcgan",
        conditional=None,
        epochs="32, of a small set more, for 10,000 updates of D",
        batch_size="32 for dcgan and upsample, else 128",
        out="runs/mnist_gan",
    )
    parser.width()
    parser.adversarial()
    change = "show D changed pictures only: some of flip,colour,shift,cutout, or none"
    change += f" (default: {POLICY} for fewer than {SMALL} pictures)"
    parser.add_argument("--augment", type=cli.policy, metavar="POLICY", help=change)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

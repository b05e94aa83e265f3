"""Watch a GAN learn a density in the plane: what an image hides is seen here, in a minute.

    python examples/toy_gan.py                             # a ring of eight narrow peaks
    python examples/toy_gan.py --loss non-saturating       # the first game; --help has the others
    python examples/toy_gan.py --density roll              # or grid, moons, checkerboard
    python examples/toy_gan.py --density grid --model pacgan --loss non-saturating --packing 4

OUT/samples.gif is the game: on the left the real density, blue, under G's points; on the right what
D says of every place, and where that sends G's points next. Read `adversarial_step` first, which is
R3GAN's; examples/mnist_gan.py spells out the classic one.
"""

import numpy as np

from tinygan import Tensor, cli, data, device, grad, kernels, plot, random
from tinygan.metrics import distances, mode_figures
from tinygan.models import POINTS
from tinygan.nn.losses import relativistic, zero_centred_penalty

FEW = 50  # places that D sees among G's points at a time, where it sees how much a batch differs
REAL, SEEN, SHOWN, JUDGED = 6, 7, 8, 9  # random streams: to learn from, to draw, and to judge by
# the game unless another is asked for; gamma, the weight of R1 and R2, suits peaks so narrow
USUAL = {"loss": "r3gan", "r1": 0.05, "r2": 0.05, "lr": 0.003}


def adversarial_step(gan, batch):
    """One move of each player on real points (n, 2); this is `gan.step`, spelled out."""
    D = gan.discriminate
    fake = gan.generate(gan.noise(len(batch)))  # of random points, (n, latent)

    # D learns to score each real point above the fake one that it is paired with, and to be flat,
    # at real points and at fake ones. fake.data is a plain array, a constant: G stays out of it.
    real, made = Tensor(batch), Tensor(fake.data)
    says_fake, says_real = D(made), D(real)
    d_loss = relativistic(says_fake, says_real)
    d_loss += gan.r1 / 2 * zero_centred_penalty(says_real, real)
    d_loss += gan.r2 / 2 * zero_centred_penalty(says_fake, made)
    gan.d_optimizer.step(grad(d_loss, gan.discriminator.parameters()))

    # G learns to have its points scored above the real ones.
    g_loss = relativistic(D(batch), D(fake))
    gan.g_optimizer.step(grad(g_loss, gan.generator.parameters()))

    gan.ema.update()  # samples are drawn from a moving average of G, steadier than G itself
    return {"d_loss": d_loss.data, "g_loss": g_loss.data}


def frame(gan, toy, title):
    """One picture of the game, (h, w, 3) uint8; it shows G's samples of the same points z each
    time. It leaves D as it was: a spectral norm, say, learns from each look while D trains.
    """
    gan.discriminator.eval()
    try:
        return drawn(gan, toy, title)
    finally:
        gan.discriminator.train()


def drawn(gan, toy, title):
    """The same, of a D that does not train."""
    n = 1500 // gan.packing * gan.packing
    fake = gan.sample(n, gan.noise(n, random.Generator(0, SEEN)))
    real = device.to(toy.sample(n, random.Generator(0, SHOWN)), gan.device)
    points = Tensor(fake)
    flow = -grad(gan.g_loss(gan.discriminate, points, real), points)  # down the slope of G's loss
    fake, flow = device.to_host(fake), device.to_host(flow)

    def says(places):
        """D's scores; where it sees points packed, each is packed with some of G's, and where it
        sees how much a batch differs, a few are among all of G's.
        """
        packs = [places, *(np.resize(fake[i], places.shape) for i in range(1, gan.packing))]
        packs = np.stack(packs, 1)  # (m, packing, 2)
        std, said = gan.recipe.get("minibatch_std"), np.empty(len(packs), fake.dtype)
        others = fake.reshape(-1, gan.packing, 2) if std else packs[:0]
        turns = -(-len(packs) // FEW) if std else 1
        for i in range(turns):  # each time some from all over the window
            both = np.concatenate([packs[i::turns], others]).reshape(-1, 2)
            scores = device.to_host(gan.discriminate(device.to(both, gan.device)).data)[:, 0]
            said[i::turns] = scores[: len(scores) - len(others)]
        return said

    # of some games only differences count
    middle = (says(device.to_host(real)).mean() + says(fake).mean()) / 2
    return plot.plane(toy, fake, lambda places: says(places) - middle, flow, title)


def in_words(points, toy):
    """How good G's points are, in a line."""
    if toy.centres is not None:
        found, modes = mode_figures(points, toy.centres, toy.deviation), len(toy.centres)
        words = f"{found['modes']} of {modes} modes, {found['quality']:.1%} of the points on them"
        return f"{words} (of real ones 98.9%), KL from even shares {found['kl']:.3f} nats"
    real, others = (toy.sample(len(points), random.Generator(i, JUDGED)) for i in (0, 1))
    logs = toy.log_density(points)
    inside = np.isfinite(logs)
    words = f"mean log density {logs[inside].mean():.2f} nats"
    words += f" (of real points {toy.log_density(real).mean():.2f})"
    words += "" if inside.all() else f", and {1 - inside.mean():.1%} where it is 0"
    apart = [distances.sliced_wasserstein(real, x) for x in (points, others)]
    return f"{words}; sliced Wasserstein distance {apart[0]:.3f} (of real ones {apart[1]:.3f})"


def main():
    args = arguments()
    toy, where = data.TOYS[args.density], device.resolve(args.device)
    random.manual_seed(args.seed)
    game = cli.options(args, *cli.GAME)
    usual = USUAL if args.loss in (None, USUAL["loss"]) else {}
    usual = {k: v for k, v in usual.items() if k != "lr" or args.model == "mlp"}
    options = usual | game | cli.options(args, "lr")
    gan = cli.built(POINTS[args.model], device=where, **options)

    real = device.to(toy.sample(12_800, random.Generator(args.seed, REAL)), where)
    batch_size = cli.share(args, args.batch_size or 128, len(real))
    batches = data.Batches(real, batch_size, args.seed, transform=None)
    args.epochs = args.epochs or 40

    def preview(path):
        """What `train` asks for after each epoch, and makes samples.gif of: path-NNN.png."""
        step = int(path.name.split("-")[1]) * len(batches)
        picture = frame(gan, toy, f"{toy.name}, {gan.recipe['loss']}, step {step}")
        plot.grid(picture[None], path.with_suffix(".png"), columns=1)

    gan.preview = preview
    # other games, or more moves of D, are in tinygan/models/gan.py
    step = gan.step if game else lambda batch: adversarial_step(gan, batch)
    with kernels.precision(args.precision, where):
        config = {"density": toy.name}
        cli.run_training(args, gan, batches, real=None, step=step, config=config)

    fake = gan.sample(2500, gan.noise(2500, random.Generator(args.seed, JUDGED)))
    print(in_words(device.to_host(fake), toy))


def arguments():
    """The command line."""
    parser = cli.Parser("Watch a GAN learn a density in the plane.")
    parser.add_argument("--density", choices=[*data.TOYS], default="ring", help="what it learns")
    told = {"epochs": "40", "batch_size": "128", "out": "runs/toy_gan", "pictures": False}
    lr = f"{USUAL['lr']} where mlp plays {USUAL['loss']}, else the model's own"
    parser.training(POINTS, model="mlp", lr=lr, **told)
    parser.adversarial(loss=USUAL["loss"], gamma=USUAL["r1"])
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

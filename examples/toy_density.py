"""Three ways to learn a density in the plane, side by side: a GAN, a flow and a diffusion.

    python examples/toy_density.py                           # two moons, a few minutes
    python examples/toy_density.py --density checkerboard    # or ring, grid, roll
    python examples/toy_density.py --epochs 120              # longer, and nearer

OUT/samples.gif shows what each draws as it learns, of the same batches; OUT/paths.gif the way from
noise to samples of the two that have one; OUT/density.png the flow's own density beside the real
one. For a GAN has samples and no more, a diffusion a bound on the density of each point, and a flow
the very density: so how far it is from the real one, the KL divergence, is known in nats.

Read `flow_step` first; the GAN's is in examples/toy_gan.py, and that of the diffusion, which learns
by the same few lines, in tinygan/models/ddpm.py.
"""

import math

import numpy as np

from tinygan import cli, data, device, grad, models, ops, plot, random
from tinygan.metrics import distances, mode_figures
from tinygan.nn.losses import mse
from tinygan.optim import schedules

REAL, SEEN, JUDGED = 6, 7, 9  # random streams: to learn from, to draw, and to judge by
POINTS, SAMPLES, TRAILS = 51_200, 2000, 40  # to learn from, to judge, and whose ways are drawn
GAME = {"loss": "r3gan", "r1": 0.05, "r2": 0.05, "lr": 0.003}
STEPS = 40  # of both ways from noise to samples


def flow_step(flow, batch):
    """Points x and noise are joined by lines, and the network is asked for the velocity along them
    at a random place of each: where lines cross it learns the mean. This is `flow.step`.
    """
    x, noise = batch / flow.scale, flow.noise(len(batch))
    t = random.default.uniform((len(batch),), device=flow.device)
    at = (1 - t[:, None]) * noise + t[:, None] * x
    loss = mse(flow.network(at, t, None), x - noise)
    flow.optimizer.step(grad(loss, flow.optimizer.params))
    flow.ema.update()  # samples are drawn by a moving average of the network
    return loss.data


class Three:
    """The models, which learn of the same batches: what a training run asks of one."""

    def __init__(self, toy, scale, where):
        self.toy = toy
        self.gan = models.points(device=where, **GAME)
        self.flow = models.point_flow(scale=scale, steps=STEPS, device=where)
        self.ddpm = models.point_ddpm(scale=scale, steps=STEPS, device=where)
        self.named = {"GAN": self.gan, "flow": self.flow, "diffusion": self.ddpm}

    def step(self, batch):
        losses = {"flow": flow_step(self.flow, batch), "ddpm": self.ddpm.step(batch)["loss"]}
        return self.gan.step(batch) | losses

    def parts(self):
        """What a checkpoint holds of them all."""
        named = {name: model.parts() for name, model in self.named.items()}
        return {f"{name}_{k}": part for name, parts in named.items() for k, part in parts.items()}

    @property
    def optimizers(self):
        return [optimizer for model in self.named.values() for optimizer in model.optimizers]

    def sample(self, stream):
        """{name: points (n, 2)}, of the same noise each time."""
        source = random.Generator(0, stream)
        made = {k: m.sample(SAMPLES, m.noise(SAMPLES, source)) for k, m in self.named.items()}
        return {name: device.to_host(points) for name, points in made.items()}

    def preview(self, path):
        """A frame of samples.gif."""
        title = f"{self.toy.name}, epoch {int(path.name.split('-')[1])}"
        picture = plot.panels(self.toy, self.sample(SEEN), title)
        plot.grid(picture[None], path.with_suffix(".png"), columns=1, zoom=1)


def paths(three, path):
    """Noise on its way to samples."""
    noise = three.flow.noise(SAMPLES, random.Generator(0, SEEN))
    ways = {}
    for name in ("flow", "diffusion"):
        model = three.named[name]
        way = [noise * model.scale, *map(ops.raw, model.path(noise))]
        ways[name] = np.stack([device.to_host(points) for points in way])
    frames = []
    for i in range(STEPS + 1):
        trails = {name: way[: i + 1, :TRAILS] for name, way in ways.items()}
        shown = {name: way[i] for name, way in ways.items()}
        frames.append(plot.panels(three.toy, shown, f"t = {i / STEPS:.2f}", trails))
    plot.animate(frames, path, milliseconds=80)


def in_words(three):
    """How good they are, a line each."""
    toy = three.toy
    real, others = (toy.sample(SAMPLES, random.Generator(i, JUDGED)) for i in (0, 1))
    log = toy.log_density(real)
    nats = {"flow": log - three.flow.log_prob(real, steps=50)}  # twice as many say the same
    nats["diffusion"] = log - three.ddpm.bound(real, discrete=False)
    for name, points in (three.sample(JUDGED) | {"real points": others}).items():
        words = [f"sliced Wasserstein {distances.sliced_wasserstein(real, points):.3f}"]
        if toy.centres is not None:
            found = mode_figures(points, toy.centres, toy.deviation)
            words.append(f"{found['modes']} modes, {found['quality']:.1%} of the points on them")
        if name in nats:
            mean, error = nats[name].mean(), nats[name].std() / math.sqrt(SAMPLES)
            most = "at most " if name == "diffusion" else ""
            words.append(f"KL from the real density {most}{mean:.4f} +- {error:.4f} nats")
        yield f"{name}: {'; '.join(words)}"


def main():
    args = arguments()
    toy, where = data.TOYS[args.density], device.resolve(args.device)
    random.manual_seed(args.seed)
    points = toy.sample(POINTS, random.Generator(args.seed, REAL))
    three = Three(toy, float(points.std()), where)
    batches = data.Batches(device.to(points, where), args.batch_size, args.seed, transform=None)
    options = {"schedule": schedules.cosine, "config": {"density": toy.name}}
    cli.run_training(args, three, batches, real=None, step=three.step, **options)
    for line in in_words(three):
        print(line)
    own = lambda places: three.flow.log_prob(places, steps=10, method="rk4")
    picture = plot.panels(toy, {"real": points[:0], "the flow's own": own}, toy.name)
    plot.grid(picture[None], args.out / "density.png", columns=1, zoom=1)
    paths(three, args.out / "paths.gif")


def arguments():
    """The command line."""
    parser = cli.Parser("Three ways to learn a density in the plane, side by side.")
    add = parser.add_argument
    add("--density", choices=[*data.TOYS], default="moons", help="what they learn")
    add("--epochs", type=cli.number(int, 1), default=40, help="passes over 51,200 points")
    add("--batch-size", type=cli.number(int, 2), default=256, help="points a step")
    add("--seed", type=cli.number(int, 0, 2**32 - 1), default=0, help="of all randomness")
    places = {"choices": ["auto", "cpu", "gpu"], "default": "auto"}
    add("--device", **places, help="auto: the GPU if one is usable")
    parser.folder("runs/toy_density")
    # flags of other runs, which this one does without
    parser.set_defaults(evaluate=0, samples=0, track=None, precision="float32", no_capture=False)
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)

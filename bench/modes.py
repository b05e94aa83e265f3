"""How many modes does each game find? PacGAN's protocol in the plane: a ring of 8 Gaussians and a
grid of 25, ten runs of each game.

    python bench/modes.py [--densities ring grid] [--games gan pacgan2 ...] [--network mlp]
                          [--steps 20000] [--runs 10] [--jobs 1] [--out FILE.jsonl]

The protocol (Lin 2018, and their code): 100,000 points, batches of 100 (packs, if D
judges packs), 2,500 samples; a mode is found if a sample lies within three deviations of its
centre, such samples are good, and KL is of their shares of the modes from equal ones, in nats.
There the networks are --network pacgan, at a rate of 1e-4, and 400 epochs are 400,000 steps.
Printed are means and standard errors of the runs, for the last generator and for the moving average
of its weights. --out notes each run, and those that are noted there are not made again.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from common import Steps, machine, note, noted

GAMES = {
    "gan": {},
    "pacgan2": {"packing": 2},
    "pacgan4": {"packing": 4},
    "minimax": {"loss": "minimax"},
    "least-squares": {"loss": "least-squares"},
    "hinge-sn": {"loss": "hinge", "spectral": True},
    "wgan": {"loss": "wgan", "n_critic": 5},
    "wgan-gp": {"loss": "wgan-gp", "n_critic": 3},
    "r1": {"r1": 0.1},
    "r3gan": {"loss": "r3gan", "r1": 0.1, "r2": 0.1},
}
POINTS, BATCH, JUDGED = 100_000, 100, 2500
FIGURES = ("modes", "quality", "kl")
# published: modes, and where known the share of good samples and KL; ten runs (Lin 2018, table 1)
PUBLISHED = {
    ("ring", "gan"): "6.3 +- 0.5, 0.982, 0.45",
    ("ring", "pacgan2"): "7.9 +- 0.1",
    ("grid", "gan"): "17.3 +- 0.8",
    ("grid", "pacgan4"): "24.8 +- 0.2",
}


def run(density, game, network, steps, seed):
    """The figures of one run: {"last": {...}, "average": {...}, "seconds": of the processor}."""
    from tinygan import data, metrics, models, random
    from tinygan.recording import no_grad
    from tinygan.train import loop

    toy, start = data.TOYS[density], time.process_time()
    random.manual_seed(seed)
    model = models.POINTS[network](**GAMES[game])
    points = toy.sample(POINTS, random.Generator(seed, 7))
    size = BATCH * model.packing * model.n_critic
    batches = data.Batches(points, size, seed, transform=None)
    z = model.noise(JUDGED, random.Generator(seed, 9))
    for _ in loop(model, Steps(batches, steps), epochs=1):
        pass
    model.generator.eval()
    with no_grad():
        both = {"last": model.generator(z).data, "average": model.average(z).data}
    found = {k: metrics.mode_figures(x, toy.centres, toy.deviation) for k, x in both.items()}
    return found | {"seconds": time.process_time() - start}


def show(density, game, results):
    """One line of the table: for both generators, mean and standard error."""
    cells = []
    for which in ("last", "average"):
        for name in FIGURES:
            values = [r[which][name] for r in results]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.2f} +- {error:.2f}")
    seconds = statistics.mean(r["seconds"] for r in results)
    published = PUBLISHED.get((density, game), "")
    line = "".join(f"{cell:>16}" for cell in cells)
    print(f"{density:5} {game:14}{line}{seconds:7.0f} s  {published}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--densities", nargs="+", choices=["ring", "grid"], default=["ring", "grid"]
    )
    parser.add_argument("--games", nargs="+", choices=GAMES, default=["gan", "pacgan2", "r3gan"])
    parser.add_argument("--network", choices=["mlp", "pacgan"], default="mlp")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="a file of runs, which is added to")
    args = parser.parse_args()
    if min(args.runs, args.steps, args.jobs) < 1:
        parser.error("--runs, --steps and --jobs must be at least 1")
    print(machine("numpy"))
    print(f"{args.network}, {args.steps} steps, {args.runs} runs; published: modes, good, KL")
    titles = [f"{w} {name}" for w in ("last", "average") for name in FIGURES]
    print(f"{'':20}{''.join(f'{t:>16}' for t in titles)}")
    done = noted(args.out)
    with ProcessPoolExecutor(args.jobs) as pool:
        for density in args.densities:
            for game in args.games:
                keys = [(density, game, args.network, args.steps, s) for s in range(args.runs)]
                waiting = {key: pool.submit(run, *key) for key in keys if key not in done}
                for key, future in waiting.items():
                    done[key] = future.result()
                    note(args.out, key, done[key])
                show(density, game, [done[key] for key in keys])


if __name__ == "__main__":
    main()

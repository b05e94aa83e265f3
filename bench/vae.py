"""Test loss of the dense VAE after each of ten epochs on MNIST's 60,000 digits, next to PyTorch's
example.

    # DIR: MNIST's four files; three minutes on two idle cores
    python bench/vae.py --data DIR [--seeds 0 1 2]

The run is that of pytorch/examples, vae/main.py: 784-400-20-400-784, Adam at 1e-3, batches of 128,
grey targets, one z for each test digit, the weights as they are and no average of them. Nats a
digit, the mean over all 10,000. Where theirs ends an epoch with a batch of 96, `Batches` leaves
these 96 digits out, others each time.
"""

import argparse

import numpy as np

from tinygan import data, models, random
from tinygan.train import loop

PYTORCH = [127.30, 115.79, 112.22, 109.64, 108.54, 107.70, 107.07, 106.66, 106.04, 105.56]


def curve(seed, digits, held_out):
    """The test losses after each epoch."""
    random.manual_seed(seed)
    vae = models.VAES["mlp"](lr=1e-3, decay=0.0)
    batches, losses = data.Batches(digits, 128, seed), []
    for records in loop(vae, batches, epochs=len(PYTORCH)):
        if records[-1]["step"] % len(batches) == 0:
            losses.append(-vae.elbo(held_out)["elbo"])
    return losses


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    digits, held_out = (part.images for part in data.split(args.data))
    held_out = data.scale(held_out)
    runs = [curve(seed, digits, held_out) for seed in args.seeds]
    seeds = "".join(f"   seed {seed:2}" for seed in args.seeds)
    print(f"epoch{seeds}     mean  PyTorch  difference")
    for epoch, (theirs, ours) in enumerate(zip(PYTORCH, zip(*runs)), 1):
        losses, mean = "".join(f"{loss:10.2f}" for loss in ours), np.mean(ours)
        print(f"{epoch:5}{losses}{mean:9.2f}{theirs:9.2f}{mean - theirs:+12.2f}")


if __name__ == "__main__":
    main()

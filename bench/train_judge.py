"""Train the classifier in whose features tinygan measures samples: how tinygan/metrics/judge.npz
was made.

    python bench/train_judge.py --data full [--out tinygan/metrics/judge.npz]

Trains on 60,000 digits (two minutes on two cores), reports its accuracy on the 10,000 test digits
that ship with the package, and prints the SHA-256 that tinygan/metrics/judge.py must name.
"""

import argparse
import copy
import hashlib
import time
from pathlib import Path

import numpy as np

from tinygan import data, grad, no_grad, optim, random
from tinygan.metrics.judge import WEIGHTS, Classifier
from tinygan.nn.losses import cross_entropy


def shifted(images, source, most=2):
    """(n, 1, 28, 28), each moved by up to `most` pixels along both axes; what enters is paper."""
    n, _, h, w = images.shape
    padded = np.pad(images[:, 0], ((0, 0), (most, most), (most, most)), constant_values=-1)
    # (n, 2*most + 1, 2*most + 1, h, w)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (1, 2))
    dy, dx = (source.uniform((2, n)) * (2 * most + 1)).astype(int)
    return windows[np.arange(n), dy, dx][:, None]


def accuracy(net, digits):
    images = (digits.images.astype(np.float32) / 127.5 - 1)[:, None]
    with no_grad():
        guesses = [net(images[i : i + 500]).data.argmax(1) for i in range(0, len(images), 500)]
    return float((np.concatenate(guesses) == digits.labels).mean())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        default="full",
        metavar="SET",
        help="full, or a folder with MNIST's training files",
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, metavar="FILE")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-3, help="falls to 0 along a line")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    digits, held_out = data.load(args.data), data.load("bundled")
    random.manual_seed(args.seed)
    net = Classifier()
    average = copy.deepcopy(net).eval()
    ema, optimizer = optim.EMA(average, net), optim.Adam(net.parameters(), args.lr)
    batches = data.Batches(digits.images, args.batch_size, args.seed)
    steps, start = len(batches), time.perf_counter()
    for epoch in range(args.epochs):
        # the order of the batches
        labels = digits.labels[random.permutation(len(digits.labels), args.seed, epoch)]
        for i in range(steps):
            optimizer.lr = args.lr * (1 - (epoch + i / steps) / args.epochs)
            logits = net(shifted(batches.batch(epoch, i), random.default))
            loss = cross_entropy(logits, labels[i * args.batch_size : (i + 1) * args.batch_size])
            optimizer.step(grad(loss, net.parameters()))
            ema.update()
            random.default.next_step()
        words = f"epoch {epoch + 1}: accuracy on held-out digits {accuracy(average, held_out):.4f}"
        print(f"{words}, {time.perf_counter() - start:.0f} s", flush=True)
    small = {
        k: a.astype(np.float16) if a.dtype == np.float32 else a
        for k, a in average.state_dict().items()
    }
    np.savez_compressed(args.out, **small)
    average.load_state_dict(small)
    print(
        f"{args.out}: {args.out.stat().st_size} bytes, accuracy with its float16 weights {accuracy(average, held_out):.4f}"
    )
    print(f"SHA-256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()

"""Train the classifier in whose features tinygan measures samples: how tinygan/metrics/judge.npz
was made.

    python bench/train_judge.py --data full [--out tinygan/metrics/judge.npz]

Trains on 60,000 digits (two minutes on two cores), reports its accuracy on the 10,000 test digits
that ship with the package, and prints the SHA-256 that tinygan/metrics/judge.py must name.
"""

import argparse
import copy
import hashlib
from pathlib import Path

import numpy as np

from tinygan import data, grad, no_grad, optim, random
from tinygan.metrics.classifier import WEIGHTS, Classifier
from tinygan.nn.losses import cross_entropy
from tinygan.train import loop


def shifted(images, source, most=2):
    """(n, 1, 28, 28), each moved by up to `most` pixels along both axes; what enters is paper."""
    n, _, h, w = images.shape
    padded = np.pad(images[:, 0], ((0, 0), (most, most), (most, most)), constant_values=-1)
    # (n, 2*most + 1, 2*most + 1, h, w)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (1, 2))
    dy, dx = (source.uniform((2, n)) * (2 * most + 1)).astype(int)
    return windows[np.arange(n), dy, dx][:, None]


class Student:
    """The classifier as a model for `loop`: it learns from shifted digits, and the average of its
    weights is what counts.
    """

    def __init__(self, lr):
        self.net = Classifier()
        self.average = copy.deepcopy(self.net).eval()
        self.ema = optim.EMA(self.average, self.net)
        self.optimizer, self.lr = optim.Adam(self.net.parameters(), lr), lr

    def schedule(self, progress):
        """The learning rate falls to 0 along a line."""
        self.optimizer.lr = self.lr * (1 - progress)

    def step(self, batch):
        images, labels = batch
        loss = cross_entropy(self.net(shifted(images, random.default)), labels)
        self.optimizer.step(grad(loss, self.net.parameters()))
        self.ema.update()
        return {"loss": loss.data}


def accuracy(net, digits):
    """The share of digits that a network reads rightly."""
    images = data.scale(digits.images)
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
    student = Student(args.lr)
    average = student.average
    batches = data.Batches((digits.images, digits.labels), args.batch_size, args.seed)
    for records in loop(student, batches, args.epochs, before=[student.schedule]):
        last = records[-1]
        if last["step"] % len(batches) == 0:
            words = f"accuracy on held-out digits {accuracy(average, held_out):.4f}"
            print(f"epoch {last['epoch']}: {words}, {last['seconds']:.0f} s", flush=True)
    state = average.state_dict()
    small = {k: a.astype(np.float16) if a.dtype == np.float32 else a for k, a in state.items()}
    np.savez_compressed(args.out, **small)
    average.load_state_dict(small)
    found = accuracy(average, held_out)
    size = args.out.stat().st_size
    print(f"{args.out}: {size} bytes, accuracy with its float16 weights {found:.4f}")
    print(f"SHA-256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()

"""Read handwritten digits: the first example, a network that learns from answers.

    python examples/mnist_classifier.py      # the digits that ship with the package, half a minute

A network is a function with numbers in it, its weights. A loss says how wrong its answers are; the
gradient of the loss says how each weight should move to make them less wrong, and an optimizer
moves it. Read `step`: all of deep learning does that, over and over.
"""

from tinygan import cli, data, grad, nn, no_grad, optim, random
from tinygan.nn.losses import cross_entropy
from tinygan.train import train


class Classifier:
    """Images (n, 1, 28, 28) in [-1, 1] -> ten scores each, the highest for the digit it shows."""

    def __init__(self):
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),  # 28 x 28 -> 14 x 14, 16 channels
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),  # 14 x 14 -> 7 x 7, 32 channels
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 10),
        )
        self.optimizers = [optim.Adam(self.network.parameters(), lr=2e-3)]

    def step(self, batch):
        """Learn from one batch; `train` calls this for every batch of every epoch."""
        images, labels = batch
        loss = cross_entropy(self.network(images), labels)
        gradients = grad(loss, self.network.parameters())
        self.optimizers[0].step(gradients)
        return {"loss": loss.data}

    def answers(self, images):
        """The digit that each image shows, as the network sees it, (n,)."""
        with no_grad():
            return self.network(images).data.argmax(axis=1)


def main():
    cli.Parser("Teach a network to read handwritten digits.").parse_args()
    random.manual_seed(0)
    training, unseen = data.split("bundled")  # 9,000 digits to learn from, 1,000 to be tested with
    model = Classifier()
    batches = data.Batches((training.images, training.labels), batch_size=64)
    train(model, batches, epochs=8)
    right = model.answers(data.scale(unseen.images)) == unseen.labels
    print(f"{right.sum()} of {len(right)} digits that it had never seen were read correctly")


if __name__ == "__main__":
    cli.run(main)

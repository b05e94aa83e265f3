"""The sets that have names: what they are, where they are published, what their classes are called.

Names, sizes and checksums of files, one entry of `SETS` a set. This file reads nothing itself.
"""

from collections.abc import Callable
from typing import NamedTuple

from . import archives, mnist
from .archives import Archive
from .fetch import Remote
from .images import Pictures
from .mnist import Files

IDX = ("images-idx3", "labels-idx1")


class Named(NamedTuple):
    """A set that has a name.

    read: gives the Pictures of a part, of "train" or, where there is an official one, of "test".
    """

    about: str  # what it is, in a few words
    read: Callable[[str], Pictures]
    official: bool = True  # whether a test set is published, which no model has been trained on


def _four(*published):
    """The parts of a set from the size and SHA-256 of each of MNIST's four files."""
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in IDX]
    remotes = [Remote(name, sha, size) for name, (size, sha) in zip(names, published, strict=True)]
    return {"train": tuple(remotes[:2]), "test": tuple(remotes[2:])}


# Sizes and SHA-256 of the files as they are served: tensorflow/datasets, url_checksums/
# fashion_mnist.txt; the SHA-256 also in keras-team/keras, src/datasets/fashion_mnist.py.
FASHION = Files(
    folder="fashion",
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    parts=_four(
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
)  # fmt: skip

# tensorflow/datasets, url_checksums/kmnist.txt
KMNIST = Files(
    folder="kmnist",
    mirrors=(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/KMNIST/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    parts=_four(
        (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

# tensorflow/datasets, url_checksums/emnist.txt; the address is that of pytorch/vision,
# torchvision/datasets/mnist.py. The classes are in the order of emnist-balanced-mapping.txt: small
# letters that look like their capitals are one class with them.
EMNIST = Archive(
    folder="emnist",
    mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
    remote=Remote(
        name="gzip.zip",
        sha256="fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
        size=561_753_746,
    ),
    unpack=archives.emnist,
    names=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
)

# tensorflow/datasets, url_checksums/cifar10.txt; the set's page gives the MD5 of the same file
CIFAR10 = Archive(
    folder="cifar10",
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    remote=Remote(
        name="cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        size=170_052_171,
    ),
    unpack=archives.cifar10,
    names=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
)  # fmt: skip

SETS = {
    "bundled": Named(
        about="10,000 digits, the test set of MNIST, which ship here",
        read=lambda part: mnist.bundled(),
        official=False,
    ),
    "full": Named("60,000 digits, the training set of MNIST (11 MB)", mnist.full),
    "fashion": Named("60,000 articles of clothing in 10 classes (31 MB)", FASHION.read),
    "kmnist": Named("60,000 cursive Japanese characters, 10 of them (21 MB)", KMNIST.read),
    "emnist": Named("112,800 digits and letters in 47 classes (562 MB)", EMNIST.read),
    "cifar10": Named("50,000 photographs of 32 x 32 in 10 classes (170 MB)", CIFAR10.read),
}

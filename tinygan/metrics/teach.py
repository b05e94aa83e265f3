"""A classifier for any set of pictures: the one that ships where it knows them, else one that
learns from their labels, once, and is then kept in the user's cache; without labels, a random one.

A file in the cache is trusted no more than any other. Nothing here disturbs the random numbers of a
run that goes on around it.
"""

import contextlib
import copy
import hashlib

import numpy as np

from .. import data, files, optim
from .. import device as devices
from ..autograd import grad
from ..data import DataError
from ..data.fetch import cache_folder
from ..data.sets import each_tenth
from ..nn.losses import cross_entropy
from ..recording import no_grad
from .classifier import Classifier, frozen, undisturbed

RECIPE = 2  # of `learn`: another number, and all classifiers in caches are made anew
BATCH = 100
RATE = 2e-3  # Adam's, which falls to 0 along a line
EPOCHS = 60
SEEN = 50_000  # images in these epochs, or else more epochs, for small sets
MOST = 400_000 * 28 * 28  # pixels in all, for large sets: a minute or two on two cores
LIMIT = 1 << 26  # bytes of a classifier in a cache
FEW = 10  # pictures of a class from which little can be learnt
KNOWN = 0.95  # of the labels of a set, if it shows digits, by the classifier that ships


def classifier_of(pictures, device="cpu", *, cache=None, say=print, progress=iter):
    """The Classifier in whose features such `data.Pictures` are best compared, in evaluation mode
    on the device; its `about` says what it is, and how good.

    The one that ships, if it sees the label in 95 % of them, or else one that learns from nine
    tenths of them, a minute or two, and is kept in the folder `cache` (default: in the user's own).
    Without labels, or of fewer than 10 pictures a class, one with random weights. say: is told what
    takes a while; progress: gives the steps of it as it got them, as a bar does that shows them.
    """
    images, labels, _ = pictures
    if images.shape[1] != images.shape[2]:
        raise DataError(f"judge: knows square pictures only, got {images.shape}; crop them")
    classes = pictures.classes
    if images.shape[1:] == (28, 28) and 0 < classes <= 10:
        net = frozen().to(device)
        if accuracy(net, images[:1000], labels[:1000]) >= KNOWN:
            return net
    if classes < 2 or len(images) < FEW * classes:
        why = f"classes: {classes}, pictures: {len(images):,}" if classes else "there are no labels"
        return untaught(images, why).to(device)
    return taught(pictures, device, cache, say, progress)


def accuracy(net, images, labels):
    """The share of uint8 pictures in which a Classifier sees the label."""
    device, right = devices.of(net.logits.weight.data), 0
    with no_grad():
        for i in range(0, len(images), 500):
            some = devices.to(data.scale.apply(images[i : i + 500]), device)
            seen = devices.to_host(net(some).data).argmax(1)
            right += int((seen == labels[i : i + 500]).sum())
    return right / len(images)


def untaught(images, why):
    """A Classifier of no classes whose weights were drawn once and for all, N(0, 1), and scaled so
    that each feature varies on these pictures as much as any other.
    """
    about = f"random features, which are weak: compare with each other only ({why})"
    with undisturbed() as source:
        net = Classifier(*_form(images), classes=0, about=about)
        for p in net.parameters():
            if p.ndim > 1:  # those of batch normalisation stay one and zero
                p.data[...] = source.normal(p.shape)
    for layer in net.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = 1.0  # one look is what is remembered
    with no_grad():
        net.features(data.scale(images[:500]))
    return net.eval()


def taught(pictures, device, cache, say, progress):
    """A Classifier that learnt from these pictures now, or did so before and is in the cache."""
    held = each_tenth(pictures)
    learnt, unseen = pictures.rows(~held), pictures.rows(held)
    with undisturbed() as source:
        net = Classifier(*_form(pictures.images), pictures.classes)
        path = _place(pictures, cache)
        if state := _read(path, net):
            net.load_state_dict(state)
        else:
            n = len(learnt.images)
            words = f"{n:,} pictures of {pictures.classes} classes"
            say(f"training a judge on {words}, once, a minute or two at most ...")
            net = learn(net.to(device), learnt, _steps(learnt.images), source, progress)
            _write(path, net.state_dict())
    net = net.to(device).eval()
    right = accuracy(net, unseen.images, unseen.labels)
    net.about = _words(right, learnt, unseen.labels)
    return net


def _form(images):
    """The side and the channels of uint8 pictures."""
    return images.shape[1], 3 if images.ndim == 4 else 1


def _steps(images):
    """How many steps are enough for a small set, and not too long for a large one."""
    n, side = images.shape[:2]
    return max(1, min(max(EPOCHS * n, SEEN), MOST // side**2) // min(BATCH, n))


def learn(net, pictures, steps, source, progress=iter):
    """The Classifier that has learnt from pictures, shifted ones, in so many steps: the moving
    average of the weights of `net`, which is used up. source: a random.Generator; progress: see
    `classifier_of`.
    """
    average = copy.deepcopy(net).eval()
    ema = optim.EMA(average, net)
    optimizer = optim.Adam(net.parameters(), RATE)
    images, labels, _ = pictures
    batches = data.Batches((images, labels), min(BATCH, len(images)), source.seed)
    device = devices.of(net.logits.weight.data)
    for step in progress(range(steps)):
        optimizer.lr = RATE * (1 - step / steps)
        some, wanted = batches.batch(*divmod(step, len(batches)))
        logits = net(devices.to(shifted(some, source), device))
        loss = cross_entropy(logits, devices.to(wanted, device))
        optimizer.step(grad(loss, net.parameters()))
        ema.update()
        source.next_step()
    return average


def shifted(images, source, most=2):
    """(n, c, h, w), each moved by up to `most` pixels along both axes; what enters is its edge."""
    n, _, h, w = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    # (n, c, 2*most + 1, 2*most + 1, h, w)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (2, 3))
    dy, dx = (source.uniform((2, n)) * (2 * most + 1)).astype(int)
    return windows[np.arange(n), :, dy, dx]


def _words(right, learnt, labels):
    """How good a classifier is that is right on so large a share of unseen pictures."""
    chance = np.bincount(labels).max() / len(labels)
    words = f"a classifier that learnt from {len(learnt.images):,} of these pictures, right on "
    words += f"{right:.0%} of {len(labels):,} others ({chance:.0%} are of one class)"
    few = int((np.bincount(learnt.labels, minlength=learnt.classes) < FEW).sum())
    if few:
        words += f"; {few} of {learnt.classes} classes had fewer than {FEW} pictures"
    if right <= chance + 2 * (chance * (1 - chance) / len(labels)) ** 0.5:  # two standard errors
        words += "; not clearly better than guessing, so that its features are weak"
    return words


def _place(pictures, cache):
    """The file for a classifier of these very pictures; None where a user has no home."""
    digest = hashlib.blake2b(f"{RECIPE} {pictures.classes}".encode(), digest_size=16)
    for array in (pictures.images, pictures.labels):
        digest.update(f"{array.shape} {array.dtype.name};".encode())
        digest.update(np.ascontiguousarray(array))
    try:
        return (cache or cache_folder() / "judges") / f"{digest.hexdigest()}.npz"
    except DataError:
        return None


def _read(path, net):
    """The weights at `path` if they are whole, and those of such a network; else None."""
    try:
        state = files.read_npz(path, limit=LIMIT) if path else {}
    except (OSError, ValueError):
        return None
    described = lambda state: {name: (a.shape, a.dtype) for name, a in state.items()}
    whole = described(state) == described(net.state_dict())
    return state if whole and all(np.isfinite(a).all() for a in state.values()) else None


def _write(path, state):
    """Keep the weights, if there is a place for them."""
    with contextlib.suppress(OSError):
        if path and (path.is_file() or not path.exists()):  # a pipe would be waited for
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as temporary:
                np.savez(temporary, **{name: devices.to_host(a) for name, a in state.items()})

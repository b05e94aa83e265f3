"""What makes a model class-conditional (Mirza & Osindero 2014): labels, as rows of numbers that are
1 at the class and 0 elsewhere.

A model of 0 classes asks for no labels: its rows are empty and change nothing. This room knows
arrays and operations, and no network.
"""

import numpy as np

from .. import ops
from ..device import is_array
from .options import checked_options


LONGEST = 255  # letters of a class's name, as of a folder's


def checked(names, classes):
    """The names of a model's classes as a tuple, () if they have none; ValueError unless they are
    as many as the classes, distinct, and words.
    """
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ValueError(f"names must be one str a class, or () for none, got {names!r:.50}")
    names = tuple(names)
    if names and len(names) != classes:
        raise ValueError(f"a model of {classes} classes needs as many names, got {len(names)}")
    for name in names:
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST:
            wanted = f"of 1 to {LONGEST} letters"
            raise ValueError(f"the name of a class must be a str {wanted}, got {name!r:.50}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the names of classes must be distinct, and {twice!r:.50} is there twice")
    return names


def numbered(labels, names):
    """Labels (n,) with a number for each name among them; those without names are as they were.

    ValueError, which lists what there is, for a name that is none of `names`; and for a number in a
    list where names are numbers, but others than their places.
    """
    if labels is None or is_array(labels) and labels.dtype.kind in "biuf":
        return labels
    number = {name: k for k, name in enumerate(names)}
    numerals = all(name.lstrip("-").isdecimal() for name in names)
    misled = numerals and list(names) != [str(k) for k in range(len(names))]
    for label in labels:
        if misled and not isinstance(label, str):
            raise ValueError(
                f"{label} may be a name or a place, and the names of classes are {listed(names)}: "
                f"ask for a class by its name, {str(label)!r}, or for places by an array"
            )
        if isinstance(label, str) and label not in number:
            known = f"there are {listed(names)}" if names else "its classes have numbers, no names"
            raise ValueError(f"{label!r:.50} is no class of this model: {known}")
    return [number[label] if isinstance(label, str) else label for label in labels]


def asked(name, model, n, labels):
    """Labels of n samples as numbers, (n,), or None; ValueError, which `name` heads, for labels
    that the model does not know, or that are not n, and for an n that is no count.
    """
    checked_options(name, n=n)
    if labels is not None and not model.classes:
        raise ValueError(f"{name}: this model was taught no classes: leave out labels")
    if labels is not None and np.shape(labels) != (n,):
        raise ValueError(f"{name}: {n} samples need labels of shape ({n},), got {np.shape(labels)}")
    return numbered(labels, model.names)


def asked_rows(name, model, labels, x):
    """Rows (n, classes) of the labels of samples x, 0 where none are told; errors as `asked`."""
    labels = asked(name, model, len(x), labels)
    told = one_hot(labels, model.classes, x)
    return np.zeros_like(told) if labels is None else told


def listed(names, most=12):
    """Names in one line, of many the first few, of long ones the beginning."""
    few = ", ".join(f"{' '.join(name.split()):.40}" for name in names[:most])
    return few if len(names) <= most else f"{few} and {len(names) - most} more"


def unpack(batch, classes):
    """The images of a batch, which is those or (images, labels), and their labels (n,), None for a
    model of no classes; ValueError if labels are missing.
    """
    images, labels = batch if isinstance(batch, tuple) else (batch, None)
    if classes and labels is None:
        raise ValueError(
            f"a model of {classes} classes learns from (images, labels): "
            "make them with data.Batches((images, labels), ...)"
        )
    return images, labels if classes else None


def one_hot(labels, classes, like):
    """Rows (n, classes) of labels: 1 at the class and 0 elsewhere.

    labels: integers (n,), or None for the classes in turn. like: an array (n, ...) of the dtype and
    on the device that the rows get. TypeError for labels that are no integers, ValueError unless
    there are n of them. IndexError for one that is no class; on a GPU, where looking would wait,
    its row is zero.
    """
    like = ops.raw(like)
    if not classes:
        return np.empty_like(like, shape=(len(like), 0))
    labels = np.arange(len(like)) % classes if labels is None else labels
    labels = labels if is_array(labels) else np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot: labels must be integers, got {labels.dtype}")
    if labels.shape != (len(like),):  # one label would serve for all
        raise ValueError(f"one_hot: labels must be ({len(like)},), got {labels.shape}")
    if isinstance(labels, np.ndarray) and labels.size:
        for label in (labels.min(), labels.max()):
            if not 0 <= label < classes:
                raise IndexError(f"one_hot: label {label} is none of {classes}, 0 to {classes - 1}")
    labels = np.asarray(labels, like=like)[:, None]
    return (labels == np.arange(classes, like=like)).astype(like.dtype)


def chosen(out, rows):
    """Pick, from (n, classes*k), the k numbers of each row's label: (n, k).

    Without classes: `out` itself.
    """
    if not rows.shape[1]:
        return out
    return ops.sum(ops.reshape(out, (*rows.shape, -1)) * rows[:, :, None], axis=1)


def joined(points, rows):
    """Points (n, latent) beside rows (n, classes): (n, latent + classes).

    Rows are scaled by sqrt(classes), so that their mean square is 1 as the noise's is; unscaled, a
    VAE learns to use them late.
    """
    return ops.concatenate([points, rows * rows.shape[1] ** 0.5], 1) if rows.shape[1] else points

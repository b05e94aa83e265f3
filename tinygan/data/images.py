"""What every set of pictures is, wherever it came from: images, labels, names of classes."""

from typing import NamedTuple

import numpy as np

from .idx import DataError

LONGEST = 255  # letters of a class's name, of which models take no more


class Pictures(NamedTuple):
    """Pictures of one size, and what each of them shows.

    names: what the classes are called, one a class; () where their numbers are their names, as with
    digits, and where there are no labels.
    """

    images: np.ndarray  # (n, h, w) grey or (n, h, w, 3) colours, uint8 from 0 to 255
    labels: np.ndarray | None = None  # (n,) whole numbers from 0 to classes - 1
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes the labels tell apart; 0 without labels."""
        if self.labels is None:
            return 0
        return len(self.names) or int(self.labels.max()) + 1

    def rows(self, chosen) -> "Pictures":
        """Those with these numbers, or where a mask is true."""
        labels = None if self.labels is None else self.labels[chosen]
        return self._replace(images=self.images[chosen], labels=labels)


def shown(name) -> str:
    """A file's or a class's name as it can be printed on one line: what cannot be, escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def class_names(names, where: str) -> tuple[str, ...]:
    """What classes are called, as it can be printed; DataError where a model could not take it.

    where: the file or folder that has the names.
    """
    found, had = tuple(map(shown, names)), set()
    for name in found:
        if not name.strip() or len(name) > LONGEST or name in had:
            why = (
                "is there twice, as it is printed"
                if name in had
                else f"has not 1 to {LONGEST} letters"
            )
            raise DataError(f"{where}: the name of a class, {name!r:.50}, {why}; rename that class")
        had.add(name)
    return found

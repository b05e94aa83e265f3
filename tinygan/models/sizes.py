"""What the builders of models for pictures agree on: which pictures those are, and how small their
maps become inside a convolutional network.

This room knows numbers only.
"""

MAX_SIDE = 1024  # pixels, as of the pictures that `data` makes


def check_pictures(builder, side, channels):
    """ValueError unless pictures are grey or RGB, and have pixels, not too many."""
    if channels not in (1, 3):
        raise ValueError(f"{builder}: channels must be 1 (grey) or 3 (RGB), got {channels}")
    if side < 1:
        raise ValueError(f"{builder}: side must be at least 1, got {side}")
    if side > MAX_SIDE:
        raise ValueError(f"{builder}: side must be at most {MAX_SIDE}, got {side}; make it smaller")


def halved(builder, side, channels):
    """The sides of a network's maps, from the pictures down to the smallest: [28, 14, 7],
    [64, 32, 16, 8, 4].

    Each is half of the one before: two halvings at least, and then as many as it takes until the
    side is odd, or so small that one more dense layer sees all of it. ValueError for pictures that
    cannot be halved twice.
    """
    check_pictures(builder, side, channels)
    if side % 4:
        why = "it is halved twice at least"
        raise ValueError(f"{builder}: side must be a multiple of 4, got {side}: {why}")
    sides = [side, side // 2, side // 4]
    while sides[-1] % 2 == 0 and sides[-1] > 7:
        sides.append(sides[-1] // 2)
    return sides

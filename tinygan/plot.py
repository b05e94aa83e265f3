"""Pictures: a grid of samples, an animation of grids, curves of the losses. Pillow and matplotlib, imported when used."""

import numpy as np


def to_uint8(images):
    """(n, 1, h, w) in [-1, 1] -> (n, h, w) in 0..255."""
    return np.clip(np.rint((images[:, 0] + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images, path, columns=8, zoom=2):
    """Write (n, h, w) uint8 images side by side, `columns` to a row, as a picture."""
    from PIL import Image

    n, h, w = images.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, h, w), np.uint8)
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, h, w).transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1)).save(path)


def animate(paths, path, milliseconds=250):
    """Write the pictures at `paths`, in their order, as one GIF that rests on the last."""
    from PIL import Image

    frames = [Image.open(p) for p in paths]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[milliseconds] * (len(frames) - 1) + [2000], loop=0)


def curves(records, path, window=50):
    """Write the losses of a log, dicts with 'step' and numbers called '..._loss', as curves of their moving average."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [r["step"] for r in records]
    for name in [k for k in records[0] if k.endswith("_loss")]:
        values = np.array([r[name] for r in records])
        smooth = np.convolve(values, np.ones(window) / window, "valid") if len(values) >= 2 * window else values
        axes.plot(steps[len(steps) - len(smooth) :], smooth, label=name.replace("_", " "))
    axes.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)

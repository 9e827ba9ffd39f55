"""Images, one bit at a time: nats per image of a GLN on binarised MNIST, and digits that it draws.

    python -m benchmarks.images
    python -m benchmarks.images --plot docs/images   # draws imagined.png and completed.png there

Each pixel's bit is drawn once, 1 with probability intensity / 255. A model reads the bits in raster order and predicts
each from those before it; the nats of an image are the sum of -ln P(bit). The GLN learns each bit right after
predicting it, in one pass over the 60,000 training images, and is tested on the 10,000 test images: frozen, and still
learning. The task is the third of Veness et al., "Gated Linear Networks", AAAI 2021, which uses one network per pixel.
Here a square of 7 x 7 pixels shares a network, and half of its neurons also gate on the position of the pixel in it.

The squares share no weights and are learned in parallel. Settings were chosen on training images.

Letters in the shapes: B images, P pixels in a square, S = B P samples, m nearest earlier pixels, T tables of counts,
n neurons in a layer, N in both, k halfspaces per neuron, R rows per neuron, d inputs per neuron.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.report import command_line, machine, show
from gln.mnist import PIXELS, SIDE, load_mnist
from gln_numba import clip, compiled, mix, residual, update

SQUARE, MARGIN, CELL = 7, 8, 4  # sides in pixels: a network's square, the blank margin, a cell of the coarse image
NEAREST, NEAR = 80, 40  # earlier pixels used as inputs, and those among which gates are drawn
DEPTHS = np.array([4, 8, 12, 16, 20, 26, 34])  # numbers of nearest pixels that index the tables of counts
TABLE_BITS, TRUST = 20, np.float32(8)  # size of a table; weight, in counts, of its prior from a shorter context
SIZES, HALFSPACES = (16, 8), 7
RATES, STEADY = (4.0, 0.5), 100.0  # of the two layers; visits after which a row's rate falls
RECENT = 8.0  # the larger, the more do a row's last weights count in their mean
BOUND, CLIPPING, LOG_LOSS = np.float32(11.5), np.float32(200), 0
RIDGE = 0.1  # added to the variances of the inputs before whitening
CHUNK = 500  # images whose features are computed at a time; the whitening is computed on the first ones
COMPONENTS, STEPS, PASSES, ADAM_RATE = 200, 30, 5, 0.003  # of the mixture and its EM, and of the logistic regressions


# ---- Data and features -----------------------------------------------------------------------------------------------


def load_bits(count: int, tests: int) -> tuple[np.ndarray, np.ndarray]:  # (B, 784) twice
    """The first training and test images in black and white."""
    train, _, test, _ = load_mnist(deskew=False)
    rng = np.random.default_rng(0)
    train, test = (rng.random(images.shape, np.float32) < images for images in (train, test))
    return train[:count].astype(np.uint8), test[:tests].astype(np.uint8)


def earlier_pixels() -> np.ndarray:  # (m, 2)
    """Offsets, in rows and columns, to the nearest pixels that come before a pixel, nearest first."""
    reach = range(-MARGIN, MARGIN + 1)
    earlier = [(row, column) for row in range(-MARGIN, 1) for column in reach if row < 0 or column < 0]
    return np.array(sorted(earlier, key=lambda at: (at[0] ** 2 + at[1] ** 2, -at[0], at[1]))[:NEAREST])


OFFSETS = earlier_pixels()


def neighbours(bits: np.ndarray, pixels: np.ndarray) -> np.ndarray:  # (B, 784), (P,) -> (S, m)
    padded = np.pad(bits.reshape(-1, SIDE, SIDE), ((0, 0), (MARGIN, 0), (MARGIN, MARGIN)))
    rows = pixels[:, None] // SIDE + MARGIN + OFFSETS[:, 0]
    columns = pixels[:, None] % SIDE + MARGIN + OFFSETS[:, 1]
    return padded[:, rows, columns].reshape(-1, NEAREST)


def coarse(bits: np.ndarray, pixels: np.ndarray) -> np.ndarray:  # (B, 784), (P,) -> (S, 49)
    """Ink in cells of 4 x 4 pixels, counting only the rows above the pixel."""
    across = SIDE // CELL
    ink = bits.reshape(-1, across, CELL, across, CELL).sum(axis=4, dtype=np.float32) / (2 * CELL)
    above = np.pad(ink.cumsum(axis=2), ((0, 0), (0, 0), (1, 0), (0, 0)))  # (B, 7, 5, 7)
    rows = (pixels[:, None] // SIDE - CELL * np.arange(across)).clip(0, CELL)  # (P, 7)
    return above[:, np.arange(across), rows].reshape(-1, across * across)


# ---- Counts and neurons ----------------------------------------------------------------------------------------------


@compiled
def count(near, y, tables, learns):  # (S, m), (S,), (T, 2^TABLE_BITS, 2), () -> (S, T)
    """Logits of counts of ones and zeros that followed the same 4, 8, ... nearest pixels anywhere in the square.

    The probability from a short context is the prior for the next longer one. Long contexts are hashed.
    """
    logits = np.empty((len(near), len(DEPTHS)), np.float32)
    for b in range(len(near)):
        context, i, p = np.uint64(1), 0, np.float32(0.5)
        for t, depth in enumerate(DEPTHS):
            while i < depth:
                context, i = np.uint64(2) * context + np.uint64(near[b, i]), i + 1
            mixed = context * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: 2^64 over the golden ratio
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
            counts = tables[t, np.int64(mixed >> np.uint64(64 - TABLE_BITS))]
            p = (counts[1] + TRUST * p) / (counts[0] + counts[1] + TRUST)
            p = min(max(p, np.float32(1e-5)), np.float32(1 - 1e-5))
            logits[b, t] = np.log(p / (np.float32(1) - p))
            if learns:
                counts[y[b]] += np.float32(1)
    return logits


@compiled
def learn_layer(z, rows, y, layer, steady, recent, learns, s):  # (d,), (n,), (), ..., (n,)
    """Write the logits of a layer's neurons to s, and learn. A layer: (n, R, d) twice, (n, R) and its rate.

    Unlike in `gln_numba.GLN`, each row has its own rate, and predicts by the mean of all weights that it had, of which
    the late ones count more: (1 + recent) / (n + recent) of the mean is replaced at the nth visit. So rates can be
    higher (polynomial-decay averaging, Shamir and Zhang, ICML 2013).
    """
    normalised = np.float32(1)
    for i in range(len(z)):
        normalised += z[i] * z[i]
    weights, means, visits, rate = layer
    for j in range(len(weights)):
        w, mean = weights[j, rows[j]], means[j, rows[j]]
        s[j] = mix(mean, z, BOUND)
        if learns:  # each row counts its own visits; a common count would slow down rare rows
            visits[j, rows[j]] += np.float32(1)
            n = visits[j, rows[j]]
            step = rate / np.sqrt(np.float32(1) + n / steady) / normalised
            step *= residual(mix(w, z, BOUND), y, LOG_LOSS, np.float32(0))
            share = (np.float32(1) + recent) / (n + recent)
            for i in range(len(z)):
                w[i] = clip(update(w[i], z[i], step), CLIPPING)
                mean[i] += share * (w[i] - mean[i])


@compiled
def learn_stream(z, rows, y, weights, means, visits, rates, steady, recent, learns):  # (S, d), (S, N), (S,) ... (S,)
    """Process one sample after another in both layers; returns the mean logits of the last layer."""
    first, logits = len(weights[0]), np.empty(len(z), np.float32)
    below, last = np.ones(first + 1, np.float32), np.empty(len(weights[1]), np.float32)
    for b in range(len(z)):
        target = np.float32(y[b])
        layers = (weights[0], means[0], visits[0], rates[0]), (weights[1], means[1], visits[1], rates[1])
        learn_layer(z[b], rows[b, :first], target, layers[0], steady, recent, learns, below)
        learn_layer(below, rows[b, first:], target, layers[1], steady, recent, learns, last)
        logits[b] = last.mean()
    return logits


# ---- The network of a square -----------------------------------------------------------------------------------------


class Square:
    """A network with tables of counts that predicts the bits of a square of pixels."""

    def __init__(self, pixels: np.ndarray, first: np.ndarray, seed: int = 0) -> None:  # (P,), (B, 784)
        """Draw halfspaces, each the value of one pixel; the whitening is computed on the first images."""
        self.pixels, self.rates = pixels, np.array(RATES, np.float32)
        self.steady, self.recent = np.float32(STEADY), np.float32(RECENT)
        self.tables = np.zeros((len(DEPTHS), 1 << TABLE_BITS, 2), np.float32)
        near, y = neighbours(first, pixels), first[:, pixels].ravel()
        logits = count(near, y, self.tables.copy(), True)
        initial = self._whiten(np.concatenate([near, coarse(first, pixels), logits], axis=1))
        rng, neurons = np.random.default_rng(seed), np.arange(sum(SIZES))
        nearest = np.where(neurons % 2, NEAR, NEAR // 2)  # the number of pixels that a halfspace is drawn from
        self.places = np.zeros((NEAREST, len(neurons)), np.float32)  # (m, N): 2^i if the pixel is bit i of the context
        for most, places in zip(nearest, self.places.T, strict=True):
            places[rng.choice(most, HALFSPACES, replace=False)] = 1 << np.arange(HALFSPACES)
        # Every second pair of neurons has separate rows for each pixel of the square: slower to learn, but specific.
        self.by_pixel, size = neurons // 2 % 2 == 0, len(pixels) << HALFSPACES
        sizes = [(SIZES[0], size, len(initial)), (SIZES[1], size, SIZES[0] + 1)]
        first_layer, last = (np.empty(size, np.float32) for size in sizes)
        first_layer[:], last[:] = initial, 1 / SIZES[0]
        last[..., -1] = 0
        self.weights, self.means = (first_layer, last), (first_layer.copy(), last.copy())
        self.visits = tuple(np.zeros(size[:2], np.float32) for size in sizes)

    def _whiten(self, inputs: np.ndarray) -> np.ndarray:  # (S, d - 1) -> (d,)
        """Compute the whitening of the inputs; returns initial weights, which predict the mean of the counts' logits.

        Neighbouring pixels are correlated, and gradient descent is slow on such inputs. The whitening is linear, so it
        does not change what a neuron can learn.
        """
        self.mean, size = inputs.mean(axis=0), inputs.shape[1]
        variances, directions = np.linalg.eigh(np.cov(inputs.T.astype(np.float64)) + RIDGE * np.eye(size))
        self.whitening = ((directions / np.sqrt(variances)) @ directions.T).astype(np.float32)
        weights = np.zeros(size)
        weights[-len(DEPTHS) :] = 1 / len(DEPTHS)
        return np.append(np.linalg.solve(self.whitening, weights), weights @ self.mean).astype(np.float32)

    def features(self, bits, pixels, learns: bool):  # (B, 784), (P,) -> (S, d), (S, N), (S,)
        """Inputs, rows and targets of samples."""
        near, y = neighbours(bits, pixels), bits[:, pixels].ravel()
        inputs = np.concatenate([near, coarse(bits, pixels), count(near, y, self.tables, learns)], axis=1)
        z = np.ones((len(y), inputs.shape[1] + 1), np.float32)
        np.matmul(inputs - self.mean, self.whitening, out=z[:, :-1])
        rows = (near.astype(np.float32) @ self.places).astype(np.int32)
        pixel = np.tile(np.searchsorted(self.pixels, pixels), len(bits)).astype(np.int32)
        return z, rows + (pixel[:, None] * self.by_pixel << HALFSPACES), y

    def predict(self, bits: np.ndarray, learns: bool, pixels: np.ndarray | None = None) -> np.ndarray:  # -> (B, P)
        """Logits of the square's pixels, or of some of them; learns image by image, and pixel by pixel in each."""
        pixels = self.pixels if pixels is None else pixels
        parts = []
        for start in range(0, len(bits), CHUNK):
            z, rows, y = self.features(bits[start : start + CHUNK], pixels, learns)
            state = self.weights, self.means, self.visits, self.rates, self.steady, self.recent
            parts.append(learn_stream(z, rows, y, *state, learns))
        return np.concatenate(parts).reshape(len(bits), len(pixels))


def squares() -> list[np.ndarray]:  # (P,) each
    pixels = np.arange(PIXELS).reshape(SIDE, SIDE)
    return [
        pixels[row : row + SQUARE, column : column + SQUARE].ravel()
        for row in range(0, SIDE, SQUARE)
        for column in range(0, SIDE, SQUARE)
    ]


def nats(logits: np.ndarray, bits: np.ndarray) -> np.ndarray:  # (B, P), (B, P) -> (B,)
    return np.logaddexp(0, np.where(bits > 0, -logits, logits)).sum(axis=1)


def learn_square(pixels: np.ndarray, train: np.ndarray, test: np.ndarray, keep: bool) -> tuple:  # (P,), (B, 784) twice
    """Nats of training images, and of test images with the network frozen and still learning; seconds; the network."""
    start = time.process_time()
    square = Square(pixels, train[:CHUNK])
    came = nats(square.predict(train, learns=True), train[:, pixels])
    frozen = nats(square.predict(test, learns=False), test[:, pixels])
    kept = copy.deepcopy(square) if keep else None
    still = nats(square.predict(test, learns=True), test[:, pixels])
    return came, frozen, still, time.process_time() - start, kept


# ---- Other models ----------------------------------------------------------------------------------------------------


def fit_logistic(train: np.ndarray, test: np.ndarray, batch: int = 100) -> np.ndarray:  # (B, 784) twice -> (B,)
    """Nats of test images under a logistic regression per pixel on all before it, fitted by Adam in PASSES passes."""
    rng, steps = np.random.default_rng(0), PASSES * len(train) // batch
    weights = np.zeros((PIXELS + 1, PIXELS), np.float32)
    ones = train.mean(axis=0).clip(1e-4, 1 - 1e-4)
    weights[-1] = np.log(ones / (1 - ones))  # the last row has the biases
    mask = np.append(np.triu(np.ones((PIXELS, PIXELS), np.float32), 1), np.ones((1, PIXELS), np.float32), axis=0)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(steps):
        x = train[rng.integers(0, len(train), batch)].astype(np.float32)
        inputs = np.append(x, np.ones((batch, 1), np.float32), axis=1)
        gradient = inputs.T @ (1 / (1 + np.exp(-inputs @ weights)) - x) * mask / batch
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient**2 - square)
        rate = ADAM_RATE * (1 - step / steps)  # falls to 0, so that the noise of the last steps does not matter
        scale = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
        weights -= np.float32(rate / (1 - 0.9 ** (step + 1))) * mean / scale.astype(np.float32)
    return nats(np.append(test, np.ones((len(test), 1), np.uint8), axis=1) @ weights, test)


def fit_mixture(train: np.ndarray, test: np.ndarray) -> np.ndarray:  # (B, 784) twice -> (B,)
    """Nats of test images under a mixture of Bernoullis, fitted by EM starting from random images."""
    rng = np.random.default_rng(0)
    p = 0.25 + 0.5 * train[rng.choice(len(train), COMPONENTS, replace=False)].astype(np.float32)  # (components, 784)
    shares = np.full(COMPONENTS, 1 / COMPONENTS, np.float32)

    def joint(bits: np.ndarray) -> np.ndarray:  # (B, 784) -> (B, components)
        return bits.astype(np.float32) @ np.log(p / (1 - p)).T + np.log1p(-p).sum(axis=1) + np.log(shares)

    for _ in range(STEPS):
        likely = joint(train)
        likely = np.exp(likely - likely.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        mass = likely.sum(axis=0)
        p = (likely.T @ train.astype(np.float32) + 0.1) / (mass[:, None] + 0.2)  # a prior, so that no p is 0 or 1
        shares = (mass + 1) / (len(train) + COMPONENTS)
    return -np.logaddexp.reduce(joint(test), axis=1)


# ---- Pictures --------------------------------------------------------------------------------------------------------


def imagine(networks: list[Square], bits: np.ndarray, start: int) -> np.ndarray:  # (B, 784) -> (B, 784)
    """Draw the pixels from `start` on, each from its prediction given the pixels before it."""
    rng, bits = np.random.default_rng(0), bits.copy()
    bits[:, start:] = 0
    owner = {pixel: network for network in networks for pixel in network.pixels}
    for pixel in range(start, PIXELS):
        logits = owner[pixel].predict(bits, learns=False, pixels=np.array([pixel]))[:, 0]
        bits[:, pixel] = rng.random(len(bits)) < 1 / (1 + np.exp(-logits))
    return bits


def draw(folder: Path, networks: list[Square], test: np.ndarray) -> None:
    half = SIDE // 2 * SIDE
    digits = imagine(networks, np.zeros((60, PIXELS), np.uint8), 0)
    picture(folder / "imagined.png", digits, 15, 0)
    given, copies = test[:12], 5
    drawn = imagine(networks, np.repeat(given, copies, axis=0), half).reshape(len(given), copies, PIXELS)
    table = np.concatenate([given[:, None], drawn], axis=1).swapaxes(0, 1).reshape(-1, PIXELS)  # row by row
    picture(folder / "completed.png", table, len(given), half, len(given))


def picture(file: Path, digits: np.ndarray, columns: int, given: int, whole: int = 0) -> None:
    """Draw digits row by row; pixels before `given`, and all pixels of the first `whole` digits, are blue."""
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    rows = -(-len(digits) // columns)
    figure = Figure(figsize=(9, 9 * rows / columns), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axis, digit) in enumerate(zip(axes, digits, strict=True)):
        ink = np.ones((PIXELS, 3))
        known = PIXELS if number < whole else given
        ink[:known] = [0.88, 0.93, 0.98] if known else 1
        ink[digit > 0] = 0
        ink[:known][digit[:known] > 0] = [0, 0.27, 0.55]
        axis.imshow(ink.reshape(SIDE, SIDE, 3), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("#bbbbbb")
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="squares at a time")
    parser.add_argument("--plot", type=Path, metavar="DIRECTORY", help="also draw digits, into this folder")
    options = parser.parse_args()
    train, test = load_bits(*(200, 50) if options.quick else (60_000, 10_000))
    keep = options.plot is not None
    parts = Parallel(n_jobs=options.jobs)(delayed(learn_square)(pixels, train, test, keep) for pixels in squares())
    sums = [np.sum([part[i] for part in parts], axis=0) for i in range(4)]
    print(machine())
    rows: dict[str, list[float | str]] = {"GLN": [float(values.mean()) for values in sums]}
    for name, fit in (
        (f"logistic regressions, {PASSES} passes", fit_logistic),
        (f"mixture of {COMPONENTS} Bernoullis, {STEPS} steps of EM", fit_mixture),
    ):
        start = time.process_time()
        rows[name] = ["", float(fit(train, test).mean()), "", time.process_time() - start]
    header = "training images as they come", "test, frozen", "test, still learning", "seconds of processor time"
    show(
        f"Nats per image, {len(train):,} and {len(test):,}",
        pd.DataFrame(rows, index=list(header)).T,
        file=options.csv,
        columns="measure",
    )
    if keep:
        draw(options.plot, [kept for *_, kept in parts], test)


if __name__ == "__main__":
    main()

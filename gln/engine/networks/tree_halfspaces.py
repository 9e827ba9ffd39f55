"""Halfspaces chosen before a network learns: those of a neuron are the splits of an oblivious tree.

An oblivious tree splits all leaves of a level alike, so its leaves are a neuron's contexts. The trees are those of a
short boosting run, so that neurons differ; only their splits are kept. Source: Prokhorenkova et al., CatBoost: unbiased
boosting with categorical features, NeurIPS 2018, section 4; there each split is on a single feature.

Shapes: n samples, r of which a tree sees, D columns, m of which a halfspace sees, C heads, k halfspaces of a neuron, N
neurons, P candidates, L leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gln.engine.jit import compiled
from gln.engine.networks.sample_halfspaces import layer_between_samples
from gln_numpy import Config

SAMPLES, MAX_SAMPLES = 2000, 10_000  # for three halfspaces, twice as many for each further one; and at most
CANDIDATES, TREE_CANDIDATES = 512, 128  # halfspaces of a network, and those that a tree chooses from
SINGLE_COLUMN = 0.5  # of the candidates see a single column, the others up to `context_features`
OFFSETS = 64  # that are tried for the chosen candidate
MAX_DEPTH = 8  # splits of a tree; further halfspaces of a neuron are random candidates
SHRINKAGE = 0.1  # of the boosting run
PENALTY = 5.0  # counts like samples without a gradient
MAX_HEADS = 8  # gradients of more heads are added up with random signs, this many times
MIN_GAP = 1e-5  # between two samples, for a split between them
TINY = 1e-6


class Candidates(NamedTuple):
    planes: np.ndarray  # (P, D)
    offsets: np.ndarray  # (P,)
    seen: np.ndarray  # (P, m), the columns whose coefficients are not 0
    coefficients: np.ndarray  # (P, m)


def max_samples(halfspaces: int) -> int:
    """How many samples so many halfspaces of a neuron are chosen on, at most."""
    return min(MAX_SAMPLES, SAMPLES << max(0, halfspaces - 3))


def choose_halfspaces(
    config: Config, z: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Halfspaces for a network with this `config` that has not learned yet.

    The first layer's neurons are the trees; those above have the halfspaces of the first ones again.

    Shapes: standardised samples (D, n), class numbers (n,), labels (C, n), or numbers (C, n) or (n,), and weights (n,)
    -> planes (N, k, D), offsets (N, k).
    """
    rng = np.random.default_rng(config.seed)
    n = z.shape[1]
    order = rng.permutation(n)  # so that a range of samples is a random subset
    z = np.ascontiguousarray(z[:, order])
    weights = sample_weights[order, None]
    y = _tree_targets(config, targets)[order]
    candidates = _candidates(z, config.context_features, rng)
    sides = np.ascontiguousarray(compiled(sides_of)(z, *candidates[1:]).T)
    mean = (weights * y).sum(axis=0) / weights.sum()
    start = np.log(mean.clip(TINY) / (1 - mean).clip(TINY)) if config.logits else mean
    predicted = np.zeros_like(y) + start
    neurons = [_neuron(config, z, candidates, sides, y, weights, predicted, rng) for _ in range(config.layer_sizes[0])]
    repeated = np.arange(sum(config.layer_sizes)) % len(neurons)
    return tuple(np.stack(arrays)[repeated] for arrays in zip(*neurons, strict=True))


def _neuron(
    config: Config,
    z: np.ndarray,  # (D, n)
    candidates: Candidates,
    sides: np.ndarray,  # (n, P) of bools
    y: np.ndarray,  # (n, C)
    weights: np.ndarray,  # (n, 1)
    predicted: np.ndarray,  # (n, C), to which what the tree predicts is added
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # (k, D), (k,)
    """The halfspaces of the next tree, with further candidates if a neuron has more than its depth."""
    depth = min(MAX_DEPTH, config.context_map_size)
    rows = _random_range(max(1, len(y) // 2), len(y), rng)
    columns = _random_range(TREE_CANDIDATES, CANDIDATES, rng)
    gradient, curvature = _gradients(config, y[rows], predicted[rows], weights[rows])
    few = gradient if y.shape[1] <= MAX_HEADS else gradient @ rng.choice([-1.0, 1.0], (y.shape[1], MAX_HEADS))
    sums = np.concatenate([few, weights[rows]], axis=1).astype(np.float32)
    chosen, offsets, leaves = _grow_tree(z, candidates, sides, sums, rows, columns, rng.uniform(0.1, 0.9, depth))
    predicted += _leaf_values(config, leaves[rows], gradient, curvature, 1 << depth)[leaves]
    unused = [i for i in range(columns.start, columns.stop) if i not in chosen][: config.context_map_size - depth]
    all_offsets = np.concatenate([offsets, candidates.offsets[unused]]).astype(np.float32)
    return candidates.planes[chosen + unused], all_offsets


def _gradients(
    config: Config, y: np.ndarray, predicted: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # (r, C), (r, C), (r, 1) -> (r, C), (r, C)
    """First and second derivatives of the loss, the first one negative."""
    p = 1 / (1 + np.exp(-predicted)) if config.logits else predicted
    gradient = weights * (y - p)
    return gradient, np.broadcast_to(weights * (p * (1 - p) if config.logits else 1.0), gradient.shape)


def _leaf_values(
    config: Config, leaves: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, count: int
) -> np.ndarray:  # (r,), (r, C), (r, C) -> (L, C)
    """What each leaf adds to what is predicted."""
    both = np.concatenate([gradient, curvature], axis=1).T
    sums = np.stack([np.bincount(leaves, summands, count) for summands in both], axis=1)
    gradients, curvatures = np.split(sums, 2, axis=1)
    return SHRINKAGE * (gradients / (curvatures + PENALTY * (0.25 if config.logits else 1)))


def _random_range(length: int, count: int, rng: np.random.Generator) -> slice:
    """A random range of this length below `count`."""
    start = rng.integers(count - length + 1)
    return slice(start, start + length)


def _tree_targets(config: Config, targets: np.ndarray) -> np.ndarray:  # -> (n, C)
    """What the trees predict: 0 or 1 of each class or label, or numbers; for variances logs of squared deviations."""
    if targets.ndim == 1 and config.logits:
        return (targets[:, None] == np.arange(config.num_classes)[-config.num_heads :]).astype(np.float64)
    y = np.atleast_2d(targets).T.astype(np.float64)
    return np.log(np.square(y) + 0.01) if config.record.link == "log" else y


def _candidates(z: np.ndarray, max_columns: int | None, rng: np.random.Generator) -> Candidates:  # (D, n)
    """Random halfspaces of one column and of several, each between two samples, as a network draws them."""
    shape = (CANDIDATES, len(z))
    most = min(max_columns or len(z), len(z))
    counts = np.where(np.arange(CANDIDATES) < SINGLE_COLUMN * CANDIDATES, 1, rng.integers(1, most + 1, CANDIDATES))
    drawn = rng.random(shape)
    last = rng.permutation(counts)[:, None] - 1
    is_seen = drawn <= np.take_along_axis(np.sort(drawn, axis=1), last, axis=1)
    planes = np.where(is_seen, rng.standard_normal(shape), 0)
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    [planes], [offsets] = (array.astype(np.float32) for array in layer_between_samples(planes[None], z.T, rng, True))
    seen = np.argsort(planes == 0, axis=1, kind="stable")[:, :most]
    return Candidates(planes, offsets, seen, np.take_along_axis(planes, seen, axis=1))


def _grow_tree(
    z: np.ndarray,  # (D, n)
    candidates: Candidates,
    sides: np.ndarray,  # (n, P) of bools
    sums: np.ndarray,  # (r, C + 1) float32, gradients and weights of the samples `rows`
    rows: slice,  # samples that the tree sees
    columns: slice,  # candidates that it chooses from
    fractions: np.ndarray,  # (depth,), of the splits within gaps
) -> tuple[list[int], list[float], np.ndarray]:
    """The splits of a tree, each the best candidate for the leaves so far, their best offsets, and all samples' leaves.

    Shapes: -> (depth,), (depth,), (n,).
    """
    leaves = np.zeros(len(sides), np.int64)
    chosen: list[int] = []
    offsets: list[float] = []
    for level, fraction in enumerate(fractions):
        arguments = leaves[rows], sums, 1 << level
        gains = compiled(gains_of_candidates)(sides[rows], columns.start, columns.stop, *arguments)
        for earlier in chosen:
            gains[earlier - columns.start] = -1
        best = columns.start + int(gains.argmax())
        projection = compiled(project)(z, candidates.seen[best], candidates.coefficients[best])
        order = projection[rows].argsort()  # NumPy's is six times as fast as Numba's
        low, high = compiled(best_gap)(projection[rows], order, *arguments)
        chosen.append(best)
        offsets.append(low + fraction * (high - low) if low < high else candidates.offsets[best])
        leaves += (projection > np.float32(offsets[-1])) * (1 << level)
    return chosen, offsets, leaves


# ---- Loops -----------------------------------------------------------------------------------------------------------


def project(z: np.ndarray, seen: np.ndarray, coefficients: np.ndarray) -> np.ndarray:  # (D, n), (m,), (m,) -> (n,)
    projection = np.zeros(z.shape[1], np.float32)
    for i in range(len(seen)):
        column = z[seen[i]]
        coefficient = coefficients[i]
        for b in range(len(column)):
            projection[b] += coefficient * column[b]
    return projection


def sides_of(z: np.ndarray, offsets: np.ndarray, seen: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """On which side of the candidates samples are: (D, n), (P,), (P, m), (P, m) -> (P, n) of bools."""
    sides = np.empty((len(seen), z.shape[1]), np.bool_)
    for p in range(len(seen)):
        projection = project(z, seen[p], coefficients[p])
        side = sides[p]
        offset = offsets[p]
        for b in range(len(projection)):
            side[b] = projection[b] > offset
    return sides


def gains_of_candidates(
    sides: np.ndarray,  # (r, P) of bools
    first: int,
    end: int,
    leaves: np.ndarray,  # (r,)
    sums: np.ndarray,  # (r, C + 1) float32, gradients and weights
    count: int,  # L
) -> np.ndarray:  # (end - first,)
    """How much better leaves fit the gradients if they are split by each of the candidates from `first` to `end`.

    A loop, because with leaves as further columns most of a matrix product would be zeros.
    """
    beyond = np.zeros((count, sums.shape[1], end - first), np.float32)
    total = np.zeros((count, sums.shape[1]))
    for b in range(len(sides)):
        for c in range(sums.shape[1]):
            row = beyond[leaves[b], c]
            side = sides[b, first:]
            summand = sums[b, c]
            total[leaves[b], c] += summand
            for p in range(len(row)):
                row[p] += summand if side[p] else np.float32(0)
    return gains_of_splits(beyond, total)


def best_gap(
    projection: np.ndarray,  # (r,)
    order: np.ndarray,  # (r,), that sorts it
    leaves: np.ndarray,  # (r,)
    sums: np.ndarray,  # (r, C + 1)
    count: int,  # L
) -> tuple[float, float]:
    """The ends of the gap between samples where it is best to split all leaves, out of OFFSETS gaps spread over them.

    Both ends are the same if there is no gap that is wide enough. In narrower ones rounding could decide the sides;
    standardised samples are about 1.
    """
    ordered = projection[order]
    gaps = np.flatnonzero(np.diff(ordered) > MIN_GAP * (1 + np.abs(ordered[1:])))
    tried = min(len(gaps), OFFSETS)
    if tried == 0:
        return ordered[0], ordered[0]
    for i in range(tried):  # in place, because none moves to the right
        gaps[i] = gaps[i * (len(gaps) - 1) // max(1, tried - 1)]
    near = np.zeros((count, sums.shape[1], tried + 1))
    start = 0
    for i in range(tried + 1):
        end = gaps[i] + 1 if i < tried else len(order)
        for b in order[start:end]:
            for c in range(sums.shape[1]):
                near[leaves[b], c, i] += sums[b, c]
        start = end
    for leaf in range(count):  # from sums between gaps to sums before them
        for c in range(sums.shape[1]):
            row = near[leaf, c]
            for i in range(tried):
                row[i + 1] += row[i]
    best = gaps[gains_of_splits(near[:, :, :tried].copy(), near[:, :, tried].copy()).argmax()]
    return ordered[best], ordered[best + 1]


def gains_of_splits(beyond: np.ndarray, total: np.ndarray) -> np.ndarray:  # (L, C + 1, P), (L, C + 1) -> (P,)
    """How much better leaves fit the gradients if they are split; the last of the C + 1 sums is that of weights."""
    heads = beyond.shape[1] - 1
    gains = np.zeros(beyond.shape[2])
    for leaf in range(len(beyond)):
        squares = np.zeros((2, len(gains)))
        for c in range(heads):
            for p in range(len(gains)):
                squares[0, p] += beyond[leaf, c, p] ** 2
                squares[1, p] += (total[leaf, c] - beyond[leaf, c, p]) ** 2
        for p in range(len(gains)):
            weight = beyond[leaf, heads, p]
            gains[p] += squares[0, p] / (weight + PENALTY) + squares[1, p] / (total[leaf, heads] - weight + PENALTY)
    return gains

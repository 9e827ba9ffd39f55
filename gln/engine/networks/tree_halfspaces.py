"""Halfspaces chosen before a network learns: those of a neuron are the splits of an oblivious tree.

An oblivious tree splits all leaves of a level alike, so its leaves are a neuron's contexts. The trees are those of a
short boosting run, so that neurons differ; only their splits are kept. Source: Prokhorenkova et al., CatBoost: unbiased
boosting with categorical features, NeurIPS 2018, section 4; there each split is on a single feature.

Shapes: n samples, r of which a tree sees, D columns, C heads, k halfspaces of a neuron, N neurons, P candidates, L
leaves.
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
SHRINKAGE, PENALTY = 0.1, 5.0  # of the boosting run; the penalty counts like samples without a gradient
MAX_HEADS = 8  # gradients of more heads are added up with random signs, this many times
MIN_GAP = 1e-5  # between two samples, for a split between them
TINY = 1e-6


class Halfspaces(NamedTuple):
    planes: np.ndarray  # (N, k, D), or (P, D) of candidates
    offsets: np.ndarray  # (N, k), or (P,)


def max_samples(halfspaces: int) -> int:
    """How many samples so many halfspaces of a neuron are chosen on, at most."""
    return min(MAX_SAMPLES, SAMPLES << max(0, halfspaces - 3))


def choose_halfspaces(config: Config, z: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> Halfspaces:
    """Halfspaces for a network with this `config` that has not learned yet.

    The first layer's neurons are the trees; those above have the halfspaces of the first ones again.

    Shapes: standardised samples (D, n), class numbers (n,), labels (C, n), or numbers (C, n) or (n,), and weights (n,)
    -> planes (N, k, D), offsets (N, k).
    """
    rng, n = np.random.default_rng(config.seed), z.shape[1]
    order = rng.permutation(n)  # so that a range of samples is a random subset
    z, weights = np.ascontiguousarray(z[:, order]), sample_weights[order, None]
    y = _tree_targets(config, targets)[order]
    candidates, depth = _candidates(z, config.context_features, rng), min(MAX_DEPTH, config.context_map_size)
    further = config.context_map_size - depth
    beyond = [compiled(project)(z, plane) > offset for plane, offset in zip(*candidates, strict=True)]
    sides = np.ascontiguousarray(np.array(beyond).T)  # (n, P)
    mean, neurons = (weights * y).sum(axis=0) / weights.sum(), []
    start = np.log(mean.clip(TINY) / (1 - mean).clip(TINY)) if config.logits else mean
    predicted = np.zeros_like(y) + start
    for _ in range(config.layer_sizes[0]):
        rows, columns = _random_range(max(1, n // 2), n, rng), _random_range(TREE_CANDIDATES, CANDIDATES, rng)
        p = 1 / (1 + np.exp(-predicted[rows])) if config.logits else predicted[rows]
        gradient = weights[rows] * (y[rows] - p)
        curvature = np.broadcast_to(weights[rows] * (p * (1 - p) if config.logits else 1.0), gradient.shape)
        sums = np.concatenate([_project_heads(gradient, rng), weights[rows]], axis=1).astype(np.float32)
        chosen, offsets, leaves = _grow_tree(z, candidates, sides, sums, rows, columns, rng.uniform(0.1, 0.9, depth))
        both = np.concatenate([gradient, curvature], axis=1).T
        sums = np.stack([np.bincount(leaves[rows], summands, 1 << depth) for summands in both], axis=1)
        gradients, curvatures = np.split(sums, 2, axis=1)
        predicted += SHRINKAGE * (gradients / (curvatures + PENALTY * (0.25 if config.logits else 1)))[leaves]
        unused = [i for i in range(columns.start, columns.stop) if i not in chosen][:further] if further else []
        all_offsets = np.concatenate([offsets, candidates.offsets[unused]]).astype(np.float32)
        neurons.append((candidates.planes[chosen + unused], all_offsets))
    repeated = np.arange(sum(config.layer_sizes)) % len(neurons)
    return Halfspaces(*(np.stack(arrays)[repeated] for arrays in zip(*neurons, strict=True)))


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


def _project_heads(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (r, C) -> (r, at most MAX_HEADS)
    heads = gradient.shape[1]
    return gradient if heads <= MAX_HEADS else gradient @ rng.choice([-1.0, 1.0], (heads, MAX_HEADS))


def _candidates(z: np.ndarray, max_columns: int | None, rng: np.random.Generator) -> Halfspaces:  # (D, n)
    """Random halfspaces of one column and of several, each between two samples, as a network draws them."""
    shape, most = (CANDIDATES, len(z)), min(max_columns or len(z), len(z))
    counts = np.where(np.arange(CANDIDATES) < SINGLE_COLUMN * CANDIDATES, 1, rng.integers(1, most + 1, CANDIDATES))
    is_seen = rng.random(shape).argsort(axis=1).argsort(axis=1) < rng.permutation(counts)[:, None]
    planes = np.where(is_seen, rng.standard_normal(shape), 0)
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    [planes], [offsets] = (found.astype(np.float32) for found in layer_between_samples(planes[None], z.T, rng, True))
    return Halfspaces(planes, offsets)


def _grow_tree(
    z: np.ndarray,  # (D, n)
    candidates: Halfspaces,
    sides: np.ndarray,  # (n, P) of bools
    sums: np.ndarray,  # (r, C + 1) float32, gradients and weights of the samples `rows`
    rows: slice,  # samples that the tree sees
    columns: slice,  # candidates that it chooses from
    places: np.ndarray,  # (depth,), of the splits within gaps
) -> tuple[list[int], list[float], np.ndarray]:
    """The splits of a tree, each the best candidate for the leaves so far, their best offsets, and all samples' leaves.

    Shapes: -> (depth,), (depth,), (n,).
    """
    leaves = np.zeros(len(sides), np.int64)
    chosen: list[int] = []
    offsets: list[float] = []
    for level, place in enumerate(places):
        of_leaves = leaves[rows], sums, 1 << level
        gains = gains_of_splits(*compiled(sums_of_candidates)(sides[rows], columns.start, columns.stop, *of_leaves))
        for earlier in chosen:
            gains[earlier - columns.start] = -1
        best = columns.start + int(gains.argmax())
        projection = compiled(project)(z, candidates.planes[best])
        low, high = best_gap(projection[rows], *of_leaves)
        chosen.append(best)
        offsets.append(low + place * (high - low) if low < high else candidates.offsets[best])
        leaves += (projection > np.float32(offsets[-1])) * (1 << level)
    return chosen, offsets, leaves


# ---- Loops -----------------------------------------------------------------------------------------------------------


def project(z: np.ndarray, plane: np.ndarray) -> np.ndarray:  # (D, n), (D,) -> (n,)
    projection = np.zeros(z.shape[1], np.float32)
    for column in np.flatnonzero(plane):
        for b in range(len(projection)):
            projection[b] += plane[column] * z[column, b]
    return projection


def sums_of_candidates(
    sides: np.ndarray,  # (r, P) of bools
    first: int,
    end: int,
    leaves: np.ndarray,  # (r,)
    sums: np.ndarray,  # (r, C + 1) float32, gradients and weights
    count: int,  # L
) -> tuple[np.ndarray, np.ndarray]:  # (L, C + 1, end - first), (L, C + 1)
    """Sums of leaves beyond each of the candidates from `first` to `end`, and of all their samples.

    A loop, because with leaves as further columns most of a matrix product would be zeros.
    """
    beyond, total = np.zeros((count, sums.shape[1], end - first), np.float32), np.zeros((count, sums.shape[1]))
    for b in range(len(sides)):
        for c in range(sums.shape[1]):
            row, side, summand = beyond[leaves[b], c], sides[b, first:], sums[b, c]
            total[leaves[b], c] += summand
            for p in range(len(row)):
                row[p] += summand if side[p] else np.float32(0)
    return beyond, total


def best_gap(
    projection: np.ndarray,  # (r,)
    leaves: np.ndarray,  # (r,)
    sums: np.ndarray,  # (r, C + 1)
    count: int,  # L
) -> tuple[float, float]:
    """The ends of the gap between samples where it is best to split all leaves, out of OFFSETS gaps spread over them.

    Both ends are the same if there is no gap that is wide enough. In narrower ones rounding could decide the sides;
    standardised samples are about 1.
    """
    order = projection.argsort()
    ordered = projection[order]
    gaps = np.flatnonzero(np.diff(ordered) > MIN_GAP * (1 + np.abs(ordered[1:])))
    if len(gaps) == 0:
        return float(ordered[0]), float(ordered[0])
    tried = min(len(gaps), OFFSETS)
    gaps = gaps[np.arange(tried) * (len(gaps) - 1) // max(1, tried - 1)]
    places = leaves[order] * (tried + 1) + np.searchsorted(gaps, np.arange(len(order)))  # which gap is next
    between = [np.bincount(places, terms, count * (tried + 1)).reshape(count, -1) for terms in sums[order].T]
    before = np.stack(between, axis=1).cumsum(axis=2)
    best = gaps[gains_of_splits(before[:, :, :-1], before[:, :, -1]).argmax()]
    return float(ordered[best]), float(ordered[best + 1])


def gains_of_splits(beyond: np.ndarray, total: np.ndarray) -> np.ndarray:  # (L, C + 1, P), (L, C + 1) -> (P,)
    """How much better leaves fit the gradients if they are split; the last of the C + 1 sums is that of weights."""
    gains = np.zeros((len(beyond), beyond.shape[2]))  # (L, P)
    for side in (beyond, total[:, :, None] - beyond):
        squares = np.square(side[:, :-1]).sum(axis=1, dtype=np.float64)
        gains += squares / (side[:, -1].astype(np.float64) + PENALTY)
    return gains.sum(axis=0)

"""Halfspaces chosen before a network learns: those of a neuron are the splits of an oblivious tree.

An oblivious tree splits all leaves of a level alike, so its leaves are a neuron's contexts. The trees are those of a
short boosting run, so that neurons differ; only their splits are kept. Source: Prokhorenkova et al., CatBoost: unbiased
boosting with categorical features, NeurIPS 2018, section 4; there each split is on a single feature.

Shapes: n samples, m of which a tree sees, D columns, C heads, k halfspaces of a neuron, N neurons, P candidates, L
leaves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gln.backends import load_backend
from gln.engine.batches import spread

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
    planes: np.ndarray  # (P, D)
    offsets: np.ndarray  # (P,)


def max_samples(halfspaces: int) -> int:
    """How many samples so many halfspaces of a neuron are chosen on, at most."""
    return min(MAX_SAMPLES, SAMPLES << max(0, halfspaces - 3))


def choose_halfspaces(config: Any, z: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> Halfspaces:
    """Halfspaces for a network with this `config` that has not learned yet.

    The first layer's neurons are the trees; those above have the halfspaces of the first ones again.

    Shapes: standardised samples (D, n), class numbers (n,), or numbers (C, n) or (n,), and weights (n,) -> planes
    (N, k, D), offsets (N, k).
    """
    rng, n = np.random.default_rng(config.seed), z.shape[1]
    order = rng.permutation(n)  # so that a range of samples is a random subset
    x, y, weights = np.ascontiguousarray(z.T[order]), _tree_targets(config, targets)[order], sample_weights[order, None]
    candidates, depth = _candidates(x, config.context_features, rng), min(MAX_DEPTH, config.context_map_size)
    projections = x @ candidates.planes.T  # (n, P)
    sides = (projections > candidates.offsets).astype(np.float32)
    predicted, neurons = np.zeros_like(y) + _best_constant(config.logits, y, weights), []
    for _ in range(config.layer_sizes[0]):
        rows, columns = _random_range(max(1, n // 2), n, rng), _random_range(TREE_CANDIDATES, CANDIDATES, rng)
        p = 1 / (1 + np.exp(-predicted[rows])) if config.logits else predicted[rows]
        gradient = weights[rows] * (y[rows] - p)
        curvature = np.broadcast_to(weights[rows] * (p * (1 - p) if config.logits else 1.0), gradient.shape)
        sums = np.concatenate([_project_heads(gradient, rng), weights[rows]], axis=1).astype(np.float32)
        trained_on = projections[rows, columns], sums, sides[rows, columns]
        splits, offsets = _grow_tree(*trained_on, candidates.offsets[columns], depth, rng)
        chosen = columns.start + np.array(splits)
        leaves = ((projections[:, chosen] > np.array(offsets, np.float32)) << np.arange(depth)).sum(axis=1)
        sums = _sums_of_leaves(leaves[rows], np.concatenate([gradient, curvature], axis=1), 1 << depth)
        gradients, curvatures = np.split(sums, 2, axis=1)
        predicted += SHRINKAGE * (gradients / (curvatures + PENALTY * (0.25 if config.logits else 1)))[leaves]
        unused = columns.start + np.setdiff1d(np.arange(TREE_CANDIDATES), splits)[: config.context_map_size - depth]
        all_offsets = np.concatenate([offsets, candidates.offsets[unused]]).astype(np.float32)
        neurons.append((candidates.planes[[*chosen, *unused]], all_offsets))
    repeated = np.arange(sum(config.layer_sizes)) % len(neurons)
    return Halfspaces(*(np.stack(arrays)[repeated] for arrays in zip(*neurons, strict=True)))


def _random_range(length: int, count: int, rng: np.random.Generator) -> slice:
    """A random range of this length below `count`."""
    start = rng.integers(count - length + 1)
    return slice(start, start + length)


def _tree_targets(config: Any, targets: np.ndarray) -> np.ndarray:  # -> (n, C)
    """What the trees predict: 0 or 1 of each class, or numbers; for variances the logs of squared deviations."""
    if config.logits:
        return (targets[:, None] == np.arange(config.num_classes)[-config.num_heads :]).astype(np.float64)
    y = np.atleast_2d(targets).T.astype(np.float64)
    return np.log(np.square(y) + 0.01) if config.record.link == "log" else y


def _best_constant(logits: bool, y: np.ndarray, weights: np.ndarray) -> np.ndarray:  # (n, C), (n, 1) -> (C,)
    mean = (weights * y).sum(axis=0) / weights.sum()
    return np.log(mean.clip(TINY) / (1 - mean).clip(TINY)) if logits else mean


def _project_heads(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (m, C) -> (m, at most MAX_HEADS)
    heads = gradient.shape[1]
    return gradient if heads <= MAX_HEADS else gradient @ rng.choice([-1.0, 1.0], (heads, MAX_HEADS))


def _sums_of_leaves(leaves: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:  # (m,), (m, c) -> (count, c)
    return np.stack([np.bincount(leaves, column, count) for column in values.T], axis=1)


def _candidates(x: np.ndarray, max_columns: int, rng: np.random.Generator) -> Halfspaces:  # (n, D)
    """Random halfspaces of one column and of several, each between two samples, as a network draws them."""
    network, single, drawn = load_backend("numpy").GLN, round(SINGLE_COLUMN * CANDIDATES), []
    for count, columns in ((single, 1), (CANDIDATES - single, max_columns)):
        seed = int(rng.integers(2**31))
        gln = network([count], 1, x.shape[1], context_map_size=1, context_features=columns, seed=seed)
        if len(x) > 1:
            gln.fit_hyperplanes(x.T)
        state = gln.get_state(copy=False)
        drawn.append((state["hyperplanes.1"][:, 0], state["hyperplane_bias.1"][:, 0]))
    order = rng.permutation(CANDIDATES)
    return Halfspaces(*(np.concatenate(arrays)[order] for arrays in zip(*drawn, strict=True)))


def _grow_tree(
    projections: np.ndarray,  # (m, P)
    sums: np.ndarray,  # (m, C + 1), gradients and weights
    sides: np.ndarray,  # (m, P) of 0 and 1
    offsets: np.ndarray,  # (P,)
    depth: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[float]]:
    """The splits of a tree, each the best candidate for the leaves so far, then its best offset."""
    splits: list[int] = []
    found: list[float] = []
    sums = sums[:, None]  # (m, L, C + 1), 0 outside of a sample's leaf
    for _ in range(depth):
        beyond = (sums.reshape(len(sums), -1).T @ sides).reshape(*sums.shape[1:], -1)  # (L, C + 1, P)
        gain = _gain(beyond, sums.sum(axis=0)[..., None])
        gain[splits] = -1
        splits.append(int(gain.argmax()))
        projection = projections[:, splits[-1]]
        found.append(_best_offset(projection, sums, offsets[splits[-1]], rng))
        is_beyond = (projection > found[-1])[:, None, None]
        sums = np.concatenate([sums * ~is_beyond, sums * is_beyond], axis=1)
    return splits, found


def _gain(beyond: np.ndarray, total: np.ndarray) -> np.ndarray:  # (L, C + 1, P), (L, C + 1, 1) -> (P,)
    """How much better leaves fit the gradients if they are split; the last of the C + 1 sums is that of weights."""
    gain = 0.0
    for side in (beyond, total - beyond):
        gain = gain + np.square(side[:, :-1]).sum(axis=1) / (side[:, -1] + PENALTY)
    return np.asarray(gain).sum(axis=0)


def _best_offset(projection: np.ndarray, sums: np.ndarray, offset: Any, rng: np.random.Generator) -> Any:
    """The best offset, at a random place within a gap between samples; `offset` if there is no gap.

    Shapes: (m,), (m, L, C + 1), () -> ().
    """
    order = projection.argsort()
    projection = projection[order]
    # On the near side of each gap. In narrower ones rounding could decide the sides; standardised samples are about 1.
    last = np.flatnonzero(np.diff(projection) > MIN_GAP * (1 + np.abs(projection[1:])))
    if len(last) == 0:
        return offset
    last = last[spread(len(last), OFFSETS)]
    near = np.add.reduceat(sums[order], np.concatenate([[0], last + 1])).cumsum(axis=0).transpose(1, 2, 0)
    best = last[_gain(near[..., :-1], near[..., -1:]).argmax()]  # the last of these sums is everything
    return projection[best] + rng.uniform(0.1, 0.9) * (projection[best + 1] - projection[best])

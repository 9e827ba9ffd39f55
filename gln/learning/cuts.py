"""Halfspaces that are chosen before a network learns: those of a neuron are the cuts of a symmetric tree.

A symmetric tree cuts all leaves of a level alike, so its leaves are a neuron's contexts. The trees are those of a short
boosting run, so that neurons differ; only their cuts are kept. Source: Prokhorenkova et al., CatBoost: unbiased
boosting with categorical features, NeurIPS 2018, section 4; there each cut is of a single feature.

Shapes: n samples, m of which a tree sees, D columns, C heads, k halfspaces of a neuron, N neurons, P candidates, L
leaves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gln.learning.left_out import spread

__all__ = ["Halfspaces", "chosen_halfspaces", "samples_for"]

SAMPLES, MOST_SAMPLES = 2000, 10_000  # for three halfspaces, twice as many for each further one; and at most
CANDIDATES, OF_TREE = 512, 128  # halfspaces of a network, and those that a tree chooses from
SINGLE = 0.5  # of the candidates see a single column, the others one to `context_features`
OFFSETS = 64  # that are tried for the chosen candidate
DEEPEST = 8  # cuts of a tree; further halfspaces of a neuron are candidates at random
SHRINKAGE, PENALTY = 0.1, 5.0  # of the boosting run; the penalty counts like samples without a gradient
MOST_HEADS = 8  # gradients of more heads are added up with random signs, this many times
TINY = 1e-6


class Halfspaces(NamedTuple):
    planes: np.ndarray  # (P, D)
    offsets: np.ndarray  # (P,)


def samples_for(halfspaces: int) -> int:
    """How many samples halfspaces are chosen on, at most."""
    return min(MOST_SAMPLES, SAMPLES << max(0, halfspaces - 3))


def chosen_halfspaces(config: Any, z: np.ndarray, targets: np.ndarray, shares: np.ndarray) -> Halfspaces:
    """Halfspaces for a network with this `config` that has not learned yet.

    The first layer's neurons are the trees; those above have the halfspaces of the first ones again.

    Shapes: standardised samples (D, n), class numbers (n,), or numbers (C, n) or (n,), and weights (n,) -> planes
    (N, k, D), offsets (N, k).
    """
    rng, n = np.random.default_rng(config.seed), z.shape[1]
    order = rng.permutation(n)  # so that a range of samples is a random subset
    x, y, shares = np.ascontiguousarray(z.T[order]), _numbers(config, targets)[order], shares[order, None]
    pool, k = _candidates(x, config.context_features, rng), min(DEEPEST, config.context_map_size)
    along = x @ pool.planes.T  # (n, P)
    sides = (along > pool.offsets).astype(np.float32)
    f, found = np.zeros_like(y) + _best_constant(config.logits, y, shares), []
    for _ in range(config.layer_sizes[0]):
        own, some = _range(max(1, n // 2), n, rng), _range(OF_TREE, CANDIDATES, rng)
        p = 1 / (1 + np.exp(-f[own])) if config.logits else f[own]
        gradient, curvature = shares[own] * (y[own] - p), shares[own] * (p * (1 - p) if config.logits else np.ones(1))
        sums = np.concatenate([_few_heads(gradient, rng), shares[own]], axis=1).astype(np.float32)
        cuts, offsets = _cuts(along[own, some], sums, sides[own, some], pool.offsets[some], k, rng)
        taken = some.start + np.array(cuts)
        leaves = ((along[:, taken] > np.array(offsets, np.float32)) << np.arange(k)).sum(axis=1)
        sums = np.concatenate([gradient, np.broadcast_to(curvature, gradient.shape)], axis=1)
        steps, weights = np.split(_sums_of_leaves(leaves[own], sums, 1 << k), 2, axis=1)
        f += SHRINKAGE * (steps / (weights + PENALTY * (0.25 if config.logits else 1)))[leaves]
        others = some.start + np.setdiff1d(np.arange(OF_TREE), cuts)[: config.context_map_size - k]
        own_offsets = np.concatenate([offsets, pool.offsets[others]]).astype(np.float32)
        found.append((pool.planes[[*taken, *others]], own_offsets))
    again = np.arange(sum(config.layer_sizes)) % len(found)
    return Halfspaces(*(np.stack(each)[again] for each in zip(*found, strict=True)))


def _range(length: int, count: int, rng: np.random.Generator) -> slice:
    """A random range of this length below `count`."""
    start = rng.integers(count - length + 1)
    return slice(start, start + length)


def _numbers(config: Any, targets: np.ndarray) -> np.ndarray:  # -> (n, C)
    """What the trees predict: 0 or 1 of each class, or numbers; for variances the logs of squared deviations."""
    if config.logits:
        return (targets[:, None] == np.arange(config.num_classes)[-config.num_heads :]).astype(np.float64)
    y = np.atleast_2d(targets).T.astype(np.float64)
    return np.log(np.square(y) + 0.01) if config.record.link == "log" else y


def _best_constant(logits: bool, y: np.ndarray, shares: np.ndarray) -> np.ndarray:  # (n, C), (n, 1) -> (C,)
    mean = (shares * y).sum(axis=0) / shares.sum()
    return np.log(mean.clip(TINY) / (1 - mean).clip(TINY)) if logits else mean


def _few_heads(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (m, C) -> (m, at most MOST_HEADS)
    heads = gradient.shape[1]
    return gradient if heads <= MOST_HEADS else gradient @ rng.choice([-1.0, 1.0], (heads, MOST_HEADS))


def _sums_of_leaves(leaves: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:  # (m,), (m, c) -> (count, c)
    return np.stack([np.bincount(leaves, column, count) for column in values.T], axis=1)


def _candidates(x: np.ndarray, most: int, rng: np.random.Generator) -> Halfspaces:  # (n, D)
    """Random halfspaces, each between two samples."""
    n, columns = x.shape
    most = min(most, columns)
    count = np.where(rng.random(CANDIDATES) < SINGLE, 1, rng.integers(1, most + 1, CANDIDATES))
    seen = rng.random((CANDIDATES, columns)).argsort(axis=1)[:, :most]
    coefficients = rng.standard_normal((CANDIDATES, most)) * (np.arange(most) < count[:, None])
    coefficients /= np.linalg.norm(coefficients, axis=1, keepdims=True)
    low = high = np.zeros(CANDIDATES)
    for _ in range(10):  # where both projections are equal, another pair is drawn
        ends = (x[rng.integers(0, n, (2, CANDIDATES, 1)), seen] * coefficients).sum(axis=-1)
        low, high = np.where(low == high, ends, (low, high))
    planes = np.zeros((CANDIDATES, columns), np.float32)
    np.put_along_axis(planes, seen, coefficients.astype(np.float32), axis=1)
    return Halfspaces(planes, (low + rng.random(CANDIDATES) * (high - low)).astype(np.float32))


def _cuts(
    along: np.ndarray, sums: np.ndarray, sides: np.ndarray, offsets: np.ndarray, k: int, rng: np.random.Generator
) -> tuple[list[int], list[float]]:
    """The cuts of a tree, each the best one for the leaves of those before, then with its best offset.

    Shapes: projections (m, P), gradients and weights (m, C + 1), sides of the candidates (m, P), their offsets (P,) ->
    k candidates, k offsets.
    """
    taken: list[int] = []
    found: list[float] = []
    sums = sums[:, None]  # (m, L, C + 1), 0 outside of a sample's leaf
    for _ in range(k):
        beyond = (sums.reshape(len(sums), -1).T @ sides).reshape(*sums.shape[1:], -1)  # (L, C + 1, P)
        gain = _gain(beyond, sums.sum(axis=0)[..., None])
        gain[taken] = -1
        taken.append(int(gain.argmax()))
        projected = along[:, taken[-1]]
        found.append(_best_offset(projected, sums, offsets[taken[-1]], rng))
        is_beyond = (projected > found[-1])[:, None, None]
        sums = np.concatenate([sums * ~is_beyond, sums * is_beyond], axis=1)
    return taken, found


def _gain(beyond: np.ndarray, total: np.ndarray) -> np.ndarray:  # (L, C + 1, P), (L, C + 1, 1) -> (P,)
    """How much better leaves fit the gradients if they are cut; the last of the C + 1 sums is that of weights."""
    gain = 0.0
    for side in (beyond, total - beyond):
        gain = gain + np.square(side[:, :-1]).sum(axis=1) / (side[:, -1] + PENALTY)
    return np.asarray(gain).sum(axis=0)


def _best_offset(along: np.ndarray, sums: np.ndarray, offset: Any, rng: np.random.Generator) -> Any:
    """The best offset, at random between two samples; `offset` if all are equal: (m,), (m, L, C + 1), () -> ()."""
    order = along.argsort()
    along = along[order]
    last = np.flatnonzero(along[1:] > along[:-1])  # on the near side, for each offset
    if len(last) == 0:
        return offset
    last = last[spread(len(last), OFFSETS)]
    near = np.add.reduceat(sums[order], np.concatenate([[0], last + 1])).cumsum(axis=0).transpose(1, 2, 0)
    best = last[_gain(near[..., :-1], near[..., -1:]).argmax()]  # the last of these sums is everything
    return along[best] + rng.random() * (along[best + 1] - along[best])

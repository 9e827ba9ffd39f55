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

from gln.backends import load_backend
from gln.engine.batches import spread

SAMPLES, MOST_SAMPLES = 2000, 10_000  # for three halfspaces, twice as many for each further one; and at most
CANDIDATES, OF_TREE = 512, 128  # halfspaces of a network, and those that a tree chooses from
SINGLE = 0.5  # of the candidates see a single column, the others one to `context_features`
OFFSETS = 64  # that are tried for the chosen candidate
DEEPEST = 8  # cuts of a tree; further halfspaces of a neuron are candidates at random
SHRINKAGE, PENALTY = 0.1, 5.0  # of the boosting run; the penalty counts like samples without a gradient
MOST_HEADS = 8  # gradients of more heads are added up with random signs, this many times
LEAST_GAP = 1e-5  # between two samples, for a cut between them
TINY = 1e-6


class Halfspaces(NamedTuple):
    planes: np.ndarray  # (P, D)
    offsets: np.ndarray  # (P,)


def samples_for(halfspaces: int) -> int:
    """How many samples halfspaces are chosen on, at most."""
    return min(MOST_SAMPLES, SAMPLES << max(0, halfspaces - 3))


def chosen_halfspaces(config: Any, z: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> Halfspaces:
    """Halfspaces for a network with this `config` that has not learned yet.

    The first layer's neurons are the trees; those above have the halfspaces of the first ones again.

    Shapes: standardised samples (D, n), class numbers (n,), or numbers (C, n) or (n,), and weights (n,) -> planes
    (N, k, D), offsets (N, k).
    """
    rng, n = np.random.default_rng(config.seed), z.shape[1]
    order = rng.permutation(n)  # so that a range of samples is a random subset
    x, y, sample_weights = (
        np.ascontiguousarray(z.T[order]),
        _numbers(config, targets)[order],
        sample_weights[order, None],
    )
    pool, k = _candidates(x, config.context_features, rng), min(DEEPEST, config.context_map_size)
    along = x @ pool.planes.T  # (n, P)
    sides = (along > pool.offsets).astype(np.float32)
    f, found = np.zeros_like(y) + _best_constant(config.logits, y, sample_weights), []
    for _ in range(config.layer_sizes[0]):
        own, some = _range(max(1, n // 2), n, rng), _range(OF_TREE, CANDIDATES, rng)
        p = 1 / (1 + np.exp(-f[own])) if config.logits else f[own]
        gradient, curvature = (
            sample_weights[own] * (y[own] - p),
            sample_weights[own] * (p * (1 - p) if config.logits else np.ones(1)),
        )
        sums = np.concatenate([_few_heads(gradient, rng), sample_weights[own]], axis=1).astype(np.float32)
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


def _best_constant(logits: bool, y: np.ndarray, sample_weights: np.ndarray) -> np.ndarray:  # (n, C), (n, 1) -> (C,)
    mean = (sample_weights * y).sum(axis=0) / sample_weights.sum()
    return np.log(mean.clip(TINY) / (1 - mean).clip(TINY)) if logits else mean


def _few_heads(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (m, C) -> (m, at most MOST_HEADS)
    heads = gradient.shape[1]
    return gradient if heads <= MOST_HEADS else gradient @ rng.choice([-1.0, 1.0], (heads, MOST_HEADS))


def _sums_of_leaves(leaves: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:  # (m,), (m, c) -> (count, c)
    return np.stack([np.bincount(leaves, column, count) for column in values.T], axis=1)


def _candidates(x: np.ndarray, most: int, rng: np.random.Generator) -> Halfspaces:  # (n, D)
    """Random halfspaces, each between two samples."""
    of_single = round(SINGLE * CANDIDATES)
    drawn = [_drawn(x, *kind, rng) for kind in ((of_single, 1), (CANDIDATES - of_single, most))]
    order = rng.permutation(CANDIDATES)
    return Halfspaces(*(np.concatenate(each)[order] for each in zip(*drawn, strict=True)))


def _drawn(x: np.ndarray, count: int, most: int, rng: np.random.Generator) -> Halfspaces:
    """Halfspaces of at most so many columns, as a network draws them from samples."""
    seed = int(rng.integers(2**31))
    network = load_backend("numpy").GLN([count], 1, x.shape[1], context_map_size=1, context_features=most, seed=seed)
    if len(x) > 1:
        network.fit_hyperplanes(x.T)
    state = network.get_state(copy=False)
    return Halfspaces(state["hyperplanes.1"][:, 0], state["hyperplane_bias.1"][:, 0])


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
    """The best offset, at random in the middle of a gap between samples; `offset` if there is none: (m,),
    (m, L, C + 1), () -> ()."""
    order = along.argsort()
    along = along[order]
    # On the near side of each gap. In narrower ones rounding could decide the sides; standardised samples are about 1.
    last = np.flatnonzero(np.diff(along) > LEAST_GAP * (1 + np.abs(along[1:])))
    if len(last) == 0:
        return offset
    last = last[spread(len(last), OFFSETS)]
    near = np.add.reduceat(sums[order], np.concatenate([[0], last + 1])).cumsum(axis=0).transpose(1, 2, 0)
    best = last[_gain(near[..., :-1], near[..., -1:]).argmax()]  # the last of these sums is everything
    return along[best] + rng.uniform(0.1, 0.9) * (along[best + 1] - along[best])

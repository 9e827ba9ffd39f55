"""One sample of a stream in one loop, and several in turn, compiled when this module is imported.

That imports Numba, so others import this module when they need it.

Shapes: B samples, F features, D columns made from them, C heads, M networks with N neurons in all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gln.engine.base_models import online as base_models
from gln.engine.base_models.fading_bin_means import BinCounts
from gln.engine.base_models.hashed_linear import HashTable
from gln.engine.base_models.least_squares import Squares
from gln.engine.batches import Words
from gln.engine.ensemble import hedge as mixture_loops
from gln.engine.jit import compiled
from gln.engine.preprocessing import scaling as moments
from gln.engine.preprocessing.basis_expansion import fill_distances
from gln_numba import gate_block, learn_block, outputs, read

# Compiled functions, because what is a helper is compiled once more.
standardise = compiled(moments.standardise)
predict_base_models = compiled(base_models.predict_base_models, *base_models.HELPERS)
add_linear_predictions = compiled(mixture_loops.add_linear_predictions)
combine_by_losses = compiled(mixture_loops.combine_by_losses)
log_or_squared_losses = compiled(mixture_loops.log_or_squared_losses)
fading_sums = compiled(mixture_loops.fading_sums)


@compiled
def step(
    columns: np.ndarray,  # (D, 1)
    features: np.ndarray,  # (F, 1)
    words: Words,
    y: np.ndarray,  # (C, 1)
    rates: np.ndarray,  # (M, 1)
    share: np.ndarray,  # (1,)
    counts: bool,  # whether statistics of columns are still to count it
    standard: np.ndarray,
    floor: float,
    limit: float,
    far: float,
    numbers: np.ndarray,  # (F,)
    joins: bool,
    bound: float,
    most: int,
    slots: HashTable,
    squares: Squares,
    cells: BinCounts,
    are_classes: bool,
    without: np.ndarray,  # (S,), the columns that networks without the memory see
    inputs: np.ndarray,  # (M,)
    losses: np.ndarray,
    spread: np.ndarray,
    offset: float,
    planes: Any,  # M of them, of `gln_numba` as the networks
    networks: Any,
    learns: bool,
) -> tuple[np.ndarray, np.ndarray]:  # (C, 1), (1, N)
    """The combined predictions for a sample before it is learned, if this `learns`, and the rows that it picks."""
    # Long, because each function that calls the others would take a second to compile.
    context, _ = standardise(columns, standard, counts, floor, limit, far, limit, 0.0)
    targets, size = y.astype(np.float64), len(context)
    state = slots, squares, cells
    made, _ = predict_base_models(
        context, features, joins, bound, most, *state, are_classes, words, numbers, targets, share, learns
    )
    part, made_of_part, first, samples = context, made, len(made) - 2 * size, context.shape[1]
    if len(without) < size:
        part, made_of_part = np.empty((len(without), samples), np.float32), made[: first + 2 * len(without)].copy()
        for i in range(len(without)):
            for b in range(samples):
                part[i, b] = context[without[i], b]
        fill_distances(part, made_of_part[first:])
    count, models, heads = len(networks), slots.leaders.shape[1] + (len(squares.weights) > 0), len(y)
    predicted = np.empty((count + models, heads, samples), np.float32)
    first, neurons = 0, 0
    for network in networks:
        neurons += network.sizes.sum()
    picked = np.empty((neurons, samples), np.int64)
    for m, network in enumerate(networks):
        seen, mixes = (context, made) if planes[m][0].shape[2] == size else (part, made_of_part)
        z = read(mixes[len(mixes) - inputs[m] :], network.bias, network.bound)
        contexts = gate_block(*planes[m], seen, np.ascontiguousarray(seen.T))
        for j in range(len(contexts)):
            for b in range(samples):
                picked[first + j, b] = contexts[j, b]
        first += len(contexts)
        z = learn_block(network, z, contexts, y, rates[m])
        p = outputs(network, z)
        for c in range(heads):
            for b in range(samples):
                predicted[m, c, b] = p[c, b]
    add_linear_predictions(predicted, made[size : size + models * heads], are_classes)
    mixed = combine_by_losses(predicted, losses, offset, are_classes)
    if learns:
        fading_sums(log_or_squared_losses(predicted, y, are_classes), losses, spread, share, 1)
    return mixed, picked.T


@compiled
def turns(
    begin: int,
    columns: np.ndarray,  # (B, D)
    known: np.ndarray,  # (B, F)
    features: np.ndarray,  # (B, F)
    words: Any,
    targets: np.ndarray,  # (B, C)
    rates: np.ndarray,  # (B, M)
    step_sizes: np.ndarray,  # (B,)
    used: np.ndarray,  # (1,), slots
    most: float,
    no_target: np.ndarray,
    no_rates: np.ndarray,
    predicts: Any,
    learns: Any,
    said: np.ndarray,  # (B, C), filled
) -> int:
    """Predict and learn the samples from `begin` on; returns at which one more than `most` slots are used."""
    one = np.ones(1)
    for b in range(begin, len(columns)):
        if used[0] > most:
            return b
        x, own = columns[b].reshape((-1, 1)), features[b].reshape((-1, 1))
        p, _ = step(x, known[b].reshape((-1, 1)), words, no_target, no_rates, one, False, *predicts)
        said[b] = p[:, 0]
        step(
            x, own, words, targets[b].reshape((-1, 1)), rates[b].reshape((-1, 1)), step_sizes[b : b + 1], True, *learns
        )
    return len(columns)

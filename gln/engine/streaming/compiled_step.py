"""The compiled step of `gln.engine.streaming.step`: everything that a model does with a sample, in one loop.

It imports Numba, so others import this module when they need it.

Shapes: B samples, F features, D columns made from them, C heads of the means, K predicted values, M networks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gln.engine.base_models import online
from gln.engine.base_models.fading_bin_means import FadingBinMeans
from gln.engine.base_models.hashed_linear import HashedLinear, is_short, most_terms
from gln.engine.base_models.least_squares import LeastSquares
from gln.engine.batches import Words, repeats_of
from gln.engine.ensemble import combination, johnson_su
from gln.engine.jit import compiled
from gln.engine.networks import gate_counts
from gln.engine.preprocessing import scaling
from gln_numba import gate_block, learn_block, outputs, predicting, read

# Compiled functions, because what is a helper is compiled once more.
standardise = compiled(scaling.standardise)
base_predictions = compiled(online.predict_base_models)
add_linear_predictions = compiled(combination.add_linear_predictions)
mix = compiled(combination.mix)
follow = compiled(johnson_su.follow)
follow_shape = compiled(johnson_su.follow_shape)
repeats = compiled(repeats_of)
count_rows = compiled(gate_counts.count_rows)
add_counts = compiled(gate_counts.add_counts)


class EnsembleState(NamedTuple):
    networks: int  # how many
    free: int  # further heads of the networks, which wait for new classes
    combination: Any  # of `Combination.loop_state`
    offset: float  # of logits
    recent: np.ndarray  # (heads,), of variances, or (0,)


class State(NamedTuple):
    """What stays the same from sample to sample, and arrays that learning changes."""

    statistics: np.ndarray  # (7, D), of the standardizer
    floor: float
    limit: float
    far: float
    numbers: np.ndarray  # (F,), the column of each feature, -1 for a category
    linear: HashedLinear
    squares: LeastSquares
    bin_means: FadingBinMeans
    ensembles: Any  # tuple of `EnsembleState`
    shape: johnson_su.JohnsonSU  # of densities
    inputs: np.ndarray  # (M,), of each network
    # Tuples of M, and of more entries that do not count:
    planes: Any  # of `gln_numba`, as the networks
    networks: Any  # which learn
    counts: Any  # of `GateCounts`; empty for networks whose rows are not counted


class Batch(NamedTuple):
    columns: np.ndarray  # (D, B)
    features: np.ndarray  # (F, B)
    words: Words
    targets: np.ndarray  # (C, B) float32
    rates: np.ndarray  # (M, B) float32
    step_sizes: np.ndarray  # (B,)
    at_limits: np.ndarray  # (2, C, B), of `Units`, or (2, 0, 0) without variances
    # For each ensemble (M, C, B), what its models predicted when they were asked; NaN, or (0, 0, 0), if that is now.
    said: Any


@compiled
def run(
    batch: Batch,
    predicted: np.ndarray,  # (K, B), filled
    counted: np.ndarray,  # (C or 1, B), to which the counts of the rows are added that samples pick, unless this learns
    most: int,  # so many of the ensembles, the first ones, predict
    learns: bool,
    counts: bool,  # whether the standardizer is still to count them
    state: State,
) -> bool:
    """Predict samples or, if this `learns`, a single one, which is then learned.

    Heads with a target of infinity are left out. Returns False, and learns nothing, if linear models need more slots.
    """
    if learns and is_short(state.linear, most_terms(batch.words, 0, state.numbers, state.linear)):
        return False
    # Long, because each function that calls the others would take seconds to compile.
    features = batch.features
    words = batch.words
    step_sizes = batch.step_sizes
    options = state.floor, state.limit, state.far, state.limit, 0.0
    z, _ = standardise(batch.columns, state.statistics, counts and learns, False, False, *options)
    size, samples = z.shape
    targets = batch.targets
    y = batch.targets.astype(np.float64)
    models = (state.linear, state.squares, state.bin_means)
    are_classes = state.linear.are_classes
    base, _ = base_predictions(z, features, *models, words, state.numbers, y, step_sizes, learns)
    rows = np.ascontiguousarray(z.T)
    first = 0
    row = 0
    heads = len(targets)
    nothing = np.empty((heads, 0), np.float32)
    for e in range(most):
        ensemble = state.ensembles[e]
        are_variances = len(ensemble.recent) > 0
        model_values = np.empty((len(ensemble.combination[2]), heads, samples), np.float32)
        head_targets = targets
        others = len(model_values) - ensemble.networks - are_variances
        if are_variances:
            head_targets = np.empty((heads, samples), np.float32)
            bound = state.networks[first].bound
            for c, b in np.ndindex(head_targets.shape):  # as `Ensemble.deviations`
                deviation = min(max(abs(y[c, b] - predicted[c, b]), math.exp(-bound / 2)), bound)
                head_targets[c, b] = deviation if math.isfinite(y[c, b]) else y[c, b]
        network_targets = np.full((heads + ensemble.free, samples), np.float32(np.inf))
        network_targets[:heads] = head_targets
        for m in range(ensemble.networks):
            network = state.networks[first + m]
            planes = state.planes[first + m]
            network = network if learns else predicting(network)
            inputs = read(base[len(base) - state.inputs[first + m] :], network.bias, network.bound)
            contexts = gate_block(*planes, z, rows)
            learned = network, inputs, contexts, network_targets, batch.rates[first + m]
            p = outputs(network, learn_block(*learned))
            for _ in range(1, repeats(step_sizes[0]) if learns else 1):
                learn_block(*learned)
            for b in range(samples):
                for c in range(heads):
                    model_values[m, c, b] = p[c, b]
            if learns:
                count_rows(state.counts[first + m], contexts, targets)
            else:
                add_counts(state.counts[first + m], contexts, targets, counted)
        linear = base[size : size + others * heads]
        add_linear_predictions(model_values, ensemble.networks, linear, are_classes)
        if are_variances:
            recent = follow(head_targets if learns else np.full_like(head_targets, np.nan), ensemble.recent, step_sizes)
            for c, b in np.ndindex(recent.shape):
                model_values[-1, c, b] = recent[c, b]
        said = batch.said[e]
        if not learns and said.size > 0:
            said[:] = model_values
        elif said.size > 0:
            for m, c, b in np.ndindex(said.shape):
                model_values[m, c, b] = said[m, c, b] if said[m, c, b] == said[m, c, b] else model_values[m, c, b]
        learned_heads = head_targets if learns else nothing
        combined = mix(model_values, learned_heads, *ensemble.combination, ensemble.offset, step_sizes)
        for c in range(heads):
            for b in range(samples):
                predicted[row + c, b] = combined[c, b]
        if are_variances and learns:
            deviations = (y - predicted[:heads]) / np.sqrt(combined)
            follow_shape(deviations, batch.at_limits, state.shape, johnson_su.STEP, step_sizes)
        first = first + ensemble.networks
        row = row + heads
    return True

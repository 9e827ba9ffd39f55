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
from gln_numba import Layers, gate_block, learn_block, outputs, predicting, read

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


class FeatureState(NamedTuple):
    """A `StreamFeaturizer` as compiled loops take it."""

    statistics: np.ndarray  # (7, D), of the standardizer
    floor: float
    limit: float
    far: float
    numbers: np.ndarray  # (F,), the column of each feature, -1 for a category
    linear: HashedLinear
    squares: LeastSquares
    bin_means: FadingBinMeans


class EnsembleState(NamedTuple):
    networks: int  # how many
    free: int  # further heads of the networks, which wait for new classes
    combination: combination.CombinationState
    offset: float  # of logits
    recent: np.ndarray  # (heads,), of variances, or (0,)


class State(NamedTuple):
    """What stays the same from sample to sample, and arrays that learning changes."""

    featurizer: FeatureState
    ensembles: tuple[EnsembleState, ...]
    shape: johnson_su.JohnsonSU  # of densities
    sizes: np.ndarray  # (M,), the number of inputs of each network
    # Tuples of M, and of more entries that do not count:
    planes: tuple[Any, ...]  # of `gln_numba`, as the networks
    networks: tuple[Layers, ...]  # which learn
    counts: tuple[np.ndarray, ...]  # of `GateCounts`; empty for networks whose rows are not counted


class Batch(NamedTuple):
    columns: np.ndarray  # (D, B)
    features: np.ndarray  # (F, B)
    words: Words
    targets: np.ndarray  # (C, B) float32
    rates: np.ndarray  # (M, B) float32
    step_sizes: np.ndarray  # (B,)
    at_limits: np.ndarray  # (2, C, B), of `Units`, or (2, 0, 0) without variances
    # For each ensemble (M, C, B), what its models predicted earlier; NaN, or (0, 0, 0), if they predict now.
    earlier: tuple[np.ndarray, ...]


class Inputs(NamedTuple):
    """What networks read of samples, as in `NetworkInputs`."""

    z: np.ndarray  # (D, B), standardised columns
    rows: np.ndarray  # (B, D), the same
    base: np.ndarray  # (K, B), of which networks mix the last rows


@compiled
def run(
    batch: Batch,
    predicted: np.ndarray,  # (C or 2 C, B), filled with predictions of the means, or of means and variances
    counted: np.ndarray,  # (C or 1, B), to which the counts of the rows are added that samples pick, unless this learns
    learns: bool,
    counts: bool,  # whether the standardizer is still to count them
    state: State,
) -> bool:
    """Predict samples or, if this `learns`, a single one, which is then learned.

    Heads with a target of infinity are left out. Returns False, and learns nothing, if linear models need more slots.
    """
    linear = state.featurizer.linear
    if learns and is_short(linear, most_terms(batch.words, 0, state.featurizer.numbers, linear)):
        return False
    inputs = read_samples(batch, state.featurizer, learns, counts)
    heads = len(batch.targets)
    first = 0
    for e in range(len(predicted) // heads):
        ensemble = state.ensembles[e]
        targets = targets_of(batch.targets, predicted, ensemble, state.networks[first].bound)
        values = np.empty((len(ensemble.combination.experts), heads, len(inputs.rows)), np.float32)
        for m in range(first, first + ensemble.networks):
            values[m - first] = run_network(
                state.networks[m],
                state.planes[m],
                state.counts[m],
                inputs,
                state.sizes[m],
                targets,
                batch.rates[m],
                batch.targets,
                counted,
                repeats(batch.step_sizes[0]) if learns else 0,
            )
        predict_others(values, inputs, targets, ensemble, batch.step_sizes, linear.are_classes, learns)
        predicted[e * heads : (e + 1) * heads] = combine(
            values, targets, batch.earlier[e], ensemble.combination, ensemble.offset, batch.step_sizes, learns
        )
        if learns and len(ensemble.recent) > 0:
            follow_density(predicted, batch.targets, batch.at_limits, state.shape, batch.step_sizes)
        first = first + ensemble.networks
    return True


# Each of these takes no more than it needs, because Numba compiles a function of many arrays for a second and longer.


@compiled
def read_samples(batch: Batch, state: FeatureState, learns: bool, counts: bool) -> Inputs:
    """Standardise samples, and predict them by base models, which learn them if this `learns`."""
    options = state.floor, state.limit, state.far, state.limit, 0.0
    z, _ = standardise(batch.columns, state.statistics, counts and learns, False, False, *options)
    models = (state.linear, state.squares, state.bin_means)
    y = batch.targets.astype(np.float64)
    base, _ = base_predictions(z, batch.features, *models, batch.words, state.numbers, y, batch.step_sizes, learns)
    return Inputs(z, np.ascontiguousarray(z.T), base)


@compiled
def targets_of(
    targets: np.ndarray,  # (C, B)
    means: np.ndarray,  # (C, B), as they were predicted
    ensemble: EnsembleState,
    bound: float,
) -> np.ndarray:
    """What the networks of an ensemble learn, (C + free, B): of variances, as `Ensemble.deviations`."""
    heads, samples = targets.shape
    learned = np.full((heads + ensemble.free, samples), np.float32(np.inf))
    learned[:heads] = targets
    if len(ensemble.recent) > 0:
        for c, b in np.ndindex(heads, samples):
            y = np.float64(targets[c, b])
            if math.isfinite(y):
                learned[c, b] = min(max(abs(y - means[c, b]), math.exp(-bound / 2)), bound)
    return learned


@compiled
def run_network(
    network: Layers,
    planes: tuple[np.ndarray, ...],
    counts: np.ndarray,  # of its rows
    inputs: Inputs,
    size: int,  # so many inputs, the last ones, are mixed
    targets: np.ndarray,  # (C + free, B)
    rates: np.ndarray,  # (B,)
    counted_targets: np.ndarray,  # (C, B), of the means
    counted: np.ndarray,
    times: int,  # that a single sample is learned; 0 to predict only
) -> np.ndarray:
    """The predictions of a network, (C, B), before it learns."""
    network = network if times > 0 else predicting(network)
    z = read(inputs.base[len(inputs.base) - size :], network.bias, network.bound)
    contexts = gate_block(*planes, inputs.z, inputs.rows)
    p = outputs(network, learn_block(network, z, contexts, targets, rates))
    for _ in range(1, times):
        learn_block(network, z, contexts, targets, rates)
    if times > 0:
        count_rows(counts, contexts, counted_targets)
    else:
        add_counts(counts, contexts, counted_targets, counted)
    return p[: len(counted_targets)]


@compiled
def predict_others(
    values: np.ndarray,  # (M, C, B), filled from the networks' on
    inputs: Inputs,
    targets: np.ndarray,  # (C + free, B)
    ensemble: EnsembleState,
    step_sizes: np.ndarray,  # (B,)
    are_classes: bool,
    learns: bool,
) -> None:
    """Fill in what linear models predict and, of variances, the fading mean of recent ones."""
    heads = values.shape[1]
    are_variances = len(ensemble.recent) > 0
    linear = inputs.base[len(inputs.z) :][: (len(values) - ensemble.networks - are_variances) * heads]
    add_linear_predictions(values, ensemble.networks, linear, are_classes)
    if are_variances:
        deviations = targets if learns else np.full_like(targets, np.nan)
        values[-1] = follow(deviations[:heads], ensemble.recent, step_sizes)


@compiled
def combine(
    values: np.ndarray,  # (M, C, B), what the models predict
    targets: np.ndarray,  # (C + free, B)
    earlier: np.ndarray,  # (M, C, B), as in `Batch`; filled unless this learns
    state: combination.CombinationState,
    offset: float,
    step_sizes: np.ndarray,  # (B,)
    learns: bool,
) -> np.ndarray:
    """The combined predictions, (C, B); if this `learns`, from what the models predicted earlier."""
    if earlier.size > 0 and not learns:
        earlier[:] = values
    elif earlier.size > 0:
        for m, c, b in np.ndindex(earlier.shape):
            if earlier[m, c, b] == earlier[m, c, b]:
                values[m, c, b] = earlier[m, c, b]
    heads = values.shape[1]
    return mix(values, targets[:heads] if learns else np.empty((heads, 0), np.float32), state, offset, step_sizes)


@compiled
def follow_density(
    predicted: np.ndarray,  # (2 C, B), means and variances
    targets: np.ndarray,  # (C, B)
    at_limits: np.ndarray,  # (2, C, B)
    shape: johnson_su.JohnsonSU,
    step_sizes: np.ndarray,  # (B,)
) -> None:
    """Let the shape of densities follow the deviations from the means, in standard deviations."""
    deviations = np.empty(targets.shape)
    for c, b in np.ndindex(targets.shape):
        error = np.float64(targets[c, b]) - predicted[c, b]
        deviations[c, b] = error / math.sqrt(predicted[len(targets) + c, b])
    follow_shape(deviations, at_limits, shape, johnson_su.STEP, step_sizes)

"""Learn a table: `fit_table` is the recipe, the functions below it are its steps in this order.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), D columns made from the features,
E bin means, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from tqdm import tqdm

from gln.engine.base_models.bin_means import fit_bin_means
from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.model.featurizers import Featurizer
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY, log_share, some_heads
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import RATES, linear_rate
from gln.engine.networks.surgery import start_at
from gln.engine.networks.tree_halfspaces import Halfspaces, chosen_halfspaces, samples_for
from gln.engine.preprocessing.basis_expansion import NO_PIECES, quantile_pieces
from gln.engine.preprocessing.scaling import OF_FEATURES, Standardizer
from gln.engine.preprocessing.sparse_scaling import SparseScaler
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.tabular.cross_fitting import (
    MOST_ROWS,
    TableBlocks,
    draw_folds,
    fit_densities,
    fit_stacking,
    held_out_folds,
    kinds_of,
    out_of_fold,
)

# A sparse table of more than WIDE features, such as texts, stays sparse. Its networks are single neurons without
# halfspaces: a word is missing from most texts, so halfspaces hardly split them, and layers above the first overfit.
WIDE = 1000
IN_MEMORY = 1 << 27  # standardised numbers that are kept; those of a larger table are made anew for each chunk
FEWEST_ROWS, MOST_OF_SAMPLE, VALUES = 500, 5000, 10**7  # of `sample_rows`; and most values in total
ENCODED_RATE = 3.0  # factor of the learning rate of networks that also mix encodings


class TrainingTable(NamedTuple):
    """What there is to learn."""

    X: Any  # (N, F), dense or sparse, with codes for categories
    indices: np.ndarray  # (V,), the sample of each row
    targets: np.ndarray  # (V,) class numbers, or (T, V) numbers
    step_sizes: np.ndarray  # (V,), the fraction of a step that each row makes
    copies: np.ndarray  # (V,), equal for rows of one sample and of its copies
    levels: Mapping[int, int]  # how many levels each category has, by feature
    outputs: int  # the number of classes or targets


class Training(NamedTuple):
    """How to learn it."""

    passes: int
    batch_size: int
    shuffle: bool
    seconds: float  # approximate limit, infinite for none
    n_jobs: int | None
    verbose: bool
    random_state: Any


def is_wide(X: Any, levels: Mapping[int, Any]) -> bool:  # (N, F)
    return issparse(X) and X.shape[1] > WIDE and not levels


def fit_table(
    table: TrainingTable, ensembles_for: Callable[[Featurizer], list[Ensemble]], training: Training
) -> tuple[Learner, int]:
    """The learner of a table, and the passes that every network completed.

    Each network holds out one fold of the table. From its predictions there come stacking weights and, with densities,
    the deviations that the networks of variances learn. `ensembles_for` returns new networks for a featurizer.
    """
    start = time.monotonic()
    targets, y = standardised_targets(table.targets)
    featurizer, blocks = make_blocks(table, y, training)
    learner = Learner(featurizer, targets, ensembles_for(featurizer))
    if table.targets.ndim == 1 and table.outputs >= MANY:
        start_at_rates(learner.networks, y)
    halfspaces_between_samples(learner, blocks)
    training = training._replace(seconds=time_left(training.seconds, start) / len(learner.networks))
    ensembles = learner.ensembles[: len(learner.ensembles) - learner.has_densities]
    folds = draw_folds(y, blocks.copies, np.random.RandomState(ensembles[0].networks[0].seed))
    passes = train(
        featurizer, [(ensemble, targets_for(ensemble, y)) for ensemble in ensembles], blocks, folds, training
    )
    for ensemble in ensembles:
        ensemble.combination = fit_stacking(featurizer, ensemble, targets_for(ensemble, y), blocks, folds)
    if learner.has_densities:
        passes = min(passes, fit_variances(learner, y, blocks, folds, training))
    count_gates(learner, blocks)
    return learner, passes


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


# ---- Targets and blocks ----------------------------------------------------------------------------------------------


def standardised_targets(targets: np.ndarray) -> tuple[Classes | Numbers, np.ndarray]:
    """What the learner predicts, and what it learns: class numbers (V,) as they are, or standardised numbers (T, V)."""
    if targets.ndim == 1:
        return Classes(), targets
    numbers = Numbers.of_stream(len(targets))
    numbers.standardizer.fit(targets)
    return numbers, numbers.standardizer.transform(targets)


def targets_for(ensemble: Ensemble, y: np.ndarray) -> np.ndarray:
    """The targets of an ensemble, (V,) for a single one: class numbers (V,), or numbers (T, V) -> (V,) or (T, V)."""
    if ensemble.target is not None:  # of quantiles
        return y[ensemble.target]
    return y[0] if y.ndim == 2 and len(y) == 1 else y


def make_blocks(table: TrainingTable, y: np.ndarray, training: Training) -> tuple[Featurizer, TableBlocks]:
    """The featurizer of a table, and the blocks that it makes of all samples, out of fold where it uses targets `y`."""
    if is_wide(table.X, table.levels):
        scaler = SparseScaler(table.X.shape[1])
        scaler.fit(table.X.T, table.indices)
        columns = scaler.transform(table.X.T).T
        blocks = TableBlocks(columns, None, table.indices, table.step_sizes, table.copies)
        return Featurizer(scaler, distances=False), blocks
    blocks = TableBlocks(table.X, None, table.indices, table.step_sizes, table.copies)
    mixes_encodings = table.targets.ndim == 2 or table.outputs < MANY
    bin_means = categories = None
    if mixes_encodings:
        rng = check_random_state(training.random_state)
        folds = draw_folds(y, table.copies, rng)
        bin_means, values = fit_bin_means(table.X, table.indices, y, table.step_sizes, folds, table.levels, rng)
        blocks = blocks._replace(bin_means=values)
    if table.levels:
        categories = TargetEncoding.of_numbers(table.X.shape[1], table.outputs, y.ndim == 1).of_table(table.levels)
        rng = check_random_state(training.random_state) if training.shuffle else None
        blocks = encode_categories(categories, blocks, y, rng)
    standardizer = Standardizer(blocks.columns.shape[1], **OF_FEATURES)
    standardizer.fit(blocks.columns.T, blocks.indices)
    blocks = blocks._replace(standardizer=standardizer)
    if np.prod(blocks.columns.shape) <= IN_MEMORY:
        blocks = blocks._replace(columns=standardised(blocks.columns, standardizer), standardizer=None)
    pieces = quantile_pieces(blocks.read(sample_rows(blocks), bin_means=False)) if mixes_encodings else NO_PIECES
    return Featurizer(standardizer, categories, pieces=pieces, cells=bin_means), blocks


def encode_categories(
    categories: TargetEncoding, blocks: TableBlocks, y: np.ndarray, rng: np.random.RandomState | None
) -> TableBlocks:
    """The blocks with categories as columns. Statistics are counted in random order, or in the table's if `rng` is
    None, each sample's before it is counted itself.

    Copies of a sample are counted once, so that its own target does not leak into it.
    """
    samples, _ = pd.factorize(blocks.copies)  # numbered in the order of their first rows
    first = np.unique(samples, return_index=True)[1]
    indices, weights = blocks.indices[first], np.bincount(samples, blocks.step_sizes)
    columns = np.empty((len(first), len(categories.columns)), blocks.columns.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for chunk in (order[part] for part in chunks(len(order))):
        features = blocks.columns[indices[chunk]].T
        columns[chunk] = categories.learn(features, y[..., first[chunk]], weights[chunk]).T
    bin_means = None if blocks.bin_means is None else blocks.bin_means[indices]
    return blocks._replace(columns=columns, bin_means=bin_means, indices=samples)


def standardised(columns: Any, standardizer: Standardizer) -> np.ndarray:  # (N, D), maybe sparse -> (N, D) float32
    found = np.empty(columns.shape, np.float32)
    for chunk in chunks(len(found)):
        found[chunk] = standardizer.transform(columns[chunk].T).T
    return found


def sample_rows(blocks: TableBlocks) -> np.ndarray:
    """Rows that encodings and halfspaces are placed by."""
    most = np.clip(VALUES // blocks.columns.shape[1], FEWEST_ROWS, MOST_OF_SAMPLE)
    return spread(len(blocks.indices), int(most))


# ---- Networks before they learn --------------------------------------------------------------------------------------


def start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class; a class without rows, of weight 0, counts as half a row."""
    counts = np.bincount(classes, minlength=networks[0].num_classes)
    rates = counts.clip(0.5, len(classes) - 0.5) / len(classes)
    for network in networks:
        start_at(network, np.log(rates / (1 - rates)) - log_share(len(rates)))


def halfspaces_between_samples(learner: Learner, blocks: TableBlocks) -> None:
    """Place the halfspaces of networks without encodings between samples; `train` chooses those of the others."""
    z = blocks.read(sample_rows(blocks), bin_means=False)
    if issparse(z) or z.shape[1] == 1:
        return
    for network in learner.networks:
        if not learner.featurizer.encodes(network):
            network.fit_hyperplanes(z)


# ---- Training --------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A network to train on all folds but one."""

    network: Network
    targets: np.ndarray  # (..., V)
    folds: np.ndarray  # (V,)
    held_out: int

    @property
    def rows(self) -> np.ndarray:
        """The rows that the network learns."""
        return np.flatnonzero(self.folds != self.held_out)


def train(
    featurizer: Featurizer,
    ensembles: list[tuple[Ensemble, np.ndarray]],
    blocks: TableBlocks,
    folds: np.ndarray,
    training: Training,
) -> int:
    """Train the networks of ensembles, each with its targets. `training.seconds` are those of a network on average.

    Returns the passes that every network completed.
    """
    jobs = [
        Job(network, targets, folds, fold)
        for ensemble, targets in ensembles
        for network, fold in zip(ensemble.networks, held_out_folds(ensemble), strict=True)
    ]
    start = time.monotonic()
    workers = effective_n_jobs(training.n_jobs)
    choose_halfspaces([job for job in jobs if featurizer.encodes(job.network)], blocks, featurizer, training.n_jobs)
    seconds = time_left(training.seconds * len(jobs), start)
    training = training._replace(seconds=seconds * min(1, workers / len(jobs)))  # of all, to that of each
    total = training.passes * sum(len(job.rows) for job in jobs)
    with tqdm(total=total, unit=" samples", disable=not training.verbose) as bar:
        if workers == 1:  # in this process, whatever joblib's configuration
            for job in jobs:
                train_network(job, blocks, featurizer, training, bar.update)
        else:
            states = Parallel(training.n_jobs)(
                delayed(train_network)(job, blocks, featurizer, training) for job in jobs
            )
            for job, state in zip(jobs, states, strict=True):
                job.network.set_state(state)
            bar.update(bar.total)
    return min(int(job.network.step) // max(1, len(job.rows)) for job in jobs)


def choose_halfspaces(jobs: list[Job], blocks: TableBlocks, featurizer: Featurizer, n_jobs: int | None) -> None:
    """Give networks the halfspaces of trees that fit the table."""
    jobs = [job for job in jobs if job.network.context_map_size > 0]
    if effective_n_jobs(n_jobs) == 1:  # in this process, whatever joblib's configuration
        chosen = [tree_halfspaces(job, blocks, featurizer) for job in jobs]
    else:
        chosen = Parallel(n_jobs)(delayed(tree_halfspaces)(job, blocks, featurizer) for job in jobs)
    for job, halfspaces in zip(jobs, chosen, strict=True):
        state, ends = dict(job.network.get_state(copy=False)), np.cumsum(job.network.layer_sizes)[:-1]
        for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
            state |= {f"{name}.{layer}": of_layer for layer, of_layer in enumerate(np.split(array, ends), 1)}
        job.network.set_state(state)


def tree_halfspaces(job: Job, blocks: TableBlocks, featurizer: Featurizer) -> Halfspaces:
    """Halfspaces chosen by some of the rows that a network will learn."""
    config = job.network.config
    rows = np.random.RandomState(config.seed).permutation(job.rows)[: samples_for(config.context_map_size)]
    z = blocks.read(rows, bin_means=False)
    return chosen_halfspaces(config, z, job.targets[..., rows], blocks.step_sizes[rows])


def train_network(
    job: Job,
    blocks: TableBlocks,
    featurizer: Featurizer,
    training: Training,
    update: Callable[[int], Any] | None = None,
) -> Any:
    """Train a network for some passes over its rows, for at most so many seconds.

    `update` is called with the number of rows learned. None means that this is another process: return the state.
    """
    network, rows, encodes = job.network, job.rows, featurizer.encodes(job.network)
    planned, start = training.passes * len(rows), time.monotonic()
    first, last = RATES[network.config.loss].of_table
    first *= ENCODED_RATE if encodes else 1
    for learned, chunk in chunks_of_passes(rows, training, network.seed):
        passed = (time.monotonic() - start) / training.seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        rates = linear_rate(np.arange(len(chunk)) + max(learned, passed * planned), planned, first, last)
        rates = rates.astype(np.float32) if network.has_default_rate else network.rates(len(chunk))
        rates = (rates * blocks.step_sizes[chunk]).astype(np.float32)
        inputs = featurizer.read(network, blocks.read(chunk, encodes))
        base, context, targets, _ = network.prepare(*inputs, job.targets[..., chunk])
        targets = some_heads(targets, int(network.step)) if network.config.logits else targets
        network.predict_arrays(base, context, targets, rates, training.batch_size)
        if update is not None:
            update(len(chunk))
    return network.get_state() if update is None else None


def chunks_of_passes(rows: np.ndarray, training: Training, seed: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of all passes in whole batches, with the number before them."""
    rng = np.random.RandomState(seed)
    for number in range(training.passes):
        order = rows[rng.permutation(len(rows))] if training.shuffle else rows
        for chunk in chunks(len(rows), training.batch_size):
            yield number * len(rows) + chunk.start, order[chunk]


# ---- After training --------------------------------------------------------------------------------------------------


def fit_variances(learner: Learner, y: np.ndarray, blocks: TableBlocks, folds: np.ndarray, training: Training) -> int:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    out of fold. Fits their stacking weights and the shape of densities, and returns the completed passes."""
    featurizer, means, variances = learner.featurizer, learner.ensembles[0], learner.ensembles[-1]
    rows, outputs = out_of_fold(featurizer, means, blocks, folds)
    weights = np.stack([means.combination.weights[kind].sum(axis=0) for kind in kinds_of(means)])
    predicted, bound = means.combination._replace(weights=weights).of(outputs), means.networks[0].bound
    deviations = (y[:, rows] - predicted).clip(-bound, bound).astype(np.float32)
    blocks = blocks.take(rows)
    folds = draw_folds(deviations, blocks.copies, np.random.RandomState(variances.networks[0].seed))
    passes = train(featurizer, [(variances, targets_for(variances, deviations))], blocks, folds, training)
    variances.combination, variances.shape = fit_densities(featurizer, variances, deviations, blocks, folds)
    return passes


def count_gates(learner: Learner, blocks: TableBlocks) -> None:
    """Count which weight rows of the networks are picked by at most MOST_ROWS rows."""
    learner.start_counting()
    rows = spread(len(blocks.indices), MOST_ROWS)
    for chunk in chunks(len(rows)):
        learner.count(blocks.read(rows[chunk], bin_means=False))

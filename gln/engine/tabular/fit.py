"""Learn a table: `fit_table` is the recipe, and the functions below it are its steps.

Shapes: V rows to learn (a sample of weight 2 is two of them), T targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from tqdm import tqdm

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import log_sampling_rate, sample_heads
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import RATES, linear_rate
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.networks.tree_halfspaces import Halfspaces, choose_halfspaces, max_samples
from gln.engine.tabular.blocks import TableBlocks, TrainingTable, make_blocks, placing_rows
from gln.engine.tabular.cross_fitting import (
    MOST_ROWS,
    draw_folds,
    fit_densities,
    held_out_folds,
    indices_by_role,
    out_of_fold,
    stacked,
)

EXPANDED_RATE = 3.0  # factor of the learning rate of networks that also mix expansions and bin means


class Training(NamedTuple):
    """How to train networks."""

    passes: int
    batch_size: int
    shuffle: bool
    seconds: float  # approximate limit, infinite for none
    n_jobs: int | None
    verbose: bool


def fit_table(
    table: TrainingTable,
    new_learner: Callable[[Any, Any], Learner],
    training: Training,
    random_state: Any,
) -> tuple[Learner, int]:
    """The learner of a table, and the passes that every network completed.

    Each network holds out one fold of the table. Its predictions there give it a stacking weight and, with densities,
    the deviations that the networks of variances learn. `new_learner` makes a learner of a featurizer and targets.
    """
    start = time.monotonic()
    y, targets = table.targets, Classes() if table.targets.ndim == 1 else Numbers.of_stream(table.outputs)
    if isinstance(targets, Numbers):
        targets.standardizer.fit(y)
        y = targets.standardizer.transform(y)
    rng, encoding_rng = check_random_state(random_state), check_random_state(random_state)
    bin_folds = draw_folds(y, table.copies, rng)
    blocks = make_blocks(table, y, bin_folds, rng, encoding_rng if training.shuffle else None)
    learner = new_learner(blocks.featurizer, targets)
    if table.has_many_classes:
        start_at_rates(learner.networks, y)
    place_halfspaces(learner, blocks)
    training = training._replace(seconds=time_left(training.seconds, start) / len(learner.networks))
    # With the folds of the bin means, the mean loss of 24 tables is no lower: 0.4313 instead of 0.4306.
    folds = draw_folds(y, table.copies, np.random.RandomState(learner.networks[0].seed))
    ensembles = [learner.means, *learner.quantiles]
    jobs = [job for ensemble in ensembles for job in jobs_of(ensemble, y, folds)]
    passes = train(jobs, blocks, training)
    for ensemble in ensembles:
        ensemble.combination = stacked(ensemble, targets_of(ensemble, y), blocks, folds)
    if learner.variances is not None:
        passes = min(passes, fit_variances(learner.means, learner.variances, y, blocks, folds, training))
    learner.start_counting()
    rows = spread(len(blocks.indices), MOST_ROWS)
    for chunk in chunks(len(rows)):
        learner.count(blocks.columns_of(rows[chunk]))
    return learner, passes


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


# ---- Before training -------------------------------------------------------------------------------------------------


def targets_of(ensemble: Ensemble, y: np.ndarray) -> np.ndarray:  # (V,) or (T, V) -> (V,) or (T, V)
    """What the networks of an ensemble learn."""
    if ensemble.target is not None:  # of quantiles
        return y[ensemble.target]
    return y[0] if y.ndim == 2 and len(y) == 1 else y


def start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class; a class without rows, of weight 0, counts as half a row."""
    counts = np.bincount(classes, minlength=networks[0].num_classes)
    rates = counts.clip(0.5, len(classes) - 0.5) / len(classes)
    for network in networks:
        set_initial_logits(network, np.log(rates / (1 - rates)) - log_sampling_rate(len(rates)))


def place_halfspaces(learner: Learner, blocks: TableBlocks) -> None:
    """Place halfspaces between samples, but for networks whose halfspaces `train` chooses, and for wide tables."""
    columns = blocks.columns_of(placing_rows(blocks))
    if issparse(columns) or columns.shape[1] == 1:
        return
    for ensemble in learner.ensembles:
        for network, role in ensemble.members:
            if role != EXPANDED:
                network.fit_hyperplanes(columns)


# ---- Training --------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A network to train."""

    member: Member
    targets: np.ndarray  # (..., V)
    rows: np.ndarray  # (n,), of all folds but the one that the network holds out


def jobs_of(ensemble: Ensemble, y: np.ndarray, folds: np.ndarray) -> list[Job]:
    targets, pairs = targets_of(ensemble, y), zip(ensemble.members, held_out_folds(ensemble), strict=True)
    return [Job(member, targets, np.flatnonzero(folds != held_out)) for member, held_out in pairs]


def train(jobs: list[Job], blocks: TableBlocks, training: Training) -> int:
    """Train networks, each for `training.seconds` on average. Returns the passes that all of them completed."""
    start = time.monotonic()
    workers = effective_n_jobs(training.n_jobs)
    place_tree_halfspaces(jobs, blocks, training.n_jobs)
    seconds = time_left(training.seconds * len(jobs), start)
    training = training._replace(seconds=seconds * min(1, workers / len(jobs)))  # of all, to that of each
    total = training.passes * sum(len(job.rows) for job in jobs)
    with tqdm(total=total, unit=" samples", disable=not training.verbose) as bar:
        if workers == 1:  # in this process, whatever joblib's configuration
            for job in jobs:
                train_network(job, blocks, training, bar.update)
        else:
            states = Parallel(training.n_jobs)(delayed(train_network)(job, blocks, training) for job in jobs)
            for job, state in zip(jobs, states, strict=True):
                job.member.network.set_state(state)
            bar.update(bar.total)
    return min(int(job.member.network.step) // max(1, len(job.rows)) for job in jobs)


def place_tree_halfspaces(jobs: list[Job], blocks: TableBlocks, n_jobs: int | None) -> None:
    """Give networks that also mix expansions the halfspaces of trees that fit the table."""
    jobs = [job for job in jobs if job.member.role == EXPANDED and job.member.network.context_map_size > 0]
    if effective_n_jobs(n_jobs) == 1:  # in this process, whatever joblib's configuration
        chosen = [tree_halfspaces(job, blocks) for job in jobs]
    else:
        chosen = Parallel(n_jobs)(delayed(tree_halfspaces)(job, blocks) for job in jobs)
    for job, halfspaces in zip(jobs, chosen, strict=True):
        state, ends = dict(job.member.network.get_state(copy=False)), np.cumsum(job.member.network.layer_sizes)[:-1]
        for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
            state |= {f"{name}.{layer}": of_layer for layer, of_layer in enumerate(np.split(array, ends), 1)}
        job.member.network.set_state(state)


def tree_halfspaces(job: Job, blocks: TableBlocks) -> Halfspaces:
    """Halfspaces chosen by some of the rows that a network will learn."""
    config = job.member.network.config
    rows = np.random.RandomState(config.seed).permutation(job.rows)[: max_samples(config.context_map_size)]
    return choose_halfspaces(config, blocks.columns_of(rows), job.targets[..., rows], blocks.step_sizes[rows])


def train_network(job: Job, blocks: TableBlocks, training: Training, update: Callable[[int], Any] | None = None) -> Any:
    """Train a network for some passes over its rows, for at most so many seconds.

    `update` is called with the number of rows learned. None means that this is another process: return the state.
    """
    network, rows, expands = job.member.network, job.rows, job.member.role == EXPANDED
    planned, start = training.passes * len(rows), time.monotonic()
    first, last = RATES[network.config.loss].table
    first *= EXPANDED_RATE if expands else 1
    for learned, chunk in chunks_of_passes(rows, training, network.seed):
        passed = (time.monotonic() - start) / training.seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        rates = linear_rate(np.arange(len(chunk)) + max(learned, passed * planned), planned, first, last)
        rates = rates.astype(np.float32) if network.has_default_rate else network.rates(len(chunk))
        rates = (rates * blocks.step_sizes[chunk]).astype(np.float32)
        inputs = blocks.read(chunk, expands).of(job.member)
        base, context, targets, _ = network.prepare(*inputs, job.targets[..., chunk])
        targets = sample_heads(targets, int(network.step)) if network.config.logits else targets
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


# ---- Variances -------------------------------------------------------------------------------------------------------


def fit_variances(
    means: Ensemble,
    variances: Ensemble,
    y: np.ndarray,
    blocks: TableBlocks,
    folds: np.ndarray,
    training: Training,
) -> int:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    out of fold. Fits their stacking weights and the shape of densities, and returns the completed passes."""
    rows, outputs = out_of_fold(means, blocks, folds)
    weights = np.stack([means.combination.weights[indices].sum(axis=0) for indices in indices_by_role(means)])
    predicted, bound = means.combination._replace(weights=weights).combine(outputs), means.networks[0].bound
    deviations = (y[:, rows] - predicted).clip(-bound, bound).astype(np.float32)
    blocks, rng = blocks.take(rows), np.random.RandomState(variances.networks[0].seed)
    folds = draw_folds(deviations, blocks.copies, rng)  # other ones, because these rows may be of few folds
    passes = train(jobs_of(variances, deviations, folds), blocks, training)
    variances.combination, variances.shape = fit_densities(variances, deviations, blocks, folds)
    return passes

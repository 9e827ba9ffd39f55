"""Learn a table: count it, train the networks, and learn how to combine them.

Each network leaves out one part of the table. On the samples that networks left out, their weights are learned.

Shapes: N samples, F features, V visits of samples, M networks of a group, G kinds of networks, C heads, T targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from gln.engine.base_models.bin_means import BinMeans, fit_bin_means
from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes
from gln.engine.networks.head_sampling import MANY_CLASSES, log_sampling_rate, sample_heads
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import RATES, linear_rate
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.networks.tree_halfspaces import Halfspaces, choose_halfspaces, max_samples
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.tabular.cross_fitting import (
    CALIBRATED_ON,
    Table,
    blend_of,
    densities_of,
    kinds_of,
    left_out_by,
    of_left_out,
    parts_of_table,
    shares_of,
)


def with_columns(
    categories: TargetEncoding, table: Table, targets: np.ndarray, rng: np.random.RandomState | None
) -> Table:
    """The table with categories as columns. Statistics are counted in random order, or in the table's if `rng` is None.

    Copies of a sample are counted once, so that its own target does not leak into it.
    """
    visits, _ = pd.factorize(table.copies)  # the samples in the order of their first visits
    first = np.unique(visits, return_index=True)[1]
    weights = np.bincount(visits, table.step_sizes)
    columns = np.empty((len(first), len(categories.columns)), table.X.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for some in (order[part] for part in chunks(len(order))):
        columns[some] = categories.learn(table.samples(first[some]), targets[..., first[some]], weights[some]).T
    cells = None if table.cells is None else table.cells[table.rows[first]]
    return table._replace(X=columns, rows=visits, cells=cells)


def with_cells(
    table: Table, levels: Mapping[int, int], targets: np.ndarray, rng: np.random.RandomState
) -> tuple[Table, BinMeans | None]:
    """The table with what cells say of its samples, and the cells; see `fit_bin_means`."""
    classes = targets if targets.ndim == 1 else np.zeros(targets.shape[1], int)
    folds, weights = parts_of_table(classes, table.copies, rng), shares_of(table, np.arange(len(classes)))
    cells, said = fit_bin_means(table.X, table.rows, targets, weights, folds, levels, rng)
    return table._replace(cells=said), cells


def fit_table(learner: Learner, table: Table, training: Training) -> int:
    """Train each network on all but one part of a table, then learn the networks' weights on the parts left out.

    The variances are learned last, from the deviations of the samples that the networks of the means left out. In the
    end, rows that samples pick are counted. Returns the passes that every network completed.
    """
    first = learner.means
    if isinstance(learner.targets, Classes):
        if first.heads >= MANY_CLASSES:
            _start_at_rates(first.networks, table.targets)
        targets, classes = [table.targets], table.targets
    else:
        own = learner.targets.standardizer.transform(table.targets)
        targets, classes = [_for_heads(own), *own], np.zeros(own.shape[1], int)
    ensembles = list(zip([learner.means, *learner.quantiles], targets, strict=False))
    parts, passes = train(ensembles, classes, learner.featurizer, table, training)
    for ensemble, own_targets in ensembles:
        ensemble.combination = blend_of(learner.featurizer, ensemble, own_targets, table, parts)
    if learner.variances is not None:
        passes = min(passes, _fit_variances(learner, own, table, parts, training))
    learner.start_counting()
    some = spread(len(table.rows), CALIBRATED_ON)
    for part in chunks(len(some)):
        learner.count(table.read(learner.featurizer, some[part], expands=False).columns)
    return passes


def _start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class; a class without visits, of weight 0, counts as half a visit."""
    counts = np.bincount(classes, minlength=networks[0].num_classes)
    rates = counts.clip(0.5, len(classes) - 0.5) / len(classes)
    for network in networks:
        set_initial_logits(network, np.log(rates / (1 - rates)) - log_sampling_rate(len(rates)))


def _fit_variances(learner: Learner, targets: np.ndarray, table: Table, parts: np.ndarray, training: Training) -> int:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    by networks that left out the sample's part of the table (V,). Learns their blend and the shape of densities, and
    returns the completed passes."""
    means, variances = learner.means, learner.variances
    bound = means.networks[0].bound
    visits, mixed = of_left_out(learner.featurizer, means, table, parts)
    of_means, kinds = means.combination, kinds_of(means.networks)
    of_kinds = of_means._replace(weights=np.stack([of_means.weights[kind].sum(axis=0) for kind in kinds]))
    deviations = (targets[:, visits] - of_kinds.combine(mixed)).clip(-bound, bound).astype(np.float32)
    step_sizes = None if table.step_sizes is None else table.step_sizes[visits]
    rest = table._replace(rows=table.rows[visits], step_sizes=step_sizes, copies=table.copies[visits])
    ensemble = [(variances, _for_heads(deviations))]
    parts, passes = train(ensemble, np.zeros(len(visits), int), learner.featurizer, rest, training)
    variances.combination, variances.shape = densities_of(learner.featurizer, variances, deviations, rest, parts)
    return passes


def _for_heads(targets: np.ndarray) -> np.ndarray:  # (T, V) -> (T, V), or (V,) for one head
    return targets if len(targets) > 1 else targets[0]


ENCODED_RATE = 3.0  # factor of the learning rate of networks that also mix encodings


class Training(NamedTuple):
    """How to train networks on a table."""

    passes: int
    batch_size: int
    shuffle: bool
    seconds: float  # approximate limit, for each network on average
    n_jobs: int | None
    verbose: bool


class Job(NamedTuple):
    member: Member
    targets: np.ndarray  # (..., V)
    parts: np.ndarray  # (V,), the part of the table that each visit is in
    left_out: int  # the part that the network does not learn


def train(
    ensembles: list[tuple[Ensemble, np.ndarray]],
    classes: np.ndarray,
    featurizer: Any,
    table: Table,
    training: Training,
) -> tuple[np.ndarray, int]:
    """Train each network on all but one part of a table; each group comes with its targets.

    Parts are stratified by `classes` (V,). Returns the part of each visit, (V,), and the passes that all completed.
    """
    parts = parts_of_table(classes, table.copies, np.random.RandomState(ensembles[0][0].networks[0].seed))
    jobs = [
        Job(member, own, parts, part)
        for ensemble, own in ensembles
        for member, part in zip(ensemble.members, left_out_by(ensemble), strict=True)
    ]
    start = time.monotonic()
    _choose_halfspaces(jobs, table, featurizer, training.n_jobs)
    _train_all(jobs, table, featurizer, training._replace(seconds=time_left(training.seconds * len(jobs), start)))
    return parts, min(int(job.member.network.step) // max(1, int((parts != job.left_out).sum())) for job in jobs)


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


def _choose_halfspaces(jobs: list[Job], table: Table, featurizer: Any, n_jobs: int | None) -> None:
    """Give the networks that mix encodings and cells halfspaces that suit the table."""
    jobs = [job for job in jobs if job.member.role == EXPANDED and job.member.network.context_map_size > 0]
    if effective_n_jobs(n_jobs) == 1:  # in this process, whatever joblib's configuration
        chosen = [_halfspaces_for(job, table, featurizer) for job in jobs]
    else:
        chosen = Parallel(n_jobs)(delayed(_halfspaces_for)(job, table, featurizer) for job in jobs)
    for job, halfspaces in zip(jobs, chosen, strict=True):
        state, ends = dict(job.member.network.get_state(copy=False)), np.cumsum(job.member.network.layer_sizes)[:-1]
        for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
            state |= {f"{name}.{layer}": own for layer, own in enumerate(np.split(array, ends), 1)}
        job.member.network.set_state(state)


def _halfspaces_for(job: Job, table: Table, featurizer: Any) -> Halfspaces:
    """Halfspaces chosen by some of the visits that a network will learn."""
    config = job.member.network.config
    visits = np.random.RandomState(config.seed).permutation(np.flatnonzero(job.parts != job.left_out))
    visits = visits[: max_samples(config.context_map_size)]
    z = table.read(featurizer, visits, expands=False).columns
    return choose_halfspaces(config, z, job.targets[..., visits], shares_of(table, visits))


def _train_all(jobs: list[Job], table: Table, featurizer: Any, training: Training) -> None:
    """Train all networks, in this process or in others."""
    workers = effective_n_jobs(training.n_jobs)
    training = training._replace(seconds=training.seconds * min(1, workers / len(jobs)))  # of all, to that of each
    total = training.passes * sum((job.parts != job.left_out).sum() for job in jobs)
    with tqdm(total=total, unit=" samples", disable=not training.verbose) as bar:
        if workers == 1:  # in this process, whatever joblib's configuration
            for job in jobs:
                _train(job, table, featurizer, training, bar.update)
        else:
            states = Parallel(training.n_jobs)(delayed(_train)(job, table, featurizer, training) for job in jobs)
            for job, state in zip(jobs, states, strict=True):
                job.member.network.set_state(state)
            bar.update(bar.total)


def _train(
    job: Job, table: Table, featurizer: Any, training: Training, update: Callable[[int], Any] | None = None
) -> Any:
    """Train a network for some passes over its visits, for at most so many seconds.

    `update` is called with the number of samples learned. None means that this is another process: return the state.
    """
    network, visits = job.member.network, np.flatnonzero(job.parts != job.left_out)
    rng, planned, start = np.random.RandomState(network.seed), training.passes * len(visits), time.monotonic()
    first, last = RATES[network.config.loss].table
    first *= ENCODED_RATE if job.member.role == EXPANDED else 1
    for learned, some in _order(visits, training, rng):
        passed = (time.monotonic() - start) / training.seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        done = np.arange(len(some)) + max(learned, passed * planned)
        falling = linear_rate(done, planned, first, last).astype(np.float32)
        rates = falling if network.has_default_rate else network.rates(len(some))
        rates = rates if table.step_sizes is None else (rates * table.step_sizes[some]).astype(np.float32)
        blocks = table.read(featurizer, some, job.member.role == EXPANDED)
        base, context, own, _ = network.prepare(*blocks.of(job.member), job.targets[..., some])
        own = sample_heads(own, int(network.step)) if network.config.logits else own
        network.predict_arrays(base, context, own, rates, training.batch_size)
        if update is not None:
            update(len(some))
    return network.get_state() if update is None else None


def _order(visits: np.ndarray, training: Training, rng: np.random.RandomState) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the visits of all passes in whole batches, with the number before them."""
    for number in range(training.passes):
        order = visits[rng.permutation(len(visits))] if training.shuffle else visits
        for part in chunks(len(visits), training.batch_size):
            yield number * len(visits) + part.start, order[part]

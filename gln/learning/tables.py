"""Learn a table in passes, in this process or in others, and then how to combine the networks.

Each network leaves out one part of the table. On the samples that networks left out, their weights are learned.

Shapes: N samples, F features, V visits of samples, M networks of a group, G kinds of networks, C heads, T targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from gln.learning.calibration import parts_of_table
from gln.learning.categories import Categories
from gln.learning.group import Group
from gln.learning.growth import start_at
from gln.learning.heads import join_heads, split_heads
from gln.learning.learner import Learner
from gln.learning.left_out import (
    CALIBRATED_ON,
    Table,
    blend_of,
    densities_of,
    kinds_of,
    left_out_by,
    of_left_out,
    spread,
)
from gln.learning.many import MANY, log_share, some_heads
from gln.learning.network import Network
from gln.learning.rates import RATES, linear_rate
from gln.learning.reading import Reading
from gln.learning.samples import chunks
from gln.learning.targets import Classes

__all__ = ["Table", "Training", "fit_table", "spread", "with_columns"]

ENCODED_RATE = 3.0  # factor of the learning rate of networks that also mix encodings


class Training(NamedTuple):
    """How to train networks on a table."""

    passes: int
    batch_size: int
    shuffle: bool
    seconds: float  # approximate limit, for all networks together
    n_jobs: int | None
    verbose: bool


class Job(NamedTuple):
    network: Network
    targets: np.ndarray  # (..., V)
    parts: np.ndarray  # (V,), the part of the table that each visit is in
    left_out: int  # the part that the network does not learn


def with_columns(categories: Categories, table: Table, targets: np.ndarray, rng: np.random.RandomState | None) -> Table:
    """The table with categories as columns. Statistics are counted in random order, or in the table's if `rng` is None.

    Copies of a sample are counted once, so that its own target does not leak into it.
    """
    visits, _ = pd.factorize(table.copies)  # the samples in the order of their first visits
    first = np.unique(visits, return_index=True)[1]
    weights = np.bincount(visits, table.shares)
    columns = np.empty((len(first), len(categories.columns)), table.X.dtype)
    order = np.arange(len(first)) if rng is None else rng.permutation(len(first))
    for some in (order[part] for part in chunks(len(order))):
        columns[some] = categories.learn(table.samples(first[some]), targets[..., first[some]], weights[some]).T
    return table._replace(X=columns, rows=visits)


def fit_table(learner: Learner, table: Table, training: Training) -> int:
    """Train each network on all but one part of a table, then learn the networks' weights on the parts left out.

    The variances are learned last, from the deviations of the samples that the networks of the means left out. In the
    end, rows that samples pick are counted. Returns the passes that every network completed.
    """
    first = learner.groups[0]
    if isinstance(learner.targets, Classes):
        if first.heads >= MANY:
            _start_at_rates(first.networks, table.targets)
        targets, classes = [table.targets], table.targets
    else:
        own = learner.targets.standardizer.transform(table.targets)
        targets, classes = [_for_heads(own), *own], np.zeros(own.shape[1], int)
    groups = list(zip(learner.groups[: len(learner.groups) - learner.has_densities], targets, strict=False))
    parts, passes = _fit_groups(groups, classes, learner, table, training)
    for group, own_targets in groups:
        group.combination = blend_of(learner.reading, group, own_targets, table, parts)
    if learner.has_densities:
        passes = min(passes, _fit_variances(learner, own, table, parts, training))
    learner.start_counting()
    some = spread(len(table.rows), CALIBRATED_ON)
    for part in chunks(len(some)):
        learner.count(table.samples(some[part]))
    return passes


def _start_at_rates(networks: Sequence[Network], classes: np.ndarray) -> None:  # (V,)
    """Make each head predict the rate of its class; a class without visits, of weight 0, counts as half a visit."""
    counts = np.bincount(classes, minlength=networks[0].num_classes)
    rates = counts.clip(0.5, len(classes) - 0.5) / len(classes)
    for network in networks:
        start_at(network, np.log(rates / (1 - rates)) - log_share(len(rates)))


def _fit_variances(learner: Learner, targets: np.ndarray, table: Table, parts: np.ndarray, training: Training) -> int:
    """Train the networks of variances on the deviations of standardised targets (T, V) from their means, as predicted
    by networks that left out the sample's part of the table (V,). Learns their blend and the shape of densities, and
    returns the completed passes."""
    means, variances, bound = learner.groups[0], learner.groups[-1], learner.groups[0].networks[0].bound
    visits, mixed = of_left_out(learner.reading, means, table, parts)
    of_means, kinds = means.combination, kinds_of(means.networks)
    of_kinds = of_means._replace(weights=np.stack([of_means.weights[kind].sum(axis=0) for kind in kinds]))
    deviations = (targets[:, visits] - of_kinds.of(mixed)).clip(-bound, bound).astype(np.float32)
    shares = None if table.shares is None else table.shares[visits]
    rest = table._replace(rows=table.rows[visits], shares=shares, copies=table.copies[visits])
    group = [(variances, _for_heads(deviations))]
    parts, passes = _fit_groups(group, np.zeros(len(visits), int), learner, rest, training)
    variances.combination, variances.shape = densities_of(learner.reading, variances, deviations, rest, parts)
    return passes


def _for_heads(targets: np.ndarray) -> np.ndarray:  # (T, V) -> (T, V), or (V,) for one head
    return targets if len(targets) > 1 else targets[0]


# ---- Training --------------------------------------------------------------------------------------------------------


def _fit_groups(
    groups: list[tuple[Group, np.ndarray]], classes: np.ndarray, learner: Learner, table: Table, training: Training
) -> tuple[np.ndarray, int]:
    """Train each network on all but one part of a table; each group comes with its targets.

    Parts are stratified by `classes` (V,). Returns the part of each visit, (V,), and the passes that all completed.
    """
    parts = parts_of_table(classes, table.copies, np.random.RandomState(learner.networks[0].seed))
    jobs = [
        Job(network, own, parts, part)
        for group, own in groups
        for network, part in zip(group.networks, left_out_by(group), strict=True)
    ]
    training = training._replace(seconds=training.seconds * len(jobs) / len(learner.networks))
    _train_all(jobs, table, learner.reading, training)
    return parts, min(int(job.network.step) // max(1, int((parts != job.left_out).sum())) for job in jobs)


def _train_all(jobs: list[Job], table: Table, reading: Reading, training: Training) -> None:
    """Train all networks, in this process or in others; with enough workers, each network's heads separately."""
    workers = effective_n_jobs(training.n_jobs)
    parts_each = 1 if jobs[0].network.num_classes >= MANY else -(-workers // len(jobs))
    training = training._replace(seconds=training.seconds * min(1, workers / len(jobs)))
    split = [
        [
            (heads, job._replace(network=network, targets=own))
            for heads, network, own in split_heads(job.network, job.targets, parts_each)
        ]
        for job in jobs
    ]
    apart = [job for of_network in split for _, job in of_network]
    total = training.passes * sum((job.parts != job.left_out).sum() for job in apart)
    with tqdm(total=total, unit=" samples", disable=not training.verbose) as bar:
        if workers == 1:  # in this process, whatever joblib's configuration
            for job in apart:
                _train(job, table, reading, training, bar.update)
        else:
            states = iter(Parallel(training.n_jobs)(delayed(_train)(job, table, reading, training) for job in apart))
            for job, of_network in zip(jobs, split, strict=True):
                join_heads(job.network, [(heads, next(states)) for heads, _ in of_network])
            bar.update(bar.total)


def _train(
    job: Job, table: Table, reading: Reading, training: Training, update: Callable[[int], Any] | None = None
) -> Any:
    """Train a network for some passes over its visits, for at most so many seconds.

    `update` is called with the number of samples learned. None means that this is another process: return the state.
    """
    network, visits = job.network, np.flatnonzero(job.parts != job.left_out)
    rng, planned, start = np.random.RandomState(network.seed), training.passes * len(visits), time.monotonic()
    first, last = RATES[network.config.loss].of_table
    first *= ENCODED_RATE if reading.encodes(network) else 1
    for learned, some in _order(visits, training, rng):
        passed = (time.monotonic() - start) / training.seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        done = np.arange(len(some)) + max(learned, passed * planned)
        falling = linear_rate(done, planned, first, last).astype(np.float32)
        rates = falling if network.has_default_rate else network.rates(len(some))
        rates = rates if table.shares is None else (rates * table.shares[some]).astype(np.float32)
        z = reading.transform(table.samples(some))
        base, context, own, _ = network.prepare(*reading.read(network, z), job.targets[..., some])
        own = some_heads(own, int(network.step)) if network.config.logits else own
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

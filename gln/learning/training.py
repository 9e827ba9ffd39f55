"""Train the networks of a table in passes, in this process or in others.

Each network leaves out one part of the table.

Shapes: D columns, E columns of cells, V visits of samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from gln.learning.calibration import parts_of_table
from gln.learning.cuts import Halfspaces, chosen_halfspaces, samples_for
from gln.learning.group import Group
from gln.learning.heads import join_heads, split_heads
from gln.learning.left_out import Table, left_out_by, shares_of
from gln.learning.many import MANY, some_heads
from gln.learning.network import Network
from gln.learning.rates import RATES, linear_rate
from gln.learning.reading import Reading
from gln.learning.samples import chunks

__all__ = ["Training", "time_left", "train"]

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
    network: Network
    targets: np.ndarray  # (..., V)
    parts: np.ndarray  # (V,), the part of the table that each visit is in
    left_out: int  # the part that the network does not learn


def train(
    groups: list[tuple[Group, np.ndarray]], classes: np.ndarray, reading: Reading, table: Table, training: Training
) -> tuple[np.ndarray, int]:
    """Train each network on all but one part of a table; each group comes with its targets.

    Parts are stratified by `classes` (V,). Returns the part of each visit, (V,), and the passes that all completed.
    """
    parts = parts_of_table(classes, table.copies, np.random.RandomState(groups[0][0].networks[0].seed))
    jobs = [
        Job(network, own, parts, part)
        for group, own in groups
        for network, part in zip(group.networks, left_out_by(group), strict=True)
    ]
    start = time.monotonic()
    _choose_halfspaces(jobs, table, reading, training.n_jobs)
    _train_all(jobs, table, reading, training._replace(seconds=time_left(training.seconds * len(jobs), start)))
    return parts, min(int(job.network.step) // max(1, int((parts != job.left_out).sum())) for job in jobs)


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


def _choose_halfspaces(jobs: list[Job], table: Table, reading: Reading, n_jobs: int | None) -> None:
    """Give the networks that mix encodings and cells halfspaces that suit the table."""
    jobs = [job for job in jobs if reading.encodes(job.network) and job.network.context_map_size > 0]
    if effective_n_jobs(n_jobs) == 1:  # in this process, whatever joblib's configuration
        chosen = [_halfspaces_for(job, table, reading) for job in jobs]
    else:
        chosen = Parallel(n_jobs)(delayed(_halfspaces_for)(job, table, reading) for job in jobs)
    for job, halfspaces in zip(jobs, chosen, strict=True):
        state, ends = dict(job.network.get_state(copy=False)), np.cumsum(job.network.layer_sizes)[:-1]
        for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
            state |= {f"{name}.{layer}": own for layer, own in enumerate(np.split(array, ends), 1)}
        job.network.set_state(state)


def _halfspaces_for(job: Job, table: Table, reading: Reading) -> Halfspaces:
    """Halfspaces chosen by some of the visits that a network will learn."""
    config = job.network.config
    visits = np.random.RandomState(config.seed).permutation(np.flatnonzero(job.parts != job.left_out))
    visits = visits[: samples_for(config.context_map_size)]
    z = reading.side_information(job.network, table.read(reading, visits))
    return chosen_halfspaces(config, z, job.targets[..., visits], shares_of(table, visits))


def _train_all(jobs: list[Job], table: Table, reading: Reading, training: Training) -> None:
    """Train all networks, in this process or in others; with enough workers, each network's heads separately."""
    workers = effective_n_jobs(training.n_jobs)
    parts_each = 1 if jobs[0].network.num_classes >= MANY else -(-workers // len(jobs))
    training = training._replace(seconds=training.seconds * min(1, workers / len(jobs)))  # of all, to that of each
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
        z = table.read(reading, some, network)
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

"""Train networks on a table, pass after pass, at the rate at which they predict best what they leave out.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gln.engine.batches import chunks
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member
from gln.engine.networks.head_sampling import one_vs_rest
from gln.engine.networks.protocol import Network
from gln.engine.parallel import in_threads
from gln.engine.tabular.inputs import TableInputs
from gln.engine.tabular.jobs import Job
from gln.engine.tabular.out_of_fold import out_of_fold, outputs_of
from gln.rates import LAST_RATE, linear_rate

EXPANDED_RATE = 3.0  # factor of the learning rate of networks that also mix expansions and bin means
MOST_TIMES = 10  # of `train_on`
LEAST_GAIN = 0.001  # of the score each time
# Of a table whose networks learn more than MANY_ROWS, pilots learn PILOT_ROWS to choose the learning rate. Of a shorter
# one they learn all, which takes no longer, since they need not be trained again, and chooses better.
MANY_ROWS, PILOT_ROWS = 6000, 2000
# Of `learn_left_out`, as a factor of the first rate. Its pass lowers the log-loss (or 1 - R²) by 1% on 36 tables, none
# of which becomes worse by more than 1%, by .7% on 20 others, by 1 to 3% with 200 classes of ten rows. It takes 8% of a
# fit.
LATE_RATE = 0.3


class Training(NamedTuple):
    passes: int
    shuffle: bool
    n_jobs: int | None
    verbose: bool
    early_stopping: bool  # whether to train on for as long as that helps
    random_state: int | np.random.RandomState | None = None


class Trained(NamedTuple):
    """Networks after some passes."""

    jobs: list[Job]
    rate: float | None  # the first one; None if it was given
    outputs: list[list[np.ndarray]]  # after each pass, of each job's networks for what they left out, (M, C, n)


def train_at_best(
    ensemble: Ensemble, jobs: list[Job], inputs: TableInputs, training: Training, rates: Sequence[float | None]
) -> Trained:
    """Train an ensemble at the rate at which pilots, a network of each job, predict best what they left out.

    The pilots of a large table are copies that learn PILOT_ROWS: then the whole ensemble is trained after them.
    """
    if len(rates) == 1:
        return train(ensemble, jobs, inputs, training, rates[0])
    if len(jobs[0].rows) > MANY_ROWS:
        copies = []
        for job in jobs:
            rows = np.random.default_rng(job.seed).permutation(job.rows)[:PILOT_ROWS]
            copies.append(job._replace(members=copy.deepcopy(job.members[:1]), rows=rows))
        best = best_pilots(ensemble, copies, inputs, training, rates)
        return train(ensemble, jobs, inputs, training, best.rate)
    best = best_pilots(ensemble, [job._replace(members=job.members[:1]) for job in jobs], inputs, training, rates)
    others = [job._replace(members=job.members[1:]) for job in jobs if len(job.members) > 1]
    if not others:
        return best
    rest = train(ensemble, others, inputs, training, best.rate)
    outputs = [first + second for first, second in zip(best.outputs, rest.outputs, strict=True)]
    return Trained(best.jobs + rest.jobs, best.rate, outputs)


def best_pilots(
    ensemble: Ensemble, pilots: list[Job], inputs: TableInputs, training: Training, rates: Sequence[float | None]
) -> Trained:
    """Train the same networks at each rate, and leave them as they were after the best one."""
    networks = [network for job in pilots for network in job.networks]
    before = [network.get_state() for network in networks]
    best = train(ensemble, pilots, inputs, training, rates[0])
    best_score = out_of_fold(ensemble, pilots, best.outputs[-1], inputs).score
    states = [network.get_state() for network in networks]
    for rate in rates[1:]:
        set_states(networks, before)
        trained = train(ensemble, pilots, inputs, training, rate, rival=best)
        score = out_of_fold(ensemble, pilots, trained.outputs[-1], inputs).score
        if len(trained.outputs) == training.passes and score > best_score:
            best = trained
            best_score = score
            states = [network.get_state() for network in networks]
    set_states(networks, states)
    return best


def train_on(ensemble: Ensemble, trained: Trained, inputs: TableInputs, training: Training) -> Trained:
    """Train networks for as many passes again, while the score of what they left out rises; else leave them as before.

    All together, because a single network overfits sooner.
    """
    jobs, rate, outputs = trained
    networks = ensemble.networks
    best_score = out_of_fold(ensemble, jobs, outputs[-1], inputs).score
    for _ in range(MOST_TIMES):
        before = [network.get_state() for network in networks]
        more = train(ensemble, jobs, inputs, training, rate).outputs
        score = out_of_fold(ensemble, jobs, more[-1], inputs).score
        if not score > best_score + LEAST_GAIN:
            set_states(networks, before)
            break
        outputs = outputs + more
        best_score = score
    return trained._replace(outputs=outputs)


def learn_left_out(ensemble: Ensemble, trained: Trained, inputs: TableInputs, training: Training) -> None:
    """Let each network also learn the rows that it left out, in a last pass over all rows, or it would forget some.

    Only after everything that these rows decide: the rate, the combination and all estimates are of networks that had
    not seen them. Of long tables, an eighth of the rows would change too little for the time that it takes.
    """
    if len(trained.jobs[0].rows) <= MANY_ROWS:
        everything = np.arange(len(inputs.indices))
        jobs = [job._replace(rows=everything, left_out=everything[:0]) for job in trained.jobs]
        rate = None if trained.rate is None else LATE_RATE * trained.rate
        train(ensemble, jobs, inputs, training._replace(passes=1, verbose=False), rate)


def set_states(networks: list[Network], states: list[dict[str, np.ndarray]]) -> None:
    for network, state in zip(networks, states, strict=True):
        network.set_state(state)


def train(
    ensemble: Ensemble,
    jobs: list[Job],
    inputs: TableInputs,
    training: Training,
    rate: float | None,
    rival: Trained | None = None,  # the same networks at another rate
) -> Trained:
    """Train networks, which stop after a third of the passes if they are behind a rival there.

    Of 72 tables and parts of tables, a lower rate that is behind then is ahead in the end on three, by 3% at most.
    """
    outputs: list[list[np.ndarray]] = []
    total = training.passes * len(inputs.indices)
    with tqdm(total=total, unit=" rows", unit_scale=True, disable=not training.verbose) as bar:
        for number in range(training.passes):
            # Backwards, because networks of expansions take longest and come last: so threads end together.
            arguments = [(job, inputs, training, rate, number) for job in reversed(jobs)]
            outputs.append([])
            for output in in_threads(train_pass, arguments, training.n_jobs):
                outputs[-1].insert(0, output)
                bar.update(len(inputs.indices) / len(jobs))
            if training.verbose and ensemble.link != "log":  # of which there is a score
                bar.set_postfix_str(f"left-out score {out_of_fold(ensemble, jobs, outputs[-1], inputs).score:.3f}")
            if rival is not None and number == (training.passes - 1) // 3:
                score = out_of_fold(ensemble, jobs, outputs[number], inputs).score
                if score < out_of_fold(ensemble, jobs, rival.outputs[number], inputs).score:
                    break
    return Trained(jobs, rate, outputs)


def train_pass(job: Job, inputs: TableInputs, training: Training, rate: float | None, number: int) -> np.ndarray:
    """Let the networks of a job learn its rows in a pass of this number.

    Returns their outputs for what they left out, (M, C, n).
    """
    rows = job.rows
    network = job.members[0].network
    rng = np.random.default_rng([job.seed, int(network.step)])
    order = rng.permutation(rows) if training.shuffle else rows
    for chunk in chunks(len(rows)):
        chosen = order[chunk]
        learned = number * len(rows) + np.arange(chunk.start, chunk.stop)
        rates = rates_of(job.members[0], learned, training.passes * len(rows), rate).astype(np.float32)
        rates = (rates * inputs.step_sizes.take(chosen)).astype(np.float32)
        read = inputs.read(chosen, job.role)
        targets = targets_of_heads(network, inputs.targets.take(chosen, axis=-1))
        for member in job.members:
            member.network.predict_arrays(*read.of(member.network), targets, rates)
    return outputs_of(job, inputs)


def rates_of(member: Member, learned: np.ndarray, planned: int, rate: float | None) -> np.ndarray:  # (n,) -> (n,)
    """The rates of a network that has learned so much of what is planned; its own ones if no first rate is given."""
    if rate is None:
        return member.network.rates(len(learned))
    return linear_rate(learned, planned, rate * (EXPANDED_RATE if member.role == EXPANDED else 1), LAST_RATE)


def targets_of_heads(network: Network, targets: np.ndarray) -> np.ndarray:  # (n,) or (T, n) -> (C, n) float32
    if network.config.record.heads == "num_classes":
        return one_vs_rest(targets, network.config.num_heads, int(network.step))
    clipped = targets.clip(-network.config.bound, network.config.bound)
    return np.broadcast_to(clipped, (network.config.num_heads, targets.shape[-1])).astype(np.float32)

"""Train the networks of a table pass after pass, and let those that left out a row predict it.

Shapes: V rows to learn, M networks of an ensemble, R roles, C heads, n rows that are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member
from gln.engine.ensemble.stacking import StackingWeights, fit_stacking, score
from gln.engine.networks.head_sampling import one_vs_rest
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import LAST_RATE, RATES, linear_rate
from gln.engine.networks.tree_halfspaces import Candidates, Halfspaces, choose_halfspaces, draw_candidates, max_samples
from gln.engine.tabular.blocks import TableBlocks, placing_rows
from gln.engine.tabular.folds import indices_by_role, left_out_folds

EXPANDED_RATE = 3.0  # factor of the learning rate of networks that also mix expansions and bin means
MOST_TIMES, LEAST_GAIN = 10, 0.001  # of `train_on`, and of the score each time
FEWEST_TO_CHOOSE = 3  # networks of a role from which on a third of them choose the learning rate


class Training(NamedTuple):
    """How to train networks."""

    passes: int
    batch_size: int
    shuffle: bool
    seconds: float  # approximate limit, infinite for none
    n_jobs: int | None
    verbose: bool
    early_stopping: bool  # whether to train on for as long as that helps


class Job(NamedTuple):
    """A network to train."""

    member: Member
    targets: np.ndarray  # (..., V)
    rows: np.ndarray  # to learn, of all folds but one
    fold: int  # that the network leaves out
    left_out: np.ndarray  # rows of this fold to predict


def jobs_of(ensemble: Ensemble, y: np.ndarray, folds: np.ndarray, left_out: int, most: int) -> list[Job]:
    """The networks of an ensemble, which leave out so many folds, with at most so many rows of each to predict."""
    targets = y if ensemble.target is None else y[ensemble.target]  # of quantiles
    targets = targets[0] if targets.ndim == 2 and len(targets) == 1 else targets
    jobs = []
    for member, fold in zip(ensemble.members, left_out_folds(ensemble, left_out), strict=True):
        rows = np.flatnonzero(folds == fold)
        jobs.append(Job(member, targets, np.flatnonzero(folds != fold), fold, rows[spread(len(rows), most)]))
    return jobs


def place_tree_halfspaces(jobs: list[Job], blocks: TableBlocks, n_jobs: int | None) -> None:
    """Give networks that also mix expansions the halfspaces of trees that fit the table."""
    jobs = [job for job in jobs if job.member.role == EXPANDED and job.member.network.context_map_size > 0]
    if not jobs or len(blocks.indices) == 1:
        return
    candidates = draw_candidates(jobs[0].member.network.config, blocks.columns_of(placing_rows(blocks)))
    arguments = [(job, candidates, blocks) for job in jobs]
    for job, halfspaces in zip(jobs, run_all(tree_halfspaces, arguments, n_jobs), strict=True):
        state, ends = dict(job.member.network.get_state(copy=False)), np.cumsum(job.member.network.layer_sizes)[:-1]
        for name, array in zip(("hyperplanes", "hyperplane_bias"), halfspaces, strict=True):
            state |= {f"{name}.{layer}": of_layer for layer, of_layer in enumerate(np.split(array, ends), 1)}
        job.member.network.set_state(state)


def tree_halfspaces(job: Job, candidates: Candidates, blocks: TableBlocks) -> Halfspaces:
    """Halfspaces chosen by some of the rows that a network will learn."""
    config = job.member.network.config
    rows = np.random.RandomState(config.seed).permutation(job.rows)[: max_samples(config.context_map_size)]
    of_rows = blocks.columns_of(rows), job.targets[..., rows], blocks.step_sizes[rows]
    return choose_halfspaces(config, candidates, *of_rows)


def run_all(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int | None) -> Iterator[Any]:
    """The results of calls, in their order, each as soon as it is there."""
    if effective_n_jobs(n_jobs) == 1:  # in this process, whatever joblib's configuration
        return (function(*args) for args in arguments)
    return Parallel(n_jobs, return_as="generator")(delayed(function)(*args) for args in arguments)


class Trained(NamedTuple):
    """Networks after some passes."""

    jobs: list[Job]
    rate: float | None  # the first one; None if it was given
    outputs: list[list[np.ndarray]]  # after each pass, of each network for the rows that it left out, (C, n)

    @property
    def passes(self) -> int:
        """The passes that every network completed."""
        return min(int(job.member.network.step) // max(1, len(job.rows)) for job in self.jobs)


def train_ensemble(
    ensemble: Ensemble, jobs: list[Job], blocks: TableBlocks, training: Training
) -> tuple[Trained, list[OutOfFold]]:
    """Train the networks of an ensemble, and learn how to combine them; with predictions out of fold after each pass.

    If its loss has several rates for tables, a third of the networks of each role try all of them, and then all learn
    at the one at which these predict best what they left out.
    """
    start = time.monotonic()
    place_tree_halfspaces(jobs, blocks, training.n_jobs)
    training = training._replace(seconds=time_left(training.seconds * len(jobs), start) / len(jobs))
    rates: Sequence[Any] = RATES[ensemble.config.loss].table if ensemble.networks[0].has_default_rate else [None]
    by_role = indices_by_role(ensemble)
    pilots = [int(i) for indices in by_role for i in indices[: len(indices) // FEWEST_TO_CHOOSE]]
    if len(rates) > 1 and len({jobs[i].member.role for i in pilots}) == len(by_role):
        training = training._replace(
            seconds=training.seconds * len(jobs) / (len(jobs) + len(pilots) * (len(rates) - 1))
        )
        best = train_at_best(ensemble, [jobs[i] for i in pilots], blocks, training, rates)
        others = train(ensemble, [job for i, job in enumerate(jobs) if i not in pilots], blocks, training, best.rate)
        both = zip(best.outputs, others.outputs, strict=False)  # one may have had less time
        trained = Trained(best.jobs + others.jobs, best.rate, [first + second for first, second in both])
    else:
        trained = train(ensemble, jobs, blocks, training, rates[0])
    if training.early_stopping and is_scored(ensemble):
        trained = train_on(ensemble, trained, blocks, training, start)
    left_out = [out_of_fold(ensemble, trained.jobs, of_pass, blocks) for of_pass in trained.outputs]
    ensemble.combination = left_out[-1].combination
    return trained, left_out


def train_at_best(
    ensemble: Ensemble, jobs: list[Job], blocks: TableBlocks, training: Training, rates: Sequence[float]
) -> Trained:
    """Train some networks of an ensemble at each rate, and leave them as they are after the best one."""
    networks, best_score = [job.member.network for job in jobs], -np.inf
    before = best_states = [network.get_state() for network in networks]
    for rate in rates:
        set_states(networks, before)
        trained = train(ensemble, jobs, blocks, training, rate)
        score = out_of_fold(ensemble, jobs, trained.outputs[-1], blocks).score
        if rate == rates[0] or score > best_score:
            best, best_score, best_states = trained, score, [network.get_state() for network in networks]
    set_states(networks, best_states)
    return best


def train_on(ensemble: Ensemble, trained: Trained, blocks: TableBlocks, training: Training, start: float) -> Trained:
    """Train networks for as many passes again, while the score of what they left out rises; else leave them as before.

    All together, because a single network overfits sooner; and within the limit of time that began at `start`.
    """
    jobs, rate, outputs = trained
    networks, best_score = [job.member.network for job in jobs], out_of_fold(ensemble, jobs, outputs[-1], blocks).score
    for _ in range(MOST_TIMES):
        before, seconds = [network.get_state() for network in networks], training.seconds * len(jobs)
        left = (seconds - (time.monotonic() - start)) / len(jobs)
        if left <= 0:
            break
        more = train(ensemble, jobs, blocks, training._replace(seconds=left), rate).outputs
        score = out_of_fold(ensemble, jobs, more[-1], blocks).score
        if not score > best_score + LEAST_GAIN:
            set_states(networks, before)
            break
        outputs, best_score = outputs + more, score
    return trained._replace(outputs=outputs)


def set_states(networks: list[Network], states: list[Any]) -> None:
    for network, state in zip(networks, states, strict=True):
        network.set_state(state)


def train(ensemble: Ensemble, jobs: list[Job], blocks: TableBlocks, training: Training, rate: float | None) -> Trained:
    """Train networks pass after pass, each for `training.seconds` of one process on average."""
    training = training._replace(seconds=training.seconds * min(len(jobs), effective_n_jobs(training.n_jobs)))
    spent, total = [0.0] * len(jobs), training.passes * len(blocks.indices)
    outputs: list[list[np.ndarray]] = []
    with tqdm(total=total, unit=" rows", unit_scale=True, disable=not training.verbose) as bar:
        for number in range(training.passes):
            if outputs and min(spent) >= training.seconds:
                break
            arguments = [(job, blocks, training, rate, number, of_job) for job, of_job in zip(jobs, spent, strict=True)]
            outputs.append([])
            for place, (network, of_job, output) in enumerate(run_all(train_pass, arguments, training.n_jobs)):
                if network is not jobs[place].member.network:  # from another process
                    jobs[place].member.network.set_state(network.get_state(copy=False))
                spent[place] = of_job
                outputs[-1].append(output)
                bar.update(len(blocks.indices) / len(jobs))
            if training.verbose and is_scored(ensemble):
                bar.set_postfix_str(f"left-out score {out_of_fold(ensemble, jobs, outputs[-1], blocks).score:.3f}")
    return Trained(jobs, rate, outputs)


def train_pass(
    job: Job, blocks: TableBlocks, training: Training, rate: float | None, number: int, spent: float
) -> tuple[Network, float, np.ndarray]:
    """Let a network learn its rows once more, within `training.seconds` of which so many are spent.

    Returns it with the seconds spent by then, and its outputs for what it left out, (C, n).
    """
    network, rows, expands, start = job.member.network, job.rows, job.member.role == EXPANDED, time.monotonic() - spent
    planned, first = training.passes * len(rows), None if rate is None else rate * (EXPANDED_RATE if expands else 1)
    rng = np.random.default_rng([network.seed or 0, int(network.step)])
    order = rng.permutation(rows) if training.shuffle else rows
    for chunk in chunks(len(rows), training.batch_size):
        passed = (time.monotonic() - start) / training.seconds  # if time is short, the rate falls faster
        if passed >= 1:
            break
        chosen, learned = order[chunk], max(number * len(rows) + chunk.start, passed * planned)
        if first is None:
            rates = network.rates(len(chosen))
        else:
            rates = linear_rate(learned + np.arange(len(chosen)), planned, first, LAST_RATE).astype(np.float32)
        rates = (rates * blocks.step_sizes[chosen]).astype(np.float32)
        inputs, columns = blocks.read(chosen, expands).of(job.member)
        network.predict_arrays(inputs, columns, targets_of_heads(job, chosen), rates, training.batch_size)
    return network, time.monotonic() - start, outputs_of(job.member, blocks, job.left_out)


def targets_of_heads(job: Job, rows: np.ndarray) -> np.ndarray:  # (n,) -> (C, n) float32
    network, targets = job.member.network, job.targets[..., rows]
    if network.config.logits:
        return one_vs_rest(targets, network.num_heads, int(network.step))
    clipped = targets.clip(-network.bound, network.bound)
    return np.broadcast_to(clipped, (network.num_heads, len(rows))).astype(np.float32)


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


# ---- Predictions out of fold -----------------------------------------------------------------------------------------


class OutOfFold(NamedTuple):
    """Rows that networks of each role left out, and what these predict there together."""

    rows: np.ndarray  # (n,)
    combination: StackingWeights  # of the networks, learned from these rows
    combined: np.ndarray  # (C, n), logits, standardised values or log variances
    score: float


def outputs_of(member: Member, blocks: TableBlocks, rows: np.ndarray) -> np.ndarray:  # (n,) -> (C, n)
    """Logits, standardised values or log variances."""
    alone, expands = Ensemble([member]), member.role == EXPANDED
    predicted = [alone.run(blocks.read(rows[chunk], expands))[0] for chunk in chunks(len(rows))]
    empty = np.empty((member.network.num_heads, 0), np.float32)
    return alone.mixed(np.concatenate([empty, *predicted], axis=1).astype(np.float64))


def out_of_fold(ensemble: Ensemble, jobs: list[Job], outputs: list[np.ndarray], blocks: TableBlocks) -> OutOfFold:
    """Combine the outputs of some networks of an ensemble for what they left out, (C, n) of each."""
    rows, by_role = left_out_by_role(jobs, outputs)
    targets, weights = jobs[0].targets[..., rows], blocks.step_sizes[rows]
    combination = fit_stacking(ensemble.config, indices_by_role(ensemble), by_role, targets, weights)
    combined = combine_roles(ensemble, combination, by_role)
    return OutOfFold(rows, combination, combined, score(ensemble.config, combined, targets, weights))


def is_scored(ensemble: Ensemble) -> bool:
    return ensemble.link != "log" and ensemble.target is None


def left_out_by_role(jobs: Sequence[Job], outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that networks of each role left out, (n,), and the mean output of each role there, (R, C, n)."""
    roles, found = dict.fromkeys(job.member.role for job in jobs), []
    for fold in dict.fromkeys(job.fold for job in jobs):
        of_fold = [(job, output) for job, output in zip(jobs, outputs, strict=True) if job.fold == fold]
        of_roles = [[output for job, output in of_fold if job.member.role == role] for role in roles]
        if all(of_roles):
            found.append((of_fold[0][0].left_out, np.stack([np.mean(of_role, axis=0) for of_role in of_roles])))
    rows, by_role = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(by_role, axis=2)


def combine_roles(ensemble: Ensemble, combination: StackingWeights, by_role: np.ndarray) -> np.ndarray:
    """The combined outputs, from the mean of each role's networks: (R, C, n) -> (C, n)."""
    weights = np.stack([combination.weights[indices].sum(axis=0) for indices in indices_by_role(ensemble)])
    return combination._replace(weights=weights).combine(by_role)

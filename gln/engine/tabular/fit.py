"""Learn a table: `fit_table` is the recipe, and the functions below it are its steps.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import csc_array, issparse
from sklearn.utils import check_random_state
from tqdm import tqdm

from gln.engine.batches import chunks, spread
from gln.engine.ensemble.ensemble import EXPANDED, Ensemble, Member
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.ensemble.stacking import StackingWeights, divide_among_networks, fit_stacking
from gln.engine.model.learner import Learner
from gln.engine.model.sample_weights import projected
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import log_sampling_rate, one_vs_rest
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import RATES, linear_rate
from gln.engine.networks.surgery import set_initial_logits
from gln.engine.networks.tree_halfspaces import Halfspaces, choose_halfspaces, max_samples
from gln.engine.tabular.blocks import TableBlocks, TrainingTable, make_blocks, placing_rows

FOLDS = 8  # of a table; each network holds out one
MOST_ROWS = 40_000  # enough for a few stacking weights
# Equal rows are copies if they are this many times as frequent as if their values were independent. Rows drawn with
# replacement from a table of numbers are 10^3 to 10^100 times as frequent, equal rows of a few categories up to 10^2.
RARER = 100
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
        ensemble.combination = stacked(ensemble, network_targets(ensemble, y), blocks, folds)
    if learner.variances is not None:
        passes = min(passes, fit_variances(learner.means, learner.variances, y, blocks, folds, training))
    return learner, passes


def time_left(seconds: float, start: float) -> float:
    """What is left of a limit for learning, at least half, if work began at this time and prepared for it."""
    return max(seconds / 2, seconds - (time.monotonic() - start))


# ---- Folds -----------------------------------------------------------------------------------------------------------


def find_copies(X: Any, targets: np.ndarray) -> np.ndarray:  # (N, F), (N,) or (T, N) -> (N,)
    """The first copy of each sample, by index, as in a bootstrap sample.

    Samples with equal features are copies if their targets are equal too, and so many are unlikely to be equal by
    chance. In a table of a few categories they are repeated measurements: a network that held out all of them would
    predict them worse than networks predict samples that are really new.

    Features of 0 are left out, so that it makes no difference whether a category is one column or one per level.
    """
    count, targets = X.shape[0], np.atleast_2d(targets)
    if len(np.unique(projected(X))) == count:
        return np.arange(count)
    codes = csc_array(X, dtype=np.float64, copy=True)
    codes.eliminate_zeros()
    logs = np.empty(len(codes.data))
    for start, stop in itertools.pairwise(codes.indptr):
        code, frequency = _code_and_frequency(codes.data[start:stop], count)
        codes.data[start:stop], logs[start:stop] = 1 + code, np.log(frequency)
    chance = np.exp(np.bincount(codes.indices, logs, count))  # of these features and targets if all were independent
    for target in targets:
        chance *= _code_and_frequency(target, count)[1]
    _, first, group, sizes = np.unique(projected(codes), return_index=True, return_inverse=True, return_counts=True)
    differ = np.bincount(group, (targets != targets[:, first[group]]).any(axis=0)) > 0
    are_copies = ~differ & (sizes > RARER * count * chance[first])
    return np.where(are_copies[group], first[group], np.arange(count))


def _code_and_frequency(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:  # (n,) -> (n,), (n,)
    """A number for each distinct value, and how frequent it is among `count` samples."""
    code, _ = pd.factorize(values, use_na_sentinel=False)
    return code, np.bincount(code)[code] / count


def draw_folds(targets: np.ndarray, copies: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A random fold for each row, 0 to FOLDS - 1, the same for all copies of a sample; stratified by class.

    Each class has a sample in fold 0, so a network that holds out another fold has seen every class. The sizes of folds
    differ by no more than the copies of one sample of each class. Copies are of one class.

    Shapes: class numbers (V,) or numbers (T, V), (V,) equal for copies -> (V,).
    """
    classes = targets if targets.ndim == 1 else np.zeros(targets.shape[1], int)
    order = rng.permutation(len(classes))
    samples, _ = pd.factorize(copies[order])  # numbered by their first row in this order
    class_of = classes[order[np.unique(samples, return_index=True)[1]]]
    by_size = (-np.bincount(samples)).argsort(kind="stable")  # the samples with most copies are dealt out first
    folds, fold_of = np.empty(len(classes), int), np.empty(len(class_of), int)
    for number in np.unique(class_of):
        members = by_size[class_of[by_size] == number]
        fold_of[members] = np.arange(len(members)) % FOLDS
    folds[order] = fold_of[samples]
    return folds


def indices_by_role(ensemble: Ensemble) -> list[np.ndarray]:
    """Indices of the networks of each role."""
    roles = [member.role.name for member in ensemble.members]
    return [np.flatnonzero(np.array(roles) == role) for role in dict.fromkeys(roles)]


def held_out_folds(ensemble: Ensemble) -> np.ndarray:  # (M,)
    """The fold that each network holds out: different ones within a role, and with classes never fold 0."""
    held_out = np.empty(len(ensemble.networks), int)
    for indices in indices_by_role(ensemble):
        numbers = np.arange(len(indices))
        held_out[indices] = 1 + numbers % (FOLDS - 1) if ensemble.link == "logit" else (1 + numbers) % FOLDS
    return held_out


# ---- Before training -------------------------------------------------------------------------------------------------


def network_targets(ensemble: Ensemble, y: np.ndarray) -> np.ndarray:  # (V,) or (T, V) -> (V,) or (T, V)
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
    targets, pairs = network_targets(ensemble, y), zip(ensemble.members, held_out_folds(ensemble), strict=True)
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
        inputs, columns = blocks.read(chunk, expands).of(job.member)
        network.predict_arrays(inputs, columns, targets_of_heads(job, chunk), rates, training.batch_size)
        if update is not None:
            update(len(chunk))
    return network.get_state() if update is None else None


def targets_of_heads(job: Job, rows: np.ndarray) -> np.ndarray:  # (n,) -> (C, n) float32
    network, targets = job.member.network, job.targets[..., rows]
    if network.config.logits:
        return one_vs_rest(targets, network.num_heads, int(network.step))
    clipped = targets.clip(-network.bound, network.bound)
    return np.broadcast_to(clipped, (network.num_heads, len(rows))).astype(np.float32)


def chunks_of_passes(rows: np.ndarray, training: Training, seed: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of all passes in whole batches, with the number before them."""
    rng = np.random.RandomState(seed)
    for number in range(training.passes):
        order = rows[rng.permutation(len(rows))] if training.shuffle else rows
        for chunk in chunks(len(rows), training.batch_size):
            yield number * len(rows) + chunk.start, order[chunk]


# ---- Predictions out of fold -----------------------------------------------------------------------------------------


def out_of_fold(
    ensemble: Ensemble, blocks: TableBlocks, folds: np.ndarray, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that networks of each role held out, at most `most` of them, and the mean output of each role there.

    Outputs are logits, standardised values or log variances. Shapes: folds (V,) -> (n,), (R, C, n).
    """
    by_role, held_out = indices_by_role(ensemble), held_out_folds(ensemble)
    outputs = [np.empty((len(by_role), ensemble.heads, 0))]  # of each chunk
    found = [np.empty(0, int)]  # the rows of each fold
    for fold in np.unique(held_out):
        members = [[ensemble.members[m] for m in indices if held_out[m] == fold] for indices in by_role]
        if all(members):
            rows = np.flatnonzero(folds == fold)
            found.append(rows if most is None else rows[spread(len(rows), most // FOLDS)])
            for chunk in chunks(len(found[-1])):
                read = blocks.read(found[-1][chunk])
                predicted = [Ensemble(of_role).run(read).astype(np.float64) for of_role in members]
                outputs.append(np.stack([ensemble.mixed(of_networks).mean(axis=0) for of_networks in predicted]))
    return np.concatenate(found), np.concatenate(outputs, axis=2)


def stacked(ensemble: Ensemble, targets: np.ndarray, blocks: TableBlocks, folds: np.ndarray) -> StackingWeights:
    """Weights of an ensemble's networks for targets (V,) or (C, V), learned from their predictions out of fold."""
    rows, outputs = out_of_fold(ensemble, blocks, folds, MOST_ROWS)
    learned = outputs, targets[..., rows], blocks.step_sizes[rows]
    return fit_stacking(ensemble.config, indices_by_role(ensemble), *learned)


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
    rows, outputs = out_of_fold(variances, blocks, folds, MOST_ROWS)
    of_targets = zip(outputs.swapaxes(0, 1), deviations[:, rows], strict=True)
    weights, skew, tails = zip(*(fit_density(*pair, blocks.step_sizes[rows]) for pair in of_targets), strict=True)
    variances.combination = divide_among_networks(np.stack(weights, axis=1), indices_by_role(variances))
    variances.shape = JohnsonSU(np.array(skew), np.array(tails))
    return passes

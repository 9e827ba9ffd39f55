"""Learn a long table in shares: copies of its networks learn different rows side by side, and are averaged in rounds.

A sample of the table has determined the rest of the model and learned first; see `gln.dask`. Each neuron solves a
convex problem over halfspaces that do not move, so the mean of the copies' weights is at most as bad as they are on
average. Source: R. McDonald et al., Distributed Training Strategies for the Structured Perceptron, NAACL 2010.

What the levels of categories and the cells of bins predict is counted in all rows, fold by fold: what a network reads
of a row was counted in the folds of `counted_folds`, as in a table that is learned at once.

Shapes: n rows, F features, D columns, E bin means, M networks, C heads, T targets.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.engine.base_models.bin_means import AT_ONCE, MAX_VALUE
from gln.engine.batches import SampleBatch, chunks, steps_of
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.model.targets import Labels
from gln.engine.networks.protocol import mean_weights
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.tabular.folds import FOLDS, counted_folds, left_out_folds
from gln.engine.tabular.inputs import TableFeaturizer, TableInputs, by_head
from gln.engine.tabular.jobs import Job, jobs_of
from gln.engine.tabular.model import TableModel
from gln.engine.tabular.out_of_fold import OutOfFold, cross_fitted, out_of_fold, outputs_of
from gln.engine.tabular.training import Training, rates_of, targets_of_heads

ROUNDS = 4  # averages in all, or one for each pass
AT_A_TIME = 8  # copies that are averaged, so that a worker need not hold those of all
Weights = list[dict[str, np.ndarray]]  # of networks
Averaged = tuple[int, Weights]  # and the number of rows that they stand for


class Share(NamedTuple):
    X: np.ndarray  # (n, F), with codes for categories
    targets: np.ndarray  # (n,) class numbers, or (T, n) standardised numbers or labels
    weights: np.ndarray  # (n,), how long a step each row makes, or how many
    folds: np.ndarray  # (n,)
    groups: np.ndarray  # (n,)
    number: int = 0  # among the shares


def folds_of(keys: np.ndarray) -> np.ndarray:
    """The fold of each row, by a hash of it, or of its group."""
    return (keys % FOLDS).astype(int)


class Counts(NamedTuple):
    """What the rows of some folds say of levels and cells; see `BinMeans.sums`."""

    encoding: TargetEncoding | None
    cells: np.ndarray  # (cells, 1 + C)

    def merge(self, other: Counts) -> Counts:
        encoding = self.encoding and other.encoding and self.encoding.merge(other.encoding)
        return Counts(encoding, self.cells + other.cells)


class Common(NamedTuple):
    model: TableModel
    featurizers: list[TableFeaturizer]  # for the rows of each fold, see `counted_folds`
    left_out: int  # how many folds networks leave out
    rate: float | None  # the first one of means; None if it was given
    training: Training

    @property
    def rounds(self) -> int:
        """How often networks are averaged in a pass."""
        return math.ceil(ROUNDS / self.training.passes)

    def arrays(self, share: Share, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (n,) -> (n, D), (n, E)
        """Standardised columns and means of bins of some rows, as counted in other folds."""
        X = share.X[rows]
        folds = share.folds[rows]
        columns = []
        bin_means = []
        for fold, featurizer in enumerate(self.featurizers):
            features = X[folds == fold].T
            columns.append(featurizer.standardised(SampleBatch.of(features)).T)
            bin_means.append(featurizer.bin_means.transform(features).T)
        order = np.argsort(np.argsort(folds, kind="stable"))
        return np.concatenate(columns)[order], np.concatenate(bin_means)[order]


class Cluster(NamedTuple):
    """Where shares are learned: functions of a client of Dask, or calls in this process."""

    submit: Callable[..., Any] = lambda function, *args: function(*args)
    scatter: Callable[[Any], Any] = lambda value: value
    gather: Callable[[Any], Any] = lambda value: value
    threads: int = 1


def learn_shares(cluster: Cluster, sample: Share, shares: Sequence[Any], start: Common) -> Common:
    """Let a model's networks, which have learned the sample, learn shares, which may be futures of the cluster. Returns
    what they have become, without new weights for how they are combined."""
    common = start._replace(model=copy.copy(start.model))
    by_fold = counts_of_folds(cluster, start.model, [cluster.scatter(sample), *shares])
    others = [[by_fold[fold] for fold in np.flatnonzero(row)] for row in counted_folds(start.left_out)]
    featurizers = [with_counts(common.model, merged(parts)) for parts in others]
    common.model.featurizer = with_counts(common.model, merged(by_fold))
    common = common._replace(featurizers=featurizers)
    sent = cluster.scatter(common)
    mean = cluster.scatter((0, weights_of(common.model.means)))
    for number in range(common.training.passes * common.rounds):
        learned = [cluster.submit(learn_share, sent, mean, share, number) for share in shares]
        mean = in_tree(cluster, mean_of, learned)
    _, weights = cluster.gather(mean)
    set_weights(common.model.means, weights)
    return common


def counts_of_folds(cluster: Cluster, model: TableModel, shares: Sequence[Any]) -> list[Counts]:
    """What the rows of each fold say, of all shares together."""
    sent = cluster.scatter(model)
    counts = [[cluster.submit(counted, sent, share, fold) for share in shares] for fold in range(FOLDS)]
    return cluster.gather([in_tree(cluster, merged, parts) for parts in counts])


def in_tree(cluster: Cluster, function: Callable[[list[Any]], Any], values: list[Any]) -> Any:
    """A function of several values, such as a mean, by a few of them at a time, in their order."""
    while len(values) > 1:
        values = [cluster.submit(function, values[i : i + AT_A_TIME]) for i in range(0, len(values), AT_A_TIME)]
    return values[0]


# ---- Counting --------------------------------------------------------------------------------------------------------


def counted(model: TableModel, share: Share, fold: int) -> Counts:
    """What the rows of a share that are in a fold say."""
    featurizer: Any = model.featurizer
    rows = np.flatnonzero(share.folds == fold)
    X = share.X[rows]
    weights = share.weights[rows]
    targets = share.targets.take(rows, axis=-1)
    bin_means = featurizer.bin_means
    levels = model.targets.standardizer.transform(targets) if isinstance(model.targets, Labels) else targets
    encoding = featurizer.encoding and counted_anew(featurizer.encoding, X, levels, weights)
    heads = by_head(targets, max(2, bin_means.values.shape[1]))
    return Counts(encoding, bin_means.sums(X.T, heads.clip(-MAX_VALUE, MAX_VALUE), weights))


def counted_anew(encoding: TargetEncoding, X: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> TargetEncoding:
    """An encoding of the same levels, of these rows alone: (n, F), (n,) or (T, n), (n,)."""
    nothing = {feature: np.zeros_like(table) for feature, table in encoding.counts.items()}
    encoding = dataclasses.replace(encoding, totals=np.zeros_like(encoding.totals), counts=nothing)
    for chunk in chunks(len(X), AT_ONCE):
        encoding.learn(X[chunk].T, targets[..., chunk], weights[chunk])
    return encoding


def merged(parts: list[Counts]) -> Counts:
    return functools.reduce(Counts.merge, parts)


def with_counts(model: TableModel, counts: Counts) -> TableFeaturizer:
    featurizer: Any = model.featurizer
    bin_means = featurizer.bin_means.recounted(counts.cells, model.means.config.logits, featurizer.categorical)
    return dataclasses.replace(featurizer, encoding=counts.encoding, bin_means=bin_means)


# ---- Learning --------------------------------------------------------------------------------------------------------


def learn_share(common: Common, mean: Averaged, share: Share, number: int) -> Averaged:
    """Let networks that begin with the mean of the last round learn a share's part of a round."""
    ensemble = copy.deepcopy(common.model.means)
    set_weights(ensemble, mean[1])
    left_out = left_out_folds(ensemble, common.left_out)[:, None]
    rows, learned = rows_of_round(common, share, number)
    for chunk in chunks(len(rows)):
        chosen = rows[chunk]
        read = common.model.featurizer.from_columns(*common.arrays(share, chosen))
        targets = targets_of_heads(ensemble.networks[0], share.targets.take(chosen, axis=-1))
        steps = share.weights[chosen].astype(np.float32)
        rates = np.stack([rates_of(member, learned[chunk], 1, common.rate) for member in ensemble.members])
        rates = np.where(share.folds[chosen] == left_out, 0, rates) * steps_of(steps)[1]
        ensemble.run(read, targets, rates.astype(np.float32), None if (steps == 1).all() else steps)
    return len(rows), weights_of(ensemble)


def rows_of_round(common: Common, share: Share, number: int) -> tuple[np.ndarray, np.ndarray]:  # (n,), (n,)
    """The rows of a share to learn in a round, and which part of all rows and passes has been learned before each."""
    passed, part = divmod(number, common.rounds)
    count = len(share.folds)
    positions = np.arange(count * part // common.rounds, count * (part + 1) // common.rounds)
    order = np.arange(count)
    if common.training.shuffle:
        order = np.random.default_rng([share.number, passed]).permutation(count)
    return order[positions], (passed * count + positions) / (common.training.passes * count)


def weights_of(ensemble: Ensemble) -> Weights:
    states = [network.get_state(copy=False) for network in ensemble.networks]
    return [{name: array for name, array in state.items() if not name.startswith("hyperplane")} for state in states]


def set_weights(ensemble: Ensemble, weights: Weights) -> None:
    for network, changed in zip(ensemble.networks, weights, strict=True):
        network.set_state({**network.get_state(copy=False), **changed})


def mean_of(copies: list[Averaged]) -> Averaged:
    """The number of all rows, and the mean of copies, each by the number of its rows."""
    counts = np.array([count for count, _ in copies], float)
    by_network = zip(*(weights for _, weights in copies), strict=True)
    return int(counts.sum()), [mean_weights(states, counts) for states in by_network]


# ---- Rows that networks left out -------------------------------------------------------------------------------------


def combine_by(
    common: Common, rows: Share
) -> tuple[list[Job], TableInputs, OutOfFold, np.ndarray]:  # the last (C, n), see `cross_fitted`
    """Give the networks of means new weights by rows beside the shares, of which each network left out some. Returns
    what they read and predict of these."""
    ensemble = common.model.means
    everything = np.arange(len(rows.folds))
    arrays = common.arrays(rows, everything)
    inputs = TableInputs(*arrays, everything, rows.weights, rows.groups, rows.targets, common.model.featurizer)
    jobs = jobs_of(ensemble, rows.folds, common.left_out, len(everything))
    outputs = [outputs_of(job, inputs) for job in jobs]
    left_out = out_of_fold(ensemble, jobs, outputs, inputs)
    ensemble.combination = left_out.combination
    return jobs, inputs, left_out, cross_fitted(ensemble, jobs, left_out, inputs)

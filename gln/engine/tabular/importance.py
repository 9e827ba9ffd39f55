"""Importance of features: how much worse left-out rows are predicted if a feature is shuffled among them.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import Matrix, dense, spread
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.stacking import score
from gln.engine.tabular.inputs import TableInputs
from gln.engine.tabular.jobs import Job
from gln.engine.tabular.out_of_fold import left_out_by_role, outputs_of

MOST_KEPT = 2000  # rows, for importances
PREDICTED = 5000  # rows for each feature, by shuffling fewer rows several times, at most MOST_SHUFFLES
MOST_SHUFFLES = 10


class LeftOutRows(NamedTuple):
    """Some rows of a table that networks left out, and these networks, to tell how important features are: how much
    worse the rows are predicted if a feature is shuffled among them.

    Source: L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.
    """

    X: np.ndarray  # (n, F), with codes for categories
    owners: np.ndarray  # (F,), the column of the user's table that each feature is made from
    inputs: TableInputs  # what networks read of them
    ensemble: Ensemble
    jobs: Sequence[Job]  # copies of its networks before they learn the rows; those left out as numbers below n

    @classmethod
    def of_table(
        cls, X: Matrix, owners: np.ndarray, inputs: TableInputs, ensemble: Ensemble, jobs: list[Job]
    ) -> LeftOutRows:  # (N, F), (F,)
        folds = {job.fold: job.left_out for job in jobs}
        most = MOST_KEPT // len(folds)
        rows = np.concatenate([left_out[spread(len(left_out), most)] for left_out in folds.values()])
        numbers = {fold: np.flatnonzero(np.isin(rows, left_out)) for fold, left_out in folds.items()}
        kept = [Job(copy.deepcopy(job.members), job.seed, rows[:0], job.fold, numbers[job.fold]) for job in jobs]
        taken = inputs.take(rows)._replace(step_sizes=inputs.representing(rows))
        return cls(dense(X[inputs.indices[rows]]), owners, taken, ensemble, kept)

    def importances(self, columns: int) -> np.ndarray:
        """By how much the score falls if a column of the user's table is shuffled, for each of so many: the log-loss
        that is added, or the R² that is lost."""
        rng = np.random.default_rng(0)
        count = len(self.X)
        times = int(np.clip(PREDICTED // max(1, count), 1, MOST_SHUFFLES))
        orders = [rng.permutation(count) for _ in range(times)]
        best = self._score(self.inputs)
        made = [np.flatnonzero(self.owners == column) for column in range(columns)]
        shuffled = [
            np.mean([self._score(self._shuffled(features, order)) for order in orders]) if len(features) else best
            for features in made
        ]
        return best - np.array(shuffled)

    def _score(self, inputs: TableInputs) -> float:
        outputs = [outputs_of(job, inputs) for job in self.jobs]
        rows, by_role = left_out_by_role(self.jobs, outputs)
        combined = self.ensemble.neuron.of_experts(self.ensemble.offset).combine(by_role)
        return score(self.ensemble.config, combined, inputs.targets[..., rows], inputs.step_sizes[rows])

    def _shuffled(self, chosen: np.ndarray, order: np.ndarray) -> TableInputs:
        """What networks read if rows have the values that some features have in other rows.

        Means of their bins go with the values: those of the model would have counted the row's own target. Pairs of
        bins, of which one is of another feature, are looked up in the model.
        """
        inputs = self.inputs
        featurizer = inputs.featurizer
        columns = inputs.columns.copy()
        is_made_from = np.isin(featurizer.feature_of_columns, chosen)
        columns[:, is_made_from] = columns[order][:, is_made_from]
        samples = self.X.T.copy()
        samples[chosen] = samples[chosen][:, order]
        reads = np.isin(featurizer.bin_means.features, chosen)  # (E, 2)
        bin_means = np.where(reads.any(axis=1), featurizer.bin_means.transform(samples).T, inputs.bin_means)
        is_alone = reads.all(axis=1)
        bin_means[:, is_alone] = inputs.bin_means[order][:, is_alone]
        return inputs._replace(columns=columns, bin_means=bin_means)

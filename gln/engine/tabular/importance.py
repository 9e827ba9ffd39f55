"""Importance of features: how much worse the rows that networks left out are predicted if a feature is shuffled.

Source: L. Breiman, "Random Forests", Machine Learning 45, 2001, section 10.

Shapes: n rows, F features, D columns, E bin means, M networks, R roles, C heads, T targets.
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
from gln.engine.tabular.folds import representing
from gln.engine.tabular.inputs import TableInputs
from gln.engine.tabular.training import Job, combine_roles, left_out_by_role, outputs_of, set_states

MOST_ROWS = 2000  # that are kept
PREDICTED = 5000  # rows for each feature, by shuffling fewer rows several times, at most MOST_TIMES
MOST_TIMES = 10


class LeftOutRows(NamedTuple):
    """Some rows of a table that networks left out, and these networks."""

    X: np.ndarray  # (n, F), with codes for categories
    owners: np.ndarray  # (F,), the column of the user's table that each feature is made from
    inputs: TableInputs  # what networks read of them
    targets: np.ndarray  # (n,) class numbers, or (T, n) standardised numbers or labels
    ensemble: Ensemble
    jobs: Sequence[Job]  # its networks, with the rows that each left out as numbers below n
    states: list[dict[str, np.ndarray]]  # of these networks, before they learned the rows

    @classmethod
    def of_table(
        cls, X: Matrix, owners: np.ndarray, inputs: TableInputs, ensemble: Ensemble, jobs: list[Job]
    ) -> LeftOutRows:  # (N, F), (F,)
        folds = {job.fold: job.left_out for job in jobs}
        rows = np.concatenate([of_fold[spread(len(of_fold), MOST_ROWS // len(folds))] for of_fold in folds.values()])
        places = {fold: np.flatnonzero(np.isin(rows, of_fold)) for fold, of_fold in folds.items()}
        kept = [job._replace(targets=rows[:0], rows=rows[:0], left_out=places[job.fold]) for job in jobs]
        states = [network.get_state() for job in jobs for network in job.networks]
        targets, weights = jobs[0].targets[..., rows], representing(jobs[0].targets, inputs.step_sizes, rows)
        indices, inputs = inputs.indices[rows], inputs.only(rows)._replace(step_sizes=weights)
        return cls(dense(X[indices]), owners, inputs, targets, ensemble, kept, states)

    def importances(self, columns: int) -> np.ndarray:
        """By how much the score falls if a column of the user's table is shuffled, for each of so many: the log-loss
        that is added, or the R² that is lost."""
        left_out, rng, count = self._replace(jobs=copy.deepcopy(self.jobs)), np.random.default_rng(0), len(self.X)
        set_states([network for job in left_out.jobs for network in job.networks], self.states)
        times = int(np.clip(PREDICTED // max(1, count), 1, MOST_TIMES))
        orders, best = [rng.permutation(count) for _ in range(times)], left_out._score(self.inputs)
        made = [np.flatnonzero(self.owners == column) for column in range(columns)]
        shuffled = [
            np.mean([left_out._score(self._shuffled(features, order)) for order in orders]) if len(features) else best
            for features in made
        ]
        return best - np.array(shuffled)

    def _score(self, inputs: TableInputs) -> float:
        outputs = [outputs_of(job.members, inputs, job.left_out) for job in self.jobs]
        rows, by_role = left_out_by_role(self.jobs, outputs)
        combined = combine_roles(self.ensemble, self.ensemble.combination, by_role)
        return score(self.ensemble.config, combined, self.targets[..., rows], inputs.step_sizes[rows])

    def _shuffled(self, chosen: np.ndarray, order: np.ndarray) -> TableInputs:
        """What networks read if rows have the values that some features have in other rows.

        Means of their bins go with the values: those of the model would have counted the row's own target. Pairs of
        bins, of which one is of another feature, are looked up in the model.
        """
        inputs, featurizer = self.inputs, self.inputs.featurizer
        columns, of_rows, of_model = inputs.columns.copy(), inputs.bin_means, getattr(featurizer, "bin_means", None)
        of_feature = np.isin(featurizer.feature_of_columns, chosen)
        columns[:, of_feature] = columns[order][:, of_feature]
        if of_rows is None or of_model is None:
            return inputs._replace(columns=columns)
        features, samples = of_model.features, self.X.T.copy()
        samples[chosen] = samples[chosen][:, order]
        is_read, is_alone = np.isin(features, chosen).any(axis=1), np.isin(features, chosen).all(axis=1)
        bin_means = np.where(is_read, of_model.transform(samples).T, of_rows)
        bin_means[:, is_alone] = of_rows[order][:, is_alone]
        return inputs._replace(columns=columns, bin_means=bin_means)

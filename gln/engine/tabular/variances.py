"""Densities of a table: networks of variances learn the deviations of targets from means predicted out of fold.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""

from __future__ import annotations

import numpy as np

from gln.engine.ensemble.combination import Combination
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.johnson_su import JohnsonSU, fit_density
from gln.engine.model.targets import Units
from gln.engine.tabular.folds import FOLDS, draw_folds
from gln.engine.tabular.halfspaces import place_tree_halfspaces
from gln.engine.tabular.inputs import TableInputs
from gln.engine.tabular.jobs import jobs_of
from gln.engine.tabular.model import TableModel
from gln.engine.tabular.out_of_fold import OutOfFold, left_out_by_role
from gln.engine.tabular.training import Training, train
from gln.rates import RATES

MOST_ROWS = 40_000  # enough for a few stacking weights


def fit_variances(model: TableModel, left_out: OutOfFold, inputs: TableInputs, folds: int, training: Training) -> None:
    """Train the networks of variances on the deviations of standardised targets from their means, as predicted out of
    fold, and fit their stacking weights and the shape of densities. They leave out so many folds."""
    variances = model.variances
    assert variances is not None
    inputs = inputs.take(left_out.rows)
    targets = inputs.targets
    bound = model.means.networks[0].config.bound
    deviations = (targets - left_out.combined).clip(-bound, bound).astype(np.float32)
    inputs = inputs._replace(targets=deviations)
    rng = np.random.RandomState(variances.networks[0].config.seed)
    chosen = draw_folds(deviations, inputs.groups, rng)  # other ones, because these rows may be of few folds
    jobs = jobs_of(variances, chosen, folds, MOST_ROWS // FOLDS)
    place_tree_halfspaces(jobs, inputs, training.n_jobs)
    trained = train(variances, jobs, inputs, training, RATES[variances.link].table[0])
    rows, by_role = left_out_by_role(jobs, trained.outputs[-1])
    fit_densities(
        variances, by_role, deviations[:, rows], targets[:, rows], inputs.step_sizes[rows], model.targets.units
    )


def fit_densities(
    variances: Ensemble,
    by_role: np.ndarray,  # (R, T, n), log variances
    deviations: np.ndarray,  # (T, n)
    targets: np.ndarray,  # (T, n), standardised
    weights: np.ndarray,  # (n,)
    units: Units,
) -> None:
    """Give an ensemble of variances its combination and its shape, fitted to rows that it left out."""
    pairs = zip(by_role.swapaxes(0, 1), deviations, strict=True)
    of_roles, skew, tails = zip(*(fit_density(*pair, weights) for pair in pairs), strict=True)
    combination = Combination.of_weights("log", variances.experts, np.ones(len(of_roles)), np.stack(of_roles))
    variances.combination = combination.knowing(by_role, weights)
    shape = JohnsonSU.plain(np.array(skew), np.array(tails))
    log_variances = variances.combination.of_experts().combine(by_role)
    levels = shape.cdf(deviations * np.exp(-log_variances / 2))
    is_least, is_most = units.at_limits(units.of(targets))
    below = np.where(is_least, 0, levels)
    above = np.where(is_most, 1, levels)
    variances.shape = shape.recalibrated(below, above, weights)

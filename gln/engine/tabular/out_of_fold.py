"""Predictions of rows that networks left out, and what follows from them: how networks are combined.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import chunks
from gln.engine.ensemble.combination import Combination
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.ensemble.stacking import fit_stacking, score
from gln.engine.tabular.folds import logits_of_rates
from gln.engine.tabular.inputs import TableInputs
from gln.engine.tabular.jobs import Job


class OutOfFold(NamedTuple):
    """Rows that networks of each role left out, and what these predict there together."""

    rows: np.ndarray  # (n,)
    by_role: np.ndarray  # (R, C, n), see `left_out_by_role`
    combination: Combination  # of the networks, learned from these rows
    combined: np.ndarray  # (C, n), logits, standardised values or log variances
    score: float


def outputs_of(job: Job, inputs: TableInputs) -> np.ndarray:  # -> (M, C, n)
    """Logits, standardised values or log variances, of the networks of a job for what they left out."""
    together = Ensemble(job.members)
    predicted = [together.run(inputs.read(job.left_out[chunk], job.role)) for chunk in chunks(len(job.left_out))]
    empty = np.empty((len(job.members), together.heads, 0), np.float32)
    return together.mixed(np.concatenate([empty, *predicted], axis=2).astype(np.float64))


def out_of_fold(ensemble: Ensemble, jobs: list[Job], outputs: list[np.ndarray], inputs: TableInputs) -> OutOfFold:
    """Combine the outputs of some networks of an ensemble for what they left out, (M, C, n) of each job."""
    rows, by_role = left_out_by_role(jobs, outputs)
    combination = fit_combination(ensemble, by_role, rows, inputs.targets, inputs)
    combined = combination.of_experts(ensemble.offset).combine(by_role)
    how_good = score(ensemble.config, combined, inputs.targets[..., rows], inputs.representing(rows))
    return OutOfFold(rows, by_role, combination, combined, how_good)


def cross_fitted(ensemble: Ensemble, jobs: list[Job], left_out: OutOfFold, inputs: TableInputs) -> np.ndarray:
    """`OutOfFold.combined` with, for the rows of each fold, a combination that was learned from other folds alone.

    So it is an estimate for new rows, (C, n). Of few rows, those that a combination was learned from are predicted too
    well.
    """
    rows = left_out.rows
    by_role = left_out.by_role
    combined = left_out.combined.copy()
    for job in {job.fold: job for job in jobs}.values():
        is_left_out = np.isin(rows, job.left_out)
        if not is_left_out.all():  # by a single network there are no other folds
            others = by_role[..., ~is_left_out], rows[~is_left_out], inputs.targets[..., job.rows]
            combination = fit_combination(ensemble, *others, inputs)
            together = combination.of_experts(ensemble.offset)
            combined[:, is_left_out] = together.combine(by_role[..., is_left_out])
    return combined


def fit_combination(
    ensemble: Ensemble,
    by_role: np.ndarray,  # (R, C, n)
    rows: np.ndarray,  # (n,)
    counted: np.ndarray,  # targets, of which the rates of classes are known
    inputs: TableInputs,
) -> Combination:
    """The combination of networks that predicts these rows best."""
    heads = ensemble.heads
    targets = inputs.targets[..., rows]
    weights = inputs.representing(rows)
    rates = logits_of_rates(counted, max(2, heads))[-heads:] if ensemble.config.logits else None
    return fit_stacking(ensemble.config, ensemble.experts, by_role, targets, weights, rates)


def left_out_by_role(jobs: Sequence[Job], outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that networks of each role left out, (n,), and the mean output of each role there, (R, C, n)."""
    roles = dict.fromkeys(job.role for job in jobs)
    rows = []
    means = []
    for fold, left_out in {job.fold: job.left_out for job in jobs}.items():
        pairs = [(job.role, output) for job, output in zip(jobs, outputs, strict=True) if job.fold == fold]
        by_role = [[output for role_of, output in pairs if role_of == role] for role in roles]
        if all(by_role):
            rows.append(left_out)
            means.append(np.stack([np.concatenate(networks).mean(axis=0) for networks in by_role]))
    return np.concatenate(rows), np.concatenate(means, axis=2)

"""Off-policy estimates: how much reward another policy would have earned, from a log of decisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.bandits import GLNBandit, checked, named_arms
from gln.engine.streaming.arms import some_of

__all__ = ["Estimate", "off_policy"]

LEAST_PROPENSITY = 1e-12  # others are mistakes, and a single row would outweigh all others


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    standard_error: float


def off_policy(
    rows: Iterable[Sequence[Any]], policy: Callable[..., Mapping[Any, float]], model: Any = None
) -> dict[str, Any]:
    """Estimate from a log how much reward per decision another policy would have earned.

    Parameters
    ----------
    rows
        `gln.bandits.LoggedDecision`s or tuples like them.
    policy
        A function of a context, and of the arms if a row has them, that returns the probability of each arm, such as
        the method `propensities` of a `GLNBandit`. It must not have learned the rewards of these rows.
    model
        A `GLNBandit` that predicts rewards, for the doubly robust estimate. It learns each row after its prediction. If
        the policy is that of the model, the estimates are of what a bandit earns while it learns. None is a new one.

    Returns
    -------
    "ips", "snips", "dr"
        An `Estimate` by inverse propensity scoring (Horvitz and Thompson, 1952), self-normalised (Swaminathan and
        Joachims, The Self-Normalized Estimator for Counterfactual Learning, NeurIPS 2015), and doubly robust (Dudík,
        Langford and Li, Doubly Robust Policy Evaluation and Learning, ICML 2011). With a weight w, the probability of
        the logged arm divided by its propensity, a reward r, a predicted one q, and the mean v of those of all arms,
        these are the mean of w r, the sum of w r divided by that of w, and the mean of v + w (r - q). All means and
        sums are over decisions, so a row counts with its `weight`.
    "logged"
        The `Estimate` for what was logged, the mean reward.
    "weight"
        An `Estimate` of the mean weight. It is about 1, unless propensities are wrong or the policy chooses arms that
        the log does not have.
    "largest_weight", "effective_rows"
        The largest w, times that of its row, and to how many rows of equal ones the log amounts: (sum of w)^2 / sum of
        w^2.
    "rows", "impossible_rows"
        The number of rows that count, and of those that no policy can have chosen, which are left out: their
        propensity is 0, or their arm was not offered.

    Raises
    ------
    ValueError
        No row that counts, a propensity that is not from 0 to 1 or below 1e-12, but not 0, a weight that is not above
        0 or above 10^6, or what `policy` or the model raises; the message names the row.
    """
    model, found = GLNBandit(explore="greedy", seed=0) if model is None else model, []
    for number, row in enumerate(rows):
        try:
            found.append(evaluated(row, policy, model))
        except ValueError as error:
            raise ValueError(f"rows[{number}]: {error}") from error
    return estimates(found)


def evaluated(
    row: Sequence[Any], policy: Callable[..., Mapping[Any, float]], model: Any
) -> tuple[float, float, float, float, float] | None:
    """What `estimates` needs of a row, which the model then learns; None if no policy can have chosen its arm."""
    context, arm, reward, propensity, arms, weight = logged = checked(row)
    if not (isinstance(propensity, (int, float, np.number)) and 0 <= propensity <= 1):
        raise ValueError(f"expected a propensity from 0 to 1, got {propensity!r}")
    if 0 < propensity < LEAST_PROPENSITY:
        raise ValueError(f"expected a propensity of 0, or at least {LEAST_PROPENSITY}, got {propensity!r}")
    named = named_arms(arms)
    if propensity == 0 or (named is not None and arm not in named):
        return None
    p = policy(context) if named is None else policy(context, named)
    if named is not None and not p.keys() <= set(named):
        raise ValueError(f"policy: expected probabilities of some of {some_of(named)}, got {some_of(p)}")
    if not (abs(sum(p.values()) - 1) < 1e-6 and all(-1e-6 < share < 1 + 1e-6 for share in p.values())):
        raise ValueError(f"policy: expected probabilities whose sum is 1, got {sum(p.values())} as that of {p}")
    values = model.predict(context, dict.fromkeys([*p, arm]) if named is None else named)
    model.learn_log([logged])
    return p.get(arm, 0.0) / propensity, reward, values[arm], sum(p[other] * values[other] for other in p), weight


def estimates(found: Sequence[tuple[float, float, float, float, float] | None]) -> dict[str, Any]:
    """What `off_policy` returns for these rows, as `evaluated`."""
    rows = [row for row in found if row is not None]
    impossible = len(found) - len(rows)
    if not rows:
        raise ValueError(f"rows: expected one or more that a policy can have chosen, got {impossible} others")
    w, r, q, v, of_rows = np.array(rows, float).T
    weights = w * of_rows
    return {
        "ips": _estimate(w * r, of_rows),
        "snips": _estimate(r, weights),
        "dr": _estimate(v + w * (r - q), of_rows),
        "logged": _estimate(r, of_rows),
        "weight": _estimate(w, of_rows),
        "largest_weight": float(weights.max()),
        "effective_rows": float(weights.sum() ** 2 / (weights @ weights)) if weights.any() else 0.0,
        "rows": len(w),
        "impossible_rows": impossible,
    }


def _estimate(terms: np.ndarray, weights: np.ndarray) -> Estimate:  # (N,), (N,)
    """The weighted mean of independent terms, and its standard error.

    It is a ratio of two means, whose error W. Cochran, Sampling Techniques, 1977, section 2.11 has.
    """
    if not weights.any():
        return Estimate(math.nan, math.nan)
    mean = (weights @ terms) / weights.sum()
    deviations = weights * (terms - mean) / weights.mean()
    error = deviations.std(ddof=1) / math.sqrt(len(terms)) if len(terms) > 1 else math.nan
    return Estimate(float(mean), float(error))

"""Off-policy estimates: how much reward another policy would have earned, from a log of decisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.bandits import GLNBandit, checked, named_arms
from gln.engine.streaming.arms import some_of

__all__ = ["Estimate", "off_policy"]

OF_ROWS = ("ips", "snips", "dr", "logged", "weight")  # that are means of terms
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
    model, estimates = GLNBandit(explore="greedy", seed=0) if model is None else model, Estimates()
    for number, row in enumerate(rows):
        try:
            estimates.judge(row, policy, model)
        except ValueError as error:
            raise ValueError(f"rows[{number}]: {error}") from error
    return estimates.result()


class Estimates:
    """The sums from which `off_policy` estimates, row by row; `state` is what a file holds of them."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"rows": 0, "impossible": 0, "largest": 0.0, "sums": np.zeros((len(OF_ROWS), 5)).tolist()}
        self.rows, self.impossible, self.largest = state["rows"], state["impossible"], state["largest"]
        self._sums = np.array(state["sums"])  # of w, w t, w^2, w^2 t and (w t)^2, t a term and w its weight

    def state(self) -> dict[str, Any]:
        sums = {"sums": self._sums.tolist()}
        return {"rows": self.rows, "impossible": self.impossible, "largest": self.largest, **sums}

    def judge(
        self, row: Sequence[Any], policy: Callable[..., Mapping[Any, float]], model: Any
    ) -> Mapping[Any, float] | None:
        """Count a row, which the model then learns. Returns the policy's probabilities, None if none can have chosen
        its arm."""
        context, arm, reward, propensity, arms, weight = logged = checked(row)
        if not (isinstance(propensity, (int, float, np.number)) and 0 <= propensity <= 1):
            raise ValueError(f"expected a propensity from 0 to 1, got {propensity!r}")
        if 0 < propensity < LEAST_PROPENSITY:
            raise ValueError(f"expected a propensity of 0, or at least {LEAST_PROPENSITY}, got {propensity!r}")
        named = named_arms(arms)
        if propensity == 0 or (named is not None and arm not in named):
            self.impossible += 1
            return None
        if getattr(policy, "__func__", None) is GLNBandit.propensities and policy.__self__ is model:  # type: ignore[attr-defined]
            p, values = model.judged(context, named)  # once for both
        else:
            p = policy(context) if named is None else policy(context, named)
            values = model.predict(context, dict.fromkeys([*p, arm]) if named is None else named)
        if named is not None and not p.keys() <= set(named):
            raise ValueError(f"policy: expected probabilities of some of {some_of(named)}, got {some_of(p)}")
        if not (abs(sum(p.values()) - 1) < 1e-6 and all(-1e-6 < share < 1 + 1e-6 for share in p.values())):
            raise ValueError(f"policy: expected probabilities whose sum is 1, got {sum(p.values())} as that of {p}")
        model.learn_log([logged])
        w, q, v = p.get(arm, 0.0) / propensity, values.get(arm, 0.0), sum(p[other] * values[other] for other in p)
        terms = np.array([w * reward, reward, v + w * (reward - q), reward, w], float)
        weights = np.array([1, w, 1, 1, 1]) * weight
        products = weights * terms
        self._sums += np.array([weights, products, weights**2, weights * products, products**2]).T
        self.rows, self.largest = self.rows + 1, max(self.largest, w * weight)
        return p

    def result(self) -> dict[str, Any]:
        """What `off_policy` returns."""
        if not self.rows:
            raise ValueError(f"rows: expected one or more that a policy can have chosen, got {self.impossible} others")
        found: dict[str, Any] = {name: self._estimate(*sums) for name, sums in zip(OF_ROWS, self._sums, strict=True)}
        total, squares = self._sums[OF_ROWS.index("snips"), [0, 2]]
        return found | {
            "largest_weight": float(self.largest),
            "effective_rows": float(total**2 / squares) if squares else 0.0,
            "rows": self.rows,
            "impossible_rows": self.impossible,
        }

    def _estimate(self, w: float, wt: float, ww: float, wwt: float, wtwt: float) -> Estimate:
        """The weighted mean of independent terms, and its standard error.

        It is a ratio of two means, whose error W. Cochran, Sampling Techniques, 1977, section 2.11 has.
        """
        if not w:
            return Estimate(math.nan, math.nan)
        mean = wt / w
        squares = max(wtwt - 2 * mean * wwt + mean**2 * ww, 0.0)  # of w (t - mean)
        error = math.sqrt(squares * self.rows / (self.rows - 1)) / w if self.rows > 1 else math.nan
        return Estimate(float(mean), error)

"""Off-policy estimates: how much reward another policy would have earned, from a log of decisions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.bandits import GLNBandit, LoggedDecision, checked_decision, named_arms
from gln.engine.streaming.arms import some_of
from gln.engine.types import Fitted, Label, State

__all__ = ["Estimate", "off_policy"]

OF_ROWS = ("ips", "snips", "dr", "logged", "weight")  # that are means of terms
LEAST_PROPENSITY = 1e-12  # others are mistakes, and a single row would outweigh all others


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    standard_error: float


def off_policy(
    rows: Iterable[Sequence[Any]], policy: Callable[..., Mapping[Label, float]], model: Fitted = None
) -> State:
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
    model = GLNBandit(explore="greedy", seed=0) if model is None else model
    estimates = Estimates()
    for number, row in enumerate(rows):
        try:
            estimates.judge([row], policy, model)
        except ValueError as error:
            raise ValueError(f"rows[{number}]: {error}") from error
    return estimates.result()


class Estimates:
    """The sums from which `off_policy` estimates; `state` is what a file holds of them."""

    def __init__(self, state: State | None = None) -> None:
        state = state or {"rows": 0, "impossible": 0, "largest": 0.0, "sums": np.zeros((len(OF_ROWS), 5)).tolist()}
        self.rows = state["rows"]
        self.impossible = state["impossible"]
        self.largest = state["largest"]
        self._sums = np.array(state["sums"])  # of w, w t, w^2, w^2 t and (w t)^2, t a term and w its weight

    def state(self) -> State:
        sums = {"sums": self._sums.tolist()}
        return {"rows": self.rows, "impossible": self.impossible, "largest": self.largest, **sums}

    @property
    def block_size(self) -> int:
        """How many rows to judge before they are learned: a sixteenth of those so far, but at most 64, and up to a
        multiple of a power of two, so that blocks end at the same rows wherever a log was cut off."""
        most = 1 << min(max(self.rows.bit_length() - 5, 0), 6)
        return most - self.rows % most

    def judge(
        self, rows: Sequence[Any], policy: Callable[..., Mapping[Label, float]], model: Fitted
    ) -> list[Mapping[Label, float] | None]:
        """Count rows with the same arms, which the model then learns: all or, if there is an error, none.

        Returns the policy's probabilities for each row, None if none can have chosen its arm. For several rows the
        model has to be a `GLNBandit`.
        """
        logged = [checked_decision(row if row is rows[0] else row._replace(arms=None)) for row in rows]
        for propensity in (row.propensity for row in logged):
            is_number = isinstance(propensity, (int, float, np.number))
            if not (is_number and (propensity == 0 or LEAST_PROPENSITY <= propensity <= 1)):
                raise ValueError(f"expected a propensity of 0, or from {LEAST_PROPENSITY} to 1, got {propensity!r}")
        named = named_arms(logged[0].arms)
        are_possible = [row.propensity > 0 and (named is None or row.arm in named) for row in logged]
        judged = _judged(logged, named, policy, model)
        numbers = []
        for row, (p, values) in itertools.compress(zip(logged, judged, strict=True), are_possible):
            if named is not None and not p.keys() <= {*named}:
                raise ValueError(f"policy: expected probabilities of some of {some_of(named)}, got {some_of(p)}")
            if not (abs(sum(p.values()) - 1) < 1e-6 and all(-1e-6 < share < 1 + 1e-6 for share in p.values())):
                raise ValueError(f"policy: expected probabilities whose sum is 1, got {sum(p.values())} as that of {p}")
            w = p.get(row.arm, 0.0) / row.propensity
            v = sum(p[arm] * values[arm] for arm in p)
            numbers.append([w, values.get(row.arm, 0.0), v, row.reward, row.weight])
        if numbers:
            learn = model.learn_block if isinstance(model, GLNBandit) else model.learn_log
            learn([*itertools.compress(logged, are_possible)])
            self._count(*np.array(numbers, float).T)
        self.rows += len(numbers)
        self.impossible += len(rows) - len(numbers)
        return [p if is_possible else None for (p, _), is_possible in zip(judged, are_possible, strict=True)]

    def _count(self, w: np.ndarray, q: np.ndarray, v: np.ndarray, r: np.ndarray, weight: np.ndarray) -> None:
        """Count rows (n,) by the policy's weight, the model's prediction and its mean, the reward and the weight."""
        weights = np.array([weight, weight * w, weight, weight, weight])
        products = weights * np.array([w * r, r, v + w * (r - q), r, w])
        self._sums += np.array([weights, products, weights**2, weights * products, products**2]).sum(2).T
        self.largest = max(self.largest, float((weight * w).max()))

    def result(self) -> State:
        """What `off_policy` returns."""
        if not self.rows:
            raise ValueError(f"rows: expected one or more that a policy can have chosen, got {self.impossible} others")
        figures: State = {name: self._estimate(*sums) for name, sums in zip(OF_ROWS, self._sums, strict=True)}
        total, squares = self._sums[OF_ROWS.index("snips"), [0, 2]]
        return figures | {
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


def _judged(
    logged: Sequence[LoggedDecision], named: Any, policy: Callable[..., Mapping[Label, float]], model: Fitted
) -> list[tuple[Any, Any]]:
    """The policy's probabilities and the model's predictions for each row."""
    if isinstance(model, GLNBandit) and policy == model.propensities:
        return model.judged([row.context for row in logged], named)  # once for both
    asked = ((row, policy(row.context) if named is None else policy(row.context, named)) for row in logged)
    return [(p, model.predict(row.context, named or dict.fromkeys([*p, row.arm]))) for row, p in asked]

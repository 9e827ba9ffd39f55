"""Stacking: weights of networks, learned from out-of-fold predictions, so that the combined ones are calibrated.

Networks that read the same inputs share a weight.

Shapes: M networks, G input sets, C heads, n samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import scipy  # which imports its `optimize` when it is first used: streams need not wait for it
from scipy.special import expit, log_expit, softmax

from gln.engine.ensemble.combination import Combination
from gln.engine.networks.head_sampling import log_sampling_rate
from gln_numpy import Config

# Factors of the squared distance from equal weights and of the squared offset, which are added to the sum of the
# losses, so that a few samples change little. On 19 tables of KEEL, factors of 4 to 32 for classes are about as good.
PENALTY = {"classes": 4.0, "values": 0.5}
OFFSET_PENALTY = 100.0
# A few left-out rows say little. So the rates of classes in the whole table count like RATE_ROWS² / n more rows, and
# equal weights of networks are only the start for n / (n + TRUST_ROWS) of the sum, the rest being the weight of rates.
# On 16 rows of 23 tables the mean log-loss is .70 (.72 without), on 64 .487 (.496), on 6 to 16 rows of noise .76 (1.2).
RATE_ROWS, TRUST_ROWS = 6.0, 8.0
MAX_ERROR = 10.0  # standard deviations: a wrong target must not change all weights
MAX_WEIGHT = {"classes": 3.0, "values": 1.5, "logs": 3.0}
TOLERANCE = 1e-6  # of the loss of classes, relative: some left-out rows say no more


def fit_stacking(
    config: Config,  # of the networks
    experts: np.ndarray,  # (M,), the input set that each network reads
    values: np.ndarray,  # (G, C, n), out-of-fold logits or values, averaged over the networks of each input set
    targets: np.ndarray,  # (n,), or (C, n); bools if they are labels
    sample_weights: np.ndarray,  # (n,)
    rates: np.ndarray | None = None,  # (C,), logits of the rates of the classes or labels; None is 0
) -> Combination:
    """The weights with the lowest loss.

    The rates of classes have a weight, too: what networks do not know is mixed with these, not with 1/2.
    """
    if not config.logits:
        return _of_values(config.record.link, experts, values, targets, sample_weights)
    are_labels = config.record.heads != "num_classes"  # each with weights of its own
    offset = 0.0 if are_labels else log_sampling_rate(config.num_heads)
    rates = np.zeros(values.shape[1]) if rates is None else rates - offset
    apart: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(values, rates, targets)]
    if are_labels:
        apart = zip(values.swapaxes(0, 1)[:, :, None], rates[:, None], targets, strict=True)
    weights = np.stack([_class_weights(z, rate, y, sample_weights, offset) for z, rate, y in apart])
    if len(weights) == len(rates):
        weights[:, -1] *= rates
        rates = np.ones(len(rates))
    return Combination.of_weights(config.record.link, experts, rates, weights).knowing(values, sample_weights)


def _of_values(
    link: str, experts: np.ndarray, values: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray
) -> Combination:
    """As `fit_stacking`, of numbers: the weights of each have the lowest squared error."""
    pairs = zip(values.swapaxes(0, 1), np.atleast_2d(targets), strict=True)
    weights = np.stack([_value_weights(z, y, sample_weights) for z, y in pairs])
    combination = Combination.of_weights(link, experts, np.ones(len(weights)), weights).knowing(values, sample_weights)
    errors = np.abs(targets - combination.of_experts().combine(values))
    # As if one more row had an error of 1, the standard deviation: there may be no rows.
    combination.spread = (1 + errors @ sample_weights) / (1 + sample_weights.sum())
    return combination


def score(config: Config, combined: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> float:
    """How good predictions are, higher is better: minus the log-loss of classes, or of labels, their mean; R² of means
    that vary; NaN for variances.

    Shapes: logits or values (C, n), targets (n,) or (C, n), (n,).
    """
    if combined.shape[1] == 0 or config.record.link == "log":
        return math.nan
    if config.logits:
        apart = combined[:, None] if targets.ndim == 2 else [combined]  # the heads of each label, or of all classes
        pairs = zip(apart, np.atleast_2d(targets), strict=True)
        losses = np.mean([_log_losses(logits, _shares(y, len(logits)))[0] for logits, y in pairs], axis=0)
        return -float(np.average(losses, weights=sample_weights))
    targets = np.atleast_2d(targets)
    means = np.average(targets, axis=1, weights=sample_weights)
    errors = np.square(targets - combined) @ sample_weights
    variances = np.square(targets - means[:, None]) @ sample_weights
    varies = variances > 1e-9  # not by rounding alone
    return float(np.mean(1 - errors[varies] / variances[varies])) if varies.any() else math.nan


def _class_weights(
    logits: np.ndarray, rates: np.ndarray, classes: np.ndarray, sample_weights: np.ndarray, offset: float
) -> np.ndarray:
    """Weights with the lowest log-loss, the last of the rates: (G, C, n), (C,), (n,), (n,), () -> (G + 1,)."""
    count = max(1, sample_weights.sum())
    trust = count / (count + TRUST_ROWS)
    start = np.append(np.full(len(logits), trust / len(logits)), 1 - trust)
    added = (RATE_ROWS / count) ** 2
    expected = expit(rates + offset) if len(rates) == 1 else softmax(log_expit(rates + offset))
    shares = (_shares(classes, len(rates)) + added * expected[:, None]) / (1 + added)
    row_weights = (1 + added) * sample_weights
    logits = np.concatenate([logits, np.broadcast_to(rates[:, None], logits[:1].shape)])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:  # and its gradient, (G + 1,)
        losses, slopes = _log_losses(np.tensordot(weights, logits, 1) + offset, shares)
        difference = weights - start
        total = row_weights @ losses + PENALTY["classes"] * np.square(difference).sum()
        gradient = np.tensordot(logits, row_weights * slopes, 2)
        return total / count, (gradient + 2 * PENALTY["classes"] * difference) / count

    bounds = len(start) * [(0, MAX_WEIGHT["classes"])]
    options = {"ftol": TOLERANCE}
    return scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


def _value_weights(values: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> np.ndarray:
    """Weights and an offset with the lowest squared error: (G, n), (n,), (n,) -> (G + 1,)."""
    count = len(values)
    root = np.sqrt(sample_weights)
    mean = values.mean(axis=0)
    targets = mean + (targets - mean).clip(-MAX_ERROR, MAX_ERROR)
    penalty = np.sqrt([PENALTY["values"]] * count + [OFFSET_PENALTY])
    rows = np.concatenate([root * np.concatenate([values, np.ones((1, len(targets)))]), np.diag(penalty)], axis=1)
    expected = np.concatenate([root * targets, penalty[:-1] / count, [0]])
    bounds = [0.0] * count + [-np.inf], [MAX_WEIGHT["values"]] * count + [np.inf]
    return scipy.optimize.lsq_linear(rows.T, expected, bounds=bounds).x


def _shares(classes: np.ndarray, heads: int) -> np.ndarray:  # (n,) -> (C, n)
    """1 for the class of a sample, else 0; with one head, that of the second class."""
    numbers = np.arange(heads) if heads > 1 else np.array([1])
    return (classes == numbers[:, None]).astype(np.float64)


def _log_losses(logits: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-losses of the heads' probabilities, normalised to sum to one, and their derivatives by the logits.

    Shapes: (C, n), (C, n) how much of a sample is of each class -> (n,), (C, n).
    """
    if len(logits) == 1:
        return np.logaddexp(0, logits[0]) - shares[0] * logits[0], expit(logits) - shares
    log_p = log_expit(logits)
    p = np.exp(log_p)  # above 0, since weights and the logits of networks are bounded
    sums = p.sum(axis=0)
    return np.log(sums) - (shares * log_p).sum(axis=0), (p / sums - shares) * -np.expm1(log_p)

"""The last neuron: models that predict the same targets, mixed by weights that learn.

It is a neuron as in the networks: with geometric mixing, a probability is sigmoid(sum of w logit p) of what the models
predicted earlier, and each sample changes the weights. There are so few that Newton's steps take no longer
than others: with the derivative r and the curvature h of the loss by the sum, and the mixed values z of the experts,

    H <- FADING H + (1 - FADING) CURVATURE I + h z z',    w <- w - r H^-1 z

so that old samples count less and less. Numbers are mixed as they are, with the squared error; in streams, of which the
first samples tell little, with z - mean(z) in place of z, so that weights keep their sum. Variances are mixed by their
logarithms, with the loss of a normal distribution.
Sources: Veness et al. (see README) for geometric mixing; L. Ljung and T. Söderström, Theory and Practice of Recursive
Identification, 1983, for Newton's steps that forget.

Shapes: M models, E experts and a constant, C heads, T targets (1 for classes), n samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import repeats_of
from gln.engine.jit import WritableArrays, compiled, is_compiled
from gln.engine.saving import Array, saved

# The loss of 40 streams is the same within .3 % for fadings of .998 and .9995.
FADING = 0.999
# Before the first sample, and again by and by. Classes: 5 to 20 are as good, but at 2 the first samples of ten classes
# can drive weights far away. Numbers: 1 to 10; less is worse for streams of a hundred samples, more slower for long
# ones. Variances: 5 is as good until noise grows at once, and then weights go too far.
CURVATURE = {"logit": 20.0, "itself": 3.0, "log": 50.0}
# Times so much between experts that were one. 3 to 30 are as good; at 1, a few more rows can make a table 3% worse.
ALIKE = 10.0
# The curvature of a rival at first, and how many times as fast as others it fades. Without it, five rows of something
# new may turn predictions round; where it lasts longer, at 20 to 80, rows of a table's own kind are predicted worse.
DOUBT, TRUST = 1000.0, 160
LEAST_CURVATURE = 0.005  # of a sample; .0003 to .01 are as good, and .02 is slow where a concept changes at once
# An error of a number counts up to so many times the mean of recent ones, since one of a hundred may be an outlier; a
# squared deviation, up to so many times its variance: at 100, a single one makes intervals too wide.
MAX_ERROR = 2.0
SPREAD_STEP = 0.01
MAX_RATIO = 25.0
LEAST, MOST = 2.0**-126, 1 - 2.0**-24  # float32's neighbours of 0 and 1
ONE = np.ones(1)  # how long a step each sample makes, of any number of them
LOGIT, ITSELF, LOG = 0, 1, 2  # what is mixed, for compiled loops
NUMBERS = {"logit": LOGIT, "itself": ITSELF, "log": LOG}


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.minimum(np.maximum(p.astype(np.float64), LEAST), MOST)
    return np.log(p) - np.log1p(-p)


# From a prediction to what is mixed, and back.
LINKS: dict[str, Callable[..., np.ndarray]] = {"logit": _logit, "log": np.log, "itself": np.asarray}
INVERSE_LINKS = LINKS | {"logit": lambda s: 1 / (1 + np.exp(-s)), "log": np.exp}


class WeightedSum(NamedTuple):
    """What a combination does now with logits, values or log variances, of M models or experts."""

    weights: np.ndarray  # (M, C or 1)
    offsets: np.ndarray  # (C,)

    def combine(self, values: np.ndarray) -> np.ndarray:  # (M, C, n) -> (C, n)
        return (values * self.weights[:, :, None]).sum(axis=0) + self.offsets[:, None]


class CombinationState(NamedTuple):
    """A `Combination` as compiled loops take it."""

    link: int  # one of LOGIT, ITSELF and LOG
    first_curvature: float
    experts: np.ndarray  # (M,)
    constants: np.ndarray  # (C,)
    weights: np.ndarray  # (T, E)
    curvature: np.ndarray  # (T, E, E)
    spread: np.ndarray  # (T,)
    doubts: np.ndarray  # (T, E)


@saved(
    link=lambda link: link in CURVATURE,
    experts=Array("i8", "M", 0, "E"),
    constants=Array("f8", "C"),
    weights=Array("f8", "T E"),
    curvature=Array("f8", "T E E"),
    spread=Array("f8", "T", 0),
    doubts=Array("f8", "T E", 0),
)
@dataclasses.dataclass
class Combination(WritableArrays):
    """The weights of experts, and what the samples so far say about them."""

    link: str  # the models' logits, log variances or values "itself" are mixed
    experts: np.ndarray  # (M,), which expert each model belongs to; the mean of its models is mixed
    constants: np.ndarray  # (C,), what one more expert, the last, always says; 0 leaves it out
    weights: np.ndarray  # (T, E), one row for all classes, or one for each label or number
    curvature: np.ndarray  # (T, E, E)
    spread: np.ndarray  # (T,), of numbers, the mean of recent absolute errors
    doubts: np.ndarray  # (T, E), the part of the curvature that holds rivals back

    @classmethod
    def of_weights(cls, link: str, experts: np.ndarray, constants: np.ndarray, weights: np.ndarray) -> Combination:
        """One that has learned no sample so far."""
        curvature = np.tile(CURVATURE[link] * np.eye(weights.shape[1]), (len(weights), 1, 1))
        return cls(link, experts, constants, weights, curvature, np.ones(len(weights)), np.zeros(weights.shape))

    @classmethod
    def equal(cls, link: str, experts: np.ndarray, constants: np.ndarray, targets: int) -> Combination:
        """The mean of the experts."""
        weights = np.append(np.full(experts.max() + 1, 1 / (experts.max() + 1)), 0)
        return cls.of_weights(link, experts, constants, np.tile(weights, (targets, 1)))

    def knowing(self, values: np.ndarray, sample_weights: np.ndarray) -> Combination:  # (E - 1, C, n), (n,)
        """As if it had learned nothing but samples like these, for which experts predicted these logits, values or log
        variances, for as long as it remembers, so that a few others that follow change the weights little."""
        constants = np.broadcast_to(self.constants[:, None], (1, *values.shape[1:]))
        z = np.concatenate([values, constants])
        is_joint = len(self.weights) < values.shape[1]
        sizes = sample_weights / max(1, sample_weights.sum()) / (1 - FADING)
        for t, curvature in enumerate(self.curvature):
            mixed = z if is_joint else z[:, t : t + 1]
            p = INVERSE_LINKS["logit"](np.tensordot(self.weights[t], mixed, 1))
            bends = {"logit": p * (1 - p), "itself": np.ones(p.shape), "log": np.full(p.shape, 0.5)}[self.link]
            if is_joint:
                bends = p / p.sum(axis=0)
                mixed = (1 - p) * mixed
                mean = np.einsum("cn,ecn->en", bends, mixed)
                curvature -= (sizes * mean) @ mean.T
            curvature += np.einsum("cn,ecn,fcn->ef", sizes * bends, mixed, mixed, optimize=True)
        return self

    def of_experts(self, offset: float = 0.0) -> WeightedSum:
        """The present sum of what experts mix; `offset` is added to each head."""
        return WeightedSum(self.weights[:, :-1].T, offset + self.constants * self.weights[:, -1])

    def of_models(self, offset: float = 0.0) -> WeightedSum:
        """As `of_experts`, of the models."""
        weights, offsets = self.of_experts(offset)
        return WeightedSum((weights.T / np.bincount(self.experts)).T[self.experts], offsets)

    def combine(self, predicted: np.ndarray, offset: float = 0.0) -> np.ndarray:  # (M, C, n) -> (C, n)
        """The combined predictions."""
        if is_compiled():
            return self.learn(predicted, np.empty((len(self.constants), 0)), offset)
        mixed = LINKS[self.link](np.asarray(predicted, np.float64))
        return INVERSE_LINKS[self.link](self.of_models(offset).combine(mixed))

    def learn(
        self,
        predicted: np.ndarray,  # (M, C, n), when each sample was to be predicted
        targets: np.ndarray,  # (C, n), not finite if unknown; or (C, 0) to learn nothing
        offset: float = 0.0,
        step_sizes: np.ndarray = ONE,  # (n,) or (1,)
    ) -> np.ndarray:  # -> (C, n)
        """Learn samples, and return the combined predictions before each."""
        arrays = np.ascontiguousarray(predicted, np.float32), np.ascontiguousarray(targets, np.float32)
        return compiled(mix)(*arrays, self.loop_state, offset, step_sizes)

    @property
    def loop_state(self) -> CombinationState:
        """What `mix` takes."""
        return CombinationState(NUMBERS[self.link], CURVATURE[self.link], **self.arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if name != "link"}

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def with_models(self, new: int) -> Combination:
        """With new models, each an expert that counts nothing so far."""
        count = self.weights.shape[1] - 1
        grown = Combination.of_weights(
            self.link,
            np.append(self.experts, np.arange(count, count + new)),
            self.constants,
            np.insert(self.weights, [count] * new, 0, axis=1),
        )
        old = [*range(count), -1]
        grown.curvature[np.ix_(range(len(self.weights)), old, old)] = self.curvature
        grown.spread = self.spread
        grown.doubts[:, old] = self.doubts
        return grown

    def with_rival(self) -> Combination:
        """With one more model, an expert that counts nothing so far, as if it had predicted what this combination did.

        Its weight comes from all others together, slowly at first, since it has learned nothing.
        """
        grown = self.with_models(1)
        old = [*range(self.weights.shape[1] - 1), -1]
        for curvature, before, weights in zip(grown.curvature, self.curvature, self.weights, strict=True):
            shared = before @ weights
            curvature[-2, old] = shared
            curvature[old, -2] = shared
            curvature[-2, -2] = weights @ shared + CURVATURE[self.link] + DOUBT
        grown.doubts[:, -2] = DOUBT
        return grown

    def divided(self, experts: np.ndarray) -> Combination:  # (M,)
        """The same sum, of more experts: each is some of the models of an expert of before."""
        _, first, models = np.unique(experts, return_index=True, return_counts=True)
        old = np.append(self.experts[first], self.weights.shape[1] - 1)
        shares = np.append(models / np.bincount(self.experts)[old[:-1]], 1.0)
        grown = Combination.of_weights(self.link, experts, self.constants, self.weights[:, old] * shares)
        learned = self.curvature - CURVATURE[self.link] * np.eye(self.weights.shape[1])
        grown.curvature = ALIKE * grown.curvature + learned[:, old][:, :, old]
        grown.spread = self.spread
        return grown

    def with_class(self) -> Combination:
        """With one more class."""
        are_two = len(self.constants) == 1  # which share a head
        constants = np.zeros(3) if are_two else np.append(self.constants, self.constants.min())
        return dataclasses.replace(self, constants=constants)

    def with_targets(self, kept: Sequence[int], new: int) -> Combination:
        """Of the targets `kept`, in this order, and of new ones."""
        first = Combination.equal(self.link, self.experts, self.constants[:1].repeat(len(kept) + new), new)
        for name in ("weights", "curvature", "spread", "doubts"):
            setattr(first, name, np.concatenate([getattr(self, name)[list(kept)], getattr(first, name)]))
        return first


# ---- Loops -----------------------------------------------------------------------------------------------------------


def mix(
    predicted: np.ndarray,  # (M, C, n) float32
    targets: np.ndarray,  # (C, n) float32, or (C, 0) to learn nothing
    state: CombinationState,  # whose weights, curvature, spread and doubts change
    offset: float,
    step_sizes: np.ndarray,  # (n,) or (1,)
) -> np.ndarray:
    """The combined predictions (C, n), each before the sample was learned."""
    _, heads, count = predicted.shape
    weights = state.weights
    combined = np.empty((heads, count))
    z = np.empty((weights.shape[1], heads))
    for b in range(count):
        mix_experts(predicted, targets, b, state, z)
        for c in range(heads):
            s = weighted_sum(weights[min(c, len(weights) - 1)], z[:, c], offset)
            combined[c, b] = sigmoid(s) if state.link == LOGIT else math.exp(s) if state.link == LOG else s
        if targets.shape[1] > 0:
            learn_sample(z, targets[:, b], state, step_sizes[b % len(step_sizes)])
    return combined


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s))


def add_linear_predictions(predicted: np.ndarray, first: int, linear: np.ndarray, are_logits: bool) -> None:
    """Fill the predictions (M, C, n) from model `first` on with those of linear models, (m C, n) values or logits."""
    _, heads, count = predicted.shape
    for row in range(len(linear)):
        for b in range(count):
            s = float(linear[row, b])
            predicted[first + row // heads, row % heads, b] = sigmoid(s) if are_logits else s


def mix_experts(
    predicted: np.ndarray,  # (M, C, n)
    targets: np.ndarray,  # (C, n) or (C, 0)
    b: int,
    state: CombinationState,
    z: np.ndarray,  # (E, C), filled
) -> None:
    """Fill in what the experts say of sample b, as it is mixed, and the constants; 0 for heads that predict nothing."""
    experts = state.experts
    z[:-1] = 0
    z[-1] = state.constants
    sizes = np.zeros(len(z))
    for m in range(len(experts)):
        sizes[experts[m]] += 1
    for c in range(len(state.constants)):
        if targets.shape[1] > 0 and math.isinf(targets[c, b]):
            continue
        for m in range(len(experts)):
            value: float = np.float64(predicted[m, c, b])  # in compiled code, `float` leaves it in single precision
            if state.link == LOGIT:
                value = min(max(value, LEAST), MOST)
                value = math.log(value) - math.log1p(-value)
            elif state.link == LOG:
                value = math.log(value)
            z[experts[m], c] += value / sizes[experts[m]]


def learn_sample(z: np.ndarray, targets: np.ndarray, state: CombinationState, size: float) -> None:  # (E, C), (C,)
    """Learn one sample, in as many steps as the networks make; old samples fade with the first step alone."""
    repeats = repeats_of(size)
    part = size / repeats
    for step in range(repeats):
        fading = FADING ** min(size, 1.0) if step == 0 else 1.0
        if len(state.weights) < len(targets):
            learn_classes(z, targets, state, fading, part)
            continue
        for t in range(len(targets)):
            if math.isfinite(targets[t]):
                learn_target(z[:, t], np.float64(targets[t]), state, t, fading, part)


def learn_target(
    z: np.ndarray,  # (E,)
    y: float,
    state: CombinationState,
    t: int,
    fading: float,
    size: float,
) -> None:
    """One step of the weights of target t: a label, a number or a variance."""
    x = z.copy()
    s = weighted_sum(state.weights[t], z, 0.0)
    slope, bend = derivatives(s, y, state.link, MAX_ERROR * state.spread[t])
    forget(state, t, fading)
    if state.link == ITSELF:
        error = min(abs(s - y), 5 * state.spread[t])
        state.spread[t] += (1 - (1 - SPREAD_STEP) ** size) * (error - state.spread[t])
        average = z[:-1].mean() if z[-1] == 0 else 0.0
        for e in range(len(x) - 1):
            x[e] -= average
    gradient = np.zeros(len(x))
    add_scaled(x, size * slope, gradient)
    add_outer_product(x, size * bend, state.curvature[t])
    subtract_solution(state.curvature[t], gradient, state.weights[t])


def derivatives(s: float, y: float, link: int, most: float) -> tuple[float, float]:
    """The first and second derivative by the sum s of the loss, where an error of a number counts at most so much."""
    if link == ITSELF:
        return min(max(s - y, -most), most), 1.0
    if link == LOG:
        return (1 - min(y * y * math.exp(-s), MAX_RATIO)) / 2, 0.5
    p = sigmoid(s)
    return p - y, max(p * (1 - p), LEAST_CURVATURE)


def learn_classes(z: np.ndarray, targets: np.ndarray, state: CombinationState, fading: float, size: float) -> None:
    """One step of the weights that all classes share, whose probabilities sum to one: (E, C), (C,)."""
    p = np.zeros(len(targets))
    total = 0.0
    for c in range(len(p)):
        if math.isfinite(targets[c]):
            p[c] = sigmoid(weighted_sum(state.weights[0], z[:, c], 0.0))
            total += p[c]
    if total == 0:  # no target is known
        return
    forget(state, 0, fading)
    gradient = np.zeros(len(z))
    mean = np.zeros(len(z))
    for c in range(len(p)):
        if math.isfinite(targets[c]):
            share = p[c] / total
            slope = (share - np.float64(targets[c])) * (1 - p[c])  # of -log(share) of the sample's class
            bend = max(share, LEAST_CURVATURE) * (1 - p[c]) ** 2
            add_scaled(z[:, c], share * (1 - p[c]), mean)
            add_scaled(z[:, c], size * slope, gradient)
            add_outer_product(z[:, c], size * bend, state.curvature[0])
    add_outer_product(mean, -size, state.curvature[0])
    subtract_solution(state.curvature[0], gradient, state.weights[0])


def forget(state: CombinationState, t: int, fading: float) -> None:
    """Let the curvature of target t fade to the first one, and the doubts about rivals sooner."""
    curvature = state.curvature[t]
    doubts = state.doubts[t]
    for e in range(len(doubts)):
        for f in range(len(doubts)):
            curvature[e, f] *= fading
        curvature[e, e] += (1 - fading) * state.first_curvature
        gone = fading * doubts[e] * (1 - fading**TRUST)
        curvature[e, e] -= gone
        doubts[e] = fading * doubts[e] - gone


def weighted_sum(weights: np.ndarray, z: np.ndarray, start: float) -> float:  # (E,), (E,), ()
    s = start
    for e in range(len(z)):
        s += weights[e] * z[e]
    return s


def add_scaled(x: np.ndarray, factor: float, total: np.ndarray) -> None:  # (E,), (), (E,)
    for e in range(len(x)):
        total[e] += factor * x[e]


def add_outer_product(x: np.ndarray, factor: float, total: np.ndarray) -> None:  # (E,), (), (E, E)
    for e in range(len(x)):
        for f in range(len(x)):
            total[e, f] += factor * x[e] * x[f]


def subtract_solution(matrix: np.ndarray, vector: np.ndarray, x: np.ndarray) -> None:  # (E, E), (E,), (E,)
    """x <- x - matrix^-1 vector, for a positive definite matrix, by Cholesky's factors.

    LAPACK takes five times as long for so few numbers, and gives other bits in compiled code.
    """
    size = len(vector)
    factor = np.zeros((size, size))
    solution = vector.copy()
    for i in range(size):
        for j in range(i + 1):
            s = matrix[i, j]
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(s) if i == j else s / factor[j, j]
    for i in range(size):
        for k in range(i):
            solution[i] -= factor[i, k] * solution[k]
        solution[i] /= factor[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            solution[i] -= factor[k, i] * solution[k]
        solution[i] /= factor[i, i]
        x[i] -= solution[i]

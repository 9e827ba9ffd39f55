"""Contextual bandits: which arm to pull, learned from the rewards of the arms that were pulled.

Rewards are predicted by a head for each arm, or, if arms have features, by one model of contexts and arms together.
Exploration is based on counts: how often the weight rows that a context picks were updated for an arm. Source of the
idea: Sezener et al., Online Learning in Contextual Bandits using Gated Linear Networks, NeurIPS 2020. There, a reward
is a tree of bits with one network each, and the bonus uses a soft maximum of the counts.

Shapes: A arms, F features.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from gln.engine.batches import SampleBatch, check_integer
from gln.engine.interrupts import uninterrupted
from gln.engine.jit import compiled
from gln.engine.model.sample_weights import STREAM_WEIGHT
from gln.engine.model.saveable import Saveable
from gln.engine.saving import Number
from gln.engine.streaming.arms import ArmHeads, Features, JointArms, Nameless, some_of
from gln.engine.streaming.estimator import ONCE, check_seed
from gln.engine.streaming.model import stream_config
from gln.engine.streaming.values import MOST, check_arm, check_key
from gln.engine.types import Arm, Arms, Context, Label, Row

__all__ = ["Decision", "GLNBandit", "LoggedDecision"]

# Ways to explore and their default strengths: the factor of the gap for each arm, so that a hundred arms are explored
# no more than five; that of the bonus; and the share of random decisions. Two networks, slow and fast, are no better
# than one and take twice the time.
STRENGTHS = {"inverse-gap": 30.0, "counts": 0.3, "epsilon": 0.05, "greedy": 0.0}
REWARDS = {"numbers": (-MOST, MOST), "probabilities": (0.0, 1.0)}
MARGIN = 0.1  # of the range of the rewards so far, by which values may leave it
MOST_PAIRS = 1 << 15  # of contexts and arms, whose values are computed together
MOST_PENDING = 1000  # decisions for an arm that wait for a reward: of more, most will never get one


class Decision(NamedTuple):
    """What `GLNBandit.decide` returns."""

    arm: Arm
    propensity: float  # the probability with which this arm was chosen
    value: float  # its predicted reward


class LoggedDecision(NamedTuple):
    """A row of a log, for `GLNBandit.learn_log` and `gln.off_policy`; a plain tuple in this order will do."""

    context: Context
    arm: Arm  # the chosen one
    reward: float
    propensity: float  # the probability with which this arm was chosen
    arms: Arms = None  # those that were offered: as for `decide`, or a list of features, of which `arm` is the index
    weight: float = 1.0  # how many decisions the row stands for: 1 / (1 - p), if a share p of them was not logged


class GLNBandit(Saveable):
    """Contextual bandit that predicts each arm's reward with a Gated Linear Network, and adapts to drift.

    `decide` chooses an arm for a context; `learn` learns its reward, at once or later and in any order. Features and
    rewards need no scaling. Arms, features and levels of categories may appear at any time. Of more than 1,000 arms
    without features that were rewarded, half are forgotten: those rewarded longest ago.

    Parameters
    ----------
    arms
        Arms known from the start; any hashable values. `decide` adds those that it is offered.
    explore
        "counts" chooses the arm that is the most promising, with the largest value + strength * sqrt(ln t / (1 + n)): t
        is the number of rewards learned, n counts those of the arm in the same region, a mean over neurons, and its
        decisions whose reward has not been learned yet. "inverse-gap" does so with a strength of 0.3 most of the time,
        but draws each other arm with a probability above zero, 1 / (A + strength * sqrt(t) * gap), where gap is how
        much less promising it is. Gaps and values are in standard deviations of the rewards. "epsilon" draws a random
        arm with probability strength. "greedy" never explores. Of several best arms, those with the lowest n are
        equally probable.
    strength
        How much to explore, and for "inverse-gap" how little. None is 30 A for "inverse-gap", 0.3 for "counts" and 0.05
        for "epsilon".
    rewards
        "numbers", or "probabilities": then rewards and values are from 0 to 1.
    layer_sizes, context_map_size, context_bias, learning_rate, backend, seed
        As in `gln.river.GLNRegressor`. The seed also determines random decisions.

    Examples
    --------
    >>> from gln.bandits import GLNBandit
    >>> bandit = GLNBandit(arms=["news", "sports"], seed=0)
    >>> for i in range(300):
    ...     context = {"age": 20 + i * 7 % 50}
    ...     decision = bandit.decide(context)
    ...     bandit.learn(context, decision.arm, reward=(decision.arm == "news") == (context["age"] > 45))
    >>> bandit.decide({"age": 60}).arm, bandit.decide({"age": 30}).arm
    ('news', 'sports')
    """

    kept: ClassVar[dict[str, Any]] = {
        "_model": (ArmHeads, JointArms),
        "_retired": {object: type(None)},
        "_pending": {object: Number(int, 1, MOST_PENDING)},
        "_size": (Number(int, 1), None),
        "_draws": Number(int, 0),
        "_key": Number(int, 0),
    }

    def __init__(
        self,
        arms: Iterable[Hashable] = (),
        *,
        explore: str = "inverse-gap",
        strength: float | None = None,
        rewards: str = "numbers",
        layer_sizes: Sequence[int] = (64, 32),
        context_map_size: int = 6,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str = "auto",
        seed: int | None = None,
    ) -> None:
        check_seed(seed)
        _check_options(explore, strength, rewards)
        offered = _offered(arms)
        for arm in offered:
            check_arm("arm", arm)
        self.arms = offered if isinstance(arms, Mapping) else tuple(offered)
        self.explore = explore
        self.strength = strength
        self.rewards = rewards
        self.layer_sizes = layer_sizes
        self.context_map_size = context_map_size
        self.context_bias = context_bias
        self.learning_rate = learning_rate
        self.backend = backend
        self.seed = seed
        config = stream_config(layer_sizes, context_map_size, context_bias, backend, seed)
        self._options = config, learning_rate
        self._model: Any = ArmHeads(*self._options)
        self._retired: dict[Hashable, None] = {}  # a set in order, which a file can hold
        self._pending: dict[Hashable, int] = {}  # decisions for arms whose rewards have not been learned yet
        self._size: int | None = None  # length of contexts that are vectors
        self._draws = 0  # random decisions so far
        self._key = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._add(*self._with_features(self.arms))

    # ---- Deciding ----------------------------------------------------------------------------------------------------

    @overload
    def decide(self, context: Context, arms: Arms = None, k: None = None) -> Decision: ...
    @overload
    def decide(self, context: Context, arms: Arms = None, *, k: int) -> list[Decision]: ...
    def decide(self, context: Context, arms: Arms = None, k: int | None = None) -> Decision | list[Decision]:
        """Choose an arm for a context, or several.

        Parameters
        ----------
        context
            A dictionary of numbers, bools and strings, or a vector; NaN, None or an absent key is a missing value. None
            means that there is no context.
        arms
            The arms to choose from; some may be new. A dictionary has the features of each arm, a dictionary or a
            vector like those of contexts. None is all known arms that are not retired, with the features that they had
            last.
        k
            Return a list of k different arms, the first choice first; of all arms, if there are fewer. Each is chosen,
            and its propensity computed, as if only the arms not chosen yet were available.

        Raises
        ------
        ValueError
            No arm to choose from, one that is given twice or retired, infinity, a vector of the wrong length, a `k`
            below 1, or features of arms if rewards were learned without any.
        """
        if k is not None:
            check_integer("k", k, 1)
        decisions = self._decide([context], arms, k or 1)
        return decisions[0] if k is None else decisions

    def decide_many(self, contexts: Iterable[Context], arms: Arms = None) -> list[Decision]:
        """Choose an arm for each of several contexts, as `decide` does for one after another, in less time."""
        return self._decide(_listed("contexts", contexts), arms, 1)

    @uninterrupted
    def _decide(self, contexts: list[Context], arms: Arms, k: int) -> list[Decision]:
        """A decision in each context, or k in a single one."""
        model, offered = self._choice(arms)
        samples = model.encode(self._features(contexts)[0])
        decisions = list[Decision]()
        block = max(1, MOST_PAIRS // len(offered))
        start = 0
        while start < len(contexts):  # the first one alone, because it makes new arms known
            rows = slice(start, min(start + block, len(contexts)) if start else 1)
            decisions += self._chosen(model, [*offered], *self._values(model, samples.take(rows), offered), k)
            if start == 0:
                self._add(model, offered)
            start = rows.stop
        return decisions

    def _chosen(
        self, model: Any, arms: list[Hashable], values: np.ndarray, counts: np.ndarray, k: int
    ) -> list[Decision]:
        """Decisions by values and counts, (B, A), which wait for their rewards from now on."""
        decisions = list[Decision]()
        pending = self._waiting(arms)
        while arms and len(decisions) < k:
            _, indices, chosen = self._choices(model, values, counts, pending, [self._draw() for _ in values])
            decisions += map(Decision, [arms[index] for index in indices.tolist()], *chosen.tolist())
            if len(decisions) < k:
                del arms[indices[0]]
                values, counts, pending = (np.delete(array, indices[0], -1) for array in (values, counts, pending))
        for arm, _, _ in decisions:
            self._wait_for(arm)
        return decisions

    def _wait_for(self, arm: Hashable) -> None:
        self._pending[arm] = self._pending.get(arm, 0) + 1
        if self._pending[arm] > MOST_PENDING:  # some rewards never come
            self._pending = {other: count // 2 for other, count in self._pending.items() if count > 1}

    def _draw(self) -> float:
        """A random number from 0 to 1, exclusive: a hash, because NumPy's generators take far longer to start."""
        digest = hashlib.blake2b(b"%d %d" % (self._key, self._draws), digest_size=6).digest()
        self._draws += 1
        return int.from_bytes(digest, "little") / 2**48

    def propensities(self, context: Context, arms: Arms = None) -> dict[Label, float]:
        """The probability with which `decide` would choose each arm; same arguments and errors."""
        return self.judged([context], arms)[0][0]

    def judged(self, contexts: list[Context], arms: Arms = None) -> list[tuple[dict[Label, float], dict[Label, float]]]:
        """What `propensities` and `predict` return for each of these contexts, computed once for both."""
        model, offered = self._choice(arms)
        values, counts = self._values(model, model.encode(self._features(contexts)[0]), offered)
        pending = self._waiting(offered)
        results = []
        # Not together: each choice would be pending for the next.
        for row, row_counts in zip(values, counts, strict=True):
            p, *_ = self._choices(model, row[None], row_counts[None], pending.copy(), [0.0])
            policy = dict(zip(offered, p[0].tolist(), strict=True))
            results.append((policy, dict(zip(offered, row.tolist(), strict=True))))
        return results

    def _choice(self, arms: Arms) -> tuple[ArmHeads | JointArms, dict[Any, Any]]:
        """The model, and the arms to choose from, with their features."""
        model, offered = self._with_features(self._model.arms if arms is None else arms)
        if None in offered:
            check_arm("arm", None)
        if not offered or not self._retired.keys().isdisjoint(offered):
            retired = [arm for arm in offered if arm in self._retired]
            raise ValueError(f"arms: expected one or more that are not retired, got {some_of(retired)}")
        return model, offered

    def _values(
        self, model: ArmHeads | JointArms, contexts: SampleBatch, offered: Row
    ) -> tuple[np.ndarray, np.ndarray]:  # -> (B, A), (B, A)
        """Values and counts of arms in contexts."""
        values, counts = model.predict(contexts, offered)
        low, high = REWARDS[self.rewards]
        if model.learner is not None:
            known = model.rewards
            margin = MARGIN * (known.high[0] - known.low[0])
            low = max(low, known.low[0] - margin)
            high = min(high, known.high[0] + margin)
        return values.clip(low, high), counts

    def _waiting(self, arms: Collection[Hashable]) -> np.ndarray:  # -> (A,)
        """How many decisions for each arm wait for their rewards."""
        return np.array([self._pending.get(arm, 0) for arm in arms]) if self._pending else np.zeros(len(arms), int)

    def predict(self, context: Context, arms: Arms = None) -> dict[Label, float]:
        """The predicted reward of each arm; without a reward so far, the mean of all rewards.

        The reward of an arm with features is predicted from them even before its first reward. Arguments and errors
        are those of `decide`, but there may be no arm.
        """
        if arms is None and not self._model.arms:
            return {}
        return self.judged([context], arms)[0][1]

    def explain(self, context: Context) -> tuple[dict[Label, dict[Label, float]], dict[Label, float]]:
        """Contributions of the features to the value of each arm with a learned reward, and a constant for each arm.

        They add up to the value before it is clipped to the range of the rewards. If arms have features, the keys are
        ("context", name) and ("arm", name), and ("arm",) for which arm it is.
        """
        return self._model.explain(self._features([context])[0][0])

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, context: Context, arm: Hashable, reward: float, features: Context = None) -> None:
        """Learn the reward of an arm, with the context in which it was chosen.

        The arm may be new, as when rewards from elsewhere are learned before the first decision. A reward is ignored
        if its arm has been retired since. Without `features`, an arm has those with which it was last offered.

        Raises
        ------
        ValueError
            A reward that is not finite or out of range, infinity in the context, or a vector of the wrong length;
            nothing is learned then.
        """
        check_arm("arm", arm)
        self._learn([context], [{arm: reward}], None if features is None else {arm: features})

    def learn_all(self, context: Context, rewards: Mapping[Hashable, float]) -> None:
        """Learn the known rewards of several arms in one context; errors as in `learn`."""
        if not isinstance(rewards, Mapping):
            raise ValueError(f"rewards: expected a dictionary of arms and their rewards, got {rewards!r}")
        self._learn([context], [rewards])

    def learn_many(self, contexts: Iterable[Context], arms: Iterable[Hashable], rewards: Iterable[float]) -> None:
        """Learn the rewards of many decisions, as `learn` does one after another, in less time; errors as there."""
        rows = [_listed(*pair) for pair in (("contexts", contexts), ("arms", arms), ("rewards", rewards))]
        if not len(rows[0]) == len(rows[1]) == len(rows[2]):
            came = ", ".join(f"{len(row)}" for row in rows)
            raise ValueError(f"contexts, arms, rewards: expected as many of each, got {came}")
        for arm in rows[1]:
            check_arm("arm", arm)
        self._learn(rows[0], [{arm: reward} for arm, reward in zip(*rows[1:], strict=True)])

    def learn_log(self, rows: Iterable[Sequence[Any]]) -> None:
        """Learn decisions that others made, in their order; their propensities are not needed.

        `rows` are `LoggedDecision`s or tuples like them. Unknown arms are added. A weight is of up to 10^6; one of 2
        counts as two rows. Raises ValueError as `learn` does; the rows before have been learned then.
        """
        for row in rows:
            self.learn_block([checked_decision(row)])

    def learn_block(self, rows: Sequence[LoggedDecision]) -> None:
        """Learn rows that were `checked`, with the same arms: all or, if there is an error, none."""
        named = named_arms(rows[0].arms)
        arms = [row.arm for row in rows]
        features = None
        if isinstance(named, Mapping):
            unknown = [arm for arm in arms if arm not in named]
            if unknown:
                raise ValueError(f"arm: expected one of {some_of(named)}, got {unknown[0]!r}")
            keys: list[Hashable] = arms if named is rows[0].arms else [Nameless() for _ in rows]
            features = {key: named[arm] for key, arm in zip(keys, arms, strict=True)}
            arms = keys
        rewards = [{arm: row.reward} for arm, row in zip(arms, rows, strict=True)]
        self._learn([row.context for row in rows], rewards, features, np.array([row.weight for row in rows], float))

    @uninterrupted
    def _learn(
        self,
        contexts: list[Context],
        rewards: Sequence[Mapping[Any, float]],
        arms: Mapping[Hashable, Any] | None = None,
        weights: np.ndarray = ONCE,  # of one or all
    ) -> None:
        for by_arm in rewards:
            for arm, reward in by_arm.items():
                if arms is None:
                    check_arm("arm", arm)
                if arm not in self._retired:
                    _check_reward(reward, *REWARDS[self.rewards])
        features, size = self._features(contexts)
        retired = self._retired
        if retired:
            rewards = [{arm: reward for arm, reward in by_arm.items() if arm not in retired} for by_arm in rewards]
            weights = weights if weights is ONCE else weights[[bool(by_arm) for by_arm in rewards]]
        rows = [x for x, by_arm in zip(features, rewards, strict=True) if by_arm]
        rewards = [by_arm for by_arm in rewards if by_arm]
        if not rows:
            return
        model, offered = (self._model, {}) if arms is None else self._with_features(arms)
        if model.learner is None:
            model = copy.deepcopy(model)  # on which all is tried
            if features[0] and not isinstance(contexts[0], Mapping):
                model.read_all()
        model.learn(rows, rewards, offered, weights)
        self._model = model
        self._size = size
        for arm in itertools.chain(*rewards):
            if arm in self._pending:
                self._pending[arm] -= 1
                if self._pending[arm] == 0:
                    del self._pending[arm]

    @uninterrupted
    def add_arm(self, arm: Hashable, features: Features | None = None) -> None:
        """Add an arm, unless it is retired, or change its features. `decide` adds the arms that it is offered."""
        check_arm("arm", arm)
        if arm not in self._retired:
            self._add(*self._with_features({arm: features}))

    @uninterrupted
    def retire(self, arm: Hashable) -> None:
        """Remove an arm for good, with everything learned about it. Raises ValueError for an unknown arm."""
        check_key("arm", "arms", arm)
        if arm not in self._model.arms:
            raise ValueError(f"arm: expected one of {some_of(self._model.arms)}, got {arm!r}")
        self._retired[arm] = None
        self._pending.pop(arm, None)
        self._model.retire(arm)

    # ---- Internals ---------------------------------------------------------------------------------------------------

    def _restore(self, fields: Mapping[str, Any]) -> None:
        # Of the kind in the file, whether or not `arms`, a parameter, have features.
        self._model = type(fields["_model"])(*self._options)
        super()._restore(fields)

    def _check_loaded(self) -> None:
        self._model.check()

    def _features(self, contexts: Sequence[Context]) -> tuple[list[Features], int | None]:
        """Contexts as dictionaries of features, and the length of those that are vectors."""
        named = list[Features]()
        size = self._size
        for context in contexts:
            named.append(named_features("context", context, size))
            if context is not None and not isinstance(context, Mapping):
                size = len(named[-1])
        return named, size

    def _with_features(self, arms: Arms) -> tuple[ArmHeads | JointArms, dict[Any, Any]]:
        """The model for these arms, and the features that they are given, or had last; None if no arm has any."""
        model = self._model
        offered = dict[Any, Any].fromkeys(arms) if arms is self._model.arms else _offered(arms)
        kinds = set(map(type, offered.values()))
        if isinstance(model, ArmHeads) and kinds <= {type(None)}:
            return model, offered
        joint = model if isinstance(model, JointArms) else JointArms(*self._options, model.arms)  # the first features
        known: Features = next(iter(joint.offered.values()), {})
        size = len(known) if all(isinstance(name, int) for name in known) else 0
        others = offered if kinds != {dict} else {}
        for arm, features in others.items():
            offered[arm] = joint.offered.get(arm, {})
            if features is not None:
                given = named_features(f"arms[{arm!r}]", features, size)
                offered[arm] = given
                size = size if isinstance(features, Mapping) else len(given)
        if joint is not model and model.learner is not None:
            expected = "none with features, as when rewards were learned"
            raise ValueError(f"arms: expected {expected}, got features of {some_of(offered)}")
        return joint, offered

    def _add(self, model: ArmHeads | JointArms, offered: Row) -> None:
        """Know these arms and their features from now on."""
        model.add(offered)
        self._model = model

    def _choices(
        self,
        model: ArmHeads | JointArms,
        values: np.ndarray,
        counts: np.ndarray,
        pending: np.ndarray,
        numbers: Sequence[float],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_choose` with what this bandit explores by."""
        strength = self.strength
        arms = values.shape[1]
        learner = model.learner
        if strength is None:
            strength = STRENGTHS[self.explore] * (arms if self.explore == "inverse-gap" else 1)
        lessons = 0 if learner is None else int(learner.means.members[0].network.step)
        unit = 1.0 if learner is None else float(model.rewards.scale[0]) or 1.0  # 1 while all are equal
        optimism = {"inverse-gap": STRENGTHS["counts"], "counts": strength}.get(self.explore, 0.0)
        bonus = optimism * unit * math.sqrt(math.log(max(lessons, 2)))
        share = {"inverse-gap": 1.0, "epsilon": strength}.get(self.explore, 0.0)
        precision = strength * math.sqrt(lessons) / unit if self.explore == "inverse-gap" else 0.0
        return compiled(_choose)(values, counts, pending, np.array(numbers), bonus, share, precision)


def _propensities(
    values: np.ndarray,  # (A,)
    counts: np.ndarray,  # (A,)
    bonus: float,  # of an arm without counts
    share: float,  # of decisions that are drawn
    precision: float,  # factor of the gaps
) -> np.ndarray:  # -> (A,)
    """A share is divided by the gaps to the most promising arm, which gets the rest."""
    promise = values + bonus / np.sqrt(1 + counts)
    are_largest = promise == promise.max()
    are_largest &= counts == counts[are_largest].min()
    p = share / (len(values) + precision * (promise.max() - promise))
    return p + (1 - p.sum()) * are_largest / are_largest.sum()


def _choose(
    values: np.ndarray,  # (B, A)
    counts: np.ndarray,  # (B, A)
    pending: np.ndarray,  # (A,), decisions that wait for their rewards, to which each choice is added
    numbers: np.ndarray,  # (B,), random, from 0 to 1
    bonus: float,  # these three as for `_propensities`
    share: float,
    precision: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Propensities, (B, A); indices of the arms drawn with them, (B,), and their propensities and values, (2, B)."""
    p = np.empty(values.shape)
    indices = np.zeros(len(values), np.int64)
    chosen = np.empty((2, len(values)))
    for b in range(len(values)):
        p[b] = _propensities(values[b], counts[b] + pending, bonus, share, precision)
        sums = p[b].cumsum()
        index = np.searchsorted(sums, numbers[b] * sums[-1], side="right")
        pending[index] += 1
        indices[b] = index
        chosen[0, b] = p[b, index]
        chosen[1, b] = values[b, index]
    return p, indices, chosen


def _check_options(explore: Any, strength: Any, rewards: Any) -> None:
    for name, value, known in (("explore", explore, STRENGTHS), ("rewards", rewards, REWARDS)):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name}: expected one of {list(known)}, got {value!r}")
    most = 1.0 if explore == "epsilon" else 1e30
    is_number = isinstance(strength, (int, float, np.integer, np.floating))
    if strength is not None and not (is_number and 0 <= strength <= most):
        raise ValueError(f"strength: expected a number from 0 to {most:g}, got {strength!r}")


def _offered(arms: Arms) -> dict[Any, Any]:
    """Arms as they are given, with their features or None."""
    if isinstance(arms, Mapping):
        return dict(arms)
    try:
        listed = _listed("arms", arms)
        offered = dict.fromkeys(listed)
    except (TypeError, ValueError) as error:
        expected = "a list of arms that can be keys of a dictionary, or a dictionary"
        raise ValueError(f"arms: expected {expected}, got {arms!r}") from error
    if len(offered) < len(listed):
        twice = Counter(listed).most_common(1)[0][0]
        raise ValueError(f"arms: expected each arm once, got {twice!r} twice")
    return offered


def _listed(name: str, values: Any) -> list[Any]:
    """The values of an argument. Raises ValueError for what is no list of them."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ValueError(f"{name}: expected a list, got {values!r}")
    return [*values]


def named_features(name: str, given: Context, size: int | None) -> Features:
    """A context, or the features of an arm, as a dictionary; a vector is of this size, if that is known."""
    if given is None or isinstance(given, Mapping):
        return given or {}
    vector = np.asarray(given)
    try:
        if vector.dtype.kind in "cmM":
            raise TypeError(f"dtype {vector.dtype}")
        vector = vector.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected a dictionary or a vector of numbers, got {error}") from error
    if vector.ndim != 1 or len(vector) == 0 or len(vector) != (size or len(vector)):
        expected = f"{size or 'one or more'} numbers"
        raise ValueError(f"{name}: expected a dictionary or a vector of {expected}, got shape {vector.shape}")
    return dict(enumerate(vector.tolist()))


# ---- Logs ------------------------------------------------------------------------------------------------------------


def checked_decision(row: Sequence[Any]) -> LoggedDecision:
    """A row of a log. Raises ValueError for one that cannot be learned."""
    logged = LoggedDecision(*row)
    check_arm("arm", logged.arm)
    _check_reward(logged.reward, *REWARDS["numbers"])
    if not (isinstance(logged.weight, (int, float, np.number)) and 0 < logged.weight <= STREAM_WEIGHT):
        raise ValueError(f"weight: expected a weight above 0, got {logged.weight!r} (the largest is {STREAM_WEIGHT:,})")
    named = named_arms(logged.arms)
    return logged if named is None or isinstance(named, Mapping) else logged._replace(arms=[*_offered(named)])


def _check_reward(reward: Any, low: float, high: float) -> None:
    number = reward.item() if isinstance(reward, np.generic) else reward  # float16 would overflow at `high`
    if not (isinstance(number, (bool, int, float)) and low <= number <= high):
        raise ValueError(f"reward: expected a finite number from {low:g} to {high:g}, got {reward!r}")


def named_arms(arms: Arms) -> Arms:
    """The arms of a row as `decide` takes them; features without names are named by their indices."""
    is_list = isinstance(arms, (list, tuple)) and any(isinstance(arm, (Mapping, list, np.ndarray)) for arm in arms)
    return dict(enumerate(arms)) if is_list else arms

"""Contextual bandits: which arm to pull, learned from the rewards of the arms that were pulled.

An arm gets a head of a learner with its first reward; the target of an arm that was not pulled is unknown. If there is
no head left, their number doubles, so that arms may appear one by one. Exploration is based on counts:
how often the weight rows that a context picks were updated for an arm. Source of the idea: Sezener et al., Online
Learning in Contextual Bandits using Gated Linear Networks, NeurIPS 2020. There, a reward is a tree of bits with one
network each, and the bonus uses a soft maximum of the counts.

Shapes: A arms, F features.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from gln.engine.batches import SampleBatch, check_integer
from gln.engine.ensemble.ensemble import COLUMNS
from gln.engine.model.builders import build_stream
from gln.engine.model.learner import Learner
from gln.engine.streaming.arm_features import Arms, Features, some_of
from gln.engine.streaming.estimator import StreamEstimator
from gln.engine.streaming.schema import AT_ONCE, MOST, Samples, check_key

__all__ = ["CobaLearner", "Decision", "GLNBandit"]

# Ways to explore and their default strengths: the factor of the bonus, the factor of the gap, and the fraction of
# random decisions. With 0.5, 1 and 1.5 as factors of the bonus, 20 KEEL tables have .646, .639 and .630 of the best
# reward in 2,000 decisions, and wheels, where rewards are rare, .44, .62 and .67. Two networks, slow and fast, are no
# better than one here and take twice the time.
STRENGTHS = {"counts": 1.0, "inverse-gap": 100.0, "epsilon": 0.05, "greedy": 0.0}
# Loss with which linear models that take steps start: they count little until they predict well, as from words.
HANDICAP = 5.0
REWARDS = {"numbers": (-MOST, MOST), "probabilities": (0.0, 1.0)}


class Decision(NamedTuple):
    """What `GLNBandit.decide` returns."""

    arm: Any
    propensity: float  # the probability with which this arm was chosen
    value: float  # its predicted reward


class GLNBandit(StreamEstimator):
    """Contextual bandit that predicts each arm's reward with a Gated Linear Network, and adapts to drift.

    `decide` chooses an arm for a context; `learn` learns its reward, at once or later and in any order. Features and
    rewards need no scaling. Arms, features and levels of categories may appear at any time.

    Parameters
    ----------
    arms
        Arms known from the start; any hashable values. `decide` adds those that it is offered.
    explore
        "counts" chooses the arm with the largest value + strength * sqrt(ln t / (1 + n)), in standard deviations of the
        rewards: t is the number of rewards learned, n how many of them were of this arm in the same region, a mean over
        neurons. "inverse-gap" draws each arm with a probability above zero, 1 / (A + strength * sqrt(t) * gap), where
        gap is the distance to the best value, and the best arm with the rest. "epsilon" draws a random arm with
        probability strength. "greedy" never explores. Ties go to the arm with the fewest rewards in the region.
    strength
        How much to explore. None is 1 for "counts", 100 for "inverse-gap" and 0.05 for "epsilon".
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

    kept: ClassVar[dict[str, Any]] = StreamEstimator.kept | {
        **{"_heads": dict, "_retired": (dict, list), "_size": (int, type(None)), "_draws": int, "_key": int}
    }

    def __init__(
        self,
        arms: Iterable[Hashable] = (),
        *,
        explore: str = "counts",
        strength: float | None = None,
        rewards: str = "numbers",
        layer_sizes: Sequence[int] = (64, 32),
        context_map_size: int = 6,
        context_bias: float = 1.0,
        learning_rate: float | Callable[[int], float] | None = None,
        backend: str = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(layer_sizes, context_map_size, context_bias, learning_rate, backend, seed)
        for name, value, known in (("explore", explore, STRENGTHS), ("rewards", rewards, REWARDS)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name}: expected one of {list(known)}, got {value!r}")
        most = 1.0 if explore == "epsilon" else 1e30
        is_number = isinstance(strength, (int, float, np.integer, np.floating))
        if strength is not None and not (is_number and 0 <= strength <= most):
            raise ValueError(f"strength: expected a number from 0 to {most:g}, got {strength!r}")
        offered = _offered(arms)
        self.arms = offered if isinstance(arms, Mapping) else tuple(offered)
        self.explore = explore
        self.strength = strength
        self.rewards = rewards
        self._heads: dict[Hashable, int | None] = dict.fromkeys(self.arms)  # of the arms; None without a reward
        self._retired: dict[Hashable, None] = {}  # a set in order, which a file can hold
        # The model of all arms, once some have features.
        self._of_features = Arms(layer_sizes, context_map_size, context_bias, learning_rate, backend, seed)
        self._size: int | None = None  # length of contexts that are vectors
        self._draws = 0  # random decisions so far
        self._key = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._offer(self._with_features(self.arms))

    # ---- Deciding ----------------------------------------------------------------------------------------------------

    @overload
    def decide(self, context: Any, arms: Any = None, k: None = None) -> Decision: ...
    @overload
    def decide(self, context: Any, arms: Any = None, *, k: int) -> list[Decision]: ...
    def decide(self, context: Any, arms: Any = None, k: int | None = None) -> Decision | list[Decision]:
        """Choose an arm for a context, or several.

        Parameters
        ----------
        context
            A dictionary of numbers, bools and strings, or a vector; NaN, None or an absent key is a missing value. None
            means that there is no context.
        arms
            The arms to choose from; some may be new. A dictionary has the features of each arm, which are like those of
            a context. None is all known arms that are not retired, with the features that they had last.
        k
            Return a list of k different arms, the first choice first; of all arms, if there are fewer. Each is chosen,
            and its propensity computed, as if only the arms not chosen yet were available.

        Raises
        ------
        ValueError
            No arm to choose from, a retired arm, infinity, a vector of the wrong length, a `k` below 1, or features of
            arms if rewards were learned without any.
        """
        if k is not None:
            check_integer("k", k, 1)
        offered, values, counts = self._choice(context, arms)
        decisions: list[Decision] = []
        left, chosen = list(offered), 0
        for _ in range(min(k or 1, len(left))):
            if decisions:
                values, counts = np.delete(values, chosen), np.delete(counts, chosen)
            p = self._propensities(values, counts)
            chosen = int(p.argmax())
            if p[chosen] < 1:
                chosen = int(np.random.default_rng([self._key, self._draws]).choice(len(p), p=p))
                self._draws += 1
            decisions.append(Decision(left.pop(chosen), float(p[chosen]), float(values[chosen])))
        self._offer(offered)
        return decisions[0] if k is None else decisions

    def propensities(self, context: Any, arms: Any = None) -> dict[Any, float]:
        """The probability with which `decide` would choose each arm; same arguments and errors."""
        offered, values, counts = self._choice(context, arms)
        return dict(zip(offered, self._propensities(values, counts).tolist(), strict=True))

    def _choice(self, context: Any, arms: Any) -> tuple[dict[Any, Any], np.ndarray, np.ndarray]:
        """The arms to choose from, with their features, and their values and counts, (A,) each."""
        offered = self._with_features(self._heads if arms is None else arms)
        retired = [arm for arm in offered if arm in self._retired]
        if not offered or retired:
            raise ValueError(f"arms: expected one or more that are not retired, got {some_of(retired)}")
        return offered, *self._known_about(context, offered)

    def predict(self, context: Any) -> dict[Any, float]:
        """The predicted reward of each arm that is not retired; without a reward so far, the mean of all rewards.

        The reward of an arm with features is predicted from them even before its first reward.
        """
        offered = self._with_features(self._heads)
        return dict(zip(offered, self._known_about(context, offered)[0].tolist(), strict=True))

    def novelty(self, context: Any) -> float:
        """How different this context is from those learned so far, from 0 to 1; 1 for the first.

        It is the mean over neurons of 1 / sqrt(1 + n), where n is the number of updates of the weight row that this
        context picks, and if arms have features, the lowest one of all arms.
        """
        if self._of_features.are_all:
            return self._of_features.novelty(self._features(context))
        return 1.0 if self._learner is None else float(self._learner.novelty(self._of(context))[0])

    def explain(self, context: Any) -> tuple[dict[Any, dict[Any, float]], dict[Any, float]]:
        """Contributions of the features to the value of each arm with a learned reward, and a constant for each arm.

        They add up to the value; if rewards are probabilities, to the value before clipping. If arms have features,
        the keys are ("context", name) and ("arm", name), and ("arm",) for which arm it is.
        """
        if self._of_features.are_all:
            return self._explained_with_features(self._features(context))
        if self._learner is None:
            return {}, {}
        names, *of_heads = self._explained(self._mapping(context))
        contributions, constant = (each.tolist() for each in of_heads)
        heads = {arm: head for arm, head in self._heads.items() if head is not None}
        of_arms = {arm: dict(zip(names, contributions[head], strict=True)) for arm, head in heads.items()}
        return of_arms, {arm: constant[head] for arm, head in heads.items()}

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def learn(self, context: Any, arm: Hashable, reward: float, features: Features | None = None) -> None:
        """Learn the reward of an arm, with the context in which it was chosen.

        A reward is ignored if its arm has been retired since. Without `features`, an arm has those with which it was
        last offered; with them, it may be an arm that was never offered.

        Raises
        ------
        ValueError
            An unknown arm, a reward that is not finite or out of range, infinity in the context, or a vector of the
            wrong length; nothing is learned then.
        """
        check_key("arm", "arms", arm)
        if features is None:
            self.learn_all(context, {arm: reward})
        else:
            self._learn_and_add(context, {arm: reward}, {arm: features})

    def learn_all(self, context: Any, rewards: Mapping[Hashable, float]) -> None:
        """Learn the known rewards of several arms in one context; errors as in `learn`."""
        _check_rewards(rewards)
        for arm in rewards:
            if arm not in self._heads and arm not in self._retired:
                raise ValueError(f"arm: expected one of {some_of(self._heads)}, got {arm!r}")
        self.learn_and_add(context, rewards)

    def learn_and_add(self, context: Any, rewards: Mapping[Hashable, float]) -> None:
        """Like `learn_all`, but unknown arms are added."""
        _check_rewards(rewards)
        self._learn_and_add(context, rewards, dict.fromkeys(rewards))

    def _learn_and_add(self, context: Any, rewards: Mapping[Hashable, float], arms: Mapping[Hashable, Any]) -> None:
        rewards = {arm: reward for arm, reward in rewards.items() if arm not in self._retired}
        low, high = REWARDS[self.rewards]
        for reward in rewards.values():
            number = reward.item() if isinstance(reward, np.generic) else reward  # float16 would overflow at `high`
            if not (isinstance(number, (bool, int, float)) and low <= number <= high):
                raise ValueError(f"reward: expected a finite number from {low:g} to {high:g}, got {reward!r}")
        if not rewards:
            return
        is_mapping, offered = isinstance(context, Mapping), self._with_features(arms)
        at_once = AT_ONCE if is_mapping else math.inf
        if _have_features(offered):
            self._of_features.learn(self._features(context), offered, rewards, at_once)
        else:
            self._learn_heads(self._seen(self._mapping(context), at_once), rewards)
        for arm in rewards:
            self._heads.setdefault(arm)
        if not is_mapping and context is not None:
            self._size = len(context)

    def _learn_heads(self, samples: Samples, rewards: Mapping[Hashable, float]) -> None:
        before = self._heads, self._learner
        if not rewards.keys() <= self._heads.keys():
            self._heads = self._heads | dict.fromkeys(rewards) | self._heads  # in order of appearance
        heads, room = self._with_heads(rewards)
        targets = np.full((room, 1), np.nan)
        for arm, reward in rewards.items():
            targets[heads[arm], 0] = reward
        try:
            self._learn(samples, targets)
        except Exception:
            self._heads, self._learner = before
            raise
        if self._learner is not None:
            self._heads |= heads

    def add_arm(self, arm: Hashable, features: Features | None = None) -> None:
        """Add an arm, unless it is retired, or change its features. `decide` adds the arms that it is offered."""
        check_key("arm", "arms", arm)
        if arm not in self._retired:
            self._offer(self._with_features({arm: features}))

    def retire(self, arm: Hashable) -> None:
        """Remove an arm for good, with everything learned about it. Raises ValueError for an unknown arm."""
        check_key("arm", "arms", arm)
        if arm not in self._heads:
            raise ValueError(f"arm: expected one of {some_of(self._heads)}, got {arm!r}")
        self._retired[arm] = None
        self._of_features.forget(arm)
        head = self._heads.pop(arm)
        if head is not None and self._learner is not None:
            kept = [other for other in range(self._room()) if other != head]
            self._learner = _with_handicap(self._learner.with_outputs(kept, 0 if kept else 1), len(kept))
            self._heads = {other: own - (own > head) if own is not None else None for other, own in self._heads.items()}

    # ---- Internals ---------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        of_features = {"_of_features": self._of_features._learned()} if self._of_features.are_all else {}
        return super()._learned() | of_features

    def _keep(self, name: str, value: Any) -> None:
        if name != "_of_features":
            super()._keep(name, value)
            return
        for each, own in dict(value).items():
            self._of_features._keep(each, own)

    def _restored(self) -> None:
        # In files of version 1.0, retired arms are a list, and arms without a reward, or even a head, have numbers too.
        counts = [] if self._learner is None else self._learner.counts.rows
        taught = {int(head) for rows in counts for head in rows.any(axis=(0, 1)).nonzero()[0]}
        self._heads = {arm: head if head in taught else None for arm, head in self._heads.items()}
        self._retired = dict.fromkeys(self._retired)

    def _built(self, featurizer):
        count, kind = len(self._heads), {"loss": "squared_error", "num_outputs": len(self._heads)}
        featurizer = featurizer.with_base_models(count, are_classes=False, counts=False, squares=True)
        options = {"targets": 1, "learning_rate": self.learning_rate}
        learner = build_stream(self._config(), featurizer, [COLUMNS], kind, **options)
        _with_handicap(learner, 0)
        learner.start_counting(len(self._heads))
        return learner

    def _with_heads(self, arms: Iterable[Hashable]) -> tuple[dict[Hashable, int], int]:
        """The heads of these arms, and the number of all heads, which doubles if there are too few for new ones."""
        heads = {arm: head for arm in arms if (head := self._heads[arm]) is not None}
        new = [arm for arm in arms if arm not in heads]
        if new:
            used, room = set(self._heads.values()), self._room()
            heads |= dict(zip(new, (head for head in itertools.count() if head not in used), strict=False))
            missing = max(heads.values()) + 1 - room
            if self._learner is not None and missing > 0:
                self._learner = _with_handicap(self._learner.with_outputs(range(room), max(room, missing)), room)
        return heads, self._room()

    def _room(self) -> int:
        """The number of heads; before there is a learner, that with which it will begin."""
        return len(self._heads) if self._learner is None else self._learner.means.heads

    def _mapping(self, context: Any) -> Features:
        """A context as a dictionary of features, of which there is at least one."""
        return self._features(context) or {"constant": 1.0}

    def _features(self, context: Any) -> Features:
        """A context as a dictionary of features."""
        if context is None or isinstance(context, Mapping):
            return context or {}
        vector = np.asarray(context)
        try:
            if vector.dtype.kind in "cmM":
                raise TypeError(f"dtype {vector.dtype}")
            vector = vector.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"context: expected a dictionary or a vector of numbers, got {error}") from error
        if vector.ndim != 1 or len(vector) == 0 or len(vector) != (self._size or len(vector)):
            expected = f"{self._size or 'one or more'} numbers"
            raise ValueError(f"context: expected a dictionary or a vector of {expected}, got shape {vector.shape}")
        return dict(enumerate(vector.tolist()))

    def _of(self, context: Any) -> SampleBatch:
        """A context as a sample."""
        return self._known(self._mapping(context))

    def _with_features(self, arms: Any) -> dict[Any, Any]:
        """These arms, with the features that they are given, or had last; or with None, if no arm has any."""
        offered = dict.fromkeys(arms) if arms is self._heads else _offered(arms)
        kinds = set(map(type, offered.values()))
        if kinds <= {type(None)} and not self._of_features.are_all:
            return offered
        for arm, features in offered.items() if kinds != {dict} else ():
            if features is None:
                offered[arm] = self._of_features.offered.get(arm, {})
            elif not isinstance(features, Mapping):
                raise ValueError(f"arms[{arm!r}]: expected a dictionary of features or None, got {features!r}")
        if self._learner is not None:
            came = f"features of {some_of(offered)}"
            raise ValueError(f"arms: expected none with features, as when rewards were learned, got {came}")
        return offered

    def _offer(self, offered: Mapping[Any, Any]) -> None:
        """Know these arms and their features from now on."""
        if _have_features(offered):
            self._of_features.offer(offered)
        if not offered.keys() <= self._heads.keys():
            self._heads.update(dict.fromkeys(arm for arm in offered if arm not in self._heads))

    def _known_about(self, context: Any, offered: Mapping[Any, Any]) -> tuple[np.ndarray, np.ndarray]:  # -> (A,), (A,)
        """Values of arms in a context, and how often each was learned there, a mean over neurons."""
        if _have_features(offered):
            values, counts = self._of_features.known_about(self._features(context), offered)
            return values.clip(*REWARDS[self.rewards]), counts
        sample, arms = self._of(context), list(offered)
        mean = 0.0 if self._learner is None else float(self._learner.targets.standardizer.mean[0])  # without a reward
        if self._learner is None:
            return np.full(len(arms), mean), np.zeros(len(arms))
        predicted, learned = (each[:, 0].tolist() for each in self._learner.predict_and_count(sample))
        heads = [self._heads.get(arm) for arm in arms]
        values = np.array([mean if head is None else predicted[head] for head in heads])
        counts = np.array([0.0 if head is None else learned[head] for head in heads])
        return values.clip(*REWARDS[self.rewards]), counts

    def _explained_with_features(self, context: Features) -> tuple[dict[Any, dict[Any, float]], dict[Any, float]]:
        known = {arm: self._of_features.explain(context, arm) for arm in self._of_features.learned}
        return {arm: each for arm, (each, _) in known.items()}, {arm: constant for arm, (_, constant) in known.items()}

    def _propensities(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:  # (A,), (A,) -> (A,)
        strength = STRENGTHS[self.explore] if self.strength is None else self.strength
        learner = self._of_features.learner if self._of_features.are_all else self._learner
        lessons, unit, count = 0, 1.0, len(values)  # the standard deviation of the rewards is 1 while all are equal
        if learner is not None:
            lessons = int(learner.means.networks[0].step)
            unit = float(learner.targets.standardizer.scale[0]) or 1.0
        if self.explore == "counts":
            values = values + strength * unit * np.sqrt(math.log(max(lessons, 2)) / (1 + counts))
        best = np.where(values == values.max(), counts, np.inf).argmin()  # ties go to the lowest count
        if self.explore == "inverse-gap":
            gaps = (values[best] - values) / unit
            p = 1 / (count + strength * math.sqrt(lessons) * gaps)
            p[best] += 1 - p.sum()
            return p
        share = strength if self.explore == "epsilon" else 0.0
        p = np.full(count, share / count)
        p[best] += 1 - share
        return p


def _offered(arms: Any) -> dict[Any, Any]:
    """Arms as they are given, with their features or None."""
    if not isinstance(arms, (str, bytes)):  # each letter would be an arm
        with contextlib.suppress(TypeError):
            return dict(arms) if isinstance(arms, Mapping) else dict.fromkeys(arms)
    raise ValueError(f"arms: expected a list of arms that can be keys of a dictionary, or a dictionary, got {arms!r}")


def _check_rewards(rewards: Any) -> None:
    if not isinstance(rewards, Mapping):
        raise ValueError(f"rewards: expected a dictionary of arms and their rewards, got {rewards!r}")


def _have_features(offered: Mapping[Any, Any]) -> bool:
    return next(iter(offered.values()), None) is not None


def _with_handicap(learner: Learner, first: int) -> Learner:
    """Let linear models that take steps count little for the heads from `first` on, which are new."""
    base_models, ensemble = learner.featurizer.base_models, learner.means
    if base_models is not None:  # a learner from an older file has none
        ensemble.combination.losses[-base_models.linear.models :, first:] = HANDICAP
    return learner


class CobaLearner:
    """`GLNBandit` as a learner for coba's experiments.

    The actions are the arms: dictionaries, lists and tuples are features of arms, anything else must be hashable.

    Parameters
    ----------
    explore, strength, seed, **options
        As in `GLNBandit`.
    """

    def __init__(
        self, explore: str = "counts", strength: float | None = None, seed: int | None = 1, **options: Any
    ) -> None:
        self.params = {"family": "GLN", "explore": explore, "strength": strength, "seed": seed, **options}
        self._bandit = GLNBandit(explore=explore, strength=strength, seed=seed, **options)

    def predict(self, context: Any, actions: Sequence[Any]) -> tuple[Any, float]:
        """The chosen action and its propensity."""
        arms = _arms(actions)
        decision = self._bandit.decide(_plain(context), arms)
        return actions[list(arms).index(decision.arm)], decision.propensity

    def score(self, context: Any, actions: Sequence[Any], action: Any) -> float:
        """The propensity of an action, of the first one if several are equal features."""
        has_features, arms = _has_features(action), _arms(actions)
        known = actions if isinstance(arms, Mapping) else [] if has_features else dict.fromkeys(actions)
        if action not in known:
            raise ValueError(f"action: expected one of {some_of(actions)}, got {action!r}")
        p = self._bandit.propensities(_plain(context), arms)
        return p[actions.index(action) if isinstance(arms, Mapping) else action]

    def learn(self, context: Any, action: Any, reward: float, probability: float, **_: Any) -> None:
        """Learn the reward of an action. Its propensity is ignored."""
        if _has_features(action):
            self._bandit.learn(_plain(context), None, reward, features=_plain(action))
        else:
            self._bandit.learn_and_add(_plain(context), {action: reward})


def _has_features(action: Any) -> bool:
    if isinstance(action, (Mapping, list, tuple)):
        return True
    check_key("action", "actions", action)
    return False


def _arms(actions: Sequence[Any]) -> Any:
    """The arms that coba's actions are; those that are features have no names."""
    if not isinstance(actions, Sequence) or isinstance(actions, str):
        raise ValueError(f"actions: expected a list of actions, got {actions!r}")
    if any(map(_has_features, actions)):
        return {place: _plain(action) for place, action in enumerate(actions)}
    return actions


def _plain(values: Any) -> Any:
    """Convert a context or an action of coba for `GLNBandit`; a single value becomes a vector of length one."""
    if values is None or isinstance(values, Mapping):
        return values
    is_single = isinstance(values, str) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0
    return dict(enumerate([values] if is_single else values))

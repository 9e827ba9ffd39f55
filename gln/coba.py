"""`gln.bandits.GLNBandit` in experiments of coba, which compares contextual bandits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gln.bandits import GLNBandit, LoggedDecision
from gln.engine.streaming.arms import some_of
from gln.engine.streaming.values import check_arm

__all__ = ["CobaLearner"]


class CobaLearner:
    """`GLNBandit` as a learner for coba's experiments.

    The actions are the arms: dictionaries, lists and tuples are features of arms, anything else must be hashable.

    Parameters
    ----------
    explore, strength, seed, **options
        As in `GLNBandit`.
    """

    def __init__(
        self, explore: str = "inverse-gap", strength: float | None = None, seed: int | None = 1, **options: Any
    ) -> None:
        self.params = {"family": "GLN", "explore": explore, "strength": strength, "seed": seed, **options}
        self._bandit = GLNBandit(explore=explore, strength=strength, seed=seed, **options)

    def predict(self, context: Any, actions: Sequence[Any]) -> tuple[Any, float]:
        """The chosen action and its propensity."""
        arms = _arms(actions)
        decision = self._bandit.decide(_plain(context), arms)
        self._bandit._pending.clear()  # rewards come at once, and may be those of other decisions
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
            self._bandit.learn_log([LoggedDecision(_plain(context), 0, reward, 1.0, arms=[_plain(action)])])
        else:
            self._bandit.learn_and_add(_plain(context), {action: reward})


def _has_features(action: Any) -> bool:
    if isinstance(action, (Mapping, list, tuple)):
        return True
    check_arm("action", action, "actions")
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

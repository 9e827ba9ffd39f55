"""`gln.river.GLNPolicy`, in a separate file, because `river.bandit` takes most of a second to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from river import bandit

from gln.bandits import GLNBandit
from gln.engine.interrupts import uninterrupted
from gln.engine.streaming.values import check_arm

__all__ = ["GLNPolicy"]


class GLNPolicy(bandit.base.ContextualPolicy):
    """`gln.bandits.GLNBandit` as a contextual policy of River.

    Parameters
    ----------
    explore, strength, layer_sizes, backend, seed
        As in `gln.bandits.GLNBandit`.
    reward_obj, burn_in
        As in River's other policies.

    Examples
    --------
    >>> from gln.river import GLNPolicy
    >>> policy = GLNPolicy(seed=0)
    >>> for i in range(200):
    ...     context = {"age": 20 + i * 7 % 50}
    ...     arm = policy.pull(["news", "sports"], context=context)
    ...     policy.update(arm, context, float((arm == "news") == (context["age"] > 45)))
    >>> policy.pull(["news", "sports"], context={"age": 65})
    'news'
    """

    def __init__(
        self,
        explore: str = "inverse-gap",
        strength: float | None = None,
        layer_sizes: Sequence[int] = (64, 32),
        backend: str = "auto",
        seed: int | None = None,
        reward_obj: Any = None,
        burn_in: int = 0,
    ) -> None:
        super().__init__(reward_obj, burn_in=burn_in)
        self.explore = explore
        self.strength = strength
        self.layer_sizes = layer_sizes
        self.backend = backend
        self.seed = seed
        options: dict[str, Any] = {"layer_sizes": layer_sizes, "backend": backend, "seed": seed}
        self._bandit = GLNBandit(explore=explore, strength=strength, **options)

    def pull(self, arm_ids: Any, context: dict[Any, Any] | None = None) -> Any:
        """The arm to pull; `arm_ids` are arms, or a dictionary with the features of each."""
        if self.burn_in and isinstance(arm_ids, Mapping):
            for arm, features in arm_ids.items():  # because one may be pulled without a decision
                self._bandit.add_arm(arm, features)
        return super().pull(arm_ids, context)

    def _pull(self, arm_ids, context=None):
        return self._bandit.decide(context, arm_ids).arm

    @uninterrupted
    def update(self, arm_id: Any, context: Any, *reward_args: Any, **reward_kwargs: Any) -> None:
        """Learn the reward of an arm in a context; without a context, `update(arm_id, reward)`."""
        if not reward_args:  # as `river.bandit.evaluate` calls it
            context, reward_args = None, (context,)
        check_arm("arm_id", arm_id)
        self._bandit.learn_and_add(context, {arm_id: reward_args[0]})  # first, because it checks context and reward
        super().update(arm_id, context, *reward_args, **reward_kwargs)

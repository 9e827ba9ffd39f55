"""Arms without features: a learner of contexts with a head for each arm that has a reward.

The target of an arm that was not pulled is unknown. If there is no head left, their number doubles, so that arms may
appear one by one.

Shapes: A arms, H heads.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from gln.engine.ensemble.ensemble import COLUMNS
from gln.engine.model.builders import Losses, NetworkConfig, build_stream
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Numbers
from gln.engine.networks.protocol import Rate
from gln.engine.streaming.estimator import SaveableStream, StreamEstimator, check_rates
from gln.engine.streaming.schema import StreamSchema

# Loss with which linear models that take steps start: they count little until they predict well, as from words.
HANDICAP = 5.0
Features = Mapping[Hashable, Any]
NO_CONTEXT: Features = {"constant": 1.0}  # what is learned in place of a context without features


class ArmHeads(SaveableStream):
    """The rewards of arms, predicted from contexts. `JointArms` has the same methods."""

    kept: ClassVar[dict[str, Any]] = SaveableStream.kept | {"_heads": dict}

    def __init__(self, config: NetworkConfig, learning_rate: Rate | None, arms: Iterable[Hashable] = ()) -> None:
        self.config = config
        self.learning_rate = learning_rate
        self.arms: dict[Hashable, int | None] = dict.fromkeys(arms)  # the known ones and their heads; None: no reward
        self._stream = StreamEstimator(self._build, StreamSchema(), learning_rate)

    def _build(self, featurizer, heads):
        targets, losses = Numbers.of_stream(1), Losses({"loss": "squared_error", "num_outputs": heads})
        learner = build_stream(self.config, featurizer, targets, [COLUMNS], losses, least_squares=True)
        _with_handicap(learner, 0)
        learner.start_counting(heads)
        return learner

    @property
    def learner(self) -> Learner | None:
        """What predicts the rewards, from the first reward on."""
        return self._stream.learner

    def predict(self, context: Features, offered: Mapping[Hashable, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Values of arms in a context, and how often each was learned there, a mean over neurons: (A,), (A,)."""
        sample, learner = self._stream.schema.encode(context or NO_CONTEXT), self.learner
        if learner is None:
            return np.zeros(len(offered)), np.zeros(len(offered))
        mean = float(learner.targets.standardizer.mean[0])  # without a reward
        predicted, learned = (of_heads[:, 0].tolist() for of_heads in learner.predict_and_count(sample))
        heads = [self.arms.get(arm) for arm in offered]
        values = np.array([mean if head is None else predicted[head] for head in heads])
        return values, np.array([0.0 if head is None else learned[head] for head in heads])

    def learn(
        self, context: Features, offered: Mapping[Hashable, Any], rewards: Mapping[Hashable, float], at_once: float
    ) -> None:
        """Learn the rewards of arms; of the first context, at most so many keys become features at once."""
        change = self._stream.schema.propose(context or NO_CONTEXT, at_once=at_once)
        arms = self.arms
        if not rewards.keys() <= arms.keys():
            arms = arms | {arm: None for arm in rewards if arm not in arms}
        heads = self._heads_for(arms, rewards)
        room = len(arms) if self.learner is None else self.room
        if self.learner is not None and (missing := max(heads.values()) + 1 - room) > 0:
            check_rates(self.learner, 1)  # while nothing has changed
            self._stream.learner = _with_handicap(self.learner.with_outputs(range(room), max(room, missing)), room)
            room = self.room
        targets = np.full((room, 1), np.nan)
        for arm, reward in rewards.items():
            targets[heads[arm], 0] = reward
        self._stream.learn(change, targets)
        self.arms = arms
        if self.learner is not None:
            self.arms |= heads

    def _heads_for(self, arms: Mapping[Hashable, int | None], rewarded: Iterable[Hashable]) -> dict[Hashable, int]:
        """The heads of arms with a reward, of which new ones get the first that are free."""
        heads = {arm: head for arm in rewarded if (head := arms[arm]) is not None}
        new = [arm for arm in rewarded if arm not in heads]
        if new:
            used = set(arms.values())
            heads |= dict(zip(new, (head for head in itertools.count() if head not in used), strict=False))
        return heads

    @property
    def room(self) -> int:
        """H, the number of heads of the learner."""
        assert self.learner is not None
        return self.learner.means.heads

    def novelty(self, context: Features) -> float:
        """How different this context is from those learned so far, from 0 to 1."""
        sample = self._stream.schema.encode(context or NO_CONTEXT)
        return 1.0 if self.learner is None else float(self.learner.novelty(sample)[0])

    def explain(self, context: Features) -> tuple[dict[Any, dict[Any, float]], dict[Any, float]]:
        """Contributions of features and a constant for each arm with a reward, which add up to its value."""
        if self.learner is None:
            return {}, {}
        names, *of_heads = self._stream.explain(context or NO_CONTEXT)
        contributions, constants = (array.tolist() for array in of_heads)
        heads = {arm: head for arm, head in self.arms.items() if head is not None}
        of_arms = {arm: dict(zip(names, contributions[head], strict=True)) for arm, head in heads.items()}
        return of_arms, {arm: constants[head] for arm, head in heads.items()}

    def add(self, offered: Mapping[Hashable, Any]) -> None:
        """Know these arms from now on."""
        if not offered.keys() <= self.arms.keys():
            self.arms |= {arm: None for arm in offered if arm not in self.arms}

    def retire(self, arm: Hashable) -> None:
        """Forget an arm and its head."""
        head = self.arms.pop(arm)
        if head is not None and self.learner is not None:
            kept = [other for other in range(self.room) if other != head]
            self._stream.learner = _with_handicap(self.learner.with_outputs(kept, 0 if kept else 1), len(kept))
            self.arms = {arm: other if other is None else other - (other > head) for arm, other in self.arms.items()}

    # ---- Files -------------------------------------------------------------------------------------------------------

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "_heads": self.arms}

    def _keep(self, name: str, value: Any) -> None:
        super()._keep(name, value)
        if name == "_heads":
            self.arms = vars(self).pop(name)

    def _restored(self) -> None:
        # In files of version 1.0, arms without a reward, or even a head, have numbers too.
        counts = [] if self.learner is None else self.learner.counts.rows
        learned = {int(head) for rows in counts for head in rows.any(axis=(0, 1)).nonzero()[0]}
        self.arms = {arm: head if head in learned else None for arm, head in self.arms.items()}


def _with_handicap(learner: Learner, first: int) -> Learner:
    """Let linear models that take steps count little for the heads from `first` on, which are new."""
    base_models = learner.featurizer.base_models
    if base_models is not None:  # a learner from an older file has none
        learner.means.combination.losses[-base_models.linear.models :, first:] = HANDICAP
    return learner

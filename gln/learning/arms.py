"""Arms that have features: one model of contexts and arms together, so that what is known of one arm serves the next.

A sample is a context with an arm. It has the features of both and, as one more category, which arm it is, so that an
arm becomes itself as it is learned.

Shapes: A arms, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gln.learning.group import grouped
from gln.learning.learner import Learner
from gln.learning.named import Named
from gln.learning.of_streams import OF_STREAMS, stream_sizes
from gln.learning.samples import WithWords, Words

__all__ = ["ARM", "Arms", "Features"]

OF_CONTEXT, OF_ARM = "context", "arm"  # names of features begin with one of these
ARM = (OF_ARM,)  # the name of the category which arm it is

Features = Mapping[Hashable, Any]
Offered = Mapping[Hashable, Features]


class Table(NamedTuple):
    """The features of the arms of a decision, converted; most often these are also the arms of the next one."""

    offered: dict[Hashable, Features]
    learned: int  # how many arms were when it was made
    samples: WithWords  # (F, A), which lack the context


class Arms(Named):
    """The rewards of arms, predicted from their features and those of contexts."""

    kept: ClassVar[dict[str, Any]] = Named.kept | {"offered": dict, "_codes": dict}

    _always = property(lambda self: {ARM})

    def __init__(self, *parameters: Any) -> None:
        super().__init__(*parameters)
        self.offered: dict[Hashable, Features] = {}  # the features with which each arm was last offered
        self._codes: dict[Hashable, int] = {}  # of arms with a reward, as levels of a category
        self._converted: dict[Hashable, tuple[Features, WithWords]] = {}  # converted features of arms, and what they were
        self._version: tuple[int, ...] = ()  # of the names by which these were converted
        self._table: Table | None = None

    def _built(self, reading):
        reading = reading.with_bases(1, are_classes=False)
        sizes = stream_sizes(reading, OF_STREAMS["n_networks"])
        groups = grouped([self._networks(reading, sizes, loss="squared_error")], [reads for _, reads in sizes])
        learner = Learner.of_stream(reading, groups, 1, learning_rate=self.learning_rate)
        learner.start_counting()
        return learner

    @property
    def are_all(self) -> bool:
        """Whether arms have features, from the first one that has."""
        return bool(self.offered) or self._learner is not None

    def learn(self, context: Features, offered: Offered, rewards: Mapping[Hashable, float], at_once: float) -> None:
        """Learn the rewards of some arms with these features; `at_once` as for `_seen`."""
        before = copy.deepcopy(vars(self)) if len(rewards) > 1 else vars(self)
        try:
            for arm, reward in rewards.items():
                code = self._codes.get(arm, len(self._levels.get(ARM, ())))
                samples = self._seen(_joined(context, offered[arm]) | {ARM: f"arm {code}"}, at_once)
                self._learn(samples, np.array([[float(reward)]]))
                self._codes[arm] = code
        except Exception:
            self.__dict__ = before
            raise
        self.offered.update({arm: dict(offered[arm]) for arm in rewards})

    def known_about(self, context: Features, offered: Offered) -> tuple[np.ndarray, np.ndarray]:  # -> (A,), (A,)
        """The predicted rewards of arms in a context, and how often the rows that it picks with each were learned."""
        samples = self._samples(context, offered)
        if self._learner is None:
            return np.zeros(len(offered)), np.zeros(len(offered))
        [values], [counts] = self._learner.counted(samples)
        return values, counts

    def novelty(self, context: Features) -> float:
        """The lowest novelty of this context with one of the arms."""
        if self._learner is None or not self.offered:
            return 1.0
        return float(self._learner.novelty(self._samples(context, self.offered)).min())

    def explain(self, context: Features, arm: Hashable) -> tuple[dict[Hashable, float], float]:
        """Contributions of features, and a constant, which add up to the predicted reward."""
        code = {ARM: f"arm {self._codes[arm]}"} if arm in self._codes else {}
        names, [contributions], [constant] = self._explained(_joined(context, self.offered[arm]) | code)
        return dict(zip(names, contributions.tolist(), strict=True)), float(constant)

    def offer(self, offered: Offered) -> None:
        """Remember the features of arms. Raises ValueError as `_known` does."""
        self._table_of(offered)
        assert self._table is not None
        self.offered.update(self._table.offered)

    @property
    def learned(self) -> list[Hashable]:
        """The arms with a reward."""
        return list(self._codes)

    @property
    def learner(self) -> Learner | None:
        """What predicts the rewards, from the first reward on."""
        return self._learner

    def forget(self, arm: Hashable) -> None:
        """Forget the features of an arm, which will not be offered again."""
        for known in (self.offered, self._codes, self._converted):
            known.pop(arm, None)

    # ---- All arms of a decision --------------------------------------------------------------------------------------

    def _samples(self, context: Features, offered: Offered) -> WithWords:
        """A context with each of these arms, (F, A). Raises ValueError as `_known` does."""
        own, arms = self._known(_named(OF_CONTEXT, context)), self._table_of(offered)
        features, known = arms.features.copy(), own.features[:, 0] == own.features[:, 0]
        features[known] = own.features[known]
        return WithWords(features, _with_more(arms.words, own.words))

    def _table_of(self, offered: Offered) -> WithWords:
        """The arms as samples that lack the context."""
        learned = self._levels.get(ARM, {})
        version = len(self._places), self._numbers, sum(map(len, self._levels.values())) - len(learned)
        if version != self._version:
            self._converted, self._table, self._version = {}, None, version
        known = self._table
        if known is None or known.learned != len(learned) or not _same(known.offered, offered):
            samples = _side_by_side([self._row_of(arm, own) for arm, own in offered.items()])
            if ARM in self._places:
                samples.features[self._places[ARM]] = [self._codes.get(arm, np.nan) for arm in offered]
            self._table = known = Table({arm: self._converted[arm][0] for arm in offered}, len(learned), samples)
        return known.samples

    def _row_of(self, arm: Hashable, features: Features) -> WithWords:
        known = self._converted.get(arm)
        if known is None or known[0] != features:
            known = self._converted[arm] = dict(features), self._known(_named(OF_ARM, features))
        return known[1]


def _named(owner: str, features: Features) -> dict[Hashable, Any]:
    return {(owner, name): value for name, value in features.items()}


def _joined(context: Features, features: Features) -> dict[Hashable, Any]:
    return _named(OF_CONTEXT, context) | _named(OF_ARM, features)


def _same(known: Offered, offered: Offered) -> bool:
    """Whether these are the same arms, in the same order, with the same features."""
    return known == offered and list(known) == list(offered)


def _side_by_side(samples: list[WithWords]) -> WithWords:  # A of (F, 1) -> (F, A)
    starts = np.cumsum([0, *(len(each.words.numbers) for each in samples)])
    words = (np.concatenate(each) for each in list(zip(*(each.words for each in samples), strict=True))[1:])
    return WithWords(np.concatenate([each.features for each in samples], axis=1), Words(starts, *words))


def _with_more(words: Words, more: Words) -> Words:
    """The words of samples, with those of one sample added to each."""
    count, new = len(words.starts) - 1, len(more.numbers)
    if new == 0:
        return words
    ends = np.repeat(words.starts[1:], new)
    each = (np.insert(own, ends, np.tile(added, count)) for own, added in zip(words[1:], more[1:], strict=True))
    return Words(words.starts + new * np.arange(count + 1), *each)

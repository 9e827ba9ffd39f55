"""Arms that have features: one model of contexts and arms together, so that what is known of one arm serves the next.

A sample is a context with an arm. It has the features of both and, as one more category, which arm it is, so that an
arm becomes itself as it is learned.

Shapes: A arms, F features.
"""

from __future__ import annotations

import copy
import itertools
import math
import reprlib
from collections.abc import Collection, Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gln.engine.batches import SampleBatch, Words, no_words
from gln.engine.ensemble.ensemble import SHALLOW, SLOW
from gln.engine.model.builders import build_stream
from gln.engine.model.learner import Learner
from gln.engine.preprocessing.category_codes import Levels
from gln.engine.preprocessing.target_encoding import MOST_ONE_HOT
from gln.engine.streaming.estimator import StreamEstimator
from gln.engine.streaming.schema import Samples, features_of, is_missing

OF_CONTEXT, OF_ARM = "context", "arm"  # names of features begin with one of these
ARM = (OF_ARM,)  # the name of the category which arm it is
# A network that reads cells, and a shallow one that also reads linear models. A third one, fast as in other streams, is
# no better here; either of these alone has .007 less reward.
ROLES = (SLOW, SHALLOW)
MOST = 10_000  # converted arms to keep
FEW_ARMS = 5  # that an error names
Features = Mapping[Hashable, Any]
Offered = Mapping[Hashable, Features]


class Table(NamedTuple):
    """The features of the arms of a decision, converted; most often these are also the arms of the next one."""

    given: Offered  # what it was looked up for last, so that a decision compares only once
    offered: dict[Hashable, Features]
    samples: SampleBatch  # (F, A), which lack the context
    learned: int  # how many arms were when `samples` were told which arms these are


class Arms(StreamEstimator):
    """The rewards of arms, predicted from their features and those of contexts."""

    kept: ClassVar[dict[str, Any]] = StreamEstimator.kept | {"offered": dict, "_codes": dict}

    _always = property(lambda self: {ARM})

    def __init__(self, *parameters: Any) -> None:
        super().__init__(*parameters)
        self.offered: dict[Hashable, Features] = {}  # the features with which each arm was last offered
        # Of arms with a reward, retired ones too, as levels of a category. From MOST_ONE_HOT on, levels have statistics
        # only, so that no arm adds a column.
        self._codes: dict[Hashable, int] = {}
        # Arms converted by the names known then, and the features that they had.
        self._converted: dict[Hashable, tuple[Features, SampleBatch]] = {}
        self._version: tuple[int, ...] = ()  # of those names
        self._table: Table | None = None

    def _built(self, featurizer):
        featurizer, kind = featurizer.with_base_models(1, are_classes=False), {"loss": "squared_error"}
        learner = build_stream(self._config(), featurizer, ROLES, kind, targets=1, learning_rate=self.learning_rate)
        learner.start_counting()
        return learner

    @property
    def are_all(self) -> bool:
        """Whether arms have features, from the first one that has."""
        return bool(self.offered) or self._learner is not None

    def learn(self, context: Features, offered: Offered, rewards: Mapping[Hashable, float], at_once: float) -> None:
        """Learn the rewards of some arms with these features; `at_once` as for `_seen`, of contexts and of arms."""
        learns_once = len(rewards) == 1 and self._learner is not None
        before = vars(self) if learns_once else copy.deepcopy(vars(self))
        try:
            for arm, reward in rewards.items():
                code = math.nan if arm is None else self._codes.get(arm, MOST_ONE_HOT + len(self._codes))
                samples = self._seen(_joined(context, offered[arm]) | {ARM: code}, 2 * at_once + 1)
                self._learn_one(samples, np.array([[float(reward)]]))
                if arm is not None:  # which is any arm with these features
                    self._codes[arm] = int(code)
        except Exception:
            self.__dict__ = before
            raise
        self.offered.update({arm: dict(offered[arm]) for arm in rewards})

    def _learn_one(self, samples: Samples, reward: np.ndarray) -> None:
        is_first = self._learner is None
        self._learn(samples, reward)
        if is_first:  # begin again with columns for the levels of all arms
            met = self._met(self.offered)
            features = np.concatenate([samples.rows.features, met], axis=1)
            learner = self._of_first(SampleBatch(features, no_words(features.shape[1])), self._categorical, None)
            learner.scale_by(met, self._categorical)
            self._teach(learner, samples.rows, reward, None, self._categorical)
            self._learner = learner

    def known_about(self, context: Features, offered: Offered) -> tuple[np.ndarray, np.ndarray]:  # -> (A,), (A,)
        """The predicted rewards of arms in a context, and how often the rows that it picks with each were learned."""
        samples = self._samples(context, offered)
        if self._learner is None:
            return np.zeros(len(offered)), np.zeros(len(offered))
        [values], [counts] = self._learner.predict_and_count(samples)
        return values, counts

    def novelty(self, context: Features) -> float:
        """The lowest novelty of this context with one of the arms."""
        if self._learner is None or not self.offered:
            return 1.0
        return float(self._learner.novelty(self._samples(context, self.offered)).min())

    def explain(self, context: Features, arm: Hashable) -> tuple[dict[Hashable, float], float]:
        """Contributions of features, and a constant, which add up to the predicted reward."""
        sample = _joined(context, self.offered[arm]) | {ARM: self._codes[arm]}
        names, [contributions], [constant] = self._explained(sample)
        return dict(zip(names, contributions.tolist(), strict=True)), float(constant)

    def offer(self, offered: Offered) -> None:
        """Remember the features of arms. Raises ValueError as `_known` does."""
        table = self._table
        table = table if table is not None and table.given is offered else self._table_of(offered)
        met, is_new = table.offered, not offered.keys() <= self.offered.keys()
        if self._learner is not None and is_new:
            new = {arm: features for arm, features in met.items() if arm not in self.offered}
            self._learner.scale_by(self._met(new), self._categorical)
        self.offered.update(met)

    @property
    def learned(self) -> list[Hashable]:
        """The arms with a reward."""
        return [arm for arm in self.offered if arm in self._codes]

    @property
    def learner(self) -> Learner | None:
        """What predicts the rewards, from the first reward on."""
        return self._learner

    def forget(self, arm: Hashable) -> None:
        """Forget the features of an arm, which will not be offered again."""
        self.offered.pop(arm, None)
        self._converted.pop(arm, None)

    # ---- New arms ----------------------------------------------------------------------------------------------------

    # Levels are known and numbers have a scale from the first time that an arm is offered. Otherwise all arms without a
    # reward would look alike, and if the first one is good, no other would be tried.

    @property
    def _categorical(self) -> set[int]:
        return {place for name, place in self._places.items() if name in self._levels or name == ARM}

    def _met(self, offered: Offered) -> np.ndarray:  # -> (F, A)
        """The features of arms whose levels are known from now on."""
        rows = [np.zeros((len(self._places), 0))]
        for features in offered.values():
            own = _named(OF_ARM, features)
            new: dict[Hashable, Levels] = {}
            values = self._values({name: own[name] for name in own.keys() & self._places.keys()}, new)
            self._changes += len(new)
            for name, levels in new.items():
                self._levels[name].update(levels)
            rows.append(features_of(values, self._places))
        return np.concatenate(rows, axis=1)

    # ---- All arms of a decision --------------------------------------------------------------------------------------

    def _samples(self, context: Features, offered: Offered) -> SampleBatch:
        """A context with each of these arms, (F, A). Raises ValueError as `_known` does."""
        own, arms = self._known(_named(OF_CONTEXT, context)), self._table_of(offered).samples
        features, known = arms.features.copy(), own.features[:, 0] == own.features[:, 0]
        features[known] = own.features[known]
        return SampleBatch(features, _with_more(arms.words, own.words))

    def _table_of(self, offered: Offered) -> Table:
        version = len(self._places), self._numbers, self._changes
        if version != self._version or len(self._converted) > MOST:
            self._converted, self._table, self._version = {}, None, version
        table = self._table
        if table is None or not _same(table.offered, offered):
            if self._learner is None:
                _check_kinds([*self.offered.values(), *offered.values()])
            samples = _side_by_side([self._row_of(arm, own) for arm, own in offered.items()])
            table = Table(offered, {arm: self._converted[arm][0] for arm in offered}, samples, 0)
        if table.learned != len(self._codes):
            table.samples.features[self._places[ARM]] = [self._codes.get(arm, np.nan) for arm in offered]
        self._table = table = table._replace(given=offered, learned=len(self._codes))
        return table

    def _row_of(self, arm: Hashable, features: Features) -> SampleBatch:
        known = self._converted.get(arm)
        if known is None or not _same(known[0], features):
            known = self._converted[arm] = dict(features), self._known(_named(OF_ARM, features))
        return known[1]


def some_of(arms: Collection[Any]) -> str:
    """The first few arms, and how many there are, for an error message."""
    first = [reprlib.repr(arm) for arm in itertools.islice(arms, FEW_ARMS)]
    return f"[{', '.join(first)}{', ...' * (len(arms) > FEW_ARMS)}] ({len(arms):,} arms)"


def _named(owner: str, features: Features) -> dict[Hashable, Any]:
    return {(owner, name): value for name, value in features.items()}


def _check_kinds(arms: list[Features]) -> None:
    """Raise ValueError if a feature is text in some arms and a number in others."""
    known: dict[Hashable, Any] = {}
    for name, value in ((name, value) for features in arms for name, value in features.items()):
        first = value if is_missing(value) else known.setdefault(name, value)
        if isinstance(first, str) != isinstance(value, str):
            raise ValueError(f"arms: expected {name!r} to be always text or never, got {first!r} and {value!r}")


def _joined(context: Features, features: Features) -> dict[Hashable, Any]:
    return _named(OF_CONTEXT, context) | _named(OF_ARM, features)


def _same(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Whether these are equal and in the same order; not if that cannot be told, as with values that are missing."""
    try:
        return bool(one == other) and list(one) == list(other)
    except (TypeError, ValueError):
        return False


def _side_by_side(samples: list[SampleBatch]) -> SampleBatch:  # A of (F, 1) -> (F, A)
    starts = np.cumsum([0, *(len(each.words.numbers) for each in samples)])
    words = (np.concatenate(each) for each in list(zip(*(each.words for each in samples), strict=True))[1:])
    return SampleBatch(np.concatenate([each.features for each in samples], axis=1), Words(starts, *words))


def _with_more(words: Words, more: Words) -> Words:
    """The words of samples, with those of one sample added to each."""
    count, new = len(words.starts) - 1, len(more.numbers)
    if new == 0:
        return words
    ends = np.repeat(words.starts[1:], new)
    each = (np.insert(own, ends, np.tile(added, count)) for own, added in zip(words[1:], more[1:], strict=True))
    return Words(words.starts + new * np.arange(count + 1), *each)

"""Arms of a bandit and the learners of their rewards: without features a head for each, with features one for all.

Shapes: A arms, F features, H heads.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import reprlib
from collections.abc import Collection, Hashable, Iterable, Mapping, Set
from typing import Any, cast

import numpy as np

from gln.engine.batches import SampleBatch, Words
from gln.engine.ensemble.ensemble import COLUMNS, SHALLOW, SLOW
from gln.engine.model.builders import Losses, NetworkConfig
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.targets import Numbers
from gln.engine.networks.protocol import Rate
from gln.engine.preprocessing.scaling import Standardizer
from gln.engine.preprocessing.target_encoding import MOST_ONE_HOT
from gln.engine.saving import Number, Part, bad, saved
from gln.engine.streaming.estimator import ONCE, StreamEstimator, step_sizes_of
from gln.engine.streaming.model import StreamModel, build_stream
from gln.engine.streaming.schema import SchemaChange, StreamSchema
from gln.engine.streaming.values import Sample, is_missing

# Loss with which linear models that take steps start: they count little until they predict well, as from words.
HANDICAP = 5.0
OF_CONTEXT, OF_ARM = "context", "arm"  # names of features begin with one of these
ARM = (OF_ARM,)  # the name of the category which arm it is
# A network that reads bin means, and a shallow one that also reads linear models. A third one, fast as in streams, is
# no better here; either of these alone has .007 less reward.
ROLES = (SLOW, SHALLOW)
MOST_CONVERTED = 10_000  # arms to keep as they were converted
FEW_ARMS = 5  # that an error names
Features = Sample
Contributions = tuple[dict[Hashable, dict[Hashable, float]], dict[Hashable, float]]  # of each arm, and constants
Offered = Mapping[Hashable, Any]  # arms with their features, or None
NO_CONTEXT: Features = {"constant": 1.0}  # what is learned in place of a context without features


class Arms(Part):
    """The common part of `ArmHeads` and `JointArms`: the known arms, and what learns their rewards."""

    def __init__(
        self,
        config: NetworkConfig,
        learning_rate: Rate | None,
        arms: Iterable[Hashable] = (),
        always: Set[Hashable] = frozenset(),
    ) -> None:
        self.config = config
        self.learning_rate = learning_rate
        self.arms: dict[Hashable, int | None] = dict.fromkeys(arms)  # the known ones
        self._stream = StreamEstimator(self._build, StreamSchema(always=always), learning_rate)

    def _build(self, featurizer: Featurizer, heads: int, has_names: bool) -> StreamModel:
        raise NotImplementedError

    @property
    def learner(self) -> StreamModel | None:
        """What predicts the rewards, from the first reward on."""
        return self._stream.learner

    @property
    def rewards(self) -> Standardizer:
        """The scale of rewards, once there is a learner."""
        assert self.learner is not None
        return cast(Numbers, self.learner.targets).standardizer

    def check(self) -> None:
        """Raise ValueError unless the parts, of a file, fit together."""
        self._stream.check()
        if self.learner is not None and self.learner.counts is None:
            raise bad("learner", "counts of the rows that were learned", None)


# ---- Arms without features -------------------------------------------------------------------------------------------


@saved(arms={object: (Number(int, 0), None)}, _stream=StreamEstimator)
class ArmHeads(Arms):
    """A learner of contexts with a head for each arm that has a reward.

    The target of an arm that was not pulled is unknown. If there is no head left, their number doubles, so that arms
    may appear one by one. `arms` holds the head of each arm, None without a reward.
    """

    def _build(self, featurizer, heads, has_names):
        targets, losses = Numbers.of_stream(1), Losses({"loss": "squared_error", "num_outputs": heads})
        learner = build_stream(self.config, featurizer, targets, [COLUMNS], losses, least_squares=True)
        learner.start_counting(heads)
        return _with_handicap(learner, 0)

    def predict(self, context: Features, offered: Offered) -> np.ndarray:  # -> (2, A)
        """Values of arms in a context, and how often each was learned there, a mean over neurons."""
        sample, learner = self._stream.schema.encode(context or NO_CONTEXT), self.learner
        if learner is None:
            return np.zeros((2, len(offered)))
        unknown = float(self.rewards.mean[0]), 0.0  # of an arm without a reward
        of_heads = learner.predict_and_count(sample)[:, :, 0].T.tolist()
        found = [unknown if (head := self.arms.get(arm)) is None else of_heads[head] for arm in offered]
        return np.array(found).reshape(-1, 2).T

    def novelty(self, context: Features) -> float:
        """How different this context is from those learned so far, from 0 to 1."""
        sample = self._stream.schema.encode(context or NO_CONTEXT)
        return 1.0 if self.learner is None else float(self.learner.novelty(sample)[0])

    def explain(self, context: Features) -> Contributions:
        """Contributions of features and a constant for each arm with a reward, which add up to its value."""
        if self.learner is None:
            return {}, {}
        names, *of_heads = self._stream.explain(context or NO_CONTEXT)
        contributions, constants = (array.tolist() for array in of_heads)
        heads = {arm: head for arm, head in self.arms.items() if head is not None}
        of_arms = {arm: dict(zip(names, contributions[head], strict=True)) for arm, head in heads.items()}
        return of_arms, {arm: constants[head] for arm, head in heads.items()}

    def learn(
        self,
        context: Features,
        offered: Offered,
        rewards: Mapping[Hashable, float],
        at_once: float,
        weights: np.ndarray = ONCE,
    ) -> None:
        """Learn the rewards of arms; of the first context, at most so many keys become features at once."""
        change = self._stream.schema.propose(context or NO_CONTEXT, at_once=at_once)
        arms = self.arms
        if not rewards.keys() <= arms.keys():
            arms = arms | {arm: None for arm in rewards if arm not in arms}
        heads = _heads_for(arms, rewards)
        room = len(arms) if self.learner is None else self.room
        if self.learner is not None and (missing := max(heads.values()) + 1 - room) > 0:
            self.learner.check_rates(1)  # while nothing has changed
            self._stream.learner = _with_handicap(self.learner.with_outputs(range(room), max(room, missing)), room)
            room = self.room
        targets = np.full((room, 1), np.nan)
        for arm, reward in rewards.items():
            targets[heads[arm], 0] = reward
        self._stream.learn(change, targets, weights)
        self.arms = arms
        if self.learner is not None:
            self.arms |= heads

    @property
    def room(self) -> int:
        """H, the number of heads of the learner."""
        assert self.learner is not None
        return self.learner.means.heads

    def add(self, offered: Offered) -> None:
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

    def check(self) -> None:
        super().check()
        counts = [] if self.learner is None or self.learner.counts is None else self.learner.counts.rows
        room = self.room if counts else 0
        heads = [head for head in self.arms.values() if head is not None]
        if len({*heads}) < len(heads) or max(heads, default=-1) >= room or (counts and counts[0].shape[2] != room):
            raise bad("arms", f"one of {room} heads for each arm, and counts of each", heads)


def _heads_for(arms: Mapping[Hashable, int | None], rewarded: Iterable[Hashable]) -> dict[Hashable, int]:
    """The heads of arms with a reward, of which new ones get the first that are free."""
    heads = {arm: head for arm in rewarded if (head := arms[arm]) is not None}
    new = [arm for arm in rewarded if arm not in heads]
    if new:
        used = set(arms.values())
        heads |= dict(zip(new, (head for head in itertools.count() if head not in used), strict=False))
    return heads


def _with_handicap(learner: StreamModel, first: int) -> StreamModel:
    """Let linear models that take steps count little for the heads from `first` on, which are new."""
    learner.means.combination.losses[-learner.featurizer.base_models.linear.models :, first:] = HANDICAP
    return learner


# ---- Arms with features ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class ArmSamples:
    """The features of the arms of a decision, converted; most often these are also the arms of the next one."""

    given: Offered  # what it was looked up for last, so that a decision compares only once
    offered: dict[Hashable, Features]
    samples: SampleBatch  # (F, A), which lack the context
    learned: int  # how many arms had a reward when `samples` got their codes


@saved(
    **{"arms": {object: (Number(int, 0), None)}, "_stream": StreamEstimator, "offered": {object: dict}},
    _codes={object: Number(int, MOST_ONE_HOT, 1 << 62)},
)
class JointArms(Arms):
    """One model of contexts and arms together, so that what is known of one arm serves the next.

    A sample is a context with an arm. It has the features of both and, as one more category, which arm it is, so that
    an arm becomes itself as it is learned.
    """

    def __init__(self, config: NetworkConfig, learning_rate: Rate | None, arms: Iterable[Hashable] = ()) -> None:
        super().__init__(config, learning_rate, arms, always={ARM})
        self.offered: dict[Hashable, Features] = {}  # the features with which each arm was last offered
        # Of arms with a reward, retired ones too, as levels of a category; from MOST_ONE_HOT on, where levels have
        # statistics and add no columns.
        self._codes: dict[Hashable, int] = {}
        # Arms converted by the schema of a version, and the features that they had.
        self._converted: dict[Hashable, tuple[Features, SampleBatch]] = {}
        self._version: tuple[int, ...] = ()
        self._table: ArmSamples | None = None

    def _build(self, featurizer, heads, has_names):
        learner = build_stream(self.config, featurizer, Numbers.of_stream(1), ROLES, Losses({"loss": "squared_error"}))
        learner.start_counting()
        return learner

    def predict(self, context: Features, offered: Offered) -> np.ndarray:  # -> (2, A)
        """Values of arms in a context, and how often the rows that it picks with each were learned."""
        if not offered:
            return np.zeros((2, 0))
        samples = self._samples(context, offered)
        if self.learner is None:
            return np.zeros((2, len(offered)))
        return self.learner.predict_and_count(samples)[:, 0]

    def novelty(self, context: Features) -> float:
        """The lowest novelty of this context with one of the arms."""
        if self.learner is None or not self.offered:
            return 1.0
        return float(self.learner.novelty(self._samples(context, self.offered)).min())

    def explain(self, context: Features) -> Contributions:
        """Contributions of features and a constant for each arm with a reward, which add up to its value."""
        contributions, constants = {}, {}
        for arm, features in self.offered.items():
            if arm in self._codes:
                names, [of_arm], [constant] = self._stream.explain(_joined(context, features) | {ARM: self._codes[arm]})
                contributions[arm] = dict(zip(names, of_arm.tolist(), strict=True))
                constants[arm] = float(constant)
        return contributions, constants

    def learn(
        self,
        context: Features,
        offered: Offered,
        rewards: Mapping[Hashable, float],
        at_once: float,
        weights: np.ndarray = ONCE,
    ) -> None:
        """Learn the rewards of arms, one after another, with these features or those that they had last; of the first
        context, and of its arm, at most so many keys become features at once."""
        schema, learner, codes, changes = self._stream.schema, self.learner, self._codes_of(rewards), []
        features = {arm: dict(offered[arm]) if arm in offered else self.offered.get(arm, {}) for arm in rewards}
        if learner is None or len(rewards) > 1:
            schema = schema.copy()  # on which all are tried
        for arm, code in codes.items():
            change = schema.propose(_joined(context, features[arm]) | {ARM: code}, at_once=2 * at_once + 1)
            changes.append(change)
            if schema is not self._stream.schema:
                schema.commit(change)
            if learner is None and change.places:
                learner = self._first_learner(schema, change)
        if learner is not None and schema is not self._stream.schema:
            learner.check_rates(len(rewards))
        for change, reward in zip(changes, rewards.values(), strict=True):
            if self.learner is None and learner is not None and change.places:
                self._begin(learner, change, float(reward), weights)
            else:
                self._stream.learn(change, np.array([[float(reward)]]), weights)
        self._codes.update((arm, int(code)) for arm, code in codes.items() if arm is not None)
        self.offered.update(features)
        self.arms.update((arm, None) for arm in rewards if arm is not None)

    def _codes_of(self, arms: Iterable[Hashable]) -> dict[Hashable, float]:
        """The codes of arms, with new ones; NaN for None, which is any arm with its features."""
        codes: dict[Hashable, float] = {arm: self._codes.get(arm, math.nan) for arm in arms}
        new = [arm for arm in codes if arm is not None and arm not in self._codes]
        return codes | {arm: code for code, arm in enumerate(new, MOST_ONE_HOT + len(self._codes))}

    def _first_learner(self, schema: StreamSchema, change: SchemaChange) -> StreamModel:
        """A learner that begins with a sample, and with columns for the levels of all arms, which `schema` learns."""
        arms = _learn_arms(schema, self.offered)
        features, categorical = np.concatenate([change.batch.features, arms], axis=1), _categorical(schema)
        learner = self._stream.new_learner(SampleBatch.of(features), categorical, np.zeros((1, 1)))
        learner.scale_by(SampleBatch.of(arms), categorical)
        return learner

    def _begin(self, learner: StreamModel, change: SchemaChange, reward: float, weights: np.ndarray) -> None:
        schema = self._stream.schema
        schema.commit(change)
        _learn_arms(schema, self.offered)
        targets, categorical = np.array([[reward]]), _categorical(schema)
        learner.learn(change.batch, targets, step_sizes_of(weights), categorical=categorical, predicts=False)
        self._stream.learner = learner

    def add(self, offered: Offered) -> None:
        """Know these arms and their features from now on. Raises ValueError as `StreamSchema.encode` does."""
        # Levels are known and numbers have a scale from the first time that an arm is offered. Otherwise all arms
        # without a reward would look alike, and if the first one is good, no other would be tried.
        table, schema = self._table, self._stream.schema
        table = table if table is not None and table.given is offered else self._table_of(offered)
        if self.learner is not None and not offered.keys() <= self.offered.keys():
            new = {arm: features for arm, features in table.offered.items() if arm not in self.offered}
            self.learner.scale_by(SampleBatch.of(_learn_arms(schema, new)), _categorical(schema))
        self.offered.update(table.offered)
        if not offered.keys() <= self.arms.keys():
            self.arms |= dict.fromkeys(offered)

    def retire(self, arm: Hashable) -> None:
        """Forget an arm, which will not be offered again, and its features."""
        del self.arms[arm]
        self.offered.pop(arm, None)
        self._converted.pop(arm, None)

    # ---- All arms of a decision --------------------------------------------------------------------------------------

    def _samples(self, context: Features, offered: Offered) -> SampleBatch:
        """A context with each of these arms, (F, A). Raises ValueError as `StreamSchema.encode` does."""
        sample, arms = self._stream.schema.encode(_named(OF_CONTEXT, context)), self._table_of(offered).samples
        features = np.where(np.isnan(sample.features), arms.features, sample.features)
        return SampleBatch(features, _with_more(arms.words, sample.words))

    def _table_of(self, offered: Offered) -> ArmSamples:
        schema = self._stream.schema
        if schema.version != self._version or len(self._converted) > MOST_CONVERTED:
            self._converted, self._table, self._version = {}, None, schema.version
        table = self._table
        if table is None or not _same(table.offered, offered):
            if self.learner is None:
                _check_kinds([*self.offered.values(), *offered.values()])
            samples = _side_by_side([self._row_of(arm, features) for arm, features in offered.items()])
            table = ArmSamples(offered, {arm: self._converted[arm][0] for arm in offered}, samples, 0)
        if table.learned != len(self._codes):
            table.samples.features[schema.places[ARM]] = [self._codes.get(arm, np.nan) for arm in offered]
        self._table, table.given, table.learned = table, offered, len(self._codes)
        return table

    def _row_of(self, arm: Hashable, features: Features) -> SampleBatch:
        known = self._converted.get(arm)
        if known is None or not _same(known[0], features):
            known = self._converted[arm] = dict(features), self._stream.schema.encode(_named(OF_ARM, features))
        return known[1]

    def check(self) -> None:
        super().check()
        codes = {*self._codes.values()}
        if codes != {*range(MOST_ONE_HOT, MOST_ONE_HOT + len(self._codes))}:
            raise bad("codes", f"numbers from {MOST_ONE_HOT}", codes)


def some_of(arms: Collection[Hashable]) -> str:
    """The first few arms, and how many there are, for an error message."""
    first = [reprlib.repr(arm) for arm in itertools.islice(arms, FEW_ARMS)]
    return f"[{', '.join(first)}{', ...' * (len(arms) > FEW_ARMS)}] ({len(arms):,} arms)"


def _learn_arms(schema: StreamSchema, offered: Offered) -> np.ndarray:  # -> (F, A)
    """The features of arms, whose levels the schema knows from now on."""
    rows = [schema.learn_levels(_named(OF_ARM, features)) for features in offered.values()]
    return np.concatenate([np.zeros((len(schema.places), 0)), *rows], axis=1)


def _categorical(schema: StreamSchema) -> set[int]:
    """Places of the features that are categories."""
    return {place for name, place in schema.places.items() if name in schema.levels or name == ARM}


def _named(owner: str, features: Features) -> dict[Hashable, Any]:
    return {(owner, name): value for name, value in features.items()}


def _joined(context: Features, features: Features) -> dict[Hashable, Any]:
    return _named(OF_CONTEXT, context) | _named(OF_ARM, features)


def _check_kinds(arms: list[Features]) -> None:
    """Raise ValueError if a feature is text in some arms and a number in others."""
    known: dict[Hashable, object] = {}
    for name, value in ((name, value) for features in arms for name, value in features.items()):
        first = value if is_missing(value) else known.setdefault(name, value)
        if isinstance(first, str) != isinstance(value, str):
            raise ValueError(f"arms: expected {name!r} to be always text or never, got {first!r} and {value!r}")


def _same(one: Sample, other: Sample) -> bool:
    """Whether these are equal and in the same order; not if that cannot be told, as with values that are missing."""
    try:
        return bool(one == other) and list(one) == list(other)
    except (TypeError, ValueError):
        return False


def _side_by_side(samples: list[SampleBatch]) -> SampleBatch:  # A of (F, 1) -> (F, A)
    starts = np.cumsum([0, *(len(sample.words.numbers) for sample in samples)])
    words = [np.concatenate(arrays) for arrays in list(zip(*(sample.words for sample in samples), strict=True))[1:]]
    return SampleBatch(np.concatenate([sample.features for sample in samples], axis=1), Words(starts, *words))


def _with_more(words: Words, more: Words) -> Words:
    """The words of samples, with those of one sample added to each."""
    count, new = len(words.starts) - 1, len(more.numbers)
    if new == 0:
        return words
    ends = np.repeat(words.starts[1:], new)
    arrays = [np.insert(array, ends, np.tile(added, count)) for array, added in zip(words[1:], more[1:], strict=True)]
    return Words(words.starts + new * np.arange(count + 1), *arrays)

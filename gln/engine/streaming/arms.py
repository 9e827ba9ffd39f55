"""Arms of a bandit and the learners of their rewards: without features a head for each, with features one for all.

Shapes: A arms, B contexts, F features, H heads.
"""

from __future__ import annotations

import itertools
import math
import operator
import reprlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence, Set
from typing import Any, cast

import numpy as np

from gln.engine.batches import SampleBatch, Words, no_words
from gln.engine.ensemble.ensemble import COLUMNS, SHALLOW, SLOW
from gln.engine.model.builders import Losses, NetworkConfig
from gln.engine.model.featurizer import Featurizer
from gln.engine.model.targets import Numbers
from gln.engine.networks.protocol import Rate
from gln.engine.preprocessing.scaling import Standardizer
from gln.engine.preprocessing.target_encoding import MOST_ONE_HOT
from gln.engine.saving import Number, Part, Value, bad, saved
from gln.engine.streaming.estimator import ONCE, StreamEstimator, step_sizes_of
from gln.engine.streaming.model import StreamModel, build_stream
from gln.engine.streaming.schema import AT_ONCE, CONSTANT, StreamSchema
from gln.engine.streaming.values import Sample, is_missing

OF_CONTEXT, OF_ARM = "context", "arm"  # names of features begin with one of these
ARM = (OF_ARM,)  # the name of the category which arm it is
# A network that reads bin means, and a shallow one that also reads linear models. A third one, fast as in streams, is
# no better here; either of these alone has .007 less reward.
ROLES = (SLOW, SHALLOW)
MOST_HEADS = 1000  # of arms without features, unless more have a reward at once
FEW_ARMS = 5  # that an error names
Features = Sample
Contributions = tuple[dict[Hashable, dict[Hashable, float]], dict[Hashable, float]]  # of each arm, and constants
Offered = Mapping[Hashable, Any]  # arms with their features, or None
NO_CONTEXT: Features = {"constant": 1.0}  # what is learned instead of a context without features


class Arms(Part):
    """The common part of `ArmHeads` and `JointArms`: the known arms, and what learns their rewards."""

    def __init__(
        self,
        config: NetworkConfig,
        learning_rate: Rate | None,
        arms: Iterable[Hashable] = (),
        at_once: float = AT_ONCE,  # of the first context, so many keys may become features at once
        always: Set[Hashable] = frozenset(),
    ) -> None:
        self.config = config
        self.learning_rate = learning_rate
        self.arms: dict[Hashable, None] = dict.fromkeys(arms)  # the known ones
        self._stream = StreamEstimator(self._build, StreamSchema(at_once, always), learning_rate)

    def _build(self, featurizer: Featurizer, heads: int, has_names: bool) -> StreamModel:
        raise NotImplementedError

    @staticmethod
    def _sample_of(context: Features) -> Features:
        """A context as the schema knows it."""
        raise NotImplementedError

    def encode(self, contexts: Sequence[Features]) -> SampleBatch:
        """Contexts for prediction. Raises ValueError as `StreamSchema.encode` does."""
        samples = [self._sample_of(context) for context in contexts]
        schema = self._stream.schema
        return schema.encode(samples[0]) if len(samples) == 1 else schema.encode_rows(samples)

    def read_all(self) -> None:
        """Let all that the first sample holds become features at once, since it is a vector."""
        self._stream.schema.at_once = math.inf

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
    may appear one by one, up to `MOST_HEADS`. Then half of them become free: those of arms rewarded longest ago.
    """

    def __init__(self, config: NetworkConfig, learning_rate: Rate | None, arms: Iterable[Hashable] = ()) -> None:
        super().__init__(config, learning_rate, arms)
        self.heads: dict[Hashable, int] = {}  # numbers from 0, of arms in the order of their latest rewards

    def _build(self, featurizer, heads, has_names):
        targets = Numbers.of_stream(1)
        losses = Losses({"loss": "squared_error", "num_outputs": heads})
        learner = build_stream(self.config, featurizer, targets, [COLUMNS], losses, least_squares=True)
        learner.start_counting(heads)
        return learner

    @staticmethod
    def _sample_of(context: Features) -> Features:
        return context or NO_CONTEXT

    @property
    def room(self) -> int:
        """H, the number of heads; of a learner to come, if there is none yet."""
        return max(1, min(len(self.arms), MOST_HEADS)) if self.learner is None else self.learner.means.heads

    def predict(self, contexts: SampleBatch, offered: Offered) -> np.ndarray:  # -> (2, B, A)
        """Values of arms in contexts, and how often each was learned there, a mean over neurons."""
        result = np.zeros((2, len(contexts), len(offered)))
        if self.learner is not None:
            result[0] = self.rewards.mean[0]  # of an arm without a reward
            has_head = [arm in self.heads for arm in offered]
            heads = [self.heads[arm] for arm in offered if arm in self.heads]
            result[:, :, has_head] = self.learner.predict_and_count(contexts, heads).swapaxes(1, 2)
        return result

    def explain(self, context: Features) -> Contributions:
        """Contributions of features and a constant for each arm with a reward, which add up to its value."""
        if self.learner is None:
            return {}, {}
        names, contributions, constants = self._stream.explain(self._sample_of(context))
        heads = {arm: self.heads[arm] for arm in self.arms if arm in self.heads}
        by_arm = {arm: dict(zip(names, contributions[head].tolist(), strict=True)) for arm, head in heads.items()}
        return by_arm, {arm: float(constants[head]) for arm, head in heads.items()}

    def learn(
        self,
        contexts: Sequence[Features],
        rewards: Sequence[Mapping[Hashable, float]],
        offered: Offered,
        weights: np.ndarray = ONCE,
    ) -> None:
        """Learn the rewards of arms in each of these contexts, one after another."""
        segments = self._stream.plan([*map(self._sample_of, contexts)])
        rewarded = dict.fromkeys(itertools.chain(*rewards))
        new = [arm for arm in rewarded if arm not in self.heads]
        self.arms |= dict.fromkeys(new)
        self.heads |= {arm: self.heads.pop(arm) for arm in rewarded if arm in self.heads}
        self._make_room(len(new), len(rewarded))
        self.heads |= {arm: head for head, arm in enumerate(new, len(self.heads))}
        targets = np.full((len(contexts), self.room), np.nan)
        for row, reward_of in zip(targets, rewards, strict=True):
            for arm, reward in reward_of.items():
                row[self.heads[arm]] = reward
        self._stream.learn_segments(segments, targets, weights)

    def _make_room(self, new: int, rewarded: int) -> None:
        """Have heads for so many new arms, of those that are rewarded now, of which the known ones come last."""
        needed = len(self.heads) + new
        if needed <= self.room:
            return
        most = max(MOST_HEADS, rewarded)
        kept = [*self.heads]
        if needed > most:
            kept = kept[-max(most // 2, rewarded - new) :]
        self._keep(kept, max(min(2 * self.room, most), len(kept) + new))

    def _keep(self, arms: Sequence[Hashable], room: int) -> None:
        """Have so many heads, of which the first are those of these arms. Others become as new."""
        new_heads = {head: new for new, head in enumerate(sorted(self.heads[arm] for arm in arms))}
        if self.learner is not None:
            self._stream.learner = self.learner.with_outputs([*new_heads], room - len(new_heads))
        self.heads = {arm: new_heads[self.heads[arm]] for arm in arms}

    def add(self, offered: Offered) -> None:
        """Know these arms from now on."""
        self.arms |= dict.fromkeys(offered)

    def retire(self, arm: Hashable) -> None:
        """Forget an arm and its head."""
        del self.arms[arm]
        if arm in self.heads:
            self._keep([other for other in self.heads if other != arm], max(1, self.room - 1))

    def to_save(self) -> dict[str, object]:
        return {"arms": {arm: self.heads.get(arm) for arm in self.arms}, "_stream": self._stream}

    def _restore(self, fields: Mapping[str, Value]) -> None:
        super()._restore({"_stream": fields["_stream"]})
        arms = cast(dict[Hashable, int | None], fields["arms"])
        self.heads = {arm: head for arm, head in arms.items() if head is not None}
        self.arms = dict.fromkeys(arms)

    def check(self) -> None:
        super().check()
        counts = [] if self.learner is None or self.learner.counts is None else self.learner.counts.rows
        heads = sorted(self.heads.values())
        room = self.room if counts else 0
        if heads != [*range(len(heads))] or len(heads) > room or (counts and counts[0].shape[2] != room):
            raise bad("arms", f"one of {room} heads for each arm, and counts of each", heads)


# ---- Arms with features ----------------------------------------------------------------------------------------------


class Nameless:
    """An arm that has features and no name, in one row of a log."""


@saved(
    arms={object: (Number(int, 0), None)},
    _stream=StreamEstimator,
    offered={object: dict},
    _codes={object: Number(int, MOST_ONE_HOT, 1 << 62)},
)
class JointArms(Arms):
    """One model of contexts and arms together, so that what is known of one arm serves the next.

    A sample is a context with an arm. It has the features of both and, as one more category, which arm it is, so that
    an arm becomes itself as it is learned.
    """

    def __init__(self, config: NetworkConfig, learning_rate: Rate | None, arms: Iterable[Hashable] = ()) -> None:
        super().__init__(config, learning_rate, arms, 2 * AT_ONCE + 1, {ARM})
        self.offered: dict[Hashable, Features] = {}  # the features with which each arm was last offered
        # Of arms with a reward, retired ones too, as levels of a category; from MOST_ONE_HOT on, where levels have
        # statistics and add no columns.
        self._codes: dict[Hashable, int] = {}
        # The arms that were asked for last, if all their features are known: what else is learned does not change how
        # they are converted. To convert a hundred again takes a third of a decision.
        self._converted: list[tuple[Hashable, Features]] | None = None
        self._table = SampleBatch.of(np.zeros((0, 0)))

    def _build(self, featurizer, heads, has_names):
        learner = build_stream(self.config, featurizer, Numbers.of_stream(1), ROLES, Losses({"loss": "squared_error"}))
        learner.start_counting()
        return learner

    @staticmethod
    def _sample_of(context: Features) -> Features:
        return _named(OF_CONTEXT, context)

    def predict(self, contexts: SampleBatch, offered: Offered) -> np.ndarray:  # -> (2, B, A)
        """Values of arms in contexts, and how often the rows that these pick with each were learned."""
        if self.learner is None:
            _check_kinds([*self.offered.values(), *offered.values()])
        arms = self._samples_of(offered)
        count = len(contexts)
        if self.learner is None or not offered:
            return np.zeros((2, count, len(offered)))
        return self.learner.predict_and_count(_pairs(contexts, arms)).reshape(2, count, -1)

    def explain(self, context: Features) -> Contributions:
        """Contributions of features and a constant for each arm with a reward, which add up to its value."""
        contributions = {}
        constants = {}
        for arm, features in self.offered.items():
            if arm in self._codes:
                sample = _joined(context, features) | {ARM: self._codes[arm]}
                names, [values], [constant] = self._stream.explain(sample)
                contributions[arm] = dict(zip(names, values.tolist(), strict=True))
                constants[arm] = float(constant)
        return contributions, constants

    def learn(
        self,
        contexts: Sequence[Features],
        rewards: Sequence[Mapping[Hashable, float]],
        offered: Offered,
        weights: np.ndarray = ONCE,
    ) -> None:
        """Learn the rewards of arms in each of these contexts, one after another, with these features of the arms or
        those that they had last. A `Nameless` arm is any one with its features."""
        pairs = [(i, arm) for i, reward_of in enumerate(rewards) for arm in reward_of]
        arms = dict.fromkeys(arm for _, arm in pairs)
        features = {arm: offered[arm] if arm in offered else self.offered.get(arm, {}) for arm in arms}
        new = [arm for arm in arms if not isinstance(arm, Nameless) and arm not in self._codes]
        codes = self._codes | {arm: code for code, arm in enumerate(new, MOST_ONE_HOT + len(self._codes))}
        rows = [_joined(contexts[i], features[arm]) | {ARM: codes.get(arm, math.nan)} for i, arm in pairs]
        targets = np.array([rewards[i][arm] for i, arm in pairs], np.float64)
        weights = ONCE if weights is ONCE else weights[[i for i, _ in pairs]]
        if self.learner is None:
            self._begin(rows[0], targets[:1], weights[:1])
            rows = rows[1:]
            targets = targets[1:]
            weights = weights[1:] if len(weights) > 1 else weights
        if rows:
            self._stream.learn_segments(self._stream.plan(rows), targets, weights)
        self._codes = codes
        self.offered |= {arm if arm in codes else None: dict(values) for arm, values in features.items()}
        self.arms |= dict.fromkeys(arm for arm in arms if arm in codes)

    def _begin(self, row: Features, target: np.ndarray, weights: np.ndarray) -> None:
        """Learn the first reward, by a learner with columns for the levels of all arms."""
        stream = self._stream
        schema = self._stream.schema
        change = schema.propose(row)
        schema.commit(change)
        arms = _learn_arms(schema, self.offered)
        features = np.concatenate([change.batch.features, arms], axis=1)
        known = schema.categorical
        learner = stream.new_learner(SampleBatch.of(features), known, np.zeros((1, 1)))
        learner.scale_by(SampleBatch.of(arms), known)
        learner.learn(change.batch, target[None], step_sizes_of(weights), categorical=known, predicts=False)
        stream.learner = learner

    def add(self, offered: Offered) -> None:
        """Know these arms and their features from now on."""
        if _holds(operator.le, offered.items(), self.offered.items()):
            return  # to copy the features of a hundred arms again takes a tenth of a decision
        # Levels are known and numbers have a scale from the first time that an arm is offered. Otherwise all arms
        # without a reward would look alike, and if the first one is good, no other would be tried.
        schema = self._stream.schema
        new = {arm: offered[arm] for arm in offered if arm not in self.offered}
        if self.learner is not None and new:
            self.learner.scale_by(SampleBatch.of(_learn_arms(schema, new)), schema.categorical)
        self.offered |= {arm: dict(features) for arm, features in offered.items()}
        self.arms |= dict.fromkeys(offered)

    def retire(self, arm: Hashable) -> None:
        """Forget an arm, which will not be offered again, and its features."""
        del self.arms[arm]
        self.offered.pop(arm, None)

    # ---- All arms of a decision --------------------------------------------------------------------------------------

    def _samples_of(self, offered: Offered) -> SampleBatch:
        """Arms without a context, (F, A). Raises ValueError as `StreamSchema.encode` does."""
        schema = self._stream.schema
        arms = [*offered.items()]
        indices = schema.indices
        if len(self._table.features) != len(indices) or not _holds(operator.eq, self._converted, arms):
            self._table = table = schema.encode_rows([_named(OF_ARM, features) for _, features in arms])
            known = np.count_nonzero(~np.isnan(table.features)) + len(table.words.numbers)
            given = sum(not is_missing(value) for _, features in arms for value in features.values())
            is_known = known == given + len(arms) * (CONSTANT in indices)
            self._converted = [(arm, dict(features)) for arm, features in arms] if is_known else None
        if indices:
            self._table.features[indices[ARM]] = [self._codes.get(arm, np.nan) for arm in offered]
        return self._table

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
    return np.concatenate([np.zeros((len(schema.indices), 0)), *rows], axis=1)


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


def _holds(compare: Callable[[Any, Any], bool], one: object, other: object) -> bool:
    """What a comparison says; False if that cannot be told, as with values that are missing."""
    try:
        return bool(compare(one, other))
    except (TypeError, ValueError):
        return False


def _pairs(contexts: SampleBatch, arms: SampleBatch) -> SampleBatch:  # (F, B), (F, A) -> (F, B A)
    """Each context with each of the arms."""
    pairs = len(contexts) * len(arms)
    shared = contexts.features[:, :, None]
    features = np.where(np.isnan(shared), arms.features[:, None], shared).reshape(-1, pairs)
    if not (len(contexts.words.numbers) or len(arms.words.numbers)):
        return SampleBatch(features, no_words(pairs))
    return SampleBatch(features, _pairs_of_words(contexts.words, arms.words))


def _pairs_of_words(contexts: Words, arms: Words) -> Words:  # of B samples, of A -> of B A
    """The words of each arm with those of each context, of which those of the arm come first."""
    begins = np.empty((len(contexts.starts) - 1, len(arms.starts) - 1, 2), np.int64)
    sizes = np.empty_like(begins)
    begins[..., 0] = arms.starts[:-1]
    sizes[..., 0] = np.diff(arms.starts)
    begins[..., 1] = contexts.starts[:-1, None] + len(arms.numbers)
    sizes[..., 1] = np.diff(contexts.starts)[:, None]
    ends = np.cumsum(sizes)
    indices = np.arange(ends[-1]) + np.repeat(begins.ravel() - ends + sizes.ravel(), sizes.ravel())
    values = [np.concatenate(arrays)[indices] for arrays in zip(arms[1:], contexts[1:], strict=True)]
    return Words(np.append(0, ends[1::2]), *values)

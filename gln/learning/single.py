"""A single sample of a stream in one compiled call, because a call takes as long as what it computes.

It is for networks of `gln_numba` and does what `Reading`, `Group` and `Mixture` do for samples together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gln.learning.bases import HELPERS, say
from gln.learning.compiled import compiled, plain
from gln.learning.fading import Cells
from gln.learning.group import Group
from gln.learning.linear_loops import Slots
from gln.learning.many import log_share
from gln.learning.mixture import Mixture
from gln.learning.mixture_loops import count_single, mixed_by_losses, of_class, sums_before, with_linear
from gln.learning.moments import standardise
from gln.learning.reading import Reading
from gln.learning.samples import Words, check_samples, features_and_words
from gln.learning.standardizer import Standardizer

__all__ = ["is_single", "learn_single", "predict_single"]

learn_blocks: Any = None  # of gln_numba, once it is needed
ONE, NO_RATE, NO_SPREAD = np.ones(1), np.zeros(1, np.float32), np.zeros(0)


def is_single(reading: Reading, group: Group, samples: Any) -> bool:
    """Whether these samples are one, that this reading and this group can take in one call."""
    return (
        samples.shape[1] == 1
        and not issparse(samples)
        and bool(group.reads)
        and isinstance(reading.standardizer, Standardizer)
        and not reading.standardizer.judges_together
        and type(group.combination) is Mixture
        and group.link in ("logit", "itself")
        and hasattr(group.networks[0], "of_sample")
        and reading.memory is None
    )


def predict_single(reading: Reading, group: Group, samples: Any) -> np.ndarray:  # -> (C, 1)
    """The combined predictions for a sample, in the networks' units."""
    features, words = features_and_words(samples)
    check_samples(features, len(reading.numbers))  # compiled loops do not
    columns = features if reading.categories is None else reading.categories.transform(features)
    nothing = np.full((group.heads, 1), np.nan, np.float32)
    return _run(reading, group, features, words, columns, nothing, [NO_RATE] * len(group.networks), None, False)


def learn_single(
    reading: Reading,
    group: Group,
    samples: Any,
    counted: np.ndarray | None,
    y: np.ndarray,
    rates: list[np.ndarray],
    shares: np.ndarray | None,
) -> None:
    """Learn a sample; arguments as for `Reading.learn` and `Group.learn`."""
    features, words = features_and_words(samples)
    columns = features
    if reading.categories is not None:
        assert counted is not None
        columns = reading.categories.learn(features, counted, shares)
    assert reading.bases is not None
    reading.bases.make_room(len(reading.numbers) + len(words.numbers), reading.numbers)
    _run(reading, group, features, words, columns, y, rates, shares, True)
    for network in group.networks:
        network.step += 1


def _run(
    reading: Reading,
    group: Group,
    features: np.ndarray,
    words: Words,
    columns: np.ndarray,
    y: np.ndarray,
    rates: list[np.ndarray],
    shares: np.ndarray | None,
    learns: bool,
) -> np.ndarray:
    bases: Any = reading.bases
    networks: Any = group.networks  # of gln_numba
    mixture = group.combination
    standard = reading.standardizer.loop_state
    of_bases = bases.linear.models > 1, bases.linear.limit, bases.linear.most, bases.linear.slots, bases.cells.cells
    inputs = np.array([network.base_size for network in networks])
    own = tuple([network.of_sample[learns] for network in networks])
    offset = log_share(group.heads) if bases.linear.are_classes else 0.0
    spread = NO_SPREAD if mixture.spread is None else mixture.spread
    share = ONE if shares is None else plain(shares)
    of_sample = plain(columns), plain(features), words, reading.numbers
    of_networks = bases.linear.are_classes, own, inputs, y, tuple(rates), share
    return _compiled_step()(*standard, *of_sample, *of_bases, *of_networks, mixture.losses, spread, offset, learns)


@functools.cache
def _compiled_step() -> Callable[..., np.ndarray]:
    """`_step`, which calls compiled loops: as helpers they would be compiled once more."""
    from gln_numba import learn_blocks

    loops: dict[str, Any] = {
        "standardise": compiled(standardise),
        "say": compiled(say, *HELPERS),
        "learn_blocks": learn_blocks,
        "with_linear": compiled(with_linear),
        "mixed_by_losses": compiled(mixed_by_losses),
        "count_single": compiled(count_single, of_class, sums_before),
    }
    globals().update(loops)
    return compiled(_step)


def _step(
    standard: np.ndarray,
    floor: float,
    limit: float,
    far: float,
    columns: np.ndarray,  # (D, 1)
    features: np.ndarray,  # (F, 1)
    words: Words,
    numbers: np.ndarray,  # (F,)
    joins: bool,
    bound: float,
    most: int,
    slots: Slots,
    cells: Cells,
    are_classes: bool,
    networks: Any,
    inputs: np.ndarray,  # (M,)
    y: np.ndarray,  # (C, 1)
    rates: Any,  # M of (1,)
    share: np.ndarray,  # (1,)
    losses: np.ndarray,
    spread: np.ndarray,
    offset: float,
    learns: bool,
) -> np.ndarray:  # (C, 1)
    """The combined predictions for a sample before it is learned, if this `learns`."""
    z, _ = standardise(columns, standard, learns, floor, limit, far, limit, 0.0)
    targets, size = y.astype(np.float64), len(z)
    read, _ = say(z, features, joins, bound, most, slots, cells, are_classes, words, numbers, targets, share, learns)
    predicted = learn_blocks(networks, inputs, read[size:], read[:size], y, rates)
    models = slots.leaders.shape[1]
    said = np.ascontiguousarray(read[size : size + models * len(y)]).reshape((models, len(y), 1))
    predicted = with_linear(predicted, said, are_classes)
    mixed = mixed_by_losses(predicted, losses, offset, are_classes)
    if learns:
        count_single(predicted, y, are_classes, losses, spread, share)
    return mixed

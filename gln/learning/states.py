"""What a file holds of a learner: a list of fields, and which part each belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gln.learning.calibration import Blend
from gln.learning.counts import Counts
from gln.learning.densities import Shape
from gln.learning.group import Group, grouped
from gln.learning.learner import Learner
from gln.learning.mixture import Mixture
from gln.learning.network import Rate
from gln.learning.own_classes import KEPT, OwnClasses
from gln.learning.reading import Reading
from gln.learning.targets import Classes, Numbers

__all__ = ["FIELDS", "learner_of", "state_of"]

FIELDS = {
    *("standardizer", "categories", "distances", "pieces", "cells", "memory", "bases"),  # of what networks read
    "target_standardizer",  # None for classes
    *("groups", "blends", "mixtures", "shape", "reads"),  # of the networks; a list has an entry for each group
    "visits",  # the counts, as files have always called them
    "learning_rate",  # of older files; the estimator has it too
}


def state_of(learner: Learner | OwnClasses) -> dict[str, Any]:
    """FIELDS, as arrays, networks, standardizers, numbers, and lists and mappings of these."""
    if isinstance(learner, OwnClasses):
        return learner.state()
    combinations = [group.combination for group in learner.groups]
    return {
        **learner.reading.state(),
        **learner.targets.state(),
        "groups": [group.networks for group in learner.groups],
        "blends": combinations if isinstance(combinations[0], Blend) else None,
        "mixtures": [vars(each) for each in combinations] if isinstance(combinations[0], Mixture) else None,
        "shape": learner.groups[-1].shape,
        "reads": tuple(learner.groups[0].reads),
        "visits": None if learner.counts is None else learner.counts.rows,
    }


def learner_of(state: Mapping[str, Any], learning_rate: Rate | None) -> Learner | OwnClasses:
    """The learner whose `state_of` this was; older files lack some fields.

    Raises ValueError for an unknown field, or parts that do not fit together.
    """
    if state.keys() == set(KEPT):
        return OwnClasses.of_state(state, learning_rate)
    if not {"groups", "standardizer"} <= state.keys() <= FIELDS:
        raise ValueError(f"learner: expected the fields {sorted(FIELDS)}, got {sorted(state)}")
    targets, counts = state.get("target_standardizer"), state.get("visits")
    learner = Learner(
        Reading.of_state(state),
        Classes() if targets is None else Numbers(targets),
        _groups(state),
        None if counts is None else Counts(counts),
    )
    if not _fits(learner):
        raise ValueError("learner: expected networks, standardizers and counts of one size, got several")
    learner.set_learning_rate(learning_rate)
    return learner


def _groups(state: Mapping[str, Any]) -> list[Group]:
    groups = grouped(state["groups"], state.get("reads", ()))
    for group, blend in zip(groups, state.get("blends") or (), strict=False):
        group.combination = Blend(*blend)
    for group, mixture in zip(groups, state.get("mixtures") or (), strict=False):
        group.combination = Mixture.of_state(mixture)
    if state.get("shape") is not None:
        groups[-1].shape = Shape(*state["shape"])
    return groups


def _fits(learner: Learner) -> bool:
    """Whether the sizes of all parts agree."""
    reading, first = learner.reading, learner.groups[0]
    bases = reading.bases is None or (reading.bases.fits(reading.size, first.heads) and bool(first.reads))
    if not bases or (first.reads and (reading.bases is None or len(first.reads) != len(first.networks))):
        return False
    for group in learner.groups:
        known = all(
            network.context_size in (reading.size, len(reading.columns))
            and network.base_size in [reading.inputs(network.context_size, reads) for reads in range(3)]
            for network in group.networks
        )
        shapes = [(group.members(reading), heads) for heads in (1, group.heads)]
        if not (known and group.blend()[0].weights.shape in shapes and _fits_mixture(group)):
            return False
    if learner.counts is None:
        return True
    rows = Counts.none(learner.groups[0].networks).rows
    return [each.shape[:2] for each in rows] == [each.shape[:2] for each in learner.counts.rows]


def _fits_mixture(group: Group) -> bool:
    """Whether a mixture counts each target of its group: compiled loops do not check."""
    if not isinstance(group.combination, Mixture):
        return True
    targets = group.heads if group.config.record.heads == "num_outputs" else 1
    others = [array for name, array in vars(group.combination).items() if name != "losses" and array is not None]
    return group.combination.losses.shape[1] == targets and all(array.shape == (targets,) for array in others)

"""What is trained together: networks of one role that leave out the same fold of a table.

Shapes: N samples, F features, V rows to learn (a sample of weight 2 is two of them), M networks of an ensemble, R
roles, C heads, T targets, P passes, n rows that are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import spread
from gln.engine.ensemble.ensemble import Ensemble, Member, Role
from gln.engine.networks.protocol import Network
from gln.engine.tabular.folds import left_out_folds


class Job(NamedTuple):
    """Networks to train, which read and leave out the same, so that each row is read once for all of them."""

    members: Sequence[Member]  # of one role
    seed: int  # of the orders in which they learn rows
    rows: np.ndarray  # to learn, of all folds but one
    fold: int  # that the networks leave out
    left_out: np.ndarray  # rows of this fold to predict

    @property
    def role(self) -> Role:
        return self.members[0].role

    @property
    def networks(self) -> list[Network]:
        return [member.network for member in self.members]


def jobs_of(ensemble: Ensemble, folds: np.ndarray, left_out: int, most: int) -> list[Job]:
    """The networks of an ensemble, which leave out so many folds, with at most so many rows of each to predict."""
    together: dict[tuple[Role, int], list[Member]] = {}
    for member, fold in zip(ensemble.members, left_out_folds(ensemble, left_out), strict=True):
        together.setdefault((member.role, int(fold)), []).append(member)
    jobs = []
    for (_, fold), members in together.items():
        rows = np.flatnonzero(folds == fold)
        seed = members[0].network.config.seed or 0
        jobs.append(Job(members, seed, np.flatnonzero(folds != fold), fold, rows[spread(len(rows), most)]))
    return jobs

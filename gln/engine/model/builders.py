"""New networks and ensembles, for tables and for streams."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gln.backends import load_backend
from gln.engine.ensemble.ensemble import COLUMNS, SHALLOW, SLOW, STEADY, Ensemble, Member, Role
from gln.engine.model.featurizer import Featurizer
from gln.engine.networks.protocol import backend_of
from gln.engine.saving import bad

SHALLOW_LAYERS = (16,)  # of two more, which also read linear models; 8 to 64 neurons are about as good


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What the networks of a model have in common."""

    backend: str | type
    arguments: Mapping[str, Any]  # of a `GLN`
    seeds: Callable[[int], Sequence[int]]  # seeds of so many networks

    def ensemble(self, featurizer: Featurizer, roles: Sequence[Role], **kind: Any) -> Ensemble:
        """New networks of these roles; `kind` are arguments for the loss."""
        members = []
        for role, seed in zip(roles, self.seeds(len(roles)), strict=True):
            options = {**self.arguments, **kind, "seed": seed}
            if "linear" in role.mixes:
                options["layer_sizes"] = SHALLOW_LAYERS
            sizes = {"input_size": len(featurizer.spec_of(role).names), "context_size": featurizer.size}
            members.append(Member(load_backend(self.backend).GLN(**options, **sizes), role))
        return Ensemble(members)


class Losses(NamedTuple):
    """Arguments of networks that give them their loss and heads."""

    means: Mapping[str, Any]  # or of classes
    variances: Mapping[str, Any] | None = None  # of all targets


def checked_loss(loss: str, backend: str | type) -> str:
    """A loss of numbers that networks of this backend have, perhaps a changed copy. Raises ValueError for others."""
    records = sys.modules[backend_of(load_backend(backend).GLN).__module__].LOSSES
    losses = [name for name, record in records.items() if (record.heads, record.link) == ("num_outputs", "itself")]
    if loss not in losses:
        raise bad("loss", f"one of {losses}, those of the backend whose predictions are the numbers", repr(loss))
    return loss


def ensembles_of(
    config: NetworkConfig, featurizer: Featurizer, roles: Sequence[Role], losses: Losses
) -> tuple[Ensemble, Ensemble | None]:
    """New ensembles of means and of variances, with these roles for the networks of means.

    Those of variances have the same roles, but read no base models of a stream.
    """
    other_roles = [COLUMNS if role == SLOW else role for role in roles if role not in (SHALLOW, STEADY)]
    means = config.ensemble(featurizer, roles, **losses.means)
    variances = None if losses.variances is None else config.ensemble(featurizer, other_roles, **losses.variances)
    return means, variances

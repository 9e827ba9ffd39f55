"""Networks that predict the same targets, and how their predictions are combined.

Shapes: B samples, C heads, D columns, K inputs, M models (networks, and in streams linear models), T targets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.engine.batches import dense
from gln.engine.ensemble import hedge
from gln.engine.ensemble.hedge import Hedge, VarianceHedge
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.ensemble.stacking import StackingWeights, equal_weights
from gln.engine.jit import compiled, plain
from gln.engine.networks.head_sampling import MANY_CLASSES, log_sampling_rate
from gln.engine.networks.protocol import Network, is_network, predict_all
from gln.engine.saving import Number, saved
from gln.rates import stream_rate_limits, stream_rates
from gln_numpy import Config


class NetworkInputs(NamedTuple):
    """What networks read of samples.

    The inputs are, in this order: predictions of linear models, piecewise-linear expansions, means of bins, and each
    column with its distance from the mean. A network mixes all of them, or the last ones.
    """

    columns: np.ndarray  # (D, B), standardised: what halfspaces see. Sparse for wide tables
    inputs: np.ndarray  # (K, B), what networks mix
    linear: np.ndarray  # (L, B), the inputs that are predictions of linear models

    def of(self, network: Network) -> tuple[np.ndarray, np.ndarray]:  # -> (K, B), (D, B)
        """The inputs and the side information of a network."""
        inputs, columns = self.inputs, self.columns
        if not network.takes_sparse:
            inputs, columns = dense(inputs), dense(columns)
        return inputs[inputs.shape[0] - network.input_size :], columns


class Role(NamedTuple):
    """What a network mixes besides columns and their distances from the mean, and how it learns a stream."""

    name: str
    mixes: tuple[str, ...] = ()
    pace: str = "slow"  # at which it learns a stream, one of `PACES`


COLUMNS, FAST = Role("columns"), Role("fast", pace="fast")
EXPANDED = Role("expanded", ("expansions", "bin_means"))  # of tables
SLOW, SHALLOW = Role("slow", ("bin_means",)), Role("shallow", ("linear", "bin_means"))  # of streams
STEADY = SHALLOW._replace(name="steady", pace="steady")  # does not follow the last samples, which may be of one user
ROLES = {role.name: role for role in (COLUMNS, EXPANDED, SLOW, FAST, SHALLOW, STEADY)}


@saved(network=is_network, role=str)
class Member(NamedTuple):
    network: Network
    role: Role = COLUMNS

    def to_save(self) -> dict[str, Any]:
        return {"network": self.network, "role": self.role.name}

    @classmethod
    def of_saved(cls, network: Network, role: str) -> Member:
        return cls(network, ROLES[role])


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.minimum(np.maximum(p.astype(np.float64), 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
    return np.log(p) - np.log1p(-p)


# From a prediction to what networks mix, and back.
LINKS: dict[str, Callable[..., np.ndarray]] = {"logit": _logit, "log": np.log, "itself": np.asarray}
INVERSE_LINKS = LINKS | {"logit": lambda s: 1 / (1 + np.exp(-s)), "log": np.exp}


@saved(
    **{"members": [Member], "combination": (StackingWeights, Hedge, VarianceHedge, None)},
    **{"shape": (JohnsonSU, None), "mixes_linear": bool, "free": Number(int, 0)},
)
@dataclasses.dataclass(eq=False)
class Ensemble:
    members: Sequence[Member]
    # `StackingWeights`, learned from the samples of a table that networks held out; in streams a `Hedge`; None if all
    # networks count the same.
    combination: Any = None
    shape: JohnsonSU | None = None  # if they predict variances, the shape of the densities; None is normal
    mixes_linear: bool = False  # whether the linear models that predict the same targets are combined, too, as the last
    free: int = 0  # heads of the networks, the last ones, that wait for new classes and do not predict

    @property
    def networks(self) -> list[Network]:
        return [member.network for member in self.members]

    @property
    def config(self) -> Config:
        return self.members[0].network.config

    @property
    def link(self) -> str:
        """What the networks mix is the prediction's "logit", its "log", or the prediction "itself"."""
        return self.config.record.link

    @property
    def heads(self) -> int:
        return self.members[0].network.num_heads - self.free

    @property
    def offset(self) -> float:
        """Of the weighted sum of logits, to correct for the sampling of heads."""
        return log_sampling_rate(self.heads) if self.config.record.heads == "num_classes" else 0.0

    def stacking_weights(self) -> StackingWeights:
        """The present weights of the models of means or classes."""
        if isinstance(self.combination, Hedge):
            return StackingWeights(hedge.expert_weights(self.combination.losses), np.array([self.offset]))
        return self.combination or equal_weights(len(self.members), self.offset)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def deviations(self, y: np.ndarray, means: np.ndarray) -> np.ndarray:  # (T, B), (T, B) -> (T, B)
        """What networks of variances learn: deviations of standardised targets from the combined means."""
        # Deviations below the least one that can be predicted would drive the weights to their bounds.
        bound = self.members[0].network.bound
        deviations = np.abs(y - means).clip(np.exp(-bound / 2), bound)
        return np.where(np.isfinite(y), deviations, y).astype(np.float32)

    @functools.cached_property
    def limits_of_rates(self) -> list[tuple[float, float]]:
        """The default rate of each network at first and at last."""
        return [stream_rate_limits(network, role.pace) for network, role in self.members]

    def rates(self, count: int) -> np.ndarray:
        """The default rates of streams for the next `count` samples, (M, count)."""
        return stream_rates([int(network.step) for network in self.networks], self.limits_of_rates, count)

    def learn(
        self,
        read: NetworkInputs,
        y: np.ndarray,  # (C, B)
        rates: np.ndarray,  # (M, B)
        step_sizes: np.ndarray | None,  # (B,)
        batch_size: int,
        combines: bool,
    ) -> np.ndarray | None:
        """Learn samples, and return the combined predictions before each, if this `combines`: (C, B), or (2 T, B) of
        the variances of a stream with the tails of its densities."""
        predicted, losses = self.run(read, y, rates, batch_size, step_sizes), None
        steps = hedge.ONE if step_sizes is None else plain(step_sizes)
        if isinstance(self.combination, VarianceHedge):
            return self.combination.learn_deviations(predicted, y, self.shape, steps, batch_size)
        if isinstance(self.combination, Hedge):
            losses = self.combination.add(hedge.expert_losses(self.config, predicted, y), steps, batch_size)
        return self.combined(predicted, losses) if combines else None

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def run(
        self,
        read: NetworkInputs,
        targets: np.ndarray | None = None,  # (C, B)
        rates: np.ndarray | None = None,  # (M, B)
        batch_size: int = 1,
        step_sizes: np.ndarray | None = None,  # (B,)
    ) -> np.ndarray:  # (M, C, B)
        """The predictions of all models, whose networks then learn the samples if there are targets."""
        linear_models = read.linear.shape[0] // self.heads if self.mixes_linear else 0
        predicted = np.empty((len(self.members) + linear_models, self.heads, read.columns.shape[1]), np.float32)
        networks = self.networks
        inputs, columns = read.of(max(networks, key=lambda network: network.input_size))
        if targets is not None and self.free:
            targets = np.pad(targets, [(0, self.free), (0, 0)], constant_values=np.inf)
        learned = targets, rates, batch_size, step_sizes
        predicted[: len(networks)] = predict_all(networks, inputs, columns, *learned)[:, : self.heads]
        if linear_models:
            compiled(hedge.add_linear_predictions)(predicted, read.linear, self.link == "logit")
        return predicted

    def mixed(self, predicted: np.ndarray) -> np.ndarray:
        """What the networks mix, from what they predict: logits, standardised values or log variances."""
        return LINKS[self.link](predicted)

    def combined(self, predicted: np.ndarray, losses: np.ndarray | None = None) -> np.ndarray:
        """The predictions of the ensemble, from those of its models, and of a `Hedge` perhaps with the sums of losses
        before each sample: (M, C, B), (M, T, B) -> (C, B)."""
        if self.combination is None and len(predicted) == 1 and predicted.shape[1] < MANY_CLASSES:
            return predicted[0]  # fast, for single samples
        if isinstance(self.combination, VarianceHedge):
            of_all = self.combination.losses, self.combination.scale, self.combination.recent
            return compiled(hedge.combine_variances)(np.asarray(predicted, np.float32), *of_all)
        if isinstance(self.combination, Hedge):
            losses = self.combination.losses[:, :, None] if losses is None else losses
            options = self.offset, self.link == "logit"
            return compiled(hedge.combine_by_losses)(np.asarray(predicted, np.float32), losses, *options)
        weights, offsets = self.stacking_weights()
        return INVERSE_LINKS[self.link]((weights[:, :, None] * self.mixed(predicted)).sum(axis=0) + offsets[:, None])

    def predict(self, read: NetworkInputs) -> np.ndarray:  # -> (C, B)
        return self.combined(self.run(read).astype(np.float64))

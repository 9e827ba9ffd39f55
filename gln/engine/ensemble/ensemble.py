"""Networks that predict the same targets, and how their predictions are combined.

Shapes: B samples, C heads, D columns, K inputs, M models (networks, and in streams linear models), T targets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gln.engine.batches import dense
from gln.engine.ensemble.combination import INVERSE_LINKS, LINKS, ONE, Combination, WeightedSum, add_linear_predictions
from gln.engine.ensemble.johnson_su import STEP, JohnsonSU, follow, follow_shape
from gln.engine.jit import compiled, plain
from gln.engine.networks.head_sampling import log_sampling_rate
from gln.engine.networks.protocol import Network, is_network, predict_all
from gln.engine.saving import Array, Number, saved
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
        inputs = self.inputs
        columns = self.columns
        if not network.takes_sparse:
            inputs = dense(inputs)
            columns = dense(columns)
        return inputs[inputs.shape[0] - network.config.input_size :], columns


class Role(NamedTuple):
    """What a network mixes besides columns and their distances from the mean, and how it learns a stream."""

    name: str
    mixes: tuple[str, ...] = ()
    pace: str = "slow"  # at which it learns a stream, one of `PACES`


COLUMNS = Role("columns")
FAST = Role("fast", pace="fast")
EXPANDED = Role("expanded", ("expansions", "bin_means"))  # of tables
SLOW = Role("slow", ("bin_means",))  # of streams
SHALLOW = Role("shallow", ("linear", "bin_means"))
STEADY = SHALLOW._replace(name="steady", pace="steady")  # does not follow the last samples, which may be of one user

# At which networks of a kind go on after a table: what follows may be alike, so that each row says little, or not. With
# one pace, a table that goes on is 2% worse, on 19 static tables of classes and on 12 streams.
AFTER_TABLE = "slow", "steady", "tiny"


def _paced(role: Role) -> list[Role]:
    return [role._replace(name=f"{role.name}, {pace}", pace=pace) for pace in AFTER_TABLE]


PACED = {COLUMNS: _paced(COLUMNS), EXPANDED: _paced(EXPANDED)}
ROLES = {role.name: role for role in (*PACED, SLOW, FAST, SHALLOW, STEADY, *PACED[COLUMNS], *PACED[EXPANDED])}


@saved(network=is_network, role=str)
class Member(NamedTuple):
    network: Network
    role: Role = COLUMNS

    def to_save(self) -> dict[str, object]:
        return {"network": self.network, "role": self.role.name}

    @classmethod
    def of_saved(cls, network: Network, role: str) -> Member:
        return cls(network, ROLES[role])


@saved(
    members=[Member],
    combination=(Combination, None),
    mixes_linear=bool,
    free=Number(int, 0),
    shape=(JohnsonSU, None),
    recent=(Array("f8", "*", 0), None),
)
@dataclasses.dataclass(eq=False)
class Ensemble:
    """Networks, perhaps other models, and the last neuron, which mixes what all of them predict."""

    members: Sequence[Member]
    combination: Combination | None = None  # None is for a single network
    mixes_linear: bool = False  # whether the linear models that predict the same targets are mixed, too, after networks
    shape: JohnsonSU | None = None  # if they predict variances, the shape of the densities; None is normal
    # (T,), of variances of a stream, the fading mean of the last squared deviations, which is mixed as the last model.
    # It widens intervals within a few samples when something happens that the features do not tell.
    recent: np.ndarray | None = None
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
        return self.members[0].network.config.num_heads - self.free

    @property
    def neuron(self) -> Combination:
        """The combination of several models."""
        assert self.combination is not None
        return self.combination

    @property
    def models(self) -> int:
        """The number of networks and other models that are mixed."""
        return len(self.members) if self.combination is None else len(self.combination.experts)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each expert, the mean over targets: roles of networks, linear models, and the constant."""
        if self.combination is None:
            return {}
        *experts, constant = self.combination.weights.mean(axis=0).tolist()
        roles = dict.fromkeys(member.role for member in self.members)
        names = [*(role.name for role in roles), *(["linear", "crosses"] if SHALLOW in roles else ["stream"])]
        weights = dict(zip(names, experts, strict=False))
        return weights | {"constant": constant} if self.combination.constants.any() else weights

    @property
    def offset(self) -> float:
        """Of the weighted sum of logits, to correct for the sampling of heads."""
        return log_sampling_rate(self.heads) if self.config.record.heads == "num_classes" else 0.0

    @property
    def experts(self) -> np.ndarray:  # (M,)
        """The expert that each network belongs to: those of one role are one."""
        roles = [member.role for member in self.members]
        return np.array([[*dict.fromkeys(roles)].index(role) for role in roles])

    def equal_combination(self, others: int) -> Combination:
        """The mean of the experts, of which so many are no networks."""
        experts = self.experts
        is_joint = self.config.record.heads == "num_classes" and self.heads > 1
        experts = np.append(experts, 1 + experts.max() + np.arange(others))
        constants = np.full(self.heads, 0.0 if is_joint or self.link == "itself" else 1.0)
        return Combination.equal(self.link, experts, constants, 1 if is_joint else self.heads)

    def after_table(self) -> Ensemble:
        """The same predictions, by networks that go on at several paces from now on."""
        if self.combination is None or self.members[0].role not in PACED:
            return self
        numbers: Counter[Role] = Counter()
        members = []
        for network, role in self.members:
            members.append(Member(network, PACED[role][numbers[role] % len(AFTER_TABLE)]))
            numbers[role] += 1
        paced = dataclasses.replace(self, members=members)
        paced.combination = self.combination.divided(paced.experts)
        return paced

    def is_combined(self, others: int) -> bool:
        """Whether the combination, of a file, is of these networks and so many other models."""
        actual = self.combination
        expected = self.equal_combination(others)
        if actual is None or actual.link != expected.link or actual.experts.tolist() != expected.experts.tolist():
            return False
        return all(getattr(actual, name).shape == array.shape for name, array in expected.arrays.items())

    def weighted_sum(self) -> WeightedSum:
        """What the models' logits, values or log variances are combined by now."""
        if self.combination is None:
            return WeightedSum(np.ones((1, 1)), np.array([self.offset]))
        return self.combination.of_models(self.offset)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def deviations(self, y: np.ndarray, means: np.ndarray) -> np.ndarray:  # (T, B), (T, B) -> (T, B)
        """What networks of variances learn: deviations of standardised targets from the combined means."""
        # Deviations below the least one that can be predicted would drive the weights to their bounds.
        bound = self.members[0].network.config.bound
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
        earlier: np.ndarray | None = None,  # (M, C, B), what models predicted earlier; NaN or None: they predict now
    ) -> np.ndarray:
        """Learn samples, and return the combined predictions before each, (C, B). Heads whose target is infinity
        predict nothing."""
        predicted = self.run(read, y, rates, step_sizes)
        if self.combination is None:
            return self.combined(predicted)
        steps = ONE if step_sizes is None else plain(step_sizes)
        earlier = predicted if earlier is None else np.where(np.isnan(earlier), predicted, earlier)
        return self.combination.learn(earlier, y, self.offset, steps)

    def follow_shape(self, deviations: np.ndarray, at_limits: np.ndarray, step_sizes: np.ndarray | None) -> np.ndarray:
        """Let the shape follow deviations from means, divided by standard deviations, (T, B), and return what
        `JohnsonSU.rows` is before each. The tails are those of a table, where they were fitted."""
        self.shape = self.shape or JohnsonSU.normal(self.heads)
        steps = ONE if step_sizes is None else plain(step_sizes)
        tail_step = 0.0 if self.recent is None else STEP
        before = compiled(follow_shape)(deviations, at_limits, self.shape, tail_step, steps)
        return before.reshape(-1, before.shape[2])

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def run(
        self,
        read: NetworkInputs,
        targets: np.ndarray | None = None,  # (C, B)
        rates: np.ndarray | None = None,  # (M, B)
        step_sizes: np.ndarray | None = None,  # (B,)
    ) -> np.ndarray:  # (M, C, B)
        """The predictions of all models, whose networks then learn the samples if there are targets."""
        networks = self.networks
        count = read.columns.shape[1]
        linear_models = read.linear.shape[0] // self.heads if self.mixes_linear else 0
        models = len(networks) + linear_models + (self.recent is not None)
        predicted = np.empty((models, self.heads, count), np.float32)
        inputs, columns = read.of(max(networks, key=lambda network: network.config.input_size))
        if targets is not None and self.free:
            targets = np.pad(targets, [(0, self.free), (0, 0)], constant_values=np.inf)
        learned = targets, rates, step_sizes
        predicted[: len(networks)] = predict_all(networks, inputs, columns, *learned)[:, : self.heads]
        if linear_models:
            compiled(add_linear_predictions)(predicted, len(networks), read.linear, self.link == "logit")
        if self.recent is not None:
            y = np.full((self.heads, count), np.nan, np.float32) if targets is None else targets
            steps = ONE if step_sizes is None else plain(step_sizes)
            predicted[-1] = compiled(follow)(y, self.recent, steps)
        return predicted

    def mixed(self, predicted: np.ndarray) -> np.ndarray:
        """What is mixed, from what the models predict: logits, standardised values or log variances."""
        return LINKS[self.link](predicted)

    def combined(self, predicted: np.ndarray) -> np.ndarray:  # (M, C, B) -> (C, B)
        """The predictions of the ensemble, from those of its models."""
        if self.combination is not None:
            return self.combination.combine(predicted, self.offset)
        return predicted[0] if self.offset == 0 else INVERSE_LINKS[self.link](self.mixed(predicted[0]) + self.offset)

    def predict(self, read: NetworkInputs) -> np.ndarray:  # -> (C, B)
        return self.combined(self.run(read))

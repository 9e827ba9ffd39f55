"""A group of networks that predict the same, and how their predictions are combined.

Shapes: B samples, C heads, D columns, M networks, T targets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.engine.batches import CHUNK, chunks
from gln.engine.ensemble.hedge import Hedge, add_linear, mixed_by_losses, weights_of
from gln.engine.ensemble.johnson_su import Shape
from gln.engine.ensemble.stacking import StackingWeights, equal
from gln.engine.jit import compiled
from gln.engine.networks.head_sampling import MANY, log_share
from gln.engine.networks.protocol import Network
from gln.engine.networks.schedules import first_and_least, rates_of_streams


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.minimum(np.maximum(p.astype(np.float64), 2.0**-126), 1 - 2.0**-24)  # float32's neighbours of 0 and 1
    return np.log(p) - np.log1p(-p)


def _expit(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def _itself(s: np.ndarray) -> np.ndarray:
    return s


class Link(NamedTuple):
    """Maps a prediction to what networks mix, and back."""

    of: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


LINKS = {"logit": Link(_logit, _expit), "log": Link(np.log, np.exp), "itself": Link(_itself, _itself)}


class Mean:
    """All networks count the same."""

    def blend(self, ensemble: Ensemble) -> tuple[StackingWeights, str]:
        offset = log_share(ensemble.heads) if ensemble.link == "logit" else 0.0
        return equal(len(ensemble.networks), offset), ensemble.link

    def with_targets(self, kept: Sequence[int], new: int) -> Mean:
        return self


@dataclasses.dataclass
class Ensemble:
    networks: Sequence[Network]
    # A `Mean`; `StackingWeights`, learned from the samples of a table that networks left out; or in streams a `Hedge`.
    combination: Any = dataclasses.field(default_factory=Mean)
    target: int | None = None  # the one whose quantiles these networks predict
    shape: Shape | None = None  # if they predict variances, the shape of the densities; None is normal
    # In streams with base predictors, what each network reads, as for `Featurizer.widened`. Then the linear models are
    # combined, too, after the networks.
    reads: Sequence[int] = ()

    @property
    def config(self) -> Any:
        return self.networks[0].config

    @property
    def link(self) -> str:
        """What the networks mix is the prediction's "logit", its "log", or the prediction "itself"."""
        return self.config.record.link

    @property
    def heads(self) -> int:
        return self.networks[0].num_heads

    def blend(self) -> tuple[StackingWeights, str]:
        """The weights of the networks, and the link of the weighted summands: "itself" if these are predictions."""
        return self.combination.blend(self)

    # ---- Learning ----------------------------------------------------------------------------------------------------

    def targets_of(self, y: np.ndarray, means: np.ndarray | None) -> np.ndarray:
        """What the networks learn: the targets, one target for all quantile levels, or the deviations from the means.

        Shapes: standardised targets (T, B), means (T, B) -> (C, B).
        """
        if self.target is not None:
            return np.broadcast_to(y[self.target], (self.heads, y.shape[1]))
        if self.link != "log":
            return y
        # Deviations below the least one that can be predicted would drive the weights to their bounds.
        bound = self.networks[0].bound
        deviations = np.abs(y - means).clip(np.exp(-bound / 2), bound)
        return np.where(np.isfinite(y), deviations, y).astype(np.float32)

    @functools.cached_property
    def limits_of_rates(self) -> list[tuple[float, float]]:
        """The default rate of each network at first and at last."""
        reads = self.reads or [0] * len(self.networks)
        are_fast = [isinstance(self.combination, Hedge) and m % 2 == 1 and reads[m] < 2 for m in range(len(reads))]
        return [first_and_least(*each) for each in zip(self.networks, are_fast, strict=True)]

    def rates(self, count: int) -> np.ndarray:
        """The default rates of streams for the next `count` samples, (M, count)."""
        return rates_of_streams([int(network.step) for network in self.networks], self.limits_of_rates, count)

    def learn(
        self,
        featurizer: Any,
        z: Any,
        y: np.ndarray,
        rates: np.ndarray,
        step_sizes: np.ndarray | None,
        batch_size: int,
        combines: bool,
    ) -> np.ndarray | None:
        """Learn standardised samples, and return the combined predictions before each, (C, B), if `combines`.

        Shapes: (D, B), (C, B), (M, B), (B,).
        """
        predicted, losses = self.run(featurizer, z, y, rates, batch_size), None
        if isinstance(self.combination, Hedge):
            losses = self.combination.learn(self.config, predicted, y, step_sizes, batch_size)
        if not combines:
            return None
        return self.combined(predicted, None if losses is None else weights_of(losses))

    # ---- Predicting --------------------------------------------------------------------------------------------------

    def run(
        self,
        featurizer: Any,
        z: Any,
        targets: np.ndarray | None = None,
        rates: np.ndarray | None = None,
        batch_size: int = 1,
    ) -> np.ndarray:
        """The predictions that are combined for standardised samples, which networks then learn if there are targets.

        Shapes: (D + E, B), (C, B), (M, B) -> (M, C, B).
        """
        networks = self.networks
        predicted = np.empty((self.members(featurizer), self.heads, z.shape[1]), np.float32)
        for size in {network.context_size for network in networks}:  # all that see the same take one call
            some = [i for i, network in enumerate(networks) if network.context_size == size]
            own = [networks[i] for i in some]
            read = featurizer.read(max(own, key=lambda network: network.input_size), z)
            own_rates = None if rates is None else rates[some]
            predicted[some] = own[0].predict_all(own, *read, targets, own_rates, batch_size)
        if self.reads:
            said = z[featurizer.size : featurizer.size + featurizer.linear_size]
            compiled(add_linear)(predicted, said, self.link == "logit")
        return predicted

    def members(self, featurizer: Any) -> int:
        """M, the number of predictions that are combined."""
        return len(self.networks) + (featurizer.base_models.models if self.reads and featurizer.base_models else 0)

    def mixed(self, predicted: np.ndarray) -> np.ndarray:
        """What the networks mix, from what they predict: logits, standardised values or log variances."""
        return LINKS[self.link].of(predicted)

    def combined(self, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The predictions of the group, from those of its networks: (M, C, B), (M, C or 1, B) -> (C, B)."""
        if isinstance(self.combination, Mean) and len(predicted) == 1 and predicted.shape[1] < MANY:
            return predicted[0]  # fast, for single samples
        if weights is None and type(self.combination) is Hedge:
            offset = log_share(self.heads) if self.link == "logit" else 0.0
            predicted = np.asarray(predicted, np.float32)
            return compiled(mixed_by_losses)(predicted, self.combination.losses, offset, self.link == "logit")
        blend, link = self.blend()
        mixed = LINKS[link].of(predicted)
        mixed = blend.of(mixed) if weights is None else (weights * mixed).sum(axis=0) + blend.offsets[:, None]
        return LINKS[link].inverse(mixed)

    def explain(self, featurizer: Any, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contributions of columns and a constant, which add up to what the combined networks mix.

        In place of contributions of what linear models say, there are slopes.

        Shapes: (D + E, B) -> (C, B, D + E), (C, B).
        """
        (blend, _), heads, linear = (
            self.blend(),
            self.heads,
            range(featurizer.size, featurizer.size + featurizer.linear_size),
        )
        contributions, constant = np.zeros((heads, *z.shape)), np.zeros((heads, z.shape[1])) + blend.offsets[:, None]
        for network, weight in zip(self.networks, blend.weights[:, :, None], strict=False):
            mixed, context = featurizer.read(network, z)
            of_mean, _ = featurizer.read(network, np.zeros_like(z[:, :1]))
            slopes, constants, _ = network.explain(mixed, context)
            slopes, bound = weight[:, None] * slopes.reshape(heads, *mixed.shape), network.bound  # (C, K, B)
            columns = featurizer.column_of_inputs(network)
            values = np.where(np.isin(columns, linear)[:, None], 1, mixed.clip(-bound, bound) - of_mean)
            np.add.at(contributions.swapaxes(0, 1), columns, (slopes * values).swapaxes(0, 1))
            constant += weight * constants + (slopes * of_mean).sum(axis=1)
        for model, weight in enumerate(blend.weights[len(self.networks) :] if self.reads else ()):
            own = linear[model * heads] + np.arange(heads)
            contributions[np.arange(heads), own] += weight[:, None]
        return contributions.transpose(0, 2, 1), constant

    # ---- Growing -----------------------------------------------------------------------------------------------------

    def widened(self, before: Any, after: Any) -> Ensemble:
        """With inputs for the columns that are new in `after`."""
        reads = self.reads or [int(before.encodes(network)) for network in self.networks]
        networks = [after.widened(network, before, own) for network, own in zip(self.networks, reads, strict=True)]
        combination, new = self.combination, self.members(after) - self.members(before)
        return dataclasses.replace(
            self, networks=networks, combination=combination.with_models(new) if new else combination
        )


def grouped(networks: Sequence[Sequence[Network]], reads: Sequence[int] = ()) -> list[Ensemble]:
    """A group for each list: networks of the targets, then of the quantiles of each target, then of the variances."""
    of_quantiles = [each[0].config.record.heads == "quantiles" for each in networks]
    ensembles = [Ensemble(each, target=i - 1 if of_quantiles[i] else None) for i, each in enumerate(networks)]
    ensembles[0].reads = reads
    return ensembles


def predictions(
    featurizer: Any, standardised: Callable[[slice], Any], count: int, *ensembles: Ensemble
) -> list[np.ndarray]:  # (M, C, B) each
    """Predictions of the networks of each of these groups for `count` samples, in their units, in float64.

    `standardised` returns a part of the samples, as `featurizer` standardises them.
    """
    if count <= CHUNK:
        z = standardised(slice(0, count))
        return [ensemble.run(featurizer, z).astype(np.float64) for ensemble in ensembles]
    predicted = [np.empty((ensemble.members(featurizer), ensemble.heads, count)) for ensemble in ensembles]
    for part in chunks(count):
        z = standardised(part)
        for own, ensemble in zip(predicted, ensembles, strict=True):
            own[..., part] = ensemble.run(featurizer, z)
    return predicted

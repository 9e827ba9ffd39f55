"""New networks, ensembles and learners, for tables and for streams."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gln.backends import load_backend
from gln.engine.base_models.least_squares import LeastSquares
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.ensemble.ensemble import COLUMNS, FAST, MEMORY, SHALLOW, SLOW, STEADY, Ensemble, Member, Role
from gln.engine.ensemble.hedge import Hedge
from gln.engine.model.featurizers import StreamFeaturizer
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.head_sampling import MANY_CLASSES, SAMPLED_HEADS
from gln.engine.networks.protocol import Rate
from gln.engine.networks.surgery import set_initial_logits

# Networks for streams: a slow and a fast one. Halfspaces that see at most 1, 3 or 4 features are about as good.
OF_STREAMS: dict[str, Any] = {"layer_sizes": (64, 32), "n_networks": 2, "context_map_size": 5, "context_features": 2}
SHALLOW_LAYERS = (16,)  # of two more, which also read linear models; 8 to 64 neurons are about as good


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What the networks of a model have in common; arguments are those of a `GLN`."""

    backend: str
    layer_sizes: Sequence[int]
    context_map_size: int
    context_features: int | None
    context_bias: float
    learning_rate: Rate | None
    seeds: Callable[[int], Sequence[int]]  # seeds of so many networks

    def ensemble(self, featurizer: Any, roles: Sequence[Role], target: int | None = None, **kind: Any) -> Ensemble:
        """New networks of these roles; `kind` are arguments for the loss."""
        members = []
        for role, seed in zip(roles, self.seeds(len(roles)), strict=True):
            network = load_backend(self.backend).GLN(
                SHALLOW_LAYERS if "linear" in role.blocks else self.layer_sizes,
                len(featurizer.inputs_of(role).names),
                len(featurizer.columns_of(role)),
                context_map_size=self.context_map_size,
                context_features=self.context_features,
                context_bias=self.context_bias,
                learning_rate=self.learning_rate,
                seed=seed,
                **kind,
            )
            members.append(Member(network, role))
        return Ensemble(members, target=target)


def stream_config(
    layer_sizes: Sequence[int], context_map_size: int, context_bias: float, backend: str, seed: int | None
) -> NetworkConfig:
    """What the networks of a stream have in common."""
    context_features, seeds = OF_STREAMS["context_features"], functools.partial(_seeds, seed)
    return NetworkConfig(backend, layer_sizes, context_map_size, context_features, context_bias, None, seeds)


def _seeds(seed: int | None, count: int) -> list[int]:
    return np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=count).tolist()


def stream_roles(networks: int, has_names: bool, memory: bool = False, has_slow: bool = True) -> list[Role]:
    """Slow and fast networks alternate; with `memory`, one more sees the previous label; shallow ones are last.

    A steady one lowers the log-loss of streams with names or words by up to .008, those of numbers alone not at all.
    """
    roles = [*(networks * [SLOW, FAST])[:networks], *(memory * [MEMORY]), SHALLOW, *(has_names * [STEADY])]
    return [role for role in roles if has_slow or role != SLOW]


class Losses(NamedTuple):
    """Arguments of networks that give them their loss and heads."""

    means: Mapping[str, Any]  # or of classes
    quantiles: Sequence[Mapping[str, Any]] = ()  # of each target
    variances: Mapping[str, Any] | None = None  # of all targets


def build(
    config: NetworkConfig,
    featurizer: Any,
    targets: Classes | Numbers,
    roles: Sequence[Role],
    losses: Losses,
) -> Learner:
    """A new learner, with these roles for the networks of means. Those of quantiles and of variances have the same
    roles, but read no base models of a stream."""
    other_roles = [COLUMNS if role == SLOW else role for role in roles if role not in (MEMORY, SHALLOW, STEADY)]
    means = config.ensemble(featurizer, roles, **losses.means)
    quantiles = [config.ensemble(featurizer, other_roles, t, **loss) for t, loss in enumerate(losses.quantiles)]
    variances = None if losses.variances is None else config.ensemble(featurizer, other_roles, **losses.variances)
    return Learner(featurizer, targets, means, quantiles, variances)


def build_stream(
    config: NetworkConfig,
    featurizer: StreamFeaturizer,
    targets: Classes | Numbers,
    roles: Sequence[Role],
    losses: Losses,
    least_squares: bool = False,
) -> Learner:
    """A new learner with base models, whose models are weighted by how well each predicted recently.

    The base models are linear models and means of bins or, instead of these, `least_squares`.
    """
    outputs = losses.means.get("num_classes") or losses.means.get("num_outputs", 1)
    heads = 1 if targets.are_classes and outputs == 2 else outputs
    numbers, crosses = featurizer.numbers[featurizer.numbers >= 0].tolist(), featurizer.encoding is not None
    base_models = OnlineBaseModels.start(numbers, heads, targets.are_classes, crosses, uses_bins=not least_squares)
    base_models.least_squares = LeastSquares.start(heads, featurizer.size) if least_squares else None
    featurizer = dataclasses.replace(featurizer, base_models=base_models)
    learner = build(config, featurizer, targets, roles, losses)
    learner.means.mixes_linear = True
    if outputs >= MANY_CLASSES and targets.are_classes:
        for network in learner.means.networks:
            set_initial_logits(network, np.full(outputs, -math.log(SAMPLED_HEADS)))
    for ensemble in learner.ensembles:
        ensemble.combination = equal_hedge(ensemble, featurizer)
    return learner


def equal_hedge(ensemble: Ensemble, featurizer: Any) -> Hedge:
    """Equal weights for the models of an ensemble, as before the first sample."""
    models = len(ensemble.members) + (featurizer.base_models.models if ensemble.mixes_linear else 0)
    targets = ensemble.heads if ensemble.config.record.heads == "num_outputs" else 1
    return Hedge.equal(models, targets, ensemble.link)

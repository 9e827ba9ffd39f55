"""`save` and `load` of estimators, once for scikit-learn's, River's and bandits.

A file holds JSON, with large arrays beside it; what may stand in it is listed by each estimator.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from gln.backends import BACKENDS, load_backend
from gln.engine.ensemble.ensemble import Ensemble, grouped
from gln.engine.ensemble.hedge import Hedge
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.ensemble.stacking import StackingWeights
from gln.engine.model.featurizers import Featurizer
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.files import CALLABLE, bad, configuration, packed, read, unpacked, usable, write
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.protocol import Rate, is_network
from gln.engine.preprocessing.scaling import Standardizer
from gln.engine.preprocessing.sparse_scaling import SparseScaler

LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
SCALERS: dict[str, Any] = {"standardizer": Standardizer, "sparse_scaler": SparseScaler}


class Saveable:
    """`save` and `load` for an estimator that keeps what it learned in a `Learner`, and perhaps other attributes."""

    backend: str
    learning_rate: Any
    changeable: Collection[str] = ("backend", "learning_rate")  # parameters that `load` may replace
    kept: ClassVar[dict[str, Any]] = {}  # what a file holds besides the parameters: attributes, and their types

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save parameters and everything that was learned, without pickle, in a file that any backend can load.

        Parameters
        ----------
        path : str or path-like
            The file, replaced by a complete one if it exists. Callables and random states are not saved: pass a
            callable again when loading; a random state becomes None.

        Raises
        ------
        OSError
            The file cannot be written; an existing file at `path` is kept.
        ValueError
            A class, a feature's name or a parameter is neither a number nor text, nor a sequence of them.
        """
        arrays: dict[str, np.ndarray] = {}
        parameters = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        config = {
            "estimator": _kind(type(self)),
            "parameters": {name: _encoded(name, value, arrays) for name, value in parameters.items()},
            "learned": {name: _encoded(name, value, arrays) for name, value in self._learned().items()},
        }
        # Early versions of safetensors cannot read a file without arrays, as before the first sample of a stream.
        write(path, config, arrays or {"none": np.zeros(1)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """Load an estimator from a file that `save` wrote, to continue where it stopped. Nothing is unpickled.

        Networks keep their backend, or get the fastest installed one if it is missing.

        Parameters
        ----------
        path : str or path-like
            The file.
        **parameters
            Replace saved ones, for example `backend`. Those that determine the networks raise an error.

        Returns
        -------
        estimator : of this class

        Raises
        ------
        OSError
            The file does not exist or cannot be read.
        ValueError
            The file is not a saved estimator of this class or was changed, or a parameter is missing or not allowed.
        """
        config, arrays = read(path)
        if config.get("estimator") != _kind(cls):
            raise bad(str(path), f"a saved {_kind(cls)}", f"a saved {config.get('estimator', 'network')}")
        if unknown := sorted(parameters.keys() - cls.changeable):
            expected = f"some of {sorted(cls.changeable)}, because the others determine what was learned"
            raise bad("parameters", expected, unknown)
        with usable(path):
            if config["parameters"].get("learning_rate") == CALLABLE and "learning_rate" not in parameters:
                raise bad("learning_rate", "the callable that the saved model had", None)
            estimator = cls(**_parameters(config["parameters"]) | parameters)
            network = load_backend(estimator.backend).GLN
            for name, value in config["learned"].items():
                estimator._keep(name, _decoded(name, value, arrays, network))
            estimator._restored()
        return estimator

    def _restored(self) -> None:
        """Bring what an older version saved into today's form."""

    def _learned(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in self.kept if name in vars(self)}

    def _keep(self, name: str, value: Any) -> None:
        """Set an attribute from a file. Raises ValueError for one that an estimator of this class does not have."""
        if name not in self.kept:
            raise bad("learned", f"some of {sorted(self.kept)}", repr(name))
        if self.kept[name] is Learner:
            value = None if value is None else learner_of(value, self.learning_rate)  # None before the first sample
        elif not isinstance(value, self.kept[name]):
            raise bad(name, f"a value of type {self.kept[name]}", repr(value)[:200])
        setattr(self, name, value)


def _kind(estimator: type) -> str:
    return f"{estimator.__module__}.{estimator.__name__}"


def _parameters(saved: dict[str, Any]) -> dict[str, Any]:
    parameters = {name: _decoded(name, value, {}, None) for name, value in saved.items()}
    if importlib.util.find_spec(BACKENDS.get(parameters["backend"], "numpy")) is None:
        parameters["backend"] = "auto"
    return parameters


def _encoded(place: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `place`."""
    if isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, (Learner, *LEARNERS)):
        return {"fields": {name: _encoded(f"{place}.{name}", each, arrays) for name, each in state_of(value).items()}}
    if isinstance(value, (Standardizer, SparseScaler)):
        [kind] = [kind for kind, cls in SCALERS.items() if isinstance(value, cls)]
        arrays |= {f"{place}.{name}": array for name, array in value.get_state().items()}
        return {kind: value.size}
    if is_network(value):
        arrays |= {f"{place}.{name}": array for name, array in packed(value).items()}
        return {"network": configuration(value)}
    if isinstance(value, np.ndarray):
        return _encoded_array(place, value, arrays)
    if isinstance(value, Mapping):
        pairs = enumerate(value.items())
        return {"pairs": [[_encoded(f"{place}.{i}", each, arrays) for each in pair] for i, pair in pairs]}
    if isinstance(value, (list, tuple, range)):
        encoded = [_encoded(f"{place}.{i}", each, arrays) for i, each in enumerate(value)]
        return encoded if isinstance(value, list) else {"tuple": encoded}
    if callable(value):
        return CALLABLE
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise bad(place, "numbers, text or sequences of them", repr(value))
    return value


def _encoded_array(place: str, array: np.ndarray, arrays: dict[str, np.ndarray]) -> Any:
    if array.dtype.kind not in "biufUO" or (array.dtype == object and not all(isinstance(v, str) for v in array)):
        raise bad(place, "numbers or text", f"dtype {array.dtype}, {array.tolist()}")
    if array.size > LARGE and array.dtype.kind in "biuf":
        arrays[place] = np.ascontiguousarray(array)
        return {"tensor": place}
    return {"array": array.ravel().tolist(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _decoded(place: str, value: Any, arrays: Mapping[str, np.ndarray], network: Any) -> Any:
    """Undo `_encoded`; networks are made by `network`, and a learner is returned as its state."""
    if isinstance(value, list):
        return [_decoded(f"{place}.{i}", each, arrays, network) for i, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kind, content = list(value.items())[0]  # noqa: RUF015 - a mapping without entries is a LookupError
    if kind == "array":
        array = np.array(content, value["dtype"])
        return array.reshape(value.get("shape", array.shape))  # missing in older files
    if kind == "tensor":
        return arrays[content]
    if kind == "tuple":
        return tuple(_decoded(place, content, arrays, network))
    if kind == "pairs":
        pairs = [[_decoded(f"{place}.{i}", each, arrays, network) for each in pair] for i, pair in enumerate(content)]
        return dict(pairs)
    if kind == "fields":
        return {name: _decoded(f"{place}.{name}", each, arrays, network) for name, each in content.items()}
    prefix = f"{place}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if kind in SCALERS:
        made = SCALERS[kind](content)
        made.set_state(state)
    else:
        made = network(**content | {"learning_rate": None})  # the estimator sets it
        made.set_state(unpacked(made, state))
    return made


FIELDS = {
    *("standardizer", "categories", "distances", "pieces", "cells", "memory", "bases"),  # of what networks read
    "target_standardizer",  # None for classes
    *("groups", "blends", "mixtures", "shape", "reads"),  # of the networks; a list has an entry for each group
    "visits",  # the counts, as files have always called them
    "learning_rate",  # of older files; the estimator has it too
}


# Other kinds of learners, which have `FIELDS`, `state` and `of_state`. Their modules add them.
LEARNERS: list[Any] = []


def state_of(learner: Any) -> dict[str, Any]:
    """FIELDS, as arrays, networks, standardizers, numbers, and lists and mappings of these."""
    if not isinstance(learner, Learner):
        return learner.state()
    combinations = [ensemble.combination for ensemble in learner.ensembles]
    return {
        **learner.featurizer.state(),
        **learner.targets.state(),
        "groups": [ensemble.networks for ensemble in learner.ensembles],
        "blends": combinations if isinstance(combinations[0], StackingWeights) else None,
        "mixtures": [vars(each) for each in combinations] if isinstance(combinations[0], Hedge) else None,
        "shape": learner.ensembles[-1].shape,
        "reads": tuple(learner.ensembles[0].reads),
        "visits": None if learner.counts is None else learner.counts.rows,
    }


def learner_of(state: Mapping[str, Any], learning_rate: Rate | None) -> Any:
    """The learner whose `state_of` this was; older files lack some fields.

    Raises ValueError for an unknown field, or parts that do not fit together.
    """
    for kind in LEARNERS:
        if state.keys() == set(kind.FIELDS):
            return kind.of_state(state, learning_rate)
    if not {"groups", "standardizer"} <= state.keys() <= FIELDS:
        raise ValueError(f"learner: expected the fields {sorted(FIELDS)}, got {sorted(state)}")
    targets, counts = state.get("target_standardizer"), state.get("visits")
    learner = Learner(
        Featurizer.of_state(state),
        Classes() if targets is None else Numbers(targets),
        _groups(state),
        None if counts is None else GateCounts(counts),
    )
    if not _fits(learner):
        raise ValueError("learner: expected networks, standardizers and counts of one size, got several")
    learner.set_learning_rate(learning_rate)
    return learner


def _groups(state: Mapping[str, Any]) -> list[Ensemble]:
    ensembles = grouped(state["groups"], state.get("reads", ()))
    for ensemble, blend in zip(ensembles, state.get("blends") or (), strict=False):
        ensemble.combination = StackingWeights(*blend)
    for ensemble, mixture in zip(ensembles, state.get("mixtures") or (), strict=False):
        ensemble.combination = Hedge.of_state(mixture)
    if state.get("shape") is not None:
        ensembles[-1].shape = JohnsonSU(*state["shape"])
    return ensembles


def _fits(learner: Learner) -> bool:
    """Whether the sizes of all parts agree."""
    featurizer, first = learner.featurizer, learner.ensembles[0]
    base_models = featurizer.base_models is None or (
        featurizer.base_models.fits(featurizer.size, first.heads) and bool(first.reads)
    )
    if not base_models or (first.reads and (featurizer.base_models is None or len(first.reads) != len(first.networks))):
        return False
    for ensemble in learner.ensembles:
        known = all(
            network.context_size in (featurizer.size, len(featurizer.columns))
            and network.base_size in [featurizer.inputs(network.context_size, reads) for reads in range(3)]
            for network in ensemble.networks
        )
        shapes = [(ensemble.members(featurizer), heads) for heads in (1, ensemble.heads)]
        if not (known and ensemble.blend()[0].weights.shape in shapes and _fits_mixture(ensemble)):
            return False
    if learner.counts is None:
        return True
    rows = GateCounts.zeros(learner.ensembles[0].networks).rows
    return [each.shape[:2] for each in rows] == [each.shape[:2] for each in learner.counts.rows]


def _fits_mixture(ensemble: Ensemble) -> bool:
    """Whether a mixture counts each target of its group: compiled loops do not check."""
    if not isinstance(ensemble.combination, Hedge):
        return True
    targets = ensemble.heads if ensemble.config.record.heads == "num_outputs" else 1
    others = [array for name, array in vars(ensemble.combination).items() if name != "losses" and array is not None]
    return ensemble.combination.losses.shape[1] == targets and all(array.shape == (targets,) for array in others)

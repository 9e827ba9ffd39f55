"""`save` and `load` of estimators, once for scikit-learn's, River's and bandits.

A file holds JSON, with large arrays beside it; what may stand in it is listed by each estimator.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import inspect
import itertools
import os
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from gln.backends import BACKENDS, load_backend
from gln.engine.base_models.bin_means import BinMeans
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.ensemble.ensemble import COLUMNS, ROLES, Ensemble, Member
from gln.engine.ensemble.hedge import Hedge
from gln.engine.ensemble.johnson_su import JohnsonSU
from gln.engine.ensemble.stacking import StackingWeights
from gln.engine.model.builders import equal_hedge
from gln.engine.model.featurizers import PlainFeaturizer, StreamFeaturizer, TableFeaturizer
from gln.engine.model.learner import Learner
from gln.engine.model.targets import Classes, Numbers
from gln.engine.networks.files import CALLABLE, check_sizes, configuration, packed, read, unpacked, usable, write
from gln.engine.networks.gate_counts import GateCounts
from gln.engine.networks.protocol import Rate, is_network
from gln.engine.novelty.pair_histograms import PairHistograms
from gln.engine.preprocessing.basis_expansion import NO_PIECES, Pieces
from gln.engine.preprocessing.scaling import SparseScaler, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.saving import bad, checked, fits, value_of

LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
MOST_ROWS = 1 << 17  # of weights, of a network that is not in a file
LONGEST = 1000  # characters of the place of a value among lists and mappings, so that these are not too deep
WIDE_TEXT, PER_CHARACTER = 1 << 24, 400  # bytes of an array of texts, all of which take as many as the longest one
MOST_LIMIT = 20.0  # of standardised features: beyond it, `predict_bin_means` would find no bin
SCALERS: dict[str, Any] = {"standardizer": Standardizer, "sparse_scaler": SparseScaler}


class Saveable:
    """`save` and `load` for an estimator that keeps what it learned in a `Learner`, and perhaps other attributes."""

    backend: str
    learning_rate: Any
    changeable: Collection[str] = ("backend", "learning_rate")  # parameters that `load` may replace
    removed: ClassVar[Collection[str]] = ()  # parameters of earlier versions, which files may still have
    kept: ClassVar[dict[str, Any]] = {}  # what a file holds besides the parameters: attributes, and their types
    extra: Mapping[str, Any] = types.MappingProxyType({})  # what was saved with the model, if it was loaded

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Save parameters and everything that was learned, without pickle, in a file that any backend can load.

        Parameters
        ----------
        path : str or path-like
            The file, replaced by a complete one if it exists. Callables and random states are not saved: pass a
            callable again when loading; a random state becomes None.
        extra : mapping, default=None
            What belongs to the model, such as the date of the last sample: numbers, text, arrays, and lists and
            mappings of these. `load` returns it as the attribute `extra`.

        Raises
        ------
        OSError
            The file cannot be written; an existing file at `path` is kept.
        ValueError
            A class, a feature's name, a parameter or a value of `extra` is neither a number nor text, nor a sequence
            or mapping of these, or `extra` is no mapping.
        """
        if extra is not None and not isinstance(extra, Mapping):
            raise bad("extra", "a mapping", repr(extra))
        arrays: dict[str, np.ndarray] = {}
        parameters = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        learned = self._learned() | ({"extra": dict(extra)} if extra else {})
        config = {
            "estimator": _kind(type(self)),
            "parameters": {name: _encoded(name, value, arrays) for name, value in parameters.items()},
            "learned": {name: _encoded(name, value, arrays) for name, value in learned.items()},
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
            given = {name: value for name, value in config["parameters"].items() if name not in cls.removed}
            saved = {name: _decoded(name, value, {}, None) for name, value in given.items()}
            backend = saved["backend"] if "backend" in inspect.signature(cls).parameters else "numpy"
            if importlib.util.find_spec(BACKENDS.get(backend, "numpy")) is None:
                saved["backend"] = "auto"
            if saved.get("learning_rate") == CALLABLE and "learning_rate" not in parameters:
                raise bad("learning_rate", "the callable that the saved model had", None)
            annotations = _annotations(cls)
            for name, value in saved.items():
                if name not in parameters and not fits(value, annotations.get(name, Any)):
                    raise bad(name, f"{annotations[name]}", repr(value))
            _check_of_networks(saved | parameters, sum(array.size for array in arrays.values()))
            estimator = cls(**saved | parameters)
            network = load_backend(getattr(estimator, "backend", "auto")).GLN
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
        kept = {"extra": dict, **self.kept}
        if name not in kept:
            raise bad("learned", f"some of {sorted(kept)}", repr(name))
        if kept[name] is Learner:
            value = None if value is None else learner_of(value, self.learning_rate)  # None before the first sample
        elif kept[name] is PairHistograms:
            value = PairHistograms.of_state(value)
        else:
            value = value_of(type(self).__name__, name, value, kept[name], {})
        setattr(self, name, value)


def _annotations(estimator: type) -> dict[str, Any]:
    """The types of its parameters; none of a subclass whose annotations name what is not there at run time."""
    with contextlib.suppress(NameError):
        return typing.get_type_hints(estimator.__init__)  # type: ignore[misc]
    return {}


def _check_of_networks(parameters: Mapping[str, Any], numbers: int) -> None:
    """Raise ValueError for parameters that no network has, or layers that are larger than these numbers in a file."""
    network = load_backend("numpy").GLN([1], 1, 1, learning_rate=parameters.get("learning_rate"))
    names = ("layer_sizes", "context_map_size", "context_bias")
    given = {name: parameters[name] for name in names if parameters.get(name) is not None}
    config = dataclasses.replace(network.config, **given)
    if (rows := sum(config.layer_sizes) << config.context_map_size) > max(MOST_ROWS, numbers):
        raise bad("layer_sizes, context_map_size", f"at most {MOST_ROWS} rows before the first sample", rows)


def _kind(estimator: type) -> str:
    return f"{estimator.__module__}.{estimator.__name__}"


def _encoded(place: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `place`."""
    if isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, (Learner, PairHistograms, *LEARNERS)):
        return {"fields": {name: _encoded(f"{place}.{name}", item, arrays) for name, item in state_of(value).items()}}
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
        return {"pairs": [[_encoded(f"{place}.{i}", item, arrays) for item in pair] for i, pair in pairs]}
    if isinstance(value, (list, tuple, range)):
        encoded = [_encoded(f"{place}.{i}", item, arrays) for i, item in enumerate(value)]
        return encoded if isinstance(value, list) else {"tuple": encoded}
    if callable(value) and place.endswith("learning_rate"):
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
    if len(place) > LONGEST:
        raise bad("configuration", "few lists and mappings within one another", place)
    if isinstance(value, list):
        return [_decoded(f"{place}.{i}", item, arrays, network) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kind, content = list(value.items())[0]  # noqa: RUF015 - a mapping without entries is a LookupError
    if kind == "array":
        return _decoded_array(content, np.dtype(value["dtype"]), value.get("shape"))
    if kind == "tensor":
        return arrays[content]
    if kind == "tuple":
        return tuple(_decoded(place, content, arrays, network))
    if kind == "pairs":
        return dict(
            [_decoded(f"{place}.{i}", item, arrays, network) for item in pair] for i, pair in enumerate(content)
        )
    if kind == "fields":
        return {name: _decoded(f"{place}.{name}", item, arrays, network) for name, item in content.items()}
    prefix = f"{place}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if kind in SCALERS:
        if type(content) is not int or state["squares"].shape != (content,):
            raise bad(place, f"{content} features", f"squares of shape {state['squares'].shape}")
        made = SCALERS[kind](content)
        made.set_state(state)
    else:
        check_sizes(content, state)
        made = network(**content | {"learning_rate": None})  # the estimator sets it
        made.set_state(unpacked(made, state))
    return made


def _decoded_array(content: Any, dtype: np.dtype, shape: Any) -> np.ndarray:
    """An array from its numbers or texts; `shape` is missing in older files."""
    if dtype.kind not in "biufUO" or type(content) is not list:
        raise bad("array", "numbers or texts", f"dtype {dtype}")
    if dtype.kind in "UO":
        characters = sum(map(len, content)) if {str}.issuperset(map(type, content)) else -1
        if not 0 <= dtype.itemsize * len(content) <= max(WIDE_TEXT, PER_CHARACTER * characters) or characters < 0:
            raise bad("array", "texts that are about as long as its dtype", f"{len(content)} of dtype {dtype}")
    array = np.array(content, dtype)
    return array if shape is None else array.reshape(shape)


# What featurizers hold besides a standardizer, and its names in files, which are those of the first ones.
OF_FEATURIZERS = {
    "encoding": "categories",
    "pieces": "pieces",
    "bin_means": "cells",
    "memory": "memory",
    "base_models": "bases",
}
# What a file holds of a learner.
FIELDS = {
    *("standardizer", "distances", *OF_FEATURIZERS.values()),  # of the featurizer
    "target_standardizer",  # None for classes
    *("groups", "blends", "mixtures", "shape", "reads", "roles"),  # of the ensembles; a list has an entry for each
    "visits",  # gate counts
    "learning_rate",  # of older files; the estimator has it too
}
# Other kinds of learners, which have `FIELDS`, `state` and `of_state`. Their modules add them.
LEARNERS: list[Any] = []


def state_of(learner: Any) -> dict[str, Any]:
    """FIELDS, or those of others, as arrays, networks, standardizers, numbers, and lists and mappings of these."""
    if not isinstance(learner, Learner):
        return learner.state()
    held: list[Any] = [getattr(learner.featurizer, attribute, None) for attribute in OF_FEATURIZERS]
    states = [value.state() if hasattr(value, "state") else value for value in held]
    combinations = [ensemble.combination for ensemble in learner.ensembles]
    is_stacked, is_hedged = (isinstance(combinations[0], kind) for kind in (StackingWeights, Hedge))
    return {
        **dict(zip(OF_FEATURIZERS.values(), states, strict=True)),
        "standardizer": learner.featurizer.standardizer,
        "distances": not isinstance(learner.featurizer, PlainFeaturizer),
        "target_standardizer": getattr(learner.targets, "standardizer", None),
        "groups": [ensemble.networks for ensemble in learner.ensembles],
        "roles": [[member.role.name for member in ensemble.members] for ensemble in learner.ensembles],
        "blends": combinations if is_stacked else None,
        "mixtures": [vars(combination) for combination in combinations] if is_hedged else None,
        "shape": learner.ensembles[-1].shape,
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
    featurizer, targets, rows = _featurizer_of(state), state.get("target_standardizer"), state.get("visits")
    means, *quantiles = (_ensemble_of(state, place, featurizer) for place in range(len(state["groups"])))
    means.mixes_linear = getattr(featurizer, "base_models", None) is not None
    variances = quantiles.pop() if quantiles and quantiles[-1].link == "log" else None
    if variances is not None and state.get("shape") is not None:
        variances.shape = checked("shape", JohnsonSU(*state["shape"]), T=means.heads)
    for target, ensemble in enumerate(quantiles):
        ensemble.target = target
    counts = None if rows is None else checked("visits", GateCounts(rows))
    learner = Learner(
        featurizer, Classes() if targets is None else Numbers(targets), means, quantiles, variances, counts
    )
    if not (_fits(learner) and _fits_targets(learner)):
        raise ValueError("learner: expected networks, standardizers and counts of one size, got several")
    learner.set_learning_rate(learning_rate)
    return learner


def _featurizer_of(state: Mapping[str, Any]) -> Any:
    encoding, cells, base_models = (state.get(name) for name in ("categories", "cells", "bases"))
    standardizer = state["standardizer"]
    if encoding is not None:
        features = {column[0] for column in encoding["columns"]} | encoding["counts"].keys()
        if len(features) != encoding["size"] or len(encoding["columns"]) != standardizer.size:
            raise bad("categories", f"{standardizer.size} columns of {encoding['size']} features", len(features))
        encoding = TargetEncoding(**encoding)
    if not state.get("distances", True):
        return PlainFeaturizer(standardizer, encoding)
    if not isinstance(standardizer, Standardizer) or not 0 < standardizer.limit <= MOST_LIMIT:
        raise bad("standardizer", f"a limit above 0 and of at most {MOST_LIMIT}", type(standardizer).__name__)
    if state.get("blends") is not None:
        pieces = checked("pieces", Pieces(*state.get("pieces", NO_PIECES)), D=standardizer.size)
        table = TableFeaturizer(standardizer, encoding, pieces, None if cells is None else BinMeans(**cells))
        size = len(table.numbers)
        binned = size if table.bin_means is None else len(table.bin_means.sizes)
        if not (pieces.high > pieces.low).all() or binned != size:
            raise bad("cells", f"pieces and bins of {size} features", "others")
        return table
    of_state, memory = OnlineBaseModels.of_state, state.get("memory")
    base_models = None if base_models is None else of_state(base_models)
    stream = StreamFeaturizer(standardizer, encoding, memory, base_models)
    if memory is not None and (type(memory) is not int or memory not in np.flatnonzero(stream.numbers < 0)):
        raise bad("memory", "a category", repr(memory))
    return stream


def _ensemble_of(state: Mapping[str, Any], place: int, featurizer: Any) -> Ensemble:
    networks, stacking, hedges = state["groups"][place], state.get("blends"), state.get("mixtures")
    roles = state["roles"][place] if "roles" in state else _roles_of_older(state, place, featurizer)
    members = [Member(network, ROLES[role]) for network, role in zip(networks, roles, strict=True)]
    if stacking is not None:
        return Ensemble(members, checked("blends", StackingWeights(*stacking[place])))
    return Ensemble(members) if hedges is None else Ensemble(members, Hedge.of_state(hedges[place]))


def _roles_of_older(state: Mapping[str, Any], place: int, featurizer: Any) -> list[str]:
    """The roles of networks in a file that has none: of what they read, by their sizes and order."""
    networks, reads = state["groups"][place], state.get("reads") if place == 0 else None
    if state.get("mixtures") is None:
        widest = len(featurizer.inputs_of(COLUMNS).names)
        return ["expanded" if network.input_size > widest else "columns" for network in networks]
    seen = [network.context_size for network in networks]
    names = itertools.cycle(["columns", "fast"])
    return [
        "memory" if size > min(seen) else {1: "slow", 2: "shallow"}.get(blocks, name)
        for size, blocks, name in zip(seen, reads or [0] * len(seen), names, strict=False)
    ]


def _fits(learner: Learner) -> bool:
    """Whether the sizes of all parts agree: compiled loops do not check. Raises ValueError for other base models."""
    base_models, heads = getattr(learner.featurizer, "base_models", None), learner.means.heads
    rows = GateCounts.zeros(learner.means.networks).rows
    counted = rows if learner.counts is None else learner.counts.rows
    if base_models is not None:
        base_models.check(learner.featurizer.size, heads)
    return (
        all(_fits_ensemble(ensemble, learner.featurizer) for ensemble in learner.ensembles)
        and [table.shape[:2] for table in rows] == [table.shape[:2] for table in counted]
        and {table.shape[2] for table in counted} <= {1, heads}
    )


def _fits_targets(learner: Learner) -> bool:
    """Whether the heads of all ensembles, their losses and the statistics are of the same targets."""
    featurizer, targets, heads = learner.featurizer, learner.targets, learner.means.heads
    base_models, encoding = getattr(featurizer, "base_models", None), featurizer.encoding
    kinds = [encoding and encoding.are_classes, base_models and base_models.linear.are_classes]
    kinds_of_heads = [(ensemble.config.record.heads, ensemble.link) for ensemble in learner.ensembles]
    expected = [("num_classes", "logit") if targets.are_classes else ("num_outputs", "itself")]
    expected += [("quantiles", "itself")] * len(learner.quantiles)
    if not targets.are_classes:
        size, counted = targets.standardizer.size, encoding and len(encoding.totals) - 1
        if type(targets.standardizer) is not Standardizer or size not in (1, heads) or counted not in (None, size):
            return False
    return (
        kinds_of_heads == expected + [("num_outputs", "log")] * (learner.variances is not None)
        and (learner.variances is None or learner.variances.heads == heads)
        and len(learner.quantiles) in (0, heads)
        and {targets.are_classes, None}.issuperset(kinds)
    )


def _fits_ensemble(ensemble: Ensemble, featurizer: Any) -> bool:
    sizes = [(network.base_size, network.context_size) for network in ensemble.networks]
    roles = [member.role for member in ensemble.members]
    if sizes != [(len(featurizer.inputs_of(role).names), len(featurizer.columns_of(role))) for role in roles]:
        return False
    if len({(config.loss, config.num_heads, config.quantiles) for config in [n.config for n in ensemble.networks]}) > 1:
        return False
    if isinstance(ensemble.combination, Hedge):
        hedges = ensemble.combination, equal_hedge(ensemble, featurizer)
        one, other = ({name: np.shape(array) for name, array in vars(hedge).items()} for hedge in hedges)
        return one == other
    (weights, offsets), sizes_of_heads = ensemble.stacking_weights()[0], (1, ensemble.heads)
    return weights.shape in [(len(sizes), size) for size in sizes_of_heads] and len(offsets) in sizes_of_heads

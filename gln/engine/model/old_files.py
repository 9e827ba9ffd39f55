"""Configurations of estimators in formats 1 and 2, of versions 1.0 and 1.1, as today's, of format 3.

They had other names, and no declared classes. This module knows nothing else, and can be deleted with those formats.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping

from gln.engine.saving import Json

REMOVED = {  # parameters of earlier versions
    "gln.river.GLNNovelty": ("neurons", "context_map_size", "context_bias", "backend"),
    "gln.sklearn.GLNClassifier": ("max_seconds",),
    "gln.sklearn.GLNRegressor": ("max_seconds",),
}
LARGE_LOSS = 1000.0
OF_SCALERS = {
    "standardizer": (
        "Standardizer",
        ("floor", "limit", "far_is_missing", "count", "mean", "squares", "low", "high", "first"),
    ),
    "sparse_scaler": ("SparseScaler", ("squares", "count", "stored", "logs")),
}
OF_SCHEMA = {
    "_places": "places",
    "_levels": "levels",
    "_words": "words",
    "_numbers": "word_count",
    "_occurrences": "occurrences",
    "_count": "sample_count",
    "_last": "previous",
}


def converted(config: dict[str, Json]) -> dict[str, Json]:
    """The configuration with today's names."""
    kind, learned = config["estimator"], {}
    for name, value in config["learned"].items():
        learned[name] = _located(name, value)
    removed = REMOVED.get(kind, ())
    parameters = {name: value for name, value in config["parameters"].items() if name not in removed}
    if kind.startswith("gln.sklearn."):
        learned = _of_table(learned)
    elif kind == "gln.bandits.GLNBandit":
        learned = _of_bandit(learned)
    elif kind == "gln.river.GLNNovelty":
        learned = _of_novelty(learned)
    else:
        learned = _with_extra(learned, {"_stream": _stream(learned)})
    return config | {"parameters": parameters, "learned": learned}


# ---- Estimators ------------------------------------------------------------------------------------------------------


def _of_table(learned: dict[str, Json]) -> dict[str, Json]:
    histograms, model = learned.pop("_novelty", None), _model(learned["learner_"])
    if model["object"] == "TableModel" and histograms is not None:
        model["fields"]["histograms"] = _object("PairHistograms", histograms["fields"])
    return learned | {"learner_": model}


def _stream(learned: Mapping[str, Json]) -> dict[str, Json]:
    model, novelty, schema = learned.get("_learner"), learned.get("_novelty"), _schema(learned)
    fields = {"schema": schema, "learner": None if model is None else _model(model)}
    if novelty is not None:
        fields["novelty"] = _object("PairHistograms", novelty["fields"])
    return _object("StreamEstimator", fields)


def _schema(learned: Mapping[str, Json]) -> dict[str, Json]:
    fields = {"places": learned["_places"]} | {new: learned[old] for old, new in OF_SCHEMA.items() if old in learned}
    labels = enumerate(learned.get("_labels", ()))
    return _object("StreamSchema", fields | {"classes": {"pairs": [[label, number] for number, label in labels]}})


def _of_novelty(learned: Mapping[str, Json]) -> dict[str, Json]:
    fields = {"schema": _schema(learned)}
    if learned.get("_learner") is not None:
        warnings.warn("GLNNovelty: a file of an earlier version; what is usual is learned anew", stacklevel=4)
    if "_novelty" in learned:
        fields["model"] = _object("PairHistograms", learned["_novelty"]["fields"])
    return _with_extra(learned, {"_stream": _object("StreamNovelty", fields)})


def _of_bandit(learned: Mapping[str, Json]) -> dict[str, Json]:
    own = {name: learned[name] for name in ("_pending", "_size", "_draws", "_key") if name in learned}
    retired = learned["_retired"]
    if type(retired) is list:
        own["_retired"] = {"pairs": [[arm, None] for arm in retired]}
    else:
        own["_retired"] = retired
    of_features = learned.get("_of_features")
    if of_features is None:
        model = _object("ArmHeads", {"arms": learned["_heads"], "_stream": _stream(learned)})
    else:
        found = _named(of_features)
        fields = {name: found[name] for name in ("offered", "_codes")}
        model = _object("JointArms", {"arms": learned["_heads"], **fields, "_stream": _stream(found)})
    return _with_extra(learned, {**own, "_model": model})


def _with_extra(learned: Mapping[str, Json], others: dict[str, Json]) -> dict[str, Json]:
    return others | ({"extra": learned["extra"]} if "extra" in learned else {})


# ---- Models ----------------------------------------------------------------------------------------------------------


def _model(learner: Mapping[str, Json]) -> dict[str, Json]:
    state = learner["fields"]
    if "classes" in state:
        densities = map(_named, state["classes"])
        classes = [_object("ClassDensity", density | {"samples": density.pop("visits")}) for density in densities]
        return _object("ClassDensityClassifier", {"networks": state["networks"], "classes": classes})
    featurizer = _featurizer(state)
    ensembles = [_ensemble(state, place, featurizer) for place in range(len(state["groups"]))]
    has_variances = len(ensembles) > 1 and _networks(ensembles[-1])[0]["network"]["loss"] == "variance"
    variances = ensembles.pop() if has_variances else None
    if variances is not None and state.get("shape") is not None:
        variances["fields"]["shape"] = _object("JohnsonSU", _zipped(("skew", "tails"), state["shape"]))
    means, *quantiles = ensembles
    for target, ensemble in enumerate(quantiles):
        ensemble["fields"]["target"] = target
    means["fields"]["mixes_linear"] = featurizer["fields"].get("base_models") is not None
    standardizer = state.get("target_standardizer")
    targets = _object("Classes", {}) if standardizer is None else _object("Numbers", {"standardizer": standardizer})
    fields: dict[str, Json] = {"featurizer": featurizer, "targets": targets, "means": means}
    fields |= {"quantiles": quantiles, "variances": variances}
    if featurizer["object"] != "StreamFeaturizer":
        return _object("TableModel", fields)
    counts = state.get("visits")
    fields["counts"] = None if counts is None else _object("GateCounts", {"rows": counts})
    return _object("StreamModel", fields)


def _featurizer(state: Mapping[str, Json]) -> dict[str, Json]:
    encoding, cells, base_models = (state.get(name) for name in ("categories", "cells", "bases"))
    fields: dict[str, Json] = {"standardizer": state["standardizer"]}
    fields["encoding"] = None if encoding is None else _object("TargetEncoding", _named(encoding))
    if not state.get("distances", True):
        return _object("PlainFeaturizer", fields)
    if state.get("blends") is not None:
        if state.get("pieces") is not None:
            fields["pieces"] = _object("Pieces", _zipped(("features", "low", "high"), state["pieces"]))
        fields["bin_means"] = None if cells is None else _object("BinMeans", _named(cells))
        return _object("TableFeaturizer", fields)
    if base_models is not None:
        found = _named(base_models)
        linear = _object("HashedLinear", _named(found["linear"]))
        bin_means = _object("FadingBinMeans", _named(found["cells"]))
        of_models = {"linear": linear, "bin_means": bin_means, "uses_bins": bool(found["counts"])}
        if "least_squares" in found:
            of_models["least_squares"] = _object("LeastSquares", _named(found["least_squares"]))
        fields["base_models"] = _object("OnlineBaseModels", of_models)
    return _object("StreamFeaturizer", fields | {"memory": state.get("memory")})


def _ensemble(state: Mapping[str, Json], place: int, featurizer: Mapping[str, Json]) -> dict[str, Json]:
    networks, stacking, hedges = state["groups"][place], state.get("blends"), state.get("mixtures")
    roles = state["roles"][place] if "roles" in state else _roles(state, place)
    pairs = zip(networks, roles, strict=True)
    members = [_object("Member", {"network": network, "role": role}) for network, role in pairs]
    combination = None
    if stacking is not None:
        combination = _object("StackingWeights", _zipped(("weights", "offsets"), stacking[place]))
    elif hedges is not None:
        known = {name: value for name, value in _named(hedges[place]).items() if value is not None or name == "spread"}
        if "scale" in known and "recent" not in known:
            known |= _without_recent(known["losses"])
        combination = _object("VarianceHedge" if "scale" in known else "Hedge", known)
    return _object("Ensemble", {"members": members, "combination": combination})


def _without_recent(losses: Mapping[str, Json]) -> dict[str, Json]:
    """A hedge of variances of 1.0, which did not know recent deviations: with a large loss, they count little yet."""
    models, targets = losses["shape"]
    more = {**losses, "array": losses["array"] + targets * [LARGE_LOSS], "shape": [models + 1, targets]}
    return {"losses": more, "recent": {**losses, "array": targets * [1.0], "shape": [targets]}}


def _roles(state: Mapping[str, Json], place: int) -> list[str]:
    """The roles of networks in a file that has none: of what they read, by their sizes and order."""
    configs = [network["network"] for network in state["groups"][place]]
    if state.get("mixtures") is None:
        widest = 2 * max(config["context_size"] for config in configs)  # columns, and their distances from the mean
        return ["expanded" if config["input_size"] > widest else "columns" for config in configs]
    seen = [config["context_size"] for config in configs]
    reads = (state.get("reads") if place == 0 else None) or [0] * len(seen)
    names = itertools.cycle(["columns", "fast"])
    return [
        "memory" if size > min(seen) else {1: "slow", 2: "shallow"}.get(blocks, name)
        for size, blocks, name in zip(seen, reads, names, strict=False)
    ]


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _located(place: str, value: Json) -> Json:
    """A value in which networks and standardizers tell where their arrays are: that was their own place."""
    if type(value) is list:
        return [_located(f"{place}.{i}", item) for i, item in enumerate(value)]
    if type(value) is not dict:
        return value
    [(tag, content), *_] = value.items()
    match tag:
        case "tuple":
            return {tag: _located(place, content)}
        case "pairs":
            return {tag: [[_located(f"{place}.{i}", item) for item in pair] for i, pair in enumerate(content)]}
        case "fields":
            return {tag: {name: _located(f"{place}.{name}", item) for name, item in content.items()}}
        case "network":
            return value | {"arrays": place}
        case "standardizer" | "sparse_scaler":
            name, names = OF_SCALERS[tag]
            return _object(name, {field: {"tensor": f"{place}.{field}"} for field in names})
    return value


def _object(name: str, fields: Mapping[str, Json]) -> dict[str, Json]:
    return {"object": name, "fields": dict(fields)}


def _named(mapping: Mapping[str, Json]) -> dict[str, Json]:
    """The entries of a mapping, by their names; in 1.0 objects were "fields"."""
    return dict(mapping["pairs"]) if "pairs" in mapping else dict(mapping["fields"])


def _zipped(names: Iterable[str], values: Mapping[str, Json]) -> dict[str, Json]:
    return dict(zip(names, values["tuple"], strict=True))


def _networks(ensemble: Mapping[str, Json]) -> list[Json]:
    return [member["fields"]["network"] for member in ensemble["fields"]["members"]]

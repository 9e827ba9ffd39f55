"""Configurations of estimators in format 2, of version 1.1, as today's, of format 3.

They had other names, and no declared classes. This module knows nothing else, and can be deleted with that format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gln.engine.saving import CLASSES, SAVED, Json, bad

SINCE_1_1 = {"_occurrences", "_of_features", "roles", "classes"}  # files of 1.0 have none of these names
REMOVED = ("max_seconds", "memory")  # parameters
OF_SCALERS = {"standardizer": "Standardizer", "sparse_scaler": "SparseScaler"}
OF_SCHEMA = {f"_{name}": name for name in ("places", "levels", "words", "occurrences")}
OF_SCHEMA |= {"_numbers": "word_count", "_count": "sample_count"}


def converted(config: dict[str, Json]) -> dict[str, Json]:
    """The configuration with today's names. Raises ValueError for one of version 1.0."""
    kind, learned = config["estimator"], {name: _located(name, value) for name, value in config["learned"].items()}
    names = learned.keys() | learned.get("learner_", {"fields": {}})["fields"].keys()
    if not names & SINCE_1_1:
        raise _of_1_0(kind)
    if config["parameters"].get("memory"):
        raise bad(kind, "a model without a network for the label before, which is gone", "memory=True")
    parameters = {name: value for name, value in config["parameters"].items() if name not in REMOVED}
    learner = learned.get("learner_", learned.get("_learner"))
    if parameters.get("quantiles") and learner and not _has_density(learner):
        parameters["quantiles"] = None  # the networks of each quantile are left out, and the means stay
    extra = {"extra": learned.pop("extra")} if "extra" in learned else {}
    if kind.startswith("gln.sklearn."):
        histograms = _histograms(learned.pop("_novelty", None))
        learned["learner_"] = model = _model(learned["learner_"])
        if model["object"] == "TableModel":
            model["fields"]["histograms"] = histograms
    elif kind == "gln.bandits.GLNBandit":
        learned = _of_bandit(learned)
    else:
        learned = {"_stream": _stream(learned)}
    return config | {"parameters": parameters, "learned": learned | extra}


# ---- Estimators ------------------------------------------------------------------------------------------------------


def _of_bandit(learned: Mapping[str, Json]) -> dict[str, Json]:
    fields, kind = {"arms": learned["_heads"], "_stream": learned}, "ArmHeads"
    if "_of_features" in learned:
        stream, kind = _named(learned["_of_features"]), "JointArms"
        fields |= {"offered": stream["offered"], "_codes": stream["_codes"], "_stream": stream}
    own = {name: learned[name] for name in ("_retired", "_size", "_draws", "_key")} | {"_pending": {"pairs": []}}
    return own | {"_model": _object(kind, fields | {"_stream": _stream(fields["_stream"])})}


def _stream(learned: Mapping[str, Json]) -> dict[str, Json]:
    model, novelty = learned.get("_learner"), _histograms(learned.get("_novelty"))
    fields = {"schema": _schema(learned), "learner": model and _model(model), "novelty": novelty}
    return _object("StreamEstimator", fields)


def _schema(learned: Mapping[str, Json]) -> dict[str, Json]:
    fields = {new: learned[old] for old, new in OF_SCHEMA.items()}
    labels = enumerate(learned.get("_labels", ()))
    return _object("StreamSchema", fields | {"classes": {"pairs": [[label, number] for number, label in labels]}})


def _histograms(state: Mapping[str, Json] | None) -> Json:
    return state and _object("PairHistograms", state["fields"])


# ---- Models ----------------------------------------------------------------------------------------------------------


def _model(learner: Mapping[str, Json]) -> dict[str, Json]:
    state = learner["fields"]
    if "classes" in state:
        densities = map(_named, state["classes"])
        classes = [_object("ClassDensity", density | {"samples": density.pop("visits")}) for density in densities]
        return _object("ClassDensityClassifier", {"networks": state["networks"], "classes": classes})
    featurizer, standardizer = _featurizer(state), state["target_standardizer"]
    means, variances = _ensemble(state, 0), None
    if _has_density(learner):
        variances = _ensemble(state, -1)
        if state["shape"] is not None:
            variances["fields"]["shape"] = _object("JohnsonSU", _zipped(("skew", "tails"), state["shape"]))
    targets = _object("Classes", {}) if standardizer is None else _object("Numbers", {"standardizer": standardizer})
    fields = {"featurizer": featurizer, "targets": targets, "means": means, "variances": variances}
    if featurizer["object"] != "StreamFeaturizer":
        return _object("TableModel", fields)
    means["fields"]["mixes_linear"] = True
    counts = state["visits"] and _object("GateCounts", {"rows": state["visits"]})
    return _object("StreamModel", fields | {"counts": counts})


def _featurizer(state: Mapping[str, Json]) -> dict[str, Json]:
    encoding, bin_means = (state[name] and _named(state[name]) for name in ("categories", "cells"))
    fields = {"standardizer": state["standardizer"], "encoding": encoding and _object("TargetEncoding", encoding)}
    if not state["distances"]:
        return _object("PlainFeaturizer", fields)
    if state["blends"] is not None:
        fields["pieces"] = _object("Pieces", _zipped(("features", "low", "high"), state["pieces"]))
        return _object("TableFeaturizer", fields | {"bin_means": bin_means and _object("BinMeans", bin_means)})
    if state["bases"] is None:
        raise _of_1_0("learner")
    found = _named(state["bases"])
    of_models = {
        "linear": _object("HashedLinear", _named(found["linear"])),
        "bin_means": _object("FadingBinMeans", _named(found["cells"])),
        "uses_bins": found["counts"],
        "least_squares": _object("LeastSquares", _named(found["least_squares"])) if "least_squares" in found else None,
    }
    fields |= {"base_models": _object("OnlineBaseModels", of_models)}
    return _object("StreamFeaturizer", fields)


def _ensemble(state: Mapping[str, Json], place: int) -> dict[str, Json]:
    pairs = zip(state["groups"][place], state["roles"][place], strict=True)
    members = [_object("Member", {"network": network, "role": role}) for network, role in pairs]
    combination = None
    if state["blends"] is not None:
        combination = _object("StackingWeights", _zipped(("weights", "offsets"), state["blends"][place]))
    elif state["mixtures"] is not None:
        hedge = _named(state["mixtures"][place])
        combination = _object("VarianceHedge" if "scale" in hedge else "Hedge", hedge)
    others = {"shape": None, "mixes_linear": False}
    return _object("Ensemble", {"members": members, "combination": combination} | others)


def _has_density(learner: Mapping[str, Json]) -> bool:
    """Whether the last networks are those of variances."""
    return learner["fields"]["groups"][-1][0]["network"]["loss"] == "variance"


def _of_1_0(name: str) -> ValueError:
    """Streams of 1.0 have no base models, not even after version 1.1 has loaded and saved them."""
    came = "one of version 1.0: load a model of a table with version 1.1 and save it again; learn a stream again"
    return bad(name, "a model of version 1.1 or later", came)


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
            names = SAVED[CLASSES[OF_SCALERS[tag]]]
            return _object(OF_SCALERS[tag], {field: {"tensor": f"{place}.{field}"} for field in names})
    return value


def _object(name: str, fields: Mapping[str, Json]) -> dict[str, Json]:
    return {"object": name, "fields": dict(fields)}


def _named(mapping: Mapping[str, Json]) -> dict[str, Json]:
    """The entries of a mapping, by their names."""
    return dict(mapping["pairs"])


def _zipped(names: Iterable[str], values: Mapping[str, Json]) -> dict[str, Json]:
    return dict(zip(names, values["tuple"], strict=True))

"""Predictions, explanations and files of models of every kind, to compare before and after code is moved.

    python tests/recorded.py write FOLDER      # before
    python tests/recorded.py compare FOLDER    # after: differences, and those of the files that were saved before

Both on one machine, because sums differ in the last bit from one processor to another.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gln import river as streams
from gln import sklearn as tables
from gln.backends import load_backend
from gln.bandits import GLNBandit
from gln.novelty import GLNNovelty

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "context_map_size": 3}
TABLE: dict[str, Any] = {**SMALL, "n_networks": 6, "n_epochs": 2, "random_state": 3}
STREAM: dict[str, Any] = {**SMALL, "seed": 3}
BARE = load_backend("numpy").GLN
rng = np.random.default_rng(0)
X = rng.normal(size=(240, 5))
X[rng.random(X.shape) < 0.05] = np.nan
FRAME = pd.DataFrame(X, columns=list("abcde")).assign(
    city=rng.choice(["Bonn", "Oslo", "Rome"], 240), zone=rng.choice(["1", "2"], 240)
)
WIDE = (rng.random((240, 1500)) < 0.01).astype(float)
SIGNAL = np.nan_to_num(X[:, 0] * X[:, 1] + X[:, 2]) + 0.3 * rng.normal(size=240)
BINARY, LABELS = SIGNAL > 0, np.array(["no", "perhaps", "yes"])[np.digitize(SIGNAL, [-0.7, 0.7])]
WEIGHTS = rng.choice([0.5, 1.0, 3.0], 240)
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "weighted": {"weights": WEIGHTS[:160]},
    "in order": {"shuffle": False},
    "stopping": {"early_stopping": True},
}


def of_tables() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Estimators of scikit-learn, each fitted, or learned in parts, on its first 200 rows."""

    def learned(
        kind: Any, data: Any, y: Any, ways: str = "fit", weights: Any = None, **options: Any
    ) -> Callable[[], Any]:
        settings = {name: value for name, value in TABLE.items() if name in inspect.signature(kind).parameters}

        def learn() -> Any:
            model = kind(**settings | options)
            if "fit" in ways.split():
                model.fit(data[:160], y[:160], sample_weight=weights)
            if "parts" in ways.split():
                classes = {"classes": np.unique(y)} if kind is not tables.GLNRegressor else {}
                for start in range(160, 200, 20):
                    model.partial_fit(data[start : start + 20], y[start : start + 20], **classes)
            return model

        return learn

    for name, options in OPTIONS.items():
        yield f"classifier {name}", learned(tables.GLNClassifier, X, BINARY, **options)
        yield f"regressor {name}", learned(tables.GLNRegressor, X, SIGNAL, **options)
    classes = tables.GLNClassifier
    yield "classifier of a frame", learned(classes, FRAME, LABELS, categorical_features=["city", "zone"])
    yield "classifier of a wide table", learned(classes, WIDE, BINARY)
    yield "classifier of many classes", learned(classes, X, np.arange(240) % 24)
    yield "classifier of parts", learned(classes, X, LABELS, "parts")
    yield "classifier of a table and parts", learned(classes, FRAME, LABELS, "fit parts")
    yield "class densities", learned(tables.GLNDensityClassifier, X, LABELS, "fit parts", n_networks=1)
    numbers = tables.GLNRegressor
    yield "regressor of a frame", learned(numbers, FRAME, SIGNAL)
    yield "regressor of two targets", learned(numbers, X, np.column_stack([SIGNAL, SIGNAL**2]))
    yield "regressor with intervals", learned(numbers, X, SIGNAL, "fit parts", quantiles=[0.1, 0.9])
    yield "regressor with densities", learned(numbers, FRAME, SIGNAL, "fit parts", density=True)


def of_streams() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Estimators of River, and pipelines of them, that learned 200 samples one by one and in a frame."""
    rows: Any = FRAME.drop(columns="zone").to_dict("records")
    for place, row in enumerate(rows):
        row.update({f"word {place % 7}": True} if place % 3 else {"late": float(place)} if place > 100 else {})

    def learned(model: Any, y: Any) -> Callable[[], Any]:
        def learn() -> Any:
            for x, target in zip(rows[:150], y[:150].tolist(), strict=True):
                model.learn_one(x, target)
            if hasattr(model, "predict_learn_many"):
                model.predict_learn_many(rows[150:200], y[150:200].tolist(), w=WEIGHTS[150:200])
            return model

        return learn

    kinds: dict[str, dict[str, Any]] = {"default": {}, "fast": {"fast": True}}
    for name, options in kinds.items():
        yield f"stream of classes {name}", learned(streams.GLNClassifier(**STREAM, **options), LABELS)
        yield f"stream of numbers {name}", learned(streams.GLNRegressor(**STREAM, **options), SIGNAL)
    yield "stream of class densities", learned(streams.GLNDensityClassifier(**STREAM), LABELS)
    yield "stream of intervals", learned(streams.GLNRegressor(**STREAM, quantiles=[0.1, 0.9]), SIGNAL)
    yield "stream of densities", learned(streams.GLNRegressor(**STREAM, density=True), SIGNAL)
    yield "novelty", lambda: GLNNovelty(random_state=3).fit(FRAME[:160]).partial_fit(FRAME[160:200])


def of_bandits() -> Iterator[tuple[str, Callable[[], Any]]]:
    def learned(arms: Any, **options: Any) -> Callable[[], Any]:
        def learn() -> Any:
            bandit = GLNBandit(arms, **STREAM | options)
            for row, number in zip(X[:200], SIGNAL, strict=False):
                context = dict(zip("abcde", row.tolist(), strict=True))
                decision = bandit.decide(context)
                bandit.learn(context, decision.arm, float(number if decision.arm == "left" else -number))
            return bandit

        return learn

    for explore in ("inverse-gap", "counts", "epsilon"):
        yield f"bandit {explore}", learned(["left", "right"], explore=explore)
    yield "bandit with features of arms", learned({"left": {"side": 1.0}, "right": {"side": -1.0, "color": "red"}})


def of_networks() -> Iterator[tuple[str, Callable[[], Any]]]:
    def learned(**options: Any) -> Callable[[], Any]:
        def learn() -> Any:
            inputs = np.nan_to_num(X).T
            network = BARE([4, 2], 5, 5, seed=3, **options)
            network.fit_hyperplanes(inputs)
            network.predict_online(inputs, inputs, SIGNAL if options else BINARY)
            return network

        return learn

    yield "network of a class", learned()
    yield "network of a number", learned(loss="squared_error")
    yield "network of quantiles", learned(loss="quantile", quantiles=[0.1, 0.9])


def predicted(model: Any) -> dict[str, np.ndarray]:
    """What a model says of the last 40 samples, by the name of the method."""
    if isinstance(model, GLNBandit):
        contexts = [dict(zip("abcde", row.tolist(), strict=True)) for row in X[200:]]
        calls = {
            name: [getattr(model, name)(context) for context in contexts]
            for name in ("predict", "propensities", "explain")
        }
        return {name: flat(answers) for name, answers in calls.items()}
    if isinstance(model, BARE):
        inputs = np.nan_to_num(X[200:]).T
        return {"predict": model.predict(inputs, inputs), "explain": flat(model.explain(inputs, inputs))}
    names = ["predict_proba", "predict", "predict_quantiles", "explain", "predict_proba_one", "predict_one"]
    names += ["explain_one", "predict_quantiles_one", "score_samples", "score_one"]
    names += ["oob_prediction_", "oob_decision_function_"]
    data = next((data for data in (X, FRAME, WIDE) if data.shape[1] == getattr(model, "n_features_in_", 0)), X)
    rows: Any = FRAME.drop(columns="zone")[200:].to_dict("records")

    def asked(name: str) -> np.ndarray | None:
        """What a method says, None if this kind of model has no such method."""
        try:
            answer = getattr(model, name)
            if name.endswith("_one"):
                return flat([answer(row) for row in rows])
            return flat(answer if name.endswith("_") else answer(data[200:]))
        except (AttributeError, NotImplementedError, ValueError):
            return None

    answers = {name: asked(name) for name in names}
    return {name: answer for name, answer in answers.items() if answer is not None}


def flat(answer: Any) -> np.ndarray:
    """All numbers of an answer, and labels by their hash, in their order."""
    if isinstance(answer, dict):
        return flat([answer[key] for key in sorted(answer, key=repr)])
    if isinstance(answer, (list, tuple)):
        return np.concatenate([np.empty(0), *map(flat, answer)])
    array = np.asarray(answer)
    return np.ravel(array.astype(float) if array.dtype.kind in "biuf" else np.unique(array, return_inverse=True)[1])


def main(way: str, folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    different = 0
    for name, learn in (*of_tables(), *of_streams(), *of_bandits(), *of_networks()):
        model, file = learn(), folder / f"{name}.gln"
        if way == "write":
            model.save(file)
            np.savez(folder / f"{name}.npz", allow_pickle=False, **predicted(model))
            continue
        before = np.load(folder / f"{name}.npz")
        for kind, other in (("learned", model), ("loaded", type(model).load(file))):
            after = predicted(other)
            for method in sorted(before.files if kind == "learned" else set(before.files) & set(after)):
                one, two = before[method], after.get(method, np.empty(0))
                if one.shape != two.shape or not np.array_equal(one, two, equal_nan=True):
                    far = np.nanmax(np.abs(one - two)) if one.shape == two.shape else (one.shape, two.shape)
                    print(f"{name}: {method} of the {kind} model differs by {far}")
                    different += 1
    print(f"{different} differences")
    return different > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

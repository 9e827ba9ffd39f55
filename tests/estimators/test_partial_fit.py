"""A fitted model lives: `partial_fit` after `fit` with something new, in columns of all kinds."""

# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import log_loss

from gln.sklearn import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 4, "n_epochs": 4, "random_state": 0}
ROWS, NEW, KNOWN = 600, 5, slice(0, 35, 7)  # `KNOWN` are the rows of the control that have what is new
WORDS = np.array([f"{a}{b}" for a in "bcdfgklmnprst" for b in ("ato", "emu", "ilo", "oru")], object)
LEVELS = {"few": 4, "ten": 10, "many": 50, "id": ROWS // 2, "declared": 6}
# Kinds of columns, what may be new in them, and whether a quick test has it.
CASES = [
    *[("number", "scale", True), ("number", "missing", True), ("gaps", "scale", False), ("counts", "scale", False)],
    *[("counts", "missing", False), ("bool", "missing", False), ("few", "level", True), ("few", "missing", False)],
    *[("ten", "level", True), ("ten", "missing", False), ("many", "level", True), ("many", "missing", False)],
    *[("id", "level", False), ("date", "later", True), ("date", "missing", False), ("text", "words", True)],
    *[("text", "missing", False), ("declared", "level", True), ("declared", "undeclared", False)],
]
MARKED = [pytest.param(*case, marks=() if quick else pytest.mark.slow) for *case, quick in CASES]


class Data(NamedTuple):
    """Tables of one column of a kind and a number, with something new in the same rows, and their targets."""

    X: pd.DataFrame
    y: np.ndarray
    new: pd.DataFrame
    new_y: np.ndarray
    known: pd.DataFrame  # `X` with what is new in a few rows
    known_y: np.ndarray
    later: pd.DataFrame  # without anything new
    later_y: np.ndarray


class Moved(NamedTuple):
    by_scales: float  # how far the rows of `later` moved without a step of the networks, in standard deviations
    by_rows: float  # with steps, relative to how wrong the new rows were predicted
    score: float  # before
    score_after: float


def values_of(kind: str, count: int, rng: np.random.Generator) -> tuple[pd.Series, np.ndarray]:
    """A column, and what it adds to the target."""
    if kind in LEVELS:
        codes = rng.integers(0, LEVELS[kind], count)
        effects = 1.5 * np.random.default_rng(7).normal(size=LEVELS[kind])
        return pd.Series([f"l{code}" for code in codes], dtype=object), effects[codes]
    if kind == "date":
        days = rng.integers(0, 365, count)
        dates = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D"))
        return dates, 2 * np.sin(2 * np.pi * days / 365)
    if kind == "text":
        chosen, effects = rng.integers(0, len(WORDS), (count, 6)), np.random.default_rng(8).normal(size=len(WORDS))
        return pd.Series([" ".join(words) for words in WORDS[chosen]], dtype=object), 0.7 * effects[chosen].sum(axis=1)
    if kind == "bool":
        flags = rng.random(count) < 0.5
        return pd.Series(flags), 2.0 * flags
    numbers = rng.poisson(4, count) if kind == "counts" else rng.normal(0, 3, count)
    is_known = rng.random(count) < 0.9 if kind == "gaps" else np.ones(count, bool)
    return pd.Series(numbers).where(is_known), np.where(is_known, 2 * np.sin(numbers / 2), 1)


def with_new(frame: pd.DataFrame, rows: Any, kind: str, new: str, beyond: float = 100.0) -> pd.DataFrame:
    """The table with something new in some rows."""
    count = len(frame.iloc[rows])
    values = {
        "missing": [None] * count,
        "level": ["l6" if kind == "declared" else "unheard"] * count,
        "undeclared": ["unheard"] * count,
        "later": list(pd.Timestamp("2021-06-01") + pd.to_timedelta(np.linspace(0, 80, count).astype(int), "D")),
        "words": [f"unheard{i % NEW} of words{i % NEW}" for i in range(count)],
    }
    if new == "scale":
        return frame.assign(f=frame["f"].astype(float).where(~frame.index.isin(frame.index[rows]), beyond))
    column = frame["f"].astype(object)
    column.iloc[rows] = values[new]
    return frame.assign(f=pd.to_datetime(column) if kind == "date" else column)


def as_given(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    if kind != "declared":
        return frame
    extra = ["unheard"] if (frame["f"] == "unheard").any() else []
    return frame.astype({"f": pd.CategoricalDtype([*(f"l{i}" for i in range(7)), *extra])})


def data_of(kind: str, new: str, is_number: bool) -> Data:
    rng = np.random.default_rng(0)

    def table(count: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        values, effects = values_of(kind, count, rng)
        x = rng.normal(size=count)
        return pd.DataFrame({"f": values, "x": x}), effects, x + rng.normal(0, 0.3, count)

    X, effects, others = table(ROWS)
    cut = np.median(effects + others)
    of_known = effects.copy()
    of_known[KNOWN] = 1.5
    row, _, of_row = table(NEW)
    later, of_later, of_others = table(1000)
    frames = X, with_new(row, slice(None), kind, new), with_new(X, KNOWN, kind, new), later
    targets = effects + others, 1.5 + of_row, of_known + others, of_later + of_others
    pairs = zip((as_given(frame, kind) for frame in frames), targets, strict=True)
    parts: list[Any] = [part for frame, y in pairs for part in (frame, y if is_number else (y > cut).astype(int))]
    return Data(*parts)


def moved(data: Data, X: pd.DataFrame, y: np.ndarray, is_number: bool) -> Moved:
    kind, unit = (GLNRegressor, data.later_y.std()) if is_number else (GLNClassifier, 1.0)

    def predicted(model: Any, rows: pd.DataFrame) -> np.ndarray:
        return model.predict(rows) / unit if is_number else model.predict_proba(rows)[:, 1]

    model = kind(**SMALL).fit(X, y)
    still = copy.deepcopy(model)
    before, score = predicted(model, data.later), model.score(data.later, data.later_y)
    surprise = np.abs(predicted(model, data.new) - data.new_y / unit).mean()
    still.set_params(partial_learning_rate=0.0).partial_fit(data.new, data.new_y)
    model.partial_fit(data.new, data.new_y)
    by_scales = np.abs(predicted(still, data.later) - before).mean()
    by_rows = np.abs(predicted(model, data.later) - before).mean() / surprise
    return Moved(by_scales, by_rows, score, model.score(data.later, data.later_y))


@pytest.mark.filterwarnings("ignore:X")
@pytest.mark.parametrize("is_number", [True, False], ids=["number", "class"])
@pytest.mark.parametrize(("kind", "new"), MARKED)
def test_five_rows_with_something_new_move_old_predictions_as_if_it_had_been_known(kind, new, is_number):
    data = data_of(kind, new, is_number)
    fitted = moved(data, data.X, data.y, is_number)
    control = moved(data, data.known, data.known_y, is_number)
    print(f"{kind:8} {new:10} {'number' if is_number else 'class':6}", *(f"{value:.4f}" for value in fitted + control))
    assert fitted.by_scales < max(0.03, 1.3 * control.by_scales)
    assert fitted.by_rows < max(0.2 if is_number else 0.12, 1.3 * control.by_rows)
    assert fitted.score_after > fitted.score - (0.09 if is_number else 0.02)  # the steps of a stream are that long


# ---- A day with something new ----------------------------------------------------------------------------------------

# How much worse what is new may be predicted than by a model that had seen it in five rows: mostly by chance, because
# there are three networks. In two cases only `fit` learns to tell it: words, and that one of many levels is missing.
TOLERANCE = {"class": 0.06, "labels": 0.06, "number": 0.05, "targets": 0.06, "density": 0.4}
OF_FIT_ALONE = {("text", "words"): 12, ("many", "missing"): 3}  # times the tolerance
TASKS = [
    *[pytest.param(*case.values, task, marks=case.marks) for case in MARKED for task in ("class", "density")],
    *[pytest.param(*case.values, task, marks=pytest.mark.slow) for case in MARKED for task in ("targets", "labels")],
    *[("number", "missing", "targets"), ("few", "level", "labels")],
]


def model_of(task: str, **arguments: Any) -> Any:
    arguments = {**SMALL, "n_networks": 3} | arguments
    if task in ("class", "labels"):
        return GLNClassifier(**arguments)
    return GLNRegressor(**arguments, density=task == "density")


def targets_of(task: str, sums: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What a model of this task learns, of what all columns and all but the first add up to."""
    if task == "class":
        return (sums > 0).astype(int)
    if task == "labels":
        return np.column_stack([sums > 0, sums + others > 0]).astype(int)
    return np.column_stack([sums, sums + others]) if task == "targets" else sums


def scores_of(model: Any, X: pd.DataFrame, y: np.ndarray) -> dict[str, float]:
    """Minus the log-loss, or R² and the mean log-density."""
    if isinstance(model, GLNRegressor):
        scores = {"number" if y.ndim == 1 else "targets": model.score(X, y)}
        return scores | ({"density": float(model.log_density(X, y).mean())} if model.density else {})
    p = model.predict_proba(X)
    losses = [log_loss(of_label, q) for of_label, q in zip(y.T, p, strict=True)] if y.ndim == 2 else [log_loss(y, p)]
    return {"labels" if y.ndim == 2 else "class": -float(np.mean(losses))}


@pytest.mark.filterwarnings("ignore:X", "ignore:density")
@pytest.mark.parametrize(("kind", "new", "task"), TASKS)
def test_what_is_new_is_predicted_after_a_day_as_if_it_had_been_known(kind, new, task):
    rng = np.random.default_rng(0)

    def table(count: int, rows: Any = ()) -> tuple[pd.DataFrame, np.ndarray]:
        values, effects = values_of(kind, count, rng)
        x, noise = rng.normal(size=(2, count))
        frame = pd.DataFrame({"f": values, "x": x})
        if len(rows):
            frame, effects[rows] = with_new(frame, rows, kind, new, beyond=20.0), 1.5
        others = x + 0.3 * noise
        return as_given(frame, kind), targets_of(task, effects + others - 0.5, others)

    start = rng.bit_generator.state
    plain = table(ROWS)
    rng.bit_generator.state = start
    known = table(ROWS, np.arange(35)[KNOWN])
    day, later = table(300, np.arange(0, 300, 5)), table(600, np.arange(0, 600, 5))
    found, control = (scores_of(model_of(task).fit(*of).partial_fit(*day), *later) for of in (plain, known))
    print(kind, new, *(f"{score} {found[score]:.3f} {control[score]:.3f}" for score in found))
    for score, value in found.items():
        assert value > control[score] - TOLERANCE[score] * OF_FIT_ALONE.get((kind, new), 1)


# ---- Columns by name -------------------------------------------------------------------------------------------------

NAMES = ["number", "few", "many", "date", "text", "customer_id"]


def mixed(count: int, seed: int, task: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A table with a column of each kind, and what a model of this task learns of it."""
    rng = np.random.default_rng(seed)
    columns, effects = zip(*(values_of(kind, count, rng) for kind in NAMES[:-1]), strict=True)
    frame = pd.DataFrame(dict(zip(NAMES, [*columns, pd.Series(rng.permutation(count))], strict=True)))
    sums = sum(effects) + 0.3 * rng.normal(size=count)
    return frame, targets_of(task, sums - 1, sums - effects[0])


def outputs(model: Any, X: pd.DataFrame) -> list[np.ndarray]:
    predicted = model.predict_proba(X) if isinstance(model, GLNClassifier) else model.predict(X)
    return [np.asarray(predicted), model.explain(X)[0]]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for array, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, right)


def told(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


@pytest.fixture(scope="module", params=["class", "targets", "density", "labels"])
def fitted(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return request.param, model_of(request.param).fit(*mixed(300, 0, request.param))


def test_columns_are_found_by_name_whatever_their_order(fitted):
    task, model = fitted
    X, y = mixed(50, 1, task)
    expected, one, other = outputs(model, X), copy.deepcopy(model), copy.deepcopy(model)
    turned = X[NAMES[::-1]]
    assert told(lambda: outputs(other, turned)) == []
    assert_equal(outputs(other, turned), expected)
    one.partial_fit(X, y)
    assert told(lambda: other.partial_fit(turned, y)) == []
    assert_equal(outputs(other, turned), outputs(one, X))
    assert [*other.feature_names_in_] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_column_that_is_missing_is_missing(fitted, name):
    task, model = fitted
    X, y = mixed(50, 1, task)
    empty, without = X.assign(**{name: None}), X.drop(columns=name)
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    warned = told(lambda: outputs(other, without) and other.partial_fit(without, y) and other.predict(without))
    assert warned == [f"X: there is no column {name!r}, so its values count as missing"]
    assert_equal(outputs(other, without), outputs(one.partial_fit(empty, y), empty))


@pytest.mark.filterwarnings("ignore:X. 'date' is left out")
def test_an_empty_day_changes_nothing(fitted):
    task, model = fitted
    X, y = mixed(50, 1, task)
    model, expected = copy.deepcopy(model), outputs(model, X)
    is_classifier = isinstance(model, GLNClassifier)
    learned = model.partial_fit_predict_proba if is_classifier else model.partial_fit_predict
    for day in (X[:0], X[:0].astype(object), X[NAMES[:2]][:0]):
        assert {len(part) for part in np.atleast_2d(learned(day, y[:0]))} <= {0, 2}
        model.partial_fit(day, y[:0]).partial_fit(day, y[:0], sample_weight=y[:0])
    assert_equal(outputs(model, X), expected)
    with pytest.raises(ValueError, match="0 sample"):
        model_of(task).fit(X[:0], y[:0])
    for wrong in ((X[:0], y), (X, y[:0])):
        with pytest.raises(ValueError, match=r"0 sample|inconsistent"):
            model.partial_fit(*wrong)


NEW_COLUMNS = [("number", "number"), ("bool", "number"), ("few", "category"), ("many", "category"), ("date", "date")]
NEW_TASKS = [
    pytest.param(*case, task, marks=() if task == "class" or case[0] in ("number", "few") else pytest.mark.slow)
    for case in [*NEW_COLUMNS, ("text", "category"), ("id", "id")]
    for task in ("class", "density", "targets", "labels")
]


@pytest.mark.filterwarnings("ignore:X", "ignore:density")
@pytest.mark.parametrize(("kind", "treated_as", "task"), NEW_TASKS)
def test_a_new_column_is_learned_from_then_on(kind, treated_as, task, tmp_path):
    """The control has it from the start, but empty."""
    rng = np.random.default_rng(0)

    def table(count: int) -> tuple[pd.DataFrame, np.ndarray]:
        is_id = kind == "id"
        values, effects = (pd.Series([f"u{i:05}" for i in range(count)]), 0) if is_id else values_of(kind, count, rng)
        x, noise = rng.normal(size=(2, count))
        sums = effects + x + 0.3 * noise
        return pd.DataFrame({"f": values, "x": x}), targets_of(task, sums - np.median(sums), x + 0.3 * noise)

    (X, y), days, (later, of_later) = table(ROWS), [table(200) for _ in range(3)], table(600)
    empty = X["f"].astype(float if kind in ("number", "bool") else X["f"].dtype).where(X["x"].isna())
    model, control = model_of(task).fit(X[["x"]], y), model_of(task).fit(X.assign(f=empty), y)
    unaware = copy.deepcopy(model)
    for day, of_day in days:
        unaware.partial_fit(day[["x"]], of_day)
        control.partial_fit(day, of_day)
        model.partial_fit(day, of_day).save(tmp_path / "model.gln")
        model = type(model).load(tmp_path / "model.gln")
    assert [*model.feature_names_in_] == ["x", "f"]
    assert model.columns_["treated as"].tolist() == ["number", treated_as]
    assert model.explain(later)[0].shape[-1] == model.n_features_in_ == 2
    found, known, without = (scores_of(each, later, of_later) for each in (model, control, unaware))
    print(kind, *(f"{score} {found[score]:.3f} {known[score]:.3f} {without[score]:.3f}" for score in found))
    for score, value in found.items():
        assert value > known[score] - TOLERANCE[score]
    model.fit(X[["x"]], y)
    assert (model.n_features_in_, [*model.feature_names_in_], len(model.columns_)) == (1, ["x"], 1)


@pytest.mark.filterwarnings("ignore:X has")
def test_what_a_new_column_is_and_what_is_left_out_are_told():
    (X, y), empty = mixed(120, 0, "class"), pd.Series(None, index=range(120), dtype=object)
    X = X[["number", "few"]]
    model = model_of("class", categorical_features=["few"]).fit(X, y)
    wrong = X.assign(few=X["few"].map({"l0": "l0"}), colour="red")
    before = outputs(model, X)
    for call in (lambda: model.partial_fit(wrong, y), lambda: model.partial_fit(X.assign(**{"few": 1, "z": 2.0}), y)):
        with pytest.raises(ValueError, match=r"got 'red' in column 'colour'; name it|expected text in column 'few'"):
            call()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.set_axis(["a", "b"], axis=1))
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        model.partial_fit(X.assign(**{"z": 1.0}).rename(columns={"z": 3}), y)
    assert_equal(outputs(model, X), before)
    assert [*model.feature_names_in_] == ["number", "few"]
    warned = "X: column 'colour' is left out, because it was not there in training; partial_fit learns it"
    assert told(lambda: [model.predict(wrong), model.explain(wrong)]) == [warned]
    assert told(lambda: model.partial_fit(X.assign(z=empty), y)) == []  # nothing to learn
    assert model.n_features_in_ == 2
    model.set_params(categorical_features=["few", "colour"]).partial_fit(wrong, y)
    assert model.categories_[2] == {"red": 0}
    days = pd.Series(pd.date_range("2020-01-01", periods=120).strftime("%d.%m.%Y"))
    warned = "X: 'day' becomes dates, read as %d.%m.%Y; give it the dtype 'category' to make it a category"
    assert told(lambda: model.partial_fit(wrong.assign(day=days), y)) == [warned]
    assert model.columns_["treated as"].tolist() == ["number", "category", "category", "date"]
    assert_equal(
        outputs(model, wrong.assign(day=pd.to_datetime(days, dayfirst=True))), outputs(model, wrong.assign(day=days))
    )


@pytest.mark.parametrize(
    ("task", "tolerance"), [("class", 0.03), pytest.param("targets", 0.12, marks=pytest.mark.slow)]
)
def test_new_words_of_a_wide_sparse_table_and_an_empty_day(task, tolerance):
    """A word that no row of `fit` has is learned, as one that a few had."""
    rng = np.random.default_rng(0)

    def table(count: int, news: float) -> tuple[csr_array, np.ndarray]:
        words = (rng.random((count, 1200)) < 0.01).astype(float)
        words[:, 0], words[:, 1] = rng.random(count) < 0.5, rng.random(count) < news
        sums = 2 * words[:, 0] + 3 * words[:, 1] - 1 + 0.3 * rng.normal(size=count)
        return csr_array(words), targets_of(task, sums, words[:, 0])

    start = rng.bit_generator.state
    plain = table(400, 0.0)
    rng.bit_generator.state = start
    known, day, next_day, later = table(400, 0.02), *(table(400, 0.3) for _ in range(3))
    models = [
        model_of(task, layer_sizes=(1,)).fit(*of).partial_fit(*day).partial_fit(*next_day) for of in (plain, known)
    ]
    found, control = (scores_of(model, *later)[task] for model in models)
    before = outputs(models[0], later[0])
    assert found > control - tolerance
    models[0].partial_fit(day[0][:0], day[1][:0])
    assert_equal(outputs(models[0], later[0]), before)

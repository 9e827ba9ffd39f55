"""Categories: ordered statistics, pandas and polars tables, streams with strings, files, and errors."""

from __future__ import annotations

import copy
import datetime
import math
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import as_in_a_file, assert_same_state, fields_of
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import MultiLabelBinarizer

from gln.engine.preprocessing.category_codes import categorical_columns
from gln.engine.preprocessing.target_encoding import MOST_CLASSES, MOST_ONE_HOT, STRENGTH, EncodedColumn, TargetEncoding
from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 2, "n_epochs": 2, "random_state": 0, "backend": "numpy"}


def table(count: int = 300, zips: int = 40, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A colour and a zip code, which determine the class, and a number; some values are missing."""
    rng = np.random.default_rng(seed)
    colour, code = rng.integers(0, 3, count), rng.integers(0, zips, count)
    y = ((colour == 1) ^ (code % 2 == 0)).astype(int)
    frame = pd.DataFrame({"colour": np.array(["red", "green", "blue"], object)[colour], "x": rng.normal(size=count)})
    frame["zip"] = np.array([f"z{number}" for number in code], object)
    frame.loc[::17, "zip"] = None
    frame.loc[::13, "colour"] = np.nan
    return frame, y


# ---- Ordered statistics ----------------------------------------------------------------------------------------------


def by_loop(samples: Any, targets: Any, weights: Any, are_classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the second class or of a number, before each sample and of all samples, by their definition."""
    seen: list[tuple[float, float, float]] = []  # code, target, weight

    def statistic(code: float) -> float:
        of_level = [(target, weight) for other, target, weight in seen if other == code]
        count, total = sum(weight for _, weight in of_level), sum(target * weight for target, weight in of_level)
        if count == 0:
            return math.nan
        if not are_classes:
            return total / (count + STRENGTH)
        rate = (sum(t * w for _, t, w in seen) + 0.5) / (sum(w for _, _, w in seen) + 1)
        odds = (total + STRENGTH * rate) / (count - total + STRENGTH * (1 - rate))
        return math.log(odds) - math.log(rate / (1 - rate))

    before = []
    for code, target, weight in zip(samples, targets, weights, strict=True):
        before.append(statistic(code))
        seen.append((code, target, weight))
    return np.array(before), np.array([statistic(code) for code in samples])


def stream_of_levels(are_classes: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, TargetEncoding]:
    """Samples with a number, few, growing and many levels, (4, 90); targets, weights, and nothing learned yet."""
    rng = np.random.default_rng(1)
    growing = np.minimum(rng.integers(0, 20, 90), np.arange(90) // 5)
    samples = np.array([rng.normal(size=90), rng.integers(0, 3, 90), growing, rng.integers(0, 50, 90)])
    samples[1:, ::7] = np.nan
    targets = rng.integers(0, 3, 90) if are_classes else rng.normal(size=(2, 90))
    categories = TargetEncoding.of_numbers(0, 3 if are_classes else 2, are_classes)
    return samples, targets, rng.choice([0, 1, 0.3], 90), categories.of_stream(samples[:, :1], {1, 2, 3})


@pytest.mark.parametrize("are_classes", [True, False])
def test_a_statistic_is_of_the_samples_before_in_one_call_or_many(are_classes, monkeypatch):
    samples, targets, weights, categories = stream_of_levels(are_classes)
    categories = categories.of_stream(samples, {1, 2, 3})
    one_by_one = copy.deepcopy(categories)
    monkeypatch.setattr("gln.engine.preprocessing.target_encoding.compiled", lambda loop, *_: loop)
    columns = [one_by_one.learn(samples[:, [b]], targets[..., [b]], weights[[b]]) for b in range(90)]
    monkeypatch.undo()
    found = categories.learn(samples, targets, weights)
    np.testing.assert_array_equal(found, np.concatenate(columns, axis=1))
    np.testing.assert_array_equal(categories.totals, one_by_one.totals)
    for feature in (1, 2, 3):  # by definition
        one, other = categories.counts[feature], one_by_one.counts[feature]  # whose room for more levels differs
        np.testing.assert_array_equal(one[: len(other)], other[: len(one)])
        [statistic] = np.flatnonzero([column == EncodedColumn(feature, target=1) for column in categories.columns])
        before, of_all = by_loop(samples[feature], targets == 1 if are_classes else targets[1], weights, are_classes)
        np.testing.assert_allclose(found[statistic], before, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(categories.transform(samples)[statistic], of_all, rtol=1e-9, atol=1e-12)
    assert np.isnan(categories.transform(np.array([4 * [99.0], 4 * [np.nan]]).T)[1:]).all()


def test_a_grown_copy_leaves_what_it_was_copied_from():
    samples, targets, _, categories = stream_of_levels(True)
    categories.learn(samples[:, :40], targets[:40])
    before, columns = copy.deepcopy(fields_of(categories)), categories.transform(samples)
    for grown in (categories.of_stream(np.concatenate([samples, samples[1:2]]), {1, 2, 3, 4}), categories.with_class()):
        grown.learn(np.resize(samples, (grown.size, 90)), targets)
    assert_same_state(fields_of(categories)["counts"], before["counts"])
    np.testing.assert_array_equal(categories.transform(samples), columns)
    again = TargetEncoding(**before)
    again.learn(samples[:, 40:], targets[40:])
    categories.learn(samples[:, 40:], targets[40:])
    assert_same_state(fields_of(categories)["counts"], fields_of(again)["counts"])
    np.testing.assert_array_equal(categories.totals, again.totals)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 2}, "features below 2"),
        ({"columns": [(0, None, 3)]}, "columns and counts of 3 targets"),
        ({"counts": {1: np.zeros((2, 3))}}, "expected counts, float64 of shape"),
    ],
)
def test_fields_that_do_not_fit_together(changed, message):
    encoding = stream_of_levels(True)[-1]
    with pytest.raises(ValueError, match=message):
        as_in_a_file("encoding", encoding, **changed)
    with pytest.raises(ValueError, match="samples: expected 4 features, got 3"):
        encoding.transform(np.zeros((3, 2)))


def test_few_levels_are_columns():
    samples = np.array([[0, 1, 2, np.nan], [0, 1, np.nan, 0], [5.0, 6.0, 7.0, 8.0]])
    categories = TargetEncoding.of_numbers(3, 2, True).of_table({0: 3, 1: 2})
    expected = [[5, 6, 7, 8], [1, 0, 0, np.nan], [0, 1, 0, np.nan], [0, 0, 1, np.nan], [0, 1, np.nan, 0]]
    np.testing.assert_array_equal(categories.transform(samples), expected)
    assert categories.features.tolist() == [2, 0, 0, 0, 1]


def test_in_a_stream_columns_say_nothing_once_there_are_many_levels():
    codes = np.arange(2.0 * MOST_ONE_HOT)[None] % (MOST_ONE_HOT + 1)
    categories = TargetEncoding.of_numbers(0, 2, True).of_stream(codes[:, :MOST_ONE_HOT], {0})
    assert len(categories.columns) == 1 + MOST_ONE_HOT
    assert categories.of_stream(codes[:, :2], {0}) is categories
    columns = categories.learn(codes, np.zeros(2 * MOST_ONE_HOT, int))
    np.testing.assert_array_equal(columns[:MOST_ONE_HOT, :MOST_ONE_HOT], np.eye(MOST_ONE_HOT))
    assert np.isnan(columns[:MOST_ONE_HOT, MOST_ONE_HOT:]).all()
    assert categories.of_stream(codes[:, :MOST_ONE_HOT], {0}) is categories


@pytest.mark.parametrize("are_classes", [True, False])
def test_after_a_table_levels_keep_their_columns_and_what_is_new_starts_with_what_was_counted(are_classes):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, MOST_ONE_HOT, (1, 300)).astype(float)
    targets = rng.integers(0, 2, 300) if are_classes else rng.normal(size=(1, 300))
    fitted = TargetEncoding.of_numbers(1, 2 if are_classes else 1, are_classes).of_table({0: MOST_ONE_HOT})
    columns = fitted.learn(codes, targets)
    new = np.array([[MOST_ONE_HOT]])
    grown = as_in_a_file("encoding", fitted).of_stream(new, {0})
    found = grown.transform(codes)
    np.testing.assert_array_equal(found[:-1], columns)
    _, expected = by_loop(codes[0], np.atleast_2d(targets)[0], np.ones(300), are_classes)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.sort(grown.values_of(MOST_ONE_HOT)), np.sort(expected), rtol=1e-9, atol=1e-12)
    learned = grown.learn(new.repeat(2, axis=1), targets[..., :2])  # the second has the statistic of the first
    np.testing.assert_array_equal(np.isnan(learned[:, 1]), [True] * MOST_ONE_HOT + [False])
    assert grown.of_stream(new, {0}) is grown
    np.testing.assert_array_equal(grown.transform(codes)[:-1], columns)


def test_statistics_of_many_classes_are_bounded():
    categories = TargetEncoding.of_numbers(0, 2, True).of_stream(np.zeros((1, 1)), {0})
    for classes in range(2, 60):
        assert len(categories.columns) == (1 if classes == 2 else min(classes, MOST_CLASSES))
        categories.learn(np.zeros((1, 5)), np.full(5, classes - 1))
        categories = categories.with_class()
    assert categories.totals[0] == 5 * 58


# ---- Tables ----------------------------------------------------------------------------------------------------------


def test_text_and_categories_of_any_frame_are_the_same():
    frame, y = table()
    expected = GLNClassifier(**SMALL).fit(frame, y).predict_proba(frame)
    same = [frame.astype({"colour": "category", "zip": "string"}), frame.astype({"zip": "category"})]
    for other in same:
        np.testing.assert_array_equal(GLNClassifier(**SMALL).fit(other, y).predict_proba(other), expected)
    array = GLNClassifier(**SMALL, categorical_features=[0, 2]).fit(frame.to_numpy(), y)
    np.testing.assert_array_equal(array.predict_proba(frame.to_numpy().tolist()), expected)
    named = GLNClassifier(**SMALL, categorical_features=["zip", "colour"]).fit(frame, y)
    np.testing.assert_array_equal(named.predict_proba(frame), expected)


def test_errors_of_a_frame():
    frame, y = table()
    model, one = GLNClassifier(**SMALL).fit(frame, y), frame[5:6]
    for bad, message in (
        (one.set_axis(["a", "b", "c"], axis=1), "feature names should match"),
        (one.assign(x=np.inf), "infinity or a value too large for dtype\\('float32'\\) in column 'x'"),
        (one.assign(x="many"), "got 'many' in column 'x'"),
        (one.assign(zip=pd.Timestamp("2020")), "got dates or times in column 'zip'"),
        (frame[:0], "Found array with 0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict_proba(bad)


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    frame, y = table()
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    given = polars.DataFrame(columns).with_columns(polars.col("colour").cast(polars.Categorical))
    model, expected = GLNClassifier(**SMALL).fit(given, y), GLNClassifier(**SMALL).fit(frame, y)
    assert model.feature_names_in_.tolist() == ["colour", "x", "zip"]
    np.testing.assert_array_equal(model.predict_proba(given), expected.predict_proba(frame))
    dated = given.with_columns(day=datetime.date(2020, 1, 1))
    with pytest.raises(ValueError, match="dates or times in column 'day'"):
        GLNClassifier(**SMALL).partial_fit(dated, y, np.unique(y))
    with pytest.raises(ValueError, match=r"got a LazyFrame; call its collect\(\) first"):
        model.predict(given.lazy())


@pytest.mark.slow
def test_fit_does_not_depend_on_the_order_of_samples_or_the_number_of_processes():
    frame, y = table()
    weights = np.random.default_rng(1).integers(0, 3, len(y))
    order = np.random.default_rng(0).permutation(len(y))
    expected = GLNClassifier(**SMALL).fit(frame, y, weights).predict_proba(frame)
    other = GLNClassifier(**SMALL, n_jobs=2).fit(frame.iloc[order], y[order], weights[order])
    np.testing.assert_array_equal(other.predict_proba(frame), expected)
    ordered = GLNClassifier(**SMALL, shuffle=False).fit(frame.iloc[order], y[order])
    assert not np.array_equal(ordered.predict_proba(frame), expected)


def test_a_zip_code_is_learned():
    frame, y = table(800)
    model = GLNClassifier(**SMALL).fit(frame[:600], y[:600])
    without = GLNClassifier(**SMALL).fit(frame[:600][["colour", "x"]], y[:600])
    assert model.score(frame[600:], y[600:]) > without.score(frame[600:][["colour", "x"]], y[600:]) + 0.15
    model.predict_proba(frame[600:].assign(zip="elsewhere"))
    assert model.categories_[2].keys() == set(frame["zip"][:600].dropna())  # nothing was learned


@pytest.mark.parametrize("levels", [20, 400])
def test_a_new_name_is_like_the_known_ones_and_not_like_a_missing_one(levels):
    """Names have a rate of .10, and a missing one of .99, which new names had, too."""
    rng = np.random.default_rng(0)
    names, missing = rng.integers(0, levels, 2000), rng.random(2000) < 0.1
    frame = pd.DataFrame({"name": [f"n{i}" for i in names], "x": rng.normal(size=2000)})
    frame.loc[missing, "name"] = None
    y = rng.random(2000) < np.where(missing, 0.99, rng.beta(2, 18, levels)[names])
    asked = pd.DataFrame({"name": ["new", None], "x": 0.0})
    new, absent = GLNClassifier(random_state=0).fit(frame, y).predict_proba(asked)[:, 1]
    assert 0.05 < new < 0.17
    assert absent > 0.9
    new, absent = GLNRegressor(random_state=0).fit(frame, y.astype(float)).predict(asked)
    assert 0.02 < new < 0.2
    assert absent > 0.8


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_contributions_are_of_the_features(kind, how):
    frame, y = table()
    arguments = {"classes": [0, 1]} if kind is GLNClassifier and how == "partial_fit" else {}
    model = getattr(kind(**SMALL), how)(frame, y, **arguments)
    contributions, constant = model.explain(frame)
    predictions = model.decision_function(frame) if kind is GLNClassifier else model.predict(frame)
    least, most = (-np.inf, np.inf) if kind is GLNClassifier else (0, 1.1)  # of predictions, as targets are 0 and 1
    assert contributions.shape == frame.shape
    np.testing.assert_allclose((contributions.sum(axis=1) + constant).clip(least, most), predictions, atol=1e-3)
    if how == "partial_fit":  # in `fit`, missing values have cells of their own
        assert (contributions[frame["zip"].isna(), 2] == 0).all()
    assert (model.n_features_in_, len(model.learner_.featurizer.encoding.columns) > 3) == (3, True)


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(pd.date_range("2020", periods=300, tz="UTC"), id="times"),
        pytest.param(pd.period_range("2020", periods=300, freq="D"), id="periods"),
        pytest.param(pd.to_timedelta(np.arange(300), "D"), id="durations"),
        pytest.param(300 * [datetime.date(2020, 1, 1)], id="objects"),
    ],
)
def test_dates_are_refused_by_name_where_they_were_numbers_and_in_streams(days):
    frame, y = table()
    model, classes = GLNClassifier(**SMALL).fit(frame, y), np.unique(y)
    for call in (
        lambda: GLNClassifier().partial_fit(frame.assign(x=days), y, classes),
        lambda: GLNDensityClassifier().fit(frame.assign(x=days), y),
        lambda: model.predict(frame.assign(x=days)),
    ):
        with pytest.raises(ValueError, match="got dates or times in column 'x'; convert them to numbers, such as days"):
            call()


@pytest.mark.parametrize("kind", ["text", "object", "polars", "printed", "dollars"])
def test_numbers_that_are_text_are_warned_of_once_with_code_that_converts_them(kind):
    frame, y = table()
    numbers = np.round(frame["x"].to_numpy(), 3) if kind != "dollars" else np.round(frame["x"].to_numpy() * 1000) / 4
    frame["late"] = [f"{'-' if x < 0 else ''}${abs(x):,.2f}" if kind == "dollars" else str(x) for x in numbers]
    frame["late"] = frame["late"].str.replace(".", ",") + " %" if kind == "printed" else frame["late"]
    frame.loc[150, "late"] = " "
    numbers[150] = np.nan
    frame = frame.astype({"late": object if kind == "object" else "str"})
    given = pytest.importorskip("polars").DataFrame(frame[["x", "late"]].to_dict("list")) if kind == "polars" else frame
    model = GLNClassifier(**SMALL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for batch in (given[:5], given[5:100], given[100:]):
            model.partial_fit(batch, y[: len(batch)], [0, 1])
        model.predict(given)
    messages = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert len(messages) == 1
    told = (
        r"X: column 'late' \(such as '.*'\) is text and becomes a category, but its levels read as numbers; convert it"
    )
    assert re.match(told, messages[0])
    code = re.findall(r" by (.*, errors='coerce'\)), or, if", messages[0])[0]
    if kind != "polars":
        np.testing.assert_array_equal(eval(code, {"X": frame, "name": "late", "pandas": pd}), numbers)


def test_levels_of_another_type_are_an_error_and_equal_ones_are_equal():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 5, 300)
    y = (level == 2).astype(int)
    types: dict[type, list[Any]] = {
        int: [float, "Int64", "Float64", object, "category", np.int8],
        str: [object, "string", "category", np.str_],
    }
    for own, others in types.items():
        given = pd.DataFrame({"a": pd.Series(level).astype(own), "x": rng.normal(size=300)})
        model = GLNClassifier(**SMALL, categorical_features=["a"]).fit(given, y)
        assert model.score(given, y) > 0.95
        for other in others:
            same = given.astype({"a": other})
            np.testing.assert_array_equal(model.predict_proba(same), model.predict_proba(given))
        expected, wrong = ("numbers", str) if own is int else ("text", int)
        before = model.predict_proba(given)
        for call in (model.predict, lambda given, model=model: model.partial_fit(given, y)):
            with pytest.raises(ValueError, match=f"^X: expected {expected} in column 'a', like its first levels, got "):
                call(given.assign(a=level.astype(wrong)))
        np.testing.assert_array_equal(model.predict_proba(given), before)
    truth = pd.DataFrame({"a": y == 1, "x": 0.0})
    model = GLNClassifier(**SMALL, categorical_features=["a"]).fit(truth, y)
    for other in (int, float, "boolean", object):
        assert model.score(truth.astype({"a": other}), y) == 1


@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("cell", [["a", "b"], {"a": 1, "b": 2}, np.array(["a", "b"])])
def test_lists_in_cells_are_refused_with_advice_that_works(cell, rows):
    frame, y = table(60)
    frame["tags"] = [cell] * rows + [None if rows == 60 else "z"] * (60 - rows)
    way = r"in column 'tags'.*|of column 'tags'.*"
    with pytest.raises(
        (ValueError, TypeError), match=f"^X: .*({way}); join lists to text, as by .*MultiLabelBinarizer"
    ) as e:
        GLNClassifier(**SMALL).fit(frame, y)
    joined = eval(re.findall(r"as by (.*?), or", str(e.value))[0], {"X": frame, "name": "tags"})
    assert joined.tolist() == ["a b"] * rows + ["z"] * (60 - rows)
    assert "a b" in GLNClassifier(**SMALL).fit(frame.assign(tags=joined), y).categories_[3]
    encoded = MultiLabelBinarizer().fit_transform(frame.tags)
    assert GLNClassifier(**SMALL).fit(frame.drop(columns="tags").join(pd.DataFrame(encoded).add_prefix("is_")), y)


def test_a_single_row_of_a_frame_is_refused_with_advice_that_works():
    frame, y = table(60)
    model = GLNClassifier(**SMALL).fit(frame, y)
    with pytest.raises(ValueError, match=r"X: expected a table, got a Series; X.iloc\[\[0\]\] is a row") as error:
        model.predict(frame.iloc[0])
    row = eval(str(error.value).split("; ")[1].split(" is ")[0], {"X": frame})
    np.testing.assert_array_equal(model.predict(row), model.predict(frame)[:1])


@pytest.mark.parametrize("others", [["n"], ["b"], ["colour"], []])
def test_complex_numbers_are_an_error(others):
    frame, y = table(60)
    frame = frame.assign(n=pd.array(np.arange(60), dtype="Int64"), b=True, c=np.arange(60) + 1j)
    with pytest.raises(ValueError, match="X: expected real numbers, got complex ones in column 'c'"):
        GLNClassifier(**SMALL).fit(frame[[*others, "c"]], y)
    model = GLNClassifier(**SMALL).fit(frame[[*others, "n"]].set_axis([*others, "c"], axis=1), y)
    with pytest.raises(ValueError, match="X: expected real numbers, got complex ones in column 'c'"):
        model.predict(frame[[*others, "c"]])


@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_the_eleventh_level_after_fit_costs_no_more_than_if_it_had_been_known(kind, tmp_path):
    rng = np.random.default_rng(0)
    codes, x = rng.integers(0, 10, 1600), rng.normal(size=1600)
    y = 2 * np.random.default_rng(9).normal(size=10)[codes] + x + 0.3 * rng.normal(size=1600)
    y = y if kind is GLNRegressor else (y > np.median(y)).astype(int)
    frame = pd.DataFrame({"level": [f"l{code}" for code in codes], "x": x})
    known, new = frame[:800].copy(), pd.DataFrame({"level": ["unheard", "of"], "x": 0.0})
    known.loc[:3, "level"] = ["unheard", "of"] * 2
    scores = []
    for table in (frame[:800], known):
        kind(random_state=0, n_networks=4).fit(table, y[:800]).save(tmp_path / "model.gln")
        model = kind.load(tmp_path / "model.gln").partial_fit(new, y[:2])
        scores.append(model.score(frame[800:], y[800:]))
    assert scores[0] > scores[1] - 0.01


def test_sentences_are_warned_of_where_their_words_are_not_learned():
    frame, y = table()
    answers = [f"i come here {i % 12} times a week or more" for i in range(300)]
    with pytest.warns(UserWarning, match=r"X: column 'zip' is text .* its levels are sentences; `fit` learns"):
        GLNClassifier(**SMALL).partial_fit(frame.assign(zip=answers), y, [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GLNClassifier(**SMALL).fit(frame.assign(zip=answers), y)  # as few as a category has


def test_other_categories_are_not_warned_of():
    frame, y = table()
    codes = (10000 + np.arange(300) % 40).astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GLNClassifier(**SMALL).fit(frame.assign(zip=pd.Categorical(codes)), y)
        GLNClassifier(**SMALL, categorical_features=["zip"]).fit(frame[["zip"]].assign(zip=codes), y)
        GLNClassifier(**SMALL).fit(frame.assign(colour=(np.arange(300) % 9).astype(str)), y)  # few levels
        GLNClassifier(**SMALL).fit(frame.assign(zip=np.where(np.arange(300) % 5, codes, "z" + codes)), y)  # names too
        polars = pytest.importorskip("polars")
        for dtype in (polars.Categorical, polars.Enum(sorted(set(codes)))):
            GLNClassifier(**SMALL).fit(polars.DataFrame({"zip": codes}).cast(dtype), y)


def test_which_columns_are_categories():
    mixed = pd.Series(["a", 1, None] * 100, dtype=object)
    frame = table()[0].assign(flag=True, floor=pd.Categorical(np.arange(300) % 4), mixed=mixed)
    assert categorical_columns(frame, "from_dtype") == [0, 2, 4, 5]
    assert categorical_columns(frame.to_numpy(), "from_dtype") == categorical_columns(frame, None) == []
    assert categorical_columns(frame, [True, False, False, True, False, False]) == [0, 3]
    assert categorical_columns(frame, np.array([3, 1])) == [3, 1]
    for wrong in ("colour", ["color"], [6], [-1], [True], [0.5], [[0]]):
        with pytest.raises(ValueError, match="categorical_features: expected 'from_dtype', None, or a mask, numbers"):
            GLNClassifier(categorical_features=wrong).fit(frame, table()[1])
    from_numbers = GLNClassifier(**SMALL, categorical_features=[0]).fit([[1, 2.5], [3, 0], [1, 1]], [0, 1, 0])
    assert from_numbers.categories_ == {0: {1: 0, 3: 1}}


def test_a_table_may_hold_a_single_level_or_none():
    frame = pd.DataFrame({"a": pd.Series(["same"] * 20, dtype="category")})
    for given in (frame, frame.assign(a=pd.Series([None] * 20, dtype="category"))):
        p = GLNClassifier(**SMALL).fit(given, np.arange(20) % 2).predict_proba(given)
        np.testing.assert_allclose(p, 0.5, atol=0.2)


def test_an_object_column_without_values_is_a_category_whose_levels_are_all_unknown():
    frame, y = table(200)
    frame["alley"] = pd.Series([None] * 200, dtype=object)
    later = frame.assign(alley="gravel")
    model = GLNClassifier(**SMALL).fit(frame, y)
    assert model.categories_[len(frame.columns) - 1] == {}
    np.testing.assert_array_equal(model.predict_proba(later), model.predict_proba(frame))
    assert model.partial_fit(later, y).score(later, y) > 0.7
    halves = frame.assign(alley=np.repeat([None, "gravel"], 100))
    assert cross_val_score(GLNClassifier(**SMALL), halves, y, cv=KFold(2)).min() > 0.4


# ---- River streams ---------------------------------------------------------------------------------------------------


def stream(count: int = 150, **arguments: Any) -> list[tuple[dict[Any, Any], int]]:
    frame, y = table(count, **arguments)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return list(zip(rows, y.tolist(), strict=True))


def of_river(kind: str, **arguments: Any) -> Any:
    river = pytest.importorskip("gln.river")
    return getattr(river, kind)(**{"layer_sizes": (8, 4), "seed": 1, **arguments})


@pytest.mark.parametrize("kind", ["GLNClassifier", "GLNRegressor"])
def test_strings_of_river_are_learned_row_by_row(kind, tmp_path):
    samples, one, many = stream(zips=80), of_river(kind), of_river(kind)
    for x, y in samples[:70]:
        for model in (one, many):
            model.learn_one(x, y)
    one.save(tmp_path / "m")
    loaded, rest = type(one).load(tmp_path / "m"), pd.DataFrame([x for x, _ in samples[70:]])
    many.learn_many(rest.astype({"colour": "category"}), pd.Series([y for _, y in samples[70:]]))
    for x, y in samples[70:]:
        for model in (one, loaded):
            model.learn_one(x, y)
    predicted = [one.predict_proba_one(x)[1] if kind == "GLNClassifier" else one.predict_one(x) for x, _ in samples]
    frame = pd.DataFrame([x for x, _ in samples])
    for model in (many, loaded):
        found = model.predict_proba_many(frame)[1] if kind == "GLNClassifier" else model.predict_many(frame)
        np.testing.assert_allclose(found, predicted, atol=1e-4)
    assert one._stream.schema.levels == many._stream.schema.levels == loaded._stream.schema.levels
    assert len(one._stream.schema.levels["zip"]) > 60


@pytest.mark.parametrize("lacks", [lambda x: {**x, "name": None}, lambda x: {"x": x["x"]}], ids=["None", "absent"])
def test_a_missing_category_of_a_stream_is_a_level_and_an_unknown_level_is_not(lacks):
    """Names have a rate of .1, missing ones of 1. Rows together are learned and predicted as one by one."""
    rng = np.random.default_rng(0)
    samples = []
    for step in range(600):
        x = {"x": rng.normal(), "name": f"n{rng.integers(30)}"}
        is_missing = step % 10 == 9
        samples.append((lacks(x) if is_missing else x, bool(is_missing or rng.random() < 0.1)))
    xs, ys = zip(*samples, strict=True)
    model, together = of_river("GLNClassifier"), of_river("GLNClassifier")
    for x, y in samples:
        model.learn_one(x, y)
    for start in range(0, 600, 75):
        together.learn_many(pd.DataFrame(xs[start : start + 75]), pd.Series(ys[start : start + 75]))
    asked = [{"x": 0.0, "name": "new"}, lacks({"x": 0.0, "name": "n1"}), {"x": 0.0, "name": "n1"}]
    unknown, missing, known = (model.predict_proba_one(x)[True] for x in asked)
    assert max(unknown, known) < 0.3 < 0.9 < missing
    of_frame = together.predict_proba_many(pd.DataFrame(asked))[True]
    np.testing.assert_allclose(of_frame, [unknown, missing, known], rtol=1e-9)


def test_a_stream_of_numbers_may_get_strings_classes_and_levels_later():
    model, samples = of_river("GLNClassifier"), stream(300, zips=12)
    hits = []
    for i, (x, y) in enumerate(samples):
        label = 2 if i > 150 and x["colour"] == "blue" else y
        if i > 200:
            hits.append(model.predict_one(x) == label)
        model.learn_one(x if i > 30 else {"x": x["x"], "colour": None}, label)
    assert np.mean(hits) > 0.7
    p = model.predict_proba_one({"x": x["x"], "colour": x["colour"]})
    assert p == model.predict_proba_one({**x, "zip": None}) != model.predict_proba_one({**x, "zip": "elsewhere"})
    assert p.keys() == {0, 1, 2}

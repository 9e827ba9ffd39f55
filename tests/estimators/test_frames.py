"""A frame as it is, with numbers, categories, dates, texts, ids and missing values: what an estimator does."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gln.sklearn import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (4,), "n_networks": 4, "n_epochs": 2, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:X. ")


def orders(count: int = 300, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Whether a customer comes again, which a word of a review and the hour of an order tell."""
    rng = np.random.default_rng(seed)
    again, words = rng.random(count) < 0.5, np.array(["tea", "cup", "of", "the", "with", "and"])
    told = np.where((rng.random(count) < 0.9) == again, "lovely", "stale")
    frame = pd.DataFrame({"order_id": rng.permutation(count) + 1000, "price": rng.gamma(2, 3, count)})
    frame["review"] = [" ".join([*rng.choice(words, 5), word, *rng.choice(words, 3)]) for word in told]
    hours = np.where((rng.random(count) < 0.8) == again, rng.integers(0, 6, count), rng.integers(6, 24, count))
    days = pd.Timestamp("2023-05-01") + pd.to_timedelta(rng.integers(0, 500, count), unit="D")
    frame["when"] = pd.Series(days + pd.to_timedelta(hours, unit="h")).dt.tz_localize("Asia/Tokyo")
    frame["seen"] = pd.Series(days).dt.strftime("%d.%m.%Y")
    frame["city"] = rng.choice(["Bonn", "Oslo"], count)
    for name in ("price", "review", "when", "seen", "city"):
        frame.loc[rng.random(count) < 0.05, name] = None
    return frame, again


FRAME, AGAIN = orders()
NEW, OF_NEW = orders(seed=1)


@pytest.fixture(scope="module")
def model():
    return GLNClassifier(**SMALL).fit(FRAME, AGAIN)


def test_one_line_learns_a_frame_and_one_print_says_what_it_was_taken_for(model):
    assert model.columns_["treated as"].to_dict() == {
        **{"order_id": "id", "price": "number", "review": "text", "when": "date", "seen": "date", "city": "category"},
    }
    assert model.score(NEW, OF_NEW) > 0.82
    assert abs(model.oob_score_ - model.score(NEW, OF_NEW)) < 0.08
    assert model.score(NEW.assign(review=None), OF_NEW) < model.score(NEW, OF_NEW) - 0.05
    one_by_one = [model.predict_proba(NEW[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(model.predict_proba(NEW[:5]), one_by_one, atol=1e-6)
    in_utc = NEW.assign(when=NEW.when.dt.tz_convert("UTC"))  # the same times
    np.testing.assert_array_equal(model.predict_proba(in_utc), model.predict_proba(NEW))
    plain = GLNClassifier(**SMALL).fit(FRAME[["price", "city"]], AGAIN)
    assert plain.columns_["treated as"].tolist() == ["number", "category"]
    assert "_columns" not in vars(plain)


def test_columns_and_words_are_explained(model):
    contributions, constant = model.explain(NEW)
    assert contributions.shape == NEW.shape
    np.testing.assert_allclose(contributions.sum(axis=1) + constant, model.decision_function(NEW), atol=1e-4)
    importances = dict(zip(FRAME, model.feature_importances_, strict=True))
    assert importances["order_id"] == 0
    assert importances["review"] == max(importances.values()) > 0.1
    words = model.explain_words(NEW)
    sums = words.groupby("row").contribution.sum()
    np.testing.assert_allclose(sums, contributions[sums.index, list(NEW).index("review")], atol=1e-6)
    means = words.groupby("word").contribution.mean()
    assert means["lovely"] > 0.1 > -0.1 > means["stale"]


def test_files_and_copies_predict_the_same(model, tmp_path):
    model.save(tmp_path / "model.gln")
    for again in (GLNClassifier.load(tmp_path / "model.gln"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(NEW), model.predict_proba(NEW))
        assert again.columns_.equals(model.columns_)
        again.partial_fit(NEW[:50], OF_NEW[:50])  # by the columns that were fitted
        assert again.explain(NEW)[0].shape == NEW.shape
    assert not hasattr(clone(model), "columns_")


def test_classes_targets_weights_and_groups():
    three, weights = np.digitize(FRAME.price.fillna(5), [3, 8]), np.arange(300) % 3
    classes = GLNClassifier(**SMALL, early_stopping=True).fit(FRAME, three, weights, groups=np.arange(300) // 3)
    contributions, _ = classes.explain(NEW[:20])
    words = classes.explain_words(NEW[:20]).groupby("row")[[0, 1, 2]].sum()
    np.testing.assert_allclose(words, contributions[words.index, :, list(NEW).index("review")], atol=1e-6)
    targets = np.column_stack([AGAIN, FRAME.price.fillna(5)])
    numbers = GLNRegressor(**SMALL, quantiles=(0.1, 0.9), density=True).fit(FRAME, targets)
    assert numbers.explain(NEW)[0].shape == (300, 2, 6)
    assert numbers.score(NEW.fillna({"price": 5.0}), np.column_stack([OF_NEW, NEW.price.fillna(5)])) > 0.5


def test_in_searches_and_pipelines():
    assert cross_val_score(GLNClassifier(**SMALL), FRAME, AGAIN, cv=3).mean() > 0.8
    scaled = make_column_transformer((StandardScaler(), ["price"]), remainder="passthrough")
    scaled.set_output(transform="pandas")
    pipeline = make_pipeline(scaled, GLNClassifier(**SMALL)).fit(FRAME, AGAIN)
    assert pipeline.score(NEW, OF_NEW) > 0.82


@pytest.mark.parametrize("kind", ["type", "%Y-%m-%d", "%d.%m.%Y"])
def test_dates_of_another_type_are_an_error_and_single_others_are_missing(kind):
    """Dates that nothing could read were missing in silence: an accuracy of .5."""
    rng = np.random.default_rng(0)
    days = pd.Series(pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 365, 400), "D"))
    y, frame = days.dt.month < 7, pd.DataFrame({"when": days, "x": rng.normal(size=400)})
    frame["when"] = days if kind == "type" else days.dt.strftime(kind)
    frame.loc[0, "when"] = None if kind == "type" else "unknown"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = GLNClassifier(**SMALL).fit(frame, y)
    told = "X: 'when' (such as 'unknown') has values that are no dates, which count as missing"
    assert [str(warning.message).endswith(told.removeprefix("X: ")) for warning in caught] == [True] * (kind != "type")
    assert model.score(frame, y) > 0.95
    expected = model.predict_proba(frame)
    for other in ("%m/%d/%Y", "%Y%m%d", "hello"):
        wrong = days.dt.strftime(other)
        for call in (model.predict, lambda given: model.partial_fit(given, y)):
            with pytest.raises(ValueError, match=r"X: expected dates by type.* in column 'when'"):
                call(frame.assign(when=wrong.astype(int) if other == "%Y%m%d" else wrong))
    np.testing.assert_array_equal(model.predict_proba(frame), expected)
    single = frame.astype({"when": object})
    single.loc[7, "when"] = "hello"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, again = model.predict_proba(single), model.predict_proba(single)
    assert [str(warning.message) for warning in caught] == [told.replace("unknown", "hello")] * (kind == "type")  # once
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(expected, 7, axis=0))
    single.loc[7, "when"] = None
    np.testing.assert_array_equal(found, model.predict_proba(single))


def test_numbers_in_text_are_learned_as_numbers(tmp_path):
    rng = np.random.default_rng(0)
    clock, place = rng.gamma(4, 1, 400).round(2), rng.normal(size=(400, 2)).round(2)
    frame = pd.DataFrame({"clock": [f"{x} GHz" for x in clock], "place": [f"{x}, {y}" for x, y in place]})
    plain = pd.DataFrame({"clock": clock, "x": place[:, 0], "y": place[:, 1]})
    target = np.sqrt(clock) + place[:, 1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = GLNRegressor(**SMALL).fit(frame, target)
    told = "X: 'clock' becomes numbers, read as 1,234.5 GHz; give it the dtype 'category' .*; 'place' becomes numbers"
    assert [bool(re.match(told, str(warning.message))) for warning in caught] == [True]
    expected = GLNRegressor(**SMALL).fit(plain, target).predict(plain)
    np.testing.assert_array_equal(model.predict(frame), expected)
    assert model.explain(frame)[0].shape == (400, 2)
    model.save(tmp_path / "model.gln")
    stream = pytest.importorskip("gln.river").GLNRegressor.of(model)
    for i in range(5):
        row = frame.iloc[i].to_dict()
        np.testing.assert_allclose(stream.predict_one(row), expected[i], atol=1e-6)
    with pytest.raises(ValueError, match=r"x\['clock'\]: expected a number in text, such as '1,234.5 GHz'"):
        stream.predict_one(row | {"clock": "3 MHz"})
    model = GLNRegressor.load(tmp_path / "model.gln")
    other = frame.copy()
    other.loc[7, "clock"] = "fast"
    with pytest.warns(UserWarning, match=r"'clock' \(such as 'fast'\) has values that are no such numbers"):
        found = model.predict(other)
    other.loc[7, "clock"] = None
    np.testing.assert_array_equal(found, model.predict(other))
    np.testing.assert_array_equal(np.delete(found, 7), np.delete(expected, 7))
    for wrong in (frame.clock.str.replace("GHz", "MHz"), clock):
        with pytest.raises(ValueError, match=r"X: expected numbers in text, such as '1,234.5 GHz', .* column 'clock'"):
            model.predict(frame.assign(clock=wrong))


def test_ids_that_repeat_and_levels_that_are_mostly_new_are_told_once_and_not_with_groups():
    rng = np.random.default_rng(0)
    person = np.arange(40).repeat(5)
    frame = pd.DataFrame({"personId": person, "name": [f"n{i}" for i in person], "x": rng.normal(size=200)})
    y = person % 2 == 0
    known, new = frame[:100], frame[100:]
    for groups in (None, person[:100], np.arange(100)):
        model = GLNClassifier(**SMALL)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(known, y[:100], groups=groups)
            model.predict(frame[90:110])  # half of them
            model.predict(new[:9])
            for _ in range(2):
                model.predict(new)
        told = [str(warning.message) for warning in caught]
        if groups is None:
            assert len(told) == 2
            assert told[0].startswith("groups: 'personId', 'name' may tell which rows belong together")
            assert re.match("X: more than half of the values in 'name' .* pass groups=X.name. to `fit`", told[1])
            assert {warning.filename for warning in caught} == {__file__}
        else:
            assert told == []
    apart = frame.assign(name=[f"n{i}" for i in range(200)])[["name", "x"]].astype({"name": "category"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no level occurs twice
        GLNClassifier(**SMALL).fit(apart[:100], y[:100]).predict(apart[100:])


def test_a_search_tells_once_at_the_line_that_called_it():
    frame, again = orders(300)
    frame["customer"] = np.arange(300) // 4
    frame["weight"] = [f"{price:.1f} kg" if row % 100 == 0 else f"{price:.1f}" for row, price in enumerate(frame.price)]
    rows, code = np.random.default_rng(0).integers(0, 300, 300), "search.fit(X, y)"
    search = GridSearchCV(make_pipeline(GLNClassifier(**SMALL)), {"glnclassifier__n_epochs": [1, 2]}, cv=3)
    names = {"search": search, "X": frame.iloc[rows], "y": again[rows]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # as in a script
        exec(compile(code, "of the user", "exec"), names)
    assert [warning.filename for warning in caught] == ["of the user"] * 2
    columns, of_rows = [str(warning.message) for warning in caught]
    assert re.match("X: 'review' becomes texts, .*; 'seen' becomes dates, read as %d.%m.%Y; ", columns)
    assert re.search("; column 'weight' .*pandas.to_numeric", columns)
    assert re.match("groups: 'customer' may tell .*; X, y: .* rows equal others .*set_fit_request", of_rows)
    with pytest.warns(UserWarning, match="^X: 'order_id' is left out"):  # a model that is fitted again tells again
        search.best_estimator_.fit(frame, again)


def test_frames_of_polars_are_those_of_pandas(model):
    polars = pytest.importorskip("polars")
    found = GLNClassifier(**SMALL).fit(polars.from_pandas(FRAME), AGAIN)
    np.testing.assert_array_equal(found.predict_proba(polars.from_pandas(NEW)), model.predict_proba(NEW))


def test_what_cannot_be_done_is_an_error_that_names_the_way(model, tmp_path):
    with pytest.raises(ValueError, match="got dates or times in column 'when'"):
        GLNClassifier(**SMALL).partial_fit(FRAME, AGAIN, [False, True])
    with pytest.raises(ValueError, match="text_features: expected 'auto' or None in partial_fit"):
        GLNClassifier(text_features=["review"]).partial_fit(FRAME, AGAIN, [False, True])
    with pytest.raises(ValueError, match="expected a column to learn from"):
        GLNClassifier(**SMALL).fit(FRAME[["order_id"]].assign(seen=pd.Timestamp("2020")), AGAIN)
    with pytest.warns(UserWarning, match="texts are left out, because there are 100 classes or more"):
        many = GLNClassifier(**SMALL).fit(FRAME, np.arange(300) % 100)
    assert many.columns_["becomes"]["review"] == "nothing: too many classes"
    export = pytest.importorskip("gln.onnx").export
    with pytest.raises(ValueError, match="got column 'order_id', which is treated as id"):
        export(model, tmp_path / "model.onnx")

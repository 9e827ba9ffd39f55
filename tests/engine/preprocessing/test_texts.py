"""Texts: words and characters, predictions out of fold against scikit-learn, and contributions of words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from gln.engine.preprocessing.texts import ALPHA, TextWords, counts_of, fit_text, has_no_spaces
from gln.engine.tabular.folds import FOLDS, counted_folds

PATTERN = r"\w+|[^\w\s]"


def reviews(count: int, seed: int = 0) -> tuple[pd.Series, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = np.array(["tea", "cup", "of", "the", "with", "and", "great", "stale", "fresh", "cold", "!", "not"])
    texts = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(count)]
    y = np.array([text.count("great") - text.count("stale") + text.count("not fresh") for text in texts], float)
    return pd.Series(texts), y + 0.1 * rng.normal(size=count)


def test_out_of_fold_values_are_those_of_scikit_learn():
    texts, y = reviews(400)
    weights, folds = np.random.default_rng(1).choice([1.0, 2.0], 400), np.arange(400) % FOLDS
    texts[3], texts[4] = None, "  "
    counted, known = counted_folds(3), texts.notna() & (texts != "  ")
    model, _, values = fit_text(TextWords(False, counts_of(texts, False)), y[None], weights, folds, counted)
    assert np.isnan(values[[3, 4]]).all()
    assert not np.isnan(np.delete(values, [3, 4])).any()

    def vectorizer():
        return TfidfVectorizer(token_pattern=PATTERN, ngram_range=(1, 2), binary=True)

    expected = vectorizer().fit(texts[known].repeat(weights[known].astype(int).tolist()))
    ridge = Ridge(ALPHA).fit(expected.transform(texts[known]), y[known], weights[known])
    new = reviews(50, seed=2)[0]
    found = model.transform(pd.concat([new, pd.Series([None, ""], dtype=object)], ignore_index=True))
    np.testing.assert_allclose(found[:50, 0], ridge.predict(expected.transform(new)), atol=0.02)
    assert np.isnan(found[50:]).all()
    for fold in (0, 2):  # one that no network leaves out, and one that some do
        rows, chosen = (known & counted[fold][folds]).to_numpy(), (known & (folds == fold)).to_numpy()
        alpha = ALPHA * weights[rows].sum() / weights[known].sum()
        of_fold = Ridge(alpha).fit(expected.transform(texts[rows]), y[rows], weights[rows])
        np.testing.assert_allclose(values[chosen, 0], of_fold.predict(expected.transform(texts[chosen])), atol=0.02)


def test_targets_of_folds_that_are_not_counted_change_nothing():
    texts, y = reviews(160)
    folds, counted, ones = np.arange(160) % FOLDS, counted_folds(3), np.ones(160)
    words = TextWords(False, counts_of(texts, False))
    *_, values = fit_text(words, y[None], ones, folds, counted)
    *_, changed = fit_text(words, np.where(folds == 1, 100 - y, y)[None], ones, folds, counted)
    assert (values[folds == 4] == changed[folds == 4]).all()
    assert (values[folds == 1] == changed[folds == 1]).all()


@pytest.mark.parametrize("known", [0, 1, 40])
def test_folds_of_which_no_text_is_learned_are_missing(known):
    texts, y = reviews(80)
    texts[known:], folds = None, np.arange(80) // 40  # the first fold has all texts
    model, of_folds, values = fit_text(
        TextWords(False, counts_of(texts, False)), y[None], np.ones(80), folds, counted_folds(3)
    )
    assert np.isnan(values).all()
    new = reviews(10, seed=1)[0]
    assert np.isnan(of_folds[0].transform(new)).all()
    assert np.isfinite(of_folds[1].transform(new)).all() == (known > 0)
    assert np.isfinite(model.transform(new)).all()


def test_contributions_of_words_add_up():
    texts, y = reviews(300)
    model, *_ = fit_text(
        TextWords(False, counts_of(texts, False)),
        np.stack([y, -y]),
        np.ones(300),
        np.arange(300) % FOLDS,
        counted_folds(3),
    )
    for text in (texts[0], "great tea, unheard of !", "tea tea tea"):
        value, contributions = model.transform(pd.Series([text]))[0], np.array([[0.5, -0.2], [1.0, 0.3]])
        words, divided = zip(*model.divided(text, value, contributions), strict=True)
        assert "unheard" not in words
        assert len(words) == len({*words})
        np.testing.assert_allclose(np.sum(divided, axis=0), contributions.sum(axis=1), atol=1e-5)
    assert model.divided("", model.mean, contributions) == []


@pytest.mark.parametrize(
    ("text", "without_spaces"),
    [
        ("这家餐厅的菜非常好吃服务也很热情。", True),
        ("Кофе был очень хороший, но холодный", False),
        ("GATTACAGATTACAGATTACA", False),
        ("Der Kaffee war köstlich", False),
    ],
)
def test_languages_without_spaces(text, without_spaces):
    assert has_no_spaces(pd.Series([text, text])) == without_spaces
    if without_spaces:
        assert counts_of(pd.Series([text]), True).nnz > 30

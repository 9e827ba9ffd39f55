"""Sparse samples: Numba's networks learn the same from them as from dense ones, and estimators keep them sparse."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss
from sklearn.svm import LinearSVC

from gln.features import SparseScaler
from gln.sklearn import GLNClassifier, GLNRegressor


def mostly_zero(shape: tuple[int, int], density: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < density, rng.normal(size=shape), 0)


SAMPLES: Any = sparse.coo_array(4 * mostly_zero((60, 700), 0.1))
KINDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # arguments of a network, and the shape of its targets
    "two classes": ({"context_features": 3}, (700,)),
    "classes": ({"num_classes": 4, "context_features": 3, "bias": False}, (4, 700)),
    "means": ({"loss": "squared_error", "num_outputs": 2, "normalize": False, "learning_rate": 0.01}, (2, 700)),
    "variance": ({"loss": "variance", "context_features": 3}, (700,)),
    "quantiles": ({"loss": "quantile", "quantiles": (0.1, 0.9), "context_map_size": 0}, (700,)),
}


@pytest.mark.parametrize("sizes", [pytest.param([5], marks=pytest.mark.slow), [6, 3]])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_samples_are_learned_as_dense_ones(gln_numba, kind, sizes):
    options, shape = KINDS[kind]
    options = {"context_bias": 0.1, "weight_clipping": 0.1, "seed": 3, **options}
    dense, of_sparse, mixed = (gln_numba.GLN(sizes, 60, 60, **options) for _ in range(3))
    x, targets = SAMPLES.toarray(), np.random.default_rng(0).random(shape)
    given = [(x, x), (SAMPLES.tocsr(), SAMPLES.tocsc()), (SAMPLES, x)]
    models = [dense, of_sparse, mixed]
    expected, *found = (model.predict_online(*arrays, targets) for model, arrays in zip(models, given, strict=True))
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)
    assert abs(dense.get_state()["weights.1"]).max() == np.float32(0.1)
    for model in (of_sparse, mixed):
        assert_same_state(model, dense, atol=1e-4)
    for arrays in [*given, (x, SAMPLES)]:
        np.testing.assert_allclose(of_sparse.predict(*arrays), dense.predict(x, x), atol=1e-4)
    np.testing.assert_array_equal(of_sparse.contexts(SAMPLES), dense.contexts(x.astype(np.float32)))
    for one, other in zip(of_sparse.explain(*given[1]), of_sparse.explain(x, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_heads_whose_target_is_unknown_do_not_learn(gln_numba, unknown):
    dense, of_sparse = (gln_numba.GLN([3, 2], 60, 60, num_classes=4, seed=0) for _ in range(2))
    x, rng = SAMPLES.tocsc().astype(np.float32), np.random.default_rng(0)
    targets = np.where(rng.random((4, 700)) < 0.5, unknown, rng.random((4, 700))).astype(np.float32)
    dense.predict_arrays(x.toarray(), x.toarray(), targets)
    of_sparse.predict_arrays(x, x, targets)
    assert_same_state(of_sparse, dense, atol=1e-4)


def test_values_that_are_stored_twice_are_added(gln_numba):
    columns = sparse.csc_array((np.full(6, 0.5), [2, 0, 2, 1, 1, 0], [0, 3, 6]), (3, 2))
    model, stored = gln_numba.GLN([3], 3, 3, seed=0), columns.indices.copy()
    np.testing.assert_allclose(model.predict(columns, columns), model.predict(*2 * [columns.toarray()]), rtol=1e-6)
    np.testing.assert_array_equal(columns.indices, stored)  # the caller's array still has both
    assert model.predict(columns[:, :0], columns[:, :0]).shape == (0,)


def test_sparse_arrays_of_all_kinds_run_what_is_compiled(gln_numba):
    model, targets = gln_numba.GLN([3, 2], 60, 60, context_features=2), np.arange(700) % 2
    frozen = SAMPLES.tocsc()
    frozen.data.flags.writeable = frozen.indices.flags.writeable = frozen.indptr.flags.writeable = False
    integers = SAMPLES.astype(int).tocsr()
    integers.indices, integers.indptr = integers.indices.astype(np.int64), integers.indptr.astype(np.int64)
    for samples in (SAMPLES, frozen, integers, sparse.csc_matrix(SAMPLES)[:, :1]):
        model.predict_online(samples, samples, targets[: samples.shape[1]])
        model.contexts(samples)
    for function in (gln_numba.seen_values, gln_numba.learn_sparse, gln_numba.learn_block):
        assert len(function.signatures) == 1, function.signatures


def test_bad_sparse_samples_change_nothing(gln_numba):
    model, columns, targets = gln_numba.GLN([2], 60, 60, seed=0), SAMPLES.tocsc(), np.zeros(700)
    before = model.get_state()
    for number, expected in ((np.nan, "got 1 NaN of"), (np.inf, "to inf"), (1e39, "to 1e+39")):
        bad = columns.copy()
        bad.data[5] = number
        with pytest.raises(ValueError, match=rf"^inputs: expected .*numbers.*{re.escape(expected)}"):
            model.predict(bad, columns, targets)
    with pytest.raises(ValueError, match=r"^inputs: expected shape \(60, B\) or \(60,\), got shape \(700, 60\)"):
        model.predict(columns.T, columns.T, targets)
    with pytest.raises(ValueError, match=r"^context_inputs: expected shape \(60, 700\), got shape \(60, 9\)"):
        model.predict(columns, columns[:, :9], targets)
    for call in (lambda: model.predict(columns, columns, columns[:1]), lambda: model.fit_hyperplanes(columns)):
        with pytest.raises(ValueError, match=r"\(gln_numba also takes sparse inputs\) of .*, got csc_array"):
            call()
    assert_same_state(model, before)


def test_other_backends_say_that_they_take_no_sparse_samples(backend):
    if backend.__name__ != "gln_numba":
        model = backend.GLN([2], 60, 60, seed=0)
        for samples in (SAMPLES.tocsr(), sparse.csc_matrix(SAMPLES)):
            with pytest.raises(ValueError, match=r"^inputs: expected a dense array .*gln_numba .*, got cs"):
                model.predict(samples, samples, np.zeros(700))
        assert int(model.step) == 0


# ---- Estimators ------------------------------------------------------------------------------------------------------


def texts(samples: int, words: int = 1500) -> tuple[Any, np.ndarray]:
    """Word counts (samples, words), with few frequent words, and the topic of each text, one of three."""
    rng = np.random.default_rng(0)
    usual = 1 / np.arange(1, words + 1)
    topics = rng.gamma(1.0, size=(3, words)) * usual
    y = np.arange(samples) % 3
    drawn = [rng.multinomial(60, (usual + topic) / (usual + topic).sum()) for topic in topics[y]]
    return sparse.csr_array(np.array(drawn, float)), y


def test_wide_tables_are_the_same_to_every_backend_and_from_a_file(tmp_path):
    X, y = texts(90)
    models = [GLNClassifier(n_networks=2, backend=name, random_state=0) for name in ("auto", "numpy")]
    p, *others = (model.fit(X, y).predict_proba(X) for model in models)
    for model in models:
        assert model.n_iter_ == 11
        assert [network.config.layer_sizes for network in model.glns_] == [(1,)] * 2
        model.save(tmp_path / "model")
        others += [GLNClassifier.load(tmp_path / "model").predict_proba(x) for x in (X, X.tocsc(), X.toarray())]
        contributions, constant = model.explain(X[:5])
        assert contributions.shape == (5, 3, 1500)
        np.testing.assert_allclose(contributions.sum(axis=2) + constant, model.decision_function(X[:5]), atol=1e-4)
        assert not contributions[:, :, X[:5].toarray().max(axis=0) == 0].any()
    np.testing.assert_allclose(others, [p] * len(others), atol=1e-4)


def test_texts_are_classified_as_well_as_by_a_linear_model():
    X, y = texts(900)
    linear, model = CalibratedClassifierCV(LinearSVC()).fit(X[:600], y[:600]), GLNClassifier(random_state=0)
    p = model.fit(X[:600], y[:600]).predict_proba(X[600:])
    assert log_loss(y[600:], p) < log_loss(y[600:], linear.predict_proba(X[600:]))
    assert (p.argmax(axis=1) == y[600:]).mean() > linear.score(X[600:], y[600:]) - 0.02
    streamed = GLNClassifier(random_state=0).partial_fit(X[:600], y[:600], classes=[0, 1, 2])
    assert log_loss(y[600:], streamed.predict_proba(X[600:])) < 2.5 * log_loss(y[600:], p)


def test_wide_tables_of_many_classes():
    X, _ = texts(400)
    y = np.arange(400) % 50
    X = sparse.hstack([X, sparse.csr_array((np.ones(400), (np.arange(400), y)))]).tocsr()
    assert GLNClassifier(random_state=0).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.5
    streamed = GLNClassifier(random_state=0).partial_fit(X[:300], y[:300], classes=range(50))
    assert streamed.score(X[300:], y[300:]) > 0.3


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_wide_streams_in_batches(backend):
    X, y = texts(40)
    X.data[3] = np.nan  # counts as 0
    whole, batched = (GLNClassifier(random_state=0, backend=backend) for _ in range(2))
    whole.partial_fit(sparse.csr_array(np.nan_to_num(X.toarray())), y, classes=[0, 1, 2])
    for batch in np.split(np.arange(40), [1, 2, 20]):
        batched.partial_fit(X[batch], y[batch], classes=[0, 1, 2])
    np.testing.assert_allclose(batched.predict_proba(X), whole.predict_proba(X), atol=1e-5)
    before = batched.standardizer_.get_state()
    X.data[3] = np.inf
    for call in (batched.partial_fit, GLNClassifier().fit):
        with pytest.raises(ValueError, match="infinity"):
            call(X, y)
    assert_same_state(batched.standardizer_.get_state(), before)


def test_wide_tables_of_numbers():
    X, _ = texts(300)
    weights = np.random.default_rng(1).normal(size=(1500, 2))
    y = X @ weights
    model = GLNRegressor(quantiles=(0.1, 0.9), n_networks=2, random_state=0).fit(X[:250], y[:250])
    assert model.score(X[250:], y[250:]) > 0.3
    low, high = model.predict_quantiles(X[250:]).transpose(2, 0, 1)
    assert 0.65 < ((low < y[250:]) & (y[250:] < high)).mean() < 0.95


@pytest.mark.slow
def test_memory_does_not_grow_with_zeros():
    X = sparse.random(200, 100_000, 1e-3, "csr", random_state=0)  # 160 MB as a dense array
    y = np.arange(200) % 2
    tracemalloc.start()
    model = GLNClassifier(random_state=0).fit(X, y)
    model.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_a_single_wide_row():
    X: Any = sparse.csr_array(mostly_zero((60, 1200), 0.02))
    y = np.arange(60) % 2
    fitted = GLNClassifier(random_state=0).fit(X, y)
    streamed = GLNClassifier(n_networks=2, random_state=0)
    for i in range(60):
        streamed.partial_fit(X[i : i + 1], y[i : i + 1], classes=[0, 1])
    for model in (fitted, streamed):
        np.testing.assert_allclose(model.predict_proba(X[5:6]), model.predict_proba(X[:10])[5:6], atol=1e-5)


# ---- Scaling ---------------------------------------------------------------------------------------------------------


def test_sparse_scaler():
    x = sparse.csc_array([[4.0, 0, 0, 0], [0, 1, 1, np.nan], [0, 0, 0, 0]])
    scaler = SparseScaler(3)
    scaler.fit(x)
    typical = 4 ** (1 / 3)  # the geometric mean of 4, 1 and 1
    z = scaler.transform(x).toarray()
    np.testing.assert_allclose(z[0], [0.25 * 4 / np.sqrt(2 * typical), 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(z[1, 1:3], 0.25 / np.sqrt(np.sqrt(0.5) * typical), rtol=1e-6)
    assert not z[2].any()
    assert not scaler.transform(np.array([[0.0], [0], [7]])).toarray().any()  # never seen before
    scaler.fit(1e-30 * x)
    np.testing.assert_allclose(scaler.transform(np.array([[3e38], [0], [0]])).toarray()[0], np.finfo(np.float32).max)


def test_sparse_scaler_of_streams():
    samples = SAMPLES.tocsc()
    whole, batched, table = SparseScaler(60), SparseScaler(40), SparseScaler(60)
    z = whole.learn(samples)
    np.testing.assert_allclose(batched.learn(samples[:40, :0]).toarray(), np.zeros((40, 0)))
    batched.grow(60)
    found = sparse.hstack([batched.learn(samples[:, :300]), batched.learn(samples[:, 300:])])
    np.testing.assert_allclose(found.toarray(), z.toarray(), rtol=1e-5)
    for b in (0, 5, 699):
        table.fit(samples[:, : b + 1])
        expected = table.transform(samples[:, [b]]).toarray()
        np.testing.assert_allclose(z[:, [b]].toarray(), expected, rtol=1e-5)
    assert_same_state(table, whole, rtol=1e-9)
    table.fit(samples, np.array([3, 0, 3]))
    batched.fit(samples[:, [0, 3, 3]])
    assert_same_state(table, batched, rtol=1e-9)
    before = whole.get_state()
    bad = samples.copy()
    bad.data[-1] = np.inf
    for call in (whole.fit, whole.learn, whole.transform):
        with pytest.raises(ValueError, match="infinity"):
            call(bad)
        with pytest.raises(ValueError, match=r"expected numbers of shape \(60, B\), got float64 of shape \(700, 60\)"):
            call(samples.T)
    for state in ({}, {**before, "squares": np.zeros(3)}, {**before, "count": -1.0}, {**before, "logs": np.nan}):
        with pytest.raises(ValueError, match="state: expected"):
            whole.set_state(state)
    assert_same_state(whole, before)
    twin = SparseScaler(60)
    twin.set_state(before)
    assert_same_state(twin, whole)

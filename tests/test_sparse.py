"""Sparse samples: Numba's networks learn from them what they learn from dense ones, and estimators keep them sparse."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import assert_same_state
from scipy import sparse

SAMPLES: Any = sparse.random_array((60, 700), density=0.1, rng=0, data_sampler=np.random.default_rng(1).normal) * 4
KINDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # arguments of a network, and the shape of its targets
    "two classes": ({"context_features": 3}, (700,)),
    "classes": ({"num_classes": 4, "context_features": 3, "bias": False}, (4, 700)),
    "means": ({"loss": "squared_error", "num_outputs": 2, "normalize": False, "learning_rate": 0.01}, (2, 700)),
    "quantiles": ({"loss": "quantile", "quantiles": (0.1, 0.9), "context_map_size": 0}, (700,)),
}


@pytest.fixture
def gln_numba() -> ModuleType:
    return load_backend("numba")


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("sizes", [[5], [6, 3]])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_samples_are_learned_as_dense_ones(gln_numba, kind, sizes, batch_size):
    options, shape = KINDS[kind]
    options = {"context_bias": 0.1, "weight_clipping": 0.1, "seed": 3, **options}
    dense, of_sparse, mixed = (gln_numba.GLN(sizes, 60, 60, **options) for _ in range(3))
    x, targets = SAMPLES.toarray(), np.random.default_rng(0).random(shape)
    given = [(x, x), (SAMPLES.tocsr(), SAMPLES.tocsc()), (SAMPLES, x)]
    models = [dense, of_sparse, mixed]
    expected, *found = (
        model.predict_online(*each, targets, batch_size) for model, each in zip(models, given, strict=True)
    )
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)
    assert abs(dense.get_state()["weights.1"]).max() == np.float32(0.1)
    for model in (of_sparse, mixed):
        assert_same_state(model, dense, atol=1e-4)
    for each in [*given, (x, SAMPLES)]:
        np.testing.assert_allclose(of_sparse.predict(*each), dense.predict(x, x), atol=1e-4)
    np.testing.assert_array_equal(of_sparse.contexts(SAMPLES), dense.contexts(x.astype(np.float32)))
    for one, other in zip(of_sparse.explain(*given[1]), of_sparse.explain(x, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_values_that_are_stored_twice_are_added(gln_numba):
    columns = sparse.csc_array((np.full(6, 0.5), [2, 0, 2, 1, 1, 0], [0, 3, 6]), (3, 2))
    model, stored = gln_numba.GLN([3], 3, 3, seed=0), columns.indices.copy()
    np.testing.assert_allclose(model.predict(columns, columns), model.predict(*2 * [columns.toarray()]), rtol=1e-6)
    np.testing.assert_array_equal(columns.indices, stored)  # in the caller's array they are still apart
    assert model.predict(columns[:, :0], columns[:, :0]).shape == (0,)


def test_bad_sparse_samples_change_nothing(gln_numba):
    model, columns, targets = gln_numba.GLN([2], 60, 60, seed=0), SAMPLES.tocsc(), np.zeros(700)
    before = model.get_state()
    for number, expected in ((np.nan, "got numbers from nan"), (np.inf, "to inf"), (1e39, "to 1e+39")):
        bad = columns.copy()
        bad.data[5] = number
        with pytest.raises(ValueError, match=rf"^inputs: expected numbers.*{re.escape(expected)}"):
            model.predict(bad, columns, targets)
    with pytest.raises(ValueError, match=r"^inputs: expected shape \(60, B\) or \(60,\), got shape \(700, 60\)"):
        model.predict(columns.T, columns.T, targets)
    with pytest.raises(ValueError, match=r"^context_inputs: expected shape \(60, 700\), got shape \(60, 9\)"):
        model.predict(columns, columns[:, :9], targets)
    for call in (lambda: model.predict(columns, columns, columns[:1]), lambda: model.fit_hyperplanes(columns)):
        with pytest.raises(ValueError, match="which only as inputs of gln_numba may be sparse, got csc_array of dtype"):
            call()
    assert_same_state(model, before)


def test_other_backends_say_that_they_take_no_sparse_samples(backend):
    if backend.__name__ != "gln_numba":
        model = backend.GLN([2], 60, 60, seed=0)
        for samples in (SAMPLES.tocsr(), sparse.csc_matrix(SAMPLES)):
            with pytest.raises(ValueError, match=r"^inputs: expected an array .* gln_numba may be sparse, got cs"):
                model.predict(samples, samples, np.zeros(700))
        assert int(model.step) == 0

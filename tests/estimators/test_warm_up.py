"""`python -m gln.warm_up`: a new process compiles nothing afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import ROOT, run_python

from gln import warm_up

NOTHING_NEW = """
import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_diabetes, load_wine
import gln_numba
from gln.bandits import GLNBandit
from gln.engine.base_models import hashed_linear, online
from gln.engine.ensemble import combination, johnson_su
from gln.engine.jit import compiled
from gln.engine.streaming import compiled_step
from gln.engine.model import targets
from gln.engine.networks import gate_counts, tree_halfspaces
from gln.engine.preprocessing import basis_expansion, scaling, target_encoding
from gln import river
from gln.sklearn import GLNClassifier, GLNRegressor

X, y = load_wine(return_X_y=True)
GLNClassifier(n_epochs=1).fit(X, y).predict_proba(X)
model = GLNClassifier()
for i in range(0, 9, 3):
    model.partial_fit(X[i::60], y[i::60], classes=[0, 1, 2]).partial_fit(X[i : i + 1], y[i : i + 1]).predict(X)
words = csr_array(np.random.default_rng(0).random((90, 1200)) > 0.99).astype(float)
GLNClassifier(n_epochs=1).fit(words, y[:90]).predict(words)
X, y = load_diabetes(return_X_y=True)
GLNRegressor(n_epochs=1, density=True).fit(X, y).predict(X)
model = GLNRegressor(density=True).partial_fit(X, y)
model.partial_fit(X[:1], y[:1]).predict(X[:1])
GLNRegressor(quantiles=(0.1, 0.5, 0.9)).partial_fit(X, y).predict(X)
X[:, 0] = np.arange(len(X)) % 20
model = GLNClassifier(categorical_features=[0]).partial_fit(X, y > 150, [False, True], y / 100)
model.partial_fit(X[:1], y[:1] > 150).predict(X[:1])
X, y = load_wine(return_X_y=True, as_frame=True)
for some in (X, X.assign(name=y.astype(str))):
    river.GLNClassifier().predict_learn_many(some, y.tolist())
    river.GLNRegressor(quantiles=(0.1, 0.9)).predict_learn_many(some, y.tolist())
river.GLNRegressor().predict_learn_many([{"a": 1.0, "b": "x", str(place): 1} for place in range(50)], range(50))
river.GLNRegressor().predict_learn_many([{"a": 1.0, "b": "x"}] * 20, range(20))
bandit, context = GLNBandit(["a", "b"]), {f"x{i}": i for i in range(6)}
for arm in "abab":
    bandit.decide(context)
    bandit.learn(context, arm, 1.0)
    context[arm] = 1  # a word
loops = [gate_counts.count_rows, gate_counts.add_counts, basis_expansion.fill_distances]
loops += [basis_expansion.fill_expansions]
loops += [combination.add_linear_predictions, combination.mix, johnson_su.follow, johnson_su.follow_shape]
loops += [targets.at_limits_of]
loops += [scaling.standardise]
loops += [online.predict_base_models, hashed_linear.predict_linear, hashed_linear.terms_of, target_encoding.encode]
loops += [getattr(tree_halfspaces, name) for name in ("sides_of", "project", "gains_of_candidates", "best_gap")]
functions = [compiled_step.run, *(compiled(loop) for loop in loops)]
functions += [each for each in vars(gln_numba).values() if hasattr(each, "stats")]
print({each.__name__: sum(each.stats.cache_misses.values()) for each in functions if each.stats.cache_misses})
"""


@pytest.mark.slow
def test_a_new_process_compiles_nothing(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    # Processes that compile at once lose one another's entries. A new folder, as in `.ci/run`, keeps what is compiled.
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ROOT))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path if folder.exists() else folder))
    said = run_python("import sys; from gln import warm_up; sys.exit(warm_up.main())").splitlines()
    assert [line.split(":")[0] for line in said[:-1]] == ["networks", "tables", "streams", "decisions", "lines"]
    assert "s in total; the compiled code is in" in said[-1]
    assert run_python(NOTHING_NEW).strip() == "{}"


def test_without_numba(monkeypatch, capsys):
    def missing() -> None:
        raise ImportError("gln_numba needs Numba: pip install numba")

    monkeypatch.setattr(warm_up, "warm_up", missing)
    assert warm_up.main() == 2
    assert capsys.readouterr() == ("", "gln.warm_up: gln_numba needs Numba: pip install numba\n")

"""`Config`, the record of a network's arguments; and the methods for code that already has arrays."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import joblib
import numpy as np
import pytest
from helpers import assert_same_state, to_numpy

from gln.engine.networks.protocol import predict_all

KINDS: list[dict[str, Any]] = [
    {},
    {"num_classes": 3, "pred_clipping": 0.01, "bias": False},
    {"loss": "squared_error", "num_outputs": 2, "value_clipping": 3},
    {"loss": "quantile", "quantiles": [0.1, 0.9], "weight_clipping": 2, "seed": np.int64(1)},
    {"loss": "variance", "value_clipping": 80},
    {"context_features": np.int64(2)},
]


def small(backend: Any, **kind: Any) -> Any:
    return backend.GLN([3, 2], 5, 4, **kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_config_survives_json(backend, kind):
    config = small(backend, **kind).config
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert backend.Config(**values) == config == backend.GLN(**values).config
    assert dataclasses.asdict(backend.Config(**values)) == dataclasses.asdict(config)  # `==` ignores some fields
    assert hash(backend.Config(**values)) == hash(config)
    assert values.pop("context_features") == kind.get("context_features")
    assert backend.Config(**values).context_features is None  # as in files of older versions


def test_configs_are_equal_where_networks_are_of_one_kind(backend):
    config = small(backend, seed=1, context_bias=1.0, context_features=2).config
    assert config == small(backend, seed=2).config  # these only affect the initial state
    for kind in ({"num_classes": 3}, {"normalize": False}, {"weight_clipping": 2.0}, {"loss": "squared_error"}):
        assert config != small(backend, **kind).config, kind


def test_nothing_but_the_rate_can_be_set(backend):
    model = small(backend)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.bias = False
    model.learning_rate = 0.5
    assert model.learning_rate == 0.5


def test_every_loss_has_a_record(backend):
    for loss, record in backend.LOSSES.items():
        given = {"num_classes": 3, "num_outputs": 2, "quantiles": (0.2, 0.4)}
        model = small(backend, loss=loss, **{record.heads: given[record.heads]})
        assert model.config.record is record
        assert model.config.num_heads == (3 if record.heads == "num_classes" else 2)
        for name in given.keys() - {record.heads} - ({"num_outputs"} if loss == "log_loss" else set()):
            with pytest.raises(ValueError, match=f"{name}: expected .*, because {loss} does not use it"):
                small(backend, loss=loss, **{record.heads: given[record.heads]}, **{name: given[name]})


def test_the_log_loss_has_classes_or_several_labels(backend):
    model = small(backend, num_outputs=3)
    assert (model.config.num_heads, model.config.record.heads, model.config.record.link) == (3, "num_outputs", "logit")
    with pytest.raises(ValueError, match="num_classes: expected 2, because log_loss does not use it, got 3"):
        small(backend, num_outputs=2, num_classes=3)


def arrays(*rows: int) -> list[np.ndarray]:
    return [np.random.default_rng(rows).random((n, 8) if n else 8, np.float32) for n in rows]


@pytest.mark.compiles
def test_arrays_give_what_the_checked_calls_give(backend):
    checked, plain = (small(backend, num_classes=3, seed=1, learning_rate=0.3) for _ in range(2))
    base, context, targets = arrays(5, 4, 3)
    expected = to_numpy(checked.predict_online(base, context, targets))
    output = plain.predict_arrays(base, context, targets)
    assert type(output) is np.ndarray
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(plain.predict_arrays(base, context), to_numpy(checked.predict(base, context)))
    assert int(plain.step) == 8
    given = plain.predict_arrays(base, context, targets, np.zeros(8, np.float32))
    np.testing.assert_array_equal(plain.predict_arrays(base, context), given)  # rates of 0 change nothing


@pytest.mark.compiles
@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("networks", [2, 3])
def test_several_networks_predict_and_learn_as_each_does(backend, networks, count):
    kind: dict[str, Any] = {"num_classes": 3, "learning_rate": 0.3}
    together, alone = ([small(backend, seed=i, **kind) for i in range(networks)] for _ in range(2))
    base, context, targets = (array[:, :count] for array in arrays(5, 4, 3))
    rates = np.random.default_rng(0).random((networks, count), np.float32)
    for given in ((targets, list(rates)), (targets,), ()):
        output = predict_all(together, base, context, *given)
        each = [(targets, rate) for rate in rates] if len(given) == 2 else [given] * networks
        expected = [one.predict_arrays(base, context, *own) for one, own in zip(alone, each, strict=True)]
        np.testing.assert_array_equal(output, expected)
    for one, other in zip(together, alone, strict=True):
        assert_same_state(one, other)
    assert int(together[0].step) == 2 * count


@pytest.mark.compiles
def test_a_weight_is_so_many_steps_of_a_sample(backend):
    """With Numba in calls of about a thousand steps, so that memory is bounded."""
    most = 150.0 if backend.__name__ == "gln_numba" else 3.0
    weights = np.tile([most, 0.5, most, 2.5], 6)
    networks = [small(backend, num_classes=3, seed=i) for i in range(2)]
    alone = [small(backend, num_classes=3, seed=i) for i in range(2)]
    base, context, targets = (np.tile(array, 3) for array in arrays(5, 4, 3))
    rates = np.random.default_rng(0).random((2, 24), np.float32)
    output = predict_all(networks, base, context, targets, rates, weights=weights)
    for b, steps in enumerate(np.tile([min(most, 100), 1, min(most, 100), 3], 6).astype(int).tolist()):
        row = slice(b, b + 1)
        for one, rate, found in zip(alone, rates, output, strict=True):
            learned = base[:, row], context[:, row], targets[:, row], rate[row]
            expected, *_ = [one.predict_arrays(*learned) for _ in range(steps)]
            np.testing.assert_allclose(found[:, row], expected, rtol=1e-5)
    for one, other in zip(networks, alone, strict=True):
        assert int(one.step) == 24
        other.step = one.step
        assert_same_state(one, other, rtol=1e-4, atol=1e-6)


def test_several_networks_refuse_arrays_of_another_shape(backend):
    base, context, targets = (array[:, :1] for array in arrays(5, 4, 3))
    pair = [small(backend, num_classes=3, seed=i) for i in range(2)]
    with pytest.raises(ValueError, match=r"targets: expected float32 of shape \(3, 1\), got float32 of shape \(2, 1\)"):
        predict_all(pair, base, context, targets[:2])
    with pytest.raises(ValueError, match="context: expected float32 of shape"):
        predict_all([pair[0], backend.GLN([3, 2], 5, 3, num_classes=3)], base, context, targets)
    assert int(pair[1].step) == 0


def test_only_numba_takes_sparse_arrays(backend):
    assert backend.GLN.takes_sparse == (backend.__name__ == "gln_numba")


@pytest.mark.parametrize(
    ("rows", "name"),
    [((5, 5), "context"), ((4, 4), "base"), ((5, 4, 2), "targets"), ((5, 4, 3, 1), "rates")],
    ids=str,
)
def test_arrays_of_another_shape_are_refused(backend, rows, name):
    model = small(backend, num_classes=3, seed=1)
    with pytest.raises(ValueError, match=f"^{name}: expected float32 of shape"):
        model.predict_arrays(*arrays(*rows))
    base, context, targets, rates = arrays(5, 4, 3, 0)
    doubles = base.astype(np.float64)  # Numba would compile everything again for these
    bad = {"context": (base[:, :7], context), "targets": (base, context, targets[:, :7])}
    for name, given in {**bad, "rates": (base, context, targets, rates[:7]), "base": (doubles, context)}.items():
        with pytest.raises(ValueError, match=f"^{name}: expected float32 of shape"):
            model.predict_arrays(*given)
    assert int(model.step) == 0


def test_arguments_are_prepared_as_arrays(backend):
    model = small(backend, num_classes=3, seed=1)
    base, context, targets, one = model.prepare(np.ones(5), np.ones(4), 2)
    assert one
    assert (base.shape, context.shape, targets.tolist()) == ((5, 1), (4, 1), [[0], [0], [1]])
    with pytest.raises(ValueError, match="inputs"):
        model.prepare(np.full(5, np.nan), np.ones(4))
    contexts = model.contexts(context)
    assert contexts.shape == (1, 5)
    assert (contexts >= 0).all()
    assert (contexts < 16).all()


def test_a_state_without_copies_equals_the_state(backend):
    model = small(backend, num_classes=3, seed=1)
    copied = model.get_state()
    for name, array in model.get_state(copy=False).items():
        np.testing.assert_array_equal(array, copied[name], err_msg=name)


@pytest.mark.compiles
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [{}, {"context_features": 2}, {"loss": "quantile", "quantiles": (0.1, 0.9)}], ids=str)
def test_a_network_read_from_a_memory_map_learns(backend, kind, tmp_path):
    """joblib maps large arrays read-only in its processes; an unpickled network owns its arrays."""
    model = small(backend, seed=1, **kind)
    base, context = arrays(5, 4)
    targets = np.repeat(base[:1], model.config.num_heads, axis=0)
    model.predict_arrays(base, context, targets)
    joblib.dump(model, tmp_path / "model")
    twin = joblib.load(tmp_path / "model", mmap_mode="r")
    for given in ((), (targets,)):
        np.testing.assert_array_equal(*(each.predict_arrays(base, context, *given) for each in (twin, model)))
    assert_same_state(twin, model)
    assert int(joblib.load(tmp_path / "model").step) == 8

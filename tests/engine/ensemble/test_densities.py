"""Densities: Johnson's SU, and how well regressors learn the noise of each sample, in tables and in streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state
from scipy import stats
from sklearn.datasets import load_diabetes

from gln.engine.ensemble.johnson_su import EXPECTED, KNOTS, STEP, JohnsonSU, fit_density, follow, follow_shape
from gln.sklearn import GLNRegressor

DIABETES = load_diabetes(return_X_y=True)
X = np.random.default_rng(5).normal(size=(4000, 4))
STD = np.exp(0.8 * X[:, 1] - 1)
MEAN = 3 * X[:, 0]
NORMAL = MEAN + STD * np.random.default_rng(6).normal(size=4000)
NOISE = np.random.default_rng(7).lognormal(0, 0.5, 4000)
SKEWED = MEAN + STD * (NOISE - np.exp(0.125)) * 1.66  # with mean and deviation of about 0 and 1
TRAIN, TEST = slice(0, 3000), slice(3000, 4000)
LEVELS = (0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.98)


@pytest.fixture(scope="module")
def normal() -> GLNRegressor:
    """Trained once for all tests, which must not train it further."""
    return GLNRegressor(density=True, random_state=0).fit(X[TRAIN], NORMAL[TRAIN])


# ---- Johnson's SU ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skew", "tails"), [(0.0, 0.4), (-1.5, 0.3), (2.0, 0.8)])
def test_the_distribution_is_johnsons_of_mean_0_and_variance_1(skew, tails):
    plain = stats.johnsonsu(skew, 1 / tails)
    scale = 1 / plain.std()
    theirs = stats.johnsonsu(skew, 1 / tails, loc=-plain.mean() * scale, scale=scale)
    ours = JohnsonSU.plain(np.array([skew]), np.array([tails]))
    np.testing.assert_allclose(ours.quantiles(LEVELS)[0], theirs.ppf(LEVELS), rtol=1e-9, atol=1e-9)
    e = np.linspace(-5, 5, 21)
    np.testing.assert_allclose(ours.log_density(e[None])[0], theirs.logpdf(e), rtol=1e-9)
    drawn = ours.transform(np.random.default_rng(0).normal(size=(1, 200000)))
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.05


def test_without_tails_it_is_normal():
    shape, e = JohnsonSU.normal(2), np.linspace(-5, 5, 21)
    np.testing.assert_allclose(shape.quantiles(LEVELS), np.tile(stats.norm.ppf(LEVELS), (2, 1)), atol=1e-5)
    np.testing.assert_allclose(shape.log_density(np.tile(e, (2, 1)))[1], stats.norm.logpdf(e), atol=1e-3)


def test_weights_and_shape_are_found():
    rng, shape = np.random.default_rng(0), JohnsonSU.plain(np.array([-1.0]), np.array([0.4]))
    logs = rng.normal(size=(2, 20000))
    deviations = np.exp((0.7 * logs[0] + 0.2 * logs[1] - 1) / 2) * shape.transform(rng.normal(size=(1, 20000)))[0]
    weights, skew, tails = fit_density(logs, deviations, np.ones(20000))
    np.testing.assert_allclose(weights, [0.7, 0.2, -1], atol=0.05)
    assert abs(skew + 1) < 0.15
    assert abs(tails - 0.4) < 0.05
    twice = fit_density(logs[:, :500], deviations[:500], np.full(500, 2.0))
    repeated = fit_density(logs[:, :500].repeat(2, axis=1), deviations[:500].repeat(2), np.ones(1000))
    np.testing.assert_allclose(twice[0], repeated[0], atol=1e-3)
    for number, sample in enumerate(fit_density(logs[:, :0], deviations[:0], np.ones(0))[0]):  # nothing is known
        assert sample == pytest.approx((0.5, 0.5, 0)[number], abs=1e-3)


def test_recalibrated_it_is_one_distribution_of_the_levels_that_were_left_out():
    rng = np.random.default_rng(0)
    e = np.where(rng.random(4000) < 0.3, -1.5, 0.6) + 0.2 * rng.normal(size=4000)  # two modes
    plain = JohnsonSU.normal(1)
    levels = plain.cdf(e[None])
    shape = plain.recalibrated(levels, levels, np.ones(4000))
    new = np.where(rng.random(4000) < 0.3, -1.5, 0.6) + 0.2 * rng.normal(size=4000)
    np.testing.assert_allclose((new[:, None] < shape.quantiles(LEVELS)).mean(axis=0), LEVELS, atol=0.03)
    np.testing.assert_allclose(shape.cdf(shape.quantiles(LEVELS))[0], LEVELS, rtol=1e-9)
    grid = np.linspace(-9, 9, 200_001)
    density = np.exp(shape.log_density(grid[None])[0])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)
    assert shape.log_density(new[None]).mean() > plain.log_density(new[None]).mean() + 0.3
    drawn = shape.transform(rng.normal(size=(1, 4000)))[0]
    assert stats.ks_2samp(drawn, new).statistic < 0.06
    few = plain.recalibrated(levels[:, :2], levels[:, :2], np.ones(2))  # which tell nothing
    np.testing.assert_allclose(few.probits, plain.probits, atol=1e-6)
    right = stats.norm.cdf(rng.normal(size=(1, 500)))
    np.testing.assert_allclose(plain.recalibrated(right, right, np.ones(500)).probits, plain.probits, atol=0.1)
    is_zero = right < 0.6  # at the limit
    limited = plain.recalibrated(np.where(is_zero, 0, 0.6), np.where(is_zero, 0.6, 1), np.ones(500))
    np.testing.assert_allclose(limited.probits, plain.probits, atol=0.1)


# ---- Tables ----------------------------------------------------------------------------------------------------------


def held(model: GLNRegressor, y: np.ndarray, rows: slice = TEST) -> float:
    low, high = model.predict_quantiles(X[rows]).T
    return ((low <= y[rows]) & (y[rows] <= high)).mean()


def test_the_noise_of_each_sample_is_learned(normal):
    mean, std = normal.predict(X[TEST], return_std=True)
    np.testing.assert_array_equal(mean, normal.predict(X[TEST]))
    assert np.corrcoef(np.log(std), np.log(STD[TEST]))[0, 1] > 0.9
    assert abs(held(normal, NORMAL) - 0.9) < 0.03
    true = stats.norm.logpdf(NORMAL[TEST], MEAN[TEST], STD[TEST]).mean()
    one_spread = stats.norm.logpdf(NORMAL[TEST], mean, (NORMAL[TEST] - mean).std()).mean()
    found = normal.log_density(X[TEST], NORMAL[TEST]).mean()
    assert one_spread + 0.25 < found < true


def test_skewed_noise_is_learned_in_the_units_of_the_target():
    model = GLNRegressor(density=True, random_state=0).fit(X[TRAIN], SKEWED[TRAIN])
    mean, std = model.predict(X[TEST], return_std=True)
    as_normal = stats.norm.logpdf(SKEWED[TEST], mean, std).mean()
    assert model.log_density(X[TEST], SKEWED[TEST]).mean() > as_normal + 0.1
    below = [(SKEWED[TEST] < q).mean() for q in model.predict_quantiles(X[TEST], LEVELS).T]
    np.testing.assert_allclose(below, LEVELS, atol=0.04)
    drawn = model.sample(X[TEST], 500, random_state=0)
    np.testing.assert_allclose(((drawn - mean[:, None]) / std[:, None]).std(), 1, atol=0.05)
    np.testing.assert_allclose(((drawn - mean[:, None]) / std[:, None]).mean(), 0, atol=0.01)
    assert (drawn < np.median(drawn, axis=1, keepdims=True)).mean() == 0.5
    assert (drawn < mean[:, None]).mean() > 0.53


def test_quantiles_densities_and_samples_are_of_one_distribution(normal):
    levels = np.linspace(0.001, 0.999, 2001)
    quantiles = normal.predict_quantiles(X[:3], levels)
    middles = (quantiles[:, 1:] + quantiles[:, :-1]) / 2
    density = np.exp([normal.log_density(X[:3], column) for column in middles.T]).T
    np.testing.assert_allclose((density * np.diff(quantiles)).sum(axis=1), 0.998, atol=1e-3)
    np.testing.assert_array_equal(
        normal.predict_quantiles(X[:3], (0.9, 0.1)), normal.predict_quantiles(X[:3], [0.1, 0.9])
    )
    drawn = normal.sample(X[:3], 4000, random_state=1)
    np.testing.assert_array_equal(drawn, normal.sample(X[:3], 4000, random_state=1))
    np.testing.assert_allclose(
        (drawn[:, :, None] < quantiles[:, None, ::400]).mean(axis=1), levels[::400] * np.ones((3, 1)), atol=0.03
    )


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_quantiles_are_those_of_the_density(how):
    data = DIABETES[0][:300], DIABETES[1][:300]
    arguments: dict[str, Any] = {"n_networks": 4, "random_state": 0}
    levels = GLNRegressor((4,), quantiles=(0.9, 0.1), **arguments)
    density = GLNRegressor((4,), density=True, **arguments)
    for model in (levels, density):
        getattr(model, how)(*data)
    np.testing.assert_array_equal(levels.predict(DIABETES[0]), density.predict(DIABETES[0]))
    found = levels.predict_quantiles(DIABETES[0])
    np.testing.assert_array_equal(found, density.predict_quantiles(DIABETES[0], (0.1, 0.9)))
    assert (found[:, 0] < found[:, 1]).all()


def test_several_targets():
    y = np.stack([NORMAL, SKEWED**2], axis=1)[:600]
    model = GLNRegressor(density=True, random_state=0).fit(X[:600], y)
    mean, std = model.predict(X[:5], return_std=True)
    assert mean.shape == std.shape == model.log_density(X[:5], y[:5]).shape == (5, 2)
    assert model.predict_quantiles(X[:5], LEVELS).shape == (5, 2, 7)
    assert model.sample(X[:5], 3).shape == (5, 2, 3)
    one = GLNRegressor(density=True, random_state=0).fit(X[:600], y[:, 1])
    # Targets share halfspaces and pairs of features, and gain as much over a density that is the same for all as alone.
    new, y = X[600:], np.stack([NORMAL, SKEWED**2], axis=1)[600:]
    same = stats.norm(y[:, 1].mean(), y[:, 1].std()).logpdf(y[:, 1]).mean()
    alone, both = one.log_density(new, y[:, 1]).mean(), model.log_density(new, y)[:, 1].mean()
    assert both - same > 0.9 * (alone - same) > 0


@pytest.mark.parametrize("count", [1, 2, 9, 30])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_small_tables(count, spread):
    y = 5 + spread * NORMAL[:count]
    model = GLNRegressor(density=True, random_state=0).fit(X[:count], y)
    quantiles = model.predict_quantiles(X[:100])
    assert np.isfinite(quantiles).all()
    assert (quantiles[:, 0] <= quantiles[:, 1]).all()
    assert np.isfinite(model.log_density(X[:count], y)).all()


@pytest.mark.parametrize("networks", [1, pytest.param(3, marks=pytest.mark.slow), 4])
def test_few_deviations_do_not_make_narrow_intervals(networks):
    """Few networks leave out few samples: here one or two decide the width."""
    coverages, scores = [], []
    for seed in range(8):
        rows = slice(40 * seed, 40 * seed + 40)
        model = GLNRegressor((4, 2), density=True, n_networks=networks, random_state=seed).fit(X[rows], NORMAL[rows])
        coverages.append(held(model, NORMAL))
        scores.append(model.log_density(X[TEST], NORMAL[TEST]).mean())
    assert min(coverages) > 0.65
    assert np.median(scores) > stats.norm(NORMAL.mean(), NORMAL.std()).logpdf(NORMAL[TEST]).mean()


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e30])
def test_units_make_no_difference(unit):
    model, scaled = (GLNRegressor((4,), density=True, n_networks=2, random_state=0) for _ in range(2))
    model.fit(X[:200], NORMAL[:200])
    scaled.fit(X[:200], unit * NORMAL[:200])
    np.testing.assert_allclose(scaled.predict_quantiles(X[:50]) / unit, model.predict_quantiles(X[:50]), rtol=1e-2)
    expected = model.log_density(X[:50], NORMAL[:50]) - np.log(unit)
    np.testing.assert_allclose(scaled.log_density(X[:50], unit * NORMAL[:50]), expected, rtol=1e-2)


def test_missing_densities_and_bad_arguments_raise_errors(normal):
    plain = GLNRegressor((2,), random_state=0).fit(X[:50], NORMAL[:50])
    calls: dict[str, Any] = {
        "return_std": lambda: plain.predict(X[:2], return_std=True),
        "log_density": lambda: plain.log_density(X[:2], NORMAL[:2]),
        "sample": lambda: plain.sample(X[:2]),
        "levels": lambda: plain.predict_quantiles(X[:2]),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"{name}: expected density=True or quantiles when the model"):
            call()
    for levels in ((0, 0.5), (1,), (np.nan,), 0.5, ((0.1,),), "all", ()):
        with pytest.raises(ValueError, match=r"^levels: expected a sequence of numbers in \(0, 1\), got "):
            normal.predict_quantiles(X[:2], levels)
    for y in (NORMAL[:3], NORMAL[:2, None], [np.nan, 0]):
        with pytest.raises(ValueError, match=r"^(y: expected shape|Input y contains NaN)"):
            normal.log_density(X[:2], y)
    with pytest.raises(ValueError, match="Input y contains infinity or a value too large"):
        normal.log_density(X[:2], [1e300, 0])
    for n in (0, -1, True, 0.5):
        with pytest.raises(ValueError, match="n: expected an integer of at least 1, got "):
            normal.sample(X[:2], n)
    with pytest.raises(ValueError, match="density: expected True or False, got 'yes'"):
        GLNRegressor(density="yes").fit(X[:50], NORMAL[:50])  # type: ignore[arg-type]


@pytest.mark.parametrize("of_table", [True, False])
def test_predictions_stay_near_the_range_of_targets(of_table):
    """Below 0 only if a target was, but a tenth of the range beyond others: a trend goes on."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, 500)[:, None]
    counts = rng.poisson(np.exp(2 * rows[:, 0] - 2))
    trend = 100 + 10 * rows[:, 0] + 0.1 * rng.normal(size=500)
    far = np.array([[-3.0], [1.05], [3.0]])
    for y, least, most in ((counts, 0, 1.1 * counts.max()), (-counts, -1.1 * counts.max(), 0), (trend, 98.5, 111.5)):
        model = GLNRegressor(density=True, n_epochs=3, random_state=0)
        (model.fit if of_table else model.partial_fit)(rows, y)
        predicted = (model.predict(far), model.predict_quantiles(far, LEVELS), model.sample(far, 50, random_state=0))
        for values in predicted:
            assert values.min() >= least - 1e-6
            assert values.max() <= most + 1e-6
    assert model.predict(far)[1] > trend.max() - 0.1
    contributions, constant = model.explain(rows)
    np.testing.assert_allclose(contributions.sum(axis=1) + constant, model.predict(rows), rtol=1e-4)


def test_targets_of_other_shapes_are_below_their_quantiles_as_often_as_they_should_be():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2 * np.exp(0.5 * X[:, 0]))
    modes = MEAN + np.where(rng.random(4000) < 0.5, -3, 3) + 0.5 * rng.normal(size=4000)
    for y in (counts, modes):
        quantiles = (
            GLNRegressor(density=True, random_state=0).fit(X[TRAIN], y[TRAIN]).predict_quantiles(X[TEST], LEVELS)
        )
        at_most = (y[TEST, None] <= quantiles).mean(axis=0)
        below = (y[TEST, None] < quantiles).mean(axis=0)
        assert (at_most > np.array(LEVELS) - 0.04).all()
        assert (below < np.array(LEVELS) + 0.04).all()


# ---- Streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_in_segments_is_the_stream_in_one():
    models = [GLNRegressor((8, 4), density=True, random_state=0) for _ in range(3)]
    for model, segments in zip(models, (1, 3, 40), strict=True):
        for rows in np.array_split(np.arange(400), segments):
            model.partial_fit_predict(X[rows], NORMAL[rows])  # each before it is learned
    for model in models[1:]:
        np.testing.assert_allclose(
            model.predict_quantiles(X[:50], LEVELS), models[0].predict_quantiles(X[:50], LEVELS), rtol=1e-5
        )
        for one, other in zip(*(each.learner_.variances.networks for each in (model, models[0])), strict=True):
            assert_same_state(one, other, rtol=1e-4, atol=1e-5)


def test_noise_of_a_stream_is_learned_beside_the_mean():
    of_stream = GLNRegressor(density=True, random_state=0).partial_fit(X[:500], NORMAL[:500])
    of_table = GLNRegressor(density=True, random_state=0).fit(X[:500], NORMAL[:500])
    for model in (of_stream, of_table):
        within = []
        for start in range(500, 3000, 50):  # each is predicted before it is learned
            rows = slice(start, start + 50)
            within.append(held(model, NORMAL, rows))
            model.partial_fit(X[rows], NORMAL[rows])
        assert abs(np.mean(within) - 0.9) < 0.03
        _, std = model.predict(X[TEST], return_std=True)
        assert np.corrcoef(np.log(std), np.log(STD[TEST]))[0, 1] > 0.8


def test_deviations_are_followed_as_in_a_plain_loop():
    rng = np.random.default_rng(0)
    deviations, step_sizes = rng.normal(size=(2, 60)).astype("f4"), rng.choice([0.5, 1.0, 3.0], 60)
    deviations[1, ::3] = np.nan  # unknown targets
    recent, expected = np.ones(2), []
    for b in range(60):
        expected.append(recent)
        followed = recent + (1 - 0.95 ** step_sizes[b]) * (np.square(deviations[:, b], dtype=float) - recent)
        recent = np.where(np.isfinite(deviations[:, b]), followed, recent)
    for parts in ([slice(0, 60)], [slice(0, 13), slice(13, 60)]):
        found = np.ones(2)
        before = [follow(deviations[:, part], found, step_sizes[part]) for part in parts]
        np.testing.assert_allclose(np.concatenate(before, axis=1).T, expected)
        np.testing.assert_allclose(found, recent)


def test_shares_of_a_stream_are_followed_and_trusted_if_they_predict():
    rng = np.random.default_rng(0)
    e = np.array([rng.normal(size=3000), np.where(rng.random(3000) < 0.3, -1.5, 0.6) + 0.2 * rng.normal(size=3000)])
    e[0, ::3] = np.nan  # unknown targets
    inner = np.zeros((2, *e.shape), bool)
    weights = rng.choice([0.5, 1.0, 3.0], 3000)
    shape = JohnsonSU.normal(2)
    before = [
        follow_shape(e[:, part], inner[:, :, part], shape, STEP, weights[part]) for part in np.split(np.r_[:3000], 3)
    ]
    whole = JohnsonSU.normal(2)
    np.testing.assert_array_equal(np.concatenate(before, axis=2), follow_shape(e, inner, whole, STEP, weights))
    for one, other in zip(shape, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (shape.trust > 0.99).tolist() == [False, True]
    np.testing.assert_array_equal(before[0][:, 1:, 0], [EXPECTED, EXPECTED])
    np.testing.assert_allclose(shape.mixed.sum(axis=1), 1)
    np.testing.assert_allclose(shape.probits[0], KNOTS, atol=0.1)
    np.testing.assert_allclose((e[1, :, None] < shape.quantiles(LEVELS)[1]).mean(axis=0), LEVELS, atol=0.03)
    drawn = stats.norm.cdf(rng.normal(size=(1, 3000)))
    at_limits = np.array([drawn < 0.6, drawn < 0])  # of the first, all of the distribution counts that is below
    limited = JohnsonSU.normal(1)
    follow_shape(np.where(drawn < 0.6, stats.norm.ppf(0.6), stats.norm.ppf(drawn)), at_limits, limited, 0.0, np.ones(1))
    np.testing.assert_allclose(limited.probits[0], KNOTS, atol=0.1)
    assert limited.tails[0] == JohnsonSU.normal(1).tails[0]
    extreme, none = np.array([[-1e9, 1e9, 0.0]]), np.zeros((2, 1, 3), bool)
    np.testing.assert_allclose(follow_shape(extreme, none, limited, STEP, np.full(1, 1e6))[:, 1:].sum(axis=1), 1)
    assert (np.diff(limited.probits) > 0).all()


@pytest.mark.parametrize("of_table", [True, False])
def test_the_shape_follows_the_targets_of_a_stream_also_after_a_table(of_table):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2 * np.exp(0.5 * X[:, 0]))
    modes = MEAN + np.where(rng.random(4000) < 0.5, -3, 3) + 0.5 * rng.normal(size=4000)
    noise = rng.normal(size=4000)
    for y, of_rows in ((counts, np.maximum(0, noise - 0.5)), (modes, MEAN + 3 * noise)):  # of another shape
        model, quantiles = GLNRegressor((8, 4), density=True, random_state=0), []
        (model.fit if of_table else model.partial_fit)(X[:400], (of_rows if of_table else y)[:400])
        for start in range(400, 4000, 100):
            rows = slice(start, start + 100)
            if start >= 2400:
                quantiles.append(model.predict_quantiles(X[rows], LEVELS))
            model.partial_fit(X[rows], y[rows])
        found, targets = np.concatenate(quantiles), y[2400:, None]
        assert ((targets <= found).mean(axis=0) > np.array(LEVELS) - 0.05).all()
        assert ((targets < found).mean(axis=0) < np.array(LEVELS) + 0.05).all()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_width_follows_a_sudden_change_within_twenty_samples(seed, late):
    """Where labels are late, within forty: only then was something said that is told from what was right."""
    rng = np.random.default_rng(seed)
    rows, noise = rng.normal(size=(1100, 3)), rng.normal(size=1100) * np.where(np.arange(1100) < 1000, 1, 10)
    model = GLNRegressor(density=True, random_state=0).partial_fit(rows[:1000], rows[:1000, 0] + noise[:1000])
    widths = [model.predict(rows[:1], return_std=True)[1].item()]
    for start in range(1000, 1100, 20):
        new = slice(start, start + 20)
        (model.partial_fit if late else model.partial_fit_predict)(rows[new], rows[new, 0] + noise[new])
        widths.append(model.predict(rows[:1], return_std=True)[1].item())
    assert 0.7 < widths[0] < 1.5
    assert min(widths[2:]) > 3 if late else min(widths[1:]) > 5
    assert max(widths) < 20

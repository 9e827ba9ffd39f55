"""Base models of streams: linear models and fading bin means, against slow references with dictionaries; growing,
explanations, and full hash tables."""

from __future__ import annotations

import copy
import itertools
import math
from collections import defaultdict
from typing import Any, Protocol

import numpy as np
import pytest
from helpers import as_in_a_file

from gln.engine.base_models import fading_bin_means as fading
from gln.engine.base_models import hashed_linear as linear
from gln.engine.base_models.bin_means import LOGIT_FACTOR, NONE, STRENGTH
from gln.engine.base_models.fading_bin_means import MOST_COUNT, STEEP, FadingBinMeans, predict_bin_means
from gln.engine.base_models.hashed_linear import LARGEST_LOGIT, LARGEST_VALUE, RATES, STEADY, HashedLinear
from gln.engine.base_models.least_squares import LeastSquares, predict_least_squares
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch, Words
from gln.engine.preprocessing.basis_expansion import with_distances

COLUMNS = np.array([0, -1, 2, -1, 3])  # of three numbers and two categories; no number has column 1
NUMBERS = [0, 2, 3]
KINDS = [
    (1, True, False),
    (3, True, True),
    (2, False, True),
]  # heads, whether of classes, whether with crosses
Sample = tuple[np.ndarray, np.ndarray, list[tuple[int, int, float]]]  # features (F,), columns (D,), words


class Slow(Protocol):
    def step(self, sample: Sample, targets: Any, step_size: float = 1.0) -> list[float]: ...


class SlowLinear:
    """FTRL-proximal without regularisation (McMahan et al. 2013, algorithm 1): a dictionary of terms for each head."""

    def __init__(self, heads: int, are_classes: bool, crosses: bool) -> None:
        self.heads, self.are_classes, self.models = heads, are_classes, 1 + crosses
        self.scales, self.z, self.n = (defaultdict[Any, float](float) for _ in range(3))

    def step(self, sample: Sample, targets: Any, step_size: float = 1.0) -> list[float]:  # -> (M C,)
        predictions, (single, crosses) = [], terms_of(*sample)
        for term, value in (single | crosses).items():
            self.scales[term] = max(self.scales[term], abs(value))
        for model, head in itertools.product(range(self.models), range(self.heads)):
            terms = single | crosses if model else single
            x = {(model, head, term): value / self.scales[term] for term, value in terms.items()}
            w = {i: -self.z[i] * RATES[model] / (STEADY + math.sqrt(self.n[i])) for i in x}
            limit, y = LARGEST_LOGIT if self.are_classes else LARGEST_VALUE, targets[head]
            s = 0.0 if math.isinf(y) else min(max(sum(w[i] * x[i] for i in x), -limit), limit)
            predictions.append(s)
            if math.isfinite(y):
                error = (1 / (1 + math.exp(-s)) if self.are_classes else s) - y
                for i, value in x.items():
                    gradient = step_size * error * value
                    sigma = (math.sqrt(self.n[i] + gradient**2) - math.sqrt(self.n[i])) / RATES[model]
                    self.z[i] += gradient - sigma * w[i]
                    self.n[i] += gradient**2
        return predictions


def terms_of(features: np.ndarray, z: np.ndarray, words: list[tuple[int, int, float]]) -> tuple[dict, dict]:
    """The terms of a sample, and its crosses, named by what they are."""
    levels = {("level", f, features[f]): 1.0 for f in np.flatnonzero(COLUMNS < 0) if not np.isnan(features[f])}
    others: dict[Any, float] = {}
    for f in np.flatnonzero(COLUMNS >= 0):
        missing = np.isnan(features[f])
        others["missing" if missing else "number", f] = 1.0 if missing else float(z[COLUMNS[f]])
    others |= {("word", number, code): value for number, code, value in words}
    single = levels | {term: value for term, value in others.items() if value != 0}
    of_two = itertools.combinations(single.items(), 2)
    return {"bias": 1.0, **single}, {(one, term): value for (one, _), (term, value) in of_two if one[0] == "level"}


class SlowBinMeans:
    """Means of cells, each shrunk towards the wider one, with capped counts."""

    def __init__(self, grids: np.ndarray, heads: int, are_classes: bool) -> None:
        self.grids, self.heads, self.are_classes = grids.tolist(), heads, are_classes
        self.counts, self.sums = (defaultdict[Any, float](float) for _ in range(2))

    def step(self, sample: Sample, targets: Any, step_size: float = 1.0) -> list[float]:  # -> (G C,)
        predictions = []
        bins = [math.floor(64 / (1 + math.exp(-1.7 * float(value)))) for value in sample[1]]
        for (first, second), head in itertools.product(self.grids, range(self.heads)):
            of_one = [(first, depth, bins[first] >> (6 - depth)) for depth in (2, 4, 6)]
            cells = of_one if second == NONE else [(first, second, bins[first] >> 2, bins[second] >> 2)]
            root = mean = (self.sums[head] + 0.5 * self.are_classes) / (self.counts[head] + 1)
            for cell in [(head, *cell) for cell in cells]:
                mean = (self.sums[cell] + STRENGTH * mean) / (self.counts[cell] + STRENGTH)
                self.count(cell, targets[head], step_size, MOST_COUNT)
            predictions.append(LOGIT_FACTOR * (logit(mean) - logit(root)) if self.are_classes else mean)
        for head in range(self.heads):
            self.count(head, targets[head], step_size, math.inf)
        return predictions

    def count(self, cell: Any, y: float, step_size: float, most: float) -> None:
        if math.isfinite(y):
            factor = min(1, most / (self.counts[cell] + step_size))
            self.sums[cell] = factor * (self.sums[cell] + step_size * y)
            self.counts[cell] = factor * (self.counts[cell] + step_size)


def logit(p: float) -> float:
    p = min(max(p, 0.001), 0.999)
    return math.log(p / (1 - p))


def samples_of(count: int, seed: int = 0) -> list[Sample]:
    """Some values are missing; every fifth of 30 words is a category."""
    rng, samples = np.random.default_rng(seed), []
    for i in range(count):
        features, z = rng.normal(size=5), (rng.normal(size=4) * [1, 1, i > 3, 1]).astype(np.float32)
        features[[1, 3]] = rng.integers(0, [4, 9])
        features[rng.random(5) < 0.15] = np.nan
        numbers = rng.choice(30, rng.integers(0, 4), replace=False).tolist()
        amounts = rng.integers(-1, 4, len(numbers)).tolist()
        words = [(n, a + 1, 1.0) if n % 5 == 0 else (n, -1, float(a)) for n, a in zip(numbers, amounts, strict=True)]
        samples.append((features, z, words))
    return samples


def arrays(samples: list[Sample]) -> tuple[np.ndarray, SampleBatch, np.ndarray]:
    """Arguments of `OnlineBaseModels.predict`."""
    features, z, words = zip(*samples, strict=True)
    numbers, codes, values = np.array([word for of_sample in words for word in of_sample]).reshape(-1, 3).T
    of_words = Words(np.cumsum([0, *map(len, words)]), numbers.astype(int), codes.astype(int), values)
    return np.stack(z, axis=1), SampleBatch(np.stack(features, axis=1), of_words), COLUMNS


def targets_of(
    heads: int, are_classes: bool, count: int
) -> np.ndarray:  # (C, B), with unknown ones and heads that do not learn
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (heads, count)).astype(float) if are_classes else 2 * rng.normal(size=(heads, count))
    targets[rng.random(targets.shape) < 0.1] = np.nan
    targets[rng.random(targets.shape) < 0.1] = np.inf
    return targets


def split(base_models: OnlineBaseModels, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predictions of linear models and of bin means, out of all inputs of networks."""
    ends = np.cumsum([4, base_models.linear.models * base_models.linear.heads, len(base_models.bin_means.features)])
    return read[ends[0] : ends[1]], read[ends[1] : ends[2]]


def learned(
    base_models: OnlineBaseModels,
    count: int,
    batch_size: int,
    targets: np.ndarray,
    step_sizes: np.ndarray | None = None,
) -> np.ndarray:
    samples, read = samples_of(count), []
    for start in range(0, count, batch_size):
        batch = slice(start, start + batch_size)
        steps = None if step_sizes is None else step_sizes[batch]
        read.append(base_models.predict(*arrays(samples[batch]), targets[:, batch], steps))
    return np.concatenate(read, axis=1)


def trained(heads: int, are_classes: bool, crosses: bool, count: int = 200) -> OnlineBaseModels:
    base_models = OnlineBaseModels.start(NUMBERS, heads, are_classes, crosses, uses_bins=True)
    learned(base_models, count, count, targets_of(heads, are_classes, count))
    return base_models


def predicted(base_models: OnlineBaseModels) -> tuple[np.ndarray, np.ndarray]:
    """Predictions for other samples, as `split` gives them."""
    return split(base_models, base_models.predict(*arrays(samples_of(40, seed=5))))


def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("online", "hashed_linear"):
        monkeypatch.setattr(f"gln.engine.base_models.{module}.compiled", lambda loop, *helpers: loop)


@pytest.mark.parametrize("numba", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("heads", "are_classes", "crosses"), KINDS)
def test_a_stream_is_learned_as_by_slow_references(heads, are_classes, crosses, numba, monkeypatch):
    if not numba:
        without_numba(monkeypatch)
    count = 150 if numba else 60
    samples, targets = samples_of(count), targets_of(heads, are_classes, count)
    for step_sizes in (None, np.random.default_rng(2).uniform(0, 1, count)):
        base_models = OnlineBaseModels.start(NUMBERS, heads, are_classes, crosses, uses_bins=True)
        assert base_models.bin_means.grids.tolist() == [[0, NONE], [2, NONE], [3, NONE], [0, 2], [0, 3], [2, 3]]
        slow: list[Slow] = [
            SlowLinear(heads, are_classes, crosses),
            SlowBinMeans(base_models.bin_means.grids, heads, are_classes),
        ]
        steps = np.ones(count) if step_sizes is None else step_sizes
        read = learned(base_models, count, 7, targets, step_sizes)
        for one, found in zip(slow, split(base_models, read), strict=True):
            expected = [one.step(*sample) for sample in zip(samples, targets.T, steps, strict=True)]
            np.testing.assert_allclose(found, np.transpose(expected), atol=2e-6)
            assert np.abs(expected).max() > 0.3
        np.testing.assert_array_equal(read[:4], arrays(samples)[0])
        for batch_size in (1, count):
            other = OnlineBaseModels.start(NUMBERS, heads, are_classes, crosses, uses_bins=True)
            np.testing.assert_array_equal(learned(other, count, batch_size, targets, step_sizes), read)
        for _ in range(2):  # predicting changes nothing
            for one, found in zip(slow, predicted(base_models), strict=True):
                others = [copy.deepcopy(one).step(sample, heads * [np.nan]) for sample in samples_of(40, seed=5)[:10]]
                np.testing.assert_allclose(found[:, :10], np.transpose(others), atol=2e-6)


def test_counts_are_capped_so_cells_follow_a_stream_that_drifts():
    base_models, z = (
        OnlineBaseModels.start([0], 1, True, crosses=False, uses_bins=True),
        np.zeros((1, 3000), np.float32),
    )
    sample = z, SampleBatch.of(np.zeros((1, 3000))), np.array([0])
    base_models.predict(*sample, np.ones((1, 3000)))
    assert base_models.bin_means.counts.max() == MOST_COUNT
    predictions = base_models.predict(*sample, np.zeros((1, 3000)))[2]
    assert predictions[0] > -0.1
    assert predictions[300] < -2  # a mean of all samples would still be 0.9


def test_bins_of_a_stream_do_not_depend_on_numba():
    """Without Numba, products with a float32 were rounded to float32, in another bin if they are near its end."""
    ends = (np.log(np.arange(1, 64) / np.arange(63, 0, -1)) / STEEP).astype(np.float32)
    z = np.concatenate([np.nextafter(ends, np.float32(9)), ends, np.nextafter(ends, np.float32(-9))])[None]
    found = FadingBinMeans.start([0], 1)
    found.counts[:], found.sums[:, 0] = 1, np.arange(len(found.sums))
    predictions, nothing = np.zeros((2, *z.shape), np.float32), np.full(z.shape, np.nan)
    for row, values in zip(predictions, (z, z.astype(np.float64)), strict=True):
        predict_bin_means(values, found, False, nothing, nothing[0], row)
    assert len(np.unique(predictions)) == 64
    np.testing.assert_array_equal(*predictions)


# ---- Least squares ---------------------------------------------------------------------------------------------------


def with_least_squares(heads: int, columns: int = 4) -> OnlineBaseModels:
    base_models = OnlineBaseModels.start(NUMBERS, heads, False, crosses=True, uses_bins=True)
    base_models.least_squares = LeastSquares.start(heads, columns)
    return base_models


def inputs_of(z: np.ndarray) -> np.ndarray:  # (D, B) -> (2 D + 1, B)
    return np.concatenate([np.ones((1, z.shape[1])), with_distances(z)])


def best_line(inputs: np.ndarray, y: np.ndarray, step_sizes: np.ndarray) -> np.ndarray:  # (K, B), (B,), (B,) -> (K,)
    """The weights with the least sum of squared errors and of squared weights."""
    known = np.isfinite(y)
    x = inputs[:, known] * step_sizes[known]
    return np.linalg.solve(x @ inputs[:, known].T + np.eye(len(inputs)), x @ y[known])


@pytest.mark.parametrize("numba", [True, False])
def test_least_squares_are_the_best_line_of_all_samples_before(numba, monkeypatch):
    if not numba:
        without_numba(monkeypatch)
    count, heads = 60, 2
    z, targets = arrays(samples_of(count))[0], targets_of(heads, False, count)
    inputs, step_sizes = inputs_of(z), np.random.default_rng(2).uniform(0, 1, count)
    for given in (None, step_sizes):
        base_models, without = (
            with_least_squares(heads),
            OnlineBaseModels.start(NUMBERS, heads, False, crosses=True, uses_bins=True),
        )
        read, others = learned(base_models, count, 7, targets, given), learned(without, count, 7, targets, given)
        np.testing.assert_array_equal(np.delete(read, [4, 5], axis=0), others)  # nothing else changes
        steps = np.ones(count) if given is None else given
        for head in range(heads):
            lines = [best_line(inputs[:, :b], targets[head, :b], steps[:b]) for b in range(count)]
            predictions = np.array([line @ inputs[:, b] for b, line in enumerate(lines)]).clip(-3, 3)
            predictions[np.isinf(targets[head])] = 0
            assert np.abs(predictions).max() > 0.5
            np.testing.assert_allclose(read[4 + head], predictions, atol=1e-5)
        np.testing.assert_array_equal(learned(with_least_squares(heads), count, count, targets, given), read)


def test_least_squares_of_columns_and_heads_added_later():
    count, heads = 80, 2
    z, targets = arrays(samples_of(count))[0], targets_of(heads, False, count)
    grown, whole = LeastSquares.start(heads, 2), LeastSquares.start(heads, 4)
    predictions = np.zeros((heads, 40))
    first = np.concatenate([z[:2, :40], np.zeros((2, 40), np.float32)])
    for model, columns in ((grown, first[:2]), (whole, first)):
        predict_least_squares(model, with_distances(columns), 3.0, targets[:, :40], np.ones(40), True, predictions)
    grown = grown.with_columns(4)
    for model in (grown, whole):
        predict_least_squares(model, with_distances(z[:, 40:]), 3.0, targets[:, 40:], np.ones(40), True, predictions)
    np.testing.assert_allclose(grown.weights, whole.weights, atol=1e-12)
    chosen = grown.with_outputs([1], 1)
    np.testing.assert_array_equal(chosen.weights, [whole.weights[1], np.zeros(9)])
    np.testing.assert_array_equal(chosen.inverses[1], np.eye(9))


def test_least_squares_of_many_columns_leave_out_later_ones():
    z = np.random.default_rng(0).normal(size=(70, 200)).astype(np.float32)
    model, predictions = LeastSquares.start(1, 60).with_columns(70), np.zeros((1, 200))
    assert model.weights.shape == (1, 129)
    model.check(70, 1)
    with pytest.raises(ValueError, match=r"^least_squares: expected weights"):
        model.check(50, 1)
    targets = (z[[0]] + z[[69]]).astype(np.float64)
    predict_least_squares(model, with_distances(z), 3.0, targets, np.ones(200), True, predictions)
    found, constant = model.explain(z, 3.0)
    assert found[0, :, 64:].max() == 0
    predict_least_squares(model, with_distances(z), 3.0, np.full((1, 200), np.nan), np.ones(200), False, predictions)
    np.testing.assert_allclose(found.sum(axis=2) + constant, predictions, atol=1e-9)
    assert (np.abs(predictions) == 3).any()  # clipped ones add up as well


# ---- Growing ---------------------------------------------------------------------------------------------------------


def test_columns_and_classes_added_later():
    whole = FadingBinMeans.start([0, 1, 2], 1)
    grown = FadingBinMeans.start([0], 1).with_columns([1, 2])
    assert sorted(map(tuple, grown.grids.tolist())) == sorted(map(tuple, whole.grids.tolist()))
    before = trained(1, True, crosses=False)
    after = before.grown([1], crosses=False, size=4)
    kept = len(before.bin_means.grids)
    assert after.bin_means.grids[:kept].tolist() == before.bin_means.grids.tolist()
    assert after.bin_means.grids[kept:].tolist() == [[1, NONE], [0, 1], [1, 2], [1, 3]]
    for one, other in zip(predicted(after), predicted(before), strict=True):
        np.testing.assert_array_equal(one[: len(other)], other)
    np.testing.assert_array_equal(predicted(after)[1][kept:], 0)
    more = after.with_class(200)
    assert more.bin_means.heads == 3
    predictions = predicted(more)[1].reshape(-1, 3, 40)
    np.testing.assert_allclose(predictions[:, 0], -predictions[:, 1], atol=1e-6)
    np.testing.assert_array_equal(predictions[:, 1], predicted(after)[1])
    again = predicted(more.with_class(200))[1].reshape(-1, 4, 40)
    np.testing.assert_array_equal(again[:, :3], predictions)


def test_without_room_for_all_columns_there_are_no_grids():
    assert len(FadingBinMeans.start(range(fading.MOST_GRIDS), 1).grids) == fading.MOST_GRIDS
    assert len(FadingBinMeans.start(range(fading.MOST_GRIDS + 1), 1).grids) == 0
    cells = FadingBinMeans.start(range(8), 1)
    assert len(cells.grids) == 8 + 28
    sizes = []
    for heads in (1, *range(3, 42)):
        cells = cells.with_class(heads)
        sizes.append((len(cells.grids), (cells.grids[:, 1] == NONE).sum()))
    assert sizes[4] == (36, 8)
    assert sizes[5] == (32, 8)
    assert all(size * (i + 3) <= 256 for i, (size, _) in enumerate(sizes))
    assert sizes[-1] == (0, 0)


@pytest.mark.parametrize(("heads", "are_classes", "crosses"), KINDS)
def test_linear_models_predict_the_same_with_new_heads_and_crosses(heads, are_classes, crosses):
    base_models = trained(heads, are_classes, crosses)
    predictions = predicted(base_models)[0].reshape(-1, heads, 40)
    if are_classes:
        more = predicted(base_models.with_class(200))[0].reshape(-1, max(2, heads) + 1, 40)
        np.testing.assert_array_equal(more[:, -1 - heads : -1], predictions)
        np.testing.assert_allclose(more[:, -1], -math.log(201), rtol=1e-6)
        assert heads > 1 or np.array_equal(more[:, 0], -predictions[:, 0])
    kept = base_models.with_outputs([heads - 1], 2)
    np.testing.assert_array_equal(
        predicted(kept)[0].reshape(-1, 3, 40), np.pad(predictions[:, -1:], [(0, 0), (0, 2), (0, 0)])
    )
    single = trained(heads, are_classes, crosses=False)
    of_two = predicted(single.grown([], crosses=True, size=4))[0].reshape(2, heads, 40)
    for model in (0, 1):  # the second one has learned no crosses yet
        np.testing.assert_allclose(of_two[model], predicted(single)[0], atol=1e-6)


@pytest.mark.parametrize(("heads", "are_classes", "crosses"), KINDS)
def test_arrays_keep_their_order_in_memory(heads, are_classes, crosses):
    """For another one, Numba would compile the step of streams again, which takes ten seconds."""
    base_models = trained(heads, are_classes, crosses)
    changed = [base_models.with_outputs([heads - 1], 1).with_outputs([1, 0], 2), base_models.grown([], True, 4)]
    changed += [base_models.with_class(200)] if are_classes else []
    for each in (base_models, *changed):
        arrays = [array for of_model in each.arguments for array in of_model if isinstance(array, np.ndarray)]
        assert [array.flags.c_contiguous for array in arrays] == [True] * 11


# ---- Many terms, explanations ----------------------------------------------------------------------------------------


def many_words(model: HashedLinear, count: int, first: int, per_sample: int = 10) -> Any:
    """Terms of samples of which each has words that no other has."""
    return terms_of_words(model, (first + np.arange(count * per_sample)).reshape(count, per_sample).tolist())


@pytest.mark.parametrize(("heads", "most"), [(1, 255), (100, 63)])
def test_crosses_of_a_sample_take_at_most_a_quarter_of_the_largest_table(heads, most):
    """Or the time of a sample would be the square of its categories: a minute for 200 rows of 900."""
    model = HashedLinear.start(heads, True).with_crosses()
    for categories in (most, most + 1, 2000):
        samples = SampleBatch.of(np.ones((categories, 1)))
        terms = model.terms(samples, np.zeros((0, 1), np.float32), np.full(categories, -1))
        pairs = categories * (categories - 1) // 2 if categories == most else 0
        assert len(terms.keys) == 1 + categories + pairs
        assert terms.most[0] <= model.max_slots / 4
        model.learn(terms, np.ones((heads, 1)), np.ones(1))


def test_thousands_of_terms_have_a_slot_each():
    model = HashedLinear.start(1, False)
    y = np.random.default_rng(0).normal(size=(1, 400))
    model, _ = model.learn(many_words(model, 400, 0), y, np.ones(400))
    assert len(np.unique(model.keys)) == 4000 + 2  # the bias, and 0 for free slots
    assert len(model.keys) == 8192
    contributions, _ = model.explain(many_words(model, 400, 0), np.arange(4000))
    of_words = contributions[0][np.arange(400).repeat(10), np.arange(4000)].reshape(400, 10)
    np.testing.assert_allclose(of_words, of_words[:, :1].repeat(10, axis=1))  # words of one sample learn the same
    assert np.corrcoef(of_words[:, 0], y[0])[0, 1] > 0.95


def terms_of_words(model: HashedLinear, samples: list[list[int]]) -> Any:
    """Terms of samples that have these words alone."""
    numbers, count = np.array([number for words in samples for number in words]), len(samples)
    words = Words(np.cumsum([0, *map(len, samples)]), numbers, np.full(len(numbers), -1), np.ones(len(numbers)))
    return model.terms(SampleBatch(np.zeros((0, count)), words), np.zeros((0, count), np.float32), np.zeros(0, int))


def test_a_long_text_does_not_overshoot():
    model, text = HashedLinear.start(1, True), [[*range(400)]]
    for y in (1.0, 1.0, 0.0):
        found = []
        for target in (np.nan, y, np.nan):
            model, predictions = model.learn(terms_of_words(model, text), np.full((1, 1), target), np.ones(1))
            found.append(predictions[0, 0])
        before, _, after = found
        assert 0.5 < (after - before) / (y - 1 / (1 + np.exp(-before))) <= 4.01  # Newton's step at a logit of 0


def state_by_key(model: HashedLinear) -> dict[int, tuple[Any, ...]]:
    used = np.flatnonzero(model.keys)
    arrays = (model.keys, model.squares.sum(axis=(1, 2)), model.scales, model.leaders, model.squares)
    return {
        int(key): (total, scale, *map(np.ndarray.tolist, sums))
        for key, total, scale, *sums in zip(*(a[used] for a in arrays), strict=True)
    }


@pytest.mark.parametrize("numba", [True, False])
def test_a_full_table_forgets_the_half_with_the_smallest_squared_gradients(numba, monkeypatch):
    monkeypatch.setattr(linear, "MOST_SLOTS", 256)
    if not numba:
        without_numba(monkeypatch)
    model, rng = HashedLinear.start(2, True), np.random.default_rng(7)
    samples = np.concatenate([rng.permutation(90) for _ in range(5)]).reshape(150, 3).tolist()
    model, _ = model.learn(terms_of_words(model, samples), rng.integers(0, 2, (2, 150)).astype(float), np.ones(150))
    before = state_by_key(model)
    assert len(before) == 91  # all words, and the bias
    model = model.with_room()
    kept = sorted(before, key=lambda key: before[key][0])[45:]
    assert state_by_key(model) == {key: before[key] for key in kept}
    # What is forgotten contributes nothing, and predictions are those without it.
    every, none = terms_of_words(model, [[word] for word in range(90)]), np.full((2, 90), np.nan)
    known = np.isin(every.keys[1::2], kept)
    assert (known.sum(), len(known)) == (45, 90)
    contributions, constant = model.explain(every, np.arange(90))
    of_words = contributions[:, np.arange(90), np.arange(90)]
    np.testing.assert_array_equal((of_words != 0).all(axis=0), known)
    np.testing.assert_allclose(of_words + constant, model.learn(every, none, np.ones(90))[1], atol=1e-9)


@pytest.mark.parametrize("numba", [True, False])
def test_words_that_teach_stay_while_others_come_once(numba, monkeypatch):
    monkeypatch.setattr(linear, "MOST_SLOTS", 256)
    if not numba:
        without_numba(monkeypatch)
    model, rng = HashedLinear.start(1, True), np.random.default_rng(8)
    often = rng.integers(0, 8, 600)
    samples = [[word, 1000 + 2 * i, 1001 + 2 * i] for i, word in enumerate(often.tolist())]
    targets = (often % 2 == 1)[None].astype(float)
    model, predictions = model.learn(terms_of_words(model, samples), targets, np.ones(600))
    assert len(model.keys) == 256
    assert np.count_nonzero(model.keys) <= 128
    assert ((predictions[0, 300:] > 0) == (often[300:] % 2 == 1)).all()
    assert np.abs(predictions[0, 500:]).min() > 1
    known = np.isin(terms_of_words(model, [[1000 + i] for i in range(1200)]).keys[1::2], model.keys)
    assert known[:600].mean() < 0.15  # of the first few, which were all unexpected
    assert known[-20:].all()


def test_words_beyond_the_slots_of_one_sample_predict_nothing(monkeypatch):
    """A search for a free slot has to end."""
    monkeypatch.setattr(linear, "MOST_SLOTS", 256)
    model = HashedLinear.start(1, False)
    terms = terms_of_words(model, [list(range(500))])
    for _ in range(3):
        model, _ = model.learn(terms, np.ones((1, 1)), np.ones(1))
    assert (len(model.keys), np.count_nonzero(model.keys)) == (256, 128)
    contributions, constant = model.explain(terms, np.arange(500))
    assert np.count_nonzero(contributions) == 127  # and the bias
    _, predictions = model.learn(terms, np.full((1, 1), np.nan), np.ones(1))
    assert contributions.sum() + constant.sum() == pytest.approx(predictions[0, 0])


def test_a_table_that_is_too_large_for_new_heads_does_not_grow(monkeypatch):
    """The largest number of slots falls with the number of heads."""
    monkeypatch.setattr(linear, "MOST_NUMBERS", 1 << 11)
    model = HashedLinear.start(1, True)
    model, _ = model.learn(many_words(model, 60, 0), np.ones((1, 60)), np.ones(60))
    assert len(model.keys) == 2048
    for count in range(8):
        model = model.with_class(count)
    for first in range(1000, 5000, 1000):
        last = many_words(model, 100, first)
        model, _ = model.learn(last, np.ones((model.heads, 100)), np.ones(100))
        assert 512 < np.count_nonzero(model.keys) <= 1024
        assert np.isin(last.keys[-10:], model.keys).all()
    assert len(model.keys) == 2048
    assert model.with_class(9).heads == 11


@pytest.mark.parametrize(("heads", "are_classes", "crosses"), KINDS)
def test_contributions_add_up_also_where_predictions_are_clipped(heads, are_classes, crosses):
    base_models, samples = trained(heads, are_classes, crosses), samples_of(200, seed=5)
    base_models.linear.leaders[:] *= 12  # larger weights
    z, of_samples, columns = arrays(samples)
    predictions, _ = split(base_models, base_models.predict(z, of_samples, columns))
    limit = LARGEST_LOGIT if are_classes else LARGEST_VALUE
    clipped = np.abs(predictions) == limit
    assert 0.02 < clipped.mean() < 1
    terms = base_models.linear.terms(of_samples, z, columns)
    contributions, constant = base_models.linear.explain(terms, np.arange(5 + 30))
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, predictions, atol=1e-5)
    has = np.zeros((200, 30), bool)
    for i, (_, _, of_sample) in enumerate(samples):
        has[i, [number for number, _, _ in of_sample]] = True
    assert (contributions[:, :, 5:][:, ~has] == 0).all()
    assert np.abs(contributions[:, :, 5:][:, has]).max() > 0.5


def test_a_cross_counts_half_for_each_of_its_features():
    samples, z = SampleBatch.of(np.array([[0.0, 1.0], [0.0, 1.0]])), np.zeros((2, 2), np.float32)
    columns = np.array([-1, -1])
    model = HashedLinear.start(1, False).with_crosses()
    model.learn(model.terms(samples, z, columns), np.array([[1.0, -1.0]]), np.ones(2))
    terms = model.terms(samples.take(slice(0, 1)), z[:, :1], columns)
    (without, with_crosses), _ = model.explain(terms, np.arange(2))
    step = RATES[1] / (STEADY + 1)
    np.testing.assert_allclose(without, [2 * [RATES[0] / (STEADY + 1)]])
    np.testing.assert_allclose(with_crosses, [2 * [1.5 * step]])  # the level's term and half of the cross


def test_states_that_do_not_fit_are_refused():
    linear = trained(3, True, True).linear
    assert as_in_a_file("linear", linear).heads == 3
    for name, changed in (
        ("keys", np.ones(256, np.int64)),
        ("keys", linear.keys[:-1]),
        ("keys", linear.keys.astype(float)),
        ("scales", linear.scales[1:]),
        ("squares", linear.squares[..., :1]),
    ):
        with pytest.raises(ValueError, match="linear: expected"):
            as_in_a_file("linear", linear, **{name: changed})
    cells = trained(3, True, True).bin_means
    for name in ("counts", "sums", "grids", "totals"):
        with pytest.raises(ValueError, match="bin_means: expected"):
            as_in_a_file("bin_means", cells, **{name: getattr(cells, name)[1:]}).check(2, 3)

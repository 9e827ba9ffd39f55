"""Accuracy of a GLN on MNIST in one exact online pass, and the contribution of each part of its recipe.

`python -m benchmarks.accuracy` prints its tables as Markdown, `--plot FILE` draws the learning curves, `--quick` runs
on a few digits, with at most 16 neurons per layer, to check that everything works. Figures are for the test set, means
over several seeds, which determine the halfspaces and the order of the digits. The fastest installed backend is used,
or that of `--backend`.
`--paper` compares readings of the paper's recipe, and plain steps with windows, on the last sixth of the training
digits, and then tests the best of each.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from tqdm import tqdm

from benchmarks.report import command_line, machine, network, show
from gln.features import Standardizer
from gln.mnist import Digits, deskew, load_mnist, orientation_features
from gln.rates import linear_rate
from test_mnist import TenDigits, get_ten_digits_metrics

# The recipe of `gln-mnist`; everything else is a change to it.
RECIPE: dict[str, Any] = {
    "layer_sizes": [64, 32],
    "context_map_size": 6,
    "halfspace_samples": 1000,
    "halfspace_window": 6,
    "rate": linear_rate,
}
BEST: dict[str, Any] = {"layer_sizes": [2000, 200], "pred_clipping": 1e-4}
NO_WINDOWS: dict[str, Any] = {"halfspace_window": None}


def plain_rate(t: int, first: float, most: float, samples: int) -> float:
    """The paper's rate for MNIST is this with 100 and 0.01."""
    return min(first / (t + 1), most)


def reading(layer_sizes: list[int], scale: float, first: float, most: float, **changes: Any) -> dict[str, Any]:
    """A reading of the paper: plain steps, random halfspaces, pixels minus their means. It does not say how these are
    scaled, nor how many layers of 128 neurons there are."""
    rate = functools.partial(plain_rate, first=first, most=most)
    setting = {"layer_sizes": layer_sizes, "scale": scale, "rate": rate, "context_map_size": 4, "pred_clipping": 1e-4}
    return {**setting, "normalize": False, "standardize": False, "halfspace_samples": 0, **changes}


READINGS: dict[str, dict[str, Any]] = {
    "[128, 128, 1], 4 (x - mean), min(100 / t, 0.01)": reading([128, 128, 1], 4, 100, 0.01),
    "[128, 128, 1], 3 (x - mean), min(100 / t, 0.01)": reading([128, 128, 1], 3, 100, 0.01),
    "[128, 128, 1], 4 (x - mean), min(100 / t, 0.003)": reading([128, 128, 1], 4, 100, 0.003),
    "[128, 128, 1], 8 (x - mean), min(50 / t, 0.0015)": reading([128, 128, 1], 8, 50, 0.0015),
    "the same, offsets from N(0, 1)": reading([128, 128, 1], 8, 50, 0.0015, context_bias=1.0),
    "the same, [128, 128, 128, 1]": reading([128, 128, 128, 1], 8, 50, 0.0015),
    "the same, [128, 1]": reading([128, 1], 8, 50, 0.0015),
}
# Beyond the paper: halfspaces between digits, in windows, as in the recipe. The steps stay plain.
IN_WINDOWS: dict[str, Any] = {"halfspace_samples": 1000, "halfspace_window": 6}
WINDOWS: dict[str, dict[str, Any]] = {
    "4 (x - mean), min(100 / t, 0.003)": reading([128, 128, 128, 1], 4, 100, 0.003, **IN_WINDOWS),
    "8 (x - mean), min(50 / t, 0.0015)": reading([128, 128, 128, 1], 8, 50, 0.0015, **IN_WINDOWS),
    "8 (x - mean), min(50 / t, 0.003)": reading([128, 128, 128, 1], 8, 50, 0.003, **IN_WINDOWS),
    "the same, random halfspaces of the whole image": reading([128, 128, 128, 1], 8, 50, 0.003),
}
WIDE: dict[str, dict[str, Any]] = {
    "[1000, 500, 1], 14 (x - mean), min(15 / t, 0.0005)": reading([1000, 500, 1], 14, 15, 0.0005)
}
DEFAULTS: dict[str, Any] = {
    "layer_sizes": [16, 16],
    "context_map_size": 4,
    "halfspace_samples": 0,
    "rate": None,
}

PASS = "One exact online pass over MNIST, ten heads"
CHANGES: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "digits as they are, not deskewed": {"deskew": False},
    "pixels not standardised": {"standardize": False},
    "halfspaces of the whole image, no windows": NO_WINDOWS,
    "windows of 3 x 3 pixels": {"halfspace_window": 3},
    "windows of 14 x 14 pixels": {"halfspace_window": 14},
    "random halfspaces, not from data": {"halfspace_samples": 0},
    "the default rate, which does not depend on the length": {"rate": None},
    "steps not normalised, the paper's rate": {"rate": None, "normalize": False},
    "4 halfspaces per neuron": {"context_map_size": 4},
    "[16, 16]": {"layer_sizes": [16, 16]},
    "[64]": {"layer_sizes": [64]},
    "[64, 32, 1]": {"layer_sizes": [64, 32, 1]},
    "no bias": {"bias": False},
    "no gates: linear": {"layer_sizes": [1], "context_map_size": 0, "halfspace_samples": 0},
}


class Trials:
    """Passes over the digits with changed recipes; the digits of each kind are loaded once."""

    def __init__(self, samples: int | None, widest: int | None = None) -> None:
        self.samples, self.widest = samples, widest

    @functools.cache  # noqa: B019 - the only instance lives as long as the program
    def digits(self, upright: bool = True, features: bool = False) -> Digits:
        x_train, y_train, x_test, y_test = (part[: self.samples] for part in load_mnist(deskew=False))
        if upright:
            x_train, x_test = deskew(x_train), deskew(x_test)
        if features:
            x_train, x_test = orientation_features(x_train), orientation_features(x_test)
        return x_train, y_train, x_test, y_test

    def one(self, seed: int, **changes: Any) -> TenDigits:
        kind = {"deskew": True, "features": False, "scale": None, "held_out": False}
        setting = {**kind, "standardize": True, **RECIPE, **changes}
        if self.widest is not None:
            setting["layer_sizes"] = [min(neurons, self.widest) for neurons in setting["layer_sizes"]]
        upright, features, scale, held_out = (setting.pop(name) for name in kind)
        x, y, x_test, y_test = self.digits(upright, features)
        if held_out:
            first = len(x) * 5 // 6
            x, y, x_test, y_test = x[:first], y[:first], x[first:], y[first:]
        if scale is not None:
            mean = x.mean(axis=0)
            x, x_test = scale * (x - mean), scale * (x_test - mean)
        digits = x, y, x_test, y_test
        passing = {name: setting.pop(name) for name in ("standardize", "halfspace_samples", "halfspace_window")}
        rate, size = setting.pop("rate"), digits[0].shape[1]
        rate = rate and functools.partial(rate, samples=len(digits[0]))
        model = network()(input_size=size, context_size=size, num_classes=10, learning_rate=rate, seed=seed, **setting)
        return get_ten_digits_metrics(model, digits=digits, seed=seed, verbose=False, **passing)

    def row(self, seeds: int, **changes: Any) -> dict[str, Any]:
        runs = [self.one(seed, **changes) for seed in tqdm(range(seeds), leave=False)]
        accuracies = np.array([run.accuracy for run in runs])
        return {
            "accuracy": f"{accuracies.mean():.2f}",
            "lowest": f"{accuracies.min():.2f}",
            "highest": f"{accuracies.max():.2f}",
            "online": f"{100 * np.mean([run.online_hits.mean() for run in runs]):.2f}",
            "log-loss": f"{np.mean([run.log_loss for run in runs]):.3f}",
            "calibration error": f"{np.mean([run.calibration_error for run in runs]):.3f}",
            "seconds per pass": f"{np.median([run.seconds for run in runs]):.1f}",
        }


def hits_of(estimator: Any, digits: Digits, seed: int) -> np.ndarray:
    """Whether a scikit-learn estimator predicted each digit of the stream correctly before learning it, (N,)."""
    x_train, y_train, _, _ = digits
    order, standardizer = np.random.default_rng(seed).permutation(len(x_train)), Standardizer(x_train.shape[1])
    hits: list[bool] = []
    for chunk in tqdm(np.array_split(order, -(-len(order) // 500)), leave=False):
        for z, digit in zip(standardizer.learn(x_train[chunk].T).T, y_train[chunk], strict=True):
            hits.append(bool(hits) and estimator.predict(z[None])[0] == digit)
            estimator.partial_fit(z[None], [digit], classes=range(10))
    return np.array(hits)


def streams(trials: Trials, seed: int = 0) -> dict[str, np.ndarray]:
    """For each model, whether it predicted each digit of one pass correctly before learning it."""
    mlp, linear = MLPClassifier((64,), random_state=seed), SGDClassifier(loss="log_loss", random_state=seed)
    return {
        "GLN [64, 32], orientations": trials.one(seed, features=True).online_hits,
        "GLN [64, 32], the recipe": trials.one(seed).online_hits,
        "GLN [16, 16], the defaults": trials.one(seed, **DEFAULTS).online_hits,
        "MLPClassifier, 64 hidden": hits_of(mlp, trials.digits(), seed),
        "SGDClassifier": hits_of(linear, trials.digits(), seed),
    }


def table_of_streams(hits: dict[str, np.ndarray]) -> pd.DataFrame:
    """Error in percent between successive counts of digits seen."""
    count = len(next(iter(hits.values())))
    ends = [end for end in (100, 300, 1000, 3000, 10000, 30000, 60000) if end <= count]
    errors = {
        name: [100 * (1 - part.mean()) for part in np.split(right, ends)[: len(ends)]] for name, right in hits.items()
    }
    return pd.DataFrame(errors, index=[f"up to {end:,}" for end in ends])


# Distinct for the colour-blind, as the marks and dashes are in greyscale
LINES = ["#d55e00", "#0072b2", "#009e73", "#666666", "#000000"]


def draw(errors: pd.DataFrame, file: str) -> None:
    """Draw the table of streams."""
    axes = errors.plot(logy=True, style=["o-", "s--", "^-.", "D:", "v-"], color=LINES, figsize=(5.4, 4), markersize=5)
    axes.set_xticks(range(len(errors)), [end.removeprefix("up to ") for end in errors.index], fontsize=9)
    axes.set_yticks([1, 2, 5, 10, 20, 50])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set(xlabel="digits seen", ylabel="error since the point before, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    axes.figure.savefig(file, dpi=150, bbox_inches="tight")


def main() -> None:
    parser = command_line(__doc__, backend=True)
    parser.add_argument("--paper", action="store_true", help="readings of the paper's recipe alone")
    parser.add_argument("--plot", metavar="FILE", help="draw the learning curves; needs Matplotlib")
    options = parser.parse_args()
    trials = Trials(*((300, 16) if options.quick else ()))
    print(machine())

    def table(title: str, settings: dict[str, tuple[int, dict[str, Any]]]) -> pd.DataFrame:
        rows = {
            name: trials.row(1 if options.quick else seeds, **changes) for name, (seeds, changes) in settings.items()
        }
        found = pd.DataFrame.from_dict(rows, orient="index")
        show(title, found, file=options.csv, columns="measure")
        return found

    def best_of(title: str, settings: dict[str, dict[str, Any]]) -> str:
        """The name of the setting with the highest accuracy on the last sixth of the training digits."""
        runs = {name: (1, {**setting, "held_out": True}) for name, setting in settings.items()}
        scores = table(f"{title}, on the last sixth of the training digits", runs)
        return str(scores["accuracy"].astype(float).idxmax())

    best = best_of("Readings of the paper", READINGS)
    tested = {f"our reading of the paper: {best}": READINGS[best]}
    best = best_of("Plain steps, [128, 128, 128, 1] in windows", WINDOWS)
    tested[f"plain steps, [128, 128, 128, 1] in windows: {best}"] = WINDOWS[best]
    tested |= {f"a wide one: {name}": setting for name, setting in WIDE.items()}
    table(PASS, {name: (1, setting) for name, setting in tested.items()})
    if options.paper:
        return
    table(
        PASS,
        {
            "the recipe of gln-mnist, 5 seeds": (5, {}),
            "the best setting on pixels, 3 seeds": (3, BEST),
            "with orientations, 3 seeds": (3, {"features": True}),
            "[16, 16] at GLN's defaults, 5 seeds": (5, DEFAULTS),
        },
    )
    table(
        "What each ingredient contributes: the recipe with one thing changed, 2 seeds",
        {name: (2, change) for name, change in CHANGES.items()},
    )
    errors = table_of_streams(streams(trials))
    show("Progressive error in percent since the previous line", errors, 2, file=options.csv)
    if options.plot:
        draw(errors, options.plot)


if __name__ == "__main__":
    main()

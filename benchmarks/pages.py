"""The tables of docs/benchmarks and docs/papers.md, computed from the CSV files in docs/benchmarks/results.

`python -m benchmarks.pages` renews each table between `<!-- table: NAME -->` and `<!-- end -->` in the pages. NAME is
a key of `TABLES`, or `overview` for the table of the index. To measure again, run a command with
`--csv docs/benchmarks/results/FILE.csv` and then this; values of models that were not run again stay in the file. A
test checks that pages and CSV files agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.report import KEYS, read_rows

PAGES = Path(__file__).parents[1] / "docs" / "benchmarks"
WITH_TABLES = [*sorted(PAGES.glob("*.md")), PAGES.parent / "papers.md"]
SCALED = "StandardScaler, "  # the beginning of names, left out in the pages
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COMMANDS = {  # by CSV file, without `python -m benchmarks.`
    "tables_held_out": "classifier --held-out --seeds 1",
    "tables": "classifier",
    "tables_seconds": "classifier --held-out --two-classes --seeds 1 --models GLNClassifier LGBMClassifier "
    "'LGBMClassifier, tuned' CatBoostClassifier",
    "regression_held_out": "regressor --held-out",
    "regression": "regressor",
    "frames": "frames",
    "densities": "densities",
    "defaults": "defaults",
    "long": "long",
    "text": "text",
    "streams": "streams",
    "streams_capymoa": "streams --capymoa 2000",
    "streams_files": "streams --files elec.csv outdoor.csv",
    "names": "names",
    "forgetting": "forgetting",
    "mnist": "accuracy",
    "speed": "speed --repeats 5",
    "scaling": "scaling",
    "lines": "lines",
    "drawings": "drawings",
    "images": "images",
    "papers": "papers",
    "bandits": "bandits",
    "bandit_problems": "bandit_problems",
    "novelty": "novelty",
}


class Column(NamedTuple):
    """A column of a table: a statistic of a measure over tasks, for each model."""

    header: str
    measure: str
    digits: int = 3
    where: tuple[str, ...] = ()  # kinds or names of tasks, all by default
    statistic: str = "mean"
    higher: bool = False  # is better
    file: str = ""  # by default the table's
    model: str = ""  # in tables whose rows are tasks


class Table(NamedTuple):
    """A table of models, or of tasks if its columns name models.

    If some models are GLNs, these come first, and then the others; both in the order of the first column.
    """

    file: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...] = ()  # all by default
    ours: str = ""  # the model that others are compared with, the first by default


class Line(NamedTuple):
    """A line of the overview: one measure of a GLN and of the best other model."""

    tasks: str
    file: str
    measure: str
    digits: int = 3
    where: tuple[str, ...] = ()
    higher: bool = False
    ours: str = ""
    statistic: str = "mean"


def load(file: str) -> pd.Series:
    """The values of a CSV file in docs/benchmarks/results, indexed by KEYS."""
    rows = read_rows(PAGES / "results" / f"{file}.csv")
    return pd.Series([float(value) for value in rows.values()], pd.MultiIndex.from_tuples(list(rows), names=KEYS))


def select(values: pd.Series, measure: str, where: tuple[str, ...], models: Iterable[str] = ()) -> pd.DataFrame:
    """A measure for each task (rows) and model (columns), in the order of the file."""
    index = values.index
    chosen = index.get_level_values("measure") == measure
    if where:
        chosen &= index.get_level_values("kind").isin(where) | index.get_level_values("task").isin(where)
    part = values[chosen].droplevel(["measure", "kind"])
    frame = part.unstack("model").reindex(part.index.unique("task"))
    return frame.reindex(columns=list(models) or part.index.unique("model"))


def wins(scores: pd.DataFrame, higher: bool) -> pd.Series:
    """On how many tasks each model has the best value; if several share it, all of them win."""
    best = scores.max(axis=1) if higher else scores.min(axis=1)
    return scores.eq(best, axis=0).sum()


def better(scores: pd.DataFrame, higher: bool, ours: str) -> pd.Series:
    """On how many tasks our model is better than each other one, of those that both have."""
    others = scores.drop(columns=ours)
    ahead = others.lt(scores[ours], axis=0) if higher else others.gt(scores[ours], axis=0)
    both = others.notna().mul(scores[ours].notna(), axis=0)
    return ahead.sum().astype(str) + " of " + both.sum().astype(str)


STATISTICS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "mean": lambda scores: scores.mean(skipna=False),
    "mean where all predict": lambda scores: scores.dropna().mean(),
    "median": lambda scores: scores.median(skipna=False),
    "rank": lambda scores: scores.rank(axis=1).mean(),
}


def column_of(column: Column, table: Table, models: list[str]) -> pd.Series:
    """The cells of a column, as text."""
    scores = select(load(column.file or table.file), column.measure, column.where)
    if column.model:
        found = scores[column.model]
    else:
        scores = scores.reindex(columns=[model for model in models if model in scores])
        if column.statistic == "wins":
            found = wins(scores, column.higher)
        elif column.statistic == "better":
            return better(scores, column.higher, table.ours or models[0])
        else:
            found = STATISTICS[column.statistic](scores)
    return found.map(lambda value: as_text(value, column.digits))


def as_text(value: float, digits: int) -> str:
    """A number with this many decimals; rounded twice, so that a last bit never decides."""
    return "" if pd.isna(value) else f"{round(value, 9):.{digits}f}"


def rows_of(table: Table) -> list[str]:
    """The models, or tasks, of a table's columns."""
    first = table.columns[0]
    frames = [select(load(each.file or table.file), each.measure, each.where) for each in table.columns]
    axis = "index" if first.model else "columns"
    names = list(table.rows) or list(dict.fromkeys(str(name) for frame in frames for name in getattr(frame, axis)))
    if first.model or not any(map(is_gln, names)):
        return names
    ours, means = table.ours or names[0], STATISTICS[first.statistic](frames[0])
    best_first = means.sort_values(ascending=not first.higher, kind="stable").index.tolist()
    places = {name: place for place, name in enumerate(best_first)}
    return sorted(names, key=lambda name: (name != ours, not is_gln(name), places.get(name, len(places))))


def is_gln(name: str) -> bool:
    return name.startswith("GLN")


def as_markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, without columns of empty cells."""
    frame = frame.loc[:, (frame != "").any()]
    rows = [["", *frame.columns], ["---"] * (len(frame.columns) + 1), *frame.itertuples(name=None)]
    return "\n".join(f"|{'|'.join(map(str, cells))}|" for cells in rows)


def commands_of(files: Iterable[str]) -> str:
    """The commands that measure these files, with links to them."""
    return " · ".join(f"`python -m benchmarks.{COMMANDS[file]}` ([rows](results/{file}.csv))" for file in files)


def markdown_of(table: Table) -> str:
    rows = rows_of(table)
    cells = {column.header: column_of(column, table, rows) for column in table.columns}
    frame = pd.DataFrame(cells).reindex(rows).astype(object).fillna("")
    frame.index = frame.index.str.removeprefix(SCALED)
    files = dict.fromkeys(column.file or table.file for column in table.columns)
    return f"{as_markdown(frame)}\n\n{commands_of(files)}"


def overview() -> str:
    """A GLN and the best other model for each of LINES."""
    rows = []
    for line in LINES:
        scores = select(load(line.file), line.measure, line.where)
        ours = line.ours or str(scores.columns[0])
        scores = scores[[ours, *(name for name in scores if not is_gln(str(name)))]]
        means = STATISTICS[line.statistic](scores)
        rivals = means.drop(ours)
        rival = str(rivals.idxmax() if line.higher else rivals.idxmin())
        won = better(scores[[ours, rival]], line.higher, ours)[rival]
        figures = [as_text(means[name], line.digits) for name in (ours, rival)]
        rows.append([line.tasks, figures[0], f"{figures[1]} ({rival.removeprefix(SCALED)})", won])
    header = ["GLN", "best other model", "GLN better on"]
    return as_markdown(pd.DataFrame([row[1:] for row in rows], [row[0] for row in rows], header))


def renew(path: Path) -> str:
    """The text of a page with its tables renewed."""
    results = (PAGES / "results").relative_to(path.parent).as_posix()

    def table_of(match: re.Match[str]) -> str:
        made = overview() if match[2] == "overview" else markdown_of(TABLES[match[2]])
        return f"{match[1]}{made.replace('(results/', f'({results}/')}\n\n{match[3]}"

    return MARKED.sub(table_of, path.read_text(encoding="utf-8"))


def main() -> None:
    for path in WITH_TABLES:
        path.write_text(renew(path), encoding="utf-8")


OF_CLASSES = (
    Column("accuracy, %", "Accuracy in percent", 2, higher=True),
    Column("log-loss", "Log-loss"),
    Column("GLN better on", "Log-loss", statistic="better"),
    Column("lowest on", "Log-loss", 0, statistic="wins"),
    Column("calibration error", "Calibration error", 4),
    Column("seconds", "Seconds of a fit", 2),
)
OF_REGRESSION = (
    Column("R²", "R²", higher=True),
    Column("GLN better on", "R²", statistic="better", higher=True),
    Column("highest on", "R²", 0, statistic="wins", higher=True),
    Column("in the interval, %", "Targets within the interval, percent", 1),
    Column("pinball loss", "Pinball loss"),
    Column("seconds", "Seconds of a fit"),
)
RIVER, R, WORDS = ("River's streams",), ("R's streams",), "names and words"
NO_DRIFT = "tables", "games with penalties", "wheels"
PASS = "One exact online pass over MNIST, ten heads"
PARTS = "What each ingredient contributes: the recipe with one thing changed, 2 seeds"
SORTED = "Tables as streams, by gln.river: "
PERMUTED, SPLIT = "Permuted MNIST, 8 tasks of 10000 digits", "Split-MNIST, 60000 digits"
BOOSTING = "HistGradientBoostingClassifier"
TABLES = {
    "held_out": Table("tables_held_out", OF_CLASSES),
    "two_classes": Table("tables_seconds", OF_CLASSES),
    "regression_held_out": Table("regression_held_out", OF_REGRESSION),
    "densities_of_tables": Table(
        "densities",
        (
            Column("NLL", "NLL, tables"),
            Column("CRPS", "CRPS, tables"),
            Column("CRPS where all predict", "CRPS, tables", statistic="mean where all predict"),
            Column("coverage error, points", "Coverage error, points, tables", 1),
            Column("density better on (CRPS)", "CRPS, tables", statistic="better"),
        ),
    ),
    "densities_of_streams": Table(
        "densities",
        (
            Column("NLL, real", "NLL, streams", where=("real streams",)),
            Column("NLL, synthetic", "NLL, streams", where=("synthetic streams",)),
            Column("CRPS, real", "CRPS, streams", where=("real streams",)),
            Column("CRPS, synthetic", "CRPS, streams", where=("synthetic streams",)),
            Column("coverage error, real", "Coverage error, points, streams", 1, ("real streams",)),
            Column("density better on (CRPS)", "CRPS, streams", statistic="better"),
        ),
    ),
    "defaults": Table(
        "defaults",
        (
            Column("accuracy, %", "Progressive accuracy in percent", 2, higher=True),
            Column("log-loss", "Progressive log-loss"),
            Column("log-loss, noisy labels", "Progressive log-loss", where=("noisy labels",)),
            Column("log-loss, MNIST", "Progressive log-loss", where=("MNIST",)),
        ),
        (
            *("the default", "1 / √(1 + t / 3000)", "not normalised, the paper's min(100 / (t + 1), 0.01)"),
            *("halfspaces from the first 100 samples", "[64, 32]"),
        ),
    ),
    "text": Table(
        "text",
        (
            Column("log-loss, 11 packages", "log-loss", where=("docstrings",)),
            Column("log-loss, 2 packages", "log-loss", where=("docstrings of scipy and sklearn",)),
            Column("log-loss, emails", "log-loss", where=("generated mails",)),
            Column("seconds, mean", "seconds of a fit", 2),
        ),
    ),
    "streams_of_classes": Table(
        "streams",
        (
            Column("accuracy, River", "Accuracy, percent", 1, RIVER, higher=True),
            Column("accuracy, R", "Accuracy, percent", 1, R),
            Column("log-loss, River", "Log-loss", where=RIVER),
            Column("log-loss, R", "Log-loss", where=R),
            Column("kappa, all", "Cohen's kappa"),
            Column("GLN better on (accuracy)", "Accuracy, percent", statistic="better", higher=True),
            Column("microseconds", "Microseconds per sample, classes", 0, statistic="median"),
        ),
    ),
    "streams_of_numbers": Table(
        "streams",
        (
            Column("mean rank, River", "Mean absolute error", 2, RIVER, "rank"),
            Column("mean rank, R", "Mean absolute error", 2, R, "rank"),
            Column("lowest error on", "Mean absolute error", 0, statistic="wins"),
            Column("GLN better on", "Mean absolute error", statistic="better"),
            Column("microseconds", "Microseconds per sample, numbers", 0, statistic="median"),
        ),
    ),
    "streams_of_words": Table(
        "streams",
        (
            Column("accuracy, %", f"Accuracy, percent, {WORDS}", 1, higher=True),
            Column("log-loss", f"Log-loss, {WORDS}"),
            Column("kappa", f"Cohen's kappa, {WORDS}"),
            Column("GLN better on (accuracy)", f"Accuracy, percent, {WORDS}", statistic="better", higher=True),
            Column("error, films", f"Mean absolute error, {WORDS}", where=("Films",)),
            Column("error, loans", f"Mean absolute error, {WORDS}", where=("Loans",)),
        ),
    ),
    "names": Table(
        "names",
        (
            *(
                Column(name, "Progressive log-loss", 3, (f"{name}, vw",))
                for name in ("numbers", "films", "sessions", "ids")
            ),
            Column("films, frozen", "Frozen models on later lines: log-loss", 3, ("films",)),
            Column("lines a second, films", "Lines a second", 0, ("films, vw",)),
            Column("from CSV", "Lines a second", 0, ("films, csv",)),
        ),
    ),
    "permuted": Table(
        "forgetting",
        (
            Column("accuracy on all 8 tasks, %", "mean of all tasks at the end", 1, (PERMUTED,), higher=True),
            Column("forgotten", "forgotten, on all but the last", 1, (PERMUTED,)),
            Column("MB", "megabytes", 1, (PERMUTED,)),
        ),
        (
            *("GLN [32, 16], k = 4", "GLN [32, 16], k = 10", "perceptron", "perceptron, EWC"),
            *("perceptron, replay of 1,000", "linear model"),
        ),
    ),
    "split": Table(
        "forgetting",
        (
            Column("class-incremental", "class-incremental", 1, (SPLIT,), higher=True),
            Column("domain-incremental", "domain-incremental", 1, (SPLIT,)),
            Column("shuffled", "shuffled", 1, (SPLIT,)),
            Column("MB", "megabytes", 1, (SPLIT,)),
        ),
        (
            *("GLN [32, 16], k = 4", "GLN [32, 16], k = 4, replay of 1,000", "GLNDensityClassifier()"),
            *("perceptron", "perceptron, EWC", "perceptron, replay of 1,000", "streaming LDA"),
            "ridge, 2,000 random features",
        ),
    ),
    "mnist": Table(
        "mnist",
        (
            Column("accuracy, %", "accuracy", 2, (PASS,)),
            Column("log-loss", "log-loss", 3, (PASS,)),
            Column("calibration error", "calibration error", 3, (PASS,)),
            Column("seconds", "seconds per pass", 1, (PASS,)),
        ),
        (
            *("the recipe of gln-mnist, 5 seeds", "the best setting on pixels, 3 seeds", "with orientations, 3 seeds"),
            "our reading of the paper: [128, 128, 1], 4 (x - mean), min(100 / t, 0.01)",
            "plain steps, [128, 128, 128, 1] in windows: 8 (x - mean), min(50 / t, 0.003)",
        ),
    ),
    "speed": Table(
        "speed",
        (
            Column("MNIST, seconds", "MNIST pass, s", 1),
            Column("times gln_numpy", "times gln_numpy", 1),
            Column("one call, us", "predict", 0),
            Column(
                "wide, ms",
                "ms per sample",
                2,
                ("A wide network, [2000, 1000, 500, 1], 4 halfspaces, ten heads, batch of one",),
            ),
        ),
        (
            *("gln_numpy", "gln_torch", "gln_tf", "gln_jax", "gln_numba"),
            *("SGDClassifier", "MLPClassifier (64)"),
        ),
    ),
    "people": Table(
        "drawings",
        (
            Column("recognised, %", "1,000 others recognised", 1),
            Column("MNIST's test digits, %", "MNIST's test digits", 1),
            Column("ms per lesson", "ms per lesson, median", 1),
        ),
    ),
    "images": Table(
        "images",
        (
            Column("test, frozen", "test, frozen", 1),
            Column("test, still learning", "test, still learning", 1),
            Column("processor seconds", "seconds of processor time", 0),
        ),
    ),
    "splits": Table(
        "papers",
        tuple(
            Column(f"{name}: {header}", measure, 2, (name,))
            for name in ("Boston", "concrete")
            for header, measure in (("RMSE", "RMSE"), ("log-likelihood", "log-likelihood"))
        ),
    ),
    "capacity": Table(
        "papers",
        tuple(
            Column(f"{task}, epoch {epoch}", f"accuracy, epoch {epoch}", 1, (task,), higher=True)
            for task in ("shuffled labels", "noise as images")
            for epoch in (1, 5, 20)
        ),
    ),
    "bandits": Table(
        "bandits",
        (
            Column("tables", "Normalised reward", 2, ("tables",), higher=True),
            Column("first 200", "Normalised reward, first 200 steps", 2),
            Column("game", "Normalised reward", 2, ("games with penalties",)),
            Column("wheels", "Normalised reward", 2, ("wheels",)),
            Column("all three", "Normalised reward", 2, NO_DRIFT),
            Column("after a drift", "Normalised reward", 2, ("drifts",)),
            Column("inverse-gap better on", "Normalised reward", statistic="better", higher=True),
            Column("microseconds", "Microseconds to decide and learn, 10 features", 0, ("7 arms",)),
        ),
        (
            *("GLN inverse-gap", "GLN counts", "GLN greedy", "GLN epsilon", "GLCB", "NeuralLinear"),
            *("LinUCB", "LinUCB, distances", "LinTS", "VW squarecb", "VW regcbopt"),
        ),
        ours="GLN inverse-gap",
    ),
    "novelty": Table(
        "novelty",
        tuple(
            Column(f"{title}, {kind}", measure, 1, (kind,), higher=True)
            for title, measure in (
                ("stream: AUC", "Streams, AUC"),
                ("found", "Streams, found at 1% of alarms"),
                ("table: AUC", "Tables, AUC"),
            )
            for kind in ("chosen on", "held out")
        ),
    ),
}
LINES = (
    Line("[20 held-out tables](#classification): log-loss", "tables_held_out", "Log-loss"),
    Line("the same: calibration error", "tables_held_out", "Calibration error", 4),
    Line("the same: accuracy, %", "tables_held_out", "Accuracy in percent", 1, higher=True),
    Line("[13 held-out tables](#regression): R²", "regression_held_out", "R²", higher=True),
    Line("[21 tables](#densities): CRPS of densities", "densities", "CRPS, tables"),
    Line("[12 streams of River](streams.md): accuracy, %", "streams", "Accuracy, percent", 1, RIVER, True),
    Line("6 streams of R: accuracy, %", "streams", "Accuracy, percent", 1, R, True),
    Line("14 streams of numbers: mean rank", "streams", "Mean absolute error", 2, statistic="rank"),
    Line("5 streams of names and words: log-loss", "streams", f"Log-loss, {WORDS}"),
    Line(
        "[20 bandits](streams.md#decisions): share of the possible reward",
        "bandits",
        "Normalised reward",
        2,
        NO_DRIFT,
        True,
        "GLN inverse-gap",
    ),
    Line(
        "[7 streams](streams.md#novelty) with rare classes: AUC, %", "novelty", "Streams, AUC", 1, ("held out",), True
    ),
)


if __name__ == "__main__":
    main()

"""Tables of docs/benchmarks are those that `benchmarks.pages` computes from the CSV files, which `--csv` writes, and
figures elsewhere are the same."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import pages, report

ALL = pages.WITH_TABLES
FILES = sorted((pages.PAGES / "results").glob("*.csv"))


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_tables_are_those_of_the_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert pages.renew(page) == text, "python -m benchmarks.pages"


def test_every_table_and_every_file_is_shown_once() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in ALL)
    assert sorted(name for _, name, _ in pages.MARKED.findall(text)) == sorted([*pages.TABLES, "overview"])
    assert {file.stem for file in FILES} == set(pages.COMMANDS)
    for name in pages.COMMANDS:
        assert f"results/{name}.csv)" in text


def test_a_page_names_benchmarks_that_exist() -> None:
    for page in ALL:
        for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text(encoding="utf-8")):
            assert Path(pages.__file__).with_name(f"{name}.py").exists()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_values_are_numbers(file: Path) -> None:
    values = pages.load(file.stem)
    assert len(values)
    assert values.map(math.isfinite).all()
    assert len(pd.read_csv(file)) == len(values)  # no key twice


def test_means_of_a_file_by_hand() -> None:
    lines = [line.split(",") for line in (pages.PAGES / "results" / "tables_held_out.csv").read_text().splitlines()]
    losses = [float(line[-1]) for line in lines if line[0] == "Log-loss" and line[3] == "GLNClassifier"]
    assert len(losses) == 20
    row = next(
        line for line in (pages.PAGES / "index.md").read_text().splitlines() if line.startswith("|GLNClassifier|")
    )
    assert row.split("|")[3] == f"{sum(losses) / 20:.3f}"


def values_of(file: str, measure: str, *where: str) -> pd.DataFrame:
    """A measure for each task (rows) and model (columns)."""
    return pages.select(pages.load(file), measure, where).rename(columns=lambda name: name.removeprefix(pages.SCALED))


def of_tables() -> Iterator[tuple[str, str]]:
    losses, errors, right = (
        values_of("tables_held_out", measure) for measure in ("Log-loss", "Calibration error", "Accuracy in percent")
    )
    models = "GLNClassifier", "LGBMClassifier", "RandomForestClassifier"
    gln, boosting, forest = ((losses[of].mean(), 100 * errors[of].mean(), right[of].mean()) for of in models)
    ours = "log-loss **{:.3f}**, calibration error **{:.1f}%**, accuracy **{:.1f}%**".format(*gln)
    others = "LightGBM {:.3f}, {:.1f}%, {:.1f}% <br> random forest {:.3f}, {:.1f}%, {:.1f}%".format(*boosting, *forest)
    yield "README.md", f"{ours} | {others} |"
    gains = losses["LGBMClassifier"] - losses["GLNClassifier"]
    lead = gains["movement_libras"] / gains.sum()
    won = f"{(gains > 0).sum()} of"
    yield "README.md", f"Log-loss is lower than LightGBM's on {won} the 20 tables, and {lead:.0%} of the lead"
    seconds = values_of("tables_held_out", "Seconds of a fit")
    ratio = (seconds["GLNClassifier"] / seconds["LGBMClassifier"]).median()
    yield "README.md", f"GLN takes {ratio:.1f} times as long as LightGBM, the median"
    page = "docs/tables.md"
    yield page, f"calibration error is {gln[1]:.1f}% (LightGBM {boosting[1]:.1f}%, random forest {forest[1]:.1f}%)"


def of_streams() -> Iterator[tuple[str, str]]:
    right, losses = (values_of("streams", name, *pages.RIVER).mean() for name in ("Accuracy, percent", "Log-loss"))
    times, models = values_of("streams", "Microseconds per sample, classes").median(), ("GLN", "ARF", "SRP")
    gln, forest, patches = ([each[f"{of}Classifier"] for each in (right, losses, times)] for of in models)
    ours = "accuracy **{:.1f}%**, log-loss **{:.3f}**, {:.0f} µs per sample".format(*gln)
    others = "adaptive random forest {:.1f}%, {:.3f}, {:.0f} µs <br> ".format(*forest)
    yield "README.md", f"{ours} | {others}" + "streaming random patches {:.1f}%, {:.3f}, {:,.0f} µs |".format(*patches)


def of_forgetting() -> Iterator[tuple[str, str]]:
    ours, perceptron, page = "GLN [32, 16], k = 4", "perceptron", "docs/papers.md"
    forgotten = values_of("forgetting", "forgotten, on all but the last").iloc[0]
    few, many, others = (forgotten[name] for name in (ours, ours.replace("4", "10"), perceptron))
    yield page, f"forgets {few} points of accuracy with 4 halfspaces and {many} with 10; a perceptron forgets {others}."
    mixed, in_order, densities, densities_in_order = values_of("forgetting", f"{pages.SORTED}accuracy, %").mean()
    assert densities == densities_in_order
    yield page, f"`GLNClassifier` gets {mixed:.1f}% of the rows"
    yield (
        page,
        f"sorted by class, it gets {in_order:.1f}%. `GLNDensityClassifier` gets {densities:.1f}% in either order",
    )


def of_long_tables() -> Iterator[tuple[str, str]]:
    frames = [values_of("long", name) for name in ("seconds of a fit", "MiB of a fit", "log-loss")]
    text = (pages.PAGES.parent / "cores.md").read_text(encoding="utf-8")
    rows, table = re.findall(r"^\| (.*?) \| (\w+(?:Classifier|Regression)) \|", text, re.MULTILINE), ""
    assert len(rows) == 14
    for name, model in rows:
        table = name.strip() or table
        seconds, memory, loss = (frame.loc[table, model] for frame in frames)
        yield "docs/cores.md", f"{model} | {seconds:.1f} | {memory:.0f} | {loss:.3f} |"


def of_names() -> Iterator[tuple[str, str]]:
    rates = values_of("names", "Lines a second")
    ratios = (rates["vw"] / rates["gln-stream"]).filter(like="vw")
    yield "docs/benchmarks/streams.md", f"`vw` is {ratios.min():.0f} to {ratios.max():.0f} times as fast"
    fast = (rates["gln-stream --fast"] / rates["gln-stream"]).filter(like="csv")
    yield "docs/benchmarks/streams.md", f"from CSV, `--fast` is {fast.min():.1f} to {fast.max():.1f} times as fast"
    rows, pipe = (values_of("lines", name) for name in ("rows a second", "next lines, ms"))
    csv, json = (rows[f"{form}, classes"].item() for form in ("csv", "jsonl"))
    yield "docs/benchmarks/streams.md", f"learns {csv:,.0f} lines a second from CSV and {json:,.0f} from JSON."
    first = values_of("lines", "first line, s")["classes"].item()
    yield (
        "docs/benchmarks/streams.md",
        f"the first line takes {first:.2f} s and each later one {pipe['classes'].item():.2f} ms",
    )
    assert 1.5 < fast.median() < 1.7
    yield "docs/stream.md", "small networks without a slow one, 1.6 times as fast"  # and in `--help`


def of_digits() -> Iterator[tuple[str, str]]:
    right, seconds = (values_of("mnist", measure, pages.PASS).iloc[0] for measure in ("accuracy", "seconds per pass"))
    [paper], recipe = right.filter(like="our reading of the paper"), "the recipe of gln-mnist, 5 seeds"
    ours = f"**{right[recipe]:.1f}%** on the test set, {seconds[recipe]:.1f} s"
    yield "README.md", f"{ours} | [our reading](docs/papers.md) of the paper's recipe: {paper:.1f}% |"


def of_frames() -> Iterator[tuple[str, str]]:
    page, scores = "docs/benchmarks/index.md", values_of("frames", "Frames").drop(columns="GLN, not told")
    is_best, is_last = (scores.rank(axis=1, ascending=ascending)["GLN"] == 1 for ascending in (False, True))
    yield page, f"best on {is_best.sum()} frames and last on one (`{scores.index[is_last].item().split(',')[0]}`)"
    of_numbers = scores[~scores.index.str.contains("mlb_players_18|MplsStops|breaches")]  # the others are log-losses
    ours, *others = (of_numbers[name].mean() for name in ("GLN", "CatBoost", "skrub", "LightGBM"))
    yield page, "R² is {:.3f} (CatBoost {:.3f}, skrub {:.3f}, LightGBM {:.3f})".format(ours, *others)


def of_other_streams() -> Iterator[tuple[str, str]]:
    page, loss = "docs/benchmarks/streams.md", values_of("streams_capymoa", "Log-loss").mean()
    right = values_of("streams_capymoa", "Accuracy, percent")
    ahead = right.drop(columns="GLNClassifier").lt(right["GLNClassifier"], axis=0).sum()
    other = loss.drop("GLNClassifier")
    ours = loss["GLNClassifier"]
    yield page, f"GLN is {ours:.3f} on average, those of the others are from {other.min():.3f} ({other.idxmin()})"
    yield page, f"at least {ahead.min()} of the {len(right)} streams"
    elec = values_of("streams_files", "Accuracy, percent").loc["elec"]
    told = [f"{elec[name]:.1f}%" for name in ("GLNClassifier", "SRPClassifier", "NoChangeClassifier")]
    yield page, "GLN gets {}, SRPClassifier {} and NoChangeClassifier {}".format(*told)


def of_articles() -> Iterator[tuple[str, str]]:
    rewards = [values_of("bandits", "mean reward").loc[f"{name} articles replaced"] for name in ("15 of 15", "5 of 20")]
    ours, theirs = (
        [row[name].max() for row in rewards] for name in ("GLN inverse-gap", rewards[0].index.str.startswith("VW"))
    )
    sentence = (
        "GLN is {:.3f}; if five of 20 are replaced every 400, with late rewards, {:.3f}. The best of Vowpal Wabbit's"
    )
    yield "docs/benchmarks/streams.md", f"{sentence} bandits gets {{:.3f}} and {{:.3f}}.".format(*ours, *theirs)


def of_ingredients() -> Iterator[tuple[str, str]]:
    right = values_of("mnist", "accuracy", pages.PARTS).iloc[0]
    without = {
        "without deskewing": "digits as they are, not deskewed",
        "without windows": "halfspaces of the whole image, no windows",
        "with random halfspaces": "random halfspaces, not from data",
        "with the paper's steps, and": "steps not normalised, the paper's rate",
        "without gates": "no gates: linear",
    }
    parts = ", ".join(f"{right[model]:.2f}% {told}" for told, model in without.items()).replace("and,", "and")
    yield "docs/benchmarks/streams.md", f"the recipe gets {right['the recipe']:.2f}%. It gets {parts}."


def of_two_cores() -> Iterator[tuple[str, str]]:
    ours, theirs = (values_of("scaling", f"{name}, times as fast").stack() for name in ("GLN", "LightGBM"))
    fit = f"estimators fit {ours.min():.1f} to {ours.max():.1f} times as fast as on one"
    yield "docs/benchmarks/streams.md", f"{fit}, and LightGBM {theirs.min():.1f} to {theirs.max():.1f} times"


def of_papers() -> Iterator[tuple[str, str]]:
    page, ours, ewc = "docs/papers.md", "GLN [32, 16], k = 4", "perceptron, EWC"
    right = values_of("mnist", "accuracy", pages.PASS).iloc[0]
    printed = re.findall(
        r"^Accuracy: (98\.\d\d)$", (pages.PAGES.parents[1] / "README.md").read_text("utf-8"), re.MULTILINE
    )
    yield page, f"| 98% | {right.filter(like='our reading').item():.2f}% "
    five = right["the recipe of gln-mnist, 5 seeds"]
    yield page, f"{printed[0]}%; [five seeds](benchmarks/streams.md#digits) {five:.2f}% |"
    nats = [values_of("images", f"test, {when}")["GLN"].item() for when in ("frozen", "still learning")]
    yield page, "[{:.1f}](benchmarks/streams.md#images); still learning {:.1f} |".format(*nats)
    kept, forgotten = (
        values_of("forgetting", measure, pages.PERMUTED).iloc[0]
        for measure in ("mean of all tasks at the end", "forgotten, on all but the last")
    )
    of_gln = f"[{kept[ours]}%](benchmarks/streams.md#forgetting) of eight tasks, {forgotten[ours]} points forgotten"
    of_others = (
        f"perceptron {kept['perceptron']}%, {forgotten['perceptron']}; with EWC {kept[ewc]}%, {forgotten[ewc]} |"
    )
    yield page, f"{of_gln}; {of_others}"
    rewards = values_of("bandits", "Normalised reward", *pages.NO_DRIFT).mean()
    yield page, f"[GLCB {rewards['GLCB']:.2f}](benchmarks/streams.md#decisions) of the possible reward, "
    yield page, f"GLNBandit {rewards['GLN inverse-gap']:.2f} |"
    yield page, f"mean R² {values_of('regression_held_out', 'R²')['GLNRegressor'].mean():.3f} on 13 tables |"
    classes, domains = (
        values_of("forgetting", f"{way}-incremental", pages.SPLIT).iloc[0] for way in ("class", "domain")
    )
    of_gln = f"{classes[ours]}% class-incremental, {domains[ours]}% domain-incremental"
    of_others = (
        f"perceptron {classes['perceptron']}%, {domains['perceptron']}%; with EWC {classes[ewc]}%, {domains[ewc]}% |"
    )
    yield page, f"{of_gln}; {of_others}"
    yield page, f"with windows {right.filter(like='plain steps').item():.2f}% |"
    for measure, digits in (("RMSE", ("0.18", "0.08")), ("log-likelihood", ("0.02", "0.02"))):
        errors = values_of("papers", f"standard error, {measure}")["GLNRegressor, density"]
        assert tuple(f"{error:.2f}" for error in errors) == digits


def of_bandit_problems() -> Iterator[tuple[str, str]]:
    page, rewards = "docs/benchmarks/streams.md", values_of("bandit_problems", "Scaled reward")
    ours, rivals = rewards["GLNBandit"], rewards.drop(columns="GLNBandit")
    yield page, f"gets {ours.mean():.3f} of the possible reward on average"
    yield page, f"exploration methods {rivals.mean().max():.3f}. It is first on {(ours > rivals.max(axis=1)).sum()},"
    for name in ours.index[ours < rivals.max(axis=1)]:
        best = rivals.loc[name]
        yield page, f"({ours[name]:.3f}, {best.idxmax()} {best.max():.3f})"


@pytest.mark.parametrize(
    "told",
    [
        *(of_bandit_problems, of_tables, of_streams, of_forgetting, of_long_tables, of_names, of_digits),
        *(of_frames, of_other_streams, of_articles, of_ingredients, of_two_cores, of_papers),
    ],
)
def test_figures_elsewhere_are_those_of_the_files(told) -> None:
    for page, sentence in told():
        text = (pages.PAGES.parents[1] / page).read_text(encoding="utf-8")
        assert sentence in " ".join(text.split()), page


def scores() -> pd.DataFrame:
    return pd.DataFrame({"ours": [1.0, 2.0, 3.0, 4.0], "theirs": [1.0, 3.0, 1.0, math.nan]}, list("abcd"))


def test_wins_by_hand() -> None:
    assert pages.wins(scores(), higher=False).tolist() == [3, 2]  # the tie counts for both
    assert pages.wins(scores(), higher=True).tolist() == [3, 2]
    assert pages.better(scores(), higher=False, ours="ours").tolist() == ["1 of 3"]
    assert pages.better(scores(), higher=True, ours="ours").tolist() == ["1 of 3"]


def test_glns_come_first_and_the_others_from_best_to_worst() -> None:
    names = pages.rows_of(pages.TABLES["bandits"])
    ours = sum(map(pages.is_gln, names))
    assert names[0] == "GLN inverse-gap"
    assert all(map(pages.is_gln, names[:ours]))
    rewards = pages.select(pages.load("bandits"), "Normalised reward", ("tables",), names).mean()
    assert rewards[1:ours].is_monotonic_decreasing
    assert rewards[ours:].dropna().is_monotonic_decreasing


def test_means_where_a_model_did_not_predict() -> None:
    mean, common = (pages.STATISTICS[name](scores()) for name in ("mean", "mean where all predict"))
    assert mean["ours"] == 2.5
    assert math.isnan(mean["theirs"])
    assert common.tolist() == [2.0, 5 / 3]


def test_csv_keeps_what_was_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "values.csv"
    file.write_text("measure,kind,task,model,value\nlog-loss,real,a,ours,9\nlog-loss,real,a,theirs,8\n")
    options = report.command_line("A benchmark.").parse_args(["--csv", str(file)])
    kinds, summary = dict.fromkeys("ab", "real"), scores().agg(["mean"])
    report.show("log-loss", scores()[["ours"]], 2, file=options.csv, kinds=kinds, summary=summary)
    assert "| mean | 2.50 | 1.67 |" in capsys.readouterr().out
    rows = report.read_rows(file)
    assert rows["log-loss", "real", "a", "ours"] == "1"
    assert rows["log-loss", "real", "a", "theirs"] == "8"
    assert list(rows)[:2] == [("log-loss", "real", "a", "ours"), ("log-loss", "real", "a", "theirs")]
    assert rows["log-loss", "", "d", "ours"] == "4"
    assert len(rows) == 5


def test_csv_says_what_columns_are(tmp_path: Path) -> None:
    file = tmp_path / "values.csv"
    table = pd.DataFrame({"x": [0.5, math.nan]}, ["one", "two"])
    report.show("title", table, file=file, columns="measure")
    report.show("title", table, file=file, columns="task")
    assert report.read_rows(file) == {
        ("x", "", "title", "one"): "0.5",
        ("title", "", "x", "one"): "0.5",
    }


def test_without_csv_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = report.command_line("A benchmark.").parse_args(["--quick"])
    report.show("title", scores(), 1, file=options.csv)
    assert "| d | 4.0 |  |" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

"""Tables of docs/benchmarks are those that `benchmarks.pages` computes from the CSV files, which `--csv` writes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import pages, report

ALL = sorted(pages.PAGES.glob("*.md"))
FILES = sorted((pages.PAGES / "results").glob("*.csv"))


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_tables_are_those_of_the_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert pages.renew(text) == text, "python -m benchmarks.pages"


def test_every_table_and_every_file_is_shown_once() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in ALL)
    assert sorted(name for _, name, _ in pages.MARKED.findall(text)) == sorted([*pages.TABLES, "overview"])
    assert {file.stem for file in FILES} == set(pages.COMMANDS)
    for name in pages.COMMANDS:
        assert f"(results/{name}.csv)" in text


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
        line for line in (pages.PAGES / "tables.md").read_text().splitlines() if line.startswith("|GLNClassifier|")
    )
    assert row.split("|")[3] == f"{sum(losses) / 20:.3f}"


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

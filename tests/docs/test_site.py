"""The documentation site builds without warnings, no page is wider than the screen or too long, no code is cut off,
nothing external is loaded, and what pages name exists: options, modules, files, tests, arguments, versions."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib
import importlib.util
import inspect
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from helpers import ROOT

import gln
from gln_numpy import GLN

ENTRIES = 20  # of the navigation
COLUMNS = 82  # of code, which the site cuts off beyond
INCLUDE = re.compile(r'{% include-markdown "(.*?)"(?: end="(.*?)")? %}')
CODE = re.compile(r"^( *)```\w.*?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[([^]]*)\]\(\S*?([\w-]+\.(?:png|svg))\)")
COMMAND = re.compile(r"(gln-(?:mnist|draw|stream|bandit)|python -m benchmarks\.\w+)((?:\\\n|[^\n`|;&#])*)")
OPTION = re.compile(r"(?<!\S)(--[a-z][\w-]*)")
OF_VOWPAL_WABBIT = {"--cb", "--squarecb", "--cb_adf"}
PACKAGES = {"Python": 'requires-python = "', "PyTorch": "torch"}  # as pyproject.toml has them; others in small letters
NEEDS = "latex2mathml", "material", "mkdocs", "mkdocs_include_markdown_plugin", "mkdocs_jupyter", "mkdocstrings"
# The page's width, what it loaded, and elements that extend beyond the screen and are in no box that scrolls or clips.
LOOK = """
const width = document.documentElement.clientWidth;
const cut = e => e !== document.body && (getComputedStyle(e).overflowX !== 'visible' || cut(e.parentElement));
const wide = [...document.querySelectorAll('main *')].filter(e =>
  e.getBoundingClientRect().width && e.getBoundingClientRect().right > width + 1 && !cut(e.parentElement));
return [
  document.documentElement.scrollWidth,
  performance.getEntriesByType('resource').map(e => e.name),
  wide.map(e => e.outerHTML.slice(0, 200)),
];
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def text_of(page: Path) -> str:
    """A page as the site gets it: its includes resolved, and a notebook's cells of code as blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
        return "\n".join(f"```python\n{source}\n```" if kind == "code" else source for source, kind in cells)
    return INCLUDE.sub(lambda found: included(text_of(page.parent / found[1]), found[2]), text)


def included(text: str, end: str | None) -> str:
    if end is None:
        return text
    assert end in text
    return text.partition(end)[0]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*.ipynb"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_code_is_too_wide(page):
    text = text_of(page)
    codes = [code for _, code in CODE.findall(text) if not code.startswith("%%changed")]  # diffs are wide
    lines = [line for code in codes for line in code.splitlines()]
    assert [line for line in lines if len(line) > COLUMNS] == []


def texts() -> dict[str, str]:
    """All that documents this version, by the name of its file; pages as they are written."""
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
    return {
        page.relative_to(ROOT).as_posix(): text_of(page) if page.suffix == ".ipynb" else page.read_text("utf-8")
        for page in pages
    }


def source_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def options_of(command: str) -> set[str]:
    """The options that `--help` shows."""
    if not command.startswith("gln-"):
        files = f"{command.removeprefix('python -m ').replace('.', '/')}.py", "benchmarks/report.py"
        text = "".join(map(source_of, files))
        return {"--help", *re.findall(r'add_argument\(\s*"(--[\w-]+)"', text)}
    [module] = re.findall(rf'{command} = "(\S+):main"', source_of("pyproject.toml"))
    called = mock.patch.object(sys, "argv", [command, "--help"])
    with called, contextlib.redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
        importlib.import_module(module).main()
    return set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", shown.getvalue(), re.MULTILINE))


def test_options_that_pages_name_exist():
    commands = [found for text in texts().values() for found in COMMAND.findall(text)]
    named = [(command, option) for command, rest in commands for option in OPTION.findall(rest)]
    assert len(named) > 40
    assert [f"{command} {option}" for command, option in named if option not in options_of(command)] == []
    known = OF_VOWPAL_WABBIT.union(*(options_of(command) for command, _ in commands))
    for page, text in texts().items():
        if page == "docs/start.md":  # the first column has options of others
            text = "\n".join(row.split(" | ")[-1] for row in text.splitlines() if row.startswith("|"))
        assert set(re.findall(r"`(--[a-z][\w-]*)", text)) <= known, page


def test_modules_files_and_tests_that_pages_name_exist():
    for page, text in texts().items():
        for module, rest in re.findall(r"`((?:gln|gln_\w+|test_mnist|benchmarks)\b)((?:\.\w+)*)", text):
            path, names = ROOT / module, rest.removesuffix(".py").split(".")[1:]
            while names and ((path / names[0]).is_dir() or (path / f"{names[0]}.py").exists()):
                path /= names.pop(0)
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            assert file.exists(), f"{page}: {module}{rest}"
            assert not names or re.search(rf"\b{names[0]}\b", file.read_text("utf-8")), f"{page}: {module}{rest}"
        for file in re.findall(r"(?<![\w./(])((?:tests|benchmarks|examples|docs)/[\w/]+\.\w+)", text):
            assert (ROOT / file).exists(), f"{page}: {file}"
        for file, name in re.findall(r"(tests/[\w/]+\.py)\s-k\s(\w+)", text):
            assert re.search(rf"def test_\w*{name}", source_of(file)), f"{page}: {file} -k {name}"


def test_the_reference_has_all_arguments_and_their_defaults():
    section = source_of("docs/api.md").partition("## Arguments of `GLN`")[2].partition("\n#")[0]
    shown = {
        name: default
        for names, default in re.findall(r"^\| (`.*?) \| (.*?)\|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    parameters = inspect.signature(GLN).parameters
    assert [*shown] == [*parameters]
    for name, parameter in parameters.items():
        expected = "" if parameter.default is parameter.empty else repr(parameter.default).replace("'", '"')
        assert shown[name].strip() == expected, name


def test_lowest_versions_are_those_of_the_metadata():
    section = source_of("docs/install.md").partition("## Versions")[2].partition("\n## ")[0]
    rows = re.findall(r"\| ([\w-]+) \| ([\d.]+) (?=\|)", section)
    assert len(rows) == 12
    assert [
        row for row in rows if f"{PACKAGES.get(row[0], row[0].lower())}>={row[1]}" not in source_of("pyproject.toml")
    ] == []


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {gln.__version__}\n" in source_of("CITATION.cff")
    assert re.findall(r"^## (.*)$", source_of("CHANGELOG.md"), re.MULTILINE)[0] == gln.__version__


def test_a_picture_is_described_in_the_same_words_everywhere():
    described: dict[str, set[str]] = {}
    for text in texts().values():
        for words, image in IMAGE.findall(text):
            described.setdefault(image, set()).add(words)
    assert len(described) > 15
    assert {image: words for image, words in described.items() if len(words) > 1} == {}


def test_no_table_has_an_escaped_bar():  # the site shows its backslash in code; &#124; is right there and on GitHub
    rows = [row for text in texts().values() for row in text.splitlines() if row.startswith("|")]
    assert [row for row in rows if "\\|" in row] == []


def settings() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def entries(navigation: Any) -> list[str]:
    """The pages of the navigation, or of a section of it."""
    if isinstance(navigation, str):
        return [navigation]
    sections = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for section in sections for page in entries(section)]


def test_the_navigation_is_short_and_its_pages_exist():
    pages = entries(settings()["nav"])
    assert len(pages) <= ENTRIES
    assert [page for page in pages if not (ROOT / "docs" / page).exists()] == []


def test_links_to_notebooks_work_on_github_and_on_the_site(monkeypatch):
    pytest.importorskip("latex2mathml")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    hooks, found = importlib.import_module("hooks"), set()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        links = {page.parent / link for link in re.findall(r"\]\(((?:\.\./)*examples/\w+\.ipynb)\)", text)}
        assert [link for link in links if not link.exists()] == []
        found |= {link.name for link in links}
    assert found == {file.name for file in (ROOT / "examples").glob("*.ipynb")}
    assert hooks.on_page_markdown("[a](../examples/a.ipynb)") == "[a](examples/a.ipynb)"
    assert hooks.on_page_markdown("[a](../../examples/a.ipynb)") == "[a](../examples/a.ipynb)"


def test_a_phone_shows_glns_and_the_best_two_others(monkeypatch):
    pytest.importorskip("latex2mathml")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    hooks = importlib.import_module("hooks")
    rows = [f"<tr>\n<td>{name}</td>\n<td>0.9</td>\n</tr>" for name in ("GLN", "GLN, fast", "A", "B", "C", "D")]
    page = f"<!-- table: of_models -->\n\n<table>\n<tr>\n<th></th>\n</tr>\n{''.join(rows)}</table>"
    marked = hooks.on_page_content(page)
    assert re.findall(r'<tr class="not-on-a-phone">\s*<td>(.*?)</td>', marked) == ["C", "D"]
    assert marked.endswith(f'<p class="on-a-phone">{hooks.NOTE}</p>')
    few = page.replace(rows[-1], "").replace(rows[-2], "")
    assert hooks.on_page_content(few) == few


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [package for package in NEEDS if importlib.util.find_spec(package) is None]
    if missing and not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.skip(f"the site needs {', '.join(missing)}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def url(built: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.slow
def test_no_page_is_wider_than_the_screen(built, url, chromium):
    files = [file for file in built.rglob("index.html") if "Redirecting" not in file.read_text(encoding="utf-8")]
    pages = sorted(file.parent.relative_to(built).as_posix() for file in files)
    assert len(pages) > 40
    for width in (390, 1280):  # before pages are loaded, which would move to another width slowly
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        for page in pages:
            chromium.get(f"{url}{'' if page == '.' else page + '/'}")
            scrolled, fetched, wide = chromium.execute_script(LOOK)
            assert (scrolled, wide) == (width, []), page
            assert [name for name in fetched if not name.startswith((url, "data:", "blob:"))] == [], page

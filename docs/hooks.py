"""Equations become MathML, which browsers draw by themselves: the site fetches no
scripts. On a phone, tables of models show GLNs and the best two others. Examples
stay in `examples`, beside the code: pages link to them there."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

# As arithmatex leaves it
EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL
)
# As benchmarks.pages writes it: GLNs first, the others from best to worst
TABLE = re.compile(r"<!-- table: \w+ -->\s*<table>.*?</table>", re.DOTALL)
ROW = re.compile(r"<tr>(?=\s*<td>(.*?)</td>)")
SHOWN = 2  # other models
NOTE = "GLNs and the best two others; a wider screen shows all."

# A link to an example, one folder further up than on the site
EXAMPLE = re.compile(r"(\]\((?:\.\./)*)\.\./(?=examples/[\w/]+\.(?:ipynb|py)\))")
ROOT = Path(__file__).parents[1]


@event_priority(100)  # before the plugin that renders notebooks
def on_files(files: Any, config: Any, **_: Any) -> Any:
    examples = [*ROOT.glob("examples/*.ipynb"), *ROOT.glob("examples/**/*.py")]
    for example in sorted(examples):
        name = example.relative_to(ROOT).as_posix()
        files.append(
            File(name, str(ROOT), config.site_dir, config.use_directory_urls)
        )
    return files


@event_priority(-100)  # after the plugin that includes README.md
def on_page_markdown(markdown: str, **_: Any) -> str:
    return EXAMPLE.sub(r"\1", markdown)


def on_page_content(content: str, **_: Any) -> str:
    return TABLE.sub(_best, EQUATION.sub(_mathml, content))


def _mathml(found: re.Match[str]) -> str:
    if found[1] == "span":
        return convert(html.unescape(found[2]), display="inline")
    equation = convert(html.unescape(found[2]), display="block")
    return f'<div class="equation">{equation}</div>'


def _best(found: re.Match[str]) -> str:
    """The table with marks on the rows that phones leave out."""
    names = ROW.findall(found[0])
    others = [name for name in names if not name.startswith("GLN")]
    left_out = others[SHOWN:]
    if not left_out or len(others) == len(names):
        return found[0]

    def marked(row: re.Match[str]) -> str:
        return '<tr class="not-on-a-phone">' if row[1] in left_out else row[0]

    return f'{ROW.sub(marked, found[0])}<p class="on-a-phone">{NOTE}</p>'

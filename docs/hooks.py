"""Equations become MathML, which browsers draw by themselves, and the link to the
repository asks GitHub for nothing: the site fetches neither scripts nor counts of
stars."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

# As arithmatex leaves it
EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    return EQUATION.sub(_mathml, content)


def on_post_page(output: str, **_: Any) -> str:
    return output.replace(' data-md-component="source"', "")


def _mathml(found: re.Match[str]) -> str:
    if found[1] == "span":
        return convert(html.unescape(found[2]), display="inline")
    equation = convert(html.unescape(found[2]), display="block")
    return f'<div class="equation">{equation}</div>'

"""The pages in each language that has a file of texts: `words/en.json`, `words/de.json`."""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

__all__ = ["chosen", "filled", "languages", "words"]

FILES = resources.files("gln.page")


@functools.cache
def languages() -> list[str]:
    """The two-letter codes of the languages, English first."""
    found = {file.name.removesuffix(".json") for file in (FILES / "words").iterdir() if file.name.endswith(".json")}
    return ["en", *sorted(found - {"en"})]


@functools.cache
def words(language: str) -> dict[str, str]:
    """All texts of the pages by name; names in braces are placeholders that the page fills in."""
    return json.loads((FILES / "words" / f"{language}.json").read_text(encoding="utf-8"))


def chosen(headers: Mapping[str, str], language: str | None) -> str:
    """`language`, or if it is None, the first available one that the browser asks for, or else English."""
    wanted = [part.strip()[:2].lower() for part in headers.get("accept-language", "").split(",")]
    return language or next((each for each in wanted if each in languages()), "en")


def filled(page: str, language: str, **settings: Any) -> str:
    """A page in a language: {{name}} becomes the text or setting of this name, {{words}} all texts as JSON."""
    texts = {name: html.escape(word) for name, word in words(language).items()}
    texts |= {name: html.escape(each) if isinstance(each, str) else json.dumps(each) for name, each in settings.items()}
    texts["words"] = json.dumps(words(language)).replace("<", "\\u003c")  # "<" could end the script
    texts |= {"language": language, "style": (FILES / "style.css").read_text(encoding="utf-8")}
    return re.sub(r"{{(\w+)}}", lambda found: texts[found[1]], (FILES / page).read_text(encoding="utf-8"))

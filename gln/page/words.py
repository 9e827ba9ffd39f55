"""The pages in the languages that there are files of words for: `words/en.json`, `words/de.json`."""

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
    """Their two letters, English first."""
    found = {file.name.removesuffix(".json") for file in (FILES / "words").iterdir() if file.name.endswith(".json")}
    return ["en", *sorted(found - {"en"})]


@functools.cache
def words(language: str) -> dict[str, str]:
    """All texts of the pages by name; a name in braces stands for what the page fills in."""
    return json.loads((FILES / "words" / f"{language}.json").read_text(encoding="utf-8"))


def chosen(headers: Mapping[str, str], language: str | None) -> str:
    """The language, or where that is None the first that a browser asks for and that there is, or English."""
    wanted = [part.strip()[:2].lower() for part in headers.get("accept-language", "").split(",")]
    return language or next((each for each in wanted if each in languages()), "en")


def filled(page: str, language: str, **settings: Any) -> str:
    """A page in a language: {{name}} becomes the word or the setting of this name, {{words}} all of them as JSON."""
    texts = {name: html.escape(word) for name, word in words(language).items()}
    texts |= {name: html.escape(each) if isinstance(each, str) else json.dumps(each) for name, each in settings.items()}
    texts["words"] = json.dumps(words(language)).replace("<", "\\u003c")  # which could end the script
    texts |= {"language": language, "style": (FILES / "style.css").read_text(encoding="utf-8")}
    return re.sub(r"{{(\w+)}}", lambda found: texts[found[1]], (FILES / page).read_text(encoding="utf-8"))

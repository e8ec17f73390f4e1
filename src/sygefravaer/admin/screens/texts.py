# SPDX-License-Identifier: MPL-2.0
"""
The two languages of the screens: written in Danish where they are used, and in English in `texts/<screen>.en.toml`.

A text is its own key. In a template it stands in `_("...")`; in code it is marked by `danish("...")` and said by `_` of
the page that shows it. What is counted is said by `ngettext("%(num)s besked", "%(num)s beskeder", n)`: two lines
of English.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

COOKIE: Final = "lang"


class Language(StrEnum):
    """What a person reads."""

    DANISH = "da"
    ENGLISH = "en"

    @property
    def name_of(self) -> str:
        """Give its own name for itself."""
        return "Dansk" if self is Language.DANISH else "English"


def danish(text: str) -> str:
    """Mark a Danish text that a page says later; what marks it also says it in Danish."""
    return text


@cache
def english() -> Mapping[str, str]:
    """Read all English texts, once; raises `ValueError` when one Danish text has two."""
    found: dict[str, str] = {}
    for name, texts in files().items():
        for key, text in texts.items():
            if found.setdefault(key, text) != text:
                raise ValueError(f"{name}: another file says this in other words: {key}")
    return found


def files() -> dict[str, Mapping[str, str]]:
    """Read the files of English texts, by the name of their screen."""
    here = resources.files("sygefravaer.admin.screens").joinpath("texts")
    return {
        one.name.removesuffix(".en.toml"): tomllib.loads(one.read_text("utf-8"))
        for one in sorted(here.iterdir(), key=lambda one: one.name)
        if one.name.endswith(".en.toml")
    }


class Speaker:
    """Says texts in one language; a text without English is said in Danish, and a test finds it."""

    def __init__(self, language: Language, texts: Mapping[str, str]) -> None:
        self.language = language
        self._texts: Mapping[str, str] = {} if language is Language.DANISH else texts

    def say(self, text: str) -> str:
        """Say a text."""
        return self._texts.get(text, text)

    def count(self, one: str, several: str, number: int) -> str:
        """Say how many."""
        return self.say(one if number == 1 else several)

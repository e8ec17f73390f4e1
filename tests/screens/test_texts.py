# SPDX-License-Identifier: MPL-2.0
"""Every Danish text has its English, and no English is left behind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment

from sygefravaer.admin.problems import Unforeseen
from sygefravaer.admin.screens.in_danish import PROBLEMS
from sygefravaer.admin.screens.site import SCREENS
from sygefravaer.admin.screens.texts import Language, Speaker, english, files
from sygefravaer.errors import SygefravaerError

ADMIN = Path(__file__).parents[2] / "src" / "sygefravaer" / "admin"
SOURCE = ADMIN.parent
BEHIND = ("admin/screens", "delivery", "jobcenter")
ONES_BEHIND = (
    *("admin/looking", "admin/routing", "agreements/organisations", "agreements/reading", "agreements/workflow"),
    *("audit/sampling", "audit/searching", "ksd/acts", "ksd/case_acts"),
    *("ksd/opening", "ksd/policy", "sandbox/moving", "sandbox/plays", "sandbox/scenarios/clocks"),
)
TEMPLATES = Environment(extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True, autoescape=True)


def in_template(source: str) -> set[str]:
    """Find what a template says: each text, and both of something that is counted."""
    found: set[str] = set()
    for _line, _function, said in TEMPLATES.extract_translations(source):  # type: ignore[attr-defined]
        found |= {one for one in ((said,) if isinstance(said, str) else said or ()) if one}
    return found


def in_code(source: str) -> set[str]:
    """Find what code marks with `danish(...)`."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "danish"
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def by_screen() -> dict[str, set[str]]:
    """Find what each screen says: its templates, and its module or package."""
    found: dict[str, set[str]] = {}
    for path in sorted((ADMIN / "templates").rglob("*.html")):
        found.setdefault(path.relative_to(ADMIN / "templates").parts[0], set()).update(in_template(path.read_text()))
    for path in sorted((ADMIN / "screens").rglob("*.py")):
        name = path.relative_to(ADMIN / "screens").parts[0].removesuffix(".py")
        found.setdefault(name, set()).update(in_code(path.read_text("utf-8")))
    return found


def test_every_danish_text_has_its_english():
    """What is missing is listed as it would stand in the file."""
    known = english()
    missing = {screen: sorted(texts - known.keys()) for screen, texts in by_screen().items() if texts - known.keys()}

    assert missing == {}


def test_no_english_is_left_behind():
    """A text that nothing says any more is taken out."""
    said = set().union(*by_screen().values())

    assert {name: sorted(texts.keys() - said) for name, texts in files().items() if texts.keys() - said} == {}


def test_english_has_the_same_places_for_values():
    """A sentence that lost its number would say nothing, or stop the page."""
    odd = [text for text, said in english().items() if sorted(_places(text)) != sorted(_places(said))]

    assert odd == []


def _places(text: str) -> list[str]:
    return [part.partition(")")[0] for part in text.replace("%%", "").split("%(")[1:]]


def test_what_is_said_in_danish_of_errors_is_about_errors_that_there_are():
    """A code that was renamed would be said in English again."""
    known = {one.code for one in _all(SygefravaerError)} | {Unforeseen.code, "Http404", "Http405"}
    given = set().union(*(_codes(file) for file in SOURCE.rglob("*.py")))

    assert PROBLEMS.keys() - known - given == set()


def test_what_the_rooms_behind_the_screens_refuse_is_said_in_danish():
    """What people can get wrong on a screen is answered in their own language."""
    files = [file for place in BEHIND for file in (SOURCE / place).rglob("*.py")]
    files += [SOURCE / f"{name}.py" for name in ONES_BEHIND]
    given = {code: file.relative_to(SOURCE) for file in files for code in _codes(file)}

    assert len(given) > 30
    assert {code: str(file) for code, file in given.items() if code not in PROBLEMS} == {}


def _codes(file: Path) -> set[str]:
    """Find the codes that a module gives to what it refuses."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in {"UsageError", "ActRefused"}
        if node.args and isinstance(node.args[0], ast.Constant)
    }


def _all(kind: type[SygefravaerError]) -> Iterator[type[SygefravaerError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _all(one)


def test_what_is_looked_for_is_found():
    """The three ways to say something; other functions and variables are nobody's texts."""
    assert in_template('{{ _("en") }}{{ ngettext("%(num)s to", "%(num)s tre", 2) }}{{ _(x) }}{{ f("nej") }}') == {
        "en",
        "%(num)s to",
        "%(num)s tre",
    }
    assert in_template("{% trans %}fire{% endtrans %}") == {"fire"}
    assert in_code('x = danish("fem")\ny = other("nej")') == {"fem"}


def test_a_speaker_says_what_it_knows():
    """English where there is some; Danish is its own text."""
    texts = {"en": "one", "to": "two"}

    assert Speaker(Language.ENGLISH, texts).count("en", "to", 1) == "one"
    assert Speaker(Language.ENGLISH, texts).count("en", "to", 2) == "two"
    assert Speaker(Language.ENGLISH, texts).say("tre") == "tre"
    assert Speaker(Language.DANISH, texts).say("en") == "en"


def test_every_screen_stands_in_the_documents():
    """A page that nobody tells of is looked for by nobody."""
    told = (SOURCE.parents[1] / "docs" / "screens.md").read_text("utf-8")

    assert [one.SCREEN.path for one in SCREENS if f"| `{one.SCREEN.path}" not in told and one.SCREEN.in_menu] == []

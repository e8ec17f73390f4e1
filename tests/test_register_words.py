# SPDX-License-Identifier: MPL-2.0
"""What the rooms say has its Danish, and every municipality its place on the map."""

from __future__ import annotations

import ast
import re
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from uuid import UUID

import pytest

from sygefravaer.admin.screens import words
from sygefravaer.admin.screens.municipality_map import drawn, places
from sygefravaer.agreements import Agreement, Caller, Facts, Status, decide
from sygefravaer.contract.operations import Service
from sygefravaer.contract.values import MUNICIPALITIES

SOURCE = Path(__file__).parent.parent / "src" / "sygefravaer"
ON, ONE = date(2026, 3, 2), UUID(int=1)
SAID_BY = (
    *("agreements/preflight.py:found", "agreements/preflight.py:try_this"),
    *("agreements/decision.py:what", "agreements/explaining.py:what"),
)
"""Where a room says a sentence: the module, and the argument in which it stands."""


def sentences(where: str) -> list[str]:
    """Find what stands in an argument: texts, both ways of a choice, and f-strings with their values as `1`."""
    module, _, name = where.partition(":")
    tree = ast.parse((SOURCE / module).read_text("utf-8"))
    given = [
        one.value for node in ast.walk(tree) if isinstance(node, ast.Call) for one in node.keywords if one.arg == name
    ]
    given += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    ]
    return [text for value in given for text in _texts(value)]


def _texts(value: ast.expr) -> list[str]:
    if isinstance(value, ast.IfExp):
        return [*_texts(value.body), *_texts(value.orelse)]
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in value.values)]
    return []


@pytest.mark.parametrize("where", SAID_BY)
def test_every_sentence_of_a_room_has_its_danish(where):
    """Read from the room's own source, so that a new sentence without Danish is missed."""
    found = sentences(where)

    assert len(found) > 2
    assert [text for text in found if words.in_danish(text) is None] == []


def test_every_rule_and_what_it_found_has_its_danish():
    """Each way in which a caller's right can be judged: rule, finding, what is near, what to do."""
    periods = [(ON - timedelta(9), None), (ON + timedelta(9), None), (ON - timedelta(9), ON - timedelta(1))]
    callers = [None] + [
        Caller(
            system_id=ONE,
            name="x",
            active=active,
            certificate_active=valid,
            certificate_from=first,
            certificate_to=last,
        )
        for active, valid, (first, last) in product((True, False), (True, False), periods)
    ]
    agreed = [()] + [
        (Agreement(agreement_id=ONE, status=status, valid_from=first, valid_to=last),)
        for status, (first, last) in product(Status, periods)
    ]
    said: set[str] = set()
    for caller, agreements, renewed in product(callers, agreed, (True, False)):
        facts = Facts(
            on=ON,
            service=Service.SYGEFRAVAER,
            municipality_cvr="29189846",
            caller=caller,
            renewed=renewed,
            agreements=agreements,
            near=("SygefravaerJC for 29189846",),
            route=None,
        )
        for step in decide(facts).steps:
            said |= {step.rule, step.found, *step.near} | ({step.remedy.what} if step.remedy else set())

    assert len(said) > 30
    assert sorted(text for text in said if words.in_danish(text) is None) == []


def test_what_changes_in_a_sentence_is_said_in_danish_too():
    """Days, states and municipalities; a sentence that is not known stays, marked as English, in Danish pages only."""
    assert words.in_danish(f"agreement {ONE}: approved, from 2026-03-02") == f"aftale {ONE}: godkendt, fra 02.03.2026"
    assert words.in_danish("there is an agreement about Sygefravaer for 29189846") == (
        "der er en aftale om Sygefravaer for Viborg"
    )
    assert words.said("the system is open", "en") == "the system is open"
    assert words.said("nobody has said this <b>", "da") == '<span lang="en">nobody has said this &lt;b&gt;</span>'


def test_every_municipality_has_a_place_of_its_own():
    """98 squares; north is up and west is left, where anybody would look."""
    at = {MUNICIPALITIES[cvr].navn: place for cvr, place in places().items()}

    assert len(at) == len(set(at.values())) == 98
    assert at["Hjørring"][1] < at["Aalborg"][1] < at["Viborg"][1] < at["Esbjerg"][1] < at["Tønder"][1]
    assert (
        at["Esbjerg"][0] < at["Odense"][0] < at["Slagelse"][0] < at["København"][0] < at["Bornholms Regionskommune"][0]
    )
    assert at["Helsingør"][1] < at["København"][1] < at["Dragør"][1] < at["Lolland"][1]


def test_the_map_names_systems_by_letter_and_style_the_most_used_first():
    """A letter more than the alphabet has, and styles that begin again; who has none is listed."""
    cvrs = list(MUNICIPALITIES)
    routes = {cvr: {"system": str(number // 3), "name": f"S{number // 3:02}"} for number, cvr in enumerate(cvrs[:90])}
    routes |= {cvr: {"system": "x", "name": "Most"} for cvr in cvrs[90:96]}
    whole = drawn(routes)

    assert [one.letter for one in whole.systems[:2]] == ["A", "B"]
    assert [whole.systems[0].name, len(whole.systems[0].municipalities)] == ["Most", 6]
    assert (whole.systems[26].letter, whole.systems[8].style) == ("A2", 0)
    assert [len(whole.systems), len(whole.without)] == [31, 2]
    assert {one.letter for one in whole.tiles if one.style is None} == {"–"}
    assert all(re.fullmatch("[A-Z]2?|–", one.letter) for one in whole.tiles)

# SPDX-License-Identifier: MPL-2.0
"""Look-ups drawn for the control of misuse: unforeseen, once, recorded; those without a case that was seen are marked."""

from __future__ import annotations

import asyncio

import pytest

from corridor import AARHUS, VIBORG
from record_rig import USERS, play

MARCH = ("audit", "sample", "--month", "2026-03", "--who", "revision")


@pytest.fixture(scope="module")
def desk(embedded, pki, tmp_path_factory):
    return asyncio.run(play(embedded, pki, tmp_path_factory.mktemp("desk")))


def test_a_draw_is_recorded_and_given_again(desk):
    """Who asks for the same once more gets the same, whoever it is and however many are wanted."""
    first = desk.told(*MARCH, "--number", 3)
    again = desk.told(*MARCH, "--number", 6, "--who", "en anden")
    ids = [row["audit_id"] for row in first["rows"]]
    (drawn,) = desk.rows("event = 'sample.drawn'")

    assert (first["again"], len(ids), first["of"]) == (False, 3, 7)
    assert (again["again"], again["drawn_by"]) == (True, "revision")
    assert [row["audit_id"] for row in again["rows"]] == ids
    assert drawn["detail"] == {"by": "revision", "month": "2026-03", "of": 7, "rows": ids}
    assert desk.rows("event = 'audit.searched'")[-1]["detail"]["by"] == "en anden"
    assert {row["event"] for row in first["rows"]} == {"lookup.asked"}
    assert {row["code"] for row in first["rows"]} == {"OK"}


def test_the_draws_of_municipalities_are_their_own_and_mark_what_has_no_case(desk):
    """Aarhus looked at a citizen of whom only Viborg has a message; in Viborg one of six has no message at all."""
    aarhus = desk.told(*MARCH, "--municipality", AARHUS)
    viborg = desk.told(*MARCH, "--municipality", VIBORG, "--users", "--purpose", "Stikprøve")
    text = desk.run(*MARCH, "--municipality", VIBORG).output

    assert [row["case_seen"] for row in aarhus["rows"]] == [False]
    assert [row["case_seen"] for row in viborg["rows"]] == [True] * 5 + [False]
    assert viborg["rows"][0]["user"] == USERS[0]
    assert viborg["rows"][5]["user"] == USERS[2]
    assert viborg["period"] == "in the 400 days before the look-up and the 14 days after it"
    assert text.count("NO CASE") == 2  # the explanation, and the one
    assert "\nINFO forged" not in text
    assert USERS[2] not in text


def test_a_case_that_was_seen_too_long_ago_counts_for_none(desk):
    """The period is what the output says: 400 days before, 14 after."""
    moved = "UPDATE message SET accepted_at = accepted_at %s interval '%s days'"
    sign = {"+": "-", "-": "+"}
    for direction, days, seen in (("-", 399, True), ("-", 401, False), ("+", 13, True), ("+", 15, False)):
        desk.change(moved % (direction, days))
        rows = desk.told(*MARCH, "--municipality", VIBORG)["rows"]
        desk.change(moved % (sign[direction], days))
        assert rows[0]["case_seen"] is seen


def test_a_draw_cannot_be_foreseen(desk):
    """Draws of the same months elsewhere differ: sixteen draws of two among seven are not all the same."""
    seen = set()
    for number in range(16):
        desk.change(f"UPDATE audit SET municipality_cvr = '{number:08}' WHERE event = 'sample.drawn'")
        seen.add(tuple(row["audit_id"] for row in desk.told(*MARCH, "--number", 2)["rows"]))
    assert len(seen) > 1


def test_only_a_month_that_is_over_and_exists_is_drawn(desk):
    """The month that runs could be drawn so that what is still to come is left out."""
    assert desk.error("audit", "sample", "--month", "2049-12", "--who", "revision") == "MonthRuns"
    assert desk.error("audit", "sample", "--month", "2026-13", "--who", "revision") == "MonthMalformed"
    assert desk.error(*MARCH, "--users") == "PurposeMissing"
    assert desk.told("audit", "sample", "--month", "2026-02", "--who", "revision")["rows"] == []

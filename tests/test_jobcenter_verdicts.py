# SPDX-License-Identifier: MPL-2.0
"""The verdict on an event: a pure rule, no database."""

import pytest

from sygefravaer.jobcenter.verdicts import Citizen, Judgement, KnownCase, Verdict, judge_event


def known(**given):
    return KnownCase(**({"version": 3, "ended": False, "opened": True, "same_content": False} | given))


@pytest.mark.parametrize(
    ("case", "kind", "version", "reopened", "citizen", "verdict", "code"),
    [
        (None, "OPRETTET", 1, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (None, "AENDRET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (None, "AFSLUTTET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(), "AENDRET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(opened=False), "AENDRET", 4, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(), "AENDRET", 2, False, Citizen.KNOWN, Verdict.OBSOLETE, None),
        (known(), "OPRETTET", 1, False, Citizen.DEAD, Verdict.OBSOLETE, None),
        (known(), "AENDRET", 3, False, Citizen.KNOWN, Verdict.REFUSED, "B106"),
        (known(same_content=True), "AENDRET", 3, False, Citizen.KNOWN, Verdict.REPEATED, None),
        (known(same_content=True, opened=False), "AENDRET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(same_content=True, opened=False), "OPRETTET", 3, False, Citizen.KNOWN, Verdict.REPEATED, None),
        (known(ended=True), "AENDRET", 4, False, Citizen.KNOWN, Verdict.REFUSED, "B105"),
        (known(ended=True), "AENDRET", 4, True, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(ended=True), "OPRETTET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(ended=True), "AFSLUTTET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (None, "OPRETTET", 1, False, Citizen.MOVED, Verdict.REFUSED, "B101"),
        (None, "OPRETTET", 1, False, Citizen.UNKNOWN, Verdict.REFUSED, "B102"),
        (known(), "AENDRET", 4, False, Citizen.DEAD, Verdict.REFUSED, "B103"),
        (known(), "AFSLUTTET", 4, False, Citizen.MOVED, Verdict.APPLIED, None),
        (known(), "AFSLUTTET", 4, False, Citizen.DEAD, Verdict.APPLIED, None),
    ],
)
def test_the_verdict_on_an_event(case, kind, version, reopened, citizen, verdict, code):  # noqa: PLR0917  a table
    """The order key decides first, then who the citizen is, then whether the case runs, then whether it was opened."""
    found = judge_event(case, haendelsestype=kind, version=version, reopened=reopened, citizen=citizen)
    assert found == Judgement(verdict=verdict, code=code)

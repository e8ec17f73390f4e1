# SPDX-License-Identifier: MPL-2.0
"""
Which rows of the two tables of a case's life a run has visited, read from what happened: `domain.md` 2.1 and 2.2.

A row counts when the doors show it: two versions in a row and what caused the second, a request and its reminders, the
state of a jobcentersag at a look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

from lifecycles.check import Told
from lifecycles.world import DENMARK, OPEN_STATES, Json

LEAD: Final = timedelta(weeks=8)

CASE_ROWS: Final = {
    "reported": "- -> ANMELDT: a report came (s. 40)",
    "closed": "ANMELDT -> AFSLUTTET: the report had a last day",
    "form": "ANMELDT -> OPLYST: the form came back (s. 11)",
    "kategori 1": "OPLYST -> LOEBENDE: kategori 1 (s. 12(2))",
    "kategori 2": "OPLYST -> LOEBENDE: kategori 2 or 3 at the first talk (s. 12(2))",
    "employer": "LOEBENDE -> LOEBENDE: the employer period ended (s. 30)",
    "sagsart": "LOEBENDE -> LOEBENDE: and the sagsart changed with it (s. 30)",
    "part-time": "LOEBENDE -> DELVIST_RASKMELDT: part-time return (s. 7, 53)",
    "three months": "same: wider test after 3 months, told by SF2095 alone (s. 7)",
    "asked, LOEBENDE": "LOEBENDE -> REVURDERING: 8 weeks before (s. 24(1))",
    "asked, DELVIST_RASKMELDT": "DELVIST_RASKMELDT -> REVURDERING",
    "asked, FORLAENGET": "FORLAENGET -> REVURDERING: before the end of the extension",
    "asked the same day": "-> REVURDERING the same day, as less than 8 weeks were left",
    "granted": "REVURDERING -> FORLAENGET (s. 27(1))",
    "refused": "REVURDERING -> AFSLUTTET: refusal and valid decision (s. 24(2), 27(3))",
    "silence": "REVURDERING -> REVURDERING: reminded, no answer, payment goes on past the day (75-15)",
    "stopped": "any open -> STANDSET (s. 21)",
    "resumed": "STANDSET -> LOEBENDE, or REVURDERING while a question is out (s. 21)",
    "stop ended it": "STANDSET -> AFSLUTTET after four weeks (s. 21)",
    "recovered": "any open -> AFSLUTTET: recovery (s. 7)",
    "other end": "any open -> AFSLUTTET: death, another scheme (s. 25(2)) ...",
    "moved": "any open -> OVERFLYTTET for the former municipality, as it was for the new one",
    "moved back": "and back to the former one",
    "reopened, LOEBENDE": "AFSLUTTET -> LOEBENDE (GENOPTAGET)",
    "reopened, as before": "AFSLUTTET -> another state that it had before its end (GENOPTAGET)",
    "annulled": "any -> ANNULLERET",
    "annulled after its end": "AFSLUTTET -> ANNULLERET",
}
SAG_ROWS: Final = {
    state: f"jobcentersag {state}: {how}"
    for state, how in (
        ("MODTAGET", "OPRETTET came"),
        ("VISITERET", "kategori 1"),
        ("FOERSTE_OPFOELGNING", "kategori 2"),
        ("LOEBENDE_OPFOELGNING", "the first talk was held"),
        ("UDEN_OPFOELGNING", "exempted"),
        ("STANDBY", "serious illness"),
        ("REHABTEAM", "kategori 3, until 2025"),
        ("VURDERER_FORLAENGELSE", "SF2093 came"),
        ("JOBAFKLARING", "refused, still incapacitated, or gone over"),
        ("AFSLUTTET", "AFSLUTTET came, or closed locally"),
    )
}


def visited(told: Told, seen: Counter[str]) -> Counter[str]:
    """Count the rows that a run has visited; `seen` is what it saw of jobcentersager on the way."""
    found: Counter[str] = Counter()
    for ksd in told.ksd.values():
        found.update(_of_case(ksd, told.today))
    for state in SAG_ROWS:
        found[state] += seen[f"jobcentersag {state}"]
    return found


def missing(found: Counter[str]) -> list[str]:
    """List the rows that were never visited."""
    return [text for name, text in (CASE_ROWS | SAG_ROWS).items() if not found[name]]


def table(found: Counter[str]) -> str:
    """Write the counts down."""
    lines = [f"{found[name]:>7}  {text}" for name, text in (CASE_ROWS | SAG_ROWS).items()]
    return "\n".join(["  visits  row of domain.md 2.1 and 2.2", *lines])


def _of_case(ksd: Json, today: date) -> Iterator[str]:
    rows: list[Json] = ksd["versions"]
    yield "reported"
    if len(rows) > 1 and rows[1]["state"] == "AFSLUTTET" and rows[0]["picture"].get("SidsteFravaersdag"):
        yield "closed"
    left: list[str] = []
    for before, after in pairwise(rows):
        had, has = before["state"], after["state"]
        if has == "OVERFLYTTET":
            left.append(before["municipality_cvr"])
            yield "moved"
            continue
        if had == "OVERFLYTTET":
            if after["municipality_cvr"] in left:
                yield "moved back"
            continue
        yield from _move(had, has, before["picture"], after)
    yield from _quiet(ksd, today)


def _move(had: str, has: str, before: Json, after: Json) -> Iterator[str]:
    cause, picture = after["picture"].get("Afslutningsaarsag"), after["picture"]
    match had, has:
        case "ANMELDT", "OPLYST":
            yield "form"
        case "OPLYST", "LOEBENDE":
            yield "kategori 1" if picture.get("Visitationskategori") == "1" else "kategori 2"
        case "LOEBENDE", "LOEBENDE" if after["cause"] == "agenda.PAY":
            yield "employer"
            if before["Sagsart"] != picture["Sagsart"]:
                yield "sagsart"
        case "LOEBENDE", "DELVIST_RASKMELDT":
            yield "part-time"
        case (("LOEBENDE" | "DELVIST_RASKMELDT" | "FORLAENGET"), "REVURDERING"):
            yield f"asked, {had}"
        case "REVURDERING", "FORLAENGET":
            yield "granted"
        case "REVURDERING", "AFSLUTTET" if after["cause"] in ("decide", "agenda.DECIDE"):
            yield "refused"
        case "STANDSET", ("LOEBENDE" | "REVURDERING"):
            yield "resumed"
        case "STANDSET", "AFSLUTTET" if cause == "P21_MANGLENDE_MEDVIRKEN":
            yield "stop ended it"
        case _, "STANDSET" if had in OPEN_STATES and had != "STANDSET":
            yield "stopped"
        case _, "AFSLUTTET" if had in OPEN_STATES:
            yield "recovered" if cause == "RASKMELDT" else "other end"
        case "AFSLUTTET", "LOEBENDE":
            yield "reopened, LOEBENDE"
        case "AFSLUTTET", _ if has in OPEN_STATES:
            yield "reopened, as before"
        case "AFSLUTTET", "ANNULLERET":
            yield "annulled after its end"
        case _, "ANNULLERET" if had != "ANNULLERET":
            yield "annulled"


def _quiet(ksd: Json, today: date) -> Iterator[str]:
    """Rows that no event tells: a wider test, a question in time or late, silence."""
    first, rows = date.fromisoformat(ksd["picture"]["FoersteFravaersdag"]), ksd["versions"]
    for update in ksd["updates"]:
        at = [row for row in rows if row["recorded_at"] <= update["applied_at"]]
        state = at[-1]["state"] if at else None
        late = date.fromisoformat(update["effective_on"]) - first >= timedelta(days=92)
        beside = "OPFOELGNING" in update["kinds"] and update["version"] is None
        if beside and late and state in ("LOEBENDE", "DELVIST_RASKMELDT"):
            yield "three months"
    for request in ksd["requests"]:
        review = date.fromisoformat(request["review"])
        asked = datetime.fromisoformat(request["asked_at"]).astimezone(DENMARK).date()
        closed = request["closed_at"]
        over = datetime.fromisoformat(closed).astimezone(DENMARK).date() if closed else today
        if review - asked < LEAD:
            yield "asked the same day"
        if request["reminders"] >= 1 and over > review:
            yield "silence"

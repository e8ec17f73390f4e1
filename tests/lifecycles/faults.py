# SPDX-License-Identifier: MPL-2.0
"""
Faults that are planted in the real code, one at a time, to see that the judge finds them.

A fault takes the place of one function of the product, as long as a test holds it; both sides run in the test's own
process, so the next message is handled by the faulty one. Each says what it does wrong, which life shows it, and what
the judge must call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final
from uuid import uuid4

import pytest

import sygefravaer.jobcenter.service
from lifecycles import scripts
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.verdicts import Judgement, Verdict
from sygefravaer.jobcenter.writing import Writer
from sygefravaer.ksd import cases, changes, rules, timing
from sygefravaer.ksd.casework import Casework
from sygefravaer.ksd.lifecycle import OPEN

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, how it is planted, the life that shows it, and the invariants of which one must be named."""

    what: str
    plant: Callable[[Patch], None]
    script: scripts.Script
    found_as: frozenset[str]

    def __str__(self) -> str:
        return self.script.__name__


def _version_not_raised(patch: Patch) -> None:
    real = cases.Cases.record

    async def record(self: cases.Cases, *given: Any, **more: Any) -> cases.Case:
        after = await real(self, *given, **more)
        return replace(after, picture=replace(after.picture, SagsVersion=max(1, after.version - 1)))

    patch.setattr(cases.Cases, "record", record)


def _old_over_new(patch: Patch) -> None:
    real = sygefravaer.jobcenter.service.judge_event

    def judge(*given: Any, **more: Any) -> Judgement:
        found = real(*given, **more)
        return Judgement(verdict=Verdict.APPLIED) if found.verdict is Verdict.OBSOLETE else found

    patch.setattr(sygefravaer.jobcenter.service, "judge_event", judge)


def _not_cumulative(patch: Patch) -> None:
    real = rules.days_left
    patch.setattr(rules, "days_left", lambda kode, _, *, first: real(kode, (), first=first))


def _handed_over_as_ended(patch: Patch) -> None:
    patch.setattr(changes, "HANDED_OVER", "AFSLUTTET")


def _reopened_without_extensions(patch: Patch) -> None:
    real = changes.reopened

    def reopened(*given: Any, **more: Any) -> changes.Change:
        change = real(*given, **more)
        return replace(change, picture=replace(change.picture, Forlaengelse=()))

    patch.setattr(changes, "reopened", reopened)


def _kategori_dropped(patch: Patch) -> None:
    real = changes._reported
    patch.setattr(
        changes,
        "_reported",
        lambda *given: {name: value for name, value in real(*given).items() if name != "Visitationskategori"},
    )


def _alias_unknown(patch: Patch) -> None:
    real = cases.Cases.is_person

    async def is_person(self: cases.Cases, tx: Any, sags_id: Any, number: Any, nemref: Any) -> bool:
        case = await self.seen(tx, sags_id)
        return case is not None and case.picture.CprNummer == number and await real(self, tx, sags_id, number, nemref)

    patch.setattr(cases.Cases, "is_person", is_person)


def _stops_counted(patch: Patch) -> None:
    async def stops(*_: Any) -> dict[Any, Any]:
        return {}

    patch.setattr(cases.Cases, "stops", stops)


def _decided_backwards(patch: Patch) -> None:
    def decided_on(_: str, *, review: date, decision: date) -> date:
        return min(review, decision)

    patch.setattr(timing, "decided_on", decided_on)


def _reminder_is_new(patch: Patch) -> None:
    real = Inbox.note_request

    async def note(self: Inbox, tx: Any, message: Any, *given: Any, **more: Any) -> Any:
        fresh = replace(message, AnmodningID=uuid4()) if message.Rykkernummer else message
        return await real(self, tx, fresh, *given, **more)

    patch.setattr(Inbox, "note_request", note)


def _ids_swapped(patch: Patch) -> None:
    real, before = Writer.event_answer, []

    def answer(self: Writer, *given: Any, jobcentersag_id: Any, **more: Any) -> Any:
        others = [each for each in before if each not in (None, jobcentersag_id)]
        before.append(jobcentersag_id)
        return real(self, *given, jobcentersag_id=others[-1] if others else jobcentersag_id, **more)

    patch.setattr(Writer, "event_answer", answer)


def _recovery_ends_all(patch: Patch) -> None:
    real = Casework.tell

    async def tell(self: Casework, tx: Any, case: Any, *told: Any, cause: Any, now: Any, **more: Any) -> Any:
        after = await real(self, tx, case, *told, cause=cause, now=now, **more)
        if told[-1].picture.Afslutningsaarsag == "RASKMELDT":
            for sags_id in await self._cases.cases_of(tx, case.person_id):
                other = await self._cases.held(tx, sags_id)
                if other is not None and other.state in OPEN:
                    end = changes.ended(other.picture, other.state, on=told[-1].on, cause="RASKMELDT")
                    await real(self, tx, other, end, cause=cause, now=now)
        return after

    patch.setattr(Casework, "tell", tell)


def _silence_ends(patch: Patch) -> None:
    async def remind(self: Casework, tx: Any, case: Any, anmodning_id: Any, *, now: Any) -> int:
        end = changes.ended(case.picture, case.state, on=timing.danish_date(now), cause="P24_OPHOER")
        await self.tell(tx, case, end, cause=cases.Cause(name="agenda.REMIND"), now=now)
        return 0

    patch.setattr(Casework, "remind", remind)


FAULTS: Final = tuple(
    Fault(what=what, plant=plant, script=script, found_as=frozenset(found_as))
    for what, plant, script, found_as in (
        ("a change is told under the version before it", _version_not_raised, scripts.plain, {"version"}),
        ("an event of a lower version is applied over the newer one", _old_over_new, scripts.old_copy, {"version"}),
        ("an extension is judged without what its code was granted for before", _not_cumulative,
         scripts.twice_extended, {"maximum"}),
        ("the former municipality is told that the case ended, not that it moved", _handed_over_as_ended,
         scripts.moved, {"former"}),
        ("a case that is reopened has lost its extensions", _reopened_without_extensions,
         scripts.reopened_extended, {"extensions kept"}),
        ("a kategori is taken and not told back", _kategori_dropped, scripts.plain, {"kategori"}),
        ("a citizen's former numbers are not looked up", _alias_unknown, scripts.former_number, {"refusals"}),
        ("weeks in which payment was stopped count", _stops_counted, scripts.stopped, {"review date"}),
        ("a refusal ends payment at the day of review, backwards", _decided_backwards,
         scripts.refused_late, {"backwards"}),
        ("a reminder is taken for a new question", _reminder_is_new, scripts.reminded, {"requests"}),
        ("a jobcentre answers with the JobcentersagID of another case", _ids_swapped,
         scripts.two_citizens, {"jobcentersag"}),
        ("a recovery ends the citizen's other case as well", _recovery_ends_all,
         scripts.two_employers, {"one subject"}),
        ("payment ends where nobody answered a question", _silence_ends, scripts.unanswered, {"silence"}),
    )
)  # fmt: skip

# SPDX-License-Identifier: MPL-2.0
"""
What KSD does to a case, with the message that tells it, in one transaction: change, ask, remind, resend, withdraw.

A version without a message would be a secret, and a message without a version a rumour: here neither can happen,
but for the cases a sandbox begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, cast
from uuid import UUID, uuid4

from sygefravaer.contract.messages import SendAnmodningForlaengelseRequest, SendHaendelseSygefravaerssagRequest
from sygefravaer.contract.values import Cpr
from sygefravaer.ksd import changes, rules, timing
from sygefravaer.ksd.cases import Case, Cases, Cause
from sygefravaer.ksd.changes import Change, Event, Impossible
from sygefravaer.ksd.lifecycle import ENDED, OPEN
from sygefravaer.ksd.reckoning import Reckoning
from sygefravaer.ksd.rules import RequestStatus, Withdrawal
from sygefravaer.ksd.sending import EVENT, REQUEST, Outbox
from sygefravaer.ksd.timing import Due, Habits, Known, Live
from sygefravaer.law import NEVER, danish_date
from sygefravaer.store import Row, Tx

REMINDERS: Final = 9  # what Rykkernummer can hold
RULE_75_15: Final = "75-15: a decision ends payment, and never backwards"

_INSERT_REQUEST: Final = """
INSERT INTO request (anmodning_id, sags_id, municipality_cvr, korrelations_id, kind, review, deadline, codes, weeks,
                     asked_at)
VALUES (%(anmodning_id)s, %(sags_id)s, %(municipality_cvr)s, %(korrelations_id)s, %(kind)s, %(review)s, %(deadline)s,
        %(codes)s, %(weeks)s, %(now)s)
"""
_CONVERSATION: Final = """
SELECT r.korrelations_id FROM request r JOIN sag s USING (sags_id)
WHERE s.person_id = %(person_id)s AND r.review = %(review)s AND r.status = 'open'
  AND r.municipality_cvr = %(municipality_cvr)s AND s.sags_id <> %(sags_id)s
ORDER BY r.number LIMIT 1
"""
_WITHDRAW: Final = """
UPDATE request SET status = 'withdrawn', withdrawal = %(withdrawal)s, closed_at = %(now)s
WHERE sags_id = %(sags_id)s AND status IN ('open', 'answered')
RETURNING anmodning_id, kind, review, weeks
"""
_LIVE: Final = """
SELECT anmodning_id, status, kind, review, deadline, reminders, refusal, closed_at AS answered_at FROM request
WHERE sags_id = %(sags_id)s AND status IN ('open', 'answered') ORDER BY number
"""
_REMIND: Final = """
UPDATE request SET reminders = reminders + 1
WHERE anmodning_id = %(anmodning_id)s AND status = 'open' AND reminders < %(most)s
RETURNING *
"""
_CLOSE: Final = """
UPDATE request SET status = %(status)s, refusal = %(refusal)s, closed_at = %(now)s WHERE anmodning_id = %(anmodning_id)s
"""
_LAST_EVENT: Final = """
SELECT event, effective_on, reasons FROM sag_version
WHERE sags_id = %(sags_id)s AND version = %(version)s
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to ask about; what is left open is computed."""

    kind: str | None = None
    review: date | None = None
    deadline: date | None = None
    weeks: Decimal | None = None


class Casework:
    """Changes cases and tells of it. Every method works on a case whose row is held, in the transaction given."""

    def __init__(self, cases: Cases, outbox: Outbox, reckoning: Reckoning, habits: Callable[[], Habits]) -> None:
        self._cases = cases
        self._outbox = outbox
        self._reckoning = reckoning
        self._habits = habits
        self._law = reckoning.law

    async def tell(self, tx: Tx, case: Case, *told: Change, cause: Cause, now: datetime, quiet: bool = False) -> Case:
        """
        Make a version of each change and tell it (M1); `quiet` leaves the telling out, for cases to begin with.

        A case that ends takes its request with it. So does one that is no longer what was asked about: another first
        day, employer or number (the assessment would be worthless, F307), or another day at which payment would end.
        """
        for change in told:
            besked_id, before = uuid4(), case
            change = await self._reckoning.reviewed(tx, case, change)  # noqa: PLW2901  the same change, counted
            case = await self._cases.record(tx, case, change, besked_id=besked_id, cause=cause, now=now)
            if case.state in ENDED:
                await self.withdraw(tx, case.sags_id, Withdrawal.ENDED, now=now)
            elif before.version and _other_question(before, case):
                await self.withdraw(tx, case.sags_id, Withdrawal.SUPERSEDED, now=now)
            await self._reckoning.note(tx, before, case, now=now)
            if quiet:
                continue
            await self._event(
                tx,
                case,
                change.event,
                on=change.on,
                reasons=change.reasons,
                previous=before.version or None,
                besked_id=besked_id,
                now=now,
            )
        await self.look_ahead(tx, case)
        return case

    async def count_anew(self, tx: Tx, case: Case, *, cause: Cause, now: datetime) -> Case:
        """Count a case's weeks anew and tell it (M1) if RevurderingsDato has moved."""
        change = await self._reckoning.recounted(tx, case, today=danish_date(now))
        if change is None:
            await self.look_ahead(tx, case)
            return case
        return await self.tell(tx, case, change, cause=cause, now=now)

    async def look_ahead(self, tx: Tx, case: Case) -> list[Due]:
        """Note when KSD next does something with a case by itself, and give all that is coming."""
        due = await self.coming(tx, case)
        await self._cases.look_again(tx, case.sags_id, due[0].at if due else None)
        return due

    async def coming(self, tx: Tx, case: Case) -> list[Due]:
        """List what KSD will do with a case by itself, the earliest first."""
        if case.state in ENDED:
            return []
        known = Known(
            picture=case.picture,
            state=case.state,
            opened_at=case.opened_at,
            stopped_on=case.stopped_on,
            live=[_live(row) for row in await tx.all(_LIVE, sags_id=case.sags_id)],
        )
        return timing.coming(known, self._habits(), self._law)

    async def asked(self, tx: Tx, case: Case) -> bool:
        """Say whether a request for extension of the case is out, or answered and not decided."""
        return bool(await tx.all(_LIVE, sags_id=case.sags_id))

    async def decide(self, tx: Tx, case: Case, *, cause: Cause, now: datetime, ending: str | None = None) -> Case:
        """
        Decide on the refusal that a case waits with: it ends, but never backwards (75-15).

        `ending` is the Afslutningsaarsag where the refusal leaves it open. Raises Impossible when no refusal waits, or
        when it says nothing to end by.
        """
        refused = [live for live in (_live(row) for row in await tx.all(_LIVE, sags_id=case.sags_id)) if live.refusal]
        if not refused:
            raise Impossible("No refusal waits for a decision.")
        live = refused[-1]
        refusal = cast("str", live.refusal)
        code = ending or timing.ending_of(refusal, case.picture.Forlaengelse)
        if code is None:
            raise Impossible("The refusal says nothing to end by; an Afslutningsaarsag was wanted.")
        on = timing.decided_on(refusal, review=live.review, decision=danish_date(now))
        end = changes.ended(case.picture, case.state, on=on, cause=code, rule=RULE_75_15)
        await self.close(tx, live.anmodning_id, RequestStatus.DECIDED, refusal=refusal, now=now)
        return await self.tell(tx, case, end, cause=cause, now=now)

    async def move(self, tx: Tx, case: Case, *, code: str, on: date, cause: Cause, now: datetime) -> Case:
        """Move a case to another municipality; an open request is withdrawn there and put anew to the new one."""
        both = changes.moved(case.picture, case.state, left=case.municipality_cvr, code=code, on=on)
        withdrawn = await self.withdraw(tx, case.sags_id, Withdrawal.MOVED, now=now)
        case = await self.tell(tx, case, *both, cause=cause, now=now)
        for row in withdrawn[-1:]:
            question = Question(kind=row["kind"], review=row["review"], weeks=row["weeks"])
            case, _ = await self.ask(tx, case, question, cause=cause, now=now)
        return case

    async def renumber(self, tx: Tx, old: Cpr, new: Cpr, *, on: date, cause: Cause, now: datetime) -> list[Case]:
        """Give a citizen a new number and tell it in every open case; ended cases are found by all numbers."""
        numbers = await self._cases.renumber(tx, old, new, now=now)
        told = []
        for sags_id in await self._cases.cases_of(tx, numbers.person_id):
            case = await self._cases.held(tx, sags_id)
            if case is not None and case.state in OPEN:
                change = changes.renumbered(
                    case.picture, case.state, current=numbers.current, former=numbers.former, on=on
                )
                told.append(await self.tell(tx, case, change, cause=cause, now=now))
        if told:
            await self._reckoning.note_person(tx, numbers.person_id, NOBODY, now=now)
        return told

    async def ask(self, tx: Tx, case: Case, question: Question, *, cause: Cause, now: datetime) -> tuple[Case, UUID]:
        """
        Ask for an extension (M3); a request that is still open is superseded. Gives the AnmodningID.

        RevurderingsDato is the end of the last extension, else the case's own. Raises Impossible without one.
        """
        today = danish_date(now)
        granted = case.picture.Forlaengelse
        review = question.review or (granted[-1].TilDato if granted else None) or case.picture.RevurderingsDato
        if review is None:
            raise Impossible("It has no RevurderingsDato, and none was given.")
        if review >= NEVER:
            raise Impossible("Its extension has no end to ask about.")
        kind = question.kind or rules.usual_kind(granted, pensioner=self._reckoning.pensioner(case, review))
        codes = rules.possible_codes(kind, review)
        if not codes:
            raise Impossible("No Forlaengelseskode can be used on its RevurderingsDato.")
        await self.withdraw(tx, case.sags_id, Withdrawal.SUPERSEDED, now=now)
        anmodning_id, besked_id = uuid4(), uuid4()
        change = changes.asked(case.picture, case.state, on=today)
        if change is not None:
            case = await self._cases.record(tx, case, change, besked_id=besked_id, cause=cause, now=now)
        korrelations_id = await self._conversation(tx, case, review)
        request = {
            "anmodning_id": anmodning_id,
            "sags_id": case.sags_id,
            "municipality_cvr": case.municipality_cvr,
            "korrelations_id": korrelations_id,
            "kind": kind,
            "review": review,
            "deadline": question.deadline or timing.answer_deadline(today, review, self._law),
            "codes": list(codes),
            "weeks": (await self._reckoning.weeks_used(tx, case, today) if question.weeks is None else question.weeks),
        }
        await tx.run(_INSERT_REQUEST, **request, now=now)
        await self._request(tx, case, {**request, "reminders": 0}, besked_id=besked_id, now=now)
        await self.look_ahead(tx, case)
        return case, anmodning_id

    async def remind(self, tx: Tx, case: Case, anmodning_id: UUID, *, now: datetime) -> int:
        """Send an open request again, and give its Rykkernummer. Raises Impossible when it is closed."""
        row = await tx.one(_REMIND, anmodning_id=anmodning_id, most=REMINDERS)
        if row is None:
            raise Impossible("The request is not open, or has had nine reminders.")
        await self._request(tx, case, row, besked_id=uuid4(), now=now)
        await self.look_ahead(tx, case)
        return int(row["reminders"])

    async def withdraw(self, tx: Tx, sags_id: UUID, withdrawal: Withdrawal, *, now: datetime) -> list[Row]:
        """Withdraw the requests of a case that are not decided, and give them."""
        return await tx.all(_WITHDRAW, sags_id=sags_id, withdrawal=withdrawal, now=now)

    async def close(
        self, tx: Tx, anmodning_id: UUID, status: RequestStatus, *, refusal: str | None = None, now: datetime
    ) -> None:
        """Note that a request has its answer, or its decision."""
        await tx.run(_CLOSE, anmodning_id=anmodning_id, status=status, refusal=refusal, now=now)

    async def resend(self, tx: Tx, case: Case, event: Event | None = None, *, now: datetime) -> UUID:
        """Tell the version as it is once more in a new message, as its own event or as another; gives the BeskedID."""
        row = await tx.one(_LAST_EVENT, sags_id=case.sags_id, version=case.version)
        if row is None:
            raise Impossible("It has no version.")
        besked_id = uuid4()
        await self._event(
            tx,
            case,
            event or Event(row["event"]),
            on=row["effective_on"],
            reasons=row["reasons"] or ((changes.DEFAULT_REASON,) if (event or row["event"]) == Event.AENDRET else ()),
            previous=None,
            besked_id=besked_id,
            now=now,
        )
        return besked_id

    async def _conversation(self, tx: Tx, case: Case, review: date) -> UUID:
        """Give the KorrelationsID: that of the citizen's other request with this day, else a new one."""
        row = await tx.one(
            _CONVERSATION,
            person_id=case.person_id,
            review=review,
            municipality_cvr=case.municipality_cvr,
            sags_id=case.sags_id,
        )
        return uuid4() if row is None else row["korrelations_id"]

    async def _event(
        self,
        tx: Tx,
        case: Case,
        event: Event,
        *,
        on: date,
        reasons: Iterable[str],
        previous: int | None,
        besked_id: UUID,
        now: datetime,
    ) -> None:
        await self._outbox.put(
            tx,
            SendHaendelseSygefravaerssagRequest(
                Hoved=self._outbox.header(
                    EVENT,
                    case.picture,
                    case.municipality_cvr,
                    besked_id=besked_id,
                    korrelations_id=uuid4(),
                    now=now,
                ),
                Haendelsestype=event,
                HaendelsesDato=on,
                Aendringsaarsag=tuple(reasons),
                ForrigeSagsVersion=previous,
                Sygefravaerssag=case.picture,
            ),
        )

    async def _request(self, tx: Tx, case: Case, request: Row, *, besked_id: UUID, now: datetime) -> None:
        await self._outbox.put(
            tx,
            SendAnmodningForlaengelseRequest(
                Hoved=self._outbox.header(
                    REQUEST,
                    case.picture,
                    case.municipality_cvr,
                    besked_id=besked_id,
                    korrelations_id=request["korrelations_id"],
                    now=now,
                ),
                AnmodningID=request["anmodning_id"],
                Rykkernummer=request["reminders"],
                Anmodningstype=request["kind"],
                RevurderingsDato=request["review"],
                Svarfrist=request["deadline"],
                MuligeForlaengelseskoder=tuple(request["codes"]),
                ForbrugteUger=request["weeks"],
                Sygefravaerssag=case.picture,
            ),
            anmodning_id=request["anmodning_id"],
        )


NOBODY: Final = UUID(int=0)
"""No case: every one of a citizen's counts."""


def _other_question(before: Case, after: Case) -> bool:
    """Say whether a request that is out no longer asks about the case as it is."""
    return changes.material(before.picture, after.picture) or (
        timing.review_of(before.picture) != timing.review_of(after.picture)
        and before.picture.Forlaengelse == after.picture.Forlaengelse
    )


def _live(row: Row) -> Live:
    return Live(**{**row, "status": RequestStatus(row["status"])})

# SPDX-License-Identifier: MPL-2.0
"""
The register of cases: citizens by the keyed hash of their numbers, cases, and every version a case ever had.

Whoever changes a case holds its row from reading it to commit, so versions follow one another without a gap and no
change is built on an old picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.values import Cpr
from sygefravaer.ksd import pictures
from sygefravaer.ksd.changes import Change
from sygefravaer.ksd.lifecycle import ENDED, HANDED_OVER, OPEN, State
from sygefravaer.ksd.rules import Ownership
from sygefravaer.law import danish_date
from sygefravaer.store import Row, Tx
from sygefravaer.vault import Vault

NUMBER: Final = "ksd.number"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A case as it is now, its row held."""

    sags_id: UUID
    nemrefusions_id: UUID
    person_id: UUID
    municipality_cvr: str
    version: int
    state: State
    before_end: State | None
    picture: SygefravaerssagType
    opened_at: datetime
    stopped_on: date | None = None
    pensioner_since: date | None = None
    """From which day the citizen is of the s. 25 group."""
    review_by_hand: bool = False
    """A person has set RevurderingsDato; it is not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """What made a version: an act, or the operation of a message and its BeskedID."""

    name: str
    besked_id: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """A citizen's personal numbers, the former ones oldest first."""

    person_id: UUID
    current: Cpr
    former: tuple[Cpr, ...]


_CASE: Final = """
SELECT s.sags_id, s.nemrefusions_id, s.person_id, s.municipality_cvr, s.version, s.state, s.before_end, s.opened_at,
       s.stopped_on, s.pensioner_since, s.review_by_hand, v.picture
FROM sag s JOIN sag_version v ON v.sags_id = s.sags_id AND v.version = s.version
WHERE s.sags_id = %(sags_id)s
"""
# Not FOR UPDATE: whoever settles a message holds its lane and then notes a task, whose foreign key must not wait for a
# case that waits for the lane.
_HELD: Final = "SELECT FROM sag WHERE sags_id = %(sags_id)s FOR NO KEY UPDATE"
_OF_REPORT: Final = "SELECT sags_id FROM report WHERE nemrefusions_id = %(nemrefusions_id)s"
_OF_PERSON: Final = """
SELECT s.sags_id, s.state, s.municipality_cvr = %(municipality_cvr)s AS holds
FROM person_number p JOIN sag s USING (person_id)
WHERE p.cpr_key = %(cpr_key)s
  AND EXISTS (SELECT FROM sag_version v WHERE v.sags_id = s.sags_id AND v.municipality_cvr = %(municipality_cvr)s)
ORDER BY s.opened_at DESC, s.sags_id
"""
_VERSION: Final = (
    "SELECT sags_id, version, picture FROM sag_version WHERE sags_id = %(sags_id)s AND version = %(version)s"
)
_OWNERSHIP: Final = """
SELECT (SELECT municipality_cvr FROM sag WHERE sags_id = %(sags_id)s) = %(municipality_cvr)s AS holds,
       count(*) > 0 AS had,
       max(effective_on) FILTER (WHERE state = %(handed_over)s) AS left_on
FROM sag_version WHERE sags_id = %(sags_id)s AND municipality_cvr = %(municipality_cvr)s
"""
_IS_PERSON: Final = """
SELECT EXISTS (
    SELECT FROM person_number p JOIN sag s USING (person_id)
    WHERE s.sags_id = %(sags_id)s AND p.cpr_key = %(cpr_key)s
) AND (%(nemrefusions_id)s::uuid IS NULL OR EXISTS (
    SELECT FROM report r WHERE r.sags_id = %(sags_id)s AND r.nemrefusions_id = %(nemrefusions_id)s
)) AS is_person
"""
_INSERT_CASE: Final = """
INSERT INTO sag (sags_id, nemrefusions_id, person_id, municipality_cvr, version, state, opened_at, changed_at,
                 pensioner_since, review_by_hand)
VALUES (%(sags_id)s, %(nemrefusions_id)s, %(person_id)s, %(municipality_cvr)s, 0, %(state)s, %(now)s, %(now)s,
        %(pensioner_since)s, %(review_by_hand)s)
"""
_INSERT_REPORT: Final = """
INSERT INTO report (nemrefusions_id, sags_id, attached_at) VALUES (%(nemrefusions_id)s, %(sags_id)s, %(now)s)
"""
_INSERT_VERSION: Final = """
INSERT INTO sag_version (
    sags_id, version, recorded_at, effective_on, event, reasons, municipality_cvr, moved_to_cvr, state, first_day,
    last_day, besked_id, cause, cause_id, rule, picture
) VALUES (
    %(sags_id)s, %(version)s, %(now)s, %(effective_on)s, %(event)s, %(reasons)s, %(municipality_cvr)s,
    %(moved_to_cvr)s, %(state)s, %(first_day)s, %(last_day)s, %(besked_id)s, %(cause)s, %(cause_id)s, %(rule)s,
    %(picture)s
)
"""
_UPDATE_CASE: Final = """
UPDATE sag SET version = %(version)s, state = %(state)s, before_end = %(before_end)s,
    municipality_cvr = %(municipality_cvr)s, stopped_on = %(stopped_on)s, changed_at = %(now)s
WHERE sags_id = %(sags_id)s
"""
_NUMBERS: Final = """
SELECT person_id, number, is_current FROM person_number
WHERE person_id = (SELECT person_id FROM person_number WHERE cpr_key = %(cpr_key)s)
ORDER BY known_at, cpr_key FOR UPDATE
"""
_INSERT_NUMBER: Final = """
INSERT INTO person_number (cpr_key, person_id, number, is_current, known_at)
VALUES (%(cpr_key)s, %(person_id)s, %(number)s, true, %(now)s)
ON CONFLICT (cpr_key) DO NOTHING
"""
_PERSON: Final = "SELECT person_id FROM person_number WHERE cpr_key = %(cpr_key)s"
_NONE_CURRENT: Final = "UPDATE person_number SET is_current = false WHERE person_id = ANY(%(people)s)"
_MERGE_NUMBERS: Final = "UPDATE person_number SET person_id = %(person_id)s WHERE person_id = ANY(%(people)s)"
_MERGE_CASES: Final = "UPDATE sag SET person_id = %(person_id)s WHERE person_id = ANY(%(people)s)"
_SET_CURRENT: Final = "UPDATE person_number SET is_current = true WHERE cpr_key = %(cpr_key)s"
_CASES_OF: Final = "SELECT sags_id FROM sag WHERE person_id = %(person_id)s ORDER BY sags_id FOR NO KEY UPDATE"
_OTHERS: Final = """
SELECT s.sags_id, v.version, v.picture FROM sag s JOIN sag_version v ON v.sags_id = s.sags_id AND v.version = s.version
WHERE s.person_id = %(person_id)s AND s.sags_id <> %(sags_id)s AND s.state <> %(annulled)s
ORDER BY s.sags_id
"""
_STATES: Final = """
SELECT sags_id, state, effective_on FROM sag_version
WHERE sags_id = ANY(%(sags_ids)s) AND state <> %(handed_over)s ORDER BY sags_id, version
"""
_NEXT: Final = "UPDATE sag SET next_at = %(next_at)s WHERE sags_id = %(sags_id)s"
_BY_HAND: Final = """
UPDATE sag SET pensioner_since = %(pensioner_since)s, review_by_hand = %(review_by_hand)s WHERE sags_id = %(sags_id)s
"""


class Cases:
    """The register; every method works in the transaction it is given."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def cpr_key(self, number: Cpr) -> bytes:
        """Give the keyed hash that a citizen is found by."""
        return self._vault.lookup_key(number.reveal())

    def picture(self, row: Row) -> SygefravaerssagType:
        """Open the picture of a row."""
        return pictures.unpack(self.stored_picture(row))

    def stored_picture(self, row: Row) -> bytes:
        """Open the picture of a row as it was stored; it opens as that version of that case only."""
        return self._vault.open(row["picture"], context=picture_context(row["sags_id"], row["version"]))

    # --- finding ---

    async def held(self, tx: Tx, sags_id: UUID) -> Case | None:
        """Give a case and hold its row to the end of the transaction; `None` when there is none."""
        if not await tx.run(_HELD, sags_id=sags_id):
            return None
        return await self.seen(tx, sags_id)

    async def seen(self, tx: Tx, sags_id: UUID) -> Case | None:
        """Give a case as it is, without holding it."""
        row = await tx.one(_CASE, sags_id=sags_id)
        if row is None:
            return None
        return Case(
            sags_id=row["sags_id"],
            nemrefusions_id=row["nemrefusions_id"],
            person_id=row["person_id"],
            municipality_cvr=row["municipality_cvr"],
            version=row["version"],
            state=State(row["state"]),
            before_end=State(row["before_end"]) if row["before_end"] else None,
            picture=self.picture(row),
            opened_at=row["opened_at"],
            stopped_on=row["stopped_on"],
            pensioner_since=row["pensioner_since"],
            review_by_hand=row["review_by_hand"],
        )

    async def of_report(self, tx: Tx, nemrefusions_id: UUID) -> UUID | None:
        """Find the case that a report from NemRefusion opened or was attached to."""
        row = await tx.one(_OF_REPORT, nemrefusions_id=nemrefusions_id)
        return None if row is None else row["sags_id"]

    async def of_person(self, tx: Tx, number: Cpr, municipality_cvr: str) -> list[tuple[UUID, bool]]:
        """List the citizen's cases that are or were the municipality's, newest first: id, and whether open and its."""
        rows = await tx.all(_OF_PERSON, cpr_key=self.cpr_key(number), municipality_cvr=municipality_cvr)
        return [(row["sags_id"], row["holds"] and State(row["state"]) in OPEN) for row in rows]

    async def version(self, tx: Tx, sags_id: UUID, version: int) -> SygefravaerssagType | None:
        """Give an earlier picture of a case."""
        row = await tx.one(_VERSION, sags_id=sags_id, version=version)
        return None if row is None else self.picture(row)

    async def ownership(self, tx: Tx, sags_id: UUID, municipality_cvr: str) -> Ownership | None:
        """Say whose case it is, seen from a municipality; `None` when it never was its case."""
        row = await tx.one(_OWNERSHIP, sags_id=sags_id, municipality_cvr=municipality_cvr, handed_over=HANDED_OVER)
        if row is None or not row["had"]:
            return None
        return Ownership(holds=row["holds"], left_on=None if row["holds"] else row["left_on"])

    async def is_person(self, tx: Tx, sags_id: UUID, number: Cpr, nemrefusions_id: UUID | None) -> bool:
        """Say whether the number is or was that of the case's citizen, and the NemrefusionsID, if any, the case's."""
        row = await tx.one(_IS_PERSON, sags_id=sags_id, cpr_key=self.cpr_key(number), nemrefusions_id=nemrefusions_id)
        return row is not None and bool(row["is_person"])

    async def cases_of(self, tx: Tx, person_id: UUID) -> list[UUID]:
        """List a citizen's cases and hold them."""
        return [row["sags_id"] for row in await tx.all(_CASES_OF, person_id=person_id)]

    async def others(self, tx: Tx, case: Case) -> list[SygefravaerssagType]:
        """List the pictures of the citizen's other cases, without holding them; an annulled one never was."""
        rows = await tx.all(_OTHERS, person_id=case.person_id, sags_id=case.sags_id, annulled=State.ANNULLERET)
        return [self.picture(row) for row in rows]

    async def stops(self, tx: Tx, sags_ids: Iterable[UUID]) -> dict[UUID, list[tuple[date, date]]]:
        """List the times in which nothing was paid for these cases, first and last day (s. 21)."""
        found: dict[UUID, list[tuple[date, date]]] = {}
        begun: dict[UUID, date] = {}
        for row in await tx.all(_STATES, sags_ids=list(sags_ids), handed_over=HANDED_OVER):
            sags_id, on = row["sags_id"], row["effective_on"]
            if row["state"] == State.STANDSET:
                begun.setdefault(sags_id, on)
            elif sags_id in begun:
                found.setdefault(sags_id, []).append((begun.pop(sags_id), on - timedelta(days=1)))
        for sags_id, first in begun.items():
            found.setdefault(sags_id, []).append((first, date.max))
        return found

    # --- citizens ---

    async def person(self, tx: Tx, number: Cpr, *, now: datetime) -> Numbers:
        """Give the citizen with this number, present or former; one who is new is noted."""
        key = self.cpr_key(number)
        sealed = self._vault.seal(number.reveal().encode(), context=NUMBER)
        await tx.run(_INSERT_NUMBER, cpr_key=key, person_id=uuid4(), number=sealed, now=now)
        return self._numbers(await tx.all(_NUMBERS, cpr_key=key))

    async def renumber(self, tx: Tx, old: Cpr, new: Cpr, *, now: datetime) -> Numbers:
        """Give a citizen a new number; whoever was known by it before is the same citizen from now on."""
        people = [(await self.person(tx, number, now=now)).person_id for number in (old, new)]
        keep, *others = people
        await tx.run(_NONE_CURRENT, people=people)
        await tx.run(_MERGE_NUMBERS, person_id=keep, people=others)
        await tx.run(_MERGE_CASES, person_id=keep, people=others)
        await tx.run(_SET_CURRENT, cpr_key=self.cpr_key(new))
        return self._numbers(await tx.all(_NUMBERS, cpr_key=self.cpr_key(new)))

    def _numbers(self, rows: Sequence[Row]) -> Numbers:
        opened = [
            (Cpr.of_wire(self._vault.open(row["number"], context=NUMBER).decode()), row["is_current"]) for row in rows
        ]
        return Numbers(
            person_id=rows[0]["person_id"],
            current=next(number for number, current in opened if current),
            former=tuple(number for number, current in opened if not current),
        )

    # --- writing ---

    async def open(
        self,
        tx: Tx,
        picture: SygefravaerssagType,
        municipality_cvr: str,
        *,
        now: datetime,
        pensioner_since: date | None = None,
    ) -> Case:
        """
        Note a case that has no version yet; `Conflict` when its SagsID or NemrefusionsID is taken.

        A RevurderingsDato that it is opened with was set by hand.
        """
        by_hand = picture.RevurderingsDato is not None
        numbers = await self.person(tx, picture.CprNummer, now=now)
        state = State(picture.SagsTilstand)
        await tx.run(
            _INSERT_CASE,
            sags_id=picture.SagsID,
            nemrefusions_id=picture.NemrefusionsID,
            person_id=numbers.person_id,
            municipality_cvr=municipality_cvr,
            state=state,
            now=now,
            pensioner_since=pensioner_since,
            review_by_hand=by_hand,
        )
        for report in (picture.NemrefusionsID, *picture.TilknyttetNemrefusionsID):
            await tx.run(_INSERT_REPORT, nemrefusions_id=report, sags_id=picture.SagsID, now=now)
        return Case(
            sags_id=picture.SagsID,
            nemrefusions_id=picture.NemrefusionsID,
            person_id=numbers.person_id,
            municipality_cvr=municipality_cvr,
            version=0,
            state=state,
            before_end=None,
            picture=replace(picture, CprNummer=numbers.current, TidligereCprNummer=numbers.former),
            opened_at=now,
            pensioner_since=pensioner_since,
            review_by_hand=by_hand,
        )

    async def set_by_hand(self, tx: Tx, case: Case, *, pensioner_since: date | None, review_by_hand: bool) -> Case:
        """Note what a person has said of a case beside its picture."""
        values = {"pensioner_since": pensioner_since, "review_by_hand": review_by_hand}
        await tx.run(_BY_HAND, sags_id=case.sags_id, **values)
        return replace(case, pensioner_since=pensioner_since, review_by_hand=review_by_hand)

    async def look_again(self, tx: Tx, sags_id: UUID, next_at: datetime | None) -> None:
        """Note when KSD next looks at a case by itself; `None` is never."""
        await tx.run(_NEXT, sags_id=sags_id, next_at=next_at)

    async def attach(self, tx: Tx, sags_id: UUID, reports: Iterable[UUID], *, now: datetime) -> None:
        """Attach reports to a case; `Conflict` when one belongs to another case."""
        for report in reports:
            if await self.of_report(tx, report) != sags_id:
                await tx.run(_INSERT_REPORT, nemrefusions_id=report, sags_id=sags_id, now=now)

    async def record(self, tx: Tx, case: Case, change: Change, *, besked_id: UUID, cause: Cause, now: datetime) -> Case:
        """Write the next version of a case, told by the message `besked_id`; give the case as it is then."""
        version = case.version + 1
        picture = replace(change.picture, SagsVersion=version, SenestAendret=now)
        told_to = change.told_to or case.municipality_cvr
        begun = danish_date(now) if case.state in ENDED else change.on  # one that is taken up again waits anew
        stopped_on = (case.stopped_on or begun) if change.state is State.STANDSET else None
        following = replace(
            case,
            version=version,
            state=change.state,
            before_end=change.before_end,
            picture=picture,
            municipality_cvr=told_to,
            stopped_on=stopped_on,
        )
        await tx.run(
            _INSERT_VERSION,
            sags_id=case.sags_id,
            version=version,
            now=now,
            effective_on=change.on,
            event=change.event,
            reasons=list(change.reasons),
            municipality_cvr=told_to,
            moved_to_cvr=change.moved_to,
            state=picture.SagsTilstand,
            first_day=picture.FoersteFravaersdag,
            last_day=_last(picture),
            besked_id=besked_id,
            cause=cause.name,
            cause_id=cause.besked_id,
            rule=change.rule,
            picture=self._vault.seal(pictures.pack(picture), context=picture_context(case.sags_id, version)),
        )
        await tx.run(
            _UPDATE_CASE,
            sags_id=case.sags_id,
            version=version,
            state=change.state,
            before_end=change.before_end,
            municipality_cvr=told_to,
            stopped_on=stopped_on,
            now=now,
        )
        return following


def picture_context(sags_id: UUID, version: int) -> str:
    """Give what the picture of a version is sealed as."""
    return f"ksd.picture:{sags_id}:{version}"


def _last(picture: SygefravaerssagType) -> date | None:
    return picture.SidsteFravaersdag or picture.AfslutningsDato

# SPDX-License-Identifier: MPL-2.0
"""
How far a citizen is on the way to the time limit (s. 24, 25), counted over all his cases.

A case's RevurderingsDato is counted whenever what it rests on changes, unless a person has set it. The citizen's other
cases are read and not held: that their count may have changed too is noted in `recount`, and done in a transaction of
its own, so that two changes of two cases never wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import ForlaengelseType, SygefravaerssagType
from sygefravaer.ksd.cases import Case, Cases
from sygefravaer.ksd.changes import COUNTED, REASONS, Change, Event, follow_on
from sygefravaer.ksd.lifecycle import ENDED, State
from sygefravaer.law import Law, Norm, Spell, review_date, weeks
from sygefravaer.store import Tx

REVIEW_CHANGED: Final = REASONS["RevurderingsDato"]
JOBAFKLARING: Final = "JOBAFKLARING"

_NOTE: Final = """
INSERT INTO recount (person_id, due_at)
SELECT %(person_id)s, %(now)s WHERE EXISTS (
    SELECT FROM sag WHERE person_id = %(person_id)s AND sags_id <> %(sags_id)s AND state <> ALL(%(ended)s)
)
ON CONFLICT (person_id) DO NOTHING
"""


class Reckoning:
    """Counts by the law, from the register."""

    def __init__(self, cases: Cases, law: Law) -> None:
        self._cases = cases
        self.law = law

    async def reviewed(self, tx: Tx, case: Case, change: Change) -> Change:
        """Give a change with the RevurderingsDato that it leads to."""
        if case.version == 0 and change.picture.LivstruendeSygdom and not change.picture.Forlaengelse:
            change = await self._with_right(tx, case, change)
        if change.state in ENDED or case.review_by_hand or change.picture.Forlaengelse:
            return change
        if not self._counts_anew(case, change):
            return change
        return self._with(change, await self._review(tx, case, change.picture, stopping=change))

    async def recounted(self, tx: Tx, case: Case, *, today: date) -> Change | None:
        """Give the change that a new count leads to when another case of the citizen has changed; `None` for none."""
        picture = case.picture
        if case.state in ENDED or case.review_by_hand or picture.Forlaengelse:
            return None
        review = await self._review(tx, case, picture)
        if review == picture.RevurderingsDato:
            return None
        return Change(
            event=Event.AENDRET,
            on=today,
            reasons=(REVIEW_CHANGED,),
            picture=replace(picture, RevurderingsDato=review),
            state=case.state,
            rule="s. 24(1), 25(1): weeks counted anew",
        )

    async def weeks_used(self, tx: Tx, case: Case, on: date) -> Decimal:
        """Say how many weeks are used on a day: what the case says, else what is counted."""
        if case.picture.ForbrugteUger is not None:
            return case.picture.ForbrugteUger
        spells = await self._spells(tx, case, case.picture)
        return weeks(self.law, spells, on, pensioner=self.pensioner(case, on))

    def pensioner(self, case: Case, on: date) -> bool:
        """Say whether the citizen is of the s. 25 group on a day."""
        return case.pensioner_since is not None and case.pensioner_since <= on

    async def note(self, tx: Tx, before: Case, after: Case, *, now: datetime) -> None:
        """Note that the count of the citizen's other cases may have changed, if it may."""
        same = before.state == after.state and self._counted(before.picture) == self._counted(after.picture)
        if not same or before.version == 0:
            await self.note_person(tx, after.person_id, after.sags_id, now=now)

    async def note_person(self, tx: Tx, person_id: UUID, sags_id: UUID, *, now: datetime) -> None:
        """Let a citizen's cases beside this one be counted anew."""
        await tx.run(_NOTE, person_id=person_id, sags_id=sags_id, ended=sorted(ENDED), now=now)

    async def _with_right(self, tx: Tx, case: Case, change: Change) -> Change:
        """
        Give a life-threatening illness the right that it has from its first day, if the citizen's past calls for one.

        P24B: it begins during jobafklaring; P24A6: the weeks were used before it began (R2018). A right has no end, so
        nobody is asked about it.
        """
        picture = change.picture
        first = picture.FoersteFravaersdag
        others = await self._cases.others(tx, case)
        if any(self._in_jobafklaring(other, first) for other in others):
            ground = "JOBAFKLARING"
        elif weeks(self.law, await self._spells(tx, case, picture), first) > self.law.number(Norm.REVIEW_WEEKS, first):
            ground = "UGER_BRUGT"
        else:
            return change
        rights = [code for code in LISTS["forlaengelseskoder"].valid_codes(first) if code.extra["ret"] == ground]
        granted = tuple(
            ForlaengelseType(Forlaengelseskode=right.kode, FraDato=first, AfgoerelsesDato=first) for right in rights
        )
        return replace(change, picture=replace(picture, Forlaengelse=granted))

    def _in_jobafklaring(self, other: SygefravaerssagType, on: date) -> bool:
        cause, end = other.Afslutningsaarsag, other.AfslutningsDato
        if cause is None or end is None or end > on:
            return False
        return JOBAFKLARING in {cause, follow_on(cause, end, self.law)}

    def _counts_anew(self, case: Case, change: Change) -> bool:
        if case.version == 0 or change.picture.RevurderingsDato is None:
            return True
        if case.state in ENDED or State.STANDSET in {case.state, change.state}:
            return case.state is not change.state
        return self._counted(case.picture) != self._counted(change.picture)

    def _counted(self, picture: SygefravaerssagType) -> tuple[object, ...]:
        return tuple(getattr(picture, name) for name in (*COUNTED, "SidsteFravaersdag"))

    def _with(self, change: Change, review: date | None) -> Change:
        if review == change.picture.RevurderingsDato:
            return change
        reasons = change.reasons
        if change.event is Event.AENDRET:
            reasons = tuple(dict.fromkeys((*reasons, REVIEW_CHANGED)))
        return replace(change, reasons=reasons, picture=replace(change.picture, RevurderingsDato=review))

    async def _review(
        self, tx: Tx, case: Case, picture: SygefravaerssagType, *, stopping: Change | None = None
    ) -> date | None:
        spells = await self._spells(tx, case, picture, stopping=stopping)
        if case.pensioner_since is not None:
            found = review_date(self.law, spells, after=picture.FoersteFravaersdag, pensioner=True)
            if found is not None and case.pensioner_since <= found:
                return found
        return review_date(self.law, spells, after=picture.FoersteFravaersdag)

    async def _spells(
        self, tx: Tx, case: Case, picture: SygefravaerssagType, *, stopping: Change | None = None
    ) -> list[Spell]:
        """List the citizen's spells; that of the case itself with what `stopping` says of its payment."""
        others = await self._cases.others(tx, case)
        stops = await self._cases.stops(tx, [case.sags_id, *(other.SagsID for other in others)])
        own = stops.get(case.sags_id, [])
        if stopping is not None and case.state is State.STANDSET and stopping.state is not State.STANDSET:
            own = [(first, min(last, stopping.on - timedelta(days=1))) for first, last in own]
        return [_spell(picture, own), *(_spell(other, stops.get(other.SagsID, [])) for other in others)]


def _spell(picture: SygefravaerssagType, stops: Iterable[tuple[date, date]]) -> Spell:
    return Spell(
        first=picture.FoersteFravaersdag,
        last=picture.SidsteFravaersdag or picture.AfslutningsDato,
        sagsart=picture.Sagsart,
        fravaerstype=picture.Fravaerstype,
        without=tuple(stops),
    )

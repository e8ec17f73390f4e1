# SPDX-License-Identifier: MPL-2.0
"""
What KSD does by itself when its time has come: held reports, weeks that count anew, and what a case waits for.

The instants stand in the database, so a restart forgets none. What is to be done follows from the case as it is then.
Each thing is one transaction that also sets the next instant; what cannot be done is put off and logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from sygefravaer.clock import Clock, Rounds
from sygefravaer.errors import StoreError
from sygefravaer.ksd import changes, timing
from sygefravaer.ksd.cases import Case, Cases, Cause
from sygefravaer.ksd.casework import Casework, Question
from sygefravaer.ksd.lifecycle import OPEN, State
from sygefravaer.ksd.reports import Reports
from sygefravaer.ksd.timing import Act, Due
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Store, Tx

LOG: Final = logging.getLogger(__name__)

LATER: Final = timedelta(days=1)
"""When something that could not be done is tried again."""

_DUE: Final = """
SELECT least(
    (SELECT min(next_at) FROM sag WHERE next_at IS NOT NULL), (SELECT min(due_at) FROM recount)
) AS due, EXISTS (SELECT FROM held_report) AS held
"""
_NEXT_CASE: Final = """
SELECT sags_id FROM sag WHERE next_at <= %(now)s ORDER BY next_at, number LIMIT 1
"""
_NEXT_RECOUNT: Final = "SELECT person_id FROM recount WHERE due_at <= %(now)s ORDER BY due_at, number LIMIT 1"
_TAKE_RECOUNT: Final = "DELETE FROM recount WHERE person_id = %(person_id)s"
_RECOUNT_LATER: Final = "UPDATE recount SET due_at = %(later)s WHERE person_id = %(person_id)s"
_LOOK_AT_ALL: Final = "UPDATE sag SET next_at = %(now)s WHERE state = ANY(%(open)s)"


class Agenda(Rounds):
    """The loop over what is due."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        cases: Cases,
        casework: Casework,
        law: Law,
        reports: Reports,
        sent: Callable[[], None],
    ) -> None:
        """`sent` is called when something may have been put into the outbox."""
        super().__init__(clock, sent)
        self._store = store
        self._cases = cases
        self._casework = casework
        self._law = law
        self._reports = reports

    async def due(self) -> datetime | None:
        """Give the next instant at which something is due."""
        async with self._store.read() as tx:
            return await self.next_in(tx)

    async def next_in(self, tx: Tx) -> datetime | None:
        """Give the next instant at which something is due, as a transaction sees it."""
        row = await tx.one(_DUE)
        found: datetime | None = row["due"] if row else None
        if row and row["held"] and not self._reports.holds():
            now = self._clock.now()
            return now if found is None else min(now, found)
        return found

    async def one(self) -> bool:
        """Let a held report in, else count for a citizen anew, else do the next thing of a case."""
        return await self._reports.take_one() or await self._recount() or await self._case()

    async def look_at_all(self, tx: Tx) -> None:
        """Look at every open case anew: what KSD does by itself has been set otherwise."""
        await tx.run(_LOOK_AT_ALL, now=self._clock.now(), open=sorted(OPEN))

    async def _case(self) -> bool:
        now = self._clock.now()
        async with self._store.tx() as tx:
            row = await tx.one(_NEXT_CASE, now=now)
            case = None if row is None else await self._cases.held(tx, row["sags_id"])
            if case is None:
                return False
            try:
                async with tx.savepoint():
                    coming = await self._casework.look_ahead(tx, case)
                    if coming and coming[0].at <= now:  # else it was only to be looked at
                        await self._perform(tx, case, coming[0], now=now)
            except Exception as error:  # noqa: BLE001  whatever one case breaks on, the others' turns come
                _put_off(error)
                await self._cases.look_again(tx, case.sags_id, now + LATER)
        return True

    async def _perform(self, tx: Tx, case: Case, due: Due, *, now: datetime) -> None:
        today, cause = danish_date(now), Cause(name=f"agenda.{due.act.name}")
        match due.act:
            case Act.FORM:
                form = changes.changed(case.picture, case.state, {"OplysningsskemaModtaget": today}, on=today)
                await self._casework.tell(tx, case, form, cause=cause, now=now)
            case Act.PAY:
                first = timing.first_paid(case.picture, self._law)
                paying = changes.paying(case.picture, case.state, on=first)
                await self._casework.tell(tx, case, paying, cause=cause, now=now)
            case Act.ASK | Act.ASK_AGAIN:
                await self._casework.ask(tx, case, Question(), cause=cause, now=now)
            case Act.REMIND if due.anmodning_id is not None:
                await self._casework.remind(tx, case, due.anmodning_id, now=now)
            case Act.DECIDE:
                await self._casework.decide(tx, case, cause=cause, now=now)
            case Act.END_STOPPED if case.state is State.STANDSET:
                end = changes.ended(
                    case.picture,
                    case.state,
                    on=today,
                    cause=changes.STOPPED,
                    rule="s. 21: not resumed within four weeks",
                )
                await self._casework.tell(tx, case, end, cause=cause, now=now)
            case Act.END_PARTIAL if (since := changes.too_few_hours(case.picture, self._law)) is not None:
                over = changes.over(case.picture, case.state, since=since, today=today)
                await self._casework.tell(tx, case, over, cause=cause, now=now)
            case Act.REMIND | Act.END_STOPPED | Act.END_PARTIAL:
                await self._casework.look_ahead(tx, case)
            case _ as never:
                assert_never(never)

    async def _recount(self) -> bool:
        """
        Count anew for one citizen.

        His cases are held first, in one order, and the note is taken after that: whoever holds one of them and notes
        another count waits for nobody who waits for him.
        """
        now = self._clock.now()
        async with self._store.tx() as tx:
            row = await tx.one(_NEXT_RECOUNT, now=now)
            if row is None:
                return False
            cases = await self._cases.cases_of(tx, row["person_id"])
            try:
                async with tx.savepoint():
                    if await tx.run(_TAKE_RECOUNT, person_id=row["person_id"]):
                        await self._count(tx, cases, now=now)
            except Exception as error:  # noqa: BLE001  as above
                _put_off(error)
                await tx.run(_RECOUNT_LATER, person_id=row["person_id"], later=now + LATER)
        return True

    async def _count(self, tx: Tx, cases: Iterable[UUID], *, now: datetime) -> None:
        for sags_id in cases:
            case = await self._cases.held(tx, sags_id)
            if case is not None:
                await self._casework.count_anew(tx, case, cause=Cause(name="agenda.RECOUNT"), now=now)


def _put_off(error: Exception) -> None:
    """Log what failed; a database that is away is not a matter of one case, and is raised again."""
    if isinstance(error, StoreError):
        raise error
    LOG.warning("put off", exc_info=error, extra={"action": "ksd.agenda_put_off", "code": getattr(error, "code", "")})

# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre does by itself when its time has come.

Answers that were put off, HentSag about an early change, and the next step in its own cases.

The instants stand in the database, so a restart forgets none. Each thing is done in a transaction of its own that
also takes its instant away; what fails keeps it, or gets a later one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sygefravaer.client import Client
from sygefravaer.clock import Clock, Rounds
from sygefravaer.contract.messages import HentSagResponse
from sygefravaer.errors import StoreError
from sygefravaer.jobcenter.answering import Answering, snapshot_bytes
from sygefravaer.jobcenter.cases import Register, Sag
from sygefravaer.jobcenter.facts import Deed, Facts, What
from sygefravaer.jobcenter.following import Step, next_step, told
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.policy import plan_opened
from sygefravaer.jobcenter.telling import Telling
from sygefravaer.jobcenter.verdicts import ENDED
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Store, Tx

LOG: Final = logging.getLogger(__name__)

LATER: Final = timedelta(hours=1)
"""When something that failed is tried again; the longest step of the repeats of G006."""
UNKNOWN: Final = "H501"
NEVER_OPENED: Final = "B104"

_BATCH: Final = 50


class Agenda(Rounds):
    """The loop over what is due."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        client: Client,
        register: Register,
        inbox: Inbox,
        answering: Answering,
        telling: Telling,
        law: Law,
        sent: Callable[[], None],
    ) -> None:
        """`sent` is called when something may have been put into the outbox."""
        super().__init__(clock, sent)
        self._store = store
        self._client = client
        self._register = register
        self._inbox = inbox
        self._answering = answering
        self._telling = telling
        self._law = law

    async def due(self) -> datetime | None:
        """Give the next instant at which something is due."""
        async with self._store.read() as tx:
            return await self._inbox.due(tx)

    async def one(self) -> bool:
        """Say what was put off, else take the next step of a case, else ask KSD what was never opened here."""
        if await self._event() or await self._extension() or await self._follow_up():
            return True
        return await self._questions() > 0

    async def _event(self) -> bool:
        now = self._clock.now()
        async with self._store.tx() as tx:
            for event in await self._inbox.due_events(tx, now, limit=1):
                try:
                    async with tx.savepoint():
                        await self._answering.say_due(tx, event, now=now)
                except Exception as error:  # noqa: BLE001  whatever one thing breaks on, the others' turns come
                    _put_off(error)
                    await self._inbox.put_off(tx, event, now + LATER)
                return True
        return False

    async def _extension(self) -> bool:
        now = self._clock.now()
        async with self._store.tx() as tx:
            for extension in await self._inbox.due_extensions(tx, now, limit=1):
                try:
                    async with tx.savepoint():
                        await self._answering.say_extension_due(tx, extension, now=now)
                except Exception as error:  # noqa: BLE001  whatever one thing breaks on, the others' turns come
                    _put_off(error)
                    await self._inbox.put_off_extension(tx, extension, now + LATER)
                return True
        return False

    async def _follow_up(self) -> bool:
        """Look at the jobcentersag whose time has come, do its next step if that is due, and say when to look again."""
        now = self._clock.now()
        async with self._store.tx() as tx:
            due = await self._register.deeds.due(tx, now)
            sag = await self._register.sag(tx, due) if due else None
            if sag is None:
                return False
            again: datetime | None = now
            try:
                async with tx.savepoint():
                    facts = await self._register.facts(tx, sag)
                    step = next_step(self._answering.policy, facts, self._law, now=now)
                    if step is not None and step.at <= now and not step.look:
                        await self._do(tx, sag, facts, step, now=now)
                    else:
                        again = step.at if step else None
            except Exception as error:  # noqa: BLE001  whatever one thing breaks on, the others' turns come
                _put_off(error)
                again = now + LATER
            await self._register.deeds.look_at(tx, sag.jobcentersag_id, again)
            return True

    async def _do(self, tx: Tx, sag: Sag, facts: Facts, step: Step, *, now: datetime) -> None:
        """Do a step, and tell KSD of it for each sygedagpengesag that runs."""
        wire = told(self._answering.policy, step, facts, self._law, now=now)
        if wire is None:
            test = Deed(what=What.TEST, day=danish_date(now))
            await self._register.deeds.note(tx, sag.jobcentersag_id, test, now=now)
            return
        again = False
        for case in await self._register.cases_of(tx, sag.jobcentersag_id):
            if not case.ended:
                _, sag = await self._telling.tell(tx, sag, case, wire, now=now, again=again)
                again = True

    async def _questions(self) -> int:
        async with self._store.read() as tx:
            due = await self._inbox.due_questions(tx, self._clock.now(), limit=_BATCH)
        for municipality, sags_id in due:
            try:
                await self._ask(municipality, sags_id)
            except Exception as error:  # noqa: BLE001  whatever one thing breaks on, the others' turns come
                _put_off(error)
                async with self._store.tx() as tx:
                    await self._register.ask_later(tx, municipality, sags_id, self._clock.now() + LATER)
        return len(due)

    async def _ask(self, municipality: str, sags_id: UUID) -> None:
        """Ask KSD about a case whose change came and whose OPRETTET did not."""
        now = self._clock.now()
        async with self._store.tx() as tx:
            case = await self._register.case(tx, municipality, sags_id)
            sag = await self._register.sag(tx, case.jobcentersag_id) if case else None
            early = await self._inbox.early(tx, municipality, sags_id)
        if case is None or sag is None or case.opened:
            return
        question = self._answering.writer.case_question(
            municipality_cvr=municipality,
            cpr=sag.cpr,
            now=now,
            sags_id=sags_id,
            nemrefusions_id=case.nemrefusions_id,
            korrelations_id=early[-1].origin.korrelations_id if early else None,
        )
        reply = await self._client.call(question)
        await self._told(municipality, sags_id, reply)

    async def _told(self, municipality: str, sags_id: UUID, reply: HentSagResponse) -> None:
        """Act on what KSD says of a case that was never opened here."""
        now = self._clock.now()
        async with self._store.tx() as tx:
            case = await self._register.case(tx, municipality, sags_id)
            if case is None or case.opened:  # OPRETTET came while KSD was asked
                return
            snapshot = reply.Sygefravaerssag
            if snapshot is None:
                codes = {fejl.FejlKode for fejl in reply.FejlListe.Fejl} if reply.FejlListe else set()
                if UNKNOWN in codes:
                    await self._answering.refuse_early(tx, municipality, sags_id, NEVER_OPENED, now=now)
                    await self._register.forget(tx, case, now=now)
                else:  # for a person: the events stay in the inbox
                    await self._register.ask_later(tx, municipality, sags_id, None)
                return
            await self._register.mark_opened(tx, municipality, sags_id)
            if snapshot.SagsVersion >= case.version:
                sag = await self._register.apply(
                    tx, municipality, snapshot, snapshot_bytes(snapshot), opened=True, ask_at=None, now=now
                )
                if snapshot.SagsTilstand in ENDED:
                    await self._answering.withdrawn(tx, municipality, sags_id, now=now)
                await self._answering.look_at(tx, sag.jobcentersag_id, now=now)
            plan = plan_opened(self._answering.policy, now=now)
            for event in await self._inbox.early(tx, municipality, sags_id):
                await self._inbox.put_off(tx, event, plan.due)
                for answer in plan.now:
                    await self._answering.say(tx, event, answer, now=now)


def _put_off(error: Exception) -> None:
    """Log what failed; a database that is away is not a matter of one thing, and is raised again."""
    if isinstance(error, StoreError):
        raise error
    code = getattr(error, "code", "InternalError")
    LOG.warning("put off", exc_info=error, extra={"action": "agenda.put_off", "code": code})

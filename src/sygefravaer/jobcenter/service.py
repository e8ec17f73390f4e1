# SPDX-License-Identifier: MPL-2.0
"""
The callback contract: an event (SF2090) or a request for extension (SF2093) is taken once, with what follows from it.

Case, inbox, the answers that are said at once and the receipt are one transaction. The receipt is OK as soon as that
stands; a business no is an answer of its own, never a FEJL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import Final

from sygefravaer.clock import Clock
from sygefravaer.contract.messages import (
    SendAnmodningForlaengelseRequest,
    SendHaendelseSygefravaerssagRequest,
    TransportKvitteringType,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.endpoint import Call
from sygefravaer.jobcenter.answering import Answering, snapshot_bytes
from sygefravaer.jobcenter.cases import Register
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.life import Trigger
from sygefravaer.jobcenter.policy import plan_event, plan_extension, plan_opened
from sygefravaer.jobcenter.telling import Telling
from sygefravaer.jobcenter.verdicts import ENDED, OPRETTET, Judgement, KnownCase, Verdict, judge_event
from sygefravaer.law import Law, Norm, danish_date
from sygefravaer.ledger import Ledger
from sygefravaer.store import Tx

GENOPTAGET: Final = "GENOPTAGET"

Applied = Callable[[Tx], Awaitable[TransportKvitteringType]]


class Reception:
    """The handlers of the callback contract."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        register: Register,
        inbox: Inbox,
        answering: Answering,
        telling: Telling,
        law: Law,
        municipalities: Collection[str],
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when something new may be due or waits to be sent."""
        self._ledger = ledger
        self._clock = clock
        self._register = register
        self._inbox = inbox
        self._answering = answering
        self._telling = telling
        self._law = law
        self._municipalities = frozenset(municipalities)
        self._wake = wake

    async def haendelse(self, call: Call) -> bytes:
        """Take an event (M1)."""
        message = call.message
        if not isinstance(message, SendHaendelseSygefravaerssagRequest):
            raise TypeError("the endpoint gave another message than the handler's")

        async def apply(tx: Tx) -> TransportKvitteringType:
            return await self._event(tx, message, now=self._clock.now())

        return await self._once(call, apply)

    async def anmodning(self, call: Call) -> bytes:
        """Take a request for extension (M3) or a reminder of one."""
        message = call.message
        if not isinstance(message, SendAnmodningForlaengelseRequest):
            raise TypeError("the endpoint gave another message than the handler's")

        async def apply(tx: Tx) -> TransportKvitteringType:
            return await self._request(tx, message, now=self._clock.now())

        return await self._once(call, apply)

    async def _once(self, call: Call, apply: Applied) -> bytes:
        try:
            return await self._ledger.once(call, apply)
        finally:
            self._wake()

    async def _event(
        self, tx: Tx, message: SendHaendelseSygefravaerssagRequest, *, now: datetime
    ) -> TransportKvitteringType:
        municipality = message.Hoved.ModtagerMyndighedCVR
        if municipality not in self._municipalities:
            return kvittering_fejl("G004")
        judgement = await self._judged(tx, message, municipality)
        await self._taken(tx, message, municipality, judgement, now=now)
        plan = plan_event(self._answering.policy, judgement, now=now)
        event = await self._inbox.note_event(tx, message, municipality, judgement, due=plan.due, now=now)
        for answer in plan.now:
            await self._answering.say(tx, event, answer, now=now)
        return kvittering_ok()

    async def _judged(self, tx: Tx, message: SendHaendelseSygefravaerssagRequest, municipality: str) -> Judgement:
        case = message.Sygefravaerssag
        known = await self._register.case(tx, municipality, case.SagsID)
        return judge_event(
            KnownCase(
                version=known.version,
                ended=known.ended,
                opened=known.opened,
                same_content=known.snapshot == snapshot_bytes(case),
            )
            if known
            else None,
            haendelsestype=message.Haendelsestype,
            version=case.SagsVersion,
            reopened=GENOPTAGET in message.Aendringsaarsag,
            citizen=await self._answering.citizen(tx, municipality, case),
        )

    async def _taken(
        self,
        tx: Tx,
        message: SendHaendelseSygefravaerssagRequest,
        municipality: str,
        judgement: Judgement,
        *,
        now: datetime,
    ) -> None:
        """Do what the verdict says: take the snapshot over, close what it closes, answer what waited for it."""
        case = message.Sygefravaerssag
        opening = message.Haendelsestype == OPRETTET
        if judgement.verdict in {Verdict.APPLIED, Verdict.EARLY}:
            early = judgement.verdict is Verdict.EARLY
            wait = timedelta(hours=self._law.number(Norm.OPEN_WAIT, danish_date(now)))
            sag = await self._register.apply(
                tx,
                municipality,
                case,
                snapshot_bytes(case),
                opened=not early,
                ask_at=now + wait if early else None,
                now=now,
            )
            if case.SagsTilstand in ENDED:
                await self._answering.withdrawn(tx, municipality, case.SagsID, now=now)
            elif GENOPTAGET in message.Aendringsaarsag:
                await self._telling.tell_again(tx, municipality, case.SagsID, now=now)
            await self._answering.look_at(tx, sag.jobcentersag_id, now=now)
        elif opening and judgement.verdict in {Verdict.OBSOLETE, Verdict.REPEATED}:
            await self._register.mark_opened(tx, municipality, case.SagsID)
        if opening and judgement.verdict is not Verdict.REFUSED:
            plan = plan_opened(self._answering.policy, now=now)
            for event in await self._inbox.early(tx, municipality, case.SagsID):
                await self._inbox.put_off(tx, event, plan.due)
                for answer in plan.now:
                    await self._answering.say(tx, event, answer, now=now)

    async def _request(
        self, tx: Tx, message: SendAnmodningForlaengelseRequest, *, now: datetime
    ) -> TransportKvitteringType:
        municipality = message.Hoved.ModtagerMyndighedCVR
        if municipality not in self._municipalities:
            return kvittering_fejl("G004")
        extension, first = await self._inbox.note_request(
            tx, message, municipality, snapshot_bytes(message.Sygefravaerssag), now=now
        )
        if not first:
            return kvittering_ok()
        await self._inbox.supersede(tx, extension)
        known = await self._register.case(tx, municipality, message.Sygefravaerssag.SagsID)
        sag = await self._register.sag(tx, known.jobcentersag_id) if known and not known.ended else None
        if sag:
            await self._register.move(tx, sag, Trigger.ASKED, now=now)
        plan = plan_extension(self._answering.policy, await self._answering.asked(tx, extension), now=now)
        for answer in plan.now:
            await self._answering.say_extension(tx, extension, answer, now=now, due=plan.due)
        return kvittering_ok()

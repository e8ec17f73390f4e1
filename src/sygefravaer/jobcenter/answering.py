# SPDX-License-Identifier: MPL-2.0
"""
Saying something to an event or a request: the message into the outbox, the word into the inbox, the case moved.

Whoever decides what is said (the policy at once, the policy later, a person) says it through here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TypeVar
from uuid import UUID

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.names import NS_FAELLES
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.jobcenter.cases import Register, Sag
from sygefravaer.jobcenter.inbox import Event, Extension, Inbox, Origin
from sygefravaer.jobcenter.life import Trigger, scheme_refused
from sygefravaer.jobcenter.policy import (
    AFVIST,
    FINAL,
    Asked,
    EventAnswer,
    ExtensionAnswer,
    Mode,
    Policy,
    settled_event,
    settled_extension,
)
from sygefravaer.jobcenter.sending import Outbox
from sygefravaer.jobcenter.verdicts import Citizen
from sygefravaer.jobcenter.writing import Writer
from sygefravaer.law import NEVER, Law, danish_date
from sygefravaer.store import Tx

SaidT = TypeVar("SaidT", Event, Extension)


def snapshot_bytes(snapshot: SygefravaerssagType) -> bytes:
    """Write a snapshot down, equal snapshots as equal bytes."""
    return codec.encode(snapshot, "Sygefravaerssag", namespace=NS_FAELLES)


def snapshot_of(element: bytes) -> SygefravaerssagType:
    """Read a snapshot that was written down."""
    return codec.decode(soap.read(soap.wrap(element)).element, SygefravaerssagType)


class Answering:
    """Answers of one jobcentre system; `policy` and `writer` may be exchanged while it runs."""

    def __init__(
        self, *, register: Register, inbox: Inbox, outbox: Outbox, writer: Writer, policy: Policy, law: Law
    ) -> None:
        self._register = register
        self._inbox = inbox
        self._outbox = outbox
        self._law = law
        self.writer = writer
        self.policy = policy

    # --- events ---

    async def say(self, tx: Tx, event: Event, answer: EventAnswer, *, now: datetime) -> UUID:
        """Answer an event (M2); gives the answer's BeskedID."""
        sag = await self._sag(tx, event.origin)
        message = self.writer.event_answer(
            _of_today(event, sag), answer, jobcentersag_id=sag.jobcentersag_id if sag else None, now=now
        )
        sent = await self._outbox.put(tx, message, content=answer.code, sags_id=event.origin.sags_id)
        await self._inbox.event_answered(tx, event, answer.code)
        return sent

    async def say_due(self, tx: Tx, event: Event, *, now: datetime) -> None:
        """Give an event the final answer that was put off; silence and a person's tray end the putting off."""
        await self._inbox.put_off(tx, event, None)
        if self.policy.events not in {Mode.SILENT, Mode.MANUAL}:
            await self.say(tx, event, settled_event(self.policy), now=now)

    async def refuse_early(self, tx: Tx, municipality_cvr: str, sags_id: UUID, code: str, *, now: datetime) -> None:
        """Refuse the changes of a case that nobody knows."""
        if self.policy.events is not Mode.SILENT:
            for event in await self._inbox.early(tx, municipality_cvr, sags_id):
                await self.say(tx, event, EventAnswer(code=AFVIST, fejl=code), now=now)

    # --- requests for extension ---

    async def asked(self, tx: Tx, extension: Extension) -> Asked:
        """Gather what an answer to a request depends on, as it is known now."""
        origin = extension.origin
        snapshot = snapshot_of(extension.snapshot)
        case = await self._register.case(tx, origin.municipality_cvr, origin.sags_id)
        return Asked(
            revurderingsdato=extension.revurderingsdato,
            svarfrist=extension.svarfrist,
            anmodningstype=extension.anmodningstype,
            mulige=extension.mulige,
            granted=snapshot.Forlaengelse,
            known=case is not None,
            citizen=await self.citizen(tx, origin.municipality_cvr, snapshot),
            ended_by=case.ended_by if case and case.ended else None,
        )

    async def citizen(self, tx: Tx, municipality_cvr: str, snapshot: SygefravaerssagType) -> Citizen:
        """Say what the municipality knows of the citizen of a snapshot; one of another municipality has moved."""
        fact = await self._register.citizen(tx, municipality_cvr, (snapshot.CprNummer, *snapshot.TidligereCprNummer))
        elsewhere = snapshot.Kommunekode != MUNICIPALITIES[municipality_cvr].kommunekode
        return Citizen.MOVED if fact is Citizen.KNOWN and elsewhere else fact

    async def say_extension(
        self,
        tx: Tx,
        extension: Extension,
        answer: ExtensionAnswer,
        *,
        now: datetime,
        due: datetime | None = None,
        fra: date | None = None,
        version: int | None = None,
        assessed: date | None = None,
        next_follow_up: date | None = None,
    ) -> UUID:
        """Answer a request for extension (M4); gives the answer's BeskedID. `due` is when the rest will be said."""
        sag = await self._sag(tx, extension.origin)
        message = self.writer.extension_answer(
            _of_today(extension, sag),
            answer,
            now=now,
            fra=fra,
            version=version,
            assessed=assessed,
            next_follow_up=next_follow_up,
        )
        sent = await self._outbox.put(
            tx, message, content=answer.code, sags_id=extension.origin.sags_id, anmodning_id=extension.anmodning_id
        )
        await self._inbox.extension_answered(tx, extension, answer.code, due=due)
        if answer.code in FINAL and sag:
            await self._assessed(tx, sag, answer, on=assessed or danish_date(now), now=now)
        return sent

    async def _assessed(self, tx: Tx, sag: Sag, answer: ExtensionAnswer, *, on: date, now: datetime) -> None:
        """Move the jobcentersag when a final answer was given: on, or to what follows when it was the last word."""
        scheme = scheme_refused(self._law, answer.aarsag, on) if answer.code == AFVIST and answer.aarsag else None
        moved = replace(sag, life=sag.life.moved(Trigger.UNDECIDED)) if scheme else sag
        if moved.life is not sag.life:
            await self._register.keep(tx, replace(moved, scheme=scheme), now=now)
        elif not await self._inbox.waits(tx, sag.jobcentersag_id):
            await self._register.move(tx, sag, Trigger.ANSWERED, now=now)

    async def withdrawn(self, tx: Tx, municipality_cvr: str, sags_id: UUID, *, now: datetime) -> None:
        """Close the requests about a case that has ended; what else hangs on its jobcentersag goes on."""
        await self._inbox.withdraw(tx, municipality_cvr, sags_id)
        case = await self._register.case(tx, municipality_cvr, sags_id)
        sag = await self._register.sag(tx, case.jobcentersag_id) if case else None
        if sag and not await self._inbox.waits(tx, sag.jobcentersag_id):
            await self._register.move(tx, sag, Trigger.ANSWERED, now=now)

    async def look_at(self, tx: Tx, jobcentersag_id: UUID, *, now: datetime) -> None:
        """Let the policy look at a jobcentersag at once, if it follows any up by itself."""
        if self.follows:
            await self._register.deeds.look_at(tx, jobcentersag_id, now)

    @property
    def follows(self) -> bool:
        """Say whether the policy follows cases up by itself."""
        return self.policy.follow_up not in {Mode.SILENT, Mode.MANUAL}

    async def say_extension_due(self, tx: Tx, extension: Extension, *, now: datetime) -> None:
        """Give a request the final answer that was put off; one that a reminder moved to never is for a person."""
        if self.policy.extensions in {Mode.SILENT, Mode.MANUAL} or extension.revurderingsdato >= NEVER:
            await self._inbox.put_off_extension(tx, extension, None)
            return
        answer = settled_extension(self.policy, await self.asked(tx, extension), today=danish_date(now))
        await self.say_extension(tx, extension, answer, now=now)

    async def _sag(self, tx: Tx, origin: Origin) -> Sag | None:
        case = await self._register.case(tx, origin.municipality_cvr, origin.sags_id)
        return await self._register.sag(tx, case.jobcentersag_id) if case else None


def _of_today(what: SaidT, sag: Sag | None) -> SaidT:
    """Put the citizen's number of today in the place of the one that stood in what is answered."""
    return what if sag is None else replace(what, origin=replace(what.origin, cpr=sag.cpr))

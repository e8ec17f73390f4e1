# SPDX-License-Identifier: MPL-2.0
"""
Telling KSD what has happened in a jobcentersag (M5), and letting it happen: message, deeds and move are one.

A person's hand and the policy tell through here. An update that KSD refuses is kept, so that it can be told again when
its case runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sygefravaer.contract.messages import AuthorityContextType, Reply, Request, SendOpdateringFravaerRequest
from sygefravaer.contract.plain import Json, of_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.jobcenter.cases import LinkedCase, Register, Sag
from sygefravaer.jobcenter.deeds import deeds_of
from sygefravaer.jobcenter.life import STATUS, TALK, Life, triggers
from sygefravaer.jobcenter.sending import Outbox
from sygefravaer.jobcenter.writing import Writer
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Tx

OPERATION: Final = "SendOpdateringFravaer"


class Telling:
    """Updates of one jobcentre system."""

    def __init__(self, *, register: Register, outbox: Outbox, writer: Writer, law: Law) -> None:
        self._register = register
        self._outbox = outbox
        self._writer = writer
        self._law = law

    async def tell(
        self,
        tx: Tx,
        sag: Sag,
        case: LinkedCase,
        wire: Json,
        *,
        now: datetime,
        cpr: Cpr | None = None,
        with_sags_id: bool = True,
        with_nemref: bool = True,
        check: Callable[[Request[Reply]], None] | None = None,
        again: bool = False,
    ) -> tuple[SendOpdateringFravaerRequest, Sag]:
        """
        Write an update about a case and put it in the outbox; gives it, and the jobcentersag as it is after it.

        `wire` is the payload as on the wire; what it leaves out is filled in. `again` says that the same was told of
        another case of the jobcentersag: what it tells has been noted.
        """
        payload: Json = {
            "OpdateringID": str(uuid4()),
            "SagsID": str(case.sags_id) if with_sags_id else None,
            "JobcentersagStatus": STATUS[sag.life.state],
            "GyldigFra": danish_date(now).isoformat(),
            **wire,
        }
        message = of_plain(
            SendOpdateringFravaerRequest,
            payload,
            JobcentersagID=sag.jobcentersag_id,
            AuthorityContext=AuthorityContextType(MunicipalityCVR=sag.municipality_cvr),
            Hoved=self._writer.header(
                OPERATION,
                municipality_cvr=sag.municipality_cvr,
                cpr=cpr or sag.cpr,
                now=now,
                nemrefusions_id=case.nemrefusions_id if with_nemref else None,
            ),
        )
        asked_for = wire.get("JobcentersagStatus")
        life = sag.life if again else await self._life(tx, sag, message, asked_for)
        if asked_for is None:
            message = replace(message, JobcentersagStatus=STATUS[life.state])
        if check is not None:
            check(message)
        await self._outbox.put(tx, message, content=",".join(message.Opdateringstype), sags_id=case.sags_id)
        if again:
            return message, sag
        for deed in deeds_of(message):
            await self._register.deeds.note(tx, sag.jobcentersag_id, deed, now=now, besked_id=message.Hoved.BeskedID)
        sag = replace(
            sag,
            life=life,
            kategori=message.Visitationskategori or sag.kategori,
            visited=message.VisitationsDato or sag.visited,
            scheme=message.Overgang.Type if message.Overgang and life.state is not sag.life.state else sag.scheme,
        )
        return message, await self._register.keep(tx, sag, now=now)

    async def _life(self, tx: Tx, sag: Sag, message: SendOpdateringFravaerRequest, status: str | None) -> Life:
        held = frozenset[str]().union(*(deed.fulfils(self._law) for deed in deeds_of(message)))
        # what a later follow-up leads to depends on whether the first was held
        if held and (await self._register.facts(tx, sag)).held(TALK, self._law):
            held |= {TALK}
        life = sag.life
        for trigger in triggers(
            message.Opdateringstype,
            kategori=message.Visitationskategori,
            held=held,
            status=status,
        ):
            life = life.moved(trigger)
        return life

    async def tell_again(self, tx: Tx, municipality_cvr: str, sags_id: UUID, *, now: datetime) -> int:
        """Tell again what KSD refused because the case had ended: it runs again. Gives how many updates that were."""
        again = await self._outbox.refused_updates(tx, municipality_cvr, sags_id)
        for besked_id in again:
            await self._outbox.resend(tx, besked_id, cpr=await self._number(tx, municipality_cvr, sags_id), now=now)
        return len(again)

    async def resend(self, tx: Tx, besked_id: UUID, *, now: datetime) -> UUID | None:
        """Tell again an update that KSD refused, with a BeskedID of its own; `None` when none is kept under this id."""
        kept = await self._outbox.kept(tx, besked_id)
        if kept is None:
            return None
        cpr = await self._number(tx, kept["municipality_cvr"], kept["sags_id"])
        return await self._outbox.resend(tx, besked_id, cpr=cpr, now=now)

    async def _number(self, tx: Tx, municipality_cvr: str, sags_id: UUID | None) -> Cpr | None:
        case = await self._register.case(tx, municipality_cvr, sags_id) if sags_id else None
        sag = await self._register.sag(tx, case.jobcentersag_id) if case else None
        return sag.cpr if sag else None

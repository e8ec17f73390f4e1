# SPDX-License-Identifier: MPL-2.0
"""What a caseworker does by hand at the control door: answer an event or a request, and tell KSD what has happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4

from sygefravaer.contract.codes import FEJLKODER
from sygefravaer.contract.messages import AuthorityContextType, SendOpdateringFravaerRequest
from sygefravaer.contract.plain import of_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Fields, Json
from sygefravaer.errors import ActRefused
from sygefravaer.jobcenter.cases import Sag
from sygefravaer.jobcenter.duties import STATUS, triggers
from sygefravaer.jobcenter.policy import (
    ACCEPTERET,
    AFVIST,
    NEVER,
    EventAnswer,
    ExtensionAnswer,
    Policy,
    danish_date,
    settled_extension,
)
from sygefravaer.jobcenter.rooms import Rooms


class Handwork:
    """The acts of a caseworker's hands."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def answer_event(self, fields: Fields) -> Json:
        """Answer the event `besked_id` (M2) with `code`: MODTAGET, AFLEVERET, ACCEPTERET, AFVIST or FEJLET.

        `fejl` is the FejlKode of an AFVIST (B102), `begrundelse` a text. Nothing stops a second final answer: what
        KSD says to it is KSD's (T202). Gives the `besked_id` of the answer.
        """
        besked_id, code = fields.take("besked_id", UUID), fields.take("code", str)
        fejl, begrundelse = fields.find("fejl", str), fields.find("begrundelse", str)
        fields.done()
        if fejl is not None and fejl not in FEJLKODER:
            raise ActRefused("FieldWrong", "The field `fejl` is wrong: a FejlKode of the contract was wanted.")
        if code == AFVIST and fejl is None:
            raise ActRefused("FieldMissing", "The field `fejl` is missing: AFVIST of an event gives a FejlKode.")
        async with self._rooms.store.tx() as tx:
            event = await self._rooms.inbox.event(tx, besked_id)
            if event is None:
                raise ActRefused("EventUnknown", "No event with this besked_id has come.")
            answer = EventAnswer(code=code, fejl=fejl, begrundelse=begrundelse)
            sent = await self._rooms.answering.say(tx, event, answer, now=self._rooms.clock.now())
        self._rooms.wake()
        return {"besked_id": str(sent)}

    async def answer_extension(self, fields: Fields) -> Json:
        """Answer the request `anmodning_id` (M4) with `code`: MODTAGET, ACCEPTERET, AFVIST or FEJLET.

        ACCEPTERET and AFVIST fill in what a diligent jobcentre would say. Each can be said otherwise:
        `Forlaengelseskode`, `ForlaengelseFra`, `ForlaengelseTil`, `Afvisningsaarsag`, `VurderingsDato`,
        `SagsVersion`, `NaesteOpfoelgning`, `Begrundelse`. Gives the `besked_id` of the answer.
        """
        anmodning_id, code = fields.take("anmodning_id", UUID), fields.take("code", str)
        kode, aarsag = fields.find("Forlaengelseskode", str), fields.find("Afvisningsaarsag", str)
        fra, til = fields.find("ForlaengelseFra", date), fields.find("ForlaengelseTil", date)
        assessed, next_follow_up = fields.find("VurderingsDato", date), fields.find("NaesteOpfoelgning", date)
        sags_version, begrundelse = fields.find("SagsVersion", int), fields.find("Begrundelse", str)
        fields.done()
        now = self._rooms.clock.now()
        async with self._rooms.store.tx() as tx:
            extension = await self._rooms.inbox.extension(tx, anmodning_id)
            if extension is None:
                raise ActRefused("RequestUnknown", "No request with this anmodning_id has come.")
            if code == ACCEPTERET and extension.revurderingsdato >= NEVER:
                raise ActRefused("RequestNeverEnds", "Its RevurderingsDato means never; nothing begins after that.")
            asked = await self._rooms.answering.asked(tx, extension)
            usual = settled_extension(Policy(), asked, today=assessed or danish_date(now))
            answer = ExtensionAnswer(
                code=code,
                kode=(kode or usual.kode) if code == ACCEPTERET else kode,
                til=til or usual.til,
                aarsag=(aarsag or usual.aarsag or "INGEN_GRUND_OPFYLDT") if code == AFVIST else aarsag,
                begrundelse=begrundelse,
            )
            sent = await self._rooms.answering.say_extension(
                tx,
                extension,
                answer,
                now=now,
                fra=fra,
                version=sags_version,
                assessed=assessed,
                next_follow_up=next_follow_up,
            )
        self._rooms.wake()
        return {"besked_id": str(sent)}

    async def update(self, fields: Fields) -> Json:
        """Tell KSD what has happened in a jobcentersag (M5), and let it happen.

        The case is `sags_id` or `jobcentersag_id`. The payload is spelled as on the wire: `Opdateringstype` (a list)
        and its blocks; `GyldigFra` is today, `OpdateringID` new and `JobcentersagStatus` the case's own unless given.
        `with_sags_id`, `with_nemrefusions_id` (true) and `cpr` say by what KSD is to find the case. `checked` (true)
        refuses here what the gateway would refuse. Gives `besked_id` and `opdatering_id`.
        """
        sags_id, jobcentersag_id = fields.find("sags_id", UUID), fields.find("jobcentersag_id", UUID)
        municipality = fields.find("municipality_cvr", str)
        with_sags_id = fields.find("with_sags_id", bool) is not False
        with_nemref = fields.find("with_nemrefusions_id", bool) is not False
        checked = fields.find("checked", bool) is not False
        cpr = fields.find("cpr", Cpr)
        wire = fields.wire()
        fields.done()
        now = self._rooms.clock.now()
        async with self._rooms.store.tx() as tx:
            sag, case = await self._rooms.found(tx, municipality, sags_id, jobcentersag_id)
            moved = _moved(sag, wire)
            payload: Json = {
                "OpdateringID": str(uuid4()),
                "SagsID": str(case.sags_id) if with_sags_id else None,
                "JobcentersagStatus": STATUS[moved.life.state],
                "GyldigFra": danish_date(now).isoformat(),
                **wire,
            }
            message = of_plain(
                SendOpdateringFravaerRequest,
                payload,
                JobcentersagID=sag.jobcentersag_id,
                AuthorityContext=AuthorityContextType(MunicipalityCVR=sag.municipality_cvr),
                Hoved=self._rooms.answering.writer.header(
                    "SendOpdateringFravaer",
                    municipality_cvr=sag.municipality_cvr,
                    cpr=cpr or sag.cpr,
                    now=now,
                    nemrefusions_id=case.nemrefusions_id if with_nemref else None,
                ),
            )
            if checked:
                self._rooms.check(message)
            content = ",".join(message.Opdateringstype)
            sent = await self._rooms.outbox.put(tx, message, content=content, sags_id=case.sags_id)
            visited = message.VisitationsDato or sag.visited
            kategori = message.Visitationskategori or sag.kategori
            await self._rooms.register.keep(tx, replace(moved, kategori=kategori, visited=visited), now=now)
        self._rooms.wake()
        return {"besked_id": str(sent), "opdatering_id": str(message.OpdateringID)}


def _moved(sag: Sag, wire: Json) -> Sag:
    """Say where an update leaves a jobcentersag, before its message has been made."""
    follow_ups = wire.get("Opfoelgning")
    held = isinstance(follow_ups, list) and any(
        isinstance(each, dict) and (each.get("Udfald") == "AFHOLDT" or each.get("AfholdtTid")) for each in follow_ups
    )
    types = wire.get("Opdateringstype")
    for trigger in triggers(
        types if isinstance(types, list) else (),
        kategori=wire.get("Visitationskategori"),
        held=held,
        status=wire.get("JobcentersagStatus"),
    ):
        sag = replace(sag, life=sag.life.moved(trigger))
    return sag

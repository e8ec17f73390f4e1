# SPDX-License-Identifier: MPL-2.0
"""What a caseworker does by hand at the control door: answer an event or a request, and tell KSD what has happened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sygefravaer.contract.codes import FEJLKODER
from sygefravaer.contract.messages import Request
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Fields, Json
from sygefravaer.errors import ActRefused
from sygefravaer.jobcenter.duties import FOLLOW_UP, kategori_for
from sygefravaer.jobcenter.facts import was_held
from sygefravaer.jobcenter.following import first_form, held_outcome, kind_for
from sygefravaer.jobcenter.life import STATUS, TALK, State, Update
from sygefravaer.jobcenter.policy import (
    ACCEPTERET,
    AFVIST,
    NO_GROUND,
    EventAnswer,
    ExtensionAnswer,
    Policy,
    settled_extension,
)
from sygefravaer.jobcenter.rooms import Rooms
from sygefravaer.law import NEVER, danish_date

Which = tuple[str | None, UUID | None, UUID | None]
"""Municipality, SagsID, JobcentersagID, as an act was given them."""


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
                aarsag=(aarsag or usual.aarsag or NO_GROUND) if code == AFVIST else aarsag,
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
        return await self._told(
            (municipality, sags_id, jobcentersag_id),
            wire,
            cpr=cpr,
            with_sags_id=with_sags_id,
            with_nemref=with_nemref,
            check=self._rooms.check if checked else None,
        )

    async def visit(self, fields: Fields) -> Json:
        """Choose a kategori for `sags_id` or `jobcentersag_id` (M5 VISITATION).

        `Visitationskategori` is the one that fits what is known, `VisitationsDato` today, unless given. Gives
        `besked_id` and `opdatering_id`.
        """
        which, now = self._which(fields), self._rooms.clock.now()
        kategori, on = fields.find("Visitationskategori", str), fields.find("VisitationsDato", date)
        fields.done()
        if kategori is None:
            async with self._rooms.store.tx() as tx:
                sag, _ = await self._rooms.found(tx, *which)
                facts = await self._rooms.register.facts(tx, sag)
            kategori = kategori_for(facts, self._rooms.law, on=danish_date(now))
        day = (on or danish_date(now)).isoformat()
        return await self._told(
            which, {"Opdateringstype": [Update.VISITATION], "Visitationskategori": kategori, "VisitationsDato": day}
        )

    async def plan_talk(self, fields: Fields) -> Json:
        """Plan a follow-up at `PlanlagtTid` for `sags_id` or `jobcentersag_id` (M5 OPFOELGNING).

        `Opfoelgningstype` (FOERSTE_OPFOELGNING until that was held, then LOEBENDE_OPFOELGNING) and `Form` (FREMMOEDE)
        unless given. Gives `besked_id` and `opdatering_id`.
        """
        which = self._which(fields)
        kind, form = fields.find("Opfoelgningstype", str), fields.find("Form", str)
        planned_at = fields.take("PlanlagtTid", datetime)
        fields.done()
        talk = {"Opfoelgningstype": kind, "Form": form, "PlanlagtTid": planned_at.isoformat()}
        return await self._talked(which, talk)

    async def hold_talk(self, fields: Fields) -> Json:
        """Tell of a follow-up of `sags_id` or `jobcentersag_id` that was held, or was not (M5 OPFOELGNING).

        `Udfald` (AFHOLDT), `AfholdtTid` (now, if it was held), `PlanlagtTid`, `Form` (FREMMOEDE) and
        `Opfoelgningstype` (FOERSTE_OPFOELGNING until that was held, then LOEBENDE_OPFOELGNING). Gives `besked_id`
        and `opdatering_id`.
        """
        which = self._which(fields)
        kind, form = fields.find("Opfoelgningstype", str), fields.find("Form", str)
        outcome = fields.find("Udfald", str) or held_outcome()
        planned_at, held_at = fields.find("PlanlagtTid", datetime), fields.find("AfholdtTid", datetime)
        fields.done()
        if held_at is None and was_held(outcome, None):
            held_at = self._rooms.clock.now()
        talk = {"Opfoelgningstype": kind, "Form": form, "Udfald": outcome}
        talk |= {"PlanlagtTid": planned_at.isoformat()} if planned_at else {}
        talk |= {"AfholdtTid": held_at.isoformat()} if held_at else {}
        return await self._talked(which, talk)

    async def standby(self, fields: Fields) -> Json:
        """Put `sags_id` or `jobcentersag_id` on standby because of serious illness (M5 STANDBY).

        Gives `besked_id` and `opdatering_id`.
        """
        which = self._which(fields)
        fields.done()
        return await self._told(which, {"Opdateringstype": [Update.STANDBY]})

    async def exempt(self, fields: Fields) -> Json:
        """Exempt `sags_id` or `jobcentersag_id` from follow-up, s. 13 f (M5 STANDBY with its own JobcentersagStatus).

        Whether the law lets it is not judged here: if not, the duties stay. Gives `besked_id` and `opdatering_id`.
        """
        which = self._which(fields)
        fields.done()
        wire = {"Opdateringstype": [Update.STANDBY], "JobcentersagStatus": STATUS[State.UDEN_OPFOELGNING]}
        return await self._told(which, wire)

    async def resend_update(self, fields: Fields) -> Json:
        """Send an update that KSD refused, `besked_id`, again: a new BeskedID, the same OpdateringID and content.

        One that was refused because its case had ended goes out again by itself when the case is told GENOPTAGET.
        Gives the new `besked_id`.
        """
        besked_id = fields.take("besked_id", UUID)
        fields.done()
        async with self._rooms.store.tx() as tx:
            sent = await self._rooms.telling.resend(tx, besked_id, now=self._rooms.clock.now())
        if sent is None:
            raise ActRefused("UpdateUnknown", "No update with this besked_id was refused.")
        self._rooms.wake()
        return {"besked_id": str(sent)}

    def _which(self, fields: Fields) -> Which:
        return (
            fields.find("municipality_cvr", str),
            fields.find("sags_id", UUID),
            fields.find("jobcentersag_id", UUID),
        )

    async def _talked(self, which: Which, talk: Json) -> Json:
        """Tell of a follow-up, with the type that is next and the form that always counts where none was given."""
        law = self._rooms.law
        if talk["Opfoelgningstype"] is None:
            async with self._rooms.store.tx() as tx:
                sag, _ = await self._rooms.found(tx, *which)
                facts = await self._rooms.register.facts(tx, sag)
            talk["Opfoelgningstype"] = kind_for(FOLLOW_UP if facts.held(TALK, law) else TALK)
        talk["Form"] = talk["Form"] or first_form(law, danish_date(self._rooms.clock.now()))
        return await self._told(which, {"Opdateringstype": [Update.OPFOELGNING], "Opfoelgning": [talk]})

    async def _told(
        self,
        which: Which,
        wire: Json,
        *,
        cpr: Cpr | None = None,
        with_sags_id: bool = True,
        with_nemref: bool = True,
        check: Callable[[Request[Any]], None] | None = None,
    ) -> Json:
        now = self._rooms.clock.now()
        async with self._rooms.store.tx() as tx:
            sag, case = await self._rooms.found(tx, *which)
            message, sag = await self._rooms.telling.tell(
                tx,
                sag,
                case,
                wire,
                now=now,
                cpr=cpr,
                with_sags_id=with_sags_id,
                with_nemref=with_nemref,
                check=check,
            )
            await self._rooms.answering.look_at(tx, sag.jobcentersag_id, now=now)
        self._rooms.wake()
        return {"besked_id": str(message.Hoved.BeskedID), "opdatering_id": str(message.OpdateringID)}

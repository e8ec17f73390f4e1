# SPDX-License-Identifier: MPL-2.0
"""
What can be asked of a jobcentre at its control door: a person's hands, and a test's.

Every act takes and gives a JSON object. Fields spelled with a capital letter are elements of a message, as on the
wire; the others are ours. Personal numbers go in, and come out masked. `municipality_cvr` may be left out where the
system serves one municipality. Lists have `limit` (100).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer.client import Client
from sygefravaer.clock import Clock, MovableClock
from sygefravaer.contract.codes import FEJLKODER
from sygefravaer.contract.messages import AuthorityContextType, Reply, Request, SendOpdateringFravaerRequest
from sygefravaer.contract.operations import Environment, judge, operation_for
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import ActRefused, CallFailed, Refused, SchemaValidationFailed, UsageError
from sygefravaer.jobcenter.agenda import Agenda
from sygefravaer.jobcenter.answering import Answering, snapshot_of
from sygefravaer.jobcenter.cases import LinkedCase, Register, Sag
from sygefravaer.jobcenter.chaos import Chaos
from sygefravaer.jobcenter.duties import STATUS, Citizen, duties, triggers
from sygefravaer.jobcenter.fields import Fields, Json, element, plain
from sygefravaer.jobcenter.inbox import Event, Extension, Inbox
from sygefravaer.jobcenter.policy import (
    ACCEPTERET,
    AFVIST,
    EventAnswer,
    ExtensionAnswer,
    Mode,
    Policy,
    danish_date,
    settled_extension,
)
from sygefravaer.jobcenter.sending import Outbox, OutboxPump
from sygefravaer.lanes import Lanes
from sygefravaer.store import Store, Tx

Act = Callable[[Json], Awaitable[Json]]

LIMIT: Final = 100
"""How many rows a list has when nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Everything of one jobcentre that an act may reach."""

    name: str
    store: Store
    clock: Clock
    client: Client
    environment: Environment
    municipalities: Collection[str]
    lanes: Lanes
    register: Register
    inbox: Inbox
    outbox: Outbox
    answering: Answering
    agenda: Agenda
    pump: OutboxPump
    chaos: Chaos


class Acts:
    """The acts of one jobcentre; `table` is what the control door is given."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    @property
    def table(self) -> Mapping[str, Act]:
        """Give every act by its name."""
        acts = {
            "health": self.health, "clock": self.clock, "due": self.due, "inbox": self.inbox,
            "answer_event": self.answer_event, "answer_extension": self.answer_extension, "update": self.update,
            "lookup_case": self.lookup_case, "lookup_list": self.lookup_list, "cases": self.cases, "case": self.case,
            "messages": self.messages, "tasks": self.tasks, "task_done": self.task_done, "policy": self.policy,
            "citizen": self.citizen, "chaos": self.chaos,
        }  # fmt: skip
        return {name: partial(_performed, act) for name, act in acts.items()}

    def _wake(self) -> None:
        self._rooms.agenda.wake()
        self._rooms.pump.wake()

    # --- every part has these ---

    async def health(self, _: Fields) -> Json:
        """Give `part`, `name`, `state`, `version`, `now`, and counters: messages, cases, what waits for a person."""
        async with self._rooms.store.read() as tx:
            row = await tx.one(_COUNTS)
            lanes = await self._rooms.lanes.counts(tx)
        return {
            "part": "jobcenter",
            "name": self._rooms.name,
            "state": "running",
            "version": version("sygefravaer"),
            "now": plain(self._rooms.clock.now()),
            "municipalities": sorted(self._rooms.municipalities),
            **(row or {}),
            "lanes": {status.value: number for status, number in lanes.items()},
        }

    async def clock(self, fields: Fields) -> Json:
        """Tell the time; with `now` (a time with offset) or `advance` (seconds) move it forward first."""
        instant, seconds = fields.find("now", datetime), fields.find("advance", float)
        fields.done()
        if instant is not None or seconds is not None:
            clock = self._rooms.clock
            if not isinstance(clock, MovableClock):
                raise ActRefused("ClockFixed", "This part runs on the machine's clock, which nobody moves.")
            clock.set(instant or clock.now() + timedelta(seconds=seconds or 0))
            self._wake()
        return {"now": plain(self._rooms.clock.now())}

    async def due(self, _: Fields) -> Json:
        """Give the `next` instant at which something happens by itself (or null), and how much is `in_flight` now."""
        async with self._rooms.store.read() as tx:
            instants = (await self._rooms.inbox.due(tx), await self._rooms.lanes.due(tx))
            in_flight = await self._rooms.lanes.in_flight(tx)
        known = [instant for instant in instants if instant is not None]
        return {
            "next": plain(min(known)) if known else None,
            "in_flight": max(in_flight, self._rooms.pump.busy) + self._rooms.agenda.busy,
        }

    # --- what came, and answers by hand ---

    async def inbox(self, fields: Fields) -> Json:
        """List the `events` and the requests for `extensions` that wait for a person."""
        limit = fields.find("limit", int) or LIMIT
        fields.done()
        async with self._rooms.store.tx() as tx:
            events = await self._rooms.inbox.open_events(tx, limit=limit)
            extensions = await self._rooms.inbox.open_extensions(tx, limit=limit)
        return {
            "events": [_shown_event(event) for event in events],
            "extensions": [_shown_extension(extension) for extension in extensions],
        }

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
        self._wake()
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
        self._wake()
        return {"besked_id": str(sent)}

    # --- updates (SF2095) ---

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
            sag, case = await self._found(tx, municipality, sags_id, jobcentersag_id)
            moved = _moved(sag, wire)
            payload: Json = {
                "OpdateringID": str(uuid4()),
                "SagsID": str(case.sags_id) if with_sags_id else None,
                "JobcentersagStatus": STATUS[moved.life.state],
                "GyldigFra": danish_date(now).isoformat(),
                **wire,
            }
            message = element(
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
                self._check(message)
            content = ",".join(message.Opdateringstype)
            sent = await self._rooms.outbox.put(tx, message, content=content, sags_id=case.sags_id)
            visited = message.VisitationsDato or sag.visited
            kategori = message.Visitationskategori or sag.kategori
            await self._rooms.register.keep(tx, replace(moved, kategori=kategori, visited=visited), now=now)
        self._wake()
        return {"besked_id": str(sent), "opdatering_id": str(message.OpdateringID)}

    # --- look-ups (SF2096) ---

    async def lookup_case(self, fields: Fields) -> Json:
        """Ask KSD for one case (M6): `cpr` with `sags_id` or `nemrefusions_id`; `version`, `history`, `user`.

        Of a case that is known here `sags_id` is enough. Gives `reply`, KSD's answer spelled as on the wire.
        """
        sags_id = fields.find("sags_id", UUID)
        municipality = self._municipality(fields.find("municipality_cvr", str))
        cpr, nemref = fields.find("cpr", Cpr), fields.find("nemrefusions_id", UUID)
        number, history = fields.find("version", int), fields.find("history", bool)
        user = fields.find("user", str)
        fields.done()
        if cpr is None:
            async with self._rooms.store.tx() as tx:
                sag, _ = await self._found(tx, municipality, sags_id, None)
            cpr = sag.cpr
        question = self._rooms.answering.writer.case_question(
            municipality_cvr=municipality,
            cpr=cpr,
            now=self._rooms.clock.now(),
            user=user,
            sags_id=sags_id,
            nemrefusions_id=nemref,
            version=number,
            history=history,
        )
        return await self._asked(question)

    async def lookup_list(self, fields: Fields) -> Json:
        """Ask KSD for every case of a citizen (M7): `cpr`; `from`, `to`, `states`, `page`, `page_size`, `user`.

        Gives `reply`, KSD's answer spelled as on the wire.
        """
        municipality = self._municipality(fields.find("municipality_cvr", str))
        question = self._rooms.answering.writer.list_question(
            municipality_cvr=municipality,
            cpr=fields.take("cpr", Cpr),
            now=self._rooms.clock.now(),
            user=fields.find("user", str),
            fra=fields.find("from", date),
            til=fields.find("to", date),
            states=fields.texts("states"),
            page=fields.find("page", int),
            page_size=fields.find("page_size", int),
        )
        fields.done()
        return await self._asked(question)

    # --- what is known ---

    async def cases(self, fields: Fields) -> Json:
        """List the jobcentersager, the last changed first; of one citizen with `cpr`, in one `state`."""
        cpr, state, limit = fields.find("cpr", Cpr), fields.find("state", str), fields.find("limit", int)
        fields.done()
        async with self._rooms.store.tx() as tx:
            found = await self._rooms.register.sager(tx, cpr=cpr, state=state, limit=limit or LIMIT)
            return {"cases": [await self._shown(tx, sag) for sag in found]}

    async def case(self, fields: Fields) -> Json:
        """Show a jobcentersag by `sags_id` or `jobcentersag_id`: its sygedagpengesager, snapshots and duties."""
        sags_id, jobcentersag_id = fields.find("sags_id", UUID), fields.find("jobcentersag_id", UUID)
        municipality = fields.find("municipality_cvr", str)
        fields.done()
        async with self._rooms.store.tx() as tx:
            sag, _ = await self._found(tx, municipality, sags_id, jobcentersag_id)
            linked = await self._rooms.register.cases_of(tx, sag.jobcentersag_id)
            return {
                **await self._shown(tx, sag),
                "duties": plain(duties(sag.life, first_day=sag.first_day, kategori=sag.kategori, visited=sag.visited)),
                "snapshots": {str(case.sags_id): plain(snapshot_of(case.snapshot)) for case in linked},
            }

    async def messages(self, fields: Fields) -> Json:
        """List what was `received` and what was `sent`, the newest first; of what was sent also its status."""
        limit = fields.find("limit", int) or LIMIT
        fields.done()
        async with self._rooms.store.read() as tx:
            received = await self._rooms.inbox.log(tx, limit=limit)
            sent = await self._rooms.outbox.log(tx, limit=limit)
        return {"received": plain(received), "sent": plain(sent)}

    async def tasks(self, fields: Fields) -> Json:
        """List what was refused or is stuck and waits for a person."""
        limit = fields.find("limit", int) or LIMIT
        fields.done()
        async with self._rooms.store.read() as tx:
            return {"tasks": plain(await self._rooms.outbox.tasks(tx, limit=limit))}

    async def task_done(self, fields: Fields) -> Json:
        """Put the task `task_id` away."""
        task_id = fields.take("task_id", int)
        fields.done()
        async with self._rooms.store.tx() as tx:
            if not await self._rooms.outbox.task_done(tx, task_id, self._rooms.clock.now()):
                raise ActRefused("TaskUnknown", "No open task has this number.")
        return {}

    # --- how it behaves ---

    async def policy(self, fields: Fields) -> Json:
        """Tell how events and extensions are answered by itself; what is given is changed first, and kept.

        `events` and `extensions`: diligent, slow, silent, wrong or manual. In seconds: `event_delay`,
        `extension_delay` (after Svarfrist), `extension_length`.
        """
        changes: Json = {name: fields.choice(name, Mode) for name in ("events", "extensions")}
        for name in ("event_delay", "extension_delay", "extension_length"):
            seconds = fields.find(name, float)
            changes[name] = None if seconds is None else timedelta(seconds=seconds)
        fields.done()
        changes = {name: value for name, value in changes.items() if value is not None}
        if changes:
            policy = replace(self._rooms.answering.policy, **changes)
            async with self._rooms.store.tx() as tx:
                await self._rooms.register.keep_policy(tx, json.dumps(policy.as_json()))
            self._rooms.answering.policy = policy
        return self._rooms.answering.policy.as_json()

    async def citizen(self, fields: Fields) -> Json:
        """Note in the municipality's own register that `cpr` is `fact`: known, moved, unknown or dead (B101-B103)."""
        municipality = self._municipality(fields.find("municipality_cvr", str))
        cpr, fact = fields.take("cpr", Cpr), fields.choice("fact", Citizen) or Citizen.KNOWN
        fields.done()
        async with self._rooms.store.tx() as tx:
            await self._rooms.register.note_citizen(tx, municipality, cpr, fact)
        return {"fact": fact.value}

    async def chaos(self, fields: Fields) -> Json:
        """Tell what is wrong on purpose; what is given is changed first, `reset` (true) ends all of it.

        `answer_late` (seconds), `close_after_apply` (a number of calls), `refuse_connections` (true or false),
        `swapped_code` (a list of two codes, or an empty one).
        """
        chaos = self._rooms.chaos
        reset = fields.find("reset", bool)
        late, close = fields.find("answer_late", float), fields.find("close_after_apply", int)
        refuse, swapped = fields.find("refuse_connections", bool), fields.pair("swapped_code")
        fields.done()
        if reset:
            chaos.reset()
        if late is not None:
            chaos.answer_late = late
        if close is not None:
            chaos.close_after_apply = close
        if refuse is not None:
            chaos.refuse_connections = refuse
        if swapped is not None:
            chaos.swapped_code = swapped
        self._rooms.answering.writer = replace(self._rooms.answering.writer, swap=chaos.swap)
        return plain(chaos)  # type: ignore[no-any-return]

    # --- shared by several ---

    def _municipality(self, given: str | None) -> str:
        served = sorted(self._rooms.municipalities)
        if given is None and len(served) == 1:
            return served[0]
        if given not in served:
            raise ActRefused("MunicipalityUnknown", f"`municipality_cvr` must be one of: {', '.join(served)}.")
        return given

    async def _found(
        self, tx: Tx, municipality: str | None, sags_id: UUID | None, jobcentersag_id: UUID | None
    ) -> tuple[Sag, LinkedCase]:
        """Find a jobcentersag and the case of it that is meant: the one named, else the newest open one."""
        register = self._rooms.register
        if sags_id is not None:
            case = await register.case(tx, self._municipality(municipality), sags_id)
            sag = await register.sag(tx, case.jobcentersag_id) if case else None
            if case and sag:
                return sag, case
        elif jobcentersag_id is not None:
            sag = await register.sag(tx, jobcentersag_id)
            linked = await register.cases_of(tx, jobcentersag_id)
            if sag and linked:
                return sag, linked[0]
        else:
            raise ActRefused("FieldMissing", "One of `sags_id` and `jobcentersag_id` is wanted.")
        raise ActRefused("CaseUnknown", "No case here has this id.")

    def _check(self, message: Request[Reply]) -> None:
        """Refuse here what the gateway would refuse, so that a person learns it at once."""
        operation = operation_for(message)
        try:
            judge(operation, message, message.Hoved.AfsenderMyndighedCVR, environment=self._rooms.environment)
        except Refused as refusal:
            raise ActRefused(refusal.code, f"The message breaks a rule at {refusal.place}.") from refusal

    async def _asked(self, question: Request[Any]) -> Json:
        self._check(question)
        try:
            return {"reply": plain(await self._rooms.client.call(question))}
        except CallFailed as error:
            raise ActRefused(error.code or "CallFailed", error.text) from error

    async def _shown(self, tx: Tx, sag: Sag) -> Json:
        linked = await self._rooms.register.cases_of(tx, sag.jobcentersag_id)
        return {
            **plain(sag),
            "life": None,
            "state": sag.life.state.value,
            "status": STATUS[sag.life.state],
            "sygedagpengesager": [
                plain(
                    {
                        "sags_id": case.sags_id,
                        "nemrefusions_id": case.nemrefusions_id,
                        "version": case.version,
                        "tilstand": case.tilstand,
                        "ended_by": case.ended_by,
                        "opened": case.opened,
                    }
                )
                for case in linked
            ],
        }


async def _performed(act: Callable[[Fields], Awaitable[Json]], given: Json) -> Json:
    """Carry out an act; what our own rooms refuse becomes the door's refusal."""
    try:
        return await act(Fields(given))
    except SchemaValidationFailed as error:
        raise ActRefused(error.code, error.text) from error
    except UsageError as error:
        raise ActRefused(error.code, error.text) from error


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


def _shown_event(event: Event) -> Json:
    return {**_origin(event), "verdict": event.verdict.value, "code": event.code, "answer": event.answer}


def _shown_extension(extension: Extension) -> Json:
    return {
        **_origin(extension),
        "anmodning_id": str(extension.anmodning_id),
        "anmodningstype": extension.anmodningstype,
        "rykkernummer": extension.rykkernummer,
        "revurderingsdato": plain(extension.revurderingsdato),
        "svarfrist": plain(extension.svarfrist),
        "mulige": list(extension.mulige),
        "answer": extension.answer,
    }


def _origin(what: Event | Extension) -> Json:
    return {**plain(what.origin), "received_at": plain(what.received_at)}


_COUNTS: Final = """
SELECT (SELECT count(*) FROM received) AS received,
       (SELECT count(*) FROM sent) AS sent,
       (SELECT count(*) FROM sent WHERE receipt IS NOT NULL) AS receipts,
       (SELECT count(*) FROM jobcentersag WHERE state <> 'AFSLUTTET') AS open_cases,
       (SELECT count(*) FROM extension WHERE state = 'waiting') AS open_extensions,
       (SELECT count(*) FROM task WHERE done_at IS NULL) AS open_tasks
"""

# SPDX-License-Identifier: MPL-2.0
"""
What can be asked of a jobcentre at its control door: a person's hands, and a test's.

Every act takes and gives a JSON object. Fields spelled with a capital letter are elements of a message, as on the
wire; the others are ours. Personal numbers go in, and come out masked. `municipality_cvr` may be left out where the
system serves one municipality. Lists have `limit` (100).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import Request
from sygefravaer.contract.plain import to_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Act, Fields, Json, Work, chaos_act, clock_act, head, offered
from sygefravaer.errors import ActRefused, CallFailed
from sygefravaer.jobcenter.answering import snapshot_of
from sygefravaer.jobcenter.cases import Sag
from sygefravaer.jobcenter.duties import Duty, duties, event_duty, extension_duty, may_exempt
from sygefravaer.jobcenter.facts import Deed, Facts
from sygefravaer.jobcenter.handwork import Handwork
from sygefravaer.jobcenter.inbox import Event, Extension
from sygefravaer.jobcenter.life import STATUS
from sygefravaer.jobcenter.policy import Mode
from sygefravaer.jobcenter.rooms import Rooms
from sygefravaer.jobcenter.verdicts import Citizen
from sygefravaer.law import danish_date
from sygefravaer.store import Tx

LIMIT: Final = 100
"""How many rows a list has when nobody says otherwise."""


class Acts:
    """The acts of one jobcentre; `table` is what the control door is given."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    @property
    def table(self) -> Mapping[str, Act]:
        """Give every act by its name."""
        hand = Handwork(self._rooms)
        acts: dict[str, Work] = {
            "health": self.health, "clock": clock_act(self._rooms.clock, self._rooms.wake), "due": self.due,
            "inbox": self.inbox, "answer_event": hand.answer_event, "answer_extension": hand.answer_extension,
            "update": hand.update, "visit": hand.visit, "plan_talk": hand.plan_talk, "hold_talk": hand.hold_talk,
            "standby": hand.standby, "exempt": hand.exempt, "resend_update": hand.resend_update,
            "lookup_case": self.lookup_case, "lookup_list": self.lookup_list,
            "cases": self.cases, "case": self.case, "duties": self.duties, "messages": self.messages,
            "tasks": self.tasks, "task_done": self.task_done, "policy": self.policy, "citizen": self.citizen,
            "chaos": chaos_act(self._rooms.chaos),
        }  # fmt: skip
        return offered(acts)

    # --- every part has these ---

    async def health(self, _: Fields) -> Json:
        """Give `part`, `name`, `state`, `version`, `now`, and counters: messages, cases, what waits for a person."""
        async with self._rooms.store.read() as tx:
            row = await tx.one(_COUNTS)
            lanes = await self._rooms.lanes.counts(tx)
        return {
            **head("jobcenter", self._rooms.name, self._rooms.clock),
            "municipalities": sorted(self._rooms.municipalities),
            **(row or {}),
            "lanes": {status.value: number for status, number in lanes.items()},
        }

    async def due(self, _: Fields) -> Json:
        """Give the `next` instant at which something happens by itself (or null), and how much is `in_flight` now.

        Also `parked`, the lanes that wait for a person, and `counters`, numbers that only grow.
        """
        # Before the rest: what a call has written by its end is seen there then. A repeat that is being sent is due
        # again later, so the pump is asked, before and after; and so is the agenda, which asks KSD meanwhile.
        rooms = self._rooms
        answering, sending, doing = rooms.chaos.answering, rooms.pump.busy, rooms.agenda.busy
        async with rooms.store.snapshot() as tx:  # at two instants a message could be neither due nor in flight
            standing, own = await rooms.lanes.standing(tx), await rooms.inbox.due(tx)
        known = [instant for instant in (standing.next, own) if instant is not None]
        return {
            "next": to_plain(min(known)) if known else None,
            "in_flight": max(standing.in_flight, sending, rooms.pump.busy) + max(doing, rooms.agenda.busy) + answering,
            "parked": standing.parked,
            "counters": standing.counters | {"calls": rooms.chaos.calls, "done": rooms.agenda.done},
        }

    # --- what came ---

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

    # --- look-ups (SF2096) ---

    async def lookup_case(self, fields: Fields) -> Json:
        """Ask KSD for one case (M6): `cpr` with `sags_id` or `nemrefusions_id`; `version`, `history`, `user`.

        Of a case that is known here `sags_id` is enough. Gives `reply`, KSD's answer spelled as on the wire.
        """
        sags_id = fields.find("sags_id", UUID)
        municipality = self._rooms.municipality(fields.find("municipality_cvr", str))
        cpr, nemref = fields.find("cpr", Cpr), fields.find("nemrefusions_id", UUID)
        number, history = fields.find("version", int), fields.find("history", bool)
        user = fields.find("user", str)
        fields.done()
        if cpr is None:
            async with self._rooms.store.tx() as tx:
                sag, _ = await self._rooms.found(tx, municipality, sags_id, None)
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
        municipality = self._rooms.municipality(fields.find("municipality_cvr", str))
        question = self._rooms.answering.writer.list_question(
            municipality_cvr=municipality,
            cpr=fields.take("cpr", Cpr),
            now=self._rooms.clock.now(),
            user=fields.find("user", str),
            fra=fields.find("from", date),
            til=fields.find("to", date),
            states=fields.list("states", str) or (),
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
        """Show a jobcentersag by `sags_id` or `jobcentersag_id`: its sygedagpengesager, snapshots and duties.

        `deeds` are what was done, planned and missed on it; `may_exempt` says whether s. 13 f lets it do without
        follow-up today, `scheme` what follows where sygedagpenge ended and the citizen is still incapacitated.
        """
        sags_id, jobcentersag_id = fields.find("sags_id", UUID), fields.find("jobcentersag_id", UUID)
        municipality = fields.find("municipality_cvr", str)
        fields.done()
        async with self._rooms.store.tx() as tx:
            sag, _ = await self._rooms.found(tx, municipality, sags_id, jobcentersag_id)
            linked = await self._rooms.register.cases_of(tx, sag.jobcentersag_id)
            facts, today = await self._rooms.register.facts(tx, sag), danish_date(self._rooms.clock.now())
            found = [*self._duties(facts, today), *await self._answers(tx, {case.sags_id for case in linked})]
            return {
                **await self._shown(tx, sag),
                "duties": _in_order(found, today),
                "deeds": [_shown_deed(deed) for deed in facts.deeds],
                "may_exempt": may_exempt(facts, self._rooms.law, on=today),
                "snapshots": {str(case.sags_id): to_plain(snapshot_of(case.snapshot)) for case in linked},
            }

    async def duties(self, fields: Fields) -> Json:
        """List what is to be done on all open cases, by its last day; `overdue` marks what is late.

        `until` is the last day to look at.
        """
        until, limit = fields.find("until", date), fields.find("limit", int)
        fields.done()
        today = danish_date(self._rooms.clock.now())
        async with self._rooms.store.snapshot() as tx:
            found = await self._answers(tx, None)
            open_ones = await self._rooms.register.open_sager(tx)
            for facts in await self._rooms.register.facts_of(tx, open_ones):
                found += self._duties(facts, today)
        found = [duty for duty in found if until is None or duty.due <= until]
        return {"duties": _in_order(found, today)[: limit or LIMIT]}

    def _duties(self, facts: Facts, today: date) -> list[Duty]:
        return list(duties(facts, self._rooms.law, on=today))

    async def _answers(self, tx: Tx, cases: Collection[UUID] | None) -> list[Duty]:
        """List the answers that KSD waits for: about these cases, or about all."""
        law = self._rooms.law
        events, requests = await self._rooms.inbox.unanswered(tx)
        return [
            event_duty(law, row["besked_id"], received=danish_date(row["received_at"]))
            for row in events
            if cases is None or row["sags_id"] in cases
        ] + [
            extension_duty(law, row["anmodning_id"], row["svarfrist"], received=danish_date(row["received_at"]))
            for row in requests
            if cases is None or row["sags_id"] in cases
        ]

    async def messages(self, fields: Fields) -> Json:
        """List what was `received` and what was `sent`, the newest first; no `receipt` yet is null."""
        limit = fields.find("limit", int) or LIMIT
        fields.done()
        async with self._rooms.store.read() as tx:
            received = await self._rooms.inbox.log(tx, limit=limit)
            sent = await self._rooms.outbox.log(tx, limit=limit)
        return {"received": to_plain(received), "sent": to_plain(sent)}

    async def tasks(self, fields: Fields) -> Json:
        """List what was refused or is stuck and waits for a person."""
        limit = fields.find("limit", int) or LIMIT
        fields.done()
        async with self._rooms.store.read() as tx:
            return {"tasks": to_plain(await self._rooms.outbox.tasks(tx, limit=limit))}

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
        """Tell what is answered and followed up by itself, and how; what is given is changed first, and kept.

        `events`, `extensions` and `follow_up`: diligent, slow, silent, wrong or manual. In seconds: `event_delay`,
        `extension_delay` (after Svarfrist), `extension_length`, `follow_up_delay` (after a duty's last day).
        """
        changes: Json = {name: fields.choice(name, Mode) for name in ("events", "extensions", "follow_up")}
        for name in ("event_delay", "extension_delay", "extension_length", "follow_up_delay"):
            seconds = fields.find(name, float)
            changes[name] = None if seconds is None else timedelta(seconds=seconds)
        fields.done()
        changes = {name: value for name, value in changes.items() if value is not None}
        if changes:
            answering = self._rooms.answering
            policy = replace(answering.policy, **changes)
            async with self._rooms.store.tx() as tx:
                await self._rooms.register.keep_policy(tx, json.dumps(policy.as_json()))
            answering.policy = policy
            async with self._rooms.store.tx() as tx:
                at = self._rooms.clock.now() if answering.follows else None
                await self._rooms.register.deeds.look_at_all(tx, at)
            self._rooms.wake()
        return self._rooms.answering.policy.as_json()

    async def citizen(self, fields: Fields) -> Json:
        """Note in the municipality's own register that `cpr` is `fact`: known, moved, unknown or dead (B101-B103)."""
        municipality = self._rooms.municipality(fields.find("municipality_cvr", str))
        cpr, fact = fields.take("cpr", Cpr), fields.choice("fact", Citizen) or Citizen.KNOWN
        fields.done()
        async with self._rooms.store.tx() as tx:
            await self._rooms.register.note_citizen(tx, municipality, cpr, fact)
        return {"fact": fact.value}

    async def _asked(self, question: Request[Any]) -> Json:
        self._rooms.check(question)
        try:
            return {"reply": to_plain(await self._rooms.client.call(question))}
        except CallFailed as error:
            raise ActRefused(error.code or "CallFailed", error.text) from error

    async def _shown(self, tx: Tx, sag: Sag) -> Json:
        linked = await self._rooms.register.cases_of(tx, sag.jobcentersag_id)
        return {
            **to_plain(sag),
            "life": None,
            "state": sag.life.state.value,
            "status": STATUS[sag.life.state],
            "sygedagpengesager": [
                to_plain(
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


def _in_order(found: Iterable[Duty], today: date) -> list[Json]:
    return [
        {**to_plain(duty), "overdue": duty.due < today}
        for duty in sorted(found, key=lambda duty: (duty.due, duty.name))
    ]


def _shown_deed(deed: Deed) -> Json:
    """Show a deed with the texts of its codes."""
    texts = {
        name: LISTS[codes].get(kode).tekst
        for name, codes, kode in (
            ("kategori_text", "visitationskategorier", deed.kategori),
            ("kind_text", "opfoelgningstyper", deed.kind),
            ("form_text", "opfoelgningsformer", deed.form),
            ("outcome_text", "udfald", deed.outcome),
        )
        if kode is not None
    }
    return {**to_plain(deed), "held": deed.held, **texts}


def _shown_event(event: Event) -> Json:
    return {**_origin(event), "verdict": event.verdict.value, "code": event.code, "answer": event.answer}


def _shown_extension(extension: Extension) -> Json:
    return {
        **_origin(extension),
        "anmodning_id": str(extension.anmodning_id),
        "anmodningstype": extension.anmodningstype,
        "rykkernummer": extension.rykkernummer,
        "revurderingsdato": to_plain(extension.revurderingsdato),
        "svarfrist": to_plain(extension.svarfrist),
        "mulige": list(extension.mulige),
        "answer": extension.answer,
    }


def _origin(what: Event | Extension) -> Json:
    return {**to_plain(what.origin), "received_at": to_plain(what.received_at)}


_COUNTS: Final = """
SELECT (SELECT count(*) FROM received) AS received,
       (SELECT count(*) FROM sent) AS sent,
       (SELECT count(*) FROM sent WHERE receipt IS NOT NULL) AS receipts,
       (SELECT count(*) FROM follow_up) AS deeds,
       (SELECT count(*) FROM jobcentersag WHERE state <> 'AFSLUTTET') AS open_cases,
       (SELECT count(*) FROM extension WHERE state = 'waiting') AS open_extensions,
       (SELECT count(*) FROM task WHERE done_at IS NULL) AS open_tasks
"""

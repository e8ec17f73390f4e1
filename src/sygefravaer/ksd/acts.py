# SPDX-License-Identifier: MPL-2.0
"""
What can be asked of KSD at its control door: the acts every part has, what there is to see, and how it behaves.

Every act takes and gives a JSON object. Fields spelled with a capital letter are those of `Sygefravaerssag`, as on the
wire; the others are ours. Days are `YYYY-MM-DD`, Danish. A municipality is its CVR number. The acts on cases stand in
`case_acts`; `Acts.table` has all of them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sygefravaer.clock import Clock
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Act, Fields, Json, Work, chaos_act, clock_act, head, offered
from sygefravaer.endpoint import Chaos
from sygefravaer.errors import ActRefused
from sygefravaer.ksd.agenda import Agenda
from sygefravaer.ksd.case_acts import CaseActs, no_case
from sygefravaer.ksd.lifecycle import State
from sygefravaer.ksd.opening import Seeding
from sygefravaer.ksd.overview import Overview
from sygefravaer.ksd.policy import Policies
from sygefravaer.ksd.reports import Reports
from sygefravaer.lanes import Lanes, Pump
from sygefravaer.store import Store

LIMIT: Final = 100
NEVER: Final = -1  # days: not by itself
MOST: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Acts:
    """The acts of one KSD."""

    name: str
    store: Store
    clock: Clock
    lanes: Lanes
    pump: Pump
    agenda: Agenda
    reports: Reports
    overview: Overview
    policies: Policies
    chaos: Chaos
    seeding: Seeding
    on_cases: CaseActs
    wake: Callable[[], None]

    @property
    def table(self) -> Mapping[str, Act]:
        """Give every act by its name."""
        acts: dict[str, Work] = {
            "health": self.health,
            "clock": clock_act(self.clock, self.wake),
            "due": self.due,
            "cases": self.list_cases,
            "case": self.show_case,
            "messages": self.list_messages,
            "tasks": self.list_tasks,
            "task_done": self.task_done,
            "lookups": self.list_lookups,
            "create_case": self.on_cases.create_case,
            "change_case": self.on_cases.change_case,
            "attach_report": self.on_cases.attach_report,
            "end_case": self.on_cases.end_case,
            "move_case": self.on_cases.move_case,
            "change_cpr": self.on_cases.change_cpr,
            "reopen_case": self.on_cases.reopen_case,
            "decide": self.on_cases.decide,
            "ask_extension": self.on_cases.ask_extension,
            "remind": self.on_cases.remind,
            "resend": self.on_cases.resend,
            "replay": self.replay,
            "policy": self.policy,
            "chaos": chaos_act(self.chaos),
            "seed": self.seed,
        }
        return offered(acts)

    # --- every part has these ---

    async def health(self, given: Fields) -> Json:
        """
        Say how the part is.

        | field | |
        |---|---|
        | (none) | gives `part`, `name`, `state`, `version`, `now`, `counters` (only growing, but `tasks`), `lanes` |
        """
        given.done()
        async with self.store.read() as tx:
            lanes, held = await self.lanes.counts(tx), await self.reports.held(tx)
        return {
            **head("ksd", self.name, self.clock),
            "counters": await self.overview.counters(),
            "lanes": {status.value: number for status, number in lanes.items()},
            "held_reports": held,
        }

    async def due(self, given: Fields) -> Json:
        """
        Say when something next happens by itself.

        | field | |
        |---|---|
        | (none) | gives `next` (or null), and `in_flight`: messages being sent and calls being answered |

        Also `parked`, the lanes that wait for a person, and `counters`, numbers that only grow.
        """
        given.done()
        # Before the rest: what a call has put in a lane by its end is seen there then. A repeat that is being sent is
        # due again later, so the pump is asked, before and after.
        answering, busy, doing = self.chaos.answering, self.pump.busy, self.agenda.busy
        async with self.store.snapshot() as tx:  # at two instants a message could be neither due nor in flight
            standing, own = await self.lanes.standing(tx), await self.agenda.next_in(tx)
        known = [instant for instant in (standing.next, own) if instant is not None]
        return {
            "next": min(known).isoformat() if known else None,
            "in_flight": max(standing.in_flight, busy, self.pump.busy) + max(doing, self.agenda.busy) + answering,
            "parked": standing.parked,
            "counters": standing.counters | {"calls": self.chaos.calls, "acts": self.agenda.done},
        }

    # --- what there is to see ---

    async def list_cases(self, given: Fields) -> Json:
        """
        List cases by SagsID (act `cases`).

        | field | |
        |---|---|
        | `municipality_cvr`, `state`, `cpr` | only these |
        | `after`, `limit` | the page after this SagsID, of so many (100) |
        """
        found = await self.overview.cases(
            municipality_cvr=given.find("municipality_cvr", str),
            state=given.choice("state", State),
            cpr=given.find("cpr", Cpr),
            after=given.find("after", UUID),
            limit=given.number("limit", LIMIT, most=MOST),
        )
        given.done()
        return {"cases": found}

    async def show_case(self, given: Fields) -> Json:
        """
        Show a case with all its versions, requests, jobcentersager and updates (act `case`).

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `reason` | why the personal numbers are wanted; they are masked without, and it is recorded |
        | `on`, `known` | a day, and an instant: gives `then`, what was true on the day as it was known at the instant |

        `coming` is what KSD will do with it by itself, `follow_on` what follows its end.
        """
        async with self.store.read() as tx:
            sags_id = await self.on_cases.sags_id(tx, given)
        reason = given.find("reason", str)
        on, known = given.find("on", date), given.find("known", datetime)
        given.done()
        found = await self.overview.case(sags_id, reason=reason, then=(on, known))
        if found is None:
            raise no_case()
        return found

    async def list_messages(self, given: Fields) -> Json:
        """
        List what was sent, the last first, with its answers (act `messages`).

        | field | |
        |---|---|
        | `sags_id` | only about this case |
        | `limit` | so many (100) |
        """
        sags_id, limit = given.find("sags_id", UUID), given.number("limit", LIMIT, most=MOST)
        given.done()
        return {"messages": await self.overview.messages(sags_id=sags_id, limit=limit)}

    async def list_tasks(self, given: Fields) -> Json:
        """
        List what waits for a person (act `tasks`).

        | field | |
        |---|---|
        | `sags_id` | only about this case |
        | `closed` | true: also those that are done |
        | `limit` | so many (100) |
        """
        sags_id, closed = given.find("sags_id", UUID), given.find("closed", bool) or False
        limit = given.number("limit", LIMIT, most=MOST)
        given.done()
        return {"tasks": await self.overview.tasks(sags_id=sags_id, closed=closed, limit=limit)}

    async def task_done(self, given: Fields) -> Json:
        """
        Close a task.

        | field | |
        |---|---|
        | `task_id` | which |
        """
        task_id = given.take("task_id", int)
        given.done()
        statement = "UPDATE task SET closed_at = %(now)s WHERE task_id = %(task_id)s AND closed_at IS NULL"
        async with self.store.tx() as tx:
            if not await tx.run(statement, task_id=task_id, now=self.clock.now()):
                raise ActRefused("NoSuchTask", "There is no such task that is open.")
        return {"task_id": task_id}

    async def list_lookups(self, given: Fields) -> Json:
        """
        List who looked up whom, the last first, with the true outcome (act `lookups`).

        | field | |
        |---|---|
        | `cpr` | only about this citizen's number |
        | `limit` | so many (100) |
        """
        cpr, limit = given.find("cpr", Cpr), given.number("limit", LIMIT, most=MOST)
        given.done()
        return {"lookups": await self.overview.lookups(cpr=cpr, limit=limit)}

    # --- how it behaves ---

    async def policy(self, given: Fields) -> Json:
        """
        Tell how KSD behaves, and change what is given; kept over a restart.

        | field | |
        |---|---|
        | `follow_on` | true: a jobcentre that does not know a case is told it as new at once |
        | `asks` | true: asks for extensions and reminds of them by itself |
        | `decides_after` | days after a refusal until KSD has decided; -1: a person decides |
        | `form_after` | days after its opening at which a case's oplysningsskema comes back; -1: by hand |
        | `hold_reports` | true: reports from NemRefusion (`create_case`) are held; false lets them in, in their order |
        | `repeats` | seconds after which a message the gateway has under way is asked for again; the last is kept to |
        | `substitutes` | CVR numbers of the municipalities whose substitute numbers KSD takes |
        """
        changed = {
            "follow_on": given.find("follow_on", bool),
            "asks": given.find("asks", bool),
            "hold_reports": given.find("hold_reports", bool),
            "repeats": given.list("repeats", int),
            "substitutes": given.list("substitutes", str),
        }
        days = {"decides_after": given.find("decides_after", int), "form_after": given.find("form_after", int)}
        given.done()
        wanted: Json = {name: value for name, value in changed.items() if value is not None}
        wanted |= {name: None if value == NEVER else value for name, value in days.items() if value is not None}
        policy = await self.policies.change(wanted, self.agenda.look_at_all)
        self.wake()
        return policy.as_json()

    async def replay(self, given: Fields) -> Json:
        """
        Let messages go again that nobody answered for five days and that stop their lane. Gives `replayed`.

        | field | |
        |---|---|
        | (none) | |
        """
        given.done()
        async with self.store.tx() as tx:
            parked = await self.lanes.parked(tx)
            for message in parked:
                await self.lanes.replay(tx, message.message_id, now=self.clock.now())
        self.wake()
        return {"replayed": [str(message.besked_id) for message in parked]}

    async def seed(self, given: Fields) -> Json:
        """
        Open cases that are not there yet; the same list again changes nothing. Gives `opened` and `known`.

        | field | |
        |---|---|
        | `cases` | a list; each as for `create_case`, with `sags_id` and `nemrefusions_id`, and `state` |
        | `tell` | false: no message is sent for them |

        A case seeded as REVURDERING has asked for an extension, one as STANDSET, AFSLUTTET or ANNULLERET has been
        running before (`on`, `cause` as for `end_case`; its SidsteFravaersdag, or today, unless given). One with a
        SidsteFravaersdag and no `state` is a report with a last day, as in `create_case`.
        """
        tell, wanted = given.find("tell", bool), given.objects("cases")
        given.done()
        opened = 0
        for each in wanted:
            opened += await self.seeding.seed(Fields(each), quiet=tell is False)
        self.wake()
        return {"opened": opened, "known": len(wanted) - opened}

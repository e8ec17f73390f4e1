# SPDX-License-Identifier: MPL-2.0
"""
What KSD can show of what it holds: cases, one case with all it had, messages with their answers, tasks, look-ups.

For the control door only. Personal numbers come out masked; whoever wants one says why, and that is recorded first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer.contract.history import Told, as_known
from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.plain import Json, to_plain
from sygefravaer.contract.values import Cpr, masked
from sygefravaer.ksd.access import Access, AccessLog
from sygefravaer.ksd.cases import Case, Cases
from sygefravaer.ksd.casework import Casework
from sygefravaer.ksd.changes import follow_on
from sygefravaer.ksd.lifecycle import ENDED, RUNNING
from sygefravaer.ksd.lookups import USER
from sygefravaer.ksd.service import ANSWER, UPDATE
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

REVEAL: Final = "reveal"

_CASES: Final = """
SELECT s.sags_id, s.nemrefusions_id, s.municipality_cvr, s.version, s.state, s.opened_at, s.changed_at
FROM sag s
WHERE (%(municipality_cvr)s::text IS NULL OR s.municipality_cvr = %(municipality_cvr)s)
  AND (%(state)s::text IS NULL OR s.state = %(state)s)
  AND (%(cpr_key)s::bytea IS NULL OR s.person_id = (
      SELECT person_id FROM person_number WHERE cpr_key = %(cpr_key)s))
  AND (%(after)s::uuid IS NULL OR s.sags_id > %(after)s)
ORDER BY s.sags_id LIMIT %(limit)s
"""
_VERSIONS: Final = "SELECT * FROM sag_version WHERE sags_id = %(sags_id)s ORDER BY version"
_REQUESTS: Final = "SELECT * FROM request WHERE sags_id = %(sags_id)s ORDER BY number"
_JOBCENTERSAGER: Final = "SELECT * FROM jobcentersag WHERE sags_id = %(sags_id)s ORDER BY municipality_cvr"
_UPDATES: Final = "SELECT * FROM applied WHERE sags_id = %(sags_id)s ORDER BY number"
_MESSAGES: Final = """
SELECT n.besked_id, n.operation, n.sags_id, n.version, n.anmodning_id, n.municipality_cvr, n.korrelations_id,
       n.sent_at, n.answer, n.final, n.settled_at, n.replaced_by, m.status, m.failures, m.repeats
FROM sent n LEFT JOIN message m ON m.besked_id = n.besked_id AND m.sender = %(system_id)s
WHERE (%(sags_id)s::uuid IS NULL OR n.sags_id = %(sags_id)s)
ORDER BY n.number DESC LIMIT %(limit)s
"""
_ANSWERS: Final = """
SELECT * FROM answer WHERE reference_besked_id = ANY(%(references)s) ORDER BY answer_id
"""
_TASKS: Final = """
SELECT * FROM task
WHERE (%(all)s OR closed_at IS NULL) AND (%(sags_id)s::uuid IS NULL OR sags_id = %(sags_id)s)
ORDER BY task_id LIMIT %(limit)s
"""
_LOOKUPS: Final = """
SELECT access_id, at, operation, besked_id, call_uuid, caller, system_id, municipality_cvr, on_behalf_of, sags_id, code,
       reason
FROM access_log WHERE (%(cpr_key)s::bytea IS NULL OR cpr_key = %(cpr_key)s)
ORDER BY access_id DESC LIMIT %(limit)s
"""
_COUNTERS: Final = """
SELECT (SELECT coalesce(max(access_id), 0) FROM access_log) AS lookups,
       (SELECT coalesce(max(answer_id), 0) FROM answer) AS answers,
       (SELECT coalesce(max(message_id), 0) FROM message) AS messages,
       (SELECT coalesce(max(number), 0) FROM applied) AS updates,
       (SELECT count(*) FROM task WHERE closed_at IS NULL) AS tasks
"""


class Overview:
    """Reads for the control door."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        cases: Cases,
        casework: Casework,
        *,
        law: Law,
        system_id: UUID,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._vault = vault
        self._cases = cases
        self._casework = casework
        self._law = law
        self._system_id = system_id
        self._now = now
        self._log = AccessLog(store)

    async def counters(self) -> Json:
        """Count what came and went so far (numbers that only grow), and the tasks that are open."""
        async with self._store.read() as tx:
            return shown(await tx.one(_COUNTERS) or {})

    async def cases(
        self, *, municipality_cvr: str | None, state: str | None, cpr: Cpr | None, after: UUID | None, limit: int
    ) -> list[Json]:
        """List cases by SagsID, after one."""
        async with self._store.read() as tx:
            rows = await tx.all(
                _CASES,
                municipality_cvr=municipality_cvr,
                state=state,
                cpr_key=None if cpr is None else self._cases.cpr_key(cpr),
                after=after,
                limit=limit,
            )
        return [shown(row) for row in rows]

    async def case(
        self, sags_id: UUID, *, reason: str | None, then: tuple[date | None, datetime | None] = (None, None)
    ) -> Json | None:
        """
        Give a case with every version, request, jobcentersag and update; numbers only for a `reason`, recorded.

        `then` is a day, and an instant at which something was known; the day of today and the present unless given.
        """
        async with self._store.read() as tx:
            case = await self._cases.seen(tx, sags_id)
            if case is None:
                return None
            versions = await tx.all(_VERSIONS, sags_id=sags_id)
            requests = await tx.all(_REQUESTS, sags_id=sags_id)
            jobcentersager = await tx.all(_JOBCENTERSAGER, sags_id=sags_id)
            updates = await tx.all(_UPDATES, sags_id=sags_id)
            coming = await self._casework.coming(tx, case)
        if reason is not None:
            await self._note(case, reason)
        reveal, ending, ended_on = reason is not None, case.picture.Afslutningsaarsag, case.picture.AfslutningsDato
        pictures = {row["version"]: self._cases.picture(row) for row in versions}
        return {
            "sags_id": str(case.sags_id),
            "nemrefusions_id": str(case.nemrefusions_id),
            "municipality_cvr": case.municipality_cvr,
            "version": case.version,
            "state": case.state.value,
            "can_be_extended": case.state in RUNNING,
            "ended": case.state in ENDED,
            "picture": to_plain(case.picture, reveal=reveal),
            "follow_on": follow_on(ending, ended_on, self._law) if ending and ended_on else None,
            "coming": [{"at": due.at.isoformat(), "act": due.act.name, "why": due.act.value} for due in coming],
            "then": to_plain(self._then(versions, pictures, *then), reveal=reveal) if any(then) else None,
            "versions": [
                {**shown(row), "picture": to_plain(pictures[row["version"]], reveal=reveal)} for row in versions
            ],
            "requests": [shown(row) for row in requests],
            "jobcentersager": [shown(row) for row in jobcentersager],
            "updates": [{**shown(row), "content": self._opened(row, "content", UPDATE)} for row in updates],
        }

    async def messages(self, *, sags_id: UUID | None, limit: int) -> list[Json]:
        """List what was sent, the last first, each with where it is and every answer it got."""
        async with self._store.read() as tx:
            sent = await tx.all(_MESSAGES, sags_id=sags_id, system_id=self._system_id, limit=limit)
            answers = await self._answers(tx, [row["besked_id"] for row in sent])
        return [{**shown(row), "answers": answers.get(row["besked_id"], [])} for row in sent]

    async def tasks(self, *, sags_id: UUID | None, closed: bool, limit: int) -> list[Json]:
        """List what waits for a person, the oldest first."""
        async with self._store.read() as tx:
            return [shown(row) for row in await tx.all(_TASKS, all=closed, sags_id=sags_id, limit=limit)]

    async def lookups(self, *, cpr: Cpr | None, limit: int) -> list[Json]:
        """List who looked, the last first."""
        key = None if cpr is None else self._cases.cpr_key(cpr)
        async with self._store.read() as tx:
            rows = await tx.all(_LOOKUPS, cpr_key=key, limit=limit)
        return [{**shown(row), "on_behalf_of": self._text(row["on_behalf_of"], USER)} for row in rows]

    async def _answers(self, tx: Tx, references: Sequence[UUID]) -> dict[UUID, list[Json]]:
        found: dict[UUID, list[Json]] = {}
        for row in await tx.all(_ANSWERS, references=list(references)):
            answer = {**shown(row), "reason": self._text(row["reason"], ANSWER)}
            found.setdefault(row["reference_besked_id"], []).append(answer)
        return found

    async def _note(self, case: Case, reason: str) -> None:
        await self._log.write(
            Access(
                at=self._now(),
                operation=REVEAL,
                besked_id=uuid4(),
                call_uuid=uuid4(),
                caller="control door",
                system_id=self._system_id,
                municipality_cvr=case.municipality_cvr,
                on_behalf_of=self._vault.seal(reason.encode(), context=USER),
                cpr_key=self._cases.cpr_key(case.picture.CprNummer),
                sags_id=case.sags_id,
                code="OK",
                reason="a person asked for the number; why stands in on_behalf_of",
            )
        )

    def _then(
        self,
        versions: Sequence[Row],
        pictures: Mapping[int, SygefravaerssagType],
        on: date | None,
        known: datetime | None,
    ) -> SygefravaerssagType | None:
        told = [
            Told(
                version=row["version"],
                on=row["effective_on"],
                known=row["recorded_at"],
                picture=pictures[row["version"]],
            )
            for row in versions
        ]
        now = self._now()
        return as_known(told, on=on or danish_date(known or now), known=known or now)

    def _text(self, sealed: bytes | None, context: str) -> str | None:
        return None if sealed is None else masked(self._vault.open(sealed, context=context).decode())

    def _opened(self, row: Row, name: str, context: str) -> Any:
        return json.loads(self._vault.open(row[name], context=context))


def shown(row: Row) -> Json:
    """Give a row as JSON has it, without what is sealed or hashed."""
    return {name: _plain(value) for name, value in row.items() if not isinstance(value, bytes)}


def _plain(value: object) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    return value if isinstance(value, bool | int | str | None) else str(value)

# SPDX-License-Identifier: MPL-2.0
"""
Who owes what: business answers that have not come, and ends that a sender has not heard of.

What a message asks, answers or withdraws is written in the statement that accepts it (`talk`). The statement that
settles a question as delivered opens the debt, the one that settles an answer as delivered ends it, and neither costs a
round trip. The two may happen in either order, and even at the same instant, when neither sees the other: so a debt is
open when no answer that KSD took ends it, whatever its row says, and readers and reminders look at the answers too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer import audit, failpoint
from sygefravaer.clock import Clock
from sygefravaer.contract.conversations import WITHIN, Answers, Asks, Conversation, Said, Withdraws
from sygefravaer.errors import NothingOwed
from sygefravaer.lanes import Status
from sygefravaer.law import NEVER, danish_date, end_of_day, working_day
from sygefravaer.store import Row, Store, Trail, Tx

LOG: Final = logging.getLogger(__name__)

REMIND_AGAIN: Final = timedelta(days=7)
REMINDERS: Final = 2  # of an event: when the answer is due, and a week later
BATCH: Final = 100

MIGRATION: Final = """
-- What messages ask, answer and withdraw: written when they are accepted, never changed.
CREATE TABLE talk (
    message_id bigint NOT NULL,
    municipality_cvr text NOT NULL,
    says text NOT NULL CHECK (says IN ('asks', 'answers', 'withdraws')),
    topic text NOT NULL,
    subject uuid NOT NULL,
    number integer NOT NULL DEFAULT 0,
    reference uuid,
    final boolean NOT NULL DEFAULT false,
    case_id uuid,
    until timestamptz,
    PRIMARY KEY (message_id, says)
);
CREATE INDEX talk_settles ON talk (municipality_cvr, subject) WHERE says <> 'asks';

-- Business answers that are owed: from when the question was delivered until an answer was.
CREATE TABLE obligation (
    obligation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    municipality_cvr text NOT NULL,
    owner uuid NOT NULL,
    key uuid NOT NULL,
    message_id bigint NOT NULL,
    besked_id uuid NOT NULL,
    operation text NOT NULL,
    subject uuid NOT NULL,
    number integer NOT NULL,
    case_id uuid NOT NULL,
    since timestamptz NOT NULL,
    due timestamptz NOT NULL,
    reminders integer NOT NULL DEFAULT 0,
    remind_at timestamptz,
    settled_at timestamptz,
    settled_by bigint,
    UNIQUE (topic, municipality_cvr, key)
);
CREATE INDEX obligation_open ON obligation (since) WHERE settled_at IS NULL;
CREATE INDEX obligation_remind ON obligation (remind_at) WHERE settled_at IS NULL;
CREATE INDEX obligation_subject ON obligation (municipality_cvr, subject) WHERE settled_at IS NULL;
CREATE INDEX obligation_case ON obligation (municipality_cvr, case_id) WHERE settled_at IS NULL;
CREATE INDEX obligation_message ON obligation (message_id);
"""

# Which of what was said ends which debt: {talk} is the answer or withdrawal, {debt} what is owed.
_ENDS: Final = """
{talk}.municipality_cvr = {debt}.municipality_cvr AND {talk}.topic = {debt}.topic AND (
    ({talk}.says = 'answers' AND {talk}.subject = {debt}.subject AND (
        {debt}.topic = 'sf2093' AND {talk}.final
        OR {debt}.topic = 'sf2090' AND (
            {talk}.reference = {debt}.besked_id OR {talk}.final AND {talk}.number > {debt}.number
        )
    ))
    OR ({talk}.says = 'withdraws' AND {talk}.subject = {debt}.case_id AND {talk}.message_id > {debt}.message_id)
)"""

# The first answer that KSD took, or withdrawal that the municipality has, that ends a debt.
_ENDED_BY: Final = f"""
SELECT said.message_id, answer.settled_at FROM talk AS said JOIN message AS answer USING (message_id)
WHERE said.says <> 'asks' AND said.municipality_cvr = {{debt}}.municipality_cvr
  AND said.subject IN ({{debt}}.subject, {{debt}}.case_id) AND answer.status = 'delivered'
  AND {_ENDS.format(talk="said", debt="{debt}")}
ORDER BY answer.settled_at, said.message_id LIMIT 1"""

_SAID: Final = """
INSERT INTO talk (message_id, municipality_cvr, says, topic, subject, number, reference, final, case_id, until)
SELECT gate.message_id, %({p}_municipality)s, %({p}_says)s, %({p}_topic)s, %({p}_subject)s::uuid,
       %({p}_number)s::integer, %({p}_reference)s::uuid, %({p}_final)s::boolean, %({p}_case)s::uuid,
       %({p}_until)s::timestamptz
FROM gate"""

# A request that is sent again is the same debt; what it counts are the reminders.
_OPENS: Final = f"""
INSERT INTO obligation AS kept (topic, municipality_cvr, owner, key, message_id, besked_id, operation, subject, number,
    case_id, since, due, reminders, remind_at, settled_at, settled_by)
SELECT debt.topic, debt.municipality_cvr, debt.recipient, debt.key, debt.message_id, debt.besked_id, debt.operation,
       debt.subject, debt.number, debt.case_id, debt.since, debt.due, debt.reminders, debt.remind_at, ended.settled_at,
       ended.message_id FROM (
    SELECT asked.topic, asked.municipality_cvr, message.recipient,
           CASE WHEN asked.topic = 'sf2090' THEN message.besked_id ELSE asked.subject END AS key,
           asked.message_id, message.besked_id, message.operation, asked.subject, asked.number, asked.case_id,
           %(debt_now)s::timestamptz AS since, coalesce(asked.until, %(debt_due)s::timestamptz) AS due,
           CASE WHEN asked.topic = 'sf2093' THEN asked.number ELSE 0 END AS reminders,
           CASE WHEN asked.topic = 'sf2090' THEN %(debt_due)s::timestamptz END AS remind_at
    FROM gate JOIN talk AS asked USING (message_id) JOIN message USING (message_id)
    WHERE asked.says = 'asks'
) AS debt LEFT JOIN LATERAL ({_ENDED_BY.format(debt="debt")}) AS ended ON true
ON CONFLICT (topic, municipality_cvr, key) DO UPDATE SET reminders = greatest(kept.reminders, excluded.reminders)"""

_ENDS_DEBTS: Final = f"""
UPDATE obligation SET settled_at = %(debt_now)s, settled_by = said.message_id
FROM gate JOIN talk AS said USING (message_id)
WHERE obligation.settled_at IS NULL AND said.says <> 'asks'
  AND {{found}} AND {_ENDS.format(talk="said", debt="obligation")}"""

_ANSWERS_DEBTS: Final = _ENDS_DEBTS.format(
    found="obligation.municipality_cvr = said.municipality_cvr AND obligation.subject = said.subject"
)
_WITHDRAWS_DEBTS: Final = _ENDS_DEBTS.format(
    found="obligation.municipality_cvr = said.municipality_cvr AND obligation.case_id = said.subject"
)

_UNANSWERED: Final = f"""
SELECT 'unanswered_' || topic AS kind, message_id, owner, municipality_cvr, besked_id, operation, subject, number,
       since, due, reminders, remind_at
FROM obligation
WHERE settled_at IS NULL AND NOT EXISTS ({_ENDED_BY.format(debt="obligation")})"""

_OWED_BY_OTHERS: Final = f"""
SELECT message_id, operation, besked_id, owner AS recipient FROM ({_UNANSWERED}) AS debt
WHERE municipality_cvr = %(municipality)s AND owner <> %(system)s ORDER BY message_id"""

_UNHEARD: Final = """
SELECT 'unheard' AS kind, unheard.message_id, unheard.sender AS owner, unheard.municipality_cvr, message.besked_id,
       message.operation, NULL::uuid AS subject, NULL::integer AS number, unheard.since, NULL::timestamptz AS due,
       0 AS reminders, NULL::timestamptz AS remind_at
FROM unheard JOIN message USING (message_id) WHERE told_at IS NULL"""

_LIST: Final = f"""
SELECT debt.*, system.name FROM ({_UNANSWERED} UNION ALL {_UNHEARD}) AS debt
LEFT JOIN system ON system.system_id = debt.owner
WHERE (%(owner)s::uuid IS NULL OR owner = %(owner)s)
  AND (%(municipality)s::text IS NULL OR municipality_cvr = %(municipality)s)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY since, message_id LIMIT %(limit)s"""

_REMIND: Final = """
SELECT obligation_id, topic, municipality_cvr, owner, key, message_id, besked_id, operation, subject, number, case_id,
       since, due, reminders, remind_at
FROM obligation WHERE settled_at IS NULL AND remind_at <= %(now)s
ORDER BY remind_at, obligation_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""
_ENDED: Final = f"""
UPDATE obligation SET settled_at = ended.settled_at, settled_by = ended.message_id
FROM obligation AS debt CROSS JOIN LATERAL ({_ENDED_BY.format(debt="debt")}) AS ended
WHERE debt.obligation_id = %(obligation_id)s AND obligation.obligation_id = debt.obligation_id"""
_REMINDED: Final = """
UPDATE obligation SET reminders = reminders + 1, remind_at = %(remind_at)s WHERE obligation_id = %(obligation_id)s"""
_TELL: Final = """
UPDATE unheard SET told_at = %(now)s, told_by = %(by)s WHERE message_id = %(message_id)s AND told_at IS NULL
RETURNING sender, municipality_cvr"""
_ABOUT: Final = "SELECT operation, besked_id, cpr_key FROM message WHERE message_id = %(message_id)s"


class Kind(StrEnum):
    """What can be owed."""

    UNANSWERED_SF2090 = "unanswered_sf2090"
    UNANSWERED_SF2093 = "unanswered_sf2093"
    UNHEARD = "unheard"


@dataclass(frozen=True, kw_only=True, slots=True)
class Obligation:
    """Something that a system owes: an answer, or (unheard) to take notice of an end."""

    kind: Kind
    message_id: int
    owner: UUID
    name: str | None
    """The owner's name, if it is registered still."""
    municipality_cvr: str
    besked_id: UUID
    operation: str
    subject: UUID | None
    number: int | None
    since: datetime
    due: datetime | None
    reminders: int
    remind_at: datetime | None

    def plain(self, now: datetime) -> dict[str, object]:
        """Give it as JSON has it, with its age in seconds."""
        return {
            "kind": self.kind.value,
            "message_id": self.message_id,
            "owner": str(self.owner),
            "name": self.name,
            "municipality_cvr": self.municipality_cvr,
            "besked_id": str(self.besked_id),
            "operation": self.operation,
            "subject": None if self.subject is None else str(self.subject),
            "number": self.number,
            "since": self.since.isoformat(),
            "age": int((now - self.since).total_seconds()),
            "due": None if self.due is None else self.due.isoformat(),
            "overdue": self.due is not None and self.due <= now,
            "reminders": self.reminders,
            "remind_at": None if self.remind_at is None else self.remind_at.isoformat(),
        }


# --- what goes along with accepting and settling ---


def said(facts: Said, *, municipality_cvr: str) -> tuple[Trail, ...]:
    """Make what the statement that accepts a message writes down about what it asks, answers or withdraws."""
    return tuple(_written(fact, number, municipality_cvr) for number, fact in enumerate(facts) if _matters(fact))


def _matters(fact: Asks | Answers | Withdraws) -> bool:
    return not isinstance(fact, Answers) or fact.settles


def _written(fact: Asks | Answers | Withdraws, number: int, municipality_cvr: str) -> Trail:
    prefix = f"talk{number}"
    values: dict[str, object] = {"municipality": municipality_cvr, "topic": fact.topic.value}
    match fact:
        case Asks():
            values |= {"says": "asks", "subject": fact.subject, "number": fact.number, "case": fact.case}
            values |= {"until": None if fact.until is None else _evening(fact.until)}
        case Answers():
            values |= {"says": "answers", "subject": fact.subject, "number": fact.number, "final": fact.final}
            values |= {"reference": fact.reference}
        case Withdraws():
            values |= {"says": "withdraws", "subject": fact.case}
    missing = {"number": 0, "reference": None, "final": False, "case": None, "until": None}
    return Trail(
        statement=_SAID.format(p=prefix), params={f"{prefix}_{name}": v for name, v in (missing | values).items()}
    )


def _evening(day: date) -> datetime:
    return end_of_day(min(day, NEVER))


def settled(conversation: Conversation | None, status: Status, *, now: datetime) -> tuple[Trail, ...]:
    """Make what the statement that settles a message does about debts: a question opens one, an answer ends some."""
    if conversation is None or status is not Status.DELIVERED:
        return ()
    if not conversation.asks:
        return (Trail(statement=_ANSWERS_DEBTS, params={"debt_now": now}),)
    due = end_of_day(working_day(danish_date(now), WITHIN))
    opens = Trail(statement=_OPENS, params={"debt_now": now, "debt_due": due})
    return opens, Trail(statement=_WITHDRAWS_DEBTS, params={"debt_now": now})


# --- for people ---


async def owed(
    store: Store,
    *,
    owner: UUID | None = None,
    municipality: str | None = None,
    kind: Kind | None = None,
    limit: int = 1000,
) -> list[Obligation]:
    """List what is owed, oldest first."""
    async with store.read() as tx:
        rows = await tx.all(
            _LIST, owner=owner, municipality=municipality, kind=None if kind is None else kind.value, limit=limit
        )
    return [Obligation(**{**row, "kind": Kind(row["kind"])}) for row in rows]


async def unanswered(tx: Tx, municipality_cvr: str, *, but: UUID) -> list[Row]:
    """List a municipality's questions that no answer has ended and another system than `but` owes, oldest first."""
    return await tx.all(_OWED_BY_OTHERS, municipality=municipality_cvr, system=but)


async def tell(store: Store, message_id: int, *, by: str, now: datetime) -> None:
    """Note that a person has told the sender the end of this message; raises `NothingOwed`."""
    async with store.tx() as tx:
        row = await tx.one(_TELL, message_id=message_id, by=by, now=now)
        if row is None:
            raise NothingOwed
        about = await tx.one(_ABOUT, message_id=message_id) or {}
        await audit.record(
            tx,
            audit.Event.MESSAGE_TOLD,
            now=now,
            system=row["sender"],
            municipality_cvr=row["municipality_cvr"],
            detail={"by": by},
            **about,
        )
        failpoint.reach("tell.before_commit")
    failpoint.reach("tell.after_commit")


# --- reminders ---


class Reminders:
    """
    Reminds of events that nobody has answered: when the answer is due, and a week later.

    A reminder changes no message, so it is no instant at which a clock that several processes share has to stop: it is
    given when the worker next looks. KSD itself reminds of requests; their debts only count how often.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def give(self) -> int:
        """Give the reminders that are due; say how many. Nodes that do so at once give each of them once."""
        now = self._clock.now()
        given = 0
        async with self._store.tx() as tx:
            for row in await tx.all(_REMIND, now=now, limit=BATCH):
                if await tx.run(_ENDED, obligation_id=row["obligation_id"]):
                    continue
                await self._remind(tx, row, now)
                given += 1
            failpoint.reach("remind.before_commit")
        failpoint.reach("remind.after_commit")
        return given

    async def _remind(self, tx: Tx, row: Row, now: datetime) -> None:
        number = row["reminders"] + 1
        again = row["due"] + number * REMIND_AGAIN if number < REMINDERS else None
        await tx.run(_REMINDED, obligation_id=row["obligation_id"], remind_at=again)
        about = await tx.one(_ABOUT, message_id=row["message_id"]) or {}
        await audit.record(
            tx,
            audit.Event.ANSWER_REMINDED,
            now=now,
            system=row["owner"],
            municipality_cvr=row["municipality_cvr"],
            detail={"reminder": number, "since": row["since"], "due": row["due"]},
            **about,
        )
        LOG.warning(
            "obligation.reminded",
            extra={"system": str(row["owner"]), "municipality": row["municipality_cvr"], "reminder": number},
        )

# SPDX-License-Identifier: MPL-2.0
"""The whole story of a message: accepted, each attempt, its end, the business answer or its absence, what is owed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.plain import to_plain
from sygefravaer.errors import NoSuchMessage
from sygefravaer.store import Store, Tx

_MESSAGE: Final = """
SELECT message_id, besked_id, operation, municipality_cvr, sender, recipient, korrelations_id, reference_besked_id,
       accepted_at, status, detail, settled_at, failures
FROM message WHERE message_id = %(message_id)s"""

_ATTEMPTS: Final = """
SELECT at, outcome, detail, took, again_at, owner AS node, stale FROM attempt
WHERE message_id = %(message_id)s ORDER BY attempt_id"""

# What its receiver, for the same municipality, sent in answer to it, whatever became of that.
_ANSWERS: Final = """
SELECT answer.message_id, answer.besked_id, answer.operation, answer.sender, answer.accepted_at, answer.status,
       answer.settled_at, coalesce(talk.says = 'answers', false) AS settles
FROM message AS asked JOIN message AS answer ON answer.reference_besked_id = asked.besked_id
    AND answer.municipality_cvr = asked.municipality_cvr AND answer.recipient = asked.sender
    AND answer.operation = ANY (%(operations)s)
LEFT JOIN talk ON talk.message_id = answer.message_id AND talk.says = 'answers'
WHERE asked.message_id = %(message_id)s ORDER BY answer.message_id"""

_DEBTS: Final = """
SELECT 'unanswered_' || topic AS kind, owner, since, due, reminders, settled_at, settled_by::text
FROM obligation
WHERE message_id = %(message_id)s OR (municipality_cvr, topic, key) IN (
    SELECT municipality_cvr, topic, subject FROM talk
    WHERE message_id = %(message_id)s AND says = 'asks' AND topic = 'sf2093'
)
UNION ALL
SELECT 'unheard', sender, since, NULL, 0, told_at, nullif(told_by, '') FROM unheard WHERE message_id = %(message_id)s"""

_ANSWERING: Final = [name for name, row in OPERATIONS.items() if row.conversation and not row.conversation.asks]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try: when, what came back, how many seconds it took, when the next one is, which node made it."""

    at: datetime
    outcome: str
    detail: str
    took: float | None
    again_at: datetime | None
    node: UUID | None
    stale: bool
    """It ended when the message was another node's already, and changed nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A message that answers this one; it counts when it is delivered, and ends the matter when it `settles`."""

    message_id: int
    besked_id: UUID
    operation: str
    sender: UUID
    accepted_at: datetime
    status: str
    settled_at: datetime | None
    settles: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Debt:
    """What was or is owed for the message; `settled_by` is the number of a message, or who told the sender."""

    kind: str
    owner: UUID
    since: datetime
    due: datetime | None
    reminders: int
    settled_at: datetime | None
    settled_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Everything that is known of a message, but for its body."""

    message_id: int
    besked_id: UUID
    operation: str
    municipality_cvr: str
    sender: UUID
    recipient: UUID
    korrelations_id: UUID | None
    reference_besked_id: UUID | None
    accepted_at: datetime
    status: str
    detail: str
    settled_at: datetime | None
    failures: int
    asks: bool
    """Whether a business answer is asked for at all."""
    attempts: tuple[Attempt, ...]
    answers: tuple[Answer, ...]
    debts: tuple[Debt, ...]

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        plain: dict[str, Any] = to_plain(asdict(self))
        return plain


async def story(store: Store, message_id: int) -> Story:
    """Tell all that is known of the message with this number, as of one instant; raises `NoSuchMessage`."""
    async with store.snapshot() as tx:
        return await told(tx, message_id)


async def told(tx: Tx, message_id: int) -> Story:
    """Tell the same in a transaction of the caller's."""
    row = await tx.one(_MESSAGE, message_id=message_id)
    if row is None:
        raise NoSuchMessage
    conversation = OPERATIONS[row["operation"]].conversation
    return Story(
        **row,
        asks=conversation is not None and conversation.asks,
        attempts=tuple(Attempt(**each) for each in await tx.all(_ATTEMPTS, message_id=message_id)),
        answers=tuple(Answer(**each) for each in await tx.all(_ANSWERS, message_id=message_id, operations=_ANSWERING)),
        debts=tuple(Debt(**each) for each in await tx.all(_DEBTS, message_id=message_id)),
    )

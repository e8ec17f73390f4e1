# SPDX-License-Identifier: MPL-2.0
"""The outbox: mails written down with what they tell of, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sygefravaer import audit
from sygefravaer.errors import NoSuchMail
from sygefravaer.mail.texts import Kind, is_address, written
from sygefravaer.store import Store, Tx

MIGRATIONS: Final = (
    """
    -- `next_at` is machine time; NULL: at once. `key` lets the same be told once.
    CREATE TABLE mail (
        mail_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind       text NOT NULL,
        key        text UNIQUE,
        address    text NOT NULL,
        subject    text NOT NULL,
        body       text NOT NULL,
        status     text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'failed')),
        created_at timestamptz NOT NULL,
        attempts   integer NOT NULL DEFAULT 0,
        resent     integer NOT NULL DEFAULT 0,
        next_at    timestamptz,
        first_at   timestamptz,
        sent_at    timestamptz,
        failure    text
    );
    CREATE INDEX mail_due ON mail (next_at NULLS FIRST, mail_id) WHERE status = 'queued';
    """,
)

BACK_OFF: Final = (1, 5, 15, 60)  # minutes, then hourly
GIVE_UP: Final = timedelta(days=5)
BAD_ADDRESS: Final = "address"
LEASE: Final = timedelta(minutes=5)  # far longer than one mail takes

_ADVISE: Final = """
INSERT INTO mail (kind, key, address, subject, body, status, failure, created_at)
VALUES (%(kind)s, %(key)s, %(address)s, %(subject)s, %(body)s, %(status)s, %(failure)s, %(now)s)
ON CONFLICT (key) DO NOTHING RETURNING mail_id"""
_LIST: Final = """
SELECT mail_id, kind, key, address, subject, body, status, created_at, attempts, resent, next_at, sent_at, failure
FROM mail
WHERE (%(status)s::text IS NULL OR status = %(status)s) AND (%(after)s::bigint IS NULL OR mail_id < %(after)s)
ORDER BY mail_id DESC LIMIT %(limit)s"""
_RESEND: Final = """
UPDATE mail SET status = 'queued', resent = resent + 1, next_at = NULL, first_at = NULL, failure = NULL
WHERE mail_id = %(mail_id)s RETURNING kind"""
_CLAIM: Final = """
UPDATE mail SET attempts = attempts + 1, next_at = %(lease)s, first_at = coalesce(first_at, %(now)s)
WHERE mail_id IN (
    SELECT mail_id FROM mail WHERE status = 'queued' AND (next_at IS NULL OR next_at <= %(now)s)
    ORDER BY next_at NULLS FIRST, mail_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING mail_id, kind, key, address, subject, body, status, created_at, attempts, resent, next_at, sent_at, failure,
          first_at"""
_SENT: Final = """
UPDATE mail SET status = 'sent', sent_at = %(now)s, next_at = NULL, failure = NULL
WHERE mail_id = %(mail_id)s AND attempts = %(attempts)s AND resent = %(resent)s"""
_AGAIN: Final = """
UPDATE mail SET status = %(status)s, next_at = %(next_at)s, failure = %(failure)s
WHERE mail_id = %(mail_id)s AND attempts = %(attempts)s AND resent = %(resent)s"""


class Status(StrEnum):
    """How far a mail has come."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One mail."""

    mail_id: int
    kind: str
    key: str | None
    address: str
    subject: str
    body: str
    status: Status
    created_at: datetime
    attempts: int
    resent: int
    next_at: datetime | None
    sent_at: datetime | None
    failure: str | None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it, without its text."""
        return {
            "mail": self.mail_id,
            "kind": self.kind,
            "status": self.status.value,
            "address": self.address,
            "subject": self.subject,
            "created_at": self.created_at.isoformat(),
            "attempts": self.attempts,
            "resent": self.resent,
            "next_at": self.next_at and self.next_at.isoformat(),
            "sent_at": self.sent_at and self.sent_at.isoformat(),
            "failure": self.failure,
        }


async def advise(
    tx: Tx, kind: Kind, to: str | None, facts: Mapping[str, object], *, now: datetime, key: str | None = None
) -> int | None:
    """
    Write a mail in the caller's transaction: it is sent if that is committed, and not otherwise.

    `to` is a mailbox; None: there is none, and nothing is written. `key` says what is told only once. Gives the mail's
    number, or None when nothing was written. `FACTS[kind]` are the facts that are wanted. What happened has happened,
    whoever cannot be told: a mailbox that is no address makes a mail that has failed, which a person sees in the list.
    """
    if to is None:
        return None
    subject, body = written(kind, facts)
    usable = is_address(to)
    row = await tx.one(
        _ADVISE,
        kind=kind.value,
        key=key,
        address=to,
        subject=subject,
        body=body,
        status=(Status.QUEUED if usable else Status.FAILED).value,
        failure=None if usable else BAD_ADDRESS,
        now=now,
    )
    return None if row is None else int(row["mail_id"])


async def letters(tx: Tx, *, status: Status | None = None, limit: int = 100, after: int | None = None) -> list[Letter]:
    """List mails, the newest first; `after`: those older than this number."""
    rows = await tx.all(_LIST, status=status and status.value, limit=limit, after=after)
    return [Letter(**{**row, "status": Status(row["status"])}) for row in rows]


async def waiting(tx: Tx) -> int:
    """Count the mails that wait to be sent."""
    row = await tx.one("SELECT count(*) AS number FROM mail WHERE status = 'queued'") or {}
    return int(row.get("number", 0))


async def resend(tx: Tx, mail_id: int, *, by: str, now: datetime) -> None:
    """Let a mail go again, also one that was sent, and record who asked for it; raises `NoSuchMail`."""
    row = await tx.one(_RESEND, mail_id=mail_id)
    if row is None:
        raise NoSuchMail
    detail = {"by": by, "mail": mail_id, "kind": row["kind"]}
    await audit.record(tx, audit.Event.MAIL_RESENT, now=now, detail=detail)


# --- for the postman ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A mail that is to be sent now, and since when it has been tried."""

    letter: Letter
    first_at: datetime


async def claim(store: Store, *, now: datetime, limit: int) -> list[Claimed]:
    """Take mails that are due; another postman leaves them alone for a while."""
    async with store.tx() as tx:
        rows = await tx.all(_CLAIM, now=now, lease=now + LEASE, limit=limit)
    claimed = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "first_at"}
        letter = Letter(**{**fields, "status": Status(row["status"])})
        claimed.append(Claimed(letter=letter, first_at=row["first_at"]))
    return claimed


async def settle(store: Store, claimed: Claimed, failure: str | None, *, final: bool, now: datetime) -> Status:
    """Write down what became of a mail: sent, again later, or never."""
    letter = claimed.letter
    about: dict[str, Any] = {"mail_id": letter.mail_id, "attempts": letter.attempts, "resent": letter.resent}
    async with store.tx() as tx:
        if failure is None:
            await tx.run(_SENT, now=now, **about)
            return Status.SENT
        minutes = BACK_OFF[min(letter.attempts, len(BACK_OFF)) - 1]
        next_at = now + timedelta(minutes=minutes)
        given_up = final or next_at > claimed.first_at + GIVE_UP
        status = Status.FAILED if given_up else Status.QUEUED
        await tx.run(_AGAIN, status=status.value, next_at=None if given_up else next_at, failure=failure, **about)
    return status

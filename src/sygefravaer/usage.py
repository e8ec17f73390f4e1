# SPDX-License-Identifier: MPL-2.0
"""
Use: how many calls an agreement made, by day, service, operation, municipality and system.

Counted from the record, and not while a call is answered: the sealer numbers rows that are committed, one after
another, so a row with a smaller number never comes later. One transaction adds up the rows after the last that was
counted and moves that mark, so each is counted once, whoever is killed when. A limit is told once a period, in the same
transaction, and stops nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer import agreements, audit
from sygefravaer.agreements import danish_day
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import municipality_name
from sygefravaer.errors import NoSuchAgreement, StoreError
from sygefravaer.mail import Kind, advise
from sygefravaer.store import Row, Store, Tx

LOG: Final = logging.getLogger(__name__)

PRICE: Final = "Inkluderet i buffetprisen"
EVERY: Final = 2.0  # seconds of machine time between looks for rows to count
BATCH: Final = 2_000
NOBODY: Final = UUID(int=0)  # the system or agreement of a call that was refused before either was known

MIGRATIONS: Final = (
    """
    -- Up to which row of the sealed record everything has been counted.
    CREATE TABLE usage_mark (one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL);
    INSERT INTO usage_mark (seq) VALUES (0);
    -- Days are Danish. `refused` are calls that were not admitted: they count against no limit.
    CREATE TABLE usage (
        day              date NOT NULL,
        agreement_id     uuid NOT NULL,
        system_id        uuid NOT NULL,
        municipality_cvr text NOT NULL,
        service          text NOT NULL,
        operation        text NOT NULL,
        calls            bigint NOT NULL DEFAULT 0,
        repeats          bigint NOT NULL DEFAULT 0,
        refused          bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (day, agreement_id, system_id, municipality_cvr, service, operation)
    );
    CREATE INDEX usage_of ON usage (agreement_id, day);
    CREATE TABLE usage_limit (
        agreement_id uuid PRIMARY KEY,
        period       text NOT NULL CHECK (period IN ('day', 'month', 'year')),
        calls        bigint NOT NULL CHECK (calls > 0),
        set_by       text NOT NULL,
        set_at       timestamptz NOT NULL
    );
    -- That a limit was reached in a period, and was told.
    CREATE TABLE usage_reached (
        agreement_id uuid NOT NULL,
        period       text NOT NULL,
        begins       date NOT NULL,
        calls        bigint NOT NULL,
        at           timestamptz NOT NULL,
        PRIMARY KEY (agreement_id, period, begins)
    );
    """,
)

_MARK: Final = "SELECT seq FROM usage_mark FOR UPDATE"
_ROWS: Final = """
SELECT max(seq) AS last, count(*) AS number FROM (
    SELECT seq FROM audit WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s) AS page"""
_COUNT: Final = """
INSERT INTO usage AS kept (day, agreement_id, system_id, municipality_cvr, service, operation, calls, repeats, refused)
SELECT (at AT TIME ZONE 'Europe/Copenhagen')::date, coalesce(agreement, %(nobody)s::uuid),
       coalesce(system, %(nobody)s::uuid), coalesce(municipality_cvr, ''),
       coalesce(%(services)s::jsonb ->> operation, ''), coalesce(operation, ''),
       count(*) FILTER (WHERE event IN ('message.accepted', 'lookup.asked')),
       count(*) FILTER (WHERE event = 'message.repeated'),
       count(*) FILTER (WHERE event = 'call.refused')
FROM audit
WHERE seq > %(after)s AND seq <= %(last)s
  AND event IN ('message.accepted', 'lookup.asked', 'message.repeated', 'call.refused')
GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT (day, agreement_id, system_id, municipality_cvr, service, operation) DO UPDATE SET
    calls = kept.calls + excluded.calls, repeats = kept.repeats + excluded.repeats,
    refused = kept.refused + excluded.refused"""
_MOVE: Final = "UPDATE usage_mark SET seq = %(last)s"
_REACHED: Final = """
INSERT INTO usage_reached (agreement_id, period, begins, calls, at)
SELECT l.agreement_id, l.period, date_trunc(l.period, u.day)::date, sum(u.calls), %(now)s
FROM usage_limit l JOIN usage u USING (agreement_id)
WHERE u.day >= date_trunc(l.period, %(today)s::date - 1)::date AND date_trunc(l.period, u.day)::date IN (
    date_trunc(l.period, %(today)s::date)::date, date_trunc(l.period, %(today)s::date - 1)::date)
GROUP BY l.agreement_id, l.period, date_trunc(l.period, u.day)::date, l.calls
HAVING sum(u.calls) >= l.calls
ON CONFLICT (agreement_id, period, begins) DO NOTHING
RETURNING agreement_id, begins, calls"""
_ABOUT: Final = """
SELECT s.name, a.service, a.municipality_cvr, l.calls AS most FROM agreement a
JOIN system s USING (system_id) JOIN usage_limit l USING (agreement_id) WHERE a.agreement_id = %(agreement_id)s"""
_READ: Final = """
SELECT {by}, sum(calls)::bigint AS calls, sum(repeats)::bigint AS repeats, sum(refused)::bigint AS refused
FROM usage
WHERE day >= %(first)s AND day <= %(last)s
  AND (%(municipality)s::text IS NULL OR municipality_cvr = %(municipality)s)
  AND (%(system)s::uuid IS NULL OR system_id = %(system)s)
  AND (%(agreement)s::uuid IS NULL OR agreement_id = %(agreement)s)
  AND (%(vendor)s::text IS NULL OR system_id IN (SELECT system_id FROM system WHERE vendor_cvr = %(vendor)s))
GROUP BY {by} ORDER BY {by} LIMIT %(limit)s"""
_BEHIND: Final = """
SELECT coalesce((SELECT max(seq) FROM audit), 0) - (SELECT seq FROM usage_mark) AS rows"""
_QUIET: Final = """
SELECT used.system_id, system.name, max(used.day) AS last FROM usage AS used
JOIN system ON system.system_id = used.system_id AND system.active
WHERE used.calls > 0 AND (%(cvr)s::text IS NULL OR used.municipality_cvr = %(cvr)s OR system.vendor_cvr = %(cvr)s)
GROUP BY used.system_id, system.name HAVING max(used.day) < %(since)s ORDER BY last, system.name"""
_SET: Final = """
INSERT INTO usage_limit (agreement_id, period, calls, set_by, set_at)
SELECT agreement_id, %(period)s, %(calls)s, %(by)s, %(now)s FROM agreement WHERE agreement_id = %(agreement_id)s
ON CONFLICT (agreement_id) DO UPDATE SET period = excluded.period, calls = excluded.calls, set_by = excluded.set_by,
    set_at = excluded.set_at"""
_UNSET: Final = "DELETE FROM usage_limit WHERE agreement_id = %(agreement_id)s"
_LIMIT: Final = """
SELECT l.agreement_id, l.period, l.calls AS most, l.set_by, l.set_at, a.municipality_cvr,
       coalesce((SELECT sum(u.calls) FROM usage u WHERE u.agreement_id = l.agreement_id
                 AND u.day >= date_trunc(l.period, %(today)s::date)::date AND u.day <= %(today)s), 0)::bigint AS calls
FROM usage_limit l JOIN agreement a USING (agreement_id)
WHERE (%(municipality)s::text IS NULL OR a.municipality_cvr = %(municipality)s) ORDER BY l.agreement_id"""


class Period(StrEnum):
    """For how long a limit counts: calendar days, months and years in Denmark."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class By(StrEnum):
    """What use is told by; several make one row per combination."""

    DAY = "day"
    AGREEMENT = "agreement"
    SYSTEM = "system"
    MUNICIPALITY = "municipality"
    SERVICE = "service"
    OPERATION = "operation"


_COLUMN: Final[Mapping[By, str]] = {
    By.DAY: "day",
    By.AGREEMENT: "agreement_id",
    By.SYSTEM: "system_id",
    By.MUNICIPALITY: "municipality_cvr",
    By.SERVICE: "service",
    By.OPERATION: "operation",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which use: of these days, both included, and only of these, where given."""

    first: date
    last: date
    by: tuple[By, ...] = (By.DAY, By.OPERATION)
    municipality: str | None = None
    system: UUID | None = None
    agreement: UUID | None = None
    vendor: str | None = None
    limit: int = 1000


# --- counting ---

_SERVICES: Final = json.dumps({one.name: one.service.value for one in OPERATIONS.values()})


async def count(store: Store, *, now: datetime) -> int:
    """Count the next rows of the record; give how many were read. Processes that do so at once count each row once."""
    async with store.tx() as tx:
        mark = await tx.one(_MARK)
        after = mark["seq"] if mark else 0
        page = await tx.one(_ROWS, after=after, limit=BATCH)
        if page is None or not page["number"]:
            return 0
        await tx.run(_COUNT, after=after, last=page["last"], nobody=NOBODY, services=_SERVICES)
        await tx.run(_MOVE, last=page["last"])
        await _tell_limits(tx, now)
    return int(page["number"])


async def _tell_limits(tx: Tx, now: datetime) -> None:
    for row in await tx.all(_REACHED, now=now, today=danish_day(now)):
        about = await tx.one(_ABOUT, agreement_id=row["agreement_id"])
        if about is None:
            continue
        cvr = about["municipality_cvr"]
        facts = {
            "system": about["name"],
            "service": about["service"],
            "municipality": municipality_name(cvr),
            "calls": row["calls"],
            "limit": about["most"],
            "period": row["begins"],
            "agreement": row["agreement_id"],
        }
        await advise(tx, Kind.LIMIT_REACHED, await agreements.mailbox(tx, cvr), facts, now=now)
        LOG.info("usage.limit_reached", extra={"agreement": str(row["agreement_id"])})


class Counter:
    """Counts in the background."""

    def __init__(self, store: Store, clock: Clock, *, every: float = EVERY) -> None:
        self._store = store
        self._clock = clock
        self._every = every

    async def run(self) -> None:
        """Count until cancelled. A database that is away is waited for: what is not counted yet stays on record."""
        while True:
            try:
                while await count(self._store, now=self._clock.now()) == BATCH:
                    pass
            except StoreError as error:
                LOG.warning("usage.uncounted", extra={"code": error.code})
            except Exception:  # a row that cannot be counted is no reason to stop a gateway
                LOG.exception("usage.uncounted")
            await asyncio.sleep(self._every)


# --- reading ---


async def used(tx: Tx, asked: Asked) -> list[dict[str, Any]]:
    """Tell use, as JSON has it."""
    names = dict.fromkeys(asked.by)
    by = ", ".join(_COLUMN[one] for one in names)
    rows = await tx.all(
        _READ.format(by=by),
        first=asked.first,
        last=asked.last,
        municipality=asked.municipality,
        system=asked.system,
        agreement=asked.agreement,
        vendor=asked.vendor,
        limit=asked.limit,
    )
    return [
        {one.value: _plain(row[_COLUMN[one]]) for one in names}
        | {"calls": row["calls"], "repeats": row["repeats"], "refused": row["refused"], "price": PRICE}
        for row in rows
    ]


async def behind(tx: Tx) -> int:
    """Say how many sealed rows of the record have not been counted yet."""
    row = await tx.one(_BEHIND)
    return int(row["rows"]) if row else 0


async def quiet(tx: Tx, *, since: date, cvr: str | None = None) -> list[Row]:
    """List active systems that have called, and not since a day; with a CVR number that organisation's."""
    return await tx.all(_QUIET, since=since, cvr=cvr)


def _plain(value: object) -> str | None:
    if value in {NOBODY, ""}:
        return None
    return value.isoformat() if isinstance(value, date) else str(value)


# --- limits ---


async def set_limit(tx: Tx, agreement_id: UUID, *, period: Period, calls: int, by: str, now: datetime) -> None:
    """Let a limit of an agreement be told; raises `NoSuchAgreement`."""
    if not await tx.run(_SET, agreement_id=agreement_id, period=period.value, calls=calls, by=by, now=now):
        raise NoSuchAgreement
    detail = {"by": by, "period": period.value, "calls": calls}
    await audit.record(tx, audit.Event.LIMIT_SET, now=now, agreement=agreement_id, detail=detail)


async def unset_limit(tx: Tx, agreement_id: UUID, *, by: str, now: datetime) -> bool:
    """Take a limit back; say whether there was one."""
    if not await tx.run(_UNSET, agreement_id=agreement_id):
        return False
    await audit.record(tx, audit.Event.LIMIT_SET, now=now, agreement=agreement_id, detail={"by": by, "calls": None})
    return True


async def limits(tx: Tx, *, municipality: str | None = None, now: datetime) -> list[dict[str, Any]]:
    """List limits with what was used in the period that runs."""
    rows = await tx.all(_LIMIT, municipality=municipality, today=danish_day(now))
    return [
        {
            "agreement": str(row["agreement_id"]),
            "municipality": row["municipality_cvr"],
            "period": row["period"],
            "limit": row["most"],
            "calls": row["calls"],
            "reached": row["calls"] >= row["most"],
            "set_by": row["set_by"],
            "set_at": row["set_at"].isoformat(),
        }
        for row in rows
    ]


def month(now: datetime) -> tuple[date, date]:
    """Give the days from the first of the Danish month to today."""
    today = danish_day(now)
    return today - timedelta(days=today.day - 1), today

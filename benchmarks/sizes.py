# SPDX-License-Identifier: MPL-2.0
"""
What one message costs the database: rows, bytes, write-ahead log, flushes; what a NOTIFY and a claim cost.

    python -m benchmarks.sizes

Each message is accepted, delivered and settled by the statements of the gateway, one after the other, with its audit
rows, over a body of 1.5 KB. These are the figures of `docs/scaling.md`; sizes do not depend on the machine, times do.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row

from benchmarks.accepting import BODY, CONNECTIONS
from sygefravaer import audit
from sygefravaer.app import PLATFORM
from sygefravaer.lanes import Entry, Lanes, Status
from sygefravaer.store import EmbeddedServer, Store, Trail, migrate

MESSAGES = 2000
PER_CASE = 10  # messages of one lane: a case's in both directions
SECONDS = 2.0
ROUNDS = 5
QUEUES = 98  # municipalities
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SIZES = """
SELECT relname AS name, reltuples::bigint AS rows, pg_table_size(oid) AS table, pg_indexes_size(oid) AS indexes
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'bench'::regnamespace
AND relname IN ('lane', 'message', 'attempt', 'audit') ORDER BY relname"""
SO_FAR = """
SELECT (SELECT wal_bytes FROM pg_stat_wal) AS wal,
       (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal') AS fsyncs"""


def entry(case: str) -> Entry:
    """Make a message as the gateway makes it."""
    return Entry(
        recipient=UUID(int=1),
        municipality_cvr="29189846",
        case_key=f"nemref:{case}",
        sender=UUID(int=2),
        besked_id=uuid4(),
        operation="SendForretningsSvar",
        korrelations_id=uuid4(),
        reference_besked_id=uuid4(),
        nemrefusions_id=uuid4(),
        cpr_key=BODY[:32],
        digest=BODY[:32],
        body=BODY,
        accepted_at=NOW,
        call_uuid=uuid4(),
    )


def trail(message: Entry, event: audit.Event) -> Trail:
    """Make the audit row that goes with it."""
    return audit.trail(
        event,
        now=NOW,
        call_uuid=message.call_uuid,
        system=message.sender,
        agreement=message.recipient,
        municipality_cvr=message.municipality_cvr,
        operation=message.operation,
        besked_id=message.besked_id,
        cpr_key=message.cpr_key,
    )


async def deliver(store: Store, lanes: Lanes, case: str) -> None:
    """Accept and settle one message."""
    message = entry(case)
    async with store.read() as tx:
        done = await lanes.enqueue(tx, message, owner=uuid4(), trail=trail(message, audit.Event.MESSAGE_ACCEPTED))
    if done.claim is None:
        raise RuntimeError("the lane was not free")
    async with store.read() as tx:
        await lanes.settle(
            tx,
            done.claim,
            done.message,
            status=Status.DELIVERED,
            now=NOW,
            receipt=BODY[:512],
            trail=trail(message, audit.Event.MESSAGE_DELIVERED),
        )


async def sizes(store: Store, operator: psycopg.AsyncConnection) -> None:
    """Print rows, bytes, log and flushes per message."""
    lanes = Lanes()
    before = await (await operator.execute(SO_FAR)).fetchone()
    for case in range(MESSAGES // PER_CASE):
        name = str(uuid4())
        for _ in range(PER_CASE):
            await deliver(store, lanes, f"{case} {name}")
    await asyncio.sleep(1.5)  # the server tells its counters once a second
    after = await (await operator.execute(SO_FAR)).fetchone()
    await operator.execute("VACUUM ANALYZE bench.lane, bench.message, bench.attempt, bench.audit")
    rows = await (await operator.execute(SIZES)).fetchall()
    print(f"{MESSAGES} messages, {PER_CASE} to a case, body {len(BODY)} bytes, receipt 512 bytes")
    print(f"{'':<10}{'rows/message':>14}{'table B/message':>17}{'indexes B/message':>19}")
    for row in rows:
        print(
            f"{row['name']:<10}{row['rows'] / MESSAGES:>14.2f}{row['table'] / MESSAGES:>17.0f}"
            f"{row['indexes'] / MESSAGES:>19.0f}"
        )
    total = sum(row["table"] + row["indexes"] for row in rows) / MESSAGES
    print(f"all tables and indexes: {total:.0f} bytes per message")
    print(f"write-ahead log: {(after['wal'] - before['wal']) / MESSAGES:.0f} bytes per message")
    print(
        f"flushes of the log: {(after['fsyncs'] - before['fsyncs']) / MESSAGES:.2f} per message, one sender at a time"
    )


async def accepts(store: Store, *, notify: bool) -> float:
    """Give accepts per second over all connections, each with a NOTIFY in its transaction or without."""
    lanes, count = Lanes(), 0
    end = time.perf_counter() + SECONDS

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end:
            message = entry(str(uuid4()))
            row = trail(message, audit.Event.MESSAGE_ACCEPTED)
            if notify:
                row = Trail(statement=f"{row.statement} RETURNING pg_notify('bench', '')", params=row.params)
            async with store.read() as tx:
                await lanes.enqueue(tx, message, trail=row)
            count += 1

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return count / SECONDS


async def claims(store: Store, backlog: int) -> float:
    """Give milliseconds for a claim of eight lanes (median) with so many due in each of the municipalities' queues."""
    lanes, took = Lanes(), []
    async with store.tx() as tx:
        await tx.run("TRUNCATE lane, message, attempt")
        await tx.run(
            "INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)"
            " SELECT %(r)s, (10000000 + m)::text, 'b' || n, 1, %(now)s"
            " FROM generate_series(1, %(queues)s) AS m, generate_series(1, %(backlog)s) AS n",
            r=UUID(int=1),
            now=NOW - timedelta(seconds=1),
            queues=QUEUES,
            backlog=backlog,
        )
        await tx.run("ANALYZE lane")
    for _ in range(40):
        begin = time.perf_counter()
        async with store.tx() as tx:
            await lanes.claim(tx, uuid4(), now=NOW, lanes=8)
        took.append((time.perf_counter() - begin) * 1000)
    return sorted(took)[len(took) // 2]


async def measure() -> None:
    """Print everything."""
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedServer(Path(directory) / "pg")
        await server.start()
        store = Store(await server.create_part("bench", "bench"), schema="bench", size=CONNECTIONS)
        try:
            await store.open()
            await migrate(store, PLATFORM, now=NOW)
            async with await psycopg.AsyncConnection.connect(
                server.superuser_dsn(), autocommit=True, row_factory=dict_row
            ) as operator:
                await sizes(store, operator)
            rounds = [  # in turns, so that a disk that is slow for a while is slow for both
                (await accepts(store, notify=False), await accepts(store, notify=True)) for _ in range(ROUNDS)
            ]
            plain, notifying = sorted(rounds, key=lambda one: one[1] / one[0])[ROUNDS // 2]
            print(f"accepts/s over {CONNECTIONS} connections: {plain:.0f}; with a NOTIFY in each: {notifying:.0f}")
            for backlog in (10, 1500):
                took = await claims(store, backlog)
                print(f"a claim of 8 lanes, {QUEUES} municipalities with {backlog} lanes due each: {took:.1f} ms")
        finally:
            await store.close()
            await server.remove()


if __name__ == "__main__":
    asyncio.run(measure())

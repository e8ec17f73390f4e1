# SPDX-License-Identifier: MPL-2.0
"""
A durable accept beside `pgbench`: the same rows, the same server, the same number of connections, one after the other.

Ours is what the gateway does at that point: lane, message and audit row in one statement, committed synchronously.
`pgbench` inserts the same three rows in one statement with prepared plans, which is what the server can do at all.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from sygefravaer import audit, lanes
from sygefravaer.lanes import Entry, Lanes
from sygefravaer.store import EmbeddedServer, Store, migrate

CONNECTIONS = 8
ROUNDS = 5
BODY = bytes(range(256)) * 6  # 1.5 KB, about what a sealed SendForretningsSvar is
SCRIPT = r"""
WITH taken AS (
    INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)
    VALUES (gen_random_uuid(), '29189846', 'nemref:' || gen_random_uuid(), 1, '2026-03-02T09:00Z')
    RETURNING lane_id, recipient, case_key
), fresh AS (
    INSERT INTO message (lane_id, recipient, municipality_cvr, case_key, sender, besked_id, operation,
                         korrelations_id, cpr_key, digest, body, accepted_at, call_uuid, status)
    SELECT lane_id, recipient, '29189846', case_key, '7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24', gen_random_uuid(),
           'SendForretningsSvar', gen_random_uuid(), decode(repeat('a5', 32), 'hex'), decode(repeat('5a', 32), 'hex'),
           decode(repeat('00ff17a9', 384), 'hex'), '2026-03-02T09:00Z', gen_random_uuid(), 'queued'
    FROM taken RETURNING besked_id
)
INSERT INTO audit (at, event, call_uuid, system, agreement, municipality_cvr, operation, besked_id, cpr_key)
SELECT '2026-03-02T09:00Z', 'message.accepted', gen_random_uuid(), '7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24',
       gen_random_uuid(), '29189846', 'SendForretningsSvar', besked_id, decode(repeat('a5', 32), 'hex')
FROM fresh;
"""


async def measure(directory: Path, seconds: float) -> dict[str, float]:
    """Give accepts per second of ours with latencies in ms, and `pgbench`'s rate: of the median round by ratio."""
    server = EmbeddedServer(directory / "pg")
    await server.start()
    try:
        dsn = await server.create_part("bench", "bench")
        store = Store(dsn, schema="bench", size=CONNECTIONS)
        await store.open()
        await migrate(store, [("lanes", lanes.MIGRATIONS), ("audit", audit.MIGRATIONS)], now=datetime.now(UTC))
        await _accepts(store, 1.0)
        rounds = []
        for _ in range(ROUNDS):  # in turns, so that a disk that is slow for a while is slow for both
            ours = await _accepts(store, seconds / 2)
            rounds.append(ours | {"pgbench": await asyncio.to_thread(_pgbench, server, dsn, directory, seconds / 2)})
        await store.close()
    finally:
        await server.remove()
    return sorted(rounds, key=lambda each: each["rate"] / each["pgbench"])[ROUNDS // 2]


async def _accepts(store: Store, seconds: float) -> dict[str, float]:
    room = Lanes()
    latencies: list[float] = []
    begin = time.perf_counter()

    async def work() -> None:
        while (start := time.perf_counter()) < begin + seconds:
            now = datetime.now(UTC)
            entry = Entry(
                recipient=uuid4(),
                municipality_cvr="29189846",
                case_key=f"nemref:{uuid4()}",
                sender=uuid4(),
                besked_id=uuid4(),
                operation="SendForretningsSvar",
                korrelations_id=uuid4(),
                cpr_key=BODY[:32],
                digest=BODY[:32],
                body=BODY,
                accepted_at=now,
                call_uuid=uuid4(),
            )
            row = audit.trail(
                audit.Event.MESSAGE_ACCEPTED,
                now=now,
                call_uuid=entry.call_uuid,
                system=entry.sender,
                agreement=entry.recipient,
                municipality_cvr=entry.municipality_cvr,
                operation=entry.operation,
                besked_id=entry.besked_id,
                cpr_key=entry.cpr_key,
            )
            async with store.read() as tx:  # as the gateway does it: the statement is the transaction
                await room.enqueue(tx, entry, owner=None, trail=row)
            latencies.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    took = time.perf_counter() - begin
    latencies.sort()
    return {
        "rate": len(latencies) / took,
        "p50": latencies[len(latencies) // 2],
        "p95": latencies[int(len(latencies) * 0.95)],
        "p99": latencies[int(len(latencies) * 0.99)],
    }


def _pgbench(server: EmbeddedServer, dsn: str, directory: Path, seconds: float) -> float:
    script = directory / "accept.sql"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [
            *(server.binaries / "pgbench", "--no-vacuum", "--protocol=prepared", f"--file={script}"),
            *(f"--client={CONNECTIONS}", "--jobs=2", f"--time={max(1, round(seconds))}", dsn),
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None:
        raise RuntimeError("pgbench printed no figure")
    return float(found[1])

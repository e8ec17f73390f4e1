# SPDX-License-Identifier: MPL-2.0
"""
Accept to delivered: a steady load through a gateway node to a receiver, beside `pgbench` on the same rows.

Told three times over: what the sender sees (its call to its receipt), what the gateway's table says (accepted to
settled), and when the receiver had applied it. What is not settled when the load has ended counts when it is, so
nothing is left out. The target is the platform's on its two cores, for a burst of a minute; senders and receivers have
machines of their own. So it is held against a receiver that costs as little as the load generator, and beside it the
same is told with the real endpoint, its ledger and its database on these two cores. `pgbench` writes at the same rate,
on the same server, what the gateway writes of each message: lane, message and audit row, then the settlement of all
three with its attempt, two commits with prepared plans.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime

from benchmarks.figures import Measured, Verdict, load, of, say
from benchmarks.stand import TO_KSD, Stand, system
from sygefravaer import audit, lanes
from sygefravaer.store import Store, migrate

RATE = 250.0  # messages per second: the burst that the platform is to stand
PG_CONNECTIONS = 8
LIMIT_MS = 1000.0
BURST = 60.0  # seconds
SEEN = "a send to its receipt"
SETTLED = "accepted to settled"
THERE = ", real receiver here"

ACCEPT = r"""
WITH taken AS (
    INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at, owner, token, lease_until)
    VALUES (gen_random_uuid(), '29189846', 'nemref:' || gen_random_uuid(), 1, '2026-03-02T09:00Z',
            gen_random_uuid(), gen_random_uuid(), clock_timestamp() + interval '60 seconds')
    RETURNING lane_id, recipient, case_key, token
), fresh AS (
    INSERT INTO message (lane_id, recipient, municipality_cvr, case_key, sender, besked_id, operation,
                         korrelations_id, cpr_key, digest, body, accepted_at, call_uuid, status)
    SELECT lane_id, recipient, '29189846', case_key, '7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24', gen_random_uuid(),
           'SendOpdateringFravaer', gen_random_uuid(), decode(repeat('a5', 32), 'hex'),
           decode(repeat('5a', 32), 'hex'), decode(repeat('00ff17a9', 384), 'hex'), '2026-03-02T09:00Z',
           gen_random_uuid(), 'sending'
    FROM taken RETURNING message_id, besked_id
), trail AS (
    INSERT INTO audit (at, event, call_uuid, system, agreement, municipality_cvr, operation, besked_id, cpr_key)
    SELECT '2026-03-02T09:00Z', 'message.accepted', gen_random_uuid(), '7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24',
           gen_random_uuid(), '29189846', 'SendOpdateringFravaer', besked_id, decode(repeat('a5', 32), 'hex')
    FROM fresh
)
SELECT lane_id, token, message_id FROM taken, fresh \gset
"""
SETTLE = r"""
WITH held AS (
    UPDATE lane SET open = open - 1, next_at = '2026-03-02T09:00Z', owner = NULL, token = NULL, lease_until = NULL
    WHERE lane_id = :lane_id AND token = :token RETURNING lane_id
), moved AS (
    UPDATE message SET status = 'delivered', receipt = decode(repeat('00ff17a9', 100), 'hex'),
           first_attempt_at = '2026-03-02T09:00Z', settled_at = '2026-03-02T09:00Z'
    FROM held WHERE message_id = :message_id RETURNING message.besked_id
), trail AS (
    INSERT INTO audit (at, event, call_uuid, system, municipality_cvr, operation, besked_id, cpr_key)
    SELECT '2026-03-02T09:00Z', 'message.delivered', gen_random_uuid(), '7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24',
           '29189846', 'SendOpdateringFravaer', besked_id, decode(repeat('a5', 32), 'hex')
    FROM moved
)
INSERT INTO attempt (message_id, municipality_cvr, owner, at, outcome)
SELECT :message_id, '29189846', gen_random_uuid(), '2026-03-02T09:00Z', 'delivered' FROM held;
"""
SETTLED_MS = """
SELECT extract(epoch FROM settled_at - accepted_at) * 1000 FROM platform.message
WHERE sender = %(sender)s AND accepted_at >= %(since)s AND status = 'delivered'"""
APPLIED_MS = """
SELECT extract(epoch FROM applied.at - message.accepted_at) * 1000
FROM receiver_ksd.applied JOIN platform.message USING (sender, besked_id)
WHERE sender = %(sender)s AND accepted_at >= %(since)s"""


async def measure(stand: Stand, seconds: float, rate: float = RATE, burst: float = BURST) -> list[Measured]:
    """Give what goes through at all, the ceilings at the rate, and the views of a way of both kinds of receiver."""
    job = stand.job("viborg", TO_KSD)
    await load("warming up", stand.directory, seconds=min(seconds, 2.0), **job)
    straight = stand.direct("viborg", TO_KSD, "ksd")
    lines = [
        await load("a send to the receiver alone, 8 connections", stand.directory, seconds=seconds, **straight),
        await load("a send, accepted and delivered, 8 connections", stand.directory, seconds=seconds, **job),
        await _pgbench(stand, seconds, rate),
        await load(
            f"a send to the receiver alone, at {rate:.0f}/s", stand.directory, seconds=seconds, rate=rate, **straight
        ),
    ]
    seen, settled = await _views(stand, burst, rate, THERE)
    since = {"sender": system("viborg"), "since": seen.since}
    applied = [float(value) for (value,) in await stand.ask(APPLIED_MS, **since)]
    lines += [seen, of("accepted to applied by its receiver", applied, seconds=seen.calls / seen.rate), settled]
    await stand.stop_receiver("ksd")
    await stand.start_receiver("ksd", "quick")
    try:
        lines += await _views(stand, burst, rate)
    finally:
        await stand.stop_receiver("ksd")
        await stand.start_receiver("ksd")
    return lines


async def _views(stand: Stand, burst: float, rate: float, where: str = "") -> tuple[Measured, Measured]:
    """Give what the sender sees at a rate, and what the gateway's table says; errors there: what never settled."""
    seen = await load(
        f"{SEEN}, at {rate:.0f}/s{where}", stand.directory, seconds=burst, rate=rate, **stand.job("viborg", TO_KSD)
    )
    left = await stand.quiet()
    settled = [float(value) for (value,) in await stand.ask(SETTLED_MS, sender=system("viborg"), since=seen.since)]
    return seen, of(f"{SETTLED}{where}", settled, seconds=seen.calls / seen.rate, errors=left)


def judge(lines: list[Measured]) -> list[Verdict]:
    """Hold both kinds of receiver against the target: the slower of the two views that see the end."""
    return [_verdict(lines, ""), _verdict(lines, THERE)]


def _verdict(lines: list[Measured], where: str) -> Verdict:
    views = [
        line
        for line in lines
        if line.what.startswith((SEEN, SETTLED)) and line.what.endswith(THERE) is (where == THERE)
    ]
    worst = max(line.p99 for line in views)
    errors = sum(line.errors for line in views)
    return Verdict(
        what=f"accept to delivered, p99{where}",
        found=f"{worst:.2f} ms" + (f", {errors} errors" if errors else ""),
        wanted=f"below {LIMIT_MS:.0f} ms",
        reached=worst < LIMIT_MS and not errors,
    )


async def _pgbench(stand: Stand, seconds: float, rate: float) -> Measured:
    say(f"  pgbench, the same rows, at {rate:.0f}/s")
    dsn = await stand.server.create_part("bench", "bench")
    store = Store(dsn, schema="bench", size=1)
    await store.open()
    await migrate(store, [("lanes", lanes.MIGRATIONS), ("audit", audit.MIGRATIONS)], now=datetime.now(UTC))
    await store.close()
    logs = stand.directory / "pgbench"
    logs.mkdir()
    script = logs / "deliver.sql"
    script.write_text(ACCEPT + SETTLE, encoding="utf-8")
    each = max(1, round(seconds * rate / PG_CONNECTIONS))
    await asyncio.to_thread(
        subprocess.run,
        [
            *(stand.server.binaries / "pgbench", "--no-vacuum", "--protocol=prepared", f"--file={script}"),
            *(f"--client={PG_CONNECTIONS}", "--jobs=1", f"--rate={rate}", f"--transactions={each}"),
            *("--log", f"--log-prefix={logs / 'log'}", dsn),
        ],
        capture_output=True,
        check=True,
    )
    # client, number, microseconds since it was due, script, seconds, microseconds, lag
    took = [float(line.split()[2]) / 1000 for file in logs.glob("log.*") for line in file.read_text().splitlines()]
    shutil.rmtree(logs)
    await stand.server.drop_part("bench")
    return of(f"pgbench, the same rows, at {rate:.0f}/s", took, seconds=seconds)

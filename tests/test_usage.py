# SPDX-License-Identifier: MPL-2.0
"""Use is counted from the record: each row once, whoever is killed when; limits are told once and stop nobody."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from corridor import SYSTEMS, VIBORG, Corridor, message
from sygefravaer import agreements, audit, usage
from sygefravaer.agreements import Actor, Role
from sygefravaer.agreements.organisations import change_organisation, ensure_municipalities
from sygefravaer.app import PLATFORM
from sygefravaer.audit import Event, Sealer
from sygefravaer.cli import cli
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import NoSuchAgreement
from sygefravaer.mail import letters
from sygefravaer.store import Store, migrate
from sygefravaer.usage import Asked, By, Period

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROOMS = ("agreements", "audit", "lanes", "delivery", "mail", "usage")
SYSTEM, AGREEMENT = uuid4(), uuid4()
ALL_TIME = {"first": date(2020, 1, 1), "last": date(2030, 1, 1)}


async def record(tx, event=Event.LOOKUP_ASKED, *, at=NOW, operation="HentSag", agreement=AGREEMENT, **others):
    about = {"system": SYSTEM, "municipality_cvr": VIBORG} | others
    await audit.record(tx, event, now=at, operation=operation, agreement=agreement, **about)


def sealer(store, tmp_path):
    key = tmp_path / "audit.key"
    if not key.exists():
        audit.create_key(key)
    return Sealer(store, key=audit.read_key(key), anchor=tmp_path / "anchors")


async def counted(store, now=NOW):
    while await usage.count(store, now=now):
        pass


async def told(store, *by, **narrowed):
    async with store.read() as tx:
        return await usage.used(tx, Asked(**ALL_TIME, by=by, **narrowed))


async def test_calls_are_told_by_day_in_denmark_and_by_what_became_of_them(make_store, tmp_path):
    """Midnight in Denmark parts two days; what is not a call is no use; refused ones count beside."""
    store = await make_store(*ROOMS)
    midnight = datetime(2026, 3, 2, 23, tzinfo=UTC)
    async with store.tx() as tx:
        await record(tx, at=midnight - timedelta(seconds=1))
        await record(tx, at=midnight)
        await record(tx, Event.MESSAGE_ACCEPTED, at=midnight, operation="SendOpdateringFravaer")
        await record(tx, Event.MESSAGE_REPEATED, at=midnight, operation="SendOpdateringFravaer")
        await record(tx, Event.LOOKUP_ANSWERED, at=midnight)
        await record(tx, Event.MESSAGE_DELIVERED, at=midnight)
        await record(tx, Event.CALL_REFUSED, at=midnight, operation=None, agreement=None, system=None)
    assert await usage.count(store, now=NOW) == 0  # nothing is sealed yet
    await sealer(store, tmp_path).seal()
    await counted(store)

    price = {"price": "Inkluderet i buffetprisen"}
    assert await told(store, By.DAY, By.OPERATION, By.SERVICE) == [
        {"day": "2026-03-02", "operation": "HentSag", "service": "Sygefravaer", "calls": 1, "repeats": 0, "refused": 0}
        | price,
        {"day": "2026-03-03", "operation": None, "service": None, "calls": 0, "repeats": 0, "refused": 1} | price,
        {"day": "2026-03-03", "operation": "HentSag", "service": "Sygefravaer", "calls": 1, "repeats": 0, "refused": 0}
        | price,
        {
            "day": "2026-03-03",
            "operation": "SendOpdateringFravaer",
            "service": "Sygefravaer",
            "calls": 1,
            "repeats": 1,
            "refused": 0,
        }
        | price,
    ]
    (mine,) = await told(store, By.AGREEMENT, By.SYSTEM, By.MUNICIPALITY, agreement=AGREEMENT)
    assert (mine["agreement"], mine["system"], mine["municipality"]) == (str(AGREEMENT), str(SYSTEM), VIBORG)
    assert mine["calls"] == 3
    assert await told(store, By.DAY, municipality="55133018") == []


COUNTER = """
import asyncio, sys
from datetime import UTC, datetime
from sygefravaer import usage
from sygefravaer.store import Store
usage.BATCH = 7
async def main():
    store = Store(sys.argv[1], schema=sys.argv[2], size=1)
    await store.open()
    print("counting", flush=True)
    while True:
        await usage.count(store, now=datetime.now(UTC))
asyncio.run(main())
"""


async def test_each_row_counts_once_though_counters_are_killed_and_work_at_once(embedded, tmp_path):
    """Rows come while they are sealed and counted by two processes; one after another is killed in the middle."""
    role, password = f"use_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = await embedded.create_part(role, password)
    store = Store(dsn, schema=role, size=4)
    await store.open()
    await migrate(store, PLATFORM, now=NOW)

    def start():
        line = [sys.executable, "-c", COUNTER, dsn, role]
        return subprocess.Popen(line, stdout=subprocess.PIPE)

    async def marked():
        async with store.read() as tx:
            return (await tx.one("SELECT seq FROM usage_mark"))["seq"]

    workers, seal = [start(), start()], sealer(store, tmp_path)
    kills = at_work = written = 0
    for worker in workers:
        await asyncio.to_thread(worker.stdout.readline)
    try:
        for _ in range(4):
            async with store.tx() as tx:
                for _ in range(300):
                    await record(tx)
                    written += 1
            await seal.seal()
            async with asyncio.timeout(30):
                while await marked() < written - 200:
                    await asyncio.sleep(0.001)
            at_work += await marked() < written
            victim = workers.pop(0)
            victim.send_signal(signal.SIGKILL)
            assert await asyncio.to_thread(victim.wait, 10) == -signal.SIGKILL
            victim.stdout.close()
            kills += 1
            workers.append(start())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(10)
            worker.stdout.close()
    await counted(store)
    assert (kills, at_work > 0) == (4, True)
    assert [row["calls"] for row in await told(store, By.OPERATION)] == [written]
    await store.close()


async def registered(store):
    async with store.tx() as tx:
        by = Actor(user="test", organisation=VIBORG)
        await ensure_municipalities(tx, by=by, now=NOW)
        await change_organisation(tx, VIBORG, version=1, name=None, mailbox="budget@viborg.example", by=by, now=NOW)
        await agreements.register_system(
            tx,
            system_id=SYSTEM,
            name="Fag",
            vendor_cvr="12345674",
            role=Role.JOBCENTER,
            environment=Environment.TEST,
            now=NOW,
        )
        await agreements.grant_agreement(
            tx,
            agreement_id=AGREEMENT,
            system_id=SYSTEM,
            service=Service.SYGEFRAVAER,
            municipality_cvr=VIBORG,
            valid_from=date(2014, 1, 1),
            now=NOW,
        )


async def test_limit_is_told_once_a_period(make_store, tmp_path):
    """Refused and repeated calls count for nothing; the next month it is told again; and it is in the record who set it."""
    store = await make_store(*ROOMS)
    await registered(store)
    seal = sealer(store, tmp_path)

    async def call(number, at, event=Event.LOOKUP_ASKED):
        async with store.tx() as tx:
            for _ in range(number):
                await record(tx, event, at=at)
        await seal.seal()
        await counted(store, now=at)
        async with store.read() as tx:
            return [
                (one.kind, one.address, "af 3 kald" in one.body or "er 3 kald" in one.body) for one in await letters(tx)
            ]

    async with store.tx() as tx:
        await usage.set_limit(tx, AGREEMENT, period=Period.MONTH, calls=3, by="drift", now=NOW)
    assert await call(2, NOW) == []
    assert await call(5, NOW, Event.CALL_REFUSED) == []
    one = ("limit_reached", "budget@viborg.example", True)
    assert await call(1, NOW) == [one]
    assert await call(9, NOW + timedelta(days=1)) == [one]
    april = datetime(2026, 4, 1, 6, tzinfo=UTC)
    assert await call(3, april) == [one, one]
    async with store.read() as tx:
        (found,) = await usage.limits(tx, municipality=VIBORG, now=april)
        assert (found["calls"], found["limit"], found["reached"]) == (3, 3, True)
        row = await tx.one("SELECT agreement, detail FROM audit WHERE event = 'limit.set'")
    assert (row["agreement"], row["detail"]) == (AGREEMENT, {"by": "drift", "period": "month", "calls": 3})
    with pytest.raises(NoSuchAgreement):
        async with store.tx() as tx:
            await usage.set_limit(tx, uuid4(), period=Period.MONTH, calls=3, by="drift", now=NOW)


async def test_limit_that_is_reached_stops_no_call_and_the_command_tells_it(embedded, clock, vault, pki, tmp_path):
    """Over the wire: three look-ups under a limit of two are all answered; usage and limits are told by the command."""
    role, password = f"use_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = await embedded.create_part(role, password)
    store = Store(dsn, schema=role, size=8)
    await store.open()
    await migrate(store, PLATFORM, now=clock.now())
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'part = "gateway"\nvault = "vault.json"\n[database]\ndsn = "{dsn}"\nschema = "{role}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )

    async def run(*words, code=0):
        line = ["usage", *words, "--json", "--config", str(config)]
        result = await asyncio.to_thread(CliRunner().invoke, cli, line)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    async with Corridor(store, vault, clock, pki) as corridor:
        (agreement,) = [
            row["agreement_id"] for row in await corridor.rows("agreement", "system_id = %(id)s", id=SYSTEMS["viborg"])
        ]
        await run("limit", str(agreement), "--calls", "2", "--who", "drift")
        answers = [await corridor.send("HentSag", message("HentSag")) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
    uncounted = (await run("show", "--from", "2026-03-01", "--to", "2026-03-31"))["uncounted"]
    assert uncounted == 0  # nothing is sealed, so nothing waits to be counted
    await sealer(store, tmp_path).seal()
    assert (await run("show"))["uncounted"] >= 3
    await counted(store, now=clock.now())
    days = ("--from", "2026-03-01", "--to", "2026-03-31")
    shown = await run("show", *days, "--by", "agreement", "--system", "viborg")
    assert [(row["agreement"], row["calls"]) for row in shown["usage"]] == [(str(agreement), 3)]
    (limit,) = (await run("limits"))["limits"]
    assert UUID(limit["agreement"]) == agreement
    assert (await run("limit", str(agreement), "--who", "drift", code=2))["error"]["code"] == "OptionMissing"
    assert (await run("limit", str(uuid4()), "--calls", "2", "--who", "drift", code=1))["error"]["code"] == (
        "NoSuchAgreement"
    )
    await run("limit", str(agreement), "--none", "--who", "drift")
    assert (await run("limits"))["limits"] == []
    await store.close()


async def test_a_system_that_falls_silent_is_named(make_store, tmp_path):
    """Who has called and then not for a while; refused calls are no calls; each organisation sees its own."""
    store = await make_store(*ROOMS)
    await registered(store)
    async with store.tx() as tx:
        await record(tx, at=NOW - timedelta(days=9))
        await record(tx, Event.CALL_REFUSED, at=NOW - timedelta(days=1))
    await sealer(store, tmp_path).seal()
    await counted(store)
    week = date(2026, 2, 23)

    async def quiet(since=week, **of):
        async with store.read() as tx:
            return [(row["name"], row["last"]) for row in await usage.quiet(tx, since=since, **of)]

    silent = [("Fag", date(2026, 2, 21))]
    assert await quiet() == await quiet(cvr=VIBORG) == await quiet(cvr="12345674") == silent
    assert await quiet(cvr="55133018") == await quiet(since=date(2026, 2, 21)) == []

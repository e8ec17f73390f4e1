# SPDX-License-Identifier: MPL-2.0
"""The status record: what is told of a service, and a prober that measures a real one whose KSD is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from desk import Desk
from sygefravaer.cli import cli
from sygefravaer.config import load
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.control import knock
from sygefravaer.sandbox.parts import JOBCENTERS, Layout, toml
from sygefravaer.sandbox.supervisor import Sandbox
from sygefravaer.status import (
    Measured,
    Outcome,
    Probe,
    State,
    danish_share,
    forget,
    history,
    service_status,
    write,
)
from sygefravaer.status.record import Share
from sygefravaer.store import EmbeddedServer, Store

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OURS = [name for name, one in OPERATIONS.items() if one.service is Service.SYGEFRAVAER]
ROOMS = ("agreements", "audit", "lanes", "delivery", "admin", "status")


@pytest.mark.parametrize(
    ("known", "down", "partial", "told"),
    [
        (1, 0, 0, "100,0 %"),
        (43_200, 1, 0, "99,9 %"),  # 99,998 % is never rounded up
        (1000, 1, 0, "99,9 %"),
        (1000, 2, 0, "99,8 %"),
        (3, 1, 0, "66,6 %"),
        (7, 7, 0, "0,0 %"),
        (10, 0, 1, "99,9 %"),  # partly amiss is not the whole
        (0, 0, 0, "ukendt"),
    ],
)
def test_availability_is_rounded_down_and_never_whole_when_something_was_amiss(known, down, partial, told):
    assert danish_share(Share(slots=known, known=known, down=down, partial=partial).permille) == told


async def told_at(store, at, outcome=Outcome.UP, millis=10, every=60.0, **others):
    probes = [
        Probe(
            operation=name,
            service=Service.SYGEFRAVAER,
            outcome=others.get(name, outcome),
            measured=Measured.LOOKUP if OPERATIONS[name].lookup else Measured.CONTRACT,
            code="OK",
            millis=millis,
            detail={"receivers": 1, "silent": ["7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24"]},
        )
        for name in OURS
    ]
    await write(store, probes, at=at, by="test", every=every)


async def now_is(store, now=NOON, **window):
    async with store.read() as tx:
        return await service_status(tx, Service.SYGEFRAVAER, now=now, **window)


async def test_record_tells_state_gaps_and_times(make_store):
    """Ten minutes, one down, three unmeasured, one in which the probe was refused; p50, p95 and p99 of what was up."""
    store = await make_store(*ROOMS)
    assert (await now_is(store)).state is State.UNKNOWN
    for minute in range(10):
        if minute in {4, 5, 6}:
            continue
        outcome = {2: Outcome.DOWN, 8: Outcome.UNKNOWN}.get(minute, Outcome.UP)
        await told_at(store, NOON - (9 - minute) * MINUTE, outcome, millis=minute * 10)
    found = await now_is(store, NOON + timedelta(seconds=20))

    assert (found.state, found.at, found.by) == (State.FULL, NOON, "test")
    assert found.share == Share(slots=10, known=6, down=1, partial=0)
    assert found.plain()["oppetid"] == "83,3 %"
    assert found.plain()["unknown"] == 4
    assert found.times == (30, 90, 90)
    later = await now_is(store, NOON + 5 * MINUTE)
    assert (later.state, later.share.slots, later.share.known) == (State.UNKNOWN, 14, 6)
    after = await now_is(store, NOON + timedelta(seconds=20), window=timedelta(minutes=6, seconds=30))
    assert after.plain()["oppetid"] == "100,0 %"  # the minute that was down has left the window
    assert (await now_is(store, NOON + timedelta(days=40))).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("outcomes", "state", "told"),
    [
        ({}, State.FULL, "100,0 %"),
        (dict.fromkeys(OURS, Outcome.DOWN), State.DOWN, "0,0 %"),
        ({"HentSag": Outcome.DOWN}, State.PARTLY, "0,0 %"),
        ({"SendForretningsSvar": Outcome.PARTIAL}, State.PARTLY, "99,9 %"),
        ({"HentSag": Outcome.UNKNOWN}, State.UNKNOWN, "ukendt"),
        ({"HentSag": Outcome.UNKNOWN, "HentSagsListe": Outcome.DOWN}, State.PARTLY, "0,0 %"),
    ],
)
async def test_state_of_a_service(make_store, outcomes, state, told):
    store = await make_store(*ROOMS)
    await told_at(store, NOON, **outcomes)
    found = await now_is(store)
    assert (found.state, found.plain()["oppetid"]) == (state, told)


async def test_two_probers_count_once_and_old_rounds_are_forgotten(make_store):
    store = await make_store(*ROOMS)
    for seconds in (0, 10, 20):
        await told_at(store, NOON - MINUTE + timedelta(seconds=seconds), Outcome.DOWN if seconds == 10 else Outcome.UP)
    await told_at(store, NOON)
    assert (await now_is(store)).share == Share(slots=2, known=2, down=1, partial=0)
    assert await forget(store, before=NOON) == 3
    assert (await now_is(store)).share == Share(slots=1, known=1, down=0, partial=0)


async def test_history_is_told_by_danish_days(make_store):
    """Midnight in Denmark parts two days; a slot with two rounds counts once; times are the look-ups' alone."""
    store = await make_store(*ROOMS)
    midnight = NOON.replace(hour=0, minute=0) - timedelta(days=1, hours=1)  # Denmark is an hour ahead
    await told_at(store, midnight - MINUTE, Outcome.DOWN)
    for seconds in (0, 20):
        await told_at(
            store, midnight + timedelta(seconds=seconds), millis=10 + seconds, SendForretningsSvar=Outcome.DOWN
        )
    await told_at(store, midnight + MINUTE, Outcome.PARTIAL, millis=50)
    await told_at(store, midnight + 2 * MINUTE, Outcome.UNKNOWN)
    async with store.read() as tx:
        today, yesterday, before = await history(tx, Service.SYGEFRAVAER, now=NOON, days=3)

    assert (today.share.known, today.share.permille, today.times) == (0, None, None)
    assert yesterday.share == Share(slots=2, known=2, down=1, partial=1)
    assert yesterday.times == (30, 50, 50)
    assert (before.share.known, before.share.down) == (1, 1)
    assert yesterday.plain() | {"dag": ""} == {
        "dag": "",
        "oppetid": "50,0 %",
        "known": 2,
        "down": 1,
        "partial": 1,
        "svartid": {"p50": 30, "p95": 50, "p99": 50},
    }
    assert Share(slots=1000, known=1000, down=2, partial=0).budget == (5.0, 2)


async def test_everybody_reads_the_status_but_not_who_is_silent(make_store, vault, clock):
    """No sign-in; the receivers' ids stay inside."""
    store = await make_store(*ROOMS)
    await told_at(store, datetime.now(UTC) - timedelta(seconds=1))
    async with (
        Desk(store, vault, clock) as desk,
        aiohttp.ClientSession() as session,
        session.get(f"{desk.server.url}/service/status.json") as response,
    ):
        text = await response.text()
    ours, other = json.loads(text)["services"]
    assert (ours["tilstand"], ours["oppetid"], ours["measured_by"]) == ("Fuldt tilgængelig", "100,0 %", "test")
    assert ours["operations"][0]["detail"] == {"receivers": 1, "silent": 1}
    assert "7a1e4c52" not in text
    assert other["tilstand"] == "Ukendt"


# --- a real service ---


@contextlib.asynccontextmanager
async def sandbox_up():
    directory = Path(tempfile.mkdtemp(prefix="sf-"))
    layout = Layout(directory / "sandbox")
    try:
        async with Sandbox(layout, port=0, admin_port=0, count=3, say=lambda _: None).running() as summary:
            yield layout, summary
        await EmbeddedServer(layout.database).remove()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def prober(layout: Layout, summary, every=0.5):
    """Run a prober as a process of its own, with the certificate of a jobcentre."""
    gateway, viborg = load(layout.config("gateway")), JOBCENTERS[0]
    own = next(one for one in summary["systems"] if one["name"] == viborg.name)
    path = layout.directory / "prober.toml"
    settings = {
        "part": "prober",
        "name": "maaler",
        "system_id": viborg.system_id,
        "gateway_url": f"https://localhost:{gateway.listen.port}",
        "database": {"dsn": gateway.database.dsn, "schema": gateway.database.schema, "pool": 2},
        "client": {"certificate": own["cert"], "key": own["key"], "ca": summary["ca"]},
        "probe": {"municipality": viborg.cvr, "number": "3112578999", "every": every, "timeout": 5.0},
    }
    path.write_text(toml(settings))
    with layout.log("prober").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sygefravaer", "serve", "prober", "--config", str(path)], stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(20) == 0


async def test_killed_ksd_is_seen_within_one_probe_and_not_forgotten():
    """SIGKILL of KSD, gateway up: not fully available at the next round, and below 100,0 % after recovery too."""
    async with sandbox_up() as (layout, summary):
        settings = load(layout.config("gateway")).database
        store = Store(settings.dsn, schema=settings.schema, size=1)
        await store.open()

        async def status():
            async with store.read() as tx:
                return {
                    one: await service_status(tx, one, now=datetime.now(UTC), window=timedelta(hours=1))
                    for one in Service
                }

        async def until(true, seconds=40.0):
            end = time.monotonic() + seconds
            while not true(told := await status()):
                assert time.monotonic() < end, {k.value: v.plain() for k, v in told.items()}
                await asyncio.sleep(0.05)
            return told

        def ours(told):
            return told[Service.SYGEFRAVAER]

        with prober(layout, summary):
            told = await until(lambda told: all(one.state is State.FULL for one in told.values()))
            assert ours(told).plain()["oppetid"] == "100,0 %"
            codes = {one.operation: (one.code, one.measured) for one in ours(told).operations}
            assert codes["HentSag"] == ("H501", Measured.LOOKUP.value)
            assert codes["SendForretningsSvar"] == ("OK", Measured.CONTRACT.value)
            jc = {one.operation: one for one in told[Service.SYGEFRAVAER_JC].operations}
            assert jc["SendAnmodningForlaengelse"].detail["receivers"] == len(JOBCENTERS)

            await knock(layout.socket("supervisor"), "kill", {"part": "ksd"}, timeout=30)
            killed = datetime.now(UTC)
            told = await until(lambda told: ours(told).at > killed)  # the first round that began after the kill
            assert ours(told).state is State.DOWN
            assert {one.code for one in ours(told).operations if OPERATIONS[one.operation].lookup} == {
                "SourceSystemUnavailable"
            }
            assert told[Service.SYGEFRAVAER_JC].share.down == 0

            await knock(layout.socket("supervisor"), "start", {"part": "ksd"}, timeout=60)
            told = await until(lambda told: ours(told).state is State.FULL and ours(told).at > killed)
            assert ours(told).share.permille < 1000
            assert told[Service.SYGEFRAVAER_JC].share.permille == 1000
        line = ["status", "--window", "1", "--json", "--dir", str(layout.directory)]
        result = await asyncio.to_thread(CliRunner().invoke, cli, line)
        services = json.loads(result.stdout)["services"]
        assert services[0]["down"] >= 1
        assert services[0]["oppetid"] != "100,0 %"
        assert services[0]["measured_by"] == "maaler"
        text = await asyncio.to_thread(CliRunner().invoke, cli, [*line[:3], *line[4:]])
        assert f"Oppetid {services[0]['oppetid']}" in text.stdout
        await until(lambda told: ours(told).state is State.UNKNOWN)  # nobody measures any more
        line = ["usage", "show", "--by", "operation", "--json", "--dir", str(layout.directory)]
        result = await asyncio.to_thread(CliRunner().invoke, cli, line)
        used = {row["operation"]: row["calls"] for row in json.loads(result.stdout)["usage"]}
        assert used["HentSag"] >= 2  # the gateway has counted them beside its calls
        await store.close()

# SPDX-License-Identifier: MPL-2.0
"""A part is built from its settings, waits for its database, and ends in good order."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sygefravaer import app, audit, failpoint
from sygefravaer.app import opening, platform
from sygefravaer.clock import MovableClock, SystemClock
from sygefravaer.config import Config, Database, Kind, Listen, Surroundings, Time
from sygefravaer.control import knock
from sygefravaer.endpoint import Peers
from sygefravaer.errors import ActRefused, MigrationError, StoreUnavailable, UsageError
from sygefravaer.sandbox.pki import Pki
from sygefravaer.vault import Vault

NOWHERE = "host=/nowhere dbname=x user=y"


class Working(app.Part):
    """A part whose only work can be made to fail."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, app.clock_of(config))
        self.fail = asyncio.Event()
        self.closed: list[str] = []

    async def _open(self, stack: AsyncExitStack) -> app.Acts:
        stack.callback(self.closed.append, "work")
        task = self._keep(self._work(), "work")
        stack.callback(task.cancel)
        return {}

    async def _work(self) -> None:
        await self.fail.wait()
        raise RuntimeError("broken")


def settings(**given: Any) -> Config:
    return Config(part=Kind.ADMIN, listen=Listen(), **given)


async def test_work_that_fails_ends_the_part() -> None:
    """What must never end and does, ends everything with its error; what was opened is closed."""
    part = Working(settings())
    await part.start()
    waiting = asyncio.create_task(part.until_failed())
    await asyncio.sleep(0)
    assert not waiting.done()

    part.fail.set()

    with pytest.raises(RuntimeError, match="broken"):
        await waiting
    await part.stop()
    assert part.closed == ["work"]


async def test_work_that_is_ended_is_no_failure() -> None:
    """A part that stops cancels its work, and that is all."""
    part = Working(settings())
    await part.start()
    await part.stop()
    await asyncio.sleep(0)

    assert part._failure is not None
    assert not part._failure.done()


async def test_a_part_that_was_never_started_waits_for_nothing() -> None:
    """Before the start there is nothing that could fail."""
    await Working(settings()).until_failed()


async def test_a_start_that_fails_closes_what_was_opened(tmp_path: Path) -> None:
    """A control door that cannot be made undoes the start."""
    part = Working(settings(control=tmp_path / ("x" * 120)))

    with pytest.raises(UsageError, match="control socket"):
        await part.start()
    assert part.closed == ["work"]


async def test_the_door_tells_and_moves_the_time(tmp_path: Path) -> None:
    """Health and clock, as every part has them; a machine's clock stays, a wrong field is named."""
    path = tmp_path / "a.sock"
    part = app.build(settings(control=path, clock=Time.MOVABLE, clock_ahead=7200.0, name="X"))
    await part.start()
    try:
        health = await knock(path, "health")
        assert (health["part"], health["name"], health["pid"], health["port"]) == ("admin", "X", os.getpid(), part.port)
        first = datetime.fromisoformat((await knock(path, "clock"))["now"])
        assert (first - datetime.now(UTC)).total_seconds() == pytest.approx(7200, abs=5)
        moved = datetime.fromisoformat((await knock(path, "clock", {"advance": 60}))["now"])
        assert (moved - first).total_seconds() == pytest.approx(60, abs=5)
        told = await knock(path, "clock", {"now": "2049-01-01T00:00:00+00:00"})
        assert told["now"].startswith("2049-01-01T00:00:00")
        for fields, code in (
            ({"now": "2026-01-01T00:00:00+00:00"}, "ClockBackwards"),
            ({"now": "tomorrow"}, "FieldWrong"),
            ({"now": "2050-01-01"}, "FieldWrong"),
            ({"advance": "x"}, "FieldWrong"),
            ({"advance": []}, "FieldWrong"),
        ):
            with pytest.raises(ActRefused) as caught:
                await knock(path, "clock", fields)
            assert caught.value.code == code
    finally:
        await part.stop()
    assert not path.exists()


async def test_the_machines_clock_is_not_moved(tmp_path: Path) -> None:
    """A part on the machine's clock says the time and refuses to change it."""
    part = app.build(settings(control=tmp_path / "a.sock"), SystemClock())
    await part.start()
    try:
        with pytest.raises(ActRefused, match="machine's clock"):
            await knock(tmp_path / "a.sock", "clock", {"advance": 1})
    finally:
        await part.stop()


async def test_a_database_that_is_away_is_waited_for(
    embedded: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attempt is a line in the log, without the connection string; when it comes the start goes on."""
    monkeypatch.setattr(opening, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(opening, "RETRY_SECONDS", 0.1)
    caplog.set_level(logging.WARNING, "sygefravaer.app")
    database = Database(dsn=embedded.dsn("late", "geheim"), schema="late", wait=20.0, pool=1)

    starting = asyncio.create_task(app.open_store(database, app.PLATFORM, now=datetime.now(UTC)))
    while not any(record.getMessage() == "database.away" for record in caplog.records):
        await asyncio.sleep(0.05)
    await embedded.create_part("late", "geheim")
    store = await starting

    assert "geheim" not in caplog.text
    async with store.read() as tx:
        assert await tx.one("SELECT count(*) AS n FROM message") == {"n": 0}
    await store.close()


async def test_a_database_that_stays_away_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `database.wait` seconds the error is the database's."""
    monkeypatch.setattr(opening, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(opening, "RETRY_SECONDS", 0.1)
    database = Database(dsn=NOWHERE, schema="x", wait=0.3, pool=1)

    with pytest.raises(StoreUnavailable):
        await app.open_store(database, app.PLATFORM, now=datetime.now(UTC))


async def test_a_database_of_another_version_is_refused(embedded: Any) -> None:
    """A migration that fails closes the store and raises."""
    await embedded.create_part("old", "x")
    database = Database(dsn=embedded.dsn("old", "x"), schema="old", pool=1)

    with pytest.raises(MigrationError):
        await app.open_store(database, (("room", ("NO SQL",)),), now=datetime.now(UTC))
    store = await app.open_store(database, (("room", ("CREATE TABLE a ()",)),), now=datetime.now(UTC))
    await store.close()
    again = await app.open_store(database, (("room", ("CREATE TABLE a ()",)),), now=datetime.now(UTC))
    await again.close()


@pytest.mark.parametrize("kind", [Kind.GATEWAY, Kind.KSD, Kind.JOBCENTER])
async def test_each_part_is_built_from_its_settings(kind: Kind, embedded: Any, pki: Pki, tmp_path: Path) -> None:
    """Gateway, KSD and jobcentre start on settings alone, say how they are, and close everything."""
    role = f"app_{kind.value}"
    await embedded.create_part(role, "x")
    own = pki.issue(role, "29189846")
    Vault.create_file(tmp_path / "keys.json")
    path = tmp_path / "part.toml"
    path.write_text(
        f"""
part = "{kind.value}"
vault = "keys.json"
control = "{os.path.relpath(tmp_path / "a.sock")}"
system_id = "6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11"
gateway_url = "https://localhost:1"
municipalities = ["29189846"]
[database]
dsn = "{embedded.dsn(role, "x")}"
schema = "{role}"
pool = 2
[listen]
certificate = "{own.certificate}"
key = "{own.key}"
ca = "{pki.ca}"
crl = "{pki.crl}"
callers = ["{own.serial_key}"]
[client]
certificate = "{own.certificate}"
key = "{own.key}"
ca = "{pki.ca}"
""".replace(os.path.relpath(tmp_path / "a.sock"), "a.sock")
    )
    from sygefravaer.config import load

    part = app.build(load(path))
    await part.start()
    try:
        health = await knock(tmp_path / "a.sock", "health")
        assert (health["part"], health["state"], health["port"]) == (kind.value, "running", part.port)
        while (due := await knock(tmp_path / "a.sock", "due"))["in_flight"]:
            await asyncio.sleep(0.02)
        assert due == {"next": None, "in_flight": 0, "parked": 0, "counters": dict.fromkeys(due["counters"], 0)}
        assert {"attempts", "calls"} < due["counters"].keys()
        acts = (await knock(tmp_path / "a.sock", "acts"))["acts"]
        assert {"acts", "clock", "due", "health"} <= acts.keys()
        assert all(acts.values())
    finally:
        await part.stop()


async def test_a_missing_setting_is_named_when_it_is_needed() -> None:
    """Settings made in code, past the file's own check, are checked where they are used."""
    with pytest.raises(UsageError, match="`vault`"):
        await app.build(Config(part=Kind.GATEWAY, listen=Listen())).start()


async def test_an_anchor_that_cannot_be_written_is_an_alarm_only(
    make_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway goes on; once the place is there again the chain is anchored."""
    monkeypatch.setattr(platform, "RETRY_SECONDS", 0.05)
    store = await make_store("audit")
    async with store.tx() as tx:
        await audit.record(tx, next(iter(audit.Event)), now=datetime.now(UTC))
    sealer = audit.Sealer(store, key=audit.create_key(tmp_path / "key"), anchor=tmp_path / "away" / "anchors")
    sealing = asyncio.create_task(platform.seal(sealer))
    while not any(record.getMessage() == "audit.anchor_failed" for record in caplog.records):
        await asyncio.sleep(0.01)

    (tmp_path / "away").mkdir()
    while not (tmp_path / "away" / "anchors").exists():
        await asyncio.sleep(0.01)
    sealer.stop()

    await sealing
    assert audit.read_anchors(tmp_path / "away" / "anchors")


async def test_a_revocation_list_that_changes_is_read_again(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate revoked while the part runs is known as such soon; a list that is gone or broken changes nothing."""
    monkeypatch.setattr(opening, "CRL_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "sygefravaer.app")
    issued = pki.issue("to be revoked", "29189846")
    crl = tmp_path / "list.crl"
    crl.write_bytes(pki.crl.read_bytes())
    peers = Peers()
    watching = asyncio.create_task(opening.watch(peers, crl))

    async def until(event: str) -> None:
        while not any(record.getMessage() == event for record in caplog.records):
            await asyncio.sleep(0.01)

    await asyncio.sleep(0.05)
    assert not peers.revoked
    pki.revoke(issued)
    crl.write_bytes(pki.crl.read_bytes())
    await until("crl.read")
    crl.unlink()
    await until("crl.unreadable")
    watching.cancel()

    assert issued.serial in {serial for _, serial in peers.revoked}


def test_the_clock_follows_the_settings() -> None:
    """The machine's clock unless the settings ask for one that can be moved."""
    assert isinstance(app.clock_of(settings()), SystemClock)
    assert isinstance(app.clock_of(settings(clock=Time.MOVABLE)), MovableClock)


def test_production_does_not_start_with_a_failpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place to die at is for tests."""
    monkeypatch.setenv(failpoint.VARIABLE, "answer.before_write")
    try:
        with pytest.raises(UsageError, match="production"):
            app.main(settings(environment=Surroundings.PRODUCTION))
    finally:
        monkeypatch.delenv(failpoint.VARIABLE)
        failpoint.arm()
        logging.getLogger().handlers[:] = []


def test_a_child_of_nobody_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the starter has ended before the child could ask to end with it, the child does not start."""
    answers = iter([7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(answers))
    monkeypatch.setattr(sys, "platform", "other")

    with pytest.raises(UsageError, match="has ended"):
        app.end_with_parent()


async def serve(tmp_path: Path, text: str, *arguments: str) -> asyncio.subprocess.Process:
    path = tmp_path / "part.toml"
    path.write_text(text)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sygefravaer", "serve", "admin", "--config", str(path), *arguments),
        stderr=asyncio.subprocess.PIPE,
    )


async def logged(child: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    assert child.stderr is not None
    async for line in child.stderr:
        told: dict[str, Any] = json.loads(line)
        if told["event"] == event:
            return told
    raise AssertionError(f"{event} was never logged")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_part_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT: everything is closed, the log says so, the exit code is 0."""
    child = await serve(tmp_path, 'part = "admin"\n[listen]\n', "--with-parent")
    assert (await logged(child, "part.started"))["port"] > 0

    child.send_signal(number)

    await logged(child, "part.stopped")
    assert await child.wait() == 0


async def test_a_part_can_be_ended_while_it_waits_for_its_database(tmp_path: Path, pki: Pki) -> None:
    """A start that waits is a start that can be given up: exit code 0, and nothing was opened."""
    own = pki.issue("waiting", "29189846")
    Vault.create_file(tmp_path / "keys.json")
    files = f'certificate = "{own.certificate}"\nkey = "{own.key}"\nca = "{pki.ca}"\n'
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'part = "gateway"\nvault = "keys.json"\n[database]\ndsn = "{NOWHERE}"\nschema = "x"\n'
        f"[listen]\n{files}[client]\n{files}"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sygefravaer", "serve", "gateway", "--config", str(path)),
        stderr=asyncio.subprocess.PIPE,
    )
    await logged(child, "database.away")

    child.send_signal(signal.SIGTERM)

    assert await child.wait() == 0

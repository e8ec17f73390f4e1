# SPDX-License-Identifier: MPL-2.0
"""
A disk is full: the database's under load, then the gateway's own, where its log and the anchors of its audit lie.

    PYTHONPATH=src:tests:. python -m ordeal.fulldisk [--by tmpfs|preload] [--seconds N]

While the database cannot write, a sender may be told that it did not work, never that it was refused, and no receipt
leaves for what is not kept. PostgreSQL may end itself when it cannot write its log; whoever keeps it (systemd, Patroni)
then starts it again, which the harness does here. When there is room again everything goes on by itself. A gateway whose
own disk is full does not end and holds up nobody: its log has a gap that it tells of, its anchors go on later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ordeal.disk import KINDS, Disk
from ordeal.street import Flow, Street, say, verdict
from sygefravaer import audit
from sygefravaer.errors import StoreUnavailable
from sygefravaer.store import EmbeddedServer, Store

DATABASE_MB = 160  # the server's data are some 60, most of it the log that it writes ahead
GATEWAY_MB = 1
RESUMES = 60.0
SENDS = ("SendForretningsSvar", "SendHaendelseSygefravaerssag")


class OnDisk(EmbeddedServer):
    """A server whose data lie on a disk that can be full."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        super().__init__(directory, state=disk.path)
        self._disk = disk

    @property
    def log(self) -> str:
        """What the server has written to its log."""
        return (self._home / "log").read_text(encoding="utf-8", errors="replace")

    def _command(self, command: list[str], complaints: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
        settings = [f"{name}={value}" for name, value in self._disk.environment.items()]
        return super()._command(["/usr/bin/env", *settings, *command] if settings else command, complaints)


class Shelf(Street):
    """The street with a database and a gateway each on a disk of its own."""

    def __init__(self, directory: Path, *, database: Disk, own: Disk) -> None:
        super().__init__(directory)
        # Not as root the data lie where the directory is.
        self.kept = OnDisk(database.path / "pg", database)
        self.disk, self.own = database, own
        self.environment = dict(own.environment)
        self.anchors = own.path / "anchors"
        self.layout.logs = own.path

    async def _lay(self) -> None:
        await super()._lay()
        await self.kept.start()
        self._stack.push_async_callback(self.kept.remove)
        self.dsn = await self.kept.create_part("platform", secrets.token_hex(8))
        self.key = self.layout.directory / "audit.key"
        audit.create_key(self.key)

    def _settings(self) -> dict:
        return super()._settings() | {
            "database": {"dsn": self.dsn, "schema": "platform"},
            "audit": {"key": self.key, "anchor": self.anchors},
        }

    def write_ahead(self) -> bool:
        """Make the server begin a new segment of its log, as much traffic would; say whether it could."""
        try:
            with psycopg.connect(self.kept.superuser_dsn(), autocommit=True, connect_timeout=5) as connection:
                connection.execute("SET statement_timeout = '5s'")
                for _ in range(3):
                    connection.execute("SELECT pg_logical_emit_message(false, 'ordeal', repeat('x', 100000))")
                    connection.execute("SELECT pg_switch_wal()")
        except psycopg.Error:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a full disk."""

    what: str
    messages: int
    faults: int  # Server faults that senders got
    resumed: float
    remarks: str
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.faults} Server faults, resumed {self.resumed:.1f} s after there was room; {self.remarks}; "
            f"{self.messages} messages: {verdict(self.wrong)}"
        )


async def database_full(shelf: Shelf, *, seconds: float, crash: bool) -> Outcome:
    """Fill the database's disk for some seconds; with `crash` until the server cannot write ahead and ends itself."""
    flow = Flow(street=shelf, operations=SENDS)
    flow.start()
    await shelf.until(lambda: len(flow.acknowledged) >= len(flow.lanes), RESUMES)
    await asyncio.sleep(seconds)
    logged = len(shelf.kept.log)
    shelf.disk.fill()
    wrong = []
    if crash and not await shelf.until(lambda: not shelf.write_ahead(), 30):
        wrong.append("the server could write ahead all the time")
    await asyncio.sleep(seconds)
    shelf.disk.free()
    freed = time.monotonic()
    ended = shelf.kept.pid() is None
    if ended:
        await _start(shelf.kept)
    await shelf.until(lambda: sum(begun > freed for begun, _ in flow.acknowledged) >= len(flow.lanes), RESUMES)
    resumed = time.monotonic() - freed
    await asyncio.sleep(seconds / 2)
    wrong += [] if await flow.stop(RESUMES) else ["not every message came to its end"]
    wrong += await shelf.judge(flow.lanes)
    letters = [letter for lane in flow.lanes for letter in lane]
    faults = sum(letter.faults for letter in letters)
    if not crash and not faults:
        wrong.append("nobody met a full disk")
    if resumed > RESUMES:
        wrong.append("traffic did not resume in time")
    recovered = "automatic recovery in progress" in shelf.kept.log[logged:]
    state = "ended and was started again" if ended else "restarted by itself" if recovered else "stayed up"
    return Outcome(
        what="the database's disk full" + (", its write-ahead log too" if crash else ""),
        messages=len(letters),
        faults=faults,
        resumed=resumed,
        remarks=f"PostgreSQL {state}",
        wrong=tuple(wrong),
    )


async def _start(server: EmbeddedServer) -> None:
    """Start a server that has ended, as whoever keeps it would: again and again."""
    async with asyncio.timeout(RESUMES):
        while True:
            try:
                return await server.start()
            except StoreUnavailable:
                await asyncio.sleep(0.5)


async def own_disk_full(shelf: Shelf, *, seconds: float) -> Outcome:
    """Fill the gateway's disk; with it full stop the gateway and start it; then give the room back."""
    wrong = []
    flow = Flow(street=shelf, operations=SENDS)
    flow.start()
    await shelf.until(lambda: len(flow.acknowledged) >= len(flow.lanes), RESUMES)
    shelf.own.fill()
    await _mute(shelf)
    await asyncio.sleep(seconds / 2)
    if await shelf.stop_gateway() != 0:
        wrong.append("the gateway did not end well")
    await shelf.start_gateway()
    await _mute(shelf)
    started = time.monotonic()
    if not await shelf.until(
        lambda: sum(begun > started for begun, _ in flow.acknowledged) >= len(flow.lanes), RESUMES
    ):
        wrong.append("a gateway with a full disk does not take messages")
    before = shelf.anchors.stat().st_size if shelf.anchors.exists() else 0
    shelf.own.free()
    freed = time.monotonic()
    anchored = await shelf.until(lambda: shelf.anchors.exists() and shelf.anchors.stat().st_size > before, 30)
    resumed = time.monotonic() - freed
    if not anchored:
        wrong.append("no anchor was written after there was room")
    _refuse(shelf)
    if not await shelf.until(lambda: "log.lines_missed" in shelf.layout.log("gateway").read_text(), 30):
        wrong.append("the log does not tell of its gap")
    wrong += [] if await flow.stop(RESUMES) else ["not every message came to its end"]
    wrong += await shelf.judge(flow.lanes)
    wrong += await _verified(shelf)
    lines = shelf.layout.log("gateway").read_text().splitlines()
    missed = sum(json.loads(line)["lines"] for line in lines if "log.lines_missed" in line)
    letters = [letter for lane in flow.lanes for letter in lane]
    return Outcome(
        what="the gateway's own disk full",
        messages=len(letters),
        faults=sum(letter.faults for letter in letters),
        resumed=resumed,
        remarks=f"{missed} lines of its log missed and told, {len(audit.read_anchors(shelf.anchors))} anchors",
        wrong=tuple(wrong),
    )


async def _mute(shelf: Shelf) -> None:
    """Let the gateway write lines until none gets through: its log has room left in the last page that it began."""
    log, size = shelf.layout.log("gateway"), -1
    async with asyncio.timeout(RESUMES):
        while log.stat().st_size != size:
            size = log.stat().st_size
            _refuse(shelf)
            await asyncio.sleep(1.0)


def _refuse(shelf: Shelf) -> None:
    """Make the gateway write lines to its log: one for each call that is refused at the door."""
    with psycopg.connect(shelf.kept.superuser_dsn(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'platform' AND state = 'idle' LIMIT 2"
        )


async def _verified(shelf: Shelf) -> list[str]:
    """Say what the audit's own check finds wrong with the chain, its anchors being read as they are."""
    store = Store(shelf.dsn, schema="platform", size=1)
    await store.open()
    try:
        key, anchors = audit.read_key(shelf.key), audit.read_anchors(shelf.anchors)
        report = await audit.verify(store, key=key, anchors=anchors)
    finally:
        await store.close()
    return [f"audit: {finding.kind} at {finding.seq}" for finding in report.findings]


async def run(by: str | None, seconds: float) -> int:
    """Do it all; give how often the promise did not hold."""
    broken = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(Disk(DATABASE_MB, kind=by))
        own = stack.enter_context(Disk(GATEWAY_MB, kind=by))
        how = "a small tmpfs" if database.kind == "tmpfs" else "a preloaded library that answers ENOSPC"
        say(f"a full disk is {how}")
        async with Shelf(directory, database=database, own=own) as shelf:
            await shelf.start_gateway()
            for trial in (
                database_full(shelf, seconds=seconds, crash=False),
                database_full(shelf, seconds=seconds, crash=True),
                own_disk_full(shelf, seconds=seconds),
            ):
                outcome = await trial
                broken += bool(outcome.wrong)
                say(outcome)
            await shelf.stop_gateway()
    return broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial; 0 when the promise held."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="ordeal fulldisk", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument(
        "--by", choices=KINDS, help="how the disk is made full; default: a tmpfs where one may be mounted"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="how long a disk is full")
    given = parser.parse_args(argv)
    broken = asyncio.run(run(given.by, given.seconds))
    say(f"{broken} times the promise did not hold" if broken else "the promise held every time")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())

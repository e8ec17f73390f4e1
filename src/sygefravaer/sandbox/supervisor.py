# SPDX-License-Identifier: MPL-2.0
"""
The supervisor: starts every part of a sandbox, watches over them, and takes all of them down with itself.

1. Look before anything is made: is DIR ours, does another supervisor hold it, are the ports free.
2. In parallel: the database server; certificates, keys and cases.
3. Write each part's settings, start all parts at once; meanwhile register systems, agreements and routes.
4. Wait until every part says by its control door that it is well; tell the world, let the conversation begin.

Whatever fails on the way takes down what was started. What a sandbox knows survives `down`: the next `up` in the same
directory goes on with the same certificates, keys and database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sygefravaer import __version__, audit
from sygefravaer.config import Kind
from sygefravaer.control import Door, knock
from sygefravaer.errors import ActRefused, StoreError, SygefravaerError, UsageError
from sygefravaer.sandbox import cases, seed
from sygefravaer.sandbox.cases import People
from sygefravaer.sandbox.moving import Mover
from sygefravaer.sandbox.parts import ADMIN, GATEWAY, PARTS, SYSTEMS, Layout, Process, Spec, State, toml
from sygefravaer.sandbox.pki import Pki
from sygefravaer.sandbox.premises import (
    FORMAT,
    HOST,
    broken,
    claim_port,
    free_port,
    held,
    look,
    read_state,
    runs,
    taken,
    write_private,
)
from sygefravaer.store import EmbeddedServer
from sygefravaer.vault import Vault

Say = Callable[[str], None]
READY_SECONDS: Final = 60.0  # a part that has not said it is well by then never will
POLL_SECONDS: Final = 0.05
KNOCK_SECONDS: Final = 2.0
ADMIN_POOL: Final = 2  # connections; few people, and every process costs


class Talk(StrEnum):
    """How far the opening conversation has come."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class Sandbox:
    """Everything one `sandbox up` holds, from the lock on."""

    def __init__(
        self,
        layout: Layout,
        *,
        port: int,
        admin_port: int,
        say: Say,
        count: int | None = None,
        number: int | None = None,
    ) -> None:
        """`count` citizens of seed `number` are there from the start; `None` leaves what DIR has, or the usual ones."""
        self._layout = layout
        self._say = say
        self._asked = {GATEWAY.name: port, ADMIN.name: admin_port}
        self._processes = {spec.name: Process(spec, layout) for spec in PARTS}
        self._server = EmbeddedServer(layout.database)
        self._ports: dict[str, int] = {}
        self._passwords: dict[str, str] = {}
        self._ahead = 0.0
        self._wished = (count, number)
        self._people = People()
        self._let_in = False
        self._opened = False
        self._conversed = False
        self._talk = Talk.RUNNING
        self._down = asyncio.Event()
        self._database: asyncio.Task[None] | None = None
        self._conversation: asyncio.Task[None] | None = None
        self._mover = Mover(self._processes, layout, moved=self._moved, ready=self._talked)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Any]]:
        """Everything up inside, everything down after; gives what `sandbox.json` holds."""
        layout = self._layout
        look(layout)
        if runs(layout):
            raise taken(layout)
        self._recall()
        self._choose_ports()
        layout.make()
        with held(layout):
            try:
                summary = await self._up_unless_ended()
                door = Door(self._acts(), layout.socket("supervisor"))
                await door.start()
                try:
                    self._conversation = asyncio.create_task(self._converse())
                    yield summary
                finally:
                    await door.stop()
            finally:
                await self._take_down()

    async def until_down(self) -> None:
        """Wait until somebody asks for the end."""
        await self._down.wait()

    def end(self) -> None:
        """Ask for the end."""
        self._down.set()

    # --- up ---

    async def _up_unless_ended(self) -> dict[str, Any]:
        up, ended = asyncio.create_task(self._up()), asyncio.create_task(self._down.wait())
        try:
            await asyncio.wait((up, ended), return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                raise UsageError("Interrupted", "The sandbox was asked to end before it was ready.")
            return up.result()
        finally:
            for task in (up, ended):
                task.cancel()
            await asyncio.gather(up, ended, return_exceptions=True)

    async def _up(self) -> dict[str, Any]:
        layout = self._layout
        self._say("Starting PostgreSQL; making certificates, keys and cases")
        self._database = asyncio.create_task(self._server.start())
        pki, certificates = await asyncio.to_thread(seed.certificates, layout)
        await asyncio.to_thread(self._prepare)
        await asyncio.shield(self._database)
        roles = [spec.schema for spec in PARTS if spec.schema is not None]
        for role in roles:
            await self._server.create_part(role, self._passwords[role])
        for spec in PARTS:
            self._configure(spec, pki)
        self._remember()
        self._say("Starting " + ", ".join(spec.title for spec in PARTS))
        for process in self._processes.values():
            await process.start()
        urls = {spec.name: f"https://localhost:{self._ports[spec.name]}" for spec in SYSTEMS}
        ready = [asyncio.create_task(self._ready(process)) for process in self._processes.values()]
        registering = asyncio.create_task(
            seed.register(
                self._server.dsn(GATEWAY.schema or "", self._passwords["platform"]),
                certificates,
                urls,
                people={} if self._let_in else {login: self._passwords[f"account {login}"] for login in seed.PEOPLE},
            )
        )
        try:
            await asyncio.gather(registering, *ready)
        finally:
            for task in (registering, *ready):
                task.cancel()
        if not self._let_in:
            self._let_in = True
            self._remember()
        if not self._opened:
            await self._open_cases()
        summary = seed.summary(layout, self._ports, pki, certificates)
        summary["accounts"] = [
            seed.account(login) | {"password": self._passwords[f"account {login}"]} for login in seed.PEOPLE
        ]
        layout.summary.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        seed.write_requests(layout, summary, now=self._time())
        return summary

    async def _open_cases(self) -> None:
        self._say(f"Opening the cases of {self._people.count} citizens")
        if await cases.open_all(self._layout, self._say):
            self._conversed = False
        self._opened = True
        self._remember()

    def _prepare(self) -> None:
        for spec in PARTS:
            if spec.schema is None or self._layout.vault(spec.schema).exists():
                continue
            if self._layout.state.exists():  # new keys would open nothing of what lies in the database
                raise broken(self._layout, f"{self._layout.vault(spec.schema)} is missing.")
            Vault.create_file(self._layout.vault(spec.schema))
        if not self._layout.audit_key.exists():
            if self._layout.state.exists():
                raise broken(self._layout, f"{self._layout.audit_key} is missing.")
            audit.create_key(self._layout.audit_key)
        audit.sign_with(audit.read_key(self._layout.audit_key))  # systems and accounts are registered from here
        if not (self._layout.state.exists() and self._layout.cases.exists()):
            cases.write(self._layout, self._people)

    def _configure(self, spec: Spec, pki: Pki) -> None:
        layout = self._layout
        settings: dict[str, object] = {
            "part": spec.kind.value,
            "name": spec.title,
            "environment": "test",
            "control": layout.socket(spec.name),
            "clock": "movable",
            "clock_ahead": self._ahead,
        }
        listen: dict[str, object] = {"host": HOST, "port": self._ports[spec.name]}
        tables: dict[str, object] = {"listen": listen}
        if spec.schema is not None:
            own = pki.get(spec.name)
            if own is None:
                raise UsageError("PkiBroken", f"{layout.pki} has no certificate of {spec.name}.")
            settings["vault"] = layout.vault(spec.schema)
            listen |= {"certificate": own.certificate, "key": own.key, "ca": pki.ca, "crl": pki.crl}
            tables["database"] = {
                "dsn": self._server.dsn(spec.schema, self._passwords[spec.schema]),
                "schema": spec.schema,
            }
            tables["client"] = {"certificate": own.certificate, "key": own.key, "ca": pki.ca}
        if spec.kind in {Kind.GATEWAY, Kind.ADMIN}:  # both write to one record
            tables["audit"] = {"key": layout.audit_key, "anchor": layout.anchors}
        if spec in SYSTEMS:
            gateway = pki.get(GATEWAY.name)
            listen["callers"] = () if gateway is None else (gateway.serial_key,)
            settings["system_id"] = spec.system_id
            settings["municipalities"] = spec.municipalities
        if spec in SYSTEMS or spec.kind is Kind.ADMIN:
            settings["gateway_url"] = f"https://localhost:{self._ports[GATEWAY.name]}"
        if spec.kind is Kind.ADMIN:
            settings |= {"vault": layout.vault("platform"), "authorities": pki.ca}
            tables["database"] = {
                "dsn": self._server.dsn("platform", self._passwords["platform"]),
                "schema": "platform",
                "pool": ADMIN_POOL,
            }
            gateway = pki.get(GATEWAY.name)
            if gateway is not None:
                tables["client"] = {"certificate": gateway.certificate, "key": gateway.key, "ca": pki.ca}
            tables["parts"] = {other.name: layout.socket(other.name) for other in PARTS if other is not spec} | {
                "supervisor": layout.socket("supervisor")
            }
        write_private(layout.config(spec.name), toml(settings | tables))

    async def _ready(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + READY_SECONDS
        while loop.time() < end:
            if process.state is State.ENDED:
                raise UsageError(
                    "PartEnded",
                    f"{process.spec.name} ended while it started (exit code {process.exit_code}). "
                    + process.last_words(),
                )
            with contextlib.suppress(SygefravaerError):
                await knock(self._layout.socket(process.spec.name), "health", timeout=KNOCK_SECONDS)
                return
            await asyncio.sleep(POLL_SECONDS)
        raise UsageError(
            "PartSilent", f"{process.spec.name} was not ready after {READY_SECONDS:.0f} s. " + process.last_words()
        )

    async def _converse(self) -> None:
        # A sandbox that goes on where it was has had its conversation, if that came to its end.
        if self._conversed:
            self._talk = Talk.DONE
            return
        self._talk = Talk.RUNNING
        try:
            await seed.converse(self._layout)
        except SygefravaerError as error:
            self._talk = Talk.STOPPED
            self._say(f"The opening conversation stopped: {error.text}")
            return
        self._talk, self._conversed = Talk.DONE, True
        self._remember()

    # --- down ---

    async def _take_down(self) -> None:
        await self._mover.stop()
        if self._conversation is not None:
            self._conversation.cancel()
            await asyncio.gather(self._conversation, return_exceptions=True)
        # All at once: what one cannot hand to another any more stays in its own outbox.
        await asyncio.gather(*(process.stop() for process in self._processes.values()))
        if self._database is not None:
            # A server that is on its way up must be there to be stopped.
            await asyncio.gather(self._database, return_exceptions=True)
            with contextlib.suppress(StoreError):
                await self._server.stop()
        if self._layout.run.parent != self._layout.directory:
            shutil.rmtree(self._layout.run, ignore_errors=True)

    # --- what is remembered ---

    def _recall(self) -> None:
        state = read_state(self._layout)
        self._ports = dict(state.get("ports", {}))
        self._passwords = dict(state.get("passwords", {}))
        self._ahead = float(state.get("ahead", 0.0))
        self._people = self._settled(state)
        self._let_in = bool(state.get("let_in", False))
        self._opened = bool(state.get("opened", False))
        self._conversed = bool(state.get("conversed", False))
        for spec in PARTS:
            if spec.schema is not None:
                self._passwords.setdefault(spec.schema, secrets.token_urlsafe(24))
        for login in seed.PEOPLE:
            self._passwords.setdefault(f"account {login}", secrets.token_urlsafe(12))

    def _settled(self, state: Mapping[str, Any]) -> People:
        """Say which citizens there are; those of an earlier start stay, and others cannot come instead of them."""
        count, number = self._wished
        usual = People()
        if not state:
            return People(count=usual.count if count is None else count, seed=usual.seed if number is None else number)
        there = People(count=state.get("citizens", usual.count), seed=state.get("seed", usual.seed))
        if count not in (None, there.count) or number not in (None, there.seed):
            raise UsageError(
                "CitizensThere",
                f"The sandbox in {self._layout.directory} has {there.count} citizens of seed {there.seed} already.",
                try_this="Leave --citizens and --seed out to go on with them, or choose another --dir.",
            )
        return there

    def _remember(self) -> None:
        state = {
            "format": FORMAT,
            "version": __version__,
            "ports": self._ports,
            "passwords": self._passwords,
            "ahead": self._ahead,
            "citizens": self._people.count,
            "seed": self._people.seed,
            "let_in": self._let_in,
            "opened": self._opened,
            "conversed": self._conversed,
        }
        write_private(self._layout.state, json.dumps(state, indent=1) + "\n")

    def _choose_ports(self) -> None:
        options = {GATEWAY.name: "--port", ADMIN.name: "--admin-port"}
        with contextlib.ExitStack() as claimed:  # all at once, so that no port is chosen twice
            for spec in PARTS:
                asked = self._asked.get(spec.name)
                if asked:
                    claim_port(claimed, asked, options[spec.name])
                    self._ports[spec.name] = asked
                else:
                    self._ports[spec.name] = free_port(claimed, self._ports.get(spec.name))

    # --- acts ---

    def _acts(self) -> Mapping[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        return {
            "health": self._health,
            "status": self._status,
            "kill": self._kill,
            "pause": self._pause,
            "start": self._start,
            "down": self._ask_down,
            "clock": self._clock,
        }

    async def _health(self, _fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "part": "supervisor",
            "state": "running",
            "version": __version__,
            "now": self._time().isoformat(),
            "pid": os.getpid(),
        }

    async def _status(self, _fields: dict[str, Any]) -> dict[str, Any]:
        parts = await asyncio.gather(*(self._part(process) for process in self._processes.values()))
        number = self._server.pid()
        database = {
            "name": "database",
            "kind": "postgresql",
            "title": "PostgreSQL",
            "pid": number,
            "port": None,
            "state": "ended" if number is None else "running",
            "health": "down" if number is None else "ok",
            "log": str(self._layout.database / "server" / "log"),
        }
        return {
            "dir": str(self._layout.directory),
            "pid": os.getpid(),
            "conversation": self._talk.value,
            "parts": [*parts, database],
        }

    async def _part(self, process: Process) -> dict[str, Any]:
        state = process.state
        part: dict[str, Any] = {
            "name": process.spec.name,
            "kind": process.spec.kind.value,
            "title": process.spec.title,
            "pid": process.pid,
            "port": self._ports[process.spec.name],
            "state": state.value,
            "health": "down",
            "log": str(self._layout.log(process.spec.name)),
        }
        if state is State.RUNNING:
            try:
                await knock(self._layout.socket(process.spec.name), "health", timeout=KNOCK_SECONDS)
                part["health"] = "ok"
            except SygefravaerError:
                part["health"] = "silent"
        elif state is State.PAUSED:
            part["health"] = "silent"
        return part

    def _named(self, fields: dict[str, Any]) -> Process:
        name = fields.get("part")
        if not isinstance(name, str) or name not in self._processes:
            raise ActRefused("PartUnknown", f"The parts are {', '.join(self._processes)}.")
        return self._processes[name]

    async def _kill(self, fields: dict[str, Any]) -> dict[str, Any]:
        process = self._named(fields)
        if process.pid is None:
            raise ActRefused("PartDown", f"{process.spec.name} has no process to kill.")
        await process.kill()
        return await self._part(process)

    async def _pause(self, fields: dict[str, Any]) -> dict[str, Any]:
        process = self._named(fields)
        if process.pid is None:
            raise ActRefused("PartDown", f"{process.spec.name} has no process to pause.")
        process.pause()
        return await self._part(process)

    async def _start(self, fields: dict[str, Any]) -> dict[str, Any]:
        process = self._named(fields)
        if process.pid is None:
            pki = await asyncio.to_thread(Pki(self._layout.pki).create)
            self._configure(process.spec, pki)
        await process.start()
        await self._ready(process)
        await self._mover.catch_up(process.spec.name, self._time())
        return await self._part(process)

    async def _ask_down(self, _fields: dict[str, Any]) -> dict[str, Any]:
        self.end()
        return {"pid": os.getpid()}

    # --- time ---

    def _time(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def _moved(self, now: datetime, *, ended: bool) -> None:
        """Keep the time that the parts have: who starts one, or all of them again, goes on there."""
        self._ahead = (now - datetime.now(UTC)).total_seconds()
        self._remember()
        if ended and self._layout.summary.exists():
            seed.write_requests(self._layout, json.loads(self._layout.summary.read_text()), now=self._time())

    async def _talked(self) -> None:
        """Wait for the end of the opening conversation: it knows nothing of clocks that move."""
        if self._conversation is not None:
            await asyncio.wait((self._conversation,), timeout=READY_SECONDS)

    async def _clock(self, fields: dict[str, Any]) -> dict[str, Any]:
        """
        Tell the time of the sandbox and how far the move is; or begin a move of all parts, and wait a while for it.

        Fields: `advance` (seconds), `now` (a time with offset) or `until` (an event, within `advance` or `now`, else a
        year); `timeout` (seconds for one instant). While `moving` is true, ask again.
        """
        return await self._mover.tell(fields, self._time)


async def ask(layout: Layout, act: str, fields: Mapping[str, Any] | None = None, *, seconds: float = 90.0) -> Any:
    """Let the supervisor of a running sandbox do something; raises UsageError when none runs."""
    if not runs(layout):
        raise down(layout)
    return await knock(layout.socket("supervisor"), act, fields, timeout=seconds)


def down(layout: Layout) -> UsageError:
    """Say that no sandbox runs in DIR."""
    return UsageError(
        "SandboxDown",
        f"No sandbox runs in {layout.directory}.",
        try_this="Start one with `sygefravaer sandbox up`, or name its directory with --dir.",
    )


async def clear(layout: Layout) -> bool:
    """Stop a database server that a supervisor which was killed has left behind; say whether there was one."""
    if not layout.state.exists():
        return False
    server = EmbeddedServer(layout.database)
    if server.pid() is None:
        return False
    await server.stop()
    return True

# SPDX-License-Identifier: MPL-2.0
"""
A stage: gateway, KSD and two jobcentres in one process, for scenarios and property tests.

Everything between them is real: mutual TLS on loopback, one schema each in a PostgreSQL server, control doors on Unix
sockets. Only the processes are missing, and the clocks are held: nothing happens by itself but in the turns that a
timekeeper gives, so the same start and the same acts give the same messages in the same order.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from sygefravaer.app import Part, build
from sygefravaer.clock import MovableClock
from sygefravaer.config import ClientTls, Config, Database, Kind, Listen, Telling, Time
from sygefravaer.control import Json, Visitor
from sygefravaer.errors import ActRefused
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import GATEWAY, SYSTEMS, Spec
from sygefravaer.sandbox.pki import Issued, Pki
from sygefravaer.sandbox.timekeeper import Move, Step, Timekeeper, Watch
from sygefravaer.store import EmbeddedServer
from sygefravaer.vault import Vault

STAGED: Final = (GATEWAY, *SYSTEMS)
POOL: Final = 3  # connections of a part: nearly everything is done in turn
TEN_YEARS: Final = timedelta(days=3650)


class Stage:
    """
    All parts on one stage, at `start`; `async with`.

    `server` is a PostgreSQL server that runs; without one, one is made and removed again. `pki` is an authority that
    was made; its certificates are used and missing ones are issued. `progress` hears of every instant.
    `telemetry` is each part's.
    """

    def __init__(
        self,
        start: datetime,
        *,
        server: EmbeddedServer | None = None,
        pki: Pki | None = None,
        progress: Callable[[Step], None] = lambda _: None,
        telemetry: Telling | None = None,
    ) -> None:
        self._start = start.astimezone(UTC)
        self._server = server
        self._pki = pki
        self._progress = progress
        self._telemetry = telemetry
        self._stack = AsyncExitStack()
        self._configs: dict[str, Config] = {}
        self._parts: dict[str, Part] = {}
        self._now = self._start

    @property
    def now(self) -> datetime:
        """The instant at which all clocks stand."""
        return max((part.clock.now() for part in self._parts.values()), default=self._now)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, those that were stopped too."""
        return tuple(spec.name for spec in STAGED)

    def watch_port(self, part: str) -> int:
        """Give the port at which a part shows its metrics and health."""
        return self._parts[part].watch_port

    def config(self, part: str) -> Config:
        """Give the settings of a part."""
        return self._configs[part]

    async def __aenter__(self) -> Self:
        """Start everything; what was started ends when something does not start."""
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every part, and delete what was made."""
        await self._stack.aclose()

    async def act(self, part: str, act: str, /, **fields: Any) -> Json:
        """Ask a part for an act at its control door; what it leads to happens when time is given (`settle`)."""
        return await self._visitor.knock(part, act, fields)

    async def settle(self) -> Move:
        """Let everything happen that is due now."""
        return await self.keeper.settle()

    async def advance(self, by: timedelta | None = None, *, to: datetime | None = None) -> Move:
        """Move all clocks `by` a while, or `to` an instant."""
        return await self.keeper.advance(to or by or timedelta())

    async def run_until(self, watch: Watch, *, at_most: timedelta = TEN_YEARS) -> Move:
        """Move until `watch` sees what it waits for (`Move.seen`), or for `at_most`."""
        return await self.keeper.advance(at_most, until=watch)

    async def stop(self, part: str) -> None:
        """End a part in good order: nobody listens at its address and its door any more."""
        self._now = self.now
        await self._parts.pop(part).stop()

    async def start(self, part: str) -> None:
        """Start a part that was stopped, at the address it had."""
        await self._begin(part)

    # --- how it is made ---

    async def _open(self) -> None:
        stack = self._stack
        place = Path(tempfile.mkdtemp(prefix="sf-"))  # a socket's path must be short
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        server = self._server
        if server is None:
            server = EmbeddedServer(place / "database", state=Path(tempfile.gettempdir()))
            stack.push_async_callback(server.remove)
            await server.start()
        pki = self._pki or Pki(place / "pki").create()
        issued = {spec.name: _issued(pki, spec) for spec in STAGED}
        self._visitor = await stack.enter_async_context(
            Visitor({spec.name: place / f"{spec.name}.sock" for spec in STAGED})
        )
        self.keeper = Timekeeper(knock=self._knock, parts=self.parts, progress=self._progress)
        token = secrets.token_hex(4)
        for spec in STAGED:
            role, password = f"{spec.schema}_{token}", secrets.token_urlsafe(24)
            dsn = await server.create_part(role, password)
            stack.push_async_callback(server.drop_part, role)
            Vault.create_file(place / f"{spec.name}.keys")
            config = _config(spec, issued, pki, place, Database(dsn=dsn, schema=role, pool=POOL))
            self._configs[spec.name] = replace(config, telemetry=self._telemetry)
        stack.push_async_callback(self._end)
        await self._begin(GATEWAY.name)
        gateway = f"https://localhost:{self._parts[GATEWAY.name].port}"
        for spec in SYSTEMS:
            self._configs[spec.name] = replace(self._configs[spec.name], gateway_url=gateway)
        begun = await asyncio.gather(*(self._begin(spec.name) for spec in SYSTEMS), return_exceptions=True)
        for failure in begun:  # only now: a part that is on its way up must be there to be stopped
            if failure is not None:
                raise failure
        database = self._configs[GATEWAY.name].database
        if database is None:
            raise AssertionError
        await seed.register(
            database.dsn,
            seed.Certificates(platform=issued[GATEWAY.name], systems=issued),
            {spec.name: f"https://localhost:{self._parts[spec.name].port}" for spec in SYSTEMS},
            schema=database.schema,
        )

    async def _begin(self, name: str) -> None:
        clock = MovableClock(self.now, running=False)
        clock.hold()
        part = build(self._configs[name], clock)
        await part.start()
        self._parts[name] = part
        listen = replace(self._configs[name].listen, port=part.port)
        self._configs[name] = replace(self._configs[name], listen=listen)

    async def _end(self) -> None:
        await asyncio.gather(*(part.stop() for part in self._parts.values()))
        self._parts.clear()

    async def _knock(self, part: str, act: str, fields: Any) -> Json:
        if part not in self._parts:
            raise ActRefused("PartDown", f"{part} was stopped.")
        # The same acts that the door offers. Through the socket each would take a millisecond, a dozen at each instant.
        return await self._parts[part].acts[act](dict(fields))


def _issued(pki: Pki, spec: Spec) -> Issued:
    return pki.get(spec.name) or pki.issue(spec.name, spec.cvr, uuid=spec.system_id)


def _config(spec: Spec, issued: dict[str, Issued], pki: Pki, place: Path, database: Database) -> Config:
    own = issued[spec.name]
    return Config(
        part=spec.kind,
        name=spec.title,
        listen=Listen(
            certificate=own.certificate,
            key=own.key,
            ca=pki.ca,
            crl=pki.crl,
            callers=() if spec.kind is Kind.GATEWAY else (issued[GATEWAY.name].serial_key,),
        ),
        database=database,
        vault=place / f"{spec.name}.keys",
        client=ClientTls(certificate=own.certificate, key=own.key, ca=pki.ca),
        system_id=None if spec.kind is Kind.GATEWAY else spec.system_id,
        municipalities=spec.municipalities,
        control=place / f"{spec.name}.sock",
        clock=Time.MOVABLE,
    )

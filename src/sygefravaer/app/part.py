# SPDX-License-Identifier: MPL-2.0
"""What every part has: a start from the inside out and an end from the outside in, a control door, a watch."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from sygefravaer import (
    __version__,
    audit,
    lanes,
)
from sygefravaer.app.opening import given, open_store, open_vault, revocation_watch, watch
from sygefravaer.app.rooms import Rooms
from sygefravaer.clock import Clock, MovableClock
from sygefravaer.config import Config
from sygefravaer.control import Act, Door, Json, clock_act, head, offered
from sygefravaer.endpoint import App, Peers, Server, Watch, server_tls
from sygefravaer.store import Store
from sygefravaer.telemetry import Handing, Metrics, Reading, Tracer, Tracing, tell_supervisor
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)
Acts = Mapping[str, Act]
QUIET_ACTS: Final = frozenset({"health", "due", "clock", "obligations"})
"""Acts that change nothing; of `clock` a turn does, and the clock knows of that."""

STOP_SECONDS: Final = 10.0  # what is being answered and sent has this long to end before it is handed back
READY_SECONDS: Final = 2.0  # a database that has not answered by then does not count as there


class Part(ABC):
    """One part of the whole: what runs as one process."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self._stack = AsyncExitStack()
        self._failure: asyncio.Future[None] | None = None
        self._server: Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._stops_at = 0.0
        self.acts: Acts = {}  # what the control door offers, if there is one
        self.calls = 0
        self.answering = 0
        told = config.telemetry
        self.metrics = None if told is None else Metrics(part=config.part.value, version=__version__)
        self.tracer: Tracer = Handing()
        self.watch_port = 0  # where metrics and health are shown, while they are
        self._done = 0  # acts that may have changed something
        self._kept: tuple[object, Json] | None = None

    async def start(self) -> None:
        """Start everything; when something does not start, end what did and raise."""
        self._failure = asyncio.get_running_loop().create_future()
        try:
            listen = self.config.listen
            if listen.certificate is not None and listen.uds is None:
                self._tls = server_tls(
                    listen.certificate,
                    given(listen.key, "listen.key"),
                    given(listen.ca, "listen.ca"),
                    [listen.crl] if listen.crl is not None else [],
                )
            self._trace(self._stack)
            acts = await self._open(self._stack)
            await self._show(self._stack)
            if self.config.control is not None:
                own = {"health": self._health, "due": self._due, **offered({"clock": clock_act(self.clock)})}
                self.acts = self._watched(own | dict(acts))
                door = Door(self.acts, self.config.control)
                await door.start()
                self._stack.push_async_callback(door.stop)
        except BaseException:
            await self._stack.aclose()
            raise
        tell_supervisor("READY=1")
        LOG.info("part.started", extra={"part": self.config.part.value, "port": self.port, "version": __version__})

    async def stop(self) -> None:
        """Finish what has begun, hand back what was claimed, close: within about `STOP_SECONDS`."""
        tell_supervisor("STOPPING=1")
        self._stops_at = asyncio.get_running_loop().time() + STOP_SECONDS
        await self._stack.aclose()
        LOG.info("part.stopped", extra={"part": self.config.part.value})

    async def until_failed(self) -> None:
        """Wait for ever, or until some work that must never end has failed; raises its error."""
        if self._failure is not None:
            await asyncio.shield(self._failure)

    @property
    def port(self) -> int:
        """The port at which the part answers."""
        return self.config.listen.port if self._server is None else self._server.port

    def _trace(self, stack: AsyncExitStack) -> None:
        """Send spans to a collector, if the settings name one."""
        told = self.config.telemetry
        if told is not None and told.traces is not None:
            self.tracer = Tracing(service=f"sygefravaer-{self.config.part.value}", export=told.traces)
            stack.push_async_callback(asyncio.to_thread, self.tracer.close)

    async def _show(self, stack: AsyncExitStack) -> None:
        """Show metrics and health on a listener of their own, if the settings name one."""
        told = self.config.telemetry
        if self.metrics is not None and told is not None and told.port is not None:
            shown = Watch(self.metrics, readings=self.readings, checks=self.checks)
            watch = Server(shown, host=told.host, port=told.port, grace=READY_SECONDS)
            await watch.start()
            self.watch_port = watch.port
            stack.push_async_callback(watch.stop)

    async def readings(self) -> list[Reading]:
        """Read the gauges."""
        client = self.config.client
        used = {"listen": self.config.listen.certificate, "client": None if client is None else client.certificate}
        return [Reading(name="answering", value=self.answering)] + [
            Reading(name="certificate_seconds", value=_seconds_left(path), labels={"use": use})
            for use, path in used.items()
            if path is not None
        ]

    async def checks(self) -> Mapping[str, bool]:
        """Say what must be so for the part to be asked."""
        return {"taking_calls": not self._stops_at}

    @abstractmethod
    async def _open(self, stack: AsyncExitStack) -> Acts:
        """Open everything, each with its closing on the stack, and give the part's own acts."""

    async def _opened_store(self, stack: AsyncExitStack, rooms: Rooms) -> tuple[Store, Vault]:
        config = self.config
        vault = open_vault(config)
        store = await open_store(given(config.database, "database"), rooms, now=self.clock.now())
        stack.push_async_callback(store.close)
        return store, vault

    def _signing(self, stack: AsyncExitStack) -> bytes | None:
        """Sign what this part writes to the record, as long as it runs; give the key, if the settings name one."""
        key = None if self.config.audit is None else audit.read_key(self.config.audit.key)
        stack.callback(audit.sign_with, audit.sign_with(key))
        return key

    def _lanes(self, *, lease: timedelta = lanes.LEASE) -> lanes.Lanes:
        # Time that is moved can be moved the same way again: so nothing in it is left to chance.
        spread = lanes.seeded_jitter(self.config.title) if isinstance(self.clock, MovableClock) else lanes.jitter
        return lanes.Lanes(lease=lease, jitter=spread)

    def _peers(self, stack: AsyncExitStack) -> Peers:
        listen = self.config.listen
        watching = revocation_watch(self.config)
        peers = Peers(trusted=listen.proxies, trust_unix=listen.uds is not None, tls=self._tls, revocation=watching)
        if watching is not None:
            stack.callback(self._keep(watching.run(), "revocation").cancel)
        if listen.crl is not None:
            peers.reload([listen.crl])
            stack.callback(self._keep(watch(peers, listen.crl), "revocation list").cancel)
        return peers

    async def _serve(self, stack: AsyncExitStack, app: App) -> None:
        listen = self.config.listen

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            self.calls += 1
            self.answering += 1
            try:
                await app(scope, receive, send)
            finally:
                self.answering -= 1

        self._server = Server(
            counted, host=listen.host, port=listen.port, uds=listen.uds, tls=self._tls, grace=STOP_SECONDS
        )
        await self._server.start()
        stack.push_async_callback(self._server.stop)

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work that lasts as long as the part; its failure is the part's."""

        def ended(task: asyncio.Task[None]) -> None:
            failure = self._failure
            if task.cancelled() or failure is None or failure.done():
                return
            if (error := task.exception()) is not None:
                failure.set_exception(error)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        return task

    def _watched(self, acts: Acts) -> Acts:
        """
        Note what is done at the door, and keep the answer of `due` for as long as nothing can have changed it.

        A timekeeper asks every part many times at every instant, and most have had nothing to do.
        """
        return {name: act if name in QUIET_ACTS else self._noted(act) for name, act in acts.items()} | {
            "due": self._remembered(acts["due"])
        }

    def _noted(self, act: Act) -> Act:
        async def noted(fields: Json) -> Json:
            self._done += 1
            try:
                return await act(fields)
            finally:
                self._done += 1

        noted.__doc__ = act.__doc__
        return noted

    def _remembered(self, due: Act) -> Act:
        async def remembered(fields: Json) -> Json:
            before = self._state()
            if before is not None and self._kept is not None and self._kept[0] == before:
                return self._kept[1]
            told = await due(fields)
            self._kept = None if before is None or before != self._state() or told["in_flight"] else (before, told)
            return told

        remembered.__doc__ = due.__doc__
        return remembered

    def _state(self) -> object | None:
        """Give what is the same as long as nothing happens in the part; None when something may at any moment."""
        still = self.clock.still if isinstance(self.clock, MovableClock) else None
        return None if still is None or self.answering else (still, self.calls, self._done)

    async def _due(self, _fields: Json) -> Json:
        """Say when something next happens by itself: never, in a part that only answers."""
        return {"next": None, "in_flight": 0, "parked": 0, "counters": {}}

    async def _health(self, _fields: Json) -> Json:
        """Say how the part is."""
        own = {"pid": os.getpid(), "port": self.port}
        return head(self.config.part.value, self.config.title, self.clock) | own


def _seconds_left(path: Path) -> float:
    """Say for how long a certificate is valid still; one that cannot be read for no time."""
    try:
        [first, *_] = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return (first.not_valid_after_utc - datetime.now(UTC)).total_seconds()

# SPDX-License-Identifier: MPL-2.0
"""
A TCP proxy with toxics: what networks do to connections, on purpose, counted, and over when it is taken away.

It reads nothing of what passes, so TLS goes through as it came. A toxic acts on one direction: `UP` is from whoever
connected to whoever was connected to. Several may be on; they can be put on and taken off while connections are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

CHUNK = 16 * 1024
ABRUPTLY = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Way(StrEnum):
    """A direction."""

    UP = "up"
    DOWN = "down"


class Reset(Exception):
    """Cut the connection with RST."""


class Close(Exception):
    """Close the connection in good order, in the middle of whatever is being said."""


@dataclass(frozen=True, kw_only=True)
class Toxic:
    """What is done to the bytes of one direction; this one does nothing."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        return type(self).__name__.lower()

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        """Give what of a chunk goes on, when it does; raise `Reset` or `Close` to end the connection."""
        return chunk

    async def end(self, line: Line) -> bool:
        """Say whether the end of the stream goes on, when it does."""
        return True


@dataclass(frozen=True, kw_only=True)
class Latency(Toxic):
    """Everything comes later."""

    seconds: float = 0.3
    jitter: float = 0.2

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        await asyncio.sleep(self.seconds + line.chance.uniform(-self.jitter, self.jitter))
        return chunk


@dataclass(frozen=True, kw_only=True)
class Down(Toxic):
    """Nobody is there: `UP`, connecting is refused; `DOWN`, one is let in and hung up on. What was open is cut."""


@dataclass(frozen=True, kw_only=True)
class SlowClose(Toxic):
    """The end of a stream is heard of late."""

    seconds: float = 2.0

    async def end(self, line: Line) -> bool:
        await asyncio.sleep(self.seconds)
        return True


@dataclass(frozen=True, kw_only=True)
class Cut(Toxic):
    """The connection is reset after some bytes, another number for each connection."""

    most: int = 6000

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        line.left = line.chance.randrange(self.most) if line.left is None else line.left
        if len(chunk) > line.left:
            await line.write(chunk[: line.left])
            raise Reset
        line.left -= len(chunk)
        return chunk


@dataclass(frozen=True, kw_only=True)
class Limited(Cut):
    """The connection is closed in good order after some bytes, another number for each connection."""

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        try:
            return await super().carry(line, chunk)
        except Reset:
            raise Close from None


@dataclass(frozen=True, kw_only=True)
class HalfOpen(Toxic):
    """What is said goes nowhere, its end neither, and nobody is told: a connection stays so when the toxic is gone."""

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        line.lost = True
        return b""

    async def end(self, line: Line) -> bool:
        line.lost = True
        return False


@dataclass(frozen=True, kw_only=True)
class Sliced(Toxic):
    """Everything comes in tiny pieces with pauses between."""

    size: int = 200
    pause: float = 0.01

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        for start in range(0, len(chunk), self.size):
            await line.write(chunk[start : start + self.size])
            await asyncio.sleep(self.pause)
        return b""


@dataclass(frozen=True, kw_only=True)
class Bandwidth(Toxic):
    """So many bytes a second go through."""

    rate: int = 8000

    async def carry(self, line: Line, chunk: bytes) -> bytes:
        for start in range(0, len(chunk), 1000):
            piece = chunk[start : start + 1000]
            await line.write(piece)
            await asyncio.sleep(len(piece) / self.rate)
        return b""


TOXICS = (Latency(), Down(), SlowClose(), Cut(), HalfOpen(), Sliced(), Limited(), Bandwidth())


@dataclass(kw_only=True)
class Line:
    """One direction of one connection."""

    way: Way
    chance: random.Random
    target: asyncio.StreamWriter
    left: int | None = None  # bytes until it is cut
    lost: bool = False  # something was swallowed: what comes later would make no sense
    ended: bool = False  # whoever speaks here has closed

    async def write(self, chunk: bytes) -> None:
        """Send on."""
        if chunk:
            self.target.write(chunk)
            await self.target.drain()


@dataclass(kw_only=True, eq=False)
class Connection:
    """Two lines; `poisoned` when one of them swallows for ever."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    lines: tuple[Line, ...] = ()
    tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def poisoned(self) -> bool:
        """Say whether something was swallowed."""
        return any(line.lost for line in self.lines)

    def cut(self) -> None:
        """Reset both ends."""
        for writer in (self.near, self.far):
            with contextlib.suppress(OSError, ValueError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPTLY)
            writer.transport.abort()


@dataclass(kw_only=True)
class Proxy:
    """Listens on a loopback port in front of a port or a Unix socket."""

    name: str
    to: int | Path
    seed: int = 0
    port: int = 0
    toxics: dict[Way, Toxic] = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)
    count: Counter[str] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.name} {self.seed}")

    async def start(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse, and cut what is open."""
        await self._refuse()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def put(self, toxic: Toxic, way: Way) -> None:
        """Put a toxic on one direction; there is one at a time on each."""
        self.toxics[way] = toxic
        if isinstance(toxic, Down):
            if way is Way.UP:
                await self._refuse()
            self.count["down"] += self.cut()

    async def clear(self) -> None:
        """Take every toxic away; connections that have swallowed something stay as they are."""
        self.toxics.clear()
        if self._server is None:
            await self.start()

    def cut(self, which: Callable[[Connection], bool] = lambda _one: True) -> int:
        """Reset open connections; give how many."""
        chosen = [one for one in self.connections if which(one)]
        for one in chosen:
            one.cut()
        return len(chosen)

    def held(self, way: Way) -> int:
        """Count the connections that whoever speaks in this direction has not closed."""
        return sum(not line.ended for one in self.connections for line in one.lines if line.way is way)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        self.count["connections"] += 1
        if isinstance(self.toxics.get(Way.DOWN), Down):
            self.count["refused"] += 1
            to_near.transport.abort()
            return
        try:
            if isinstance(self.to, Path):
                far, to_far = await asyncio.open_unix_connection(self.to, limit=CHUNK)
            else:
                far, to_far = await asyncio.open_connection("127.0.0.1", self.to, limit=CHUNK)
        except OSError:
            self.count["unreachable"] += 1
            to_near.transport.abort()
            return
        connection = Connection(near=to_near, far=to_far)
        connection.lines = (
            Line(way=Way.UP, chance=self._chance, target=to_far),
            Line(way=Way.DOWN, chance=self._chance, target=to_near),
        )
        self.connections.add(connection)
        connection.tasks = tuple(
            asyncio.create_task(self._pump(source, line, connection))
            for source, line in zip((near, far), connection.lines, strict=True)
        )
        try:
            await self._until_over(connection)
        finally:
            for task in connection.tasks:
                task.cancel()
            for writer in (to_near, to_far):
                writer.close()
            self.connections.discard(connection)

    async def _until_over(self, connection: Connection) -> None:
        """Wait until both directions have ended, or one of them ends both."""
        pending: set[asyncio.Task[None]] = set(connection.tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if isinstance(error, Reset):
                    self.count["reset"] += 1
                    connection.cut()
                elif isinstance(error, Close):
                    self.count["closed"] += 1
                if error is not None:
                    return

    async def _pump(self, source: asyncio.StreamReader, line: Line, connection: Connection) -> None:
        try:
            await self._carry(source, line)
        except OSError:
            if not connection.poisoned:  # who swallows what is said tells nobody of a reset
                raise
        finally:
            line.ended = True

    async def _carry(self, source: asyncio.StreamReader, line: Line) -> None:
        while chunk := await source.read(CHUNK):
            toxic = self.toxics.get(line.way)
            if toxic is not None:
                self.count[f"{toxic.name} {line.way}"] += 1
                if not line.lost:
                    chunk = await toxic.carry(line, chunk)
            if not line.lost:
                await line.write(chunk)
        line.ended = True
        toxic = self.toxics.get(line.way)
        if line.lost or (toxic is not None and not await toxic.end(line)):
            return
        with contextlib.suppress(OSError, RuntimeError):
            if line.target.can_write_eof():
                line.target.write_eof()

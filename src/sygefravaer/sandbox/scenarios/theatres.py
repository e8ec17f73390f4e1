# SPDX-License-Identifier: MPL-2.0
"""
Where a scenario is played: on a stage of its own, or in a sandbox that runs.

Both give the same: acts at the parts' control doors, one time for all that is moved forward, and what a test function
needs to call in a system's name.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, Self
from uuid import UUID

from sygefravaer.config import Config, load
from sygefravaer.control import Visitor
from sygefravaer.errors import ActRefused, UsageError
from sygefravaer.jobcenter.policy import Policy as JobcenterPolicy
from sygefravaer.ksd.policy import Policy as KsdPolicy
from sygefravaer.sandbox.parts import KSD, PARTS, SYSTEMS, Layout
from sygefravaer.sandbox.pki import Pki
from sygefravaer.sandbox.stage import Stage
from sygefravaer.sandbox.supervisor import ask
from sygefravaer.sandbox.timekeeper import TIMEOUT, Timekeeper, Watch
from sygefravaer.store import EmbeddedServer

Json = dict[str, Any]

LOOK: Final = 0.1  # seconds between looks at what is not ready yet
IDS: Final[Mapping[str, UUID]] = {spec.name: spec.system_id for spec in SYSTEMS}
CVRS: Final[Mapping[str, str]] = {
    spec.name: spec.municipalities[0] for spec in SYSTEMS if len(spec.municipalities) == 1
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a caller needs to call in a system's name: where, and by which certificate."""

    url: str
    certificate: Path
    key: Path
    ca: Path


class Theatre(Protocol):
    """A place to play in."""

    fresh: bool
    """Nobody has played here before, so the same play gives the same."""

    async def prepare(self) -> None:
        """Let every part behave as it does where nobody has said otherwise, and no clock move by itself."""
        ...

    async def act(self, part: str, act: str, fields: Mapping[str, Any]) -> Json:
        """Ask a part for an act."""
        ...

    async def now(self) -> datetime:
        """Tell the time."""
        ...

    async def advance(self, to: datetime, watch: Watch) -> None:
        """Move to an instant; `watch` sees every one on the way. Now: let everything happen that is due."""
        ...

    async def stop(self, part: str) -> None:
        """Take a part down."""
        ...

    async def start(self, part: str) -> None:
        """Bring it back."""
        ...

    def access(self, caller: str, door: str) -> Access:
        """Say how a part calls at the door of another (without the service's path)."""
        ...


class StageTheatre:
    """
    A stage of one's own; `async with`. `timeout` is how many seconds one instant may take.

    Without a server or an authority, they are made and removed again.
    """

    fresh = True

    def __init__(
        self, start: datetime, *, server: EmbeddedServer | None = None, pki: Pki | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._stage = Stage(start, server=server, pki=pki)
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        """Set the stage."""
        await self._stage.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Strike it."""
        await self._stage.__aexit__()

    async def prepare(self) -> None:
        """Nobody has said otherwise, and the clocks are held."""

    async def act(self, part: str, act: str, fields: Mapping[str, Any]) -> Json:
        """Ask a part for an act."""
        return await self._stage.act(part, act, **fields)

    async def now(self) -> datetime:
        """Tell the time."""
        return self._stage.now

    async def advance(self, to: datetime, watch: Watch) -> None:
        """Move to an instant."""
        await self._stage.keeper.advance(to, until=watch, timeout=self._timeout)

    async def stop(self, part: str) -> None:
        """Take a part down."""
        await self._stage.stop(part)

    async def start(self, part: str) -> None:
        """Bring it back."""
        await self._stage.start(part)

    def access(self, caller: str, door: str) -> Access:
        """Say how a part calls at the door of another."""
        return _access(self._stage.config(caller), self._stage.config(door))


class RunningSandbox:
    """
    A sandbox that runs; `async with`. Its time is moved forward, and stands between the steps.

    Afterwards its clocks run on, and its parts behave as before.
    """

    fresh = False

    def __init__(self, layout: Layout, *, timeout: float = TIMEOUT) -> None:
        self._layout = layout
        self._timeout = timeout
        self._stack = AsyncExitStack()
        self._kept: dict[str, Json] = {}

    async def __aenter__(self) -> Self:
        """Come to it; its opening conversation is over then."""
        async with asyncio.timeout(self._timeout):
            while True:
                told = await ask(self._layout, "status")
                if told["conversation"] != "running":
                    break
                await asyncio.sleep(LOOK)
        doors = {spec.name: self._layout.socket(spec.name) for spec in PARTS}
        self._visitor = await self._stack.enter_async_context(Visitor(doors))
        self._keeper = Timekeeper(knock=self._visitor.knock, parts=tuple(doors), timeout=self._timeout)
        self._kept = {spec.name: await self.act(spec.name, "policy", {}) for spec in SYSTEMS}
        return self

    async def prepare(self) -> None:
        """Let the parts behave as on a stage, and hold their clocks."""
        await self._hold(hold=True)
        for spec in SYSTEMS:
            await self._behave(spec.name, (KsdPolicy() if spec is KSD else JobcenterPolicy()).as_json())
            await self.act(spec.name, "chaos", {"reset": True})

    async def __aexit__(self, *_: object) -> None:
        """Let its parts behave as they did and its clocks run, and leave it."""
        try:
            for part, policy in self._kept.items():
                await self._behave(part, policy)
        finally:
            await self._hold(hold=False)
            await self._stack.aclose()

    async def act(self, part: str, act: str, fields: Mapping[str, Any]) -> Json:
        """Ask a part for an act."""
        return await self._visitor.knock(part, act, fields)

    async def now(self) -> datetime:
        """Tell the time."""
        told = await self._visitor.knock(KSD.name, "clock", {})
        return datetime.fromisoformat(told["now"]).astimezone(UTC)

    async def advance(self, to: datetime, watch: Watch) -> None:
        """Move to an instant; where a part that came back is ahead of it, that is now."""
        try:
            await self._keeper.advance(to, until=watch)
        except ActRefused as error:
            if error.code != "ClockBackwards":
                raise
            await self._keeper.settle()
            await watch.seen(self._keeper)

    async def stop(self, part: str) -> None:
        """Take a part down."""
        await ask(self._layout, "kill", {"part": part})

    async def start(self, part: str) -> None:
        """Bring it back, and wait until it answers."""
        await ask(self._layout, "start", {"part": part})
        async with asyncio.timeout(self._timeout):
            while True:
                try:
                    await self._visitor.knock(part, "health", {})
                except ActRefused:
                    await asyncio.sleep(LOOK)
                else:
                    return

    async def _behave(self, part: str, policy: Json) -> None:
        await self.act(part, "policy", {name: -1 if value is None else value for name, value in policy.items()})

    async def _hold(self, *, hold: bool) -> None:
        knocks = (self._visitor.knock(spec.name, "clock", {"hold": hold}) for spec in PARTS)
        await asyncio.gather(*knocks, return_exceptions=True)  # a part that is away has no clock

    def access(self, caller: str, door: str) -> Access:
        """Say how a part calls at the door of another."""
        return _access(load(self._layout.config(caller)), load(self._layout.config(door)))


@asynccontextmanager
async def house() -> AsyncIterator[tuple[EmbeddedServer, Pki]]:
    """Give what many stages can share: a PostgreSQL server and an authority, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="sf-") as place:
        server = EmbeddedServer(Path(place) / "database", state=Path(tempfile.gettempdir()))
        await server.start()
        try:
            yield server, Pki(Path(place) / "pki").create()
        finally:
            await server.remove()


def _access(caller: Config, door: Config) -> Access:
    if caller.client is None:
        raise UsageError("SettingMissing", "The part that is to call has no client certificate.")
    return Access(
        url=f"https://localhost:{door.listen.port}",
        certificate=caller.client.certificate,
        key=caller.client.key,
        ca=caller.client.ca,
    )

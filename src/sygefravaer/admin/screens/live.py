# SPDX-License-Identifier: MPL-2.0
"""
Pages that update by themselves.

A page names what it listens to (`live = ["messages"]` in its template); its one stream says *that* something has
changed and never what, and the parts of the page that follow it are asked for again through their own door, where it is
decided anew what the person may see. Something listened to is a source: a mark that changes when it does. Marks are
read once for all who listen, at a pace, and only while somebody listens. A stream ends with its session, and before
the process does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Annotated, Final

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sygefravaer import audit
from sygefravaer.admin.access import COOKIE, Signed
from sygefravaer.admin.accounts import holder
from sygefravaer.admin.office import Office
from sygefravaer.admin.screens.frame import EVERYBODY, Screen, Seen
from sygefravaer.admin.screens.texts import danish
from sygefravaer.errors import FieldsWrong, StoreError, SygefravaerError

LOG: Final = logging.getLogger(__name__)

Source = Callable[[Office], Awaitable[object]]
"""Gives a mark that changes when what is listened to does; compared with `==`, never shown."""

PACE: Final = 1.0  # seconds between two looks, and so between two updates of one page
ASK: Final = 5.0  # seconds between two looks at whether the session is still open
BEAT: Final = 15.0  # seconds of silence after which a stream says that it lives
LONGEST: Final = 600.0  # seconds after which a stream ends and the browser opens the next
MOST: Final = 500  # streams at once
SCREEN: Final = Screen(name="live", path="/live", label=danish("Opdateringer"), roles=EVERYBODY, in_menu=False)


def recorded(*things: str) -> Source:
    """Make a source of what the record says was done with some things (`message`, `agreement`)."""

    async def mark(office: Office) -> object:
        async with office.store.read() as tx:
            return await audit.mark(tx, things)

    return mark


async def minute(office: Office) -> object:
    """Change once a minute of business time: ages and what is due."""
    return office.clock.now().replace(second=0, microsecond=0)


SOURCES: Final[Mapping[str, Source]] = {
    "messages": recorded("message", "lookup", "answer", "call"),
    "routes": recorded("route", "proposal", "glass"),
    "agreements": recorded("agreement", "proposal", "system", "organisation", "group"),
    "certificates": recorded("certificate"),
    "record": recorded(),
    "minute": minute,
}
"""What can be listened to."""


class Live:
    """Reads the marks of what somebody listens to, and counts for each source how often it has changed."""

    def __init__(self, office: Office, sources: Mapping[str, Source] = SOURCES) -> None:
        self._office = office
        self.sources = sources
        self._listened: Counter[str] = Counter()
        self._marks: dict[str, object] = {}
        self._turns: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self.streams = 0

    def close(self) -> None:
        """End every stream."""
        self.closed.set()
        if self._looking is not None:
            self._looking.cancel()

    async def listen(self, names: frozenset[str], alive: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """
        Say which of the sources have changed, until the session is over.

        All have at first: nobody knows what has happened since the page was drawn, or the last stream ended.
        """
        self.streams += 1
        self._listened.update(names)
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST
        spoken = asked = loop.time()
        heard: dict[str, int] = {}
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield b": open\n\n"
            while not await self._closed_within(PACE) and loop.time() < end:
                if loop.time() - asked > ASK:
                    asked = loop.time()
                    if not await alive():
                        yield b"event: ended\ndata: session\n\n"
                        return
                new = [name for name in sorted(names) if self._turns[name] != heard.get(name)]
                for name in new:
                    heard[name] = self._turns[name]
                    yield f"event: {name}\ndata: changed\n\n".encode()
                if new:
                    spoken = loop.time()
                elif loop.time() - spoken > BEAT:
                    spoken = loop.time()
                    yield b": alive\n\n"
        finally:
            self.streams -= 1
            self._listened.subtract(names)

    async def _closed_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closed.wait()
        return self.closed.is_set()

    async def _look(self) -> None:
        """Look as long as somebody listens; what nobody listens to any more is forgotten."""
        while any(number > 0 for number in self._listened.values()):
            for name in list(self._listened):
                if self._listened[name] <= 0:
                    del self._listened[name]
                    self._marks.pop(name, None)
                else:
                    await self._look_at(name)
            await asyncio.sleep(PACE)

    async def _look_at(self, name: str) -> None:
        try:
            mark = await self.sources[name](self._office)
        except SygefravaerError as error:
            LOG.warning("live.unread", extra={"source": name, "code": error.code})
            return
        if self._marks.get(name, mark) != mark:
            self._turns[name] += 1
        self._marks[name] = mark


class _Stream(StreamingResponse):
    """A stream that closes its source when the browser goes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            close = getattr(self.body_iterator, "aclose", None)
            if close is not None:
                await close()


router = SCREEN.router()


@router.get(SCREEN.path)
async def stream(
    request: Request, _user: Signed, on: Annotated[list[str], Query(max_length=len(SOURCES) * 2)]
) -> Response:
    """Open the stream of a page."""
    live: Live = request.app.state.live
    office: Office = request.app.state.office
    names = frozenset(on)
    if not names <= live.sources.keys():
        raise FieldsWrong((("query.on", ", ".join(sorted(live.sources))),))
    if live.streams >= MOST or live.closed.is_set():
        return Response(status_code=503, headers={"Retry-After": "60"})
    secret = request.cookies.get(COOKIE, "")

    async def alive() -> bool:
        try:
            return await holder(office.store, secret, "session", machine=office.machine(), seen=False) is not None
        except StoreError:  # a database that is away ends no session
            return True

    headers = {"X-Accel-Buffering": "no"}
    return _Stream(live.listen(names, alive), media_type="text/event-stream", headers=headers)


@router.get("/live/ended")
async def ended(view: Seen) -> Response:
    """Say on a page that its session is over."""
    return view.page("frame/ended.html")

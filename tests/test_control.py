# SPDX-License-Identifier: MPL-2.0
"""The control door, knocked at over a real Unix socket."""

from __future__ import annotations

import asyncio
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import uvloop

from sygefravaer.control import LONGEST_PATH, Door, knock
from sygefravaer.errors import ActRefused, UsageError

WHEN = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def health(fields: dict[str, Any]) -> dict[str, Any]:
    return {"part": "ksd", "now": WHEN, "id": UUID(int=1), "got": fields}


async def refuse(fields: dict[str, Any]) -> dict[str, Any]:
    raise UsageError("NoSuchCase", "There is no such case.", try_this="List the cases.")


async def plainly_refuse(fields: dict[str, Any]) -> dict[str, Any]:
    raise ActRefused("NotNow", "Later.")


async def break_down(fields: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("0101505012")


async def dawdle(fields: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(30)
    return {}


ACTS = {"health": health, "refuse": refuse, "plainly": plainly_refuse, "break": break_down, "dawdle": dawdle}


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ctl") as directory:
        yield Path(directory)


@pytest.fixture
async def door(short: Path) -> AsyncIterator[Door]:
    made = Door(ACTS, short / "part.sock")
    await made.start()
    yield made
    await made.stop()


async def test_an_act_gets_its_fields_and_answers(door: Door) -> None:
    """Fields go in and come out as JSON; times and ids are written as text."""
    told = await knock(door.path, "health", {"deep": {"æ": [1, None]}})

    assert told == {"part": "ksd", "now": str(WHEN), "id": str(UUID(int=1)), "got": {"deep": {"æ": [1, None]}}}
    assert (await knock(door.path, "health"))["got"] == {}


async def test_the_socket_is_its_owners_alone(door: Door) -> None:
    """Nobody else may even open it."""
    assert stat.S_IMODE(door.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("act", "code", "text"),
    [
        ("refuse", "NoSuchCase", "List the cases."),
        ("plainly", "NotNow", "Later."),
        ("break", "ActFailed", "log"),
        ("unknown", "UnknownAct", "break, dawdle, health"),
    ],
)
async def test_a_refusal_arrives_with_its_code(door: Door, act: str, code: str, text: str) -> None:
    """The part's own code and advice reach whoever knocked; a broken act says nothing of its insides."""
    with pytest.raises(ActRefused, match=text) as refused:
        await knock(door.path, act)

    assert refused.value.code == code
    assert "0101505012" not in str(refused.value)
    assert await knock(door.path, "health")


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
async def test_what_is_no_object_is_refused(door: Door, body: bytes) -> None:
    """The body must be a JSON object, or empty."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(door.path))) as session,
        session.post("http://part/health", data=body) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (409, "NotJson")


async def test_nobody_there_and_nobody_answering(door: Door, short: Path) -> None:
    """A socket that is not there, and a part that does not answer in time, have names of their own."""
    with pytest.raises(ActRefused) as missing:
        await knock(short / "missing.sock", "health")
    with pytest.raises(ActRefused) as late:
        await knock(door.path, "dawdle", timeout=0.2)

    assert (missing.value.code, late.value.code) == ("NobodyThere", "NoAnswer")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", b""]
)
async def test_something_else_listens(short: Path, answer: bytes) -> None:
    """A listener that answers no JSON object is as good as no answer."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(listen, short / "other.sock")
    with pytest.raises(ActRefused) as refused:
        await knock(short / "other.sock", "health")
    server.close()
    assert refused.value.code == "NoAnswer"


async def test_stop_removes_the_socket(short: Path) -> None:
    """After stop() nothing is left, and the door can be opened again; a second stop does nothing."""
    door = Door(ACTS, short / "part.sock")
    await door.start()
    await door.stop()
    await door.stop()
    assert not door.path.exists()
    await door.start()
    assert await knock(door.path, "health")
    await door.stop()


async def test_the_socket_of_a_killed_process_is_replaced(short: Path) -> None:
    """A socket file that nobody listens on is no hindrance."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(short / "part.sock"))
    dead.close()
    door = Door(ACTS, short / "part.sock")
    await door.start()
    assert await knock(door.path, "health")
    await door.stop()


async def test_paths_that_cannot_be(door: Door, short: Path) -> None:
    """A path that is too long, taken, a plain file, or in no directory is refused by name."""
    (short / "file").write_text("")
    for path, code in (
        (Path("/tmp") / ("x" * LONGEST_PATH), "SocketPathTooLong"),
        (door.path, "SocketInUse"),
        (short / "file", "SocketRefused"),
        (short / "no" / "part.sock", "SocketRefused"),
    ):
        with pytest.raises(UsageError) as refused:
            await Door(ACTS, path).start()
        assert refused.value.code == code
    assert await knock(door.path, "health")
    assert (short / "file").exists()


def test_it_works_on_uvloop_too(short: Path) -> None:
    """The processes of a sandbox run on uvloop."""

    async def once() -> dict[str, Any]:
        door = Door(ACTS, short / "part.sock")
        await door.start()
        try:
            return await knock(door.path, "health")
        finally:
            await door.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(once())["part"] == "ksd"

# SPDX-License-Identifier: MPL-2.0
"""Both ends of a control door: who offers acts on a Unix socket, and who knocks at it."""

from __future__ import annotations

import asyncio
import errno
import inspect
import json
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, cast

import aiohttp
from aiohttp import web

from sygefravaer.contract.plain import Json
from sygefravaer.errors import ActRefused, SygefravaerError, UsageError

LONGEST_PATH: Final = 100  # bytes; the system's own limit is 108 with its ending
LONGEST_REQUEST: Final = 16 * 1024 * 1024  # bytes: a message may be handed over whole
PATIENCE: Final = 10.0  # seconds

Act = Callable[[Json], Awaitable[Json]]

_log: Final = logging.getLogger("control")


class Door:
    """Offers acts: `POST /NAME` with a JSON object gives a JSON object."""

    def __init__(self, acts: Mapping[str, Act], path: Path) -> None:
        self.path = Path(path)
        self._acts = {"acts": self._tell, **acts}
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket, mode 0600; one that nobody listens on any more is replaced.

        Raises `UsageError` when the path is too long, cannot be made, or is somebody's who listens.
        """
        listener = _listening(self.path)
        app = web.Application(client_max_size=LONGEST_REQUEST)
        app.router.add_post("/{act}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        # aiohttp's own site for a ready socket is TCP's
        factory = cast("Callable[[], asyncio.Protocol]", self._runner.server)
        self._listener = await asyncio.get_running_loop().create_unix_server(factory, sock=listener)

    async def stop(self) -> None:
        """Close the socket and remove it."""
        if self._runner is not None and self._listener is not None:
            self._listener.close()
            await self._runner.cleanup()
            self._runner = self._listener = None
            self.path.unlink(missing_ok=True)

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["act"]
        try:
            act = self._acts.get(name, self._unknown)
            return web.json_response(await act(await _fields(request)), dumps=_dumps)
        except SygefravaerError as error:
            _log.info("act.refused", extra={"act": name, "code": error.code})
            ours = isinstance(error, ActRefused | UsageError) and error.detail
            text, hint = error.detail if ours else error.text, getattr(error, "try_this", "") or error.hint
            told = {"code": error.code, "text": text, "hint": hint}
            return web.json_response({"error": told}, status=409)
        except Exception as error:  # noqa: BLE001  the door: a part must survive a broken act
            _log.error("act.failed", exc_info=error, extra={"act": name})
            told = {"code": "ActFailed", "text": "The act failed; the part's log says where.", "hint": ""}
            return web.json_response({"error": told}, status=500)

    async def _tell(self, _: Json) -> Json:
        """List the acts with what each is for (act `acts`)."""
        return {"acts": {name: inspect.getdoc(act) or "" for name, act in sorted(self._acts.items())}}

    async def _unknown(self, _: Json) -> Json:
        raise ActRefused("UnknownAct", f"It was not one of: {', '.join(sorted(self._acts))}.")


async def knock(
    path: Path,
    act: str,
    fields: Mapping[str, Any] | None = None,
    timeout: float = PATIENCE,  # noqa: ASYNC109  the whole exchange, told to the connection too
) -> Json:
    """Ask the part behind a socket to do something, and give what it says.

    Raises `ActRefused`: with the part's own code, `NobodyThere` when no one listens, `NoAnswer` when none comes.
    """
    async with _session(path) as session:
        return await _asked(session, path, act, fields, timeout)


class Visitor:
    """Knocks at several doors and keeps its connections: for whoever asks often. `async with`."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        """Give itself; a connection is made at the first knock."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def knock(
        self,
        part: str,
        act: str,
        fields: Mapping[str, Any] | None = None,
        timeout: float = PATIENCE,  # noqa: ASYNC109  as for `knock`
    ) -> Json:
        """Ask the part of this name, as `knock` does."""
        path = self._paths[part]
        if part not in self._sessions:
            self._sessions[part] = _session(path)
        return await _asked(self._sessions[part], path, act, fields, timeout)


def _session(path: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))


async def _asked(
    session: aiohttp.ClientSession, path: Path, act: str, fields: Mapping[str, Any] | None, seconds: float
) -> Json:
    try:
        async with session.post(
            f"http://part/{act}", data=_dumps(dict(fields or {})), timeout=aiohttp.ClientTimeout(total=seconds)
        ) as response:
            told = await response.json(content_type=None)
    except aiohttp.ClientConnectorError as error:
        raise ActRefused("NobodyThere", f"Nobody listens on {path}.") from error
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise ActRefused("NoAnswer", "The part did not answer in time, or stopped.") from error
    if not isinstance(told, dict):
        raise ActRefused("NoAnswer", "The part answered with something else than a JSON object.")
    if isinstance(refused := told.get("error"), dict) and response.status != web.HTTPOk.status_code:
        raise ActRefused(str(refused.get("code")), f"{refused.get('text')} {refused.get('hint')}".strip())
    return told


async def _fields(request: web.Request) -> Json:
    try:
        fields = json.loads(await request.read() or b"{}")
    except (ValueError, web.HTTPRequestEntityTooLarge) as error:
        raise ActRefused("NotJson", "The body is not a JSON object of a reasonable size.") from error
    if not isinstance(fields, dict):
        raise ActRefused("NotJson", "The body is JSON, but not an object.")
    return fields


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _listening(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise UsageError(
            "SocketPathTooLong",
            f"The path of the control socket is {len(os.fsencode(path))} bytes; at most {LONGEST_PATH} were wanted.",
            try_this="Use a directory with a shorter path.",
        )
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # the socket is nobody else's from its first moment
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise UsageError(
            "SocketRefused", f"The control socket {path} cannot be made ({errno.errorcode.get(error.errno or 0)})."
        ) from error
    finally:
        os.umask(mask)
    listener.listen()
    return listener


def _remove_dead(path: Path) -> None:
    """Remove the socket of a process that was killed; one that answers, and anything else, is left alone."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise UsageError("SocketInUse", f"Somebody listens on the control socket {path} already.")

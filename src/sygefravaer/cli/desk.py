# SPDX-License-Identifier: MPL-2.0
"""
The administration called by a command: the same API that programs call, so the same rules, and the same record.

`--as LOGIN` signs in to the sandbox in --dir with the password that its sandbox.json has; `--url` and `--token-file`
are for any other administration.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, json_option
from sygefravaer.errors import ActRefused, NoAnswer, Unreachable, UsageError

PREFIX: Final = "/api/v1"
PATIENCE: Final = 30.0  # seconds
_COOKIE: Final = "__Host-sygefravaer"

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def desk_options(command: CommandT) -> CommandT:
    """Give a command the options that say which administration, and as whom."""
    for option in (
        click.option("--as", "login", metavar="LOGIN", help="Who does it: a login of the sandbox in --dir."),
        click.option("--url", help="Another administration, without path; needs --token-file."),
        click.option(
            "--token-file", "token", type=click.Path(path_type=Path), help="The file with an account's token."
        ),
        dir_option,
        json_option,
    ):
        command = option(command)
    return command


class Desk:
    """One command's conversation with the administration."""

    def __init__(self, session: aiohttp.ClientSession, url: str, shown: Mapping[str, str]) -> None:
        self._session = session
        self._url = url.rstrip("/") + PREFIX
        self._shown = dict(shown)

    async def ask(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, version: str = ""
    ) -> Any:
        """Ask, and give the answer; a problem is an error with its code. Raises `ActRefused`, `Unreachable`."""
        told, _ = await self._asked(method, path, body, query=query, version=version)
        return told

    async def change(self, method: str, path: str, of: str, body: object = None) -> Any:
        """Change what stands at `of`, as it stands now."""
        _, version = await self._asked("GET", of)
        return await self.ask(method, path, body, version=version)

    async def all(self, path: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """Give a whole list, page by page."""
        found: list[Any] = []
        asked = dict(query or {}) | {"limit": "200"}
        while True:
            told = await self.ask("GET", path, query=asked)
            found += told["items"]
            if told["next"] is None:
                return found
            asked["after"] = told["next"]

    async def sign_in(self, login: str, password: str) -> None:
        """Open a session."""
        async with self._session.post(self._url + "/session", json={"login": login, "password": password}) as answer:
            told = await _read(answer)
            self._shown = {
                "Cookie": f"{_COOKIE}={answer.cookies[_COOKIE].value}",
                "X-CSRF-Token": told["csrf"],
            }

    async def sign_out(self) -> None:
        """End the session, if it is one."""
        if "Cookie" in self._shown:
            await self.ask("DELETE", "/session")

    async def _asked(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, version: str = ""
    ) -> tuple[Any, str]:
        shown = self._shown | ({"If-Match": version} if version else {})
        async with self._session.request(
            method, self._url + path, params=query, headers=shown, allow_redirects=False, json=body
        ) as answer:
            return await _read(answer), answer.headers.get("ETag", "")


async def _read(answer: aiohttp.ClientResponse) -> Any:
    raw = await answer.read()
    try:
        told = json.loads(raw) if raw else None
    except ValueError as error:
        raise NoAnswer("It is no answer of an administration.") from error
    if answer.status >= 400:  # noqa: PLR2004  HTTP's own number
        problem = told if isinstance(told, dict) else {}
        words = [str(problem.get("detail", f"HTTP {answer.status}"))]
        words += [f"{one['place']}: {one['wanted']}." for one in problem.get("fields", ())]
        words += [f"{one['name']}: {one['found']}. {one['try_this']}" for one in _failed(problem)]
        words += [str(problem.get("try", ""))]
        raise ActRefused(str(problem.get("code", f"HTTP {answer.status}")), " ".join(words).strip())
    return told


def _failed(problem: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in problem.get("checks", ()) if one["blocking"] and not one["passed"]]


def at_desk(given: Mapping[str, Any], work: Callable[[Desk], Any], *, name: str, shown: tuple[str, ...] = ()) -> None:
    """Do a command's work at the administration that its options name, and print what came of it."""
    told = asyncio.run(_at_desk(given, work))
    if given["as_json"]:
        click.echo(json.dumps({name: told}, ensure_ascii=False))
    elif isinstance(told, list):
        click.echo(columns(shown, told) if told else "None.")
    elif isinstance(told, dict):
        click.echo("\n".join(f"{key}: {value}" for key, value in told.items() if value is not None))
    else:
        click.echo("Done.")


async def _at_desk(given: Mapping[str, Any], work: Callable[[Desk], Any]) -> Any:
    url, token, login = given["url"], given["token"], given["login"]
    password = ""
    if url is None:
        summary = given["directory"] / "sandbox.json"
        try:
            told = json.loads(summary.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError("SandboxUnknown", f"{summary} cannot be read; or name another --url.") from error
        url = told["admin"]
        known = {one["login"]: one["password"] for one in told.get("accounts", ())}
        if token is None and login not in known:
            raise UsageError("LoginUnknown", f"--as is one of {', '.join(sorted(known))}.")
        password = known.get(login, "")
    elif token is None:
        raise UsageError("OptionMissing", "--url needs --token-file.")
    shown = {} if token is None else {"Authorization": f"Bearer {_token(token)}"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        ) as session:
            desk = Desk(session, url, shown)
            if token is None:
                await desk.sign_in(login, password)
            try:
                return await work(desk)
            finally:
                await desk.sign_out()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(f"({type(error).__name__})") from error


def _token(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("FileUnreadable", f"{path} cannot be read.") from error

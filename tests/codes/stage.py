# SPDX-License-Identifier: MPL-2.0
"""What the effects play on: a database, keys and certificates, from which each kind of scene is started."""

from __future__ import annotations

import importlib
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Self

from sygefravaer.clock import MovableClock
from sygefravaer.sandbox.pki import Pki
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Authority:
    """A test authority that issues each certificate once, so that several processes may share its directory."""

    def __init__(self, directory: Path) -> None:
        self._pki = Pki(directory).create()
        self.ca, self.crl = self._pki.ca, self._pki.crl

    def get(self, name: str):
        """Give the certificate filed under a name, if there is one."""
        return self._pki.get(name)

    def issue(self, name: str, cvr: str):
        """Give the certificate filed under a name, made if there is none."""
        return self._pki.get(name) or self._pki.issue(name, cvr)


class Stage:
    """Starts scenes; `embedded` is a running server, `pki` a directory with a test authority."""

    def __init__(self, embedded, directory: Path, pki: Path) -> None:
        self.embedded = embedded
        self.directory = directory
        self.pki = Authority(pki)
        self._numbers = itertools.count(1)

    def citizen(self) -> str:
        """Give a personal number that nobody has, another each time."""
        number = next(self._numbers)
        return f"{1 + number % 28:02}{1 + number // 28 % 12:02}{50 + number // 336 % 8:02}{5000 + number:04}"

    @asynccontextmanager
    async def scene(self, kind: str) -> AsyncIterator[SimpleNamespace]:
        """Start a scene of a kind (the name of its rig), with a clock that stands and tables of its own."""
        async with AsyncExitStack() as stack:

            async def make_store(*rooms: str, size: int = 4) -> Store:
                role = f"c{secrets.token_hex(6)}"
                store = Store(await self.embedded.create_part(role, secrets.token_hex(8)), schema=role, size=size)
                await store.open()
                stack.push_async_callback(store.close)
                tables = [(room, importlib.import_module(f"sygefravaer.{room}").MIGRATIONS) for room in rooms]
                await migrate(store, tables, now=START)
                return store

            parts = {
                "make_store": make_store,
                "vault": Vault.create_file(self.directory / f"{secrets.token_hex(6)}.json"),
                "clock": MovableClock(START, running=False),
                "pki": self.pki,
            }
            side = importlib.import_module(f"codes.{kind}_side")
            it = await stack.enter_async_context(side.scene(**parts))
            it.citizen, it.directory = self.citizen, self.directory
            yield it


class KeptStage(Stage):
    """A stage on which each kind of scene is started once and kept; `async with`."""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._kept: dict[str, SimpleNamespace] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def scene(self, kind: str) -> AsyncIterator[SimpleNamespace]:
        """Give the scene of a kind, with all that was played on it before."""
        if kind not in self._kept:
            self._kept[kind] = await self._stack.enter_async_context(super().scene(kind))
        yield self._kept[kind]

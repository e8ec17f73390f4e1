# SPDX-License-Identifier: MPL-2.0
"""
How long a person waits for a page when two million messages lie in the database.

    python -m benchmarks.pages [--messages 2000000] [--strict]

The database is filled with messages whose bodies the vault has sealed (`benchmarks.filling`); the administration serves
it over a real socket, and each page is asked for again and again, one after the other, by somebody who is signed in.
Narrowed by municipality, fault group and a citizen's keyed hash, the first page, the thousandth by its number and the
one after it; and one message, its contents, and its case.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import aiohttp

from benchmarks import filling
from benchmarks.figures import Verdict, judged, of, run, say, told
from sygefravaer.admin import accounts
from sygefravaer.admin.access import COOKIE
from sygefravaer.admin.accounts import Role
from sygefravaer.admin.office import Office, machine_time
from sygefravaer.admin.screens.site import Site
from sygefravaer.agreements import Actor
from sygefravaer.app import PLATFORM
from sygefravaer.clock import MovableClock
from sygefravaer.contract.operations import Environment
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.endpoint import Server
from sygefravaer.store import EmbeddedServer, Store, migrate
from sygefravaer.vault import Vault

MESSAGES = 2_000_000
LIMIT_MS = 200.0
ROUNDS = 40
DEEP = 1000  # the page that is reached by its number
OPERATOR = "19435075"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A page that is asked for."""

    what: str
    path: str


class House:
    """An administration over a filled database, and somebody signed in; `async with`."""

    def __init__(self, dsn: str, schema: str, vault: Vault) -> None:
        self._store = Store(dsn, schema=schema, size=4)
        self._clock = MovableClock(filling.NOW, running=False)
        self.office = Office(store=self._store, vault=vault, clock=self._clock, environment=Environment.TEST)

    async def __aenter__(self) -> Self:
        """Open everything."""
        await self._store.open()
        by, now = Actor(user="bench", organisation=OPERATOR), self._clock.now()
        async with self._store.tx() as tx:
            account = await accounts.add(
                tx,
                login=f"bench-{uuid4()}",
                password=None,
                name="Bench",
                cvr=OPERATOR,
                roles=frozenset({Role.OPERATOR}),
                by=by,
                now=now,
            )
            secret = await accounts.open_session(tx, account, before=None, now=now, machine=machine_time())
        self.user = await accounts.holder(self._store, secret, "session", machine=machine_time())
        self._site = Site({}, clock=self._clock, office=self.office)
        self._server = Server(self._site, grace=0.2)
        await self._server.start()
        self._http = aiohttp.ClientSession(
            headers={"Cookie": f"{COOKIE}={secret}"}, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        await self._http.close()
        self._site.close()
        await self._server.stop()
        await self._store.close()

    async def get(self, path: str) -> tuple[float, str]:
        """Ask for a page; give the milliseconds it took, and the page."""
        begun = time.perf_counter()
        async with self._http.get(self._server.url + path, allow_redirects=False) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status}")
        return (time.perf_counter() - begun) * 1000, text

    async def look(self, number: int) -> UUID:
        """Keep a look for a citizen of the filled database, as a search by his number does."""
        async with self._store.tx() as tx:
            found = await tx.one(f"SELECT {filling.citizen(number)} AS key")
            look = uuid4()
            await tx.run(
                "INSERT INTO citizen_look (look_id, account_id, persons, purpose, at)"
                " VALUES (%(look)s, %(account)s, %(persons)s, '', %(at)s)",
                look=look,
                account=self.user.id,
                persons=[found["key"]],
                at=machine_time(),
            )
        return look

    async def pages(self, messages: int) -> list[Asked]:
        """Say what is asked for."""
        town, number = next(iter(MUNICIPALITIES)), messages // 2
        narrowed = {
            "all messages": "",
            "of the biggest municipality": f"kommune={town}",
            "of a fault group": "aarsag=G001",
            "of a fault group in a municipality": f"aarsag=G001&kommune={town}",
            "of a citizen, by keyed hash": f"borger={await self.look(5)}",
            "of a citizen in a municipality": f"borger={await self.look(7)}&kommune={town}",
            "of a state": "tilstand=refused",
            "of a system": f"system={filling.SYSTEMS[0]}",
            "of a direction, older than 30 days": "retning=ksd&alder=30d-",
        }
        made = []
        for what, query in narrowed.items():
            deep = await self._deep(query)
            made.append(Asked(what=f"{what}, first page", path=f"/beskeder?{query}"))
            made.append(Asked(what=f"{what}, page {DEEP}", path=f"/beskeder?{query}&side={DEEP}"))
            if deep is not None:
                made.append(Asked(what=f"{what}, page {DEEP + 1}", path=f"/beskeder?{query}&foer={deep}"))
        async with self._store.read() as tx:
            row = await tx.one("SELECT nemrefusions_id AS id FROM message WHERE message_id = %(n)s", n=number)
        return [
            *made,
            Asked(what="grouped by cause", path="/beskeder?vis=aarsager"),
            Asked(what="grouped by cause, a municipality", path=f"/beskeder?vis=aarsager&kommune={town}"),
            Asked(what="one message", path=f"/besked/{number}"),
            Asked(what="what one message says", path=f"/besked/{number}/indhold"),
            Asked(what="one case", path=f"/sag/{row['id']}"),
        ]

    async def _deep(self, query: str) -> str | None:
        """Give the last message of the page by number, if there are so many."""
        _, text = await self.get(f"/beskeder?{query}&side={DEEP}")
        _, found, rest = text.partition("foer=")
        return rest.partition('"')[0] if found else None


async def measure(house: House, messages: int, rounds: int = ROUNDS):
    """Ask for each page so many times; give a line for each."""
    lines = []
    for asked in await house.pages(messages):
        await house.get(asked.path)
        took = [(await house.get(asked.path))[0] for _ in range(rounds)]
        lines.append(of(asked.what, took, seconds=sum(took) / 1000))
    return lines


def judge(lines) -> list[Verdict]:
    """Hold the slowest page against the target."""
    slowest = max(lines, key=lambda line: line.p95)
    return [
        Verdict(
            what=f"every page, p95 (slowest: {slowest.what})",
            found=f"{slowest.p95:.0f} ms",
            wanted=f"under {LIMIT_MS:.0f} ms",
            reached=slowest.p95 < LIMIT_MS,
        )
    ]


async def filled(directory: Path, messages: int):
    """Start a server and fill it; give it with the way to it."""
    server = EmbeddedServer(directory / "history")
    await server.start()
    dsn = await server.create_part("bench", "bench")
    store = Store(dsn, schema="bench", size=2)
    await store.open()
    await migrate(store, list(PLATFORM), now=filling.NOW)
    vault = Vault.create_file(directory / "history.json")
    say(f"  filling in {messages} messages, some minutes for two million")
    await filling.fill(dsn, "bench", store, vault, messages)
    await store.close()
    return server, dsn, vault


async def pages(directory: Path, messages: int, rounds: int = ROUNDS):
    """Fill, measure, and give the lines."""
    server, dsn, vault = await filled(directory, messages)
    try:
        async with House(dsn, "bench", vault) as house:
            say("  asking for pages")
            return await measure(house, messages, rounds)
    finally:
        await server.remove()


async def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__.split("\n")[1])
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"how many lie in the database ({MESSAGES})")
    parser.add_argument("--strict", action="store_true", help="exit 1 when the target is not reached")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-pages-") as name:
        lines = await pages(Path(name), options.messages)
    print(f"{options.messages} messages in the database, bodies sealed; one page after the other\n")
    told(lines)
    return judged(judge(lines), strict=options.strict)


if __name__ == "__main__":
    run(main)

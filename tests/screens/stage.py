# SPDX-License-Identifier: MPL-2.0
"""
One house for all screens: gateway, receivers and administration over one database, people in it, and one Chromium.

A screen's module says its `STATES`; `test_states.py` goes through them. An act is a test of its own in that module:

    async def test_a_parked_message_is_replayed(stage):
        page = await stage.page("/beskeder?tilstand=parked", who="otto")

What happens in the house stays there for the tests after it: look for what the test itself has made.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from cryptography import x509
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from corridor import Corridor, message
from desk import AARHUS, COOKIE, OPERATOR_CVR, ROOMS, VIBORG, Desk
from sygefravaer import agreements, audit
from sygefravaer.admin import accounts
from sygefravaer.admin.accounts import Role
from sygefravaer.config import Auditing
from sygefravaer.contract.operations import Environment
from sygefravaer.store import Store, Tx, migrate

CHROMIUM = shutil.which("chromium")
"""Debian's; tests that need it are not run where it is not."""
PATIENCE = int(os.environ.get("SCREENS_PATIENCE", "60000"))  # milliseconds: for a machine that has other things to do
AXE = (Path(__file__).parent / "vendor" / "axe" / "axe.min.js").read_text("utf-8")
RUN_AXE = "() => axe.run(document, {resultTypes: ['violations']})"
VENDOR, FREDERIKSBERG = "12345674", "11259979"
PEOPLE = {
    "otto": (Role.OPERATOR, OPERATOR_CVR),
    "olga": (Role.OPERATOR, OPERATOR_CVR),
    "ada": (Role.AUDITOR, OPERATOR_CVR),
    "vera": (Role.VENDOR, VENDOR),
    "viggo": (Role.MUNICIPALITY, VIBORG),
    "asta": (Role.MUNICIPALITY, AARHUS),
    "frida": (Role.MUNICIPALITY, FREDERIKSBERG),  # of a municipality of which nothing is here
}
NAMES = ("empty", "loading", "filled", "error", "forbidden", "long", "zoom")
"""The states of a screen: nothing to show, on its way, as usual, something wrong, not for this person, texts that are
long, and enlarged to 400 %."""
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2


@dataclass(frozen=True, kw_only=True)
class State:
    """One state: where it is, who sees it, what makes it so, and what must be seen then (a selector)."""

    path: str
    sees: str
    who: str | None = "otto"
    prepare: Callable[[Stage], Awaitable[Any]] | None = None
    then: Callable[[Page], Awaitable[Any]] | None = None
    status: int = 200


@dataclass(frozen=True)
class Never:
    """A state that a screen cannot be in, and why."""

    why: str


class Stage:
    """The house; `async with`."""

    def __init__(self, embedded, vault, clock, pki, tmp: Path) -> None:
        self._embedded, self._stack = embedded, AsyncExitStack()
        self.vault, self.clock, self.pki, self.tmp = vault, clock, pki, tmp
        self._sessions: dict[str, str] = {}
        self._contexts: list[BrowserContext] = []
        self._kept: dict[tuple[object, ...], Page] = {}
        self._filled = False
        self.elsewhere: dict[str, str] = {}  # where pages are that another site shows, by the beginning of their path

    async def __aenter__(self) -> Self:
        role, password = f"s{secrets.token_hex(4)}", secrets.token_hex(8)
        self.store = Store(await self._embedded.create_part(role, password), schema=role, size=8)
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        rooms = [(room, importlib.import_module(f"sygefravaer.{room}").MIGRATIONS) for room in ROOMS]
        await migrate(self.store, rooms, now=self.clock.now())
        self.key = audit.create_key(self.tmp / "key")
        self._stack.callback(audit.sign_with, audit.sign_with(self.key))
        self.corridor = await self._stack.enter_async_context(Corridor(self.store, self.vault, self.clock, self.pki))
        self.desk = await self._stack.enter_async_context(
            Desk(
                self.store,
                self.vault,
                self.clock,
                authorities=tuple(x509.load_pem_x509_certificates(Path(self.pki.ca).read_bytes())),
                tls=self.corridor.tls("callback"),
                record=Auditing(key=self.tmp / "key", anchor=self.tmp / "anchors"),
            )
        )
        self._stack.callback(self.desk.site.close)
        self.accounts = {}
        for login, (kind, cvr) in PEOPLE.items():
            self.accounts[login] = await self.desk.add(login, kind, cvr=cvr, password=None)
        self.url = self.desk.server.url.replace("127.0.0.1", "localhost")
        playwright = await self._stack.enter_async_context(async_playwright())
        self.browser: Browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--force-prefers-reduced-motion"]
        )
        self._stack.push_async_callback(self.browser.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def session(self, login: str) -> str:
        """Sign somebody in without a password, whose hash is slow; give the session's secret."""
        if login not in self._sessions:
            async with self.store.tx() as tx:
                self._sessions[login] = await accounts.open_session(
                    tx, self.accounts[login], before=None, now=self.clock.now(), machine=self.desk.time()
                )
        return self._sessions[login]

    def forget(self, login: str) -> None:
        """Forget a session that a test has ended."""
        del self._sessions[login]

    async def page(
        self, path: str = "/", *, who: str | None = "otto", lang: str = "da", width: int = 1280, height: int = 900
    ) -> Page:
        """Open a page as somebody, in a browser of his own."""
        context = await self.browser.new_context(viewport={"width": width, "height": height}, locale="da-DK")
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        cookies: list[Any] = [{"name": "lang", "value": lang, "url": self.url}]
        if who is not None:
            secret = await self.session(who)
            there = self.url.replace("http:", "https:")  # where a browser takes such a cookie from
            cookies.append({"name": COOKIE, "value": secret, "url": there, "secure": True, "httpOnly": True})
        await context.add_cookies(cookies)
        page = await context.new_page()
        page.complaints = []  # type: ignore[attr-defined]  # what the browser complains of: refused by the policy, thrown
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda said: page.complaints.append(said.text) if _complains(said) else None)
        await self._go(page, path)
        return page

    async def kept_page(self, path: str, *, who: str | None, lang: str, **size: int) -> Page:
        """Open a page where the same person has seen others before: a browser of one's own takes longer than a page."""
        key = (None if who is None else await self.session(who), lang, *size.items())
        if key not in self._kept:
            self._kept[key] = await self.page(path, who=who, lang=lang, **size)
            self._contexts.remove(self._kept[key].context)  # it is closed with the browser
            return self._kept[key]
        page = self._kept[key]
        page.complaints.clear()  # type: ignore[attr-defined]
        await self._go(page, path)
        return page

    async def _go(self, page: Page, path: str) -> None:
        url = next((there for begin, there in self.elsewhere.items() if path.startswith(begin)), self.url)
        page.answered = await page.goto(url + path)  # type: ignore[attr-defined]

    async def until_closed(self, something: AbstractAsyncContextManager[Any]) -> Any:
        """Enter something that lasts as long as the house."""
        return await self._stack.enter_async_context(something)

    async def close_pages(self) -> None:
        """Close what a test has opened."""
        while self._contexts:
            await self._contexts.pop().close()

    async def fill(self) -> None:
        """Let messages of every fate be there: delivered, owed, refused and unheard, parked, queued."""
        if self._filled:
            return
        self._filled = True
        event, update, receivers = "SendHaendelseSygefravaerssag", "SendOpdateringFravaer", self.corridor.receivers
        assert await self._sent(update, "viborg", VIBORG) == "OK"
        assert await self._sent(event, "ksd", VIBORG) == "OK"
        assert await self._sent(event, "ksd", AARHUS) == "OK"
        receivers["ksd"].raw = unreadable
        assert await self._sent(update, "aarhus", AARHUS) == "ADVARSEL"
        receivers["ksd"].raw = None
        receivers["viborg"].raw = away
        assert await self._sent(event, "ksd", VIBORG) == "ADVARSEL"
        receivers["viborg"].raw = None

    async def long_system(self, tx: Tx) -> UUID:
        """Register a system whose name is long; give its id."""
        system = uuid4()
        await agreements.register_system(
            tx,
            system_id=system,
            name=LONG,
            vendor_cvr=VENDOR,
            role=agreements.Role.JOBCENTER,
            environment=Environment.TEST,
            now=self.clock.now(),
        )
        return system

    async def _sent(self, operation: str, caller: str, cvr: str) -> str | None:
        envelope = message(operation, caller=caller, cvr=cvr, NemrefusionsID=uuid4())
        return (await self.corridor.send(operation, envelope, caller=caller)).kode


async def unreadable(scope, receive, send) -> None:
    """Answer as a receiver that cannot read the message: it is parked."""
    await receive()
    body = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client'
    body += b"</faultcode><faultstring>no</faultstring></s:Fault></s:Body></s:Envelope>"
    await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/xml")]})
    await send({"type": "http.response.body", "body": body})


async def away(scope, receive, send) -> None:
    """Answer as a receiver that is down: the message waits."""
    await receive()
    await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"60")]})
    await send({"type": "http.response.body", "body": b""})


def _complains(said: Any) -> bool:
    return said.type == "error" and "the server responded with a status of" not in said.text


async def violations(page: Page) -> list[str]:
    """Run axe on the page as it is, under its own policy; say what is wrong, and where."""
    await page.evaluate(AXE)
    told = await page.evaluate(RUN_AXE)
    return [f"{one['id']}: {json.dumps([node['target'] for node in one['nodes'][:4]])}" for one in told["violations"]]


async def overflows(page: Page) -> int:
    """Say by how many pixels a page is wider than its window: what is wide scrolls in a box of its own."""
    return await page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")

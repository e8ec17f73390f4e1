# SPDX-License-Identifier: MPL-2.0
"""The administration on a real socket over a real database, and people who sign in to it."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp

from sygefravaer.admin import accounts
from sygefravaer.admin.accounts import Role
from sygefravaer.admin.office import Office
from sygefravaer.admin.screens.site import Site
from sygefravaer.agreements import Actor, organisations
from sygefravaer.contract.operations import Environment
from sygefravaer.endpoint import Server

ROOMS = ("agreements", "audit", "lanes", "delivery", "admin", "status", "mail", "usage")
SETUP = Actor(user="test", organisation="19435075")
OPERATOR_CVR, VENDOR_CVR, OTHER_VENDOR_CVR = "19435075", "12345674", "25313763"
VIBORG, AARHUS = "29189846", "55133018"
PASSWORD = "correct horse battery"
COOKIE = "__Host-sygefravaer"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any
    cookies: dict[str, str]

    @property
    def etag(self) -> str:
        return self.headers["etag"]


@dataclass
class Person:
    """Somebody with a token, or with a session's cookie and CSRF token."""

    desk: Desk
    token: str | None = None
    cookie: str | None = None
    csrf: str | None = None
    account: uuid.UUID | None = None
    extra: dict[str, str] = field(default_factory=dict)

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | self.extra
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        if self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        if self.csrf and method not in {"GET", "HEAD"}:
            sent.setdefault("X-CSRF-Token", self.csrf)
        return await self.desk.call(method, path, body, sent)


class Desk:
    """`async with`: the administration answers at `url`."""

    def __init__(self, store, vault, clock, **office: Any) -> None:
        self.machine = None
        self.office = Office(
            store=store, vault=vault, clock=clock, environment=Environment.TEST, machine=self.time, **office
        )

    def time(self) -> datetime:
        return self.machine or datetime.now(UTC)

    async def __aenter__(self) -> Self:
        async with self.office.store.tx() as tx:
            await organisations.ensure_municipalities(tx, by=SETUP, now=self.office.clock.now())
        self.site = Site({}, clock=self.office.clock, office=self.office)
        self.server = Server(self.site, grace=0.2)
        await self.server.start()
        self.url = self.server.url + "/api/v1"
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.server.stop()

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        data = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {} if body is None else {"json": body}
        async with self.http.request(method, self.url + path, headers=headers, allow_redirects=False, **data) as told:
            raw = await told.read()
            is_json = "json" in told.headers.get("Content-Type", "")
            return Answer(
                status=told.status,
                headers={name.lower(): ", ".join(told.headers.getall(name)) for name in told.headers},
                body=await told.json(content_type=None) if is_json and raw else raw,
                cookies={name: one.value for name, one in told.cookies.items()},
            )

    async def add(
        self, login: str, *roles: Role, cvr: str, person: str | None = None, password: str | None = PASSWORD
    ) -> uuid.UUID:
        async with self.office.store.tx() as tx:
            return await accounts.add(
                tx,
                login=login,
                password=password,
                name=login.title(),
                cvr=cvr,
                roles=frozenset(roles),
                person=person,
                by=SETUP,
                now=self.office.clock.now(),
            )

    async def person(self, login: str, *roles: Role, cvr: str, person: str | None = None) -> Person:
        """Make an account with a token and no password: argon2 is slow, and meant to be."""
        account = await self.add(login, *roles, cvr=cvr, person=person, password=None)
        async with self.office.store.tx() as tx:
            secret, _ = await accounts.make_token(
                tx, account, name="test", by=SETUP, now=self.office.clock.now(), machine=self.time()
            )
        return Person(self, token=secret, account=account)

    async def sign_in(self, login: str, password: str = PASSWORD, **headers: str) -> tuple[Answer, Person]:
        told = await self.call("POST", "/session", {"login": login, "password": password}, headers)
        cookie = told.cookies.get(COOKIE)
        csrf = told.body.get("csrf") if told.status == 201 else None
        return told, Person(self, cookie=cookie, csrf=csrf)

    async def record(self, where: str = "true", **params: object) -> list[dict]:
        async with self.office.store.read() as tx:
            return [dict(row) for row in await tx.all(f"SELECT * FROM audit WHERE {where} ORDER BY audit_id", **params)]

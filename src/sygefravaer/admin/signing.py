# SPDX-License-Identifier: MPL-2.0
"""Signing in and out, with a local account or at the provider, and tokens for programs."""

from __future__ import annotations

import hmac
import ipaddress
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, StringConstraints

from sygefravaer import audit
from sygefravaer.admin import accounts, rest
from sygefravaer.admin.access import COOKIE, Role, Signed, User, clear_cookie, set_cookie
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.provider import Provider
from sygefravaer.admin.tables import VERIFIER
from sygefravaer.errors import LoginRefused, NotThere

router: Final = rest.router("session", once=False)
own_tokens: Final = rest.router("tokens")


class Credentials(rest.Body):
    """A local account's login and password."""

    login: rest.Text
    password: Annotated[str, StringConstraints(min_length=1, max_length=accounts.LONGEST)]


class Session(BaseModel):
    """Who is signed in. `csrf` goes in the header X-CSRF-Token of every change within the session; a token has none."""

    user: UUID
    name: str
    cvr: str
    roles: list[Role]
    csrf: str | None

    @classmethod
    def of(cls, user: User) -> Session:
        """Tell who it is."""
        csrf = user.csrf if user.session else None
        return cls(user=user.id, name=user.name, cvr=user.cvr, roles=sorted(user.roles), csrf=csrf)


@router.post("/session", status_code=201)
async def sign_in(asked: Credentials, request: Request, response: Response, office: In) -> Session:
    """Sign in with a local account. The session is a cookie, always a new one; what was there before has ended."""
    secret, user = await open_by_password(office, request, login=asked.login, password=asked.password)
    set_cookie(response, secret)
    return Session.of(user)


async def open_by_password(office: Office, request: Request, *, login: str, password: str) -> tuple[str, User]:
    """Open a session with a local account; what the browser had before ends. `LoginRefused`, `TooManyLogins`."""
    account_id = await accounts.check_password(
        office.store,
        office.vault,
        login=login,
        password=password,
        address=_address(request),
        now=office.clock.now(),
        machine=office.machine(),
    )
    before = request.cookies.get(COOKIE)
    async with office.store.tx() as tx:
        secret = await accounts.open_session(
            tx, account_id, before=before, now=office.clock.now(), machine=office.machine()
        )
    user = await accounts.holder(office.store, secret, "session", machine=office.machine())
    if user is None:
        raise NotThere
    return secret, user


def _address(request: Request) -> str:
    """Say from where somebody signs in; nothing of a proxy on this machine, behind which everybody has one address."""
    host = request.client.host if request.client else ""
    return "" if not host or ipaddress.ip_address(host).is_loopback else host


@router.get("/session")
async def who_am_i(user: Signed) -> Session:
    """Say who is signed in."""
    return Session.of(user)


@router.delete("/session", status_code=204)
async def sign_out(user: Signed, response: Response, office: In) -> None:
    """Sign out: the session opens nothing any more."""
    await close_session(office, user)
    clear_cookie(response)


async def close_session(office: Office, user: User) -> None:
    """End the session, or the token, with which somebody is signed in."""
    async with office.store.tx() as tx:
        await accounts.end(tx, user.credential, account_id=user.id, by=user.actor, now=office.clock.now())


# --- at the provider ---

BEGUN: Final = "__Host-sygefravaer-login"  # binds the sign-in to the browser that began it
BEGIN_SECONDS: Final = int(accounts.BEGIN.total_seconds())
_DONE: Final = (
    '<!doctype html><html lang="da"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>Logget ind</title><p><a href="/">Du er logget ind</a></p></html>'
)
"""A page of our own, not a redirect: a browser sends a strict cookie only to where our own page leads."""


@router.get("/session/provider", status_code=303, response_class=RedirectResponse)
async def begin_at_provider(office: In) -> RedirectResponse:
    """Go to the provider to sign in."""
    begun = await _provider(office).begin()
    async with office.store.tx() as tx:
        await accounts.begin(
            tx,
            state=begun.state,
            nonce=begun.nonce,
            verifier=office.vault.seal(begun.verifier.encode(), context=VERIFIER),
            machine=office.machine(),
        )
    response = RedirectResponse(begun.url, status_code=303)
    response.set_cookie(BEGUN, begun.state, max_age=BEGIN_SECONDS, path="/", secure=True, httponly=True, samesite="lax")
    return response


@router.get("/session/provider/back", response_class=HTMLResponse)
async def back_from_provider(
    request: Request,
    office: In,
    code: Annotated[str | None, Query(max_length=2_000)] = None,
    state: Annotated[str | None, Query(max_length=200)] = None,
) -> HTMLResponse:
    """Come back from the provider: the code is changed for its word, once, in the browser that began."""
    provider = _provider(office)
    try:
        secret = await _back(office, provider, request, code=code, state=state)
    except LoginRefused as error:
        async with office.store.tx() as tx:
            await audit.record(
                tx, audit.Event.SESSION_REFUSED, now=office.clock.now(), code=error.code, reason=error.detail or None
            )
        raise
    response = HTMLResponse(_DONE)
    set_cookie(response, secret)
    response.delete_cookie(BEGUN, path="/", secure=True, httponly=True, samesite="lax")
    return response


async def _back(office: Office, provider: Provider, request: Request, *, code: str | None, state: str | None) -> str:
    mine = request.cookies.get(BEGUN, "")
    if not state or not hmac.compare_digest(mine.encode(), state.encode()):
        raise LoginRefused("The answer belongs to no sign-in that this browser began.")
    async with office.store.tx() as tx:
        begun = await accounts.begun(tx, state=state, machine=office.machine())
    if begun is None:
        raise LoginRefused("The sign-in was answered before, or began too long ago.")
    if not code:
        raise LoginRefused("The provider refused it.")
    verifier = office.vault.open(bytes(begun["verifier"]), context=VERIFIER).decode()
    who = await provider.vouched(code, nonce=begun["nonce"], verifier=verifier)
    async with office.store.tx() as tx:
        account_id = await accounts.provided(
            tx,
            issuer=provider.login.issuer,
            subject=who.subject,
            person=who.person,
            name=who.name,
            cvr=who.cvr,
            roles=who.roles,
            now=office.clock.now(),
        )
        return await accounts.open_session(
            tx, account_id, before=request.cookies.get(COOKIE), now=office.clock.now(), machine=office.machine()
        )


def _provider(office: Office) -> Provider:
    if office.provider is None:
        raise NotThere
    return office.provider


# --- tokens ---


class Token(BaseModel):
    """A token, as it is listed."""

    token: UUID
    name: str
    created_at: datetime
    expires_at: datetime


class NewToken(BaseModel):
    """A token as it is made: `secret` is shown this once."""

    token: UUID
    secret: str


class TokenAsked(rest.Body):
    """What the token is for."""

    name: rest.Text


@own_tokens.get("/tokens")
async def list_tokens(user: Signed, office: In) -> list[Token]:
    """List one's own tokens."""
    async with office.store.read() as tx:
        rows = await accounts.tokens(tx, user.id)
    return [
        Token(token=row["credential_id"], **{name: row[name] for name in row if name != "credential_id"})
        for row in rows
    ]


@own_tokens.post("/tokens", status_code=201)
async def make_token(asked: TokenAsked, user: Signed, office: In) -> NewToken:
    """Make a token of one's own account, for programs: it may do what the account may, for ninety days."""
    async with office.store.tx() as tx:
        secret, token = await accounts.make_token(
            tx, user.id, name=asked.name, by=user.actor, now=office.clock.now(), machine=office.machine()
        )
    return NewToken(token=token, secret=secret)


@own_tokens.delete("/tokens/{token}", status_code=204)
async def end_token(token: UUID, user: Signed, office: In) -> None:
    """Take one of one's own tokens back."""
    async with office.store.tx() as tx:
        if not await accounts.end(tx, token, account_id=user.id, by=user.actor, now=office.clock.now()):
            raise NotThere

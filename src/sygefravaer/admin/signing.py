# SPDX-License-Identifier: MPL-2.0
"""Signing in and out with a local account, and tokens for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, StringConstraints

from sygefravaer.admin import accounts, rest
from sygefravaer.admin.access import COOKIE, Role, Signed, User, clear_cookie, set_cookie
from sygefravaer.admin.office import In
from sygefravaer.errors import NotThere

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
    account_id = await accounts.check_password(
        office.store,
        office.vault,
        login=asked.login,
        password=asked.password,
        address=request.client.host if request.client else "",
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
    set_cookie(response, secret)
    return Session.of(user)


@router.get("/session")
async def who_am_i(user: Signed) -> Session:
    """Say who is signed in."""
    return Session.of(user)


@router.delete("/session", status_code=204)
async def sign_out(user: Signed, response: Response, office: In) -> None:
    """Sign out: the session opens nothing any more."""
    async with office.store.tx() as tx:
        await accounts.end(tx, user.credential, account_id=user.id, by=user.actor, now=office.clock.now())
    clear_cookie(response)


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
    """Make a token of one's own account, for programs: it may do what the account may, for a year."""
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

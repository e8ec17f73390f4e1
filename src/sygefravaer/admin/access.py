# SPDX-License-Identifier: MPL-2.0
"""
Who asks, and whether he may.

1. A token (`Authorization: Bearer`) or else a session's cookie says who asks; a change within a session carries its
   CSRF token too. Nothing else does: no header that a proxy or a caller could write.
2. The endpoint says which roles may ask (`needs`).
3. Whoever is neither operator nor auditor sees and does what is of his own organisation (`must_own`, `must_see`).

A refusal is raised, and recorded by the door in one place.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from sygefravaer.admin.accounts import Role, User, holder
from sygefravaer.admin.office import Office, office_of
from sygefravaer.errors import NotAllowed, NotSignedIn, NotThere, NotYours, TokenMissing

COOKIE: Final = "__Host-sygefravaer"  # the prefix: browsers take it only when Secure, for this host and all of it
CSRF: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf"  # the same, in a form
FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
LIVE: Final = "X-Live"  # what a page asks by itself: nobody has been there, and the session gets no longer for it
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SECRET_MAX: Final = 128  # characters; ours have 43

__all__ = ["COOKIE", "CSRF", "Role", "Signed", "User", "must_own", "must_see", "needs", "signed_in", "whoever"]

_BEARER: Final = HTTPBearer(auto_error=False, description="A token of an account (POST /tokens).")
_SESSION: Final = APIKeyCookie(name=COOKIE, auto_error=False, description="A session (POST /session).")


async def signed_in(request: Request) -> User:
    """Give the signed-in user; `NotSignedIn`, and `TokenMissing` for a change within a session without its token."""
    user = await whoever(request)
    if user is None:
        raise NotSignedIn
    request.state.user = user
    if user.session and request.method not in SAFE:
        shown = await _token(request)
        if not hmac.compare_digest(shown.encode(), user.csrf.encode()):
            raise TokenMissing
    return user


async def whoever(request: Request) -> User | None:
    """Give the signed-in user, if there is one, whatever he may: what a page of everybody's shows of him."""
    if not hasattr(request.state, "holder"):
        request.state.holder = await _holder(request, office_of(request))
    return cast("User | None", request.state.holder)


async def _token(request: Request) -> str:
    """Give the CSRF token of a change: a program's in the header, a form's in its field."""
    shown = request.headers.get(CSRF)
    if shown is not None or request.headers.get("content-type", "").partition(";")[0] not in FORMS:
        return shown or ""
    field = (await request.form()).get(CSRF_FIELD, "")
    return field if isinstance(field, str) else ""


async def _holder(request: Request, office: Office) -> User | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or len(token) > SECRET_MAX:
            return None
        return await holder(office.store, token.strip(), "token", machine=office.machine())
    cookie = request.cookies.get(COOKIE)
    if cookie is None or len(cookie) > SECRET_MAX:
        return None
    seen = LIVE not in request.headers
    return await holder(office.store, cookie, "session", machine=office.machine(), seen=seen)


async def _documented(
    user: Annotated[User, Depends(signed_in)],
    _bearer: Annotated[object, Security(_BEARER)],
    _cookie: Annotated[object, Security(_SESSION)],
) -> User:
    return user


Signed = Annotated[User, Depends(_documented)]
"""The signed-in user, as an endpoint's parameter."""


def needs(*roles: Role) -> Callable[..., Coroutine[Any, Any, User]]:
    """Make a dependency that gives the signed-in user when he has one of the roles; raises `NotAllowed`."""

    async def checked(user: Signed) -> User:
        if not user.roles & set(roles):
            raise NotAllowed
        return user

    return checked


def must_own(user: User, cvr: str) -> None:
    """Raise `NotYours` unless the CVR number is the user's own, or he sees everything."""
    if cvr != user.cvr and not user.everywhere:
        raise NotYours


def must_see(user: User, *cvrs: str | None) -> None:
    """Raise what an unknown id raises unless one of the CVR numbers is the user's own, or he sees everything."""
    if user.cvr not in cvrs and not user.everywhere:
        raise NotThere(foreign=True)


def set_cookie(response: Response, secret: str) -> None:
    """Give the browser its session: for this host only, never to a script, never from another site's page."""
    response.set_cookie(COOKIE, secret, path="/", secure=True, httponly=True, samesite="strict")


def clear_cookie(response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")

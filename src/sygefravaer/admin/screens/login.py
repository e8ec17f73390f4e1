# SPDX-License-Identifier: MPL-2.0
"""Signing in and out: with a local account, or at the provider."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Form, Query, Request, Response

from sygefravaer.admin.access import Signed, clear_cookie, set_cookie
from sygefravaer.admin.accounts import LONGEST
from sygefravaer.admin.office import In
from sygefravaer.admin.problems import problem_of
from sygefravaer.admin.rest import PREFIX
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.refusing import LOGIN
from sygefravaer.admin.screens.texts import danish
from sygefravaer.admin.signing import close_session, open_by_password
from sygefravaer.errors import LoginRefused, TokenMissing, TooManyLogins

SCREEN: Final = Screen(
    name="login",
    path=LOGIN,
    label=danish("Log ind"),
    roles=None,
    in_menu=False,
    done={"out": danish("Du er logget ud.")},
)
PAGE: Final = "login/page.html"
router: Final = SCREEN.router()


@router.get(SCREEN.path)
async def page(
    view: Seen, office: In, *, leads: Annotated[str, Query(alias="next", max_length=2000)] = "/"
) -> Response:
    """Show the form."""
    return _form(view, leads=leads, provider=office.provider is not None)


@router.post(SCREEN.path)
async def sign_in(
    request: Request,
    view: Seen,
    office: In,
    *,
    login: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=LONGEST)] = "",
    leads: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    """Sign in with a local account, and go where one was going."""
    _from_here(request)
    try:
        secret, _user = await open_by_password(office, request, login=login, password=password)
    except (LoginRefused, TooManyLogins) as error:
        return _form(view, leads=leads, provider=office.provider is not None, login=login, refused=error)
    response = view.go(_inside(leads))
    set_cookie(response, secret)
    return response


@router.post("/logout")
async def sign_out(user: Signed, view: Seen, office: In) -> Response:
    """Sign out."""
    await close_session(office, user)
    response = view.go(SCREEN.path, done="out")
    clear_cookie(response)
    return response


def _form(
    view: View, *, leads: str, provider: bool, login: str = "", refused: LoginRefused | TooManyLogins | None = None
) -> Response:
    return view.page(
        PAGE,
        status=200 if refused is None else refused.status,
        leads=_inside(leads),
        provider=f"{PREFIX}/session/provider" if provider else None,
        login=login,
        refused=None if refused is None else problem_of(refused),
    )


def _inside(path: str) -> str:
    """Give a path of ours that somebody asked to be led to; anywhere else is the front page."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else "/"


def _from_here(request: Request) -> None:
    """Refuse a sign-in that another site's page sends: it would sign a person in as somebody else."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise TokenMissing

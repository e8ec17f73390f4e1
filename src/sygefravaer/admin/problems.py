# SPDX-License-Identifier: MPL-2.0
"""
Every error as a problem (RFC 9457): our stable code, who must act, what to try, and never the value that was wrong.

A refusal that a signed-in person gets is a row in the record; there is one place for that, and it is here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sygefravaer import audit
from sygefravaer.admin.accounts import User
from sygefravaer.admin.office import office_of
from sygefravaer.errors import (
    AdminRefused,
    BodyTooLarge,
    Conflict,
    DeliveryRefused,
    FieldsWrong,
    NotThere,
    NotYours,
    StoreError,
    SygefravaerError,
    UsageError,
)

LOG: Final = logging.getLogger(__name__)

MEDIA: Final = "application/problem+json"
BODY_MAX: Final = 1024 * 1024
_RETRY: Final = "60"  # seconds
_HIDDEN: Final = "(unknown)"

# What pydantic calls an error, as what was wanted; its own sentences may hold a piece of the value.
_WANTED: Final[Mapping[str, str]] = {
    "missing": "required",
    "extra_forbidden": "not a field here",
    "json_invalid": "JSON",
    "uuid_parsing": "a UUID",
    "uuid_type": "a UUID",
    "date_from_datetime_parsing": "a date (YYYY-MM-DD)",
    "date_parsing": "a date (YYYY-MM-DD)",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a string",
    "string_too_short": "a longer string",
    "string_too_long": "a shorter string",
    "string_pattern_mismatch": "a string of the form that the description gives",
    "list_type": "a list",
    "dict_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
}


def problem_of(error: SygefravaerError) -> dict[str, Any]:
    """Say an error as the body of a problem."""
    status = status_of(error)
    text = error.detail if isinstance(error, UsageError) and error.detail else error.text
    told: dict[str, Any] = {
        "type": f"urn:sygefravaer:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text,
        "code": error.code,
        "who": error.who.value,
        "try": getattr(error, "try_this", "") or error.hint,
    }
    if isinstance(error, FieldsWrong):
        told["fields"] = [{"place": place, "wanted": wanted} for place, wanted in error.fields]
    return told | dict(getattr(error, "more", {}))


def status_of(error: SygefravaerError) -> int:
    """Say which HTTP status an error has."""
    if isinstance(error, AdminRefused):
        return error.status
    if isinstance(error, UsageError):
        return 422
    if isinstance(error, DeliveryRefused | Conflict):
        return 409
    return 503 if isinstance(error, StoreError) and error.retryable else 500


def answer_of(error: SygefravaerError) -> JSONResponse:
    """Answer with a problem."""
    told = problem_of(error)
    headers = {}
    if told["status"] in {429, 503}:
        headers["Retry-After"] = _RETRY
    if told["status"] == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(told, status_code=told["status"], media_type=MEDIA, headers=headers)


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of ours, and write down what a person was refused."""
    if not isinstance(error, SygefravaerError):
        raise error
    await write_down(request, error)
    return answer_of(error)


async def write_down(request: Request, error: SygefravaerError) -> None:
    """Write down what a signed-in person was refused."""
    user = getattr(request.state, "user", None)
    foreign = isinstance(error, NotThere) and error.foreign
    if isinstance(user, User) and (foreign or getattr(error, "recorded", False)):
        route = request.scope.get("route")
        told = {"method": request.method, "endpoint": getattr(route, "path", None)}  # never the path as it came
        office = office_of(request)
        async with office.store.tx() as tx:
            await audit.record(
                tx,
                audit.Event.ACCESS_REFUSED,
                now=office.clock.now(),
                code=NotYours.code if foreign else error.code,
                detail=user.actor.plain() | told,
            )


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Name the fields, and what was wanted of each; an unknown field is not named, since its name came from outside."""
    if not isinstance(error, RequestValidationError):
        raise error
    return answer_of(fields_of(error))


def fields_of(error: RequestValidationError) -> FieldsWrong:
    """Say which fields were wrong, and what was wanted of each."""
    return FieldsWrong(tuple(_field(one) for one in error.errors()))


def _field(told: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(told["type"])
    place = [str(step) for step in told["loc"]]
    if kind == "extra_forbidden":
        place[-1] = _HIDDEN
    if kind == "json_invalid":
        place = place[:1]
    wanted = _WANTED.get(kind)
    if wanted is None:  # bounds and choices come from the description, not from the caller
        said = told.get("ctx", {})
        wanted = next((f"{name} {said[name]}" for name in ("expected", "ge", "le", "gt", "lt") if name in said), kind)
    return ".".join(place), wanted


async def _http(_request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses by itself: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    told = {
        "type": f"urn:sygefravaer:problem:Http{status.value}",
        "title": status.phrase,
        "status": status.value,
        "detail": status.description or status.phrase,
        "code": f"Http{status.value}",
        "who": "caller",
        "try": "Compare the request with /api/v1/openapi.json.",
    }
    return JSONResponse(told, status_code=status.value, media_type=MEDIA, headers=error.headers)


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    """Answer; `Guard`, to which the framework raises it again, writes the line in the log."""
    return answer_of(Unforeseen())


def speak_problems(app: FastAPI) -> None:
    """Let an application answer every error as a problem."""
    app.add_exception_handler(SygefravaerError, refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


class Guard:
    """The outermost: refuses a body that is too large; what nobody foresaw becomes a problem and a line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_MAX:
                raise BodyTooLarge
            return message

        async def sent(message: Message) -> None:
            nonlocal begun
            if size <= BODY_MAX:  # else the framework has made its own of it
                begun = True
                await send(message)

        try:
            await self._app(scope, counted, sent)
        except Exception as error:  # noqa: BLE001  the last place where it can be answered
            if not isinstance(error, SygefravaerError):
                said = {"kind": type(error).__name__, "at": _place(error)}  # its text may hold a value
                LOG.error("admin.failed", extra=said)  # noqa: TRY400
            if not begun:
                await answer_of(error if isinstance(error, SygefravaerError) else Unforeseen())(scope, receive, send)
            return
        if not begun:
            await answer_of(BodyTooLarge())(scope, receive, send)


class Unforeseen(SygefravaerError):
    """The administration failed while it answered."""

    code = "InternalError"
    hint = "Try again; if it goes on, ask the operator, naming the time."


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"

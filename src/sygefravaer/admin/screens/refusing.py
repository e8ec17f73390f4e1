# SPDX-License-Identifier: MPL-2.0
"""Every error as a page in the frame, or as a problem for who asks for JSON; nobody signed in is led to sign in."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sygefravaer.admin.access import LIVE
from sygefravaer.admin.problems import MEDIA, Unforeseen, answer_of, fields_of, problem_of, write_down
from sygefravaer.admin.screens.frame import View, view_of
from sygefravaer.admin.screens.texts import danish
from sygefravaer.errors import NotSignedIn, StoreError, SygefravaerError

LOG: Final = logging.getLogger(__name__)
LOGIN: Final = "/login"
TEMPLATE: Final = "frame/problem.html"
_TITLES: Final = {
    HTTPStatus.FORBIDDEN: danish("Det må du ikke"),
    HTTPStatus.NOT_FOUND: danish("Siden findes ikke"),
    HTTPStatus.METHOD_NOT_ALLOWED: danish("Det kan siden ikke"),
    HTTPStatus.CONFLICT: danish("Det kan ikke lade sig gøre nu"),
    HTTPStatus.PRECONDITION_FAILED: danish("Andre har ændret det imens"),
    HTTPStatus.UNPROCESSABLE_ENTITY: danish("Noget er ikke udfyldt rigtigt"),
    HTTPStatus.TOO_MANY_REQUESTS: danish("For mange forsøg"),
    HTTPStatus.BAD_GATEWAY: danish("Udbyderen af log ind svarer ikke"),
    HTTPStatus.SERVICE_UNAVAILABLE: danish("Databasen svarer ikke"),
}
_OTHER: Final = danish("Noget gik galt")


def speak_pages(app: FastAPI) -> None:
    """Let an application answer every error as a page."""
    app.add_exception_handler(SygefravaerError, refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def refused(request: Request, error: Exception) -> Response:
    """Answer an error of ours, and write down what a person was refused."""
    if not isinstance(error, SygefravaerError):
        raise error
    if isinstance(error, NotSignedIn) and not _wants_json(request):
        return _to_login(request)
    await write_down(request, error)
    if _wants_json(request):
        return answer_of(error)
    return await _page(request, error)


async def _page(request: Request, error: SygefravaerError) -> Response:
    try:
        view = await view_of(request)
    except StoreError:  # then nobody knows who asks; the page is drawn for nobody
        view = View(request.app.state.frame, request, None)
    told = problem_of(error)
    response = view.page(TEMPLATE, status=told["status"], title=title_of(told["status"]), problem=told)
    if told["status"] in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        response.headers["Retry-After"] = "60"
    return response


def title_of(status: int) -> str:
    """Give the Danish heading of an error page."""
    return _TITLES.get(HTTPStatus(status), _OTHER)


def _to_login(request: Request) -> Response:
    """Lead to the page where people sign in, and from there back; a form that was sent is not sent again."""
    query = f"?{request.url.query}" if request.url.query else ""
    where = f"{LOGIN}?{urlencode({'next': request.url.path + query})}" if request.method == "GET" else LOGIN
    if LIVE in request.headers:  # the stream says that the session is over; nobody is led away from what he reads
        return Response(status_code=204)
    if "hx-request" in request.headers:  # a part of a page: the whole page goes
        return Response(status_code=401, headers={"HX-Redirect": LOGIN})
    return Response(status_code=303, headers={"Location": where})


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return await refused(request, fields_of(error))


async def _http(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses by itself: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    told = _told(error)
    if _wants_json(request):
        return JSONResponse(told, status_code=error.status_code, media_type=MEDIA, headers=error.headers)
    view = await view_of(request)
    response = view.page(TEMPLATE, status=error.status_code, title=title_of(error.status_code), problem=told)
    response.headers.update(error.headers or {})
    return response


def _told(error: HTTPException) -> dict[str, Any]:
    status = HTTPStatus(error.status_code)
    return {
        "type": f"urn:sygefravaer:problem:Http{status.value}",
        "title": status.phrase,
        "status": status.value,
        "detail": status.description or status.phrase,
        "code": f"Http{status.value}",
        "who": "caller",
        "try": "",
    }


async def _unforeseen(request: Request, _error: Exception) -> Response:
    """Answer what nobody foresaw; the framework raises it again, and the outermost door writes the line in the log."""
    return answer_of(Unforeseen()) if _wants_json(request) else await _page(request, Unforeseen())


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or ("application/json" in accepted and "text/html" not in accepted)

# SPDX-License-Identifier: MPL-2.0
"""
The API of the administration, under `/api/v1`: its description is `/api/v1/openapi.json` (OpenAPI 3.1).

What every endpoint has in common is here: pages of lists, versions (ETag and If-Match), texts. A module of endpoints
makes its router with `router()`, and stands in `routers()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.types import ASGIApp

from sygefravaer import __version__
from sygefravaer.admin.office import Office
from sygefravaer.admin.once import HEADER, Once
from sygefravaer.admin.problems import MEDIA, Guard, speak_problems
from sygefravaer.errors import VersionChanged, VersionMissing

PREFIX: Final = "/api/v1"
PAGE: Final = 50
PAGE_MAX: Final = 200
_TAG: Final = re.compile(r'"([0-9]{1,9})"')

ItemT = TypeVar("ItemT")

_PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
"""A line of text: a name, a login."""
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
"""Words that a person writes: a reason."""
CvrText = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}$")]
CvrInPath = Annotated[str, Path(pattern=r"^[0-9]{8}$", description="A CVR number.")]


class Body(BaseModel):
    """What a request may hold: its fields and no other."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Every error (RFC 9457), with our code, who must act and what to try."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    who: str


@dataclass(frozen=True, kw_only=True)
class Page(Generic[ItemT]):
    """Some of a list; `next` is the `after` of the following page, or null."""

    items: list[ItemT]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class Paging:
    """What part of a list is asked for. `wanted` is one more than is shown: it says whether there is a next page."""

    limit: int
    after: UUID | None

    @property
    def wanted(self) -> int:
        """How many rows to read."""
        return self.limit + 1

    def page(self, rows: Sequence[ItemT], key: Callable[[ItemT], object]) -> Page[ItemT]:
        """Make the page of what was read; `key` gives the id of an item."""
        shown = list(rows[: self.limit])
        return Page(items=shown, next=str(key(shown[-1])) if len(rows) > self.limit else None)


def _paging(
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="So many at most.")] = PAGE,
    after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> Paging:
    return Paging(limit=limit, after=after)


Paged = Annotated[Paging, Depends(_paging)]
"""Paging, as an endpoint's parameter. Lists are in a stable order: what is new comes last."""


def _if_match(if_match: Annotated[str | None, Header(description="The ETag of what was read.")] = None) -> int:
    if if_match is None:
        raise VersionMissing
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        raise VersionChanged
    return int(found[1])


IfMatch = Annotated[int, Depends(_if_match)]
"""The version that a change is a change of, as an endpoint's parameter; `VersionMissing`, `VersionChanged`."""


def tag(response: Response, version: int) -> None:
    """Say the version of what is answered."""
    response.headers["ETag"] = f'"{version}"'


def _idempotency(
    _key: Annotated[
        str | None,
        Header(alias=HEADER, max_length=128, description="The same key: done once, answered the same each time."),
    ] = None,
) -> None:
    """Stand in the description; `Once` obeys it."""


def router(tag_name: str, *, once: bool = True) -> APIRouter:
    """Make a router; `once`: its POSTs obey `Idempotency-Key`, which needs a signed-in user."""
    problems: dict[int | str, dict[str, Any]] = {
        "default": {
            "description": "A problem",
            "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    if not once:
        return APIRouter(tags=[tag_name], responses=problems)
    return APIRouter(tags=[tag_name], responses=problems, route_class=Once, dependencies=[Depends(_idempotency)])


def routers() -> tuple[APIRouter, ...]:
    """Give the routers of all modules of endpoints."""
    from sygefravaer.admin import (  # noqa: PLC0415
        agreeing,
        people,
        proposing,
        registers,
        rest_messages,
        rest_record,
        rest_watch,
        routing,
        signing,
    )

    return (
        signing.router,
        signing.own_tokens,
        registers.router,
        agreeing.router,
        routing.router,
        proposing.router,
        people.router,
        rest_watch.router,
        rest_record.router,
        rest_messages.router,
    )


def api(office: Office) -> ASGIApp:
    """Build the API."""
    return Guard(application(office))


def application(office: Office) -> FastAPI:
    """Build the API without its guard: what its description is read from."""
    app = FastAPI(
        title="Sygefravaer administration",
        version=__version__,
        description="Organisations, systems, certificates, agreements, routes: who may do what, who did what.",
        docs_url=None,
        redoc_url=None,
        root_path_in_servers=False,
        servers=[{"url": PREFIX}],
    )
    app.state.office = office
    speak_problems(app)
    for one in routers():
        app.include_router(one)
    described = app.openapi

    def with_problem() -> dict[str, Any]:
        told = described()
        schemas = told.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        return told

    app.openapi = with_problem  # type: ignore[method-assign]  # FastAPI's own way to add to a description
    return app

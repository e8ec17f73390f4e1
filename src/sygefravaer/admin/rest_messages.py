# SPDX-License-Identifier: MPL-2.0
"""Messages and cases, looked through, opened, exported, let go again; a citizen's number comes in a body alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, SecretStr, StringConstraints

from sygefravaer.admin import looking, rest
from sygefravaer.admin.access import Role, Signed, User, needs
from sygefravaer.admin.office import In
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.plain import to_plain
from sygefravaer.delivery import browsing
from sygefravaer.delivery.browsing import Filter
from sygefravaer.errors import UsageError
from sygefravaer.lanes import Status

router: Final = rest.router("messages", once=False)

Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Reader = Annotated[User, Depends(needs(*looking.READERS))]
Number = Annotated[int, Path(ge=1, le=2**62, description="A message's number.")]
Cvr = Annotated[str | None, Query(pattern="^[0-9]{8}$")]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Cause = Annotated[str | None, Query(max_length=200, description="What went wrong, as the groups name it.")]
Place = Annotated[int | None, Query(ge=1, le=2**62)]
State = Literal["queued", "sending", "delivered", "refused", "parked", "discarded"]
CSV: Final = "text/csv; charset=utf-8"


def _filter(  # noqa: PLR0917  as the query is
    operation: Annotated[list[str] | None, Query(description="Of this operation; repeatable.")] = None,
    direction: Annotated[Literal["ksd", "jobcenter"] | None, Query(description="Towards whom.")] = None,
    status: Annotated[list[State] | None, Query(description="In this state; repeatable.")] = None,
    municipality: Cvr = None,
    system: Annotated[UUID | None, Query(description="Sent or received by this system.")] = None,
    since: Annotated[datetime | None, Query(description="Accepted from then on, with its offset.")] = None,
    until: Annotated[datetime | None, Query(description="Accepted before then.")] = None,
    cause: Cause = None,
) -> Filter:
    return filter_of(
        operations=operation or (),
        direction=direction,
        statuses=status or (),
        municipality=municipality,
        system=system,
        since=since,
        until=until,
        cause=cause,
    )


def filter_of(
    *, operations: list[str] | tuple[str, ...], direction: str | None, statuses: Any, **narrowed: Any
) -> Filter:
    """Make a filter of what was asked; raises `UsageError`."""
    if set(operations) - set(OPERATIONS):
        raise UsageError("OperationUnknown", f"The operation is none of {', '.join(OPERATIONS)}.")
    for name in ("since", "until"):
        at = narrowed.get(name)
        if at is not None and at.tzinfo is None:
            raise UsageError("DateMalformed", f"`{name}` is a time without its offset.")
    chosen = tuple(operations)
    if direction is not None:
        towards = browsing.towards(ksd=direction == "ksd")
        chosen = tuple(name for name in towards if not chosen or name in chosen) or ("",)
    return Filter(operations=chosen, statuses=tuple(Status(one) for one in statuses), **narrowed)


Filtered = Annotated[Filter, Depends(_filter)]


class Look(rest.Body):
    """A citizen whose messages are looked for, and why."""

    citizen: Annotated[SecretStr, Field(min_length=10, max_length=11, description="A citizen's number.")]
    purpose: rest.Words
    municipality: rest.CvrText | None = None


class Open(rest.Body):
    """With a purpose everything is shown, the citizen's number too; without one it is masked."""

    purpose: rest.Words | None = None


class Planned(rest.Body):
    """The plan of the replay, as it was shown."""

    plan: Digest


class Ended(rest.Body):
    """Why a message is given up; no citizen's number stands in it."""

    reason: rest.Words


@router.get("/messages")
async def list_messages(
    *,
    wanted: Filtered,
    user: Signed,
    office: In,
    before: Place = None,
    after: Place = None,
    page: Annotated[int | None, Query(ge=1, le=browsing.LONGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=rest.PAGE_MAX)] = rest.PAGE,
) -> dict[str, Any]:
    """List messages, newest first; a vendor sees those of its systems, a municipality its own."""
    found = await looking.page(office, user, wanted, before=before, after=after, number=page, size=limit)
    return _listed(found)


@router.get("/messages/faults")
async def list_faults(wanted: Filtered, user: Signed, office: In) -> list[dict[str, Any]]:
    """Group what did not go straight through by state, cause and recipient."""
    return [to_plain(dict(row)) for row in await looking.faults(office, user, wanted)]


@router.post("/messages/search")
async def search_messages(
    asked: Look, wanted: Filtered, user: Reader, office: In, page: Annotated[int, Query(ge=1, le=1000)] = 1
) -> dict[str, Any]:
    """List a citizen's messages; that somebody looks for them is a row of the record before."""
    look = await looking.look_for(
        office, user, asked.citizen.get_secret_value(), asked.purpose, municipality=asked.municipality
    )
    persons = await looking.persons_of(office, user, look)
    narrowed = replace(wanted, persons=persons, municipality=asked.municipality or wanted.municipality)
    return _listed(await looking.page(office, user, narrowed, number=page))


@router.get("/messages/export", response_class=Response)
async def export_messages(wanted: Filtered, user: Signed, office: In) -> Response:
    """Take messages out as CSV, a hundred thousand at most: no cell is a formula, no row more than a line."""
    lines = await looking.export(office, user, wanted)
    return StreamingResponse(
        lines, media_type=CSV, headers={"Content-Disposition": 'attachment; filename="messages.csv"'}
    )


@router.get("/messages/{message}")
async def show_message(message: Number, user: Signed, office: In) -> dict[str, Any]:
    """Tell all that is known of a message, but what it says."""
    told: dict[str, Any] = to_plain(await looking.seen(office, user, message))
    return told


@router.post("/messages/{message}/content")
async def open_message(message: Number, asked: Open, user: Reader, office: In) -> dict[str, Any]:
    """Show what a message says, at both of its ends, judged by the schema; that somebody looks is recorded before."""
    found = await looking.content(office, user, message, purpose=asked.purpose)
    documents = {"sent": found.sent, "delivered": found.delivered, "receipt": found.receipt}
    return {
        "message_id": message,
        "unchanged": found.unchanged,
        **{
            name: None if one is None else {"xml": "\n".join(one.lines), "valid": not one.wrong, "wrong": one.wrong}
            for name, one in documents.items()
        },
    }


@router.post("/messages/{message}/replay/plan")
async def plan_message(message: Number, _user: Operator, office: In) -> dict[str, Any]:
    """Say what a replay of this message would do; nothing is changed."""
    return (await looking.replay_plan(office, message)).plain()


@router.post("/messages/{message}/replay")
async def replay_message(message: Number, asked: Planned, user: Operator, office: In) -> dict[str, Any]:
    """Let one parked message go again as its plan showed; for more than one see the proposals."""
    done = await looking.replay_one(office, user, message, asked.plan)
    return {"replayed": list(done.replayed), "moved": list(done.moved), "left": [list(one) for one in done.left]}


@router.post("/messages/{message}/discard", status_code=204)
async def discard_message(message: Number, asked: Ended, user: Operator, office: In) -> None:
    """End a parked message for good; its sender must still hear of it."""
    await looking.discard(office, user, message, asked.reason)


@router.get("/cases/{case}")
async def show_case(
    case: UUID,
    user: Reader,
    office: In,
    at: Annotated[datetime | None, Query(description="What each side knew then, with its offset; now.")] = None,
) -> dict[str, Any]:
    """Show a case as its messages tell it, and what each side knew at a time; recorded before."""
    if at is not None and at.tzinfo is None:
        raise UsageError("DateMalformed", "`at` is a time without its offset.")
    found = await looking.case(office, user, case)
    return found.plain(at or office.clock.now())


def _listed(found: looking.Listed) -> dict[str, Any]:
    leaf = found.leaf
    return {
        "items": [to_plain(dict(row)) for row in leaf.rows],
        "number": min(found.number, browsing.COUNTED),
        "more": found.number > browsing.COUNTED,
        "before": leaf.rows[-1]["message_id"] if leaf.older and leaf.rows else None,
        "after": leaf.rows[0]["message_id"] if leaf.newer and leaf.rows else None,
    }

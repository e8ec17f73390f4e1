# SPDX-License-Identifier: MPL-2.0
"""
The record: searched, taken out, verified; a citizen's access report; look-ups drawn for the control of misuse.

A citizen's number comes in a body, never in an address. A municipality sees rows of its own alone. Every look is a row
of the record before anything is shown.
"""

from __future__ import annotations

import io
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Depends, Response
from fastapi.responses import JSONResponse
from pydantic import Field, SecretStr, StringConstraints

from sygefravaer import agreements, audit
from sygefravaer.admin import rest
from sygefravaer.admin.access import Role, User, must_own, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.audit import Event, Query, Reader
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import Cpr
from sygefravaer.delivery.evidence import heard_of, unrecorded
from sygefravaer.delivery.parked import check_words
from sygefravaer.errors import Refused, UsageError

router: Final = rest.router("record", once=False)

Watcher = Annotated[User, Depends(needs(Role.OPERATOR, Role.AUDITOR))]
Looker = Annotated[User, Depends(needs(Role.MUNICIPALITY, Role.OPERATOR, Role.AUDITOR))]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ ]{1,64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,64}$")]
MonthText = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}$")]
Number = Annotated[SecretStr, Field(min_length=10, max_length=11, description="A citizen's number.")]

MEDIA: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "text/plain; charset=utf-8"}


class Form(StrEnum):
    """As what rows are taken out."""

    CSV = "csv"
    JSONL = "jsonl"


class ReportForm(StrEnum):
    """As what a report is made."""

    PDF = "pdf"
    JSON = "json"


class Look(rest.Body):
    """What is looked for; all that is given must fit. About a citizen, or with `users`, a purpose is needed."""

    since: datetime | None = None
    until: datetime | None = None
    event: Event | None = None
    system: UUID | None = None
    municipality: rest.CvrText | None = None
    operation: Name | None = None
    outcome: Code | None = None
    call_uuid: UUID | None = None
    citizen: Number | None = None
    purpose: rest.Words | None = None
    users: bool = False


LookT = TypeVar("LookT", bound=Look)


class Search(Look):
    """Rows in the order in which they were written: those after row `after`, so many at most."""

    after: Annotated[int, Field(ge=0, le=2**62)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Export(Look):
    """Every row that fits, as a file."""

    format: Form = Form.CSV


class Report(rest.Body):
    """A citizen's access report, with the name to print, if any."""

    citizen: Number
    name: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    purpose: rest.Words
    format: ReportForm = ReportForm.PDF


class Draw(rest.Body):
    """Look-ups of a month that is over."""

    month: MonthText
    number: Annotated[int, Field(ge=1, le=1000)] = 20
    municipality: rest.CvrText | None = None
    purpose: rest.Words | None = None
    users: bool = False


@router.post("/record/search")
async def search_record(asked: Search, user: Looker, office: In) -> dict[str, Any]:
    """Show rows of the record."""
    rows, _ = await search_rows(asked, user, office)
    return {"rows": rows}


async def search_rows(
    asked: Search, user: User, office: Office, *, persons: tuple[bytes, ...] = ()
) -> tuple[list[dict[str, Any]], tuple[bytes, ...]]:
    """Search; `persons` are the keyed hashes of who a search before was about, and come back for the next."""
    query, reader = _query(asked, user, office, persons), _reader(user, office, asked.purpose)
    rows = await audit.search(
        office.store, office.vault, query, reader, limit=asked.limit, after=asked.after, users=asked.users
    )
    return rows, query.persons


@router.post("/record/export", response_class=Response)
async def export_record(asked: Export, user: Looker, office: In) -> Response:
    """Take rows of the record out: no cell is a formula, and no row more than a line."""
    return await export_rows(asked, user, office)


async def export_rows(asked: Export, user: User, office: Office, *, persons: tuple[bytes, ...] = ()) -> Response:
    """Make the file; `persons` are the keyed hashes of who a search before was about."""
    query, reader = _query(asked, user, office, persons), _reader(user, office, asked.purpose)
    out = io.StringIO(newline="")
    await audit.export(office.store, office.vault, query, reader, out, form=asked.format.value, users=asked.users)
    named = {"Content-Disposition": f'attachment; filename="record.{asked.format.value}"'}
    return Response(out.getvalue().encode(), media_type=MEDIA[asked.format.value], headers=named)


@router.get("/record/verification")
async def verify_record(_user: Watcher, office: In) -> dict[str, Any]:
    """Read the whole record, and say what is wrong with it; the tail that is not sealed yet is named as such."""
    return (await verified(office)).plain()


async def verified(office: Office, watch: audit.Watch = lambda _read, _of: None) -> audit.Report:
    """Verify the record with its key and anchors, telling how far it is; raises `UsageError`."""
    if office.record is None:
        raise UsageError(
            "SettingMissing", "`audit.key` and `audit.anchor` are missing in the administration's settings."
        )
    witness = audit.read_witness(office.record.anchor)
    return await audit.verify(
        office.store,
        key=audit.read_key(office.record.key),
        anchors=witness.anchors,
        lost=witness.lost,
        evidence=unrecorded,
        watch=watch,
    )


@router.post("/record/report", response_class=Response)
async def report_record(asked: Report, user: Looker, office: In) -> Response:
    """Make a citizen's access report (GDPR article 15), in Danish; a municipality's tells of its own uses."""
    from sygefravaer.audit.printing import as_pdf  # noqa: PLC0415  takes long to load

    reader = _reader(user, office, asked.purpose)
    async with office.store.read() as tx:
        systems = await agreements.system_names(tx)
    made = await audit.access_report(
        office.store,
        office.vault,
        _number(asked.citizen),
        reader,
        systems=systems,
        name=asked.name,
        municipality=_own(user, None),
    )
    if asked.format is ReportForm.JSON:
        return JSONResponse(made.plain())
    return Response(as_pdf(made), media_type="application/pdf")


@router.post("/record/sample")
async def sample_record(asked: Draw, user: Looker, office: In) -> dict[str, Any]:
    """Draw look-ups for the control of misuse: once for a month and municipality, and the same again."""
    drawn = await audit.sample(
        office.store,
        office.vault,
        audit.Month.of(asked.month),
        _reader(user, office, asked.purpose),
        number=asked.number,
        municipality=_own(user, asked.municipality),
        cases=heard_of,
        users=asked.users,
    )
    return drawn.plain()


def _query(asked: Look, user: User, office: Office, persons: tuple[bytes, ...] = ()) -> Query:
    if asked.operation is not None and asked.operation not in OPERATIONS:
        raise UsageError("OperationUnknown", f"The operation is none of {', '.join(OPERATIONS)}.")
    for at in (asked.since, asked.until):
        if at is not None and at.tzinfo is None:
            raise UsageError("DateMalformed", "A time has no offset.")
    return Query(
        since=asked.since,
        until=asked.until,
        event=asked.event,
        system=asked.system,
        municipality=_own(user, asked.municipality),
        operation=asked.operation,
        outcome=asked.outcome,
        call_uuid=asked.call_uuid,
        persons=persons if asked.citizen is None else office.vault.lookup_keys(_number(asked.citizen)),
    )


def _own(user: User, municipality: str | None) -> str | None:
    """Give whose rows are looked at: a municipality's own, whatever it asks; raises `NotYours` for another's."""
    if user.everywhere:
        return municipality
    must_own(user, municipality or user.cvr)
    return user.cvr


def _reader(user: User, office: Office, purpose: str | None) -> Reader:
    if purpose is not None:
        check_words(purpose, "The purpose")
    return Reader(who=user.actor.user, purpose=purpose, now=office.clock.now())


def _number(given: SecretStr) -> str:
    try:
        return Cpr.parse(given.get_secret_value().replace("-", "")).reveal()
    except Refused as error:
        raise UsageError("CprMalformed", "What was given is no personal number: ten digits, date first.") from error

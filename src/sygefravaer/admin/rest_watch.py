# SPDX-License-Identifier: MPL-2.0
"""What is watched: why a call would pass, how the services are and are used, mails, and what is known of revocation."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Path, Query
from pydantic import BaseModel, Field

from sygefravaer import agreements, usage
from sygefravaer.admin import rest
from sygefravaer.admin.access import Role, Signed, User, must_own, must_see, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.service_status import shown
from sygefravaer.agreements import organisations
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.errors import NotThere, UsageError
from sygefravaer.mail import Status, letters, resend
from sygefravaer.revocation import read_state
from sygefravaer.status import WINDOW, service_status
from sygefravaer.store import Tx
from sygefravaer.usage import Asked, By, Period

router: Final = rest.router("watch")

Watcher = Annotated[User, Depends(needs(Role.OPERATOR, Role.AUDITOR))]
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Town = Annotated[User, Depends(needs(Role.MUNICIPALITY, Role.OPERATOR))]
TownWatcher = Annotated[User, Depends(needs(Role.MUNICIPALITY, Role.OPERATOR, Role.AUDITOR))]
Cvr = Annotated[str, Query(pattern="^[0-9]{8}$")]
At = Annotated[datetime | None, Query(description="At which time, with its offset; now.")]
Thumbprint = Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the certificate.")]
OperationName = Annotated[str, Query(max_length=64, description="Which of the seven operations.")]


# --- explain ---


@router.get("/explain/access")
async def explain_access(  # noqa: PLR0917  as the query is
    certificate: Thumbprint, municipality: Cvr, operation: OperationName, user: Signed, office: In, at: At = None
) -> dict[str, Any]:
    """
    Say whether a call with a registered certificate would pass: each rule, what nearly matched, who must do what.

    A vendor asks about its own systems, a municipality about its own calls, operator and auditor about anything.
    """
    if operation not in OPERATIONS:
        raise UsageError("OperationUnknown", f"The operations are {', '.join(OPERATIONS)}.")
    async with office.store.read() as tx:
        known = await agreements.registered(tx, environment=office.environment, thumbprint=certificate)
        own = await _may_explain(tx, office, user, known, municipality)
        told = await agreements.explain_access(
            tx,
            known or agreements.Registered(issuer="", serial_key="", thumbprint=certificate),
            environment=office.environment,
            operation=OPERATIONS[operation],
            municipality_cvr=municipality,
            now=_aware(at) or office.clock.now(),
        )
    plain = told.plain()
    if not own:  # what else a vendor's system has is not the municipality's to see
        for step in plain["steps"]:
            step["near"] = []
    return plain


async def _may_explain(
    tx: Tx, office: Office, user: User, known: agreements.Registered | None, municipality: str
) -> bool:
    """Say whether all of the explanation is the user's to see; raises when none of it is."""
    if user.everywhere:
        return True
    if known is None or known.system_id is None:
        raise NotThere
    system = next(
        (
            one
            for one in await organisations.systems(tx, environment=office.environment, cvr=user.cvr)
            if one.system_id == known.system_id
        ),
        None,
    )
    if system is None:
        raise NotThere(foreign=True)
    if system.vendor_cvr != user.cvr:
        must_own(user, municipality)
    return system.vendor_cvr == user.cvr


@router.get("/explain/route")
async def explain_route(
    municipality: Cvr, user: TownWatcher, office: In, service: Service = Service.SYGEFRAVAER_JC, at: At = None
) -> dict[str, Any]:
    """Say which route counts for a municipality, and why each other one does not."""
    must_own(user, municipality)
    async with office.store.read() as tx:
        told = await agreements.explain_route(
            tx,
            environment=office.environment,
            service=service,
            municipality_cvr=municipality,
            now=_aware(at) or office.clock.now(),
        )
    return told.plain()


def _aware(at: datetime | None) -> datetime | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise UsageError("DateMalformed", "`at` is a time without its offset.", try_this="Write ...T12:00+02:00.")
    if at.year not in agreements.YEARS:
        raise UsageError("DateMalformed", "`at` is not in a year that agreements and routes can be about.")
    return at


# --- use ---


class Limit(rest.Body):
    """So many calls in a calendar day, month or year: reaching it is told, and stops nobody."""

    period: Period
    calls: Annotated[int, Field(ge=1, le=10**12)]


class Use(BaseModel):
    """Calls by what was asked for; `uncounted` rows of the record have not been read yet."""

    first: date
    last: date
    usage: list[dict[str, Any]]
    uncounted: int


@router.get("/usage")
async def show_usage(
    *,
    user: Signed,
    office: In,
    by: Annotated[list[By] | None, Query(description="Told by; repeatable.", max_length=6)] = None,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
    municipality: Cvr | None = None,
    system: UUID | None = None,
    agreement: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Use:
    """Tell use: of a vendor that of its systems, of a municipality that made for it; operator and auditor see all."""
    vendor = None
    if not user.everywhere:
        if Role.VENDOR in user.roles:
            vendor = user.cvr
        else:
            must_own(user, municipality or user.cvr)
            municipality = user.cvr
    begins, today = usage.month(office.clock.now())
    asked = Asked(
        first=first or begins,
        last=last or today,
        by=tuple(by or (By.DAY, By.AGREEMENT, By.OPERATION)),
        municipality=municipality,
        system=system,
        agreement=agreement,
        vendor=vendor,
        limit=limit,
    )
    async with office.store.read() as tx:
        rows, uncounted = await usage.used(tx, asked), await usage.behind(tx)
    return Use(first=asked.first, last=asked.last, usage=rows, uncounted=uncounted)


@router.get("/usage/limits")
async def list_limits(user: TownWatcher, office: In) -> list[dict[str, Any]]:
    """List limits, with what has been used in the period that runs; a municipality sees its own."""
    async with office.store.read() as tx:
        return await usage.limits(tx, municipality=None if user.everywhere else user.cvr, now=office.clock.now())


@router.put("/usage/limits/{agreement}", status_code=204)
async def set_limit(agreement: UUID, asked: Limit, user: Town, office: In) -> None:
    """Set the limit of an agreement."""
    async with office.store.tx() as tx:
        await _seen_agreement(tx, user, agreement)
        await usage.set_limit(
            tx, agreement, period=asked.period, calls=asked.calls, by=user.actor.user, now=office.clock.now()
        )


@router.delete("/usage/limits/{agreement}", status_code=204)
async def take_limit(agreement: UUID, user: Town, office: In) -> None:
    """Take a limit back; where there is none, nothing is done."""
    async with office.store.tx() as tx:
        await _seen_agreement(tx, user, agreement)
        await usage.unset_limit(tx, agreement, by=user.actor.user, now=office.clock.now())


async def _seen_agreement(tx: Tx, user: User, agreement: UUID) -> None:
    cvr = await agreements.municipality_of(tx, agreement)
    if cvr is None:
        raise NotThere
    must_see(user, cvr)


# --- status, mail, revocation ---


@router.get("/status")
async def show_status(
    user: Signed, office: In, hours: Annotated[float, Query(gt=0, le=400 * 24)] = WINDOW / timedelta(hours=1)
) -> list[dict[str, Any]]:
    """Tell how each service is and was; which receivers are silent is for operator and auditor."""
    async with office.store.read() as tx:
        found = [await service_status(tx, one, now=office.machine(), window=timedelta(hours=hours)) for one in Service]
    return [one.plain() if user.everywhere else shown(one) for one in found]


@router.get("/mails")
async def list_mails(
    _user: Watcher,
    office: In,
    status: Status | None = None,
    after: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Older than this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=rest.PAGE_MAX)] = rest.PAGE,
) -> list[dict[str, Any]]:
    """List mails, the newest first."""
    async with office.store.read() as tx:
        return [one.plain() for one in await letters(tx, status=status, after=after, limit=limit)]


@router.post("/mails/{mail}/resend", status_code=204)
async def resend_mail(mail: Annotated[int, Path(ge=1, le=2**63 - 1)], user: Operator, office: In) -> None:
    """Let a mail go again, also one that was sent."""
    async with office.store.tx() as tx:
        await resend(tx, mail, by=user.actor.user, now=office.clock.now())


@router.get("/revocation")
async def show_revocation(_user: Watcher, office: In) -> dict[str, Any]:
    """Say how fresh what is known of revoked certificates is, if the administration is told where that is kept."""
    return {"configured": False} if office.revocation is None else {"configured": True, **read_state(office.revocation)}

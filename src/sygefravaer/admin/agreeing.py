# SPDX-License-Identifier: MPL-2.0
"""
Agreements: a vendor drafts, requests and cancels; the municipality approves, rejects and terminates.

What an operator does with an agreement takes two persons, and is a proposal.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Response

from sygefravaer.admin import rest
from sygefravaer.admin.access import Role, Signed, User, must_own, must_see, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.registers import own_system
from sygefravaer.agreements import Status, preflight, workflow
from sygefravaer.agreements.preflight import Check
from sygefravaer.agreements.workflow import Contract, Move
from sygefravaer.contract.operations import Service
from sygefravaer.delivery.parked import check_words
from sygefravaer.errors import NotThere
from sygefravaer.store import Tx

router: Final = rest.router("agreements")

Vendor = Annotated[User, Depends(needs(Role.VENDOR))]
Municipality = Annotated[User, Depends(needs(Role.MUNICIPALITY))]


class NewAgreement(rest.Body):
    """What is asked for. With `replaces` it is a change of an agreement, which stays in force meanwhile."""

    system: UUID
    service: Service
    municipality: rest.CvrText
    valid_from: date
    valid_to: date | None = None
    replaces: UUID | None = None


class Why(rest.Body):
    """The reason, which the other side reads; no citizen's number stands in it."""

    reason: rest.Words


@router.get("/agreements")
async def list_agreements(
    *,
    user: Signed,
    paging: rest.Paged,
    office: In,
    municipality: Annotated[str | None, Query(pattern="^[0-9]{8}$")] = None,
    system: UUID | None = None,
    status: Status | None = None,
) -> rest.Page[Contract]:
    """List the agreements in which one's organisation is vendor or municipality; operator and auditor see all."""
    if municipality is not None and Role.VENDOR not in user.roles:
        must_own(user, municipality)
    async with office.store.read() as tx:
        rows = await workflow.contracts(
            tx,
            environment=office.environment,
            cvr=None if user.everywhere else user.cvr,
            municipality=municipality,
            system_id=system,
            status=status,
            after=paging.after,
            limit=paging.wanted,
            now=office.clock.now(),
        )
    return paging.page(rows, lambda one: one.agreement_id)


@router.post("/agreements", status_code=201)
async def draft_agreement(asked: NewAgreement, user: Vendor, response: Response, office: In) -> Contract:
    """Draft an agreement between a system of one's own and a municipality."""
    async with office.store.tx() as tx:
        made = await workflow.draft(
            tx,
            of=await own_system(tx, office, user, asked.system),
            service=asked.service,
            municipality_cvr=asked.municipality,
            valid_from=asked.valid_from,
            valid_to=asked.valid_to,
            replaces=asked.replaces,
            by=user.actor,
            now=office.clock.now(),
        )
    rest.tag(response, made.version)
    return made


@router.get("/agreements/{agreement}")
async def show_agreement(agreement: UUID, user: Signed, response: Response, office: In) -> Contract:
    """Show one."""
    async with office.store.read() as tx:
        found = await seen_agreement(tx, office, user, agreement)
    rest.tag(response, found.version)
    return found


@router.get("/agreements/{agreement}/preflight")
async def check_agreement(agreement: UUID, user: Signed, office: In) -> list[Check]:
    """Say whether it could work as things stand: each check by name, and what to do about it."""
    async with office.store.read() as tx:
        await seen_agreement(tx, office, user, agreement)
        return list(await preflight.checks(tx, agreement, now=office.clock.now(), machine=office.machine()))


@router.post("/agreements/{agreement}/request")
async def request_agreement(
    agreement: UUID, user: Vendor, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """Put a draft to the municipality; what could not work is not passed on (`PreflightFailed`)."""
    return await _step(office, user, agreement, Move.REQUEST, version=version, response=response)


@router.post("/agreements/{agreement}/try")
async def try_agreement(
    agreement: UUID, user: Vendor, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """Let a draft begin as a trial in a test environment, where no municipality need approve (prøvetilslutning)."""
    return await _step(office, user, agreement, Move.TRY, version=version, response=response)


@router.post("/agreements/{agreement}/remind")
async def remind_of_agreement(agreement: UUID, user: Vendor, office: In) -> Contract:
    """Let the municipality be told by mail again that a request waits; once a day."""
    async with office.store.tx() as tx:
        if (await seen_agreement(tx, office, user, agreement)).vendor_cvr != user.cvr:
            raise NotThere(foreign=True)
        return await workflow.remind(
            tx, agreement, environment=office.environment, by=user.actor, now=office.clock.now()
        )


@router.post("/agreements/{agreement}/cancel")
async def cancel_agreement(
    agreement: UUID, user: Vendor, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """Take back what has not been decided."""
    return await _step(office, user, agreement, Move.CANCEL, version=version, response=response)


@router.post("/agreements/{agreement}/approve")
async def approve_agreement(
    agreement: UUID, user: Municipality, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """Approve a request for one's municipality; of a change, the agreement before it ends when this one begins."""
    return await _step(office, user, agreement, Move.APPROVE, version=version, response=response)


@router.post("/agreements/{agreement}/reject")
async def reject_agreement(
    *, agreement: UUID, asked: Why, user: Municipality, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """Reject a request for one's municipality."""
    return await _step(office, user, agreement, Move.REJECT, version=version, response=response, reason=asked.reason)


@router.post("/agreements/{agreement}/terminate")
async def terminate_agreement(
    *, agreement: UUID, asked: Why, user: Municipality, version: rest.IfMatch, response: Response, office: In
) -> Contract:
    """End an agreement: what was accepted is delivered, nothing new is accepted, look-ups stop at once."""
    return await _step(office, user, agreement, Move.TERMINATE, version=version, response=response, reason=asked.reason)


async def _step(
    office: Office,
    user: User,
    agreement: UUID,
    step: Move,
    *,
    version: int,
    response: Response,
    reason: str | None = None,
) -> Contract:
    """Take a step that is the vendor's or the municipality's, as its role's endpoint has checked."""
    async with office.store.tx() as tx:
        before = await seen_agreement(tx, office, user, agreement)
        mine = before.vendor_cvr if step in {Move.REQUEST, Move.TRY, Move.CANCEL} else before.municipality_cvr
        if mine != user.cvr:  # seen by the other side, by an operator or an auditor, and not theirs to decide
            raise NotThere(foreign=True)
        after = await workflow.move(
            tx,
            agreement,
            step,
            version=version,
            environment=office.environment,
            reason=None if reason is None else check_words(reason, "The reason"),
            by=user.actor,
            now=office.clock.now(),
            machine=office.machine(),
        )
    rest.tag(response, after.version)
    return after


async def seen_agreement(tx: Tx, office: Office, user: User, agreement: UUID) -> Contract:
    """Find an agreement that the user may see; raises `NotThere`."""
    found = await workflow.contract(tx, agreement, environment=office.environment, now=office.clock.now())
    if found is None:
        raise NotThere
    municipality = None if found.status is Status.DRAFT else found.municipality_cvr
    must_see(user, found.vendor_cvr, municipality)
    return found

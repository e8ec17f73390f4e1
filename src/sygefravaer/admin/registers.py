# SPDX-License-Identifier: MPL-2.0
"""Organisations, systems, display groups, services and certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Path, Query, Response
from pydantic import StringConstraints

from sygefravaer.admin import rest
from sygefravaer.admin.access import Role, Signed, User, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.agreements import Role as SystemRole
from sygefravaer.agreements import catalogue, certificates, organisations
from sygefravaer.agreements.catalogue import Offer
from sygefravaer.agreements.certificates import Certificate, Ending
from sygefravaer.agreements.organisations import Kind, Organisation, System
from sygefravaer.delivery import obligations
from sygefravaer.errors import NotAllowed, NotThere, NotYours
from sygefravaer.store import Tx

router: Final = rest.router("registers")

PEM_MAX: Final = 32 * 1024
SHOWN: Final = 100  # obligations that the list of endings names of a certificate; the number counts more
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Vendor = Annotated[User, Depends(needs(Role.VENDOR))]
Registrar = Annotated[User, Depends(needs(Role.VENDOR, Role.OPERATOR))]
Party = Annotated[User, Depends(needs(Role.VENDOR, Role.MUNICIPALITY, Role.OPERATOR))]
Mail = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$")]
Group = Annotated[str, Path(pattern="^MONOPOLBRUD$", description="A display group.")]
Thumbprint = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the certificate, hexadecimal.")]
Pem = Annotated[str, StringConstraints(min_length=1, max_length=PEM_MAX, pattern=r"^[\x09\x0a\x0d\x20-\x7e]*$")]


# --- organisations ---


class NewOrganisation(rest.Body):
    """A vendor, or the operator."""

    cvr: rest.CvrText
    name: rest.Text
    kind: Kind = Kind.VENDOR
    mailbox: Mail | None = None


class OrganisationChange(rest.Body):
    """What is to be another; what is left out stays."""

    name: rest.Text | None = None
    mailbox: Mail | None = None


@router.get("/organisations")
async def list_organisations(
    *,
    _user: Signed,
    office: In,
    kind: Kind | None = None,
    limit: Annotated[int, Query(ge=1, le=rest.PAGE_MAX)] = rest.PAGE,
    after: Annotated[str | None, Query(pattern="^[0-9]{8}$")] = None,
) -> rest.Page[Organisation]:
    """List the organisations by CVR number."""
    async with office.store.read() as tx:
        rows = await organisations.organisations(tx, kind=kind, after=after, limit=limit + 1)
    shown = rows[:limit]
    return rest.Page(items=shown, next=shown[-1].cvr if len(rows) > limit else None)


@router.post("/organisations", status_code=201)
async def add_organisation(asked: NewOrganisation, user: Operator, response: Response, office: In) -> Organisation:
    """Register a vendor."""
    async with office.store.tx() as tx:
        made = await organisations.add_organisation(tx, **asked.model_dump(), by=user.actor, now=office.clock.now())
    rest.tag(response, made.version)
    return made


@router.get("/organisations/{cvr}")
async def show_organisation(cvr: rest.CvrInPath, _user: Signed, response: Response, office: In) -> Organisation:
    """Show one."""
    async with office.store.read() as tx:
        found = await organisations.organisation(tx, cvr)
    if found is None:
        raise NotThere
    rest.tag(response, found.version)
    return found


@router.patch("/organisations/{cvr}")
async def change_organisation(
    *,
    cvr: rest.CvrInPath,
    asked: OrganisationChange,
    user: Party,
    version: rest.IfMatch,
    response: Response,
    office: In,
) -> Organisation:
    """Give one's own organisation another name or mailbox; the operator any."""
    _change_own(user, cvr)
    async with office.store.tx() as tx:
        changed = await organisations.change_organisation(
            tx, cvr, version=version, name=asked.name, mailbox=asked.mailbox, by=user.actor, now=office.clock.now()
        )
    if changed is None:
        raise NotThere
    rest.tag(response, changed.version)
    return changed


# --- systems ---


class NewSystem(rest.Body):
    """A system of a vendor, in this environment."""

    name: rest.Text
    vendor_cvr: rest.CvrText
    role: SystemRole = SystemRole.JOBCENTER
    contact: rest.Text | None = None


class SystemChange(rest.Body):
    """What is to be another; what is left out stays. Only the operator closes and opens."""

    name: rest.Text | None = None
    contact: rest.Text | None = None
    active: bool | None = None


@router.get("/systems")
async def list_systems(user: Signed, paging: rest.Paged, office: In) -> rest.Page[System]:
    """List the systems that one's organisation has to do with; operator and auditor see all of this environment."""
    async with office.store.read() as tx:
        rows = await organisations.systems(
            tx, environment=office.environment, cvr=_mine(user), after=paging.after, limit=paging.wanted
        )
    return paging.page(rows, lambda one: one.system_id)


@router.post("/systems", status_code=201)
async def add_system(asked: NewSystem, user: Registrar, response: Response, office: In) -> System:
    """Register a system."""
    _change_own(user, asked.vendor_cvr)
    async with office.store.tx() as tx:
        made = await organisations.add_system(
            tx, **asked.model_dump(), environment=office.environment, by=user.actor, now=office.clock.now()
        )
    rest.tag(response, made.version)
    return made


@router.get("/systems/{system}")
async def show_system(system: UUID, user: Signed, response: Response, office: In) -> System:
    """Show one."""
    async with office.store.read() as tx:
        found = await seen_system(tx, office, user, system)
    rest.tag(response, found.version)
    return found


@router.patch("/systems/{system}")
async def change_system(
    *, system: UUID, asked: SystemChange, user: Registrar, version: rest.IfMatch, response: Response, office: In
) -> System:
    """Give a system of one's own another name or contact; the operator closes and opens, too."""
    if asked.active is not None and Role.OPERATOR not in user.roles:
        raise NotAllowed
    async with office.store.tx() as tx:
        await own_system(tx, office, user, system)
        changed = await organisations.change_system(
            tx,
            system,
            version=version,
            environment=office.environment,
            **asked.model_dump(),
            by=user.actor,
            now=office.clock.now(),
        )
    if changed is None:
        raise NotThere
    rest.tag(response, changed.version)
    return changed


@router.put("/systems/{system}/display-groups/{group}", status_code=204)
async def join_group(system: UUID, group: Group, user: Operator, office: In) -> None:
    """Let a system into a display group."""
    async with office.store.tx() as tx:
        await own_system(tx, office, user, system)
        await organisations.join_group(tx, system, group, by=user.actor, now=office.clock.now())


@router.delete("/systems/{system}/display-groups/{group}", status_code=204)
async def leave_group(system: UUID, group: Group, user: Operator, office: In) -> None:
    """Take a system out of a display group."""
    async with office.store.tx() as tx:
        await own_system(tx, office, user, system)
        await organisations.leave_group(tx, system, group, by=user.actor, now=office.clock.now())


@router.get("/services")
async def list_services(user: Signed, office: In) -> list[Offer]:
    """List the services that one may see: of a vendor those whose display group a system of his is in."""
    async with office.store.read() as tx:
        groups = await organisations.groups_of(tx, user.cvr, environment=office.environment)
    all_of_them = user.everywhere or Role.MUNICIPALITY in user.roles
    return [offer for offer in catalogue.CATALOGUE if all_of_them or offer.display_group in groups]


# --- certificates ---


class NewCertificate(rest.Body):
    """One certificate in PEM; its chain may follow, its key may not."""

    pem: Pem


@router.get("/systems/{system}/certificates")
async def list_certificates(system: UUID, user: Signed, office: In) -> list[Certificate]:
    """List a system's certificates, withdrawn ones too."""
    async with office.store.read() as tx:
        await seen_system(tx, office, user, system)
        return await certificates.certificates(tx, system)


@router.post("/systems/{system}/certificates", status_code=201)
async def add_certificate(system: UUID, asked: NewCertificate, user: Vendor, office: In) -> Certificate:
    """Register a certificate, as the vendor only. The one before it goes on opening until it ends or is withdrawn."""
    async with office.store.tx() as tx:
        return await certificates.add_certificate(
            tx,
            asked.pem,
            of=await own_system(tx, office, user, system),
            authorities=office.authorities,
            by=user.actor,
            now=office.clock.now(),
            machine=office.machine(),
        )


@router.delete("/systems/{system}/certificates/{thumbprint}", status_code=204)
async def withdraw_certificate(system: UUID, thumbprint: Thumbprint, user: Registrar, office: In) -> None:
    """Withdraw a certificate: it opens nothing from the next call on."""
    async with office.store.tx() as tx:
        of = await own_system(tx, office, user, system)
        if not await certificates.take_certificate(tx, thumbprint, of=of, by=user.actor, now=office.clock.now()):
            raise NotThere


@router.get("/certificates/ending")
async def list_ending(
    user: Signed, office: In, within_days: Annotated[int, Query(ge=0, le=1000)] = 30
) -> list[dict[str, Any]]:
    """List the certificates that end soon, and the agreements, routes and open obligations that would stop."""
    async with office.store.read() as tx:
        found = await certificates.ending(
            tx,
            environment=office.environment,
            within=timedelta(days=within_days),
            cvr=_mine(user),
            now=office.clock.now(),
            machine=office.machine(),
        )
    return [await _ending(office, user, one) for one in found]


async def _ending(office: Office, user: User, one: Ending) -> dict[str, Any]:
    """Say what would stop; of the obligations a municipality sees its own."""
    owed: list[obligations.Obligation] = []
    if not one.renewed:
        mine = None if user.everywhere or one.vendor_cvr == user.cvr else user.cvr
        owed = await obligations.owed(office.store, owner=one.certificate.system_id, municipality=mine)
    return {
        "thumbprint": one.certificate.thumbprint,
        "system_id": one.certificate.system_id,
        "system": one.system,
        "vendor_cvr": one.vendor_cvr,
        "not_after": one.certificate.not_after,
        "days": one.days,
        "renewed": one.renewed,
        "agreements": one.agreements,
        "routes": one.routes,
        "open_obligations": len(owed),
        "obligations": [each.plain(office.clock.now()) for each in owed[:SHOWN]],
    }


# --- whose ---


def _mine(user: User) -> str | None:
    return None if user.everywhere else user.cvr


def _change_own(user: User, cvr: str) -> None:
    """Refuse a change of another organisation's: an auditor sees everything, and changes nothing by that."""
    if Role.OPERATOR not in user.roles and cvr != user.cvr:
        raise NotYours


async def seen_system(tx: Tx, office: Office, user: User, system_id: UUID) -> System:
    """Find a system that the user may see; raises `NotThere`."""
    found = await organisations.system(tx, system_id, environment=office.environment)
    if found is None:
        raise NotThere
    if not user.everywhere and not await organisations.sees_system(tx, system_id, cvr=user.cvr):
        raise NotThere(foreign=True)
    return found


async def own_system(tx: Tx, office: Office, user: User, system_id: UUID) -> System:
    """Find a system that the user may change: his organisation's own, or any for the operator; raises `NotThere`."""
    found = await organisations.system(tx, system_id, environment=office.environment)
    if found is None:
        raise NotThere
    if Role.OPERATOR not in user.roles and found.vendor_cvr != user.cvr:
        raise NotThere(foreign=True)
    return found

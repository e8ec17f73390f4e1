# SPDX-License-Identifier: MPL-2.0
"""Organisations and the systems that vendors register for them; which display groups a system is in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

from sygefravaer import audit
from sygefravaer.agreements.actor import Actor
from sygefravaer.agreements.registers import Role, register_system
from sygefravaer.contract.operations import Environment
from sygefravaer.contract.values import MUNICIPALITIES, Cvr
from sygefravaer.errors import Conflict, Taken, UsageError, VersionChanged
from sygefravaer.store import Row, Tx


class Kind(StrEnum):
    """What an organisation is."""

    MUNICIPALITY = "municipality"
    VENDOR = "vendor"
    OPERATOR = "operator"


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """Who takes part. `mailbox`: where word of its agreements goes."""

    cvr: str
    name: str
    kind: Kind
    mailbox: str | None
    version: int


@dataclass(frozen=True, kw_only=True)
class System:
    """A vendor's system in one environment, and the display groups that it is in."""

    system_id: UUID
    name: str
    vendor_cvr: str
    role: Role
    environment: Environment
    active: bool
    contact: str | None
    display_groups: tuple[str, ...]
    version: int
    created_at: datetime


_ORGANISATION: Final = "cvr, name, kind, mailbox, version"
_SYSTEM: Final = """
s.system_id, s.name, s.vendor_cvr, s.role, s.environment, s.active, s.contact, s.version, s.created_at,
ARRAY(SELECT d.display_group FROM display_member d WHERE d.system_id = s.system_id ORDER BY 1) AS display_groups"""

# A municipality sees the systems that it has, or is asked to have, an agreement with, and those that get its messages.
_SEEN: Final = """
(%(cvr)s::text IS NULL OR s.vendor_cvr = %(cvr)s
 OR EXISTS (SELECT 1 FROM agreement a WHERE a.system_id = s.system_id AND a.municipality_cvr = %(cvr)s
            AND a.status <> 'draft')
 OR EXISTS (SELECT 1 FROM route r WHERE r.system_id = s.system_id AND r.municipality_cvr = %(cvr)s))"""

_SYSTEMS: Final = f"""
SELECT {_SYSTEM} FROM system s
WHERE s.environment = %(environment)s AND {_SEEN}
  AND (%(after)s::uuid IS NULL OR (s.created_at, s.system_id) >
       (SELECT created_at, system_id FROM system WHERE system_id = %(after)s))
ORDER BY s.created_at, s.system_id LIMIT %(limit)s"""


# --- organisations ---


async def ensure_municipalities(tx: Tx, *, by: Actor, now: datetime) -> None:
    """Let the 98 municipalities of the contract be there; what somebody has changed stays."""
    there = {row["cvr"] for row in await tx.all("SELECT cvr FROM organisation WHERE kind = 'municipality'")}
    missing = [one for cvr, one in MUNICIPALITIES.items() if cvr not in there]
    for one in missing:
        await tx.run(
            "INSERT INTO organisation (cvr, name, kind, created_at, changed_at)"
            " VALUES (%(cvr)s, %(name)s, 'municipality', %(now)s, %(now)s) ON CONFLICT DO NOTHING",
            cvr=str(one.cvr),
            name=one.navn,
            now=now,
        )
    if missing:
        told = by.plain() | {"kind": Kind.MUNICIPALITY.value, "number": len(missing)}
        await audit.record(tx, audit.Event.ORGANISATION_ADDED, now=now, detail=told)


async def add_organisation(
    tx: Tx, *, cvr: str, name: str, kind: Kind = Kind.VENDOR, mailbox: str | None = None, by: Actor, now: datetime
) -> Organisation:
    """Register a vendor, or the operator; raises `UsageError`, `Taken`."""
    if not Cvr.valid(cvr):
        raise UsageError("CvrWrong", "The organisation's CVR number is not valid: eight digits with a right check sum.")
    if kind is Kind.MUNICIPALITY:
        raise UsageError("NotAMunicipality", "The 98 municipalities are there; no other can be added.")
    row = await tx.one(
        "INSERT INTO organisation (cvr, name, kind, mailbox, created_at, changed_at)"
        " VALUES (%(cvr)s, %(name)s, %(kind)s, %(mailbox)s, %(now)s, %(now)s) ON CONFLICT DO NOTHING"
        f" RETURNING {_ORGANISATION}",
        cvr=cvr,
        name=name,
        kind=kind.value,
        mailbox=mailbox,
        now=now,
    )
    if row is None:
        raise Taken
    await audit.record(
        tx, audit.Event.ORGANISATION_ADDED, now=now, detail=by.plain() | {"kind": kind.value, "cvr": cvr}
    )
    return _organisation(row)


async def change_organisation(
    tx: Tx, cvr: str, *, version: int, name: str | None, mailbox: str | None, by: Actor, now: datetime
) -> Organisation | None:
    """Give an organisation another name or mailbox; None when there is none; raises `VersionChanged`."""
    row = await tx.one("SELECT version FROM organisation WHERE cvr = %(cvr)s FOR UPDATE", cvr=cvr)
    if row is None:
        return None
    if row["version"] != version:
        raise VersionChanged
    changed = await tx.one(
        "UPDATE organisation SET name = coalesce(%(name)s, name), mailbox = coalesce(%(mailbox)s, mailbox),"
        " version = version + 1, changed_at = %(now)s WHERE cvr = %(cvr)s"
        f" RETURNING {_ORGANISATION}",
        cvr=cvr,
        name=name,
        mailbox=mailbox,
        now=now,
    )
    what = [field for field, value in (("name", name), ("mailbox", mailbox)) if value is not None]
    await audit.record(tx, audit.Event.ORGANISATION_CHANGED, now=now, detail=by.plain() | {"cvr": cvr, "changed": what})
    return None if changed is None else _organisation(changed)


async def mailbox(tx: Tx, cvr: str) -> str | None:
    """Give where word to an organisation goes; None: nobody has said."""
    row = await tx.one("SELECT mailbox FROM organisation WHERE cvr = %(cvr)s", cvr=cvr)
    return None if row is None else row["mailbox"]


async def name_of(tx: Tx, cvr: str) -> str:
    """Name an organisation for people; one that is not registered is called by its number."""
    row = await tx.one("SELECT name FROM organisation WHERE cvr = %(cvr)s", cvr=cvr)
    return cvr if row is None else str(row["name"])


async def municipality_of(tx: Tx, agreement_id: UUID) -> str | None:
    """Give the CVR number of an agreement's municipality; None: there is no such agreement."""
    row = await tx.one(
        "SELECT municipality_cvr FROM agreement WHERE agreement_id = %(agreement_id)s AND status <> 'draft'",
        agreement_id=agreement_id,
    )
    return None if row is None else row["municipality_cvr"]


async def organisation(tx: Tx, cvr: str) -> Organisation | None:
    """Find an organisation."""
    row = await tx.one(f"SELECT {_ORGANISATION} FROM organisation WHERE cvr = %(cvr)s", cvr=cvr)
    return None if row is None else _organisation(row)


async def organisations(
    tx: Tx, *, kind: Kind | None = None, after: str | None = None, limit: int = 1_000
) -> list[Organisation]:
    """List organisations by CVR number."""
    rows = await tx.all(
        f"SELECT {_ORGANISATION} FROM organisation WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)"
        " AND (%(after)s::text IS NULL OR cvr > %(after)s) ORDER BY cvr LIMIT %(limit)s",
        kind=kind and kind.value,
        after=after,
        limit=limit,
    )
    return [_organisation(row) for row in rows]


def _organisation(row: Row) -> Organisation:
    return Organisation(**{**row, "kind": Kind(row["kind"])})


# --- systems ---


async def add_system(
    tx: Tx,
    *,
    name: str,
    vendor_cvr: str,
    role: Role,
    contact: str | None,
    environment: Environment,
    by: Actor,
    now: datetime,
) -> System:
    """Register a system of a registered vendor (or of a municipality that runs its own); raises `UsageError`."""
    if await organisation(tx, vendor_cvr) is None:
        raise UsageError(
            "OrganisationUnknown",
            "The vendor's CVR number belongs to no registered organisation.",
            try_this="The operator registers it first.",
        )
    system_id = uuid4()
    await register_system(
        tx, system_id=system_id, name=name, vendor_cvr=vendor_cvr, role=role, environment=environment, now=now
    )
    await tx.run(
        "UPDATE system SET contact = %(contact)s WHERE system_id = %(system_id)s", contact=contact, system_id=system_id
    )
    told = by.plain() | {"environment": environment.value, "vendor": vendor_cvr, "role": role.value}
    await audit.record(tx, audit.Event.SYSTEM_REGISTERED, now=now, system=system_id, detail=told)
    made = await system(tx, system_id, environment=environment)
    if made is None:
        raise Conflict
    return made


async def change_system(
    tx: Tx,
    system_id: UUID,
    *,
    version: int,
    environment: Environment,
    name: str | None = None,
    contact: str | None = None,
    active: bool | None = None,
    by: Actor,
    now: datetime,
) -> System | None:
    """Give a system another name or contact, close or open it; None when there is none; raises `VersionChanged`."""
    row = await tx.one(
        "SELECT version FROM system WHERE system_id = %(system_id)s AND environment = %(environment)s FOR UPDATE",
        system_id=system_id,
        environment=environment.value,
    )
    if row is None:
        return None
    if row["version"] != version:
        raise VersionChanged
    await tx.run(
        "UPDATE system SET name = coalesce(%(name)s, name), contact = coalesce(%(contact)s, contact),"
        " active = coalesce(%(active)s, active), version = version + 1 WHERE system_id = %(system_id)s",
        system_id=system_id,
        name=name,
        contact=contact,
        active=active,
    )
    what = {"name": name and True, "contact": contact and True, "active": active}
    told = by.plain() | {field: value for field, value in what.items() if value is not None}
    await audit.record(tx, audit.Event.SYSTEM_CHANGED, now=now, system=system_id, detail=told)
    return await system(tx, system_id, environment=environment)


async def system(tx: Tx, system_id: UUID, *, environment: Environment) -> System | None:
    """Find a system of this environment."""
    row = await tx.one(
        f"SELECT {_SYSTEM} FROM system s WHERE s.system_id = %(system_id)s AND s.environment = %(environment)s",
        system_id=system_id,
        environment=environment.value,
    )
    return None if row is None else _read_system(row)


async def sees_system(tx: Tx, system_id: UUID, *, cvr: str) -> bool:
    """Say whether an organisation has to do with a system."""
    row = await tx.one(
        f"SELECT 1 FROM system s WHERE s.system_id = %(system_id)s AND {_SEEN}", system_id=system_id, cvr=cvr
    )
    return row is not None


async def systems(
    tx: Tx, *, environment: Environment, cvr: str | None = None, after: UUID | None = None, limit: int = 1_000
) -> list[System]:
    """List the systems of this environment, oldest first; all, or those that an organisation has to do with."""
    rows = await tx.all(_SYSTEMS, environment=environment.value, cvr=cvr, after=after, limit=limit)
    return [_read_system(row) for row in rows]


def _read_system(row: Row) -> System:
    return System(
        **{
            **row,
            "role": Role(row["role"]),
            "environment": Environment(row["environment"]),
            "display_groups": tuple(row["display_groups"]),
        }
    )


# --- display groups ---


async def join_group(tx: Tx, system_id: UUID, group: str, *, by: Actor, now: datetime) -> None:
    """Let a system into a display group; one that is in it already stays."""
    joined = await tx.run(
        "INSERT INTO display_member (display_group, system_id, added_at) VALUES (%(group)s, %(system_id)s, %(now)s)"
        " ON CONFLICT DO NOTHING",
        group=group,
        system_id=system_id,
        now=now,
    )
    if joined:
        told = by.plain() | {"display_group": group}
        await audit.record(tx, audit.Event.GROUP_JOINED, now=now, system=system_id, detail=told)


async def leave_group(tx: Tx, system_id: UUID, group: str, *, by: Actor, now: datetime) -> None:
    """Take a system out of a display group: it requests nothing new; what it has agreed stays."""
    left = await tx.run(
        "DELETE FROM display_member WHERE display_group = %(group)s AND system_id = %(system_id)s",
        group=group,
        system_id=system_id,
    )
    if left:
        told = by.plain() | {"display_group": group}
        await audit.record(tx, audit.Event.GROUP_LEFT, now=now, system=system_id, detail=told)


async def groups_of(tx: Tx, cvr: str, *, environment: Environment) -> frozenset[str]:
    """Give the display groups that some system of an organisation is in."""
    rows = await tx.all(
        "SELECT DISTINCT d.display_group FROM display_member d JOIN system s ON s.system_id = d.system_id"
        " WHERE s.vendor_cvr = %(cvr)s AND s.environment = %(environment)s",
        cvr=cvr,
        environment=environment.value,
    )
    return frozenset(row["display_group"] for row in rows)

# SPDX-License-Identifier: MPL-2.0
"""
Certificates of systems: registered from PEM, listed, withdrawn, and which will stop what when they end.

A renewed certificate is registered beside the old one, and both open until the old one ends or is withdrawn: there is
no moment without one. A certificate's own end is judged by the machine's time, as TLS does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from sygefravaer import audit, identity
from sygefravaer.agreements.actor import Actor
from sygefravaer.agreements.organisations import System
from sygefravaer.agreements.reading import danish_day
from sygefravaer.agreements.registers import register_certificate
from sygefravaer.contract.operations import Environment
from sygefravaer.errors import CertificateRefused, HttpRefusal
from sygefravaer.identity import Identity
from sygefravaer.store import Row, Tx


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A registered certificate. `valid_from` and `valid_to` are of its registration, `not_*` its own."""

    thumbprint: str
    system_id: UUID
    name: str | None
    cvr: str | None
    subject: str
    issuer: str
    active: bool
    valid_from: date
    valid_to: date | None
    not_before: datetime | None
    not_after: datetime | None
    pem: str | None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """An agreement or a route that stops when its system's certificate ends, with its id."""

    what: str
    id: UUID
    service: str
    municipality_cvr: str


@dataclass(frozen=True, kw_only=True)
class Holding:
    """
    A certificate, in how many days it ends, and what stops then.

    `renewed`: another certificate of the system lasts longer, so nothing stops. `agreements` and `routes` are ids.
    `days` is None where a certificate was registered before its end was kept.
    """

    certificate: Certificate
    system: str
    vendor_cvr: str
    days: int | None
    renewed: bool
    agreements: tuple[UUID, ...]
    routes: tuple[UUID, ...]


@dataclass(frozen=True, kw_only=True)
class Ending(Holding):
    """A certificate that ends soon, or has."""

    days: int


_COLUMNS: Final = """c.thumbprint, c.system_id, c.name, c.cvr, c.subject, c.issuer, c.active, c.valid_from, c.valid_to,
c.not_before, c.not_after, c.pem"""

_OTHERS: Final = """
SELECT system_id, thumbprint FROM certificate
WHERE environment = %(environment)s
  AND (thumbprint = %(thumbprint)s OR (issuer = %(issuer)s AND serial_key = %(serial_key)s AND active))"""

# With `until` those that end by then; without it every one, and each is asked whether another outlasts it.
_ENDING: Final = f"""
SELECT {_COLUMNS}, s.name AS system_name, s.vendor_cvr,
       EXISTS (SELECT 1 FROM certificate n WHERE n.system_id = c.system_id AND n.active
               AND n.not_after > coalesce(%(until)s::timestamptz, c.not_after)) AS renewed,
       ARRAY(SELECT a.agreement_id FROM agreement a WHERE a.system_id = c.system_id AND a.status = 'approved'
             AND (a.valid_to IS NULL OR a.valid_to >= %(on)s) ORDER BY a.agreement_id) AS agreements,
       ARRAY(SELECT r.route_id FROM route r WHERE r.system_id = c.system_id
             AND (r.valid_to IS NULL OR r.valid_to >= %(on)s) ORDER BY r.route_id) AS routes
FROM certificate c JOIN system s ON s.system_id = c.system_id
WHERE c.environment = %(environment)s
  AND (%(until)s::timestamptz IS NULL OR c.active AND c.not_after <= %(until)s)
  AND (%(system_id)s::uuid IS NULL OR c.system_id = %(system_id)s)
  AND (%(cvr)s::text IS NULL OR s.vendor_cvr = %(cvr)s OR EXISTS (
       SELECT 1 FROM agreement a WHERE a.system_id = c.system_id AND a.municipality_cvr = %(cvr)s
       AND a.status = 'approved'))
ORDER BY c.not_after, c.thumbprint LIMIT %(limit)s"""

_STOPS: Final = """
SELECT 'agreement' AS what, agreement_id AS id, service, municipality_cvr FROM agreement
WHERE agreement_id = ANY (%(agreements)s)
UNION ALL
SELECT 'route', route_id, service, municipality_cvr FROM route WHERE route_id = ANY (%(routes)s)
ORDER BY what, municipality_cvr, service, id"""


def read(pem: str) -> tuple[x509.Certificate, Identity]:
    """Read the first certificate of a PEM text (its chain may follow); raises `CertificateRefused`."""
    if "PRIVATE KEY" in pem:
        raise CertificateRefused("It came with a private key, which now counts as known to others: make a new one.")
    try:
        certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        found = identity.from_der(certificate.public_bytes(Encoding.DER))
    except (ValueError, IndexError, HttpRefusal) as error:
        raise CertificateRefused("It is no certificate in PEM.") from error
    return certificate, found


async def add_certificate(
    tx: Tx,
    pem: str,
    *,
    of: System,
    authorities: Sequence[x509.Certificate],
    by: Actor,
    now: datetime,
    machine: datetime,
) -> Certificate:
    """Register a certificate for a system; raises `CertificateRefused`. The one before it goes on opening."""
    certificate, found = read(pem)
    # 1. An authority of this environment has issued it: a right subject from another one is worth nothing.
    if not any(_issued_by(certificate, authority) for authority in authorities):
        raise CertificateRefused("No authority that this environment trusts has issued it.")
    # 2. It is in force.
    if not found.not_before <= machine <= found.not_after:
        raise CertificateRefused("It is not in force today.")
    # 3. It is the vendor's own.
    if found.cvr != of.vendor_cvr:
        raise CertificateRefused("Its CVR number is not that of the system's vendor.")
    # 4. It is nobody else's: one certificate, one system.
    await tx.one(
        "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))",
        key=f"certificate {found.issuer} {found.serial_key}",
    )
    others = await tx.all(
        _OTHERS,
        environment=of.environment.value,
        thumbprint=found.thumbprint,
        issuer=found.issuer,
        serial_key=found.serial_key,
    )
    if any(row["system_id"] != of.system_id for row in others):
        raise CertificateRefused("It, or another with the same subject, belongs to another system.")
    await register_certificate(
        tx,
        found,
        system_id=of.system_id,
        environment=of.environment,
        valid_from=danish_day(now),
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        now=now,
    )
    told = by.plain() | {"thumbprint": found.thumbprint, "not_after": found.not_after}
    await audit.record(
        tx,
        audit.Event.CERTIFICATE_REGISTERED,
        now=now,
        system=of.system_id,
        serial_key=found.serial_key,
        detail=told,
    )
    (made,) = [one for one in await certificates(tx, of.system_id) if one.thumbprint == found.thumbprint]
    return made


async def take_certificate(tx: Tx, thumbprint: str, *, of: System, by: Actor, now: datetime) -> bool:
    """Withdraw a certificate of a system: it opens nothing from the next call on; say whether there was one."""
    row = await tx.one(
        "UPDATE certificate SET active = false WHERE environment = %(environment)s AND thumbprint = %(thumbprint)s"
        " AND system_id = %(system_id)s RETURNING serial_key",
        environment=of.environment.value,
        thumbprint=thumbprint,
        system_id=of.system_id,
    )
    if row is None:
        return False
    await audit.record(
        tx,
        audit.Event.CERTIFICATE_WITHDRAWN,
        now=now,
        system=of.system_id,
        serial_key=row["serial_key"],
        detail=by.plain() | {"thumbprint": thumbprint},
    )
    return True


async def certificates(tx: Tx, system_id: UUID) -> list[Certificate]:
    """List the certificates of a system, oldest first."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM certificate c WHERE c.system_id = %(system_id)s ORDER BY c.created_at, c.thumbprint",
        system_id=system_id,
    )
    return [_certificate(row) for row in rows]


async def ending(
    tx: Tx,
    *,
    environment: Environment,
    within: timedelta,
    cvr: str | None = None,
    now: datetime,
    machine: datetime,
    limit: int = 1_000,
) -> list[Ending]:
    """List what certificates end within a time (or have), soonest first; all, or those an organisation depends on."""
    rows = await tx.all(
        _ENDING,
        environment=environment.value,
        until=machine + within,
        cvr=cvr,
        system_id=None,
        on=danish_day(now),
        limit=limit,
    )
    return [Ending(days=(row["not_after"] - machine).days, **_about(row)) for row in rows]


async def inventory(
    tx: Tx,
    *,
    environment: Environment,
    cvr: str | None = None,
    system_id: UUID | None = None,
    now: datetime,
    machine: datetime,
    limit: int = 1_000,
) -> list[Holding]:
    """List every certificate, withdrawn ones too, the first to end first; all, or those an organisation depends on."""
    rows = await tx.all(
        _ENDING,
        environment=environment.value,
        until=None,
        cvr=cvr,
        system_id=system_id,
        on=danish_day(now),
        limit=limit,
    )
    ends = [row["not_after"] for row in rows]
    days = [None if end is None else (end - machine).days for end in ends]
    return [Holding(days=left, **_about(row)) for left, row in zip(days, rows, strict=True)]


def _about(row: Row) -> dict[str, Any]:
    return {
        "certificate": _certificate(row),
        "system": row["system_name"],
        "vendor_cvr": row["vendor_cvr"],
        "renewed": row["renewed"],
        "agreements": () if row["renewed"] else tuple(row["agreements"]),
        "routes": () if row["renewed"] else tuple(row["routes"]),
    }


async def is_registered(tx: Tx, thumbprint: str, *, environment: Environment) -> bool:
    """Say whether a certificate is registered in this environment, whoever asks."""
    row = await tx.one(
        "SELECT 1 FROM certificate WHERE environment = %(environment)s AND thumbprint = %(thumbprint)s",
        environment=environment.value,
        thumbprint=thumbprint,
    )
    return row is not None


async def stops(tx: Tx, one: Holding) -> list[Stop]:
    """Name what stops with a certificate."""
    rows = await tx.all(_STOPS, agreements=list(one.agreements), routes=list(one.routes))
    return [Stop(**row) for row in rows]


def chain(pem: str, authorities: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Give a certificate and those above it, as far as the authorities of this environment reach."""
    certificate, _ = read(pem)
    links = [certificate]
    while True:
        above = next((one for one in authorities if one not in links and _issued_by(links[-1], one)), None)
        if above is None:
            return tuple(links)
        links.append(above)


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificate(row: Row) -> Certificate:
    return Certificate(**{name: row[name] for name in Certificate.__dataclass_fields__})

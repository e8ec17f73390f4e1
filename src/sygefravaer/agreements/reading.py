# SPDX-License-Identifier: MPL-2.0
"""The registers read, today's word each time: what a decision needs in one statement, and where a message goes."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sygefravaer.agreements.decision import Agreement, Caller, Decision, Facts, Grant, Route, Status, decide
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import UsageError
from sygefravaer.identity import Identity
from sygefravaer.store import Row, Tx

DENMARK: Final = ZoneInfo("Europe/Copenhagen")

_WAY: Final = """
t.route_id, t.municipality_cvr AS route_cvr, t.system_id AS route_system, t.url, t.takes_substitute,
t.valid_from AS route_from, t.finish_days"""

_ROUTE: Final = f"""
SELECT {_WAY}
FROM route t JOIN system ts ON ts.system_id = t.system_id AND ts.environment = %(environment)s
WHERE t.service = %(service)s AND t.municipality_cvr IN (%(municipality)s::text, '*')
  AND t.valid_from <= %(on)s AND (t.valid_to IS NULL OR t.valid_to >= %(on)s)
ORDER BY t.municipality_cvr = '*', t.valid_from DESC, t.created_at DESC, t.route_id LIMIT 1
"""

_LAST_ROUTE: Final = f"""
SELECT {_WAY} FROM route t
WHERE t.service = %(service)s AND t.municipality_cvr IN (%(municipality)s::text, '*')
  AND t.system_id = %(system_id)s AND t.valid_from <= %(on)s
ORDER BY t.municipality_cvr = '*', t.valid_from DESC, t.created_at DESC, t.route_id LIMIT 1
"""

_FACTS: Final = f"""
SELECT c.system_id, s.name, s.active AS system_active, c.active AS certificate_active,
       c.valid_from AS certificate_from, c.valid_to AS certificate_to,
       a.agreement_id, a.status, a.valid_from, a.valid_to,
       r.route_id, r.route_cvr, r.route_system, r.url, r.takes_substitute, r.route_from, r.finish_days,
       CASE WHEN c.system_id IS NULL THEN EXISTS (
           SELECT 1 FROM certificate o
           WHERE o.environment = %(environment)s AND o.issuer = %(issuer)s AND o.serial_key = %(serial_key)s
       ) ELSE false END AS renewed,
       CASE WHEN c.system_id IS NOT NULL AND a.agreement_id IS NULL THEN ARRAY(
           SELECT n.service || ' for ' || n.municipality_cvr FROM agreement n
           WHERE n.system_id = c.system_id
             AND (n.service = %(service)s OR n.municipality_cvr = %(municipality)s::text)
           ORDER BY n.municipality_cvr = %(municipality)s::text DESC, n.municipality_cvr, n.service LIMIT 5
       ) END AS near
FROM (VALUES (1)) AS one (n)
LEFT JOIN certificate c ON c.environment = %(environment)s AND c.thumbprint = %(thumbprint)s
     AND c.issuer = %(issuer)s AND c.serial_key = %(serial_key)s
LEFT JOIN system s ON s.system_id = c.system_id
LEFT JOIN agreement a ON a.system_id = c.system_id AND a.service = %(service)s
     AND a.municipality_cvr = %(municipality)s::text
LEFT JOIN LATERAL ({_ROUTE}) r ON true
"""


_NAMED: Final = """
SELECT system_id FROM system
WHERE environment = %(environment)s AND (system_id::text = %(named)s OR name = %(named)s)"""


def danish_day(instant: datetime) -> date:
    """Say which day it is in Denmark."""
    return instant.astimezone(DENMARK).date()


async def facts(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Facts:
    """Read all that a decision about this call needs, route included, in one statement."""
    on = danish_day(now)
    rows = await tx.all(
        _FACTS,
        environment=environment.value,
        issuer=identity.issuer,
        serial_key=identity.serial_key,
        thumbprint=identity.thumbprint,
        service=service.value,
        municipality=municipality_cvr,
        on=on,
    )
    first = rows[0]
    caller = None
    if first["system_id"] is not None:
        caller = Caller(
            system_id=first["system_id"],
            name=first["name"],
            active=first["system_active"],
            certificate_active=first["certificate_active"],
            certificate_from=first["certificate_from"],
            certificate_to=first["certificate_to"],
        )
    found = tuple(
        Agreement(
            agreement_id=row["agreement_id"],
            status=Status(row["status"]),
            valid_from=row["valid_from"],
            valid_to=row["valid_to"],
        )
        for row in rows
        if row["agreement_id"] is not None
    )
    return Facts(
        on=on,
        service=service,
        municipality_cvr=municipality_cvr,
        caller=caller,
        renewed=first["renewed"],
        agreements=found,
        near=tuple(first["near"] or ()),
        route=_route(first, service),
    )


async def explain(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Decision:
    """Decide about a call from what the registers say now."""
    return decide(
        await facts(tx, identity, environment=environment, service=service, municipality_cvr=municipality_cvr, now=now)
    )


async def system_named(tx: Tx, named: str, *, environment: Environment) -> UUID:
    """Find the registered system with this id or name; raises `UsageError` unless there is exactly one."""
    found = await tx.all(_NAMED, named=named, environment=environment.value)
    if len(found) != 1:
        raise UsageError(
            "SystemNotRegistered",
            f"{len(found)} registered systems have this id or name; exactly one was wanted.",
            try_this="Give the system's id; `sygefravaer routes list` shows those that have routes.",
        )
    system_id: UUID = found[0]["system_id"]
    return system_id


async def authorise(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Grant:
    """Give the caller's right, or raise the fault of the rule that failed: what `explain` says, enforced."""
    decision = await explain(
        tx, identity, environment=environment, service=service, municipality_cvr=municipality_cvr, now=now
    )
    return decision.grant()


async def route(
    tx: Tx, *, environment: Environment, service: Service, municipality_cvr: str, now: datetime
) -> Route | None:
    """Find where messages of this service for this municipality go today."""
    row = await tx.one(
        _ROUTE, environment=environment.value, service=service.value, municipality=municipality_cvr, on=danish_day(now)
    )
    return None if row is None else _route(row, service)


async def last_route(
    tx: Tx, *, service: Service, municipality_cvr: str, system_id: UUID, now: datetime
) -> Route | None:
    """Find by which route a system gets, or last got, what goes to this municipality."""
    row = await tx.one(
        _LAST_ROUTE, service=service.value, municipality=municipality_cvr, system_id=system_id, on=danish_day(now)
    )
    return None if row is None else _route(row, service)


def _route(row: Row, service: Service) -> Route | None:
    if row["route_id"] is None:
        return None
    return Route(
        route_id=row["route_id"],
        service=service,
        municipality_cvr=row["route_cvr"],
        system_id=row["route_system"],
        url=row["url"],
        takes_substitute=row["takes_substitute"],
        valid_from=row["route_from"],
        finish_days=row["finish_days"],
    )

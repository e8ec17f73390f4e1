# SPDX-License-Identifier: MPL-2.0
"""
The registers read: what a decision needs in one statement, and where a message goes.

What was decided is kept with the edition of the registers that it was read from. Whoever relies on it (`recall`) writes
on the condition that this is still the edition, in the statement that writes: so a change counts from the next call on,
and a call that changes nothing needs no statement of its own to find that out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from sygefravaer.agreements.decision import Agreement, Caller, Decision, Facts, Grant, Route, Status, decide
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import UsageError
from sygefravaer.store import Proviso, Row, Tx

DENMARK: Final = ZoneInfo("Europe/Copenhagen")
YEARS: Final = range(1990, 2200)
"""What a question about another day may be about: of others a day in Denmark cannot always be told."""

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

_RECEIVERS: Final = """
SELECT DISTINCT t.system_id, t.url FROM route t JOIN system ts USING (system_id)
WHERE ts.environment = %(environment)s AND t.service = %(service)s
  AND t.valid_from <= %(on)s AND (t.valid_to IS NULL OR t.valid_to >= %(on)s)
ORDER BY t.system_id, t.url"""

_EXPIRING: Final = """
SELECT a.agreement_id, a.service, a.municipality_cvr, a.valid_to, s.name, s.vendor_cvr FROM agreement a
JOIN system s USING (system_id)
WHERE s.environment = %(environment)s AND a.status IN ('approved', 'suspended')
  AND a.valid_to BETWEEN %(on)s AND %(until)s
  AND NOT EXISTS (
      SELECT FROM agreement n WHERE n.system_id = a.system_id AND n.service = a.service
        AND n.municipality_cvr = a.municipality_cvr AND n.status = 'approved'
        AND n.valid_from <= a.valid_to + 1 AND (n.valid_to IS NULL OR n.valid_to > a.valid_to))
ORDER BY a.valid_to, a.agreement_id"""

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
       ) END AS near,
       (SELECT edition FROM register_edition) AS edition
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


_STILL: Final = "(SELECT edition FROM register_edition) = %(agreements_edition)s::uuid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """What was decided about calls like this one, and the proviso under which that is still so."""

    decision: Decision
    proviso: Proviso


_ALLOWED: Final[dict[tuple[object, ...], tuple[list[Row], Recalled]]] = {}
"""Calls that were let in, as the registers stood, edition and all."""
_MOST_ALLOWED: Final = 10_000  # callers times municipalities, of a nation


class Presented(Protocol):
    """What the registers know a certificate by; an `Identity` is one."""

    @property
    def issuer(self) -> str:
        """The issuer's name, RFC 4514."""

    @property
    def serial_key(self) -> str:
        """The subject's serialNumber."""

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate."""


def danish_day(instant: datetime) -> date:
    """Say which day it is in Denmark."""
    return instant.astimezone(DENMARK).date()


async def _read(
    tx: Tx,
    identity: Presented,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    on: date,
) -> list[Row]:
    """Read all that a decision about this call needs, route included, in one statement."""
    return await tx.all(
        _FACTS,
        environment=environment.value,
        issuer=identity.issuer,
        serial_key=identity.serial_key,
        thumbprint=identity.thumbprint,
        service=service.value,
        municipality=municipality_cvr,
        on=on,
    )


def _facts(rows: list[Row], *, service: Service, municipality_cvr: str | None, on: date) -> Facts:
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
    identity: Presented,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Decision:
    """Decide about a call from what the registers say now."""
    on = danish_day(now)
    rows = await _read(tx, identity, environment=environment, service=service, municipality_cvr=municipality_cvr, on=on)
    key = _key(identity, environment, service, municipality_cvr, on)
    kept = _ALLOWED.get(key)
    if kept is not None and kept[0] == rows:
        return kept[1].decision
    decision = decide(_facts(rows, service=service, municipality_cvr=municipality_cvr, on=on))
    if decision.allowed and tx.alone:  # within a larger transaction it may stand on what is never committed
        if len(_ALLOWED) >= _MOST_ALLOWED:
            _ALLOWED.clear()
        proviso = Proviso(condition=_STILL, params={"agreements_edition": rows[0]["edition"]})
        _ALLOWED[key] = rows, Recalled(decision=decision, proviso=proviso)
    return decision


def recall(
    identity: Presented, *, environment: Environment, service: Service, municipality_cvr: str | None, now: datetime
) -> Recalled | None:
    """
    Give what was decided last about a call like this one, if it was let in; nothing is read.

    It holds for who writes under its proviso and finds it fulfilled, and for nobody else.
    """
    kept = _ALLOWED.get(_key(identity, environment, service, municipality_cvr, danish_day(now)))
    return None if kept is None else kept[1]


def _key(
    identity: Presented, environment: Environment, service: Service, municipality_cvr: str | None, on: date
) -> tuple[object, ...]:
    return (identity.issuer, identity.serial_key, identity.thumbprint, environment, service, municipality_cvr, on)


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


async def system_names(tx: Tx) -> dict[UUID, str]:
    """Give the name of every registered system."""
    return {row["system_id"]: row["name"] for row in await tx.all("SELECT system_id, name FROM system")}


async def authorise(
    tx: Tx,
    identity: Presented,
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


async def receivers(tx: Tx, *, environment: Environment, service: Service, now: datetime) -> list[tuple[UUID, str]]:
    """Give every system and address to which messages of this service go today."""
    rows = await tx.all(_RECEIVERS, environment=environment.value, service=service.value, on=danish_day(now))
    return [(row["system_id"], row["url"]) for row in rows]


async def expiring(tx: Tx, *, environment: Environment, within: timedelta, now: datetime) -> list[Row]:
    """Give the agreements whose last day is within a time, and that no other goes on from."""
    on = danish_day(now)
    return await tx.all(_EXPIRING, environment=environment.value, on=on, until=on + within)


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

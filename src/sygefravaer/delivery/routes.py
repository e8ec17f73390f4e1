# SPDX-License-Identifier: MPL-2.0
"""
Changing the system of a municipality from a day on: first the plan of what moves and what stays, then the change.

The change is a row in the registers; what is under way follows it by itself at its next attempt (`ways`). So the plan's
digest covers what was asked and what the registers say, and not the traffic, which is another one every second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer import agreements, audit
from sygefravaer.agreements import ALL, Route, danish_day
from sygefravaer.contract.operations import OPERATIONS, Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.delivery import obligations, ways
from sygefravaer.delivery.parked import check_words, keep_plan
from sygefravaer.errors import PlanChanged, RouteStands, UsageError
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

SOON: Final = timedelta(days=366)  # within which the end of the old system's agreement is worth a word
SHOWN: Final = 100  # messages that a plan lists of each kind; the numbers count all

_ROUTES: Final = """
SELECT route_id, service, municipality_cvr, route.system_id, system.name, url, takes_substitute, finish_days,
       valid_from, valid_to
FROM route JOIN system ON system.system_id = route.system_id AND system.environment = %(environment)s
WHERE (%(service)s::text IS NULL OR service = %(service)s)
  AND (%(municipality)s::text IS NULL OR municipality_cvr IN (%(municipality)s, '*'))
  AND (%(on)s::date IS NULL OR valid_from <= %(on)s AND (valid_to IS NULL OR valid_to >= %(on)s))
ORDER BY service, municipality_cvr, valid_from, route.created_at, route_id"""

_LOCK_ROUTES: Final = "SELECT pg_advisory_xact_lock(hashtextextended('routes ' || current_schema, 0))"

_UNDELIVERED: Final = f"""
SELECT message_id, lane_id, operation, besked_id, recipient, body, status, detail, {ways.MAY_HAVE} AS may_have
FROM message
WHERE status IN ('queued', 'sending', 'parked') AND operation = ANY (%(operations)s)
  AND %(municipality)s IN (municipality_cvr, '*') AND recipient <> %(system)s
ORDER BY lane_id, message_id"""

_AGREED: Final = """
SELECT bool_or(status = 'approved' AND valid_from <= %(on)s AND (valid_to IS NULL OR valid_to >= %(on)s)) AS agreed,
       max(coalesce(valid_to, 'infinity')) FILTER (WHERE status = 'approved')::text AS until
FROM agreement
WHERE system_id = %(system)s AND service = %(service)s AND municipality_cvr = %(municipality)s"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is asked for: from a day on, what goes to a municipality by a service is delivered to this system."""

    service: Service
    municipality: str
    system_id: UUID
    url: str
    takes_substitute: bool
    valid_from: date
    finish_days: int | None = None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self) | {
            "service": self.service.value,
            "system_id": str(self.system_id),
            "valid_from": self.valid_from.isoformat(),
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Change:
        """Read what `plain` gave."""
        return cls(
            **{
                **plain,
                "service": Service(plain["service"]),
                "system_id": UUID(plain["system_id"]),
                "valid_from": date.fromisoformat(plain["valid_from"]),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """Some messages: how many, and the first of them, each with a word about why it is here."""

    number: int
    first: tuple[Mapping[str, object], ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[Row, str]]) -> Listed:
        """Count all and keep the first."""
        told = [
            {
                "message_id": row["message_id"],
                "besked_id": str(row["besked_id"]),
                "operation": row["operation"],
                "system": str(row["recipient"]),
                "why": why,
            }
            for row, why in rows
        ]
        return cls(number=len(told), first=tuple(told[:SHOWN]))

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"number": self.number, "first": list(self.first)}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutePlan:
    """What a change would do if its day were today; `routes` is what the registers say now."""

    change: Change
    routes: tuple[Mapping[str, object], ...]
    moves: Listed
    stays: Listed
    parked: Listed
    conversations: Listed
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Give the plan's name: the same as long as the same is asked and the registers say the same."""
        shown = {"change": self.change.plain(), "routes": list(self.routes)}
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it: also what `set` takes as a file."""
        return {
            "plan": self.digest,
            "kind": "route",
            "change": self.change.plain(),
            "routes": list(self.routes),
            "moves": self.moves.plain(),
            "stays": self.stays.plain(),
            "parked": self.parked.plain(),
            "conversations": self.conversations.plain(),
            "warnings": list(self.warnings),
        }


class Routes:
    """Lists routes, plans a change, and makes it."""

    def __init__(self, *, store: Store, vault: Vault, environment: Environment) -> None:
        self._store = store
        self._vault = vault
        self._environment = environment

    async def listed(
        self, *, service: Service | None = None, municipality: str | None = None, on: date | None = None
    ) -> list[dict[str, Any]]:
        """List the routes, all or those of a day."""
        async with self._store.read() as tx:
            return await self._registered(tx, service, municipality, on)

    async def change(
        self,
        *,
        service: Service,
        municipality: str,
        system: str,
        valid_from: date,
        url: str | None = None,
        takes_substitute: bool | None = None,
        finish_days: int | None = None,
        now: datetime,
    ) -> Change:
        """
        Make a change of what a person said: the system by its id or name, its address as last registered.

        Raises `UsageError` when it cannot be one, `RouteStands` when it changes nothing.
        """
        if municipality != ALL and municipality not in MUNICIPALITIES:
            raise UsageError("NotAMunicipality", "The CVR number does not belong to one of the 98 municipalities.")
        if valid_from < danish_day(now):
            raise UsageError("RouteBackdated", f"The day is past; today ({danish_day(now)}) or a later one was wanted.")
        async with self._store.read() as tx:
            system_id = await agreements.system_named(tx, system, environment=self._environment)
            known = [row for row in await self._registered(tx, service, None, None) if row["system"] == str(system_id)]
            if not url and not known:
                raise UsageError(
                    "UrlMissing",
                    "The system has no route of this service yet, so its address is not known.",
                    try_this="Give the address with --url.",
                )
            before = await self._on(tx, service, municipality, valid_from)
        address = url or known[-1]["url"]
        substitutes = bool(before and before["takes_substitute"]) if takes_substitute is None else takes_substitute
        change = Change(
            service=service,
            municipality=municipality,
            system_id=system_id,
            url=address,
            takes_substitute=substitutes,
            valid_from=valid_from,
            finish_days=finish_days,
        )
        same = before is not None and (before["system"], before["url"]) == (str(system_id), address)
        if same and before is not None and before["takes_substitute"] == substitutes:
            raise RouteStands
        return change

    async def plan(self, change: Change, *, now: datetime) -> RoutePlan:
        """Say what a change would do, and keep what was asked under the plan's digest."""
        async with self._store.snapshot() as tx:
            plan = await self._read(tx, change)
        async with self._store.read() as tx:
            await keep_plan(tx, plan.digest, "route", change.plain(), now=now)
        return plan

    async def set(self, digest: str, change: Change, *, who: str, now: datetime) -> UUID:
        """Make the change of the plan with this digest; raises `PlanChanged` when the registers say otherwise now."""
        check_words(who, "The name of who does it")
        route_id = uuid4()
        async with self._store.tx() as tx:
            await tx.one(_LOCK_ROUTES)
            if (await self._read(tx, change)).digest != digest or change.valid_from < danish_day(now):
                raise PlanChanged
            await agreements.set_route(
                tx,
                route_id=route_id,
                service=change.service,
                municipality_cvr=change.municipality,
                system_id=change.system_id,
                url=change.url,
                takes_substitute=change.takes_substitute,
                valid_from=change.valid_from,
                finish_days=change.finish_days,
                now=now,
            )
            await audit.record(
                tx,
                audit.Event.ROUTE_CHANGED,
                now=now,
                system=change.system_id,
                municipality_cvr=None if change.municipality == ALL else change.municipality,
                detail={"by": who, "plan": digest, "route": route_id} | change.plain(),
            )
        return route_id

    async def _registered(
        self, tx: Tx, service: Service | None, municipality: str | None, on: date | None
    ) -> list[dict[str, Any]]:
        rows = await tx.all(
            _ROUTES,
            environment=self._environment.value,
            service=service and service.value,
            municipality=municipality,
            on=on,
        )
        return [
            {
                "route": str(row["route_id"]),
                "service": row["service"],
                "municipality": row["municipality_cvr"],
                "system": str(row["system_id"]),
                "name": row["name"],
                "url": row["url"],
                "takes_substitute": row["takes_substitute"],
                "finish_days": row["finish_days"],
                "valid_from": row["valid_from"].isoformat(),
                "valid_to": row["valid_to"] and row["valid_to"].isoformat(),
            }
            for row in rows
        ]

    async def _on(self, tx: Tx, service: Service, municipality: str, on: date) -> dict[str, Any] | None:
        """Find the route of a day, as `agreements.route` would on it."""
        routes = await self._registered(tx, service, municipality, on)
        own = [one for one in routes if one["municipality"] == municipality]
        return max(reversed(own or routes), key=lambda one: one["valid_from"], default=None)

    async def _read(self, tx: Tx, change: Change) -> RoutePlan:
        operations = [one.name for one in OPERATIONS.values() if one.service is change.service and not one.lookup]
        about: dict[str, object] = {
            "operations": operations,
            "municipality": change.municipality,
            "system": change.system_id,
        }
        moves, stays, parked = _sorted(self._vault, await tx.all(_UNDELIVERED, **about), change)
        waiting: list[Row] = []
        if change.service is Service.SYGEFRAVAER_JC:
            waiting = await obligations.unanswered(tx, change.municipality, but=change.system_id)
        return RoutePlan(
            change=change,
            routes=tuple(await self._registered(tx, change.service, change.municipality, None)),
            moves=Listed.of(moves),
            stays=Listed.of(stays),
            parked=Listed.of(parked),
            conversations=Listed.of((row, "delivered and not answered") for row in waiting),
            warnings=tuple([one async for one in self._warnings(tx, change)]),
        )

    async def _warnings(self, tx: Tx, change: Change) -> AsyncIterator[str]:
        later = await self._registered(tx, change.service, change.municipality, None)
        for one in later:
            if one["municipality"] == change.municipality and one["valid_from"] > change.valid_from.isoformat():
                ends = "is cancelled by this one" if one["valid_to"] is None else "still counts from its day on"
                yield f"A later change to {one['name']} on {one['valid_from']} {ends}."
        if change.service is not Service.SYGEFRAVAER_JC or change.municipality == ALL:
            return
        answers = {"service": Service.SYGEFRAVAER.value, "municipality": change.municipality, "on": change.valid_from}
        row = await tx.one(_AGREED, system=change.system_id, **answers)
        if not (row and row["agreed"]):
            yield "The new system has no agreement with the municipality on that day: it cannot answer."
        before = await self._on(tx, change.service, change.municipality, change.valid_from)
        if before is not None and before["system"] != str(change.system_id):
            row = await tx.one(_AGREED, system=UUID(before["system"]), **answers)
            if not (row and row["agreed"]):
                yield "The old system has no agreement on that day any more: its answers will be refused."
            elif row["until"] < (change.valid_from + SOON).isoformat():
                yield f"The old system can answer until its agreement ends on {row['until']}."


def _as_route(change: Change) -> Route:
    return Route(
        route_id=UUID(int=0),
        service=change.service,
        municipality_cvr=change.municipality,
        system_id=change.system_id,
        url=change.url,
        takes_substitute=change.takes_substitute,
        valid_from=change.valid_from,
        finish_days=change.finish_days,
    )


Told = list[tuple[Row, str]]


def _sorted(vault: Vault, rows: Sequence[Row], change: Change) -> tuple[Told, Told, Told]:
    """Say of everything undelivered whether it moves, stays with the old system for now, or waits for a person."""
    moves: Told = []
    stays: Told = []
    parked: Told = []
    route = _as_route(change)
    finishes = "it will be parked" if change.finish_days == 0 else "that one gets it until it has answered"
    for _, lane in groupby(rows, key=itemgetter("lane_id")):
        held = ""
        for row in lane:
            if row["status"] == "parked":
                parked.append((row, row["detail"]))
                held = f"waits behind {row['message_id']}, which is parked"
            elif held:
                stays.append((row, held))
            elif row["may_have"] or row["status"] == "sending":
                stays.append((row, f"the old system may have it: {finishes}"))
                held = f"waits behind {row['message_id']}, and moves when that has ended"
            elif why := ways.unfit(vault, row, route):
                stays.append((row, f"{why}: it will be parked"))
                held = f"waits behind {row['message_id']}, which will be parked"
            else:
                moves.append((row, "the old system has surely not had it"))
    return moves, stays, parked

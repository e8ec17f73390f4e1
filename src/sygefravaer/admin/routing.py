# SPDX-License-Identifier: MPL-2.0
"""Routes: which there are, and a test call of one: a handshake and an empty request, without any citizen's data."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

import aiohttp
from fastapi import Depends, Query

from sygefravaer import audit
from sygefravaer.admin import rest
from sygefravaer.admin.access import Role, Signed, User, must_own, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.agreements import ALL, organisations
from sygefravaer.contract.operations import Service
from sygefravaer.delivery import Routes
from sygefravaer.errors import NotThere, UsageError

router: Final = rest.router("routes")

PATIENCE: Final = 10.0  # seconds for all of a test call
READ_MAX: Final = 64 * 1024  # of what it answers
Tester = Annotated[User, Depends(needs(Role.VENDOR, Role.MUNICIPALITY, Role.OPERATOR))]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What came of a test call: how far it came, and in what time. `passed`: a fault, as an empty request deserves."""

    passed: bool
    reached: str
    status: int | None
    seconds: float


@router.get("/routes")
async def list_routes(
    user: Signed,
    office: In,
    municipality: Annotated[str | None, Query(pattern=r"^[0-9]{8}$")] = None,
    service: Service | None = None,
    on: date | None = None,
) -> list[dict[str, Any]]:
    """
    List the routes: of a municipality those that count for it, of a vendor those to its systems.

    Operator and auditor see all.
    """
    if municipality is not None and Role.VENDOR not in user.roles:
        must_own(user, municipality)
    return await _seen(office, user, municipality=municipality, service=service, on=on)


@router.post("/routes/{route}/test")
async def test_route(route: UUID, user: Tester, office: In) -> Tested:
    """Call a route's address as the gateway would, with an empty request; a receiver answers that with a fault."""
    found = next((one for one in await _seen(office, user) if one["route"] == str(route)), None)
    if found is None:
        known = await Routes(store=office.store, vault=office.vault, environment=office.environment).listed()
        raise NotThere(foreign=any(one["route"] == str(route) for one in known))
    if office.tls is None:
        raise UsageError("SettingMissing", "The setting `client` is missing, and a test call shows its certificate.")
    told = await call(found["url"], office.tls)
    async with office.store.tx() as tx:
        await audit.record(
            tx,
            audit.Event.ROUTE_TESTED,
            now=office.clock.now(),
            system=UUID(found["system"]),
            municipality_cvr=None if found["municipality"] == ALL else found["municipality"],
            detail=user.actor.plain() | {"route": route} | asdict(told),
        )
    return told


async def call(url: str, tls: ssl.SSLContext) -> Tested:
    """Shake hands and post nothing; never raises for what the other side does."""
    begun = time.monotonic()
    reached, status = "nobody", None
    try:
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), trust_env=False) as session,
            session.post(
                url, data=b"", headers={"Content-Type": "text/xml; charset=utf-8"}, allow_redirects=False
            ) as answer,
        ):
            reached, status = "an HTTP server", answer.status
            body = await answer.content.read(READ_MAX)
            if b"Fault" in body and b"Envelope" in body:
                reached = "a SOAP service"
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
        reached = "a server without TLS that both sides accept"
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass  # `reached` says how far it came
    seconds = round(time.monotonic() - begun, 3)
    return Tested(passed=reached == "a SOAP service", reached=reached, status=status, seconds=seconds)


async def _seen(
    office: Office,
    user: User,
    *,
    municipality: str | None = None,
    service: Service | None = None,
    on: date | None = None,
) -> list[dict[str, Any]]:
    kept = Routes(store=office.store, vault=office.vault, environment=office.environment)
    found = await kept.listed(service=service, municipality=municipality, on=on)
    if user.everywhere:
        return found
    async with office.store.read() as tx:
        systems = await organisations.systems(tx, environment=office.environment, cvr=user.cvr)
    own = {str(one.system_id) for one in systems if one.vendor_cvr == user.cvr}
    municipal = Role.MUNICIPALITY in user.roles
    return [one for one in found if one["system"] in own or (municipal and one["municipality"] in {user.cvr, ALL})]

# SPDX-License-Identifier: MPL-2.0
"""
What a sandbox holds from the first minute, and what it tells the world about that.

Certificates, systems, agreements, routes, citizens with cases, a request that anyone can post, a first conversation.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from sygefravaer import agreements, identity, soap
from sygefravaer.admin import accounts
from sygefravaer.agreements import Actor, Role, catalogue, organisations
from sygefravaer.app import PLATFORM
from sygefravaer.client import hoved
from sygefravaer.config import Kind
from sygefravaer.contract import codec
from sygefravaer.contract.messages import AuthorityContextType, CallContextType, HentSagsListeRequest
from sygefravaer.contract.operations import Environment, Service, operation_by
from sygefravaer.contract.values import Cpr
from sygefravaer.control import knock
from sygefravaer.ksd.lifecycle import State
from sygefravaer.sandbox import cases, citizens
from sygefravaer.sandbox.parts import ADMIN, GATEWAY, JOBCENTERS, KSD, SUBSTITUTES, SYSTEMS, VIBORG, Layout, Spec
from sygefravaer.sandbox.pki import Issued, Pki
from sygefravaer.store import Store, Tx, migrate

LIST: Final = operation_by(HentSagsListeRequest)
"""What a stranger tries first."""
SHOWN: Final = 200  # cases in sandbox.json, which a stranger reads whole
VALID_FROM: Final = date(2014, 7, 1)  # the law's first day that the code lists know, and far past any test's last
VALID_TO: Final = date(2049, 12, 31)
QUIET_SECONDS: Final = 0.2
QUIET_TIMES: Final = 3  # an answer can be between two outboxes once
SOON: Final = timedelta(seconds=30)
STRANGER_CVR: Final = "19435075"
BY: Final = Actor(user="sandbox", organisation=GATEWAY.cvr)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who may sign in to the sandbox's administration."""

    name: str
    cvr: str
    roles: frozenset[accounts.Role]


PEOPLE: Final[Mapping[str, Person]] = {
    "leverandoer": Person(name="Vera Vestergaard", cvr=VIBORG, roles=frozenset({accounts.Role.VENDOR})),
    "kommune": Person(name="Kim Kjær", cvr=VIBORG, roles=frozenset({accounts.Role.MUNICIPALITY})),
    "drift": Person(name="Otto Olsen", cvr=GATEWAY.cvr, roles=frozenset({accounts.Role.OPERATOR})),
    "drift2": Person(name="Olga Overgaard", cvr=GATEWAY.cvr, roles=frozenset({accounts.Role.OPERATOR})),
    "revision": Person(name="Rie Ravn", cvr=GATEWAY.cvr, roles=frozenset({accounts.Role.AUDITOR})),
}
"""One account for each role, and a second operator: four eyes take two."""
ROLES: Final[Mapping[Kind, Role]] = {Kind.KSD: Role.KSD, Kind.JOBCENTER: Role.JOBCENTER}


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """One certificate for the platform, one for each system; the others are there to be refused."""

    platform: Issued
    systems: Mapping[str, Issued]


def certificates(layout: Layout) -> tuple[Pki, Certificates]:
    """
    Make the authority and every certificate that is missing.

    Beside those of the parts: `unregistered` (trusted, unknown to the platform), `expired`, `revoked`, and `foreign`
    (another authority).
    """
    pki = Pki(layout.pki).create()
    # RSA for the platform alone: old client stacks cannot do with less, and an RSA key takes long to make.
    platform = pki.get(GATEWAY.name) or pki.issue(GATEWAY.name, GATEWAY.cvr, uuid=GATEWAY.system_id, key="rsa")
    systems = {spec.name: pki.get(spec.name) or pki.issue(spec.name, spec.cvr, uuid=spec.system_id) for spec in SYSTEMS}
    if pki.get("unregistered") is None:
        pki.issue("unregistered", STRANGER_CVR)
    if pki.get("expired") is None:
        pki.issue("expired", STRANGER_CVR, not_after=datetime.now(UTC) - timedelta(days=1))
    if pki.get("revoked") is None:
        pki.revoke(pki.issue("revoked", STRANGER_CVR))
    if pki.get("foreign") is None:
        pki.issue("foreign", STRANGER_CVR, ca=pki.foreign)
    return pki, Certificates(platform=platform, systems=systems)


async def register(
    dsn: str,
    made: Certificates,
    urls: Mapping[str, str],
    *,
    people: Mapping[str, str] | None = None,
    schema: str = GATEWAY.schema or "",
) -> None:
    """
    Write systems, certificates, agreements and routes into the platform's registers; again changes nothing.

    `people` are the passwords of those of `PEOPLE` who get an account.
    """
    store = Store(dsn, schema=schema, size=1)
    await store.open()
    try:
        now = datetime.now(UTC)
        await migrate(store, PLATFORM, now=now)
        async with store.tx() as tx:
            await organisations.ensure_municipalities(tx, by=BY, now=now)
            if await organisations.organisation(tx, GATEWAY.cvr) is None:
                kind = organisations.Kind.OPERATOR
                await organisations.add_organisation(tx, cvr=GATEWAY.cvr, name="KOMBIT", kind=kind, by=BY, now=now)
            for spec in SYSTEMS:
                await _register_system(tx, spec, made.systems[spec.name], urls[spec.name], now)
        for login, password in (people or {}).items():
            async with store.tx() as tx:
                await _let_in(tx, login, password, now)
    finally:
        await store.close()


async def _register_system(tx: Tx, spec: Spec, issued: Issued, url: str, now: datetime) -> None:
    test = Environment.TEST
    # A system calls one service and receives what the other carries.
    calls, receives = Service.SYGEFRAVAER, Service.SYGEFRAVAER_JC
    if spec is KSD:
        calls, receives = receives, calls
    await agreements.register_system(
        tx,
        system_id=spec.system_id,
        name=spec.title,
        vendor_cvr=spec.cvr,
        role=ROLES[spec.kind],
        environment=test,
        now=now,
    )
    await agreements.register_certificate(
        tx,
        identity.from_der(issued.der),
        system_id=spec.system_id,
        environment=test,
        valid_from=VALID_FROM,
        valid_to=VALID_TO,
        now=now,
    )
    await organisations.join_group(tx, spec.system_id, catalogue.MONOPOLBRUD, by=BY, now=now)
    for cvr in spec.municipalities:
        await agreements.grant_agreement(
            tx,
            agreement_id=uuid5(citizens.NAMESPACE, f"agreement/{spec.name}/{cvr}"),
            system_id=spec.system_id,
            service=calls,
            municipality_cvr=cvr,
            valid_from=VALID_FROM,
            valid_to=VALID_TO,
            now=now,
        )
    for cvr in (agreements.ALL,) if spec is KSD else spec.municipalities:
        await agreements.set_route(
            tx,
            route_id=uuid5(citizens.NAMESPACE, f"route/{spec.name}/{cvr}"),
            service=receives,
            municipality_cvr=cvr,
            system_id=spec.system_id,
            url=url + receives.path,
            takes_substitute=cvr in SUBSTITUTES,
            valid_from=VALID_FROM,
            valid_to=VALID_TO,
            now=now,
        )


async def _let_in(tx: Tx, login: str, password: str, now: datetime) -> None:
    """Give a person of the sandbox an account; after a snapshot was taken over, the password of this sandbox."""
    one = PEOPLE[login]
    if await accounts.set_password(tx, login, password):
        return
    await accounts.add(tx, login=login, password=password, name=one.name, cvr=one.cvr, roles=one.roles, by=BY, now=now)


def account(login: str) -> dict[str, Any]:
    """Say who has an account, without the password."""
    one = PEOPLE[login]
    return {"login": login, "name": one.name, "cvr": one.cvr, "roles": sorted(one.roles)}


def summary(layout: Layout, ports: Mapping[str, int], pki: Pki, made: Certificates) -> dict[str, Any]:
    """Say what a stranger needs in order to take part: the content of `sandbox.json`."""
    base = f"https://localhost:{ports[GATEWAY.name]}"
    return {
        "gateway": {
            "sygefravaer": base + Service.SYGEFRAVAER.path,
            "sygefravaer_jc": base + Service.SYGEFRAVAER_JC.path,
        },
        "admin": f"http://localhost:{ports[ADMIN.name]}/",
        "ca": str(pki.ca),
        "systems": [_system(spec, made.systems[spec.name]) for spec in (*JOBCENTERS, KSD)],
        "cases": [
            {key: row[key] for key in ("cpr", "sags_id", "nemrefusions_id", "municipality_cvr", "state")}
            for row in islice(cases.read(layout), SHOWN)
        ],
    }


def _system(spec: Spec, issued: Issued) -> dict[str, Any]:
    return {
        "name": spec.name,
        "role": spec.kind.value,
        "uuid": str(spec.system_id),
        "municipalities": list(spec.municipalities),
        "cert": str(issued.certificate),
        "key": str(issued.key),
        "p12": str(issued.p12),
        "p12_password": issued.p12_password,
    }


def write_requests(layout: Layout, told: Mapping[str, Any], *, now: datetime) -> None:
    """Write a request that anyone can post, new at every start: a BeskedID and a time do not keep."""
    system, cvr, citizen = _first(told)
    message = HentSagsListeRequest(
        CallContext=CallContextType(OnBehalfOfUser="sandkasse"),
        AuthorityContext=AuthorityContextType(MunicipalityCVR=cvr),
        Hoved=hoved(LIST, municipality=cvr, sender=UUID(system["uuid"]), cpr=citizen, now=now),
    )
    _request_file(layout).write_bytes(soap.wrap(codec.encode(message)))


def curl(layout: Layout, told: Mapping[str, Any]) -> str:
    """Give the command line that posts it."""
    system, _, _ = _first(told)
    words = [
        *("curl", "--cacert", told["ca"], "--cert", system["cert"], "--key", system["key"]),
        *("-H", "Content-Type: text/xml; charset=utf-8", "--data", f"@{_request_file(layout)}"),
        told["gateway"]["sygefravaer"],
    ]
    return shlex.join(words)


def _request_file(layout: Layout) -> Path:
    return layout.requests / f"{LIST.name}.xml"


def _first(told: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, Cpr]:
    """Choose a system, a municipality of its own, and a citizen there; where no case is, somebody without one."""
    system = told["systems"][0]
    for case in told["cases"]:
        if case["municipality_cvr"] in system["municipalities"]:
            return system, case["municipality_cvr"], Cpr.parse(case["cpr"])
    return system, system["municipalities"][0], next(citizens.citizens()).cpr


async def converse(layout: Layout) -> None:
    """
    Let the parts talk, so that there is something to see.

    KSD has told its cases (SF2090) and both jobcentres are answering. Then, in each municipality: an extension that is
    running out is asked for again and granted (SF2093), a citizen is seen (SF2095), a case is looked up (SF2096).
    """
    await _until_quiet(layout)
    for spec in JOBCENTERS:
        door = layout.socket(spec.name)
        await knock(door, "policy", {"extensions": "diligent"})
        extended, running = (_first_case(layout, spec, state) for state in (State.FORLAENGET, State.LOEBENDE))
        if extended is not None:
            await knock(layout.socket(KSD.name), "ask_extension", {"sags_id": extended})
        if running is not None:
            await knock(door, "visit", {"sags_id": running})
            await knock(door, "lookup_case", {"sags_id": running, "user": "sandkasse"})
    await _until_quiet(layout)


def _first_case(layout: Layout, spec: Spec, state: str) -> str | None:
    wanted = (
        row["sags_id"]
        for row in cases.read(layout)
        if row["state"] == state and row["municipality_cvr"] in spec.municipalities
    )
    return next(wanted, None)


async def _until_quiet(layout: Layout) -> None:
    """Wait until nobody has anything to send right now."""
    quiet = 0
    while quiet < QUIET_TIMES:
        await asyncio.sleep(QUIET_SECONDS)
        soon = await _now(layout) + SOON
        told = [await knock(layout.socket(spec.name), "due") for spec in SYSTEMS]
        due = any(one["next"] is not None and datetime.fromisoformat(one["next"]) <= soon for one in told)
        quiet = 0 if due or any(one["in_flight"] for one in told) else quiet + 1


async def _now(layout: Layout) -> datetime:
    """Ask what time it is in the sandbox, which may be ahead."""
    return datetime.fromisoformat((await knock(layout.socket(KSD.name), "clock"))["now"])

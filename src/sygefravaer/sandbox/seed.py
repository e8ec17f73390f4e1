# SPDX-License-Identifier: MPL-2.0
"""
What a sandbox holds from the first minute, and what it tells the world about that.

Certificates, systems, agreements, routes, citizens with cases, a request that anyone can post, a first conversation.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

from sygefravaer import agreements, identity, soap
from sygefravaer.agreements import Role
from sygefravaer.app import PLATFORM
from sygefravaer.config import Kind
from sygefravaer.contract import codec
from sygefravaer.contract.messages import AuthorityContextType, CallContextType, HentSagsListeRequest, HovedType
from sygefravaer.contract.operations import OPERATIONS, Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.control import knock
from sygefravaer.sandbox import citizens
from sygefravaer.sandbox.parts import ADMIN, GATEWAY, JOBCENTERS, KSD, SYSTEMS, Layout, Spec
from sygefravaer.sandbox.pki import Issued, Pki
from sygefravaer.store import Store, Tx, migrate

CASES: Final = 50
VALID_FROM: Final = date(2014, 7, 1)  # the law's first day that the code lists know, and far past any test's last
VALID_TO: Final = date(2049, 12, 31)
SEED_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 0.2
QUIET_TIMES: Final = 3  # an answer can be between two outboxes once
SOON: Final = timedelta(seconds=30)
STRANGER_CVR: Final = "19435075"
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
    dsn: str, made: Certificates, urls: Mapping[str, str], *, schema: str = GATEWAY.schema or ""
) -> None:
    """Write systems, certificates, agreements and routes into the platform's registers; again changes nothing."""
    store = Store(dsn, schema=schema, size=1)
    await store.open()
    try:
        now = datetime.now(UTC)
        await migrate(store, PLATFORM, now=now)
        async with store.tx() as tx:
            for spec in SYSTEMS:
                await _register_system(tx, spec, made.systems[spec.name], urls[spec.name], now)
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
            valid_from=VALID_FROM,
            valid_to=VALID_TO,
            now=now,
        )


def write_cases(layout: Layout) -> None:
    """Write the cases that KSD is to open its register with; kept once written, since the dates count from that day."""
    if layout.cases.exists():
        return
    made = citizens.cases(
        CASES,
        municipalities=[MUNICIPALITIES[cvr] for cvr in KSD.municipalities],
        today=agreements.danish_day(datetime.now(UTC)),
    )
    rows = [_row(case) for case in made]
    layout.cases.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(case: citizens.SyntheticCase) -> dict[str, object]:
    """Say of a case what KSD's control door wants to know; the name of the citizen is for people."""
    row: dict[str, object] = {
        "name": case.citizen.name,
        "cpr": case.citizen.cpr.reveal(),
        "sags_id": str(case.sags_id),
        "nemrefusions_id": str(case.nemrefusions_id),
        "municipality_cvr": case.municipality.cvr.text,
        "state": case.state,
        "Sagsart": case.sagsart,
        "Beskaeftigelsesstatus": case.employment,
        "FoersteFravaersdag": case.first_day.isoformat(),
        "AnmeldelsesDato": case.reported.isoformat(),
        "RevurderingsDato": case.review.isoformat(),
    }
    if case.questionnaire is not None:
        row["OplysningsskemaModtaget"] = case.questionnaire.isoformat()
    if case.employer is not None:
        row["Arbejdsgiver"] = {"CVRNummer": case.employer[1], "Navn": case.employer[0]}
    if case.akasse is not None:
        row["AkasseKode"] = case.akasse
    if case.last_day is not None:
        row["SidsteFravaersdag"] = case.last_day.isoformat()
    if case.extended_until is not None:
        row["Forlaengelse"] = [
            {
                "Forlaengelseskode": "P27_1_2",
                "FraDato": (case.review + timedelta(days=1)).isoformat(),
                "TilDato": case.extended_until.isoformat(),
                "AfgoerelsesDato": case.review.isoformat(),
            }
        ]
    return row


def _rows(layout: Layout) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(layout.cases.read_text(encoding="utf-8"))
    return rows


async def open_cases(layout: Layout) -> bool:
    """
    Let KSD open its register with the cases, unless it has some already; say whether it had none.

    Each is told to its jobcentre. The jobcentres answer requests for extension by hand meanwhile, so that the cases
    that are REVURDERING stay so: somebody should find something to do.
    """
    known = await knock(layout.socket(KSD.name), "cases", {"limit": CASES})
    if len(known["cases"]) >= CASES:
        return False
    for spec in JOBCENTERS:
        await knock(layout.socket(spec.name), "policy", {"extensions": "manual"})
    told = {"cases": [{key: value for key, value in row.items() if key != "name"} for row in _rows(layout)]}
    await knock(layout.socket(KSD.name), "seed", told, timeout=SEED_SECONDS)
    return True


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
            for row in _rows(layout)
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


def write_requests(layout: Layout, told: Mapping[str, Any]) -> None:
    """Write a request that anyone can post, new at every start: a BeskedID and a time do not keep."""
    system, case = _first(told)
    operation = OPERATIONS["HentSagsListe"]
    cvr = case["municipality_cvr"]
    message = HentSagsListeRequest(
        CallContext=CallContextType(OnBehalfOfUser="sandkasse"),
        AuthorityContext=AuthorityContextType(MunicipalityCVR=cvr),
        Hoved=HovedType(
            BeskedID=uuid4(),
            Beskedtype=operation.name,
            SnitfladeID=operation.sf,
            SnitfladeVersion="2.0",
            KorrelationsID=uuid4(),
            AfsenderMyndighedCVR=cvr,
            ModtagerMyndighedCVR=cvr,
            AfsenderSystemID=UUID(system["uuid"]),
            Kommunekode=MUNICIPALITIES[cvr].kommunekode,
            Afsendelsestidspunkt=datetime.now(UTC),
            CprNummer=Cpr.parse(case["cpr"]),
        ),
    )
    _request_file(layout).write_bytes(soap.wrap(codec.encode(message)))


def curl(layout: Layout, told: Mapping[str, Any]) -> str:
    """Give the command line that posts it."""
    system, _ = _first(told)
    words = [
        *("curl", "--cacert", told["ca"], "--cert", system["cert"], "--key", system["key"]),
        *("-H", "Content-Type: text/xml; charset=utf-8", "--data", f"@{_request_file(layout)}"),
        told["gateway"]["sygefravaer"],
    ]
    return shlex.join(words)


def _request_file(layout: Layout) -> Path:
    return layout.requests / "HentSagsListe.xml"


def _first(told: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    system = told["systems"][0]
    return system, next(case for case in told["cases"] if case["municipality_cvr"] in system["municipalities"])


async def converse(layout: Layout) -> None:
    """
    Let the parts talk, so that there is something to see.

    KSD has told its cases (SF2090) and both jobcentres are answering. Then, in each municipality: an extension that is
    running out is asked for again and granted (SF2093), a citizen is seen (SF2095), a case is looked up (SF2096).
    """
    rows = _rows(layout)
    await _until_quiet(layout)
    for spec in JOBCENTERS:
        own = [row for row in rows if row["municipality_cvr"] in spec.municipalities]
        await knock(layout.socket(spec.name), "policy", {"extensions": "diligent"})
        extended = next(row for row in own if row["state"] == "FORLAENGET")
        await knock(layout.socket(KSD.name), "ask_extension", {"sags_id": extended["sags_id"]})
        running = next(row for row in own if row["state"] == "LOEBENDE")
        today = agreements.danish_day(datetime.now(UTC)).isoformat()
        visited = {
            "sags_id": running["sags_id"],
            "Opdateringstype": ["VISITATION"],
            "Visitationskategori": "2",
            "VisitationsDato": today,
            "GyldigFra": today,
        }
        await knock(layout.socket(spec.name), "update", visited)
        await knock(layout.socket(spec.name), "lookup_case", {"sags_id": running["sags_id"], "user": "sandkasse"})
    await _until_quiet(layout)


async def _until_quiet(layout: Layout) -> None:
    """Wait until nobody has anything to send right now."""
    now = datetime.now(UTC)
    quiet = 0
    while quiet < QUIET_TIMES:
        await asyncio.sleep(QUIET_SECONDS)
        told = [await knock(layout.socket(spec.name), "due") for spec in SYSTEMS]
        soon = any(one["next"] is not None and datetime.fromisoformat(one["next"]) <= now + SOON for one in told)
        quiet = 0 if soon or any(one["in_flight"] for one in told) else quiet + 1
        now = datetime.now(UTC)

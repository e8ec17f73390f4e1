# SPDX-License-Identifier: MPL-2.0
"""
A jobcentre system between two stand-ins on real sockets: KSD's hand that sends, and a gateway that keeps what comes.

The stand-in for the gateway is a receiver like any other: it answers what the test has put before it, else OK.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from sygefravaer.client import Client, client_tls, hoved
from sygefravaer.contract.messages import (
    AuthorityContextType,
    FejlListeType,
    ForlaengelseType,
    HentSagResponse,
    HentSagsListeResponse,
    SagsListeType,
    SendAnmodningForlaengelseRequest,
    SendHaendelseSygefravaerssagRequest,
    SygefravaerResponse,
    SygefravaerssagType,
    fejlliste,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.endpoint import Call, Endpoint, Server, server_tls
from sygefravaer.jobcenter import Jobcenter

VIBORG, AARHUS = "29189846", "55133018"
KSD_SYSTEM, JC_SYSTEM = UUID(int=0xA), UUID(int=0xB)
CPR, OTHER_CPR = Cpr.parse("0101505006"), Cpr.parse("0201505103")


class Gateway:
    """Keeps every message that comes, and answers from a list per operation."""

    def __init__(self) -> None:
        self.came: dict[str, list] = defaultdict(list)
        self.answers: dict[str, list] = defaultdict(list)

    async def take(self, call: Call):
        """Keep a message and answer it."""
        name = call.operation.name
        self.came[name].append(call.message)
        answer = self.answers[name].pop(0) if self.answers[name] else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if name == "HentSag":
            return HentSagResponse(FejlListe=fejlliste("H501"))
        if name == "HentSagsListe":
            return HentSagsListeResponse(SagsListe=SagsListeType(), AntalIAlt=0, FlereSider=False)
        return SygefravaerResponse(TransportKvittering=kvittering_ok())

    def says(self, operation: str, *receipts) -> None:
        """Put answers to a send before it."""
        self.answers[operation] += [SygefravaerResponse(TransportKvittering=each) for each in receipts]

    @property
    def m2(self) -> list:
        return self.came["SendForretningsSvar"]

    @property
    def m4(self) -> list:
        return self.came["SendForretningsSvarForlaengelse"]

    @property
    def m5(self) -> list:
        return self.came["SendOpdateringFravaer"]


class Scene:
    """The jobcentre, the gateway's stand-in, the clock, and KSD's hand."""

    def __init__(self, *, jobcenter, gateway, clock, client, build, store) -> None:
        self.jobcenter: Jobcenter = jobcenter
        self.gateway: Gateway = gateway
        self.clock = clock
        self.client: Client = client
        self.build = build
        self.store = store

    async def act(self, name: str, **fields):
        """Do one act."""
        return await self.jobcenter.acts[name](fields)

    async def tell(self, message) -> SygefravaerResponse:
        """Send a message to the jobcentre as the gateway does."""
        return await self.client.call(message)

    def head(self, operation: str, case: SygefravaerssagType, *, cvr: str = VIBORG, **given):
        """Write the header of one of KSD's messages."""
        return hoved(
            OPERATIONS[operation],
            municipality=cvr,
            sender=KSD_SYSTEM,
            cpr=case.CprNummer,
            now=self.clock.now(),
            nemrefusions_id=case.NemrefusionsID,
            **given,
        )

    def m1(self, case: SygefravaerssagType, kind: str = "OPRETTET", *causes: str, cvr: str = VIBORG, **given):
        """Write an event."""
        return SendHaendelseSygefravaerssagRequest(
            AuthorityContext=AuthorityContextType(MunicipalityCVR=cvr),
            Hoved=self.head("SendHaendelseSygefravaerssag", case, cvr=cvr, **given),
            Haendelsestype=kind,
            HaendelsesDato=case.FoersteFravaersdag,
            Aendringsaarsag=causes or (("SAGSART_SKIFT",) if kind == "AENDRET" else ()),
            Sygefravaerssag=case,
        )

    def m3(self, case: SygefravaerssagType, *, anmodning_id=None, rykker=0, cvr=VIBORG, **given):
        """Write a request for extension."""
        values = {
            "Anmodningstype": "FOERSTE_REVURDERING",
            "RevurderingsDato": date(2026, 4, 30),
            "Svarfrist": date(2026, 4, 16),
            "MuligeForlaengelseskoder": ("P27_1_1", "P27_1_2", "P27_1_3"),
            "ForbrugteUger": Decimal("17.5"),
        } | given
        return SendAnmodningForlaengelseRequest(
            AuthorityContext=AuthorityContextType(MunicipalityCVR=cvr),
            Hoved=self.head("SendAnmodningForlaengelse", case, cvr=cvr),
            AnmodningID=anmodning_id or uuid4(),
            Rykkernummer=rykker,
            Sygefravaerssag=case,
            **values,
        )

    async def until(self, true, *, seconds: float = 30.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not (await found if asyncio.iscoroutine(found := true()) else found):
                await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Wait until nothing is due and nothing is in flight."""

        async def nothing() -> bool:
            due = await self.act("due")
            return due["in_flight"] == 0 and (due["next"] is None or due["next"] > self.clock.now().isoformat())

        await self.until(nothing)

    async def pass_time(self, **by) -> None:
        """Move the clock and let what becomes due happen."""
        self.clock.advance(timedelta(**by))
        await self.quiet()

    async def the_case(self, case: SygefravaerssagType, **given):
        """Show the jobcentersag of a case."""
        return await self.act("case", sags_id=str(case.SagsID), **given)


def sag(**given) -> SygefravaerssagType:
    """Make up a case."""
    municipality = given.pop("cvr", VIBORG)
    values = {
        "SagsID": uuid4(),
        "SagsVersion": 1,
        "NemrefusionsID": uuid4(),
        "CprNummer": CPR,
        "Kommunekode": MUNICIPALITIES[municipality].kommunekode,
        "Sagsart": "11",
        "SagsTilstand": "LOEBENDE",
        "Fravaerstype": "FULDT",
        "FoersteFravaersdag": date(2026, 1, 26),
        "AnmeldelsesDato": date(2026, 2, 27),
        "Beskaeftigelsesstatus": "LOENMODTAGER",
        "SenestAendret": "2026-03-02T08:00:00Z",
    } | given
    if isinstance(values["SenestAendret"], str):
        from datetime import datetime

        values["SenestAendret"] = datetime.fromisoformat(values["SenestAendret"])
    return SygefravaerssagType(**values)


def ended(case: SygefravaerssagType, cause: str = "RASKMELDT", **given) -> SygefravaerssagType:
    """Give the next version of a case, ended."""
    values = {
        "SagsVersion": case.SagsVersion + 1,
        "SagsTilstand": "AFSLUTTET",
        "SidsteFravaersdag": date(2026, 3, 1),
        "AfslutningsDato": date(2026, 3, 1),
        "Afslutningsaarsag": cause,
    }
    return replace(case, **(values | given))


def later(case: SygefravaerssagType, **given) -> SygefravaerssagType:
    """Give the next version of a case."""
    return replace(case, **({"SagsVersion": case.SagsVersion + 1} | given))


def granted(kode: str, fra: date, til: date | None) -> ForlaengelseType:
    """Make up an extension that runs."""
    return ForlaengelseType(Forlaengelseskode=kode, FraDato=fra, TilDato=til, AfgoerelsesDato=fra)


def codes(liste: FejlListeType | None) -> list[str]:
    """Give the codes of a FejlListe."""
    return [each.FejlKode for each in liste.Fejl] if liste else []


def said(messages) -> list[str]:
    """Give the business codes of answers."""
    return [each.Forretningskvittering.ForretningsValideringsKode for each in messages]


@asynccontextmanager
async def scene(*, make_store, vault, clock, pki, **options):
    """Start a jobcentre system and its stand-ins, and stop them."""
    async with AsyncExitStack() as stack:
        hub = pki.get("jc-hub") or pki.issue("jc-hub", "19435075")
        own = pki.get("jc-own") or pki.issue("jc-own", VIBORG)
        gateway = Gateway()
        receiver = Endpoint(
            Service.SYGEFRAVAER,
            {name: gateway.take for name, row in OPERATIONS.items() if row.service is Service.SYGEFRAVAER},
            clock=clock,
        )
        hub_server = Server(receiver, tls=server_tls(hub.certificate, hub.key, pki.ca), grace=1.0)
        await hub_server.start()
        stack.push_async_callback(hub_server.stop)
        store = await make_store("lanes", "ledger", "jobcenter", size=6)
        out = await stack.enter_async_context(
            Client(
                f"{hub_server.url.replace('127.0.0.1', 'localhost')}{Service.SYGEFRAVAER.path}",
                service=Service.SYGEFRAVAER,
                tls=client_tls(own.certificate, own.key, pki.ca),
                timeout=30.0,
            )
        )

        def build(**other) -> Jobcenter:
            values = {
                "store": store,
                "vault": vault,
                "clock": clock,
                "client": out,
                "system_id": JC_SYSTEM,
                "municipalities": (VIBORG,),
                "environment": Environment.TEST,
                "pinned": frozenset({hub.serial_key}),
            }
            values |= options | other
            return Jobcenter(**values)

        jobcenter = build()
        await jobcenter.start()
        server = Server(jobcenter.endpoint, tls=server_tls(own.certificate, own.key, pki.ca), grace=1.0)
        await server.start()
        stack.push_async_callback(server.stop)
        to_jobcenter = await stack.enter_async_context(
            Client(
                f"https://localhost:{server.port}/",
                service=Service.SYGEFRAVAER_JC,
                tls=client_tls(hub.certificate, hub.key, pki.ca),
                timeout=30.0,
                callback=True,
            )
        )
        found = Scene(jobcenter=jobcenter, gateway=gateway, clock=clock, client=to_jobcenter, build=build, store=store)
        found.hub, found.own, found.pki = receiver, own, pki
        found.url = f"https://localhost:{server.port}/"

        async def stop() -> None:
            await found.jobcenter.stop()  # the one that is there at the end

        stack.push_async_callback(stop)
        yield found

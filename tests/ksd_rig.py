# SPDX-License-Identifier: MPL-2.0
"""
A KSD between two stand-ins on real sockets: a jobcentre's hand that sends, and a gateway that keeps what comes.

The stand-in for the gateway is a receiver like any other: it answers what the test has put before it, else OK.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from uuid import UUID, uuid4

from sygefravaer.client import Client, client_tls, hoved
from sygefravaer.contract.messages import (
    AuthorityContextType,
    CallContextType,
    ForretningskvitteringType,
    HentSagRequest,
    HentSagsListeRequest,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendOpdateringFravaerRequest,
    SygefravaerResponse,
    fejlliste,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Service
from sygefravaer.contract.values import Cpr
from sygefravaer.endpoint import Call, Endpoint, Server, server_tls
from sygefravaer.ksd import Ksd, Policy

VIBORG, AARHUS, ODENSE = "29189846", "55133018", "35209115"
KSD_SYSTEM, JC_SYSTEM = UUID(int=0xA), UUID(int=0xB)
CPR, OTHER_CPR, THIRD_CPR = "0101505006", "0201505103", "0301505111"
SUBSTITUTE = "6101505006"
REVIEW = date(2026, 4, 30)


class Gateway:
    """Keeps every message that comes, and answers from a list per operation."""

    def __init__(self) -> None:
        self.came: dict[str, list] = defaultdict(list)
        self.answers: dict[str, list] = defaultdict(list)

    async def take(self, call: Call):
        """Keep a message and answer it."""
        name = call.operation.name
        self.came[name].append(call.message)
        answer = self.answers[name].pop(0) if self.answers[name] else kvittering_ok()
        if isinstance(answer, Exception):
            raise answer
        return SygefravaerResponse(TransportKvittering=answer)

    @property
    def m1(self) -> list:
        return self.came["SendHaendelseSygefravaerssag"]

    @property
    def m3(self) -> list:
        return self.came["SendAnmodningForlaengelse"]


class Scene:
    """KSD, the gateway's stand-in, the clock, and the jobcentres' hands."""

    def __init__(self, **parts) -> None:
        self.__dict__.update(parts)

    async def act(self, name: str, **fields):
        """Do one act."""
        return await self.ksd.acts[name](fields)

    async def opened(self, **given):
        """Open a case and give it as the jobcentre was told it."""
        fields = {"cpr": CPR, "municipality_cvr": VIBORG, "FoersteFravaersdag": "2026-01-12"} | given
        fields.setdefault("RevurderingsDato", REVIEW.isoformat())
        made = await self.act("create_case", **fields)
        await self.quiet()
        return next(
            each.Sygefravaerssag for each in self.gateway.m1 if str(each.Sygefravaerssag.SagsID) == made["sags_id"]
        )

    async def asked(self, **given):
        """Open a running case, ask for an extension, and give M3."""
        kind = given.pop("kind", None)
        values = {"state": "LOEBENDE", "sags_id": str(uuid4())} | given
        await self.seeded(**values)
        await self.act("ask_extension", sags_id=values["sags_id"], **({"kind": kind} if kind else {}))
        await self.quiet()
        return self.gateway.m3[-1]

    async def seeded(self, **given):
        """Seed one case and give what KSD says."""
        case = {
            "cpr": CPR,
            "municipality_cvr": VIBORG,
            "sags_id": str(uuid4()),
            "nemrefusions_id": str(uuid4()),
            "FoersteFravaersdag": "2026-01-12",
            "RevurderingsDato": REVIEW.isoformat(),
        } | given
        told = await self.act("seed", cases=[case])
        await self.quiet()
        return told, case

    async def case(self, sags_id, **given):
        """Show a case."""
        return await self.act("case", sags_id=str(sags_id), **given)

    async def tasks(self):
        """List open tasks as (kind, codes, follow_on)."""
        return [(task["kind"], task["codes"], task["follow_on"]) for task in (await self.act("tasks"))["tasks"]]

    async def send(self, message):
        """Send a message as the gateway does; give (code, FejlKoder)."""
        receipt = (await self.client.call(message)).TransportKvittering
        return receipt.TransportValideringsKode, [
            each.FejlKode for each in receipt.FejlListe.Fejl
        ] if receipt.FejlListe else []

    def head(self, operation: str, *, cvr=VIBORG, cpr=CPR, **given):
        """Write the header of one of a jobcentre's messages."""
        return {
            "AuthorityContext": AuthorityContextType(MunicipalityCVR=cvr),
            "Hoved": hoved(
                OPERATIONS[operation],
                municipality=cvr,
                sender=JC_SYSTEM,
                cpr=Cpr.of_wire(cpr),
                now=given.pop("now", None) or self.clock.now(),
                **given,
            ),
        }

    def m2(
        self,
        event,
        code="ACCEPTERET",
        *,
        reason=None,
        codes=(),
        cvr=VIBORG,
        cpr=CPR,
        reference=None,
        nemref=None,
        besked_id=None,
        **given,
    ):
        """Answer an event."""
        case = event.Sygefravaerssag
        values = {
            "SagsID": case.SagsID,
            "SagsVersion": case.SagsVersion,
            "JobcentersagID": UUID(int=0x1C) if code == "ACCEPTERET" else None,
            "ModtagetTidspunkt": self.clock.now(),
        } | given
        return SendForretningsSvarRequest(
            **self.head(
                "SendForretningsSvar",
                cvr=cvr,
                cpr=cpr,
                reference=reference or event.Hoved.BeskedID,
                korrelations_id=event.Hoved.KorrelationsID,
                nemrefusions_id=nemref or case.NemrefusionsID,
                besked_id=besked_id,
            ),
            Forretningskvittering=ForretningskvitteringType(
                ForretningsValideringsKode=code, Begrundelse=reason, FejlListe=fejlliste(*codes) if codes else None
            ),
            **values,
        )

    def m4(
        self,
        asked,
        code="ACCEPTERET",
        *,
        kode="P27_1_3",
        til=date(2026, 10, 31),
        reason=None,
        cvr=VIBORG,
        cpr=CPR,
        now=None,
        **given,
    ):
        """Answer a request for extension."""
        values = {
            "VurderingsDato": date(2026, 3, 2),
            "SagsVersion": asked.Sygefravaerssag.SagsVersion,
            "AnmodningID": asked.AnmodningID,
        }
        if code == "ACCEPTERET":
            values |= {
                "Forlaengelseskode": kode,
                "ForlaengelseFra": asked.RevurderingsDato + timedelta(days=1),
                "ForlaengelseTil": til,
            }
        if code == "AFVIST":
            values |= {"Afvisningsaarsag": "INGEN_GRUND_OPFYLDT"}
        return SendForretningsSvarForlaengelseRequest(
            **self.head(
                "SendForretningsSvarForlaengelse",
                cvr=cvr,
                cpr=cpr,
                now=now,
                reference=given.pop("reference", asked.Hoved.BeskedID),
                korrelations_id=asked.Hoved.KorrelationsID,
                nemrefusions_id=given.pop("nemref", asked.Sygefravaerssag.NemrefusionsID),
            ),
            Forretningskvittering=ForretningskvitteringType(ForretningsValideringsKode=code, Begrundelse=reason),
            **(values | given),
        )

    def m5(self, case=None, *kinds, cvr=VIBORG, cpr=CPR, now=None, nemref=None, besked_id=None, **given):
        """Write an update."""
        values = {
            "OpdateringID": uuid4(),
            "SagsID": case.SagsID if case is not None else None,
            "JobcentersagID": UUID(int=0x1C),
            "JobcentersagStatus": "I_OPFOELGNING",
            "Opdateringstype": kinds or ("STANDBY",),
            "GyldigFra": date(2026, 2, 27),
        } | given
        return SendOpdateringFravaerRequest(
            **self.head(
                "SendOpdateringFravaer", cvr=cvr, cpr=cpr, now=now, nemrefusions_id=nemref, besked_id=besked_id
            ),
            **values,
        )

    def visit(self, case, kategori="2", **given):
        """Write an update of the kategori."""
        return self.m5(
            case, "VISITATION", **({"Visitationskategori": kategori, "VisitationsDato": date(2026, 2, 27)} | given)
        )

    async def look(self, case=None, *, cvr=VIBORG, cpr=CPR, nemref=None, user="B123", **given):
        """Ask for a case."""
        values = {"SagsID": case.SagsID if case is not None else None} | given
        return await self.client.call(
            HentSagRequest(
                CallContext=CallContextType(OnBehalfOfUser=user) if user else None,
                **self.head("HentSag", cvr=cvr, cpr=cpr, nemrefusions_id=nemref),
                **values,
            )
        )

    async def listed(self, *, cvr=VIBORG, cpr=CPR, **given):
        """Ask for a citizen's cases."""
        return await self.client.call(HentSagsListeRequest(**self.head("HentSagsListe", cvr=cvr, cpr=cpr), **given))

    async def until(self, true, *, seconds: float = 5.0) -> None:
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


def fejl(reply) -> list[str]:
    """Give the codes of a look-up's FejlListe."""
    return [each.FejlKode for each in reply.FejlListe.Fejl] if reply.FejlListe else []


def said(event) -> tuple:
    """Give what an event says in short."""
    case = event.Sygefravaerssag
    return event.Haendelsestype, case.SagsVersion, case.SagsTilstand, event.Aendringsaarsag


@asynccontextmanager
async def scene(*, make_store, vault, clock, pki, **options):
    """Start a KSD and its stand-ins, and stop them."""
    async with AsyncExitStack() as stack:
        hub = pki.issue("gateway", "19435075")
        own = pki.issue("ksd", "19435075")
        gateway = Gateway()
        receiver = Endpoint(
            Service.SYGEFRAVAER_JC,
            {name: gateway.take for name, row in OPERATIONS.items() if row.service is Service.SYGEFRAVAER_JC},
            clock=clock,
        )
        hub_server = Server(receiver, tls=server_tls(hub.certificate, hub.key, pki.ca), grace=1.0)
        await hub_server.start()
        stack.push_async_callback(hub_server.stop)
        store = await make_store("lanes", "ledger", "ksd", size=6)
        out = await stack.enter_async_context(
            Client(
                f"https://localhost:{hub_server.port}{Service.SYGEFRAVAER_JC.path}",
                service=Service.SYGEFRAVAER_JC,
                tls=client_tls(own.certificate, own.key, pki.ca),
                timeout=5.0,
            )
        )

        def build() -> Ksd:
            values = {
                "store": store,
                "vault": vault,
                "clock": clock,
                "client": out,
                "system_id": KSD_SYSTEM,
                "environment": Environment.TEST,
                "pinned": frozenset({hub.serial_key}),
                "policy": Policy(asks=False, decides_after=None),
            } | options
            return Ksd(**values)

        ksd = build()
        await ksd.start()
        server = Server(ksd.endpoint, tls=server_tls(own.certificate, own.key, pki.ca), grace=1.0)
        await server.start()
        stack.push_async_callback(server.stop)
        url = f"https://localhost:{server.port}{Service.SYGEFRAVAER.path}"
        client = await stack.enter_async_context(
            Client(url, service=Service.SYGEFRAVAER, tls=client_tls(hub.certificate, hub.key, pki.ca), timeout=5.0)
        )
        found = Scene(
            ksd=ksd,
            gateway=gateway,
            clock=clock,
            client=client,
            store=store,
            build=build,
            url=url,
            hub=hub,
            own=own,
            pki=pki,
            receiver=receiver,
        )

        async def stop() -> None:
            await found.ksd.stop()  # the one that runs by then

        stack.push_async_callback(stop)
        yield found

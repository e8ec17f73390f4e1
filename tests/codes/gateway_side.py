# SPDX-License-Identifier: MPL-2.0
"""What codes do at the gateway: what its callers are told, what it sends on, what it keeps in its own record."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from codes import tables, texts
from codes.effects import error_text, facet
from corridor import AARHUS, FAELLES, RANDERS, Corridor, another, besked_id, fine, message
from sygefravaer import agreements, soap
from sygefravaer.client import Client
from sygefravaer.contract.operations import OPERATIONS, Environment, Service
from sygefravaer.delivery import Selection, obligations
from sygefravaer.endpoint import Endpoint, Server, server_tls


@asynccontextmanager
async def scene(*, make_store, vault, clock, pki):
    """Start a gateway between two jobcentre systems and KSD."""
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki) as corridor:
        yield corridor


async def sent(it, name, envelope):
    """Send something; give the code of the receipt or fault, and how many messages came to its receiver."""
    receiver = it.receivers["ksd" if OPERATIONS[name].to_ksd else "viborg"]
    before = len(receiver.calls)
    told = await it.send(name, envelope)
    return told.code or told.kode or "answered", len(receiver.calls) - before


async def of_names(it, name, **fields):
    """Send the sample of an operation with other words in its header; say whether it was passed on, else why not."""
    code, came = await sent(it, name, message(name, **fields))
    return "passed on" if came else code


# --- the header ---


@facet(
    "beskedtyper",
    "of which message it is the name",
    {
        kode: tuple("passed on" if kode == name else "G001" for name in texts.SAID["beskedtyper"])
        for kode in texts.SAID["beskedtyper"]
    },
)
async def _(it, kode):
    return tuple([await of_names(it, name, Beskedtype=kode) for name in texts.SAID["beskedtyper"]])


@facet(
    "snitfladeider",
    "of which messages it is the number",
    {
        kode: {name: "passed on" if name in names else "G001" for name in texts.SAID["beskedtyper"]}
        for kode, names in tables.SF.items()
    },
)
async def _(it, kode):
    return {name: await of_names(it, name, SnitfladeID=kode) for name in texts.SAID["beskedtyper"]}


@facet("snitfladeversioner", "which version is spoken", {"2.0": ("passed on", "SchemaValidationFailed")})
async def _(it, kode):
    return tuple([await of_names(it, "SendOpdateringFravaer", SnitfladeVersion=one) for one in (kode, "1.0")])


# --- refusals ---

UPDATE, EVENT, ANSWER = "SendOpdateringFravaer", "SendHaendelseSygefravaerssag", "SendForretningsSvar"
REQUEST = "SendAnmodningForlaengelse"
FAULT = (
    b'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><S:Fault><faultcode>S:Client</faultcode>'
    b"<faultstring>no</faultstring></S:Fault></S:Body></S:Envelope>"
)


async def refuses(_scope, receive, send):
    """Answer whatever comes with a fault that carries no receipt."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/xml")]})
    await send({"type": "http.response.body", "body": FAULT})


async def _rule(it):
    return await it.send(UPDATE, message(UPDATE, Beskedtype="HentSag"))


async def _key_used(it):
    first = message(UPDATE)
    await it.send(UPDATE, first)
    return await it.send(UPDATE, another(first, KorrelationsID=uuid4()))


async def _other_authority(it):
    return await it.send(UPDATE, message(UPDATE, Kommunekode="0751"))


async def _no_route(it):
    async with it.store.tx() as tx:
        await it.agree(tx, "ksd", Service.SYGEFRAVAER_JC, RANDERS)
    return await it.send(EVENT, message(EVENT, cvr=RANDERS))


async def _under_way(it):
    it.receivers["ksd"].raw = refuses
    try:
        return await it.send(UPDATE, message(UPDATE, NemrefusionsID=uuid4()))
    finally:
        it.receivers["ksd"].raw = None


async def _bad_number(it):
    return await it.send(UPDATE, message(UPDATE, CprNummer="3113505012"))


async def _bad_employer(it):
    envelope = message(EVENT)
    status = next(envelope.iter(f"{FAELLES}Beskaeftigelsesstatus"))
    employer = status.makeelement(f"{FAELLES}Arbejdsgiver")
    number = employer.makeelement(f"{FAELLES}CVRNummer")
    number.text = "11111111"
    employer.append(number)
    status.addnext(employer)
    return await it.send(EVENT, envelope)


async def _discarded(it):
    it.receivers["ksd"].raw = refuses
    first = message(UPDATE, NemrefusionsID=uuid4())
    await it.send(UPDATE, first)
    it.receivers["ksd"].raw = None
    row = await it.stored(first)
    await it.discard(row["message_id"], reason="dobbelt")
    return await it.send(UPDATE, first)


async def _too_old(it):
    then = (it.clock.now() - timedelta(hours=73)).isoformat()
    return await it.send(UPDATE, message(UPDATE, Afsendelsestidspunkt=then))


async def _of_another_municipality(it):
    async with it.store.tx() as tx:
        await it.agree(tx, "viborg", Service.SYGEFRAVAER, AARHUS)
    event = message(EVENT)
    await it.send(EVENT, event)
    return await it.send(ANSWER, message(ANSWER, cvr=AARHUS, ReferenceBeskedID=besked_id(event)))


_PROVOKED = {
    "G001": _rule,
    "G002": _key_used,
    "G004": _other_authority,
    "G005": _no_route,
    "G006": _under_way,
    "G007": _bad_number,
    "G008": _bad_employer,
    "G009": _discarded,
    "G010": _too_old,
    "T203": _of_another_municipality,
}


@facet("fejlkoder", "a message that provokes it", {kode: error_text(kode) for kode in _PROVOKED})
async def _(it, kode):
    told = await _PROVOKED[kode](it)
    found = {each.findtext("{*}FejlKode"): each.findtext("{*}FejlTekst") for each in told.content.iter("{*}Fejl")}
    return found.get(kode, found or (told.code, told.body))


@facet("fejlkoder", "a test mark in production", {"G011": error_text("G011")})
async def _(it, kode):
    handlers = {one.name: fine for one in OPERATIONS.values() if one.service is Service.SYGEFRAVAER}
    endpoint = Endpoint(Service.SYGEFRAVAER, handlers, clock=it.clock, environment=Environment.PRODUCTION)
    own = it.issued["ksd"]
    server = Server(endpoint, tls=server_tls(own.certificate, own.key, it.pki.ca), grace=0.2)
    await server.start()
    url = f"https://localhost:{server.port}{Service.SYGEFRAVAER.path}"
    try:
        async with Client(url, service=Service.SYGEFRAVAER, tls=it.tls("platform")) as client:
            envelope = message(UPDATE, Afsendelsestidspunkt="2037-01-01T09:00:00Z", Testmarkering="true")
            answer = await client.post(soap.element_bytes(envelope[-1][0]), OPERATIONS[UPDATE])
    finally:
        await server.stop()
    found = {each.FejlKode: each.FejlTekst for each in answer.receipt.FejlListe.Fejl}
    return found.get(kode, found)


@facet("fejlkoder", "a look-up that has no way", {"G005": "RoutingNotFound"})
async def _(it, _):
    async with it.store.tx() as tx:
        await it.agree(tx, "viborg", Service.SYGEFRAVAER, RANDERS)
        await tx.run("DELETE FROM route WHERE service = %(service)s", service=Service.SYGEFRAVAER)
    try:
        return (await it.send("HentSag", message("HentSag", cvr=RANDERS))).code
    finally:
        async with it.store.tx() as tx:
            await it.route(tx, Service.SYGEFRAVAER, agreements.ALL, "ksd")


@facet("fejlkoder", "told before a higher one", {"G004": "G004", "G007": "G007"})
async def _(it, kode):
    other = {"AfsenderSystemID": uuid4()} if kode == "G004" else {}
    return (await it.send(UPDATE, message(UPDATE, CprNummer="3113505012", **other))).code


@facet("fejlkoder", "a substitute number where none is taken", {"G007": "G007"})
async def _(it, _):
    event = message(EVENT)
    for each in event.iter("{*}CprNummer"):
        each.text = "6101505012"
    return (await it.send(EVENT, event)).code


def of_case(envelope, case, **fields):
    """Let a message be about a case of KSD's."""
    for name, value in ({"SagsID": case, "NemrefusionsID": case} | fields).items():
        for each in envelope.iter("{*}" + name):
            each.text = str(value)
    return envelope


@facet("haendelsestyper", "a case that it closes, in the plan of a replay", {"AFSLUTTET": True})
async def _(it, kode):
    case = uuid4()
    stuck = of_case(message(EVENT), case)
    it.receivers["viborg"].raw = refuses
    await it.send(EVENT, stuck)
    it.receivers["viborg"].raw = None
    await it.send(EVENT, of_case(message(EVENT), case, Haendelsestype=kode))
    row = await it.stored(stuck)
    plan = await it.parked.plan(Selection(ids=(row["message_id"],)), now=it.clock.now())
    return any("says that it has ended" in finding for step in plan.steps for finding in step.findings)


@facet("haendelsestyper", "a request that it withdraws", {"AFSLUTTET": (1, 0)})
async def _(it, kode):
    case, asked, owed = uuid4(), uuid4(), []
    await it.send(REQUEST, of_case(message(REQUEST), case, AnmodningID=asked))
    for _ in range(2):
        found = await obligations.owed(it.store, kind=obligations.Kind.UNANSWERED_SF2093)
        owed.append(sum(each.subject == asked for each in found))
        await it.send(EVENT, of_case(message(EVENT), case, Haendelsestype=kode, SagsVersion=2))
    return tuple(owed)


@facet("haendelsestyper", "what the contract demands of it", tables.DEMANDED)
async def _(it, kode):
    said = []
    for sagsart, cause in (("49", "SAGSART_SKIFT"), ("11", None)):
        envelope = message(EVENT, NemrefusionsID=uuid4())
        kind = next(envelope.iter("{*}Haendelsestype"))
        kind.text = kode
        next(envelope.iter("{*}Sagsart")).text = sagsart
        for each in list(envelope.iter("{*}Aendringsaarsag")):
            each.getparent().remove(each)
        if cause is not None:
            told = kind.makeelement(kind.tag.replace("Haendelsestype", "Aendringsaarsag"))
            told.text = cause
            next(envelope.iter("{*}HaendelsesDato")).addnext(told)
        answer = await it.send(EVENT, envelope)
        said.append(answer.code or answer.kode)
    return tuple(said)

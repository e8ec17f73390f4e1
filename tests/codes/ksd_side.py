# SPDX-License-Identifier: MPL-2.0
"""What codes do at KSD: messages of a jobcentre, and of KSD to a jobcentre, over mutual TLS."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from codes import tables, texts
from codes.effects import error_text, facet, meaning, meanings
from ksd_rig import AARHUS, VIBORG, scene
from sygefravaer.cli import calling
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    DelvisPeriodeType,
    ManglendeMedvirkenType,
    OpfoelgningType,
    OvergangType,
    RaskmeldingType,
    TransportKvitteringType,
    fejlliste,
)
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.plain import to_plain
from sygefravaer.errors import SygefravaerError

__all__ = ["scene"]

TODAY, YESTERDAY, FRIDAY = date(2026, 3, 2), date(2026, 3, 1), date(2026, 2, 27)
PENSIONER = "PENSIONIST_PARAGRAF25"


# --- a case, and what is done with it ---


async def begun(it, **given):
    """Open a case of a citizen of its own, running unless told otherwise, and give the event that told it."""
    values = {"cpr": it.citizen(), "state": "LOEBENDE"} | given
    _, case = await it.seeded(**values)
    return next(each for each in it.gateway.m1 if str(each.Sygefravaerssag.SagsID) == case["sags_id"])


async def a_case(it, **given):
    """Open a case and give it as it was told."""
    return (await begun(it, **given)).Sygefravaerssag


def number(case) -> str:
    return case.CprNummer.reveal()


async def update(it, case, *kinds, **given):
    """Send an update about a case; give the receipt."""
    code, codes = await it.send(it.m5(case, *kinds, cpr=number(case), **given))
    await it.quiet()
    return code, tuple(codes)


async def looked(it, case, **given):
    """Look a case up; give it as it is."""
    return await it.look(case, cpr=number(case), **given)


def events(it, case):
    """List the events about a case by version; to two municipalities they may come in any order."""
    found = (each for each in it.gateway.m1 if each.Sygefravaerssag.SagsID == case.SagsID)
    return sorted(found, key=lambda each: each.Sygefravaerssag.SagsVersion)


async def left(it, case):
    """List what is left to a person about a case: kinds, codes, follow-ons."""
    return (await it.act("tasks", sags_id=str(case.SagsID)))["tasks"]


async def kinds_left(it, case):
    return tuple(each["kind"] for each in await left(it, case))


async def asked(it, case, **given):
    """Ask for an extension of a case; give the request."""
    await it.act("ask_extension", sags_id=str(case.SagsID), **given)
    await it.quiet()
    return it.gateway.m3[-1]


async def answered(it, request, code="ACCEPTERET", **given):
    """Answer a request; give the receipt."""
    told, codes = await it.send(it.m4(request, code, cpr=number(request.Sygefravaerssag), **given))
    await it.quiet()
    return told, tuple(codes)


async def state(it, case):
    return (await it.case(case.SagsID))["state"]


# --- receipts ---


@facet("transportvalideringskoder", "what a sender does", tables.SENDER)
async def _(it, kode):
    codes = {"ADVARSEL": "G006", "FEJL": "B101"}.get(kode)
    receipt = TransportKvitteringType(TransportValideringsKode=kode, FejlListe=fejlliste(codes) if codes else None)
    it.gateway.answers["SendHaendelseSygefravaerssag"].append(receipt)
    event = await begun(it)
    await it.pass_time(minutes=2)
    return len(events(it, event.Sygefravaerssag)), await kinds_left(it, event.Sygefravaerssag)


async def three(it, kode):
    """Say something to KSD from the command line that is taken, taken with a remark, or refused."""
    message = it.m5(await a_case(it, cpr=(cpr := it.citizen())), cpr=cpr)
    if kode == "FEJL":
        message = replace(message, SagsID=uuid4())
    if kode == "ADVARSEL":
        request = await asked(it, await a_case(it, cpr=(cpr := it.citizen())))
        message = it.m4(request, cpr=cpr, now=it.clock.now() + timedelta(days=60))
    operation = OPERATIONS[message.Hoved.Beskedtype]
    caller = calling.Caller(
        url=it.url,
        certificate=it.hub.certificate,
        key=it.hub.key,
        ca=it.pki.ca,
        system_id=message.Hoved.AfsenderSystemID,
        municipality_cvr=VIBORG,
    )
    return await calling.ask(caller, operation, codec.encode(message))


@facet("transportvalideringskoder", "what a receiver says", tables.RECEIVER)
async def _(it, kode):
    answer = await three(it, kode)
    return answer.value.TransportValideringsKode, answer.refused


@facet("transportvalideringskoder", "text of an answer", meanings("transportvalideringskoder"))
async def _(it, kode):
    return meaning((await three(it, kode)).value, kode)


@facet("forretningsvalideringskoder", "an answer to an event", tables.EVENT_ANSWER)
async def _(it, kode):
    event = await begun(it)
    case = event.Sygefravaerssag
    await it.send(it.m2(event, kode, cpr=number(case), codes=["B102"] if kode == "AFVIST" else ()))
    (sent,) = (await it.act("messages", sags_id=str(case.SagsID)))["messages"]
    return sent["answer"], sent["final"], sent["settled_at"] is not None, await kinds_left(it, case)


@facet("forretningsvalideringskoder", "an answer to a request", tables.REQUEST_ANSWER)
async def _(it, kode):
    case = await a_case(it)
    receipt = await answered(it, await asked(it, case), kode)
    shown = await it.case(case.SagsID)
    request = shown["requests"][0]
    return receipt, shown["state"], request["status"], request["assessing"], await kinds_left(it, case)


@facet("forretningsvalideringskoder", "with an extension that cannot be", {"ACCEPTERET": ("FEJL", ("F303",))})
async def _(it, kode):
    return await answered(it, await asked(it, await a_case(it)), kode, kode="P29")


# --- the case ---


async def opened(it, **given):
    """Open a case by a report; give it as it was told, or None when it is refused."""
    try:
        return await it.opened(cpr=it.citizen(), **given)
    except SygefravaerError:
        return None


@facet("sagsarter", "opening", tables.OPENING)
async def _(it, kode):
    case = await opened(it, Sagsart=kode)
    return "refused" if case is None else case.Beskaeftigelsesstatus


@facet("sagsarter", "a report that does not say", tables.UNASKED["sagsarter"])
async def _(it, _):
    case = await opened(it)
    return case.Sagsart, case.StartSagsart


@facet("sagsarter", "text in a look-up", meanings("sagsarter"))
async def _(it, kode):
    case = await a_case(it)
    await it.act("change_case", sags_id=str(case.SagsID), Sagsart=kode)
    return meaning(await looked(it, case), kode)


@facet("fravaerstyper", "a report that does not say", tables.UNASKED["fravaerstyper"])
async def _(it, _):
    return (await opened(it)).Fravaerstype


@facet("fravaerstyper", "text in a look-up", meanings("fravaerstyper"))
async def _(it, kode):
    return meaning(await looked(it, await opened(it, Fravaerstype=kode)), kode)


@facet("beskaeftigelsesstatusser", "text in a look-up", meanings("beskaeftigelsesstatusser"))
async def _(it, kode):
    return meaning(await looked(it, await opened(it, Beskaeftigelsesstatus=kode)), kode)


# --- its state ---


async def in_state(it, kode):
    """Give a case in a state, and the municipality that sees it so."""
    if kode == "OVERFLYTTET":
        case = await a_case(it)
        await it.act("move_case", sags_id=str(case.SagsID), kommunekode="0751")
        await it.quiet()
        return case
    return await a_case(it, state=kode)


_DEEDS = {
    "form": lambda it, case: it.act(
        "change_case", sags_id=str(case.SagsID), OplysningsskemaModtaget=YESTERDAY.isoformat()
    ),
    "kategori": lambda it, case: update(
        it, case, "VISITATION", Visitationskategori="1", VisitationsDato=FRIDAY, GyldigFra=FRIDAY
    ),
    "part": lambda it, case: update(
        it,
        case,
        "DELVIS_RASKMELDING",
        DelvisPeriode=(DelvisPeriodeType(FraDato=FRIDAY, FravaerstimerPrUge=Decimal(9)),),
    ),
    "ask": lambda it, case: it.act("ask_extension", sags_id=str(case.SagsID)),
    "grant": lambda it, case: answered(it, it.gateway.m3[-1]),
    "stop": lambda it, case: it.act("change_case", sags_id=str(case.SagsID), move="STOP"),
    "resume": lambda it, case: it.act("change_case", sags_id=str(case.SagsID), move="RESUME"),
    "end": lambda it, case: it.act("end_case", sags_id=str(case.SagsID)),
    "reopen": lambda it, case: it.act("reopen_case", sags_id=str(case.SagsID)),
}


@facet("sagstilstande", "what moves it", tables.MOVES)
async def _(it, kode):
    seen = {}
    for deed in tables.MOVES[kode]:
        case = await in_state(it, kode)
        before = (await it.case(case.SagsID))["state"]
        try:
            await _DEEDS[deed](it, case)
        except SygefravaerError:
            seen[deed] = "-"
            continue
        after = (await it.case(case.SagsID))["state"]
        seen[deed] = "-" if after == before else after
    return seen


@facet("sagstilstande", "what leads there", {kode: kode for kode in tables.LED_TO})
async def _(it, kode):
    before, deed = tables.LED_TO[kode]
    case = await in_state(it, before)
    await _DEEDS[deed](it, case)
    return await state(it, case)


@facet("sagstilstande", "asked for in a list", {kode: (kode,) for kode in texts.SAID["sagstilstande"]})
async def _(it, kode):
    case = await in_state(it, kode)
    found = await it.listed(cpr=number(case), SagsTilstand=(kode,))
    others = tuple(each for each in texts.SAID["sagstilstande"] if each != kode)
    none = await it.listed(cpr=number(case), SagsTilstand=others)
    return tuple(each.SagsTilstand for each in (*found.SagsListe.Sag, *none.SagsListe.Sag))


@facet("sagstilstande", "text in a look-up", meanings("sagstilstande"))
async def _(it, kode):
    return meaning(await looked(it, await in_state(it, kode)), kode, "SagsTilstand")


@facet("sagstilstande", "a case that has just come", tables.UNASKED["sagstilstande"])
async def _(it, _):
    return (await opened(it)).SagsTilstand


# --- visitation, follow-up ---


@facet("visitationskategorier", "on which day it may be chosen", tables.VISITED)
async def _(it, kode):
    receipts = []
    for day in (date(2024, 12, 31), date(2025, 1, 1)):
        case = await a_case(it, FoersteFravaersdag="2024-11-04")
        receipts.append(await update(it, case, "VISITATION", Visitationskategori=kode, VisitationsDato=day))
    return tuple(receipts)


@facet("visitationskategorier", "text in a look-up", meanings("visitationskategorier"))
async def _(it, kode):
    case = await a_case(it, FoersteFravaersdag="2024-11-04")
    await update(it, case, "VISITATION", Visitationskategori=kode, VisitationsDato=date(2024, 12, 2))
    return meaning(await looked(it, case), kode)


def talk(**given):
    """Make up a follow-up."""
    return OpfoelgningType(**({"Opfoelgningstype": "LOEBENDE_OPFOELGNING", "Form": "TELEFON"} | given))


def kept_of_a_talk(codes, name):
    @facet(codes, "what is kept of a follow-up", {kode: kode for kode in texts.SAID[codes]})
    async def _(it, kode):
        case = await a_case(it)
        await update(it, case, "OPFOELGNING", Opfoelgning=(talk(**{name: kode}),))
        return (await it.case(case.SagsID))["updates"][0]["content"]["Opfoelgning"][0][name]


for _codes, _name in (("opfoelgningstyper", "Opfoelgningstype"), ("opfoelgningsformer", "Form"), ("udfald", "Udfald")):
    kept_of_a_talk(_codes, _name)


@facet("jobcentersagstatusser", "what is kept of it", {kode: kode for kode in texts.SAID["jobcentersagstatusser"]})
async def _(it, kode):
    case = await a_case(it)
    await update(it, case, "STANDBY", JobcentersagStatus=kode)
    return (await it.case(case.SagsID))["jobcentersager"][0]["status"]


# --- updates ---

_BLOCKS = {
    "VISITATION": {"Visitationskategori": "2", "VisitationsDato": FRIDAY},
    "OPFOELGNING": {"Opfoelgning": (talk(),)},
    "FORVENTET_RASKMELDING": {"ForventetRaskmeldingsdato": date(2026, 5, 1)},
    "RASKMELDING": {"Raskmelding": RaskmeldingType(SidsteFravaersdag=FRIDAY, MeddeltAf="LAEGE", MeddeltDato=FRIDAY)},
    "DELVIS_RASKMELDING": {"DelvisPeriode": (DelvisPeriodeType(FraDato=FRIDAY, FravaerstimerPrUge=Decimal(9)),)},
    "MANGLENDE_MEDVIRKEN": {"ManglendeMedvirken": ManglendeMedvirkenType(HaendelsesDato=FRIDAY, Type="LAEGEATTEST")},
    "OVERGANG": {"Overgang": OvergangType(Type="A_KASSE", Dato=FRIDAY)},
}


@facet("opdateringstyper", "its block, and what it does", tables.UPDATE)
async def _(it, kode):
    block = _BLOCKS.get(kode, {})
    without = await update(it, await a_case(it), kode)
    other = "STANDBY" if kode != "STANDBY" else "SAG_LUKKET"
    beside = await update(it, await a_case(it), other, **block)
    case = await a_case(it)
    receipt = await update(it, case, kode, **block)
    _, *told = events(it, case)
    event, causes = (told[0].Haendelsestype, told[0].Aendringsaarsag) if told else (None, None)
    return without, receipt, beside, event, await state(it, case), causes, await kinds_left(it, case)


async def status_beside(it, kode):
    """Tell an update with the command line; give the status that KSD keeps."""
    case = await a_case(it)
    file = it.directory / f"{uuid4()}.json"
    file.write_text(json.dumps(to_plain(_BLOCKS.get(kode, {}))))
    today = (f"GyldigFra={FRIDAY}", *((f"VisitationsDato={FRIDAY}",) if kode == "VISITATION" else ()))
    given = (f"Opdateringstype={kode}", f"SagsID={case.SagsID}", *today)
    await by_command(it, "SendOpdateringFravaer", case, *given, file=file)
    return (await it.case(case.SagsID))["jobcentersager"][0]["status"]


@facet("opdateringstyper", "the status beside it", tables.STATUS_BESIDE)
async def _(it, kode):
    return await status_beside(it, kode)


@facet("jobcentersagstatusser", "filled in by the command line", {kode: kode for kode in tables.STATUS_BY})
async def _(it, kode):
    return await status_beside(it, tables.STATUS_BY[kode])


@facet("meddeltaf", "told after the end", {kode: (kode,) for kode in texts.SAID["meddeltaf"]})
async def _(it, kode):
    case = await a_case(it)
    recovery = RaskmeldingType(SidsteFravaersdag=FRIDAY, MeddeltAf=kode, MeddeltDato=FRIDAY)
    for _ in range(2):
        await update(it, case, "RASKMELDING", Raskmelding=recovery, GyldigFra=date(2026, 2, 20))
    return tuple(code for each in await left(it, case) for code in each["codes"])


@facet("manglendemedvirkenarter", "what KSD must decide", tables.MISSING)
async def _(it, kode):
    case = await a_case(it)
    block = ManglendeMedvirkenType(HaendelsesDato=FRIDAY, Type=kode)
    await update(it, case, "MANGLENDE_MEDVIRKEN", ManglendeMedvirken=block)
    return "".join(each["follow_on"] for each in await left(it, case) if each["codes"] == [kode])


# --- extensions ---


@facet("forlaengelseskoder", "whether it may answer", tables.POSSIBLE)
async def _(it, kode):
    possible = []
    for first, review, kind in (
        ("2017-01-09", "2017-11-30", "FOERSTE_REVURDERING"),
        ("2020-01-06", "2020-06-30", "FOERSTE_REVURDERING"),
        ("2026-01-12", "2026-04-30", "FOERSTE_REVURDERING"),
        ("2026-01-12", "2026-04-30", PENSIONER),
    ):
        request = await asked(it, await a_case(it, FoersteFravaersdag=first), review=review, kind=kind)
        possible.append(kode in request.MuligeForlaengelseskoder)
    return tuple(possible)


@facet("forlaengelseskoder", "how long it may last", tables.LASTS)
async def _(it, kode):
    kind = PENSIONER if kode == "P29" else "FOERSTE_REVURDERING"
    receipts = []
    for weeks in (69, 134, None):
        request = await asked(it, await a_case(it), kind=kind)
        end = None if weeks is None else request.RevurderingsDato + timedelta(weeks=weeks, days=1)
        receipts.append(await answered(it, request, kode=kode, til=end))
    return tuple(receipts)


@facet("forlaengelseskoder", "the clause it is granted by", tables.GRANTED_BY)
async def _(it, kode):
    case = await a_case(it)
    kind = PENSIONER if kode == "P29" else "FOERSTE_REVURDERING"
    await answered(it, await asked(it, case, kind=kind), kode=kode)
    return (await it.case(case.SagsID))["versions"][-1]["rule"]


@facet("forlaengelseskoder", "text in a look-up", meanings("forlaengelseskoder"))
async def _(it, kode):
    extension = {"Forlaengelseskode": kode, "FraDato": "2026-02-01", "AfgoerelsesDato": "2026-02-01"}
    case = await a_case(it)
    await it.act("change_case", sags_id=str(case.SagsID), Forlaengelse=[extension])
    return meaning(await looked(it, case), kode)


@facet("afvisningsaarsager", "what follows on it", tables.REFUSAL)
async def _(it, kode):
    case = await a_case(it)
    await answered(it, await asked(it, case), "AFVIST", Afvisningsaarsag=kode)
    shown = await it.case(case.SagsID)
    (task,) = [each for each in await left(it, case) if each["codes"] == [kode]]
    _, *told = events(it, case)
    return task["follow_on"], shown["state"], shown["requests"][0]["status"], told[0].Haendelsestype if told else None


@facet("anmodningstyper", "which codes may answer it", tables.ASKED)
async def _(it, kode):
    return (await asked(it, await a_case(it), kind=kode)).MuligeForlaengelseskoder


@facet("anmodningstyper", "after which extension it is put", tables.ASKED_AFTER)
async def _(it, kode):
    before = tables.ASKED_AFTER[kode]
    case = await a_case(it)
    if before is not None:
        kind = PENSIONER if before == "P29" else "FOERSTE_REVURDERING"
        await answered(it, await asked(it, case, kind=kind), kode=before)
    request = await asked(it, case)
    return before if request.Anmodningstype == kode else request.Anmodningstype


@facet("anmodningstyper", "text in a request", meanings("anmodningstyper"))
async def _(it, kode):
    return meaning(await asked(it, await a_case(it), kind=kode), kode)


# --- events ---


async def granted(it, case):
    await answered(it, await asked(it, case))


async def reopened(it, case):
    await it.act("end_case", sags_id=str(case.SagsID))
    await it.act("reopen_case", sags_id=str(case.SagsID))


def changing(**fields):
    return lambda it, case: it.act("change_case", sags_id=str(case.SagsID), **fields)


_DONE = {
    "create": lambda it, case: it.quiet(),
    "end": lambda it, case: it.act("end_case", sags_id=str(case.SagsID)),
    "the basis of payment changes": changing(Sagsart="12"),
    "the first day is corrected": changing(FoersteFravaersdag="2026-01-05"),
    "an employer is corrected": changing(Arbejdsgiver={"CVRNummer": "29189846"}),
    "a part-time return": _DEEDS["part"],
    "an extension": granted,
    "the day of reassessment changes": changing(RevurderingsDato="2026-05-31"),
    "payment stops": _DEEDS["stop"],
    "reopening": reopened,
    "a new number": lambda it, case: it.act("change_cpr", cpr=number(case), new_cpr=it.citizen()),
    "a move": lambda it, case: it.act("move_case", sags_id=str(case.SagsID), kommunekode="0751"),
    "a visitation": _DEEDS["kategori"],
    "a calculation changes": changing(AkasseKode="01"),
    "a later report": lambda it, case: it.act("attach_report", sags_id=str(case.SagsID), report=str(uuid4())),
}


async def told_after(it, deed):
    """Do something to a case; give the last event about it, and the case."""
    case = await a_case(it)
    await _DONE[deed](it, case)
    await it.quiet()
    return events(it, case)[-1], case


@facet("haendelsestyper", "what it tells", tables.EVENTS)
async def _(it, kode):
    event, _ = await told_after(it, tables.EVENTS[kode])
    return tables.EVENTS[kode] if event.Haendelsestype == kode else event.Haendelsestype


@facet("haendelsestyper", "text in the history", meanings("haendelsestyper"))
async def _(it, kode):
    _, case = await told_after(it, tables.EVENTS[kode])
    return meaning((await looked(it, case, InkluderHistorik=True)).Haendelse[0], kode)


@facet("aendringsaarsager", "what it tells", tables.CAUSES)
async def _(it, kode):
    event, _ = await told_after(it, tables.CAUSES[kode])
    return tables.CAUSES[kode] if event.Aendringsaarsag == (kode,) else event.Aendringsaarsag


@facet("aendringsaarsager", "text in an event", meanings("aendringsaarsager"))
async def _(it, kode):
    event, _ = await told_after(it, tables.CAUSES[kode])
    return meaning(event, kode)


# --- endings ---


@facet("afslutningsaarsager", "told as a transfer", tables.TRANSFER)
async def _(it, kode):
    case = await a_case(it)
    await update(it, case, "OVERGANG", Overgang=OvergangType(Type=kode, Dato=FRIDAY))
    picture = events(it, case)[-1].Sygefravaerssag
    return await state(it, case), picture.Afslutningsaarsag, await kinds_left(it, case)


@facet("afslutningsaarsager", "ended by hand", tables.ENDED_BY_HAND)
async def _(it, kode):
    case = await a_case(it)
    with contextlib.suppress(SygefravaerError):
        await it.act("end_case", sags_id=str(case.SagsID), cause=kode)
    await it.quiet()
    return await state(it, case), events(it, case)[-1].Sygefravaerssag.SidsteFravaersdag is not None


_ENDS = {
    "a recovery": lambda it, case: update(
        it, case, "RASKMELDING", GyldigFra=date(2026, 2, 20), **_BLOCKS["RASKMELDING"]
    ),
    "by hand": lambda it, case: it.act("end_case", sags_id=str(case.SagsID)),
    "a move": lambda it, case: it.act("move_case", sags_id=str(case.SagsID), kommunekode="0751"),
}


@facet("afslutningsaarsager", "by itself", tables.ENDED_BY_ITSELF)
async def _(it, kode):
    seen = []
    for way in tables.ENDED_BY_ITSELF[kode]:
        if way == "a closed absence":
            case = await opened(it, SidsteFravaersdag="2026-02-20")
        elif way.startswith("seeded"):
            case = await a_case(it, state="AFSLUTTET" if way == "seeded as ended" else "ANNULLERET")
        else:
            case = await a_case(it)
            await _ENDS[way](it, case)
        await it.quiet()
        if kode in {each.Sygefravaerssag.Afslutningsaarsag for each in events(it, case)}:
            seen.append(way)
    return tuple(seen)


@facet("afslutningsaarsager", "text in a look-up", meanings("afslutningsaarsager"))
async def _(it, kode):
    case = await a_case(it)
    if kode == "FLYTNING":
        await _ENDS["a move"](it, case)
    else:
        await it.act("end_case", sags_id=str(case.SagsID), cause=kode)
    return meaning(await looked(it, case), kode, "Afslutningsaarsag")


# --- municipalities ---


@facet("kommuner", "whose code it is", dict.fromkeys(texts.MUNICIPALITIES, (("FEJL", ("O401",)), ("FEJL", ("G004",)))))
async def _(it, kode):
    cvr = texts.MUNICIPALITIES[kode][1]
    receipts = []
    for told in (kode, "0787" if kode != "0787" else "0791"):
        message = it.m5(None, cpr=it.citizen(), cvr=cvr)
        code, codes = await it.send(replace(message, Hoved=replace(message.Hoved, Kommunekode=told)))
        receipts.append((code, tuple(codes)))
    return tuple(receipts)


@facet("kommuner", "moving there", {kode: (cvr, kode, name) for kode, (name, cvr) in texts.MUNICIPALITIES.items()})
async def _(it, kode):
    home = AARHUS if kode == "0791" else VIBORG
    case = await a_case(it, municipality_cvr=home)
    await it.act("move_case", sags_id=str(case.SagsID), kommunekode=kode)
    await it.quiet()
    head = events(it, case)[-1].Hoved
    seen = await looked(it, case, cvr=texts.MUNICIPALITIES[kode][1])
    return head.ModtagerMyndighedCVR, head.Kommunekode, meaning(seen, kode)


# --- refusals ---


async def said(it, message):
    """Send something; give the FejlTekst of each code of the receipt."""
    reply = (await it.client.call(message)).TransportKvittering
    return {each.FejlKode: each.FejlTekst for each in reply.FejlListe.Fejl} if reply.FejlListe else {}


async def of_answer(it, kode):
    """Provoke a refusal of an answer to an event."""
    event = await begun(it)
    given = {"cpr": number(event.Sygefravaerssag)}
    if kode == "T202":
        await it.send(it.m2(event, **given))
        return await said(it, it.m2(event, "AFVIST", codes=["B102"], **given))
    wrong = {"T201": {"reference": uuid4()}, "T204": {"cpr": it.citizen()}, "T205": {"SagsVersion": 7}}[kode]
    return await said(it, it.m2(event, **(given | wrong)))


async def of_extension(it, kode):
    """Provoke a refusal of, or a remark on, an answer to a request."""
    case = await a_case(it)
    request = await asked(it, case)
    given: dict = {"cpr": number(case)}
    if kode == "F302":
        await it.act("end_case", sags_id=str(case.SagsID))
    if kode == "F307":
        await it.act("change_case", sags_id=str(case.SagsID), FoersteFravaersdag="2026-01-05")
    if kode == "F308":
        await answered(it, request)
    given |= {
        "F301": {"AnmodningID": uuid4()},
        "F303": {"kode": "P29"},
        "F304": {"til": date(2036, 1, 1)},
        "F305": {"ForlaengelseFra": request.RevurderingsDato + timedelta(days=2)},
        "F306": {"now": it.clock.now() + timedelta(days=60)},
        "F309": {"cpr": it.citizen()},
    }.get(kode, {})
    return await said(it, it.m4(request, **given))


async def of_update(it, kode):
    """Provoke a refusal of an update."""
    case = await a_case(it, FoersteFravaersdag="2024-11-04")
    given: dict = {"cpr": number(case)}
    if kode == "O402":
        await it.act("end_case", sags_id=str(case.SagsID), on="2026-02-20")
    if kode == "O404":
        await it.act("move_case", sags_id=str(case.SagsID), kommunekode="0751", on="2026-02-11")
    if kode == "O405":
        given |= {"Visitationskategori": "3", "VisitationsDato": date(2025, 1, 1)}
    if kode == "O408":
        given |= {"OpdateringID": uuid4()}
        await said(it, it.m5(case, **given))
    if kode == "O409":
        await begun(it, cpr=number(case))
    given |= {
        "O401": {"SagsID": uuid4()},
        "O403": {"cpr": it.citizen()},
        "O406": {"GyldigFra": date(2024, 11, 3)},
        "O407": {"GyldigFra": it.clock.now().date() + timedelta(days=2)},
        "O408": {"JobcentersagStatus": "AFSLUTTET"},
    }.get(kode, {})
    kind = "VISITATION" if kode == "O405" else "STANDBY"
    return await said(it, it.m5(None if kode == "O409" else case, kind, **given))


async def of_look_up(it, kode):
    """Provoke an error of a look-up."""
    case = await a_case(it)
    if kode in {"H505", "H506"}:
        days = {"FraDato": date(2026, 2, 1), "TilDato": date(2026, 1, 1)} if kode == "H505" else {}
        reply = await it.listed(cpr=number(case) if kode == "H505" else "0000000000", **days)
    else:
        given = {
            "H501": {"SagsID": uuid4()},
            "H503": {"cpr": it.citizen()},
            "H504": {"SagsVersion": 9},
        }[kode]
        reply = await it.look(case, **({"cpr": number(case)} | given))
    return {each.FejlKode: each.FejlTekst for each in reply.FejlListe.Fejl}


_PROVOKED = {
    **dict.fromkeys(("T201", "T202", "T204", "T205"), of_answer),
    **dict.fromkeys(("F301", "F302", "F303", "F304", "F305", "F306", "F307", "F308", "F309"), of_extension),
    **dict.fromkeys(("O401", "O402", "O403", "O404", "O405", "O406", "O407", "O408", "O409"), of_update),
    **dict.fromkeys(("H501", "H503", "H504", "H505", "H506"), of_look_up),
}


@facet(
    "fejlkoder",
    "a message that provokes it",
    {kode: (how.__name__, error_text(kode)) for kode, how in _PROVOKED.items()},
)
async def _(it, kode):
    found = await _PROVOKED[kode](it, kode)
    return _PROVOKED[kode].__name__, found.get(kode, found)


@facet("fejlkoder", "what stands in KSD's own record alone", {"H502": (["H501"], "H502")})
async def _(it, _):
    case = await a_case(it)
    reply = await looked(it, case, cvr=AARHUS)
    (row,) = (await it.act("lookups", cpr=number(case)))["lookups"]
    return [each.FejlKode for each in reply.FejlListe.Fejl], row["reason"].partition(" ")[0]


# --- which message it is ---


async def by_command(it, name, case, *given, file=None):
    """Say something to KSD with the command line; give the answer."""
    operation = OPERATIONS[name]
    caller = calling.Caller(
        url=it.url,
        certificate=it.hub.certificate,
        key=it.hub.key,
        ca=it.pki.ca,
        system_id=UUID(int=0xB),
        municipality_cvr=VIBORG,
    )
    known = calling.Case(cpr=number(case), sags_id=str(case.SagsID), nemrefusions_id=str(case.NemrefusionsID))
    element = calling.request_element(operation, caller, known, cpr=None, given=given, file=file, on_behalf_of=None)
    return (await calling.ask(caller, operation, element)).value


@facet("beskedtyper", "what KSD does with it", tables.TAKEN)
async def _(it, kode):
    event = await begun(it)
    case = event.Sygefravaerssag
    if kode == "HentSag":
        return "a case" if (await looked(it, case)).Sygefravaerssag is not None else "nothing"
    if kode == "HentSagsListe":
        return "a list" if (await it.listed(cpr=number(case))).AntalIAlt == 1 else "nothing"
    if kode == "SendForretningsSvar":
        await it.send(it.m2(event, cpr=number(case)))
        (sent,) = (await it.act("messages", sags_id=str(case.SagsID)))["messages"]
        return "the event has an answer" if sent["final"] == "ACCEPTERET" else "nothing"
    if kode == "SendOpdateringFravaer":
        await update(it, case, "STANDBY", JobcentersagStatus="STANDBY")
        found = (await it.case(case.SagsID))["jobcentersager"]
        return "the status is kept" if [each["status"] for each in found] == ["STANDBY"] else "nothing"
    await answered(it, await asked(it, case), "MODTAGET")
    return "the request is being assessed" if (await it.case(case.SagsID))["requests"][0]["assessing"] else "nothing"


@facet("beskedtyper", "what KSD sends it for", tables.SENT)
async def _(it, kode):
    message = await begun(it)
    if kode == "SendAnmodningForlaengelse":
        message = await asked(it, message.Sygefravaerssag)
    return tables.SENT[kode] if message.Hoved.Beskedtype == kode else message.Hoved.Beskedtype


@facet("beskedtyper", "text in a header", {kode: meanings("beskedtyper")[kode] for kode in tables.SENT})
async def _(it, kode):
    message = await begun(it)
    if kode == "SendAnmodningForlaengelse":
        message = await asked(it, message.Sygefravaerssag)
    return meaning(message, kode, "Beskedtype")


async def filled_in(it, name):
    """Answer with nothing of one's own; give the business code that KSD got."""
    event = await begun(it)
    case, reference = event.Sygefravaerssag, event.Hoved.BeskedID
    given = []
    if name == "SendForretningsSvarForlaengelse":
        request = await asked(it, case)
        reference, given = request.Hoved.BeskedID, [f"AnmodningID={request.AnmodningID}"]
    await by_command(it, name, case, f"Hoved/ReferenceBeskedID={reference}", *given)
    sent = (await it.act("messages", sags_id=str(case.SagsID)))["messages"]
    return [each["code"] for message in sent for each in message["answers"]]


@facet("beskedtyper", "what the command line fills in", {**tables.FILLED_IN, "SendOpdateringFravaer": "STANDBY"})
async def _(it, kode):
    if kode == "SendOpdateringFravaer":
        return await status_beside(it, "STANDBY")
    return "".join(await filled_in(it, kode))


@facet("forretningsvalideringskoder", "filled in by the command line", {"MODTAGET": ["MODTAGET", "MODTAGET"]})
async def _(it, _):
    return [code for name in tables.FILLED_IN for code in await filled_in(it, name)]


# --- what is counted ---


async def counted(it, **given):
    """Open a case whose day of reassessment KSD counts; give the day."""
    made = await it.act(
        "create_case", cpr=it.citizen(), municipality_cvr=VIBORG, FoersteFravaersdag="2026-01-05", **given
    )
    day = (await it.case(made["sags_id"]))["picture"].get("RevurderingsDato")
    await it.quiet()
    return day


@facet("sagsarter", "what does not count", tables.REVIEWED)
async def _(it, kode):
    return await counted(it, Sagsart=kode)


@facet("fravaerstyper", "whether it counts", tables.REVIEWED_BY_ABSENCE)
async def _(it, kode):
    return await counted(it, Fravaerstype=kode)


@facet("beskaeftigelsesstatusser", "by the basis of payment", {kode: kode for kode in tables.BY_SAGSART})
async def _(it, kode):
    return (await opened(it, Sagsart=tables.BY_SAGSART[kode])).Beskaeftigelsesstatus


@facet("fejlkoder", "what KSD does when an event is answered so", tables.SENT_AGAIN)
async def _(it, kode):
    code = "ADVARSEL" if kode == "G006" else "FEJL"
    receipt = TransportKvitteringType(TransportValideringsKode=code, FejlListe=fejlliste(kode))
    it.gateway.answers["SendHaendelseSygefravaerssag"].append(receipt)
    event = await begun(it)
    await it.pass_time(minutes=2)
    sent = [each.Hoved.BeskedID for each in events(it, event.Sygefravaerssag)]
    return {1: "no more", 2: "the same" if len(set(sent)) == 1 else "another"}.get(len(sent), len(sent))


async def _copy(it, message):
    await said(it, message)
    return replace(message, GyldigFra=YESTERDAY)


@facet("fejlkoder", "said by KSD itself", {kode: error_text(kode) for kode in ("G001", "G002", "G004", "G007")})
async def _(it, kode):
    case = await a_case(it)
    message = it.m5(case, "VISITATION" if kode == "G001" else "STANDBY", cpr=number(case))
    if kode == "G002":
        message = await _copy(it, message)
    if kode == "G004":
        message = replace(message, Hoved=replace(message.Hoved, Kommunekode="0751"))
    if kode == "G007":
        message = it.m5(case, cpr="3113505012")
    found = await said(it, message)
    return found.get(kode, found)


@facet("fejlkoder", "an act about a number of a wrong form", {"G007": "G007"})
async def _(it, _):
    await a_case(it)
    try:
        return await it.act("change_cpr", cpr="3113505012", new_cpr=it.citizen())
    except SygefravaerError as refused:
        return refused.code


@facet("forretningsvalideringskoder", "settling an event that came too late", tables.OUTDATED)
async def _(it, kode):
    event = await begun(it)
    codes = ["B102"] if kode == "AFVIST" else ()
    await it.send(it.m2(event, kode, reason="FORAELDET_VERSION", cpr=number(event.Sygefravaerssag), codes=codes))
    (sent,) = (await it.act("messages", sags_id=str(event.Sygefravaerssag.SagsID)))["messages"]
    return sent["settled_at"] is not None


async def right_after(it, cause):
    """End a case so, and let a life-threatening illness begin after it; give the rights it has."""
    case = await a_case(it)
    await it.act("end_case", sags_id=str(case.SagsID), cause=cause, on="2026-02-20")
    given = {"FoersteFravaersdag": "2026-02-23", "LivstruendeSygdom": True}
    again = await it.act("create_case", cpr=number(case), municipality_cvr=VIBORG, **given)
    await it.quiet()
    picture = (await it.case(again["sags_id"]))["picture"]
    return tuple(each["Forlaengelseskode"] for each in picture.get("Forlaengelse", ()))


@facet("afslutningsaarsager", "a life-threatening illness after it", tables.RIGHT_AFTER)
async def _(it, kode):
    return await right_after(it, kode)


@facet("afslutningsaarsager", "what a time limit leads to", {"JOBAFKLARING": ("P24B",)})
async def _(it, _):
    return await right_after(it, "P24_OPHOER")


@facet("forlaengelseskoder", "given as a right", {"P24B": ("P24B",)})
async def _(it, _):
    return await right_after(it, "JOBAFKLARING")


@facet("afslutningsaarsager", "part-time absence of too few hours", {"DELVIS_OPHOERT": True})
async def _(it, kode):
    case = await a_case(it)
    few = DelvisPeriodeType(FraDato=FRIDAY, FravaerstimerPrUge=Decimal(3))
    await update(it, case, "DELVIS_RASKMELDING", DelvisPeriode=(few,))
    return (await it.case(case.SagsID))["picture"].get("Afslutningsaarsag") == kode


@facet(
    "fejlkoder", "an answer to a request that is withdrawn, by a newer one and by a move", {"F301": ("F301", "F301")}
)
async def _(it, _):
    case = await a_case(it)
    request = await asked(it, case)
    newer = await asked(it, case, review="2026-09-30")
    told = [await said(it, it.m4(request, cpr=number(case)))]
    await it.act("move_case", sags_id=str(case.SagsID), kommunekode="0751")
    told.append(await said(it, it.m4(newer, cpr=number(case))))
    return tuple(code for (code,) in told)

# SPDX-License-Identifier: MPL-2.0
"""What codes do at a jobcentre: messages of KSD, and of a jobcentre to KSD, over mutual TLS."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import uuid4

from codes import tables
from codes.effects import error_text, facet, meaning, meanings
from jobcenter_rig import AARHUS, ended, granted, later, sag, said, scene
from sygefravaer.contract.messages import TransportKvitteringType, fejlliste, kvittering_ok
from sygefravaer.contract.values import Cpr

__all__ = ["scene"]

TODAY, FRIDAY = "2026-03-02", "2026-02-27"
REVIEW = date(2026, 4, 30)


# --- a case, and what is said about it ---


def a_case(it, **given):
    """Make up a case of a citizen of its own."""
    return sag(CprNummer=Cpr.parse(it.citizen()), **given)


async def policy(it, mode="diligent"):
    """Let events and requests be answered so, from now on."""
    await it.act("policy", events=mode, extensions=mode)


async def fact(it, case, what):
    """Note something of a citizen in the municipality's own register."""
    await it.act("citizen", cpr=case.CprNummer.reveal(), fact=what)


async def told(it, case, kind="OPRETTET", *causes):
    """Tell an event; give what is said to it."""
    event = it.m1(case, kind, *causes)
    await it.tell(event)
    await it.quiet()
    return tuple(said(answers(it, event)))


def answers(it, event):
    """List the answers to an event or a request."""
    id_ = event.Hoved.BeskedID
    return [each for each in (*it.gateway.m2, *it.gateway.m4) if each.Hoved.ReferenceBeskedID == id_]


async def known(it, **given):
    """Let a jobcentre know a running case."""
    case = a_case(it, **given)
    await told(it, case)
    return case


async def asked(it, case, **given):
    """Ask for an extension; give the last word said to it."""
    request = it.m3(case, **given)
    await it.tell(request)
    await it.quiet()
    return answers(it, request)[-1]


async def updated(it, case, *kinds, **given):
    """Tell KSD what has happened; give the message as it came over the wire."""
    before = len(it.gateway.m5)
    await it.act("update", sags_id=str(case.SagsID), Opdateringstype=list(kinds), **given)
    await it.until(lambda: len(it.gateway.m5) > before)
    return it.gateway.m5[-1]


async def state(it, case):
    return (await it.the_case(case))["state"]


# --- events ---


@facet("forretningsvalideringskoder", "when it is said to an event", tables.ANSWERS)
async def _(it, kode):
    how = tables.ANSWERS[kode][0]
    await policy(it, how if how in {"slow", "manual"} else "silent" if how == "by hand" else "diligent")
    case = a_case(it)
    if how == "dead":
        await fact(it, case, "dead")
    event = it.m1(case)
    await it.tell(event)
    if how == "by hand":
        await it.act("answer_event", besked_id=str(event.Hoved.BeskedID), code=kode)
    await it.quiet()
    await policy(it)
    return how, tuple(said(answers(it, event)))


@facet("forretningsvalideringskoder", "text in an answer", meanings("forretningsvalideringskoder"))
async def _(it, kode):
    await policy(it, "silent")
    event = it.m1(a_case(it))
    await it.tell(event)
    why = {"fejl": "B102"} if kode == "AFVIST" else {}
    await it.act("answer_event", besked_id=str(event.Hoved.BeskedID), code=kode, **why)
    await it.quiet()
    await policy(it)
    return meaning(answers(it, event)[-1], kode, "ForretningsValideringsKode")


@facet("haendelsestyper", "what is said to it", tables.EVENT)
async def _(it, kode):
    new, dead, over = a_case(it), a_case(it), await known(it)
    await fact(it, dead, "dead")
    await told(it, over := ended(over), "AFSLUTTET")
    return (
        await told(it, new, kode),
        await told(it, dead, kode),
        await told(it, later(over, AkasseKode="01"), kode),
    )


@facet("sagstilstande", "whether the jobcentersag goes on", tables.TOLD_STATE)
async def _(it, kode):
    before = (await it.act("health"))["open_cases"]
    case = await known(it)
    await told(it, later(case, SagsTilstand=kode), "AENDRET")
    return await state(it, case), (await it.act("health"))["open_cases"] - before


@facet("aendringsaarsager", "a change of an ended case", tables.CHANGE_OF_ENDED)
async def _(it, kode):
    case = await known(it)
    await told(it, case := ended(case), "AFSLUTTET")
    return await told(it, later(case, SagsTilstand="LOEBENDE", AkasseKode="01"), "AENDRET", kode)


# --- requests ---


@facet("afslutningsaarsager", "why it is not extended", tables.ENDED_SO)
async def _(it, kode):
    case = await known(it)
    await told(it, case := ended(case, kode), "AFSLUTTET")
    return (await asked(it, case)).Afvisningsaarsag


@facet("afvisningsaarsager", "where it leaves the jobcentersag", tables.REFUSED_BY_HAND)
async def _(it, kode):
    case = await known(it)
    await refused_by_hand(it, case, kode)
    return await state(it, case)


async def refused_by_hand(it, case, kode):
    """Refuse an extension by hand; give the answer."""
    await policy(it, "manual")
    request = it.m3(case)
    await it.tell(request)
    await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="AFVIST", Afvisningsaarsag=kode)
    await it.quiet()
    await policy(it)
    return answers(it, request)[-1]


@facet("afvisningsaarsager", "text in an answer", meanings("afvisningsaarsager"))
async def _(it, kode):
    return meaning(await refused_by_hand(it, await known(it), kode), kode, "Afvisningsaarsag")


@facet("afvisningsaarsager", "when it is said", tables.REFUSED_WHEN)
async def _(it, kode):
    why = tables.REFUSED_WHEN[kode]
    case = a_case(it, Forlaengelse=(granted("P27_1_2", date(2025, 1, 1), REVIEW),) if why == "used up" else ())
    if why != "unknown":
        await told(it, case)
    if why in {"moved", "dead"}:
        await fact(it, case, why)
    codes = ("P27_1_2",) if why == "used up" else ("P27_1_2", "P27_1_3")
    answer = await asked(it, case, MuligeForlaengelseskoder=codes)
    return why if answer.Afvisningsaarsag == kode else answer.Afvisningsaarsag


@facet("forlaengelseskoder", "what it is granted for, and before which", tables.GRANTED)
async def _(it, kode):
    used = granted(kode, REVIEW - timedelta(weeks=60, days=-1), REVIEW)
    case = await known(it, Forlaengelse=(used,))
    answer = await asked(it, case, MuligeForlaengelseskoder=(kode,))
    weeks = (answer.ForlaengelseTil - REVIEW).days / 7 if answer.ForlaengelseTil else None
    among = await asked(it, await known(it), MuligeForlaengelseskoder=("P27_1_7", kode))
    word = answer.Forretningskvittering.ForretningsValideringsKode if answer.Forlaengelseskode == kode else None
    return word or answer.Afvisningsaarsag, weeks, among.Forlaengelseskode


@facet("forlaengelseskoder", "named in a request", tables.NAMED)
async def _(it, kode):
    receipt = (await it.tell(it.m3(a_case(it), MuligeForlaengelseskoder=(kode,)))).TransportKvittering
    return receipt.FejlListe.Fejl[0].FejlKode if receipt.FejlListe else receipt.TransportValideringsKode


@facet("forlaengelseskoder", "what a wrong jobcentre answers", tables.WRONG)
async def _(it, _):
    await policy(it, "wrong")
    answer = await asked(it, await known(it))
    await policy(it)
    return answer.Forlaengelseskode


@facet("anmodningstyper", "which code answers it", tables.ANSWERED_BY)
async def _(it, kode):
    answer = await asked(it, await known(it), Anmodningstype=kode, MuligeForlaengelseskoder=("P27_1_2", "P29"))
    return answer.Forlaengelseskode


# --- updates ---

_TALK = {"Opfoelgningstype": "FOERSTE_OPFOELGNING", "Form": "FREMMOEDE"}
_BLOCKS = {
    "VISITATION": {"Visitationskategori": "2", "VisitationsDato": FRIDAY},
    "OPFOELGNING": {"Opfoelgning": [_TALK | {"Udfald": "AFHOLDT", "AfholdtTid": "2026-02-27T09:00:00Z"}]},
    "FORVENTET_RASKMELDING": {"ForventetRaskmeldingsdato": "2026-05-01"},
    "RASKMELDING": {"Raskmelding": {"SidsteFravaersdag": FRIDAY, "MeddeltAf": "LAEGE", "MeddeltDato": FRIDAY}},
    "DELVIS_RASKMELDING": {"DelvisPeriode": [{"FraDato": FRIDAY, "FravaerstimerPrUge": 9}]},
    "MANGLENDE_MEDVIRKEN": {"ManglendeMedvirken": {"HaendelsesDato": FRIDAY, "Type": "LAEGEATTEST"}},
    "OVERGANG": {"Overgang": {"Type": "JOBAFKLARING", "Dato": FRIDAY}},
}


@facet("opdateringstyper", "where it leaves the jobcentersag", tables.MOVED)
async def _(it, kode):
    case = await known(it)
    message = await updated(it, case, kode, **_BLOCKS.get(kode, {}))
    return await state(it, case) if message.Opdateringstype == (kode,) else message.Opdateringstype


@facet("opdateringstyper", "text in an update", meanings("opdateringstyper"))
async def _(it, kode):
    return meaning(await updated(it, await known(it), kode, **_BLOCKS.get(kode, {})), kode, "Opdateringstype")


@facet("visitationskategorier", "where it leaves the jobcentersag", tables.KATEGORI)
async def _(it, kode):
    case = await known(it)
    block = {"Visitationskategori": kode, "VisitationsDato": "2024-12-02"}
    message = await updated(it, case, "VISITATION", **block)
    return await state(it, case), message.JobcentersagStatus


_HAPPENS = {
    "nothing yet": lambda it, case: updated(it, case, "FORVENTET_RASKMELDING", **_BLOCKS["FORVENTET_RASKMELDING"]),
    "kategori 1": lambda it, case: updated(it, case, "VISITATION", Visitationskategori="1", VisitationsDato=FRIDAY),
    "kategori 2": lambda it, case: updated(it, case, "VISITATION", Visitationskategori="2", VisitationsDato=FRIDAY),
    "kategori 3": lambda it, case: updated(
        it, case, "VISITATION", Visitationskategori="3", VisitationsDato="2024-12-02"
    ),
    "exemption": lambda it, case: updated(it, case, "STANDBY", JobcentersagStatus="UDEN_OPFOELGNING_P13F"),
    "serious illness": lambda it, case: updated(it, case, "STANDBY"),
    "a transfer": lambda it, case: updated(it, case, "OVERGANG", **_BLOCKS["OVERGANG"]),
    "closing": lambda it, case: updated(it, case, "SAG_LUKKET"),
}


async def in_status(it, kode):
    """Bring a jobcentersag where it is told by a status; give the next update about it."""
    happening = tables.STATUS[kode]
    case = await known(it)
    if happening != "a request":
        await _HAPPENS[happening](it, case)
    else:
        await policy(it, "manual")
        await asked(it, case)
        await policy(it)
    return await updated(it, case, "FORVENTET_RASKMELDING", **_BLOCKS["FORVENTET_RASKMELDING"])


@facet("jobcentersagstatusser", "what has happened", tables.STATUS)
async def _(it, kode):
    message = await in_status(it, kode)
    return tables.STATUS[kode] if message.JobcentersagStatus == kode else message.JobcentersagStatus


@facet("jobcentersagstatusser", "text in an update", meanings("jobcentersagstatusser"))
async def _(it, kode):
    return meaning(await in_status(it, kode), kode, "JobcentersagStatus")


@facet("jobcentersagstatusser", "when the team has met", tables.TEAM_MET)
async def _(it, kode):
    kategori, _ = tables.TEAM_MET[kode]
    case = await known(it)
    await updated(it, case, "VISITATION", Visitationskategori=kategori, VisitationsDato="2024-12-02")
    met = {"Opfoelgningstype": "REHABTEAMMOEDE", "Form": "FREMMOEDE", "Udfald": "AFHOLDT"}
    await updated(it, case, "OPFOELGNING", Opfoelgning=[met | {"AfholdtTid": "2026-02-27T09:00:00Z"}])
    return kategori, await state(it, case)


@facet("udfald", "whether the first talk is held", tables.HELD)
async def _(it, kode):
    case = await known(it)
    await updated(it, case, "OPFOELGNING", Opfoelgning=[_TALK | {"Udfald": kode}])
    return await state(it, case)


async def held(it, **given):
    """Hold a talk; give where it leaves the jobcentersag."""
    case = await known(it)
    talk = _TALK | {"Udfald": "AFHOLDT", "AfholdtTid": "2026-02-27T09:00:00Z"} | given
    await updated(it, case, "OPFOELGNING", Opfoelgning=[talk])
    return await state(it, case)


@facet("opfoelgningsformer", "whether the first talk may be held so", tables.FORM)
async def _(it, kode):
    return await held(it, Form=kode)


@facet("opfoelgningstyper", "whether it is the first talk", tables.HELD_AS)
async def _(it, kode):
    return await held(it, Opfoelgningstype=kode)


@facet("opdateringstyper", "wanted of who stayed away, until it is told", {"MANGLENDE_MEDVIRKEN": (True, False)})
async def _(it, kode):
    case = await known(it)
    wanted = []
    for told_of in (("OPFOELGNING", {"Opfoelgning": [_TALK | {"Udfald": "UDEBLIVELSE"}]}), (kode, _BLOCKS[kode])):
        await updated(it, case, told_of[0], **told_of[1])
        wanted.append(kode in {each["name"] for each in (await it.the_case(case))["duties"]})
    return tuple(wanted)


def in_an_update(codes, kind, block):
    @facet(codes, "text in an update", meanings(codes))
    async def _(it, kode):
        return meaning(await updated(it, await known(it), kind, **block(kode)), kode)


in_an_update("opfoelgningstyper", "OPFOELGNING", lambda kode: {"Opfoelgning": [_TALK | {"Opfoelgningstype": kode}]})
in_an_update("opfoelgningsformer", "OPFOELGNING", lambda kode: {"Opfoelgning": [_TALK | {"Form": kode}]})
in_an_update("udfald", "OPFOELGNING", lambda kode: {"Opfoelgning": [_TALK | {"Udfald": kode}]})
in_an_update(
    "meddeltaf",
    "RASKMELDING",
    lambda kode: {"Raskmelding": {"SidsteFravaersdag": FRIDAY, "MeddeltAf": kode, "MeddeltDato": FRIDAY}},
)
in_an_update(
    "manglendemedvirkenarter",
    "MANGLENDE_MEDVIRKEN",
    lambda kode: {"ManglendeMedvirken": {"HaendelsesDato": FRIDAY, "Type": kode}},
)


# --- refusals ---


async def refused(it, kode):
    """Provoke a refusal of an event; give the answer."""
    citizens = {"B101": "moved", "B102": "unknown", "B103": "dead"}
    case = a_case(it)
    if kode in citizens:
        await fact(it, case, citizens[kode])
        event = it.m1(case)
    elif kode == "B104":
        event = it.m1(case, "AENDRET")
        await it.tell(event)
        await it.pass_time(hours=25)
        return answers(it, event)[-1]
    else:
        await told(it, case)
        if kode == "B105":
            await told(it, case := ended(case), "AFSLUTTET")
            event = it.m1(later(case, SagsTilstand="LOEBENDE"), "AENDRET")
        else:
            event = it.m1(later(case, SagsVersion=1, AkasseKode="01"), "AENDRET")
    await it.tell(event)
    await it.quiet()
    return answers(it, event)[-1]


_OF_EVENTS = ("B101", "B102", "B103", "B104", "B105", "B106")


@facet("fejlkoder", "an event that is refused", {kode: error_text(kode) for kode in _OF_EVENTS})
async def _(it, kode):
    receipt = (await refused(it, kode)).Forretningskvittering
    found = {each.FejlKode: each.FejlTekst for each in receipt.FejlListe.Fejl}
    return found.get(kode, found)


@facet("fejlkoder", "what KSD says of a case that was never opened", {"H501": ["B104"]})
async def _(it, _):
    receipt = (await refused(it, "B104")).Forretningskvittering  # the gateway's stand-in knows no case: H501
    return [each.FejlKode for each in receipt.FejlListe.Fejl]


@facet("fejlkoder", "an event for whom it does not serve", {"G004": error_text("G004")})
async def _(it, kode):
    receipt = (await it.tell(it.m1(a_case(it, cvr=AARHUS), cvr=AARHUS))).TransportKvittering
    found = {each.FejlKode: each.FejlTekst for each in receipt.FejlListe.Fejl}
    return found.get(kode, found)


def refusal(kode):
    """Make the receipt of something that is refused."""
    return TransportKvitteringType(TransportValideringsKode="FEJL", FejlListe=fejlliste(kode))


async def kategori_refused(it, kode):
    """Let KSD refuse a kategori, end the case and reopen it; say where it was, and how often the kategori was told."""
    case = await known(it)
    it.gateway.says("SendOpdateringFravaer", refusal(kode))
    await updated(it, case, "VISITATION", **_BLOCKS["VISITATION"])
    await it.quiet()
    then = await state(it, case)
    await told(it, over := ended(case), "AFSLUTTET")
    await told(it, later(over, SagsTilstand="LOEBENDE"), "AENDRET", "GENOPTAGET")
    return then, sum(each.SagsID == case.SagsID for each in it.gateway.m5)


@facet("fejlkoder", "a kategori that is refused so", tables.KATEGORI_REFUSED)
async def _(it, kode):
    return await kategori_refused(it, kode)


@facet("beskedtyper", "told again when the case runs again", {"SendOpdateringFravaer": 2})
async def _(it, _):
    return (await kategori_refused(it, "O402"))[1]


@facet("fejlkoder", "an answer to an event that is refused so", tables.ANSWER_REFUSED)
async def _(it, kode):
    await policy(it, "manual")
    event = it.m1(a_case(it))
    it.gateway.says("SendForretningsSvar", refusal(kode))
    await it.tell(event)
    await it.quiet()
    await policy(it)
    sent = [each.Hoved.BeskedID for each in answers(it, event)]
    return len(sent), len(set(sent))


# --- the header ---


def heads():
    """Say how each message of a jobcentre is brought about; give the message that came."""

    async def answer(it):
        await known(it)
        return it.gateway.m2[-1]

    async def extension(it):
        await asked(it, await known(it))
        return it.gateway.m4[-1]

    async def looked(it, act, name):
        await it.act(act, cpr=it.citizen(), **({"sags_id": str(uuid4())} if act == "lookup_case" else {}))
        return it.gateway.came[name][-1]

    return {
        "SendForretningsSvar": answer,
        "SendForretningsSvarForlaengelse": extension,
        "SendOpdateringFravaer": _standby,
        "HentSag": lambda it: looked(it, "lookup_case", "HentSag"),
        "HentSagsListe": lambda it: looked(it, "lookup_list", "HentSagsListe"),
    }


async def _standby(it):
    return await updated(it, await known(it), "STANDBY")


HEADS = heads()


@facet("beskedtyper", "text in a header", {kode: meanings("beskedtyper")[kode] for kode in HEADS})
async def _(it, kode):
    return meaning(await HEADS[kode](it), kode, "Beskedtype")


@facet("snitfladeider", "text in a header", meanings("snitfladeider"))
async def _(it, kode):
    name = tables.SF[kode][-1]
    return meaning(await HEADS[name](it), kode, "SnitfladeID")


@facet("snitfladeversioner", "text in a header", meanings("snitfladeversioner"))
async def _(it, kode):
    return meaning(await _standby(it), kode, "SnitfladeVersion")


# --- which message it is ---


@facet("beskedtyper", "what answers it", tables.ANSWERED)
async def _(it, kode):
    case = a_case(it)
    message = it.m1(case)
    await it.tell(message)
    await it.quiet()
    if kode == "SendAnmodningForlaengelse":
        message = it.m3(case)
        await it.tell(message)
        await it.quiet()
    return tuple(each.Hoved.Beskedtype for each in answers(it, message))


async def refused_answer(it, kode):
    """Let KSD refuse an answer about an extension; say whether the question is with the jobcentre again."""
    case = await known(it)
    request = it.m3(case)
    it.gateway.says(
        "SendForretningsSvarForlaengelse",
        kvittering_ok(),
        refusal(kode),
    )
    await it.tell(request)
    await it.quiet()
    waiting = (await it.act("inbox"))["extensions"]
    return str(request.AnmodningID) in {each["anmodning_id"] for each in waiting}


@facet("fejlkoder", "an answer about an extension that is refused so", tables.ASSESSED_AGAIN)
async def _(it, kode):
    return await refused_answer(it, kode)


@facet("beskedtyper", "assessed again when it is refused", {"SendForretningsSvarForlaengelse": True})
async def _(it, _):
    return await refused_answer(it, "F303")


@facet("afvisningsaarsager", "said by hand without a reason", tables.BY_HAND)
async def _(it, _):
    await policy(it, "manual")
    request = it.m3(await known(it))
    await it.tell(request)
    await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="AFVIST")
    await it.quiet()
    await policy(it)
    return answers(it, request)[-1].Afvisningsaarsag

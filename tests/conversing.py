# SPDX-License-Identifier: MPL-2.0
"""Events and their business answers, as two parties would say them."""

from __future__ import annotations

from uuid import UUID

from corridor import besked_id, message

EVENT, ANSWER = "SendHaendelseSygefravaerssag", "SendForretningsSvar"


def say(envelope, **fields):
    """Set elements of the body by name, the last of each name, and give the envelope."""
    for name, value in fields.items():
        list(envelope.iter(f"{{*}}{name}"))[-1].text = str(value)
    return envelope


def event(case: UUID, version: int = 1, kind: str = "OPRETTET"):
    """Make an event of a case."""
    return say(message(EVENT, NemrefusionsID=case), SagsID=case, SagsVersion=version, Haendelsestype=kind)


def final(name: str, question, **fields):
    """Make an answer that is a no: the shortest final one."""
    case = next(question.iter("{*}NemrefusionsID")).text
    made = message(name, ReferenceBeskedID=besked_id(question), NemrefusionsID=case)
    say(made, ForretningsValideringsKode="AFVIST", **fields)
    code = next(made.iter("{*}ForretningsValideringsKode"))
    if name == ANSWER:
        listed = code.makeelement(code.tag.replace("ForretningsValideringsKode", "FejlListe"))
        fejl = listed.makeelement(code.tag.replace("ForretningsValideringsKode", "Fejl"))
        for tag, text in (("FejlKode", "B101"), ("FejlTekst", "Anden kommune")):
            one = listed.makeelement(code.tag.replace("ForretningsValideringsKode", tag))
            one.text = text
            fejl.append(one)
        listed.append(fejl)
        code.addnext(listed)
    else:
        reason = made.makeelement(
            next(made.iter("{*}VurderingsDato")).tag.replace("VurderingsDato", "Afvisningsaarsag")
        )
        reason.text = "INGEN_GRUND_OPFYLDT"
        next(made.iter("{*}VurderingsDato")).addprevious(reason)
    return made


def answer(question, version: int = 1, **fields):
    """Make a final answer to an event."""
    return final(ANSWER, question, SagsID=next(question.iter("{*}SagsID")).text, SagsVersion=version, **fields)

# SPDX-License-Identifier: MPL-2.0
"""
The judgement of what jobcentres say: an answer to an event (T codes), to a request for extension (F), an update (O).

Pure: facts in, a verdict out. What a code list dates is read from the list. A verdict is one refusal, or none and
perhaps remarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.conversations import FINAL, is_final, is_outdated
from sygefravaer.contract.messages import (
    ForlaengelseType,
    ForretningskvitteringType,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendOpdateringFravaerRequest,
    SygefravaerssagType,
    TransportKvitteringType,
    kvittering_advarsel,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.ksd.changes import material, relevant
from sygefravaer.ksd.lifecycle import ENDED, State
from sygefravaer.law import danish_date, days_left

PENSIONER: Final = "PENSIONIST_PARAGRAF25"
PENSIONERS_CODE: Final = "P29"


class RequestStatus(StrEnum):
    """Where a request for extension stands."""

    OPEN = "open"
    ANSWERED = "answered"
    """Refused by the jobcentre; KSD decides, and payment runs until it has."""
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class Withdrawal(StrEnum):
    """Why a request was withdrawn."""

    MOVED = "moved"
    ENDED = "ended"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is answered: one FejlKode that refuses, or remarks on what was taken."""

    refusal: str | None = None
    remarks: tuple[str, ...] = ()

    def receipt(self) -> TransportKvitteringType:
        """Give the verdict as the contract says it."""
        if self.refusal is not None:
            return kvittering_fejl(self.refusal)
        return kvittering_advarsel(*self.remarks) if self.remarks else kvittering_ok()


TAKEN: Final = Verdict()


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An event (M1) that was sent: to whom, about what, and the final answer it has."""

    municipality_cvr: str
    sags_id: UUID
    version: int
    final: str | None
    codes: frozenset[str] = frozenset()
    """The FejlKoder of the final answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request for extension (M3) that was sent."""

    municipality_cvr: str
    status: RequestStatus
    withdrawal: Withdrawal | None
    review: date
    """RevurderingsDato: payment would end after this day."""
    deadline: date
    codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ownership:
    """Whose case it is, seen from one municipality."""

    holds: bool
    left_on: date | None
    """The last day it was this municipality's; `None` when it is, or never was."""


def judge_answer(told: Told | None, answer: SendForretningsSvarRequest, *, sender_cvr: str, person: bool) -> Verdict:
    """Judge an answer to an event; `person` says whether CPR and NemrefusionsID are those of the event's case."""
    if told is None or told.municipality_cvr != sender_cvr:
        return Verdict(refusal="T201")
    if not person:
        return Verdict(refusal="T204")
    if (answer.SagsID, answer.SagsVersion) != (told.sags_id, told.version):
        return Verdict(refusal="T205")
    receipt = answer.Forretningskvittering
    final = receipt.ForretningsValideringsKode, frozenset(fejlkoder(receipt))
    if told.final is not None and final[0] in FINAL and final != (told.final, told.codes):
        return Verdict(refusal="T202")
    return TAKEN


def fejlkoder(receipt: ForretningskvitteringType) -> list[str]:
    """List the FejlKoder of a business answer."""
    return [] if receipt.FejlListe is None else [fejl.FejlKode for fejl in receipt.FejlListe.Fejl]


def settles(receipt: ForretningskvitteringType) -> bool:
    """Say whether the answer closes the event: a final one, or MODTAGET because a newer version was there."""
    return is_final(receipt) or is_outdated(receipt)


def judge_extension(
    asked: Asked | None,
    answer: SendForretningsSvarForlaengelseRequest,
    *,
    sender_cvr: str,
    person: bool,
    state: State,
    picture: SygefravaerssagType,
    assessed: SygefravaerssagType | None,
    sent_on: date,
) -> Verdict:
    """
    Judge an answer to a request for extension.

    `picture` is the case as it is, `assessed` the version the jobcentre says it assessed (`None`: there is none),
    `sent_on` the Danish day of the answer.
    """
    if asked is None or asked.municipality_cvr != sender_cvr:
        return Verdict(refusal="F301")
    refusals = (
        _closed(asked, person=person, state=state),
        "F307" if assessed is None or material(assessed, picture) else None,
        _answered(asked.status),
        _judge_period(asked, answer, picture.Forlaengelse),
    )
    refusal = next((code for code in refusals if code is not None), None)
    if refusal is not None:
        return Verdict(refusal=refusal)
    remarks = (("F306", sent_on > asked.deadline), ("F307", assessed is not None and relevant(assessed, picture)))
    return Verdict(remarks=tuple(code for code, true in remarks if true))


def usual_kind(granted: Sequence[ForlaengelseType], *, pensioner: bool = False) -> str:
    """Give the Anmodningstype of the next request; who was granted one by s. 29 is of the s. 25 group."""
    if pensioner or (granted and granted[-1].Forlaengelseskode == PENSIONERS_CODE):
        return PENSIONER
    return "FORNYET_FORLAENGELSE" if granted else "FOERSTE_REVURDERING"


def possible_codes(kind: str, on: date) -> tuple[str, ...]:
    """List the codes that may answer a request of this Anmodningstype on this day; s. 29 is for the s. 25 group."""
    pensioner = kind == PENSIONER
    return tuple(
        code.kode
        for code in LISTS["forlaengelseskoder"].valid_codes(on)
        if code.extra["kanBesvareSF2093"] == "ja" and (code.kode == PENSIONERS_CODE) is pensioner
    )


def judge_update(
    update: SendOpdateringFravaerRequest,
    *,
    ownership: Ownership,
    person: bool,
    state: State,
    picture: SygefravaerssagType,
    today: date,
    sent_on: date,
) -> Verdict:
    """Judge an update for a case that is or was the sender's; one that never was is O401, and no question here."""
    left = not ownership.holds and (ownership.left_on is None or sent_on > ownership.left_on)
    last = picture.SidsteFravaersdag or picture.AfslutningsDato
    kategori, on = update.Visitationskategori, update.VisitationsDato
    breaches = (
        ("O403", not person),
        ("O404", left),
        ("O402", state in ENDED and last is not None and max(_effective(update)) > last),
        ("O405", kategori is not None and on is not None and not LISTS["visitationskategorier"].valid(kategori, on)),
        ("O406", min((*_happened(update), *_coming(update))) < picture.FoersteFravaersdag),
        ("O407", max(_happened(update)) > today),
    )
    return Verdict(refusal=next((code for code, broken in breaches if broken), None))


def _closed(asked: Asked, *, person: bool, state: State) -> str | None:
    if not person:
        return "F309"
    if asked.withdrawal is Withdrawal.MOVED:
        return "F301"
    return "F302" if state in ENDED else None


def _answered(status: RequestStatus) -> str | None:
    if status is RequestStatus.WITHDRAWN:
        return "F301"
    return None if status is RequestStatus.OPEN else "F308"


def _judge_period(
    asked: Asked, answer: SendForretningsSvarForlaengelseRequest, granted: Sequence[ForlaengelseType]
) -> str | None:
    kode, first, last = answer.Forlaengelseskode, answer.ForlaengelseFra, answer.ForlaengelseTil
    if answer.Forretningskvittering.ForretningsValideringsKode != "ACCEPTERET" or kode is None or first is None:
        return None  # no extension; one without code or first day is the contract's G001
    if kode not in asked.codes or not LISTS["forlaengelseskoder"].valid(kode, answer.VurderingsDato):
        return "F303"
    if first != asked.review + timedelta(days=1) or (last is not None and last < first):
        return "F305"
    left = days_left(kode, granted, first=first)
    return "F304" if left is not None and (last is None or (last - first).days >= left) else None


def _effective(update: SendOpdateringFravaerRequest) -> Iterator[date]:
    yield update.GyldigFra
    yield from (danish_date(talk.AfholdtTid) for talk in update.Opfoelgning if talk.AfholdtTid is not None)


def _happened(update: SendOpdateringFravaerRequest) -> Iterator[date]:
    """Days of what the update says has been: none of them may lie in the future."""
    yield from _effective(update)
    if update.VisitationsDato is not None:
        yield update.VisitationsDato
    if update.Raskmelding is not None:
        yield update.Raskmelding.SidsteFravaersdag
        yield update.Raskmelding.MeddeltDato
    if update.ManglendeMedvirken is not None:
        yield update.ManglendeMedvirken.HaendelsesDato
        if update.ManglendeMedvirken.PartshoeringSendt is not None:
            yield update.ManglendeMedvirken.PartshoeringSendt
    if update.Overgang is not None:
        yield update.Overgang.Dato


def _coming(update: SendOpdateringFravaerRequest) -> Iterator[date]:
    """Days that may lie ahead."""
    yield from (danish_date(talk.PlanlagtTid) for talk in update.Opfoelgning if talk.PlanlagtTid is not None)
    yield from (period.FraDato for period in update.DelvisPeriode)
    if update.ForventetRaskmeldingsdato is not None:
        yield update.ForventetRaskmeldingsdato

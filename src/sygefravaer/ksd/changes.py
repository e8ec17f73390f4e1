# SPDX-License-Identifier: MPL-2.0
"""
What happens to a case, as values: from one picture of it to the next, and how that is told. Pure.

A picture is the contract's `SygefravaerssagType`, complete in every version. A `Change` is the next picture without
its version number, the event and the reasons that tell it to the jobcentre, and the rule that caused it. Days are
Danish calendar days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import (
    DelvisPeriodeType,
    ForlaengelseType,
    SendOpdateringFravaerRequest,
    SygefravaerssagType,
)
from sygefravaer.contract.values import Cpr, municipality_by_code
from sygefravaer.errors import Party, SygefravaerError
from sygefravaer.ksd.lifecycle import ENDED, HANDED_OVER, State, Trigger, follow, move
from sygefravaer.law import Law, Norm, day_after, end_of_week


class Event(StrEnum):
    """The three events of SF2090."""

    OPRETTET = "OPRETTET"
    AENDRET = "AENDRET"
    AFSLUTTET = "AFSLUTTET"


class Impossible(SygefravaerError):
    """The case cannot be changed so."""

    code = "Impossible"
    who = Party.CALLER


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The next version of a case. `told_to` is the municipality (CVR) that hears of it, `None` the one that has it."""

    event: Event
    on: date
    """HaendelsesDato: the day from which it is true; may lie in the past."""
    reasons: tuple[str, ...]
    picture: SygefravaerssagType
    state: State
    rule: str
    told_to: str | None = None
    moved_to: str | None = None
    before_end: State | None = None
    """The state to come back to when an ended case is reopened."""


TOO_FEW: Final = "DELVIS_OPHOERT"
STOPPED: Final = "P21_MANGLENDE_MEDVIRKEN"
"""The Afslutningsaarsag of the ends that KSD comes to by itself, beside those that follow a refusal."""

DEFAULT_REASON: Final = "BEREGNING_AENDRET"
REASONS: Final[Mapping[str, str]] = {
    "Sagsart": "SAGSART_SKIFT",
    "FoersteFravaersdag": "FOERSTE_FRAVAERSDAG_RETTET",
    "Arbejdsgiver": "ARBEJDSGIVER_RETTET",
    "DelvisPeriode": "DELVIS_RASKMELDING",
    "Forlaengelse": "FORLAENGELSE_BEVILGET",
    "RevurderingsDato": "REVURDERINGSDATO_AENDRET",
    "Visitationskategori": "VISITATION_MODTAGET",
    "ForventetRaskmeldingsdato": "VISITATION_MODTAGET",
    "TilknyttetNemrefusionsID": "NEMREFUSION_TILKNYTTET",
}
"""The Aendringsaarsag that tells a change of a field; DEFAULT_REASON for others, as an AENDRET needs one."""

KEPT: Final = frozenset(
    {
        *("SagsID", "SagsVersion", "NemrefusionsID", "CprNummer", "TidligereCprNummer", "Kommunekode"),
        *("SagsTilstand", "AfslutningsDato", "Afslutningsaarsag", "SenestAendret", "StartSagsart"),
    },
)
"""Fields that only a change of their own kind may set."""

ATTACHED: Final = frozenset({"TilknyttetNemrefusionsID"})
"""What comes to a case after its end as well: an employer claims a refund for a time that is over."""

MATERIAL: Final = ("FoersteFravaersdag", "Arbejdsgiver", "CprNummer")
"""Fields whose change makes an assessment on an older version worthless (F307)."""

COUNTED: Final = ("FoersteFravaersdag", "Fravaerstype", "Sagsart")
"""Fields that decide how many weeks of the time limit a case uses, beside its end and its stops."""

OVERPAID: Final = timedelta(weeks=1)
"""Money for so long a time is calculated anew, and the jobcentre is told."""

_ADMINISTRATIVE: Final = ("SagsVersion", "SagsTilstand", "SenestAendret")


def opened(picture: SygefravaerssagType, state: State = State.ANMELDT) -> tuple[Change, ...]:
    """Open a case; one whose report already has a last day is ended in the same run, as a recovery."""
    if LISTS["sagsarter"].get(picture.Sagsart).extra["aabnerSag"] != "ja":
        raise Impossible("Its Sagsart never opens a case.")
    first = Change(
        event=Event.OPRETTET,
        on=picture.FoersteFravaersdag,
        reasons=(),
        picture=replace(picture, SagsTilstand=state.value, StartSagsart=picture.StartSagsart or picture.Sagsart),
        state=state,
        rule="s. 40: reported",
    )
    last = picture.SidsteFravaersdag
    if last is None:
        return (first,)
    return first, ended(first.picture, state, on=last, cause="RASKMELDT", rule="s. 40: reported with its last day")


def changed(
    picture: SygefravaerssagType,
    state: State,
    fields: Mapping[str, object],
    *,
    on: date,
    reasons: Iterable[str] = (),
    trigger: Trigger | None = None,
    asked: bool = False,
) -> Change:
    """
    Change fields of a case that is open; a trigger may move it as well. Raises Impossible or IllegalMove.

    `asked` says that a request for extension is out: a case that is resumed is being reassessed then. What comes to an
    ended case is told as its end once more, since a jobcentre takes no other change of one (B105).
    """
    if KEPT & fields.keys():
        raise Impossible(f"{', '.join(sorted(KEPT & fields.keys()))} cannot be set as a field; there is an act for it.")
    if state in ENDED and trigger is None and fields.keys() != ATTACHED:
        raise Impossible("The case has ended; it must be taken up again before it changes.")
    following = replace(picture, **fields)  # type: ignore[arg-type]  # names and types were judged when they were read
    event = Event.AFSLUTTET if state in ENDED and trigger is None else Event.AENDRET
    if trigger is Trigger.RESUME:
        state = move(state, trigger, to=State.REVURDERING if asked else State.LOEBENDE)
    else:
        state = _moved(state, following, fields) if trigger is None else move(state, trigger)
    given = tuple(reasons) or _reasons(fields, trigger)
    return Change(
        event=event,
        on=on,
        reasons=given,
        picture=replace(following, SagsTilstand=state.value),
        state=state,
        rule=_rule(given),
    )


def ended(
    picture: SygefravaerssagType,
    state: State,
    *,
    on: date,
    cause: str,
    last_day: date | None = None,
    rule: str = "",
    today: date | None = None,
) -> Change:
    """
    End a case on a day for a cause of `afslutningsaarsager`; a recovery also says the last day of absence.

    An end that lies back by a week or more as seen from `today` tells that the calculation changed too: weeks of it
    have been paid.
    """
    if cause == "FLYTNING":
        raise Impossible("A move does not end a case; there is an act for it.")
    if on < picture.FoersteFravaersdag:
        raise Impossible("It would end before its first day of absence.")
    if not LISTS["afslutningsaarsager"].valid(cause, on):
        raise Impossible("Its cause is no longer one that a case can end by on that day.")
    state_after = move(state, Trigger.ANNUL if cause == "ANNULLERET" else Trigger.END)
    last = last_day or (on if cause == "RASKMELDT" else picture.SidsteFravaersdag)
    paid_last, paid_first = last or on, picture.FoersteBeregningsdag
    was_paid = paid_first is not None and paid_first <= paid_last
    overpaid = paid_first is not None and today is not None and today - on >= OVERPAID
    return Change(
        event=Event.AFSLUTTET,
        on=on,
        reasons=(DEFAULT_REASON,) if overpaid else (),
        picture=replace(
            picture,
            SidsteFravaersdag=last,
            FoersteBeregningsdag=paid_first if was_paid else None,
            SidsteBeregningsdag=paid_last if was_paid else None,
            AfslutningsDato=on,
            Afslutningsaarsag=cause,
            SagsTilstand=state_after.value,
        ),
        state=state_after,
        rule=rule or f"ended: {cause}",
        before_end=state,
    )


def reopened(
    picture: SygefravaerssagType,
    state: State,
    before_end: State | None,
    *,
    on: date | None,
    today: date,
    law: Law,
) -> Change:
    """
    Take up an ended case again in the state it had; extensions stand, the end is taken back with what led to it.

    So a case that ended by its stop runs (s. 21), and one that ended by too few hours no longer has them (s. 53): else
    KSD would end it again the same day. It is true from the day of the end unless `on` says otherwise. Weeks that were
    not paid since then are paid: the calculation changed too.
    """
    by_stop = before_end is State.STANDSET and picture.Afslutningsaarsag == STOPPED
    target = move(state, Trigger.REOPEN, to=State.LOEBENDE if by_stop else before_end or State.LOEBENDE)
    kept = picture.DelvisPeriode
    if picture.Afslutningsaarsag == TOO_FEW:
        kept = tuple(each for each in kept if not _too_few(each, law))
    end = picture.AfslutningsDato or today
    unpaid = today - end >= OVERPAID
    return Change(
        event=Event.AENDRET,
        on=on or end,
        reasons=("GENOPTAGET", DEFAULT_REASON) if unpaid else ("GENOPTAGET",),
        picture=replace(
            picture,
            SidsteFravaersdag=None,
            SidsteBeregningsdag=None,
            DelvisPeriode=kept,
            AfslutningsDato=None,
            Afslutningsaarsag=None,
            SagsTilstand=target.value,
        ),
        state=target,
        rule="reopened",
    )


def moved(picture: SygefravaerssagType, state: State, *, left: str, code: str, on: date) -> tuple[Change, Change]:
    """
    Move a case: the municipality `left` (CVR) is told the end, the one with this code that it goes on.

    The old one pays to the end of the moving week (KOMBIT's answers on the KSD requirements), so the end is that
    Sunday. Raises Impossible for an ended case, or when nothing would move.
    """
    municipality = municipality_by_code(code)
    if municipality is None or municipality.cvr.text == left:
        raise Impossible("A move needs another municipality than the one that has the case.")
    if state in ENDED:
        raise Impossible("The case has ended; it does not move any more.")
    sunday = end_of_week(on)
    there = replace(picture, Kommunekode=code)
    return (
        Change(
            event=Event.AFSLUTTET,
            on=sunday,
            reasons=("KOMMUNE_SKIFT",),
            picture=replace(there, SagsTilstand=HANDED_OVER, AfslutningsDato=sunday, Afslutningsaarsag="FLYTNING"),
            state=state,
            rule="moved: end of the moving week",
            told_to=left,
            moved_to=municipality.cvr.text,
        ),
        Change(
            event=Event.OPRETTET,
            on=day_after(sunday),
            reasons=("KOMMUNE_SKIFT",),
            picture=replace(there, SagsTilstand=state.value),
            state=state,
            rule="moved: goes on in the state it had",
            told_to=municipality.cvr.text,
        ),
    )


def renumbered(picture: SygefravaerssagType, state: State, *, current: Cpr, former: Iterable[Cpr], on: date) -> Change:
    """Give the citizen's number of today, with all the former ones."""
    return Change(
        event=Event.AENDRET,
        on=on,
        reasons=("CPR_SKIFT",),
        picture=replace(picture, CprNummer=current, TidligereCprNummer=tuple(former)),
        state=state,
        rule="CPR: number changed",
    )


def extended(picture: SygefravaerssagType, state: State, extension: ForlaengelseType) -> Change:
    """Grant an extension; only a case that is being reassessed becomes FORLAENGET by it."""
    after = follow(state, Trigger.GRANT)
    return Change(
        event=Event.AENDRET,
        on=extension.FraDato,
        reasons=("FORLAENGELSE_BEVILGET",),
        picture=replace(picture, Forlaengelse=(*picture.Forlaengelse, extension), SagsTilstand=after.value),
        state=after,
        rule=LISTS["forlaengelseskoder"].get(extension.Forlaengelseskode).extra["paragraf"],
    )


def paying(picture: SygefravaerssagType, state: State, *, on: date) -> Change:
    """
    Begin to pay: the employer period is over (s. 30), or what takes its place; the Sagsart may change with it.

    Whoever reported as unemployed and has an employer goes on as an employee.
    """
    fields: dict[str, object] = {"FoersteBeregningsdag": on}
    after = LISTS["sagsarter"].get(picture.Sagsart).extra["efterArbejdsgiverperiode"]
    if after and picture.Arbejdsgiver is not None:
        fields["Sagsart"] = after
    change = changed(picture, state, fields, on=on)
    return replace(change, rule="s. 30: the employer period is over")


def asked(picture: SygefravaerssagType, state: State, *, on: date) -> Change | None:
    """Begin a reassessment; `None` when the case is in one. It is told by the request, not by an event."""
    if state is State.REVURDERING:
        return None
    after = move(state, Trigger.ASK)
    return Change(
        event=Event.AENDRET,
        on=on,
        reasons=(),
        picture=replace(picture, SagsTilstand=after.value),
        state=after,
        rule="s. 24(1): reassessment begins",
    )


def updated(
    picture: SygefravaerssagType, state: State, update: SendOpdateringFravaerRequest, *, law: Law, today: date
) -> Change | None:
    """
    Say what a jobcentre's update (SF2095) does to the case; `None` when it is only kept.

    An ended case changes no more. Visitation, expected and partial recovery are new versions; recovery, a transfer and
    partial absence of too few hours (s. 53) end the case; follow-up, standby and the jobcentre's own closing are facts
    beside it; missing cooperation is for KSD to decide (s. 21). Blocks that are missing are the contract's G001 and
    never come here.
    """
    if state in ENDED:
        return None
    fields = _reported(picture, update)
    change = changed(picture, state, fields, on=update.GyldigFra) if fields else None
    end = _end(picture, update, law, today)
    if end is None:
        return change
    day, cause, rule = end
    base, reasons = (change.picture, change.reasons) if change is not None else (picture, ())
    closing = ended(
        base, change.state if change is not None else state, on=day, cause=cause, rule=f"SF2095: {rule}", today=today
    )
    return replace(closing, reasons=tuple(dict.fromkeys((*reasons, *closing.reasons))))


def ends_by(transfer: str, on: date) -> bool:
    """Say whether a transfer of this Overgang/Type on this day ends a case; a person looks at any other."""
    causes = LISTS["afslutningsaarsager"]
    return causes.valid(transfer, on) and causes.get(transfer).extra["overgang"] == "ja"


def follow_on(cause: str, on: date, law: Law) -> str | None:
    """
    Say what follows an end by this Afslutningsaarsag: another scheme, or `None` for nothing.

    What takes over when sygedagpenge run out while the citizen is still incapacitated is the law's of that day.
    """
    return scheme(LISTS["afslutningsaarsager"].get(cause).extra["foelge"], on, law) or None


def scheme(told: str, on: date, law: Law) -> str:
    """Give what a list's `foelge` means on a day: that of a citizen who stays incapacitated is the law's of the day."""
    return law.rule(Norm.UNDECIDED_SCHEME, on).value if told in UNDECIDED else told


UNDECIDED: Final = frozenset({"UARBEJDSDYGTIG", "JOBAFKLARING"})
"""`foelge` of the ends and refusals that leave a citizen incapacitated."""


def too_few_hours(picture: SygefravaerssagType, law: Law) -> date | None:
    """Say from which day the newest partial absence has too few hours a week (s. 53); `None`: it has enough."""
    newest = max(picture.DelvisPeriode, key=lambda period: period.FraDato, default=None)
    return newest.FraDato if newest is not None and _too_few(newest, law) else None


def over(picture: SygefravaerssagType, state: State, *, since: date, today: date) -> Change:
    """End a case whose partial absence has too few hours: on the day before, not before its first."""
    on = max(since - timedelta(days=1), picture.FoersteFravaersdag)
    return ended(picture, state, on=on, cause=TOO_FEW, rule="s. 53: too few hours a week", today=today)


def material(before: SygefravaerssagType, after: SygefravaerssagType) -> bool:
    """Say whether first day of absence, employer or CPR differ."""
    return any(getattr(before, name) != getattr(after, name) for name in MATERIAL)


def relevant(before: SygefravaerssagType, after: SygefravaerssagType) -> bool:
    """Say whether anything differs that an assessment could rest on."""
    return replace(before, **{name: getattr(after, name) for name in _ADMINISTRATIVE}) != after


def _reported(picture: SygefravaerssagType, update: SendOpdateringFravaerRequest) -> dict[str, object]:
    fields: dict[str, object] = {}
    if update.Visitationskategori is not None:
        fields["Visitationskategori"] = update.Visitationskategori
    if update.ForventetRaskmeldingsdato is not None:
        fields["ForventetRaskmeldingsdato"] = update.ForventetRaskmeldingsdato
    if update.DelvisPeriode:
        kept = tuple(period for period in picture.DelvisPeriode if period not in update.DelvisPeriode)
        fields["DelvisPeriode"] = (*kept, *update.DelvisPeriode)
    return fields


def _end(
    picture: SygefravaerssagType, update: SendOpdateringFravaerRequest, law: Law, today: date
) -> tuple[date, str, str] | None:
    """Say on which day, by which Afslutningsaarsag and by which rule an update ends the case, if it does."""
    if update.Raskmelding is not None:
        return update.Raskmelding.SidsteFravaersdag, "RASKMELDT", "s. 7"
    transfer = update.Overgang
    if transfer is not None and ends_by(transfer.Type, transfer.Dato):
        return transfer.Dato, transfer.Type, "transfer"
    for period in update.DelvisPeriode:
        if _too_few(period, law) and period.FraDato <= today:
            return max(period.FraDato - timedelta(days=1), picture.FoersteFravaersdag), TOO_FEW, "s. 53"
    return None


def _too_few(period: DelvisPeriodeType, law: Law) -> bool:
    return period.FravaerstimerPrUge < law.number(Norm.PARTIAL_HOURS, period.FraDato)


def _moved(state: State, picture: SygefravaerssagType, fields: Mapping[str, object]) -> State:
    if fields.get("OplysningsskemaModtaget") is not None:
        state = follow(state, Trigger.FORM)
    if picture.Visitationskategori is not None:
        state = follow(state, Trigger.CATEGORY)
    if fields.get("DelvisPeriode"):
        state = follow(state, Trigger.PART_TIME)
    return state


def _reasons(fields: Mapping[str, object], trigger: Trigger | None) -> tuple[str, ...]:
    found = {REASONS.get(name, DEFAULT_REASON): None for name in fields}
    if trigger is Trigger.STOP:
        found["STANDSET_P21"] = None
    if trigger is Trigger.RESUME:
        found["GENOPTAGET"] = None
    if not found:
        raise Impossible("Nothing would change; fields, or a trigger that stops or resumes payment, were wanted.")
    return tuple(found)


def _rule(reasons: tuple[str, ...]) -> str:
    return f"changed: {', '.join(reasons)}"

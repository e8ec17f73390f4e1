# SPDX-License-Identifier: MPL-2.0
"""
How a case begins: its first picture from what is given, and cases that a sandbox starts with.

Codes that are not given follow from the Sagsart: an employee's ordinary case is 11.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from uuid import UUID, uuid4

from sygefravaer.clock import Clock
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.plain import fields_of_plain
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.control import Fields
from sygefravaer.errors import ActRefused
from sygefravaer.ksd import changes
from sygefravaer.ksd.cases import Cases, Cause
from sygefravaer.ksd.casework import Casework, Question
from sygefravaer.ksd.lifecycle import State, Trigger
from sygefravaer.ksd.timing import first_paid
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Store

SAGSART: Final = "11"
EMPLOYEE: Final = "LOENMODTAGER"
_CAUSES: Final = {State.AFSLUTTET: "RASKMELDT", State.ANNULLERET: "ANNULLERET"}


@dataclass(frozen=True, kw_only=True, slots=True)
class NewCase:
    """A case that is to be opened."""

    picture: SygefravaerssagType
    municipality_cvr: str
    pensioner_since: date | None


def new_case(given: Fields, *, now: datetime, law: Law) -> NewCase:
    """Make a new case from an act's fields: `sags_id`, `pensioner_since` and those of `first_picture`."""
    sags_id, pensioner_since = given.find("sags_id", UUID) or uuid4(), given.find("pensioner_since", date)
    picture, cvr = first_picture(given, sags_id, now=now, law=law)
    return NewCase(picture=picture, municipality_cvr=cvr, pensioner_since=pensioner_since)


def first_picture(given: Fields, sags_id: UUID, *, now: datetime, law: Law) -> tuple[SygefravaerssagType, str]:
    """
    Make the first picture of a case from an act's fields, and say whose case it is (CVR).

    What is paid from when is counted, where the day has come and nothing else changes on it (then it is an event of
    its own); a RevurderingsDato that is given stands.
    """
    cpr, cvr = given.take("cpr", Cpr), given.take("municipality_cvr", str)
    nemrefusions_id = given.find("nemrefusions_id", UUID) or uuid4()
    fields = fields_of_plain(SygefravaerssagType, given.wire())
    municipality = MUNICIPALITIES.get(cvr)
    if municipality is None:
        raise ActRefused("FieldWrong", "municipality_cvr: one of the 98 municipalities was wanted.")
    if fields.get("FoersteFravaersdag") is None:
        raise ActRefused("FieldMissing", "FoersteFravaersdag is missing.")
    told = (changes.KEPT - {"StartSagsart"}) & fields.keys()
    if told:
        raise ActRefused("FieldWrong", f"{', '.join(sorted(told))}: not a field to open a case with.")
    fields.setdefault("Beskaeftigelsesstatus", employment(fields.setdefault("Sagsart", SAGSART)))
    fields.setdefault("Fravaerstype", "FULDT")
    fields.setdefault("AnmeldelsesDato", danish_date(now))
    picture = SygefravaerssagType(
        **fields,
        SagsID=sags_id,
        SagsVersion=1,
        NemrefusionsID=nemrefusions_id,
        CprNummer=cpr,
        Kommunekode=municipality.kommunekode,
        SagsTilstand=State.ANMELDT.value,
        SenestAendret=now,
    )
    paid = first_paid(picture, law)
    changes_then = LISTS["sagsarter"].get(picture.Sagsart).extra["efterArbejdsgiverperiode"] and picture.Arbejdsgiver
    if picture.FoersteBeregningsdag is None and paid <= danish_date(now) and not changes_then:
        picture = replace(picture, FoersteBeregningsdag=paid)
    return picture, cvr


def employment(sagsart: str) -> str:
    """Give the Beskaeftigelsesstatus of a Sagsart: that of its group, else an employee's."""
    group = LISTS["sagsarter"].get(sagsart).extra["gruppe"]
    return group if group in LISTS["beskaeftigelsesstatusser"] else EMPLOYEE


@dataclass(frozen=True, kw_only=True)
class Seeding:
    """Opens cases in a wanted state."""

    store: Store
    clock: Clock
    cases: Cases
    casework: Casework
    law: Law

    async def seed(self, given: Fields, *, quiet: bool) -> bool:
        """Open a case unless it is there; `quiet` sends nothing. Tell whether it was opened."""
        state = given.choice("state", State) or State.ANMELDT
        on, code = given.find("on", date), given.find("cause", str)
        now, cause = self.clock.now(), Cause(name="seed")
        new = new_case(given, now=now, law=self.law)
        given.done()
        picture, last = new.picture, new.picture.SidsteFravaersdag
        async with self.store.tx() as tx:
            if await self.cases.held(tx, picture.SagsID) is not None:
                return False
            if state in _CAUSES:  # it was open before; a report with a last day ends in the same run
                picture = replace(picture, SidsteFravaersdag=None)
            case = await self.cases.open(
                tx, picture, new.municipality_cvr, now=now, pensioner_since=new.pensioner_since
            )
            later = state in _CAUSES or state is State.STANDSET or (state is State.REVURDERING and not quiet)
            begin = State.LOEBENDE if later else state
            case = await self.casework.tell(
                tx, case, *changes.opened(case.picture, begin), cause=cause, now=now, quiet=quiet
            )
            if state in _CAUSES:
                end = changes.ended(
                    case.picture,
                    case.state,
                    on=on or last or danish_date(now),
                    cause=code or _CAUSES[state],
                    last_day=last,
                )
                await self.casework.tell(tx, case, end, cause=cause, now=now, quiet=quiet)
            elif state is State.STANDSET:
                stop = changes.changed(case.picture, case.state, {}, on=on or danish_date(now), trigger=Trigger.STOP)
                await self.casework.tell(tx, case, stop, cause=cause, now=now, quiet=quiet)
            elif begin is not state:
                await self.casework.ask(tx, case, Question(), cause=cause, now=now)
        return True

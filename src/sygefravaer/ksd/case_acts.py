# SPDX-License-Identifier: MPL-2.0
"""
The control acts that change a case or send about it: a caseworker's hands, and a test's.

Fields as in `acts`. Each act is one transaction: the change, its version and its message, or nothing. It gives
`{"sags_id", "version", "state", "municipality_cvr"}` after the commit; the message leaves by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from sygefravaer.clock import Clock
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.plain import fields_of_plain
from sygefravaer.contract.values import MUNICIPALITIES, Cpr, municipality_by_code
from sygefravaer.control import Fields, Json
from sygefravaer.errors import ActRefused
from sygefravaer.ksd import changes
from sygefravaer.ksd.cases import Case, Cases, Cause
from sygefravaer.ksd.casework import Casework, Question
from sygefravaer.ksd.changes import Event
from sygefravaer.ksd.lifecycle import Trigger
from sygefravaer.ksd.reports import Reports
from sygefravaer.law import Law, Norm, danish_date
from sygefravaer.store import Store, Tx

Work = Callable[[Tx, Cause, datetime], Awaitable[Case]]

_MOVES: Final = {"STOP": Trigger.STOP, "RESUME": Trigger.RESUME}


@dataclass(frozen=True, kw_only=True)
class CaseActs:
    """The acts on cases, and how they find one."""

    store: Store
    clock: Clock
    cases: Cases
    casework: Casework
    reports: Reports
    law: Law
    wake: Callable[[], None]

    # --- cases ---

    async def create_case(self, given: Fields) -> Json:
        """
        Open a case and tell it (M1 OPRETTET); with SidsteFravaersdag it is ended in the same run.

        | field | |
        |---|---|
        | `cpr`, `municipality_cvr` | whose, and which municipality's |
        | `sags_id`, `nemrefusions_id` | new unless given |
        | `pensioner_since` | from which day the citizen is of the s. 25 group; never unless given |
        | `FoersteFravaersdag` | must be given; every other field of Sygefravaerssag may be |

        RevurderingsDato and FoersteBeregningsdag are counted unless given. While reports are held (act `policy`) it
        waits with them, and `{"held": true}` is given.
        """
        if self.reports.holds():
            await self.reports.keep(given.all())
            return {"held": True}

        async def change(tx: Tx, _: Cause, now: datetime) -> Case:
            return await self.reports.open(tx, given, now=now)

        return await self._changed("create_case", change)

    async def change_case(self, given: Fields) -> Json:
        """
        Change fields of an open case and tell it (M1 AENDRET). null clears a field.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `on` | HaendelsesDato; today unless given |
        | `reasons` | Aendringsaarsag; from the fields unless given |
        | `move` | STOP (s. 21) or RESUME: stops or resumes payment as well; RESUME within four weeks |
        | `pensioner_since` | from which day the citizen is of the s. 25 group |
        | FoersteFravaersdag ... | the fields; a RevurderingsDato stands from then on, null lets it be counted again |
        """
        on, move = self._day(given, "on"), given.find("move", str)
        pensioner_since = given.find("pensioner_since", date)
        reasons, picture = given.list("reasons", str) or (), fields_of_plain(SygefravaerssagType, given.wire())
        if move is not None and move not in _MOVES:
            raise ActRefused("FieldWrong", "move: STOP or RESUME was wanted.")
        trigger = None if move is None else _MOVES[move]

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            case = await self._by_hand(tx, await self._held(tx, given), picture, pensioner_since)
            if pensioner_since is not None and not picture and trigger is None:
                return await self.casework.count_anew(tx, case, cause=cause, now=now)
            self._check_resume(case, trigger, on)
            asked = trigger is Trigger.RESUME and await self.casework.asked(tx, case)
            told = changes.changed(
                case.picture, case.state, picture, on=on, reasons=reasons, trigger=trigger, asked=asked
            )
            await self.cases.attach(tx, case.sags_id, told.picture.TilknyttetNemrefusionsID, now=now)
            case = await self.casework.tell(tx, case, told, cause=cause, now=now)
            return case if pensioner_since is None else await self.casework.count_anew(tx, case, cause=cause, now=now)

        return await self._changed("change_case", change)

    async def attach_report(self, given: Fields) -> Json:
        """
        Attach a later report from NemRefusion to a case and tell it (M1 AENDRET NEMREFUSION_TILKNYTTET).

        | field | |
        |---|---|
        | `sags_id` | which case |
        | `report` | the report's NemrefusionsID |
        | `on` | HaendelsesDato; today unless given |
        """
        on, report = self._day(given, "on"), given.take("report", UUID)

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            case = await self._held(tx, given)
            reports = {"TilknyttetNemrefusionsID": (*case.picture.TilknyttetNemrefusionsID, report)}
            await self.cases.attach(tx, case.sags_id, (report,), now=now)
            told = changes.changed(case.picture, case.state, reports, on=on)
            return await self.casework.tell(tx, case, told, cause=cause, now=now)

        return await self._changed("attach_report", change)

    async def end_case(self, given: Fields) -> Json:
        """
        End a case and tell it (M1 AFSLUTTET). An open request for extension is withdrawn with it.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `cause` | an Afslutningsaarsag; RASKMELDT unless given, ANNULLERET when the report was wrong |
        | `on` | AfslutningsDato and HaendelsesDato; today unless given |
        | `last_day` | SidsteFravaersdag; `on` for a recovery unless given |
        """
        on, last_day = self._day(given, "on"), given.find("last_day", date)
        cause_code = given.find("cause", str) or "RASKMELDT"
        if cause_code not in LISTS["afslutningsaarsager"]:
            raise ActRefused("FieldWrong", "cause: a code of the list afslutningsaarsager was wanted.")

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            case = await self._held(tx, given)
            today = danish_date(now)
            told = changes.ended(case.picture, case.state, on=on, cause=cause_code, last_day=last_day, today=today)
            return await self.casework.tell(tx, case, told, cause=cause, now=now)

        return await self._changed("end_case", change)

    async def move_case(self, given: Fields) -> Json:
        """
        Move a case: M1 AFSLUTTET FLYTNING to the old municipality, OPRETTET to the new; an open request goes along.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `municipality_cvr` or `kommunekode` | where to |
        | `on` | the day of the move; today unless given. It takes effect at the end of that week |
        """
        on, cvr, code = self._day(given, "on"), given.find("municipality_cvr", str), given.find("kommunekode", str)
        municipality = MUNICIPALITIES.get(cvr) if cvr else municipality_by_code(code or "")
        if municipality is None:
            raise ActRefused("FieldWrong", "municipality_cvr or kommunekode: one of the 98 municipalities was wanted.")
        target = municipality.kommunekode

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            return await self.casework.move(tx, await self._held(tx, given), code=target, on=on, cause=cause, now=now)

        return await self._changed("move_case", change)

    async def change_cpr(self, given: Fields) -> Json:
        """
        Give a citizen a new number and tell it in every open case (M1 AENDRET CPR_SKIFT); gives `cases`.

        | field | |
        |---|---|
        | `cpr`, `new_cpr` | a number the citizen has or had, and the new one; who was known by either is one citizen |
        | `on` | HaendelsesDato; today unless given |
        """
        old, new = given.take("cpr", Cpr), given.take("new_cpr", Cpr)
        on = self._day(given, "on")
        given.done()
        async with self.store.tx() as tx:
            cause = Cause(name="change_cpr")
            told = await self.casework.renumber(tx, old, new, on=on, cause=cause, now=self.clock.now())
        self.wake()
        return {"cases": [_shown(case) for case in told]}

    async def reopen_case(self, given: Fields) -> Json:
        """
        Take up an ended case again in the state it had, extensions included (M1 AENDRET GENOPTAGET).

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `on` | HaendelsesDato; the day of the end that is taken back unless given |
        """
        on = given.find("on", date)

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            case = await self._held(tx, given)
            told = changes.reopened(
                case.picture, case.state, case.before_end, on=on, today=danish_date(now), law=self.law
            )
            return await self.casework.tell(tx, case, told, cause=cause, now=now)

        return await self._changed("reopen_case", change)

    async def decide(self, given: Fields) -> Json:
        """
        Decide on a refusal that waits (M1 AFSLUTTET); not before today, and a time limit not before its day.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which case |
        | `cause` | an Afslutningsaarsag; what the refusal leads to unless given |
        """
        ending = given.find("cause", str)
        if ending is not None and ending not in LISTS["afslutningsaarsager"]:
            raise ActRefused("FieldWrong", "cause: a code of the list afslutningsaarsager was wanted.")

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            return await self.casework.decide(tx, await self._held(tx, given), cause=cause, now=now, ending=ending)

        return await self._changed("decide", change)

    # --- messages ---

    async def ask_extension(self, given: Fields) -> Json:
        """
        Ask the jobcentre for an extension (M3); a request that is open is superseded. Gives `anmodning_id` as well.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which case |
        | `kind` | Anmodningstype; first or renewed by the case's extensions unless given |
        | `review` | RevurderingsDato; the end of the last extension, else the case's, unless given |
        | `deadline` | Svarfrist; 14 days before, but not before five working days, unless given |
        | `weeks` | ForbrugteUger; the case's, else since the employer's period, unless given |
        """
        kind = given.find("kind", str)
        if kind is not None and kind not in LISTS["anmodningstyper"]:
            raise ActRefused("FieldWrong", "kind: a code of the list anmodningstyper was wanted.")
        question = Question(
            kind=kind,
            review=given.find("review", date),
            deadline=given.find("deadline", date),
            weeks=given.find("weeks", Decimal),
        )
        asked: list[UUID] = []

        async def change(tx: Tx, cause: Cause, now: datetime) -> Case:
            case = await self._held(tx, given)
            case, anmodning_id = await self.casework.ask(tx, case, question, cause=cause, now=now)
            asked.append(anmodning_id)
            return case

        return {**await self._changed("ask_extension", change), "anmodning_id": str(asked[0])}

    async def remind(self, given: Fields) -> Json:
        """
        Send an open request for extension again (M3, same AnmodningID). Gives `rykkernummer` as well.

        | field | |
        |---|---|
        | `anmodning_id` | which request |
        """
        anmodning_id = given.take("anmodning_id", UUID)
        numbers: list[int] = []

        async def change(tx: Tx, _: Cause, now: datetime) -> Case:
            row = await tx.one("SELECT sags_id FROM request WHERE anmodning_id = %(id)s", id=anmodning_id)
            case = None if row is None else await self.cases.held(tx, row["sags_id"])
            if case is None:
                raise ActRefused("NoSuchRequest", "There is no such request for extension.")
            numbers.append(await self.casework.remind(tx, case, anmodning_id, now=now))
            return case

        given.done()
        return {**await self._changed("remind", change), "rykkernummer": numbers[0]}

    async def resend(self, given: Fields) -> Json:
        """
        Tell the present version of a case once more in a new message (M1). Gives `besked_id` as well.

        | field | |
        |---|---|
        | `sags_id` or `nemrefusions_id` | which |
        | `event` | Haendelsestype; that of the version unless given |
        """
        event = given.choice("event", Event)
        sent: list[UUID] = []

        async def change(tx: Tx, _: Cause, now: datetime) -> Case:
            case = await self._held(tx, given)
            sent.append(await self.casework.resend(tx, case, event, now=now))
            return case

        return {**await self._changed("resend", change), "besked_id": str(sent[0])}

    # --- the inside ---

    async def _changed(self, name: str, change: Work) -> Json:
        async with self.store.tx() as tx:
            case = await change(tx, Cause(name=name), self.clock.now())
        self.wake()
        return _shown(case)

    async def _held(self, tx: Tx, given: Fields) -> Case:
        case = await self.cases.held(tx, await self.sags_id(tx, given))
        given.done()
        if case is None:
            raise no_case()
        return case

    async def sags_id(self, tx: Tx, given: Fields) -> UUID:
        """Find the case that `sags_id` or `nemrefusions_id` names."""
        sags_id, nemrefusions_id = given.find("sags_id", UUID), given.find("nemrefusions_id", UUID)
        if sags_id is not None:
            return sags_id
        if nemrefusions_id is None:
            raise ActRefused("FieldMissing", "sags_id or nemrefusions_id is missing.")
        found = await self.cases.of_report(tx, nemrefusions_id)
        if found is None:
            raise no_case()
        return found

    async def _by_hand(self, tx: Tx, case: Case, fields: Json, pensioner_since: date | None) -> Case:
        """Note what a person sets beside the picture, before it is counted."""
        by_hand = fields["RevurderingsDato"] is not None if "RevurderingsDato" in fields else case.review_by_hand
        since = pensioner_since or case.pensioner_since
        if (by_hand, since) == (case.review_by_hand, case.pensioner_since):
            return case
        return await self.cases.set_by_hand(tx, case, pensioner_since=since, review_by_hand=by_hand)

    def _check_resume(self, case: Case, trigger: Trigger | None, on: date) -> None:
        if trigger is not Trigger.RESUME or case.stopped_on is None:
            return
        weeks = self.law.number(Norm.STOP_WEEKS, case.stopped_on)
        if on > case.stopped_on + timedelta(weeks=weeks):
            raise changes.Impossible(f"It has been stopped for more than {weeks} weeks (s. 21); it ends.")

    def _day(self, given: Fields, name: str) -> date:
        return given.find(name, date) or danish_date(self.clock.now())


def _shown(case: Case) -> Json:
    return {
        "sags_id": str(case.sags_id),
        "version": case.version,
        "state": case.state.value,
        "municipality_cvr": case.municipality_cvr,
    }


def no_case() -> ActRefused:
    """Say that there is none."""
    return ActRefused("NoSuchCase", "There is no such case.")

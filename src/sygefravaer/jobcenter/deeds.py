# SPDX-License-Identifier: MPL-2.0
"""
What the jobcentre did, planned and missed, as rows; and when it is to look at a case by itself again.

A row is a fact beside the jobcentersag, told to KSD or not. Duties are computed from them, so a talk held by hand
counts as one that the policy held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sygefravaer.contract.messages import OpfoelgningType, SendOpdateringFravaerRequest
from sygefravaer.jobcenter.facts import Deed, What, day_of
from sygefravaer.jobcenter.life import STATUS, State, Update
from sygefravaer.jobcenter.verdicts import ENDED
from sygefravaer.store import Row, Tx

_NAMES: Final = ("day", "kategori", "kind", "form", "planned_at", "held_at", "outcome", "refused", "closed")
_COLUMNS: Final = f"what, {', '.join(_NAMES)}"


class Deeds:
    """The rows of deeds, and the instants of the jobcentersager they hang on."""

    async def note(
        self, tx: Tx, jobcentersag_id: UUID, deed: Deed, *, now: datetime, besked_id: UUID | None = None
    ) -> None:
        """Write a deed down; a follow-up that was planned for this one is not to come any more."""
        if deed.what is What.FOLLOW_UP and not deed.open:
            await tx.run(
                """
                UPDATE follow_up SET closed = true WHERE follow_up_id = (
                    SELECT follow_up_id FROM follow_up
                    WHERE jobcentersag_id = %(id)s AND kind = %(kind)s AND held_at IS NULL AND outcome IS NULL
                      AND NOT closed AND NOT refused
                      AND (%(planned_at)s::timestamptz IS NULL OR planned_at = %(planned_at)s)
                    ORDER BY planned_at, follow_up_id LIMIT 1)
                """,
                id=jobcentersag_id,
                kind=deed.kind,
                planned_at=deed.planned_at,
            )
        await tx.run(
            """
            INSERT INTO follow_up (jobcentersag_id, what, day, kategori, kind, form, planned_at, held_at, outcome,
                                   besked_id, noted_at)
            VALUES (%(id)s, %(what)s, %(day)s, %(kategori)s, %(kind)s, %(form)s, %(planned_at)s, %(held_at)s,
                    %(outcome)s, %(besked_id)s, %(now)s)
            """,
            id=jobcentersag_id,
            what=deed.what,
            day=deed.day,
            kategori=deed.kategori,
            kind=deed.kind,
            form=deed.form,
            planned_at=deed.planned_at,
            held_at=deed.held_at,
            outcome=deed.outcome,
            besked_id=besked_id,
            now=now,
        )

    async def refuse(self, tx: Tx, besked_id: UUID) -> tuple[Deed, ...]:
        """Take what a message told as untrue; gives what that was."""
        rows = await tx.all(
            f"UPDATE follow_up SET refused = true WHERE besked_id = %(id)s AND NOT refused RETURNING {_COLUMNS}",
            id=besked_id,
        )
        return tuple(_deed(row) for row in rows)

    async def close(self, tx: Tx, jobcentersag_id: UUID) -> None:
        """Give up what was planned on a jobcentersag, and look at it no more."""
        await tx.run(
            """
            UPDATE follow_up SET closed = true
            WHERE jobcentersag_id = %(id)s AND held_at IS NULL AND outcome IS NULL AND kind IS NOT NULL AND NOT closed
            """,
            id=jobcentersag_id,
        )
        await self.look_at(tx, jobcentersag_id, None)

    async def hand_over(self, tx: Tx, jobcentersag_id: UUID, *, to: UUID) -> None:
        """Let the deeds of a jobcentersag be another's."""
        await tx.run(
            "UPDATE follow_up SET jobcentersag_id = %(to)s WHERE jobcentersag_id = %(id)s", id=jobcentersag_id, to=to
        )

    # --- time ---

    async def look_at(self, tx: Tx, jobcentersag_id: UUID, at: datetime | None) -> None:
        """Say when a jobcentersag is to be looked at by itself; `None` is never."""
        await tx.run(
            """
            UPDATE jobcentersag SET act_at = %(at)s
            WHERE jobcentersag_id = %(id)s AND act_at IS DISTINCT FROM %(at)s
            """,
            id=jobcentersag_id,
            at=at,
        )

    async def look_at_all(self, tx: Tx, at: datetime | None) -> None:
        """Say when every open jobcentersag is to be looked at."""
        await tx.run("UPDATE jobcentersag SET act_at = %(at)s WHERE state <> %(closed)s", at=at, closed=State.AFSLUTTET)

    async def due(self, tx: Tx, now: datetime) -> UUID | None:
        """Give the jobcentersag that is to be looked at first, if that is now."""
        row = await tx.one(
            """
            SELECT jobcentersag_id FROM jobcentersag WHERE act_at <= %(now)s
            ORDER BY act_at, number LIMIT 1
            """,
            now=now,
        )
        return row["jobcentersag_id"] if row else None

    async def of_each(
        self, tx: Tx, jobcentersag_ids: Sequence[UUID]
    ) -> Mapping[UUID, tuple[Sequence[Row], list[Deed]]]:
        """Give for each jobcentersag what KSD told of its sygedagpengesager that run, and its deeds by their days."""
        found: dict[UUID, tuple[list[Row], list[Deed]]] = {each: ([], []) for each in jobcentersag_ids}
        told = await tx.all(
            """
            SELECT jobcentersag_id, expected, early_since, beskaeftigelse, coalesce(known_at, changed_at) AS known_at
            FROM sygedagpengesag WHERE jobcentersag_id = ANY(%(ids)s) AND tilstand <> ALL(%(ended)s)
            """,
            ids=list(jobcentersag_ids),
            ended=sorted(ENDED),
        )
        done = await tx.all(
            f"""
            SELECT jobcentersag_id, {_COLUMNS} FROM follow_up WHERE jobcentersag_id = ANY(%(ids)s)
            ORDER BY day, follow_up_id
            """,
            ids=list(jobcentersag_ids),
        )
        for row in told:
            found[row["jobcentersag_id"]][0].append(row)
        for row in done:
            found[row["jobcentersag_id"]][1].append(_deed(row))
        return found


def deeds_of(message: SendOpdateringFravaerRequest) -> Iterator[Deed]:
    """Say what an update (SF2095) tells that was done."""
    day = message.GyldigFra
    for kind in message.Opdateringstype:
        match kind:
            case Update.VISITATION if message.Visitationskategori:
                yield Deed(
                    what=What.VISITATION, day=message.VisitationsDato or day, kategori=message.Visitationskategori
                )
            case Update.OPFOELGNING:
                yield from (_follow_up(each, day) for each in message.Opfoelgning)
            case Update.STANDBY:
                exempt = message.JobcentersagStatus == STATUS[State.UDEN_OPFOELGNING]
                yield Deed(what=What.EXEMPTION if exempt else What.STANDBY, day=day)
    if message.ManglendeMedvirken:
        yield Deed(what=What.COOPERATION, day=max(day, message.ManglendeMedvirken.HaendelsesDato))


def _follow_up(told: OpfoelgningType, day: date) -> Deed:
    deed = Deed(
        what=What.FOLLOW_UP,
        day=day,
        kind=told.Opfoelgningstype,
        form=told.Form,
        planned_at=told.PlanlagtTid,
        held_at=told.AfholdtTid,
        outcome=told.Udfald,
    )
    return replace(deed, day=day_of(deed.held_at or deed.planned_at, day))


def _deed(row: Row) -> Deed:
    return Deed(what=What(row["what"]), **{name: row[name] for name in _NAMES})

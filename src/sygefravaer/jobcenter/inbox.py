# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre was told (SF2090) and asked (SF2093), what it has said to that, and when it will say more by itself.

Every message that came is a row. A request for extension is one row however often KSD reminds: AnmodningID joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sygefravaer.contract.messages import (
    HovedType,
    SendAnmodningForlaengelseRequest,
    SendHaendelseSygefravaerssagRequest,
)
from sygefravaer.contract.values import Cpr
from sygefravaer.jobcenter.cases import Register
from sygefravaer.jobcenter.policy import FINAL
from sygefravaer.jobcenter.verdicts import Judgement, Verdict
from sygefravaer.store import Row, Tx

ASKED = "asked"
"""The verdict on a request for extension in the list of what came."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What an answer copies from the message that it answers."""

    besked_id: UUID
    municipality_cvr: str
    sags_id: UUID
    version: int
    korrelations_id: UUID
    nemrefusions_id: UUID | None
    cpr: Cpr


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event that came (M1)."""

    origin: Origin
    verdict: Verdict
    code: str | None
    answer: str | None
    """The business code that was last said to it; `None` while nothing was."""
    received_at: datetime

    @property
    def final(self) -> bool:
        """Say whether nothing more is expected."""
        return self.answer in FINAL or self.verdict is Verdict.OBSOLETE


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A request for extension (M3 and its reminders); its origin is the newest of them."""

    origin: Origin
    anmodning_id: UUID
    anmodningstype: str
    rykkernummer: int
    revurderingsdato: date
    svarfrist: date
    mulige: tuple[str, ...]
    snapshot: bytes
    state: str
    """waiting, answered or withdrawn."""
    answer: str | None
    received_at: datetime


class Inbox:
    """The rows of what came."""

    def __init__(self, register: Register) -> None:
        self._register = register

    # --- every message ---

    async def note_event(
        self,
        tx: Tx,
        message: SendHaendelseSygefravaerssagRequest,
        municipality_cvr: str,
        judgement: Judgement,
        *,
        due: datetime | None,
        now: datetime,
    ) -> Event:
        """Write down an event and the verdict on it; `due` is when it will be answered by itself."""
        origin = _origin(
            message.Hoved, municipality_cvr, message.Sygefravaerssag.SagsID, message.Sygefravaerssag.SagsVersion
        )
        await self._note(
            tx,
            message.Hoved,
            origin,
            haendelsestype=message.Haendelsestype,
            verdict=judgement.verdict.value,
            code=judgement.code,
            due=due,
            now=now,
        )
        return Event(origin=origin, verdict=judgement.verdict, code=judgement.code, answer=None, received_at=now)

    async def _note(
        self,
        tx: Tx,
        hoved: HovedType,
        origin: Origin,
        *,
        verdict: str,
        now: datetime,
        haendelsestype: str | None = None,
        anmodning_id: UUID | None = None,
        code: str | None = None,
        due: datetime | None = None,
    ) -> None:
        await tx.run(
            """
            INSERT INTO received (sender, besked_id, operation, municipality_cvr, sags_id, version, haendelsestype,
                                  anmodning_id, korrelations_id, nemrefusions_id, cpr, verdict, code, answer_due,
                                  received_at)
            VALUES (%(sender)s, %(besked_id)s, %(operation)s, %(cvr)s, %(sags_id)s, %(version)s, %(type)s,
                    %(anmodning_id)s, %(korrelation)s, %(nemref)s, %(cpr)s, %(verdict)s, %(code)s, %(due)s, %(now)s)
            """,
            sender=hoved.AfsenderSystemID,
            besked_id=hoved.BeskedID,
            operation=hoved.Beskedtype,
            cvr=origin.municipality_cvr,
            sags_id=origin.sags_id,
            version=origin.version,
            type=haendelsestype,
            anmodning_id=anmodning_id,
            korrelation=origin.korrelations_id,
            nemref=origin.nemrefusions_id,
            cpr=self._register.seal_cpr(origin.cpr),
            verdict=verdict,
            code=code,
            due=due,
            now=now,
        )

    async def log(self, tx: Tx, *, limit: int) -> list[Row]:
        """List what came last, the newest first, without any number."""
        return await tx.all(
            """
            SELECT r.besked_id, r.operation, r.municipality_cvr, r.sags_id, r.version, r.haendelsestype, r.anmodning_id,
                   r.korrelations_id, r.nemrefusions_id, r.verdict, r.code, coalesce(r.answer, e.answer) AS answer,
                   coalesce(r.answer_due, e.answer_due) AS answer_due, r.received_at
            FROM received r
            LEFT JOIN extension e ON e.municipality_cvr = r.municipality_cvr AND e.anmodning_id = r.anmodning_id
            ORDER BY r.seq DESC LIMIT %(limit)s
            """,
            limit=limit,
        )

    # --- events ---

    async def event(self, tx: Tx, besked_id: UUID) -> Event | None:
        """Find an event by its BeskedID and hold it until the transaction ends."""
        row = await tx.one(
            "SELECT * FROM received WHERE besked_id = %(id)s AND haendelsestype IS NOT NULL FOR UPDATE", id=besked_id
        )
        return self._event(row) if row else None

    async def early(self, tx: Tx, municipality_cvr: str, sags_id: UUID) -> list[Event]:
        """List the changes of a case that still wait for its OPRETTET, in the order of their versions."""
        rows = await tx.all(
            """
            SELECT * FROM received
            WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s AND verdict = 'early'
              AND (answer IS NULL OR answer <> ALL(%(final)s))
            ORDER BY version, seq FOR UPDATE
            """,
            cvr=municipality_cvr,
            id=sags_id,
            final=sorted(FINAL),
        )
        return [self._event(row) for row in rows]

    async def open_events(self, tx: Tx, *, limit: int) -> list[Event]:
        """List the events that wait for a person: nothing final was said, nor will be by itself."""
        rows = await tx.all(
            """
            SELECT r.* FROM received r
            LEFT JOIN sygedagpengesag s ON s.municipality_cvr = r.municipality_cvr AND s.sags_id = r.sags_id
            WHERE r.haendelsestype IS NOT NULL AND r.verdict <> 'obsolete' AND r.answer_due IS NULL
              AND (r.answer IS NULL OR r.answer <> ALL(%(final)s))
              AND NOT (r.verdict = 'early' AND s.ask_at IS NOT NULL)
            ORDER BY r.seq LIMIT %(limit)s
            """,
            final=sorted(FINAL),
            limit=limit,
        )
        return [self._event(row) for row in rows]

    async def due_events(self, tx: Tx, now: datetime, *, limit: int) -> list[Event]:
        """List the events whose answer is due."""
        rows = await tx.all(
            """
            SELECT * FROM received WHERE answer_due <= %(now)s
            ORDER BY answer_due, seq LIMIT %(limit)s FOR UPDATE
            """,
            now=now,
            limit=limit,
        )
        return [self._event(row) for row in rows]

    async def event_answered(self, tx: Tx, event: Event, code: str) -> None:
        """Note what was said to an event; a final word stands against a later one that is not."""
        await tx.run(
            """
            UPDATE received SET answer = CASE WHEN answer = ANY(%(final)s) AND %(code)s <> ALL(%(final)s)
                                              THEN answer ELSE %(code)s END,
                                answer_due = CASE WHEN %(code)s = ANY(%(final)s) THEN NULL ELSE answer_due END
            WHERE besked_id = %(id)s AND haendelsestype IS NOT NULL
            """,
            id=event.origin.besked_id,
            code=code,
            final=sorted(FINAL),
        )

    async def put_off(self, tx: Tx, event: Event, due: datetime | None) -> None:
        """Change when an event will be answered by itself."""
        await tx.run(
            "UPDATE received SET answer_due = %(due)s WHERE besked_id = %(id)s AND haendelsestype IS NOT NULL",
            id=event.origin.besked_id,
            due=due,
        )

    # --- requests for extension ---

    async def note_request(
        self,
        tx: Tx,
        message: SendAnmodningForlaengelseRequest,
        municipality_cvr: str,
        snapshot: bytes,
        *,
        now: datetime,
    ) -> tuple[Extension, bool]:
        """Join a request to those of its AnmodningID; tells whether it is the first of them."""
        case = message.Sygefravaerssag
        origin = _origin(message.Hoved, municipality_cvr, case.SagsID, case.SagsVersion)
        await self._note(tx, message.Hoved, origin, verdict=ASKED, anmodning_id=message.AnmodningID, now=now)
        values: dict[str, object] = {
            "cvr": municipality_cvr,
            "anmodning_id": message.AnmodningID,
            "sags_id": case.SagsID,
            "version": case.SagsVersion,
            "besked_id": message.Hoved.BeskedID,
            "korrelation": message.Hoved.KorrelationsID,
            "nemref": message.Hoved.NemrefusionsID,
            "cpr": self._register.seal_cpr(message.Hoved.CprNummer),
            "type": message.Anmodningstype,
            "rykker": message.Rykkernummer,
            "revurdering": message.RevurderingsDato,
            "svarfrist": message.Svarfrist,
            "mulige": list(message.MuligeForlaengelseskoder),
            "snapshot": self._register.seal_snapshot(snapshot),
            "now": now,
        }
        fresh = await tx.run(
            """
            INSERT INTO extension (municipality_cvr, anmodning_id, sags_id, version, besked_id, korrelations_id,
                                   nemrefusions_id, cpr, anmodningstype, rykkernummer, revurderingsdato, svarfrist,
                                   mulige, snapshot, state, received_at)
            VALUES (%(cvr)s, %(anmodning_id)s, %(sags_id)s, %(version)s, %(besked_id)s, %(korrelation)s, %(nemref)s,
                    %(cpr)s, %(type)s, %(rykker)s, %(revurdering)s, %(svarfrist)s, %(mulige)s, %(snapshot)s, 'waiting',
                    %(now)s)
            ON CONFLICT (municipality_cvr, anmodning_id) DO NOTHING
            """,
            **values,
        )
        if not fresh:
            # A reminder that was overtaken by a later one changes nothing.
            await tx.run(
                """
                UPDATE extension SET version = %(version)s, besked_id = %(besked_id)s, cpr = %(cpr)s,
                    rykkernummer = %(rykker)s, revurderingsdato = %(revurdering)s, svarfrist = %(svarfrist)s,
                    mulige = %(mulige)s, snapshot = %(snapshot)s
                WHERE municipality_cvr = %(cvr)s AND anmodning_id = %(anmodning_id)s AND rykkernummer <= %(rykker)s
                """,
                **{name: value for name, value in values.items() if name not in _FIRST_ONLY},
            )
        found = await self.extension(tx, message.AnmodningID, municipality_cvr)
        if found is None:
            raise LookupError("a request for extension that was just written is gone")
        return found, bool(fresh)

    async def extension(self, tx: Tx, anmodning_id: UUID, municipality_cvr: str | None = None) -> Extension | None:
        """Find a request for extension and hold it until the transaction ends."""
        row = await tx.one(
            """
            SELECT * FROM extension WHERE anmodning_id = %(id)s
              AND (%(cvr)s::text IS NULL OR municipality_cvr = %(cvr)s)
            ORDER BY received_at DESC LIMIT 1 FOR UPDATE
            """,
            id=anmodning_id,
            cvr=municipality_cvr,
        )
        return self._extension(row) if row else None

    async def open_extensions(self, tx: Tx, *, limit: int) -> list[Extension]:
        """List the requests that wait for a person."""
        rows = await tx.all(
            """
            SELECT * FROM extension WHERE state = 'waiting' AND answer_due IS NULL
            ORDER BY svarfrist, anmodning_id LIMIT %(limit)s
            """,
            limit=limit,
        )
        return [self._extension(row) for row in rows]

    async def due_extensions(self, tx: Tx, now: datetime, *, limit: int) -> list[Extension]:
        """List the requests whose answer is due."""
        rows = await tx.all(
            """
            SELECT * FROM extension WHERE answer_due <= %(now)s AND state = 'waiting'
            ORDER BY answer_due, number LIMIT %(limit)s FOR UPDATE
            """,
            now=now,
            limit=limit,
        )
        return [self._extension(row) for row in rows]

    async def extension_answered(self, tx: Tx, extension: Extension, code: str, *, due: datetime | None = None) -> None:
        """Note what was said to a request, and when the rest will be."""
        await tx.run(
            """
            UPDATE extension SET state = CASE WHEN %(done)s THEN 'answered' ELSE state END, answer = %(code)s,
                                 answer_due = %(due)s
            WHERE municipality_cvr = %(cvr)s AND anmodning_id = %(id)s
            """,
            cvr=extension.origin.municipality_cvr,
            id=extension.anmodning_id,
            code=code,
            done=code in FINAL,
            due=due,
        )

    async def put_off_extension(self, tx: Tx, extension: Extension, due: datetime | None) -> None:
        """Change when a request will be answered by itself."""
        await tx.run(
            "UPDATE extension SET answer_due = %(due)s WHERE municipality_cvr = %(cvr)s AND anmodning_id = %(id)s",
            cvr=extension.origin.municipality_cvr,
            id=extension.anmodning_id,
            due=due,
        )

    async def extension_reopened(self, tx: Tx, municipality_cvr: str, anmodning_id: UUID) -> bool:
        """Put a request whose answer KSD refused back before a person; tells whether it was answered, and now waits."""
        reopened = await tx.run(
            """
            UPDATE extension SET state = 'waiting', answer_due = NULL
            WHERE municipality_cvr = %(cvr)s AND anmodning_id = %(id)s AND state = 'answered'
            """,
            cvr=municipality_cvr,
            id=anmodning_id,
        )
        return reopened > 0

    async def withdraw(self, tx: Tx, municipality_cvr: str, sags_id: UUID) -> None:
        """Close the open requests about a case that has ended: KSD has withdrawn them."""
        await tx.run(
            """
            UPDATE extension SET state = 'withdrawn', answer_due = NULL
            WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s AND state = 'waiting'
            """,
            cvr=municipality_cvr,
            id=sags_id,
        )

    async def supersede(self, tx: Tx, newer: Extension) -> None:
        """Close the open requests about a case that a new one takes the place of."""
        await tx.run(
            """
            UPDATE extension SET state = 'withdrawn', answer_due = NULL
            WHERE municipality_cvr = %(cvr)s AND sags_id = %(sags_id)s AND anmodning_id <> %(id)s AND state = 'waiting'
              AND version <= %(version)s
            """,
            cvr=newer.origin.municipality_cvr,
            sags_id=newer.origin.sags_id,
            id=newer.anmodning_id,
            version=newer.origin.version,
        )

    async def waits(self, tx: Tx, jobcentersag_id: UUID) -> bool:
        """Say whether a request about a case of this jobcentersag still waits for its answer."""
        row = await tx.one(
            """
            SELECT 1 AS one FROM extension e
            JOIN sygedagpengesag s ON s.municipality_cvr = e.municipality_cvr AND s.sags_id = e.sags_id
            WHERE s.jobcentersag_id = %(id)s AND e.state = 'waiting' LIMIT 1
            """,
            id=jobcentersag_id,
        )
        return row is not None

    # --- what is owed ---

    async def unanswered(self, tx: Tx) -> tuple[list[Row], list[Row]]:
        """List the events without a final answer and the requests that wait, the oldest first, without any number."""
        events = await tx.all(
            """
            SELECT besked_id, municipality_cvr, sags_id, received_at FROM received
            WHERE haendelsestype IS NOT NULL AND verdict <> 'obsolete' AND (answer IS NULL OR answer <> ALL(%(final)s))
            ORDER BY seq
            """,
            final=sorted(FINAL),
        )
        requests = await tx.all(
            """
            SELECT anmodning_id, municipality_cvr, sags_id, svarfrist, received_at FROM extension
            WHERE state = 'waiting' ORDER BY svarfrist, anmodning_id
            """,
        )
        return events, requests

    # --- time ---

    async def due(self, tx: Tx) -> datetime | None:
        """Give the earliest instant at which something will be said or asked by itself."""
        row = await tx.one(
            """
            SELECT least((SELECT min(answer_due) FROM received), (SELECT min(answer_due) FROM extension),
                         (SELECT min(ask_at) FROM sygedagpengesag), (SELECT min(act_at) FROM jobcentersag)) AS due
            """
        )
        return row["due"] if row else None

    async def due_questions(self, tx: Tx, now: datetime, *, limit: int) -> Sequence[tuple[str, UUID]]:
        """List the cases, by municipality and SagsID, about which HentSag is to be asked now."""
        rows = await tx.all(
            """
            SELECT municipality_cvr, sags_id FROM sygedagpengesag WHERE ask_at <= %(now)s
            ORDER BY ask_at, number LIMIT %(limit)s
            """,
            now=now,
            limit=limit,
        )
        return [(row["municipality_cvr"], row["sags_id"]) for row in rows]

    def _event(self, row: Row) -> Event:
        return Event(
            origin=self._origin(row),
            verdict=Verdict(row["verdict"]),
            code=row["code"],
            answer=row["answer"],
            received_at=row["received_at"],
        )

    def _extension(self, row: Row) -> Extension:
        return Extension(
            origin=self._origin(row),
            anmodning_id=row["anmodning_id"],
            anmodningstype=row["anmodningstype"],
            rykkernummer=row["rykkernummer"],
            revurderingsdato=row["revurderingsdato"],
            svarfrist=row["svarfrist"],
            mulige=tuple(row["mulige"]),
            snapshot=self._register.open_snapshot(row["snapshot"]),
            state=row["state"],
            answer=row["answer"],
            received_at=row["received_at"],
        )

    def _origin(self, row: Row) -> Origin:
        return Origin(
            besked_id=row["besked_id"],
            municipality_cvr=row["municipality_cvr"],
            sags_id=row["sags_id"],
            version=row["version"],
            korrelations_id=row["korrelations_id"],
            nemrefusions_id=row["nemrefusions_id"],
            cpr=self._register.open_cpr(row["cpr"]),
        )


_FIRST_ONLY = frozenset({"sags_id", "korrelation", "nemref", "type", "now"})


def _origin(hoved: HovedType, municipality_cvr: str, sags_id: UUID, version: int) -> Origin:
    return Origin(
        besked_id=hoved.BeskedID,
        municipality_cvr=municipality_cvr,
        sags_id=sags_id,
        version=version,
        korrelations_id=hoved.KorrelationsID,
        nemrefusions_id=hoved.NemrefusionsID,
        cpr=hoved.CprNummer,
    )

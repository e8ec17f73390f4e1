# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre keeps: its jobcentersager and the sygedagpengesager that hang on them.

A citizen has at most one open jobcentersag in a municipality. Numbers and snapshots are sealed; a citizen is found by
keyed hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from uuid import UUID, uuid4

from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.values import Cpr
from sygefravaer.jobcenter.deeds import Deeds
from sygefravaer.jobcenter.facts import Facts, told
from sygefravaer.jobcenter.life import Life, State, Trigger, scheme_ended
from sygefravaer.jobcenter.verdicts import ENDED, Citizen
from sygefravaer.law import Law, danish_date
from sygefravaer.store import Row, Tx
from sygefravaer.vault import Vault

CPR_CONTEXT: Final = "jobcenter.cpr"
SNAPSHOT_CONTEXT: Final = "jobcenter.snapshot"


@dataclass(frozen=True, kw_only=True)
class Sag:
    """A jobcentersag."""

    jobcentersag_id: UUID
    municipality_cvr: str
    cpr: Cpr
    life: Life
    kategori: str | None
    visited: date | None
    first_day: date
    scheme: str | None = None
    """What follows where sygedagpenge end and the citizen is still incapacitated."""


@dataclass(frozen=True, kw_only=True)
class LinkedCase:
    """A sygedagpengesag as the newest message told it."""

    municipality_cvr: str
    sags_id: UUID
    jobcentersag_id: UUID
    nemrefusions_id: UUID
    version: int
    tilstand: str
    ended_by: str | None
    opened: bool
    kategori: str | None
    """The Visitationskategori that KSD told last."""
    reopened_at: datetime | None
    snapshot: bytes
    """The element Sygefravaerssag as it came, opened."""

    @property
    def ended(self) -> bool:
        """Say whether it runs no more."""
        return self.tilstand in ENDED


class Register:
    """The cases of one jobcentre system, for all the municipalities it serves."""

    def __init__(self, vault: Vault, law: Law) -> None:
        self._vault = vault
        self._law = law
        self.deeds = Deeds()

    # --- citizens ---

    def key(self, cpr: Cpr) -> bytes:
        """Give the keyed hash under which a citizen is found."""
        return self._vault.lookup_key(cpr.reveal())

    def seal_cpr(self, cpr: Cpr) -> bytes:
        """Seal a number for one of these tables."""
        return self._vault.seal(cpr.reveal().encode(), context=CPR_CONTEXT)

    def open_cpr(self, sealed: bytes) -> Cpr:
        """Open a number of one of these tables."""
        return Cpr.of_wire(self._vault.open(sealed, context=CPR_CONTEXT).decode())

    def seal_snapshot(self, element: bytes) -> bytes:
        """Seal the element Sygefravaerssag."""
        return self._vault.seal(element, context=SNAPSHOT_CONTEXT)

    def open_snapshot(self, sealed: bytes) -> bytes:
        """Open the element Sygefravaerssag."""
        return self._vault.open(sealed, context=SNAPSHOT_CONTEXT)

    async def citizen(self, tx: Tx, municipality_cvr: str, cprs: Iterable[Cpr]) -> Citizen:
        """Say what the municipality's register holds against a citizen under any of his numbers."""
        row = await tx.one(
            "SELECT fact FROM citizen WHERE municipality_cvr = %(cvr)s AND cpr_key = ANY(%(keys)s) LIMIT 1",
            cvr=municipality_cvr,
            keys=[self.key(cpr) for cpr in cprs],
        )
        return Citizen(row["fact"]) if row else Citizen.KNOWN

    async def note_citizen(self, tx: Tx, municipality_cvr: str, cpr: Cpr, fact: Citizen) -> None:
        """Note what the municipality's register holds of a citizen; KNOWN takes the note away."""
        await tx.run(
            "DELETE FROM citizen WHERE municipality_cvr = %(cvr)s AND cpr_key = %(key)s",
            cvr=municipality_cvr,
            key=self.key(cpr),
        )
        if fact is not Citizen.KNOWN:
            await tx.run(
                "INSERT INTO citizen (municipality_cvr, cpr_key, fact) VALUES (%(cvr)s, %(key)s, %(fact)s)",
                cvr=municipality_cvr,
                key=self.key(cpr),
                fact=fact,
            )

    # --- settings ---

    async def kept_policy(self, tx: Tx) -> str | None:
        """Give the policy that an act has set, as JSON, or None."""
        row = await tx.one("SELECT content FROM setting WHERE name = 'policy'")
        return str(row["content"]) if row else None

    async def keep_policy(self, tx: Tx, content: str) -> None:
        """Keep a policy, as JSON, over a restart."""
        await tx.run(
            """
            INSERT INTO setting (name, content) VALUES ('policy', %(content)s)
            ON CONFLICT (name) DO UPDATE SET content = EXCLUDED.content
            """,
            content=content,
        )

    # --- jobcentersager ---

    async def sag(self, tx: Tx, jobcentersag_id: UUID) -> Sag | None:
        """Find a jobcentersag and hold it until the transaction ends."""
        row = await tx.one("SELECT * FROM jobcentersag WHERE jobcentersag_id = %(id)s FOR UPDATE", id=jobcentersag_id)
        return self._sag(row) if row else None

    async def home(
        self,
        tx: Tx,
        municipality_cvr: str,
        snapshot: SygefravaerssagType,
        *,
        linked: UUID | None,
        now: datetime,
    ) -> Sag:
        """Find or open the jobcentersag that a sygedagpengesag belongs to.

        The citizen's open one, whatever number it was opened under; two that turn out to be one citizen's become
        one, the older. None open: the one that the case hung on before, else a new one.
        """
        keys = [self.key(cpr) for cpr in (snapshot.CprNummer, *snapshot.TidligereCprNummer)]
        rows = await tx.all(
            """
            SELECT * FROM jobcentersag
            WHERE municipality_cvr = %(cvr)s AND state <> 'AFSLUTTET'
              AND (cpr_key = ANY(%(keys)s) OR jobcentersag_id = %(linked)s)
            ORDER BY opened_at, jobcentersag_id FOR UPDATE
            """,
            cvr=municipality_cvr,
            keys=keys,
            linked=linked,
        )
        found = [self._sag(row) for row in rows]
        if found:
            for other in found[1:]:
                found[0] = await self._merge(tx, other, into=found[0], now=now)
            return await self._renumbered(tx, found[0], snapshot.CprNummer)
        before = await self.sag(tx, linked) if linked else None
        if before:
            return await self._renumbered(tx, before, snapshot.CprNummer)
        return await self._open(tx, municipality_cvr, snapshot, now=now)

    async def move(self, tx: Tx, sag: Sag, trigger: Trigger, *, now: datetime) -> Sag:
        """Move a jobcentersag along its table."""
        return await self.keep(tx, replace(sag, life=sag.life.moved(trigger)), now=now)

    async def keep(self, tx: Tx, sag: Sag, *, now: datetime) -> Sag:
        """Write down what has changed of a jobcentersag."""
        await tx.run(
            """
            UPDATE jobcentersag SET state = %(state)s, before = %(before)s, kategori = %(kategori)s,
                visited = %(visited)s, first_day = %(first_day)s, scheme = %(scheme)s, changed_at = %(now)s
            WHERE jobcentersag_id = %(id)s
            """,
            id=sag.jobcentersag_id,
            state=sag.life.state,
            before=sag.life.before,
            kategori=sag.kategori,
            visited=sag.visited,
            first_day=sag.first_day,
            scheme=sag.scheme,
            now=now,
        )
        if sag.life.state is State.AFSLUTTET:
            await self.deeds.close(tx, sag.jobcentersag_id)
        return sag

    async def facts(self, tx: Tx, sag: Sag) -> Facts:
        """Gather what the duties of a jobcentersag depend on."""
        return (await self.facts_of(tx, [sag]))[0]

    async def facts_of(self, tx: Tx, sager: Sequence[Sag]) -> list[Facts]:
        """Gather what the duties of each jobcentersag depend on, in the same order."""
        found = await self.deeds.of_each(tx, [sag.jobcentersag_id for sag in sager])
        return [
            told(
                sag.jobcentersag_id,
                state=sag.life.standing,
                first_day=sag.first_day,
                kategori=sag.kategori,
                rows=found[sag.jobcentersag_id][0],
                deeds=found[sag.jobcentersag_id][1],
            )
            for sag in sager
        ]

    async def settle_life(self, tx: Tx, sag: Sag, *, reopened: bool, now: datetime, scheme: str | None = None) -> Sag:
        """Close a jobcentersag on which no open case hangs any more; find the first day of those that do.

        `reopened` says that a case began to run, first or again, which opens a closed jobcentersag. One that the
        jobcentre closed itself stays closed whatever else is told of its cases. `scheme` follows the end that is told.
        """
        row = await tx.one(
            """
            SELECT count(*) FILTER (WHERE tilstand <> ALL(%(ended)s)) AS running,
                   min(first_day) FILTER (WHERE tilstand <> ALL(%(ended)s)) AS first_day
            FROM sygedagpengesag WHERE jobcentersag_id = %(id)s
            """,
            id=sag.jobcentersag_id,
            ended=sorted(ENDED),
        )
        if row is None or not row["running"]:
            return await self.move(tx, replace(sag, scheme=scheme or sag.scheme), Trigger.CLOSE, now=now)
        sag = replace(sag, first_day=row["first_day"], scheme=None if reopened else sag.scheme)
        return await (self.move(tx, sag, Trigger.REOPEN, now=now) if reopened else self.keep(tx, sag, now=now))

    async def _open(self, tx: Tx, municipality_cvr: str, snapshot: SygefravaerssagType, *, now: datetime) -> Sag:
        sag = Sag(
            jobcentersag_id=uuid4(),
            municipality_cvr=municipality_cvr,
            cpr=snapshot.CprNummer,
            life=Life(),
            kategori=snapshot.Visitationskategori,
            visited=None,
            first_day=snapshot.FoersteFravaersdag,
        )
        fresh = await tx.run(
            """
            INSERT INTO jobcentersag (jobcentersag_id, municipality_cvr, cpr_key, cpr, state, before, kategori,
                                      first_day, opened_at, changed_at)
            VALUES (%(id)s, %(cvr)s, %(key)s, %(cpr)s, %(state)s, %(before)s, %(kategori)s, %(day)s, %(now)s, %(now)s)
            ON CONFLICT (municipality_cvr, cpr_key) WHERE state <> 'AFSLUTTET' DO NOTHING
            """,
            id=sag.jobcentersag_id,
            cvr=municipality_cvr,
            key=self.key(sag.cpr),
            cpr=self.seal_cpr(sag.cpr),
            state=sag.life.state,
            before=sag.life.before,
            kategori=sag.kategori,
            day=sag.first_day,
            now=now,
        )
        if fresh:
            return sag
        # Another case of the same citizen came at the same moment and was faster.
        return await self.home(tx, municipality_cvr, snapshot, linked=None, now=now)

    async def _renumbered(self, tx: Tx, sag: Sag, cpr: Cpr) -> Sag:
        if sag.cpr == cpr:
            return sag
        await tx.run(
            "UPDATE jobcentersag SET cpr_key = %(key)s, cpr = %(cpr)s WHERE jobcentersag_id = %(id)s",
            id=sag.jobcentersag_id,
            key=self.key(cpr),
            cpr=self.seal_cpr(cpr),
        )
        return replace(sag, cpr=cpr)

    async def _merge(self, tx: Tx, other: Sag, *, into: Sag, now: datetime) -> Sag:
        """Make two jobcentersager one; what has come further goes on, and the later visitation counts."""
        await tx.run(
            "UPDATE sygedagpengesag SET jobcentersag_id = %(into)s WHERE jobcentersag_id = %(id)s",
            into=into.jobcentersag_id,
            id=other.jobcentersag_id,
        )
        await self.deeds.hand_over(tx, other.jobcentersag_id, to=into.jobcentersag_id)
        await self.move(tx, other, Trigger.CLOSE, now=now)
        later = max((into, other), key=lambda sag: (sag.kategori is not None, sag.visited or date.min))
        life = other.life if into.life.standing is State.MODTAGET else into.life
        merged = replace(into, life=life, kategori=later.kategori, visited=later.visited)
        return await self.keep(tx, merged, now=now)

    def _sag(self, row: Row) -> Sag:
        return Sag(
            jobcentersag_id=row["jobcentersag_id"],
            municipality_cvr=row["municipality_cvr"],
            cpr=self.open_cpr(row["cpr"]),
            life=Life(state=State(row["state"]), before=State(row["before"])),
            kategori=row["kategori"],
            visited=row["visited"],
            first_day=row["first_day"],
            scheme=row["scheme"],
        )

    async def sager(self, tx: Tx, *, cpr: Cpr | None, state: str | None, limit: int) -> list[Sag]:
        """List jobcentersager, the last changed first."""
        rows = await tx.all(
            """
            SELECT * FROM jobcentersag
            WHERE (%(key)s::bytea IS NULL OR cpr_key = %(key)s) AND (%(state)s::text IS NULL OR state = %(state)s)
            ORDER BY changed_at DESC, jobcentersag_id LIMIT %(limit)s
            """,
            key=self.key(cpr) if cpr else None,
            state=state,
            limit=limit,
        )
        return [self._sag(row) for row in rows]

    async def open_sager(self, tx: Tx) -> list[Sag]:
        """List every jobcentersag that is open."""
        rows = await tx.all("SELECT * FROM jobcentersag WHERE state <> 'AFSLUTTET' ORDER BY opened_at, jobcentersag_id")
        return [self._sag(row) for row in rows]

    # --- sygedagpengesager ---

    async def case(self, tx: Tx, municipality_cvr: str, sags_id: UUID) -> LinkedCase | None:
        """Find a sygedagpengesag and hold it until the transaction ends."""
        row = await tx.one(
            "SELECT * FROM sygedagpengesag WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s FOR UPDATE",
            cvr=municipality_cvr,
            id=sags_id,
        )
        return self._case(row) if row else None

    async def cases_of(self, tx: Tx, jobcentersag_id: UUID) -> list[LinkedCase]:
        """List what hangs on a jobcentersag, open cases first."""
        rows = await tx.all(
            """
            SELECT * FROM sygedagpengesag WHERE jobcentersag_id = %(id)s
            ORDER BY tilstand = ANY(%(ended)s), first_day DESC, sags_id
            """,
            id=jobcentersag_id,
            ended=sorted(ENDED),
        )
        return [self._case(row) for row in rows]

    async def apply(
        self,
        tx: Tx,
        municipality_cvr: str,
        snapshot: SygefravaerssagType,
        element: bytes,
        *,
        opened: bool,
        ask_at: datetime | None,
        now: datetime,
    ) -> Sag:
        """Take a snapshot over as what is known now; gives the jobcentersag it hangs on.

        `element` is the Sygefravaerssag as it came. `ask_at` is when HentSag is to be asked if OPRETTET has not come.
        """
        known = await self.case(tx, municipality_cvr, snapshot.SagsID)
        reopened = (known is None or known.ended) and snapshot.SagsTilstand not in ENDED
        sag = await self.home(tx, municipality_cvr, snapshot, linked=known.jobcentersag_id if known else None, now=now)
        await tx.run(
            """
            INSERT INTO sygedagpengesag (municipality_cvr, sags_id, jobcentersag_id, nemrefusions_id, version, tilstand,
                                         ended_by, opened, ask_at, first_day, snapshot, changed_at, expected,
                                         early_since, beskaeftigelse, known_at, reopened_at, kategori)
            VALUES (%(cvr)s, %(sags_id)s, %(sag)s, %(nemref)s, %(version)s, %(tilstand)s, %(ended_by)s, %(opened)s,
                    %(ask_at)s, %(first_day)s, %(snapshot)s, %(now)s, %(expected)s, %(early_since)s,
                    %(beskaeftigelse)s, %(now)s, %(reopened_at)s, %(kategori)s)
            ON CONFLICT (municipality_cvr, sags_id) DO UPDATE SET
                jobcentersag_id = EXCLUDED.jobcentersag_id, nemrefusions_id = EXCLUDED.nemrefusions_id,
                version = EXCLUDED.version, tilstand = EXCLUDED.tilstand, ended_by = EXCLUDED.ended_by,
                opened = sygedagpengesag.opened OR EXCLUDED.opened,
                ask_at = CASE WHEN sygedagpengesag.opened OR EXCLUDED.opened THEN NULL
                              ELSE coalesce(sygedagpengesag.ask_at, EXCLUDED.ask_at) END,
                first_day = EXCLUDED.first_day, snapshot = EXCLUDED.snapshot, changed_at = EXCLUDED.changed_at,
                expected = EXCLUDED.expected, kategori = EXCLUDED.kategori, beskaeftigelse = EXCLUDED.beskaeftigelse,
                early_since = CASE WHEN EXCLUDED.early_since IS NULL THEN NULL
                                   ELSE coalesce(sygedagpengesag.early_since, EXCLUDED.early_since) END,
                reopened_at = coalesce(EXCLUDED.reopened_at, sygedagpengesag.reopened_at)
            """,
            cvr=municipality_cvr,
            sags_id=snapshot.SagsID,
            sag=sag.jobcentersag_id,
            nemref=snapshot.NemrefusionsID,
            version=snapshot.SagsVersion,
            tilstand=snapshot.SagsTilstand,
            ended_by=snapshot.Afslutningsaarsag,
            opened=opened,
            ask_at=None if opened else ask_at,
            first_day=snapshot.FoersteFravaersdag,
            snapshot=self.seal_snapshot(element),
            expected=snapshot.ForventetRaskmeldingsdato,
            early_since=danish_date(now) if snapshot.TidligOpfoelgning else None,
            beskaeftigelse=snapshot.Beskaeftigelsesstatus,
            kategori=snapshot.Visitationskategori,
            reopened_at=now if reopened and known is not None else None,
            now=now,
        )
        if sag.kategori is None and snapshot.Visitationskategori:
            sag = replace(sag, kategori=snapshot.Visitationskategori)
        ended_by = snapshot.Afslutningsaarsag if snapshot.SagsTilstand in ENDED else None
        scheme = scheme_ended(self._law, ended_by, snapshot.AfslutningsDato or danish_date(now)) if ended_by else None
        return await self.settle_life(tx, sag, reopened=reopened, scheme=scheme, now=now)

    async def mark_opened(self, tx: Tx, municipality_cvr: str, sags_id: UUID) -> None:
        """Note that OPRETTET of a case has been seen, however late."""
        await tx.run(
            """
            UPDATE sygedagpengesag SET opened = true, ask_at = NULL
            WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s
            """,
            cvr=municipality_cvr,
            id=sags_id,
        )

    async def ask_later(self, tx: Tx, municipality_cvr: str, sags_id: UUID, ask_at: datetime | None) -> None:
        """Note when HentSag is asked about a case that was never opened; `None` is never."""
        await tx.run(
            "UPDATE sygedagpengesag SET ask_at = %(at)s WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s",
            cvr=municipality_cvr,
            id=sags_id,
            at=ask_at,
        )

    async def forget(self, tx: Tx, case: LinkedCase, *, now: datetime) -> None:
        """Drop a case that KSD does not know, and close its jobcentersag if nothing else hangs on it."""
        await tx.run(
            "DELETE FROM sygedagpengesag WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s",
            cvr=case.municipality_cvr,
            id=case.sags_id,
        )
        sag = await self.sag(tx, case.jobcentersag_id)
        if sag:
            await self.settle_life(tx, sag, reopened=False, now=now)

    def _case(self, row: Row) -> LinkedCase:
        return LinkedCase(
            municipality_cvr=row["municipality_cvr"],
            sags_id=row["sags_id"],
            jobcentersag_id=row["jobcentersag_id"],
            nemrefusions_id=row["nemrefusions_id"],
            version=row["version"],
            tilstand=row["tilstand"],
            ended_by=row["ended_by"],
            opened=row["opened"],
            kategori=row["kategori"],
            reopened_at=row["reopened_at"],
            snapshot=self.open_snapshot(row["snapshot"]),
        )

# SPDX-License-Identifier: MPL-2.0
"""
What jobcentres send to KSD: answers to events (M2), to requests for extension (M4), updates (M5).

Each goes through the ledger: a copy of a message gets the receipt of the first, and state changes once. The case's
row is held before anything is judged, so the verdict and what it does see the same case.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Final, cast
from uuid import UUID

from sygefravaer.clock import Clock
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.conversations import is_final
from sygefravaer.contract.messages import (
    ForlaengelseType,
    ForretningskvitteringType,
    Reply,
    Request,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendOpdateringFravaerRequest,
    TransportKvitteringType,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.contract.plain import to_plain
from sygefravaer.endpoint import Call
from sygefravaer.ksd import changes, rules
from sygefravaer.ksd.cases import Case, Cases, Cause
from sygefravaer.ksd.casework import Casework
from sygefravaer.ksd.changes import Event
from sygefravaer.ksd.lifecycle import ENDED
from sygefravaer.ksd.rules import Asked, RequestStatus, Told, Withdrawal
from sygefravaer.ksd.sending import EVENT, open_task
from sygefravaer.law import Law, danish_date
from sygefravaer.ledger import Ledger
from sygefravaer.store import Row, Tx
from sygefravaer.vault import Vault

ANSWER: Final = "ksd.answer"
UPDATE: Final = "ksd.update"
RESEND: Final = "OPRETTET_SENDES_IGEN"
"""`foelge` of the Afvisningsaarsag after which the case is told as new once more."""

_TOLD: Final = """
SELECT sags_id, version, municipality_cvr, final FROM sent
WHERE besked_id = %(besked_id)s AND operation = %(operation)s FOR UPDATE
"""
_FINAL_CODES: Final = """
SELECT codes FROM answer WHERE reference_besked_id = %(besked_id)s AND code = %(final)s ORDER BY answer_id LIMIT 1
"""
_ANSWERED: Final = """
UPDATE sent SET
    answer = CASE WHEN final IS NULL THEN %(code)s ELSE answer END,
    final = coalesce(final, CASE WHEN %(final)s THEN %(code)s END),
    settled_at = coalesce(settled_at, CASE WHEN %(settles)s THEN %(now)s::timestamptz END)
WHERE besked_id = %(besked_id)s
"""
_SETTLE_LOWER: Final = """
UPDATE sent SET settled_at = %(now)s
WHERE sags_id = %(sags_id)s AND operation = %(operation)s AND municipality_cvr = %(municipality_cvr)s
  AND version < %(version)s AND settled_at IS NULL
"""
_KEEP_ANSWER: Final = """
INSERT INTO answer (besked_id, operation, reference_besked_id, sags_id, municipality_cvr, code, codes, reason, remarks,
                    received_at)
VALUES (%(besked_id)s, %(operation)s, %(reference)s, %(sags_id)s, %(municipality_cvr)s, %(code)s, %(codes)s,
        %(reason)s, %(remarks)s, %(now)s)
"""
_CLOSE_TASKS: Final = """
UPDATE task SET closed_at = %(now)s WHERE besked_id = %(besked_id)s AND closed_at IS NULL
"""
_JOBCENTERSAG: Final = """
INSERT INTO jobcentersag AS kept (sags_id, municipality_cvr, jobcentersag_id, status, changed_at)
VALUES (%(sags_id)s, %(municipality_cvr)s, %(jobcentersag_id)s, %(status)s, %(now)s)
ON CONFLICT (sags_id, municipality_cvr) DO UPDATE SET
    jobcentersag_id = excluded.jobcentersag_id,
    status = coalesce(excluded.status, kept.status),
    changed_at = excluded.changed_at
"""
_REQUEST: Final = """
SELECT r.* FROM request r WHERE r.anmodning_id = %(anmodning_id)s
  AND EXISTS (SELECT FROM sent s WHERE s.besked_id = %(reference)s AND s.anmodning_id = r.anmodning_id)
"""
_ASSESSING: Final = "UPDATE request SET assessing = true WHERE anmodning_id = %(anmodning_id)s"
_APPLIED: Final = """
SELECT digest, sags_id FROM applied WHERE municipality_cvr = %(municipality_cvr)s AND opdatering_id = %(opdatering_id)s
"""
_KEEP_UPDATE: Final = """
INSERT INTO applied (municipality_cvr, opdatering_id, digest, sags_id, besked_id, kinds, effective_on, content, version,
                     applied_at)
VALUES (%(municipality_cvr)s, %(opdatering_id)s, %(digest)s, %(sags_id)s, %(besked_id)s, %(kinds)s, %(effective_on)s,
        %(content)s, %(version)s, %(now)s)
"""
_CONTEXT: Final = frozenset({"CallContext", "AuthorityContext", "Hoved"})


@dataclass(frozen=True, kw_only=True)
class Service:
    """The handlers of the three sends."""

    vault: Vault
    clock: Clock
    ledger: Ledger
    cases: Cases
    casework: Casework
    takes_substitutes: Callable[[str], bool]
    follows_on: Callable[[], bool]
    law: Law
    wake: Callable[[], None]

    async def event_answer(self, call: Call) -> bytes:
        """Take an answer to an event (M2)."""
        message = cast("SendForretningsSvarRequest", call.message)
        return await self.ledger.once(call, lambda tx: self._event_answer(tx, message))

    async def extension_answer(self, call: Call) -> bytes:
        """Take an answer to a request for extension (M4)."""
        message = cast("SendForretningsSvarForlaengelseRequest", call.message)
        return await self._waking(self.ledger.once(call, lambda tx: self._extension_answer(tx, message)))

    async def update(self, call: Call) -> bytes:
        """Take an update (M5)."""
        message = cast("SendOpdateringFravaerRequest", call.message)
        return await self._waking(self.ledger.once(call, lambda tx: self._update(tx, message)))

    async def _waking(self, answer: Awaitable[bytes]) -> bytes:
        try:
            return await answer
        finally:
            self.wake()

    # --- M2 ---

    async def _event_answer(self, tx: Tx, message: SendForretningsSvarRequest) -> TransportKvitteringType:
        hoved, receipt, now = message.Hoved, message.Forretningskvittering, self.clock.now()
        reference, sender = _reference(message), hoved.AfsenderMyndighedCVR
        row = await tx.one(_TOLD, besked_id=reference, operation=EVENT)
        told = None if row is None else await self._told(tx, row, reference)
        person = told is not None and await self.cases.is_person(
            tx, told.sags_id, hoved.CprNummer, hoved.NemrefusionsID
        )
        verdict = rules.judge_answer(told, message, sender_cvr=sender, person=person)
        if told is None or verdict.refusal is not None:
            return verdict.receipt()
        code = receipt.ForretningsValideringsKode
        await self._keep_answer(tx, message, receipt, told.sags_id, remarks=(), now=now)
        await tx.run(
            _ANSWERED,
            besked_id=reference,
            code=code,
            final=is_final(receipt),
            settles=rules.settles(receipt),
            now=now,
        )
        if is_final(receipt):
            await tx.run(
                _SETTLE_LOWER,
                sags_id=told.sags_id,
                operation=EVENT,
                municipality_cvr=sender,
                version=told.version,
                now=now,
            )
        if message.JobcentersagID is not None and told.final is None:
            await self._keep_jobcentersag(tx, told.sags_id, sender, message.JobcentersagID, None, now=now)
        if code == "ACCEPTERET":
            await tx.run(_CLOSE_TASKS, besked_id=reference, now=now)
        if code in ("AFVIST", "FEJLET") and told.final is None:
            await open_task(
                tx,
                "event_refused" if code == "AFVIST" else "event_failed",
                about=reference,
                sags_id=told.sags_id,
                municipality_cvr=sender,
                codes=rules.fejlkoder(receipt),
                follow_on="LOOK",
                now=now,
            )
        return verdict.receipt()

    async def _told(self, tx: Tx, row: Row, besked_id: UUID) -> Told:
        """Give an event that was told; its row is held, so its final answer is the one that counts."""
        final = row["final"]
        answer = None if final is None else await tx.one(_FINAL_CODES, besked_id=besked_id, final=final)
        return Told(
            municipality_cvr=row["municipality_cvr"],
            sags_id=row["sags_id"],
            version=row["version"],
            final=final,
            codes=frozenset() if answer is None else frozenset(answer["codes"]),
        )

    # --- M4 ---

    async def _extension_answer(
        self, tx: Tx, message: SendForretningsSvarForlaengelseRequest
    ) -> TransportKvitteringType:
        hoved, receipt, now = message.Hoved, message.Forretningskvittering, self.clock.now()
        key = {"anmodning_id": message.AnmodningID, "reference": _reference(message)}
        row = await tx.one(_REQUEST, **key)
        case = None if row is None else await self.cases.held(tx, row["sags_id"])
        row = await tx.one(_REQUEST, **key)  # anew, now that nobody else can close it
        if row is None or case is None:
            return kvittering_fejl("F301")
        verdict = rules.judge_extension(
            _asked(row),
            message,
            sender_cvr=hoved.AfsenderMyndighedCVR,
            person=await self.cases.is_person(tx, case.sags_id, hoved.CprNummer, hoved.NemrefusionsID),
            state=case.state,
            picture=case.picture,
            assessed=await self.cases.version(tx, case.sags_id, message.SagsVersion),
            sent_on=danish_date(hoved.Afsendelsestidspunkt),
        )
        if verdict.refusal is not None:
            return verdict.receipt()
        await self._keep_answer(tx, message, receipt, case.sags_id, remarks=verdict.remarks, now=now)
        code = receipt.ForretningsValideringsKode
        if code == "MODTAGET":
            await tx.run(_ASSESSING, anmodning_id=message.AnmodningID)
        elif code == "ACCEPTERET":
            await self._grant(tx, case, message, now=now)
        elif code == "AFVIST":
            await self._refused(tx, case, message, now=now)
        else:
            codes = rules.fejlkoder(receipt)
            await self._extension_task(tx, case, message, "extension_failed", codes=codes, follow_on="ASK", now=now)
        return verdict.receipt()

    async def _grant(
        self, tx: Tx, case: Case, message: SendForretningsSvarForlaengelseRequest, *, now: datetime
    ) -> None:
        extension = ForlaengelseType(
            Forlaengelseskode=cast("str", message.Forlaengelseskode),
            FraDato=cast("date", message.ForlaengelseFra),
            TilDato=message.ForlaengelseTil,
            AfgoerelsesDato=danish_date(now),
        )
        change = changes.extended(case.picture, case.state, extension)
        await self.casework.close(tx, message.AnmodningID, RequestStatus.DECIDED, now=now)
        await self.casework.tell(tx, case, change, cause=_cause(message), now=now)

    async def _refused(
        self, tx: Tx, case: Case, message: SendForretningsSvarForlaengelseRequest, *, now: datetime
    ) -> None:
        cause = cast("str", message.Afvisningsaarsag)
        told = LISTS["afvisningsaarsager"].get(cause).extra["foelge"]
        follow_on = changes.scheme(told, danish_date(now), self.law)
        await self.casework.close(tx, message.AnmodningID, RequestStatus.ANSWERED, refusal=cause, now=now)
        await self._extension_task(tx, case, message, "extension_refused", codes=[cause], follow_on=follow_on, now=now)
        if follow_on == RESEND and self.follows_on():
            await self.casework.resend(tx, case, Event.OPRETTET, now=now)
        await self.casework.look_ahead(tx, case)

    async def _extension_task(
        self,
        tx: Tx,
        case: Case,
        message: SendForretningsSvarForlaengelseRequest,
        kind: str,
        *,
        codes: list[str],
        follow_on: str,
        now: datetime,
    ) -> None:
        await open_task(
            tx,
            kind,
            about=message.Hoved.BeskedID,
            sags_id=case.sags_id,
            municipality_cvr=message.Hoved.AfsenderMyndighedCVR,
            codes=codes,
            follow_on=follow_on,
            now=now,
        )

    # --- M5 ---

    async def _update(self, tx: Tx, message: SendOpdateringFravaerRequest) -> TransportKvitteringType:
        hoved, now = message.Hoved, self.clock.now()
        mine = hoved.AfsenderMyndighedCVR
        digest = self._digest(message)
        again = await self._applied(tx, message, digest)
        if again is not None:
            return again
        found = await self._find(tx, message)
        if isinstance(found, str):
            return kvittering_fejl(found)
        case = await self.cases.held(tx, found)
        ownership = None if case is None else await self.cases.ownership(tx, found, mine)
        if case is None or ownership is None:
            return kvittering_fejl("O401")
        again = await self._applied(tx, message, digest)  # anew: a copy may have been applied while this one waited
        if again is not None:
            return again
        verdict = rules.judge_update(
            message,
            ownership=ownership,
            person=await self.cases.is_person(tx, found, hoved.CprNummer, None),
            state=case.state,
            picture=case.picture,
            today=danish_date(now),
            sent_on=danish_date(hoved.Afsendelsestidspunkt),
        )
        if verdict.refusal is not None:
            return verdict.receipt()
        change = changes.updated(case.picture, case.state, message, law=self.law, today=danish_date(now))
        after = None if change is None else await self.casework.tell(tx, case, change, cause=_cause(message), now=now)
        await tx.run(
            _KEEP_UPDATE,
            municipality_cvr=mine,
            opdatering_id=message.OpdateringID,
            digest=digest,
            sags_id=case.sags_id,
            besked_id=hoved.BeskedID,
            kinds=list(message.Opdateringstype),
            effective_on=message.GyldigFra,
            content=self.vault.seal(json.dumps(_payload(message)).encode(), context=UPDATE),
            version=None if after is None else after.version,
            now=now,
        )
        await self._keep_jobcentersag(
            tx, case.sags_id, mine, message.JobcentersagID, message.JobcentersagStatus, now=now
        )
        for kind, codes, follow_on in _for_a_person(message, case):
            await open_task(
                tx,
                kind,
                about=hoved.BeskedID,
                sags_id=case.sags_id,
                municipality_cvr=mine,
                codes=codes,
                follow_on=follow_on,
                now=now,
            )
        return verdict.receipt()

    async def _find(self, tx: Tx, message: SendOpdateringFravaerRequest) -> UUID | str:
        """Find the case by SagsID, else by NemrefusionsID, else by CPR; else give the code that says why not."""
        hoved = message.Hoved
        if hoved.CprNummer.substitute and not self.takes_substitutes(hoved.AfsenderMyndighedCVR):
            return "O401"
        if message.SagsID is not None or hoved.NemrefusionsID is not None:
            reported = None
            if hoved.NemrefusionsID is not None:
                reported = await self.cases.of_report(tx, hoved.NemrefusionsID)
                if reported is None or message.SagsID not in (None, reported):
                    return "O401"
            return cast("UUID", message.SagsID or reported)
        found = await self.cases.of_person(tx, hoved.CprNummer, hoved.AfsenderMyndighedCVR)
        open_ones = [sags_id for sags_id, is_open in found if is_open]
        if len(open_ones) > 1:
            return "O409"
        chosen = open_ones or [sags_id for sags_id, _ in found]
        return chosen[0] if chosen else "O401"

    async def _applied(
        self, tx: Tx, message: SendOpdateringFravaerRequest, digest: bytes
    ) -> TransportKvitteringType | None:
        """
        Give the receipt of an OpdateringID that was applied before: the original one, or O408 for other content.

        Of whom it speaks is content too, and stands in the header alone when there is no SagsID.
        """
        hoved = message.Hoved
        row = await tx.one(_APPLIED, municipality_cvr=hoved.AfsenderMyndighedCVR, opdatering_id=message.OpdateringID)
        if row is None:
            return None
        same = row["digest"] == digest and await self.cases.is_person(
            tx, row["sags_id"], hoved.CprNummer, hoved.NemrefusionsID
        )
        return kvittering_ok() if same else kvittering_fejl("O408")

    def _digest(self, message: SendOpdateringFravaerRequest) -> bytes:
        return self.vault.lookup_key(json.dumps(_payload(message)))

    # --- what is kept beside the case ---

    async def _keep_answer(
        self,
        tx: Tx,
        message: SendForretningsSvarRequest | SendForretningsSvarForlaengelseRequest,
        receipt: ForretningskvitteringType,
        sags_id: UUID,
        *,
        remarks: tuple[str, ...],
        now: datetime,
    ) -> None:
        reason = receipt.Begrundelse
        await tx.run(
            _KEEP_ANSWER,
            besked_id=message.Hoved.BeskedID,
            operation=message.Hoved.Beskedtype,
            reference=_reference(message),
            sags_id=sags_id,
            municipality_cvr=message.Hoved.AfsenderMyndighedCVR,
            code=receipt.ForretningsValideringsKode,
            codes=rules.fejlkoder(receipt),
            reason=None if reason is None else self.vault.seal(reason.encode(), context=ANSWER),
            remarks=list(remarks),
            now=now,
        )

    async def _keep_jobcentersag(
        self, tx: Tx, sags_id: UUID, municipality_cvr: str, jobcentersag_id: UUID, status: str | None, *, now: datetime
    ) -> None:
        await tx.run(
            _JOBCENTERSAG,
            sags_id=sags_id,
            municipality_cvr=municipality_cvr,
            jobcentersag_id=jobcentersag_id,
            status=status,
            now=now,
        )


def _for_a_person(message: SendOpdateringFravaerRequest, case: Case) -> list[tuple[str, list[str], str]]:
    """
    List what KSD must decide: missing cooperation always, a transfer it does not end by, an end after the end.

    A recovery in the same update ends the case before the transfer can.
    """
    tasks = []
    if message.ManglendeMedvirken is not None:
        tasks.append(("missing_cooperation", [message.ManglendeMedvirken.Type], "PARTSHOERING_P21"))
    transfer, over = message.Overgang, message.Raskmelding is not None or case.state in ENDED
    if transfer is not None and (over or not changes.ends_by(transfer.Type, transfer.Dato)):
        tasks.append(("transfer", [transfer.Type, transfer.Dato.isoformat()], "LOOK"))
    if message.Raskmelding is not None and case.state in ENDED:
        tasks.append(("recovery_after_end", [message.Raskmelding.MeddeltAf], "LOOK"))
    return tasks


def _payload(message: SendOpdateringFravaerRequest) -> dict[str, object]:
    """Give what the update says, without who sends it and when: what makes two updates the same."""
    names = (field.name for field in fields(message) if field.name not in _CONTEXT)
    found = ((name, to_plain(getattr(message, name))) for name in names)
    return {name: value for name, value in found if value is not None and value != []}


def _reference(message: Request[Reply]) -> UUID:
    return cast("UUID", message.Hoved.ReferenceBeskedID)  # G001 has seen to it


def _cause(message: Request[Reply]) -> Cause:
    return Cause(name=message.Hoved.Beskedtype, besked_id=message.Hoved.BeskedID)


def _asked(row: Row) -> Asked:
    return Asked(
        municipality_cvr=row["municipality_cvr"],
        status=RequestStatus(row["status"]),
        withdrawal=Withdrawal(row["withdrawal"]) if row["withdrawal"] else None,
        review=row["review"],
        deadline=row["deadline"],
        codes=tuple(row["codes"]),
    )

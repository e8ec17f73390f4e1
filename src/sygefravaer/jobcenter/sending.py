# SPDX-License-Identifier: MPL-2.0
"""
How a jobcentre sends: into the outbox with the change that causes it, then out in order, then the receipt.

A message is written down with its BeskedID before it leaves, so an answer can never find it unknown. What becomes of
it: delivered, repeated while the gateway says G006, made once more with a new BeskedID when it was too old (G010), or
refused, which is a task for a person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sygefravaer import soap
from sygefravaer.client import Client, Kind, classify
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.codes import FEJLKODER, fejl_text
from sygefravaer.contract.messages import Reply, Request
from sygefravaer.contract.names import SERVICE_UUIDS, SYGEFRAVAER
from sygefravaer.contract.operations import OPERATIONS, case_key, operation_for
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import CallFailed
from sygefravaer.jobcenter.cases import Register, Sag
from sygefravaer.jobcenter.facts import Deed, What, fulfilled_by
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.life import TALK, State, Trigger
from sygefravaer.jobcenter.policy import AFVIST, FINAL
from sygefravaer.lanes import Entry, Lanes, Status, Stored, Verdict
from sygefravaer.store import Row, Tx
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)

OUTBOX_CONTEXT: Final = "jobcenter.outbox"
GATEWAY: Final = UUID(SERVICE_UUIDS[SYGEFRAVAER])
"""What stands for the receiver in our lanes: everything leaves through the one service."""

REFUSED_TEXT: Final = "Beskeden blev afvist uden en kode, som snitfladen kender."
STUCK_TEXT: Final = "Ingen har svaret på beskeden i fem døgn; sagens øvrige beskeder venter."

STATUS: Final = {
    Kind.OK: Status.DELIVERED,
    Kind.ADVARSEL: Status.DELIVERED,
    Kind.UNDER_WAY: Status.UNDER_WAY,
    Kind.FEJL: Status.REFUSED,
    Kind.CLIENT_FAULT: Status.REFUSED,
    Kind.SILENCE: Status.QUEUED,
}
"""What becomes of a message in its lane: a Client fault is final for a sender, a silence is tried again."""

UNNAMED: Final = "SoapFault"
TOO_OLD: Final = "G010"
EXTENSION_ANSWER: Final = "SendForretningsSvarForlaengelse"
UPDATE: Final = "SendOpdateringFravaer"
CASE_ENDED: Final = "O402"
"""The refusal of an update that holds only as long as its case has ended."""
UNTRUE: Final = frozenset({"O405", "O406", "O407"})
"""Refusals of an update that say that what it told cannot be."""
ANSWER_AGAIN: Final = frozenset({"F303", "F304", "F305", "F307", "F309", "G001"})
"""Refusals of an answer about an extension after which the question is still open."""


class Outbox:
    """Everything that leaves as a send."""

    def __init__(
        self,
        *,
        vault: Vault,
        clock: Clock,
        client: Client,
        lanes: Lanes,
        inbox: Inbox,
        register: Register,
        written: Callable[[bytes], bytes],
    ) -> None:
        self._vault = vault
        self._clock = clock
        self._client = client
        self._lanes = lanes
        self._inbox = inbox
        self._register = register
        self._written = written

    async def put(
        self,
        tx: Tx,
        message: Request[Reply],
        *,
        content: str,
        sags_id: UUID | None,
        anmodning_id: UUID | None = None,
        again_of: UUID | None = None,
    ) -> UUID:
        """Put a finished message in its lane; `content` is a word for the list of what was sent. Gives its BeskedID."""
        hoved = message.Hoved
        operation = operation_for(message)
        body = self._written(codec.encode(message))
        element = soap.read(soap.wrap(body)).element
        codec.validate(operation.service, element)
        kind, key = case_key(message)
        await tx.run(
            """
            INSERT INTO sent (besked_id, operation, municipality_cvr, sags_id, anmodning_id, reference, content,
                              made_at, again_of)
            VALUES (%(id)s, %(operation)s, %(cvr)s, %(sags_id)s, %(anmodning_id)s, %(reference)s, %(content)s, %(now)s,
                    %(again_of)s)
            """,
            id=hoved.BeskedID,
            operation=operation.name,
            cvr=hoved.AfsenderMyndighedCVR,
            sags_id=sags_id,
            anmodning_id=anmodning_id,
            reference=hoved.ReferenceBeskedID,
            content=content,
            now=hoved.Afsendelsestidspunkt,
            again_of=again_of,
        )
        await self._lanes.enqueue(
            tx,
            Entry(
                recipient=GATEWAY,
                municipality_cvr=hoved.AfsenderMyndighedCVR,
                case_key=self._vault.lookup_key(key).hex() if kind == "cpr" else key,
                sender=hoved.AfsenderSystemID,
                besked_id=hoved.BeskedID,
                operation=operation.name,
                korrelations_id=hoved.KorrelationsID,
                reference_besked_id=hoved.ReferenceBeskedID,
                nemrefusions_id=hoved.NemrefusionsID,
                sags_id=sags_id,
                cpr_key=self._vault.lookup_key(hoved.CprNummer.reveal()),
                digest=soap.digest(element),
                body=self._vault.seal(body, context=OUTBOX_CONTEXT),
                accepted_at=hoved.Afsendelsestidspunkt,
            ),
            owner=None,
        )
        return hoved.BeskedID

    async def deliver(self, message: Stored) -> Verdict:
        """Post a stored message once and say what came of it; the detail is the outcome's kind and its codes."""
        operation = OPERATIONS[message.operation]
        body = self._vault.open(message.body, context=OUTBOX_CONTEXT)
        try:
            outcome = classify(await self._client.post(body, operation))
        except CallFailed as error:
            outcome = classify(error)
        return Verdict(status=STATUS[outcome.kind], detail=f"{outcome.kind} {outcome.detail}".strip())

    async def settled(self, tx: Tx, message: Stored, status: Status, verdict: Verdict) -> None:
        """Note what came of a message, in the transaction that settles it; act on a refusal and on a full stop."""
        if status is Status.QUEUED:
            return
        kind, *found = verdict.detail.split()
        await tx.run(
            "UPDATE sent SET receipt = %(receipt)s, codes = %(codes)s WHERE besked_id = %(id)s",
            id=message.besked_id,
            receipt=kind,
            codes=found,
        )
        if status is Status.REFUSED:
            await self._refused(tx, message, found[0] if found else UNNAMED)
        elif status is Status.PARKED:
            await self._task(tx, message, "PARKED", STUCK_TEXT)

    async def _refused(self, tx: Tx, message: Stored, code: str) -> None:
        row = await tx.one("SELECT * FROM sent WHERE besked_id = %(id)s", id=message.besked_id)
        if row is None:
            return
        if code == TOO_OLD and row["again_of"] is None:
            await self._again(tx, message, row)
            return
        await self._task(tx, message, code, fejl_text(code) if code in FEJLKODER else REFUSED_TEXT)
        if message.operation == EXTENSION_ANSWER and row["content"] in FINAL and code in ANSWER_AGAIN:
            await self._assess_again(tx, row)
        if message.operation == UPDATE:
            await self._update_refused(tx, message, row, code)
        LOG.warning("refused", extra={"action": "sending.refused", "operation": message.operation, "code": code})

    async def _assess_again(self, tx: Tx, row: Row) -> None:
        """Put a question back before a person, and its jobcentersag back to where the answer took it from."""
        if not await self._inbox.extension_reopened(tx, row["municipality_cvr"], row["anmodning_id"]):
            return
        case = await self._register.case(tx, row["municipality_cvr"], row["sags_id"])
        sag = await self._register.sag(tx, case.jobcentersag_id) if case and not case.ended else None
        if sag is None:
            return
        # JOBAFKLARING that our refusal led to is left by the way it came, so that what was before it is kept.
        if row["content"] == AFVIST and sag.life.state is State.JOBAFKLARING:
            back = replace(sag, life=sag.life.moved(Trigger.REOPEN), scheme=None)
            sag = await self._register.keep(tx, back, now=self._clock.now())
        await self._register.move(tx, sag, Trigger.ASKED, now=self._clock.now())

    async def _task(self, tx: Tx, message: Stored, code: str, text: str) -> None:
        await tx.run(
            """
            INSERT INTO task (besked_id, municipality_cvr, sags_id, operation, code, text, made_at)
            VALUES (%(id)s, %(cvr)s, %(sags_id)s, %(operation)s, %(code)s, %(text)s, %(now)s)
            ON CONFLICT (besked_id) DO UPDATE SET code = EXCLUDED.code, text = EXCLUDED.text, done_at = NULL
            """,
            id=message.besked_id,
            cvr=message.municipality_cvr,
            sags_id=message.sags_id,
            operation=message.operation,
            code=code,
            text=text,
            now=self._clock.now(),
        )

    async def _again(self, tx: Tx, message: Stored, row: Row) -> None:
        """Make a message that nobody ever stored once more, with an id and a time of its own."""
        await self._made_again(tx, message.operation, message.body, row)

    async def _made_again(
        self, tx: Tx, operation: str, sealed: bytes, row: Row, *, cpr: Cpr | None = None, now: datetime | None = None
    ) -> UUID:
        """Put the same message, under the citizen's number of today, in the outbox once more; gives its BeskedID."""
        body = self._vault.open(sealed, context=OUTBOX_CONTEXT)
        old = codec.decode_request(OPERATIONS[operation], soap.read(soap.wrap(body)).element)
        hoved = replace(
            old.Hoved,
            BeskedID=uuid4(),
            Afsendelsestidspunkt=now or self._clock.now(),
            CprNummer=cpr or old.Hoved.CprNummer,
        )
        return await self.put(
            tx,
            replace(old, Hoved=hoved),
            content=row["content"],
            sags_id=row["sags_id"],
            anmodning_id=row["anmodning_id"],
            again_of=row["besked_id"],
        )

    # --- updates that were refused ---

    async def _update_refused(self, tx: Tx, message: Stored, row: Row, code: str) -> None:
        """Keep an update that was refused; what cannot be is taken back, what came too soon goes out again."""
        await tx.run(
            """
            INSERT INTO kept_update (besked_id, municipality_cvr, sags_id, content, code, body, made_at)
            VALUES (%(id)s, %(cvr)s, %(sags_id)s, %(content)s, %(code)s, %(body)s, %(made_at)s)
            ON CONFLICT (besked_id) DO NOTHING
            """,
            id=message.besked_id,
            cvr=message.municipality_cvr,
            sags_id=row["sags_id"],
            content=row["content"],
            code=code,
            body=message.body,
            made_at=row["made_at"],
        )
        case = await self._register.case(tx, message.municipality_cvr, row["sags_id"]) if row["sags_id"] else None
        sag = await self._register.sag(tx, case.jobcentersag_id) if case else None
        if case is None or sag is None:
            return
        if code in UNTRUE:
            await self._taken_back(tx, sag, await self._register.deeds.refuse(tx, message.besked_id))
        elif code == CASE_ENDED and case.reopened_at is not None and row["made_at"] < case.reopened_at:
            await self.resend(tx, message.besked_id, cpr=sag.cpr, now=self._clock.now())  # it runs again already

    async def _taken_back(self, tx: Tx, sag: Sag, untrue: tuple[Deed, ...]) -> None:
        """Let a jobcentersag be as if this had not been told."""
        facts = await self._register.facts(tx, sag)
        if any(deed.what is What.VISITATION for deed in untrue):
            visited = facts.visited
            linked = await self._register.cases_of(tx, sag.jobcentersag_id)
            told = next((case.kategori for case in linked if case.kategori), None)
            sag = replace(
                sag,
                life=sag.life.moved(Trigger.UNVISITED),
                kategori=visited.kategori if visited else told,
                visited=visited.day if visited else None,
            )
        if any(TALK in fulfilled_by(deed.kind) for deed in untrue) and not any(
            TALK in fulfilled_by(deed.kind) and deed.held for deed in facts.done(What.FOLLOW_UP)
        ):
            sag = replace(sag, life=sag.life.moved(Trigger.UNTALKED))
        await self._register.keep(tx, sag, now=self._clock.now())

    async def refused_updates(self, tx: Tx, municipality_cvr: str, sags_id: UUID) -> list[UUID]:
        """List the updates of a case that KSD refused because it had ended, in the order they were made."""
        rows = await tx.all(
            """
            SELECT besked_id FROM kept_update
            WHERE municipality_cvr = %(cvr)s AND sags_id = %(id)s AND code = %(code)s AND again_as IS NULL
            ORDER BY number FOR UPDATE
            """,
            cvr=municipality_cvr,
            id=sags_id,
            code=CASE_ENDED,
        )
        return [row["besked_id"] for row in rows]

    async def kept(self, tx: Tx, besked_id: UUID) -> Row | None:
        """Find an update that was refused and hold it until the transaction ends."""
        return await tx.one("SELECT * FROM kept_update WHERE besked_id = %(id)s FOR UPDATE", id=besked_id)

    async def resend(self, tx: Tx, besked_id: UUID, *, cpr: Cpr | None, now: datetime) -> UUID:
        """Send an update that was refused again, with a new BeskedID and the OpdateringID it had; its task is done."""
        row = await self.kept(tx, besked_id)
        if row is None:
            raise LookupError("an update that was refused is gone")
        sent = await self._made_again(tx, UPDATE, row["body"], {**row, "anmodning_id": None}, cpr=cpr, now=now)
        await tx.run("UPDATE kept_update SET again_as = %(sent)s WHERE besked_id = %(id)s", sent=sent, id=besked_id)
        await tx.run(
            "UPDATE task SET done_at = %(now)s WHERE besked_id = %(id)s AND done_at IS NULL", id=besked_id, now=now
        )
        return sent

    async def log(self, tx: Tx, *, limit: int) -> list[Row]:
        """List what was sent last, the newest first."""
        return await tx.all(
            """
            SELECT besked_id, operation, municipality_cvr, sags_id, anmodning_id, reference, content, made_at, again_of,
                   receipt, codes
            FROM sent ORDER BY seq DESC LIMIT %(limit)s
            """,
            limit=limit,
        )

    async def tasks(self, tx: Tx, *, limit: int) -> list[Row]:
        """List what waits for a person because KSD or the gateway refused it, the oldest first."""
        return await tx.all("SELECT * FROM task WHERE done_at IS NULL ORDER BY task_id LIMIT %(limit)s", limit=limit)

    async def task_done(self, tx: Tx, task_id: int, now: datetime) -> bool:
        """Mark a task as dealt with."""
        touched = await tx.run(
            "UPDATE task SET done_at = %(now)s WHERE task_id = %(id)s AND done_at IS NULL", id=task_id, now=now
        )
        return touched > 0

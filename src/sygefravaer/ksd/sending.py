# SPDX-License-Identifier: MPL-2.0
"""
How KSD sends: written down with the change that causes it, then out in order, then the receipt.

A message has its BeskedID in `sent` before it leaves, so an answer can never find it unknown. What becomes of it:
delivered; repeated while the gateway says G006; made once more with a new BeskedID when it was too old (G010: nobody
ever stored it); or refused, which is a task for a person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, cast
from uuid import UUID, uuid4

from sygefravaer import soap
from sygefravaer.client import Client, Kind, classify, hoved
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    HovedType,
    Reply,
    Request,
    SendAnmodningForlaengelseRequest,
    SendHaendelseSygefravaerssagRequest,
    SygefravaerssagType,
)
from sygefravaer.contract.names import SERVICE_UUIDS, SYGEFRAVAER_JC
from sygefravaer.contract.operations import OPERATIONS, Environment, case_key, judge, operation_for
from sygefravaer.errors import CallFailed
from sygefravaer.lanes import Entry, Lanes, Status, Stored, Verdict
from sygefravaer.store import Tx
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)

EVENT: Final = "SendHaendelseSygefravaerssag"
REQUEST: Final = "SendAnmodningForlaengelse"
BODY: Final = "ksd.outbox"
GATEWAY: Final = UUID(SERVICE_UUIDS[SYGEFRAVAER_JC])
"""What stands for the receiver in our lanes: everything leaves through the one service."""

TOO_OLD: Final = "G010"
STATUS: Final = {
    Kind.OK: Status.DELIVERED,
    Kind.ADVARSEL: Status.DELIVERED,
    Kind.UNDER_WAY: Status.UNDER_WAY,
    Kind.FEJL: Status.REFUSED,
    Kind.CLIENT_FAULT: Status.REFUSED,
    Kind.SILENCE: Status.QUEUED,
}
"""What becomes of a message in its lane: a Client fault is final for a sender, a silence is tried again."""

_INSERT: Final = """
INSERT INTO sent (besked_id, operation, sags_id, version, anmodning_id, municipality_cvr, korrelations_id, sent_at)
VALUES (%(besked_id)s, %(operation)s, %(sags_id)s, %(version)s, %(anmodning_id)s, %(municipality_cvr)s,
        %(korrelations_id)s, %(now)s)
"""
_REPLACED: Final = """
UPDATE sent SET replaced_by = %(new)s WHERE besked_id = %(old)s AND NOT EXISTS (
    SELECT FROM sent before WHERE before.replaced_by = %(old)s
)
"""
_TOLD_BY: Final = "UPDATE sag_version SET besked_id = %(new)s WHERE sags_id = %(sags_id)s AND besked_id = %(old)s"
_TASK: Final = """
INSERT INTO task (kind, besked_id, sags_id, municipality_cvr, codes, follow_on, opened_at)
VALUES (%(kind)s, %(besked_id)s, %(sags_id)s, %(municipality_cvr)s, %(codes)s, %(follow_on)s, %(now)s)
ON CONFLICT (kind, besked_id) DO NOTHING
"""


async def open_task(
    tx: Tx,
    kind: str,
    *,
    about: UUID,
    sags_id: UUID,
    municipality_cvr: str,
    codes: list[str],
    follow_on: str,
    now: datetime,
) -> None:
    """Give a person something to look at; one task of a kind for a message."""
    await tx.run(
        _TASK,
        kind=kind,
        besked_id=about,
        sags_id=sags_id,
        municipality_cvr=municipality_cvr,
        codes=codes,
        follow_on=follow_on,
        now=now,
    )


class Outbox:
    """Everything that leaves KSD as a send."""

    def __init__(
        self,
        *,
        vault: Vault,
        clock: Clock,
        client: Client,
        lanes: Lanes,
        system_id: UUID,
        environment: Environment,
        written: Callable[[bytes], bytes],
    ) -> None:
        self._vault = vault
        self._clock = clock
        self._client = client
        self._lanes = lanes
        self._system_id = system_id
        self._environment = environment
        self._written = written

    def header(
        self,
        operation: str,
        picture: SygefravaerssagType,
        municipality_cvr: str,
        *,
        besked_id: UUID,
        korrelations_id: UUID,
        now: datetime,
    ) -> HovedType:
        """Make the header of a message about a case, written now to this municipality."""
        return hoved(
            OPERATIONS[operation],
            municipality=municipality_cvr,
            sender=self._system_id,
            cpr=picture.CprNummer,
            now=now,
            nemrefusions_id=picture.NemrefusionsID,
            besked_id=besked_id,
            korrelations_id=korrelations_id,
        )

    async def put(
        self,
        tx: Tx,
        message: SendHaendelseSygefravaerssagRequest | SendAnmodningForlaengelseRequest,
        *,
        anmodning_id: UUID | None = None,
    ) -> None:
        """
        Put a finished message in its lane, in the transaction that caused it.

        It is judged as the gateway will judge it: `Refused` or `SchemaValidationFailed` undo the change as well.
        """
        header, picture = message.Hoved, message.Sygefravaerssag
        operation = operation_for(message)
        municipality_cvr = header.ModtagerMyndighedCVR
        whole: Request[Reply] = replace(
            message, AuthorityContext=AuthorityContextType(MunicipalityCVR=municipality_cvr)
        )
        body = self._written(codec.encode(whole))
        element = soap.read(soap.wrap(body)).element
        codec.validate(operation.service, element)
        judge(operation, whole, municipality_cvr, environment=self._environment, caller_system=self._system_id)
        await tx.run(
            _INSERT,
            besked_id=header.BeskedID,
            operation=operation.name,
            sags_id=picture.SagsID,
            version=picture.SagsVersion,
            anmodning_id=anmodning_id,
            municipality_cvr=municipality_cvr,
            korrelations_id=header.KorrelationsID,
            now=header.Afsendelsestidspunkt,
        )
        _, key = case_key(whole)  # of kind nemref: every message of ours has a NemrefusionsID
        await self._lanes.enqueue(
            tx,
            Entry(
                recipient=GATEWAY,
                municipality_cvr=municipality_cvr,
                case_key=key,
                sender=self._system_id,
                besked_id=header.BeskedID,
                operation=operation.name,
                korrelations_id=header.KorrelationsID,
                nemrefusions_id=picture.NemrefusionsID,
                sags_id=picture.SagsID,
                cpr_key=self._vault.lookup_key(header.CprNummer.reveal()),
                digest=soap.digest(element),
                body=self._vault.seal(body, context=BODY),
                accepted_at=header.Afsendelsestidspunkt,
            ),
            owner=None,
        )

    async def deliver(self, message: Stored) -> Verdict:
        """Post a message once and say what came of it; the detail of a refusal is its codes."""
        body = self._vault.open(message.body, context=BODY)
        try:
            outcome = classify(await self._client.post(body, OPERATIONS[message.operation]))
        except CallFailed as error:
            outcome = classify(error)
        return Verdict(status=STATUS[outcome.kind], detail=outcome.detail)

    async def settled(self, tx: Tx, message: Stored, status: Status, verdict: Verdict) -> None:
        """Act on a refusal, or on a lane that stands, in the transaction that settles the message."""
        now = self._clock.now()
        if status is Status.PARKED:
            await self._for_a_person(tx, message, "message_parked", [], now=now)
        if status is Status.REFUSED:
            codes = verdict.detail.split()
            if TOO_OLD not in codes or not await self._again(tx, message, now):
                await self._for_a_person(tx, message, "message_refused", codes, now=now)

    async def _for_a_person(self, tx: Tx, message: Stored, kind: str, codes: list[str], *, now: datetime) -> None:
        await open_task(
            tx,
            kind,
            about=message.besked_id,
            sags_id=cast("UUID", message.sags_id),  # every message of ours is about a case
            municipality_cvr=message.municipality_cvr,
            codes=codes,
            follow_on="LOOK",
            now=now,
        )
        LOG.warning(kind, extra={"action": f"ksd.{kind}", "operation": message.operation, "codes": codes})

    async def _again(self, tx: Tx, message: Stored, now: datetime) -> bool:
        """Make a message that nobody stored once more, with an id and a time of its own; once only."""
        new = uuid4()
        if not await tx.run(_REPLACED, old=message.besked_id, new=new):
            return False
        body = self._vault.open(message.body, context=BODY)
        old = codec.decode_request(OPERATIONS[message.operation], soap.read(soap.wrap(body)).element)
        again = replace(old, Hoved=replace(old.Hoved, BeskedID=new, Afsendelsestidspunkt=now))
        match again:
            case SendAnmodningForlaengelseRequest():
                await self.put(tx, again, anmodning_id=again.AnmodningID)
            case SendHaendelseSygefravaerssagRequest():
                await self.put(tx, again)
        await tx.run(_TOLD_BY, old=message.besked_id, new=new, sags_id=message.sags_id)
        return True

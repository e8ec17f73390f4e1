# SPDX-License-Identifier: MPL-2.0
"""
A case as its messages tell it: when the gateway took each, when its receiver had it, and what it said of the case.

Who knew what on a day follows from that: a sender knows what it sends when the gateway has taken it, the receiver when
it has answered. The gateway itself keeps no case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.messages import (
    SendAnmodningForlaengelseRequest,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendHaendelseSygefravaerssagRequest,
    SendOpdateringFravaerRequest,
)
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.plain import to_plain
from sygefravaer.delivery import browsing, contents
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

_BODIES: Final = "SELECT message_id, operation, body, cpr_key FROM message WHERE message_id = ANY (%(ids)s)"
_ATTEMPTS: Final = """
SELECT message_id, at, outcome, detail, again_at FROM attempt WHERE message_id = ANY (%(ids)s) ORDER BY attempt_id"""
_OWED: Final = """
SELECT topic, message_id, since, due, reminders, settled_at FROM obligation WHERE message_id = ANY (%(ids)s)
ORDER BY since, message_id"""

HELD: Final = frozenset({"delivered"})


class Side(StrEnum):
    """Whose lane an event of a case stands in."""

    KSD = "ksd"
    GATEWAY = "gateway"
    JOBCENTER = "jobcenter"
    CLOCK = "clock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message of a case: `facts` are what it says of the case, by the names of the contract."""

    head: Row
    sender: Side
    recipient: Side
    facts: Mapping[str, str]
    attempts: tuple[Row, ...]

    @property
    def known_at(self) -> datetime | None:
        """When its receiver surely had it; None as long as nobody knows that."""
        return self.head["settled_at"] if self.head["status"] in HELD else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One thing that happened: when, in whose lane, what (a word that the page puts into Danish), by which message."""

    at: datetime
    side: Side
    what: str
    message_id: int
    operation: str
    facts: Mapping[str, str]
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What one side knew at a time: its newest word of each kind, and what it had not yet."""

    side: Side
    facts: Mapping[str, str]
    by: tuple[int, ...]
    """The messages that it follows from."""
    missing: tuple[int, ...]
    """What had been sent to it, and it had not surely got."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case, by its NemrefusionsID: its messages oldest first, and what is owed for them."""

    nemrefusions_id: UUID
    messages: tuple[Message, ...]
    owed: tuple[Row, ...]
    person: bytes | None = None
    """The keyed hash of the citizen, for the record of who has looked."""

    @property
    def municipalities(self) -> tuple[str, ...]:
        """Whose case it is and was."""
        return tuple(dict.fromkeys(one.head["municipality_cvr"] for one in self.messages))

    def plain(self, at: datetime) -> dict[str, Any]:
        """Give it as JSON has it, with what each side knew at a time."""
        told: dict[str, Any] = to_plain(
            {
                "nemrefusions_id": self.nemrefusions_id,
                "municipalities": list(self.municipalities),
                "marks": [asdict(mark) for mark in self.marks()],
                "at": at,
                "known": {
                    side.value: asdict(self.known(side, at)) for side in (Side.KSD, Side.GATEWAY, Side.JOBCENTER)
                },
            }
        )
        return told

    def marks(self) -> list[Mark]:
        """Give all that happened, in order."""
        made = [mark for one in self.messages for mark in _marks(one)]
        heads = {one.head["message_id"]: one for one in self.messages}
        for debt in self.owed:
            asked = heads[debt["message_id"]]
            about: dict[str, Any] = {
                "message_id": debt["message_id"],
                "operation": asked.head["operation"],
                "facts": {},
            }
            made.append(Mark(at=debt["due"], side=Side.CLOCK, what="due", detail=debt["topic"], **about))
            if debt["settled_at"] is not None:
                made.append(Mark(at=debt["settled_at"], side=Side.CLOCK, what="settled", detail=debt["topic"], **about))
        return sorted(made, key=lambda mark: (mark.at, mark.message_id))

    def known(self, side: Side, at: datetime) -> Knowledge:
        """Say what KSD, the jobcentre or the gateway knew at a time."""
        facts: dict[str, str] = {}
        by: list[int] = []
        missing: list[int] = []
        for one in self.messages:
            number = one.head["message_id"]
            if one.head["accepted_at"] > at:
                continue
            had = side in {one.sender, Side.GATEWAY} or (one.known_at is not None and one.known_at <= at)
            (by if had else missing).append(number)
            if had:
                facts |= one.facts
        return Knowledge(side=side, facts=facts, by=tuple(by), missing=tuple(missing))


async def case(store: Store, vault: Vault, nemrefusions_id: UUID) -> Case:
    """Read a case; one without messages when nobody has sent any about it."""
    async with store.snapshot() as tx:
        heads = await browsing.of_case(tx, nemrefusions_id)
        return await _case(tx, vault, nemrefusions_id, heads)


async def _case(tx: Tx, vault: Vault, nemrefusions_id: UUID, heads: Sequence[Row]) -> Case:
    ids = [head["message_id"] for head in heads]
    bodies = {row["message_id"]: row for row in await tx.all(_BODIES, ids=ids)}
    attempts: dict[int, list[Row]] = {}
    for row in await tx.all(_ATTEMPTS, ids=ids):
        attempts.setdefault(row["message_id"], []).append(row)
    made = []
    for head in heads:
        to_ksd = OPERATIONS[head["operation"]].to_ksd
        made.append(
            Message(
                head=head,
                sender=Side.JOBCENTER if to_ksd else Side.KSD,
                recipient=Side.KSD if to_ksd else Side.JOBCENTER,
                facts=_facts(contents.says(vault, bodies[head["message_id"]])),
                attempts=tuple(attempts.get(head["message_id"], ())),
            )
        )
    return Case(
        nemrefusions_id=nemrefusions_id,
        messages=tuple(made),
        owed=tuple(await tx.all(_OWED, ids=ids)),
        person=bytes(bodies[ids[-1]]["cpr_key"]) if ids else None,
    )


def _marks(one: Message) -> list[Mark]:
    head = one.head
    about: dict[str, Any] = {"message_id": head["message_id"], "operation": head["operation"], "facts": one.facts}
    made = [
        Mark(at=head["accepted_at"], side=one.sender, what="sent", **about),
        Mark(at=head["accepted_at"], side=Side.GATEWAY, what="accepted", **about),
    ]
    for attempt in one.attempts:
        outcome = attempt["outcome"]
        if outcome == "delivered":
            made.append(Mark(at=attempt["at"], side=one.recipient, what="received", **about))
        else:
            made.append(Mark(at=attempt["at"], side=Side.GATEWAY, what=outcome, detail=attempt["detail"], **about))
        if attempt["again_at"] is not None and attempt is one.attempts[-1] and head["status"] == "queued":
            made.append(Mark(at=attempt["again_at"], side=Side.CLOCK, what="again", **about))
    return made


def _facts(message: object) -> dict[str, str]:
    """Give what a message says of its case; nothing of it says who the citizen is, or what he has."""
    match message:
        case SendHaendelseSygefravaerssagRequest():
            told = message.Sygefravaerssag
            facts = {
                "Haendelsestype": message.Haendelsestype,
                "SagsVersion": str(told.SagsVersion),
                "SagsTilstand": told.SagsTilstand,
                "Sagsart": told.Sagsart,
                "FoersteFravaersdag": told.FoersteFravaersdag.isoformat(),
                "RevurderingsDato": "" if told.RevurderingsDato is None else told.RevurderingsDato.isoformat(),
                "AfslutningsDato": "" if told.AfslutningsDato is None else told.AfslutningsDato.isoformat(),
            }
        case SendForretningsSvarRequest():
            facts = {
                "ForretningsValideringsKode": message.Forretningskvittering.ForretningsValideringsKode,
                "BesvaretSagsVersion": str(message.SagsVersion),
            }
        case SendAnmodningForlaengelseRequest():
            facts = {
                "Anmodningstype": message.Anmodningstype,
                "Rykkernummer": str(message.Rykkernummer),
                "Svarfrist": message.Svarfrist.isoformat(),
            }
        case SendForretningsSvarForlaengelseRequest():
            facts = {
                "ForlaengelsesSvar": message.Forretningskvittering.ForretningsValideringsKode,
                "Forlaengelseskode": message.Forlaengelseskode or "",
                "ForlaengelseTil": "" if message.ForlaengelseTil is None else message.ForlaengelseTil.isoformat(),
            }
        case SendOpdateringFravaerRequest():
            facts = {
                "JobcentersagStatus": message.JobcentersagStatus,
                "Opdateringstype": ", ".join(message.Opdateringstype),
                "GyldigFra": message.GyldigFra.isoformat(),
            }
        case _:
            facts = {}
    return {name: value for name, value in facts.items() if value}

# SPDX-License-Identifier: MPL-2.0
"""
Which message asks its receiver for a business answer, which one gives it, which one withdraws the question.

A row of the operations table points to one of the conversations here, and whoever keeps account reads what a message
says as one of three facts. An event (SF2090) is a question of its own per message, and is settled by a final answer to
it, by MODTAGET because a newer version was there, or by a final answer to a higher version of the case. A request for
extension (SF2093) is one question however often it is sent, and is settled by a final answer to it, or when the case
ends. An answer counts once KSD has taken it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.messages import (
    ForretningskvitteringType,
    SendAnmodningForlaengelseRequest,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendHaendelseSygefravaerssagRequest,
)

FINAL: Final = frozenset({"ACCEPTERET", "AFVIST"})
OUTDATED: Final = "FORAELDET_VERSION"
"""`Begrundelse` of a MODTAGET that settles an event that came after a newer one."""

WITHIN: Final = 1
"""Working days within which an event is answered; the day of a request stands in it (`Svarfrist`)."""


class Topic(StrEnum):
    """What is talked about."""

    EVENT = "sf2090"
    EXTENSION = "sf2093"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asks:
    """The message asks for an answer about `subject`: of an event the SagsID, of a request the AnmodningID."""

    topic: Topic
    subject: UUID
    number: int
    """SagsVersion of an event; Rykkernummer of a request, where 0 is the first."""
    case: UUID
    until: date | None = None
    """The last day for the answer, if the message says it; otherwise `WITHIN` working days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The message answers `reference`; `settles` is false for one that only says that work has begun, or failed."""

    topic: Topic
    subject: UUID
    number: int
    reference: UUID | None
    final: bool
    outdated: bool = False

    @property
    def settles(self) -> bool:
        """Say whether nothing more is to be answered."""
        return self.final or self.outdated


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdraws:
    """After this message the open questions of `topic` about this case need no answer any more."""

    topic: Topic
    case: UUID


Said = tuple[Asks | Answers | Withdraws, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """The part that an operation has in a conversation."""

    asks: bool
    """Whether its messages ask; those of the others settle."""
    said: Callable[[Any], Said]
    """Give what a message, of the type of the operation, says."""


def _event(message: SendHaendelseSygefravaerssagRequest) -> Said:
    case = message.Sygefravaerssag
    asks = Asks(topic=Topic.EVENT, subject=case.SagsID, number=case.SagsVersion, case=case.SagsID)
    if message.Haendelsestype != "AFSLUTTET":
        return (asks,)
    return asks, Withdraws(topic=Topic.EXTENSION, case=case.SagsID)


def _request(message: SendAnmodningForlaengelseRequest) -> Said:
    asks = Asks(
        topic=Topic.EXTENSION,
        subject=message.AnmodningID,
        number=message.Rykkernummer,
        case=message.Sygefravaerssag.SagsID,
        until=message.Svarfrist,
    )
    return (asks,)


def _event_answer(message: SendForretningsSvarRequest) -> Said:
    answers = Answers(
        topic=Topic.EVENT,
        subject=message.SagsID,
        number=message.SagsVersion,
        reference=message.Hoved.ReferenceBeskedID,
        final=is_final(message.Forretningskvittering),
        outdated=is_outdated(message.Forretningskvittering),
    )
    return (answers,)


def _request_answer(message: SendForretningsSvarForlaengelseRequest) -> Said:
    answers = Answers(
        topic=Topic.EXTENSION,
        subject=message.AnmodningID,
        number=message.SagsVersion,
        reference=message.Hoved.ReferenceBeskedID,
        final=is_final(message.Forretningskvittering),
    )
    return (answers,)


def is_final(receipt: ForretningskvitteringType) -> bool:
    """Say whether a business answer is the last word: yes or no."""
    return receipt.ForretningsValideringsKode in FINAL


def is_outdated(receipt: ForretningskvitteringType) -> bool:
    """Say whether a business answer says that a newer version was there already."""
    return receipt.ForretningsValideringsKode == "MODTAGET" and (receipt.Begrundelse or "").strip() == OUTDATED


EVENT: Final = Conversation(asks=True, said=_event)
EVENT_ANSWER: Final = Conversation(asks=False, said=_event_answer)
REQUEST: Final = Conversation(asks=True, said=_request)
REQUEST_ANSWER: Final = Conversation(asks=False, said=_request_answer)

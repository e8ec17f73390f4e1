# SPDX-License-Identifier: MPL-2.0
"""What lies in a lane, where it may go from there, and when it is tried again. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

LEASE: Final = timedelta(seconds=60)  # longer than the delivery time-out of 40 s
RETRY_CEILING: Final = 10_800  # seconds; STAR's public retry rule
RETRY_JITTER: Final = 0.2
GIVE_UP: Final = timedelta(days=5)
REPEATS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))  # the last one is kept to
BATCH: Final = 16  # messages per claim


class Status(StrEnum):
    """Where a message is."""

    QUEUED = "queued"  # waits for its turn
    SENDING = "sending"  # claimed
    DELIVERED = "delivered"  # the receiver has it and says so
    REFUSED = "refused"  # the receiver's FEJL: final
    UNDER_WAY = "under_way"  # a sender's only: the gateway has it (G006) and is asked for the end outside the lane
    PARKED = "parked"  # nobody has answered: a person decides
    DISCARDED = "discarded"  # a person has decided against it: final


TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.SENDING}),
    Status.SENDING: frozenset(
        {Status.DELIVERED, Status.REFUSED, Status.UNDER_WAY, Status.QUEUED, Status.PARKED},
    ),
    Status.UNDER_WAY: frozenset({Status.DELIVERED, Status.REFUSED}),
    Status.PARKED: frozenset({Status.QUEUED, Status.DISCARDED}),
    Status.DELIVERED: frozenset(),
    Status.REFUSED: frozenset(),
    Status.DISCARDED: frozenset(),
}

OPEN: Final = frozenset({Status.QUEUED, Status.SENDING, Status.PARKED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A message as it is handed in; `body` and `cpr_key` are sealed and hashed already."""

    recipient: UUID
    municipality_cvr: str
    case_key: str
    sender: UUID
    besked_id: UUID
    operation: str
    korrelations_id: UUID | None = None
    reference_besked_id: UUID | None = None
    nemrefusions_id: UUID | None = None
    sags_id: UUID | None = None
    cpr_key: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    body: bytes = field(repr=False)
    accepted_at: datetime
    call_uuid: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored(Entry):
    """A message as it lies in its lane; `receipt` is sealed."""

    message_id: int
    lane_id: int
    status: Status
    failures: int = 0
    first_attempt_at: datetime | None = None
    settled_at: datetime | None = None
    receipt: bytes | None = field(default=None, repr=False)
    detail: str = ""
    repeats: int = 0
    repeat_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right and the duty to send `messages` of one lane in order, until the lease ends."""

    owner: UUID
    token: UUID
    lane_id: int
    messages: tuple[Stored, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enqueued:
    """What came of handing a message in: `fresh` is False when another copy was there, which is then `message`."""

    message: Stored
    fresh: bool
    claim: Claim | None = None


class NotAsProvided(Exception):
    """What had to be so for a message to be put in its lane as a new one is not so; nothing was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How all lanes stand at one instant: what is due next, sent just now, and parked; what there was so far."""

    next: datetime | None
    in_flight: int
    parked: int
    messages: int
    attempts: int

    @property
    def counters(self) -> dict[str, int]:
        """Give the numbers that only grow; whatever happens moves one."""
        return {"messages": self.messages, "attempts": self.attempts}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When something that failed, or whose end is not known, is tried again."""

    ceiling: int = RETRY_CEILING
    give_up_after: timedelta = GIVE_UP
    repeats: tuple[timedelta, ...] = REPEATS

    def next_attempt(self, now: datetime, failures: int, jitter: float) -> datetime:
        """Say when a delivery that has just failed for the `failures`-th time is tried again; `jitter` is near 1."""
        return now + jitter * timedelta(seconds=min(self.ceiling, 2 ** min(failures, 30) - 1))

    def give_up(self, first_attempt_at: datetime, now: datetime) -> bool:
        """Say whether a person has to look at a message that has been tried since `first_attempt_at`."""
        return now - first_attempt_at >= self.give_up_after

    def repeat_at(self, now: datetime, repeats: int) -> datetime:
        """Say when a sender that holds G006 asks again, having asked `repeats` times."""
        return now + self.repeats[min(repeats, len(self.repeats) - 1)]


def check_move(source: Status, target: Status) -> None:
    """Refuse a move that the table of moves does not have."""
    if target not in TRANSITIONS[source]:
        raise ValueError(f"A message does not go from {source} to {target}.")


def jitter() -> float:
    """Give a factor near 1."""
    return random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)  # noqa: S311  spreads load, guards nothing


def seeded_jitter(seed: str) -> Callable[[], float]:
    """Give a source of factors near 1 that is the same at every start."""
    chance = random.Random(seed)  # noqa: S311  as above
    return lambda: chance.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)

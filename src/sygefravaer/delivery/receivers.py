# SPDX-License-Identifier: MPL-2.0
"""The receiving systems: how each is doing, so that one's trouble is not the others', and the connections to each."""

from __future__ import annotations

import ssl
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sygefravaer.agreements import Route
from sygefravaer.client import Client
from sygefravaer.contract.operations import Service
from sygefravaer.delivery.pace import Pace
from sygefravaer.errors import Unreachable

INLINE: Final = 64  # messages that callers may wait for at one receiver at a time; more are left to the worker
CONCURRENCY: Final = 16  # lanes that the worker carries at a time; one receiver gets at most half of them
PATIENCE: Final = 5  # failures in a row after which a receiver rests
REST_CEILING: Final = timedelta(seconds=60)


@dataclass(kw_only=True)
class Receiver:
    """How one receiving system is doing: what is on its way to it, and since how many messages it is silent."""

    pace: Pace
    inline: int = 0
    carried: int = 0
    failures: int = 0
    rests_until: datetime | None = None
    trying: bool = False  # one message is on its way to see whether it is back
    senders: Counter[UUID] = field(default_factory=Counter)  # whose messages the inline ones are

    def rests(self, now: datetime) -> bool:
        """Say whether it is left alone for now: until its rest ends, and then while one message tries it."""
        return self.rests_until is not None and (self.trying or now < self.rests_until)


class Place:
    """A place that a message has on its way to a receiver; left when the attempt is over."""

    def __init__(self, receiver: Receiver, sender: UUID | None) -> None:
        self._receiver = receiver
        self._sender = sender
        self._tries = receiver.rests_until is not None
        receiver.trying = receiver.trying or self._tries
        if sender is None:
            receiver.carried += 1
        else:
            receiver.inline += 1
            receiver.senders[sender] += 1

    def leave(self) -> None:
        """Give the place back."""
        receiver = self._receiver
        if self._tries:
            receiver.trying = False
        if self._sender is None:
            receiver.carried -= 1
            return
        receiver.inline -= 1
        receiver.senders[self._sender] -= 1
        if not receiver.senders[self._sender]:
            del receiver.senders[self._sender]


class Receivers:
    """
    Keeps one receiver's trouble from the others, and one sender's crowd from the other senders.

    Callers may wait for `inline` messages at one receiver at a time, one sender's callers for as many as there are
    places left: alone it has half of them, and whoever comes beside it finds room. The worker carries `carried` lanes
    to a receiver, or fewer where they would only wait in line (`Pace`). After `patience` failures in a row it rests,
    longer each time up to a minute; then one message tries it, and only when that has been answered do others follow.
    """

    def __init__(self, *, inline: int = INLINE, carried: int = CONCURRENCY // 2, patience: int = PATIENCE) -> None:
        self._inline = inline
        self._carried = carried
        self._patience = patience
        self._known: dict[UUID, Receiver] = {}

    def of(self, system_id: UUID) -> Receiver:
        """Give the receiver's state."""
        one = self._known.get(system_id)
        if one is None:
            one = self._known[system_id] = Receiver(pace=Pace(self._carried))
        return one

    def free(self, system_id: UUID, now: datetime, *, sender: UUID) -> bool:
        """Say whether a caller of `sender` may wait for this receiver now."""
        one = self.of(system_id)
        return one.senders[sender] < self._inline - one.inline and not one.rests(now)

    def enter(self, system_id: UUID, now: datetime, *, sender: UUID) -> Place | None:
        """Take a place for a caller of `sender`; None when there is none (any more)."""
        return Place(self.of(system_id), sender) if self.free(system_id, now, sender=sender) else None

    def carry(self, system_id: UUID) -> Place:
        """Take a place for the worker, which has asked for its `room` before."""
        return Place(self.of(system_id), None)

    def has_room(self, system_id: UUID, now: datetime) -> bool:
        """Say whether the worker may carry one lane more to a receiver now."""
        one = self.of(system_id)
        return one.carried < one.pace.limit and not one.rests(now)

    def busy(self, now: datetime) -> list[UUID]:
        """List the receivers that the worker leaves alone now."""
        return [system_id for system_id in self._known if not self.has_room(system_id, now)]

    def room(self, *, ahead: int = 0) -> dict[UUID, int]:
        """
        Say how many lanes the worker may take more for a receiver: one, to see whether it is back.

        For one that answers at once `ahead` more than it may carry to it: they have their turn in a moment.
        """
        room = {}
        for system_id, one in self._known.items():
            more = ahead if one.pace.quick and not one.failures else 0
            room[system_id] = 1 if one.rests_until is not None else max(0, one.pace.limit - one.carried) + more
        return room

    def rested(self, now: datetime) -> datetime | None:
        """Say when the next receiver will have rested."""
        ends = (one.rests_until for one in self._known.values() if one.rests_until is not None)
        return min((end for end in ends if end > now), default=None)

    def resting(self, now: datetime) -> int:
        """Count the receivers that rest."""
        return sum(one.rests(now) for one in self._known.values())

    def heard(self, system_id: UUID, now: datetime, *, answered: bool) -> None:
        """Take in whether a receiver has answered."""
        one = self.of(system_id)
        one.failures = 0 if answered else one.failures + 1
        one.rests_until = None
        if one.failures >= self._patience:
            one.rests_until = now + min(REST_CEILING, timedelta(seconds=2 ** min(one.failures - self._patience, 6)))


class Clients:
    """One client per receiving system and address, kept until the end; made with the callback certificate."""

    def __init__(self, tls: ssl.SSLContext, *, timeout: float = 40.0, connections: int = INLINE + CONCURRENCY) -> None:
        self._tls = tls
        self._timeout = timeout
        self._connections = connections
        self._open: dict[tuple[UUID, str], Client] = {}
        self._closed = False

    def to(self, way: Route) -> Client:
        """Give the client for this route."""
        key = (way.system_id, way.url)
        if self._closed:  # an attempt that comes late would open connections that nobody closes
            raise Unreachable
        if key not in self._open:
            self._open[key] = Client(
                way.url,
                service=way.service,
                tls=self._tls,
                timeout=self._timeout,
                limit=self._connections,
                callback=way.service is Service.SYGEFRAVAER_JC,
            )
        return self._open[key]

    async def close(self) -> None:
        """Close every connection, for good."""
        self._closed = True
        while self._open:
            _, client = self._open.popitem()
            await client.close()

# SPDX-License-Identifier: MPL-2.0
"""The worker: claims what is due, and has it carried as there is room."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

from sygefravaer import failpoint
from sygefravaer.clock import Clock
from sygefravaer.delivery import obligations
from sygefravaer.delivery.receivers import Receivers
from sygefravaer.errors import StoreError
from sygefravaer.lanes import IN_TURN, Claim, Lanes, Stored
from sygefravaer.store import Store

LOG: Final = logging.getLogger(__name__)

HANDFUL: Final = 8  # lanes per claim, so that one turn does not give all to one receiver
HELD_AHEAD: Final = 1.0  # seconds that a lane claimed ahead may wait here; far less than what its lease leaves over
REMIND: Final = 1.0  # seconds of machine time between looks for reminders that are due
POLL: Final = 1.0  # seconds within which what another node left behind is found

Carried = asyncio.Task[Stored | None]


@dataclass(kw_only=True, slots=True)
class Ahead:
    """Lanes of one receiver that are claimed and not begun, and since when."""

    claims: deque[Claim]
    since: float  # of machine time, from before their lease began

    @property
    def old(self) -> bool:
        """Say whether they have waited for too long to be begun on this lease."""
        return monotonic() - self.since > HELD_AHEAD


class Worker:
    """
    Claims what is due until `end`, and has each claim carried.

    To a receiver that answers at once a claim brings more lanes than may be under way to it; the next one begins when
    one ends, without asking the database. What has waited here for a moment, or for a receiver that rests by now, is
    handed back.
    """

    def __init__(
        self,
        *,
        store: Store,
        lanes: Lanes,
        receivers: Receivers,
        clock: Clock,
        owner: UUID,
        concurrency: int,
        carry: Callable[[Claim], Coroutine[Any, Any, Stored | None]],
        ended: Callable[[Carried, Claim], None],
        hand_back: Callable[[Claim], Awaitable[None]],
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._receivers = receivers
        self._clock = clock
        self._owner = owner
        self._concurrency = concurrency
        self._carry = carry
        self._ended = ended
        self._hand_back = hand_back
        self._ahead: dict[UUID, Ahead] = {}
        self._reminders = obligations.Reminders(store, clock)
        self._remind_at = 0.0  # of machine time
        self.carried: set[Carried] = set()
        self.wake = asyncio.Event()
        self.end = asyncio.Event()

    async def run(self) -> None:
        """Carry what is due until `end`; also what a process that died had claimed, once its lease has lapsed."""
        while not self.end.is_set():
            self.wake.clear()
            try:
                found, due = await self._turn()
                await self._remind()
            except StoreError as error:
                LOG.warning("worker.store", extra={"code": error.code})
                found, due = False, None
            except Exception:  # whatever a turn breaks on, the next one may not: deliveries never stand still for ever
                LOG.exception("worker.failed")
                found, due = False, None
            if found and self._clock.held and self.carried:
                await asyncio.wait(self.carried, timeout=IN_TURN, return_when=asyncio.FIRST_COMPLETED)
            elif not found:
                await self._clock.sleep_until(due, wake=self.wake, end=self.end, at_most=POLL)
        await self.give_back()

    async def give_back(self) -> None:
        """Hand back what is not to be begun: all of it at the end, else what is old or for a receiver that rests."""
        now, ending = self._clock.now(), self.end.is_set()
        for recipient, ahead in list(self._ahead.items()):
            if ending or ahead.old or self._receivers.of(recipient).rests(now):
                self._ahead.pop(recipient, None)
                try:
                    for claim in ahead.claims:
                        await self._hand_back(claim)
                except StoreError as error:  # their lease ends it
                    LOG.warning("worker.store", extra={"code": error.code})

    async def _remind(self) -> None:
        """Give reminders, when it is time to look for them."""
        if monotonic() >= self._remind_at:
            self._remind_at = monotonic() + REMIND
            await self._reminders.give()

    async def _turn(self) -> tuple[bool, datetime | None]:
        """Claim what is due and begin with it; say whether there was any, and when the next is."""
        await self.give_back()
        now, begun = self._clock.now(), monotonic()
        free = min(self._concurrency - len(self.carried), 1 if self._clock.held else HANDFUL)
        if free <= 0:
            return False, None
        avoid = {*self._receivers.busy(now), *self._ahead}
        async with self._store.tx() as tx:
            claims = await self._lanes.claim(
                tx,
                self._owner,
                now=now,
                lanes=free,
                avoid=avoid,
                room=self._receivers.room(ahead=HANDFUL),
                in_turn=not self._clock.held,
            )
            due = None if claims else await self._lanes.due(tx, avoid=avoid)
            failpoint.reach("claim.before_commit")
        failpoint.reach("claim.after_commit")
        for claim in claims:  # what there is room for begins however long the claim has taken
            recipient = claim.messages[0].recipient
            if self._has_room(recipient):
                self._start(claim)
            else:
                self._ahead.setdefault(recipient, Ahead(claims=deque(), since=begun)).claims.append(claim)
        ends = [instant for instant in (due, self._receivers.rested(now)) if instant is not None]
        return bool(claims), min(ends, default=None)

    def _begin(self) -> bool:
        """Begin with claimed lanes, as far as there is room; say whether there was one to begin with."""
        begun = False
        for recipient, ahead in list(self._ahead.items()):
            while ahead.claims and not ahead.old and self._has_room(recipient):
                self._start(ahead.claims.popleft())
                begun = True
            if not ahead.claims:
                del self._ahead[recipient]
        return begun

    def _has_room(self, recipient: UUID) -> bool:
        if self.end.is_set() or len(self.carried) >= self._concurrency:
            return False
        return self._receivers.has_room(recipient, self._clock.now())

    def _start(self, claim: Claim) -> None:
        place = self._receivers.carry(claim.messages[0].recipient)
        task = asyncio.create_task(self._carry(claim))
        self.carried.add(task)

        def over(task: Carried) -> None:
            place.leave()
            self.carried.discard(task)
            self._ended(task, claim)
            if not self._begin():
                self.wake.set()

        task.add_done_callback(over)

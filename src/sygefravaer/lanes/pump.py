# SPDX-License-Identifier: MPL-2.0
"""The loop that empties lanes: claim, send with no transaction open, settle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import uuid4

from sygefravaer import failpoint
from sygefravaer.clock import Clock
from sygefravaer.errors import StoreError
from sygefravaer.lanes.room import Lanes
from sygefravaer.lanes.values import OPEN, TRANSITIONS, Claim, Status, Stored
from sygefravaer.store import Store, Tx

POLL: Final = 1.0  # seconds of machine time between looks for what another process left behind
IN_TURN: Final = 1.0  # seconds of machine time that one thing waits for another's end while the clock is held

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one attempt came to. QUEUED is a failure, PARKED is for a person; `receipt` is sealed."""

    status: Status
    receipt: bytes | None = None
    detail: str = ""


Deliver = Callable[[Stored], Awaitable[Verdict]]
Settled = Callable[[Tx, Stored, Status, Verdict], Awaitable[None]]


async def _nothing_more(_tx: Tx, _message: Stored, _status: Status, _verdict: Verdict) -> None:
    """Leave the settlement at that."""


class Pump:
    """
    Claims what is due, sends it with no transaction open, settles it; and asks again for what is under way.

    `deliver` makes one attempt, in less time than the lease. For a message that is UNDER_WAY (a repeat) a verdict of
    UNDER_WAY or QUEUED means: ask again later. `settled` is called in the transaction that settles a message.

    While the clock is held it works in turns: one lane or repeat after the other, so that the order is always the same.
    """

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        deliver: Deliver,
        *,
        clock: Clock,
        concurrency: int = 8,
        settled: Settled = _nothing_more,
        poll: float = POLL,
    ) -> None:
        self.owner = uuid4()
        self._store = store
        self._lanes = lanes
        self._deliver = deliver
        self._settled = settled
        self._clock = clock
        self._concurrency = concurrency
        self._poll = poll
        self._wake = asyncio.Event()
        self._end = asyncio.Event()
        self._taken = 0  # claims and repeats that the database has given out and that no task holds yet
        self._work: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """Count the lanes and repeats in hand, from when they are taken until they are settled.

        In the database a repeat that is being asked for looks as one that is asked for later.
        """
        return self._taken + len(self._work)

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`; a database that is away is waited for."""
        try:
            while not self._end.is_set():
                self._wake.clear()
                try:
                    busy = await self._take()
                    due = None if busy else await self._due()
                except StoreError as error:
                    log.warning("pump.store_unavailable", extra={"error": error.code})
                    busy, due = False, None
                except Exception:
                    # Whatever a turn breaks on, the next one may not: nothing stands still for ever.
                    log.exception("pump.failed")
                    busy, due = False, None
                if busy and self._clock.held and self._work:
                    await asyncio.wait(self._work, timeout=IN_TURN, return_when=asyncio.FIRST_COMPLETED)
                elif not busy or len(self._work) >= self._concurrency:
                    await self._clock.sleep_until(due, wake=self._wake, end=self._end, at_most=self._poll)
            while self._work:
                await asyncio.wait(self._work)
        finally:
            for task in self._work:
                task.cancel()

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is being sent has been settled, and hands back the rest."""
        self._end.set()

    async def _take(self) -> bool:
        """Start on what is due, as far as there is room; say whether there was anything."""
        now, room = self._clock.now(), self._concurrency - len(self._work)
        if room <= 0:
            return not self._clock.held  # a turn does not wait for whoever gives no answer
        if self._clock.held:
            room = 1
        try:
            async with self._store.tx() as tx:
                claims = await self._lanes.claim(tx, self.owner, now=now, lanes=room, in_turn=not self._clock.held)
                again = await self._lanes.repeats(tx, now=now, limit=room - len(claims)) if room > len(claims) else []
                self._taken = len(claims) + len(again)
                failpoint.reach("pump.before_claim")
            failpoint.reach("pump.after_claim")
        finally:
            self._taken = 0
        for claim in claims:
            self._start(self._carry(claim))
        for message in again:
            self._start(self._repeat(message))
        return bool(claims or again)

    async def _due(self) -> datetime | None:
        async with self._store.read() as tx:
            return await self._lanes.due(tx)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The lease ends what this attempt began: the message goes again.
            log.error("pump.settle_failed", exc_info=error)

    async def _carry(self, claim: Claim) -> None:
        for message in claim.messages:
            if self._end.is_set():
                async with self._store.tx() as tx:
                    await self._lanes.release(tx, claim, next_at=self._clock.now())
                    failpoint.reach("pump.before_release")
                failpoint.reach("pump.after_release")
                return
            verdict, took = await self._attempt(message)
            async with self._store.tx() as tx:
                status = await self._lanes.settle(
                    tx,
                    claim,
                    message,
                    status=verdict.status,
                    now=self._clock.now(),
                    receipt=verdict.receipt,
                    detail=verdict.detail,
                    took=took,
                )
                if status is not None:
                    await self._settled(tx, message, status, verdict)
                failpoint.reach("pump.before_settle")
            failpoint.reach("pump.after_settle")
            if status is None or status in OPEN:
                return

    async def _repeat(self, message: Stored) -> None:
        verdict, took = await self._attempt(message)
        if verdict.status not in TRANSITIONS[Status.UNDER_WAY]:
            return
        async with self._store.tx() as tx:
            if await self._lanes.repeated(
                tx,
                message,
                status=verdict.status,
                now=self._clock.now(),
                receipt=verdict.receipt,
                detail=verdict.detail,
                owner=self.owner,
                took=took,
            ):
                await self._settled(tx, message, verdict.status, verdict)
            failpoint.reach("pump.before_repeated")
        failpoint.reach("pump.after_repeated")

    async def _attempt(self, message: Stored) -> tuple[Verdict, float]:
        """Make one attempt; give what it came to, and the seconds of machine time that it took."""
        begun = monotonic()
        failpoint.reach("pump.before_post")
        try:
            verdict = await self._deliver(message)
        except Exception as error:
            # Whatever an attempt breaks on, its message keeps its place and its lane waits.
            log.exception("pump.attempt_failed", extra={"operation": message.operation})
            verdict = Verdict(status=Status.QUEUED, detail=type(error).__name__)
        failpoint.reach("pump.after_post")
        return verdict, monotonic() - begun

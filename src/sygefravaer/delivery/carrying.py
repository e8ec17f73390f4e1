# SPDX-License-Identifier: MPL-2.0
"""How a message is accepted, carried, settled and answered."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, lru_cache
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

from sygefravaer import audit, failpoint
from sygefravaer.agreements import Route
from sygefravaer.client import Kind, Outcome, classify
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.conversations import Said
from sygefravaer.contract.messages import (
    SygefravaerResponse,
    TransportKvitteringType,
    kvittering_advarsel,
    kvittering_fejl,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Operation
from sygefravaer.delivery import browsing, obligations, rehashing, ways
from sygefravaer.delivery.nodes import Bell
from sygefravaer.delivery.receivers import CONCURRENCY, Clients, Receivers
from sygefravaer.delivery.sealed import BODY, RECEIPT
from sygefravaer.delivery.senders import Callers
from sygefravaer.delivery.ways import Way, Ways
from sygefravaer.delivery.worker import Worker
from sygefravaer.errors import CallFailed
from sygefravaer.lanes import OPEN, Claim, Enqueued, Entry, Lanes, Standing, Status, Stored
from sygefravaer.store import Proviso, Row, Store, Trail, Tx
from sygefravaer.telemetry import Metrics, Reading
from sygefravaer.vault import CannotOpen, Vault

LOG: Final = logging.getLogger(__name__)

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}|\d{3}")
_DIGITS: Final = re.compile(r"\d{6}")
BUSY: Final = timedelta(seconds=1)  # after which a move into a lane that is held is tried again

MIGRATIONS: Final = (
    """
    -- Ends that the sender has not heard of: refused or discarded after he was told that delivery was under way.
    CREATE TABLE unheard (
        message_id       bigint PRIMARY KEY,
        sender           uuid NOT NULL,
        municipality_cvr text NOT NULL,
        since            timestamptz NOT NULL,
        told_at          timestamptz,
        told_by          text NOT NULL DEFAULT ''
    );
    CREATE INDEX unheard_open ON unheard (since) WHERE told_at IS NULL;
    CREATE INDEX message_addressed ON message (recipient, besked_id);
    """,
    ways.MIGRATION,
    obligations.MIGRATION,
    rehashing.MIGRATION,
    browsing.MIGRATION,
    browsing.KEYS,
)

STATUS_OF: Final[Mapping[Kind, Status]] = {
    Kind.OK: Status.DELIVERED,
    Kind.ADVARSEL: Status.DELIVERED,
    Kind.FEJL: Status.REFUSED,
    Kind.CLIENT_FAULT: Status.PARKED,  # it will never read this; a person decides
    Kind.UNDER_WAY: Status.QUEUED,  # a receiver's G006 is no answer
    Kind.SILENCE: Status.QUEUED,
}
ACCEPTED: Final = """
SELECT message_id AS number, accepted_at, operation, sender, recipient, municipality_cvr, besked_id, korrelations_id,
       reference_besked_id, nemrefusions_id, status
FROM message WHERE message_id > %(after)s ORDER BY message_id LIMIT %(limit)s"""
_OLDEST: Final = "SELECT min(accepted_at) AS oldest FROM message WHERE status IN ('queued', 'sending')"
UNHEARD: Final = frozenset({Status.REFUSED, Status.DISCARDED})
EVENT_OF: Final[Mapping[Status, audit.Event]] = {
    Status.DELIVERED: audit.Event.MESSAGE_DELIVERED,
    Status.REFUSED: audit.Event.MESSAGE_REFUSED,
    Status.PARKED: audit.Event.MESSAGE_PARKED,
    Status.QUEUED: audit.Event.MESSAGE_ATTEMPTED,
}


# --- receipts ---


@cache
def fixed(operation: Operation, code: str) -> bytes:
    """Write the response element that the gateway itself gives: G006, or a FEJL of its own."""
    receipt = kvittering_advarsel(code) if code == "G006" else kvittering_fejl(code)
    return response(operation, receipt)


@lru_cache(maxsize=256)
def response(operation: Operation, receipt: TransportKvitteringType) -> bytes:
    """Write the response element of a send."""
    return codec.encode_reply(operation, SygefravaerResponse(TransportKvittering=receipt))


# --- delivery ---


class Delivery:
    """Accepts, carries, settles; and the worker that carries on what no caller waits for."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        environment: Environment,
        clients: Clients,
        lanes: Lanes | None = None,
        receivers: Receivers | None = None,
        concurrency: int = CONCURRENCY,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._vault = vault
        self._clock = clock
        self._clients = clients
        self._lanes = lanes or Lanes()
        self._receivers = receivers or Receivers(carried=max(1, concurrency // 2))
        self.callers = Callers()
        self._owner = uuid4()
        self._inline: set[asyncio.Task[Stored | None]] = set()
        self._behind: set[int] = set()  # lanes whose claim has ended and in which something is left
        self._ways = Ways(store, clock, environment=environment)
        self._worker = Worker(
            store=store,
            lanes=self._lanes,
            receivers=self._receivers,
            clock=clock,
            owner=self._owner,
            concurrency=concurrency,
            carry=self._carry,
            ended=self._over,
            hand_back=self._hand_back,
        )
        self._bell = Bell(store, self.wake)

    # --- what the corridor asks ---

    async def accept(
        self, tx: Tx, entry: Entry, *, trail: Trail, said: Said = (), proviso: Proviso | None = None
    ) -> Enqueued:
        """
        Put a message in its lane, `trail` with it, and claim a free lane unless the receiver is busy.

        Where `proviso` does not hold, or a copy is there, nothing is written and `NotAsProvided` is raised.

        `said` is what the message asks, answers or withdraws; it is written down in the same statement.
        """
        now = self._clock.now()
        trail = replace(trail, beside=obligations.said(said, municipality_cvr=entry.municipality_cvr))
        free = self._receivers.free(entry.recipient, now, sender=entry.sender)
        enqueued = await self._lanes.enqueue(
            tx, entry, owner=self._owner if free else None, trail=trail, proviso=proviso
        )
        if enqueued.fresh and not free and not self._receivers.of(entry.recipient).rests(now):
            self._bell.ring()  # nobody has it in hand: any node's worker may
        return enqueued

    async def find(self, tx: Tx, sender: UUID, besked_id: UUID) -> Stored | None:
        """Give the message that was accepted under this key."""
        return await self._lanes.find(tx, sender, besked_id)

    async def addressed_to(self, tx: Tx, recipient: UUID, besked_id: UUID) -> frozenset[str]:
        """Give the municipalities for which a message with this id was addressed to this system."""
        rows = await tx.all(
            "SELECT municipality_cvr FROM message WHERE recipient = %(recipient)s AND besked_id = %(besked_id)s",
            recipient=recipient,
            besked_id=besked_id,
        )
        return frozenset(row["municipality_cvr"] for row in rows)

    async def first_attempt(self, claim: Claim, way: Route, *, budget: float) -> Stored:
        """
        Carry a message that was just accepted, and wait for its end for `budget` seconds at most.

        The budget, or a caller who goes away, ends the waiting and not the attempt.
        """
        first = claim.messages[0]
        place = self._receivers.enter(first.recipient, self._clock.now(), sender=first.sender)
        if place is None:  # taken since the message was accepted: the worker carries it
            await self._hand_back(claim)
            self._bell.ring()
            return first
        task = asyncio.create_task(self._carry(claim, way))
        self._inline.add(task)

        def over(task: asyncio.Task[Stored | None]) -> None:
            place.leave()
            self._inline.discard(task)
            self._over(task, claim)

        task.add_done_callback(over)
        await asyncio.wait((task,), timeout=budget)
        ended = task.done() and not task.cancelled() and task.exception() is None
        return (task.result() if ended else None) or first

    def answer(self, message: Stored) -> bytes:
        """Give the response element as the message stands: the final receipt, always the same, or G006."""
        operation = OPERATIONS[message.operation]
        if message.receipt is not None:
            return self._vault.open(message.receipt, context=RECEIPT)
        return fixed(operation, "G006")

    async def told(self, message: Stored) -> None:
        """Note that the sender has been told the end of a message that was refused or discarded."""
        async with self._store.read() as tx:
            failpoint.reach("told.before_commit")
            await tx.run(
                "UPDATE unheard SET told_at = %(now)s, told_by = 'answer'"
                " WHERE message_id = %(message_id)s AND told_at IS NULL",
                message_id=message.message_id,
                now=self._clock.now(),
            )
            failpoint.reach("told.after_commit")

    # --- carrying: the same for a caller who waits and for the worker ---

    def _over(self, task: asyncio.Task[Stored | None], claim: Claim) -> None:
        """Wake the worker when what has ended leaves something to do."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:  # its lease ends it, and the message goes again
            LOG.error("delivery.failed", exc_info=error, extra={"lane": claim.lane_id})
            return
        ended = task.result()
        if claim.lane_id in self._behind or (ended is not None and ended.status is Status.QUEUED):
            self._behind.discard(claim.lane_id)
            self.wake()

    async def _carry(self, claim: Claim, way: Route | None = None) -> Stored | None:
        """Send the messages of a claim in order and settle each; give the last as it stands, if it is still ours."""
        try:
            return await self._carry_all(claim, way)
        except asyncio.CancelledError:  # cut off by a stop: nobody is to wait for the lease
            if self._worker.end.is_set():
                await self._abandon(claim)
            raise

    async def _carry_all(self, claim: Claim, way: Route | None) -> Stored | None:
        carried: Stored | None = None
        for message in claim.messages:
            if carried is not None and self._worker.end.is_set():
                await self._hand_back(claim)
                break
            if way is None:
                await self.callers.first()
            found = await self._ways.of(message) if way is None else Way(route=way)
            if found.route is not None and found.moves:
                return await self._move(claim, message, found.route)
            begun = monotonic()
            outcome = _stuck(found.stuck) if found.route is None else await self._attempt(message, found.route)
            took = monotonic() - begun
            carried = await self._settle(claim, message, outcome, took=took, awaited=way is not None)
            if carried is None or carried.status in {Status.QUEUED, Status.PARKED}:
                break
        return carried

    async def _abandon(self, claim: Claim) -> None:
        """Let whoever claims next begin at once, with an attempt of unknown outcome written down."""
        failpoint.reach("abandon.before_commit")
        async with self._store.read() as tx:
            await self._lanes.abandon(tx, claim)
        failpoint.reach("abandon.after_commit")

    async def _hand_back(self, claim: Claim) -> None:
        """Leave what of a claim has not been sent to whoever claims it next."""
        failpoint.reach("release.before_commit")
        async with self._store.read() as tx:
            await self._lanes.release(tx, claim, next_at=self._clock.now())
        failpoint.reach("release.after_commit")

    async def _move(self, claim: Claim, message: Stored, way: Route) -> Stored | None:
        """Let a message that this lane's system has surely not had go to another, with what lies behind it."""
        now = self._clock.now()
        async with self._store.tx() as tx:
            moving, why = ways.movable(self._vault, await ways.in_lane(tx, claim.lane_id), way)
            if moving and not await ways.move(
                tx, self._lanes, claim.lane_id, moving, way, who=ways.BY_ROUTE, now=now, token=claim.token
            ):  # somebody holds the lane it goes to: in a moment
                await self._lanes.release(tx, claim, next_at=now + BUSY)
            failpoint.reach("move.before_commit")
        failpoint.reach("move.after_commit")
        if not moving:
            return await self._settle(claim, message, _stuck(why))
        return replace(message, status=Status.QUEUED)

    async def _attempt(self, message: Stored, way: Route) -> Outcome:
        """Send a message once, with no transaction open."""
        operation = OPERATIONS[message.operation]
        try:
            element = self._vault.open(message.body, context=BODY)
        except CannotOpen:
            return _stuck(ways.SEALED)
        begun = monotonic()
        failpoint.reach("attempt.before_post")
        try:
            outcome = classify(await self._clients.to(way).post(element, operation))
        except CallFailed as error:
            outcome = classify(error)
        except Exception as error:  # whatever it breaks on, the message keeps its place, and its lane waits
            LOG.exception("delivery.attempt_failed", extra={"lane": message.lane_id})
            outcome = classify(error)
        failpoint.reach("attempt.after_post")
        if self._metrics is not None:
            self._metrics.attempted(operation.name, outcome.kind.value)
        answered = outcome.kind is not Kind.SILENCE
        self._receivers.heard(message.recipient, self._clock.now(), answered=answered)
        if answered:
            self._receivers.of(message.recipient).pace.took(monotonic() - begun, monotonic())
        return outcome

    async def _settle(
        self, claim: Claim, message: Stored, outcome: Outcome, *, took: float | None = None, awaited: bool = True
    ) -> Stored | None:
        """
        Write down what came of an attempt; None when the message was somebody else's by then.

        Delivered with nobody waiting, it need not wait for the disk: what a crash loses of it goes again.
        """
        now = self._clock.now()
        receipt, detail, wanted = None, _safe(outcome.detail), STATUS_OF[outcome.kind]
        if wanted is Status.QUEUED and self._lanes.schedule.give_up(message.first_attempt_at or now, now):
            wanted, detail = Status.PARKED, f"given up {detail}"
        if outcome.receipt is not None and wanted in {Status.DELIVERED, Status.REFUSED}:
            element = response(OPERATIONS[message.operation], outcome.receipt)
            receipt = self._vault.seal(element, context=RECEIPT)
        trail = audit.trail(
            EVENT_OF[wanted],
            now=now,
            call_uuid=message.call_uuid,
            system=message.recipient,
            municipality_cvr=message.municipality_cvr,
            operation=message.operation,
            besked_id=message.besked_id,
            cpr_key=message.cpr_key,
            code=outcome.kind.value,
            reason=detail,
        )
        trail = replace(trail, beside=obligations.settled(OPERATIONS[message.operation].conversation, wanted, now=now))
        failpoint.reach("settle.before_commit")
        # One statement needs no transaction; a refusal also leaves a debt.
        async with self._store.tx() if wanted is Status.REFUSED else self._store.read() as tx:
            status = await self._lanes.settle(
                tx,
                claim,
                message,
                status=wanted,
                now=now,
                receipt=receipt,
                detail=detail,
                took=took,
                trail=trail,
                behind=lambda: self._behind.add(claim.lane_id),
                loosely=wanted is Status.DELIVERED and not awaited,
            )
            if status is Status.REFUSED:
                await owe(tx, message, now)
        failpoint.reach("settle.after_commit")
        if status is Status.PARKED:
            self._alarm(message, detail)
        if status is Status.DELIVERED and self._metrics is not None:
            self._metrics.delivered(message.operation, (now - message.accepted_at).total_seconds())
        return None if status is None else replace(message, status=status, receipt=receipt, detail=detail)

    def _alarm(self, message: Stored, cause: str) -> None:
        """Say aloud that a message is stuck; `message.parked` in the record says the same, and `cause` groups them."""
        LOG.warning(
            "delivery.alarm",
            extra={
                "number": message.message_id,
                "operation": message.operation,
                "municipality": message.municipality_cvr,
                "system": str(message.recipient),
                "cause": cause,
            },
        )

    # --- the worker ---

    def wake(self) -> None:
        """Look for work now."""
        self._worker.wake.set()

    async def run(self) -> None:
        """Have the worker carry what is due until stopped."""
        listening = asyncio.create_task(self._bell.run())
        try:
            await self._worker.run()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def end(self) -> None:
        """Let the worker take nothing more; what is being sent, and what callers still bring, goes on."""
        self._worker.end.set()

    async def stop(self, *, patience: float = 45.0) -> None:
        """Take nothing new, finish what is being sent within `patience` seconds, hand back the rest to other nodes."""
        self.end()
        under_way = self._inline | self._worker.carried
        if under_way:
            await asyncio.wait(under_way, timeout=patience)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._worker.give_back()
        await self._bell.call()

    # --- how it is going ---

    async def counts(self) -> dict[str, int]:
        """Count what has not ended, and what has ended without its sender having heard of it."""
        async with self._store.read() as tx:
            open_ones = await self._lanes.counts(tx)
            row = await tx.one("SELECT count(*) AS number FROM unheard WHERE told_at IS NULL")
        numbers = {status.value: number for status, number in open_ones.items() if status in OPEN}
        return numbers | {"unheard": row["number"] if row else 0}

    async def readings(self) -> list[Reading]:
        """Read what is shown of messages, receivers and debts; one that rests is silent to everybody."""
        now = self._clock.now()
        found = [Reading(name="receivers_resting", value=self._receivers.resting(now))]
        async with self._store.read() as tx:
            standing, row = await self._lanes.counts(tx), await tx.one(_OLDEST)
            debts = await obligations.counted(tx, now)
        found += [
            Reading(name="messages", value=number, labels={"status": status.value})
            for status, number in standing.items()
            if status in OPEN
        ]
        oldest = row["oldest"] if row else None
        found.append(Reading(name="oldest_message_seconds", value=0 if oldest is None else _age(oldest, now)))
        for kind, number, overdue in debts:
            found.append(Reading(name="obligations", value=number, labels={"kind": kind}))
            found.append(Reading(name="obligations_overdue", value=overdue, labels={"kind": kind}))
        return found

    async def due(self) -> tuple[datetime | None, int]:
        """Say when the next message is due, and how many are on their way."""
        standing = await self.standing()
        return standing.next, standing.in_flight

    async def standing(self) -> Standing:
        """Say how all lanes stand; what waits for a receiver that rests is due when it will have rested."""
        now = self._clock.now()
        async with self._store.read() as tx:
            standing = await self._lanes.standing(tx)
            first, rested = standing.next, self._receivers.rested(now)
            if first is not None and rested is not None:
                free = await self._lanes.due(tx, avoid=self._receivers.busy(now))
                waiting = first if first == free else max(first, rested)
                first = min(at for at in (free, waiting) if at is not None)
        in_flight = max(standing.in_flight, len(self._inline) + len(self._worker.carried))
        return replace(standing, next=first, in_flight=in_flight)

    async def accepted(self, *, after: int, limit: int) -> list[Row]:
        """List the messages that were accepted after the one with this number, in the order of acceptance."""
        async with self._store.read() as tx:
            return await tx.all(ACCEPTED, after=after, limit=limit)


def _age(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())


async def owe(tx: Tx, message: Stored, now: datetime) -> None:
    """Note an end that the sender must still hear of."""
    await tx.run(
        "INSERT INTO unheard (message_id, sender, municipality_cvr, since)"
        " VALUES (%(message_id)s, %(sender)s, %(municipality_cvr)s, %(now)s) ON CONFLICT DO NOTHING",
        message_id=message.message_id,
        sender=message.sender,
        municipality_cvr=message.municipality_cvr,
        now=now,
    )


def _stuck(why: str) -> Outcome:
    return Outcome(kind=Kind.CLIENT_FAULT, receipt=None, raw=None, detail=why)


def _safe(detail: str) -> str:
    """Keep of a receiver's word what looks like codes: nobody knows what else he writes there."""
    return " ".join(word for word in detail.split() if _CODE.fullmatch(word) and not _DIGITS.search(word))

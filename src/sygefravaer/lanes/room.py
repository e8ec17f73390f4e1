# SPDX-License-Identifier: MPL-2.0
"""The verbs on lanes: every one is given a transaction, and most are one statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid4

from sygefravaer.errors import Conflict
from sygefravaer.lanes import statements
from sygefravaer.lanes.turns import Turns
from sygefravaer.lanes.values import (
    BATCH,
    LEASE,
    OPEN,
    Claim,
    Enqueued,
    Entry,
    NotAsProvided,
    Schedule,
    Standing,
    Status,
    Stored,
    check_move,
    jitter,
)
from sygefravaer.store import Proviso, Row, Trail, Tx


class Lanes:
    """The lanes of one schema, with the schedule and the lease they are worked by."""

    def __init__(
        self,
        *,
        schedule: Schedule | None = None,
        lease: timedelta = LEASE,
        jitter: Callable[[], float] = jitter,
    ) -> None:
        self.schedule = schedule or Schedule()
        self.lease = lease
        self._jitter = jitter
        self._turns = Turns()

    async def enqueue(
        self,
        tx: Tx,
        entry: Entry,
        *,
        owner: UUID | None = None,
        trail: Trail | None = None,
        proviso: Proviso | None = None,
    ) -> Enqueued:
        """
        Put a message at the end of its lane, and `trail` with it, in one statement.

        Where `proviso` does not hold (any more), or a copy is there, nothing is written and `NotAsProvided` is raised.

        With an `owner` a free lane is claimed for him at once. When a copy with the same key is there, or commits
        while this one waits for it, nothing is written and the copy is given. The second needs `tx` to be one of
        `Store.read`; a larger transaction has to begin anew (`Conflict`, then `StoreError`).
        """
        token = uuid4() if owner else None
        params = {name: getattr(entry, name) for name in statements.ENTRY}
        params |= {"owner": owner, "token": token, "lease": self.lease}
        if proviso is not None:
            params |= proviso.params
        body = _provided(proviso.condition if proviso else None)
        try:
            row = await _carried(tx, body, statements.ENQUEUE_END, params, trail)
        except Conflict:  # a copy was faster, and of this one nothing is left
            row = {}
        if not row:
            if proviso is not None:
                raise NotAsProvided
            kept = await self.find(tx, entry.sender, entry.besked_id)
            return Enqueued(message=_there(kept), fresh=False)
        known = {name: getattr(entry, name) for name in statements.ENTRY}
        stored = Stored(**known, message_id=row["message_id"], lane_id=row["lane_id"], status=Status(row["status"]))
        if owner is None or token is None or not row["claimed"]:
            return Enqueued(message=stored, fresh=True)
        claim = Claim(owner=owner, token=token, lane_id=stored.lane_id, messages=(stored,))
        return Enqueued(message=stored, fresh=True, claim=claim)

    async def find(self, tx: Tx, sender: UUID, besked_id: UUID) -> Stored | None:
        """Give the message with this key, or None."""
        return _stored(await tx.one(statements.FIND, sender=sender, besked_id=besked_id))

    async def get(self, tx: Tx, message_id: int) -> Stored | None:
        """Give the message with this number, or None."""
        return _stored(await tx.one(statements.GET, message_id=message_id))

    async def parked(self, tx: Tx, *, limit: int = 1000) -> list[Stored]:
        """Give what waits for a person, oldest first."""
        return [_there(_stored(row)) for row in await tx.all(statements.LIST_PARKED, limit=limit)]

    async def claim(
        self,
        tx: Tx,
        owner: UUID,
        *,
        now: datetime,
        lanes: int = 1,
        messages: int = BATCH,
        avoid: Collection[UUID] = (),
        room: Mapping[UUID, int] | None = None,
        in_turn: bool = True,
    ) -> list[Claim]:
        """
        Take the first messages of up to `lanes` lanes that are due, none for `avoid`, for others as `room` says.

        Recipients take turns, and for each recipient its municipalities; of a municipality's lanes the oldest is taken.
        `in_turn` false: by age alone, which is the same whatever was claimed before. What a lapsed lease left behind
        goes back first, with an attempt whose outcome is unknown.
        """
        token, room = uuid4(), room or {}
        rows = await tx.all(
            statements.CLAIM_LANES,
            owner=owner,
            token=token,
            lease=self.lease,
            now=now,
            lanes=lanes,
            avoid=list(avoid),
            limited=list(room),
            limits=list(room.values()),
            in_turn=in_turn,
            **self._turns.asked(),
        )
        if not rows:
            return []
        rows.sort(key=_turn)
        self._turns.had(rows)
        if lapsed := [row["lane_id"] for row in rows if row["lapsed"]]:
            await tx.run(statements.PUT_BACK_LAPSED, lane_ids=lapsed, now=now)
        lane_ids = [row["lane_id"] for row in rows]
        taken: dict[int, list[Stored]] = {lane_id: [] for lane_id in lane_ids}
        for row in await tx.all(statements.CLAIM_MESSAGES, lane_ids=lane_ids, messages=messages):
            taken[row["lane_id"]].append(_there(_stored(row)))
        return [
            Claim(owner=owner, token=token, lane_id=lane_id, messages=tuple(sorted(found, key=_number)))
            for lane_id, found in taken.items()
        ]

    async def settle(
        self,
        tx: Tx,
        claim: Claim,
        message: Stored,
        *,
        status: Status,
        now: datetime,
        receipt: bytes | None = None,
        detail: str = "",
        took: float | None = None,
        trail: Trail | None = None,
        behind: Callable[[], None] | None = None,
        loosely: bool = False,
    ) -> Status | None:
        """
        Say what came of sending `message`, in so many seconds, and write `trail` with it; give the status it has now.

        QUEUED is a failure: the message and those behind it wait for the back-off, or a person (PARKED) after five
        days. The claim ends with its last message, a failure or a parking. None: the claim was somebody else's by
        then, or the message was settled; nothing changed but the attempt log. `behind` is called when the claim has
        ended and something is left in the lane, whoever accepted it. `loosely` does not wait for the disk, for all of
        the transaction: a crash of the database server before the next commit that waits makes the outcome unknown.
        """
        check_move(Status.SENDING, status)
        failed = status is Status.QUEUED
        if failed and self.schedule.give_up(message.first_attempt_at or now, now):
            status = Status.PARKED
        next_at = self.schedule.next_attempt(now, message.failures + 1, self._jitter()) if failed else now
        repeat_at = self.schedule.repeat_at(now, 0) if status is Status.UNDER_WAY else None
        last = message.message_id == claim.messages[-1].message_id
        params = {
            "lane_id": claim.lane_id,
            "token": claim.token,
            "owner": claim.owner,
            "lease": self.lease,
            "message_id": message.message_id,
            "municipality_cvr": message.municipality_cvr,
            "status": status.value,
            "closes": int(status not in OPEN),
            "parks": status is Status.PARKED,
            "ends": status in OPEN or last,
            "counts": int(failed),
            "next_at": next_at,
            "repeat_at": repeat_at,
            "receipt": receipt,
            "detail": detail,
            "took": took,
            "again_at": next_at if status is Status.QUEUED else repeat_at,
            "now": now,
        }
        body = statements.SETTLE if last or status not in OPEN else statements.SETTLE + statements.SETTLE_BACK
        end = statements.SETTLE_LOOSELY if loosely else statements.SETTLE_END
        row = await _carried(tx, body, end, params, trail)
        if row["behind"] and behind is not None:
            behind()
        return None if row["stale"] else status

    async def release(self, tx: Tx, claim: Claim, *, next_at: datetime) -> bool:
        """Hand back what of a claim has not been settled, due at `next_at`, without counting a failure."""
        return bool(await tx.all(statements.RELEASE, lane_id=claim.lane_id, token=claim.token, next_at=next_at))

    async def abandon(self, tx: Tx, claim: Claim) -> bool:
        """
        End the lease of a claim whose attempt was cut off, so that nobody waits for it.

        Who claims the lane next puts its messages back, with an attempt whose outcome is unknown.
        """
        return await tx.run(statements.ABANDON, lane_id=claim.lane_id, token=claim.token) > 0

    async def extend(self, tx: Tx, claim: Claim) -> bool:
        """Start the lease anew; False when the claim is somebody else's by now."""
        return await tx.run(statements.EXTEND, lane_id=claim.lane_id, token=claim.token, lease=self.lease) > 0

    async def replay(self, tx: Tx, message_id: int, *, now: datetime) -> bool:
        """Let a parked message go again, its five days anew; False when it is not parked."""
        check_move(Status.PARKED, Status.QUEUED)
        return await tx.run(statements.REPLAY, message_id=message_id, now=now) > 0

    async def discard(self, tx: Tx, message_id: int, *, receipt: bytes, now: datetime, reason: str) -> bool:
        """End a parked message for good with `receipt` (sealed), so that its lane goes on; False when not parked."""
        check_move(Status.PARKED, Status.DISCARDED)
        return await tx.run(statements.DISCARD, message_id=message_id, receipt=receipt, now=now, detail=reason) > 0

    async def move(
        self,
        tx: Tx,
        lane_id: int,
        message_ids: Collection[int],
        *,
        recipient: UUID,
        now: datetime,
        token: UUID | None = None,
    ) -> bool:
        """
        Put messages of a lane that have not ended into the same case's lane of another recipient; needs `Store.tx`.

        They keep their order, also among those that are there, are due at once, and begin anew: no failures, five
        days. With a `token` the mover holds the lane they leave, and gives it up. False, and nothing is changed, while
        somebody else holds either lane.
        """
        await tx.run(statements.MOVE_TARGET, lane_id=lane_id, recipient=recipient, now=now)
        rows = await tx.all(statements.MOVE_LOCK, lane_id=lane_id, recipient=recipient)
        holders = {row["lane_id"]: row["token"] for row in rows}
        held = holders.pop(lane_id)
        ((target, other),) = holders.items()
        if held != token or other is not None:
            return False
        await tx.run(
            statements.MOVE,
            lane_id=lane_id,
            target=target,
            message_ids=list(message_ids),
            recipient=recipient,
            now=now,
        )
        return True

    async def repeats(self, tx: Tx, *, now: datetime, limit: int = BATCH) -> list[Stored]:
        """Take what is to be asked for again; the next time to ask is set at once, so no lease is needed."""
        due = [_there(_stored(row)) for row in await tx.all(statements.REPEATS_DUE, now=now, limit=limit)]
        if due:
            later = [
                {"message_id": each.message_id, "repeat_at": self.schedule.repeat_at(now, each.repeats + 1)}
                for each in due
            ]
            await tx.many(statements.REPEAT_NEXT, later)
        return due

    async def repeated(
        self,
        tx: Tx,
        message: Stored,
        *,
        status: Status,
        now: datetime,
        receipt: bytes | None = None,
        detail: str = "",
        owner: UUID | None = None,
        took: float | None = None,
    ) -> bool:
        """Settle a message whose end a repeat has brought: DELIVERED or REFUSED; False when it was settled before."""
        check_move(Status.UNDER_WAY, status)
        row = await tx.one(
            statements.REPEATED,
            message_id=message.message_id,
            municipality_cvr=message.municipality_cvr,
            status=status.value,
            receipt=receipt,
            now=now,
            detail=detail,
            owner=owner,
            took=took,
        )
        return row is not None and not row["stale"]

    async def due(self, tx: Tx, *, avoid: Collection[UUID] = ()) -> datetime | None:
        """Say when the next thing is due that nobody holds, none of it for `avoid`; None when there is nothing."""
        row = await tx.one(statements.DUE, avoid=list(avoid))
        due: datetime | None = row["due"] if row else None
        return due

    async def standing(self, tx: Tx) -> Standing:
        """Say how all lanes stand, in one statement: at two instants a message could be neither due nor in flight."""
        row = await tx.one(statements.STANDING, avoid=[])
        return Standing(**(row or {}))

    async def counts(self, tx: Tx) -> dict[Status, int]:
        """Count what has not ended, by status."""
        found = {row["status"]: row["number"] for row in await tx.all(statements.COUNTS)}
        return {status: found.get(status.value, 0) for status in (*sorted(OPEN), Status.UNDER_WAY)}


async def _carried(tx: Tx, body: str, end: str, params: Mapping[str, object], trail: Trail | None) -> Row:
    trails = trail.all if trail else ()
    added = {name: value for each in trails for name, value in each.params.items()}
    return await tx.one(_woven(body, end, *(each.statement for each in trails)), **params, **added) or {}


@lru_cache(maxsize=16)
def _provided(condition: str | None) -> str:
    """Put a condition into the statement that enqueues; the same text each time."""
    return statements.ENQUEUE.replace("{provided}", f" AND {condition}" if condition else "")


@lru_cache(maxsize=256)
def _woven(body: str, end: str, *carried: str) -> str:
    """Put statements that go along into another one; the same text each time, so that its hash is known."""
    return body + "".join(f", trail_{number} AS ({each})" for number, each in enumerate(carried)) + end


def _turn(row: Row) -> int:
    number: int = row["number"]
    return number


def _number(message: Stored) -> int:
    return message.message_id


def _stored(row: Row | None) -> Stored | None:
    if row is None:
        return None
    known = {name: row[name] for name in statements.STORED}
    known["status"] = Status(known["status"])
    return Stored(**known)


def _there(stored: Stored | None) -> Stored:
    if stored is None:
        raise LookupError("A message that was just seen is gone.")
    return stored

# SPDX-License-Identifier: MPL-2.0
"""
Which way a message goes when the route of its municipality leads to another system by now.

What the old system has surely not had moves to the new one, with what lies behind it; what it may have stays until the
old system has answered, so that nothing is delivered to both or to none (`docs/decisions/0013-routes.md`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

from sygefravaer import agreements, audit
from sygefravaer.agreements import Route, danish_day
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import OPERATIONS, Environment, Service, check_recipient, current_numbers
from sygefravaer.delivery.sealed import read_body
from sygefravaer.errors import Refused, SygefravaerError
from sygefravaer.lanes import Lanes, Stored
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import CannotOpen, Vault

NO_ROUTE: Final = "no route"
ANOTHER_SYSTEM: Final = "the route leads to another system"
OTHER_RECIPIENT: Final = "the message names another system"
SUBSTITUTE: Final = "the system takes no substitute numbers"
SEALED: Final = "the body cannot be opened"
SAME_WAY: Final = 0.2  # seconds for which messages go the way of one before them, unasked
BY_ROUTE: Final = "route"  # who moved a message when no person did

MIGRATION: Final = """
    -- Messages that went from one system's lane to another's: what was tried before was tried with `source`.
    CREATE TABLE moved (
        moved_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        message_id       bigint NOT NULL,
        municipality_cvr text NOT NULL,
        at               timestamptz NOT NULL,
        who              text NOT NULL,
        source           uuid NOT NULL,
        target           uuid NOT NULL,
        attempts         bigint NOT NULL
    );
    CREATE INDEX moved_message ON moved (message_id);
    -- Parked messages that a person let go again, and by which plan.
    CREATE TABLE replay (
        replay_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        message_id       bigint NOT NULL,
        municipality_cvr text NOT NULL,
        at               timestamptz NOT NULL,
        who              text NOT NULL,
        plan             text NOT NULL,
        recipient        uuid NOT NULL
    );
    CREATE INDEX replay_message ON replay (message_id);
    -- What a plan was asked for; what it shows is read anew when it is carried out, and compared.
    CREATE TABLE plan (
        digest  text PRIMARY KEY,
        kind    text NOT NULL,
        asked   jsonb NOT NULL,
        made_at timestamptz NOT NULL
    );
    """

# Of an attempt at the system whose lane it is in now: whether that system may have the message. Surely not when no
# connection was made, and when it was parked without being sent or by a Client fault, which says that it was not read.
MAY_HAVE: Final = """EXISTS (
    SELECT FROM attempt
    WHERE attempt.message_id = message.message_id
      AND attempt.attempt_id > coalesce(
          (SELECT max(moved.attempts) FROM moved WHERE moved.message_id = message.message_id), 0)
      AND (attempt.outcome IN ('unknown', 'delivered', 'refused')
        OR attempt.outcome = 'queued' AND attempt.detail <> 'Unreachable'
        OR attempt.outcome = 'parked' AND attempt.detail LIKE 'given up%%' AND attempt.detail <> 'given up Unreachable')
)"""

_MAY_HAVE: Final = f"SELECT {MAY_HAVE} AS may_have FROM message WHERE message_id = %(message_id)s"

_IN_LANE: Final = f"""
SELECT message_id, municipality_cvr, operation, besked_id, cpr_key, body, recipient, {MAY_HAVE} AS may_have
FROM message WHERE lane_id = %(lane_id)s AND status IN ('queued', 'sending', 'parked')
ORDER BY message_id"""

_MOVED: Final = """
INSERT INTO moved (message_id, municipality_cvr, at, who, source, target, attempts)
SELECT message_id, municipality_cvr, %(now)s, %(who)s, %(source)s, %(target)s,
       coalesce((SELECT max(attempt_id) FROM attempt WHERE attempt.message_id = message.message_id), 0)
FROM message WHERE message_id = ANY (%(message_ids)s)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Where a message goes: by `route`, into the lane of its system first if it `moves`; or why it does not go."""

    route: Route | None = None
    moves: bool = False
    stuck: str = ""
    old: bool = False  # for this message alone: the next one of its lane moves

    @property
    def lasts(self) -> bool:
        """Say whether another message of the same municipality to the same system goes it too."""
        return self.route is not None and not (self.moves or self.old)


class Ways:
    """Finds the way of messages. One that lasts is gone by the next messages like it for a moment, unasked."""

    def __init__(self, store: Store, clock: Clock, *, environment: Environment) -> None:
        self._store = store
        self._clock = clock
        self._environment = environment
        self._lately: dict[tuple[UUID, str, Service], tuple[float, Way]] = {}

    async def of(self, message: Stored) -> Way:
        """Find the way of a message whose lane is held."""
        kind = (message.recipient, message.municipality_cvr, OPERATIONS[message.operation].service)
        asked = monotonic()
        until, way = self._lately.get(kind, (0.0, None))
        if way is not None and asked < until:
            return way
        async with self._store.read() as tx:
            way = await way_of(tx, message, environment=self._environment, now=self._clock.now())
        if way.lasts and not self._clock.held:
            self._lately[kind] = (asked + SAME_WAY, way)
        return way


async def way_of(tx: Tx, message: Stored, *, environment: Environment, now: datetime) -> Way:
    """Find the way of a message whose lane is held: today's route, or the old system's last one if it may have it."""
    service, cvr = OPERATIONS[message.operation].service, message.municipality_cvr
    today = await agreements.route(tx, environment=environment, service=service, municipality_cvr=cvr, now=now)
    if today is None:
        return Way(stuck=NO_ROUTE)
    if today.system_id == message.recipient:
        return Way(route=today)
    row = await tx.one(_MAY_HAVE, message_id=message.message_id)
    if not (row and row["may_have"]):
        return Way(route=today, moves=True)
    old = await agreements.last_route(tx, service=service, municipality_cvr=cvr, system_id=message.recipient, now=now)
    if old is None or not today.lets_finish(danish_day(now)):
        return Way(stuck=ANOTHER_SYSTEM)
    return Way(route=old, old=True)


def unfit(vault: Vault, row: Row, route: Route) -> str:
    """Say why a message cannot go to another system than it was accepted for; empty when it can."""
    operation = OPERATIONS[row["operation"]]
    try:
        message = read_body(vault, operation, row["body"])
        check_recipient(message, route.system_id)
    except Refused:
        return OTHER_RECIPIENT
    except (CannotOpen, SygefravaerError):
        return SEALED
    barred = not (operation.to_ksd or route.takes_substitute)
    return SUBSTITUTE if barred and any(number.substitute for _, number in current_numbers(message)) else ""


async def in_lane(tx: Tx, lane_id: int) -> list[Row]:
    """Give what has not ended in a lane, in order, and of each whether the lane's system may have it."""
    return await tx.all(_IN_LANE, lane_id=lane_id)


def movable(vault: Vault, rows: Sequence[Row], route: Route, *, forced: Collection[int] = ()) -> tuple[list[Row], str]:
    """
    Give what of a lane can move to the system of `route`, from its head on, and why the next one cannot.

    A message that the lane's system may have moves only if it is `forced`.
    """
    moving: list[Row] = []
    for row in rows:
        if row["may_have"] and row["message_id"] not in forced:
            return moving, ANOTHER_SYSTEM
        if why := unfit(vault, row, route):
            return moving, why
        moving.append(row)
    return moving, ""


async def move(
    tx: Tx,
    lanes: Lanes,
    lane_id: int,
    moving: Sequence[Row],
    route: Route,
    *,
    who: str,
    now: datetime,
    token: UUID | None = None,
) -> bool:
    """Move messages of a lane to the system of `route`, each with its audit row; False while a lane is held."""
    ids = [row["message_id"] for row in moving]
    if not await lanes.move(tx, lane_id, ids, recipient=route.system_id, now=now, token=token):
        return False
    source = moving[0]["recipient"]
    await tx.run(_MOVED, message_ids=ids, now=now, who=who, source=source, target=route.system_id)
    for row in moving:
        await audit.record(
            tx,
            audit.Event.MESSAGE_MOVED,
            now=now,
            system=route.system_id,
            municipality_cvr=row["municipality_cvr"],
            operation=row["operation"],
            besked_id=row["besked_id"],
            cpr_key=row["cpr_key"],
            reason=ANOTHER_SYSTEM,
            detail={"by": who, "from": source},
        )
    return True

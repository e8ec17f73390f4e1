# SPDX-License-Identifier: MPL-2.0
"""
The status record: what each round of probes found, and what is told from it.

A round belongs to a slot of its length on the machine's clock. A slot in which nobody measured, or in which the probe
itself was refused, is unknown: it counts neither for nor against the availability, and is told beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.store import Row, Store, Tx

MIGRATIONS: Final = (
    """
    CREATE TABLE probe_round (
        round_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at       timestamptz NOT NULL,
        by       text NOT NULL,
        every    double precision NOT NULL CHECK (every > 0)
    );
    CREATE INDEX probe_round_at ON probe_round (at);
    CREATE TABLE probe (
        round_id  bigint NOT NULL REFERENCES probe_round ON DELETE CASCADE,
        operation text NOT NULL,
        service   text NOT NULL,
        outcome   text NOT NULL CHECK (outcome IN ('up', 'partial', 'down', 'unknown')),
        measured  text NOT NULL,
        code      text NOT NULL,
        millis    integer,
        detail    jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (round_id, operation)
    );
    """,
)

WINDOW: Final = timedelta(days=30)
LATE: Final = 2.5  # rounds after which the last one says nothing about now
WHOLE: Final = 1000  # per mille
AIM: Final = 995  # per mille of the measured time: what an error budget is the rest of (docs/decisions/0018-screens.md)
_WRITE_ROUND: Final = "INSERT INTO probe_round (at, by, every) VALUES (%(at)s, %(by)s, %(every)s) RETURNING round_id"
_WRITE: Final = (
    "INSERT INTO probe (round_id, operation, service, outcome, measured, code, millis, detail) VALUES (%(round_id)s,"
    " %(operation)s, %(service)s, %(outcome)s, %(measured)s, %(code)s, %(millis)s, %(detail)s::jsonb)"
)
_LAST: Final = """
SELECT round_id, at, by, every FROM probe_round
WHERE at <= %(now)s AND EXISTS (
    SELECT FROM probe WHERE probe.round_id = probe_round.round_id AND probe.service = %(service)s)
ORDER BY at DESC, round_id DESC LIMIT 1"""
_FOUND: Final = """
SELECT operation, outcome, measured, code, millis, detail FROM probe
WHERE round_id = %(round_id)s AND service = %(service)s ORDER BY operation"""
_FIRST: Final = "SELECT min(at) AS at FROM probe_round WHERE at > %(since)s AND at <= %(now)s"
_SLOTS: Final = """
SELECT count(*) AS known, count(*) FILTER (WHERE down) AS down, count(*) FILTER (WHERE partial AND NOT down) AS partial
FROM (
    SELECT floor(extract(epoch FROM r.at) / %(every)s) AS slot, bool_or(p.outcome = 'down') AS down,
           bool_or(p.outcome = 'partial') AS partial, bool_or(p.outcome = 'unknown') AS unknown
    FROM probe_round r JOIN probe p USING (round_id)
    WHERE r.at > %(since)s AND r.at <= %(now)s AND p.service = %(service)s
      AND (%(operation)s::text IS NULL OR p.operation = %(operation)s)
    GROUP BY slot
) AS slots
WHERE down OR partial OR NOT unknown"""
_TIMES: Final = """
SELECT p.operation, percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY p.millis) AS times
FROM probe_round r JOIN probe p USING (round_id)
WHERE r.at > %(since)s AND r.at <= %(now)s AND p.service = %(service)s AND p.outcome IN ('up', 'partial')
  AND p.millis IS NOT NULL
GROUP BY p.operation"""
_FORGET: Final = "DELETE FROM probe_round WHERE at < %(before)s"


class Outcome(StrEnum):
    """What one probe of one operation came to."""

    UP = "up"
    PARTIAL = "partial"  # taken in, and some who must get it do not answer
    DOWN = "down"
    UNKNOWN = "unknown"  # the probe itself was refused: nothing was measured


class Measured(StrEnum):
    """What a probe did to find out."""

    LOOKUP = "a look-up through the gateway, answered by KSD"
    CONTRACT = "the contract fetched at the gateway over mutual TLS, and an HTTP answer of each receiver of its routes"


class State(StrEnum):
    """What the service page shows, and that nothing is known."""

    FULL = "Fuldt tilgængelig"
    PARTLY = "Delvist tilgængelig"
    DOWN = "Ikke tilgængelig"
    UNKNOWN = "Ukendt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What one probe found. `code` is what came, `millis` how long it took when something did."""

    operation: str
    service: Service
    outcome: Outcome
    measured: Measured
    code: str
    millis: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """In how many slots of a window something was up: of `slots` slots, `known` were measured."""

    slots: int
    known: int
    down: int
    partial: int

    @property
    def permille(self) -> int | None:
        """
        Give the availability in tenths of a percent, rounded down; None when nothing was measured.

        It is never the whole when anything was amiss.
        """
        if not self.known:
            return None
        share = (self.known - self.down) * WHOLE // self.known
        return min(share, WHOLE - 1) if self.down or self.partial else share

    @property
    def budget(self) -> tuple[float, int]:
        """Give the error budget: in how many of the measured slots it may be down, and in how many it was."""
        return self.known * (WHOLE - AIM) / WHOLE, self.down

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "oppetid": danish_share(self.permille),
            "slots": self.slots,
            "known": self.known,
            "unknown": self.slots - self.known,
            "down": self.down,
            "partial": self.partial,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationStatus:
    """One operation: what the last probe found, how available it was, and how long answers took (p50, p95, p99)."""

    operation: str
    outcome: Outcome
    measured: str
    code: str
    millis: int | None
    detail: Mapping[str, Any]
    share: Share
    times: tuple[int, int, int] | None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "operation": self.operation,
            "outcome": self.outcome.value,
            "measured": self.measured,
            "code": self.code,
            "millis": self.millis,
            "detail": dict(self.detail),
            **self.share.plain(),
            "svartid": _plain_times(self.times),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """A service as the record knows it. The state is that of the last round; the availability is of the window."""

    service: Service
    state: State
    at: datetime | None
    by: str | None
    every: float | None
    since: datetime
    until: datetime
    share: Share
    operations: tuple[OperationStatus, ...]

    @property
    def times(self) -> tuple[int, int, int] | None:
        """Give the response times of the look-ups, or where there are none of what else was measured."""
        lookups = [one for one in self.operations if OPERATIONS[one.operation].lookup]
        found = [one.times for one in lookups or self.operations if one.times is not None]
        return max(found, default=None)

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it, in the words and figures of the service page."""
        return {
            "service": self.service.value,
            "tilstand": self.state.value,
            "measured_at": self.at and self.at.isoformat(),
            "measured_by": self.by,
            "every": self.every,
            "window": {"from": self.since.isoformat(), "to": self.until.isoformat()},
            **self.share.plain(),
            "svartid": _plain_times(self.times),
            "operations": [one.plain() for one in self.operations],
        }


def danish_share(permille: int | None) -> str:
    """Write an availability as the service page does: one decimal, decimal comma."""
    return "ukendt" if permille is None else f"{permille // 10},{permille % 10} %"


async def write(store: Store, probes: Sequence[Probe], *, at: datetime, by: str, every: float) -> None:
    """Write down a round."""
    async with store.tx() as tx:
        row = await tx.one(_WRITE_ROUND, at=at, by=by, every=every)
        number = row and row["round_id"]
        rows = [
            {
                "round_id": number,
                "operation": one.operation,
                "service": one.service.value,
                "outcome": one.outcome.value,
                "measured": one.measured.value,
                "code": one.code,
                "millis": one.millis,
                "detail": json.dumps(dict(one.detail)),
            }
            for one in probes
        ]
        await tx.many(_WRITE, rows)


async def forget(store: Store, *, before: datetime) -> int:
    """Delete rounds that are older; give how many."""
    async with store.tx() as tx:
        return await tx.run(_FORGET, before=before)


async def service_status(tx: Tx, service: Service, *, now: datetime, window: timedelta = WINDOW) -> ServiceStatus:
    """Tell how a service is and was; `now` is the machine's time."""
    about: dict[str, Any] = {"now": now, "since": now - window, "service": service.value}
    last = await tx.one(_LAST, now=now, service=service.value)
    if last is None or last["at"] <= about["since"]:
        nothing = Share(slots=0, known=0, down=0, partial=0)
        return ServiceStatus(
            service=service,
            state=State.UNKNOWN,
            at=None if last is None else last["at"],
            by=None if last is None else last["by"],
            every=None if last is None else last["every"],
            since=about["since"],
            until=now,
            share=nothing,
            operations=(),
        )
    every = float(last["every"])
    found = await tx.all(_FOUND, round_id=last["round_id"], service=service.value)
    times = {row["operation"]: tuple(row["times"]) for row in await tx.all(_TIMES, **about)}
    first = await tx.one(_FIRST, since=about["since"], now=now)
    slots = _slots(first["at"] if first else now, last["at"], now, every)
    operations = [
        OperationStatus(
            operation=row["operation"],
            outcome=Outcome(row["outcome"]),
            measured=row["measured"],
            code=row["code"],
            millis=row["millis"],
            detail=row["detail"],
            share=await _share(tx, about, every, slots, row["operation"]),
            times=times.get(row["operation"]),
        )
        for row in found
    ]
    late = (now - last["at"]).total_seconds() > LATE * every
    return ServiceStatus(
        service=service,
        state=State.UNKNOWN if late else _state(found),
        at=last["at"],
        by=last["by"],
        every=every,
        since=about["since"],
        until=now,
        share=await _share(tx, about, every, slots, None),
        operations=tuple(operations),
    )


def _slots(first: datetime, last: datetime, now: datetime, every: float) -> int:
    """Count the slots from the first round to now; the one that is not over counts once it was measured in."""
    begun, measured, current = (int(one.timestamp() // every) for one in (first, last, now))
    return max(measured + 1, current) - begun


async def _share(tx: Tx, about: Mapping[str, Any], every: float, slots: int, operation: str | None) -> Share:
    row = await tx.one(_SLOTS, every=every, operation=operation, **about) or {"known": 0, "down": 0, "partial": 0}
    return Share(slots=max(slots, row["known"]), **row)


def _state(found: Sequence[Row]) -> State:
    outcomes = {Outcome(row["outcome"]) for row in found}
    if outcomes == {Outcome.UP}:
        return State.FULL
    if outcomes == {Outcome.DOWN}:
        return State.DOWN
    return State.PARTLY if outcomes & {Outcome.DOWN, Outcome.PARTIAL} else State.UNKNOWN


def _plain_times(times: tuple[int, int, int] | None) -> dict[str, Any] | None:
    if times is None:
        return None
    return {"p50": times[0], "p95": times[1], "p99": times[2], "tekst": f"{times[0]} ms"}

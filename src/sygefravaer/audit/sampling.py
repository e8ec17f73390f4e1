# SPDX-License-Identifier: MPL-2.0
"""
Look-ups drawn for the control of misuse: nobody can foresee the draw, and nobody can draw until it pleases.

A draw is recorded with all its rows before they are shown, and given again to whoever asks for the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Self

from sygefravaer.audit.events import Event
from sygefravaer.audit.recording import record
from sygefravaer.audit.searching import COLUMNS, Reader, shown
from sygefravaer.errors import UsageError
from sygefravaer.law.calendar import at, day_after, month_end
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

BEFORE: Final = timedelta(days=400)  # a citizen of whom a message passed so long before a look-up, or so long after,
AFTER: Final = timedelta(days=14)  # has a case that the gateway has seen
FIRST_YEAR: Final = 2000  # nothing was recorded before

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('audit sample ' || current_schema, 0))"
_DRAWN: Final = """
SELECT at, detail FROM audit WHERE event = 'sample.drawn' AND detail ->> 'month' = %(month)s
AND municipality_cvr IS NOT DISTINCT FROM %(municipality)s::text ORDER BY audit_id LIMIT 1"""
_OF_MONTH: Final = """
FROM audit WHERE event = 'lookup.asked' AND at >= %(since)s AND at < %(until)s
AND (%(municipality)s::text IS NULL OR municipality_cvr = %(municipality)s)"""
_COUNT: Final = f"SELECT count(*) AS number {_OF_MONTH}"
_PLACES: Final = f"""
SELECT audit_id FROM (SELECT audit_id, row_number() OVER (ORDER BY audit_id) AS place {_OF_MONTH}) AS asked
WHERE place = ANY (%(places)s::bigint[])"""
_ROWS: Final = f"""
SELECT {COLUMNS}, (SELECT code FROM audit AS answered WHERE answered.names = audit.audit_id
    AND answered.event = 'lookup.answered' AND answered.call_uuid = audit.call_uuid LIMIT 1) AS outcome
FROM audit WHERE audit_id = ANY (%(rows)s) ORDER BY audit_id"""

Cases = Callable[[Tx, Sequence[int], timedelta, timedelta], Awaitable[frozenset[int]]]
"""Finds, of rows of look-ups, those of whose citizen something was seen so long before and after."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month as it is in Denmark."""

    first: date

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `2026-03`; raises `UsageError`."""
        try:
            first = date.fromisoformat(f"{text}-01")
        except ValueError:
            first = date.min
        if not FIRST_YEAR <= first.year < date.max.year:
            raise UsageError("MonthMalformed", "The month could not be read; 2026-03 was wanted.")
        return cls(first=first)

    @property
    def since(self) -> datetime:
        """Give its first instant."""
        return at(self.first, 0)

    @property
    def until(self) -> datetime:
        """Give the first instant of the next."""
        return at(day_after(month_end(self.first)), 0)

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"{self.first:%Y-%m}"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn: of how many, when and by whom, whether that was before, and the rows."""

    month: Month
    of: int
    drawn_at: datetime
    drawn_by: str
    again: bool
    rows: tuple[dict[str, Any], ...]

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "month": str(self.month),
            "of": self.of,
            "drawn_at": self.drawn_at.isoformat(),
            "drawn_by": self.drawn_by,
            "again": self.again,
            "period": f"in the {BEFORE.days} days before the look-up and the {AFTER.days} days after it",
            "rows": list(self.rows),
        }


async def sample(
    store: Store,
    vault: Vault,
    month: Month,
    reader: Reader,
    *,
    number: int,
    municipality: str | None,
    cases: Cases,
    users: bool = False,
) -> Drawn:
    """Draw look-ups, or give what was drawn before; raises `UsageError`."""
    if month.until > reader.now:
        raise UsageError("MonthRuns", "The month is not over: what is still to come could not be drawn.")
    if users:
        reader.needs_purpose()
    async with store.tx(limit=None) as tx:
        await tx.one(_LOCK)
        before = await tx.one(_DRAWN, month=str(month), municipality=municipality)
        if before is None:
            detail = await _draw(tx, month, reader, number, municipality)
        else:
            detail = before["detail"]
            asked = {"month": str(month), "drawn_at": before["at"], "by": reader.who, "users": users}
            await record(tx, Event.AUDIT_SEARCHED, now=reader.now, municipality_cvr=municipality, detail=asked)
    async with store.tx(limit=None) as tx:
        rows = await tx.all(_ROWS, rows=detail["rows"])
        seen = await cases(tx, detail["rows"], BEFORE, AFTER)
    return Drawn(
        month=month,
        of=detail["of"],
        drawn_at=reader.now if before is None else before["at"],
        drawn_by=detail["by"],
        again=before is not None,
        rows=tuple(_told(row, vault, seen, users=users) for row in rows),
    )


async def _draw(tx: Tx, month: Month, reader: Reader, number: int, municipality: str | None) -> dict[str, Any]:
    among: dict[str, object] = {"since": month.since, "until": month.until, "municipality": municipality}
    counted = await tx.one(_COUNT, **among)
    of = int(counted["number"]) if counted else 0
    places = [place + 1 for place in secrets.SystemRandom().sample(range(of), min(number, of))]
    rows = sorted(row["audit_id"] for row in await tx.all(_PLACES, places=places, **among))
    detail = {"by": reader.who, "month": str(month), "of": of, "rows": rows}
    await record(tx, Event.SAMPLE_DRAWN, now=reader.now, municipality_cvr=municipality, detail=detail)
    return detail


def _told(row: Row, vault: Vault, seen: frozenset[int], *, users: bool) -> dict[str, Any]:
    told = shown(row, vault, users=users)
    return told | {"code": told.pop("outcome"), "case_seen": row["audit_id"] in seen}

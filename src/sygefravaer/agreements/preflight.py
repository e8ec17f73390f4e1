# SPDX-License-Identifier: MPL-2.0
"""
Whether a requested agreement could work, before a person is asked: each check by name, with what to do about it.

What was read is judged by a pure function. A check that is not `blocking` is a word to the wise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sygefravaer.agreements import catalogue
from sygefravaer.agreements.reading import danish_day
from sygefravaer.contract.operations import Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.store import Row, Tx


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be right; `try_this` says what to do when it is not."""

    name: str
    passed: bool
    blocking: bool
    found: str
    try_this: str

    def plain(self) -> dict[str, object]:
        """Give it as JSON has it."""
        return asdict(self)


_READ: Final = """
SELECT a.service, a.municipality_cvr, a.valid_from, a.valid_to, s.active, s.vendor_cvr, s.role, s.system_id,
       ARRAY(SELECT d.display_group FROM display_member d WHERE d.system_id = s.system_id) AS groups,
       (SELECT count(*) FROM certificate c WHERE c.system_id = s.system_id) AS registered,
       (SELECT count(*) FROM certificate c WHERE c.system_id = s.system_id AND c.active
          AND c.valid_from <= %(on)s AND (c.valid_to IS NULL OR c.valid_to >= %(on)s)
          AND c.not_before <= %(machine)s AND c.not_after >= %(machine)s) AS valid,
       (SELECT max(c.not_after) FROM certificate c WHERE c.system_id = s.system_id AND c.active) AS lasts,
       (SELECT bool_or(c.cvr = s.vendor_cvr) FROM certificate c
          WHERE c.system_id = s.system_id AND c.active AND c.not_after >= %(machine)s) AS own,
       EXISTS (SELECT 1 FROM route r JOIN system rs ON rs.system_id = r.system_id AND rs.environment = s.environment
          WHERE r.service = a.service AND r.municipality_cvr IN (a.municipality_cvr, '*')
            AND r.valid_from <= greatest(a.valid_from, %(on)s)
            AND (r.valid_to IS NULL OR r.valid_to >= greatest(a.valid_from, %(on)s))) AS routed,
       EXISTS (SELECT 1 FROM route r WHERE r.service <> a.service AND r.municipality_cvr IN (a.municipality_cvr, '*')
            AND r.system_id = a.system_id AND (r.valid_to IS NULL OR r.valid_to >= %(on)s)) AS receives
FROM agreement a JOIN system s ON s.system_id = a.system_id
WHERE a.agreement_id = %(agreement_id)s"""


async def checks(tx: Tx, agreement_id: UUID, *, now: datetime, machine: datetime) -> tuple[Check, ...]:
    """Read what there is, and judge it; nothing for an agreement that is not there."""
    on = danish_day(now)
    row = await tx.one(_READ, agreement_id=agreement_id, on=on, machine=machine)
    return () if row is None else tuple(_judge(row, on))


def _judge(row: Row, on: date) -> Iterator[Check]:
    yield Check(
        name="system",
        passed=row["active"],
        blocking=True,
        found="the system is open" if row["active"] else "the system is closed",
        try_this="Ask the operator why the system was closed.",
    )
    yield Check(
        name="certificate",
        passed=row["valid"] > 0,
        blocking=True,
        found=f"{row['registered']} registered, {row['valid']} of them in force today",
        try_this="Register the system's certificate, or its renewal.",
    )
    known = row["municipality_cvr"] in MUNICIPALITIES
    yield Check(
        name="cvr",
        passed=bool(row["own"]) and known,
        blocking=True,
        found="the certificate names the vendor" if row["own"] else "no certificate in force names the vendor's CVR",
        try_this="Register a certificate that was issued to the vendor's own CVR number.",
    )
    group = catalogue.group_of(Service(row["service"]))
    yield Check(
        name="display group",
        passed=group in row["groups"],
        blocking=True,
        found=f"the service is for {group}; the system is in {', '.join(sorted(row['groups'])) or 'none'}",
        try_this="Ask the operator to let the system into the display group.",
    )
    yield Check(
        name="route",
        passed=row["routed"],
        blocking=True,
        found="there is a route" if row["routed"] else "there is no route of this service for the municipality",
        try_this="Ask the operator to register where messages of this service for the municipality go.",
    )
    over = row["valid_to"] is not None and row["valid_to"] < on
    yield Check(
        name="period",
        passed=not over,
        blocking=True,
        found="its last day is past" if over else "its period is not over",
        try_this="Draft a new agreement with a later last day.",
    )
    lasts = row["lasts"] is not None and (row["valid_to"] is None or row["lasts"].date() >= row["valid_to"])
    yield Check(
        name="certificate lasts",
        passed=lasts,
        blocking=False,
        found="a certificate lasts as long as the agreement" if lasts else "no certificate lasts that long",
        try_this="Renew the certificate in time; the old one goes on opening beside the new one.",
    )
    yield Check(
        name="receives",
        passed=row["receives"],
        blocking=False,
        found="messages the other way reach this system" if row["receives"] else "messages the other way go elsewhere",
        try_this="Ask the operator to route what goes to the municipality to this system before the first case.",
    )

# SPDX-License-Identifier: MPL-2.0
"""Which rooms own tables in the schema of a part, and what of it is sealed."""

from __future__ import annotations

from typing import Final

from sygefravaer import (
    admin,
    agreements,
    audit,
    delivery,
    jobcenter,
    ksd,
    lanes,
    ledger,
    mail,
    status,
    usage,
)
from sygefravaer.config import Kind
from sygefravaer.delivery import SEALED
from sygefravaer.store import Sealed

Rooms = tuple[tuple[str, tuple[str, ...]], ...]

PLATFORM: Final[Rooms] = (
    ("agreements", agreements.MIGRATIONS),
    ("audit", audit.MIGRATIONS),
    ("lanes", lanes.MIGRATIONS),
    ("delivery", delivery.MIGRATIONS),
    ("admin", admin.MIGRATIONS),
    ("status", status.MIGRATIONS),
    ("mail", mail.MIGRATIONS),
    ("usage", usage.MIGRATIONS),
)
"""The rooms that own tables in the platform's schema, in the order in which their migrations run."""

PARTY: Final[Rooms] = (("lanes", lanes.MIGRATIONS), ("ledger", ledger.MIGRATIONS))
"""The rooms that every party's schema has; its own comes after them."""


def rooms_of(kind: Kind) -> Rooms:
    """Give the rooms that own tables in the schema of a part, in the order in which their migrations run."""
    if kind in {Kind.GATEWAY, Kind.ADMIN, Kind.PROBER}:
        return PLATFORM
    return (*PARTY, (kind.value, ksd.MIGRATIONS if kind is Kind.KSD else jobcenter.MIGRATIONS))


def sealed_of(kind: Kind) -> tuple[Sealed, ...]:
    """Give every sealed column in the schema of a part."""
    if kind is Kind.GATEWAY:
        return (*SEALED, *audit.SEALED, *admin.SEALED)
    return ksd.SEALED if kind is Kind.KSD else jobcenter.SEALED

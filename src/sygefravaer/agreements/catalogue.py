# SPDX-License-Identifier: MPL-2.0
"""The services as the administration offers them, and the display group that says who may see and request each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sygefravaer.contract.operations import OPERATIONS, Service

MONOPOLBRUD: Final = "MONOPOLBRUD"
GROUPS: Final = (MONOPOLBRUD,)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One service, as the catalogue shows it."""

    service: Service
    path: str
    operations: tuple[str, ...]
    display_group: str


CATALOGUE: Final[tuple[Offer, ...]] = tuple(
    Offer(
        service=service,
        path=service.path,
        operations=tuple(name for name, one in OPERATIONS.items() if one.service is service),
        display_group=MONOPOLBRUD,
    )
    for service in Service
)


def group_of(service: Service) -> str:
    """Say which display group a system must be in for this service."""
    return next(offer.display_group for offer in CATALOGUE if offer.service is service)

# SPDX-License-Identifier: MPL-2.0
"""
Faults that are planted in a process of the product before it serves, to see that the checker finds them.

Nothing of it is in the product: a node or receiver of a trial is given the fault's name when it is forked. A fault that
cannot be planted, because the product is not written that way any more, ends the process and so the trial.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault: in which processes it is planted, and by which rules it may be found."""

    plant: Callable[[], None]
    task: str
    rules: frozenset[str]
    text: str


def plant(name: str) -> None:
    """Plant a fault in this process."""
    MUTANTS[name].plant()


def _statement(module: ModuleType, name: str, old: str, new: str) -> None:
    """Write a statement of the product otherwise."""
    text = getattr(module, name)
    if old not in text:
        raise SystemExit(f"{module.__name__}.{name} does not hold {old!r} any more")
    setattr(module, name, text.replace(old, new))


def _room(name: str) -> ModuleType:
    return importlib.import_module(f"sygefravaer.{name}")


def _lease_ignored() -> None:
    """Claim lanes that somebody holds."""
    statements = _room("lanes.statements")
    held = f"AND (lease_until IS NULL OR lease_until <= {statements.LEASE_NOW})"
    _statement(statements, "CLAIM_LANES", held, "")


def _receipt_before_commit() -> None:
    """Say that a new message is stored, and store it a little later."""
    gateway = _room("gateway")
    admit, wait = gateway.Gateway._admit, 0.2
    later: set[asyncio.Task[Any]] = set()

    async def admitted(self: Any, passage: Any) -> Any:
        parcel = passage.parcel
        if passage.refusal is not None or parcel is None or parcel.operation.lookup:
            return await admit(self, passage)
        hoved = parcel.message.Hoved
        async with self._store.read() as tx:
            if await self._delivery.find(tx, hoved.AfsenderSystemID, hoved.BeskedID) is not None:
                return await admit(self, passage)

        async def store() -> None:
            await asyncio.sleep(wait)
            kept = await admit(self, passage)
            if kept.claim is not None:
                await self._delivery.first_attempt(kept.claim, kept.route, budget=5.0)

        task = asyncio.create_task(store())
        later.add(task)
        task.add_done_callback(later.discard)
        return gateway.Kept(parcel=parcel, message=_unsaved(parcel))

    gateway.Gateway._admit = admitted


def _unsaved(parcel: Any) -> Any:
    """Give what is answered with G006: a message that is on its way, whatever else it says."""
    lanes = _room("lanes")

    class Unsaved:
        operation = parcel.operation.name
        status = lanes.Status.QUEUED
        receipt = None

    return Unsaved()


def _dedupe_off() -> None:
    """Apply at a receiver whatever comes, as if it were the first time."""
    ledger = _room("ledger")
    _statement(
        ledger, "_ENTER", "ON CONFLICT DO NOTHING", "ON CONFLICT (sender, besked_id) DO UPDATE SET at = excluded.at"
    )


def _settle_without_token() -> None:
    """Settle what another has settled in the meantime."""
    statements = _room("lanes.statements")
    _statement(statements, "SETTLE", "AND token = %(token)s", "")
    _statement(
        statements,
        "SETTLE",
        "AND EXISTS (SELECT FROM message WHERE message_id = %(message_id)s AND status = 'sending')",
        "",
    )


def _route_of_another() -> None:
    """Deliver to the system of another municipality."""
    receivers = _room("delivery.receivers")
    to = receivers.Clients.to
    seen: dict[str, Any] = {}

    def other(self: Any, way: Any) -> Any:
        if way.service is _room("contract.operations").Service.SYGEFRAVAER_JC:
            seen[way.municipality_cvr] = way
            way = next((each for number, each in seen.items() if number != way.municipality_cvr), way)
        return to(self, way)

    receivers.Clients.to = other


MUTANTS = {
    "lease-ignored": Mutant(
        plant=_lease_ignored,
        task="gateway",
        rules=frozenset({"lease"}),
        text="a node claims lanes that another holds",
    ),
    "receipt-before-commit": Mutant(
        plant=_receipt_before_commit,
        task="gateway",
        rules=frozenset({"lost", "order"}),
        text="G006 leaves before the message is stored",
    ),
    "dedupe-off": Mutant(
        plant=_dedupe_off,
        task="receiver",
        rules=frozenset({"double"}),
        text="a receiver applies a repeat",
    ),
    "settle-without-token": Mutant(
        plant=_settle_without_token,
        task="gateway",
        rules=frozenset({"stuck", "lost", "receipt", "order"}),
        text="who has lost a lane settles its messages",
    ),
    "another-municipality": Mutant(
        plant=_route_of_another,
        task="gateway",
        rules=frozenset({"crossing"}),
        text="a node delivers to the system of another municipality",
    ),
}
"""The five faults that a checker has to find."""

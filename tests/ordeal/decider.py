# SPDX-License-Identifier: MPL-2.0
"""A person's decision about a parked message, in a process of its own: replayed or discarded, with the product's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from ordeal.receiver import opened
from sygefravaer import failpoint
from sygefravaer.app import end_with_parent
from sygefravaer.clock import SystemClock
from sygefravaer.contract.operations import Environment
from sygefravaer.delivery import Parked, Selection, obligations
from sygefravaer.errors import NothingOwed
from sygefravaer.telemetry import start_logging
from sygefravaer.vault import Vault


def main(config: Path) -> None:
    """Decide about every parked message as the file says."""
    start_logging()
    failpoint.arm()
    end_with_parent()
    asyncio.run(_decide(json.loads(config.read_text("utf-8"))))


async def _decide(settings: dict[str, str]) -> None:
    store = await opened(settings["dsn"], settings["schema"], size=1)
    now = SystemClock().now()
    parked = Parked(store=store, vault=Vault.from_file(Path(settings["vault"])), environment=Environment.TEST)
    if settings["decision"] == "replay":
        plan = await parked.plan(Selection(), now=now)
        await parked.run(plan.digest, plan.selection, who="operator", now=now)
    elif settings["decision"] == "tell":
        for debt in await obligations.owed(store, kind=obligations.Kind.UNHEARD):
            with contextlib.suppress(NothingOwed):  # its sender has asked in the meantime
                await obligations.tell(store, debt.message_id, by="operator", now=now)
    else:
        async with store.read() as tx:
            rows = await tx.all("SELECT message_id FROM message WHERE status = 'parked' ORDER BY message_id")
        for row in rows:
            await parked.discard(row["message_id"], who="operator", reason="trial", now=now)
    await store.close()

# SPDX-License-Identifier: MPL-2.0
"""
How the nodes on one database wake one another: rarely, outside every transaction of work, and never relied upon.

A NOTIFY takes a lock of the whole database from before its commit until after it, so one in the accepting or the
settling transaction would let all of them commit one after the other. Here it is a statement of its own, sent when
something is left lying that this node does not carry on at once, and at most once in `PAUSE` seconds. It writes nothing
and waits for no disk. What is not heard is found by the worker's look at the lanes, once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sygefravaer.errors import StoreError
from sygefravaer.store import Store

CHANNEL: Final = "work"
PAUSE: Final = 0.1  # seconds between two calls of one node

LOG: Final = logging.getLogger(__name__)


async def call(store: Store) -> None:
    """Wake every node's worker now; a database that is away needs no waking."""
    try:
        await store.notify(CHANNEL)
    except StoreError as error:
        LOG.warning("bell.store", extra={"code": error.code})


class Bell:
    """Rings for the workers of all nodes, this one's included, and hears the others ring."""

    def __init__(self, store: Store, heard: Callable[[], None]) -> None:
        self._store = store
        self._heard = heard
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake every worker soon."""
        self._rung.set()

    async def call(self) -> None:
        """Wake every worker now."""
        self._rung.clear()
        await call(self._store)

    async def run(self) -> None:
        """Listen and ring until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.listen(CHANNEL, self._heard))
            while True:
                await self._rung.wait()
                await self.call()
                await asyncio.sleep(PAUSE)

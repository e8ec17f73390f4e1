# SPDX-License-Identifier: MPL-2.0
"""The senders: how many calls of one are judged and admitted at a time, so that one's crowd is not the others' wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

AT_A_TIME: Final = 6  # calls of one sender between door and commit; fewer than the connections of a pool


class Senders:
    """
    Lets `at_a_time` calls of each sender in at a time; the others of the same sender wait in the order they came in.

    Without it whoever opens two hundred connections would have two hundred turns at the processor and the database for
    each one of a sender with one connection. What is waited for at a receiver is not counted here.
    """

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self._at_a_time = at_a_time
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._inside: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn of this sender's, and keep it for the block."""
        turns = self._turns.setdefault(sender, asyncio.Semaphore(self._at_a_time))
        self._inside[sender] = self._inside.get(sender, 0) + 1
        try:
            async with turns:
                yield
        finally:
            self._inside[sender] -= 1
            if not self._inside[sender]:  # of who has gone nothing is kept
                del self._turns[sender], self._inside[sender]

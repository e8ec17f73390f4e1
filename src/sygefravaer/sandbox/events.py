# SPDX-License-Identifier: MPL-2.0
"""What a move of the clock can end at: a message that the gateway accepts, or a case of KSD that comes into a state."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import UsageError
from sygefravaer.ksd.lifecycle import State
from sygefravaer.sandbox.parts import GATEWAY, KSD
from sygefravaer.sandbox.timekeeper import Timekeeper, Watch

SENDS: Final = tuple(name for name, operation in OPERATIONS.items() if not operation.lookup)
NUMBERS: Final[Mapping[str, str]] = {code.kode: f"M{number}" for number, code in enumerate(LISTS["beskedtyper"], 1)}
"""M1 to M7: the messages by their place in the list of their names."""
MESSAGES: Final[Mapping[str, str]] = {NUMBERS[name]: name for name in SENDS}
PAGE: Final = 10_000
FIELD: Final = "SagsTilstand"


def watch(text: str) -> Watch:
    """
    Make what `text` says: an operation, M1 ... M5, an SF number, or a SagsTilstand (alone or `SagsTilstand=...`).

    Raises `UsageError`.
    """
    name, _, state = text.partition("=")
    if state and name == FIELD:
        name = state
    elif name in MESSAGES:
        return Accepted((MESSAGES[name],))
    elif name in SENDS:
        return Accepted((name,))
    elif by_number := [one for one in SENDS if OPERATIONS[one].sf == name]:
        return Accepted(by_number)
    if name in list(State):
        return Reached(State(name))
    numbers = sorted({OPERATIONS[one].sf for one in SENDS})
    raise UsageError(
        "EventUnknown",
        f"An event was wanted: one of {', '.join((*SENDS, *MESSAGES, *numbers))}; or {FIELD}= one of "
        f"{', '.join(State)}.",
    )


class Accepted:
    """The next message of one of these operations that the gateway accepts."""

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = frozenset(operations)
        self._after = 0

    async def begin(self, keeper: Timekeeper) -> None:
        """Note the last message there is."""
        self._after = self._last(keeper)

    async def seen(self, keeper: Timekeeper) -> str | None:
        """Say which message has come."""
        while self._after < self._last(keeper):
            told = await keeper.knock(GATEWAY.name, "accepted", {"after": self._after})
            for message in told["messages"]:
                self._after = message["number"]
                if message["operation"] in self._operations:
                    return f"{message['operation']} {message['besked_id']}"
        return None

    def _last(self, keeper: Timekeeper) -> int:
        there = keeper.round.get(GATEWAY.name)
        return self._after if there is None else there.counters["accepted"]


class Reached:
    """The next case of KSD that comes into this state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: frozenset[str] = frozenset()
        self._counters: Mapping[str, int] | None = None

    async def begin(self, keeper: Timekeeper) -> None:
        """Note the cases that are in it."""
        self._known = await self._cases(keeper)

    async def seen(self, keeper: Timekeeper) -> str | None:
        """Say which case has come into it; asked only when KSD has had anything to do."""
        there = keeper.round.get(KSD.name)
        if there is None or there.counters == self._counters:
            return None
        self._counters = there.counters
        found = await self._cases(keeper)
        fresh, self._known = found - self._known, found
        return f"{FIELD}={self._state} {min(fresh)}" if fresh else None

    async def _cases(self, keeper: Timekeeper) -> frozenset[str]:
        found: list[str] = []
        while True:
            asked: dict[str, Any] = {"state": self._state.value, "limit": PAGE}
            told = await keeper.knock(KSD.name, "cases", asked | ({"after": found[-1]} if found else {}))
            found += [case["sags_id"] for case in told["cases"]]
            if len(told["cases"]) < PAGE:
                return frozenset(found)

# SPDX-License-Identifier: MPL-2.0
"""
What a receiver does wrong on purpose, when a test asks for it at its own door: the gateway has no fault injection.

    answer_late         every answer is held back so many seconds of machine time, after all has been done
    close_after_apply   the next so many calls are carried out, and the connection is cut instead of an answer
    refuse_connections  every call is cut off before anything is done
    swapped_code        two codes change places in what the system answers and in what it writes
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sygefravaer.contract import codec
from sygefravaer.contract.codes import FEJLKODER, LISTS
from sygefravaer.endpoint.door import HangUp
from sygefravaer.endpoint.receiver import Call, Handler
from sygefravaer.errors import FieldRefused


@dataclass(kw_only=True)
class Faults:
    """What is wrong at the moment; nothing, to begin with."""

    answer_late: float = 0.0
    close_after_apply: int = 0
    refuse_connections: bool = False
    swapped_code: tuple[str, ...] = ()


class Chaos:
    """The faults of one system, how many calls it is `answering` just now, and how many it has had so far."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.answering = 0
        self.calls = 0

    def change(
        self,
        *,
        reset: bool = False,
        answer_late: float | None = None,
        close_after_apply: int | None = None,
        refuse_connections: bool | None = None,
        swapped_code: tuple[str, ...] | None = None,
    ) -> dict[str, Any]:
        """Change what is given and tell all of it; raises `FieldRefused` unless the codes are two of one list."""
        if swapped_code and (len(swapped_code) != 2 or not any(set(swapped_code) <= codes for codes in _code_lists())):  # noqa: PLR2004
            raise FieldRefused(
                "FieldWrong", "`swapped_code` is wrong: two codes of one list of the contract, or none, were wanted."
            )
        faults = self.faults = Faults() if reset else self.faults
        if answer_late is not None:
            faults.answer_late = answer_late
        if close_after_apply is not None:
            faults.close_after_apply = close_after_apply
        if refuse_connections is not None:
            faults.refuse_connections = refuse_connections
        if swapped_code is not None:
            faults.swapped_code = swapped_code
        return asdict(faults) | {"swapped_code": list(faults.swapped_code)}

    def around(self, handler: Handler) -> Handler:
        """Make a handler as faulty as is asked for when it is called."""

        async def faulty(call: Call) -> bytes:
            if self.faults.refuse_connections:
                raise HangUp
            self.answering += 1
            self.calls += 1
            try:
                return await self._answered(handler, call)
            finally:
                self.answering -= 1

        return faulty

    def swapped(self, element: bytes) -> bytes:
        """Exchange the two codes in an element that is to be answered or sent."""
        if not self.faults.swapped_code:
            return element
        one, other = (code.encode() for code in self.faults.swapped_code)
        exchange = {one: other, other: one}
        codes = re.compile(rb">(" + re.escape(one) + rb"|" + re.escape(other) + rb")<")
        return codes.sub(lambda found: b">" + exchange[found.group(1)] + b"<", element)

    async def _answered(self, handler: Handler, call: Call) -> bytes:
        faults = self.faults
        cut = faults.close_after_apply > 0
        if cut:
            faults.close_after_apply -= 1
        answer = await handler(call)
        if cut:
            raise HangUp
        element = answer if isinstance(answer, bytes) else codec.encode_reply(call.operation, answer)
        if self.faults.answer_late > 0:
            await asyncio.sleep(self.faults.answer_late)
        return self.swapped(element)


def _code_lists() -> Iterator[frozenset[str]]:
    yield frozenset(FEJLKODER)
    for found in LISTS.values():
        yield frozenset(code.kode for code in found)

# SPDX-License-Identifier: MPL-2.0
"""
Faults that a test asks KSD for, at its own door: the gateway itself has no fault injection.

    answer_late         every answer is held back so many seconds of machine time, after all has been done
    close_after_apply   the next so many calls are carried out, and the connection is cut instead of an answer
    refuse_connections  every call is cut off before anything is done
    swapped_code        two codes change places in what KSD answers
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from sygefravaer.contract import codec
from sygefravaer.endpoint import Call, Handler, HangUp


@dataclass(kw_only=True)
class Chaos:
    """What is wrong at the moment (nothing, to begin with), and how many calls are being answered."""

    answer_late: float = 0.0
    close_after_apply: int = 0
    refuse_connections: bool = False
    swapped_code: tuple[str, str] | None = None
    answering: int = 0

    def around(self, handler: Handler) -> Handler:
        """Make a handler as faulty as is asked for when it is called."""

        async def faulty(call: Call) -> bytes:
            if self.refuse_connections:
                raise HangUp
            self.answering += 1
            try:
                return await self._answered(handler, call)
            finally:
                self.answering -= 1

        return faulty

    async def _answered(self, handler: Handler, call: Call) -> bytes:
        cut = self.close_after_apply > 0
        if cut:
            self.close_after_apply -= 1
        answer = await handler(call)
        if cut:
            raise HangUp
        element = answer if isinstance(answer, bytes) else codec.encode_reply(call.operation, answer)
        if self.answer_late > 0:
            await asyncio.sleep(self.answer_late)
        return self._swapped(element)

    def _swapped(self, element: bytes) -> bytes:
        if self.swapped_code is None:
            return element
        one, other = (code.encode() for code in self.swapped_code)
        exchange = {one: other, other: one}
        codes = re.compile(rb">(" + re.escape(one) + rb"|" + re.escape(other) + rb")<")
        return codes.sub(lambda found: b">" + exchange[found.group(1)] + b"<", element)

# SPDX-License-Identifier: MPL-2.0
"""
Faults that a test asks a jobcentre for, at its own door: the gateway itself has no fault injection.

    answer_late         every answer is held back so many seconds of machine time, after all has been done
    close_after_apply   the next so many calls are carried out, and the connection is cut instead of an answer
    refuse_connections  every call is cut off before anything is done
    swapped_code        two codes of a list change places in what the jobcentre writes
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sygefravaer.contract.messages import Reply
from sygefravaer.endpoint import Call, Handler, HangUp


@dataclass(kw_only=True)
class Chaos:
    """What is wrong at the moment; nothing, to begin with."""

    answer_late: float = 0.0
    close_after_apply: int = 0
    refuse_connections: bool = False
    swapped_code: tuple[str, ...] = ()

    def reset(self) -> None:
        """End all of it."""
        self.__init__()  # type: ignore[misc]  # what it is made with is what nothing wrong looks like

    @property
    def swap(self) -> Mapping[str, str]:
        """Give the exchange of codes as a mapping, both ways."""
        return MappingProxyType(dict(zip(self.swapped_code, reversed(self.swapped_code), strict=True)))

    def around(self, handler: Handler) -> Handler:
        """Give a handler that is as faulty as this says when it is called."""

        async def faulty(call: Call) -> Reply | bytes:
            if self.refuse_connections:
                raise HangUp
            answer = await handler(call)
            if self.close_after_apply > 0:
                self.close_after_apply -= 1
                raise HangUp
            if self.answer_late > 0:
                await asyncio.sleep(self.answer_late)
            return answer

        return faulty

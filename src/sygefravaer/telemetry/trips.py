# SPDX-License-Identifier: MPL-2.0
"""
The four instants of a call: received, forwarded, answered, replied.

Between the second and the third the receiver had it, the rest is ours. The door begins a trip; whoever posts on its
behalf notes when; the door ends it. A call that was never forwarded has the first and the last only.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Final

UNKNOWN: Final = "unknown"  # operation: the call was refused before it was known which it is


@dataclass(kw_only=True, slots=True)
class Trip:
    """One call, in machine time."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    received: float = field(default_factory=perf_counter)
    forwarded: float | None = None
    answered: float | None = None
    replied: float | None = None
    operation: str = UNKNOWN
    outcome: str = ""
    tracer: Any = None
    span: Any = None
    """The span of the call, under which what is forwarded gets its own."""

    def forward(self) -> None:
        """Note that the message leaves for its receiver; of several attempts the first counts."""
        if self.forwarded is None:
            self.forwarded = perf_counter()

    def answer(self) -> None:
        """Note that the receiver's answer is there, unless the caller has got his already."""
        if self.answered is None and self.replied is None:
            self.answered = perf_counter()

    def reply(self, outcome: str) -> None:
        """Note that the caller has his answer; `outcome` unless somebody who knew better has said it."""
        self.replied = perf_counter()
        self.outcome = self.outcome or outcome

    @property
    def whole(self) -> float:
        """How many seconds the caller waited."""
        return (self.replied or perf_counter()) - self.received

    @property
    def receiver(self) -> float | None:
        """How many of them the receiver had it, as far as the caller waited; None: it was not forwarded."""
        if self.forwarded is None:
            return None
        return max(0.0, (self.answered or self.replied or perf_counter()) - self.forwarded)

    @property
    def own(self) -> float:
        """How many of them were ours."""
        return self.whole - (self.receiver or 0.0)

    def instants(self) -> Mapping[str, str]:
        """Give the four, as the log has them."""
        told = {"forwarded": self.forwarded, "answered": self.answered, "replied": self.replied}
        return {"received": self._at(self.received)} | {
            name: self._at(instant) for name, instant in told.items() if instant is not None
        }

    def _at(self, instant: float) -> str:
        return (self.began + timedelta(seconds=instant - self.received)).isoformat(timespec="microseconds")


TRIP: Final[ContextVar[Trip | None]] = ContextVar("trip", default=None)
"""The call that is being answered here."""

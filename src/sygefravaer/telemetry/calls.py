# SPDX-License-Identifier: MPL-2.0
"""
The four instants of a call: received here, asked further, answered from there, written here.

So our own time and the time of whoever was asked (KSD, a jobcentre system) are told apart. A call that asks nobody has
two. Whoever answers a call makes a `Call` and lets it be `current`; rooms on the way name what they learn of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Final

OK: Final = "OK"
UNKNOWN: Final = "-"
"""What stands for an operation that was not read."""

_IDENTIFIER: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_NUMBER: Final = re.compile(r"\d{6}-?\d{4}")


@dataclass(kw_only=True, slots=True)
class Call:
    """One call that is being answered; instants in seconds of the machine's own clock, None while not reached."""

    received: float
    asked: float | None = None
    answered: float | None = None
    written: float | None = None
    operation: str = UNKNOWN
    code: str = OK
    identifier: str | None = None
    """`CallersServiceCallIdentifier`, by which the caller finds the call in his own records."""

    @property
    def theirs(self) -> float | None:
        """Seconds that whoever was asked took, or has taken when the answer was written without his; None: nobody."""
        if self.asked is None or self.written is None:
            return None
        return (self.written if self.answered is None else min(self.answered, self.written)) - self.asked

    @property
    def ours(self) -> float:
        """Seconds that were spent here."""
        return (monotonic() if self.written is None else self.written) - self.received - (self.theirs or 0.0)

    def end(self) -> None:
        """Note that the answer was written."""
        self.written = monotonic()


_CURRENT: Final[ContextVar[Call | None]] = ContextVar("call", default=None)


def current() -> Call | None:
    """Give the call that is being answered."""
    return _CURRENT.get()


@contextmanager
def names(call: Call) -> Iterator[Call]:
    """Let a call be the current one inside; it ends with the block."""
    token = _CURRENT.set(call)
    try:
        yield call
    finally:
        call.end()
        _CURRENT.reset(token)


def name(*, operation: str | None = None, code: str | None = None, identifier: str | None = None) -> None:
    """Name what was learnt of the current call, if there is one."""
    call = _CURRENT.get()
    if call is None:
        return
    if operation is not None:
        call.operation = operation
    if code is not None:
        call.code = code
    # A caller may write anything there; what could be a personal number is left out.
    if identifier is not None and _IDENTIFIER.fullmatch(identifier) and not _NUMBER.search(identifier):
        call.identifier = identifier


@contextmanager
def asking() -> Iterator[None]:
    """Note when somebody is asked on behalf of the current call, and when he has answered or is given up."""
    call = _CURRENT.get()
    if call is None or call.written is not None:  # what goes on after the answer is no part of the call any more
        yield
        return
    call.asked, call.answered = monotonic(), None
    try:
        yield
    finally:
        call.answered = monotonic()

# SPDX-License-Identifier: MPL-2.0
"""
Named places at which a process can be made to die at once, so that a test can ask what was lost.

`SYGEFRAVAER_FAILPOINT=accept.after_commit:50` kills the process with SIGKILL when it passes that place for the 50th
time. Unset, a place costs one comparison. A production gateway refuses to start while the variable is set.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from sygefravaer.errors import UsageError

VARIABLE: Final = "SYGEFRAVAER_FAILPOINT"

_AROUND: Final = {
    "accept": ("commit",),  # the gateway: a message put in its lane,
    "repeat": ("record",),  # or found there;
    "refusal": ("record",),  # a call refused;
    "attempt": ("post",),  # a message sent to its receiver, by a caller's own request or by the worker,
    "settle": ("commit",),  # and what came of it;
    "claim": ("commit",),  # the worker: lanes taken,
    "release": ("commit",),  # handed back,
    "abandon": ("commit",),  # given up in the middle of an attempt,
    "move": ("commit",),  # and moved to another receiver's;
    "told": ("commit",),  # an end that a sender has been told,
    "tell": ("commit",),  # by a person,
    "remind": ("commit",),  # and an answer that is owed;
    "replay": ("commit",),  # what a person decided about a parked message
    "discard": ("commit",),
    "lookup": ("record", "post"),  # a look-up recorded, and asked,
    "outcome": ("record",),  # and what came of it
    "pump": ("claim", "post", "settle", "repeated", "release"),  # a party that sends
    "ledger": ("commit",),  # a party that receives
    "answer": ("write",),  # an answer of any part
}
"""What dying before and after matters for, by room or step."""

POINTS: Final = frozenset(
    f"{room}.{side}_{what}" for room, deeds in _AROUND.items() for what in deeds for side in ("before", "after")
)
"""Every place there is; a test holds this list against the code, and the code against the rule that it lacks none."""


class Fuse:
    """One armed place and how many passes are left."""

    def __init__(self, setting: str) -> None:
        name, _, count = setting.partition(":")
        if name not in POINTS or not (count or "1").isdecimal():
            raise UsageError(
                "FailpointUnknown",
                f"{VARIABLE} does not name a failpoint and a count; known are {', '.join(sorted(POINTS))}.",
            )
        self.name = name
        self.left = int(count or "1")

    def passes(self, name: str) -> bool:
        """Count a pass of `name`; tell whether it was the last one allowed."""
        if name == self.name:
            self.left -= 1
        return name == self.name and self.left == 0


_fuse: Fuse | None = None


def arm() -> bool:
    """Read the variable; tell whether a failpoint is armed."""
    global _fuse  # noqa: PLW0603  one process, one fuse
    setting = os.environ.get(VARIABLE)
    _fuse = Fuse(setting) if setting else None
    return _fuse is not None


def reach(name: str) -> None:
    """Pass the place `name`; end the process here if this is the pass that was asked for."""
    if _fuse is not None and _fuse.passes(name):
        os.kill(os.getpid(), signal.SIGKILL)

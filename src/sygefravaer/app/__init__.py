# SPDX-License-Identifier: MPL-2.0
"""
The composition root: builds each part from its settings, runs it, and ends it in good order.

Nothing connects before `Part.start()`. A part starts from the inside out (database, work, server, control door) and
ends from the outside in, so that nobody is let in who cannot be served.
"""

from sygefravaer.app.opening import (
    CONNECT_SECONDS,
    given,
    key_source,
    open_store,
    open_vault,
    own_tls,
    revocation_watch,
)
from sygefravaer.app.part import STOP_SECONDS, Acts, Part
from sygefravaer.app.platform import LAST_SECONDS, GatewayPart
from sygefravaer.app.rooms import PLATFORM, Rooms, rooms_of, sealed_of
from sygefravaer.app.running import build, clock_of, end_with_parent, main, run

__all__ = [
    "CONNECT_SECONDS",
    "LAST_SECONDS",
    "PLATFORM",
    "STOP_SECONDS",
    "Acts",
    "GatewayPart",
    "Part",
    "Rooms",
    "build",
    "clock_of",
    "end_with_parent",
    "given",
    "key_source",
    "main",
    "open_store",
    "open_vault",
    "own_tls",
    "revocation_watch",
    "rooms_of",
    "run",
    "sealed_of",
]

# SPDX-License-Identifier: MPL-2.0
"""
What can stand in the record, by one grammar: `thing.verb`, the verb in the past, since it has happened.

A reader filters by the thing (`lookup.*`) or by the whole. `docs/audit.md` says of each when it is written.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

GRAMMAR: Final = re.compile(r"(?P<thing>[a-z]+)\.(?P<verb>[a-z]+ed|told|drawn|run)")
"""A thing, a dot, and what was done with it: a verb in -ed, or one of the few that are irregular."""


class Event(StrEnum):
    """What can be recorded: `thing.verb`."""

    CALL_REFUSED = "call.refused"
    LOOKUP_ASKED = "lookup.asked"
    LOOKUP_ANSWERED = "lookup.answered"
    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_REPEATED = "message.repeated"
    MESSAGE_ATTEMPTED = "message.attempted"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_REFUSED = "message.refused"
    MESSAGE_PARKED = "message.parked"
    MESSAGE_REPLAYED = "message.replayed"
    MESSAGE_DISCARDED = "message.discarded"
    MESSAGE_MOVED = "message.moved"
    ROUTE_CHANGED = "route.changed"
    MESSAGE_TOLD = "message.told"
    ANSWER_REMINDED = "answer.reminded"
    AUDIT_SEARCHED = "audit.searched"
    AUDIT_EXPORTED = "audit.exported"
    AUDIT_REPORTED = "audit.reported"
    SAMPLE_DRAWN = "sample.drawn"
    KEY_ROTATED = "key.rotated"
    KEY_RESEALED = "key.resealed"
    KEY_RETIRED = "key.retired"
    KEY_REHASHED = "key.rehashed"
    KEY_REWRAPPED = "key.rewrapped"
    RETENTION_RUN = "retention.run"

    @property
    def thing(self) -> str:
        """Give what it is about."""
        return self.value.partition(".")[0]

# SPDX-License-Identifier: MPL-2.0
"""
What can stand in the record, by one grammar: `thing.verb`, the verb in the past, since it has happened.

A reader filters by the thing (`lookup.*`) or by the whole. `docs/audit.md` says of each when it is written.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

IRREGULAR: Final = ("broken", "drawn", "left", "made", "resent", "run", "set", "told", "withdrawn")
"""The verbs that do not end in -ed."""

GRAMMAR: Final = re.compile(rf"[a-z]+\.(?:[a-z]+ed|{'|'.join(IRREGULAR)})")
"""A thing, a dot, and what was done with it."""


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
    MESSAGE_SEARCHED = "message.searched"
    MESSAGE_VIEWED = "message.viewed"
    MESSAGE_REVEALED = "message.revealed"
    MESSAGE_EXPORTED = "message.exported"
    CASE_VIEWED = "case.viewed"
    ROUTE_CHANGED = "route.changed"
    MESSAGE_TOLD = "message.told"
    ANSWER_REMINDED = "answer.reminded"
    MAIL_RESENT = "mail.resent"
    LIMIT_SET = "limit.set"
    ORGANISATION_ADDED = "organisation.added"
    ORGANISATION_CHANGED = "organisation.changed"
    SYSTEM_REGISTERED = "system.registered"
    SYSTEM_CHANGED = "system.changed"
    GROUP_JOINED = "group.joined"
    GROUP_LEFT = "group.left"
    CERTIFICATE_REGISTERED = "certificate.registered"
    CERTIFICATE_WITHDRAWN = "certificate.withdrawn"
    AGREEMENT_DRAFTED = "agreement.drafted"
    AGREEMENT_REQUESTED = "agreement.requested"
    AGREEMENT_REMINDED = "agreement.reminded"
    AGREEMENT_TRIED = "agreement.tried"
    AGREEMENT_APPROVED = "agreement.approved"
    AGREEMENT_REJECTED = "agreement.rejected"
    AGREEMENT_CANCELLED = "agreement.cancelled"
    AGREEMENT_TERMINATED = "agreement.terminated"
    AGREEMENT_SUSPENDED = "agreement.suspended"
    AGREEMENT_RESUMED = "agreement.resumed"
    AGREEMENT_REPLACED = "agreement.replaced"
    ROUTE_TESTED = "route.tested"
    PROPOSAL_MADE = "proposal.made"
    PROPOSAL_CHANGED = "proposal.changed"
    PROPOSAL_CONFIRMED = "proposal.confirmed"
    PROPOSAL_WITHDRAWN = "proposal.withdrawn"
    PROPOSAL_FAILED = "proposal.failed"
    GLASS_BROKEN = "glass.broken"
    ACCESS_REFUSED = "access.refused"
    ACCOUNT_ADDED = "account.added"
    ACCOUNT_CHANGED = "account.changed"
    SESSION_OPENED = "session.opened"
    SESSION_REFUSED = "session.refused"
    SESSION_CLOSED = "session.closed"
    TOKEN_MADE = "token.made"  # noqa: S105  an event's name
    TOKEN_ENDED = "token.ended"  # noqa: S105
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

# SPDX-License-Identifier: MPL-2.0
"""
Order per key in SQL: what has been accepted and not yet arrived.

A lane is one recipient system, one municipality and one case. Its row is the lock: who accepts a message takes it
first, so message ids grow in commit order within a lane, and who sends holds a token and a lease on it. `open` counts
the lane's unsettled messages, so one look at the row says whether the lane is free, and settled messages, however
many, cost nothing. Only the head of a lane is ever sent.

Accepting is one statement: lane, message, and whatever row the caller wants written in the same breath (`Trail`) if
and only if the message is new. A claim takes several messages of a lane; they are sent and settled one by one, in
order. A failure hands back the one that failed and all behind it. A token that has been replaced settles nothing.

The lease follows the database's clock, since the clocks of nodes differ; everything else follows the time it is given.
"""

from sygefravaer.lanes.pump import IN_TURN, POLL, Deliver, Pump, Settled, Verdict
from sygefravaer.lanes.room import Lanes
from sygefravaer.lanes.statements import MIGRATIONS
from sygefravaer.lanes.values import (
    BATCH,
    GIVE_UP,
    LEASE,
    OPEN,
    REPEATS,
    RETRY_CEILING,
    RETRY_JITTER,
    TRANSITIONS,
    Claim,
    Enqueued,
    Entry,
    NotAsProvided,
    Schedule,
    Standing,
    Status,
    Stored,
    jitter,
    seeded_jitter,
)

__all__ = [
    "BATCH",
    "GIVE_UP",
    "IN_TURN",
    "LEASE",
    "MIGRATIONS",
    "OPEN",
    "POLL",
    "REPEATS",
    "RETRY_CEILING",
    "RETRY_JITTER",
    "TRANSITIONS",
    "Claim",
    "Deliver",
    "Enqueued",
    "Entry",
    "Lanes",
    "NotAsProvided",
    "Pump",
    "Schedule",
    "Settled",
    "Standing",
    "Status",
    "Stored",
    "Verdict",
    "jitter",
    "seeded_jitter",
]

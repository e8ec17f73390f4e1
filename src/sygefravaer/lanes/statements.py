# SPDX-License-Identifier: MPL-2.0
"""
The SQL of the lanes: their tables, and one statement for each thing that is done to them.

The database's clock is asked in one constant, for the lease.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from sygefravaer.lanes.values import Entry, Stored
from sygefravaer.store import LOOSELY

LEASE_NOW: Final = "clock_timestamp()"  # the one use of the database's clock in the house
LAST_CVR: Final = "z"  # sorts after every CVR number, in every collation

MIGRATIONS: Final = (
    """
CREATE TABLE lane (
    lane_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient uuid NOT NULL,
    municipality_cvr text NOT NULL,
    case_key text NOT NULL,
    open integer NOT NULL CHECK (open >= 0),
    parked boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL,
    owner uuid,
    token uuid,
    lease_until timestamptz,
    UNIQUE (recipient, municipality_cvr, case_key)
) WITH (fillfactor = 80);

CREATE INDEX lane_due ON lane (recipient, next_at) WHERE open > 0 AND NOT parked;

CREATE TABLE message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane_id bigint NOT NULL REFERENCES lane,
    recipient uuid NOT NULL,
    municipality_cvr text NOT NULL,
    case_key text NOT NULL,
    sender uuid NOT NULL,
    besked_id uuid NOT NULL,
    operation text NOT NULL,
    korrelations_id uuid,
    reference_besked_id uuid,
    nemrefusions_id uuid,
    sags_id uuid,
    cpr_key bytea NOT NULL,
    digest bytea NOT NULL,
    body bytea NOT NULL,
    accepted_at timestamptz NOT NULL,
    call_uuid uuid,
    status text NOT NULL CHECK (
        status IN ('queued', 'sending', 'delivered', 'refused', 'under_way', 'parked', 'discarded')
    ),
    failures integer NOT NULL DEFAULT 0,
    first_attempt_at timestamptz,
    settled_at timestamptz,
    receipt bytea,
    detail text NOT NULL DEFAULT '',
    repeats integer NOT NULL DEFAULT 0,
    repeat_at timestamptz,
    UNIQUE (sender, besked_id)
) WITH (fillfactor = 80);

CREATE INDEX message_open ON message (lane_id, message_id) WHERE status IN ('queued', 'sending', 'parked');
CREATE INDEX message_repeat ON message (repeat_at) WHERE repeat_at IS NOT NULL;

CREATE TABLE attempt (
    attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES message,
    municipality_cvr text NOT NULL,
    owner uuid,
    at timestamptz NOT NULL,
    outcome text NOT NULL,
    stale boolean NOT NULL DEFAULT false,
    detail text NOT NULL DEFAULT ''
);

CREATE INDEX attempt_message ON attempt (message_id);
""",
    """
-- What is due at the same instant goes in the order in which the lanes came to be.
DROP INDEX lane_due;
CREATE INDEX lane_due ON lane (recipient, next_at, lane_id) WHERE open > 0 AND NOT parked;
""",
    """
-- Municipalities of a recipient take turns. On a big table it is made CONCURRENTLY before (docs/operations.md).
CREATE INDEX IF NOT EXISTS lane_turn ON lane (recipient, municipality_cvr, next_at, lane_id)
WHERE open > 0 AND NOT parked;
DROP INDEX IF EXISTS lane_due;
""",
    """
-- An attempt says how long it took, in seconds, and when the next one is.
ALTER TABLE attempt ADD COLUMN took double precision, ADD COLUMN again_at timestamptz;
""",
)

ENTRY: Final = tuple(column.name for column in fields(Entry))
STORED: Final = tuple(column.name for column in fields(Stored))
COLUMNS: Final = ", ".join(f"message.{name}" for name in STORED)

# `{provided}` is empty, or a condition beside it.
ENQUEUE: Final = f"""
WITH taken AS (
    INSERT INTO lane AS held (recipient, municipality_cvr, case_key, open, next_at, owner, token, lease_until)
    SELECT %(recipient)s::uuid, %(municipality_cvr)s, %(case_key)s, 1, %(accepted_at)s::timestamptz, %(owner)s::uuid,
           %(token)s::uuid, CASE WHEN %(token)s::uuid IS NOT NULL THEN {LEASE_NOW} + %(lease)s::interval END
    WHERE NOT EXISTS (SELECT FROM message WHERE sender = %(sender)s AND besked_id = %(besked_id)s){{provided}}
    ON CONFLICT (recipient, municipality_cvr, case_key) DO UPDATE SET
        open = held.open + 1,
        next_at = CASE WHEN held.open = 0 THEN excluded.next_at ELSE held.next_at END,
        owner = CASE WHEN held.open = 0 THEN excluded.owner ELSE held.owner END,
        token = CASE WHEN held.open = 0 THEN excluded.token ELSE held.token END,
        lease_until = CASE WHEN held.open = 0 THEN excluded.lease_until ELSE held.lease_until END
    RETURNING lane_id, coalesce(token = %(token)s::uuid, false) AS claimed
), fresh AS (
    INSERT INTO message (lane_id, status, {", ".join(ENTRY)})
    SELECT lane_id, CASE WHEN claimed THEN 'sending' ELSE 'queued' END, {", ".join(f"%({name})s" for name in ENTRY)}
    FROM taken
    RETURNING message_id, lane_id, status
), gate AS (SELECT message_id FROM fresh)"""

ENQUEUE_END: Final = """
SELECT taken.lane_id, taken.claimed, fresh.message_id, fresh.status FROM taken, fresh"""

FIND: Final = f"SELECT {COLUMNS} FROM message WHERE sender = %(sender)s AND besked_id = %(besked_id)s"
GET: Final = f"SELECT {COLUMNS} FROM message WHERE message_id = %(message_id)s"
LIST_PARKED: Final = f"""
SELECT {COLUMNS} FROM message
WHERE status IN ('queued', 'sending', 'parked') AND status = 'parked' ORDER BY message_id LIMIT %(limit)s"""

UNHELD: Final = f"open > 0 AND NOT parked AND (lease_until IS NULL OR lease_until <= {LEASE_NOW})"

# The queues: for each recipient and municipality the lane that is due first, by one index step each. A queue costs a
# step and not its backlog, and so does a recipient that is left out, whatever it has waiting.
QUEUES: Final = f"""
WITH RECURSIVE queue (recipient, municipality_cvr, next_at, lane_id) AS (
    (SELECT recipient, municipality_cvr, next_at, lane_id FROM lane WHERE {UNHELD}
     ORDER BY recipient, municipality_cvr, next_at, lane_id LIMIT 1)
    UNION ALL
    SELECT found.* FROM queue CROSS JOIN LATERAL (
        SELECT lane.recipient, lane.municipality_cvr, lane.next_at, lane.lane_id FROM lane
        WHERE {UNHELD} AND (lane.recipient, lane.municipality_cvr) > (
            queue.recipient,
            CASE WHEN queue.recipient = ANY (%(avoid)s::uuid[]) THEN '{LAST_CVR}' ELSE queue.municipality_cvr END
        )
        ORDER BY lane.recipient, lane.municipality_cvr, lane.next_at, lane.lane_id LIMIT 1
    ) AS found
), waiting AS (
    SELECT * FROM queue WHERE recipient <> ALL (%(avoid)s::uuid[])
)"""

# Whose turn it is: the first queue of each recipient after the one that was served last, then the second of each, and
# so on; recipients too go on after the one that was served last. Where the order must not depend on what was before
# (`in_turn` false), by age alone. Then a lane of each queue before a second lane of any. More candidates than wanted,
# so that several who claim at the same instant all find something, but never more than a recipient has room for.
CLAIM_LANES: Final = f"""{QUEUES}, served AS (
    SELECT * FROM unnest(%(recipients)s::uuid[], %(municipalities)s::text[]) AS one (recipient, municipality_cvr)
), room AS (
    SELECT * FROM unnest(%(limited)s::uuid[], %(limits)s::integer[]) AS one (recipient, lanes)
), round AS (
    SELECT waiting.*, CASE WHEN %(in_turn)s THEN row_number() OVER (
        PARTITION BY waiting.recipient
        ORDER BY waiting.municipality_cvr <= coalesce(served.municipality_cvr, ''), waiting.municipality_cvr
    ) END AS number
    FROM waiting LEFT JOIN served USING (recipient) WHERE next_at <= %(now)s
), turn AS (
    SELECT recipient, municipality_cvr, row_number() OVER (
        ORDER BY number,
            CASE WHEN %(in_turn)s THEN recipient <= %(last)s::uuid END, CASE WHEN %(in_turn)s THEN recipient END,
            next_at, lane_id
    ) AS number
    FROM round ORDER BY number LIMIT 4 * %(lanes)s + 8
), found AS (
    SELECT turn.recipient, lane.*, turn.number AS turn FROM turn CROSS JOIN LATERAL (
        SELECT lane_id, next_at, row_number() OVER (ORDER BY next_at, lane_id) AS number FROM lane
        WHERE lane.recipient = turn.recipient AND lane.municipality_cvr = turn.municipality_cvr
          AND next_at <= %(now)s AND {UNHELD}
        ORDER BY next_at, lane_id LIMIT greatest(2, (4 * %(lanes)s + 8) / (SELECT count(*) FROM turn))
    ) AS lane
), ordered AS (
    SELECT recipient, lane_id, row_number() OVER (
        ORDER BY CASE WHEN %(in_turn)s THEN number END, CASE WHEN %(in_turn)s THEN turn END, next_at, lane_id
    ) AS number
    FROM found
), candidate AS (
    SELECT lane_id, number FROM (
        SELECT ordered.*, row_number() OVER (PARTITION BY recipient ORDER BY number) AS nth FROM ordered
    ) AS ordered LEFT JOIN room USING (recipient)
    WHERE room.lanes IS NULL OR nth <= room.lanes
), taken AS (
    SELECT lane_id, token IS NOT NULL AS lapsed,
        (SELECT number FROM candidate WHERE candidate.lane_id = lane.lane_id) AS number
    FROM lane
    WHERE lane_id = ANY (ARRAY(SELECT lane_id FROM candidate)) AND next_at <= %(now)s AND {UNHELD}
    ORDER BY number
    LIMIT %(lanes)s
    FOR UPDATE SKIP LOCKED
)
UPDATE lane SET owner = %(owner)s, token = %(token)s, lease_until = {LEASE_NOW} + %(lease)s::interval
FROM taken WHERE lane.lane_id = taken.lane_id
RETURNING lane.lane_id, lane.recipient, lane.municipality_cvr, taken.lapsed, taken.number"""

PUT_BACK_LAPSED: Final = """
WITH left_over AS (
    SELECT message_id, row_number() OVER (PARTITION BY lane_id ORDER BY message_id) = 1 AS head
    FROM message WHERE lane_id = ANY (%(lane_ids)s) AND status = 'sending'
), back AS (
    UPDATE message SET
        status = 'queued',
        first_attempt_at = CASE WHEN head THEN coalesce(first_attempt_at, %(now)s) ELSE first_attempt_at END
    FROM left_over WHERE message.message_id = left_over.message_id
    RETURNING message.message_id, municipality_cvr
)
INSERT INTO attempt (message_id, municipality_cvr, at, outcome, detail)
SELECT message_id, municipality_cvr, %(now)s, 'unknown', 'the lease ran out' FROM back"""

# A statement of its own, after the lanes are locked: what was committed before the lock must be seen.
CLAIM_MESSAGES: Final = f"""
WITH head AS (
    SELECT message_id FROM unnest(%(lane_ids)s::bigint[]) AS lane (lane_id) CROSS JOIN LATERAL (
        SELECT message_id FROM message
        WHERE message.lane_id = lane.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'queued'
        ORDER BY message_id LIMIT %(messages)s
    ) AS first
)
UPDATE message SET status = 'sending' FROM head WHERE message.message_id = head.message_id
RETURNING {COLUMNS}"""

SETTLE: Final = f"""
WITH held AS (
    UPDATE lane SET
        open = open - %(closes)s,
        parked = %(parks)s,
        next_at = %(next_at)s,
        owner = CASE WHEN %(ends)s THEN NULL ELSE owner END,
        token = CASE WHEN %(ends)s THEN NULL ELSE token END,
        lease_until = CASE WHEN %(ends)s THEN NULL ELSE {LEASE_NOW} + %(lease)s::interval END
    WHERE lane_id = %(lane_id)s AND token = %(token)s
      AND EXISTS (SELECT FROM message WHERE message_id = %(message_id)s AND status = 'sending')
    RETURNING lane_id, open
), moved AS (
    UPDATE message SET
        status = %(status)s,
        receipt = coalesce(%(receipt)s, receipt),
        failures = failures + %(counts)s,
        first_attempt_at = coalesce(first_attempt_at, %(now)s),
        settled_at = CASE WHEN %(closes)s > 0 THEN %(now)s::timestamptz END,
        repeat_at = %(repeat_at)s,
        detail = %(detail)s
    FROM held WHERE message_id = %(message_id)s
), gate AS (SELECT %(message_id)s::bigint AS message_id FROM held)"""

# What lies behind the message in the same claim, when it ends before its last one.
SETTLE_BACK: Final = """, back AS (
    UPDATE message SET status = 'queued'
    FROM held
    WHERE message.lane_id = held.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'sending'
      AND message_id > %(message_id)s
)"""

SETTLE_END: Final = """
INSERT INTO attempt (message_id, municipality_cvr, owner, at, outcome, stale, detail, took, again_at)
SELECT %(message_id)s, %(municipality_cvr)s, %(owner)s, %(now)s, %(status)s, NOT EXISTS (SELECT FROM held), %(detail)s,
       %(took)s, %(again_at)s
RETURNING stale, %(ends)s AND coalesce((SELECT open > 0 FROM held), false) AS behind"""

SETTLE_LOOSELY: Final = f"{SETTLE_END}, {LOOSELY}"

RELEASE: Final = """
WITH held AS (
    UPDATE lane SET owner = NULL, token = NULL, lease_until = NULL, next_at = %(next_at)s
    WHERE lane_id = %(lane_id)s AND token = %(token)s
    RETURNING lane_id
), back AS (
    UPDATE message SET status = 'queued'
    FROM held
    WHERE message.lane_id = held.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'sending'
)
SELECT lane_id FROM held"""

EXTEND: Final = f"""
UPDATE lane SET lease_until = {LEASE_NOW} + %(lease)s::interval WHERE lane_id = %(lane_id)s AND token = %(token)s"""

ABANDON: Final = f"""
UPDATE lane SET lease_until = {LEASE_NOW} WHERE lane_id = %(lane_id)s AND token = %(token)s"""

REPLAY: Final = """
WITH moved AS (
    UPDATE message SET status = 'queued', failures = 0, first_attempt_at = NULL
    WHERE message_id = %(message_id)s AND status = 'parked'
    RETURNING lane_id
)
UPDATE lane SET parked = false, next_at = %(now)s FROM moved WHERE lane.lane_id = moved.lane_id"""

DISCARD: Final = """
WITH moved AS (
    UPDATE message SET status = 'discarded', receipt = %(receipt)s, settled_at = %(now)s, detail = %(detail)s
    WHERE message_id = %(message_id)s AND status = 'parked'
    RETURNING lane_id
)
UPDATE lane SET parked = false, open = open - 1, next_at = %(now)s FROM moved WHERE lane.lane_id = moved.lane_id"""

MOVE_TARGET: Final = """
INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)
SELECT %(recipient)s, municipality_cvr, case_key, 0, %(now)s FROM lane WHERE lane_id = %(lane_id)s
ON CONFLICT DO NOTHING"""

# Both rows in the order of their numbers: two who move in opposite directions wait for each other and no more.
MOVE_LOCK: Final = """
SELECT found.lane_id, found.token FROM lane AS mine JOIN lane AS found
    ON found.recipient = ANY (ARRAY[mine.recipient, %(recipient)s::uuid])
    AND found.municipality_cvr = mine.municipality_cvr AND found.case_key = mine.case_key
WHERE mine.lane_id = %(lane_id)s
ORDER BY found.lane_id FOR UPDATE OF found"""

MOVE: Final = """
WITH picked AS (
    SELECT message_id, status FROM message
    WHERE lane_id = %(lane_id)s AND status IN ('queued', 'sending', 'parked') AND message_id = ANY (%(message_ids)s)
), moved AS (
    UPDATE message SET
        lane_id = %(target)s, recipient = %(recipient)s, status = 'queued', failures = 0, first_attempt_at = NULL
    FROM picked WHERE message.message_id = picked.message_id
    RETURNING picked.status
), back AS (
    UPDATE message SET status = 'queued'
    WHERE lane_id = %(lane_id)s AND status IN ('queued', 'sending', 'parked') AND status = 'sending'
      AND message_id <> ALL (%(message_ids)s)
), counted AS (
    SELECT count(*) AS number, count(*) FILTER (WHERE status = 'parked') > 0 AS parked FROM moved
)
UPDATE lane SET
    open = open + CASE WHEN lane_id = %(target)s THEN number ELSE -number END,
    parked = lane.parked AND (lane_id = %(target)s OR NOT counted.parked),
    next_at = CASE WHEN lane_id = %(target)s AND open > 0 THEN next_at ELSE %(now)s END,
    owner = NULL, token = NULL, lease_until = NULL
FROM counted WHERE lane_id IN (%(lane_id)s, %(target)s)"""

REPEATS_DUE: Final = f"""
SELECT {COLUMNS} FROM message WHERE repeat_at <= %(now)s
ORDER BY repeat_at, message_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""

REPEAT_NEXT: Final = """
UPDATE message SET repeats = repeats + 1, repeat_at = %(repeat_at)s WHERE message_id = %(message_id)s"""

REPEATED: Final = """
WITH moved AS (
    UPDATE message SET
        status = %(status)s, receipt = coalesce(%(receipt)s, receipt), settled_at = %(now)s, repeat_at = NULL,
        detail = %(detail)s
    WHERE message_id = %(message_id)s AND status = 'under_way'
    RETURNING message_id
)
INSERT INTO attempt (message_id, municipality_cvr, owner, at, outcome, stale, detail, took)
SELECT %(message_id)s, %(municipality_cvr)s, %(owner)s, %(now)s, %(status)s, NOT EXISTS (SELECT FROM moved),
       %(detail)s, %(took)s
RETURNING stale"""

NEXT: Final = """least(
    (SELECT min(next_at) FROM waiting),
    (SELECT min(repeat_at) FROM message WHERE repeat_at IS NOT NULL)
)"""

DUE: Final = f"{QUEUES} SELECT {NEXT} AS due"

COUNTS: Final = """
SELECT status, count(*) AS number FROM message WHERE status IN ('queued', 'sending', 'parked') GROUP BY status
UNION ALL
SELECT 'under_way', count(*) FROM message WHERE repeat_at IS NOT NULL"""

STANDING: Final = f"""{QUEUES}, unsettled AS (
    SELECT count(*) FILTER (WHERE status = 'sending') AS in_flight, count(*) FILTER (WHERE status = 'parked') AS parked
    FROM message WHERE status IN ('queued', 'sending', 'parked')
)
SELECT {NEXT} AS next, in_flight, parked,
       (SELECT coalesce(max(message_id), 0) FROM message) AS messages,
       (SELECT coalesce(max(attempt_id), 0) FROM attempt) AS attempts
FROM unsettled"""

# SPDX-License-Identifier: MPL-2.0
"""
What KSD keeps: cases with every version they ever had, what was told and answered, who looked.

Pictures, personal numbers and free text are sealed; a citizen is found by the keyed hash of a number. A version says
from which day it is true (`effective_on`) and when it was known (`recorded_at`), and which message or act and which
rule caused it. What KSD will do by itself stands nowhere but as the instant at which it looks again (`sag.next_at`):
what is to be done then follows from the case. Where several are due at one instant they go by number, as they came.
"""

from typing import Final

MIGRATIONS: Final = (
    """
CREATE TABLE person_number (
    cpr_key bytea PRIMARY KEY,
    person_id uuid NOT NULL,
    number bytea NOT NULL,
    is_current boolean NOT NULL,
    known_at timestamptz NOT NULL
);
CREATE INDEX person_number_person ON person_number (person_id);
CREATE UNIQUE INDEX person_number_current ON person_number (person_id) WHERE is_current;

CREATE TABLE sag (
    sags_id uuid PRIMARY KEY,
    nemrefusions_id uuid NOT NULL UNIQUE,
    person_id uuid NOT NULL,
    municipality_cvr text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    before_end text,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX sag_person ON sag (person_id);
CREATE INDEX sag_municipality ON sag (municipality_cvr, sags_id);

CREATE TABLE report (
    nemrefusions_id uuid PRIMARY KEY,
    sags_id uuid NOT NULL REFERENCES sag,
    attached_at timestamptz NOT NULL
);
CREATE INDEX report_sag ON report (sags_id);

CREATE TABLE sag_version (
    sags_id uuid NOT NULL REFERENCES sag,
    version integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    effective_on date NOT NULL,
    event text NOT NULL,
    reasons text[] NOT NULL,
    municipality_cvr text NOT NULL,
    moved_to_cvr text,
    state text NOT NULL,
    first_day date NOT NULL,
    last_day date,
    besked_id uuid NOT NULL,
    cause text NOT NULL,
    cause_id uuid,
    rule text NOT NULL,
    picture bytea NOT NULL,
    PRIMARY KEY (sags_id, version)
);

CREATE TABLE request (
    anmodning_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    sags_id uuid NOT NULL REFERENCES sag,
    municipality_cvr text NOT NULL,
    korrelations_id uuid NOT NULL,
    kind text NOT NULL,
    review date NOT NULL,
    deadline date NOT NULL,
    codes text[] NOT NULL,
    weeks numeric(4,1) NOT NULL,
    reminders integer NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'open',
    assessing boolean NOT NULL DEFAULT false,
    withdrawal text,
    refusal text,
    asked_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE INDEX request_sag ON request (sags_id);

CREATE TABLE sent (
    besked_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    operation text NOT NULL,
    sags_id uuid NOT NULL REFERENCES sag,
    version integer NOT NULL,
    anmodning_id uuid REFERENCES request,
    municipality_cvr text NOT NULL,
    korrelations_id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    answer text,
    final text,
    settled_at timestamptz,
    replaced_by uuid
);
CREATE INDEX sent_sag ON sent (sags_id, version);
CREATE INDEX sent_request ON sent (anmodning_id) WHERE anmodning_id IS NOT NULL;

CREATE TABLE answer (
    answer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    besked_id uuid NOT NULL,
    operation text NOT NULL,
    reference_besked_id uuid NOT NULL,
    sags_id uuid NOT NULL REFERENCES sag,
    municipality_cvr text NOT NULL,
    code text NOT NULL,
    codes text[] NOT NULL,
    reason bytea,
    remarks text[] NOT NULL,
    received_at timestamptz NOT NULL
);
CREATE INDEX answer_reference ON answer (reference_besked_id);
CREATE INDEX answer_sag ON answer (sags_id);

CREATE TABLE jobcentersag (
    sags_id uuid NOT NULL REFERENCES sag,
    municipality_cvr text NOT NULL,
    jobcentersag_id uuid NOT NULL,
    status text,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (sags_id, municipality_cvr)
);

CREATE TABLE applied (
    municipality_cvr text NOT NULL,
    opdatering_id uuid NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    digest bytea NOT NULL,
    sags_id uuid NOT NULL REFERENCES sag,
    besked_id uuid NOT NULL,
    kinds text[] NOT NULL,
    effective_on date NOT NULL,
    content bytea NOT NULL,
    version integer,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (municipality_cvr, opdatering_id)
);
CREATE INDEX applied_sag ON applied (sags_id);

CREATE TABLE access_log (
    access_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    operation text NOT NULL,
    besked_id uuid NOT NULL,
    call_uuid uuid NOT NULL,
    caller text,
    system_id uuid NOT NULL,
    municipality_cvr text NOT NULL,
    on_behalf_of bytea,
    cpr_key bytea NOT NULL,
    sags_id uuid,
    code text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX access_log_citizen ON access_log (cpr_key, access_id);

CREATE TABLE task (
    task_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    besked_id uuid,
    sags_id uuid NOT NULL REFERENCES sag,
    municipality_cvr text NOT NULL,
    codes text[] NOT NULL,
    follow_on text NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    UNIQUE (kind, besked_id)
);
CREATE INDEX task_open ON task (task_id) WHERE closed_at IS NULL;

CREATE TABLE setting (
    name text PRIMARY KEY,
    value jsonb NOT NULL
);
""",
    # What KSD does by itself: `next_at` is when it next looks at a case; a report that is held waits to be taken.
    """
ALTER TABLE sag
    ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN next_at timestamptz,
    ADD COLUMN stopped_on date,
    ADD COLUMN pensioner_since date,
    ADD COLUMN review_by_hand boolean NOT NULL DEFAULT false;
CREATE INDEX sag_next ON sag (next_at, number) WHERE next_at IS NOT NULL;
UPDATE sag SET next_at = changed_at;

CREATE TABLE recount (
    person_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    due_at timestamptz NOT NULL
);

CREATE TABLE held_report (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bytea NOT NULL,
    came_at timestamptz NOT NULL
);
""",
)

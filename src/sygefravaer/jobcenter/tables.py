# SPDX-License-Identifier: MPL-2.0
"""
The tables of a jobcentre system, all in its own schema.

    jobcentersag     a citizen's spell in a municipality; at most one is open: a partial unique index says so
    sygedagpengesag  a case of KSD's that hangs on one, as the newest message told it
    received         every message that came, and what was said to it
    extension        a request for extension, one row however often KSD reminds
    citizen          what the municipality's own register holds against a citizen
    sent             every message that was written, and the receipt it got
    task             what was refused or is stuck, for a person
    setting          what an act has set and a restart keeps
    follow_up        what was done, planned and missed on a jobcentersag
    kept_update      an update that KSD refused, as it was, for the day its case runs again

Where things are due at the same instant they go by number, as they came. Numbers of citizens (`cpr`) and snapshots are
sealed, a citizen is found by keyed hash (`cpr_key`).
"""

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE jobcentersag (
        jobcentersag_id  uuid PRIMARY KEY,
        municipality_cvr text NOT NULL,
        cpr_key          bytea NOT NULL,
        cpr              bytea NOT NULL,
        state            text NOT NULL,
        before           text NOT NULL,
        kategori         text,
        visited          date,
        first_day        date NOT NULL,
        opened_at        timestamptz NOT NULL,
        changed_at       timestamptz NOT NULL
    );
    CREATE UNIQUE INDEX jobcentersag_open ON jobcentersag (municipality_cvr, cpr_key) WHERE state <> 'AFSLUTTET';
    CREATE INDEX jobcentersag_citizen ON jobcentersag (cpr_key);
    CREATE TABLE sygedagpengesag (
        municipality_cvr text NOT NULL,
        sags_id          uuid NOT NULL,
        jobcentersag_id  uuid NOT NULL REFERENCES jobcentersag,
        nemrefusions_id  uuid NOT NULL,
        version          integer NOT NULL,
        tilstand         text NOT NULL,
        ended_by         text,
        opened           boolean NOT NULL,
        ask_at           timestamptz,
        first_day        date NOT NULL,
        snapshot         bytea NOT NULL,
        changed_at       timestamptz NOT NULL,
        PRIMARY KEY (municipality_cvr, sags_id)
    );
    CREATE INDEX sygedagpengesag_of ON sygedagpengesag (jobcentersag_id);
    CREATE INDEX sygedagpengesag_ask ON sygedagpengesag (ask_at) WHERE ask_at IS NOT NULL;
    CREATE TABLE received (
        seq              bigint GENERATED ALWAYS AS IDENTITY,
        sender           uuid NOT NULL,
        besked_id        uuid NOT NULL,
        operation        text NOT NULL,
        municipality_cvr text NOT NULL,
        sags_id          uuid NOT NULL,
        version          integer NOT NULL,
        haendelsestype   text,
        anmodning_id     uuid,
        korrelations_id  uuid NOT NULL,
        nemrefusions_id  uuid,
        cpr              bytea NOT NULL,
        verdict          text NOT NULL,
        code             text,
        answer           text,
        answer_due       timestamptz,
        received_at      timestamptz NOT NULL,
        PRIMARY KEY (sender, besked_id)
    );
    CREATE INDEX received_id ON received (besked_id);
    CREATE INDEX received_case ON received (municipality_cvr, sags_id);
    CREATE INDEX received_order ON received (seq);
    CREATE INDEX received_due ON received (answer_due) WHERE answer_due IS NOT NULL;
    CREATE TABLE extension (
        municipality_cvr text NOT NULL,
        anmodning_id     uuid NOT NULL,
        sags_id          uuid NOT NULL,
        version          integer NOT NULL,
        besked_id        uuid NOT NULL,
        korrelations_id  uuid NOT NULL,
        nemrefusions_id  uuid,
        cpr              bytea NOT NULL,
        anmodningstype   text NOT NULL,
        rykkernummer     integer NOT NULL,
        revurderingsdato date NOT NULL,
        svarfrist        date NOT NULL,
        mulige           text[] NOT NULL,
        snapshot         bytea NOT NULL,
        state            text NOT NULL CHECK (state IN ('waiting', 'answered', 'withdrawn')),
        answer           text,
        answer_due       timestamptz,
        received_at      timestamptz NOT NULL,
        PRIMARY KEY (municipality_cvr, anmodning_id)
    );
    CREATE INDEX extension_due ON extension (answer_due) WHERE answer_due IS NOT NULL;
    CREATE INDEX extension_case ON extension (municipality_cvr, sags_id);
    CREATE TABLE citizen (
        municipality_cvr text NOT NULL,
        cpr_key          bytea NOT NULL,
        fact             text NOT NULL,
        PRIMARY KEY (municipality_cvr, cpr_key)
    );
    CREATE TABLE sent (
        seq              bigint GENERATED ALWAYS AS IDENTITY,
        besked_id        uuid PRIMARY KEY,
        operation        text NOT NULL,
        municipality_cvr text NOT NULL,
        sags_id          uuid,
        anmodning_id     uuid,
        reference        uuid,
        content          text NOT NULL,
        made_at          timestamptz NOT NULL,
        again_of         uuid,
        receipt          text,
        codes            text[] NOT NULL DEFAULT '{}'
    );
    CREATE INDEX sent_order ON sent (seq);
    CREATE TABLE task (
        task_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        besked_id        uuid UNIQUE NOT NULL,
        municipality_cvr text NOT NULL,
        sags_id          uuid,
        operation        text NOT NULL,
        code             text NOT NULL,
        text             text NOT NULL,
        made_at          timestamptz NOT NULL,
        done_at          timestamptz
    );
    CREATE TABLE setting (
        name             text PRIMARY KEY,
        content          text NOT NULL
    );
    """,
    """
    ALTER TABLE jobcentersag ADD COLUMN scheme text;
    ALTER TABLE jobcentersag ADD COLUMN act_at timestamptz;
    ALTER TABLE jobcentersag ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
    ALTER TABLE extension ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
    CREATE INDEX jobcentersag_act ON jobcentersag (act_at) WHERE act_at IS NOT NULL;
    ALTER TABLE sygedagpengesag ADD COLUMN kategori text;
    ALTER TABLE sygedagpengesag ADD COLUMN expected date;
    ALTER TABLE sygedagpengesag ADD COLUMN early_since date;
    ALTER TABLE sygedagpengesag ADD COLUMN beskaeftigelse text;
    ALTER TABLE sygedagpengesag ADD COLUMN known_at timestamptz;
    ALTER TABLE sygedagpengesag ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
    ALTER TABLE sygedagpengesag ADD COLUMN reopened_at timestamptz;
    CREATE TABLE follow_up (
        follow_up_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        jobcentersag_id  uuid NOT NULL REFERENCES jobcentersag,
        what             text NOT NULL,
        day              date NOT NULL,
        kategori         text,
        kind             text,
        form             text,
        planned_at       timestamptz,
        held_at          timestamptz,
        outcome          text,
        besked_id        uuid,
        refused          boolean NOT NULL DEFAULT false,
        closed           boolean NOT NULL DEFAULT false,
        noted_at         timestamptz NOT NULL
    );
    CREATE INDEX follow_up_of ON follow_up (jobcentersag_id);
    CREATE INDEX follow_up_told ON follow_up (besked_id);
    CREATE TABLE kept_update (
        besked_id        uuid PRIMARY KEY,
        number           bigint GENERATED ALWAYS AS IDENTITY,
        municipality_cvr text NOT NULL,
        sags_id          uuid,
        content          text NOT NULL,
        code             text NOT NULL,
        body             bytea NOT NULL,
        made_at          timestamptz NOT NULL,
        again_as         uuid
    );
    CREATE INDEX kept_update_case ON kept_update (municipality_cvr, sags_id);
    """,
)

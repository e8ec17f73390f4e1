# SPDX-License-Identifier: MPL-2.0
"""
The tables of the administration itself: who may sign in, who is signed in, and what was asked with a key.

Nothing here opens anything when it is read: passwords are argon2 hashes, tokens and sessions are SHA-256 of 32 random
bytes, answers that are kept for a key are sealed.
"""

from __future__ import annotations

from typing import Final

from sygefravaer.store import Sealed

ANSWER: Final = "admin answer"  # what a sealed value is, so that one cannot stand for another
VERIFIER: Final = "login verifier"
LOOK: Final = "look purpose"
SEALED: Final = (
    Sealed(table="answered", column="body", context=ANSWER),
    Sealed(table="login_begun", column="verifier", context=VERIFIER),
    Sealed(table="citizen_look", column="purpose", context=LOOK),
)
"""Every sealed column of these tables."""

MIGRATIONS: Final = (
    """
    -- One way to sign in. Who the person behind it is, `person` says: two accounts of one person are one pair of eyes.
    CREATE TABLE account (
        account_id uuid PRIMARY KEY,
        login      text UNIQUE,
        password   text,
        issuer     text,
        subject    text,
        person     text NOT NULL,
        name       text NOT NULL,
        cvr        text NOT NULL,
        roles      text[] NOT NULL,
        active     boolean NOT NULL DEFAULT true,
        version    integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        UNIQUE (issuer, subject)
    );
    -- A session or a token of an account, by the hash of its secret; the times are the machine's.
    CREATE TABLE credential (
        secret     bytea PRIMARY KEY,
        credential_id uuid NOT NULL UNIQUE,
        account_id uuid NOT NULL REFERENCES account,
        kind       text NOT NULL CHECK (kind IN ('session', 'token')),
        name       text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL,
        seen_at    timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    );
    CREATE INDEX credential_of ON credential (account_id);
    CREATE INDEX credential_end ON credential (expires_at);
    -- Refused sign-ins, by keyed hash of the login and of the address; the times are the machine's.
    CREATE TABLE login_failure (
        key bytea NOT NULL,
        at  timestamptz NOT NULL
    );
    CREATE INDEX login_failure_of ON login_failure (key, at);
    -- A sign-in at the provider that has begun; the time is the machine's.
    CREATE TABLE login_begun (
        state    bytea PRIMARY KEY,
        nonce    text NOT NULL,
        verifier bytea NOT NULL,
        at       timestamptz NOT NULL
    );
    -- What was answered to a request with an Idempotency-Key; status is NULL while it is being answered.
    CREATE TABLE answered (
        account_id uuid NOT NULL,
        key        text NOT NULL,
        request    bytea NOT NULL,
        status     integer,
        headers    jsonb,
        body       bytea,
        at         timestamptz NOT NULL,
        PRIMARY KEY (account_id, key)
    );
    """,
    """
    -- What takes two persons: proposed by one (`person` is he, whatever account he used), confirmed by another.
    -- `glass` is the reason of somebody who did it alone.
    CREATE TABLE proposal (
        proposal_id uuid PRIMARY KEY,
        kind        text NOT NULL CHECK (kind IN ('route', 'agreement', 'replay')),
        asked       jsonb NOT NULL,
        plan        text,
        reason      text NOT NULL,
        status      text NOT NULL CHECK (status IN ('open', 'confirmed', 'done', 'withdrawn', 'failed')),
        version     integer NOT NULL DEFAULT 1,
        proposed_by uuid NOT NULL,
        person      text NOT NULL,
        name        text NOT NULL,
        confirmed_by uuid,
        glass       text,
        outcome     jsonb,
        created_at  timestamptz NOT NULL,
        changed_at  timestamptz NOT NULL
    );
    CREATE INDEX proposal_in_order ON proposal (created_at, proposal_id);
    """,
    """
    -- Views that somebody keeps: a name for what messages are narrowed by (never by a citizen).
    CREATE TABLE kept_view (
        view_id    uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        name       text NOT NULL,
        query      text NOT NULL,
        created_at timestamptz NOT NULL,
        UNIQUE (account_id, name)
    );
    -- What somebody looked for by a citizen's number, having said why: keyed hashes, for as long as a session lasts.
    CREATE TABLE citizen_look (
        look_id    uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        persons    bytea[] NOT NULL,
        purpose    bytea NOT NULL,
        at         timestamptz NOT NULL
    );
    CREATE INDEX citizen_look_end ON citizen_look (at);
    """,
)

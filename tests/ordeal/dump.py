# SPDX-License-Identifier: MPL-2.0
"""The tables of both sides as they are, in plain SQL: nothing of the product reads them for us."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

GATEWAY = "platform"
WATCH = f"""
CREATE SCHEMA ordeal;
CREATE TABLE ordeal.taken (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane_id bigint NOT NULL,
    held_until timestamptz NOT NULL,
    at timestamptz NOT NULL
);
CREATE FUNCTION ordeal.note_taking() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO ordeal.taken (lane_id, held_until, at) VALUES (OLD.lane_id, OLD.lease_until, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER taken AFTER UPDATE ON {GATEWAY}.lane FOR EACH ROW
WHEN (OLD.token IS NOT NULL AND NEW.token IS NOT NULL AND OLD.token <> NEW.token)
EXECUTE FUNCTION ordeal.note_taking();
GRANT USAGE ON SCHEMA ordeal TO {GATEWAY}"""
"""Notes in the database when a lane is taken from a holder, and until when he had held it."""

TABLES = {
    "message": (
        "SELECT message_id, lane_id, status, sender, besked_id, operation, recipient, municipality_cvr AS municipality,"
        " nemrefusions_id AS lane, accepted_at FROM {schema}.message WHERE message_id > %(after)s ORDER BY message_id"
    ),
    "attempt": (
        "SELECT message_id, at, outcome, owner, stale FROM {schema}.attempt WHERE message_id > %(after)s"
        " ORDER BY attempt_id"
    ),
    "lane": (
        "SELECT lane_id, open, parked FROM {schema}.lane WHERE lane_id IN"
        " (SELECT lane_id FROM {schema}.message WHERE message_id > %(after)s) ORDER BY lane_id"
    ),
    "taken": "SELECT lane_id, held_until, at FROM ordeal.taken WHERE seq > %(after)s ORDER BY seq",
    "question": (
        "SELECT besked_id, operation FROM {schema}.audit WHERE event = 'lookup.asked' AND audit_id > %(after)s"
        " ORDER BY audit_id"
    ),
}
APPLIED = (
    "SELECT seq, besked_id, sender, operation, municipality, lane FROM {schema}.applied"
    " WHERE seq > %(after)s ORDER BY seq"
)
ASKED = "SELECT seq, besked_id, operation, municipality FROM {schema}.asked WHERE seq > %(after)s ORDER BY seq"
OUTBOX = (
    "SELECT m.besked_id, m.status, m.failures, m.repeats, m.detail, l.lane_id, l.open, l.next_at, l.lease_until"
    " FROM outbox.message m JOIN outbox.lane l USING (lane_id) ORDER BY m.message_id"
)
UNSETTLED = """
SELECT count(*) FROM {schema}.message m JOIN {schema}.lane l USING (lane_id)
WHERE m.status IN ('queued', 'sending') AND NOT l.parked"""
DONE = "SELECT count(*) FROM {schema}.message WHERE status NOT IN ('queued', 'sending')"


def watch(dsn: str) -> None:
    """Let the database note what no table keeps."""
    with psycopg.connect(dsn) as connection:
        connection.execute(WATCH)


def marks(dsn: str, receivers: Sequence[str]) -> dict[str, int]:
    """Say how far each table has come: what is dumped later comes after that."""
    with psycopg.connect(dsn) as connection:
        found = {
            name: _number(connection, f"SELECT coalesce(max({key}), 0) FROM {GATEWAY}.{name}")
            for name, key in (("message", "message_id"), ("audit", "audit_id"))
        }
        found["taken"] = _number(connection, "SELECT coalesce(max(seq), 0) FROM ordeal.taken")
        for name in receivers:
            for table in ("applied", "asked"):
                query = f"SELECT coalesce(max(seq), 0) FROM receiver_{name}.{table}"
                found[f"{name}.{table}"] = _number(connection, query)
    return found


def unsettled(dsn: str) -> tuple[int, int]:
    """Count what the gateway still has to do, lanes that wait for a person apart, and what it has done."""
    with psycopg.connect(dsn) as connection:
        return tuple(_number(connection, query.format(schema=GATEWAY)) for query in (UNSETTLED, DONE))


def one(dsn: str, query: str, *params: object) -> object:
    """Ask for one value; None when there is no row."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query, params).fetchone()
        return row[0] if row else None


def take(dsn: str, path: Path, since: Mapping[str, int], receivers: Sequence[str]) -> None:
    """Write what both sides hold into a file."""
    with (
        psycopg.connect(dsn, row_factory=dict_row) as connection,
        path.open("w", encoding="utf-8") as file,
    ):

        def lines(table: str, of: str, query: str, after: int) -> None:
            for row in connection.execute(query, {"after": after}):
                file.write(json.dumps({"table": table, "of": of, **row}, default=str) + "\n")

        for table, query in TABLES.items():
            after = since[{"question": "audit", "taken": "taken"}.get(table, "message")]
            lines(table, GATEWAY, query.format(schema=GATEWAY), after)
        if connection.execute("SELECT to_regclass('outbox.message') AS there").fetchone()["there"]:
            lines("sent", "outbox", OUTBOX, 0)
        for name in receivers:
            lines("applied", name, APPLIED.format(schema=f"receiver_{name}"), since[f"{name}.applied"])
            lines("asked", name, ASKED.format(schema=f"receiver_{name}"), since[f"{name}.asked"])


def _number(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0])

# SPDX-License-Identifier: MPL-2.0
"""
What lies in the schemas of a database, out and in again as plain rows.

Only rows travel, never a statement: tables are made by our own migrations, so what somebody else has written cannot
make the server do anything but keep it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from sygefravaer.store.pool import translated

_TABLES: Final = """
SELECT n.nspname AS schema, c.relname AS name, array_agg(a.attname ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND n.nspname = ANY(%s) AND c.relname <> 'migration'
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY 1, 2 ORDER BY 1, 2
"""
_SEQUENCES: Final = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND n.nspname = ANY(%s) ORDER BY 1, 2
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, and its columns in the order in which its rows hold them."""

    schema: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A sequence and where it stands; `called`: its number has been given out."""

    schema: str
    name: str
    value: int
    called: bool


class Reading:
    """One instant of some schemas."""

    def __init__(self, connection: psycopg.Connection, schemas: Sequence[str]) -> None:
        self._connection = connection
        self._schemas = list(schemas)

    def tables(self) -> list[Table]:
        """List the tables but those of the migrations."""
        return _tables(self._connection, self._schemas)

    def sequences(self) -> list[Counter]:
        """List the sequences; each stands where the rows need it, or later."""
        found = []
        for schema, name in self._connection.execute(_SEQUENCES, [self._schemas]).fetchall():
            text = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
            value, called = self._connection.execute(text).fetchall()[0]
            found.append(Counter(schema=schema, name=name, value=value, called=called))
        return found

    def migrations(self) -> dict[str, list[tuple[str, int, str]]]:
        """Give the room, number and digest (hex) of what has made each schema."""
        text = "SELECT room, number, encode(digest, 'hex') FROM {} ORDER BY room, number"
        return {
            schema: self._connection.execute(sql.SQL(text).format(sql.Identifier(schema, "migration"))).fetchall()
            for schema in self._schemas
        }

    def rows(self, table: Table) -> Iterator[bytes]:
        """Give the rows of a table in pieces, each of whole rows, a row a line."""
        with self._connection.cursor().copy(_copy("COPY {} ({}) TO STDOUT", table)) as copy:
            for piece in copy:
                yield bytes(piece)


@contextlib.contextmanager
def reading(dsn: str, schemas: Sequence[str]) -> Iterator[Reading]:
    """See some schemas as they are at one instant, all of them the same."""
    with translated(), psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("SELECT")  # the instant is that of the first statement
        yield Reading(connection, schemas)


class Writing:
    """Some schemas whose rows are all put in anew."""

    def __init__(self, connection: psycopg.Connection, schemas: Sequence[str]) -> None:
        self._connection = connection
        self._there = {(one.schema, one.name): one for one in _tables(connection, list(schemas))}
        self._sequences = set(connection.execute(_SEQUENCES, [list(schemas)]).fetchall())

    def fits(self, tables: Iterable[Table], sequences: Iterable[Counter]) -> bool:
        """Say whether these are the tables, columns and sequences that are there."""
        given = {(one.schema, one.name): frozenset(one.columns) for one in tables}
        return (
            given == {key: frozenset(one.columns) for key, one in self._there.items()}
            and {(one.schema, one.name) for one in sequences} == self._sequences
        )

    def empty(self) -> None:
        """Delete what the migrations have put in."""
        names = [sql.Identifier(*key) for key in self._there]
        self._connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))

    def put(self, table: Table, pieces: Iterable[bytes]) -> None:
        """Put the rows of a table in."""
        with self._connection.cursor().copy(_copy("COPY {} ({}) FROM STDIN", table)) as copy:
            for piece in pieces:
                copy.write(piece)

    def stand(self, sequence: Counter) -> None:
        """Let a sequence go on from where it stood."""
        name = sql.Identifier(sequence.schema, sequence.name).as_string(self._connection)
        self._connection.execute("SELECT setval(%s, %s, %s)", [name, sequence.value, sequence.called])


@contextlib.contextmanager
def writing(dsn: str, schemas: Sequence[str]) -> Iterator[Writing]:
    """Put rows into some schemas, all or nothing; in whatever order, since they fitted each other where they lay."""
    with translated(), psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        yield Writing(connection, schemas)


def _tables(connection: psycopg.Connection, schemas: list[str]) -> list[Table]:
    found = connection.execute(_TABLES, [schemas]).fetchall()
    return [Table(schema=schema, name=name, columns=tuple(columns)) for schema, name, columns in found]


def _copy(text: LiteralString, table: Table) -> sql.Composed:
    columns = sql.SQL(", ").join(sql.Identifier(one) for one in table.columns)
    return sql.SQL(text).format(sql.Identifier(table.schema, table.name), columns)

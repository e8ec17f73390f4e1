# SPDX-License-Identifier: MPL-2.0
"""
PostgreSQL: a pool, transactions, running migrations, and an embedded server of one's own.

A room writes plain SQL with `%(name)s` parameters and is given a `Tx`. What psycopg raises becomes an error of ours at
the statement that raised it, without the database's text, which can hold values. Time is an argument of every
statement: the database's own clock is used by nobody but the lease of a lane.
"""

from sygefravaer.store.asking import Connection
from sygefravaer.store.embedded import SOCKET_PATH_LIMIT, EmbeddedServer
from sygefravaer.store.migrations import digest_of, migrate
from sygefravaer.store.pool import LOOSELY, Proviso, Row, Store, Trail, Tx
from sygefravaer.store.resealing import Progress, Sealed, reseal, usage

__all__ = [
    "LOOSELY",
    "SOCKET_PATH_LIMIT",
    "Connection",
    "EmbeddedServer",
    "Progress",
    "Proviso",
    "Row",
    "Sealed",
    "Store",
    "Trail",
    "Tx",
    "digest_of",
    "migrate",
    "reseal",
    "usage",
]

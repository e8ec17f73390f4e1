# SPDX-License-Identifier: MPL-2.0
"""
The gateway's connections to the database are all taken, in two ways.

    PYTHONPATH=src:tests:. python -m ordeal.exhausted [--lanes N]

Somebody keeps a lock on the table of lanes, so that every statement that needs it waits; or the server lets the gateway
have no connection at all. Callers must be told within the gateway's own patience that it did not work, nothing may be
half done, and when the cause is gone everything goes on by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from benchmarks.rig import SENDS

from ordeal.street import Letter, Street, say, verdict
from sygefravaer.store.pool import STATEMENT

POOL_PATIENCE = 5.0  # seconds that a call waits for a connection
TOLD = (
    2 * STATEMENT + POOL_PATIENCE
)  # a statement, its cancelling, and the connection before it: below any caller's 50 s
RESUMES = 60.0
LONG = 50.0  # seconds that a sender waits: longer than the gateway may take


@asynccontextmanager
async def locked(street: Street) -> AsyncIterator[None]:
    """Keep a lock on the lanes, as somebody who forgot a transaction would."""
    async with await psycopg.AsyncConnection.connect(street.server.superuser_dsn()) as holder:
        await holder.execute("LOCK TABLE platform.lane IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def shut_out(street: Street) -> AsyncIterator[None]:
    """Let the gateway have no connection, as a server that is full would."""
    async with await psycopg.AsyncConnection.connect(street.server.superuser_dsn(), autocommit=True) as keeper:
        await keeper.execute("ALTER ROLE platform CONNECTION LIMIT 0")
        await keeper.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'platform'")
        try:
            yield
        finally:
            await keeper.execute("ALTER ROLE platform CONNECTION LIMIT -1")


WAYS: dict[str, Callable[[Street], AbstractAsyncContextManager[None]]] = {
    "a lock on the lanes": locked,
    "no connection to be had": shut_out,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it."""

    what: str
    messages: int
    faults: int  # of the first attempts
    slowest: float  # seconds until a caller was told
    resumed: float
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.faults} of {self.messages} callers got a Server fault, the last after {self.slowest:.1f} s; "
            f"resumed {self.resumed:.1f} s after it was gone: {verdict(self.wrong)}"
        )


async def take(street: Street, what: str, *, lanes: int = 4) -> Outcome:
    """Send while no connection can be used, more than there are connections; then go on."""
    wrong: list[str] = []
    written = street.letters(SENDS, lanes=lanes, each=1)
    letters = [letter for lane in written for letter in lane]

    async def timed(letter: Letter) -> float:
        begun = time.monotonic()
        await street.once(letter, patience=LONG)
        return time.monotonic() - begun

    async with WAYS[what](street):
        took = await asyncio.gather(*map(timed, letters))
        faults = sum(letter.faults for letter in letters)
        if what == "a lock on the lanes" and await _stored(street, letters):
            wrong.append("something is half done")
    gone = time.monotonic()
    if faults != len(letters):
        wrong.append(f"{len(letters) - faults} callers were told nothing, or something else than a Server fault")
    if max(took) > TOLD:
        wrong.append(f"a caller waited {max(took):.1f} s; at most {TOLD:g} s are right")
    sends = [asyncio.create_task(street.deliver(lane)) for lane in written]
    _, late = await asyncio.wait(sends, timeout=RESUMES)
    for task in late:
        task.cancel()
    if late:
        wrong.append("traffic did not resume in time")
    wrong += await street.judge(written)
    return Outcome(
        what=what,
        messages=len(letters),
        faults=faults,
        slowest=max(took),
        resumed=time.monotonic() - gone,
        wrong=tuple(wrong),
    )


async def _stored(street: Street, letters: Sequence[Letter]) -> int:
    """Count what there is of some messages in the gateway: rows of theirs in any table."""
    ids = [letter.besked_id for letter in letters]
    async with await psycopg.AsyncConnection.connect(street.server.superuser_dsn()) as connection:
        row = await (
            await connection.execute(
                "SELECT (SELECT count(*) FROM platform.message WHERE besked_id = ANY(%(ids)s))"
                " + (SELECT count(*) FROM platform.audit WHERE besked_id = ANY(%(ids)s) AND event LIKE 'message.%%')",
                {"ids": ids},
            )
        ).fetchone()
    return row[0]


async def run(lanes: int) -> int:
    """Do it all; give how often the promise did not hold."""
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        async with Street(Path(directory)) as street:
            await street.start_gateway()
            for what in WAYS:
                outcome = await take(street, what, lanes=lanes)
                broken += bool(outcome.wrong)
                say(outcome)
            await street.stop_gateway()
    return broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial; 0 when the promise held."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="ordeal exhausted", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--lanes", type=int, default=4, help="of each of the five sends; there are 8 connections")
    given = parser.parse_args(argv)
    broken = asyncio.run(run(given.lanes))
    say(f"{broken} times the promise did not hold" if broken else "the promise held every time")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())

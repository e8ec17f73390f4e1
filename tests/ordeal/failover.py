# SPDX-License-Identifier: MPL-2.0
"""
The database's primary is killed under load, and its synchronous standby becomes the primary.

    PYTHONPATH=src:tests:. python -m ordeal.failover [--times N] [--seconds N]

The gateway's DSN names both servers. Nobody touches the gateway: what it has acknowledged must be in the new primary,
traffic must resume by itself within a minute, and each message must be applied once. Then commits that wait for a
standby that stands still are cancelled, in three ways: the sender may be told nothing but that nobody knows, and the same
message later has one effect, also when the primary that had kept it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from ordeal.cluster import Cluster
from ordeal.street import Flow, Street, say, verdict

RESUMES = 60.0  # promised
LANES = 8  # of each operation
SENDS = ("SendForretningsSvar", "SendHaendelseSygefravaerssag")  # one in each direction
LONG = 50.0  # seconds that a sender waits whose commit is held up


class Ward(Street):
    """The street with a cluster as the gateway's database."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster = Cluster(directory)

    async def _lay(self) -> None:
        await super()._lay()
        await self._stack.enter_async_context(self.cluster)
        password = secrets.token_hex(8)
        await self.cluster.primary.create_part("platform", password)
        self.dsn = self.cluster.dsn("platform", password)

    def _settings(self) -> dict:
        return super()._settings() | {"database": {"dsn": self.dsn, "schema": "platform"}}

    def kept(self) -> set[UUID]:
        """Give what the primary of today has accepted."""
        with psycopg.connect(self.cluster.primary.superuser_dsn()) as connection:
            return {row[0] for row in connection.execute("SELECT besked_id FROM platform.message").fetchall()}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of killing the primary once."""

    before: int  # messages acknowledged before
    lost: int  # of these, not in the new primary
    resumed: float  # seconds from the kill until a message was acknowledged that nobody had sent before it
    every: float  # until that was so for every lane
    messages: int
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.before} acknowledged before the kill, {self.lost} lost; resumed after {self.resumed:.1f} s, every lane "
            f"after {self.every:.1f} s; {self.messages} messages: {verdict(self.wrong)}"
        )

    @property
    def held(self) -> bool:
        """Say whether the promise held."""
        return not self.wrong and not self.lost and self.resumed <= RESUMES


async def kill_primary(ward: Ward, *, seconds: float) -> Outcome:
    """Kill the primary in the middle of some seconds of load, and promote the standby."""
    flow = Flow(street=ward, operations=SENDS, wide=LANES)
    flow.start()
    await ward.until(lambda: len(flow.acknowledged) >= len(flow.lanes), RESUMES)
    await asyncio.sleep(seconds)
    before, killed = flow.told(), time.monotonic()
    await ward.cluster.fail_over()
    before |= {letter.besked_id for lane in flow.lanes for letter in lane[:-1]}
    lost = len(before - ward.kept())

    def resumed(lanes: int) -> bool:
        return sum(begun > killed for begun, _ in flow.acknowledged) >= lanes

    await ward.until(lambda: resumed(1), RESUMES)
    first = time.monotonic() - killed
    await ward.until(lambda: resumed(len(flow.lanes)), RESUMES)
    every = time.monotonic() - killed
    await asyncio.sleep(seconds)
    wrong = [] if await flow.stop(RESUMES) else ["not every message came to its end"]
    wrong += await ward.judge(flow.lanes)
    return Outcome(
        before=len(before),
        lost=lost,
        resumed=first,
        every=every,
        messages=sum(map(len, flow.lanes)),
        wrong=tuple(wrong),
    )


async def cancelled(ward: Ward, how: str, *, then_lost: bool) -> list[str]:
    """
    Cancel an accept that waits for the standby; give what was wrong with what the sender was told, then and later.

    `how`: `cancel` and `terminate` are done to the backend, `patience` is the gateway's own. With `then_lost` the primary
    dies before the standby goes on.
    """
    letter = ward.letter(SENDS[0], uuid4())
    ward.cluster.freeze()
    try:
        sending = asyncio.create_task(ward.once(letter, patience=LONG))
        while not sending.done():
            if how != "patience":
                for backend in ward.cluster.waiting():
                    ward.cluster.primary.run(f"SELECT pg_{how}_backend({backend})")
            await asyncio.sleep(0.05)
        told = sending.result()
        wrong = [f"told {told.code} while nobody could know"] if told.code is not None or letter.blamed else []
        if then_lost:
            await asyncio.to_thread(ward.cluster.primary.fence)
    finally:
        ward.cluster.thaw()
    if then_lost:
        await ward.cluster.fail_over()
    try:
        await asyncio.wait_for(ward.deliver([letter]), RESUMES)
    except TimeoutError:
        wrong.append("no end")
    return wrong + await ward.judge([[letter]])


async def run(times: int, seconds: float) -> int:
    """Do it all; give how often the promise did not hold."""
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        async with Ward(Path(directory)) as ward:
            await ward.start_gateway()
            for number in range(times):
                if number:
                    await ward.cluster.reseed()
                outcome = await kill_primary(ward, seconds=seconds)
                broken += not outcome.held
                say(f"kill {number + 1}: {outcome}")
            for how in ("cancel", "terminate", "patience"):
                for then_lost in (False, True):
                    if ward.cluster.alone:
                        await ward.cluster.reseed()
                    wrong = await cancelled(ward, how, then_lost=then_lost)
                    broken += bool(wrong)
                    after = "the primary lost after it" if then_lost else "the standby back"
                    say(f"commit waits for the standby, {how}, {after}: {verdict(wrong, 'unknown, then one effect')}")
            await ward.stop_gateway()
    return broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial; 0 when the promise held."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="ordeal failover", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="how often the primary is killed")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load before and after each")
    given = parser.parse_args(argv)
    broken = asyncio.run(run(given.times, given.seconds))
    say(f"{broken} times the promise did not hold" if broken else "the promise held every time")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())

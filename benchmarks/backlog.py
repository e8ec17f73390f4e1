# SPDX-License-Identifier: MPL-2.0
"""
A backlog: how long a receiver that was away takes to get what waited for it, and what the others feel of that.

    python -m benchmarks.backlog [--backlog 150000] [--live 50] [--seconds 120] [--receiver quick|real] [--strict]

KSD is down; messages for it are put in lanes by the gateway's own statement, sealed as the gateway seals them. Then KSD
comes up. Meanwhile live traffic, other cases of the same receiver through the same node, comes at a steady rate; its
p99 while the backlog drains is held against that of the same load before and after, when there is none. The drain is
counted from when the receiver listens, so the rest that the gateway gives a silent receiver is part of it.

The target is the platform's; a receiver has machines of its own. So it costs as little as the load generator, unless
`--receiver real` asks for the endpoint, its ledger and its database on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.figures import HEAD, Generator, Measured, Verdict, judged, of, pooled, run, say, told
from benchmarks.stand import TO_KSD, Stand, system
from sygefravaer import audit, soap
from sygefravaer.delivery import BODY
from sygefravaer.lanes import Entry, Lanes
from sygefravaer.sandbox.parts import AARHUS
from sygefravaer.store import Store, Trail

BACKLOG = 150_000
DEPTH = 3  # messages per lane
LIVE = 50.0  # live messages per second
MINUTES = 10.0
TWICE = 2.0
SECONDS = 120.0  # of live traffic without backlog, before and again after: its p99 is what the other is held against
PIECE = 10.0  # seconds of one piece of live traffic
CHUNK = 300  # messages per transaction while they are put in
FILLERS = 2
PROGRESS = 5.0
SELDOM = 15.0  # seconds between counts while much is left: each reads all that is
_CASES = 0xBAC00000_0000_4000_8000_000000000000
SLOWEST = 6.0  # a drain that has taken so many times what is wanted is given up


@dataclass(frozen=True, kw_only=True)
class Drained:
    """What was found; of live traffic as its senders saw it, and from accept to delivered in the gateway's table."""

    backlog: int
    seconds: float
    left: int
    seen: tuple[Measured, Measured]
    settled: tuple[Measured, Measured]

    @property
    def rate(self) -> float:
        """Messages of the backlog per second."""
        return (self.backlog - self.left) / self.seconds

    @property
    def factor(self) -> float:
        """How many times the p99 without backlog that beside it is, in the view where it is more."""
        return max(during.p99 / without.p99 for without, during in (self.seen, self.settled))


async def measure(
    stand: Stand,
    backlog: int,
    *,
    live: float = LIVE,
    seconds: float = SECONDS,
    most: float = SLOWEST * MINUTES * 60,
    receiver: str = "quick",
) -> Drained:
    """Drain a backlog beside live traffic; `seconds` of that traffic without backlog before and after."""
    await stand.stop_receiver("ksd")
    await stand.start_receiver("ksd", receiver)
    without, during = Traffic(stand, live), Traffic(stand, live)
    say(f"Live traffic at {live:.0f}/s without backlog")
    await without.run(seconds)
    await stand.stop_receiver("ksd")
    await _fill(stand, backlog)
    before = (await stand.ask(_ATTEMPTS))[0][0]
    await stand.start_receiver("ksd", receiver)
    say("The receiver is up")
    begin = time.perf_counter()
    draining = asyncio.create_task(_drain(stand, backlog, begin, most))
    try:
        while not draining.done() and not (await stand.ask(_BEGUN, before=before))[0][0]:  # the gateway lets it rest
            await asyncio.sleep(0.1)
        while not draining.done():
            await during.piece(min(PIECE, seconds))
        left, took = await draining
    finally:
        draining.cancel()
    say(f"Live traffic at {live:.0f}/s without backlog")
    await without.run(seconds)
    return Drained(
        backlog=backlog,
        seconds=took,
        left=left,
        seen=(without.seen("no backlog"), during.seen("while the backlog drains")),
        settled=(await without.settled("no backlog"), await during.settled("while the backlog drains")),
    )


def judge(found: Drained) -> list[Verdict]:
    """Hold it against the targets; a drain of fewer messages is held to the same pace."""
    wanted = MINUTES * 60 * found.backlog / BACKLOG
    errors = found.seen[1].errors + found.settled[1].errors
    lost = f", {found.left} left" if found.left else ""
    return [
        Verdict(
            what=f"a backlog of {found.backlog} drained",
            found=f"{found.seconds / 60:.2f} min ({found.rate:.0f}/s){lost}",
            wanted=f"at most {wanted / 60:.2f} min",
            reached=found.seconds <= wanted and not found.left,
        ),
        Verdict(
            what="live traffic's p99 meanwhile",
            found=f"{found.factor:.2f}x" + (f", {errors} errors" if errors else ""),
            wanted=f"at most {TWICE}x",
            reached=found.factor <= TWICE and not errors,
        ),
    ]


class Traffic:
    """Live traffic in pieces, so that it can end when the drain does."""

    def __init__(self, stand: Stand, rate: float) -> None:
        self._stand = stand
        self._job = stand.job("viborg", TO_KSD) | {"rate": rate}
        self._pieces: list[dict] = []
        self._times: list[tuple[datetime, datetime]] = []

    async def piece(self, seconds: float) -> None:
        """Send for so many seconds."""
        generator = Generator(self._stand.directory, seconds=seconds, **self._job)
        await generator.start()
        found = await generator.result()
        self._pieces.append(found)
        self._times.append((datetime.fromisoformat(found["since"]), datetime.now(UTC)))

    async def run(self, seconds: float) -> None:
        """Send for so many seconds, in pieces like those beside the drain."""
        while seconds > 0:
            await self.piece(min(PIECE, seconds))
            seconds -= PIECE

    def seen(self, when: str) -> Measured:
        """Give what the senders saw."""
        return pooled(f"live, a send to its receipt, {when}", self._pieces)

    async def settled(self, when: str) -> Measured:
        """Give what the gateway's table says; what has not been delivered is an error."""
        await self._stand.quiet()
        took: list[float] = []
        errors = 0
        for since, until in self._times:
            for (value,) in await self._stand.ask(_SETTLED, sender=system("viborg"), since=since, until=until):
                errors += value is None
                took += [] if value is None else [float(value)]
        seconds = sum(piece["seconds"] for piece in self._pieces)
        return of(f"live, accepted to delivered, {when}", took, seconds=seconds, errors=errors)


async def _drain(stand: Stand, backlog: int, begin: float, most: float) -> tuple[int, float]:
    """Watch until nothing of the backlog is open; give what is left and the seconds it took."""
    shown = begin
    while True:
        left = await _left(stand)
        now = time.perf_counter()
        if not left or now - begin > most:
            return left, now - begin
        done = backlog - left
        pace = done / (now - begin)
        if now - shown >= PROGRESS:
            shown = now
            rest = f"about {left / pace / 60:.1f} min left" if pace else "not begun"
            say(f"  {done} of {backlog} delivered, {pace:.0f}/s, {rest}")
        await asyncio.sleep(min(SELDOM, max(1.0, left / pace / 4)) if pace else PROGRESS)


async def _left(stand: Stand) -> int:
    return (await stand.ask(_OPEN, sender=system("aarhus")))[0][0]


_OPEN = """
SELECT count(*) FROM platform.message WHERE status IN ('queued', 'sending', 'parked') AND sender = %(sender)s"""
_ATTEMPTS = "SELECT coalesce(max(attempt_id), 0) FROM platform.attempt"
_BEGUN = "SELECT EXISTS (SELECT FROM platform.attempt WHERE attempt_id > %(before)s AND outcome = 'delivered')"
_SETTLED = """
SELECT CASE WHEN status = 'delivered' THEN extract(epoch FROM settled_at - accepted_at) * 1000 END
FROM platform.message WHERE sender = %(sender)s AND accepted_at >= %(since)s AND accepted_at < %(until)s"""


async def _fill(stand: Stand, backlog: int) -> None:
    """Put the messages in by the gateway's own statement, many to a transaction; their sender is Aarhus' system."""
    say(f"Putting {backlog} messages in lanes")
    write = _Writer(stand)
    store = Store(stand.dsn, schema="platform", size=FILLERS)
    await store.open()
    numbers = iter(range(0, backlog, CHUNK))
    done, shown = 0, time.perf_counter()

    async def work() -> None:
        nonlocal done, shown
        lanes = Lanes()
        for first in numbers:
            many = min(CHUNK, backlog - first)
            async with store.tx() as tx:
                for number in range(first, first + many):
                    entry, trail = write.entry(number)
                    await lanes.enqueue(tx, entry, trail=trail)
            done += many
            if time.perf_counter() - shown >= PROGRESS:
                shown = time.perf_counter()
                say(f"  {done} of {backlog} put in")

    try:
        await asyncio.gather(*(work() for _ in range(FILLERS)))
    finally:
        await store.close()
    await stand.admin.execute("ANALYZE platform.lane, platform.message")  # as autovacuum does within a minute


class _Writer:
    """Writes entries as the gateway does: request element, digest, sealed body, audit row."""

    def __init__(self, stand: Stand) -> None:
        self._vault = stand.vault
        self._text = stand.job("aarhus", TO_KSD, AARHUS)["text"]
        self._person = stand.vault.lookup_key("backlog")

    def entry(self, number: int) -> tuple[Entry, Trail]:
        """Write one message: DEPTH of them follow each other in a lane, far apart."""
        now = datetime.now(UTC)
        besked_id, lane = uuid4(), _case(number)
        text = self._text.replace("{uuid}", str(besked_id)).replace("{lane}", lane)
        element = soap.element_bytes(
            soap.read(
                text.replace("{now}", now.strftime("%Y-%m-%dT%H:%M:%SZ")).encode(), content_type="text/xml"
            ).element
        )
        entry = Entry(
            recipient=system("ksd"),
            municipality_cvr=AARHUS,
            case_key=f"nemref:{lane}",
            sender=system("aarhus"),
            besked_id=besked_id,
            operation=TO_KSD,
            korrelations_id=uuid4(),
            cpr_key=self._person,
            digest=hashlib.sha256(element).digest(),
            body=self._vault.seal(element, context=BODY),
            accepted_at=now,
            call_uuid=uuid4(),
        )
        trail = audit.trail(
            audit.Event.MESSAGE_ACCEPTED,
            now=now,
            call_uuid=entry.call_uuid,
            system=entry.sender,
            municipality_cvr=entry.municipality_cvr,
            operation=entry.operation,
            besked_id=entry.besked_id,
            cpr_key=entry.cpr_key,
        )
        return entry, trail


def _case(number: int) -> str:
    """Give the case of a message: DEPTH chunks go to the same cases, and chunks of one moment to different ones."""
    chunk, place = divmod(number, CHUNK)
    group = chunk // (DEPTH * FILLERS) * FILLERS + chunk % FILLERS
    return str(UUID(int=_CASES | (group * CHUNK + place)))


async def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__.split("\n")[1])
    parser.add_argument("--backlog", type=int, default=BACKLOG, help=f"how many messages wait ({BACKLOG})")
    parser.add_argument("--live", type=float, default=LIVE, help=f"live messages per second ({LIVE:.0f})")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"how long live traffic runs without backlog ({SECONDS:.0f})"
    )
    parser.add_argument("--concurrency", type=int, help="another `delivery.concurrency` of the gateway")
    parser.add_argument("--receiver", choices=("quick", "real"), default="quick", help="what kind of receiver (quick)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-backlog-") as name:
        delivery = {"concurrency": options.concurrency} if options.concurrency else {}
        async with Stand(Path(name) / "backlog", delivery=delivery) as stand:
            found = await measure(
                stand, options.backlog, live=options.live, seconds=options.seconds, receiver=options.receiver
            )
    print(HEAD)
    told((*found.seen, *found.settled))
    print()
    return judged(judge(found), strict=options.strict)


if __name__ == "__main__":
    run(main)

# SPDX-License-Identifier: MPL-2.0
"""
The soak: a million messages through two gateway nodes, with copies, wrong order and a crash; and what memory it took.

    python -m benchmarks.soak [--messages 1000000] [--seed N] [--receiver real|quick] [--strict]

1 % of the messages are sent twice, 2 % out of their order in their lane. One node is killed (SIGKILL) with messages in
flight and started again. Its place is drawn between a quarter and a half of the first fifth, so that every process
that is there at the first mark (200 000 of a million), the one that came after the crash included, has carried at least
some 50 000 messages by then and lives to the end: each process is held against itself, the same process id at both
marks. Of PostgreSQL, the private memory of all its processes together is taken (Anonymous in smaps_rollup; the shared
buffers are not in it), without the autovacuum workers, which come and go. A mark is the median of what was seen every
second over a fiftieth of the run, before the fifth and before the end, under the same load.

What was lost, doubled or out of order is counted in SQL, across the gateway's table and the receiver's own. With
`--receiver quick`, which costs as little as the load generator, it takes less time and is counted by the gateway's
table alone: what a receiver got twice is not seen then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import pouring
from benchmarks.figures import Verdict, judged, load, run, say
from benchmarks.stand import TO_KSD, Stand, system

MESSAGES = 1_000_000
NODES = 2
CONNECTIONS = 16
DUPLICATES = 0.01
REORDERED = 0.02
EARLY = 0.2  # the first mark, as a share of all messages
CRASH = (0.25, 0.5)  # of the way to the first mark
WINDOW = 0.02  # of all messages: what a mark is the median of
MORE = 1.05
POSTGRES = "PostgreSQL, private memory"
PROGRESS = 10.0
TRIES = 10  # to find a node with a message in hand
AGAIN = 0.137  # seconds between them; no multiple of what anything here beats by
STILL = 1.0  # seconds that a node stands still before it is killed: what the other has in hand is through by then
_SENDING = "SELECT message_id FROM platform.message WHERE status = 'sending'"

CAME = {
    "real": "SELECT sender, besked_id, seq FROM receiver_ksd.applied",
    "quick": "SELECT sender, besked_id, extract(epoch FROM settled_at) FROM platform.message"
    " WHERE status = 'delivered'",
}
FOUND = """
WITH came (sender, besked_id, seq) AS (
    {came}
), wanted AS (
    SELECT (%(prefix)s || lpad(to_hex(number), 12, '0'))::uuid AS besked_id
    FROM generate_series(0, %(messages)s::bigint - 1) AS number
), got AS (
    SELECT besked_id, count(*) AS times FROM came
    WHERE sender = %(sender)s AND besked_id::text LIKE %(prefix)s || '%%' GROUP BY besked_id
), paired AS (
    SELECT wanted.besked_id AS wanted, got.besked_id AS got, coalesce(times, 0) AS times
    FROM wanted FULL JOIN got ON wanted.besked_id = got.besked_id
), placed AS (
    SELECT message_id, lag(message_id) OVER (PARTITION BY lane_id ORDER BY seq) AS before
    FROM platform.message JOIN came USING (sender, besked_id)
    WHERE sender = %(sender)s AND besked_id::text LIKE %(prefix)s || '%%'
)
SELECT (SELECT count(*) FROM paired WHERE times = 0),
       (SELECT coalesce(sum(times - 1), 0)::bigint FROM paired WHERE times > 1),
       (SELECT count(*) FROM paired WHERE wanted IS NULL),
       (SELECT count(*) FROM placed WHERE before > message_id),
       (SELECT count(*) FROM platform.message WHERE status <> 'delivered' AND sender = %(sender)s)
"""


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """What was found."""

    run: int
    messages: int
    seed: int
    seconds: float
    copies: int
    repeats: int
    refused: int
    differing: int
    in_flight: int
    crashed_at: int
    lost: int
    doubled: int
    foreign: int
    disordered: int
    not_delivered: int
    early: dict[str, tuple[int, float]]
    late: dict[str, tuple[int, float]]
    ceiling: float


class Memory:
    """What each process holds, seen every second."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._seen: list[tuple[int, dict[str, tuple[int, float]]]] = []

    def look(self, done: int) -> None:
        """Note process id and MB of each process after so many messages."""
        found = {}
        for name, number in self._stand.processes().items():
            held = _kilobytes(Path("/proc") / str(number) / "status", "VmRSS:")
            if held is not None:
                found[name] = (number, held / 1024)
        postmaster = self._stand.server.pid()
        if postmaster is not None:
            held = sum(_private(child) for child in (postmaster, *_children(postmaster)))
            found[POSTGRES] = (postmaster, held / 1024)
        self._seen.append((done, found))

    def mark(self, at: float, window: float) -> dict[str, tuple[int, float]]:
        """Give the median of the last looks before a number of messages."""
        last = [found for done, found in self._seen if at - window <= done <= at]
        if not last:  # of a run so short that no look fell into it
            last = [min(self._seen, key=lambda each: abs(each[0] - at))[1]]
        return {
            name: (last[-1][name][0], median(found[name][1] for found in last if name in found)) for name in last[-1]
        }


async def measure(stand: Stand, messages: int, *, seed: int, receiver: str = "real") -> Soaked:
    """Pour, crash, pour on, and count."""
    if receiver != "real":
        await stand.stop_receiver("ksd")
        await stand.start_receiver("ksd", receiver)
    chance = random.Random(seed)
    early = messages * EARLY
    crash = int(early * chance.uniform(*CRASH))
    run = random.SystemRandom().getrandbits(32)
    ceiling = await load(
        "the receiver alone, as fast as it goes",
        stand.directory,
        seconds=3.0,
        connections=CONNECTIONS,
        **stand.direct("aarhus", TO_KSD, "ksd"),
    )
    memory = Memory(stand)
    job = stand.job("viborg", TO_KSD) | {
        "run": run,
        "messages": messages,
        "duplicates": DUPLICATES,
        "reordered": REORDERED,
        "seed": seed,
        "connections": CONNECTIONS,
        "host": "127.0.0.1",
        "ports": stand.ports,
    }
    file = stand.directory / "pouring.json"
    file.write_text(json.dumps(job, default=str), encoding="utf-8")
    say(f"Sending {messages} messages (seed {seed}); a node is killed after {crash}")
    told: dict = {}
    in_flight, crashed_at, shown = 0, 0, 0.0
    async with _sender(file) as process:
        while line := await process.stdout.readline():
            told = json.loads(line)
            done = told["final"]
            if not crashed_at and (done >= crash):
                crashed_at = done
                victim = chance.randrange(len(stand.ports))
                in_flight = await _crash(stand, victim)
                say(f"  node {victim} killed after {done}, {in_flight} messages in flight, and started again")
            memory.look(done)
            if told["seconds"] - shown >= PROGRESS:
                shown = told["seconds"]
                pace = done / shown
                rest = (messages - done) / pace / 60 if pace else 0.0
                say(f"  {done} of {messages}, {pace:.0f}/s, about {rest:.0f} min left, {told['repeats']} repeats")
        if await process.wait():
            raise RuntimeError(f"the sender ended with {process.returncode}")
    say("Counting")
    await stand.quiet(120.0)
    lost, doubled, foreign, disordered, not_delivered = await count(stand, run, messages, receiver)
    return Soaked(
        run=run,
        messages=messages,
        seed=seed,
        seconds=told["seconds"],
        copies=told["copies"],
        repeats=told["repeats"],
        refused=told["refused"],
        differing=told["differing"],
        in_flight=in_flight,
        crashed_at=crashed_at,
        lost=lost,
        doubled=doubled,
        foreign=foreign,
        disordered=disordered,
        not_delivered=not_delivered,
        early=memory.mark(early, messages * WINDOW),
        late=memory.mark(messages, messages * WINDOW),
        ceiling=ceiling.rate,
    )


@asynccontextmanager
async def _sender(file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start what sends, in a process of its own that ends with the block at the latest."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.pouring", str(file)), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def count(stand: Stand, run: int, messages: int, receiver: str = "real") -> tuple[int, ...]:
    """Count the lost, the doubled, those nobody sent, those out of order, and those not delivered."""
    prefix = pouring.besked_id(run, 0)[: -pouring.DIGITS]
    statement = FOUND.replace("{came}", CAME[receiver])
    [found] = await stand.ask(statement, prefix=prefix, messages=messages, sender=system("viborg"))
    return found


def judge(found: Soaked) -> list[Verdict]:
    """Hold it against the targets."""
    counts = {
        "messages lost": found.lost,
        "messages applied twice": found.doubled,
        "messages applied that nobody sent": found.foreign,
        "messages out of their lane's order": found.disordered,
        "messages refused, or not delivered in the end": found.refused + found.not_delivered,
        "copies that were answered with other bytes": found.differing,
    }
    verdicts = [
        Verdict(what=what, found=str(number), wanted="0", reached=number == 0) for what, number in counts.items()
    ]
    verdicts.append(
        Verdict(
            what="messages in flight when the node was killed",
            found=str(found.in_flight),
            wanted="at least 1",
            reached=found.in_flight > 0,
        )
    )
    for name, (number, late) in found.late.items():
        was, early = found.early.get(name, (0, 0.0))
        same = was == number
        factor = late / early if early else 0.0
        verdicts.append(
            Verdict(
                what=f"{name}, MB",
                found=f"{early:.1f} -> {late:.1f}, {factor:.3f}x" if same else "another process",
                wanted=f"at most {MORE}x",
                reached=same and factor <= MORE,
            )
        )
    return verdicts


async def _crash(stand: Stand, number: int) -> int:
    """
    Kill a node and start it again; give how many messages it had in hand: those that stay while it stands still.

    With none in hand it goes on for a moment and stands still again, a few times.
    """
    in_hand: set = set()
    try:
        for _ in range(TRIES):
            stand.stop_still(number)
            before = await stand.ask(_SENDING)
            await asyncio.sleep(STILL)
            in_hand = set(before) & set(await stand.ask(_SENDING))
            if in_hand:
                break
            stand.go_on(number)
            await asyncio.sleep(AGAIN)
    finally:
        stand.kill_node(number)
    await stand.start_node(number)
    return len(in_hand)


def _children(parent: int) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                status = (each / "stat").read_text()
                if int(status.rpartition(")")[2].split()[1]) != parent:
                    continue
                command = (each / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if b"autovacuum worker" not in command:
                found.append(int(each.name))
    return found


def _private(number: int) -> float:
    return _kilobytes(Path("/proc") / str(number) / "smaps_rollup", "Anonymous:") or 0.0


def _kilobytes(file: Path, name: str) -> float | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), None)


async def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[1])
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"how many are sent ({MESSAGES})")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(31), help="what chance draws from"
    )
    parser.add_argument("--receiver", choices=tuple(CAME), default="real", help="what kind of receiver (real)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-soak-") as name:
        async with Stand(Path(name) / "soak", nodes=NODES) as stand:
            found = await measure(stand, options.messages, seed=options.seed, receiver=options.receiver)
    verdicts = judge(found)
    print(
        f"{found.messages} messages in {found.seconds / 60:.1f} min, {found.messages / found.seconds:.0f}/s", end="; "
    )
    print(f"the receiver alone takes {found.ceiling:.0f}/s; seed {found.seed}")
    print(f"{found.copies} copies, {found.repeats} repeats, a node killed after {found.crashed_at}\n")
    return judged(verdicts, strict=options.strict)


if __name__ == "__main__":
    run(main)

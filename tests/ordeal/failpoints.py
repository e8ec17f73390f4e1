# SPDX-License-Identifier: MPL-2.0
"""
Every place of the product is visited by a process that dies there, with messages around it; then the checker.

    python -m ordeal failpoints [--seed N] [--only PLACE] [--logs DIR]

The process that a place lives in is started armed (a gateway node, a receiver of either side, a sending party, the
process of a person's decision), messages are sent until it has died, and it is started again for the next place. What
was sent for a place belongs to it in the verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from uuid import UUID

from benchmarks.rig import SENDS, message

from ordeal import checker, dump
from ordeal.cycles import CALM, END, LOOK, SEED, head
from ordeal.history import History
from ordeal.house import MOVERS, NODES, OUTGOING, RANDERS, RECEIVERS, House, Paper, parties
from ordeal.outbox import put
from ordeal.receiver import REFUSED, SLOW, UNREADABLE
from ordeal.senders import Letter, Senders, lane_of
from sygefravaer import failpoint
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.sandbox.parts import AARHUS, VIBORG

BUDGET = 0.2  # seconds that a caller waits: less than a slow receiver takes, so that there is something to repeat
DIES = 60.0  # seconds within which a place must have been passed
TRIES = 6  # refusals of which one is not heard at once
FIRST = 6  # a pass up to this one is the one that ends the process
OFTEN = ("accept.", "attempt.", "settle.", "claim.", "answer.", "ledger.", "pump.")  # passed by every message
PATIENCE = 0.3  # seconds that a node takes to end, where it is to cut attempts off
QUEUE = 6  # slow messages in a lane of which a node is to hand some back
UNDER_WAY = 0.15  # seconds until a claim is under way
IN_QUEUE = 0.9  # seconds until one of a whole queue is, and is not at its last message
LOOKUP = "HentSag"
EVENT = "SendHaendelseSygefravaerssag"
FAST = 0
AWAY = "aarhus"  # the receiver that stands still while a node is made to cut off its attempts

HOMES = {
    "gateway": (
        *("accept", "repeat", "refusal", "attempt", "settle", "claim", "release", "abandon", "move"),
        *("told", "remind", "lookup", "outcome", "answer"),
    ),
    "receiver": ("ledger", "answer"),
    "outbox": ("pump",),
    "decider": ("replay", "discard", "tell"),
}
"""In which processes the places of a room are visited."""


@dataclass(kw_only=True)
class Visit:
    """A place in a process, and what came of visiting it."""

    place: str
    home: str
    at: int  # the pass that ends the process
    code: int | None = None
    messages: int = 0
    violations: int = 0

    @property
    def died(self) -> bool:
        """Say whether the process ended there."""
        return self.code == -signal.SIGKILL

    def __str__(self) -> str:
        """Say it in a line."""
        met = f"died at pass {self.at}" if self.died else f"NOT VISITED ({self.code})"
        verdict = "holds" if not self.violations else f"BROKEN ({self.violations})"
        return f"{self.place:24} {self.home:10} {met:18} {self.messages:3} messages  {verdict}"


def visits(chance: Random, only: Collection[str] = failpoint.POINTS) -> list[Visit]:
    """List these places with the processes that they are visited in."""
    homes = {"gateway": (NODES[0],), "receiver": ("ksd", "viborg"), "outbox": ("outbox",), "decider": ("decider",)}
    found = [
        Visit(place=place, home=home, at=_pass(chance, place))
        for kind, rooms in HOMES.items()
        for home in homes[kind]
        for place in sorted(failpoint.POINTS)
        if place.partition(".")[0] in rooms and place in only
    ]
    return sorted(found, key=lambda visit: visit.home)


def _pass(chance: Random, place: str) -> int:
    often = place.startswith(OFTEN) and not place.endswith(("_release", "_repeated"))
    return chance.randint(1, FIRST) if often else 1


class Visits:
    """Visits in one house."""

    def __init__(self, house: House, history: History, chance: Random) -> None:
        self._house = house
        self._history = history
        self._chance = chance
        self._paper = Paper()
        self._senders: list[Senders] = []
        self._sending: list[asyncio.Task[None]] = []
        self._at = False  # which of the two systems has the municipality that changes it
        self.of: dict[str, Visit] = {}  # whose message it is

    async def all(self, todo: Sequence[Visit]) -> None:
        """Make every visit, two processes at a time, and wait until nothing is left to do."""
        mine = [visit for visit in todo if visit.home == NODES[0]]
        others = [visit for visit in todo if visit.home != NODES[0]]
        await self._house.admit_randers()
        await self._house.route_randers(MOVERS[self._at])
        try:
            await asyncio.gather(self._track(mine), self._track(others))
            await self._until_quiet()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _track(self, todo: Sequence[Visit]) -> None:
        for number, visit in enumerate(todo):
            if visit.home == "decider":
                await self._decide(visit)
                continue
            await self._house.kill(visit.home)
            await self._start(visit.home, f"{visit.place}:{visit.at}", patience=self._patience(visit))
            await self._visit(visit)
            if number + 1 == len(todo) or todo[number + 1].home != visit.home:
                await self._house.kill(visit.home)  # one that has not passed its place lives
                await self._start(visit.home, None)

    def _patience(self, visit: Visit) -> float | None:
        return PATIENCE if visit.place.startswith("abandon.") else None

    async def _start(self, name: str, fuse: str | None, *, patience: float | None = None) -> None:
        """Start a process; one whose fuse burns down before it answers is as good."""
        await self._house.start(name, fuse=fuse, patience=patience)
        self._history.write("nemesis", does="fuse" if fuse else "start", to=name, fuse=fuse)

    async def _visit(self, visit: Visit) -> None:
        """Send until the process has died."""
        one = self._house.processes[visit.home]
        end = time.monotonic() + DIES
        room = visit.place.partition(".")[0]
        ending = any(word in visit.place for word in ("release", "abandon"))  # on its way to its end
        while one.alive and time.monotonic() < end:
            if visit.place.startswith("abandon."):
                self._house.stop(AWAY)
            await (self._move(visit) if room == "move" else self._traffic(visit))
            if ending and one.alive:
                await asyncio.sleep(IN_QUEUE if room == "release" else UNDER_WAY)
                one.signal(signal.SIGTERM)
            ended = asyncio.shield(one.ended)
            await asyncio.wait((ended,), timeout=1.2 if ending else 0.7)
            self._house.go_on(AWAY)
            if not one.alive and one.ended.result() != -signal.SIGKILL and ending:  # it had nothing to hand back
                await self._start(visit.home, f"{visit.place}:{visit.at}", patience=self._patience(visit))
        visit.code = one.ended.result() if not one.alive else None
        self._history.write("died", to=visit.home, code=visit.code, place=visit.place)

    async def _traffic(self, visit: Visit) -> None:
        """Send what every place is passed by: a busy lane, an orderly one, a refusal, twins, look-ups, a stale call."""
        if visit.home == "outbox":
            await self._put(visit)
            return
        if visit.place.startswith("release."):
            self._queue(visit)
            return
        operation = self._chance.choice(SENDS)
        municipality = self._chance.choice((VIBORG, AARHUS))
        if visit.place.startswith("abandon."):
            operation, municipality = EVENT, AARHUS
        if visit.home in RECEIVERS:  # what comes to this receiver
            operation, municipality = next(
                (name, cvr) for name in SENDS for cvr in (VIBORG, AARHUS) if parties(name, cvr)[1].name == visit.home
            )

        def lane(taken: Sequence[int], habits: Sequence[str], *, orderly: bool) -> list[Letter]:
            return self._lane(operation, municipality, taken, habits, orderly=orderly)

        lanes = [
            lane((SLOW, FAST, SLOW, FAST, FAST), ("steady", "steady", "trusting", "steady", "steady"), orderly=False),
            lane((FAST, REFUSED, FAST), ("steady", "steady", "twin"), orderly=True),
            lane((FAST, FAST), ("twin", "steady"), orderly=True),
        ]
        self._send(visit, lanes)
        await asyncio.gather(self._look_up(), self._stale())

    def _send(self, visit: Visit, lanes: Sequence[Sequence[Letter]]) -> None:
        """Begin to send."""
        self._belongs(visit, lanes)
        senders = Senders(self._house, self._history, self._chance)
        self._senders.append(senders)
        self._sending.append(asyncio.create_task(senders.send(lanes)))

    def _queue(self, visit: Visit) -> None:
        """Let so much lie in each of some lanes that a node which ends has claimed what it has not begun with."""
        slow, habits = (SLOW,) * QUEUE, ("steady",) * QUEUE
        self._send(visit, [self._lane(EVENT, VIBORG, slow, habits, orderly=False) for _ in range(4)])

    async def _move(self, visit: Visit) -> None:
        """Let a municipality change its system while messages lie behind one that is on its way."""
        habits = ("steady",) * 4
        lanes = [self._lane(EVENT, RANDERS, (SLOW, FAST, FAST, FAST), habits, orderly=False) for _ in range(4)]
        for letter in (letter for lane in lanes for letter in lane):
            letter.recipients = MOVERS
        self._send(visit, lanes)
        await asyncio.sleep(0.15)
        self._at = not self._at
        await self._house.route_randers(MOVERS[self._at])

    def _lane(
        self, operation: str, municipality: str, taken: Sequence[int], habits: Sequence[str], *, orderly: bool
    ) -> list[Letter]:
        return lane_of(
            self._chance,
            self._paper,
            operation=operation,
            municipality=municipality,
            taken=taken,
            habits=habits,
            orderly=orderly,
        )

    def _belongs(self, visit: Visit, lanes: Sequence[Sequence[Letter]]) -> None:
        for each in lanes:
            for letter in each:
                self.of[str(letter.id)] = visit
                visit.messages += 1

    async def _look_up(self) -> None:
        """Ask KSD through the first node, whatever comes of it."""
        await self._one(LOOKUP, datetime.now(UTC))

    async def _stale(self) -> None:
        """Send something that is too old, which nobody may store."""
        await self._one(SENDS[0], datetime.now(UTC) - timedelta(days=30))

    async def _one(self, name: str, when: datetime) -> None:
        sender, recipient = parties(name, VIBORG)
        besked_id, lane = (UUID(int=self._chance.getrandbits(128), version=4) for _ in range(2))
        body = message(name, besked_id=besked_id, lane=lane, sender=sender.system_id, now=when)
        await self._house.send(NODES[0], sender.name, OPERATIONS[name], body, recipient=recipient.name)

    # --- the sending party ---

    async def _put(self, visit: Visit) -> None:
        """Put messages in the party's lanes, as it would itself."""
        sender, _ = parties(OUTGOING, VIBORG)
        taken = (SLOW, FAST, SLOW, FAST, FAST)
        lanes = [self._lane(OUTGOING, VIBORG, taken, ("outbox",) * len(taken), orderly=True) for _ in range(2)]
        self._belongs(visit, lanes)
        Senders(self._house, self._history, self._chance).announce(lanes)
        for letter in (letter for lane in lanes for letter in lane):
            call = self._history.invoke(letter.id, "outbox")
            async with self._house.letterbox.tx() as tx:
                await put(
                    tx,
                    self._house.outbox_vault,
                    letter.body,
                    lane=letter.lane,
                    besked_id=letter.id,
                    sender=sender.system_id,
                    now=datetime.now(UTC),
                )
            self._history.write("stored", call=call, id=letter.id)

    # --- a person's decision ---

    async def _decide(self, visit: Visit) -> None:
        """Have a message parked, or refused unheard, and let the process die that decides about it; then decide again."""
        decision = visit.place.partition(".")[0]
        if decision == "tell":
            await self._tell(visit)
            return
        lane = self._lane(SENDS[0], VIBORG, (FAST, UNREADABLE, FAST), ("steady",) * 3, orderly=True)
        self._send(visit, [lane])
        await self._until(lane[1], "parked")
        visit.code = await self._decision(decision, f"{visit.place}:{visit.at}")
        self._history.write("died", to="decider", code=visit.code, place=visit.place)
        await self._until(lane[1], "parked", "discarded")
        await self._decision("discard", None)

    async def _tell(self, visit: Visit) -> None:
        """Have a message refused behind a slow one, so that its sender holds G006, until one is still owed the end."""
        for _ in range(TRIES):
            lane = self._lane(SENDS[0], VIBORG, (SLOW, REFUSED), ("steady", "trusting"), orderly=True)
            self._send(visit, [lane])
            await self._until(lane[1], "refused")
            visit.code = await self._decision("tell", f"{visit.place}:{visit.at}")
            if visit.died:
                break
        self._history.write("died", to="decider", code=visit.code, place=visit.place)
        await self._decision("tell", None)

    async def _until(self, letter: Letter, *states: str) -> None:
        query, dsn = "SELECT status FROM platform.message WHERE besked_id = %s", self._house.server.superuser_dsn()
        async with asyncio.timeout(DIES):
            while await asyncio.to_thread(dump.one, dsn, query, letter.id) not in states:
                await asyncio.sleep(0.05)

    async def _decision(self, decision: str, fuse: str | None) -> int:
        house, own = self._house, self._house.certificates.platform
        settings = {
            "dsn": house.dsn,
            "schema": dump.GATEWAY,
            "vault": str(house.layout.vault(dump.GATEWAY)),
            "certificate": str(own.certificate),
            "key": str(own.key),
            "ca": str(house.pki.ca),
            "decision": decision,
        }
        config = house.layout.directory / "decider.json"
        config.write_text(json.dumps(settings), encoding="utf-8")
        env = {failpoint.VARIABLE: fuse} if fuse else {}
        _, ended = await house.nursery.fork("decider", config, log=house.layout.log("decider"), env=env)
        return await asyncio.wait_for(ended, DIES)

    # --- the end ---

    async def _until_quiet(self) -> None:
        """Wait until every sender is content and neither the gateway nor the party has anything left to do."""
        dsn, calm, end = self._house.server.superuser_dsn(), 0, time.monotonic() + END
        while calm < CALM and time.monotonic() < end:
            await asyncio.sleep(LOOK)
            left, _ = await asyncio.to_thread(dump.unsettled, dsn)
            left += await asyncio.to_thread(dump.one, dsn, OUTBOX_LEFT)
            calm = calm + 1 if left == 0 and all(each.left.is_set() for each in self._senders) else 0
        for each in self._senders:
            each.rest.set()
        if self._sending:
            await asyncio.wait(self._sending, timeout=END)


OUTBOX_LEFT = "SELECT count(*) FROM outbox.message WHERE status IN ('queued', 'sending', 'under_way')"


async def run(
    house: House, logs: Path, *, seed: str, only: Collection[str] = failpoint.POINTS
) -> tuple[list[Visit], checker.Verdict]:
    """Visit these places in a house; give what came of each, and of all together."""
    chance = Random(f"{seed}/failpoints")
    todo = visits(chance, only)
    dsn = house.server.superuser_dsn()
    history_path, dump_path = (logs / f"failpoints.{kind}.jsonl" for kind in ("history", "dump"))
    since = await asyncio.to_thread(dump.marks, dsn, RECEIVERS)
    with History(history_path) as history:
        head(history, house, seed=seed, number=0)
        made = Visits(house, history, chance)
        await made.all(todo)
        house.see_all_alive()
        history.write("end")
    await asyncio.to_thread(dump.take, dsn, dump_path, since, RECEIVERS)
    verdict = checker.check(checker.read(history_path), checker.read(dump_path))
    for violation in verdict.violations:
        if violation.id in made.of:
            made.of[violation.id].violations += 1
    return todo, verdict


def main(argv: Sequence[str]) -> int:
    """Visit every place."""
    ask = argparse.ArgumentParser(prog="python -m ordeal failpoints", description=__doc__)
    ask.add_argument("--seed", default=SEED)
    ask.add_argument("--only", choices=sorted(failpoint.POINTS))
    ask.add_argument("--logs", type=Path)
    given = ask.parse_args(argv)
    only = failpoint.POINTS if given.only is None else {given.only}
    logging.disable(logging.WARNING)

    async def visited(place: Path) -> tuple[list[Visit], checker.Verdict]:
        async with House(directory=place / "house", budget=BUDGET, outbox=True) as house:
            return await run(house, given.logs or place, seed=str(given.seed), only=only)

    with TemporaryDirectory(prefix="ordeal-") as place:
        todo, verdict = asyncio.run(visited(Path(place)))
    for visit in todo:
        sys.stdout.write(f"{visit}\n")
    for violation in verdict.violations:
        sys.stdout.write(f"{violation}\n")
    names = {visit.place for visit in todo if visit.died}
    wanted = {visit.place for visit in todo}
    sys.stdout.write(f"{len(names)} of {len(wanted)} places visited in {len(todo)} processes; {verdict}\n")
    return int(not all(visit.died for visit in todo) or not verdict.holds)

# SPDX-License-Identifier: MPL-2.0
"""
Where lives are lived: a stage that is kept over many runs, and one run on it.

A run has citizens of its own, so what earlier runs left behind does not meet it; time only goes forward. When the
calendar of a stage has come to its end, the next run gets a new one. Everything is asked for at the control doors.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from sygefravaer.errors import ActRefused
from sygefravaer.sandbox.citizens import citizens
from sygefravaer.sandbox.stage import Stage

Json = dict[str, Any]
T = TypeVar("T")

VIBORG, AARHUS = "29189846", "55133018"
JOBCENTERS: Final = {VIBORG: "viborg", AARHUS: "aarhus"}
EMPLOYERS: Final = ("99000007", "99000015", "99000023", "99000031")
DENMARK: Final = ZoneInfo("Europe/Copenhagen")

FIRST: Final = datetime(2015, 2, 2, 8, tzinfo=UTC)
"""The model of kategorier is in force."""
LAST: Final = datetime(2029, 1, 1, tzinfo=UTC)
"""No run begins later: what the law will be then is nobody's guess."""
OPEN_STATES: Final = ("ANMELDT", "OPLYST", "LOEBENDE", "DELVIST_RASKMELDT", "REVURDERING", "FORLAENGET", "STANDSET")
RUNNING: Final = ("LOEBENDE", "DELVIST_RASKMELDT", "FORLAENGET")
REFUSALS: Final = frozenset({"Impossible", "IllegalMove", "CaseUnknown", "RequestUnknown", "RequestNeverEnds"})
"""What a door may answer when a random act does not fit the case, or has not heard of it; anything else is a fault."""
PATIENCE: Final = 150.0  # seconds for one instant: longer than the lease of a delivery that died
DUE: Final = timedelta(days=400)  # the farthest that "until something is due" goes


class World:
    """A stage, its event loop, and numbers for new citizens."""

    def __init__(self, start: datetime = FIRST, **given: Any) -> None:
        """`given` goes to the stage: a server and an authority that are there already."""
        self._runner = asyncio.Runner()
        self._stage = Stage(start, **given)
        self._citizens = citizens()
        try:
            self.wait(self._stage.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        self._stage.keeper.timeout = PATIENCE

    @property
    def stage(self) -> Stage:
        """The stage itself."""
        return self._stage

    @property
    def now(self) -> datetime:
        """The instant at which all clocks stand."""
        return self._stage.now

    @property
    def today(self) -> date:
        """The Danish day."""
        return self.now.astimezone(DENMARK).date()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the parts run until this is done."""
        return self._runner.run(work)

    def act(self, part: str, act: str, /, **fields: Any) -> Json:
        """Ask at a door."""
        return self.wait(self._stage.act(part, act, **fields))

    def new_number(self) -> str:
        """Give a personal number that nobody has."""
        return next(self._citizens).cpr.reveal()

    def close(self) -> None:
        """End everything."""
        self.wait(self._stage.__aexit__(None, None, None))
        self._runner.close()


@dataclass(kw_only=True)
class Person:
    """A citizen: every number he has had, the present one last, and where he lives."""

    numbers: list[str]
    municipality: str

    @property
    def cpr(self) -> str:
        """The number of today."""
        return self.numbers[-1]


@dataclass(kw_only=True)
class Case:
    """A case as the run last saw it."""

    sags_id: str
    person: Person
    state: str
    municipality: str
    first_day: date
    by_hand: bool = False
    """Its RevurderingsDato was set by hand, or it is not to be counted anew."""
    pensioner_since: date | None = None


@dataclass(kw_only=True)
class Run:
    """One life, or some: what was done, and what was seen on the way."""

    world: World
    persons: list[Person] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    """Rows that were visited, and states and moves of jobcentersager."""
    legitimate: Counter[str] = field(default_factory=Counter)
    """Disagreements that a person has to look at, by kind."""
    strangers: set[str] = field(default_factory=set)
    """BeskedIDs of late copies: KSD has never sent them."""
    closed_locally: set[str] = field(default_factory=set)
    """Jobcentersager that the jobcentre itself closed."""
    wrong: bool = False
    """A jobcentre has answered wrongly on purpose."""
    dirty: bool = False
    outage: tuple[str, datetime] | None = None
    _life: dict[str, str] = field(default_factory=dict)

    # --- acts ---

    def say(self, what: str, **more: object) -> None:
        """Write down what was done, for whoever reads of a failure."""
        told = " ".join(f"{name}={value}" for name, value in more.items() if value is not None)
        self.trace.append(f"{self.world.now:%Y-%m-%d %H:%M} {what} {told}".rstrip())

    def ksd(self, act: str, /, **fields: Any) -> Json | None:
        """Do something at KSD; None when it does not fit the case."""
        return self._do("ksd", act, fields)

    def jobcenter(self, cvr: str, act: str, /, **fields: Any) -> Json | None:
        """Do something at a jobcentre; None when it does not fit the case."""
        return self._do(JOBCENTERS[cvr], act, fields)

    def _do(self, part: str, act: str, fields: Json) -> Json | None:
        self.say(f"{part} {act}", **{name: value for name, value in fields.items() if "cpr" not in name})
        try:
            told = self.world.act(part, act, **fields)
        except ActRefused as error:
            if error.code not in REFUSALS:
                raise
            self.trace[-1] += f" -> {error.code}"
            self.seen["refused acts"] += 1
            return None
        self.dirty = True
        for case in self.cases:
            if told.get("sags_id") == case.sags_id and "state" in told:
                case.state, case.municipality = told["state"], told["municipality_cvr"]
        return told

    def settle(self) -> None:
        """Let everything happen that is due, and look."""
        if self.dirty:
            self.world.wait(self.world.stage.settle())
            self.look()

    def advance(self, **by: float) -> None:
        """Let time pass."""
        self.say("time passes", **by)
        self._pass(timedelta(**by))

    def advance_to_due(self) -> None:
        """Let time pass until something happens by itself."""
        self.settle()
        coming = [one.next for one in self.world.stage.keeper.round.values() if one.next is not None]
        later = min((at for at in coming if at > self.world.now), default=None)
        if later is not None and later - self.world.now < DUE:
            self.say("time passes until something is due", at=later.date())
            self._pass(later - self.world.now)

    def _pass(self, by: timedelta) -> None:
        """A part that is away comes back before its lanes are a matter for people."""
        if self.outage is not None:
            part, since = self.outage
            if self.world.now + by - since > timedelta(days=4):
                self.mend(part)
        self.world.wait(self.world.stage.advance(by))
        self.look()

    def break_down(self, part: str) -> None:
        """Let a part take no call any more."""
        self.say(f"{part} takes no calls")
        self.world.act(part, "chaos", refuse_connections=True)
        self.outage = part, self.world.now

    def mend(self, part: str) -> None:
        """Let it take calls again."""
        self.say(f"{part} takes calls again")
        self.world.act(part, "chaos", refuse_connections=False)
        self.outage = None

    # --- what there is ---

    def look(self) -> None:
        """See how the cases and the jobcentersager stand."""
        self.dirty = False
        for person in self.persons:
            for told in self.world.act("ksd", "cases", cpr=person.cpr)["cases"]:
                for case in self.cases:
                    if case.sags_id == told["sags_id"]:
                        case.state, case.municipality = told["state"], told["municipality_cvr"]
        mine = {case.sags_id for case in self.cases}
        for cvr, name in JOBCENTERS.items():
            for sag in self.world.act(name, "cases", limit=6)["cases"]:
                if mine & {linked["sags_id"] for linked in sag["sygedagpengesager"]}:
                    self._saw(cvr, sag["jobcentersag_id"], sag["state"])

    def _saw(self, cvr: str, jobcentersag_id: str, state: str) -> None:
        key = f"{cvr} {jobcentersag_id}"
        before = self._life.get(key)
        self._life[key] = state
        if before != state:
            self.seen[f"jobcentersag {state}"] += 1
            self.seen[f"move {before or '-'} -> {state}"] += 1

    def among(self, *states: str) -> list[Case]:
        """List the cases in one of these states."""
        return [case for case in self.cases if case.state in states]

    def numbers(self) -> Iterable[str]:
        """Give every number of the run's citizens."""
        return (number for person in self.persons for number in person.numbers)

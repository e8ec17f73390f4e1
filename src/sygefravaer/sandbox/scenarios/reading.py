# SPDX-License-Identifier: MPL-2.0
"""
A file to a `Scenario`. What is wrong in it is a `UsageError` that names the file and the step.

`docs/scenarios.md` describes the format. What a step gives to an act is judged by the act's door, when it is played.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import UsageError
from sygefravaer.sandbox.parts import GATEWAY, JOBCENTERS, KSD, SYSTEMS

Json = dict[str, Any]

SUFFIX: Final = ".toml"
PARTS: Final = (GATEWAY.name, *(spec.name for spec in SYSTEMS))
SIDES: Final = (KSD.name, *(spec.name for spec in JOBCENTERS))
KINDS: Final = ("act", "send", "ask", "copy", "again", "stop", "start")
"""What a step can do, at most one of them; a step that does nothing only waits, or checks."""
CITIZENS: Final = ("any", "mod 11", "no mod 11", "1 January", "substitute")
PAIRS: Final = {"on", "known", "is"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must hold; `of` says where to look, `wanted` what is wanted there, by path."""

    that: str
    kind: str
    """sides, messages, look, result, truth."""
    case: str | None = None
    who: str | None = None
    look: str | None = None
    given: Json = field(default_factory=dict)
    of: str | None = None
    filters: Json = field(default_factory=dict)
    count: Any = None
    wanted: Mapping[str, Json] = field(default_factory=dict)
    """By side, or under "" when there is but one place."""
    pairs: tuple[Json, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happens at an instant, and what must hold after it."""

    number: int
    at: str
    tell: str = ""
    who: str | None = None
    kind: str | None = None
    what: str = ""
    case: str | None = None
    name: str | None = None
    given: Json = field(default_factory=dict)
    head: Json = field(default_factory=dict)
    like: str | None = None
    spoil: Json = field(default_factory=dict)
    door: str = GATEWAY.name
    times: int = 1
    at_once: bool = False
    many: str | None = None
    receipt: str | None = None
    refused: str | None = None
    note: Json = field(default_factory=dict)
    must: tuple[Check, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A story: who is in it, what happens, and what must hold."""

    name: str
    title: str
    story: str
    municipality: str
    turn: str
    """The instant over which a clock is laid that has something special in it."""
    start: date | None
    """T, where the law of a day is the point."""
    citizens: Mapping[str, str]
    messages: Mapping[str, Json]
    count: int
    """How many, where it has many cases and nobody says otherwise."""
    alone: bool
    """It counts all that there is, so nobody else may be there."""
    steps: tuple[Step, ...]


def known() -> tuple[str, ...]:
    """List the names of the scenarios that come with this program."""
    return tuple(sorted(one.name.removesuffix(SUFFIX) for one in _data().iterdir() if one.name.endswith(SUFFIX)))


def load(name: str) -> Scenario:
    """Read a scenario by its name or the beginning of it, or a file by its path."""
    if name.endswith(SUFFIX):
        return _of_file(Path(name))
    found = [one for one in known() if one == name] or [one for one in known() if one.startswith(name)]
    if len(found) != 1:
        raise UsageError(
            "ScenarioUnknown",
            f"There is no such scenario; there are {', '.join(known())}.",
            try_this="Name one of them, or give the path of a file that ends in .toml.",
        )
    return read(found[0], (_data() / f"{found[0]}{SUFFIX}").read_text(encoding="utf-8"))


def read(name: str, text: str) -> Scenario:
    """Read the text of a file."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError("ScenarioMalformed", f"{name}: {error}.") from error
    top = _Table(name, given)
    steps = top.tables("step")
    scenario = Scenario(
        name=name,
        title=top.take("title", str),
        story=top.take("story", str),
        municipality=top.find("municipality", str) or JOBCENTERS[0].name,
        turn=top.take("turn", str),
        start=top.find("start", date),
        citizens=_citizens(top),
        messages=top.find("messages", dict) or {},
        count=top.find("count", int) or 1,
        alone=top.find("alone", bool) or False,
        steps=tuple(_step(name, number, each) for number, each in enumerate(steps, start=1)),
    )
    top.done()
    if not scenario.steps:
        raise malformed(name, "it has no step")
    return scenario


def malformed(place: str, what: str) -> UsageError:
    """Say what is wrong with a file, and where."""
    return UsageError("ScenarioMalformed", f"{place}: {what}.", try_this="docs/scenarios.md describes the format.")


def place(scenario: str, step: Step) -> str:
    """Say where a step stands."""
    return f"{scenario}, step {step.number} ({step.at})"


def _data() -> Traversable:
    return resources.files(__package__) / "data"


def _of_file(path: Path) -> Scenario:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("FileUnreadable", f"{path} could not be read.", try_this="Give the path of a file.") from error
    return read(path.stem, text)


def _citizens(top: _Table) -> Mapping[str, str]:
    found = top.find("citizens", dict) or {}
    for name, kind in found.items():
        if kind not in CITIZENS:
            raise malformed(top.place, f"citizen `{name}`: one of {', '.join(CITIZENS)} was wanted")
    return found


def _step(scenario: str, number: int, given: Json) -> Step:
    table = _Table(f"{scenario}, step {number}", given)
    at = table.take("at", str)
    table = _Table(f"{scenario}, step {number} ({at})", {key: given[key] for key in given if key != "at"})
    kind, what = _kind(table)
    step = Step(
        number=number,
        at=at,
        tell=table.find("tell", str) or "",
        who=table.choice("who", PARTS),
        kind=kind,
        what=what,
        case=table.find("case", str),
        name=table.find("name", str),
        given=table.find("with", dict) or {},
        head=table.find("head", dict) or {},
        like=table.find("like", str),
        spoil=table.find("spoil", dict) or {},
        door=table.choice("door", PARTS) or GATEWAY.name,
        times=table.find("times", int) or 1,
        at_once=table.find("at_once", bool) or False,
        many=table.find("many", str),
        receipt=table.find("receipt", str),
        refused=table.find("refused", str),
        note=table.find("note", dict) or {},
        must=tuple(_check(table.place, each) for each in table.tables("must")),
    )
    table.done()
    if step.kind is not None and step.who is None:
        raise malformed(table.place, "`who` is missing: somebody must do it")
    if step.kind in {"send", "ask"} and step.what not in OPERATIONS:
        raise malformed(table.place, f"`{step.kind}`: one of {', '.join(OPERATIONS)} was wanted")
    return step


def _kind(table: _Table) -> tuple[str | None, str]:
    kinds = [kind for kind in KINDS if kind in table.left]
    if len(kinds) > 1:
        raise malformed(table.place, f"only one of {', '.join(kinds)} can be done in one step")
    if not kinds:
        return None, ""
    kind = kinds[0]
    if kind in {"stop", "start"}:
        table.take(kind, bool)
        return kind, ""
    return kind, table.take(kind, str)


def _check(where: str, given: Json) -> Check:
    table = _Table(where, given)
    that = table.take("that", str)
    table = _Table(f"{where}, `{that}`", {key: given[key] for key in given if key != "that"})
    sides = [side for side in SIDES if side in table.left]
    sources = [key for key in ("messages", "look", "of", "pairs") if key in table.left] + (["sides"] if sides else [])
    if len(sources) != 1:
        raise malformed(table.place, f"one of {', '.join(SIDES)}, messages, look, of, pairs says where to look")
    source = sources[0]
    values = {side: table.take(side, dict) for side in sides}
    if "is" in table.left:
        values[""] = table.take("is", dict)
    check = Check(
        that=that,
        kind={"of": "result", "pairs": "truth"}.get(source, source),
        case=table.find("case", str),
        who=table.choice("who", PARTS),
        look=table.find("look", str),
        given=table.find("with", dict) or {},
        of=table.find("of", str),
        filters=table.find("messages", dict) or {},
        count=table.find("count", object),
        wanted=values,
        pairs=tuple(table.tables("pairs")),
    )
    table.done()
    if check.count is None and not any(values.values()) and not check.pairs:
        raise malformed(table.place, "nothing is wanted: `is`, `count` or `pairs` is missing")
    if check.kind in {"look", "truth"} and check.who is None:
        raise malformed(table.place, "`who` is missing: somebody must look")
    for pair in check.pairs:
        if set(pair) != PAIRS:
            raise malformed(table.place, "a pair has `on`, `known` and `is`")
    return check


class _Table:
    """The keys of a table, taken one by one; `done` refuses what nobody took."""

    def __init__(self, where: str, given: Json) -> None:
        self.place = where
        self.left = dict(given)

    def take(self, name: str, kind: type[Any]) -> Any:
        if name not in self.left:
            raise malformed(self.place, f"`{name}` is missing")
        return self.find(name, kind)

    def find(self, name: str, kind: type[Any]) -> Any:
        value = self.left.pop(name, None)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise malformed(self.place, f"`{name}` is wrong: {_WANTED[kind]} was wanted")
        return value

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        value: str | None = self.find(name, str)
        if value is not None and value not in choices:
            raise malformed(self.place, f"`{name}` is wrong: one of {', '.join(choices)} was wanted")
        return value

    def tables(self, name: str) -> list[Json]:
        value = self.find(name, list) or []
        if not all(isinstance(each, dict) for each in value):
            raise malformed(self.place, f"`{name}` is wrong: a list of tables was wanted")
        return value

    def done(self) -> None:
        if self.left:
            raise malformed(self.place, f"{', '.join(f'`{key}`' for key in self.left)} is not known here")


_WANTED: Final = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    date: "a day (2024-12-31, without quotes)",
    object: "a value",
}

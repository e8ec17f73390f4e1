# SPDX-License-Identifier: MPL-2.0
"""
What is seen on the way: messages with their receipts, look-ups, and the states on both sides, instant by instant.

Everything comes from the parts' own control doors. What was sent in one instant is told as conversations: a message,
then what it led to. No line holds a personal number or an id, so the same play prints the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sygefravaer.contract.messages import ADVARSEL, FEJL, OK
from sygefravaer.errors import ActRefused
from sygefravaer.law import DENMARK
from sygefravaer.sandbox.events import NUMBERS
from sygefravaer.sandbox.parts import JOBCENTERS, KSD, SYSTEMS
from sygefravaer.sandbox.scenarios.theatres import CVRS, Theatre
from sygefravaer.sandbox.timekeeper import Timekeeper

Json = dict[str, Any]

TITLES: Final[Mapping[str, str]] = {spec.name: spec.title.removeprefix("Jobcenter ") for spec in SYSTEMS}
PARTS_BY_CVR: Final[Mapping[str, str]] = {cvr: part for part, cvr in CVRS.items()}
PAGE: Final = 300  # messages looked at after an instant; a scenario that has more says how many
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LINE: Final = 25  # columns before a line's text
ARROW: Final = 20
WHAT: Final = 62


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the timeline."""

    at: datetime
    kind: str
    """tell, message, receipt, lookup, state, check."""
    text: str
    told: Json

    def printed(self, before: datetime | None) -> str:
        """Give it as it is read; the time only where it is another than that of the line before."""
        stamp = "" if before is not None and _stamp(before) == _stamp(self.at) else _stamp(self.at)
        return f"{stamp:<{LINE}}{self.text}".rstrip()


def _stamp(instant: datetime) -> str:
    local = instant.astimezone(DENMARK)
    day = f"{WEEKDAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}"
    return f"{day}:{local:%S}" if local.second else day


class Watcher:
    """
    Sees every instant of a play. `lines` is the timeline, `messages` all that was sent, by BeskedID, as it is now.

    `cases` are the cases of the story, by the name the story gives them; nothing else is looked at.
    """

    def __init__(self, theatre: Theatre, tell: Callable[[Line], None], *, bulk: bool = False) -> None:
        self._theatre = theatre
        self._tell = tell
        self._bulk = bulk
        self.lines: list[Line] = []
        self.messages: dict[str, Json] = {}
        self.cases: dict[str, str] = {}
        self.seen_cases: dict[str, Json] = {}
        """KSD's picture of each case of the story, as of the last instant."""
        self.strangers: set[str] = set()
        """SagsIDs that only test functions speak of."""
        self._known: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._sides: dict[str, list[tuple[str, Json]]] = {}
        self._lookups = 0
        self._counters: dict[str, Any] = {}
        self._fresh: list[str] = []

    async def begin(self, _: Timekeeper) -> None:
        """Nothing is noted before a move: all is known from the last one."""

    async def seen(self, keeper: Timekeeper) -> str | None:
        """Look at an instant, and let time go on."""
        counters = {part: one.counters for part, one in keeper.round.items()}
        if counters != self._counters:
            self._counters = counters
            await self.look()
        return None

    async def look(self) -> None:
        """Look at all that is new."""
        if self._bulk:
            return
        now = await self._theatre.now()
        await self._look_at_cases()
        for message in await self._all_messages():
            self._take(message, now)
        for message in self._conversations():
            self.say("message", _as_message(message), message, at=datetime.fromisoformat(message["at"]))
        await self._look_at_lookups()
        self._look_at_states(now)

    def say(self, kind: str, text: str, told: Json | None = None, *, at: datetime) -> None:
        """Write a line of the timeline."""
        line = Line(at=at, kind=kind, text=text, told=told or {})
        self.lines.append(line)
        self._tell(line)

    def add(self, message: Json, *, at: datetime) -> None:
        """Write down a message of a test function, which no part has sent."""
        self.say("message", _as_message(message), message, at=at)
        self.messages.setdefault(f"{message['besked_id']} {len(self.messages)}", message)

    def of_story(self) -> list[Json]:
        """List the messages, the oldest first."""
        return list(self.messages.values())

    # --- cases ---

    async def _look_at_cases(self) -> None:
        names, ids = list(self.cases), list(self.cases.values())
        found = await asyncio.gather(*(self._case(KSD.name, sags_id) for sags_id in ids))
        self.seen_cases |= {name: case for name, case in zip(names, found, strict=True) if case is not None}
        for name, sags_id in self.cases.items():
            told_to = {row["municipality_cvr"] for row in self.seen_cases.get(name, {}).get("versions", ())}
            parts = [spec.name for spec in JOBCENTERS if CVRS[spec.name] in told_to]
            told = await asyncio.gather(*(self._case(part, sags_id) for part in parts))
            self._sides[name] = [(part, case) for part, case in zip(parts, told, strict=True) if case is not None]

    async def _case(self, part: str, sags_id: str) -> Json | None:
        try:
            return await self._theatre.act(part, "case", {"sags_id": sags_id})
        except ActRefused:
            return None  # it does not know it, or is away

    def _look_at_states(self, now: datetime) -> None:
        for name, case in self.seen_cases.items():
            told = [f"KSD {case['state']} v{case['version']}"]
            told += [f"{TITLES[part]} {side['state']}" for part, side in self._sides.get(name, [])]
            text = ", ".join(told)
            if self._states.get(name) != text:
                self._states[name] = text
                label = f"{name}: " if len(self.cases) > 1 else ""
                self.say("state", f"= {label}{text}", {"case": name, "states": told}, at=now)

    # --- messages ---

    async def _all_messages(self) -> list[Json]:
        ksd, *jobcenters = await asyncio.gather(*(self._messages(spec.name) for spec in SYSTEMS))
        names = {sags_id: name for name, sags_id in self.cases.items()}
        mine = names.keys() | self.strangers
        received = {row["besked_id"]: row for told in jobcenters for row in told.get("received", ())}
        answers: dict[str, Json] = {}
        found = []
        for row in reversed(ksd.get("messages", [])):
            if row["sags_id"] in mine:
                found.append(self._of_ksd(row, received.get(row["besked_id"], {}), names))
            answers |= {each["besked_id"]: each for each in row["answers"]}
        for spec, told in zip(JOBCENTERS, jobcenters, strict=True):
            rows = [row for row in reversed(told.get("sent", [])) if row["sags_id"] in mine]
            found += [_of_jobcenter(spec.name, row, answers.get(row["besked_id"], {}), names) for row in rows]
        return found

    async def _messages(self, part: str) -> Json:
        try:
            return await self._theatre.act(part, "messages", {"limit": PAGE})
        except ActRefused:
            return {}  # it is away

    def _of_ksd(self, row: Json, received: Json, names: Mapping[str, str]) -> Json:
        case = self.seen_cases.get(names.get(row["sags_id"], ""), {})
        told: Json = {
            "at": row["sent_at"],
            "from": KSD.name,
            "to": PARTS_BY_CVR.get(row["municipality_cvr"], row["municipality_cvr"]),
            "name": NUMBERS[row["operation"]],
            "case": names.get(row["sags_id"]),
            "besked_id": row["besked_id"],
            "korrelations_id": row["korrelations_id"],
            "version": row["version"],
            "receipt": _ksd_receipt(row),
            "final": row["final"],
            "settled": row["settled_at"] is not None,
            "cause": None,
        }
        version: Json = next((one for one in case.get("versions", ()) if one["version"] == row["version"]), {})
        if row["anmodning_id"] is None:
            told |= {"event": received.get("haendelsestype") or version.get("event"), "on": version.get("effective_on")}
            told |= {"reasons": version.get("reasons", []), "cause": version.get("cause_id")}
            return told
        same = [one for one in self.messages.values() if one.get("anmodning_id") == row["anmodning_id"]]
        before = [one for one in same if one["from"] == KSD.name and one["besked_id"] != row["besked_id"]]
        request: Json = next(
            (one for one in case.get("requests", ()) if one["anmodning_id"] == row["anmodning_id"]), {}
        )
        kept = self.messages.get(row["besked_id"], {})
        return told | {
            "anmodning_id": row["anmodning_id"],
            "rykkernummer": kept.get("rykkernummer", len(before)),
            "kind": request.get("kind"),
            "review": request.get("review"),
            "deadline": request.get("deadline"),
        }

    def _take(self, message: Json, now: datetime) -> None:
        besked_id, receipt = message["besked_id"], message["receipt"]
        message["label"] = len(self.cases) > 1
        if besked_id not in self.messages:
            self._fresh.append(besked_id)
        elif self._known.get(besked_id) != receipt and receipt:
            text = _with_receipt(f"{_route(message)}{_name(message)}, receipt", receipt)
            self.say("receipt", text, message, at=now)
        self._known[besked_id] = receipt
        self.messages[besked_id] = message

    def _conversations(self) -> Iterable[Json]:
        """Give what is new: each message, then what it led to."""
        fresh, self._fresh = self._fresh, []
        led: dict[str | None, list[str]] = {}
        for besked_id in fresh:
            message = self.messages[besked_id]
            origin = message.get("reference") or message.get("cause")
            led.setdefault(origin if origin in fresh else None, []).append(besked_id)
        waiting = list(reversed(led.get(None, [])))
        while waiting:
            besked_id = waiting.pop()
            waiting += reversed(led.get(besked_id, []))
            yield self.messages[besked_id]

    # --- look-ups ---

    async def _look_at_lookups(self) -> None:
        try:
            told = await self._theatre.act(KSD.name, "lookups", {"limit": PAGE})
        except ActRefused:
            return
        mine = {*self.cases.values(), *self.strangers}
        rows = [row for row in reversed(told["lookups"]) if row["access_id"] > self._lookups]
        for row in rows:
            self._lookups = row["access_id"]
            if row["operation"] not in NUMBERS or (not self._theatre.fresh and row["sags_id"] not in mine):
                continue
            part = PARTS_BY_CVR.get(row["municipality_cvr"], row["municipality_cvr"])
            text = f"{TITLES.get(part, part)} -> KSD"
            text = f"{text:<{ARROW}}{NUMBERS[row['operation']]} {row['operation']}"
            told_of = {"from": part, "operation": row["operation"], "code": row["code"]}
            self.say("lookup", _with_receipt(text, row["code"]), told_of, at=datetime.fromisoformat(row["at"]))


def _of_jobcenter(part: str, row: Json, answer: Json, names: Mapping[str, str]) -> Json:
    receipt = {"under_way": ADVARSEL}.get(row["receipt"], row["receipt"] or "").upper()
    return {
        "at": row["made_at"],
        "from": part,
        "to": KSD.name,
        "name": NUMBERS[row["operation"]],
        "case": names.get(row["sags_id"]),
        "besked_id": row["besked_id"],
        "anmodning_id": row["anmodning_id"],
        "reference": row["reference"],
        "code": row["content"],
        "codes": answer.get("codes", []),
        "reason": answer.get("reason"),
        "receipt": " ".join((receipt, *row["codes"])) if receipt else "",
        "again": row["again_of"] is not None,
    }


def _ksd_receipt(row: Json) -> str:
    """Say in the words of a receipt where a message of KSD's is; nothing while it waits."""
    status = str(row["status"] or "").upper()
    return {"DELIVERED": OK, "REFUSED": FEJL, "PARKED": "parked"}.get(status, "")


def _as_message(message: Json) -> str:
    text = f"{_route(message)}{_name(message)}"
    return _with_receipt(text, message["receipt"] or "under way")


def _route(message: Json) -> str:
    mark = "*" if message.get("test_function") else ""
    told = f"{TITLES.get(message['from'], message['from'])}{mark} -> {TITLES.get(message['to'], message['to'])}"
    return f"{told:<{ARROW}}"


def _name(message: Json) -> str:
    case = f"[{message['case']}] " if message.get("label") else ""
    words = [message["name"]]
    if message["name"] == "M1":
        words += [message.get("event") or "", f"v{message['version']}" if message.get("version") else ""]
        words += message.get("reasons", [])
    elif message["name"] == "M3":
        words += [message.get("kind") or "", f"Rykkernummer {message['rykkernummer']}"]
        words += [f"Svarfrist {message['deadline']}"] if message.get("deadline") else []
    else:
        words += [message.get("code") or "", *message.get("codes", []), message.get("reason") or ""]
    return case + " ".join(word for word in words if word)


def _with_receipt(text: str, receipt: str) -> str:
    return f"{text:<{WHAT}} {receipt}"

# SPDX-License-Identifier: MPL-2.0
"""
A scenario from its first step to its last: time goes on to a step, it is done, all comes to rest, and it is checked.

What a step says of people, days and earlier results (`$anna`, `$T+33d`, `$sag.sags_id`) is looked up when the step is
played. What a part refuses unexpectedly is a check that failed, and ends the play.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

from sygefravaer.contract.history import Told, as_known
from sygefravaer.contract.messages import OK, HentSagRequest, HentSagResponse
from sygefravaer.contract.operations import OPERATIONS, operation_by
from sygefravaer.contract.plain import to_plain
from sygefravaer.contract.values import Cpr, masked
from sygefravaer.errors import ActRefused, FieldRefused
from sygefravaer.sandbox.citizens import NAMESPACE
from sygefravaer.sandbox.events import NUMBERS
from sygefravaer.sandbox.parts import GATEWAY, KSD
from sygefravaer.sandbox.scenarios import checking, days, looking, messages
from sygefravaer.sandbox.scenarios.checking import BadPath, Verdict
from sygefravaer.sandbox.scenarios.messages import Answered, Sent, Wire
from sygefravaer.sandbox.scenarios.people import People
from sygefravaer.sandbox.scenarios.reading import Check, Scenario, Step, malformed, place
from sygefravaer.sandbox.scenarios.theatres import CVRS, Theatre
from sygefravaer.sandbox.scenarios.watching import TITLES, Line, Watcher

Json = dict[str, Any]

SEED: Final = 6  # which citizens, on a stage: the same at every play
OWN_WORDS: Final = frozenset({"FieldWrong", "FieldMissing", "FieldUnknown", "UnknownAct", "NotJson"})
"""What a door says of an act that is written wrongly, unlike what it says of the case."""
OPENING: Final = "create_case"
OWN_KEYS: Final = frozenset({"sags_id", "nemrefusions_id", "anmodning_id", "besked_id", "task_id"})
"""What an act can be about; about the case of its step unless it says so itself."""
HEARD: Final = "heard"
"""A look that asks KSD of every case whether it was told once and answered."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a play came to."""

    scenario: Scenario
    start: date
    lines: tuple[Line, ...]
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Say whether all held."""
        return all(verdict.ok for verdict in self.verdicts)

    def as_json(self) -> Json:
        """Give it as an object."""
        return {
            "name": self.scenario.name,
            "title": self.scenario.title,
            "start": self.start.isoformat(),
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "timeline": [
                {"at": line.at.isoformat(), "kind": line.kind, "text": " ".join(line.text.split()), **_safe(line.told)}
                for line in self.lines
                if line.kind != "check"
            ],
            "checks": [verdict.as_json() for verdict in self.verdicts],
        }


async def play(
    scenario: Scenario,
    theatre: Theatre,
    *,
    start: date,
    count: int | None = None,
    tell: Callable[[Line], None] = lambda _: None,
) -> Report:
    """Play a scenario with T on `start`; `tell` hears of every line of the timeline as it comes."""
    began = time.monotonic()
    await theatre.prepare()
    async with Wire(theatre) as wire:
        player = _Player(scenario, theatre, wire, start=start, count=count or scenario.count, tell=tell)
        await player.play()
    return Report(
        scenario=scenario,
        start=start,
        lines=tuple(player.watcher.lines),
        verdicts=tuple(player.verdicts),
        seconds=time.monotonic() - began,
    )


class _Stop(Exception):
    """Something failed that all later steps rest on."""


class _Player:
    """One play."""

    def __init__(
        self,
        scenario: Scenario,
        theatre: Theatre,
        wire: Wire,
        *,
        start: date,
        count: int,
        tell: Callable[[Line], None],
    ) -> None:
        self._scenario = scenario
        self._theatre = theatre
        self._wire = wire
        self.watcher = Watcher(theatre, tell, bulk=any(step.many for step in scenario.steps))
        self.verdicts: list[Verdict] = []
        seed = SEED if theatre.fresh else random.SystemRandom().randrange(2**32)
        self._people = People(seed)
        self._results: Json = {name: self._people.find(kind) for name, kind in scenario.citizens.items()}
        self._own = uuid5(NAMESPACE, f"{scenario.name}/{seed}")
        self._results |= {"T": start.isoformat(), "count": count}
        self._results["cvr"] = dict(CVRS)
        self._results["kommunekode"] = {name: messages.kommunekode_of(name) for name in CVRS}
        self._numbers: dict[str, str] = {}
        self._sent: dict[str, Sent] = {}
        self._now = datetime.min.replace(tzinfo=UTC)
        self._step = scenario.steps[0]

    async def play(self) -> None:
        """Play every step, until one fails that the others rest on."""
        for step in self._scenario.steps:
            self._step = step
            try:
                await self._play(step)
            except _Stop:
                return
            except (days.Unreadable, BadPath) as error:
                raise malformed(place(self._scenario.name, step), str(error)) from error
            except FieldRefused as error:
                raise malformed(place(self._scenario.name, step), error.detail.rstrip(".")) from error

    async def _play(self, step: Step) -> None:
        self._now = await self._theatre.now()
        goal = days.instant(step.at, self._named, self._now)
        if goal < self._now and self._theatre.fresh:
            raise malformed(place(self._scenario.name, step), "it lies before the step before it")
        if goal > self._now:
            await self._theatre.advance(goal, self.watcher)
        self._now = await self._theatre.now()
        if step.tell:
            self.watcher.say("tell", f"* {step.tell}", {"step": step.number}, at=self._now)
        await self._do(step)
        if step.kind == "ask":  # a look-up leads to nothing
            await self.watcher.look()
        elif step.kind is not None:
            self._now = await self._theatre.now()
            await self._theatre.advance(self._now, self.watcher)
        for name, text in step.note.items():
            self._results[name] = self._resolved(f"${text}")
        if step.receipt is not None:
            self._check_receipt(step)
        for check in step.must:
            for verdict in await self._checked(check):
                self._judge(verdict)

    # --- what a step does ---

    async def _do(self, step: Step) -> None:
        match step.kind:
            case "stop":
                await self._theatre.stop(_given(step.who))
            case "start":
                await self._theatre.start(_given(step.who))
            case "act" if step.many is not None:
                await self._act_for_many(step)
            case "act":
                await self._act(step, self._resolved(step.given))
            case "send" | "ask":
                await self._post(step, self._made(step))
            case "copy":
                copy = messages.changed(await self._copied(step), self._resolved(step.spoil))
                await self._post(step, copy)
            case "again":
                if step.what not in self._sent:
                    raise days.Unreadable(f"`{step.what}` is no message that was sent by a test function before")
                await self._post(step, messages.changed(self._sent[step.what], self._resolved(step.spoil)))

    async def _act(self, step: Step, given: Json) -> Json:
        part = _given(step.who)
        if step.what == OPENING:
            for key in ("sags_id", "nemrefusions_id"):  # of a name: the same play has the same order
                given.setdefault(key, self._made_up(f"{step.name}/{self._results.get('number', '')}/{key}"))
            given.setdefault("municipality_cvr", messages.municipality_of(self._scenario.municipality))
        elif step.case is not None and not given.keys() & OWN_KEYS:
            given["sags_id"] = self._case(step.case)
        try:
            told = await self._theatre.act(part, step.what, given)
        except ActRefused as error:
            self._refused(step, error)
            return {}
        if step.refused is not None:
            self._judge(self._verdict(f"{step.what} is refused", f"refused {step.refused}", "done"))
        if step.name is not None:
            self._results[step.name] = told
            if step.what == OPENING and "sags_id" in told:
                self.watcher.cases[step.name] = told["sags_id"]
                self._numbers[step.name] = given["cpr"]
        return told

    def _refused(self, step: Step, error: ActRefused) -> None:
        if error.code in OWN_WORDS and step.refused != error.code:
            raise malformed(place(self._scenario.name, step), f"{step.what}: {_said(error)}")
        if step.refused == error.code:
            self._judge(self._verdict(f"{step.what} is refused: {error.code}"))
            return
        wanted = "done" if step.refused is None else f"refused {step.refused}"
        self._judge(self._verdict(f"{step.who} {step.what}", wanted, f"refused {error.code}: {_said(error)}"))
        raise _Stop

    async def _act_for_many(self, step: Step) -> None:
        for index in range(int(self._resolved(f"${step.many}"))):
            self._results["each"] = self._people.find("any")
            self._results["number"] = index
            await self._act(step, self._resolved(step.given))

    def _made(self, step: Step) -> Sent:
        operation = OPERATIONS[step.what]
        base = self._scenario.messages.get(step.like or "", {})
        if step.like is not None and not base:
            raise days.Unreadable(f"`{step.like}` is none of the file's messages")
        head = self._resolved(step.head)
        payload = messages.laid_over(self._resolved(base), self._resolved(step.given))
        case = self.watcher.seen_cases.get(step.case or "", {})
        if case:
            head.setdefault("NemrefusionsID", case["nemrefusions_id"])
        cpr = head.get("CprNummer") or self._numbers.get(step.case or "")
        if cpr is None:
            raise days.Unreadable("`case` or `head.CprNummer` is missing: of whom is it?")
        self._note_stranger(payload)
        part = _given(step.who)
        return messages.made(
            operation,
            caller=part,
            door=step.door,
            municipality=self._scenario.municipality if part == KSD.name else part,
            cpr=cpr,
            now=self._now,
            head={name: value for name, value in head.items() if value != ""},
            payload=payload,
            spoil=self._resolved(step.spoil),
        )

    async def _copied(self, step: Step) -> Sent:
        """Make a copy of the message by which KSD told a version."""
        sags_id = self._case(step.case)
        number = int(step.what)
        shown = await self._theatre.act(KSD.name, "case", {"sags_id": sags_id, "reason": "scenarie"})
        told = await self._theatre.act(KSD.name, "messages", {"sags_id": sags_id})
        version = next((one for one in shown["versions"] if one["version"] == number), None)
        row = next((one for one in told["messages"] if version and one["besked_id"] == version["besked_id"]), None)
        if version is None or row is None:
            raise days.Unreadable(f"there is no message about version {number}")
        return messages.copied(row, version, caller=_given(step.who), head=self._resolved(step.head))

    async def _post(self, step: Step, sent: Sent) -> None:
        answers = await self._wire.post(sent, times=step.times, at_once=step.at_once)
        if step.name is not None:
            self._sent[step.name] = sent
            self._results[step.name] = {
                "besked_id": str(sent.head.BeskedID),
                "receipts": [answer.receipt for answer in answers],
                "digests": [answer.digest for answer in answers],
                "reply": answers[0].reply,
            }
        self._results["answers"] = [answer.receipt for answer in answers]
        if not sent.operation.lookup:
            for answer in answers:
                self.watcher.add(self._told(step, sent, answer), at=self._now)

    def _told(self, step: Step, sent: Sent, answer: Answered) -> Json:
        payload, head = sent.payload, sent.head
        picture = payload.get("Sygefravaerssag", payload)
        code = payload.get("Forretningskvittering", {}).get("ForretningsValideringsKode")
        to = next((part for part, cvr in CVRS.items() if cvr == head.ModtagerMyndighedCVR), "")
        return {
            "at": self._now.isoformat(),
            "from": step.who,
            "to": KSD.name if sent.operation.to_ksd else to,
            "name": NUMBERS[sent.operation.name],
            "case": step.case,
            "label": len(self.watcher.cases) > 1 and step.case is not None,
            "besked_id": str(head.BeskedID),
            "version": picture.get("SagsVersion"),
            "event": payload.get("Haendelsestype"),
            "reasons": payload.get("Aendringsaarsag", []),
            "code": code or ",".join(payload.get("Opdateringstype", [])),
            "kind": payload.get("Anmodningstype"),
            "rykkernummer": payload.get("Rykkernummer"),
            "receipt": answer.receipt,
            "test_function": True,
        }

    def _note_stranger(self, payload: Json) -> None:
        sags_id = payload.get("Sygefravaerssag", payload).get("SagsID")
        if sags_id is not None:
            self.watcher.strangers.add(str(sags_id))

    # --- what must hold ---

    def _check_receipt(self, step: Step) -> None:
        if step.kind == "act":
            told = self._results.get(step.name or "", {})
            message = self.watcher.messages.get(told.get("besked_id", ""), {})
            receipts = [str(message.get("receipt", ""))]
        else:
            receipts = self._results["answers"]
        found = ", ".join(receipts if len(set(receipts)) > 1 else receipts[:1])
        that = f"{TITLES.get(step.who or '', step.who)}: the receipt is {step.receipt}"
        self._judge(self._verdict(that, str(step.receipt), found))

    async def _checked(self, check: Check) -> list[Verdict]:
        case = check.case or self._step.case or next(iter(self.watcher.cases), None)
        match check.kind:
            case "sides":
                for side, wanted in check.wanted.items():
                    shown = await self._case_at(side, case)
                    if (verdict := self._compared(check, shown, wanted, where=f"{TITLES[side]} ")) is not None:
                        return [verdict]
                return [self._verdict(check.that)]
            case "messages":
                filters = self._resolved(check.filters) | ({"case": check.case} if check.case else {})
                found: Any = checking.matching(self.watcher.of_story(), filters)
            case "result":
                found = self._named(check.of or "")
            case "truth":
                ask = partial(self._hent_sag, _given(check.who), case)
                told = await looking.history(ask, self._case(case))
                return [self._truth(check, told, pair) for pair in check.pairs]
            case _:
                found = await self._looked(check, case)
        return [self._compared(check, found, check.wanted.get("", {})) or self._verdict(check.that)]

    def _compared(self, check: Check, found: Any, wanted: Json, *, where: str = "") -> Verdict | None:
        if check.count is not None:
            number, count = len(found), self._resolved(check.count)
            if not checking.fits(number, count):
                return self._verdict(check.that, checking.shown(count), str(number))
        failed = checking.compare(found, self._resolved(wanted))
        return None if failed is None else self._verdict(check.that, where + failed[0], failed[1])

    async def _looked(self, check: Check, case: str | None) -> Json:
        if check.look == HEARD:
            return await looking.heard(self._theatre)
        given = self._resolved(check.given)
        if check.case is not None:
            given["sags_id"] = self._case(case)
        try:
            return await self._theatre.act(_given(check.who), _given(check.look), given)
        except ActRefused as error:
            if error.code in OWN_WORDS:
                raise malformed(place(self._scenario.name, self._step), f"{check.look}: {_said(error)}") from error
            return {"refused": error.code}

    def _truth(self, check: Check, told: list[Told], pair: Json) -> Verdict:
        """Say what was true on a day as known at an instant, by what HentSag tells, and compare it with the story."""
        on = date.fromisoformat(str(self._resolved(f"${pair['on']}"))[:10])
        known = days.instant(pair["known"], self._named, self._now)
        found = as_known(told, on=on, known=known)
        failed = checking.compare({} if found is None else to_plain(found), self._resolved(pair["is"]))
        that = f"{check.that}: on {pair['on']}, as known {pair['known']}"
        return self._verdict(that) if failed is None else self._verdict(that, *failed)

    async def _hent_sag(self, part: str, case: str | None, payload: Json) -> HentSagResponse:
        sent = messages.made(
            operation_by(HentSagRequest),
            caller=part,
            door=GATEWAY.name,
            municipality=part,
            cpr=self._numbers[case or ""],
            now=self._now,
            head={},
            payload=payload,
            spoil={},
        )
        answer = (await self._wire.post(sent))[0]
        if not isinstance(answer.value, HentSagResponse):
            self._judge(self._verdict("HentSag is answered", OK, answer.receipt))
            raise _Stop
        return answer.value

    async def _case_at(self, side: str, case: str | None) -> Json:
        try:
            return await self._theatre.act(side, "case", {"sags_id": self._case(case)})
        except ActRefused as error:
            return {"refused": error.code}

    def _judge(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.watcher.say("check", f"  {verdict.printed()}", verdict.as_json(), at=self._now)

    def _verdict(self, that: str, wanted: str = "", found: str = "") -> Verdict:
        """Give a verdict; no personal number stands in it, whatever was compared."""
        wrong = wanted != found
        return Verdict(step=self._step.number, that=that, ok=not wrong, wanted=masked(wanted), found=masked(found))

    # --- what a name means ---

    def _case(self, name: str | None) -> str:
        if name is None or name not in self.watcher.cases:
            raise days.Unreadable(f"`{name}` is no case that a step before has opened")
        return self.watcher.cases[name]

    def _made_up(self, name: str) -> str:
        return str(uuid5(self._own, name))

    def _resolved(self, given: Any) -> Any:
        """Put what is meant in the place of everything that begins with a dollar."""
        if isinstance(given, dict):
            return {name: self._resolved(value) for name, value in given.items()}
        if isinstance(given, list):
            return [self._resolved(value) for value in given]
        if isinstance(given, str) and given.startswith("$"):
            found = days.value(given[1:], self._named, self._now)
            return str(found) if isinstance(found, UUID | Cpr) else found
        if isinstance(given, date):
            return given.isoformat()
        return given

    def _named(self, text: str) -> Any:
        if text in self._results:
            return self._results[text]
        name, _, path = text.partition(".")
        if name == "new":
            return self._made_up(path) if path else str(uuid4())
        live = self._live()
        source = live if text in live or name in live else self._results
        if text in source:
            return source[text]
        if name not in source:
            raise days.Unreadable(f"`{text}` means nothing here")
        found = checking.at_path(source[name], path) if path else source[name]
        if found is checking.MISSING:
            raise days.Unreadable(f"`{text}`: there is none")
        return found

    def _live(self) -> Json:
        """Give what the case of the step, and the last messages, say by themselves."""
        found: Json = {message["name"]: message for message in self.watcher.of_story()}
        case = self.watcher.seen_cases.get(self._step.case or next(iter(self.watcher.cases), ""))
        if case is None:
            return found
        found["case"] = case
        picture, requests, granted = case["picture"], case["requests"], case["picture"].get("Forlaengelse", [])
        found["jobcentersag"] = {
            part: row["jobcentersag_id"]
            for part, cvr in CVRS.items()
            for row in case["jobcentersager"]
            if row["municipality_cvr"] == cvr
        }
        if "RevurderingsDato" in picture:
            found["review"] = picture["RevurderingsDato"]
        if requests:
            found |= {"request": requests[-1], "svarfrist": requests[-1]["deadline"]}
        if granted and "TilDato" in granted[-1]:
            found["extension end"] = granted[-1]["TilDato"]
        return found


def _given(value: str | None) -> str:
    if value is None:
        raise AssertionError
    return value


def _said(error: ActRefused) -> str:
    """Give a door's own words."""
    return error.detail.replace(f"{ActRefused.__doc__} ", "").strip().rstrip(".")


def _safe(told: Mapping[str, Any]) -> Json:
    """Leave out what a reader has no use for."""
    return {name: value for name, value in told.items() if name not in {"label", "at"} and value not in (None, "", [])}

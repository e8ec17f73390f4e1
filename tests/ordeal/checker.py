# SPDX-License-Identifier: MPL-2.0
"""
Judges a history: was what had been acknowledged applied exactly once, in order, where it belonged, or is it visibly stuck?

It shares no code with the product and knows nothing of it but two files: the history (`ordeal/history.py` says what stands
there) and the dump of both sides' tables. Run on its own: `python tests/ordeal/checker.py HISTORY DUMP`, or with a directory of
such pairs.

| rule | what it says |
|---|---|
| lost | what got OK or G006 was applied, or refused for good after G006, or is parked or waits behind something parked |
| double | nothing was applied twice |
| order | what was applied in a lane was applied in the order of its acceptance; in an orderly lane in the order of sending; of a municipality that changes its system (`recipients`) none is promised across the change |
| receipt | a final receipt is the same bytes ever after, and never G006 again |
| refused | what got FEJL was not applied |
| crossing | nothing was applied, or addressed, anywhere but at the receiver of its municipality |
| foreign | nothing was applied that nobody had sent |
| stuck | what nothing stands in the way of has ended |
| lease | no lane was taken from its holder before his lease had ended |
| unrecorded | no look-up reached its receiver without a record that it was made |
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
FINAL = ("ok", "fail")
ACKNOWLEDGED = ("ok", "stored")
RULES = ("lost", "double", "order", "receipt", "refused", "crossing", "foreign", "stuck", "lease", "unrecorded")
OPEN = ("queued", "sending")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One breach, with the lines that show it."""

    rule: str
    id: str
    text: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Show the breach."""
        return "\n".join([f"{self.rule}: {self.id}: {self.text}", *(f"    {line}" for line in self.evidence)])


@dataclass(kw_only=True)
class Verdict:
    """What was found, and how much was looked at."""

    violations: list[Violation] = field(default_factory=list)
    messages: int = 0
    applied: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # messages by how they ended, and by rule

    @property
    def holds(self) -> bool:
        """Say whether the promise held."""
        return not self.violations

    def __str__(self) -> str:
        """Say it."""
        rules = Counter(each.rule for each in self.violations)
        word = "holds" if self.holds else "BROKEN " + ", ".join(f"{rule} {number}" for rule, number in rules.items())
        return f"{self.messages} messages, {self.applied} applied: the promise {word}"


def read(path: Path) -> list[Line]:
    """Read a file of JSON lines, packed or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def check(history: Sequence[Line], dump: Sequence[Line]) -> Verdict:
    """Judge a history by what both sides hold at its end."""
    found = _Facts(history, dump)
    verdict = Verdict(messages=len(found.letters), applied=len(found.applied))
    for rule in (_once, _order, _receipts, _crossing, _settled, _lease, _look_ups):
        verdict.violations += rule(found)
    verdict.counts.update(found.end_of(letter) for letter in found.letters)
    return verdict


class _Facts:
    """The lines of both files, by what they are about."""

    def __init__(self, history: Sequence[Line], dump: Sequence[Line]) -> None:
        self.history = history
        self.head = next(line for line in history if line["what"] == "cycle")
        self.letters = {line["id"]: line for line in history if line["what"] == "letter"}
        self.before = {line["id"]: line for line in history if line["what"] == "before"}
        self.lines: dict[str, list[Line]] = defaultdict(list)
        for line in history:
            if "id" in line:
                self.lines[line["id"]].append(line)
        self.applied = [row for row in dump if row["table"] == "applied"]
        self.times: dict[str, list[Line]] = defaultdict(list)
        for row in self.applied:
            self.times[row["besked_id"]].append(row)
        self.messages = [row for row in dump if row["table"] == "message"]
        self.rows: dict[str, list[Line]] = defaultdict(list)
        for row in self.messages:
            self.rows[row["besked_id"]].append(row)
        self.sent = {row["besked_id"]: row for row in dump if row["table"] == "sent"}
        self.attempts: dict[int, list[Line]] = defaultdict(list)
        for row in dump:
            if row["table"] == "attempt":
                self.attempts[row["message_id"]].append(row)
        self.stops: dict[int, int] = {}  # the first parked message of each lane
        for row in self.messages:
            if row["status"] == "parked":
                self.stops[row["lane_id"]] = min(row["message_id"], self.stops.get(row["lane_id"], row["message_id"]))
        self.taken = [row for row in dump if row["table"] == "taken"]
        self.asked = [row for row in dump if row["table"] == "asked"]
        self.questions = {row["besked_id"] for row in dump if row["table"] == "question"}

    def words(self, besked_id: str) -> list[str]:
        """Give what a message's calls came to, in order."""
        return [line["what"] for line in self.lines[besked_id]]

    def visibly_stuck(self, besked_id: str) -> bool:
        """Say whether a message is parked, or waits behind one that is."""
        return any(
            row["status"] in ("parked", *OPEN)
            and self.stops.get(row["lane_id"], row["message_id"] + 1) <= row["message_id"]
            for row in self.rows[besked_id]
        )

    def end_of(self, besked_id: str) -> str:
        """Say how a message ended for its sender."""
        words = self.words(besked_id)
        if "ok" in words:
            return "ok"
        if "fail" in words:
            return "refused"
        if self.visibly_stuck(besked_id):
            return "parked"
        return "stored" if "stored" in words else "unknown"

    def evidence(self, besked_id: str) -> tuple[str, ...]:
        """Give every line about a message."""
        rows = [*self.rows[besked_id], *self.times[besked_id]]
        rows += [self.sent[besked_id]] if besked_id in self.sent else []
        rows += [attempt for row in self.rows[besked_id] for attempt in self.attempts[row["message_id"]]]
        return tuple(json.dumps(line) for line in (*self.lines[besked_id], *rows))


def _once(found: _Facts) -> Iterator[Violation]:
    for besked_id in found.letters:
        words, number = found.words(besked_id), len(found.times[besked_id])
        refused = any(row["status"] in {"refused", "discarded"} for row in found.rows[besked_id])
        acknowledged = any(word in words for word in ACKNOWLEDGED)
        if acknowledged and not number and "fail" not in words:
            told_ok = "ok" in words
            if told_ok or not (refused or found.visibly_stuck(besked_id)):
                word = "OK" if told_ok else "G006"
                yield _violation(found, "lost", besked_id, f"its sender holds {word}, and it was not applied")
        if "fail" in words and number:
            yield _violation(found, "refused", besked_id, "its sender holds FEJL, and it was applied")
    for besked_id, rows in found.times.items():
        if len(rows) > 1:
            yield _violation(found, "double", besked_id, f"it was applied {len(rows)} times")
        if besked_id not in found.letters and besked_id not in found.before:
            yield _violation(found, "foreign", besked_id, "it was applied, and nobody had sent it")


def _order(found: _Facts) -> Iterator[Violation]:
    place = {besked_id: min(row["message_id"] for row in rows) for besked_id, rows in found.rows.items() if rows}
    lanes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in sorted(found.applied, key=lambda row: row["seq"]):
        lane = lanes[row["of"], row["lane"]]
        if row["besked_id"] not in lane:  # a second time is told by another rule
            lane.append(row["besked_id"])
    for lane in lanes.values():
        yield from _ascending(found, lane, place, "accepted")
        sent = {each: found.letters[each]["seq"] for each in lane if found.letters.get(each, {}).get("orderly")}
        yield from _ascending(found, lane, sent, "sent")
    accepted: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in sorted(found.messages, key=lambda row: row["message_id"]):
        accepted[row["sender"], row["recipient"], row["lane"]].append(row["besked_id"])
    for lane in accepted.values():
        sent = {each: found.letters[each]["seq"] for each in lane if found.letters.get(each, {}).get("orderly")}
        yield from _ascending(found, list(dict.fromkeys(lane)), sent, "sent", did="accepted")


def _ascending(
    found: _Facts, lane: Sequence[str], place: Mapping[str, int], how: str, did: str = "applied"
) -> Iterator[Violation]:
    known = [each for each in lane if each in place and "recipients" not in found.letters.get(each, {})]
    for one, other in pairwise(known):
        if place[one] > place[other]:
            text = f"it was {did} after {one}, and had been {how} before it"
            yield _violation(found, "order", other, text, also=one)


def _receipts(found: _Facts) -> Iterator[Violation]:
    for besked_id in (*found.letters, *found.before):
        known = found.before.get(besked_id, {}).get("receipt")
        since: set[int] = set()  # calls that were under way when the first final receipt came
        begun: set[int] = set()
        for line in found.lines[besked_id]:
            if line["what"] == "invoke":
                begun.add(line["call"])
                continue
            if line["what"] in FINAL:
                if known is not None and line["receipt"] != known:
                    yield _violation(found, "receipt", besked_id, "it got two different final receipts")
                    break
                if known is None:
                    known, since = line["receipt"], set(begun)
            elif line["what"] == "stored" and known is not None and line["call"] not in since:
                yield _violation(found, "receipt", besked_id, "G006 came after its final receipt")
                break


def _crossing(found: _Facts) -> Iterator[Violation]:
    receives = {name: set(numbers) for name, numbers in found.head["receives"].items()}
    systems = {number: name for name, number in found.head["systems"].items()}
    for row in found.applied:
        letter = found.letters.get(row["besked_id"])
        right = letter is None or (row["of"] in _to(letter) and letter["municipality"] == row["municipality"])
        if not right or row["municipality"] not in receives[row["of"]]:
            text = f"it is for {row['municipality']}, and was applied at {row['of']}"
            yield _violation(found, "crossing", row["besked_id"], text)
    for row in found.messages:
        letter = found.letters.get(row["besked_id"])
        to = systems.get(row["recipient"])
        if letter is not None and not (to in _to(letter) and letter["municipality"] == row["municipality"]):
            text = f"it is for {letter['recipient']}, and was addressed to {to}"
            yield _violation(found, "crossing", row["besked_id"], text)


def _to(letter: Line) -> Sequence[str]:
    """Say where a message may go: to its receiver, or to either one of a municipality that changes its system."""
    receivers: Sequence[str] = letter.get("recipients") or (letter["recipient"],)
    return receivers


def _settled(found: _Facts) -> Iterator[Violation]:
    for row in found.messages:
        if row["status"] in OPEN and not found.visibly_stuck(row["besked_id"]):
            text = f"it is still {row['status']}, and nothing stands in its way"
            yield _violation(found, "stuck", row["besked_id"], text)


def _lease(found: _Facts) -> Iterator[Violation]:
    for row in found.taken:
        early = datetime.fromisoformat(row["held_until"]) - datetime.fromisoformat(row["at"])
        if early > timedelta(0):
            lane = [each["besked_id"] for each in found.messages if each["lane_id"] == row["lane_id"]]
            text = f"lane {row['lane_id']} was taken {early.total_seconds():.3f} s before its holder's lease ended"
            yield _violation(found, "lease", lane[0] if lane else "?", text, taken=row)


def _look_ups(found: _Facts) -> Iterator[Violation]:
    for row in found.asked:
        if row["besked_id"] not in found.questions:
            text = f"{row['of']} was asked, and there is no record of it"
            yield _violation(found, "unrecorded", row["besked_id"], text)


def _violation(
    found: _Facts, rule: str, besked_id: str, text: str, *, also: str = "", taken: Line | None = None
) -> Violation:
    evidence: Iterable[str] = found.evidence(besked_id)
    if taken is not None:
        evidence = (json.dumps(taken), *evidence)
    if also:
        evidence = (*evidence, *found.evidence(also))
    return Violation(rule=rule, id=besked_id, text=text, evidence=tuple(evidence))


def pairs(directory: Path) -> list[tuple[Path, Path]]:
    """List the histories of a directory, each with its dump."""
    found = sorted(directory.glob("*.history.jsonl*"))
    return [(path, path.with_name(path.name.replace(".history.", ".dump."))) for path in found]


def main(argv: Sequence[str]) -> int:
    """Judge a history and a dump, or every pair of a directory: 1 when a promise is broken, 2 when something is lacking."""
    match [Path(name) for name in argv]:
        case [directory]:
            found = pairs(directory)
        case [history, dump]:
            found = [(history, dump)]
        case _:
            found = []
    if not found:
        sys.stderr.write("usage: checker.py HISTORY DUMP, or a directory of *.history.jsonl and *.dump.jsonl\n")
        return 2
    lacking = [path for pair in found for path in pair if not path.is_file()]
    for path in lacking:
        sys.stderr.write(
            f"{path} is not there, so its cycle cannot be judged: it was cut off, or the files were moved\n"
        )
    judged = [pair for pair in found if not set(pair) & set(lacking)]
    broken = 0
    for history, dump in judged:
        verdict = check(read(history), read(dump))
        for violation in verdict.violations:
            sys.stdout.write(f"{violation}\n")
        sys.stdout.write(f"{history.name}: {verdict}\n")
        broken += not verdict.holds
    sys.stdout.write(f"{len(judged)} of {len(found)} judged, {broken} in which the promise is broken\n")
    return 1 if broken else 2 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

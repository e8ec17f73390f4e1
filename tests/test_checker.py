# SPDX-License-Identifier: MPL-2.0
"""What judges the ordeal: it finds each breach in a small history, and nothing in one that is as promised."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordeal import checker

VIBORG, AARHUS = "29189846", "55133018"
SYSTEMS = {"ksd": "sys-ksd", "viborg": "sys-viborg", "aarhus": "sys-aarhus"}
LANE = "lane-a"


class Story:
    """A history and a dump in the making."""

    def __init__(self) -> None:
        self.history = [
            {
                "what": "cycle",
                "lease": 1.5,
                "systems": SYSTEMS,
                "receives": {"ksd": [VIBORG, AARHUS], "viborg": [VIBORG], "aarhus": [AARHUS]},
            }
        ]
        self.dump = []
        self._calls = 0
        self._seq = 0

    def letter(self, besked_id, seq, *, orderly=True, municipality=VIBORG, recipient="viborg"):
        """Say that a message will be sent."""
        about = {"lane": LANE, "orderly": orderly, "municipality": municipality, "recipient": recipient}
        self.history.append({"what": "letter", "id": besked_id, "seq": seq, **about})
        return self

    def call(self, besked_id, what, **fields):
        """Make a call that ends so."""
        self.begin(besked_id)
        return self.end(self._calls, besked_id, what, **fields)

    def begin(self, besked_id):
        """Begin a call."""
        self._calls += 1
        self.history.append({"what": "invoke", "call": self._calls, "id": besked_id})
        return self._calls

    def end(self, call, besked_id, what, **fields):
        """End a call."""
        if what in checker.FINAL:
            fields.setdefault("receipt", hashlib.sha256(what.encode()).hexdigest())
        self.history.append({"what": what, "call": call, "id": besked_id, **fields})
        return self

    def accepted(self, besked_id, status="delivered", *, recipient="viborg", municipality=VIBORG, lane_id=1):
        """Let the gateway hold a message."""
        self._seq += 1
        row = {"table": "message", "message_id": self._seq, "lane_id": lane_id, "status": status, "lane": LANE}
        where = {"recipient": SYSTEMS[recipient], "municipality": municipality, "sender": "sys-ksd"}
        self.dump.append({**row, **where, "besked_id": besked_id})
        return self

    def applied(self, besked_id, *, of="viborg", municipality=VIBORG):
        """Let a receiver have applied a message."""
        self._seq += 1
        row = {"table": "applied", "of": of, "seq": self._seq, "lane": LANE, "municipality": municipality}
        self.dump.append({**row, "besked_id": besked_id})
        return self

    def rules(self):
        """Judge, and give the rules that were broken."""
        return [violation.rule for violation in checker.check(self.history, self.dump).violations]


def good():
    """Two messages of a case that were sent, delivered, and asked for again."""
    story = Story().letter("a", 0).letter("b", 1)
    story.call("a", "unknown").call("a", "stored").call("a", "ok").call("b", "ok").call("a", "ok")
    return story.accepted("a").accepted("b").applied("a").applied("b")


def test_what_is_as_promised_is_no_breach():
    """Nothing is found, and what was looked at is counted."""
    story = good()

    verdict = checker.check(story.history, story.dump)

    assert verdict.holds
    assert (verdict.messages, verdict.applied, verdict.counts) == (2, 2, {"ok": 2})


def _broken() -> Iterator[tuple[str, Story, list[str]]]:
    yield "OK and not applied", Story().letter("a", 0).call("a", "ok").accepted("a"), ["lost"]
    yield "G006 and nowhere", Story().letter("a", 0).call("a", "stored"), ["lost"]
    yield "applied twice", good().applied("b"), ["double"]
    yield (
        "applied the other way round",
        Story().letter("a", 0, orderly=False).letter("b", 1, orderly=False).accepted("a").accepted("b")
        .applied("b").applied("a"),
        ["order"],
    )  # fmt: skip
    yield (
        "accepted the other way round than sent",
        Story().letter("a", 0).letter("b", 1).accepted("b").accepted("a").applied("b").applied("a"),
        ["order", "order"],
    )
    yield "another receipt", good().call("a", "ok", receipt="other"), ["receipt"]
    yield "G006 after the end", good().call("a", "stored"), ["receipt"]
    yield "OK after FEJL", good().letter("c", 2).call("c", "fail").call("c", "ok").applied("c"), ["refused", "receipt"]
    yield "refused and applied", good().letter("c", 2).call("c", "fail").accepted("c").applied("c"), ["refused"]
    yield (
        "applied at another receiver",
        Story().letter("a", 0).accepted("a").applied("a", of="aarhus"),
        ["crossing"],
    )
    yield (
        "addressed to another receiver",
        Story().letter("a", 0).accepted("a", recipient="aarhus").applied("a"),
        ["crossing"],
    )
    yield "applied without a sender", good().applied("x"), ["foreign"]
    yield "left standing", Story().letter("a", 0).call("a", "unknown").accepted("a", "queued"), ["stuck"]
    early = good()
    early.dump.append(
        {"table": "taken", "lane_id": 1, "held_until": "2026-03-02T09:00:01+00:00", "at": "2026-03-02T09:00:00+00:00"}
    )
    yield "taken from its holder", early, ["lease"]
    asked = good()
    asked.dump.append({"table": "asked", "of": "ksd", "besked_id": "q"})
    yield "asked without a record", asked, ["unrecorded"]


@pytest.mark.parametrize(("story", "rules"), [pytest.param(*case[1:], id=case[0]) for case in _broken()])
def test_a_breach_is_found_and_named(story, rules):
    """By exactly the rules that it breaks."""
    assert story.rules() == rules


def test_every_rule_has_a_breach_here():
    """None is listed that nothing shows to work."""
    assert {rule for _, _, rules in _broken() for rule in rules} == set(checker.RULES)


def _allowed() -> Iterator[tuple[str, Story]]:
    yield "nobody knows, and not applied", good().letter("c", 2).call("c", "unknown")
    yield "nobody knows, and applied", good().letter("c", 2).call("c", "unknown").accepted("c").applied("c")
    yield "refused after G006", good().letter("c", 2).call("c", "stored").accepted("c", "refused")
    yield "parked", good().letter("c", 2).call("c", "stored").accepted("c", "parked")
    waits = good().letter("c", 2).letter("d", 3).call("c", "stored").call("d", "stored")
    yield "behind what is parked", waits.accepted("c", "parked").accepted("d", "queued")
    late = Story().letter("a", 0).accepted("a").applied("a")
    one, other = late.begin("a"), late.begin("a")
    yield "G006 to a call that was under way at the end", late.end(one, "a", "ok").end(other, "a", "stored")
    moved = Story().letter("a", 0, orderly=False).letter("b", 1, orderly=False)
    for line in moved.history[1:]:
        line["recipients"] = ["viborg", "aarhus"]
    moved.history[0]["receives"]["aarhus"].append(VIBORG)
    moved.accepted("a").accepted("b", recipient="aarhus").applied("b", of="aarhus").applied("a")
    yield "at either system of a municipality that changes it", moved
    before = good()
    before.history.append({"what": "before", "id": "x"})
    yield "late from an earlier cycle", before.applied("x")
    lapsed = good()
    lapsed.dump.append(
        {"table": "taken", "lane_id": 1, "held_until": "2026-03-02T09:00:00+00:00", "at": "2026-03-02T09:00:01+00:00"}
    )
    yield "taken after its lease", lapsed


@pytest.mark.parametrize("story", [pytest.param(case[1], id=case[0]) for case in _allowed()])
def test_what_the_promise_allows_is_no_breach(story):
    """A checker that finds what is right would prove nothing either."""
    assert story.rules() == []


def test_ahead_of_what_is_parked_nothing_may_stand():
    """A lane's stop explains what lies behind it, and not what lies before it."""
    story = good().letter("c", 2).letter("d", 3).call("c", "stored").call("d", "stored")
    story.accepted("c", "queued").accepted("d", "parked")

    assert story.rules() == ["lost", "stuck"]


def test_evidence_shows_every_line_about_the_message():
    """Whoever doubts a verdict need not search."""
    story = good().applied("b")

    (violation,) = checker.check(story.history, story.dump).violations

    assert str(violation).startswith("double: b: it was applied 2 times")
    assert sum('"applied"' in line for line in violation.evidence) == 2
    assert sum('"invoke"' in line for line in violation.evidence) == 1


def test_the_checker_shares_no_code_with_the_product():
    """It imports the standard library only, and judges where the product cannot be imported."""
    tree = ast.parse(Path(checker.__file__).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_a_verdict_can_be_had_from_the_files_alone(tmp_path):
    """As its docstring says, by whoever has the two files or a directory of them: a breach is an exit code of 1."""
    (tmp_path / "none").mkdir()
    for directory, name, story in (
        ("good", "1", good()),
        ("good", "2", good()),
        ("mixed", "1", good()),
        ("mixed", "2", good().applied("b")),
    ):
        (tmp_path / directory).mkdir(exist_ok=True)
        for kind, lines in (("history", story.history), ("dump", story.dump)):
            path = tmp_path / directory / f"{name}.{kind}.jsonl"
            path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    def judge(*paths):
        program = [sys.executable, checker.__file__, *(str(tmp_path / path) for path in paths)]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(program, check=False, capture_output=True, text=True, env=env)
        return done.returncode, done.stdout.splitlines()[-1:]

    assert judge("good/1.history.jsonl", "good/1.dump.jsonl")[0] == 0
    assert judge("mixed/2.history.jsonl", "mixed/2.dump.jsonl")[0] == 1
    assert judge("good") == (0, ["2 of 2 judged, 0 in which the promise is broken"])
    assert judge("mixed") == (1, ["2 of 2 judged, 1 in which the promise is broken"])
    (tmp_path / "good" / "2.dump.jsonl").unlink()
    assert judge("good") == (2, ["1 of 2 judged, 0 in which the promise is broken"])
    assert judge("none") == (2, [])
    assert judge() == (2, [])

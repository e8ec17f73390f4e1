# SPDX-License-Identifier: MPL-2.0
"""Failpoints: what they are called, when they fire, and that they cost nothing unarmed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ordeal import lint
from sygefravaer import failpoint
from sygefravaer.errors import UsageError

SOURCE = Path(failpoint.__file__).parent


def test_every_failpoint_stands_in_the_code_once():
    """The list and the calls are the same."""
    assert sorted(name for _, _, name in lint.places(SOURCE)) == sorted(failpoint.POINTS)


def test_no_commit_call_or_answer_is_without_a_failpoint():
    """In the rooms where messages pass; what the rule is stands in `ordeal/lint.py`."""
    assert lint.missing(SOURCE) == []


@pytest.mark.parametrize(("path", "line", "name"), [pytest.param(*place, id=place[2]) for place in lint.places(SOURCE)])
def test_a_failpoint_that_is_taken_out_is_missed(path, line, name):
    """Each of them, in a copy of its file."""
    lines = path.read_text("utf-8").splitlines()
    reached = lines[line - 1]
    assert f'failpoint.reach("{name}")' in reached
    lines[line - 1] = reached.replace(f'failpoint.reach("{name}")', "pass")

    assert lint.lacking("\n".join(lines)) != []


@pytest.mark.parametrize(
    "step",
    [
        "async with self._store.tx() as tx:\n            await tx.run(WRITE)",
        "async with self._store.read() as tx:\n            await tx.run(WRITE)",
        "async with self._store.read() as tx:\n            await audit.record(tx)",
        "await self._clients.to(way).post(element)",
        "return await self._deliver(message)",
        "await request.send(answer)",
    ],
)
def test_a_new_step_needs_failpoints(step):
    """A commit, a call or an answer that somebody adds is seen."""
    code = f"class Room:\n    async def act(self):\n        {step}\n"

    assert len(lint.lacking(code)) == 1


@pytest.mark.parametrize(("path", "function"), lint.SPARED)
def test_what_is_spared_is_there(path, function):
    """An exception for what has gone, or has its places by now, is taken back."""
    assert function in {name for _, name, _ in lint.lacking((SOURCE / path).read_text("utf-8"))}


def test_a_statement_that_only_reads_needs_none():
    """Nor does a write in a transaction that its caller commits."""
    code = (
        "class Room:\n"
        "    async def act(self):\n"
        "        async with self._store.read() as tx:\n"
        "            await tx.one(READ)\n"
        "        async with self._store.tx() as tx:\n"
        "            await self._write(tx)\n"
        "            failpoint.reach('room.before_commit')\n"
        "        failpoint.reach('room.after_commit')\n"
        "    async def _write(self, tx):\n"
        "        await tx.run(WRITE)\n"
    )

    assert lint.lacking(code) == []


def test_a_fuse_burns_down_at_its_own_place_only():
    """Passing another place does not count."""
    fuse = failpoint.Fuse("accept.after_commit:2")

    assert [fuse.passes(name) for name in ("accept.after_commit", "answer.before_write", "accept.after_commit")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("setting", ["nowhere:1", "answer.before_write:x", ":3"])
def test_a_wrong_setting_names_the_known_places(setting):
    """Whoever mistypes a failpoint is told what there is."""
    with pytest.raises(UsageError, match=r"answer\.before_write"):
        failpoint.Fuse(setting)


def test_unarmed_places_are_passed(monkeypatch):
    """Without the variable nothing is armed and nothing happens."""
    monkeypatch.delenv(failpoint.VARIABLE, raising=False)

    assert failpoint.arm() is False
    failpoint.reach("answer.before_write")


def test_an_armed_process_is_killed_at_the_place():
    """SIGKILL, so that nothing can tidy up."""
    program = (
        "from sygefravaer import failpoint\n"
        "assert failpoint.arm()\n"
        "failpoint.reach('answer.before_write'); print('one', flush=True)\n"
        "failpoint.reach('answer.before_write'); print('two', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin", "PYTHONPATH": str(SOURCE.parent), failpoint.VARIABLE: "answer.before_write:2"},
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["one"])

# SPDX-License-Identifier: MPL-2.0
"""Failpoints: what they are called, when they fire, and that they cost nothing unarmed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sygefravaer import failpoint
from sygefravaer.errors import UsageError

SOURCE = Path(failpoint.__file__).parent


def test_every_failpoint_stands_in_the_code_once():
    """The list and the calls are the same."""
    calls = [
        name
        for path in SOURCE.rglob("*.py")
        if path.name != "failpoint.py"
        for name in re.findall(r'failpoint\.reach\("([^"]+)"\)', path.read_text("utf-8"))
    ]

    assert sorted(calls) == sorted(failpoint.POINTS)


def test_a_fuse_burns_down_at_its_own_place_only():
    """Passing another place does not count."""
    fuse = failpoint.Fuse("accept.after_commit:2")

    assert [fuse.passes(name) for name in ("accept.after_commit", "answer.before", "accept.after_commit")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("setting", ["nowhere:1", "answer.before:x", ":3"])
def test_a_wrong_setting_names_the_known_places(setting):
    """Whoever mistypes a failpoint is told what there is."""
    with pytest.raises(UsageError, match=r"answer\.before"):
        failpoint.Fuse(setting)


def test_unarmed_places_are_passed(monkeypatch):
    """Without the variable nothing is armed and nothing happens."""
    monkeypatch.delenv(failpoint.VARIABLE, raising=False)

    assert failpoint.arm() is False
    failpoint.reach("answer.before")


def test_an_armed_process_is_killed_at_the_place():
    """SIGKILL, so that nothing can tidy up."""
    program = (
        "from sygefravaer import failpoint\n"
        "assert failpoint.arm()\n"
        "failpoint.reach('answer.before'); print('one', flush=True)\n"
        "failpoint.reach('answer.before'); print('two', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin", failpoint.VARIABLE: "answer.before:2"},
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["one"])

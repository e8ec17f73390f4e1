# SPDX-License-Identifier: MPL-2.0
"""The log: one JSON object a line, found again by CallUUID, never with a value from a message."""

from __future__ import annotations

import errno
import io
import json
import logging
from uuid import uuid4

import pytest

from sygefravaer.telemetry import CALL, JsonLines, Lines, start_logging


@pytest.fixture
def log():
    """A log of its own, and what has been written to it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(f"sygefravaer.test.{uuid4()}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_room_event_and_fields(log):
    """What happened is a stable key; what it happened to stands in fields of its own."""
    logger, lines = log

    logger.warning("lane.parked", extra={"lane": 7, "at_once": True})

    [line] = lines()
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning",
        "room": logger.name,
        "event": "lane.parked",
        "lane": 7,
        "at_once": True,
    }


def test_a_line_within_a_call_names_the_call(log):
    """The number that the caller was told finds the line."""
    logger, lines = log
    call = uuid4()

    token = CALL.set(call)
    logger.info("call.admitted")
    CALL.reset(token)
    logger.info("worker.woken")

    assert [line.get("call_uuid") for line in lines()] == [str(call), None]


def test_an_exception_is_its_kind_and_place_and_never_its_text(log):
    """A text from a library may quote what it choked on."""
    logger, lines = log

    try:
        try:
            int("0101505012x")
        except ValueError as error:
            raise KeyError("0101505012") from error
    except KeyError:
        logger.exception("call.failed")

    [line] = lines()
    assert [entry.split(":")[0] for entry in line["exception"]] == [
        "KeyError at test_telemetry.py",
        "ValueError at test_telemetry.py",
    ]
    assert "0101505012" not in json.dumps(line)


def test_an_error_that_was_never_raised_has_no_place(log):
    """Nothing is made up for it."""
    logger, lines = log

    logger.error("call.failed", exc_info=ValueError("x"))

    assert lines()[0]["exception"] == ["ValueError at ?"]


def test_lines_that_a_full_disk_does_not_take_are_counted_and_told_when_there_is_room(tmp_path):
    """Nothing that is done fails for it, and the log says that something is missing."""

    class Disk(io.StringIO):
        full = True

        def write(self, text):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    disk = Disk()
    handler = Lines(disk)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(f"sygefravaer.test.{uuid4()}")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("one")
    logger.warning("two")
    disk.full = False
    logger.warning("three")
    logger.warning("four")

    lines = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["three", "log.lines_missed", "four"]
    assert lines[1]["lines"] == 2


def test_start_logging_takes_the_whole_process(monkeypatch):
    """Every logger of the process writes JSON lines to one stream, from the asked level on."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    stream = io.StringIO()

    start_logging(stream, level=logging.WARNING)
    logging.getLogger("some.library").warning("odd.thing")
    logging.getLogger("some.library").info("usual.thing")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["odd.thing"]

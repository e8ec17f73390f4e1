# SPDX-License-Identifier: MPL-2.0
"""
Logs: one JSON object per line, a stable key per event, never a body and never a CPR.

Every line carries the CallUUID of the call it belongs to, so that a caller's question can be found in the log.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO
from uuid import UUID

CALL: Final[ContextVar[UUID | None]] = ContextVar("call_uuid", default=None)

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, event, call, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record as JSON; an exception as its type and place, never its text, which may hold values."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": record.name,
            "event": record.getMessage(),
        }
        if (call := CALL.get()) is not None:
            line["call_uuid"] = str(call)
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _outline(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def _outline(error: BaseException | None) -> list[str]:
    outline: list[str] = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "?"
        outline.append(f"{type(error).__qualname__} at {place}")
        error = error.__cause__
    return outline


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines. Those that a full disk does not take are counted, and the next one that it takes says how many."""

    _missed = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; nothing that goes on in the process depends on it."""
        missed = self._missed
        super().emit(record)
        if missed and self._missed == missed:
            self._missed = 0
            told = {"name": __name__, "levelname": "WARNING", "msg": "log.lines_missed", "lines": missed}
            super().emit(logging.makeLogRecord(told))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  as logging has it
        """Count a line that could not be written; a mistake in the code is told as ever."""
        if isinstance(sys.exc_info()[1], OSError):
            self._missed += 1
        else:
            super().handleError(record)


def tell_supervisor(state: str) -> None:
    """Tell systemd, or whoever else set NOTIFY_SOCKET as it does, what the process has come to (`READY=1`)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            try:
                supervisor.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
            except OSError as error:
                logging.getLogger(__name__).warning("supervisor.unheard", extra={"reason": error.strerror})


def start_logging(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send every log line of this process to `stream` (standard error), as JSON lines."""
    handler = Lines(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)

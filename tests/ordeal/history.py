# SPDX-License-Identifier: MPL-2.0
"""
What was done and what was told, line by line, for whoever does not believe the verdict.

A history is a file of JSON objects, one a line, in the order in which things happened. `at` is the time of day (UTC) and
`what` says what happened:

| what | and then |
|---|---|
| cycle | the seed; `lease` in seconds; `systems`: the id of each system; `receives`: the municipalities of each receiver |
| before | `id` of a message of an earlier cycle that may still arrive (`open`), or whose receipt is asked for again |
| letter | a message that will be sent: `id` (its BeskedID), `lane` (the case), `seq` (its place there), `orderly` (the next one of its lane waits until it has been acknowledged), `municipality`, `operation`, `sender`, `recipient` (`recipients`: either of them, for a municipality that changes its system), and `habit`: steady (asks until the receipt is final), trusting (content with G006), twin (sent twice at once), once (never again) |
| invoke | a call begins: `call` is its number, `id` the message, `node` where it went |
| ok | the call ended with a receipt OK; `receipt` is the SHA-256 of its canonical XML |
| stored | ... with ADVARSEL G006: stored, delivery under way |
| fail | ... with FEJL, `codes` says which |
| unknown | ... with nothing that can be read as a receipt: nobody knows whether the message was taken |
| nemesis | something was broken or mended: `does` (kill, stop, go on, start, crash, fuse), `to` which process, and how many calls were `in_flight` there |
| died | a process ended by itself, or at the `place` where it was to die; `code` is its exit code |
| end | nothing more was asked; `quiet` says whether the gateway had nothing left to do |

Beside it lies a dump of the tables of both sides at the end, one row a line: `table`, `of` (whose), and the columns.
Nothing of a message but its ids stands in either.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from benchmarks.rig import Told


class History:
    """The file of one cycle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._calls = 0
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, what: str, **fields: object) -> None:
        """Write down what happened."""
        line = {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "what": what, **fields}
        self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    def invoke(self, besked_id: object, node: str) -> int:
        """Write down that a call begins; give its number."""
        self._calls += 1
        self.write("invoke", call=self._calls, id=besked_id, node=node)
        return self._calls

    def outcome(self, call: int, besked_id: object, told: Told) -> None:
        """Write down how it ended."""
        fields: dict[str, object] = {"call": call, "id": besked_id}
        if told.final:
            fields["receipt"] = hashlib.sha256(told.raw).hexdigest()
        if told.remarks:
            fields["codes"] = list(told.remarks)
        self.write(kind(told), **fields)


def kind(told: Told) -> str:
    """Give the word for what a call came to."""
    if told.code is None:
        return "unknown"
    if not told.final:
        return "stored"
    return "fail" if told.code == "FEJL" else "ok"

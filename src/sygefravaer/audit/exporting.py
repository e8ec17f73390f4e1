# SPDX-License-Identifier: MPL-2.0
"""
The record as a file: CSV for whoever opens it in a spreadsheet, JSON lines for whoever reads it with a program.

A cell can neither be a formula nor end a line: what stands in the record came, in part, from outside.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from typing import Any, Final, TextIO

from sygefravaer.audit.events import Event
from sygefravaer.audit.searching import Query, Reader, rows_of, shown
from sygefravaer.store import Store
from sygefravaer.vault import Vault

FORMS: Final = ("csv", "jsonl")
NAMES: Final = (
    "audit_id",
    "seq",
    "at",
    "event",
    "call_uuid",
    "serial_key",
    "system",
    "agreement",
    "municipality_cvr",
    "operation",
    "besked_id",
    "user",
    "person",
    "code",
    "reason",
    "names",
    "detail",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also at full width
_QUOTE: Final = "'"
_BREAKING: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})  # control, direction, line and paragraph separators


async def export(
    store: Store, vault: Vault, query: Query, reader: Reader, out: TextIO, *, form: str, users: bool = False
) -> int:
    """Write every row that fits to `out`, and note who took it; give how many. Raises `UsageError`."""
    if users or query.persons:
        reader.needs_purpose()
    await reader.noted(store, vault, Event.AUDIT_EXPORTED, query, form=form, **({"users": True} if users else {}))
    writer = csv.writer(out, lineterminator="\r\n")
    if form == "csv":
        writer.writerow(NAMES)
    number = 0
    async for row in rows_of(store, query):
        told = shown(row, vault, users=users)
        if form == "csv":
            writer.writerow([csv_cell(told[name]) for name in NAMES])
        else:
            out.write(json.dumps({name: told[name] for name in NAMES}, ensure_ascii=True) + "\n")
        number += 1
    return number


def csv_cell(value: Any) -> str:
    """Write a cell: on one line, and with a quote before what a spreadsheet would take for a formula."""
    if value is None:
        return ""
    text = one_line(json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value))
    begins = str(value).startswith(_FORMULA) or text.startswith(_FORMULA)
    return f"{_QUOTE}{text}" if begins and not isinstance(value, int) else text


def one_line(text: str) -> str:
    """Show what would break a line, or turn its direction, by its number."""
    return "".join(f"\\u{ord(each):04x}" if unicodedata.category(each) in _BREAKING else each for each in text)

# SPDX-License-Identifier: MPL-2.0
"""The code lists on the command line: which there are, and what each code of one means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from sygefravaer.cli.frame import table
from sygefravaer.contract.coded import Shown, list_names, shown
from sygefravaer.errors import UsageError

HEADINGS: Final = ("LIST", "CODES", "COLUMNS")


def found(name: str, on: date | None) -> Shown:
    """Give a list by its name; the error names them all."""
    for known in list_names():
        if known.lower() == name.lower():
            return shown(known, on=on)
    raise UsageError("ListUnknown", f"There is no such code list; there are {', '.join(list_names())}.")


def overview(on: date | None) -> list[Shown]:
    """Give every list."""
    return [shown(name, on=on) for name in list_names()]


def overview_text(lists: Sequence[Shown]) -> str:
    """Write which lists there are."""
    rows = [(each.name, str(len(each.rows)), ", ".join(each.columns)) for each in lists]
    return "\n".join(table(HEADINGS, rows))


def list_text(codes: Shown) -> str:
    """Write the codes of a list, a row each; a column that says nothing of any of them is left out."""
    told = [index for index, _ in enumerate(codes.columns) if any(row[index] for row in codes.rows)]
    rows = [[row[index] for index in told] for row in codes.rows]
    return "\n".join(table([codes.columns[index] for index in told], rows))


def as_plain(codes: Shown) -> dict[str, Any]:
    """Give a list as JSON has it; what is not said of a code is left out."""
    rows = [{name: text for name, text in zip(codes.columns, row, strict=True) if text} for row in codes.rows]
    return {"list": codes.name, "columns": list(codes.columns), "codes": rows}

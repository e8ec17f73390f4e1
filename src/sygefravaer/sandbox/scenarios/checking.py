# SPDX-License-Identifier: MPL-2.0
"""
What must hold, and whether it does. Pure: what was found in, verdicts out.

A path goes into what was found: `versions.last.state`, `requests.0.deadline`, `versions.each.event` (a list of what
every one has), `versions[event=AFSLUTTET].count`. What is wanted is a value, or a table of conditions: `at_most`,
`at_least`, `not`, `contains`, `any_of`, `absent`, or `by` a day what the law of that day wants (`until`, `first`,
`later`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

MISSING: Final = object()
LONGEST: Final = 200
_PIECE: Final = re.compile(r"(?P<name>[^.\[\]]+)(?:\[(?P<key>\w+)=(?P<value>[^\]]*)\])?(?:\.|$)")
_CONDITIONS: Final = {"at_most", "at_least", "not", "contains", "any_of", "absent"}
_BY_LAW: Final = {"by", "until", "first", "later"}


class BadPath(ValueError):
    """Says what is wrong with a path, or with what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A check that was made."""

    step: int
    that: str
    ok: bool
    wanted: str = ""
    found: str = ""

    def printed(self) -> str:
        """Give it as a line."""
        return f"ok      {self.that}" if self.ok else f"FAILED  {self.that}: wanted {self.wanted}; found {self.found}"

    def as_json(self) -> Json:
        """Give it as an object."""
        told: Json = {"step": self.step, "that": self.that, "ok": self.ok}
        return told if self.ok else told | {"wanted": self.wanted, "found": self.found}


def compare(found: Any, wanted: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say what was wanted and what was found at the first path where they differ; None when all is as wanted."""
    for path, value in wanted.items():
        at = at_path(found, path)
        if not fits(at, value):
            return f"{path} {shown(value)}", shown(at)
    return None


def matching(rows: list[Json], filters: Mapping[str, Any]) -> list[Json]:
    """Give the rows that fit."""
    return [row for row in rows if compare(row, filters) is None]


def at_path(found: Any, path: str) -> Any:
    """Go into what was found; MISSING where the path does not lead."""
    pieces = list(_pieces(path))
    for index, (name, key, value) in enumerate(pieces):
        if name == "each":
            if not isinstance(found, list):
                return MISSING
            rest = _joined(pieces[index + 1 :])
            tail, _, number = rest.rpartition(".") if rest.endswith((".count", ".distinct")) else (rest, "", "")
            each = [_plain(at_path(one, tail)) for one in found]
            return _step(each, number) if number else each
        found = _step(found, name)
        if key is not None:
            if not isinstance(found, list):
                return MISSING
            found = [one for one in found if shown(_step(one, key)) == value]
    return found


def fits(found: Any, wanted: Any) -> bool:
    """Say whether what was found is what is wanted."""
    if not isinstance(wanted, dict):
        return bool(_plain(found) == wanted) and isinstance(_plain(found), bool) == isinstance(wanted, bool)
    if wanted.keys() == _BY_LAW:
        return fits(found, wanted["first"] if str(wanted["by"])[:10] <= wanted["until"] else wanted["later"])
    unknown = wanted.keys() - _CONDITIONS
    if unknown or not wanted:
        raise BadPath(f"`{', '.join(sorted(unknown))}` is no condition")
    return all(_holds(found, name, value) for name, value in wanted.items())


def shown(value: Any) -> str:
    """Write a value down for a person."""
    if value is MISSING or value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        text = f"[{', '.join(shown(one) for one in value)}]"
    elif isinstance(value, dict):
        text = ", ".join(f"{name.replace('_', ' ')} {shown(one)}" for name, one in value.items())
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _holds(found: Any, name: str, value: Any) -> bool:
    found = _plain(found)
    match name:
        case "absent":
            return bool((found is None) == value)
        case "not":
            return bool(found != value)
        case "any_of":
            return found in value
        case "contains":
            wanted = value if isinstance(value, list) else [value]
            return isinstance(found, str | list) and all(one in found for one in wanted)
    if found is None or isinstance(found, str) != isinstance(value, str):
        return False
    return bool(found <= value if name == "at_most" else found >= value)


def _step(found: Any, name: str) -> Any:
    if isinstance(found, list):
        if name == "count":
            return len(found)
        if name == "distinct":
            return len({shown(one) for one in found})
        index = {"first": 0, "last": -1}.get(name)
        if index is None:
            if not re.fullmatch(r"-?\d+", name):
                raise BadPath(f"`{name}` is no place in a list")
            index = int(name)
        return found[index] if -len(found) <= index < len(found) else MISSING
    if isinstance(found, dict):
        return found.get(name, MISSING)
    return MISSING


def _pieces(path: str) -> Iterator[tuple[str, str | None, str | None]]:
    position = 0
    while position < len(path):
        piece = _PIECE.match(path, position)
        if piece is None or piece.end() == position:
            raise BadPath(f"`{path}` is no path")
        yield piece["name"], piece["key"], piece["value"]
        position = piece.end()


def _joined(pieces: list[tuple[str, str | None, str | None]]) -> str:
    return ".".join(name if key is None else f"{name}[{key}={value}]" for name, key, value in pieces)


def _plain(value: Any) -> Any:
    return None if value is MISSING else value

# SPDX-License-Identifier: MPL-2.0
"""The command that does at a part's control door what a person may: any act, with fields from options or a file."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.errors import UsageError

PATIENCE: Final = 90.0  # seconds: an act may be a thousand cases long


@click.command()
@click.argument("part")
@click.argument("act", required=False)
@click.option("--field", "given", metavar="NAME=VALUE", multiple=True, help="A field; Block/Field in one; repeatable.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="The fields as one JSON object.")
@dir_option
@json_option
@example(
    "sygefravaer act viborg",
    "sygefravaer act viborg inbox",
    "sygefravaer act viborg policy --field extensions=manual",
    "sygefravaer act ksd create_case --file sag.json",
)
def act(
    part: str, act: str | None, given: tuple[str, ...], file: Path | None, directory: Path, *, as_json: bool
) -> None:
    """
    Do ACT at the control door of PART: gateway, ksd, viborg, aarhus, admin or supervisor.

    Without ACT it lists what the part can do. A VALUE is JSON if it can be read as such (2, true, null, ["a"]), else a
    text, so that most need no quotes. A field that is repeated becomes a list; fields win over the file's. The exit
    code is 1 when the part refuses.
    """
    told = asyncio.run(_knock(directory, part, act or "acts", fields(given, file)))
    if as_json or act is not None:
        click.echo(json.dumps(told, ensure_ascii=False, indent=None if as_json else 1))
        return
    width = max(len(name) for name in told["acts"])
    for name, text in told["acts"].items():
        click.echo(f"{name:<{width}}  {_first_line(text)}".rstrip())


def fields(given: Iterable[str], file: Path | None) -> dict[str, Any]:
    """Read the fields of an act; raises `UsageError`."""
    found = {} if file is None else _read(file)
    seen: set[tuple[str, ...]] = set()
    for one in given:
        name, sign, text = one.partition("=")
        path = tuple(re.split(r"[/.]", name))
        if not sign or not all(path):
            raise UsageError("FieldMalformed", "A --field is not NAME=VALUE.", try_this="Write --field NAME=VALUE.")
        place = found
        for step in path[:-1]:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise UsageError("FieldMalformed", f"`{step}` is given both as a value and as a block.")
            place = inner
        value, last = _value(text), path[-1]
        if path not in seen:
            place[last] = value
        elif isinstance(place[last], list):
            place[last].append(value)
        else:
            place[last] = [place[last], value]
        seen.add(path)
    return found


def _value(text: str) -> Any:
    # A personal number, a CVR number or a code with a leading zero is no number to count with.
    if re.fullmatch(r"-?\d+", text) and (len(text) >= len("29189846") or re.match(r"-?0\d", text)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("FileUnreadable", f"{file} could not be read ({error.strerror}).") from error
    except ValueError as error:
        raise UsageError("FileMalformed", f"{file} is not JSON.") from error
    if not isinstance(found, dict):
        raise UsageError("FileMalformed", f"{file} is JSON, but not an object.")
    return found


def _first_line(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


async def _knock(directory: Path, part: str, act: str, given: dict[str, Any]) -> dict[str, Any]:
    from sygefravaer.control import knock  # noqa: PLC0415  a sandbox is large; `--help` is not
    from sygefravaer.sandbox.parts import PARTS, Layout  # noqa: PLC0415
    from sygefravaer.sandbox.premises import runs  # noqa: PLC0415
    from sygefravaer.sandbox.supervisor import down  # noqa: PLC0415

    layout, known = Layout(directory), [*(spec.name for spec in PARTS), "supervisor"]
    if part not in known:
        raise UsageError("PartUnknown", f"The part is not known; the parts are {', '.join(known)}.")
    if not runs(layout):
        raise down(layout)
    return await knock(layout.socket(part), act, given, timeout=PATIENCE)

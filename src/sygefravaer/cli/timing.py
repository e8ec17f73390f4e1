# SPDX-License-Identifier: MPL-2.0
"""The commands that tell and move the time of a sandbox."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.errors import ActRefused, NotQuiet, UsageError

DENMARK: Final = ZoneInfo("Europe/Copenhagen")
UNITS: Final[Mapping[str, timedelta]] = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
LOOK: Final = 0.3  # seconds between looks at how far a move is
_DURATION: Final = re.compile(r"(?:\d{1,9}[ywdhms])+")
_PIECE: Final = re.compile(r"(\d+)([ywdhms])")

_timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="For the parts to come to rest at one instant (120).",
)


def duration(text: str) -> timedelta:
    """Read `22w`, `3d`, `12h`, `90m`, `45s`, `1y` (365 days) or several of them together; raises `UsageError`."""
    if not _DURATION.fullmatch(text):
        raise UsageError(
            "DurationMalformed",
            "The duration could not be read; numbers with y, w, d, h, m or s were wanted.",
            try_this="Write 22w, 3d, 12h, 90m, 45s or 1w2d.",
        )
    try:
        return sum((int(number) * UNITS[unit] for number, unit in _PIECE.findall(text)), timedelta())
    except OverflowError as error:
        raise UsageError("DurationMalformed", "The duration is longer than the calendar.") from error


def instant(text: str) -> datetime:
    """Read a day (its beginning in Denmark) or a time with its offset; raises `UsageError`."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time(), DENMARK).astimezone(UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "DateMalformed",
            "The date could not be read; a day or a time with its offset was wanted.",
            try_this="Write 2026-08-31 or 2026-08-31T09:00:00+02:00.",
        ) from error
    if found.tzinfo is None:
        raise UsageError(
            "ClockNaive",
            "A time without an offset was given; a time with its offset, or a day, was wanted.",
            try_this="Write 2026-08-31T09:00:00+02:00.",
        )
    return found.astimezone(UTC)


@click.group()
@example("sygefravaer clock show", "sygefravaer clock advance 22w")
def clock() -> None:
    """Tell the time of a sandbox, and move all its parts through it together."""


@clock.command("show")
@dir_option
@json_option
@example("sygefravaer clock show")
def show(directory: Path, *, as_json: bool) -> None:
    """Tell what time it is in the sandbox, and how far a move is that goes on."""
    told = asyncio.run(_ask(directory, {}))
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(_danish(told["now"]))
        if told["moving"]:
            click.echo(f"It is being moved to {_danish(told['goal'])}." if "goal" in told else "It is being moved.")


@clock.command("advance")
@click.argument("by", metavar="DURATION")
@dir_option
@_timeout
@json_option
@example("sygefravaer clock advance 22w", "sygefravaer clock advance 1w2d --timeout 300")
def advance(by: str, directory: Path, timeout: float | None, *, as_json: bool) -> None:
    """
    Move all parts forward by DURATION (22w, 3d, 12h, 90m, 45s, 1w2d; 1y is 365 days).

    Everything that the parts do by themselves on the way is done at its own instant, one after the other. It returns
    when all is quiet there. The exit code is 3 when a part does not come to rest in time; the clocks then stand, and
    run on, where it was.
    """
    _move(directory, {"advance": duration(by).total_seconds()}, timeout, as_json=as_json)


@clock.command("set")
@click.argument("day", metavar="DATE")
@dir_option
@_timeout
@json_option
@example("sygefravaer clock set 2026-08-31", "sygefravaer clock set 2026-08-31T09:00:00+02:00")
def set_to(day: str, directory: Path, timeout: float | None, *, as_json: bool) -> None:
    """Move all parts forward to DATE: a day, which means its beginning in Denmark, or a time with its offset."""
    _move(directory, {"now": instant(day).isoformat()}, timeout, as_json=as_json)


@clock.command("run-until")
@click.argument("event", metavar="EVENT")
@click.option("--at-most", metavar="DURATION", default="1y", show_default=True, help="How far to look for it.")
@dir_option
@_timeout
@json_option
@example("sygefravaer clock run-until M3", "sygefravaer clock run-until SagsTilstand=REVURDERING --at-most 30w")
def run_until(event: str, at_most: str, directory: Path, timeout: float | None, *, as_json: bool) -> None:
    """
    Move all parts forward to the next EVENT.

    EVENT is a message that the gateway accepts, by its operation, as M1 to M5 or by its number (SF2090, SF2093,
    SF2095); or the SagsTilstand that a case comes into. The exit code is 1 when it has not come within --at-most.
    """
    from sygefravaer.sandbox.events import watch  # noqa: PLC0415  a sandbox is large; `--help` is not

    watch(event)  # one that is none is refused here, as used wrongly
    told = _move(directory, {"until": event, "advance": duration(at_most).total_seconds()}, timeout, as_json=as_json)
    if told["seen"] is None:
        raise ActRefused("EventNotSeen", f"It did not come by {told['to']}, where the clocks are now.")


async def _ask(directory: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    from sygefravaer.sandbox.parts import Layout  # noqa: PLC0415  a sandbox is large; `--help` is not
    from sygefravaer.sandbox.supervisor import ask  # noqa: PLC0415

    told: dict[str, Any] = await ask(Layout(directory), "clock", fields)
    return told


def _move(directory: Path, fields: Mapping[str, Any], timeout: float | None, *, as_json: bool) -> dict[str, Any]:
    moved = asyncio.run(_moved(directory, dict(fields) | ({} if timeout is None else {"timeout": timeout})))
    if as_json:
        if moved["seen"] is not None or "until" not in fields:
            click.echo(json.dumps(moved, ensure_ascii=False))
        return moved
    click.echo(f"From {_danish(moved['from'])} to {_danish(moved['to'])}:")
    click.echo(f"{moved['instants']} instants at which something was due, {moved['messages']} messages accepted.")
    if moved["seen"] is not None:
        click.echo(f"Seen: {moved['seen']}")
    for one in moved["quiet"]:
        click.echo(f"Counts as quiet: {one['part']} ({one['why']})")
    return moved


async def _moved(directory: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a move and look at it until it has ended, with its progress on standard error."""
    try:
        told = await _ask(directory, fields)
    except ActRefused as error:
        if error.code == "ClockBackwards":
            raise UsageError("ClockBackwards", error.detail, try_this="Give a later time.") from error
        raise
    shown = None
    while told["moving"]:
        if told.get("instant") != shown:
            shown = told["instant"]
            click.echo(f"{_danish(shown)}  {', '.join(told['due'])} ({told['instants']} instants)", err=True)
        await asyncio.sleep(LOOK)
        told = await _ask(directory, {})
    failed = told.get("failed")
    if failed is not None and failed["code"] == NotQuiet.code:
        raise NotQuiet(failed["text"])
    if failed is not None:
        raise ActRefused(failed["code"], failed["text"])
    if "moved" not in told:
        raise ActRefused("Interrupted", "The sandbox was taken down before the move had ended.")
    moved: dict[str, Any] = told["moved"]
    return moved


def _danish(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(DENMARK).isoformat(" ", "seconds")

# SPDX-License-Identifier: MPL-2.0
"""The commands `scenario list` and `scenario run`: stories of cases, played over the wire and checked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import REFUSED, example, json_option
from sygefravaer.errors import UsageError

CLOCKS: Final = ("plain", "october", "leap", "newyear")
BULK_SECONDS: Final = 0.25  # for one case, when thousands are let in at one instant


@click.group()
@example("sygefravaer scenario list", "sygefravaer scenario run 03")
def scenario() -> None:
    """Play stories of cases through gateway, KSD and jobcentres, and check what must hold."""


@scenario.command("list")
@json_option
@example("sygefravaer scenario list")
def list_scenarios(*, as_json: bool) -> None:
    """List the scenarios that come with this program."""
    from sygefravaer.sandbox import scenarios  # noqa: PLC0415  a sandbox is large; `--help` is not

    found = [scenarios.load(name) for name in scenarios.known()]
    if as_json:
        told = [{"name": one.name, "title": one.title, "story": one.story.strip()} for one in found]
        click.echo(json.dumps({"scenarios": told}, ensure_ascii=False))
        return
    width = max(len(one.name) for one in found)
    for one in found:
        click.echo(f"{one.name:<{width}}  {one.title}")


@scenario.command("run")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Play all of them.")
@click.option("--clock", type=click.Choice(CLOCKS), default="plain", show_default=True, help="What calendar to cross.")
@click.option("--start", type=click.DateTime(["%Y-%m-%d"]), help="T, the first day of absence, instead of --clock.")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="How many, where a scenario has many cases.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Play in this sandbox, which runs.")
@json_option
@example(
    "sygefravaer scenario run 01-kort-sygdom",
    "sygefravaer scenario run 03 --clock october",
    "sygefravaer scenario run --all",
    "sygefravaer scenario run my-own.toml --start 2026-03-02",
    "sygefravaer scenario run 10 --dir .sandbox",
)
def run(
    names: tuple[str, ...],
    *,
    every: bool,
    clock: str,
    start: datetime | None,
    count: int | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """
    Play scenarios and print the timeline: messages, receipts, the states on both sides, and what must hold.

    Of more than one a table is printed, with what did not hold.

    NAME is a scenario, or the beginning of its name, or a file that ends in .toml. Each is played on a stage of its
    own (real PostgreSQL, mutual TLS and clocks that stand, in this process), or with --dir in a sandbox that runs,
    whose time moves forward by it. The exit code is 1 when something does not hold.
    """
    from sygefravaer.sandbox import scenarios  # noqa: PLC0415  a sandbox is large; `--help` is not

    if every == bool(names):
        raise UsageError("ScenarioMissing", "A NAME was wanted, or --all.", try_this="sygefravaer scenario list")
    logging.getLogger("sygefravaer").addHandler(logging.NullHandler())  # the parts log beside the timeline
    told = [scenarios.load(name) for name in (scenarios.known() if every else names)]
    day = None if start is None else start.date()
    show = _quiet if as_json or len(told) > 1 else _Printer()
    if directory is None:
        reports = asyncio.run(_on_stages(told, clock, day, count, show))
    else:
        reports = asyncio.run(_in_sandbox(directory, told, day, count, show, skip=every))
    if as_json:
        plays = [report.as_json() for report in reports]
        click.echo(json.dumps({"ok": all(report.ok for report in reports), "plays": plays}, ensure_ascii=False))
    elif len(told) > 1:
        _table(reports)
    if not all(report.ok for report in reports):
        raise SystemExit(REFUSED)


Show = Callable[[str, Any], None]
"""Hears of `begin` (the scenario and its T), each `line`, and `end` (the report)."""


async def _on_stages(told: Iterable[Any], clock: str, day: date | None, count: int | None, show: Show) -> list[Any]:
    from sygefravaer.sandbox import scenarios  # noqa: PLC0415

    reports = []
    async with scenarios.house() as (server, pki):
        for one in told:
            first = day or scenarios.start_of(one, scenarios.Clock(clock))
            timeout = max(120.0, BULK_SECONDS * (count or one.count))
            begin = scenarios.first_instant(first)
            async with scenarios.StageTheatre(begin, server=server, pki=pki, timeout=timeout) as theatre:
                reports.append(await _played(one, theatre, first, count, show))
    return reports


async def _in_sandbox(
    directory: Path, told: Iterable[Any], day: date | None, count: int | None, show: Show, *, skip: bool
) -> list[Any]:
    from sygefravaer.law import danish_date  # noqa: PLC0415
    from sygefravaer.sandbox import scenarios  # noqa: PLC0415
    from sygefravaer.sandbox.parts import Layout  # noqa: PLC0415
    from sygefravaer.sandbox.supervisor import ask  # noqa: PLC0415

    reports = []
    async with scenarios.RunningSandbox(Layout(directory)) as theatre:
        for one in told:
            try:
                first = scenarios.first_day(one, danish_date(await theatre.now()), wished=day)
            except UsageError as unfit:
                if not skip:
                    raise
                click.echo(f"Left out: {unfit.detail}", err=True)
                continue
            reports.append(await _played(one, theatre, first, count, show))
    await ask(Layout(directory), "clock")  # its supervisor learns what time it has become
    return reports


async def _played(one: Any, theatre: Any, first: date, count: int | None, show: Show) -> Any:
    from sygefravaer.sandbox import scenarios  # noqa: PLC0415

    show("begin", (one, first))
    report = await scenarios.play(one, theatre, start=first, count=count, tell=partial(show, "line"))
    show("end", report)
    return report


def _quiet(what: str, told: Any) -> None:
    """Say on standard error only how far it is."""
    if what == "end":
        click.echo(f"{told.scenario.name}: {_sum(told)} ({told.seconds:.1f} s)", err=True)


class _Printer:
    """Prints a play as it goes."""

    def __init__(self) -> None:
        self._before: datetime | None = None

    def __call__(self, what: str, told: Any) -> None:
        if what == "begin":
            one, first = told
            self._before = None
            click.echo(f"{one.name}: {one.title}\n\n{one.story.strip()}\n\nT, the first day of absence: {first}\n")
        elif what == "line":
            click.echo(told.printed(self._before))
            self._before = told.at
        else:
            click.echo(f"\n{_sum(told)}\n")


def _sum(report: Any) -> str:
    failed = sum(not verdict.ok for verdict in report.verdicts)
    number = len(report.verdicts)
    return f"{failed} of {number} checks failed." if failed else f"All {number} checks held."


def _table(reports: Iterable[Any]) -> None:
    click.echo(f"{'SCENARIO':<30}{'T':<12}{'MESSAGES':>9}{'CHECKS':>8}{'FAILED':>8}")
    for report in reports:
        failed = [verdict for verdict in report.verdicts if not verdict.ok]
        sent = sum(line.kind == "message" for line in report.lines)
        row = f"{report.scenario.name:<30}{report.start.isoformat():<12}{sent:>9}{len(report.verdicts):>8}"
        click.echo(f"{row}{len(failed):>8}")
        for verdict in failed:
            click.echo(f"  step {verdict.step}: {verdict.printed()}")

# SPDX-License-Identifier: MPL-2.0
"""The commands `sandbox ...` and `citizens`: a sandbox is started, steered, kept and taken down; people are made up."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import DEFAULT_DIR, dir_option, example, json_option
from sygefravaer.errors import SygefravaerError

MOST: Final = 10_000_000  # citizens; there are numbers for three times as many


@click.group()
@example("sygefravaer sandbox up --detach", "sygefravaer sandbox status")
def sandbox() -> None:
    """Run gateway, KSD, two jobcentres and PostgreSQL on this machine."""


@sandbox.command("up")
@dir_option
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="The gateway; 0: any.")
@click.option(
    "--admin-port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Administration; 0: any."
)
@click.option(
    "--citizens", "count", type=click.IntRange(0, MOST), help="How many there are from the start.  [default: 50]"
)
@click.option("--seed", "number", type=int, help="Which citizens: the same number gives the same.  [default: 2090]")
@click.option("--detach", is_flag=True, help="Return when it is ready; it goes on in the background.")
@click.option("--report", type=int, hidden=True, help="The descriptor to report to: how --detach learns.")
@json_option
@example(
    "sygefravaer sandbox up",
    "sygefravaer sandbox up --dir /tmp/demo --port 9443 --admin-port 9080 --detach",
    "sygefravaer sandbox up --dir /tmp/many --citizens 2000 --seed 7",
)
def sandbox_up(
    directory: Path,
    port: int,
    admin_port: int,
    *,
    count: int | None,
    number: int | None,
    detach: bool,
    report: int | None,
    as_json: bool,
) -> None:
    """
    Start a sandbox and keep it until Ctrl-C (or, with --detach, until `sandbox down`).

    Nothing leaves this machine, no citizen in it exists. When it is ready it prints the addresses and a command line
    to try, and writes DIR/sandbox.json. What it knows stays in DIR for the next start; `sandbox down --remove` deletes
    it. The citizens are those of the first start: a later one goes on with them.
    """
    from sygefravaer.sandbox import command  # noqa: PLC0415

    layout = _layout(directory)
    say = partial(click.echo, err=True)
    wishes = command.Wishes(port=port, admin_port=admin_port, count=count, number=number)
    if detach:
        _show_ready(command.detach(layout, wishes, say=say), layout, as_json=as_json, detached=True)
        return
    if report is not None:
        teller = command.Report(report)
        try:
            asyncio.run(command.up(layout, wishes, say=_both(teller.say, say), ready=teller.ready))
        except SygefravaerError as error:
            teller.error(error)
            raise
        return
    show = partial(_show_ready, layout=layout, as_json=as_json, detached=False)
    asyncio.run(command.up(layout, wishes, say=say, ready=show))


@sandbox.command("down")
@dir_option
@click.option("--remove", is_flag=True, help="Also delete everything the sandbox knows.")
@json_option
@example("sygefravaer sandbox down")
def sandbox_down(directory: Path, *, remove: bool, as_json: bool) -> None:
    """End a sandbox, and what a killed one may have left. That none runs is no error."""
    from sygefravaer.sandbox import command  # noqa: PLC0415

    there = asyncio.run(command.down(_layout(directory), remove=remove))
    if as_json:
        click.echo(json.dumps({"down": there, "removed": remove}))
    else:
        click.echo("The sandbox is down." if there else "No sandbox was running.")


@sandbox.command("status")
@dir_option
@json_option
@example("sygefravaer sandbox status --json")
def sandbox_status(directory: Path, *, as_json: bool) -> None:
    """
    Say of each part whether it runs, its process, its port and whether it answers.

    Say also how far the opening conversation is: running, done, or stopped (a part was away; the next start begins it
    again). A script that wants quiet waits until `conversation` of --json is no longer `running`.
    """
    told = _ask(directory, "status")
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    click.echo(_row("PART", "STATE", "HEALTH", "PID", "PORT"))
    for part in told["parts"]:
        click.echo(_row(*(part[key] or "-" for key in ("name", "state", "health", "pid", "port"))))
    click.echo(f"\nThe opening conversation: {told['conversation']}.")


def _row(*cells: object) -> str:
    return "".join(f"{cell!s:<11}" for cell in cells).rstrip()


def _part_command(act: str, help_text: str) -> None:
    @sandbox.command(act)
    @click.argument("part")
    @dir_option
    @json_option
    def run(part: str, directory: Path, *, as_json: bool) -> None:
        told = _ask(directory, act, {"part": part})
        if as_json:
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            click.echo(f"{told['name']} is {told['state']}.")

    run.help = f"{help_text}\n\n\b\nExample:\n  sygefravaer sandbox {act} gateway"


_part_command("kill", "Kill a part at once (SIGKILL): it finishes nothing.")
_part_command("pause", "Freeze a part (SIGSTOP): its sockets stay open and nothing answers.")
_part_command("start", "Start a part that is down, at the address it had, or let a frozen one go on.")


@sandbox.command("snapshot")
@click.argument("file", type=click.Path(path_type=Path))
@dir_option
@json_option
@example("sygefravaer sandbox snapshot state.zip")
def sandbox_snapshot(file: Path, directory: Path, *, as_json: bool) -> None:
    """
    Write all that the sandbox knows to FILE, so that it can go on elsewhere: for a bug report.

    It may run meanwhile; FILE then holds one instant of it. FILE holds the keys of this sandbox, which open nothing
    else, and synthetic citizens only.
    """
    from sygefravaer.sandbox import snapshot  # noqa: PLC0415

    told = asyncio.run(snapshot.take(_layout(directory), file))
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(
        f"{file} holds the sandbox as of {told['taken']} ({told['rows']} rows, {told['bytes']} bytes): its keys, which "
        f"open nothing else, and synthetic citizens only.\n\nGo on with it anywhere: "
        f"{program()} sandbox restore {shlex.quote(str(file))} --dir NEW"
    )


@sandbox.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@dir_option
@json_option
@example("sygefravaer sandbox restore state.zip --dir /tmp/bug", "sygefravaer sandbox restore state.zip")
def sandbox_restore(file: Path, directory: Path, *, as_json: bool) -> None:
    """
    Make a sandbox of a FILE that `sandbox snapshot` wrote, in a directory that is empty or new; `up` goes on with it.

    A broken or foreign FILE, or one of another format, is refused and leaves nothing behind.
    """
    from sygefravaer.sandbox import snapshot  # noqa: PLC0415

    layout = _layout(directory)
    told = asyncio.run(snapshot.restore(layout, file))
    if as_json:
        click.echo(json.dumps(told | {"dir": str(layout.directory)}))
        return
    click.echo(
        f"{layout.directory} holds the sandbox as of {told['taken']}.\n\nGo on with it: "
        f"{program()} sandbox up{_where(layout)}"
    )


@click.command()
@click.option("--count", type=click.IntRange(0, MOST), default=50, show_default=True, help="How many citizens.")
@click.option("--seed", "number", type=int, default=2090, show_default=True, help="Which: the same gives the same.")
@click.option("--municipality", "chosen", metavar="CVR", multiple=True, help="Only there; repeatable.  [default: all]")
@click.option("--substitutes", is_flag=True, help="Let some have a substitute number.")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="The day the cases are as of.  [default: today]")
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@example(
    "sygefravaer citizens --count 1000 --seed 7",
    "sygefravaer citizens --count 10 --municipality 29189846 --municipality 55133018 --format json",
)
def citizens(
    count: int, number: int, *, chosen: tuple[str, ...], substitutes: bool, today: datetime | None, kind: str
) -> None:
    """
    Make up citizens with cases, and write them to standard output, one case a line.

    None of them exists: their CPR numbers say that they are born 2037-2057. A production instance refuses them, a test
    instance takes no others. CPR, names and ids depend on --seed alone, the dates on the day.
    """
    from sygefravaer.sandbox import listing  # noqa: PLC0415

    day = None if today is None else today.date()
    for text in listing.lines(count, number, chosen=chosen, substitutes=substitutes, today=day, kind=kind):
        click.echo(text)


def _layout(directory: Path) -> Any:
    from sygefravaer.sandbox.parts import Layout  # noqa: PLC0415

    return Layout(directory)


def _ask(directory: Path, act: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    from sygefravaer.sandbox.supervisor import ask  # noqa: PLC0415

    return asyncio.run(ask(_layout(directory), act, fields))


def _both(first: Callable[[str], None], second: Callable[[str], None]) -> Callable[[str], None]:
    def say(text: str) -> None:
        first(text)
        second(text)

    return say


def program() -> str:
    """Say how this program is called here, so that what is printed can be typed."""
    if shutil.which("sygefravaer"):
        return "sygefravaer"
    name = Path(sys.argv[0])
    return shlex.join([sys.executable, "-m", "sygefravaer"] if name.name == "__main__.py" else [os.path.relpath(name)])


def _where(layout: Any) -> str:
    return "" if layout.directory == DEFAULT_DIR.absolute() else f" --dir {shlex.quote(str(layout.directory))}"


def _login(summary: Mapping[str, Any]) -> str:
    """Say how to log in to the pages: as an operator, who sees most."""
    operator = next(one for one in summary["accounts"] if "operator" in one["roles"])
    return f"(log in as {operator['login']}, password {operator['password']})"


def _show_ready(ready: Any, layout: Any, *, as_json: bool, detached: bool) -> None:
    summary = ready.summary
    if as_json:
        told = {"seconds": round(ready.seconds, 2), "pid": ready.pid, "dir": str(layout.directory), "curl": ready.curl}
        click.echo(json.dumps(told | {"sandbox": summary}, ensure_ascii=False))
        return
    where = _where(layout)
    end = f"{program()} sandbox down{where}" if detached else "Ctrl-C"
    click.echo(
        f"""
The sandbox is ready ({ready.seconds:.1f} s).

  Sygefravaer     {summary["gateway"]["sygefravaer"]}
  SygefravaerJC   {summary["gateway"]["sygefravaer_jc"]}
  Administration  {summary["admin"]}  {_login(summary)}
  Certificates, systems, cases and all logins: {layout.summary}

Try it:

  {ready.curl}

  {program()} call HentSagsListe{where}

End it: {end}"""
    )

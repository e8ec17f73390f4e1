# SPDX-License-Identifier: MPL-2.0
"""
The command line: run a sandbox, serve one part, make one call.

Every error says what was found, what was wanted, who must act and what to try. Exit codes (`docs/commands.md`): 0 done,
1 refused, 2 used wrongly, 3 no answer, 4 the database failed, 70 a fault in this program, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import click

from sygefravaer import __version__
from sygefravaer.config import Kind, load
from sygefravaer.errors import ActRefused, CallFailed, StoreError, SygefravaerError, UsageError

REFUSED: Final = 1
USED_WRONGLY: Final = 2
NO_ANSWER: Final = 3
DATABASE: Final = 4
BROKEN: Final = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED: Final = 130
_USAGE: Final[Mapping[str, int]] = {
    "Interrupted": INTERRUPTED,
    "PartEnded": BROKEN,
    "PartSilent": BROKEN,
    "SupervisorEnded": BROKEN,
}
DEFAULT_DIR: Final = Path(".sandbox")

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


_JSON: Final = "sygefravaer.json"


def _wants_json(context: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001  click's signature
    context.meta[_JSON] = value  # an error is shown in the same way
    return value


_json = click.option("--json", "as_json", is_flag=True, callback=_wants_json, help="Print one JSON object.")


class Failure(click.ClickException):
    """An error of ours, as a command shows it."""

    def __init__(self, error: SygefravaerError, *, as_json: bool) -> None:
        super().__init__(error.text)
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click sets it on instances too
        self._error = error
        self._json = as_json

    def show(self, file: Any = None) -> None:
        """Write it to standard error; with --json also as an object to standard output."""
        error = self._error
        hint = getattr(error, "try_this", "") or error.hint
        text = error.detail if isinstance(error, UsageError | ActRefused) and error.detail else error.text
        if self._json:
            told = {"code": error.code, "text": text, "who": error.who.value, "try": hint}
            click.echo(json.dumps({"error": told}, ensure_ascii=False))
        click.echo(f"Error: {text}", err=True, file=file)
        click.echo(f"  code: {error.code}; who must act: {error.who.value}", err=True, file=file)
        if hint:
            click.echo(f"  try:  {hint}", err=True, file=file)


def exit_code(error: SygefravaerError) -> int:
    """Say how a command ends on this error."""
    if isinstance(error, UsageError):
        return _USAGE.get(error.code, USED_WRONGLY)
    if isinstance(error, StoreError):
        return DATABASE
    if isinstance(error, CallFailed) and error.retryable:
        return NO_ANSWER
    return REFUSED


class Commands(click.Group):
    """A group whose commands raise our errors."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes its message and its exit code."""
        try:
            return super().invoke(ctx)
        except SygefravaerError as error:
            raise Failure(error, as_json=bool(ctx.meta.get(_JSON))) from error


def _example(*lines: str) -> Callable[[CommandT], CommandT]:
    """End a command's help with lines that can be typed."""

    def add(command: CommandT) -> CommandT:
        shown = "\n".join(f"  {line}" for line in lines)
        command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n\b\nExample:\n{shown}\n"
        return command

    return add


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sygefravaer")
@_example("sygefravaer sandbox up", "sygefravaer call HentSagsListe")
def cli() -> None:
    """Sygefravaer 2.0: the exchange of sickness-benefit cases between KSD and the jobcentre systems."""


def main() -> None:
    """Run the command line of this process."""
    cli()


# --- serve ---


@cli.command()
@click.argument("part", type=click.Choice([kind.value for kind in Kind]))
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="The part's TOML file.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when the process that started this one ends.")
@_example("sygefravaer serve gateway --config /etc/sygefravaer/gateway.toml")
def serve(part: str, path: Path, *, with_parent: bool) -> None:
    """
    Run one part until SIGTERM: gateway, admin, ksd or jobcenter.

    The settings are described in docs/configuration.md. SIGTERM ends it in good order: what has begun is finished,
    what was claimed is handed back, and the exit code is 0.
    """
    from sygefravaer import app  # noqa: PLC0415  a part is large; `--help` is not

    config = load(path)
    if config.part != part:
        raise UsageError("SettingWrong", f"{path} is the configuration of a {config.part}; a {part} was asked for.")
    app.main(config, with_parent=with_parent)


# --- sandbox ---

_dir = click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIR, show_default=True, help="The sandbox."
)


@cli.group()
@_example("sygefravaer sandbox up --detach", "sygefravaer sandbox status")
def sandbox() -> None:
    """Run gateway, KSD, two jobcentres and PostgreSQL on this machine."""


@sandbox.command("up")
@_dir
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="The gateway; 0: any.")
@click.option(
    "--admin-port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Administration; 0: any."
)
@click.option("--detach", is_flag=True, help="Return when it is ready; it goes on in the background.")
@click.option("--report", type=int, hidden=True, help="The descriptor to report to: how --detach learns.")
@_json
@_example("sygefravaer sandbox up", "sygefravaer sandbox up --dir /tmp/demo --port 9443 --admin-port 9080 --detach")
def sandbox_up(directory: Path, port: int, admin_port: int, *, detach: bool, report: int | None, as_json: bool) -> None:
    """
    Start a sandbox and keep it until Ctrl-C (or, with --detach, until `sandbox down`).

    Nothing leaves this machine, no citizen in it exists. When it is ready it prints the addresses and a command line
    to try, and writes DIR/sandbox.json. What it knows stays in DIR for the next start; `sandbox down --remove` deletes
    it.
    """
    from sygefravaer.sandbox import command  # noqa: PLC0415

    layout = _layout(directory)
    say = partial(click.echo, err=True)
    if detach:
        _show_ready(
            command.detach(layout, port=port, admin_port=admin_port, say=say), layout, as_json=as_json, detached=True
        )
        return
    if report is not None:
        teller = command.Report(report)
        try:
            asyncio.run(
                command.up(layout, port=port, admin_port=admin_port, say=_both(teller.say, say), ready=teller.ready)
            )
        except SygefravaerError as error:
            teller.error(error)
            raise
        return
    show = partial(_show_ready, layout=layout, as_json=as_json, detached=False)
    asyncio.run(command.up(layout, port=port, admin_port=admin_port, say=say, ready=show))


@sandbox.command("down")
@_dir
@click.option("--remove", is_flag=True, help="Also delete everything the sandbox knows.")
@_json
@_example("sygefravaer sandbox down")
def sandbox_down(directory: Path, *, remove: bool, as_json: bool) -> None:
    """End a sandbox, and what a killed one may have left. That none runs is no error."""
    from sygefravaer.sandbox import command  # noqa: PLC0415

    there = asyncio.run(command.down(_layout(directory), remove=remove))
    if as_json:
        click.echo(json.dumps({"down": there, "removed": remove}))
    else:
        click.echo("The sandbox is down." if there else "No sandbox was running.")


@sandbox.command("status")
@_dir
@_json
@_example("sygefravaer sandbox status --json")
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
    @_dir
    @_json
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


def _program() -> str:
    """Say how this program is called here, so that what is printed can be typed."""
    if shutil.which("sygefravaer"):
        return "sygefravaer"
    name = Path(sys.argv[0])
    return shlex.join([sys.executable, "-m", "sygefravaer"] if name.name == "__main__.py" else [os.path.relpath(name)])


def _show_ready(ready: Any, layout: Any, *, as_json: bool, detached: bool) -> None:
    summary = ready.summary
    if as_json:
        told = {"seconds": round(ready.seconds, 2), "pid": ready.pid, "dir": str(layout.directory), "curl": ready.curl}
        click.echo(json.dumps(told | {"sandbox": summary}, ensure_ascii=False))
        return
    program = _program()
    where = "" if layout.directory == DEFAULT_DIR.absolute() else f" --dir {shlex.quote(str(layout.directory))}"
    end = f"{program} sandbox down{where}" if detached else "Ctrl-C"
    click.echo(
        f"""
The sandbox is ready ({ready.seconds:.1f} s).

  Sygefravaer     {summary["gateway"]["sygefravaer"]}
  SygefravaerJC   {summary["gateway"]["sygefravaer_jc"]}
  Administration  {summary["admin"]}
  Certificates, systems and cases: {layout.summary}

Try it:

  {ready.curl}

  {program} call HentSagsListe{where}

End it: {end}"""
    )


# --- call ---


@cli.command()
@click.argument("operation")
@click.option("--cpr", metavar="NUMBER", help="The citizen; in a sandbox a citizen of the municipality, by default.")
@click.option("--municipality", metavar="CVR", help="On whose behalf; by default the system's own.")
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="A field, or Block/Field; repeatable.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="The request as JSON fields, or as XML.")
@click.option("--system", metavar="NAME", help="The sandbox's system that calls: viborg, aarhus or ksd.")
@_dir
@click.option("--url", help="Another endpoint; needs --cert, --key, --ca, --system-id, --municipality and --cpr.")
@click.option("--cert", type=click.Path(path_type=Path), help="The client certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path), help="Its key (PEM).")
@click.option("--ca", type=click.Path(path_type=Path), help="Whom to trust (PEM).")
@click.option("--system-id", type=click.UUID, help="The caller's registered system.")
@click.option("--on-behalf-of", metavar="USER", help="The end user, for the record of look-ups.")
@click.option("--xml", "as_xml", is_flag=True, help="Print the answer as it came, CPR included.")
@click.option("--json", "as_json", is_flag=True, callback=_wants_json, help="Print the answer as JSON, CPR included.")
@_example(
    "sygefravaer call HentSagsListe",
    "sygefravaer call HentSag --field SagsID=6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --json",
    "sygefravaer call SendOpdateringFravaer --field Opdateringstype=STANDBY",
    "sygefravaer call SendOpdateringFravaer --file opdatering.json --system viborg",
)
def call(
    operation: str,
    *,
    cpr: str | None,
    municipality: str | None,
    fields: tuple[str, ...],
    file: Path | None,
    system: str | None,
    directory: Path,
    url: str | None,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    system_id: UUID | None,
    on_behalf_of: str | None,
    as_xml: bool,
    as_json: bool,
) -> None:
    """
    Call one OPERATION of the service once, and print the answer.

    OPERATION is HentSag, HentSagsListe, SendForretningsSvar, SendForretningsSvarForlaengelse, SendOpdateringFravaer,
    and for KSD SendHaendelseSygefravaerssag or SendAnmodningForlaengelse. Without --url it calls the sandbox in --dir.
    Header and contexts are filled in; fields are named as in the contract. Of a send also what is the sender's own to
    say is filled in unless it is given: new ids (OpdateringID, JobcentersagID, AnmodningID), today in Denmark
    (GyldigFra, VurderingsDato, HaendelsesDato, VisitationsDato, ModtagetTidspunkt), a JobcentersagStatus that fits the
    Opdateringstype, and MODTAGET for an answer. In a sandbox it is about a running case.

    The exit code is 0 for an answer or a positive receipt, 1 for a refusal, 3 when nobody answered.
    """
    from sygefravaer.cli import calling  # noqa: PLC0415

    row = calling.operation_named(operation)
    case = None
    if url is None:
        caller, case = calling.sandbox_caller(directory, row, system=system, municipality=municipality, cpr=cpr)
    else:
        if cert is None or key is None or ca is None or system_id is None or municipality is None:
            raise UsageError("OptionMissing", "--url needs --cert, --key, --ca, --system-id and --municipality.")
        caller = calling.Caller(
            url=url, certificate=cert, key=key, ca=ca, system_id=system_id, municipality_cvr=municipality
        )
    element = calling.request_element(row, caller, case, cpr=cpr, given=fields, file=file, on_behalf_of=on_behalf_of)
    answered = asyncio.run(calling.ask(caller, row, element))
    write = calling.as_xml if as_xml else calling.as_json if as_json else calling.as_text
    click.echo(write(answered))
    if answered.refused:
        raise SystemExit(REFUSED)

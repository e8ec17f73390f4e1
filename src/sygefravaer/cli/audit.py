# SPDX-License-Identifier: MPL-2.0
"""The commands on the record: is it whole, what stands in it, take it out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import REFUSED, CommandT, dir_option, example, json_option, table
from sygefravaer.cli.opening import Platform, config_option, platform, who_option
from sygefravaer.cli.timing import instant
from sygefravaer.config import Auditing
from sygefravaer.errors import Refused, UsageError

_SHOWN: Final = ("audit_id", "at", "event", "municipality_cvr", "operation", "code", "user", "call_uuid")

purpose_option = click.option(
    "--purpose", metavar="TEXT", help="Why; needed for what is about a citizen, and kept sealed in the record."
)
_CRITERIA: Final = (
    click.option("--from", "since", metavar="DATE", help="From this day, in Denmark, or time with its offset, on."),
    click.option("--to", "until", metavar="DATE", help="To the end of this day, or until this time."),
    click.option("--event", metavar="EVENT", help="One event (`lookup.asked`), or all of a thing (`lookup`)."),
    click.option("--system", metavar="SYSTEM", help="Which calling or receiving system, by its id or name."),
    click.option("--municipality", metavar="CVR", help="For which municipality."),
    click.option("--operation", metavar="NAME", help="Which operation of the service."),
    click.option("--outcome", metavar="CODE", help="With which outcome: OK, or a code of docs/errors.md."),
    click.option("--call-uuid", type=click.UUID, help="What belongs to one call."),
    click.option("--citizen", is_flag=True, help="About one citizen: the number is asked for, or read from input."),
    click.option("--users", is_flag=True, help="Show who the users are, and purposes; otherwise pseudonyms."),
    purpose_option,
    who_option,
)


def criteria(command: CommandT) -> CommandT:
    """Give a command the options by which the record is searched."""
    for option in reversed(_CRITERIA):
        command = option(command)
    return command


@click.group("audit")
@example("sygefravaer audit verify", "sygefravaer audit search --event call.refused --who revision")
def audit_group() -> None:
    """
    Check that the record of every use is whole, search it, take it out.

    The commands work on the gateway's database by its settings, beside it. Each look into the record is a row of it.
    """


@audit_group.command()
@click.option(
    "--anchor",
    "anchors",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another node's anchor file, or a copy kept elsewhere; repeatable.",
)
@config_option
@dir_option
@json_option
@example("sygefravaer audit verify", "sygefravaer audit verify --anchor /mnt/other-node/anchors --json")
def verify(*, anchors: tuple[Path, ...], config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Read the whole record and compare it with the anchors; exit code 1 when something is wrong.

    The tail that is not sealed yet is named as such. docs/audit.md says what is found, and what is not.
    """
    report = asyncio.run(_verified(config, directory, anchors))
    if as_json:
        click.echo(json.dumps(report))
    else:
        tail = report["unsealed_tail"]
        oldest = f", the oldest of {tail['oldest']}" if tail["rows"] else ""
        click.echo(f"{report['sealed']} rows sealed, {report['begins']} to {report['head']}.")
        click.echo(f"Unsealed tail: {tail['rows']} rows{oldest}.")
        for one in report["findings"]:
            click.echo(f"{one['kind']}: {one['of']} {one['number']}")
        click.echo(f"{len(report['findings'])} findings." if report["findings"] else "Nothing is wrong.")
    if report["findings"]:
        raise SystemExit(REFUSED)


@audit_group.command()
@criteria
@click.option("--after", type=click.IntRange(0), default=0, metavar="ID", help="Those after this row.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most.")
@config_option
@dir_option
@json_option
@example(
    "sygefravaer audit search --event lookup.asked --municipality 29189846 --from 2026-03-02 --who revision",
    "sygefravaer audit search --citizen --purpose 'Klage 26/118' --who revision --json",
)
def search(*, after: int, limit: int, config: Path | None, directory: Path, as_json: bool, **asked: Any) -> None:
    """
    Show rows of the record, oldest first.

    A citizen's number is never an argument: with --citizen it is asked for, or read from standard input, and looked up
    by its keyed hash.
    """
    person = read_citizen() if asked.pop("citizen") else None
    rows = asyncio.run(_searched(config, directory, person, asked, after=after, limit=limit))
    if as_json:
        click.echo(json.dumps({"rows": rows}, ensure_ascii=True))
    elif not rows:
        click.echo("None.")
    else:
        from sygefravaer.audit import one_line  # noqa: PLC0415

        cells = [["" if row[name] is None else one_line(str(row[name])) for name in _SHOWN] for row in rows]
        click.echo("\n".join(table([name.upper() for name in _SHOWN], cells)))


@audit_group.command()
@criteria
@click.option("--format", "form", type=click.Choice(("csv", "jsonl")), default="csv", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new file, readable by its owner only.")
@config_option
@dir_option
@json_option
@example("sygefravaer audit export --from 2026-03-01 --to 2026-03-31 --out marts.csv --who revision")
def export(*, form: str, out: Path, config: Path | None, directory: Path, as_json: bool, **asked: Any) -> None:
    """Write rows of the record to a new file; no cell of it is a formula, and no row more than a line."""
    person = read_citizen() if asked.pop("citizen") else None
    number = asyncio.run(_exported(config, directory, person, asked, form=form, out=out))
    told = {"file": str(out), "rows": number}
    click.echo(json.dumps(told) if as_json else f"{number} rows in {out}.")


@audit_group.command()
@click.option("--format", "form", type=click.Choice(("pdf", "json")), default="pdf", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new file, readable by its owner only.")
@click.option("--purpose", metavar="TEXT", required=True, help="Why; kept sealed in the record.")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer audit report --out indsigt.pdf --purpose 'Indsigt 26/118' --who borgerservice")
def report(
    *, form: str, out: Path, purpose: str, who: str, config: Path | None, directory: Path, as_json: bool
) -> None:
    """
    Make a citizen's access report (GDPR article 15), in Danish, as PDF or JSON.

    The number is asked for, or read from standard input, and the name to print after it, which may be left empty.
    """
    person = read_citizen()
    name = read_line("Navn", default="")
    told = asyncio.run(_reported(config, directory, person, name, form=form, out=out, who=who, purpose=purpose))
    click.echo(json.dumps(told) if as_json else f"Report {told['report']} with {told['uses']} uses in {out}.")


@audit_group.command()
@click.option("--month", metavar="MONTH", required=True, help="Which month, in Denmark: 2026-03; it must be over.")
@click.option("--number", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many look-ups.")
@click.option("--municipality", metavar="CVR", help="Only those of this municipality.")
@click.option("--users", is_flag=True, help="Show who the users are; otherwise pseudonyms.")
@purpose_option
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer audit sample --month 2026-03 --number 20 --municipality 29189846 --who revision")
def sample(
    *,
    month: str,
    number: int,
    municipality: str | None,
    users: bool,
    purpose: str | None,
    who: str,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Draw look-ups of a month for the control of misuse.

    Nobody can foresee or choose the draw: it is made once, recorded, and given again to whoever asks for the same month
    and municipality. Marked are look-ups for a citizen of whose case the gateway has seen nothing.
    """
    drawn = asyncio.run(_sampled(config, directory, month, number, municipality, users=users, who=who, purpose=purpose))
    if as_json:
        click.echo(json.dumps(drawn, ensure_ascii=True))
        return
    from sygefravaer.audit import one_line  # noqa: PLC0415

    again = f", drawn {drawn['drawn_at']} by {drawn['drawn_by']}" if drawn["again"] else ""
    click.echo(f"{len(drawn['rows'])} of {drawn['of']} look-ups{again}.")
    click.echo(f"NO CASE: no message about the citizen for that municipality {drawn['period']}.")
    cells = [
        ["" if row["case_seen"] else "NO CASE", *("" if row[n] is None else one_line(str(row[n])) for n in _SHOWN)]
        for row in drawn["rows"]
    ]
    click.echo("\n".join(table(["", *(name.upper() for name in _SHOWN)], cells)))


# --- work ---


async def _verified(config: Path | None, directory: Path, others: tuple[Path, ...]) -> dict[str, Any]:
    from sygefravaer import audit  # noqa: PLC0415  a part is large; `--help` is not
    from sygefravaer.delivery.evidence import unrecorded  # noqa: PLC0415

    async with platform(config, directory) as at:
        settings = auditing(at)
        witness = audit.read_witness(settings.anchor)
        for other in others:
            witness |= audit.read_witness(other)
        report = await audit.verify(
            at.store,
            key=audit.read_key(settings.key),
            anchors=witness.anchors,
            lost=witness.lost,
            evidence=unrecorded,
            watch=_say_how_far,
        )
    return report.plain()


def _say_how_far(read: int, of: int) -> None:
    if 0 < read < of:
        click.echo(f"{read} of {of} rows", err=True)


async def _searched(
    config: Path | None, directory: Path, person: str | None, asked: Mapping[str, Any], *, after: int, limit: int
) -> list[dict[str, Any]]:
    from sygefravaer import audit  # noqa: PLC0415

    async with platform(config, directory) as at:
        query, reader = await _asked(at, person, asked)
        users = bool(asked["users"])
        return await audit.search(at.store, at.vault, query, reader, limit=limit, after=after, users=users)


async def _exported(
    config: Path | None, directory: Path, person: str | None, asked: Mapping[str, Any], *, form: str, out: Path
) -> int:
    from sygefravaer import audit  # noqa: PLC0415

    async with platform(config, directory) as at:
        query, reader = await _asked(at, person, asked)
        with new_file(out) as file:
            return await audit.export(at.store, at.vault, query, reader, file, form=form, users=bool(asked["users"]))


async def _reported(
    config: Path | None, directory: Path, person: str, name: str, *, form: str, out: Path, who: str, purpose: str
) -> dict[str, Any]:
    from sygefravaer import agreements, audit  # noqa: PLC0415
    from sygefravaer.audit.printing import as_pdf  # noqa: PLC0415

    async with platform(config, directory) as at:
        asks = reader(at, who, purpose)
        with os.fdopen(new_handle(out), "wb") as file:
            async with at.store.read() as tx:
                systems = await agreements.system_names(tx)
            made = await audit.access_report(at.store, at.vault, person, asks, systems=systems, name=name)
            text = json.dumps(made.plain(), ensure_ascii=False, indent=1).encode() + b"\n"
            file.write(as_pdf(made) if form == "pdf" else text)
    return {"file": str(out), "report": str(made.number), "uses": len(made.uses)}


async def _sampled(
    config: Path | None,
    directory: Path,
    month: str,
    number: int,
    municipality: str | None,
    *,
    users: bool,
    who: str,
    purpose: str | None,
) -> dict[str, Any]:
    from sygefravaer import audit  # noqa: PLC0415
    from sygefravaer.delivery.evidence import heard_of  # noqa: PLC0415

    async with platform(config, directory) as at:
        drawn = await audit.sample(
            at.store,
            at.vault,
            audit.Month.of(month),
            reader(at, who, purpose),
            number=number,
            municipality=municipality,
            cases=heard_of,
            users=users,
        )
    return drawn.plain()


async def _asked(at: Platform, person: str | None, asked: Mapping[str, Any]) -> tuple[Any, Any]:
    """Make of the options what is looked for, and who looks; raises `UsageError`."""
    from sygefravaer import audit  # noqa: PLC0415
    from sygefravaer.contract.operations import OPERATIONS  # noqa: PLC0415

    event, thing = _event(asked["event"])
    operation = asked["operation"]
    if operation is not None and operation not in OPERATIONS:
        raise UsageError("OperationUnknown", f"The operation is none of {', '.join(OPERATIONS)}.")
    query = audit.Query(
        since=None if asked["since"] is None else instant(asked["since"]),
        until=until_of(asked["until"]),
        event=event,
        thing=thing,
        system=await at.system(asked["system"]),
        municipality=asked["municipality"],
        operation=operation,
        outcome=asked["outcome"],
        call_uuid=asked["call_uuid"],
        persons=() if person is None else at.vault.lookup_keys(person),
    )
    return query, reader(at, asked["who"], asked["purpose"])


def reader(at: Platform, who: str, purpose: str | None) -> Any:
    """Say who looks, and why; words with a citizen's number in them are refused."""
    from sygefravaer import audit  # noqa: PLC0415
    from sygefravaer.delivery.parked import check_words  # noqa: PLC0415

    check_words(who, "Who looks")
    if purpose is not None:
        check_words(purpose, "The purpose")
    return audit.Reader(who=who, purpose=purpose, now=at.now)


def auditing(at: Platform) -> Auditing:
    """Give where key and anchors lie; raises `UsageError` when this gateway seals nothing."""
    if at.audit is None:
        raise UsageError("SettingMissing", "`audit.key` and `audit.anchor` are missing: this gateway seals nothing.")
    return at.audit


def read_citizen() -> str:
    """Ask for a citizen's number, or read it from standard input; never from the arguments, which others can see."""
    from sygefravaer.contract.values import Cpr  # noqa: PLC0415

    try:
        return Cpr.parse(read_line("CprNummer", hidden=True).replace("-", "")).reveal()
    except Refused as error:
        raise UsageError("CprMalformed", "What was read is no personal number: ten digits, date first.") from error


def read_line(what: str, *, default: str | None = None, hidden: bool = False) -> str:
    """Ask for a line, or read it from standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return str(click.prompt(what, default=default, hide_input=hidden, show_default=False, err=True)).strip()


def new_file(path: Path) -> Any:
    """Open a new file that only its owner can read; raises `UsageError`."""
    return os.fdopen(new_handle(path), "w", encoding="utf-8", newline="")


def new_handle(path: Path) -> int:
    """Make a new file that only its owner can read; raises `UsageError`."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError("FileUnwritable", f"{path} cannot be made: {error.strerror}.") from error


def until_of(text: str | None) -> datetime | None:
    """Read until when: the end of a Danish day, or a time with its offset; raises `UsageError`."""
    from sygefravaer.law.calendar import danish_date, end_of_day  # noqa: PLC0415

    if text is None:
        return None
    told = instant(text)
    return end_of_day(danish_date(told)) if len(text) == len("2026-08-31") else told


def _event(text: str | None) -> tuple[Any, str | None]:
    from sygefravaer.audit import Event  # noqa: PLC0415

    if text is None:
        return None, None
    if text in {event.thing for event in Event}:
        return None, text
    try:
        return Event(text), None
    except ValueError as error:
        known = ", ".join(event.value for event in Event)
        raise UsageError("RecordEventUnknown", f"The event is none of {known}, and not what they are about.") from error

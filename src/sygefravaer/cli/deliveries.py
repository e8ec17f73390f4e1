# SPDX-License-Identifier: MPL-2.0
"""The commands on what the gateway carries: lists, the whole story of one message, replay by plan, discard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from sygefravaer.cli.frame import REFUSED, dir_option, example, json_option, table
from sygefravaer.cli.opening import config_option, plan_named, platform, who_option
from sygefravaer.errors import UsageError

STATUSES: Final = ("queued", "sending", "parked", "delivered", "refused", "discarded")
_UNDECIDED: Final = ("queued", "sending", "parked")

_municipality = click.option("--municipality", metavar="CVR", help="Only of this municipality.")
_recipient = click.option("--recipient", metavar="SYSTEM", help="Only for this system, by its id or name.")


@click.group()
@example(
    "sygefravaer deliveries list --by-cause",
    "sygefravaer deliveries replay --plan --cause 'no route'",
)
def deliveries() -> None:
    """
    See what the gateway carries, and decide about what is parked.

    The commands work on the gateway's database by its settings, beside it; a gateway that runs finds what was decided
    within a second.
    """


@deliveries.command("list")
@click.option("--parked", is_flag=True, help="Only what waits for a person.")
@click.option(
    "--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only in this state; repeatable."
)
@click.option("--by-cause", is_flag=True, help="What is parked, grouped by cause and receiving system.")
@_municipality
@_recipient
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most.")
@config_option
@dir_option
@json_option
@example(
    "sygefravaer deliveries list",
    "sygefravaer deliveries list --by-cause",
    "sygefravaer deliveries list --status refused --municipality 29189846 --json",
)
def list_(
    *,
    parked: bool,
    statuses: tuple[str, ...],
    by_cause: bool,
    municipality: str | None,
    recipient: str | None,
    limit: int,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """List messages, oldest first; without a choice those that have not ended."""
    wanted = ("parked",) if parked or by_cause else statuses or _UNDECIDED
    narrowed = {"municipality": municipality, "recipient": recipient}
    told = asyncio.run(_listed(config, directory, None if by_cause else wanted, narrowed, limit))
    if as_json:
        click.echo(json.dumps({"groups" if by_cause else "messages": told}, ensure_ascii=False))
    elif not told:
        click.echo("None.")
    elif by_cause:
        click.echo(columns(_GROUP, told))
    else:
        click.echo(columns(_MESSAGE, told))


@deliveries.command()
@click.argument("message", metavar="ID")
@config_option
@dir_option
@json_option
@example(
    "sygefravaer deliveries show 4711",
    "sygefravaer deliveries show 6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --json",
)
def show(message: str, *, config: Path | None, directory: Path, as_json: bool) -> None:
    """Tell the whole story of a message, by its number or its BeskedID."""
    told = asyncio.run(_shown(config, directory, _key(message)))
    if as_json:
        click.echo(json.dumps({"messages": told}, ensure_ascii=False))
    else:
        click.echo("\n\n".join("\n".join(_story(one)) for one in told))


@deliveries.command()
@click.option("--plan", "planning", is_flag=True, help="Show what a replay would do.")
@click.option("--run", "named", metavar="PLAN", help="Carry out this plan: its digest, or a file with its JSON.")
@click.option("--id", "ids", type=click.IntRange(1), multiple=True, help="This message; repeatable.")
@click.option("--cause", help="Everything parked for this cause, as `list --by-cause` names it.")
@_municipality
@_recipient
@click.option("--duplicates", is_flag=True, help="Also what may be had by the system it was for, and goes to another.")
@click.option("--who", metavar="NAME", help="Who carries it out, for the record; --run needs it.")
@config_option
@dir_option
@json_option
@example(
    "sygefravaer deliveries replay --plan --cause 'no route'",
    "sygefravaer deliveries replay --plan --id 4711 --id 4712 --json",
    "sygefravaer deliveries replay --run 5be3c1a09d2f --who drift",
)
def replay(
    *,
    planning: bool,
    named: str | None,
    ids: tuple[int, ...],
    cause: str | None,
    municipality: str | None,
    recipient: str | None,
    duplicates: bool,
    who: str | None,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Plan with --plan that parked messages go again, and let them with --run.

    They go to the system of today's route, each with what waits behind it, and begin anew: five days. The plan shows
    per lane what goes where, what waits, and what speaks against it: that somebody may have it already, that its case
    has ended, that its route leads elsewhere. --run does what was shown or, when that is not so any more, nothing.
    The exit code of --run is 1 when something stayed parked.
    """
    if planning == (named is not None):
        raise UsageError("OptionMissing", "Give either --plan or --run PLAN.")
    if named is None:
        if not (ids or cause or municipality or recipient):
            raise UsageError("OptionMissing", "--plan needs --id, --cause, --municipality or --recipient.")
        chosen = {
            "ids": tuple(sorted(set(ids))),
            "cause": cause,
            "municipality": municipality,
            "recipient": recipient,
            "duplicates": duplicates,
        }
        plan = asyncio.run(_planned(config, directory, chosen))
        click.echo(json.dumps(plan, ensure_ascii=False) if as_json else "\n".join(_plan(plan)))
        return
    if who is None:
        raise UsageError("OptionMissing", "--run needs --who: the record says who did it.")
    done = asyncio.run(_run(config, directory, named, who))
    if as_json:
        click.echo(json.dumps(done, ensure_ascii=False))
    else:
        click.echo(f"{len(done['replayed'])} go again, {len(done['moved'])} to another system.")
        for each in done["left"]:
            click.echo(f"{each['message_id']} stays parked: {each['why']}.")
    if done["left"]:
        raise SystemExit(REFUSED)


@deliveries.command()
@click.argument("message", metavar="ID")
@click.option("--reason", metavar="TEXT", required=True, help="Why, for the record.")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer deliveries discard 4711 --reason 'sent again by hand' --who drift")
def discard(message: str, *, reason: str, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    End a parked message for good, so that its lane goes on.

    Its sender gets FEJL G009 when he asks; until then that he must hear of it is an open matter.
    """
    number = asyncio.run(_discarded(config, directory, _key(message), reason, who))
    click.echo(json.dumps({"discarded": number}) if as_json else f"{number} is discarded; its sender must hear of it.")


# --- work ---


async def _listed(
    config: Path | None,
    directory: Path,
    statuses: Sequence[str] | None,
    narrowed: Mapping[str, str | None],
    limit: int,
) -> list[dict[str, Any]]:
    """List messages in these states; without states, the groups of what is parked."""
    from sygefravaer.contract.plain import to_plain  # noqa: PLC0415
    from sygefravaer.delivery import Parked, listing  # noqa: PLC0415
    from sygefravaer.lanes import Status  # noqa: PLC0415

    async with platform(config, directory) as at:
        municipality, system = narrowed["municipality"], await at.system(narrowed["recipient"])
        if statuses is None:
            parked = Parked(store=at.store, vault=at.vault, environment=at.environment)
            rows = await parked.groups(municipality=municipality, recipient=system)
        else:
            wanted = frozenset(Status(one) for one in statuses)
            rows = await listing.listed(
                at.store, statuses=wanted, municipality=municipality, recipient=system, limit=limit
            )
    return [to_plain(row) for row in rows]


async def _shown(config: Path | None, directory: Path, key: int | UUID) -> list[dict[str, Any]]:
    from sygefravaer.contract.plain import to_plain  # noqa: PLC0415
    from sygefravaer.delivery import listing  # noqa: PLC0415

    async with platform(config, directory) as at:
        return [to_plain(one) for one in await listing.shown(at.store, key)]


async def _planned(config: Path | None, directory: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    from sygefravaer.delivery import Parked, Selection  # noqa: PLC0415

    async with platform(config, directory) as at:
        selection = Selection(**{**chosen, "recipient": await at.system(chosen["recipient"])})
        parked = Parked(store=at.store, vault=at.vault, environment=at.environment)
        return (await parked.plan(selection, now=at.now)).plain()


async def _run(config: Path | None, directory: Path, named: str, who: str) -> dict[str, Any]:
    from sygefravaer.delivery import Parked, Selection  # noqa: PLC0415

    async with platform(config, directory) as at:
        digest, selection = await plan_named(at, named, "replay", "selection", Selection.of)
        parked = Parked(store=at.store, vault=at.vault, environment=at.environment)
        done = await parked.run(digest, selection, who=who, now=at.now)
    left = [{"message_id": number, "why": why} for number, why in done.left]
    return {"plan": digest, "replayed": list(done.replayed), "moved": list(done.moved), "left": left}


async def _discarded(config: Path | None, directory: Path, key: int | UUID, reason: str, who: str) -> int:
    from sygefravaer.delivery import Parked, listing  # noqa: PLC0415

    async with platform(config, directory) as at:
        number = key
        if isinstance(number, UUID):
            found = [one for one in await listing.shown(at.store, number) if one["status"] == "parked"]
            if len(found) != 1:
                raise UsageError("MessageAmbiguous", f"{len(found)} parked messages have this BeskedID; give a number.")
            number = int(found[0]["message_id"])
        parked = Parked(store=at.store, vault=at.vault, environment=at.environment)
        await parked.discard(number, who=who, reason=reason, now=at.now)
    return number


def _key(text: str) -> int | UUID:
    """Read a message's number or BeskedID; raises `UsageError`, which does not repeat what was given."""
    try:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)) else UUID(text)
    except ValueError as error:
        raise UsageError("MessageMalformed", "The ID is neither a message's number nor a BeskedID.") from error


# --- text ---

_GROUP: Final = ("messages", "municipalities", "lanes", "behind", "oldest", "name", "cause")
_MESSAGE: Final = ("message_id", "status", "accepted_at", "operation", "municipality_cvr", "besked_id", "detail")


def columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Write these fields of rows as a table."""
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    return "\n".join(table([name.upper() for name in names], cells))


def _story(told: Mapping[str, Any]) -> list[str]:
    lists = ("attempts", "answers", "debts", "moves", "replays")
    lines = [f"{name}: {value}" for name, value in told.items() if name not in lists and value not in {None, ""}]
    for name in lists:
        lines += [f"{name}:"] if told[name] else []
        lines += ["  " + ", ".join(f"{key} {value}" for key, value in one.items()) for one in told[name]]
    return lines


def _plan(plan: Mapping[str, Any]) -> list[str]:
    if not plan["steps"]:
        return ["Nothing that is parked fits."]
    lines = []
    for step in plan["steps"]:
        where = "" if step["held"] else f" to {step['goes_to']}"
        lines.append(
            f"{step['message_id']}  {step['act']}{where}: {step['operation']} of {step['municipality_cvr']}, "
            f"parked for `{step['cause']}`, {step['waits']} behind it"
        )
        if step["behind"]:
            rest = "" if len(step["behind"]) == step["waits"] else " ..."
            lines.append(f"    then {' '.join(map(str, step['behind']))}{rest}")
        if step["held"]:
            lines.append(f"    stays parked: {step['held']}")
        lines += [f"    {finding}" for finding in step["findings"]]
    counts = plan["counts"]
    lines.append(f"{counts['replay']} go again, {counts['move']} to another system, {counts['hold']} stay parked.")
    return [*lines, f"sygefravaer deliveries replay --run {plan['plan']} --who NAME"]

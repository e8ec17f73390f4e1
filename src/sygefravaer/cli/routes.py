# SPDX-License-Identifier: MPL-2.0
"""The commands on routes: which there are, what a change would move, and the change itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.cli.opening import config_option, plan_named, platform, who_option
from sygefravaer.contract.operations import Service

_DAY: Final = click.DateTime(["%Y-%m-%d"])
_COLUMNS: Final = ("service", "municipality", "valid_from", "valid_to", "name", "system", "url")
_KINDS: Final = (
    ("moves", "undelivered, and moves"),
    ("stays", "undelivered, and stays with the old system for now"),
    ("parked", "parked, for a person to decide"),
    ("conversations", "open conversations, which stay with the old system"),
)


@click.group()
@example("sygefravaer routes list", "sygefravaer routes list --municipality 29189846")
def routes() -> None:
    """
    See which system gets what goes to a municipality, and change it from a day on.

    The commands work on the gateway's database by its settings, beside it.
    """


@routes.command("list")
@click.option("--municipality", metavar="CVR", help="Only those that count for this municipality.")
@click.option("--service", type=click.Choice([one.value for one in Service]), help="Only of this service.")
@click.option("--on", type=_DAY, help="Only those of this day.")
@config_option
@dir_option
@json_option
@example("sygefravaer routes list", "sygefravaer routes list --on 2026-05-01 --json")
def list_(
    *,
    municipality: str | None,
    service: str | None,
    on: datetime | None,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """List the routes. Of several for a day a municipality's own goes before `*`, and then the one begun last."""
    told = asyncio.run(_listed(config, directory, municipality, service, on))
    click.echo(json.dumps({"routes": told}, ensure_ascii=False) if as_json else columns(_COLUMNS, told))


@routes.command()
@click.option(
    "--municipality", metavar="CVR", required=True, help="Whose route; * for all that have none of their own."
)
@click.option(
    "--service",
    type=click.Choice([one.value for one in Service]),
    default=Service.SYGEFRAVAER_JC.value,
    show_default=True,
    help="Of which service.",
)
@click.option("--to", "system", metavar="SYSTEM", required=True, help="The new system, by its id or name.")
@click.option("--from", "day", type=_DAY, required=True, help="The first day, in Denmark.")
@click.option("--url", help="Its address; by default where it gets this service already.")
@click.option(
    "--finish-days",
    type=click.IntRange(0, 365),
    help="For so many days the old system still gets what it may have; by default until it answers.",
)
@click.option(
    "--substitutes/--no-substitutes",
    "substitutes",
    default=None,
    help="Whether it takes substitute numbers; by default as now.",
)
@config_option
@dir_option
@json_option
@example("sygefravaer routes plan --municipality 29189846 --to aarhus --from 2026-05-01")
def plan(
    *,
    municipality: str,
    service: str,
    system: str,
    day: datetime,
    url: str | None,
    finish_days: int | None,
    substitutes: bool | None,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Show what would move and what would stay if a municipality's system changed on a day.

    It shows what is under way now; on the day itself each message follows by its own state: what the old system has
    surely not had goes to the new one, and what it may have goes on to it until it has answered.
    """
    asked = {
        "service": Service(service),
        "municipality": municipality,
        "system": system,
        "valid_from": day.date(),
        "url": url,
        "takes_substitute": substitutes,
        "finish_days": finish_days,
    }
    told = asyncio.run(_planned(config, directory, asked))
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(_plan(told)))


@routes.command("set")
@click.option("--run", "named", metavar="PLAN", required=True, help="The plan: its digest, or a file with its JSON.")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer routes set --run 5be3c1a09d2f --who drift")
def set_(named: str, *, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Make the change of a plan; nothing is done when the registers are not as the plan showed them."""
    told = asyncio.run(_set(config, directory, named, who))
    click.echo(json.dumps(told) if as_json else f"The route counts from {told['valid_from']} on.")


async def _listed(
    config: Path | None, directory: Path, municipality: str | None, service: str | None, on: datetime | None
) -> list[dict[str, Any]]:
    from sygefravaer.delivery import Routes  # noqa: PLC0415

    async with platform(config, directory) as at:
        return await Routes(store=at.store, vault=at.vault, environment=at.environment).listed(
            service=None if service is None else Service(service),
            municipality=municipality,
            on=None if on is None else on.date(),
        )


async def _planned(config: Path | None, directory: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    from sygefravaer.delivery import Routes  # noqa: PLC0415

    async with platform(config, directory) as at:
        kept = Routes(store=at.store, vault=at.vault, environment=at.environment)
        change = await kept.change(**asked, now=at.now)
        return (await kept.plan(change, now=at.now)).plain()


async def _set(config: Path | None, directory: Path, named: str, who: str) -> dict[str, str]:
    from sygefravaer.delivery import Change, Routes  # noqa: PLC0415

    async with platform(config, directory) as at:
        digest, change = await plan_named(at, named, "route", "change", Change.of)
        kept = Routes(store=at.store, vault=at.vault, environment=at.environment)
        route = await kept.set(digest, change, who=who, now=at.now)
    return {"route": str(route), "valid_from": change.valid_from.isoformat()}


def _plan(told: Mapping[str, Any]) -> list[str]:
    change = told["change"]
    lines = [
        f"{change['service']} of {change['municipality']} to {change['system_id']} from {change['valid_from']} on."
    ]
    for kind, text in _KINDS:
        found = told[kind]
        lines.append(f"{found['number']} {text}")
        lines += [f"    {each['message_id']} {each['operation']}: {each['why']}" for each in found["first"]]
        if found["number"] > len(found["first"]):
            lines.append(f"    and {found['number'] - len(found['first'])} more")
    lines += [f"Note: {warning}" for warning in told["warnings"]]
    return [*lines, f"sygefravaer routes set --run {told['plan']} --who NAME"]

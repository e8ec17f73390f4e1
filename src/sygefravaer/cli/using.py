# SPDX-License-Identifier: MPL-2.0
"""The commands on use: how many calls were made by whom for whom, and the limits that are told and stop nobody."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform, who_option
from sygefravaer.errors import UsageError

_DAY: Final = click.DateTime(["%Y-%m-%d"])
_BY: Final = ("day", "agreement", "system", "municipality", "service", "operation")


@click.group("usage")
@example("sygefravaer usage show --by municipality --by operation", "sygefravaer usage limits")
def usage_() -> None:
    """
    See how the services are used, and set limits (forbrugsloft) that are told by mail and stop nobody.

    The commands work on the gateway's database by its settings, beside it.
    """


@usage_.command()
@click.option("--from", "first", type=_DAY, help="The first day, in Denmark; by default that of this month.")
@click.option("--to", "last", type=_DAY, help="The last day; by default today.")
@click.option("--by", type=click.Choice(_BY), multiple=True, default=("day", "operation"), help="Told by; repeatable.")
@click.option("--municipality", metavar="CVR", help="Only for this municipality.")
@click.option("--system", metavar="SYSTEM", help="Only of this system, by its id or name.")
@click.option("--agreement", type=click.UUID, help="Only under this agreement.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="So many rows at most.")
@config_option
@dir_option
@json_option
@example("sygefravaer usage show", "sygefravaer usage show --from 2026-03-01 --by agreement --json")
def show(
    *,
    first: datetime | None,
    last: datetime | None,
    by: tuple[str, ...],
    municipality: str | None,
    system: str | None,
    agreement: UUID | None,
    limit: int,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Tell how many calls were made: admitted, repeated and refused, by Danish days.

    Counted from the record: `uncounted` says how many of its rows have not been read yet.
    """
    narrowed = {"municipality": municipality, "system": system, "agreement": agreement, "limit": limit}
    told = asyncio.run(_shown(config, directory, first, last, by, narrowed))
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(columns((*dict.fromkeys(by), "calls", "repeats", "refused", "price"), told["usage"]))
    if told["uncounted"]:
        click.echo(f"{told['uncounted']} rows of the record have not been counted yet.")


@usage_.command("limits")
@click.option("--municipality", metavar="CVR", help="Only of this municipality.")
@config_option
@dir_option
@json_option
@example("sygefravaer usage limits --json")
def limits_(*, municipality: str | None, config: Path | None, directory: Path, as_json: bool) -> None:
    """List the limits, with what has been used in the period that runs."""
    told = asyncio.run(_limits(config, directory, municipality))
    if as_json:
        click.echo(json.dumps({"limits": told}, ensure_ascii=False))
    else:
        click.echo(columns(("agreement", "municipality", "period", "calls", "limit", "reached"), told))


@usage_.command("limit")
@click.argument("agreement", type=click.UUID)
@click.option("--calls", type=click.IntRange(1), help="So many calls a period.")
@click.option("--period", type=click.Choice(["day", "month", "year"]), default="month", show_default=True)
@click.option("--none", "off", is_flag=True, help="Take the limit back.")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer usage limit 5b0c8c0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --calls 10000 --who drift")
def limit_(
    agreement: UUID,
    *,
    calls: int | None,
    period: str,
    off: bool,
    who: str,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Set the limit of an AGREEMENT: reaching it is told to the municipality once a period, and nothing is refused."""
    if off == (calls is not None):
        raise UsageError("OptionMissing", "Give either --calls N or --none.")
    asyncio.run(_set(config, directory, agreement, calls, period, who))
    told = {"agreement": str(agreement), "limit": calls, "period": None if off else period}
    click.echo(json.dumps(told) if as_json else "Done.")


async def _shown(  # noqa: PLR0917  as the options are
    config: Path | None,
    directory: Path,
    first: datetime | None,
    last: datetime | None,
    by: tuple[str, ...],
    narrowed: dict[str, Any],
) -> dict[str, Any]:
    from sygefravaer import usage  # noqa: PLC0415

    async with platform(config, directory) as at:
        begins, today = usage.month(at.now)
        asked = usage.Asked(
            first=first.date() if first else begins,
            last=last.date() if last else today,
            by=tuple(usage.By(one) for one in by),
            **{**narrowed, "system": await at.system(narrowed["system"])},
        )
        async with at.store.read() as tx:
            rows, uncounted = await usage.used(tx, asked), await usage.behind(tx)
    return {
        "from": asked.first.isoformat(),
        "to": asked.last.isoformat(),
        "usage": rows,
        "uncounted": uncounted,
    }


async def _limits(config: Path | None, directory: Path, municipality: str | None) -> list[dict[str, Any]]:
    from sygefravaer import usage  # noqa: PLC0415

    async with platform(config, directory) as at, at.store.read() as tx:
        return await usage.limits(tx, municipality=municipality, now=at.now)


async def _set(  # noqa: PLR0917  as the options are
    config: Path | None, directory: Path, agreement: UUID, calls: int | None, period: str, who: str
) -> None:
    from sygefravaer import usage  # noqa: PLC0415
    from sygefravaer.delivery.parked import check_words  # noqa: PLC0415

    check_words(who, "The name of who does it")
    async with platform(config, directory) as at, at.store.tx() as tx:
        if calls is None:
            await usage.unset_limit(tx, agreement, by=who, now=at.now)
        else:
            await usage.set_limit(tx, agreement, period=usage.Period(period), calls=calls, by=who, now=at.now)

# SPDX-License-Identifier: MPL-2.0
"""The commands on what is owed: business answers that have not come, and ends that a sender has not heard of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform, who_option

KINDS: Final = ("unanswered_sf2090", "unanswered_sf2093", "unheard")
_SHOWN: Final = ("message_id", "kind", "name", "municipality_cvr", "since", "due", "reminders", "besked_id")


@click.group()
@example("sygefravaer obligations list", "sygefravaer obligations tell 4711 --who drift")
def obligations() -> None:
    """
    See who owes what: business answers that have not come, and refusals that a sender has not heard of.

    The commands work on the gateway's database by its settings, beside it.
    """


@obligations.command("list")
@click.option("--owner", metavar="SYSTEM", help="Only of this system, by its id or name.")
@click.option("--municipality", metavar="CVR", help="Only of this municipality.")
@click.option("--kind", type=click.Choice(KINDS), help="Only of this kind.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most.")
@config_option
@dir_option
@json_option
@example("sygefravaer obligations list", "sygefravaer obligations list --municipality 29189846 --kind unheard --json")
def list_(
    *,
    owner: str | None,
    municipality: str | None,
    kind: str | None,
    limit: int,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """List what is owed, oldest first: by which system, since when, due when, and how often it was reminded."""
    told = asyncio.run(_listed(config, directory, owner, {"municipality": municipality, "limit": limit}, kind))
    if as_json:
        click.echo(json.dumps({"obligations": told}, ensure_ascii=False))
    else:
        click.echo(columns(_SHOWN, told) if told else "None.")


@obligations.command()
@click.argument("number", metavar="ID", type=click.IntRange(1))
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer obligations tell 4711 --who drift")
def tell(number: int, *, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Note that the sender of a message that was refused or discarded has been told, by the message's number."""
    asyncio.run(_told(config, directory, number, who))
    click.echo(json.dumps({"told": number}) if as_json else f"{number}: its sender has been told.")


async def _listed(
    config: Path | None, directory: Path, owner: str | None, narrowed: Mapping[str, Any], kind: str | None
) -> list[dict[str, Any]]:
    from sygefravaer.delivery import obligations as debts  # noqa: PLC0415  a part is large; `--help` is not

    async with platform(config, directory) as at:
        found = await debts.owed(
            at.store,
            owner=await at.system(owner),
            kind=None if kind is None else debts.Kind(kind),
            **narrowed,
        )
        return [one.plain(at.now) for one in found]


async def _told(config: Path | None, directory: Path, number: int, who: str) -> None:
    from sygefravaer.delivery import obligations as debts  # noqa: PLC0415
    from sygefravaer.delivery.parked import check_words  # noqa: PLC0415

    by = check_words(who, "The name of who does it")
    async with platform(config, directory) as at:
        await debts.tell(at.store, number, by=by, now=at.now)

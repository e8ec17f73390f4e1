# SPDX-License-Identifier: MPL-2.0
"""The commands on mails: which there are and what became of them, and sending one again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform, who_option

_COLUMNS: Final = ("mail", "status", "kind", "address", "created_at", "sent_at", "attempts", "failure", "subject")


@click.group()
@example("sygefravaer mail list", "sygefravaer mail resend 17 --who drift")
def mail() -> None:
    """
    See which mails (advis) were written, and let one go again.

    The commands work on the gateway's database by its settings, beside it; the gateway sends.
    """


@mail.command("list")
@click.option("--status", type=click.Choice(["queued", "sent", "failed"]), help="Only in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most.")
@config_option
@dir_option
@json_option
@example("sygefravaer mail list", "sygefravaer mail list --status failed --json")
def list_(*, status: str | None, limit: int, config: Path | None, directory: Path, as_json: bool) -> None:
    """List mails, the newest first."""
    told = asyncio.run(_listed(config, directory, status, limit))
    if as_json:
        click.echo(json.dumps({"mails": told}, ensure_ascii=False))
    else:
        click.echo(columns(_COLUMNS, told) if told else "None.")


@mail.command()
@click.argument("number", metavar="MAIL", type=click.IntRange(1))
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer mail resend 17 --who drift")
def resend(number: int, *, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Let a mail go again, also one that was sent; who asked for it is on record."""
    asyncio.run(_resent(config, directory, number, who))
    click.echo(json.dumps({"resent": number}) if as_json else f"{number} goes again.")


async def _listed(config: Path | None, directory: Path, status: str | None, limit: int) -> list[dict[str, Any]]:
    from sygefravaer.mail import Status, letters  # noqa: PLC0415

    async with platform(config, directory) as at, at.store.read() as tx:
        found = await letters(tx, status=None if status is None else Status(status), limit=limit)
    return [one.plain() for one in found]


async def _resent(config: Path | None, directory: Path, number: int, who: str) -> None:
    from sygefravaer.delivery.parked import check_words  # noqa: PLC0415
    from sygefravaer.mail import resend as again  # noqa: PLC0415

    check_words(who, "The name of who does it")
    async with platform(config, directory) as at, at.store.tx() as tx:
        await again(tx, number, by=who, now=at.now)

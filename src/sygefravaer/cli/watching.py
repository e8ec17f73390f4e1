# SPDX-License-Identifier: MPL-2.0
"""The command that tells how the service is and was, from the status record."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import REFUSED, dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform


@click.command()
@click.option(
    "--window",
    type=click.FloatRange(min=0.001, max=400 * 24),
    metavar="HOURS",
    default=30 * 24.0,
    show_default=True,
    help="Over how many hours up to now the availability is told.",
)
@config_option
@dir_option
@json_option
@example("sygefravaer status", "sygefravaer status --window 24 --json")
def status(*, window: float, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Tell how each service is and was: its state, availability and response times, who measured, and when.

    Times are the machine's. What nobody measured is told as unknown. The exit code is 1 when a service is not fully
    available, or nobody knows.
    """
    told = asyncio.run(_told(config, directory, timedelta(hours=window)))
    click.echo(json.dumps({"services": told}, ensure_ascii=False) if as_json else "\n\n".join(map(_text, told)))
    if any(one["tilstand"] != "Fuldt tilgængelig" for one in told):
        raise SystemExit(REFUSED)


async def _told(config: Path | None, directory: Path, window: timedelta) -> list[dict[str, Any]]:
    from sygefravaer.contract.operations import Service  # noqa: PLC0415
    from sygefravaer.status import service_status  # noqa: PLC0415

    now = datetime.now(UTC)
    async with platform(config, directory) as at, at.store.read() as tx:
        return [(await service_status(tx, one, now=now, window=window)).plain() for one in Service]


def _text(told: dict[str, Any]) -> str:
    answer = told["svartid"]["tekst"] if told["svartid"] else "ukendt"
    measured = f"{told['measured_at']} af {told['measured_by']}" if told["measured_at"] else "aldrig"
    lines = [
        f"{told['service']}: {told['tilstand']}",
        f"Oppetid {told['oppetid']}, svartid {answer}, målt {measured}",
        f"{told['known']} af {told['slots']} målinger i vinduet; ukendt: {told['unknown']}, nede: {told['down']}",
    ]
    rows = [
        {**one, **{name: one["svartid"] and one["svartid"][name] for name in ("p50", "p95", "p99")}}
        for one in told["operations"]
    ]
    if rows:
        lines.append(columns(("operation", "outcome", "code", "oppetid", "p50", "p95", "p99", "measured"), rows))
    return "\n".join(lines)

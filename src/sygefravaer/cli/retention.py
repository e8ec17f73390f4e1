# SPDX-License-Identifier: MPL-2.0
"""The command that deletes what is older than it may be, class by class, and proves it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from sygefravaer.cli.frame import dir_option, example, json_option, table
from sygefravaer.cli.opening import Opened, config_option, opened, who_option
from sygefravaer.config import Kind
from sygefravaer.errors import UsageError


@click.group()
@example("sygefravaer retention run --dry-run --who drift", "sygefravaer retention run --who drift")
def retention() -> None:
    """Delete what is older than the settings of a gateway or of KSD say (`retention`)."""


@retention.command()
@click.option("--dry-run", is_flag=True, help="Only show what would go, class by class.")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer retention run --dry-run --who drift", "sygefravaer retention run --who drift --config ksd.toml")
def run(*, dry_run: bool, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Delete bodies, then messages with their receipts, then rows of the record; of KSD its access log.

    Each batch is deleted together with the row of the record that proves it: how many, from when to when, and the
    digest of what is gone. The record is read whole before, and nothing of it is deleted when something is wrong.
    """
    told = asyncio.run(_run(config, directory, who, dry_run=dry_run))
    if as_json:
        click.echo(json.dumps(told))
        return
    rows = [[str(one[name] if one[name] is not None else "") for name in _SHOWN] for one in told["classes"]]
    click.echo("\n".join(table([name.upper() for name in _SHOWN], rows)))
    click.echo("Nothing was deleted." if dry_run else "This was deleted.")


_SHOWN = ("class", "days", "number", "first", "last")


async def _run(config: Path | None, directory: Path, who: str, *, dry_run: bool) -> dict[str, Any]:
    from sygefravaer.delivery.parked import check_words  # noqa: PLC0415  a part is large; `--help` is not

    check_words(who, "Who does it")
    async with opened(config, directory) as at:
        if at.kind is Kind.GATEWAY:
            classes = await _of_gateway(at, who, dry_run=dry_run)
        elif at.kind is Kind.KSD:
            classes = await _of_ksd(at, dry_run=dry_run)
        else:
            raise UsageError("SettingWrong", f"A {at.kind} has no retention; a gateway or a ksd was asked for.")
    return {"dry_run": dry_run, "classes": classes}


async def _of_gateway(at: Opened, who: str, *, dry_run: bool) -> list[dict[str, Any]]:
    from sygefravaer import audit  # noqa: PLC0415
    from sygefravaer.audit import retaining as record  # noqa: PLC0415
    from sygefravaer.delivery import retaining as messages  # noqa: PLC0415
    from sygefravaer.delivery.evidence import unrecorded  # noqa: PLC0415

    kept, sealing = at.settings.retention, at.settings.audit
    classes = []
    for what, days in (("bodies", kept.bodies), ("receipts", kept.receipts)):
        before = at.now - timedelta(days=days)
        classes.append((await messages.expired(at.store, what, before=before)).plain() | {"days": days})
        if not dry_run:
            await messages.delete(at.store, what, before=before, who=who, now=at.now)
    if sealing is None:  # what was never sealed has no chain that could go on
        return classes
    before = at.now - timedelta(days=kept.audit)
    found = await record.expired(at.store, before=before)
    classes.append(found.plain() | {"days": kept.audit})
    if found.number and not dry_run:
        key, witness = audit.read_key(sealing.key), audit.read_witness(sealing.anchor)
        report = await audit.verify(at.store, key=key, anchors=witness.anchors, lost=witness.lost, evidence=unrecorded)
        if report.findings:
            raise UsageError(
                "RecordBroken",
                f"{len(report.findings)} findings speak against the record; nothing of it was deleted.",
                try_this="`sygefravaer audit verify` names them.",
            )
        await record.cut(at.store, key=key, anchor=sealing.anchor, before=before, who=who, now=at.now)
    return classes


async def _of_ksd(at: Opened, *, dry_run: bool) -> list[dict[str, Any]]:
    from sygefravaer.ksd import retaining  # noqa: PLC0415

    days = at.settings.retention.access_log
    before = at.now - timedelta(days=days)
    found = (await retaining.expired(at.store, before=before)).plain() | {"days": days}
    if not dry_run:
        found["proofs"] = await retaining.delete(at.store, before=before)
    return [found]

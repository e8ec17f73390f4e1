# SPDX-License-Identifier: MPL-2.0
"""The commands on the keys of a part: which there are and what they seal, a new one, sealing anew, wrapping anew."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import dir_option, example, json_option, table
from sygefravaer.cli.opening import Opened, config_option, opened, who_option
from sygefravaer.config import Kind
from sygefravaer.errors import UsageError

_SETTLE: Final = 3.0  # seconds in which every process looks at its key file at least once


_settle = click.option(
    "--settle", type=click.FloatRange(min=0.0), default=_SETTLE, show_default=True, help="The pause, in seconds."
)


@click.group()
@example("sygefravaer keys list", "sygefravaer keys rotate --who drift")
def keys() -> None:
    """
    See and change the keys that seal what lies in a part's database.

    The commands work on the key file and the database that the part's settings name (`--config`; a gateway's, KSD's or
    a jobcentre's), while it runs. What is done to a gateway's keys is a row of its record.
    """


@keys.command("list")
@config_option
@dir_option
@json_option
@example("sygefravaer keys list", "sygefravaer keys list --config ksd.toml --json")
def list_(*, config: Path | None, directory: Path, as_json: bool) -> None:
    """List the sealing keys: which seals now, when each was made, and how many values it has sealed."""
    told = asyncio.run(_listed(config, directory))
    if as_json:
        click.echo(json.dumps(told))
        return
    rows = [
        [str(key["key"]), "seals" if key["current"] else "opens", key["made"], str(key["values"])]
        for key in told["keys"]
    ]
    click.echo("\n".join(table(["KEY", "DOES", "MADE", "VALUES"], rows)))
    click.echo(f"{told['lookups']} look-up keys. Opened by: {', '.join(told['opened_by'])}.")


@keys.command()
@click.option("--step", type=click.Choice(("add", "use")), help="Only this step; both, with a pause, by default.")
@click.option(
    "--settle", type=click.FloatRange(min=0.0), default=_SETTLE, show_default=True, help="The pause, in seconds."
)
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer keys rotate --who drift", "sygefravaer keys rotate --step add --who drift")
def rotate(*, step: str | None, settle: float, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Let a new key seal from now on.

    First it is only added, so that every running process can open with it; after the pause it seals. Where several
    machines have copies of the key file, do `--step add`, bring the copies up to date, and then `--step use`.
    """
    told = asyncio.run(_rotated(config, directory, step, settle, who))
    done = "seals from now on" if told["current"] == told["key"] else "is known, and does not seal yet"
    click.echo(json.dumps(told) if as_json else f"Key {told['key']} {done}.")


@keys.command()
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer keys reseal --who drift")
def reseal(*, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Seal with the current key what older ones have sealed, in batches, under traffic.

    What stands in the record keeps its key, since it is part of the chain. Begun again, it goes on with what is left.
    """
    told = asyncio.run(_resealed(config, directory, who))
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{told['sealed']} values are under key {told['key']} now, {told['unopened']} could not be opened.")
    for column, number in told["fixed"].items():
        click.echo(f"{column}: {number} values keep their key.")


@keys.command()
@click.argument("number", type=click.IntRange(1), metavar="KEY")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer keys retire 1 --who drift")
def retire(number: int, *, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Delete a key for good, if it does not seal and no value is sealed with it."""
    asyncio.run(_retired(config, directory, number, who))
    click.echo(json.dumps({"retired": number}) if as_json else f"Key {number} is deleted.")


@keys.command()
@click.option("--file", "file", type=click.Path(path_type=Path), help="Also for the key-encryption key in this file.")
@click.option("--command", "command", metavar="WORD", multiple=True, help="Or what this command writes; a word each.")
@click.option("--drop", is_flag=True, help="Keep only the one that the settings name.")
@who_option
@config_option
@dir_option
@json_option
@example(
    "sygefravaer keys rewrap --file kek.new --who drift",
    "sygefravaer keys rewrap --command kms-tool --command get --command kek7 --who drift",
    "sygefravaer keys rewrap --drop --who drift",
)
def rewrap(
    *,
    file: Path | None,
    command: tuple[str, ...],
    drop: bool,
    who: str,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Change the key-encryption key, which opens the key file, in two steps.

    First the keys are wrapped for the new one too; then the settings (`vault_key`) are changed, part by part; then
    `--drop` leaves only the new one. Keys that stood unwrapped so far are wrapped in the same way.
    """
    if (file is not None) + bool(command) + drop != 1:
        raise UsageError("OptionMissing", "Give one of --file, --command and --drop.")
    told = asyncio.run(_rewrapped(config, directory, file, command, drop=drop, who=who))
    click.echo(json.dumps(told) if as_json else f"Opened by: {', '.join(told['opened_by'])}.")


@keys.command()
@_settle
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer keys rehash --who drift")
def rehash(*, settle: float, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """
    Change a gateway's look-up key, by whose hash citizens are found, and give messages the new hash.

    Only while no message waits in a lane that such a hash names (those without NemrefusionsID and SagsID): order is
    kept by it. The older keys stay for the rows of the record, which keep their hash.
    """
    told = asyncio.run(_rehashed(config, directory, settle, who))
    text = (
        f"Look-up key {told['key']}: {told['changed']} messages have a new hash, {told['unread']} keep their old one."
    )
    click.echo(json.dumps(told) if as_json else text)


# --- work ---


async def _listed(config: Path | None, directory: Path) -> dict[str, Any]:
    async with opened(config, directory) as at:
        found, used = at.key_file.keys(), await _usage(at)
        return {
            "keys": [
                {
                    "key": number,
                    "current": number == found.current,
                    "made": found.made[number].isoformat(),
                    "values": sum(columns.values()),
                    "columns": columns,
                }
                for number in sorted(found.sealing)
                for columns in [{name: counts[number] for name, counts in used.items() if counts[number]}]
            ],
            "lookups": len(found.lookups),
            "opened_by": list(at.key_file.wrappings()),
        }


async def _usage(at: Opened) -> dict[str, Any]:
    from sygefravaer.store import usage  # noqa: PLC0415

    return {_name(column): counts for column, counts in (await usage(at.store, at.sealed)).items()}


def _name(column: Any) -> str:
    return f"{column.table}.{column.column}" if column.column.isidentifier() else f"{column.table}.purpose"


async def _rotated(config: Path | None, directory: Path, step: str | None, settle: float, who: str) -> dict[str, Any]:
    from sygefravaer.audit import Event  # noqa: PLC0415

    async with opened(config, directory) as at:
        file = at.key_file
        number = max(file.keys().sealing) if step == "use" else file.prepare(datetime.now(UTC))
        if step is None:
            await asyncio.sleep(settle)
        if step != "add":
            file.activate(number, datetime.now(UTC))
        current = file.keys().current
        await at.note(Event.KEY_ROTATED, who, key=number, current=current)
    return {"key": number, "current": current}


async def _resealed(config: Path | None, directory: Path, who: str) -> dict[str, Any]:
    from sygefravaer.audit import Event  # noqa: PLC0415
    from sygefravaer.store import Progress, reseal, usage  # noqa: PLC0415

    def told(progress: Progress) -> None:
        click.echo(
            f"{_name(progress.column)}: {progress.done} of {progress.of} blocks, {progress.sealed} values", err=True
        )

    async with opened(config, directory) as at:
        current = at.vault.current
        sealed = unopened = 0
        for column in at.sealed:
            if not column.fixed:
                end = await reseal(at.store, at.vault, column, told)
                sealed, unopened = sealed + end.sealed, unopened + end.unopened
        fixed = await usage(at.store, [column for column in at.sealed if column.fixed])
        await at.note(Event.KEY_RESEALED, who, key=current, values=sealed, unopened=unopened)
    kept = {_name(column): sum(counts.values()) - counts[current] for column, counts in fixed.items()}
    return {
        "key": current,
        "sealed": sealed,
        "unopened": unopened,
        "fixed": {name: number for name, number in kept.items() if number},
    }


async def _retired(config: Path | None, directory: Path, number: int, who: str) -> None:
    from sygefravaer.audit import Event  # noqa: PLC0415

    async with opened(config, directory) as at:
        used = {name: counts[number] for name, counts in (await _usage(at)).items() if counts[number]}
        if used:
            where = ", ".join(f"{count} in {name}" for name, count in used.items())
            raise UsageError(
                "KeyInUse", f"Key {number} has sealed values that are still there: {where}.", try_this="Reseal them."
            )
        at.key_file.retire(number, datetime.now(UTC))
        await at.note(Event.KEY_RETIRED, who, key=number)


async def _rewrapped(
    config: Path | None, directory: Path, file: Path | None, command: tuple[str, ...], *, drop: bool, who: str
) -> dict[str, Any]:
    from sygefravaer.audit import Event  # noqa: PLC0415
    from sygefravaer.vault import KeySource  # noqa: PLC0415

    async with opened(config, directory) as at:
        if drop:
            at.key_file.keep_only_own()
        else:
            at.key_file.rewrap(KeySource(file=file, command=command))
        names = list(at.key_file.wrappings())
        await at.note(Event.KEY_REWRAPPED, who, opened_by=names)
    return {"opened_by": names}


async def _rehashed(config: Path | None, directory: Path, settle: float, who: str) -> dict[str, Any]:
    from sygefravaer.audit import Event  # noqa: PLC0415
    from sygefravaer.delivery import rehashing  # noqa: PLC0415
    from sygefravaer.vault import Vault  # noqa: PLC0415

    async with opened(config, directory) as at:
        if at.kind is not Kind.GATEWAY:
            raise UsageError("SettingWrong", f"A {at.kind} has no messages to find by a hash; a gateway was asked for.")
        if waiting := await rehashing.open_on_cpr(at.store):
            raise UsageError("LanesOpen", f"{waiting} lanes that a citizen's hash names have messages that wait.")
        number = at.key_file.add_lookup()
        await asyncio.sleep(settle)
        vault = Vault.from_file(at.key_file.path, at.key_file.source)
        changed, unread = await rehashing.rehash(
            at.store, vault, now=at.now, told=lambda last: click.echo(f"messages to {last}", err=True)
        )
        await at.note(Event.KEY_REHASHED, who, key=number, messages=changed, unread=unread)
    return {"key": number, "changed": changed, "unread": unread}

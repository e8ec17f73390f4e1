# SPDX-License-Identifier: MPL-2.0
"""The commands on local accounts of the administration: made at the machine, by whoever may read its settings."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform, who_option
from sygefravaer.errors import Conflict, NotThere, Taken, UsageError

ROLES: Final = ("vendor", "municipality", "operator", "auditor")
_SHOWN: Final = ("login", "name", "cvr", "roles", "active", "account_id")

password_option = click.option(
    "--password-file",
    "password",
    type=click.Path(path_type=Path),
    required=True,
    help="The file with the password, 12 to 128 characters; - reads standard input.",
)


@click.group()
@example("sygefravaer accounts list", "sygefravaer accounts close anna --who drift")
def accounts() -> None:
    """
    Make, list and close the accounts with which people sign in to the administration.

    The commands work on the gateway's database by its settings, beside it. Accounts of people who sign in at a provider
    are made by that; these are for a sandbox, and for the first operators.
    """


@accounts.command()
@click.argument("login")
@click.option("--name", required=True, help="The person's name.")
@click.option("--cvr", required=True, help="The organisation for which the person acts.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, required=True, help="A role; repeatable.")
@click.option("--person", help="The same for all accounts of one person: four eyes go by it; by default the account.")
@password_option
@who_option
@config_option
@dir_option
@json_option
@example(
    "sygefravaer accounts add anna --name Anna --cvr 29189846 --role municipality --password-file anna.txt --who drift"
)
def add(
    login: str,
    *,
    name: str,
    cvr: str,
    roles: tuple[str, ...],
    person: str | None,
    password: Path,
    who: str,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Make an account for a person, with a LOGIN that nobody has yet."""
    given = {"login": login, "name": name, "cvr": cvr, "person": person, "password": _password(password)}
    account = asyncio.run(_add(config, directory, who, roles, given))
    click.echo(json.dumps({"account": str(account)}) if as_json else f"{login} may sign in.")


@accounts.command("list")
@config_option
@dir_option
@json_option
@example("sygefravaer accounts list", "sygefravaer accounts list --json")
def list_(*, config: Path | None, directory: Path, as_json: bool) -> None:
    """List the accounts, oldest first."""
    told = asyncio.run(_listed(config, directory))
    click.echo(json.dumps({"accounts": told}, default=str, ensure_ascii=False) if as_json else columns(_SHOWN, told))


@accounts.command()
@click.argument("login")
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer accounts close anna --who drift")
def close(login: str, *, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Close the account with this LOGIN: its sessions and tokens open nothing any more."""
    asyncio.run(_change(config, directory, login, who, {"active": False}))
    click.echo(json.dumps({"closed": login}) if as_json else f"{login} may not sign in any more.")


@accounts.command("password")
@click.argument("login")
@password_option
@who_option
@config_option
@dir_option
@json_option
@example("sygefravaer accounts password anna --password-file anna.txt --who drift")
def password_(login: str, *, password: Path, who: str, config: Path | None, directory: Path, as_json: bool) -> None:
    """Give the account with this LOGIN a new password, and open it; its sessions and tokens end."""
    asyncio.run(_change(config, directory, login, who, {"active": True, "password": _password(password)}))
    click.echo(json.dumps({"changed": login}) if as_json else f"{login} has a new password.")


def _password(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.readline().rstrip("\n")
    try:
        return path.read_text("utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("FileUnreadable", f"{path} cannot be read.") from error


async def _add(config: Path | None, directory: Path, who: str, roles: tuple[str, ...], given: dict[str, Any]) -> UUID:
    from sygefravaer.admin import accounts as kept  # noqa: PLC0415
    from sygefravaer.agreements import Actor  # noqa: PLC0415

    async with platform(config, directory) as at:
        try:
            async with at.store.tx() as tx:
                return await kept.add(
                    tx,
                    **given,
                    roles=frozenset(kept.Role(role) for role in roles),
                    by=Actor(user=who, organisation=""),
                    now=at.now,
                )
        except Conflict as error:
            raise Taken("An account has this login.") from error


async def _listed(config: Path | None, directory: Path) -> list[dict[str, Any]]:
    from sygefravaer.admin import accounts as kept  # noqa: PLC0415

    async with platform(config, directory) as at, at.store.read() as tx:
        return [asdict(one) | {"roles": list(one.roles)} for one in await kept.listed(tx)]


async def _change(config: Path | None, directory: Path, login: str, who: str, what: dict[str, Any]) -> None:
    from sygefravaer.admin import accounts as kept  # noqa: PLC0415
    from sygefravaer.agreements import Actor  # noqa: PLC0415

    async with platform(config, directory) as at, at.store.tx() as tx:
        found = next((one for one in await kept.listed(tx, limit=100_000) if one.login == login), None)
        if found is None:
            raise NotThere
        by = Actor(user=who, organisation="")
        await kept.change(tx, found.account_id, version=found.version, **what, by=by, now=at.now)

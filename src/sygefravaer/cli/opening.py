# SPDX-License-Identifier: MPL-2.0
"""A gateway's database and keys, opened beside it by its own settings: for what a person does there without a door."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from sygefravaer.config import Kind, load
from sygefravaer.errors import ActRefused, MigrationError, StoreError, UsageError

AskedT = TypeVar("AskedT")

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    help="The gateway's TOML file; by default that of the sandbox in --dir.",
)
who_option = click.option("--who", metavar="NAME", required=True, help="Who does it, for the record.")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a command works on, and what time it is for the gateway."""

    store: Any
    vault: Any
    environment: Any
    now: datetime

    async def system(self, named: str | None) -> UUID | None:
        """Find a system by its id or name; raises `UsageError`."""
        from sygefravaer import agreements  # noqa: PLC0415

        if named is None:
            return None
        async with self.store.read() as tx:
            return await agreements.system_named(tx, named, environment=self.environment)


@contextlib.asynccontextmanager
async def platform(config: Path | None, directory: Path) -> AsyncIterator[Platform]:
    """Open what the gateway's settings name; nothing is migrated here. Raises `UsageError`, `StoreError`."""
    from sygefravaer import app, delivery  # noqa: PLC0415  a part is large; `--help` is not
    from sygefravaer.contract.operations import Environment  # noqa: PLC0415
    from sygefravaer.sandbox.parts import Layout  # noqa: PLC0415
    from sygefravaer.store import Store  # noqa: PLC0415
    from sygefravaer.vault import Vault  # noqa: PLC0415

    path = config or Layout(directory).config(Kind.GATEWAY.value)
    settings = load(path)
    if settings.part is not Kind.GATEWAY:
        raise UsageError("SettingWrong", f"{path} is the configuration of a {settings.part}; a gateway was asked for.")
    database = app.given(settings.database, "database")
    vault = Vault.from_file(app.given(settings.vault, "vault"))
    store = Store(database.dsn, schema=database.schema, size=1)
    await store.open(timeout=app.CONNECT_SECONDS)
    try:
        await _check_version(store, len(delivery.MIGRATIONS))
        now = await _time(settings.control) or app.clock_of(settings).now()
        yield Platform(store=store, vault=vault, environment=Environment(settings.environment.value), now=now)
    finally:
        await store.close()


async def _check_version(store: Any, wanted: int) -> None:
    """Refuse a database that no gateway of this version has been at: this is not the place to change its tables."""
    try:
        async with store.read() as tx:
            row = await tx.one("SELECT max(number) AS number FROM migration WHERE room = 'delivery'")
    except StoreError as error:
        if error.retryable:
            raise
        row = None
    if row is None or (row["number"] or 0) < wanted:
        raise MigrationError("Start the gateway of this version first: it brings the database up to date.")


async def _time(control: Path | None) -> datetime | None:
    """Ask a gateway with a control door for its time, which may have been moved; None when it has none, or is down."""
    from sygefravaer.control import knock  # noqa: PLC0415

    if control is None:
        return None
    try:
        return datetime.fromisoformat((await knock(control, "health"))["now"])
    except ActRefused:
        return None


def read_plan(named: str, kind: str) -> Mapping[str, Any] | str:
    """Read what names a plan: the file that holds it, or its digest; raises `UsageError`."""
    path = Path(named)
    if not path.is_file():
        return named
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("PlanUnreadable", f"{path} cannot be read as a plan.") from error
    if not isinstance(told, dict) or told.get("kind") != kind or not isinstance(told.get("plan"), str):
        raise UsageError("PlanUnreadable", f"{path} holds no plan of a {kind}.")
    return told


async def plan_named(
    at: Platform, named: str, kind: str, asked: str, read: Callable[[Mapping[str, Any]], AskedT]
) -> tuple[str, AskedT]:
    """Find a plan by file or digest: its digest, and what it was asked for as `read` reads it; raises `UsageError`."""
    digest, plain = await _plan_named(at, named, kind, asked)
    try:
        return digest, read(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("PlanUnreadable", f"The plan of a {kind} does not say what was asked.") from error


async def _plan_named(at: Platform, named: str, kind: str, asked: str) -> tuple[str, Mapping[str, Any]]:
    from sygefravaer.delivery.parked import kept_plan  # noqa: PLC0415

    told = read_plan(named, kind)
    if not isinstance(told, str):
        return str(told["plan"]), told.get(asked, {})
    async with at.store.read() as tx:
        kept = await kept_plan(tx, told, kind)
    if kept is None:
        raise UsageError(
            "PlanUnknown",
            f"There is no file and no plan of a {kind} of this name.",
            try_this="Name the file that --json wrote, or the digest that the plan showed.",
        )
    return kept

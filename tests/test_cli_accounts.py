# SPDX-License-Identifier: MPL-2.0
"""Local accounts, made at the machine."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import pytest
from click.testing import CliRunner

from desk import VIBORG, Desk
from sygefravaer.app import PLATFORM
from sygefravaer.cli import cli
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault


@pytest.fixture
async def place(embedded, clock, tmp_path):
    """A gateway's settings, its store and its keys."""
    role, password = f"cli_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = await embedded.create_part(role, password)
    store = Store(dsn, schema=role, size=4)
    await store.open()
    await migrate(store, PLATFORM, now=clock.now())
    vault = Vault.create_file(tmp_path / "keys.json")
    (tmp_path / "gateway.toml").write_text(
        f'part = "gateway"\nvault = "keys.json"\n[database]\ndsn = "{dsn}"\nschema = "{role}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )
    (tmp_path / "long").write_text("a long enough password\n")
    (tmp_path / "short").write_text("short")
    yield tmp_path, store, vault
    await store.close()


async def test_an_account_is_made_used_closed_and_opened_again(place, clock):
    """A password comes from a file; wrong ones, a login that is there, and a stranger's CVR number are refused."""
    directory, store, vault = place

    async def run(*words: str, code: int = 0, typed: str | None = None) -> Any:
        line = ["accounts", *words, "--config", str(directory / "gateway.toml"), "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, line, typed)
        assert result.exit_code == code, result.output
        told = json.loads(result.stdout)
        return told["error"]["code"] if code else told

    long, short = str(directory / "long"), str(directory / "short")
    anna = ["add", "anna", "--name", "Anna", "--role", "municipality", "--who", "drift"]
    assert await run(*anna, "--cvr", VIBORG, "--password-file", short, code=2) == "PasswordWeak"
    assert await run(*anna, "--cvr", "12345674", "--password-file", long, code=2) == "NotAMunicipality"
    assert await run(*anna, "--cvr", "12345678", "--password-file", long, code=2) == "CvrWrong"
    assert await run(*anna, "--cvr", VIBORG, "--password-file", str(directory / "none"), code=2) == "FileUnreadable"
    made = await run(*anna, "--cvr", VIBORG, "--password-file", long)
    assert await run(*anna, "--cvr", VIBORG, "--password-file", long, code=1) == "Taken"
    (listed,) = (await run("list"))["accounts"]
    assert (listed["account_id"], listed["roles"], listed["active"]) == (made["account"], ["municipality"], True)
    assert "password" not in listed

    async with Desk(store, vault, clock) as desk:
        told, person = await desk.sign_in("anna", "a long enough password")
        assert told.status == 201
        await run("close", "anna", "--who", "drift")
        assert (await person("GET", "/session")).status == 401
        assert (await desk.sign_in("anna", "a long enough password"))[0].status == 401
        new = ["password", "anna", "--password-file", "-", "--who", "drift"]
        await run(*new, typed="another long password\n")
        assert (await desk.sign_in("anna", "another long password"))[0].status == 201
        assert await run("close", "nobody", "--who", "drift", code=1) == "NotThere"
        rows = await desk.record("event LIKE 'account.%%'")
    assert [row["event"] for row in rows] == ["account.added", "account.changed", "account.changed"]
    assert {row["detail"]["by"] for row in rows} == {"drift"}

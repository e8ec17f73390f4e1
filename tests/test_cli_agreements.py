# SPDX-License-Identifier: MPL-2.0
"""The administration by command: the API's rules, `--json`, exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from cryptography import x509

from desk import OPERATOR_CVR, PASSWORD, ROOMS, SETUP, VENDOR_CVR, VIBORG, Desk
from sygefravaer.admin.accounts import Role
from sygefravaer.agreements import organisations
from sygefravaer.cli import cli
from sygefravaer.contract.operations import Service


@pytest.fixture
async def desk(make_store, vault, clock, pki, tmp_path):
    """An administration, and a directory whose sandbox.json leads to it."""
    authorities = tuple(x509.load_pem_x509_certificates(Path(pki.ca).read_bytes()))
    async with Desk(await make_store(*ROOMS), vault, clock, authorities=authorities) as made:
        people = {
            "leverandoer": (Role.VENDOR, VENDOR_CVR),
            "kommune": (Role.MUNICIPALITY, VIBORG),
            "drift": (Role.OPERATOR, OPERATOR_CVR),
            "drift2": (Role.OPERATOR, OPERATOR_CVR),
        }
        for login, (role, cvr) in people.items():
            await made.add(login, role, cvr=cvr)
        async with made.office.store.tx() as tx:
            await organisations.add_organisation(tx, cvr=VENDOR_CVR, name="x", by=SETUP, now=clock.now())
        told = {
            "admin": made.server.url + "/",
            "accounts": [{"login": login, "password": PASSWORD} for login in people],
        }
        (tmp_path / "sandbox.json").write_text(json.dumps(told))
        made.directory = tmp_path
        yield made


async def run(desk, *words: str, who: str | None = None, code: int = 0) -> Any:
    """Run a command in a thread, since it has a loop of its own; give what --json says."""
    given = [*words, "--dir", str(desk.directory), "--json", *(("--as", who) if who else ())]
    result = await asyncio.to_thread(CliRunner().invoke, cli, given)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


async def test_an_agreement_comes_about_by_commands(desk, pki, tmp_path):
    """Registered, requested, refused with the checks, mended by two operators, approved, terminated."""
    made = await run(desk, "systems", "add", "Jobfag", "--cvr", VENDOR_CVR, who="leverandoer")
    system = made["system"]["system_id"]
    issued = pki.issue("by command", VENDOR_CVR)
    await run(desk, "certificates", "add", system, str(issued.certificate), who="leverandoer")
    async with desk.office.store.tx() as tx:
        await organisations.join_group(tx, UUID(system), "MONOPOLBRUD", by=SETUP, now=desk.office.clock.now())
    asked = ["--system", system, "--service", "Sygefravaer", "--municipality", VIBORG, "--from", "2026-03-02"]
    told = await run(desk, "agreements", "request", *asked, who="leverandoer", code=1)
    assert told["error"]["code"] == "PreflightFailed"
    assert "there is no route" in told["error"]["text"]
    (draft,) = (await run(desk, "agreements", "list", who="leverandoer"))["agreements"]
    assert draft["status"] == "draft"

    wish = {
        "route": {
            "service": Service.SYGEFRAVAER,
            "municipality": "*",
            "system": system,
            "valid_from": "2026-03-02",
            "url": "https://127.0.0.1:1/x",
        },
        "reason": "first",
    }
    (tmp_path / "wish.json").write_text(json.dumps(wish))
    proposal = (await run(desk, "proposals", "make", str(tmp_path / "wish.json"), who="drift"))["proposal"]
    same = await run(desk, "proposals", "confirm", proposal["proposal_id"], who="drift", code=1)
    assert same["error"]["code"] == "SamePerson"
    assert (await run(desk, "proposals", "confirm", proposal["proposal_id"], who="drift2"))["proposal"][
        "status"
    ] == "done"
    assert await run(desk, "proposals", "list", "--status", "open", who="drift") == {"proposals": []}

    checks = (await run(desk, "agreements", "check", draft["agreement_id"], who="leverandoer"))["checks"]
    assert all(check["passed"] for check in checks if check["blocking"])
    await run(desk, "agreements", "cancel", draft["agreement_id"], who="leverandoer")
    again = (await run(desk, "agreements", "request", *asked, who="leverandoer"))["agreement"]["agreement_id"]
    assert (await run(desk, "agreements", "approve", again, who="leverandoer", code=1))["error"]["code"] == "NotAllowed"
    assert (await run(desk, "agreements", "approve", again, who="kommune"))["agreement"]["status"] == "approved"
    ended = await run(desk, "agreements", "terminate", again, "--reason", "over", who="kommune")
    assert ended["agreement"]["reason"] == "over"

    (own,) = (await run(desk, "certificates", "list", system, who="leverandoer"))["certificates"]
    assert (await run(desk, "certificates", "ending", "--within", "0", who="drift"))["certificates"] == []
    await run(desk, "certificates", "withdraw", system, own["thumbprint"], who="leverandoer")
    async with desk.office.store.read() as tx:
        rows = await tx.all("SELECT kind FROM credential")
    assert rows == []  # each command signed out


async def test_another_administration_is_named_by_url_and_token(desk, tmp_path):
    """Without a token, with a wrong one, with nobody there: each its own error and exit code."""
    person = await desk.person("anna", Role.MUNICIPALITY, cvr=VIBORG)
    (tmp_path / "token").write_text(person.token + "\n")
    (tmp_path / "wrong").write_text("x")
    at = ["systems", "list", "--url", desk.server.url]
    assert await run(desk, *at, "--token-file", str(tmp_path / "token")) == {"systems": []}
    assert (await run(desk, *at, code=2))["error"]["code"] == "OptionMissing"
    assert (await run(desk, *at, "--token-file", str(tmp_path / "none"), code=2))["error"]["code"] == "FileUnreadable"
    assert (await run(desk, *at, "--token-file", str(tmp_path / "wrong"), code=1))["error"]["code"] == "NotSignedIn"
    nobody = ["systems", "list", "--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    assert (await run(desk, *nobody, code=3))["error"]["code"] == "Unreachable"
    assert (await run(desk, "systems", "list", who="nobody", code=2))["error"]["code"] == "LoginUnknown"
    shown = await asyncio.to_thread(CliRunner().invoke, cli, [*at, "--token-file", str(tmp_path / "token")])
    assert shown.output == "None.\n"

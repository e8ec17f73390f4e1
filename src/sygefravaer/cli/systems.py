# SPDX-License-Identifier: MPL-2.0
"""The commands on systems and their certificates, and on what takes two operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.desk import Desk, at_desk, desk_options
from sygefravaer.cli.frame import example
from sygefravaer.errors import UsageError

_SYSTEMS: Final = ("system_id", "name", "vendor_cvr", "role", "active", "display_groups")
_CERTIFICATES: Final = ("thumbprint", "name", "active", "not_after")
_ENDING: Final = ("system", "not_after", "days", "renewed", "agreements", "routes", "open_obligations")
_PROPOSALS: Final = ("proposal_id", "kind", "status", "name", "reason", "created_at")
_ID: Final = "6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11"


# --- systems ---


@click.group()
@example("sygefravaer systems list --as leverandoer")
def systems() -> None:
    """See and register systems, by the administration's API."""


@systems.command("list")
@desk_options
@example("sygefravaer systems list --as kommune --json")
def list_systems(**given: Any) -> None:
    """List the systems that one's organisation has to do with."""

    async def work(desk: Desk) -> Any:
        return await desk.all("/systems")

    at_desk(given, work, name="systems", shown=_SYSTEMS)


@systems.command("add")
@click.argument("name")
@click.option("--cvr", required=True, help="The vendor's CVR number: one's own.")
@click.option("--role", type=click.Choice(["jobcenter", "ksd", "other"]), default="jobcenter", show_default=True)
@desk_options
@example("sygefravaer systems add Jobfag --cvr 29189846 --as leverandoer")
def add_system(*, name: str, cvr: str, role: str, **given: Any) -> None:
    """Register a system called NAME."""

    async def work(desk: Desk) -> Any:
        return await desk.ask("POST", "/systems", {"name": name, "vendor_cvr": cvr, "role": role})

    at_desk(given, work, name="system")


# --- certificates ---


@click.group()
@example("sygefravaer certificates ending --as drift")
def certificates() -> None:
    """Register, list and withdraw the certificates of systems, by the administration's API."""


@certificates.command("list")
@click.argument("system", type=click.UUID)
@desk_options
@example(f"sygefravaer certificates list {_ID} --as leverandoer")
def list_certificates(*, system: Any, **given: Any) -> None:
    """List the certificates of SYSTEM, by its id."""

    async def work(desk: Desk) -> Any:
        return await desk.ask("GET", f"/systems/{system}/certificates")

    at_desk(given, work, name="certificates", shown=_CERTIFICATES)


@certificates.command("add")
@click.argument("system", type=click.UUID)
@click.argument("file", type=click.Path(path_type=Path))
@desk_options
@example(f"sygefravaer certificates add {_ID} jobfag.pem --as leverandoer")
def add_certificate(*, system: Any, file: Path, **given: Any) -> None:
    """Register the certificate in FILE (PEM) for SYSTEM; the one before it goes on opening."""
    try:
        pem = file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("FileUnreadable", f"{file} cannot be read.") from error

    async def work(desk: Desk) -> Any:
        return await desk.ask("POST", f"/systems/{system}/certificates", {"pem": pem})

    at_desk(given, work, name="certificate")


@certificates.command()
@click.argument("system", type=click.UUID)
@click.argument("thumbprint")
@desk_options
@example(f"sygefravaer certificates withdraw {_ID} {'0a' * 32} --as leverandoer")
def withdraw(*, system: Any, thumbprint: str, **given: Any) -> None:
    """Let the certificate with THUMBPRINT open nothing from the next call on."""

    async def work(desk: Desk) -> Any:
        return await desk.ask("DELETE", f"/systems/{system}/certificates/{thumbprint}")

    at_desk(given, work, name="withdrawn")


@certificates.command()
@click.option("--within", type=click.IntRange(0, 1000), default=30, show_default=True, help="So many days.")
@desk_options
@example("sygefravaer certificates ending --within 60 --as drift")
def ending(*, within: int, **given: Any) -> None:
    """List the certificates that end soon, and the agreements, routes and obligations that would stop."""

    async def work(desk: Desk) -> Any:
        return await desk.ask("GET", "/certificates/ending", query={"within_days": str(within)})

    at_desk(given, work, name="certificates", shown=_ENDING)


# --- proposals ---


@click.group()
@example("sygefravaer proposals list --as drift", f"sygefravaer proposals confirm {_ID} --as drift2")
def proposals() -> None:
    """See, make and confirm what takes two operators, by the administration's API."""


@proposals.command("list")
@click.option("--status", help="Only those that stand so: open, done, withdrawn, failed.")
@click.option("--alone", is_flag=True, help="Only those that somebody did without a second person.")
@desk_options
@example("sygefravaer proposals list --status open --as drift2")
def list_proposals(*, status: str | None, alone: bool, **given: Any) -> None:
    """List the proposals, oldest first."""
    query = ({"status": status} if status else {}) | ({"glass": "true"} if alone else {})

    async def work(desk: Desk) -> Any:
        return await desk.all("/proposals", query)

    at_desk(given, work, name="proposals", shown=_PROPOSALS)


@proposals.command()
@click.argument("file", type=click.Path(path_type=Path))
@desk_options
@example("sygefravaer proposals make route.json --as drift")
def make(*, file: Path, **given: Any) -> None:
    """Propose what FILE says: a route, a step with an agreement or a replay, and why, as the API takes it (JSON)."""
    try:
        asked = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("FileUnreadable", f"{file} cannot be read as JSON.") from error

    async def work(desk: Desk) -> Any:
        return await desk.ask("POST", "/proposals", asked)

    at_desk(given, work, name="proposal")


@proposals.command()
@click.argument("proposal", type=click.UUID)
@desk_options
@example(f"sygefravaer proposals confirm {_ID} --as drift2")
def confirm(*, proposal: Any, **given: Any) -> None:
    """Confirm PROPOSAL, which another person has made, as it stands now; it is done at once."""
    path = f"/proposals/{proposal}"

    async def work(desk: Desk) -> Any:
        return await desk.change("POST", path + "/confirm", path)

    at_desk(given, work, name="proposal")


@proposals.command("break-glass")
@click.argument("proposal", type=click.UUID)
@click.option("--reason", required=True, help="Why it cannot wait for a second person.")
@desk_options
@example(f'sygefravaer proposals break-glass {_ID} --reason "nobody else on duty" --as drift')
def break_glass(*, proposal: Any, reason: str, **given: Any) -> None:
    """Carry PROPOSAL out alone, in an emergency; the record says so by its own name."""
    path = f"/proposals/{proposal}"

    async def work(desk: Desk) -> Any:
        return await desk.change("POST", path + "/break-glass", path, {"reason": reason})

    at_desk(given, work, name="proposal")

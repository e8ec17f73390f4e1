# SPDX-License-Identifier: MPL-2.0
"""The commands on agreements: what a vendor asks for, and what a municipality decides."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import click

from sygefravaer.cli.desk import Desk, at_desk, desk_options
from sygefravaer.cli.frame import example
from sygefravaer.contract.operations import Service

_DAY: Final = click.DateTime(["%Y-%m-%d"])
_SHOWN: Final = ("agreement_id", "system", "service", "municipality_cvr", "phase", "valid_from", "valid_to")
_CHECKS: Final = ("name", "passed", "blocking", "found", "try_this")
reason_option = click.option("--reason", required=True, help="Why, for the other side and the record.")


@click.group()
@example("sygefravaer agreements list --as kommune", "sygefravaer agreements approve ID --as kommune")
def agreements() -> None:
    """
    Draft, request, approve, reject and terminate agreements, by the administration's API.

    What one may do is what one's account may.
    """


@agreements.command("list")
@click.option("--municipality", metavar="CVR", help="Only of this municipality.")
@click.option("--status", help="Only those that stand so: draft, requested, approved, and so on.")
@desk_options
@example(
    "sygefravaer agreements list --as kommune", "sygefravaer agreements list --status requested --as kommune --json"
)
def list_(*, municipality: str | None, status: str | None, **given: Any) -> None:
    """List the agreements that one may see, oldest first."""
    query = {name: value for name, value in (("municipality", municipality), ("status", status)) if value}

    async def work(desk: Desk) -> Any:
        return await desk.all("/agreements", query)

    at_desk(given, work, name="agreements", shown=_SHOWN)


@agreements.command()
@click.argument("agreement", type=click.UUID)
@desk_options
@example("sygefravaer agreements check 6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --as leverandoer")
def check(*, agreement: Any, **given: Any) -> None:
    """Say whether AGREEMENT could work as things stand: each check, and what to do."""

    async def work(desk: Desk) -> Any:
        return await desk.ask("GET", f"/agreements/{agreement}/preflight")

    at_desk(given, work, name="checks", shown=_CHECKS)


@agreements.command()
@click.option("--system", type=click.UUID, required=True, help="The system, of one's own.")
@click.option("--service", type=click.Choice([one.value for one in Service]), required=True, help="Which service.")
@click.option("--municipality", metavar="CVR", required=True, help="With which municipality.")
@click.option("--from", "first", type=_DAY, required=True, help="The first day, in Denmark.")
@click.option("--to", "last", type=_DAY, help="The last day; by default none.")
@click.option("--replaces", type=click.UUID, help="The agreement that this one changes; it stays in force meanwhile.")
@desk_options
@example(
    "sygefravaer agreements request --system 6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --service Sygefravaer"
    " --municipality 29189846 --from 2026-05-01 --as leverandoer"
)
def request(
    *,
    system: Any,
    service: str,
    municipality: str,
    first: datetime,
    last: datetime | None,
    replaces: Any,
    **given: Any,
) -> None:
    """Draft an agreement and put it to the municipality; what could not work stays a draft, and the checks say why."""
    asked = {
        "system": str(system),
        "service": service,
        "municipality": municipality,
        "valid_from": first.date().isoformat(),
        "valid_to": None if last is None else last.date().isoformat(),
        "replaces": replaces and str(replaces),
    }

    async def work(desk: Desk) -> Any:
        made = f"/agreements/{(await desk.ask('POST', '/agreements', asked))['agreement_id']}"
        return await desk.change("POST", made + "/request", made)

    at_desk(given, work, name="agreement")


def _step(name: str, text: str) -> None:
    """Make a command of a step without a reason."""

    @agreements.command(name)
    @click.argument("agreement", type=click.UUID)
    @desk_options
    def command(*, agreement: Any, **given: Any) -> None:
        path = f"/agreements/{agreement}"

        async def work(desk: Desk) -> Any:
            return await desk.change("POST", f"{path}/{name}", path)

        at_desk(given, work, name="agreement")

    _explain(command, name, text, "")


def _reasoned(name: str, text: str) -> None:
    """Make a command of a step that needs a reason."""

    @agreements.command(name)
    @click.argument("agreement", type=click.UUID)
    @reason_option
    @desk_options
    def command(*, agreement: Any, reason: str, **given: Any) -> None:
        path = f"/agreements/{agreement}"

        async def work(desk: Desk) -> Any:
            return await desk.change("POST", f"{path}/{name}", path, {"reason": reason})

        at_desk(given, work, name="agreement")

    _explain(command, name, text, ' --reason "another vendor"')


def _explain(command: click.Command, name: str, text: str, more: str) -> None:
    line = f"  sygefravaer agreements {name} 6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11{more} --as kommune"
    command.help = f"{text}\n\n\b\nExample:\n{line}\n"


_step("remind", "Let the municipality be told by mail again that AGREEMENT waits; once a day.")
_step("try", "Let a draft AGREEMENT begin as a trial in a test environment, where no municipality need approve.")
_step("cancel", "Take AGREEMENT back before it is decided; of one's own.")
_step("approve", "Approve AGREEMENT for one's municipality.")
_reasoned("reject", "Reject AGREEMENT for one's municipality.")
_reasoned("terminate", "End AGREEMENT: nothing new is accepted, and look-ups stop at once.")

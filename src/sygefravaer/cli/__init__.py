# SPDX-License-Identifier: MPL-2.0
"""
The command line: run a sandbox, serve one part, make one call.

Every error says what was found, what was wanted, who must act and what to try. Exit codes (`docs/commands.md`): 0 done,
1 refused, 2 used wrongly, 3 no answer, 4 the database failed, 70 a fault in this program, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click

from sygefravaer import __version__
from sygefravaer.cli.accounts import accounts
from sygefravaer.cli.acting import act
from sygefravaer.cli.agreements import agreements
from sygefravaer.cli.audit import audit_group
from sygefravaer.cli.deliveries import deliveries
from sygefravaer.cli.explaining import explain
from sygefravaer.cli.frame import REFUSED, Commands, dir_option, example, json_option, wants_json
from sygefravaer.cli.keys import keys
from sygefravaer.cli.mails import mail
from sygefravaer.cli.obligations import obligations
from sygefravaer.cli.retention import retention
from sygefravaer.cli.revoking import revocation
from sygefravaer.cli.routes import routes
from sygefravaer.cli.sandboxing import citizens, sandbox
from sygefravaer.cli.scenarios import scenario
from sygefravaer.cli.systems import certificates, proposals, systems
from sygefravaer.cli.timing import clock
from sygefravaer.cli.using import usage_
from sygefravaer.cli.watching import status
from sygefravaer.config import Kind, load
from sygefravaer.errors import UsageError


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sygefravaer")
@example("sygefravaer sandbox up", "sygefravaer call HentSagsListe")
def cli() -> None:
    """Sygefravaer 2.0: the exchange of sickness-benefit cases between KSD and the jobcentre systems."""


def main() -> None:
    """Run the command line of this process."""
    cli()


cli.add_command(sandbox)
cli.add_command(citizens)
cli.add_command(clock)
cli.add_command(act)
cli.add_command(scenario)
cli.add_command(deliveries)
cli.add_command(obligations)
cli.add_command(routes)
cli.add_command(explain)
cli.add_command(revocation)
cli.add_command(status)
cli.add_command(mail)
cli.add_command(usage_)
cli.add_command(audit_group)
cli.add_command(keys)
cli.add_command(retention)
cli.add_command(accounts)
cli.add_command(agreements)
cli.add_command(systems)
cli.add_command(certificates)
cli.add_command(proposals)


# --- serve ---


@cli.command()
@click.argument("part", type=click.Choice([kind.value for kind in Kind]))
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="The part's TOML file.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when the process that started this one ends.")
@example("sygefravaer serve gateway --config /etc/sygefravaer/gateway.toml")
def serve(part: str, path: Path, *, with_parent: bool) -> None:
    """
    Run one part until SIGTERM: gateway, admin, ksd, jobcenter or prober.

    The settings are described in docs/configuration.md. SIGTERM ends it in good order: what has begun is finished,
    what was claimed is handed back, and the exit code is 0.
    """
    config = load(path)
    if config.part != part:
        raise UsageError("SettingWrong", f"{path} is the configuration of a {config.part}; a {part} was asked for.")
    if config.codes is not None:  # before anything reads them
        from sygefravaer.contract import codes  # noqa: PLC0415

        codes.replace_unverified(config.codes)
    from sygefravaer import app  # noqa: PLC0415  a part is large; `--help` is not

    app.main(config, with_parent=with_parent)


# --- call ---


@cli.command()
@click.argument("operation")
@click.option("--cpr", metavar="NUMBER", help="The citizen; in a sandbox a citizen of the municipality, by default.")
@click.option("--municipality", metavar="CVR", help="On whose behalf; by default the system's own.")
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="A field, or Block/Field; repeatable.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="The request as JSON fields, or as XML.")
@click.option("--system", metavar="NAME", help="The sandbox's system that calls: viborg, aarhus or ksd.")
@dir_option
@click.option("--url", help="Another endpoint; needs --cert, --key, --ca, --system-id, --municipality and --cpr.")
@click.option("--cert", type=click.Path(path_type=Path), help="The client certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path), help="Its key (PEM).")
@click.option("--ca", type=click.Path(path_type=Path), help="Whom to trust (PEM).")
@click.option("--system-id", type=click.UUID, help="The caller's registered system.")
@click.option("--on-behalf-of", metavar="USER", help="The end user, for the record of look-ups.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="How long to send the same again while its receipt is G006.",
)
@click.option("--xml", "as_xml", is_flag=True, help="Print the answer as it came, CPR included.")
@click.option("--json", "as_json", is_flag=True, callback=wants_json, help="Print the answer as JSON, CPR included.")
@example(
    "sygefravaer call HentSagsListe",
    "sygefravaer call HentSag --field SagsID=6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11 --json",
    "sygefravaer call SendOpdateringFravaer --field Opdateringstype=STANDBY",
    "sygefravaer call SendOpdateringFravaer --file opdatering.json --system viborg",
)
def call(
    operation: str,
    *,
    cpr: str | None,
    municipality: str | None,
    fields: tuple[str, ...],
    file: Path | None,
    system: str | None,
    directory: Path,
    url: str | None,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    system_id: UUID | None,
    on_behalf_of: str | None,
    wait: float,
    as_xml: bool,
    as_json: bool,
) -> None:
    """
    Call one OPERATION of the service, and print the answer.

    OPERATION is HentSag, HentSagsListe, SendForretningsSvar, SendForretningsSvarForlaengelse, SendOpdateringFravaer,
    and for KSD SendHaendelseSygefravaerssag or SendAnmodningForlaengelse. Without --url it calls the sandbox in --dir.
    Header and contexts are filled in; fields are named as in the contract. Of a send also what is the sender's own to
    say is filled in unless it is given: new ids (OpdateringID, JobcentersagID, AnmodningID), today in Denmark
    (GyldigFra, VurderingsDato, HaendelsesDato, VisitationsDato, ModtagetTidspunkt), a JobcentersagStatus that fits the
    Opdateringstype, and MODTAGET for an answer. In a sandbox it is about a running case. A message that is stored but
    still under delivery (G006) is sent again, the same, each second: that is how a sender learns its end.

    The exit code is 0 for an answer or a positive receipt, 1 for a refusal, 3 when nobody answered.
    """
    from sygefravaer.cli import calling  # noqa: PLC0415

    row = calling.operation_named(operation)
    case = None
    if url is None:
        caller, case = calling.sandbox_caller(directory, row, system=system, municipality=municipality, cpr=cpr)
    else:
        if cert is None or key is None or ca is None or system_id is None or municipality is None:
            raise UsageError("OptionMissing", "--url needs --cert, --key, --ca, --system-id and --municipality.")
        caller = calling.Caller(
            url=url, certificate=cert, key=key, ca=ca, system_id=system_id, municipality_cvr=municipality
        )
    element = calling.request_element(row, caller, case, cpr=cpr, given=fields, file=file, on_behalf_of=on_behalf_of)
    answered = asyncio.run(calling.ask(caller, row, element, wait=wait))
    write = calling.as_xml if as_xml else calling.as_json if as_json else calling.as_text
    click.echo(write(answered))
    if answered.refused:
        raise SystemExit(REFUSED)


# --- codes ---


@cli.command("codes")
@click.argument("name", metavar="[LIST]", required=False)
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="Only the codes that may be used on this day.")
@json_option
@example("sygefravaer codes", "sygefravaer codes forlaengelseskoder --on 2026-03-02", "sygefravaer codes sagsarter")
def code_lists(name: str | None, *, on: datetime | None, as_json: bool) -> None:
    """
    Show the code lists, or every code of one LIST: text, days of use, group, follow-on.

    The columns are those of the data: `gyldigFra` and `gyldigTil` are the first and the last day a code may be used,
    `gruppe` and `foelge` its group and what follows on it, `sikkerhed` says whether it is a fact, an inference,
    unverified or our own.
    """
    from sygefravaer.cli import codes  # noqa: PLC0415

    day = None if on is None else on.date()
    if name is None:
        lists = codes.overview(day)
        told: object = {"lists": [{"list": each.name, "codes": len(each.rows)} for each in lists]}
        text = codes.overview_text(lists)
    else:
        chosen = codes.found(name, day)
        told, text = codes.as_plain(chosen), codes.list_text(chosen)
    click.echo(json.dumps(told, ensure_ascii=False, indent=1) if as_json else text)

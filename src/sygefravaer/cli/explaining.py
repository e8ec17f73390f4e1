# SPDX-License-Identifier: MPL-2.0
"""The commands that say why: whether a call would pass, and where a message would go."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from sygefravaer.cli.frame import REFUSED, dir_option, example, json_option
from sygefravaer.cli.opening import config_option, platform
from sygefravaer.config import Config
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.errors import Party, UsageError

_AT: Final = click.option("--at", metavar="TIME", help="At which time: a day, or a time with its offset; now.")
_THUMBPRINT: Final = re.compile(r"(?:[0-9a-f]{2}:?){31}[0-9a-f]{2}")


@click.group()
@example(
    "sygefravaer explain access --certificate viborg.pem --municipality 29189846 --operation HentSag",
    "sygefravaer explain route --municipality 29189846",
)
def explain() -> None:
    """
    Say why a call would pass or be refused, and why a message would go where it goes.

    The commands work on the gateway's registers as they are now, beside it, and change nothing.
    """


@explain.command()
@click.option("--certificate", required=True, metavar="FILE|THUMBPRINT", help="A PEM or DER file, or SHA-256 in hex.")
@click.option("--municipality", required=True, metavar="CVR", help="On whose behalf.")
@click.option("--operation", required=True, metavar="NAME", help="Which of the seven operations.")
@_AT
@config_option
@dir_option
@json_option
@example(
    "sygefravaer explain access --certificate viborg.pem --municipality 29189846 --operation HentSag",
    "sygefravaer explain access --certificate viborg.pem --municipality 29189846 --operation HentSag"
    " --at 2026-05-01T00:00+02:00 --json",
)
def access(
    *,
    certificate: str,
    municipality: str,
    operation: str,
    at: str | None,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """
    Say whether a call with this certificate, for this municipality, of this operation would pass.

    Every rule up to the one that decided, what nearly matched, and who must do what. It is the very decision that the
    gateway makes. The exit code is 1 when the call would be refused.
    """
    told = asyncio.run(_access(config, directory, certificate, municipality, operation, _time(at)))
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(_access_text(told)))
    if not told["allowed"]:
        raise SystemExit(REFUSED)


@explain.command()
@click.option("--municipality", required=True, metavar="CVR", help="Whose messages.")
@click.option(
    "--service",
    type=click.Choice([one.value for one in Service]),
    default=Service.SYGEFRAVAER_JC.value,
    show_default=True,
    help="Of which service.",
)
@_AT
@config_option
@dir_option
@json_option
@example(
    "sygefravaer explain route --municipality 29189846",
    "sygefravaer explain route --municipality 29189846 --service Sygefravaer --at 2026-05-01 --json",
)
def route(
    *, municipality: str, service: str, at: str | None, config: Path | None, directory: Path, as_json: bool
) -> None:
    """
    Say which route counts for a municipality, and why each other one does not.

    The exit code is 1 when there is none.
    """
    told = asyncio.run(_route(config, directory, municipality, Service(service), _time(at)))
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(_route_text(told)))
    if told["route"] is None:
        raise SystemExit(REFUSED)


async def _access(  # noqa: PLR0917  as the options are
    config: Path | None, directory: Path, certificate: str, municipality: str, operation: str, at: datetime | None
) -> dict[str, Any]:
    from sygefravaer import agreements  # noqa: PLC0415

    _check_municipality(municipality)
    if operation not in OPERATIONS:
        raise UsageError("OperationUnknown", f"The operations are {', '.join(OPERATIONS)}.")
    thumbprint = certificate.lower()
    named = _THUMBPRINT.fullmatch(thumbprint) is not None
    identity = None if named else _identity(Path(certificate))
    async with platform(config, directory) as open_, open_.store.read() as tx:
        presented: Any = identity
        if presented is None:
            thumbprint = thumbprint.replace(":", "")
            presented = await agreements.registered(
                tx, environment=open_.environment, thumbprint=thumbprint
            ) or agreements.Registered(issuer="", serial_key="", thumbprint=thumbprint)
        told = await agreements.explain_access(
            tx,
            presented,
            environment=open_.environment,
            operation=OPERATIONS[operation],
            municipality_cvr=municipality,
            now=at or open_.now,
            before=() if identity is None else _standing(open_.settings, identity),
        )
    return told.plain()


def _standing(settings: Config, identity: Any) -> tuple[Any, ...]:
    """Judge whether a certificate is revoked by what the part has fetched, if it fetches anything."""
    from sygefravaer import agreements, app  # noqa: PLC0415
    from sygefravaer.revocation import Standing  # noqa: PLC0415

    watch = app.revocation_watch(settings)
    if watch is None:
        return ()
    standing = watch.standing(identity)
    passed = standing is Standing.GOOD or (standing is Standing.UNKNOWN and watch.admit_unknown)
    remedy = None
    if standing is Standing.REVOKED:
        remedy = agreements.Remedy(who=Party.CALLER, what="The vendor gets a new certificate, and registers it.")
    elif not passed:
        remedy = agreements.Remedy(
            who=Party.OPERATOR, what="The operator sees with `sygefravaer revocation` which list or answer is missing."
        )
    rule = "the certificate is known not to be revoked"
    return (agreements.Step(number=0, rule=rule, found=standing.value, passed=passed, remedy=remedy),)


async def _route(
    config: Path | None, directory: Path, municipality: str, service: Service, at: datetime | None
) -> dict[str, Any]:
    from sygefravaer import agreements  # noqa: PLC0415

    _check_municipality(municipality)
    async with platform(config, directory) as open_, open_.store.read() as tx:
        told = await agreements.explain_route(
            tx,
            environment=open_.environment,
            service=service,
            municipality_cvr=municipality,
            now=at or open_.now,
        )
    return {"municipality": municipality, "service": service.value, **told.plain()}


def _check_municipality(cvr: str) -> None:
    if cvr not in MUNICIPALITIES:
        raise UsageError("NotAMunicipality", "The CVR number does not belong to one of the 98 municipalities.")


def _identity(path: Path) -> Any:
    """Read the first certificate of a file."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    from sygefravaer.identity import from_der  # noqa: PLC0415

    try:
        content = path.read_bytes()
        pem = b"-----BEGIN CERTIFICATE-----" in content
        der = x509.load_pem_x509_certificates(content)[0].public_bytes(Encoding.DER) if pem else content
        x509.load_der_x509_certificate(der)
    except OSError as error:
        raise UsageError("FileUnreadable", f"{path} could not be read ({error.strerror}).") from error
    except ValueError as error:
        raise UsageError(
            "CertificateMalformed",
            f"{path} holds no certificate in PEM or DER.",
            try_this="Give a certificate's file, or its SHA-256 thumbprint: 64 hexadecimal digits.",
        ) from error
    return from_der(der)


def _time(text: str | None) -> datetime | None:
    """Read a time with its offset, or a day: its noon in Denmark."""
    from sygefravaer.agreements import DENMARK, YEARS  # noqa: PLC0415

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError("DateMalformed", "--at is neither a day (2026-08-31) nor a time with its offset.") from error
    if found.tzinfo is None:
        if "T" in text or " " in text:
            raise UsageError("DateMalformed", "--at is a time without its offset.", try_this="Write ...T12:00+02:00.")
        found = found.replace(hour=12, tzinfo=DENMARK)
    if found.year not in YEARS:
        raise UsageError("DateMalformed", "--at is not in a year that agreements and routes can be about.")
    return found


def _access_text(told: dict[str, Any]) -> list[str]:
    lines = []
    for step in told["steps"]:
        lines.append(f"{step['number']}. {step['rule']}: {'yes' if step['passed'] else 'no'} ({step['found']})")
        lines += [f"    near: {one}" for one in step["near"]]
        lines += [f"    do:   {step['do']}"] if step["do"] else []
    if told["repeats_get_their_receipt"]:
        lines.append("A repeat of a message that was accepted before still gets its receipt.")
    return [*lines, "The call would pass." if told["allowed"] else f"The call would be refused: {told['code']}."]


def _route_text(told: dict[str, Any]) -> list[str]:
    lines = [
        f"{one['verdict']}: {one['name']} at {one['url']}, {one['valid_from']} to {one['valid_to'] or 'further notice'}"
        f" ({one['why']})"
        for one in told["candidates"]
    ]
    if told["route"] is None:
        return [*lines, f"There is no route on {told['on']}.", f"do: {told['do']}"]
    return lines

# SPDX-License-Identifier: MPL-2.0
"""The command that says how fresh a part's knowledge of revoked certificates is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sygefravaer.cli.deliveries import columns
from sygefravaer.cli.frame import REFUSED, example, json_option
from sygefravaer.config import load
from sygefravaer.errors import UsageError


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The part's TOML file.")
@json_option
@example("sygefravaer revocation --config gateway.toml", "sygefravaer revocation --config gateway.toml --json")
def revocation(config: Path, *, as_json: bool) -> None:
    """
    Show how fresh a part's revocation lists and OCSP answers are, as it last wrote down.

    The exit code is 1 when something is missing or expired: then the calls that need it are refused.
    """
    from sygefravaer.revocation import read_state  # noqa: PLC0415

    settings = load(config)
    if settings.revocation is None:
        raise UsageError("SettingMissing", f"The setting `revocation` is missing in {config}.")
    told = read_state(settings.revocation.cache)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        rows = [{"what": "list", **one} for one in told["lists"]]
        rows += [{"what": one["thumbprint"][:16], **one} for one in told["certificates"]]
        click.echo(columns(("what", "standing", "revoked", "until", "fetched_at", "failure", "url"), rows))
        click.echo(f"As of {told['at']}. What is unknown is {told['unknown_is']}.")
    if any(one["standing"] != "current" for one in (*told["lists"], *told["certificates"])):
        raise SystemExit(REFUSED)

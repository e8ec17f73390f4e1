# SPDX-License-Identifier: MPL-2.0
"""Making the office from the settings of an admin part."""

from __future__ import annotations

from cryptography import x509

from sygefravaer.admin.office import Office
from sygefravaer.client import client_tls
from sygefravaer.clock import Clock
from sygefravaer.config import Config
from sygefravaer.contract.operations import Environment
from sygefravaer.errors import UsageError
from sygefravaer.store import Store
from sygefravaer.vault import Vault


async def office_for(config: Config, store: Store, vault: Vault, clock: Clock) -> Office:
    """Make the office; raises `UsageError` when a file that the settings name cannot be used."""
    client = config.client
    return Office(
        store=store,
        vault=vault,
        clock=clock,
        environment=Environment(config.environment.value),
        tls=None if client is None else client_tls(client.certificate, client.key, client.ca),
        authorities=_authorities(config),
        login=config.login,
    )


def _authorities(config: Config) -> tuple[x509.Certificate, ...]:
    path = config.authorities
    if path is None:
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UsageError("AuthoritiesUnreadable", f"{path} cannot be read as certificates in PEM.") from error

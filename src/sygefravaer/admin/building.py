# SPDX-License-Identifier: MPL-2.0
"""Making the office from the settings of an admin part."""

from __future__ import annotations

from typing import Final

from cryptography import x509

from sygefravaer.admin.office import Office
from sygefravaer.admin.provider import Provider
from sygefravaer.agreements import Actor, organisations
from sygefravaer.client import client_tls
from sygefravaer.clock import Clock
from sygefravaer.config import Config
from sygefravaer.contract.operations import Environment
from sygefravaer.errors import UsageError
from sygefravaer.store import Store
from sygefravaer.vault import Vault

ITSELF: Final = Actor(user="administration", organisation="")
"""Who does what is done at the first start."""


async def office_for(config: Config, store: Store, vault: Vault, clock: Clock) -> Office:
    """Make the office, and let the municipalities be there; raises `UsageError` when a file cannot be used."""
    async with store.tx() as tx:
        await organisations.ensure_municipalities(tx, by=ITSELF, now=clock.now())
    client = config.client
    return Office(
        store=store,
        vault=vault,
        clock=clock,
        environment=Environment(config.environment.value),
        tls=None if client is None else client_tls(client.certificate, client.key, client.ca),
        authorities=_authorities(config),
        provider=_provider(config),
        gateway=config.gateway_url,
        revocation=None if config.revocation is None else config.revocation.cache,
        record=config.audit,
    )


def _provider(config: Config) -> Provider | None:
    login = config.login
    if login is None:
        return None
    secret = None
    if login.secret is not None:
        try:
            mode, secret = login.secret.stat().st_mode, login.secret.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("LoginSecretUnreadable", f"{login.secret} cannot be read.") from error
        if mode & 0o077:
            raise UsageError("LoginSecretUnreadable", f"{login.secret} can be read by others; mode 600 was wanted.")
    return Provider(login, secret)


def _authorities(config: Config) -> tuple[x509.Certificate, ...]:
    path = config.authorities
    if path is None:
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UsageError("AuthoritiesUnreadable", f"{path} cannot be read as certificates in PEM.") from error

# SPDX-License-Identifier: MPL-2.0
"""What a part opens: its settings, vault, certificate and database, and what it knows of revocation."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from sygefravaer.app.rooms import Rooms
from sygefravaer.client import client_tls
from sygefravaer.config import Config, Database, Unknown
from sygefravaer.endpoint import Peers
from sygefravaer.errors import StoreUnavailable, UsageError
from sygefravaer.revocation import Revocation, read_authorities
from sygefravaer.store import Store, migrate
from sygefravaer.vault import KeySource, Vault

LOG: Final = logging.getLogger(__name__)
CONNECT_SECONDS: Final = 10.0  # one attempt to reach the database: three hosts of which two swallow packets
RETRY_SECONDS: Final = 1.0
CRL_SECONDS: Final = 5.0  # a certificate that is revoked is refused within this time

SettingT = TypeVar("SettingT")


def given(setting: SettingT | None, name: str) -> SettingT:
    """Give a setting that this part cannot do without; raises UsageError."""
    if setting is None:
        raise UsageError("SettingMissing", f"The setting `{name}` is missing, and this part needs it.")
    return setting


def key_source(config: Config) -> KeySource:
    """Give where the key comes from that opens the vault."""
    told = config.vault_key
    return KeySource() if told is None else KeySource(file=told.file, command=told.command)


def open_vault(config: Config) -> Vault:
    """Open the vault that the settings name."""
    return Vault.from_file(given(config.vault, "vault"), key_source(config))


def own_tls(config: Config) -> ssl.SSLContext:
    """Make what the part shows and trusts when it calls somebody."""
    client = given(config.client, "client")
    return client_tls(client.certificate, client.key, client.ca)


async def open_store(database: Database, rooms: Rooms, *, now: datetime) -> Store:
    """Reach the database, waiting for it if it is away, and bring the schema up to date."""
    loop = asyncio.get_running_loop()
    end = loop.time() + database.wait
    while True:
        store = Store(database.dsn, schema=database.schema, size=database.pool)
        try:
            await store.open(timeout=max(0.1, min(CONNECT_SECONDS, end - loop.time())))
            break
        except StoreUnavailable:
            await store.close()
            if loop.time() + RETRY_SECONDS > end:
                raise
            LOG.warning("database.away", extra={"schema": database.schema, "seconds_left": round(end - loop.time())})
            await asyncio.sleep(RETRY_SECONDS)
    try:
        done = await migrate(store, rooms, now=now)
    except BaseException:
        await store.close()
        raise
    if done:
        LOG.info("database.migrated", extra={"schema": database.schema, "migrations": done})
    return store


def revocation_watch(config: Config) -> Revocation | None:
    """Build what knows which certificates are revoked, with what an earlier process has kept; None: not asked for."""
    wanted = config.revocation
    if wanted is None:
        return None
    made = Revocation(
        authorities=read_authorities(given(config.listen.ca, "listen.ca")),
        cache=wanted.cache,
        lists=wanted.lists,
        responders=wanted.responders,
        every=wanted.every,
        patience=wanted.timeout,
        admit_unknown=wanted.unknown is Unknown.ADMIT,
    )
    made.load()
    return made


async def watch(peers: Peers, crl: Path) -> None:
    """Read a revocation list again whenever its file has changed; one that cannot be read changes nothing."""
    read = _changed_at(crl)
    while True:
        await asyncio.sleep(CRL_SECONDS)
        if (changed := _changed_at(crl)) == read:
            continue
        read = changed
        try:
            await asyncio.to_thread(peers.reload, [crl])
            LOG.info("crl.read", extra={"revoked": len(peers.revoked)})
        except UsageError as error:
            LOG.warning("crl.unreadable", extra={"code": error.code})


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None

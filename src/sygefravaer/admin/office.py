# SPDX-License-Identifier: MPL-2.0
"""What every endpoint of the administration works with."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, cast

from cryptography import x509
from fastapi import Depends, Request

from sygefravaer.admin.provider import Provider
from sygefravaer.clock import Clock
from sygefravaer.config import Auditing
from sygefravaer.contract.operations import Environment
from sygefravaer.store import Store
from sygefravaer.vault import Vault


def machine_time() -> datetime:
    """Give the machine's time, which rules sessions and sign-ins (a sandbox's clock may be moved by months)."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Office:
    """
    The platform's store and keys, its clock, and what the administration may show and believe.

    `tls` is what a test call of a route shows; `authorities` are those whose certificates may be registered; `provider`
    is where people sign in, if not here; `gateway` is where the platform answers, without path; `revocation` is where a
    gateway keeps what it knows of revoked certificates; `record` is where the key and the anchors of the record lie.
    """

    store: Store
    vault: Vault
    clock: Clock
    environment: Environment
    tls: ssl.SSLContext | None = None
    authorities: tuple[x509.Certificate, ...] = ()
    provider: Provider | None = None
    gateway: str | None = None
    revocation: Path | None = None
    record: Auditing | None = None
    machine: Callable[[], datetime] = machine_time


def office_of(request: Request) -> Office:
    """Give the office in which a request is answered."""
    return cast("Office", request.app.state.office)


In = Annotated[Office, Depends(office_of)]
"""The office, as an endpoint's parameter."""

# SPDX-License-Identifier: MPL-2.0
"""
Word of what comes by itself: certificates and agreements that end soon, and messages that wait for a person.

Looked for now and then, and each told once: a mail's key says of what, and how soon, so that several nodes, and every
restart, write it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sygefravaer import agreements
from sygefravaer.agreements import danish_day
from sygefravaer.agreements.certificates import Stop, ending, stops
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import Environment
from sygefravaer.contract.values import municipality_name
from sygefravaer.delivery import Parked, obligations
from sygefravaer.delivery.obligations import Obligation
from sygefravaer.errors import StoreError
from sygefravaer.mail import Kind, advise
from sygefravaer.store import Store

LOG: Final = logging.getLogger(__name__)

EVERY: Final = 60.0  # seconds of machine time between looks
CERTIFICATE_DAYS: Final = (7, 30, 60)
AGREEMENT_DAYS: Final = 30
SHOWN: Final = 30  # lines of one mail
_WHAT: Final = {"agreement": "serviceaftale", "route": "rute"}


class Lookout:
    """Looks, and writes mails."""

    def __init__(
        self,
        store: Store,
        parked: Parked,
        *,
        environment: Environment,
        clock: Clock,
        operator: str | None,
        every: float = EVERY,
        machine: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`operator` is the mailbox of who runs the platform; certificates end by machine time, as in TLS."""
        self._store = store
        self._parked = parked
        self._environment = environment
        self._clock = clock
        self._operator = operator
        self._every = every
        self._machine = machine

    async def run(self) -> None:
        """Look until cancelled; a database that is away is waited for."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                LOG.warning("advice.failed", extra={"code": error.code})
            except Exception:  # word that cannot be sent is no reason to stop a gateway
                LOG.exception("advice.failed")
            await asyncio.sleep(self._every)

    async def look(self) -> int:
        """Look once; give how many mails were written."""
        return await self._certificates() + await self._agreements() + await self._messages()

    async def _certificates(self) -> int:
        now, machine, written = self._clock.now(), self._machine(), 0
        async with self._store.tx() as tx:
            within = timedelta(days=max(CERTIFICATE_DAYS))
            for one in await ending(tx, environment=self._environment, within=within, now=now, machine=machine):
                if one.renewed or one.certificate.not_after is None or one.certificate.not_after <= machine:
                    continue
                soon = next(days for days in CERTIFICATE_DAYS if one.days <= days)
                facts = {
                    "system": one.system,
                    "name": one.certificate.name or one.certificate.subject,
                    "thumbprint": one.certificate.thumbprint,
                    "days": one.days,
                    "valid_to": danish_day(one.certificate.not_after),
                    "stops": _listed(await stops(tx, one), await obligations.owed_by(tx, one.certificate.system_id)),
                }
                key = f"certificate/{one.certificate.thumbprint}/{soon}"
                to = await agreements.mailbox(tx, one.vendor_cvr)
                written += await advise(tx, Kind.CERTIFICATE_EXPIRES, to, facts, now=now, key=key) is not None
        return written

    async def _agreements(self) -> int:
        now, written = self._clock.now(), 0
        async with self._store.tx() as tx:
            within = timedelta(days=AGREEMENT_DAYS)
            for row in await agreements.expiring(tx, environment=self._environment, within=within, now=now):
                cvr = row["municipality_cvr"]
                facts = {
                    "system": row["name"],
                    "service": row["service"],
                    "municipality": municipality_name(cvr),
                    "agreement": row["agreement_id"],
                    "valid_to": row["valid_to"],
                }
                for who in (cvr, row["vendor_cvr"]):
                    key = f"agreement/{row['agreement_id']}/{row['valid_to']}/{who}"
                    to = await agreements.mailbox(tx, who)
                    written += await advise(tx, Kind.AGREEMENT_EXPIRES, to, facts, now=now, key=key) is not None
        return written

    async def _messages(self) -> int:
        """Tell of each group of parked messages, and again while it is there the next day."""
        if self._operator is None:
            return 0
        now, written = self._clock.now(), 0
        groups = await self._parked.groups()
        async with self._store.tx() as tx:
            for row in groups:
                facts = {
                    "messages": row["messages"],
                    "system": row["name"] or row["recipient"],
                    "cause": row["cause"],
                    "oldest": danish_day(row["oldest"]),
                }
                key = f"parked/{row['recipient']}/{row['cause']}/{danish_day(now)}"
                written += await advise(tx, Kind.MESSAGES_PARKED, self._operator, facts, now=now, key=key) is not None
        return written


def _listed(stopping: Sequence[Stop], owed: Sequence[Obligation]) -> str:
    """Name what stops, a line each: agreements, routes, and answers that are owed."""
    lines = [
        f"- {_WHAT[one.what]} {one.id}: {one.service}, {municipality_name(one.municipality_cvr)}" for one in stopping
    ]
    lines += [
        f"- ubesvaret: {one.operation} {one.besked_id}, {municipality_name(one.municipality_cvr)}"
        for one in owed
        if one.kind is not obligations.Kind.UNHEARD
    ]
    more = [] if len(lines) <= SHOWN else [f"- og {len(lines) - SHOWN} mere"]
    return "\n".join([*lines[:SHOWN], *more]) or "- intet, der er registreret nu"

# SPDX-License-Identifier: MPL-2.0
"""
The prober: calls each operation as a registered system would, and writes down what came.

A look-up is really made: of a number that belongs to nobody, and of a case that there is not. KSD's refusal (H501) says
that it answered. A send is never made, since it would be a business message: its contract is fetched at the gateway
over mutual TLS, and each receiver to whom its routes lead is greeted. The record says which of the two was done.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp

from sygefravaer import agreements, soap
from sygefravaer.client import Client, hoved
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    CallContextType,
    HentSagRequest,
    HentSagsListeRequest,
    Reply,
    Request,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Operation, Service
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import CallFailed, HttpFailure, StoreError
from sygefravaer.status.record import Measured, Outcome, Probe, forget, write
from sygefravaer.store import Store

LOG: Final = logging.getLogger(__name__)

USER: Final = "driftsmåling"  # on whose behalf a probe looks up
AT_ONCE: Final = 16  # receivers that are greeted at a time
KEPT: Final = timedelta(days=400)
FORGET_EVERY: Final = 1000  # rounds
_FAILING: Final = 500
_FORBIDDEN: Final = 403
_OK: Final = 200


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is measured, and as whom: `gateway` is its address without a path, `number` belongs to nobody."""

    gateway: str
    system_id: UUID
    municipality: str
    number: Cpr | None
    tls: ssl.SSLContext
    patience: float = 10.0


class Prober:
    """Measures every `every` seconds of machine time, on the beat, until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        environment: Environment,
        target: Target,
        by: str,
        every: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`by` is who measures, for the record; `clock` is the platform's, for the time in a message's header."""
        self._store = store
        self._clock = clock
        self._environment = environment
        self._target = target
        self._by = by
        self._every = every
        self._now = now
        self._rounds = 0

    async def run(self) -> None:
        """Measure for ever. A database that is away costs the round, which is then unknown."""
        while True:
            stamp = self._now().timestamp()
            await asyncio.sleep(self._every - stamp % self._every)
            try:
                await self.round()
            except StoreError as error:
                LOG.warning("probe.unwritten", extra={"code": error.code})
            except Exception:  # the next round may go better
                LOG.exception("probe.unwritten")

    async def round(self) -> list[Probe]:
        """Measure everything once, and write it down."""
        at = self._now()
        found = await asyncio.gather(*(self._service(service) for service in Service))
        probes = [one for several in found for one in several]
        await write(self._store, probes, at=at, by=self._by, every=self._every)
        self._rounds += 1
        if self._rounds % FORGET_EVERY == 1:
            await forget(self._store, before=at - KEPT)
        amiss = {one.operation: one.code for one in probes if one.outcome is not Outcome.UP}
        LOG.log(logging.WARNING if amiss else logging.INFO, "probe.round", extra={"amiss": amiss})
        return probes

    async def _service(self, service: Service) -> list[Probe]:
        operations = [one for one in OPERATIONS.values() if one.service is service]
        sends = [one for one in operations if not one.lookup]
        lookups = [one for one in operations if one.lookup]
        return [
            *await asyncio.gather(*(self._lookup(one) for one in lookups)),
            *(await self._sends(service, sends) if sends else []),
        ]

    # --- look-ups ---

    async def _lookup(self, operation: Operation) -> Probe:
        target = self._target
        if target.number is None:
            return self._probe(operation, Outcome.UNKNOWN, "NotMeasured", None)
        begun = time.monotonic()
        url = target.gateway.rstrip("/") + operation.service.path
        async with Client(url, service=operation.service, tls=target.tls, timeout=target.patience, limit=1) as client:
            try:
                answer = await client.post(codec.encode(self._question(operation, target.number)), operation)
            except CallFailed as error:
                refused = isinstance(error, HttpFailure) and error.status == _FORBIDDEN
                outcome = Outcome.UNKNOWN if refused else Outcome.DOWN
                return self._probe(operation, outcome, error.code, None)
        millis = _since(begun)
        if isinstance(answer, soap.ReplyAnswer):
            code = answer.element.findtext(".//{*}FejlKode") or "OK"
            return self._probe(operation, Outcome.UP, code, millis)
        code = getattr(answer, "code", None) or "Fault"
        server = isinstance(answer, soap.FaultAnswer) and answer.faultcode == "Server"
        return self._probe(operation, Outcome.DOWN if server else Outcome.UNKNOWN, code, millis if server else None)

    def _question(self, operation: Operation, number: Cpr) -> Request[Reply]:
        target = self._target
        contexts: dict[str, Any] = {
            "CallContext": CallContextType(OnBehalfOfUser=USER),
            "AuthorityContext": AuthorityContextType(MunicipalityCVR=target.municipality),
            "Hoved": hoved(
                operation,
                municipality=target.municipality,
                sender=target.system_id,
                cpr=number,
                now=self._clock.now(),
            ),
        }
        if operation.request is HentSagRequest:
            return HentSagRequest(**contexts, SagsID=uuid4())
        return HentSagsListeRequest(**contexts)

    def _probe(self, operation: Operation, outcome: Outcome, code: str, millis: int | None) -> Probe:
        return Probe(
            operation=operation.name,
            service=operation.service,
            outcome=outcome,
            measured=Measured.LOOKUP,
            code=code,
            millis=millis,
        )

    # --- sends ---

    async def _sends(self, service: Service, sends: Sequence[Operation]) -> list[Probe]:
        """Fetch the contract and greet the receivers once, for all operations that send."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._target.tls, limit=AT_ONCE, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self._target.patience),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            door = self._target.gateway.rstrip("/") + service.path + "?wsdl"
            begun = time.monotonic()
            said = await _greet(session, door)
            millis = _since(begun)
            receivers = {} if said != str(_OK) else await self._receivers(session, service)
        silent = sorted(system for system, code in receivers.items() if not _answers(code))
        outcome, code = Outcome.UP, "OK"
        if said != str(_OK):
            outcome, code = (Outcome.UNKNOWN if said == str(_FORBIDDEN) else Outcome.DOWN), said
        elif not receivers:
            outcome, code = Outcome.UNKNOWN, "RoutingNotFound"
        elif silent:
            outcome, code = Outcome.DOWN if len(silent) == len(receivers) else Outcome.PARTIAL, receivers[silent[0]]
        return [
            Probe(
                operation=one.name,
                service=service,
                outcome=outcome,
                measured=Measured.CONTRACT,
                code=code,
                millis=millis if outcome in {Outcome.UP, Outcome.PARTIAL} else None,
                detail={"receivers": len(receivers), "silent": silent},
            )
            for one in sends
        ]

    async def _receivers(self, session: aiohttp.ClientSession, service: Service) -> Mapping[str, str]:
        async with self._store.read() as tx:
            ways = await agreements.receivers(tx, environment=self._environment, service=service, now=self._clock.now())
        codes = await asyncio.gather(*(_greet(session, url) for _, url in ways))
        told: dict[str, str] = {}
        for (system, _), code in zip(ways, codes, strict=True):
            if str(system) not in told or not _answers(code):
                told[str(system)] = code
        return told


async def _greet(session: aiohttp.ClientSession, url: str) -> str:
    """Say which HTTP status an address answers with, or why there is none; its body is not read."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            return str(response.status)
    except TimeoutError:
        return "NoAnswer"
    except (aiohttp.ClientError, OSError, ValueError):
        return "Unreachable"


def _answers(code: str) -> bool:
    return code.isdecimal() and int(code) < _FAILING


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)

# SPDX-License-Identifier: MPL-2.0
"""
Calling the other side: one attempt, or the same message until its receipt is final.

A `Client` keeps connections to one service over mutual TLS. Nothing is stored here: whoever must not lose a message
keeps its bytes, posts them with `post`, and reads with `classify` what the attempt came to.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, cast
from uuid import UUID, uuid4

from sygefravaer import soap
from sygefravaer.clock import Clock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import HovedType, Reply, Request, SygefravaerResponse, TransportKvitteringType
from sygefravaer.contract.operations import Operation, Service, operation_for
from sygefravaer.contract.values import MUNICIPALITIES, Cpr, Cvr
from sygefravaer.errors import (
    CallFailed,
    FaultReceived,
    HttpFailure,
    NotAnEnvelope,
    SchemaValidationFailed,
    SygefravaerError,
    Unreachable,
    UsageError,
)
from sygefravaer.exchange import Exchange, Response
from sygefravaer.soap import Answer, FaultAnswer, ReceiptAnswer, ReplyAnswer
from sygefravaer.telemetry import forwarding

TIMEOUT: Final = 40.0  # seconds for one attempt: the platform's own budget is below 50
CONNECT_SECONDS: Final = 10.0
KEEP_ALIVE: Final = 30.0  # seconds; shorter than any server of ours keeps a connection
LONGEST_ANSWER: Final = 20 * soap.MEBIBYTE
BULK: Final = 64 * 1024  # bytes; above it an answer is read in a thread, so that the loop does not stand still
UNDER_WAY: Final = "G006"
VERSION: Final = "2.0"  # SnitfladeVersion

# When a sender that holds G006, or nothing, repeats the same message: then hourly.
REPEATS: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
GIVE_UP: Final = timedelta(days=5)

_HEADERS: Final = {"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", "User-Agent": "sygefravaer"}
_OK: Final = 200
_DIGITS: Final = re.compile(r"\d{1,9}")

ReplyT = TypeVar("ReplyT", bound=Reply)


def client_tls(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Make the context of a caller over mutual TLS, 1.2 or 1.3. Raises `UsageError` when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            "TlsFiles", "Certificate, key or CA bundle cannot be used.", try_this="Check the three paths."
        ) from error
    return context


# --- what an attempt came to ---


class Kind(StrEnum):
    """What an attempt came to, for whoever must decide what happens to the message."""

    OK = "ok"
    ADVARSEL = "advarsel"
    UNDER_WAY = "under_way"
    """The receipt carries G006: kept there, and the same message again learns the end."""
    FEJL = "fejl"
    CLIENT_FAULT = "client_fault"
    """Refused without a receipt: the same bytes will never do."""
    SILENCE = "silence"
    """Nothing usable came, or a Server fault: the same message again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An attempt: its kind, the receipt if one came, the response element as it came, and a word for the log."""

    kind: Kind
    receipt: TransportKvitteringType | None = None
    raw: bytes | None = None
    detail: str = ""


def classify(result: Answer | BaseException) -> Outcome:
    """Say what an answer, or the exception of an attempt, means for the message."""
    match result:
        case ReceiptAnswer():
            return _by_receipt(result.receipt, raw=result.element)
        case ReplyAnswer():
            return Outcome(kind=Kind.OK, raw=soap.element_bytes(result.element))
        case FaultAnswer(receipt=TransportKvitteringType() as receipt):
            return _by_receipt(receipt)
        case FaultAnswer(faultcode="Client") | FaultReceived(faultcode="Client"):
            return Outcome(kind=Kind.CLIENT_FAULT, detail=result.code or "Client")
        case FaultAnswer() | SygefravaerError():
            return Outcome(kind=Kind.SILENCE, detail=result.code or "Server")
        case _:
            return Outcome(kind=Kind.SILENCE, detail=type(result).__name__)


def codes(receipt: TransportKvitteringType) -> tuple[str, ...]:
    """Give the FejlKoder of a receipt."""
    return () if receipt.FejlListe is None else tuple(one.FejlKode for one in receipt.FejlListe.Fejl)


def _by_receipt(receipt: TransportKvitteringType, *, raw: bytes | None = None) -> Outcome:
    kind = Kind(receipt.TransportValideringsKode.lower())
    if kind is Kind.ADVARSEL and UNDER_WAY in codes(receipt):
        kind = Kind.UNDER_WAY
    return Outcome(kind=kind, receipt=receipt, raw=raw, detail=" ".join(codes(receipt)))


# --- calling ---


class Client:
    """Calls one service at one address.

    `url` is the endpoint's whole address; `timeout` (seconds) is for one attempt from beginning to end; `limit` is how
    many connections are kept. `callback=True` sends the empty SOAPAction of a callback contract. No proxy of the
    environment is used, and no redirect is followed.
    """

    def __init__(
        self,
        url: str,
        *,
        service: Service,
        tls: ssl.SSLContext | None,
        timeout: float = TIMEOUT,
        limit: int = 16,
        callback: bool = False,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise UsageError("BadUrl", "The address of a service is not a URL that begins with https://.")
        self.url = url
        self.service = service
        self._tls = tls
        self._timeout = timeout
        self._limit = limit
        self._callback = callback
        self._exchange: Exchange | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Refuse what cannot be called."""
        self._opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection, for good: what is called later, by a task that comes late, is `Unreachable`."""
        self._closed = True
        if self._exchange is not None:
            await self._exchange.close()

    async def post(self, element: bytes, operation: Operation) -> Answer:
        """Send a request element once, and read the answer.

        Raises `Unreachable` (surely not received), `NoAnswer` (nobody knows), `HttpFailure` (an HTTP status without an
        envelope), `NotAnEnvelope` (not what the operation promises).
        """
        status, headers, body = await self._exchanged(soap.wrap(element), self._action(operation))
        try:
            if headers.get("content-encoding", "").lower() == "gzip":
                body = await asyncio.to_thread(soap.gunzip, body, LONGEST_ANSWER)
            kind = headers.get("content-type", "")
            if len(body) > BULK:
                return await asyncio.to_thread(soap.answer, body, operation, content_type=kind)
            return soap.answer(body, operation, content_type=kind)
        except NotAnEnvelope:
            if status == _OK:
                raise
            raise HttpFailure(status, _seconds(headers.get("retry-after", ""))) from None
        except SygefravaerError as error:
            raise NotAnEnvelope("Its gzip coding is broken.") from error

    async def call(self, message: Request[ReplyT]) -> ReplyT:
        """Send a message once and give the typed reply; a receipt in a fault is given like one in a response.

        Raises `FaultReceived` for a fault without a receipt, and what `post` raises.
        """
        return cast("ReplyT", await self._called(codec.encode(message), operation_for(message)))

    async def call_until_final(
        self,
        message: Request[ReplyT],
        *,
        clock: Clock,
        give_up: timedelta = GIVE_UP,
        repeats: Sequence[timedelta] = REPEATS,
    ) -> ReplyT:
        """Repeat the same message, byte for byte, until its receipt is final, while this process lives.

        It is repeated after G006, silence or a Server fault: after 1, 5, 15, 60 minutes, then hourly. After `give_up`
        the last receipt is given, or the last failure raised. A Client fault is raised at once.
        """
        element, operation = codec.encode(message), operation_for(message)
        end, repeat = clock.now() + give_up, 0
        while True:
            reply, failure = await self._tried(element, operation)
            if reply is not None and not _under_way(reply):
                return cast("ReplyT", reply)
            due = clock.now() + repeats[min(repeat, len(repeats) - 1)]
            if due > end:
                if failure is not None:
                    raise failure
                return cast("ReplyT", reply)
            repeat += 1
            await clock.sleep_until(due, wake=asyncio.Event())

    async def _tried(self, element: bytes, operation: Operation) -> tuple[Reply | None, CallFailed | None]:
        try:
            return await self._called(element, operation), None
        except FaultReceived as fault:
            if fault.faultcode == "Client":
                raise
            return None, fault
        except CallFailed as failure:
            if self._closed:
                raise
            return None, failure

    async def _called(self, element: bytes, operation: Operation) -> Reply:
        answer = await self.post(element, operation)
        if isinstance(answer, ReplyAnswer):
            return _decoded(operation, answer)
        if answer.receipt is not None:
            return SygefravaerResponse(TransportKvittering=answer.receipt)
        raise FaultReceived(answer.faultcode, answer.code, answer.text)

    async def _exchanged(self, document: bytes, action: str) -> Response:
        with forwarding() as traced:
            return await self._opened().post(
                document,
                {"SOAPAction": action, **traced},
                seconds=self._timeout,
                connect=CONNECT_SECONDS,
                longest=LONGEST_ANSWER,
            )

    def _opened(self) -> Exchange:
        if self._closed:
            raise Unreachable
        if self._exchange is None:
            try:
                self._exchange = Exchange(self.url, tls=self._tls, limit=self._limit, keep=KEEP_ALIVE, headers=_HEADERS)
            except ValueError as error:
                raise Unreachable from error
        return self._exchange

    def _action(self, operation: Operation) -> str:
        return '""' if self._callback else f'"{operation.soap_action}"'


def _decoded(operation: Operation, answer: ReplyAnswer) -> Reply:
    try:
        codec.validate(operation.service, answer.element)
    except SchemaValidationFailed as error:
        raise NotAnEnvelope(error.detail) from error
    return codec.decode_reply(operation, answer.element)


def _under_way(reply: Reply) -> bool:
    return isinstance(reply, SygefravaerResponse) and _by_receipt(reply.TransportKvittering).kind is Kind.UNDER_WAY


def _seconds(text: str) -> float | None:
    """Read Retry-After when it is seconds; a date is as good as none."""
    return float(text) if _DIGITS.fullmatch(text.strip()) else None


# --- a sender's header ---


def hoved(
    operation: Operation,
    *,
    municipality: Cvr | str,
    sender: UUID,
    cpr: Cpr,
    now: datetime,
    nemrefusions_id: UUID | None = None,
    besked_id: UUID | None = None,
    korrelations_id: UUID | None = None,
    reference: UUID | None = None,
    testmarkering: bool | None = None,
) -> HovedType:
    """Make the header of a message that `sender` sends on behalf of a municipality; the ids are new unless given.

    `reference` is the `BeskedID` that is answered. Raises `UsageError` when the CVR is no municipality's.
    """
    found = MUNICIPALITIES.get(str(municipality))
    if found is None:
        raise UsageError("NotAMunicipality", "The CVR number does not belong to one of the 98 municipalities.")
    return HovedType(
        BeskedID=besked_id or uuid4(),
        Beskedtype=operation.name,
        SnitfladeID=operation.sf,
        SnitfladeVersion=VERSION,
        KorrelationsID=korrelations_id or uuid4(),
        ReferenceBeskedID=reference,
        AfsenderMyndighedCVR=found.cvr.text,
        ModtagerMyndighedCVR=found.cvr.text,
        AfsenderSystemID=sender,
        Kommunekode=found.kommunekode,
        Afsendelsestidspunkt=now,
        CprNummer=cpr,
        NemrefusionsID=nemrefusions_id,
        Testmarkering=testmarkering,
    )

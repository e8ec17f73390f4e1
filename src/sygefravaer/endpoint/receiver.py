# SPDX-License-Identifier: MPL-2.0
"""
A receiver's endpoint: a handler per operation gets a `Call` that is valid by the schema.

What a handler gives or raises is answered as the contract says, so that whoever sent the message knows whether to send
it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from lxml import etree

from sygefravaer import soap
from sygefravaer.clock import Clock
from sygefravaer.contract import codec, names
from sygefravaer.contract.messages import (
    Reply,
    Request,
    SygefravaerResponse,
    TransportKvitteringType,
    kvittering_fejl,
)
from sygefravaer.contract.operations import Environment, Operation, Service, judge, operation_of
from sygefravaer.endpoint.door import CLOSE, Answer, HangUp, HttpDoor, Inbound, Peers, Receive, Scope, Send
from sygefravaer.errors import (
    HttpRefusal,
    MalformedRequest,
    OperationNotFound,
    PlatformFault,
    Refused,
    SchemaValidationFailed,
    SecurityModelNotProvided,
    SygefravaerError,
    Unreadable,
)
from sygefravaer.identity import Identity
from sygefravaer.soap import Limits
from sygefravaer.telemetry import TRIP

BULK: Final = 64 * 1024  # bytes; above it a document is read in a thread, so that the loop does not stand still

_log: Final = logging.getLogger("endpoint")


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a handler gets: who, which operation, the request element as it came; the typed message on demand."""

    identity: Identity | None
    call_uuid: UUID
    received_at: datetime
    operation: Operation
    element: etree._Element

    @cached_property
    def digest(self) -> bytes:
        """Give the digest that tells the same message from another under one `BeskedID`."""
        return soap.digest(self.element)

    @cached_property
    def message(self) -> Request[Reply]:
        """Give the typed message."""
        return codec.decode_request(self.operation, self.element)

    @property
    def sender(self) -> UUID:
        """Give the sending system: `Hoved/AfsenderSystemID`, which the gateway has checked."""
        return self.message.Hoved.AfsenderSystemID

    @property
    def besked_id(self) -> UUID:
        """Give the message's id at its sender."""
        return self.message.Hoved.BeskedID


Handler = Callable[[Call], Awaitable[Reply | bytes]]
TxT_co = TypeVar("TxT_co", covariant=True)


class Once(Protocol[TxT_co]):
    """Applies a message once and remembers its receipt; a vendor may bring his own storage."""

    async def once(self, call: Call, apply: Callable[[TxT_co], Awaitable[TransportKvitteringType]]) -> bytes:
        """Give the response element: kept from the first time, or of `apply`, run in one transaction with its keeping.

        The same key (`call.sender`, `call.besked_id`) with another digest is FEJL G002 and applies nothing. A copy
        that arrives meanwhile waits for the first. An exception of `apply` keeps nothing.
        """
        ...


class Endpoint:
    """An ASGI application for a receiver: validates, and asks the handler of the operation.

    A handler gives a reply, or the bytes of a response element. `Refused` becomes the receipt FEJL of a send (on a
    look-up a fault); what cannot be read is a Client fault without detail; anything else that is raised is
    `InternalError`, and the sender tries again. Without `path` any path is taken. `pinned` are the only callers let
    in, by their `serial_key`. With `environment` the contract's rules beyond the schema are judged too.
    """

    def __init__(
        self,
        service: Service,
        handlers: Mapping[str, Handler],
        *,
        clock: Clock,
        path: str | None = None,
        environment: Environment | None = None,
        pinned: frozenset[str] | None = None,
        peers: Peers | None = None,
        limits: Limits = soap.LIMITS,
        contact: str = soap.CONTACT,
    ) -> None:
        self.service = service
        self._handlers = dict(handlers)
        self._environment = environment
        self._pinned = pinned
        self._limits = limits
        self._contact = contact
        at = path or service.path
        described = names.MODTAGER if service is Service.SYGEFRAVAER_JC else str(service)
        self.door = HttpDoor(
            {at: self._handle},
            clock=clock,
            limits=limits,
            peers=peers,
            documents={at: described},
            contact=contact,
            any_path=path is None,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.door(scope, receive, send)

    async def _handle(self, inbound: Inbound) -> Answer:
        self._check_caller(inbound.identity)
        envelope: soap.Envelope | None = None
        operation: Operation | None = None
        try:
            envelope = await off_loop(inbound.body, soap.read, inbound.body, **_reading(inbound, self._limits))
            operation = operation_of(self.service, str(envelope.element.tag))
            self._note(inbound, operation, envelope)
            if (trip := TRIP.get()) is not None:
                trip.operation = operation.name
            call = Call(
                identity=inbound.identity,
                call_uuid=inbound.call_uuid,
                received_at=inbound.received_at,
                operation=operation,
                element=envelope.element,
            )
            await off_loop(inbound.body, self._judge, call)
            answer = await self._handlers[operation.name](call)
            element = answer if isinstance(answer, bytes) else codec.encode_reply(operation, answer)
        except (HttpRefusal, HangUp):
            raise
        except Refused as refusal:
            if operation is None or operation.lookup:
                return self._fault(refusal, inbound, envelope)
            _log.info("call.refused", extra={"code": refusal.code, "place": refusal.place})
            receipt = SygefravaerResponse(TransportKvittering=kvittering_fejl(refusal.code))
            element = codec.encode_reply(operation, receipt)
        except Exception as error:  # noqa: BLE001  the door: whatever it is becomes a fault, and a line in the log
            return self._fault(error, inbound, envelope)
        return Answer(status=200, body=soap.reply(element, envelope))

    def _check_caller(self, identity: Identity | None) -> None:
        if self._pinned is not None and (identity is None or identity.serial_key not in self._pinned):
            raise HttpRefusal(403, "The caller is not one of those this endpoint knows.", headers=(CLOSE,))

    def _note(self, inbound: Inbound, operation: Operation, envelope: soap.Envelope) -> None:
        if operation.name not in self._handlers:
            raise OperationNotFound
        for note in envelope.notes:
            _log.info("soap.tolerated", extra={"note": note})
        action = soap.action_of(inbound.headers)
        if action and action != operation.soap_action:
            _log.info("soap.action_contradicts", extra={"operation": operation.name})

    def _judge(self, call: Call) -> None:
        codec.validate(self.service, call.element)
        if self._environment is None:
            return
        try:
            authority = soap.authority(call.element).text
        except SecurityModelNotProvided:  # contexts are optional in a callback
            authority = call.message.Hoved.ModtagerMyndighedCVR
        judge(call.operation, call.message, authority, environment=self._environment, caller_system=None)

    def _fault(self, error: Exception, inbound: Inbound, envelope: soap.Envelope | None) -> Answer:
        if isinstance(error, MalformedRequest | OperationNotFound | SchemaValidationFailed):
            error = _unreadable(error)
        known = isinstance(error, SygefravaerError)
        _log.log(
            logging.INFO if known else logging.ERROR,
            "call.failed",
            exc_info=error,
            extra={"code": getattr(error, "code", "InternalError")},
        )
        status, body = soap.fault(
            error,
            call_uuid=inbound.call_uuid,
            received_at=inbound.received_at,
            contact=self._contact,
            as_lookup=True,
            to=envelope,
        )
        return Answer(status=status, body=body)


def _unreadable(error: PlatformFault) -> Unreadable:
    unreadable = Unreadable(error.text)
    unreadable.__cause__ = error
    return unreadable


def _reading(inbound: Inbound, limits: Limits) -> dict[str, Any]:
    return {"content_type": inbound.headers.get("content-type", ""), "limits": limits}


ResultT = TypeVar("ResultT")


async def off_loop(body: bytes, work: Callable[..., ResultT], *args: object, **options: Any) -> ResultT:
    """Do work on a document: at once when the document is small, in a thread when it is not."""
    if len(body) > BULK:
        return await asyncio.to_thread(work, *args, **options)
    return work(*args, **options)

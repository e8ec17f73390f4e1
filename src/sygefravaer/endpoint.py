# SPDX-License-Identifier: MPL-2.0
"""
The door for HTTP: what every call passes on its way in and out, and an endpoint for those who receive.

`HttpDoor` is a raw ASGI application that knows who calls (from TLS, or from a trusted proxy), keeps limits of size and
time, and hands an `Inbound` to the handler of its path. `Endpoint` is one on top of it for a receiver of messages: a
handler per operation gets a `Call`. `Server` runs one or several in a process, over mutual TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import logging
import math
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast
from uuid import UUID, uuid4

import uvicorn
from cryptography import x509
from lxml import etree
from uvicorn._types import ASGIApplication
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sygefravaer import soap
from sygefravaer.clock import Clock
from sygefravaer.contract import codec, names, package
from sygefravaer.contract.messages import (
    Reply,
    Request,
    SygefravaerResponse,
    TransportKvitteringType,
    kvittering_fejl,
)
from sygefravaer.contract.operations import Environment, Operation, Service, judge, operation_of
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
    UsageError,
)
from sygefravaer.identity import Identity, from_client_cert_header, from_der
from sygefravaer.soap import CONTENT_TYPE, Limits
from sygefravaer.telemetry import CALL

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BULK: Final = 64 * 1024  # bytes; above it a document is read in a thread, so that the loop does not stand still
KEEP_ALIVE: Final = 75  # seconds; longer than any client of ours keeps one
LINGER_SECONDS: Final = 1.0  # how long a refused body is still thrown away, so that the answer can be read
LINGER_BYTES: Final = 16 * soap.MEBIBYTE
GZIP_FROM: Final = 1024  # bytes; below it compressing costs more than it saves

_TYPES: Final = frozenset({"", "text/xml", "application/xml", "application/soap+xml"})
_CODINGS: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_CLOSE: Final = ("Connection", "close")
_CLIENT_CERT: Final = "client-cert"

_log: Final = logging.getLogger("endpoint")


@dataclass(frozen=True, kw_only=True)
class Inbound:
    """A request as it passed the door. `path` has no trailing slash; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    identity: Identity | None
    call_uuid: UUID
    received_at: datetime
    base_url: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back. A body is SOAP unless `headers` names another Content-Type."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


InboundHandler = Callable[[Inbound], Awaitable[Answer]]


class HangUp(Exception):
    """Close the connection without an answer: raised by a handler that plays a receiver whose receipt is lost."""


# --- who calls ---


class Peers:
    """Who may call at all, by certificate; asked once per request, since open connections are not rechecked by TLS.

    `trusted` are the networks of TLS-terminating proxies, and `trust_unix` trusts whoever reaches a Unix socket: only
    from those is the header `Client-Cert` believed. `required=False` lets a call without certificate in (for trials).
    """

    def __init__(
        self,
        *,
        required: bool = True,
        trusted: Iterable[str] = (),
        trust_unix: bool = False,
        revoked: Iterable[tuple[str, int]] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.required = required
        self.trust_unix = trust_unix
        self.revoked = frozenset(revoked)
        self.tls = tls
        self._trusted = tuple(ipaddress.ip_network(one) for one in trusted)

    def identify(self, scope: Scope) -> Identity | None:
        """Give the caller. Raises `HttpRefusal` (403, closing) without a usable, valid, unrevoked certificate."""
        found = self._presented(scope)
        if found is None:
            if self.required:
                raise HttpRefusal(403, "No client certificate was presented.", headers=(_CLOSE,))
            return None
        if (found.issuer, found.serial) in self.revoked:
            raise HttpRefusal(403, "The client certificate is revoked.", headers=(_CLOSE,))
        if not found.not_before <= datetime.now(UTC) <= found.not_after:  # TLS's time is the machine's
            raise HttpRefusal(403, "The client certificate is not valid today.", headers=(_CLOSE,))
        return found

    def reload(self, crls: Sequence[Path]) -> None:
        """Read revocation lists (PEM) anew: into the live TLS context, and for connections that are open.

        Raises `UsageError` when one cannot be read; everything then stays as it was.
        """
        try:
            revoked = frozenset(entry for path in crls for entry in _revoked(path))
            for path in crls if self.tls is not None else ():
                cast("ssl.SSLContext", self.tls).load_verify_locations(cafile=path)
        except (OSError, ValueError) as error:
            raise UsageError(
                "CrlUnreadable", "A revocation list cannot be read.", try_this="Fetch it again."
            ) from error
        self.revoked = revoked

    def _presented(self, scope: Scope) -> Identity | None:
        if self._from_proxy(scope):
            headers = [value for name, value in scope["headers"] if name == b"client-cert"]
            if len(headers) > 1:
                raise HttpRefusal(403, "The header Client-Cert stands there twice.", headers=(_CLOSE,))
            return from_client_cert_header(headers[0].decode("latin-1")) if headers else None
        der = scope.get("extensions", {}).get("tls", {}).get("peer_der")
        return from_der(der) if der else None

    def _from_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        if client is None:
            return self.trust_unix
        if not self._trusted:
            return False
        address = ipaddress.ip_address(client[0].partition("%")[0])
        return any(address in network for network in self._trusted if network.version == address.version)


def _revoked(path: Path) -> Iterable[tuple[str, int]]:
    for text in re.findall(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", path.read_bytes(), re.DOTALL):
        crl = x509.load_pem_x509_crl(text)
        issuer = crl.issuer.rfc4514_string()
        yield from ((issuer, entry.serial_number) for entry in crl)


# --- the door ---


class HttpDoor:
    """An ASGI application: one handler per path, each for POST; everything that HTTP can refuse is refused here.

    `documents` serves `GET ?wsdl`, `?xsd=` and the package: `True` at the platform's own paths, or a mapping from path
    to the contract's service name. While `window` is set (an instant: when it ends) every call is 503. A client that
    goes away before its body is whole reaches no handler. With `any_path` the one
    handler answers at every path.
    """

    def __init__(
        self,
        handlers: Mapping[str, InboundHandler],
        *,
        clock: Clock,
        limits: Limits = soap.LIMITS,
        peers: Peers | None = None,
        documents: bool | Mapping[str, str] = True,
        contact: str = soap.CONTACT,
        any_path: bool = False,
    ) -> None:
        self.window: datetime | None = None
        self.peers = peers or Peers()
        self._handlers = {_path(path): handler for path, handler in handlers.items()}
        self._clock = clock
        self._limits = limits
        self._contact = contact
        self._any_path = any_path
        if isinstance(documents, bool):
            documents = {path: service for service, path in names.PATHS.items()} if documents else {}
        self._documents = {_path(path): service for path, service in documents.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call_uuid, received_at = uuid4(), self._clock.now()
        CALL.set(call_uuid)
        request = _Request(scope, receive, send, self._limits)
        try:
            answer = await self._answered(request, call_uuid, received_at)
        except _GoneError:
            _log.info("http.client_gone")
            return
        except HangUp:
            scope["extensions"]["tls"]["hang_up"]()
            return
        except HttpRefusal as refusal:
            _log.info("http.refused", extra={"status": refusal.status, "reason": refusal.detail})
            answer = _plain(refusal.status, refusal.detail, refusal.headers)
        except Exception as error:  # noqa: BLE001  the door: whatever it is becomes a fault, and a line in the log
            level = logging.INFO if isinstance(error, SygefravaerError) else logging.ERROR
            _log.log(level, "call.failed", exc_info=error, extra={"code": getattr(error, "code", "InternalError")})
            status, body = soap.fault(error, call_uuid=call_uuid, received_at=received_at, contact=self._contact)
            answer = Answer(status=status, body=body)
        await request.send(answer, call_uuid)

    async def _answered(self, request: _Request, call_uuid: UUID, received_at: datetime) -> Answer:
        identity = self.peers.identify(request.scope)
        path, method = _path(request.scope["path"]), request.scope["method"]
        handler = self._handlers.get(path)
        if handler is None and self._any_path:
            handler = next(iter(self._handlers.values()))
        if method in {"GET", "HEAD"} and (document := self._document(request, path)) is not None:
            return Answer(status=200, body=document)
        if handler is None:
            raise HttpRefusal(404, "Nothing is served at this path.", headers=request.leftover())
        if method != "POST":
            raise HttpRefusal(405, "Only POST is served here.", headers=(("Allow", "POST"), *request.leftover()))
        if self.window is not None:
            wait = max(1, math.ceil((self.window - received_at).total_seconds()))
            raise HttpRefusal(
                503, "The service is closed for maintenance.", headers=(("Retry-After", f"{wait}"), _CLOSE)
            )
        body = await request.body()
        inbound = Inbound(
            method=method,
            path=path,
            query=request.query,
            headers=request.headers,
            body=body,
            identity=identity,
            call_uuid=call_uuid,
            received_at=received_at,
            base_url=request.base_url(path),
        )
        return await handler(inbound)

    def _document(self, request: _Request, path: str) -> bytes | None:
        if path.startswith(names.PACKAGE_PATH):
            return package.packaged(path) if self._documents else None
        service = self._documents.get(path)
        if service is None or not request.query:
            return None
        return package.document(service, request.query, request.base_url(path))


class _GoneError(Exception):
    """The client has gone before its request was whole."""


class _Request:
    """One request of ASGI: its headers and its body, within the limits."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self.scope = scope
        self.query: str = scope["query_string"].decode("latin-1")
        self._receive = receive
        self._send = send
        self._limits = limits
        self._whole = False
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        headers.pop(_CLIENT_CERT, None)  # who calls is said by `identity` alone
        self.headers = headers

    def base_url(self, path: str) -> str:
        """Give the URL that the caller used, as far as his Host header can be believed to be one."""
        host = self.headers.get("host", "")
        if _HOST.fullmatch(host) is None:
            server = self.scope.get("server") or ("localhost", None)
            host = f"{server[0]}:{server[1]}" if server[1] else "localhost"
        return f"{self.scope.get('scheme', 'https')}://{host}{path}"

    def leftover(self) -> tuple[tuple[str, str], ...]:
        """Give the header that closes the connection, if a body is on its way that nobody will read."""
        sent = self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        return (_CLOSE,) if sent else ()

    async def body(self) -> bytes:
        """Read the body to its end, inflated. Raises `HttpRefusal` (408, 413, 415) and `_GoneError`."""
        self._check_media()
        length = self.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limits.body:
            raise self._too_big()
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                body = await self._read()
        except TimeoutError:
            raise HttpRefusal(408, "The body did not arrive in time.", headers=(_CLOSE,)) from None
        if self.headers.get("content-encoding", "").strip().lower() in _GZIP:
            return await asyncio.to_thread(soap.gunzip, body, self._limits.inflate)
        return body

    def _check_media(self) -> None:
        media = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in _TYPES:
            raise HttpRefusal(415, "The media type is not text/xml.", headers=self.leftover())
        if self.headers.get("content-encoding", "").strip().lower() not in _CODINGS | _GZIP:
            raise HttpRefusal(415, "The content coding is neither identity nor gzip.", headers=self.leftover())

    def _too_big(self) -> HttpRefusal:
        return HttpRefusal(413, f"The body is longer than {self._limits.body} bytes.", headers=(_CLOSE,))

    async def _read(self) -> bytes:
        body = bytearray()
        while not self._whole:
            body += await self._more()
            if len(body) > self._limits.body:
                raise self._too_big()
        return bytes(body)

    async def _more(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        self._whole = not message.get("more_body", False)
        return cast("bytes", message.get("body", b""))

    async def send(self, answer: Answer, call_uuid: UUID) -> None:
        """Write the answer; nothing happens when the client has gone. One that does not read is left after a while."""
        body, headers = answer.body, dict(answer.headers)
        if body and len(body) >= GZIP_FROM and _wants_gzip(self.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(gzip.compress, body, 6)
            headers["Content-Encoding"] = "gzip"
        if body:
            headers.setdefault("Content-Type", CONTENT_TYPE)
        headers |= {"CallUUID": str(call_uuid), "Content-Length": str(len(body))}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.read_seconds):
                await self._send({"type": "http.response.start", "status": answer.status, "headers": raw})
                if headers.get(_CLOSE[0]) == _CLOSE[1] and not self._whole:
                    await self._send({"type": "http.response.body", "body": body, "more_body": True})
                    await self._linger()
                    body = b""
                await self._send({"type": "http.response.body", "body": body})

    async def _linger(self) -> None:
        """Throw away what is still being sent, for a moment: a reset would overtake the answer."""
        if "expect" in self.headers or not self.leftover():
            return
        thrown = 0
        with contextlib.suppress(TimeoutError, _GoneError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._whole and thrown < LINGER_BYTES:
                    thrown += len(await self._more())


def _path(path: str) -> str:
    return path.rstrip("/") or "/"


def _plain(status: int, text: str, headers: tuple[tuple[str, str], ...]) -> Answer:
    kind = ("Content-Type", "text/plain;charset=UTF-8")
    return Answer(status=status, body=f"{text}\n".encode(), headers=(kind, *headers))


def _wants_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() in _GZIP:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


# --- a receiver's endpoint ---


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
            raise HttpRefusal(403, "The caller is not one of those this endpoint knows.", headers=(_CLOSE,))

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


# --- the server ---


def server_tls(
    certificate: Path, key: Path, ca: Path, crls: Sequence[Path] = (), *, required: bool = True
) -> ssl.SSLContext:
    """Make the context of a server over mutual TLS: 1.2 or 1.3, client certificate in the first handshake.

    With revocation lists a leaf is checked against its issuer's, and one whose issuer has no current list is refused.
    `required=False`: a client without certificate gets in, and is told 403. Raises `UsageError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed session would not be checked against a newer revocation list
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(ca)
        for crl in crls:
            context.load_verify_locations(crl)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            "TlsFiles", "Certificate, key, CA bundle or revocation list cannot be used.", try_this="Check the paths."
        ) from error
    if crls:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


class TlsProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 that says who the TLS peer is, and does not wait for ever for the head of a request.

    The certificate, in DER, stands in `scope["extensions"]["tls"]["peer_der"]`.
    """

    head_seconds: float = 15.0
    head_bytes: int = 64 * 1024
    close_seconds: float = 5.0

    _peer_der: bytes | None = None
    _head: bool = True  # a head is awaited or under way, as opposed to a body
    _heard: bool = False  # something of it has come
    _begun: bool = False  # its first line has
    _head_size: int = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Read the peer's certificate once, and start to wait for a request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._peer_der = tls.getpeercert(binary_form=True) if tls is not None else None
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that grows without end is cut."""
        if self._head:
            self._heard = True
            self._wait_for_head()
        if self._begun:
            self._head_size += len(data)
        super().data_received(data)
        if self._begun and self._head_size > self.head_bytes:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """Put the peer in the scope."""
        super().on_message_begin()
        self.scope["extensions"] = {"tls": {"peer_der": self._peer_der, "hang_up": self._hang_up}}
        self._heard = self._begun = True
        self._head_size = 0
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Leave the rest to the application, which has its own limits."""
        self._head = self._heard = self._begun = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect another head."""
        self._head = True
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one that does not take its last bytes is cut."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.close_seconds, self.transport.abort)

    def _hang_up(self) -> None:
        self.cycle.disconnected = True
        self.transport.abort()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # the answer to the request before it is on its way
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            if self._heard:
                line = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                self.transport.write(line.encode())
            self.transport.close()
            self.loop.call_later(self.close_seconds, self.transport.abort)


class Server:
    """One listener of one application; several may run in one loop.

    `port=0` takes a free port, which `port` tells after `start()`. `uds` listens on a Unix socket (mode 0600) instead.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        uds: Path | None = None,
        tls: ssl.SSLContext | None = None,
        keep_alive: int = KEEP_ALIVE,
        grace: float = 10.0,
        protocol: type[TlsProtocol] = TlsProtocol,
    ) -> None:
        self.host = host
        self.port = port
        self.uds = uds
        self.tls = tls
        self.grace = grace
        self._protocol = protocol
        self._config = uvicorn.Config(
            cast("ASGIApplication", app),
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=keep_alive,
        )
        self._config.load()
        self._state = ServerState()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Give the address, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `UsageError` when the address cannot be had."""
        loop = asyncio.get_running_loop()

        def connected() -> TlsProtocol:
            return self._protocol(config=self._config, server_state=self._state, app_state={}, _loop=loop)

        try:
            if self.uds is not None:
                self._listener = await loop.create_unix_server(connected, path=str(self.uds), ssl=self.tls)
                os.chmod(self.uds, 0o600)  # noqa: PTH101  of a path that was just made
            else:
                self._listener = await loop.create_server(
                    connected, host=self.host, port=self.port, ssl=self.tls, backlog=2048
                )
        except OSError as error:
            where = str(self.uds or f"{self.host}:{self.port}")
            raise UsageError(
                "AddressInUse", f"Cannot listen on {where}.", try_this="Stop what listens there, or take another."
            ) from error
        if self.uds is None:
            self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Take no more, finish what is being answered (at most `grace` seconds), close."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.grace):
                while self._state.connections or self._state.tasks:  # noqa: ASYNC110  uvicorn has no event for it
                    await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            cast("TlsProtocol", connection).transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        self._listener = None
        if self.uds is not None:
            self.uds.unlink(missing_ok=True)

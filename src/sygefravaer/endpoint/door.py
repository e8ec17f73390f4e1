# SPDX-License-Identifier: MPL-2.0
"""
The door for HTTP: who calls, how much of anything he may send, and what HTTP alone refuses.

A raw ASGI application. An `Inbound` that passed it goes to the handler of its path; whatever a handler raises becomes
a fault here, and every answer tells its CallUUID.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import logging
import math
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID, uuid4

from cryptography import x509

from sygefravaer import failpoint, soap
from sygefravaer.clock import Clock
from sygefravaer.contract import names, package
from sygefravaer.errors import HttpRefusal, SygefravaerError, UsageError
from sygefravaer.identity import Identity, from_client_cert_header, from_der
from sygefravaer.revocation import Revocation, Standing
from sygefravaer.soap import CONTENT_TYPE, Limits
from sygefravaer.telemetry import CALL, TRIP, Handing, Metrics, Tracer, Trip

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_SECONDS: Final = 1.0  # how long a refused body is still thrown away, so that the answer can be read
LINGER_BYTES: Final = 16 * soap.MEBIBYTE
GZIP_FROM: Final = 1024  # bytes; below it compressing costs more than it saves
CLOSE: Final = ("Connection", "close")
OUTCOMES: Final = {200: "answered", 500: "fault"}  # unless somebody who knows better has said it
UNKNOWN_SECONDS: Final = "5"  # until a certificate about which nothing is known may be tried again

_TYPES: Final = frozenset({"", "text/xml", "application/xml", "application/soap+xml"})
_CODINGS: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
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
    """What goes back. A body is SOAP unless `headers` names another Content-Type.

    `written` is called once the answer has been written: what it says was then told.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    written: Callable[[], Awaitable[None]] | None = None


InboundHandler = Callable[[Inbound], Awaitable[Answer]]


class HangUp(Exception):
    """Close the connection without an answer: raised by a handler that plays a receiver whose receipt is lost."""


# --- who calls ---


class Peers:
    """Who may call at all, by certificate; asked once per request, since open connections are not rechecked by TLS.

    `trusted` are the networks of TLS-terminating proxies, and `trust_unix` trusts whoever reaches a Unix socket: only
    from those is the header `Client-Cert` believed. `required=False` lets a call without certificate in (for trials).
    `revocation` is asked too whether a certificate is revoked.
    """

    def __init__(
        self,
        *,
        required: bool = True,
        trusted: Iterable[str] = (),
        trust_unix: bool = False,
        revoked: Iterable[tuple[str, int]] = (),
        tls: ssl.SSLContext | None = None,
        revocation: Revocation | None = None,
    ) -> None:
        self.required = required
        self.trust_unix = trust_unix
        self.revoked = frozenset(revoked)
        self.tls = tls
        self.revocation = revocation
        self._trusted = tuple(ipaddress.ip_network(one) for one in trusted)

    def identify(self, scope: Scope) -> Identity | None:
        """Give the caller. Raises `HttpRefusal` (closing) without a usable, valid, unrevoked certificate."""
        found = self._presented(scope)
        if found is None:
            if self.required:
                raise HttpRefusal(403, "No client certificate was presented.", headers=(CLOSE,))
            return None
        if (found.issuer, found.serial) in self.revoked:
            raise HttpRefusal(403, "The client certificate is revoked.", headers=(CLOSE,))
        self._check_standing(found)
        if not found.not_before <= datetime.now(UTC) <= found.not_after:  # TLS's time is the machine's
            raise HttpRefusal(403, "The client certificate is not valid today.", headers=(CLOSE,))
        return found

    def _check_standing(self, found: Identity) -> None:
        """Refuse whom the watch calls revoked (403), and of whom nothing is known, if the settings say so (503)."""
        watch = self.revocation
        standing = Standing.GOOD if watch is None else watch.standing(found)
        if standing is Standing.REVOKED:
            raise HttpRefusal(403, "The client certificate is revoked.", headers=(CLOSE,))
        if standing is Standing.UNKNOWN and watch is not None and not watch.admit_unknown:
            raise HttpRefusal(
                503,
                "It is not known at present whether the client certificate is revoked.",
                headers=(("Retry-After", UNKNOWN_SECONDS), CLOSE),
            )

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
                raise HttpRefusal(403, "The header Client-Cert stands there twice.", headers=(CLOSE,))
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
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.metrics, self.tracer = metrics, tracer or Handing()
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
        trip = Trip(tracer=self.tracer)
        TRIP.set(trip)
        request = _Request(scope, receive, send, self._limits)
        self.tracer.call(trip, request.headers)
        try:
            answer = await self._answered(request, call_uuid, received_at)
        except _GoneError:
            _log.info("http.client_gone")
            self._ended(trip, call_uuid, "client_gone")
            return
        except HangUp:
            scope["extensions"]["tls"]["hang_up"]()
            self._ended(trip, call_uuid, "hung_up")
            return
        except HttpRefusal as refusal:
            _log.info("http.refused", extra={"status": refusal.status, "reason": refusal.detail})
            answer = _plain(refusal.status, refusal.detail, refusal.headers)
        except Exception as error:  # noqa: BLE001  the door: whatever it is becomes a fault, and a line in the log
            level = logging.INFO if isinstance(error, SygefravaerError) else logging.ERROR
            _log.log(level, "call.failed", exc_info=error, extra={"code": getattr(error, "code", "InternalError")})
            status, body = soap.fault(error, call_uuid=call_uuid, received_at=received_at, contact=self._contact)
            answer = Answer(status=status, body=body)
        failpoint.reach("answer.before_write")
        written = await request.send(answer, call_uuid)
        failpoint.reach("answer.after_write")
        self._ended(trip, call_uuid, OUTCOMES.get(answer.status) or f"http_{answer.status}")
        if written and answer.written is not None:
            await answer.written()

    def _ended(self, trip: Trip, call_uuid: UUID, outcome: str) -> None:
        """Write down what a call came to and where its time went."""
        trip.reply(outcome)
        self.tracer.done(trip, call_uuid)
        if self.metrics is None:  # nobody watches: a line for each call would cost more than all the rest here
            return
        self.metrics.answered(trip)
        _log.info("call.answered", extra={"operation": trip.operation, "outcome": trip.outcome, **trip.instants()})

    async def _answered(self, request: _Request, call_uuid: UUID, received_at: datetime) -> Answer:
        identity = self.peers.identify(request.scope)
        path, method = _path(request.scope["path"]), request.scope["method"]
        handler = self._handlers.get(path)
        if handler is None and self._any_path:
            handler = next(iter(self._handlers.values()))
        if method in {"GET", "HEAD"} and (document := self._document(request, path)) is not None:
            _said("document")
            return Answer(status=200, body=document)
        if handler is None:
            raise HttpRefusal(404, "Nothing is served at this path.", headers=request.leftover())
        if method != "POST":
            raise HttpRefusal(405, "Only POST is served here.", headers=(("Allow", "POST"), *request.leftover()))
        if self.window is not None:
            wait = max(1, math.ceil((self.window - received_at).total_seconds()))
            raise HttpRefusal(
                503, "The service is closed for maintenance.", headers=(("Retry-After", f"{wait}"), CLOSE)
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
        return (CLOSE,) if sent else ()

    async def body(self) -> bytes:
        """Read the body to its end, inflated. Raises `HttpRefusal` (408, 413, 415) and `_GoneError`."""
        self._check_media()
        length = self.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limits.body:
            raise self._too_big()
        if self._is("come"):
            body = await self._read()
        else:
            try:
                async with asyncio.timeout(self._limits.read_seconds):
                    body = await self._read()
            except TimeoutError:
                raise HttpRefusal(408, "The body did not arrive in time.", headers=(CLOSE,)) from None
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
        return HttpRefusal(413, f"The body is longer than {self._limits.body} bytes.", headers=(CLOSE,))

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

    async def send(self, answer: Answer, call_uuid: UUID) -> bool:
        """Write the answer, and say whether it was written: not to a client that has gone.

        One that does not read is left after a while.
        """
        body, headers = answer.body, dict(answer.headers)
        if body and len(body) >= GZIP_FROM and _wants_gzip(self.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(gzip.compress, body, 6)
            headers["Content-Encoding"] = "gzip"
        if body:
            headers.setdefault("Content-Type", CONTENT_TYPE)
        headers |= {"CallUUID": str(call_uuid), "Content-Length": str(len(body))}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        start = {"type": "http.response.start", "status": answer.status, "headers": raw}
        if self._is("takes") and headers.get(CLOSE[0]) != CLOSE[1]:
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body})
            return not self._is("gone")  # the server swallows what is written to one who has gone
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.read_seconds):
                await self._send(start)
                if headers.get(CLOSE[0]) == CLOSE[1] and not self._whole:
                    await self._send({"type": "http.response.body", "body": body, "more_body": True})
                    await self._linger()
                    body = b""
                await self._send({"type": "http.response.body", "body": body})
                return not self._is("gone")
        return False

    def _is(self, what: str) -> bool:
        """Ask our server what it says of this connection; another one says nothing."""
        asked: Callable[[], bool] | None = self.scope.get("extensions", {}).get("tls", {}).get(what)
        return asked is not None and asked()

    async def _linger(self) -> None:
        """Throw away what is still being sent, for a moment: a reset would overtake the answer."""
        if "expect" in self.headers or not self.leftover():
            return
        thrown = 0
        with contextlib.suppress(TimeoutError, _GoneError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._whole and thrown < LINGER_BYTES:
                    thrown += len(await self._more())


def _said(outcome: str) -> None:
    """Say of the call that is being answered here what it came to."""
    if (trip := TRIP.get()) is not None:
        trip.outcome = outcome


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

# SPDX-License-Identifier: MPL-2.0
"""
The server: HTTP/1.1 over mutual TLS, one or several listeners in a loop.

uvicorn's protocol, told who the peer is and made to let go of clients that never finish a head.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import uvicorn
from uvicorn._types import ASGIApplication
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sygefravaer.endpoint.door import App
from sygefravaer.errors import UsageError

_HEAD: Final = b"HTTP/1.1 "
_COPIED: Final = 64 * 1024  # bytes; a longer body goes by itself rather than be copied
KEEP_ALIVE: Final = 75  # seconds; longer than any client of ours keeps one

_log: Final = logging.getLogger("endpoint")


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


class _Joining:
    """
    A transport that holds the head of an answer until its body is written: one record and one packet instead of two.

    A head whose body does not follow in the same breath goes by itself.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write, or hold what is a head."""
        if self._held and len(data) > _COPIED:
            self._flush()
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(_HEAD):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Write what is held, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class TlsProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 that says who the TLS peer is, and does not wait for ever for the head of a request.

    The certificate, in DER, stands in `scope["extensions"]["tls"]["peer_der"]`; beside it `hang_up()`, which cuts the
    connection, `gone()`, which says whether the client has gone, `come()`, whether all of its request has, and
    `takes()`, whether what is written goes out at once.
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
        super().connection_made(cast("asyncio.Transport", _Joining(transport, self.loop)))
        self.access_log = False  # uvicorn turns it on for whoever listens to its logger, whatever its setting is
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
        cycle = self.cycle  # of this request; the next one of a pipeline has its own
        self.scope["extensions"]["tls"] |= {
            "gone": lambda: cycle.disconnected,
            "come": lambda: not cycle.more_body,
            "takes": lambda: not cycle.flow.write_paused,
        }

    def on_message_complete(self) -> None:
        """Expect another head."""
        self._head = True
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser stops where another protocol would begin: what follows is not read as a request.
        _log.info("http.upgrade_ignored")
        if self.cycle is not None:
            self.cycle.keep_alive = False

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

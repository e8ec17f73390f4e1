# SPDX-License-Identifier: MPL-2.0
"""
Being called: the door for HTTP (`HttpDoor`), an endpoint for those who receive (`Endpoint`), and a server (`Server`).

`HttpDoor` knows who calls (from TLS, or from a trusted proxy), keeps limits of size and time, and hands an `Inbound` to
the handler of its path. `Endpoint` is one on top of it: a handler per operation gets a `Call`. `Server` runs either
over mutual TLS. `Chaos` makes a receiver faulty on purpose.
"""

from sygefravaer.endpoint.chaos import Chaos
from sygefravaer.endpoint.door import (
    Answer,
    App,
    HangUp,
    HttpDoor,
    Inbound,
    InboundHandler,
    Peers,
    Receive,
    Scope,
    Send,
)
from sygefravaer.endpoint.receiver import BULK, Call, Endpoint, Handler, Once, off_loop
from sygefravaer.endpoint.server import KEEP_ALIVE, Server, TlsProtocol, server_tls
from sygefravaer.endpoint.watch import Watch

__all__ = [
    "BULK",
    "KEEP_ALIVE",
    "Answer",
    "App",
    "Call",
    "Chaos",
    "Endpoint",
    "Handler",
    "HangUp",
    "HttpDoor",
    "Inbound",
    "InboundHandler",
    "Once",
    "Peers",
    "Receive",
    "Scope",
    "Send",
    "Server",
    "TlsProtocol",
    "Watch",
    "off_loop",
    "server_tls",
]

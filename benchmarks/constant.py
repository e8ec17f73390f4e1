# SPDX-License-Identifier: MPL-2.0
"""
The ceiling: the same server over the same TLS, with an application that reads the request and answers a constant.

    python -m benchmarks.constant CERTIFICATE KEY CA FILE

Answers every request with the bytes of FILE. Prints its port, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from sygefravaer.endpoint import Server, server_tls


async def main() -> None:
    """Serve until ended."""
    certificate, key, ca, file = map(Path, sys.argv[1:5])
    body = file.read_bytes()
    headers = [(b"content-type", b"text/xml;charset=UTF-8"), (b"content-length", str(len(body)).encode())]

    async def application(scope: object, receive: object, send: object) -> None:
        del scope
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    server = Server(application, tls=server_tls(certificate, key, ca))
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())

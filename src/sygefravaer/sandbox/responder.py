# SPDX-License-Identifier: MPL-2.0
"""
The revocation list and the OCSP responder of the sandbox's own authority, over HTTP on this machine.

`python -m sygefravaer.sandbox.responder DIR [PORT]` serves the authority in DIR at http://127.0.0.1:PORT/ca.crl and
/ocsp, and writes its address as its first line. What is revoked is read anew for every answer.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from aiohttp import web

from sygefravaer.sandbox.pki import Pki

HOST: Final = "127.0.0.1"
LONGEST: Final = 64 * 1024  # bytes of a question


def application(pki: Pki) -> web.Application:
    """Build the responder of an authority."""

    async def revoked(_: web.Request) -> web.Response:
        return web.Response(body=pki.crl_der(), content_type="application/pkix-crl")

    async def answer(request: web.Request) -> web.Response:
        try:
            told = pki.ocsp_answer(await request.read())
        except ValueError:
            return web.Response(status=400)
        return web.Response(body=told, content_type="application/ocsp-response")

    made = web.Application(client_max_size=LONGEST)
    made.router.add_get("/ca.crl", revoked)
    made.router.add_post("/ocsp", answer)
    return made


async def serve(pki: Pki, port: int = 0) -> None:
    """Serve until cancelled."""
    runner = web.AppRunner(application(pki), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        sys.stdout.write(f"http://{HOST}:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Pki(Path(sys.argv[1])).create(), int(sys.argv[2]) if sys.argv[2:] else 0))

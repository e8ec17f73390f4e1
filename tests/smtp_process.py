# SPDX-License-Identifier: MPL-2.0
"""
A mail server as a process of its own: `python -m smtp_process DIR MODE CERT KEY` with MODE starttls, implicit or none.

It wants user `advis` with password `hemmelig`, keeps what it takes as files in DIR, and refuses `nobody@` for good and
`later@` for now. Its first line is its port.
"""

import asyncio
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult


class Box:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.number = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.number += 1
        tls = b"" if server.transport.get_extra_info("ssl_object") is None else b"X-Tls: yes\r\n"
        new = self.directory / f"{self.number:03}.new"
        new.write_bytes(tls + b"X-To: " + ",".join(envelope.rcpt_tos).encode() + b"\r\n" + envelope.content)
        new.rename(new.with_suffix(".eml"))
        return "250 taken"


def allowed(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"advis", b"hemmelig"), handled=False)


async def serve(directory: Path, mode: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    box = Box(directory)

    def connected():
        return SMTP(
            box,
            hostname="localhost",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            auth_required=True,
            auth_require_tls=mode == "starttls",
            authenticator=allowed,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(
        connected, "127.0.0.1", 0, ssl=context if mode == "implicit" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *sys.argv[2:5]))

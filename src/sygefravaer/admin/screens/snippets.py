# SPDX-License-Identifier: MPL-2.0
"""The same call from somewhere else: as curl, for SoapUI, and with the SDK; what is masked has to be filled in."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Final

from sygefravaer.delivery.contents import Contents

HOST: Final = "https://GATEWAY"
_ENVELOPE: Final = """\
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">
  <soap:Header/>
  <soap:Body>
{element}
  </soap:Body>
</soap:Envelope>"""


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """A way to send the same: what it is for, and its text."""

    name: str
    title: str
    text: str


def of(found: Contents) -> tuple[Snippet, ...]:
    """Write the call in each way; nothing when what the message says is gone."""
    if found.sent is None:
        return ()
    operation = found.operation
    envelope = _ENVELOPE.format(element=indent("\n".join(found.sent.lines), "    "))
    url = HOST + operation.service.path
    curl = dedent(
        f"""\
        curl --cacert ca.pem --cert system.pem --key system.key \\
          --header 'Content-Type: text/xml; charset=utf-8' \\
          --header 'SOAPAction: "{operation.soap_action}"' \\
          --data-binary @- {url} <<'XML'
        """
    )
    soapui = dedent(
        f"""\
        POST {url}
        Content-Type: text/xml; charset=utf-8
        SOAPAction: "{operation.soap_action}"

        """
    )
    python = dedent(
        '''\
        import asyncio
        from pathlib import Path

        from lxml import etree

        from sygefravaer.client import Client, client_tls
        from sygefravaer.contract import codec
        from sygefravaer.contract.operations import OPERATIONS, Service

        ELEMENT = """\\
        '''
    )
    python += "\n".join(line.replace("\\", "\\\\") for line in found.sent.lines)
    python += dedent(
        f'''\
        """

        async def main():
            operation = OPERATIONS["{operation.name}"]
            message = codec.decode_request(operation, etree.fromstring(ELEMENT))
            tls = client_tls(Path("system.pem"), Path("system.key"), Path("ca.pem"))
            async with Client("{url}", service=Service("{operation.service.value}"), tls=tls) as client:
                print(await client.call(message))


        asyncio.run(main())
        '''
    )
    return (
        Snippet(name="curl", title="curl", text=f"{curl}{envelope}\nXML"),
        Snippet(name="soapui", title="SoapUI", text=soapui + envelope),
        Snippet(name="python", title="Python", text=python),
    )

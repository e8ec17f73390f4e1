# SPDX-License-Identifier: MPL-2.0
"""Elements and errors to envelopes; no text of a fault holds a value from a message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from lxml import etree

from sygefravaer.contract import codec
from sygefravaer.contract.messages import kvittering_fejl
from sygefravaer.contract.names import NS_FAULT, NS_SOAP11
from sygefravaer.errors import InternalError, LookupRefused, PlatformFault, Refused, RoutingNotFound, SoapFault
from sygefravaer.soap.reading import Envelope

CONTENT_TYPE: Final = "text/xml;charset=UTF-8"
CONTACT: Final = "Serviceplatformen Helpdesk"

_DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_OPEN: Final = b'<soap:Envelope xmlns:soap="' + NS_SOAP11.encode() + b'">'
_CLOSE: Final = b"</soap:Body></soap:Envelope>"


def element_bytes(element: etree._Element) -> bytes:
    """Give the element as it came, in UTF-8, with every namespace declaration that was in scope where it stood.

    Also those that only a value uses: `xsi:type="a:T"` is meant by what `a` is bound to.
    """
    return etree.tostring(element, encoding="UTF-8", xml_declaration=False, with_tail=False)


def wrap(element: bytes, *, header: bytes = b"") -> bytes:
    """Put the bytes of one element in an envelope; `header` is the bytes of its header blocks."""
    head = b"<soap:Header>" + header + b"</soap:Header>" if header else b"<soap:Header/>"
    return b"".join((_DECLARATION, _OPEN, head, b"<soap:Body>", element, _CLOSE))


def forward(element: etree._Element) -> bytes:
    """Give a new envelope with an empty header and, in the body, the element exactly as it was received."""
    return wrap(element_bytes(element))


def reply(element: bytes, to: Envelope | None = None) -> bytes:
    """Give the envelope that answers `to` with an element; its wsa:MessageID, if any, comes back as RelatesTo."""
    return wrap(element, header=relates_to(to))


def relates_to(envelope: Envelope | None) -> bytes:
    """Give the header block that echoes the WS-Addressing MessageID of an envelope, or nothing."""
    if envelope is None or envelope.message_id is None:
        return b""
    text = _escaped(envelope.message_id)
    return f'<wsa:RelatesTo xmlns:wsa="{envelope.addressing}">{text}</wsa:RelatesTo>'.encode()


def fault(
    error: BaseException,
    *,
    call_uuid: UUID,
    received_at: datetime,
    contact: str = CONTACT,
    as_lookup: bool = False,
    to: Envelope | None = None,
) -> tuple[int, bytes]:
    """Render an error as (HTTP status, envelope), by the one table of answers.

    A `PlatformFault` becomes a ServiceplatformFault; a `Refused` a TransportKvitteringFault, or on a look-up a
    ServiceplatformFault with the same code; a `SoapFault` has no detail; all else is `InternalError`.
    """
    if isinstance(error, Refused) and as_lookup:
        error = RoutingNotFound() if error.code == "G005" else LookupRefused(error.code, error.place)
    elif not isinstance(error, PlatformFault | SoapFault | Refused):
        error = InternalError()
    faultcode, status, detail = _fault_parts(error)
    instant = received_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    faultstring = (
        f"{error.text}\n\nFor further information contact {contact} and inform:\n"
        f"  CallUUID: {call_uuid}\n  Received: {instant}"
    )
    return status, wrap(
        f"<soap:Fault><faultcode>soap:{faultcode}</faultcode>"
        f"<faultstring>{_escaped(faultstring)}</faultstring>{detail}</soap:Fault>".encode(),
        header=relates_to(to),
    )


def _fault_parts(error: PlatformFault | SoapFault | Refused) -> tuple[str, int, str]:
    if isinstance(error, Refused):
        receipt = codec.encode_receipt(kvittering_fejl(error.code)).decode()
        return "Client", 500, f"<detail>{receipt}</detail>"
    if isinstance(error, SoapFault):
        return error.faultcode, error.status, ""
    text = f"{error.text} {error.hint}".strip()
    named = (
        f"<spf:ErrorCode>{_escaped(error.code)}</spf:ErrorCode><spf:ErrorText>{_escaped(text)}</spf:ErrorText>"
        "</spf:Error></spf:ErrorList></spf:ServiceplatformFault></detail>"
    )
    opened = f'<detail><spf:ServiceplatformFault xmlns:spf="{NS_FAULT}"><spf:ErrorList><spf:Error>'
    return error.faultcode, error.status, opened + named


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

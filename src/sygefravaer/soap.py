# SPDX-License-Identifier: MPL-2.0
"""
Bytes to SOAP 1.1 envelopes and back. Pure.

The only XML parser for what comes from outside is made here: no DTD, no entities, nothing fetched, and limits on size,
depth and number before a caller's document is walked. Answers and faults are rendered here and nowhere else; no text
of them holds a value from a message.
"""

from __future__ import annotations

import copy
import hashlib
import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, cast
from uuid import UUID

from lxml import etree

from sygefravaer.contract import codec
from sygefravaer.contract.messages import TransportKvitteringType, kvittering_fejl
from sygefravaer.contract.names import NS_AUTHORITY, NS_CALLCONTEXT, NS_FAULT, NS_KVITTERING, NS_SOAP11
from sygefravaer.contract.operations import OPERATIONS, Operation
from sygefravaer.contract.values import Cvr
from sygefravaer.errors import (
    AuthorityContextInvalid,
    HttpRefusal,
    InternalError,
    LookupRefused,
    MalformedRequest,
    MustUnderstand,
    NotAnEnvelope,
    PlatformFault,
    Refused,
    RoutingNotFound,
    SecurityModelNotProvided,
    SoapFault,
    VersionMismatch,
)

CONTENT_TYPE: Final = "text/xml;charset=UTF-8"
CONTACT: Final = "Serviceplatformen Helpdesk"
MEBIBYTE: Final = 1024 * 1024

_DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_OPEN: Final = b'<soap:Envelope xmlns:soap="' + NS_SOAP11.encode() + b'">'
_CLOSE: Final = b"</soap:Body></soap:Envelope>"

_ENVELOPE: Final = f"{{{NS_SOAP11}}}Envelope"
_HEADER: Final = f"{{{NS_SOAP11}}}Header"
_BODY: Final = f"{{{NS_SOAP11}}}Body"
_FAULT: Final = f"{{{NS_SOAP11}}}Fault"
_MUST_UNDERSTAND: Final = f"{{{NS_SOAP11}}}mustUnderstand"
_ACTOR: Final = f"{{{NS_SOAP11}}}actor"
_ACTORS_OF_OURS: Final = frozenset({"", "http://schemas.xmlsoap.org/soap/actor/next"})

_ADDRESSING: Final = frozenset(
    {"http://www.w3.org/2005/08/addressing", "http://schemas.xmlsoap.org/ws/2004/08/addressing"}
)
_WSS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-"
_SECURITY: Final = f"{{{_WSS}secext-1.0.xsd}}Security"
_TIMESTAMP: Final = f"{{{_WSS}utility-1.0.xsd}}Timestamp"
_LONGEST_MESSAGE_ID: Final = 1024  # a longer wsa:MessageID is not echoed

_AUTHORITY_CONTEXT: Final = f"{{{NS_AUTHORITY}}}AuthorityContext"
_MUNICIPALITY_CVR: Final = f"{{{NS_AUTHORITY}}}MunicipalityCVR"
_CALL_CONTEXT: Final = f"{{{NS_CALLCONTEXT}}}CallContext"
_RECEIPT: Final = f"{{{NS_KVITTERING}}}TransportKvittering"
_ERROR_CODE: Final = f"{{{NS_FAULT}}}ErrorCode"

_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_DTD: Final = "It holds a document type declaration (DTD)."
_PARAMETERS: Final = re.compile(r""";\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|'?([^\s;"']*))""")
_GZIP: Final = 31  # zlib's number for a gzip container

_string: Final = etree.XPath("string()")
_parsers = threading.local()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of anything a caller may send. Bytes, counts, seconds."""

    body: int = 5 * MEBIBYTE
    inflate: int = 20 * MEBIBYTE
    depth: int = 64
    nodes: int = 100_000
    attributes: int = 1_000  # of one element; also all namespace declarations together
    all_attributes: int = 10_000
    read_seconds: float = 30.0


LIMITS: Final = Limits()


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What came: the one element in the Body, and what must be answered to its WS-Addressing headers.

    `notes` names the tolerances that were used, for the log: `encoding.latin1`, `header.ignored`.
    """

    element: etree._Element
    message_id: str | None = None
    addressing: str | None = None
    notes: tuple[str, ...] = ()


# --- in ---


def read(body: bytes, *, content_type: str = "", limits: Limits = LIMITS) -> Envelope:
    """Read a request. Raises `MalformedRequest` (status 400 when it is no XML), `VersionMismatch`, `MustUnderstand`."""
    document, notes = _transcoded(body, _charset(content_type))
    root = _parse(document, limits)
    header, element = _opened(root)
    if header is not None:
        notes += _understood(header)
    message_id, addressing = _message_id(header)
    return Envelope(element=element, message_id=message_id, addressing=addressing, notes=notes)


def gunzip(body: bytes, cap: int) -> bytes:
    """Inflate a gzip body. Raises `HttpRefusal` (413) beyond `cap` bytes, `MalformedRequest` (400) when broken."""
    whole = bytearray()
    rest = body
    try:
        while rest:
            engine = zlib.decompressobj(_GZIP)
            whole += engine.decompress(rest, cap + 1 - len(whole))
            if len(whole) > cap:
                raise HttpRefusal(413, f"The body inflates to more than {cap} bytes.")
            if not engine.eof:
                raise MalformedRequest("The gzip body ends too early.", status=400)
            rest = engine.unused_data
    except zlib.error as error:
        raise MalformedRequest("The body is not gzip, as Content-Encoding says.", status=400) from error
    return bytes(whole)


def action_of(headers: Mapping[str, str]) -> str | None:
    """Give the SOAPAction without quotes, from the header or from the media type's `action`; `None` if neither is."""
    action = headers.get("soapaction")
    if action is None:
        action = _parameter(headers.get("content-type", ""), "action")
    return None if action is None else action.strip().strip("\"'")


def authority(element: etree._Element) -> Cvr:
    """Give the municipality on whose behalf the call is made, read from the tree before any schema.

    Raises `SecurityModelNotProvided` without an AuthorityContext, `AuthorityContextInvalid` when its CVR is wrong.
    """
    context = element.find(_AUTHORITY_CONTEXT)
    if context is None:
        raise SecurityModelNotProvided
    number = context.find(_MUNICIPALITY_CVR)
    try:
        return Cvr.parse("" if number is None else text_of(number))
    except Refused as error:
        raise AuthorityContextInvalid from error


def text_of(element: etree._Element) -> str:
    """Give the whole text of an element; a comment in the middle does not end it."""
    return str(_string(element))


def digest(element: etree._Element) -> bytes:
    """Give SHA-256 over the exclusive C14N, without comments, of the element without its CallContext."""
    if element.find(_CALL_CONTEXT) is not None:
        element = copy.deepcopy(element)
        for context in element.findall(_CALL_CONTEXT):
            element.remove(context)
    return hashlib.sha256(canonical(element)).digest()


def canonical(element: etree._Element) -> bytes:
    """Give the exclusive C14N of an element, without comments and without what follows it.

    Raises `MalformedRequest` when it has none: a namespace name must not be a relative URI.
    """
    try:
        return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
    except etree.C14NError as error:
        raise MalformedRequest("It has no canonical form: a namespace name in it is a relative URI.") from error


# --- out ---


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


# --- a caller reads the answer ---


@dataclass(frozen=True, kw_only=True)
class ReceiptAnswer:
    """A send was answered: the receipt, and the bytes of the response element as they came."""

    receipt: TransportKvitteringType
    element: bytes


@dataclass(frozen=True, kw_only=True)
class ReplyAnswer:
    """A look-up was answered with its response element."""

    element: etree._Element


@dataclass(frozen=True, kw_only=True)
class FaultAnswer:
    """A fault came. With a receipt in its detail it counts as that receipt, whatever its faultcode says."""

    faultcode: Literal["Client", "Server"]
    code: str | None
    text: str
    receipt: TransportKvitteringType | None = None


_ANY_SEND: Final = OPERATIONS["SendForretningsSvar"]  # all sends are answered by the same type

Answer = ReceiptAnswer | ReplyAnswer | FaultAnswer


def answer(body: bytes, operation: Operation, *, content_type: str = "", limits: Limits = LIMITS) -> Answer:
    """Read what a service answered to an operation. Raises `NotAnEnvelope` when it is not what the operation promises.

    A receipt is validated by the schema; a look-up's response is only recognised by its name.
    """
    try:
        document, _ = _transcoded(body, _charset(content_type))
        _, element = _opened(_parse(document, limits))
        if element.tag == _FAULT:
            return _fault_answer(element)
        if element.tag != operation.reply_tag:
            raise NotAnEnvelope("Another element than the operation's response stands in the Body.")
        if operation.lookup:
            return ReplyAnswer(element=element)
        codec.validate(operation.service, element)
        return ReceiptAnswer(receipt=codec.receipt_of(operation, element), element=element_bytes(element))
    except (PlatformFault, SoapFault) as error:
        raise NotAnEnvelope(error.text) from error


def _fault_answer(element: etree._Element) -> FaultAnswer:
    code = text_of(found).strip() if (found := element.find("faultcode")) is not None else ""
    side = code.rpartition(":")[2].partition(".")[0]
    detail = element.find("detail")
    receipt = detail.find(_RECEIPT) if detail is not None else None
    named = next(detail.iter(_ERROR_CODE), None) if detail is not None else None
    return FaultAnswer(
        faultcode="Server" if side == "Server" else "Client",
        code=None if named is None else text_of(named).strip() or None,
        text=text_of(found).strip() if (found := element.find("faultstring")) is not None else "",
        receipt=None if receipt is None else _readable_receipt(receipt),
    )


def _readable_receipt(element: etree._Element) -> TransportKvitteringType | None:
    """Read the receipt in a fault's detail; one that the schema would refuse is as good as none."""
    try:
        whole = etree.Element(_ANY_SEND.reply_tag)
        whole.append(copy.deepcopy(element))
        codec.validate(_ANY_SEND.service, whole)
        return codec.receipt_of(_ANY_SEND, whole)
    except PlatformFault:
        return None


# --- the inside of reading ---


def _charset(content_type: str) -> str | None:
    return _parameter(content_type, "charset")


@lru_cache(maxsize=256)
def _parameter(content_type: str, name: str) -> str | None:
    for key, quoted, plain in _PARAMETERS.findall(content_type):
        if key.lower() == name:
            return str(quoted or plain)
    return None


def _transcoded(body: bytes, charset: str | None) -> tuple[bytes, tuple[str, ...]]:
    """Give the document in UTF-8 without byte order mark: by that mark, else HTTP, else its declaration, else a guess.

    Undeclared bytes that are not UTF-8 are taken as Latin-1: clients that send them are about.
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], encoding), ()
    if charset is None and (found := _DECLARED.match(body[:200])):
        charset = found[1].decode()
    if charset is None and body[:2] in {b"<\0", b"\0<"}:
        charset = "utf-16"
    if charset is not None:
        known = _ENCODINGS.get(charset.strip().lower())
        if known is None:
            raise MalformedRequest("The character encoding is not one of UTF-8, UTF-16, ISO-8859-1.", status=400)
        if known == "utf-16":
            known = "utf-16-le" if body[1:2] == b"\0" else "utf-16-be"
        return _decoded(body, known), ()
    try:
        return _decoded(body, "utf-8"), ()
    except MalformedRequest:
        return _decoded(body, "latin-1"), ("encoding.latin1",)


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        text = body.decode(encoding)
        return body if encoding in {"utf-8", "ascii"} else text.encode()
    except UnicodeError as error:
        raise MalformedRequest(f"The bytes are not {encoding}, as they are said to be.", status=400) from error


def _parser() -> etree.XMLParser:
    """Give this thread's parser. `collect_ids` stays as it is: with it off, a parameter entity opens local files."""
    if not hasattr(_parsers, "parser"):
        _parsers.parser = etree.XMLParser(
            encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
    return cast("etree.XMLParser", _parsers.parser)


def _parse(document: bytes, limits: Limits) -> etree._Element:
    _look_over(document, limits)
    try:
        root = etree.fromstring(document, _parser())
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise MalformedRequest(f"It is not well-formed XML ({_kind(error)}, line {line}, column {column}).") from None
    if root.getroottree().docinfo.internalDTD is not None:  # a second lock: _look_over has refused it
        raise MalformedRequest(_DTD)
    if _deeper_than(root, limits.depth):
        raise MalformedRequest(f"Its elements are nested deeper than {limits.depth} levels.")
    if document.count(b"=") > limits.attributes and _crowded(root, limits):
        raise MalformedRequest(
            f"It has more than {limits.attributes} attributes in one element, or {limits.all_attributes} in all."
        )
    return root


def _look_over(document: bytes, limits: Limits) -> None:
    """Refuse by the bytes alone what no parser should see."""
    if document.lstrip()[:1] != b"<":
        raise MalformedRequest("It is not XML: it does not begin with a tag.", status=400)
    if len(document) > limits.inflate:
        raise MalformedRequest(f"It is longer than {limits.inflate} bytes.")
    if b"\0" in document:
        raise MalformedRequest("It holds a NUL character.")
    if b"<!DOCTYPE" in document:
        raise MalformedRequest(_DTD)
    if document.count(b"<") > 2 * limits.nodes:  # a start and an end for each
        raise MalformedRequest(f"It has more than {limits.nodes} nodes.")
    if document.count(b"xmlns") > limits.attributes:
        raise MalformedRequest(f"It has more than {limits.attributes} namespace declarations.")


def _kind(error: etree.XMLSyntaxError) -> str:
    """Name the rule of XML that was broken. The parser's own sentence is not used: it quotes the document."""
    return _XML_RULES.get(getattr(error, "code", 0), "SYNTAX")


_XML_RULES: Final[Mapping[int, str]] = {
    number: name.removeprefix("ERR_") for name, number in vars(etree.ErrorTypes).items() if name.startswith("ERR_")
}


def _deeper_than(root: etree._Element, depth: int) -> bool:
    if depth not in _DEEPER:
        _DEEPER[depth] = etree.XPath("boolean(" + "/*" * (depth + 1) + ")")
    return bool(_DEEPER[depth](root))


_DEEPER: Final[dict[int, etree.XPath]] = {}


def _crowded(root: etree._Element, limits: Limits) -> bool:
    counts = [len(element.attrib) for element in root.iter(etree.Element)]
    return max(counts) > limits.attributes or sum(counts) > limits.all_attributes


def _opened(root: etree._Element) -> tuple[etree._Element | None, etree._Element]:
    """Give an envelope's Header, if it has one, and the one element of its Body."""
    if root.tag != _ENVELOPE:
        if etree.QName(root).localname == "Envelope":
            raise VersionMismatch
        raise MalformedRequest("Its root is not a SOAP 1.1 Envelope.")
    parts = list(root.iterchildren(etree.Element))
    header = parts.pop(0) if parts and parts[0].tag == _HEADER else None
    body = parts.pop(0) if parts and parts[0].tag == _BODY else None
    if body is None or any(part.tag in {_HEADER, _BODY} for part in parts):
        raise MalformedRequest("The Envelope does not hold an optional Header and then one Body.")
    children = list(body.iterchildren(etree.Element))
    if len(children) != 1:
        raise MalformedRequest(f"The Body holds {len(children)} elements; exactly one was wanted.")
    if any(text and not text.isspace() for text in (body.text, *(child.tail for child in body))):
        raise MalformedRequest("The Body holds text beside its element.")
    return header, children[0]


def _understood(header: etree._Element) -> tuple[str, ...]:
    """Refuse a header block that must be understood and is not; say whether any was ignored."""
    notes: tuple[str, ...] = ()
    for block in header.iterchildren(etree.Element):
        if etree.QName(block).namespace in _ADDRESSING or _only_a_timestamp(block):
            continue
        must = block.get(_MUST_UNDERSTAND, "0").strip() in {"1", "true"}
        if must and block.get(_ACTOR, "").strip() in _ACTORS_OF_OURS:
            raise MustUnderstand
        notes = ("header.ignored",)
    return notes


def _only_a_timestamp(block: etree._Element) -> bool:
    return block.tag == _SECURITY and all(part.tag == _TIMESTAMP for part in block.iterchildren(etree.Element))


def _message_id(header: etree._Element | None) -> tuple[str | None, str | None]:
    for block in () if header is None else header.iterchildren(etree.Element):
        name = etree.QName(block)
        if name.localname == "MessageID" and name.namespace in _ADDRESSING:
            text = text_of(block).strip()
            if 0 < len(text) <= _LONGEST_MESSAGE_ID:
                return text, name.namespace
    return None, None


# --- the inside of a fault ---


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

# SPDX-License-Identifier: MPL-2.0
"""A tree to an envelope: its one element, what must be understood, and what is read of it before any schema."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from sygefravaer.contract.names import NS_AUTHORITY, NS_CALLCONTEXT, NS_SOAP11
from sygefravaer.contract.values import Cvr
from sygefravaer.errors import (
    AuthorityContextInvalid,
    MalformedRequest,
    MustUnderstand,
    SecurityModelNotProvided,
    VersionMismatch,
)
from sygefravaer.soap.parsing import LIMITS, Limits, charset, parameter, parse, transcoded

_ENVELOPE: Final = f"{{{NS_SOAP11}}}Envelope"
_HEADER: Final = f"{{{NS_SOAP11}}}Header"
_BODY: Final = f"{{{NS_SOAP11}}}Body"
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

_string: Final = etree.XPath("string()")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What came: the one element in the Body, and what must be answered to its WS-Addressing headers.

    `notes` names the tolerances that were used, for the log: `encoding.latin1`, `header.ignored`.
    """

    element: etree._Element
    message_id: str | None = None
    addressing: str | None = None
    notes: tuple[str, ...] = ()


def read(body: bytes, *, content_type: str = "", limits: Limits = LIMITS) -> Envelope:
    """Read a request. Raises `MalformedRequest` (status 400 when it is no XML), `VersionMismatch`, `MustUnderstand`."""
    document, notes = transcoded(body, charset(content_type))
    root = parse(document, limits)
    header, element = opened(root)
    if header is not None:
        notes += _understood(header)
    message_id, addressing = _message_id(header)
    return Envelope(element=element, message_id=message_id, addressing=addressing, notes=notes)


def action_of(headers: Mapping[str, str]) -> str | None:
    """Give the SOAPAction without quotes, from the header or from the media type's `action`; `None` if neither is."""
    action = headers.get("soapaction")
    if action is None:
        action = parameter(headers.get("content-type", ""), "action")
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
    except ValueError as error:
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


def opened(root: etree._Element) -> tuple[etree._Element | None, etree._Element]:
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

# SPDX-License-Identifier: MPL-2.0
"""What a caller was answered, as a value: a receipt, a look-up's reply, or a fault."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from lxml import etree

from sygefravaer.contract import codec
from sygefravaer.contract.messages import TransportKvitteringType
from sygefravaer.contract.names import NS_FAULT, NS_KVITTERING, NS_SOAP11
from sygefravaer.contract.operations import OPERATIONS, Operation
from sygefravaer.errors import NotAnEnvelope, PlatformFault, SoapFault
from sygefravaer.soap.parsing import LIMITS, Limits, charset, parse, transcoded
from sygefravaer.soap.reading import opened, text_of
from sygefravaer.soap.writing import element_bytes

_FAULT: Final = f"{{{NS_SOAP11}}}Fault"
_RECEIPT: Final = f"{{{NS_KVITTERING}}}TransportKvittering"
_ERROR_CODE: Final = f"{{{NS_FAULT}}}ErrorCode"
_CALLERS: Final = frozenset({"Client", "VersionMismatch", "MustUnderstand"})
"""What blames the request. Any other code, also a stack's own as WCF's InternalServiceFault, is trouble over there."""

ALIKE: Final = 4096  # bytes of an answer to a send; most are the same to the byte, and what was read is kept

_ANY_SEND: Final = next(row for row in OPERATIONS.values() if not row.lookup)  # all are answered by the same type


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


Answer = ReceiptAnswer | ReplyAnswer | FaultAnswer


def answer(body: bytes, operation: Operation, *, content_type: str = "", limits: Limits = LIMITS) -> Answer:
    """Read what a service answered to an operation. Raises `NotAnEnvelope` when it is not what the operation promises.

    A receipt is validated by the schema; a look-up's response is only recognised by its name.
    """
    if operation.lookup or len(body) > ALIKE:
        return _answer(body, operation, content_type, limits)
    return _remembered(body, operation, content_type, limits)


def _answer(body: bytes, operation: Operation, content_type: str, limits: Limits) -> Answer:
    try:
        document, _ = transcoded(body, charset(content_type))
        _, element = opened(parse(document, limits))
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


_remembered: Final = lru_cache(maxsize=256)(_answer)


def _fault_answer(element: etree._Element) -> FaultAnswer:
    code = text_of(found).strip() if (found := element.find("faultcode")) is not None else ""
    side = code.rpartition(":")[2].partition(".")[0]
    detail = element.find("detail")
    receipt = detail.find(_RECEIPT) if detail is not None else None
    named = next(detail.iter(_ERROR_CODE), None) if detail is not None else None
    return FaultAnswer(
        faultcode="Client" if side in _CALLERS else "Server",
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

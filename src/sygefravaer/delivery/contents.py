# SPDX-License-Identifier: MPL-2.0
"""What a message says, at both of its ends, for who may read it: each document judged by the schema, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.masking import Difference, differences, pretty
from sygefravaer.contract.messages import Reply, Request
from sygefravaer.contract.operations import OPERATIONS, Operation
from sygefravaer.delivery.sealed import BODY, RECEIPT
from sygefravaer.errors import NoSuchMessage, SygefravaerError
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import CannotOpen, Vault

_FOUND: Final = """
SELECT message_id, lane_id, besked_id, operation, municipality_cvr, sender, recipient, cpr_key, call_uuid, status,
       accepted_at, first_attempt_at, settled_at, detail, nemrefusions_id, body, receipt,
       (SELECT max(other.message_id) FROM message AS other WHERE other.lane_id = message.lane_id
        AND other.operation = message.operation AND other.message_id < message.message_id) AS one_before
FROM message WHERE message_id = %(message_id)s"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One document of a message: its lines, and what the schema says against it (nothing when it is valid)."""

    lines: tuple[str, ...]
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """
    A message at both ends: what the sender sent, what the receiver is sent, the receipt that both have.

    `sent` is None when the body has been deleted by retention, or its key is not there any more.
    """

    head: Row
    operation: Operation
    sent: Document | None
    delivered: Document | None
    receipt: Document | None
    between: tuple[Difference, ...]
    """What the gateway has changed on the way."""

    @property
    def unchanged(self) -> bool:
        """Whether what goes to the receiver is what came from the sender."""
        return all(one.sign == " " for one in self.between)


async def read(store: Store, message_id: int) -> Row:
    """Give the row of a message with what lies sealed in it; raises `NoSuchMessage`."""
    async with store.read() as tx:
        return await read_within(tx, message_id)


async def read_within(tx: Tx, message_id: int) -> Row:
    """Give the same in a transaction of the caller's."""
    row = await tx.one(_FOUND, message_id=message_id)
    if row is None:
        raise NoSuchMessage
    return row


def contents(vault: Vault, row: Row, *, reveal: bool = False) -> Contents:
    """Open a message that was read, and write it out; masked unless it is to be revealed."""
    operation = OPERATIONS[row["operation"]]
    element = _opened(vault, row["body"], BODY)
    sent = delivered = receipt = None
    between: tuple[Difference, ...] = ()
    if element is not None:
        tree = _element(element)
        sent = _document(operation, tree, reveal=reveal)
        goes = _element(element)
        delivered = Document(
            lines=tuple(pretty(goes.getroottree().getroot(), reveal=reveal)), wrong=_judged(operation, goes)
        )
        between = tuple(differences(sent.lines, pretty(goes, reveal=reveal)))
    answered = _opened(vault, row["receipt"], RECEIPT)
    if answered is not None:
        receipt = _document(operation, _element(answered), reveal=reveal)
    return Contents(
        head={name: value for name, value in row.items() if name not in {"body", "receipt"}},
        operation=operation,
        sent=sent,
        delivered=delivered,
        receipt=receipt,
        between=between,
    )


def says(vault: Vault, row: Row) -> Request[Reply] | None:
    """Read what a message says; None when its body is gone or cannot be opened."""
    element = _opened(vault, row["body"], BODY)
    try:
        return None if element is None else codec.decode_request(OPERATIONS[row["operation"]], _element(element))
    except SygefravaerError:
        return None


def _opened(vault: Vault, sealed: bytes | None, context: str) -> bytes | None:
    try:
        return vault.open(bytes(sealed), context=context) if sealed else None
    except CannotOpen:
        return None


def _element(element: bytes) -> etree._Element:
    """Give the one element of an envelope around it: as it is sent, and as it is read."""
    return soap.read(soap.wrap(element), content_type="text/xml; charset=utf-8", limits=soap.LIMITS).element


def _document(operation: Operation, element: etree._Element, *, reveal: bool) -> Document:
    return Document(lines=tuple(pretty(element, reveal=reveal)), wrong=_judged(operation, element))


def _judged(operation: Operation, element: etree._Element) -> str:
    try:
        codec.validate(operation.service, element)
    except SygefravaerError as error:
        return error.detail
    return ""

# SPDX-License-Identifier: MPL-2.0
"""What lies sealed with a message, and its body read for what the gateway must know of it."""

from __future__ import annotations

from typing import Final

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import Reply, Request
from sygefravaer.contract.operations import Operation
from sygefravaer.store import Sealed
from sygefravaer.vault import Vault

BODY: Final = "message.body"  # what a sealed value is, so that one cannot stand for another
RECEIPT: Final = "message.receipt"
SEALED: Final = (
    Sealed(table="message", column="body", context=BODY),
    Sealed(table="message", column="receipt", context=RECEIPT),
)
"""Every sealed column of the gateway's messages."""


def read_body(vault: Vault, operation: Operation, body: bytes) -> Request[Reply]:
    """Open the body of a message that was accepted, and read it; raises `CannotOpen`."""
    document = soap.wrap(vault.open(body, context=BODY))
    envelope = soap.read(document, content_type="text/xml; charset=utf-8", limits=soap.LIMITS)
    return codec.decode_request(operation, envelope.element)

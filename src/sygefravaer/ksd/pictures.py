# SPDX-License-Identifier: MPL-2.0
"""
Pictures of a case as they are stored and sent.

A stored picture is the `Sygefravaerssag` element as HentSag answers it, so an answer needs no rebuilding.
"""

from __future__ import annotations

from typing import Final

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.contract.names import NS_SYGEFRAVAER

NAME: Final = "Sygefravaerssag"


def pack(picture: SygefravaerssagType) -> bytes:
    """Write a picture as it is stored and answered."""
    return codec.encode(picture, NAME, namespace=NS_SYGEFRAVAER)


def unpack(stored: bytes) -> SygefravaerssagType:
    """Read a stored picture."""
    return codec.decode(soap.read(soap.wrap(stored)).element, SygefravaerssagType)

# SPDX-License-Identifier: MPL-2.0
"""
Messages that a test function sends in a system's name, over the wire: made by the SDK, posted with its certificate.

It can send what a system of ours never would: a message twice, a changed one under the same BeskedID, one that
overtakes another, a value that no code list has.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from sygefravaer import soap
from sygefravaer.client import Client, client_tls, codes, hoved
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    OK,
    AuthorityContextType,
    CallContextType,
    HovedType,
    SendHaendelseSygefravaerssagRequest,
    SygefravaerssagType,
    TransportKvitteringType,
)
from sygefravaer.contract.operations import Operation, operation_by
from sygefravaer.contract.plain import of_plain, to_plain
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.errors import CallFailed
from sygefravaer.sandbox.parts import GATEWAY
from sygefravaer.sandbox.scenarios.theatres import CVRS, IDS, Theatre
from sygefravaer.soap import FaultAnswer, ReceiptAnswer, ReplyAnswer

Json = dict[str, Any]

USER: Final = "scenarie"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message as it went over the wire, so that it can go again."""

    caller: str
    door: str
    operation: Operation
    element: bytes
    head: HovedType
    payload: Json
    """What it says, for the timeline."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came back: `OK`, `ADVARSEL F306`, `FEJL G002`, `FAULT SchemaValidationFailed`, or no answer."""

    receipt: str
    digest: str = ""
    """Of the bytes of the response element."""
    reply: Json | None = None
    """Of a look-up."""
    value: Any = None


class Wire:
    """Connections of test functions; `async with`."""

    def __init__(self, theatre: Theatre) -> None:
        self._theatre = theatre
        self._stack = AsyncExitStack()
        self._clients: dict[tuple[str, str, str], Client] = {}

    async def __aenter__(self) -> Self:
        """Open none yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them all."""
        await self._stack.aclose()

    async def post(self, sent: Sent, *, times: int = 1, at_once: bool = False) -> list[Answered]:
        """Post a message so many times, one after the other or all at once; each gets its answer."""
        if at_once:
            return list(await asyncio.gather(*(self._posted(sent) for _ in range(times))))
        return [await self._posted(sent) for _ in range(times)]

    async def _posted(self, sent: Sent) -> Answered:
        client = await self._client(sent)
        try:
            answer = await client.post(sent.element, sent.operation)
        except CallFailed as error:
            return Answered(receipt=f"SILENCE {error.code}")
        match answer:
            case ReceiptAnswer():
                return Answered(receipt=_receipt(answer.receipt), digest=hashlib.sha256(answer.element).hexdigest())
            case ReplyAnswer():
                codec.validate(sent.operation.service, answer.element)
                value = codec.decode_reply(sent.operation, answer.element)
                digest = hashlib.sha256(soap.element_bytes(answer.element)).hexdigest()
                return Answered(receipt=OK, digest=digest, reply=to_plain(value), value=value)
            case FaultAnswer(receipt=TransportKvitteringType() as receipt):
                return Answered(receipt=_receipt(receipt))
        return Answered(receipt=f"FAULT {answer.code}")

    async def _client(self, sent: Sent) -> Client:
        """Give the connection of a caller to a door; at a receiver's own door it is the gateway that calls."""
        caller = sent.caller if sent.door == GATEWAY.name else GATEWAY.name
        key = (caller, sent.door, sent.operation.service)
        if key not in self._clients:
            access = self._theatre.access(caller, sent.door)
            tls = client_tls(access.certificate, access.key, access.ca)
            client = Client(access.url + sent.operation.service.path, service=sent.operation.service, tls=tls)
            self._clients[key] = await self._stack.enter_async_context(client)
        return self._clients[key]


def made(
    operation: Operation,
    *,
    caller: str,
    door: str,
    municipality: str,
    cpr: str,
    now: datetime,
    head: Mapping[str, Any],
    payload: Json,
    spoil: Mapping[str, str],
) -> Sent:
    """
    Make a message in a system's name. `head` replaces fields of the header; `spoil` replaces the text of elements.

    Raises `FieldRefused` for what is no field of it.
    """
    usual = hoved(
        operation,
        municipality=CVRS.get(municipality, municipality),
        sender=IDS[caller],
        cpr=Cpr.of_wire(cpr),
        now=now,
    )
    header = of_plain(HovedType, to_plain(usual, reveal=True) | dict(head))
    message = of_plain(
        operation.request,
        payload,
        Hoved=header,
        AuthorityContext=AuthorityContextType(MunicipalityCVR=header.AfsenderMyndighedCVR),
        CallContext=CallContextType(OnBehalfOfUser=USER) if operation.lookup else None,
    )
    element = codec.encode(message)
    for name, text in spoil.items():
        element = _spoilt(element, name, text)
    return Sent(caller=caller, door=door, operation=operation, element=element, head=header, payload=payload)


def copied(told: Mapping[str, Any], version: Mapping[str, Any], *, caller: str, head: Mapping[str, Any]) -> Sent:
    """
    Make KSD's own M1 about a version once more, byte for byte in what counts: a copy that takes another way.

    `told` is a row of KSD's act `messages`, `version` the one of its act `case` with its numbers revealed. With fields
    in `head` it is another message about the same.
    """
    operation = operation_by(SendHaendelseSygefravaerssagRequest)
    picture = of_plain(SygefravaerssagType, version["picture"])
    cvr = told["municipality_cvr"]
    own = hoved(
        operation,
        municipality=cvr,
        sender=IDS[caller],
        cpr=picture.CprNummer,
        now=datetime.fromisoformat(told["sent_at"]),
        nemrefusions_id=picture.NemrefusionsID,
        besked_id=UUID(told["besked_id"]),
        korrelations_id=UUID(told["korrelations_id"]),
    )
    header = of_plain(HovedType, to_plain(own, reveal=True) | dict(head))
    payload = {
        "Haendelsestype": version["event"],
        "HaendelsesDato": version["effective_on"],
        "Aendringsaarsag": version["reasons"],
        "ForrigeSagsVersion": version["version"] - 1 or None,
    }
    message = of_plain(
        SendHaendelseSygefravaerssagRequest,
        payload,
        AuthorityContext=AuthorityContextType(MunicipalityCVR=cvr),
        Hoved=header,
        Sygefravaerssag=picture,
    )
    return Sent(
        caller=caller,
        door=GATEWAY.name,
        operation=operation,
        element=codec.encode(message),
        head=header,
        payload=payload | {"SagsVersion": version["version"]},
    )


def changed(sent: Sent, names: Mapping[str, str]) -> Sent:
    """Give a message that went before with the text of elements changed, everything else as it was."""
    element = sent.element
    for name, text in names.items():
        element = _spoilt(element, name, text)
    return replace(sent, element=element)


def laid_over(base: Json, given: Mapping[str, Any]) -> Json:
    """Lay fields over a payload; `Block/Field` goes into the block."""
    found: Json = {name: dict(value) if isinstance(value, dict) else value for name, value in base.items()}
    for path, value in given.items():
        *blocks, name = path.split("/")
        where = found
        for block in blocks:
            where = where.setdefault(block, {})
        where[name] = value
    return found


def municipality_of(name: str) -> str:
    """Give the CVR number of a municipality that is named by its jobcentre's part."""
    return CVRS.get(name, name)


def kommunekode_of(name: str) -> str:
    """Give its Kommunekode."""
    return MUNICIPALITIES[municipality_of(name)].kommunekode


def _spoilt(element: bytes, name: str, text: str) -> bytes:
    pattern = re.compile(rb"(<(?:\w+:)?" + re.escape(name.encode()) + rb">)[^<]*(<)")
    return pattern.sub(rb"\g<1>" + text.encode() + rb"\g<2>", element)


def _receipt(receipt: TransportKvitteringType) -> str:
    return " ".join((receipt.TransportValideringsKode, *codes(receipt)))

# SPDX-License-Identifier: MPL-2.0
"""
One call from the command line.

The request comes from options or a file, the caller from a sandbox or from options, and the answer is shown as text,
JSON or XML.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints
from uuid import UUID, uuid4

from lxml import etree

from sygefravaer import soap
from sygefravaer.client import Client, Kind, classify, client_tls
from sygefravaer.contract import codec
from sygefravaer.contract.coded import explained, list_of
from sygefravaer.contract.messages import (
    FEJL,
    Element,
    FejlListeType,
    HentSagResponse,
    HentSagsListeResponse,
    Reply,
    SendAnmodningForlaengelseRequest,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendHaendelseSygefravaerssagRequest,
    SendOpdateringFravaerRequest,
    TransportKvitteringType,
)
from sygefravaer.contract.operations import OPERATIONS, Operation, Service
from sygefravaer.contract.plain import of_plain, to_plain
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.errors import FaultReceived, SygefravaerError, UsageError
from sygefravaer.ksd.lifecycle import State

AGAIN: Final = 1.0  # seconds until a message that is under delivery is sent again
IN_PROGRESS: Final = "I_OPFOELGNING"
STATUS_AFTER: Final[Mapping[str, str]] = {
    "SAG_LUKKET": "AFSLUTTET",
    "OVERGANG": "OVERGAAET",
    "STANDBY": "STANDBY",
    "VISITATION": "VISITERET",
}
"""The JobcentersagStatus that an Opdateringstype leads to; any other leaves the case I_OPFOELGNING."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls, and where."""

    url: str
    certificate: Path
    key: Path
    ca: Path
    system_id: UUID
    municipality_cvr: str
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """Give the time where he calls: a sandbox's clock may have been moved."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case of a sandbox, to be talked about when no other is named."""

    cpr: str
    sags_id: str
    nemrefusions_id: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came back: the element, its value, and whether it is a refusal."""

    element: bytes
    value: Reply | TransportKvitteringType
    refused: bool


def operation_named(name: str) -> Operation:
    """Find an operation; the error lists them all."""
    for known, operation in OPERATIONS.items():
        if known.lower() == name.lower():
            return operation
    raise UsageError("OperationUnknown", f"There is no such operation; there are {', '.join(OPERATIONS)}.")


def sandbox_caller(
    directory: Path, operation: Operation, *, system: str | None, municipality: str | None, cpr: str | None
) -> tuple[Caller, Case | None]:
    """Let a system of a sandbox call, and choose a case of its municipality (the citizen's, if one is named)."""
    path = directory / "sandbox.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "SandboxUnknown",
            f"{path} cannot be read.",
            try_this="Start a sandbox with `sygefravaer sandbox up`, or name an endpoint with --url.",
        ) from error
    role = "jobcenter" if operation.to_ksd else "ksd"
    systems = [one for one in told["systems"] if one["name"] == system or (system is None and one["role"] == role)]
    cases = [one for one in told["cases"] if cpr is None or one["cpr"] == cpr]
    if municipality is None and cpr is not None and cases:
        municipality = cases[0]["municipality_cvr"]
    if municipality is not None and system is None:
        systems = [one for one in systems if municipality in one["municipalities"]]
    if not systems:
        names = ", ".join(one["name"] for one in told["systems"])
        raise UsageError("SystemUnknown", f"No such system calls for this municipality; the sandbox has {names}.")
    chosen = systems[0]
    municipality = municipality or chosen["municipalities"][0]
    own = [one for one in cases if one["municipality_cvr"] == municipality]
    gateway = told["gateway"]
    caller = Caller(
        url=gateway["sygefravaer" if operation.service is Service.SYGEFRAVAER else "sygefravaer_jc"],
        certificate=Path(chosen["cert"]),
        key=Path(chosen["key"]),
        ca=Path(told["ca"]),
        system_id=UUID(chosen["uuid"]),
        municipality_cvr=municipality,
        ahead=_ahead(directory),
    )
    keys = ("cpr", "sags_id", "nemrefusions_id")
    chosen_case = next((one for one in own if one.get("state") == State.LOEBENDE), own[0] if own else None)
    return caller, None if chosen_case is None else Case(**{key: chosen_case[key] for key in keys})


def _ahead(directory: Path) -> timedelta:
    """Say how far a sandbox's clock is ahead of the machine's; one that another user runs keeps it to itself."""
    try:
        return timedelta(seconds=json.loads((directory / "state.json").read_text(encoding="utf-8"))["ahead"])
    except (OSError, ValueError, KeyError):
        return timedelta()


def request_element(
    operation: Operation,
    caller: Caller,
    case: Case | None,
    *,
    cpr: str | None,
    given: tuple[str, ...],
    file: Path | None,
    on_behalf_of: str | None,
) -> bytes:
    """
    Make the request element.

    An XML file (a request element, or an envelope around one) is sent as it is. Otherwise header and contexts are
    filled in, the fields of a JSON file are laid over them, and `given` (`Block/Field=value`) over those.
    """
    payload: dict[str, Any] = {}
    if file is not None:
        content = _read(file)
        if content.lstrip()[:1] in (b"<", b"\xef"):
            return _element_of(content, operation)
        payload = _json_object(content, file)
    for one in given:
        _lay(payload, operation.request, one)
    header = _header(operation, caller, case, payload)
    if cpr is not None:
        header["CprNummer"] = cpr
    payload["Hoved"] = header | payload.get("Hoved", {})
    payload = _invented(operation, case, payload, caller.now()) | payload
    if "CprNummer" not in payload["Hoved"]:
        raise UsageError("CprMissing", "No citizen is named.", try_this="Name one with --cpr.")
    if on_behalf_of is not None:
        payload.setdefault("CallContext", {"OnBehalfOfUser": on_behalf_of})
    payload.setdefault("AuthorityContext", {"MunicipalityCVR": caller.municipality_cvr})
    return codec.encode(of_plain(operation.request, payload))


def _header(operation: Operation, caller: Caller, case: Case | None, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the header; the citizen is the payload's own, else the case's."""
    header: dict[str, Any] = {
        "BeskedID": str(uuid4()),
        "Beskedtype": operation.name,
        "SnitfladeID": operation.sf,
        "SnitfladeVersion": "2.0",
        "KorrelationsID": str(uuid4()),
        "AfsenderMyndighedCVR": caller.municipality_cvr,
        "ModtagerMyndighedCVR": caller.municipality_cvr,
        "AfsenderSystemID": str(caller.system_id),
        "Afsendelsestidspunkt": caller.now().isoformat(timespec="milliseconds"),
    }
    if municipality := MUNICIPALITIES.get(caller.municipality_cvr):
        header["Kommunekode"] = municipality.kommunekode
    sag = payload.get("Sygefravaerssag")
    if isinstance(sag, dict):
        header |= {key: sag[key] for key in ("CprNummer", "NemrefusionsID") if key in sag}
    elif case is not None:
        header["CprNummer"] = case.cpr
        if payload.get("SagsID", case.sags_id) == case.sags_id:  # of another case the report is not known here
            header["NemrefusionsID"] = case.nemrefusions_id
    return header


def _invented(operation: Operation, case: Case | None, payload: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Give what the sender of a message decides himself: new ids, today in Denmark, a plain word of progress."""
    today = now.astimezone(codec.DANISH_TIME).date().isoformat()
    receipt = {"ForretningsValideringsKode": "MODTAGET"}
    types = payload.get("Opdateringstype") or ()
    invented: dict[type[Element], dict[str, Any]] = {
        SendHaendelseSygefravaerssagRequest: {"HaendelsesDato": today},
        SendAnmodningForlaengelseRequest: {"AnmodningID": str(uuid4()), "Rykkernummer": 0},
        SendForretningsSvarRequest: {
            "Forretningskvittering": receipt,
            "SagsVersion": 1,
            "JobcentersagID": str(uuid4()),
            "ModtagetTidspunkt": now.isoformat(timespec="milliseconds"),
        }
        | ({} if case is None else {"SagsID": case.sags_id}),
        SendForretningsSvarForlaengelseRequest: {
            "Forretningskvittering": receipt,
            "SagsVersion": 1,
            "VurderingsDato": today,
        },
        SendOpdateringFravaerRequest: {
            "OpdateringID": str(uuid4()),
            "JobcentersagID": str(uuid4()),
            "JobcentersagStatus": next((STATUS_AFTER[kind] for kind in types if kind in STATUS_AFTER), IN_PROGRESS),
            "GyldigFra": today,
        }
        | ({"VisitationsDato": today} if "VISITATION" in types else {}),
    }
    if isinstance(block := payload.get("ManglendeMedvirken"), dict):
        block.setdefault("HaendelsesDato", today)
    return invented.get(operation.request, {})


async def ask(caller: Caller, operation: Operation, element: bytes, *, wait: float = 0.0) -> Answered:
    """
    Make the call, and the same again each second while its receipt is G006, for `wait` seconds at most.

    Raises CallFailed, or FaultReceived for a fault that carries no receipt.
    """
    tls = client_tls(caller.certificate, caller.key, caller.ca)
    async with Client(caller.url, service=operation.service, tls=tls) as client:
        end = monotonic() + wait
        answer = await client.post(element, operation)
        while classify(answer).kind is Kind.UNDER_WAY and monotonic() < end:
            await asyncio.sleep(AGAIN)
            answer = await client.post(element, operation)
    if isinstance(answer, soap.FaultAnswer):
        if answer.receipt is None:
            raise FaultReceived(answer.faultcode, answer.code, answer.text)
        return Answered(element=codec.encode_receipt(answer.receipt), value=answer.receipt, refused=True)
    if isinstance(answer, soap.ReceiptAnswer):
        refused = answer.receipt.TransportValideringsKode == FEJL
        return Answered(element=answer.element, value=answer.receipt, refused=refused)
    value = codec.decode_reply(operation, answer.element)
    return Answered(element=soap.element_bytes(answer.element), value=value, refused=_remarks(value) is not None)


def as_json(answered: Answered) -> str:
    """Write an answer as one JSON object, personal numbers included: the caller asked for his own look-up."""
    return json.dumps(to_plain(answered.value, reveal=True), ensure_ascii=False, indent=1)


def as_xml(answered: Answered) -> str:
    """Write an answer's element as it came, set out in lines."""
    element = etree.fromstring(answered.element, etree.XMLParser(resolve_entities=False, no_network=True))
    etree.indent(element)
    return etree.tostring(element, encoding="unicode")


def as_text(answered: Answered) -> str:
    """Write an answer for reading; a code with what it means, personal numbers masked."""
    return "\n".join([type(answered.value).__name__, *_lines(answered.value, 1)])


def _lines(value: Element, depth: int) -> list[str]:
    lines: list[str] = []
    for field in fields(value):  # type: ignore[arg-type]  # every concrete Element is a dataclass
        codes = list_of(type(value), field.name)
        found = getattr(value, field.name)
        for one in found if isinstance(found, tuple) else (found,):
            if isinstance(one, Element):
                lines += [f"{'  ' * depth}{field.name}", *_lines(one, depth + 1)]
            elif one is not None:
                shown = str(one).lower() if isinstance(one, bool) else to_plain(one)
                meaning = explained(codes, shown) if codes is not None else ""
                lines.append(f"{'  ' * depth}{field.name}: {shown}{f' ({meaning})' if meaning else ''}")
    return lines


def _remarks(value: Reply) -> FejlListeType | None:
    return value.FejlListe if isinstance(value, HentSagResponse | HentSagsListeResponse) else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError("FileUnreadable", f"{file} could not be read ({error.strerror}).") from error


def _element_of(content: bytes, operation: Operation) -> bytes:
    document = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    try:
        if document.startswith(b"<?xml"):
            document = document[document.index(b"?>") + 2 :].lstrip()
        try:
            element = soap.read(content).element
        except SygefravaerError:  # not an envelope
            element = soap.read(soap.wrap(document)).element
    except (SygefravaerError, ValueError) as error:
        raise UsageError("FileMalformed", "The file is not a request element nor an envelope around one.") from error
    if element.tag != operation.request_tag:
        raise UsageError("FileMalformed", f"The file's element is not a {operation.request_name} of this service.")
    return soap.element_bytes(element)


def _json_object(content: bytes, file: Path) -> dict[str, Any]:
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError("FileMalformed", f"{file} is neither XML nor JSON.") from error
    if not isinstance(payload, dict):
        raise UsageError("FileMalformed", f"{file} is JSON but not an object of fields.")
    return payload


def _lay(payload: dict[str, Any], cls: type[Element], given: str) -> None:
    """Lay one `Block/Field=value` over a payload, with the type that the contract gives the field."""
    path, found, text = given.partition("=")
    if not found:
        raise UsageError("FieldMalformed", "A --field has no `=`; NAME=VALUE was wanted.")
    *blocks, name = path.split("/")
    place = payload
    for block in blocks:
        kind, many = _kind(cls, block)
        if not issubclass(kind, Element):
            raise UsageError("FieldUnknown", f"{block} is not a block of {cls.__name__}.")
        under = place.setdefault(block, [{}] if many else {})
        cls, place = kind, under[-1] if many else under
    kind, many = _kind(cls, name)
    value: object = text
    if kind is bool and text in ("true", "false"):
        value = text == "true"
    elif kind is int and text.lstrip("-").isdecimal():
        value = int(text)
    if many:
        place.setdefault(name, []).append(value)
    else:
        place[name] = value


def _kind(cls: type[Element], name: str) -> tuple[type[Any], bool]:
    hint = get_type_hints(cls).get(name)
    if hint is None or name == "NAMESPACE":
        names = ", ".join(field.name for field in fields(cls))  # type: ignore[arg-type]  # each is a dataclass
        raise UsageError("FieldUnknown", f"{cls.__name__} has no such field; it has {names}.")
    many = get_origin(hint) is tuple
    return (get_args(hint)[0] if many or isinstance(hint, UnionType) else hint), many

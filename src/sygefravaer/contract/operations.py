# SPDX-License-Identifier: MPL-2.0
"""
The seven operations as one table, and what a message must obey beyond the schema.

A rule is a pure function in a row with its code, its place and where it comes from. Gateway, receivers and senders
judge by the same rows, lowest code first: G001 the contract's rules, G004 the authority, G007 the form of a personal
number, G008 a check sum, G011 the test mark. Rules that need a case or a calendar are not here: their codes (T, F, O,
H) belong to the systems that hold the case.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

from sygefravaer.contract import conversations, names
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.conversations import Conversation
from sygefravaer.contract.messages import (
    HentSagRequest,
    HentSagResponse,
    HentSagsListeRequest,
    HentSagsListeResponse,
    Reply,
    Request,
    SendAnmodningForlaengelseRequest,
    SendForretningsSvarForlaengelseRequest,
    SendForretningsSvarRequest,
    SendHaendelseSygefravaerssagRequest,
    SendOpdateringFravaerRequest,
    SygefravaerResponse,
)
from sygefravaer.contract.values import MUNICIPALITIES, SYNTHETIC_UNTIL, Cpr, Cvr
from sygefravaer.errors import OperationNotFound, Refused

BEGRUNDELSE_MAX: Final = 1500
"""Characters of `Begrundelse` in an answer about an extension; the length of STAR's comment field."""

BUDGET: Final = 5.0
"""Seconds that a caller waits for the receiver's answer before he is told that delivery is under way."""


class Service(StrEnum):
    """The two services: what jobcentres call, and what KSD calls."""

    SYGEFRAVAER = names.SYGEFRAVAER
    SYGEFRAVAER_JC = names.SYGEFRAVAER_JC

    @property
    def namespace(self) -> str:
        """Give the namespace of the service's messages."""
        return names.NAMESPACES[self]

    @property
    def path(self) -> str:
        """Give the path at which the platform answers."""
        return names.PATHS[self]


class Environment(StrEnum):
    """Where a message is judged: with test numbers only, or with people."""

    TEST = "test"
    PRODUCTION = "production"


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What a rule may look at besides the message."""

    operation: "Operation"
    authority_cvr: str
    environment: Environment


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that the schema cannot say. By position, since each is a row of a table."""

    name: str
    code: str
    place: str
    """The element that is wrong, as a path in the request."""
    source: str
    broken: Callable[[Any, Situation], bool]
    """Say whether this message, of a type that the rule's operation has, breaks the rule."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A row of the table."""

    name: str
    service: Service
    sf: str
    lookup: bool
    """Answered by KSD at once; otherwise a send, which is stored and answered by a transport receipt."""
    to_ksd: bool
    request: type[Request[Reply]]
    reply: type[Reply]
    needs_nemrefusions_id: bool
    needs_reference: bool
    rules: tuple[Rule, ...]
    conversation: Conversation | None
    """What its messages ask for, answer or withdraw; None where nobody is asked for a business answer."""
    budget: float = BUDGET

    @cached_property
    def request_name(self) -> str:
        """Give the name of the request element."""
        return f"{self.name}Request"

    @cached_property
    def reply_name(self) -> str:
        """Give the name of the response element."""
        return f"{self.name}Response"

    @cached_property
    def request_tag(self) -> str:
        """Give the qualified name of the request element, `{namespace}name`."""
        return f"{{{self.service.namespace}}}{self.request_name}"

    @cached_property
    def reply_tag(self) -> str:
        """Give the qualified name of the response element, `{namespace}name`."""
        return f"{{{self.service.namespace}}}{self.reply_name}"

    @cached_property
    def soap_action(self) -> str:
        """Give the soapAction of the WSDL, without quotes."""
        return f"{names.SOAP_ACTIONS[self.service]}{self.name}"


CaseKey = tuple[Literal["nemref", "sag", "cpr"], str]
"""What the order of messages is kept by, and of which kind it is; of kind `cpr` it is to be hashed."""


# --- G001: the header ---


def _wrong_beskedtype(message: Request[Reply], situation: Situation) -> bool:
    return message.Hoved.Beskedtype != situation.operation.name


def _wrong_snitflade(message: Request[Reply], situation: Situation) -> bool:
    return message.Hoved.SnitfladeID != situation.operation.sf


def _no_reference(message: Request[Reply], _: Situation) -> bool:
    return message.Hoved.ReferenceBeskedID is None


def _no_nemrefusions_id(message: Request[Reply], _: Situation) -> bool:
    return message.Hoved.NemrefusionsID is None


WithCase = SendHaendelseSygefravaerssagRequest | SendAnmodningForlaengelseRequest


def _other_nemrefusions_id(message: WithCase, _: Situation) -> bool:
    return message.Hoved.NemrefusionsID != message.Sygefravaerssag.NemrefusionsID


def _other_cpr(message: WithCase, _: Situation) -> bool:
    case, number = message.Sygefravaerssag, message.Hoved.CprNummer
    return number != case.CprNummer and number not in case.TidligereCprNummer


def _half_ended(message: WithCase, _: Situation) -> bool:
    case = message.Sygefravaerssag
    return (case.AfslutningsDato is None) is not (case.Afslutningsaarsag is None)


# --- G001: each message ---

_NEVER_OPEN: Final = frozenset(code.kode for code in LISTS["sagsarter"] if code.extra["aabnerSag"] == "nej")
_NO_ANSWER: Final = frozenset(
    code.kode for code in LISTS["forlaengelseskoder"] if code.extra["kanBesvareSF2093"] == "nej"
)
_WITH_MAXIMUM: Final = frozenset(
    code.kode for code in LISTS["forlaengelseskoder"] if code.extra["maksUger"] or code.extra["maksMaaneder"]
)


def _change_without_cause(message: SendHaendelseSygefravaerssagRequest, _: Situation) -> bool:
    return message.Haendelsestype == "AENDRET" and not message.Aendringsaarsag


def _opened_by_wrong_sagsart(message: SendHaendelseSygefravaerssagRequest, _: Situation) -> bool:
    return message.Haendelsestype == "OPRETTET" and message.Sygefravaerssag.Sagsart in _NEVER_OPEN


def _asked_for_a_right(message: SendAnmodningForlaengelseRequest, _: Situation) -> bool:
    return not _NO_ANSWER.isdisjoint(message.MuligeForlaengelseskoder)


def _accepted_without_case(message: SendForretningsSvarRequest, _: Situation) -> bool:
    return _kode(message) == "ACCEPTERET" and message.JobcentersagID is None


def _refused_without_reason(message: SendForretningsSvarRequest, _: Situation) -> bool:
    return _kode(message) == "AFVIST" and message.Forretningskvittering.FejlListe is None


def _delivered_extension(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    return _kode(message) == "AFLEVERET"


def _long_reason(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    return len(message.Forretningskvittering.Begrundelse or "") > BEGRUNDELSE_MAX


def _extended_without_code(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    return _kode(message) == "ACCEPTERET" and message.Forlaengelseskode is None


def _extended_without_start(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    wanted = _kode(message) == "ACCEPTERET" or message.ForlaengelseTil is not None
    return wanted and message.ForlaengelseFra is None


def _extended_without_end(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    return message.Forlaengelseskode in _WITH_MAXIMUM and message.ForlaengelseTil is None


def _refused_without_cause(message: SendForretningsSvarForlaengelseRequest, _: Situation) -> bool:
    return _kode(message) == "AFVIST" and message.Afvisningsaarsag is None


def _sought_without_key(message: HentSagRequest, _: Situation) -> bool:
    return message.SagsID is None and message.Hoved.NemrefusionsID is None


def _kode(message: SendForretningsSvarRequest | SendForretningsSvarForlaengelseRequest) -> str:
    return message.Forretningskvittering.ForretningsValideringsKode


# --- G001: the blocks of M5 ---


def _block_apart(kode: str, members: list[str]) -> Callable[[SendOpdateringFravaerRequest, Situation], bool]:
    def broken(message: SendOpdateringFravaerRequest, _: Situation) -> bool:
        wanted = kode in message.Opdateringstype
        return any(bool(getattr(message, member)) is not wanted for member in members)

    return broken


def _block_rules() -> Iterator[Rule]:
    """Make a rule per block from the list of Opdateringstype: its type demands it, and no other type allows it."""
    for code in LISTS["opdateringstyper"]:
        members = code.extra["blok"].split(";") if code.extra["blok"] else []
        if members:
            yield Rule(f"block_of_{code.kode}", "G001", members[0], _BLOCKS, _block_apart(code.kode, members))


# --- G004: the authority ---


def _other_sender(message: Request[Reply], situation: Situation) -> bool:
    return message.Hoved.AfsenderMyndighedCVR != situation.authority_cvr


def _other_recipient(message: Request[Reply], situation: Situation) -> bool:
    return message.Hoved.ModtagerMyndighedCVR != situation.authority_cvr


def _other_kommunekode(message: Request[Reply], situation: Situation) -> bool:
    municipality = MUNICIPALITIES.get(situation.authority_cvr)
    return municipality is None or municipality.kommunekode != message.Hoved.Kommunekode


# --- G007: personal numbers ---


def _bad_header_cpr(message: Request[Reply], situation: Situation) -> bool:
    return _bad_cpr(message.Hoved.CprNummer, message, situation)


def _bad_case_cpr(message: WithCase, situation: Situation) -> bool:
    return _bad_cpr(message.Sygefravaerssag.CprNummer, message, situation)


def _bad_former_cpr(message: WithCase, situation: Situation) -> bool:
    return any(_bad_cpr(number, message, situation) for number in message.Sygefravaerssag.TidligereCprNummer)


def _bad_cpr(number: Cpr, message: Request[Reply], situation: Situation) -> bool:
    if number.unknown:  # the list of an unknown person is H506, which KSD says
        return situation.operation.request is not HentSagsListeRequest
    if not number.well_formed:
        return True
    if situation.environment is Environment.TEST:
        return not number.synthetic
    return number.synthetic and message.Hoved.Afsendelsestidspunkt.year < SYNTHETIC_UNTIL


# --- G008, G011 ---


def _bad_employer(message: WithCase, _: Situation) -> bool:
    employer = message.Sygefravaerssag.Arbejdsgiver
    return employer is not None and employer.CVRNummer is not None and not Cvr.valid(employer.CVRNummer)


def _test_in_production(message: Request[Reply], situation: Situation) -> bool:
    return message.Hoved.Testmarkering is True and situation.environment is Environment.PRODUCTION


# --- the table ---

_HEADER: Final = "header"
_CONDITIONAL: Final = '"1 if" cardinalities'
_BLOCKS: Final = "blocks of SendOpdateringFravaer"
_RECEIPT_CODE: Final = "Forretningskvittering/ForretningsValideringsKode"
_CPR: Final = "form of a personal number"

_EVERY: Final = (
    Rule("beskedtype", "G001", "Hoved/Beskedtype", _HEADER, _wrong_beskedtype),
    Rule("snitflade_id", "G001", "Hoved/SnitfladeID", _HEADER, _wrong_snitflade),
    Rule("afsender_myndighed", "G004", "Hoved/AfsenderMyndighedCVR", _HEADER, _other_sender),
    Rule("modtager_myndighed", "G004", "Hoved/ModtagerMyndighedCVR", _HEADER, _other_recipient),
    Rule("kommunekode", "G004", "Hoved/Kommunekode", _HEADER, _other_kommunekode),
    Rule("cpr", "G007", "Hoved/CprNummer", _CPR, _bad_header_cpr),
    Rule("testmarkering", "G011", "Hoved/Testmarkering", _HEADER, _test_in_production),
)
_REFERENCE: Final = Rule("reference_besked_id", "G001", "Hoved/ReferenceBeskedID", _HEADER, _no_reference)
_NEMREFUSIONS_ID: Final = Rule("nemrefusions_id", "G001", "Hoved/NemrefusionsID", _HEADER, _no_nemrefusions_id)
_CASE: Final = (
    Rule("nemrefusions_id_of_case", "G001", "Hoved/NemrefusionsID", _HEADER, _other_nemrefusions_id),
    Rule("cpr_of_case", "G001", "Hoved/CprNummer", _HEADER, _other_cpr),
    Rule("afslutning", "G001", "Sygefravaerssag/Afslutningsaarsag", "both or none", _half_ended),
    Rule("case_cpr", "G007", "Sygefravaerssag/CprNummer", _CPR, _bad_case_cpr),
    Rule("former_cpr", "G007", "Sygefravaerssag/TidligereCprNummer", _CPR, _bad_former_cpr),
    Rule("employer_cvr", "G008", "Sygefravaerssag/Arbejdsgiver/CVRNummer", "check sum of CVR", _bad_employer),
)


def _operation(  # a row: what varies stands in the table, what follows from it here
    name: str,
    sf: str,
    request: type[Request[Reply]],
    reply: type[Reply] = SygefravaerResponse,
    *,
    service: Service = Service.SYGEFRAVAER,
    needs_nemrefusions_id: bool = False,
    needs_reference: bool = False,
    rules: tuple[Rule, ...] = (),
    conversation: Conversation | None = None,
) -> Operation:
    of_header = ((_REFERENCE,) if needs_reference else ()) + ((_NEMREFUSIONS_ID,) if needs_nemrefusions_id else ())
    return Operation(
        name=name,
        service=service,
        sf=sf,
        lookup=reply is not SygefravaerResponse,
        to_ksd=service is Service.SYGEFRAVAER,
        request=request,
        reply=reply,
        needs_nemrefusions_id=needs_nemrefusions_id,
        needs_reference=needs_reference,
        rules=tuple(sorted((*_EVERY, *of_header, *rules), key=lambda rule: rule.code)),
        conversation=conversation,
    )


_ROWS: Final = (
    _operation(
        "SendHaendelseSygefravaerssag",
        "SF2090",
        SendHaendelseSygefravaerssagRequest,
        service=Service.SYGEFRAVAER_JC,
        needs_nemrefusions_id=True,
        conversation=conversations.EVENT,
        rules=(
            *_CASE,
            Rule("aendringsaarsag", "G001", "Aendringsaarsag", _CONDITIONAL, _change_without_cause),
            Rule("opening_sagsart", "G001", "Sygefravaerssag/Sagsart", "sagsart 00 and 49", _opened_by_wrong_sagsart),
        ),
    ),
    _operation(
        "SendForretningsSvar",
        "SF2090",
        SendForretningsSvarRequest,
        needs_nemrefusions_id=True,
        needs_reference=True,
        conversation=conversations.EVENT_ANSWER,
        rules=(
            Rule("jobcentersag_id", "G001", "JobcentersagID", _CONDITIONAL, _accepted_without_case),
            Rule("fejl_liste", "G001", "Forretningskvittering/FejlListe", "AFVIST", _refused_without_reason),
        ),
    ),
    _operation(
        "SendAnmodningForlaengelse",
        "SF2093",
        SendAnmodningForlaengelseRequest,
        service=Service.SYGEFRAVAER_JC,
        needs_nemrefusions_id=True,
        conversation=conversations.REQUEST,
        rules=(
            *_CASE,
            Rule("mulige_koder", "G001", "MuligeForlaengelseskoder", "rights are no extensions", _asked_for_a_right),
        ),
    ),
    _operation(
        "SendForretningsSvarForlaengelse",
        "SF2093",
        SendForretningsSvarForlaengelseRequest,
        needs_nemrefusions_id=True,
        needs_reference=True,
        conversation=conversations.REQUEST_ANSWER,
        rules=(
            Rule("not_afleveret", "G001", _RECEIPT_CODE, "codes of the receipt", _delivered_extension),
            Rule("begrundelse", "G001", "Forretningskvittering/Begrundelse", "1500 characters", _long_reason),
            Rule("forlaengelseskode", "G001", "Forlaengelseskode", _CONDITIONAL, _extended_without_code),
            Rule("forlaengelse_fra", "G001", "ForlaengelseFra", _CONDITIONAL, _extended_without_start),
            Rule("forlaengelse_til", "G001", "ForlaengelseTil", "a code with a maximum", _extended_without_end),
            Rule("afvisningsaarsag", "G001", "Afvisningsaarsag", _CONDITIONAL, _refused_without_cause),
        ),
    ),
    _operation("SendOpdateringFravaer", "SF2095", SendOpdateringFravaerRequest, rules=tuple(_block_rules())),
    _operation(
        "HentSag",
        "SF2096",
        HentSagRequest,
        HentSagResponse,
        rules=(Rule("sags_id", "G001", "SagsID", "key of HentSag", _sought_without_key),),
    ),
    _operation("HentSagsListe", "SF2096", HentSagsListeRequest, HentSagsListeResponse),
)

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({row.name: row for row in _ROWS})
"""The operations by name."""

_BY_TAG: Final = {row.request_tag: row for row in _ROWS}
_BY_REQUEST: Final = {row.request: row for row in _ROWS}


def operation_of(service: Service, qname: str) -> Operation:
    """Find the operation whose request element is `{namespace}name` on this service; `OperationNotFound`."""
    operation = _BY_TAG.get(qname)
    if operation is None or operation.service is not service:
        wanted = ", ".join(row.request_name for row in _ROWS if row.service is service)
        raise OperationNotFound(f"In the namespace {service.namespace} one of these was wanted: {wanted}.")
    return operation


def operation_for(message: Request[Reply]) -> Operation:
    """Give the operation that a request belongs to."""
    return operation_by(type(message))


def operation_by(request: type[Request[Reply]]) -> Operation:
    """Give the operation that is asked by requests of a type."""
    return _BY_REQUEST[request]


def broken_rules(
    operation: Operation, message: Request[Reply], authority_cvr: str, *, environment: Environment
) -> Iterator[Rule]:
    """Go through the rules that a message breaks, lowest code first."""
    situation = Situation(operation=operation, authority_cvr=authority_cvr, environment=environment)
    return (rule for rule in operation.rules if rule.broken(message, situation))


def judge(
    operation: Operation,
    message: Request[Reply],
    authority_cvr: str,
    *,
    environment: Environment,
    caller_system: UUID | None = None,
) -> None:
    """Raise `Refused` for the first rule that a valid message breaks: lowest code first.

    `authority_cvr` is the municipality that the call is made for. `caller_system` is the system that the caller was
    found to be; without it `Hoved/AfsenderSystemID` is left to `check_caller`.
    """
    rule = next(broken_rules(operation, message, authority_cvr, environment=environment), None)
    if caller_system is not None and (rule is None or rule.code > "G004"):
        check_caller(message, caller_system)
    if rule is not None:
        raise Refused(rule.code, rule.place)


def check_caller(message: Request[Reply], system: UUID) -> None:
    """Raise `Refused` G004 when the message does not name the caller's own system as its sender."""
    if message.Hoved.AfsenderSystemID != system:
        raise Refused("G004", "Hoved/AfsenderSystemID")


def check_recipient(message: Request[Reply], system: UUID) -> None:
    """Raise `Refused` G004 when the message names another receiver than the one it is routed to; it may name none."""
    if message.Hoved.ModtagerSystemID not in {None, system}:
        raise Refused("G004", "Hoved/ModtagerSystemID")


def current_numbers(message: Request[Reply]) -> Iterator[tuple[str, Cpr]]:
    """Give the numbers that a message says are somebody's now, each with its place; former ones are history."""
    yield "Hoved/CprNummer", message.Hoved.CprNummer
    if isinstance(message, WithCase):
        yield "Sygefravaerssag/CprNummer", message.Sygefravaerssag.CprNummer


def case_key(message: Request[Reply]) -> CaseKey:
    """Say which case a message belongs to: by NemrefusionsID, else by SagsID, else by personal number.

    The text of a key of kind `cpr` is the number itself: hash it with a key before it is stored.
    """
    if message.Hoved.NemrefusionsID is not None:
        return "nemref", str(message.Hoved.NemrefusionsID)
    sags_id = _sags_id(message)
    if sags_id is not None:
        return "sag", str(sags_id)
    return "cpr", message.Hoved.CprNummer.reveal()


def _sags_id(message: Request[Reply]) -> UUID | None:
    match message:
        case SendHaendelseSygefravaerssagRequest() | SendAnmodningForlaengelseRequest():
            return message.Sygefravaerssag.SagsID
        case SendForretningsSvarRequest() | SendOpdateringFravaerRequest() | HentSagRequest():
            return message.SagsID
    return None

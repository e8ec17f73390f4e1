# SPDX-License-Identifier: MPL-2.0
"""
Elements to messages and back, and the schema as judge.

A plan is compiled once per class from its type hints: reading goes through the children once, writing joins strings.
Reading takes the schema for granted (`validate` first): it never judges. Times are UTC inside; one that comes without
zone is Danish local time. What is written is in schema order, with declarations of its own, and ends in `Z`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID
from zoneinfo import ZoneInfo

from lxml import etree

from sygefravaer.contract.messages import (
    REFERENCES,
    Element,
    Reply,
    Request,
    SygefravaerResponse,
    TransportKvitteringType,
)
from sygefravaer.contract.names import NS_AUTHORITY, NS_CALLCONTEXT, NS_FAELLES, NS_JC, NS_KVITTERING, NS_SYGEFRAVAER
from sygefravaer.contract.operations import Operation, Service
from sygefravaer.contract.package import schema
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import SchemaValidationFailed, UsageError

DANISH_TIME: Final = ZoneInfo("Europe/Copenhagen")

ElementT = TypeVar("ElementT", bound=Element)

_PREFIXES: Final = {
    NS_SYGEFRAVAER: "s",
    NS_JC: "j",
    NS_FAELLES: "f",
    NS_KVITTERING: "kv",
    NS_CALLCONTEXT: "cc",
    NS_AUTHORITY: "ac",
}

_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_DATE_LENGTH: Final = len("2026-01-01")
_ZONE: Final = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")
_MARKUP: Final = re.compile("[^\t\n\u0020-%'-;=\u003f-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# --- reading ---


def decode(element: etree._Element, cls: type[ElementT]) -> ElementT:
    """Read a valid element as `cls`; comments, processing instructions and white space between elements are nothing.

    What the schema would have refused has no defined outcome, and the exception, if any, is any.
    """
    return _reader(cls)(element)


def decode_request(operation: Operation, element: etree._Element) -> Request[Reply]:
    """Read the valid request element of an operation."""
    return _reader(operation.request)(element)


def decode_reply(operation: Operation, element: etree._Element) -> Reply:
    """Read the valid response element of an operation."""
    return _reader(operation.reply)(element)


def receipt_of(operation: Operation, element: etree._Element) -> TransportKvitteringType:
    """Read the receipt in the valid response element of a send; `UsageError` for a look-up, which has none."""
    if operation.lookup:
        raise UsageError("NoReceipt", "A look-up is answered by a reply of its own, not by a receipt.")
    return _reader(SygefravaerResponse)(element).TransportKvittering


_READERS: Final[dict[type[Element], Callable[[etree._Element], Any]]] = {}
_WRITERS: Final[dict[type[Element], Callable[[Any], str]]] = {}
_FRAMES: Final[dict[tuple[type[Element], str, str], tuple[str, str]]] = {}


def _reader(cls: type[ElementT]) -> Callable[[etree._Element], ElementT]:
    if cls not in _READERS:
        _READERS[cls] = _compiled_reader(cls)
    return _READERS[cls]


def _compiled_reader(cls: type[ElementT]) -> Callable[[etree._Element], ElementT]:
    plan: dict[object, tuple[str, Callable[[etree._Element], Any], bool]] = {}
    for name, tag, kind, many in _children(cls):
        plan[tag] = (name, _reader(kind) if issubclass(kind, Element) else _READ[kind], many)
    find = plan.get
    many_names = tuple(name for name, _, many in plan.values() if many)

    def read(element: etree._Element) -> ElementT:
        values: dict[str, Any] = {name: [] for name in many_names}
        for child in element:
            entry = find(child.tag)
            if entry is None:  # a comment or a processing instruction
                continue
            name, convert, many = entry
            if many:
                values[name].append(convert(child))
            else:
                values[name] = convert(child)
        for name in many_names:
            values[name] = tuple(values[name])
        return cls(**values)

    return read


def _text(element: etree._Element) -> str:
    """Give the text of an element whose only children are comments and processing instructions."""
    text = element.text or ""
    return text + "".join(child.tail or "" for child in element) if len(element) else text


def _read_date(element: etree._Element) -> date:
    return date.fromisoformat(_text(element).strip()[:_DATE_LENGTH])  # a zone says nothing about a day


def _read_time(element: etree._Element) -> datetime:
    found = datetime.fromisoformat(_text(element).strip())
    try:
        return (found if found.tzinfo else found.replace(tzinfo=DANISH_TIME)).astimezone(UTC)
    except OverflowError:  # the last hours of the year 9999 west of Greenwich
        return _LATEST


def _read_int(element: etree._Element) -> int:
    return int(Decimal(_text(element).strip()))  # leading zeros without end are valid; int() would refuse them


_READ: Final[dict[type, Callable[[etree._Element], Any]]] = {
    str: _text,
    UUID: lambda element: UUID(_text(element)),
    Cpr: lambda element: Cpr.of_wire(_text(element)),
    date: _read_date,
    datetime: _read_time,
    bool: lambda element: _text(element).strip() in {"true", "1"},
    int: _read_int,
    Decimal: lambda element: Decimal(_text(element).strip()),
}


# --- writing ---


def encode(message: Element, element_name: str | None = None, *, namespace: str | None = None) -> bytes:
    """Write a message as an element in UTF-8 with declarations of its own and no XML declaration.

    The name is the class's own unless another is given; the namespace is that of its children unless another is
    given. `UsageError` for a time without zone and for a character that XML cannot hold.
    """
    cls = type(message)
    start, end = _frame(cls, element_name or cls.__name__, namespace or cls.NAMESPACE)
    return f"{start}{_writer(cls)(message)}{end}".encode()


def encode_reply(operation: Operation, reply: Reply) -> bytes:
    """Write the response element of an operation."""
    return encode(reply, operation.reply_name, namespace=operation.service.namespace)


def encode_receipt(receipt: TransportKvitteringType) -> bytes:
    """Write a receipt as the element that a fault carries in its detail."""
    return encode(receipt, "TransportKvittering", namespace=NS_KVITTERING)


def _frame(cls: type[Element], name: str, namespace: str) -> tuple[str, str]:
    key = (cls, name, namespace)
    if key not in _FRAMES:
        _FRAMES[key] = _made_frame(cls, name, namespace)
    return _FRAMES[key]


def _made_frame(cls: type[Element], name: str, namespace: str) -> tuple[str, str]:
    used = sorted({namespace, *_namespaces(cls)}, key=list(_PREFIXES).index)
    declared = "".join(f' xmlns:{_PREFIXES[each]}="{each}"' for each in used)
    tag = f"{_PREFIXES[namespace]}:{name}"
    return f"<{tag}{declared}>", f"</{tag}>"


def _namespaces(cls: type[Element]) -> Iterator[str]:
    for _, tag, kind, _ in _children(cls):
        yield tag.partition("}")[0][1:]
        if issubclass(kind, Element):
            yield from _namespaces(kind)


def _writer(cls: type[Element]) -> Callable[[Any], str]:
    if cls not in _WRITERS:
        _WRITERS[cls] = _compiled_writer(cls)
    return _WRITERS[cls]


def _compiled_writer(cls: type[Element]) -> Callable[[Any], str]:
    children = tuple(_children(cls))
    steps = tuple(_step(tag, kind, many=many) for _, tag, kind, many in children)
    if len(children) == 1:
        get, (step,) = attrgetter(children[0][0]), steps
        return lambda message: step(get(message))
    values = attrgetter(*(name for name, *_ in children))

    def write(message: Any) -> str:
        return "".join(
            [step(value) for step, value in zip(steps, values(message), strict=True) if value is not None],
        )

    return write


def _step(tag: str, kind: type[Any], *, many: bool) -> Callable[[Any], str]:
    namespace, _, name = tag[1:].partition("}")
    qname = f"{_PREFIXES[namespace]}:{name}"
    start, end = f"<{qname}>", f"</{qname}>"
    text: Callable[[Any], str] = _writer(kind) if issubclass(kind, Element) else _WRITE[kind]
    if many:
        return lambda values: "".join([f"{start}{text(value)}{end}" for value in values])
    return lambda value: f"{start}{text(value)}{end}"


def _write_text(value: str) -> str:
    if _MARKUP.search(value) is None:
        return value
    if _NO_XML.search(value) is not None:
        raise UsageError("NotXml", "A text holds a character that XML cannot hold.")
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _write_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise UsageError("NaiveTime", "A time without a zone was given; an aware time was wanted.")
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


_WRITE: Final[dict[type, Callable[[Any], str]]] = {
    str: _write_text,
    UUID: str,
    Cpr: lambda value: _write_text(value.reveal()),
    date: date.isoformat,
    datetime: _write_time,
    bool: lambda value: "true" if value else "false",
    int: str,
    Decimal: lambda value: format(value, "f"),
}


# --- the plan ---


def _children(cls: type[Element]) -> Iterator[tuple[str, str, type[Any], bool]]:
    """Give name, qualified name, type and whether it repeats, for each child in schema order."""
    hints = get_type_hints(cls)
    for field in fields(cls):  # type: ignore[arg-type]  # every concrete Element is a dataclass
        namespace = REFERENCES.get(field.name, cls.NAMESPACE)
        hint = hints[field.name]
        many = get_origin(hint) is tuple
        if many or isinstance(hint, UnionType):
            hint = get_args(hint)[0]
        yield field.name, f"{{{namespace}}}{field.name}", hint, many


# --- the schema ---

_RULES: Final = {
    "SCHEMAV_ELEMENT_CONTENT": "wrong, missing or misplaced child element",
    "SCHEMAV_CVC_ELT_1": "not an element of the schema",
    "SCHEMAV_CVC_ELT_3_1": "xsi:nil is not allowed",
    "SCHEMAV_CVC_ELT_4_1": "xsi:type cannot be read",
    "SCHEMAV_CVC_ELT_4_2": "xsi:type names no type of the schema",
    "SCHEMAV_CVC_ELT_4_3": "xsi:type is not derived from the type of the element",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "must be empty",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "holds text between its elements",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "has an attribute that the schema does not have",
    "SCHEMAV_CVC_TYPE_3_1_1": "has an attribute or a child element where only text may stand",
    "SCHEMAV_CVC_TYPE_3_1_2": "has a child element where only text may stand",
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": "is not of its type",
    "SCHEMAV_CVC_PATTERN_VALID": "does not have the pattern of its type",
    "SCHEMAV_CVC_ENUMERATION_VALID": "is not in its code list",
    "SCHEMAV_CVC_MAXLENGTH_VALID": "is too long",
    "SCHEMAV_CVC_MININCLUSIVE_VALID": "is too small",
    "SCHEMAV_CVC_MAXINCLUSIVE_VALID": "is too great",
    "SCHEMAV_CVC_TOTALDIGITS_VALID": "has too many digits",
    "SCHEMAV_CVC_FRACTIONDIGITS_VALID": "has too many decimals",
}
_EXPECTED: Final = re.compile(r"Expected is (?:one of )?\( ([^()]*) \)\.\s*\Z")
_LISTED: Final = re.compile(r"\{[^{}]*\}([A-Za-z]+)")
MOST_CHILDREN: Final = 2_000
"""Child nodes of one element, white space included. lxml finds the path of every breach by counting siblings: 99 000
wrong ones took 24 seconds. The longest list of the contract has 100 entries."""

_MANY: Final = etree.XPath(f"boolean(descendant::node()[{MOST_CHILDREN + 1}])")  # stops counting there
_TOO_MANY: Final = etree.XPath(f"descendant-or-self::*[node()[{MOST_CHILDREN + 1}]]")
_PLAIN: Final = re.compile(r"[A-Za-z]{1,40}")  # the longest name of the contract has 39 letters
_STRANGER: Final = "an element that the schema does not know"


def validate(service: Service, element: etree._Element) -> None:
    """Judge a request or response element by the service's schema; `SchemaValidationFailed` names the first breach.

    Its text says which element, what kind of rule and which line, never a value. An element's name is shown when it
    has letters only, so no number can pass for one. From any thread: each has compiled schemas of its own.
    """
    if _MANY(element):
        crowded: Any = _TOO_MANY(element)  # a list of elements
        if crowded:
            raise SchemaValidationFailed(f"{_name(crowded[0])}: has more than {MOST_CHILDREN} nodes in it.")
    judge = schema(service)
    if not judge.validate(element):
        log: Any = judge.error_log  # lxml's stubs say nothing about it
        raise SchemaValidationFailed(_breach(element, log[0]))


def _breach(element: etree._Element, entry: etree._LogEntry) -> str:
    rule = _RULES.get(entry.type_name, "breaks a rule of the schema")
    place = _place(element, entry.path or "")
    expected = _EXPECTED.search(entry.message) if entry.type_name == "SCHEMAV_ELEMENT_CONTENT" else None
    names = _LISTED.findall(expected.group(1)) if expected else []
    wanted = f"; wanted here: {' or '.join(names)}" if names else ""
    namespace = " (another namespace)" if place.rpartition("/")[2] in names else ""
    return f"{place}{namespace}: {rule}{wanted} (line {entry.line})."


def _place(element: etree._Element, path: str) -> str:
    """Name the element at libxml2's `path`, from the one validated."""
    here, trail = element, [_name(element)]
    for segment in path.split("/")[2:]:
        found = _step_to(here, segment)
        if found is None:
            break
        here = found
        trail.append(_name(here))
    return "/".join(trail)


def _step_to(parent: etree._Element, segment: str) -> etree._Element | None:
    """Find the child that libxml2 calls `*`, `*[2]`, `f:Hoved` or `f:Fejl[2]`."""
    qname, _, index = segment.rstrip("]").partition("[")
    prefix, _, name = qname.rpartition(":")
    count = int(index or 1)
    for child in parent.iterchildren("*"):
        if name == "*" or ((child.prefix or "") == prefix and etree.QName(child).localname == name):
            count -= 1
            if not count:
                return child
    return None


def _name(element: etree._Element) -> str:
    """Give an element's name, when it is too plain to hold a value."""
    name = etree.QName(element).localname
    return name if _PLAIN.fullmatch(name) else _STRANGER

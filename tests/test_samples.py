# SPDX-License-Identifier: MPL-2.0
"""The wire samples: what is right and what is wrong, judged alike by two independent validators."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import xmlschema
from lxml import etree

from sygefravaer.contract import names, package
from wsdl_operations import WSDL_OPERATIONS

SAMPLES = Path(__file__).parent / "samples"
ENVELOPE = f"{{{names.NS_SOAP11}}}Envelope"
BODY = f"{{{names.NS_SOAP11}}}Body"
FAULT = f"{{{names.NS_SOAP11}}}Fault"

VALID = sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*.xml") if path.parent.name != "invalid")
DATA = package.ROOT.parent / "data"


def rows(path: Path) -> list[dict[str, str]]:
    """Read a table with a heading."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TWINS = [(row["file"], row["level"], row["expected"]) for row in rows(SAMPLES / "invalid/index.csv")]
OPERATIONS = [(service, op) for service in names.PACKAGES.values() for op in WSDL_OPERATIONS[service]]
MESSAGES = sorted({(service, f"{op}{end}") for service, op in OPERATIONS for end in ("Request", "Response")})

# What a smallest sample carries beyond what the schema demands: rules outside the schema ask for it.
RULED = {
    "AuthorityContext",  # the gateway demands it
    "NemrefusionsID",  # M1-M4
    "ReferenceBeskedID",  # M2, M4
    "SagsID",  # M6: one key of two
    "Sygefravaerssag",  # HentSagResponse: a case or a FejlListe
}
# No sample can carry it: the platform's own schema declares a bare element, and messages use its type alone.
UNUSED = {f"{{{names.NS_PNR}}}PNR"}

# What the detail of a fault holds, and the shared file that declares it.
DETAILS = {names.NS_FAULT: "ServiceplatformFault_1.xsd", names.NS_KVITTERING: "Kvittering_1.xsd"}
SHARED_TOPS = [("ServiceplatformFault_1.xsd", "ServiceplatformFault"), ("Kvittering_1.xsd", "TransportKvittering")]


@cache
def judge(service: str) -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(package.ROOT / names.MSG_FILES[service]), allow="local")


@cache
def shared(name: str) -> tuple[etree.XMLSchema, xmlschema.XMLSchema]:
    path = package.ROOT / "Sygefravaer/sp" / name
    return etree.XMLSchema(etree.parse(path)), xmlschema.XMLSchema(str(path), allow="local")


def payload(name: str) -> etree._Element:
    """Give the body's one child, parsed by itself as the gateway sees it."""
    root = etree.parse(SAMPLES / name, etree.XMLParser(resolve_entities=False, no_network=True)).getroot()
    assert root.tag == ENVELOPE
    (child,) = next(root.iterchildren(BODY))
    return child


def service_of(element: etree._Element) -> str:
    namespace = etree.QName(element).namespace
    return {names.NS_SYGEFRAVAER: names.SYGEFRAVAER, names.NS_JC: names.SYGEFRAVAER_JC}[namespace]


def verdicts(element: etree._Element) -> tuple[list[str], bool]:
    """Say what lxml complains about, and whether the other validator is content."""
    service = service_of(element)
    schema = package.schema(service)
    schema.validate(element)
    other = judge(service)
    return [entry.message for entry in schema.error_log], other.is_valid(element)


def walk(
    element: etree._Element, declared: xmlschema.XsdElement
) -> Iterator[tuple[xmlschema.XsdElement, str, etree._Element]]:
    """Each declaration that a valid element uses: the declaration, the type it stands in, and the instance."""
    for child in element.iterchildren(tag=etree.Element):
        content = declared.type.content
        match = next(each for each in content.iter_elements() if each.name == child.tag)
        yield match, declared.type.name, child
        yield from walk(child, match)


def declarations(
    declared: xmlschema.XsdElement, seen: set[str] | None = None
) -> dict[tuple[str, str], xmlschema.XsdElement]:
    """Each element declaration that a message leads to, keyed by the type it stands in and its name."""
    seen = set() if seen is None else seen
    found: dict[tuple[str, str], xmlschema.XsdElement] = {}
    if declared.type.is_simple() or declared.type.name in seen:
        return found
    seen.add(declared.type.name)
    for each in declared.type.content.iter_elements():
        found[declared.type.name, each.name] = each
        found |= declarations(each, seen)
    return found


FAULTS = [name for name in VALID if payload(name).tag == FAULT]
PLAIN = [name for name in VALID if name not in FAULTS]


@pytest.mark.parametrize("name", PLAIN)
def test_sample_is_valid_for_both_validators(name):
    """A sample is what the schema says, in lxml and in xmlschema alike."""
    assert verdicts(payload(name)) == ([], True)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_detail_is_valid_for_both_validators(name):
    """A fault carries one element of the platform in its detail, or none, and that is what its schema says."""
    fault = payload(name)
    details = [child for detail in fault.iterchildren("detail") for child in detail]

    assert [child.tag for child in fault][:2] == ["faultcode", "faultstring"]
    assert len(details) <= 1
    for detail in details:
        first, second = shared(DETAILS[etree.QName(detail).namespace])
        assert first.validate(detail)
        assert second.is_valid(detail)


@pytest.mark.parametrize(
    ("name", "expected"), [(name, expected) for name, level, expected in TWINS if level == "schema"]
)
def test_schema_twin_is_invalid_for_both_validators(name, expected):
    """A twin with one fault in its form is refused by lxml and by xmlschema, and the element is named."""
    complaints, other = verdicts(payload(f"invalid/{name}"))

    assert not other
    assert any(re.search(rf"[}}']{expected}\b", complaint) for complaint in complaints), complaints


@pytest.mark.parametrize("name", [name for name, level, _ in TWINS if level == "rule"])
def test_rule_twin_is_valid_for_both_validators(name):
    """A twin that breaks a rule outside the schema is valid by the schema: nothing but the rule refuses it."""
    assert verdicts(payload(f"invalid/{name}")) == ([], True)


def test_index_lists_every_twin():
    """The index and the folder agree, and each level is one of two."""
    files = {path.name for path in (SAMPLES / "invalid").glob("*.xml")}

    assert Counter(name for name, _, _ in TWINS) == Counter(files)
    assert {level for _, level, _ in TWINS} == {"schema", "rule"}


def test_each_twin_differs_from_every_sample():
    """No twin is a copy of a valid sample, and no two twins are alike."""
    canonical = Counter(
        etree.tostring(payload(name), method="c14n") for name in [*VALID, *(f"invalid/{t[0]}" for t in TWINS)]
    )

    assert [body for body, times in canonical.items() if times > 1] == []


@pytest.mark.parametrize(("service", "message"), MESSAGES)
def test_each_message_has_a_smallest_sample(service, message):
    """The smallest sample has nothing optional but what a rule outside the schema asks for."""
    element = payload(f"{message}.min.xml")
    used = list(walk(element, judge(service).elements[message]))

    optional = {each.local_name for each, _, _ in used if each.min_occurs == 0}
    assert optional <= RULED


@pytest.mark.parametrize(("service", "message"), MESSAGES)
def test_each_message_has_largest_samples(service, message):
    """The largest samples together have each optional element, and each repeatable one twice in a row."""
    top = judge(service).elements[message]
    wanted = declarations(top)
    present: set[tuple[str, str]] = set()
    repeated: set[tuple[str, str]] = set()
    for path in sorted(SAMPLES.glob(f"{message}.max*.xml")):
        for each, owner, instance in walk(payload(path.name), top):
            present.add((owner, each.name))
            if len(instance.getparent().findall(each.name)) > 1:
                repeated.add((owner, each.name))

    repeatable = {key for key, each in wanted.items() if each.max_occurs is None or each.max_occurs > 1}
    assert set(wanted) - present == set()
    assert repeatable - repeated == set()


def uses() -> Iterator[tuple[xmlschema.XsdElement, str, etree._Element]]:
    """Each declaration that the valid samples use, a bare element of a body or of a detail included."""
    for name in VALID:
        element = payload(name)
        tops = [child for each in element.iterchildren("detail") for child in each] if name in FAULTS else [element]
        for top in tops:
            schema = shared(DETAILS[etree.QName(top).namespace])[1] if name in FAULTS else judge(service_of(top))
            declared = schema.elements[etree.QName(top).localname]
            yield declared, "", top
            yield from walk(top, declared)


def test_every_element_is_in_a_sample():
    """Every element that the schemas declare, in every type, stands in at least one sample."""
    tops = [top for service in names.PACKAGES.values() for top in judge(service).elements.values()]
    tops += [shared(name)[1].elements[top] for name, top in SHARED_TOPS]
    wanted = {key for top in tops for key in declarations(top)} | {("", top.name) for top in tops}
    declared = {
        f"{{{root.get('targetNamespace')}}}{each.get('name')}"
        for path in package.ROOT.glob("*/**/*.xsd")
        for root in [etree.parse(path).getroot()]
        for each in root.iter(f"{{{names.NS_XSD}}}element")
        if each.get("name")
    }
    used = {(owner, each.name) for each, owner, _ in uses()}

    assert wanted - used == set()
    assert declared - {name for _, name in used} == UNUSED


def test_every_code_is_in_a_sample():
    """Every code of every code list stands in at least one sample, in an element of that list's type."""
    used = {(each.type.local_name or "", instance.text or "") for each, _, instance in uses()}
    wanted = {(listed, row["kode"]) for listed, file in names.CODE_LISTS.items() for row in rows(DATA / file)}

    assert wanted - used == set()


def test_every_error_code_is_in_a_sample():
    """Every FejlKode that may stand on the wire is in a sample, spelled with its text; H502 is in none."""
    codes = rows(DATA / "fejlkoder.csv")
    texts = {row["kode"]: f"{row['mnemonic']}: {row['tekst']}" for row in codes}
    used: dict[str, set[str]] = {}
    for name in VALID:
        for error in payload(name).iter(f"{{{names.NS_KVITTERING}}}Fejl"):
            code, text = (child.text or "" for child in error)
            used.setdefault(code, set()).add(text)

    assert set(used) == {row["kode"] for row in codes if row["paaTraaden"] == "ja"}
    assert set(texts) - set(used) == {"H502"}
    assert {code: {texts[code]} for code in used} == used


def test_headers_of_valid_samples_are_consistent():
    """Each request names its own operation, one municipality throughout, and a BeskedID of its own."""
    seen: Counter[str] = Counter()
    f = f"{{{names.NS_FAELLES}}}"
    for name in VALID:
        element = payload(name)
        header = element.find(f"{f}Hoved")
        if header is None:
            continue
        operation = etree.QName(element).localname.removesuffix("Request")
        seen[header.findtext(f"{f}BeskedID", "")] += 1
        assert header.findtext(f"{f}Beskedtype") == operation
        cvrs = {
            each.text
            for each in element.iter(
                f"{f}AfsenderMyndighedCVR", f"{f}ModtagerMyndighedCVR", f"{{{names.NS_AUTHORITY}}}MunicipalityCVR"
            )
        }
        assert cvrs == {"29189846"}
        assert header.findtext(f"{f}Kommunekode") == "0791"

    assert [key for key, times in seen.items() if times > 1] == []


def test_every_person_in_the_samples_is_synthetic():
    """A CPR number in a sample belongs to nobody: 7th digit 5-8 with a year from 37 to 57, or unknown."""
    f = f"{{{names.NS_FAELLES}}}"
    numbers = {each.text for name in VALID for each in payload(name).iter(f"{f}CprNummer", f"{f}TidligereCprNummer")}

    assert "0000000000" in numbers
    for number in numbers - {"0000000000"}:
        assert re.fullmatch(r"[0-3]\d[01]\d(3[7-9]|4\d|5[0-7])[5-8]\d{3}", number)

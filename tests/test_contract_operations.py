# SPDX-License-Identifier: MPL-2.0
"""Operations: one table, and what a message must obey beyond the schema."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from lxml import etree

from sygefravaer.contract import codec, names
from sygefravaer.contract.messages import ArbejdsgiverType, SygefravaerResponse
from sygefravaer.contract.operations import (
    OPERATIONS,
    Environment,
    Service,
    broken_rules,
    case_key,
    check_caller,
    check_recipient,
    judge,
    operation_for,
    operation_of,
)
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import OperationNotFound, Refused
from wsdl_operations import WSDL_OPERATIONS

SAMPLES = Path(__file__).parent / "samples"
VIBORG = "29189846"
KSD = UUID("0b5d7c8e-3f21-4a6b-9c0d-1e2f3a4b5c6d")
JOBCENTRE = UUID("7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24")
OTHER = UUID("11111111-2222-4333-8444-555555555555")
REAL = Cpr.of_wire("0101854012")  # a form that a person may have; its last digits make no check sum
TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION

M1, M2, M3, M4 = (
    "SendHaendelseSygefravaerssag",
    "SendForretningsSvar",
    "SendAnmodningForlaengelse",
    "SendForretningsSvarForlaengelse",
)
M5, M6, M7 = "SendOpdateringFravaer", "HentSag", "HentSagsListe"


def message(path):
    element = next(etree.parse(SAMPLES / path).getroot().find(f"{{{names.NS_SOAP11}}}Body").iterchildren("*"))
    service = next(each for each in Service if each.namespace == etree.QName(element).namespace)
    return codec.decode_request(operation_of(service, element.tag), element)


def sample(name):
    return message(f"{name}Request.min.xml")


def header(found, **changes):
    return replace(found, Hoved=replace(found.Hoved, **changes))


def case(found, **changes):
    return replace(found, Sygefravaerssag=replace(found.Sygefravaerssag, **changes))


def as_person(found, cpr=REAL):
    """Make the same message about somebody who may exist, as production sees it."""
    found = header(found, CprNummer=cpr)
    return case(found, CprNummer=cpr, TidligereCprNummer=()) if hasattr(found, "Sygefravaerssag") else found


def verdict(found, environment=TEST, authority=VIBORG, caller=None):
    try:
        judge(operation_for(found), found, authority, environment=environment, caller_system=caller)
    except Refused as refused:
        return refused.code, refused.place
    return None


# --- the table ---


@pytest.mark.parametrize("service", Service)
def test_the_table_is_the_contract(service):
    """Each service has the operations of its WSDL, at its path, in its namespace."""
    rows = [row for row in OPERATIONS.values() if row.service is service]

    assert {row.name for row in rows} == set(WSDL_OPERATIONS[service])
    assert (service.namespace, service.path) == (names.NAMESPACES[service], names.PATHS[service])
    for row in rows:
        assert operation_of(service, row.request_tag) is row
        assert row.request_tag == f"{{{service.namespace}}}{row.name}Request"
        assert row.reply_tag == f"{{{service.namespace}}}{row.name}Response"
        assert row.soap_action == names.SOAP_ACTIONS[service] + row.name
        assert row.to_ksd is (service is Service.SYGEFRAVAER)
        assert row.lookup is (row.reply is not SygefravaerResponse)
        assert row.budget == 5.0
        assert [rule.code for rule in row.rules] == sorted(rule.code for rule in row.rules)
        assert len({rule.name for rule in row.rules}) == len(row.rules)


def test_what_each_operation_needs():
    """SF number, look-up or send, NemrefusionsID and reference, as the contract's tables say."""
    table = {
        name: (row.sf, row.lookup, row.needs_nemrefusions_id, row.needs_reference) for name, row in OPERATIONS.items()
    }
    assert table == {
        M1: ("SF2090", False, True, False),
        M2: ("SF2090", False, True, True),
        M3: ("SF2093", False, True, False),
        M4: ("SF2093", False, True, True),
        M5: ("SF2095", False, False, False),
        M6: ("SF2096", True, False, False),
        M7: ("SF2096", True, False, False),
    }


@pytest.mark.parametrize(
    "tag",
    [
        f"{{{names.NS_SYGEFRAVAER}}}HentSag",
        f"{{{names.NS_SYGEFRAVAER}}}HentSagResponse",
        f"{{{names.NS_JC}}}HentSagRequest",
        f"{{{names.NS_JC}}}SendAnmodningForlaengelseRequest",
        "HentSagRequest",
        "{x}_0101505012",
    ],
)
def test_what_is_no_operation_of_the_service(tag):
    """An element of another name, namespace or service is refused with the names that were wanted, not with its own."""
    with pytest.raises(OperationNotFound) as refused:
        operation_of(Service.SYGEFRAVAER, tag)

    assert "HentSagRequest" in refused.value.text
    assert "SendAnmodning" not in refused.value.text
    assert "0101505012" not in refused.value.text


# --- the samples ---


@pytest.mark.parametrize(
    "path", sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*Request.m*.xml"))
)
def test_right_samples_break_no_rule(path):
    """Every right sample is accepted, from the system that it names, in a test environment."""
    found = message(path)

    assert verdict(found, caller=KSD if operation_for(found).service is Service.SYGEFRAVAER_JC else JOBCENTRE) is None
    assert verdict(as_person(found), PRODUCTION) is None


TWINS = [
    (row["file"], row["expected"])
    for row in csv.DictReader((SAMPLES / "invalid/index.csv").read_text(encoding="utf-8").splitlines())
    if row["level"] == "rule"
]


@pytest.mark.parametrize(("file", "code"), TWINS)
def test_wrong_twins_break_the_rule_they_are_named_after(file, code):
    """Each twin is refused with its code, and its place is one that the contract has."""
    found = message(f"invalid/{file}")
    operation = operation_for(found)
    environment = PRODUCTION if code == "G011" else TEST
    caller = KSD if operation.service is Service.SYGEFRAVAER_JC else JOBCENTRE
    broken = {rule.code for rule in broken_rules(operation, found, VIBORG, environment=environment)}

    if "AfsenderSystemID" in file:
        assert not broken
        assert verdict(found, caller=caller) == ("G004", "Hoved/AfsenderSystemID")
    else:
        assert code in broken
        assert verdict(found, environment, caller=caller)[0] == min(broken)


def test_each_rule_of_each_operation_is_broken_by_one_twin_or_one_test():
    """No rule stands in the table that nothing here breaks."""
    by_twins = {
        (row.name, rule.name)
        for file, code in TWINS
        for found in [message(f"invalid/{file}")]
        for row in [operation_for(found)]
        for rule in broken_rules(row, found, VIBORG, environment=PRODUCTION if code == "G011" else TEST)
    }
    rest = {(row.name, rule.name) for row in OPERATIONS.values() for rule in row.rules} - by_twins

    # test_sagsart_that_opens_no_case, test_rights_are_not_asked_for, test_test_mark
    assert rest <= {
        (M1, "opening_sagsart"),
        (M3, "mulige_koder"),
        *((name, "testmarkering") for name in OPERATIONS),
        *((name, "former_cpr") for name in (M1, M3)),
        *((name, "case_cpr") for name in (M1, M3)),
    }


# --- rules that have no twin, and both sides of those that have a border ---


@pytest.mark.parametrize("sagsart", ["00", "49"])
def test_sagsart_that_opens_no_case(sagsart):
    """00 and 49 never open a case, but may be what a case is changed to."""
    found = case(sample(M1), Sagsart=sagsart)

    assert verdict(replace(found, Haendelsestype="OPRETTET")) == ("G001", "Sygefravaerssag/Sagsart")
    assert verdict(replace(found, Haendelsestype="AENDRET", Aendringsaarsag=("SAGSART_SKIFT",))) is None
    assert verdict(replace(case(found, Sagsart="11"), Haendelsestype="OPRETTET")) is None


@pytest.mark.parametrize("kode", ["P24A6", "P24B", "P26_COVID"])
def test_rights_are_not_asked_for(kode):
    """What is a right, or was automatic, answers no request and stands only in the picture of a case."""
    assert verdict(replace(sample(M3), MuligeForlaengelseskoder=("P27_1_2", kode))) == (
        "G001",
        "MuligeForlaengelseskoder",
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_test_mark(name):
    """A test mark is refused in production only, and only when it is set."""
    marked = as_person(header(sample(name), Testmarkering=True))

    assert verdict(marked, PRODUCTION) == ("G011", "Hoved/Testmarkering")
    assert verdict(header(marked, Testmarkering=False), PRODUCTION) is None
    assert verdict(header(sample(name), Testmarkering=True)) is None


def test_reason_of_an_answer_has_1500_characters_at_most():
    """1500 pass, 1501 do not; in an answer to an event there is no limit."""
    for name, length, expected in (
        (M4, 1500, None),
        (M4, 1501, ("G001", "Forretningskvittering/Begrundelse")),
        (M2, 1501, None),
    ):
        found = sample(name)
        receipt = replace(found.Forretningskvittering, Begrundelse="æ" * length)
        assert verdict(replace(found, Forretningskvittering=receipt)) == expected


def test_end_of_an_extension_is_needed_for_a_code_with_a_maximum():
    """Nr. 2 and nr. 3 have one in weeks, the automatic one of 2020 in months; nr. 5 has none."""
    found = replace(message("SendForretningsSvarForlaengelseRequest.max.xml"), ForlaengelseTil=None)

    for kode, expected in (
        ("P27_1_2", ("G001", "ForlaengelseTil")),
        ("P27_1_3", ("G001", "ForlaengelseTil")),
        ("P26_COVID", ("G001", "ForlaengelseTil")),
        ("P27_1_5", None),
    ):
        assert verdict(replace(found, Forlaengelseskode=kode)) == expected


# --- personal numbers ---


@pytest.mark.parametrize("name", OPERATIONS)
def test_environments_keep_their_numbers_apart(name):
    """Test takes test numbers only, production everything else; substitute numbers alike."""
    found = sample(name)

    assert verdict(as_person(found)) == ("G007", "Hoved/CprNummer")
    assert verdict(found, PRODUCTION) == ("G007", "Hoved/CprNummer")
    assert verdict(as_person(found, Cpr.of_wire("6101854012"))) == ("G007", "Hoved/CprNummer")
    assert verdict(as_person(found, Cpr.of_wire("6101854012")), PRODUCTION) is None
    assert verdict(as_person(found, Cpr.of_wire("6101505012"))) is None
    assert verdict(as_person(found, Cpr.of_wire("6101505012")), PRODUCTION) == ("G007", "Hoved/CprNummer")


def test_test_numbers_become_people_in_2037():
    """From the year in which a child may get such a number, production takes it."""
    found = sample(M5)

    assert verdict(header(found, Afsendelsestidspunkt=datetime(2036, 12, 31, 23, tzinfo=UTC)), PRODUCTION) is not None
    assert verdict(header(found, Afsendelsestidspunkt=datetime(2037, 1, 1, tzinfo=UTC)), PRODUCTION) is None


@pytest.mark.parametrize("environment", Environment)
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_unknown_person_can_only_be_listed(name, environment):
    """0000000000 is G007 everywhere but in HentSagsListe, where KSD says H506."""
    found = as_person(sample(name), Cpr.of_wire("0000000000"))

    assert verdict(found, environment) == (None if name == M7 else ("G007", "Hoved/CprNummer"))


@pytest.mark.parametrize("name", [M1, M3])
def test_former_numbers(name):
    """A former number of the case may stand in the header, and each must have the right form."""
    found = sample(name)
    former = header(case(found, TidligereCprNummer=(Cpr.of_wire("0202515012"),)), CprNummer=Cpr.of_wire("0202515012"))

    assert verdict(former) is None
    assert verdict(case(found, TidligereCprNummer=(Cpr.of_wire("9999999999"),))) == (
        "G007",
        "Sygefravaerssag/TidligereCprNummer",
    )
    assert verdict(case(found, CprNummer=Cpr.of_wire("x"), TidligereCprNummer=(found.Hoved.CprNummer,))) == (
        "G007",
        "Sygefravaerssag/CprNummer",
    )


@pytest.mark.parametrize("name", [M1, M3])
def test_employers(name):
    """An employer's number needs its check sum; an employer without one, and no employer, are fine."""
    for employer, expected in (
        (None, None),
        (ArbejdsgiverType(Navn="A"), None),
        (ArbejdsgiverType(CVRNummer="55133018"), None),
        (ArbejdsgiverType(CVRNummer="55133019"), ("G008", "Sygefravaerssag/Arbejdsgiver/CVRNummer")),
    ):
        assert verdict(case(sample(name), Arbejdsgiver=employer)) == expected


# --- authority and systems ---


def test_the_lowest_code_is_told():
    """Of everything wrong the lowest code is told: G001, then G004 (the caller too), G007, G008, G011."""
    found = header(
        case(sample(M1), Arbejdsgiver=ArbejdsgiverType(CVRNummer="55133019")),
        SnitfladeID="SF2096",
        Kommunekode="0751",
        CprNummer=REAL,
        Testmarkering=True,
    )
    found = case(found, CprNummer=REAL)

    assert verdict(found, caller=OTHER) == ("G001", "Hoved/SnitfladeID")
    found = header(found, SnitfladeID="SF2090")
    assert verdict(found, caller=OTHER) == ("G004", "Hoved/Kommunekode")
    found = header(found, Kommunekode="0791")
    assert verdict(found, caller=OTHER) == ("G004", "Hoved/AfsenderSystemID")
    assert verdict(found, caller=KSD) == ("G007", "Hoved/CprNummer")
    assert verdict(found, PRODUCTION) == ("G008", "Sygefravaerssag/Arbejdsgiver/CVRNummer")
    assert verdict(case(found, Arbejdsgiver=None), PRODUCTION) == ("G011", "Hoved/Testmarkering")


def test_authority_that_is_no_municipality():
    """A right CVR number that belongs to no municipality has no Kommunekode."""
    found = header(sample(M5), AfsenderMyndighedCVR="19435075", ModtagerMyndighedCVR="19435075")

    assert verdict(found, authority="19435075") == ("G004", "Hoved/Kommunekode")


def test_systems_in_the_header():
    """The sender must be the caller; the receiver, when named, must be the route's."""
    found = sample(M5)

    check_caller(found, JOBCENTRE)
    with pytest.raises(Refused, match="AfsenderSystemID"):
        check_caller(found, KSD)
    check_recipient(header(found, ModtagerSystemID=None), KSD)
    check_recipient(header(found, ModtagerSystemID=KSD), KSD)
    with pytest.raises(Refused, match="ModtagerSystemID") as refused:
        check_recipient(header(found, ModtagerSystemID=OTHER), KSD)
    assert refused.value.code == "G004"


# --- the key of the case ---


def test_key_of_the_case():
    """NemrefusionsID before SagsID before personal number."""
    for name in (M1, M2, M3, M4):
        found = sample(name)
        assert case_key(found) == ("nemref", str(found.Hoved.NemrefusionsID))
    for name in (M1, M3):
        found = header(sample(name), NemrefusionsID=None)
        assert case_key(found) == ("sag", str(found.Sygefravaerssag.SagsID))
    found = header(sample(M2), NemrefusionsID=None)
    assert case_key(found) == ("sag", str(found.SagsID))
    for name in (M5, M6):
        found = replace(header(sample(name), NemrefusionsID=None), SagsID=OTHER)
        assert case_key(found) == ("sag", str(OTHER))
        assert case_key(replace(found, SagsID=None)) == ("cpr", found.Hoved.CprNummer.reveal())
    for name in (M4, M7):
        found = header(sample(name), NemrefusionsID=None)
        assert case_key(found) == ("cpr", found.Hoved.CprNummer.reveal())

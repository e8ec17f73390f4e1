# SPDX-License-Identifier: MPL-2.0
"""The codec: samples in, the same out; the schema judges and repeats no value."""

import csv
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from sygefravaer.contract import codec, names
from sygefravaer.contract.messages import (
    CallContextType,
    TransportKvitteringType,
    kvittering_advarsel,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import SchemaValidationFailed, UsageError

SAMPLES = Path(__file__).parent / "samples"
BODY = f"{{{names.NS_SOAP11}}}Body"
CPR = "0101505012"
IN_TIME = re.compile("(tidspunkt|Tidspunkt|Tid|SenestAendret)$")  # written in UTC, whatever zone they came in
ROWS = {tag: row for row in OPERATIONS.values() for tag in (row.request_tag, row.reply_tag)}


def body(text):
    root = etree.fromstring(text) if isinstance(text, bytes) else etree.parse(SAMPLES / text).getroot()
    return next(root.find(BODY).iterchildren("*"))


PATHS = [
    path
    for path in sorted(path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*.xml"))
    if not path.startswith("invalid/") and body(path).tag in ROWS
]


def decoded(element):
    row = ROWS[element.tag]
    return (codec.decode_request if element.tag == row.request_tag else codec.decode_reply)(row, element)


def encoded(element):
    row = ROWS[element.tag]
    found = decoded(element)
    return codec.encode(found) if element.tag == row.request_tag else codec.encode_reply(row, found)


def changed(path, old, new, count=1):
    text = (SAMPLES / path).read_text(encoding="utf-8")
    assert old in text
    return body(text.replace(old, new, count).encode())


def leaves(element):
    return [(each.tag, each.text or "") for each in element.iter("*") if not len(each)]


def found_in(element):
    """Give what the schema's judge says of an element; nothing when it is valid."""
    try:
        codec.validate(ROWS[element.tag].service, element)
    except SchemaValidationFailed as failed:
        return failed
    return None


# --- samples ---


@pytest.mark.parametrize("path", PATHS)
def test_a_sample_comes_out_as_it_went_in(path):
    """Every element of every sample is written again: valid, in the same place, with the same meaning."""
    element = body(path)
    again = etree.fromstring(encoded(element))

    codec.validate(ROWS[element.tag].service, again)
    assert decoded(again) == decoded(element)
    if "Skrivemaader" in path:  # other spellings of the same: order of contexts, white space, zones
        assert Counter(each.tag for each in again.iter("*")) == Counter(each.tag for each in element.iter("*"))
    else:
        assert [each.tag for each in again.iter("*")] == [each.tag for each in element.iter("*")]
        assert [pair for pair in leaves(again) if not IN_TIME.search(pair[0])] == [
            pair for pair in leaves(element) if not IN_TIME.search(pair[0])
        ]


def test_values_have_the_types_of_the_contract():
    """One message read by hand."""
    found = decoded(body("SendHaendelseSygefravaerssagRequest.max.xml"))

    assert found.AuthorityContext.MunicipalityCVR == "29189846"
    assert isinstance(found.Hoved.BeskedID, UUID)
    assert found.Hoved.CprNummer == Cpr.of_wire(CPR)
    assert found.Hoved.Afsendelsestidspunkt == datetime(2026, 3, 2, 8, 15, 30, 250_000, tzinfo=UTC)
    assert found.Hoved.Afsendelsestidspunkt.tzinfo is UTC
    assert found.Hoved.Testmarkering is False
    assert isinstance(found.HaendelsesDato, date)
    assert isinstance(found.Sygefravaerssag.SagsVersion, int)
    assert isinstance(found.Sygefravaerssag.ForbrugteUger, Decimal)
    assert len(found.Sygefravaerssag.TidligereCprNummer) == 2
    assert CPR not in repr(found)


# --- reading ---


def test_what_xml_allows_between_and_in_texts():
    """Comments, processing instructions, CDATA and references are no part of a text and end none."""
    element = changed("HentSagRequest.max.xml", f">{CPR}<", ">01<!-- a -->01<?b c?><![CDATA[50]]>&#53;0<!-- d -->12<")
    element.insert(0, etree.Comment("x"))

    codec.validate(Service.SYGEFRAVAER, element)
    assert decoded(element) == decoded(body("HentSagRequest.max.xml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-15T12:00:00Z", datetime(2026, 1, 15, 12, tzinfo=UTC)),
        ("2026-01-15T12:00:00+01:00", datetime(2026, 1, 15, 11, tzinfo=UTC)),
        ("2026-01-15T12:00:00", datetime(2026, 1, 15, 11, tzinfo=UTC)),
        ("2026-07-15T12:00:00", datetime(2026, 7, 15, 10, tzinfo=UTC)),
        ("2026-01-15T12:00:00.5Z", datetime(2026, 1, 15, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-15T12:00:00.1234567890Z", datetime(2026, 1, 15, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("\n 2026-01-15T12:00:00Z\t", datetime(2026, 1, 15, 12, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", datetime.max.replace(tzinfo=UTC)),
        ("1000-01-01T00:00:00+14:00", datetime(999, 12, 31, 10, tzinfo=UTC)),
    ],
)
def test_times_are_utc_inside(text, expected):
    """With zone or without, which is Danish local time; the schema collapses white space; no valid time is an error."""
    path = "SendForretningsSvarRequest.min.xml"
    old = re.search(r"ModtagetTidspunkt>[^<]*<", (SAMPLES / path).read_text(encoding="utf-8")).group()
    element = changed(path, old, f"ModtagetTidspunkt>{text}<")

    codec.validate(Service.SYGEFRAVAER, element)
    assert decoded(element).ModtagetTidspunkt == expected
    assert decoded(element).ModtagetTidspunkt.tzinfo is UTC


@pytest.mark.parametrize("text", ["2026-04-01", " 2026-04-01 ", "2026-04-01Z", "2026-04-01+02:00"])
def test_a_day_is_a_day(text):
    """A zone after a date changes nothing."""
    old = re.search(r"FraDato>[^<]*<", (SAMPLES / "HentSagsListeRequest.max.xml").read_text(encoding="utf-8")).group()
    element = changed("HentSagsListeRequest.max.xml", old, f"FraDato>{text}<")

    codec.validate(Service.SYGEFRAVAER, element)
    assert decoded(element).FraDato == date(2026, 4, 1)


@pytest.mark.parametrize(
    ("text", "expected"), [("7", 7), (" +7 ", 7), ("007", 7), ("0" * 20 + "2147483647", 2147483647)]
)
def test_whole_numbers(text, expected):
    """Sign, white space and leading zeros are valid and mean nothing."""
    old = re.search(r"Side>[^<]*<", (SAMPLES / "HentSagsListeRequest.max.xml").read_text(encoding="utf-8")).group()
    element = changed("HentSagsListeRequest.max.xml", old, f"Side>{text}<")

    codec.validate(Service.SYGEFRAVAER, element)
    assert decoded(element).Side == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("1", True), (" 1\n", True), ("false", False), ("0", False)]
)
def test_truth_values(text, expected):
    """Both spellings of the schema."""
    old = re.search(r"Historik>[^<]*<", (SAMPLES / "HentSagRequest.max.xml").read_text(encoding="utf-8")).group()
    element = changed("HentSagRequest.max.xml", old, f"Historik>{text}<")

    codec.validate(Service.SYGEFRAVAER, element)
    assert decoded(element).InkluderHistorik is expected


def crowd(one, many):
    text = (SAMPLES / "HentSagsListeRequest.max.xml").read_text(encoding="utf-8")
    first = text.index("<tns:SagsTilstand>")
    return body((text[:first] + one * many + text[first:]).encode())


def test_a_list_may_be_long_but_not_endless():
    """Hundreds of equal elements are read; what no list of the contract needs is refused before it costs anything."""
    one = "<tns:SagsTilstand>LOEBENDE</tns:SagsTilstand>"
    long = crowd(one, 1_900)

    codec.validate(Service.SYGEFRAVAER, long)
    assert len(decoded(long).SagsTilstand) > 1_900
    for endless in (one, f"<!-- -->{one}", "<!-- -->", "<tns:SagsTilstand>X</tns:SagsTilstand>"):
        start = time.perf_counter()
        found = found_in(crowd(endless, 50_000))
        assert "HentSagsListeRequest: has more than 2000 nodes in it" in found.detail
        assert time.perf_counter() - start < 5


def test_many_nodes_are_no_crowd():
    """Only the children of one element count: a message may hold more in all."""
    text = codec.encode(decoded(body("SendOpdateringFravaerRequest.max.xml"))).decode()
    talk = re.search("<s:Opfoelgning>.*?</s:Opfoelgning>", text).group()
    text = text.replace(talk, talk * 900, 1)

    codec.validate(Service.SYGEFRAVAER, etree.fromstring(text))


def test_many_breaches_are_found_in_time():
    """The most breaches that fit cost a moment."""
    start = time.perf_counter()
    found = found_in(crowd("<tns:SagsTilstand a='1' b='2'>X</tns:SagsTilstand>", 1_900))

    assert "where only text may stand" in found.detail
    assert time.perf_counter() - start < 5


# --- writing ---


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=50))
def test_any_text_survives_or_is_refused(text):
    """What XML can hold comes back as it was; what it cannot is refused before it is written."""
    context = CallContextType(OnBehalfOfUser=text)
    if re.search("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text):
        with pytest.raises(UsageError):
            codec.encode(context, "CallContext")
    else:
        assert codec.decode(etree.fromstring(codec.encode(context, "CallContext")), CallContextType) == context


def test_markup_is_escaped():
    """Also the one place where XML forbids `>` and the carriage return that a parser would turn into a line feed."""
    context = CallContextType(OnBehalfOfUser="<&]]>\r\n\t\"'")
    text = codec.encode(context, "CallContext")

    assert b">&lt;&amp;]]&gt;&#13;\n\t\"'<" in text
    assert codec.decode(etree.fromstring(text), CallContextType) == context


def test_times_are_written_in_utc():
    """Any aware time ends in Z; one without zone is refused."""
    found = decoded(body("SendForretningsSvarRequest.min.xml"))
    east = datetime(2026, 3, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))

    assert b">2026-03-01T23:30:00Z<" in codec.encode(replace(found, ModtagetTidspunkt=east))
    with pytest.raises(UsageError):
        codec.encode(replace(found, ModtagetTidspunkt=datetime(2026, 3, 2)))  # noqa: DTZ001  what is refused


def test_decimals_are_written_plainly():
    """Never with an exponent."""
    found = decoded(body("SendAnmodningForlaengelseRequest.min.xml"))

    assert b"ForbrugteUger>100<" in codec.encode(replace(found, ForbrugteUger=Decimal("1E+2")))


def test_an_element_stands_by_itself():
    """It declares what it uses and nothing else, and has no declaration of XML before it."""
    text = codec.encode_reply(OPERATIONS["SendForretningsSvar"], decoded(body("SendForretningsSvarResponse.min.xml")))

    assert (
        text
        == (
            f'<s:SendForretningsSvarResponse xmlns:s="{names.NS_SYGEFRAVAER}" xmlns:kv="{names.NS_KVITTERING}">'
            "<kv:TransportKvittering><kv:TransportValideringsKode>OK</kv:TransportValideringsKode></kv:TransportKvittering>"
            "</s:SendForretningsSvarResponse>"
        ).encode()
    )


# --- receipts ---


@pytest.mark.parametrize("receipt", [kvittering_ok(), kvittering_advarsel("G006"), kvittering_fejl("G001", "G007")])
def test_receipts_stand_in_replies_and_in_faults(receipt):
    """The same receipt in a reply and as an element of its own."""
    for row in (OPERATIONS["SendOpdateringFravaer"], OPERATIONS["SendAnmodningForlaengelse"]):
        element = etree.fromstring(codec.encode_reply(row, row.reply(TransportKvittering=receipt)))
        codec.validate(row.service, element)
        assert element.tag == row.reply_tag
        assert codec.receipt_of(row, element) == receipt
    alone = etree.fromstring(codec.encode_receipt(receipt))
    assert alone.tag == f"{{{names.NS_KVITTERING}}}TransportKvittering"
    assert codec.decode(alone, TransportKvitteringType) == receipt


def test_a_look_up_has_no_receipt():
    """To ask for one is a mistake of the program."""
    with pytest.raises(UsageError):
        codec.receipt_of(OPERATIONS["HentSag"], body("HentSagResponse.min.xml"))


# --- the schema ---


TWINS = [
    (row["file"], row["expected"])
    for row in csv.DictReader((SAMPLES / "invalid/index.csv").read_text(encoding="utf-8").splitlines())
    if row["level"] == "schema"
]


@pytest.mark.parametrize(("file", "expected"), TWINS)
def test_a_breach_is_named_by_its_element(file, expected):
    """The text names the element that the twin gets wrong, a rule that is not the last resort, and a line."""
    element = body(f"invalid/{file}")
    with pytest.raises(SchemaValidationFailed) as failed:
        codec.validate(ROWS[element.tag].service, element)

    assert expected in failed.value.detail
    assert "breaks a rule" not in failed.value.detail
    assert re.search(r"\(line [0-9]+\)\.$", failed.value.detail)


def texts_of(path):
    """Put a personal number wherever something can be wrong: in each text, attribute, tail and name."""
    for place, _ in enumerate(body(path).iter("*")):
        for spoil in (
            lambda each: setattr(each, "text", f"{CPR} {CPR}"),
            lambda each: each.set(f"_{CPR}", CPR),
            lambda each: each.set("{http://www.w3.org/2001/XMLSchema-instance}type", f"_{CPR}"),
            lambda each: each.set("{http://www.w3.org/2001/XMLSchema-instance}nil", CPR),
            lambda each: setattr(each, "tail", CPR),
            lambda each: each.insert(0, etree.Element(f"_{CPR}")),
            lambda each: each.append(etree.Element(f"{{urn:{CPR}}}_{CPR}", nsmap={f"_{CPR}": f"urn:{CPR}"})),
        ):
            element = body(path)
            spoil(list(element.iter("*"))[place])
            yield element


@pytest.mark.parametrize(
    "path",
    [f"{row.name}{end}.max.xml" for row in OPERATIONS.values() for end in ("Request", "Response")],
)
def test_no_breach_repeats_a_value(path):
    """Whatever is wrong and wherever: no digit of a personal number comes back."""
    said = [found for element in texts_of(path) if (found := found_in(element)) is not None]

    assert len(said) > 30
    for found in said:
        assert CPR not in found.text + repr(found) + str(found.__context__)


def test_an_unknown_name_is_shown_when_it_can_hold_no_number():
    """InvocationContext is worth naming; a name with digits is not."""
    for name, shown in (
        ("InvocationContext", "InvocationContext"),
        (f"_{CPR}", "does not know"),
        ("A" * 41, "not know"),
    ):
        element = body("HentSagRequest.min.xml")
        element.insert(0, etree.Element(name))
        with pytest.raises(SchemaValidationFailed) as failed:
            codec.validate(Service.SYGEFRAVAER, element)
        assert shown in failed.value.detail
        assert (name in failed.value.detail) is (name == "InvocationContext")


def test_a_name_in_another_namespace_is_told_so():
    """The commonest mistake of hand-made clients is named."""
    element = body("HentSagRequest.max.xml")
    next(element.iter(f"{{{names.NS_SYGEFRAVAER}}}SagsID")).tag = "SagsID"
    with pytest.raises(SchemaValidationFailed, match=r"SagsID \(another namespace\)"):
        codec.validate(Service.SYGEFRAVAER, element)


def test_the_place_is_found_among_equals_and_without_prefixes():
    """The second of two equal elements is the one that is wrong, and default namespaces hide nothing."""
    text = codec.encode(decoded(body("SendOpdateringFravaerRequest.max.xml"))).decode()
    text = text.replace("<s:", "<").replace("</s:", "</").replace("xmlns:s=", "xmlns=")
    wrong = text.rindex("<Opfoelgningstype>") + len("<Opfoelgningstype>")
    text = f"{text[:wrong]}\n{text[wrong:]}"
    with pytest.raises(SchemaValidationFailed) as failed:
        codec.validate(Service.SYGEFRAVAER, etree.fromstring(text))

    assert failed.value.detail.startswith("SendOpdateringFravaerRequest/Opfoelgning/Opfoelgningstype: is not in its")


def test_a_path_that_leads_nowhere_names_what_it_reached():
    """A place that cannot be followed to its end is named as far as it can."""
    element = body("HentSagRequest.max.xml")

    assert codec._place(element, "/*/f:Hoved/f:Ukendt[3]/f:CprNummer") == "HentSagRequest/Hoved"
    assert codec._place(element, "/*/*[99]") == codec._place(element, "") == "HentSagRequest"


def test_the_schema_of_one_service_is_not_the_others():
    """A message of SygefravaerJC is nothing on Sygefravaer."""
    element = body("SendAnmodningForlaengelseRequest.min.xml")

    codec.validate(Service.SYGEFRAVAER_JC, element)
    with pytest.raises(SchemaValidationFailed, match="not an element of the schema"):
        codec.validate(Service.SYGEFRAVAER, element)


def test_threads_do_not_mix_their_findings():
    """Many threads at once: each gets the finding of its own message."""
    files = [(f"invalid/{file}", expected) for file, expected in TWINS] * 3

    def named(twin):
        return twin[1] in found_in(body(twin[0])).detail

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(named, files))

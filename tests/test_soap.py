# SPDX-License-Identifier: MPL-2.0
"""Envelopes in and out, hostile documents, faults, answers."""

from __future__ import annotations

import contextlib
import copy
import gzip
import re
import zlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import SygefravaerResponse, kvittering_advarsel, kvittering_fejl, kvittering_ok
from sygefravaer.contract.names import NS_AUTHORITY, NS_CALLCONTEXT, NS_FAULT, NS_KVITTERING, NS_SOAP11, NS_SOAP12
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import (
    AuthorityContextInvalid,
    HttpRefusal,
    InternalError,
    MalformedRequest,
    MustUnderstand,
    NotAnEnvelope,
    OperationNotFound,
    Refused,
    SecurityModelNotProvided,
    SourceSystemTimeout,
    Unreadable,
    VersionMismatch,
)
from sygefravaer.soap import FaultAnswer, Limits, ReceiptAnswer, ReplyAnswer, parsing

SAMPLES = Path(__file__).parent / "samples"
SEND = OPERATIONS["SendForretningsSvar"]
LOOKUP = OPERATIONS["HentSagsListe"]
CALL = UUID("8d2f6b40-1c95-4e3a-b7d8-5f0a9e6c3b21")
RECEIVED = datetime(2026, 3, 2, 9, 15, 31, 42_900, tzinfo=timezone(timedelta(hours=1)))
WSA = "http://www.w3.org/2005/08/addressing"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
SECRET = "0101505012"

REQUESTS = sorted(SAMPLES.glob("*Request.*.xml"))
ANSWERS = sorted(SAMPLES.glob("*Response.*.xml"))


def envelope(content: str = "<op/>", *, header: str = "", namespaces: str = "", declaration: str = "") -> bytes:
    return (
        f'{declaration}<s:Envelope xmlns:s="{NS_SOAP11}"{namespaces}>{header}<s:Body>{content}</s:Body></s:Envelope>'
    ).encode()


def request(inner: str = "", *, cvr: str = "29189846") -> etree._Element:
    return soap.read(
        envelope(
            f'<o:Op xmlns:o="urn:o"><a:AuthorityContext xmlns:a="{NS_AUTHORITY}">'
            f"<a:MunicipalityCVR>{cvr}</a:MunicipalityCVR></a:AuthorityContext>{inner}</o:Op>"
        )
    ).element


# --- tolerances ---


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_every_sample_is_read(path: Path) -> None:
    """Each request sample gives the one element of its body."""
    read = soap.read(path.read_bytes(), content_type="text/xml; charset=utf-8")

    assert etree.QName(read.element).localname == path.name.split(".")[0]
    assert read.notes == ()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (envelope("<op>æ</op>"), ""),
        (b"\xef\xbb\xbf" + envelope("<op>æ</op>"), "text/xml"),
        (b"\xef\xbb\xbf" + envelope("<op>æ</op>"), "text/xml; charset=iso-8859-1"),
        (envelope("<op>æ</op>"), 'text/xml; charset="UTF-8"'),
        (envelope("<op>æ</op>").decode().encode("utf-16"), "text/xml"),
        (b"\xfe\xff" + envelope("<op>æ</op>").decode().encode("utf-16-be"), "text/xml; charset=utf-16"),
        (envelope("<op>æ</op>").decode().encode("utf-16-le"), "text/xml; charset=utf-16"),
        (envelope("<op>æ</op>").decode().encode("utf-16-be"), "text/xml; charset=utf-16"),
        (envelope("<op>æ</op>").decode().encode("utf-16-be"), "text/xml; charset=UTF-16BE"),
        (envelope("<op>æ</op>").decode().encode("utf-16-le"), "text/xml"),
        (envelope("<op>æ</op>").decode().encode("latin-1"), "text/xml; charset=ISO-8859-1"),
        (envelope("<op>æ</op>").decode().encode("cp1252"), "text/xml; charset=windows-1252"),
        (envelope("<op>&#230;</op>"), "text/xml; charset=us-ascii"),
        (
            envelope("<op>æ</op>", declaration='<?xml version="1.0" encoding="ISO-8859-1"?>')
            .decode()
            .encode("latin-1"),
            "text/xml",
        ),
        (envelope("<op>æ</op>", declaration='<?xml version="1.0" encoding="ISO-8859-1"?>'), "text/xml; charset=utf-8"),
        (envelope("<op>æ</op>", declaration='<?xml version="1.0"?>\n'), 'application/soap+xml; action="x"'),
    ],
)
def test_encodings(body: bytes, content_type: str) -> None:
    """A byte order mark decides, else HTTP's charset, else the declaration, else UTF-8."""
    assert soap.read(body, content_type=content_type).element.text == "æ"


def test_undeclared_latin1_is_read_and_noted() -> None:
    """Bytes that nobody declared and that are not UTF-8 are taken as Latin-1."""
    read = soap.read(envelope("<op>æ</op>").decode().encode("latin-1"))

    assert read.element.text == "æ"
    assert read.notes == ("encoding.latin1",)


@pytest.mark.parametrize(
    "body",
    [
        envelope(header="<s:Header/>"),
        envelope(header="<s:Header> <!-- nothing --> </s:Header>"),
        envelope("\n <!-- a comment --> <op/> \n"),
        b"\n  " + envelope(),
        envelope().replace(b"s:", b"E-:").replace(b"xmlnE-:", b"xmlns:").replace(b":s=", b":E-="),
        f'<Envelope xmlns="{NS_SOAP11}"><Body><op xmlns=""/></Body><x xmlns="urn:after"/></Envelope>'.encode(),
    ],
)
def test_shapes_of_an_envelope(body: bytes) -> None:
    """Any prefix, an empty header, comments and white space, something after the body: all are read."""
    assert soap.read(body).element.tag == "op"


@pytest.mark.parametrize(
    ("headers", "action"),
    [
        ({}, None),
        ({"soapaction": '"urn:a/Op"'}, "urn:a/Op"),
        ({"soapaction": "urn:a/Op"}, "urn:a/Op"),
        ({"soapaction": '""'}, ""),
        ({"soapaction": ""}, ""),
        ({"content-type": 'application/soap+xml; charset=utf-8; action="urn:a/Op"'}, "urn:a/Op"),
        ({"content-type": "text/xml"}, None),
    ],
)
def test_soap_action(headers: dict[str, str], action: str | None) -> None:
    """The action is given without quotes, from its header or from the media type."""
    assert soap.action_of(headers) == action


# --- headers of the envelope ---


@pytest.mark.parametrize(
    ("block", "notes"),
    [
        ('<x:Any xmlns:x="urn:x"/>', ("header.ignored",)),
        ('<x:Any xmlns:x="urn:x" s:mustUnderstand="0"/>', ("header.ignored",)),
        ('<x:Any xmlns:x="urn:x" s:mustUnderstand="1" s:actor="urn:another"/>', ("header.ignored",)),
        (f'<w:Action xmlns:w="{WSA}" s:mustUnderstand="1">urn:op</w:Action>', ()),
        (f'<w:Security xmlns:w="{WSSE}" xmlns:u="{WSU}" s:mustUnderstand="1"><u:Timestamp/></w:Security>', ()),
        (f'<w:Security xmlns:w="{WSSE}" s:mustUnderstand="1"/>', ()),
        (f'<w:Security xmlns:w="{WSSE}"><w:UsernameToken/></w:Security>', ("header.ignored",)),
    ],
)
def test_header_blocks_that_are_let_through(block: str, notes: tuple[str, ...]) -> None:
    """WS-Addressing, a Timestamp alone, and whatever need not be understood by us are accepted."""
    assert soap.read(envelope(header=f"<s:Header>{block}</s:Header>")).notes == notes


@pytest.mark.parametrize(
    "block",
    [
        '<x:Any xmlns:x="urn:x" s:mustUnderstand="1"/>',
        '<x:Any xmlns:x="urn:x" s:mustUnderstand="true"/>',
        '<x:Any xmlns:x="urn:x" s:mustUnderstand="1" s:actor="http://schemas.xmlsoap.org/soap/actor/next"/>',
        f'<w:Security xmlns:w="{WSSE}" s:mustUnderstand="1"><w:UsernameToken/></w:Security>',
    ],
)
def test_header_blocks_that_must_be_understood(block: str) -> None:
    """A block for us that must be understood, and is not, is a MustUnderstand fault."""
    with pytest.raises(MustUnderstand):
        soap.read(envelope(header=f"<s:Header>{block}</s:Header>"))


@pytest.mark.parametrize("namespace", [WSA, "http://schemas.xmlsoap.org/ws/2004/08/addressing"])
def test_message_id_comes_back_as_relates_to(namespace: str) -> None:
    """A wsa:MessageID is echoed in its own version of WS-Addressing, escaped; in faults too."""
    header = f'<s:Header><w:MessageID xmlns:w="{namespace}"> urn:&amp;1 </w:MessageID></s:Header>'
    read = soap.read(envelope(header=header))
    assert (read.message_id, read.addressing) == ("urn:&1", namespace)

    _, fault = soap.fault(MustUnderstand(), call_uuid=CALL, received_at=RECEIVED, to=read)
    for answer in (soap.reply(b"<op/>", read), fault):
        assert etree.fromstring(answer).findtext(f".//{{{namespace}}}RelatesTo") == "urn:&1"


@pytest.mark.parametrize("text", ["", "x" * 1025])
def test_a_strange_message_id_is_not_echoed(text: str) -> None:
    """An empty or endless MessageID is as good as none."""
    read = soap.read(envelope(header=f'<s:Header><w:MessageID xmlns:w="{WSA}">{text}</w:MessageID></s:Header>'))

    assert read.message_id is None
    assert b"<soap:Header/>" in soap.reply(b"<op/>", read)


# --- hostile and broken documents ---

BOMB = '<!DOCTYPE a [<!ENTITY a0 "a">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9)) + "]>"
MANY = " ".join(f'a{n}="x"' for n in range(50_000))


@pytest.mark.parametrize(
    ("body", "status", "rule"),
    [
        pytest.param(b"", 400, "not XML", id="empty"),
        pytest.param(b"hello", 400, "not XML", id="text"),
        pytest.param(b'{"a": 1}', 400, "not XML", id="json"),
        pytest.param(b"\x00\x01\x02\x03", 400, "not XML", id="binary"),
        pytest.param(b"<", 500, "well-formed", id="one-bracket"),
        pytest.param(b"<html><br></html>", 500, "well-formed", id="html"),
        pytest.param(envelope()[:-4], 500, "well-formed", id="cut"),
        pytest.param(envelope("<op>&unknown;</op>"), 500, "well-formed", id="unknown-entity"),
        pytest.param(envelope("<op>\x01</op>"), 500, "well-formed", id="control-character"),
        pytest.param(envelope("<op a='1' a='2'/>"), 500, "well-formed", id="attribute-twice"),
        pytest.param(envelope("<x:op/>"), 500, "well-formed", id="unbound-prefix"),
        pytest.param(b"<!DOCTYPE a>" + envelope(), 500, "DTD", id="dtd"),
        pytest.param(BOMB.encode() + envelope("<op>&a8;</op>"), 500, "DTD", id="entity-bomb"),
        pytest.param(
            b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>' + envelope(), 500, "DTD", id="parameter"
        ),
        pytest.param(
            (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope("<op>&x;</op>"))
            .decode()
            .encode("utf-16"),
            500,
            "DTD",
            id="dtd-in-utf-16",
        ),
        pytest.param(envelope("<op>\0</op>"), 500, "NUL", id="nul"),
        pytest.param(envelope("<op>\0</op>").decode().encode("utf-16"), 500, "NUL", id="nul-in-utf-16"),
        pytest.param(envelope("<a>" * 10_000 + "</a>" * 10_000), 500, "well-formed", id="10000-levels"),
        pytest.param(envelope("<a>" * 63 + "</a>" * 63), 500, "deeper", id="65-levels"),
        pytest.param(envelope(f"<op {MANY}/>"), 500, "attributes", id="50000-attributes"),
        pytest.param(envelope(f"<op {MANY}/>".replace('"', "'")), 500, "attributes", id="50000-attributes-quoted"),
        pytest.param(
            envelope(("<op " + MANY[: MANY.index(" a900=")] + "/>") * 20), 500, "attributes", id="attributes-in-all"
        ),
        pytest.param(
            envelope("<op " + " ".join(f'xmlns:a{n}="u"' for n in range(2000)) + "/>"), 500, "namespace", id="xmlns"
        ),
        pytest.param(envelope("<op>" + "<a/>" * 200_001 + "</op>"), 500, "nodes", id="nodes"),
        pytest.param(b"<a>" + b"x" * (20 * soap.MEBIBYTE) + b"</a>", 500, "longer", id="long"),
        pytest.param(b"<a/>", 500, "Envelope", id="another-root"),
        pytest.param(f'<s:Body xmlns:s="{NS_SOAP11}"/>'.encode(), 500, "Envelope", id="body-alone"),
        pytest.param(f'<s:Envelope xmlns:s="{NS_SOAP11}"/>'.encode(), 500, "one Body", id="no-body"),
        pytest.param(envelope("<op/></s:Body><s:Body><op/>"), 500, "one Body", id="two-bodies"),
        pytest.param(envelope("<op/></s:Body><s:Header/><s:Body>"), 500, "one Body", id="header-after-body"),
        pytest.param(envelope(""), 500, "0 elements", id="empty-body"),
        pytest.param(envelope("<op/><op/>"), 500, "2 elements", id="two-children"),
        pytest.param(envelope(f"{SECRET}<op/>"), 500, "text beside", id="text-before"),
        pytest.param(envelope(f"<op/>{SECRET}"), 500, "text beside", id="text-after"),
        pytest.param(envelope("<op>æ</op>").decode().encode("latin-1"), 400, "utf-8", id="not-the-declared-utf-8"),
    ],
)
def test_bad_documents(body: bytes, status: int, rule: str, request: pytest.FixtureRequest) -> None:
    """Each is MalformedRequest that names the rule, 400 where it is no XML at all; the next request is read."""
    content_type = "text/xml; charset=utf-8" if "declared" in request.node.name else ""
    with pytest.raises(MalformedRequest, match=rule) as refused:
        soap.read(body, content_type=content_type)

    assert refused.value.status == status
    assert SECRET not in refused.value.text
    assert soap.read(envelope()).element.tag == "op"


@pytest.mark.parametrize("charset", ["utf-32", "utf-7", "ebcdic-cp-dk", "nonsense"])
def test_other_encodings_are_refused(charset: str) -> None:
    """An encoding that is not on the list is no XML for us."""
    with pytest.raises(MalformedRequest, match="encoding") as refused:
        soap.read(envelope(), content_type=f"text/xml; charset={charset}")
    assert refused.value.status == 400


def test_errors_of_the_parser_quote_nothing() -> None:
    """The text says which rule of XML, and where; no word of the document."""
    with pytest.raises(MalformedRequest) as refused:
        soap.read(envelope(f"<op><CprNummer x={SECRET}></op>"))

    assert SECRET not in str(refused.value)
    assert "CprNummer" not in str(refused.value)
    assert re.search(r"\(ATTRIBUTE_NOT_STARTED, line 1, column \d+\)", refused.value.text)


def test_soap_12_is_a_version_mismatch() -> None:
    """An Envelope of another namespace is answered in SOAP 1.1: VersionMismatch, no detail."""
    with pytest.raises(VersionMismatch) as mismatch:
        soap.read(envelope().replace(NS_SOAP11.encode(), NS_SOAP12.encode()), content_type="application/soap+xml")

    status, body = soap.fault(mismatch.value, call_uuid=CALL, received_at=RECEIVED)
    fault = etree.fromstring(body)
    assert status == 500
    assert fault.tag == f"{{{NS_SOAP11}}}Envelope"
    assert fault.findtext(".//faultcode") == "soap:VersionMismatch"
    assert fault.find(".//detail") is None


def test_the_parser_itself_reads_no_file(tmp_path: Path) -> None:
    """Should a DTD come past the first lock, the parser fetches neither entity nor parameter entity.

    With lxml's `collect_ids=False` it does open the second: then `leaked` is among the document's entities, and a
    file that is no DTD is a parse error.
    """
    secret, broken = tmp_path / "secret.dtd", tmp_path / "broken.dtd"
    secret.write_text('<!ENTITY leaked "opened">')
    broken.write_text("<!BROKEN")
    for path in (secret, broken):
        document = f'<!DOCTYPE a [<!ENTITY % p SYSTEM "{path.as_uri()}"> %p;]><a>&leaked;</a>'.encode()
        root = etree.fromstring(document, parsing._parser())
        assert [entity.name for entity in root.getroottree().docinfo.internalDTD.iterentities()] == ["p"]

    document = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]><a>&e;</a>'.encode()
    assert b"opened" not in etree.tostring(etree.fromstring(document, parsing._parser()))


def test_the_second_lock_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DTD that the look at the bytes had missed is refused after parsing too."""
    monkeypatch.setattr(parsing, "_look_over", lambda document, limits: None)
    with pytest.raises(MalformedRequest, match="DTD"):
        soap.read(b"<!DOCTYPE a>" + envelope())


def test_smaller_limits_are_kept() -> None:
    """The limits are the caller's of the room to set."""
    with pytest.raises(MalformedRequest, match="nodes"):
        soap.read(envelope("<op/>" * 20), limits=Limits(nodes=10))
    with pytest.raises(MalformedRequest, match="attributes"):
        soap.read(envelope("<op a='' b='' c=''/>"), limits=Limits(attributes=2, all_attributes=10))


# --- gzip ---


def test_gzip_of_several_members() -> None:
    """A gzip body may have several members."""
    assert soap.gunzip(gzip.compress(b"one ") + gzip.compress(b"two"), 100) == b"one two"
    assert soap.gunzip(b"", 100) == b""


@pytest.mark.parametrize(
    "body", [gzip.compress(b"x" * 101, mtime=0), gzip.compress(b"x" * 60, mtime=0) + gzip.compress(b"x" * 60, mtime=0)]
)
def test_a_gzip_bomb_stops_at_the_cap(body: bytes) -> None:
    """What inflates beyond the cap is 413, and no more than the cap is inflated."""
    with pytest.raises(HttpRefusal) as refused:
        soap.gunzip(body, 100)
    assert refused.value.status == 413


@pytest.mark.parametrize("body", [b"plain", gzip.compress(b"x" * 50, mtime=0)[:-9], zlib.compress(b"x")])
def test_broken_gzip(body: bytes) -> None:
    """What is not gzip, or ends early, is MalformedRequest with 400."""
    with pytest.raises(MalformedRequest) as refused:
        soap.gunzip(body, 100)
    assert refused.value.status == 400


# --- the security model ---


def test_authority_is_read_from_the_tree() -> None:
    """The municipality's CVR is read before any schema; a comment does not cut it."""
    assert soap.authority(request()).text == "29189846"
    assert soap.authority(request(cvr="2918<!-- -->9846")).text == "29189846"


@pytest.mark.parametrize(
    "cvr", ["", "29189847", "2918984", "291898460", "２９１８９８４６", " 29189846", "<x/>29189846"]
)
def test_an_invalid_authority(cvr: str) -> None:
    """Form and check sum are judged, and the number is not repeated."""
    if cvr == "<x/>29189846":
        element = soap.read(
            envelope(f'<o><a:AuthorityContext xmlns:a="{NS_AUTHORITY}"><x>29189846</x></a:AuthorityContext></o>')
        ).element
    else:
        element = request(cvr=cvr)
    with pytest.raises(AuthorityContextInvalid) as refused:
        soap.authority(element)
    assert "291898" not in refused.value.text


def test_no_authority() -> None:
    """Without AuthorityContext there is no security model, wherever else the CVR may stand."""
    inner = f'<x><a:AuthorityContext xmlns:a="{NS_AUTHORITY}"/></x>'
    with pytest.raises(SecurityModelNotProvided):
        soap.authority(soap.read(envelope(f"<op>{inner}</op>")).element)


# --- the same message ---


def with_context(context: str) -> etree._Element:
    return soap.read(envelope(f'<o:Op xmlns:o="urn:o" xmlns:c="{NS_CALLCONTEXT}">{context}<o:a>1</o:a></o:Op>')).element


def test_digest_leaves_the_call_context_out() -> None:
    """Another CallContext, or none, is the same message; the tree stays as it is."""
    element = with_context("<c:CallContext><c:AccountingInfo>1</c:AccountingInfo></c:CallContext>")
    before = etree.tostring(element)
    same = {soap.digest(element), soap.digest(with_context("<c:CallContext/>")), soap.digest(with_context(""))}

    assert len(same) == 1
    assert etree.tostring(element) == before


def test_digest_sees_through_comments_and_declarations() -> None:
    """Comments and the place of namespace declarations make no other message; values, prefixes and white space do."""
    plain = soap.digest(soap.read(envelope('<o:Op xmlns:o="urn:o"><o:a>1</o:a></o:Op>')).element)
    moved = envelope("<o:Op><!-- hi --><o:a>1</o:a></o:Op>", namespaces=' xmlns:o="urn:o" xmlns:unused="urn:u"')

    assert soap.digest(soap.read(moved).element) == plain
    for other in ("<o:Op><o:a>2</o:a></o:Op>", "<o:Op> <o:a>1</o:a></o:Op>", "<p:Op><p:a>1</p:a></p:Op>"):
        body = envelope(other, namespaces=' xmlns:o="urn:o" xmlns:p="urn:o"')
        assert soap.digest(soap.read(body).element) != plain


def test_digest_ignores_what_follows_the_element() -> None:
    """White space behind the request element belongs to the body, not to the message."""
    assert soap.digest(soap.read(envelope("<op/>")).element) == soap.digest(soap.read(envelope("<op/> \n")).element)


@pytest.mark.parametrize("scope", ["", ' xmlns:r="relative"'])
def test_what_has_no_canonical_form_is_malformed(scope: str) -> None:
    """A relative namespace name, used or not, cannot be canonicalised: the message is refused, with a name."""
    inner = '<op xmlns:r="relative"/>' if not scope else "<r:op/>"
    element = soap.read(envelope(inner, namespaces=scope)).element
    with pytest.raises(MalformedRequest, match="relative URI"):
        soap.digest(element)


# --- forwarding ---

STYLES = {
    "default": '<Op xmlns="urn:o"><a>1</a></Op>',
    "undeclared": '<d:Op xmlns:d="urn:o" xmlns="urn:x"><plain xmlns=""><inner/></plain></d:Op>',
    "qname-in-content": '<o:Op xmlns:o="urn:o"><o:a xsi:type="t:Type">1</o:a></o:Op>',
    "rebound": '<t:Op xmlns:t="urn:o"><t:a xmlns:t="urn:other" t:b="1"/></t:Op>',
    "no-namespace": "<Op><a/></Op>",
    "soap-prefix-used": '<s:Op xmlns:s="urn:not-soap"><soap:a xmlns:soap="urn:neither"/></s:Op>',
    "text": '<o:Op xmlns:o="urn:o" b="&#10;&#9;&quot;&lt;">æ&#13;&#10;<![CDATA[<&]]>]]&gt;<!-- c --><?p i?>&#128512;</o:Op>',
}
IN_SCOPE = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:t="urn:types" xmlns="urn:default"'


def canonical_body(document: bytes) -> bytes:
    body = etree.fromstring(document).find(f"{{{NS_SOAP11}}}Body")
    assert body is not None
    return soap.canonical(body[0])


@pytest.mark.parametrize(
    ("style", "scope"),
    [(style, scope) for style in STYLES for scope in (IN_SCOPE, "") if "xsi:" not in STYLES[style] + scope or scope],
)
def test_what_goes_out_is_what_came_in(style: str, scope: str) -> None:
    """Exclusive C14N of the forwarded element equals that of the received, for every style of prefixes."""
    came = envelope(STYLES[style], namespaces=scope)
    element = soap.read(came).element

    assert canonical_body(soap.forward(element)) == canonical_body(came)
    assert soap.wrap(soap.element_bytes(element)) == soap.forward(element)
    assert soap.digest(soap.read(soap.forward(element)).element) == soap.digest(element)


@pytest.mark.parametrize(
    "path", [*REQUESTS, *sorted(SAMPLES.glob("callback/*Request*.xml"))], ids=lambda path: path.stem
)
def test_every_sample_goes_out_as_it_came(path: Path) -> None:
    """The same for every wire sample; the header of the envelope ends here."""
    element = soap.read(path.read_bytes()).element
    out = soap.forward(element)

    assert canonical_body(out) == canonical_body(path.read_bytes())
    assert b"<soap:Header/>" in out


def test_an_element_is_kept_without_what_follows_it() -> None:
    """White space behind the request element is not stored with it."""
    assert soap.element_bytes(soap.read(envelope("<op/> \n")).element).endswith(b"/>")


def test_a_prefix_used_only_by_a_value_stays_bound() -> None:
    """`xsi:type="t:Type"` means the same after forwarding, although no name uses the prefix."""
    element = soap.read(envelope(STYLES["qname-in-content"], namespaces=IN_SCOPE)).element
    alone = etree.fromstring(soap.element_bytes(element))

    assert alone[0].nsmap["t"] == "urn:types"


# --- faults ---


def parts(error: BaseException, **options: object) -> tuple[int, etree._Element]:
    status, body = soap.fault(error, call_uuid=CALL, received_at=RECEIVED, **options)  # type: ignore[arg-type]
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    found = etree.fromstring(body).find(f"{{{NS_SOAP11}}}Body/{{{NS_SOAP11}}}Fault")
    assert found is not None
    return status, found


def test_the_block_at_the_end_of_every_faultstring() -> None:
    """The text, an empty line, and what the helpdesk wants to know: CallUUID, and the time in UTC with milliseconds."""
    _, fault = parts(SecurityModelNotProvided())

    assert fault.findtext("faultstring") == (
        "Security model for the called operation was not provided. "
        "The following are supported: [AuthorityContext]\n\n"
        "For further information contact Serviceplatformen Helpdesk and inform:\n"
        f"  CallUUID: {CALL}\n"
        "  Received: 2026-03-02T08:15:31.042Z"
    )
    assert "contact Driften & co and" in str(parts(Unreadable(), contact="Driften & co")[1].findtext("faultstring"))


@pytest.mark.parametrize(
    ("error", "faultcode", "code"),
    [
        (SecurityModelNotProvided(), "Client", "SecurityModelNotProvided"),
        (OperationNotFound(), "Client", "OperationNotFound"),
        (SourceSystemTimeout(), "Server", "SourceSystemTimeout"),
        (InternalError(), "Server", "InternalError"),
        (RuntimeError(SECRET), "Server", "InternalError"),
        (HttpRefusal(413), "Server", "InternalError"),
    ],
)
def test_platform_faults(error: Exception, faultcode: str, code: str) -> None:
    """A platform error has its code in ServiceplatformFault; what is unforeseen is InternalError and says nothing."""
    status, fault = parts(error)

    assert status == 500
    assert fault.findtext("faultcode") == f"soap:{faultcode}"
    assert [child.tag for child in fault.iterfind("detail/*")] == [f"{{{NS_FAULT}}}ServiceplatformFault"]
    assert fault.findtext(f".//{{{NS_FAULT}}}ErrorCode") == code
    assert SECRET not in etree.tostring(fault).decode()


def test_malformed_carries_its_status() -> None:
    """What is no XML is answered with 400 and the same fault."""
    assert parts(MalformedRequest("x", status=400))[0] == 400


def test_a_refused_send_is_a_receipt_in_a_fault() -> None:
    """FEJL with the bare code, and the mnemonic with a Danish sentence as its text."""
    status, fault = parts(Refused("G004", "Hoved/Kommunekode"))
    receipt = fault.find(f"detail/{{{NS_KVITTERING}}}TransportKvittering")
    assert receipt is not None

    assert (status, fault.findtext("faultcode")) == (500, "soap:Client")
    assert receipt.findtext(f"{{{NS_KVITTERING}}}TransportValideringsKode") == "FEJL"
    assert receipt.findtext(f".//{{{NS_KVITTERING}}}FejlKode") == "G004"
    assert str(receipt.findtext(f".//{{{NS_KVITTERING}}}FejlTekst")).startswith("MYNDIGHED_MISMATCH: ")
    assert "Hoved/Kommunekode" in str(fault.findtext("faultstring"))


@pytest.mark.parametrize(("code", "told"), [("G007", "G007"), ("G010", "G010"), ("G005", "RoutingNotFound")])
def test_a_refused_lookup_is_a_platform_fault(code: str, told: str) -> None:
    """A look-up has no receipt: the same code stands in ServiceplatformFault; no route has a name of its own."""
    _, fault = parts(Refused(code, "Hoved"), as_lookup=True)

    assert fault.findtext(f".//{{{NS_FAULT}}}ErrorCode") == told
    assert fault.find(f".//{{{NS_KVITTERING}}}TransportKvittering") is None


# --- answers, as a caller reads them ---


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_every_sample_answer_is_read(path: Path) -> None:
    """A receipt is decoded and kept as it came; a look-up's response is given as an element."""
    operation = OPERATIONS[path.name.split("Response")[0]]
    answer = soap.answer(path.read_bytes(), operation)

    if operation.lookup:
        assert isinstance(answer, ReplyAnswer)
        assert answer.element.tag == operation.reply_tag
    else:
        assert isinstance(answer, ReceiptAnswer)
        assert canonical_body(soap.wrap(answer.element)) == canonical_body(path.read_bytes())
        assert answer.receipt.TransportValideringsKode in {"OK", "ADVARSEL", "FEJL"}


def test_a_platform_fault_is_read() -> None:
    """Side, code and text of a fault are given; there is no receipt."""
    answer = soap.answer((SAMPLES / "Fault.SourceSystemTimeout.xml").read_bytes(), LOOKUP)

    assert isinstance(answer, FaultAnswer)
    assert (answer.faultcode, answer.code, answer.receipt) == ("Server", "SourceSystemTimeout", None)
    assert "CallUUID" in answer.text


def test_a_fault_with_a_receipt_counts_as_the_receipt() -> None:
    """Whatever the faultcode says, the receipt in the detail is what the receiver answered."""
    answer = soap.answer((SAMPLES / "Fault.TransportKvittering.xml").read_bytes(), SEND)

    assert isinstance(answer, FaultAnswer)
    assert answer.receipt is not None
    assert answer.receipt.TransportValideringsKode == "FEJL"


def fault_with(detail: str, faultcode: str = "s:Client") -> bytes:
    return envelope(f"<s:Fault><faultcode>{faultcode}</faultcode>{detail}</s:Fault>")


@pytest.mark.parametrize(
    ("body", "faultcode"),
    [
        (fault_with(""), "Client"),
        (fault_with("<detail/>", "s:Server"), "Server"),
        (fault_with("<detail/>", "Server.Overload"), "Server"),
        (fault_with("<detail/>", "s:VersionMismatch"), "Client"),
        (fault_with(f'<detail><k:TransportKvittering xmlns:k="{NS_KVITTERING}"/></detail>'), "Client"),
        (envelope("<s:Fault/>"), "Server"),
    ],
)
def test_faults_without_a_usable_detail(body: bytes, faultcode: str) -> None:
    """A fault without detail, or with one that is no valid receipt, has neither code nor receipt."""
    assert soap.answer(body, SEND) == FaultAnswer(faultcode=faultcode, code=None, text="", receipt=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        b"<!DOCTYPE html><html></html>",
        envelope(),
        envelope().replace(NS_SOAP11.encode(), NS_SOAP12.encode()),
        soap.wrap(
            codec.encode_reply(
                OPERATIONS["SendOpdateringFravaer"], SygefravaerResponse(TransportKvittering=kvittering_ok())
            )
        ),
        (SAMPLES / "SendForretningsSvarResponse.min.xml").read_bytes().replace(b">OK<", b">MAYBE<"),
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    """Anything but the operation's valid response or a fault is no answer."""
    with pytest.raises(NotAnEnvelope):
        soap.answer(body, SEND)


def test_receipts_survive_the_way_through_an_envelope() -> None:
    """A receipt written by one party is read alike by the other."""
    for receipt in (kvittering_ok(), kvittering_advarsel("G006"), kvittering_fejl("B101", "B102")):
        sent = codec.encode_reply(SEND, SygefravaerResponse(TransportKvittering=receipt))
        answer = soap.answer(soap.reply(sent), SEND)
        assert isinstance(answer, ReceiptAnswer)
        assert answer.receipt == receipt
        _, body = soap.fault(Refused("G002"), call_uuid=CALL, received_at=datetime.now(UTC))
        assert copy.copy(soap.answer(body, SEND).receipt) == kvittering_fejl("G002")  # type: ignore[union-attr]


# --- anything at all ---

WHOLE = (SAMPLES / "SendHaendelseSygefravaerssagRequest.min.xml").read_bytes()
PIECES = [
    b"<",
    b">",
    b"&",
    b"&#0;",
    b"\0",
    b"<!--",
    b"]]>",
    b"<!DOCTYPE",
    b"xmlns=''",
    b"\xff",
    b"\xef\xbb\xbf",
    b"",
    b'"',
    b"<?x?>",
]
TYPES = [
    "",
    "text/xml; charset=utf-8",
    "text/xml; charset=utf-16",
    "text/xml; charset=iso-8859-1",
    "text/xml; charset",
    "; charset=;",
]


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(WHOLE)),
    st.integers(0, 40),
    st.sampled_from(PIECES) | st.binary(max_size=4),
    st.sampled_from(TYPES),
)
def test_damaged_messages_are_read_or_refused(at: int, cut: int, piece: bytes, content_type: str) -> None:
    """Whatever happened to the bytes on their way, the outcome has a name; what is read can be digested and forwarded."""
    damaged = WHOLE[:at] + piece + WHOLE[at + cut :]
    try:
        element = soap.read(damaged, content_type=content_type).element
        digest = soap.digest(element)
    except (MalformedRequest, VersionMismatch, MustUnderstand):
        return
    assert soap.digest(soap.read(soap.forward(element)).element) == digest


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_any_bytes_are_refused(body: bytes, content_type: str) -> None:
    """Bytes that are nothing are MalformedRequest, as a request, as gzip, and as an answer."""
    with pytest.raises(MalformedRequest):
        soap.read(body, content_type=content_type)
    with contextlib.suppress(MalformedRequest, HttpRefusal):
        soap.gunzip(b"\x1f\x8b\x08" + body, 1000)
    with pytest.raises(NotAnEnvelope):
        soap.answer(body, SEND, content_type=content_type)

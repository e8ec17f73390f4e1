# SPDX-License-Identifier: MPL-2.0
"""The contract package: schemas, WSDLs and code lists, and how they are served."""

import csv
import re
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from urllib.parse import unquote

import pytest
import xmlschema
import zeep
from lxml import etree
from zeep.transports import Transport

from sygefravaer.contract import names, package
from wsdl_operations import WSDL_OPERATIONS

XS = f"{{{names.NS_XSD}}}"
WSDL = f"{{{names.NS_WSDL}}}"
SOAP = f"{{{names.NS_WSDL_SOAP}}}"
WSP = f"{{{names.NS_WSP}}}"
DATA = package.ROOT.parent / "data"
BASE = "https://example.test:8443/service"
PACKAGE_NAMES = (names.SYGEFRAVAER, names.SYGEFRAVAER_JC)
FILES = sorted(path.relative_to(package.ROOT).as_posix() for path in package.ROOT.rglob("*") if path.is_file())
SCHEMAS = [path for path in FILES if path.endswith(".xsd")]
SP = {
    "AuthorityContext_1.xsd",
    "CallContext_1.xsd",
    "Kvittering_1.xsd",
    "PNR_1.xsd",
    "ServiceplatformFaultMessage_1.wsdl",
    "ServiceplatformFault_1.xsd",
    "TransportKvitteringFaultMessage_1.wsdl",
    "service.properties",
}


def parsed(path: str) -> etree._Element:
    return etree.parse(package.ROOT / path).getroot()


def rows(file: str) -> list[dict[str, str]]:
    with (DATA / file).open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def operations(client: zeep.Client) -> set[str]:
    (service,) = client.wsdl.services.values()
    (port,) = service.ports.values()
    return set(port.binding._operations)


# The files


@pytest.mark.parametrize("name", PACKAGE_NAMES)
def test_package_has_the_published_layout(name):
    """Messages at the top, types beside them, the shared schemas in sp/, the WSDL with its policy in wsdl/context."""
    files = {path.removeprefix(f"{name}/") for path in FILES if path.startswith(f"{name}/")}
    own = (
        {"xsd/SygefravaerServiceTypes.xsd"}
        if name == names.SYGEFRAVAER
        else {"SF2090_EP_KSD2-0/SygefravaerJCModtager.wsdl"}
    )

    assert files == own | {f"sp/{file}" for file in SP} | {
        f"{name}ServiceMsg.xsd",
        "xsd/SygefravaerFaellesTypes.xsd",
        f"wsdl/context/{name}Service.wsdl",
        "wsdl/context/policies.wsdl",
    }


def test_shared_files_are_the_same_in_both_packages():
    """What both packages ship under one name is the same file, but for service.properties."""
    first, second = ({path.split("/", 1)[1] for path in FILES if path.startswith(f"{name}/")} for name in PACKAGE_NAMES)
    shared = (first & second) - {"sp/service.properties"}

    assert {"xsd/SygefravaerFaellesTypes.xsd", "wsdl/context/policies.wsdl"} <= shared
    for path in shared:
        assert (package.ROOT / "Sygefravaer" / path).read_bytes() == (
            package.ROOT / "SygefravaerJC" / path
        ).read_bytes()


@pytest.mark.parametrize("name", PACKAGE_NAMES)
def test_service_properties_name_the_service(name):
    """service.properties carries the UUID and the entity id that the code knows."""
    lines = (package.ROOT / name / "sp/service.properties").read_text(encoding="utf-8").splitlines()
    properties = dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    assert properties == {"service.uuid": names.SERVICE_UUIDS[name], "service.entityID": names.ENTITY_IDS[name]}


def test_made_up_service_uuid_is_derived_from_its_namespace():
    """SygefravaerJC has no published UUID: its own is UUID 5 of its namespace as URL."""
    assert names.SERVICE_UUIDS[names.SYGEFRAVAER_JC] == str(uuid.uuid5(uuid.NAMESPACE_URL, names.NS_JC))


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith((".xsd", ".wsdl"))])
def test_every_link_is_relative_and_leads_to_a_file(path):
    """What a packaged file imports lies in the package, by a relative path."""
    for link, attribute in package._links(parsed(path)):
        target = link.get(attribute).partition("#")[0]
        assert (
            not target
            or (package.ROOT / path).parent.joinpath(target).resolve().relative_to(package.ROOT).as_posix() in FILES
        )


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_type_and_element_is_documented_in_danish(path):
    """Each declared type, element and code carries one line of documentation, marked as Danish."""
    root = parsed(path)
    declared = [root, *root.iter(f"{XS}element", f"{XS}complexType", f"{XS}simpleType", f"{XS}enumeration")]

    assert root.get("elementFormDefault") == "qualified"
    assert root.get("targetNamespace").endswith("/")
    for each in declared:
        lines = each.findall(f"{XS}annotation/{XS}documentation")
        assert len(lines) == 1, each.attrib
        assert lines[0].get("{http://www.w3.org/XML/1998/namespace}lang") == "da"
        assert len(lines[0].text.strip()) > 3
        assert lines[0].text.strip().endswith("."), lines[0].text


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_complex_type_is_named(path):
    """No complex type is anonymous: bindings need a name."""
    assert [each.attrib for each in parsed(path).iter(f"{XS}complexType") if not each.get("name")] == []


@pytest.mark.parametrize("service", PACKAGE_NAMES)
def test_messages_are_global_elements_of_named_types(service):
    """Each operation has a request of its own type, and a send answers with the platform's own type."""
    root = parsed(names.MSG_FILES[service])
    types = {each.get("name"): each.get("type") for each in root.iterchildren(f"{XS}element")}

    assert set(types) == {f"{op}{end}" for op in WSDL_OPERATIONS[service] for end in ("Request", "Response")}
    for message, kind in types.items():
        sent = message.startswith("Send") and message.endswith("Response")
        assert kind == ("kv:SygefravaerResponse" if sent else f"tns:{message}Type")


def test_shared_schemas_have_the_published_names_and_cardinalities():
    """The sp/ schemas: namespace, elements, order and cardinalities as in the platform's public packages."""

    def content(file: str, kind: str) -> tuple[str, list[tuple[str, str, str]]]:
        found = parsed(f"Sygefravaer/sp/{file}").find(f"{XS}complexType[@name='{kind}']")[-1]
        children = [
            (c.get("name") or c.get("ref").partition(":")[2], c.get("minOccurs", "1"), c.get("maxOccurs", "1"))
            for c in found
        ]
        return etree.QName(found).localname, children

    assert content("AuthorityContext_1.xsd", "AuthorityContextType") == ("all", [("MunicipalityCVR", "1", "1")])
    assert content("CallContext_1.xsd", "CallContextType") == (
        "all",
        [("OnBehalfOfUser", "0", "1"), ("CallersServiceCallIdentifier", "0", "1"), ("AccountingInfo", "0", "1")],
    )
    receipt = [("Begrundelse", "0", "1"), ("FejlListe", "0", "1")]
    kv = "Kvittering_1.xsd"
    assert content(kv, "TransportKvitteringType") == ("sequence", [("TransportValideringsKode", "1", "1"), *receipt])
    assert content(kv, "ForretningskvitteringType") == (
        "sequence",
        [("ForretningsValideringsKode", "1", "1"), *receipt],
    )
    assert content(kv, "FejlListeType") == ("sequence", [("Fejl", "1", "unbounded")])
    assert content(kv, "FejlType") == ("sequence", [("FejlKode", "1", "1"), ("FejlTekst", "1", "1")])
    assert content(kv, "SygefravaerResponse") == ("sequence", [("TransportKvittering", "1", "1")])
    fault = "ServiceplatformFault_1.xsd"
    assert content(fault, "ServiceplatformFaultType") == ("sequence", [("ErrorList", "0", "1")])
    assert content(fault, "ErrorListType") == ("sequence", [("Error", "1", "unbounded")])
    assert content(fault, "ErrorType") == ("sequence", [("ErrorCode", "1", "1"), ("ErrorText", "1", "1")])
    globals_ = {each.get("name") for each in parsed(f"Sygefravaer/sp/{kv}").iterchildren(f"{XS}element")}
    assert globals_ == {"TransportKvittering", "Forretningskvittering"}
    namespaces = {
        parsed(f"Sygefravaer/sp/{file}").get("targetNamespace") for file in SP if not file.endswith("properties")
    }
    assert namespaces == {names.NS_AUTHORITY, names.NS_CALLCONTEXT, names.NS_KVITTERING, names.NS_FAULT, names.NS_PNR}


# The WSDLs


@pytest.mark.parametrize("service", names.SERVICES)
@pytest.mark.parametrize("table", [names.WSDL_FILES, names.FLAT_FILES], ids=["context", "flat"])
def test_wsdl_names_are_those_of_the_convention(service, table):
    """Port type, binding, service, port, messages, actions and faults are spelled as the platform spells its own."""
    root = parsed(table[service])
    ops = WSDL_OPERATIONS[service]
    callback = service == names.MODTAGER
    faults = ["TransportKvitteringFault"] if callback else ["TransportKvitteringFault", "ServiceplatformFault"]
    (port_type,) = root.findall(f"{WSDL}portType")
    (binding,) = root.findall(f"{WSDL}binding")
    (whole,) = root.findall(f"{WSDL}service")
    (port,) = whole.findall(f"{WSDL}port")

    assert root.get("targetNamespace") == names.NAMESPACES[service]
    assert port_type.get("name") == f"{service}PortType"
    assert (binding.get("name"), binding.get("type")) == (f"{service}Binding", f"tns:{service}PortType")
    assert whole.get("name") == (service if callback else f"{service}Service")
    assert (port.get("name"), port.get("binding")) == (f"{service}Port", f"tns:{service}Binding")
    assert [each.get("name") for each in port_type.findall(f"{WSDL}operation")] == list(ops)
    for operation in binding.findall(f"{WSDL}operation"):
        name = operation.get("name")
        action = "" if callback else names.SOAP_ACTIONS[service] + name
        assert operation.find(f"{SOAP}operation").get("soapAction") == action
        assert [each.get("name") for each in operation.findall(f"{WSDL}fault/{SOAP}fault")] == faults
    for operation in port_type.findall(f"{WSDL}operation"):
        assert [each.get("name") for each in operation.findall(f"{WSDL}fault")] == faults
    parts = {m.get("name"): (p.get("name"), p.get("element")) for m in root.findall(f"{WSDL}message") for p in m}
    for op in ops:
        assert parts[f"{op}RequestMessage"] == ("request", f"tns:{op}Request")
        assert parts[f"{op}ResponseMessage"] == ("response", f"tns:{op}Response")
    references = [each.get("URI").partition("#")[2] for each in binding.iter(f"{WSP}PolicyReference")]
    assert references == ([] if callback else ["ServiceplatformBindingPolicy"])
    assert port.find(f"{SOAP}address").get("location").startswith("http://" if callback else "https://localhost:8080/")


def test_policy_is_mutual_tls_declared_for_both_kinds_of_tools():
    """The policy stands twice, by Name and by id, and asks for the client's certificate and nothing more."""
    root = parsed("Sygefravaer/wsdl/context/policies.wsdl")
    policies = root.findall(f"{WSP}Policy")

    assert root.get("targetNamespace") == names.NS_POLICY
    assert [policy.get("Name") for policy in policies] == ["ServiceplatformBindingPolicy", None]
    assert [policy.get(f"{{{names.NS_WSU}}}Id") for policy in policies] == [None, "ServiceplatformBindingPolicy"]
    for policy in policies:
        asked = [etree.QName(each).localname for each in policy.iter(etree.Element) if "securitypolicy" in each.tag]
        assert asked == [
            "TransportBinding",
            "TransportToken",
            "HttpsToken",
            "RequireClientCertificate",
            "AlgorithmSuite",
            "Basic256Sha256",
        ]


@pytest.mark.parametrize("service", names.SERVICES)
def test_zeep_reads_the_files(service):
    """A client made from the packaged files finds each operation."""
    assert operations(zeep.Client(str(package.ROOT / names.WSDL_FILES[service]))) == set(WSDL_OPERATIONS[service])


@pytest.mark.parametrize("service", names.SERVICES)
def test_zeep_reads_the_flat_file(service):
    """A client made from the flat file alone finds each operation and its types."""
    client = zeep.Client(str(package.ROOT / names.FLAT_FILES[service]))

    assert operations(client) == set(WSDL_OPERATIONS[service])
    assert client.get_type(f"{{{names.NS_FAELLES}}}HovedType").name == "HovedType"


@pytest.mark.parametrize("service", names.SERVICES)
def test_flat_file_is_what_the_generator_makes(service):
    """The flat WSDL that is checked in is current."""
    assert (package.ROOT / names.FLAT_FILES[service]).read_bytes() == package.flat_wsdl(service)


@pytest.mark.parametrize("service", names.SERVICES)
def test_flat_file_leads_nowhere(service):
    """The flat WSDL imports no file, has each namespace once, and its policy where it refers to it."""
    root = parsed(names.FLAT_FILES[service])
    schemas = root.findall(f"{WSDL}types/{XS}schema")
    namespaces = [each.get("targetNamespace") for each in schemas]
    imports = [each for schema in schemas for each in schema.iter(f"{XS}import", f"{XS}include")]

    assert list(root.iter(f"{WSDL}import")) == []
    assert all(each.tag == f"{XS}import" and not each.get("schemaLocation") for each in imports)
    assert {each.get("namespace") for each in imports} <= set(namespaces)
    assert len(namespaces) == len(set(namespaces))
    policies = [each.get(f"{{{names.NS_WSU}}}Id") for each in root.findall(f"{WSP}Policy")]
    assert policies == ([] if service == names.MODTAGER else ["ServiceplatformBindingPolicy"])
    for reference in root.iter(f"{WSP}PolicyReference"):
        assert reference.get("URI") == "#ServiceplatformBindingPolicy"


@pytest.mark.parametrize("service", names.SERVICES)
def test_flat_schemas_declare_what_the_files_declare(service):
    """Nothing is lost or doubled on the way into the flat WSDL."""

    def declared(roots: list[etree._Element]) -> list[tuple[str, str, str]]:
        return sorted(
            (r.get("targetNamespace"), c.tag, c.get("name")) for r in roots for c in r.iterchildren() if c.get("name")
        )

    files = [path for path in SCHEMAS if path.startswith(f"{names.PACKAGES[service]}/")]
    if service == names.MODTAGER:  # has no ServiceplatformFault
        files = [path for path in files if "ServiceplatformFault" not in path]
    flat = parsed(names.FLAT_FILES[service]).findall(f"{WSDL}types/{XS}schema")

    assert declared(flat) == declared([parsed(path) for path in files])


def test_write_flat_writes_what_is_checked_in(tmp_path, monkeypatch):
    """The command that renews the flat files writes all three, into a folder that it makes."""
    expected = {path: (package.ROOT / path).read_bytes() for path in names.FLAT_FILES.values()}
    package._files()  # the package stays the source; only the place of writing moves
    monkeypatch.setattr(package, "ROOT", tmp_path)

    package.write_flat()

    assert {path: (tmp_path / path).read_bytes() for path in names.FLAT_FILES.values()} == expected


# Over HTTP


class Served(Transport):
    """A wire that ends in `document()`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service
        self.asked: list[str] = []

    def load(self, url: str) -> bytes:
        assert url.startswith(f"{BASE}?"), url
        self.asked.append(url.removeprefix(f"{BASE}?"))
        found = package.document(self.service, self.asked[-1], BASE)
        assert found is not None, url
        return found


@pytest.mark.parametrize("service", names.SERVICES)
@pytest.mark.parametrize("query", ["wsdl", "wsdl=flat"])
def test_zeep_reads_what_is_served(service, query):
    """A client made from the served WSDL finds each operation and calls the address that served it."""
    wire = Served(service)
    client = zeep.Client(f"{BASE}?{query}", transport=wire)
    (whole,) = client.wsdl.services.values()
    (port,) = whole.ports.values()

    assert operations(client) == set(WSDL_OPERATIONS[service])
    assert port.binding_options["address"] == BASE
    assert (len(wire.asked) == 1) == (query == "wsdl=flat")


@pytest.mark.parametrize("service", names.SERVICES)
def test_every_served_link_resolves(service):
    """Whoever follows every link from `?wsdl` gets a document each time, and in the end the whole package."""

    def links(document: bytes) -> Iterator[str]:
        for link, attribute in package._links(etree.fromstring(document)):
            target = link.get(attribute).partition("#")[0]
            assert target.startswith(f"{BASE}?"), target
            yield target.removeprefix(f"{BASE}?")

    waiting, seen = ["wsdl"], set()
    while waiting:
        query = waiting.pop()
        found = package.document(service, query, BASE)
        assert found is not None, query
        assert found.startswith(b"<?xml ")
        seen.add(query)
        waiting += [link for link in links(found) if link not in seen]

    own = {path.split("/", 1)[1] for path in FILES if path.startswith(f"{names.PACKAGES[service]}/")}
    reached = {unquote(query.partition("=")[2]) for query in seen} - {""}
    apart = {
        path for path in own if path.startswith(("SF2090", "wsdl/context/Sygefravaer")) or path.endswith("properties")
    }
    if service == names.MODTAGER:
        apart |= {path for path in own if "ServiceplatformFault" in path or path.startswith("wsdl/")}
    assert reached == own - apart


@pytest.mark.parametrize("query", ["WSDL", "Wsdl", "wsdl=", "wsdl"])
def test_spellings_of_wsdl(query):
    """Tools write `?wsdl` in their own way."""
    assert package.document("Sygefravaer", query, BASE) == package.document("Sygefravaer", "wsdl", BASE)


def test_single_wsdl_is_the_flat_one():
    """`?singleWsdl`, as .NET tools ask, is the flat WSDL."""
    assert package.document("Sygefravaer", "singleWsdl", BASE) == package.document("Sygefravaer", "wsdl=flat", BASE)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "x",
        "xsd",
        "xsd=",
        "wsdl=unknown.wsdl",
        "xsd=xsd/Unknown.xsd",
        "xsd=sp/service.properties",
        "wsdl=sp/CallContext_1.xsd",
        "xsd=../SygefravaerJC/xsd/SygefravaerFaellesTypes.xsd",
        "xsd=..%2FSygefravaerJC%2Fxsd%2FSygefravaerFaellesTypes.xsd",
        "wsdl=../flat/SygefravaerService.wsdl",
        "wsdl=/etc/passwd.wsdl",
        "xsd=../../../data/kommuner.csv",
        "xsd=xsd/./SygefravaerFaellesTypes.xsd",
        "xsd=xsd//SygefravaerFaellesTypes.xsd",
        "xsd=SygefravaerServiceMsg.xsd%00",
        "singlewsdl=1",
    ],
)
def test_nothing_else_is_served(query):
    """A query that names no file of the service's package gets nothing, whatever way it is written."""
    assert package.document("Sygefravaer", query, BASE) is None


@pytest.mark.parametrize("query", ["wsdl", "wsdl=flat", "singleWsdl", "xsd=xsd/SygefravaerFaellesTypes.xsd"])
def test_unknown_service_is_not_served(query):
    """A service that is none gets nothing."""
    assert package.document("Other", query, BASE) is None


@pytest.mark.parametrize("path", FILES)
def test_plain_files_are_given_as_shipped(path):
    """Each file of the packages is given byte for byte, by its path with or without the folder in front."""
    expected = (package.ROOT / path).read_bytes()

    assert package.packaged(f"/administration/wsdl/{path}") == expected
    assert package.packaged(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "Sygefravaer",
        "Sygefravaer/",
        "../package.py",
        "/etc/passwd",
        "Sygefravaer/../flat/SygefravaerService.wsdl",
    ],
)
def test_no_other_file_is_given(path):
    """Nothing outside the package is given, nor a folder."""
    assert package.packaged(path) is None
    assert package.packaged(f"/administration/wsdl/{path}") is None


# The compiled schemas


@pytest.mark.parametrize("service", names.SERVICES)
def test_schema_compiles_in_two_validators(service):
    """Both validators accept the schema, with nothing fetched."""
    assert isinstance(package.schema(service), etree.XMLSchema)
    assert xmlschema.XMLSchema(str(package.ROOT / names.MSG_FILES[service]), allow="local").built


def test_schema_is_compiled_once_per_thread():
    """A thread gets the same schema again; another thread gets one of its own, with its own error log."""
    other: list[etree.XMLSchema] = []
    worker = threading.Thread(target=lambda: other.append(package.schema("Sygefravaer")))
    worker.start()
    worker.join()

    assert package.schema("Sygefravaer") is package.schema("Sygefravaer")
    assert other[0] is not package.schema("Sygefravaer")


def test_unknown_service_has_no_schema():
    """A service that is none has no schema and no flat WSDL."""
    with pytest.raises(KeyError):
        package.schema("Other")
    with pytest.raises(KeyError):
        package.flat_wsdl("Other")


# The code lists


def test_enumerations_are_the_code_lists():
    """Each enumeration of the schemas holds exactly the codes of its data file, in its order, with its text."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in ("Sygefravaer/sp/Kvittering_1.xsd", "Sygefravaer/xsd/SygefravaerFaellesTypes.xsd"):
        for kind in parsed(path).iter(f"{XS}simpleType"):
            codes = list(kind.iter(f"{XS}enumeration"))
            if codes:
                text = f"{XS}annotation/{XS}documentation"
                found[kind.get("name")] = [(each.get("value"), each.findtext(text)) for each in codes]

    assert found == {
        kind: [(row["kode"], f"{row['tekst']}.") for row in rows(file)] for kind, file in names.CODE_LISTS.items()
    }


def test_no_enumeration_stands_elsewhere():
    """Code lists are declared in the shared schemas only."""
    for path in SCHEMAS:
        if not path.endswith(("Kvittering_1.xsd", "SygefravaerFaellesTypes.xsd")):
            assert list(parsed(path).iter(f"{XS}enumeration")) == []


def test_every_data_file_is_named():
    """There is no data file but the code lists, the error codes and the municipalities."""
    assert {path.name for path in DATA.iterdir()} == {*names.CODE_LISTS.values(), "fejlkoder.csv", "kommuner.csv"}


@pytest.mark.parametrize("file", sorted(names.CODE_LISTS.values()))
def test_code_list_is_well_formed(file):
    """A code stands once, has a text, dates in order or none, a known replacement or none, and a degree of certainty."""
    table = rows(file)
    codes = [row["kode"] for row in table]

    assert len(codes) == len(set(codes)) > 0
    for row in table:
        assert re.fullmatch(r"[A-Za-z0-9_.]+", row["kode"])
        assert row["tekst"]
        assert not row["tekst"].endswith(".")
        start, end = (date.fromisoformat(row[name]) if row[name] else None for name in ("gyldigFra", "gyldigTil"))
        assert start is None or end is None or start <= end
        assert row["erstattesAf"] in {"", *codes}
        assert row["sikkerhed"] in {"fact", "inference", "own", "unverified"}


def test_dated_codes_have_their_dates():
    """The dates that decide: the third category ends with 2024, the covid code with June 2021, four schemes later."""
    ends = {
        row["kode"]: row["gyldigTil"] for file in names.CODE_LISTS.values() for row in rows(file) if row["gyldigTil"]
    }

    assert ends == {
        "3": "2024-12-31",
        "P26_COVID": "2021-06-30",
        "P24B": "2026-12-31",
        "JOBAFKLARING": "2026-12-31",
        "RESSOURCEFORLOEB": "2026-06-30",
        "REVALIDERING": "2026-06-30",
    }


def test_extension_codes_carry_their_limits():
    """Nr. 2 lasts 69 weeks, nr. 3 134; rights and the covid code may not answer a request."""
    table = {row["kode"]: row for row in rows("forlaengelseskoder.csv")}

    assert {kode: row["maksUger"] for kode, row in table.items() if row["maksUger"]} == {
        "P27_1_2": "69",
        "P27_1_3": "134",
    }
    assert {kode for kode, row in table.items() if row["kanBesvareSF2093"] == "nej"} == {"P24A6", "P24B", "P26_COVID"}


def test_update_types_name_the_blocks_they_demand():
    """A block of an update is a payload element of the message."""
    message = parsed("Sygefravaer/SygefravaerServiceMsg.xsd")
    (kind,) = message.findall(f"{XS}complexType[@name='SendOpdateringFravaerRequestType']")
    elements = {each.get("name") for each in kind.iter(f"{XS}element")}
    blocks = {row["kode"]: set(filter(None, row["blok"].split(";"))) for row in rows("opdateringstyper.csv")}

    assert set().union(*blocks.values()) <= elements
    assert {kode for kode, block in blocks.items() if not block} == {"STANDBY", "SAG_LUKKET"}


def test_every_error_code_has_its_line():
    """All error codes stand in the table with mnemonic, sentence and who gives it; H502 is not for the wire."""
    table = {row["kode"]: row for row in rows("fejlkoder.csv")}
    ranges = {"G": (1, 2, 4, 5, 6, 7, 8, 9, 10, 11), "B": range(101, 107), "T": range(201, 206), "F": range(301, 310)}
    ranges |= {"O": range(401, 410), "H": range(501, 507)}

    assert list(table) == [f"{letter}{number:03}" for letter, numbers in ranges.items() for number in numbers]
    for row in table.values():
        assert re.fullmatch(r"[A-Z_]+", row["mnemonic"])
        assert re.fullmatch(r"[A-ZÆØÅ].*\.", row["tekst"])
        assert set(row["hvem"].split(";")) <= {"gateway", "ksd", "jobcenter"}
    assert [kode for kode, row in table.items() if row["paaTraaden"] == "nej"] == ["H502"]


def test_municipalities_are_all_there():
    """98 municipalities, each with a code, a name and a CVR number whose checksum holds."""
    table = rows("kommuner.csv")

    assert len(table) == 98
    assert len({row["kommunekode"] for row in table}) == len({row["cvr"] for row in table}) == 98
    assert {"kommunekode": "0791", "navn": "Viborg", "cvr": "29189846"} in table
    assert {"kommunekode": "0751", "navn": "Aarhus", "cvr": "55133018"} in table
    for row in table:
        assert re.fullmatch(r"\d{4}", row["kommunekode"])
        assert (
            sum(int(digit) * weight for digit, weight in zip(row["cvr"], (2, 7, 6, 5, 4, 3, 2, 1), strict=True)) % 11
            == 0
        )

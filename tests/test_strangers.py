# SPDX-License-Identifier: MPL-2.0
"""
Strangers do every message: zeep from the served WSDL against a running sandbox, and a receiver that Apache CXF has
generated from the callback WSDL behind a gateway of its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import requests
from benchmarks.rig import Rig, message
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from zeep import Client
from zeep.transports import Transport

from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.control import knock
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import Layout

pytestmark = pytest.mark.long

CXF = Path(__file__).parent / "strangers" / "cxf"
VIBORG = {"cvr": "29189846", "kode": "0791"}
CITIZENS = "27"  # each course in both municipalities
TRUST_PASSWORD = "changeit"


def _today() -> date:
    return datetime.now(ZoneInfo("Europe/Copenhagen")).date()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- zeep ---


class Sandbox:
    """A sandbox that runs, and what its sandbox.json says."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.told = json.loads((directory / "sandbox.json").read_text("utf-8"))

    def client(self, name: str, service: str) -> Client:
        """Make a zeep client of a system from the WSDL that the gateway serves."""
        system = next(each for each in self.told["systems"] if each["name"] == name)
        session = requests.Session()
        session.cert = (system["cert"], system["key"])
        session.verify = self.told["ca"]
        session.trust_env = False
        return Client(f"{self.told['gateway'][service]}?wsdl", transport=Transport(session=session))

    def system_id(self, name: str) -> str:
        return next(each["uuid"] for each in self.told["systems"] if each["name"] == name)

    def act(self, part: str, act: str, **fields: object) -> dict:
        """Knock at a part's control door."""
        return asyncio.run(knock(self.layout.socket(part), act, fields))

    def hoved(self, operation: str, sender: str, case: dict, **fields: object) -> dict:
        """Fill the header as the contract wants it."""
        return {
            "BeskedID": str(uuid4()),
            "Beskedtype": operation,
            "SnitfladeID": OPERATIONS[operation].sf,
            "SnitfladeVersion": "2.0",
            "KorrelationsID": str(uuid4()),
            "AfsenderMyndighedCVR": VIBORG["cvr"],
            "ModtagerMyndighedCVR": VIBORG["cvr"],
            "AfsenderSystemID": self.system_id(sender),
            "Kommunekode": VIBORG["kode"],
            "Afsendelsestidspunkt": datetime.now(UTC),
            "CprNummer": case["cpr"],
            "NemrefusionsID": case["nemrefusions_id"],
            **fields,
        }

    def case(self, *states: str) -> dict:
        """Give a case of Viborg's that is in one of the states."""
        return next(
            case for case in self.told["cases"] if case["municipality_cvr"] == VIBORG["cvr"] and case["state"] in states
        )

    def eventually(self, part: str, act: str, list_name: str, pick, **fields: object) -> dict:
        """Wait until something stands in a list of a part."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = [row for row in self.act(part, act, **fields)[list_name] if pick(row)]
            if found:
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"nothing came to {list_name} of {part}")


def _until_conversed(command: list[str], directory: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        told = subprocess.run([*command, "status", "--dir", directory, "--json"], check=True, capture_output=True)
        if json.loads(told.stdout)["conversation"] == "done":
            return
        time.sleep(0.2)
    raise AssertionError("the opening conversation did not end")


def _final(call, **fields: object):
    """Repeat the same message until its receipt is final, as the contract asks."""
    for _ in range(100):
        receipt = call(**fields)
        if receipt.FejlListe is None or "G006" not in [fejl.FejlKode for fejl in receipt.FejlListe.Fejl]:
            return receipt
        time.sleep(0.2)
    raise AssertionError("the receipt did not become final")


AUTHORITY = {"MunicipalityCVR": VIBORG["cvr"]}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A sandbox of its own, started and ended by its own command."""
    directory = tmp_path_factory.mktemp("strangers") / "sandbox"
    command = [sys.executable, "-m", "sygefravaer", "sandbox"]
    ports = ["--port", str(_free_port()), "--admin-port", str(_free_port())]
    subprocess.run([*command, "up", "--dir", directory, *ports, "--citizens", CITIZENS, "--detach"], check=True)
    running = Sandbox(directory)
    _until_conversed(command, directory)
    running.act("viborg", "policy", events="manual", extensions="manual")
    yield running
    subprocess.run([*command, "down", "--dir", directory], check=True)


@pytest.fixture(scope="module")
def viborg(sandbox):
    """A jobcentre vendor's zeep."""
    return sandbox.client("viborg", "sygefravaer")


@pytest.fixture(scope="module")
def ksd(sandbox):
    """A KSD vendor's zeep."""
    return sandbox.client("ksd", "sygefravaer_jc")


def test_zeep_looks_up_a_list(sandbox, viborg):
    """HentSagsListe: the citizen's case is in it."""
    case = sandbox.case("LOEBENDE")

    answer = viborg.service.HentSagsListe(
        AuthorityContext=AUTHORITY, Hoved=sandbox.hoved("HentSagsListe", "viborg", case, NemrefusionsID=None)
    )

    assert case["sags_id"] in [sag.SagsID for sag in answer.SagsListe.Sag]
    assert answer.AntalIAlt >= 1


def test_zeep_looks_up_a_case(sandbox, viborg):
    """HentSag: the whole case and its history."""
    case = sandbox.case("LOEBENDE")

    answer = viborg.service.HentSag(
        CallContext={"OnBehalfOfUser": "zeep"},
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("HentSag", "viborg", case),
        SagsID=case["sags_id"],
        InkluderHistorik=True,
    )

    assert answer.FejlListe is None
    assert answer.Sygefravaerssag.NemrefusionsID == case["nemrefusions_id"]
    assert answer.Haendelse


def test_zeep_sends_an_update(sandbox, viborg):
    """SendOpdateringFravaer: KSD has taken the visitation."""
    case = sandbox.case("LOEBENDE")
    today = _today()

    answer = _final(
        viborg.service.SendOpdateringFravaer,
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("SendOpdateringFravaer", "viborg", case),
        OpdateringID=str(uuid4()),
        SagsID=case["sags_id"],
        JobcentersagID=str(uuid4()),
        JobcentersagStatus="VISITERET",
        Opdateringstype=["VISITATION"],
        Visitationskategori="2",
        VisitationsDato=today,
        GyldigFra=today,
    )

    assert (answer.TransportValideringsKode, answer.FejlListe) == ("OK", None)
    seen = viborg.service.HentSag(
        AuthorityContext=AUTHORITY, Hoved=sandbox.hoved("HentSag", "viborg", case), SagsID=case["sags_id"]
    )
    assert seen.Sygefravaerssag.Visitationskategori == "2"


def test_zeep_answers_an_event(sandbox, viborg):
    """SendForretningsSvar: KSD changes a case, the stranger acknowledges it."""
    case = sandbox.case("LOEBENDE")
    changed = sandbox.act("ksd", "change_case", sags_id=case["sags_id"], ForventetRaskmeldingsdato="2027-01-15")
    version = sandbox.act("ksd", "case", sags_id=case["sags_id"])["version"]
    event = sandbox.eventually(
        "viborg", "inbox", "events", lambda row: row["sags_id"] == case["sags_id"] and row["version"] == version
    )

    answer = _final(
        viborg.service.SendForretningsSvar,
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("SendForretningsSvar", "viborg", case, ReferenceBeskedID=event["besked_id"]),
        Forretningskvittering={"ForretningsValideringsKode": "ACCEPTERET"},
        SagsID=case["sags_id"],
        SagsVersion=version,
        JobcentersagID=str(uuid4()),
        ModtagetTidspunkt=datetime.now(UTC),
    )

    assert changed
    assert (answer.TransportValideringsKode, answer.FejlListe) == ("OK", None)


def test_zeep_answers_a_request_for_extension(sandbox, viborg):
    """SendForretningsSvarForlaengelse: KSD asks, the stranger grants, KSD's case has the extension."""
    case = sandbox.case("FORLAENGET")
    anmodning_id = sandbox.act("ksd", "ask_extension", sags_id=case["sags_id"])["anmodning_id"]
    asked = sandbox.eventually("viborg", "inbox", "extensions", lambda row: row["anmodning_id"] == anmodning_id)
    first = date.fromisoformat(asked["revurderingsdato"]) + timedelta(days=1)

    answer = _final(
        viborg.service.SendForretningsSvarForlaengelse,
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("SendForretningsSvarForlaengelse", "viborg", case, ReferenceBeskedID=asked["besked_id"]),
        AnmodningID=anmodning_id,
        Forretningskvittering={"ForretningsValideringsKode": "ACCEPTERET"},
        Forlaengelseskode="P27_1_3",
        ForlaengelseFra=first,
        ForlaengelseTil=first + timedelta(weeks=13),
        VurderingsDato=_today(),
        SagsVersion=asked["version"],
    )

    assert (answer.TransportValideringsKode, answer.FejlListe) == ("OK", None)
    seen = viborg.service.HentSag(
        AuthorityContext=AUTHORITY, Hoved=sandbox.hoved("HentSag", "viborg", case), SagsID=case["sags_id"]
    )
    assert "P27_1_3" in [each.Forlaengelseskode for each in seen.Sygefravaerssag.Forlaengelse]


def _snapshot(case: dict, **fields: object) -> dict:
    return {
        "SagsID": case["sags_id"],
        "SagsVersion": 1,
        "NemrefusionsID": case["nemrefusions_id"],
        "CprNummer": case["cpr"],
        "Kommunekode": VIBORG["kode"],
        "Sagsart": "11",
        "SagsTilstand": "LOEBENDE",
        "Fravaerstype": "FULDT",
        "FoersteFravaersdag": _today() - timedelta(days=60),
        "AnmeldelsesDato": _today() - timedelta(days=30),
        "Beskaeftigelsesstatus": "LOENMODTAGER",
        "SenestAendret": datetime.now(UTC),
        **fields,
    }


def test_zeep_as_ksd_tells_an_event_and_asks_for_an_extension(sandbox, ksd):
    """SendHaendelseSygefravaerssag and SendAnmodningForlaengelse: the jobcentre has both in its inbox."""
    case = {"cpr": sandbox.case("LOEBENDE")["cpr"], "sags_id": str(uuid4()), "nemrefusions_id": str(uuid4())}

    told = _final(
        ksd.service.SendHaendelseSygefravaerssag,
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("SendHaendelseSygefravaerssag", "ksd", case),
        Haendelsestype="OPRETTET",
        HaendelsesDato=_today(),
        Sygefravaerssag=_snapshot(case),
    )
    anmodning_id = str(uuid4())
    asked = _final(
        ksd.service.SendAnmodningForlaengelse,
        AuthorityContext=AUTHORITY,
        Hoved=sandbox.hoved("SendAnmodningForlaengelse", "ksd", case),
        AnmodningID=anmodning_id,
        Rykkernummer=0,
        Anmodningstype="FOERSTE_REVURDERING",
        RevurderingsDato=_today() + timedelta(days=40),
        Svarfrist=_today() + timedelta(days=26),
        MuligeForlaengelseskoder=["P27_1_2", "P27_1_3"],
        ForbrugteUger="18.0",
        Sygefravaerssag=_snapshot(case, SagsTilstand="REVURDERING"),
    )

    assert (told.TransportValideringsKode, asked.TransportValideringsKode) == ("OK", "OK")
    sandbox.eventually("viborg", "inbox", "events", lambda row: row["sags_id"] == case["sags_id"])
    sandbox.eventually("viborg", "inbox", "extensions", lambda row: row["anmodning_id"] == anmodning_id)


# --- Apache CXF ---


def _java_trust(ca: Path, target: Path) -> Path:
    certificates = x509.load_pem_x509_certificates(ca.read_bytes())
    named = [pkcs12.PKCS12Certificate(each, b"ca%d" % number) for number, each in enumerate(certificates)]
    target.write_bytes(pkcs12.serialize_java_truststore(named, BestAvailableEncryption(TRUST_PASSWORD.encode())))
    return target


@pytest.fixture(scope="module")
def receiver_classes(tmp_path_factory):
    """The receiver, generated from the callback WSDL and compiled."""
    if shutil.which("mvn") is None:
        pytest.skip("Maven is not on this machine; the generated receiver needs it")
    target = tmp_path_factory.mktemp("cxf")
    subprocess.run(
        [
            *("mvn", "--quiet", "--batch-mode", "--file", CXF / "pom.xml", f"-DbuildDirectory={target}"),
            f"-Dmaven.repo.local={Path.home() / '.m2' / 'repository'}",  # $HOME, which Java does not ask
            "package",
        ],
        check=True,
        timeout=280,
    )
    return f"{target / 'classes'}:{(target / 'classpath.txt').read_text()}"


@pytest.mark.timeout(300)
async def test_a_generated_java_receiver_takes_both_messages(tmp_path, receiver_classes):
    """CXF validates M1 and M3 by the contract's schema, reads them as its own types, and the caller has its OK."""
    async with Rig(tmp_path) as rig:
        port = _free_port()
        own = rig.certificates.systems["viborg"]
        trust = _java_trust(rig.pki.ca, tmp_path / "trust.p12")
        await seed.register(rig.dsn, rig.certificates, rig.urls | {"viborg": f"https://localhost:{port}"})
        receiver = await asyncio.create_subprocess_exec(
            *("java", "-cp", receiver_classes, "dk.test.jobcenter.Receiver", str(port)),
            *(str(own.p12), own.p12_password, str(trust), TRUST_PASSWORD),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert await asyncio.wait_for(receiver.stdout.readline(), 60) == b"READY\n"
            await rig.start_gateway()
            for kind, name in (("M1", "SendHaendelseSygefravaerssag"), ("M3", "SendAnmodningForlaengelse")):
                operation = OPERATIONS[name]
                assert operation.service is Service.SYGEFRAVAER_JC
                besked_id = uuid4()
                _, sender = rig.sender(operation)
                body = message(name, besked_id=besked_id, lane=uuid4(), sender=sender)
                while not (told := await rig.send(operation, body)).final:  # a JVM's first call takes its time
                    await asyncio.sleep(0.2)
                assert (told.code, told.remarks) == ("OK", ())
                printed: list[str] = []  # it keeps no ledger, so a repeat after a slow first answer is printed again
                while printed[:2] != [kind, str(besked_id)]:
                    printed = (await asyncio.wait_for(receiver.stdout.readline(), 20)).decode().split()
        finally:
            receiver.kill()
            await receiver.wait()

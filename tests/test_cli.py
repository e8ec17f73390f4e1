# SPDX-License-Identifier: MPL-2.0
"""The command line: help with examples, errors that say who must act, stable exit codes, documentation."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner, Result
from lxml import etree

from sygefravaer import errors, soap
from sygefravaer.cli import calling, cli
from sygefravaer.cli.frame import Failure, exit_code
from sygefravaer.cli.sandboxing import program
from sygefravaer.contract import codec
from sygefravaer.contract.messages import HentSagResponse, SygefravaerssagType
from sygefravaer.contract.plain import of_plain

DOCUMENT = Path(__file__).parent.parent / "docs" / "commands.md"


def commands(command: click.Command = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, under in command.commands.items():
            yield from commands(under, *path, name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_command_has_help_with_an_example_that_fits(path: tuple[str, ...]) -> None:
    """`--help` ends with lines that can be typed, begins with this very command, and names only options it has."""
    result = run(*path, "--help")

    assert result.exit_code == 0
    example = result.output.partition("Example:\n")[2].partition("\n\n")[0]
    lines = [line.strip().split() for line in example.splitlines()]
    assert lines
    assert all(line[: len(path) + 1] == ["sygefravaer", *path] for line in lines)
    for line in lines:
        command = cli
        for word in line[1:]:
            command = command.commands.get(word, command) if isinstance(command, click.Group) else command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in line if word.startswith("--")} <= known


def test_every_command_and_option_is_documented() -> None:
    """`docs/commands.md` names each command that does something, and each of its visible options."""
    text = DOCUMENT.read_text()
    words = set(re.findall(r"--[a-z-]+", text))
    for path, command in commands():
        if isinstance(command, click.Group):
            continue
        assert f"sygefravaer {' '.join(path)}" in text
        visible = [
            parameter for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
        ]
        assert {option for parameter in visible for option in parameter.opts if option.startswith("--")} <= words


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes is the one the program uses."""
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT.read_text(), flags=re.MULTILINE)}
    cases = [
        errors.UsageError("PortInUse", "x"),
        errors.UsageError("Interrupted", "x"),
        errors.UsageError("PartEnded", "x"),
        errors.StoreUnavailable(),
        errors.NoAnswer(),
        errors.HttpFailure(503),
        errors.FaultReceived("Client", None, "x"),
        errors.ActRefused("PartUnknown"),
    ]

    assert [exit_code(error) for error in cases] == [2, 130, 70, 4, 3, 3, 1, 1]
    assert table == {0, 1, 2, 3, 4, 70, 130}


def test_an_error_says_who_must_act_and_what_to_try(tmp_path: Path) -> None:
    """Text on standard error; with --json an object on standard output too."""
    result = run("sandbox", "status", "--dir", str(tmp_path / "none"), "--json")

    assert result.exit_code == 2
    told = json.loads(result.stdout)["error"]
    assert (told["code"], told["who"]) == ("SandboxDown", "caller")
    assert "sandbox up" in told["try"]
    assert "No sandbox runs in" in result.stderr
    assert "who must act: caller" in result.stderr


def test_a_hint_of_the_error_itself_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """An error without a hint of its own shows that of its kind, or none."""
    Failure(errors.StoreUnavailable(), as_json=False).show()
    Failure(errors.Conflict(), as_json=False).show()

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("try:") == 1


def test_serve_refuses_settings_of_another_part(tmp_path: Path) -> None:
    """The part on the line and the part in the file must agree."""
    path = tmp_path / "admin.toml"
    path.write_text('part = "admin"\n[listen]\n')

    result = run("serve", "gateway", "--config", str(path))

    assert result.exit_code == 2
    assert "configuration of a admin" in result.stderr


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Describe a sandbox that is not there: nothing answers at its addresses."""
    system = {"key": "k", "p12": "p", "p12_password": "x", "cert": "c"}
    told = {
        "gateway": {"sygefravaer": "https://localhost:1/a", "sygefravaer_jc": "https://localhost:1/b"},
        "admin": "http://localhost:1/",
        "ca": "ca.pem",
        "systems": [
            {**system, "name": "viborg", "role": "jobcenter", "uuid": uuid(1), "municipalities": ["29189846"]},
            {**system, "name": "aarhus", "role": "jobcenter", "uuid": uuid(2), "municipalities": ["55133018"]},
            {**system, "name": "ksd", "role": "ksd", "uuid": uuid(3), "municipalities": ["29189846", "55133018"]},
        ],
        "cases": [
            {"cpr": "0101505001", "sags_id": uuid(4), "nemrefusions_id": uuid(5), "municipality_cvr": "29189846"},
            {"cpr": "0201505001", "sags_id": uuid(6), "nemrefusions_id": uuid(7), "municipality_cvr": "55133018"},
        ],
    }
    (tmp_path / "sandbox.json").write_text(json.dumps(told))
    return tmp_path


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def request(described: Path, name: str, *given: str, cpr: str | None = None, **options: Any) -> Any:
    """Give the message that the command line would send."""
    operation = calling.operation_named(name)
    system, municipality = options.pop("system", None), options.pop("municipality", None)
    caller, case = calling.sandbox_caller(described, operation, system=system, municipality=municipality, cpr=cpr)
    filled: dict[str, Any] = {"file": None, "on_behalf_of": None} | options
    element = calling.request_element(operation, caller, case, cpr=cpr, given=given, **filled)
    tree = etree.fromstring(element)
    codec.validate(operation.service, tree)
    return codec.decode(tree, operation.request)


def wrong(described: Path, *arguments: str) -> str:
    result = run("call", *arguments, "--dir", str(described), "--json")
    assert result.exit_code == 2, result.output
    return str(json.loads(result.stdout)["error"]["code"])


def test_a_call_without_options_is_about_the_first_case(described: Path) -> None:
    """Header and contexts are filled in from the sandbox's own description."""
    message = request(described, "HentSagsListe")

    assert message.AuthorityContext.MunicipalityCVR == "29189846"
    assert message.Hoved.CprNummer.reveal() == "0101505001"
    assert str(message.Hoved.AfsenderSystemID) == uuid(1)
    assert message.Hoved.Kommunekode == "0791"


def test_a_citizen_brings_his_municipality_and_its_system(described: Path) -> None:
    """Naming the citizen is enough; a municipality or a system can be named too."""
    assert str(request(described, "HentSag", cpr="0201505001").Hoved.AfsenderSystemID) == uuid(2)
    assert str(request(described, "hentsag", municipality="55133018").Hoved.AfsenderSystemID) == uuid(2)
    assert str(request(described, "HentSag", system="aarhus").Hoved.NemrefusionsID) == uuid(7)


def test_fields_have_the_types_of_the_contract(described: Path) -> None:
    """Numbers, truth values, dates, lists and blocks are read from text by the field's own type."""
    message = request(
        described,
        "SendOpdateringFravaer",
        f"JobcentersagID={uuid(8)}",
        "JobcentersagStatus=VISITERET",
        "Opdateringstype=VISITATION",
        "Opdateringstype=OPFOELGNING",
        "Visitationskategori=2",
        "VisitationsDato=2026-03-02",
        "Opfoelgning/Opfoelgningstype=FOERSTE_OPFOELGNING",
        "Opfoelgning/Form=TELEFON",
        "GyldigFra=2026-03-02",
        "Hoved/Testmarkering=true",
        on_behalf_of="sagsbehandler",
    )

    assert message.Opdateringstype == ("VISITATION", "OPFOELGNING")
    assert message.Opfoelgning[0].Form == "TELEFON"
    assert message.Hoved.Testmarkering is True
    assert message.CallContext.OnBehalfOfUser == "sagsbehandler"
    page = request(described, "HentSagsListe", "Side=2", "SideStoerrelse=10", "SagsTilstand=LOEBENDE")
    assert (page.Side, page.SideStoerrelse, page.SagsTilstand) == (2, 10, ("LOEBENDE",))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("STANDBY", "STANDBY"),
        ("VISITATION", "VISITERET"),
        ("SAG_LUKKET", "AFSLUTTET"),
        ("OVERGANG", "OVERGAAET"),
        ("FORVENTET_RASKMELDING", "I_OPFOELGNING"),
    ],
)
def test_what_the_sender_decides_is_filled_in(described: Path, kind: str, status: str) -> None:
    """One field makes an update: new ids, today in Denmark, the status that fits."""
    message = request(described, "SendOpdateringFravaer", f"Opdateringstype={kind}")

    today = datetime.now(ZoneInfo("Europe/Copenhagen")).date()
    assert (message.JobcentersagStatus, message.GyldigFra) == (status, today)
    assert message.VisitationsDato == (today if kind == "VISITATION" else None)
    assert message.OpdateringID != request(described, "SendOpdateringFravaer", f"Opdateringstype={kind}").OpdateringID
    given = request(described, "SendOpdateringFravaer", f"Opdateringstype={kind}", f"OpdateringID={uuid(9)}")
    assert str(given.OpdateringID) == uuid(9)


def test_an_answer_is_filled_in(described: Path) -> None:
    """MODTAGET, of the case it is about; what is referred to must be named."""
    message = request(described, "SendForretningsSvar", f"Hoved/ReferenceBeskedID={uuid(9)}")
    assert message.Forretningskvittering.ForretningsValideringsKode == "MODTAGET"
    assert (str(message.SagsID), message.SagsVersion) == (uuid(4), 1)
    assert message.ModtagetTidspunkt <= datetime.now(UTC)
    extension = request(described, "SendForretningsSvarForlaengelse", f"AnmodningID={uuid(9)}")
    assert extension.VurderingsDato == datetime.now(ZoneInfo("Europe/Copenhagen")).date()
    gone = request(
        described, "SendOpdateringFravaer", "Opdateringstype=MANGLENDE_MEDVIRKEN", "ManglendeMedvirken/Type=UDEBLIVELSE"
    )
    assert gone.ManglendeMedvirken.HaendelsesDato == gone.GyldigFra


def test_a_running_case_is_chosen(described: Path) -> None:
    """The first that is LOEBENDE; with the SagsID of another case the header names no report."""
    path = described / "sandbox.json"
    told = json.loads(path.read_text())
    told["cases"].append(told["cases"][0] | {"sags_id": uuid(10), "nemrefusions_id": uuid(11), "state": "LOEBENDE"})
    path.write_text(json.dumps(told))
    assert str(request(described, "HentSag").Hoved.NemrefusionsID) == uuid(11)
    assert str(request(described, "HentSag", f"SagsID={uuid(10)}").Hoved.NemrefusionsID) == uuid(11)
    assert request(described, "HentSag", f"SagsID={uuid(4)}").Hoved.NemrefusionsID is None


def test_a_json_file_is_laid_under_the_options(described: Path) -> None:
    """What the file says of the header counts; an option goes over the file."""
    path = described / "fields.json"
    path.write_text(json.dumps({"Hoved": {"BeskedID": uuid(9)}, "Side": 2}))

    message = request(described, "HentSagsListe", "Side=3", file=path)

    assert (str(message.Hoved.BeskedID), message.Side) == (uuid(9), 3)


def test_an_xml_file_is_sent_as_it_is(described: Path) -> None:
    """A request element, with or without an envelope, is not made anew."""
    operation = calling.operation_named("HentSagsListe")
    caller, case = calling.sandbox_caller(described, operation, system=None, municipality=None, cpr=None)
    element = calling.request_element(operation, caller, case, cpr=None, given=(), file=None, on_behalf_of=None)
    for content in (element, b'\xef\xbb\xbf<?xml version="1.0"?>' + element, soap.wrap(element)):
        path = described / "request.xml"
        path.write_bytes(content)
        sent = calling.request_element(operation, caller, case, cpr=None, given=(), file=path, on_behalf_of=None)
        assert soap.digest(etree.fromstring(sent)) == soap.digest(etree.fromstring(element))


def test_an_event_is_about_the_citizen_of_its_case(described: Path) -> None:
    """KSD calls; the header's citizen is that of the snapshot in the file."""
    sag = {
        "SagsID": uuid(4), "SagsVersion": 1, "NemrefusionsID": uuid(6), "CprNummer": "0301505001",
        "Kommunekode": "0791", "Sagsart": "11", "SagsTilstand": "ANMELDT", "Fravaerstype": "FULDT",
        "FoersteFravaersdag": "2026-01-01", "AnmeldelsesDato": "2026-02-01",
        "Beskaeftigelsesstatus": "LOENMODTAGER", "SenestAendret": "2026-02-01T08:00:00+00:00",
    }  # fmt: skip
    path = described / "event.json"
    path.write_text(json.dumps({"Haendelsestype": "OPRETTET", "HaendelsesDato": "2026-01-01", "Sygefravaerssag": sag}))

    message = request(described, "SendHaendelseSygefravaerssag", file=path)

    assert str(message.Hoved.AfsenderSystemID) == uuid(3)
    assert (message.Hoved.CprNummer.reveal(), str(message.Hoved.NemrefusionsID)) == ("0301505001", uuid(6))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("HentAlt",), "OperationUnknown"),
        (("HentSag", "--system", "odense"), "SystemUnknown"),
        (("HentSag", "--municipality", "64942212"), "SystemUnknown"),
        (("HentSag", "--field", "Side"), "FieldMalformed"),
        (("HentSag", "--field", "Side=1"), "FieldUnknown"),
        (("HentSag", "--field", "NAMESPACE=1"), "FieldUnknown"),
        (("HentSag", "--field", "SagsID/Side=1"), "FieldUnknown"),
        (("HentSag", "--file", "/nowhere"), "FileUnreadable"),
        (("HentSag", "--url", "https://localhost:1/"), "OptionMissing"),
    ],
)
def test_a_call_used_wrongly_is_told_so(described: Path, arguments: tuple[str, ...], code: str) -> None:
    """Nothing is sent; the code says what is wrong, the exit code is 2."""
    assert wrong(described, *arguments) == code


@pytest.mark.parametrize("content", ["[1]", "{", "<x", "<x/>", "<?xml version='1.0'", "\x00"])
def test_a_file_that_is_no_request_is_refused(described: Path, content: str) -> None:
    """Neither fields nor this operation's request element."""
    path = described / "bad"
    path.write_text(content)

    assert wrong(described, "HentSag", "--file", str(path)) == "FileMalformed"


def test_a_wrong_field_is_named_and_not_shown(described: Path) -> None:
    """The field that is missing or of another type is named; its value is not repeated."""
    result = run("call", "HentSag", "--dir", str(described), "--field", "SagsVersion=hemmelig")

    assert result.exit_code == 2
    assert "SagsVersion" in result.stderr
    assert "hemmelig" not in result.stderr


def test_a_sandbox_that_is_not_there(tmp_path: Path) -> None:
    """Without a description of a sandbox there is nobody to call."""
    assert wrong(tmp_path, "HentSag") == "SandboxUnknown"


def test_a_citizen_is_needed(described: Path) -> None:
    """At another endpoint nobody knows whom to ask about."""
    arguments = ["--url", "https://localhost:1/", "--cert", "c", "--key", "k", "--ca", "a", "--system-id", uuid(1)]

    assert wrong(described, "HentSagsListe", *arguments, "--municipality", "29189846") == "CprMissing"


def test_what_is_printed_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program is named as it can be called here: by its name, by its path, or as a module."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "sygefravaer")])
    assert program() == "bin/sygefravaer"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert program().endswith(" -m sygefravaer")
    (tmp_path / "sygefravaer").write_text("")
    (tmp_path / "sygefravaer").chmod(0o700)
    assert program() == "sygefravaer"


def test_the_code_lists_are_shown() -> None:
    """Every list; one list with the columns that say something; one day's codes; the same as JSON."""
    overview = run("codes").output.splitlines()
    assert overview[0].split() == ["LIST", "CODES", "COLUMNS"]
    assert len(overview) == 26
    assert [line.split()[:2] for line in overview if line.startswith("udfald")] == [["udfald", "5"]]
    lines = run("codes", "visitationskategorier").output.splitlines()
    assert lines[0].split() == ["kode", "tekst", "gyldigFra", "gyldigTil", "tilstand", "sikkerhed"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    told = json.loads(run("codes", "Visitationskategorier", "--on", "2025-01-01", "--json").output)
    assert told["list"] == "visitationskategorier"
    assert [code["kode"] for code in told["codes"]] == ["1", "2"]
    assert told["codes"][1] == {
        "kode": "2",
        "tekst": "Forventes raskmeldt senere end otte uger fra første fraværsdag",
        "gyldigFra": "2014-07-01",
        "tilstand": "FOERSTE_OPFOELGNING",
        "sikkerhed": "unverified",
    }
    assert {"list": "kommuner", "codes": 98} in json.loads(run("codes", "--json").output)["lists"]
    refused = run("codes", "koder")
    assert (refused.exit_code, "ListUnknown" in refused.output) == (2, True)


def test_a_code_in_an_answer_is_explained() -> None:
    """Text, group and follow-on stand after the code, by the element's type; JSON has the code alone."""
    fields = {
        "SagsID": uuid(1),
        "SagsVersion": 1,
        "NemrefusionsID": uuid(2),
        "CprNummer": "0101505006",
        "Kommunekode": "0791",
        "Sagsart": "17",
        "SagsTilstand": "OVERFLYTTET",
        "Fravaerstype": "FULDT",
        "FoersteFravaersdag": "2026-01-12",
        "AnmeldelsesDato": "2026-02-14",
        "Beskaeftigelsesstatus": "LEDIG",
        "LivstruendeSygdom": True,
        "AfslutningsDato": "2026-02-20",
        "Afslutningsaarsag": "FLYTNING",
        "SenestAendret": "2026-02-20T09:00:00Z",
    }
    case = of_plain(SygefravaerssagType, fields)
    answered = calling.Answered(element=b"", value=HentSagResponse(Sygefravaerssag=case), refused=False)
    lines = calling.as_text(answered).splitlines()

    assert lines[:2] == ["HentSagResponse", "  Sygefravaerssag"]
    assert "    CprNummer: **********" in lines
    assert "    Kommunekode: 0791 (Viborg)" in lines
    assert "    Sagsart: 17 (Arbejdsløse, lønmodtagere; group LEDIG)" in lines
    assert "    LivstruendeSygdom: true" in lines
    assert "    Afslutningsaarsag: FLYTNING (Borgeren er flyttet til en anden kommune; follow-on OVERFLYTTET)" in lines
    assert json.loads(calling.as_json(answered))["Sygefravaerssag"]["Sagsart"] == "17"

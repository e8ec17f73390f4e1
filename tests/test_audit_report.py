# SPDX-License-Identifier: MPL-2.0
"""A citizen's access report: every use, in Danish, as JSON and on paper, where every name prints."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from uuid import UUID

import pypdf
import pytest

from record_rig import ALONE, CITIZEN, OTHER, USERS, play
from sygefravaer.audit import OPERATIONS, AccessReport, Event, reporting
from sygefravaer.audit.printing import as_pdf
from sygefravaer.audit.reporting import Use
from sygefravaer.contract import operations

NAME = "Łucja Ćwikła-Ødegård, Ελένη Παπαδοπούλου, Наталія Їжак, Nguyễn Thị Ánh, İbrahim Şahin"
ASKED = ("--purpose", "Indsigt 26/118", "--who", "borgerservice")


@pytest.fixture(scope="module")
def desk(embedded, pki, tmp_path_factory):
    return asyncio.run(play(embedded, pki, tmp_path_factory.mktemp("desk")))


def made(desk, tmp_path, cpr, name=""):
    """Make the report as JSON, through the command."""
    out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    result = desk.run("audit", "report", "--format", "json", "--out", out, *ASKED, given=f"{cpr}\n{name}\n")
    assert result.exit_code == 0, result.output
    assert cpr not in result.output
    assert out.stat().st_mode & 0o777 == 0o600
    return json.loads(out.read_text("utf-8"))


def test_a_report_tells_of_every_use_and_of_itself(desk, tmp_path):
    """What, when, by which system, for whom, for what, with what outcome; of this citizen and of nobody else."""
    told = made(desk, tmp_path, CITIZEN, NAME)
    uses = told["behandlinger"]

    assert (told["borger"], told["navn"], told["antal"]) == ("010137-****", NAME, len(uses))
    assert [use["handling"] for use in uses] == [
        *["Opslag"] * 5,
        "Besked modtaget til levering",
        "Kald, der blev afvist",
        "Indsigtsrapport lavet",
    ]
    assert uses[0] | {"medarbejder": "", "kald": ""} == {
        "tidspunkt": "2026-03-02T10:00:00+01:00",
        "handling": "Opslag",
        "formaal": "Jobcentret slog listen over sygedagpengesager op",
        "system": "viborg",
        "kommune": "Viborg",
        "medarbejder": "",
        "resultat": "Besvaret",
        "kald": "",
    }
    assert UUID(uses[0]["kald"])
    assert (uses[4]["system"], uses[4]["kommune"]) == ("aarhus", "Aarhus")
    assert (uses[5]["system"], uses[5]["resultat"]) == ("ksd til viborg", "Leveret")
    assert uses[6]["resultat"] == "Afvist (UserSystemNotFound); intet blev udleveret"
    assert uses[7]["formaal"].startswith("Tilsyn")
    assert CITIZEN not in json.dumps(told)


def test_an_employee_has_one_pseudonym_in_a_report_and_another_in_the_next(desk, tmp_path):
    """Nobody's name stands in it, and two reports cannot be laid beside each other."""
    first, second = (made(desk, tmp_path, cpr) for cpr in (CITIZEN, ALONE))
    users = [use["medarbejder"] for use in first["behandlinger"][:4]]

    assert all(user.startswith("Medarbejder ") for user in users)
    assert len(set(users)) == len(USERS)
    assert users[2] == users[3]
    assert first["behandlinger"][4]["medarbejder"] == ""
    assert second["behandlinger"][0]["medarbejder"] not in users
    assert not any(user in json.dumps([first, second]) for user in USERS)


def test_making_a_report_is_a_row_about_the_citizen(desk, tmp_path):
    """With who, the report's number and, sealed, why; a later report tells of it."""
    told = made(desk, tmp_path, OTHER)
    row = desk.rows("event = 'audit.reported'")[-1]

    assert row["detail"]["by"] == "borgerservice"
    assert row["detail"]["report"] == told["rapport"]
    assert row["cpr_key"] == desk.rows("event = 'lookup.asked' AND on_behalf_of IS NULL")[0]["cpr_key"]
    assert "Indsigt" not in str(row)
    assert [use["handling"] for use in made(desk, tmp_path, OTHER)["behandlinger"]][-2:] == [
        "Indsigtsrapport lavet"
    ] * 2
    assert desk.told("audit", "verify")["findings"] == []


def test_on_paper_every_name_prints(desk, tmp_path):
    """The PDF is read back: its font is in it, names outside Latin-1 are text, and the number is nowhere."""
    out = tmp_path / "indsigt.pdf"
    told = desk.told("audit", "report", "--out", out, *ASKED, given=f"{CITIZEN}\n{NAME}\n")
    paper = pypdf.PdfReader(out)
    text = " ".join(" ".join(page.extract_text() for page in paper.pages).split())

    assert NAME in text
    for words in (
        "Indsigt i brugen af dine oplysninger",
        "Personnummer: 010137-****",
        f"Rapport {told['report']}, side 1",
        "Jobcentret slog listen over sygedagpengesager op",
        "klage til Datatilsynet",
        "Besvaret",
        "ksd til viborg",
        "Antal behandlinger: ",
    ):
        assert words in text
    assert CITIZEN not in text
    fonts = [font.get_object() for page in paper.pages for font in page["/Resources"]["/Font"].values()]
    below = [font["/DescendantFonts"][0].get_object() for font in fonts]
    assert fonts
    assert all("/FontFile2" in font["/FontDescriptor"].get_object() for font in below)
    assert all("dejavu" in font["/BaseFont"].lower() for font in fonts)
    assert paper.trailer["/Root"]["/Lang"] == "da"
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_long_report_goes_on_over_pages_with_its_heads():
    """Two hundred uses; a letter that the font has not prints as such."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    use = Use(
        tidspunkt=at,
        handling="Opslag",
        formaal="Formål",
        system="システム",
        kommune="Ærø",
        medarbejder="",
        resultat="Besvaret",
        kald="",
    )
    report = AccessReport(number=UUID(int=1), citizen="010137-****", name="", made=at, uses=(use,) * 200)
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(as_pdf(report))).pages]

    assert len(pages) >= 5
    assert all("Medarbejder" in page for page in pages[1:])
    assert sum(page.count("Besvaret") for page in pages) == 200
    assert "\ufffd" in pages[-1]
    empty = AccessReport(number=UUID(int=1), citizen="010137-****", name="", made=at, uses=())
    assert "ikke blevet brugt" in pypdf.PdfReader(io.BytesIO(as_pdf(empty))).pages[0].extract_text()


def test_every_operation_and_every_event_about_a_citizen_has_its_words():
    """An event that can be about a citizen stands in a report by itself, or with what it came of."""
    assert set(OPERATIONS) == set(operations.OPERATIONS)
    spoken = {*reporting._DONE, *reporting._OUTCOMES}
    assert {event for event in Event if event.thing in {"call", "lookup", "message", "answer"}} <= spoken
    assert {event for event in Event if event.thing == "audit"} <= spoken

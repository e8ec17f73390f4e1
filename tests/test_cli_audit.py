# SPDX-License-Identifier: MPL-2.0
"""The record on the command line: verified, searched, taken out; each look is a row, and nobody's number an argument."""

from __future__ import annotations

import asyncio
import csv
import json

import pytest

from corridor import AARHUS, VIBORG
from record_rig import CITIZEN, OTHER, USERS, play
from sygefravaer import audit

WHO = ("--who", "revision")
WHY = ("--purpose", "Klage 26/118")


@pytest.fixture(scope="module")
def desk(embedded, pki, tmp_path_factory):
    return asyncio.run(play(embedded, pki, tmp_path_factory.mktemp("desk")))


def test_a_whole_record_verifies_and_its_unsealed_tail_is_named(desk):
    """The look itself is a row that nobody has sealed yet: no gateway runs."""
    desk.seal()
    told = desk.told("audit", "verify")
    assert (told["findings"], told["unsealed_tail"]["rows"], told["begins"]) == ([], 0, 1)
    assert told["sealed"] == told["head"] == len(desk.rows())
    desk.told("audit", "search", *WHO)
    text = desk.run("audit", "verify")
    assert text.exit_code == 0
    assert "Unsealed tail: 1 rows, the oldest of 20" in text.output
    assert "Nothing is wrong." in text.output


def test_a_finding_is_told_with_exit_code_1(desk, tmp_path):
    """By kind and place; another node's anchors are read too."""
    desk.seal()
    (row,) = desk.rows("seq = 2")
    desk.change("UPDATE audit SET code = 'other' WHERE seq = 2")
    found = desk.run("audit", "verify", "--json")
    text = desk.run("audit", "verify")
    desk.change(f"UPDATE audit SET code = {'NULL' if row['code'] is None else repr(row['code'])} WHERE seq = 2")
    other = tmp_path / "anchors"
    other.write_text('{"seq": 100000, "chain": "00"}\n')
    cut = desk.run("audit", "verify", "--anchor", other, "--json")

    assert (found.exit_code, text.exit_code, cut.exit_code) == (1, 1, 1)
    assert json.loads(found.stdout)["findings"] == [{"kind": "changed", "of": "chain", "number": 2}]
    assert "changed: chain 2" in text.output
    assert [one["kind"] for one in json.loads(cut.stdout)["findings"]] == ["cut"]
    assert desk.told("audit", "verify")["findings"] == []


def test_a_search_finds_by_everything_that_is_known(desk):
    """Time, event or thing, system, municipality, operation, outcome, call: all that is given must fit."""

    def number(*asked):
        return len(desk.told("audit", "search", *asked, *WHO)["rows"])

    assert number("--event", "lookup.asked") == 7
    assert number("--event", "lookup") == 14
    assert number("--event", "lookup", "--municipality", AARHUS) == 2
    assert number("--event", "lookup.answered", "--outcome", "OK", "--system", "viborg") == 6
    assert number("--operation", "HentSagsListe", "--event", "call.refused") == 1
    assert number("--event", "message", "--from", "2026-03-02", "--to", "2026-03-02") == 4
    assert number("--event", "message", "--to", "2026-03-01") == 0
    assert number("--event", "message", "--from", "2026-03-02T10:00:01+01:00") == 0
    (first, *_) = desk.told("audit", "search", "--event", "lookup.asked", "--limit", 1, *WHO)["rows"]
    assert number("--call-uuid", first["call_uuid"]) == 2
    rest = desk.told("audit", "search", "--event", "lookup.asked", "--after", first["audit_id"], *WHO)["rows"]
    assert len(rest) == 6
    assert "None." in desk.run("audit", "search", "--event", "message.moved", *WHO).output


def test_a_citizen_is_looked_up_by_a_keyed_hash_with_a_purpose_and_that_is_a_row(desk):
    """The number comes from standard input; the row names the citizen by the hash, and why, sealed."""
    before = len(desk.rows())
    assert desk.error("audit", "search", "--citizen", *WHO, given=CITIZEN) == "PurposeMissing"
    assert desk.error("audit", "search", "--citizen", *WHO, *WHY, given="0101") == "CprMalformed"
    assert len(desk.rows()) == before
    spelled = f"{CITIZEN[:6]}-{CITIZEN[6:]}\n"
    result = desk.run("audit", "search", "--citizen", "--event", "lookup.asked", *WHO, *WHY, "--json", given=spelled)
    rows = json.loads(result.stdout)["rows"]
    row = desk.rows()[-1]

    assert len(rows) == 5
    assert len({one["person"] for one in rows}) == 1
    assert (row["event"], row["detail"]["by"], row["detail"]["asked"]) == (
        "audit.searched",
        "revision",
        {"event": "lookup.asked"},
    )
    assert row["cpr_key"].hex() == rows[0]["person"]
    assert "Klage" not in str(row)
    assert CITIZEN not in result.output + str(row)


def test_users_are_pseudonyms_unless_a_purpose_is_given(desk):
    """The same user is the same pseudonym; with a purpose the record tells who, and why others looked."""
    asked = ("audit", "search", "--event", "lookup.asked", "--municipality", VIBORG, *WHO)
    hidden = [one["user"] for one in desk.told(*asked)["rows"]]
    assert desk.error(*asked, "--users") == "PurposeMissing"
    shown = [one["user"] for one in desk.told(*asked, "--users", *WHY)["rows"]]
    purposes = desk.told("audit", "search", "--event", "audit.searched", "--users", *WHO, *WHY)["rows"]

    assert shown == [*USERS, USERS[2], None, USERS[2]]
    assert [name is None for name in hidden] == [name is None for name in shown]
    assert len({name for name in hidden if name}) == len(set(USERS))
    assert not set(hidden) & set(USERS)
    assert hidden[2] == hidden[3] == hidden[5]
    assert purposes[-1]["detail"]["purpose"] == "Klage 26/118"


def test_an_export_is_a_row_and_no_cell_of_it_a_formula_or_a_second_line(desk, tmp_path):
    """As CSV and as JSON lines, in a new file that only its owner can read."""
    table, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
    asked = ("--event", "lookup", "--users", *WHO, *WHY)
    told = desk.told("audit", "export", *asked, "--out", table)
    desk.told("audit", "export", *asked, "--format", "jsonl", "--out", lines)
    assert desk.error("audit", "export", *asked, "--out", table) == "FileUnwritable"
    raw = table.read_bytes()
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert told == {"file": str(table), "rows": 14}
    assert raw.count(b"\n") == 15
    assert {row["user"] for row in rows} == {f"'{USERS[0]}", "Łukasz Żółć\\u000aINFO forged", USERS[2], ""}
    assert json.loads(lines.read_text().splitlines()[0])["user"] == USERS[0]
    assert len(lines.read_text().splitlines()) == 14
    assert table.stat().st_mode & 0o777 == 0o600
    exported = desk.rows("event = 'audit.exported'")
    assert [row["detail"]["form"] for row in exported][:2] == ["csv", "jsonl"]
    assert exported[0]["detail"]["asked"] == {"thing": "lookup."}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\u0009=1"),
        ("\r=1", "'\\u000d=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a\r\nb\u2028c\u202ed", "a\\u000d\\u000ab\\u2028c\\u202ed"),
        ("Ærø, Łódź", "Ærø, Łódź"),
        ({"by": "=x"}, '{"by": "=x"}'),
        (-5, "-5"),
        (None, ""),
    ],
)
def test_a_cell_is_text(value, cell):
    """Whatever a spreadsheet, or a terminal, would take for more than that."""
    assert audit.csv_cell(value) == cell


def test_wrong_use_is_told(desk):
    """Every mistake by its code, and nothing is looked at."""
    before = len(desk.rows())
    assert desk.error("audit", "search", "--event", "lookup.eaten", *WHO) == "RecordEventUnknown"
    assert desk.error("audit", "search", "--operation", "Hent", *WHO) == "OperationUnknown"
    assert desk.error("audit", "search", "--from", "i går", *WHO) == "DateMalformed"
    assert desk.error("audit", "search", "--system", "nobody", *WHO) == "SystemNotRegistered"
    assert desk.error("audit", "search", "--who", " ") == "WordsMissing"
    assert desk.error("audit", "search", "--who", OTHER) == "WordsHoldNumber"
    assert desk.error("audit", "search", *WHO, "--purpose", f"om {OTHER}") == "WordsHoldNumber"
    assert len(desk.rows()) == before

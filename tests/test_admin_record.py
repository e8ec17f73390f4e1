# SPDX-License-Identifier: MPL-2.0
"""The record by the API: operator and auditor see all, a municipality its own, a vendor nothing; each look is a row."""

from __future__ import annotations

import csv
import io
import logging
from datetime import timedelta

import pypdf
import pytest

from desk import AARHUS, OPERATOR_CVR, VENDOR_CVR, VIBORG, Desk
from record_rig import CITIZEN, USERS, play
from sygefravaer import audit
from sygefravaer.admin.accounts import Role
from sygefravaer.audit import Event, Sealer
from sygefravaer.config import Auditing
from sygefravaer.store import Store
from sygefravaer.vault import Vault

PURPOSE = {"purpose": "Tilsyn 26/118"}


class Watch:
    """The administration over a record that a corridor wrote, and those who look at it."""

    def __init__(self, desk, people, sealer):
        self.desk, self.people, self.sealer = desk, people, sealer

    async def ask(self, who, what, **body):
        """Ask for something; give the answer, which must be good."""
        told = await self.people[who]("POST", f"/record/{what}", body)
        assert told.status == 200, told.body
        return told.body

    async def refused(self, who, what, **body):
        told = await self.people[who]("POST", f"/record/{what}", body)
        return told.status, told.body["code"]


@pytest.fixture
async def watch(embedded, pki, clock, tmp_path):
    played = await play(embedded, pki, tmp_path)
    clock.advance(timedelta(days=40))
    store = Store(played.dsn, schema=played.schema, size=4)
    await store.open()
    audit.sign_with(played.key)
    record = Auditing(key=tmp_path / "audit.key", anchor=played.anchors)
    async with Desk(store, Vault.from_file(tmp_path / "keys.json"), clock, record=record) as desk:
        people = {
            "auditor": await desk.person("auditor", Role.AUDITOR, cvr=OPERATOR_CVR),
            "Viborg": await desk.person("viborg", Role.MUNICIPALITY, cvr=VIBORG),
            "Aarhus": await desk.person("aarhus", Role.MUNICIPALITY, cvr=AARHUS),
            "vendor": await desk.person("vendor", Role.VENDOR, cvr=VENDOR_CVR),
        }
        yield Watch(desk, people, Sealer(store, key=played.key, anchor=played.anchors))
    audit.sign_with(None)
    await store.close()


async def test_each_sees_what_is_his_and_each_look_is_a_row(watch, caplog):
    """Also about one citizen: the number is in no answer, no log and no address; the purpose is sealed."""
    caplog.set_level(logging.DEBUG)
    asked = {"event": "lookup.asked"}
    seen = {who: (await watch.ask(who, "search", **asked))["rows"] for who in ("auditor", "Viborg", "Aarhus")}
    assert {who: len(rows) for who, rows in seen.items()} == {"auditor": 7, "Viborg": 6, "Aarhus": 1}
    assert {row["municipality_cvr"] for row in seen["Viborg"]} == {VIBORG}
    assert await watch.refused("Viborg", "search", municipality=AARHUS) == (403, "NotYours")
    assert await watch.refused("vendor", "search") == (403, "NotAllowed")

    about = {"citizen": f"{CITIZEN[:6]}-{CITIZEN[6:]}", **asked}
    assert await watch.refused("auditor", "search", **about) == (422, "PurposeMissing")
    assert await watch.refused("auditor", "search", citizen="9999999999", **PURPOSE) == (422, "CprMalformed")
    assert await watch.refused("auditor", "search", users=True) == (422, "PurposeMissing")
    assert await watch.refused("auditor", "search", purpose=f"om {CITIZEN}", **asked) == (422, "WordsHoldNumber")
    assert await watch.refused("auditor", "search", operation="Hent") == (422, "OperationUnknown")
    assert await watch.refused("auditor", "search", since="2026-03-02T00:00:00") == (422, "DateMalformed")
    found = await watch.ask("Aarhus", "search", **about, **PURPOSE)
    assert [row["municipality_cvr"] for row in found["rows"]] == [AARHUS]
    (*_, row) = await watch.desk.record("event = 'audit.searched'")
    assert row["detail"]["by"] == str(watch.people["Aarhus"].account)
    assert row["municipality_cvr"] == AARHUS
    assert row["cpr_key"].hex() == found["rows"][0]["person"]
    assert CITIZEN not in str(found) + caplog.text + str(row)
    assert "Tilsyn" not in str(row)
    shown = await watch.ask("Viborg", "search", users=True, limit=1, **asked, **PURPOSE)
    assert [row["user"] for row in shown["rows"]] == [USERS[0]]


async def test_rows_are_taken_out_and_the_record_is_verified(watch):
    """As a file of own rows; the record verifies after all that, and a finding is told."""
    body = await watch.ask("Aarhus", "export", event="lookup.asked")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    lines = await watch.ask("auditor", "export", event="lookup.asked", format="jsonl")
    assert [row["municipality_cvr"] for row in rows] == [AARHUS]
    assert lines.count(b"\n") == 7
    assert [row["event"] for row in await watch.desk.record("event = 'audit.exported'")] == [Event.AUDIT_EXPORTED] * 2

    await watch.sealer.seal()
    told = await watch.people["auditor"]("GET", "/record/verification")
    assert (told.status, told.body["findings"]) == (200, [])
    async with watch.desk.office.store.tx() as tx:
        await tx.run("DELETE FROM audit WHERE seq = 3")
    told = await watch.people["auditor"]("GET", "/record/verification")
    assert {"kind": "missing", "of": "chain", "number": 3} in told.body["findings"]
    assert (await watch.people["Viborg"]("GET", "/record/verification")).status == 403


async def test_reports_and_draws_are_of_ones_own(watch):
    """A municipality's report tells of its own uses; its draw is of its own look-ups."""
    whole = await watch.ask("auditor", "report", citizen=CITIZEN, format="json", **PURPOSE)
    own = await watch.ask("Aarhus", "report", citizen=CITIZEN, format="json", name="Łucja", **PURPOSE)
    paper = await watch.ask("auditor", "report", citizen=CITIZEN, name="Łucja", **PURPOSE)
    assert {use["kommune"] for use in whole["behandlinger"]} == {"Viborg", "Aarhus", ""}
    assert {use["kommune"] for use in own["behandlinger"]} == {"Aarhus"}
    assert "Navn: Łucja" in pypdf.PdfReader(io.BytesIO(paper)).pages[0].extract_text()
    assert CITIZEN not in str(whole)

    drawn = await watch.ask("Aarhus", "sample", month="2026-03")
    again = await watch.ask("auditor", "sample", month="2026-03", municipality=AARHUS)
    assert ([row["municipality_cvr"] for row in drawn["rows"]], drawn["of"]) == ([AARHUS], 1)
    assert (again["again"], again["rows"]) == (True, drawn["rows"])
    assert await watch.refused("Viborg", "sample", month="2026-03", municipality=AARHUS) == (403, "NotYours")
    assert await watch.refused("auditor", "sample", month="2026-04") == (422, "MonthRuns")
    assert await watch.refused("auditor", "sample", month="0001-01") == (422, "MonthMalformed")

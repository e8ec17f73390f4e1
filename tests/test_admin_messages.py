# SPDX-License-Identifier: MPL-2.0
"""Messages over the API: who sees which, what is recorded before it is shown, and what a file may hold."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from uuid import uuid4

import pytest
from lxml import etree

from desk import AARHUS, OPERATOR_CVR, ROOMS, VENDOR_CVR, VIBORG, Desk
from sygefravaer import agreements, soap
from sygefravaer.admin.accounts import Role
from sygefravaer.contract.operations import Environment
from sygefravaer.delivery import BODY
from sygefravaer.lanes import Entry, Lanes

SAMPLE = etree.parse(Path(__file__).parent / "samples" / "SendForretningsSvarRequest.min.xml").getroot()
CITIZEN = SAMPLE.findtext(".//{*}CprNummer")
WHY = {"purpose": "Borgeren har klaget"}


@pytest.fixture
async def desk(make_store, vault, clock):
    async with Desk(await make_store(*ROOMS), vault, clock) as made:
        await _fill(made)
        yield made


async def _fill(desk: Desk) -> None:
    """Put a message of Viborg and one of Aarhus there, between a vendor's system with a wicked name and KSD."""
    office, now = desk.office, desk.office.clock.now()
    desk.case, ours, ksd = uuid4(), uuid4(), uuid4()
    async with office.store.tx() as tx:
        for system, name, vendor in ((ours, "=cmd|' /C calc'!A0", VENDOR_CVR), (ksd, "ksd", OPERATOR_CVR)):
            await agreements.register_system(
                tx,
                system_id=system,
                name=name,
                vendor_cvr=vendor,
                role=agreements.Role.JOBCENTER,
                environment=Environment.TEST,
                now=now,
            )
        for cvr, case in ((VIBORG, desk.case), (AARHUS, uuid4())):
            entry = Entry(
                recipient=ksd,
                municipality_cvr=cvr,
                case_key=f"nemref:{case}",
                sender=ours,
                besked_id=uuid4(),
                operation="SendForretningsSvar",
                nemrefusions_id=case,
                cpr_key=office.vault.lookup_key(CITIZEN),
                digest=b"x",
                body=office.vault.seal(soap.element_bytes(SAMPLE[-1][0]), context=BODY),
                accepted_at=now,
            )
            await Lanes().enqueue(tx, entry)


async def test_everybody_sees_his_own_and_a_citizens_are_looked_for_with_a_purpose(desk):
    """A municipality its own alone, also when it looks for a citizen whom another one has, too."""
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
    vera = await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR)
    other = await desk.person("other", Role.VENDOR, cvr="25313763")

    counts = [(await who("GET", "/messages")).body["number"] for who in (viggo, vera, other)]
    without = await viggo("POST", "/messages/search", {"citizen": CITIZEN, "purpose": " "})
    found = await viggo("POST", "/messages/search", {"citizen": CITIZEN} | WHY)
    foreign = await viggo("POST", "/messages/search", {"citizen": CITIZEN, "municipality": AARHUS} | WHY)

    assert counts == [1, 2, 0]
    assert (without.status, without.body["code"]) == (422, "WordsMissing")
    assert [one["municipality_cvr"] for one in found.body["items"]] == [VIBORG]
    assert (foreign.status, foreign.body["code"]) == (403, "NotYours")
    (told,) = await desk.record("event = 'message.searched'")
    assert bytes(told["cpr_key"]) == desk.office.vault.lookup_key(CITIZEN)
    assert "klaget" not in str(told["detail"])
    assert CITIZEN not in str(await desk.record())


async def test_what_a_message_says_is_recorded_before_and_masked_unless_somebody_says_why(desk):
    """Valid at both ends and unchanged on the way; and of another municipality there is nothing."""
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
    asta = await desk.person("asta", Role.MUNICIPALITY, cvr=AARHUS)
    (row,) = (await viggo("GET", "/messages")).body["items"]
    path = f"/messages/{row['message_id']}/content"

    masked, whole = await viggo("POST", path, {}), await viggo("POST", path, WHY)
    foreign = await asta("POST", path, WHY)

    assert CITIZEN not in str(masked.body)
    assert all(CITIZEN in whole.body[end]["xml"] for end in ("sent", "delivered"))
    assert masked.body["unchanged"]
    assert all(masked.body[end]["valid"] for end in ("sent", "delivered"))
    assert masked.body["receipt"] is None
    assert foreign.status == 404
    looks = await desk.record("event IN ('message.viewed', 'message.revealed')")
    assert [one["event"] for one in looks] == ["message.viewed", "message.revealed"]
    assert {str(one["besked_id"]) for one in looks} == {row["besked_id"]}


async def test_a_file_is_recorded_and_no_cell_is_a_formula(desk):
    """A system's name comes from outside; whoever opens the file in a spreadsheet runs nothing."""
    otto = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)

    told = await otto("GET", f"/messages/export?municipality={VIBORG}")
    head, *rows = csv.reader(io.StringIO(told.body.decode()))

    assert [dict(zip(head, row, strict=True))["municipality_cvr"] for row in rows] == [VIBORG]
    assert dict(zip(head, rows[0], strict=True))["sender_name"].startswith("'=cmd")
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    (looked,) = await desk.record("event = 'message.exported'")
    assert looked["detail"]["asked"] == {"municipality": VIBORG}


async def test_a_case_says_what_each_side_knew(desk):
    """What KSD has not got it does not know, and the gateway has it."""
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)

    told = (await viggo("GET", f"/cases/{desk.case}")).body

    known = told["known"]
    assert known["jobcenter"]["facts"] == known["gateway"]["facts"] != {}
    assert known["ksd"]["facts"] == {}
    assert known["ksd"]["missing"] == known["gateway"]["by"]
    assert [(mark["side"], mark["what"]) for mark in told["marks"]] == [("jobcenter", "sent"), ("gateway", "accepted")]
    (looked,) = await desk.record("event = 'case.viewed'")
    assert looked["detail"]["nemrefusions_id"] == str(desk.case)

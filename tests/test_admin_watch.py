# SPDX-License-Identifier: MPL-2.0
"""The API of what is watched: explanations, use and limits, status, mails, revocation; each sees what is his."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from desk import AARHUS, OPERATOR_CVR, OTHER_VENDOR_CVR, ROOMS, VENDOR_CVR, VIBORG, Desk
from sygefravaer import agreements
from sygefravaer.admin.accounts import Role
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.identity import from_der
from sygefravaer.mail import FACTS, Kind, advise
from sygefravaer.status import Measured, Outcome, Probe, write

SYSTEM, AGREEMENT, ELSEWHERE = uuid4(), uuid4(), uuid4()
SILENT = "7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24"


@pytest.fixture
async def desk(make_store, vault, clock, pki, tmp_path):
    """A system with an agreement for Viborg and one for Aarhus that ended, and people of all kinds."""
    issued = pki.get("overvåget") or pki.issue("overvåget", VENDOR_CVR)
    async with Desk(await make_store(*ROOMS), vault, clock, revocation=tmp_path) as made:
        now = clock.now()
        identity = from_der(issued.der)
        async with made.office.store.tx() as tx:
            about = {"environment": Environment.TEST, "now": now}
            await agreements.register_system(
                tx, system_id=SYSTEM, name="Fag", vendor_cvr=VENDOR_CVR, role=agreements.Role.JOBCENTER, **about
            )
            await agreements.register_certificate(tx, identity, system_id=SYSTEM, valid_from=date(2014, 1, 1), **about)
            for agreement, cvr, last in ((AGREEMENT, VIBORG, None), (ELSEWHERE, AARHUS, date(2026, 2, 1))):
                await agreements.grant_agreement(
                    tx,
                    agreement_id=agreement,
                    system_id=SYSTEM,
                    service=Service.SYGEFRAVAER,
                    municipality_cvr=cvr,
                    valid_from=date(2014, 1, 1),
                    valid_to=last,
                    now=now,
                )
                await tx.run(
                    "INSERT INTO usage (day, agreement_id, system_id, municipality_cvr, service, operation, calls)"
                    " VALUES (%(day)s, %(agreement)s, %(system)s, %(cvr)s, 'Sygefravaer', 'HentSag', 5)",
                    day=now.date(),
                    agreement=agreement,
                    system=SYSTEM,
                    cvr=cvr,
                )
            await agreements.set_route(
                tx,
                route_id=uuid4(),
                service=Service.SYGEFRAVAER,
                municipality_cvr="*",
                system_id=SYSTEM,
                url="https://127.0.0.1:1/x",
                valid_from=date(2014, 1, 1),
                now=now,
            )
        made.thumbprint = identity.thumbprint
        made.who = {
            "vendor": await made.person("vendor", Role.VENDOR, cvr=VENDOR_CVR),
            "stranger": await made.person("stranger", Role.VENDOR, cvr=OTHER_VENDOR_CVR),
            "viborg": await made.person("viborg", Role.MUNICIPALITY, cvr=VIBORG),
            "operator": await made.person("operator", Role.OPERATOR, cvr=OPERATOR_CVR),
        }
        yield made


async def test_explanations_are_the_same_as_the_gateways_and_show_to_each_what_is_his(desk):
    """The vendor sees what nearly matched, the municipality only its own; a stranger is told that there is no such thing."""

    def access(cvr, operation="HentSag", certificate=desk.thumbprint, at=""):
        return f"/explain/access?certificate={certificate}&municipality={cvr}&operation={operation}{at}"

    told = (await desk.who["vendor"]("GET", access(VIBORG))).body
    assert (told["allowed"], told["code"], told["agreement"]) == (True, "OK", str(AGREEMENT))
    told = (await desk.who["vendor"]("GET", access(AARHUS))).body
    assert (told["code"], told["repeats_get_their_receipt"]) == ("ServiceAgreementExpired", False)
    told = (await desk.who["vendor"]("GET", access(VIBORG, "SendAnmodningForlaengelse"))).body
    assert (told["code"], len(told["steps"][-1]["near"])) == ("ServiceAgreementNotFound", 1)
    told = (await desk.who["viborg"]("GET", access(VIBORG, "SendAnmodningForlaengelse"))).body
    assert (told["code"], told["steps"][-1]["near"]) == ("ServiceAgreementNotFound", [])
    assert (await desk.who["viborg"]("GET", access(AARHUS))).status == 403
    assert (await desk.who["stranger"]("GET", access(VIBORG))).status == 404
    unknown = access(VIBORG, certificate="0" * 64)
    assert (await desk.who["vendor"]("GET", unknown)).status == 404
    told = (await desk.who["operator"]("GET", unknown)).body
    assert (told["code"], told["steps"][-1]["who"]) == ("UserSystemNotFound", "caller")
    for at, code in (("&at=2013-12-31T12:00:00%2B01:00", "UserSystemInactive"), ("", "OK")):
        assert (await desk.who["vendor"]("GET", access(VIBORG, at=at))).body["code"] == code
    for wrong, code in (
        (access(VIBORG, "Hent"), "OperationUnknown"),
        (access(VIBORG, at="&at=2026-03-02T12:00"), "DateMalformed"),
        (access(VIBORG, at="&at=0001-01-01T00:00Z"), "DateMalformed"),
    ):
        told = await desk.who["operator"]("GET", wrong)
        assert (told.status, told.body["code"]) == (422, code)
    told = (await desk.who["viborg"]("GET", f"/explain/route?municipality={VIBORG}&service=Sygefravaer")).body
    assert [one["verdict"] for one in told["candidates"]] == ["chosen"]


async def test_use_and_limits_are_of_ones_own(desk):
    """A vendor sees all of its systems, a municipality what was for it; the limit's setting is in the record."""
    seen = {
        who: {row["agreement"] for row in (await person("GET", "/usage?by=agreement")).body["usage"]}
        for who, person in desk.who.items()
    }
    both = {str(AGREEMENT), str(ELSEWHERE)}
    assert seen == {"vendor": both, "stranger": set(), "viborg": {str(AGREEMENT)}, "operator": both}
    (row,) = (
        await desk.who["viborg"]("GET", "/usage?by=operation&by=municipality&from=2026-03-01&to=2026-03-31")
    ).body["usage"]
    assert (row["calls"], row["price"], row["municipality"]) == (5, "Inkluderet i buffetprisen", VIBORG)
    path = f"/usage/limits/{AGREEMENT}"
    assert (await desk.who["viborg"]("PUT", path, {"period": "month", "calls": 5})).status == 204
    assert (
        await desk.who["viborg"]("PUT", f"/usage/limits/{ELSEWHERE}", {"period": "month", "calls": 5})
    ).status == 404
    assert (
        await desk.who["operator"]("PUT", f"/usage/limits/{uuid4()}", {"period": "month", "calls": 5})
    ).status == 404
    for wrong in ({"period": "week", "calls": 5}, {"period": "month", "calls": 0}, {"period": "month"}):
        assert (await desk.who["viborg"]("PUT", path, wrong)).status == 422
    (limit,) = (await desk.who["viborg"]("GET", "/usage/limits")).body
    assert (limit["limit"], limit["calls"], limit["reached"]) == (5, 5, True)
    assert (await desk.who["viborg"]("DELETE", path)).status == 204
    assert (await desk.who["viborg"]("GET", "/usage/limits")).body == []
    assert [one["detail"]["calls"] for one in await desk.record("event = 'limit.set'")] == [5, None]


async def test_status_mails_and_revocation(desk, tmp_path):
    """Who is silent is the operator's to see; a mail goes again on his word; what is known of revocation is shown."""
    store = desk.office.store
    probe = Probe(
        operation="SendForretningsSvar",
        service=Service.SYGEFRAVAER,
        outcome=Outcome.PARTIAL,
        measured=Measured.CONTRACT,
        code="Unreachable",
        detail={"receivers": 2, "silent": [SILENT]},
    )
    await write(store, [probe], at=datetime.now(UTC) - timedelta(seconds=1), by="test", every=60.0)
    seen = (await desk.who["viborg"]("GET", "/status")).body
    assert (seen[0]["tilstand"], seen[0]["operations"][0]["detail"]) == (
        "Delvist tilgængelig",
        {"receivers": 2, "silent": 1},
    )
    assert SILENT in json.dumps((await desk.who["operator"]("GET", "/status?hours=1")).body)
    assert (await desk.who["operator"]("GET", "/status?hours=nan")).status == 422

    async with store.tx() as tx:
        facts = dict.fromkeys(FACTS[Kind.LIMIT_REACHED], "x")
        number = await advise(tx, Kind.LIMIT_REACHED, "a@b.example", facts, now=desk.office.clock.now())
    assert (await desk.who["operator"]("POST", f"/mails/{number}/resend")).status == 204
    (mail,) = (await desk.who["operator"]("GET", "/mails?status=queued")).body
    assert (mail["mail"], mail["resent"]) == (number, 1)
    assert (await desk.who["operator"]("POST", "/mails/4711/resend")).body["code"] == "NoSuchMail"
    (row,) = await desk.record("event = 'mail.resent'")
    assert row["detail"]["by"] == str(desk.who["operator"].account)

    told = await desk.who["operator"]("GET", "/revocation")
    assert (told.status, told.body["code"]) == (422, "RevocationUnread")
    (tmp_path / "state.json").write_text('{"at": "2026-03-02T09:00:00+00:00", "lists": [], "certificates": []}')
    told = (await desk.who["operator"]("GET", "/revocation")).body
    assert (told["configured"], told["at"]) == (True, "2026-03-02T09:00:00+00:00")

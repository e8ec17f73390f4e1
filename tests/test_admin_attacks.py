# SPDX-License-Identifier: MPL-2.0
"""What somebody might try on the administration, and on the gateway by way of it."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import hypothesis
import pytest
import schemathesis
from cryptography import x509

import breadth
from corridor import MUNICIPALITY, START_OF_TIME, SYSTEMS, Corridor, message
from desk import AARHUS, COOKIE, OPERATOR_CVR, OTHER_VENDOR_CVR, ROOMS, SETUP, VENDOR_CVR, VIBORG, Desk, Person
from sygefravaer import agreements
from sygefravaer.admin.accounts import Role
from sygefravaer.agreements import Status, organisations, workflow
from sygefravaer.contract.operations import Environment, Service

UNKNOWN = "6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11"
TODAY = "2026-03-02"


@pytest.fixture
async def desk(make_store, vault, clock, pki):
    authorities = tuple(x509.load_pem_x509_certificates(Path(pki.ca).read_bytes()))
    async with Desk(await make_store(*ROOMS, size=6), vault, clock, authorities=authorities) as made:
        async with made.office.store.tx() as tx:
            for cvr in (VENDOR_CVR, OTHER_VENDOR_CVR):
                await organisations.add_organisation(tx, cvr=cvr, name=cvr, by=SETUP, now=clock.now())
        yield made


async def system(desk, cvr=VENDOR_CVR, name="ours"):
    """A system of a vendor, in the display group."""
    now = desk.office.clock.now()
    async with desk.office.store.tx() as tx:
        made = await organisations.add_system(
            tx,
            name=name,
            vendor_cvr=cvr,
            role=agreements.Role.JOBCENTER,
            contact=None,
            environment=Environment.TEST,
            by=SETUP,
            now=now,
        )
        await organisations.join_group(tx, made.system_id, "MONOPOLBRUD", by=SETUP, now=now)
        return await organisations.system(tx, made.system_id, environment=Environment.TEST)


async def requested(desk, of, cvr=VIBORG):
    """An agreement that waits for a municipality; what is asked before is not what is tested here."""
    async with desk.office.store.tx() as tx:
        made = await workflow.draft(
            tx,
            of=of,
            service=Service.SYGEFRAVAER,
            municipality_cvr=cvr,
            valid_from=date(2026, 3, 2),
            by=SETUP,
            now=desk.office.clock.now(),
        )
        await tx.run(
            "UPDATE agreement SET status = 'requested', version = 2 WHERE agreement_id = %(id)s", id=made.agreement_id
        )
    return f"/agreements/{made.agreement_id}"


# --- roles ---


async def test_nobody_gives_himself_a_role(desk):
    """Neither in what he sends when he signs in, nor in what he changes; and an operator makes no second person."""
    await desk.add("vera", Role.VENDOR, cvr=VENDOR_CVR)
    for extra in ({"roles": ["operator"]}, {"cvr": OPERATOR_CVR}, {"person": "x"}):
        told = await desk.call("POST", "/session", {"login": "vera", "password": "correct horse battery"} | extra)
        assert told.status == 422
    vera = await desk.person("vera2", Role.VENDOR, cvr=VENDOR_CVR)
    operator = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)
    for who in (vera, operator):
        account = f"/accounts/{who.account}"
        new = {"login": "x", "password": "correct horse battery", "cvr": OPERATOR_CVR, "roles": ["operator"]}
        assert (await who("POST", "/accounts", new)).status in {403, 405}
        assert (await who("PATCH", account, {"roles": ["operator"]}, If_Match='"1"')).status in {403, 405}
        assert (await who("PUT", account, {"roles": ["operator"]})).status == 405
    mine = await system(desk)
    for body in ({"display_groups": ["MONOPOLBRUD"]}, {"vendor_cvr": OTHER_VENDOR_CVR}, {"environment": "production"}):
        assert (await vera("PATCH", f"/systems/{mine.system_id}", body, If_Match='"1"')).status == 422
    assert (await vera("GET", "/session")).body["roles"] == ["vendor"]


async def test_what_is_anothers_is_as_unknown_as_what_is_not(desk):
    """The same bytes, whatever is asked of it; only the record knows the difference."""
    theirs = await system(desk, OTHER_VENDOR_CVR, "theirs")
    agreement = await requested(desk, theirs, AARHUS)
    vera = await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR)
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
    reason = {"reason": "x"}
    asked = [
        (vera, "GET", f"/systems/{theirs.system_id}", None),
        (vera, "PATCH", f"/systems/{theirs.system_id}", {"name": "mine"}),
        (vera, "GET", f"/systems/{theirs.system_id}/certificates", None),
        (vera, "POST", f"/systems/{theirs.system_id}/certificates", {"pem": "x"}),
        (vera, "DELETE", f"/systems/{theirs.system_id}/certificates/{'0' * 64}", None),
        *((vera, "POST", f"{agreement}/{step}", None) for step in ("request", "cancel")),
        (vera, "GET", agreement, None),
        (viggo, "GET", agreement, None),
        (viggo, "GET", f"{agreement}/preflight", None),
        (viggo, "POST", f"{agreement}/approve", None),
        *((viggo, "POST", f"{agreement}/{step}", reason) for step in ("reject", "terminate")),
    ]
    for who, method, path, body in asked:
        told = await who(method, path, body, If_Match='"2"')
        other = path.replace(str(theirs.system_id), UNKNOWN).replace(agreement.rpartition("/")[2], UNKNOWN)
        unknown = await who(method, other, body, If_Match='"2"')
        assert (told.status, told.body) == (404, unknown.body), path
        assert told.headers == unknown.headers
    refused = await desk.record("event = 'access.refused'")
    assert [row["code"] for row in refused] == ["NotYours"] * len(asked)
    mine = await system(desk)
    swap = {"system": str(mine.system_id), "service": "Sygefravaer", "municipality": VIBORG, "valid_from": TODAY}
    told = await vera("POST", "/agreements", swap | {"replaces": agreement.rpartition("/")[2]})
    assert (told.status, told.body["code"]) == (404, "NotThere")


async def test_two_decisions_at_once_are_one(desk):
    """Of many approvals and rejections of one request the first counts, and the others are told that it has changed."""
    path = await requested(desk, await system(desk))
    people = [await desk.person(f"v{number}", Role.MUNICIPALITY, cvr=VIBORG) for number in range(6)]
    acts = [("approve", None), ("reject", {"reason": "no"})] * 3
    told = await asyncio.gather(
        *(who("POST", f"{path}/{act}", body, If_Match='"2"') for who, (act, body) in zip(people, acts, strict=True))
    )

    assert sorted(one.status for one in told) == [200] + [412] * 5
    (won,) = [act for (act, _), one in zip(acts, told, strict=True) if one.status == 200]
    wanted = {"approve": "approved", "reject": "rejected"}[won]
    assert (await people[0]("GET", path)).body["status"] == wanted
    decided = [row["event"] for row in await desk.record("event LIKE 'agreement.%%' AND event <> 'agreement.drafted'")]
    assert decided == [f"agreement.{wanted}"]
    again = await people[0]("POST", f"{path}/approve", None, If_Match='"3"')
    assert (again.status, again.body["code"]) == (409, "MoveRefused")
    assert (await people[0]("POST", f"{path}/approve")).status == 428


async def test_two_confirmations_at_once_are_one(desk):
    """A proposal is carried out once."""
    path = await requested(desk, await system(desk))
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
    await viggo("POST", f"{path}/approve", None, If_Match='"2"')
    people = [await desk.person(f"o{number}", Role.OPERATOR, cvr=OPERATOR_CVR) for number in range(4)]
    step = {"agreement": path.rpartition("/")[2], "step": "terminate", "version": 3}
    made = await people[0]("POST", "/proposals", {"agreement": step, "reason": "closed"})
    confirm = f"/proposals/{made.body['proposal_id']}/confirm"
    told = await asyncio.gather(*(who("POST", confirm, None, If_Match=made.etag) for who in people[1:]))

    assert sorted(one.status for one in told) == [200, 409, 409]
    assert len(await desk.record("event = 'agreement.terminated'")) == 1


# --- sessions ---


async def test_a_session_that_was_planted_opens_nothing(desk):
    """Sign-in gives a new secret whatever the browser showed, and ends the session that it had before."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    _, before = await desk.sign_in("anna")
    for planted in ("planted-by-another", before.cookie):
        told, after = await desk.sign_in("anna", Cookie=f"{COOKIE}={planted}")
        assert told.status == 201
        assert after.cookie not in {planted, before.cookie}
        assert (await Person(desk, cookie=planted)("GET", "/session")).status == 401
        assert (await after("GET", "/session")).status == 200
    async with desk.office.store.read() as tx:
        rows = await tx.all("SELECT secret FROM credential")
    assert not any(after.cookie.encode() in bytes(row["secret"]) for row in rows)


async def test_another_sites_page_changes_nothing(desk):
    """A form of another site carries the cookie at best, never the token; nor does a text/plain body pass as JSON."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    _, anna = await desk.sign_in("anna")
    bare = Person(desk, cookie=anna.cookie)
    for method, path, body in (
        ("POST", "/tokens", {"name": "x"}),
        ("DELETE", "/session", None),
        ("PATCH", f"/organisations/{VIBORG}", {"mailbox": "evil@evil.example"}),
        ("POST", f"/agreements/{UNKNOWN}/approve", None),
    ):
        told = await bare(method, path, body, Origin="https://evil.example", If_Match='"1"')
        assert (told.status, told.body["code"]) == (403, "TokenMissing"), path
        query = await bare(method, f"{path}?csrf={anna.csrf}", body, If_Match='"1"')
        assert query.status == 403
    plain = await anna("POST", "/tokens", b'{"name": "x"}', Content_Type="text/plain")
    assert plain.status == 422
    assert (await bare("GET", "/session")).status == 200  # reading is free: another site cannot read the answer
    told = await bare("GET", "/session", None, Origin="https://evil.example")
    assert "access-control-allow-origin" not in told.headers


async def test_headers_of_a_proxy_have_no_effect(desk, pki):
    """Neither a certificate nor an address nor a path in a header makes somebody else of anybody."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    issued = pki.issue("spoofed", OPERATOR_CVR)
    spoofed = {
        "Client-Cert": f":{base64.b64encode(issued.der).decode()}:",
        "X-SSL-Client-Cert": issued.certificate.read_text().replace("\n", " "),
        "X-Forwarded-User": "otto",
        "X-Remote-User": "otto",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/api/v1/session",
        "X-Original-URL": "/api/v1/session",
        "X-HTTP-Method-Override": "GET",
    }
    for path in ("/session", "/accounts", "/proposals"):
        assert (await desk.call("GET", path, None, spoofed)).status == 401
    for number in range(7):  # a new address each time is no new chance
        told, _ = await desk.sign_in("anna", "wrong wrong wrong", **{"X-Forwarded-For": f"10.0.0.{number}"})
    assert told.status == 429
    anna = await desk.person("anna2", Role.MUNICIPALITY, cvr=VIBORG)
    anna.extra = spoofed
    assert (await anna("GET", "/session")).body["roles"] == ["municipality"]
    assert (await anna("GET", "/accounts")).status == 403


# --- words that become something else ---


async def test_words_are_only_words(desk, caplog):
    """What looks like a line of a log, a formula or a personal number does not become one."""
    path = await requested(desk, await system(desk))
    viggo = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
    operator = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)
    for words, code in (
        ("born 010137-5555", "WordsHoldNumber"),
        ("0101375555", "WordsHoldNumber"),
        ("   ", "WordsMissing"),
        ("a\x00b", "FieldsWrong"),
        ("\ud800", "FieldsWrong"),
    ):
        told = await viggo("POST", f"{path}/reject", {"reason": words}, If_Match='"2"')
        assert (told.status, told.body["code"]) == (422, code), words
        assert "0101375555" not in str(told.body)
    for name in ("a\nERROR admin.failed", "a\r\nSet-Cookie: x=y", "a\x1b[2J"):
        body = {"cvr": "29189668", "name": name}
        assert (await operator("POST", "/organisations", body)).body["code"] == "FieldsWrong"
    for mailbox in ("a@b\nBcc: c@d", "a@b, c@d", "no address"):
        told = await viggo("PATCH", f"/organisations/{VIBORG}", {"mailbox": mailbox}, If_Match='"1"')
        assert told.body["code"] == "FieldsWrong"
    assert "0101375555" not in caplog.text


async def test_only_https_is_routed_to(desk):
    """A route to a file, to plain http, or with a user in its address is none."""
    operator = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)
    mine = await system(desk)
    for url in ("file:///etc/passwd", "http://127.0.0.1/x", "https://user:pw@host/x", "https://h/\n", "gopher://x"):
        wish = {"service": "SygefravaerJC", "municipality": VIBORG, "system": str(mine.system_id), "valid_from": TODAY}
        told = await operator("POST", "/proposals", {"route": wish | {"url": url}, "reason": "x"})
        assert (told.status, told.body["code"]) == (422, "FieldsWrong"), url


# --- certificates ---


async def test_a_certificate_that_is_not_right_is_not_registered(desk, pki):
    """Right subject from the wrong authority, another's CVR number, out of date, with its key, no certificate."""
    mine, theirs = await system(desk), await system(desk, name="second")
    vera = await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR)
    right = pki.issue("swap", VENDOR_CVR)
    foreign = pki.foreign.issue("swap", VENDOR_CVR)
    assert foreign.serial_key == right.serial_key

    async def add(pem, of=mine):
        return await vera("POST", f"/systems/{of.system_id}/certificates", {"pem": pem})

    for pem in (
        foreign.certificate.read_text(),
        pki.issue("swap-cvr", OTHER_VENDOR_CVR).certificate.read_text(),
        pki.issue("swap-old", VENDOR_CVR, not_after=datetime.now(UTC) - timedelta(days=1)).certificate.read_text(),
        right.certificate.read_text() + right.key.read_text(),
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        pki.ca.read_text(),
        "x",
    ):
        told = await add(pem)
        assert (told.status, told.body["code"]) == (422, "CertificateRefused")
    assert (await add(right.certificate.read_text())).status == 201
    assert (await add(right.certificate.read_text(), theirs)).body["code"] == "CertificateRefused"
    renewed = pki.issue("swap", VENDOR_CVR)
    assert (await add(renewed.certificate.read_text(), theirs)).body["code"] == "CertificateRefused"
    assert (await add(renewed.certificate.read_text())).status == 201


async def test_at_the_gateway_only_the_very_certificate_opens(make_store, vault, clock, pki):
    """Same subject from another authority: no handshake. Same subject and authority, another key: not registered."""
    async with Corridor(await make_store(*ROOMS), vault, clock, pki) as corridor:
        right = corridor.issued["viborg"]
        assert not (await corridor.send("HentSag", message("HentSag"))).is_fault
        subject = UUID(right.serial_key[-36:])  # whoever of the tests before had it made
        foreign = pki.foreign.issue("viborg", "12345674", uuid=subject)
        corridor.issued["foreign"] = foreign
        with pytest.raises((aiohttp.ClientError, OSError)):  # TLS 1.3: seen at the first write or read
            await corridor.send("HentSag", message("HentSag"), caller="foreign")
        renewed = pki.issue("viborg", "12345674", uuid=subject)
        assert renewed.serial_key == right.serial_key
        corridor.issued["renewed"] = renewed
        told = await corridor.send("HentSag", message("HentSag", caller="viborg"), caller="renewed")
        assert told.code == "UserSystemNotFound"
        spoofed = {"Client-Cert": ":" + base64.b64encode(right.der).decode() + ":"}
        told = await corridor.send("HentSag", message("HentSag", caller="viborg"), caller="renewed", headers=spoofed)
        assert told.code == "UserSystemNotFound"


async def test_an_agreement_ends_at_midnight_in_denmark(make_store, vault, clock, pki):
    """In summer that is 22:00 in UTC, in winter 23:00: the last second passes, the next does not."""
    for last, midnight in (
        (date(2026, 6, 30), datetime(2026, 6, 30, 22, tzinfo=UTC)),
        (date(2026, 12, 31), datetime(2026, 12, 31, 23, tzinfo=UTC)),
    ):
        async with Corridor(await make_store(*ROOMS), vault, clock, pki) as corridor:
            async with corridor.store.tx() as tx:
                await tx.run("DELETE FROM agreement WHERE municipality_cvr = %(cvr)s", cvr=MUNICIPALITY["viborg"])
                await agreements.grant_agreement(
                    tx,
                    agreement_id=uuid4(),
                    system_id=SYSTEMS["viborg"],
                    service=Service.SYGEFRAVAER,
                    municipality_cvr=VIBORG,
                    status=Status.APPROVED,
                    valid_from=START_OF_TIME,
                    valid_to=last,
                    now=clock.now(),
                )
            for moment, code in ((midnight - timedelta(seconds=1), None), (midnight, "ServiceAgreementExpired")):
                clock.set(moment)
                asking = message("HentSag", Afsendelsestidspunkt=moment.isoformat())
                told = await corridor.send("HentSag", asking)
                assert told.code == code, moment


# --- whatever the description allows, and does not ---


async def test_nothing_that_can_be_sent_breaks_it(desk):
    """Examples made from the description, right and wrong ones, by everybody: an answer each time, and never a 5xx."""
    people = [
        None,
        await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR),
        await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG),
        await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR),
    ]
    described = (await desk.call("GET", "/openapi.json")).body
    described["paths"]["/session"] = {"get": described["paths"]["/session"]["get"]}  # nobody is to be signed out
    schema = schemathesis.openapi.from_dict(described)
    sent = []
    modes = (schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE)

    def play() -> None:
        for operation in (one.ok() for one in schema.get_all_operations()):
            for mode in modes:

                @hypothesis.settings(
                    max_examples=4 if breadth.THOROUGH else 2,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    phases=[hypothesis.Phase.generate],
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def one(case) -> None:
                    who = people[len(sent) % len(people)]
                    shown = {"Authorization": "Bearer none" if who is None else f"Bearer {who.token}"}
                    told = case.call(base_url=desk.url, headers=shown, allow_redirects=False, timeout=60)
                    where = (told.request.method, case.path, told.status_code, told.content[:500])
                    assert told.status_code < 500, where
                    if told.status_code >= 400 and told.request.path_url.startswith("/api/v1/"):  # dots lead out of it
                        assert told.headers["content-type"][0] == "application/problem+json", where
                    sent.append(told.status_code)

                try:
                    one()
                except hypothesis.errors.Unsatisfiable:  # there is no wrong way to ask for this
                    assert mode is modes[0]

    await asyncio.to_thread(play)
    assert len(sent) >= 200
    assert {200, 401, 403, 404, 422} <= set(sent), set(sent)

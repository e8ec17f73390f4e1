# SPDX-License-Identifier: MPL-2.0
"""What the screens of the registers ask the rooms: changes of an agreement, the routes of a day, every certificate."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from cryptography import x509

from desk import SETUP, VENDOR_CVR, VIBORG
from sygefravaer import agreements, audit
from sygefravaer.agreements import ALL, certificates, organisations, workflow
from sygefravaer.agreements.workflow import Move
from sygefravaer.audit import Sealer, verifying
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.delivery import Routes

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TODAY = date(2026, 3, 2)


@pytest.fixture
async def store(make_store):
    return await make_store("agreements", "audit", "lanes", "delivery", "admin", "mail")


async def a_system(tx, name="Fagsystem", vendor=VENDOR_CVR):
    if await organisations.organisation(tx, vendor) is None:
        await organisations.add_organisation(tx, cvr=vendor, name="x", by=SETUP, now=NOW)
    made = await organisations.add_system(
        tx,
        name=name,
        vendor_cvr=vendor,
        role=agreements.Role.JOBCENTER,
        contact=None,
        environment=Environment.TEST,
        by=SETUP,
        now=NOW,
    )
    await organisations.join_group(tx, made.system_id, "MONOPOLBRUD", by=SETUP, now=NOW)
    return await organisations.system(tx, made.system_id, environment=Environment.TEST)


async def routed(tx, system, municipality, valid_from, **more):
    route_id = uuid4()
    await agreements.set_route(
        tx,
        route_id=route_id,
        service=Service.SYGEFRAVAER_JC,
        municipality_cvr=municipality,
        system_id=system.system_id,
        url="https://127.0.0.1/",
        valid_from=valid_from,
        now=NOW,
        **more,
    )
    return str(route_id)


async def test_the_changes_of_an_agreement_are_found_by_what_they_replace(store):
    """An agreement's page shows what would take its place; other drafts stay away."""
    async with store.tx() as tx:
        of = await a_system(tx)
        about = {"of": of, "service": Service.SYGEFRAVAER, "municipality_cvr": VIBORG, "by": SETUP, "now": NOW}
        old = await workflow.draft(tx, valid_from=TODAY, **about)
        await tx.run("UPDATE agreement SET status = 'requested'")
        await workflow.move(
            tx,
            old.agreement_id,
            Move.APPROVE,
            version=1,
            environment=Environment.TEST,
            by=SETUP,
            now=NOW,
            machine=NOW,
        )
        new = await workflow.draft(tx, valid_from=TODAY, replaces=old.agreement_id, **about)
        await workflow.draft(tx, valid_from=TODAY, **about)
        found = await workflow.contracts(tx, environment=Environment.TEST, replaces=old.agreement_id, now=NOW)

    assert [one.agreement_id for one in found] == [new.agreement_id]


async def test_the_route_of_each_municipality_on_a_day_is_the_one_that_delivery_would_take(store, vault):
    """Its own before that of all, the one that began last, and none where none counts."""
    kept = Routes(store=store, vault=vault, environment=Environment.TEST)
    async with store.tx() as tx:
        system, other = await a_system(tx), await a_system(tx, "Andet")
        of_all = await routed(tx, system, ALL, TODAY, valid_to=TODAY + timedelta(days=9))
        first = await routed(tx, system, VIBORG, TODAY + timedelta(days=1))
        second = await routed(tx, other, VIBORG, TODAY + timedelta(days=3))
    days = [TODAY + timedelta(days=number) for number in (-1, 0, 1, 3, 10)]
    found = [await kept.counting(Service.SYGEFRAVAER_JC, on=day) for day in days]

    assert found[0] == {}
    assert set(found[1]) == set(MUNICIPALITIES)
    assert [one.get(VIBORG, {}).get("route") for one in found[1:]] == [of_all, first, second, second]
    assert set(found[4]) == {VIBORG}
    for day, chosen in zip(days, found, strict=True):
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        async with store.read() as tx:
            taken = await agreements.route(
                tx,
                environment=Environment.TEST,
                service=Service.SYGEFRAVAER_JC,
                municipality_cvr=VIBORG,
                now=noon,
            )
        assert chosen.get(VIBORG, {}).get("route") == (str(taken.route_id) if taken else None)


async def test_every_certificate_says_whether_another_outlasts_it(store, pki):
    """The shorter of two is renewed and stops nothing; the last one stops the route; the chain reaches the root."""
    pem = pki.issue("register-views", VENDOR_CVR).certificate.read_text()
    authorities = x509.load_pem_x509_certificates(pki.ca.read_bytes())
    async with store.tx() as tx:
        of = await a_system(tx)
        route = await routed(tx, of, VIBORG, TODAY)
        machine = datetime.now(UTC)
        await certificates.add_certificate(tx, pem, of=of, authorities=authorities, by=SETUP, now=NOW, machine=machine)
        alone = await certificates.inventory(tx, environment=Environment.TEST, now=NOW, machine=machine)
        await tx.run(
            "INSERT INTO certificate (environment, thumbprint, issuer, serial_key, subject, system_id, valid_from, name,"
            " cvr, not_before, not_after, created_at) SELECT environment, repeat('a', 64), issuer, serial_key, subject,"
            " system_id, valid_from, name, cvr, not_before, not_after + interval '1 day', created_at FROM certificate"
        )
        both = await certificates.inventory(
            tx, environment=Environment.TEST, cvr=VENDOR_CVR, system_id=of.system_id, now=NOW, machine=machine
        )
        none = await certificates.inventory(tx, environment=Environment.TEST, cvr=VIBORG, now=NOW, machine=machine)

    assert [(one.renewed, [str(each) for each in one.routes]) for one in alone] == [(False, [route])]
    assert [(one.renewed, len(one.routes)) for one in both] == [(True, 0), (False, 1)]
    assert both[1].days == both[0].days + 1
    assert none == []
    chain = certificates.chain(pem, authorities)
    assert chain[-1].issuer == chain[-1].subject
    assert [one.issuer for one in chain[:-1]] == [one.subject for one in chain[1:]]


async def test_verification_says_how_far_it_has_come(store, tmp_path, monkeypatch):
    """Page by page, up to all that was there when it began."""
    monkeypatch.setattr(verifying, "PAGE", 2)
    key = audit.create_key(tmp_path / "audit.key")
    audit.sign_with(key)
    try:
        async with store.tx() as tx:
            for _ in range(5):
                await audit.record(tx, audit.Event.MESSAGE_ACCEPTED, now=NOW)
        await Sealer(store, key=key, anchor=tmp_path / "anchors").seal()
        told = []
        report = await audit.verify(store, key=key, watch=lambda read, of: told.append((read, of)))
    finally:
        audit.sign_with(None)

    assert report.findings == ()
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]

# SPDX-License-Identifier: MPL-2.0
"""That a message was delivered which nobody waits for commits with what comes next, and a crash leaves an order."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from corridor import Corridor, besked_id, message
from switching import OLD, down, later, refuse
from sygefravaer import audit
from sygefravaer import lanes as room
from sygefravaer.lanes import Entry, Lanes, Status
from sygefravaer.store import EmbeddedServer, Store, migrate

EVENT = "SendHaendelseSygefravaerssag"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ME = UUID(int=1)


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=3, timeout=5.0, lanes=Lanes(jitter=lambda: 1.0)) as made:
        made.work()
        yield made


@pytest.fixture
def loosely(monkeypatch):
    """Note of each settlement what it said and whether it waited for the disk."""
    real, noted = Lanes.settle, []

    async def settle(self, tx, claim, stored, **more):
        noted.append((more["status"], more["loosely"]))
        return await real(self, tx, claim, stored, **more)

    monkeypatch.setattr(Lanes, "settle", settle)
    return noted


async def test_only_what_nobody_waits_for_and_was_delivered_is_settled_loosely(corridor, loosely):
    """A caller's own message waits for the disk, and so does whatever a person or a sender is told of."""
    await corridor.send(EVENT, message(EVENT))
    assert loosely == [(Status.DELIVERED, False)]

    case = uuid4()
    sent = [message(EVENT, NemrefusionsID=case) for _ in range(2)]
    await down(corridor, OLD)
    for each in sent:
        await corridor.send(EVENT, each)
    del loosely[:]
    await later(corridor, timedelta(minutes=1))
    assert set(loosely) == {(Status.QUEUED, False)}

    await corridor.receivers[OLD].server.start()
    del loosely[:]
    await later(corridor, timedelta(hours=1))
    assert loosely == [(Status.DELIVERED, True)] * 2
    assert corridor.receivers[OLD].came[-2:] == [besked_id(each) for each in sent]


async def test_a_refusal_waits_for_the_disk(corridor, loosely):
    """Its sender is told, and is owed the word until it has been."""
    await down(corridor, OLD)
    await corridor.send(EVENT, message(EVENT))
    corridor.receivers[OLD].raw = refuse
    await corridor.receivers[OLD].server.start()
    del loosely[:]
    await later(corridor, timedelta(minutes=1))
    assert loosely
    assert not any(loose for _, loose in loosely)
    assert Status.DELIVERED not in dict(loosely)


async def test_whoever_asks_again_is_told_after_a_commit_that_waits_for_the_disk(corridor, loosely, monkeypatch):
    """It takes the loose outcome along: what a sender was told no crash takes back."""
    real, noted = audit.record, []

    async def record(tx, event, **more):
        noted.append((event, more.get("loosely", False)))
        return await real(tx, event, **more)

    monkeypatch.setattr(audit, "record", record)
    await down(corridor, OLD)
    one = message(EVENT)
    assert (await corridor.send(EVENT, one)).code == "G006"
    await corridor.receivers[OLD].server.start()
    await later(corridor, timedelta(minutes=1))
    assert loosely[-1] == (Status.DELIVERED, True)

    del noted[:]
    assert (await corridor.send(EVENT, one)).kode == "OK"
    assert (audit.Event.MESSAGE_REPEATED, False) in noted


# --- the database ---


def entry(case):
    return Entry(
        recipient=UUID(int=2),
        municipality_cvr="29189846",
        case_key=case,
        sender=UUID(int=3),
        besked_id=uuid4(),
        operation=EVENT,
        cpr_key=b"k",
        digest=b"d",
        body=b"sealed",
        accepted_at=NOW,
    )


async def test_a_loose_settlement_is_loose_in_its_own_transaction_only(make_store):
    """What the same connection commits next waits for the disk again."""
    store, lanes = await make_store("lanes", size=1), Lanes()
    kind = "SELECT current_setting('synchronous_commit') AS kind"
    async with store.read() as tx:
        for _ in range(2):
            await lanes.enqueue(tx, entry("A"))
    async with store.tx() as tx:
        (claim,) = await lanes.claim(tx, ME, now=NOW)
    for stored, loose in zip(claim.messages, (True, False), strict=True):
        async with store.tx() as tx:
            done = await lanes.settle(tx, claim, stored, status=Status.DELIVERED, now=NOW, loosely=loose)
            assert done is Status.DELIVERED
            assert (await tx.one(kind))["kind"] == ("off" if loose else "on")
        async with store.read() as tx:
            assert (await tx.one(kind))["kind"] == "on"


@pytest.fixture
async def server(tmp_path):
    """A server of this test's own, to be killed."""
    made = EmbeddedServer(tmp_path / "pg")
    await made.start()
    yield made
    await made.remove()


async def standing(store):
    async with store.read() as tx:
        return [Status(row["status"]) for row in await tx.all("SELECT status FROM message ORDER BY message_id")]


async def test_after_a_crash_of_the_server_what_is_unknown_is_the_end_of_the_order(server):
    """
    Settled loosely, a crash may cost the word of it, never of one before another; who claims next brings them in order.

    What commits and waits for the disk takes all before it along: that of a handful is lost with the claim after it.
    """
    dsn = await server.create_part("part", secrets.token_hex(8))
    lanes = Lanes(jitter=lambda: 1.0)
    store = Store(dsn, schema="part", size=2)
    await store.open()
    try:
        await migrate(store, [("lanes", room.MIGRATIONS)], now=NOW)
        async with store.read() as tx:
            ids = [(await lanes.enqueue(tx, entry("A"))).message.message_id for _ in range(9)]
        async with store.tx() as tx:
            (claim,) = await lanes.claim(tx, ME, now=NOW, messages=9)
        for number, stored in enumerate(claim.messages[:8]):
            async with store.read() as tx:
                await lanes.settle(tx, claim, stored, status=Status.DELIVERED, now=NOW, loosely=number != 3)
        server.kill()
    finally:
        await store.close()
    await server.start()

    store = Store(dsn, schema="part", size=2)
    await store.open()
    try:
        kept = await standing(store)
        delivered = kept.count(Status.DELIVERED)
        assert delivered >= 4
        assert kept == [Status.DELIVERED] * delivered + [Status.SENDING] * (9 - delivered)
        async with store.tx() as tx:
            await tx.run("UPDATE lane SET lease_until = lease_until - interval '1 hour'")
        async with store.tx() as tx:
            (again,) = await lanes.claim(tx, ME, now=NOW, messages=9)
        assert [stored.message_id for stored in again.messages] == ids[delivered:]
    finally:
        await store.close()

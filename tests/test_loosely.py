# SPDX-License-Identifier: MPL-2.0
"""What is settled without waiting for the disk commits with what comes next, and a crash leaves an order."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from sygefravaer import lanes as room
from sygefravaer.lanes import Entry, Lanes, Status
from sygefravaer.store import EmbeddedServer, Store, migrate

EVENT = "SendHaendelseSygefravaerssag"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ME = UUID(int=1)


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

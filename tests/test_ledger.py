# SPDX-License-Identifier: MPL-2.0
"""What a receiver has answered: once applied, the same receipt for ever after."""

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest
from lxml import etree

from sygefravaer.contract.codec import receipt_of
from sygefravaer.contract.messages import kvittering_fejl, kvittering_ok
from sygefravaer.contract.operations import OPERATIONS, Operation
from sygefravaer.errors import Refused
from sygefravaer.ledger import Ledger

SEND = OPERATIONS["SendForretningsSvar"]


@dataclass(frozen=True)
class Arrived:
    """A call as far as a ledger looks at it."""

    sender: UUID
    besked_id: UUID
    digest: bytes = b"one"
    operation: Operation = SEND


@pytest.fixture
async def store(make_store):
    store = await make_store("ledger", size=8)
    async with store.tx() as tx:
        await tx.run("CREATE TABLE effect (besked_id uuid)")
    return store


@pytest.fixture
def ledger(store, vault, clock):
    return Ledger(store, vault, clock)


@pytest.fixture
def call():
    return Arrived(uuid4(), uuid4())


def effect(call, receipt=None, *, error=None, wait=0.0):
    async def apply(tx):
        await tx.run("INSERT INTO effect VALUES (%(b)s)", b=call.besked_id)
        await asyncio.sleep(wait)
        if error:
            raise error
        return receipt or kvittering_ok()

    return apply


async def effects(store):
    async with store.read() as tx:
        return len(await tx.all("SELECT FROM effect"))


async def entries(store):
    async with store.read() as tx:
        return await tx.all("SELECT receipt FROM ledger")


def code(element):
    receipt = receipt_of(SEND, etree.fromstring(element))
    return receipt.FejlListe.Fejl[0].FejlKode if receipt.FejlListe else receipt.TransportValideringsKode


async def test_the_same_message_again_gets_the_same_receipt_and_has_no_second_effect(store, ledger, call):
    """Byte for byte, however often it comes."""
    first = await ledger.once(call, effect(call))

    assert code(first) == "OK"
    assert first == await ledger.once(call, effect(call))
    assert first == await ledger.once(call, effect(call, error=AssertionError("applied twice")))
    assert await effects(store) == 1


async def test_the_receipt_lies_sealed(store, ledger, call):
    """Whoever reads the table reads no receipt, and cannot pass one row's off as another's."""
    first = await ledger.once(call, effect(call))
    (row,) = await entries(store)

    assert first not in row["receipt"]
    assert b"TransportKvittering" not in row["receipt"]


async def test_the_same_key_with_another_content_is_refused_and_changes_nothing(store, ledger, call):
    """G002; and the first message keeps its receipt."""
    first = await ledger.once(call, effect(call))

    assert code(await ledger.once(replace(call, digest=b"two"), effect(call))) == "G002"
    assert await effects(store) == 1
    assert await ledger.once(call, effect(call)) == first


async def test_another_senders_message_with_the_same_id_is_another_message(store, ledger, call):
    """A BeskedID is unique to its sender only."""
    await ledger.once(call, effect(call))
    await ledger.once(replace(call, sender=uuid4(), digest=b"two"), effect(call))
    assert await effects(store) == 2


async def test_a_refusal_undoes_what_was_applied_and_is_kept(store, ledger, call):
    """A FEJL is as final as an OK: the next copy is not judged anew."""
    refused = await ledger.once(call, effect(call, error=Refused("T201", "SagsID")))

    assert code(refused) == "T201"
    assert await effects(store) == 0
    assert await ledger.once(call, effect(call)) == refused


async def test_a_fejl_that_is_returned_is_kept_with_what_was_written(store, ledger, call):
    """A receiver may have something to note about what it refuses."""
    refused = await ledger.once(call, effect(call, kvittering_fejl("T201")))
    assert (code(refused), await effects(store)) == ("T201", 1)


async def test_an_exception_keeps_nothing_so_the_next_attempt_is_a_first_one(store, ledger, call):
    """What broke may work in a minute."""
    with pytest.raises(ZeroDivisionError):
        await ledger.once(call, effect(call, error=ZeroDivisionError()))

    assert (await effects(store), await entries(store)) == (0, [])
    assert code(await ledger.once(call, effect(call))) == "OK"


async def test_copies_that_come_while_the_first_is_applied_wait_and_get_its_receipt(store, ledger, call):
    """Five at once: one effect, five equal answers."""
    answers = await asyncio.gather(*(ledger.once(call, effect(call, wait=0.05)) for _ in range(5)))

    assert len(set(answers)) == 1
    assert await effects(store) == 1


async def test_a_copy_that_waited_for_one_that_failed_is_applied_itself(store, ledger, call):
    """The first broke: the second is the first one now."""
    begun, breaks = asyncio.Event(), asyncio.Event()

    async def breaking(tx):
        await tx.run("INSERT INTO effect VALUES (%(b)s)", b=call.besked_id)
        begun.set()
        await breaks.wait()
        raise ZeroDivisionError

    first = asyncio.create_task(ledger.once(call, breaking))
    async with asyncio.timeout(10):
        await begun.wait()
    second = asyncio.create_task(ledger.once(call, effect(call)))
    await asyncio.sleep(0.03)
    assert not second.done()
    breaks.set()

    with pytest.raises(ZeroDivisionError):
        await first
    assert (code(await second), await effects(store)) == ("OK", 1)

# SPDX-License-Identifier: MPL-2.0
"""What a jobcentre says is due: it is never quiet while something is on its way."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from jobcenter_rig import sag, said, scene
from sygefravaer.contract.messages import kvittering_advarsel
from sygefravaer.lanes import Lanes

M2 = "SendForretningsSvar"


class Interrupted(Lanes):
    """Lanes in which something happens after they have been looked at."""

    def __init__(self) -> None:
        super().__init__(jitter=lambda: 1.0)
        self.reader = self.then = None

    async def standing(self, tx):
        found = await super().standing(tx)
        if self.then is not None and asyncio.current_task() is self.reader:
            await self.then()
        return found


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene."""

    def start(**options):
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def asked(it, lanes, *, then=None):
    """Ask what is due, and let something happen after the lanes have been looked at."""
    lanes.reader, lanes.then = asyncio.current_task(), then
    try:
        return await it.act("due")
    finally:
        lanes.reader = None


async def test_a_lane_that_another_holds_is_in_flight_though_it_ends_while_one_looks(play):
    """Held and then handed back is not neither due nor in flight."""
    lanes = Interrupted()
    async with play(lanes=lanes) as it:
        await it.jobcenter.stop()  # another process than the one that is asked carries the lane
        await it.tell(it.m1(sag()))
        async with it.store.tx() as tx:
            (held,) = await lanes.claim(tx, uuid4(), now=it.clock.now())

        async def hand_back() -> None:
            async with it.store.tx() as tx:
                assert await lanes.release(tx, held, next_at=it.clock.now() + timedelta(hours=1))

        assert (await asked(it, lanes, then=hand_back))["in_flight"] == len(held.messages)
        assert (await asked(it, lanes))["in_flight"] == 0


async def test_what_is_put_in_a_lane_while_one_looks_is_due(play):
    """Both statements see the same instant: an answer that is said just then is not due nowhere."""
    lanes = Interrupted()
    async with play(lanes=lanes) as it:
        await it.act("policy", events="slow", event_delay=3600)
        await it.tell(it.m1(sag()))
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET"])
        await it.quiet()
        await it.jobcenter.stop()  # another process than the one that is asked says it
        due = (await it.act("due"))["next"]
        it.clock.advance(timedelta(hours=1))

        async def say() -> None:
            assert await it.jobcenter._agenda.one()

        assert (await asked(it, lanes, then=say))["next"] == due == it.clock.now().isoformat()
        assert (await asked(it, lanes))["counters"]["messages"] == 2


async def test_a_repeat_that_ends_while_one_looks_was_in_flight(play):
    """In the database it is only due again later, so whoever sends it is asked before as well as after."""
    lanes = Interrupted()
    async with play(lanes=lanes) as it:
        it.gateway.says(M2, kvittering_advarsel("G006"))
        await it.tell(it.m1(sag()))
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        await it.quiet()
        gate, take = asyncio.Event(), it.gateway.take

        async def hold(call):
            await gate.wait()
            return await take(call)

        it.hub._handlers[M2] = hold
        it.clock.advance(timedelta(minutes=1))
        await it.until(lambda: it.jobcenter._pump.busy == 1)
        await asyncio.sleep(0.05)
        assert (await it.act("due"))["in_flight"] == 1

        async def let_it_end() -> None:
            gate.set()
            await it.until(lambda: it.jobcenter._pump.busy == 0)

        assert (await asked(it, lanes, then=let_it_end))["in_flight"] == 1
        told = await asked(it, lanes)
        assert (told["next"], told["in_flight"], told["parked"]) == (None, 0, 0)


async def test_a_call_that_is_being_answered_is_in_flight(play):
    """What it will have written is due nowhere yet."""
    async with play() as it:
        await it.act("chaos", answer_late=2.0)
        telling = asyncio.create_task(it.tell(it.m1(sag())))

        async def all_sent() -> bool:
            lanes = (await it.act("health"))["lanes"]
            return not (lanes["queued"] or lanes["sending"] or it.jobcenter._pump.busy)

        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        await it.until(all_sent)
        # The agenda may look up just then whether something is due, which counts as well.
        assert min([(await it.act("due"))["in_flight"] for _ in range(5)]) == 1
        assert not telling.done()
        await telling
        await it.quiet()

# SPDX-License-Identifier: MPL-2.0
"""
What networks do to the gateway's connections, on each of its legs: the short cut of `python -m ordeal toxics`.

The promise holds, and what went wrong costs the gateway neither a socket nor a thread.
"""

from __future__ import annotations

from uuid import uuid4

import pytest
import pytest_asyncio
from benchmarks.rig import Told

from ordeal import exhausted
from ordeal.proxy import Cut, Down, HalfOpen, Way
from ordeal.street import Letter, Street, compare
from ordeal.toxics import Trial

OK = Told(code="OK", raw=b"<OK/>")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trial(tmp_path_factory):
    """One gateway for all rows."""
    async with Street(tmp_path_factory.mktemp("street"), seed=4) as street:
        trial = Trial(street)
        await trial.warm(rounds=1)
        yield trial
        assert await street.stop_gateway() == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("leg", "toxic", "way"),
    [
        ("clients", Cut(), Way.UP),
        ("clients", HalfOpen(), Way.DOWN),
        ("receivers", Cut(), Way.DOWN),
        ("receivers", HalfOpen(), Way.UP),
        ("database", Cut(), Way.DOWN),
        ("database", Down(), Way.UP),
        ("database", HalfOpen(), Way.DOWN),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
async def test_every_operation_survives_what_a_network_does(trial, leg, toxic, way):
    """All sends and look-ups go on while it happens, and come to their end when it is over."""
    row = await trial.row(leg, toxic, way, lanes=1, each=1, hold=1.5)

    assert row.hit > 0
    assert row.held, str(row)
    if leg == "database":
        assert await trial.lets_go(leg)


@pytest.mark.asyncio(loop_scope="module")
async def test_connections_that_are_all_taken_hold_up_callers_for_a_while_only(trial):
    """A lock on the lanes: each caller gets a Server fault, nothing is half done, and everything goes on by itself."""
    outcome = await exhausted.take(trial.street, "a lock on the lanes", lanes=2)

    assert outcome.wrong == ()
    assert outcome.faults == outcome.messages == 10


def lane_of(*told: tuple[Told, ...]) -> list[Letter]:
    lane = uuid4()
    return [Letter(operation="Send", besked_id=uuid4(), lane=lane, body=b"", told=list(each)) for each in told]


@pytest.mark.parametrize(
    ("order", "word"),
    [([0, 1, 2], None), ([0, 2], "acknowledged and not applied"), ([0, 1, 1, 2], "2 times"), ([1, 0, 2], "order")],
)
def test_the_judge_sees_what_is_lost_doubled_or_moved(order, word):
    """What stands at the receiver is compared with what the senders were told."""
    lane = lane_of((OK,), (OK,), (OK,))
    wrong = compare([lane], {str(lane[0].lane): [lane[place].besked_id for place in order]})

    assert [word in one for one in wrong] == ([True] if word else [])


@pytest.mark.parametrize(
    "told",
    [(Told(code="FEJL", raw=b"<FEJL/>"),), (OK, Told(code="OK", raw=b"<OK>2</OK>")), (Told(code=None),)],
    ids=["refused", "two receipts", "no receipt"],
)
def test_the_judge_sees_a_receipt_that_should_not_be(told):
    """Nothing is wrong with the messages: a refusal, a receipt that changes and no receipt at all are faults."""
    lane = lane_of(told)

    assert len(compare([lane], {str(lane[0].lane): [lane[0].besked_id]})) == 1

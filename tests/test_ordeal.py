# SPDX-License-Identifier: MPL-2.0
"""
The ordeal, cut short: a few kill cycles, failpoints by lot, and planted faults, in one house.

`make ordeal` runs two hundred cycles and the other trials; what they are stands in `ordeal`.
"""

from __future__ import annotations

import logging
from random import Random

import pytest
import pytest_asyncio

import breadth
from ordeal import failpoints, mutants
from ordeal.cycles import Cycles, summary
from ordeal.house import House
from ordeal.mutant import MUTANTS
from sygefravaer import failpoint

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
IN_ONE_HOUSE = pytest.mark.asyncio(loop_scope="module")

SEED = "20260302"
CYCLES, MESSAGES = 2, 120
PLACES = 14
"""How many failpoints are visited here, by lot; make ordeal visits every one."""
QUICK = ("dedupe-off", "another-municipality")
"""Faults that show in seconds, and after which a house comes to rest; make ordeal plants all five."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory):
    """One house for the trials of this module."""
    logging.disable(logging.WARNING)  # what a killed process leaves behind
    async with House(directory=tmp_path_factory.mktemp("ordeal") / "h", budget=failpoints.BUDGET, outbox=True) as house:
        yield house
    logging.disable(logging.NOTSET)


@IN_ONE_HOUSE
async def test_the_promise_holds_while_processes_are_killed(house, tmp_path, record_property):
    """Nothing is lost, doubled, reordered or delivered elsewhere; one kill in three at least meets a message."""
    cycles = Cycles(house=house, seed=SEED, logs=tmp_path)
    rows = [await cycles.cycle(number, MESSAGES) for number in range(1, CYCLES + 1)]

    record_property("summary", "\n".join([*map(str, rows), summary(rows)]))
    assert [str(violation) for row in rows for violation in row.verdict.violations] == []
    assert sum(row.verdict.messages for row in rows) == CYCLES * MESSAGES
    assert sum(row.verdict.applied for row in rows) > CYCLES * MESSAGES * 0.9
    kills, hits = (sum(getattr(row.nemesis, name) for row in rows) for name in ("kills", "in_flight"))
    assert kills >= CYCLES
    assert 3 * hits >= kills


@IN_ONE_HOUSE
async def test_places_are_visited_and_the_promise_holds(house, tmp_path, record_property):
    """A process dies at places that the product names; the checker then finds nothing."""
    places = set(breadth.some(sorted(failpoint.POINTS), PLACES, of="failpoints"))
    todo, verdict = await failpoints.run(house, tmp_path, seed=SEED, only=places)

    record_property("summary", "\n".join([*map(str, todo), str(verdict)]))
    assert [str(violation) for violation in verdict.violations] == []
    assert [str(visit) for visit in todo if not visit.died] == []
    assert {visit.place for visit in todo} == places


def test_every_place_has_a_process_to_be_visited_in():
    """None is left out by being nowhere at home."""
    assert {visit.place for visit in failpoints.visits(Random(SEED))} == failpoint.POINTS


@IN_ONE_HOUSE
@pytest.mark.parametrize("name", QUICK)
async def test_a_planted_fault_is_found(house, tmp_path, name):
    """The checker names what the fault breaks."""
    number, rules = await mutants.found(house, name, tmp_path, seed=SEED, cycles=6, messages=MESSAGES)

    assert number > 0
    assert MUTANTS[name].rules & rules.keys()

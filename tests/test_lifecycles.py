# SPDX-License-Identifier: MPL-2.0
"""
Random lives of cases through the real services: afterwards both sides say the same, and nothing was done that may not be.

What a run is stands in `lifecycles`. `make lifecycles` lives two hundred of them; here are twenty shorter ones, the
lives that are told beforehand, and the faults that the judge has to find.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest

from lifecycles import rows, scripts
from lifecycles.check import Disagreement
from lifecycles.closing import close, come_to_rest
from lifecycles.faults import FAULTS
from lifecycles.running import HABITS, SEED, Runs
from lifecycles.world import FIRST, Run, World

pytestmark = pytest.mark.long

RUNS, STEPS = 20, 20
SURELY = ("reported", "form", "asked, LOEBENDE", "granted", "recovered", "moved", "VURDERER_FORLAENGELSE", "AFSLUTTET")
"""What twenty lives visit by chance; every row is visited by the lives that are told beforehand."""


@pytest.fixture(scope="module")
def world(embedded, pki):
    """A stage for the lives of this module that are told beforehand."""
    made = World(FIRST, server=embedded, pki=pki)
    yield made
    made.close()


@contextmanager
def a_run(world):
    """Begin a run as every run begins; what it leaves open is ended after it."""
    for part, habits in HABITS.items():
        world.act(part, "policy", **habits)
    run = Run(world=world)
    yield run
    close(run)


def live(fault, run):
    """Live a life with a fault, to its end."""
    fault.script(run)
    come_to_rest(run)


@pytest.mark.timeout(900)
def test_random_lives_end_in_agreement(embedded, pki, record_property):
    """Twenty lives of twenty steps; which rows they visited is told in the summary."""
    runs = Runs(server=embedded, pki=pki)
    runs.lives(RUNS, steps=STEPS, seed=SEED)
    record_property("summary", runs.report())
    assert runs.whole(STEPS) == RUNS
    assert max(runs.steps) == STEPS
    assert set(SURELY) <= {name for name, number in runs.found.items() if number}


@pytest.mark.timeout(900)
def test_lives_without_a_fault_end_in_agreement_and_visit_every_row(world, record_property):
    """Each of the lives that are told beforehand; together they are in every row of domain.md 2.1 and 2.2."""
    found = Counter()
    for script in scripts.FAULTLESS:
        with a_run(world) as run:
            script(run)
            found += rows.visited(come_to_rest(run), run.seen)
    record_property("summary", rows.table(found))
    assert rows.missing(found) == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_planted_fault_is_found(world, fault):
    """The judge says what is broken."""
    with a_run(world) as run:
        with pytest.MonkeyPatch.context() as patch:
            fault.plant(patch)
            with pytest.raises(Disagreement) as found:
                live(fault, run)
        assert fault.found_as <= found.value.invariants, found.value

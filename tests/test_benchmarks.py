# SPDX-License-Identifier: MPL-2.0
"""The measures themselves: each runs, sees what it is to see, and misses a target when something is wrong."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import pytest_asyncio
from benchmarks import backlog, costs, delivering, machine, neighbours, pages, pouring, soak
from benchmarks.figures import Measured, Verdict, judged, pooled
from benchmarks.stand import Stand

MESSAGES = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory):
    """One gateway node and the receivers, for all measures of this module."""
    delivery = {"timeout": 2.0, "lease": 2.5}  # seconds until what a killed node held goes on
    async with Stand(tmp_path_factory.mktemp("stand"), receivers=("ksd", "aarhus"), delivery=delivery) as stand:
        yield stand


def test_a_soak_sends_copies_and_wrong_order():
    """Each number once, the wanted share of copies, each of them later, and the wanted share out of its lane's order."""
    sent = list(pouring.order(20_000, duplicates=0.01, reordered=0.02, chance=random.Random(1)))
    first = [number for number, copy in sent if not copy]
    copies = [number for number, copy in sent if copy]
    place = {number: index for index, number in enumerate(first)}
    by_lane: dict[str, list[int]] = {}
    for number in first:
        by_lane.setdefault(pouring.lane(7, number), []).append(number)
    late = sum(
        place[number] > place[number + pouring.LANES]
        for number in range(20_000 - pouring.LANES)
        if pouring.lane(7, number) == pouring.lane(7, number + pouring.LANES)
    )

    assert sorted(first) == list(range(20_000))
    assert len(copies) == len(set(copies)) == 200
    assert all(sent.index((number, False)) < sent.index((number, True)) for number in copies)
    assert {len(numbers) for numbers in by_lane.values()} == {pouring.DEPTH}
    assert 180 <= late <= 220


@pytest.mark.asyncio(loop_scope="module")
async def test_accept_to_delivered_is_seen_three_ways(stand):
    """As many messages applied and settled as the sender was told of; and the verdict is about the slower view."""
    *_, there, applied, settled_there, seen, settled = lines = await delivering.measure(stand, 1.0, 10.0, burst=1.0)
    alone, beside = delivering.judge(lines)

    assert [line.calls for line in (there, applied, settled_there, seen, settled)] == [10] * 5
    assert applied.p50 < settled_there.p50
    for verdict, views in ((alone, (seen, settled)), (beside, (there, settled_there))):
        assert verdict.found == f"{max(line.p99 for line in views):.2f} ms"
        assert verdict.reached is (max(line.p99 for line in views) < delivering.LIMIT_MS)
    assert [one.reached for one in delivering.judge([*lines[:-1], replace(settled, errors=1)])] == [
        False,
        beside.reached,
    ]
    assert await stand.ask("SELECT count(*) FROM receiver_ksd.applied") >= [(30,)]  # of the one that keeps what it gets


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_message_costs_is_told_by_process(stand, capsys):
    """Every process that has a hand in it has used some time, and the sum is of all of them."""
    found = await costs.measure(stand, MESSAGES, 20.0, warm=2)
    costs.show(found)

    assert found[0].messages == MESSAGES
    for cost in found:
        used = {name for name, spent in cost.spent.items() if spent > 0}
        assert {"gateway node 0", "receiver ksd", "postgresql, sygefravaer platform", costs.SENDER} <= used
        assert cost.all == pytest.approx(sum(cost.spent.values()))
    assert f"{found[0].all:16.2f}" in capsys.readouterr().out


@pytest.mark.asyncio(loop_scope="module")
async def test_a_soak_counts_what_a_crash_leaves(stand):
    """A node is killed with a message in hand; nothing is lost, doubled or out of order; each process is weighed."""
    found = await soak.measure(stand, MESSAGES, seed=3)
    counts = [verdict for verdict in soak.judge(found) if verdict.wanted == "0"]

    assert found.crashed_at > 0
    assert [verdict.found for verdict in counts] == ["0"] * 6
    assert {"gateway node 0", "receiver ksd", soak.POSTGRES} <= found.late.keys()
    assert all(held > 10 for _, held in found.late.values())

    await stand.admin.execute(
        "DELETE FROM receiver_ksd.applied WHERE seq = (SELECT max(seq) FROM receiver_ksd.applied)"
    )
    await stand.admin.execute(
        "INSERT INTO receiver_ksd.applied (sender, besked_id, at) SELECT sender, besked_id, at"
        " FROM receiver_ksd.applied ORDER BY seq DESC LIMIT 1"
    )
    lost, doubled, _, disordered, _ = await soak.count(stand, found.run, MESSAGES)
    assert (lost, doubled) == (1, 1)
    assert disordered == 0


def test_a_soak_weighs_each_process_against_itself():
    """Another process, or one that has grown, is a missed target."""
    found = soak.Soaked(
        run=1,
        messages=10,
        seed=1,
        seconds=1.0,
        copies=0,
        repeats=0,
        refused=0,
        differing=0,
        in_flight=1,
        crashed_at=1,
        lost=0,
        doubled=0,
        foreign=0,
        disordered=0,
        not_delivered=0,
        ceiling=1.0,
        early={"a": (1, 100.0), "b": (2, 100.0), "c": (3, 100.0)},
        late={"a": (1, 105.0), "b": (2, 106.0), "c": (4, 100.0)},
    )

    assert [verdict.reached for verdict in soak.judge(found)][-3:] == [True, False, False]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_backlog_drains_beside_live_traffic(stand):
    """Everything that waited is delivered, and live traffic is measured with and without it."""
    found = await backlog.measure(stand, MESSAGES, live=10.0, seconds=1.0)

    assert found.left == 0
    assert found.seen[0].calls == found.settled[0].calls == 20
    assert found.seen[1].calls == found.settled[1].calls > 0
    assert not found.settled[0].errors + found.settled[1].errors
    late = replace(found, seconds=backlog.MINUTES * 60)
    assert [late.rate, backlog.judge(late)[0].reached] == [pytest.approx(MESSAGES / 600), False]


def test_runs_of_a_load_are_taken_together():
    """The slowest hundredth of all calls, not of the run in which they were."""
    slow = {"latencies": [1.0] * 97 + [9.0] * 3, "seconds": 1.0, "errors": 2}
    well = {"latencies": [1.0] * 300, "seconds": 3.0, "errors": 0}

    line = pooled("both", [slow, well])

    assert (line.p99, line.rate, line.calls, line.errors) == (1.0, 100.0, 400, 2)
    assert pooled("one", [slow]).p99 == 9.0


def test_a_missed_target_is_an_error_when_that_is_asked_for(capsys):
    """One of two is enough; each is printed."""
    reached, missed = (Verdict(what=f"it {kept}", found="1", wanted="2", reached=kept) for kept in (True, False))

    assert [judged([reached], strict=True), judged([reached, missed], strict=True)] == [0, 1]
    assert judged([missed], strict=False) == 0
    assert capsys.readouterr().out.count("NOT REACHED") == 2


@pytest.mark.asyncio(loop_scope="module")
async def test_neighbours_are_told_apart(stand):
    """Viborg is silent and Aarhus has its own figure; a factor above the target misses it."""
    lines, _ = await neighbours.measure(stand, 1.0, rate=10.0, rounds=1, parts=(neighbours.SILENT,))

    assert [(line.what, line.calls, line.errors) for line in lines] == [(neighbours.SILENT, 10, 0)]
    well = Measured(what="", rate=1.0, p50=1.0, p95=1.0, p99=10.0)
    made = {part: replace(well, what=part) for part in neighbours.PARTS}
    made[neighbours.REFUSES] = replace(made[neighbours.REFUSES], p99=12.1)
    assert [verdict.reached for verdict in neighbours.judge(list(made.values()))] == [True, False, True]


async def test_pages_are_asked_for_in_the_directory_of_all_measures(tmp_path):
    """Every list first and deep, a message and a case; beside what the measures before have left there."""
    machine.writing(tmp_path)

    lines = await pages.pages(tmp_path, 3000, rounds=2)

    assert [line.errors for line in lines] == [0] * len(lines)
    asked = " ".join(line.what for line in lines)
    for filtered in ("municipality", "fault group", "citizen, by keyed hash"):
        assert all(f"{filtered}, {page}" in asked for page in ("first page", f"page {pages.DEEP}")), filtered
    assert {verdict.wanted for verdict in pages.judge(lines)} == {"under 200 ms"}

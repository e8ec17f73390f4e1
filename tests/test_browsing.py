# SPDX-License-Identifier: MPL-2.0
"""Messages looked through: every filter, the pages before and after, a page by its number, counts, groups by cause."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from benchmarks import filling, pages

from sygefravaer.app import PLATFORM
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.delivery import browsing
from sygefravaer.delivery.browsing import FAULTY, Filter, towards
from sygefravaer.lanes import Status
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault

MESSAGES = 3_000
TOWN, KSD, JOBCENTER = next(iter(MUNICIPALITIES)), filling.KSD, filling.SYSTEMS[0]
EVENT = "SendHaendelseSygefravaerssag"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(embedded, tmp_path_factory):
    """One filled database for all tests of this module; none of them writes."""
    dsn = await embedded.create_part("browsing", "browsing")
    store = Store(dsn, schema="browsing", size=4)
    await store.open()
    await migrate(store, list(PLATFORM), now=filling.NOW)
    vault = Vault.create_file(tmp_path_factory.mktemp("vault") / "vault.json")
    await filling.fill(dsn, "browsing", store, vault, MESSAGES)
    await all_visible(store)
    store.made_of = (dsn, "browsing", vault)
    yield store
    await store.close()


async def all_visible(store):
    """
    Vacuum until the server knows that everybody sees every message, as it does of a table at rest.

    While somebody else has an older view of the same database, be it its own ANALYZE, a vacuum cannot find that; and
    what may be read in an index alone is a matter of it.
    """
    none = "SELECT relallvisible = 0 AS found FROM pg_class WHERE oid = 'message'::regclass"
    async with store.read() as tx, asyncio.timeout(30):
        while (await tx.one(none))["found"]:
            await tx.run("VACUUM (ANALYZE) message")
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rows(store):
    """Give every message, newest first, by the simplest statement there is."""
    async with store.read() as tx:
        return await tx.all("SELECT * FROM message ORDER BY message_id DESC")


def fits(wanted: Filter, row) -> bool:
    """Say in Python what a filter says: the other opinion that the statements are held against."""
    ends = {row["sender"], row["recipient"]}
    return (
        (not wanted.operations or row["operation"] in wanted.operations)
        and (not wanted.statuses or row["status"] in wanted.statuses)
        and wanted.municipality in {None, row["municipality_cvr"]}
        and (wanted.system is None or wanted.system in ends)
        and wanted.recipient in {None, row["recipient"]}
        and (wanted.since is None or row["accepted_at"] >= wanted.since)
        and (wanted.until is None or row["accepted_at"] < wanted.until)
        and (wanted.cause is None or (row["detail"] == wanted.cause and row["status"] in FAULTY))
        and (not wanted.persons or bytes(row["cpr_key"]) in wanted.persons)
        and (wanted.among is None or bool(wanted.among & ends))
    )


MIDDLE = filling.NOW - filling.HISTORY / 2
FILTERS = {
    "all": Filter(),
    "operation": Filter(operations=("SendOpdateringFravaer",)),
    "to KSD": Filter(operations=towards(ksd=True)),
    "to jobcentres": Filter(operations=towards(ksd=False)),
    "delivered": Filter(statuses=(Status.DELIVERED,)),
    "refused": Filter(statuses=(Status.REFUSED,)),
    "sending": Filter(statuses=(Status.SENDING,)),
    "parked or waiting": Filter(statuses=(Status.PARKED, Status.QUEUED)),
    "ended": Filter(statuses=(Status.REFUSED, Status.DELIVERED)),
    "municipality": Filter(municipality=TOWN),
    "no municipality": Filter(municipality="00000000"),
    "KSD": Filter(system=KSD),
    "jobcentre": Filter(system=JOBCENTER),
    "to one system": Filter(recipient=JOBCENTER),
    "nobody's": Filter(system=UUID(int=99)),
    "since": Filter(since=MIDDLE),
    "until": Filter(until=MIDDLE),
    "between": Filter(since=MIDDLE, until=MIDDLE + timedelta(days=40)),
    "before the first": Filter(until=filling.NOW - filling.HISTORY),
    "after the last": Filter(since=datetime(2030, 1, 1, tzinfo=UTC)),
    "cause": Filter(cause="G001"),
    "cause and state": Filter(cause="no route", statuses=(Status.PARKED,)),
    "cause and municipality": Filter(cause="G007", municipality=TOWN),
    "among": Filter(among=frozenset(filling.SYSTEMS[:2])),
    "among both ends": Filter(among=frozenset({KSD, JOBCENTER})),
    "among, with one end": Filter(among=frozenset(filling.SYSTEMS[:2]), system=JOBCENTER),
    "among none": Filter(among=frozenset()),
    "everything at once": Filter(
        operations=(EVENT,), municipality=TOWN, system=KSD, statuses=(Status.REFUSED,), cause="G001", since=MIDDLE
    ),
}


@pytest.mark.asyncio(loop_scope="module")
async def test_each_filter_finds_what_it_says(store, rows):
    """The same messages as a reading of all of them finds, newest first and oldest first, and as many."""
    persons = {"citizen": Filter(persons=(bytes(rows[7]["cpr_key"]), b"nobody"))}
    found = {}
    for name, wanted in (FILTERS | persons).items():
        numbers = [row["message_id"] for row in rows if fits(wanted, row)]
        found[name] = len(numbers)
        shown = await browsing.every(store, wanted, most=MESSAGES)
        assert [row["message_id"] for row in shown] == numbers, name
        assert [row["message_id"] for row in await browsing.oldest(store, wanted, limit=9)] == numbers[::-1][:9], name
        assert await browsing.number_of(store, wanted, most=100) == min(101, len(numbers)), name
    empty = {"sending", "no municipality", "nobody's", "before the first", "after the last", "among none"}
    assert sorted(name for name, number in found.items() if not number) == sorted(empty)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["all", "municipality", "jobcentre", "refused", "among", "since"])
async def test_pages_lead_to_each_other_and_are_reached_by_number(store, rows, name):
    """To the end and back again, and each by its number, it is the same page."""
    wanted, size = FILTERS[name], 7
    numbers = [row["message_id"] for row in rows if fits(wanted, row)]
    pages = [numbers[start : start + size] for start in range(0, len(numbers), size)][:30]
    leaf, seen = await browsing.page(store, wanted, size=size), []
    while len(seen) < len(pages):
        seen.append([row["message_id"] for row in leaf.rows])
        assert leaf.newer is (len(seen) > 1)
        assert leaf.older is (seen[-1][-1] != numbers[-1])
        if len(seen) < len(pages):
            leaf = await browsing.page(store, wanted, before=seen[-1][-1], size=size)
    assert seen == pages
    for index in reversed(range(len(pages) - 1)):
        leaf = await browsing.page(store, wanted, after=pages[index + 1][0], size=size)
        assert [row["message_id"] for row in leaf.rows] == pages[index]
        assert (leaf.newer, leaf.older) == (index > 0, True)
    for number in {1, min(2, len(pages)), len(pages)}:
        leaf = await browsing.page(store, wanted, number=number, size=size)
        assert [row["message_id"] for row in leaf.rows] == pages[number - 1]
    beyond = await browsing.page(store, wanted, number=len(numbers) // size + 2, size=size)
    assert (beyond.rows, beyond.newer, beyond.older) == ([], True, False)


@pytest.mark.asyncio(loop_scope="module")
async def test_faults_are_grouped_by_state_cause_and_recipient(store, rows):
    """As many as a count by hand, of so many municipalities, since then; and a filter narrows them."""

    def by_hand(wanted):
        groups = {}
        for row in rows:
            if row["status"] in FAULTY and row["detail"] and fits(wanted, row):
                groups.setdefault((row["status"], row["detail"], row["recipient"]), []).append(row)
        return {
            key: (
                len(members),
                len({row["municipality_cvr"] for row in members}),
                min(row["accepted_at"] for row in members),
            )
            for key, members in groups.items()
        }

    for wanted in (
        Filter(),
        Filter(statuses=(Status.PARKED,)),
        Filter(municipality=TOWN),
        Filter(system=JOBCENTER),
        Filter(statuses=(Status.DELIVERED,)),
        Filter(persons=tuple({bytes(row["cpr_key"]) for row in rows[:40]})),
        Filter(operations=(EVENT,), since=MIDDLE),
    ):
        told = await browsing.faults(store, wanted)
        found = {
            (row["status"], row["cause"], row["recipient"]): (row["messages"], row["municipalities"], row["oldest"])
            for row in told
        }
        hand = {} if wanted.statuses == (Status.DELIVERED,) else by_hand(wanted)
        assert found == hand
        assert [row["messages"] for row in told] == sorted((row["messages"] for row in told), reverse=True)
    assert (await browsing.faults(store, Filter()))[0]["name"] in {"ksd", *(f"jobcenter-{n}" for n in range(2, 8))}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_case_is_all_that_was_sent_about_it(store, rows):
    """In both directions, oldest first; of a case that nobody knows there is nothing."""
    case = rows[3]["nemrefusions_id"]
    numbers = [row["message_id"] for row in reversed(rows) if row["nemrefusions_id"] == case]

    async with store.read() as tx:
        found = await browsing.of_case(tx, case)
        nothing = await browsing.of_case(tx, UUID(int=5))

    assert [row["message_id"] for row in found] == numbers
    assert len({row["recipient"] for row in found}) == 2
    assert nothing == []


async def plan(store, wanted: Filter, **how: object) -> str:
    """Give the server's plan of a page, as if its tables were too big to read."""
    async with store.tx() as tx:
        asked = await browsing._asked(tx, wanted)
        await tx.run("SET LOCAL enable_seqscan = off")
        statement = asked.numbers("DESC", 51, int(how.get("offset", 0)), also=str(how.get("also", "")))
        return "\n".join(row["QUERY PLAN"] for row in await tx.all(f"EXPLAIN {statement}", **asked.values, before=900))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("municipality", "message_municipality"),
        ("jobcentre", "message_sender"),
        ("jobcentre", "message_recipient"),
        ("citizen", "message_person"),
        ("refused", "message_state"),
        ("cause", "message_fault"),
        ("sending", "message_open"),
        ("all", "message_pkey"),
        ("between", "message_pkey"),
    ],
)
async def test_each_filter_has_its_index(store, rows, name, index):
    """The table of docs/scaling.md, held against the server; a page further on starts where the one before ended."""
    wanted = FILTERS.get(name) or replace(Filter(), persons=(bytes(rows[7]["cpr_key"]),))
    shown = await plan(store, wanted)
    assert index in shown, shown
    assert "Seq Scan" not in shown, shown
    further = await plan(store, wanted, also=" AND message_id < %(before)s")
    assert "Seq Scan" not in further, further


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("party", "index"), [("sender", "message_key"), ("recipient", "message_addressee")])
async def test_a_key_is_found_by_its_index_before_anything_is_known_of_the_table(embedded, party, index):
    """Not among all that a system has sent: what is planned on the first day may be kept for long."""
    schema = f"unknown_{party}"
    empty = Store(await embedded.create_part(schema, schema), schema=schema, size=1)
    await empty.open()
    await migrate(empty, list(PLATFORM), now=filling.NOW)
    statement = f"SELECT status FROM message WHERE {party} = %(system)s AND besked_id = %(besked_id)s"
    async with empty.read() as tx:
        shown = await tx.all(f"EXPLAIN {statement}", system=KSD, besked_id=KSD)
    await empty.close()

    assert index in shown[0]["QUERY PLAN"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_measure_of_pages_asks_for_all_of_them(store, monkeypatch):
    """Every page is there, also the one that lies deep; a slow one misses the target."""
    monkeypatch.setattr(pages, "DEEP", 3)
    async with pages.House(*store.made_of) as house:
        lines = await pages.measure(house, MESSAGES, rounds=1)

    assert len(lines) > 25
    assert {line.calls for line in lines} == {1}
    assert any(line.what == "all messages, page 4" for line in lines)
    (slow,) = pages.judge([*lines, replace(lines[0], p95=pages.LIMIT_MS)])
    assert not slow.reached

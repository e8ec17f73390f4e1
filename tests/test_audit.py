# SPDX-License-Identifier: MPL-2.0
"""The record: rows in the caller's transaction, sealed into a chain that shows every tampering."""

import asyncio
import contextlib
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from sygefravaer import audit
from sygefravaer.audit import GRAMMAR, Anchor, Event, Kind, Sealer, sealing, verifying
from sygefravaer.errors import StoreUnavailable, UsageError

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def store(make_store):
    return await make_store("audit")


@pytest.fixture
def key(tmp_path):
    """The key of the chain, by which this process signs what it writes."""
    made = audit.create_key(tmp_path / "audit.key")
    audit.sign_with(made)
    yield made
    audit.sign_with(None)


@pytest.fixture
def sealer(store, key, tmp_path):
    return Sealer(store, key=key, anchor=tmp_path / "anchors")


async def write(store, number=1, **more):
    async with store.tx() as tx:
        return [await audit.record(tx, Event.MESSAGE_ACCEPTED, now=NOW, **more) for _ in range(number)]


async def tamper(store, statement):
    async with store.tx() as tx:
        await tx.run(statement)


def test_every_event_is_an_object_and_what_became_of_it():
    """One grammar for all: a reader can filter by object or by outcome."""
    assert [event for event in Event if not GRAMMAR.fullmatch(event)] == []
    assert all(event.name.lower() == event.replace(".", "_") for event in Event)
    assert {event.thing for event in Event} >= {"call", "lookup", "message", "audit"}
    assert not any(GRAMMAR.fullmatch(text) for text in ("call.refuse", "call", "Call.refused", "call.was.refused"))


async def test_a_row_says_who_what_for_whom_about_whom_and_what_came_of_it(store):
    """Everything that is known is kept as it was given, and the outcome names the first row."""
    call, system, agreement, besked = uuid4(), uuid4(), uuid4(), uuid4()
    known = {
        "call_uuid": call,
        "serial_key": "UI:DK-O:G:1",
        "system": system,
        "agreement": agreement,
        "municipality_cvr": "29189846",
        "operation": "HentSag",
        "besked_id": besked,
        "on_behalf_of": b"sealed",
        "cpr_key": b"hash",
    }
    async with store.tx() as tx:
        first = await audit.record(tx, Event.LOOKUP_ASKED, now=NOW, **known)
        await audit.record(
            tx, Event.LOOKUP_ANSWERED, now=NOW, names=first, code="OK", reason="", detail={"ms": 5, "by": system}
        )
        rows = await tx.all("SELECT * FROM audit ORDER BY audit_id")
    assert {name: rows[0][name] for name in known} == known
    assert (rows[0]["event"], rows[0]["at"], rows[0]["names"], rows[0]["detail"]) == ("lookup.asked", NOW, None, None)
    assert (rows[1]["names"], rows[1]["code"], rows[1]["detail"]) == (first, "OK", {"ms": 5, "by": str(system)})


async def test_a_row_is_gone_with_the_transaction_that_it_records(store):
    """What did not happen is not in the record."""
    with contextlib.suppress(ZeroDivisionError):
        async with store.tx() as tx:
            await audit.record(tx, Event.MESSAGE_ACCEPTED, now=NOW)
            raise ZeroDivisionError
    async with store.read() as tx:
        assert await tx.all("SELECT * FROM audit") == []


async def test_a_trail_is_the_same_row_carried_by_another_statement(store):
    """One statement writes the deed and its record."""
    made = audit.trail(Event.MESSAGE_DELIVERED, now=NOW, code="OK", detail={"a": 1})
    async with store.tx() as tx:
        await tx.run(f"WITH gate AS (SELECT), trail AS ({made.statement}) SELECT 1", **made.params)
        await tx.run(f"WITH gate AS (SELECT WHERE false), trail AS ({made.statement}) SELECT 1", **made.params)
        rows = await tx.all("SELECT event, code, detail FROM audit")
    assert rows == [{"event": "message.delivered", "code": "OK", "detail": {"a": 1}}]


# --- the chain ---


async def test_an_untouched_record_verifies_and_names_its_unsealed_tail(store, sealer, key):
    """What is not sealed yet is said to be so, not passed over."""
    await write(store, 3, call_uuid=uuid4(), cpr_key=b"k", detail={"b": [1, 2], "a": None})
    assert await sealer.seal() == 3
    await write(store, 2)

    report = await audit.verify(store, key=key)
    assert (report.sealed, report.unsealed, report.oldest_unsealed, report.findings) == (3, 2, NOW, ())
    assert await sealer.seal() == 2
    assert await sealer.seal() == 0
    report = await audit.verify(store, key=key)
    assert (report.sealed, report.unsealed, report.oldest_unsealed) == (5, 0, None)


@pytest.mark.parametrize(
    ("statement", "kind", "seq"),
    [
        ("UPDATE audit SET municipality_cvr = '55133018' WHERE seq = 3", Kind.CHANGED, 3),
        ("UPDATE audit SET at = at + interval '1 second' WHERE seq = 5", Kind.CHANGED, 5),
        ("UPDATE audit SET detail = '{}' WHERE seq = 1", Kind.CHANGED, 1),
        ("DELETE FROM audit WHERE seq = 2", Kind.MISSING, 2),
        ("DELETE FROM audit WHERE seq = 1", Kind.MISSING, 1),
        ("INSERT INTO audit (at, event, seq, chain) VALUES ('2026-03-02', 'call.refused', 6, 'x')", Kind.CHANGED, 6),
        ("UPDATE audit SET chain = (SELECT chain FROM audit WHERE seq = 4) WHERE seq = 5", Kind.CHANGED, 5),
    ],
)
async def test_tampering_is_found_at_its_place(store, sealer, key, *, statement, kind, seq):
    """An edit, a deletion, an insertion: the finding names the number."""
    await write(store, 5, municipality_cvr="29189846")
    await sealer.seal()
    await tamper(store, statement)

    report = await audit.verify(store, key=key)
    assert (report.findings[0].kind, report.findings[0].seq) == (kind, seq)


async def test_a_change_of_order_is_found(store, sealer, key):
    """Two rows that have changed places are both wrong."""
    await write(store, 3)
    await sealer.seal()
    await tamper(store, "UPDATE audit SET seq = -seq WHERE seq IN (1, 2)")
    await tamper(store, "UPDATE audit SET seq = 3 + seq WHERE seq < 0")

    report = await audit.verify(store, key=key)
    assert [f.seq for f in report.findings][:2] == [1, 2]


async def test_who_recomputes_the_chain_without_the_key_is_found(store, sealer, key, tmp_path):
    """A superuser of the database can rewrite every hash; he cannot make one."""
    await write(store, 3)
    await sealer.seal()
    await tamper(store, "UPDATE audit SET seq = NULL, chain = NULL")
    await Sealer(store, key=b"guess".ljust(32), anchor=tmp_path / "his").seal()

    assert [f.kind for f in (await audit.verify(store, key=key)).findings] == [Kind.CHANGED] * 3


async def test_a_cut_end_and_a_rewritten_chain_are_found_by_the_anchors(store, sealer, key, tmp_path):
    """The chain alone cannot show that its end was cut; the anchor file outside the database can."""
    await sealer.anchor()
    assert not (tmp_path / "anchors").exists()
    await write(store, 4)
    await sealer.seal()
    await sealer.anchor()
    anchors = audit.read_anchors(tmp_path / "anchors")
    assert (await audit.verify(store, key=key, anchors=anchors)).findings == ()

    await tamper(store, "DELETE FROM audit WHERE seq > 2")
    report = await audit.verify(store, key=key, anchors=anchors)
    assert [(f.kind, f.seq) for f in report.findings] == [(Kind.CUT, 4)]
    await write(store, 2)
    await sealer.seal()
    report = await audit.verify(store, key=key, anchors=anchors)
    assert [(f.kind, f.seq) for f in report.findings] == [(Kind.REWRITTEN, 4)]


async def test_rows_that_are_put_back_after_others_took_their_place_are_found(store, sealer, key):
    """Each old row is genuine; the one that was sealed after those which stood there meanwhile shows the exchange."""
    await write(store, 4)
    await sealer.seal()
    await tamper(store, "CREATE TABLE kept AS SELECT * FROM audit WHERE seq > 2")
    await tamper(store, "DELETE FROM audit WHERE seq > 2")
    await write(store, 3)
    await sealer.seal()
    await tamper(store, "DELETE FROM audit WHERE seq IN (3, 4)")
    await tamper(store, "INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM kept")

    assert [f.seq for f in (await audit.verify(store, key=key)).findings] == [5]


async def test_a_chain_longer_than_a_batch_is_sealed_and_verified(store, sealer, key, monkeypatch):
    """Batches are no seams."""
    monkeypatch.setattr(sealing, "BATCH", 3)
    monkeypatch.setattr(verifying, "PAGE", 3)
    await write(store, 10)
    assert await sealer.seal() == 10
    await tamper(store, "UPDATE audit SET code = 'x' WHERE seq = 7")
    report = await audit.verify(store, key=key)
    assert (report.sealed, [f.seq for f in report.findings]) == (10, [7])


async def test_sealing_reads_no_row_that_is_sealed(make_store, key, tmp_path):
    """Whatever was planned on the first day, when the table was as good as empty."""
    store = await make_store("audit", size=1)
    sealer = Sealer(store, key=key, anchor=tmp_path / "anchors")

    async def read_whole():
        async with store.read() as tx:
            await tx.run("SELECT pg_stat_force_next_flush()")
            await tx.run("SELECT pg_stat_clear_snapshot()")
            row = await tx.one(
                "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema AND relname = 'audit'"
            )
            return row["seq_scan"]

    before = await read_whole()
    for _ in range(8):
        await write(store, 5)
        async with store.read() as tx:
            await audit.record(tx, Event.LOOKUP_ASKED, now=NOW)  # alone, so that it is looked for
        assert await sealer.seal() == 6
    assert await read_whole() == before


async def test_one_sealer_works_at_a_time(store, sealer, embedded, key):
    """Another node's sealer finds the lock held and leaves it."""
    await write(store)
    async with store.tx() as tx:
        assert (await tx.one(sealing.LOCK))["held"]
        assert await sealer.seal() == 0
    sealed = await asyncio.gather(*(sealer.seal() for _ in range(4)))
    assert sum(sealed) == 1
    assert (await audit.verify(store, key=key)).findings == ()


async def test_rows_that_commit_late_are_sealed_when_they_do(store, sealer, key):
    """A number is given at the sealing, so an earlier row that commits later leaves no gap."""
    async with store.tx() as slow:
        await audit.record(slow, Event.MESSAGE_ACCEPTED, now=NOW)
        await write(store)
        assert await sealer.seal() == 1
    assert await sealer.seal() == 1
    assert (await audit.verify(store, key=key)).findings == ()


async def test_a_running_sealer_seals_anchors_and_ends_with_nothing_left(store, sealer, key, tmp_path, monkeypatch):
    """At most a second behind while it runs, complete when it has stopped."""
    monkeypatch.setattr(sealing, "SEAL_EVERY", 0.01)
    task = asyncio.create_task(sealer.run())
    await write(store, 2)
    async with asyncio.timeout(5):
        while (await audit.verify(store, key=key)).unsealed:
            await asyncio.sleep(0.01)
    await write(store)
    sealer.stop()
    await asyncio.wait_for(task, 5)
    report = await audit.verify(store, key=key, anchors=audit.read_anchors(tmp_path / "anchors"))
    assert (report.sealed, report.unsealed, report.findings) == (3, 0, ())
    assert {anchor.seq for anchor in audit.read_anchors(tmp_path / "anchors")} >= {3}
    assert (tmp_path / "anchors").stat().st_mode & 0o777 == 0o600


async def test_a_sealer_waits_for_a_database_that_is_away(store, key, tmp_path, monkeypatch):
    """A lost connection is no end of the sealing."""
    monkeypatch.setattr(sealing, "SEAL_EVERY", 0.01)

    class Flaky:
        fails = 2
        read = store.read

        def tx(self):
            if self.fails:
                self.fails -= 1
                raise StoreUnavailable
            return store.tx()

    await write(store)
    sealer = Sealer(Flaky(), key=key, anchor=tmp_path / "anchors")
    task = asyncio.create_task(sealer.run())
    async with asyncio.timeout(5):
        while (await audit.verify(store, key=key)).unsealed:
            await asyncio.sleep(0.01)
    sealer.stop()
    await task


# --- files ---


def test_the_key_is_private_and_never_written_over(tmp_path):
    """Whoever has the key can make a chain; whoever loses it can check none."""
    path = tmp_path / "key"
    assert audit.create_key(path) == audit.read_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="cannot be made"):
        audit.create_key(path)


@pytest.mark.parametrize(("content", "mode"), [("%", 0o600), ("AAAA", 0o600), ("A" * 43 + "=", 0o644)])
def test_a_bad_key_file_is_refused(tmp_path, content, mode):
    """Not base64, too short, or readable by others."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(UsageError):
        audit.read_key(path)


def test_a_missing_key_or_anchor_file_is_named(tmp_path):
    """The error says which file."""
    with pytest.raises(UsageError, match="key"):
        audit.read_key(tmp_path / "key")
    with pytest.raises(UsageError, match="anchors"):
        audit.read_anchors(tmp_path / "anchors")


async def test_an_anchor_that_a_full_disk_cut_off_does_not_spoil_the_next(store, sealer, key, tmp_path):
    """The file can be read again once there is room, and knows all anchors that were written whole."""
    await write(store)
    await sealer.seal()
    await sealer.anchor()
    path = tmp_path / "anchors"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-9])

    await sealer.anchor()
    anchors = audit.read_anchors(path)
    assert [anchor.seq for anchor in anchors] == [1, 1, 1]  # the head file's first
    assert path.read_bytes().startswith(whole)
    assert (await audit.verify(store, key=key, anchors=anchors)).findings == ()


def test_an_anchor_file_loses_only_a_line_that_a_crash_cut_off(tmp_path):
    """A half line at the end is a crash; one in the middle is a hand."""
    path = tmp_path / "anchors"
    path.write_text('{"seq": 1, "chain": "00"}\n{"seq": 2, "ch')
    assert audit.read_anchors(path) == [Anchor(seq=1, chain=b"\x00")]
    path.write_text('{"seq": 1\n{"seq": 2, "chain": "00"}\n')
    with pytest.raises(UsageError, match="line 1"):
        audit.read_anchors(path)


async def test_a_mark_changes_when_something_is_written_about_what_is_followed(store):
    """Also when a row with a smaller number is committed later; about other things it stays."""

    async def marks():
        async with store.read() as tx:
            return await audit.mark(tx, ("message",)), await audit.mark(tx)

    now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    nothing = await marks()
    async with store.tx() as slow:
        await audit.record(slow, Event.MESSAGE_ACCEPTED, now=now)
        async with store.tx() as quick:
            await audit.record(quick, Event.MESSAGE_ACCEPTED, now=now)
        one = await marks()
    two = await marks()
    async with store.tx() as tx:
        await audit.record(tx, Event.ROUTE_CHANGED, now=now)
    three = await marks()

    assert len({nothing[0], one[0], two[0]}) == 3
    assert three[0] == two[0]
    assert three[1] != two[1]

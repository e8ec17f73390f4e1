# SPDX-License-Identifier: MPL-2.0
"""Keys and retention on the command line, beside a gateway under traffic: nothing fails, and the record still verifies."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from click.testing import CliRunner

from conftest import START
from corridor import VIBORG, Corridor, message
from record_rig import EVENT, LOOKUP, USERS, event, lookup
from sygefravaer import audit
from sygefravaer.app import PLATFORM, rooms_of, sealed_of
from sygefravaer.audit import Kind, Sealer
from sygefravaer.cli import cli
from sygefravaer.config import Kind as PartKind
from sygefravaer.control import Door
from sygefravaer.delivery.evidence import unrecorded
from sygefravaer.sandbox.stage import Stage
from sygefravaer.store import Store, migrate, usage
from sygefravaer.vault import KeySource, Vault

WHO = ("--who", "drift")
CITIZENS = ("0101375001", "0202385002", "0303395003")


class Desk:
    """A corridor at work, and an operator beside it."""

    def __init__(self, corridor, directory, key):
        self.corridor, self.directory, self.key = corridor, directory, key
        self.sealer = Sealer(corridor.store, key=key, anchor=directory / "anchors")

    async def run(self, *arguments):
        """Run a command in a thread, beside the gateway that works in this one."""
        line = [*map(str, arguments), "--config", str(self.directory / "gateway.toml")]
        return await asyncio.to_thread(CliRunner().invoke, cli, line)

    async def told(self, *arguments):
        result = await self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    async def error(self, *arguments):
        result = await self.run(*arguments, "--json")
        assert result.exit_code == 2, result.output
        return json.loads(result.stdout)["error"]["code"]

    async def keys_of(self, column):
        """Count the values of a column by key."""
        async with self.corridor.store.read() as tx:
            rows = await tx.all(
                f"SELECT get_byte({column}, 0) * 256 + get_byte({column}, 1) AS key FROM message"
                f" WHERE length({column}) > 2"
            )
        return Counter(row["key"] for row in rows)

    async def findings(self):
        await self.sealer.seal()
        witness = audit.read_witness(self.directory / "anchors")
        report = await audit.verify(
            self.corridor.store, key=self.key, anchors=witness.anchors, lost=witness.lost, evidence=unrecorded
        )
        return report.findings


@pytest.fixture
async def desk(embedded, clock, pki, tmp_path):
    role, password = f"keys_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = await embedded.create_part(role, password)
    store = Store(dsn, schema=role, size=8)
    await store.open()
    await migrate(store, PLATFORM, now=clock.now())
    KeySource.create_file(tmp_path / "kek")
    vault = Vault.create_file(tmp_path / "keys.json", KeySource(file=tmp_path / "kek"))
    key = audit.create_key(tmp_path / "audit.key")
    audit.sign_with(key)
    (tmp_path / "gateway.toml").write_text(
        f'part = "gateway"\nvault = "keys.json"\ncontrol = "{tmp_path}/door"\n[vault_key]\nfile = "kek"\n'
        '[audit]\nkey = "audit.key"\nanchor = "anchors"\n[retention]\nbodies = 30\n'
        f'[database]\ndsn = "{dsn}"\nschema = "{role}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )

    async def health(_):
        return {"now": clock.now().isoformat()}

    door = Door({"health": health}, tmp_path / "door")
    await door.start()
    async with Corridor(store, vault, clock, pki, budget=5) as made:
        made.work()
        yield Desk(made, tmp_path, key)
    audit.sign_with(None)
    await door.stop()
    await store.close()


async def test_keys_rotate_under_traffic_and_are_deleted_when_nothing_is_sealed_with_them(desk):
    """
    From the first key to its end: messages go on all the while, and whatever was sealed opens.

    What stands in the record keeps its key, and so the key stays until retention has taken the rows.
    """
    corridor, sent = desk.corridor, []
    stop = asyncio.Event()

    async def traffic():
        while not stop.is_set():
            envelope = event(CITIZENS[len(sent) % 3])
            assert (await corridor.send(EVENT, envelope)).kode == "OK"
            assert (await corridor.send(LOOKUP, lookup(CITIZENS[0], USERS[2]))).status == 200
            sent.append(envelope)

    goes_on = asyncio.create_task(traffic())
    while len(sent) < 3:
        await asyncio.sleep(0.01)
    told = await desk.told("keys", "rotate", *WHO, "--settle", "1.2")
    at_rotation = len(sent)
    while len(sent) < at_rotation + 3 or 2 not in await desk.keys_of("body"):
        await asyncio.sleep(0.05)
    assert await desk.error("keys", "retire", 1, *WHO) == "KeyInUse"
    resealed = await desk.told("keys", "reseal", *WHO)
    stop.set()
    await goes_on

    assert told == {"key": 2, "current": 2}
    assert set(await desk.keys_of("body")) == set(await desk.keys_of("receipt")) == {2}
    assert resealed["unopened"] == 0
    assert resealed["sealed"] >= 6
    assert resealed["fixed"] == {"audit.on_behalf_of": resealed["fixed"]["audit.on_behalf_of"]}
    for envelope in (sent[0], sent[-1]):  # their receipts were sealed with another key than they are now, or not
        assert (await corridor.send(EVENT, envelope)).kode == "OK"
    listed = await desk.told("keys", "list")
    assert [(one["key"], one["current"]) for one in listed["keys"]] == [(1, False), (2, True)]
    assert set(listed["keys"][0]["columns"]) == {"audit.on_behalf_of"}
    assert set(listed["keys"][1]["columns"]) >= {"message.body", "message.receipt"}
    assert await desk.error("keys", "retire", 1, *WHO) == "KeyInUse"
    assert await desk.findings() == ()
    rows = await corridor.rows("audit", "event LIKE 'key.%%'")
    assert [(row["event"], row["detail"]["by"]) for row in rows] == [
        ("key.rotated", "drift"),
        ("key.resealed", "drift"),
    ]


async def test_a_reseal_that_cannot_open_a_value_says_so_and_goes_on(desk):
    """What somebody has spoilt stays as it is, and is counted."""
    corridor = desk.corridor
    for cpr in CITIZENS:
        await corridor.send(EVENT, event(cpr))
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE message SET body = set_byte(body, 20, 255 - get_byte(body, 20)) WHERE message_id = 1")
    await desk.told("keys", "rotate", *WHO, "--settle", "0")
    result = await desk.run("keys", "reseal", *WHO)

    assert "5 values are under key 2 now, 1 could not be opened." in result.output
    assert "message.body: " in result.stderr
    assert await desk.keys_of("body") == {1: 1, 2: 2}


async def test_steps_can_be_taken_apart_and_wrapping_changed(desk):
    """For machines with copies of the file; and the key-encryption key is changed in two steps."""
    assert await desk.told("keys", "rotate", "--step", "add", *WHO) == {"key": 2, "current": 1}
    assert await desk.told("keys", "rotate", "--step", "use", *WHO) == {"key": 2, "current": 2}
    KeySource.create_file(desk.directory / "kek.new")
    both = await desk.told("keys", "rewrap", "--command", "/bin/cat", "--command", desk.directory / "kek.new", *WHO)
    assert len(both["opened_by"]) == 2
    assert await desk.error("keys", "rotate", *WHO) == "KekTwo"
    (desk.directory / "kek.new").replace(desk.directory / "kek")
    assert len((await desk.told("keys", "rewrap", "--drop", *WHO))["opened_by"]) == 1
    assert (await desk.told("keys", "list"))["keys"][1]["current"]
    assert await desk.error("keys", "rewrap", *WHO) == "OptionMissing"
    assert await desk.error("keys", "rotate", "--who", CITIZENS[0]) == "WordsHoldNumber"
    text = await desk.run("keys", "list")
    assert "seals" in text.output
    corridor = desk.corridor
    assert (await corridor.send(EVENT, message(EVENT))).kode == "OK"


async def test_retention_shows_what_would_go_deletes_it_and_proves_it(desk, clock):
    """Bodies after a month, receipts after 400 days, the record after five years; what is owed stays; it verifies."""
    corridor = desk.corridor
    old = [event(cpr, NemrefusionsID=uuid4()) for cpr in CITIZENS]
    for envelope in old:
        assert (await corridor.send(EVENT, envelope)).kode == "OK"
    await corridor.send(LOOKUP, lookup(CITIZENS[0], USERS[2]))
    assert await desk.findings() == ()
    clock.advance(timedelta(days=31))

    dry = await desk.told("retention", "run", "--dry-run", *WHO)
    assert [(one["class"], one["number"], one["days"]) for one in dry["classes"]] == [
        ("bodies", 3, 30),
        ("receipts", 0, 400),
        ("audit", 0, 1826),
    ]
    assert len(await desk.keys_of("body")) == 1
    assert (await desk.told("retention", "run", *WHO))["classes"] == dry["classes"]
    assert await desk.keys_of("body") == {}
    assert (await corridor.send(EVENT, old[0])).kode == "OK"  # the same receipt, for as long as a case lives
    (proof,) = await corridor.rows("audit", "event = 'retention.run'")
    assert proof["detail"] | {"digest": ""} == {
        "by": "drift",
        "class": "bodies",
        "number": 3,
        "first": START.isoformat(),
        "last": START.isoformat(),
        "digest": "",
    }
    assert len(bytes.fromhex(proof["detail"]["digest"])) == 32

    clock.advance(timedelta(days=380))
    new = event(CITIZENS[0], NemrefusionsID=uuid4(), Afsendelsestidspunkt=clock.now().isoformat())
    assert (await corridor.send(EVENT, new)).kode == "OK"
    async with corridor.store.tx() as tx:  # nothing is owed of the first two; the third waits for its answer
        await tx.run("UPDATE obligation SET settled_at = since WHERE message_id < 3")
    assert [one["number"] for one in (await desk.told("retention", "run", *WHO))["classes"]][1] == 2
    assert [row["message_id"] for row in await corridor.rows("message")] == [3, 4]
    assert {row["message_id"] for row in await corridor.rows("attempt")} <= {3, 4}
    assert len(await corridor.rows("lane")) == 2
    assert await desk.findings() == ()


async def test_the_record_is_cut_so_that_the_chain_goes_on(desk, clock):
    """Its beginning is gone with proof, in the database and in the anchor file; a later one can be cut again."""
    corridor, store = desk.corridor, desk.corridor.store
    for _ in range(2):  # the second three are refused as too old, which is a row each
        for cpr in CITIZENS:
            await corridor.send(LOOKUP, lookup(cpr))
        await desk.sealer.seal()
        await desk.sealer.anchor()
        clock.advance(timedelta(days=1000))
    sealed = len(await corridor.rows("audit"))
    assert [one["number"] for one in (await desk.told("retention", "run", "--dry-run", *WHO))["classes"]] == [0, 0, 6]
    text = await desk.run("retention", "run", *WHO)

    assert "audit     1826  6 " in text.output
    assert await desk.findings() == ()
    (cut,) = await corridor.rows("audit_cut")
    rows = await corridor.rows("audit")
    assert (cut["seq"], cut["number"], rows[0]["seq"], len(rows)) == (6, 6, 7, sealed - 6 + 1)
    assert (rows[-1]["event"], rows[-1]["detail"]["to"]) == ("retention.run", 6)
    assert rows[-1]["detail"]["digest"] == cut["digest"].hex()
    assert 6 in {anchor.seq for anchor in audit.read_anchors(desk.directory / "anchors")}

    # A cut is no licence: what is put back before it, or taken away behind it, is found; so is another beginning.
    async with store.tx() as tx:
        await tx.run("INSERT INTO audit (at, event, seq, chain) VALUES ('2026-03-02', 'call.refused', 5, 'x')")
    assert [finding.kind for finding in await desk.findings()] == [Kind.CHANGED]
    async with store.tx() as tx:
        await tx.run("DELETE FROM audit WHERE seq = 5")
        await tx.run("UPDATE audit_cut SET last_at = last_at + interval '1 day'")
    assert Kind.UNPROVEN in {finding.kind for finding in await desk.findings()}
    async with store.tx() as tx:
        await tx.run("UPDATE audit_cut SET last_at = last_at - interval '1 day'")
    clock.advance(timedelta(days=1000))
    assert [one["number"] for one in (await desk.told("retention", "run", *WHO))["classes"]] == [0, 0, 3]
    assert await desk.findings() == ()


async def test_nothing_of_a_broken_record_is_deleted(desk, clock):
    """Evidence stays."""
    corridor = desk.corridor
    await corridor.send(LOOKUP, lookup(CITIZENS[0]))
    await desk.sealer.seal()
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE audit SET municipality_cvr = '55133018' WHERE seq = 1")
    clock.advance(timedelta(days=2000))
    await desk.sealer.anchor()
    assert await desk.error("retention", "run", *WHO) == "RecordBroken"
    assert len(await corridor.rows("audit", "event LIKE 'lookup.%%'")) == 2


async def test_the_look_up_key_changes_while_no_lane_is_named_by_a_hash(desk, clock):
    """Messages are found by the new hash, the record by both, and a sample still sees the cases."""
    corridor = desk.corridor
    for cpr in CITIZENS[:2]:
        await corridor.send(EVENT, event(cpr, NemrefusionsID=uuid4()))
        await corridor.send(LOOKUP, lookup(cpr))
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE lane SET open = 1, case_key = 'cpr:' || case_key WHERE lane_id = 1")
    assert await desk.error("keys", "rehash", *WHO) == "LanesOpen"
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE lane SET open = 0 WHERE lane_id = 1")
    before = corridor.vault.lookup_key(CITIZENS[0])

    for nth in (2, 3):
        told = await desk.told("keys", "rehash", "--settle", "1.2", *WHO)
        assert told == {"key": nth, "changed": 2, "unread": 0}
    now = corridor.vault.lookup_key(CITIZENS[0])
    (kept,) = await corridor.rows("message", "message_id = 1")
    assert kept["cpr_key"] == now != before
    assert corridor.vault.lookup_keys(CITIZENS[0])[::2] == (now, before)
    assert {row["new"] for row in await corridor.rows("rehashed")} == {
        corridor.vault.lookup_key(cpr) for cpr in CITIZENS[:2]
    }
    clock.advance(timedelta(days=40))
    drawn = await desk.told("audit", "sample", "--month", "2026-03", *WHO)
    assert [row["case_seen"] for row in drawn["rows"]] == [True, True]
    assert await desk.findings() == ()


# --- the other parts ---


HASHES = {"cpr_key", "digest", "chain", "mac", "old", "new", "secret", "key", "state", "request"}


@pytest.mark.parametrize("kind", [PartKind.GATEWAY, PartKind.KSD, PartKind.JOBCENTER])
async def test_every_column_of_bytes_is_sealed_or_a_hash(embedded, kind):
    """A column that somebody adds is re-sealed, or it is none that holds a citizen's data."""
    role = f"columns_{secrets.token_hex(4)}"
    store = Store(await embedded.create_part(role, secrets.token_hex(8)), schema=role, size=1)
    await store.open()
    await migrate(store, rooms_of(kind), now=START)
    async with store.read() as tx:
        rows = await tx.all(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %(schema)s AND data_type = 'bytea' AND table_name <> 'migration'",
            schema=role,
        )
    used = await usage(store, sealed_of(kind))
    await store.close()
    found = {(row["table_name"], row["column_name"]) for row in rows if row["column_name"] not in HASHES}
    # A party's outbox keeps no receipts, and the queue's own column stays empty.
    unused = set() if kind is PartKind.GATEWAY else {("message", "receipt")}
    declared = {(column.table, column.column) for column in sealed_of(kind) if column.column.isidentifier()}
    assert declared == found - unused
    assert set(used) == set(sealed_of(kind))


def settings_of(stage, part, path):
    """Write the settings of a part on the stage as a file."""
    config = stage.config(part)
    path.write_text(
        f'part = "{config.part.value}"\nvault = "{config.vault}"\nsystem_id = "{config.system_id}"\n'
        f'gateway_url = "https://localhost"\nmunicipalities = ["{VIBORG}"]\ncontrol = "{config.control}"\n'
        f'[database]\ndsn = "{config.database.dsn}"\nschema = "{config.database.schema}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )
    return path


async def test_the_parties_keys_change_too_and_ksds_access_log_has_its_retention(embedded, pki, tmp_path):
    """Whatever lies sealed at KSD and at a jobcentre is sealed anew, and opens; look-ups go on."""
    case = {
        "cpr": CITIZENS[0],
        "municipality_cvr": VIBORG,
        "sags_id": str(uuid4()),
        "nemrefusions_id": str(uuid4()),
        "state": "LOEBENDE",
        "FoersteFravaersdag": "2025-11-10",
        "RevurderingsDato": "2026-04-30",
    }
    async with Stage(START, server=embedded, pki=pki) as stage:
        await stage.act("ksd", "seed", cases=[case])
        await stage.settle()
        await stage.act("ksd", "ask_extension", sags_id=case["sags_id"])
        await stage.act("ksd", "case", sags_id=case["sags_id"], reason="aktindsigt")  # a row of the access log
        await stage.advance(timedelta(days=2))
        before = await stage.act("ksd", "case", sags_id=case["sags_id"])

        async def told(part, *arguments):
            file = settings_of(stage, part, tmp_path / f"{part}.toml")
            line = [*arguments, *WHO, "--json", "--config", str(file)]
            result = await asyncio.to_thread(CliRunner().invoke, cli, line)
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        for part in ("ksd", "viborg"):
            assert (await told(part, "keys", "rotate", "--settle", "0"))["current"] == 2
            resealed = await told(part, "keys", "reseal")
            assert (resealed["unopened"], resealed["fixed"]) == (0, {})
            assert resealed["sealed"] > 3
            file = settings_of(stage, part, tmp_path / f"{part}.toml")
            listed = await asyncio.to_thread(CliRunner().invoke, cli, ["keys", "list", "--json", "--config", str(file)])
            old, new = json.loads(listed.stdout)["keys"]
            assert old["values"] == 0
            assert len(new["columns"]) >= 4

        after = await stage.act("ksd", "case", sags_id=case["sags_id"])
        assert after["picture"] == before["picture"]
        assert (await stage.act("viborg", "cases"))["cases"]
        await stage.act("ksd", "end_case", sags_id=case["sags_id"])
        await stage.advance(timedelta(days=1900))
        rows = (await told("ksd", "retention", "run", "--dry-run"))["classes"]
        assert [(one["class"], one["days"]) for one in rows] == [("access_log", 1826)]
        (gone,) = (await told("ksd", "retention", "run"))["classes"]
        assert gone["number"] == rows[0]["number"] == sum(proof["number"] for proof in gone["proofs"]) > 0
        assert all(len(proof["digest"]) == 64 for proof in gone["proofs"])
        assert [one["number"] for one in (await told("ksd", "retention", "run"))["classes"]] == [0]

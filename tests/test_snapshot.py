# SPDX-License-Identifier: MPL-2.0
"""Snapshots: one instant of a sandbox in one file, from which it goes on elsewhere; and what is no such file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from sygefravaer import audit
from sygefravaer.cli import cli
from sygefravaer.config import load
from sygefravaer.control import knock
from sygefravaer.errors import UsageError
from sygefravaer.sandbox import command, premises, seed, snapshot
from sygefravaer.sandbox.parts import PARTS, SUBSTITUTES, Layout
from sygefravaer.sandbox.supervisor import Sandbox
from sygefravaer.store import EmbeddedServer, Store

pytestmark = pytest.mark.asyncio(loop_scope="module")

AHEAD = 10 * 86_400.0
CITIZENS = 27  # each course in both municipalities, and one who is ill from two employers


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


async def cli_run(*arguments: str | Path) -> Result:
    return await asyncio.to_thread(run, *arguments)


async def eventually(true: Any, seconds: float = 60.0) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await true():
        assert loop.time() < end, "it did not happen in time"
        await asyncio.sleep(0.1)


@contextlib.contextmanager
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sf-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def sandbox(layout: Layout, **options: Any) -> AsyncIterator[dict[str, Any]]:
    async with Sandbox(layout, **({"port": 0, "admin_port": 0, "say": lambda _: None} | options)).running() as told:
        yield told


async def seen(layout: Layout) -> dict[str, Any]:
    """What people can see of it: every case of KSD with its versions, messages, inboxes, how far the clock is."""
    ksd = layout.socket("ksd")
    listed = (await knock(ksd, "cases", {"limit": 1000}))["cases"]
    return {
        "cases": [await knock(ksd, "case", {"sags_id": case["sags_id"], "reason": "test"}) for case in listed],
        "messages": (await knock(ksd, "messages", {"limit": 1000}))["messages"],
        "inboxes": [await knock(layout.socket(name), "inbox", {"limit": 1000}) for name in ("viborg", "aarhus")],
        "jobcentersager": [(await knock(layout.socket(name), "cases"))["cases"] for name in ("viborg", "aarhus")],
    }


async def now(layout: Layout) -> datetime:
    return datetime.fromisoformat((await knock(layout.socket("ksd"), "health"))["now"])


class Kept:
    """A sandbox that was used, a snapshot of it while it ran, and what was seen of it then."""

    def __init__(self, layout: Layout, file: Path, told: dict[str, Any], before: dict[str, Any], ahead: float) -> None:
        self.layout, self.file, self.told, self.before, self.ahead = layout, file, told, before, ahead


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def kept() -> AsyncIterator[Kept]:
    with place() as directory:
        layout, file = Layout(directory / "first"), directory / "state.zip"
        async with sandbox(layout, count=CITIZENS, number=7) as summary:
            await eventually(lambda: conversed(layout))
            await knock(layout.socket("supervisor"), "clock", {"advance": AHEAD})
            await eventually(lambda: moved(layout))
            await eventually(lambda: quiet(layout))
            before, ahead = await seen(layout), premises.read_state(layout)["ahead"]
            result = await cli_run("sandbox", "snapshot", file, "--dir", layout.directory, "--json")
            assert result.exit_code == 0, result.output
        before["summary"] = summary["cases"]
        yield Kept(layout, file, json.loads(result.stdout), before, ahead)
        await EmbeddedServer(layout.database).remove()


async def conversed(layout: Layout) -> bool:
    return bool((await knock(layout.socket("supervisor"), "status"))["conversation"] == "done")


async def moved(layout: Layout) -> bool:
    return not (await knock(layout.socket("supervisor"), "clock"))["moving"]


async def quiet(layout: Layout) -> bool:
    told = [await knock(layout.socket(name), "due") for name in ("ksd", "viborg", "aarhus")]
    return not any(one["in_flight"] for one in told)


async def test_it_goes_on_exactly_where_it_was(kept: Kept) -> None:
    """Taken while it ran, gone on with elsewhere: the same cases, inboxes, messages and time; the waiting is answered."""
    with place() as directory:
        layout = Layout(directory / "second")
        restored = await cli_run("sandbox", "restore", kept.file, "--dir", layout.directory)
        assert restored.exit_code == 0, restored.output
        assert f"sandbox up --dir {layout.directory}" in restored.stdout
        assert premises.read_state(layout)["ahead"] == kept.ahead > AHEAD - 120  # a move takes time of its own
        async with sandbox(layout) as summary:
            assert await seen(layout) == {key: kept.before[key] for key in kept.before if key != "summary"}
            assert summary["cases"] == kept.before["summary"]
            assert abs((await now(layout) - datetime.now(UTC)).total_seconds() - kept.ahead) < 60
            assert await conversed(layout)
            line = f"{seed.curl(layout, summary)} -sS"
            posted = await asyncio.to_thread(subprocess.run, ["sh", "-c", line], capture_output=True, check=True)
            assert b"HentSagsListeResponse" in posted.stdout
            await answer_one(layout)
            await audit_holds(layout)
            assert await eventually_new_message(layout)
        await command.down(layout, remove=True)


async def answer_one(layout: Layout) -> None:
    waiting = (await knock(layout.socket("viborg"), "inbox"))["extensions"][0]
    given = {"anmodning_id": waiting["anmodning_id"], "code": "ACCEPTERET"}
    await knock(layout.socket("viborg"), "answer_extension", given)

    async def granted() -> bool:
        case = await knock(layout.socket("ksd"), "case", {"sags_id": waiting["sags_id"]})
        return bool(case["state"] == "FORLAENGET")

    await eventually(granted)


async def eventually_new_message(layout: Layout) -> bool:
    """Numbers go on after the last: what is new conflicts with nothing that was there."""
    made = await knock(
        layout.socket("ksd"),
        "create_case",
        {"cpr": "0101505012", "municipality_cvr": "29189846", "FoersteFravaersdag": "2026-01-05"},
    )

    async def answered() -> bool:
        sent = (await knock(layout.socket("ksd"), "messages", {"sags_id": made["sags_id"]}))["messages"]
        return bool(sent) and sent[0]["status"] == "delivered"

    await eventually(answered)
    return True


async def audit_holds(layout: Layout) -> None:
    """The chain is whole and no anchor speaks of what is not there."""
    database = load(layout.config("gateway")).database
    assert database is not None
    store = Store(database.dsn, schema=database.schema, size=1)
    await store.open()
    try:
        anchors = audit.read_anchors(layout.anchors)
        report = await audit.verify(store, key=audit.read_key(layout.audit_key), anchors=anchors)
        assert anchors
        assert report.sealed
        assert not report.findings
    finally:
        await store.close()


async def test_the_file_is_the_owners_and_says_what_it_is(kept: Kept) -> None:
    """Mode 0600, no half file beside it, and the command says what is in it; a file that is there is left alone."""
    assert kept.file.stat().st_mode & 0o777 == 0o600
    assert not kept.file.with_name("state.zip.new").exists()
    assert kept.told["bytes"] == kept.file.stat().st_size
    assert kept.told["rows"] > 200
    before = kept.file.read_bytes()
    again = await cli_run("sandbox", "snapshot", kept.file, "--dir", kept.layout.directory)
    assert (again.exit_code, "SnapshotExists" in again.stderr) == (2, True)
    assert kept.file.read_bytes() == before


async def test_one_that_is_down_can_be_taken_too(kept: Kept, tmp_path: Path) -> None:
    """The database is started for it and stopped again; the text says what the file holds."""
    result = await cli_run("sandbox", "snapshot", tmp_path / "down.zip", "--dir", kept.layout.directory)

    assert result.exit_code == 0, result.output
    assert "its keys, which open nothing else, and synthetic citizens only" in result.stdout
    assert EmbeddedServer(kept.layout.database).pid() is None
    with zipfile.ZipFile(tmp_path / "down.zip") as one, zipfile.ZipFile(kept.file) as other:
        assert set(one.namelist()) - {"keys/audit.anchors"} == set(other.namelist()) - {"keys/audit.anchors"}
        assert one.read("rows/ksd/sag") == other.read("rows/ksd/sag")


async def test_what_cannot_be_taken(tmp_path: Path, kept: Kept) -> None:
    """No sandbox, one that is just starting, one without its database, a place that cannot be written: a clear no."""

    async def refusal(directory: Path, file: Path = tmp_path / "x.zip") -> str:
        with pytest.raises(UsageError) as caught:
            await snapshot.take(Layout(directory), file)
        assert not file.exists()
        return caught.value.code

    assert await refusal(tmp_path / "none") == "SandboxUnknown"
    assert await refusal(kept.layout.directory, tmp_path / "none" / "x.zip") == "SnapshotUnwritable"
    half = Layout(tmp_path / "half")
    half.make()
    shutil.copy(kept.layout.state, half.state)
    assert await refusal(half.directory) == "DirectoryBroken"
    half.database.mkdir()
    (half.database / "postgres.password").write_text("x")
    with premises.held(half):
        assert await refusal(half.directory) == "SandboxStarting"


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> Path:
    """Write the members of a snapshot anew, changed."""
    with zipfile.ZipFile(source) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return target


def told(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["snapshot.json"] = json.dumps(json.loads(members["snapshot.json"]) | changes).encode()

    return change


def state(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["state.json"] = json.dumps(json.loads(members["state.json"]) | changes).encode()

    return change


def member(name: str, content: bytes, *, listed: bool = True) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[name] = content
        if listed:
            files = json.loads(members["snapshot.json"])["files"]
            told(files=[*files, name])(members)

    return change


BROKEN = {
    "no manifest": lambda members: members.pop("snapshot.json"),
    "manifest no JSON": lambda members: members.update({"snapshot.json": b"["}),
    "manifest deep": lambda members: members.update({"snapshot.json": b"[" * 200_000}),
    "manifest a list": lambda members: members.update({"snapshot.json": b"[]"}),
    "a key missing": lambda members: (
        members.pop("keys/ksd.json"),
        told(files=[name for name in json.loads(members["snapshot.json"])["files"] if name != "keys/ksd.json"])(
            members
        ),
    ),
    "manifest large": lambda members: members.update({"snapshot.json": b" " * (16 * 1024 * 1024 + 1)}),
    "another product": told(product="x"),
    "tables missing": told(tables=[]),
    "time without zone": told(taken="2026-01-01T00:00:00"),
    "no state": lambda members: members.pop("state.json"),
    "state no JSON": lambda members: members.update({"state.json": b"{"}),
    "state without passwords": state(passwords={}),
    "state with odd ports": state(ports={"gateway": "x"}),
    "state with odd time": state(ahead=float("nan")),
    "upwards": member("../evil", b"x"),
    "upwards from keys": member("keys/../../evil", b"x"),
    "hidden": member("keys/.ssh", b"x"),
    "from the root": member("/tmp/sf-evil", b"x"),
    "elsewhere": member("gateway.toml", b"x"),
    "not on the list": member("keys/more", b"x", listed=False),
    "key too large": member("keys/more", b"x" * (16 * 1024 * 1024 + 1)),
    "rows that are none": lambda members: members.update({"rows/ksd/sag": b"x\ty\n"}),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_or_foreign_file_leaves_nothing(kept: Kept, tmp_path: Path, name: str) -> None:
    """Whatever is wrong is told by one code, and the directory is as it was; nothing lands outside it."""
    file = rewritten(kept.file, tmp_path / "bad.zip", BROKEN[name])
    target = tmp_path / "deep" / "target"

    result = await cli_run("sandbox", "restore", file, "--dir", target, "--json")

    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "SnapshotBroken"), result.output
    assert not target.exists()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["bad.zip"]
    assert not Path("/tmp/sf-evil").exists()


def changed_migration(members: dict[str, bytes]) -> None:
    migrations = json.loads(members["snapshot.json"])["migrations"]
    migrations["ksd"][0][2] = "00"
    told(migrations=migrations)(members)


VERSIONS = {
    "a migration that was another one": changed_migration,
    "format": told(format=99, version="9.9.9"),
    "state": state(format=99),
    "a migration we do not know": told(migrations={"ksd": [["ksd", 999, "00"]]}),
    "fewer migrations than the rows need": told(migrations={}),
}


@pytest.mark.parametrize("name", VERSIONS)
async def test_another_version_is_told_as_such(kept: Kept, tmp_path: Path, name: str) -> None:
    """A format, a state or tables that this version does not know: the code says version, not damage."""
    file = rewritten(kept.file, tmp_path / "other.zip", VERSIONS[name])

    result = await cli_run("sandbox", "restore", file, "--dir", tmp_path / "target", "--json")

    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "SnapshotVersion"), result.output
    assert not (tmp_path / "target").exists()


async def test_files_that_are_no_snapshots_at_all(kept: Kept, tmp_path: Path) -> None:
    """A file that is not there, text, half a snapshot, one with a changed byte, one packed by something else."""

    async def refusal(file: Path) -> str:
        with pytest.raises(UsageError) as caught:
            await snapshot.restore(Layout(tmp_path / "target"), file)
        assert not (tmp_path / "target").exists()
        return caught.value.code

    whole = kept.file.read_bytes()
    (tmp_path / "text").write_text("not a snapshot")
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(kept.file) as file:
        largest = max(file.infolist(), key=lambda one: one.compress_size)
    middle = largest.header_offset + 100 + largest.compress_size // 2
    (tmp_path / "bit").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])

    assert await refusal(tmp_path / "none") == "FileUnreadable"
    assert await refusal(tmp_path / "text") == "SnapshotBroken"
    assert await refusal(tmp_path / "half") == "SnapshotBroken"
    assert await refusal(tmp_path / "bit") == "SnapshotBroken"
    stored = rewritten(kept.file, tmp_path / "stored", lambda _: None, compression=zipfile.ZIP_STORED)
    assert await refusal(stored) == "SnapshotBroken"
    with zipfile.ZipFile(kept.file) as file, zipfile.ZipFile(tmp_path / "twice", "w", zipfile.ZIP_DEFLATED) as twice:
        for name in [*file.namelist(), "state.json"]:
            with pytest.warns(UserWarning, match="Duplicate") if name in twice.namelist() else contextlib.nullcontext():
                twice.writestr(name, file.read(name))
    assert await refusal(tmp_path / "twice") == "SnapshotBroken"


async def test_a_directory_that_is_used_is_left_alone(kept: Kept, tmp_path: Path) -> None:
    """Not empty, a sandbox, a running one, a file, a disk without room: refused, and all stays as it was."""

    async def refusal(directory: Path) -> str:
        before = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else None
        with pytest.raises(UsageError) as caught:
            await snapshot.restore(Layout(directory), kept.file)
        assert before == (sorted(path.name for path in directory.iterdir()) if directory.is_dir() else None)
        return caught.value.code

    (tmp_path / "file").write_text("x")
    other = tmp_path / "other"
    (other / "logs").mkdir(parents=True)
    assert await refusal(tmp_path / "file") == "DirectoryUnusable"
    assert await refusal(tmp_path) == "DirectoryForeign"
    assert await refusal(other) == "DirectoryNotEmpty"
    assert await refusal(kept.layout.directory) == "DirectoryNotEmpty"
    with premises.held(Layout(other)):
        assert await refusal(other) == "SandboxRuns"


async def test_there_must_be_room(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not fit on the disk is not begun."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    with pytest.raises(UsageError) as caught:
        await snapshot.restore(Layout(tmp_path / "target"), kept.file)

    assert caught.value.code == "SnapshotTooLarge"
    assert not (tmp_path / "target").exists()


async def test_an_empty_directory_will_do_and_time_does_not_run_back(kept: Kept, tmp_path: Path) -> None:
    """On a machine whose clock is behind, the sandbox is ahead by so much more; an empty directory is taken."""
    later = datetime.now(UTC) + timedelta(days=100)
    file = rewritten(kept.file, tmp_path / "later.zip", told(taken=later.isoformat()))
    with place() as directory:
        layout = Layout(directory)

        await snapshot.restore(layout, file)

        ahead = premises.read_state(layout)["ahead"]
        assert abs(ahead - timedelta(days=100).total_seconds()) < 60
        assert {path.stat().st_mode & 0o777 for path in layout.keys.iterdir()} == {0o600}
        assert EmbeddedServer(layout.database).pid() is None
        assert not premises.runs(layout)
        await EmbeddedServer(layout.database).remove()


async def test_a_restore_that_was_killed_is_no_sandbox(kept: Kept, tmp_path: Path) -> None:
    """Until it is whole no start takes it for one, and `down --remove` takes it away."""
    with place() as directory:
        layout = Layout(directory / "half")
        layout.make()
        premises.write_private(layout.state, json.dumps({"format": snapshot.UNFINISHED}))

        with pytest.raises(UsageError, match="another version"):
            async with sandbox(layout):
                pytest.fail("it must not start")
        await command.down(layout, remove=True)

        assert not layout.directory.exists()


async def test_every_part_with_a_schema_is_in_it(kept: Kept) -> None:
    """Every table of every part travels, whatever room made it."""
    with zipfile.ZipFile(kept.file) as file:
        contents = json.loads(file.read("snapshot.json"))
        schemas = {name.split("/")[1] for name in file.namelist() if name.startswith("rows/")}

    assert schemas == {spec.schema for spec in PARTS if spec.schema} == set(contents["migrations"])
    assert len(contents["sequences"]) > 10
    assert any(row["closed"] for row in rows(kept) if "closed" in row)
    assert {row["municipality_cvr"] for row in rows(kept) if row["cpr"][0] in "6789"} == set(SUBSTITUTES)


def rows(kept: Kept) -> list[dict[str, Any]]:
    with zipfile.ZipFile(kept.file) as file:
        found: list[dict[str, Any]] = json.loads(file.read("cases.json"))
    return found

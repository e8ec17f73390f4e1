# SPDX-License-Identifier: MPL-2.0
"""
A sandbox in one file, so that somebody else can go on exactly where it was: for a bug report.

The file is a ZIP: `snapshot.json` says what it holds, `state.json`, `cases.json`, `keys/` and `pki/` are files of DIR,
`rows/SCHEMA/TABLE` is what lies in the database. It is read as what a stranger has sent: names are compared with those
that can be, sizes with what there is room for, and of the database only rows are taken, into tables of our own making.

The order of taking matters where a part goes on meanwhile. The heads of the audit chain are read before the database,
which must hold every row that they speak of; how far the clock is ahead is read after it, since time never runs back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from sygefravaer import __version__
from sygefravaer.app import Rooms, rooms_of
from sygefravaer.errors import ActRefused, StoreError, StoreUnavailable, SygefravaerError, UsageError
from sygefravaer.sandbox.parts import PARTS, Layout, Spec
from sygefravaer.sandbox.premises import FORMAT as STATE_FORMAT
from sygefravaer.sandbox.premises import broken, held, look, read_state, runs, taken, write_private
from sygefravaer.sandbox.supervisor import ask
from sygefravaer.store import EmbeddedServer, Store, digest_of, migrate
from sygefravaer.store.copying import Counter, Table, reading, writing

FORMAT: Final = 1
PRODUCT: Final = "sygefravaer sandbox"
MANIFEST: Final = "snapshot.json"
STATE: Final = "state.json"
CASES: Final = "cases.json"
PIECE: Final = 1024 * 1024
SMALL: Final = 16 * 1024 * 1024  # bytes: more than any key, certificate or list of contents needs
MEMBERS: Final = 1000
UNFINISHED: Final = 0  # the format of state.json while a restore is under way: no start takes it for a sandbox

_FILE: Final = re.compile(r"(?:keys|pki|pki/foreign)/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9_-]{16,200}")
_STORES: Final[Mapping[str, Spec]] = {spec.schema: spec for spec in PARTS if spec.schema is not None}
_NEEDED: Final = frozenset({CASES, "pki/ca.pem", "keys/audit.key", *(f"keys/{schema}.json" for schema in _STORES)})


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a snapshot says of itself."""

    version: str
    taken: datetime
    files: tuple[str, ...]
    migrations: Mapping[str, tuple[tuple[str, int, str], ...]]
    tables: tuple[Table, ...]
    sequences: tuple[Counter, ...]


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """A snapshot that was read through: nothing of it is missing, damaged, or of a kind that cannot be."""

    file: Path
    members: zipfile.ZipFile
    contents: Contents
    state: dict[str, Any]
    steps: Mapping[str, Rooms]


# --- taking ---


async def take(layout: Layout, file: Path) -> dict[str, Any]:
    """
    Write what a sandbox knows to `file`, whole or not at all, readable by its owner only; say what is in it.

    One that runs goes on meanwhile. Raises `UsageError` when there is no sandbox, or `file` is there or cannot be made.
    """
    look(layout)
    if not layout.state.exists():
        raise UsageError(
            "SandboxUnknown", f"There is no sandbox in {layout.directory}.", try_this="Name its directory with --dir."
        )
    server = EmbeddedServer(layout.database)
    if not (layout.database / "postgres.password").exists():
        raise broken(layout, f"{layout.database} holds no database.")
    if runs(layout):
        try:
            await ask(layout, "health")
        except ActRefused as error:
            raise UsageError(
                "SandboxStarting", f"The sandbox in {layout.directory} is just starting or ending.", try_this="Wait."
            ) from error
        await server.start()  # it runs already
        return await asyncio.to_thread(_write, layout, server, file)
    with held(layout):
        was_up = server.pid() is not None  # a supervisor that was killed has left it
        await server.start()
        try:
            return await asyncio.to_thread(_write, layout, server, file)
        finally:
            if not was_up:
                await server.stop()


def _write(layout: Layout, server: EmbeddedServer, file: Path) -> dict[str, Any]:
    if file.exists():
        raise UsageError("SnapshotExists", f"{file} is there already.", try_this="Choose another file, or remove it.")
    new = file.with_name(f"{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as out:
            try:
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
                    contents, rows = _fill(made, layout, server)
                out.flush()
                os.fsync(out.fileno())
                size = out.tell()
                new.replace(file)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError("SnapshotUnwritable", f"{file} could not be written ({error.strerror}).") from error
    return {"file": str(file.absolute()), "taken": contents.taken.isoformat(), "rows": rows, "bytes": size}


def _fill(made: zipfile.ZipFile, layout: Layout, server: EmbeddedServer) -> tuple[Contents, int]:
    files = []
    for path in sorted([layout.cases, *layout.keys.rglob("*"), *layout.pki.rglob("*")]):
        name = path.relative_to(layout.directory).as_posix()
        if path.is_file() and (name == CASES or _FILE.fullmatch(name)):
            made.write(path, name)
            files.append(name)
    count = 0
    with reading(server.superuser_dsn(), list(_STORES)) as instant:
        tables = instant.tables()
        for table in tables:
            with made.open(f"rows/{table.schema}/{table.name}", "w", force_zip64=True) as out:
                for piece in instant.rows(table):
                    out.write(piece)
                    count += piece.count(b"\n")
        migrations = {schema: tuple(rows) for schema, rows in instant.migrations().items()}
        sequences = tuple(instant.sequences())
    state = read_state(layout)
    contents = Contents(
        version=__version__,
        taken=datetime.now(UTC) + timedelta(seconds=float(state.get("ahead", 0.0))),
        files=tuple(files),
        migrations=migrations,
        tables=tuple(tables),
        sequences=sequences,
    )
    made.writestr(STATE, json.dumps(state))
    told = {"product": PRODUCT, "format": FORMAT} | asdict(contents) | {"taken": contents.taken.isoformat()}
    made.writestr(MANIFEST, json.dumps(told))
    return contents, count


# --- restoring ---


async def restore(layout: Layout, file: Path) -> dict[str, Any]:
    """
    Make a sandbox of a snapshot, in a directory that is empty or new; whatever fails leaves nothing behind.

    Raises `UsageError` for a directory that is used, and for a file that is broken, foreign, of another format or
    version, or too large.
    """
    with _opened(file) as members:
        with _unbroken(file):
            read = await asyncio.to_thread(_judged, members, file)
        fresh = _settle(layout)
        needed, free = sum(one.file_size for one in members.infolist()), _free(layout.directory)
        if needed > free:
            raise UsageError("SnapshotTooLarge", f"{file} needs {needed} bytes for its contents; {free} are free.")
        layout.make()
        with held(layout):
            _settle_in(layout)
            try:
                ahead = await _go_on_here(layout, read)
            except BaseException as error:
                await _clean(layout, fresh=fresh)
                if isinstance(error, OSError):
                    text = f"{layout.directory} could not be written ({error.strerror})."
                    raise UsageError("DirectoryUnusable", text, try_this="Choose another with --dir.") from error
                raise
    return {"taken": read.contents.taken.isoformat(), "version": read.contents.version, "ahead": ahead}


async def _go_on_here(layout: Layout, read: _Snapshot) -> float:
    """Make the sandbox; say how far it is ahead of this machine's clock."""
    write_private(layout.state, json.dumps({"format": UNFINISHED}))
    await asyncio.to_thread(_extract, read, layout)
    server, taken_at = EmbeddedServer(layout.database), read.contents.taken
    await server.start()
    for schema, rooms in read.steps.items():
        store = Store(await server.create_part(schema, read.state["passwords"][schema]), schema=schema, size=1)
        await store.open()
        try:
            await migrate(store, rooms, now=taken_at)
        finally:
            await store.close()
    await asyncio.to_thread(_put, server.superuser_dsn(), read)
    await server.stop()
    # Where this machine's clock is behind, the sandbox's time would run back.
    ahead = max(float(read.state["ahead"]), (taken_at - datetime.now(UTC)).total_seconds())
    write_private(layout.state, json.dumps(read.state | {"ahead": ahead}, indent=1) + "\n")
    return ahead


def _settle(layout: Layout) -> bool:
    """Refuse a directory that is used; say whether there is none."""
    look(layout)
    if runs(layout):
        raise taken(layout)
    if not layout.directory.exists():
        return True
    if any(layout.directory.iterdir()):
        raise UsageError(
            "DirectoryNotEmpty",
            f"{layout.directory} is not empty.",
            try_this="Choose an empty or new directory with --dir; `sandbox down --remove` deletes a sandbox.",
        )
    return False


def _settle_in(layout: Layout) -> None:
    """Look again, now that nobody else can come: somebody may have come just before."""
    if layout.state.exists() or layout.database.exists():
        raise taken(layout)


def _free(directory: Path) -> int:
    there = next(one for one in (directory, *directory.parents) if one.exists())
    return shutil.disk_usage(there).free


async def _clean(layout: Layout, *, fresh: bool) -> None:
    with contextlib.suppress(SygefravaerError):
        await EmbeddedServer(layout.database).remove()
    for path in list(layout.directory.iterdir()) if layout.directory.exists() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if layout.run.parent != layout.directory:
        shutil.rmtree(layout.run, ignore_errors=True)
    if fresh and layout.directory.exists():
        layout.directory.rmdir()


def _wrong(file: Path, what: str) -> UsageError:
    return UsageError("SnapshotBroken", f"{file} is not a whole snapshot of a sandbox: {what}.")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with _unbroken(file):
            opened = zipfile.ZipFile(file)
    except OSError as error:
        raise UsageError("FileUnreadable", f"{file} could not be read ({error.strerror}).") from error
    with opened:
        yield opened


@contextlib.contextmanager
def _unbroken(file: Path) -> Iterator[None]:
    """Say in our words what `zipfile` makes of bytes that are no archive."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError) as error:
        raise _wrong(file, "it is damaged") from error


def _judged(members: zipfile.ZipFile, file: Path) -> _Snapshot:
    """Read all of it once before anything is made: each member once, none that cannot be, and none damaged."""
    listed = members.infolist()
    if len({one.filename for one in listed}) != len(listed) or len(listed) > MEMBERS:
        raise _wrong(file, "its list of contents is not one of ours")
    if any(one.flag_bits & 1 or one.compress_type != zipfile.ZIP_DEFLATED for one in listed):
        raise _wrong(file, "it was packed by something else")
    contents, state = _contents(members, file), _state(members, file)
    if any(members.getinfo(name).file_size > SMALL for name in contents.files if name != CASES):
        raise _wrong(file, "one of its files is larger than it can be")
    if members.testzip() is not None:
        raise _wrong(file, "it is damaged")
    steps = {schema: _migrations(schema, contents, file) for schema in _STORES}
    return _Snapshot(file=file, members=members, contents=contents, state=state, steps=steps)


def _small(opened: zipfile.ZipFile, name: str, file: Path) -> bytes:
    try:
        member = opened.getinfo(name)
    except KeyError as error:
        raise _wrong(file, f"{name} is missing") from error
    if member.file_size > SMALL:
        raise _wrong(file, f"{name} is larger than it can be")
    return opened.read(member)


def _contents(opened: zipfile.ZipFile, file: Path) -> Contents:
    try:
        told = json.loads(_small(opened, MANIFEST, file))
        if told["product"] != PRODUCT:
            raise _wrong(file, "it holds something else")
        if told["format"] != FORMAT:
            raise _other(file, told.get("version"))
        contents = Contents(
            version=str(told["version"]),
            taken=datetime.fromisoformat(told["taken"]),
            files=tuple(told["files"]),
            migrations={
                schema: tuple((str(room), int(number), str(digest)) for room, number, digest in rows)
                for schema, rows in told["migrations"].items()
            },
            tables=tuple(
                Table(schema=str(one["schema"]), name=str(one["name"]), columns=tuple(map(str, one["columns"])))
                for one in told["tables"]
            ),
            sequences=tuple(
                Counter(
                    schema=str(one["schema"]),
                    name=str(one["name"]),
                    value=int(one["value"]),
                    called=bool(one["called"]),
                )
                for one in told["sequences"]
            ),
        )
        if contents.taken.tzinfo is None or len(set(contents.files)) != len(contents.files):
            raise _wrong(file, f"{MANIFEST} is not one")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _wrong(file, f"{MANIFEST} is not one") from error
    named = {*contents.files, MANIFEST, STATE, *(f"rows/{one.schema}/{one.name}" for one in contents.tables)}
    possible = all(isinstance(name, str) and (name == CASES or _FILE.fullmatch(name)) for name in contents.files)
    if not possible or not set(contents.files) >= _NEEDED or named != set(opened.namelist()):
        raise _wrong(file, "its list of contents is not one of ours")
    return contents


def _other(file: Path, version: object) -> UsageError:
    shown = version if isinstance(version, str) and re.fullmatch(r"[0-9a-z.+]{1,30}", version) else "another version"
    return UsageError(
        "SnapshotVersion",
        f"{file} was written by {shown}; this is {__version__}, which cannot go on with it.",
        try_this="Use the version that wrote it, or a later one.",
    )


def _state(opened: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    try:
        state = json.loads(_small(opened, STATE, file))
        if state["format"] != STATE_FORMAT:
            raise _other(file, state.get("version"))
        ports, passwords, ahead = state["ports"], state["passwords"], state["ahead"]
        sound = (
            all(isinstance(port, int) and 0 < port < 2**16 for port in ports.values())
            and set(_STORES) <= passwords.keys()
            and all(_PASSWORD.fullmatch(password) for password in passwords.values())
            and math.isfinite(ahead)
            and ahead >= 0
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(file, f"{STATE} is not one") from error
    if not sound:
        raise _wrong(file, f"{STATE} is not one")
    return dict(state)


def _migrations(schema: str, contents: Contents, file: Path) -> Rooms:
    """Give our migrations up to those that had made the snapshot's tables; the next start runs the others."""
    rows = contents.migrations.get(schema, ())
    steps = rooms_of(_STORES[schema].kind)
    known = {
        (room, number): digest_of(text).hex() for room, texts in steps for number, text in enumerate(texts, start=1)
    }
    reached: dict[str, int] = {}
    for room, number, digest in rows:
        if known.get((room, number)) != digest:
            raise _other(file, contents.version)
        reached[room] = max(number, reached.get(room, 0))
    return tuple((room, texts[: reached.get(room, 0)]) for room, texts in steps)


def _extract(read: _Snapshot, layout: Layout) -> None:
    for name in read.contents.files:
        path = layout.directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            read.members.open(name) as member,
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
        ):
            shutil.copyfileobj(member, out, PIECE)


def _put(dsn: str, read: _Snapshot) -> None:
    contents = read.contents
    try:
        with writing(dsn, list(_STORES)) as schemas:
            if not schemas.fits(contents.tables, contents.sequences):
                raise _other(read.file, contents.version)
            schemas.empty()
            for table in contents.tables:
                with read.members.open(f"rows/{table.schema}/{table.name}") as member:
                    schemas.put(table, iter(partial(member.read, PIECE), b""))
            for sequence in contents.sequences:
                schemas.stand(sequence)
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise _wrong(read.file, "the rows of its database are damaged") from error

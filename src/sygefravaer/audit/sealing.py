# SPDX-License-Identifier: MPL-2.0
"""
Sealing: committed rows are numbered and chained, and the head of the chain is written down outside the database.

Two files hold heads: the anchor file gets a line each minute, for ever; the head file beside it holds the newest head,
written anew at every sealing, so that not even the last second can be cut off unseen. A head that the database does
not know any more is never written over: it becomes a line of the anchor file first.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sygefravaer.audit.chain import FIRST, SEALED, TYPES, link
from sygefravaer.audit.recording import committed
from sygefravaer.errors import StoreError, UsageError
from sygefravaer.store import Store

log = logging.getLogger(__name__)

SEAL_EVERY: Final = 0.5  # seconds of machine time
ANCHOR_EVERY: Final = 60.0
HELD_UP: Final = 20  # rounds in a row that found the lock held: other sealers are never that slow
BATCH: Final = 100  # rows at a time: what comes meanwhile waits for a few milliseconds, and not for all of them
_LINE: Final = 4096  # bytes; far more than a line of the anchor file has

LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('audit sealer ' || current_schema, 0)) AS held"
_BY_INDEX: Final = "SELECT set_config('enable_seqscan', 'off', true)"
HEAD: Final = """
SELECT seq, chain FROM (
    (SELECT seq, chain FROM audit WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1)
    UNION ALL (SELECT seq, chain FROM audit_cut ORDER BY seq DESC LIMIT 1)
) AS head ORDER BY seq DESC LIMIT 1"""
_AS_TEXT: Final = {"uuid": "{0}::text AS {0}", "bytea": "encode({0}, 'hex') AS {0}"}  # as `link` would make of it
_UNSEALED: Final = f"""
SELECT {", ".join(_AS_TEXT.get(TYPES.get(name, ""), "{0}").format(name) for name in SEALED)}
FROM audit WHERE seq IS NULL ORDER BY audit_id LIMIT %(limit)s"""
_SEAL: Final = """
UPDATE audit SET seq = sealed.seq, chain = sealed.chain, sealed_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(seqs)s::bigint[], %(chains)s::bytea[]) AS sealed (audit_id, seq, chain)
WHERE audit.audit_id = sealed.audit_id"""
_GONE: Final = """
SELECT number FROM unnest(%(numbers)s::bigint[]) AS number
WHERE (SELECT audit_id FROM audit WHERE audit_id = number) IS NULL"""
_KNOWN: Final = """
SELECT EXISTS (SELECT FROM audit WHERE seq = %(seq)s AND chain = %(chain)s)
    OR EXISTS (SELECT FROM audit_cut WHERE seq > %(seq)s OR (seq = %(seq)s AND chain = %(chain)s)) AS known"""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The head of the chain as it stood at one instant."""

    seq: int
    chain: bytes

    def line(self) -> str:
        """Write it as a line of an anchor file."""
        return json.dumps({"at": datetime.now(UTC).isoformat(), "seq": self.seq, "chain": self.chain.hex()})


class Sealer:
    """Numbers and chains what has been committed. Several may run: one works at a time."""

    def __init__(self, store: Store, *, key: bytes, anchor: Path) -> None:
        self._store = store
        self._key = key
        self._anchor = anchor
        self._stop = asyncio.Event()
        self._held_up = 0

    async def seal(self) -> int:
        """Seal what is committed and unsealed; give how many rows, 0 also when another sealer is at it."""
        total, head = 0, None
        await self._look_for(committed())
        while sealed := await self._seal_batch():
            number, head = sealed
            total += number
            if number < BATCH:  # that was all
                break
        if head is not None:
            await self._keep(head)
        return total

    async def _seal_batch(self) -> tuple[int, Anchor] | None:
        async with self._store.tx() as tx:
            lock = await tx.one(LOCK)
            if not (lock and lock["held"]):
                self._held_up += 1
                return None
            self._held_up = 0
            rows = await tx.all(_UNSEALED, limit=BATCH)
            if not rows:
                return None
            head = await tx.one(HEAD)
            seq, chain = (int(head["seq"]), bytes(head["chain"])) if head else (0, FIRST)
            seqs, chains = [], []
            for row in rows:
                seq += 1
                chain = link(self._key, chain, seq, row)
                seqs.append(seq)
                chains.append(chain)
            ids = [row["audit_id"] for row in rows]
            # A plan from the first day, when all rows were few, may be kept for long: it must not read all of them.
            await tx.run(_BY_INDEX)
            await tx.run(_SEAL, ids=ids, seqs=seqs, chains=chains, now=datetime.now(UTC))
        return len(rows), Anchor(seq=seq, chain=chain)

    async def _look_for(self, numbers: list[int]) -> None:
        """Write down, outside the database, which rows of this process are gone before they could be sealed."""
        if not numbers:
            return
        async with self._store.read() as tx:
            gone = [int(row["number"]) for row in await tx.all(_GONE, numbers=numbers)]
        if gone:
            log.error("audit.rows_lost", extra={"rows": len(gone)})
            line = json.dumps({"at": datetime.now(UTC).isoformat(), "lost": gone})
            await asyncio.to_thread(append, self._anchor, line)

    async def _keep(self, head: Anchor) -> None:
        """Write the newest head down; the one before stays as an anchor if the database does not know it any more."""
        path = head_file(self._anchor)
        before = await asyncio.to_thread(_read_or_set_aside, path)
        if before is not None:
            async with self._store.read() as tx:
                row = await tx.one(_KNOWN, seq=before.seq, chain=before.chain)
            if not (row and row["known"]):
                log.error("audit.head_lost", extra={"seq": before.seq})
                await asyncio.to_thread(append, self._anchor, before.line())
            elif before.seq > head.seq:  # another node that writes to the same file was faster
                return
        await asyncio.to_thread(_replace, path, head.line())

    async def anchor(self) -> None:
        """Write the head of the chain to the anchor file, durably; nothing is written while nothing is sealed."""
        async with self._store.read() as tx:
            head = await tx.one(HEAD)
        if head is not None:
            anchor = Anchor(seq=int(head["seq"]), chain=bytes(head["chain"]))
            await asyncio.to_thread(append, self._anchor, anchor.line())

    async def run(self) -> None:
        """Seal until `stop`, and anchor every minute and at the end; a database that is away is waited for."""
        loop = asyncio.get_running_loop()
        anchor_at = loop.time()
        while True:
            stopping = self._stop.is_set()
            try:
                await self.seal()
                if self._held_up and self._held_up % HELD_UP == 0:
                    log.error("audit.sealing_held_up", extra={"rounds": self._held_up})
                if stopping or loop.time() >= anchor_at:
                    await self.anchor()
                    anchor_at = loop.time() + ANCHOR_EVERY
            except StoreError as error:
                log.warning("audit.seal_failed", extra={"error": error.code})
            if stopping:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SEAL_EVERY)

    def stop(self) -> None:
        """Let `run` end after one more round."""
        self._stop.set()


# --- files ---


def head_file(anchor: Path) -> Path:
    """Give the file of the newest head that belongs to an anchor file."""
    return anchor.with_name(f"{anchor.name}.head")


def append(path: Path, line: str) -> None:
    """Write a line whole or, when the disk is full, raise; half a line that was left before goes first."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, _LINE, max(0, size - _LINE))
        if half := len(tail) - (tail.rfind(b"\n") + 1):
            os.ftruncate(handle, size - half)
        _write(handle, line)
    finally:
        os.close(handle)


def _replace(path: Path, line: str) -> None:
    """Put a line in the place of the one that is there, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600)
    try:
        _write(handle, line)
    finally:
        os.close(handle)
    new.replace(path)


def _write(handle: int, line: str) -> None:
    whole = f"{line}\n".encode("ascii")
    if os.write(handle, whole) < len(whole):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(handle)


@dataclass(frozen=True, kw_only=True)
class Witness:
    """What the files outside the database know: heads of the chain, and rows that were gone before they were sealed."""

    anchors: tuple[Anchor, ...] = ()
    lost: tuple[int, ...] = ()

    def __or__(self, other: Witness) -> Witness:
        """Put together what two nodes know."""
        return Witness(anchors=self.anchors + other.anchors, lost=self.lost + other.lost)


def read_witness(path: Path) -> Witness:
    """
    Read an anchor file and the head file beside it, if there is one; raises `UsageError`.

    A line of the anchor file that was cut off by a crash at its end is left out, any other broken line is an error.
    """
    head = read_head(head_file(path))
    try:
        lines = path.read_text(encoding="ascii").split("\n") if path.exists() or head is None else []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("AnchorUnreadable", f"{path} cannot be read as an anchor file.") from error
    anchors, lost = [] if head is None else [head], []
    for number, line in enumerate(lines[:-1], start=1):
        if (rows := _lost(line)) is None:
            anchors.append(_anchor(path, number, line))
        else:
            lost += rows
    return Witness(anchors=tuple(anchors), lost=tuple(lost))


def read_anchors(path: Path) -> list[Anchor]:
    """Read the heads of the chain that are known outside the database; raises `UsageError`."""
    return list(read_witness(path).anchors)


def read_head(path: Path) -> Anchor | None:
    """Read a head file; None when nothing was sealed yet."""
    try:
        line = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("AnchorUnreadable", f"{path} cannot be read as a head file.") from error
    return _anchor(path, 1, line)


def _read_or_set_aside(path: Path) -> Anchor | None:
    """Read a head file; one that is broken is kept under another name, for whoever looks into it."""
    try:
        return read_head(path)
    except UsageError as error:
        log.error("audit.head_unreadable", extra={"code": error.code})  # noqa: TRY400  the code says it all
        path.replace(path.with_name(f"{path.name}.broken"))
        return None


def _lost(line: str) -> list[int] | None:
    """Read a line about lost rows; None for any other."""
    try:
        return [int(number) for number in json.loads(line)["lost"]]
    except (ValueError, KeyError, TypeError):
        return None


def _anchor(path: Path, number: int, line: str) -> Anchor:
    try:
        said = json.loads(line)
        return Anchor(seq=int(said["seq"]), chain=bytes.fromhex(said["chain"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("AnchorMalformed", f"{path}, line {number}, is not an anchor.") from error

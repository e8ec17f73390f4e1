# SPDX-License-Identifier: MPL-2.0
"""Reading the whole record and saying what is wrong with it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sygefravaer.audit.chain import FIRST, SEALED, cut_signature, link, signature
from sygefravaer.audit.sealing import Anchor
from sygefravaer.store import Row, Store, Tx

PAGE: Final = 2_000

_PAGE: Final = f"""
SELECT {", ".join(SEALED)}, mac, seq, chain FROM audit WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s"""
_TAIL: Final = f"""
SELECT {", ".join(SEALED)}, mac FROM audit WHERE seq IS NULL AND audit_id > %(after)s
ORDER BY audit_id LIMIT %(limit)s"""
_CUT: Final = """
SELECT seq, chain, at, number, first_at, last_at, last_id, digest, mac FROM audit_cut ORDER BY seq DESC LIMIT 1"""
_LAST: Final = "SELECT max(seq) AS seq FROM audit"
_BEFORE: Final = "SELECT min(seq) AS seq FROM audit WHERE seq <= %(seq)s"
_ORPHANS: Final = """
SELECT audit_id FROM audit WHERE names > %(gone)s
AND NOT EXISTS (SELECT FROM audit AS named WHERE named.audit_id = audit.names) ORDER BY audit_id LIMIT %(limit)s"""

Watch = Callable[[int, int], None]
"""Is told, now and then, how many rows have been read of how many there were when the reading began."""

Evidence = Callable[[Tx, datetime | None], Awaitable[Iterable[int]]]
"""Finds the numbers of messages since an instant whose row is not in the record, though it must be."""


class Kind(StrEnum):
    """What can be wrong with the record."""

    CHANGED = "changed"  # the row is not what was sealed in this place: edited, inserted or moved
    MISSING = "missing"  # numbers are left out: rows were deleted
    CUT = "cut"  # an anchor or the head file knows a later row: the end was deleted
    REWRITTEN = "rewritten"  # an anchor or the head file knows another row in this place
    FOREIGN = "foreign"  # no process that has the key wrote the row like this: put in, or edited before it was sealed
    ORPHANED = "orphaned"  # the row names another that is gone
    LOST = "lost"  # a process had committed the row, and it was gone before it was sealed
    UNRECORDED = "unrecorded"  # a message whose row is gone
    UNPROVEN = "unproven"  # a beginning of the chain that the key has not signed: deleted, and not by retention


class Of(StrEnum):
    """What the number of a finding counts."""

    CHAIN = "chain"  # places in the chain
    ROW = "row"  # rows, by `audit_id`
    MESSAGE = "message"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong, and at which number."""

    kind: Kind
    seq: int
    of: Of = Of.CHAIN

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"kind": self.kind.value, "of": self.of.value, "number": self.seq}


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    What `verify` found; `begins` is the first place there can be, `head` the last one that is sealed.

    `unsealed` rows are committed and not chained yet: that they were written by us is checked, that none of them is
    missing cannot be.
    """

    sealed: int
    unsealed: int
    oldest_unsealed: datetime | None
    begins: int = 1
    head: int = 0
    findings: tuple[Finding, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        oldest = self.oldest_unsealed
        return {
            "sealed": self.sealed,
            "begins": self.begins,
            "head": self.head,
            "unsealed_tail": {"rows": self.unsealed, "oldest": oldest and oldest.isoformat()},
            "findings": [finding.plain() for finding in self.findings],
        }


async def verify(
    store: Store,
    *,
    key: bytes,
    anchors: Iterable[Anchor] = (),
    lost: Iterable[int] = (),
    evidence: Evidence | None = None,
    watch: Watch = lambda _read, _of: None,
) -> Report:
    """
    Read the whole record, compare it with the anchors, and look for what else says that rows are gone.

    `anchors` and `lost` are those of a `Witness`, read before: the record only grows.
    """
    reading = _Reading(key, anchors)
    async with store.read() as tx:
        cut = await tx.one(_CUT)
    if cut is not None:
        await reading.begin(store, cut)
    begins = reading.after + 1
    async with store.read() as tx:
        row = await tx.one(_LAST)
    of = max(0, (row["seq"] if row and row["seq"] else 0) - reading.after)
    watch(0, of)
    while rows := await _rows(store, _PAGE, reading.after):
        for row in rows:
            reading.take(row)
        watch(reading.sealed, max(of, reading.sealed))
    after, unsealed, oldest = 0, 0, None
    while rows := await _rows(store, _TAIL, after):
        for row in rows:
            reading.check_signature(row, Finding(kind=Kind.FOREIGN, seq=row["audit_id"], of=Of.ROW))
            oldest = row["at"] if oldest is None else min(oldest, row["at"])
        after, unsealed = rows[-1]["audit_id"], unsealed + len(rows)
    reading.compare_rest()
    reading.findings += [Finding(kind=Kind.LOST, seq=number, of=Of.ROW) for number in sorted(set(lost))]
    async with store.read() as tx:
        gone = 0 if cut is None else int(cut["last_id"])
        for row in await tx.all(_ORPHANS, gone=gone, limit=PAGE):
            reading.findings.append(Finding(kind=Kind.ORPHANED, seq=row["audit_id"], of=Of.ROW))
        if evidence is not None:
            for number in await evidence(tx, None if cut is None else cut["last_at"]):
                reading.findings.append(Finding(kind=Kind.UNRECORDED, seq=number, of=Of.MESSAGE))
    return Report(
        sealed=reading.sealed,
        unsealed=unsealed,
        oldest_unsealed=oldest,
        begins=begins,
        head=reading.after,
        findings=tuple(reading.findings),
    )


async def _rows(store: Store, statement: str, after: int) -> list[Row]:
    async with store.read() as tx:
        return await tx.all(statement, after=after, limit=PAGE)


class _Reading:
    """Where a reading of the chain stands, and what it has found."""

    def __init__(self, key: bytes, anchors: Iterable[Anchor]) -> None:
        self._key = key
        self._wanted: dict[int, set[bytes]] = {}
        for anchor in anchors:
            self._wanted.setdefault(anchor.seq, set()).add(anchor.chain)
        self._signed = False
        self.after, self.chain, self.sealed = 0, FIRST, 0
        self.findings: list[Finding] = []

    async def begin(self, store: Store, cut: Mapping[str, Any]) -> None:
        """Begin after a cut of retention, if it is one."""
        if not hmac.compare_digest(cut_signature(self._key, cut), bytes(cut["mac"])):
            self.findings.append(Finding(kind=Kind.UNPROVEN, seq=cut["seq"]))
            return
        self._wanted = {seq: chains for seq, chains in self._wanted.items() if seq >= cut["seq"]}
        self.after, self.chain = cut["seq"], bytes(cut["chain"])
        self._compare(self.after, self.chain)
        async with store.read() as tx:
            before = await tx.one(_BEFORE, seq=self.after)
        if before and before["seq"] is not None:  # put back, or put in, where rows are gone
            self.findings.append(Finding(kind=Kind.CHANGED, seq=before["seq"]))

    def take(self, row: Row) -> None:
        """Judge the next row of the chain."""
        seq, stored = int(row["seq"]), bytes(row["chain"])
        if seq != self.after + 1:
            self.findings.append(Finding(kind=Kind.MISSING, seq=self.after + 1))
            self.check_signature(row, Finding(kind=Kind.FOREIGN, seq=seq))
        elif not hmac.compare_digest(link(self._key, self.chain, seq, row), stored):
            self.findings.append(Finding(kind=Kind.CHANGED, seq=seq))
            self._signed = self._signed or row["mac"] is not None
        else:
            self.check_signature(row, Finding(kind=Kind.FOREIGN, seq=seq))
        self._compare(seq, stored)
        self.after, self.chain, self.sealed = seq, stored, self.sealed + 1

    def check_signature(self, row: Row, finding: Finding) -> None:
        """Judge whether a process of ours wrote the row; those from before rows were signed stand first, unsigned."""
        if row["mac"] is None:
            if self._signed:
                self.findings.append(finding)
            return
        self._signed = True
        if not hmac.compare_digest(signature(self._key, row), bytes(row["mac"])):
            self.findings.append(finding)

    def _compare(self, seq: int, chain: bytes) -> None:
        if self._wanted.pop(seq, {chain}) != {chain}:
            self.findings.append(Finding(kind=Kind.REWRITTEN, seq=seq))

    def compare_rest(self) -> None:
        """Judge the anchors of places that were not read: beyond the end, or left out and told already."""
        for seq in sorted(self._wanted):
            if seq > self.after:
                self.findings.append(Finding(kind=Kind.CUT, seq=seq))

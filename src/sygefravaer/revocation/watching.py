# SPDX-License-Identifier: MPL-2.0
"""
The watch: fetches what is due, keeps it on disk, and says of a certificate what is known.

`standing` only reads memory. `run` fetches beside it: each configured list, and for each certificate that has called
and names a configured responder, that responder's answer. Times are the machine's, as everywhere in TLS.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from sygefravaer.errors import UsageError
from sygefravaer.identity import Identity
from sygefravaer.revocation import answers
from sygefravaer.revocation.answers import OcspAnswer
from sygefravaer.revocation.evidence import EvidenceRefused
from sygefravaer.revocation.fetching import LONGEST_ANSWER, LONGEST_LIST, fetch
from sygefravaer.revocation.lists import RevocationList

LOG: Final = logging.getLogger(__name__)

SEEN: Final = 4096  # certificates that are asked about: far more than there are systems
AT_ONCE: Final = 4
AGAIN: Final = 60.0  # seconds after which a source that failed is asked again, or sooner
STATE_FILE: Final = "state.json"


class Standing(Enum):
    """What is known of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(kw_only=True)
class _Source:
    """An address, or a certificate at its responder: what came last, and when it is due again."""

    url: str
    due: float = 0.0
    fetched_at: datetime | None = None
    failed_at: datetime | None = None
    why: str | None = None
    listed: RevocationList | None = None
    answer: OcspAnswer | None = None
    certificate: x509.Certificate | None = field(default=None, repr=False)

    @property
    def until(self) -> datetime | None:
        known = self.listed or self.answer
        return None if known is None else known.until

    def current(self, now: datetime) -> bool:
        until = self.until
        return until is not None and now < until


class Revocation:
    """Knows which certificates are revoked, as far as anybody has said so."""

    def __init__(
        self,
        *,
        authorities: Sequence[x509.Certificate],
        cache: Path,
        lists: Sequence[str] = (),
        responders: Sequence[str] = (),
        every: float = 300.0,
        patience: float = 30.0,
        admit_unknown: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        Ask at the addresses of `lists`, and of `responders` where a certificate names one of them, and at no other.

        `every` (seconds) is how often each is asked, `patience` how long one may take.
        """
        self.admit_unknown = admit_unknown
        self._authorities = authorities
        self._cache = cache
        self._responders = frozenset(responders)
        self._every = every
        self._patience = patience
        self._now = now
        self._lists = {url: _Source(url=url) for url in lists}
        self._asked: dict[str, _Source | None] = {}  # by thumbprint; None: it names nobody whom we may ask
        self._new: dict[str, bytes] = {}  # certificates that have called for the first time
        self._wake = asyncio.Event()
        self._turn = asyncio.Semaphore(AT_ONCE)

    # --- what is known: memory only ---

    def standing(self, identity: Identity) -> Standing:
        """Say what is known of a certificate now."""
        now = self._now()
        lists = self._lists.values()
        own = [one for one in lists if one.listed is not None and one.listed.issuer == identity.issuer]
        source = self._asked.get(identity.thumbprint)
        answered = None if source is None else source.answer
        if any(one.listed is not None and identity.serial in one.listed.revoked for one in own):
            return Standing.REVOKED
        if answered is not None and answered.revoked:
            return Standing.REVOKED
        if self._responders and identity.thumbprint not in self._asked:
            self._note(identity)
        whole = all(one.listed is not None for one in lists)  # one that never came may be another list of this issuer
        if own and whole and all(one.current(now) for one in own):
            return Standing.GOOD
        return Standing.GOOD if source is not None and source.current(now) else Standing.UNKNOWN

    def _note(self, identity: Identity) -> None:
        if identity.der and identity.thumbprint not in self._new and len(self._asked) + len(self._new) < SEEN:
            self._new[identity.thumbprint] = identity.der
            self._wake.set()

    def state(self) -> dict[str, Any]:
        """Say how fresh everything is that is known."""
        now = self._now()
        asked = {thumbprint: one for thumbprint, one in self._asked.items() if one is not None}
        return {
            "at": now.isoformat(),
            "unknown_is": "admitted" if self.admit_unknown else "refused",
            "lists": [_plain(one, now) for one in self._lists.values()],
            "certificates": [{"thumbprint": name} | _plain(one, now) for name, one in sorted(asked.items())],
        }

    # --- what was kept ---

    def load(self) -> None:
        """Read what an earlier process has kept; what cannot be read, or proves nothing, is as if it were not there."""
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = sorted(self._cache.glob("*.cer"))[:SEEN]
        except OSError as error:
            raise UsageError(
                "RevocationCache",
                f"The directory {self._cache} cannot be made or read ({error.strerror}).",
                try_this="Set revocation.cache to a directory that this part may write.",
            ) from error
        for url, source in self._lists.items():
            content, at = _kept(self._list_file(url))
            if content is not None:
                self._take(source, "kept", partial(self._read_list, content, at))
                source.fetched_at = at if source.listed is not None else None
        for path in kept if self._responders else ():
            self._load_answer(path)

    def _load_answer(self, path: Path) -> None:
        der, _ = _kept(path)
        if der is None or hashlib.sha256(der).hexdigest() != path.stem:
            return
        source = self._source_of(der)
        self._asked[path.stem] = source
        content, at = _kept(path.with_suffix(".ocsp"))
        if source is None or source.certificate is None or content is None:
            return
        certificate = source.certificate

        def read() -> OcspAnswer:
            question = answers.ask(certificate, self._authorities)
            return answers.read(content, question, now=at, fresh=False)

        self._take(source, "kept", read)
        source.fetched_at = at if source.answer is not None else None

    # --- the watch ---

    async def run(self) -> None:
        """Fetch whatever is due, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            await self.refresh()
            due = min((one.due for one in self._sources().values()), default=loop.time() + self._every)
            try:
                async with asyncio.timeout(max(0.05, due - loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def refresh(self) -> None:
        """Fetch what is due now, and write down how fresh everything is."""
        new, self._new = self._new, {}
        for thumbprint, der in new.items():
            self._asked[thumbprint] = self._source_of(der)
            if self._asked[thumbprint] is not None:
                await asyncio.to_thread(_write, self._cache / f"{thumbprint}.cer", der)
        time = asyncio.get_running_loop().time()
        due = {name: one for name, one in self._sources().items() if one.due <= time}
        await asyncio.gather(*(self._fetch(name, one) for name, one in due.items()))
        if due:
            text = json.dumps(self.state(), indent=1)
            await asyncio.to_thread(_write, self._cache / STATE_FILE, text.encode())

    def _sources(self) -> Mapping[str, _Source]:
        return self._lists | {name: one for name, one in self._asked.items() if one is not None}

    async def _fetch(self, name: str, source: _Source) -> None:
        async with self._turn:
            try:
                content = await self._fetched(source)
            except EvidenceRefused as refused:
                self._fail(source, "fetch", refused.why)
            except Exception:  # what strangers send may break a parser in ways that nobody has named
                LOG.exception("revocation.unreadable", extra={"url": source.url})
                self._fail(source, "fetch", "malformed")
            else:
                path = self._list_file(name) if source.certificate is None else self._cache / f"{name}.ocsp"
                await asyncio.to_thread(_write, path, content)
        wait = self._every if source.failed_at is None else min(self._every, AGAIN)
        source.due = asyncio.get_running_loop().time() + wait

    async def _fetched(self, source: _Source) -> bytes:
        if source.certificate is None:
            content = await fetch(source.url, limit=LONGEST_LIST, seconds=self._patience)
            before = source.listed
            listed = await asyncio.to_thread(self._read_list, content, self._now(), before)
            self._got(source, listed=listed)
        else:
            question = answers.ask(source.certificate, self._authorities)
            content = await fetch(source.url, limit=LONGEST_ANSWER, seconds=self._patience, question=question.content)
            answer = answers.read(content, question, now=self._now())
            if source.answer is not None and answer.since < source.answer.since:
                raise EvidenceRefused("older_than_known")
            self._got(source, answer=answer)
        return content

    def _read_list(self, content: bytes, now: datetime, before: RevocationList | None = None) -> RevocationList:
        return RevocationList.read(content, authorities=self._authorities, now=now, before=before)

    def _take(self, source: _Source, when: str, read: Callable[[], RevocationList | OcspAnswer]) -> None:
        try:
            found = read()
        except EvidenceRefused as refused:
            self._fail(source, when, refused.why)
            return
        if isinstance(found, RevocationList):
            source.listed = found
        else:
            source.answer = found

    def _got(self, source: _Source, *, listed: RevocationList | None = None, answer: OcspAnswer | None = None) -> None:
        source.listed, source.answer = listed, answer
        source.fetched_at, source.failed_at, source.why = self._now(), None, None
        revoked = len(listed.revoked) if listed is not None else int(answer is not None and answer.revoked)
        LOG.info("revocation.fetched", extra={"url": source.url, "until": source.until, "revoked": revoked})

    def _fail(self, source: _Source, when: str, why: str) -> None:
        source.failed_at, source.why = self._now(), why
        LOG.warning("revocation.failed", extra={"url": source.url, "when": when, "reason": why})

    def _source_of(self, der: bytes) -> _Source | None:
        """Find whom to ask about a certificate: the first responder that it names and the settings name too."""
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            return None
        url = next((one for one in answers.responders(certificate) if one in self._responders), None)
        return None if url is None else _Source(url=url, certificate=certificate)

    def _list_file(self, url: str) -> Path:
        return self._cache / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.crl"


def read_state(cache: Path) -> dict[str, Any]:
    """Read how fresh everything is, as the part that fetches has written it down; raises `UsageError`."""
    path = cache / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "RevocationUnread",
            f"{path} cannot be read: nothing has been fetched yet, or not by a part with these settings.",
            try_this="Start the part that `revocation` is configured for.",
        ) from error
    if not isinstance(state, dict):
        raise UsageError("RevocationUnread", f"{path} is not what a part writes there.")
    return state


def _plain(source: _Source, now: datetime) -> dict[str, Any]:
    known = source.listed or source.answer
    standing = "missing" if known is None else "current" if source.current(now) else "expired"
    told: dict[str, Any] = {
        "url": source.url,
        "standing": standing,
        "since": known and known.since.isoformat(),
        "until": known and known.until.isoformat(),
        "fetched_at": source.fetched_at and source.fetched_at.isoformat(),
        "failed_at": source.failed_at and source.failed_at.isoformat(),
        "failure": source.why,
    }
    if source.certificate is not None:
        return told | {"revoked": source.answer and source.answer.revoked}
    return told | {
        "issuer": source.listed and source.listed.issuer,
        "revoked": source.listed and len(source.listed.revoked),
    }


def _kept(path: Path) -> tuple[bytes | None, datetime]:
    """Read what was kept, and when."""
    try:
        return path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None, datetime.now(UTC)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a disk that does not take it costs freshness after a restart, no more."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError as error:
        LOG.warning("revocation.not_kept", extra={"reason": error.strerror})

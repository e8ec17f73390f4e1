# SPDX-License-Identifier: MPL-2.0
"""
The parts of a sandbox: what they are, where their files lie, and each one's operating-system process.

A part is started as `python -m sygefravaer serve KIND --config DIR/NAME.toml` in a session of its own, so that Ctrl-C
reaches the supervisor alone, and it ends when the supervisor ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from sygefravaer.config import Kind
from sygefravaer.errors import UsageError
from sygefravaer.sandbox.citizens import NAMESPACE

SOCKET_PATH_MAX: Final = 100  # bytes; sockaddr_un holds 108 on Linux and 104 elsewhere
STOP_SECONDS: Final = 30.0  # a part that is asked to end has this long to finish what it has begun
VIBORG: Final = "29189846"
AARHUS: Final = "55133018"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One part of the sandbox; `schema` is also its role in the database."""

    name: str
    kind: Kind
    title: str
    schema: str | None
    cvr: str
    municipalities: tuple[str, ...] = ()

    @property
    def system_id(self) -> UUID:
        """The same at every start."""
        return uuid5(NAMESPACE, f"system/{self.name}")


GATEWAY: Final = Spec(name="gateway", kind=Kind.GATEWAY, title="Sygefraværsplatform", schema="platform", cvr="19435075")
ADMIN: Final = Spec(name="admin", kind=Kind.ADMIN, title="Administration", schema=None, cvr="19435075")
KSD: Final = Spec(name="ksd", kind=Kind.KSD, title="KSD", schema="ksd", cvr="19435075", municipalities=(VIBORG, AARHUS))
JOBCENTERS: Final = (
    Spec(
        name="viborg",
        kind=Kind.JOBCENTER,
        title="Jobcenter Viborg",
        schema="jobcenter_viborg",
        cvr=VIBORG,
        municipalities=(VIBORG,),
    ),
    Spec(
        name="aarhus",
        kind=Kind.JOBCENTER,
        title="Jobcenter Aarhus",
        schema="jobcenter_aarhus",
        cvr=AARHUS,
        municipalities=(AARHUS,),
    ),
)
SYSTEMS: Final = (KSD, *JOBCENTERS)
PARTS: Final = (GATEWAY, KSD, *JOBCENTERS, ADMIN)
SUBSTITUTES: Final = (AARHUS,)
"""The municipalities that take substitute numbers; the others do not, so that both can be seen."""


class Layout:
    """Where everything of a sandbox lies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.lock = self.directory / "lock"
        self.state = self.directory / "state.json"
        self.summary = self.directory / "sandbox.json"
        self.pki = self.directory / "pki"
        self.database = self.directory / "database"
        self.logs = self.directory / "logs"
        self.keys = self.directory / "keys"
        self.requests = self.directory / "requests"
        self.cases = self.directory / "cases.json"

    @property
    def run(self) -> Path:
        """The directory of the control sockets; elsewhere when DIR is too long for a socket's path."""
        near = self.directory / "run"
        if len(os.fsencode(near / "supervisor.sock")) <= SOCKET_PATH_MAX:
            return near
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"sygefravaer-{os.getuid()}-{digest}"

    def socket(self, name: str) -> Path:
        """Give the control socket of a part or of the supervisor."""
        return self.run / f"{name}.sock"

    def config(self, name: str) -> Path:
        """Give the file of the part's settings."""
        return self.directory / f"{name}.toml"

    def log(self, name: str) -> Path:
        """Give the file that the part writes its log to."""
        return self.logs / f"{name}.log"

    def vault(self, schema: str) -> Path:
        """Give the file of the keys that seal what lies in a schema."""
        return self.keys / f"{schema}.json"

    @property
    def audit_key(self) -> Path:
        """The key of the platform's audit chain."""
        return self.keys / "audit.key"

    @property
    def anchors(self) -> Path:
        """The heads of the chain, minute by minute."""
        return self.keys / "audit.anchors"

    def make(self) -> None:
        """Make every directory that is missing, readable by its owner only."""
        for directory in (self.directory, self.logs, self.keys, self.requests, self.run):
            try:
                directory.mkdir(mode=0o700, parents=directory is self.directory, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    "DirectoryUnusable",
                    f"{directory} could not be made ({error.strerror}).",
                    try_this="Choose another place with --dir.",
                ) from error
        if self.run.stat().st_uid != os.getuid():
            raise UsageError("DirectoryUnusable", f"{self.run} belongs to another user.", try_this="Remove it.")


def toml(settings: Mapping[str, object]) -> str:
    """Write settings as TOML: strings, numbers, times, paths, lists of strings, and one level of tables."""
    flat = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_literal(value)}" for key, value in flat.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_literal(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _literal(value: object) -> str:
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return json.dumps(str(value), ensure_ascii=False)


class State(StrEnum):
    """What the supervisor knows of a process."""

    DOWN = "down"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


class Process:
    """The process of one part."""

    def __init__(self, spec: Spec, layout: Layout) -> None:
        self.spec = spec
        self._layout = layout
        self._child: asyncio.subprocess.Process | None = None
        self._paused = False
        self._stopped = True

    @property
    def state(self) -> State:
        """Running, paused, down (asked to), or ended (by itself or by a kill)."""
        if self._child is None or self._child.returncode is not None:
            return State.DOWN if self._stopped else State.ENDED
        return State.PAUSED if self._paused else State.RUNNING

    @property
    def pid(self) -> int | None:
        """The process id while there is a process."""
        return None if self._child is None or self._child.returncode is not None else self._child.pid

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; negative: by that signal."""
        return None if self._child is None else self._child.returncode

    async def start(self) -> None:
        """Start the process; one that is paused goes on; one that runs is left alone."""
        if self.state is State.PAUSED:
            self._signal(signal.SIGCONT)
            self._paused = False
            return
        if self.state is State.RUNNING:
            return
        self._paused = self._stopped = False
        with self._layout.log(self.spec.name).open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sygefravaer", "serve", self.spec.kind.value),
                *("--config", str(self._layout.config(self.spec.name)), "--with-parent"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """End it at once (SIGKILL): it gets no chance to finish anything."""
        self._signal(signal.SIGKILL)
        if self._child is not None:
            await self._child.wait()

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP): its sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._paused = self.pid is not None

    async def stop(self) -> None:
        """Ask it to finish and end (SIGTERM); kill it when it has not after 15 seconds."""
        self._stopped = True
        if self._child is None:
            return
        self._signal(signal.SIGTERM)
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False
        try:
            await asyncio.wait_for(self._child.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()

    def last_words(self) -> str:
        """Say where the part's log lies and what its last line was called, never what else it holds."""
        path = self._layout.log(self.spec.name)
        try:
            line = path.read_text(errors="replace").rstrip().rpartition("\n")[2]
        except OSError:
            return f"It wrote nothing to {path}."
        try:
            event = json.loads(line)["event"]
        except (ValueError, KeyError, TypeError):
            event = line[:200]
        return f"Last line of {path}: {event}"

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

# SPDX-License-Identifier: MPL-2.0
"""
A PostgreSQL primary with a synchronous standby, and what a failover manager does with them.

Both run from the embedded server's binaries. As Patroni does it: replication is synchronous (`remote_apply`) while there
is a standby; when the primary fails it is fenced (every process of it is killed), the standby is promoted, and, being
alone then, it does not wait for a standby any more (`synchronous_mode_strict` off) until the old primary has been made
anew from a base backup and follows it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sygefravaer.store import EmbeddedServer

REPLICATION = "local replication all scram-sha-256\n"
PATIENCE = 60.0


class Member(EmbeddedServer):
    """One of the two servers; made from a base backup when it is told of a primary."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, state=Path(tempfile.gettempdir()))
        self.name = name
        self.primary: Member | None = None

    @property
    def data(self) -> Path:
        """Where its data lies."""
        return self._home / "data"

    @property
    def processes(self) -> list[int]:
        """Every process of this server."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").readlink() == self.data.resolve():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def signal(self, number: int) -> None:
        """Send a signal to every process."""
        for process in self.processes:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue

    def fence(self) -> None:
        """Make sure that it does nothing more."""
        while self.processes:
            self.signal(signal.SIGKILL)
            time.sleep(0.01)

    def promote(self) -> None:
        """Make a standby the primary."""
        ended = self._as_account("pg_ctl", "-D", str(self.data), "-w", "promote")
        if ended.returncode:
            raise RuntimeError("pg_ctl promote failed")
        self.primary = None

    def forget(self) -> None:
        """Throw its data away."""
        shutil.rmtree(self.data)

    def run(self, statement: str | sql.Composed) -> list[tuple]:
        """Carry out a statement as the superuser, without waiting for a standby."""
        with psycopg.connect(self.superuser_dsn(), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        self.run(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        self.run("SELECT pg_reload_conf()")

    def _start(self) -> None:
        super()._start()
        with (self.data / "pg_hba.conf").open("a", encoding="ascii") as access:
            access.write(REPLICATION)
        self.run("SELECT pg_reload_conf()")

    def _initialise(self, data: Path) -> None:
        if self.primary is None:
            super()._initialise(data)
            return
        password = (self.primary._directory / "postgres.password").read_text(encoding="ascii")
        self._directory.joinpath("postgres.password").write_text(password, encoding="ascii")
        source = make_conninfo(self.primary.superuser_dsn(), application_name=self.name)
        ended = self._as_account("pg_basebackup", "-D", str(data), "-d", source, "-R", "-X", "stream", "-c", "fast")
        if ended.returncode:
            raise RuntimeError("pg_basebackup failed")

    def _finish_making(self) -> None:
        if self.primary is None:
            super()._finish_making()


class Cluster:
    """Two members; `async with`."""

    def __init__(self, directory: Path) -> None:
        self.members = tuple(Member(directory / name, name) for name in ("one", "two"))
        self.primary, self.standby = self.members
        self.alone = True

    async def __aenter__(self) -> Self:
        try:
            await self.primary.start()
            self.primary.set("synchronous_commit", "remote_apply")
            await self.follow()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members:
            await asyncio.to_thread(member.signal, signal.SIGCONT)
            await asyncio.to_thread(member.fence)
            await member.remove()

    def dsn(self, role: str, password: str) -> str:
        """Give a connection string that names both and wants the primary."""
        hosts = ",".join(str(member.socket_directory) for member in self.members)
        return make_conninfo(self.primary.dsn(role, password), host=hosts, target_session_attrs="read-write")

    async def follow(self) -> None:
        """Make the standby from the primary, and let commits wait for it from now on."""
        self.standby.primary = self.primary
        await self.standby.start()
        self.primary.set("synchronous_standby_names", f'"{self.standby.name}"')
        async with asyncio.timeout(PATIENCE):
            while self.primary.run("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
                await asyncio.sleep(0.05)
        self.alone = False

    async def fail_over(self) -> None:
        """Fence the primary, promote the standby, and let it be alone."""
        await asyncio.to_thread(self.primary.fence)
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary
        self.primary.set("synchronous_standby_names", "")
        self.alone = True

    async def reseed(self) -> None:
        """Make the old primary anew, as the standby of the new one."""
        await asyncio.to_thread(self.standby.fence)
        await asyncio.to_thread(self.standby.forget)
        await self.follow()

    def freeze(self) -> None:
        """Let the standby stand still: commits wait for it."""
        self.standby.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the standby go on."""
        self.standby.signal(signal.SIGCONT)

    def waiting(self) -> list[int]:
        """Give the backends whose commit waits for the standby."""
        return [row[0] for row in self.primary.run("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")]

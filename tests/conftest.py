# SPDX-License-Identifier: MPL-2.0
"""What every test may ask for: a real PostgreSQL with a schema of its own, a clock that stands, keys, certificates."""

import asyncio
import importlib
import itertools
import os
import secrets
import shutil
from datetime import UTC, datetime

import coverage
import pytest

import breadth
import memory_disk
from sygefravaer.clock import MovableClock
from sygefravaer.store import EmbeddedServer, Store, migrate
from sygefravaer.vault import Vault

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
PROMTOOL = shutil.which("promtool")
_NUMBERS = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Let a `long` test and its processes run unmeasured: at full speed, and what it covers others cover too."""
    measuring = coverage.Coverage.current()
    if measuring is None or item.get_closest_marker("long") is None:
        return (yield)
    handed_on = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("COVERAGE_")}
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()
        os.environ.update(handed_on)


@pytest.fixture(scope="session")
def embedded():
    """One PostgreSQL server for the tests of this process, removed after them."""
    with memory_disk.server_directory() as directory:
        server = EmbeddedServer(directory, state=memory_disk.place())
        asyncio.run(server.start())
        memory_disk.make_quick(server)
        yield server
        asyncio.run(server.remove())


@pytest.fixture
async def make_store(embedded):
    """Open stores in fresh schemas, each with the tables of the rooms it is asked for by name."""
    made = []

    async def make(*rooms: str, size: int = 4) -> Store:
        role, password = f"t{next(_NUMBERS)}_{secrets.token_hex(4)}", secrets.token_hex(8)
        store = Store(await embedded.create_part(role, password), schema=role, size=size)
        await store.open()
        made.append(store)
        tables = [(room, importlib.import_module(f"sygefravaer.{room}").MIGRATIONS) for room in rooms]
        await migrate(store, tables, now=START)
        return store

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def clock():
    """Give a clock that stands at 2026-03-02 09:00 UTC until the test moves it."""
    return MovableClock(START, running=False)


@pytest.fixture
def vault(tmp_path):
    """Give a vault with keys of its own."""
    return Vault.create_file(tmp_path / "vault.json")


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Make a test PKI: a root, an issuing CA, and `pki.issue(...)` for certificates."""
    module = importlib.import_module("sygefravaer.sandbox.pki")
    made = module.Pki(tmp_path_factory.mktemp("pki"))
    made.create()
    return made


def pytest_report_header():
    """Tell what was drawn by lot."""
    return breadth.told()


def pytest_collection_modifyitems(items):
    """Leave out what only Prometheus's own tool can judge, where it is not; a line at the end says so."""
    if PROMTOOL is None:
        items[:] = [item for item in items if "promtool" not in getattr(item, "fixturenames", ())]


def pytest_sessionfinish(session):
    """Tell the first process how many tests of the screens this one has left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["screens_not_run"] = getattr(session.config, "screens_not_run", 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Hear it: every process collects the same."""
    node.config.screens_not_run = getattr(node, "workeroutput", {}).get("screens_not_run", 0)


def pytest_terminal_summary(terminalreporter, config):
    """Show what tests have recorded as their summary: counts that a green dot does not tell."""
    if number := getattr(config, "screens_not_run", 0):
        terminalreporter.write_line(f"{number} tests of the screens were not run: there is no chromium here")
    if PROMTOOL is None:
        terminalreporter.write_line(
            "1 test of the alert rules was not run: there is no promtool here (Debian: prometheus)"
        )
    for report in terminalreporter.getreports("passed"):
        for name, value in getattr(report, "user_properties", ()):
            if name == "summary" and report.when == "call":
                terminalreporter.section(report.nodeid)
                terminalreporter.write_line(value)

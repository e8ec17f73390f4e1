# SPDX-License-Identifier: MPL-2.0
"""Several nodes on one database: who takes over, who wakes whom, who waits for whom; and how a node comes and goes."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import benchmarks.rig
import psycopg
import pytest
import pytest_asyncio
from benchmarks.rig import Rig
from lxml import etree
from psycopg.conninfo import conninfo_to_dict

from corridor import Corridor, besked_id, fine, message
from sygefravaer import app, lanes
from sygefravaer.cli import cli
from sygefravaer.config import Kind, Surroundings, load
from sygefravaer.contract.operations import OPERATIONS, Environment
from sygefravaer.delivery import Clients, Crowds, Delivery, Receivers, Selection, Senders
from sygefravaer.delivery.pace import LEAST
from sygefravaer.delivery.senders import BESIDE
from sygefravaer.lanes import Lanes
from sygefravaer.store import EmbeddedServer, Store, migrate
from sygefravaer.telemetry import tell_supervisor

EVENT = "SendHaendelseSygefravaerssag"
ANSWER = "SendForretningsSvar"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


# --- two nodes in one process ---


@pytest.fixture
async def corridor(make_store, vault, clock, pki, monkeypatch):
    """A node whose worker looks for work by itself once a minute only: what is quicker was woken."""
    monkeypatch.setattr("sygefravaer.delivery.worker.POLL", 60.0)
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    options = {"lanes": Lanes(jitter=lambda: 1.0), "receivers": Receivers(inline=2)}
    async with Corridor(store, vault, clock, pki, budget=1.0, **options) as made:
        yield made


@contextlib.asynccontextmanager
async def another_node(corridor, *, works=True, listeners=1):
    """A second node on the same database, with connections and receivers of its own; it listens when it is given."""
    clients = Clients(corridor.tls("callback"), timeout=5.0)
    node = Delivery(
        store=corridor.store,
        vault=corridor.vault,
        clock=corridor.clock,
        environment=Environment.TEST,
        clients=clients,
        lanes=Lanes(jitter=lambda: 1.0),
    )
    work = asyncio.create_task(node.run()) if works else None
    try:
        if works:
            await listening(corridor, listeners)
        yield node
    finally:
        await node.stop(patience=0.2)
        if work is not None:
            await work
        await clients.close()


async def listening(corridor, count):
    async with asyncio.timeout(10):
        while True:
            async with corridor.store.read() as tx:
                rows = await tx.all(
                    "SELECT FROM pg_stat_activity WHERE application_name = %(name)s AND query LIKE 'LISTEN%%'",
                    name=f"sygefravaer {corridor.store.schema}",
                )
            if len(rows) == count:
                return
            await asyncio.sleep(0.02)


def hanging(then=fine):
    """Give an answer that never comes to the first call, and `then` to every other."""
    first = [True]

    async def answer(call):
        if first and first.pop():
            await asyncio.Event().wait()
        return await then(call)

    return answer


async def outcomes(corridor):
    return [row["outcome"] for row in await corridor.rows("attempt")]


async def test_what_a_node_that_stops_cuts_off_is_taken_over_at_once(corridor):
    """Its lease has a minute to run; it is ended, the other node is woken, and the order in the lane holds."""
    ksd = corridor.receivers["ksd"]
    ksd.answer = hanging()
    case = uuid4()
    sent = [message(ANSWER, NemrefusionsID=case) for _ in range(3)]
    async with another_node(corridor):
        told = [await corridor.send(ANSWER, each) for each in sent]
        await corridor.delivery.stop(patience=0.1)
        for each in sent:
            await corridor.until(each, "delivered")

    assert {one.code for one in told} == {"G006"}
    assert ksd.came == [besked_id(sent[0]), *map(besked_id, sent)]
    assert await outcomes(corridor) == ["unknown", "delivered", "delivered", "delivered"]
    (lane,) = await corridor.rows("lane")
    assert (lane["open"], lane["token"]) == (0, None)


async def test_who_finds_no_place_at_the_receiver_leaves_it_to_any_node(corridor):
    """The second of a node with one place a sender, whose worker is elsewhere, wakes the other node."""
    ksd = corridor.receivers["ksd"]
    ksd.answer = hanging()
    first, second = (message(ANSWER, NemrefusionsID=uuid4()) for _ in range(2))
    ringing = asyncio.create_task(corridor.delivery._bell.run())
    async with another_node(corridor, listeners=2):
        told = [await corridor.send(ANSWER, each) for each in (first, second)]
        await corridor.until(second, "delivered")
    ringing.cancel()
    await asyncio.gather(ringing, return_exceptions=True)

    assert [one.code for one in told] == ["G006", "G006"]
    assert (await corridor.stored(first))["status"] == "sending"


async def test_who_ends_a_claim_carries_on_what_another_node_put_behind_it(corridor):
    """The node that accepted it had no claim; the one that holds the lane sees it when it settles."""
    go = asyncio.Event()

    async def later(call):
        await go.wait()
        return await fine(call)

    corridor.receivers["ksd"].answer = later
    case = uuid4()
    first, second = (message(ANSWER, NemrefusionsID=case) for _ in range(2))
    corridor.work()
    await corridor.send(ANSWER, first)
    async with another_node(corridor, works=False) as node:
        here, corridor.gateway._delivery = corridor.gateway._delivery, node
        told = await corridor.send(ANSWER, second)
        corridor.gateway._delivery = here
        go.set()
        await corridor.until(second, "delivered")

    assert told.code == "G006"


async def test_a_replay_wakes_the_nodes_whoever_asks_for_it(corridor):
    """An operator's process carries nothing itself."""
    ksd = corridor.receivers["ksd"]

    async def no(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/xml")]})
        body = (
            b'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><soap:Fault>'
            b"<faultcode>soap:Client</faultcode><faultstring>no</faultstring></soap:Fault></soap:Body></soap:Envelope>"
        )
        await send({"type": "http.response.body", "body": body})

    ksd.raw = no
    sent, other = (message(ANSWER, NemrefusionsID=uuid4()) for _ in range(2))
    case = uuid4()
    discarded, behind = (message(ANSWER, NemrefusionsID=case) for _ in range(2))
    for each in (sent, discarded, behind, other):
        await corridor.send(ANSWER, each)
    ksd.raw = None
    numbers = [(await corridor.stored(each))["message_id"] for each in (sent, discarded)]
    now = corridor.clock.now()
    async with another_node(corridor):
        plan = await corridor.parked.plan(Selection(ids=(numbers[0],)), now=now)
        await corridor.parked.run(plan.digest, plan.selection, who="drift", now=now)
        await corridor.until(sent, "delivered")
        await corridor.parked.discard(numbers[1], who="drift", reason="dobbelt", now=now)
        await corridor.until(behind, "delivered")


async def test_nodes_work_on_without_being_woken(corridor, monkeypatch):
    """NOTIFY is a convenience: with nobody listening what is left lying is found by looking."""
    monkeypatch.setattr("sygefravaer.delivery.worker.POLL", 0.05)

    async def deaf(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(Store, "listen", deaf)
    corridor.receivers["ksd"].answer = hanging()
    sent = message(ANSWER)
    await corridor.send(ANSWER, sent)
    await corridor.delivery.stop(patience=0.1)
    async with contextlib.AsyncExitStack() as stack:
        monkeypatch.setattr(sys.modules[__name__], "listening", lambda *_: asyncio.sleep(0))
        await stack.enter_async_context(another_node(corridor))
        await corridor.until(sent, "delivered")


# --- the circuit breaker, and places ---


async def test_after_its_rest_one_message_tries_a_receiver_and_then_all_follow(corridor):
    """Ten lanes wait; a receiver that takes calls and answers none holds one of them, not all."""
    ksd = corridor.receivers["ksd"]
    alive = asyncio.Event()

    async def silent(scope, receive, send):
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def mute(call):
        await alive.wait()
        return await fine(call)

    ksd.raw = silent
    sent = [message(ANSWER, NemrefusionsID=uuid4()) for _ in range(10)]
    for each in sent:
        await corridor.send(ANSWER, each)
    ksd.raw, ksd.answer = None, mute
    corridor.work()
    corridor.clock.advance(timedelta(minutes=2))
    async with asyncio.timeout(10):
        while not ksd.calls:
            await asyncio.sleep(0.01)
    told = await corridor.send(ANSWER, message(ANSWER, NemrefusionsID=uuid4()))
    other = await corridor.send(EVENT, message(EVENT))
    await asyncio.sleep(0.3)
    tried = len(ksd.calls)
    alive.set()
    for each in sent:
        await corridor.until(each, "delivered")

    assert tried == 1
    assert (told.code, other.kode) == ("G006", "OK")


def test_a_receiver_that_is_tried_in_vain_rests_on():
    """The failure of the one message lengthens the rest; its place is free again, and one sender's places are his."""
    receivers, system, sender = Receivers(patience=1), uuid4(), uuid4()
    receivers.heard(system, NOW, answered=False)
    later = NOW + timedelta(seconds=1)
    place = receivers.enter(system, later, sender=sender)
    refused = receivers.enter(system, later, sender=uuid4())
    during = receivers.busy(later), receivers.room()
    receivers.heard(system, later, answered=False)
    place.leave()

    assert refused is None
    assert during == ([system], {system: 1})
    assert receivers.rested(later) == later + timedelta(seconds=2)
    assert receivers.enter(system, later, sender=sender) is None
    again = receivers.enter(system, later + timedelta(seconds=2), sender=sender)
    receivers.heard(system, later, answered=True)
    assert receivers.enter(system, later, sender=sender) is not None
    again.leave()
    assert receivers.of(system).trying is False


def test_no_sender_has_all_places_at_a_receiver():
    """Alone one has half; each that comes beside him finds half of what is left; all are given back."""
    receivers, system = Receivers(inline=64), uuid4()
    places = {}
    for sender in (uuid4(), uuid4(), uuid4()):
        places[sender] = []
        while place := receivers.enter(system, NOW, sender=sender):
            places[sender].append(place)

    assert [len(held) for held in places.values()] == [32, 16, 8]
    for held in places.values():
        for place in held:
            place.leave()
    one = receivers.of(system)
    assert (one.inline, one.senders) == (0, {})


async def test_a_crowd_of_one_sender_waits_behind_itself_only():
    """Of two hundred calls of one, six are inside; the one call of another goes in at once."""
    senders, inside, most = Senders(at_a_time=6), 0, 0
    go = asyncio.Event()

    async def call():
        nonlocal inside, most
        async with senders.turn("bulk"):
            inside += 1
            most = max(most, inside)
            await go.wait()
            inside -= 1

    crowd = [asyncio.create_task(call()) for _ in range(200)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), senders.turn("single"):
        assert inside == 6
    go.set()
    crowd[-1].cancel()
    await asyncio.gather(*crowd, return_exceptions=True)

    assert most == 6
    assert senders._turns == senders._inside == {}


async def test_who_pours_waits_at_the_door_and_not_before_everybody():
    """Of twenty messages of one sender as many are under way as its pace has it; another's is at once."""
    crowds, inside, go = await _beside_another(patience=20.0), [], asyncio.Event()

    async def send():
        async with crowds.place("bulk", "receiver"):
            inside.append(True)
            await go.wait()

    crowd = [asyncio.create_task(send()) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), crowds.place("single", "receiver"), crowds.place("bulk", "another receiver"):
        assert len(inside) == LEAST
    for task in (crowd[0], crowd[-1]):  # one inside and one that waits go away: the next has the place
        task.cancel()
    await asyncio.sleep(0.01)
    assert len(inside) == LEAST + 1
    go.set()
    await asyncio.gather(*crowd, return_exceptions=True)

    assert len(inside) == 19
    assert [(one.inside, len(one.waiting)) for one in crowds._known.values()] == [(0, 0)] * 4


async def test_who_is_alone_waits_for_nobodys_sake(monkeypatch):
    """He has as many under way as anybody may; from when another has come until long after, as his pace has it."""
    crowds, inside, go = Crowds(most=8, patience=20.0), [], asyncio.Event()

    async def send(leave):
        async with crowds.place("bulk", "receiver"):
            inside.append(True)
            await leave.wait()
            inside.pop()

    crowd = [asyncio.create_task(send(go)) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert len(inside) == 8
    go.set()
    await asyncio.gather(*crowd)
    async with crowds.place("single", "receiver"):
        pass

    for after, most in ((0.0, LEAST), (BESIDE - 5, LEAST), (BESIDE + 5, 8)):
        later, leave = time.monotonic() + after, asyncio.Event()
        with monkeypatch.context() as patch:
            patch.setattr("sygefravaer.delivery.senders.monotonic", lambda later=later: later)
            crowd = [asyncio.create_task(send(leave)) for _ in range(20)]
            await asyncio.sleep(0.01)
            assert len(inside) == most
            leave.set()
            await asyncio.gather(*crowd)


async def _beside_another(patience):
    """Give crowds in which nobody is alone."""
    crowds = Crowds(most=8, patience=patience)
    async with crowds.place("another", "yet another receiver"):
        return crowds


async def test_a_receiver_that_says_nothing_keeps_nobody_at_the_door_for_long():
    """Whoever has waited for a place goes on without; a receiver that answers slowly by itself lets in more."""
    crowds, inside, go = await _beside_another(patience=0.05), [], asyncio.Event()

    async def send():
        async with crowds.place("sender", "receiver"):
            inside.append(True)
            await go.wait()

    crowd = [asyncio.create_task(send()) for _ in range(20)]
    await asyncio.sleep(0.3)
    assert len(inside) == 20
    go.set()
    await asyncio.gather(*crowd)

    async def answered():
        async with crowds.place("sender", "receiver") as heard:
            await asyncio.sleep(0.02)
            heard.answer = True

    for _ in range(40):
        await asyncio.gather(*(answered() for _ in range(8)))
    assert crowds._known["sender", "receiver"].pace.limit > LEAST


async def test_behind_a_message_that_was_not_answered_nobody_waits_for_a_place():
    """Until the receiver answers again: a queue for one that is silent helps nobody."""
    crowds, inside, go = await _beside_another(patience=20.0), [], asyncio.Event()

    async def send(answer):
        async with crowds.place("sender", "receiver") as heard:
            inside.append(answer)
            await go.wait()
            heard.answer = answer

    crowd = [asyncio.create_task(send(False)) for _ in range(LEAST)]
    await asyncio.sleep(0)
    behind = [asyncio.create_task(send(True)) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert len(inside) == LEAST
    go.set()
    await asyncio.gather(*crowd)
    go.clear()
    await asyncio.sleep(0.01)
    assert len(inside) == LEAST + 10
    go.set()
    await asyncio.gather(*behind)

    assert not crowds._known["sender", "receiver"].deaf


async def test_a_crowd_at_the_door_is_let_in_by_sender(corridor, monkeypatch):
    """Twenty calls of one system meet six turns; another system's call is let in beside them."""
    gateway, inside, go = corridor.gateway, [], asyncio.Event()
    admit = gateway._admit

    async def slowly(passage):
        inside.append(passage.identity.serial_key)
        await go.wait()
        return await admit(passage)

    monkeypatch.setattr(gateway, "_admit", slowly)
    calls = [asyncio.create_task(corridor.send(EVENT, message(EVENT, NemrefusionsID=uuid4()))) for _ in range(20)]
    calls.append(asyncio.create_task(corridor.send(ANSWER, message(ANSWER))))
    async with asyncio.timeout(20):
        while len(inside) < 7:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    crowd = sorted(inside.count(one) for one in set(inside))
    go.set()
    told = await asyncio.gather(*calls)

    assert crowd == [1, 6]
    assert {one.kode for one in told} <= {"OK", "ADVARSEL"}


async def test_a_receiver_is_called_over_kept_connections(corridor):
    """One message after the other goes over the same connection."""
    ksd, ports = corridor.receivers["ksd"], set()
    endpoint = ksd.endpoint

    async def noted(scope, receive, send):
        ports.add(scope["client"][1])
        await endpoint(scope, receive, send)

    ksd.raw = noted
    told = [await corridor.send(ANSWER, message(ANSWER, NemrefusionsID=uuid4())) for _ in range(5)]

    assert {one.kode for one in told} == {"OK"}
    assert len(ports) == 1


# --- the database, as a gateway of its own process meets it ---


async def test_a_commit_that_no_standby_confirmed_is_told_as_a_fault_and_never_as_a_receipt(
    tmp_path, vault, clock, pki
):
    """Accepting and settling both: unknown, so the sender repeats, and what was kept is answered when it is sure."""
    server = EmbeddedServer(tmp_path / "pg")
    await server.start()
    store = Store(await server.create_part("part", "p"), schema="part", size=8)
    await store.open()
    try:
        await migrate(store, app.PLATFORM, now=NOW)
        async with (
            Corridor(store, vault, clock, pki, budget=20.0) as corridor,
            await psycopg.AsyncConnection.connect(server.superuser_dsn(), autocommit=True) as operator,
        ):

            async def standby(setting: str) -> None:
                await operator.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{setting}'")
                await operator.execute("SELECT pg_reload_conf()")

            async def unconfirmed(work):
                sending = asyncio.create_task(work)
                async with asyncio.timeout(20):
                    while not sending.done():
                        await asyncio.sleep(0.05)
                        await operator.execute(
                            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                        )
                return await sending

            ksd = corridor.receivers["ksd"]
            accepted, refused = message(ANSWER), message(ANSWER, NemrefusionsID=uuid4(), Kommunekode="0101")
            await standby("absent")
            told = await unconfirmed(corridor.send(ANSWER, accepted))
            told_of_refusal = await unconfirmed(corridor.send(ANSWER, refused))
            at_receiver = len(ksd.calls)
            await standby("")

            async def gone(call):
                await standby("absent")
                return await fine(call)

            ksd.answer = gone
            settled = message(ANSWER, NemrefusionsID=uuid4())
            unsettled = await unconfirmed(corridor.send(ANSWER, settled))
            await standby("")
            later = [await corridor.send(ANSWER, each) for each in (accepted, settled)]

        assert {(one.is_fault, one.faultcode, one.code) for one in (told, told_of_refusal)} == {
            (True, "Server", "InternalError")
        }
        assert at_receiver == 0
        assert (unsettled.kode, unsettled.code) == ("ADVARSEL", "G006")
        assert [(one.kode, one.code) for one in later] == [("ADVARSEL", "G006"), ("OK", None)]
    finally:
        await store.close()
        await server.remove()


# --- real processes ---


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory):
    """One database and its receivers; the gateway's lease is as long as in production."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(benchmarks.rig, "LEASE", 60.0)
        async with Rig(tmp_path_factory.mktemp("rig")) as rig:
            config = rig.layout.config("gateway")
            text = config.read_text("utf-8").replace("timeout = 2.0", "timeout = 40.0\nbudget = 0.3")
            config.write_text(text, "utf-8")
            yield rig
            for node in Node.started:
                node.kill()
                node.wait()


class Node:
    """A second node, or one that does not come up: the first one's settings with a port and a patience of its own."""

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, rig: Rig, *, wait: float = 60.0) -> None:
        self.port = benchmarks.rig._free_port()
        text = rig.layout.config("gateway").read_text("utf-8")
        text = text.replace(f"port = {rig.port}", f"port = {self.port}")
        text = text.replace("[database]\n", f"[database]\nwait = {wait}\n")
        self.config = rig.layout.directory / f"another-{self.port}.toml"
        self.config.write_text(text, "utf-8")
        self.log = rig.layout.directory / f"another-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sygefravaer", "serve", "gateway", "--config", self.config],
                stdout=log,
                stderr=log,
            )
        self.started.append(self.process)

    async def says(self, event: str) -> None:
        async with asyncio.timeout(60):
            while f'"event": "{event}"' not in self.log.read_text("utf-8"):
                await asyncio.sleep(0.05)

    async def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 60)


def envelope(rig, case, name=ANSWER):
    besked = uuid4()
    _, sender = rig.sender(OPERATIONS[name])
    return besked, benchmarks.rig.message(name, besked_id=besked, lane=case, sender=sender)


async def until_applied(rig, besked):
    async with asyncio.timeout(20):
        while besked not in [one for one, _ in await rig.applied(ANSWER)]:
            await asyncio.sleep(0.05)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_that_is_stopped_hands_over_within_its_time(rig):
    """SIGTERM with an attempt that gets no answer: exit code 0 in seconds, and another node sends it at once."""
    await rig.start_gateway()
    other = Node(rig)
    await other.says("part.started")
    rig.pause = 600.0
    case = uuid4()
    sent = [envelope(rig, case) for _ in range(2)]
    told = [await rig.send(OPERATIONS[ANSWER], body) for _, body in sent]
    rig.pause = 0.0

    begin = time.monotonic()
    code = await rig.stop_gateway()
    took = time.monotonic() - begin
    await until_applied(rig, sent[1][0])
    handed_over = time.monotonic() - begin - took

    assert [one.remarks for one in told] == [("G006",), ("G006",)]
    assert (code, await other.end()) == (0, 0)
    assert took < app.STOP_SECONDS + 8  # the machine's own slowness included
    assert handed_over < 20  # a lease has a minute
    assert [besked for besked, _ in await rig.applied(ANSWER)] == [besked for besked, _ in sent]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_database_that_is_away_is_a_closed_door_at_the_start_and_a_server_fault_later(rig):
    """A start waits, door closed, and gives up with exit code 4; a node that runs says so and goes on by itself."""
    await rig.server.stop()
    gives_up, waits = Node(rig, wait=1.0), Node(rig)
    await waits.says("database.away")
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", waits.port)
    assert await asyncio.to_thread(gives_up.process.wait, 60) == 4
    await rig.server.start()
    await waits.says("part.started")

    rig.port, first = waits.port, rig.port
    try:
        operation = OPERATIONS[ANSWER]
        before = await rig.send(operation, envelope(rig, uuid4())[1])
        rig.server.kill()
        besked, body = envelope(rig, uuid4())
        name, _ = rig.sender(operation)
        url = f"https://localhost:{waits.port}{operation.service.path}"
        async with rig._session(name).post(url, data=body, headers={"Content-Type": "text/xml"}) as answer:
            fault = etree.fromstring(await answer.read())
        await rig.server.start()
        async with asyncio.timeout(60):
            while (after := await rig.send(operation, body)).code is None:
                await asyncio.sleep(0.5)
    finally:
        rig.port = first

    assert before.code in {"OK", "ADVARSEL"}
    assert fault.findtext(".//faultcode").endswith("Server")
    assert after.code in {"OK", "ADVARSEL"}
    await until_applied(rig, besked)
    assert await waits.end() == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_works_on_while_a_newer_version_migrates(rig):
    """Traffic goes on without a fault; the old version does not start anew on what the newer one has made."""
    await rig.start_gateway()
    newer = tuple(
        (room, (*texts, *EXPANDED)) if room == "lanes" else (room, texts) for room, texts in app.rooms_of(Kind.GATEWAY)
    )
    operation, told, done = OPERATIONS[ANSWER], [], asyncio.Event()

    async def traffic():
        while not done.is_set():
            told.append(await rig.send(operation, envelope(rig, uuid4())[1]))

    senders = [asyncio.create_task(traffic()) for _ in range(4)]
    while len(told) < 20:
        await asyncio.sleep(0.01)
    store = Store(rig.dsn, schema="platform", size=1)
    await store.open()
    migrated = await migrate(store, newer, now=datetime.now(UTC))
    seen = len(told)
    while len(told) < seen + 20:
        await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*senders)
    old = Node(rig)
    code = await asyncio.to_thread(old.process.wait, 60)
    async with store.tx() as tx:
        await tx.run("DELETE FROM migration WHERE room = 'lanes' AND number > %(n)s", n=len(lanes.MIGRATIONS))
    await store.close()
    await rig.stop_gateway()

    assert migrated == [f"lanes {len(lanes.MIGRATIONS) + 1}"]
    assert {one.code for one in told} <= {"OK", "ADVARSEL"}
    assert code == 4
    assert "newer" in old.log.read_text("utf-8")


# --- what the operator is told ---


def fenced(kind: str) -> list[str]:
    text = (Path(__file__).parents[1] / "docs" / "operations.md").read_text("utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


async def test_the_operators_statements_run(embedded, clock):
    """The role can do what a node needs; each look at the database says what it is for."""
    create, *rest = fenced("sql")
    try:
        async with await psycopg.AsyncConnection.connect(embedded.superuser_dsn(), autocommit=True) as operator:
            await operator.execute(create)
        await embedded.create_part("platform", "password")
        store = Store(embedded.dsn("platform", "password"), schema="platform", size=1)
        await store.open()
        await migrate(store, app.PLATFORM, now=clock.now())
        listens = asyncio.create_task(store.listen("work", lambda: None))
        found: dict[str, list] = {}
        async with await psycopg.AsyncConnection.connect(embedded.superuser_dsn(), autocommit=True) as operator:
            async with asyncio.timeout(10):
                while not sum(row[-1] for row in found.get("listening", [])):
                    for statement in (one for block in rest for one in block.split(";") if one.strip()):
                        cursor = await operator.execute(statement)
                        if cursor.description:
                            found[cursor.description[-1].name] = await cursor.fetchall()
        listens.cancel()
        await asyncio.gather(listens, return_exceptions=True)
        await store.close()
    finally:
        await embedded.drop_part("platform")

    assert set(found) == {"seq", "parked", "listening", "lapsed", "waiting", "behind"}


def test_the_operators_settings_load(tmp_path):
    """The gateway's file is a production gateway's; the unit starts it by a command that there is."""
    (text,) = fenced("toml")
    (tmp_path / "gateway.toml").write_text(text, "utf-8")
    config = load(tmp_path / "gateway.toml")
    unit = configparser.ConfigParser()
    unit.optionxform = str
    (ini,) = fenced("ini")
    unit.read_string(ini)
    _, *words = unit["Service"]["ExecStart"].split()

    assert (config.part, config.environment) == (Kind.GATEWAY, Surroundings.PRODUCTION)
    assert conninfo_to_dict(config.database.dsn)["target_session_attrs"] == "read-write"
    assert float(unit["Service"]["TimeoutStartSec"]) > config.database.wait
    assert float(unit["Service"]["TimeoutStopSec"]) > 2 * app.STOP_SECONDS
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert not ended.value.code


def test_a_supervisor_is_told_when_the_door_opens(tmp_path, monkeypatch, caplog):
    """As systemd wants it; one that has gone is a line in the log and nothing more."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        tell_supervisor("READY=1")
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        tell_supervisor("STOPPING=1")
        assert supervisor.recv(100) == b"STOPPING=1"
    tell_supervisor("READY=1")
    assert "supervisor.unheard" in caplog.text


EXPANDED = (
    """
    ALTER TABLE lane ADD COLUMN later text;
    ALTER TABLE message ADD COLUMN later text NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN later integer;
    CREATE INDEX message_later ON message (later) WHERE later <> '';
    """,
)
"""What a version to come may do while this one runs."""

CONTRACTS = re.compile(
    r"\b(?:DROP\s+(?:TABLE|COLUMN)|RENAME|(?<!AFTER )TRUNCATE|SET\s+NOT\s+NULL|ALTER\s+COLUMN\s+\w+\s+TYPE|SET\s+DATA\s+TYPE"
    r"|ADD\s+COLUMN\s+\w+\s+\w+\s+NOT\s+NULL(?!\s+DEFAULT))\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    ("room", "number", "text"),
    [(room, number, text) for room, texts in app.PLATFORM for number, text in enumerate(texts, start=1)],
)
def test_a_migration_of_the_platform_only_expands(room, number, text):
    """The node of the version before still runs on the schema: nothing that it reads or writes may be taken away."""
    assert CONTRACTS.findall(text) == []


def test_the_platforms_statements_name_their_columns():
    """A column that a newer version adds would change what `*` gives, and a prepared statement then fails for good."""
    tables = {table for _, texts in app.PLATFORM for text in texts for table in re.findall(r"CREATE TABLE (\w+)", text)}
    every = re.compile(rf"RETURNING\s+\*|SELECT\s+(?:\w+\.)?\*\s+FROM\s+(?:{'|'.join(sorted(tables))})\b")
    source = Path(app.__file__).parents[1]
    files = [
        path
        for room, _ in app.PLATFORM
        for path in ((source / room).rglob("*.py") if (source / room).is_dir() else [source / f"{room}.py"])
    ]

    assert {"lane", "message", "attempt", "audit"} < tables
    assert len(files) > 10
    assert [path.name for path in files if every.search(path.read_text("utf-8"))] == []
    assert every.search("SELECT * FROM lane WHERE")


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE lane DROP COLUMN open",
        "ALTER TABLE lane RENAME TO lanes",
        "ALTER TABLE lane ADD COLUMN n text NOT NULL",
        "ALTER TABLE lane ALTER COLUMN open SET NOT NULL",
        "ALTER TABLE lane ALTER COLUMN open TYPE bigint",
    ],
)
def test_the_rule_sees_what_takes_away(text):
    """A rule that cannot fail is none."""
    assert CONTRACTS.search(text)

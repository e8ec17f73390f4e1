# SPDX-License-Identifier: MPL-2.0
"""Figures, traces and readiness of real parts, and that the board and the alarms ask for what is there."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from sygefravaer import telemetry
from sygefravaer.config import Telling
from sygefravaer.contract.names import PATHS
from sygefravaer.errors import UsageError
from sygefravaer.sandbox.stage import Stage
from sygefravaer.telemetry.figures import STANDING

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus"
BOARD = ROOT / "deploy" / "grafana" / "sygefravaer.json"
DOCUMENT = ROOT / "docs" / "telemetry.md"
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
CITIZEN, CVR = "0101505012", "29189846"
ELSEWHERE = frozenset({"sygefravaer_revocation_age_seconds"})  # only a gateway that fetches lists has it
ORDER = ("operation", "code", "where", "outcome", "state", "kind", "le")
SAMPLES = ROOT / "tests" / "samples"


class Collector:
    """An OTLP collector: keeps every span."""

    def __init__(self) -> None:
        self.spans = []
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.came.set()
        return web.Response()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector():
    made = Collector()
    site = web.Application()
    site.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(embedded, pki, collector):
    """Gateway, KSD and jobcentres over real sockets; gateway and KSD tell how they are, the gateway sends traces."""
    async with Stage(START, server=embedded, pki=pki) as made:
        for part, told in (("gateway", Telling(traces=collector.url)), ("ksd", Telling())):
            made._configs[part] = replace(made._configs[part], telemetry=told)
            await made.stop(part)
            await made.start(part)
        yield made


async def told(stage, part, path="/metrics"):
    url = f"http://127.0.0.1:{stage._parts[part].watch_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def figures(stage, part):
    """Give every sample by its name, and its labels' values in `ORDER`."""
    _, text = await told(stage, part)
    found = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels[name] for name in ORDER if name in sample.labels)] = sample.value
    return found


async def look_up(stage, **headers):
    """Look a citizen's cases up, as the jobcentre of Viborg."""
    config = stage.config("viborg")
    tls = ssl.create_default_context(cafile=config.client.ca)
    tls.load_cert_chain(config.client.certificate, config.client.key)
    body = (SAMPLES / "HentSagsListeRequest.min.xml").read_bytes()
    body = re.sub(rb"(<\w+:AfsenderSystemID>)[^<]+", rb"\g<1>" + str(config.system_id).encode(), body)
    body = re.sub(rb"(<\w+:Afsendelsestidspunkt>)[^<]+", rb"\g<1>2026-03-02T08:00:00Z", body)
    url = f"https://localhost:{stage.config('gateway').listen.port}{next(iter(PATHS.values()))}"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
        session.post(url, data=body, headers={"Content-Type": "text/xml", **headers}) as answer,
    ):
        return answer.headers["CallUUID"], await answer.text()


@pytest.mark.asyncio(loop_scope="module")
async def test_calls_are_counted_and_the_time_of_others_is_told_apart(stage):
    """What was sent, what came of it, and the receiver's delay is none of ours."""
    await stage.act("viborg", "chaos", answer_late=0.3)
    case = {"sags_id": str(uuid4()), "nemrefusions_id": str(uuid4()), "municipality_cvr": CVR, "cpr": CITIZEN}
    case |= {"state": "LOEBENDE", "FoersteFravaersdag": "2026-03-01", "RevurderingsDato": "2026-08-31"}
    await stage.act("ksd", "seed", cases=[case])
    await stage.settle()
    await stage.act("viborg", "chaos", reset=True)

    found = await figures(stage, "gateway")

    calls, seconds = found["sygefravaer_calls_total"], found["sygefravaer_call_seconds_sum"]
    assert calls["SendHaendelseSygefravaerssag", "OK"] == 1
    assert calls["SendForretningsSvar", "OK"] == 2
    assert seconds["SendHaendelseSygefravaerssag", "theirs"] >= 0.3
    assert found["sygefravaer_call_seconds_count"]["SendForretningsSvar", "ours"] == 2
    assert found["sygefravaer_attempts_total"]["SendHaendelseSygefravaerssag", "ok"] == 1
    assert found["sygefravaer_messages"]["queued",] == 0
    assert (await figures(stage, "ksd"))["sygefravaer_calls_total"]["SendForretningsSvar", "OK"] == 2


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_that_is_refused_is_counted_by_its_code(stage):
    """An envelope that is none, and an operation that nobody could read."""
    config = stage.config("viborg")
    tls = ssl.create_default_context(cafile=config.client.ca)
    tls.load_cert_chain(config.client.certificate, config.client.key)
    url = f"https://localhost:{stage.config('gateway').listen.port}{next(iter(PATHS.values()))}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        async with session.post(url, data=b"<x/>", headers={"Content-Type": "text/xml"}) as answer:
            assert answer.status == 500
        async with session.get(url) as answer:
            assert answer.status == 405

    calls = (await figures(stage, "gateway"))["sygefravaer_calls_total"]
    assert (calls["-", "MalformedRequest"], calls["-", "HTTP405"]) == (1, 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_trace_of_a_caller_goes_through_to_ksd(stage, collector):
    """His span is the parent of the gateway's, that of what it asks; the ids that lead to the call are there."""
    trace, parent = uuid4().hex, uuid4().hex[:16]

    call_uuid, answer = await look_up(stage, traceparent=f"00-{trace}-{parent}-01")

    assert "HentSagsListeResponse" in answer
    mine = []
    async with asyncio.timeout(60):
        while len(mine) < 3:
            await collector.came.wait()
            collector.came.clear()
            mine = [span for span in collector.spans if span.trace_id.hex() == trace]
    by_parent = {span.parent_span_id.hex(): span for span in mine}
    outer = by_parent[parent]
    asked = by_parent[outer.span_id.hex()]
    inner = by_parent[asked.span_id.hex()]  # KSD's own, which came by HTTP
    assert [span.name for span in (outer, asked, inner)] == ["HentSagsListe"] * 3
    said = {one.key: one.value.string_value for one in outer.attributes}
    assert (said["sygefravaer.call_uuid"], said["sygefravaer.code"]) == (call_uuid, "OK")
    assert CITIZEN not in str(collector.spans)


@pytest.mark.asyncio(loop_scope="module")
async def test_it_says_whether_it_lives_and_whether_it_can_work(stage):
    """Alive with its database away, and not ready; at other paths there is nothing."""
    assert [(await told(stage, "gateway", path))[0] for path in ("/live", "/ready", "/")] == [200, 200, 404]
    part = stage._parts["gateway"]
    store, part._store = part._store, await closed(stage)
    try:
        live, ready = await told(stage, "gateway", "/live"), await told(stage, "gateway", "/ready")
        unready = (await figures(stage, "gateway"))["sygefravaer_ready"]
    finally:
        part._store = store
    assert (live[0], ready[0], json.loads(ready[1])["why"]) == (200, 503, "its database does not answer")
    assert unready == {(): 0.0}


async def closed(stage):
    """Give a store whose connections are closed."""
    database = stage.config("gateway").database
    store = type(stage._parts["gateway"]._store)(database.dsn, schema=database.schema, size=1)
    await store.open()
    await store.close()
    return store


# --- the board, the alarms, the document ---


def asked_for() -> set[str]:
    """Give every figure of ours that the board and the alarms name."""
    text = (RULES / "alerts.yml").read_text() + BOARD.read_text()
    return {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bsygefravaer_\w+", text)}


@pytest.mark.asyncio(loop_scope="module")
async def test_board_and_alarms_ask_for_what_a_gateway_tells(stage):
    """A figure that nobody tells would be an alarm that never rings; one that nobody asks for is not on the board."""
    _, text = await told(stage, "gateway")
    there = {family.name for family in text_string_to_metric_families(text)}
    there = {f"{name}_total" if f"{name}_total" in text else name for name in there} | ELSEWHERE
    ours = {name for name in there if name.startswith("sygefravaer_")}

    assert {f"sygefravaer_{name}" for name in STANDING} <= ours
    assert asked_for() == ours


def test_the_document_tells_every_figure():
    """Neither more nor less."""
    assert set(re.findall(r"^\| `(sygefravaer_\w+)`", DOCUMENT.read_text(), re.MULTILINE)) == asked_for()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed")
def test_each_alarm_rings_when_it_should():
    """Made-up series through the rules: all is well, and everything at once."""
    names = re.findall(r"alert: (\w+)", (RULES / "alerts.yml").read_text())
    assert [name for name in names if name not in (RULES / "alerts_test.yml").read_text()] == []
    done = subprocess.run(["promtool", "test", "rules", "alerts_test.yml"], cwd=RULES, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- a call ---


def test_a_call_knows_whose_time_it_was():
    """Received, asked, answered, written; an answer that came too late to be waited for ends with the writing."""
    call = telemetry.Call(received=1.0, asked=2.0, answered=5.0, written=6.0)
    late = telemetry.Call(received=1.0, asked=2.0, answered=None, written=6.0)
    alone = telemetry.Call(received=1.0, written=6.0)

    assert [(one.ours, one.theirs) for one in (call, late, alone)] == [(2.0, 3.0), (1.0, 4.0), (5.0, None)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("8f14e45f-ceea", "8f14e45f-ceea"), ("0101505012", None), ("sag 010150-5012", None), ("x" * 65, None), ("", None)],
)
def test_the_callers_own_identifier_is_kept_unless_it_could_be_a_person(given, kept):
    """He may write anything there."""
    with telemetry.names(telemetry.Call(received=0.0)) as call:
        telemetry.name(identifier=given)

    assert call.identifier == kept


def test_traces_without_what_sends_them_are_an_error(monkeypatch):
    """The extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(UsageError) as caught:
        telemetry.Traces("http://127.0.0.1:1/v1/traces", part="gateway", name="x", version="1")
    assert caught.value.code == "ExtraMissing"

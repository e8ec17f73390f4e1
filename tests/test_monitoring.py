# SPDX-License-Identifier: MPL-2.0
"""What a part shows of itself: metrics, health, traces; and that the board and the rules ask for what there is."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from sygefravaer.app import GatewayPart
from sygefravaer.client import Client, client_tls, hoved
from sygefravaer.config import Telling
from sygefravaer.contract.messages import AuthorityContextType, CallContextType, HentSagsListeRequest
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.values import Cpr
from sygefravaer.sandbox.parts import JOBCENTERS
from sygefravaer.sandbox.stage import Stage
from sygefravaer.telemetry import TRIP, Handing, Metrics, Reading, Trip, caller_link

MONITORING = Path(__file__).parents[1] / "monitoring"
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
VIBORG = JOBCENTERS[0]
NUMBER = "0101505012"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OF_PROMETHEUS = {"up"}
NAME = re.compile(r"\b(?:sygefravaer|process)_[a-z_]+\b")


async def get(stage: Stage, path: str, part: str = "gateway") -> tuple[int, str]:
    url = f"http://127.0.0.1:{stage.watch_port(part)}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def one_case(stage: Stage) -> None:
    day = stage.now.date().isoformat()
    await stage.act("ksd", "create_case", municipality_cvr=VIBORG.cvr, cpr=NUMBER, FoersteFravaersdag=day)
    await stage.settle()


async def look_up(stage: Stage, *, identifier: str = "", headers: dict[str, str] | None = None) -> None:
    """Ask as Viborg does, with a trace context as an instrumented caller sends it."""
    own = stage.config("viborg").client
    url = f"https://localhost:{stage.config('gateway').listen.port}{Service.SYGEFRAVAER.path}"
    message = HentSagsListeRequest(
        CallContext=CallContextType(CallersServiceCallIdentifier=identifier or None),
        AuthorityContext=AuthorityContextType(MunicipalityCVR=VIBORG.cvr),
        Hoved=hoved(
            OPERATIONS["HentSagsListe"],
            municipality=VIBORG.cvr,
            sender=VIBORG.system_id,
            cpr=Cpr.parse(NUMBER),
            now=stage.now,
        ),
    )
    token = TRIP.set(Trip(tracer=Handing(), span=headers or {}))
    try:
        tls = client_tls(own.certificate, own.key, own.ca)
        async with Client(url, service=Service.SYGEFRAVAER, tls=tls) as client:
            assert (await client.call(message)).SagsListe
    finally:
        TRIP.reset(token)


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_a_gateway_shows_what_board_and_rules_ask_for(embedded, pki):
    """Every metric they name is there after two calls; labels are of bounded sets, and no number of anybody's."""
    async with Stage(START, server=embedded, pki=pki, telemetry=Telling(port=0)) as stage:
        await one_case(stage)
        await look_up(stage)
        status, text = await get(stage, "/metrics")
        found = samples(text)
        _, of_ksd = await get(stage, "/metrics", "ksd")

    assert status == 200
    asked = {
        name for file in ("alerts.yml", "grafana-board.json") for name in NAME.findall((MONITORING / file).read_text())
    }
    assert len(asked) > 12
    assert asked - found.keys() == set()
    assert found["sygefravaer_calls_total"][(("operation", "HentSagsListe"), ("outcome", "answered"))] == 1
    assert found["sygefravaer_messages"][(("status", "parked"),)] == 0
    assert found["sygefravaer_database_up"][()] == 1
    assert found["sygefravaer_certificate_seconds"][(("use", "listen"),)] > 0
    assert "sygefravaer_calls_total" in samples(of_ksd)
    assert NUMBER not in text
    assert VIBORG.cvr not in text
    assert {name for labels in found["sygefravaer_calls_total"] for name, _ in labels} == {"operation", "outcome"}
    for labels in found["sygefravaer_calls_total"]:
        assert dict(labels)["operation"] in {*OPERATIONS, "unknown"}


async def test_the_gateways_time_and_ksds_are_told_apart(embedded, pki, caplog):
    """A slow KSD is in the receiver's time and not in the gateway's; the log has the four instants of the call."""
    caplog.set_level("INFO", logger="endpoint")
    async with Stage(START, server=embedded, pki=pki, telemetry=Telling(port=0)) as stage:
        await one_case(stage)
        await stage.act("ksd", "chaos", answer_late=0.4)
        await look_up(stage)
        found = samples((await get(stage, "/metrics"))[1])["sygefravaer_call_seconds_sum"]

    def of(where: str) -> float:
        return found[(("operation", "HentSagsListe"), ("where", where))]

    assert of("receiver") >= 0.4
    assert of("own") == pytest.approx(of("whole") - of("receiver"))
    assert of("own") < of("receiver")
    lines = [one for one in caplog.records if one.message == "call.answered" and one.operation == "HentSagsListe"]
    forwarded = next(one for one in lines if hasattr(one, "forwarded"))
    instants = [forwarded.received, forwarded.forwarded, forwarded.answered, forwarded.replied]
    assert instants == sorted(instants)
    assert len(set(instants)) == 4


async def test_health_and_readiness(embedded, pki):
    """A gateway is ready while it reaches its database, and says what is missing; other paths and methods are nothing."""
    async with Stage(START, server=embedded, pki=pki, telemetry=Telling(port=0)) as stage:
        well, ready = await get(stage, "/healthz"), await get(stage, "/readyz")
        nothing = await get(stage, "/")
        part = stage._parts["gateway"]
        assert isinstance(part, GatewayPart)
        await part._opened[0].close()
        unready, metrics = await get(stage, "/readyz"), await get(stage, "/metrics")

    assert (well[0], json.loads(well[1])) == (200, {"status": "ok"})
    assert (ready[0], json.loads(ready[1])["checks"]) == (200, {"taking_calls": True, "database": True})
    assert nothing[0] == 404
    assert (unready[0], json.loads(unready[1])["checks"]["database"]) == (503, False)
    assert samples(metrics[1])["sygefravaer_database_up"][()] == 0


@asynccontextmanager
async def collector():
    """Take spans as an OpenTelemetry collector does (OTLP over HTTP)."""
    spans = []

    async def take(request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            spans.extend((service, span) for scope in resource.scope_spans for span in scope.spans)
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces", spans
    finally:
        await runner.cleanup()


async def test_a_trace_goes_through_the_gateway_to_ksd(embedded, pki):
    """The caller's trace has the gateway's span, the forwarding under it, and KSD's under that; and no number."""
    identifier = str(uuid4())
    async with collector() as (url, spans):
        async with Stage(START, server=embedded, pki=pki, telemetry=Telling(traces=url)) as stage:
            await one_case(stage)
            await look_up(stage, identifier=identifier, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        await asyncio.sleep(0)  # what was left has been sent while the parts stopped
    mine = [(service, span) for service, span in spans if span.trace_id.hex() == TRACE]
    gateway = next(span for service, span in mine if service == "sygefravaer-gateway" and span.name == "HentSagsListe")
    forward = next(span for service, span in mine if span.name == "forward")
    ksd = next(span for service, span in mine if service == "sygefravaer-ksd")
    told = {one.key: one.value.string_value for one in gateway.attributes}

    assert gateway.parent_span_id.hex() == SPAN
    assert forward.parent_span_id == gateway.span_id
    assert ksd.parent_span_id == forward.span_id
    assert told["sygefravaer.callers_service_call_identifier"] == identifier
    assert told["sygefravaer.outcome"] == "answered"
    assert {f"sygefravaer.{name}_at" for name in ("received", "forwarded", "answered", "replied")} <= told.keys()
    assert all(NUMBER not in str(span) for _, span in spans)


async def test_without_a_collector_the_context_is_handed_on(embedded, pki):
    """Who records nothing hands on what came, as the standard says; what is malformed goes no further."""
    async with Stage(START, server=embedded, pki=pki) as stage:
        await one_case(stage)
        seen = []
        ksd = stage._parts["ksd"]
        ksd.tracer.call = lambda _trip, headers: seen.append(headers.get("traceparent"))
        await look_up(stage, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        await look_up(stage, headers={"traceparent": f"00-{TRACE}-{'0' * 16}-01"})

    assert seen == [f"00-{TRACE}-{SPAN}-01", None]


@pytest.mark.parametrize(
    ("identifier", "link"),
    [
        (f"00-{TRACE}-{SPAN}-01", ("traceparent", f"00-{TRACE}-{SPAN}-01")),
        ("7A1E4C52-8D3B-4F60-A2C9-5B7D9E1F3A24", ("uuid", "7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24")),
        (NUMBER, None),
        ("sag 0101505012", None),
        ("", None),
        (None, None),
    ],
)
def test_what_of_a_callers_identifier_may_stand_in_a_trace(identifier, link):
    """A trace context or a UUID; any other text may hold anything, and is left out."""
    assert caller_link(identifier) == link


def test_a_trip_that_is_answered_too_late_keeps_what_the_caller_saw():
    """The budget ended the waiting: what comes later changes nothing of the call's times."""
    trip = Trip(tracer=Handing())
    trip.forward()
    trip.reply("under_way")
    before = trip.whole, trip.receiver, trip.own
    trip.answer()
    trip.forward()

    assert (trip.whole, trip.receiver, trip.own) == before
    assert "answered" not in trip.instants()
    assert Trip(tracer=Handing()).receiver is None


def test_a_gauge_that_is_not_read_is_not_shown():
    """What was true an hour ago is nothing to show."""
    metrics = Metrics(part="gateway", version="1")
    before = metrics.text([Reading(name="messages", value=3, labels={"status": "parked"})])
    after = metrics.text([])

    assert b'sygefravaer_messages{status="parked"} 3.0' in before
    assert b"sygefravaer_messages{" not in after


def test_every_rule_has_made_up_series_that_fire_it():
    """And all of them keep silent where all is well."""
    rules = re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    tests = (MONITORING / "alerts.test.yml").read_text()

    assert sorted(re.findall(r"^  - name: ([A-Z]\w+)$", tests, re.MULTILINE)) == sorted(rules)
    assert sorted(re.findall(r"eval_time: 150m, alertname: (\w+)", tests)) == sorted(rules)


async def test_promtool_agrees(promtool):
    """Prometheus's own tool reads the rules, and plays the made-up series through them."""
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        told = await asyncio.to_thread(
            subprocess.run, [promtool, *words], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture
def promtool():
    """Give Prometheus's own tool, of Debian's package `prometheus`; where it is not, what needs it is left out."""
    return shutil.which("promtool")


def test_the_board_can_be_imported():
    """It is JSON, its panels have ids of their own and a question each, and it brings its data source's choice."""
    board = json.loads((MONITORING / "grafana-board.json").read_text())
    panels = board["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(panel["targets"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert [one["type"] for one in board["templating"]["list"]] == ["datasource"]
    width = [(panel["gridPos"]["x"] + panel["gridPos"]["w"]) for panel in panels]
    assert max(width) <= 24

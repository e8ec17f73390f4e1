# SPDX-License-Identifier: MPL-2.0
"""The sandbox: everything on one machine in one command, steered part by part, taken down whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from sygefravaer import audit
from sygefravaer.cli import cli
from sygefravaer.config import load
from sygefravaer.control import knock
from sygefravaer.errors import ActRefused, UsageError
from sygefravaer.sandbox import cases, command, parts, premises, seed, supervisor
from sygefravaer.sandbox.parts import PARTS, Layout, toml
from sygefravaer.sandbox.premises import runs
from sygefravaer.sandbox.supervisor import Sandbox
from sygefravaer.store import EmbeddedServer, Store

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIBORG = "29189846"
CITIZENS = 27  # each course in both municipalities, and one who is ill from two employers
NAMES = [spec.name for spec in PARTS]


class Up:
    """A sandbox that is up in this process, and what it said on the way."""

    def __init__(self, layout: Layout, summary: dict[str, Any], said: list[str]) -> None:
        self.layout = layout
        self.summary = summary
        self.said = said

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--dir", str(self.layout.directory)])

    async def cli(self, *arguments: str) -> Result:
        return await asyncio.to_thread(self.run, *arguments)

    async def knock(self, part: str, act: str, /, **fields: Any) -> dict[str, Any]:
        return await knock(self.layout.socket(part), act, fields)

    async def status(self) -> dict[str, dict[str, Any]]:
        return {part["name"]: part for part in (await self.knock("supervisor", "status"))["parts"]}

    def tls(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.summary["ca"])
        context.load_cert_chain(certificate, key)
        return context

    async def post(self, name: str) -> tuple[int, str]:
        """Post the ready request with a certificate of the sandbox's authority."""
        context = self.tls(self.layout.pki / f"{name}.pem", self.layout.pki / f"{name}.key")
        body = (self.layout.requests / "HentSagsListe.xml").read_bytes()
        url = self.summary["gateway"]["sygefravaer"]
        headers = {"Content-Type": "text/xml; charset=utf-8"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, ssl=context, headers=headers) as response,
        ):
            return response.status, await response.text()


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sf-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def up() -> AsyncIterator[Up]:
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        said: list[str] = []
        sandbox = Sandbox(layout, port=0, admin_port=0, say=said.append, count=CITIZENS)
        async with sandbox.running() as summary:
            yield Up(layout, summary, said)
        await EmbeddedServer(layout.database).remove()


async def eventually(true: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_it_says_what_a_stranger_needs(up: Up) -> None:
    """`sandbox.json` has exactly the promised shape, and every file it names is there."""
    told = json.loads(up.layout.summary.read_text())

    assert told == up.summary
    assert set(told) == {"gateway", "admin", "ca", "systems", "cases", "accounts"}
    assert set(told["gateway"]) == {"sygefravaer", "sygefravaer_jc"}
    assert [(system["name"], system["role"]) for system in told["systems"]] == [
        ("viborg", "jobcenter"),
        ("aarhus", "jobcenter"),
        ("ksd", "ksd"),
    ]
    for system in told["systems"]:
        assert set(system) == {"name", "role", "uuid", "municipalities", "cert", "key", "p12", "p12_password"}
        assert all(Path(system[file]).is_file() for file in ("cert", "key", "p12"))
    assert len({case["cpr"] for case in told["cases"]}) == CITIZENS < len(told["cases"])
    assert all(
        set(case) == {"cpr", "sags_id", "nemrefusions_id", "municipality_cvr", "state"} for case in told["cases"]
    )
    assert sorted(role for one in told["accounts"] for role in one["roles"]) == [
        *("auditor", "municipality", "operator", "operator", "vendor"),
    ]
    for one in told["accounts"]:
        signing = {"login": one["login"], "password": one["password"]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(told["admin"] + "api/v1/session", json=signing) as signed,
        ):
            assert (signed.status, (await signed.json())["roles"]) == (201, one["roles"])
    assert up.said[0].startswith("Starting PostgreSQL")


async def test_every_part_says_it_is_well(up: Up) -> None:
    """Status names process, port and health of each part, the database too."""
    result = await up.cli("sandbox", "status", "--json")
    told = {part["name"]: part for part in json.loads(result.stdout)["parts"]}

    assert list(told) == [*NAMES, "database"]
    assert {part["health"] for part in told.values()} == {"ok"}
    assert all(alive(part["pid"]) for part in told.values())
    assert len({part["port"] for part in told.values()}) == 6
    table = (await up.cli("sandbox", "status")).stdout.splitlines()
    assert table[0].split() == ["PART", "STATE", "HEALTH", "PID", "PORT"]
    assert table[1].split()[:3] == ["gateway", "running", "ok"]


async def test_ksd_knows_the_cases_in_their_states(up: Up) -> None:
    """Every case of `sandbox.json` is in KSD's register, in the state that it says once the parts have talked."""

    async def talked() -> bool:  # a case whose extension is asked for is in between
        return (await up.knock("supervisor", "status"))["conversation"] == "done"

    await eventually(talked, seconds=60.0)
    known = {case["sags_id"]: case["state"] for case in (await up.knock("ksd", "cases", limit=100))["cases"]}

    assert known == {case["sags_id"]: case["state"] for case in up.summary["cases"]}


async def test_a_conversation_begins_by_itself(up: Up) -> None:
    """All four integrations happen: events answered, an extension asked and granted, an update, a look-up."""

    async def all_said() -> bool:
        sent = [row["operation"] for row in (await up.knock("aarhus", "messages", limit=1000))["sent"]]
        looked = (await up.knock("ksd", "lookups", limit=100))["lookups"]
        wanted = {"SendForretningsSvar", "SendForretningsSvarForlaengelse", "SendOpdateringFravaer"}
        return wanted <= set(sent) and len(looked) > 0

    async def done() -> bool:
        return bool((await up.knock("supervisor", "status"))["conversation"] == "done")

    await eventually(all_said, 40)
    await eventually(lambda: quiet(up), 40)
    await eventually(done, 40)
    assert (await up.cli("sandbox", "status")).stdout.endswith("The opening conversation: done.\n")
    sent = (await up.knock("ksd", "messages", limit=1000))["messages"]
    assert {row["status"] for row in sent} == {"delivered"}
    waiting = (await up.knock("viborg", "inbox"))["extensions"]
    assert waiting, "somebody should find something to do"
    known = {case["sags_id"]: case["state"] for case in (await up.knock("ksd", "cases", limit=100))["cases"]}
    assert known == {case["sags_id"]: case["state"] for case in up.summary["cases"]}


async def quiet(up: Up) -> bool:
    told = [await up.knock(name, "due") for name in ("ksd", "viborg", "aarhus")]
    soon = datetime.now(UTC) + timedelta(seconds=30)  # what KSD does by itself is days away
    return not any(one["in_flight"] or (one["next"] and datetime.fromisoformat(one["next"]) < soon) for one in told)


async def test_the_printed_line_works(up: Up) -> None:
    """The `curl` line, typed as it is printed, gets KSD's answer."""
    line = seed.curl(up.layout, up.summary)

    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", f"{line} -sS"], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert b"HentSagsListeResponse" in done.stdout
    assert b"<s:AntalIAlt>1<" in done.stdout


async def test_a_call_from_the_command_line(up: Up) -> None:
    """A look-up as text masks personal numbers; as JSON or XML it gives what the wire gave."""
    case = next(case for case in up.summary["cases"] if case["state"] == "LOEBENDE")

    text = await up.cli("call", "HentSag", "--on-behalf-of", "mig")
    as_json = await up.cli("call", "HentSag", "--json")
    as_xml = await up.cli("call", "HentSagsListe", "--xml")

    assert text.exit_code == as_json.exit_code == as_xml.exit_code == 0, text.output
    assert f"SagsID: {case['sags_id']}" in text.stdout
    assert case["cpr"] not in text.stdout
    assert json.loads(as_json.stdout)["Sygefravaerssag"]["CprNummer"] == case["cpr"]
    assert as_xml.stdout.startswith("<s:HentSagsListeResponse")


async def test_a_send_from_the_command_line(up: Up) -> None:
    """A positive receipt is exit code 0; a refusal in the receipt, in a reply or in a fault is 1."""
    update = ["call", "SendOpdateringFravaer", "--field", "Opdateringstype=STANDBY"]

    kept = await up.cli(*update)
    refused = await up.cli(*update, "--field", "SagsID=00000000-0000-4000-8000-000000000000")
    unknown = await up.cli("call", "HentSag", "--field", "SagsID=00000000-0000-4000-8000-000000000000")
    fault = await up.cli("call", "HentSagsListe", "--system", "aarhus", "--municipality", VIBORG)

    assert (kept.exit_code, "TransportValideringsKode: OK" in kept.stdout) == (0, True), kept.output
    assert (refused.exit_code, "FejlKode: O401" in refused.stdout) == (1, True), refused.output
    assert (unknown.exit_code, "FejlKode: H501" in unknown.stdout) == (1, True), unknown.output
    assert (fault.exit_code, "ServiceAgreementNotFound" in fault.stderr) == (1, True), fault.output


async def test_another_endpoint_is_called_with_options(up: Up) -> None:
    """The sandbox's gateway, called as any other."""
    system, case = up.summary["systems"][0], up.summary["cases"][0]
    arguments = ["--url", up.summary["gateway"]["sygefravaer"], "--ca", up.summary["ca"], "--cpr", case["cpr"]]
    arguments += ["--cert", system["cert"], "--key", system["key"], "--system-id", system["uuid"]]

    result = await up.cli("call", "HentSagsListe", *arguments, "--municipality", VIBORG)

    assert result.exit_code == 0, result.output


async def test_the_four_wrong_certificates_are_refused(up: Up) -> None:
    """Expired, revoked and foreign do not get through the handshake; an unregistered one gets its fault."""
    for name in ("expired", "revoked", "foreign"):
        with pytest.raises(aiohttp.ClientError):
            await up.post(name)
    status, body = await up.post("unregistered")
    assert status == 500
    assert "UserSystemNotFound" in body
    assert (await up.post("viborg"))[0] == 200


async def test_the_audit_is_sealed(up: Up) -> None:
    """What the gateway did is chained with a key outside the database."""
    database = load(up.layout.config("gateway")).database
    assert database is not None
    store = Store(database.dsn, schema=database.schema, size=1)
    await store.open()
    try:

        async def sealed() -> bool:
            report = await audit.verify(store, key=audit.read_key(up.layout.audit_key))
            return not report.findings and report.sealed > 0

        await eventually(sealed)
    finally:
        await store.close()


async def test_a_killed_part_comes_back_at_its_address(up: Up) -> None:
    """SIGKILL is real, nobody answers for it, and `start` brings it back at the same port with the same data."""
    before = (await up.status())["gateway"]

    killed = await up.cli("sandbox", "kill", "gateway", "--json")
    silence = await up.cli("call", "HentSagsListe")
    again = await up.cli("sandbox", "kill", "gateway")
    started = await up.cli("sandbox", "start", "gateway")

    assert json.loads(killed.stdout)["state"] == "ended"
    assert not alive(before["pid"])
    assert silence.exit_code == 3
    assert "no connection" in silence.stderr.lower()
    assert (again.exit_code, "PartDown" in again.stderr) == (1, True)
    assert started.stdout == "gateway is running.\n"
    after = (await up.status())["gateway"]
    assert after["port"] == before["port"]
    assert after["pid"] != before["pid"]
    assert (await up.cli("call", "HentSagsListe")).exit_code == 0


async def test_a_frozen_part_is_silent_until_it_goes_on(up: Up) -> None:
    """SIGSTOP leaves the process and takes its voice; a part that runs is left alone by `start`."""
    await up.cli("sandbox", "pause", "admin")
    frozen = (await up.status())["admin"]
    await up.cli("sandbox", "start", "admin")
    thawed = (await up.status())["admin"]
    await up.cli("sandbox", "start", "admin")

    assert (frozen["state"], frozen["health"]) == ("paused", "silent")
    assert (thawed["state"], thawed["health"], thawed["pid"]) == ("running", "ok", frozen["pid"])
    assert (await up.status())["admin"]["pid"] == frozen["pid"]


async def test_a_part_that_is_away_cannot_be_frozen(up: Up) -> None:
    """There is no process to freeze, and no part of another name."""
    await up.knock("supervisor", "kill", part="admin")
    with pytest.raises(ActRefused) as caught:
        await up.knock("supervisor", "pause", part="admin")
    assert (await up.cli("sandbox", "start", "admin")).stdout == "admin is running.\n"
    unknown = await up.cli("sandbox", "pause", "database")

    assert caught.value.code == "PartDown"
    assert unknown.exit_code == 1
    assert "gateway, ksd, viborg, aarhus, admin" in unknown.stderr


async def test_the_clock_moves_for_all_parts_and_stays_moved(up: Up) -> None:
    """Every part is moved, and one that is started later begins at the moved time."""
    before = (await up.knock("supervisor", "health"))["now"]
    await up.knock("supervisor", "clock", advance=3600)
    await up.knock("supervisor", "kill", part="admin")
    await up.cli("sandbox", "start", "admin")

    told = [(await up.knock(name, "health"))["now"] for name in [*NAMES, "supervisor"]]

    assert all(now[:13] > before[:13] for now in told)
    for wrong in (-1, "soon", True):
        with pytest.raises(ActRefused, match="not negative"):
            await up.knock("supervisor", "clock", advance=wrong)


async def test_a_part_that_starts_while_the_clocks_stand_stands_with_them(up: Up) -> None:
    """Its start takes machine time, which must not become time of the sandbox: what waits for a later instant waits."""
    assert (await up.cli("clock", "advance", "1s")).exit_code == 0  # which waits for the opening conversation
    now = max([(await up.knock(name, "clock", hold=True))["now"] for name in NAMES])
    try:
        for name in NAMES:
            await up.knock(name, "clock", now=now)
        await up.knock("supervisor", "kill", part="admin")
        await up.cli("sandbox", "start", "admin")

        told = await up.knock("admin", "clock")
    finally:
        for name in NAMES:
            await up.knock(name, "clock", hold=False)
    assert told == {"now": now, "held": True}


async def times(up: Up) -> list[datetime]:
    return [datetime.fromisoformat((await up.knock(name, "clock"))["now"]) for name in NAMES]


async def held(up: Up) -> list[str]:
    return [name for name in NAMES if "held" in await up.knock(name, "clock")]


async def test_the_command_line_moves_all_parts_together(up: Up) -> None:
    """Weeks in one command; whoever calls afterwards, by hand or by the printed line, calls in the moved time."""
    before = json.loads((await up.cli("clock", "show", "--json")).stdout)

    result = await up.cli("clock", "advance", "3w2d", "--json")

    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told) == {"from", "to", "instants", "messages", "quiet", "seen"}
    assert datetime.fromisoformat(told["to"]) - datetime.fromisoformat(told["from"]) == timedelta(weeks=3, days=2)
    assert (told["quiet"], before["moving"]) == ([], False)
    now = await times(up)
    assert max(now) - min(now) < timedelta(seconds=10)
    assert min(now) >= datetime.fromisoformat(told["to"])
    assert (await up.cli("call", "HentSagsListe")).exit_code == 0
    assert (await up.post("viborg"))[0] == 200
    shown = await up.cli("clock", "set", (max(now) + timedelta(days=1)).isoformat())
    assert "messages accepted." in shown.stdout, shown.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("advance", "5x"), 2, "DurationMalformed"),
        (("advance", "999999999y"), 2, "DurationMalformed"),
        (("set", "tomorrow"), 2, "DateMalformed"),
        (("set", "2026-08-31T09:00:00"), 2, "ClockNaive"),
        (("set", "2020-01-01"), 2, "ClockBackwards"),
        (("run-until", "M9"), 2, "EventUnknown"),
        (("run-until", "M3", "--at-most", "1h"), 1, "EventNotSeen"),
    ],
)
async def test_a_move_that_cannot_be_says_why(up: Up, arguments: tuple[str, ...], exit_code: int, code: str) -> None:
    """Each with its code; the time stays usable."""
    result = await up.cli("clock", *arguments, "--json")

    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (exit_code, code), result.output


async def test_parts_that_are_away_are_named_and_catch_up(up: Up) -> None:
    """A frozen and a killed one count as quiet; started again they have the others' time."""
    assert (await up.cli("clock", "advance", "1s")).exit_code == 0  # which waits for the opening conversation
    await up.cli("sandbox", "pause", "viborg")
    await up.cli("sandbox", "kill", "aarhus")

    moved = await up.cli("clock", "advance", "1w")
    await up.cli("sandbox", "start", "viborg")
    await up.cli("sandbox", "start", "aarhus")

    assert moved.exit_code == 0, moved.output
    assert {"Counts as quiet: aarhus (down)", "Counts as quiet: viborg (paused)"} <= set(moved.stdout.splitlines())
    now = await times(up)
    assert max(now) - min(now) < timedelta(seconds=10)
    assert not await held(up)


async def test_who_is_not_quiet_is_named_and_the_clocks_run_on(up: Up) -> None:
    """Exit code 3; another move meanwhile is refused; and afterwards all goes on."""
    await up.knock("viborg", "chaos", answer_late=4.0)
    case = next(case for case in up.summary["cases"] if case["municipality_cvr"] == VIBORG)
    await up.knock("ksd", "resend", sags_id=case["sags_id"])
    moving = asyncio.create_task(up.cli("clock", "advance", "1d", "--timeout", "1.5"))
    await eventually(lambda: is_moving(up))
    with pytest.raises(ActRefused) as second:
        await up.knock("supervisor", "clock", advance=1)

    result = await moving
    await up.knock("viborg", "chaos", reset=True)

    assert second.value.code == "ClockMoves"
    assert (result.exit_code, "NotQuiet" in result.stderr) == (3, True), result.output
    assert "gateway: 1 in flight" in result.stderr
    assert not await held(up)
    assert (await up.cli("clock", "advance", "1d")).exit_code == 0


async def is_moving(up: Up) -> bool:
    return bool((await up.knock("supervisor", "clock"))["moving"])


STORY = """title = "Kort"
story = "Et fravær anmeldes."
turn = "T"
[citizens]
anna = "any"
[[step]]
at = "T+1d 09:00"
who = "ksd"
act = "create_case"
with.cpr = "$anna"
with.FoersteFravaersdag = "$T"
name = "sag"
must = [{ that = "KSD har sagen", ksd = { state = "ANMELDT" } }]
"""


async def test_a_scenario_is_played_by_the_supervisor(up: Up, tmp_path: Path) -> None:
    """Line by line while it plays; nobody else moves the clock meanwhile; afterwards its time is the sandbox's."""
    story = tmp_path / "kort.toml"
    story.write_text(STORY)
    known = await up.knock("supervisor", "scenarios")

    begun = await up.knock("supervisor", "scenario", name=str(story))
    with pytest.raises(ActRefused) as second:
        await up.knock("supervisor", "scenario", name=str(story))
    with pytest.raises(ActRefused) as moved:
        await up.knock("supervisor", "clock", advance=60)
    await eventually(lambda: has_played(up))
    told = await up.knock("supervisor", "scenario")
    rest = await up.knock("supervisor", "scenario", after=len(told["lines"]) - 1)
    kept = await up.knock("supervisor", "health")

    assert "03-flytning" in {one["name"] for one in known["scenarios"]}
    assert (begun["playing"], begun["title"]) == (True, "Kort")
    assert (second.value.code, moved.value.code) == ("ScenarioPlays", "ScenarioPlays")
    assert told["ok"], told
    assert [check["that"] for check in told["checks"]] == ["KSD har sagen"]
    assert {"message", "state", "check"} <= {line["kind"] for line in told["lines"]}
    assert rest["lines"] == told["lines"][-1:]
    assert datetime.fromisoformat(kept["now"]) >= datetime.fromisoformat(told["lines"][-1]["at"])
    assert not await held(up)


async def test_a_play_is_broken_off(up: Up, tmp_path: Path) -> None:
    """Whoever asks for the end gets it, and why it ended; a story that begins in the past does not begin."""
    story = tmp_path / "kort.toml"
    story.write_text(STORY + '\n[[step]]\nat = "T+200w"\n')

    await up.knock("supervisor", "scenario", name=str(story))
    stopped = await up.knock("supervisor", "scenario", stop=True)
    await up.knock("supervisor", "scenario", name=str(story), start="2014-07-01")
    await eventually(lambda: has_played(up))
    unfit = await up.knock("supervisor", "scenario")

    assert (stopped["playing"], stopped["failed"]["code"]) == (False, "ScenarioStopped")
    assert unfit["failed"]["code"] == "ScenarioUnfit"
    assert not await held(up)


async def has_played(up: Up) -> bool:
    return not (await up.knock("supervisor", "scenario"))["playing"]


async def test_the_citizens_are_listed_without_their_numbers(up: Up) -> None:
    """By page, or the one of a case; whoever asks for numbers gets them, since none of these people exists."""
    all_of_them = (await up.knock("supervisor", "citizens"))["citizens"]
    page = (await up.knock("supervisor", "citizens", after=1, limit=2))["citizens"]
    case = up.summary["cases"][0]
    one = (await up.knock("supervisor", "citizens", sags_id=case["sags_id"], numbers=True))["citizens"]

    assert page == all_of_them[1:3]
    assert {citizen["cpr"] for citizen in all_of_them} == {"**********"}
    assert [(citizen["sags_id"], citizen["cpr"]) for citizen in one] == [(case["sags_id"], case["cpr"])]


async def test_any_act_of_a_part_by_hand(up: Up, tmp_path: Path) -> None:
    """Listed without an act; done with fields or a file; refused with the part's own code."""
    file = tmp_path / "fields.json"
    file.write_text('{"limit": 3, "state": "LOEBENDE"}')

    listed = await up.cli("act", "viborg")
    described = await up.cli("act", "supervisor", "--json")
    cases = await up.cli("act", "ksd", "cases", "--file", str(file), "--field", "limit=1", "--json")
    policy = await up.cli("act", "aarhus", "policy", "--field", "event_delay=60")
    unknown = await up.cli("act", "ksd", "dance")
    nobody = await up.cli("act", "database", "health")

    lines = dict(line.split(None, 1) for line in listed.stdout.splitlines())
    assert {"acts", "answer_event", "clock", "due", "inbox", "policy", "update"} <= set(lines)
    assert lines["inbox"].startswith("List the `events`")
    assert "clock" in json.loads(described.stdout)["acts"]
    assert [case["state"] for case in json.loads(cases.stdout)["cases"]] == ["LOEBENDE"]
    assert json.loads(policy.stdout)["event_delay"] == 60
    assert (unknown.exit_code, "UnknownAct" in unknown.stderr) == (1, True)
    assert (nobody.exit_code, "PartUnknown" in nobody.stderr) == (2, True)


async def test_a_second_start_is_refused_and_harms_nothing(up: Up) -> None:
    """The same directory twice, or a port that is taken: an error that names what to do."""
    again = await up.cli("sandbox", "up", "--detach", "--json")
    port = str((await up.status())["gateway"]["port"])
    other = up.layout.directory.parent / "other"
    taken = await asyncio.to_thread(
        CliRunner().invoke, cli, ["sandbox", "up", "--detach", "--dir", str(other), "--port", port]
    )

    assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (2, "SandboxRuns")
    assert (taken.exit_code, "--port" in taken.stderr) == (2, True)
    assert not other.exists()
    assert {part["health"] for part in (await up.status()).values()} == {"ok"}


async def test_two_that_start_at_once_do_not_share_a_directory(up: Up) -> None:
    """Who comes second to the lock is told so, also when both had looked."""
    with pytest.raises(UsageError, match="already runs"), premises.held(up.layout):
        pass


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


async def test_it_outlives_the_command_and_a_killed_supervisor_takes_its_parts_along() -> None:
    """Detached: ready when the command returns. Killed: no part is left, `down` ends the rest, `up` goes on."""
    with short_directory() as directory:
        place = ["--dir", str(directory / "sandbox")]
        ports = ["--port", "0", "--admin-port", "0"]
        some = ["--citizens", "12", "--seed", "5"]
        first = await asyncio.to_thread(run, "sandbox", "up", "--detach", "--json", *some, *ports, *place)
        assert first.exit_code == 0, first.output
        told = json.loads(first.stdout)
        status = json.loads((await asyncio.to_thread(run, "sandbox", "status", "--json", *place)).stdout)
        pids = [part["pid"] for part in status["parts"] if part["name"] != "database"]
        moved = await asyncio.to_thread(run, "clock", "advance", "4w", "--json", *place)
        assert moved.exit_code == 0, moved.output

        os.kill(told["pid"], signal.SIGKILL)
        await eventually(lambda: gone(pids))
        down = await asyncio.to_thread(run, "sandbox", "down", *place)
        second = await asyncio.to_thread(run, "sandbox", "up", "--detach", *ports, *place)
        summary = json.loads((directory / "sandbox" / "sandbox.json").read_text())
        now = json.loads((await asyncio.to_thread(run, "clock", "show", "--json", *place)).stdout)["now"]
        removed = await asyncio.to_thread(run, "sandbox", "down", "--remove", "--json", *place)

        assert timedelta() < datetime.fromisoformat(now) - datetime.fromisoformat(json.loads(moved.stdout)["to"])
        assert down.stdout == "The sandbox is down.\n", down.output
        assert second.exit_code == 0, second.output
        assert "The sandbox is ready" in second.stdout
        assert "curl --cacert" in second.stdout
        assert summary["cases"] == told["sandbox"]["cases"]
        assert len({case["cpr"] for case in summary["cases"]}) == 12
        assert json.loads(removed.stdout) == {"down": True, "removed": True}
        assert not (directory / "sandbox").exists()
        assert (await asyncio.to_thread(run, "sandbox", "down", *place)).stdout == "No sandbox was running.\n"


async def gone(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


async def test_ctrl_c_takes_everything_down() -> None:
    """In the foreground: ready on standard output, and after SIGINT exit code 0 and nothing left."""
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sygefravaer", "sandbox", "up", "--json", "--port", "0", "--admin-port", "0"),
            *("--citizens", "2"),
            *("--dir", str(layout.directory)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert child.stdout is not None
        told = json.loads(await child.stdout.readline())
        assert told["pid"] == child.pid
        pids = [part["pid"] for part in (await supervisor.ask(layout, "status"))["parts"]]

        child.send_signal(signal.SIGINT)

        assert await child.wait() == 0
        assert await gone(pids)
        await command.down(layout, remove=True)


async def test_a_sandbox_that_is_still_starting_can_be_taken_down() -> None:
    """`down` ends it also before its control door is open; the start says that it was interrupted."""
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        arguments = ["sandbox", "up", "--json", "--detach", "--port", "0", "--admin-port", "0"]
        starting = asyncio.create_task(asyncio.to_thread(run, *arguments, "--dir", str(layout.directory)))
        await eventually(lambda: asyncio.to_thread(runs, layout))

        assert await command.down(layout, remove=False)

        result = await starting
        assert result.exit_code == 130, result.output
        assert json.loads(result.stdout)["error"]["code"] == "Interrupted"
        await command.down(layout, remove=True)


async def test_a_start_that_fails_leaves_nothing_running() -> None:
    """A part that cannot start is named with its log, and everything that was started is taken down."""
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        layout.make()
        layout.vault("platform").write_text("no keys")
        layout.vault("platform").chmod(0o600)

        with pytest.raises(UsageError) as caught:
            async with Sandbox(layout, port=0, admin_port=0, say=print).running():
                pytest.fail("it must not get ready")

        assert caught.value.code == "PartEnded"
        assert "gateway ended while it started (exit code 2)" in caught.value.text
        assert "logs/gateway.log" in caught.value.text
        assert EmbeddedServer(layout.database).pid() is None
        assert not list(layout.run.iterdir())
        assert not runs(layout)
        assert layout.directory.stat().st_mode & 0o077 == 0
        await command.down(layout, remove=True)
        assert not layout.directory.exists()


async def test_a_start_can_be_given_up() -> None:
    """Asked to end before it is ready, it takes down what there is and says so."""
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        sandbox = Sandbox(layout, port=0, admin_port=0, say=lambda _: sandbox.end())

        with pytest.raises(UsageError) as caught:
            async with sandbox.running():
                pytest.fail("it must not get ready")

        assert caught.value.code == "Interrupted"
        assert EmbeddedServer(layout.database).pid() is None
        await EmbeddedServer(layout.database).remove()


async def test_directories_that_are_not_ours(tmp_path: Path) -> None:
    """A file, somebody else's directory, one of another version, one without its keys: refused, untouched."""

    async def refusal(directory: Path, **options: Any) -> str:
        with pytest.raises(UsageError) as caught:
            async with Sandbox(Layout(directory), **({"port": 0, "admin_port": 0, "say": print} | options)).running():
                pytest.fail("it must not start")
        return caught.value.code

    (tmp_path / "file").write_text("x")
    assert await refusal(tmp_path / "file") == "DirectoryUnusable"
    assert await refusal(tmp_path / "file" / "under") == "DirectoryUnusable"
    assert await refusal(tmp_path) == "DirectoryForeign"
    other = tmp_path / "other"
    other.mkdir()
    (other / "state.json").write_text("{")
    assert await refusal(other) == "DirectoryBroken"
    (other / "state.json").write_text('{"format": 99}')
    assert await refusal(other) == "DirectoryBroken"
    assert await refusal(tmp_path / "new", port=70_000) == "PortInUse"
    assert sorted(path.name for path in other.iterdir()) == ["state.json"]
    (other / "state.json").write_text('{"format": 1}')
    assert await refusal(other) == "DirectoryBroken"  # its keys are gone
    await EmbeddedServer(other / "database").remove()


async def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When every port of the range is taken, the error says which range."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        monkeypatch.setattr(premises, "OWN_PORTS", range(port, port + 1))
        with pytest.raises(UsageError, match=f"between {port} and {port}"):
            async with Sandbox(Layout(tmp_path / "sandbox"), port=0, admin_port=0, say=print).running():
                pytest.fail("it must not start")


async def test_a_long_directory_keeps_its_sockets_elsewhere(tmp_path: Path) -> None:
    """A socket's path has a limit that a directory may pass."""
    layout = Layout(tmp_path / ("long" * 30))
    layout.make()

    assert layout.run.parent == Path(tempfile.gettempdir())
    assert len(os.fsencode(layout.socket("supervisor"))) <= 100
    assert Layout(tmp_path / ("long" * 30)).run == layout.run
    assert Layout(tmp_path / ("long" * 31)).run != layout.run
    layout.run.rmdir()


async def test_settings_are_written_so_that_they_read_the_same() -> None:
    """Quotes, backslashes and Danish letters survive."""
    import tomllib

    settings = {"a": 'x"\\æ', "n": 3, "f": 0.5, "list": ("p", "q"), "table": {"path": Path("/tmp/å")}}

    read = tomllib.loads(toml(settings))

    assert read == {"a": 'x"\\æ', "n": 3, "f": 0.5, "list": ["p", "q"], "table": {"path": "/tmp/å"}}


async def test_last_words_show_no_more_than_the_event(tmp_path: Path) -> None:
    """Of a log line only its event is repeated; a line that is not ours is cut; none is said so."""
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    process = supervisor.Process(PARTS[0], layout)

    assert process.last_words().startswith("It wrote nothing")
    layout.log("gateway").write_text('{"event": "part.failed", "secret": "x"}\n')
    assert process.last_words().endswith("gateway.log: part.failed")
    layout.log("gateway").write_text("y" * 500)
    assert len(process.last_words()) < 300 + len(str(tmp_path))


def stand_in(directory: Path, script: str) -> str:
    """Make a program that stands in for the interpreter that starts parts and supervisors."""
    path = directory / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


async def test_a_supervisor_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detached start whose process ends without a word is an error of this program, and names its log."""
    monkeypatch.setattr(command.sys, "executable", stand_in(tmp_path, "exit 0"))

    result = await asyncio.to_thread(run, "sandbox", "up", "--detach", "--dir", str(tmp_path / "sandbox"))

    assert result.exit_code == 70
    assert "logs/supervisor.log" in result.stderr


async def test_a_part_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM first, also to a frozen part; who has not ended in time is killed."""
    monkeypatch.setattr(parts, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(parts.sys, "executable", stand_in(tmp_path, "trap '' TERM; echo up; while :; do sleep 1; done"))
    layout = Layout(tmp_path / "sandbox")
    layout.make()
    process = parts.Process(PARTS[0], layout)
    await process.stop()
    await process.kill()
    assert process.exit_code is None
    await process.start()
    await process.start()
    await eventually(lambda: asyncio.to_thread(lambda: "up" in layout.log("gateway").read_text()))
    process.pause()

    await process.stop()

    assert (process.state, process.exit_code) == ("down", -signal.SIGKILL)


async def test_a_part_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a part that has not said that it is well is given up, by name."""
    monkeypatch.setattr(supervisor, "READY_SECONDS", 0.1)
    sandbox = Sandbox(Layout(tmp_path), port=0, admin_port=0, say=print)

    with pytest.raises(UsageError, match="gateway was not ready"):
        await sandbox._ready(sandbox._processes["gateway"])


async def test_a_conversation_that_breaks_off_is_told(tmp_path: Path) -> None:
    """When a part is killed while they talk, the sandbox says so and goes on."""
    said: list[str] = []
    layout = Layout(tmp_path)
    layout.cases.write_text("[]")
    sandbox = Sandbox(layout, port=0, admin_port=0, say=said.append)

    sandbox._choose_ports()
    assert (await sandbox._status({}))["conversation"] == "running"

    await sandbox._converse()

    assert [text.partition(":")[0] for text in said] == ["The opening conversation stopped"]
    assert (await sandbox._status({}))["conversation"] == "stopped"
    assert not layout.state.exists()


async def test_another_number_of_citizens_cannot_come_later(tmp_path: Path) -> None:
    """What is there stays: a later start goes on with it, or is told that it asks for others."""
    layout = Layout(tmp_path)

    def recalled(**wishes: int) -> tuple[int, int]:
        sandbox = Sandbox(layout, port=0, admin_port=0, say=print, **wishes)
        sandbox._recall()
        people = sandbox._people
        sandbox._choose_ports()
        sandbox._remember()
        return people.count, people.seed

    assert recalled(count=7, number=3) == recalled() == recalled(count=7) == recalled(number=3) == (7, 3)
    for other in ({"count": 8}, {"number": 4}, {"count": 50}):
        with pytest.raises(UsageError, match="has 7 citizens of seed 3 already") as caught:
            recalled(**other)
        assert caught.value.code == "CitizensThere"


async def test_progress_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of how many, but not at the end, which has a word of its own."""
    monkeypatch.setattr(cases, "SAY_EVERY", 0.0)
    said: list[str] = []
    progress = cases._Progress(60, said.append)

    progress.add(25, 25)
    progress.add(25, 0)
    progress.add(10, 10)

    assert said == ["Opening the cases: 25 of 60", "Opening the cases: 50 of 60"]
    assert (progress.done, progress.opened) == (60, 35)


async def test_a_list_of_cases_that_cannot_be_read(tmp_path: Path) -> None:
    """One that is gone or cut off is named, with the way out."""
    layout = Layout(tmp_path)
    for write in (lambda: None, lambda: layout.cases.write_text('[\n{"sags_id": ')):
        write()
        with pytest.raises(UsageError, match=r"cases\.json cannot be read") as caught:
            list(cases.read(layout))
        assert caught.value.code == "DirectoryBroken"


async def test_nobody_at_all_and_some_later() -> None:
    """
    A sandbox without citizens starts, answers the printed line with an empty list, and has nothing to talk about.

    Opening more than KSD has opens what is missing, as after a start that was interrupted; again, nothing.
    """
    with short_directory() as directory:
        layout = Layout(directory / "sandbox")
        async with Sandbox(layout, port=0, admin_port=0, say=print, count=0).running() as summary:
            nobody = Up(layout, summary, [])
            assert summary["cases"] == []
            status, body = await nobody.post("viborg")
            assert (status, "<s:AntalIAlt>0<" in body) == (200, True)

            async def done() -> bool:
                return bool((await nobody.knock("supervisor", "status"))["conversation"] == "done")

            await eventually(done, 40)
            for count in (2, 12):
                cases.write(layout, cases.People(count=count))
                assert await cases.open_all(layout, print)
                known = (await nobody.knock("ksd", "cases", limit=100))["cases"]
                told = {row["sags_id"]: row["state"] for row in cases.read(layout)}
                assert {case["sags_id"]: case["state"] for case in known} == told
            assert not await cases.open_all(layout, print)
        await EmbeddedServer(layout.database).remove()


async def test_a_conversation_is_held_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended well is kept, and the next start does not begin it again."""
    held: list[Layout] = []

    async def converse(layout: Layout) -> None:
        held.append(layout)

    monkeypatch.setattr(seed, "converse", converse)
    layout = Layout(tmp_path)
    for _ in range(2):
        sandbox = Sandbox(layout, port=0, admin_port=0, say=print)
        sandbox._recall()
        sandbox._choose_ports()
        await sandbox._converse()
        assert (await sandbox._status({}))["conversation"] == "done"
        assert premises.read_state(layout)["conversed"] is True
    assert held == [layout]

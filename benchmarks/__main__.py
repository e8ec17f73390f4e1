# SPDX-License-Identifier: MPL-2.0
"""
`make bench`: how fast it is, beside what this machine can do at all, in one run.

    python -m benchmarks [--strict] [--seconds 5]

Every figure is taken over mutual TLS with kept connections, by a load generator in a process of its own on the same
machine. `--strict` exits 1 when a target is not reached. Figures of one machine are not those of another: read the
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from benchmarks import accepting, machine
from benchmarks.rig import Rig, message
from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    HentSagRequest,
    HovedType,
)
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.values import MUNICIPALITIES, Cpr

CONNECTIONS = 8
RATE = 250.0  # calls per second: the burst that the platform is to stand
SEND = "SendOpdateringFravaer"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One line of the result."""

    what: str
    rate: float
    p50: float
    p99: float
    errors: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target of docs/quality, and what was found."""

    what: str
    found: str
    wanted: str
    reached: bool


def say(text: str) -> None:
    """Tell the person who waits what is being done; the result goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Sandbox:
    """A sandbox of its own, started and ended by its own command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "sandbox"
        self._command = [sys.executable, "-m", "sygefravaer", "sandbox"]
        self._where = ["--dir", str(self.directory)]

    def __enter__(self):
        ports = ["--port", str(_free_port()), "--admin-port", str(_free_port())]
        subprocess.run([*self._command, "up", *self._where, *ports, "--detach"], check=True, stdout=subprocess.DEVNULL)
        self.summary = json.loads((self.directory / "sandbox.json").read_text("utf-8"))
        status = subprocess.run(
            [*self._command, "status", *self._where, "--json"], check=True, capture_output=True, text=True
        )
        self.status = json.loads(status.stdout)
        self.pki = self.directory / "pki"
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*self._command, "down", *self._where], check=True, stdout=2)

    def system(self, name: str) -> dict:
        """Give the entry of a system in sandbox.json."""
        return next(system for system in self.summary["systems"] if system["name"] == name)

    def port(self, name: str) -> int:
        """Give a part's port."""
        parts = self.status["parts"]
        entries = parts.values() if isinstance(parts, dict) else parts
        named = parts.items() if isinstance(parts, dict) else ((entry["name"], entry) for entry in entries)
        return next(int(entry["port"]) for key, entry in named if key == name)


def lookup(case: dict, system_id: UUID) -> str:
    """Write a HentSag for a case, with a place for BeskedID and time."""
    municipality = MUNICIPALITIES[case["municipality_cvr"]]
    marks = {uuid4(): "{uuid}", uuid4(): "{lane}"}
    besked_id, korrelations_id = marks
    now = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    request = HentSagRequest(
        AuthorityContext=AuthorityContextType(MunicipalityCVR=municipality.cvr.text),
        Hoved=HovedType(
            BeskedID=besked_id,
            Beskedtype="HentSag",
            SnitfladeID="SF2096",
            SnitfladeVersion="2.0",
            KorrelationsID=korrelations_id,
            AfsenderMyndighedCVR=municipality.cvr.text,
            ModtagerMyndighedCVR=municipality.cvr.text,
            AfsenderSystemID=system_id,
            Kommunekode=municipality.kommunekode,
            Afsendelsestidspunkt=now,
            CprNummer=Cpr.of_wire(case["cpr"]),
        ),
        SagsID=UUID(case["sags_id"]),
    )
    text = soap.wrap(codec.encode(request)).decode()
    for mark, place in marks.items():
        text = text.replace(str(mark), place)
    return text.replace("2001-02-03T04:05:06Z", "{now}")


def send() -> tuple[str, str]:
    """Write a send from its sample with places for ids and time; give the text and its path."""
    operation = OPERATIONS[SEND]
    besked_id, lane = uuid4(), uuid4()
    made = message(
        SEND, besked_id=besked_id, lane=lane, sender=Rig.viborg, now=datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    ).decode()
    text = made.replace(str(besked_id), "{uuid}").replace(str(lane), "{lane}").replace("2001-02-03T04:05:06Z", "{now}")
    return text, operation.service.path


async def load(what: str, directory: Path, *, seconds: float, rate: float | None = None, **job: object) -> Measured:
    """Run the load generator once."""
    say(f"  {what}")
    request = directory / "request.xml"
    request.write_text(str(job.pop("text")), encoding="utf-8")
    settings = {"host": "127.0.0.1", "connections": CONNECTIONS, "seconds": seconds, "request": str(request), **job}
    if rate is not None:
        settings |= {"rate": rate, "connections": 32}
    file = directory / "job.json"
    file.write_text(json.dumps(settings, default=str), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", str(file)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    found = json.loads(output)
    latencies = found["latencies"]
    if not latencies:
        raise RuntimeError(f"{what}: not one call of {found['errors']} was answered 200")
    return Measured(
        what=what,
        rate=found["calls"] / found["seconds"],
        p50=latencies[len(latencies) // 2],
        p99=latencies[int(len(latencies) * 0.99)],
        errors=found["errors"],
    )


async def lookups(directory: Path, seconds: float) -> list[Measured]:
    """Measure HentSag: a constant, one endpoint, and through the gateway."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(directory))
        jobcenter = sandbox.system("viborg")
        case = next(
            case for case in sandbox.summary["cases"] if case["municipality_cvr"] in jobcenter["municipalities"]
        )
        text = lookup(case, UUID(jobcenter["uuid"]))
        platform = {
            "certificate": sandbox.pki / "gateway.pem",
            "key": sandbox.pki / "gateway.key",
            "ca": sandbox.summary["ca"],
        }
        path = Service.SYGEFRAVAER.path
        await asyncio.sleep(3)  # the opening conversation ends
        answer = directory / "answer.xml"
        answer.write_bytes(await _one_answer(sandbox, platform, path, text))
        constant = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.constant", *map(str, platform.values()), str(answer)],
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(constant.terminate)
        ceiling_port = int(constant.stdout.readline())
        own = {"certificate": jobcenter["cert"], "key": jobcenter["key"], "ca": sandbox.summary["ca"]}
        here = {"text": text, "path": path, "seconds": seconds}
        gateway = sandbox.port("gateway")
        return [
            await load("the same server, a constant", directory, port=ceiling_port, **here, **platform),
            await load("HentSag, KSD's endpoint alone", directory, port=sandbox.port("ksd"), **here, **platform),
            await load("HentSag through the gateway", directory, port=gateway, **here, **own),
            await load(
                f"HentSag through the gateway at {RATE:.0f}/s", directory, port=gateway, rate=RATE, **here, **own
            ),
        ]


async def _one_answer(sandbox: Sandbox, tls: dict, path: str, text: str) -> bytes:
    body = text.replace("{now}", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    body = body.replace("{uuid}", str(uuid4())).replace("{lane}", str(uuid4()))
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *("curl", "--silent", "--fail", "--cacert", str(tls["ca"]), "--cert", str(tls["certificate"])),
            *("--key", str(tls["key"]), "--header", "Content-Type: text/xml", "--data-binary", body),
            f"https://localhost:{sandbox.port('ksd')}{path}",
        ],
        check=True,
        capture_output=True,
    )
    return done.stdout


async def sends(directory: Path, seconds: float) -> list[Measured]:
    """Measure a send that is accepted and delivered before its caller has his answer."""
    async with Rig(directory) as rig:
        await rig.start_gateway()
        text, path = send()
        name, _ = rig.sender(OPERATIONS[SEND])
        issued = rig.certificates.systems[name]
        job = {
            "text": text,
            "path": path,
            "port": rig.port,
            "certificate": issued.certificate,
            "key": issued.key,
            "ca": rig.pki.ca,
            "seconds": seconds,
        }
        return [
            await load("a send, accepted and delivered", directory, **job),
            await load(f"a send, accepted and delivered, at {RATE:.0f}/s", directory, rate=RATE, **job),
        ]


def judge(lines: list[Measured], accepted: dict[str, float]) -> list[Verdict]:
    """Hold what was found against the targets."""
    constant, endpoint, _, steady, _, sent = lines
    factor = constant.rate / endpoint.rate
    ratio = accepted["rate"] / accepted["pgbench"]
    return [
        Verdict(
            what="HentSag at one endpoint, against its ceiling",
            found=f"ceiling is {factor:.2f}x",
            wanted="at most 4x",
            reached=factor <= 4,
        ),
        Verdict(
            what=f"look-up through the gateway at {RATE:.0f}/s, p50",
            found=f"{steady.p50:.2f} ms",
            wanted="at most 5 ms",
            reached=steady.p50 <= 5 and not steady.errors,
        ),
        Verdict(
            what=f"look-up through the gateway at {RATE:.0f}/s, p99",
            found=f"{steady.p99:.2f} ms",
            wanted="at most 25 ms",
            reached=steady.p99 <= 25 and not steady.errors,
        ),
        Verdict(
            what="durable accept, against pgbench",
            found=f"{ratio:.2f} of its rate",
            wanted="at least 0.6",
            reached=ratio >= 0.6,
        ),
        Verdict(
            what=f"accept to delivered at {RATE:.0f}/s, p99",
            found=f"{sent.p99:.2f} ms",
            wanted="below 1000 ms",
            reached=sent.p99 < 1000 and not sent.errors,
        ),
    ]


def show(
    costs: tuple[float, float], lines: list[Measured], accepted: dict[str, float], verdicts: list[Verdict]
) -> None:
    """Print the tables."""
    constant = lines[0]
    print(f"{os.cpu_count()} cores, mutual TLS, kept connections, load generator on the same machine")
    print(f"two processes hand a byte to and fro in {costs[0]:.0f} us; a page is on disk in {costs[1]:.0f} us\n")
    print(f"{'':46}{'calls/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'errors':>8}{'of ceiling':>12}")
    for line in lines:
        share = f"{line.rate / constant.rate:.2f}" if not line.what.endswith("/s") else ""
        print(f"{line.what:46}{line.rate:10.0f}{line.p50:10.2f}{line.p99:10.2f}{line.errors:8}{share:>12}")
    ours = f"{accepted['rate']:10.0f}{accepted['p50']:10.2f}{accepted['p99']:10.2f}"
    print(f"{'durable accept, 8 connections':46}{ours}")
    print(f"{'pgbench, the same rows, 8 connections':46}{accepted['pgbench']:10.0f}\n")
    for verdict in verdicts:
        mark = "reached" if verdict.reached else "NOT REACHED"
        print(f"{verdict.what:46}{verdict.found:>22}   wanted {verdict.wanted:16}{mark}")


async def main() -> int:
    """Measure everything, print it, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[1])
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load runs (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-bench-") as name:
        directory = Path(name)
        costs = machine.waking(), machine.writing(directory)
        say("Measuring durable accepts beside pgbench")
        accepted = await accepting.measure(directory, options.seconds)
        say("Measuring look-ups in a sandbox")
        lines = await lookups(directory, options.seconds)
        say("Measuring sends between a gateway and plain receivers")
        lines += await sends(directory, options.seconds)
    verdicts = judge(lines, accepted)
    show(costs, lines, accepted, verdicts)
    return int(options.strict and not all(verdict.reached for verdict in verdicts))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))

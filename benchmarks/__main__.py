# SPDX-License-Identifier: MPL-2.0
"""
`make bench`: how fast it is, beside what this machine can do at all, in one run.

    python -m benchmarks [--strict] [--seconds 5]

Every figure is taken over mutual TLS with kept connections, by a load generator in a process of its own on the same
machine. `--strict` exits 1 when a target is not reached. Figures of one machine are not those of another: read the
ratios. For the pages two million messages are filled in, which takes some minutes. The long measures have commands of
their own: `python -m benchmarks.backlog` and `python -m benchmarks.soak`.
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
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks import accepting, delivering, machine, neighbours, pages
from benchmarks.figures import HEAD, Measured, Verdict, judged, load, row, run, say, told
from benchmarks.stand import Stand
from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    HentSagRequest,
    HovedType,
)
from sygefravaer.contract.operations import Service
from sygefravaer.contract.values import MUNICIPALITIES, Cpr

LONGER = 3  # times as long for what is held against itself at a fifth of the rate
RATE = 250.0  # calls per second: the burst that the platform is to stand


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


def judge(lines: list[Measured], accepted: dict[str, float]) -> list[Verdict]:
    """Hold what was found against the targets."""
    constant, endpoint, _, steady = lines
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
    ]


def show(costs: tuple[float, float], lines: list[Measured], accepted: dict[str, float]) -> None:
    """Print the look-ups and the accepts, with what the machine can do at all."""
    constant = lines[0]
    print(f"{os.cpu_count()} cores, mutual TLS, kept connections, load generator on the same machine")
    print(f"two processes hand a byte to and fro in {costs[0]:.0f} us; a page is on disk in {costs[1]:.0f} us\n")
    print(f"{HEAD}{'of ceiling':>12}")
    for line in lines:
        share = f"{line.rate / constant.rate:12.2f}" if not line.what.endswith("/s") else ""
        print(row(line) + share)
    ours = f"{accepted['rate']:10.0f}{accepted['p50']:10.2f}{accepted['p95']:10.2f}{accepted['p99']:10.2f}"
    print(f"{'durable accept, 8 connections':58}{ours}")
    print(f"{'pgbench, the same rows, 8 connections':58}{accepted['pgbench']:10.0f}")


async def main() -> int:
    """Measure everything, print it, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[1])
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load runs (5)")
    parser.add_argument("--messages", type=int, default=pages.MESSAGES, help="how many lie behind the pages (2000000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-bench-") as name:
        directory = Path(name)
        costs = machine.waking(), machine.writing(directory)
        say("Measuring durable accepts beside pgbench")
        accepted = await accepting.measure(directory, options.seconds)
        say("Measuring look-ups in a sandbox")
        lines = await lookups(directory, options.seconds)
        show(costs, lines, accepted)  # at once: what comes after may fail, and this has been measured
        say("Measuring accept to delivered beside pgbench")
        async with Stand(directory / "delivering") as stand:
            delivered = await delivering.measure(stand, options.seconds)
        told(delivered)
        say("Measuring what a dead receiver and a bulk sender do to the others")
        async with Stand(directory / "neighbours", receivers=neighbours.RECEIVERS) as stand:
            beside, poured = await neighbours.measure(stand, LONGER * options.seconds)
        neighbours.show(beside, poured)
        say("Measuring pages with a history behind them")
        seen = await pages.pages(directory, options.messages)
    print(f"pages of the administration, {options.messages} messages in the database, one after the other")
    told(seen)
    print()
    verdicts = [*judge(lines, accepted), *delivering.judge(delivered), *neighbours.judge(beside), *pages.judge(seen)]
    return judged(verdicts, strict=options.strict)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    run(main)

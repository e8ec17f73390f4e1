# SPDX-License-Identifier: MPL-2.0
"""What every measure has: a load generator's run, a line of the result, a target held against what was found."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import uvloop

CONNECTIONS = 8
OPEN_CONNECTIONS = 32  # for a load that comes at a rate, whatever the server does


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One line of the result; latencies in milliseconds."""

    what: str
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int = 0
    calls: int = 0
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target of docs/quality, and what was found."""

    what: str
    found: str
    wanted: str
    reached: bool

    def __str__(self) -> str:
        mark = "reached" if self.reached else "NOT REACHED"
        return f"{self.what:58}{self.found:>26}   wanted {self.wanted:18}{mark}"


HEAD = f"{'':58}{'calls/s':>10}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}{'errors':>8}"


def row(line: Measured) -> str:
    """Write one line of the table."""
    return f"{line.what:58}{line.rate:10.0f}{line.p50:10.2f}{line.p95:10.2f}{line.p99:10.2f}{line.errors:8}"


def say(text: str) -> None:
    """Tell the person who waits what is being done; the result goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def of(
    what: str, latencies: Sequence[float], *, seconds: float, errors: int = 0, since: datetime | None = None
) -> Measured:
    """Make a line of latencies in milliseconds, which came in so many seconds."""
    if not latencies:
        raise RuntimeError(f"{what}: not one call of {errors} was answered 200")
    ranked = sorted(latencies)

    def at(share: float) -> float:
        return ranked[min(len(ranked) - 1, int(len(ranked) * share))]

    return Measured(
        what=what,
        rate=len(ranked) / seconds,
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        errors=errors,
        calls=len(ranked),
        since=since,
    )


def pooled(what: str, results: Sequence[dict]) -> Measured:
    """Make one line of several runs of the load generator, as if they were one."""
    return of(
        what,
        [latency for result in results for latency in result["latencies"]],
        seconds=sum(result["seconds"] for result in results),
        errors=sum(result["errors"] for result in results),
    )


class Generator:
    """One run of the load generator, in a process of its own; see `benchmarks.load` for its job."""

    def __init__(self, directory: Path, *, text: str, **job: object) -> None:
        own = directory / f"load-{uuid4().hex[:12]}"
        own.mkdir()
        request = own / "request.xml"
        request.write_text(text, encoding="utf-8")
        connections = OPEN_CONNECTIONS if job.get("rate") else CONNECTIONS
        settings = {"host": "127.0.0.1", "connections": connections, "request": str(request), **job}
        self._file = own / "job.json"
        self._file.write_text(json.dumps(settings, default=str), encoding="utf-8")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.load", str(self._file)), stdout=asyncio.subprocess.PIPE
        )

    async def result(self) -> dict:
        """Wait for the end, and give what was found."""
        output, _ = await self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return json.loads(output)

    async def end(self) -> None:
        """End it now; what it found is not asked for."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


async def generated(what: str, directory: Path, **job: object) -> dict:
    """Run the load generator once; give what it found."""
    say(f"  {what}")
    generator = Generator(directory, **job)
    await generator.start()
    return await generator.result()


async def load(what: str, directory: Path, **job: object) -> Measured:
    """Run the load generator once."""
    found = await generated(what, directory, **job)
    return replace(pooled(what, [found]), since=datetime.fromisoformat(found["since"]))


def told(lines: Iterable[Measured]) -> None:
    """Print what has been measured."""
    for line in lines:
        print(row(line), flush=True)


def judged(verdicts: Sequence[Verdict], *, strict: bool) -> int:
    """Print what was held against the targets; give the exit code."""
    for verdict in verdicts:
        print(verdict)
    return int(strict and not all(verdict.reached for verdict in verdicts))


def run(main: Callable[[], Awaitable[int]]) -> NoReturn:
    """Run a command to its exit code; SIGTERM ends it in good order, with the servers that it has started."""

    async def guarded() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
        try:
            return await main()
        except asyncio.CancelledError:
            return 128 + signal.SIGTERM

    sys.exit(uvloop.run(guarded()))

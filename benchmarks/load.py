# SPDX-License-Identifier: MPL-2.0
"""
A load generator that costs little itself: prepared bytes over kept TLS connections, in a process of its own.

    python -m benchmarks.load JOB.json

The job names host, port, path, certificate, key, ca, the file of the request, connections, seconds and, if the load is
to come at a rate whatever the server does, the rate per second; without one each connection asks as soon as it has its
answer. `warm: false` leaves out the first call on each connection that is not measured, for one who may get no answer.
In a request `{uuid}`, `{lane}` and `{now}` are replaced for every call. Prints one JSON object: calls, errors,
since when, seconds, the processor time it used itself, and the latencies in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import uvloop

GOOD = b"HTTP/1.1 200"
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time, its answer read by length and by nothing else."""

    def __init__(self, job: dict, tls: ssl.SSLContext) -> None:
        self._job = job
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[bool, bytes]] | None = None
        self._come = b""
        head = f"POST {job['path']} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
        self._head = f"{head}Content-Length: ".encode()

    async def ask(self, body: bytes) -> bool:
        """Post once; tell whether the answer was 200."""
        return (await self.post(body))[0]

    async def post(self, body: bytes) -> tuple[bool, bytes]:
        """Post once; tell whether the answer was 200, and give its body."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_connection(
                lambda: self, self._job["host"], self._job["port"], ssl=self._tls, server_hostname="localhost"
            )
        self._come, self._answer = b"", loop.create_future()
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Take in a piece of the answer."""
        self._come += data
        end = self._come.find(b"\r\n\r\n") + 4
        if end < 4 or self._answer is None or self._answer.done():
            return
        length = LENGTH.search(self._come, 0, end)
        if length is None:
            self._answer.set_exception(ConnectionError("an answer without a length"))
        elif len(self._come) - end >= int(length[1]):
            self._answer.set_result((self._come.startswith(GOOD), self._come[end:]))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits for an answer."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the connection was closed"))

    def close(self) -> None:
        """Close without a farewell."""
        if self._transport is not None:
            self._transport.abort()
        self._transport = None


class Load:
    """One run."""

    def __init__(self, job: dict) -> None:
        self.job = job
        self.text = Path(job["request"]).read_text("utf-8")
        self.latencies: list[float] = []
        self.errors = 0
        self.tls = ssl.create_default_context(cafile=job["ca"])
        self.tls.load_cert_chain(job["certificate"], job["key"])
        self._parts = [part.encode() for part in re.split(r"\{(uuid|lane|now|update)\}", self.text)]

    def body(self) -> bytes:
        """Give the bytes of the next request."""
        parts = self._parts.copy()
        same: dict[bytes, bytes] = {}
        for place in range(1, len(parts), 2):
            name = parts[place]
            if name not in same:
                same[name] = self._now() if name == b"now" else str(uuid4()).encode()
            parts[place] = same[name]
        return b"".join(parts)

    def _now(self) -> bytes:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()

    async def once(self, connection: Connection, due: float) -> None:
        """One call; its latency counts from when it was due, so that waiting for a free connection is not hidden."""
        try:
            good = await connection.ask(self.body())
        except OSError:
            connection.close()
            good = False
        if good:
            self.latencies.append((time.perf_counter() - due) * 1000)
        else:
            self.errors += 1

    async def closed(self, connection: Connection, end: float) -> None:
        """Ask as soon as answered, until the end."""
        while (now := time.perf_counter()) < end:
            await self.once(connection, now)

    async def run(self) -> dict:
        """Warm the connections unless told not to, then measure."""
        connections = [Connection(self.job, self.tls) for _ in range(self.job["connections"])]
        if self.job.get("warm", True):
            await asyncio.gather(*(self.once(connection, time.perf_counter()) for connection in connections))
        self.latencies.clear()
        self.errors = 0
        since, begin, used = datetime.now(UTC), time.perf_counter(), time.process_time()
        end = begin + self.job["seconds"]
        if rate := self.job.get("rate"):
            await self.open(connections, begin, int(rate * self.job["seconds"]), rate)
        else:
            await asyncio.gather(*(self.closed(connection, end) for connection in connections))
        took = time.perf_counter() - begin
        for connection in connections:
            connection.close()
        return {
            "calls": len(self.latencies),
            "errors": self.errors,
            "since": since.isoformat(),
            "seconds": took,
            "cpu": time.process_time() - used,
            "latencies": [round(value, 3) for value in sorted(self.latencies)],
        }

    async def open(self, connections: list[Connection], begin: float, calls: int, rate: float) -> None:
        """Call number n is due at n/rate, whether or not the ones before have been answered."""
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for connection in connections:
            free.put_nowait(connection)

        async def call(due: float) -> None:
            connection = await free.get()
            await self.once(connection, due)
            free.put_nowait(connection)

        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                due = begin + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(call(due))


def main() -> None:
    """Run the job named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(json.dumps(uvloop.run(Load(job).run())))


if __name__ == "__main__":
    main()

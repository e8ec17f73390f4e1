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
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import uvloop

GOOD = b"HTTP/1.1 200"


class Connection:
    """One kept connection."""

    def __init__(self, job: dict, tls: ssl.SSLContext) -> None:
        self._job = job
        self._tls = tls
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, body: bytes) -> bool:
        """Post once; tell whether the answer was 200."""
        return (await self.post(body))[0]

    async def post(self, body: bytes) -> tuple[bool, bytes]:
        """Post once; tell whether the answer was 200, and give its body."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._job["host"], self._job["port"], ssl=self._tls, server_hostname="localhost"
            )
        head = (
            f"POST {self._job['path']} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        return answer.startswith(GOOD), await self._reader.readexactly(length)

    def close(self) -> None:
        """Close without a farewell."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = None


class Load:
    """One run."""

    def __init__(self, job: dict) -> None:
        self.job = job
        self.text = Path(job["request"]).read_text("utf-8")
        self.latencies: list[float] = []
        self.errors = 0
        self.tls = ssl.create_default_context(cafile=job["ca"])
        self.tls.load_cert_chain(job["certificate"], job["key"])
        self.varies = "{uuid}" in self.text
        self.fixed = self.text.encode()

    def body(self) -> bytes:
        """Give the bytes of the next request."""
        if not self.varies:
            return self.fixed
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = self.text.replace("{uuid}", str(uuid4())).replace("{lane}", str(uuid4())).replace("{now}", now)
        return text.replace("{update}", str(uuid4())).encode()

    async def once(self, connection: Connection, due: float) -> None:
        """One call; its latency counts from when it was due, so that waiting for a free connection is not hidden."""
        try:
            good = await connection.ask(self.body())
        except (OSError, asyncio.IncompleteReadError, StopIteration):
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

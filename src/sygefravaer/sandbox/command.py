# SPDX-License-Identifier: MPL-2.0
"""
Starting and ending a sandbox from a command: in the foreground, or in a session of its own.

The detached one is the same program with a pipe to report to: one JSON object per line, `say` while it starts and
then `ready` or `error`. So whoever waits sees the same progress, and the same error, as in the foreground.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sygefravaer.errors import ActRefused, SygefravaerError, UsageError
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import Layout
from sygefravaer.sandbox.premises import ours, runs
from sygefravaer.sandbox.supervisor import Sandbox, Say, ask, clear
from sygefravaer.store import EmbeddedServer

DOWN_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sandbox that answers: how long it took, what `sandbox.json` holds, and a command line to try."""

    seconds: float
    pid: int
    summary: dict[str, Any]
    curl: str


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a start is asked for: ports, 0 for any, and citizens, `None` for those that are there or the usual ones."""

    port: int
    admin_port: int
    count: int | None = None
    number: int | None = None

    def arguments(self) -> list[str]:
        """Give them as the command line spells them."""
        citizens = () if self.count is None else ("--citizens", str(self.count))
        seed_number = () if self.number is None else ("--seed", str(self.number))
        return ["--port", str(self.port), "--admin-port", str(self.admin_port), *citizens, *seed_number]


async def up(layout: Layout, wishes: Wishes, *, say: Say, ready: Callable[[Ready], None]) -> None:
    """Run a sandbox until SIGINT, SIGTERM or `down`; `ready` is called once, when every part answers."""
    began = time.monotonic()
    sandbox = Sandbox(layout, say=say, **vars(wishes))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, sandbox.end)
    try:
        async with sandbox.running() as summary:
            seconds = time.monotonic() - began
            ready(Ready(seconds=seconds, pid=os.getpid(), summary=summary, curl=seed.curl(layout, summary)))
            await sandbox.until_down()
            say("Taking the sandbox down")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def detach(layout: Layout, wishes: Wishes, *, say: Say) -> Ready:
    """Start a sandbox in a session of its own and return when it is ready; raises what went wrong there."""
    began = time.monotonic()
    reading, writing = os.pipe()
    fresh = not layout.directory.exists()
    if fresh:
        layout.make()
    log_path = layout.log("supervisor") if layout.logs.is_dir() else Path(os.devnull)
    with log_path.open("ab") as log, os.fdopen(reading, encoding="utf-8") as report:
        child = subprocess.Popen(  # noqa: S603  our own program
            [
                *(sys.executable, "-m", "sygefravaer", "sandbox", "up", "--dir", str(layout.directory)),
                *(*wishes.arguments(), "--report", str(writing)),
            ],
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        os.close(writing)
        try:
            for line in report:
                told = json.loads(line)
                if "say" in told:
                    say(told["say"])
                elif "ready" in told:
                    child.returncode = 0  # it goes on by itself: nobody here waits for it any more
                    return Ready(**(told["ready"] | {"seconds": time.monotonic() - began}))
                else:
                    child.wait()
                    if fresh and not layout.database.exists():  # nothing that lies elsewhere was made
                        shutil.rmtree(layout.directory)
                    raise UsageError(**told["error"])
            child.wait()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise
    raise UsageError("SupervisorEnded", f"The supervisor ended without a word; its log is {log_path}.")


class Report:
    """The writing end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def say(self, text: str) -> None:
        """Tell of progress; after `ready` nobody listens any more."""
        self._write({"say": text})

    def ready(self, ready: Ready) -> None:
        """Tell that all is well, and hang up."""
        self._write({"ready": vars(ready)})
        self._file.close()

    def error(self, error: SygefravaerError) -> None:
        """Tell what went wrong, and hang up."""
        told = {"code": error.code, "detail": error.detail or error.text, "try_this": getattr(error, "try_this", "")}
        self._write({"error": told})
        self._file.close()

    def _write(self, told: dict[str, Any]) -> None:
        if not self._file.closed:
            self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
            self._file.flush()


async def down(layout: Layout, *, remove: bool) -> bool:
    """End the sandbox, also what a killed supervisor has left, and delete it if asked to; say whether there was one."""
    there = runs(layout)
    if there:
        try:
            await ask(layout, "down")
        except ActRefused:  # it is still starting, or it is just ending
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(layout.lock.read_text()), signal.SIGTERM)
        loop = asyncio.get_running_loop()
        end = loop.time() + DOWN_SECONDS
        while runs(layout):
            if loop.time() > end:
                raise UsageError("SandboxStays", f"The sandbox in {layout.directory} did not end.")
            await asyncio.sleep(0.05)
    there = await clear(layout) or there
    if remove and layout.directory.is_dir() and ours(layout):
        await EmbeddedServer(layout.database).remove()
        shutil.rmtree(layout.directory)
    return there

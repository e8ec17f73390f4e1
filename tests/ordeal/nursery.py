# SPDX-License-Identifier: MPL-2.0
"""
Where the processes of a trial come from: one process that has loaded the product and does nothing but fork.

A killed node is back within a tenth of a second then, instead of after the second or two that loading takes. What is
forked is the product all the same: `app.main` with the settings of a file, or a receiver of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Nursery:
    """The forking process, seen from the trial."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._asked: deque[asyncio.Future[int]] = deque()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and wait until the product is loaded."""
        path = os.pathsep.join(dict.fromkeys(str(Path(each).absolute()) for each in sys.path if each))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ordeal.nursery"),
            env=os.environ | {"PYTHONPATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if not await self._process.stdout.readline():
            raise AssertionError("the nursery did not start")
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """End it, and everything that came from it."""
        if self._process is None:
            return
        self._process.stdin.close()
        await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def fork(
        self,
        task: str,
        config: Path,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        mutant: str | None = None,
        patience: float | None = None,
    ) -> tuple[int, asyncio.Future[int]]:
        """
        Start a process; give its id, and the exit code that it will have (negative: by that signal).

        `patience` is how many seconds it takes to end when it is asked to, if not the product's own.
        """
        asked = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        order = {"task": task, "config": str(config), "log": str(log), "env": dict(env or {})}
        order |= {"mutant": mutant, "patience": patience}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = await asked
        return pid, self._ends[pid]

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if "started" in told:
                self._ends[told["started"]] = asyncio.get_running_loop().create_future()
                self._asked.popleft().set_result(told["started"])
            else:
                self._ends[told["ended"]].set_result(told["code"])


# --- the forking process ---


def _child(order: Mapping[str, Any]) -> None:
    """Become what was asked for; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["env"])
        _become(order)
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1
    except BaseException:  # noqa: BLE001  it says why in its log
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _become(order: Mapping[str, Any]) -> None:
    from ordeal import decider, mutant, outbox, receiver
    from sygefravaer import app, config

    if order["mutant"]:
        mutant.plant(order["mutant"])
    if order["patience"] is not None:
        app.part.STOP_SECONDS = app.platform.STOP_SECONDS = app.platform.LAST_SECONDS = order["patience"]
    match order["task"]:
        case "gateway":
            app.main(config.load(Path(order["config"])), with_parent=True)
        case "receiver":
            receiver.main(Path(order["config"]))
        case "outbox":
            outbox.main(Path(order["config"]))
        case "decider":
            decider.main(Path(order["config"]))


def main() -> None:
    """Load the product, and fork on order until there are no more orders; then end what there is."""
    import gc

    from ordeal import decider, mutant, outbox, receiver  # noqa: F401  loaded once, for all
    from sygefravaer import app  # noqa: F401

    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    rest = b""
    os.write(1, b"loaded\n")
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                children.discard(ended[0])
                told = {"ended": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}
                os.write(1, json.dumps(told).encode() + b"\n")
        if 0 in ready:
            got = os.read(0, 65536)
            if not got:
                break
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    os.close(wake_read)
                    _child(json.loads(line))
                children.add(pid)
                os.write(1, json.dumps({"started": pid}).encode() + b"\n")
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()

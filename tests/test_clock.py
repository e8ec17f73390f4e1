# SPDX-License-Identifier: MPL-2.0
"""Business time: it runs, stands or is moved, only forward, and whoever waits for it notices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sygefravaer.clock import MovableClock, SystemClock
from sygefravaer.errors import UsageError

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_standing_clock_shows_what_it_was_set_to():
    """Nothing passes by itself."""
    clock = MovableClock(START, running=False)

    clock.advance(HOUR)

    assert clock.now() == START + HOUR


def test_a_running_clock_goes_on_from_where_it_was_set():
    """Set an hour ahead, it stays about an hour ahead."""
    clock = MovableClock()

    clock.advance(HOUR)

    assert HOUR <= clock.now() - datetime.now(UTC) + timedelta(seconds=1) < HOUR + timedelta(seconds=2)


def test_it_never_runs_backwards_and_takes_no_naive_time():
    """Messages of the future would exist; a time without a zone is nobody's time."""
    clock = MovableClock(START, running=False)

    with pytest.raises(UsageError, match="backwards"):
        clock.set(START - HOUR)
    with pytest.raises(UsageError, match="zone"):
        clock.set(datetime(2027, 1, 1))  # noqa: DTZ001  the naive time is the point
    assert clock.now() == START


async def test_a_move_wakes_who_waits():
    """Moved past the due instant, a sleeper returns; so does one whose event is set."""
    clock = MovableClock(START, running=False)
    asleep = asyncio.create_task(clock.sleep_until(START + HOUR, wake=asyncio.Event()))
    wake = asyncio.Event()
    endless = asyncio.create_task(clock.sleep_until(None, wake=wake))
    await asyncio.sleep(0.01)
    assert not asleep.done()

    clock.advance(2 * HOUR)
    await asyncio.wait_for(asleep, 1)
    wake.set()
    await asyncio.wait_for(endless, 1)


@pytest.mark.parametrize("clock", [SystemClock(), MovableClock()])
async def test_what_is_due_already_is_not_waited_for(clock):
    """And what is due soon is waited for that long, on the machine's clock and on a running one."""
    wake = asyncio.Event()

    await asyncio.wait_for(clock.sleep_until(clock.now() - HOUR, wake=wake), 1)
    begin = asyncio.get_running_loop().time()
    await asyncio.wait_for(clock.sleep_until(clock.now() + timedelta(milliseconds=60), wake=wake), 1)

    assert asyncio.get_running_loop().time() - begin >= 0.05


# --- held ---


class Worker:
    """A loop that rests in the clock and notes when it goes on."""

    def __init__(self, clock: MovableClock, log: list[str]) -> None:
        self.clock, self.log = clock, log
        self.wake, self.end = asyncio.Event(), asyncio.Event()
        self.pause = 0.0

    async def a_run(self) -> None:
        await self._run("a")

    async def b_run(self) -> None:
        await self._run("b")

    async def _run(self, name: str) -> None:
        while not self.end.is_set():
            self.wake.clear()
            self.log.append(f"{name} begins")
            await asyncio.sleep(self.pause)
            self.log.append(f"{name} ends")
            await self.clock.sleep_until(START + HOUR, wake=self.wake, end=self.end, at_most=0.05)


async def test_a_held_clock_stands_and_nobody_wakes_without_a_turn():
    """Not by a move, not by an event, not by machine time; and in a turn one goes after the other, by name."""
    clock, log = MovableClock(START), []
    worker = Worker(clock, log)
    clock.hold()
    tasks = [asyncio.create_task(worker.b_run()), asyncio.create_task(worker.a_run())]
    await asyncio.sleep(0.01)
    log.clear()
    now = clock.now()

    clock.set(START + 2 * HOUR)
    clock.set(START + 2 * HOUR)  # where it stands already
    worker.wake.set()
    await asyncio.sleep(0.1)
    assert (log, clock.now(), now <= START + HOUR) == ([], START + 2 * HOUR, True)

    worker.pause = 0.02
    still = clock.still
    assert await clock.turn(1.0)
    assert log == ["a begins", "a ends", "b begins", "b ends"]
    assert still is not None
    assert clock.still not in {None, still}

    worker.end.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 1)


async def test_a_turn_that_takes_long_is_waited_for_only_so_long():
    """It goes on, and the next one joins it."""
    clock, log = MovableClock(START, running=False), []
    worker = Worker(clock, log)
    clock.hold()
    task = asyncio.create_task(worker.a_run())
    await asyncio.sleep(0.01)
    worker.pause = 0.2

    assert not await clock.turn(0.02)
    assert clock.still is None
    assert await clock.turn(1.0)
    assert log.count("a begins") == 2

    worker.end.set()
    await asyncio.wait_for(task, 1)


async def test_a_clock_that_is_let_run_again_wakes_who_waited():
    """From the instant at which it stood; one that was made to stand stands on."""
    running, standing = MovableClock(START), MovableClock(START, running=False)
    for clock in (running, standing):
        clock.hold()
        held = clock.now()
        await asyncio.sleep(0.02)
        assert clock.now() == held
        asleep = asyncio.create_task(clock.sleep_until(None, wake=asyncio.Event()))
        await asyncio.sleep(0.01)
        assert not asleep.done()
        clock.release()
        await asyncio.wait_for(asleep, 1)
        assert not clock.held
    assert timedelta() <= running.now() - START < timedelta(seconds=5)
    assert standing.now() == START


async def test_who_slept_when_the_clock_was_held_waits_for_a_turn():
    """What was due soon on the running clock is not done behind the timekeeper's back."""
    clock = MovableClock(START)
    asleep = asyncio.create_task(clock.sleep_until(START + timedelta(milliseconds=40), wake=asyncio.Event()))
    await asyncio.sleep(0.01)
    clock.hold()
    await asyncio.sleep(0.08)
    assert not asleep.done()
    await clock.turn(1.0)
    await asyncio.wait_for(asleep, 1)


async def test_a_clock_that_starts_held_stands_where_it_was_set():
    """It does not run from its first instant on, until it is released."""
    clock = MovableClock(START, held=True)

    await asyncio.sleep(0.01)
    assert (clock.held, clock.now()) == (True, START)
    clock.release()
    await asyncio.sleep(0.01)
    assert clock.now() > START

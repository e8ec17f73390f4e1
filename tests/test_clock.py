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

# SPDX-License-Identifier: MPL-2.0
"""How many lanes the worker carries to a receiver at a time, against receivers that are known."""

from __future__ import annotations

import random

from sygefravaer.delivery.pace import LEAST, SPAN, Pace

MOST = 8


def _under(pace, answer, *, attempts, start=0.0, chance=None):
    """Let so many attempts be answered after `answer(in flight)` seconds, a tenth more or less; give the limits."""
    chance = chance or random.Random(1)
    at, limits = start, []
    for _ in range(attempts):
        seconds = answer(pace.limit) * chance.uniform(0.9, 1.1)
        at += seconds / pace.limit
        pace.took(seconds, at)
        limits.append(pace.limit)
    return limits, at


def test_one_that_is_slow_by_itself_gets_all_it_may_have():
    """It takes as long with one as with eight: nothing waits in line."""
    limits, _ = _under(Pace(MOST), lambda _: 0.2, attempts=200)

    assert limits[0] == LEAST
    assert limits[-1] == MOST


def test_one_that_is_busy_with_few_gets_no_more():
    """It works at one after the other, so eight take eight times as long and nothing is gained by them."""
    limits, _ = _under(Pace(MOST), lambda flying: 0.004 * max(1, flying), attempts=2000)

    assert max(limits[100:]) <= 4


def test_it_is_found_out_anew():
    """After a span it begins with few again: one that was quick and is slow by now gets more, and the other way."""
    pace = Pace(MOST)
    _, at = _under(pace, lambda _: 0.01, attempts=500)
    assert pace.limit == MOST

    limits, at = _under(pace, lambda flying: 0.02 * flying, attempts=50, start=at + SPAN)
    assert limits[0] == LEAST
    assert max(limits) <= 4

    limits, _ = _under(pace, lambda _: 0.5, attempts=200, start=at + SPAN)
    assert limits[-1] == MOST


def test_it_keeps_within_its_bounds():
    """One that may have one lane has one, and an answer in no time at all is no division by zero."""
    pace = Pace(1)
    limits, _ = _under(pace, lambda _: 0.2, attempts=20)
    pace.took(0.0, 1000.0)

    assert {*limits, pace.limit} == {1}

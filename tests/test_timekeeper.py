# SPDX-License-Identifier: MPL-2.0
"""All parts move through time together: in turn, at each one's own instant, and never past what is not quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from sygefravaer.errors import ActRefused, NotQuiet, UsageError
from sygefravaer.sandbox import timekeeper
from sygefravaer.sandbox.events import watch
from sygefravaer.sandbox.stage import Stage
from sygefravaer.sandbox.timekeeper import Quiet, Step, Timekeeper

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
VIBORG, AARHUS = "29189846", "55133018"
CITIZEN = {VIBORG: "0101505012", AARHUS: "0201505012"}
M1, M2, M3, M4 = (
    "SendHaendelseSygefravaerssag",
    "SendForretningsSvar",
    "SendAnmodningForlaengelse",
    "SendForretningsSvarForlaengelse",
)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


@pytest.fixture
async def stage(embedded: Any, pki: Any) -> AsyncIterator[Stage]:
    async with Stage(START, server=embedded, pki=pki) as made:
        yield made


async def opened(stage: Stage, cvr: str = VIBORG) -> str:
    """Open a case that runs; nobody has been told of it before the next turn."""
    sags_id, nemrefusions_id = str(uuid4()), str(uuid4())
    told = {"sags_id": sags_id, "nemrefusions_id": nemrefusions_id, "municipality_cvr": cvr, "cpr": CITIZEN[cvr]}
    case = told | {"state": "LOEBENDE", "FoersteFravaersdag": "2026-03-01", "RevurderingsDato": "2026-08-31"}
    assert (await stage.act("ksd", "seed", cases=[case]))["opened"] == 1
    return sags_id


async def accepted(stage: Stage) -> list[tuple[str, str, str]]:
    told = await stage.act("gateway", "accepted")
    return [(row["accepted_at"], row["operation"], row["municipality_cvr"]) for row in told["messages"]]


# --- who acts when ---


async def test_nothing_happens_by_itself_before_a_turn(stage: Stage) -> None:
    """An act is done at once, and what it leads to when the parts are given turns; then all of it."""
    await opened(stage)
    await asyncio.sleep(0.05)
    assert await accepted(stage) == []

    move = await stage.settle()

    now = START.isoformat()
    assert await accepted(stage) == [(now, M1, VIBORG), (now, M2, VIBORG), (now, M2, VIBORG)]
    assert (move.start, move.end, move.instants, move.messages, move.quiet) == (START, START, 1, 3, ())
    assert (await stage.settle()).instants == 0


async def test_what_is_due_at_the_same_instant_goes_by_name(stage: Stage) -> None:
    """Aarhus before Viborg, whoever was told first; and all clocks are there before anybody speaks."""
    steps: list[Step] = []
    stage.keeper.progress = steps.append
    for name in ("viborg", "aarhus"):
        await stage.act(name, "policy", events="slow", event_delay=DAY.total_seconds())
    await opened(stage, VIBORG)
    await opened(stage, AARHUS)
    await stage.settle()

    move = await stage.advance(2 * DAY)

    later = [row for row in await accepted(stage) if row[0] != START.isoformat()]
    at = (START + DAY).isoformat()
    assert later == [(at, M2, AARHUS), (at, M2, VIBORG)]
    assert steps == [Step(instant=START + DAY, due=("aarhus", "viborg"))]
    assert (move.end, move.instants, stage.now) == (START + 2 * DAY, 1, START + 2 * DAY)
    for part in stage.parts:
        told = await stage.act(part, "clock")
        assert told == {"now": (START + 2 * DAY).isoformat(), "held": True}


async def life(stage: Stage) -> list[tuple[str, str, str]]:
    """Twenty-two weeks of two cases: slow answers, requests, a jobcentre that is away for some hours, an end."""
    await stage.act("viborg", "policy", events="slow", event_delay=3600.0, extensions="diligent")
    cases = [await opened(stage, VIBORG), await opened(stage, AARHUS)]
    for week in range(22):
        if week % 4 == 3:
            await stage.act("viborg", "chaos", refuse_connections=week == 3)
            for sags_id in cases:
                await stage.act("ksd", "resend", sags_id=sags_id)
            await stage.advance(timedelta(hours=5))
            await stage.act("viborg", "chaos", reset=True)
        if week in {16, 20}:
            await stage.act("ksd", "ask_extension", sags_id=cases[0], review="2026-08-31")
        await stage.advance(to=START + (week + 1) * WEEK)
    for sags_id in cases:
        await stage.act("ksd", "end_case", sags_id=sags_id)
    await stage.settle()
    return await accepted(stage)


async def test_the_same_acts_give_the_same_messages_in_the_same_order(embedded: Any, pki: Any) -> None:
    """Twenty-two weeks twice, with back-off, repeats and ties: instant for instant the same."""
    told = []
    for _ in range(2):
        async with Stage(START, server=embedded, pki=pki) as stage:
            told.append(await life(stage))
            assert stage.now == START + 22 * WEEK

    assert told[0] == told[1]
    assert {operation for _, operation, _ in told[0]} == {M1, M2, M3, M4}
    assert [at for at, _, _ in told[0]] == sorted(at for at, _, _ in told[0])


# --- what is a timer, what is quiet ---


async def test_back_off_and_repeats_are_timers(stage: Stage) -> None:
    """A receiver that refuses connections: the gateway tries and the sender asks again, each at its own instant."""
    steps: list[Step] = []
    stage.keeper.progress = steps.append
    await stage.act("viborg", "chaos", refuse_connections=True)
    await opened(stage)

    await stage.advance(timedelta(minutes=2))
    waiting = (await stage.act("ksd", "messages"))["messages"][0]
    await stage.act("viborg", "chaos", reset=True)
    move = await stage.advance(timedelta(minutes=10))

    assert (waiting["status"], waiting["repeats"]) == ("under_way", 1)
    minute = START + timedelta(minutes=1)
    assert Step(instant=minute, due=("ksd",)) in steps
    assert sum(step.due == ("gateway",) for step in steps if step.instant < minute) >= 4  # 1, 3, 7, 15, 31 s
    assert (await stage.act("ksd", "messages"))["messages"][0]["status"] == "delivered"
    assert move.quiet == ()


async def test_a_lane_that_waits_for_a_person_is_quiet_and_named(stage: Stage) -> None:
    """After five days without an answer; a part that was stopped is named as well."""
    await opened(stage)
    await stage.settle()
    sags_id = await opened(stage, AARHUS)
    await stage.stop("aarhus")

    move = await stage.advance(6 * DAY)

    assert move.quiet == (Quiet(part="aarhus", why="down"), Quiet(part="gateway", why="1 parked"))
    assert move.end == stage.now == START + 6 * DAY
    await stage.start("aarhus")
    told = await stage.act("aarhus", "clock")
    assert told["now"] == stage.now.isoformat()
    await stage.act("ksd", "resend", sags_id=sags_id)
    assert (await stage.settle()).quiet == (Quiet(part="gateway", why="1 parked"),)


async def test_a_part_that_comes_back_gets_the_time_of_the_others(stage: Stage) -> None:
    """It is set before it is asked for anything else, in the middle of a move as well."""
    await stage.stop("viborg")
    back = asyncio.Event()

    async def knock(part: str, act: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if part == "viborg" and not back.is_set():
            raise ActRefused("NobodyThere")
        return await stage._knock(part, act, fields)

    keeper = Timekeeper(knock=knock, parts=stage.parts)
    await stage.start("viborg")
    await opened(stage, AARHUS)
    keeper.progress = lambda _: back.set()
    await stage.act("aarhus", "policy", events="slow", event_delay=DAY.total_seconds())

    move = await keeper.advance(2 * DAY)

    assert move.quiet == ()
    assert (await stage.act("viborg", "clock"))["now"] == (START + 2 * DAY).isoformat()


async def test_somebody_silent_does_not_stop_the_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way to a part that is frozen counts as quiet after a while and is named; timers go on."""
    monkeypatch.setattr(timekeeper, "SILENCE", 0.1)
    frozen: set[str] = set()

    async def knock(part: str, act: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if part in frozen:
            raise ActRefused("PartPaused")
        return await stage._knock(part, act, fields)

    keeper = Timekeeper(knock=knock, parts=stage.parts)
    await stage.act("viborg", "chaos", answer_late=3.0)
    frozen.add("viborg")
    await opened(stage)

    move = await keeper.advance(timedelta(minutes=2))

    assert Quiet(part="viborg", why="paused") in move.quiet
    assert Quiet(part="gateway", why="1 in flight, and somebody is silent") in move.quiet
    assert move.end == START + timedelta(minutes=2)


async def test_the_end_of_patience_names_who_is_not_quiet(stage: Stage) -> None:
    """Who and why; the clocks stay where they are, and the next move goes on from there."""
    await stage.act("viborg", "chaos", answer_late=1.5)
    await opened(stage)

    with pytest.raises(NotQuiet, match=r"after 0\.3 s: gateway: \d in flight; ksd: 1 in flight") as refused:
        await stage.keeper.advance(WEEK, timeout=0.3)
    assert (refused.value.code, stage.now) == ("NotQuiet", START)

    await stage.act("viborg", "chaos", reset=True)
    assert (await stage.advance(WEEK)).end == START + WEEK
    assert (await stage.act("ksd", "messages"))["messages"][0]["status"] == "delivered"


async def test_a_part_that_never_does_what_is_due_is_named() -> None:
    """It is asked again, and not for ever."""
    turns = 0

    async def knock(part: str, act: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal turns
        turns += bool(fields.get("turn"))
        told = {"now": START.isoformat(), "held": True, "rests": True}
        return told | {"next": START.isoformat(), "in_flight": 0, "parked": 0, "counters": {}}

    with pytest.raises(NotQuiet, match=r"stuck: what was due at .* is not done"):
        await Timekeeper(knock=knock, parts=["stuck"]).settle(timeout=0.2)
    assert turns > 2


async def test_time_does_not_run_backwards(stage: Stage) -> None:
    """An instant that is past is refused and nothing is moved; the one where all stand is none."""
    await stage.advance(DAY)
    with pytest.raises(ActRefused) as refused:
        await stage.advance(to=START)
    assert (refused.value.code, stage.now) == ("ClockBackwards", START + DAY)
    assert (await stage.advance(to=START + DAY)).end == START + DAY


async def test_a_fault_at_a_door_is_not_taken_for_silence(stage: Stage) -> None:
    """Only a part that is away counts as quiet."""

    async def knock(part: str, act: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if act == "due" and part == "ksd":
            raise ActRefused("ActFailed")
        return await stage._knock(part, act, fields)

    with pytest.raises(ActRefused) as refused:
        await Timekeeper(knock=knock, parts=stage.parts).settle()
    assert refused.value.code == "ActFailed"


# --- until something comes ---


async def test_a_move_ends_where_a_message_is_accepted(stage: Stage) -> None:
    """By operation, by M number and by SF number; not for what was there before."""
    await stage.act("viborg", "policy", events="slow", event_delay=DAY.total_seconds())
    sags_id = await opened(stage)
    await stage.settle()

    move = await stage.run_until(watch("M2"))
    assert (move.end, move.seen is not None and move.seen.split()[0]) == (START + DAY, M2)
    nothing = await stage.run_until(watch(M2), at_most=WEEK)
    assert (nothing.end, nothing.seen) == (START + DAY + WEEK, None)
    await stage.act("ksd", "ask_extension", sags_id=sags_id, review="2026-08-31")
    asked = await stage.run_until(watch("SF2093"), at_most=WEEK)
    assert (asked.end, asked.seen is not None and asked.seen.split()[0]) == (nothing.end, M3)


async def test_a_move_ends_where_a_case_comes_into_a_state(stage: Stage) -> None:
    """With or without the field's name; a case that is in it already is not what is waited for."""
    await stage.act("viborg", "policy", extensions="slow", extension_delay=-5 * DAY.total_seconds())
    first = await opened(stage)
    second = await opened(stage, AARHUS)
    await stage.settle()
    await stage.act("ksd", "ask_extension", sags_id=first, deadline="2026-04-02")

    there = await stage.run_until(watch("SagsTilstand=LOEBENDE"), at_most=DAY)
    came = await stage.run_until(watch("FORLAENGET"), at_most=20 * WEEK)

    assert there.seen is None
    assert (came.seen, came.end > START + DAY) == (f"SagsTilstand=FORLAENGET {first}", True)
    assert came.end == stage.now < START + 20 * WEEK
    assert second not in str(came.seen)


@pytest.mark.parametrize(
    "text", ["M6", "HentSag", "SF2096", "SagsTilstand=", "SagsTilstand=OVERFLYTTET", "state=ANMELDT", ""]
)
def test_an_event_that_is_none_is_refused_with_those_there_are(text: str) -> None:
    """No look-up, no state that a case of KSD never has, no other field."""
    with pytest.raises(UsageError, match=r"M1, M2, M3, M4, M5.*ANMELDT") as refused:
        watch(text)
    assert refused.value.code == "EventUnknown"

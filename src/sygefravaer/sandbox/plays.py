# SPDX-License-Identifier: MPL-2.0
"""
Scenarios played in a sandbox by its supervisor: one play at a time, begun by an act and asked about by others.

A play lasts longer than anybody waits at a door, so whoever watches it asks for the lines that he has not seen yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Protocol

from sygefravaer.control import Fields, Json
from sygefravaer.errors import ActRefused, SygefravaerError
from sygefravaer.sandbox.parts import Layout

if TYPE_CHECKING:
    from sygefravaer.sandbox.scenarios import Line, Report, Scenario

LOG: Final = logging.getLogger(__name__)
MOST: Final = 1_000_000  # cases of one play, and lines of one answer


class Passed(Protocol):
    """Whoever keeps the time hears of it."""

    def __call__(self, now: datetime, *, ended: bool) -> None:
        """Take in the time that the parts have now."""
        ...


class Plays:
    """Plays scenarios in one sandbox; `passed` hears what time a play has come to, `after` is waited for at its end."""

    def __init__(self, layout: Layout, *, passed: Passed, after: Callable[[], Awaitable[None]]) -> None:
        self._layout = layout
        self._passed = passed
        self._after = after
        self._task: asyncio.Task[Report] | None = None
        self._told: Json = {}
        self._lines: list[Line] = []

    @property
    def playing(self) -> bool:
        """Say whether a play is going on."""
        return self._task is not None and not self._task.done()

    async def known(self, given: Json) -> Json:
        """
        List the scenarios that come with this program.

        Fields: none. Of each: `name`, `title`, `story`, and `alone`, which is true where it wants a stage of its own.
        """
        from sygefravaer.sandbox import scenarios  # noqa: PLC0415  most sandboxes never play one

        Fields(given).done()
        told = await asyncio.to_thread(lambda: [scenarios.load(name) for name in scenarios.known()])
        return {"scenarios": [_shown(one) for one in told]}

    async def tell(self, given: Json) -> Json:
        """Begin a play, break it off, or say how far it is, as the act `scenario` of the supervisor says."""
        fields = Fields(given)
        name, start, count = fields.find("name", str), fields.find("start", date), fields.find("count", int)
        stop, after = fields.find("stop", bool), fields.number("after", 0, most=MOST)
        fields.done()
        if count is not None and not 0 < count <= MOST:
            raise ActRefused("FieldWrong", f"`count` is wrong: a whole number from 1 to {MOST} was wanted.")
        if stop:
            await self.stop()
        if name is not None:
            await self._begin(name, start, count)
        return self._progress(after)

    async def stop(self) -> None:
        """Break the play off; the parts behave as before it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _begin(self, name: str, start: date | None, count: int | None) -> None:
        from sygefravaer.sandbox import scenarios  # noqa: PLC0415  as above

        if self.playing:
            raise ActRefused("ScenarioPlays", "A scenario is being played; the next one begins when it has ended.")
        scenario = await asyncio.to_thread(scenarios.load, name)
        self._told, self._lines = _shown(scenario), []
        self._task = asyncio.create_task(self._play(scenario, start, count))

    async def _play(self, scenario: Scenario, start: date | None, count: int | None) -> Report:
        from sygefravaer.law import danish_date  # noqa: PLC0415  as above
        from sygefravaer.sandbox import scenarios  # noqa: PLC0415  as above

        try:
            async with scenarios.RunningSandbox(self._layout) as theatre:
                first = scenarios.first_day(scenario, danish_date(await theatre.now()), wished=start)
                self._told |= {"start": first.isoformat()}
                return await scenarios.play(scenario, theatre, start=first, count=count, tell=self._heard)
        finally:
            await self._after()

    def _heard(self, line: Line) -> None:
        self._lines.append(line)
        self._passed(line.at, ended=False)

    def _progress(self, after: int) -> Json:
        if self._task is None:
            return {"playing": False}
        lines = [
            {"number": number, "at": line.at.isoformat(), "kind": line.kind, "text": " ".join(line.text.split())}
            for number, line in enumerate(self._lines[after:], after + 1)
        ]
        return {"playing": self.playing, **self._told, "count": len(self._lines), "lines": lines, **self._result()}

    def _result(self) -> Json:
        if self._task is None or not self._task.done():
            return {}
        if self._task.cancelled():
            return {"failed": {"code": "ScenarioStopped", "text": "The play was broken off."}}
        error = self._task.exception()
        if error is None:
            report = self._task.result()
            checks = [verdict.as_json() for verdict in report.verdicts]
            return {"ok": report.ok, "seconds": round(report.seconds, 2), "checks": checks}
        if not isinstance(error, SygefravaerError):
            LOG.error("scenario.failed", exc_info=error)
            return {"failed": {"code": "ActFailed", "text": "The play failed; the supervisor's log says where."}}
        return {"failed": {"code": error.code, "text": error.detail or error.text}}


def _shown(scenario: Scenario) -> Json:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "story": " ".join(scenario.story.split()),
        "alone": scenario.alone,
    }

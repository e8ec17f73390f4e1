# SPDX-License-Identifier: MPL-2.0
"""Many runs: a stage that lasts while it can, what all of them visited, and what to say of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from lifecycles import rows
from lifecycles.machine import Lives
from lifecycles.world import FIRST, LAST, Run, World

STEPS = 50
SEED = 2090


class Runs:
    """
    Runs one after the other.

    After a failure every further run gets a stage of its own that begins when the failed run did, so that what is
    tried again is tried under the same calendar.
    """

    def __init__(self, *, progress: Callable[[str], None] = lambda _: None, **given: Any) -> None:
        """`progress` hears of every run that has ended; `given` goes to every stage."""
        self._progress = progress
        self._given = given
        self._world: World | None = None
        self._begun = FIRST
        self._again: datetime | None = None
        self.found: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.legitimate: Counter[str] = Counter()
        self.steps: list[int] = []
        self.took: list[float] = []
        self._clock = 0.0

    def world(self) -> World:
        """Give the stage for the next run."""
        if self._again is not None or (self._world is not None and self._world.now >= LAST):
            self.close()
        if self._world is None:
            self._world = World(self._again or FIRST, **self._given)
        self._begun = self._world.now
        self._clock = time.monotonic()
        for part, habits in HABITS.items():
            self._world.act(part, "policy", **habits)
        return self._world

    def judged(self, run: Run, found: Counter[str], steps: int) -> None:
        """Take note of a run that came to its end."""
        self.found += found
        self.seen += run.seen
        self.legitimate += run.legitimate
        self.steps.append(steps)
        self.took.append(time.monotonic() - self._clock)
        self._progress(f"run {len(self.steps)}: {self._begun:%Y-%m-%d} to {run.world.today}, {self.took[-1]:.1f} s")

    def failed(self) -> None:
        """Take note of a run that failed."""
        self._again = self._begun

    def close(self) -> None:
        """End the stage."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def whole(self, steps: int = STEPS) -> int:
        """Count the runs of full length: Hypothesis ends one early now and then."""
        return sum(1 for each in self.steps if each >= steps)

    def lives(self, number: int, *, steps: int = STEPS, seed: int = SEED, shrink: bool = False) -> None:
        """Live random lives until so many of full length are over; raises what the first that failed did."""
        try:
            while (lacking := number - self.whole(steps)) > 0:
                self._live(lacking, steps=steps, seed=seed, shrink=shrink)
                seed += 1
        finally:
            self.close()

    def _live(self, number: int, *, steps: int, seed: int, shrink: bool) -> None:
        machine = type("Lives", (Lives,), {})
        machine.opens, machine.judged, machine.failed = (
            staticmethod(self.world),
            staticmethod(self.judged),
            staticmethod(self.failed),
        )
        phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
        run_state_machine_as_test(
            seeded(seed)(machine),
            settings=settings(
                max_examples=number,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.normal,
                report_multiple_bugs=False,
                print_blob=False,
            ),
        )

    def report(self) -> str:
        """Say what the runs came to."""
        years = (
            f"{len(self.steps)} runs, {self.whole()} of {STEPS} steps, {sum(self.steps)} steps, {sum(self.took):.0f} s"
        )
        slowest = f"the slowest {max(self.took):.1f} s" if self.took else ""
        parts = [f"{years}, {slowest}", rows.table(self.found), "", "for a person to look at:"]
        parts += [f"{number:>7}  {what}" for what, number in self.legitimate.most_common()]
        parts += ["", "jobcentersager, and what else was seen:"]
        parts += [f"{number:>7}  {what}" for what, number in sorted(self.seen.items())]
        return "\n".join(parts)


HABITS = {
    "ksd": {"asks": True, "decides_after": 7, "form_after": -1},
    "viborg": {"events": "diligent", "extensions": "diligent", "follow_up": "manual"},
    "aarhus": {"events": "diligent", "extensions": "diligent", "follow_up": "manual"},
}
"""How the parts behave when a run begins."""

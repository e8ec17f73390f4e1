# SPDX-License-Identifier: MPL-2.0
"""How KSD behaves where the contract leaves it a choice; set at the control door, kept over a restart."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final, cast

from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.errors import ActRefused
from sygefravaer.ksd.timing import Habits
from sygefravaer.lanes import REPEATS, Lanes
from sygefravaer.store import Store, Tx

NAME: Final = "policy"
LONGEST_REPEAT: Final = 86_400  # seconds: a sender that asks less than daily has given up
LONGEST_WAIT: Final = 3_650  # days

_KEEP: Final = """
INSERT INTO setting (name, value) VALUES (%(name)s, %(value)s::jsonb)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The choices: see the act `policy`."""

    follow_on: bool = True
    asks: bool = True
    decides_after: int | None = 7
    form_after: int | None = None
    hold_reports: bool = False
    repeats: tuple[int, ...] = tuple(int(each.total_seconds()) for each in REPEATS)
    substitutes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the policy as the door shows it and the setting keeps it."""
        return asdict(self) | {"repeats": list(self.repeats), "substitutes": list(self.substitutes)}

    @property
    def habits(self) -> Habits:
        """Give what KSD does with cases by itself."""
        return Habits(asks=self.asks, decides_after=self.decides_after, form_after=self.form_after)


class Policies:
    """The policy in force."""

    def __init__(self, store: Store, lanes: Lanes, first: Policy) -> None:
        self._store = store
        self._lanes = lanes
        self._policy = first

    @property
    def current(self) -> Policy:
        """Give the policy in force."""
        return self._policy

    def takes_substitutes(self, municipality_cvr: str) -> bool:
        """Say whether KSD takes substitute numbers from this municipality."""
        return municipality_cvr in self._policy.substitutes

    async def load(self) -> None:
        """Take up what was kept; what the configuration says holds until something was."""
        async with self._store.read() as tx:
            row = await tx.one("SELECT value FROM setting WHERE name = %(name)s", name=NAME)
        if row is not None:
            kept = {key: tuple(value) if isinstance(value, list) else value for key, value in row["value"].items()}
            self._use(
                replace(self._policy, **cast("Any", kept))
            )  # what an earlier version did not keep is as configured

    async def change(self, wanted: Mapping[str, Any], also: Callable[[Tx], Awaitable[None]]) -> Policy:
        """Change what is given, and keep it; nothing given changes nothing. Other habits also do `also`."""
        policy = replace(self._policy, **wanted)
        if not set(policy.substitutes) <= MUNICIPALITIES.keys():
            raise ActRefused("FieldWrong", "substitutes: CVR numbers of municipalities were wanted.")
        if not policy.repeats or not all(1 <= seconds <= LONGEST_REPEAT for seconds in policy.repeats):
            raise ActRefused("FieldWrong", f"repeats: at least one number from 1 to {LONGEST_REPEAT} was wanted.")
        for name in ("decides_after", "form_after"):
            days = getattr(policy, name)
            if days is not None and not 0 <= days <= LONGEST_WAIT:
                raise ActRefused("FieldWrong", f"{name}: a number of days from 0 to {LONGEST_WAIT} was wanted.")
        if wanted:
            async with self._store.tx() as tx:
                await tx.run(_KEEP, name=NAME, value=json.dumps(policy.as_json()))
                if policy.habits != self._policy.habits:
                    await also(tx)
            self._use(policy)
        return policy

    def _use(self, policy: Policy) -> None:
        self._policy = policy
        repeats = tuple(timedelta(seconds=each) for each in policy.repeats)
        self._lanes.schedule = replace(self._lanes.schedule, repeats=repeats)

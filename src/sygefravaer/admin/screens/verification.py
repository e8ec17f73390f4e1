# SPDX-License-Identifier: MPL-2.0
"""
The verification of the record, which takes long: begun by one person, and watched by everybody who may.

One runs at a time in this process. What it found is shown until the next one; nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final, Self

from fastapi import FastAPI

from sygefravaer.admin import rest_record
from sygefravaer.admin.office import Office
from sygefravaer.admin.problems import problem_of
from sygefravaer.errors import SygefravaerError

WHOLE: Final = 100


class Verification:
    """How far it has come, and what came of the last one: `report`, or `problem` when it could not be made."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self.who = ""
        self.read = self.of_all = 0
        self.begun: datetime | None = None
        self.ended: datetime | None = None
        self.report: dict[str, Any] | None = None
        self.problem: dict[str, Any] | None = None

    @classmethod
    def of(cls, app: FastAPI) -> Self:
        """Give the one of an application."""
        if not hasattr(app.state, "verification"):
            app.state.verification = cls()
        found: Self = app.state.verification
        return found

    @property
    def runs(self) -> bool:
        """Whether it is under way."""
        return self._task is not None and not self._task.done()

    @property
    def percent(self) -> int:
        """How far it is."""
        return WHOLE if not self.of_all else self.read * WHOLE // self.of_all

    def begin(self, office: Office, *, who: str) -> None:
        """Begin, unless one is under way."""
        if self.runs:
            return
        self.who, self.read, self.of_all = who, 0, 0
        self.begun, self.ended = office.machine(), None
        self.report = self.problem = None
        self._task = asyncio.create_task(self._verify(office))

    def close(self) -> None:
        """End it with the process."""
        if self._task is not None:
            self._task.cancel()

    async def _verify(self, office: Office) -> None:
        try:
            self.report = (await rest_record.verified(office, self._watch)).plain()
        except SygefravaerError as error:
            self.problem = problem_of(error)
        self.ended = office.machine()

    def _watch(self, read: int, of_all: int) -> None:
        self.read, self.of_all = read, of_all

# SPDX-License-Identifier: MPL-2.0
"""
Reports from NemRefusion that are held back, and let in again one by one: what happened for twenty days in 2020.

Held reports lie sealed in the order in which they came. When they are let in, each opens its case in a transaction of
its own; one that cannot be a case is dropped with a line in the log that says why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from sygefravaer.clock import Clock
from sygefravaer.control import Fields, Json
from sygefravaer.errors import SygefravaerError
from sygefravaer.ksd import changes
from sygefravaer.ksd.cases import Case, Cases, Cause
from sygefravaer.ksd.casework import Casework
from sygefravaer.ksd.opening import first_picture, new_case
from sygefravaer.law import Law
from sygefravaer.store import Store, Tx
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)

HELD: Final = "ksd.held_report"

_KEEP: Final = "INSERT INTO held_report (content, came_at) VALUES (%(content)s, %(now)s)"
_COUNT: Final = "SELECT count(*) AS number FROM held_report"
_NEXT: Final = "SELECT number, content FROM held_report ORDER BY number LIMIT 1 FOR UPDATE"
_DROP: Final = "DELETE FROM held_report WHERE number = %(number)s"


class Reports:
    """Takes reports, at once or later."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        cases: Cases,
        casework: Casework,
        law: Law,
        holds: Callable[[], bool],
    ) -> None:
        """Take reports; `holds` says whether they are held at this moment."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._cases = cases
        self._casework = casework
        self._law = law
        self.holds = holds

    async def held(self, tx: Tx) -> int:
        """Count the reports that are held."""
        row = await tx.one(_COUNT)
        return int(row["number"]) if row else 0

    async def keep(self, given: Json) -> None:
        """Hold a report, judged as far as it can be without opening a case."""
        first_picture(Fields(given), UUID(int=0), now=self._clock.now(), law=self._law)
        content = self._vault.seal(json.dumps(given).encode(), context=HELD)
        async with self._store.tx() as tx:
            await tx.run(_KEEP, content=content, now=self._clock.now())

    async def take_one(self) -> bool:
        """Let the next held report in, if any may be; tell whether there was one."""
        if self.holds():
            return False
        now = self._clock.now()
        async with self._store.tx() as tx:
            row = await tx.one(_NEXT)
            if row is None:
                return False
            await tx.run(_DROP, number=row["number"])
            try:
                async with tx.savepoint():
                    given = json.loads(self._vault.open(row["content"], context=HELD))
                    await self.open(tx, Fields(given), now=now)
            except SygefravaerError as error:
                LOG.warning("report dropped", extra={"action": "ksd.report_dropped", "code": error.code})
        return True

    async def open(self, tx: Tx, given: Fields, *, now: datetime) -> Case:
        """Open the case of a report and tell it; with SidsteFravaersdag it is ended in the same run."""
        new = new_case(given, now=now, law=self._law)
        given.done()
        case = await self._cases.open(
            tx, new.picture, new.municipality_cvr, now=now, pensioner_since=new.pensioner_since
        )
        return await self._casework.tell(
            tx, case, *changes.opened(case.picture), cause=Cause(name="create_case"), now=now
        )

# SPDX-License-Identifier: MPL-2.0
"""
The cases that KSD opens its register with: a file of them, written and read one by one, and how KSD is told.

The file is a JSON list with a case a line, so that any number of cases is read in constant memory. It is kept once
written: its dates count from that day, and a start that was interrupted goes on with the same cases.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

from sygefravaer import agreements
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.control import knock
from sygefravaer.sandbox import citizens
from sygefravaer.sandbox.parts import GATEWAY, JOBCENTERS, KSD, SUBSTITUTES, Layout
from sygefravaer.sandbox.premises import broken

Row = dict[str, Any]
Say = Callable[[str], None]

CITIZENS: Final = 50
BATCH: Final = 25  # cases of one knock at KSD's door
FORM_AFTER: Final = 6  # days: how soon a citizen of a sandbox returns the oplysningsskema
AT_ONCE: Final = 4  # half of the connections that KSD has to its database
BATCH_SECONDS: Final = 60.0
SAY_EVERY: Final = 2.0  # seconds
SHOWN: Final = ("name", "municipality_cvr", "sags_id", "nemrefusions_id", "FoersteFravaersdag")
_FOR_PEOPLE: Final = frozenset({"name", "closed"})


@dataclass(frozen=True, kw_only=True)
class People:
    """How many citizens a sandbox begins with, and which."""

    count: int = CITIZENS
    seed: int = citizens.SEED


def write(layout: Layout, people: People) -> None:
    """Write the cases, whole or not at all."""
    made = citizens.cases(
        people.count,
        municipalities=[MUNICIPALITIES[cvr] for cvr in KSD.municipalities],
        today=agreements.danish_day(datetime.now(UTC)),
        seed=people.seed,
        substitutes=SUBSTITUTES,
    )
    new = layout.cases.with_name(f"{layout.cases.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, case in enumerate(made):
            file.write(("," if number else "") + "\n" + json.dumps(_row(case), ensure_ascii=False))
        file.write("\n]\n")
    new.replace(layout.cases)


def read(layout: Layout) -> Generator[Row, None, None]:
    """Read the cases, one by one."""
    try:
        with layout.cases.open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("{"):
                    yield json.loads(line.rstrip().removesuffix(","))
    except (OSError, ValueError) as error:
        raise broken(layout, f"{layout.cases} cannot be read.") from error


def listed(layout: Layout, *, after: int, limit: int, sags_id: UUID | None, numbers: bool) -> Iterator[Row]:
    """Give the cases and whose they are, after so many, without the personal numbers unless they are asked for."""
    with contextlib.closing(read(layout)) as rows:
        wanted = (row for row in rows if sags_id is None or row["sags_id"] == str(sags_id))
        for row in islice(wanted, after, after + limit):
            cpr = row["cpr"] if numbers else str(Cpr.parse(row["cpr"]))
            yield {name: row[name] for name in SHOWN} | {"cpr": cpr}


async def open_all(layout: Layout, say: Say) -> bool:
    """
    Let KSD open its register with the cases, some at a time; say whether one was opened that it did not have.

    KSD tells each to its jobcentre in its own time. The jobcentres answer requests for extension by hand meanwhile, so
    that the cases that are REVURDERING stay so: somebody should find something to do. From the next working day on a
    sandbox lives by itself: citizens return their forms, jobcentres follow their cases up.
    """
    await knock(layout.socket(KSD.name), "policy", {"substitutes": list(SUBSTITUTES), "form_after": FORM_AFTER})
    for spec in JOBCENTERS:
        await knock(layout.socket(spec.name), "policy", {"extensions": "manual", "follow_up": "diligent"})
    progress = _Progress(sum(1 for _ in read(layout)), say)
    async with _standing(layout):
        with contextlib.closing(read(layout)) as rows:
            await _open_from(layout, rows, progress)
    return progress.opened > 0


@contextlib.asynccontextmanager
async def _standing(layout: Layout) -> AsyncIterator[None]:
    """
    Let KSD's clock stand meanwhile, so that it does nothing by itself.

    It would tell of the first cases while the last are being opened, and the start would wait for both.
    """
    door = layout.socket(KSD.name)
    await knock(door, "clock", {"hold": True})
    yield
    now = (await knock(layout.socket(GATEWAY.name), "clock"))["now"]
    await knock(door, "clock", {"now": now, "hold": False})


async def _open_from(layout: Layout, rows: Iterator[Row], progress: _Progress) -> None:
    workers = [asyncio.create_task(_open_some(layout, rows, progress)) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


class _Progress:
    """How many cases KSD has, said now and then."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._said = total, say, time.monotonic()
        self.done = self.opened = 0

    def add(self, done: int, opened: int) -> None:
        self.done, self.opened = self.done + done, self.opened + opened
        if time.monotonic() - self._said >= SAY_EVERY and self.done < self._total:
            self._say(f"Opening the cases: {self.done} of {self._total}")
            self._said = time.monotonic()


async def _open_some(layout: Layout, rows: Iterator[Row], progress: _Progress) -> None:
    while batch := list(islice(rows, BATCH)):
        told = {"cases": [_told(row) for row in batch]}
        answer = await knock(layout.socket(KSD.name), "seed", told, timeout=BATCH_SECONDS)
        progress.add(len(batch), answer["opened"])


def _told(row: Row) -> Row:
    """Say of a case what KSD's door takes; a closed absence ends by its own report."""
    left_out = _FOR_PEOPLE | ({"state"} if row.get("closed") else set())
    return {key: value for key, value in row.items() if key not in left_out}


def _granted(on: date) -> str:
    """Choose an extension code: the first that may be asked for and has a longest time."""
    codes = LISTS["forlaengelseskoder"].valid_codes(on)
    return next(code.kode for code in codes if code.extra["kanBesvareSF2093"] == "ja" and code.extra["maksUger"])


def _row(case: citizens.SyntheticCase) -> Row:
    """Say of a case what KSD's control door wants to know; the name of the citizen is for people."""
    row: Row = {
        "name": case.citizen.name,
        "cpr": case.citizen.cpr.reveal(),
        "sags_id": str(case.sags_id),
        "nemrefusions_id": str(case.nemrefusions_id),
        "municipality_cvr": case.municipality.cvr.text,
        "state": case.state,
        "Sagsart": case.sagsart,
        "Beskaeftigelsesstatus": case.employment,
        "FoersteFravaersdag": case.first_day.isoformat(),
        "AnmeldelsesDato": case.reported.isoformat(),
    }
    if case.closed:
        row["closed"] = True
    if case.questionnaire is not None:
        row["OplysningsskemaModtaget"] = case.questionnaire.isoformat()
    if case.employer is not None:
        row["Arbejdsgiver"] = {"CVRNummer": case.employer[1], "Navn": case.employer[0]}
    if case.akasse is not None:
        row["AkasseKode"] = case.akasse
    if case.partial is not None:
        row["DelvisPeriode"] = [{"FraDato": case.partial.isoformat(), "FravaerstimerPrUge": "18.50"}]
    if case.stopped is not None:
        row["on"] = case.stopped.isoformat()
    if case.last_day is not None:
        row["SidsteFravaersdag"] = case.last_day.isoformat()
    if case.extended is not None:
        first, last = case.extended
        row["Forlaengelse"] = [
            {
                "Forlaengelseskode": _granted(first),
                "FraDato": first.isoformat(),
                "TilDato": last.isoformat(),
                "AfgoerelsesDato": (first - timedelta(days=1)).isoformat(),
            }
        ]
    return row

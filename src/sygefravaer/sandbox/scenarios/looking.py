# SPDX-License-Identifier: MPL-2.0
"""Looks at more than one door says at once: whether every case was heard of, and the whole history of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sygefravaer.contract.history import Told, versions
from sygefravaer.contract.messages import HentSagResponse, SygefravaerssagType
from sygefravaer.jobcenter.policy import ACCEPTERET
from sygefravaer.sandbox.parts import KSD
from sygefravaer.sandbox.scenarios.theatres import Theatre

Json = dict[str, Any]

AT_ONCE: Final = 16  # questions to a door at the same time
PAGE: Final = 10_000

HentSag = Callable[[Json], Awaitable[HentSagResponse]]
"""Look a case up with this payload."""


async def heard(theatre: Theatre) -> Json:
    """Ask KSD of every case whether it was told as new once, by one message that is answered for good."""
    cases: list[str] = []
    while True:
        page = {"limit": PAGE} | ({"after": cases[-1]} if cases else {})
        told = await theatre.act(KSD.name, "cases", page)
        cases += [row["sags_id"] for row in told["cases"]]
        if len(told["cases"]) < PAGE:
            break
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(sags_id: str) -> list[Json]:
        async with gate:
            told = await theatre.act(KSD.name, "messages", {"sags_id": sags_id})
            rows: list[Json] = told["messages"]
            return rows

    rows = await asyncio.gather(*(ask(sags_id) for sags_id in cases))
    return {
        "cases": len(cases),
        "told_once": sum(len(each) == 1 for each in rows),
        "delivered": sum(all(one["status"] == "delivered" for one in each) for each in rows),
        "accepted": sum(all(one["final"] == ACCEPTERET for one in each) for each in rows),
    }


async def history(hent_sag: HentSag, sags_id: str) -> list[Told]:
    """Ask for the history and for every version of a case, as any jobcentre can, and join them."""
    whole = await hent_sag({"SagsID": sags_id, "InkluderHistorik": True})
    pictures: dict[int, SygefravaerssagType] = {}
    for event in whole.Haendelse:
        one = await hent_sag({"SagsID": sags_id, "SagsVersion": event.SagsVersion})
        if one.Sygefravaerssag is not None:
            pictures[event.SagsVersion] = one.Sygefravaerssag
    return versions(whole.Haendelse, pictures)

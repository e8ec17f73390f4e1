# SPDX-License-Identifier: MPL-2.0
"""What codes do at KSD in the year after the law has changed (R2027)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import ksd_rig
from codes.effects import facet
from codes.ksd_side import a_case, answered, asked, left

THEN = datetime(2027, 2, 1, 9, tzinfo=UTC)


@asynccontextmanager
async def scene(*, clock, **parts):
    """Start KSD and a gateway's stand-in then."""
    clock.set(THEN)
    async with ksd_rig.scene(clock=clock, **parts) as it:
        yield it


@facet("afslutningsaarsager", "what follows on a refusal when it is no more", {"JOBAFKLARING": "NEDSAT_SATS"})
async def _(it, _):
    case = await a_case(it, FoersteFravaersdag="2026-11-02")
    await answered(it, await asked(it, case), "AFVIST", Afvisningsaarsag="INGEN_GRUND_OPFYLDT")
    return "".join(each["follow_on"] for each in await left(it, case) if each["codes"] == ["INGEN_GRUND_OPFYLDT"])

# SPDX-License-Identifier: MPL-2.0
"""What codes do at KSD when time passes; each look moves the clock on, so nothing here has a date of its own."""

from __future__ import annotations

from datetime import timedelta

from codes import tables
from codes.effects import facet
from codes.ksd_side import a_case, answered, asked, events
from ksd_rig import VIBORG, scene

__all__ = ["scene"]

FAR = "2039-01-31"


@facet("sagsarter", "when payment begins, and by which basis", tables.PAID)
async def _(it, kode):
    first = it.clock.now().date()
    case = await a_case(
        it,
        state="LOEBENDE",
        Sagsart=kode,
        FoersteFravaersdag=first.isoformat(),
        RevurderingsDato=FAR,
        Arbejdsgiver={"CVRNummer": VIBORG},
    )
    await it.pass_time(days=31)
    picture = events(it, case)[-1].Sygefravaerssag
    return (picture.FoersteBeregningsdag - first).days, picture.Sagsart


@facet("afvisningsaarsager", "how the case ends by it", tables.DECIDED)
async def _(it, kode):
    await it.act("policy", decides_after=7)
    ends = []
    for granted in ((), ("P27_1_3",)):
        today = it.clock.now().date()
        first = (today - timedelta(days=60)).isoformat()
        case = await a_case(it, FoersteFravaersdag=first, RevurderingsDato=FAR)
        review = today + timedelta(days=5)
        if granted:
            request = await asked(it, case, review=today.isoformat())
            await answered(it, request, kode=granted[0], til=review, VurderingsDato=today)
            request = await asked(it, case)
        else:
            request = await asked(it, case, review=review.isoformat())
        await answered(it, request, "AFVIST", Afvisningsaarsag=kode, VurderingsDato=today)
        await it.pass_time(days=9)
        picture = events(it, case)[-1].Sygefravaerssag
        ends.append(picture.Afslutningsaarsag)
    return tuple(ends)


@facet("afslutningsaarsager", "a stop that is not taken up again", {"P21_MANGLENDE_MEDVIRKEN": True})
async def _(it, kode):
    await it.act("policy", decides_after=7)
    first = (it.clock.now().date() - timedelta(days=60)).isoformat()
    case = await a_case(it, FoersteFravaersdag=first, RevurderingsDato=FAR)
    await it.act("change_case", sags_id=str(case.SagsID), move="STOP")
    await it.pass_time(days=37)
    return events(it, case)[-1].Sygefravaerssag.Afslutningsaarsag == kode

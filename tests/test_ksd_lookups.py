# SPDX-License-Identifier: MPL-2.0
"""What a municipality may see (SF2096), and what is recorded about it, over real mutual TLS."""

from datetime import date
from uuid import UUID, uuid4

import pytest

from ksd_rig import AARHUS, CPR, ODENSE, OTHER_CPR, VIBORG, fejl, scene
from sygefravaer.client import Client, client_tls
from sygefravaer.contract import codec
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.errors import CallFailed, FaultReceived
from sygefravaer.soap import element_bytes


@pytest.fixture
async def ksd(make_store, vault, clock, pki):
    async with scene(make_store=make_store, vault=vault, clock=clock, pki=pki) as found:
        yield found


async def log(ksd, **given):
    """List what was recorded, the first first, as (operation, code, reason)."""
    rows = (await ksd.act("lookups", **given))["lookups"]
    return [(each["operation"], each["code"], each["reason"]) for each in reversed(rows)]


async def moved(ksd):
    """Open a case in Viborg, change it, move it to Aarhus, change it there; give its SagsID's picture."""
    await ksd.seeded(state="LOEBENDE")
    case = ksd.gateway.m1[0].Sygefravaerssag
    await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode="01")
    await ksd.act("move_case", sags_id=str(case.SagsID), kommunekode="0751")
    await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode="02")
    await ksd.quiet()
    return case


async def test_a_case_is_answered_as_it_is_and_as_it_was(ksd):
    """The present version without a number, an earlier one with, H504 for one that never was."""
    case = await ksd.opened()
    await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode="01")
    await ksd.quiet()
    assert (await ksd.look(case)).Sygefravaerssag == ksd.gateway.m1[-1].Sygefravaerssag
    assert (await ksd.look(case, SagsVersion=1)).Sygefravaerssag == case
    assert (await ksd.look(nemref=case.NemrefusionsID)).Sygefravaerssag.SagsVersion == 2
    missing = await ksd.look(case, SagsVersion=3, InkluderHistorik=True)
    assert (fejl(missing), missing.Sygefravaerssag, missing.Haendelse) == (["H504"], None, ())


async def test_history_is_newest_first_and_at_most_fifty(ksd):
    """Each version with its event, its day, its reasons and the message that told it; only if it is asked for."""
    case = await ksd.opened()
    assert (await ksd.look(case)).Haendelse == ()
    for index in range(51):
        await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode=str(index), on="2026-02-01")
    await ksd.quiet()
    found = (await ksd.look(case, InkluderHistorik=True)).Haendelse
    assert [each.SagsVersion for each in found] == list(range(52, 2, -1))
    assert found[0].BeskedID == ksd.gateway.m1[-1].Hoved.BeskedID
    assert (found[0].Haendelsestype, found[0].HaendelsesDato) == ("AENDRET", date(2026, 2, 1))
    assert found[0].Aendringsaarsag == ("BEREGNING_AENDRET",)
    assert found[0].RegistreretTidspunkt == ksd.clock.now()


async def test_a_former_municipality_sees_what_it_was_told(ksd):
    """Its last own version, OVERFLYTTET with where to, no later event, H504 for later versions; the new one sees all."""
    case = await moved(ksd)
    old = await ksd.look(case, InkluderHistorik=True)
    assert (old.Sygefravaerssag.SagsVersion, old.Sygefravaerssag.SagsTilstand) == (3, "OVERFLYTTET")
    assert old.OverflyttetTilKommunekode == "0751"
    assert [each.SagsVersion for each in old.Haendelse] == [3, 2, 1]
    assert fejl(await ksd.look(case, SagsVersion=4)) == ["H504"]
    earlier = await ksd.look(case, SagsVersion=1)
    assert (earlier.Sygefravaerssag.SagsTilstand, earlier.OverflyttetTilKommunekode) == ("LOEBENDE", "0751")
    assert fejl(await ksd.look(case, cpr=OTHER_CPR)) == ["H501"]

    new = await ksd.look(case, cvr=AARHUS, InkluderHistorik=True)
    assert (new.Sygefravaerssag.SagsVersion, new.Sygefravaerssag.SagsTilstand) == (5, "LOEBENDE")
    assert new.OverflyttetTilKommunekode is None
    assert [each.SagsVersion for each in new.Haendelse] == [5, 4, 2, 1]
    assert fejl(await ksd.look(case, cvr=AARHUS, SagsVersion=3)) == ["H504"]


async def test_a_case_that_came_back_is_the_municipalitys_own(ksd):
    """After moving there and back the first municipality holds it again; the other is the former one."""
    case = await moved(ksd)
    await ksd.act("move_case", sags_id=str(case.SagsID), municipality_cvr=VIBORG)
    await ksd.quiet()
    assert (await ksd.look(case)).Sygefravaerssag.SagsTilstand == "LOEBENDE"
    away = await ksd.look(case, cvr=AARHUS)
    assert (away.Sygefravaerssag.SagsTilstand, away.OverflyttetTilKommunekode) == ("OVERFLYTTET", "0791")


async def test_unknown_and_not_yours_are_the_same_bytes(ksd):
    """H501 for what never was, another's case, another's with another CPR, and keys that disagree; the record knows."""
    case, other = await ksd.opened(), await ksd.opened(cpr=OTHER_CPR)
    operation = OPERATIONS["HentSag"]

    async def raw(**given):
        values = {"SagsID": given.pop("sags_id", None)}
        from sygefravaer.contract.messages import HentSagRequest

        message = HentSagRequest(**ksd.head("HentSag", **given), **values)
        return element_bytes((await ksd.client.post(codec.encode(message), operation)).element)

    answers = {
        await raw(sags_id=uuid4()),
        await raw(sags_id=case.SagsID, cvr=ODENSE),
        await raw(sags_id=case.SagsID, cvr=ODENSE, cpr=OTHER_CPR),
        await raw(nemrefusions_id=uuid4()),
        await raw(nemrefusions_id=case.NemrefusionsID, cvr=ODENSE),
        await raw(sags_id=case.SagsID, nemrefusions_id=other.NemrefusionsID),
    }
    assert len(answers) == 1
    assert b"H501" in answers.pop()
    assert fejl(await ksd.look(case, cpr=OTHER_CPR)) == ["H503"]
    assert [reason[:4] for _, _, reason in await log(ksd)] == [
        *("H501", "H502", "H502", "H501", "H502", "H501", "H503"),
    ]


async def test_every_look_up_is_recorded_before_it_is_answered(ksd):
    """Who, for which municipality, on whose behalf, about whom, with the true outcome; each repetition anew."""
    case = await ksd.opened()
    await ksd.look(case, user="Åse")
    await ksd.look(case, user=None)
    await ksd.listed()
    rows = (await ksd.act("lookups"))["lookups"]
    assert [each["on_behalf_of"] for each in rows] == [None, None, "Åse"]
    assert rows[-1]["caller"] == ksd.hub.serial_key
    assert (rows[-1]["municipality_cvr"], rows[-1]["sags_id"]) == (VIBORG, str(case.SagsID))
    assert [each[:2] for each in await log(ksd)] == [("HentSag", "OK"), ("HentSag", "OK"), ("HentSagsListe", "OK")]
    assert len(await log(ksd, cpr=CPR)) == 3
    assert await log(ksd, cpr=OTHER_CPR, limit=5) == []
    async with ksd.store.tx() as tx:
        await tx.run("ALTER TABLE access_log RENAME TO gone")
    with pytest.raises(FaultReceived, match="InternalError"):
        await ksd.look(case)


async def test_a_list_has_every_case_the_municipality_may_see(ksd):
    """The latest absence first; others' cases are not in it; no case is an empty list, not an error."""
    first = await ksd.opened(Arbejdsgiver={"CVRNummer": VIBORG})
    await ksd.opened(FoersteFravaersdag="2026-02-01", SidsteFravaersdag="2026-02-20")
    await ksd.opened(municipality_cvr=AARHUS)
    found = await ksd.listed()
    assert (found.AntalIAlt, found.FlereSider, found.FejlListe) == (2, False, None)
    latest, earliest = found.SagsListe.Sag
    assert (latest.SagsTilstand, latest.SidsteFravaersdag, latest.SagsVersion) == (
        *("AFSLUTTET", date(2026, 2, 20), 2),
    )
    assert (earliest.SagsID, earliest.CVRNummer, earliest.Kommunekode) == (first.SagsID, VIBORG, "0791")
    assert earliest.RevurderingsDato == date(2026, 4, 30)
    for given in ({"cvr": ODENSE}, {"cpr": OTHER_CPR}):
        nothing = await ksd.listed(**given)
        assert (nothing.AntalIAlt, nothing.SagsListe.Sag, nothing.FejlListe) == (0, (), None)


async def test_a_former_municipality_lists_what_it_was_told(ksd):
    """OVERFLYTTET, and its own period only."""
    await moved(ksd)
    (old,) = (await ksd.listed()).SagsListe.Sag
    (new,) = (await ksd.listed(cvr=AARHUS)).SagsListe.Sag
    assert (old.SagsTilstand, old.SagsVersion) == ("OVERFLYTTET", 3)
    assert (new.SagsTilstand, new.SagsVersion) == ("LOEBENDE", 5)
    assert (await ksd.listed(SagsTilstand=("OVERFLYTTET",))).AntalIAlt == 1
    assert (await ksd.listed(SagsTilstand=("LOEBENDE",))).AntalIAlt == 0
    assert (await ksd.listed(FraDato=date(2026, 3, 9))).AntalIAlt == 0
    assert (await ksd.listed(cvr=AARHUS, FraDato=date(2026, 3, 9))).AntalIAlt == 1


async def test_a_list_has_pages(ksd):
    """SideStoerrelse and Side; AntalIAlt counts all; a page past the end is empty."""
    for day in range(1, 6):
        await ksd.opened(FoersteFravaersdag=f"2026-01-0{day}")
    pages = [await ksd.listed(Side=page, SideStoerrelse=2) for page in (1, 2, 3, 4)]
    assert [[each.FoersteFravaersdag.day for each in page.SagsListe.Sag] for page in pages] == [[5, 4], [3, 2], [1], []]
    assert [page.FlereSider for page in pages] == [True, True, False, False]
    assert [page.AntalIAlt for page in pages] == [5, 5, 5, 5]


async def test_a_list_is_filtered_by_absence_and_state(ksd):
    """Overlap of the absence with the period, ends included; an open absence has no end."""
    await ksd.opened(SidsteFravaersdag="2026-01-20")
    await ksd.opened(FoersteFravaersdag="2026-02-01")

    async def count(**given):
        return (await ksd.listed(**given)).AntalIAlt

    assert await count(FraDato=date(2026, 1, 20), TilDato=date(2026, 1, 31)) == 1
    assert await count(FraDato=date(2026, 1, 21)) == 1
    assert await count(TilDato=date(2026, 1, 11)) == 0
    assert await count(TilDato=date(2026, 2, 1)) == 2
    assert await count(SagsTilstand=("AFSLUTTET",)) == 1
    assert await count(SagsTilstand=("AFSLUTTET", "ANMELDT")) == 2


async def test_a_list_says_what_it_cannot_answer(ksd):
    """H505 for a period that ends before it begins; H506 for the number of nobody."""
    period = await ksd.listed(FraDato=date(2026, 2, 2), TilDato=date(2026, 2, 1))
    nobody = await ksd.listed(cpr="0000000000")
    assert (fejl(period), fejl(nobody)) == (["H505"], ["H506"])
    assert (period.AntalIAlt, period.SagsListe.Sag) == (0, ())
    assert [each[1:] for each in await log(ksd)] == [("H505", "H505"), ("H506", "H506")]


async def test_a_picture_opens_as_itself_only(ksd):
    """Whoever puts one case's sealed picture in another's place gets a fault out of KSD, not another's case."""
    case, other = await ksd.opened(), await ksd.opened(cpr=OTHER_CPR)
    async with ksd.store.tx() as tx:
        await tx.run(
            "UPDATE sag_version SET picture = (SELECT picture FROM sag_version WHERE sags_id = %(other)s)"
            " WHERE sags_id = %(own)s",
            own=case.SagsID,
            other=other.SagsID,
        )
    with pytest.raises(FaultReceived, match="InternalError"):
        await ksd.look(case)


async def test_only_the_gateway_gets_in(ksd):
    """Another certificate of the same authority is not enough."""
    case = await ksd.opened()
    tls = client_tls(ksd.own.certificate, ksd.own.key, ksd.pki.ca)
    async with Client(ksd.url, service=Service.SYGEFRAVAER, tls=tls, timeout=5.0) as stranger:
        ksd.client = stranger
        with pytest.raises(CallFailed, match="403"):
            await ksd.look(case)


async def test_look_ups_at_once_are_each_recorded(ksd):
    """Rows are written in groups, and none is lost; one that cannot wait takes nobody with it."""
    import asyncio

    case = await ksd.opened()
    found = await asyncio.gather(*(ksd.look(case) for _ in range(20)))
    assert all(each.Sygefravaerssag.SagsID == case.SagsID for each in found)
    assert len(await log(ksd, limit=1000)) == 20


async def test_a_caller_that_gives_up_leaves_the_log_working(ksd):
    """A row whose writer has gone is written all the same."""
    import asyncio

    from sygefravaer.ksd.access import Access, AccessLog

    def access(index):
        return Access(
            at=ksd.clock.now(),
            operation="HentSag",
            besked_id=UUID(int=index),
            call_uuid=UUID(int=index),
            caller=None,
            system_id=UUID(int=1),
            municipality_cvr=VIBORG,
            on_behalf_of=None,
            cpr_key=b"\x00" * 32,
            sags_id=None,
            code="OK",
            reason="OK",
        )

    writer = AccessLog(ksd.store)
    gone = asyncio.create_task(writer.write(access(1)))
    await asyncio.sleep(0)
    gone.cancel()
    await writer.write(access(2))
    assert len(await log(ksd)) == 2

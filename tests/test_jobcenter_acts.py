# SPDX-License-Identifier: MPL-2.0
"""The control acts of a jobcentre, through a real control door where the door matters."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from jobcenter_rig import AARHUS, CPR, OTHER_CPR, VIBORG, ended, sag, scene
from sygefravaer.clock import SystemClock
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import (
    HentSagResponse,
    HentSagsListeResponse,
    SagsListeType,
    SagType,
    fejlliste,
)
from sygefravaer.control import Door, knock
from sygefravaer.errors import ActRefused


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene."""

    def start(**options):
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def update(it, case, *types, **given):
    """Send an update and give the message that the gateway got."""
    before = len(it.gateway.m5)
    await it.act("update", sags_id=str(case.SagsID), Opdateringstype=list(types), **given)
    await it.until(lambda: len(it.gateway.m5) == before + 1)
    return it.gateway.m5[-1]


TALK = {
    "Opfoelgningstype": "FOERSTE_OPFOELGNING",
    "Form": "FREMMOEDE",
    "AfholdtTid": "2026-03-02T08:00:00Z",
    "Udfald": "AFHOLDT",
}
BLOCKS = {
    "VISITATION": ({"Visitationskategori": "2", "VisitationsDato": "2026-03-02"}, "FOERSTE_OPFOELGNING"),
    "OPFOELGNING": ({"Opfoelgning": [TALK]}, "LOEBENDE_OPFOELGNING"),
    "STANDBY": ({}, "STANDBY"),
    "FORVENTET_RASKMELDING": ({"ForventetRaskmeldingsdato": "2026-05-01"}, "MODTAGET"),
    "RASKMELDING": (
        {"Raskmelding": {"SidsteFravaersdag": "2026-03-01", "MeddeltAf": "BORGER", "MeddeltDato": "2026-03-02"}},
        "MODTAGET",
    ),
    "DELVIS_RASKMELDING": (
        {"DelvisPeriode": [{"FraDato": "2026-03-02", "TilDato": "2026-04-01", "FravaerstimerPrUge": 18.5}]},
        "MODTAGET",
    ),
    "MANGLENDE_MEDVIRKEN": (
        {"ManglendeMedvirken": {"HaendelsesDato": "2026-03-01", "Type": "UDEBLIVELSE"}},
        "MODTAGET",
    ),
    "OVERGANG": ({"Overgang": {"Type": "JOBAFKLARING", "Dato": "2026-03-02"}}, "JOBAFKLARING"),
    "SAG_LUKKET": ({}, "AFSLUTTET"),
}


def test_every_kind_of_update_is_tried():
    """The table here has what the contract has."""
    assert set(BLOCKS) == {code.kode for code in LISTS["opdateringstyper"]}


@pytest.mark.parametrize("kind", BLOCKS)
async def test_an_update_of_each_kind(play, kind):
    """Its block goes out as given, the jobcentersag moves, and its status says where to."""
    block, state = BLOCKS[kind]
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        message = await update(it, case, kind, **block)
        shown = await it.the_case(case)
        assert shown["state"] == state
        assert message.JobcentersagStatus == shown["status"]
        assert str(message.JobcentersagID) == shown["jobcentersag_id"]
        assert (message.Opdateringstype, message.GyldigFra, message.SagsID) == ((kind,), date(2026, 3, 2), case.SagsID)
        assert message.Hoved.NemrefusionsID == case.NemrefusionsID
        assert message.Hoved.ReferenceBeskedID is None
        assert message.Hoved.SnitfladeID == "SF2095"


async def test_the_blocks_reach_the_wire(play):
    """Several kinds in one message, with what was given of each."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        everything = {key: value for block, _ in BLOCKS.values() for key, value in block.items()}
        given = {"GyldigFra": "2026-03-01", "JobcentersagStatus": "OVERGAAET", "OpdateringID": str(uuid4())}
        message = await update(it, case, *BLOCKS, **everything, **given)
        assert message.DelvisPeriode[0].FravaerstimerPrUge == Decimal("18.5")
        assert message.Opfoelgning[0].AfholdtTid == datetime(2026, 3, 2, 8, tzinfo=UTC)
        assert message.Raskmelding.MeddeltAf == "BORGER"
        assert message.ManglendeMedvirken.Type == "UDEBLIVELSE"
        assert message.Overgang.Dato == date(2026, 3, 2)
        assert (message.GyldigFra, message.JobcentersagStatus) == (date(2026, 3, 1), "OVERGAAET")
        assert message.OpdateringID == UUID(given["OpdateringID"])


async def test_kategori_and_exemption_are_kept(play):
    """Visitation is remembered, and its duty shown; exemption is told from standby by the status."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await update(it, case, "VISITATION", Visitationskategori="2", VisitationsDato="2026-03-01")
        shown = await it.the_case(case)
        assert (shown["kategori"], shown["visited"]) == ("2", "2026-03-01")
        assert shown["duties"][0] == {
            "name": "first talk",
            "due": "2026-03-22",
            "clause": "§ 13 b, stk. 1",
            "ruleset": "R2014",
            "confidence": "fact",
            "subject": shown["jobcentersag_id"],
            "overdue": False,
        }
        await update(it, case, "STANDBY", JobcentersagStatus="UDEN_OPFOELGNING_P13F")
        assert (await it.the_case(case))["state"] == "UDEN_OPFOELGNING"


async def test_an_update_under_a_former_number_or_without_the_cases_ids(play):
    """The act can leave KSD only the number to find the case by, and choose which."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        message = await update(it, case, "STANDBY", cpr=OTHER_CPR.reveal(), with_sags_id=False)
        assert message.Hoved.CprNummer == OTHER_CPR
        assert (message.SagsID, message.Hoved.NemrefusionsID) == (None, case.NemrefusionsID)


async def test_an_update_by_the_jobcentersags_own_id(play):
    """The newest open case of it is the one that is meant."""
    async with play() as it:
        old, new = sag(FoersteFravaersdag=date(2026, 1, 5)), sag()
        await it.tell(it.m1(old))
        await it.tell(it.m1(new))
        which = (await it.the_case(old))["jobcentersag_id"]
        await it.act("update", jobcentersag_id=which, Opdateringstype=["STANDBY"])
        await it.tell(it.m1(ended(new), "AFSLUTTET"))
        await it.act("update", jobcentersag_id=which, Opdateringstype=["STANDBY"])
        await it.until(lambda: len(it.gateway.m5) == 2)
        assert {each.SagsID for each in it.gateway.m5} == {new.SagsID, old.SagsID}


async def test_an_update_that_breaks_a_rule(play):
    """Refused here with the gateway's code, unless the gateway is to say it."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        with pytest.raises(ActRefused) as caught:
            await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["VISITATION"])
        assert caught.value.code == "G001"
        assert it.gateway.m5 == []
        await update(it, case, "VISITATION", checked=False)
        assert (await it.the_case(case))["state"] == "MODTAGET"


async def test_cases_that_nobody_knows(play):
    """Unknown ids, no id, an unknown municipality: refused, and said what was wanted."""
    async with play(municipalities=(VIBORG, AARHUS)) as it:
        await it.tell(it.m1(case := sag()))
        which = {"sags_id": str(case.SagsID)}
        for fields, code in (
            ({"sags_id": str(uuid4()), "municipality_cvr": VIBORG}, "CaseUnknown"),
            ({"jobcentersag_id": str(uuid4())}, "CaseUnknown"),
            ({}, "FieldMissing"),
            (which, "MunicipalityUnknown"),
            (which | {"municipality_cvr": "64942212"}, "MunicipalityUnknown"),
            (which | {"municipality_cvr": VIBORG, "nonsense": 1}, "FieldUnknown"),
        ):
            with pytest.raises(ActRefused) as caught:
                await it.act("case", **fields)
            assert caught.value.code == code
        assert (await it.the_case(case, municipality_cvr=VIBORG))["state"] == "MODTAGET"


async def test_looking_a_case_up(play):
    """M6 with what was given; KSD's answer spelled as on the wire, numbers masked."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        it.gateway.answers["HentSag"] += [
            HentSagResponse(Sygefravaerssag=case),
            HentSagResponse(FejlListe=fejlliste("H501")),
        ]
        found = await it.act("lookup_case", sags_id=str(case.SagsID), version=1, history=True, user="ABC")
        assert found["reply"]["Sygefravaerssag"]["SagsID"] == str(case.SagsID)
        assert found["reply"]["Sygefravaerssag"]["CprNummer"] == "**********"
        nemref = str(uuid4())
        told = await it.act("lookup_case", cpr=OTHER_CPR.reveal(), nemrefusions_id=nemref, municipality_cvr=VIBORG)
        assert told["reply"]["FejlListe"]["Fejl"][0]["FejlKode"] == "H501"
        first, second = it.gateway.came["HentSag"]
        assert (first.SagsVersion, first.InkluderHistorik, first.CallContext.OnBehalfOfUser) == (1, True, "ABC")
        assert first.Hoved.CprNummer == CPR
        assert (second.SagsID, second.Hoved.NemrefusionsID, second.CallContext) == (None, UUID(nemref), None)
        with pytest.raises(ActRefused) as caught:
            await it.act("lookup_case", cpr=CPR.reveal())
        assert caught.value.code == "G001"


async def test_looking_a_citizen_up(play):
    """M7 with what was given."""
    async with play() as it:
        case = sag()
        it.gateway.answers["HentSagsListe"].append(
            HentSagsListeResponse(
                SagsListe=SagsListeType(
                    Sag=(
                        SagType(
                            SagsID=case.SagsID,
                            NemrefusionsID=case.NemrefusionsID,
                            Sagsart="11",
                            FoersteFravaersdag=case.FoersteFravaersdag,
                            SagsTilstand="LOEBENDE",
                            Kommunekode="0791",
                            SagsVersion=1,
                        ),
                    )
                ),
                AntalIAlt=1,
                FlereSider=False,
            )
        )
        found = await it.act(
            "lookup_list",
            cpr=CPR.reveal(),
            states=["LOEBENDE"],
            page=1,
            page_size=50,
            user="ABC",
            **{"from": "2026-01-01", "to": "2026-12-31"},
        )
        assert found["reply"]["SagsListe"]["Sag"][0]["SagsID"] == str(case.SagsID)
        (question,) = it.gateway.came["HentSagsListe"]
        assert (question.FraDato, question.TilDato, question.SagsTilstand, question.Side, question.SideStoerrelse) == (
            date(2026, 1, 1),
            date(2026, 12, 31),
            ("LOEBENDE",),
            1,
            50,
        )
        assert question.CallContext.OnBehalfOfUser == "ABC"
        assert (await it.act("lookup_list", cpr=CPR.reveal()))["reply"]["AntalIAlt"] == 0


async def test_a_look_up_that_fails(play):
    """What the gateway says is the refusal's code."""
    async with play() as it:
        it.gateway.answers["HentSagsListe"].append(RuntimeError("down"))
        with pytest.raises(ActRefused) as caught:
            await it.act("lookup_list", cpr=CPR.reveal())
        assert caught.value.code == "InternalError"


async def test_lists_and_counters(play):
    """Cases by citizen and state; messages both ways; health counts them."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(other := sag(CprNummer=OTHER_CPR)))
        await it.tell(it.m1(ended(other), "AFSLUTTET"))
        await it.until(lambda: len(it.gateway.m2) == 6)
        await it.quiet()
        (found,) = (await it.act("cases", cpr=CPR.reveal()))["cases"]
        assert found["sygedagpengesager"][0]["sags_id"] == str(case.SagsID)
        assert len((await it.act("cases", state="AFSLUTTET"))["cases"]) == 1
        assert len((await it.act("cases", limit=1))["cases"]) == 1
        listed = await it.act("messages", limit=2)
        assert [(row["haendelsestype"], row["answer"]) for row in listed["received"]] == [
            ("AFSLUTTET", "ACCEPTERET"),
            ("OPRETTET", "ACCEPTERET"),
        ]
        assert [row["content"] for row in listed["sent"]] == ["ACCEPTERET", "MODTAGET"]
        health = await it.act("health")
        assert (health["part"], health["state"], health["name"]) == ("jobcenter", "running", "jobcenter")
        assert (health["received"], health["sent"], health["receipts"], health["open_cases"]) == (3, 6, 6, 1)
        assert (health["open_extensions"], health["open_tasks"], health["lanes"]["queued"]) == (0, 0, 0)
        assert health["municipalities"] == [VIBORG]
        assert health["now"] == it.clock.now().isoformat()


async def test_the_clock(play):
    """It is told, moved forward, and never back; a machine's clock is nobody's to move."""
    async with play() as it:
        assert (await it.act("clock"))["now"] == "2026-03-02T09:00:00+00:00"
        assert (await it.act("clock", advance=60))["now"] == "2026-03-02T09:01:00+00:00"
        assert (await it.act("clock", now="2026-03-03T00:00:00+01:00"))["now"] == "2026-03-02T23:00:00+00:00"
        with pytest.raises(ActRefused) as caught:
            await it.act("clock", now="2026-03-01T00:00:00Z")
        assert caught.value.code == "ClockBackwards"
        fixed = it.build(clock=SystemClock()).acts["clock"]
        assert (await fixed({}))["now"].endswith("+00:00")
        with pytest.raises(ActRefused) as caught:
            await fixed({"advance": 60})
        assert caught.value.code == "ClockFixed"


async def test_settings_that_make_no_sense(play):
    """A wrong word or a wrong code changes nothing."""
    async with play() as it:
        for act, fields in (
            ("policy", {"events": "lazy"}),
            ("policy", {"event_delay": "x"}),
            ("chaos", {"swapped_code": ["one"]}),
            ("chaos", {"swapped_code": ["P29", "B101"]}),
            ("citizen", {"cpr": CPR.reveal(), "fact": "gone"}),
            ("answer_event", {"besked_id": str(uuid4()), "code": "AFVIST"}),
            ("answer_event", {"besked_id": str(uuid4()), "code": "AFVIST", "fejl": "B999"}),
            ("answer_event", {"besked_id": str(uuid4()), "code": "MODTAGET"}),
            ("task_done", {"task_id": 7}),
        ):
            with pytest.raises(ActRefused):
                await it.act(act, **fields)
        assert (await it.act("policy"))["events"] == "diligent"


async def test_through_a_control_door(play, tmp_path):
    """The acts are what a door can offer: JSON in, JSON out, refusals by code."""
    async with play() as it:
        door = Door(it.jobcenter.acts, tmp_path / "door")
        await door.start()
        try:
            await it.tell(it.m1(case := sag()))
            found = await knock(tmp_path / "door", "case", {"sags_id": str(case.SagsID)})
            assert found["state"] == "MODTAGET"
            assert (await knock(tmp_path / "door", "chaos"))["refuse_connections"] is False
            for act in ("health", "due", "inbox", "cases", "messages", "tasks", "policy", "clock"):
                assert isinstance(await knock(tmp_path / "door", act), dict)
            with pytest.raises(ActRefused) as caught:
                await knock(tmp_path / "door", "case", {})
            assert caught.value.code == "FieldMissing"
        finally:
            await door.stop()


async def test_every_act_is_described(play):
    """An act without a word for its fields helps nobody."""
    async with play() as it:
        for act in it.jobcenter.acts.values():
            assert len(act.args[0].__doc__) > 20

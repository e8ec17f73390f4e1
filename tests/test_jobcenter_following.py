# SPDX-License-Identifier: MPL-2.0
"""What a jobcentre does in its own cases by itself: on a standing clock, through real sockets and a real database."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from jobcenter_rig import OTHER_CPR, ended, later, sag, scene
from sygefravaer.contract.messages import kvittering_fejl
from sygefravaer.jobcenter import Mode, Policy
from sygefravaer.jobcenter.facts import Facts
from sygefravaer.jobcenter.following import next_step
from sygefravaer.jobcenter.following import told as wire
from sygefravaer.jobcenter.life import State
from sygefravaer.law import Law

M5 = "SendOpdateringFravaer"


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene whose jobcentre follows up as it is told to."""

    def start(mode=Mode.DILIGENT, **options):
        options = {"policy": Policy(follow_up=mode)} | options
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def step(it) -> str | None:
    """Set the clock to the next instant at which something is due, and let it happen."""
    await it.quiet()
    due = (await it.act("due"))["next"]
    if due is not None:
        await it.act("clock", now=due)
        await it.quiet()
    return due


async def run(it, *, until: str) -> int:
    """Go from one due instant to the next until a day; gives how many steps that took."""
    steps = 0
    await it.quiet()
    while (due := (await it.act("due"))["next"]) is not None and due < until:
        await step(it)
        steps += 1
        assert steps < 100
    return steps


def told(it):
    """Give what KSD was told: the Danish hour it left, what it is, and the code that matters."""
    return [
        (
            each.Hoved.Afsendelsestidspunkt.strftime("%Y-%m-%dT%H"),
            each.Opdateringstype[0],
            each.Visitationskategori or (each.Opfoelgning[0].Opfoelgningstype if each.Opfoelgning else ""),
        )
        for each in it.gateway.m5
    ]


async def test_a_diligent_jobcentre_lives_a_case(play):
    """Kategori on the next working day, first talk a week before its last day, three more in time: a few steps."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.quiet()
        assert (await it.act("due"))["next"] == "2026-03-03T08:00:00+00:00"
        assert it.gateway.m5 == []
        steps = await run(it, until="2026-08-01")
        assert told(it) == [
            ("2026-03-03T08", "VISITATION", "2"),
            ("2026-03-13T08", "OPFOELGNING", "FOERSTE_OPFOELGNING"),
            ("2026-04-24T07", "OPFOELGNING", "LOEBENDE_OPFOELGNING"),
            ("2026-06-09T07", "OPFOELGNING", "LOEBENDE_OPFOELGNING"),
            ("2026-07-24T07", "OPFOELGNING", "LOEBENDE_OPFOELGNING"),
        ]
        assert steps <= 6
        talk = it.gateway.m5[1].Opfoelgning[0]
        assert (talk.Form, talk.Udfald, talk.AfholdtTid) == (
            "FREMMOEDE",
            "AFHOLDT",
            datetime(2026, 3, 13, 8, tzinfo=UTC),
        )
        assert it.gateway.m5[2].Opfoelgning[0].Form == "TELEFON"
        assert [each.JobcentersagStatus for each in it.gateway.m5] == ["I_OPFOELGNING"] * 5
        shown = await it.the_case(case)
        assert (shown["state"], shown["kategori"], shown["visited"]) == ("LOEBENDE_OPFOELGNING", "2", "2026-03-03")
        assert [deed["what"] for deed in shown["deeds"]].count("wider test") == 1
        assert shown["duties"] == []
        due = await it.act("due")
        assert (due["next"], due["in_flight"]) == (None, 0)


async def test_a_quick_case_gets_kategori_1_and_later_2(play):
    """Expected recovery within eight weeks; when they are over and the case still runs, kategori 1 has run out."""
    async with play() as it:
        await it.tell(it.m1(case := sag(ForventetRaskmeldingsdato=date(2026, 3, 22))))
        await step(it)
        assert told(it) == [("2026-03-03T08", "VISITATION", "1")]
        assert (await it.the_case(case))["state"] == "VISITERET"
        await run(it, until="2026-03-23")
        assert told(it)[1:] == [
            ("2026-03-22T08", "VISITATION", "2"),
            ("2026-03-22T08", "OPFOELGNING", "FOERSTE_OPFOELGNING"),
        ]


async def test_nothing_is_told_of_a_recovery_that_was_only_expected(play):
    """The expected day passes; KSD hears of recovery from the employer, and the case ends with that."""
    async with play() as it:
        await it.tell(it.m1(case := sag(ForventetRaskmeldingsdato=date(2026, 3, 10))))
        await run(it, until="2026-03-15")
        await it.act("clock", now="2026-03-15T12:00:00Z")
        await it.quiet()
        assert [kind for _, kind, _ in told(it)] == ["VISITATION"]
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        await it.quiet()
        assert (await it.act("due"))["next"] is None
        await run(it, until="2027-01-01")
        assert len(it.gateway.m5) == 1


async def test_a_recovery_that_is_put_off_changes_the_kategori(play):
    """A snapshot whose ForventetRaskmeldingsdato lies behind the eighth week: kategori 2, and the first talk."""
    async with play() as it:
        await it.tell(it.m1(case := sag(ForventetRaskmeldingsdato=date(2026, 3, 10))))
        await step(it)
        await it.tell(it.m1(later(case, ForventetRaskmeldingsdato=date(2026, 9, 1)), "AENDRET"))
        await it.quiet()
        assert [code for _, _, code in told(it)] == ["1", "2"]
        await step(it)
        assert told(it)[2] == ("2026-03-13T08", "OPFOELGNING", "FOERSTE_OPFOELGNING")


async def test_who_the_law_exempts_is_exempted(play):
    """13 weeks after the first talk (R2025): told after the talk, and no more talks; put off further, they are back."""
    async with play() as it:
        await it.tell(it.m1(case := sag(ForventetRaskmeldingsdato=date(2026, 6, 10))))
        await run(it, until="2026-03-14")
        assert told(it)[2] == ("2026-03-13T08", "STANDBY", "")
        assert it.gateway.m5[2].JobcentersagStatus == "UDEN_OPFOELGNING_P13F"
        shown = await it.the_case(case)
        assert (shown["state"], shown["status"]) == ("UDEN_OPFOELGNING", "UDEN_OPFOELGNING_P13F")
        assert shown["may_exempt"] is True
        await run(it, until="2026-06-01")
        assert len(it.gateway.m5) == 3
        assert (await it.act("due"))["next"] == "2026-06-10T07:00:00+00:00"  # if he is not well by then
        await it.tell(it.m1(later(case, ForventetRaskmeldingsdato=date(2026, 12, 1)), "AENDRET"))
        await run(it, until="2026-08-01")
        assert {code for _, _, code in told(it)[3:]} == {"LOEBENDE_OPFOELGNING"}
        assert (await it.the_case(case))["state"] == "LOEBENDE_OPFOELGNING"


@pytest.mark.parametrize(
    ("status", "exempt"),
    [("LOENMODTAGER", True), ("SELVSTAENDIG", True), ("FLEKSJOB", True), ("ARBEJDSSKADE", True), ("LEDIG", False)],
)
async def test_only_who_has_a_workplace_is_exempted(play, status, exempt):
    """STAR's kontaktgruppe 25 has none."""
    async with play() as it:
        await it.tell(it.m1(sag(ForventetRaskmeldingsdato=date(2026, 6, 10), Beskaeftigelsesstatus=status)))
        await run(it, until="2026-03-14")
        assert ("STANDBY" in [kind for _, kind, _ in told(it)]) is exempt


async def test_from_july_2026_exemption_needs_no_talk(play):
    """26 weeks from the first absence day: right after visitation."""
    async with play() as it:
        await it.act("clock", now="2026-08-03T07:00:00Z")
        await it.tell(it.m1(sag(FoersteFravaersdag=date(2026, 7, 1), ForventetRaskmeldingsdato=date(2026, 12, 29))))
        await run(it, until="2026-08-20")
        assert [kind for _, kind, _ in told(it)] == ["VISITATION", "STANDBY"]


async def test_early_follow_up_is_held_early(play):
    """TidligOpfoelgning: within two weeks of the day it was told, and it is the first talk too."""
    async with play() as it:
        await it.tell(it.m1(case := sag(TidligOpfoelgning=True)))
        await it.quiet()
        assert ("early talk", "2026-03-16") in [
            (duty["name"], duty["due"]) for duty in (await it.the_case(case))["duties"]
        ]
        await run(it, until="2026-03-16")
        assert told(it)[1:] == [("2026-03-13T08", "OPFOELGNING", "TIDLIG_OPFOELGNING")]
        assert (await it.the_case(case))["state"] == "LOEBENDE_OPFOELGNING"


async def test_a_slow_jobcentre_is_late_with_everything(play):
    """Three days after the last day of each duty, which `duties` marks before that."""
    async with play(Mode.SLOW) as it:
        await it.tell(it.m1(sag()))
        await it.quiet()
        assert (await it.act("due"))["next"] == "2026-03-25T08:00:00+00:00"
        await it.act("clock", now="2026-03-23T08:00:00Z")
        (first, *_) = (await it.act("duties"))["duties"]
        assert (first["name"], first["due"], first["overdue"]) == ("visitation", "2026-03-22", True)
        await run(it, until="2026-08-01")
        assert [each[0] for each in told(it)[:2]] == ["2026-03-25T08", "2026-03-25T08"]
        assert told(it)[2][0] > "2026-07-25"


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.MANUAL])
async def test_who_does_nothing_by_himself(play, mode):
    """Nothing is told, nothing is due; the duties are there for a person."""
    async with play(mode) as it:
        await it.tell(it.m1(case := sag()))
        await it.quiet()
        due = await it.act("due")
        assert (due["next"], due["in_flight"]) == (None, 0)
        assert [duty["name"] for duty in (await it.the_case(case))["duties"]] == ["visitation", "wider test"]
        assert it.gateway.m5 == []


async def test_a_bare_jobcentre_leaves_follow_up_to_a_person(play):
    """The default surprises nobody."""
    async with play(policy=None) as it:
        assert (await it.act("policy"))["follow_up"] == "manual"


async def test_a_wrong_jobcentre_says_what_ksd_must_refuse(play):
    """A kategori that is no more (O405), talks in the future (O407); refused, taken back, and not said again."""
    async with play(Mode.WRONG) as it:
        it.gateway.says(M5, kvittering_fejl("O405"), *[kvittering_fejl("O407")] * 10)
        await it.tell(it.m1(case := sag()))
        await step(it)
        (visitation,) = it.gateway.m5
        assert (visitation.Visitationskategori, visitation.VisitationsDato) == ("3", date(2026, 3, 3))
        shown = await it.the_case(case)
        assert (shown["state"], shown.get("kategori"), shown.get("visited")) == ("MODTAGET", None, None)
        assert [deed["refused"] for deed in shown["deeds"]] == [True]
        await step(it)
        talk = it.gateway.m5[1]
        assert talk.Opfoelgning[0].AfholdtTid == talk.Hoved.Afsendelsestidspunkt + timedelta(days=1)
        assert (await it.the_case(case))["state"] == "MODTAGET"
        await run(it, until="2026-12-01")
        assert [kind for _, kind, _ in told(it)].count("VISITATION") == 1
        assert len((await it.act("tasks"))["tasks"]) == len(it.gateway.m5) == 5


def test_a_wrong_jobcentre_of_2024_dates_its_kategori_in_the_future():
    """While kategori 3 is still valid there is none to be refused, so the day is wrong."""
    law, policy, now = Law.standard(), Policy(follow_up=Mode.WRONG), datetime(2024, 12, 30, 8, tzinfo=UTC)
    facts = Facts(
        jobcentersag_id=uuid4(), state=State.MODTAGET, first_day=date(2024, 12, 2), known_on=date(2024, 12, 27)
    )
    found = next_step(policy, facts, law, now=now)
    assert found.at == now
    assert wire(policy, found, facts, law, now=now) == {
        "Opdateringstype": ["VISITATION"],
        "Visitationskategori": "2",
        "VisitationsDato": "2024-12-31",
    }


async def test_a_refused_update_is_not_repeated_by_the_policy(play):
    """KSD does not take it: a task for a person, and the policy goes on with the next."""
    async with play() as it:
        it.gateway.says(M5, kvittering_fejl("O406"))
        await it.tell(it.m1(sag()))
        await run(it, until="2026-03-14")
        assert [kind for _, kind, _ in told(it)] == ["VISITATION", "OPFOELGNING"]
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["O406"]


async def test_each_case_of_a_citizen_is_told(play):
    """Two sygedagpengesager on one jobcentersag: one visitation, told of both; one that ended is not."""
    async with play() as it:
        one, other = sag(), sag()
        await it.tell(it.m1(one))
        await it.tell(it.m1(other))
        await step(it)
        assert {each.SagsID for each in it.gateway.m5} == {one.SagsID, other.SagsID}
        assert len({each.OpdateringID for each in it.gateway.m5}) == 2
        shown = await it.the_case(one)
        assert [deed["what"] for deed in shown["deeds"]] == ["visitation"]
        await it.tell(it.m1(ended(other), "AFSLUTTET"))
        assert (await it.the_case(one))["state"] == "FOERSTE_OPFOELGNING"
        await step(it)
        assert [each.SagsID for each in it.gateway.m5[2:]] == [one.SagsID]


async def test_a_corrected_first_day_moves_what_comes(play):
    """FOERSTE_FRAVAERSDAG_RETTET: eleven days earlier, so the first talk has to come at once."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await step(it)
        assert (await it.act("due"))["next"] == "2026-03-13T08:00:00+00:00"
        corrected = later(case, FoersteFravaersdag=date(2026, 1, 15))
        await it.tell(it.m1(corrected, "AENDRET", "FOERSTE_FRAVAERSDAG_RETTET"))
        await it.quiet()
        assert (await it.act("due"))["next"] == "2026-03-04T08:00:00+00:00"
        assert ("first talk", "2026-03-11") in [
            (duty["name"], duty["due"]) for duty in (await it.the_case(case))["duties"]
        ]


async def test_what_a_person_did_is_not_done_again(play):
    """A talk by hand counts: the policy goes on from there; a planned one is held at its own time."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await step(it)
        which = {"sags_id": str(case.SagsID)}
        await it.act("hold_talk", **which)
        await it.act("plan_talk", **which, PlanlagtTid="2026-03-20T13:30:00+01:00", Form="DIGITALT_FREMMOEDE")
        await it.quiet()
        assert (await it.act("due"))["next"] == "2026-03-20T12:30:00+00:00"
        await step(it)
        held = it.gateway.m5[-1].Opfoelgning[0]
        assert (held.Opfoelgningstype, held.Form) == ("LOEBENDE_OPFOELGNING", "DIGITALT_FREMMOEDE")
        assert held.PlanlagtTid == held.AfholdtTid == datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
        assert "planned talk" not in [duty["name"] for duty in (await it.the_case(case))["duties"]]
        assert (await it.act("due"))["next"] > "2026-04-01"


async def test_a_policy_that_is_changed_and_a_restart(play):
    """What an act says holds at once and over a restart; the instants stand in the database."""
    async with play(Mode.MANUAL) as it:
        await it.tell(it.m1(sag()))
        await it.act("policy", follow_up="diligent", follow_up_delay=86400)
        await it.quiet()
        assert (await it.act("due"))["next"] == "2026-03-03T08:00:00+00:00"
        await it.jobcenter.stop()
        it.jobcenter = it.build(policy=None)
        await it.jobcenter.start()
        await it.quiet()
        assert (await it.act("policy"))["follow_up_delay"] == 86400
        await step(it)
        assert len(it.gateway.m5) == 1
        await it.act("policy", follow_up="manual")
        assert (await it.act("due"))["next"] is None


async def test_a_step_that_cannot_be_made_is_tried_later(play, caplog):
    """A case whose message fails holds up no other, and is tried again after an hour."""
    async with play() as it:
        await it.tell(it.m1(sag()))
        await it.tell(it.m1(other := sag(CprNummer=OTHER_CPR)))
        await it.quiet()
        outbox = it.jobcenter._answering._outbox
        whole = outbox._written
        outbox._written = lambda body: body if str(other.SagsID).encode() in body else body.replace(b">2<", b">NO<")
        await step(it)
        assert [each.SagsID for each in it.gateway.m5] == [other.SagsID]
        assert caplog.text.count("put off") == 1
        outbox._written = whole
        assert await step(it) == "2026-03-03T09:00:00+00:00"
        assert len(it.gateway.m5) == 2

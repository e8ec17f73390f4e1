# SPDX-License-Identifier: MPL-2.0
"""KSD's control acts beside the cases: how it is, what it shows, how it behaves, and the faults a test can ask for."""

import inspect
import time
from uuid import uuid4

import pytest

from ksd_rig import AARHUS, CPR, OTHER_CPR, VIBORG, fejl, scene
from sygefravaer.clock import SystemClock
from sygefravaer.contract.messages import kvittering_advarsel
from sygefravaer.control import Door, knock
from sygefravaer.errors import ActRefused, CallFailed
from sygefravaer.ksd.acts import Acts
from sygefravaer.ksd.case_acts import CaseActs


@pytest.fixture
async def ksd(make_store, vault, clock, pki):
    async with scene(make_store=make_store, vault=vault, clock=clock, pki=pki) as found:
        yield found


async def test_health_counts_what_came_and_went(ksd):
    """Counters grow with messages, answers and look-ups; tasks are those that are open."""
    before = await ksd.act("health")
    assert (before["part"], before["state"], before["name"]) == ("ksd", "running", "ksd")
    assert before["now"] == ksd.clock.now().isoformat()
    case = await ksd.opened()
    await ksd.send(ksd.m2(ksd.gateway.m1[0], "AFVIST", codes=["B101"]))
    await ksd.look(case)
    after = await ksd.act("health")
    assert after["counters"] == {"lookups": 1, "answers": 1, "messages": 1, "updates": 0, "tasks": 1}
    assert set(after["lanes"].values()) == {0}
    assert after["held_reports"] == 0


async def test_time_is_told_and_moved_forward(ksd):
    """By an instant or by seconds; never back, and not at all when the clock is the machine's."""
    assert await ksd.act("clock") == {"now": "2026-03-02T09:00:00+00:00"}
    assert await ksd.act("clock", advance=90) == {"now": "2026-03-02T09:01:30+00:00"}
    assert await ksd.act("clock", now="2026-03-03T10:00:00+01:00") == {"now": "2026-03-03T09:00:00+00:00"}
    with pytest.raises(Exception, match="backwards"):
        await ksd.act("clock", now="2026-03-01T09:00:00Z")


async def test_the_machines_time_is_nobodys_to_move(ksd):
    """A part on the system's clock says so."""
    ksd.clock = SystemClock()
    party = type(ksd.ksd)(
        store=ksd.store,
        vault=None,
        clock=ksd.clock,
        client=None,
        system_id=uuid4(),
        environment="test",
    )
    assert "now" in await party.acts["clock"]({})
    with pytest.raises(ActRefused) as refusal:
        await party.acts["clock"]({"advance": 1})
    assert refusal.value.code == "ClockFixed"


async def test_cases_are_listed_in_pages_and_by_filter(ksd):
    """By municipality, state and citizen; `after` goes on; numbers are in none of it."""
    made = sorted([str((await ksd.opened()).SagsID), str((await ksd.opened(municipality_cvr=AARHUS)).SagsID)])
    ended = str((await ksd.opened(cpr=OTHER_CPR, SidsteFravaersdag="2026-02-01")).SagsID)

    async def ids(**given):
        return [each["sags_id"] for each in (await ksd.act("cases", **given))["cases"]]

    assert await ids() == sorted([*made, ended])
    assert await ids(cpr=CPR) == made
    assert await ids(cpr=CPR, limit=1) == made[:1]
    assert await ids(cpr=CPR, after=made[0]) == made[1:]
    assert await ids(state="AFSLUTTET") == [ended]
    assert len(await ids(municipality_cvr=VIBORG)) == 2
    assert CPR not in str(await ksd.act("cases"))


async def test_a_number_is_shown_for_a_reason_that_is_recorded(ksd):
    """Masked without; with a reason in the picture and in every version, and the reason stands in the record."""
    case = await ksd.opened()
    assert CPR not in str(await ksd.case(case.SagsID))
    shown = await ksd.act("case", nemrefusions_id=str(case.NemrefusionsID), reason="klage")
    assert shown["picture"]["CprNummer"] == shown["versions"][0]["picture"]["CprNummer"] == CPR
    (row,) = (await ksd.act("lookups"))["lookups"]
    assert (row["operation"], row["on_behalf_of"], row["sags_id"]) == ("reveal", "klage", str(case.SagsID))


async def test_a_number_in_somebodys_words_is_masked(ksd):
    """Free text of a message may hold one, however it is written; the words around it are shown."""
    await ksd.opened()
    (event,) = ksd.gateway.m1
    spelled = (CPR, f"{CPR[:6]}-{CPR[6:]}", f"{CPR[:6]} {CPR[6:]}")
    await ksd.send(ksd.m2(event, "MODTAGET", reason=f"{' og '.join(spelled)} i sag 12345678901"))
    await ksd.listed()
    await ksd.look(event.Sygefravaerssag, user=CPR)
    (message,) = (await ksd.act("messages"))["messages"]
    assert message["answers"][0]["reason"] == f"{' og '.join(['**********'] * 3)} i sag 12345678901"
    assert [each["on_behalf_of"] for each in (await ksd.act("lookups"))["lookups"]] == ["**********", None]


async def test_a_policy_is_changed_and_kept_over_a_restart(ksd):
    """What is not given stays; wrong values are refused and change nothing."""
    usual = {"follow_on": True, "repeats": [60, 300, 900, 3600], "substitutes": []}
    usual |= {"asks": False, "decides_after": None, "form_after": None, "hold_reports": False}
    assert await ksd.act("policy") == usual
    wanted = {"follow_on": False, "repeats": [10, 20], "substitutes": [VIBORG], "decides_after": 3, "form_after": 0}
    wanted = usual | wanted
    assert await ksd.act("policy", **{key: value for key, value in wanted.items() if value is not None}) == wanted
    wanted = usual | wanted | {"form_after": None}
    assert await ksd.act("policy", form_after=-1) == wanted
    for wrong in (
        {"decides_after": -2},
        {"form_after": 9999},
        {"asks": "yes"},
        {"repeats": []},
        {"repeats": [0]},
        {"substitutes": ["11111111"]},
        {"follow_on": 1},
        {"other": 1},
    ):
        with pytest.raises(ActRefused):
            await ksd.act("policy", **wrong)
    await ksd.ksd.stop()
    ksd.ksd = ksd.build()
    await ksd.ksd.start()
    assert await ksd.act("policy") == wanted
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [kvittering_advarsel("G006")]
    await ksd.opened()
    assert (await ksd.act("due"))["next"] == "2026-03-02T09:00:10+00:00"


async def test_an_answer_can_be_late(ksd):
    """Held back after all is done, for so many seconds."""
    case = await ksd.opened()
    await ksd.act("chaos", answer_late=0.3)
    began = time.monotonic()
    await ksd.look(case)
    assert time.monotonic() - began >= 0.3
    assert (await ksd.act("chaos", answer_late=0))["answer_late"] == 0


async def test_a_receipt_can_be_lost_after_the_message_was_applied(ksd):
    """The connection is cut, the effect is there, and a repeat gets the receipt without a second effect."""
    case = await ksd.opened()
    await ksd.act("chaos", close_after_apply=1)
    message = ksd.visit(case)
    with pytest.raises(CallFailed):
        await ksd.send(message)
    assert (await ksd.case(case.SagsID))["version"] == 2
    assert await ksd.send(message) == ("OK", [])
    assert (await ksd.case(case.SagsID))["version"] == 2


async def test_connections_can_be_refused(ksd):
    """Nothing is done and nothing is recorded until it ends."""
    case = await ksd.opened()
    await ksd.act("chaos", refuse_connections=True)
    with pytest.raises(CallFailed):
        await ksd.look(case)
    await ksd.act("chaos", refuse_connections=False)
    assert (await ksd.look(case)).Sygefravaerssag == case
    assert len((await ksd.act("lookups"))["lookups"]) == 1


async def test_two_codes_can_change_places(ksd):
    """In receipts and in answers to look-ups, both ways, until it is taken back."""
    case = await ksd.opened()
    wrong = ksd.m5(case, cvr=AARHUS)
    await ksd.act("chaos", swapped_code=["O401", "O409"])
    assert await ksd.send(wrong) == ("FEJL", ["O409"])
    await ksd.act("chaos", swapped_code=["H501", "H503"])
    assert fejl(await ksd.look(case, cvr=AARHUS)) == ["H503"]
    assert fejl(await ksd.look(case, cpr=OTHER_CPR)) == ["H501"]
    await ksd.act("chaos", swapped_code=["ANMELDT", "LOEBENDE"])
    assert (await ksd.listed()).SagsListe.Sag[0].SagsTilstand == "LOEBENDE"
    assert (await ksd.act("chaos", swapped_code=[]))["swapped_code"] == []
    assert fejl(await ksd.look(case, cvr=AARHUS)) == ["H501"]
    with pytest.raises(ActRefused):
        await ksd.act("chaos", swapped_code=["O401"])


async def test_two_codes_change_places_in_what_ksd_sends(ksd):
    """An event is told with the other code; what KSD itself keeps is right."""
    await ksd.act("chaos", swapped_code=["ANMELDT", "OPLYST"])
    told = await ksd.opened()
    assert told.SagsTilstand == "OPLYST"
    await ksd.act("chaos", reset=True)
    assert (await ksd.look(told)).Sygefravaerssag.SagsTilstand == "ANMELDT"


async def test_acts_are_reached_through_a_control_door(ksd, tmp_path):
    """JSON over a socket: an act, and a refusal with its code."""
    door = Door(ksd.ksd.acts, tmp_path / "ksd")
    await door.start()
    try:
        made = await knock(
            door.path,
            "create_case",
            {"cpr": CPR, "municipality_cvr": VIBORG, "FoersteFravaersdag": "2026-01-12"},
        )
        with pytest.raises(ActRefused) as refusal:
            await knock(door.path, "reopen_case", {"sags_id": made["sags_id"]})
        assert refusal.value.code == "IllegalMove"
    finally:
        await door.stop()


async def test_every_act_documents_every_field_it_takes():
    """The table in an act's docstring names what its code takes."""
    for act in (*vars(Acts).values(), *vars(CaseActs).values()):
        if not inspect.iscoroutinefunction(act) or "given" not in inspect.signature(act).parameters:
            continue
        source, words = inspect.getsource(act), inspect.getdoc(act) or ""
        if act.__name__ in {"_held", "sags_id"}:
            continue
        for taken in ("take", "find", "choice", "number", "list", "objects"):
            for piece in source.split(f'given.{taken}("')[1:]:
                name = piece.partition('"')[0]
                assert f"`{name}`" in words, f"{act.__name__} does not say what `{name}` is"

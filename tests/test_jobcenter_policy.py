# SPDX-License-Identifier: MPL-2.0
"""How a jobcentre answers by itself: pure."""

from datetime import UTC, date, datetime, timedelta

import pytest

from jobcenter_rig import granted
from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.policy import (
    Asked,
    EventAnswer,
    ExtensionAnswer,
    Mode,
    Policy,
    plan_event,
    plan_extension,
    plan_opened,
    settled_extension,
)
from sygefravaer.jobcenter.verdicts import Citizen, Judgement, Verdict

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TODAY = date(2026, 3, 2)
RECEIVED, ACCEPTED = EventAnswer(code="MODTAGET"), EventAnswer(code="ACCEPTERET")


@pytest.mark.parametrize(
    ("mode", "said", "due"),
    [
        (Mode.DILIGENT, (RECEIVED, ACCEPTED), None),
        (Mode.SLOW, (RECEIVED,), NOW + timedelta(days=2)),
        (Mode.SILENT, (), None),
        (Mode.WRONG, (RECEIVED, EventAnswer(code="ACCEPTERET", version_offset=1)), None),
        (Mode.MANUAL, (EventAnswer(code="AFLEVERET"),), None),
    ],
)
def test_an_event_that_was_applied(mode, said, due):
    """Each mode says what it is known for."""
    plan = plan_event(Policy(events=mode), Judgement(verdict=Verdict.APPLIED), now=NOW)
    assert (plan.now, plan.due) == (said, due)


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.SILENT])
def test_facts_are_told_at_once_by_everybody_who_speaks(mode):
    """Obsolete, refused and early events do not wait for a policy."""
    policy = Policy(events=mode)
    obsolete = plan_event(policy, Judgement(verdict=Verdict.OBSOLETE), now=NOW)
    assert obsolete.now == (EventAnswer(code="MODTAGET", begrundelse="FORAELDET_VERSION"),)
    refused = plan_event(policy, Judgement(verdict=Verdict.REFUSED, code="B105"), now=NOW)
    assert refused.now == (RECEIVED, EventAnswer(code="AFVIST", fejl="B105"))
    assert plan_event(policy, Judgement(verdict=Verdict.EARLY), now=NOW).now == (RECEIVED,)


def test_an_early_event_whose_case_turns_out_to_exist():
    """It is then answered as any other, except that MODTAGET was said before."""
    assert plan_opened(Policy(), now=NOW).now == (ACCEPTED,)
    assert plan_opened(Policy(events=Mode.SLOW), now=NOW).due == NOW + timedelta(days=2)
    for mode in (Mode.SILENT, Mode.MANUAL):
        plan = plan_opened(Policy(events=mode), now=NOW)
        assert (plan.now, plan.due) == ((), None)


def asked(**given):
    return Asked(
        **(
            {
                "revurderingsdato": date(2026, 4, 30),
                "svarfrist": date(2026, 4, 16),
                "anmodningstype": "FOERSTE_REVURDERING",
                "mulige": ("P27_1_1", "P27_1_2", "P27_1_3"),
                "granted": (),
                "known": True,
                "citizen": Citizen.KNOWN,
                "ended_by": None,
            }
            | given
        )
    )


def test_a_diligent_extension_runs_26_weeks_from_the_day_after_revurdering():
    """MODTAGET, and the answer with a valid code and its last day."""
    plan = plan_extension(Policy(), asked(), now=NOW)
    til = date(2026, 4, 30) + timedelta(weeks=26)
    wanted = (ExtensionAnswer(code="MODTAGET"), ExtensionAnswer(code="ACCEPTERET", kode="P27_1_2", til=til))
    assert (plan.now, plan.due) == (wanted, None)


def test_a_slow_extension_comes_six_days_after_svarfrist():
    """After the end of that day in Denmark: 16 April is summer time."""
    plan = plan_extension(Policy(extensions=Mode.SLOW), asked(), now=NOW)
    assert plan.now == (ExtensionAnswer(code="MODTAGET"),)
    assert plan.due == datetime(2026, 4, 22, 22, tzinfo=UTC)


def test_a_slow_answer_is_never_due_in_the_past():
    """A request that comes long after its Svarfrist is answered now."""
    plan = plan_extension(Policy(extensions=Mode.SLOW), asked(svarfrist=date(2026, 1, 1)), now=NOW)
    assert plan.due == NOW


def test_silence_and_a_persons_tray():
    """Silent says nothing; manual says that it came."""
    silent = plan_extension(Policy(extensions=Mode.SILENT), asked(), now=NOW)
    manual = plan_extension(Policy(extensions=Mode.MANUAL), asked(), now=NOW)
    assert (silent.now, silent.due) == ((), None)
    assert (manual.now, manual.due) == ((ExtensionAnswer(code="MODTAGET"),), None)


def test_a_wrong_answer_names_a_code_that_may_not_answer():
    """It is in the list, so that only KSD can see that it is wrong."""
    answer = settled_extension(Policy(extensions=Mode.WRONG), asked(), today=TODAY)
    assert answer.kode == "P24A6"
    assert LISTS["forlaengelseskoder"].get(answer.kode).extra["kanBesvareSF2093"] == "nej"


def test_a_code_that_is_used_up_gives_way_to_the_next():
    """69 weeks of nr. 2 are gone, so nr. 3 answers."""
    used = granted("P27_1_2", date(2025, 1, 1), date(2025, 1, 1) + timedelta(days=69 * 7 - 1))
    answer = settled_extension(Policy(), asked(granted=(used,)), today=TODAY)
    assert answer.kode == "P27_1_3"


def test_what_is_left_of_a_code_bounds_the_extension():
    """Periods of one code count together; ten days are left of nr. 2."""
    used = granted("P27_1_2", date(2025, 1, 1), date(2025, 1, 1) + timedelta(days=69 * 7 - 11))
    answer = settled_extension(Policy(), asked(granted=(used,)), today=TODAY)
    assert answer.til == date(2026, 5, 10)


def test_a_code_without_maximum_has_no_days_to_count():
    """Nr. 5 has no end of its own."""
    answer = settled_extension(Policy(), asked(mulige=("P27_1_5",)), today=TODAY)
    assert (answer.kode, answer.til) == ("P27_1_5", date(2026, 4, 30) + timedelta(weeks=26))


def test_nothing_left_is_varighed_opbrugt_and_nothing_usable_is_ingen_grund():
    """Used up is another refusal than never fitting."""
    used = granted("P27_1_2", date(2024, 1, 1), date(2026, 1, 1))
    answer = settled_extension(Policy(), asked(mulige=("P27_1_2",), granted=(used,)), today=TODAY)
    assert (answer.code, answer.aarsag) == ("AFVIST", "VARIGHED_OPBRUGT")
    answer = settled_extension(Policy(), asked(mulige=("P24A6", "P26_COVID")), today=TODAY)
    assert (answer.code, answer.aarsag) == ("AFVIST", "INGEN_GRUND_OPFYLDT")


def test_pensioners_are_answered_with_section_29():
    """The s. 25 group has a code of its own, tried first."""
    mulige = ("P27_1_2", "P29")
    assert (
        settled_extension(Policy(), asked(mulige=mulige, anmodningstype="PENSIONIST_PARAGRAF25"), today=TODAY).kode
        == "P29"
    )
    assert settled_extension(Policy(), asked(mulige=mulige), today=TODAY).kode == "P27_1_2"


@pytest.mark.parametrize(
    ("given", "aarsag"),
    [
        ({"known": False}, "SAG_UKENDT_I_JOBCENTER"),
        ({"citizen": Citizen.DEAD}, "BORGER_DOED"),
        ({"citizen": Citizen.MOVED}, "BORGER_FLYTTET"),
        ({"ended_by": "RASKMELDT"}, "RASKMELDT"),
        ({"ended_by": "FLEKSJOB"}, "OVERGAAET_ANDEN_YDELSE"),
        ({"ended_by": "P27_3_UDLOEBET"}, "VARIGHED_OPBRUGT"),
        ({"ended_by": "FLYTNING"}, "BORGER_FLYTTET"),
    ],
)
def test_facts_that_refuse_an_extension(given, aarsag):
    """A refusal says which fact it is."""
    answer = settled_extension(Policy(), asked(**given), today=TODAY)
    assert (answer.code, answer.aarsag) == ("AFVIST", aarsag)


def test_a_policy_survives_json():
    """What an act has set comes back from the database as it was."""
    policy = Policy(events=Mode.SLOW, extension_delay=timedelta(days=9))
    assert Policy.of_json(policy.as_json()) == policy

# SPDX-License-Identifier: MPL-2.0
"""
Lives that are told beforehand: one for each planted fault, and for the rows that chance visits seldom.

Without a fault each of them ends in agreement. They need a stage whose parts behave as at the beginning of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lifecycles import deeds
from lifecycles.world import JOBCENTERS, VIBORG, Case, Run

Script = Callable[[Run], None]


def _begun(run: Run, *, days_ago: int = 36, kategori: str = "2", sagsart: str = "11") -> Case:
    """A case that runs."""
    case = deeds.report(run, days_ago=days_ago, sagsart=sagsart)
    if case is None:
        raise AssertionError
    deeds.form(run, case)
    deeds.visit(run, case, kategori)
    run.settle()
    return case


def _asked(run: Run) -> Case:
    """A case about which a question waits for a person, ten days before payment would end."""
    for cvr in JOBCENTERS:
        run.jobcenter(cvr, "policy", extensions="manual")
    run.ksd("policy", decides_after=-1)
    case = _begun(run)
    deeds.set_review(run, case, 10)
    run.settle()
    return case


def plain(run: Run) -> None:
    """A case is reported, its form comes back, a kategori is chosen."""
    _begun(run)


def old_copy(run: Run) -> None:
    """An event of a version that is past comes once more."""
    deeds.late_copy(run, _begun(run))


def twice_extended(run: Run) -> None:
    """One code is granted twice, for longer than it may be."""
    case = _asked(run)
    deeds.grant(run, case, "P27_1_2", 60)
    run.settle()
    deeds.ask(run, case)
    deeds.grant(run, case, "P27_1_2", 20)
    run.settle()


def moved(run: Run) -> None:
    """A citizen moves, and moves back."""
    case = _begun(run)
    deeds.move(run, case.person)
    run.settle()


def moved_back(run: Run) -> None:
    """A citizen moves, and moves back."""
    case = _begun(run)
    deeds.move(run, case.person)
    run.settle()
    deeds.move(run, case.person)


def reopened_extended(run: Run) -> None:
    """A case with an extension ends, and goes on."""
    case = _asked(run)
    deeds.grant(run, case, "P27_1_5", 26)
    run.settle()
    deeds.end(run, case, days_ago=20)
    run.settle()
    deeds.reopen(run, case)


def former_number(run: Run) -> None:
    """A citizen gets a new number, and the jobcentre still says the old one."""
    case = _begun(run)
    deeds.renumber(run, case.person)
    deeds.say_under_former_number(run, case, 0)
    run.settle()


def stopped(run: Run) -> None:
    """Payment stops for nearly four weeks, and goes on."""
    case = _begun(run)
    deeds.stop(run, case)
    run.advance(days=27)
    deeds.resume(run, case)
    run.settle()


def refused_late(run: Run) -> None:
    """A refusal is decided on after the day at which payment would have ended."""
    case = _asked(run)
    deeds.refuse(run, case)
    run.advance(days=20)
    deeds.decide(run, case)
    run.settle()


def reminded(run: Run) -> None:
    """KSD reminds of a question that waits."""
    deeds.remind(run, _asked(run))
    run.settle()


def two_citizens(run: Run) -> None:
    """Two citizens fall ill in the same municipality on the same day."""
    for case in (deeds.report(run), deeds.report(run)):
        if case is not None:
            deeds.form(run, case)
    run.settle()


def two_employers(run: Run) -> None:
    """A citizen has two cases and recovers from one of them."""
    case = _begun(run)
    deeds.report(run, case.person, employer=1)
    deeds.recover(run, case)
    run.settle()


def unanswered(run: Run) -> None:
    """Nobody answers a question, the day passes, and payment goes on."""
    _asked(run)
    run.advance(days=25)


def lost_receipt(run: Run) -> None:
    """A jobcentre takes an event and its receipt is lost."""
    case = _begun(run)
    run.world.act(JOBCENTERS[VIBORG], "chaos", close_after_apply=1)
    deeds.change(run, case, TidligOpfoelgning=True)
    run.settle()
    run.advance(hours=2)


def told_twice(run: Run) -> None:
    """An update is told twice under two BeskedIDs."""
    deeds.say_twice(run, _begun(run))


def asked_thrice(run: Run) -> None:
    """A question takes the place of a question, and another of that; the case comes back to where it was."""
    case = _asked(run)
    for _ in range(2):
        deeds.ask(run, case)
        run.settle()
    deeds.grant(run, case)
    run.settle()


def followed_up(run: Run) -> None:
    """A diligent jobcentre follows up what nobody has visited, a slow one what was visited twice on a day."""
    run.jobcenter(VIBORG, "policy", follow_up="diligent")
    case = deeds.report(run)
    if case is not None:
        deeds.form(run, case)
    run.advance(days=4)
    run.jobcenter(VIBORG, "policy", follow_up="manual")
    case = _begun(run, days_ago=90)
    deeds.visit(run, case, "1")
    run.settle()
    run.jobcenter(VIBORG, "policy", follow_up="slow")
    run.settle()
    run.jobcenter(VIBORG, "policy", follow_up="manual")


def answered_wrongly(run: Run) -> None:
    """A jobcentre answers with a code that may not; before 2018 there is none that is valid at all."""
    run.jobcenter(VIBORG, "policy", extensions="wrong")
    _begun(run, days_ago=150)
    run.jobcenter(VIBORG, "policy", extensions="manual")


# --- rows that chance visits seldom ---


def closed_report(run: Run) -> None:
    """The report has a last day."""
    deeds.report(run, last_day=10)


def unemployed_with_employer(run: Run) -> None:
    """One who reported as unemployed and has an employer goes on as an employee."""
    case = deeds.report(run, days_ago=2, sagsart="17")
    if case is not None:
        deeds.form(run, case)
        deeds.visit(run, case, "1")
        run.advance(days=15)


def at_the_team(run: Run) -> None:
    """Kategori 3, a talk, standby, exemption."""
    case = _begun(run, kategori="3" if run.world.today.year < 2025 else "2")
    run.settle()
    deeds.visit(run, case, "2")
    run.settle()
    deeds.talk(run, case)
    run.settle()
    deeds.stand_by(run, case)
    run.settle()
    deeds.stand_by(run, case, exempt=True)
    run.settle()
    run.advance(weeks=9)
    deeds.talk(run, case, "LOEBENDE_OPFOELGNING")
    run.settle()


def part_time_and_stopped(run: Run) -> None:
    """A part-time return, a question, a stop that nobody ends."""
    case = _begun(run)
    deeds.part_time(run, case)
    run.settle()
    deeds.ask(run, case)
    run.settle()
    deeds.stop(run, case)
    run.advance(days=30)


def ends_of_all_kinds(run: Run) -> None:
    """An error, an error found late, a death, a refusal at once."""
    deeds.end(run, _begun(run), "ANNULLERET")
    case = _begun(run)
    deeds.end(run, case, days_ago=7)
    run.settle()
    deeds.reopen(run, case)
    deeds.end(run, case, "FOLKEPENSION")
    deeds.end(run, case, "ANNULLERET")
    case = _asked(run)
    deeds.refuse(run, case)
    run.settle()
    run.jobcenter(VIBORG, "policy", extensions="diligent")
    deeds.ask(run, _begun(run))
    run.settle()


FAULTLESS: Final[tuple[Script, ...]] = (
    *(
        answered_wrongly,
        plain,
        old_copy,
        twice_extended,
        moved,
        moved_back,
        reopened_extended,
        former_number,
        stopped,
        refused_late,
    ),
    *(reminded, two_citizens, two_employers, unanswered, lost_receipt, told_twice, asked_thrice),
    *(followed_up, closed_report, unemployed_with_employer, at_the_team, part_time_and_stopped, ends_of_all_kinds),
)

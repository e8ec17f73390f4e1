# SPDX-License-Identifier: MPL-2.0
"""
The state machine: what can happen in the life of a case, in any order, at both sides and on the way between them.

A rule is something that somebody does, or time that passes. Whether it fits the case is for the services to say; a
rule only looks for a case that it is likely to fit. At the end of a run everything comes to rest and is judged.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import wraps

from hypothesis import strategies as st
from hypothesis.errors import StopTest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lifecycles import deeds
from lifecycles.check import Disagreement
from lifecycles.closing import finish
from lifecycles.world import AARHUS, EMPLOYERS, JOBCENTERS, OPEN_STATES, RUNNING, VIBORG, Case, Run, World

WHICH = st.integers(0, 3)
PLACES = st.sampled_from([VIBORG, AARHUS])
MODES = st.sampled_from(["diligent", "slow", "silent", "wrong", "manual"])
SAGSARTER = st.sampled_from(["11", "11", "17", "17", "12", "13", "14", "16", "21", "22", "41", "42", "43", "44", "91"])
KATEGORIER = st.sampled_from(["1", "2", "2", "3"])
CODES = st.sampled_from(["P27_1_2", "P27_1_2", "P27_1_3", "P27_1_1", "P27_1_4", "P27_1_5", "P27_1_6", "P27_1_7", "P29"])
CAUSES = st.sampled_from(
    [
        *("INGEN_GRUND_OPFYLDT", "INGEN_GRUND_OPFYLDT", "ARBEJDSDYGTIG", "RASKMELDT", "OVERGAAET_ANDEN_YDELSE"),
        *("BORGER_FLYTTET", "BORGER_DOED", "SAG_UKENDT_I_JOBCENTER", "GRUNDLAG_MANGLER", "VARIGHED_OPBRUGT"),
    ]
)
SCHEMES = ("FLEKSJOB", "JOBAFKLARING", "RESSOURCEFORLOEB", "SAGSARTSKIFT")
ENDS = ("DOED", "FOLKEPENSION", "UDREJST", "A_KASSE", "ANNULLERET")
HOW_IT_ENDS = st.sampled_from(["at KSD", "at KSD", "at the jobcentre", "at the jobcentre", *SCHEMES, *ENDS])
TOLD_BY = ("BORGER", "ARBEJDSGIVER", "LAEGE", "JOBCENTER")
COOPERATION = ("UDEBLIVELSE", "OPLYSNINGSSKEMA", "LAEGEATTEST", "AFVIST_TILBUD")
EXTENSIONS = st.sampled_from(["manual", "manual", "diligent", "slow"])
REPORTS = st.sampled_from(["plain", "with its form", "with its form", "closed", "pensioner"])
PARTS = st.sampled_from(["ksd", *JOBCENTERS.values()])
TALKS = st.sampled_from(
    ["FOERSTE_OPFOELGNING", "FOERSTE_OPFOELGNING", "LOEBENDE_OPFOELGNING", "TIDLIG_OPFOELGNING", "REHABTEAMMOEDE"]
)
OUTCOMES = st.sampled_from(["AFHOLDT", "AFHOLDT", "AFHOLDT", "UDEBLIVELSE", "AFLYST_BORGER"])
AGES = st.sampled_from([5, 20, 36, 60, 90, 118, 150])
PAST = st.sampled_from([0, 0, 3, 42])
MOST_CASES = 4
VISITED = ("LOEBENDE", "DELVIST_RASKMELDT", "REVURDERING", "FORLAENGET")
Rule = Callable[..., None]


def fits(*states: str) -> Callable[[Rule], Rule]:
    """
    Do it if a case is in one of these states, else what is likely to bring one there.

    No precondition may look at the cases: what they are like depends on the calendar, and Hypothesis wants to know what
    can be drawn next from what was drawn before.
    """

    def around(done: Rule) -> Rule:
        @wraps(done)
        def fitting(machine: Lives, **given: object) -> None:
            if machine.life.among(*states):
                done(machine, **given)
            else:
                machine.otherwise()

        return fitting

    return around


class Lives(RuleBasedStateMachine):
    """Random lives. `opens` gives the world for a run; `judged` hears what one came to, `failed` that one has failed."""

    opens: Callable[[], World]
    judged: Callable[[Run, Counter[str], int], None]
    failed: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self.life = Run(world=type(self).opens())
        self.steps = 0

    @invariant()
    def counted(self) -> None:
        """Count the steps."""
        self.steps += 1

    def teardown(self) -> None:
        """Judge the run, if it has come to its end."""
        broken = sys.exc_info()[1]
        try:
            if broken is None:
                type(self).judged(self.life, finish(self.life), self.steps)
            elif isinstance(broken, StopTest):  # Hypothesis has no more bytes for it: it counts for nothing
                finish(self.life)
        except Disagreement:
            type(self).failed()
            raise
        except BaseException as error:
            broken = error
            raise
        finally:
            if broken is not None and not isinstance(broken, StopTest):
                type(self).failed()
                broken.add_note("\n".join(["What was done:", *self.life.trace]))

    def pick(self, which: int, *states: str) -> Case:
        """Choose one of the cases in these states."""
        found = self.life.among(*states)
        return found[which % len(found)]

    def otherwise(self) -> None:
        """Bring a case on its way, take up what has ended, or let some hours pass."""
        if begun := self.life.among("ANMELDT", "OPLYST"):
            deeds.form(self.life, begun[0])
            deeds.visit(self.life, begun[0])
        elif not self.life.among(*OPEN_STATES) and (over := self.life.among("AFSLUTTET")):
            deeds.reopen(self.life, over[0])
        else:
            self.life.advance(hours=5)

    # --- reports ---

    @initialize(place=PLACES, sagsart=SAGSARTER, days=AGES, extensions=EXTENSIONS, kategori=KATEGORIER)
    def begins(self, place: str, sagsart: str, days: int, extensions: str, kategori: str) -> None:
        """A case is reported and runs; whether requests for extension are answered by hand is for the whole run."""
        for each in JOBCENTERS:
            self.life.jobcenter(each, "policy", extensions=extensions)
        employer = None if sagsart in deeds.WITHOUT_EMPLOYER[1:] else 0
        case = deeds.report(self.life, municipality=place, sagsart=sagsart, days_ago=days, employer=employer)
        if case is not None:
            deeds.form(self.life, case)
            deeds.visit(self.life, case, kategori)

    @precondition(lambda self: self.steps % 3 == 0)
    @rule(place=PLACES, sagsart=SAGSARTER, days=AGES, how=REPORTS, same=st.booleans(), employer=WHICH)
    def reported(self, place: str, sagsart: str, days: int, how: str, employer: int, *, same: bool) -> None:
        """Another case, of the same citizen or of another."""
        if len(self.life.cases) >= MOST_CASES:
            self.otherwise()
            return
        case = deeds.report(
            self.life,
            self.life.persons[-1] if same else None,
            municipality=place,
            sagsart=sagsart,
            days_ago=days,
            employer=employer,
            pensioner=how == "pensioner" and not same,
            last_day=3 if how == "closed" else None,
        )
        if case is not None and how == "with its form":
            deeds.form(self.life, case)

    @rule(which=WHICH, kategori=KATEGORIER)
    @fits("ANMELDT", "OPLYST")
    def form_and_kategori(self, which: int, kategori: str) -> None:
        case = self.pick(which, "ANMELDT", "OPLYST")
        deeds.form(self.life, case)
        deeds.visit(self.life, case, kategori)

    # --- SF2095 ---

    @rule(which=WHICH, kategori=KATEGORIER)
    @fits(*OPEN_STATES)
    def kategori(self, which: int, kategori: str) -> None:
        deeds.visit(self.life, self.pick(which, *OPEN_STATES), kategori)

    @rule(which=WHICH, kind=TALKS, outcome=OUTCOMES)
    @fits(*OPEN_STATES)
    def talk(self, which: int, kind: str, outcome: str) -> None:
        deeds.talk(self.life, self.pick(which, *OPEN_STATES), kind, outcome)

    @rule(
        which=WHICH, what=st.sampled_from(["standby", "exempt", "expected", "twice", "miss", "former number", "close"])
    )
    @fits(*OPEN_STATES)
    def told(self, which: int, what: str) -> None:
        """Any other kind of update."""
        case = self.pick(which, *OPEN_STATES)
        match what:
            case "standby" | "exempt":
                deeds.stand_by(self.life, case, exempt=what == "exempt")
            case "expected":
                deeds.expect(self.life, case, 20)
            case "twice":
                deeds.say_twice(self.life, case)
            case "miss":
                deeds.miss(self.life, case, COOPERATION[which])
            case "former number":
                deeds.say_under_former_number(self.life, case, which)
            case "close" if case.state in VISITED:
                deeds.close_locally(self.life, case)

    @rule(which=WHICH, hours=st.sampled_from(["18.00", "18.00", "4.00", "3.50"]))
    @fits("LOEBENDE", "FORLAENGET")
    def part_time(self, which: int, hours: str) -> None:
        deeds.part_time(self.life, self.pick(which, "LOEBENDE", "FORLAENGET"), hours)

    @rule(which=WHICH)
    @fits("AFSLUTTET")
    def told_after_the_end(self, which: int) -> None:
        deeds.talk(self.life, self.pick(which, "AFSLUTTET"), "LOEBENDE_OPFOELGNING")

    # --- SF2093 ---

    @rule(which=WHICH)
    @fits(*RUNNING)
    def asked(self, which: int) -> None:
        deeds.ask(self.life, self.pick(which, *RUNNING))

    @rule(which=WHICH)
    @fits("DELVIST_RASKMELDT")
    def asked_part_time(self, which: int) -> None:
        deeds.ask(self.life, self.pick(which, "DELVIST_RASKMELDT"))

    @rule(which=WHICH, kode=CODES, weeks=st.sampled_from([4, 10, 26, 69, 80]))
    @fits("REVURDERING")
    def granted(self, which: int, kode: str, weeks: int) -> None:
        deeds.grant(self.life, self.pick(which, "REVURDERING"), kode, weeks)

    @rule(which=WHICH, cause=CAUSES)
    @fits("REVURDERING")
    def refused(self, which: int, cause: str) -> None:
        deeds.refuse(self.life, self.pick(which, "REVURDERING"), cause)

    @rule(which=WHICH, what=st.sampled_from(["MODTAGET", "FEJLET", "remind", "decide", "decide otherwise"]))
    @fits("REVURDERING")
    def assessed(self, which: int, what: str) -> None:
        """Something on the way to an answer or to a decision."""
        case = self.pick(which, "REVURDERING")
        match what:
            case "remind":
                deeds.remind(self.life, case)
            case "decide":
                deeds.decide(self.life, case)
            case "decide otherwise":
                deeds.decide(self.life, case, "FLEKSJOB")
            case _:
                deeds.assess(self.life, case, what)

    # --- KSD ---

    @rule(which=WHICH)
    @fits(*RUNNING)
    def stopped(self, which: int) -> None:
        deeds.stop(self.life, self.pick(which, *RUNNING))

    @rule(which=WHICH)
    @fits("STANDSET")
    def resumed(self, which: int) -> None:
        deeds.resume(self.life, self.pick(which, "STANDSET"))

    @precondition(lambda self: self.steps % 3 == 1)
    @rule(which=WHICH, how=HOW_IT_ENDS, days=PAST)
    @fits(*OPEN_STATES)
    def ends(self, which: int, how: str, days: int) -> None:
        """A case ends: by KSD, by the jobcentre's word, by another scheme, as an error."""
        case = self.pick(which, *OPEN_STATES)
        if how == "at KSD":
            deeds.end(self.life, case, days_ago=days)
        elif how == "at the jobcentre":
            deeds.recover(self.life, case, days, by=TOLD_BY[which])
        elif how in SCHEMES:
            deeds.go_over(self.life, case, how)
        else:
            deeds.end(self.life, case, how)

    @rule(which=WHICH)
    @fits("AFSLUTTET")
    def reopened(self, which: int) -> None:
        deeds.reopen(self.life, self.pick(which, "AFSLUTTET"))

    @precondition(lambda self: self.steps % 12 == 11)
    @rule(which=WHICH)
    @fits("AFSLUTTET", *OPEN_STATES)
    def annulled(self, which: int) -> None:
        """The whole report was an error, seen while the case runs or after its end."""
        deeds.end(self.life, self.pick(which, "AFSLUTTET", *OPEN_STATES), "ANNULLERET")

    @precondition(lambda self: self.steps % 4 == 1)
    @rule(which=WHICH)
    def moved(self, which: int) -> None:
        deeds.move(self.life, self.life.persons[which % len(self.life.persons)])

    @precondition(lambda self: self.steps % 4 == 3)
    @rule(which=WHICH, one=st.booleans())
    def renumbered(self, which: int, *, one: bool) -> None:
        """A citizen gets a new number, or turns out to be another one."""
        if one and len(self.life.persons) > 1:
            deeds.merge(self.life, *self.life.persons[:2])
        else:
            deeds.renumber(self.life, self.life.persons[which % len(self.life.persons)])

    @rule(
        which=WHICH,
        what=st.sampled_from(["first day", "first day", "sagsart", "employer", "early", "review"]),
        sagsart=SAGSARTER,
    )
    @fits(*OPEN_STATES)
    def corrected(self, which: int, what: str, sagsart: str) -> None:
        case = self.pick(which, *OPEN_STATES)
        match what:
            case "first day":
                deeds.correct_first_day(self.life, case, (-11, -3, 4, 9)[which])
            case "sagsart":
                deeds.change(self.life, case, Sagsart=sagsart)
            case "employer":
                deeds.change(self.life, case, Arbejdsgiver={"CVRNummer": EMPLOYERS[which]})
            case "early":
                deeds.change(self.life, case, TidligOpfoelgning=True)
            case "review":
                deeds.set_review(self.life, case, 10 * (which + 1))

    # --- how the parts behave, and the way between them ---

    @rule(place=PLACES, events=MODES, extensions=MODES, follow_up=MODES)
    def jobcentre_behaves(self, place: str, events: str, extensions: str, follow_up: str) -> None:
        self.life.jobcenter(place, "policy", events=events, extensions=extensions, follow_up=follow_up)

    @rule(asks=st.sampled_from([True, True, False]), days=st.sampled_from([-1, 0, 7]), form=st.sampled_from([-1, 0, 8]))
    def ksd_behaves(self, days: int, form: int, *, asks: bool) -> None:
        self.life.ksd("policy", asks=asks, decides_after=days, form_after=form)

    @rule(which=WHICH, what=st.sampled_from(["told again", "late copy", "attached", "answered once more"]))
    def comes_again(self, which: int, what: str) -> None:
        """Something comes twice, or late."""
        case = self.life.cases[which % len(self.life.cases)]
        match what:
            case "told again":
                deeds.tell_again(self.life, case)
            case "late copy" if self.life.outage is None:
                deeds.late_copy(self.life, case)
            case "attached":
                deeds.attach(self.life, case)
            case "answered once more":
                deeds.answer_old(self.life, case)

    @rule(part=PARTS, what=st.sampled_from(["receipt lost", "receipts lost", "away"]))
    def goes_wrong(self, part: str, what: str) -> None:
        """A receipt is lost, or a part takes no calls for some days; who is away comes back."""
        if self.life.outage is not None:
            self.life.mend(self.life.outage[0])
        elif what == "away":
            self.life.break_down(part)
        else:
            self.life.say(f"{part}: {what}")
            self.life.world.act(part, "chaos", close_after_apply=1 if what == "receipt lost" else 2)

    @rule(place=PLACES, which=WHICH, fact=st.sampled_from(["unknown", "known", "known", "moved", "dead"]))
    def citizen_is(self, place: str, which: int, fact: str) -> None:
        """What a municipality's register says of a citizen."""
        person = self.life.persons[which % len(self.life.persons)]
        self.life.jobcenter(place, "citizen", cpr=person.cpr, fact=fact)

    # --- time ---

    @rule(hours=st.integers(1, 30))
    def hours_pass(self, hours: int) -> None:
        self.life.advance(hours=hours)

    @rule(days=st.sampled_from([2, 3, 8, 15]))
    def days_pass(self, days: int) -> None:
        self.life.advance(days=days)

    @rule(weeks=st.sampled_from([3, 5, 8]))
    def weeks_pass(self, weeks: int) -> None:
        self.life.advance(weeks=weeks)

    @rule()
    def something_is_due(self) -> None:
        self.life.advance_to_due()

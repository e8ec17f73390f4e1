# SPDX-License-Identifier: MPL-2.0
"""
The judge: what both sides say of the cases of a run, and what may never be, by the domain and not by our own code.

It takes nothing from the product but the words of the control doors. Every finding names the invariant it breaks.
What a person has to look at (a task, an answer that was refused) is no disagreement, but only where exactly that case
is recognised; it is counted.
"""

from __future__ import annotations

import calendar
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

from lifecycles.world import DENMARK, JOBCENTERS, OPEN_STATES, Case, Json, Run
from sygefravaer.errors import ActRefused

ENDED: Final = ("AFSLUTTET", "ANNULLERET")
DAY: Final = timedelta(days=1)
MAXIMUM_WEEKS: Final = {"P27_1_2": 69, "P27_1_3": 134}  # domain.md 5.1
SELF_EMPLOYED_OR_UNEMPLOYED: Final = ("17", "21", "22", "23", "41")  # two weeks do not count; of the others 30 days
STILL_INCAPACITATED: Final = ("INGEN_GRUND_OPFYLDT", "VARIGHED_OPBRUGT")  # domain.md 5.2
LIMIT_ENDS: Final = ("P24_OPHOER", "P27_3_UDLOEBET")
EVENT, REQUEST = "SendHaendelseSygefravaerssag", "SendAnmodningForlaengelse"
M2, M4, M5 = "SendForretningsSvar", "SendForretningsSvarForlaengelse", "SendOpdateringFravaer"
NEVER_REFUSED: Final = {
    M2: {"T204"},
    M4: {"F309", "F305", "T203", "G001"},
    M5: {"O401", "O403", "O408", "G001"},
}
"""What no run does: everybody speaks of his own cases, by a number that the citizen has or had."""
NEVER_SAID: Final = ("B104", "B106")
FIELDS: Final = {
    "SagsVersion": "version",
    "SagsTilstand": "state",
    "Forlaengelse": "extensions",
    "Visitationskategori": "kategori",
    **dict.fromkeys(
        (
            *("FoersteFravaersdag", "SidsteFravaersdag", "FoersteBeregningsdag", "SidsteBeregningsdag"),
            *("AnmeldelsesDato", "ForventetRaskmeldingsdato", "RevurderingsDato", "OplysningsskemaModtaget"),
            "AfslutningsDato",
        ),
        "dates",
    ),
}
"""The invariant that a field which the two sides tell differently breaks; "picture" for the others."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that may never be."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"[{self.invariant}] {self.text}"


class Disagreement(AssertionError):
    """The two sides disagree, or one of them did what may never be."""

    def __init__(self, findings: list[Finding], trace: list[str]) -> None:
        self.findings = findings
        told = "\n".join(["", *map(str, findings), "", "What was done:", *trace])
        super().__init__(told)

    @property
    def invariants(self) -> set[str]:
        """The names of what is broken."""
        return {each.invariant for each in self.findings}


@dataclass(kw_only=True)
class Told:
    """All that the doors say of a run."""

    today: date
    ksd: dict[str, Json] = field(default_factory=dict)
    """Cases by SagsID."""
    messages: dict[str, list[Json]] = field(default_factory=dict)
    """What KSD sent of a case, the first first."""
    tasks: list[Json] = field(default_factory=list)
    sager: dict[tuple[str, str], Json] = field(default_factory=dict)
    """The jobcentersag of a case, by municipality and SagsID."""
    received: dict[str, list[Json]] = field(default_factory=dict)
    """What a jobcentre had about the run's cases, the first first."""
    sent: dict[str, list[Json]] = field(default_factory=dict)
    refused: dict[str, list[Json]] = field(default_factory=dict)
    """A jobcentre's tasks about the run's cases."""


def gather(run: Run) -> Told:
    """Ask both sides."""
    told, mine = Told(today=run.world.today), {case.sags_id for case in run.cases}
    for sags_id in sorted(mine):
        told.ksd[sags_id] = run.world.act("ksd", "case", sags_id=sags_id)
        told.messages[sags_id] = run.world.act("ksd", "messages", sags_id=sags_id, limit=1000)["messages"][::-1]
        told.tasks += run.world.act("ksd", "tasks", sags_id=sags_id, closed=True, limit=1000)["tasks"]
    for cvr, name in JOBCENTERS.items():
        log = run.world.act(name, "messages", limit=1500)
        told.received[cvr] = [each for each in log["received"][::-1] if each["sags_id"] in mine]
        told.sent[cvr] = [each for each in log["sent"][::-1] if each["sags_id"] in mine]
        tasks = run.world.act(name, "tasks", limit=1000)["tasks"]
        told.refused[cvr] = [each for each in tasks if each["sags_id"] in mine]
        for sags_id in mine:
            try:
                told.sager[cvr, sags_id] = run.world.act(name, "case", sags_id=sags_id)
            except ActRefused as error:
                if error.code != "CaseUnknown":
                    raise
    return told


def check(run: Run) -> Told:
    """Compare the two sides; raises `Disagreement`."""
    told = gather(run)
    findings = [*_of_cases(run, told), *_of_citizens(run, told), *_of_messages(run, told)]
    if findings:
        raise Disagreement(findings, run.trace)
    return told


def _of_cases(run: Run, told: Told) -> Iterator[Finding]:
    for case in run.cases:
        ksd = told.ksd[case.sags_id]
        yield from _history(ksd)
        yield from _payment(ksd)
        yield from _extensions(ksd)
        yield from _requests(run, case, told)
        for cvr in JOBCENTERS:
            yield from _both(run, case, told, cvr)
        yield from _review(run, case, told)


# --- one side: KSD's history ---


def _history(ksd: Json) -> Iterator[Finding]:
    """Versions without gaps, in order; an end is a day and a cause, or neither; extensions never vanish."""
    rows, which = ksd["versions"], ksd["sags_id"]
    if [row["version"] for row in rows] != list(range(1, ksd["version"] + 1)):
        yield Finding(invariant="gapless", text=f"{which}: versions {[row['version'] for row in rows]}")
    if rows[-1]["picture"] != ksd["picture"]:
        yield Finding(invariant="gapless", text=f"{which}: the last version is not the case as it is")
    for before, after in pairwise(rows):
        if after["recorded_at"] < before["recorded_at"]:
            yield Finding(invariant="order", text=f"{which}: version {after['version']} is older than the one before")
        had, has = (row["picture"].get("Forlaengelse", []) for row in (before, after))
        if has[: len(had)] != had:
            yield Finding(invariant="extensions kept", text=f"{which}: version {after['version']} lost {had}")
    for row in rows:
        picture = row["picture"]
        ends = [name in picture for name in ("AfslutningsDato", "Afslutningsaarsag")]
        over = picture["SagsTilstand"] in (*ENDED, "OVERFLYTTET")
        if ends != [over, over]:
            yield Finding(invariant="end", text=f"{which}: version {row['version']} is {picture['SagsTilstand']}")


def _payment(ksd: Json) -> Iterator[Finding]:
    """Silence never ends a payment, a refusal never backwards (75-15); a stop ends it after four weeks (s. 21)."""
    rows, which = ksd["versions"], ksd["sags_id"]
    for number, row in enumerate(rows):
        if row["state"] != "AFSLUTTET" or (number and rows[number - 1]["state"] == "AFSLUTTET"):
            continue
        cause, on, known = row["picture"]["Afslutningsaarsag"], _day(row["effective_on"]), _danish(row["recorded_at"])
        refused = [
            each
            for each in ksd["requests"]
            if each["refusal"] and each["status"] == "decided" and each["closed_at"] == row["recorded_at"]
        ]
        decided = row["cause"] in ("decide", "agenda.DECIDE")
        if (decided or cause in LIMIT_ENDS) and not refused and row["cause"] not in ("end_case", M5):
            yield Finding(invariant="silence", text=f"{which}: ended by {cause} and nobody had refused")
        if decided and on < known:
            yield Finding(invariant="backwards", text=f"{which}: decided on {known}, ended on {on}")
        for each in refused:
            if decided and each["refusal"] in STILL_INCAPACITATED and on < _day(each["review"]):
                yield Finding(invariant="backwards", text=f"{which}: ended on {on}, before {each['review']}")
        if row["cause"].startswith("agenda.") and not decided:
            since = next((begun for begun, over in _stops(rows[:number]) if over == date.max), None)
            if since is None or on <= since + timedelta(weeks=4):
                yield Finding(invariant="silence", text=f"{which}: KSD ended it by itself, {row['cause']}")


def _extensions(ksd: Json) -> Iterator[Finding]:
    """Every extension is an answer to a request, begins the day after, and is no longer than its code lets it be."""
    which, granted = ksd["sags_id"], ksd["picture"].get("Forlaengelse", [])
    reviews = [_day(each["review"]) for each in ksd["requests"] if each["status"] == "decided" and not each["refusal"]]
    for number, each in enumerate(granted):
        if number >= len(reviews) or _day(each["FraDato"]) != reviews[number] + DAY:
            yield Finding(invariant="extension asked for", text=f"{which}: from {each['FraDato']}, asked {reviews}")
    for kode, most in MAXIMUM_WEEKS.items():
        used = sum(
            (_day(each["TilDato"]) - _day(each["FraDato"])).days + 1
            for each in granted
            if each["Forlaengelseskode"] == kode
        )
        if used > most * 7:
            yield Finding(invariant="maximum", text=f"{which}: {kode} for {used} days, of {most} weeks")


# --- both sides ---


def _both(run: Run, case: Case, told: Told, cvr: str) -> Iterator[Finding]:
    """What KSD told a municipality last is what its jobcentre has."""
    ksd, sag = told.ksd[case.sags_id], told.sager.get((cvr, case.sags_id))
    rows = [row for row in ksd["versions"] if row["municipality_cvr"] == cvr]
    which = f"{case.sags_id} at {JOBCENTERS[cvr]}"
    if not rows:
        if sag is not None:
            yield Finding(invariant="former", text=f"{which}: never was its case")
        return
    if sag is None:
        yield Finding(invariant="state", text=f"{which}: the jobcentre does not know the case")
        return
    has_it = ksd["municipality_cvr"] == cvr
    if not has_it and rows[-1]["picture"]["SagsTilstand"] != "OVERFLYTTET":
        yield Finding(invariant="former", text=f"{which}: left as {rows[-1]['picture']['SagsTilstand']}")
    if not has_it and [
        each
        for each in told.messages[case.sags_id]
        if each["municipality_cvr"] == cvr and each["version"] > rows[-1]["version"]
    ]:
        yield Finding(invariant="former", text=f"{which}: told something after the move")
    snapshot = sag["snapshots"][case.sags_id]
    want = _told_by_event(rows, told.received[cvr], case.sags_id, has=snapshot["SagsVersion"])
    for name in sorted(want.keys() | snapshot.keys()):
        if want.get(name) != snapshot.get(name):
            text = f"{which}: {name} is {want.get(name)} at KSD and {snapshot.get(name)} at the jobcentre"
            yield Finding(invariant=FIELDS.get(name, "picture"), text=text)
    linked = next(each for each in sag["sygedagpengesager"] if each["sags_id"] == case.sags_id)
    if (linked["version"], linked["tilstand"]) != (snapshot["SagsVersion"], snapshot["SagsTilstand"]):
        yield Finding(invariant="version", text=f"{which}: the jobcentre has {linked} and {snapshot['SagsVersion']}")
    yield from _jobcentersag(run, case, told, cvr, sag)
    yield from _kategori(case, told, cvr, sag)


def _told_by_event(rows: list[Json], received: list[Json], sags_id: str, *, has: int) -> Json:
    """
    Give the picture that the jobcentre was told last by an event.

    That a reassessment begins is told by the request itself (2.1), whose picture is kept with the question; a
    jobcentre that was told it once more, or has asked, `has` that version.
    """
    last = rows[-1]
    asks = last["state"] == "REVURDERING" and last["event"] == "AENDRET" and not last["reasons"]
    asked = any(
        each["operation"] == REQUEST and each["sags_id"] == sags_id and each["version"] >= last["version"]
        for each in received
    )
    return (rows[-2] if asks and asked and len(rows) > 1 and has < last["version"] else last)["picture"]


def _jobcentersag(run: Run, case: Case, told: Told, cvr: str, sag: Json) -> Iterator[Finding]:
    """KSD knows the JobcentersagID by which the jobcentre speaks of the case; it is closed when nothing runs on it."""
    ksd, here = told.ksd[case.sags_id], sag["jobcentersag_id"]
    known = {each["municipality_cvr"]: each["jobcentersag_id"] for each in ksd["jobcentersager"]}.get(cvr)
    events = [
        each
        for each in told.messages[case.sags_id]
        if each["operation"] == EVENT and each["municipality_cvr"] == cvr and not each["replaced_by"]
    ]
    if known != here and events and events[-1]["final"] == "ACCEPTERET":
        text = f"{case.sags_id} at {JOBCENTERS[cvr]}: KSD knows the jobcentersag {known}, the jobcentre has {here}"
        yield Finding(invariant="jobcentersag", text=text)
    runs = [each for each in sag["sygedagpengesager"] if each["tilstand"] in OPEN_STATES]
    if (sag["state"] == "AFSLUTTET") == bool(runs) and not (runs and here in run.closed_locally):
        text = f"{here} at {JOBCENTERS[cvr]}: {sag['state']} with {len(runs)} cases that run"
        yield Finding(invariant="closed", text=text)


def _kategori(case: Case, told: Told, cvr: str, sag: Json) -> Iterator[Finding]:
    """The last kategori that a jobcentre told of a case, and KSD took, is the case's."""
    ksd = told.ksd[case.sags_id]
    applied = [each for each in ksd["updates"] if "VISITATION" in each["kinds"] and each["version"] is not None]
    if applied and ksd["municipality_cvr"] == cvr:
        last = applied[-1]["content"]["Visitationskategori"]
        if ksd["picture"].get("Visitationskategori") != last:
            yield Finding(invariant="kategori", text=f"{case.sags_id}: {last} was told and taken")
    kept = [each for each in ksd["updates"] if "VISITATION" in each["kinds"] and each["version"] is None]
    taken = {row["picture"].get("Visitationskategori") for row in ksd["versions"]}
    for each in kept:
        at = [row for row in ksd["versions"] if row["recorded_at"] <= each["applied_at"]]
        if at and at[-1]["state"] in OPEN_STATES and each["content"]["Visitationskategori"] not in taken:
            yield Finding(invariant="kategori", text=f"{case.sags_id}: a kategori was taken and changed nothing")
    alone = len(sag["sygedagpengesager"]) == 1 and not told.refused[cvr]
    mine = [each for each in ksd["updates"] if "VISITATION" in each["kinds"] and each["municipality_cvr"] == cvr]
    if alone and mine and sag["kategori"] != mine[-1]["content"]["Visitationskategori"]:
        yield Finding(invariant="kategori", text=f"{case.sags_id}: the jobcentersag has {sag['kategori']}")


def _requests(run: Run, case: Case, told: Told) -> Iterator[Finding]:
    """One question at a time, the same at both sides, as many reminders as were sent."""
    ksd, which = told.ksd[case.sags_id], case.sags_id
    still = [each for each in ksd["requests"] if each["status"] == "open"]
    if len(still) > 1:
        yield Finding(invariant="one request", text=f"{which}: {len(still)} are open")
    if still and ksd["state"] in ENDED:
        yield Finding(invariant="one request", text=f"{which}: one is open of a case that has ended")
    for cvr in JOBCENTERS:
        came: Counter[str] = Counter(
            each["anmodning_id"]
            for each in told.received[cvr]
            if each["operation"] == REQUEST and each["sags_id"] == which
        )
        put = {each["anmodning_id"]: each for each in ksd["requests"] if each["municipality_cvr"] == cvr}
        if set(came) != set(put):
            text = f"{which} at {JOBCENTERS[cvr]}: {len(came)} questions came, {len(put)} were put"
            yield Finding(invariant="requests", text=text)
        for anmodning_id, request in put.items():
            if came[anmodning_id] != request["reminders"] + 1:
                text = f"{which}: {came[anmodning_id]} messages of a question with {request['reminders']} reminders"
                yield Finding(invariant="requests", text=text)
        sag = told.sager.get((cvr, which))
        waiting = {each["subject"] for each in (sag or {}).get("duties", []) if each["name"] == "extension answer"}
        for anmodning_id, request in put.items():
            yield from _request(run, told, cvr, request, waits=anmodning_id in waiting)


def _request(run: Run, told: Told, cvr: str, request: Json, *, waits: bool) -> Iterator[Finding]:
    """A question that is open waits at the jobcentre; one that is closed does not."""
    answers = [
        each for each in told.sent[cvr] if each["operation"] == M4 and each["anmodning_id"] == request["anmodning_id"]
    ]
    refused = {code for each in answers for code in each["codes"] or () if each["receipt"] == "fejl"}
    if request["status"] == "open" and not waits:
        if not refused:
            yield Finding(invariant="requests", text=f"{request['anmodning_id']} is open and does not wait there")
        run.legitimate["open, and the answer was refused"] += 1
    if request["status"] != "open" and waits:
        superseded = request["withdrawal"] == "superseded"
        if not (superseded or refused):
            text = f"{request['anmodning_id']} is {request['status']} {request['withdrawal']} and waits there"
            yield Finding(invariant="requests", text=text)
        run.legitimate["question withdrawn without a word, until the next"] += 1


# --- citizens, messages ---


def _of_citizens(run: Run, told: Told) -> Iterator[Finding]:
    for person in run.persons:
        for cvr, name in JOBCENTERS.items():
            found = {
                sag["jobcentersag_id"]: sag["state"]
                for number in person.numbers
                for sag in run.world.act(name, "cases", cpr=number)["cases"]
            }
            still = [each for each, state in found.items() if state != "AFSLUTTET"]
            if len(still) > 1:
                yield Finding(invariant="one jobcentersag", text=f"a citizen has {len(still)} open at {name}")
            for case in run.cases:
                sag = told.sager.get((cvr, case.sags_id))
                if case.person is person and sag is not None and sag["jobcentersag_id"] not in found:
                    text = f"{case.sags_id}: its jobcentersag is not the citizen's at {name}"
                    yield Finding(invariant="one jobcentersag", text=text)
    subjects: dict[str, set[str]] = defaultdict(set)
    for sags_id, ksd in told.ksd.items():
        for row in ksd["versions"]:
            if row["cause_id"] is not None:
                subjects[row["cause_id"]].add(sags_id)
    for cause, cases in subjects.items():
        if len(cases) > 1:
            yield Finding(invariant="one subject", text=f"the message {cause} changed {len(cases)} cases")


def _of_messages(run: Run, told: Told) -> Iterator[Finding]:
    """Every event is settled or before a person; what came, came in order and once; nobody was refused wrongly."""
    tasks = {each["besked_id"]: each for each in told.tasks}
    for sags_id, messages in told.messages.items():
        for each in messages:
            if each["status"] in ("queued", "sending", "under_way"):
                yield Finding(invariant="drained", text=f"{sags_id}: a message is {each['status']}")
            if each["operation"] != EVENT or each["settled_at"] or each["replaced_by"]:
                continue
            if each["besked_id"] not in tasks:
                text = f"{sags_id}: version {each['version']} is {each['answer']}, and nobody's task"
                yield Finding(invariant="settled", text=text)
            else:
                run.legitimate[f"event: {' '.join(tasks[each['besked_id']]['codes'])}"] += 1
        changes = [row["besked_id"] for row in told.ksd[sags_id]["versions"]]
        sent = {each["besked_id"] for each in messages}
        if missing := [each for each in changes if each not in sent]:
            yield Finding(invariant="settled", text=f"{sags_id}: {len(missing)} versions were never told")
    for each in told.tasks:
        if each["kind"] in ("message_refused", "message_parked") or set(each["codes"]) & set(NEVER_SAID):
            yield Finding(invariant="refusals", text=f"{each['sags_id']}: {each['kind']} {each['codes']}")
    for cvr, received in told.received.items():
        yield from _came(run, cvr, received, told)
        for task in told.refused[cvr]:
            if task["code"] in NEVER_REFUSED[task["operation"]]:
                text = f"{task['sags_id']} from {JOBCENTERS[cvr]}: {task['operation']} {task['code']}"
                yield Finding(invariant="refusals", text=text)
            run.legitimate[f"{task['operation']}: {task['code']}"] += 1


def _came(run: Run, cvr: str, received: list[Json], told: Told) -> Iterator[Finding]:
    highest: dict[str, int] = {}
    taken: set[str] = set()  # who refused every version of a case, for who its citizen is, knows none to be old
    for each in received:
        if each["besked_id"] in run.strangers:
            if each["sags_id"] in taken and each["verdict"] not in ("obsolete", "repeated"):
                text = f"{each['sags_id']}: an old version {each['version']} was {each['verdict']}"
                yield Finding(invariant="old version", text=text)
            continue
        if each["operation"] == EVENT:
            if each["verdict"] != "refused":
                taken.add(each["sags_id"])
            if each["version"] < highest.get(each["sags_id"], 0):
                yield Finding(invariant="order", text=f"{each['sags_id']}: version {each['version']} came too late")
            highest[each["sags_id"]] = max(each["version"], highest.get(each["sags_id"], 0))
    sent = {
        each["besked_id"] for messages in told.messages.values() for each in messages if each["municipality_cvr"] == cvr
    }
    came = Counter(each["besked_id"] for each in received if each["besked_id"] not in run.strangers)
    if extra := [each for each in came if came[each] > 1 or each not in sent]:
        yield Finding(invariant="once", text=f"{len(extra)} messages came to {JOBCENTERS[cvr]} twice or from nowhere")


# --- the time limit, counted anew by days ---


def _review(run: Run, case: Case, told: Told) -> Iterator[Finding]:
    """s. 24, 25: the end of the month in which more than 22 weeks in 9 months (26 in 12) are passed."""
    ksd = told.ksd[case.sags_id]
    picture = ksd["picture"]
    if case.by_hand or ksd["state"] in (*ENDED, "STANDSET") or picture.get("Forlaengelse"):
        return  # while payment is stopped the day stands; it is counted when payment goes on
    others = [told.ksd[each.sags_id] for each in run.cases if each.person is case.person]
    days = {day for each in others for day in _paid(each)}
    first = _day(picture["FoersteFravaersdag"])
    want = _limit(days, first, weeks=22, months=9)
    if case.pensioner_since is not None:
        late = _limit(days, first, weeks=26, months=12)
        want = late if late is not None and case.pensioner_since <= late else want
    has = picture.get("RevurderingsDato")
    if has != (want.isoformat() if want else None):
        yield Finding(invariant="review date", text=f"{case.sags_id}: {has} at KSD, by the days it is {want}")


HORIZON: Final = timedelta(days=1200)


def _paid(ksd: Json) -> Iterator[date]:
    if ksd["state"] == "ANNULLERET":
        return
    picture = ksd["picture"]
    first = _day(picture["FoersteFravaersdag"])
    last = picture.get("SidsteFravaersdag") or picture.get("AfslutningsDato")
    until = _day(last) if last else first + HORIZON
    day = first + timedelta(days=14 if picture["Sagsart"] in SELF_EMPLOYED_OR_UNEMPLOYED else 30)
    stops = list(_stops(ksd["versions"]))
    while day <= until:
        if not any(begun <= day < over for begun, over in stops):
            yield day
        day += DAY


def _stops(rows: list[Json]) -> Iterator[tuple[date, date]]:
    """List the times in which payment was stopped: first day, and the day from which it was paid again."""
    begun: date | None = None
    for row in rows:
        if row["state"] == "OVERFLYTTET":
            continue
        on = _day(row["effective_on"])
        if row["state"] == "STANDSET":
            begun = begun or on
        elif begun is not None:
            yield begun, on
            begun = None
    if begun is not None:
        yield begun, date.max


def _limit(days: set[date], first: date, *, weeks: int, months: int) -> date | None:
    end = _month_end(first)
    while end < first + HORIZON - timedelta(days=62):
        month = end.year * 12 + end.month - months
        begin = date(month // 12, month % 12 + 1, 1)
        if sum(begin <= day <= end for day in days) > weeks * 7:
            return end
        end = _month_end(end + DAY)
    return None


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _danish(text: str) -> date:
    return datetime.fromisoformat(text).astimezone(DENMARK).date()

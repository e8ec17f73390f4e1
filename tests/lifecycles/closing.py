# SPDX-License-Identifier: MPL-2.0
"""
How a run ends: what is broken is mended, people do what waits for them, the queues drain, and the judge is asked.

People do what a caseworker would: answer what lies in the inbox, tell again what was refused for a reason that is gone.
Nothing here makes the two sides agree by any other way than a message.
"""

from __future__ import annotations

from collections import Counter

from lifecycles import rows
from lifecycles.check import EVENT, M2, Told, check
from lifecycles.world import JOBCENTERS, OPEN_STATES, Run

PARTS = ("ksd", *JOBCENTERS.values())


def finish(run: Run) -> Counter[str]:
    """Let a run come to rest, judge it, close its cases and judge it again; gives the rows that it visited."""
    _mend(run)
    _let_people_work(run)
    told = check(run)
    found = rows.visited(told, run.seen)
    run.legitimate.clear()  # the second look sees it again
    close(run)
    again = check(run)
    after = rows.visited(again, run.seen)
    return Counter({name: max(found[name], after[name]) for name in found | after})


def come_to_rest(run: Run) -> Told:
    """Let a run come to rest and judge it as it is."""
    _mend(run)
    _let_people_work(run)
    return check(run)


def _mend(run: Run) -> None:
    run.outage = None
    for part in PARTS:
        run.world.act(part, "chaos", reset=True)
    for cvr in JOBCENTERS:
        run.jobcenter(cvr, "policy", events="diligent")
        for number in run.numbers():
            run.world.act(JOBCENTERS[cvr], "citizen", cpr=number, fact="known")
    run.advance(days=3)  # a slow answer takes two days, a question about an early change one


def _let_people_work(run: Run) -> None:
    """Answer what lies in the inboxes, say properly what was said wrongly, tell again what was refused."""
    mine = {case.sags_id for case in run.cases}
    for cvr, name in JOBCENTERS.items():
        inbox = run.world.act(name, "inbox", limit=1000)["events"]
        refused = {each["besked_id"]: each["code"] for each in inbox if each["verdict"] == "refused"}
        waiting = [each["besked_id"] for each in inbox if each["sags_id"] in mine]
        log = run.world.act(name, "messages", limit=1500)["sent"]
        wrongly = [
            each["reference"]
            for each in log
            if each["operation"] == M2 and each["sags_id"] in mine and "T205" in (each["codes"] or ())
        ]
        for besked_id in dict.fromkeys([*waiting, *wrongly]):
            if besked_id not in run.strangers:
                code = refused.get(besked_id)
                word = {"code": "AFVIST", "fejl": code} if code else {"code": "ACCEPTERET"}
                run.jobcenter(cvr, "answer_event", besked_id=besked_id, **word)
    run.settle()
    for case in run.cases:
        tasks = run.world.act("ksd", "tasks", sags_id=case.sags_id, limit=1000)["tasks"]
        refused = [each for each in tasks if each["kind"] in ("event_refused", "event_failed")]
        if not refused:
            continue
        last = run.world.act("ksd", "messages", sags_id=case.sags_id, limit=1000)["messages"]
        newest = next(each for each in last if each["operation"] == EVENT)
        if newest["final"] != "ACCEPTERET":
            # A change cannot be told of a case that has ended there (B105): its end can, or that it runs.
            event = "OPRETTET" if case.state in OPEN_STATES else "AFSLUTTET"
            run.ksd("resend", sags_id=case.sags_id, event=event)
            run.seen["told again by a person"] += 1
    run.settle()
    run.advance(days=2)
    run.settle()


def close(run: Run) -> None:
    """End what is open, so that nothing of this run is due in the next one."""
    for case in run.among(*OPEN_STATES):
        run.ksd("end_case", sags_id=case.sags_id, on=run.world.today.isoformat())
    run.settle()

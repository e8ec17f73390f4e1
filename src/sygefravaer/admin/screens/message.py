# SPDX-License-Identifier: MPL-2.0
"""Besked: how one message stands and came there, what it says at both ends, what decided, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Form, Path, Response

from sygefravaer.admin import looking
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import problem_of
from sygefravaer.admin.screens import snippets
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.messages import words
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.masking import differences
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.delivery import Plan
from sygefravaer.errors import DeliveryRefused, UsageError

SCREEN: Final = Screen(
    name="message",
    path="/besked",
    label=danish("Besked"),
    in_menu=False,
    done={
        "replayed": danish("Beskeden er sendt igen til systemet på dagens rute."),
        "left": danish("Beskeden blev liggende: noget har ændret sig imens. Se planen igen."),
        "discarded": danish("Beskeden er opgivet. Afsenderen skal have det at vide."),
    },
)
router: Final = SCREEN.router()
Seer = Annotated[User, Depends(SCREEN.users)]
Reader = Annotated[User, Depends(needs(*looking.READERS))]
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Number = Annotated[int, Path(ge=1, le=2**62)]
ONE: Final = SCREEN.path + "/{message}"

OUTCOMES: Final[Mapping[str, str]] = {
    "delivered": danish("Leveret"),
    "refused": danish("Afvist af modtageren"),
    "queued": danish("Mislykket, prøves igen"),
    "parked": danish("Parkeret"),
    "unknown": danish("Ukendt udfald, samme besked igen"),
}
DEBTS: Final[Mapping[str, str]] = {
    "unanswered_sf2090": danish("Svar på hændelsen skyldes"),
    "unanswered_sf2093": danish("Svar på anmodningen skyldes"),
    "unheard": danish("Afsenderen skal have afslaget at vide"),
}
_ENDS: Final = {"delivered", "refused", "discarded"}


def ladder(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the steps that a message takes: each with when it was there, and where it is now."""
    status = told["status"]
    tried = told["attempts"][0]["at"] if told["attempts"] else None
    steps: list[dict[str, Any]] = [
        {"name": danish("Modtaget"), "at": told["accepted_at"], "here": False},
        {"name": danish("Første forsøg"), "at": tried, "here": status in {"queued", "sending"}},
    ]
    last = {"refused": danish("Afvist"), "discarded": danish("Opgivet"), "parked": danish("Parkeret")}
    at = told["settled_at"] or (told["attempts"][-1]["at"] if status == "parked" and told["attempts"] else None)
    steps.append({"name": last.get(status, danish("Leveret")), "at": at, "here": status in {*_ENDS, "parked"}})
    asks = OPERATIONS[told["operation"]].conversation
    if asks is not None and asks.asks:
        answer = next((one for one in told["answers"] if one["settles"] and one["status"] == "delivered"), None)
        steps.append({"name": danish("Besvaret"), "at": answer and answer["settled_at"], "here": False})
        if answer is not None:
            for step in steps:
                step["here"] = False
            steps[-1]["here"] = True
    return steps


@router.get(ONE)
async def page(message: Number, user: Seer, view: Seen, office: In) -> Response:
    """Show how a message stands; asked for by the page itself, only that."""
    found = await _found(office, user, view, message)
    return view.page("message/standing.html" if view.by_htmx else "message/page.html", problem=None, reason="", **found)


async def _found(office: Office, user: User, view: View, message: int) -> dict[str, Any]:
    told = await looking.seen(office, user, message)
    return {
        "told": told,
        "ladder": ladder(told),
        "outcomes": OUTCOMES,
        "debts": DEBTS,
        "card": await looking.decision(office, told),
        "names": {one.system_id: one.name for one in await looking.systems(office, user)},
        "reads": bool(user.roles & looking.READERS),
        **words(view),
    }


# --- what it says ---


@router.get(ONE + "/indhold")
async def content(message: Number, user: Reader, view: Seen, office: In, mod: str = "") -> Response:
    """Show what a message says, masked; `mod`: against the one before it in its lane."""
    return await _content(view, office, user, message, against=mod == "forrige")


@router.post(ONE + "/indhold")
async def reveal(
    message: Number,
    user: Reader,
    view: Seen,
    office: In,
    formaal: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Show what a message says, the citizen's number too, to somebody who says why."""
    try:
        return await _content(view, office, user, message, purpose=formaal)
    except UsageError as error:
        return await _content(view, office, user, message, problem=problem_of(error), reason=formaal)


async def _content(
    view: View,
    office: Office,
    user: User,
    message: int,
    *,
    purpose: str | None = None,
    against: bool = False,
    problem: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Response:
    found = await looking.content(office, user, message, purpose=purpose)
    before = found.head["one_before"]
    other = await looking.content(office, user, before) if against and before is not None else None
    compared = None
    if other is not None and other.sent is not None and found.sent is not None:
        compared = differences(other.sent.lines, found.sent.lines)
    return view.page(
        "message/content.html",
        status=200 if problem is None else int(problem["status"]),
        message=message,
        found=found,
        revealed=purpose is not None,
        before=before,
        compared=compared,
        copies=snippets.of(found),
        problem=problem,
        reason=reason,
        **words(view),
    )


# --- what to do with it ---


@router.get(ONE + "/afspil")
async def plan(message: Number, _user: Operator, view: Seen, office: In) -> Response:
    """Show what a replay of this message would do."""
    return _planned(view, message, await looking.replay_plan(office, message))


@router.post(ONE + "/afspil")
async def replay(
    message: Number, user: Operator, view: Seen, office: In, digest: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Let a parked message go again, exactly as the plan showed."""
    try:
        done = await looking.replay_one(office, user, message, digest)
    except DeliveryRefused as error:
        found = await looking.replay_plan(office, message)
        return _planned(view, message, found, problem=problem_of(error))
    return view.go(f"{SCREEN.path}/{message}", done="left" if done.left else "replayed")


def _planned(view: View, message: int, found: Plan, *, problem: Mapping[str, Any] | None = None) -> Response:
    status = 200 if problem is None else int(problem["status"])
    return view.page("message/replay.html", status=status, message=message, plan=found, problem=problem, **words(view))


@router.post(ONE + "/opgiv")
async def discard(
    message: Number, user: Operator, view: Seen, office: In, begrundelse: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """End a parked message for good."""
    try:
        await looking.discard(office, user, message, begrundelse)
    except (UsageError, DeliveryRefused) as error:
        problem = problem_of(error)
        found = await _found(office, user, view, message)
        return view.page("message/page.html", status=problem["status"], problem=problem, reason=begrundelse, **found)
    return view.go(f"{SCREEN.path}/{message}", done="discarded")

# SPDX-License-Identifier: MPL-2.0
"""Knocking at the parts of a sandbox, and what their refusals become on a page."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from starlette.datastructures import FormData

from sygefravaer.admin.access import User
from sygefravaer.admin.office import Office
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.live import Source
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.codes import LISTS
from sygefravaer.control import knock
from sygefravaer.errors import ActRefused, NotThere, SygefravaerError

Json = dict[str, Any]

SUPERVISOR: Final = "supervisor"
KSD: Final = "ksd"
PATIENCE: Final = 20.0  # seconds: a machine may be busy, and a person waits
SHORT: Final = 3.0  # seconds: for what is only looked at
MOST_LINES: Final = 1_000_000
SCREEN: Final = Screen(
    name="sandbox",
    path="/sandkasse",
    label=danish("Sandkasse"),
    done={
        "moved": danish("Uret flyttes."),
        "part": danish("Det er gjort."),
        "chaos": danish("Modtageren opfører sig nu som valgt."),
        "calm": danish("Modtageren opfører sig ordentligt igen."),
        "created": danish("Sagen er oprettet, og KSD fortæller jobcentret det (SF2090)."),
        "held": danish("Anmeldelsen er modtaget og venter, fordi KSD holder anmeldelser tilbage."),
        "changed": danish("Sagen er ændret, og KSD fortæller jobcentret det (SF2090)."),
        "ended": danish("Sagen er afsluttet, og KSD fortæller jobcentret det (SF2090)."),
        "reopened": danish("Sagen er genoptaget, og KSD fortæller jobcentret det (SF2090)."),
        "asked": danish("KSD har spurgt jobcentret om forlængelse (SF2093)."),
        "answered": danish("Svaret er sendt til KSD."),
        "behaves": danish("Jobcentret svarer nu som valgt."),
        "plays": danish("Scenariet spilles."),
        "stopped": danish("Scenariet er afbrudt."),
    },
)
"""Whoever is signed in may see and do all of it: in a sandbox nobody exists."""


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The control doors that this administration knows."""

    paths: Mapping[str, Path]

    async def ask(self, part: str, act: str, /, *, seconds: float = PATIENCE, **fields: object) -> Json:
        """Ask a part; raises `ActRefused`, and `NotThere` for a part that there is none of."""
        if part not in self.paths:
            raise NotThere
        given = {name: value for name, value in fields.items() if value is not None}
        return await knock(self.paths[part], act, given, timeout=seconds)

    async def find(self, part: str, act: str, /, **fields: object) -> Json:
        """Ask a part that may be away; nothing is what it says then."""
        try:
            return await self.ask(part, act, seconds=SHORT, **fields)
        except ActRefused:
            return {}

    async def clock(self) -> Json:
        """Tell the time, and how far a move is: `share` of a hundred."""
        told = await self.find(SUPERVISOR, "clock")
        if "goal" in told:
            start, now, goal = (datetime.fromisoformat(told[name]) for name in ("from", "instant", "goal"))
            told["share"] = round(100 * (now - start) / max(goal - start, timedelta(seconds=1)))
        return told

    async def parts(self) -> list[Json]:
        """List the parts, as the supervisor knows them."""
        return list((await self.find(SUPERVISOR, "status")).get("parts", ()))

    async def names(self) -> Mapping[str, str]:
        """Give the names of the citizens by their case."""
        told = await self.find(SUPERVISOR, "citizens", limit=1000)
        return {one["sags_id"]: one["name"] for one in told.get("citizens", ())}


async def _doors(request: Request, _user: Annotated[User, Depends(SCREEN.users)]) -> Doors:
    return Doors(paths=request.app.state.parts)


At = Annotated[Doors, Depends(_doors)]
"""The doors, as an endpoint's parameter; only for who is signed in."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a form of a page sent: texts that are not empty."""

    fields: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """Give a field; an empty one is none."""
        return self.fields.get(name) or None

    def one_of(self, name: str, choices: Collection[str]) -> str:
        """Give a field that is one of a few words; raises `ActRefused`, as a door would."""
        if (text := self.fields.get(name, "")) not in choices:
            raise ActRefused("FieldWrong", f"`{name}` is wrong: one of {', '.join(sorted(choices))} was wanted.")
        return text

    def number(self, name: str, default: int) -> int:
        """Give a number; raises `ActRefused`, as a door would."""
        text = self.fields.get(name) or str(default)
        try:
            return int(text)
        except ValueError:
            raise ActRefused("FieldWrong", f"`{name}` is wrong: a whole number was wanted.") from None


async def _form(request: Request) -> Form:
    sent: FormData = await request.form()
    return Form(fields={name: value.strip() for name, value in sent.items() if isinstance(value, str)})


Sent = Annotated[Form, Depends(_form)]
"""What was sent, as an endpoint's parameter."""


class Page:
    """What every page of the sandbox has: the clock above it, and the menu of its pages."""

    def __init__(self, view: View, doors: Doors) -> None:
        self._view = view
        self._doors = doors

    async def show(self, template: str, *, refused: SygefravaerError | None = None, **context: Any) -> Response:
        """Draw a page; `refused` is what a part said no to."""
        clock, parts = await asyncio.gather(self._doors.clock(), self._doors.parts())
        jobcenters = [part for part in parts if part["kind"] == "jobcenter"]
        told = None if refused is None else {"code": refused.code, "text": refused.detail or refused.text}
        return self._view.page(
            f"sandbox/{template}",
            status=200 if refused is None else 409,
            clock=clock,
            parts=parts,
            jobcenters=jobcenters,
            refused=told,
            **context,
        )


async def _page(view: Seen, doors: At) -> Page:
    return Page(view, doors)


Drawn = Annotated[Page, Depends(_page)]
"""What draws a page of the sandbox, as an endpoint's parameter."""


def codes(name: str) -> list[tuple[str, str]]:
    """Give a code list of the contract, to choose from: each code with its text."""
    return [(code.kode, code.tekst) for code in LISTS[name]]


def sources(parts: Mapping[str, Path]) -> Mapping[str, Source]:
    """Make what the pages of a sandbox listen to; none where there is no sandbox."""
    if SUPERVISOR not in parts:
        return {}
    doors = Doors(paths=parts)
    sides = [name for name in parts if name not in {SUPERVISOR, "admin"}]

    async def clock(_: Office) -> object:
        told = await doors.find(SUPERVISOR, "clock")
        return {name: told.get(name) for name in ("moving", "instant", "instants", "moved", "failed")}

    async def play(_: Office) -> object:
        told = await doors.find(SUPERVISOR, "scenario", after=MOST_LINES)
        return {name: told.get(name) for name in ("name", "playing", "count", "ok", "failed")}

    async def states(_: Office) -> object:
        return [(part["name"], part["state"], part["health"]) for part in await doors.parts()]

    async def cases(_: Office) -> object:
        told = await asyncio.gather(*(doors.find(name, "due") for name in sides))
        return [(one.get("counters"), one.get("parked"), one.get("next")) for one in told]

    return {"sandbox_clock": clock, "sandbox_play": play, "sandbox_parts": states, "sandbox_cases": cases}

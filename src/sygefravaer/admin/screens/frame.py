# SPDX-License-Identifier: MPL-2.0
"""
What every page shares: the frame around it, its language, what is in the menu, how times and figures are written.

A screen is `SCREEN = Screen(...)` and `router = SCREEN.router()`; its endpoints take a `View`, which draws:

    @router.get(SCREEN.path)
    async def page(user: Annotated[User, Depends(SCREEN.users)], view: Seen) -> Response:
        return view.page("overview/page.html", rows=await ...)
"""

from __future__ import annotations

import calendar
import hashlib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib import resources
from typing import Annotated, Any, Final, cast
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from sygefravaer import __version__
from sygefravaer.admin.access import Role, User, needs, whoever
from sygefravaer.admin.office import Office
from sygefravaer.admin.screens.in_danish import PROBLEMS
from sygefravaer.admin.screens.texts import COOKIE, Language, Speaker, danish, english
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import Environment as Surroundings
from sygefravaer.contract.values import municipality_name

DENMARK: Final = ZoneInfo("Europe/Copenhagen")
STATIC: Final = "/static"
EVERYBODY: Final = frozenset(Role)
_LANGUAGE_SECONDS: Final = 400 * 86_400  # as long as browsers keep a cookie
_STEPS: Final = (  # an age is told in the largest unit of which it has at least one
    (86_400, danish("%(num)s dag"), danish("%(num)s dage")),
    (3_600, danish("%(num)s time"), danish("%(num)s timer")),
    (60, danish("%(num)s minut"), danish("%(num)s minutter")),
    (1, danish("%(num)s sekund"), danish("%(num)s sekunder")),
)
_DANISH: Final = str.maketrans(",.", ".,")
_MONTHS: Final = tuple(calendar.month_name)[1:]
ROLES: Final[Mapping[Role, str]] = {
    Role.VENDOR: danish("Leverandør"),
    Role.MUNICIPALITY: danish("Kommune"),
    Role.OPERATOR: danish("Drift"),
    Role.AUDITOR: danish("Revision"),
}


@dataclass(frozen=True, kw_only=True)
class Screen:
    """
    One screen: its name (also of its templates and texts), where it is, what the menu calls it, and who may see it.

    `roles` None: everybody, signed in or not. `done` are sentences that follow an act, by the word `View.go` takes.
    """

    name: str
    path: str
    label: str
    roles: frozenset[Role] | None = EVERYBODY
    done: Mapping[str, str] = field(default_factory=dict)
    in_menu: bool = True

    def router(self) -> APIRouter:
        """Make the router of its endpoints."""
        return APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @property
    def users(self) -> Callable[..., Coroutine[Any, Any, User]]:
        """Give the dependency that lets in who may see the screen."""
        return needs(*(self.roles or EVERYBODY))

    def shown_to(self, user: User | None) -> bool:
        """Say whether it stands in somebody's menu."""
        return self.in_menu and (self.roles is None or (user is not None and bool(user.roles & self.roles)))


class Frame:
    """The templates in both languages, and the screens that there are."""

    def __init__(self, screens: Iterable[Screen], *, clock: Clock, office: Office | None) -> None:
        self.screens = tuple(screens)
        self.clock = clock
        self.office = office
        self.marks = _marks()
        texts = english()
        self._environments = {one: self._environment(Speaker(one, texts)) for one in Language}

    def _environment(self, speaker: Speaker) -> Environment:
        made = Environment(
            loader=PackageLoader("sygefravaer.admin"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        cast("Any", made).install_gettext_callables(speaker.say, speaker.count, newstyle=True)
        told = Told(speaker)
        made.filters |= {
            "moment": told.moment,
            "day": told.day,
            "age": told.age,
            "number": told.number,
            "municipality": municipality_name,
        }
        made.globals |= {
            "static": self.static,
            "told": told,
            "version": __version__,
            "ROLES": ROLES,
            "PROBLEMS": PROBLEMS,
        }
        return made

    def static(self, path: str) -> str:
        """Give the address of a file of ours; it changes when the file does, so that browsers keep it."""
        return f"{STATIC}/{quote(path)}?v={self.marks[path]}"

    def environment(self, language: Language) -> Environment:
        """Give the templates in a language."""
        return self._environments[language]


class Told:
    """How times, ages and figures are written in a language."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._danish = speaker.language is Language.DANISH

    def say(self, text: str) -> str:
        """Say a text that is marked in code."""
        return self._speaker.say(text)

    def moment(self, instant: datetime | str, *, seconds: bool = True) -> str:
        """Write an instant as people in Denmark read it."""
        if isinstance(instant, str):
            instant = datetime.fromisoformat(instant)
        local = instant.astimezone(DENMARK)
        if self._danish:
            return local.strftime("%d.%m.%Y kl. %H.%M.%S" if seconds else "%d.%m.%Y kl. %H.%M")
        return f"{self.day(local)} {local.strftime('%H:%M:%S' if seconds else '%H:%M')}"

    def day(self, day: date | str) -> str:
        """Write a day; of an instant, the day that it is in Denmark."""
        if isinstance(day, str):
            day = date.fromisoformat(day)
        if isinstance(day, datetime):
            day = day.astimezone(DENMARK).date()
        return day.strftime("%d.%m.%Y") if self._danish else f"{day.day} {_MONTHS[day.month - 1]} {day.year}"

    def age(self, age: timedelta | float) -> str:
        """Write how long something has lasted, roughly."""
        seconds = int(age.total_seconds() if isinstance(age, timedelta) else age)
        size, one, several = next((step for step in _STEPS if abs(seconds) >= step[0]), _STEPS[-1])
        number = abs(seconds) // size
        return self._speaker.count(one, several, number) % {"num": self.number(number)}

    def number(self, number: float) -> str:
        """Write a number with its thousands apart."""
        text = f"{number:,}"
        return text.translate(_DANISH) if self._danish else text


def _marks() -> dict[str, str]:
    """Give a mark of each file under `static` that changes when it does."""
    root = resources.files("sygefravaer.admin").joinpath("static")
    found: dict[str, str] = {}
    waiting = [("", root)]
    while waiting:
        place, one = waiting.pop()
        if one.is_dir():
            waiting += [(f"{place}/{inner.name}".lstrip("/"), inner) for inner in one.iterdir()]
        else:
            found[place] = hashlib.sha256(one.read_bytes()).hexdigest()[:12]
    return found


# --- one request ---


class View:
    """What an endpoint draws with: the frame as the asking person sees it."""

    def __init__(self, frame: Frame, request: Request, user: User | None) -> None:
        self.frame = frame
        self.request = request
        self.user = user
        self.language = language_of(request)
        self._environment = frame.environment(self.language)
        self.say: Callable[[str], str] = cast("Told", self._environment.globals["told"]).say

    @property
    def by_htmx(self) -> bool:
        """Whether a page asks for a part of itself."""
        return "hx-request" in self.request.headers

    def draw(self, template: str, **context: Any) -> str:
        """Draw a template, which may be a whole page or a part of one."""
        return self._environment.get_template(template).render(**self._shared(), **context)

    def page(self, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """Answer with a page, or a part of one."""
        response = HTMLResponse(self.draw(template, **context), status_code=status)
        if self.request.query_params.get("lang") == self.language:
            response.set_cookie(
                COOKIE, self.language, max_age=_LANGUAGE_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
            )
        return response

    def go(self, path: str, *, done: str | None = None, **query: str) -> RedirectResponse:
        """Lead to a page after an act; `done` is the word for what the page then says was done."""
        asked = {**query, **({} if done is None else {"done": done})}
        return RedirectResponse(path + (f"?{urlencode(asked)}" if asked else ""), status_code=303)

    def _shared(self) -> dict[str, Any]:
        path = self.request.url.path
        here = max(
            (one for one in self.frame.screens if _within(path, one.path)), key=lambda one: len(one.path), default=None
        )
        done = self.request.query_params.get("done", "")
        return {
            "view": self,
            "user": self.user,
            "lang": self.language.value,
            "menu": [one for one in self.frame.screens if one.shown_to(self.user)],
            "here": here,
            "done": None if here is None else here.done.get(done),
            "csrf": self.user.csrf if self.user is not None and self.user.session else "",
            "now": self.frame.clock.now(),
            "sandbox": self.frame.office is not None and self.frame.office.environment is Surroundings.TEST,
            "signs_in": self.frame.office is not None,
            "may": self._may,
        }

    def address(self, name: str) -> str | None:
        """Give where a screen is that the person may see, to lead there; None when there is none."""
        return next((one.path for one in self.frame.screens if one.name == name and one.shown_to(self.user)), None)

    def _may(self, *roles: str) -> bool:
        return self.user is not None and bool(self.user.roles & {Role(one) for one in roles})

    def languages(self) -> list[tuple[Language, str]]:
        """Give the other languages, each with the address of this page in it."""
        query = [(name, text) for name, text in self.request.query_params.multi_items() if name not in {"lang", "done"}]
        path = self.request.url.path if self.request.method == "GET" else "/"
        return [
            (one, f"{path}?{urlencode([*query, ('lang', one.value)])}") for one in Language if one is not self.language
        ]


def language_of(request: Request) -> Language:
    """Give the language that was asked for, now or before; Danish first."""
    for asked in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if asked in set(Language):
            return Language(asked)
    return Language.DANISH


def frame_of(request: Request) -> Frame:
    """Give the frame in which a request is answered."""
    return cast("Frame", request.app.state.frame)


async def view_of(request: Request) -> View:
    """Make what a request is answered with."""
    frame = frame_of(request)
    return View(frame, request, None if frame.office is None else await whoever(request))


Seen = Annotated[View, Depends(view_of)]
"""What draws, as an endpoint's parameter."""


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")

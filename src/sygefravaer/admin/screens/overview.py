# SPDX-License-Identifier: MPL-2.0
"""
Overblik: what waits for somebody, oldest first, and what soon will.

Everybody sees his own: an organisation what is for its municipality or for its systems; operator and auditor all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Response

from sygefravaer import status, usage
from sygefravaer.admin.access import User
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements.certificates import ending
from sygefravaer.contract.operations import Service
from sygefravaer.delivery import Parked, waiting
from sygefravaer.law import danish_date

SCREEN: Final = Screen(name="overview", path="/overblik", label=danish("Overblik"))
CERTIFICATE_DAYS: Final = 60
QUIET_DAYS: Final = 7  # a system that calls every working day has been away for a week
TIGHT: Final = 0.75  # of an error budget: from here on it is said to be nearly spent
FULL: Final = 1.0
PAGE: Final = "overview/page.html"
PARTS: Final = "overview/parts.html"
router: Final = SCREEN.router()

Reader = Annotated[User, Depends(SCREEN.users)]

STATES: Final[Mapping[str, str]] = {
    status.State.FULL: danish("Fuldt tilgængelig"),
    status.State.PARTLY: danish("Delvist tilgængelig"),
    status.State.DOWN: danish("Ikke tilgængelig"),
    status.State.UNKNOWN: danish("Ukendt"),
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The error budget of a service in the window of the status, in minutes."""

    service: Service
    state: status.State
    allowed: float
    used: float
    days: int

    @property
    def share(self) -> float | None:
        """Give how much of it is used; None when nothing was measured."""
        return None if not self.allowed else self.used / self.allowed

    @property
    def kind(self) -> str:
        """Give the kind of badge that fits."""
        share = self.share
        if share is None:
            return "plain"
        return "error" if share >= FULL else "warning" if share >= TIGHT else "success"


@router.get(SCREEN.path)
async def page(user: Reader, view: Seen, office: In) -> Response:
    """Show the page; asked for by the page itself, only what changes of it."""
    return view.page(PARTS if view.by_htmx else PAGE, **await _found(office, user))


async def _found(office: Office, user: User) -> dict[str, Any]:
    now, machine = office.clock.now(), office.machine()
    cvr = None if user.everywhere else user.cvr
    parked = Parked(store=office.store, vault=office.vault, environment=office.environment)
    async with office.store.read() as tx:
        owing = await waiting.owing(tx, cvr=cvr, now=now)
        queues = await waiting.queues(tx, cvr=cvr)
        quiet = await usage.quiet(tx, since=danish_date(now) - timedelta(days=QUIET_DAYS), cvr=cvr)
        certificates = await ending(
            tx,
            environment=office.environment,
            within=timedelta(days=CERTIFICATE_DAYS),
            cvr=cvr,
            now=now,
            machine=machine,
        )
        services = [await status.service_status(tx, one, now=machine) for one in Service]
    return {
        "owing": owing,
        "unheard": sum(one.unheard for one in owing),
        "unanswered": sum(one.events + one.extensions for one in owing),
        "overdue": sum(one.overdue for one in owing),
        "queues": queues,
        "silent": [one for one in queues if one.silent_since is not None],
        "quiet": quiet,
        "parked": await parked.groups(cvr=cvr),
        "certificates": certificates,
        "certificate_days": CERTIFICATE_DAYS,
        "quiet_days": QUIET_DAYS,
        "budgets": [_budget(one) for one in services],
        "aim": status.danish_share(status.AIM),
        "states": STATES,
    }


def _budget(one: status.ServiceStatus) -> Budget:
    allowed, used = one.share.budget
    minutes = (one.every or 60.0) / 60
    return Budget(
        service=one.service,
        state=one.state,
        allowed=round(allowed * minutes, 1),
        used=round(used * minutes, 1),
        days=(one.until - one.since).days,
    )

# SPDX-License-Identifier: MPL-2.0
"""
Looking at messages and cases: who sees which, what is noted before it is shown, and what one person may do with one.

Operator and auditor see all messages, a municipality its own, a vendor those that a system of his sent or receives;
what a message says is for the first three only. A citizen's number is never kept: a search by it leaves a row in the
record, and its keyed hashes for as long as a session lasts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer import agreements, audit
from sygefravaer.admin.access import Role, User, must_own, must_see
from sygefravaer.admin.accounts import SESSION
from sygefravaer.admin.four_eyes import named
from sygefravaer.admin.office import Office
from sygefravaer.admin.tables import LOOK
from sygefravaer.agreements import certificates, organisations, workflow
from sygefravaer.agreements.certificates import Certificate
from sygefravaer.agreements.explaining import Access, RouteDecision
from sygefravaer.agreements.workflow import Contract
from sygefravaer.audit import Event, Reader, csv_cell
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import Cpr
from sygefravaer.delivery import Done, Parked, Plan, Selection, browsing, cases, contents, listing
from sygefravaer.delivery.browsing import Filter
from sygefravaer.delivery.cases import Case
from sygefravaer.delivery.contents import Contents
from sygefravaer.delivery.parked import check_words
from sygefravaer.errors import NoSuchMessage, NotAllowed, NotThere, PlanChanged, Refused, UsageError
from sygefravaer.store import Row, Tx

READERS: Final = frozenset({Role.MUNICIPALITY, Role.OPERATOR, Role.AUDITOR})
"""Who may read what messages say, and look for a citizen's; a municipality its own."""
EXPORTED: Final = 100_000  # messages of one file
PAGE: Final = 1_000
COLUMNS: Final = (
    "message_id",
    "accepted_at",
    "operation",
    "municipality_cvr",
    "sender",
    "sender_name",
    "recipient",
    "recipient_name",
    "status",
    "detail",
    "failures",
    "settled_at",
    "besked_id",
    "nemrefusions_id",
)


# --- who sees what ---


async def narrowed(tx: Tx, office: Office, user: User, wanted: Filter) -> Filter:
    """Narrow a filter to what the user may see; raises `NotYours` for another municipality's."""
    if user.everywhere:
        return wanted
    if Role.MUNICIPALITY in user.roles:
        must_own(user, wanted.municipality or user.cvr)
        return replace(wanted, municipality=user.cvr)
    return replace(wanted, among=frozenset(await _systems(tx, office, user)))


async def _systems(tx: Tx, office: Office, user: User) -> list[UUID]:
    found = await organisations.systems(tx, environment=office.environment, cvr=user.cvr)
    return [one.system_id for one in found if one.vendor_cvr == user.cvr]


async def seen(office: Office, user: User, message_id: int) -> dict[str, Any]:
    """Tell all that is known of a message; raises `NotThere`."""
    try:
        (told,) = await listing.shown(office.store, message_id)
    except NoSuchMessage as error:
        raise NotThere from error
    await _must_see_message(office, user, told)
    return told


async def _must_see_message(office: Office, user: User, message: Mapping[str, Any]) -> None:
    if user.everywhere or (Role.MUNICIPALITY in user.roles and message["municipality_cvr"] == user.cvr):
        return
    if Role.VENDOR in user.roles:
        async with office.store.read() as tx:
            if {message["sender"], message["recipient"]} & set(await _systems(tx, office, user)):
                return
    raise NotThere(foreign=True)


def must_read(user: User) -> None:
    """Raise `NotAllowed` unless the user may read what messages say."""
    if not user.roles & READERS:
        raise NotAllowed


def reader(office: Office, user: User, purpose: str | None = None) -> Reader:
    """Say who looks, and why; no number may stand in the reason."""
    return Reader(
        who=user.actor.user,
        purpose=None if purpose is None else check_words(purpose, "The purpose"),
        now=office.clock.now(),
    )


# --- lists ---


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A page of messages; `number` counts them up to `browsing.COUNTED`, and one more says that there are more."""

    leaf: browsing.Leaf
    number: int
    wanted: Filter


async def page(
    office: Office,
    user: User,
    wanted: Filter,
    *,
    before: int | None = None,
    after: int | None = None,
    number: int | None = None,
    size: int = browsing.SIZE,
) -> Listed:
    """Give a page of what the user may see of what is wanted."""
    async with office.store.read() as tx:
        wanted = await narrowed(tx, office, user, wanted)
    leaf = await browsing.page(office.store, wanted, before=before, after=after, number=number, size=size)
    return Listed(leaf=leaf, number=await browsing.number_of(office.store, wanted), wanted=wanted)


async def faults(office: Office, user: User, wanted: Filter) -> list[Row]:
    """Group by cause what the user may see."""
    async with office.store.read() as tx:
        wanted = await narrowed(tx, office, user, wanted)
    return await browsing.faults(office.store, wanted)


async def systems(office: Office, user: User) -> list[organisations.System]:
    """Give the systems that the user may narrow by."""
    async with office.store.read() as tx:
        return await organisations.systems(
            tx, environment=office.environment, cvr=None if user.everywhere else user.cvr
        )


async def look_for(office: Office, user: User, number: str, purpose: str, *, municipality: str | None = None) -> UUID:
    """Note that the user looks for a citizen's messages, and give the look by which they are then shown."""
    must_read(user)
    try:
        cpr = Cpr.parse(re.sub(r"[\s-]", "", number)).reveal()
    except Refused as error:
        raise UsageError("CprMalformed", "What was given is no personal number: ten digits, date first.") from error
    async with office.store.read() as tx:
        within = await narrowed(tx, office, user, Filter(municipality=municipality))
    who = reader(office, user, purpose)
    who.needs_purpose()
    persons = office.vault.lookup_keys(cpr)
    look = uuid4()
    await who.looked(
        office.store,
        office.vault,
        Event.MESSAGE_SEARCHED,
        municipality_cvr=within.municipality,
        cpr_key=persons[0],
        detail={"look": look},
    )
    machine = office.machine()
    async with office.store.tx() as tx:
        await tx.run("DELETE FROM citizen_look WHERE at <= %(old)s", old=machine - SESSION)
        await tx.run(
            "INSERT INTO citizen_look (look_id, account_id, persons, purpose, at)"
            " VALUES (%(look)s, %(account)s, %(persons)s, %(purpose)s, %(at)s)",
            look=look,
            account=user.id,
            persons=list(persons),
            purpose=office.vault.seal(purpose.strip().encode(), context=LOOK),
            at=machine,
        )
    return look


async def persons_of(office: Office, user: User, look: UUID) -> tuple[bytes, ...]:
    """Give the hashes of a look of the user's own that has not ended; raises `NotThere`."""
    must_read(user)
    async with office.store.read() as tx:
        row = await tx.one(
            "SELECT persons FROM citizen_look WHERE look_id = %(look)s AND account_id = %(account)s AND at > %(old)s",
            look=look,
            account=user.id,
            old=office.machine() - SESSION,
        )
    if row is None:
        raise NotThere
    return tuple(bytes(one) for one in row["persons"])


# --- a file ---


def criteria(wanted: Filter) -> dict[str, object]:
    """Say what messages are narrowed by, for the record; of a citizen only that."""
    told: dict[str, object] = {}
    for one in fields(wanted):
        value = getattr(wanted, one.name)
        if not value or one.name == "persons":
            continue
        told[one.name] = sorted(str(each) for each in value) if isinstance(value, tuple | frozenset) else value
    return told


async def export(office: Office, user: User, wanted: Filter) -> AsyncIterator[str]:
    """Note that the user takes messages out, and give them as CSV: no cell is a formula, no row more than a line."""
    async with office.store.read() as tx:
        wanted = await narrowed(tx, office, user, wanted)
    await reader(office, user).looked(
        office.store,
        office.vault,
        Event.MESSAGE_EXPORTED,
        municipality_cvr=wanted.municipality,
        cpr_key=wanted.persons[0] if wanted.persons else None,
        detail={"asked": criteria(wanted)},
    )
    return _lines(office, wanted)


async def _lines(office: Office, wanted: Filter) -> AsyncIterator[str]:
    yield _line(COLUMNS)
    before: int | None = None
    for _ in range(0, EXPORTED, PAGE):
        leaf = await browsing.page(office.store, wanted, before=before, size=PAGE)
        yield "".join(_line(_cell(row[name]) for name in COLUMNS) for row in leaf.rows)
        if not leaf.older or not leaf.rows:
            return
        before = leaf.rows[-1]["message_id"]


def _cell(value: object) -> str:
    return csv_cell(value.isoformat() if isinstance(value, datetime) else value)


def _line(cells: Any) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


# --- one message, one case ---


async def content(office: Office, user: User, message_id: int, *, purpose: str | None = None) -> Contents:
    """
    Open what a message says, having noted that: masked, or whole for whoever says why.

    Raises `NotAllowed`, `NotThere`.
    """
    must_read(user)
    try:
        row = await contents.read(office.store, message_id)
    except NoSuchMessage as error:
        raise NotThere from error
    must_see(user, row["municipality_cvr"])
    who = reader(office, user, purpose)
    event = Event.MESSAGE_VIEWED
    if purpose is not None:
        who.needs_purpose()
        event = Event.MESSAGE_REVEALED
    await who.looked(
        office.store,
        office.vault,
        event,
        system=row["sender"],
        municipality_cvr=row["municipality_cvr"],
        operation=row["operation"],
        besked_id=row["besked_id"],
        cpr_key=bytes(row["cpr_key"]),
    )
    return contents.contents(office.vault, row, reveal=purpose is not None)


async def case(office: Office, user: User, nemrefusions_id: UUID) -> Case:
    """
    Read a case, having noted that; a municipality sees the messages of its own alone.

    Raises `NotAllowed`, `NotThere` when there is nothing that the user may see.
    """
    must_read(user)
    found = await cases.case(office.store, office.vault, nemrefusions_id)
    if not user.everywhere:
        own = [one for one in found.messages if one.head["municipality_cvr"] == user.cvr]
        if found.messages and not own:
            raise NotThere(foreign=True)
        numbers = {one.head["message_id"] for one in own}
        owed = tuple(one for one in found.owed if one["message_id"] in numbers)
        found = replace(found, messages=tuple(own), owed=owed)
    if not found.messages:
        raise NotThere
    await reader(office, user).looked(
        office.store,
        office.vault,
        Event.CASE_VIEWED,
        municipality_cvr=found.municipalities[-1],
        cpr_key=found.person,
        detail={"nemrefusions_id": nemrefusions_id},
    )
    return found


@dataclass(frozen=True, kw_only=True)
class Decision:
    """
    Why a message was let in, and where it goes: what the record says of the call, and what the registers say of then.

    `access` is the decision anew, by the registers as they are, at the time of the call; None when the certificate is
    not registered any more.
    """

    call: Row | None
    certificate: Certificate | None
    agreement: Contract | None
    access: Access | None
    then: RouteDecision
    today: RouteDecision


async def decision(office: Office, message: Mapping[str, Any]) -> Decision:
    """Tell what decided about a message that the user may see."""
    operation, cvr = OPERATIONS[message["operation"]], message["municipality_cvr"]
    about: dict[str, Any] = {"environment": office.environment, "municipality_cvr": cvr}
    at, now = message["accepted_at"], office.clock.now()
    async with office.store.snapshot() as tx:
        rows = [] if message["call_uuid"] is None else await audit.of_call(tx, message["call_uuid"])
        call = next((row for row in rows if row["event"] == Event.MESSAGE_ACCEPTED), None)
        certificate = known = None
        for one in await certificates.certificates(tx, message["sender"]):
            found = await agreements.registered(tx, environment=office.environment, thumbprint=one.thumbprint)
            if call is not None and found is not None and found.serial_key == call["serial_key"]:
                certificate, known = one, found
        agreement = None
        if call is not None and call["agreement"] is not None:
            agreement = await workflow.contract(tx, call["agreement"], environment=office.environment, now=now)
        access = None
        if known is not None:
            access = await agreements.explain_access(tx, known, operation=operation, now=at, **about)
        then = await agreements.explain_route(tx, service=operation.service, now=at, **about)
        today = await agreements.explain_route(tx, service=operation.service, now=now, **about)
    return Decision(call=call, certificate=certificate, agreement=agreement, access=access, then=then, today=today)


# --- acts ---


def parked(office: Office) -> Parked:
    """Give what replays and discards."""
    return Parked(store=office.store, vault=office.vault, environment=office.environment)


async def replay_plan(office: Office, message_id: int) -> Plan:
    """Plan that one parked message goes again; raises `NotParked`."""
    return await parked(office).plan(Selection(ids=(message_id,)), now=office.clock.now())


async def replay_one(office: Office, user: User, message_id: int, digest: str) -> Done:
    """
    Let one parked message go again, as its plan showed; more than one take two persons.

    Raises `PlanChanged`, `NotParked`.
    """
    kept, now = parked(office), office.clock.now()
    plan = await kept.plan(Selection(ids=(message_id,)), now=now)
    if plan.digest != digest:
        raise PlanChanged
    return await kept.run(digest, plan.selection, who=named(user.name), now=now)


async def discard(office: Office, user: User, message_id: int, reason: str) -> None:
    """End a parked message for good; raises `NotParked`, `NoSuchMessage`."""
    await parked(office).discard(message_id, who=named(user.name), reason=reason, now=office.clock.now())


# --- kept views ---


@dataclass(frozen=True, kw_only=True)
class KeptView:
    """A name for what messages are narrowed by."""

    view_id: UUID
    name: str
    query: str


async def views(office: Office, user: User) -> list[KeptView]:
    """List the views that the user keeps."""
    async with office.store.read() as tx:
        rows = await tx.all(
            "SELECT view_id, name, query FROM kept_view WHERE account_id = %(account)s ORDER BY name", account=user.id
        )
    return [KeptView(**row) for row in rows]


async def keep_view(office: Office, user: User, name: str, query: str) -> None:
    """Keep a view by this name, in place of one of the same name."""
    name = check_words(name, "The name of the view")
    async with office.store.tx() as tx:
        await tx.run(
            "INSERT INTO kept_view (view_id, account_id, name, query, created_at)"
            " VALUES (%(view)s, %(account)s, %(name)s, %(query)s, %(now)s)"
            " ON CONFLICT (account_id, name) DO UPDATE SET query = EXCLUDED.query",
            view=uuid4(),
            account=user.id,
            name=name[:80],
            query=query,
            now=office.clock.now(),
        )


async def drop_view(office: Office, user: User, view_id: UUID) -> None:
    """Forget a view of the user's own; one that is not there is forgotten already."""
    async with office.store.tx() as tx:
        await tx.run(
            "DELETE FROM kept_view WHERE view_id = %(view)s AND account_id = %(account)s", view=view_id, account=user.id
        )


AGES: Final[Mapping[str, tuple[timedelta | None, timedelta | None]]] = {
    "1h": (timedelta(hours=1), None),
    "1d": (timedelta(days=1), None),
    "7d": (timedelta(days=7), None),
    "30d": (timedelta(days=30), None),
    "1d-": (None, timedelta(days=1)),
    "5d-": (None, timedelta(days=5)),
    "30d-": (None, timedelta(days=30)),
}
"""Ages to narrow by: younger than, or (with a dash) older than."""


def of_age(age: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Give since when and until when messages of an age were accepted; nothing for an age that is none."""
    younger, older = AGES.get(age, (None, None))
    return (None if younger is None else now - younger), (None if older is None else now - older)

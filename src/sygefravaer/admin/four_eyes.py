# SPDX-License-Identifier: MPL-2.0
"""
What takes two persons: one proposes, another one confirms, and then it is done.

The first approval is the proposer's own, of exactly what stands there. Whoever changes a proposal is its proposer from
then on, so what an earlier one had approved is void. Another role or account of the same person does not count. In an
emergency one may do it alone, with a reason: that is told by its own name and listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from sygefravaer import audit
from sygefravaer.admin.accounts import User
from sygefravaer.admin.office import Office
from sygefravaer.agreements import workflow
from sygefravaer.agreements.workflow import Move
from sygefravaer.delivery import Change, Parked, Routes, Selection
from sygefravaer.errors import Conflict, DeliveryRefused, NotThere, ProposalClosed, SamePerson, VersionChanged
from sygefravaer.store import Row, Tx


class Kind(StrEnum):
    """What is proposed."""

    ROUTE = "route"
    AGREEMENT = "agreement"
    REPLAY = "replay"


class State(StrEnum):
    """How far a proposal has come. Confirmed and not done is a replay under way."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    DONE = "done"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be done: its kind, what exactly, the plan that was shown, and why."""

    kind: Kind
    asked: Mapping[str, Any]
    plan: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposal. `glass`: the reason of somebody who did it alone."""

    proposal_id: UUID
    kind: Kind
    asked: dict[str, Any]
    plan: str | None
    reason: str
    status: State
    version: int
    proposed_by: UUID
    name: str
    confirmed_by: UUID | None
    glass: str | None
    outcome: dict[str, Any] | None
    created_at: datetime
    changed_at: datetime


_COLUMNS: Final = """proposal_id, kind, asked, plan, reason, status, version, proposed_by, name, confirmed_by, glass,
outcome, created_at, changed_at"""

_LIST: Final = f"""
SELECT {_COLUMNS} FROM proposal
WHERE (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(glass)s::boolean IS NULL OR (glass IS NOT NULL) = %(glass)s)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(agreement)s::text IS NULL OR asked ->> 'agreement' = %(agreement)s)
  AND (%(after)s::uuid IS NULL OR (created_at, proposal_id) >
       (SELECT created_at, proposal_id FROM proposal WHERE proposal_id = %(after)s))
ORDER BY created_at, proposal_id LIMIT %(limit)s"""


async def propose(tx: Tx, wish: Wish, *, user: User, now: datetime) -> Proposal:
    """Propose something."""
    proposal_id = uuid4()
    await tx.run(
        "INSERT INTO proposal (proposal_id, kind, asked, plan, reason, status, proposed_by, person, name, created_at,"
        " changed_at) VALUES (%(proposal_id)s, %(kind)s, %(asked)s::jsonb, %(plan)s, %(reason)s, 'open', %(by)s,"
        " %(person)s, %(name)s, %(now)s, %(now)s)",
        proposal_id=proposal_id,
        now=now,
        **_fields(wish, user),
    )
    made = await _told(tx, proposal_id)
    await _tell(tx, audit.Event.PROPOSAL_MADE, made, user, now, reason=wish.reason, told={"asked": dict(wish.asked)})
    return made


async def change(tx: Tx, proposal_id: UUID, wish: Wish, *, version: int, user: User, now: datetime) -> Proposal:
    """Propose something else in its place: who does that is the proposer now."""
    await _open(tx, proposal_id, version)
    await tx.run(
        "UPDATE proposal SET kind = %(kind)s, asked = %(asked)s::jsonb, plan = %(plan)s, reason = %(reason)s,"
        " proposed_by = %(by)s, person = %(person)s, name = %(name)s, version = version + 1, changed_at = %(now)s"
        " WHERE proposal_id = %(proposal_id)s",
        proposal_id=proposal_id,
        now=now,
        **_fields(wish, user),
    )
    changed = await _told(tx, proposal_id)
    await _tell(
        tx, audit.Event.PROPOSAL_CHANGED, changed, user, now, reason=wish.reason, told={"asked": dict(wish.asked)}
    )
    return changed


async def withdraw(tx: Tx, proposal_id: UUID, *, version: int, user: User, now: datetime) -> Proposal:
    """Take a proposal back."""
    await _open(tx, proposal_id, version)
    await _close(tx, proposal_id, State.WITHDRAWN, now)
    withdrawn = await _told(tx, proposal_id)
    await _tell(tx, audit.Event.PROPOSAL_WITHDRAWN, withdrawn, user, now)
    return withdrawn


async def carry_out(
    office: Office, proposal_id: UUID, *, version: int, user: User, alone: str | None = None
) -> Proposal:
    """
    Confirm a proposal and do it: by another person than its proposer, or `alone`, with the reason.

    Raises `NotThere`, `VersionChanged`, `ProposalClosed`, `SamePerson`, and what the act itself raises: then nothing
    was done, and the proposal stays open (a replay that was not carried out fails).
    """
    now = office.clock.now()
    async with office.store.tx() as tx:
        row = await _open(tx, proposal_id, version)
        if alone is None and row["person"] == user.person:
            raise SamePerson
        proposal = await _told(tx, proposal_id)
        outcome: dict[str, Any] = {}
        if proposal.kind is Kind.ROUTE:
            outcome = await _set_route(office, tx, proposal, user, now)
        elif proposal.kind is Kind.AGREEMENT:
            outcome = await _step_agreement(office, tx, proposal, user, now)
        state = State.CONFIRMED if proposal.kind is Kind.REPLAY else State.DONE
        await _close(tx, proposal_id, state, now, user=user, glass=alone, outcome=outcome)
        event = audit.Event.PROPOSAL_CONFIRMED if alone is None else audit.Event.GLASS_BROKEN
        done = await _told(tx, proposal_id)
        told = {"proposed_by": proposal.proposed_by, "asked": dict(proposal.asked)}
        await _tell(tx, event, done, user, now, reason=alone, told=told)
    return await _replay(office, done, user) if done.kind is Kind.REPLAY else done


async def proposal(tx: Tx, proposal_id: UUID) -> Proposal | None:
    """Find a proposal."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM proposal WHERE proposal_id = %(id)s", id=proposal_id)
    return None if row is None else _proposal(row)


async def proposals(
    tx: Tx,
    *,
    status: State | None = None,
    glass: bool | None = None,
    kind: Kind | None = None,
    agreement: UUID | None = None,
    after: UUID | None = None,
    limit: int = 1_000,
) -> list[Proposal]:
    """
    List proposals, oldest first; `glass`: those that somebody did alone, or those that nobody did.

    `kind`: only those of this kind; `agreement`: only those about this agreement.
    """
    rows = await tx.all(
        _LIST,
        status=status and status.value,
        glass=glass,
        kind=kind and kind.value,
        agreement=agreement and str(agreement),
        after=after,
        limit=limit,
    )
    return [_proposal(row) for row in rows]


async def closed(tx: Tx, *, limit: int) -> list[Proposal]:
    """List the proposals that were closed last, the latest first."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM proposal WHERE status <> 'open' ORDER BY changed_at DESC, proposal_id LIMIT %(limit)s",
        limit=limit,
    )
    return [_proposal(row) for row in rows]


async def own(tx: Tx, user: User) -> frozenset[UUID]:
    """Give the open proposals of a person's own, by whichever account: another person confirms them."""
    rows = await tx.all(
        "SELECT proposal_id FROM proposal WHERE status = 'open' AND person = %(person)s", person=user.person
    )
    return frozenset(row["proposal_id"] for row in rows)


async def waiting(tx: Tx, user: User) -> int:
    """Count the open proposals that wait for another person than their proposer, and that this one may confirm."""
    row = await tx.one(
        "SELECT count(*) AS number FROM proposal WHERE status = 'open' AND person <> %(person)s", person=user.person
    )
    return 0 if row is None else int(row["number"])


# --- the acts ---


async def _set_route(office: Office, tx: Tx, what: Proposal, user: User, now: datetime) -> dict[str, Any]:
    kept = Routes(store=office.store, vault=office.vault, environment=office.environment)
    route = await kept.set_within(tx, what.plan or "", Change.of(what.asked), who=str(user.id), now=now)
    return {"route": str(route)}


async def _step_agreement(office: Office, tx: Tx, what: Proposal, user: User, now: datetime) -> dict[str, Any]:
    after = await workflow.move(
        tx,
        UUID(what.asked["agreement"]),
        Move(what.asked["step"]),
        version=int(what.asked["version"]),
        environment=office.environment,
        reason=what.reason,
        by=user.actor,
        now=now,
        machine=office.machine(),
    )
    return {"agreement": str(after.agreement_id), "status": after.status.value}


async def _replay(office: Office, what: Proposal, user: User) -> Proposal:
    """Carry out a confirmed replay, lane by lane, each in its own transaction."""
    now = office.clock.now()
    kept = Parked(store=office.store, vault=office.vault, environment=office.environment)
    who = named(what.name, user.name)
    try:
        done = await kept.run(what.plan or "", Selection.of(what.asked), who=who, now=now)
    except DeliveryRefused as error:
        async with office.store.tx() as tx:
            await _close(tx, what.proposal_id, State.FAILED, now, outcome={"code": error.code})
            await _tell(tx, audit.Event.PROPOSAL_FAILED, what, user, now, code=error.code)
        raise
    outcome = {"replayed": list(done.replayed), "moved": list(done.moved), "left": [list(one) for one in done.left]}
    async with office.store.tx() as tx:
        await _close(tx, what.proposal_id, State.DONE, now, outcome=outcome)
        return await _told(tx, what.proposal_id)


def named(*names: str) -> str:
    """Give names as the record may hold them: no digit, since it could be somebody's number."""
    return " and ".join(re.sub(r"\d", "", name).strip() or "nobody" for name in names)


# --- rows ---


def _fields(wish: Wish, user: User) -> dict[str, object]:
    return {
        "kind": wish.kind.value,
        "asked": json.dumps(wish.asked),
        "plan": wish.plan,
        "reason": wish.reason,
        "by": user.id,
        "person": user.person,
        "name": user.name,
    }


async def _open(tx: Tx, proposal_id: UUID, version: int) -> Row:
    row = await tx.one(
        "SELECT status, version, person FROM proposal WHERE proposal_id = %(id)s FOR UPDATE", id=proposal_id
    )
    if row is None:
        raise NotThere
    if row["status"] != State.OPEN:
        raise ProposalClosed
    if row["version"] != version:
        raise VersionChanged
    return row


async def _close(
    tx: Tx,
    proposal_id: UUID,
    state: State,
    now: datetime,
    *,
    user: User | None = None,
    glass: str | None = None,
    outcome: Mapping[str, Any] | None = None,
) -> None:
    await tx.run(
        "UPDATE proposal SET status = %(status)s, confirmed_by = coalesce(%(user)s::uuid, confirmed_by),"
        " glass = coalesce(%(glass)s, glass), outcome = coalesce(%(outcome)s::jsonb, outcome), version = version + 1,"
        " changed_at = %(now)s WHERE proposal_id = %(id)s",
        id=proposal_id,
        status=state.value,
        user=user and user.id,
        glass=glass,
        outcome=None if outcome is None else json.dumps(outcome),
        now=now,
    )


async def _told(tx: Tx, proposal_id: UUID) -> Proposal:
    found = await proposal(tx, proposal_id)
    if found is None:
        raise Conflict
    return found


async def _tell(
    tx: Tx,
    event: audit.Event,
    what: Proposal,
    user: User,
    now: datetime,
    *,
    reason: str | None = None,
    code: str | None = None,
    told: Mapping[str, object] | None = None,
) -> None:
    head = {"proposal": what.proposal_id, "kind": what.kind.value, "version": what.version, "plan": what.plan}
    detail = user.actor.plain() | head | dict(told or {})
    await audit.record(tx, event, now=now, reason=reason, code=code, detail=detail)


def _proposal(row: Row) -> Proposal:
    return Proposal(**{**row, "kind": Kind(row["kind"]), "status": State(row["status"])})

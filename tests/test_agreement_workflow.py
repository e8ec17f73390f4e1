# SPDX-License-Identifier: MPL-2.0
"""Every step from every state of an agreement; environments apart; what a period makes of an approved one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from sygefravaer import agreements
from sygefravaer.agreements import Actor, Status, organisations, workflow
from sygefravaer.agreements.workflow import Move
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import MoveRefused, NotThere, PreflightFailed, UsageError, VersionChanged

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
BY = Actor(user="anna", organisation="29189846")
VIBORG, VENDOR = "29189846", "12345674"

# Written by hand: from where each step leads where. Any other is refused.
WANTED = {
    ("draft", "request"): "checked",  # what may be requested is another test's
    ("draft", "try"): "checked",
    ("draft", "cancel"): "cancelled",
    ("requested", "approve"): "approved",
    ("requested", "reject"): "rejected",
    ("requested", "cancel"): "cancelled",
    ("approved", "terminate"): "terminated",
    ("approved", "suspend"): "suspended",
    ("suspended", "resume"): "approved",
    ("suspended", "terminate"): "terminated",
}


async def a_system(tx, environment=Environment.TEST):
    if await organisations.organisation(tx, VENDOR) is None:
        await organisations.add_organisation(tx, cvr=VENDOR, name="x", by=BY, now=NOW)
    made = await organisations.add_system(
        tx,
        name="x",
        vendor_cvr=VENDOR,
        role=agreements.Role.JOBCENTER,
        contact=None,
        environment=environment,
        by=BY,
        now=NOW,
    )
    await organisations.join_group(tx, made.system_id, "MONOPOLBRUD", by=BY, now=NOW)
    return await organisations.system(tx, made.system_id, environment=environment)


async def drafted(tx, of, **more):
    given = {"service": Service.SYGEFRAVAER, "municipality_cvr": VIBORG, "valid_from": date(2026, 3, 2)} | more
    return await workflow.draft(tx, of=of, **given, by=BY, now=NOW)


async def moved(tx, agreement_id, step, *, environment=Environment.TEST, reason="why", version=1, now=NOW):
    return await workflow.move(
        tx,
        agreement_id,
        step,
        version=version,
        environment=environment,
        reason=reason,
        by=BY,
        now=now,
        machine=now,
    )


async def test_every_step_from_every_state(make_store):
    """Only what is written is possible; what is not changes nothing and leaves no row."""
    store = await make_store("agreements", "audit")
    found = {}
    async with store.tx() as tx:
        of = await a_system(tx)
    for status in Status:
        for step in Move:
            async with store.tx() as tx:
                one = await drafted(tx, of)
                await tx.run(
                    "UPDATE agreement SET status = %(status)s WHERE agreement_id = %(id)s",
                    status=status.value,
                    id=one.agreement_id,
                )
            try:
                async with store.tx() as tx:
                    told = await moved(tx, one.agreement_id, step)
                found[status.value, step.value] = told.status.value
                assert (told.version, told.reason) == (2, "why")
            except PreflightFailed:
                found[status.value, step.value] = "checked"
            except MoveRefused:
                async with store.read() as tx:
                    rows = await tx.all(
                        "SELECT event FROM audit WHERE agreement = %(id)s ORDER BY audit_id", id=one.agreement_id
                    )
                assert [row["event"] for row in rows] == ["agreement.drafted"]
            async with store.tx() as tx:  # one request at a time waits
                await tx.run(
                    "UPDATE agreement SET status = 'cancelled' WHERE agreement_id = %(id)s", id=one.agreement_id
                )
    assert found == WANTED


async def test_a_step_needs_the_version_the_reason_and_the_environment(make_store):
    """Nothing of production is there in test."""
    store = await make_store("agreements", "audit")
    async with store.tx() as tx:
        of, real = await a_system(tx), await a_system(tx, Environment.PRODUCTION)
        one, other = await drafted(tx, of), await drafted(tx, real)
        await tx.run("UPDATE agreement SET status = 'approved'")
        with pytest.raises(VersionChanged):
            await moved(tx, one.agreement_id, Move.TERMINATE, version=2)
        for empty in (None, ""):
            with pytest.raises(UsageError, match="reason"):
                await moved(tx, one.agreement_id, Move.TERMINATE, reason=empty)
        for missing in (other.agreement_id, uuid4()):
            with pytest.raises(NotThere):
                await moved(tx, missing, Move.TERMINATE)
        shown = await workflow.contracts(tx, environment=Environment.TEST, now=NOW)
        assert [each.agreement_id for each in shown] == [one.agreement_id]
        systems = await organisations.systems(tx, environment=Environment.TEST)
        assert [each.system_id for each in systems] == [of.system_id]
        assert await organisations.system(tx, real.system_id, environment=Environment.TEST) is None
        ended = await moved(tx, other.agreement_id, Move.TERMINATE, environment=Environment.PRODUCTION)
        assert ended.status is Status.TERMINATED


async def test_a_period_is_shown_and_guards(make_store):
    """Past or upside down it is refused; an approved one has not begun, is in force, or has expired."""
    store = await make_store("agreements", "audit")
    async with store.tx() as tx:
        of = await a_system(tx)
        for wrong in ({"valid_to": date(2026, 3, 1)}, {"valid_from": date(2026, 5, 1), "valid_to": date(2026, 4, 1)}):
            with pytest.raises(UsageError, match="last day"):
                await drafted(tx, of, **wrong)
        with pytest.raises(UsageError, match="98"):
            await drafted(tx, of, municipality_cvr=VENDOR)
        one = await drafted(tx, of, valid_from=date(2026, 3, 5), valid_to=date(2026, 3, 10))
        await tx.run("UPDATE agreement SET status = 'requested'")
        with pytest.raises(MoveRefused, match="past"):
            await moved(tx, one.agreement_id, Move.APPROVE, now=NOW + timedelta(days=9))
        approved = await moved(tx, one.agreement_id, Move.APPROVE)
        assert approved.phase == "approved, not begun"
        phases = [
            (
                await workflow.contract(
                    tx, one.agreement_id, environment=Environment.TEST, now=NOW + timedelta(days=day)
                )
            ).phase
            for day in (3, 8, 9)
        ]
        assert phases == ["approved", "approved", "expired"]


async def test_a_change_that_begins_at_once_ends_what_would_not_have_begun(make_store):
    """The replaced agreement ends the day before, or at once when it had not begun by then."""
    store = await make_store("agreements", "audit")
    async with store.tx() as tx:
        of = await a_system(tx)
        later = await drafted(tx, of, valid_from=date(2026, 6, 1))
        await tx.run("UPDATE agreement SET status = 'approved'")
        with pytest.raises(NotThere):
            await drafted(tx, of, municipality_cvr="55133018", replaces=later.agreement_id)
        new = await drafted(tx, of, valid_from=date(2026, 4, 1), replaces=later.agreement_id)
        await tx.run("UPDATE agreement SET status = 'requested' WHERE agreement_id = %(id)s", id=new.agreement_id)
        await moved(tx, new.agreement_id, Move.APPROVE)
        old = await workflow.contract(tx, later.agreement_id, environment=Environment.TEST, now=NOW)
        assert (old.status, old.valid_to) == (Status.TERMINATED, None)

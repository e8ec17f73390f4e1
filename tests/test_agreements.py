# SPDX-License-Identifier: MPL-2.0
"""Who may call for which municipality: the decision, its order, its trace, and the registers it reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from sygefravaer import agreements
from sygefravaer.agreements import Agreement, Caller, Facts, Role, Status, decide
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import (
    PlatformFault,
    ServiceAgreementExpired,
    ServiceAgreementNotApproved,
    ServiceAgreementNotFound,
    ServiceAgreementNotYetValid,
    ServiceAgreementSuspended,
    ServiceAgreementTerminated,
    UserSystemInactive,
    UserSystemNotFound,
)
from sygefravaer.identity import Identity, Scheme

TODAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
VIBORG = "29189846"
AARHUS = "55133018"
SYSTEM = UUID("11111111-1111-4111-8111-111111111111")


def identity(**changes) -> Identity:
    made = Identity(
        issuer="CN=Test CA,C=DK",
        subject="CN=Jobsystem,C=DK",
        serial_key="UI:DK-O:G:0b1c",
        cvr="12345678",
        name="Jobsystem",
        scheme=Scheme.OCES3,
        thumbprint="ab" * 32,
        serial=7,
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=700),
    )
    return replace(made, **changes)


def agreement(**changes) -> Agreement:
    made = Agreement(agreement_id=uuid4(), status=Status.APPROVED, valid_from=date(2014, 1, 1), valid_to=None)
    return replace(made, **changes)


def facts(*found: Agreement, **changes) -> Facts:
    caller = Caller(
        system_id=SYSTEM,
        name="Jobsystem",
        active=True,
        certificate_active=True,
        certificate_from=date(2014, 1, 1),
        certificate_to=date(2049, 12, 31),
    )
    made = Facts(
        on=TODAY,
        service=Service.SYGEFRAVAER,
        municipality_cvr=VIBORG,
        caller=caller,
        renewed=False,
        agreements=found,
        near=(),
        route=None,
    )
    return replace(made, **changes)


def closed(**changes) -> Facts:
    """Facts with every later rule broken too, so that the lowest number must win."""
    made = facts(agreement(status=Status.DRAFT))
    assert made.caller is not None
    return replace(made, caller=replace(made.caller, **changes))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (replace(closed(active=False), caller=None), UserSystemNotFound),
        (closed(certificate_active=False, active=False), UserSystemInactive),
        (closed(certificate_from=TODAY + timedelta(days=1)), UserSystemInactive),
        (closed(certificate_to=TODAY - timedelta(days=1)), UserSystemInactive),
        (closed(active=False), UserSystemInactive),
        (facts(), ServiceAgreementNotFound),
        (facts(agreement(status=Status.DRAFT)), ServiceAgreementNotApproved),
        (facts(agreement(status=Status.REQUESTED)), ServiceAgreementNotApproved),
        (facts(agreement(status=Status.REJECTED)), ServiceAgreementNotApproved),
        (facts(agreement(status=Status.CANCELLED)), ServiceAgreementNotApproved),
        (facts(agreement(status=Status.TERMINATED, valid_to=date(2020, 1, 1))), ServiceAgreementTerminated),
        (facts(agreement(status=Status.SUSPENDED)), ServiceAgreementSuspended),
        (facts(agreement(status=Status.SUSPENDED, valid_to=date(2026, 3, 1))), ServiceAgreementExpired),
        (facts(agreement(valid_from=date(2026, 3, 3))), ServiceAgreementNotYetValid),
        (facts(agreement(valid_to=date(2026, 3, 1))), ServiceAgreementExpired),
    ],
)
def test_first_broken_rule_is_told(given, error):
    """Of several rules that a caller breaks, the first in the order of checks is told, and it is the trace's last step."""
    decision = decide(given)

    assert type(decision.error) is error
    assert not decision.allowed
    assert [step.passed for step in decision.steps] == [True] * (len(decision.steps) - 1) + [False]
    assert [step.number for step in decision.steps] == list(range(1, len(decision.steps) + 1))


def test_agreement_in_force_allows():
    """With everything in order all nine rules pass."""
    decision = decide(facts(agreement(valid_from=TODAY, valid_to=TODAY)))

    assert decision.allowed
    assert len(decision.steps) == 9
    assert decision.system_id == SYSTEM


def test_old_agreement_does_not_hide_the_one_in_force():
    """Expired and requested agreements beside one in force change nothing."""
    old = agreement(valid_to=date(2020, 1, 1))
    asked = agreement(status=Status.REQUESTED)
    current = agreement()

    assert decide(facts(old, current, asked)).agreement_id == current.agreement_id


def test_ended_agreement_is_told_before_a_new_one_that_waits():
    """An expired agreement with a successor that is not approved has ended: a repeat may still have its receipt."""
    decision = decide(facts(agreement(status=Status.REQUESTED), agreement(valid_to=date(2020, 1, 1))))

    assert isinstance(decision.error, ServiceAgreementExpired)
    assert decision.ended
    assert "requested" in decision.steps[-1].near[0]


def test_call_without_a_municipality_is_judged_on_its_system_alone():
    """Where the municipality cannot be read, an unknown certificate is still told first, and a known one passes."""
    assert decide(facts(municipality_cvr=None)).allowed
    assert isinstance(decide(facts(municipality_cvr=None, caller=None)).error, UserSystemNotFound)


def test_trace_names_what_nearly_matched():
    """The trace says what the caller does have: another certificate of its subject, other agreements."""
    renewed = decide(facts(caller=None, renewed=True))
    elsewhere = decide(facts(near=(f"Sygefravaer for {AARHUS}",)))

    assert "renewed certificate" in str(renewed.steps[-1])
    assert AARHUS in str(elsewhere.steps[-1])


def test_last_day_counts_until_danish_midnight():
    """A day ends at midnight in Denmark, an hour or two before it does in UTC."""
    assert agreements.danish_day(datetime(2026, 3, 1, 22, 59, tzinfo=UTC)) == date(2026, 3, 1)
    assert agreements.danish_day(datetime(2026, 3, 1, 23, 0, tzinfo=UTC)) == date(2026, 3, 2)
    assert agreements.danish_day(datetime(2026, 7, 1, 22, 0, tzinfo=UTC)) == date(2026, 7, 2)


# --- the registers ---


@pytest.fixture
async def store(make_store):
    return await make_store("agreements")


async def register(tx, who: Identity, **changes) -> UUID:
    system_id = uuid4()
    environment = changes.pop("environment", Environment.TEST)
    await agreements.register_system(
        tx, system_id=system_id, name="J", vendor_cvr="12345678", role=Role.JOBCENTER, environment=environment, now=NOW
    )
    await agreements.register_certificate(
        tx, who, system_id=system_id, environment=environment, valid_from=date(2014, 1, 1), now=NOW, **changes
    )
    return system_id


async def grant(tx, system_id: UUID, **changes) -> UUID:
    values = {
        "agreement_id": uuid4(),
        "service": Service.SYGEFRAVAER,
        "municipality_cvr": VIBORG,
        "valid_from": date(2014, 1, 1),
        "now": NOW,
    } | changes
    await agreements.grant_agreement(tx, system_id=system_id, **values)
    return values["agreement_id"]


async def lead_to_ksd(tx, system_id: UUID) -> None:
    await agreements.set_route(
        tx,
        route_id=uuid4(),
        service=Service.SYGEFRAVAER,
        municipality_cvr=agreements.ALL,
        system_id=system_id,
        url="https://localhost/ksd",
        valid_from=date(2014, 1, 1),
        now=NOW,
    )


async def ask(tx, who: Identity, **changes):
    values = {
        "environment": Environment.TEST,
        "service": Service.SYGEFRAVAER,
        "municipality_cvr": VIBORG,
        "now": NOW,
    } | changes
    return await agreements.authorise(tx, who, **values)


async def test_registered_caller_gets_its_grant_and_route(store):
    """System, agreement and the route of the call come out of one question."""
    async with store.tx() as tx:
        system = await register(tx, identity())
        agreed = await grant(tx, system)
        await lead_to_ksd(tx, system)
        got = await ask(tx, identity())

    assert (got.system_id, got.agreement_id, got.ended) == (system, agreed, None)
    assert got.route is not None
    assert got.route.url == "https://localhost/ksd"


async def test_what_changes_between_two_calls_counts_at_the_second(store):
    """A call that was let in is judged by what the registers say now, however like the one before it is."""
    who = identity()
    async with store.tx() as tx:
        await grant(tx, await register(tx, who))
        for change, undo in (
            ("UPDATE agreement SET status = 'suspended'", "UPDATE agreement SET status = 'approved'"),
            ("UPDATE system SET active = false", "UPDATE system SET active = true"),
            ("DELETE FROM agreement", None),
        ):
            first, again = await ask(tx, who), await ask(tx, who)
            assert first == again
            assert first.ended is None
            await tx.run(change)
            with pytest.raises(PlatformFault):
                raise (await ask(tx, who)).ended or AssertionError(change)
            if undo is not None:
                await tx.run(undo)


async def test_renewed_certificate_must_be_registered(store):
    """A certificate of the same subject with another thumbprint opens nothing, and the trace says why."""
    async with store.tx() as tx:
        await register(tx, identity())
        with pytest.raises(UserSystemNotFound) as refused:
            await ask(tx, identity(thumbprint="cd" * 32))
        for other in ({"serial_key": "UI:DK-O:G:other"}, {"issuer": "CN=Other CA,C=DK"}):
            with pytest.raises(UserSystemNotFound):
                await ask(tx, identity(**other))
        explained = await agreements.explain(
            tx,
            identity(thumbprint="cd" * 32),
            environment=Environment.TEST,
            service=Service.SYGEFRAVAER,
            municipality_cvr=VIBORG,
            now=NOW,
        )

    assert "renewed" in refused.value.__notes__[0]
    assert str(explained.steps[-1]) == refused.value.__notes__[0]


async def test_certificate_of_another_environment_is_unknown(store):
    """A certificate registered for production opens nothing in test."""
    async with store.tx() as tx:
        await register(tx, identity(), environment=Environment.PRODUCTION)
        with pytest.raises(UserSystemNotFound):
            await ask(tx, identity())


async def test_withdrawn_certificate_and_closed_system_open_nothing(store):
    """Both are told as inactive from the next call on."""
    async with store.tx() as tx:
        system = await register(tx, identity())
        await grant(tx, system)
        await agreements.set_active(tx, system_id=system, active=False)
        with pytest.raises(UserSystemInactive):
            await ask(tx, identity())
        await agreements.set_active(tx, system_id=system, active=True)
        await agreements.withdraw_certificate(tx, identity(), environment=Environment.TEST)
        with pytest.raises(UserSystemInactive):
            await ask(tx, identity())


async def test_agreement_of_another_municipality_or_service_is_none(store):
    """An agreement counts for its own service and municipality; the trace names the near ones, nearest first."""
    async with store.tx() as tx:
        system = await register(tx, identity())
        await grant(tx, system, municipality_cvr=AARHUS)
        await grant(tx, system, service=Service.SYGEFRAVAER_JC)
        with pytest.raises(ServiceAgreementNotFound) as refused:
            await ask(tx, identity())

    note = refused.value.__notes__[0]
    assert f"Near: SygefravaerJC for {VIBORG}, Sygefravaer for {AARHUS}" in note


async def test_ended_agreement_is_a_grant_that_says_so(store):
    """authorise() does not raise on an agreement that has ended: the duplicate check comes first for a send."""
    async with store.tx() as tx:
        system = await register(tx, identity())
        agreed = await grant(tx, system, valid_to=date(2026, 3, 2))
        before = await ask(tx, identity(), now=datetime(2026, 3, 2, 22, 59, tzinfo=UTC))
        after = await ask(tx, identity(), now=datetime(2026, 3, 2, 23, 1, tzinfo=UTC))
        await grant(tx, system, agreement_id=agreed, status=Status.DRAFT)
        with pytest.raises(ServiceAgreementNotApproved):
            await ask(tx, identity())

    assert before.ended is None
    assert isinstance(after.ended, ServiceAgreementExpired)
    assert after.ended.__notes__


async def test_unread_municipality_needs_no_agreement(store):
    """A call whose municipality could not be read passes with a known certificate and without a route."""
    async with store.tx() as tx:
        await register(tx, identity())
        got = await ask(tx, identity(), municipality_cvr=None)

    assert (got.agreement_id, got.route) == (None, None)


async def test_one_route_counts_on_a_day(store):
    """The municipality's own before the one for all; a new one ends the old the day before; an ended one is none."""

    async def routed(tx, on: datetime = NOW) -> str | None:
        found = await agreements.route(
            tx, environment=Environment.TEST, service=Service.SYGEFRAVAER_JC, municipality_cvr=VIBORG, now=on
        )
        return found and found.url

    async def route(tx, url: str, first: date, cvr: str = VIBORG) -> UUID:
        made = uuid4()
        await agreements.set_route(
            tx,
            route_id=made,
            service=Service.SYGEFRAVAER_JC,
            municipality_cvr=cvr,
            system_id=system,
            url=url,
            valid_from=first,
            now=NOW,
        )
        return made

    async with store.tx() as tx:
        system = await register(tx, identity())
        none = await routed(tx)
        await route(tx, "https://all", date(2014, 1, 1), agreements.ALL)
        for_all = await routed(tx)
        await route(tx, "https://old", date(2014, 1, 1))
        new = await route(tx, "https://new", date(2026, 3, 3))
        today, tomorrow = await routed(tx), await routed(tx, NOW + timedelta(days=1))
        await agreements.end_route(tx, route_id=new, last_day=date(2026, 3, 3))
        after = await routed(tx, NOW + timedelta(days=2))

    assert (none, for_all, today, tomorrow, after) == (
        None,
        "https://all",
        "https://old",
        "https://new",
        "https://all",
    )


async def test_registering_again_corrects(store):
    """A second registration of the same thing changes it and makes no second one."""
    async with store.tx() as tx:
        first = await register(tx, identity())
        second = await register(tx, identity())
        await grant(tx, second)
        got = await ask(tx, identity())

    assert got.system_id == second != first


# --- the edition of the registers ---

CHANGES = [
    "UPDATE system SET active = false",
    "UPDATE certificate SET active = false",
    "UPDATE agreement SET valid_to = '2026-03-01'",
    "DELETE FROM agreement",
    "UPDATE route SET url = 'https://localhost/elsewhere'",
    """
    INSERT INTO system (system_id, name, vendor_cvr, role, environment, created_at)
    VALUES (gen_random_uuid(), 'Other', '12345678', 'other', 'test', '2026-03-02T09:00Z')
    """,
    "TRUNCATE system CASCADE",
]


def recalled(who: Identity):
    return agreements.recall(
        who, environment=Environment.TEST, service=Service.SYGEFRAVAER, municipality_cvr=VIBORG, now=NOW
    )


async def holds(store, found) -> bool:
    async with store.read() as tx:
        row = await tx.one(f"SELECT {found.proviso.condition} AS still", **found.proviso.params)
    return row["still"]


@pytest.fixture
async def let_in(store):
    """A caller that was let in once, by what is committed."""
    who = identity(thumbprint=uuid4().hex * 2)
    async with store.tx() as tx:
        system = await register(tx, who)
        await grant(tx, system)
        await lead_to_ksd(tx, system)
    async with store.read() as tx:
        await ask(tx, who)
    return who


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_any_change_of_the_registers_is_another_edition(store, embedded, let_in, change, role):
    """Whatever was decided before holds no more from the commit on, also when rows come as copies of others."""
    found = recalled(let_in)
    assert await holds(store, found)

    with psycopg.connect(embedded.superuser_dsn(), options=f"-c session_replication_role={role}") as connection:
        connection.execute(f"SET search_path TO {store.schema}")
        connection.execute(change)
        assert await holds(store, found)  # not committed yet

    assert not await holds(store, found)


async def test_change_that_is_rolled_back_leaves_the_edition(store, let_in):
    """And nothing that was decided within it is recalled."""
    found = recalled(let_in)
    other = identity(thumbprint=uuid4().hex * 2)

    async def judge_what_is_undone() -> None:
        async with store.tx() as tx:
            await agreements.register_certificate(
                tx,
                other,
                system_id=found.decision.system_id,
                environment=Environment.TEST,
                valid_from=date(2014, 1, 1),
                now=NOW,
            )
            assert (await ask(tx, other)).ended is None
            raise KeyError

    with pytest.raises(KeyError):
        await judge_what_is_undone()

    assert await holds(store, found)
    assert recalled(other) is None


async def test_many_changes_at_once_are_one_edition(store, let_in):
    """A change of every row writes the edition once."""
    del let_in
    async with store.tx() as tx:
        for number in range(20):
            await agreements.register_system(
                tx,
                system_id=uuid4(),
                name=f"System {number}",
                vendor_cvr="12345678",
                role=Role.OTHER,
                environment=Environment.TEST,
                now=NOW,
            )
    async with store.read() as tx:
        row = await tx.one("SELECT ctid::text AS place, made_by = xmin::text::xid8 AS once FROM register_edition")
    assert row["once"]


async def test_changes_at_the_same_time_do_not_stand_in_each_others_way(store, let_in):
    """The edition is written at the end: two who change the same registers crosswise wait for rows and for no more."""
    del let_in
    async with store.tx() as first, store.tx() as second:
        await first.run("UPDATE agreement SET valid_to = '2027-01-01'")
        await second.run("UPDATE route SET url = 'https://localhost/elsewhere'")
        await second.run("UPDATE system SET name = 'Other'")
        await first.run(
            "INSERT INTO route SELECT gen_random_uuid(), service, '101', system_id, url, takes_substitute,"
            " valid_from, valid_to, created_at, finish_days FROM route"
        )

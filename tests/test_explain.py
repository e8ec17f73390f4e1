# SPDX-License-Identifier: MPL-2.0
"""Why a call would pass and where a message would go: the same answer as the gateway acts by, whatever the registers say."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sygefravaer import agreements
from sygefravaer.agreements import DENMARK, Registered, Role, Status
from sygefravaer.app import PLATFORM
from sygefravaer.cli import cli
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import PlatformFault
from sygefravaer.identity import from_der
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault

VIBORG, AARHUS = "29189846", "55133018"
TODAY = date(2026, 3, 29)  # the day on which the clocks of Denmark go forward
LONG_AGO = date(2014, 1, 1)
SYSTEMS = [UUID(int=number) for number in (1, 2)]
PRINTS = ["a" * 64, "b" * 64, "c" * 64]
KEYS = ["UI:DK-O:G:1", "UI:DK-O:G:2"]

days = st.integers(-2, 2).map(lambda number: TODAY + timedelta(days=number))
periods = st.tuples(days, st.none() | days)
services = st.sampled_from(list(Service))
towns = st.sampled_from([VIBORG, AARHUS])
environments = st.sampled_from([Environment.TEST, Environment.TEST, Environment.PRODUCTION])
midnights = st.sampled_from([datetime(2026, 3, day, tzinfo=DENMARK) for day in (28, 29, 30)])
instants = st.builds(
    lambda midnight, seconds: midnight.astimezone(UTC) + timedelta(seconds=seconds),
    midnights,
    st.sampled_from([-3601, -1, 0, 1, 3599, 7200]),
)


def one_waiting(drawn):
    """Leave out a request beside another for the same: the register holds one at a time."""
    first = {one[:3]: at for at, one in reversed(list(enumerate(drawn))) if one[3] is Status.REQUESTED}
    return [one for at, one in enumerate(drawn) if one[3] is not Status.REQUESTED or first[one[:3]] == at]


registers = st.fixed_dictionaries(
    {
        "systems": st.lists(st.tuples(environments, st.booleans()), min_size=2, max_size=2),
        "certificates": st.lists(
            st.tuples(
                environments, st.sampled_from(PRINTS), st.sampled_from(KEYS), st.integers(0, 1), periods, st.booleans()
            ),
            max_size=4,
            unique_by=lambda one: (one[0], one[1]),
        ),
        "agreements": st.lists(
            st.tuples(st.integers(0, 1), services, towns, st.sampled_from(list(Status)), periods), max_size=4
        ).map(one_waiting),
        "routes": st.lists(
            st.tuples(
                st.integers(0, 1),
                services,
                st.sampled_from([VIBORG, AARHUS, agreements.ALL]),
                periods,
                st.integers(0, 2),
            ),
            max_size=4,
        ),
    }
)
calls = st.tuples(st.sampled_from(PRINTS), st.sampled_from(KEYS), services, towns, instants)


class Desk:
    """A store and its loop, kept for every example; what an example writes is rolled back."""

    def __init__(self, embedded):
        self.runner = asyncio.Runner()
        self.runner.run(self._open(embedded))

    async def _open(self, embedded):
        role, password = f"why_{secrets.token_hex(4)}", secrets.token_hex(8)
        self.dsn, self.schema = await embedded.create_part(role, password), role
        self.store = Store(self.dsn, schema=role, size=2)
        await self.store.open()
        await migrate(self.store, PLATFORM, now=datetime.now(UTC))

    def run(self, work):
        return self.runner.run(work)

    def close(self):
        self.runner.run(self.store.close())
        self.runner.close()


@pytest.fixture(scope="module")
def desk(embedded):
    made = Desk(embedded)
    yield made
    made.close()


class RolledBackError(Exception):
    """Undo an example."""


async def fill(tx, said):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for system_id, (environment, active) in zip(SYSTEMS, said["systems"], strict=True):
        await agreements.register_system(
            tx,
            system_id=system_id,
            name=f"system {system_id.int}",
            vendor_cvr="12345674",
            role=Role.JOBCENTER,
            environment=environment,
            now=now,
        )
        await agreements.set_active(tx, system_id=system_id, active=active)
    for environment, thumbprint, key, owner, (first, last), active in said["certificates"]:
        row = {"environment": environment.value, "thumbprint": thumbprint, "key": key, "owner": SYSTEMS[owner]}
        await tx.run(
            "INSERT INTO certificate (environment, thumbprint, issuer, serial_key, subject, system_id, active, valid_from,"
            " valid_to, created_at) VALUES (%(environment)s, %(thumbprint)s, 'CN=CA', %(key)s, 'CN=x', %(owner)s,"
            " %(active)s, %(first)s, %(last)s, %(now)s)",
            **row,
            active=active,
            first=first,
            last=last,
            now=now,
        )
    for owner, service, town, status, (first, last) in said["agreements"]:
        await agreements.grant_agreement(
            tx,
            agreement_id=uuid4(),
            system_id=SYSTEMS[owner],
            service=service,
            municipality_cvr=town,
            valid_from=first,
            valid_to=last,
            status=status,
            now=now,
        )
    for owner, service, town, (first, last), made in said["routes"]:
        await tx.run(
            "INSERT INTO route (route_id, service, municipality_cvr, system_id, url, valid_from, valid_to, created_at)"
            " VALUES (%(id)s, %(service)s, %(town)s, %(owner)s, 'https://x', %(first)s, %(last)s, %(made)s)",
            id=uuid4(),
            service=service.value,
            town=town,
            owner=SYSTEMS[owner],
            first=first,
            last=last,
            made=now + timedelta(minutes=made),
        )


def covers(on, period):
    return period[0] <= on and (period[1] is None or on <= period[1])


def model(said, call):
    """Say which fault the caller must meet, if any: written for this test, from the registers as they were made."""
    thumbprint, key, service, town, instant = call
    on = instant.astimezone(DENMARK).date()
    mine = [one for one in said["certificates"] if one[:3] == (Environment.TEST, thumbprint, key)]
    if not mine:
        return "UserSystemNotFound"
    _, _, _, owner, period, active = mine[0]
    if not active or not covers(on, period) or not said["systems"][owner][1]:
        return "UserSystemInactive"
    found = [one for one in said["agreements"] if one[:3] == (owner, service, town)]
    if not found:
        return "ServiceAgreementNotFound"
    verdicts = set()
    for *_, status, period in found:
        if status is Status.TERMINATED:
            verdicts.add("ServiceAgreementTerminated")
        elif status not in {Status.APPROVED, Status.SUSPENDED}:
            verdicts.add("ServiceAgreementNotApproved")
        elif on < period[0]:
            verdicts.add("ServiceAgreementNotYetValid")
        elif not covers(on, period):
            verdicts.add("ServiceAgreementExpired")
        else:
            verdicts.add("ServiceAgreementSuspended" if status is Status.SUSPENDED else None)
    order = [None, "Suspended", "Terminated", "Expired", "NotYetValid", "NotApproved"]
    return min(verdicts, key=lambda one: order.index(one and one.removeprefix("ServiceAgreement")))


ENDED = {"ServiceAgreementSuspended", "ServiceAgreementTerminated", "ServiceAgreementExpired"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=registers, call=calls)
def test_explain_and_authorise_are_one(desk, said, call):
    """Authorise lets in exactly whom explain would, with the same fault, and both agree with the registers as made."""
    thumbprint, key, service, town, instant = call

    async def tried():
        async with desk.store.tx() as tx:
            await fill(tx, said)
            about = {"environment": Environment.TEST, "service": service, "municipality_cvr": town, "now": instant}
            presented = Registered(issuer="CN=CA", serial_key=key, thumbprint=thumbprint)
            decision = await agreements.explain(tx, presented, **about)
            try:
                grant, refused = await agreements.authorise(tx, presented, **about), None
            except PlatformFault as error:
                grant, refused = None, error
            way = await agreements.explain_route(tx, **about)
            route = await agreements.route(tx, **about)
            raise RolledBackError(decision, grant, refused, way, route)

    with pytest.raises(RolledBackError) as undone:
        desk.run(tried())
    decision, grant, refused, way, route = undone.value.args
    code = None if decision.error is None else decision.error.code

    assert code == model(said, call)
    assert decision.allowed == (grant is not None and grant.ended is None)
    if grant is None:
        assert (refused.code, code in ENDED) == (code, False)
    else:
        assert (None if grant.ended is None else grant.ended.code) == code
        assert code is None or code in ENDED
        assert (None if grant.route is None else grant.route.route_id) == (None if route is None else route.route_id)
    assert [step.passed for step in decision.steps] == [True] * (len(decision.steps) - 1) + [code is None]
    assert (decision.steps[-1].remedy is None) == (code is None)
    assert (None if way.chosen is None else way.chosen.route_id) == (None if route is None else route.route_id)
    assert (way.remedy is None) == (route is not None)


# --- the commands ---


@pytest.fixture
async def counter(desk, pki, tmp_path):
    """Give a register with one system, whose agreement and route end on a day, and the settings that lead to it."""
    issued = pki.get("forklaret") or pki.issue("forklaret", VIBORG)
    Vault.create_file(tmp_path / "keys.json")
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'part = "gateway"\nvault = "keys.json"\n[database]\ndsn = "{desk.dsn}"\nschema = "{desk.schema}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )
    store = Store(desk.dsn, schema=desk.schema, size=1)
    await store.open()
    now, system = datetime.now(UTC), uuid4()
    async with store.tx() as tx:
        await tx.run("TRUNCATE system CASCADE")
        about = {"environment": Environment.TEST, "now": now}
        await agreements.register_system(
            tx, system_id=system, name="Fag", vendor_cvr=VIBORG, role=Role.JOBCENTER, **about
        )
        identity = from_der(issued.der)
        await agreements.register_certificate(tx, identity, system_id=system, valid_from=LONG_AGO, **about)
        await agreements.grant_agreement(
            tx,
            agreement_id=uuid4(),
            system_id=system,
            service=Service.SYGEFRAVAER,
            municipality_cvr=VIBORG,
            valid_from=LONG_AGO,
            valid_to=date(2027, 5, 31),
            now=now,
        )
        for first, last in ((LONG_AGO, date(2027, 5, 31)), (date(2027, 7, 1), None)):
            await tx.run(
                "INSERT INTO route (route_id, service, municipality_cvr, system_id, url, valid_from, valid_to, created_at)"
                " VALUES (%(id)s, 'Sygefravaer', '*', %(system)s, 'https://ksd', %(first)s, %(last)s, %(now)s)",
                id=uuid4(),
                system=system,
                first=first,
                last=last,
                now=now,
            )
    yield config, issued, identity
    await store.close()


async def run(config, *words, code=0):
    line = ["explain", *words, "--config", str(config)]
    result = await asyncio.to_thread(CliRunner().invoke, cli, line)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in words else result.stdout


def about(certificate, *more, town=VIBORG, operation="HentSag"):
    return ("access", "--certificate", str(certificate), "--municipality", town, "--operation", operation, *more)


async def test_access_names_the_rule_that_decides_what_is_near_and_who_must_act(counter):
    """File and thumbprint give the same verdict; the last day counts to midnight in Denmark; a refusal ends with 1."""
    config, issued, identity = counter
    last, after = "2027-05-31T23:59:59+02:00", "2027-06-01T00:00:00+02:00"

    told = await run(config, *about(issued.certificate, "--at", last, "--json"))
    assert (told["allowed"], told["code"], told["decided"]) == (True, "OK", 10)
    assert [step["number"] for step in told["steps"]] == list(range(11))
    told = await run(config, *about(identity.thumbprint.upper(), "--at", after, "--json"), code=1)
    assert (told["allowed"], told["code"], told["steps"][-1]["rule"]) == (
        False,
        "ServiceAgreementExpired",
        "the agreement has not expired",
    )
    assert (told["steps"][-1]["who"], told["repeats_get_their_receipt"]) == ("caller", False)
    told = await run(config, *about(issued.certificate, "--json", town=AARHUS), code=1)
    assert told["steps"][-1]["near"] == [f"Sygefravaer for {VIBORG}"]
    text = await run(config, *about(issued.certificate, town=AARHUS), code=1)
    assert text.endswith("The call would be refused: ServiceAgreementNotFound.\n")
    assert "do:   The vendor requests an agreement for this service, and the municipality approves it." in text


async def test_access_with_a_certificate_that_the_register_does_not_know(counter, pki):
    """A renewal says so, a stranger is told to register, and an expired one never gets past TLS."""
    config, _, _ = counter
    renewed = pki.issue("forklaret", VIBORG)
    expired = pki.issue("udløbet", VIBORG, not_after=datetime.now(UTC) - timedelta(days=1))

    told = await run(config, *about(renewed.certificate, "--json"), code=1)
    assert (told["code"], "renewed" in told["steps"][-1]["do"]) == ("UserSystemNotFound", True)
    told = await run(config, *about("0" * 64, "--json"), code=1)
    assert told["code"] == "UserSystemNotFound"
    told = await run(config, *about(expired.certificate, "--json"), code=1)
    assert (told["code"], told["decided"], len(told["steps"])) == ("HTTP", 0, 1)


async def test_access_with_a_certificate_of_which_nothing_is_known(counter, pki, tmp_path):
    """Where the part fetches lists and has none, a call is refused before the registers are asked."""
    config, issued, _ = counter
    text = config.read_text().replace('ca = "a"', f'ca = "{pki.ca}"', 1)
    strict = tmp_path / "strict.toml"
    strict.write_text(text + '[revocation]\ncache = "kept"\nlists = ["http://127.0.0.1:1/x"]\n')

    told = await run(strict, *about(issued.certificate, "--json"), code=1)
    assert (told["code"], told["steps"][-1]["found"], told["steps"][-1]["who"]) == ("HTTP", "unknown", "operator")


async def test_route_names_every_one_that_could_be_meant(counter):
    """Between two routes there is none, and a look-up would be told so; the command says which begins too late."""
    config, _, _ = counter
    way = ("route", "--municipality", VIBORG, "--service", "Sygefravaer", "--json")

    told = await run(config, *way, "--at", "2027-05-31")
    assert [one["verdict"] for one in told["candidates"]] == ["not begun", "chosen"]
    told = await run(config, *way, "--at", "2027-06-15", code=1)
    assert [one["verdict"] for one in told["candidates"]] == ["not begun", "ended"]
    assert (told["who"], told["do"]) == (
        "operator",
        "The operator lets the route to Fag begin earlier than 2027-07-01.",
    )
    text = await run(config, "route", "--municipality", AARHUS, code=1)
    assert "The operator registers the municipality's system as the route of this service." in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (about("no-such-file.pem"), "FileUnreadable"),
        (about(__file__), "CertificateMalformed"),
        (about("0" * 64, operation="Hent"), "OperationUnknown"),
        (about("0" * 64, town="12345678"), "NotAMunicipality"),
        (about("0" * 64, "--at", "2027-06-15T12:00"), "DateMalformed"),
        (about("0" * 64, "--at", "soon"), "DateMalformed"),
        (about("0" * 64, "--at", "0001-01-01"), "DateMalformed"),
    ],
)
async def test_bad_input_has_a_code(counter, words, code):
    told = await run(counter[0], *words, "--json", code=2)
    assert told["error"]["code"] == code

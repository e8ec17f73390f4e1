# SPDX-License-Identifier: MPL-2.0
"""Signing in, sessions, tokens, and what every endpoint of the administration has in common."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from desk import COOKIE, OPERATOR_CVR, PASSWORD, ROOMS, VIBORG, Desk, Person
from sygefravaer.admin import accounts, signing
from sygefravaer.admin.accounts import Role
from sygefravaer.errors import AdminRefused


@pytest.fixture
async def desk(make_store, vault, clock):
    async with Desk(await make_store(*ROOMS), vault, clock) as made:
        yield made


async def test_a_session_is_opened_used_and_closed(desk):
    """The cookie is for this host only and no script's; closed, it opens nothing, and all is in the record."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    told, anna = await desk.sign_in("anna")

    assert told.status == 201
    flags = told.headers["set-cookie"].lower()
    assert all(flag in flags for flag in ("__host-", "secure", "httponly", "samesite=strict", "path=/"))
    assert (await anna("GET", "/session")).body == told.body
    assert (told.body["cvr"], told.body["roles"]) == (VIBORG, ["municipality"])
    assert (await anna("DELETE", "/session")).status == 204
    assert (await anna("GET", "/session")).body["code"] == "NotSignedIn"
    events = [row["event"] for row in await desk.record("event <> 'organisation.added'")]
    assert events == ["account.added", "session.opened", "session.closed"]


async def test_a_session_ends_by_the_machines_time(desk, clock):
    """Half an hour of silence, or eight hours; the clock of the business has nothing to do with it."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    start = desk.machine = datetime.now(UTC)
    _, anna = await desk.sign_in("anna")
    clock.advance(timedelta(days=400))
    assert (await anna("GET", "/session")).status == 200
    for minutes in range(25, 8 * 60, 25):
        desk.machine = start + timedelta(minutes=minutes)
        assert (await anna("GET", "/session")).status == 200
    desk.machine = start + timedelta(hours=8, seconds=1)
    assert (await anna("GET", "/session")).status == 401

    _, again = await desk.sign_in("anna")
    desk.machine += timedelta(minutes=31)
    assert (await again("GET", "/session")).status == 401


async def test_a_change_in_a_session_needs_its_token(desk):
    """Without or with a wrong one nothing is done, and the record says so; a token needs none."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    _, anna = await desk.sign_in("anna")
    _, other = await desk.sign_in("anna")
    for wrong in (None, "", other.csrf, "é"):
        told = await Person(desk, cookie=anna.cookie, csrf=wrong)("POST", "/tokens", {"name": "x"})
        assert (told.status, told.body["code"]) == (403, "TokenMissing")
    assert (await anna("POST", "/tokens", {"name": "x"})).status == 201
    refused = await desk.record("event = 'access.refused'")
    assert [row["detail"]["endpoint"] for row in refused] == ["/tokens"] * 4


async def test_many_wrong_passwords_close_the_door_for_a_while(desk):
    """Also for the right one; a login that does not exist answers the same."""
    await desk.add("anna", Role.MUNICIPALITY, cvr=VIBORG)
    desk.machine = datetime.now(UTC)
    for login in ("anna", "nobody"):
        told = [(await desk.sign_in(login, "wrong wrong wrong"))[0] for _ in range(6)]
        assert [one.body["code"] for one in told] == ["LoginRefused"] * 5 + ["TooManyLogins"]
        assert told[5].headers["retry-after"]
    assert (await desk.sign_in("anna"))[0].status == 429
    desk.machine += timedelta(minutes=15, seconds=1)
    assert (await desk.sign_in("anna"))[0].status == 201
    assert len(await desk.record("event = 'session.refused'")) == 10


async def test_many_logins_from_one_address_close_the_door_for_that_address(desk, clock):
    """Whoever tries one password on many logins is stopped; somebody elsewhere is not."""
    office, now = desk.office, datetime.now(UTC)

    async def refused(login: str, address: str) -> str:
        with pytest.raises(AdminRefused) as caught:
            await accounts.check_password(
                office.store,
                office.vault,
                login=login,
                password="wrong wrong wrong",
                address=address,
                now=clock.now(),
                machine=now,
            )
        return caught.value.code

    async with office.store.tx() as tx:
        key = office.vault.lookup_key("address/192.0.2.7")
        await tx.many("INSERT INTO login_failure (key, at) VALUES (%(key)s, %(at)s)", [{"key": key, "at": now}] * 19)
    assert await refused("a", "192.0.2.7") == "LoginRefused"
    assert await refused("b", "192.0.2.7") == "TooManyLogins"
    assert await refused("b", "192.0.2.8") == "LoginRefused"


async def test_a_token_is_made_listed_and_taken_back(desk):
    """Its secret is shown once; another person's token is as unknown as one that never was."""
    anna = await desk.person("anna", Role.MUNICIPALITY, cvr=VIBORG)
    bo = await desk.person("bo", Role.MUNICIPALITY, cvr=VIBORG)
    made = (await anna("POST", "/tokens", {"name": "nightly"})).body
    mine = Person(desk, token=made["secret"])

    assert (await mine("GET", "/session")).body["csrf"] is None
    listed = (await anna("GET", "/tokens")).body
    assert [one["name"] for one in listed] == ["test", "nightly"]
    assert made["secret"] not in str(listed)
    foreign = await bo("DELETE", f"/tokens/{made['token']}")
    unknown = await bo("DELETE", "/tokens/6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11")
    assert (foreign.status, foreign.body) == (404, unknown.body)
    assert (await anna("DELETE", f"/tokens/{made['token']}")).status == 204
    assert (await mine("GET", "/session")).status == 401


async def test_errors_are_problems_without_the_value(desk):
    """Kind and place are named, who must act and what to try; what was sent is not."""
    secret = "0101375555"
    for body in (
        {"login": secret * 30, "password": 5},
        {"login": "a", secret: secret},
        f"{{{secret}".encode(),
        [secret],
    ):
        told = await desk.call("POST", "/session", body, {"Content-Type": "application/json"})
        assert (told.status, told.headers["content-type"]) == (422, "application/problem+json")
        assert told.body["code"] == "FieldsWrong"
        assert told.body["try"]
        assert secret not in str(told.body)
        assert told.body["fields"]
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/session", 405)):
        told = await desk.call(method, path)
        assert (told.status, told.headers["content-type"]) == (status, "application/problem+json")
    big = await desk.call("POST", "/session", b"x" * (1024 * 1024 + 1), {"Content-Type": "application/json"})
    assert big.body["code"] == "BodyTooLarge"


async def test_the_same_key_is_done_once(desk):
    """The answer comes again, byte for byte; another request with the key is refused, another person's key is his own."""
    anna = await desk.person("anna", Role.MUNICIPALITY, cvr=VIBORG)
    bo = await desk.person("bo", Role.MUNICIPALITY, cvr=VIBORG)
    first = await anna("POST", "/tokens", {"name": "x"}, Idempotency_Key="k1")
    again = await anna("POST", "/tokens", {"name": "x"}, Idempotency_Key="k1")
    other = await anna("POST", "/session/none", {"name": "x"}, Idempotency_Key="k1")

    assert (first.status, first.body) == (again.status, again.body)
    assert other.status == 404
    assert (await anna("POST", "/tokens", {"name": "y"}, Idempotency_Key="k1")).body["code"] == "KeyReused"
    assert (await bo("POST", "/tokens", {"name": "x"}, Idempotency_Key="k1")).body != first.body
    assert len((await anna("GET", "/tokens")).body) == 2


async def test_headers_that_anyone_can_write_sign_nobody_in(desk):
    """A certificate or an address in a header means nothing here."""
    spoofed = {
        "Client-Cert": ":MIIB:",
        "X-Forwarded-User": "anna",
        "X-Forwarded-For": "127.0.0.1",
        "Cookie": f"{COOKIE}=",
    }
    assert (await desk.call("GET", "/session", None, spoofed)).status == 401
    assert (await desk.call("GET", "/session", None, {"Authorization": f"Basic {PASSWORD}"})).status == 401


async def test_what_nobody_foresaw_is_a_problem_and_a_line_without_values(desk, monkeypatch, caplog):
    """The caller learns nothing of it, the log where it broke."""

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("0101375555")

    anna = await desk.person("anna", Role.MUNICIPALITY, cvr=VIBORG)
    monkeypatch.setattr(signing.accounts, "tokens", broken)
    told = await anna("GET", "/tokens")

    assert (told.status, told.body["code"], told.headers["content-type"]) == (
        500,
        "InternalError",
        "application/problem+json",
    )
    assert "0101375555" not in str(told.body)
    while not any(one.getMessage() == "admin.failed" for one in caplog.records):
        await asyncio.sleep(0.01)  # it is written after the answer
    assert "0101375555" not in caplog.text
    (line,) = [one for one in caplog.records if one.getMessage() == "admin.failed"]
    assert line.kind == "RuntimeError"


async def test_a_list_comes_in_pages_that_stay_in_order(desk):
    """Everything once, the oldest first, also when something new comes in between; bounds are told."""
    otto = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)
    for number in range(4):
        await desk.add(f"a{number}", Role.AUDITOR, cvr=OPERATOR_CVR, password=None)
    found, after = [], ""
    while True:
        page = (await otto("GET", f"/accounts?limit=2{after}")).body
        assert len(page["items"]) <= 2
        found += [one["login"] for one in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
        if len(found) == 2:
            desk.office.clock.advance(timedelta(seconds=1))
            await desk.add("late", Role.AUDITOR, cvr=OPERATOR_CVR, password=None)
    assert sorted(found[:-1]) == ["a0", "a1", "a2", "a3", "otto"]
    assert found[-1] == "late"
    for wrong in ("limit=0", "limit=201", "limit=x", "after=x"):
        told = await otto("GET", f"/accounts?{wrong}")
        assert (told.status, told.body["fields"][0]["place"]) == (422, f"query.{wrong.partition('=')[0]}")


async def test_a_change_names_the_version_that_it_changes(desk):
    """None, another one, or something that is none: nothing is done."""
    anna = await desk.person("anna", Role.MUNICIPALITY, cvr=VIBORG)
    path, body = f"/organisations/{VIBORG}", {"mailbox": "post@viborg.example"}
    assert (await anna("PATCH", path, body)).body["code"] == "VersionMissing"
    for wrong in ('"2"', "1", 'W/"1"', "*", '"x"', '"' + "9" * 30 + '"'):
        assert (await anna("PATCH", path, body, If_Match=wrong)).body["code"] == "VersionChanged"
    read = await anna("GET", path)
    changed = await anna("PATCH", path, body, If_Match=read.etag)
    assert (changed.status, changed.body["mailbox"], changed.etag) == (200, "post@viborg.example", '"2"')
    assert changed.body["name"] == read.body["name"] == "Viborg"
    (row,) = await desk.record("event = 'organisation.changed'")
    assert row["detail"] == {
        "by": str(anna.account),
        "organisation": VIBORG,
        "cvr": VIBORG,
        "changed": ["mailbox"],
    }

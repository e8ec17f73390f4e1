# SPDX-License-Identifier: MPL-2.0
"""The frame in the browser: signing in and out, the menu, the language, pages that follow, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from corridor import message
from desk import PASSWORD, VENDOR_CVR
from screens.stage import overflows, violations
from sygefravaer.admin.accounts import Role
from sygefravaer.admin.screens.site import Site
from sygefravaer.endpoint import Server
from sygefravaer.errors import StoreUnavailable
from sygefravaer.store import Store


async def test_a_person_signs_in_where_he_was_going_and_out_again(stage):
    """By the keyboard alone; a wrong password says so, and keeps the name; signed out, the page is closed."""
    await stage.desk.add("signe", Role.VENDOR, cvr=VENDOR_CVR)
    page = await stage.page("/overblik?x=1", who=None)
    assert page.url == f"{stage.url}/login?next=%2Foverblik%3Fx%3D1"
    assert await violations(page) == []

    await page.keyboard.type("signe")  # the field has the focus
    await page.keyboard.press("Tab")
    await page.keyboard.type("wrong wrong wrong")
    await page.keyboard.press("Enter")
    await page.locator("#refused").wait_for()
    assert await violations(page) == []
    assert await page.input_value("#login") == "signe"
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/overblik?x=1")

    assert await page.locator(".frame-tools").inner_text() == "English\nSigne (Leverandør)\nLog ud"
    await page.get_by_role("button", name="Log ud").click()
    await page.get_by_text("Du er logget ud.").wait_for()
    await page.goto(stage.url + "/overblik")
    assert "/login?next=" in page.url
    assert page.complaints == []


async def test_a_sign_in_that_another_site_sends_is_refused(stage):
    """Nobody is signed in as somebody else, and nobody is led to another site."""
    http, url = stage.desk.http, stage.desk.server.url
    told = {"login": "signe", "password": PASSWORD, "next": "//elsewhere.example/"}
    async with http.post(url + "/login", data=told, headers={"Origin": "https://elsewhere.example"}) as answer:
        assert (answer.status, "set-cookie" in answer.headers) == (403, False)
    await stage.desk.add("sigrid", Role.VENDOR, cvr=VENDOR_CVR)
    for leads in ("//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example", "x"):
        async with http.post(
            url + "/login", data=told | {"login": "sigrid", "next": leads}, allow_redirects=False
        ) as it:
            assert (it.status, it.headers["Location"]) == (303, "/")


async def test_a_form_without_the_sessions_token_changes_nothing(stage):
    """The session goes on, and the refusal is a row in the record."""
    secret = await stage.session("frida")
    sent = {"Cookie": f"__Host-sygefravaer={secret}"}
    for data in ({}, {"csrf": "0" * 64}):
        async with stage.desk.http.post(stage.desk.server.url + "/logout", data=data, headers=sent) as answer:
            assert answer.status == 403
            assert "Det må du ikke" in await answer.text()

    rows = await stage.desk.record("event = 'access.refused' AND code = 'TokenMissing' AND detail ->> 'by' = %(by)s",
                                   by=str(stage.accounts["frida"]))  # fmt: skip
    assert [row["detail"]["endpoint"] for row in rows] == ["/logout"] * 2
    async with stage.desk.http.get(stage.desk.server.url + "/overblik", headers=sent) as answer:
        assert answer.status == 200


async def test_the_language_is_remembered(stage):
    """Chosen once, it holds for the next page, and back again."""
    page = await stage.page("/koder", who=None)
    await page.get_by_role("link", name="English").click()
    await page.get_by_role("heading", name="Code lists").wait_for()
    await page.get_by_role("link", name="State of the parts").click()
    await page.wait_for_url("**/drift")
    assert await page.locator("html").get_attribute("lang") == "en"
    await page.get_by_role("link", name="Dansk").click()
    await page.get_by_role("heading", name="Driftsstatus").wait_for()


async def test_what_is_not_there_is_said_in_the_frame(stage):
    """Also what no page answers to; nothing sticks out, and the keyboard reaches the content first."""
    page = await stage.page("/findes-ikke", width=320)
    assert page.answered.status == 404
    assert await page.locator("h1").inner_text() == "Siden findes ikke"
    assert await violations(page) == []
    assert await overflows(page) == 0
    await page.keyboard.press("Tab")
    assert await page.evaluate("() => document.activeElement.className") == "skipnav"
    await page.keyboard.press("Enter")
    assert await page.evaluate("() => document.activeElement.id") == "indhold"


async def test_a_page_follows_what_happens(stage):
    """A message that KSD sends now is there without a click; the page keeps no session open, and hears of its end."""
    send, event = stage.corridor.send, "SendHaendelseSygefravaerssag"
    assert (await send(event, message(event, NemrefusionsID=uuid4()))).kode == "OK"
    page = await stage.page("/overblik", who="viggo")
    await page.wait_for_function("() => performance.getEntriesByName(location.href).length > 0")  # the stream is open
    owed = page.locator("#overview tr").filter(has_text="Viborg").locator("td").nth(1)
    before = int(await owed.inner_text())
    assert (await send(event, message(event, NemrefusionsID=uuid4()))).kode == "OK"
    await owed.filter(has_text=str(before + 1)).wait_for()

    async with stage.store.tx() as tx:
        await tx.run("DELETE FROM credential WHERE account_id = %(id)s", id=stage.accounts["viggo"])
    await page.get_by_text("Du er logget ud.").wait_for()
    stage.forget("viggo")
    assert page.complaints == []


async def test_a_stream_names_what_there_is_and_needs_a_session(stage):
    """Anything else is refused, and so is somebody whom nobody knows."""
    http, url = stage.desk.http, stage.desk.server.url
    sent = {"Cookie": f"__Host-sygefravaer={await stage.session('otto')}", "Accept": "application/json"}
    async with http.get(url + "/live?on=messages&on=other", headers=sent) as answer:
        assert answer.status == 422
        assert "messages" in (await answer.json())["fields"][0]["wanted"]
    async with http.get(
        url + "/live?on=messages", headers={"Accept": "text/event-stream"}, allow_redirects=False
    ) as it:
        assert it.status == 303
    async with http.get(url + "/overblik", headers={"HX-Request": "true"}) as answer:
        assert (answer.status, answer.headers["HX-Redirect"]) == (401, "/login")


async def test_a_database_that_is_away_is_said_on_a_page(stage):
    """Nobody can be known then; a program gets the same as a problem, and a live part nothing."""
    store = Store("host=127.0.0.1 port=1 dbname=none connect_timeout=1", schema="none", size=1)
    with pytest.raises(StoreUnavailable):
        await store.open(timeout=0.2)
    office = replace(stage.desk.office, store=store)
    server = Server(Site({}, clock=stage.clock, office=office), grace=0.2)
    await server.start()
    sent = {"Cookie": f"__Host-sygefravaer={await stage.session('otto')}"}
    try:
        async with stage.desk.http.get(server.url + "/overblik", headers=sent) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
            assert "Databasen svarer ikke" in await answer.text()
        async with stage.desk.http.get(server.url + "/service/status.json", headers=sent) as answer:
            assert (answer.status, answer.content_type) == (503, "application/problem+json")
    finally:
        await server.stop()
        await store.close()


async def test_a_page_that_updates_itself_keeps_no_session_open(stage):
    """Half an hour without a person ends it, however often the page has asked; a person's click does not."""
    desk, sent = stage.desk, {}
    for login in ("gone", "here"):
        stage.accounts[login] = await desk.add(login, Role.VENDOR, cvr=VENDOR_CVR, password=None)
        sent[login] = {"Cookie": f"__Host-sygefravaer={await stage.session(login)}"}

    async def asked(login: str, minutes: int, **headers: str) -> int:
        desk.machine = begun + timedelta(minutes=minutes)
        told = desk.http.get(desk.server.url + "/overblik", headers=sent[login] | headers, allow_redirects=False)
        async with told as answer:
            return answer.status

    begun = desk.time()
    try:
        assert await asked("gone", 20, **{"X-Live": "true", "HX-Request": "true"}) == 200
        assert await asked("here", 20, **{"HX-Request": "true"}) == 200
        assert (await asked("gone", 40), await asked("here", 40)) == (303, 200)
    finally:
        desk.machine = None

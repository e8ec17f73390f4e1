# SPDX-License-Identifier: MPL-2.0
"""Sag in the browser."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

from corridor import AARHUS, VIBORG, besked_id, message
from screens.stage import Never, Stage, State
from screens.test_messages import EVENT

CASE = UUID("5b0f7c1e-2222-4abc-9def-0123456789ab")
ANSWER = "SendForretningsSvar"


async def told(stage: Stage) -> None:
    """Let an event of a case be sent, and answered."""
    if await stage.corridor.rows("message", "nemrefusions_id = %(case)s", case=CASE):
        return
    sent = message(EVENT, cvr=VIBORG, NemrefusionsID=CASE)
    await stage.corridor.send(EVENT, sent)
    await stage.corridor.until(sent, "delivered")
    answer = message(ANSWER, caller="viborg", NemrefusionsID=CASE, ReferenceBeskedID=besked_id(sent))
    await stage.corridor.send(ANSWER, answer)
    await stage.corridor.until(answer, "delivered")


STATES = {
    "empty": State(path="/sag", sees=".empty"),
    "loading": Never("The page is drawn at once from the messages of one case."),
    "filled": State(path=f"/sag/{CASE}", sees=".lanes tbody tr", prepare=told),
    "error": State(path="/sag?sag=nej", sees=".alert-error", status=422),
    "forbidden": State(path=f"/sag/{CASE}", sees=".alert-error", who="vera", prepare=told, status=403),
    "long": Never("What a case says are codes and days; its lanes scroll in a box of their own."),
    "zoom": State(path=f"/sag/{CASE}", sees=".lanes tbody tr", prepare=told),
}


async def test_what_each_side_knew_on_a_day(stage):
    """While the jobcentre is down KSD knows what it sent, and the jobcentre has not got it; later it has."""
    case = uuid4()
    receiver = stage.corridor.receivers["aarhus"]
    receiver.raw = _away
    sent = message(EVENT, cvr=AARHUS, NemrefusionsID=case)
    await stage.corridor.send(EVENT, sent)
    number = (await stage.corridor.stored(sent))["message_id"]
    page = await stage.page(f"/sag/{case}", who="asta")

    assert "Sagens tilstand" in await page.locator(".side", has_text="KSD").inner_text()
    jobcentre = page.locator(".side", has_text="Jobcenter")
    assert "Havde ikke fået" in await jobcentre.inner_text()
    assert str(number) in await jobcentre.inner_text()
    await page.locator("#dato").fill((stage.clock.now() - timedelta(days=3)).date().isoformat())
    await page.get_by_role("button", name="Vis dagen").click()
    await page.get_by_text("Intet om sagen.").first.wait_for()
    assert await page.get_by_text("Intet om sagen.").count() == 3

    receiver.raw = None
    (looked, *_) = await stage.desk.record(
        "event = 'case.viewed' AND detail ->> 'nemrefusions_id' = %(c)s", c=str(case)
    )
    assert looked["municipality_cvr"] == AARHUS
    foreign = await stage.page(f"/sag/{case}", who="viggo")
    assert foreign.answered.status == 404


async def _away(scope, receive, send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b""})

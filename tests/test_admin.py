# SPDX-License-Identifier: MPL-2.0
"""The administration's page of states, and the same as JSON."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from lxml import html

from sygefravaer.admin.screens.site import Site
from sygefravaer.clock import SystemClock
from sygefravaer.control import Door
from sygefravaer.endpoint import Server


async def well(_fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "part": "ksd",
        "version": "9.9",
        "now": "2026-03-02T09:00:00+00:00",
        "queued": 3,
        "busy": True,
        "pid": 7,
        "lanes": {"parked": 1},
    }


@pytest.fixture
def run_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sf-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def page(run_directory: Path) -> AsyncIterator[str]:
    door = Door({"health": well}, run_directory / "ksd.sock")
    await door.start()
    parts = {"ksd": run_directory / "ksd.sock", "<b>gone</b>": run_directory / "gone.sock"}
    server = Server(Site(parts, clock=SystemClock(), office=None))
    await server.start()
    yield server.url
    await server.stop()
    await door.stop()


async def get(url: str, path: str) -> tuple[aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as session, session.get(url + path) as response:
        return response, await response.text()


async def test_the_page_says_who_answers_in_danish(page: str) -> None:
    """One row a part: what it says of itself, or that it does not answer; names are escaped."""
    response, text = await get(page, "/drift")

    assert response.status == 200
    document = html.fromstring(text)
    assert document.get("lang") == "da"
    rows = [[cell.text_content().strip() for cell in row] for row in document.xpath("//tbody/tr")]
    assert rows == [
        ["ksd", "Svarer", "9.9", "02.03.2026 kl. 10.00.00", "i kø: 3, parkeret: 1"],
        ["<b>gone</b>", "Svarer ikke", "–", "–", "–"],
    ]


async def test_the_page_loads_only_what_is_ours(page: str) -> None:
    """The policy forbids other sites, and scripts and styles within a page, and the page obeys it."""
    response, text = await get(page, "/drift")

    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "data:" not in policy
    assert not re.search(r"<script>|<style|style=|https?://|\son[a-z]+=", text)
    loaded = html.fromstring(text).xpath("//script/@src|//link/@href")
    assert len(loaded) == 5
    for address in loaded:
        told, _ = await get(page, address)
        assert (told.status, told.headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert told.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_what_is_not_there_is_a_page_too(page: str) -> None:
    """In the frame for people, as a problem for programs; the front page leads on."""
    response, text = await get(page, "/nowhere?lang=en")
    document = html.fromstring(text)
    assert (response.status, document.get("lang")) == (404, "en")
    assert document.xpath("string(//h1)") == "There is no such page"
    assert (await get(page, "/nowhere.json"))[0].content_type == "application/problem+json"
    assert (await get(page, "/"))[0].url.path == "/drift"


async def test_json_beside_it(page: str) -> None:
    """The same states for programs; whatever is not a number is not a count."""
    _, text = await get(page, "/status.json")
    told = json.loads(text)

    assert [(part["part"], part["health"], part["counts"]) for part in told["parts"]] == [
        ("ksd", "ok", {"queued": "3", "parked": "1"}),
        ("<b>gone</b>", "silent", None),
    ]


async def test_without_doors_there_is_nothing_to_ask() -> None:
    """A part of production has no control doors, and the page says so."""
    server = Server(Site({}, clock=SystemClock(), office=None))
    await server.start()
    try:
        _, text = await get(server.url, "/drift")
    finally:
        await server.stop()

    assert "Ingen dele at spørge" in text


async def test_the_code_lists_are_a_page_of_their_own(page: str) -> None:
    """Every list with every code: text, days, group, follow-on and source in Danish, under the same policy."""
    response, text = await get(page, "/koder")
    document = html.fromstring(text)

    assert response.status == 200
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"<script>|style=|https?://", text)
    assert len(document.xpath("//section")) == len(document.xpath("//main//nav//a")) == 25
    (row,) = document.xpath("//section[@id='sagsarter']//tr[th='17']")
    assert [cell.text_content() for cell in row] == [
        *("17", "Arbejdsløse, lønmodtagere", "–", "–", "–", "LEDIG", "ja", "unemployed_wait", "unemployed_wait", "11"),
        "offentligt kendt",
    ]
    (row,) = document.xpath("//section[@id='visitationskategorier']//tr[th='3']")
    assert [cell.text_content() for cell in row][2:4] == ["2014-07-01", "2024-12-31"]
    unnamed = [cell.text for cell in document.xpath("//h2|//thead//th") if re.match("[a-z]", cell.text)]
    assert unnamed == []
    assert document.xpath("//a[@href='/drift']")
    _, state = await get(page, "/drift")
    assert 'href="/koder"' in state

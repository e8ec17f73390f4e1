# SPDX-License-Identifier: MPL-2.0
"""The service page in the browser, and what it leads to."""

from __future__ import annotations

import io
import zipfile

from lxml import etree

from screens.stage import Never, State

HEADINGS = [
    *("Formål", "Versionsnr.", "Pris", "Status", "Beskrivelse", "Type", "Teknisk beskrivelse", "Vilkår", "UUID"),
    "Aftaler",
]
STATES = {
    "empty": Never("The contract that runs always has operations."),
    "loading": Never("The page is drawn at once from what comes with the program."),
    "filled": State(path="/service", sees="text=HentSagsListe", who=None),
    "error": State(path="/service/findes-ikke", sees="text=NotThere", who=None, status=404),
    "forbidden": Never("Everybody may see it, signed in or not."),
    "long": State(path="/service/SygefravaerJC", sees="text=SendHaendelseSygefravaerssag", who=None),
    "zoom": State(path="/service", sees="h1", who=None),
}


async def test_a_newcomer_finds_the_contract(stage):
    """The headings of the page that there is elsewhere, and every link to the contract gives a file that can be read."""
    page = await stage.page("/service/SygefravaerJC", who=None)
    assert await page.locator("main h2").all_inner_texts() == HEADINGS
    links = await page.locator(".pairs a[href^='/service/kontrakt/']").evaluate_all("all => all.map(one => one.href)")
    assert len(links) == 5
    for link in links:
        async with stage.desk.http.get(link) as answer:
            body = await answer.read()
            assert answer.status == 200
        if link.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                assert archive.testzip() is None
                assert "SygefravaerJC/wsdl/context/SygefravaerJCService.wsdl" in archive.namelist()
        else:
            assert etree.QName(etree.fromstring(body)).localname == "definitions"
    async with stage.desk.http.get(stage.desk.server.url + "/service/kontrakt/../package.py") as answer:
        assert answer.status == 404


async def test_the_same_as_json(stage):
    """What a program wants to know of both services."""
    async with stage.desk.http.get(stage.desk.server.url + "/service.json") as answer:
        ours, other = (await answer.json())["services"]

    assert (ours["uuid"], ours["path"]) == ("b8412953-6454-4f82-b2d9-2668dfcad87c", "/service/KSD/Sygefravaer/2")
    assert {one["operation"] for one in ours["operations"] if one["lookup"]} == {"HentSag", "HentSagsListe"}
    assert len(ours["operations"]) == 5
    assert len(other["operations"]) == 2
    assert not other["uuid_published"]

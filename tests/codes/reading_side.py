# SPDX-License-Identifier: MPL-2.0
"""What people read of a code: the command that shows the lists, the administration's page, and the schema served."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
from click.testing import CliRunner
from lxml import etree, html

from codes import tables, texts
from codes.effects import facet
from sygefravaer.admin.screens.messages import OPERATION_NAMES
from sygefravaer.admin.screens.sandbox.inbox import ANSWERS
from sygefravaer.admin.screens.site import Site
from sygefravaer.cli import cli
from sygefravaer.client import client_tls
from sygefravaer.contract import names
from sygefravaer.endpoint import HttpDoor, Server, server_tls

TEXT, SCHEMA = "text, days, group and follow-on", "text in the schema"
WSDL = f"{{{names.NS_WSDL}}}"
XS = f"{{{names.NS_XSD}}}"
COLUMNS = {"fejlkoder": ("mnemonic", "tekst", "hvem", "paaTraaden"), "kommuner": ("navn", "cvr")}
TYPES = ("xsd/SygefravaerFaellesTypes.xsd", "sp/Kvittering_1.xsd")
OF_THE_SCHEMA = ("tekst", "gyldigFra", "gyldigTil", "gruppe", "foelge")

FILES = (
    *(f"{part}/{path}" for part in ("Sygefravaer", "SygefravaerJC") for path in TYPES),
    *names.FLAT_FILES.values(),
    *names.WSDL_FILES.values(),
)


@asynccontextmanager
async def scene(*, clock, pki, **_):
    """Serve the administration and the contract, and read what they show."""
    own = pki.issue("gateway", "19435075")
    admin = Server(Site({}, clock=clock, office=None))
    contract = Server(HttpDoor({}, clock=clock), tls=server_tls(own.certificate, own.key, pki.ca))
    tls = client_tls(own.certificate, own.key, pki.ca)
    await admin.start()
    await contract.start()
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{admin.url}/koder") as response:
                page = html.fromstring(await response.text())
            schemas = {}
            for path in FILES:
                async with session.get(f"{contract.url}{names.PACKAGE_PATH}{path}", ssl=tls) as response:
                    schemas[path] = etree.fromstring(await response.read())
        yield SimpleNamespace(page=page, schemas=schemas, told={})
    finally:
        await contract.stop()
        await admin.stop()


def on_page(it, codes: str, kode: str) -> dict[str, str]:
    """Read a code's row of the page, by the names of the command's columns."""
    (row,) = it.page.xpath(f"//section[@id='{codes}']//tr[th='{kode}']")
    cells = [cell.text_content() for cell in row]
    return {name: "" if text == "–" else text for name, text in zip(it.told[codes]["columns"], cells, strict=True)}


def by_command(it, codes: str, kode: str) -> dict[str, str]:
    """Read a code's row of what the command shows."""
    if codes not in it.told:
        it.told[codes] = json.loads(CliRunner().invoke(cli, ["codes", codes, "--json"]).output)
    first = it.told[codes]["columns"][0]
    (row,) = (row for row in it.told[codes]["codes"] if row[first] == kode)
    return row


def of_list(codes: str):
    """Make the driver of one list: what command and page say of a code, when they say the same."""
    columns = COLUMNS.get(codes, OF_THE_SCHEMA)

    async def look(it, kode):
        command = by_command(it, codes, kode)
        page = on_page(it, codes, kode)
        said = tuple(command.get(name, "") for name in columns)
        shown = tuple(page.get(name, "") for name in columns)
        return said if said == shown else (said, shown)

    return look


for _codes, _said in {**texts.SAID, "fejlkoder": texts.ERRORS, "kommuner": texts.MUNICIPALITIES}.items():
    facet(_codes, TEXT, _said)(of_list(_codes))


async def named_on_screens(_, kode):
    """Read by what name a message goes on the pages."""
    return OPERATION_NAMES[kode]


facet("beskedtyper", "name on the screens", tables.ON_SCREENS)(named_on_screens)


async def pressed(_, kode):
    """Read by which button of a jobcentre's inbox it is said."""
    return next((button for button, said in ANSWERS.items() if said == kode), None)


facet("forretningsvalideringskoder", "button of the inbox", {"ACCEPTERET": "yes", "AFVIST": "no"})(pressed)


def clause(codes: str):
    """Make the driver that reads a code's clause."""

    async def look(it, kode):
        return by_command(it, codes, kode).get("paragraf", "")

    return look


for _codes, _said in tables.CLAUSES.items():
    facet(_codes, "clause", _said)(clause(_codes))


def documented(kind: str):
    """Make the driver that reads what each file of the contract says of a code of a type."""

    async def look(it, kode):
        path = f".//{XS}simpleType[@name='{kind}']//{XS}enumeration[@value='{kode}']//{XS}documentation"
        found = {name: schema.find(path) for name, schema in it.schemas.items() if holds(schema, kind)}
        return {name: None if text is None else text.text.rstrip(".") for name, text in found.items()}

    return look


def holds(schema, kind: str) -> bool:
    """Say whether a file has the type."""
    return schema.find(f".//{XS}simpleType[@name='{kind}']") is not None


PLATFORMS = ("TransportValideringsKodeType", "ForretningsValideringsKodeType")
for _kind, _file in names.CODE_LISTS.items():
    _codes = _file.removesuffix(".csv")
    _where = [*(each for each in FILES[:4] if ("sp/" in each) is (_kind in PLATFORMS)), *names.FLAT_FILES.values()]
    facet(
        _codes,
        SCHEMA,
        {kode: dict.fromkeys(_where, said[0]) for kode, said in texts.SAID[_codes].items()},
    )(documented(_kind))


def _wsdls(kode: str) -> list[str]:
    to_ksd = kode not in ("SendHaendelseSygefravaerssag", "SendAnmodningForlaengelse")
    services = ("Sygefravaer",) if to_ksd else ("SygefravaerJC", "SygefravaerJCModtager")
    return [file for each in services for file in (names.WSDL_FILES[each], names.FLAT_FILES[each])]


@facet(
    "beskedtyper",
    "its messages in every WSDL",
    {
        kode: {file: [f"{kode}RequestMessage", f"{kode}ResponseMessage"] for file in _wsdls(kode)}
        for kode in texts.SAID["beskedtyper"]
    },
)
async def _(it, kode):
    found = {}
    for name, wsdl in it.schemas.items():
        operation = wsdl.find(f"{WSDL}portType/{WSDL}operation[@name='{kode}']")
        if operation is not None:
            ways = (operation.find(f"{WSDL}{way}") for way in ("input", "output"))
            found[name] = [each.get("message").rpartition(":")[2] for each in ways]
    return found

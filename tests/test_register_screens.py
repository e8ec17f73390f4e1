# SPDX-License-Identifier: MPL-2.0
"""The screens of the registers over HTTP: who sees what on them, what they let somebody do, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from lxml import html

from desk import AARHUS, OPERATOR_CVR, OTHER_VENDOR_CVR, ROOMS, SETUP, VENDOR_CVR, VIBORG, Desk
from sygefravaer import agreements, audit
from sygefravaer.admin.accounts import Role
from sygefravaer.agreements import ALL, certificates, organisations
from sygefravaer.audit import Event, Sealer
from sygefravaer.config import Auditing
from sygefravaer.contract.operations import Environment, Service

TODAY = date(2026, 3, 2)
CITIZEN = "0101375001"


@dataclass
class Shown:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def page(self):
        return html.fromstring(self.text)

    def said(self, path: str = "//main") -> str:
        return " ".join(" ".join(" ".join(one.itertext()).split()) for one in self.page.xpath(path))


class Scene:
    """Two vendors' systems, a route of all, an agreement in force and a request, and everybody who looks at them."""

    def __init__(self, desk: Desk, pki, directory: Path) -> None:
        self.desk, self.pki, self.directory = desk, pki, directory

    async def set(self) -> None:
        desk, now = self.desk, self.desk.office.clock.now()
        self.people = {
            "vendor": await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR),
            "other": await desk.person("vagn", Role.VENDOR, cvr=OTHER_VENDOR_CVR),
            "viborg": await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG),
            "aarhus": await desk.person("asta", Role.MUNICIPALITY, cvr=AARHUS),
            "otto": await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR),
            "olga": await desk.person("olga", Role.OPERATOR, cvr=OPERATOR_CVR),
            "auditor": await desk.person("ada", Role.AUDITOR, cvr=OPERATOR_CVR),
        }
        async with desk.office.store.tx() as tx:
            self.systems = {}
            for name, cvr in (("Fagsystem", VENDOR_CVR), ("Andet", OTHER_VENDOR_CVR)):
                await organisations.add_organisation(tx, cvr=cvr, name=f"{name} A/S", by=SETUP, now=now)
                made = await organisations.add_system(
                    tx,
                    name=name,
                    vendor_cvr=cvr,
                    role=agreements.Role.JOBCENTER,
                    contact=None,
                    environment=Environment.TEST,
                    by=SETUP,
                    now=now,
                )
                await organisations.join_group(tx, made.system_id, "MONOPOLBRUD", by=SETUP, now=now)
                self.systems[name] = made.system_id
            of = await organisations.system(tx, self.systems["Fagsystem"], environment=Environment.TEST)
            self.certificate = await certificates.add_certificate(
                tx,
                self.pki.issue("register-screens", VENDOR_CVR).certificate.read_text(),
                of=of,
                authorities=desk.office.authorities,
                by=SETUP,
                now=now,
                machine=desk.time(),
            )
            for service, municipality, system in (
                (Service.SYGEFRAVAER, ALL, "Fagsystem"),
                (Service.SYGEFRAVAER_JC, VIBORG, "Fagsystem"),
            ):
                await agreements.set_route(
                    tx,
                    route_id=uuid4(),
                    service=service,
                    municipality_cvr=municipality,
                    system_id=self.systems[system],
                    url="https://127.0.0.1:1/",
                    valid_from=TODAY - timedelta(days=30),
                    now=now,
                )
        self.agreement = await self.api("vendor", "POST", "/agreements", self.wish())
        await self.api("vendor", "POST", f"{self.path}/request", version=1)

    def wish(self, **more: Any) -> dict[str, Any]:
        about = {"system": str(self.systems["Fagsystem"]), "service": "Sygefravaer", "municipality": VIBORG}
        return about | {"valid_from": TODAY.isoformat()} | more

    @property
    def path(self) -> str:
        return f"/agreements/{self.agreement['agreement_id']}"

    @property
    def address(self) -> str:
        return f"/aftaler/{self.agreement['agreement_id']}"

    async def api(self, who: str, method: str, path: str, body: Any = None, version: int | None = None) -> Any:
        headers = {} if version is None else {"If_Match": f'"{version}"'}
        told = await self.people[who](method, path, body, **headers)
        assert told.status < 300, told.body
        return told.body

    async def get(self, who: str | None, path: str, *, lang: str = "") -> Shown:
        return await self._ask(who, "GET", path + (f"{'&' if '?' in path else '?'}lang={lang}" if lang else ""))

    async def post(self, who: str | None, path: str, **fields: object) -> Shown:
        return await self._ask(who, "POST", path, data={name: str(value) for name, value in fields.items()})

    async def _ask(self, who: str | None, method: str, path: str, **more: Any) -> Shown:
        headers = {"Accept": "text/html"}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.people[who].token}"
        url = self.desk.server.url + path
        async with self.desk.http.request(method, url, headers=headers, allow_redirects=False, **more) as told:
            raw = await told.read()
            return Shown(
                told.status,
                raw.decode("utf-8", "replace"),
                {name.lower(): value for name, value in told.headers.items()},
            )

    def form(self, shown: Shown, action: str) -> dict[str, str]:
        """Give the fields of a form as a browser would send them untouched."""
        (form,) = shown.page.xpath(f"//form[@action='{action}']")
        return {name: value for name, value in form.form_values() if name != "csrf"}


@pytest.fixture
async def scene(make_store, vault, clock, pki, tmp_path):
    store = await make_store(*ROOMS, size=4)
    authorities = tuple(x509.load_pem_x509_certificates(Path(pki.ca).read_bytes()))
    record = Auditing(key=tmp_path / "audit.key", anchor=tmp_path / "anchors")
    audit.sign_with(audit.create_key(record.key))
    async with Desk(store, vault, clock, authorities=authorities, record=record) as desk:
        made = Scene(desk, pki, tmp_path)
        await made.set()
        yield made
    audit.sign_with(None)


PAGES = ("/aftaler", "/ruter", "/ruter/forklar", "/certifikater", "/forslag", "/log", "/log/stikproeve", "/log/indsigt")


async def test_every_page_is_drawn_for_everybody_who_may_and_nobody_else(scene):
    """Signed in by role; a page that is not somebody's is refused, and nobody is led to sign in."""
    may = {"/forslag": {"otto", "auditor"}} | {path: {"viborg", "otto", "auditor"} for path in PAGES if "/log" in path}
    for path in PAGES:
        for who in ("vendor", "viborg", "otto", "auditor"):
            told = await scene.get(who, path)
            assert told.status == (200 if who in may.get(path, {who}) else 403), (path, who, told.said())
        assert (await scene.get(None, path)).status == 303
    for who, path, status in (
        ("vendor", "/aftaler/ny", 200),
        ("viborg", "/aftaler/ny", 403),
        ("otto", "/ruter/ny", 200),
        ("auditor", "/ruter/ny", 403),
        ("auditor", "/log/kontrol", 200),
        ("viborg", "/log/kontrol", 403),
    ):
        assert (await scene.get(who, path)).status == status, (who, path)


async def test_a_vendor_sees_the_check_and_asks_and_the_municipality_approves(scene):
    """What is missing holds the request back, and says what to do; what is asked waits for the municipality."""
    made = await scene.post("vendor", "/aftaler", **scene.wish(service="SygefravaerJC", municipality=AARHUS))
    draft = made.headers["location"].partition("?")[0]
    held = await scene.get("vendor", draft)

    assert made.status == 303
    assert "Mangler: Der er en rute for kommunen – servicen har ingen rute for kommunen" in held.said("//ul")
    assert held.page.xpath("//button[@id='send']/@disabled")
    assert held.page.get_element_by_id("send-why").text_content().startswith("Noget i tjekket mangler")
    refused = await scene.post("vendor", f"{draft}/request", version=1)
    assert (refused.status, "PreflightFailed" in refused.said()) == (409, True)
    waiting = await scene.get("viborg", scene.address)
    assert "Venter på: Kommunen, som skal godkende eller afvise" in waiting.said()
    assert "Fagsystem, Sygefravaer, Viborg" in (await scene.get("viborg", "/aftaler")).said("//section[1]")
    assert (await scene.get("aarhus", scene.address)).status == 404
    assert (await scene.get("viborg", draft)).status == 404
    assert (await scene.post("vendor", f"{scene.address}/approve", version=2)).status == 403
    done = await scene.post("viborg", f"{scene.address}/approve", **scene.form(waiting, f"{scene.address}/approve"))
    assert done.headers["location"] == f"{scene.address}?done=approve"
    shown = await scene.get("viborg", f"{scene.address}?done=approve")
    assert "Aftalen er godkendt." in shown.said()
    late = await scene.post("viborg", f"{scene.address}/reject", version=2, reason="x")
    assert (late.status, "VersionChanged" in late.said()) == (412, True)
    (row,) = await scene.desk.record("event = 'agreement.approved'")
    assert row["municipality_cvr"] == VIBORG


async def test_a_change_is_shown_beside_the_old_one_which_stays_in_force(scene):
    """Two rows: the old one approved until the new one begins; approving lets it end the day before."""
    await scene.api("viborg", "POST", f"{scene.path}/approve", version=2)
    form = await scene.get("vendor", f"/aftaler/ny?erstatter={scene.agreement['agreement_id']}")
    fields = scene.form(form, "/aftaler") | {"valid_from": "2026-04-01"}
    made = await scene.post("vendor", "/aftaler", **fields)
    new = made.headers["location"].partition("?")[0]
    await scene.post("vendor", f"{new}/request", version=1)
    before = (await scene.get("vendor", scene.address)).said("//table")
    await scene.post("viborg", f"{new}/approve", version=2)
    after = (await scene.get("vendor", new)).said("//table")

    assert "Den gamle (denne) Fagsystem Godkendt fra 02.03.2026, uden slutdag" in before
    assert "Den nye Fagsystem Anmodet fra 01.04.2026, uden slutdag" in before
    assert "Den gamle Fagsystem Godkendt 02.03.2026 til 31.03.2026" in after
    assert "Den nye (denne) Fagsystem Godkendt, ikke begyndt fra 01.04.2026" in after
    gone = await scene.post("viborg", f"{scene.address}/terminate", version=4)
    assert (gone.status, "reason" in gone.said()) == (422, True)


async def test_an_operators_step_waits_for_another_operator(scene):
    """One proposes, the page says whom it waits for; he himself cannot confirm, the other can."""
    await scene.api("viborg", "POST", f"{scene.path}/approve", version=2)
    made = await scene.post("otto", f"{scene.address}/propose/suspend", version=3, reason="wrong certificate")
    proposal = made.headers["location"].partition("?")[0]
    own = await scene.get("otto", proposal)
    other = await scene.get("olga", proposal)

    assert "Otto har foreslået et skridt med aftalen" in (await scene.get("auditor", scene.address)).said()
    assert "Venter på en anden person end Otto" in own.said()
    assert own.page.xpath("//button[@id='bekraeft']/@disabled")
    assert own.page.get_element_by_id("bekraeft-why").text_content().startswith("Du har selv foreslået det")
    assert not other.page.xpath("//button[@id='bekraeft']/@disabled")
    refused = await scene.post("otto", f"{proposal}/confirm", version=1)
    assert (refused.status, "SamePerson" in refused.said()) == (403, True)
    assert [
        len((await scene.get(who, "/forslag")).page.xpath("//section[1]//tbody/tr")) for who in ("otto", "olga")
    ] == [
        0,
        1,
    ]
    assert (await scene.post("olga", f"{proposal}/confirm", version=1)).status == 303
    assert "Suspenderet" in (await scene.get("viborg", scene.address)).said()


async def test_a_route_is_changed_by_two_persons_who_saw_what_it_does(scene):
    """The difference first, then the proposal; a plan that is another one by then is shown again."""
    asked = {
        "service": "SygefravaerJC",
        "municipality": VIBORG,
        "system": scene.systems["Andet"],
        "valid_from": "2026-04-01",
    }
    without = await scene.post("otto", "/ruter/plan", **asked)
    asked["url"] = "https://127.0.0.1:2/"
    planned = await scene.post("otto", "/ruter/plan", **asked)
    fields = scene.form(planned, "/ruter/forslag")
    stale = await scene.post("otto", "/ruter/forslag", **fields | {"reason": "new system", "plan": "0" * 64})
    made = await scene.post("otto", "/ruter/forslag", **fields | {"reason": "new system"})
    proposal = made.headers["location"].partition("?")[0]

    assert (without.status, "UrlMissing" in without.said()) == (422, True)
    table = planned.said("//table")
    assert "Ender Viborg Fagsystem https://127.0.0.1:1/ 31.01.2026 dagen før 01.04.2026" in table
    assert "Ny Viborg Andet https://127.0.0.1:2/ 01.04.2026" in table
    assert "Det nye system har ingen aftale med kommunen den dag: det kan ikke svare." in planned.said()
    assert "ingen åben sag mærker ændringen" in planned.said()
    assert "Registrene har ændret sig, mens du læste" in stale.said()
    assert (await scene.post("otto", f"{proposal}/confirm", version=1)).status == 403
    assert (await scene.post("auditor", f"{proposal}/confirm", version=1)).status == 403
    done = await scene.post("olga", f"{proposal}/confirm", version=1)
    assert done.headers["location"] == f"{proposal}?done=confirm"
    now = await scene.get("viborg", "/ruter?dag=2026-03-31")
    then = await scene.get("viborg", "/ruter?dag=2026-04-01")
    assert ("A Fagsystem 1 Viborg" in now.said("//table[1]"), "A Andet 1 Viborg" in then.said("//table[1]")) == (
        True,
        True,
    )
    assert "Viborg: Andet" in then.said("//*[local-name()='g']/*[local-name()='title']")
    explained = await scene.get("viborg", f"/ruter/forklar?kommune={VIBORG}&dag=2026-03-31")
    assert "Andet Viborg https://127.0.0.1:2/ 01.04.2026 – Ikke begyndt den begynder 01.04.2026" in explained.said()


async def test_a_stale_plan_is_planned_again_and_then_waits_anew(scene):
    """When the registers have changed, nobody can confirm; whoever plans anew is the proposer."""
    wish = {"service": "SygefravaerJC", "municipality": VIBORG, "valid_from": "2026-04-01"}
    for system, port in (("Andet", 2), ("Fagsystem", 3)):
        route = wish | {"system": str(scene.systems[system]), "url": f"https://127.0.0.1:{port}/"}
        made = await scene.api("otto", "POST", "/proposals", {"route": route, "reason": "x"})
        last = f"/forslag/{made['proposal_id']}"
        if system == "Andet":
            first = last
    await scene.post("olga", f"{first}/confirm", version=1)
    shown = await scene.get("olga", last)
    again = await scene.post("olga", f"{last}/again", version=1)

    assert "Registrene har ændret sig, siden forslaget blev stillet" in shown.said()
    assert shown.page.xpath("//button[@id='bekraeft']/@disabled")
    assert again.headers["location"] == f"{last}?done=again"
    assert (await scene.post("olga", f"{last}/confirm", version=2)).status == 403
    assert (await scene.post("otto", f"{last}/alone", version=2)).status == 422
    assert (await scene.post("otto", f"{last}/confirm", version=2)).status == 303


async def test_the_map_and_the_route_table_show_a_vendor_its_own(scene):
    """A route of another vendor's system is nothing of his; a municipality sees its own."""
    own, other = await scene.get("vendor", "/ruter"), await scene.get("other", "/ruter")

    assert len(own.page.xpath("//*[local-name()='svg'][@role='img']/*[local-name()='g']")) == 98
    assert "Viborg: Fagsystem" in own.said("//*[local-name()='title']")
    assert "Fagsystem" not in other.said()
    assert "Fagsystem" in (await scene.get("otto", "/ruter?service=Sygefravaer")).said("//table[1]")
    tested = await scene.post("vendor", "/ruter/00000000-0000-0000-0000-000000000000/proev", service="SygefravaerJC")
    assert "NotThere" in tested.said()


async def test_a_certificate_says_what_stops_and_is_renewed_beside_the_old_one(scene):
    """The chain to its root, the agreement and the routes that would stop, and nothing once another holds longer."""
    await scene.api("viborg", "POST", f"{scene.path}/approve", version=2)
    async with scene.desk.office.store.tx() as tx:
        await agreements.grant_agreement(
            tx,
            agreement_id=uuid4(),
            system_id=scene.systems["Fagsystem"],
            service=Service.SYGEFRAVAER,
            municipality_cvr=AARHUS,
            valid_from=TODAY,
            now=scene.desk.office.clock.now(),
        )
    path = f"/certifikater/{scene.certificate.thumbprint}"
    before = await scene.get("vendor", path)
    own = await scene.get("viborg", path)
    late = datetime.now(UTC) + timedelta(days=5000)
    new = scene.pki.issue("register-screens-new", VENDOR_CVR, not_after=late)
    system = scene.systems["Fagsystem"]
    made = await scene.post("vendor", "/certifikater", system=system, pem=new.certificate.read_text())
    key = await scene.post("vendor", "/certifikater", system=system, pem=new.key.read_text())
    after = await scene.get("vendor", path)

    assert before.page.xpath("count(//ol[@class='chain']/li)") == 3
    assert "1 aftale eller rute" not in before.said()
    assert "4 aftaler og ruter" in before.said()
    assert ("SygefravaerJC, Viborg" in own.said(), "Aarhus" in own.said(), "Aarhus" in before.said()) == (
        True,
        False,
        True,
    )
    assert (await scene.get("other", path)).status == 404
    assert made.status == 303
    assert (key.status, "CertificateRefused" in key.said(), "PRIVATE" in key.text) == (422, True, False)
    assert "Intet: et andet af systemets certifikater holder længere." in after.said()
    assert after.page.xpath("count(//section[h2/@id='overlap']//tbody/tr)") == 2
    taken = await scene.post("vendor", f"{path}/withdraw", system=system)
    assert taken.headers["location"] == f"{path}?done=withdrawn"
    assert "Trukket tilbage" in (await scene.get("auditor", "/certifikater")).said("//table")


async def test_a_search_about_a_citizen_needs_a_purpose_and_keeps_the_number_out_of_the_page(scene):
    """From page to page goes the keyed hash; the number stands in no answer, and the look in the record."""
    store, vault, now = scene.desk.office.store, scene.desk.office.vault, scene.desk.office.clock.now()
    async with store.tx() as tx:
        for _ in range(60):
            await audit.record(
                tx, Event.LOOKUP_ASKED, now=now, municipality_cvr=VIBORG, cpr_key=vault.lookup_key(CITIZEN)
            )
    without = await scene.post("viborg", "/log", citizen=CITIZEN)
    first = await scene.post("viborg", "/log", citizen=CITIZEN, purpose="a complaint", first="2026-03-02")
    (form,) = [one for one in first.page.xpath("//form[@action='/log']") if one.xpath(".//input[@name='after']")]
    second = await scene.post("viborg", "/log", **{name: value for name, value in form.form_values() if name != "csrf"})
    other = await scene.post("aarhus", "/log", citizen=CITIZEN, purpose="a complaint")
    file = await scene.post("viborg", "/log/udtraek", citizen=CITIZEN, purpose="a complaint", format="csv")

    assert (without.status, "PurposeMissing" in without.said()) == (422, True)
    assert len(first.page.xpath("//tbody/tr")) == 50
    assert len(second.page.xpath("//tbody/tr")) == 12  # the rest, and the two looks
    assert not [told for told in (without, first, second) if CITIZEN in told.text]
    assert "Ingen række passer" not in other.said()  # his own look is a row of his municipality's
    assert "lookup.asked" not in other.said("//table")
    assert (file.headers["content-type"], len(file.text.splitlines())) == ("text/csv; charset=utf-8", 64)
    looks = await scene.desk.record(
        "event = 'audit.searched' AND municipality_cvr = :cvr".replace(":cvr", f"'{VIBORG}'")
    )
    assert [row["cpr_key"] == vault.lookup_key(CITIZEN) for row in looks] == [True, True]
    bad = await scene.post("viborg", "/log", person="zz", purpose="x")
    assert (bad.status, "FieldsWrong" in bad.said()) == (422, True)


async def test_a_draw_and_a_report_are_had_from_the_screen(scene):
    """The draw says of how many; the report is a file, PDF or JSON, and without a purpose there is none."""
    async with scene.desk.office.store.tx() as tx:
        at = datetime(2026, 2, 10, 9, tzinfo=UTC)
        for _ in range(3):
            await audit.record(tx, Event.LOOKUP_ASKED, now=at, municipality_cvr=VIBORG, operation="HentSag")
    drawn = await scene.post("viborg", "/log/stikproeve", month="2026-02", number=2)
    again = await scene.post("viborg", "/log/stikproeve", month="2026-02", number=9)
    runs = await scene.post("viborg", "/log/stikproeve", month="2026-03", number=2)
    pdf = await scene.post("otto", "/log/indsigt", citizen=CITIZEN, purpose="asked for", format="pdf")
    plain = await scene.post("otto", "/log/indsigt", citizen=CITIZEN, purpose="asked for", format="json")
    wrong = await scene.post("otto", "/log/indsigt", citizen="0101375", purpose="asked for", format="pdf")
    none = await scene.post("otto", "/log/indsigt", citizen=CITIZEN, format="pdf")

    assert "2 opslag af 3" in drawn.said()
    assert "Det er de samme som dengang." in again.said()
    assert (runs.status, "MonthRuns" in runs.said()) == (422, True)
    assert (pdf.headers["content-type"], pdf.text[:5]) == ("application/pdf", "%PDF-")
    assert pdf.headers["content-disposition"] == 'attachment; filename="indsigt.pdf"'
    assert json.loads(plain.text)["antal"] == 2
    assert (wrong.status, none.status) == (422, 422)
    assert not [told for told in (wrong, none) if CITIZEN in told.text]


async def test_the_chain_is_verified_while_the_page_says_how_far(scene, monkeypatch):
    """Begun by one, watched by all who may; what was changed is named by its place."""
    office = scene.desk.office
    await Sealer(office.store, key=audit.read_key(office.record.key), anchor=office.record.anchor).seal()
    begun = await scene.post("otto", "/log/kontrol")
    fine = await _ended(scene)
    async with office.store.tx() as tx:
        await tx.run("UPDATE audit SET code = 'x' WHERE seq = 2")
    await scene.post("auditor", "/log/kontrol")
    found = await _ended(scene)

    assert begun.status == 303
    assert "Loggen er, som den blev skrevet" in fine
    assert "af Otto." in fine
    assert "ændret, indsat eller flyttet: plads 2" in found
    assert (await scene.post("viborg", "/log/kontrol")).status == 403


async def _ended(scene) -> str:
    while True:
        shown = await scene.get("auditor", "/log/kontrol")
        if not shown.page.xpath("//progress"):
            return shown.said()
        assert "Læser loggen" in shown.said()


async def test_every_page_says_how_much_waits_for_a_second_person(scene):
    """In the menu, for whoever could be that person: not the proposer, and nobody who confirms nothing."""
    await scene.api("viborg", "POST", f"{scene.path}/approve", version=2)
    await scene.post("otto", f"{scene.address}/propose/suspend", version=3, reason="x")
    menus = {who: (await scene.get(who, "/ruter")).said("//nav[1]") for who in ("otto", "olga", "auditor", "vendor")}

    assert "Forslag 1 venter på dig" in menus["olga"]
    assert [who for who, menu in menus.items() if "venter på dig" in menu] == ["olga"]
    assert "Intet forslag venter" in (await scene.get("otto", "/forslag")).said()

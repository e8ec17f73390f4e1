# SPDX-License-Identifier: MPL-2.0
"""
Who may do what: role x endpoint x own and foreign organisation.

The endpoints are read from the API's own description; the verdicts stand below, written by hand. An endpoint without a
row fails, and so does a row whose verdict is another one now.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography import x509
from lxml import etree

from desk import AARHUS, OPERATOR_CVR, OTHER_VENDOR_CVR, PASSWORD, ROOMS, SETUP, VENDOR_CVR, VIBORG, Desk
from sygefravaer import agreements, soap, usage
from sygefravaer.admin.accounts import Role
from sygefravaer.agreements import certificates, organisations, workflow
from sygefravaer.client import client_tls
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.delivery import BODY as SEALED_BODY
from sygefravaer.lanes import Entry, Lanes
from sygefravaer.mail import FACTS, Kind, advise

WHO = ("nobody", "vendor", "vendor 2", "Viborg", "Aarhus", "operator", "auditor")
ORDER = ("nobody", "vendor 2", "Aarhus", "auditor", "Viborg", "operator", "vendor")  # whoever may end it comes last

# y: may (what he asks for may still be refused for itself); e: may, and sees nothing of what is not his;
# n: has no role for it, or named another's CVR number (403); -: there is no such thing for him (404);
# 0: must sign in (401). All is about a system of `vendor`, its agreement with Viborg, and Viborg's route to it.
TABLE = """
                                                        nobody vendor vendor2 Viborg Aarhus operator auditor
POST   /session                                            y      y      y      y      y      y      y
GET    /session                                            0      y      y      y      y      y      y
GET    /session/provider                                   -      -      -      -      -      -      -
GET    /session/provider/back                              -      -      -      -      -      -      -
GET    /tokens                                             0      y      y      y      y      y      y
POST   /tokens                                             0      y      y      y      y      y      y
DELETE /tokens/{token}                                     0      y      -      -      -      -      -
GET    /organisations                                      0      y      y      y      y      y      y
POST   /organisations                                      0      n      n      n      n      y      n
GET    /organisations/{cvr}                                0      y      y      y      y      y      y
PATCH  /organisations/{cvr}                                0      y      n      n      n      y      n
PATCH  /organisations/{cvr} municipality                   0      n      n      y      n      y      n
GET    /systems                                            0      y      e      y      e      y      y
POST   /systems                                            0      y      n      n      n      y      n
GET    /systems/{system}                                   0      y      -      y      -      y      y
PATCH  /systems/{system}                                   0      y      -      n      n      y      n
PATCH  /systems/{system} closed                            0      n      n      n      n      y      n
GET    /services                                           0      y      y      y      y      y      y
GET    /systems/{system}/certificates                      0      y      -      y      -      y      y
POST   /systems/{system}/certificates                      0      y      -      n      n      n      n
GET    /certificates/ending                                0      y      e      y      e      y      y
GET    /agreements                                         0      y      e      y      e      y      y
GET    /agreements municipality                            0      y      e      y      n      y      y
POST   /agreements                                         0      y      -      n      n      n      n
GET    /agreements/{agreement}                             0      y      -      y      -      y      y
GET    /agreements/{agreement} draft                       0      y      -      -      -      y      y
GET    /agreements/{agreement}/preflight                   0      y      -      y      -      y      y
POST   /agreements/{agreement}/request                     0      y      -      n      n      n      n
POST   /agreements/{agreement}/try                         0      y      -      n      n      n      n
POST   /agreements/{agreement}/remind                      0      y      -      n      n      n      n
POST   /agreements/{agreement}/cancel                      0      y      -      n      n      n      n
POST   /agreements/{agreement}/approve                     0      n      n      y      -      n      n
POST   /agreements/{agreement}/reject                      0      n      n      y      -      n      n
POST   /agreements/{agreement}/terminate                   0      n      n      y      -      n      n
GET    /routes                                             0      y      e      y      e      y      y
GET    /routes municipality                                0      y      e      y      n      y      y
POST   /routes/{route}/test                                0      y      -      y      -      y      n
POST   /routes/plan                                        0      n      n      n      n      y      n
POST   /replays/plan                                       0      n      n      n      n      y      n
GET    /proposals                                          0      n      n      n      n      y      y
POST   /proposals                                          0      n      n      n      n      y      n
GET    /proposals/{proposal}                               0      n      n      n      n      y      y
PUT    /proposals/{proposal}                               0      n      n      n      n      y      n
POST   /proposals/{proposal}/confirm                       0      n      n      n      n      y      n
POST   /proposals/{proposal}/withdraw                      0      n      n      n      n      y      n
POST   /proposals/{proposal}/break-glass                   0      n      n      n      n      y      n
GET    /accounts                                           0      n      n      n      n      y      y
GET    /accounts/{account}                                 0      n      n      n      n      y      y
POST   /accounts/{account}/close                           0      n      n      n      n      y      n
POST   /record/search                                      0      n      n      y      y      y      y
POST   /record/search municipality                         0      n      n      y      n      y      y
POST   /record/export                                      0      n      n      y      y      y      y
POST   /record/export municipality                         0      n      n      y      n      y      y
GET    /record/verification                                0      n      n      n      n      y      y
POST   /record/report                                      0      n      n      y      y      y      y
POST   /record/sample                                      0      n      n      y      y      y      y
POST   /record/sample municipality                         0      n      n      y      n      y      y
PUT    /systems/{system}/display-groups/{group}            0      n      n      n      n      y      n
DELETE /systems/{system}/display-groups/{group}            0      n      n      n      n      y      n
DELETE /systems/{system}/certificates/{thumbprint}         0      y      -      n      n      y      n
GET    /explain/access                                     0      y      -      y      -      y      y
GET    /explain/route                                      0      n      n      y      n      y      y
GET    /usage                                              0      y      e      y      e      y      y
GET    /usage municipality                                 0      y      e      y      n      y      y
GET    /usage/limits                                       0      n      n      y      e      y      y
PUT    /usage/limits/{agreement}                           0      n      n      y      -      y      n
DELETE /usage/limits/{agreement}                           0      n      n      y      -      y      n
GET    /status                                             0      y      y      y      y      y      y
GET    /mails                                              0      n      n      n      n      y      y
POST   /mails/{mail}/resend                                0      n      n      n      n      y      n
GET    /messages                                           0      y      e      y      e      y      y
GET    /messages municipality                              0      y      e      y      n      y      y
GET    /messages/faults                                    0      y      e      y      e      y      y
POST   /messages/search                                    0      n      n      y      e      y      y
GET    /messages/export                                    0      y      e      y      e      y      y
GET    /messages/{message}                                 0      y      -      y      -      y      y
POST   /messages/{message}/content                         0      n      n      y      -      y      y
POST   /messages/{message}/replay/plan                     0      n      n      n      n      y      n
POST   /messages/{message}/replay                          0      n      n      n      n      y      n
POST   /messages/{message}/discard                         0      n      n      n      n      y      n
GET    /cases/{case}                                       0      n      n      y      -      y      y
GET    /revocation                                         0      n      n      n      n      y      y
DELETE /session                                            0      y      y      y      y      y      y
"""

CITIZEN = "0101375001"
SAMPLE = etree.parse(Path(__file__).parent / "samples" / "SendForretningsSvarRequest.min.xml").getroot()
BODY = soap.element_bytes(SAMPLE[-1][0])
STALE = {"If_Match": '"999999"'}  # whoever may is told that it has changed: nothing is done
REASON = {"reason": "a reason"}


def verdicts(table: str) -> dict[str, dict[str, str]]:
    """Read the table: endpoint (and case) to who to verdict."""
    found = {}
    for line in table.strip().splitlines()[1:]:
        head, cells = line[:58], line[58:].split()
        found[" ".join(head.split())] = dict(zip(WHO, cells, strict=True))
    return found


def complaints(described: set[str], wanted: dict[str, dict[str, str]], found: dict[str, dict[str, str]]) -> list[str]:
    """Say what does not fit: endpoints without a row, rows without an endpoint, verdicts that are others now."""
    rows = {" ".join(row.split()[:2]) for row in wanted}
    said = [f"{one} has no row" for one in sorted(described - rows)]
    said += [f"{one} is not described" for one in sorted(rows - described)]
    for row, cells in wanted.items():
        said += [
            f"{row}: {who} was {found.get(row, {}).get(who)}, and {cell} is written"
            for who, cell in cells.items()
            if found.get(row, {}).get(who) != cell
        ]
    return said


def described(told: dict[str, Any]) -> set[str]:
    """Give every endpoint of a description."""
    return {f"{method.upper()} {path}" for path, methods in told["paths"].items() for method in methods}


class World:
    """What the table is about."""

    def __init__(self, desk: Desk, pki) -> None:
        self.desk, self.pki = desk, pki
        self.ids: dict[str, str] = {}

    async def make(self) -> None:
        desk, office = self.desk, self.desk.office
        roles = {
            "vendor": (Role.VENDOR, VENDOR_CVR),
            "vendor 2": (Role.VENDOR, OTHER_VENDOR_CVR),
            "Viborg": (Role.MUNICIPALITY, VIBORG),
            "Aarhus": (Role.MUNICIPALITY, AARHUS),
            "operator": (Role.OPERATOR, OPERATOR_CVR),
            "auditor": (Role.AUDITOR, OPERATOR_CVR),
        }
        self.people = {name: await desk.person(name, role, cvr=cvr) for name, (role, cvr) in roles.items()}
        await desk.add("signer", Role.VENDOR, cvr=VENDOR_CVR)
        now, machine = office.clock.now(), office.machine()
        soon = self.pki.issue("matrix", VENDOR_CVR, not_after=datetime.now(UTC) + timedelta(days=10))
        async with office.store.tx() as tx:
            for cvr in (VENDOR_CVR, OTHER_VENDOR_CVR, OPERATOR_CVR):
                await organisations.add_organisation(tx, cvr=cvr, name=cvr, by=SETUP, now=now)
            shared = {"role": agreements.Role.JOBCENTER, "contact": None, "environment": Environment.TEST}
            system = await organisations.add_system(tx, name="ours", vendor_cvr=VENDOR_CVR, **shared, by=SETUP, now=now)
            ksd = await organisations.add_system(tx, name="ksd", vendor_cvr=OPERATOR_CVR, **shared, by=SETUP, now=now)
            certificate = await certificates.add_certificate(
                tx,
                soon.certificate.read_text(),
                of=system,
                authorities=office.authorities,
                by=SETUP,
                now=now,
                machine=machine,
            )
            await organisations.join_group(tx, system.system_id, "MONOPOLBRUD", by=SETUP, now=now)
            route = uuid4()
            for route_id, service, cvr, target in (
                (route, Service.SYGEFRAVAER_JC, VIBORG, system.system_id),
                (uuid4(), Service.SYGEFRAVAER, "*", ksd.system_id),
            ):
                await agreements.set_route(
                    tx,
                    route_id=route_id,
                    service=service,
                    municipality_cvr=cvr,
                    system_id=target,
                    url="https://127.0.0.1:1/x",
                    valid_from=now.date(),
                    now=now,
                )
            system = await organisations.system(tx, system.system_id, environment=Environment.TEST)
            drafted = [
                await workflow.draft(
                    tx,
                    of=system,
                    service=service,
                    municipality_cvr=VIBORG,
                    valid_from=now.date(),
                    by=SETUP,
                    now=now,
                )
                for service in (Service.SYGEFRAVAER, Service.SYGEFRAVAER_JC)
            ]
            for version, step in enumerate((workflow.Move.REQUEST, workflow.Move.APPROVE), start=1):
                await workflow.move(
                    tx,
                    drafted[0].agreement_id,
                    step,
                    version=version,
                    environment=Environment.TEST,
                    by=SETUP,
                    now=now,
                    machine=machine,
                )
            await tx.run(
                "INSERT INTO usage (day, agreement_id, system_id, municipality_cvr, service, operation, calls)"
                " VALUES (%(day)s, %(agreement)s, %(system)s, %(cvr)s, 'Sygefravaer', 'HentSag', 1)",
                day=now.date(),
                agreement=drafted[0].agreement_id,
                system=system.system_id,
                cvr=VIBORG,
            )
            limit = {"period": usage.Period.MONTH, "calls": 7, "by": "test", "now": now}
            await usage.set_limit(tx, drafted[0].agreement_id, **limit)
            facts = dict.fromkeys(FACTS[Kind.LIMIT_REACHED], "x")
            message, case = uuid4(), uuid4()
            entry = Entry(
                recipient=ksd.system_id,
                municipality_cvr=VIBORG,
                case_key=f"nemref:{case}",
                sender=system.system_id,
                besked_id=message,
                operation="SendForretningsSvar",
                nemrefusions_id=case,
                cpr_key=office.vault.lookup_key(CITIZEN),
                digest=b"x",
                body=office.vault.seal(BODY, context=SEALED_BODY),
                accepted_at=now,
            )
            kept = await Lanes().enqueue(tx, entry)
            await tx.run("UPDATE message SET status = 'parked', detail = 'no route'")
            letter = await advise(tx, Kind.LIMIT_REACHED, "a@b.example", facts, now=now)
        self.ids = {
            "system": str(system.system_id),
            "agreement": str(drafted[0].agreement_id),
            "draft": str(drafted[1].agreement_id),
            "route": str(route),
            "thumbprint": certificate.thumbprint,
            "cvr": VENDOR_CVR,
            "group": "MONOPOLBRUD",
            "mail": str(letter),
            "message": str(kept.message.message_id),
            "case": str(case),
            "besked": str(message),
            "account": str(self.people["vendor"].account),
        }
        self.ids["token"] = (await self.people["vendor"]("POST", "/tokens", {"name": "x"})).body["token"]
        step = {"agreement": self.ids["agreement"], "step": "suspend", "version": 3}
        self.wish = {"agreement": step, "reason": "a reason"}
        self.ids["proposal"] = (await self.people["operator"]("POST", "/proposals", self.wish)).body["proposal_id"]

    def request(self, row: str) -> tuple[str, str, Any, dict[str, str]]:
        """Give what a row asks for: method, path, body, headers."""
        method, path, *case = row.split()
        draft = {**self.ids, "agreement": self.ids["draft"]} if case == ["draft"] else self.ids
        filled = path.format(**draft | ({"cvr": VIBORG} if case == ["municipality"] else {}))
        today = self.desk.office.clock.now().date().isoformat()
        route = {
            "service": "SygefravaerJC",
            "municipality": VIBORG,
            "system": self.ids["system"],
            "valid_from": today,
            "url": "https://127.0.0.1:1/y",
        }
        bodies: dict[str, Any] = {
            "POST /session": {"login": "signer", "password": PASSWORD},
            "POST /tokens": {"name": "x"},
            "POST /organisations": {"cvr": "29189668", "name": "x"},
            "PATCH /organisations/{cvr}": {"mailbox": "a@b.example"},
            "POST /systems": {"name": "x", "vendor_cvr": VENDOR_CVR},
            "PATCH /systems/{system}": {"active": False} if case else {"contact": "x"},
            "POST /systems/{system}/certificates": {"pem": "x"},
            "POST /agreements": {
                "system": self.ids["system"],
                "service": "Sygefravaer",
                "municipality": VIBORG,
                "valid_from": today,
            },
            "POST /agreements/{agreement}/reject": REASON,
            "POST /agreements/{agreement}/terminate": REASON,
            "POST /routes/plan": route,
            "POST /replays/plan": {},
            "POST /proposals": self.wish,
            "PUT /proposals/{proposal}": self.wish,
            "POST /proposals/{proposal}/break-glass": REASON,
            "PUT /usage/limits/{agreement}": {"period": "month", "calls": 7},
            "POST /messages/search": {"citizen": CITIZEN, "purpose": "a reason"},
            "POST /messages/{message}/content": {},
            "POST /messages/{message}/replay": {"plan": "0" * 64},
            "POST /messages/{message}/discard": REASON,
        }
        if path.startswith("/record/"):
            own = {"municipality": VIBORG} if case else {}
            report = {"citizen": CITIZEN, "purpose": "indsigt", "format": "json"}
            sample = {"month": "2026-02"} | own
            body = {"/record/report": report, "/record/sample": sample}.get(path, own)
            return method, path, None if method == "GET" else body, {}
        if case == ["municipality"] and "{" not in path:
            filled += f"?municipality={VIBORG}"
        if path == "/explain/access":
            filled += f"?certificate={self.ids['thumbprint']}&municipality={VIBORG}&operation=HentSag"
        if path == "/explain/route":
            filled += f"?municipality={VIBORG}"
        return method, filled, bodies.get(f"{method} {path}"), {} if method in {"GET", "DELETE"} else dict(STALE)

    async def ask(self, who: str, row: str) -> str:
        """Ask for what a row is about, and say the verdict as the table does."""
        method, path, body, headers = self.request(row)
        if who == "nobody":
            told = await self.desk.call(method, path, body)
        else:
            told = await self.people[who](method, path, body, **headers)
        assert told.status < 500, (who, row, told.body)
        if told.status in {401, 403, 404}:
            return {401: "0", 403: "n", 404: "-"}[told.status]
        ours = "no route" in str(told.body) or any(
            self.ids[name] in str(told.body) for name in ("system", "agreement", "route", "thumbprint", "besked")
        )
        lists = {"GET /systems", "GET /certificates/ending", "GET /agreements", "GET /routes"}
        lists |= {"GET /usage", "GET /usage/limits", "GET /messages", "GET /messages/export", "POST /messages/search"}
        lists |= {"GET /messages/faults"}
        return "y" if ours or " ".join(row.split()[:2]) not in lists else "e"


async def test_every_endpoint_gives_everybody_the_verdict_that_is_written(make_store, vault, clock, pki):
    """And every refusal of somebody who is signed in is in the record, with the rule."""
    authorities = tuple(x509.load_pem_x509_certificates(Path(pki.ca).read_bytes()))
    own = pki.issue("office", OPERATOR_CVR)
    tls = client_tls(own.certificate, own.key, pki.ca)
    wanted = verdicts(TABLE)
    async with Desk(await make_store(*ROOMS), vault, clock, authorities=authorities, tls=tls) as desk:
        world = World(desk, pki)
        await world.make()
        told = described((await desk.call("GET", "/openapi.json")).body)
        found = {row: {who: await world.ask(who, row) for who in ORDER} for row in wanted}
        refused = [
            (one["detail"]["by"], one["detail"]["method"], one["detail"]["endpoint"], one["code"])
            for one in await desk.record("event = 'access.refused'")
        ]

    assert "\n".join(complaints(told, wanted, found)) == ""
    accounts = {name: str(person.account) for name, person in world.people.items()}
    expected = sorted(
        (accounts[who], *row.split()[:2])
        for row, cells in wanted.items()
        for who, cell in cells.items()
        if cell in {"n", "-"} and who != "nobody" and "provider" not in row and "/tokens/" not in row
    )
    assert sorted(one[:3] for one in refused) == expected
    assert {one[3] for one in refused} == {"NotAllowed", "NotYours"}


def test_an_endpoint_without_a_row_and_a_verdict_that_flips_are_found():
    """The judge of the table is judged."""
    wanted = verdicts(TABLE)
    there = {" ".join(row.split()[:2]) for row in wanted}
    assert complaints(there, wanted, wanted) == []
    assert complaints(there | {"GET /secrets"}, wanted, wanted) == ["GET /secrets has no row"]
    assert complaints(there - {"GET /routes"}, wanted, wanted) == ["GET /routes is not described"]
    flipped = wanted | {"POST /organisations": wanted["POST /organisations"] | {"auditor": "y"}}
    assert complaints(there, wanted, flipped) == ["POST /organisations: auditor was y, and n is written"]

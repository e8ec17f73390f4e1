# SPDX-License-Identifier: MPL-2.0
"""The whole process by the API alone: from an empty database to a first call, and to the end of the agreement."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509

from corridor import Corridor, message
from desk import AARHUS, OPERATOR_CVR, ROOMS, VENDOR_CVR, VIBORG, Desk, Person
from sygefravaer import agreements, audit
from sygefravaer.admin.accounts import Role
from sygefravaer.agreements import Actor, organisations, workflow
from sygefravaer.agreements.workflow import Move
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import MoveRefused
from sygefravaer.mail import letters

TODAY = "2026-03-02"


class Empty(Corridor):
    """A gateway whose registers are empty."""

    async def _register(self) -> None:
        """Nothing: that is the administration's."""


class Town:
    """A gateway, KSD, a jobcentre system and the administration, and everybody who takes part."""

    def __init__(self, corridor: Empty, desk: Desk) -> None:
        self.corridor, self.desk = corridor, desk
        self.systems: dict[str, str] = {}

    async def arrive(self) -> None:
        desk = self.desk
        self.vendor = await desk.person("vera", Role.VENDOR, cvr=VENDOR_CVR)
        self.viborg = await desk.person("viggo", Role.MUNICIPALITY, cvr=VIBORG)
        self.aarhus = await desk.person("asta", Role.MUNICIPALITY, cvr=AARHUS)
        self.one = await desk.person("otto", Role.OPERATOR, cvr=OPERATOR_CVR)
        self.two = await desk.person("olga", Role.OPERATOR, cvr=OPERATOR_CVR)
        self.auditor = await desk.person("ada", Role.AUDITOR, cvr=OPERATOR_CVR)

    async def do(self, who: Person, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Do something that succeeds, at the version as it stands."""
        if path.endswith(("/request", "/approve", "/reject", "/cancel", "/terminate", "/confirm", "/break-glass")):
            headers.setdefault("If_Match", (await who("GET", path.rpartition("/")[0])).etag)
        told = await who(method, path, body, **headers)
        assert told.status < 300, told.body
        return told.body

    async def register(self, name: str, role: str) -> str:
        """A vendor registers a system and its certificate; the operator lets it into the display group."""
        made = await self.do(self.vendor, "POST", "/systems", {"name": name, "vendor_cvr": VENDOR_CVR, "role": role})
        self.systems[name] = system = made["system_id"]
        pem = self.corridor.issued[name].certificate.read_text()
        await self.do(self.vendor, "POST", f"/systems/{system}/certificates", {"pem": pem})
        await self.do(self.one, "PUT", f"/systems/{system}/display-groups/MONOPOLBRUD")
        return system

    async def route(self, name: str, service: Service, municipality: str) -> str:
        """One operator proposes, another confirms."""
        url = self.corridor.receivers[name].server.url + service.path
        wish = {
            "route": {
                "service": service,
                "municipality": municipality,
                "system": self.systems[name],
                "valid_from": TODAY,
                "url": url,
            },
            "reason": "first connection",
        }
        proposal = await self.do(self.one, "POST", "/proposals", wish)
        done = await self.do(self.two, "POST", f"/proposals/{proposal['proposal_id']}/confirm")
        return done["outcome"]["route"]

    async def agree(self, name: str, service: Service, municipality: str = VIBORG, **more: Any) -> str:
        """A vendor drafts and requests, the municipality approves."""
        path = f"/agreements/{await self.draft(name, service, municipality, **more)}"
        await self.do(self.vendor, "POST", path + "/request")
        await self.do(self.viborg if municipality == VIBORG else self.aarhus, "POST", path + "/approve")
        return path

    async def draft(self, name: str, service: Service, municipality: str = VIBORG, **more: Any) -> str:
        asked = {"system": self.systems[name], "service": service, "municipality": municipality, "valid_from": TODAY}
        return (await self.do(self.vendor, "POST", "/agreements", asked | more))["agreement_id"]

    def letter(self, operation: str, caller: str, **fields: Any):
        """An envelope from a system as it is registered here."""
        return message(operation, caller=caller, cvr=VIBORG, AfsenderSystemID=self.systems[caller], **fields)


@pytest.fixture
async def town(make_store, vault, clock, pki):
    store = await make_store(*ROOMS, size=6)
    authorities = tuple(x509.load_pem_x509_certificates(Path(pki.ca).read_bytes()))
    async with (
        Empty(store, vault, clock, pki) as corridor,
        Desk(store, vault, clock, authorities=authorities, tls=corridor.tls("callback")) as desk,
    ):
        made = Town(corridor, desk)
        await made.arrive()
        yield made


@pytest.fixture
async def settled(town):
    """A town in which both systems are registered and KSD can be reached."""
    vendor = {"cvr": VENDOR_CVR, "name": "Leverandør A/S", "mailbox": "drift@leverandoer.example"}
    await town.do(town.one, "POST", "/organisations", vendor)
    await town.register("ksd", "ksd")
    await town.register("viborg", "jobcenter")
    await town.route("ksd", Service.SYGEFRAVAER, "*")
    return town


async def test_from_nothing_to_a_call_and_to_its_end(settled, tmp_path):
    """Vendor, municipality and two operators do their parts; the call passes; terminated, it is refused by name."""
    town, send = settled, settled.corridor.send
    asking = town.letter("HentSag", "viborg")
    assert (await send("HentSag", asking)).code == "ServiceAgreementNotFound"

    agreement = f"/agreements/{await town.draft('viborg', Service.SYGEFRAVAER)}"
    checks = await town.do(town.vendor, "GET", agreement + "/preflight")
    assert [check["name"] for check in checks if check["blocking"] and not check["passed"]] == []
    await town.do(town.vendor, "POST", agreement + "/request")
    assert (await send("HentSag", asking)).code == "ServiceAgreementNotApproved"
    await town.do(town.viborg, "POST", agreement + "/approve")
    route = await town.route("viborg", Service.SYGEFRAVAER_JC, VIBORG)
    tested = await town.do(town.viborg, "POST", f"/routes/{route}/test")
    assert (tested["passed"], tested["reached"]) == (True, "a SOAP service")
    await town.agree("ksd", Service.SYGEFRAVAER_JC)

    told = await send("HentSag", town.letter("HentSag", "viborg"))
    assert (told.status, told.is_fault) == (200, False)
    sent = town.letter("SendOpdateringFravaer", "viborg")
    assert (await send("SendOpdateringFravaer", sent)).kode == "OK"
    event = town.letter("SendHaendelseSygefravaerssag", "ksd")
    assert (await send("SendHaendelseSygefravaerssag", event)).kode == "OK"
    assert len(town.corridor.receivers["viborg"].calls) == 1

    down = town.corridor.receivers["ksd"].server  # what is accepted before the end is delivered after it
    port = down.port
    await down.stop()
    waiting = town.letter("SendOpdateringFravaer", "viborg", NemrefusionsID="8a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24")
    assert (await send("SendOpdateringFravaer", waiting)).kode == "ADVARSEL"
    await town.do(town.viborg, "POST", agreement + "/terminate", {"reason": "another vendor"})
    for name in ("HentSag", "SendOpdateringFravaer"):
        told = await send(name, town.letter(name, "viborg"))
        assert (told.status, told.code) == (500, "ServiceAgreementTerminated")
    down.port = port
    await down.start()
    town.corridor.work()
    town.corridor.clock.advance(timedelta(minutes=1))
    town.corridor.delivery.wake()
    await town.corridor.until(waiting, "delivered")
    assert (await send("SendOpdateringFravaer", sent)).kode == "OK"  # a repeat still gets its receipt

    rows = await town.desk.record("event NOT IN ('account.added', 'token.made')")
    events = [row["event"] for row in rows]
    wanted = [
        "organisation.added",
        "organisation.added",
        *["system.registered", "certificate.registered", "group.joined"] * 2,
        *["proposal.made", "route.changed", "proposal.confirmed"],
        "call.refused",
        *["agreement.drafted", "agreement.requested"],
        "call.refused",
        "agreement.approved",
        *["proposal.made", "route.changed", "proposal.confirmed", "route.tested"],
        *["agreement.drafted", "agreement.requested", "agreement.approved"],
        *["lookup.asked", "lookup.answered"],
        *["message.accepted", "message.delivered"] * 2,
        *["message.accepted", "message.attempted"],
        "agreement.terminated",
        *["call.refused"] * 2,
    ]
    assert events[: len(wanted)] == wanted
    assert set(events[len(wanted) :]) <= {"message.attempted", "message.delivered", "message.repeated"}
    ended = next(row for row in rows if row["event"] == "agreement.terminated")
    assert ended["detail"]["by"] == str(town.viborg.account)
    assert ended["detail"]["organisation"] == ended["municipality_cvr"] == VIBORG
    assert ended["reason"] == "another vendor"
    assert str(ended["agreement"]) in agreement
    key, anchors = audit.create_key(tmp_path / "key"), tmp_path / "anchors"
    sealer = audit.Sealer(town.corridor.store, key=key, anchor=anchors)
    await sealer.seal()
    await sealer.anchor()
    report = await audit.verify(town.corridor.store, key=key, anchors=audit.read_anchors(anchors))
    assert report.findings == ()
    assert (report.unsealed, report.sealed) == (0, len(await town.desk.record()))


async def test_what_cannot_work_is_not_passed_on(town):
    """Each check by name, with what to do; the municipality is not asked."""
    await town.do(town.one, "POST", "/organisations", {"cvr": VENDOR_CVR, "name": "Leverandør A/S"})
    made = await town.do(town.vendor, "POST", "/systems", {"name": "bare", "vendor_cvr": VENDOR_CVR})
    town.systems["bare"] = made["system_id"]
    asked = {"system": made["system_id"], "service": "Sygefravaer", "municipality": VIBORG, "valid_from": TODAY}
    assert (await town.vendor("POST", "/agreements", asked)).body["code"] == "NotVisible"
    assert await town.do(town.vendor, "GET", "/services") == []
    await town.do(town.one, "PUT", f"/systems/{made['system_id']}/display-groups/MONOPOLBRUD")
    assert [one["service"] for one in await town.do(town.vendor, "GET", "/services")] == [
        "Sygefravaer",
        "SygefravaerJC",
    ]

    path = f"/agreements/{await town.draft('bare', Service.SYGEFRAVAER)}"
    draft = await town.vendor("GET", path)
    told = await town.vendor("POST", path + "/request", If_Match=draft.etag)
    assert (told.status, told.body["code"]) == (409, "PreflightFailed")
    failed = {
        check["name"]: check["try_this"] for check in told.body["checks"] if not check["passed"] and check["blocking"]
    }
    assert failed.keys() == {"certificate", "cvr", "route"}
    assert all(failed.values())
    assert (await town.viborg("GET", path)).status == 404  # a draft is the vendor's own
    assert (await town.vendor("GET", path)).body["status"] == "draft"


async def test_a_change_leaves_the_old_one_in_force(settled):
    """Requested, it changes nothing; approved, the old one ends the day before the new one begins."""
    town = settled
    old = await town.agree("viborg", Service.SYGEFRAVAER)
    new = f"/agreements/{await town.draft('viborg', Service.SYGEFRAVAER, valid_from='2026-04-01', replaces=old[-36:])}"
    await town.do(town.vendor, "POST", new + "/request")
    assert not (await town.corridor.send("HentSag", town.letter("HentSag", "viborg"))).is_fault
    await town.do(town.viborg, "POST", new + "/approve")

    assert (await town.do(town.vendor, "GET", old))["valid_to"] == "2026-03-31"
    assert (await town.do(town.vendor, "GET", new))["phase"] == "approved, not begun"
    for day in (datetime(2026, 3, 31, 12, tzinfo=UTC), datetime(2026, 4, 1, 12, tzinfo=UTC)):
        town.corridor.clock.set(day)
        asking = town.letter("HentSag", "viborg", Afsendelsestidspunkt=day.isoformat())
        assert not (await town.corridor.send("HentSag", asking)).is_fault
    assert (await town.do(town.vendor, "GET", old))["phase"] == "expired"
    assert [row["event"] for row in await town.desk.record("event = 'agreement.replaced'")] == ["agreement.replaced"]


async def test_a_renewed_certificate_opens_beside_the_old_one(settled):
    """Both open until one is withdrawn; the list of endings names what would stop, and nothing once it is renewed."""
    town = settled
    agreement = await town.agree("viborg", Service.SYGEFRAVAER)
    route = await town.route("viborg", Service.SYGEFRAVAER_JC, VIBORG)
    system, pki = town.systems["viborg"], town.corridor.pki
    assert await town.do(town.viborg, "GET", "/certificates/ending?within_days=1000") == []
    soon = pki.issue("viborg-soon", VENDOR_CVR, not_after=datetime.now(UTC) + timedelta(days=10))
    later = pki.issue("viborg-later", VENDOR_CVR)
    await town.do(town.vendor, "POST", f"/systems/{system}/certificates", {"pem": soon.certificate.read_text()})
    before = await town.do(town.vendor, "GET", f"/systems/{system}/certificates")
    first = max(before, key=lambda one: one["not_after"])
    await town.do(town.vendor, "DELETE", f"/systems/{system}/certificates/{first['thumbprint']}")
    (ending,) = await town.do(town.viborg, "GET", "/certificates/ending")
    assert (ending["renewed"], ending["agreements"], ending["routes"]) == (False, [agreement[-36:]], [route])
    assert (ending["open_obligations"], ending["obligations"]) == (0, [])
    await town.agree("ksd", Service.SYGEFRAVAER_JC)
    event = town.letter("SendHaendelseSygefravaerssag", "ksd")
    assert (await town.corridor.send("SendHaendelseSygefravaerssag", event)).kode == "OK"
    (ending,) = await town.do(town.viborg, "GET", "/certificates/ending")
    assert ending["open_obligations"] == 1
    assert [one["kind"] for one in ending["obligations"]] == ["unanswered_sf2090"]
    await town.do(town.vendor, "POST", f"/systems/{system}/certificates", {"pem": later.certificate.read_text()})
    (ending,) = await town.do(town.vendor, "GET", "/certificates/ending")
    assert (ending["renewed"], ending["agreements"]) == (True, [])


async def test_four_eyes_are_two_persons(settled):
    """Not the proposer, not another account of his, and nobody on what was changed since; alone only by its own name."""
    town, desk = settled, settled.desk
    agreement = await town.agree("viborg", Service.SYGEFRAVAER)
    double = await desk.person("otto-too", Role.OPERATOR, cvr=OPERATOR_CVR, person=str(town.one.account))
    version = (await town.do(town.one, "GET", agreement))["version"]
    step = {"agreement": agreement[-36:], "step": "suspend", "version": version}
    made = await town.one("POST", "/proposals", {"agreement": step, "reason": "suspicion"})
    path, first = f"/proposals/{made.body['proposal_id']}", made.etag

    for same in (town.one, double):
        assert (await same("POST", path + "/confirm", If_Match=first)).body["code"] == "SamePerson"
    changed = await town.two("PUT", path, {"agreement": step, "reason": "evidence"}, If_Match=first)
    assert changed.body["proposed_by"] == str(town.two.account)
    assert (await town.one("POST", path + "/confirm", If_Match=first)).body["code"] == "VersionChanged"
    assert (await town.two("POST", path + "/confirm", If_Match=changed.etag)).body["code"] == "SamePerson"
    assert (await town.do(town.vendor, "GET", agreement))["status"] == "approved"
    assert (await town.one("POST", path + "/confirm", If_Match=changed.etag)).status == 200
    assert (await town.do(town.vendor, "GET", agreement))["status"] == "suspended"
    assert (await town.one("POST", path + "/confirm", If_Match=changed.etag)).body["code"] == "ProposalClosed"
    asking = town.letter("HentSag", "viborg")
    assert (await town.corridor.send("HentSag", asking)).code == "ServiceAgreementSuspended"

    resume = {"agreement": step | {"step": "resume", "version": version + 1}, "reason": "cleared"}
    again = await town.do(town.one, "POST", "/proposals", resume)
    alone = await town.do(
        town.one, "POST", f"/proposals/{again['proposal_id']}/break-glass", {"reason": "nobody else on duty"}
    )
    assert (alone["status"], alone["glass"]) == ("done", "nobody else on duty")
    listed = await town.do(town.auditor, "GET", "/proposals?glass=true")
    assert [one["proposal_id"] for one in listed["items"]] == [again["proposal_id"]]
    (row,) = await desk.record("event = 'glass.broken'")
    assert (row["reason"], row["detail"]["by"]) == ("nobody else on duty", str(town.one.account))


async def test_a_bulk_replay_takes_two_persons(settled):
    """Proposed with its plan; confirmed by another, the parked message goes again."""
    town, corridor = settled, settled.corridor
    await town.agree("viborg", Service.SYGEFRAVAER)

    async def unreadable(scope, receive, send) -> None:
        await receive()
        body = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client'
        body += b"</faultcode><faultstring>no</faultstring></s:Fault></s:Body></s:Envelope>"
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/xml")]})
        await send({"type": "http.response.body", "body": body})

    corridor.receivers["ksd"].raw = unreadable
    sent = town.letter("SendOpdateringFravaer", "viborg")
    await corridor.send("SendOpdateringFravaer", sent)
    row = await corridor.until(sent, "parked")
    corridor.receivers["ksd"].raw = None
    wish = {"replay": {"ids": [row["message_id"]]}, "reason": "the receiver is mended"}
    made = await town.do(town.one, "POST", "/proposals", wish)
    done = await town.do(town.two, "POST", f"/proposals/{made['proposal_id']}/confirm")
    assert (done["status"], done["outcome"]["replayed"]) == ("done", [row["message_id"]])
    corridor.work()
    await corridor.until(sent, "delivered")

    stale = await town.do(town.one, "POST", "/proposals", {"replay": {"cause": "none such"}, "reason": "again"})
    assert stale["plan"]
    assert UUID(stale["proposal_id"])


async def test_word_goes_to_whoever_must_act(settled):
    """A request to the municipality's mailbox, its decisions to the vendor's; who has no mailbox gets none."""
    town = settled
    mine = await town.viborg("GET", f"/organisations/{VIBORG}")
    box = {"mailbox": "aftaler@viborg.example"}
    await town.do(town.viborg, "PATCH", f"/organisations/{VIBORG}", box, If_Match=mine.etag)

    await town.agree("viborg", Service.SYGEFRAVAER)
    await town.agree("viborg", Service.SYGEFRAVAER, AARHUS)
    refused = f"/agreements/{await town.draft('viborg', Service.SYGEFRAVAER)}"
    await town.do(town.vendor, "POST", refused + "/request")
    await town.do(town.viborg, "POST", refused + "/reject", {"reason": "Der er en aftale."})
    async with town.desk.office.store.read() as tx:
        mails = [(one.kind, one.address, one.subject) for one in reversed(await letters(tx))]
        bodies = [one.body for one in await letters(tx)]

    vendor, viborg = "drift@leverandoer.example", "aftaler@viborg.example"
    assert mails == [
        ("agreement_requested", viborg, "Serviceaftale venter på godkendelse: viborg"),
        ("agreement_approved", vendor, "Serviceaftale godkendt: viborg og Viborg"),
        ("agreement_approved", vendor, "Serviceaftale godkendt: viborg og Aarhus"),
        ("agreement_requested", viborg, "Serviceaftale venter på godkendelse: viborg"),
        ("agreement_rejected", vendor, "Serviceaftale afvist: viborg og Viborg"),
    ]
    assert "Begrundelse: Der er en aftale." in bodies[0]
    assert "Leverandør A/S anmoder" in bodies[1]


async def test_a_trial_needs_no_municipality_and_only_in_test(settled):
    """A vendor's own draft passes the checks and begins; in production the same step is refused."""
    town = settled
    path = f"/agreements/{await town.draft('viborg', Service.SYGEFRAVAER)}"
    begun = await town.do(town.vendor, "POST", path + "/try", If_Match=(await town.vendor("GET", path)).etag)
    assert (begun["status"], begun["phase"]) == ("approved", "approved")
    told = await town.corridor.send("HentSag", town.letter("HentSag", "viborg"))
    assert told.code != "ServiceAgreementNotFound"
    assert [row["event"] for row in await town.desk.record("event LIKE 'agreement.%%'")] == [
        "agreement.drafted",
        "agreement.tried",
    ]

    actor = Actor(user="x", organisation=VENDOR_CVR)
    async with town.desk.office.store.tx() as tx:
        made = await organisations.add_system(
            tx,
            name="real",
            vendor_cvr=VENDOR_CVR,
            role=agreements.Role.JOBCENTER,
            contact=None,
            environment=Environment.PRODUCTION,
            by=actor,
            now=town.corridor.clock.now(),
        )
        await organisations.join_group(tx, made.system_id, "MONOPOLBRUD", by=actor, now=town.corridor.clock.now())
        real = await organisations.system(tx, made.system_id, environment=Environment.PRODUCTION)
        asked = {"service": Service.SYGEFRAVAER, "municipality_cvr": VIBORG, "valid_from": date(2026, 3, 2)}
        drafted = await workflow.draft(tx, of=real, **asked, by=actor, now=town.corridor.clock.now())
    with pytest.raises(MoveRefused, match="municipality's to approve"):
        async with town.desk.office.store.tx() as tx:
            await workflow.move(
                tx,
                drafted.agreement_id,
                Move.TRY,
                version=1,
                environment=Environment.PRODUCTION,
                by=actor,
                now=town.corridor.clock.now(),
                machine=datetime.now(UTC),
            )


async def test_a_request_is_reminded_of_once_a_day(settled):
    """The vendor lets the municipality be told again; what is decided is not reminded of."""
    town = settled
    mine = await town.viborg("GET", f"/organisations/{VIBORG}")
    box = {"mailbox": "aftaler@viborg.example"}
    await town.do(town.viborg, "PATCH", f"/organisations/{VIBORG}", box, If_Match=mine.etag)
    path = f"/agreements/{await town.draft('viborg', Service.SYGEFRAVAER)}"
    early = await town.vendor("POST", path + "/remind")
    await town.do(town.vendor, "POST", path + "/request")
    for _ in range(2):
        await town.do(town.vendor, "POST", path + "/remind")
    town.corridor.clock.set(town.corridor.clock.now() + timedelta(days=1))
    await town.do(town.vendor, "POST", path + "/remind")
    async with town.desk.office.store.read() as tx:
        mails = [(one.kind, one.address) for one in await letters(tx)]

    assert (early.status, early.body["code"]) == (409, "MoveRefused")
    assert mails == [("agreement_requested", "aftaler@viborg.example")] * 3
    assert len(await town.desk.record("event = 'agreement.reminded'")) == 3

# SPDX-License-Identifier: MPL-2.0
"""Mails: written with what they tell of, sent through a real mail server over TLS, told once, sent again when asked."""

from __future__ import annotations

import contextlib
import email.policy
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from corridor import Corridor, message
from switching import refuse
from sygefravaer import agreements
from sygefravaer.advice import Lookout
from sygefravaer.agreements import Actor, Role
from sygefravaer.agreements.organisations import add_organisation, change_organisation, ensure_municipalities
from sygefravaer.config import Mailing, MailTls, load
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.delivery import Parked
from sygefravaer.errors import NoSuchMail, UsageError
from sygefravaer.identity import from_der
from sygefravaer.lanes import Lanes
from sygefravaer.mail import FACTS, Kind, Postman, Server, Status, advise, check_address, letters, outbox, resend

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROOMS = ("agreements", "audit", "lanes", "delivery", "mail")
VIBORG, VENDOR = "29189846", "12345674"
BY = Actor(user="test", organisation=VENDOR)
LIMIT = {
    "system": "Fag Ærø",
    "service": "Sygefravaer",
    "municipality": "Viborg",
    "calls": 100,
    "limit": 100,
    "period": date(2026, 3, 1),
    "agreement": uuid4(),
}


@dataclass
class Box:
    port: int
    directory: Path
    ca: Path
    password: Path
    mode: str

    def came(self):
        return [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(self.directory.glob("*.eml"))
        ]

    def server(self, **changes):
        settings = {
            "host": "localhost",
            "port": self.port,
            "sender": "advis@platform.example",
            "tls": MailTls(self.mode),
            "ca": self.ca,
            "user": "advis",
            "password": self.password,
            "timeout": 10.0,
        }
        return Server.of(Mailing(**settings | changes))


class Post:
    """Mail servers, each a process that is started when it is first asked for, and ended with the module."""

    def __init__(self, pki, directory):
        self.pki, self.directory = pki, directory
        self.password = directory / "password"
        self.password.write_text("hemmelig\n")
        self.password.chmod(0o600)
        self.running = {}
        self.processes = []

    def box(self, mode="starttls", name="localhost"):
        """Give the server of this mode, with an empty box."""
        if (mode, name) not in self.running:
            own = self.pki.issue(f"post {name}", VENDOR, san=(name,))
            directory = self.directory / f"{mode}-{name}"
            directory.mkdir()
            line = [sys.executable, "-m", "smtp_process", str(directory), mode, str(own.certificate), str(own.key)]
            process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
            self.processes.append(process)
            port = int(process.stdout.readline())
            self.running[mode, name] = Box(
                port=port, directory=directory, ca=self.pki.ca, password=self.password, mode=mode
            )
        found = self.running[mode, name]
        for path in found.directory.glob("*.eml"):
            path.unlink()
        return found

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait(10)
            process.stdout.close()


@pytest.fixture(scope="module")
def post(pki, tmp_path_factory):
    made = Post(pki, tmp_path_factory.mktemp("post"))
    yield made
    made.close()


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


async def write(store, *to, kind=Kind.LIMIT_REACHED, facts=None, key=None):
    async with store.tx() as tx:
        return [await advise(tx, kind, one, facts or LIMIT, now=NOW, key=key) for one in to]


async def listed(store, **only):
    async with store.read() as tx:
        return await letters(tx, **only)


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_mail_goes_over_tls_with_authentication(make_store, post, mode):
    """Letters outside ASCII arrive whole; what was sent is not sent again."""
    store = await make_store(*ROOMS)
    await write(store, "kommune@viborg.example")
    box = post.box(mode)
    postman = Postman(store, box.server(), now=Clock())
    assert await postman.send() == 1
    assert await postman.send() == 0
    (message,) = box.came()
    assert (message["X-Tls"], message["X-To"]) == ("yes", "kommune@viborg.example")
    assert message["Subject"] == "Forbrugsloft nået: Fag Ærø og Viborg"
    assert "foretaget 100 kald" in message.get_content()
    assert message["Auto-Submitted"] == "auto-generated"
    (letter,) = await listed(store)
    assert (letter.status, letter.sent_at, letter.attempts) == (Status.SENT, NOW, 1)


async def test_what_a_server_refuses_for_good_fails_and_what_it_refuses_for_now_goes_again(make_store, post):
    """One mailbox that is gone holds up no other; a busy one is tried after 1, 5, 15, 60 minutes, then hourly: five days."""
    store = await make_store(*ROOMS)
    await write(store, "nobody@a.example", "later@a.example", "post@a.example")
    clock = Clock()
    box = post.box()
    postman = Postman(store, box.server(), now=clock)
    assert await postman.send() == 3
    post, later, nobody = await listed(store)
    assert (nobody.status, nobody.failure) == (Status.FAILED, "recipient 550")
    assert (later.status, later.failure, later.next_at) == (
        Status.QUEUED,
        "recipient 451",
        NOW + timedelta(minutes=1),
    )
    assert post.status is Status.SENT
    assert await postman.send() == 0
    waits = []
    while later.status is Status.QUEUED and len(waits) < 200:
        waits.append(later.next_at - clock.now)
        clock.now = later.next_at
        assert await postman.send() == 1
        _, later, _ = await listed(store)
    assert [wait / timedelta(minutes=1) for wait in waits[:6]] == [1, 5, 15, 60, 60, 60]
    assert (later.status, timedelta(days=4, hours=22) < clock.now - NOW <= timedelta(days=5)) == (
        Status.FAILED,
        True,
    )
    assert len(box.came()) == 1


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"tls": MailTls.STARTTLS}, "SMTPNotSupportedError"),  # the server offers none: nothing is said in clear
        ({"ca": None}, "SSLCertVerificationError"),
        ({"name": "post.example"}, "SSLCertVerificationError"),
        ({"password": "wrong"}, "authentication 535"),
        ({"port": 1}, "ConnectionRefusedError"),
    ],
)
async def test_server_that_is_not_the_one_that_is_meant_gets_nothing(make_store, post, tmp_path, changes, failure):
    store = await make_store(*ROOMS)
    await write(store, "post@a.example")
    if changes.get("password"):
        wrong = tmp_path / "wrong"
        wrong.write_text("forkert")
        wrong.chmod(0o600)
        changes = {"password": wrong}
    changes = dict(changes)
    mode = "none" if "tls" in changes else "implicit"
    name = changes.pop("name", "localhost")
    box = post.box(mode, name)
    await Postman(store, box.server(**changes), now=Clock()).send()
    assert box.came() == []
    (letter,) = await listed(store)
    assert (letter.status, letter.failure) == (Status.QUEUED, failure)


async def test_mail_is_written_only_with_what_it_tells_of_and_once_by_its_key(make_store):
    store = await make_store(*ROOMS)

    async def undone():
        async with store.tx() as tx:
            await advise(tx, Kind.LIMIT_REACHED, "a@b.example", LIMIT, now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await undone()
    assert await listed(store) == []
    assert await write(store, None) == [None]
    first, second = await write(store, "a@b.example", "a@b.example", key="k")
    assert (first is not None, second) == (True, None)


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example\r\nBcc: c@d.example",
        "a@b.example, c@d.example",
        "Navn <a@b.example>",
        "a@b",
        "a b@c.example",
        "ærø@b.example",
        "a@b.example\n",
        "@b.example",
        "a" * 65 + "@b.example",
        "",
    ],
)
async def test_address_that_is_more_or_less_than_one_is_refused(make_store, post, address):
    """Where it is given, and where it stands already: nothing goes there, whoever asks for it again."""
    with pytest.raises(UsageError) as refused:
        check_address(address)
    assert refused.value.code == "MailboxMalformed"
    assert address == "" or address not in refused.value.text
    store = await make_store(*ROOMS)
    (number,) = await write(store, address)
    (letter,) = await listed(store)
    assert (letter.status, letter.failure) == (Status.FAILED, "address")
    async with store.tx() as tx:
        await resend(tx, number, by="drift", now=NOW)
    box = post.box()
    await Postman(store, box.server(), now=Clock()).send()
    (letter,) = await listed(store)
    assert (letter.status, letter.failure, box.came()) == (Status.FAILED, "address", [])


async def test_facts_inject_no_header_and_hold_no_number(make_store, post):
    """A line break in a name is a space; what looks like a personal number is left out; ids are no numbers."""
    store = await make_store(*ROOMS)
    await write(store, "a@b.example", facts=LIMIT | {"system": "Fag\r\nBcc: c@d.example\x00\u2028x"})
    for number in ("010150-1234", "0101501234", "om 010150 1234 igen"):
        await write(store, "a@b.example", facts=LIMIT | {"system": number})
    assert all("1234" not in one.body + one.subject for one in await listed(store))
    assert sum("(nummer udeladt)" in one.subject for one in await listed(store)) == 3
    await write(store, "a@b.example", facts=LIMIT | {"agreement": "6d3c6b0e-6a3e-5b8e-9a59-012345678901"})
    assert "9a59-012345678901" in (await listed(store))[0].body
    with pytest.raises(ValueError, match="wants"):
        await write(store, "a@b.example", facts={"system": "Fag"})
    box = post.box()
    await Postman(store, box.server(), now=Clock()).send()
    message = box.came()[0]
    assert message["Subject"] == "Forbrugsloft nået: Fag Bcc: c@d.example x og Viborg"
    assert (message["Bcc"], message["X-To"]) == (None, "a@b.example")


def test_every_kind_can_be_written():
    from sygefravaer.mail.texts import written

    for kind in Kind:
        subject, text = written(kind, dict.fromkeys(FACTS[kind], "æble"))
        assert "{" not in subject + text
        assert "\n" not in subject


async def test_mail_is_sent_again_when_a_person_asks_and_that_is_on_record(make_store, post):
    """Another Message-ID, or a mailbox would take it for the same; who asked stands in the record."""
    store = await make_store(*ROOMS)
    (number,) = await write(store, "post@a.example")
    box = post.box()
    postman = Postman(store, box.server(), now=Clock())
    await postman.send()
    async with store.tx() as tx:
        await resend(tx, number, by="drift", now=NOW)
    assert await postman.send() == 1
    first, second = box.came()
    assert first["Message-ID"] != second["Message-ID"]
    async with store.read() as tx:
        row = await tx.one("SELECT detail FROM audit WHERE event = 'mail.resent'")
    assert row["detail"] == {"by": "drift", "mail": number, "kind": "limit_reached"}
    with pytest.raises(NoSuchMail):
        async with store.tx() as tx:
            await resend(tx, 4711, by="drift", now=NOW)


async def test_mail_whose_postman_died_goes_again_with_the_same_id(make_store, post):
    """Handed over and not settled: after the lease another postman sends it, and a mailbox knows it by its id."""
    store = await make_store(*ROOMS)
    await write(store, "post@a.example")
    clock = Clock()
    box = post.box()
    dying = Postman(store, box.server(), now=clock)

    async def died(*_, **__):
        raise KeyboardInterrupt

    dying._settle = died
    with contextlib.suppress(KeyboardInterrupt):
        await dying.send()
    assert await Postman(store, box.server(), now=clock).send() == 0
    clock.now += timedelta(minutes=6)
    assert await Postman(store, box.server(), now=clock).send() == 1
    first, second = box.came()
    assert first["Message-ID"] == second["Message-ID"]


async def test_what_a_postman_finds_does_not_undo_what_a_person_asked_meanwhile(make_store):
    """A mail that is let go again while it is under way goes again, whatever became of the first."""
    store = await make_store(*ROOMS)
    (number,) = await write(store, "post@a.example")
    (claimed,) = await outbox.claim(store, now=NOW, limit=1)
    async with store.tx() as tx:
        await resend(tx, number, by="drift", now=NOW)
    await outbox.settle(store, claimed, None, final=False, now=NOW)
    (letter,) = await listed(store)
    assert (letter.status, letter.resent) == (Status.QUEUED, 1)


# --- what comes by itself ---


async def test_parked_messages_are_told_to_the_operator_once_a_day_and_group(make_store, vault, clock, pki):
    """Another group at once; the same again the next day while it is there."""
    store = await make_store(*ROOMS, size=8)
    async with Corridor(store, vault, clock, pki, budget=10, lanes=Lanes(jitter=lambda: 1.0)) as corridor:
        lookout = Lookout(
            store, corridor.parked, environment=Environment.TEST, clock=clock, operator="drift@platform.example"
        )
        assert await lookout.look() == 0
        corridor.receivers["viborg"].raw = refuse
        envelopes = [message("SendHaendelseSygefravaerssag", NemrefusionsID=uuid4()) for _ in range(2)]
        for envelope in envelopes:
            await corridor.send("SendHaendelseSygefravaerssag", envelope)
        assert [await lookout.look(), await lookout.look()] == [1, 0]
        clock.set(clock.now() + timedelta(days=1))
        assert await lookout.look() == 1
    told = await listed(store)
    assert told[0].subject == "Parkerede beskeder: 2 til viborg"
    cpr = next(envelopes[0].iter("{*}CprNummer")).text
    assert not any(cpr in one.body for one in told)


async def test_ends_that_come_are_told_once_each_time(make_store, vault, clock, pki):
    """A certificate at 60, 30 and 7 days, to the vendor; an agreement at 30, to both; not what has a successor."""
    store = await make_store(*ROOMS)
    now, machine = clock.now(), Clock()
    issued = pki.issue("snart", VENDOR, not_after=NOW + timedelta(days=61))
    system = uuid4()
    async with store.tx() as tx:
        await ensure_municipalities(tx, by=BY, now=now)
        await add_organisation(tx, cvr=VENDOR, name="Leverandør", mailbox="post@vendor.example", by=BY, now=now)
        await change_organisation(tx, VIBORG, version=1, name=None, mailbox="jobcenter@viborg.example", by=BY, now=now)
        await agreements.register_system(
            tx,
            system_id=system,
            name="Fag",
            vendor_cvr=VENDOR,
            role=Role.JOBCENTER,
            environment=Environment.TEST,
            now=now,
        )
        await agreements.register_certificate(
            tx,
            from_der(issued.der),
            system_id=system,
            environment=Environment.TEST,
            valid_from=date(2014, 1, 1),
            now=now,
        )
        for first, last, service in (
            (date(2014, 1, 1), date(2026, 4, 10), Service.SYGEFRAVAER),
            (date(2014, 1, 1), date(2026, 4, 1), Service.SYGEFRAVAER_JC),
            (date(2026, 4, 2), None, Service.SYGEFRAVAER_JC),  # goes on from the one before
        ):
            await agreements.grant_agreement(
                tx,
                agreement_id=uuid4(),
                system_id=system,
                service=service,
                municipality_cvr=VIBORG,
                valid_from=first,
                valid_to=last,
                now=now,
            )
    lookout = Lookout(
        store,
        Parked(store=store, vault=vault, environment=Environment.TEST),
        environment=Environment.TEST,
        clock=clock,
        operator="drift@platform.example",
        machine=machine,
    )
    told = []
    for days in (0, 2, 2, 20, 29, 32, 32, 54, 55, 70):
        clock.set(max(clock.now(), NOW + timedelta(days=days)))
        machine.now = NOW + timedelta(days=days)
        told.append(await lookout.look())
    assert told == [0, 1, 0, 2, 0, 1, 0, 1, 0, 0]
    mails = await listed(store)
    assert [one.address for one in mails if one.kind == "certificate_expires"] == ["post@vendor.example"] * 3
    named = next(one.body for one in mails if one.kind == "certificate_expires")
    assert "serviceaftale" in named
    assert "SygefravaerJC, Viborg" in named
    assert {one.address for one in mails if one.kind == "agreement_expires"} == {
        "post@vendor.example",
        "jobcenter@viborg.example",
    }
    assert all("2026-04-10" in one.body for one in mails if one.kind == "agreement_expires")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('host = "h"\nsender = "a@b.example"\ntls = "ssl"', "SettingWrong"),
        ('host = "h"', "SettingMissing"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, text, code):
    path = tmp_path / "gateway.toml"
    path.write_text(f'part = "admin"\n[mail]\n{text}\n')
    with pytest.raises(UsageError) as refused:
        load(path)
    assert refused.value.code == code


def test_password_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "password"
    path.write_text("hemmelig")
    path.chmod(0o644)
    for place in (path, tmp_path / "none"):
        with pytest.raises(UsageError) as refused:
            Server.of(Mailing(host="h", sender="a@b.example", user="u", password=place))
        assert refused.value.code == "MailPasswordUnreadable"
    assert json.dumps("hemmelig") not in repr(Server.of(Mailing(host="h", sender="a@b.example")))

# SPDX-License-Identifier: MPL-2.0
"""Deliveries and routes on the command line: beside a gateway that works, on its own database, by its own settings."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from conversing import ANSWER, EVENT, answer, event, say
from corridor import SYSTEMS, VIBORG, Corridor, besked_id, message
from switching import NEW, OLD, change, down, later, refuse, rest, silent
from sygefravaer.app import PLATFORM
from sygefravaer.cli import cli
from sygefravaer.control import Door
from sygefravaer.errors import Refused
from sygefravaer.lanes import Lanes
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault


class Desk:
    """A corridor, and an operator's settings for it."""

    def __init__(self, corridor: Corridor, config: Path) -> None:
        self.corridor = corridor
        self.config = config

    async def run(self, *arguments: object, config: Path | None = None):
        """Run a command in a thread, beside the gateway that works in this one."""
        line = [*map(str, arguments), "--config", str(config or self.config)]
        return await asyncio.to_thread(CliRunner().invoke, cli, line)

    async def told(self, *arguments: object):
        """Run a command with --json that must succeed."""
        result = await self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    async def error(self, *arguments: object, code: int = 2, config: Path | None = None):
        """Run a command that must fail like this, and give the error's code."""
        result = await self.run(*arguments, "--json", config=config)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)["error"]["code"]


@pytest.fixture
async def desk(embedded, clock, pki, tmp_path):
    """A gateway whose clock stands in another month than the machine's, and its settings as a file."""
    role, password = f"cli_{secrets.token_hex(4)}", secrets.token_hex(8)
    dsn = await embedded.create_part(role, password)
    store = Store(dsn, schema=role, size=8)
    await store.open()
    await migrate(store, PLATFORM, now=clock.now())
    vault = Vault.create_file(tmp_path / "keys.json")
    control = tmp_path / "door"
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'part = "gateway"\nvault = "keys.json"\ncontrol = "{control}"\n'
        f'[database]\ndsn = "{dsn}"\nschema = "{role}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )

    async def health(_):
        return {"now": clock.now().isoformat()}

    door = Door({"health": health}, control)
    await door.start()
    async with Corridor(store, vault, clock, pki, budget=3, timeout=0.5, lanes=Lanes(jitter=lambda: 1.0)) as made:
        made.work()
        yield Desk(made, config)
    await door.stop()
    await store.close()


async def parked(corridor, *envelopes):
    corridor.receivers[OLD].raw = refuse
    for envelope in envelopes:
        await corridor.send(EVENT, envelope)
    corridor.receivers[OLD].raw = None
    return [(await corridor.stored(envelope))["message_id"] for envelope in envelopes]


async def test_what_is_parked_is_seen_planned_and_let_go(desk):
    """From the first look to the end: causes, one message, the plan, the run; what was shown is what is done."""
    corridor, case = desk.corridor, uuid4()
    sent = [message(EVENT, NemrefusionsID=case) for _ in range(2)]
    first, second = await parked(corridor, *sent)

    (group,) = (await desk.told("deliveries", "list", "--by-cause"))["groups"]
    listed = (await desk.told("deliveries", "list"))["messages"]
    only = (await desk.told("deliveries", "list", "--parked", "--recipient", OLD, "--municipality", VIBORG))["messages"]
    (before,) = (await desk.told("deliveries", "show", first))["messages"]
    text = await desk.run("deliveries", "replay", "--plan", "--cause", "Client")
    plan = await desk.told("deliveries", "replay", "--plan", "--cause", "Client")
    done = await desk.told("deliveries", "replay", "--run", plan["plan"][:12], "--who", "drift")
    corridor.delivery.wake()
    await rest(corridor)
    (after,) = (await desk.told("deliveries", "show", besked_id(sent[0])))["messages"]
    shown = await desk.run("deliveries", "show", besked_id(sent[0]))

    assert (group["cause"], group["messages"], group["behind"], group["name"]) == ("Client", 1, 1, OLD)
    assert [(one["message_id"], one["status"]) for one in listed] == [(first, "parked"), (second, "queued")]
    assert [one["message_id"] for one in only] == [first]
    assert [one["outcome"] for one in before["attempts"]] == ["parked"]
    assert f"then {second}" in text.output
    assert f"--run {plan['plan']}" in text.output
    assert (done["replayed"], done["moved"], done["left"]) == ([first], [], [])
    assert corridor.receivers[OLD].came == [besked_id(each) for each in sent]
    assert (after["status"], [one["who"] for one in after["replays"]]) == ("delivered", ["drift"])
    assert f"who drift, plan {plan['plan']}" in shown.output
    assert await desk.error("deliveries", "replay", "--run", plan["plan"], "--who", "drift", code=1) == "PlanChanged"
    assert (await desk.run("deliveries", "list")).output == "None.\n"
    for result in (text.output, shown.output, json.dumps(after)):
        assert next(sent[0].iter("{*}CprNummer")).text not in result


async def test_plan_is_a_file_too_and_says_what_stays(desk, tmp_path):
    """A plan that holds something back ends with exit code 1; its file is as good as its digest."""
    corridor = desk.corridor
    corridor.receivers[OLD].raw = silent
    sent = message(EVENT)
    await corridor.send(EVENT, sent)
    await change(corridor, NEW, finish_days=0)
    await later(corridor)
    number = (await corridor.stored(sent))["message_id"]
    file = tmp_path / "plan.json"
    file.write_text((await desk.run("deliveries", "replay", "--plan", "--id", number, "--json")).stdout)
    forced = await desk.told("deliveries", "replay", "--plan", "--id", number, "--duplicates")

    held = await desk.run("deliveries", "replay", "--run", file, "--who", "drift")
    done = await desk.told("deliveries", "replay", "--run", forced["plan"], "--who", "drift")
    corridor.delivery.wake()
    await rest(corridor)

    assert held.exit_code == 1
    assert f"{number} stays parked: another system may have it already." in held.output
    assert (forced["counts"], done["moved"]) == ({"replay": 0, "move": 1, "hold": 0}, [number])
    assert corridor.receivers[NEW].came == [besked_id(sent)]


async def test_discard_ends_a_message_and_its_sender_hears(desk):
    """By number or BeskedID, with a reason and a name; once."""
    corridor = desk.corridor
    one, other = message(EVENT, NemrefusionsID=uuid4()), message(EVENT, NemrefusionsID=uuid4())
    first, second = await parked(corridor, one, other)
    say = ("--reason", "sendt igen", "--who", "drift")

    assert await desk.told("deliveries", "discard", first, *say) == {"discarded": first}
    assert await desk.told("deliveries", "discard", besked_id(other), *say) == {"discarded": second}
    told = await corridor.send(EVENT, one)

    assert (told.kode, told.code) == ("FEJL", "G009")
    assert (await corridor.stored(one))["detail"] == "sendt igen"
    assert await desk.error("deliveries", "discard", first, *say, code=1) == "NotParked"
    assert await desk.error("deliveries", "discard", 999, *say, code=1) == "NoSuchMessage"
    assert await desk.error("deliveries", "discard", besked_id(other), *say) == "MessageAmbiguous"


async def test_route_is_planned_and_set(desk):
    """The plan shows what moves, what stays, what is parked and what is talked about; the change does what it showed."""
    corridor = desk.corridor
    heard, lane = message(EVENT, NemrefusionsID=uuid4()), uuid4()
    answered, assessed = event(uuid4()), event(uuid4())
    for each in (heard, answered, assessed):
        await corridor.send(EVENT, each)
    await corridor.send(ANSWER, answer(answered))
    await corridor.send(ANSWER, say(answer(assessed), ForretningsValideringsKode="MODTAGET"))  # no end
    (stuck,) = await parked(corridor, message(EVENT, NemrefusionsID=uuid4()))
    corridor.receivers[OLD].raw = silent
    stays = [message(EVENT, NemrefusionsID=lane) for _ in range(2)]
    for each in stays:
        await corridor.send(EVENT, each)
    await down(corridor, OLD)
    moves = message(EVENT, NemrefusionsID=uuid4())
    await corridor.send(EVENT, moves)
    asked = ("routes", "plan", "--municipality", VIBORG, "--to", NEW, "--from", "2026-03-02")
    plan = await desk.told(*asked, "--finish-days", 3)
    text = await desk.run(*asked, "--finish-days", 3)
    number = {
        name: (await corridor.stored(each))["message_id"]
        for name, each in (("moves", moves), ("heard", heard), ("assessed", assessed))
    }

    done = await desk.told("routes", "set", "--run", plan["plan"], "--who", "drift")
    await later(corridor)
    routes = (await desk.told("routes", "list", "--municipality", VIBORG, "--on", "2026-03-02"))["routes"]

    assert [one["message_id"] for one in plan["moves"]["first"]] == [number["moves"]]
    assert [one["besked_id"] for one in plan["stays"]["first"]] == [str(besked_id(each)) for each in stays]
    assert [(one["message_id"], one["why"]) for one in plan["parked"]["first"]] == [(stuck, "Client")]
    assert [one["message_id"] for one in plan["conversations"]["first"]] == [number["heard"], number["assessed"]]
    assert plan["warnings"] == ["The new system has no agreement with the municipality on that day: it cannot answer."]
    assert "2 open conversations, which stay with the old system" in text.output
    assert corridor.receivers[NEW].came == [besked_id(moves)]
    (route,) = [one for one in routes if one["service"] == "SygefravaerJC" and one["route"] == done["route"]]
    assert (route["system"], route["finish_days"], route["valid_to"]) == (str(SYSTEMS[NEW]), 3, None)
    (record,) = await corridor.rows("audit", "event = 'route.changed'")
    assert (record["detail"]["by"], record["detail"]["plan"]) == ("drift", plan["plan"])
    assert await desk.error("routes", "set", "--run", plan["plan"], "--who", "drift", code=1) == "PlanChanged"
    assert await desk.error(*asked, code=1) == "RouteStands"


async def test_route_that_cannot_be_is_refused(desk):
    """A system nobody knows, a past day, no municipality, no address."""

    async def code(municipality=VIBORG, to=NEW, day="2026-03-02", service="SygefravaerJC"):
        line = ("--municipality", municipality, "--to", to, "--from", day, "--service", service)
        return await desk.error("routes", "plan", *line)

    assert await code(to="nobody") == "SystemNotRegistered"
    assert await code(day="2026-03-01") == "RouteBackdated"
    assert await code(municipality="12345678") == "NotAMunicipality"
    assert await code(service="Sygefravaer") == "UrlMissing"


async def test_later_change_is_told_of(desk):
    """A change that was planned for a later day does not vanish unseen."""
    await change(desk.corridor, NEW, valid_from=desk.corridor.clock.now().date().replace(month=6))
    line = ("--municipality", VIBORG, "--to", "ksd", "--from", "2026-05-01", "--url", "https://localhost:1/x")

    plan = await desk.told("routes", "plan", *line)

    assert "A later change to aarhus on 2026-06-02 is cancelled by this one." in plan["warnings"]


async def test_what_is_given_wrongly_is_told(desk, tmp_path):
    """Settings, ids and plans that cannot be used: a code, and nothing done."""
    other, broken, strange = tmp_path / "admin.toml", tmp_path / "broken.json", tmp_path / "strange.json"
    other.write_text('part = "admin"\n[listen]\n')
    broken.write_text("{")
    strange.write_text('{"plan": "x", "kind": "replay", "selection": {"ids": []}}')
    empty = tmp_path / "empty.toml"
    empty.write_text(desk.config.read_text().replace('schema = "', 'schema = "no_'))
    away = tmp_path / "away.toml"
    away.write_text(desk.config.read_text().replace("host=", "host=/nowhere"))
    run = ("deliveries", "replay", "--run")

    assert await desk.error("deliveries", "list", config=tmp_path / "none.toml") == "ConfigUnreadable"
    assert await desk.error("deliveries", "list", config=other) == "SettingWrong"
    assert await desk.error("deliveries", "list", config=empty, code=4) == "MigrationError"
    assert await desk.error("deliveries", "list", config=away, code=4) == "StoreUnavailable"
    assert await desk.error("deliveries", "show", "0101505001x") == "MessageMalformed"
    assert await desk.error("deliveries", "show", 999, code=1) == "NoSuchMessage"
    assert await desk.error("deliveries", "replay") == "OptionMissing"
    assert await desk.error("deliveries", "replay", "--plan") == "OptionMissing"
    assert await desk.error("deliveries", "replay", "--plan", "--id", 999, code=1) == "NotParked"
    assert await desk.error(*run, "abc") == "OptionMissing"
    assert await desk.error(*run, "abc", "--who", "drift") == "PlanUnknown"
    assert await desk.error(*run, broken, "--who", "drift") == "PlanUnreadable"
    assert await desk.error(*run, strange, "--who", "drift") == "PlanUnreadable"
    assert await desk.error("routes", "set", "--run", strange, "--who", "drift") == "PlanUnreadable"
    assert await desk.error("deliveries", "list", "--recipient", "nobody") == "SystemNotRegistered"


async def test_who_owes_what_is_listed_and_told(desk):
    """Answers that have not come, and a refusal until somebody says that its sender knows of it."""
    corridor = desk.corridor
    await corridor.send(EVENT, message(EVENT))

    async def no(_):
        raise Refused("G001", "Haendelsestype")

    corridor.receivers[OLD].answer = no
    refused = message(EVENT)
    await corridor.send(EVENT, refused)
    await corridor.heard()
    number = (await corridor.stored(refused))["message_id"]
    async with corridor.store.tx() as tx:  # as if the answer had not reached its sender
        await tx.run("UPDATE unheard SET told_at = NULL")
    every = (await desk.told("obligations", "list"))["obligations"]
    mine = (await desk.told("obligations", "list", "--owner", "ksd", "--municipality", VIBORG))["obligations"]
    shown = await desk.run("obligations", "list", "--kind", "unanswered_sf2090")

    assert [(one["kind"], one["name"], one["overdue"]) for one in every] == [
        ("unanswered_sf2090", OLD, False),
        ("unheard", "ksd", False),
    ]
    assert [one["message_id"] for one in mine] == [number]
    assert OLD in shown.stdout
    assert await desk.error("obligations", "tell", number, "--who", "0101010000") == "WordsHoldNumber"
    assert await desk.told("obligations", "tell", number, "--who", "drift") == {"told": number}
    assert await desk.error("obligations", "tell", number, "--who", "drift", code=1) == "NothingOwed"
    assert (await desk.run("obligations", "list", "--kind", "unheard")).stdout == "None.\n"

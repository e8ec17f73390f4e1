# SPDX-License-Identifier: MPL-2.0
"""The scenarios hold over real sockets, under every clock; their checks can fail; a broken file says where."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from importlib import resources

import pytest
import pytest_asyncio
from click.testing import CliRunner

import breadth
from sygefravaer.cli import cli
from sygefravaer.control import knock
from sygefravaer.errors import UsageError
from sygefravaer.law import DENMARK, danish_date
from sygefravaer.sandbox import scenarios
from sygefravaer.sandbox.parts import Layout
from sygefravaer.sandbox.scenarios import checking, days, reading
from sygefravaer.sandbox.scenarios.clocks import OVER, Clock

pytestmark = pytest.mark.long

THREE = (Clock.PLAIN, Clock.OCTOBER, Clock.LEAP)
DATA = resources.files("sygefravaer.sandbox.scenarios") / "data"
PINNED = [name for name in scenarios.known() if scenarios.load(name).start]
FREE = [name for name in scenarios.known() if name not in PINNED]
SHORT = [name for name in FREE if scenarios.start_of(scenarios.load(name), Clock.LEAP).year == OVER[Clock.LEAP].year]
"""What crosses no year end when it is laid over 29 February: one more clock for these."""
LONG = tuple(name for name in FREE if name[:2] in {"02", "07", "08", "10"})
"""What lives long enough for its calendar to matter."""
ELSEWHEN = [(name, clock) for name in LONG for clock in THREE if clock is not Clock.PLAIN]
DRAWN = 2
"""How many of them are played here, by lot; `make scenarios` plays everything under every clock."""
PLAYS = [
    *((name, Clock.PLAIN) for name in (*FREE, *PINNED)),
    *breadth.some(ELSEWHEN, DRAWN, of="scenarios under another clock"),
    *((name, Clock.NEW_YEAR) for name in SHORT[:1]),
]

MINIMAL = """
title = "En prøve"
story = "En sag."
turn = "T+33d"
[citizens]
anna = "any"
[[step]]
at = "T+33d 09:00"
who = "ksd"
act = "create_case"
with.cpr = "$anna"
with.FoersteFravaersdag = "$T"
name = "sag"
"""


def text_of(name):
    return (DATA / f"{name}.toml").read_text("utf-8")


@pytest.fixture
def play(embedded, pki):
    """Play a scenario on a stage of its own."""

    async def played(scenario, *, start=None, clock=Clock.PLAIN, **given):
        first = start or scenarios.start_of(scenario, clock)
        begin = scenarios.first_instant(first)
        async with scenarios.StageTheatre(begin, server=embedded, pki=pki, timeout=60) as theatre:
            return await scenarios.play(scenario, theatre, start=first, **given)

    return played


def failed(report):
    return [verdict.printed() for verdict in report.verdicts if not verdict.ok]


# --- the stories ---


def test_all_of_them_are_there():
    """Ten scenarios, the cheap cases beside them."""
    assert len([name for name in scenarios.known() if name < "11"]) == 10
    assert len(scenarios.known()) == 16


@pytest.mark.parametrize(("name", "clock"), PLAYS, ids=[f"{name}-{clock}" for name, clock in PLAYS])
async def test_scenario_holds(play, name, clock):
    """Every check holds, and what the clock has that is special lies within the play."""
    report = await play(scenarios.load(name), clock=clock)

    assert failed(report) == []
    assert len(report.verdicts) >= len([step for step in report.scenario.steps if step.must or step.receipt])
    over, end = OVER.get(clock), danish_date(report.lines[-1].at)
    assert over is None or name in PINNED or report.start <= over < end
    if clock is Clock.LEAP and name not in SHORT:
        assert report.start.year < end.year


async def test_clocks_show_both_schemes_that_can_follow(play):
    """Where extensions are used up, jobafklaring follows, and from 2027 the reduced rate."""
    told = scenarios.load("02")
    ends = {clock: scenarios.start_of(told, clock) + timedelta(weeks=161) for clock in THREE}

    assert ends[Clock.OCTOBER] < date(2027, 1, 1) < ends[Clock.PLAIN]


async def test_corrected_first_day_moves_the_review_to_another_month(play):
    """In the plain play of scenario 8 the recomputed day is another one."""
    report = await play(scenarios.load("08"))

    assert len({line.told["review"] for line in report.lines if line.told.get("name") == "M3"}) == 2


async def test_same_play_prints_the_same(play):
    """No id, no race and no clock of the machine shows in a timeline: two cases at the same instants, twice."""
    first, second = [await play(scenarios.load(name)) for name in ("09", "09")]

    assert [line.printed(None) for line in first.lines] == [line.printed(None) for line in second.lines]


async def test_retries_print_the_same(play):
    """Not even when the gateway is down and senders try again after a while that is spread."""
    first, second = [await play(scenarios.load(name)) for name in ("05", "05")]

    assert [line.printed(None) for line in first.lines] == [line.printed(None) for line in second.lines]


async def test_thousands_are_some_when_asked(play):
    """`count` says how many cases there are."""
    report = await play(scenarios.load("16"), count=3)

    assert failed(report) == []
    assert json.dumps(report.as_json()).count("FAILED") == 0


# --- checks can fail ---


async def test_planted_wrong_expectation_is_found(play):
    """A check that wants something else fails with what was wanted and found, and the play goes on."""
    text = text_of("15-lukket-fravaer").replace('each.event" = ["OPRETTET", "AFSLUTTET"]', 'each.event" = ["OPRETTET"]')
    report = await play(reading.read("planted", text))

    assert len(failed(report)) == 2
    assert failed(report)[1].endswith("wanted each.event [OPRETTET]; found [OPRETTET, AFSLUTTET]")
    assert len(report.verdicts) == 4


@pytest.mark.parametrize(
    ("part", "codes"),
    [("ksd", '["AENDRET", "AFSLUTTET"]'), ("viborg", '["VISITATION", "STANDBY"]'), ("ksd", '["G002", "O402"]')],
)
async def test_planted_swapped_code_is_found(play, part, codes):
    """Codes that a part has mixed up are seen by some check, unless the story never says them."""
    step = f'[[step]]\nat = "T+33d 08:00"\nwho = "{part}"\nact = "chaos"\nwith.swapped_code = {codes}\n\n[[step]]\n'
    report = await play(reading.read("planted", text_of("01-kort-sygdom").replace("[[step]]\n", step, 1)))

    assert (failed(report) == []) == ("G002" in codes)


async def test_no_check_shows_a_personal_number(play):
    """Where a number is compared, a failure shows none."""
    text = text_of("04-nyt-cpr-nummer").replace('"picture.CprNummer" = "$b"', '"picture.CprNummer" = "$en_anden"')
    text = text.replace("sagen har B som CprNummer og A som TidligereCprNummer", "begge numre")
    report = await play(reading.read("planted", text))
    shown = json.dumps(report.as_json()) + "".join(line.printed(None) for line in report.lines)

    assert failed(report) == ["FAILED  begge numre: wanted picture.CprNummer **********; found **********"]
    assert not any(number in shown for number in ("0101", "6101"))


async def test_refusal_that_nobody_expected_ends_the_play(play):
    """What a part refuses is a check that failed; what comes after would rest on it."""
    step = '[[step]]\nat = "T+34d"\nwho = "ksd"\nact = "reopen_case"\ncase = "sag"\n'
    more = '[[step.must]]\nthat = "aldrig"\nksd = { version = 9 }\n'
    report = await play(reading.read("refused", MINIMAL + step + more))

    assert len(failed(report)) == 1
    assert failed(report)[0].startswith("FAILED  ksd reopen_case: wanted done; found refused IllegalMove")


async def test_refusal_that_is_expected_holds(play):
    """And one that does not come is found."""
    step = '[[step]]\nat = "T+34d"\nwho = "ksd"\nact = "{}"\ncase = "sag"\nrefused = "IllegalMove"\n'
    report = await play(reading.read("refused", MINIMAL + step.format("reopen_case") + step.format("end_case")))

    assert failed(report) == ["FAILED  end_case is refused: wanted refused IllegalMove; found done"]


# --- what is wrong with a file ---


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (("who = ", "hwo = "), "prøve, step 1 (T+33d 09:00): `hwo` is not known here"),
        (('who = "ksd"\n', ""), "prøve, step 1 (T+33d 09:00): `who` is missing"),
        (('who = "ksd"', 'who = "kds"'), "prøve, step 1 (T+33d 09:00): `who` is wrong: one of gateway, ksd,"),
        (('at = "T+33d 09:00"\n', ""), "prøve, step 1: `at` is missing"),
        (('name = "sag"', 'send = "M1"'), "prøve, step 1 (T+33d 09:00): only one of act, send can be done"),
        (('act = "create_case"', 'send = "M1"'), "prøve, step 1 (T+33d 09:00): `send`: one of Send"),
        (('anna = "any"', 'anna = "0101505006"'), "prøve: citizen `anna`: one of any,"),
        (('turn = "T+33d"\n', ""), "prøve: `turn` is missing"),
        (('story = "En sag."', "story = 4"), "prøve: `story` is wrong: a text was wanted"),
        (('title = "En prøve"', "title = En prøve"), "prøve: "),
        (('name = "sag"', 'must = [{ that = "x" }]'), "prøve, step 1 (T+33d 09:00), `x`: one of ksd,"),
        (('name = "sag"', 'must = [{ that = "x", messages = {} }]'), "prøve, step 1 (T+33d 09:00), `x`: nothing is"),
        (('name = "sag"', 'must = [{ that = "x", look = "health", is = { a = 1 } }]'), "`who` is missing"),
        (
            ('name = "sag"', 'must = [{ that = "x", who = "viborg", pairs = [{ on = "T" }] }]'),
            "prøve, step 1 (T+33d 09:00), `x`: a pair has",
        ),
        (('name = "sag"', "must = [4]"), "prøve, step 1 (T+33d 09:00): `must` is wrong: a list of tables was wanted"),
    ],
)
def test_broken_file_is_named_with_its_step(change, place):
    """Reading says what is wrong and where, before anything is played."""
    with pytest.raises(UsageError) as error:
        reading.read("prøve", MINIMAL.replace(*change))

    assert error.value.code == "ScenarioMalformed"
    assert place in error.value.detail


def test_file_without_steps_is_no_scenario():
    """There is nothing to play."""
    with pytest.raises(UsageError, match="it has no step"):
        reading.read("prøve", MINIMAL[: MINIMAL.index("[[step]]")])


def test_turn_that_cannot_be_read_is_named():
    """It knows T alone."""
    told = reading.read("prøve", MINIMAL.replace('turn = "T+33d"', 'turn = "svarfrist"'))
    with pytest.raises(UsageError, match="prøve, turn: only T is known"):
        scenarios.start_of(told, Clock.LEAP)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ('act = "create_case"', 'act = "crate_case"'),
            "step 1 (T+33d 09:00): crate_case: It was not one of: acts, ask",
        ),
        (("with.Foerste", "with.Forste"), "step 1 (T+33d 09:00): create_case: `ForsteFravaersdag` is no field of"),
        (('"$anna"', '"$bo"'), "step 1 (T+33d 09:00): `bo` means nothing here"),
        (('at = "T+33d 09:00"', 'at = "efter jul"'), "step 1 (efter jul): `efter jul` means nothing here"),
        (('at = "T+33d 09:00"', 'at = "T-3d"'), "step 1 (T-3d): it lies before the step before it"),
        (('name = "sag"', 'case = "b"\nsend = 1'), None),
        (('act = "create_case"', 'again = "nul"'), "step 1 (T+33d 09:00): `nul` is no message that was sent"),
        (('act = "create_case"', 'act = "end_case"\ncase = "b"'), "step 1 (T+33d 09:00): `b` is no case"),
        (('act = "create_case"', 'send = "SendOpdateringFravaer"\nlike = "m"'), "`m` is none of the file's messages"),
        (('act = "create_case"', 'send = "SendOpdateringFravaer"'), "`case` or `head.CprNummer` is missing"),
        (
            ('act = "create_case"', 'ask = "HentSag"\nhead.CprNummer = "$anna"'),
            "step 1 (T+33d 09:00): `cpr` is no field of HentSagRequest",
        ),
        (('name = "sag"', 'name = "sag"\nmust = [{ that = "x", ksd = { "a..b" = 1 } }]'), "`a..b` is no path"),
        (
            ('name = "sag"', 'name = "sag"\nmust = [{ that = "x", ksd = { state = { mere = 1 } } }]'),
            "`mere` is no condition",
        ),
        (
            ('name = "sag"', 'name = "sag"\nmust = [{ that = "x", who = "ksd", look = "cased", is = { a = 1 } }]'),
            "cased: It was not one of",
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_broken_step_is_named_when_it_is_played(theatre, change, said):
    """What only a door, or the story so far, can judge is named with file and step as well."""
    if said is None:
        with pytest.raises(UsageError, match="only one of act, send"):
            reading.read("prøve", MINIMAL.replace(*change))
        return
    theatre.fresh = "T-3d" in change[1]  # where nobody has played before, a step cannot lie before another
    with pytest.raises(UsageError) as error:
        await scenarios.play(
            reading.read("prøve", MINIMAL.replace(*change)), theatre, start=danish_date(await theatre.now())
        )

    assert error.value.code == "ScenarioMalformed"
    assert said in error.value.detail


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theatre(embedded, pki):
    """One stage for all that breaks on it; its time goes on from one play to the next."""
    async with scenarios.StageTheatre(
        scenarios.first_instant(date(2025, 3, 3)), server=embedded, pki=pki, timeout=60
    ) as stage:
        yield stage


# --- days ---

NOW = datetime(2025, 3, 5, 12, tzinfo=UTC)  # a Wednesday
NAMES = {"T": "2025-03-03", "extension end": date(2025, 10, 24), "no day": "x"}


def named(name):
    if name not in NAMES:
        raise days.Unreadable(f"`{name}` means nothing")
    return NAMES[name]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("T", "2025-03-03 09:00"),
        ("T+33d 09:30", "2025-04-05 09:30"),
        ("T+2w-1d 00:00", "2025-03-16 00:00"),
        ("extension end+1d 23:59", "2025-10-25 23:59"),
        ("extension end+3d 09:00", "2025-10-27 09:00"),  # the hour of October is past
        ("today 08:00", "2025-03-05 08:00"),
        ("next Wednesday 10:00", "2025-03-12 10:00"),
        ("next Monday", "2025-03-10 09:00"),
        ("Friday of that week", "2025-03-07 09:00"),
        ("week end", "2025-03-09 09:00"),
        ("week end of T+7d", "2025-03-16 09:00"),
        ("month end of T-11d", "2025-02-28 09:00"),
        ("now+10s", "2025-03-05 13:00"),
        ("now+24h", "2025-03-06 13:00"),
    ],
)
def test_day_is_read(text, wanted):
    """A story says when in words, and means Danish time."""
    found = days.instant(text, named, NOW).astimezone(DENMARK)

    assert f"{found:%Y-%m-%d %H:%M}" == wanted


@pytest.mark.parametrize("text", ["no day", "next Blursday", "Xday of that week", "svarfrist+1d", "T+33"])
def test_day_that_cannot_be_read_is_named(text):
    """Nothing is guessed."""
    with pytest.raises(days.Unreadable):
        days.instant(text, named, NOW)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("T", "2025-03-03"), ("T+1d", "2025-03-04"), ("no day", "x"), ("T 10:00", "2025-03-03T10:00:00+01:00")],
)
def test_value_is_a_day_an_instant_or_what_a_name_means(text, wanted):
    """What stands after a dollar becomes what an act takes."""
    assert days.value(text, named, NOW) == wanted


# --- checking ---

FOUND = {"state": "A", "n": 3, "ok": True, "rows": [{"e": "X", "v": 1}, {"e": "Y", "v": 2}, {"e": "X", "v": 3}]}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("state", "A"),
        ("rows.0.e", "X"),
        ("rows.last.v", 3),
        ("rows.count", 3),
        ("rows.each.v", [1, 2, 3]),
        ("rows.each.e.distinct", 2),
        ("rows[e=X].count", 2),
        ("rows[e=X].last.v", 3),
        ("rows.each.v.count", 3),
        ("rows.7.v", {"absent": True}),
        ("nothing.at.all", {"absent": True}),
        ("state.of", {"absent": True}),
        ("n", {"at_most": 3, "at_least": 3, "not": 4}),
        ("state", {"any_of": ["A", "B"]}),
        ("rows.each.e", {"contains": ["X", "Y"]}),
        ("state", {"contains": "A"}),
        ("state", {"by": "2026-12-31", "until": "2026-12-31", "first": "A", "later": "B"}),
    ],
)
def test_path_leads_to_what_is_wanted(path, wanted):
    """And the same with something else wanted fails."""
    assert checking.compare(FOUND, {path: wanted}) is None
    assert checking.compare(FOUND, {path: "something else"}) is not None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("n", {"at_most": 2}),
        ("n", {"at_least": "3"}),
        ("missing", {"at_least": 3}),
        ("state", {"not": "A"}),
        ("state", {"absent": True}),
        ("missing", {"absent": False}),
        ("missing", {"contains": "A"}),
        ("ok", 1),
        ("n", True),
        ("state", {"by": "2027-01-01", "until": "2026-12-31", "first": "A", "later": "B"}),
    ],
)
def test_condition_that_does_not_hold(path, wanted):
    """A condition is no decoration."""
    assert checking.compare(FOUND, {path: wanted}) is not None


# --- the command line ---


def invoked(*words):
    return CliRunner().invoke(cli, ["scenario", *words])


def test_list_names_every_scenario():
    """With its title; as JSON with its story."""
    listed, told = invoked("list"), json.loads(invoked("list", "--json").stdout)

    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(scenarios.known())
    assert all(one["title"] in listed.stdout and one["story"] for one in told["scenarios"])


def test_run_prints_the_timeline():
    """One scenario, found by the beginning of its name."""
    result = invoked("run", "14")

    assert result.exit_code == 0
    assert "KSD* -> Viborg" in result.stdout
    assert "FAULT SchemaValidationFailed" in result.stdout
    assert "All 3 checks held." in result.stdout


def test_run_of_several_prints_a_table(tmp_path):
    """What does not hold is under its row, and the exit code is 1."""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(MINIMAL + 'must = [{ that = "v2", ksd = { version = 2 } }]\n', "utf-8")
    result = invoked("run", str(wrong), "14", "--start", "2026-03-02")

    assert result.exit_code == 1
    rows = result.stdout.splitlines()
    assert [row.split() for row in rows if not row.startswith("  ")][1:] == [
        ["wrong", "2026-03-02", "3", "1", "1"],
        ["14-sagsart-10", "2026-03-02", "4", "3", "0"],
    ]
    assert "  step 1: FAILED  v2: wanted KSD version 2; found 1" in rows


def test_run_as_json():
    """One object, with timeline and checks."""
    result = invoked("run", "12", "--json", "--clock", "leap")
    told = json.loads(result.stdout)

    assert result.exit_code == 0
    assert told["ok"]
    assert [play["name"] for play in told["plays"]] == ["12-cpr-nuller"]
    assert told["plays"][0]["start"] == "2024-01-27"
    assert [check["ok"] for check in told["plays"][0]["checks"]] == [True] * 4
    assert {entry["kind"] for entry in told["plays"][0]["timeline"]} == {"tell", "message", "lookup", "state"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run"], "ScenarioMissing"),
        (["run", "01", "--all"], "ScenarioMissing"),
        (["run", "99"], "ScenarioUnknown"),
        (["run", "nowhere.toml"], "FileUnreadable"),
        (["run", "01", "--dir", "nowhere"], "SandboxDown"),
    ],
)
def test_command_used_wrongly(words, code):
    """Exit code 2, and what to try."""
    result = invoked(*words, "--json")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == code


# --- in a sandbox that runs ---


@pytest.fixture
def directory(tmp_path):
    """Give the directory of a sandbox that is up, and take it down."""
    place = tmp_path / "d"
    up = ["sandbox", "up", "--dir", str(place), "--port", "0", "--admin-port", "0", "--citizens", "2", "--detach"]
    subprocess.run([sys.executable, "-m", "sygefravaer", *up], check=True, capture_output=True, timeout=90)
    try:
        yield place
    finally:
        CliRunner().invoke(cli, ["sandbox", "down", "--remove", "--dir", str(place)])


def test_plays_in_a_sandbox_that_runs(directory):
    """Its time moves forward, a part goes down and up, and afterwards it behaves as before and its clocks run."""

    def policy(**changed):
        return asyncio.run(knock(Layout(directory).socket("viborg"), "policy", changed))

    def times():
        doors = [Layout(directory).socket(name) for name in ("gateway", "ksd", "viborg", "aarhus")]
        return [asyncio.run(knock(door, "clock")) for door in doors]

    quick = invoked("run", "15", "--dir", str(directory))  # waits until the sandbox's opening conversation is over
    before = policy(extensions="slow", follow_up="silent")
    result = invoked("run", "05", "06", "--dir", str(directory))
    unfit = [invoked("run", name, "--dir", str(directory), "--json") for name in ("13", "16")]
    first, second = times(), times()
    kept = asyncio.run(knock(Layout(directory).socket("supervisor"), "health"))

    assert (quick.exit_code, result.exit_code) == (0, 0), result.output
    assert [row.split()[-1] for row in result.stdout.splitlines()[1:]] == ["0", "0"], result.output
    assert [json.loads(one.stdout)["error"]["code"] for one in unfit] == ["ScenarioUnfit"] * 2
    assert policy() == before
    assert abs(datetime.fromisoformat(kept["now"]) - datetime.fromisoformat(second[0]["now"])) < timedelta(minutes=1)
    assert all(one["now"] < other["now"] and not other.get("held") for one, other in zip(first, second, strict=True))

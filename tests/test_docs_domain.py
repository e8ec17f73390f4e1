# SPDX-License-Identifier: MPL-2.0
"""The domain's documentation says what code and data say: every code, norm, state, trigger, field, and every place."""

from __future__ import annotations

import csv
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

import sygefravaer
from jobcenter_rig import sag
from sygefravaer.contract import messages
from sygefravaer.contract.codes import FEJLKODER, LISTS
from sygefravaer.contract.history import Told, as_known
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.jobcenter import duties, life, policy, verdicts
from sygefravaer.ksd import changes, lifecycle, rules, timing
from sygefravaer.ksd.policy import Policy
from sygefravaer.law import Law, Norm

ROOT = Path(__file__).parents[1]
START = ROOT / "docs" / "domain.md"
PAGES = (START, *sorted((ROOT / "docs" / "domain").glob("*.md")))
SCENARIOS = ROOT / "src" / "sygefravaer" / "sandbox" / "scenarios" / "data"

SECTIONS = (
    *("2.1", "2.2", "2.3", "2.4", "3", "3.0", "3.1", "3.2", "3.3", "3.4", "4"),
    *(f"5.{number}" for number in range(1, 10)),
    "6",
)
CONFIDENCE = ("fact", "inference", "unverified", "own")
SAME, BEFORE, NOTHING = "same", "before", "-"


@dataclass(frozen=True)
class Table:
    """A table of a page, with the heading it stands under."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def under(self, section: str) -> bool:
        return not section or self.heading.startswith(f"## {section}")


@cache
def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


@cache
def tables() -> tuple[Table, ...]:
    """Read every table of the pages."""
    return tuple(table for page in PAGES for table in tables_of(page.read_text("utf-8")))


def tables_of(text: str) -> Iterator[Table]:
    heading, block = "", []
    for line in (*text.splitlines(), ""):
        if line.startswith("|"):
            block.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if block:
            columns, _, *rows = block
            assert all(len(row) == len(columns) for row in rows), f"a row of another width under {heading}"
            yield Table(heading, tuple(columns), tuple(dict(zip(columns, row, strict=True)) for row in rows))
            block = []
        if line.startswith("## "):
            heading = line


def table(*columns: str, section: str = "") -> Table:
    """Give the one table that begins with these columns."""
    (found,) = (each for each in tables() if each.columns[: len(columns)] == columns and each.under(section))
    return found


def names(cell: str) -> tuple[str, ...]:
    """List what stands in code style in a cell."""
    return tuple(re.findall(r"`([^`]+)`", cell))


def name(cell: str) -> str:
    return names(cell)[0]


def days(first: date | None, last: date | None) -> str:
    if first and last:
        return f"{first} to {last}"
    return f"from {first}" if first else f"until {last}" if last else "always"


# --- sections and places ---


def test_every_section_has_a_heading_and_a_page():
    """What is looked for by its number is found, once."""
    headings = re.findall(r"^## (\d(?:\.\d)?)\.? ", "\n".join(page.read_text("utf-8") for page in PAGES), re.MULTILINE)

    assert sorted(headings) == sorted(SECTIONS)


def test_every_link_leads_somewhere():
    """A page that is named is there; the pages are named on the first one."""
    links = {page: re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")) for page in PAGES}

    assert [link for page, found in links.items() for link in found if not (page.parent / link).is_file()] == []
    assert {(START.parent / link) for link in links[START]} >= set(PAGES[1:])


def places() -> list[str]:
    roots = "|".join(module.name for module in pkgutil.iter_modules(sygefravaer.__path__))
    found = re.findall(rf"`((?:{roots})\.[A-Za-z_.]+)`", "\n".join(page.read_text("utf-8") for page in PAGES))
    return sorted(set(found))


@pytest.mark.parametrize("place", places())
def test_every_place_exists(place):
    """A module is imported, a name found in it."""
    found: object = sygefravaer
    for part in place.split("."):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)

    assert found is not None


def test_every_rule_has_a_place():
    """A table that says where says it in every row, by a name that is looked for."""
    known = set(places())
    told = [row["Where"] for each in tables() for row in each.rows if "Where" in each.columns]

    assert len(told) > len(known) > 0
    assert [cell for cell in told if cell != NOTHING and not known & set(names(cell))] == []


def test_confidence_is_one_of_four_words():
    """Whoever reads how sure something is reads one of the words that are explained."""
    told = [
        row[name] for each in tables() for row in each.rows for name in ("Confidence", "`sikkerhed`") if name in row
    ]

    assert [cell for cell in told if not cell.startswith(CONFIDENCE)] == []
    assert [name(row["Word"]) for row in table("Word").rows] == list(CONFIDENCE)


# --- codes ---


def own_columns(codes: str) -> list[str]:
    """List the columns that a list has beside those of all lists, without the one that says how sure it is."""
    return [column for column in next(iter(LISTS[codes])).extra if column != "sikkerhed"]


def rows_of(codes: str) -> tuple[dict[str, str], ...]:
    """Give the rows of the one table that has the columns and the codes of a list, in their order."""
    columns = ("Kode", "Valid", *(f"`{column}`" for column in own_columns(codes)), "Effect", "Where", "`sikkerhed`")
    kodes = [code.kode for code in LISTS[codes]]
    (found,) = (
        each.rows for each in tables() if each.columns == columns and [name(row["Kode"]) for row in each.rows] == kodes
    )
    return found


@pytest.mark.parametrize("codes", LISTS)
def test_every_code_has_its_row(codes):
    """Code, days, own columns and how sure it is are those of the data; effect and place are said."""
    listed, found = LISTS[codes], rows_of(codes)
    own = own_columns(codes)

    assert [row["Valid"] for row in found] == [days(code.gyldigFra, code.gyldigTil) for code in listed]
    assert [row["`sikkerhed`"] for row in found] == [code.extra["sikkerhed"] for code in listed]
    for column in own:
        assert [row[f"`{column}`"] for row in found] == [code.extra[column] or NOTHING for code in listed]
    assert all(len(row["Effect"]) > len("Kept.") for row in found)
    assert f"`{codes}`" in text_of("domain/codes.md")


def test_no_table_of_codes_is_left_over():
    """There are as many tables as lists."""
    assert sum(each.columns[:2] == ("Kode", "Valid") for each in tables()) == len(LISTS)


def test_every_cause_names_the_field_that_is_told_by_it():
    """A change of a field is told by its Aendringsaarsag."""
    effects = {name(row["Kode"]): row["Effect"] for row in rows_of("aendringsaarsager")}

    assert {field: reason for field, reason in changes.REASONS.items() if f"`{field}`" not in effects[reason]} == {}


def test_every_fejlkode_has_its_row():
    """Code, mnemonic, who gives it and whether it may stand in a message."""
    rows = table("FejlKode").rows

    assert [(row["FejlKode"], row["`hvem`"], row["`paaTraaden`"]) for row in rows] == [
        (f"`{code.kode}` {code.mnemonic}", ", ".join(code.hvem), "ja" if code.paaTraaden else "nej")
        for code in FEJLKODER.values()
    ]
    assert all(row["When"] and names(row["Judged at"]) for row in rows)


def test_every_judgement_stands_in_the_order_it_is_made_in():
    """The two verdicts that say their order name every code they can give, and no other."""
    text = text_of("domain/messages.md")
    for start, letter in (
        ("KSD's verdict on an M2", "T"),
        ("KSD's verdict on an M4", "F"),
        ("in this order: O408", "O"),
    ):
        told = set(re.findall(rf"{letter}\d{{3}}", text[text.index(start) :].partition("\n\n")[0]))
        assert told == {code for code in FEJLKODER if code[0] == letter}


def test_the_municipalities_are_counted():
    """The page says how many there are."""
    assert f": {len(MUNICIPALITIES)} municipalities" in text_of("domain/codes.md")


# --- the law ---


def test_every_norm_has_its_row():
    """Value, unit, days, rule set, clause, source and how sure it is are those of the data."""
    rows = table("Norm").rows

    assert [tuple(row.values())[:-1] for row in rows] == [
        (
            *(f"`{rule.norm}`", rule.value, rule.unit, days(rule.valid_from, rule.valid_to), rule.ruleset),
            *(rule.clause or NOTHING, rule.confidence, rule.source or NOTHING),
        )
        for rule in Law.standard()
    ]
    assert {name(row["Norm"]) for row in rows} == set(Norm)


def test_every_rule_set_has_its_row():
    """First day, how sure, source and text are those of the data."""
    assert [tuple(row.values())[:-1] for row in table("Rule set").rows] == [
        (f"`{each.kode}`", each.valid_from.isoformat(), each.confidence, each.source, each.tekst)
        for each in Law.standard().rulesets
    ]


def test_the_example_of_other_norms_can_be_used(tmp_path):
    """What the page shows as a file is one, and it does what it says."""
    (example,) = re.findall(r"```csv\n(.*?)```", text_of("domain.md"), re.DOTALL)
    file = tmp_path / "law.csv"
    file.write_text(example, encoding="utf-8")
    law = Law.standard().replaced(file)
    given = list(csv.DictReader(example.splitlines()))

    assert given
    for row in given:
        on = date.fromisoformat(row["validFrom"])
        rule = law.find(Norm(row["norm"]), on)
        assert rule is not None
        assert rule.value == row["value"]
        assert rule != Law.standard().find(Norm(row["norm"]), on)


# --- the two lives ---


def states(cell: str) -> list[str]:
    return list(names(cell))


def test_the_life_of_a_case_is_its_table():
    """From where each trigger leads, and where to."""
    rows = [row for row in table("From", "Trigger", "To", section="2.1").rows if names(row["Trigger"])]
    told = {
        (state, name(row["Trigger"])): frozenset(states(row["To"])) for row in rows for state in states(row["From"])
    }

    assert told == {
        (state.value, trigger.name): frozenset(each.value for each in leads)
        for state, moves in lifecycle.TRANSITIONS.items()
        for trigger, leads in moves.items()
    }


def test_what_moves_nothing_says_so():
    """A row of the life without a trigger leads to where it comes from."""
    rows = [row for row in table("From", "Trigger", "To", section="2.1").rows if not names(row["Trigger"])]

    assert [row["To"] for row in rows if row["From"] != NOTHING and not row["To"].startswith(SAME)] == []
    assert [row["To"] for row in rows if row["From"] == NOTHING] == [f"`{lifecycle.State.ANMELDT}`"]


def test_the_life_of_a_jobcentersag_is_its_table():
    """From where each trigger leads, and where to."""
    rows = table("Trigger", "What", section="2.2").rows
    told = {
        (state, name(row["Trigger"])): None if row["To"] == BEFORE else name(row["To"])
        for row in rows
        for state in states(row["From"])
    }

    assert told == {
        (state.value, trigger.name): leads and leads.value
        for state, moves in life.TRANSITIONS.items()
        for trigger, leads in moves.items()
    }
    assert {name(row["Trigger"]): row["What"] for row in rows} == {each.name: each.value for each in life.Trigger}


def test_every_state_of_a_jobcentersag_says_how_it_is_told():
    """With its JobcentersagStatus."""
    rows = table("State", section="2.2").rows

    assert {name(row["State"]): row["JobcentersagStatus"] for row in rows} == {
        state.value: status for state, status in life.STATUS.items()
    }
    assert {name(row["State"]) for row in rows} == set(life.State)


ENUMERATIONS = {
    ("Act", "When"): [each.name for each in timing.Act],
    ("Duty",): [each.value for each in duties.Name],
    ("Mode",): [each.value for each in policy.Mode],
    ("Status",): [each.value for each in (*rules.RequestStatus, *rules.Withdrawal)],
    ("Verdict",): [each.value for each in verdicts.Verdict],
}


@pytest.mark.parametrize("columns", ENUMERATIONS, ids=" ".join)
def test_what_has_a_name_has_a_row(columns):
    """Acts, duties, modes, where a request stands, verdicts."""
    assert sorted(name(row[columns[0]]) for row in table(*columns).rows) == sorted(ENUMERATIONS[columns])


def test_every_norm_of_a_duty_is_one():
    """A duty names the norms that give its day."""
    told = {norm for row in table("Duty").rows for norm in names(row["Norms"])}

    assert told <= set(Norm)
    assert told


def test_every_task_is_one_that_ksd_opens():
    """The kinds stand in the rooms that open them."""
    code = "".join((ROOT / "src" / "sygefravaer" / "ksd" / f"{room}.py").read_text() for room in ("service", "sending"))
    told = [name(row["Task"]) for row in table("Task").rows]

    assert [kind for kind in told if f'"{kind}"' not in code] == []
    assert set(re.findall(r'"((?:event|extension|message)_[a-z]+|missing_cooperation|recovery_\w+)"', code)) <= set(
        told
    )


def test_what_is_done_by_itself_has_the_settings_it_has():
    """Days and delays of the policies as they are unless somebody sets them."""
    text, usual = text_of("domain/life.md"), policy.Policy()

    assert f"`decides_after` ({Policy().decides_after})" in text
    for setting in ("event_delay", "extension_delay", "follow_up_delay"):
        assert f"`{setting}` ({getattr(usual, setting).days} days)" in text
    assert f"`events` and `extensions` {usual.events}, `follow_up` {usual.follow_up}." in text
    assert usual.events is usual.extensions


# --- messages ---

CONTEXTS = {"CallContext", "AuthorityContext", "Hoved"}
PAYLOADS = {
    ("Element", "Set by"): messages.SygefravaerssagType,
    ("Element", "Set to"): messages.HovedType,
    **{
        (f"M{number}",): OPERATIONS[operation].request
        for number, operation in enumerate((code.kode for code in LISTS["beskedtyper"]), 1)
    },
}


@pytest.mark.parametrize("columns", PAYLOADS, ids=" ".join)
def test_every_element_has_its_row(columns):
    """Of the picture of a case, of the header, of each message."""
    wanted = [field.name for field in fields(PAYLOADS[columns]) if field.name not in CONTEXTS]
    found = table(*columns) if len(columns) > 1 else table(f"{columns[0]} element")

    assert [name(row[found.columns[0]]) for row in found.rows] == wanted


def test_every_rule_of_a_message_has_its_row():
    """Name, code, element and messages are those of the operations' table."""
    told = {
        (message, name(row["Rule"]), row["Code"], row["Element"])
        for row in table("Rule").rows
        for message in (row["Messages"].split(", ") if row["Messages"] != "all" else [f"M{i}" for i in range(1, 8)])
    }

    assert told == {
        (f"M{number}", rule.name, rule.code, rule.place)
        for number, code in enumerate(LISTS["beskedtyper"], 1)
        for rule in OPERATIONS[code.kode].rules
    }


# --- time, scenarios ---


def danish(text: str) -> datetime:
    day = datetime.strptime(f"{text} 2026", "%d %B %Y")  # noqa: DTZ007  the zone follows
    return day.replace(hour=23, minute=59, tzinfo=ZoneInfo("Europe/Copenhagen"))


def test_the_example_of_two_times_is_what_comes_out():
    """What was true on D as known on K, for every pair of the page, by the three versions it tells of."""
    text = text_of("domain/life.md")
    story = re.findall(r"v(\d) (\w+)(?: \w+)?, true from (\d+ \w+), registered (\d+ \w+)", text.replace("\n", " "))
    told = [
        Told(version=int(number), on=danish(on).date(), known=danish(known), picture=sag(SagsVersion=int(number)))
        for number, _, on, known in story
    ]

    assert [event for _, event, _, _ in story] == ["OPRETTET", "AFSLUTTET", "AENDRET"]
    for row in table("D: true on").rows:
        on, known, answer = row.values()
        found = as_known(told, on=danish(on).date(), known=danish(known))
        assert re.split("[:,]", answer)[0] == ("no case" if found is None else f"v{found.SagsVersion}")


def test_every_scenario_has_its_row():
    """The files that are there stand in the table."""
    told = [name(row["File"]) for row in table("File", section="6").rows]

    assert told == sorted(told)
    assert {file.name for file in SCENARIOS.glob("*.toml")} <= set(told)

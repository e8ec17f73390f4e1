# SPDX-License-Identifier: MPL-2.0
"""Documentation is tested: what the code can say stands in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sygefravaer import errors
from sygefravaer.audit import Event

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sygefravaer"
ERRORS = (ROOT / "docs" / "errors.md").read_text("utf-8")


def _faults(kind: type[errors.PlatformFault] = errors.PlatformFault) -> Iterator[type[errors.PlatformFault]]:
    for fault in kind.__subclasses__():
        yield fault
        yield from _faults(fault)


@pytest.mark.parametrize("fault", [fault for fault in _faults() if fault is not errors.LookupRefused])
def test_every_fault_is_documented_with_its_hint(fault):
    """Code, who acts and what to try stand in one row."""
    row = next(line for line in ERRORS.splitlines() if line.startswith(f"| `{fault.code}` |"))

    assert f"| {fault.who} |" in row
    assert fault.hint
    assert fault.hint in row


@pytest.mark.parametrize("error", errors.DeliveryRefused.__subclasses__())
def test_every_refusal_of_a_delivery_or_route_is_documented_with_its_hint(error):
    """Code, who acts and what to try stand in one row."""
    assert error.hint
    assert f"| `{error.code}` | {error.who} | {error.hint} |" in ERRORS.splitlines()


@pytest.mark.parametrize("error", errors.AdminRefused.__subclasses__())
def test_every_refusal_of_the_administration_is_documented_with_its_hint(error):
    """Code, status, who acts and what to try stand in one row."""
    assert error.hint
    assert f"| `{error.code}` | {error.status} | {error.who} | {error.hint} |" in ERRORS.splitlines()


def test_every_fejlkode_is_documented():
    """The table holds the codes of the data file, no more and no fewer."""
    with (SOURCE / "contract" / "data" / "fejlkoder.csv").open(encoding="utf-8", newline="") as file:
        known = {row["kode"]: row["mnemonic"] for row in csv.DictReader(file)}

    assert dict(re.findall(r"^\| `([GBTFOH]\d{3})` \| (\w+) \|", ERRORS, re.MULTILINE)) == known


def test_every_usage_error_is_documented():
    """What a command or a part can stop with at start has a row."""
    code = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    raised = set(re.findall(r'UsageError\(\s*"(\w+)"', code))

    assert raised == set(re.findall(r"^\| `(\w+)` \| (?:command|setting|file|machine|clock) \|", ERRORS, re.MULTILINE))


@pytest.mark.parametrize(
    "path",
    sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]),
    ids=lambda path: path.name,
)
def test_every_source_file_says_its_licence(path):
    """SPDX on the first line."""
    assert path.read_text("utf-8").splitlines()[0] == "# SPDX-License-Identifier: MPL-2.0"


def test_every_dependency_has_its_reason():
    """A dependency is a guest."""
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = "".join(re.findall(r"(?:dependencies|dev) = \[\n(.*?)\n\]", project, re.DOTALL))
    names = set(re.findall(r'"([a-z0-9-]+)', block))

    assert names
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", reasons)} == set()


def test_every_audit_event_is_documented():
    """What can stand in the record has a row that says when."""
    described = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", (ROOT / "docs" / "audit.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(described) == sorted(event.value for event in Event)

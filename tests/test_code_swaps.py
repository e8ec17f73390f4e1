# SPDX-License-Identifier: MPL-2.0
"""Two codes that change places are missed: in the data, in the schema, and in every copy in the sources."""

import ast
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codes import mutants
from codes.workshop import Reach, Workshop

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sygefravaer"
COPIES = 8
ROOMS = (
    "contract/operations.py",
    "contract/data/",
    "ksd/changes.py",
    "ksd/lifecycle.py",
    "ksd/lookups.py",
    "gateway.py",
)
"""How many copies are exchanged here, by lot, and where; `make codes` exchanges every one everywhere."""


def test_exchanging_two_codes_is_missed():
    """Every code changes places once in its data file and in each schema, and some copies do; each time it is seen."""
    seed = random.SystemRandom().randrange(1 << 32)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    sources = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
    paths = [word for room in ROOMS for word in ("--path", room)]
    run = subprocess.run(
        [sys.executable, "-m", "codes", "--sample", str(COPIES), "--seed", str(seed), "--workers", "1", *paths],
        env=quiet | {"PYTHONPATH": sources},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 0, f"seed {seed}\n{run.stdout}\n{run.stderr}"
    assert "survived: 0" in run.stdout
    assert re.search(r"key in the data: (\d+) made, \1 found", run.stdout)
    assert re.search(r"enumeration in a schema: (\d+) made, \1 found", run.stdout)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_every_two_meet_once_and_nobody_is_in_two_pairs_of_a_round(size):
    """A round-robin: all pairs, each code at most once a round."""
    codes = [str(number) for number in range(size)]
    met = list(mutants.rounds(codes))

    assert sorted(tuple(sorted(pair)) for each in met for pair in each) == list(mutants.pairs(codes))
    assert all(len({kode for pair in each for kode in pair}) == 2 * len(each) for each in met)


def test_keys_change_places_and_nothing_else():
    """The other cells of a row stay where they are, commas and quotes included."""
    text = 'kode,tekst,foelge\nA,"Første, eller",B\nB,Anden,\n'

    assert mutants.with_keys(text, ("A", "B")) == 'kode,tekst,foelge\nB,"Første, eller",B\nA,Anden,\n'


def test_copies_are_found_where_they_are(tmp_path):
    """Literals, quoted words in SQL and other columns are copies; docstrings and comments are none."""
    (tmp_path / "contract" / "data").mkdir(parents=True)
    (tmp_path / "a.py").write_text('"""About LAEGE."""\nX = "LAEGE"  # not BORGER\nY = "state = \'BORGER\'"\n')
    (tmp_path / "contract" / "data" / "b.csv").write_text("kode,svar\nLAEGE,BORGER;X\n")
    found = {(each.path, each.pair): each for each in mutants.copies(tmp_path, "meddeltaf")}

    source = found["a.py", ("BORGER", "LAEGE")]
    assert source.text == '"""About LAEGE."""\nX = "BORGER"  # not BORGER\nY = "state = \'LAEGE\'"\n'
    reference = found["contract/data/b.csv", ("BORGER", "LAEGE")]
    assert (reference.text, reference.rows) == ("kode,svar\nLAEGE,LAEGE;X\n", ("b", ("LAEGE",)))
    assert {path for path, pair in found if "BORGER" not in pair and "LAEGE" not in pair} == set()


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ('X = frozenset({"A", "B"})', 'X = frozenset({"B", "A"})', True),
        ('X = code in ("A", "B")', 'X = code in ("B", "A")', True),
        ('X = {"A": 1, "B": 1}', 'X = {"B": 1, "A": 1}', True),
        ('X = {"A": 1, "B": 2}', 'X = {"B": 1, "A": 2}', False),
        ('X = ("A", "B")', 'X = ("B", "A")', False),
        ('X = {**dict.fromkeys(("A", "B"), 1)}', 'X = {**dict.fromkeys(("B", "A"), 1)}', True),
    ],
)
def test_what_means_the_same_is_known_by_its_meaning(before, after, same):
    """Members of a set have no order; entries of a table do not change places with their values."""
    ast.parse(before)
    mutant = mutants.Mutant(codes="x", pair=("A", "B"), path="a.py", kind="copy", text=after)

    assert bool(mutants.same(mutant, before)) is same


def test_a_change_reaches_those_who_look_at_it():
    """A module reaches its importers, a data file all that its room reaches."""
    reach = Reach.of(SOURCE)

    assert "sygefravaer.ksd.service" in reach(["ksd/rules.py"])
    assert "sygefravaer.jobcenter.policy" not in reach(["ksd/rules.py"])
    assert {"sygefravaer.contract.codes", "sygefravaer.jobcenter.policy"} <= reach(["contract/data/udfald.csv"])


def test_a_workshop_puts_back_what_was_changed(tmp_path):
    """A file is the original's unless it is changed at the moment."""
    workshop = Workshop(SOURCE, tmp_path)
    copy = tmp_path / "sygefravaer"
    workshop.change({"clock.py": "A = 1\n"})
    workshop.change({"errors.py": "B = 1\n"})

    assert (copy / "clock.py").read_bytes() == (SOURCE / "clock.py").read_bytes()
    assert (copy / "errors.py").read_text() == "B = 1\n"

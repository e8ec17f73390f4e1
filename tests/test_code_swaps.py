# SPDX-License-Identifier: MPL-2.0
"""Two codes that change places are missed: in the data, in the schema, and in every copy in the sources."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codes import batches, effects, mutants
from codes.workshop import Reach, Workshop

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sygefravaer"
SEED = 2090
COPIES = 4
"""How many copies are exchanged here, by lot over every list in every file; `make codes` exchanges every one."""


def test_exchanging_two_codes_is_missed():
    """Every code changes places once in its data file and in each schema, and some copies do; each time it is seen."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    sources = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
    lot = ("--each", "1", "--sample", str(COPIES), "--seed", str(SEED))
    run = subprocess.run(
        [sys.executable, "-m", "codes", *lot, "--workers", "1"],
        env=quiet | {"PYTHONPATH": sources},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 0, f"seed {SEED}\n{run.stdout}\n{run.stderr}"
    assert "survived: 0" in run.stdout
    assert re.search(r"key in the data: (\d+) made, \1 found", run.stdout)
    assert re.search(r"enumeration in a schema: (\d+) made, \1 found", run.stdout)


def test_a_batch_exchanges_each_code_once_and_tells_its_pairs_apart(tmp_path):
    """No code is in two pairs of a batch; a pair is found when a code shows its partner, word for word, and only then."""
    (tmp_path / "a.py").write_text('X = "O401"\n')
    (tmp_path / "b.py").write_text('Y = ("O402", "G007")\n')
    wanted = {("O401", "G008"), ("O402", "T201"), ("O401", "O402"), ("G007", "H502")}
    found = [each for each in mutants.copies(tmp_path, "fejlkoder") if {each.pair, each.pair[::-1]} & wanted]
    jobs = list(batches.batch_jobs(tmp_path, found))
    first = jobs[0]

    assert [len(job.about) for job in jobs] == [3, 1, 1]
    for job in jobs:
        met = [kode for mutant in job.about for kode in mutant.pair]
        assert len(met) == len(set(met))
    effects.load()
    told = {
        ("a message that provokes it", "O401"): ["of_update", {"G008": effects.error_text("G008")}],
        ("a message that provokes it", "O402"): ["of_update", {"G001": effects.error_text("G001")}],
        ("a message that provokes it", "G007"): "killed by another",
    }
    first.told = {"seen": [["fejlkoder", name, kode, what] for (name, kode), what in told.items()]}
    shown, left = batches.told_apart(first)
    assert [set(each.pair) for each in shown] == [{"O401", "G008"}]
    assert [set(each.pair) for each in left] == [{"G007", "H502"}, {"O402", "T201"}]


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


def test_members_of_a_cell_have_no_order():
    """What a cell of a data file lists may stand in another order; another cell is another meaning."""
    before = "kode,opfylder,svar\nX,A;B,A\n"

    def mutant(text):
        return mutants.Mutant(codes="x", pair=("A", "B"), path="contract/data/x.csv", kind="reference", text=text)

    assert mutants.same(mutant("kode,opfylder,svar\nX,B;A,A\n"), before)
    assert not mutants.same(mutant("kode,opfylder,svar\nX,B;A,B\n"), before)


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

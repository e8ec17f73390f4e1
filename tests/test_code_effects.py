# SPDX-License-Identifier: MPL-2.0
"""
The codes of every list have the effects that the domain gives them, seen in messages over the wire.

Here some of each list on each side, by lot; `make codes` looks at every one before it exchanges any.
"""

import itertools
import random

import pytest

from codes import effects
from codes.stage import Stage
from sygefravaer.contract.coded import list_names

pytestmark = pytest.mark.long

FACETS = effects.load()
SEED, CODES = 2090, 4
"""How many codes of a list are looked at on each side, and what they are drawn by."""
PLAYED = [
    (name, side)
    for name in effects.lists()
    for side in effects.SIDES
    if any(one.codes == name and one.side == side for one in FACETS)
]


@pytest.fixture
def stage(embedded, tmp_path, tmp_path_factory):
    return Stage(embedded, tmp_path, tmp_path_factory.getbasetemp() / "codes-pki")


@pytest.mark.parametrize(("name", "side"), PLAYED, ids=str)
async def test_codes_have_their_effects(stage, name, side):
    """What each driver sees of each code is what the table says."""
    kodes = sorted({kode for _, kode in effects.of(name, sides=(side,))})
    drawn = random.Random(f"{SEED} {name} {side}").sample(kodes, min(CODES, len(kodes)))

    assert await effects.findings(stage, effects.of(name, drawn, sides=(side,))) == []


def test_every_code_is_looked_at_over_the_wire():
    """The table has every list of the contract, and of each code at least one effect beside what people read of it."""
    assert sorted(effects.lists()) == sorted(list_names())
    played = {(one.codes, kode) for one in FACETS for kode in one.expected if one.side != "reading"}
    assert {(name, kode) for name, kodes in effects.lists().items() for kode in kodes} - played == set()


@pytest.mark.parametrize("name", effects.lists())
def test_no_two_codes_of_a_list_have_the_same_effects(name):
    """Whoever takes one code for another sees something else than he should."""
    nothing = object()
    seen = {
        kode: [one.expected.get(kode, nothing) for one in FACETS if one.codes == name] for kode in effects.lists()[name]
    }
    assert [pair for pair in itertools.combinations(seen, 2) if seen[pair[0]] == seen[pair[1]]] == []


async def test_a_code_without_its_effect_is_found(stage):
    """The looking itself: another table than the domain's is told with what was seen."""
    ((one, kode),) = [look for look in effects.of("meddeltaf", ["LAEGE"]) if look[0].name == "told after the end"]
    other = effects.Facet(codes=one.codes, name=one.name, side=one.side, expected={kode: ("BORGER",)}, look=one.look)

    assert await effects.findings(stage, [(other, kode)]) == [("meddeltaf", "told after the end", "LAEGE", ("LAEGE",))]

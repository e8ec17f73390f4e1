# SPDX-License-Identifier: MPL-2.0
"""Every code of every list has the effect that the domain gives it, seen in messages over the wire."""

import itertools

import pytest
import pytest_asyncio

import breadth
from codes import effects
from codes.stage import KeptStage
from sygefravaer.contract.coded import list_names

pytestmark = pytest.mark.long
ON_ONE_STAGE = pytest.mark.asyncio(loop_scope="module")

FACETS = effects.load()
MOST = 5
"""How many codes of a list are looked at from a side, by lot; `make codes` looks at every one from every side."""
PLAYED = [
    (name, side)
    for name in effects.lists()
    for side in effects.SIDES
    if any(one.codes == name and one.side == side for one in FACETS)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(embedded, tmp_path_factory):
    """One scene of each kind for all lists: what was played before takes no effect away (`make codes` relies on it)."""
    async with KeptStage(embedded, tmp_path_factory.mktemp("codes"), tmp_path_factory.mktemp("codes-pki")) as kept:
        yield kept


@ON_ONE_STAGE
@pytest.mark.parametrize(("name", "side"), PLAYED, ids=str)
async def test_every_code_of_a_list_has_its_effects(stage, name, side):
    """What each driver sees of each code is what the table says."""
    looks = effects.of(name, sides=(side,))
    kodes = breadth.some(list(dict.fromkeys(kode for _, kode in looks)), MOST, of=f"{name} {side}")
    assert await effects.findings(stage, [look for look in looks if look[1] in kodes]) == []


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


@ON_ONE_STAGE
async def test_a_code_without_its_effect_is_found(stage):
    """The looking itself: another table than the domain's is told with what was seen."""
    ((one, kode),) = [look for look in effects.of("meddeltaf", ["LAEGE"]) if look[0].name == "told after the end"]
    other = effects.Facet(codes=one.codes, name=one.name, side=one.side, expected={kode: ("BORGER",)}, look=one.look)

    assert await effects.findings(stage, [(other, kode)]) == [("meddeltaf", "told after the end", "LAEGE", ("LAEGE",))]

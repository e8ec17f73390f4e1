# SPDX-License-Identifier: MPL-2.0
"""Code lists: every code that ever was, and the days it may be used on."""

import subprocess
import sys
from datetime import date

import pytest
from lxml import etree

from sygefravaer.contract import names, package
from sygefravaer.contract.codes import FEJLKODER, LISTS, fejl, fejl_text, read

HEADING = "kode,tekst,gyldigFra,gyldigTil,erstattesAf,ekstra"


def enumerations():
    for path in ("Sygefravaer/xsd/SygefravaerFaellesTypes.xsd", "Sygefravaer/sp/Kvittering_1.xsd"):
        for kind in etree.parse(package.ROOT / path).iter(f"{{{names.NS_XSD}}}simpleType"):
            codes = [each.get("value") for each in kind.iter(f"{{{names.NS_XSD}}}enumeration")]
            if codes:
                yield kind.get("name"), codes


def test_lists_and_schema_hold_the_same_codes():
    """Each enumeration of the schema is a list in the same order, and there is no other list."""
    found = {
        name: [code.kode for code in LISTS[names.CODE_LISTS[name].removesuffix(".csv")]] for name in names.CODE_LISTS
    }

    assert found == dict(enumerations())
    assert len(LISTS) == len(names.CODE_LISTS)


@pytest.mark.parametrize(
    ("name", "kode", "day", "valid"),
    [
        ("visitationskategorier", "3", date(2024, 12, 31), True),
        ("visitationskategorier", "3", date(2025, 1, 1), False),
        ("visitationskategorier", "1", date(2014, 7, 1), True),
        ("visitationskategorier", "1", date(2014, 6, 30), False),
        ("forlaengelseskoder", "P24B", date(2017, 12, 31), False),
        ("forlaengelseskoder", "P26_COVID", date(2021, 6, 30), True),
        ("forlaengelseskoder", "P26_COVID", date(2021, 7, 1), False),
        ("haendelsestyper", "OPRETTET", date(1900, 1, 1), True),
        ("haendelsestyper", "NOGET_ANDET", date(2026, 1, 1), False),
    ],
)
def test_a_code_may_be_used_on_its_days(name, kode, day, valid):
    """First and last day are included; a code without dates always may be used, one that is not in the list never."""
    codes = LISTS[name]

    assert codes.valid(kode, day) is valid
    assert (kode in {code.kode for code in codes.valid_codes(day)}) is valid


def test_a_list_is_asked_by_code():
    """A row gives the list's own columns too; a code that is not there is an error that does not repeat it."""
    codes = LISTS["forlaengelseskoder"]

    assert codes.get("P27_1_3").extra["maksUger"] == "134"
    assert codes.get("P27_1_3").erstattesAf is None
    assert "P27_1_3" in codes
    assert "0101505012" not in codes
    assert len(codes) == len(list(codes))
    with pytest.raises(KeyError) as error:
        codes.get("0101505012")
    assert "0101505012" not in str(error.value)


def test_a_file_is_read_with_all_its_columns(tmp_path):
    """Dates are optional, a successor is kept, and any other column is the list's own."""
    file = tmp_path / "a.csv"
    file.write_text(f"{HEADING}\nA,Første,2020-01-01,2020-12-31,B,x\nB,Anden,,,,\n", encoding="utf-8")

    first, second = read(file, "a")

    assert (first.gyldigFra, first.gyldigTil, first.erstattesAf) == (date(2020, 1, 1), date(2020, 12, 31), "B")
    assert (dict(first.extra), first.tekst) == ({"ekstra": "x"}, "Første")
    assert (second.gyldigFra, second.gyldigTil, second.erstattesAf) == (None, None, None)


def test_a_code_stands_once(tmp_path):
    """A file that holds a code twice is refused when it is read."""
    file = tmp_path / "a.csv"
    file.write_text(f"{HEADING}\nA,Første,,,,\nA,Anden,,,,\n", encoding="utf-8")

    with pytest.raises(ValueError, match="twice"):
        read(file, "a")


def test_texts_of_errors():
    """Mnemonic, colon, sentence; only INGEN_ADGANG may not stand on the wire."""
    assert fejl_text("B101") == "CPR_TILHOERER_ANDEN_KOMMUNE: Borgeren hører ikke (længere) til kommunen."
    assert fejl("H502").hvem == ("gateway", "ksd")
    assert [row.kode for row in FEJLKODER.values() if not row.paaTraaden] == ["H502"]
    assert all(fejl_text(kode).endswith(".") for kode in FEJLKODER)
    with pytest.raises(KeyError):
        fejl("X999")


REPLACING = """
import sys
from datetime import date
from pathlib import Path
from sygefravaer.contract import codes
from sygefravaer.errors import UsageError
try:
    codes.replace_unverified(Path(sys.argv[1]))
except UsageError as error:
    print(error.code)
else:
    from sygefravaer.contract import operations
    kode = codes.LISTS["forlaengelseskoder"].get("P27_1_4")
    print(kode.valid(date(2026, 7, 1)), codes.LISTS["forlaengelseskoder"].get("P29").extra["maksUger"],
          sorted(operations._WITH_MAXIMUM), len(codes.LISTS["forlaengelseskoder"]))
"""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "forlaengelseskoder,P27_1_4,gyldigTil,2026-06-30\nforlaengelseskoder,P29,maksUger,26",
            "False 26 ['P26_COVID', 'P27_1_2', 'P27_1_3', 'P29'] 11",
        ),
        ("forlaengelseskoder,P27_1_2,maksUger,70", "CodesFixed"),
        ("forlaengelseskoder,P29,tekst,andet", "CodesUnreadable"),
        ("forlaengelseskoder,P29,gyldigTil,snart", "CodesUnreadable"),
        ("forlaengelseskoder,P29,sikkerhed,fact", "CodesUnreadable"),
        ("forlaengelseskoder,P30,maksUger,1", "CodesUnreadable"),
        ("nosuchlist,P29,maksUger,1", "CodesUnreadable"),
        (None, "CodesUnreadable"),
    ],
)
def test_what_is_unverified_can_be_known_better(tmp_path, lines, said):
    """Before anything reads the lists: rules made of them follow. What is certain stays, and a bad file is refused."""
    file = tmp_path / "codes.csv"
    if lines is not None:
        file.write_text(f"liste,kode,kolonne,vaerdi\n{lines}\n")

    done = subprocess.run([sys.executable, "-c", REPLACING, str(file)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == said

# SPDX-License-Identifier: MPL-2.0
"""What a person may read of a message, and what only after he has said why."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from sygefravaer.contract.masking import DIGITS, HIDDEN, differences, masked, pretty
from sygefravaer.contract.values import MASK

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.xml"))
PLANTED = "2503919876"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_nobodys_number_is_in_a_masked_message(path):
    """Wherever the number stands in a sample, it is not to be read; shown whole it is the same message."""
    root = etree.parse(path).getroot()
    numbers = {one.text for one in root.iter("{*}CprNummer", "{*}TidligereCprNummer") if one.text}

    hidden, whole = "\n".join(pretty(root)), "\n".join(pretty(root, reveal=True))

    assert not any(number in hidden for number in numbers)
    assert all(number in whole for number in numbers)
    assert hidden.count(MASK) == len(list(root.iter("{*}CprNummer", "{*}TidligereCprNummer")))
    again = etree.fromstring(whole)
    for tree in (root, again):
        for one in tree.iter():
            if len(one):
                one.text = None
            one.tail = None
    assert etree.tostring(again, method="c14n", with_comments=False) == etree.tostring(
        root, method="c14n", with_comments=False
    )


@pytest.mark.parametrize(
    "planted",
    [
        f"<a>{PLANTED}</a>",
        f"<a><!-- {PLANTED} --><b/></a>",
        f"<a><?x {PLANTED}?><b/></a>",
        f"<a b='{PLANTED}'/>",
        f"<a>{PLANTED}<b/></a>",
        f"<a><b/>{PLANTED}</a>",
        "<a>250391-9876</a>",
        "<a>250391 9876</a>",
        f"<Begrundelse>ring til {PLANTED}</Begrundelse>",
    ],
)
def test_a_number_is_hidden_wherever_it_was_put(planted):
    """As another element's text, as an attribute, between elements, in a comment; and shown when it may be."""
    root = etree.fromstring(planted)

    assert "9876" not in "\n".join(pretty(root))
    assert "9876" in "\n".join(pretty(root, reveal=True))


def test_health_names_and_free_text_are_hidden_and_the_rest_is_read():
    """A life-threatening illness is health data by itself; a time and an id have many digits and are neither."""
    assert masked("LivstruendeSygdom", "true") == HIDDEN
    assert masked("Navn", "Bageren") == HIDDEN
    assert masked("OnBehalfOfUser", "hans") == HIDDEN
    assert masked("CprNummer", PLANTED) == MASK
    for text in ("2026-03-02T09:00:00.123Z", "0f3a1b5e-1234-4abc-8def-123456789012", "29189846", "LOEBENDE"):
        assert masked("x", text) == text
    assert DIGITS.search("0f3a1b5e-1234-4abc-8def-123456789012")


def test_what_differs_is_told_line_by_line():
    """Also that nothing does."""
    one = pretty(etree.fromstring("<a><b>1</b><c>2</c></a>"))
    other = pretty(etree.fromstring("<a><b>1</b><c>3</c></a>"))

    assert [(each.sign, each.text) for each in differences(one, other)] == [
        (" ", "<a>"),
        (" ", "  <b>1</b>"),
        ("-", "  <c>2</c>"),
        ("+", "  <c>3</c>"),
        (" ", "</a>"),
    ]
    assert {each.sign for each in differences(one, one)} == {" "}

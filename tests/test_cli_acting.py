# SPDX-License-Identifier: MPL-2.0
"""Fields of an act and times of a move, as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sygefravaer.cli.acting import fields
from sygefravaer.cli.timing import duration, instant
from sygefravaer.errors import UsageError


def test_a_value_is_json_if_it_can_be_read_as_such() -> None:
    """A number that is a name (CPR, CVR, a leading zero) stays a text; a repeated field is a list; names make blocks."""
    given = ["limit=5", "tell=false", "cpr=2512489996", "cvr=29189846", "kode=07", "text=a=b", "none=null", "list=[1]"]
    blocks = ["Arbejdsgiver/CVRNummer=29189846", "Arbejdsgiver.Navn=Bageri", "codes=A1", "codes=B2", 'kategori="2"']

    assert fields([*given, *blocks], None) == {
        "limit": 5,
        "tell": False,
        "cpr": "2512489996",
        "cvr": "29189846",
        "kode": "07",
        "text": "a=b",
        "none": None,
        "list": [1],
        "Arbejdsgiver": {"CVRNummer": "29189846", "Navn": "Bageri"},
        "codes": ["A1", "B2"],
        "kategori": "2",
    }


def test_fields_go_before_the_file(tmp_path: Path) -> None:
    """And what is no object, no file or no field is named."""
    file, other = tmp_path / "fields.json", tmp_path / "list.json"
    file.write_text('{"a": 1, "b": {"c": 2}}')
    other.write_text("[1]")

    assert fields(["a=3", "b/d=4"], file) == {"a": 3, "b": {"c": 2, "d": 4}}
    for given, path, code in (
        (["a"], None, "FieldMalformed"),
        (["=1"], None, "FieldMalformed"),
        (["a=1", "a/b=2"], None, "FieldMalformed"),
        ([], other, "FileMalformed"),
        ([], tmp_path / "none.json", "FileUnreadable"),
    ):
        with pytest.raises(UsageError) as refused:
            fields(given, path)
        assert refused.value.code == code


def test_durations_and_days() -> None:
    """Several units add up; a day begins in Denmark, in summer and in winter; an offset is kept to."""
    assert duration("1w2d3h4m5s") == timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)
    assert duration("1y") == timedelta(days=365)
    assert instant("2026-08-31") == datetime(2026, 8, 30, 22, tzinfo=UTC)
    assert instant("2026-12-31") == datetime(2026, 12, 30, 23, tzinfo=UTC)
    assert instant("2026-08-31T09:00:00+02:00") == datetime(2026, 8, 31, 7, tzinfo=UTC)
    for text in ("", "22", "w", "-1d", "1.5h", "1d 2h"):
        with pytest.raises(UsageError, match="duration"):
            duration(text)
    for text in ("", "31-08-2026", "2026-02-30", "2026-08-31T09:00:00"):
        with pytest.raises(UsageError):
            instant(text)

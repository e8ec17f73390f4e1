# SPDX-License-Identifier: MPL-2.0
"""Danish days, dated norms, and what is counted by them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sygefravaer.contract.messages import ForlaengelseType
from sygefravaer.errors import UsageError
from sygefravaer.law import (
    Law,
    Norm,
    Spell,
    at,
    counted_days,
    danish_date,
    day_after,
    days_left,
    end_of_day,
    is_working_day,
    month_end,
    months_before,
    review_date,
    weeks,
    working_day,
)

LAW = Law.standard()
DAYS = st.dates(date(2015, 1, 1), date(2035, 12, 31))


def spell(first: str, last: str | None = None, sagsart: str = "11", **given) -> Spell:
    ends = date.fromisoformat(last) if last else None
    return Spell(
        **({"first": date.fromisoformat(first), "last": ends, "sagsart": sagsart, "fravaerstype": "FULDT"} | given)
    )


# --- days ---


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2026, 10, 24, 21, 59, tzinfo=UTC), date(2026, 10, 24)),  # summer time: UTC+2
        (datetime(2026, 10, 24, 22, 0, tzinfo=UTC), date(2026, 10, 25)),
        (datetime(2026, 10, 25, 22, 59, tzinfo=UTC), date(2026, 10, 25)),  # the day has 25 hours
        (datetime(2026, 10, 25, 23, 0, tzinfo=UTC), date(2026, 10, 26)),
        (datetime(9999, 12, 31, 23, 30, tzinfo=UTC), date(9999, 12, 31)),
    ],
)
def test_an_instant_belongs_to_a_danish_day(instant, day):
    assert danish_date(instant) == day


def test_a_day_ends_when_the_next_begins_whatever_the_clock_does():
    """Across both changes of the clock a day has 23 or 25 hours."""
    lengths = {day: (end_of_day(day) - at(day, 0)) for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 6, 1))}

    assert [length / timedelta(hours=1) for length in lengths.values()] == [23, 25, 24]
    assert day_after(date.max) == date.max


def test_months_end_and_begin():
    assert [month_end(date(2024, 2, 1)), month_end(date(2025, 2, 28)), month_end(date(9999, 12, 1))] == [
        date(2024, 2, 29),
        date(2025, 2, 28),
        date(9999, 12, 31),
    ]
    assert months_before(date(2026, 9, 30), 9) == date(2026, 1, 1)
    assert months_before(date(2026, 8, 31), 9) == date(2025, 12, 1)
    assert months_before(date(2026, 2, 28), 12) == date(2025, 3, 1)


def test_working_days_know_danish_holidays():
    """Easter, Whit Monday, the three bank days; Great Prayer Day no more from 2024."""
    off = [
        "2026-04-02",
        "2026-04-03",
        "2026-04-06",
        "2026-05-25",
        "2026-06-05",
        "2026-12-24",
        "2026-12-31",
        "2023-05-05",
    ]
    on = ["2024-04-26", "2026-12-23", "2026-06-04"]

    assert [is_working_day(date.fromisoformat(day)) for day in off] == [False] * len(off)
    assert [is_working_day(date.fromisoformat(day)) for day in on] == [True] * len(on)
    assert working_day(date(2026, 12, 23), 1) == date(2026, 12, 28)
    assert working_day(date(2026, 3, 2), 5) == date(2026, 3, 9)


# --- norms ---


def test_every_norm_has_rows_that_never_overlap():
    for norm in Norm:
        rows = [rule for rule in LAW if rule.norm is norm]
        assert rows, norm
        for one, other in pairwise(rows):
            assert one.valid_to is not None
            assert one.valid_to < other.valid_from, norm


def test_every_norm_names_clause_or_says_it_is_ours():
    assert [rule.norm for rule in LAW if not (rule.clause and rule.source) and rule.confidence != "own"] == []
    assert {rule.confidence for rule in LAW} == {"fact", "inference", "unverified", "own"}
    assert {rule.ruleset for rule in LAW} <= {one.kode for one in LAW.rulesets}


@pytest.mark.parametrize(
    ("day", "kode"),
    [
        ("2013-01-01", "R2014"),
        ("2017-12-31", "R2014"),
        ("2018-01-01", "R2018"),
        ("2021-06-30", "R2020"),
        ("2024-12-31", "R2023"),
        ("2025-01-01", "R2025"),
        ("2026-02-01", "R2026"),
        ("2027-01-01", "R2027"),
    ],
)
def test_the_state_of_the_law_by_date(day, kode):
    assert LAW.ruleset(date.fromisoformat(day)).kode == kode


def test_a_norm_holds_between_its_days():
    assert LAW.rule(Norm.UNDECIDED_SCHEME, date(2026, 12, 31)).value == "JOBAFKLARING"
    assert LAW.rule(Norm.UNDECIDED_SCHEME, date(2027, 1, 1)).value == "NEDSAT_SATS"
    assert LAW.find(Norm.FOLLOW_UP_EVERY, date(2023, 9, 21)) is None
    assert LAW.find(Norm.EXEMPT_AFTER_TALK, date(2024, 12, 31)) is None
    assert LAW.number(Norm.REVIEW_WEEKS, date(2000, 1, 1)) == 22
    with pytest.raises(LookupError):
        LAW.rule(Norm.FOLLOW_UP_EVERY, date(2024, 1, 1))


HEAD = "norm,value,unit,validFrom,validTo,ruleset,clause,source,confidence,text\n"


def test_what_is_not_certain_can_be_replaced(tmp_path):
    """All rows of the norm go; the others stay."""
    file = tmp_path / "law.csv"
    file.write_text(HEAD + "exempt_within,20,uger,2026-02-01,,R2026,x,y,unverified,z\n")

    law = LAW.replaced(file)

    assert law.number(Norm.EXEMPT_WITHIN, date(2026, 3, 1)) == 20
    assert LAW.find(Norm.EXEMPT_WITHIN, date(2026, 3, 1)) is None
    assert law.number(Norm.REVIEW_WEEKS, date(2026, 3, 1)) == 22
    assert law.ruleset(date(2026, 3, 1)).kode == "R2026"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (HEAD + "review_weeks,20,uger,2014-07-01,,R2014,x,y,own,z\n", "LawFixed"),
        (HEAD + "ask_lead,many,uger,2014-07-01,,R2014,x,y,own,z\n", "LawUnreadable"),
        (HEAD + "no_such_norm,1,uger,2014-07-01,,R2014,x,y,own,z\n", "LawUnreadable"),
        ("norm,value\nask_lead,9\n", "LawUnreadable"),
        (None, "LawUnreadable"),
    ],
)
def test_a_file_that_cannot_replace_says_why(tmp_path, content, code):
    file = tmp_path / "law.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError) as refused:
        LAW.replaced(file)
    assert refused.value.code == code


# --- the time limit ---


@pytest.mark.parametrize(
    ("first", "sagsart", "expected"),
    [
        ("2026-01-12", "11", "2026-07-31"),  # counted from 11 February; the 155th day is 15 July
        ("2025-12-29", "11", "2026-07-31"),  # the 155th day is 1 July
        ("2025-12-28", "11", "2026-06-30"),  # and 30 June a day earlier
        ("2026-01-12", "21", "2026-06-30"),  # two weeks are not counted
        ("2026-01-12", "17", "2026-06-30"),
        ("2023-07-30", "11", "2024-01-31"),
        ("2023-08-31", "11", "2024-03-31"),  # with 29 February the 155th day is 2 March
        ("2022-08-31", "11", "2023-03-31"),
    ],
)
def test_the_review_is_at_the_end_of_the_month_that_passes_22_weeks(first, sagsart, expected):
    one = spell(first, sagsart=sagsart)

    assert review_date(LAW, [one], after=one.first) == date.fromisoformat(expected)


def test_more_than_22_weeks_is_one_day_more():
    """154 days are 22 weeks and pass nothing."""
    start = date(2026, 1, 30)  # counted from 1 March
    last = date(2026, 3, 1) + timedelta(days=153)
    full, passed = spell("2026-01-30", last.isoformat()), spell("2026-01-30", day_after(last).isoformat())

    assert (start + timedelta(days=30), weeks(LAW, [full], last)) == (date(2026, 3, 1), Decimal("22.0"))
    assert review_date(LAW, [full], after=start) is None
    assert review_date(LAW, [passed], after=start) == date(2026, 8, 31)


def test_earlier_spells_count_within_nine_months_only():
    """What lies before the window is forgotten month by month."""
    earlier = spell("2025-08-02", "2025-12-31")  # counts from 1 September: 122 days
    later = spell("2026-03-02")  # counts from 1 April

    assert review_date(LAW, [later], after=later.first) == date(2026, 9, 30)
    assert review_date(LAW, [earlier, later], after=later.first) == date(2026, 5, 31)
    # at the end of May the window begins in September: 122 + 61 days
    assert weeks(LAW, [earlier, later], date(2026, 5, 31)) == round(Decimal(122 + 61) / 7, 1)
    # at the end of June it begins in October: 92 + 91
    assert weeks(LAW, [earlier, later], date(2026, 6, 30)) == round(Decimal(92 + 91) / 7, 1)


def test_parallel_cases_count_a_day_once():
    one, other = spell("2026-01-12"), spell("2026-02-12")

    assert counted_days(LAW, [one, other], first=date(2026, 1, 1), last=date(2026, 4, 30)) == counted_days(
        LAW, [one], first=date(2026, 1, 1), last=date(2026, 4, 30)
    )


def test_maternity_and_stopped_payment_do_not_count():
    days = {"first": date(2026, 1, 1), "last": date(2026, 6, 30)}
    plain = counted_days(LAW, [spell("2026-01-12")], **days)

    assert counted_days(LAW, [spell("2026-01-12", fravaerstype="GRAVIDITETSBETINGET")], **days) == 0
    stopped = spell("2026-01-12", without=((date(2026, 4, 1), date(2026, 4, 10)), (date(2026, 5, 1), date(2026, 5, 2))))
    assert counted_days(LAW, [stopped], **days) == plain - 12
    assert counted_days(LAW, [spell("2026-01-12", fravaerstype="DELVIST")], **days) == plain


def test_pensioners_have_26_weeks_in_12_months():
    one = spell("2026-01-12")  # the 183rd counted day is 12 August

    assert review_date(LAW, [one], after=one.first, pensioner=True) == date(2026, 8, 31)


@given(DAYS, st.sampled_from(["11", "21", "17", "00"]), st.integers(0, 3000))
def test_counting_is_the_same_as_counting_day_by_day(first, sagsart, length):
    """The quick count of stretches equals looking at each day."""
    one = Spell(first=first, last=first + timedelta(days=length), sagsart=sagsart, fravaerstype="FULDT")
    begin, end = first - timedelta(days=10), first + timedelta(days=400)
    wait = {"11": 30, "21": 14, "17": 14, "00": 0}[sagsart]
    slow = sum(
        1
        for number in range((end - begin).days + 1)
        if first + timedelta(days=wait) <= begin + timedelta(days=number) <= one.last  # type: ignore[operator]
    )

    assert counted_days(LAW, [one, one], first=begin, last=end) == slow


@given(DAYS)
def test_a_review_is_a_month_end_that_passes_the_limit_and_the_one_before_does_not(first):
    one = Spell(first=first, last=None, sagsart="11", fravaerstype="FULDT")
    review = review_date(LAW, [one], after=first)

    assert review is not None
    assert review == month_end(review)
    assert weeks(LAW, [one], review) > 22
    assert weeks(LAW, [one], review.replace(day=1) - timedelta(days=1)) <= 22


# --- extensions ---


def granted(kode: str, first: str, last: str | None) -> ForlaengelseType:
    fra = date.fromisoformat(first)
    return ForlaengelseType(
        Forlaengelseskode=kode, FraDato=fra, TilDato=date.fromisoformat(last) if last else None, AfgoerelsesDato=fra
    )


def test_an_extension_has_its_codes_days_all_periods_counted_together():
    first = date(2026, 9, 1)
    used = granted("P27_1_2", "2026-01-01", "2026-08-31")

    assert days_left("P27_1_2", [], first=first) == 69 * 7
    assert days_left("P27_1_3", [used], first=first) == 134 * 7
    assert days_left("P27_1_2", [used], first=first) == 69 * 7 - 243
    assert days_left("P27_1_2", [granted("P27_1_2", "2026-01-01", None)], first=first) == 69 * 7 - 243
    assert days_left("P27_1_5", [used], first=first) is None
    assert days_left("P26_COVID", [], first=date(2020, 11, 30)) == 90  # to the end of February

"""How values are read from arguments, and how they look to people."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.cli.decisions import parse_duration
from limen.cli.output import out, parse_instant, render_cell, render_instant
from limen.cli.people import parse_attribute
from limen.core.errors import Invalid, LimenError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("0m", 0)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, "--since") == seconds


@pytest.mark.parametrize("text", ["", "m", "30", "1.5h", "-3h", "3w", "²m", "٣m", "1 h", "1h30m"])
def test_what_is_no_duration_is_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(Invalid, match="--since") as caught:
        parse_duration(text, "--since")
    assert "30m" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2027-01-31", "2027-01-31T23:59:59+00:00"),
        ("20270131", "2027-01-31T23:59:59+00:00"),
        ("2027-01-31T18:00", "2027-01-31T18:00:00+00:00"),
        ("2027-01-31T18:00:00+01:00", "2027-01-31T17:00:00+00:00"),
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00+00:00"),
    ],
)
def test_a_date_means_its_end_and_a_time_means_itself(text: str, instant: str) -> None:
    assert parse_instant(text, "--expires") == datetime.fromisoformat(instant).timestamp()


@pytest.mark.parametrize("text", ["", "tomorrow", "31.01.2027", "2027-02-30", "2027-01-31T25:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="--expires"):
        parse_instant(text, "--expires")


def test_no_date_given_is_none() -> None:
    assert parse_instant(None, "--expires") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("clearance=3", 3),
        ("clearance=-3", -3),
        ("clearance=0", 0),
        ("room=0042", "0042"),
        ("room=--5", "--5"),
        ("room=²", "²"),
        ('room="42"', "42"),
        ("remote=true", True),
        ("remote=false", False),
        ("department=sales=emea", "sales=emea"),
        ("department=", None),
    ],
)
def test_an_attribute_is_a_number_a_boolean_text_or_nothing(text: str, value: object) -> None:
    key, _, _ = text.partition("=")
    assert parse_attribute(text) == (key, value)
    assert type(parse_attribute(text)[1]) is type(value)


@pytest.mark.parametrize("text", ["department", "=sales", ""])
def test_an_attribute_without_name_or_equals_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="--attribute"):
        parse_attribute(text)


@given(st.text(max_size=12))
def test_arguments_are_read_or_refused_never_broken(text: str) -> None:
    for parse in (
        parse_attribute,
        lambda given: parse_duration(given, "x"),
        lambda given: parse_instant(given, "x"),
    ):
        try:
            parse(text)
        except LimenError as error:
            assert error.message and error.remedy


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("", "–"),
        ([], "–"),
        ({}, "–"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (12, "12"),
        (2.0, "2"),
        (0.25, "0.25"),
        (1_234_567.5, "1234567.5"),
        (1_800_000_000.0, "2027-01-15 08:00:00Z"),
        (["a", "b"], "a, b"),
        ({"a": 1, "b": [True]}, "a=1, b=yes"),
    ],
)
def test_a_value_looks_as_people_read_it(value: object, shown: str) -> None:
    assert render_cell(value) == shown


@given(st.datetimes(min_value=datetime(2002, 1, 1), max_value=datetime(2200, 1, 1)))
def test_an_instant_is_shown_in_utc_to_the_second(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC, microsecond=0)
    assert datetime.fromisoformat(render_instant(at.timestamp())) == at


def test_a_policys_id_is_no_emoji() -> None:
    with out.capture() as captured:
        out.print("allow:tv:group:staff")
    assert captured.get().strip() == "allow:tv:group:staff"

"""What a policy reads, and which uses of time have an edge."""

from datetime import UTC, datetime

import pytest
from engine_world import NOON, bundle

from limen.engine.edges import Calendar, Crossing, Reading, next_edge, to_ms
from limen.engine.est import datetime_ms, duration_ms
from limen.engine.reads import FIELDS, TIME_FIELDS, Reads, policy_reads


def reads(condition: str) -> Reads:
    (policy,) = bundle(f'@id("p") permit(principal, action, resource) when {{ {condition} }};').policies
    return policy_reads(policy.est)


@pytest.mark.parametrize(
    ("condition", "fields"),
    [
        ("true", set()),
        ("context has session", {"session"}),
        ("context.session.aal > 1", {"session", "session.aal"}),
        ("context has session.aal", {"session", "session.aal"}),
        ("context.risk > 1 || context.signals.isEmpty()", {"risk", "signals"}),
        ("context has device", {"device"}),
        ("context.device.posture.firewall", {"device"}),
        ('context.network.ip.isInRange(ip("10.0.0.0/8"))', {"network"}),
        ("context.network.ip.isIpv4()", {"network", "network.ip"}),
        ('context.network has country && context.network["country"] == "PT"', {"network", "network.country"}),
        ('principal.kind == "employee"', set()),
        ('{"Var": context.risk, "in": 3}["in"] == 3', {"risk"}),
        ('{"in": context.risk}["in"] == 3', {"risk"}),
        ("(if true then context else context).risk == 1", set(FIELDS)),
    ],
)
def test_the_fields_that_a_condition_reads(condition: str, fields: set[str]) -> None:
    assert reads(condition).fields == fields


@pytest.mark.parametrize(
    ("condition", "entities"),
    [
        ("context.risk > 1", False),
        ('action == Action::"read"', False),
        ("principal.quarantined", True),
        ('resource in Label::"phi"', True),
        ("context has device", True),
        ('User::"x".quarantined', True),
        ('(if context.risk > 1 then User::"x" else User::"y").quarantined', True),
        ('{a: User::"x"}.a.quarantined', True),
    ],
)
def test_whether_a_condition_looks_at_entities(condition: str, entities: bool) -> None:
    assert reads(condition).entities is entities


def test_named_ranges_are_read_as_ranges() -> None:
    found = reads(
        'context.network.ip.isInRange(ip("10.0.0.0/8")) && context.network.ip.isInRange(ip("fd00::/8"))'
    )
    assert found.ranges == {"10.0.0.0/8", "fd00::/8"}


def test_what_of_the_principal_is_read() -> None:
    assert reads('principal.attributes has title && principal.kind == "x"').principal == {
        "attributes.title",
        "kind",
    }
    assert reads('principal in Group::"x"').principal == frozenset()
    assert reads("resource.owner == principal").principal == {""}


@pytest.mark.parametrize(
    ("condition", "form"),
    [
        ("context.hour < 3", Reading("hour", frozenset({0, 1, 2}))),
        ("21 <= context.hour", Reading("hour", frozenset({21, 22, 23}))),
        ("context.weekday != 1", Reading("weekday", frozenset({2, 3, 4, 5, 6, 7}))),
        ("[6, 7].contains(context.weekday)", Reading("weekday", frozenset({6, 7}))),
        ('context.session.auth_age <= duration("15m")', Crossing("session.auth_age", (900_001,), 900_000)),
        ('context.session.age < duration("1s")', Crossing("session.age", (1000,), 1000)),
        ('duration("1s") > context.session.age', Crossing("session.age", (1000,), 1000)),
        ('duration("1s") < context.session.age', Crossing("session.age", (1001,), 1000)),
        ('context.session.age == duration("1s")', Crossing("session.age", (1000, 1001), 1000)),
        ('context.now >= datetime("1970-01-02")', Crossing("now", (86_400_000,), 86_400_000)),
    ],
)
def test_memoisable_forms(condition: str, form: object) -> None:
    found = reads(condition)
    assert found.forms == {form}
    assert found.unmemoisable == frozenset()


@pytest.mark.parametrize(
    "condition",
    [
        "context.hour + 1 < 3",
        "context.hour == context.weekday",
        "[context.hour].contains(3)",
        "context.hour == context.risk",
        'context.now.toDate() == datetime("2027-01-01")',
        'context.session.age < datetime("2027-01-02").durationSince(context.now)',
        'context.session.age.toHours() < 3 && context.session.auth_age < duration("1h")',
        "{now: context.now}.now == context.now",
    ],
)
def test_every_other_use_of_time_is_not(condition: str) -> None:
    assert reads(condition).unmemoisable


def test_presence_of_a_time_term_is_no_use_of_it() -> None:
    assert reads("context has session.auth_age").unmemoisable == frozenset()
    assert reads("context.session == context.session").unmemoisable <= TIME_FIELDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", 900_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("-1h", -3_600_000),
        ("500ms", 500),
        ("", None),
        ("1h1d", None),
        ("15 m", None),
    ],
)
def test_durations_are_read_as_cedar_reads_them(text: str, expected: int | None) -> None:
    assert duration_ms(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:00.250Z", 250),
        ("1970-01-01T05:30:00+0530", 0),
        ("1969-12-31T23:00:00.001-0100", 1),
        ("1970-01-01T00:00:00", None),
        ("1970-13-01", None),
        ("1970-01-01T00:00:00.5Z", None),
    ],
)
def test_datetimes_are_read_as_cedar_reads_them(text: str, expected: int | None) -> None:
    assert datetime_ms(text) == expected


@pytest.mark.parametrize("hours", [{18}, {2}, {23}, {1}, {0, 1}, {9, 10, 11, 12, 13, 14, 15, 16, 17}])
@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("UTC", "2027-01-15T12:00"),
        ("Asia/Kolkata", "2027-01-15T12:00"),  # half an hour off
        ("Europe/Lisbon", "2027-03-28T00:30"),  # 01:00 becomes 02:00
        ("Europe/Lisbon", "2027-10-30T23:40"),  # the hour from 01:00 comes twice
        ("Australia/Lord_Howe", "2027-04-03T14:20"),  # 02:00 becomes 01:30
        ("Australia/Lord_Howe", "2027-10-02T15:10"),  # 02:00 becomes 02:30
        ("America/St_Johns", "2010-11-07T02:30"),  # a minute past midnight becomes 23:01
    ],
)
def test_the_next_edge_of_an_hour_is_the_first_minute_that_differs(
    zone: str, near: str, hours: set[int]
) -> None:
    start_s = int(datetime.fromisoformat(near).replace(tzinfo=UTC).timestamp()) + 7
    reading = Reading("hour", frozenset(hours))
    calendar = Calendar(zone)
    now = calendar.show("hour", start_s * 1000) in hours
    minute_s = start_s - start_s % 60
    while (calendar.show("hour", minute_s * 1000) in hours) is now:
        minute_s += 60
    assert Calendar(zone).next_edge(reading, start_s * 1000) == minute_s * 1000


def test_a_reading_that_never_turns_is_looked_at_again_after_the_horizon() -> None:
    always = Reading("hour", frozenset(range(24)))
    edge = next_edge([always], to_ms(NOON), {}, Calendar("UTC"))
    assert edge == to_ms(NOON + 8 * 86_400)


def test_edges_survive_the_way_through_seconds() -> None:
    for edge_ms in (1_800_014_400_001, 1_800_014_399_999, 1_800_014_400_123, 1001, 1):
        assert to_ms(edge_ms / 1000) == edge_ms

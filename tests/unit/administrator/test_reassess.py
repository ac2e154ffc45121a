"""Re-assessment: who is ended by what, why, in which order; and who is left alone."""

import asyncio
import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from reassess_world import FACTOR, HOUR, NOW, PERMITS, YAML, ReassessWorld, bundle_fact
from structlog.testing import capture_logs

from limen.administrator.reassess import SLICE_S
from limen.administrator.reassess_metrics import ReassessCollector
from limen.administrator.reassess_places import read_path
from limen.administrator.streams import Cause
from limen.core.changes import GrantFact, GroupFact, PersonFact, SecretFact, Snapshot
from limen.core.entities import Status
from limen.core.ids import EntityRef


def person(**changes: object) -> PersonFact:
    return PersonFact(**{"id": "ada", "name": "Ada", "email": "", "groups": ("dba", "staff"), **changes})  # type: ignore[arg-type]


# --- what ends a stream --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (person(status=Status.SUSPENDED), Cause.DENIED),
        (person(status=Status.ENDED), Cause.DENIED),
        (person(quarantined=True), Cause.DENIED),
        (person(expires_at=NOW), Cause.DENIED),
        (person(groups=()), Cause.DENIED),
        (("person", "ada"), Cause.DENIED),
        (("session", "s1"), Cause.SESSION_ENDED),
        (("app_session", "c1"), Cause.SESSION_ENDED),
        (bundle_fact(permits=""), Cause.DENIED),
        (bundle_fact(yaml="domain: limen.test\n", permits=""), Cause.DENIED),
        (("bundle", "active"), Cause.DENIED),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_change_that_flips_a_decision_closes_its_stream(value: object, cause: Cause) -> None:
    world = ReassessWorld()
    stream = world.open()
    assert world.is_live(stream)
    world.commit(value)  # type: ignore[arg-type]
    world.settle()
    assert not world.is_live(stream)
    assert world.closed[stream.id].cause is cause
    assert world.closed[stream.id].sentence.endswith(".")


@pytest.mark.parametrize(
    "value",
    [
        PersonFact(id="bob", name="Bob", email="", status=Status.SUSPENDED),
        person(name="Ada L."),
        GroupFact("others"),
        GroupFact("dba", ("staff",)),
        GrantFact("g", ("User", "ada"), ("access",), ("App", "wiki"), NOW + 60),
        SecretFact("s", "sealed"),
        ("session", "s2"),
        bundle_fact(permits=PERMITS + "// a comment\n"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_change_that_flips_nothing_leaves_streams_alone(value: object) -> None:
    world = ReassessWorld()
    streams = [world.open(), world.open("db.limen.test", "", token="t1", protocol="connect")]
    world.commit(value)  # type: ignore[arg-type]
    world.settle()
    assert all(map(world.is_live, streams))


def test_a_group_that_is_nested_or_not_is_followed() -> None:
    world = ReassessWorld()
    world.commit(person(groups=("night",)), GroupFact("night", ("staff",)))
    stream = world.open()
    assert world.is_live(stream)
    world.commit(GroupFact("night"))
    world.settle()
    assert not world.is_live(stream)


def test_a_grant_keeps_a_stream_until_it_is_revoked() -> None:
    world = ReassessWorld()
    grant = GrantFact("g1", ("User", "ada"), ("access",), ("App", "wiki"), NOW + HOUR)
    world.commit(bundle_fact(permits=""), grant)
    stream = world.open()
    assert world.is_live(stream)
    world.commit(("grant", "g1"))
    world.settle()
    assert world.closed[stream.id].cause is Cause.DENIED


def test_r3_a_grant_that_expires_closes_at_its_instant_and_not_before() -> None:
    world = ReassessWorld()
    grant = GrantFact("g1", ("Group", "staff"), ("access",), ("App", "wiki"), NOW + HOUR)
    world.commit(bundle_fact(permits=""), grant)
    stream = world.open()
    assert stream.deadline_at == NOW + HOUR
    world.clock.advance(HOUR - 1)
    world.confirm()
    assert world.settle() == 1.0 and world.is_live(stream)
    world.clock.advance(1)
    world.confirm()
    world.settle()
    assert not world.is_live(stream)


def test_a_session_that_expires_ends_as_a_session() -> None:
    world = ReassessWorld()
    world.commit(world.session(expires_at=NOW + 60))
    stream = world.open()
    world.clock.advance(60)
    world.settle()
    assert world.closed[stream.id].cause is Cause.SESSION_ENDED


def test_the_longest_life_of_a_stream_is_an_end_of_its_own() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(world.session(expires_at=NOW + 100 * HOUR), world.cookie("c1", expires_at=NOW + 100 * HOUR))
    world.settle()
    world.clock.advance(12 * HOUR)
    world.confirm()
    world.settle()
    assert world.closed[stream.id].cause is Cause.AGE


def test_a_bundle_may_shorten_and_lengthen_the_life_of_streams() -> None:
    world = ReassessWorld()
    short = YAML.replace("domain: limen.test", "domain: limen.test\nstreams: {max_s: 600}")
    stream = world.open()
    world.commit(bundle_fact(yaml=short))
    world.settle()
    assert (stream.max_at, stream.deadline_at) == (NOW + 600, NOW + 600)
    world.commit(bundle_fact())
    world.settle()
    assert stream.max_at == NOW + 12 * HOUR


def test_a_route_that_becomes_another_is_decided_as_what_it_is_now() -> None:
    world = ReassessWorld()
    stream = world.open(path="/live")
    fresh = '@id("old") @reason("x.") forbid(principal, action == Action::"admin", resource);\n'
    moved = YAML.replace("/board/**", "/live")
    world.commit(bundle_fact(yaml=moved))
    world.settle()
    assert world.is_live(stream)
    assert (stream.question.action, stream.question.resource) == ("admin", EntityRef("Route", "wiki/board"))
    assert stream.staleness_max_s == 30.0
    world.commit(bundle_fact(yaml=moved, guardrails=FACTOR + fresh))
    world.settle()
    assert not world.is_live(stream)


def test_a_service_that_is_gone_closes_its_streams_and_no_others() -> None:
    world = ReassessWorld()
    tunnel = world.open("db.limen.test", "", token="t1", protocol="connect")
    page = world.open()
    world.commit(bundle_fact(yaml=YAML[: YAML.index("services:")]))
    world.settle()
    assert world.closed[tunnel.id].cause is Cause.DENIED
    assert world.is_live(page)


def test_an_upgrade_that_is_not_open_any_more_closes() -> None:
    world = ReassessWorld()
    socket = world.open(protocol="websocket")
    events = world.open(protocol="sse")
    none = YAML.replace("upstream: http://127.0.0.1:1", "upstream: http://127.0.0.1:1\n    upgrades: []")
    world.commit(bundle_fact(yaml=none))
    world.settle()
    assert not world.is_live(socket) and world.is_live(events)


def test_a_stream_of_nobody_lives_while_its_route_is_public() -> None:
    world = ReassessWorld()
    stream = world.open(path="/news", person=None)
    assert world.is_live(stream)
    world.commit(person(status=Status.SUSPENDED))
    world.settle()
    assert world.is_live(stream)
    world.commit(bundle_fact(yaml=YAML.replace(", public: true", "")))
    world.settle()
    assert world.closed[stream.id].cause is Cause.DENIED


def test_an_engine_that_fails_closes() -> None:
    world = ReassessWorld()
    stream = world.open()

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    world.reassessor._redecider.redecide = fail  # type: ignore[method-assign,assignment]
    with capture_logs():
        world.commit(person(name="Ada L."))
        world.settle()
    assert not world.is_live(stream)


# --- sessions that are replaced ------------------------------------------------------------------


def test_a_step_up_that_replaces_the_app_session_cuts_nothing() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(world.session(aal=3), world.cookie("c1", expires_at=NOW + 15), world.cookie("c9"))
    world.settle()
    assert world.is_live(stream) and stream.deadline_at == NOW + 15
    world.clock.advance(15)
    world.settle()
    assert world.is_live(stream) and stream.token_hash == "c9"
    world.commit(("app_session", "c1"))
    world.settle()
    assert world.is_live(stream)
    world.commit(("app_session", "c9"))
    world.settle()
    assert world.closed[stream.id].cause is Cause.SESSION_ENDED


def test_only_a_cookie_of_the_same_session_and_app_takes_over() -> None:
    world = ReassessWorld()
    stream = world.open()
    token = world.cookie("x", session="s1")
    world.commit(world.session("s2"), world.cookie("c8", session="s2"), world.cookie("c7", app="chat"))
    world.commit(type(token)("x", "s1", "wiki", NOW + HOUR, "token"))
    world.commit(("app_session", "c1"))
    world.settle()
    assert not world.is_live(stream)


def test_a_program_needs_its_own_token() -> None:
    world = ReassessWorld()
    tunnel = world.open("db.limen.test", "", token="t1", protocol="connect")
    other = type(world.cookie("x"))("t2", "s1", "@connect", NOW + HOUR, "token")
    world.commit(other, ("app_session", "t1"))
    world.settle()
    assert world.closed[tunnel.id].cause is Cause.SESSION_ENDED


# --- time ----------------------------------------------------------------------------------------


def test_r4_a_replica_that_is_too_old_closes_what_may_not_be_so_old() -> None:
    world = ReassessWorld()
    board = world.open(path="/board/x")
    page = world.open()
    assert board.staleness_max_s == 30.0
    world.clock.advance(30)
    world.settle()
    assert world.is_live(board)
    world.clock.advance(0.5)
    world.settle()
    assert world.closed[board.id].cause is Cause.STALE and world.is_live(page)
    world.clock.advance(270)
    world.settle()
    assert world.closed[page.id].cause is Cause.STALE


def test_r4_the_bound_is_known_before_it_is_passed() -> None:
    world = ReassessWorld()
    world.open(path="/board/x")
    world.clock.advance(29)
    assert world.settle() == pytest.approx(1.0)


def test_a_snapshot_of_the_same_epoch_closes_nobody() -> None:
    world = ReassessWorld()
    stream = world.open()
    snapshot = world.replica.snapshot()
    world.replica.apply_snapshot(snapshot)
    world.settle()
    assert world.is_live(stream)
    world.replica.apply_snapshot(Snapshot("another", 1, snapshot.values))
    world.settle()
    assert world.closed[stream.id].cause is Cause.STALE  # nobody vouches for it yet


def test_a_clock_that_is_set_back_is_another_now() -> None:
    world = ReassessWorld()
    night = (
        '@id("day") @reason("By day.") forbid(principal, action, resource)'
        " unless { context.hour >= 8 && context.hour < 20 };\n"
    )
    world.commit(bundle_fact(guardrails=FACTOR + night))
    stream = world.open()
    assert world.is_live(stream)
    world.clock.jump(-60)  # 07:59
    world.settle()
    assert world.closed[stream.id].cause is Cause.DENIED


def test_a_clock_that_is_set_forward_meets_its_deadlines() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.clock.jump(13 * HOUR)
    world.settle()
    assert not world.is_live(stream)


def test_time_that_no_edge_can_be_named_for_is_looked_at_each_second() -> None:
    world = ReassessWorld()
    odd = (
        '@id("odd") @reason("x.") forbid(principal, action, resource)'
        ' when { context.now.offset(duration("-1h")) > datetime("2027-01-15T08:00:00Z") };\n'
    )
    world.commit(bundle_fact(guardrails=FACTOR + odd))
    stream = world.open()
    assert stream.deadline_at == NOW + 1.0
    world.clock.advance(HOUR)
    world.confirm()
    world.settle()
    assert world.is_live(stream)
    world.clock.advance(1)
    world.settle()
    assert not world.is_live(stream)


def test_r3_what_ends_within_that_second_is_not_a_second_late() -> None:
    world = ReassessWorld()
    odd = (
        '@id("odd") @reason("x.") forbid(principal, action, resource)'
        ' when { context.now.offset(duration("-1h")) > datetime("2027-01-15T08:00:00Z") };\n'
    )
    world.commit(bundle_fact(guardrails=FACTOR + odd), person(expires_at=NOW + 0.25))
    assert world.open().deadline_at == NOW + 0.25


# --- order, records, measurements ----------------------------------------------------------------


def test_nothing_falls_between_deciding_and_adding() -> None:
    world = ReassessWorld()
    world.commit(person(status=Status.SUSPENDED))
    stream = world.open()  # was decided before: its stamp is another
    assert not world.is_live(stream)


def test_a_stream_that_was_decided_just_now_is_not_decided_again() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.streams.remove(stream.id)
    asked = world.memo.hits + world.memo.misses
    stream.deadline_at = None
    world.streams.add(world.opened_fresh(stream))
    world.settle()
    assert world.memo.hits + world.memo.misses == asked
    assert stream.deadline_at == stream.max_at


def test_a_subjects_change_goes_before_a_bundles() -> None:
    world = ReassessWorld()
    rows = [PersonFact(id=f"p{n}", name="", email="", groups=("staff",)) for n in range(20)]
    world.commit(*rows)
    world.commit(*(world.session(f"z{n}", f"p{n}") for n in range(20)))
    world.commit(*(world.cookie(f"k{n}", session=f"z{n}") for n in range(20)))
    streams = [world.open(token=f"k{n}", person=f"p{n}") for n in range(20)]
    world.commit(bundle_fact(permits=""))
    world.reassessor.work(0.0)
    world.commit(PersonFact(id="p19", name="", email="", status=Status.SUSPENDED))
    world.reassessor.work(0.0)
    assert list(world.closed) == [streams[0].id, streams[19].id]
    assert world.settle() > 0
    assert len(world.closed) == 20


def test_work_stops_when_its_slice_is_over() -> None:
    world = ReassessWorld()
    for _ in range(30):
        world.open()
    world.commit(bundle_fact(permits=""))
    assert world.reassessor.work(SLICE_S) == 0.0
    assert 0 < len(world.closed) < 30
    assert world.settle() > 0 and len(world.closed) == 30


def test_a_flip_is_recorded_before_it_closes_and_the_change_after() -> None:
    world = ReassessWorld()
    stream, other = world.open(), world.open("chat.limen.test", token="c2")
    seen: list[int] = []
    stream.close = lambda _ending: seen.append(len(world.journal.decisions))
    world.commit(bundle_fact(permits=""))
    world.settle()
    [record] = world.journal.decisions
    assert seen == [1]
    assert (record.point, record.verdict, record.code, record.node) == ("reassess", "deny", "NO_PERMIT", "gw")
    assert record.id != stream.id and record.inputs
    assert [ending.decision_id for _, ending in world.ended] == [record.id]
    assert world.streams.get(other.id) is other
    [event] = world.journal.events
    assert event.kind == "streams.reassessed"
    assert event.data["seq"] == world.replica.seq
    assert (event.data["kept"], event.data["closed"]) == (1, 1)


def test_a_full_journal_keeps_nothing_open() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.journal.full = True
    with capture_logs():
        world.commit(person(quarantined=True))
        world.settle()
    assert not world.is_live(stream)
    assert world.closed[stream.id].decision_id == ""
    assert world.reassessor.tally.unrecorded == 1


def test_what_was_done_is_measured() -> None:
    world = ReassessWorld()
    world.open()
    world.open("chat.limen.test", token="c2")
    world.commit(bundle_fact(permits=""))
    world.settle()
    registry = CollectorRegistry()
    registry.register(ReassessCollector(world.reassessor.tally, world.streams))
    text = generate_latest(registry).decode()
    assert "limen_streams_live 1.0" in text
    assert 'limen_streams_ended_total{cause="denied"} 1.0' in text
    assert "limen_stream_close_seconds_count 1.0" in text


def test_a_change_that_reads_nobody_is_no_event() -> None:
    world = ReassessWorld()
    world.open()
    world.commit(PersonFact(id="zoe", name="", email=""))
    world.settle()
    assert not world.journal.events


def test_it_wakes_for_a_change_and_yields_between_slices() -> None:
    async def scenario() -> tuple[int, int]:
        world = ReassessWorld()
        for _ in range(30):
            world.open()
        others = 0
        running = asyncio.create_task(world.reassessor.run())
        await asyncio.sleep(0)
        world.commit(bundle_fact(permits=""))
        async with asyncio.timeout(10):
            while world.closed.keys() != {record for record, _ in world.ended} or len(world.closed) < 30:
                others += 1
                await asyncio.sleep(0)
        running.cancel()
        return len(world.closed), others

    closed, others = asyncio.run(scenario())
    assert closed == 30 and others >= 5


def test_nothing_to_do_is_nothing_to_wait_for() -> None:
    assert ReassessWorld().settle() == math.inf


@pytest.mark.parametrize(("wire", "read"), [("/a", "/a"), ("/%61", "/a"), ("/a%2fb", "/a%2Fb"), ("", "")])
def test_paths_are_read_as_the_check_reads_them(wire: str, read: str) -> None:
    assert read_path(wire) == read

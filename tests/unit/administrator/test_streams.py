"""The registry of live streams: found by what they read, limited, shown, ended once."""

from hypothesis import given
from hypothesis import strategies as st
from reassess_world import NOW, ReassessWorld
from structlog.testing import capture_logs

from limen.administrator.stream_index import Shelf, StreamIndex
from limen.administrator.streams import Cause, Ending, LiveStream, Streams, reads_of
from limen.core.catalogue import StreamLimits
from limen.core.changes import GrantFact
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Code, Network
from limen.core.errors import Unavailable
from limen.core.ids import DecisionId, EntityRef

ADA, WIKI = EntityRef("User", "ada"), EntityRef("App", "wiki")
CUT = Ending(Cause.OPERATOR, "An operator ended it.")


class Registry:
    """A registry, and what its streams and its hook were told."""

    def __init__(self, ended_max: int = 10) -> None:
        self.clock = FakeClock(NOW)
        self.closed: list[str] = []
        self.told: list[tuple[str, Cause]] = []
        self.streams = Streams(
            self.clock,
            on_end=lambda stream, ending: self.told.append((stream.id, ending.cause)),
            ended_max=ended_max,
        )

    def add(
        self, name: str, subject: str = "ada", session: str = "s1", resource: EntityRef = WIKI
    ) -> LiveStream:
        question = AccessRequest(
            DecisionId(name),
            NOW,
            EntityRef("User", subject),
            "read",
            resource,
            session,
            "GET",
            "h",
            "/p",
            "::1",
        )
        stream = LiveStream(
            question=question,
            network=Network(),
            app="wiki",
            token_hash=f"t-{session}",
            token_kind="cookie",
            staleness_max_s=300.0,
            protocol="sse",
            opened_at=NOW,
            max_at=NOW + 60,
            close=lambda _ending: self.closed.append(name),
            reads=(EntityRef("User", subject), resource),
        )
        self.streams.add(stream)
        return stream


def test_l1_a_stream_ends_once_and_its_end_is_told_once() -> None:
    registry = Registry()
    registry.add("a")
    assert registry.streams.end("a", CUT)
    assert not registry.streams.end("a", CUT)
    assert registry.streams.remove("a") is None
    assert (registry.closed, registry.told) == (["a"], [("a", Cause.OPERATOR)])


def test_l1_a_stream_that_ended_by_itself_is_not_closed() -> None:
    registry = Registry()
    stream = registry.add("a")
    assert registry.streams.remove("a") is stream
    assert (registry.closed, registry.told) == ([], [("a", Cause.FINISHED)])
    assert not registry.streams.end("a", CUT)


def test_what_cannot_be_closed_or_recorded_keeps_nothing_else_open() -> None:
    registry = Registry()

    def fail(_ending: Ending) -> None:
        raise RuntimeError("a bug")

    def full(_stream: LiveStream, _ending: Ending) -> None:
        raise Unavailable("The disk is full.")

    registry.add("a").close = fail
    registry.add("b")
    registry.streams.on_end = full
    with capture_logs() as logs:
        assert [registry.streams.end(name, CUT) for name in ("a", "b")] == [True, True]
    assert registry.closed == ["b"] and len(registry.streams) == 0
    assert [line["event"] for line in logs].count("stream.end_not_recorded") == 2


def test_only_the_last_endings_are_remembered() -> None:
    registry = Registry(ended_max=2)
    for name in "abc":
        registry.add(name)
        registry.streams.end(name, CUT)
    ended = registry.streams.ended("c")
    assert registry.streams.ended("a") is None and ended is not None
    assert (ended.token_hash, ended.cause, ended.sentence) == ("t-s1", Cause.OPERATOR, CUT.sentence)
    assert ended.at == NOW


def test_limits_count_by_session_subject_and_resource() -> None:
    registry = Registry()
    registry.add("a")
    registry.add("b", session="s2")
    registry.add("c", subject="bob", session="s3")
    refusal = registry.streams.refusal
    limits = StreamLimits(per_session=2, per_subject=3, per_resource=4)
    assert refusal("s1", ADA, WIKI, limits) is None
    assert refusal("s1", ADA, WIKI, StreamLimits(per_session=1)) is Code.STREAM_LIMIT
    assert refusal("s9", ADA, WIKI, StreamLimits(per_subject=2)) is Code.STREAM_LIMIT
    assert refusal("s9", EntityRef("User", "x"), WIKI, StreamLimits(per_resource=3)) is Code.STREAM_LIMIT
    assert refusal(None, None, WIKI, StreamLimits(per_session=0, per_subject=0)) is None
    registry.streams.end("a", CUT)
    assert refusal("s1", ADA, WIKI, StreamLimits(per_session=1, per_subject=2, per_resource=3)) is None


def test_streams_are_selected_by_bare_names() -> None:
    registry = Registry()
    registry.add("a")
    registry.add("b", subject="bob", session="s2", resource=EntityRef("Route", "wiki/board"))
    registry.add("c", subject="bob", session="s2", resource=EntityRef("App", "wikipedia"))
    ids = lambda **names: [view.id for view in registry.streams.views(**names)]  # noqa: E731
    assert ids() == ["a", "b", "c"]
    assert ids(subject="bob") == ["b", "c"]
    assert ids(resource="wiki") == ["a", "b"]
    assert ids(session="s2", resource="wiki/board") == ["b"]
    assert ids(subject="ada", session="s2") == []


def test_bytes_tell_which_session_is_in_use() -> None:
    registry = Registry()
    registry.add("a")
    assert registry.streams.note_bytes("a", 0, 0, NOW + 5) is None
    assert registry.streams.note_bytes("a", 1, 0, NOW + 5) == "s1"
    assert registry.streams.note_bytes("a", 1, 0, NOW + 10) is None
    [view] = registry.streams.views()
    assert (view.bytes_in, view.bytes_at) == (1, NOW + 5)
    assert registry.streams.note_bytes("gone", 1, 0, NOW) is None


def test_a_decision_reads_its_closures_and_its_grants() -> None:
    world = ReassessWorld()
    world.commit(GrantFact("g1", ("Group", "staff"), ("access",), ("App", "wiki"), NOW + 60))
    facts = world.replica.facts(ADA, WIKI, at=NOW)
    assert facts is not None
    named = {str(ref) for ref in reads_of(facts)}
    assert named == {'User::"ada"', 'Group::"staff"', 'Group::"dba"', 'App::"wiki"', 'Grant::"g1"'}


def test_equal_reads_are_one_object() -> None:
    registry = Registry()
    one, two = registry.add("a"), registry.add("b")
    assert one.reads is two.reads


keys = st.sampled_from("xyz")
names = st.sampled_from("abcd")


@given(st.lists(st.tuples(st.booleans(), keys, names), max_size=40))
def test_a_shelf_is_a_dict_of_ordered_sets(steps: list[tuple[bool, str, str]]) -> None:
    shelf: Shelf[str] = Shelf()
    model: dict[str, dict[str, None]] = {key: {} for key in "xyz"}
    for put, key, name in steps:
        if put:
            shelf.put(key, name)
            model[key][name] = None
        else:
            shelf.take(key, name)
            model[key].pop(name, None)
        for other, held in model.items():
            assert list(shelf.of(other)) == list(held)
            assert shelf.count(other) == len(held)


refs = st.lists(st.sampled_from([EntityRef("Group", name) for name in "pqr"]), unique=True).map(
    lambda found: tuple(sorted(found))
)


@given(st.lists(st.tuples(st.sampled_from("prt"), names, refs, keys), max_size=40))
def test_the_index_finds_what_a_scan_would(steps: list[tuple[str, str, tuple[EntityRef, ...], str]]) -> None:
    index = StreamIndex()
    model: dict[str, tuple[tuple[EntityRef, ...], str]] = {}
    for what, name, reads, key in steps:
        if name in model:
            old, session = model[name]
            if what == "r":
                index.reread(name, old, reads)
                model[name] = (reads, session)
            elif what == "t":
                index.take(name, old, session, session)
                del model[name]
        elif what == "p":
            index.put(name, reads, key, key)
            model[name] = (reads, key)
        for ref in (EntityRef("Group", one) for one in "pqr"):
            assert set(index.by_ref(ref)) == {name for name, (held, _) in model.items() if ref in held}
        for session in "xyz":
            scanned = {name for name, (_, of) in model.items() if of == session}
            assert set(index.by_session(session)) == set(index.by_token(session)) == scanned
    for name, (reads, session) in model.items():
        index.take(name, reads, session, session)
    assert not index._footprints and not index._readers


def test_a_stream_that_ended_at_its_idle_limit_says_so() -> None:
    registry = Registry()
    for name in ("quiet", "busy"):
        registry.add(name).idle_s = 60.0
    registry.clock.advance(58.0)
    registry.streams.note_bytes("busy", 1, 1, registry.clock.now())
    registry.clock.advance(2.0)
    registry.streams.remove("quiet")
    registry.streams.remove("busy")
    assert registry.told == [("quiet", Cause.IDLE), ("busy", Cause.FINISHED)]


def test_the_routes_of_an_app_count_as_the_app() -> None:
    registry = Registry()
    registry.add("a", resource=EntityRef("Route", "wiki/live"))
    limits = StreamLimits(per_resource=1)
    refusal = registry.streams.refusal
    assert refusal(None, None, WIKI, limits) is Code.STREAM_LIMIT
    assert refusal(None, None, EntityRef("Route", "wiki/other"), limits) is Code.STREAM_LIMIT
    assert refusal(None, None, EntityRef("App", "pay"), limits) is None

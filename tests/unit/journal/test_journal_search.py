"""Searching: the same answers before, during and after compaction; what is typed is never more than data."""

import shutil
from pathlib import Path

import pytest
from msgspec import structs
from tests.kit.archive_world import NODE, SMALL, compact, decision, event, fill, outcome

from limen.core.clock import FakeClock
from limen.core.errors import Invalid
from limen.core.record import ERASED, EventRecord
from limen.journal import compacted, raw, stored
from limen.journal.frame import encode_frame
from limen.journal.keys import Keys
from limen.journal.query import DECISIONS, EVENTS, Query
from limen.journal.reader import JournalReader
from limen.journal.search import Hit, Joined, search
from limen.journal.volume import Volume, app_of, by_app, by_label, by_person, count_volume
from limen.journal.writer import Journal

BOTH = (DECISIONS, EVENTS)
COUNT = 60
POISON = (
    "'; DROP VIEW part; --",
    '" OR 1=1',
    "%",
    "\x1b[31mred\x07",
    "<script>alert(1)</script>",
    "\u202eright to left",
    "ünïcode ☃",
    "\\",
)


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("hot"))


@pytest.fixture(scope="module")
def cold(hot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cold") / "journal"
    shutil.copytree(hot, root)
    compact(root)
    return root


def make(root: Path) -> Path:
    fill(root, COUNT)
    with Journal.open(root, "gateway-b", FakeClock(2_000.0), options=SMALL) as journal:
        denied = {"verdict": "deny", "code": "FORBIDDEN", "policies": ("phi", "mfa")}
        journal.append(decision(100, resource='Route::"payroll/exports"', **denied))
        journal.append(decision(101, resource='App::"payroll"', ip="2001:db8::7"))
        journal.append(decision(102, subject='Workload::"ci"', resource='Service::"db"'))
        journal.append(
            event(103, kind="session.ended", actor="limen", target="ses_1", data={"person": "bob"})
        )
        for number, text in enumerate(POISON):
            journal.append(decision(110 + number, path=f"/{text}", policies=(text,), code="POISON"))
            journal.append(event(130 + number, kind="poisoned", reason=text, data={"text": text}))
    return root


def ids(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.decision.id if isinstance(hit, Joined) else hit.id for hit in hits]


def both(hot: Path, cold: Path, query: Query) -> list[str]:
    """Search both, and give what both found."""
    found = search(hot, query)
    assert ids(search(cold, query)) == ids(found)
    assert [hit.outcome for hit in search(cold, query) if isinstance(hit, Joined)] == [
        hit.outcome for hit in found if isinstance(hit, Joined)
    ]
    return ids(found)


QUERIES = {
    "a subject": (Query(subject="ada", kinds=BOTH, limit=500), True),
    "by reference": (Query(subject='User::"ada"', limit=500), True),
    "a workload": (Query(subject='Workload::"ci"'), True),
    "nobody": (Query(subject="mallory", kinds=BOTH), False),
    "part of a name": (Query(subject="ad", kinds=BOTH), False),
    "an app with its routes": (Query(resource="payroll"), True),
    "a route": (Query(resource="payroll/exports"), True),
    "a reference": (Query(resource='App::"payroll"'), True),
    "denied": (Query(verdict="deny", kinds=BOTH), True),
    "a policy": (Query(policy="phi", kinds=BOTH), True),
    "a code": (Query(code="FORBIDDEN"), True),
    "since": (Query(since=1_100.0, limit=500), True),
    "until": (Query(until=1_002.0, kinds=BOTH), True),
    "an address": (Query(address="10.0.1.1", limit=500), True),
    "a network": (Query(address="10.0.2.0/24", since=0.0, until=1_060.0, kinds=BOTH, limit=500), True),
    "a newer network": (Query(address="2001:db8::/32"), True),
    "text in a sealed path": (Query(text="PRIVATE-OF-BOB/1"), True),
    "text in sealed data": (Query(text="laptop-of-eve", kinds=(EVENTS,), limit=500), True),
    "kinds of event": (Query(event="session", kinds=(EVENTS,)), True),
    "an actor": (Query(actor="ada", kinds=(EVENTS,), limit=500), True),
    "a target": (Query(target="ses_1", kinds=(EVENTS,)), True),
    "a node": (Query(node="gateway-b", limit=500), True),
    "no such node": (Query(node="../gateway-b"), False),
    "an id": (Query(id=decision(7).id), True),
    "everything": (Query(subject="bob", resource="wiki", verdict="allow", text="/private", limit=5), True),
    "no kind": (Query(verdict="deny", kinds=(EVENTS,)), False),
}


@pytest.mark.parametrize("name", QUERIES)
def test_the_same_is_found_hot_and_compacted(hot: Path, cold: Path, name: str) -> None:
    query, any_found = QUERIES[name]
    found = both(hot, cold, query)
    reader = JournalReader(hot)
    nodes = [node for node in reader.nodes() if query.node in (None, node)]
    matching = [record for node in nodes for record in reader.read(node=node) if query.matches(record)]
    assert len(found) == min(len(matching), query.limit)
    assert bool(found) is any_found


def test_the_newest_come_first_with_their_outcomes(hot: Path, cold: Path) -> None:
    query = Query(resource="wiki", until=1_060.0, limit=3)
    assert both(hot, cold, query) == [decision(number).id for number in (59, 58, 57)]
    assert [hit.outcome for hit in search(cold, query) if isinstance(hit, Joined)] == [
        outcome(decision(number)) for number in (59, 58, 57)
    ]


@pytest.mark.parametrize(
    "text", ["PRIVATE-OF-BOB/1", "laptop-of-eve", 'User::"eve"', "ses_ada", "payroll", "10.0.1.", "nil"]
)
def test_text_that_is_not_among_the_newest_is_found_too(
    hot: Path, cold: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacted, "TEXT_NEAR", 2)
    assert bool(both(hot, cold, Query(text=text, kinds=BOTH, limit=500))) is (text != "nil")


@pytest.mark.parametrize("text", POISON)
def test_what_is_typed_is_data(hot: Path, cold: Path, text: str) -> None:
    assert len(both(hot, cold, Query(policy=text))) == 1
    assert len(both(hot, cold, Query(text=text, code="POISON"))) >= 1
    assert len(both(hot, cold, Query(text=text, event="poisoned", kinds=(EVENTS,)))) >= 1
    for field in ("subject", "resource", "event"):
        assert both(hot, cold, Query(kinds=BOTH, **{field: text})) == []
    with pytest.raises(Invalid, match="address"):
        Query(address=text)


def test_an_outcome_in_a_later_segment_joins(tmp_path: Path) -> None:
    with Journal.open(tmp_path, NODE, FakeClock(2_000.0), options=SMALL) as journal:
        journal.append(decision(0))
        for number in range(1, 80):
            journal.append(decision(number))
            if number == 40:
                journal.append(outcome(decision(0)))
        journal.append(outcome(decision(1)))
    for _ in range(2):
        found = search(tmp_path, Query(limit=100))
        assert [hit.outcome for hit in found[-2:] if isinstance(hit, Joined)] == [
            outcome(decision(1)),
            outcome(decision(0)),
        ]
        compact(tmp_path)


def test_a_damaged_file_hides_no_other(cold: Path, tmp_path: Path) -> None:
    fill(tmp_path, COUNT)
    compact(tmp_path)
    whole = len(search(tmp_path, Query(limit=500)))
    stored.list_stored(tmp_path / NODE)[0].path.write_bytes(b"PAR1")
    assert 0 < len(search(tmp_path, Query(limit=500))) < whole


def test_a_segment_that_is_compacted_while_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, COUNT)
    before = ids(search(tmp_path, Query(kinds=BOTH, limit=500)))
    real = stored.list_stored

    def then_compacted(directory: Path) -> object:
        names = real(directory)
        monkeypatch.setattr(stored, "list_stored", real)
        compact(tmp_path)
        return names

    monkeypatch.setattr(stored, "list_stored", then_compacted)
    assert ids(search(tmp_path, Query(kinds=BOTH, limit=500))) == before


def test_the_erased_are_found_by_what_is_left_of_them(hot: Path, tmp_path: Path) -> None:
    fill(tmp_path, 20)
    keys = Keys.open(tmp_path)
    (key,) = keys.keys_of('User::"ada"')
    keys.erase('User::"ada"')
    keys.close()
    for _ in range(2):
        assert search(tmp_path, Query(subject="ada", kinds=BOTH)) == ()
        found = search(tmp_path, Query(subject=f"{ERASED}-{key.id[:8]}", kinds=BOTH))
        assert len(found) == 14
        assert not any("ada" in repr(hit).replace(key.id, "") for hit in found)
        assert search(tmp_path, Query(text="private-of-ada")) == ()
        compact(tmp_path)


def test_a_frame_is_found_from_any_place_in_it() -> None:
    frames = [encode_frame(1, 0xFEFF + n, b'{"n":"%d%s"}' % (n, b"x" * (n % 7))) for n in range(300)]
    data = memoryview(b"".join(frames))
    assert [frame.position - 0xFEFF for frame in raw.frames_back(data)] == list(reversed(range(300)))
    assert [frame.position - 0xFEFF for frame in raw.frames_back(data, (b'"29', b"299"))] == [
        *range(299, 289, -1),
        29,
    ]
    torn = memoryview(bytes(data[:-3]))
    assert next(raw.frames_back(torn)).position == 298 + 0xFEFF


def test_volume_is_summed_by_person_app_and_label(hot: Path, cold: Path) -> None:
    found = count_volume(hot, 0.0)
    assert count_volume(cold, 0.0) == found
    apps = by_app(found)
    assert apps["wiki"] == Volume(COUNT + len(POISON), COUNT * 10, COUNT * 1_000)
    assert apps["payroll"] == Volume(2, 0, 0)
    people = by_person(found, Keys.open(hot))
    assert people['Workload::"ci"'].requests == 1
    assert people['User::"eve"'].bytes_in == 200
    assert by_label(found, lambda resource: ("x", "y") if "payroll" in resource else ()) == {
        "x": Volume(2, 0, 0),
        "y": Volume(2, 0, 0),
    }
    assert count_volume(cold, 1_100.0) == count_volume(hot, 1_100.0) != found
    assert app_of('Route::"a/b"') == app_of('App::"a"') == "a"


def test_volume_joins_what_ended_in_a_later_segment(tmp_path: Path) -> None:
    with Journal.open(tmp_path, NODE, FakeClock(2_000.0), options=SMALL) as journal:
        for number in range(80):
            journal.append(decision(number))
        journal.append(outcome(decision(0)))
        for number in range(80, 120):
            journal.append(decision(number))
        journal.append(outcome(decision(1)))
    for _ in range(2):
        assert by_app(count_volume(tmp_path, 0.0)) == {"wiki": Volume(120, 20, 2_000)}
        compact(tmp_path)


def test_an_event_is_found_whole(hot: Path) -> None:
    (found,) = search(hot, Query(event="session", kinds=(EVENTS,)))
    assert isinstance(found, EventRecord)
    assert found == structs.replace(
        event(103), kind="session.ended", actor="limen", target="ses_1", data={"person": "bob"}
    )

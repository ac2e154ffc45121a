"""J6 to J9 and the erasure of people, on journals and schedules that Hypothesis makes up."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.kit.archive_world import NODE, PEOPLE, SMALL, compact, decision, event, outcome

from limen.core.clock import FakeClock
from limen.core.record import DecisionRecord, EventRecord, Record
from limen.journal import stored
from limen.journal.archive import tend
from limen.journal.compaction import compact as write_compacted
from limen.journal.follow import Follower, Stored
from limen.journal.frame import Kind, encode_frame
from limen.journal.keys import Keys
from limen.journal.merkle import Frontier
from limen.journal.parquet import opened, rows
from limen.journal.query import DECISIONS, EVENTS, Query
from limen.journal.reader import JournalReader
from limen.journal.retention import Hold, Holds, Retention, save_holds
from limen.journal.search import search
from limen.journal.writer import Journal

FEW = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TINY = structs.replace(SMALL, segment_bytes=5_000)
OLD = Retention(age_max_s=1.0)

steps = st.lists(
    st.sampled_from(["write", "write", "burst", "poll", "compact", "empty", "restart", "resume"])
)
payloads = st.lists(
    st.tuples(
        st.sampled_from([Kind.DECISION, Kind.INPUTS, Kind.BUNDLE, Kind.OUTCOME, Kind.EVENT, Kind(5)]),
        st.one_of(
            st.binary(max_size=40),
            st.text(max_size=40).map(lambda text: msgspec.json.encode({"type": "x", "id": text, "at": 1})),
            st.dictionaries(
                st.sampled_from(["id", "at", "key", "kind", "policies"]), st.text(max_size=3)
            ).map(msgspec.json.encode),
            st.sampled_from([b"{", b"{}", b"null", b"\x00", b'{"at":1e999}', b'{"at":-1,"bytes_in":-5}']),
        ),
    ),
    max_size=12,
)


@contextmanager
def folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="limen-archive-"))
    try:
        yield root
    finally:
        shutil.rmtree(root)


@settings(FEW, max_examples=8)
@given(steps)
def test_j6_followed(schedule: list[str]) -> None:
    with folder() as root:
        written: list[Record] = []
        seen: list[Stored] = []
        journal = Journal.open(root, NODE, FakeClock(2_000.0), options=TINY)
        follower = Follower(root)
        for step in [*schedule, "poll", "poll"]:
            if step in ("write", "burst"):
                for _ in range(12 if step == "burst" else 1):
                    written.append(decision(len(written)))
                    journal.append(written[-1])
            elif step == "poll":
                seen += follower.poll(limit=7) if len(written) % 2 else follower.poll()
            elif step == "compact":
                compact(root)
            elif step == "empty":
                seen += follower.poll()  # what retention takes away before it was read is not there to follow
                tend(root, OLD, 1e9)
            elif step == "restart":
                journal.close()
                journal = Journal.open(root, NODE, FakeClock(2_000.0), options=TINY)
            else:
                follower = Follower(root, msgspec.json.decode(msgspec.json.encode(follower.cursor)))
        seen += follower.poll()
        journal.close()
        assert [one.record for one in seen] == written
        assert follower.poll() == []


@settings(max_examples=20, deadline=None)
@given(payloads, st.data())
def test_j8_the_same_bytes(contents: list[tuple[Kind, bytes]], data: st.DataObject) -> None:
    segment = bytearray(encode_frame(Kind.HEADER, 0, b"{}"))
    for position, (kind, payload) in enumerate(contents):
        segment += encode_frame(kind, position, payload)
    segment += encode_frame(Kind.SEAL, len(contents), b"{}")
    if data.draw(st.booleans()):  # damaged
        segment[data.draw(st.integers(0, len(segment) - 1))] ^= 0x41
    with tempfile.TemporaryFile() as file:
        write_compacted(memoryview(bytes(segment)), file.fileno())
        with opened([file.fileno()]) as database:
            made = b"".join(
                row.raw or encode_frame(row.kind, row.position, (row.payload or "").encode())
                for row in rows(database)
            )
    assert made == segment


@FEW
@given(
    st.integers(0, 18),
    st.lists(
        st.builds(
            lambda decisions, events, most: Retention(
                bytes_max=most,
                keep_s={k: v for k, v in (("decisions", decisions), ("events", events)) if v is not None},
            ),
            st.sampled_from([None, 1.0, 1e12]),
            st.sampled_from([None, 1.0, 1e12]),
            st.sampled_from([None, 1, 20_000]),
        ),
        max_size=2,
    ),
    st.sampled_from([None, *PEOPLE]),
)
def test_j7_held_and_j9_the_same_leaves(count: int, rules: list[Retention], held: str | None) -> None:
    with folder() as root:
        _fill(root, count)
        before = {leaf.frame.position: leaf.frame.leaf for leaf in Follower(root).poll_leaves()}
        theirs = [one.record for one in Follower(root).poll() if _about(one.record, held)]
        if held is not None:
            save_holds(root, Holds((Hold("hold_1", f'User::"{held}"'),)))
        for retention in rules:
            tend(root, retention, 1e9)
        after = {leaf.frame.position: leaf.frame.leaf for leaf in Follower(root).poll_leaves()}
        assert after == before
        tree = Frontier()
        for position in sorted(after):
            tree.add(after[position])
        (*_, last) = stored.list_stored(root / NODE)
        seal = stored.seal(last)
        assert seal is not None
        assert seal.frontier == tree.render()
        assert [one.record for one in Follower(root).poll() if _about(one.record, held)] == theirs


@FEW
@given(st.integers(1, 18), st.sampled_from(PEOPLE), st.permutations(["compact", "erase", "empty"]))
def test_s4_nothing_of_the_erased_is_readable_and_the_tree_stands(
    count: int, person: str, order: list[str]
) -> None:
    with folder() as root:
        _fill(root, count)
        before = {leaf.frame.position: leaf.frame.leaf for leaf in Follower(root).poll_leaves()}
        others = [one for one in Follower(root).poll() if not _about(one.record, person)]
        for step in order:
            if step == "compact":
                compact(root)
            elif step == "erase":
                Keys.open(root).erase(f'User::"{person}"')
            else:
                tend(root, Retention(keep_s={"decisions": 1e12}), 1e9)
        assert {leaf.frame.position: leaf.frame.leaf for leaf in Follower(root).poll_leaves()} == before
        assert [one for one in Follower(root).poll() if not _erased(one.record)] == others
        query = Query(kinds=(DECISIONS, EVENTS), limit=1_000)
        texts = [repr(one) for one in (*JournalReader(root).read(), *search(root, query))]
        texts += [path.read_bytes().decode("latin-1") for path in root.rglob("*") if path.is_file()]
        for word in _words(person):
            assert not any(word in text for text in texts), word


def _fill(root: Path, count: int) -> None:
    with Journal.open(root, NODE, FakeClock(2_000.0), options=TINY) as journal:
        for number in range(count):
            one = decision(number)
            for record in (one, outcome(one), event(number)):
                journal.append(record)


def _about(record: Record, person: str | None) -> bool:
    if isinstance(record, DecisionRecord):
        return record.subject == f'User::"{person}"'
    return isinstance(record, EventRecord) and record.actor == person


def _erased(record: Record) -> bool:
    return "erased-" in repr(record)


def _words(person: str) -> list[str]:
    """What is sealed of somebody, as text that stands in no key and no checksum by chance."""
    words = (f'"{person}"', "ses_{}_sealed", "private-of-{}", "laptop-of-{}", "reason-of-{}")
    return [word.format(person) for word in words]

"""A gateway that was taken over ships lies: as another node, over what is stored, with holes, without end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from gateways_rig import Rig, Site, drive, until
from ship_world import (
    NODE,
    append_some,
    decision,
    mirrors_at,
    open_journal,
    records_of,
    ship_all,
)

from limen.administrator.feed_lines import LineReader
from limen.administrator.feed_wire import Bye, render_line
from limen.administrator.ship_checks import Alarm, Gap
from limen.administrator.ship_mirrors import Mirrors
from limen.administrator.ship_source import Source
from limen.administrator.ship_wire import (
    SHIP_LINE_MAX_BYTES,
    Batch,
    Erased,
    Place,
    Places,
    ShipHello,
    ShippedKey,
    parse_from_shipper,
    parse_to_shipper,
)
from limen.core.errors import Conflict, Invalid
from limen.journal.frame import Kind
from limen.journal.keys import Keys
from limen.journal.records import encode_record

JOURNAL = f"{NODE}-a"


class Taken:
    """A gateway in an attacker's hands, of which control has an honest beginning already."""

    def __init__(self, folder: Path) -> None:
        self.near, self.far = folder / "gateway", folder / "control"
        self.far.mkdir()
        self.gaps: list[Gap] = []
        self.mirrors = mirrors_at(self.far, gaps=self.gaps)
        self.source = Source(self.near)
        self.sent: list[Batch] = []
        for _ in range(2):
            with open_journal(self.near, JOURNAL) as journal:
                append_some(journal, 60)
            self.ship()
        self.before = records_of(self.far / JOURNAL, edges=True)

    def ship(self) -> None:
        place = next((one.place for one in self.mirrors.places()), Place())
        while (batch := self.source.next(JOURNAL, place)) is not None:
            self.sent.append(batch)
            place = self.mirrors.take(batch).place

    def refused(self, batch: Batch) -> str:
        """Send it; it must be refused, and nothing that is stored may have changed."""
        with pytest.raises(Alarm) as refusal:
            self.mirrors.take(batch)
        assert records_of(self.far / JOURNAL, edges=True) == self.before
        return refusal.value.code


@pytest.fixture
def taken(tmp_path: Path) -> Taken:
    return Taken(tmp_path)


def payload(node: str = NODE) -> msgspec.Raw:
    return msgspec.Raw(encode_record(decision(0, node=node)))


def with_frames(batch: Batch, *frames: tuple[int, msgspec.Raw], first: int) -> Batch:
    return msgspec.structs.replace(batch, first=first, frames=frames)


def test_a_changed_payload_does_not_overwrite_what_is_stored(taken: Taken) -> None:
    honest = taken.sent[0]
    forged = with_frames(honest, (Kind.DECISION, payload()), first=3)
    assert taken.refused(forged) == "JOURNAL_FORK"


def test_the_same_again_is_nothing_new(taken: Taken) -> None:
    for batch in (*taken.sent, *reversed(taken.sent)):
        taken.mirrors.take(batch)
    assert records_of(taken.far / JOURNAL, edges=True) == taken.before


def test_a_sealed_segment_does_not_grow(taken: Taken) -> None:
    last = taken.sent[-1]
    (kept,) = taken.mirrors.places()
    assert kept.place.sealed
    grown = with_frames(last, (Kind.DECISION, payload()), first=kept.place.end)
    assert taken.refused(grown) == "JOURNAL_FORK"


def test_a_second_boot_of_the_same_number_is_a_fork(taken: Taken) -> None:
    last = taken.sent[-1]
    other = f"{last.boot[:8]}-{'0' * 8 if last.boot[9:] != '0' * 8 else '1' * 8}"
    for boot in (other, f"{last.boot[:8]}-ffffffff"):
        forged = msgspec.structs.replace(taken.sent[-1], boot=boot)
        assert taken.refused(forged) == "JOURNAL_FORK"


def test_an_old_boot_that_was_never_stored_is_refused(taken: Taken) -> None:
    first = taken.sent[0]
    forged = msgspec.structs.replace(first, boot="00000000-0badc0de")
    assert taken.refused(forged) == "JOURNAL_OLD"


def test_a_gap_that_nobody_declared_is_refused_and_one_that_was_is_told(taken: Taken) -> None:
    with open_journal(taken.near, JOURNAL) as journal:
        append_some(journal, 60)
    (kept,) = taken.mirrors.places()
    begun = taken.source.next(JOURNAL, kept.place)
    assert begun is not None
    later = with_frames(begun, (Kind.DECISION, payload()), first=5)
    assert taken.refused(later) == "JOURNAL_GAP"
    skipping = with_frames(begun, begun.frames[0], first=0)
    taken.mirrors.take(skipping)
    taken.before = records_of(taken.far / JOURNAL, edges=True)
    assert taken.refused(later) == "JOURNAL_GAP"
    assert not taken.gaps
    taken.mirrors.take(msgspec.structs.replace(later, gap=True))
    assert [gap.records for gap in taken.gaps] == [5]


def test_a_seal_of_other_records_is_refused(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    with open_journal(tmp_path / "near", JOURNAL) as journal:
        append_some(journal, 3)
    batch = Source(tmp_path / "near").next(JOURNAL, Place())
    assert batch is not None
    assert batch.frames[-1][0] == Kind.SEAL
    mirrors = mirrors_at(far)
    frames = (*batch.frames[:2], (Kind.DECISION, payload()), *batch.frames[3:])
    with pytest.raises(Alarm, match="seal"):
        mirrors.take(msgspec.structs.replace(batch, frames=frames))
    mirrors.close()


@pytest.mark.parametrize(
    "journal", ["other-a", "control", "edge", "edge-c", "edge-j1-a/../../x", "../edge-a"]
)
def test_a_gateway_ships_as_itself_alone(taken: Taken, journal: str) -> None:
    assert taken.refused(msgspec.structs.replace(taken.sent[0], journal=journal)) == "JOURNAL_FORGED"
    assert sorted(path.name for path in taken.far.iterdir() if path.is_dir()) == [JOURNAL]


def test_a_record_that_names_another_node_is_refused(taken: Taken) -> None:
    with open_journal(taken.near, JOURNAL) as journal:
        journal.append(decision(1, node="control"))
    (kept,) = taken.mirrors.places()
    batch = taken.source.next(JOURNAL, kept.place)
    assert batch is not None
    taken.mirrors.take(with_frames(batch, batch.frames[0], first=0))
    taken.before = records_of(taken.far / JOURNAL, edges=True)
    assert taken.refused(with_frames(batch, batch.frames[1], first=0)) == "JOURNAL_FORGED"


@pytest.mark.parametrize(
    "raw", [b"{}", b"null", b'{"type":"nonsense"}', b'{"type":"outcome","id":1}', b'"\x00"', b"[]"]
)
def test_what_is_no_record_is_refused(taken: Taken, raw: bytes) -> None:
    with open_journal(taken.near, JOURNAL) as journal:
        append_some(journal, 1)
    (kept,) = taken.mirrors.places()
    batch = taken.source.next(JOURNAL, kept.place)
    assert batch is not None
    taken.mirrors.take(with_frames(batch, batch.frames[0], first=0))
    taken.before = records_of(taken.far / JOURNAL, edges=True)
    for kind in (Kind.DECISION, Kind.EVENT, 7, 200):
        assert taken.refused(with_frames(batch, (kind, msgspec.Raw(raw)), first=0)) == "JOURNAL_INVALID"


def test_a_key_is_not_replaced_by_another(taken: Taken) -> None:
    known = Keys.open(taken.far).for_owner('User::"ada"')
    other = Keys.open(taken.near).for_owner('User::"bob"')
    forged = msgspec.structs.replace(ShippedKey.of(other.id, other.owner, other.material), id=known.id)
    assert taken.refused(msgspec.structs.replace(taken.sent[0], keys=(forged,))) == "KEY_FORGED"
    kept = Keys.open(taken.far).find(known.id)
    assert kept is not None
    assert kept.material.reveal() == known.material.reveal()


def test_no_copy_is_made_over_a_journal_of_controls_own(tmp_path: Path) -> None:
    with open_journal(tmp_path / "far", JOURNAL) as own:
        append_some(own, 2)
    with open_journal(tmp_path / "near", JOURNAL) as journal:
        append_some(journal, 2)
    mirrors: Mirrors = mirrors_at(tmp_path / "far")
    with pytest.raises(Conflict):
        ship_all(Source(tmp_path / "near"), mirrors, JOURNAL, Place())
    mirrors.close()


# --- on the wire ------------------------------------------------------------------------------------


async def speak(site: Site, *lines: bytes) -> list[object]:
    """Say lines to control as this gateway, and return its answers until it ends the connection."""
    reader, writer = await site.dial()()
    answers: list[object] = []
    replies = LineReader(reader, max_bytes=SHIP_LINE_MAX_BYTES, silence_s=10)
    try:
        for line in lines:
            writer.write(line)
        while True:
            answers.append(parse_to_shipper(await replies.line()))
            if isinstance(answers[-1], Bye):
                return answers
    finally:
        writer.transport.abort()


def hello(node: str = NODE) -> bytes:
    return render_line(ShipHello(node))


def bye_of(answers: list[object]) -> str:
    assert isinstance(answers[-1], Bye)
    return answers[-1].code


def on_the_wire(tmp_path: Path, attack: Callable[[Rig, Site], object]) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join(NODE)
        await attack(rig, site)  # type: ignore[misc]

    drive(tmp_path, story)


def test_the_certificate_says_who_ships(tmp_path: Path) -> None:
    async def attack(rig: Rig, site: Site) -> None:
        assert bye_of(await speak(site, hello("other"))) == "JOURNAL_FORGED"
        event = rig.events[-1]
        assert (event.kind, event.actor) == ("journal.forged", f"gateway:{NODE}")
        answers = await speak(site, hello())
        assert bye_of(answers) == "SHIP_PENALTY", "and nothing is taken from it for a while"
        assert [event.kind for event in rig.events].count("journal.forged") == 1

    on_the_wire(tmp_path, attack)


def test_a_fork_is_an_event_an_error_and_the_end_of_the_line_but_not_of_the_feed(tmp_path: Path) -> None:
    async def attack(rig: Rig, site: Site) -> None:
        with open_journal(site.root / "journal", JOURNAL) as journal:
            append_some(journal, 5)
        async with site.gateway() as (client, _), site.shipping():
            await until(lambda: rig.ships.state(NODE).whole_at is not None and client.connected)
            batch = Source(site.root / "journal").next(JOURNAL, Place())
            assert batch is not None
            forged = with_frames(batch, (Kind.DECISION, payload()), first=2)
            answers = await speak(site, hello(), render_line(forged))
            assert isinstance(answers[0], Places)
            assert bye_of(answers) == "JOURNAL_FORK"
            assert rig.events[-1].kind == "journal.fork"
            assert rig.events[-1].target == JOURNAL
            assert rig.events[-1].data["position"] == 2
            assert rig.ships.state(NODE).alarm
            await client.ask()  # decisions are still kept in step

    on_the_wire(tmp_path, attack)


def test_a_line_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limen.services.ship_server.SHIP_LINE_MAX_BYTES", 100_000)

    async def attack(rig: Rig, site: Site) -> None:
        assert bye_of(await speak(site, hello(), b"x" * 200_000)) == "FEED_BROKEN"
        assert bye_of(await speak(site, hello(), b'{"type":"batch"}\n')) == "SHIP_BROKEN"
        assert bye_of(await speak(site, hello(), hello())) == "SHIP_BROKEN"
        assert not (rig.folder / "journal" / JOURNAL).exists()

    on_the_wire(tmp_path, attack)


def test_who_ships_too_fast_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limen.services.ship_server.BURST_BYTES", 0)
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def attack(rig: Rig, site: Site) -> None:
        with open_journal(site.root / "journal", JOURNAL) as journal:
            append_some(journal, 30)
        batch = Source(site.root / "journal").next(JOURNAL, Place())
        assert batch is not None
        monkeypatch.setattr("limen.services.ship_server.asyncio.sleep", note)
        answers = await speak(site, hello(), render_line(batch), b"\n")
        monkeypatch.setattr("limen.services.ship_server.asyncio.sleep", sleep)
        assert bye_of(answers) == "SHIP_BROKEN"
        size = sum(len(raw) for _, raw in batch.frames)
        assert max(slept) >= size / rig.ships._rate_bytes_s

    on_the_wire(tmp_path, attack)


def test_a_path_is_no_boot() -> None:
    for boot in ("../../../etc", "00000001-0123456g", "1", "00000001-01234567\n"):
        line = msgspec.json.encode(
            {"type": "batch", "journal": JOURNAL, "boot": boot, "number": 1, "first": 0, "frames": []}
        )
        with pytest.raises(Invalid):
            parse_from_shipper(line)


def test_a_gateway_erases_nobody_whom_it_was_not_told_to_erase(tmp_path: Path) -> None:
    """Else a thief makes all that it ever shipped unreadable, for good, by saying that it was erased."""

    async def attack(rig: Rig, site: Site) -> None:
        keys = Keys.open(rig.folder / "journal")
        mine = keys.for_owner('User::"ada"')
        keys.add("f" * 16, 'User::"grace"', bytes(64))
        for owners in ((), ('User::"ada"', 'User::"grace"')):
            line = render_line(Erased(owners, (mine.id, "f" * 16)))
            assert bye_of(await speak(site, hello(), line)) == "KEY_FORGED"
            rig.ships._penalties.clear()
        assert Keys.open(rig.folder / "journal").find(mine.id) is not None
        assert Keys.open(rig.folder / "journal").find("f" * 16) is not None
        assert rig.events[-1].kind == "journal.refused"

    on_the_wire(tmp_path, attack)

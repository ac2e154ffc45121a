"""Shipping over real TLS: what arrives, what waits, what is erased, and what it costs the feed."""

import asyncio
from pathlib import Path

import pytest
from gateways_rig import FaultyNetwork, Rig, drive, names, until
from ship_world import append_some, open_journal, records_of

from limen.administrator.feed_wire import Report
from limen.administrator.ship_prune import prune_acknowledged
from limen.core.clock import SystemClock
from limen.core.record import DecisionRecord
from limen.journal.checkpoints import CHECKPOINTS, load_node_signer, read_notes
from limen.journal.keys import Keys
from limen.journal.reader import JournalReader
from limen.journal.retention import Retention
from limen.journal.statements import Places, Trust
from limen.journal.verify import verify_journals
from limen.journal.writer import Journal
from limen.services.gateway_identity import dial_tls
from limen.services.ship import CURSOR, erase_owner

ADA = 'User::"u0"'


def whole(rig: Rig, node: str, where: str) -> bool:
    mine = records_of(rig.folder / node / "journal" / where)
    return bool(mine) and records_of(rig.folder / "journal" / where) == mine


def subjects_at(rig: Rig) -> set[str | None]:
    records = JournalReader(rig.folder / "journal").read()
    return {record.subject for record in records if isinstance(record, DecisionRecord)}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limen.services.ship.LOOK_EVERY_S", 0.02)


def test_both_slots_and_older_boots_arrive_with_keys_and_are_read_at_control(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        for slot in ("edge-a", "edge-b", "edge-a"):  # the brain of b is gone, a has run twice
            with open_journal(site.root / "journal", slot) as journal:
                append_some(journal, 30)
        async with site.shipping() as shipper:
            await until(lambda: whole(rig, "edge", "edge-a") and whole(rig, "edge", "edge-b"))
            await until(lambda: shipper.left_bytes == 0 and rig.ships.state("edge").left_bytes == 0)
            assert rig.ships.state("edge").shipping
            assert rig.ships.age_s("edge") < 5
        assert (site.root / "journal" / CURSOR).exists()
        far = Keys.open(rig.folder / "journal")
        assert {key.owner for key in far.all()} >= {'User::"u0"', 'User::"u1"', 'User::"u2"'}
        near = Keys.open(site.root / "journal")
        assert {key.id for key in far.all()} == {key.id for key in near.all()}
        subjects = {
            getattr(record, "subject", None) for record in JournalReader(rig.folder / "journal").read()
        }
        assert ADA in subjects
        boots = [path.name[:8] for path in sorted((rig.folder / "journal" / "edge-a").glob("*.seg"))]
        assert boots == sorted(boots)
        assert len(set(boots)) == 2

    drive(tmp_path, story)


def test_what_is_written_while_control_is_away_comes_when_it_is_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site, network = await rig.join("edge"), FaultyNetwork(rig.server.port)
        port = await network.start()
        dial = dial_tls((("127.0.0.1", port),), site.folder)
        journal = open_journal(site.root / "journal", "edge-a")
        append_some(journal, 5)
        async with site.shipping(dial) as shipper:
            await until(lambda: whole(rig, "edge", "edge-a"))
            network.reset()
            await until(lambda: not shipper.shipping)
            append_some(journal, 200)
            await until(lambda: whole(rig, "edge", "edge-a"))
        journal.close()
        await network.close()

    drive(tmp_path, story)


def test_an_erased_person_is_erased_at_the_gateway_that_was_away_before_it_ships(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        with open_journal(site.root / "journal", "edge-a") as journal:
            append_some(journal, 9)
        async with site.shipping():
            await until(lambda: whole(rig, "edge", "edge-a"))
        with open_journal(site.root / "journal", "edge-a") as journal:
            append_some(journal, 9)

        async def nobody(do: str, args: dict[str, str]) -> list[tuple[str, Report]]:
            return []

        assert await rig.ships.erase(ADA, ["edge"], nobody) == {"edge": False}
        near, far = Keys.open(site.root / "journal"), Keys.open(rig.folder / "journal")
        assert near.keys_of(ADA)
        assert not far.keys_of(ADA)
        async with site.shipping():
            await until(lambda: whole(rig, "edge", "edge-a"))
        assert not near.keys_of(ADA)
        assert not far.keys_of(ADA)
        assert ADA.encode() not in (rig.folder / "journal" / "erasing").read_bytes()
        subjects = {
            getattr(record, "subject", None) for record in JournalReader(rig.folder / "journal").read()
        }
        assert ADA not in subjects

    drive(tmp_path, story)


def test_a_key_on_its_way_while_it_is_erased_does_not_come_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        near, far = Keys.open(tmp_path / "near"), Keys.open(rig.folder / "journal")
        late = near.for_owner(ADA)

        async def gateway(do: str, args: dict[str, str]) -> list[tuple[str, Report]]:
            far.add(late.id, late.owner, late.material.reveal())  # shipped a moment before
            return [("edge", Report(1, True, {"keys": erase_owner(near, args["owner"])}))]

        assert await rig.ships.erase(ADA, ["edge"], gateway) == {"edge": True}
        assert not far.keys_of(ADA)
        assert not far.add(late.id, late.owner, late.material.reveal())

    drive(tmp_path, story)


def test_of_two_brains_one_ships_and_the_other_takes_over(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        journal = open_journal(site.root / "journal", "edge-a")
        append_some(journal, 3)
        async with site.shipping() as second_to_none:
            await until(lambda: second_to_none.shipping)
            async with site.shipping() as waiting:
                await asyncio.sleep(0.1)
                assert not waiting.shipping
        async with site.shipping() as heir:
            append_some(journal, 3)
            await until(lambda: heir.shipping and whole(rig, "edge", "edge-a"))
        journal.close()

    drive(tmp_path, story)


def test_a_machine_that_takes_a_name_again_has_journals_of_its_own(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        first = await rig.join("edge")
        with open_journal(first.root / "journal", "edge-a") as journal:
            append_some(journal, 3)
        async with first.shipping():
            await until(lambda: whole(rig, "edge", "edge-a"))
        rig.remove("edge")
        rig.clock.advance(1)
        second = await rig.join("edge", where="other")
        name = f"{second.folder.load().journal}-a"
        assert name.startswith("edge-j")
        with open_journal(second.root / "journal", name) as journal:
            append_some(journal, 4)
        async with second.shipping():
            await until(lambda: whole(rig, "other", name))
        assert rig.events[-1].kind == "gateway.joined"
        again = await rig.join("edge", where="other")
        assert again.folder.load().journal == second.folder.load().journal

    drive(tmp_path, story)


def test_a_removed_gateway_ships_nothing_more(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        journal = open_journal(site.root / "journal", "edge-a")
        append_some(journal, 3)
        async with site.shipping() as shipper:
            await until(lambda: whole(rig, "edge", "edge-a"))
            rig.remove("edge")
            append_some(journal, 3)
            await until(lambda: not shipper.shipping)
        journal.close()
        assert not whole(rig, "edge", "edge-a")

    drive(tmp_path, story)


def test_bulk_does_not_delay_the_feed(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        with open_journal(site.root / "journal", "edge-a") as journal:
            append_some(journal, 1500)
        async with site.gateway() as (client, replica), site.shipping():
            await until(lambda: client.connected)
            for number in range(20):
                rig.add(f"p{number}")
                await client.ask()
                assert f"p{number}" in names(replica)
            await until(lambda: rig.ships.state("edge").whole_at is not None)
        assert whole(rig, "edge", "edge-a")

    drive(tmp_path, story)


def test_retention_removes_only_what_was_acknowledged(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        folder = site.root / "journal" / "edge-a"
        journal = open_journal(site.root / "journal", "edge-a")
        append_some(journal, 200)
        small = Retention(bytes_max=1)
        shipper = site.shipper()
        assert not shipper._saved
        async with site.shipping() as shipper:
            await until(lambda: whole(rig, "edge", "edge-a"))
            await until(lambda: shipper.left_bytes == 0)
        place = shipper._saved["edge-a"]
        append_some(journal, 200)
        before = len(list(folder.glob("*.seg")))
        removed = prune_acknowledged(folder, place, small, None, rig.clock.now())
        left = sorted(path.name for path in folder.glob("*.seg"))
        assert removed == place.number - 1 > 0
        assert len(left) == before - removed
        assert left[0] == f"{place.boot}-{place.number:08d}.seg"
        journal.close()
        async with site.shipping():
            await until(lambda: len(records_of(rig.folder / "journal" / "edge-a")) == 402)

    drive(tmp_path, story)


def test_the_copy_has_its_checkpoints_and_verifies_by_them_alone(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("edge")
        near, far = site.root / "journal", rig.folder / "journal"
        signer = load_node_signer(site.root, near, "edge-a")
        for _ in range(2):
            with Journal.open(near, "edge-a", SystemClock(), keys=Keys.open(near), signer=signer) as journal:
                append_some(journal, 20)
        kept = read_notes(near / "edge-a" / CHECKPOINTS).notes
        async with site.shipping():
            await until(lambda: read_notes(far / "edge-a" / CHECKPOINTS).notes == kept)
            await until(lambda: rig.ships.state("edge").whole_at is not None)
        async with site.shipping():  # nothing comes twice
            await until(lambda: rig.ships.state("edge").shipping)
        assert read_notes(far / "edge-a" / CHECKPOINTS).notes == kept
        report = verify_journals(Places(far), Trust(nodes={"edge-a": signer.key()}))
        assert report.whole, report.doubts
        assert [node.records for node in report.nodes] == [len(records_of(near / "edge-a"))]

    drive(tmp_path, story)

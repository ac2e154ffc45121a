"""A second look at recovery and notices: custom roles, grants, hands behind hands, names that are links."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recovery_world import RecoveryWorld, begin

from limen.administrator.lowered_trust import sweep
from limen.administrator.notice_words import write_notice
from limen.administrator.recovery_approval import Approvals
from limen.core.entities import Status
from limen.core.errors import Refused
from limen.core.ids import EntityRef
from limen.services import notices
from limen.services.notice_senders import Outgoing
from limen.store import directory, grants, recoveries, workloads


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecoveryWorld]:
    world = RecoveryWorld(tmp_path)
    yield world
    world.store.close()


def _approve(world: RecoveryWorld, approver: str, spoken: str) -> tuple[int, str]:
    desk = world.browser("198.51.100.7")
    desk.sign_in(approver)
    found = desk.submit(desk.get("/recover/approve"), {"code": spoken})
    if found.status_code != 200:
        return found.status_code, found.text
    done = desk.submit(found, {"reason": "knows them"})
    return done.status_code, done.text


def test_the_help_desk_recovers_nobody_who_administers_by_a_grant(world: RecoveryWorld) -> None:
    """A role is what the engine says, and not what a group is called."""
    with world.store.transaction("test", "a grant") as tx:
        grants.add_grant(
            tx,
            principal=EntityRef("User", "ada"),
            actions=("read", "admin"),
            resource=EntityRef("App", "limen"),
            expires_at=tx.now + 3_600,
        )
    status, text = _approve(world, "hugo", begin(world.browser()))
    assert (status, "limen/roles" in text) == (403, True)


def test_nobody_approves_their_own_recovery_by_a_workload_of_theirs(world: RecoveryWorld) -> None:
    with world.store.transaction("test", "a machine") as tx:
        workloads.create_workload(tx, "bot", owner="ada")
    spoken = begin(world.browser())
    with pytest.raises(Refused) as why:
        Approvals(world.parts.desk).approve(spoken, "workload:bot", "sure", lambda part, person: None)
    assert why.value.code == "OWN_RECOVERY"


def test_nor_does_the_workload_of_who_has_just_come_back(world: RecoveryWorld) -> None:
    with world.store.transaction("test", "a machine") as tx:
        workloads.create_workload(tx, "bot", owner="hugo")
    with world.parts.desk.ledger.entry("test", "hugo came back") as entry:
        world.parts.desk.lower_trust(entry, "hugo", "reset")
    spoken = begin(world.browser())
    with pytest.raises(Refused) as why:
        Approvals(world.parts.desk).approve(spoken, "workload:bot", "sure", lambda part, person: None)
    assert why.value.code == "APPROVER_RECOVERED"


def test_no_workload_makes_a_link_for_its_owner(world: RecoveryWorld) -> None:
    from limen.administrator.links import make_link

    with world.store.transaction("test", "a machine") as tx:
        workloads.create_workload(tx, "bot", owner="ada")
    with pytest.raises(Refused) as why:
        make_link(world.parts.desk, "ada", actor="workload:bot", reset=True)
    assert why.value.code == "OWN_RECOVERY"


# --- lower trust that nobody is there for ------------------------------------------------------------


def test_trust_is_given_back_to_others_when_somebody_has_gone_meanwhile(world: RecoveryWorld) -> None:
    for name in ("ada", "hugo"):
        with world.parts.desk.ledger.entry("test", "came back") as entry:
            world.parts.desk.lower_trust(entry, name, "reset")
    with world.store.transaction("test", "left") as tx:
        directory.update_person(tx, "ada", status=Status.ENDED)
    world.clock.advance(8 * 86_400)
    with world.parts.desk.ledger.entry("limen", "over") as entry:
        sweep(entry)
    assert world.signals("hugo") == ()
    with world.store.read() as connection:
        assert recoveries.list_recovered(connection) == ()


def test_a_notice_that_cannot_be_written_keeps_no_other_waiting(
    world: RecoveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Taker:
        def send(self, notice: Outgoing) -> None:
            if notice.told.username == "ada":
                raise ValueError("a header with a line break")
            sent.append(notice.told.username)

        def close(self) -> None: ...

    monkeypatch.setattr(notices, "SmtpSender", lambda config, secret: Taker())
    for name in ("ada", "hugo"):
        with world.parts.desk.ledger.entry("test", "a test") as entry:
            world.parts.desk.notices.queue(entry, name, "test")
    world.pump.send_due()
    assert sent == ["hugo"]
    assert world.queued() == [] and "notice.undelivered" in world.kinds()


# --- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example/login",
        "http:evil.example",
        "Ada www.evil.example",
        "Ada, sign in at evil.example/login",
        "EVIL.EXAMPLE",
        "mailto:ada@evil.example",
        "evil\u3002example",
    ],
)
def test_no_name_is_a_link_in_a_mail(name: str) -> None:
    """Mail programs make links of whatever looks like an address: a stranger chooses their own name."""
    from limen.administrator.notice_words import plain_name

    words = [
        write_notice("sponsor", name, {"who": name, "at": 1_700_000_000.0}, "corp.example"),
        write_notice("test", name, {}, "corp.example"),
        write_notice("expiry", "Bo", {"what": f"The access of {plain_name(name)}"}, "corp.example"),
    ]
    for one in words:
        for line in (one.subject, *one.lines):
            text = line.replace("corp.example", "").lower()
            assert "evil.example" not in text and "://" not in text and "www." not in text
            assert "mailto:" not in text and "http:" not in text and "@" not in text

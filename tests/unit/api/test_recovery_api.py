"""Recovery and notices over the admin API, by the roles of the starter bundle."""

from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from people_rig import PeopleRig

from limen.administrator.recovery import Shown
from limen.administrator.replica import session_facts
from limen.administrator.session_values import Browser, Over, Visit
from limen.core.ids import EntityRef
from limen.core.secret import Secret
from limen.information.identity.passwords import PasswordHasher
from limen.store import credentials as keys
from limen.store import directory

PASSWORD = "orchid-lantern-quarry-7"
CHEAP = argon2.Parameters(
    type=argon2.Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("recovery"))
    desk = made.parts.desk
    desk.hasher = PasswordHasher(CHEAP)
    for name in ("eve", "heidi", "root"):
        with desk.ledger.store.transaction("test", "a password") as tx:
            keys.set_password(tx.connection, name, desk.hasher.hash(Secret(PASSWORD)), tx.now)
    yield made
    made.control.close()


def _spoken(rig: PeopleRig, name: str) -> tuple[str, Visit]:
    """Ask for recovery in a new browser; return what it shows to read out."""
    rig.clock.advance(3_700)
    visit = Visit(Browser("192.0.2.1", "Test/1"))
    token = rig.parts.recovery.ask(name, visit)
    assert isinstance(token, Secret)
    visit = Visit(Browser("192.0.2.1", "Test/1"), flow_token=token.reveal())
    return rig.parts.recovery.pending(visit).spoken, visit


def test_the_help_desk_approves_from_its_terminal(rig: PeopleRig) -> None:
    spoken, visit = _spoken(rig, "eve")
    heidi = rig.caller("heidi")
    listed = heidi.get("/v1/recoveries").json()
    assert [(one["person"], one["asked_from"]) for one in listed] == [("eve", "192.0.2.1")]
    assert spoken not in heidi.get("/v1/recoveries").text
    assert heidi.post("/v1/recoveries/look-up", {"code": spoken}).json()["person"] == "eve"
    assert heidi.post("/v1/recoveries/approve", {"code": spoken, "reason": " "}).status_code == 422
    done = heidi.post("/v1/recoveries/approve", {"code": spoken, "reason": "Saw her badge"})
    assert done.json() == {"person": "eve"}
    assert str(rig.parts.recovery.take(visit)).startswith("/enrol/")
    again = heidi.post("/v1/recoveries/approve", {"code": spoken, "reason": "again"})
    assert (again.status_code, again.json()["code"]) == (404, "RECOVERY_UNKNOWN")


@pytest.mark.parametrize(
    ("who", "whom", "says"),
    [
        ("oscar", "eve", 'Route::"limen/recovery"'),
        ("eve", "heidi", 'Route::"limen/recovery"'),
        ("heidi", "root", 'Route::"limen/roles"'),
        ("heidi", "heidi", "Nobody approves their own recovery"),
        ("root", "root", "Nobody approves their own recovery"),
    ],
)
def test_who_may_not_approve_does_not(rig: PeopleRig, who: str, whom: str, says: str) -> None:
    spoken, visit = _spoken(rig, whom)
    answer = rig.caller(who).post("/v1/recoveries/approve", {"code": spoken, "reason": "because"})
    assert (answer.status_code, says in answer.json()["detail"]) == (403, True), answer.text
    assert rig.parts.recovery.pending(visit).state == "open"


def test_the_hosts_operator_approves_administrators_too(rig: PeopleRig) -> None:
    spoken, visit = _spoken(rig, "root")
    answer = rig.host.post("/v1/recoveries/approve", json={"code": spoken, "reason": "at the console"})
    assert answer.json() == {"person": "root"}
    assert rig.parts.recovery.pending(visit).state == "ready"


def test_a_recovery_is_stopped_from_the_terminal(rig: PeopleRig) -> None:
    _, visit = _spoken(rig, "eve")
    assert (
        rig.caller("heidi").post("/v1/recoveries/eve/stop", {"reason": "she says no"}).json()["stopped"] >= 1
    )
    assert rig.parts.recovery.pending(visit) is None
    assert rig.parts.recovery.show(Shown(Secret(PASSWORD)), visit) == Over()


def test_lowered_trust_is_listed_and_ended_early_with_a_reason(rig: PeopleRig) -> None:
    with rig.parts.desk.ledger.entry("test", "came back") as entry:
        rig.parts.desk.lower_trust(entry, "eve", "reset")
    heidi = rig.caller("heidi")
    assert [one["person"] for one in heidi.get("/v1/recovered").json()] == ["eve"]
    assert rig.host.get("/v1/people/eve").json()["signals"] == ["recovered"]
    assert heidi.post("/v1/recovered/eve/restore", {"reason": "met her"}).status_code == 200
    assert heidi.get("/v1/recovered").json() == []
    again = heidi.post("/v1/recovered/eve/restore", {"reason": "met her"})
    assert (again.status_code, again.json()["code"]) == (404, "NOT_RECOVERED")


def test_a_policy_reads_that_somebody_has_come_back(tmp_path: Path) -> None:
    guard = """
@id("not-just-recovered") @reason("Payroll waits a week after a recovery.")
forbid(principal is User, action, resource == App::"payroll") when { context.signals.contains("recovered") };
@id("eve-payroll") @reason("Eve may read payroll.")
permit(principal == User::"eve", action == Action::"read", resource == App::"payroll");
"""
    rig = PeopleRig(tmp_path, more=guard)
    try:
        session = session_facts(rig.session("eve").session.render_fact())
        authority = rig.control._authority

        def may() -> bool:
            user, app = EntityRef("User", "eve"), EntityRef("App", "payroll")
            return authority.decide(user, "read", app, session=session).decision.allowed

        assert may()
        with rig.parts.desk.ledger.entry("test", "came back") as entry:
            rig.parts.desk.lower_trust(entry, "eve", "reset")
        assert not may()
        rig.clock.advance(604_801)
        rig.parts.desk.sweep()
        with rig.parts.desk.ledger.store.read() as connection:
            assert directory.get_person(connection, "eve").signals == ()
    finally:
        rig.control.close()


def test_a_test_notice_says_when_nothing_would_carry_it(rig: PeopleRig) -> None:
    answer = rig.host.post("/v1/notices/test", json={"person": "eve"})
    assert (answer.status_code, answer.json()["code"]) == (409, "NO_NOTICE_CHANNEL")
    assert rig.host.get("/v1/notices").json() == []

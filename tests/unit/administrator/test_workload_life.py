"""What time and leaving do to workloads, and what may be registered for them."""

from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from machine_world import MachineWorld

from limen.administrator.workload_flags import flags_of
from limen.administrator.workload_keys import parse_public_key
from limen.core.entities import Status
from limen.core.errors import Conflict, Invalid, LimenError, Refused
from limen.store import machines
from limen.store.directory import update_person
from limen.store.workloads import Workload, get_workload

DAY = 86_400.0


@pytest.fixture
def world(tmp_path: Path) -> MachineWorld:
    return MachineWorld(tmp_path)


def workload(world: MachineWorld, name: str = "ci") -> Workload:
    with world.store.read() as connection:
        return get_workload(connection, name)


def set_status(world: MachineWorld, person: str, status: Status) -> None:
    with world.store.transaction("test", "it") as tx:
        update_person(tx, person, status=status)


def sweep(world: MachineWorld) -> list[str]:
    """Sweep; return the kinds of the events that came of it."""
    world.events.clear()
    world.parts.workload_life.sweep()
    return world.kinds()


# --- none without an owner ---------------------------------------------------------------------------


def test_l1_a_workload_whose_owner_has_left_is_flagged_and_stops_after_the_grace(
    world: MachineWorld,
) -> None:
    token = world.token("ci")
    tunnel = world.open(world.request(token, host="ledger", method="CONNECT"))
    assert tunnel and sweep(world) == []
    set_status(world, "grace", Status.ENDED)
    assert sweep(world) == ["workload.ownerless"] * 3
    now = world.clock.now()
    assert workload(world).stops_at == now + 7 * DAY
    assert "ownerless" in flags_of(workload(world), (), now)
    assert sweep(world) == [], "told once"
    assert world.is_live(tunnel) and world.get(token).status == 200, "it goes on for a while"
    world.later(7 * DAY + 1)
    fresh = world.token("ci")
    assert world.get(fresh).status == 200
    assert sorted(set(sweep(world))) == ["workload.suspended"]
    assert workload(world).status is Status.SUSPENDED
    assert world.get(fresh).status == 401 and world.ask("ci").json()["error"] == "invalid_grant"


def test_l1_somebody_else_takes_it_or_the_owner_comes_back(world: MachineWorld) -> None:
    set_status(world, "grace", Status.SUSPENDED)
    sweep(world)
    world.workloads.change("ci", {"owner": "heidi"}, actor="test", reason="heidi has it")
    assert workload(world).stops_at is None
    set_status(world, "grace", Status.ACTIVE)
    sweep(world)
    assert workload(world, "billing").stops_at is None
    world.later(8 * DAY)
    sweep(world)
    assert {workload(world, one).status for one in ("ci", "billing", "legacy")} == {Status.ACTIVE}


def test_no_workload_is_made_without_an_owner_who_is_there(world: MachineWorld) -> None:
    set_status(world, "heidi", Status.SUSPENDED)
    for owner in ("", "nobody", "heidi"):
        with pytest.raises(LimenError):
            world.workloads.create("new", owner=owner, description="", actor="test", reason="")


# --- time --------------------------------------------------------------------------------------------


def test_a_workload_ends_at_its_date_with_all_that_is_open(world: MachineWorld) -> None:
    token = world.token("ci")
    tunnel = world.open(world.request(token, host="ledger", method="CONNECT"))
    expires_at = world.clock.now() + 600
    world.workloads.change("ci", {"expires_at": expires_at}, actor="test", reason="a trial")
    assert tunnel and world.is_live(tunnel) and world.get(token).status == 200
    short = world.ask("ci").json()
    assert short["expires_in"] == 600, "no token outlives it"
    world.later(600)
    assert not world.is_live(tunnel), "at its date, and nobody had to do anything"
    assert world.get(token).status == 403
    sweep(world)
    assert world.keys.sessions("ci") == ()
    assert world.ask("ci").status_code == 400


def test_l2_what_is_over_is_swept_and_gateways_hear_of_it(world: MachineWorld) -> None:
    token = world.token("ci")
    assert world.replica.projections("workload_session")
    world.later(1800)
    assert world.get(token).status == 401
    sweep(world)
    assert not world.replica.projections("workload_session")


def test_l3_a_review_that_is_due_is_told_once(world: MachineWorld) -> None:
    assert workload(world).review_at == world.clock.now() + 180 * DAY
    world.later(181 * DAY)
    assert sweep(world) == ["workload.review_due"] * 3 and sweep(world) == []
    assert "review due" in flags_of(workload(world), (), world.clock.now())
    world.workloads.review("ci", review_s=DAY, actor="grace", reason="builds run")
    assert "review due" not in flags_of(workload(world), (), world.clock.now())
    world.later(2 * DAY)
    assert sweep(world) == ["workload.review_due"], "and of the next one too"


def test_a_workload_has_so_many_sessions_and_the_oldest_ends(
    world: MachineWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "SESSIONS_MAX", 2)
    tokens = []
    for _ in range(3):
        tokens.append(world.token("ci"))
        world.later(1)
    assert [world.get(one).status for one in tokens] == [401, 200, 200]


# --- what is registered ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        (ECKey.generate_key("P-256").as_dict(private=True), "private"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "private"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "cannot be read"),
        ({"kty": "EC"}, "cannot be read"),
        ({}, "no key"),
    ],
)
def test_what_is_no_public_key_is_not_registered(jwk: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        parse_public_key(jwk)


def test_a_key_is_kept_as_what_it_is_and_nothing_that_came_with_it() -> None:
    key = RSAKey.generate_key(2048)
    public, thumbprint = parse_public_key({**key.as_dict(private=False), "x5u": "https://evil", "kid": "k\n"})
    assert set(public) == {"kty", "n", "e", "kid", "use"} and public["kid"] == thumbprint


def test_no_two_workloads_share_a_key(world: MachineWorld) -> None:
    key = world.give_key("ci")
    with pytest.raises(Conflict):
        world.keys.add_key(
            "billing", key.as_dict(private=False), label="", life_s=60, actor="test", reason=""
        )


def test_k4_no_policy_no_secret(world: MachineWorld) -> None:
    with pytest.raises(Refused) as refused:
        world.keys.add_secret("ci", label="", life_s=60, overlap_s=0, actor="test", reason="")
    assert refused.value.code == "SECRET_NOT_ALLOWED"


def test_k3_k5_a_secret_is_told_once_flagged_and_two_at_most_count(world: MachineWorld) -> None:
    for _ in range(3):
        world.later(1)
        secret, made = world.keys.add_secret(
            "legacy", label="", life_s=DAY, overlap_s=3600, actor="test", reason=""
        )
    held = world.keys.list("legacy")
    assert len(held) == 2 and secret.reveal() not in str(held) + str(world.events)
    assert [one.expires_at - world.clock.now() for one in held] == [3600, DAY]
    flags = flags_of(workload(world, "legacy"), held, world.clock.now())
    assert flags[-2:] == ["shared secret", "never used"]
    assert made.kind == "secret"


def test_a_workload_that_ends_leaves_no_key_behind(world: MachineWorld) -> None:
    world.give_key("ci")
    world.workloads.change("ci", {"status": Status.ENDED}, actor="test", reason="over")
    assert world.keys.list("ci") == ()
    assert flags_of(workload(world), (), world.clock.now()) == []

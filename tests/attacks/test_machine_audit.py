"""A second look at machines: the memory that strangers fill."""

import pytest
from joserfc.jwk import ECKey
from machine_world import AUTH, MachineWorld

WIKI = "https://wiki.limen.localhost:8443"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> MachineWorld:
    return MachineWorld(tmp_path_factory.mktemp("machines"))


def test_who_stole_a_bound_token_does_not_fill_the_memory_of_proofs(world: MachineWorld) -> None:
    """With a full memory no machine's proof would be taken any more."""
    key = ECKey.generate_key("P-256")
    token = world.token("ci", dpop=world.proof(key, "POST", f"{AUTH}/oauth2/token"))
    spent = world.check._proofs._spent
    for _ in range(3):
        own = world.proof(ECKey.generate_key("P-256"), "GET", f"{WIKI}/", token)
        assert world.get(authorization=f"DPoP {token}", dpop=own).status != 200
    assert len(spent) == 0
    good = world.proof(key, "GET", f"{WIKI}/", token)
    assert world.get(authorization=f"DPoP {token}", dpop=good).status == 200
    assert world.get(authorization=f"DPoP {token}", dpop=good).status != 200, "taken once"
    assert len(spent) == 1

"""`limen scim`: tokens made, rotated, revoked; people handed over."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Limen

from limen.api.client import AdminClient
from limen.engine.protect import add_scim
from limen.services.state import StateDir


@pytest.fixture
def provisioned(system: Limen, served: Path) -> Iterator[Limen]:
    admin = AdminClient(StateDir(served).socket("admin"))
    before = admin.get("/v1/policy")["files"]
    after = {**before, "limen.yaml": add_scim(before["limen.yaml"], name="okta")}
    admin.post("/v1/policy/apply", {"files": after, "reason": "test"})
    yield system
    admin.post("/v1/policy/apply", {"files": before, "reason": "test"})


def test_a_client_s_tokens_live_and_end(provisioned: Limen) -> None:
    made = provisioned("scim", "token", "okta", "--name", "sync", "--expires", "90d")
    assert made.code == 0, made.err
    assert made.out.strip().startswith("limen_scim_")
    assert "/scim/v2" in made.err
    assert made.out.strip() not in provisioned("scim", "tokens").out
    new = json.loads(provisioned("scim", "rotate", "okta", "--overlap", "24h", "--json").out)
    assert len(new["shortened"]) == 1
    clients = json.loads(provisioned("scim", "list", "--json").out)
    assert [(one["id"], len(one["tokens"])) for one in clients] == [("okta", 2)]
    assert "okta" in provisioned("scim", "list").out
    last = json.loads(provisioned("scim", "rotate", "okta", "--overlap", "0s", "--json").out)
    listed = json.loads(provisioned("scim", "tokens", "--json").out)
    assert [one["id"] for one in listed] == [last["id"]]
    assert provisioned("scim", "revoke", last["id"]).code == 0
    assert provisioned("scim", "revoke", last["id"]).code == 1
    assert "no SCIM client" in provisioned("scim", "token", "nobody").err


def test_people_are_handed_over(provisioned: Limen) -> None:
    provisioned("user", "add", "scimmed")
    done = provisioned("scim", "adopt", "okta", "scimmed", "--reason", "HR keeps them now")
    assert (done.code, done.out) == (0, "okta keeps scimmed from now on.\n")
    assert json.loads(provisioned("user", "show", "scimmed", "--json").out)["source"] == "scim:okta"

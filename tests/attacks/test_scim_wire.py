"""SCIM through the real gateway, with the token of the demo's ready file: the door, its bounds, its end."""

import httpx
import pytest
from attack_rig import Target

from limen.services.form_client import verified_transport

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@pytest.fixture
def http(target: Target) -> httpx.Client:
    scim = target.demo.ready["scim"]
    return httpx.Client(
        base_url=scim["url"],
        headers={"authorization": f"Bearer {scim['token']}"},
        transport=verified_transport(target.demo.ca_file),
        timeout=20.0,
    )


def test_the_ready_file_opens_scim_and_scim_ends_people(target: Target, http: httpx.Client) -> None:
    body = {"schemas": [USER], "userName": "provisioned", "displayName": "Provisioned"}
    made = http.post("/Users", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["meta"]["location"].startswith(target.demo.ready["scim"]["url"])
    assert target.demo.admin.get("/v1/people/provisioned")["source"] == "scim:demo"
    off = {"schemas": [PATCH], "Operations": [{"op": "Replace", "value": {"active": "False"}}]}
    assert http.patch(f"/Users/{made.json()['id']}", json=off).json()["active"] is False
    assert target.demo.admin.get("/v1/people/provisioned")["status"] == "suspended"
    assert http.delete(f"/Users/{made.json()['id']}").status_code == 204
    assert target.demo.admin.get("/v1/people/provisioned")["status"] == "ended"


def test_a_spoofed_peer_and_a_stolen_place_open_nothing(target: Target, http: httpx.Client) -> None:
    token = http.headers.pop("authorization")
    assert http.get("/Users").status_code == 401
    assert http.get("/Users", headers={"x-limen-peer": "127.0.0.1"}).status_code == 401
    assert http.get("/Users", headers={"x-limen-subject": "workload:demo"}).status_code == 401
    wiki = target.demo.url("wiki", "/scim/v2/Users")
    elsewhere = http.get(wiki, headers={"authorization": token})
    assert "Resources" not in elsewhere.text


def test_bodies_are_bounded_at_the_gateway_and_behind_it(http: httpx.Client) -> None:
    large = {"schemas": [USER], "userName": "large", "nickName": "x" * 200_000}
    assert http.post("/Users", json=large).status_code == 400  # it came through, and is no person's
    assert http.post("/Users", content=b"x" * (4 * 1024 * 1024 + 1)).status_code == 413

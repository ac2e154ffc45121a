"""Signing in to a client: a code with PKCE, tokens for it, what they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import AUTH
from oauth_world import CALLBACK, OauthWorld, cheap_rsa, events


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OauthWorld]:
    cheap_rsa(monkeypatch)
    world = OauthWorld(tmp_path)
    yield world
    world.store.close()


def test_a_code_with_its_verifier_gives_tokens(world: OauthWorld) -> None:
    browser = world.browse("ada")
    asked = world.authorize(browser)
    assert asked.said["state"] == "s1" and asked.said["iss"] == AUTH
    answer = asked.redeem()
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["token_type"] == "Bearer" and said["expires_in"] == 300
    assert answer.headers["cache-control"] == "no-store"
    id_token = world.read(said["id_token"])
    now = int(world.clock.now())
    assert id_token.claims["iss"] == AUTH and id_token.claims["aud"] == "app"
    assert id_token.claims["sub"] == "ada" and id_token.claims["nonce"] == "n1"
    assert id_token.claims["exp"] == now + 300 and id_token.claims["email_verified"] is True
    assert id_token.claims["groups"] == ["payers", "staff"] and "mfa" in id_token.claims["amr"]
    access = world.read(said["access_token"])
    assert access.header["typ"] == "at+jwt"
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= access.claims.keys()
    assert access.claims["aud"] == AUTH and access.claims["client_id"] == "app"
    assert len(events(world, "client.signed_in")) == 1

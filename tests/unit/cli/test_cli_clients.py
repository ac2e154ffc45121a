"""`limen client`: an app elsewhere goes into the bundle, gets its secret, and is looked after."""

import json
from pathlib import Path

import pytest
from cli_rig import Limen

from limen.engine.bundle import parse_bundle
from limen.services.state import read_bundle

URI = "https://grafana.example/login/generic_oauth"


@pytest.fixture
def bundle(limen: Limen, tmp_path: Path) -> Path:
    assert limen("init", str(tmp_path / "b"), "--domain", "corp.example").code == 0
    return tmp_path / "b"


def test_a_client_is_added_to_the_bundle(limen: Limen, bundle: Path) -> None:
    said = ("--redirect-uri", URI, "--allow", "group:staff", "--auth", "secret", "--title", "Grafana: ours")
    back = ("--backchannel-logout-uri", "https://grafana.example/back", "--folder", str(bundle))
    added = limen("client", "add", "grafana", *said, *back)
    assert added.code == 0, added.err
    assert "limen client secret grafana" in added.out and f'redirect_uris: ["{URI}"]' in added.out
    client = parse_bundle(read_bundle(bundle)).catalogue.clients["grafana"]
    assert client.title == "Grafana: ours" and client.allow == ("group:staff",)
    assert client.oidc is not None and client.oidc.secrets == ("grafana",)
    assert client.oidc.backchannel_logout_uri == "https://grafana.example/back"
    again = limen("client", "add", "grafana", *said, *back)
    assert again.code == 1 and "there is a client 'grafana' already" in again.err


def test_a_device_is_added(limen: Limen, bundle: Path) -> None:
    added = limen("client", "add", "tv", "--device", "--allow", "group:staff", "--folder", str(bundle))
    assert added.code == 0, added.err
    client = parse_bundle(read_bundle(bundle)).catalogue.clients["tv"]
    assert client.oidc is not None and client.oidc.grants == ("device_code", "refresh_token")


def test_an_api_is_added(limen: Limen, bundle: Path) -> None:
    said = ("--audience", "https://api.example", "--folder", str(bundle))
    added = limen("client", "add", "payments", *said)
    assert added.code == 0 and "Nobody may sign in yet" in added.out
    assert parse_bundle(read_bundle(bundle)).catalogue.clients["payments"].audience == "https://api.example"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((), "--redirect-uri"),
        (("--redirect-uri", "http://grafana.example/cb"), "redirect_uris"),
        (("--redirect-uri", URI, "--auth", "private_key_jwt"), "public half"),
        (("--redirect-uri", URI, "--auth", "magic"), "auth"),
    ],
)
def test_a_client_that_cannot_be_changes_nothing(
    limen: Limen, bundle: Path, said: tuple[str, ...], told: str
) -> None:
    before = read_bundle(bundle)
    refused = limen("client", "add", "grafana", *said, "--folder", str(bundle))
    assert refused.code == 1 and told in refused.err
    assert read_bundle(bundle) == before


def test_a_client_in_a_running_system(system: Limen, served: Path, tmp_path: Path) -> None:
    folder = served.parent / "bundle"
    before = read_bundle(folder)
    said = ("--redirect-uri", URI, "--allow", "group:staff", "--auth", "secret", "--folder", str(folder))
    try:
        assert system("client", "add", "grafana", *said).code == 0
        system("group", "add", "staff")
        applied = system("policy", "apply", str(folder), "--reason", "a client")
        assert applied.code == 0, applied.err
        (row,) = json.loads(system("client", "list", "--json").out)
        assert (row["name"], row["speaks"], row["signed_in"]) == ("grafana", ["oidc"], 0)
        shown = system("client", "show", "grafana").out
        assert "https://auth.corp.example:8443/.well-known/openid-configuration" in shown
        secret = system("client", "secret", "grafana", "--reason", "first").out.strip()
        assert len(secret) == 43 and secret not in system("client", "show", "grafana").out
        assert "grafana" in system("secret", "list").out
        wrong = system("client", "secret", "grafana", "--stored", "other")
        assert wrong.code == 1 and "no such secret" in wrong.err
        assert "Nobody is signed in" in system("client", "sessions", "grafana").out
        assert system("client", "end", "grafana", "--reason", "x").out == "Ended 0 at grafana.\n"
        assert system("client", "show", "nobody").code == 1
        assert json.loads(system("client", "keys", "--json").out) == []
        assert json.loads(system("client", "rotate-keys", "--reason", "x", "--json").out) == []
    finally:
        for path, text in before.items():
            (folder / path).write_text(text)
        assert system("policy", "apply", str(folder), "--yes", "--reason", "as it was").code == 0

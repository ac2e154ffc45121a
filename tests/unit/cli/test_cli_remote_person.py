"""Whose token a command sends, and where to: of a program that was given one, or of who is logged in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from limen.cli import remote
from limen.connect.login import Client
from limen.connect.profiles import Profile, Profiles, profile_name
from limen.connect.vault import Vault
from limen.core.errors import Refused
from limen.core.secret import Secret

AUTH = "https://auth.corp.example"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LIMEN_TOKEN", "LIMEN_TOKEN_FILE", "LIMEN_SERVER", "LIMEN_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIMEN_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr("limen.connect.vault.find_keyring", lambda: None)
    return tmp_path


def log_in(token: str = "l1.mine") -> Profile:
    profiles = Profiles()
    profile = Profile(auth_url=AUTH, person="root", expires_at=2e9, kept="file")
    Vault(profiles.folder, lambda: None).save(profile_name(profile.place), Secret(token))
    profiles.save(profile)
    return profile


def test_the_token_of_who_is_logged_in_goes_to_where_it_came_from_and_nowhere_else() -> None:
    log_in()
    for server in (AUTH, "https://corp.example"):
        remote.choose(server, None)
        client = remote.chosen(None)
        assert client is not None
        assert str(client._http.base_url) == f"{AUTH}/api/"
        assert client._http.headers["authorization"] == "Bearer l1.mine"


def test_nobody_is_logged_in_at_another_server() -> None:
    log_in()
    for server in ("https://auth.evil.example", f"{AUTH}:8443"):
        remote.choose(server, None)
        with pytest.raises(Refused) as refused:
            remote.chosen(None)
        assert (refused.value.code, f"limen login {server}" in refused.value.remedy) == ("NO_TOKEN", True)


def test_a_token_that_was_given_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in()
    monkeypatch.setenv("LIMEN_TOKEN", "limen_wl_given")
    remote.choose(AUTH, None)
    client = remote.chosen(None)
    assert client is not None and client._http.headers["authorization"] == "Bearer limen_wl_given"


def test_a_token_that_others_could_read_is_not_sent(machine: Path) -> None:
    profile = log_in()
    file = Client().profiles.folder / f"{profile.name}.token"
    file.chmod(0o644)
    remote.choose(AUTH, None)
    with pytest.raises(Refused) as refused:
        remote.chosen(None)
    assert refused.value.code == "TOKEN_EXPOSED"


@pytest.fixture(autouse=True)
def forget_choice() -> Iterator[None]:
    yield
    remote.choose(None, None)

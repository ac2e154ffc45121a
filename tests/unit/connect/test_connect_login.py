"""Logging in and out against a fake sign-in host: both flows, and what an attacker tries on the way."""

import hashlib
import http.client
import os
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from connect_auth import TOKEN, FakeAuth, fake_auth

from limen.connect.https import Https
from limen.connect.login import Client, LoginOptions, log_in, log_out
from limen.connect.network import make_tls_context
from limen.connect.oauth import OAuth
from limen.connect.profiles import Profiles, parse_auth_url
from limen.connect.vault import Vault
from limen.core.errors import LimenError, NotFound, Refused, Unavailable

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


@pytest.fixture
def auth(tmp_path: Path) -> Iterator[FakeAuth]:
    with fake_auth(tmp_path) as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> Client:
    profiles = Profiles(tmp_path / "config")
    return Client(profiles, Vault(profiles.folder, lambda: None))


def options(auth: FakeAuth, **more: Any) -> LoginOptions:
    return LoginOptions(parse_auth_url(auth.url), auth.ca_file, **more)


def fetch(url: str, host: str | None = None) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
    try:
        connection.request(
            "GET", f"{parts.path}?{parts.query}", headers={} if host is None else {"Host": host}
        )
        return connection.getresponse().status
    finally:
        connection.close()


def browser(visits: Callable[[str, str], list[str]]) -> Callable[[str], bool]:
    """Return a browser that visits, in turn, what a test makes of redirect URI and state."""

    def open_browser(url: str) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        targets = visits(query["redirect_uri"], query["state"])
        threading.Thread(target=lambda: [fetch(one) for one in targets], daemon=True).start()
        return True

    return open_browser


def good(auth: FakeAuth) -> Callable[[str, str], list[str]]:
    return lambda uri, state: [f"{uri}?code=c1&state={state}&iss={quote(auth.url, safe='')}"]


def test_a_browser_signs_in_with_pkce(auth: FakeAuth, client: Client) -> None:
    said: list[str] = []
    seen: list[str] = []

    def open_browser(url: str) -> bool:
        seen.append(url)
        return browser(good(auth))(url)

    profile, account = log_in(client, options(auth), said.append, open_browser)
    assert (profile.person, profile.kept, account.services[0].name) == ("ada", "file", "db")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(seen[0]).query).items()}
    path, fields = auth.posts[0]
    assert path == "/connect/token" and fields["grant_type"] == "authorization_code"
    digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
    assert asked["code_challenge"] == urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert fields["redirect_uri"] == asked["redirect_uri"]
    assert client.token(client.profiles.find(None)).reveal() == TOKEN
    assert TOKEN not in "".join(said) and fields["code_verifier"] not in "".join(said) + seen[0]


def test_a_code_signs_in_and_waits_as_it_is_told(auth: FakeAuth, client: Client) -> None:
    auth.device_errors.extend(["authorization_pending", "slow_down", "authorization_pending"])
    waited: list[float] = []
    oauth = OAuth.discover(client.https(parse_auth_url(auth.url), auth.ca_file))
    granted = oauth.poll_device(oauth.start_device("x"), sleep=waited.append, now=lambda: sum(waited))
    assert granted.token.reveal() == TOKEN
    assert waited == [5, 5, 10, 10]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [("access_denied", "declined"), ("expired_token", "refused"), ("\x1b[2J", "refused")],
)
def test_a_code_that_is_declined_ends_it(auth: FakeAuth, client: Client, error: str, sentence: str) -> None:
    auth.device_errors.append(error)
    oauth = OAuth.discover(client.https(parse_auth_url(auth.url), auth.ca_file))
    with pytest.raises(Refused, match=sentence):
        oauth.poll_device(oauth.start_device("x"), sleep=lambda _: None, now=lambda: 0)


def test_another_process_that_races_the_redirect_is_ignored(auth: FakeAuth, client: Client) -> None:
    def visits(uri: str, state: str) -> list[str]:
        iss = quote(auth.url, safe="")
        forged = [
            f"{uri}?code=evil&state=guess&iss={iss}",
            f"{uri}?code=evil&iss={iss}",
            f"{uri}?code=evil&state={state}&state={state}&iss={iss}",
            f"{uri.replace('/callback', '/other')}?code=evil&state={state}&iss={iss}",
        ]
        return [*forged, *good(auth)(uri, state), f"{uri}?code=late&state={state}&iss={iss}"]

    log_in(client, options(auth), lambda _: None, browser(visits))
    assert [fields["code"] for _, fields in auth.posts if "code" in fields] == ["c1"]


@pytest.mark.parametrize("iss", ["", "&iss=https%3A%2F%2Fauth.evil.example"])
def test_an_answer_of_another_issuer_is_refused(auth: FakeAuth, client: Client, iss: str) -> None:
    with pytest.raises(Refused, match="another sign-in"):
        log_in(
            client,
            options(auth),
            lambda _: None,
            browser(lambda uri, state: [f"{uri}?code=c&state={state}{iss}"]),
        )
    assert auth.posts == []


def test_a_refusal_in_the_browser_is_said_plainly(auth: FakeAuth, client: Client) -> None:
    text = quote("No\x1b]0;evil\x07 access\u202e")
    with pytest.raises(Refused) as refused:
        log_in(
            client,
            options(auth),
            lambda _: None,
            browser(
                lambda uri, state: [
                    f"{uri}?error=access_denied&error_description={text}&state={state}&iss={quote(auth.url)}"
                ]
            ),
        )
    assert refused.value.message == "No]0;evil access"


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://auth.evil.example"},
        {"token_endpoint": "https://evil.example/connect/token"},
        {"revocation_endpoint": "http://auth.limen.localhost/connect/revoke"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_discovery_that_leads_elsewhere_is_refused(
    auth: FakeAuth, client: Client, changed: dict[str, Any]
) -> None:
    auth.metadata = changed
    with pytest.raises(Refused):
        OAuth.discover(client.https(parse_auth_url(auth.url), auth.ca_file))
    assert auth.posts == []


def test_a_host_that_is_not_trusted_gets_nothing(auth: FakeAuth, client: Client) -> None:
    with pytest.raises(Refused, match="not trusted"):
        OAuth.discover(client.https(parse_auth_url(auth.url), None))
    assert auth.gets == []


def test_an_answer_without_end_is_not_read(auth: FakeAuth, client: Client) -> None:
    auth.metadata = {"x": "y" * 2_000_000}
    with pytest.raises(Unavailable, match="more than it should"):
        OAuth.discover(client.https(parse_auth_url(auth.url), auth.ca_file))


@posix
def test_everything_on_disk_is_private(auth: FakeAuth, client: Client) -> None:
    log_in(client, options(auth), lambda _: None, browser(good(auth)))
    files = list(client.profiles.folder.iterdir())
    assert {path.suffix for path in files} == {".json", ".token", ".pem", ""}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (*files, client.profiles.folder))
    assert [path.name for path in files if TOKEN in path.read_text()] == [
        f"auth.limen.localhost_{auth.port}.token"
    ]


@posix
def test_a_token_file_that_others_could_read_is_refused(auth: FakeAuth, client: Client) -> None:
    profile, _ = log_in(client, options(auth), lambda _: None, browser(good(auth)))
    path = client.profiles.folder / f"{profile.name}.token"
    path.chmod(0o640)
    with pytest.raises(Refused, match="open to others"):
        client.token(profile)
    path.unlink()
    path.symlink_to(client.profiles.folder / "current")
    with pytest.raises(Refused):
        client.token(profile)


def test_logging_out_ends_the_session_and_forgets(auth: FakeAuth, client: Client) -> None:
    profile, _ = log_in(client, options(auth), lambda _: None, browser(good(auth)))
    assert log_out(client, profile) is None
    assert auth.posts[-1] == ("/connect/revoke", {"token": TOKEN, "client_id": "limen-connect"})
    assert list(client.profiles.folder.iterdir()) == []
    with pytest.raises(NotFound, match="not logged in"):
        client.profiles.find(None)


def test_logging_out_forgets_even_when_nobody_answers(auth: FakeAuth, client: Client) -> None:
    profile, _ = log_in(client, options(auth), lambda _: None, browser(good(auth)))
    auth.server.shutdown()
    auth.server.server_close()
    assert isinstance(log_out(client, profile), Unavailable)
    assert list(client.profiles.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("corp.example", "https://auth.corp.example"),
        ("auth.corp.example", "https://auth.corp.example"),
        ("https://AUTH.corp.example:443/", "https://auth.corp.example"),
        ("https://auth.corp.example:8443", "https://auth.corp.example:8443"),
    ],
)
def test_the_sign_in_host_is_found_by_address_or_domain(text: str, origin: str) -> None:
    assert parse_auth_url(text).origin == origin


@pytest.mark.parametrize(
    "text",
    ["http://auth.corp.example", "https://x@auth.corp.example", "auth.corp.example/x", "corp", "", "a b.c",
     "https://auth.corp.example:0x1", "-a.b", "https://[::1]:1", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_address_of_sign_in_is_refused(text: str) -> None:
    with pytest.raises(LimenError):
        parse_auth_url(text)


class Backend:
    """A keyring that remembers."""

    def __init__(self, *, broken: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.broken = broken

    def set_password(self, service: str, name: str, value: str) -> None:
        if self.broken:
            raise RuntimeError("locked")
        self.kept[service, name] = value

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


@pytest.mark.parametrize(("broken", "kept"), [(False, "keyring"), (True, "file")])
def test_the_keyring_keeps_the_token_where_it_works(
    auth: FakeAuth, tmp_path: Path, broken: bool, kept: str
) -> None:
    backend = Backend(broken=broken)
    profiles = Profiles(tmp_path / "config")
    client = Client(profiles, Vault(profiles.folder, lambda: backend))
    profile, _ = log_in(client, options(auth), lambda _: None, browser(good(auth)))
    assert profile.kept == kept and client.token(profile).reveal() == TOKEN
    on_disk = "".join(path.read_text() for path in profiles.folder.iterdir())
    assert (TOKEN in on_disk) is broken


def test_a_keyring_that_only_pretends_is_not_used() -> None:
    from keyring.backends import fail, null
    from keyring.backends.SecretService import Keyring

    from limen.connect.vault import pick_real

    real = object.__new__(Keyring)
    assert pick_real([fail.Keyring(), null.Keyring(), Backend()]) is None
    assert pick_real([null.Keyring(), real]) is real


def test_no_proxy_and_no_redirect_is_followed(auth: FakeAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    https = Https(parse_auth_url(auth.url), make_tls_context(auth.ca_file, "http/1.1"))
    assert https.get("/connect/services").status == 200

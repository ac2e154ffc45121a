"""Attempts to tell an app who one is, past the gateway that tells it: headers, trailers, tokens."""

import base64

import pytest
from attack_rig import APPS, Person, Target, echoed
from attack_wire import SESSION, Http2, host, render

from limen.engine.limen_keys import HEADER_PRESETS

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

FORGED = "forged-by-attacker"
PRESET_NAMES = sorted({name for names in HEADER_PRESETS.values() for name in names.values()})
FOREIGN_NAMES = [
    "X-Limen-Assertion", "X-Limen-User", "X-Limen-Decision-Id", "X-Limen-Peer",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token", "X-Forwarded-Uri", "X-Original-Url", "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Pomerium-Jwt-Assertion", "X-Authentik-Uid", "X-Webauth-User", "X-Remote-User", "X-Real-Ip",
    "Forwarded",
    "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion", "Cf-Access-Jwt-Assertion",
    "X-Amzn-Oidc-Data",
    "Tailscale-User-Login", "Client-Cert", "X-Forwarded-Client-Cert",
]  # fmt: skip
NAMES = [*PRESET_NAMES, *FOREIGN_NAMES, "Grafana-User", "X-Mail"]
OWN = {"named": {"Grafana-User", "X-Mail"}}
APPS_WITH_HEADERS = [name for name, fields in APPS.items() if "identity" in fields]


@pytest.fixture(scope="module")
def staff(target: Target) -> Person:
    return Person.enrolled(target.demo, "staff")


@pytest.mark.parametrize("app", APPS_WITH_HEADERS)
def test_spoofed_identity_headers_reach_an_app_under_no_presets_name(
    target: Target, staff: Person, app: str
) -> None:
    cookie = staff.open(app)
    names = [name for name in NAMES if name not in {"Grafana-User", "X-Mail"} or app in OWN]
    for casing in (str, str.upper):
        forged = [(casing(name), FORGED) for name in names]
        seen = echoed(target.wire.ask(app, "/", *forged, cookie=cookie))
        assert [name for name, value in seen.headers if FORGED in value] == []
        with Http2(target.wire, app) as connection:
            lower = [(name.lower(), FORGED) for name in names]
            status, body = connection.ask(f"{host(app)}:{target.demo.port}", "/", ("cookie", cookie), *lower)
            assert (status, FORGED in body.decode()) == (200, False)


@pytest.mark.parametrize("app", APPS_WITH_HEADERS)
def test_the_header_that_an_app_believes_is_set_once_and_right(
    target: Target, staff: Person, app: str
) -> None:
    fields = APPS[app]["identity"]["headers"]
    name = HEADER_PRESETS[fields["preset"]]["user"] if "preset" in fields else fields["user"]
    seen = echoed(target.wire.ask(app, "/", (name, FORGED), (name, FORGED), cookie=staff.open(app)))
    assert seen.all(name) == [staff.username]


@pytest.mark.parametrize("name", [*PRESET_NAMES, "Grafana-User", "X-Limen-Assertion"])
def test_a_connection_header_cannot_have_an_identity_header_removed(
    target: Target, staff: Person, name: str
) -> None:
    app = "named" if name == "Grafana-User" else "proxied"
    believed = "Grafana-User" if app == "named" else "X-Forwarded-User"
    seen = echoed(target.wire.ask(app, "/", ("Connection", f"keep-alive, {name}"), cookie=staff.open(app)))
    assert seen.all(believed) == [staff.username]
    assert len(seen.all("x-limen-assertion")) == 1


def test_identity_in_trailers_is_not_passed_on(target: Target, staff: Person) -> None:
    head = render(
        "proxied",
        target.demo.port,
        "/",
        ("Transfer-Encoding", "chunked"),
        method="POST",
        cookie=staff.open("proxied"),
    )
    trailers = "".join(f"{name}: {FORGED}\r\n" for name in NAMES)
    reply = target.wire.raw(head + b"3\r\nabc\r\n0\r\n" + trailers.encode() + b"\r\n", "proxied", "POST")
    assert (reply.status, FORGED in reply.text) == (200, False)


@pytest.mark.parametrize("app", ["vault", "files"])
def test_a_public_path_gets_no_identity_and_no_token_even_of_a_person_signed_in(
    target: Target, staff: Person, app: str
) -> None:
    cookie = staff.open(app)
    forged = [(name, FORGED) for name in NAMES if name not in {"Grafana-User", "X-Mail"}]
    seen = echoed(target.wire.ask(app, "/healthz", *forged, cookie=f"{cookie}; own=1"))
    assert [value for _, value in seen.headers if FORGED in value or cookie in value] == []
    assert seen.all("x-limen-assertion") == []
    assert seen.all("cookie") == ["own=1"]


def client_token(person: Person, app: str) -> str:
    form = person.form("/account")
    answer = person.http.post(
        f"{person.demo.auth_url}/tokens",
        data={"csrf": form.hidden["csrf"], "app": app, "name": "attack"},
        headers={"Accept": "application/json", "Origin": person.demo.auth_url},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def test_cookies_and_tokens_are_good_only_where_and_as_what_they_were_made(
    target: Target, staff: Person
) -> None:
    wire, cookie = target.wire, staff.open("proxied")
    token, value, sso = client_token(staff, "proxied"), cookie.partition("=")[2], staff.cookie("auth")
    assert wire.ask("proxied", "/", ("Authorization", f"Bearer {token}")).status == 200
    assert wire.ask("proxied", cookie=cookie).status == 200
    refused = {
        "token as cookie": wire.ask("proxied", cookie=f"{SESSION}={token}"),
        "cookie as bearer": wire.ask("proxied", "/", ("Authorization", f"Bearer {value}")),
        "cookie as token": wire.ask("proxied", "/", ("X-Limen-Token", value)),
        "token of another app": wire.ask("vault", "/", ("Authorization", f"Bearer {token}")),
        "cookie of another app": wire.ask("vault", cookie=cookie),
        "sign-in cookie at an app": wire.ask("proxied", cookie=f"{SESSION}={sso}"),
    }
    assert {what: reply.status for what, reply in refused.items()} == dict.fromkeys(refused, 401)
    account = wire.ask("auth", "/account", ("Accept", "text/html"), cookie=cookie)
    assert account.status == 303, "an app's cookie at the sign-in host is no session"


def test_a_client_token_never_reaches_the_app(target: Target, staff: Person) -> None:
    token, cookie = client_token(staff, "proxied"), staff.open("proxied")
    basic = base64.b64encode(f"git:{token}".encode()).decode()
    for header in (
        ("X-Limen-Token", token),
        ("Authorization", f"Bearer {token}"),
        ("Authorization", f"Basic {basic}"),
    ):
        for with_cookie in ("", cookie):
            seen = echoed(target.wire.ask("proxied", "/", header, cookie=with_cookie))
            assert not any(token in value or basic in value for _, value in seen.headers), header


@pytest.mark.parametrize("shape", ["Token {}", "Bearer\t{}", 'Bearer "{}"', "bearer {}, Bearer other", "{}"])
def test_a_client_token_in_an_odd_authorization_header_is_not_handed_to_the_app(
    target: Target, staff: Person, shape: str
) -> None:
    token, cookie = client_token(staff, "proxied"), staff.open("proxied")
    reply = target.wire.ask("proxied", "/", ("Authorization", shape.format(token)), cookie=cookie)
    assert token not in reply.text, "a token that a program misplaced opens the app to whoever reads its log"

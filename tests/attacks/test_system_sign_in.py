"""The way in, attacked through the real gateway: forms from elsewhere, codes of others, replays, guessing."""

import base64
import hashlib
from urllib.parse import quote, urlsplit

import httpx
import pytest
from attack_rig import Person, Target, browser
from attack_wire import FLOW, NAVIGATION, SESSION, host

from limen.services.form_client import Form

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

EVIL = [
    "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example/", "http:evil.example",
    "data:text/html,x",
    "javascript:alert(1)", "/\r\nSet-Cookie: a=b", "/\n//evil.example", "/\t/evil.example",
    "///evil.example", "@evil.example",
    ".evil.example", "", "?x", "evil", "/\x00", "/\u2028/evil.example", "/x\\..\\..\\evil.example",
]  # fmt: skip
STAYS = [
    "/%0d%0aLocation:%20https://evil.example",
    "/.//evil.example",
    "/;//evil.example",
    "/@evil.example",
    "/%5cevil",
]


@pytest.fixture(scope="module")
def attacker(target: Target) -> Person:
    return Person.enrolled(target.demo, "staff")


def code_for(person: Person, app: str, nonce_hash: str, to: str = "/") -> str:
    """Return the path of the callback that a person's session gives them for an app."""
    query = {"app": app, "return": to, "nonce": nonce_hash}
    answer = person.http.get(f"{person.demo.auth_url}/authorize", params=query, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    parts = urlsplit(answer.headers["location"])
    assert parts.hostname == host(app)
    return f"{parts.path}?{parts.query}"


def session_set(reply: object) -> bool:
    return any(value.startswith(f"{SESSION}=l1.") for value in reply.all("set-cookie"))  # type: ignore[attr-defined]


def digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


# --- the callback -----------------------------------------------------------------------------------


@pytest.mark.parametrize("made_for", ["", "0" * 32, "null", FLOW])
def test_login_csrf_an_attackers_code_signs_a_browser_without_a_flow_in_nowhere(
    target: Target, attacker: Person, made_for: str
) -> None:
    """The attacker chooses the hash that a code is bound to; the victim only follows the link."""
    for cookie in ("", "other=1", f"{FLOW}=", f"{FLOW}=\xa0"):
        path = code_for(attacker, "named", digest(made_for))
        reply = target.wire.ask("named", path, *NAVIGATION, cookie=cookie)
        assert (reply.status, session_set(reply)) == (400, False), cookie


def test_login_csrf_an_attackers_code_does_not_fit_a_victims_flow(target: Target, attacker: Person) -> None:
    path = code_for(attacker, "named", digest("a" * 32))
    reply = target.wire.ask("named", path, *NAVIGATION, cookie=f"{FLOW}={'b' * 32}")
    assert (reply.status, session_set(reply)) == (400, False)
    again = target.wire.ask("named", path, *NAVIGATION, cookie=f"{FLOW}={'a' * 32}")
    assert (again.status, session_set(again)) == (400, False), "the code is spent, whoever brought it"


@pytest.mark.parametrize("padding", ["\xa0", "\x85", ""])
def test_login_csrf_a_flow_cookie_tossed_by_a_sibling_does_not_count(
    target: Target, attacker: Person, padding: str
) -> None:
    own, planted = f"{FLOW}={'c' * 32}", f"{padding}{FLOW}={'d' * 32}"
    for pairs in ([own, planted], [planted, own]):
        path = code_for(attacker, "named", digest("d" * 32))
        reply = target.wire.ask("named", path, *NAVIGATION, cookie="; ".join(pairs))
        assert (reply.status, session_set(reply)) == (400, False)


def test_an_exchange_code_opens_once_one_app_in_one_browser(target: Target, attacker: Person) -> None:
    cookie = f"{FLOW}={'e' * 32}"
    stray = code_for(attacker, "named", digest("e" * 32))
    elsewhere = target.wire.ask("vault", stray, *NAVIGATION, cookie=cookie)
    assert (elsewhere.status, session_set(elsewhere)) == (400, False), "another app's host"
    path = code_for(attacker, "named", digest("e" * 32))
    first = target.wire.ask("named", path, *NAVIGATION, cookie=cookie)
    assert (first.status, session_set(first)) == (303, True)
    replayed = target.wire.ask("named", path, *NAVIGATION, cookie=cookie)
    assert (replayed.status, session_set(replayed)) == (400, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
def test_the_callback_takes_nothing_but_a_navigation(target: Target, attacker: Person, method: str) -> None:
    path = code_for(attacker, "named", digest("f" * 32))
    reply = target.wire.ask("named", path, method=method, cookie=f"{FLOW}={'f' * 32}", body=b"")
    assert (reply.status, session_set(reply)) == (405, False)


# --- where it leads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("to", EVIL)
def test_open_redirect_a_return_that_leaves_the_app_is_refused(
    target: Target, attacker: Person, to: str
) -> None:
    query = f"app=named&return={quote(to, safe='')}&nonce={'a' * 64}"
    for cookie in ("", f"{SESSION}={attacker.cookie('auth')}"):
        reply = target.wire.ask("auth", f"/authorize?{query}", *NAVIGATION, cookie=cookie)
        assert (reply.status, reply.get("location")) == (400, None)


@pytest.mark.parametrize("to", STAYS)
def test_open_redirect_an_odd_return_stays_on_the_app(target: Target, attacker: Person, to: str) -> None:
    path = code_for(attacker, "named", digest("1" * 32), to)
    reply = target.wire.ask("named", path, *NAVIGATION, cookie=f"{FLOW}={'1' * 32}")
    assert reply.status == 303
    landed = httpx.URL(f"https://{host('named')}:{target.demo.port}/.limen/callback").join(
        reply.get("location") or ""
    )
    assert (landed.host, landed.scheme) == (host("named"), "https")
    assert "evil.example" not in (reply.get("location") or "").partition("?")[0].split("/")[0]


@pytest.mark.parametrize(
    "app", ["", "nobody", "NAMED", "auth", "limen", "../named", "named%00", "named%20", "evil.example"]
)
def test_open_redirect_an_unknown_app_is_refused(target: Target, attacker: Person, app: str) -> None:
    cookie = f"{SESSION}={attacker.cookie('auth')}"
    reply = target.wire.ask(
        "auth", f"/authorize?app={app}&return=/&nonce={'a' * 64}", *NAVIGATION, cookie=cookie
    )
    assert (reply.status, reply.get("location")) == (400, None)


FOREIGN_HOSTS = [
    "evil.example", f"{host('auth')}@evil.example", f"evil.example/{host('auth')}",
    f"{host('auth')}.evil.example", "control", "localhost", f"{host('auth')}.",
]  # fmt: skip


@pytest.mark.parametrize("claimed", FOREIGN_HOSTS)
def test_open_redirect_a_host_header_does_not_choose_where_sign_in_leads(
    target: Target, claimed: str
) -> None:
    for app, path in (("auth", f"/authorize?app=named&return=/&nonce={'a' * 64}"), ("named", "/")):
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {claimed}",
            "Accept: text/html",
            f"X-Forwarded-Host: {claimed}",
        )
        reply = target.wire.raw("\r\n".join([*lines, "", ""]).encode(), app)
        assert reply.status in (400, 404, 421)
        assert reply.get("location") is None


def test_open_redirect_a_forged_flow_leads_home(target: Target) -> None:
    forged = [
        b'{"path":"//evil.example"}', b'{"path":"https://evil.example"}',
        b'{"app":"named","path":"//evil.example"}', b"[" * 4000,
        b"null", b'{"app":"nobody","path":"/","nonce_hash":"' + b"a" * 64 + b'"}', b'{"max_age_s":1e400}',
        b"\xff\xfe", b"=",
    ]  # fmt: skip
    for raw in forged:
        flow = base64.urlsafe_b64encode(raw).decode()
        reply = target.wire.ask("auth", f"/login?flow={quote(flow)}", *NAVIGATION)
        assert (reply.status, "evil.example" in reply.text) == (200, False)


# --- forms from elsewhere -------------------------------------------------------------------------------

FORMS = ["/login", "/login/code", "/login/step-up", "/logout", "/logout/everywhere", "/account/sessions/end",
         "/account/passkey/remove", "/account/totp", "/account/totp/confirm", "/account/totp/remove",
         "/account/recovery",
         "/tokens", "/tokens/revoke", "/enrol/second", "/enrol/codes"]  # fmt: skip
ELSEWHERE = [
    {"Origin": "https://wiki.limen.localhost:{port}"}, {"Origin": "https://evil.example"}, {"Origin": "null"},
    {"Origin": "http://auth.limen.localhost:{port}"}, {"Origin": "https://auth.limen.localhost"},
    {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"},
]  # fmt: skip


@pytest.mark.parametrize("path", FORMS)
def test_a_form_posted_from_elsewhere_changes_nothing_even_with_the_right_hidden_value(
    target: Target, attacker: Person, path: str
) -> None:
    victim = attacker
    csrf = victim.form("/account").hidden["csrf"]
    for headers in ELSEWHERE:
        sent = {name: value.format(port=target.demo.port) for name, value in headers.items()}
        answer = victim.http.post(
            f"{target.demo.auth_url}{path}", data={"csrf": csrf, "app": "named"}, headers=sent
        )
        assert answer.status_code == 403, (path, sent)
    for wrong in ("", "0" * 64, "é"):
        answer = victim.http.post(f"{target.demo.auth_url}{path}", data={"csrf": wrong, "app": "named"})
        assert answer.status_code == 403
    assert victim.username in victim.get(f"{target.demo.auth_url}/account").text, "still signed in"


def test_a_link_alone_signs_nobody_out(target: Target, attacker: Person) -> None:
    for url in (
        f"{target.demo.auth_url}/logout",
        f"https://{host('named')}:{target.demo.port}/.limen/logout",
    ):
        attacker.get(url)
        assert attacker.username in attacker.get(f"{target.demo.auth_url}/account").text


def test_a_malformed_passkey_answer_is_refused_and_is_no_error_of_ours(target: Target) -> None:
    stranger = browser(target.demo)
    page = stranger.get(f"{target.demo.auth_url}/login")
    headers = {
        "X-CSRF-Token": Form(str(page.url), page.text).hidden["csrf"],
        "Content-Type": "application/json",
    }
    nested = base64.urlsafe_b64encode(b"[" * 30_000).rstrip(b"=")
    for credential in (b'"\\ud800"', b'{"response":{"clientDataJSON":"\\ud800"}}', b"1",
    b"[" * 900 + b"]" * 900,
                       b'{"response":{"clientDataJSON":"' + nested + b'"}}'):  # fmt: skip
        body = b'{"credential":' + credential + b"}"
        answer = stranger.http.post(f"{target.demo.auth_url}/login/passkey", content=body, headers=headers)
        assert answer.status_code in (400, 403), answer.text

"""Headers with which somebody outside tries to be somebody else, or to be read in two ways."""

import pytest
from envoy_rig import DOMAIN, Rig

pytestmark = pytest.mark.envoy

WIKI = f"Host: wiki.{DOMAIN}\r\n".encode()

FORGED = (
    "X-Limen-Assertion", "X-Limen-User", "X-Limen-Decision-Id", "X-Limen-Peer", "X-Limen-First-Cookie",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email",
    "X-Forwarded-Groups", "X-Forwarded-Client-Cert", "X-Forwarded-Uri", "X-Forwarded-Method", "Forwarded",
    "X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Original-Host", "X-Rewrite-Url",
    "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Auth-Request-User", "Remote-User", "Remote-Groups",
    "X-Authentik-Username", "X-Pomerium-Claim-Email", "X-Pomerium-Jwt-Assertion", "X-Remote-User",
    "X-Webauth-User", "Grafana-User", "X-Team", "X-Envoy-Original-Path", "X-Envoy-Internal",
    "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Http-Method", "X-Envoy-Decorator-Operation", "X-Envoy-Retry-On",
    "X-Http-Method-Override", "X-Method-Override", "Proxy",
)  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_spoofed_header_reaches_neither_the_check_nor_the_app(wire: Rig, name: str) -> None:
    wire.get("/", (name, "forged"))
    assert wire.reached == 1
    for seen in (wire.check.seen[0], wire.app.seen[0]):
        assert "forged" not in "".join(value for _, value in seen.headers)


@pytest.mark.parametrize("name", FORGED)
def test_spoofed_header_does_not_reach_control_either(wire: Rig, name: str) -> None:
    wire.get("/.limen/callback", (name, "forged"))
    wire.get("/authorize", (name, "forged"), host=f"auth.{DOMAIN}")
    assert len(wire.control.seen) == 2
    for seen in wire.control.seen:
        kept = {key for key, value in seen.headers if value == "forged"}
        assert kept <= {"grafana-user", "x-team"}, "an app's own names mean nothing to control"


def test_the_app_gets_the_checks_headers_and_not_the_visitors(wire: Rig) -> None:
    wire.allow(("x-limen-assertion", "signed"), ("grafana-user", "ada"), ("remote-user", "ada"))
    wire.get("/", ("X-Limen-Assertion", "forged"), ("Grafana-User", "root"), ("Remote-User", "root"))
    seen = wire.app.seen[0]
    assert seen.all("x-limen-assertion") == ["signed"]
    assert seen.all("grafana-user") == ["ada"]
    assert seen.all("remote-user") == ["ada"]


def test_the_peer_is_what_envoy_saw(wire: Rig) -> None:
    wire.get("/", ("X-Forwarded-For", "10.9.9.9"), ("X-Limen-Peer", "10.9.9.9"))
    assert wire.check.seen[0].all("x-limen-peer") == ["127.0.0.1"]
    seen = wire.app.seen[0]
    assert seen.all("x-forwarded-for") == ["127.0.0.1"]
    assert seen.all("x-forwarded-proto") == ["https"]
    assert seen.all("x-forwarded-host") == [f"wiki.{DOMAIN}"]
    assert seen.all("x-limen-peer") == []


def test_the_apps_view_is_free_of_limens_own_headers_and_tokens(wire: Rig) -> None:
    wire.get("/", ("X-Limen-Token", "l1.secret"), ("Cookie", "a=b"))
    assert wire.check.seen[0].all("x-limen-token") == ["l1.secret"]
    own = [key for key, _ in wire.app.seen[0].headers if key.startswith(("x-limen-", "x-envoy-"))]
    assert own == []


def test_cookie_and_authorization_are_removed_when_the_check_says_so(wire: Rig) -> None:
    wire.allow(("x-envoy-auth-headers-to-remove", "cookie,authorization"))
    wire.get("/", ("Cookie", "__Host-limen=z"), ("Authorization", "Bearer q"))
    assert wire.app.seen[0].get("cookie") is None
    assert wire.app.seen[0].get("authorization") is None
    assert wire.app.seen[0].get("x-envoy-auth-headers-to-remove") is None


def test_cookie_and_authorization_are_replaced_when_the_check_says_so(wire: Rig) -> None:
    wire.allow(("cookie", "app=1"), ("authorization", "Basic Zm9v"))
    wire.get("/", ("Cookie", "__Host-limen=z; app=1"), ("Authorization", "Bearer q"))
    assert wire.app.seen[0].all("cookie") == ["app=1"]
    assert wire.app.seen[0].all("authorization") == ["Basic Zm9v"]


def test_two_cookie_headers_show_to_the_check(wire: Rig) -> None:
    wire.raw(b"GET / HTTP/1.1\r\n" + WIKI + b"Cookie: a=1\r\nCookie: b=2\r\n\r\n")
    seen = wire.check.seen[0]
    assert (seen.get("cookie"), seen.get("x-limen-first-cookie")) == ("a=1,b=2", "a=1")


def test_a_comma_in_one_cookie_header_is_not_taken_for_two(wire: Rig) -> None:
    wire.get("/", ("Cookie", "a=1,b=2"))
    seen = wire.check.seen[0]
    assert seen.get("cookie") == seen.get("x-limen-first-cookie") == "a=1,b=2"


@pytest.mark.parametrize("name", ["X_Limen_Peer", "X-Limen_Assertion", "Remote_User", "X_Forwarded_For"])
def test_underscore_header_is_400(wire: Rig, name: str) -> None:
    assert wire.get("/", (name, "forged")).status == 400
    assert not wire.check.seen


@pytest.mark.parametrize(
    "lines",
    [
        b"X-Limen-Peer : forged\r\n",
        b"X-Limen-Peer\t: forged\r\n",
        b"X-A: b\r\nX-Limen-Peer\r\n",
        b"X-A: b\x00c\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
    ],
)
def test_malformed_or_smuggling_headers_are_400(wire: Rig, lines: bytes) -> None:
    assert wire.raw(b"POST / HTTP/1.1\r\n" + WIKI + lines + b"\r\n0\r\n\r\n").status == 400
    assert not wire.check.seen
    assert not wire.reached


def test_a_folded_header_stays_one_value(wire: Rig) -> None:
    wire.raw(b"GET / HTTP/1.1\r\n" + WIKI + b"X-A: b\r\n X-Limen-Assertion: forged\r\n\r\n")
    assert wire.app.seen[0].get("x-limen-assertion") is None


@pytest.mark.parametrize(
    "agent", ["kube-probe/1.30", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "Envoy/HC", "Consul Health Check"]
)
def test_health_check_user_agents_get_no_special_treatment(wire: Rig, agent: str) -> None:
    wire.deny(401)
    assert wire.get("/healthz", ("User-Agent", agent), ("X-Envoy-Internal", "true")).status == 401
    assert wire.check.seen[0].get("user-agent") == agent
    assert not wire.reached


def test_a_method_override_changes_nothing(wire: Rig) -> None:
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        wire.reset()
        wire.get("/", (name, "DELETE"))
        assert wire.check.seen[0].method == wire.app.seen[0].method == "GET"
        assert wire.app.seen[0].get(name.lower()) is None


def test_trace_is_refused_so_an_echo_shows_no_assertion(wire: Rig) -> None:
    wire.allow(("x-limen-assertion", "signed"))
    assert wire.request("TRACE", "/").status == 405
    assert not wire.reached


def test_an_app_cannot_speak_in_the_name_of_a_decision(wire: Rig) -> None:
    wire.allow(("x-limen-decision-id", "real"))
    wire.app.answer = lambda seen: wire.app.default._replace(headers=(("x-limen-decision-id", "false"),))
    assert wire.get("/").get("x-limen-decision-id") is None

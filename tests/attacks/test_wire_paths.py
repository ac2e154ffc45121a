"""Targets and hosts that one server might read as one thing and the next as another."""

import pytest
from envoy_rig import DOMAIN, Rig

pytestmark = pytest.mark.envoy

WIKI = f"Host: wiki.{DOMAIN}\r\n".encode()

ONE_READING = {
    "/a//b": "/a/b",
    "///a": "/a",
    "/a/./b": "/a/b",
    "/a/../b": "/b",
    "/../../b": "/b",
    "/a/%2e%2e/b": "/b",
    "/a/%2E./b": "/b",
    "/a\\b": "/a/b",
    "/a\\..\\b": "/b",
    "/%61dmin": "/admin",
    "/.limen/../a": "/a",
    "/.limen/%2e%2e/a": "/a",
    "/.limenx": "/.limenx",
    "/.LIMEN/callback": "/.LIMEN/callback",
    "/a;b=c": "/a;b=c",
    "/a%252fb": "/a%252fb",
    "/a?b=//c/../d": "/a?b=//c/../d",
}


@pytest.mark.parametrize("target", ONE_READING)
def test_check_and_app_read_the_same_path(wire: Rig, target: str) -> None:
    wire.get(target)
    assert wire.check.seen[0].path == wire.app.seen[0].path == ONE_READING[target]


@pytest.mark.parametrize("target", ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/a/..%2f..%2fb", "/%2f"])
def test_encoded_slash_is_400_even_if_the_check_would_let_it_pass(wire: Rig, target: str) -> None:
    assert wire.get(target).status == 400
    assert not wire.reached
    assert wire.check.seen, "the check is asked, and records it"


@pytest.mark.parametrize("target", ["/a%2fb", "/a%2Fb", "/a%5cb"])
def test_encoded_slash_reaches_an_app_that_allows_it_unchanged(wire: Rig, target: str) -> None:
    wire.get(target, host=f"files.{DOMAIN}")
    assert wire.check.seen[0].path == wire.app.seen[0].path == target


@pytest.mark.parametrize("host", ["wiki", "files"])
@pytest.mark.parametrize(
    "target", ["/.limen/..%2fadmin", "/.limen%2fcallback", "/.limen/..%5cadmin", "/.LIMEN/..%2fadmin"]
)
def test_encoded_slash_below_limens_own_paths_is_400_for_every_app(wire: Rig, host: str, target: str) -> None:
    assert wire.get(target, host=f"{host}.{DOMAIN}").status == 400
    assert not wire.control.seen
    assert not wire.reached


def test_encoded_slash_at_the_sign_in_host_is_400(wire: Rig) -> None:
    assert wire.get("/a%2fb", host=f"auth.{DOMAIN}").status == 400
    assert not wire.control.seen


@pytest.mark.parametrize("target", ["/a#b", "/a%00b", "/a\x01b", "/a\x7fb", "a", "*", "/a b"])
def test_a_target_that_is_not_one_is_refused(wire: Rig, target: str) -> None:
    assert wire.get(target).status in (400, 404)
    assert not wire.check.seen
    assert not wire.reached


@pytest.mark.parametrize(
    "path", ["/.limen", "/.limen/callback?code=1", "//.limen/callback", "/a/../.limen/x"]
)
def test_limens_own_paths_go_to_control_and_never_to_the_app(wire: Rig, path: str) -> None:
    assert wire.get(path).body == b"control"
    assert not wire.reached


@pytest.mark.parametrize(
    "host",
    [
        f"wiki.{DOMAIN}.",
        f"evil.{DOMAIN}",
        "evil.example",
        "127.0.0.1",
        "localhost",
        f"wiki.{DOMAIN}@evil.example",
        f"evil.example/wiki.{DOMAIN}",
        f"user@wiki.{DOMAIN}",
        f"a@b@wiki.{DOMAIN}",
        f"wiki.{DOMAIN}, evil.example",
        "",
    ],
)
def test_a_host_that_no_app_has_is_refused(wire: Rig, host: str) -> None:
    reply = wire.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert reply.status in (400, 404)
    assert not wire.check.seen
    assert not wire.reached


def test_two_host_headers_are_refused(wire: Rig) -> None:
    reply = wire.raw(b"GET / HTTP/1.1\r\n" + WIKI + f"Host: files.{DOMAIN}\r\n\r\n".encode())
    assert reply.status in (400, 404)
    assert not wire.reached


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_absolute_target_decides_the_host_for_everybody(wire: Rig, scheme: str) -> None:
    wire.raw(f"GET {scheme}://files.{DOMAIN}/a HTTP/1.1\r\n".encode() + WIKI + b"\r\n")
    assert wire.check.seen[0].get("host") == wire.app.seen[0].get("host") == f"files.{DOMAIN}"
    assert wire.app.seen[0].get("x-forwarded-proto") == "https"


def test_an_absolute_target_of_a_foreign_host_is_refused(wire: Rig) -> None:
    assert wire.raw(b"GET https://evil.example/ HTTP/1.1\r\n" + WIKI + b"\r\n").status == 404
    assert not wire.reached


def test_the_sign_in_host_is_not_served_on_an_apps_connection(wire: Rig) -> None:
    assert wire.get("/login", host=f"auth.{DOMAIN}", sni=f"wiki.{DOMAIN}").status == 421
    assert not wire.control.seen


def test_an_app_is_not_served_on_the_sign_in_hosts_connection(wire: Rig) -> None:
    assert wire.get("/", host=f"wiki.{DOMAIN}", sni=f"auth.{DOMAIN}").status == 421
    assert not wire.check.seen
    assert not wire.reached

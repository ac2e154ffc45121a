"""Strictness on the wire: what two programs could read differently is refused."""

import json

import pytest
from check_world import CheckWorld, request

from limen.core.catalogue import AppConfig, Catalogue, RouteConfig
from limen.enforcement.check.answer import Answer, render_answer
from limen.enforcement.check.credentials import read_credentials
from limen.enforcement.check.places import AppPlace
from limen.enforcement.check.request import (
    BadRequest,
    is_navigation,
    parse_authority,
    parse_peer,
    parse_target,
)


def refused(raw: bytes, *, encoded_slash: bool = False) -> bool:
    try:
        parse_target(raw, encoded_slash=encoded_slash)
    except BadRequest:
        return True
    return False


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"page",
        b"*",
        b"http://wiki.limen.test/",
        b"/a b",
        b"/a\tb",
        b"/a\x00",
        b"/a\x7f",
        b"/caf\xc3\xa9",
        b"/a#frag",
        b"/a?q=1#frag",
        b"/a;v=1",
        b"/a\\b",
        b"/a%5Cb",
        b"/a%5cb",
        b"/a%2Fb",
        b"/a%2fb",
        b"/a%252fb",
        b"/a%25%32%66",
        b"/a%",
        b"/a%4",
        b"/a%zz",
        b"/a%00",
        b"/a%0d%0aSet-Cookie:x",
        b"/a%7f",
        b"/a/../b",
        b"/a/./b",
        b"/..",
        b"/a/%2e%2e/b",
        b"/a/.%2E",
        b"//a",
        b"/a//b",
        b"/a%ff",
        b"/" + b"a" * 20_000,
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    assert refused(raw)


@pytest.mark.parametrize(
    ("raw", "path", "query", "reading"),
    [
        (b"/", "/", "", "/"),
        (b"/a/b", "/a/b", "", "/a/b"),
        (b"/a/?q=%2f..;//\\"[:-1], "/a/", "?q=%2f..;//", "/a/"),
        (b"/.git/info", "/.git/info", "", "/.git/info"),
        (b"/a..b/c.d", "/a..b/c.d", "", "/a..b/c.d"),
        (b"/caf%C3%A9", "/caf%C3%A9", "", "/café"),
        (b"/100%25", "/100%25", "", "/100%"),
        (b"/%40ada", "/%40ada", "", "/@ada"),
        (b"/a%20b", "/a%20b", "", "/a b"),
    ],
)
def test_a_plain_path_is_read(raw: bytes, path: str, query: str, reading: str) -> None:
    target = parse_target(raw, encoded_slash=False)
    assert (target.path, target.query, target.readings) == (path, query, (reading,))


def test_an_app_may_allow_escaped_slashes_but_never_dot_segments_in_them() -> None:
    target = parse_target(b"/repo/group%2Fname", encoded_slash=True)
    assert target.readings == ("/repo/group%2Fname", "/repo/group/name")
    assert refused(b"/repo/x%2F..%2Fadmin", encoded_slash=True)


def place(*routes: RouteConfig) -> AppPlace:
    app = AppConfig("wiki", "wiki.limen.test", ("http://x",), routes=routes, allow_encoded_slash=True)
    return AppPlace(app, Catalogue("limen.test", apps={"wiki": app}))


ADMIN = RouteConfig("admin", "/admin/**", action="admin")


@pytest.mark.parametrize("raw", [b"/Admin/x", b"/ADMIN", b"/x%2F..%2Fadmin", b"/admin%2Fx"])
def test_a_disguised_path_to_a_part_with_rules_of_its_own_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        place(ADMIN).match("GET", parse_target(raw, encoded_slash=True))


@pytest.mark.parametrize("raw", [b"/admin/x", b"/%61dmin/x", b"/adm%69n/x"])
def test_an_escaped_letter_is_the_letter(raw: bytes) -> None:
    assert place(ADMIN).match("GET", parse_target(raw, encoded_slash=False)).action == "admin"


def test_case_may_lead_away_from_a_public_part() -> None:
    public = RouteConfig("health", "/healthz", public=True)
    match = place(public).match("GET", parse_target(b"/HealthZ", encoded_slash=False))
    assert not match.public and match.action == "read"


def test_a_route_in_mixed_case_is_not_reached_in_lower_case() -> None:
    mixed = place(RouteConfig("admin", "/Admin/**", action="admin"))
    assert mixed.match("GET", parse_target(b"/Admin/x", encoded_slash=False)).action == "admin"
    with pytest.raises(BadRequest):
        mixed.match("GET", parse_target(b"/admin/x", encoded_slash=False))


def test_routes_that_differ_in_case_alone_stay_two() -> None:
    two = place(RouteConfig("a", "/Docs/**", action="admin"), RouteConfig("b", "/docs/**"))
    assert two.match("GET", parse_target(b"/Docs/x", encoded_slash=False)).resource.id == "wiki/a"
    assert two.match("GET", parse_target(b"/docs/x", encoded_slash=False)).resource.id == "wiki/b"


def test_a_host_is_read_without_case_and_default_port() -> None:
    assert parse_authority(b"Wiki.Limen.Test:443").port == ""
    assert (parse_authority(b"wiki.limen.test:8443").host, parse_authority(b"a:8443").port) == (
        "wiki.limen.test",
        ":8443",
    )


@pytest.mark.parametrize("raw", [b"", b"a b", b"a:", b"a:b", b"a@b", b"a/b", b"a,b", b"\xff", b"a:99999999"])
def test_a_malformed_host_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_authority(raw)


@pytest.mark.parametrize("host", ["nowhere.limen.test", "auth.limen.test", "wiki.limen.test.", "limen.test"])
def test_a_foreign_host_is_misdirected(host: str) -> None:
    world = CheckWorld()
    assert world.settle(request(host=host, token=world.token)).status == 421


def test_two_cookie_headers_are_refused() -> None:
    world = CheckWorld()
    both = {"cookie": f"a=1,__Host-limen={world.token}", "x_limen_first_cookie": "a=1"}
    answer = world.settle(request(**both))
    assert answer.status == 400 and "Cookie" in json.loads(answer.body)["detail"]


def test_a_comma_inside_a_cookie_value_is_no_second_header() -> None:
    world = CheckWorld()
    assert world.settle(request(cookie=f"fonts=serif,sans; __Host-limen={world.token}")).status == 200


def test_a_400_for_a_person_is_a_page() -> None:
    world = CheckWorld()
    answer = world.settle(request("/a;b", navigate=True))
    assert answer.status == 400 and world.pages.last["template"] == "message.html"


def test_cookies_named_like_ours_are_taken_off_whatever_their_tail() -> None:
    found = read_credentials(request(cookie="__Host-limen-x=1; a=2;__Host-limen-flow=3 ; b=4"))
    assert (found.cookie, found.flow, found.token) == ("a=2; b=4", "3", None)


def test_an_explicit_token_goes_before_the_cookie_and_is_not_replaced_by_it() -> None:
    found = read_credentials(request(token="l1.1.cookie", x_limen_token="rubbish"))
    assert (found.token, found.kind) == ("rubbish", "token")


@pytest.mark.parametrize(
    "value", ["Basic !!!", "Basic", "Digest l1.x", "Bearer eyJh.b.c", "Bearer " + "l" * 9_999]
)
def test_other_authorization_is_the_apps_own(value: str) -> None:
    found = read_credentials(request(authorization=value))
    assert found.token is None and not found.authorization_is_ours


def test_only_a_navigation_is_redirected() -> None:
    assert is_navigation(request(navigate=True))
    assert not is_navigation(request(sec_fetch_mode="cors", accept="text/html"))
    assert is_navigation(request(accept="text/html"))
    assert not is_navigation(request(method="POST", accept="text/html"))


def test_peers_are_addresses() -> None:
    assert parse_peer(b"2001:DB8::1") == "2001:db8::1" and parse_peer(b"fe80::1%eth0") == "fe80::1"
    for raw in (None, b"", b"unix:", b"1.2.3"):
        with pytest.raises(ValueError, match="address"):
            parse_peer(raw)


def test_an_answer_to_head_has_no_body() -> None:
    answer = Answer(403, (("a", "b"),), b"body")
    assert render_answer(answer, head=False).endswith(b"content-length: 4\r\na: b\r\n\r\nbody")
    assert render_answer(answer, head=True).endswith(b"content-length: 0\r\na: b\r\n\r\n")

"""Lines of access logs: what they say, and that no line of a stranger's is believed or breaks anything."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.information.logs.lines import LINE_MAX, LogRequest, parse_target
from limen.information.logs.nginx import parse_nginx
from limen.information.logs.oauth2_proxy import parse_oauth2_proxy

AT = datetime(2027, 1, 15, 12, 0, 5, tzinfo=UTC).timestamp()
COMBINED = (
    '198.51.100.7 - ada [15/Jan/2027:13:00:05 +0100] "GET /a/../wiki//page?token=s HTTP/1.1" 200 512 '
    '"https://wiki.corp.example/" "Mozilla/5.0 (X11; \\"quoted\\")"'
)
PROXY = (
    "203.0.113.9:4711 - 0c2ff1e4-9a77-4ca6-b6a1-4a2a5b1d2f77 - ada@corp.example [2027/01/15 12:00:05] "
    'wiki.corp.example GET / "/page?x=1" HTTP/1.1 "Mozilla/5.0" 200 4096 0.012'
)


def test_combined() -> None:
    assert parse_nginx(COMBINED) == LogRequest(AT, "", "GET", "/wiki/page", 200, "ada", "198.51.100.7")


def test_combined_with_the_host_before_it() -> None:
    found = parse_nginx("Wiki.corp.example:443 " + COMBINED.replace(" ada ", " - "))
    assert found == LogRequest(AT, "wiki.corp.example", "GET", "/wiki/page", 200, "", "198.51.100.7")


def test_the_standard_request_log_of_oauth2_proxy_with_and_without_request_id() -> None:
    wanted = LogRequest(AT, "wiki.corp.example", "GET", "/page", 200, "ada@corp.example", "203.0.113.9")
    assert parse_oauth2_proxy(PROXY) == wanted
    old = PROXY.replace("0c2ff1e4-9a77-4ca6-b6a1-4a2a5b1d2f77 - ", "")
    assert parse_oauth2_proxy(old) == wanted
    assert parse_oauth2_proxy(PROXY.replace("ada@corp.example", "-")).user == ""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        COMBINED.replace("GET /", "\\x16\\x03\\x01 /"),
        COMBINED.replace("HTTP/1.1", ""),
        COMBINED.replace("15/Jan/2027", "31/Feb/2027"),
        COMBINED.replace("Jan", "Jän"),
        COMBINED + "x" * LINE_MAX,
        PROXY,
    ],
)
def test_what_is_no_line_of_nginx_is_not_read(line: str) -> None:
    assert parse_nginx(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        COMBINED,
        "[2027/01/15 12:00:05] [oauthproxy.go:100] listening",
        "203.0.113.9 - x - ada@corp.example [2027/01/15 12:00:05] [AuthSuccess] signed in",
        PROXY.replace("2027/01/15", "2027/13/15"),
    ],
)
def test_other_lines_of_oauth2_proxy_are_not_read(line: str) -> None:
    assert parse_oauth2_proxy(line) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a//b/", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/../../etc", "/etc"),
        ("/a/b?c=/../d", "/a/b"),
        ("/.well-known/x", "/.well-known/x"),
        ("http://other.example/x?y", "/x"),
    ],
)
def test_paths_are_normalised_as_a_gateway_does(target: str, path: str) -> None:
    found = parse_target("GET", target)
    assert found is not None and found[1] == path


def test_connect_names_a_host_and_no_path() -> None:
    assert parse_target("CONNECT", "db.corp.example:443") == ("db.corp.example", "")


@given(st.text(max_size=300))
def test_no_line_raises(text: str) -> None:
    for parse in (parse_nginx, parse_oauth2_proxy):
        for line in (text, COMBINED + text, COMBINED.replace("ada", text), PROXY.replace("/page", text)):
            found = parse(line)
            assert found is None or found.path.startswith("/") or found.method == "CONNECT"

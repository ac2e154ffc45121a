"""The check decides on one path, the app serves another: every spelling of `/admin` that a server may accept.

An app that is forgiving in its own way is played by `LENIENT`: whatever reaches the echo is read as such
servers would, and must not be a part that the visitor may not open.
"""

import re
import unicodedata
from urllib.parse import unquote

import pytest
from attack_rig import Person, Target
from attack_wire import NAVIGATION, Http2, host

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

BEFORE = [
    "", "/public/..", "/public/%2e%2e", "/public/.%2e", "/public/..;", "/public/%2e%2e;a=b",
    "/public/..%3b", "/public/..%2f",
    "/public/%2e%2e%2f", "/public%2f..", "/public%2f%2e%2e%2f", "/public/..%5c", "/public/..\\",
    "/public/..%252f",
    "/public/%252e%252e", "/healthz/..", "/healthz/../public/..", "/public/x/../..", "/public/;/..",
    "/public/.;/..",
    "/public/..%00", "/public/%00/..", "/public/..%0d", "/public/..%09", "/public/..%20",
    "/public/%c0%ae%c0%ae",
    "/public/%u002e%u002e", "/public/..%c0%af", "/public/..%ef%bc%8f", "/public/%ef%bc%8e%ef%bc%8e",
    "/public/%e2%80%a5",
    "/public//..//", "/public/./..", "/public/..?/..", "/public/..#", "/public%23/..", "/.", "/", "/%2e",
    "/x/..", "/;",
    "/;a=b", "/%3b", "/%3ba=b", "/%5c", "\\", "/%2f", "/%2F%2f", "/x/..%2f",
]  # fmt: skip
"""What may stand before `/admin`."""

AFTER = [
    "", "/", "//", "/.", "/x", ";", ";x", ";x/y", "%3b", "%3bx", "%20", "%00", "%00.png", "%09", "%0a", ".",
    "%2e", "/..;/admin",
    "?", "??", "?/public/", "#", "/../admin", "%2f", "%2fx", "%5c", "%5cx", "\\x", "%c2%a0",
    "%2f..%2fpublic%2f..%2fadmin",
]  # fmt: skip
"""What may stand after it."""

WHOLE = [
    "/ADMIN", "/Admin/x", "/aDMIN%2fx", "/ADMIN%2Fx", "/%61dmin", "/%41dmin", "/ad%6din", "/ad%256din",
    "/%ef%bd%81dmin",
    "/ADMIN%20", "/ADMIN%3bx", "/public/..%2fADMIN", "/public/../ADMIN", "/healthz/admin",
    "/healthz%2f..%2fadmin",
    "/healthz;/../admin", "/healthz%00/admin", "/public/%2fadmin", "//admin", "///admin", "/.//admin",
    "/public%3f/../admin",
    "/%2e%2e/admin", "/..%2fadmin", "/%2fadmin%2fx",
]  # fmt: skip
SPELLINGS = sorted({f"{before}/admin{after}" for before in BEFORE for after in ("", "/x")}
                   | {f"/admin{after}" for after in AFTER} | set(WHOLE))  # fmt: skip


def merged(path: str) -> str:
    """Merge slashes and resolve dot segments."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)


def without_parameters(path: str) -> str:
    return re.sub(r";[^/]*", "", path)


LENIENT = {
    "decodes once": unquote,
    "decodes once, then merges (nginx)": lambda path: merged(unquote(path)),
    "decodes twice": lambda path: merged(unquote(unquote(path))),
    "cuts parameters, then decodes (Tomcat)": lambda path: merged(unquote(without_parameters(path))),
    "decodes, then cuts parameters": lambda path: merged(without_parameters(unquote(path))),
    "takes backslashes (IIS)": lambda path: merged(unquote(path).replace("\\", "/")),
    "ignores case": lambda path: merged(unquote(path)).lower(),
    "drops dots and spaces at the end (Windows)": lambda path: merged(
        "/".join(
            segment if segment in (".", "..") else segment.rstrip(". ")
            for segment in unquote(path).split("/")
        )
    ),
    "normalises Unicode": lambda path: merged(unicodedata.normalize("NFKC", unquote(path))).lower(),
    "stops at NUL (C)": lambda path: merged(unquote(path).partition("\x00")[0]),
}


def secret_readings(target: str) -> list[str]:
    """Return the servers that would take a target for the part that is closed."""
    path = target.partition("?")[0].partition("#")[0]
    return [name for name, read in LENIENT.items() if re.match(r"/admin(/|$)", read(path))]


@pytest.fixture(scope="module")
def staff(target: Target) -> Person:
    return Person.enrolled(target.demo, "staff")


def reached(target: Target, app: str, spelling: str, cookie: str) -> list[str]:
    """Ask by HTTP/1, and by HTTP/2; return the targets that the app saw."""
    before = len(target.echo.seen)
    target.wire.ask(app, spelling, *NAVIGATION, cookie=cookie)
    if spelling.isascii() and not any(character in spelling for character in "\\# "):
        with Http2(target.wire, app) as connection:
            connection.ask(
                f"{host(app)}:{target.demo.port}", spelling, *([("cookie", cookie)] if cookie else [])
            )
    return [seen.target for seen in target.echo.seen[before:]]


@pytest.mark.parametrize("app", ["vault", "files"])
@pytest.mark.parametrize("who", ["a stranger", "staff"])
def test_no_spelling_of_a_closed_part_reaches_the_app(
    target: Target, staff: Person, app: str, who: str
) -> None:
    cookie = staff.open(app) if who == "staff" else ""
    opened = {}
    for spelling in SPELLINGS:
        for seen in reached(target, app, spelling, cookie):
            if servers := secret_readings(seen):
                opened[f"{spelling} -> {seen}"] = servers
    assert opened == {}


@pytest.mark.parametrize("app", ["vault", "files"])
def test_a_stranger_reaches_public_paths_and_nothing_beside_them(target: Target, app: str) -> None:
    for spelling in (
        "/healthz",
        "/public/",
        "/public/a/b",
        "/public/x?y=/../admin",
        "/public/file.v1.",
        "/public/a%20b%3b",
    ):
        assert reached(target, app, spelling, "")[:1] == [spelling]
    beside = ("/", "/healthz/", "/healthz/x", "/publicx", "/x", "/?/healthz", "/x?/public/", "/healthz%2f")
    for spelling in beside:
        assert reached(target, app, spelling, "") == []


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "get", "FOO", "TRACE", "CONNECT"]
)
def test_no_method_opens_a_closed_part(target: Target, staff: Person, method: str) -> None:
    cookie, before = staff.open("vault"), len(target.echo.seen)
    for path in ("/admin", "/admin/x"):
        for headers in ((), (("X-HTTP-Method-Override", "GET"),)):
            reply = target.wire.ask("vault", path, *headers, method=method, cookie=cookie, body=b"")
            assert reply.status in (400, 403, 404, 405, 501, 503), reply.status
    assert target.echo.seen[before:] == []


@pytest.mark.parametrize(
    "absolute", ["https://{}/admin", "http://{}/admin", "HTTPS://{}/admin", "https://{}//admin", "//{}/admin"]
)
def test_an_absolute_target_is_decided_as_what_the_app_gets(
    target: Target, staff: Person, absolute: str
) -> None:
    cookie, before = staff.open("vault"), len(target.echo.seen)
    for named in (f"{host('vault')}:{target.demo.port}", host("VAULT"), f"{host('vault')}."):
        request = f"GET {absolute.format(named)} HTTP/1.1\r\nHost: {host('wiki')}\r\nCookie: {cookie}\r\n\r\n"
        target.wire.raw(request.encode(), "vault")
    assert [seen for seen in target.echo.seen[before:] if secret_readings(seen.target)] == []


def test_http2_coalescing_carries_no_sign_in_host_over_an_apps_connection(
    target: Target, staff: Person
) -> None:
    port, cookie = target.demo.port, staff.open("vault")
    with Http2(target.wire, "vault") as connection:
        for authority in (f"{host('auth')}:{port}", host("AUTH"), host("auth")):
            assert connection.ask(authority, "/login")[0] == 421
        assert connection.ask(f"{host('vault')}:{port}", "/", ("cookie", cookie))[0] == 200, (
            "the connection stays"
        )
        assert connection.ask(f"{host('named')}:{port}", "/", ("cookie", cookie))[0] == 401, (
            "another app's cookie"
        )
    with Http2(target.wire, "auth") as connection:
        assert connection.ask(f"{host('vault')}:{port}", "/", ("cookie", cookie))[0] == 421


@pytest.mark.parametrize(
    "written", ["VAULT.limen.localhost", "vault.LIMEN.localhost", "Vault.Limen.Localhost:{port}"]
)
def test_an_upper_case_host_is_the_same_app_with_the_same_rules(
    target: Target, staff: Person, written: str
) -> None:
    cookie, name = staff.open("vault"), written.format(port=target.demo.port)
    for path, status in (("/", 200), ("/admin", 403)):
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {name}\r\nCookie: {cookie}\r\nAccept: application/json\r\n\r\n"
        )
        assert target.wire.raw(request.encode(), "vault").status == status


ALMOST = [
    "vault.limen.localhost.", "vault.limen.localhost..", ".vault.limen.localhost", "vault%2elimen.localhost",
    "vault.limen.localhost:x", "vault.limen.localhost@vault.limen.localhost",
]  # fmt: skip


@pytest.mark.parametrize("name", ALMOST)
def test_a_host_that_is_almost_an_apps_is_no_app(target: Target, staff: Person, name: str) -> None:
    cookie, before = staff.open("vault"), len(target.echo.seen)
    reply = target.wire.raw(f"GET / HTTP/1.1\r\nHost: {name}\r\nCookie: {cookie}\r\n\r\n".encode(), "vault")
    assert reply.status in (400, 404, 421)
    assert target.echo.seen[before:] == []

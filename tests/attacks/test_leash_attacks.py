"""Attacks on live streams: forged headers, borrowed tokens, other pages, guessed names."""

import json
from collections.abc import Iterator

import pytest
from check_world import NOW
from leash_envoy import LEDGER, WIKI, LeashedRig, leashed

from limen.administrator.streams import Cause, Ending
from limen.core.catalogue import CONNECT_APP
from limen.core.changes import AppSessionFact

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def rig() -> Iterator[LeashedRig]:
    with leashed() as running:
        yield running


def ask_connect(rig: LeashedRig, authority: str, *headers: tuple[str, str], host: str = LEDGER) -> int:
    with rig.h2(host) as client:
        return client.status(client.connect(authority, *headers))


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def token_of(rig: LeashedRig, app: str, kind: str) -> str:
    return rig.call(lambda: rig.world.sign_in(app, kind))


def nothing_opened(rig: LeashedRig, before: int) -> bool:
    return len(rig.streams()) == 0 and rig.world.counts.opened.get("connect", 0) == before


# --- CONNECT -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authority",
    [
        "nothing.limen.localhost:443",
        "127.0.0.1:22",
        "[::1]:22",
        "localhost:443",
        "ledger-db.limen.localhost:22",
        "ledger-db.limen.localhost.:443",
        "ledger-db.limen.localhost:443:443",
        "wiki.limen.localhost:443",
        "auth.limen.localhost:443",
        "user@ledger-db.limen.localhost:443",
    ],
)
def test_what_is_not_in_the_catalogue_is_not_reached(rig: LeashedRig, authority: str) -> None:
    before = rig.world.counts.opened.get("connect", 0)
    assert ask_connect(rig, authority, bearer(rig.token)) != 200
    assert nothing_opened(rig, before)


def test_a_cookie_opens_no_tunnel(rig: LeashedRig) -> None:
    as_cookie = token_of(rig, CONNECT_APP, "cookie")
    for token in (as_cookie, rig.token):
        assert ask_connect(rig, f"{LEDGER}:443", ("cookie", f"__Host-limen={token}")) == 401
    assert ask_connect(rig, f"{LEDGER}:443", bearer(as_cookie)) == 401


def test_a_token_of_an_app_opens_no_service_and_the_reverse(rig: LeashedRig) -> None:
    assert ask_connect(rig, f"{LEDGER}:443", bearer(rig.world.api_token)) == 401
    with rig.h2(WIKI) as client:
        stream = client.get(f"{WIKI}:{rig.port}", "/feed", bearer(rig.token))
        assert client.status(stream) == 401


def test_a_page_opens_no_tunnel(rig: LeashedRig) -> None:
    for more in (("origin", f"https://{WIKI}:{rig.port}"), ("sec-fetch-site", "same-site")):
        assert ask_connect(rig, f"{LEDGER}:443", bearer(rig.token), more) == 403
    with rig.h2(LEDGER) as client:
        navigating = client.connect(f"{LEDGER}:443", ("sec-fetch-mode", "navigate"))
        assert client.status(navigating) == 401
        assert client.headers[navigating]["content-type"] == "application/problem+json"


def test_connect_over_http1_opens_nothing(rig: LeashedRig) -> None:
    head = f"CONNECT {LEDGER}:443 HTTP/1.1\r\nHost: {LEDGER}:443\r\n"
    forged = "x-limen-http: HTTP/2\r\n"
    reply = rig.raw(f"{head}{forged}Authorization: Bearer {rig.token}\r\n\r\n".encode(), LEDGER)
    assert reply.status >= 400


def test_an_ended_session_opens_no_tunnel(rig: LeashedRig) -> None:
    token = token_of(rig, CONNECT_APP, "token")
    assert ask_connect(rig, f"{LEDGER}:443", bearer(token)) == 200
    token_hash = rig.world.hash_of(token)
    rig.call(lambda: rig.world.commit(("app_session", token_hash)))
    assert ask_connect(rig, f"{LEDGER}:443", bearer(token)) == 401
    rig.call(lambda: rig.world.commit(AppSessionFact(token_hash, "s1", CONNECT_APP, NOW + 1, "cookie")))
    assert ask_connect(rig, f"{LEDGER}:443", bearer(token)) == 401


# --- upgrades ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["https://other.limen.localhost:{port}", "https://evil.example", "null", "https://wiki.limen.localhost"],
)
def test_a_websocket_from_another_page_is_denied(rig: LeashedRig, origin: str) -> None:
    connection, head = rig.websocket_h1(("Origin", origin.format(port=rig.port)))
    connection.close()
    assert b" 403 " in head.split(b"\r\n")[0] and rig.world.journal.decisions[-1].code == "CROSS_APP"


def test_a_websocket_over_http2_from_another_page_is_denied(rig: LeashedRig) -> None:
    with rig.h2(WIKI) as client:
        page = ("origin", f"https://other.limen.localhost:{rig.port}")
        cookie = ("cookie", f"__Host-limen={rig.world.token}")
        assert client.status(client.websocket(f"{WIKI}:{rig.port}", "/ws", cookie, page)) == 403


@pytest.mark.parametrize("upgrade", ["foo", "websocket, h2c", "tls/1.0"])
def test_other_upgrades_reach_no_app(rig: LeashedRig, upgrade: str) -> None:
    before = len(rig.wiki.heads)
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {WIKI}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n"
        f"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nCookie: __Host-limen={rig.world.token}\r\n\r\n"
    )
    assert rig.raw(request.encode(), WIKI).status >= 400
    assert len(rig.wiki.heads) == before


def test_h2c_never_leads_past_the_decision(rig: LeashedRig) -> None:
    """Envoy takes the wish for h2c off, and the rest is a plain request: nothing is tunnelled."""
    request = (
        f"GET /x HTTP/1.1\r\nHost: {WIKI}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        f"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
    )
    rig.raw(request.encode(), WIKI)
    assert len(rig.check.seen) == 1 and not rig.check.seen[0].all("upgrade")
    assert b"h2c" not in rig.wiki.heads[-1].lower()


def test_two_cookie_headers_shake_no_hands(rig: LeashedRig) -> None:
    connection, head = rig.websocket_h1(
        ("Origin", f"https://{WIKI}:{rig.port}"), ("Cookie", "__Host-limen=other")
    )
    connection.close()
    assert b" 400 " in head.split(b"\r\n")[0]


# --- forged headers ------------------------------------------------------------------------------

FORGED = (
    "x-limen-assertion",
    "x-limen-peer",
    "x-limen-decision-id",
    "x-limen-first-cookie",
    "x-limen-http",
    "x-envoy-auth-headers-to-remove",
    "x-forwarded-for",
)


def test_forged_headers_do_not_reach_the_app(rig: LeashedRig) -> None:
    connection, head = rig.websocket_h1(
        ("Origin", f"https://{WIKI}:{rig.port}"), *((name, "forged") for name in FORGED)
    )
    assert head.startswith(b"HTTP/1.1 101"), head
    connection.close()
    seen = rig.wiki.heads[-1].lower()
    assert b"forged" not in seen
    assert seen.count(b"x-limen-assertion:") == 1 and b"x-limen-peer" not in seen
    assert rig.world.journal.decisions[-1].ip == "127.0.0.1"


# --- why a stream ended --------------------------------------------------------------------------


def test_nobody_else_learns_why_a_stream_ended(rig: LeashedRig) -> None:
    with rig.h2(LEDGER) as client:
        tunnel = client.connect(f"{LEDGER}:443", bearer(rig.token))
        assert client.status(tunnel) == 200
        stream_id = client.headers[tunnel]["x-limen-decision-id"]
        rig.call(lambda: rig.world.streams.end(stream_id, Ending(Cause.OPERATOR, "By hand.")))
        other = rig.call(lambda: rig.world.sign_in_other("eve", "s-eve"))
        same_person = token_of(rig, CONNECT_APP, "token")
        asked = {
            "own": (bearer(rig.token),),
            "other person": (bearer(other),),
            "other token of hers": (bearer(same_person),),
            "as a cookie": (("cookie", f"__Host-limen={rig.token}"),),
            "nobody": (),
        }
        told = {}
        for who, headers in asked.items():
            stream = client.get(LEDGER, f"/.limen/ended/{stream_id}", *headers)
            told[who] = (client.status(stream), client.read_all(stream))
        unknown = client.get(LEDGER, "/.limen/ended/0123456789abcdef", bearer(other))
        assert told.pop("own")[0] == 200
        assert {status for status, _ in told.values()} == {404}
        assert {body for _, body in told.values()} == {client.read_all(unknown)}
        assert json.loads(client.read_all(unknown))["code"] == "NOT_FOUND"

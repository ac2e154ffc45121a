"""The sample apps: what they show, what they keep, and whom they believe."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen.core.changes import PersonFact
from limen.core.decision import SessionFacts
from limen.core.ids import Instant
from limen.enforcement.check.assertion import AssertionSigner, assertion_claims
from limen.services.demo.identity import Verifier
from limen.services.demo.payroll import Payroll
from limen.services.demo.tool import Tool
from limen.services.demo.web import AppServer, Request
from limen.services.demo.wiki import Wiki, render_text

ADA = PersonFact("ada", "Ada Byron", "ada@x.example", groups=("staff",))
STAFF = {"remote-user": "ada", "remote-name": "Ada", "host": "wiki.limen.localhost:8443"}


def new_signer() -> AssertionSigner:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return AssertionSigner(pem)


SIGNER, STRANGER = new_signer(), new_signer()


def assertion(audience: str, at: Instant, signer: AssertionSigner = SIGNER) -> Mapping[str, str]:
    session = SessionFacts("ses_1", 2, True, ("passkey",), at, at, at + 3600)
    claims = assertion_claims(ADA, session, issuer="https://auth.x", audience=audience, at=at)
    return {"x-limen-assertion": signer.sign(claims), "host": "tool.limen.localhost:8443"}


def keys() -> dict[str, Any]:
    return {"keys": [SIGNER.public_jwk()]}


@pytest.fixture
def wiki(tmp_path: Path) -> Wiki:
    return Wiki(tmp_path)


def test_people_read_and_write_wiki_pages_and_they_stay(wiki: Wiki, tmp_path: Path) -> None:
    kept = wiki.answer(Request("POST", "/page/new-page", STAFF, {"text": "# New\r\n\r\nSee [[Home]]."}))
    assert (kept.status, kept.headers["Location"]) == (303, "/page/new-page")
    shown = Wiki(tmp_path).answer(Request("GET", "/page/new-page", STAFF))
    assert '<h1>New</h1><p>See <a href="/page/home">Home</a>.</p>' in shown.body


def test_a_page_that_nobody_wrote_offers_to_begin(wiki: Wiki) -> None:
    answer = wiki.answer(Request("GET", "/page/missing", STAFF))
    assert answer.status == 404
    assert 'href="/edit/missing"' in answer.body


@pytest.mark.parametrize("path", ["/page/../secret", "/page/..", "/page/A", "/edit/", "/page/a/b", "/x"])
def test_only_names_of_pages_are_names_of_files(wiki: Wiki, path: str) -> None:
    assert wiki.answer(Request("GET", path, STAFF)).status == 404


def test_text_of_people_is_never_markup() -> None:
    assert "<script" not in render_text("# <script>\n\n- <script>\n- [[<script>]]\n\n**<script>**")


@pytest.mark.parametrize("text", ["", "  ", "x" * 20_001])
def test_empty_and_endless_pages_are_not_kept(wiki: Wiki, text: str) -> None:
    assert wiki.answer(Request("POST", "/page/home", STAFF, {"text": text})).status == 400


def test_the_wiki_shows_nothing_to_who_comes_round_the_gateway(wiki: Wiki) -> None:
    assert wiki.answer(Request("GET", "/", {})).status == 401


def test_payroll_opens_for_an_assertion_made_out_to_it() -> None:
    app = Payroll(Verifier("payroll", keys))
    answer = app.answer(Request("GET", "/", assertion("payroll", time.time())))
    assert answer.status == 200
    assert "Opened by Ada Byron, who signed in with: passkey." in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-limen-assertion": "rubbish"},
        {"x-limen-assertion": "a.b.c"},
        assertion("wiki", time.time()),
        assertion("payroll", time.time() - 600),
        assertion("payroll", time.time(), STRANGER),
        {"remote-user": "ada"},
    ],
    ids=["none", "rubbish", "three-parts", "other-app", "old", "other-key", "a-header-anyone-can-send"],
)
def test_payroll_believes_nothing_else(headers: Mapping[str, str]) -> None:
    answer = Payroll(Verifier("payroll", keys)).answer(Request("GET", "/", headers))
    assert answer.status == 401
    assert "7,900" not in answer.body


def test_keys_are_fetched_again_when_one_is_unknown_and_only_then() -> None:
    sets = [{"keys": [STRANGER.public_jwk()]}, keys()]
    fetched: list[int] = []

    def fetch() -> dict[str, Any]:
        fetched.append(1)
        return sets[min(len(fetched), 2) - 1]

    app = Payroll(Verifier("payroll", fetch))
    for _ in range(3):
        assert app.answer(Request("GET", "/", assertion("payroll", time.time()))).status == 200
    assert len(fetched) == 2


def test_the_tool_turns_features_on_and_an_administrator_freezes_them() -> None:
    app = Tool(Verifier("tool", keys))
    who = assertion("tool", time.time())
    assert app.answer(Request("POST", "/features/new-checkout", who)).status == 303
    assert app.answer(Request("POST", "/features/nope", who)).status == 404
    assert app.answer(Request("POST", "/admin/freeze", who)).status == 303
    assert app.answer(Request("POST", "/features/new-checkout", who)).status == 409
    seen = app.answer(Request("GET", "/admin", who)).body
    assert "ada turned new-checkout on" in seen
    assert "ada froze all features" in seen


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    server = AppServer(Wiki(tmp_path).answer).start()
    yield server.url
    server.stop()


def test_the_apps_are_served_over_http(served: str) -> None:
    with httpx.Client(base_url=served, headers=STAFF) as client:
        assert client.get("/").status_code == 200
        assert client.head("/").headers["content-type"].startswith("text/html")
        assert client.post("/page/a", data={"text": "é"}).status_code == 303
        assert "é" in client.get("/page/a").text
        assert client.post("/page/a", content=b"x" * 300_000).status_code == 413
        assert client.get("/page/a?x=/../..").status_code == 200

"""passkey.js against a real authenticator's answers: make a passkey, then sign in with it."""

import json
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import webauthn
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from limen.console import pages

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
PREVIEWS = runpy.run_path(str(Path(__file__).with_name("pages_preview.py")))["PREVIEWS"]
RP = "localhost"


class Door:
    """A relying party that verifies for real and remembers what it was sent."""

    def __init__(self) -> None:
        self.origin = ""
        self.challenge = b""
        self.key: Any = None
        self.sent: list[tuple[str, dict[str, Any], str | None]] = []
        self.refuse = False

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one JSON call of passkey.js."""
        if path == "/enrol/passkey/options":
            return self._creation()
        if path == "/login/passkey/options":
            return self._request()
        if path == "/enrol/passkey":
            self.key = webauthn.verify_registration_response(
                credential=body["credential"],
                expected_challenge=self.challenge,
                expected_rp_id=RP,
                expected_origin=self.origin,
                require_user_verification=True,
            )
            return {"next": "/message-out?made"}
        if self.refuse:
            return {"error": "This passkey is not known here."}
        webauthn.verify_authentication_response(
            credential=body["credential"],
            expected_challenge=self.challenge,
            expected_rp_id=RP,
            expected_origin=self.origin,
            credential_public_key=self.key.credential_public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        return {"next": "/message-out?in"}

    def _creation(self) -> dict[str, Any]:
        known = [PublicKeyCredentialDescriptor(id=self.key.credential_id)] if self.key else []
        options = webauthn.generate_registration_options(
            rp_id=RP,
            rp_name="Limen",
            user_name="ada",
            exclude_credentials=known,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
        )
        self.challenge = options.challenge
        return dict(json.loads(webauthn.options_to_json(options)))

    def _request(self) -> dict[str, Any]:
        options = webauthn.generate_authentication_options(
            rp_id=RP, user_verification=UserVerificationRequirement.REQUIRED
        )
        self.challenge = options.challenge
        return dict(json.loads(webauthn.options_to_json(options)))


@contextmanager
def door_server(door: Door) -> Iterator[str]:
    """Serve the pages with their headers, and the door's JSON."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name in pages.static_assets():
                asset = pages.static_assets()[name]
                self._write(asset.body, {"content-type": asset.media_type})
            else:
                template, context = PREVIEWS.get(name, PREVIEWS["message-out"])
                self._write(pages.render(template, **context).encode(), pages.page_headers())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            door.sent.append((self.path, body, self.headers.get("x-csrf-token")))
            self._write(
                json.dumps(door.answer(self.path, body)).encode(), {"content-type": "application/json"}
            )

        def _write(self, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for key, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{RP}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's Chromium is not installed")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def page(browser: Any, door: Door) -> Iterator[Any]:
    """A page whose browser has a built-in authenticator with user verification."""
    with door_server(door) as base:
        door.origin = base
        opened = browser.new_page(base_url=base)
        devtools = opened.context.new_cdp_session(opened)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        made = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        opened.authenticator = (devtools, made["authenticatorId"])
        yield opened
        opened.close()


def enrol(page: Any) -> None:
    page.goto("/enrol-passkey")
    page.get_by_label("Name it").fill("Laptop")
    page.get_by_role("button", name="Make a passkey").click()
    page.wait_for_url("**/message-out?made")


def test_a_passkey_is_made_and_its_name_and_anti_forgery_value_are_sent(page: Any, door: Door) -> None:
    enrol(page)
    path, body, header = door.sent[-1]
    assert path == "/enrol/passkey"
    assert (body["name"], body["csrf"], header) == ("Laptop", "t0k3n", "t0k3n")


def test_enter_in_the_name_field_makes_the_passkey_too(page: Any, door: Door) -> None:
    page.goto("/enrol-passkey")
    page.get_by_label("Name it").press("Enter")
    page.wait_for_url("**/message-out?made")
    assert door.key is not None


def test_a_second_passkey_on_the_same_device_is_refused_in_words(page: Any) -> None:
    enrol(page)
    page.goto("/enrol-passkey")
    page.get_by_role("button", name="Make a passkey").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("This device already holds a passkey of yours.")


def test_a_passkey_signs_in_and_carries_the_flow(page: Any, door: Door) -> None:
    enrol(page)
    page.goto("/stepup-passkey")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/message-out?in")
    assert door.sent[-1][0] == "/login/passkey"


def test_a_passkey_is_offered_with_the_username_and_carries_the_flow(page: Any, door: Door) -> None:
    enrol(page)
    page.goto("/login")
    page.wait_for_url("**/message-out?in")  # the virtual authenticator accepts what is offered
    assert door.sent[-1][1]["flow"] == "f1"


def test_what_the_server_says_is_shown(page: Any, door: Door) -> None:
    enrol(page)
    door.refuse = True
    page.goto("/stepup-passkey")
    page.get_by_role("button", name="Use a passkey").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("This passkey is not known here.")


def test_a_person_who_is_not_verified_is_told_calmly(page: Any) -> None:
    enrol(page)
    devtools, authenticator = page.authenticator
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    page.goto("/stepup-passkey")
    page.get_by_role("button", name="Use a passkey").click()
    sync_api.expect(page.get_by_role("status")).to_contain_text("The passkey was not used.")

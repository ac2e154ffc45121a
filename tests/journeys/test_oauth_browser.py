"""A real browser signs in to a client that is elsewhere, and out: its rules about forms and frames hold."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from identity_world import PASSWORD
from oauth_rig import OauthRig
from oauth_world import challenge_of

CHROMIUM = Path("/usr/bin/chromium")
LIMEN_YAML = """
domain: limen.localhost
clients:
  app:
    title: The App
    allow: [group:staff]
    oidc:
      redirect_uris: ["{here}/cb"]
      post_logout_redirect_uris: ["{here}/bye"]
      frontchannel_logout_uri: "{here}/front"
"""


class App(ThreadingHTTPServer):
    """A client's site. It notes what browsers ask for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Page)
        self.here = f"http://127.0.0.1:{self.server_address[1]}"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, App)
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<p>the app</p>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    threading.Thread(target=app.serve_forever, daemon=True).start()
    yield app
    app.shutdown()
    app.server_close()


def test_a_browser_signs_in_to_a_client_and_out(app: App, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is needed")
    verifier = "v" * 43
    query = {
        "client_id": "app", "redirect_uri": f"{app.here}/cb", "response_type": "code", "scope": "openid",
        "state": "s", "code_challenge": challenge_of(verifier), "code_challenge_method": "S256",
    }  # fmt: skip
    with OauthRig(tmp_path, LIMEN_YAML.format(here=app.here)) as rig, playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"{rig.issuer}/oauth2/authorize?{urlencode(query)}")
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.fill("input[name=code]", rig.world.code("ada"))
        page.press("input[name=code]", "Enter")
        page.wait_for_url(f"{app.here}/cb**", timeout=15_000)
        (code,) = parse_qs(urlsplit(page.url).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "client_id": "app"}
        form |= {"redirect_uri": f"{app.here}/cb", "code_verifier": verifier}
        tokens = rig.world.token(form).json()
        out = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": f"{app.here}/bye"}
        page.goto(f"{rig.issuer}/oauth2/logout?{urlencode(out)}")
        page.wait_for_url(f"{app.here}/bye", timeout=15_000)
        browser.close()
    (front,) = [path for path in app.asked if path.startswith("/front")]
    assert parse_qs(urlsplit(front).query)["iss"] == [rig.issuer]

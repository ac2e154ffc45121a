"""Chromium opens WebSockets through Envoy to a server of HTTP/1.1, over both HTTP versions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from envoy_leash import Verdict
from envoy_peers import StreamApp
from envoy_rig import DOMAIN, Rig, app_config, running

from limen.core.catalogue import Catalogue

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
]

OPEN = """url => new Promise((good, bad) => {
  const socket = new WebSocket(url)
  socket.onopen = () => socket.send("from the browser")
  socket.onmessage = event => event.data.text ? event.data.text().then(good) : good(event.data)
  socket.onclose = event => bad(new Error("closed " + event.code))
  socket.onerror = () => bad(new Error("refused"))
})"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    def make(rig: Rig) -> Catalogue:
        app = StreamApp()
        rig.beside(app)
        wiki = app_config("wiki", rig.app_port)
        return Catalogue(domain=DOMAIN, apps={"wiki": wiki, "live": app_config("live", app.port)})

    with running(make) as running_rig:
        yield running_rig


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_a_browser_opens_a_websocket(rig: Rig, version: str) -> None:
    rig.reset()
    key = ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
    over_2 = version == "HTTP/2"
    rig.leash.verdict = lambda headers: Verdict(headers=(key,) if headers["x-limen-http"] == "HTTP/2" else ())
    arguments = ["--no-sandbox", *(() if over_2 else ("--disable-http2",))]
    host = f"live.{DOMAIN}:{rig.port}"
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        page = browser.new_context(ignore_https_errors=True).new_page()
        # A page of the same host, so that its connection is there to be used.
        page.goto(f"https://{host}/.limen/page")
        assert page.evaluate(OPEN, f"wss://{host}/socket") == "from the browser"
        browser.close()
    assert [held.headers["x-limen-http"] for held in rig.leash.held] == [version]

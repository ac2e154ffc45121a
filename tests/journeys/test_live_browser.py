"""A live page in Chromium, over HTTP/2 and over HTTP/1.1: it goes on, and ends with the reason for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from demo_rig import CHROMIUM, CHROMIUM_ARGUMENTS, Demo, browser_home
from journey_rig import PASSWORD, Person, new_person, wait_until
from live_rig import events, ordered, wait_streams

from limen.services.state import StateDir

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.envoy]

BOUND_S = 1.0
WATCH = """() => {
  window.seen = {ends: {}, parts: 0};
  const ended = name => () => { seen.ends[name] ??= Date.now() / 1000 };
  talk.addEventListener("close", ended("websocket"));
  ticks.addEventListener("error", ended("sse"));
  fetch("/live/ticks").then(async answer => {
    const reader = answer.body.getReader();
    while (!(await reader.read()).done) seen.parts++;
  }).then(ended("fetch"), ended("fetch"));
}"""
CROSS = """url => new Promise(told => {
  const socket = new WebSocket(url);
  socket.onopen = () => told("open");
  socket.onclose = event => told(event.code);
})"""


@contextmanager
def chromium(demo: Demo, *more: str) -> Iterator[sync_api.Browser]:
    with browser_home(demo.ca_file) as environment, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[*CHROMIUM_ARGUMENTS, *more], env=environment
        )
        yield browser
        browser.close()


def sign_in(page: sync_api.Page, url: str, person: Person) -> None:
    page.goto(url)
    page.get_by_label("Username").fill(person.username)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form:has(input[name=password]) button[type=submit]").first.click()
    page.locator("#code").fill(person.code().reveal())
    page.locator("form:has(#code) button[type=submit]").first.click()
    page.wait_for_url(url)


def connections(demo: Demo, version: str) -> int:
    """Return how many connections of one HTTP version Envoy has accepted for the apps."""
    transport = httpx.HTTPTransport(uds=str(StateDir(demo.state_dir).socket("envoy")))
    with httpx.Client(transport=transport, base_url="http://envoy") as client:
        text = client.get("/stats", params={"filter": rf"^http\.apps\.downstream_cx_{version}_total$"}).text
    return int(text.rpartition(":")[2])


def is_live(page: sync_api.Page, words: str) -> None:
    """Wait until the page's stream ticks and its WebSocket answers."""
    page.locator("#ticks", has_text="Live.").wait_for()
    first = page.locator("#clock").inner_text()
    wait_until("the page ticks", lambda: page.locator("#clock").inner_text() != first)
    page.locator("#words").fill(words)
    page.locator("#say button").click()
    page.locator("#display", has_text=words).wait_for()


@pytest.mark.parametrize(
    ("protocol", "arguments"), [("h2", ()), ("http/1.1", ("--disable-http2",))], ids=["http2", "http1"]
)
def test_a_live_page_ends_with_a_quarantine_and_opens_again_with_the_release(
    demo: Demo, protocol: str, arguments: tuple[str, ...]
) -> None:
    name = f"viv-{protocol.translate({ord('/'): '', ord('.'): ''})}"
    viv = new_person(demo, name, "contractors")
    before = {version: connections(demo, version) for version in ("http1", "http2")}
    with chromium(demo, *arguments) as browser:
        page = browser.new_page()
        sign_in(page, demo.url("wiki", "/live"), viv)
        is_live(page, "two cups")
        page.evaluate(WATCH)
        wait_until("the fetched stream brings parts", lambda: page.evaluate("() => seen.parts > 1"))
        rows = wait_streams(demo, 3, user=name)
        assert sorted(row["protocol"] for row in rows) == ["http", "sse", "websocket"]
        assert {row["resource"] for row in rows} == {"wiki/live"}

        hop = "() => performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert page.evaluate(hop) == protocol
        used = {version: connections(demo, version) - count for version, count in before.items()}
        unused = "http1" if protocol == "h2" else "http2"
        assert used.pop(unused) == 0, "the WebSocket took the same version of HTTP as the page"
        assert all(used.values())

        ordered(demo, "user", "quarantine", name, "--reason", "a lost laptop")
        wait_until("all three end", lambda: page.evaluate("() => Object.keys(seen.ends).length") == 3)
        ends: dict[str, float] = page.evaluate("() => seen.ends")
        (quarantine,) = events(demo, "person.quarantined", target=name)
        took = {kind: at - quarantine["at"] for kind, at in ends.items()}
        print(f"{protocol}: after the commit, ended in ms:", {k: round(v * 1000) for k, v in took.items()})
        assert max(took.values()) < BOUND_S, took
        page.locator("#talk", has_text="Reload").wait_for()

        denied = page.reload()
        assert denied is not None and denied.status == 403
        assert page.locator("[data-decision-id]").count() == 1
        told = events(demo, "stream.ended", actor=name)
        assert {row["data"]["cause"] for row in told} == {"denied"}
        assert {row["target"] for row in told} == {row["id"] for row in rows}

        ordered(demo, "user", "release", name, "--reason", "found again")
        wait_until("the page opens again", lambda: _status(page.reload()) == 200)
        is_live(page, "one more")


def _status(answer: Any) -> int:
    return 0 if answer is None else int(answer.status)


def test_a_page_of_another_app_opens_no_websocket(demo: Demo) -> None:
    vera = new_person(demo, "vera", "staff", "engineers")
    with chromium(demo) as browser:
        context = browser.new_context(bypass_csp=True)
        page = context.new_page()
        sign_in(page, demo.url("wiki", "/live"), vera)
        url = demo.url("wiki", "/live/words").replace("https:", "wss:")
        assert page.evaluate(CROSS, url) == "open", "from the wiki's own page it opens"
        page.goto(demo.url("tool"))
        assert "tool" in page.title()
        assert page.evaluate(CROSS, url) == 1006, "refused, without a reason for the page"
    denied = demo.decisions(subject="vera", verdict="deny", text="/live/words")
    assert [row["code"] for row in denied] == ["CROSS_APP"]

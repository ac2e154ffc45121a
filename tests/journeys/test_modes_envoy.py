"""Rollout modes through the real Envoy: observe is unseen, warn tells, enforce denies; "this is wrong"."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
import yaml
from demo_rig import CHROMIUM, CHROMIUM_ARGUMENTS, Demo, browser_home, running_demo

from limen.services.demo.traveller import NAVIGATION, SCRIPT, Traveller
from limen.services.form_client import Form, FormClient

pytestmark = pytest.mark.envoy

SOON = (date.today() + timedelta(days=30)).isoformat()
PATIENCE_S = 20.0


class Echo(BaseHTTPRequestHandler):
    """Says what it was sent; below /live it goes on saying something."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/live"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"data: tick\n\n")
                    self.wfile.flush()
                    time.sleep(0.05)
            except OSError:
                return
        body = json.dumps(dict(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("limen-warning", "an app's own words")  # never the gateway's: it must not arrive
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Rollout:
    """A demo of our own with an app `echo` that nobody is permitted; `mode` says what that comes to."""

    def __init__(self, demo: Demo, upstream: str) -> None:
        self.demo, self._upstream = demo, upstream
        self.url = f"https://echo.{demo.ready['domain']}:{demo.port}"

    def mode(self, mode: Any) -> None:
        """Apply a bundle with this mode, and wait until the gateway has it."""
        files = dict(self.demo.admin.get("/v1/policy")["files"])
        content = yaml.safe_load(files["limen.yaml"])
        content["apps"]["echo"] = {"upstream": self._upstream, "owner": "grace", "mode": mode}
        files["limen.yaml"] = yaml.safe_dump(content)
        applied = self.demo.admin.post("/v1/policy/apply", {"files": files, "reason": "a journey"})
        wait_until(self._arrived)
        assert applied["bundle"]

    def _arrived(self) -> bool:
        status = self.demo.admin.get("/v1/status")
        return bool(status["gateways"]) and min(status["gateways"].values()) >= status["change_feed_head"]

    def records(self, **query: Any) -> list[dict[str, Any]]:
        return self.demo.decisions(resource="echo", **query)


def wait_until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about in time")


@pytest.fixture(scope="module")
def rollout() -> Iterator[Rollout]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    with running_demo() as demo:
        found = Rollout(demo, f"http://127.0.0.1:{server.server_port}")
        found.mode("observe")
        wait_until(lambda: FormClient(demo.ca_file).http.get(found.url, headers=SCRIPT).status_code == 200)
        yield found
    server.shutdown()


@pytest.fixture(scope="module")
def ada(rollout: Rollout) -> Iterator[FormClient]:
    """Ada, signed in at the echo; no policy permits her anything there."""
    rollout.mode("observe")
    with signed_in(rollout, "ada") as client:
        yield client


@pytest.fixture(scope="module")
def grace(rollout: Rollout) -> Iterator[FormClient]:
    """Grace of hr, who looks after the echo, signed in there too."""
    rollout.mode("observe")
    with signed_in(rollout, "grace") as client:
        yield client


def signed_in(rollout: Rollout, username: str) -> FormClient:
    traveller = Traveller(rollout.demo.ready, username)
    traveller.sign_in(rollout.demo.url("wiki"))
    traveller._browser.get(f"{rollout.url}/")  # single sign-on, to a session of this app
    return traveller._browser


def navigate(client: FormClient, url: str) -> httpx.Response:
    return client.http.get(url, headers={**NAVIGATION, "Sec-Fetch-Dest": "document"}, follow_redirects=False)


def test_observe_lets_strangers_in_without_any_identity_and_asks_pages_to_sign_in(rollout: Rollout) -> None:
    rollout.mode("observe")
    with rollout.demo.client() as client:
        forged = {"X-Limen-Assertion": "x", "Remote-User": "root", "Cookie": "a=1; __Host-limen=l1.x"}
        answer = client.http.get(f"{rollout.url}/api", headers={**SCRIPT, **forged})
        assert answer.status_code == 200
        got = {name.lower(): value for name, value in answer.json().items()}
        assert not {"x-limen-assertion", "remote-user"} & got.keys()
        assert got["cookie"] == "a=1"
        assert "limen-warning" not in answer.headers
        page = navigate(client, f"{rollout.url}/")
        assert (page.status_code, "/authorize" in page.headers["location"]) == (302, True)
        record = rollout.records()[-1]
        assert (record["verdict"], record["would_be"], record["mode"], record["code"]) == (
            ("allow", "deny", "observe", "NO_SESSION")
        )
    rollout.mode({"stage": "observe", "sign_in": "optional"})
    with rollout.demo.client() as client:
        wait_until(lambda: navigate(client, f"{rollout.url}/").status_code == 200)


def test_observe_shows_nothing_to_somebody_whom_policies_would_deny(
    rollout: Rollout, ada: FormClient
) -> None:
    rollout.mode("observe")
    answer = navigate(ada, f"{rollout.url}/notes?q=1")
    assert answer.status_code == 200
    got = {name.lower(): value for name, value in answer.json().items()}
    assert got["x-limen-assertion"].count(".") == 2
    assert "limen-warning" not in answer.headers
    record = rollout.records(subject="ada")[-1]
    assert (record["verdict"], record["would_be"], record["code"]) == ("allow", "deny", "NO_PERMIT")


def test_warn_tells_once_a_day_and_clients_by_a_header(rollout: Rollout, ada: FormClient) -> None:
    rollout.mode({"stage": "warn", "until": SOON})
    page = wait_until(lambda: _warned(navigate(ada, f"{rollout.url}/notes?q=1")))
    assert page.headers["cache-control"] == "no-store"
    assert "No policy allows you to read echo." in page.text
    assert 'href="/notes?q=1"' in page.text
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-limen-warned=") and "Secure; HttpOnly; SameSite=Lax" in cookie
    decision = wait_until(lambda: [one for one in rollout.records(subject="ada") if one.get("status") == 203])
    assert (decision[-1]["mode"], decision[-1]["would_be"]) == ("warn", "deny")

    again = navigate(ada, f"{rollout.url}/notes?q=1")
    assert again.status_code == 200
    got = {name.lower(): value for name, value in again.json().items()}
    assert "limen-warning" not in got and "__Host-limen" not in got.get("cookie", "")
    (told,) = again.headers.get_list("limen-warning")
    assert told.startswith(f"would-deny; code=NO_PERMIT; from={SOON}; decision=")
    assert told.rpartition("=")[2] == rollout.records(subject="ada")[-1]["id"]
    assert ada.http.get(f"{rollout.url}/x", headers=SCRIPT).headers["limen-warning"]


def _warned(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 203 else None


def test_pilots_are_enforced_first(rollout: Rollout, ada: FormClient, grace: FormClient) -> None:
    rollout.mode({"stage": "observe", "groups": {"hr": "enforce"}})
    denied = wait_until(lambda: _denied(navigate(grace, f"{rollout.url}/")))
    assert "This is wrong" in denied.text
    assert navigate(ada, f"{rollout.url}/").status_code == 200


def _denied(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 403 else None


def test_a_stream_lives_while_it_is_observed_and_ends_when_it_is_enforced(
    rollout: Rollout, ada: FormClient
) -> None:
    rollout.mode({"stage": "warn", "until": SOON})
    traveller = Traveller(rollout.demo.ready, "ada")
    traveller._browser = ada
    headers = {**SCRIPT, "Accept": "text/event-stream"}
    wait_until(lambda: "limen-warning" in ada.http.get(f"{rollout.url}/", headers=SCRIPT).headers)
    with ada.http.stream("GET", f"{rollout.url}/live", headers=headers) as answer:
        assert answer.headers["limen-warning"].startswith("would-deny")
    with traveller.hold(f"{rollout.url}/live") as stream:
        assert stream.wait_tick(PATIENCE_S)
        rollout.mode("observe")
        for _ in range(10):
            assert stream.wait_tick(PATIENCE_S)
        assert not stream.ended.is_set()
        rollout.mode("enforce")
        assert stream.ended.wait(PATIENCE_S)
    assert rollout.records(subject="ada")[-1]["verdict"] == "deny"


def test_this_is_wrong_reaches_the_owner_and_the_answer_comes_back(
    rollout: Rollout, ada: FormClient, grace: FormClient
) -> None:
    demo, auth = rollout.demo, rollout.demo.auth_url.rstrip("/")
    rollout.mode("enforce")
    denied = wait_until(lambda: _denied(navigate(ada, f"{rollout.url}/secret")))
    url = f"{auth}/complaints/new?decision={denied.headers['x-limen-decision-id']}"
    assert url in denied.text
    assert grace.get(url).status_code == 404  # it is not about her
    form = ada.get(url)
    assert form.status_code == 200 and "grace" in form.text
    bare = {k: v for k, v in Form(str(form.url), form.text).hidden.items() if k != "csrf"}
    assert ada.post(f"{auth}/complaints", {**bare, "text": "x"}).status_code == 403
    assert "Thank you" in ada.submit(form, {"text": "I write <b>here</b> each day."}).text

    [listed] = json.loads(demo.limen("complaint", "list", "--json").stdout)
    assert (listed["person"], listed["resource"], listed["owner"]) == ("ada", "echo", "grace")
    page = grace.get(f"{auth}/account")
    assert "I write &lt;b&gt;here&lt;/b&gt; each day." in page.text
    values = {"csrf": Form(str(page.url), page.text).hidden["csrf"], "id": listed["id"]}
    answer = grace.post(f"{auth}/complaints/answer", {**values, "text": "You are right."})
    assert "answered by grace" in answer.text
    assert "You are right." in ada.get(f"{auth}/account").text
    assert demo.admin.get("/v1/complaints") == []
    kinds = [event["kind"] for event in demo.admin.get("/v1/events", kind="complaint.")]
    assert kinds == ["complaint.filed", "complaint.answered"]


def test_status_says_who_is_not_ready_and_what_cures_it(rollout: Rollout, ada: FormClient) -> None:
    rollout.mode(
        {"stage": "warn", "owner": "sam", "until": "2026-01-01", "groups": {"hr": {"stage": "enforce"}}}
    )
    wait_until(lambda: "limen-warning" in ada.http.get(f"{rollout.url}/", headers=SCRIPT).headers)
    rows = rollout.demo.admin.get("/v1/rollout")
    assert [(row["group"], row["stage"], row["owner"], row["overdue"]) for row in rows] == [
        ("", "warn", "sam", True),
        ("hr", "enforce", "grace", False),
    ]
    [mine] = [one for one in rows[0]["not_ready"] if one["subject"] == "ada" and one["code"] == "NO_PERMIT"]
    assert mine["denials"] >= 2 and mine["cure"]
    assert rows[0]["requests"] > 0 and rows[0]["share"] == 0.0
    shown = rollout.demo.limen("rollout", "status").stdout
    assert "2026-01-01, overdue" in shown and "NOT READY" in shown and "NO_PERMIT" in shown


@pytest.mark.browser
def test_a_browser_shows_the_warning_and_goes_on(rollout: Rollout, tmp_path: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    rollout.mode({"stage": "warn", "until": SOON})
    with browser_home(rollout.demo.ca_file) as environment, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=CHROMIUM_ARGUMENTS, env=environment
        )
        page = browser.new_context().new_page()
        with signed_in(rollout, "linus") as linus:
            kept = [one for one in linus.http.cookies.jar if one.name != "__Host-limen-warned"]
        jar = [
            {
                "name": one.name,
                "value": one.value,
                "url": f"https://{one.domain.lstrip('.')}/",
                "secure": True,
            }
            for one in kept
        ]
        page.context.add_cookies(jar)
        page.goto(f"{rollout.url}/notes")
        page.get_by_role("heading", level=1).filter(has_text="this door will be closed to you").wait_for()
        page.screenshot(path=str(tmp_path / "warned.png"), full_page=True)
        page.get_by_role("link", name="Continue to echo").click()
        page.wait_for_url(f"{rollout.url}/notes")
        assert "x-limen-assertion" in page.content().lower()
        page.goto(f"{rollout.url}/more")
        assert "x-limen-assertion" in page.content().lower()
        browser.close()

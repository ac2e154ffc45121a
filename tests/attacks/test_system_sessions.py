"""Sessions that are over, facts that are old, pages of other apps: what goes on being asked is refused."""

import base64
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from attack_rig import Person, Target
from attack_wire import NAVIGATION, SCRIPT, SESSION, child, eventually, host

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

CLOSED_WITHIN_S = 3.0  # from the answer of control to the first refusal; a loaded machine of CI is meant


def end_sessions(target: Target, person: Person) -> None:
    target.demo.admin.delete("/v1/sessions", person=person.username, reason="attack")


def suspend(target: Target, person: Person) -> None:
    target.demo.admin.patch(f"/v1/people/{person.username}", {"status": "suspended", "reason": "attack"})


def expire(target: Target, person: Person) -> None:
    target.demo.admin.patch(f"/v1/people/{person.username}", {"expires_at": time.time(), "reason": "attack"})


def leave(target: Target, person: Person) -> None:
    target.demo.admin.delete(f"/v1/groups/staff/members/{person.username}", reason="attack")


def sign_out(_: Target, person: Person) -> None:
    person.submit("/logout", {})


def sign_out_everywhere(_: Target, person: Person) -> None:
    form = person.form("/logout")
    answer = person.http.post(f"{person.demo.auth_url}/logout/everywhere", data=form.hidden)
    assert answer.status_code == 200


def close_app(target: Target, _: Person) -> None:
    target.apply(lambda content: content["apps"]["board"].update(allow=["group:hr"]))


ENDS: dict[str, tuple[Callable[[Target, Person], None], int]] = {
    "the session is ended by an administrator": (end_sessions, 401),
    "the person is suspended": (suspend, 401),
    "the person's account expires": (expire, 401),  # 403 until control has ended the session (law R6)
    "the person leaves the group": (leave, 403),
    "the person signs out": (sign_out, 401),
    "the person signs out everywhere": (sign_out_everywhere, 401),
    "the policy no longer permits it": (close_app, 403),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_connection_that_is_kept_is_refused_as_soon_as(
    target: Target, how: str, record_property: Callable[[str, object], None]
) -> None:
    end, status = ENDS[how]
    person = Person.enrolled(target.demo, "staff")
    cookie = person.open("board")
    seen: list[tuple[float, int]] = []
    over = threading.Event()
    with target.wire.connect("board") as connection:

        def keep_asking() -> None:
            while not over.is_set():
                began = time.monotonic()
                seen.append(
                    (began, target.wire.again(connection, "board", "/", *SCRIPT, cookie=cookie).status)
                )

        asking = threading.Thread(target=keep_asking)
        asking.start()
        assert eventually(lambda: len(seen) > 5)
        end(target, person)
        answered = time.monotonic()
        eventually(lambda: seen[-1][1] == status and seen[-1][0] > answered, CLOSED_WITHIN_S)
        count = len(seen)
        eventually(lambda: len(seen) > count + 20)
        over.set()
        asking.join()
    if end is close_app:
        target.apply(lambda content: content["apps"]["board"].update(allow=["group:staff"]))
    allowed_last = max(began for began, got in seen if got == 200)
    record_property("allowed_after_answer_ms", round((allowed_last - answered) * 1000, 1))
    meanwhile = {403} if end is expire else set()
    assert {got for _, got in seen} - meanwhile == {200, status}
    assert seen[-1][1] == status
    assert allowed_last - answered < CLOSED_WITHIN_S
    first_refused = min(began for began, got in seen if got == status)
    assert first_refused > allowed_last, "once closed, it stays closed"


def test_replay_after_sign_out_nothing_of_the_session_opens_anything(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    older, newer, sso = person.open("vault"), person.open("named"), person.cookie("auth")
    form = person.form("/account")
    data = {"csrf": form.hidden["csrf"], "app": "vault", "name": "replay"}
    made = person.http.post(
        f"{target.demo.auth_url}/tokens", data=data, headers={"Accept": "application/json"}
    )
    token = made.json()["token"]
    basic = base64.b64encode(f"x:{token}".encode()).decode()

    def replay() -> dict[str, int]:
        wire = target.wire
        return {
            "an app's cookie": wire.ask("vault", cookie=older).status,
            "another app's cookie": wire.ask("named", cookie=newer).status,
            "bearer": wire.ask("vault", "/", ("Authorization", f"Bearer {token}")).status,
            "basic": wire.ask("vault", "/", ("Authorization", f"Basic {basic}")).status,
            "header": wire.ask("vault", "/", ("X-Limen-Token", token)).status,
            "sign-in cookie": wire.ask("auth", "/account", *NAVIGATION, cookie=f"{SESSION}={sso}").status,
        }

    assert set(replay().values()) == {200}
    person.submit("/logout", {})
    closed = dict.fromkeys(replay(), 401) | {"sign-in cookie": 303}
    assert eventually(lambda: replay() == closed)
    person.sign_in()
    person.open("vault")
    assert replay() == closed, "a new session does not wake the old one's cookies"


def test_staleness_with_control_stopped_each_resource_closes_at_its_own_bound(
    target: Target, record_property: Callable[[str, object], None]
) -> None:
    """`brief` may be 5 s behind, the wiki 300 s; control is stopped, so nothing new can be known."""
    person = Person.enrolled(target.demo, "staff")
    wire, brief, wiki = target.wire, person.open("brief"), person.open("wiki")
    control = child(target.demo, "control")
    os.kill(control, signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert wire.ask("brief", cookie=brief).status == 200, "control is away, and its absence is young"
        assert eventually(lambda: wire.ask("brief", cookie=brief).status == 503)
        record_property("closed_after_s", round(time.monotonic() - began, 1))
        assert 3 < time.monotonic() - began < 8, "5 s from the sending of the last ping that was answered"
        assert wire.ask("brief", "/healthz").status == 503, "a stale catalogue cannot say what is public"
        assert wire.ask("brief", "/admin", cookie=brief).status == 503
        assert wire.ask("brief", "/").status == 401, "no session is no session, however old the facts"
        page = wire.ask("brief", "/", *NAVIGATION, cookie=brief)
        assert (page.status, page.get("retry-after"), page.get("location")) == (503, "5", None)
        assert wire.ask("wiki", cookie=wiki).status == 200, "the wiki's bound is 300 s"
    finally:
        os.kill(control, signal.SIGCONT)
    assert eventually(lambda: wire.ask("brief", cookie=brief).status == 200)
    rows = target.demo.decisions(subject=person.username, verdict="deny")
    assert {row["code"] for row in rows} == {"STATE_STALE"}


def test_a_check_that_is_stopped_is_an_outage_and_no_login_loop(target: Target) -> None:
    person = Person.enrolled(target.demo, "staff")
    cookie = person.open("vault")
    brain = child(target.demo, "brain")
    assert target.wire.ask("vault", cookie=cookie).status == 200
    os.kill(brain, signal.SIGSTOP)
    try:
        began = time.monotonic()
        page = target.wire.ask("vault", "/", *NAVIGATION, cookie=cookie)
        assert (page.status, page.get("location"), page.get("retry-after")) == (503, None, "5")
        assert time.monotonic() - began < 15, "a check that is stopped is an outage, soon"
    finally:
        with contextlib.suppress(ProcessLookupError):  # its host has put another in its place
            os.kill(brain, signal.SIGCONT)
    assert eventually(lambda: target.wire.ask("vault", cookie=cookie).status == 200)


SIBLINGS = [
    (("Origin", "https://wiki.limen.localhost:{port}"),), (("Origin", "https://evil.example"),), (("Origin",
    "null"),),
    (("Origin", "http://board.limen.localhost:{port}"),), (("Origin", "https://board.limen.localhost"),),
    (("Origin", "https://board.limen.localhost:{port}.evil.example"),), (("Origin", ""),),
    (("Origin", "https://board.limen.localhost:{port}, https://evil.example"),),
    (("Origin", "https://board.limen.localhost:{port}"), ("Origin", "https://evil.example")),
    (("Sec-Fetch-Site", "same-site"),), (("Sec-Fetch-Site", "cross-site"),), (("Sec-Fetch-Site",
    "SAME-ORIGIN"),),
    (("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")),
    (("Origin", "https://wiki.limen.localhost:{port}"), ("Sec-Fetch-Site", "same-origin")),
]  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_sibling_app_posts_nothing_in_a_persons_name(target: Target, method: str) -> None:
    person = Person.enrolled(target.demo, "staff")
    cookie = person.open("board")
    own = ("Origin", f"https://{host('board')}:{target.demo.port}")
    assert target.wire.ask("board", "/x", own, method=method, cookie=cookie, body=b"own").status == 200
    before = len(target.echo.seen)
    for headers in SIBLINGS:
        sent = [(name, value.format(port=target.demo.port)) for name, value in headers]
        reply = target.wire.ask("board", "/x", *sent, method=method, cookie=cookie, body=b"forged")
        assert reply.status in (400, 403), (sent, reply.status)
        assert reply.status == 400 or "CROSS_APP" in reply.text
    assert target.echo.seen[before:] == []
    friend = ("Origin", "https://friend.example")
    assert target.wire.ask("board", "/x", friend, method=method, cookie=cookie, body=b"listed").status == 200


def test_a_page_of_a_listed_origin_may_read_and_of_another_may_not(target: Target) -> None:
    cookie = Person.enrolled(target.demo, "staff").open("board")
    for origin, allowed in (
        ("https://friend.example", True),
        ("https://friend.example.evil", False),
        ("null", False),
    ):
        preflight = (("Origin", origin), ("Access-Control-Request-Method", "POST"))
        for reply in (
            target.wire.ask("board", "/", *preflight, method="OPTIONS"),
            target.wire.ask("board", "/", ("Origin", origin), cookie=cookie),
            target.wire.ask("board", "/", ("Origin", origin)),
        ):
            assert reply.get("access-control-allow-origin") == (origin if allowed else None)

"""Modes at the check: who is told what, how often, and what the record says."""

from datetime import UTC, datetime

import msgspec
import pytest
from check_world import APPS, CATALOGUE, FRESH, NOW, PASSKEY, CheckWorld, all_headers, header, request
from hypothesis import given
from hypothesis import strategies as st

from limen.core.catalogue import Catalogue, RouteConfig
from limen.core.changes import AppSessionFact
from limen.core.decision import Code
from limen.core.rollout import Mode, Rollout, Stage
from limen.enforcement.check.answer import Answer
from limen.enforcement.leash.wire import NOTHING_TO_ANSWER, render_allowed

WARN = Rollout(Stage(Mode.WARN, until="2027-03-01"))


def catalogue(rollout: Rollout, *routes: RouteConfig, timezone: str = "UTC") -> Catalogue:
    wiki = msgspec.structs.replace(APPS["wiki"], rollout=rollout, routes=(*APPS["wiki"].routes, *routes))
    return msgspec.structs.replace(CATALOGUE, apps={**APPS, "wiki": wiki}, timezone=timezone)


def denying(rollout: Rollout = WARN, *routes: RouteConfig, timezone: str = "UTC") -> CheckWorld:
    world = CheckWorld(catalogue(rollout, *routes, timezone=timezone))
    world.engine.deny()
    return world


def visit(world: CheckWorld, target: str = "/", *, warned: str = "", **more: str) -> Answer:
    cookie = f"__Host-limen={world.token}" + (f"; __Host-limen-warned={warned}" if warned else "")
    return world.settle(request(target, navigate=True, cookie=cookie, **more))


def mark(answer: Answer) -> str:
    """Return what the warning page leaves in the browser."""
    [cookie] = [one for one in all_headers(answer, "set-cookie") if one.startswith("__Host-limen-warned=")]
    return cookie.partition("=")[2].partition(";")[0]


def test_the_warning_page_says_what_will_be_denied_from_when_and_what_cures_it() -> None:
    world = denying()
    world.explainer.cures(PASSKEY, FRESH)
    answer = visit(world, "/notes?q=1")
    told = world.pages.last
    assert (answer.status, told["template"]) == (203, "warned.html")
    assert told["title"] == "From 1 March 2027, this door will be closed to you"
    assert told["continue_url"] == "/notes?q=1"
    assert told["reasons"] == ["A rule."]
    assert {remedy["id"]: bool(remedy["url"]) for remedy in told["remedies"]} == {
        "passkey": True,
        "fresh-sign-in": True,
    }
    [record] = world.journal.decisions
    assert told["wrong_url"] == f"https://auth.limen.test:8443/complaints/new?decision={record.id}"
    assert (record.verdict, record.would_be, record.remedies) == (
        "allow",
        "deny",
        ("fresh-sign-in", "passkey"),
    )
    assert header(answer, "x-limen-decision-id") == record.id
    assert not all_headers(answer, "x-limen-assertion")


def test_it_is_shown_once_a_day_to_each_person() -> None:
    world = denying()
    seen = mark(visit(world))
    again = visit(world, warned=seen)
    assert again.status == 200
    assert "__Host-limen" not in "".join(all_headers(again, "cookie"))


def test_the_mark_of_yesterday_or_of_somebody_else_keeps_nothing_quiet() -> None:
    world = denying()
    seen = mark(visit(world))
    world.clock.advance(3_000)
    assert visit(world, warned=seen).status == 200
    assert visit(world, warned=seen[:-1] + "x").status == 203
    tomorrow = denying(timezone="Asia/Tokyo")  # 17 o'clock: the same day
    assert visit(tomorrow, warned=seen).status == 200
    tomorrow = denying(timezone="Pacific/Kiritimati")  # 22 o'clock
    tomorrow.clock.advance(2.5 * 3_600)
    tomorrow.replica.confirm(tomorrow.clock.boot_s(), tomorrow.replica.seq)
    tomorrow.commit(
        msgspec.structs.replace(tomorrow.replica.session("s1"), expires_at=NOW + 86_400),
        AppSessionFact(tomorrow.hash_of(tomorrow.token), "s1", "wiki", NOW + 86_400),
    )
    assert visit(tomorrow, warned=seen).status == 203


@pytest.mark.parametrize(("zone", "left_h"), [("UTC", 16), ("Asia/Tokyo", 7), ("America/New_York", 21)])
def test_the_mark_lasts_until_midnight_where_the_organisation_is(zone: str, left_h: int) -> None:
    assert datetime.fromtimestamp(NOW, UTC).hour == 8
    answer = visit(denying(timezone=zone))
    [cookie] = all_headers(answer, "set-cookie")
    assert cookie.endswith(f"Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={left_h * 3600}")


def test_programs_frames_posts_and_later_pages_get_a_header_and_no_page() -> None:
    world = denying()
    seen = mark(visit(world))
    answers = [
        world.settle(request("/", token=world.token)),
        world.settle(request("/", "POST", token=world.token, navigate=True, sec_fetch_site="same-origin")),
        _frame(world),
        world.settle(request("/", authorization=f"Bearer {world.api_token}", accept="text/html")),
        visit(world, warned=seen),
    ]
    assert [answer.status for answer in answers] == [200] * 5
    for answer, record in zip(answers, world.journal.decisions[1:], strict=True):
        assert header(answer, "limen-warning") == (
            f"would-deny; code=FORBIDDEN; from=2027-03-01; decision={record.id}"
        )
        assert header(answer, "x-limen-assertion")


def _frame(world: CheckWorld) -> Answer:
    sent = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
    return world.settle(request("/", token=world.token, **sent))


def test_a_date_that_has_passed_is_not_told_as_one_to_come() -> None:
    world = denying(Rollout(Stage(Mode.WARN, until="2020-01-01")))
    visit(world)
    assert world.pages.last["title"] == "Soon this door will be closed to you"


def test_observe_is_unseen_and_waits_for_no_explanation() -> None:
    world = denying(Rollout(Stage(Mode.OBSERVE)))
    answer = visit(world)
    assert answer.status == 200
    assert not all_headers(answer, "limen-warning") and not all_headers(answer, "set-cookie")
    assert world.pages.last == {}


def test_a_route_has_its_own_stage() -> None:
    strict = RouteConfig("strict", "/strict", rollout=Rollout())
    world = denying(Rollout(Stage(Mode.OBSERVE)), strict)
    assert visit(world, "/other").status == 200
    assert visit(world, "/strict").status == 403
    assert world.settle(request("/strict")).status == 401
    assert world.settle(request("/other")).status == 200


def test_what_is_allowed_says_its_mode_and_nothing_that_would_be() -> None:
    world = CheckWorld(catalogue(WARN))
    assert not all_headers(visit(world), "limen-warning")
    assert visit(CheckWorld()).status == 200
    [record] = world.journal.decisions
    assert (record.verdict, record.would_be, record.mode) == ("allow", None, "warn")


def test_a_warning_that_cannot_be_recorded_is_not_shown() -> None:
    world = denying()
    world.journal.fail(RuntimeError("full"), 2)
    assert visit(world).status == 503


def test_the_leash_tells_the_client_and_not_the_app() -> None:
    world = denying()
    asked = request("/live", token=world.token, accept="text/event-stream")
    reply = world.leashed(asked)
    allowed = render_allowed(reply.answer, asked, "sse")
    assert reply.opening is not None and not reply.opening.decision.allowed
    assert b"limen-warning" in allowed.later and b"limen-warning" not in allowed.now
    world = CheckWorld()
    quiet = world.leashed(request("/live", token=world.token, accept="text/event-stream"))
    assert render_allowed(quiet.answer, asked, "sse").later == NOTHING_TO_ANSWER


@given(st.text(max_size=60))
def test_no_mark_breaks_the_check(text: str) -> None:
    world = denying()
    cookie = f"__Host-limen={world.token}; __Host-limen-warned=".encode() + text.encode(
        "utf-8", "surrogatepass"
    )
    asked = request("/", navigate=True)
    answer = world.settle(msgspec.structs.replace(asked, headers={**asked.headers, b"cookie": cookie}))
    assert answer.status in (200, 203, 302)


def test_a_stranger_needs_fresh_facts_and_a_known_resource() -> None:
    world = denying(Rollout(Stage(Mode.OBSERVE)))
    assert world.settle(request("/")).status == 200
    assert world.journal.decisions[-1].code == Code.NO_SESSION
    world.clock.advance(301)
    assert world.settle(request("/")).status == 503

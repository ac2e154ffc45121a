"""The table "Enforcement answers" of design/decision.md, row by row, and the rules around it."""

import base64
import json
from hashlib import sha256

import pytest
from check_world import (
    FRESH,
    KEY,
    LAPTOP,
    NONCE,
    NOW,
    PASSKEY,
    CheckWorld,
    all_headers,
    header,
    query,
    request,
    upstream_headers,
)

from limen.core.changes import AppSessionFact, BundleFact, PersonFact, SecretFact, SessionFact
from limen.core.decision import Code, Explanation, Remedy
from limen.core.record import BundleRecord, InputsRecord
from limen.core.tokens import mint_token
from limen.enforcement.check.case import AskControl, Pending, Reply


@pytest.fixture
def world() -> CheckWorld:
    return CheckWorld()


# --- allow ---------------------------------------------------------------------------------------


def test_an_allowed_request_goes_on_with_an_assertion_and_without_our_cookie(world: CheckWorld) -> None:
    answer = world.settle(request("/page?q=1", cookie=f"a=1; __Host-limen={world.token}; b=2"))
    assert answer.status == 200 and answer.body == b""
    assert header(answer, "x-limen-assertion") == "assertion-1"
    assert header(answer, "cookie") == "a=1; b=2"
    assert world.signer.signed[0]["aud"] == "wiki" and world.signer.signed[0]["sub"] == "ada"
    assert world.signer.signed[0]["iss"] == "https://auth.limen.test"
    assert world.signer.signed[0]["exp"] - world.signer.signed[0]["iat"] == 60


def test_a_cookie_header_that_held_only_ours_is_removed(world: CheckWorld) -> None:
    answer = world.settle(request(token=world.token))
    assert "cookie" in (header(answer, "x-envoy-auth-headers-to-remove") or "").split(",")


def test_cookies_of_the_app_keep_their_bytes(world: CheckWorld) -> None:
    answer = world.settle(request(cookie=f"name=Zoë,2; __Host-limen={world.token}"))
    assert header(answer, "cookie") == "name=Zoë,2"


def test_the_decision_id_reaches_app_and_journal(world: CheckWorld) -> None:
    answer = world.settle(request("/page?secret=1", token=world.token))
    (record,) = world.journal.decisions
    assert header(answer, "x-limen-decision-id") == record.id
    assert (record.subject, record.resource, record.action) == ('User::"ada"', 'App::"wiki"', "read")
    assert (record.method, record.host, record.path) == ("GET", "wiki.limen.test", "/page")
    assert (record.session, record.ip, record.verdict, record.bundle) == ("s1", "203.0.113.7", "allow", "b1")
    assert "secret" not in repr(record) and world.token not in repr(world.journal.records)


def test_bundle_and_inputs_are_stored_once_and_first(world: CheckWorld) -> None:
    world.settle(request(token=world.token))
    world.settle(request("/other", token=world.token))
    kinds = [type(record).__name__ for record in world.journal.records]
    assert kinds == ["BundleRecord", "InputsRecord", "DecisionRecord", "DecisionRecord"]
    inputs = world.journal.records[1]
    assert isinstance(inputs, InputsRecord) and isinstance(world.journal.records[0], BundleRecord)
    assert {record.inputs for record in world.journal.decisions} == {inputs.id}


def test_the_assertion_is_signed_once_in_half_a_minute(world: CheckWorld) -> None:
    world.settle(request(token=world.token))
    world.clock.advance(29)
    world.settle(request(token=world.token))
    assert len(world.signer.signed) == 1
    world.clock.advance(1)
    assert header(world.settle(request(token=world.token)), "x-limen-assertion") == "assertion-2"


def test_a_clock_set_back_does_not_keep_an_old_assertion(world: CheckWorld) -> None:
    world.settle(request(token=world.token))
    world.clock.jump(-100)
    world.settle(request(token=world.token))
    assert len(world.signer.signed) == 2


def test_a_new_group_is_in_the_next_assertion(world: CheckWorld) -> None:
    world.settle(request(token=world.token))
    world.commit(PersonFact(id="ada", name="Ada", email="", groups=("boss",)))
    world.settle(request(token=world.token))
    assert [signed["groups"] for signed in world.signer.signed] == [["hr", "staff"], ["boss"]]


def test_control_hears_of_a_session_in_use_at_most_each_half_minute(world: CheckWorld) -> None:
    for _ in range(3):
        world.settle(request(token=world.token))
    world.clock.advance(30)
    world.settle(request(token=world.token))
    assert world.seen == [("s1", NOW), ("s1", NOW + 30)]


def test_an_app_with_headers_gets_them_under_its_own_names(world: CheckWorld) -> None:
    answer = world.settle(request(host="old.limen.test", token=world.sign_in("old")))
    assert header(answer, "x-forwarded-user") == "ada"
    assert header(answer, "x-forwarded-email") == "ada@limen.test"
    assert header(answer, "x-forwarded-groups") == "hr,staff"


def test_a_header_without_a_value_is_removed_not_left_to_the_client(world: CheckWorld) -> None:
    token = world.sign_in("old")
    world.commit(PersonFact(id="ada", name="Ada", email="", groups=()))
    forged = {"x-forwarded-email": "boss@limen.test", "x-forwarded-groups": "admins"}
    got = upstream_headers(forged, world.settle(request(host="old.limen.test", token=token)))
    assert "x-forwarded-email" not in got and "x-forwarded-groups" not in got


def test_a_group_with_a_comma_does_not_become_two(world: CheckWorld) -> None:
    token = world.sign_in("old")
    world.commit(PersonFact(id="ada", name="Ada", email="a@b.c", groups=("x,admins", "staff")))
    answer = world.settle(request(host="old.limen.test", token=token))
    assert header(answer, "x-forwarded-groups") == "staff"


def test_a_name_with_a_line_break_cannot_make_a_header(world: CheckWorld) -> None:
    token = world.sign_in("old")
    world.commit(PersonFact(id="ada", name="Ada", email="a@b.c\r\nx-admin: 1", groups=()))
    answer = world.settle(request(host="old.limen.test", token=token))
    assert header(answer, "x-forwarded-email") == "a@b.cx-admin: 1"


def test_hundreds_of_groups_do_not_overflow_the_apps_header(world: CheckWorld) -> None:
    token = world.sign_in("old")
    groups = tuple(f"group-{n:04d}" for n in range(1_000))
    world.commit(PersonFact(id="ada", name="Ada", email="a@b.c", groups=groups))
    answer = world.settle(request(host="old.limen.test", token=token))
    assert len(header(answer, "x-forwarded-groups") or "") <= 4_096
    assert world.signer.signed[-1]["groups_complete"] is False


def test_basic_credentials_are_injected_from_the_secret(world: CheckWorld) -> None:
    token = world.sign_in("basic")
    answer = world.settle(request(host="basic.limen.test", token=token, authorization="Basic Zm9vOmJhcg=="))
    wanted = base64.b64encode(b"svc:hunter2").decode()
    assert all_headers(answer, "authorization") == [f"Basic {wanted}"]
    assert "authorization" not in (header(answer, "x-envoy-auth-headers-to-remove") or "").split(",")


def test_a_new_secret_is_used_at_once(world: CheckWorld) -> None:
    token = world.sign_in("basic")
    world.settle(request(host="basic.limen.test", token=token))
    world.commit(SecretFact("svc-password", "sealed:new"))
    answer = world.settle(request(host="basic.limen.test", token=token))
    assert header(answer, "authorization") == f"Basic {base64.b64encode(b'svc:new').decode()}"


def test_without_the_secret_nothing_goes_on(world: CheckWorld) -> None:
    token = world.sign_in("basic")
    world.commit(("secret", "svc-password"))
    assert world.settle(request(host="basic.limen.test", token=token)).status == 503


@pytest.mark.parametrize("form", ["bearer", "basic", "header"])
def test_a_client_token_works_in_three_forms_and_never_reaches_the_app(world: CheckWorld, form: str) -> None:
    sent = {
        "bearer": {"authorization": f"Bearer {world.api_token}"},
        "basic": {"authorization": "Basic " + base64.b64encode(f"x:{world.api_token}".encode()).decode()},
        "header": {"x-limen-token": world.api_token},
    }[form]
    answer = world.settle(request(**{name.replace("-", "_"): value for name, value in sent.items()}))
    assert answer.status == 200
    assert not set(sent) & set(upstream_headers(sent, answer))


def test_the_apps_own_credentials_stay(world: CheckWorld) -> None:
    sent = {"authorization": "Bearer its-own"}
    got = upstream_headers(sent, world.settle(request(token=world.token, **sent)))
    assert got["authorization"] == "Bearer its-own"


# --- sessions that are none ----------------------------------------------------------------------


def is_no_session(world: CheckWorld, **more: str) -> bool:
    return world.settle(request(**more)).status == 401


def test_a_session_of_another_app_is_no_session(world: CheckWorld) -> None:
    assert is_no_session(world, token=world.sign_in("old"))


def test_a_client_token_is_no_cookie_and_a_cookie_no_client_token(world: CheckWorld) -> None:
    assert is_no_session(world, token=world.api_token)
    assert is_no_session(world, authorization=f"Bearer {world.token}")


def test_a_session_whose_parent_ended_is_no_session(world: CheckWorld) -> None:
    assert world.settle(request(token=world.token)).status == 200
    world.commit(("session", "s1"))
    assert is_no_session(world, token=world.token)


def test_a_session_that_ended_is_no_session(world: CheckWorld) -> None:
    world.settle(request(token=world.token))
    world.commit(("app_session", world.hash_of(world.token)))
    assert is_no_session(world, token=world.token)


def test_an_expired_session_is_no_session_to_the_instant(world: CheckWorld) -> None:
    world.clock.advance(3599)
    assert world.settle(request(token=world.token)).status == 200
    world.clock.advance(1)
    assert is_no_session(world, token=world.token)


def test_a_session_cannot_outlive_its_parent(world: CheckWorld) -> None:
    world.commit(SessionFact("s1", "ada", 2, False, ("password",), NOW, NOW, NOW + 10))
    world.clock.advance(10)
    assert is_no_session(world, token=world.token)


def test_two_session_cookies_are_none(world: CheckWorld) -> None:
    cookie = f"__Host-limen={world.token}; __Host-limen={world.token}"
    assert is_no_session(world, cookie=cookie)


def test_rubbish_is_refused_without_asking_control(world: CheckWorld) -> None:
    forged, _ = mint_token(b"x" * 32, 10**9)
    for text in ("x", "l1.999999.", "a" * 10_000, forged.reveal(), world.token[:-1], "l1.é"):
        outcome = world.ask(request(token=text))
        assert isinstance(outcome, Reply) and outcome.answer.status == 401


def test_a_token_newer_than_the_replica_asks_control_once(world: CheckWorld) -> None:
    newer = mint_token(KEY, 101)[0].reveal()
    asked = request(token=newer)
    assert isinstance(world.ask(asked), AskControl)
    outcome = world.ask(asked, asked_control=True)
    assert isinstance(outcome, Reply) and outcome.kind == "no_session"
    world.commit(AppSessionFact(world.hash_of(newer), "s1", "wiki", NOW + 60))
    assert world.settle(asked).status == 200


def test_an_old_unknown_token_does_not_ask_control(world: CheckWorld) -> None:
    outcome = world.ask(request(token=mint_token(KEY, 100)[0].reveal()))
    assert isinstance(outcome, Reply) and outcome.kind == "no_session"


# --- no session ----------------------------------------------------------------------------------


def test_a_navigation_without_session_is_sent_to_sign_in_and_back(world: CheckWorld) -> None:
    answer = world.settle(request("/page?q=a%20b&c=1", navigate=True))
    location = header(answer, "location") or ""
    assert answer.status == 302 and location.startswith("https://auth.limen.test:8443/authorize?")
    assert query(location) == {
        "app": "wiki",
        "return": "/page?q=a%20b&c=1",
        "nonce": sha256(NONCE.encode()).hexdigest(),
    }
    assert header(answer, "set-cookie") == (
        f"__Host-limen-flow={NONCE}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"
    )
    assert world.journal.records == []  # counted, not recorded


def test_tabs_that_sign_in_together_share_one_flow(world: CheckWorld) -> None:
    mine = "f" * 32
    answer = world.settle(request(navigate=True, cookie=f"__Host-limen-flow={mine}"))
    assert query(header(answer, "location") or "")["nonce"] == sha256(mine.encode()).hexdigest()
    tossed = world.settle(request(navigate=True, cookie="__Host-limen-flow=evil"))
    assert NONCE in (header(tossed, "set-cookie") or "")


def test_without_fetch_metadata_a_get_for_html_is_a_navigation(world: CheckWorld) -> None:
    assert world.settle(request(accept="text/html,*/*")).status == 302
    assert world.settle(request(accept="application/json")).status == 401
    assert world.settle(request(method="POST", accept="text/html")).status == 401


def test_a_posted_form_returns_to_the_page_it_stood_on(world: CheckWorld) -> None:
    def back(referer: str) -> str:
        answer = world.settle(request("/save", "POST", navigate=True, referer=referer))
        return query(header(answer, "location") or "")["return"]

    assert back("https://wiki.limen.test:8443/edit?page=1") == "/edit?page=1"
    assert back("https://evil.example/edit") == "/"
    assert back("https://wiki.limen.test:8443//evil.example") == "/"
    assert back("") == "/"


def test_a_return_path_is_cut_rather_than_too_long(world: CheckWorld) -> None:
    answer = world.settle(request("/page?q=" + "a" * 5_000, navigate=True))
    assert query(header(answer, "location") or "")["return"] == "/page"


def test_a_client_without_session_gets_401_with_where_to_sign_in(world: CheckWorld) -> None:
    answer = world.settle(
        request("/api", referer="https://wiki.limen.test:8443/board", sec_fetch_mode="cors")
    )
    body = json.loads(answer.body)
    assert answer.status == 401 and header(answer, "content-type") == "application/problem+json"
    assert (body["code"], body["login_url"]) == ("NO_SESSION", "https://wiki.limen.test:8443/board")
    assert all_headers(answer, "www-authenticate") == ['Bearer realm="wiki"']


def test_only_programs_are_asked_for_a_password(world: CheckWorld) -> None:
    answer = world.settle(request())
    assert all_headers(answer, "www-authenticate")[1] == 'Basic realm="wiki", charset="UTF-8"'


def test_a_listed_origin_can_read_the_401(world: CheckWorld) -> None:
    answer = world.settle(request(origin="https://spa.example", sec_fetch_mode="cors"))
    assert header(answer, "access-control-allow-origin") == "https://spa.example"
    assert header(answer, "access-control-allow-credentials") == "true"
    other = world.settle(request(origin="https://evil.example", sec_fetch_mode="cors"))
    assert header(other, "access-control-allow-origin") is None and header(other, "vary") == "origin"


# --- deny ----------------------------------------------------------------------------------------


def test_a_navigation_cured_by_authentication_is_sent_to_step_up(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.cures(PASSKEY, FRESH)
    answer = world.settle(request("/page", navigate=True, token=world.token))
    asked = query(header(answer, "location") or "")
    assert answer.status == 302
    assert (asked["need"], asked["max_age"], asked["return"]) == ("passkey", "900", "/page")
    assert world.journal.decisions[0].remedies == ("fresh-sign-in", "passkey")


def test_the_same_cure_twice_in_a_row_is_a_page_not_a_loop(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.cures(PASSKEY)
    cookie = f"__Host-limen={world.token}; __Host-limen-cured=passkey"
    answer = world.settle(request(navigate=True, cookie=cookie))
    assert answer.status == 403 and world.pages.last["template"] == "denied.html"
    (button,) = world.pages.last["remedies"]
    assert button["id"] == "passkey" and "need=passkey" in button["url"]
    assert "__Host-limen-flow" in (header(answer, "set-cookie") or "")
    other = f"__Host-limen={world.token}; __Host-limen-cured=second-factor"
    assert world.settle(request(navigate=True, cookie=other)).status == 302


def test_a_sign_in_that_would_do_as_well_is_preferred(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.explanation = Explanation(("A rule.",), (LAPTOP,), alternatives=((FRESH,),))
    answer = world.settle(request(navigate=True, token=world.token))
    assert query(header(answer, "location") or "")["need"] == "fresh-sign-in"


def test_a_client_cured_by_authentication_is_challenged_as_rfc_9470_says(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.cures(PASSKEY, FRESH)
    answer = world.settle(request("/api", token=world.token, sec_fetch_mode="cors"))
    challenge = header(answer, "www-authenticate") or ""
    assert answer.status == 401
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'acr_values="phr"' in challenge and 'max_age="900"' in challenge
    assert json.loads(answer.body)["decision_id"] == world.journal.decisions[0].id


def test_a_hardware_key_is_asked_for_before_anything_weaker(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.cures(FRESH, Remedy("hardware-key", "Sign in with a hardware key."))
    answer = world.settle(request(navigate=True, token=world.token))
    asked = query(header(answer, "location") or "")
    assert (answer.status, asked["need"], asked["max_age"]) == (302, "hardware-key", "900")
    challenge = header(
        world.settle(request("/api", token=world.token, sec_fetch_mode="cors")), "www-authenticate"
    )
    assert 'acr_values="phrh"' in (challenge or "")


def test_a_denied_navigation_gets_a_page_that_explains(world: CheckWorld) -> None:
    world.engine.deny()
    world.explainer.cures(LAPTOP)
    answer = world.settle(request("/page", navigate=True, token=world.token))
    page = world.pages.last
    assert answer.status == 403 and header(answer, "content-type") == "text/html; charset=utf-8"
    assert page["decision_id"] == world.journal.decisions[0].id == header(answer, "x-limen-decision-id")
    assert (page["app"], page["reasons"], page["owner"]) == ("wiki", ["A rule."], "grace")
    assert [remedy["id"] for remedy in page["remedies"]] == ["compliant-device"]
    assert page["person"] == {"username": "ada", "name": "Ada"}
    assert page["request"] == {"method": "GET", "path": "/page", "at": NOW}


def test_a_denied_client_gets_a_problem_document(world: CheckWorld) -> None:
    world.engine.deny(Code.NO_PERMIT)
    answer = world.settle(request("/api", token=world.token))
    body = json.loads(answer.body)
    assert answer.status == 403 and body["code"] == "NO_PERMIT" and body["status"] == 403
    assert body["decision_id"] == world.journal.decisions[0].id


def test_a_denial_waits_for_its_explanation_only_when_it_is_not_known(world: CheckWorld) -> None:
    world.engine.deny()
    assert isinstance(world.ask(request(token=world.token)), Pending)
    world.explainer.cures(LAPTOP)
    world.explainer.known = True
    assert isinstance(world.ask(request(token=world.token)), Reply)


def test_a_denial_by_state_needs_no_explanation(world: CheckWorld) -> None:
    world.engine.deny(Code.SUBJECT_SUSPENDED)
    outcome = world.ask(request(token=world.token))
    assert isinstance(outcome, Reply) and b"suspended" in outcome.answer.body


def test_an_explanation_that_was_not_found_in_time_still_denies(world: CheckWorld) -> None:
    world.engine.deny()
    answer = world.settle(request(navigate=True, token=world.token))
    assert answer.status == 403 and world.pages.last["remedies"] == []


@pytest.mark.parametrize("code", [Code.STATE_STALE, Code.ENGINE_FAILED])
def test_an_outage_is_recorded_and_answered_503(world: CheckWorld, code: Code) -> None:
    world.engine.deny(code)
    answer = world.settle(request(token=world.token))
    assert answer.status == 503 and header(answer, "retry-after") == "5"
    assert world.journal.decisions[0].code == code


def test_facts_carry_the_replicas_age_and_the_resources_bound(world: CheckWorld) -> None:
    world.clock.advance(7)
    world.settle(request(token=world.token))
    world.settle(request("/admin/x", token=world.token))
    (_, plain), (asked, admin) = world.engine.asked
    assert (plain.age_s, plain.staleness_max_s) == (7.0, 300.0)
    assert (asked.action, admin.staleness_max_s) == ("admin", 30.0)
    assert plain.network.ip == "203.0.113.7"


# --- other apps, streams, public paths -----------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": "https://wiki.limen.test:8443"}, 200),
        ({"origin": "https://wiki.limen.test"}, 403),
        ({"origin": "http://wiki.limen.test:8443"}, 403),
        ({"origin": "https://old.limen.test:8443"}, 403),
        ({"origin": "https://poster.limen.test:8443", "sec_fetch_site": "same-site"}, 200),
        ({"origin": "https://spa.example", "sec_fetch_site": "cross-site"}, 200),
        ({"origin": "null"}, 403),
    ],
)
def test_an_unsafe_request_from_another_app_is_denied(
    world: CheckWorld, headers: dict[str, str], status: int
) -> None:
    answer = world.settle(request("/save", "POST", token=world.token, **headers))
    assert answer.status == status
    assert world.journal.decisions[0].code == (Code.PERMITTED if status == 200 else Code.CROSS_APP)


def test_a_link_from_another_app_is_followed(world: CheckWorld) -> None:
    assert world.settle(request(token=world.token, navigate=True, sec_fetch_site="cross-site")).status == 200


@pytest.mark.parametrize("target", ["/", "/healthz"])
def test_an_upgrade_is_refused_everywhere(world: CheckWorld, target: str) -> None:
    answer = world.settle(request(target, token=world.token, upgrade="websocket"))
    assert answer.status == 403 and world.journal.decisions[0].code == Code.STREAM_REFUSED


def test_a_public_path_goes_on_without_any_identity_and_is_recorded(world: CheckWorld) -> None:
    for sent in ({}, {"token": world.token}):
        answer = world.settle(request("/healthz", **sent))
        assert answer.status == 200 and header(answer, "x-limen-assertion") is None
    record = world.journal.decisions[1]
    assert (record.code, record.subject, record.session) == ("PUBLIC", None, None)
    assert world.engine.asked == []


def test_a_public_path_passes_no_forged_identity(world: CheckWorld) -> None:
    forged = {"x-forwarded-user": "boss", "x-limen-assertion": "e30."}
    got = upstream_headers(forged, world.settle(request("/open/x", host="old.limen.test")))
    assert set(got) == {"x-limen-decision-id"}


def test_a_stale_replica_cannot_say_what_is_public(world: CheckWorld) -> None:
    world.clock.advance(301)
    assert world.settle(request("/healthz")).status == 503


# --- outages of the gateway itself ---------------------------------------------------------------


def test_without_a_bundle_everything_is_503(world: CheckWorld) -> None:
    world.commit(("bundle", "active"))
    assert world.settle(request("/healthz")).status == 503
    world.commit(BundleFact("active", "b2", {}))
    assert world.settle(request(token=world.token)).status == 200


def test_without_the_true_peer_nothing_is_decided(world: CheckWorld) -> None:
    assert world.settle(request(token=world.token, peer=None)).status == 503
    assert world.settle(request(token=world.token, peer="/run/x.sock")).status == 503

"""What the check answers to requests that the leash holds: upgrades, CONNECT to services, streams."""

import json

import pytest
from check_world import LEDGER_HOST, PORT, WIKI_HOST, CheckWorld, connect, header, request

from limen.core.catalogue import CONNECT_APP
from limen.core.changes import AppSessionFact
from limen.core.decision import Code

OWN = f"https://{WIKI_HOST}{PORT}"


@pytest.fixture
def world() -> CheckWorld:
    return CheckWorld()


def test_an_allowed_reply_carries_what_a_live_stream_needs(world: CheckWorld) -> None:
    reply = world.leashed(request("/ws", token=world.token, upgrade="websocket", origin=OWN))
    opening = reply.opening
    assert reply.answer.status == 200 and opening is not None and opening.facts is not None
    assert opening.case.question.id == header(reply.answer, "x-limen-decision-id")
    assert opening.case.seat is not None and opening.case.seat.app == "wiki"
    assert opening.decision.allowed and opening.facts.staleness_max_s == 300.0


def test_a_plain_reply_carries_nothing_of_the_kind(world: CheckWorld) -> None:
    outcome = world.ask(request(token=world.token))
    assert getattr(outcome, "opening", "?") is None


def test_a_leashed_denial_opens_nothing(world: CheckWorld) -> None:
    world.engine.deny(Code.QUARANTINED)
    assert world.leashed(request(token=world.token)).opening is None


def test_a_leashed_public_path_has_an_opening_without_a_session(world: CheckWorld) -> None:
    reply = world.leashed(request("/healthz", upgrade="websocket"))
    assert reply.answer.status == 200 and reply.opening is not None
    assert reply.opening.case.seat is None and reply.opening.facts is None
    refused = world.leashed(request("/healthz", upgrade="h2c"))
    assert refused.answer.status == 403 and refused.opening is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"upgrade": "websocket", "origin": OWN}, "PERMITTED"),
        ({"upgrade": "WebSocket"}, "PERMITTED"),
        ({"upgrade": "websocket", "origin": "https://poster.limen.test:8443"}, "PERMITTED"),
        ({"upgrade": "websocket", "origin": "https://old.limen.test:8443"}, "CROSS_APP"),
        ({"upgrade": "websocket", "origin": "null"}, "CROSS_APP"),
        ({"upgrade": "websocket", "sec_fetch_site": "same-site"}, "CROSS_APP"),
        ({"accept": "text/event-stream", "sec_fetch_site": "same-site"}, "PERMITTED"),
        ({"upgrade": "h2c"}, "STREAM_REFUSED"),
        ({"upgrade": "websocket, h2c"}, "STREAM_REFUSED"),
        ({"upgrade": ""}, "STREAM_REFUSED"),
    ],
)
def test_upgrades_are_for_listed_kinds_and_own_pages(
    world: CheckWorld, headers: dict[str, str], code: str
) -> None:
    reply = world.leashed(request("/ws", token=world.token, **headers))
    world.check.settle(reply)
    assert world.journal.decisions[-1].code == code
    assert (reply.opening is not None) == (code == "PERMITTED")


# --- services ------------------------------------------------------------------------------------


def test_a_service_is_reached_by_connect_with_its_own_kind_of_token(world: CheckWorld) -> None:
    token = world.sign_in(CONNECT_APP, "token")
    reply = world.leashed(connect(token=token))
    assert reply.answer.status == 200 and world.signer.signed == []
    question, facts = world.engine.asked[0]
    assert (question.action, str(question.resource)) == ("connect", 'Service::"ledger-db"')
    assert facts.resource.root == question.resource and question.path == ""
    world.check.settle(reply)
    assert world.journal.decisions[0].method == "CONNECT"


@pytest.mark.parametrize("token", ["none", "app", "cookie_kind", "rubbish", "ended"])
def test_nothing_else_is_a_session_there(world: CheckWorld, token: str) -> None:
    tokens = {
        "none": None,
        "app": world.api_token,
        "cookie_kind": world.sign_in(CONNECT_APP, "cookie"),
        "rubbish": "l1.1." + "A" * 43 + "." + "A" * 22,
        "ended": world.sign_in(CONNECT_APP, "token"),
    }
    world.commit(("app_session", world.hash_of(tokens["ended"] or "")))
    answer = world.leashed(connect(token=tokens[token])).answer
    assert answer.status == 401 and b"limen login" in answer.body
    assert "login_url" not in json.loads(answer.body) and world.engine.asked == []


def test_a_cookie_is_no_session_there(world: CheckWorld) -> None:
    for token in (world.sign_in(CONNECT_APP, "cookie"), world.sign_in(CONNECT_APP, "token")):
        sent = request(b"", "CONNECT", host=f"{LEDGER_HOST}:443", token=token)
        assert world.leashed(sent).answer.status == 401


def test_a_token_for_services_opens_no_app(world: CheckWorld) -> None:
    token = world.sign_in(CONNECT_APP, "token")
    assert world.leashed(request(authorization=f"Bearer {token}")).answer.status == 401
    assert world.settle(request(authorization=f"Bearer {token}")).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [(f"{LEDGER_HOST}:22", 421), ("none.limen.test:443", 421), (f"{WIKI_HOST}:443", 400), ("a b:443", 400)],
)
def test_connect_leads_only_to_services(world: CheckWorld, host: str, status: int) -> None:
    assert world.leashed(connect(host, world.sign_in(CONNECT_APP, "token"))).answer.status == status


def test_a_service_is_no_web_site(world: CheckWorld) -> None:
    for sent in (request(host=LEDGER_HOST), request(b"/x", "CONNECT", host=LEDGER_HOST)):
        assert world.settle(sent).status == world.leashed(sent).answer.status == 400


def test_connect_that_reaches_the_plain_check_is_refused(world: CheckWorld) -> None:
    answer = world.settle(connect(token=world.sign_in(CONNECT_APP, "token")))
    assert answer.status == 403 and world.journal.decisions[-1].code == Code.STREAM_REFUSED


def test_a_stale_replica_opens_no_service(world: CheckWorld) -> None:
    token = world.sign_in(CONNECT_APP, "token")
    world.engine.deny(Code.STATE_STALE)
    assert world.leashed(connect(token=token)).answer.status == 503


def test_a_limit_is_a_recorded_denial(world: CheckWorld) -> None:
    opening = world.leashed(connect(token=world.sign_in(CONNECT_APP, "token"))).opening
    assert opening is not None
    reply = world.check.limited(opening, "per_subject")
    assert reply.answer.status == 429 and b"500" in reply.answer.body
    world.check.settle(reply)
    assert [record.code for record in world.journal.decisions] == ["STREAM_LIMIT"]
    world.journal.fail(RuntimeError("a bug"))
    assert world.check.settle(world.check.limited(opening, "per_subject")).status == 503
    assert world.check.limited(opening, "no such limit").answer.status == 503


def test_an_app_session_that_ends_first_is_the_deadline(world: CheckWorld) -> None:
    token = world.mint(world.replica.seq + 1)
    soon = world.clock.now() + 60
    world.commit(AppSessionFact(world.hash_of(token), "s1", CONNECT_APP, soon, "token"))
    opening = world.leashed(connect(token=token)).opening
    assert opening is not None and opening.case.seat is not None
    assert opening.case.seat.expires_at == soon

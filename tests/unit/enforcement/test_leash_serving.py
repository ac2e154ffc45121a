"""The leash over its real socket, with a client in Envoy's place."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from check_world import PORT, UNAVAILABLE, connect, request
from leash_rig import OPERATOR, LeashWorld, asking_why, drive, http_headers, websocket
from prometheus_client import CollectorRegistry, generate_latest

from limen.administrator.streams import Cause, Ending
from limen.core.changes import AppSessionFact
from limen.core.decision import Code
from limen.enforcement.leash.metrics import LeashCollector


def test_a_websocket_is_allowed_held_and_finishes(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(websocket(world.token))
        assert call.allowed and len(world.streams) == 1
        assert call.set_headers["x-limen-assertion"] == b"assertion-1"
        assert {"cookie", "x-limen-token", "x-limen-peer"} <= call.removed
        (stream,) = world.streams.all()
        assert (stream.id, stream.protocol, stream.app) == (call.id, "websocket", "wiki")
        assert world.journal.decisions[0].id == call.id
        heard = await call.app_answers(101)
        assert heard.WhichOneof("response") == "response_headers"
        assert await call.finish() is grpc.StatusCode.OK
        await world.until(lambda: len(world.streams) == 0)
        assert [ending.cause for _, ending in world.ended] == [Cause.FINISHED]

    drive(tmp_path, story)


def test_a_live_stream_knows_all_that_it_was_allowed_for(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(connect(token=world.connect_token))
        (stream,) = world.streams.all()
        question, facts = world.engine.asked[-1]
        assert stream.question == question and question.action == "connect"
        assert str(question.resource) == 'Service::"ledger-db"' and question.path == ""
        assert (stream.app, stream.token_kind, stream.protocol) == ("@connect", "token", "connect")
        assert stream.token_hash == world.hash_of(world.connect_token)
        assert {entity.ref for entity in facts.resource.entities} <= set(stream.reads)
        assert facts.subject is not None
        assert {entity.ref for entity in facts.subject.entities} <= set(stream.reads)
        assert stream.staleness_max_s == 300.0
        assert stream.deadline_at == question.at + 3600 and stream.max_at == question.at + 43_200
        assert not any(name == "x-limen-assertion" for name in call.set_headers)
        call.abandon()
        await world.until(lambda: len(world.streams) == 0)

    drive(tmp_path, story)


def test_one_stream_is_cut_and_its_sibling_lives(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        calls = [await world.envoy.open(connect(token=world.connect_token)) for _ in range(2)]
        assert world.streams.end(calls[0].id, OPERATOR)
        assert await calls[0].ended() is grpc.StatusCode.ABORTED
        heard = await calls[1].app_answers()
        assert heard.WhichOneof("response") == "response_headers" and not calls[1].over
        assert world.counts.ended[Cause.OPERATOR] == 1 and sum(world.counts.buckets) == 1

    drive(tmp_path, story)


def test_a_stream_that_is_ended_before_its_answer_left_never_opens(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        world.streams.subscribe(
            lambda stream: world.streams.end(stream.id, OPERATOR) and None, lambda _: None
        )
        call = await world.envoy.open(connect(token=world.connect_token))
        assert not call.allowed and await call.ended() is grpc.StatusCode.ABORTED
        assert len(world.streams) == 0

    drive(tmp_path, story)


def test_an_order_that_comes_while_an_answer_is_written_is_carried_out(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        streams = 90  # below the limit of a session
        calls = [world.envoy.begin() for _ in range(streams)]
        sent = http_headers(connect(token=world.connect_token))
        for call in calls:
            await call.say(request_headers=sent)
        ended = 0
        while ended < streams:  # each as soon as it is entered: its answer is on its way
            ended += world.leash.end_all(OPERATOR)
            await asyncio.sleep(0)
        for call in calls:
            await call.hear()
            assert await call.ended() is grpc.StatusCode.ABORTED

    drive(tmp_path, story)


def test_trailers_are_answered(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(request("/rpc", token=world.token, content_type="application/grpc"))
        await call.app_answers()
        assert (await call.app_ends()).WhichOneof("response") == "response_trailers"
        assert await call.finish() is grpc.StatusCode.OK

    drive(tmp_path, story)


@pytest.mark.parametrize(
    ("headers", "protocol"),
    [
        ({"accept": "text/event-stream"}, "sse"),
        ({"accept": "*/*"}, "http"),
        ({"content_type": "application/grpc+proto"}, "grpc"),
        ({"upgrade": "WebSocket", "origin": f"https://wiki.limen.test{PORT}"}, "websocket"),
    ],
)
def test_the_protocol_is_what_the_request_asks_for(
    tmp_path: Path, headers: dict[str, str], protocol: str
) -> None:
    async def story(world: LeashWorld) -> None:
        await world.envoy.open(request("/x", token=world.token, **headers))
        assert world.streams.all()[0].protocol == protocol

    drive(tmp_path, story)


def test_a_websocket_over_http2_gets_a_key_of_its_own(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        version = {"x_limen_http": "HTTP/2"}
        calls = [await world.envoy.open(websocket(world.token, **version)) for _ in range(2)]
        keys = {call.set_headers["sec-websocket-key"] for call in calls}
        assert len(keys) == 2 and all(len(key) == 24 for key in keys)
        for sent in (
            websocket(world.token, x_limen_http="HTTP/1.1"),
            request("/x", token=world.token, accept="text/event-stream", **version),
        ):
            assert "sec-websocket-key" not in (await world.envoy.open(sent)).set_headers

    drive(tmp_path, story)


# --- denials -------------------------------------------------------------------------------------


def test_a_denial_has_the_answer_of_the_plain_check(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(websocket(None))
        assert call.status == 401 and json.loads(call.body)["code"] == "NO_SESSION"
        assert call.set_headers["content-type"] == b"application/problem+json"
        assert call.answer.immediate_response.details == "limen_leash_denied"
        assert await call.ended() is grpc.StatusCode.OK and len(world.streams) == 0
        assert world.tally.answers == {"no_session": 1}

    drive(tmp_path, story)


def test_a_repeated_header_of_a_denial_is_kept_twice(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(request("/x", accept="text/event-stream"))
        challenges = [(v, a) for k, v, a in call.all_set if k == "www-authenticate"]
        assert [action for _, action in challenges] == [2, 0]  # OVERWRITE, then APPEND

    drive(tmp_path, story)


def test_a_grpc_client_gets_a_status_and_a_sentence(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        world.engine.deny(Code.QUARANTINED)
        call = await world.envoy.open(request("/rpc", token=world.token, content_type="application/grpc"))
        immediate = call.answer.immediate_response
        assert immediate.grpc_status.status == 7 and b"quarantined" in immediate.body
        assert "content-type" not in call.set_headers

    drive(tmp_path, story)


def test_a_denial_by_policy_is_explained_first(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        world.engine.deny()
        call = await world.envoy.open(connect(token=world.connect_token))
        assert call.status == 403 and "login_url" not in json.loads(call.body)
        assert world.journal.decisions[0].code == Code.FORBIDDEN

    drive(tmp_path, story)


def test_a_token_that_the_replica_has_not_seen_is_asked_of_control_once(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        token = world.mint(world.replica.seq + 1)
        fact = AppSessionFact(world.hash_of(token), "s1", "@connect", world.clock.now() + 60, "token")
        world.control.before_answer = lambda: world.commit(fact)
        call = await world.envoy.open(connect(token=token))
        assert call.allowed and world.control.asked == 1
        world.control.fail(UNAVAILABLE)
        late = await world.envoy.open(connect(token=world.mint(world.replica.seq + 1)))
        assert late.status == 503

    drive(tmp_path, story)


@pytest.mark.parametrize(("limit", "more"), [("per_session", 2), ("per_subject", 3), ("per_resource", 4)])
def test_a_limit_is_named_and_recorded(tmp_path: Path, limit: str, more: int) -> None:
    async def story(world: LeashWorld) -> None:
        narrow = "narrow.limen.test:443"
        tokens = _tokens(world, limit, more + 1)
        opened = [await world.envoy.open(connect(narrow, token)) for token in tokens[:-1]]
        assert all(call.allowed for call in opened)
        call = await world.envoy.open(connect(narrow, tokens[-1]))
        told = json.loads(call.body)
        assert call.status == 429 and (told["limit"], told["most"]) == (limit, more)
        assert f"({limit})" in told["detail"]
        record = world.journal.decisions[-1]
        assert (record.code, record.verdict, record.id) == ("STREAM_LIMIT", "deny", told["decision_id"])
        opened[0].abandon()
        await world.until(lambda: len(world.streams) == more - 1)
        assert (await world.envoy.open(connect(narrow, tokens[0]))).allowed

    drive(tmp_path, story)


def _tokens(world: LeashWorld, limit: str, count: int) -> list[str]:
    """Give `count` connections tokens such that `limit` is the first one met."""
    if limit == "per_session":
        return [world.connect_token] * count
    people = ["ada"] * count if limit == "per_subject" else [f"p{n}" for n in range(count)]
    return [world.sign_in_other(person, f"{limit}-{n}") for n, person in enumerate(people)]


# --- failures ------------------------------------------------------------------------------------


def test_what_cannot_be_recorded_does_not_open(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        await world.envoy.open(connect(token=world.connect_token))
        world.journal.fail(UNAVAILABLE, after=2)  # bundle, inputs
        call = await world.envoy.open(connect(token=world.connect_token))
        assert call.status == 503 and len(world.streams) == 1
        assert world.tally.answers == {"allow": 1, "outage": 1}

    drive(tmp_path, story)


@pytest.mark.parametrize("part", ["engine", "signer", "journal"])
def test_whatever_fails_is_an_outage(tmp_path: Path, part: str) -> None:
    async def story(world: LeashWorld) -> None:
        getattr(world, part).fail(RuntimeError("a bug"))
        assert (await world.envoy.open(websocket(world.token))).status == 503
        assert len(world.streams) == 0

    drive(tmp_path, story)


@pytest.mark.parametrize("raw", [b"\xff\xff", b""])
def test_rubbish_from_envoy_is_an_outage(tmp_path: Path, raw: bytes) -> None:
    async def story(world: LeashWorld) -> None:
        call = world.envoy.begin()
        await call.say_raw(raw)
        await call.hear()
        assert call.status == 503

    drive(tmp_path, story)


def test_a_message_out_of_turn_ends_the_stream(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        first = world.envoy.begin()
        await first.app_answers()
        assert first.status == 503
        call = await world.envoy.open(websocket(world.token))
        await call.say(request_headers={})
        assert await call.ended() is grpc.StatusCode.UNKNOWN
        await world.until(lambda: len(world.streams) == 0)

    drive(tmp_path, story)


def test_a_client_that_goes_before_the_answer_leaves_nothing(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = world.envoy.begin()
        call.abandon()
        assert await call.ended() is grpc.StatusCode.CANCELLED
        silent = world.envoy.begin()
        assert await silent.finish() is grpc.StatusCode.OK
        assert world.journal.decisions == [] and len(world.streams) == 0

    drive(tmp_path, story)


# --- stopping ------------------------------------------------------------------------------------


def test_a_retired_leash_keeps_what_it_holds_and_takes_no_more(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(connect(token=world.connect_token))
        world.server.retire()
        assert await (world.envoy.begin()).finish() is grpc.StatusCode.UNAVAILABLE
        assert not call.over
        empty = asyncio.create_task(world.server.empty())
        world.streams.end(call.id, OPERATOR)
        await asyncio.wait_for(empty, 5)

    drive(tmp_path, story)


def test_closing_ends_every_stream_and_says_why(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        calls = [await world.envoy.open(connect(token=world.connect_token)) for _ in range(5)]
        await world.server.close()
        assert [await call.ended() for call in calls] == [grpc.StatusCode.ABORTED] * 5
        assert [ending.cause for _, ending in world.ended] == [Cause.STOPPING] * 5

    drive(tmp_path, story)


# --- why -----------------------------------------------------------------------------------------


def test_the_client_that_had_a_stream_is_told_why_it_ended(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        call = await world.envoy.open(connect(token=world.connect_token))
        live = await world.envoy.open(asking_why(call.id, world.connect_token))
        assert live.status == 404
        world.streams.end(call.id, Ending(Cause.DENIED, "Your account is suspended.", decision_id="d1"))
        await call.ended()
        told = await world.envoy.open(asking_why(call.id, world.connect_token))
        assert told.status == 200 and json.loads(told.body) == {
            "id": call.id,
            "cause": "denied",
            "sentence": "Your account is suspended.",
            "at": "2027-01-15T08:00:00.000+00:00",
            "decision_id": "d1",
        }
        assert len(world.journal.decisions) == 1

    drive(tmp_path, story)


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_tell_what_is_held_opened_and_ended(tmp_path: Path) -> None:
    async def story(world: LeashWorld) -> None:
        registry = CollectorRegistry()
        registry.register(LeashCollector(world.counts, lambda: len(world.streams)))
        first = await world.envoy.open(connect(token=world.connect_token))
        await world.envoy.open(websocket(world.token))
        world.streams.end(first.id, OPERATOR)
        await first.ended()
        await world.until(lambda: sum(world.counts.buckets) == 1)
        text = generate_latest(registry).decode()
        assert "limen_leash_streams 1.0" in text
        assert 'limen_leash_opened_total{protocol="connect"} 1.0' in text
        assert 'limen_leash_ended_total{cause="operator"} 1.0' in text
        assert "limen_leash_close_seconds_count 1.0" in text

    drive(tmp_path, story)

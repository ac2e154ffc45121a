"""Explanations: found by a process of their own, kept for a moment, and never a reason to hang."""

import asyncio
import io
import signal
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import pytest
import uvloop

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import BundleFact, GroupFact, PersonFact, Snapshot
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Code, Decision, Facts, Network, SessionFacts
from limen.core.ids import DecisionId, EntityRef
from limen.enforcement.check import explanations
from limen.enforcement.check.explain_wire import (
    PREFIX,
    Explained,
    Question,
    parse_explained,
    parse_question,
    render_frame,
)
from limen.enforcement.check.explain_worker import Worker, run
from limen.enforcement.check.explanations import Explanations
from limen.engine.decide import decide

FILES = {
    "limen.yaml": """\
domain: limen.test
apps:
  wiki: {upstream: "http://127.0.0.1:9001", allow: [group:staff]}
""",
    "policies/guardrails/mfa.cedar": """\
@id("mfa")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
""",
}
AT = 1_800_000_000.0
ADA, WIKI = EntityRef("User", "ada"), EntityRef("App", "wiki")


class Denial(NamedTuple):
    replica: Replica
    request: AccessRequest
    facts: Facts
    decision: Decision


def denial() -> Denial:
    """Ada, without a second factor, at the wiki."""
    replica = Replica(load_bundle)
    bundle_id = load_bundle(BundleFact("active", "", FILES)).id
    rows = (
        BundleFact("active", bundle_id, FILES),
        GroupFact("staff"),
        PersonFact(id="ada", name="Ada", email="", groups=("staff",)),
    )
    replica.apply_snapshot(Snapshot("e", 1, tuple(enumerate(rows))))
    session = SessionFacts("s1", 1, False, ("password",), AT, AT, AT + 100)
    request = AccessRequest(DecisionId("d"), AT, ADA, "read", WIKI, "s1", ip="203.0.113.7")
    facts = replica.facts(ADA, WIKI, at=AT, session=session, network=Network("203.0.113.7"))
    assert facts is not None and replica.active is not None
    decision = decide(request, facts, replica.active.policies)
    assert decision.code is Code.FORBIDDEN
    return Denial(replica, request, facts, decision)


def drive(story: Callable[[Explanations, Denial], Awaitable[None]]) -> None:
    async def main() -> None:
        given = denial()
        found = Explanations(given.replica, FakeClock(AT))
        try:
            await asyncio.wait_for(story(found, given), 60)
        finally:
            await found.close()

    uvloop.run(main())


def test_a_denial_is_explained_by_the_process_and_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "FIRST_TIMEOUT_S", 30.0)

    async def story(found: Explanations, given: Denial) -> None:
        _, request, facts, decision = given
        assert found.cached(request, facts, decision) is None
        both = await asyncio.gather(*(found.find(request, facts, decision) for _ in range(2)))
        assert both[0] is both[1] and both[0] is not None
        assert both[0].reasons == ("Sign in with a second factor.",)
        assert [remedy.id for remedy in both[0].remedies] == ["second-factor"]
        assert found.cached(request, facts, decision) is both[0]
        later = msgspec.structs.replace(request, at=AT + explanations.KEEP_S)
        assert found.cached(later, facts, decision) is None
        other = msgspec.structs.replace(facts, risk=90)
        assert found.cached(request, other, decision) is None

    drive(story)


def test_a_process_that_is_too_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "FIRST_TIMEOUT_S", 0.0)

    async def story(found: Explanations, given: Denial) -> None:
        assert await found.find(given.request, given.facts, given.decision) is None

    drive(story)


def test_a_process_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "FIRST_TIMEOUT_S", 30.0)
    monkeypatch.setattr(explanations, "KEEP_S", 0.0)

    async def story(found: Explanations, given: Denial) -> None:
        _, request, facts, decision = given
        assert await found.find(request, facts, decision) is not None
        assert found._worker is not None
        process = await found._worker._starting
        process.kill()
        await found._worker._reading
        assert await found.find(request, facts, decision) is not None

    drive(story)


def test_a_process_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "FIRST_TIMEOUT_S", 30.0)
    monkeypatch.setattr(explanations, "EXPLAIN_TIMEOUT_S", 0.05)
    monkeypatch.setattr(explanations, "KEEP_S", 0.0)

    async def story(found: Explanations, given: Denial) -> None:
        _, request, facts, decision = given
        assert await found.find(request, facts, decision) is not None
        assert found._worker is not None
        hung = await found._worker._starting
        hung.send_signal(signal.SIGSTOP)
        for _ in range(explanations.LATE_MAX):
            assert await found.find(request, facts, decision) is None
        assert hung.returncode == -signal.SIGKILL
        assert await found.find(request, facts, decision) is not None

    drive(story)


def test_a_crowd_of_denials_does_not_queue_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "WAITING_MAX", 0)

    async def story(found: Explanations, given: Denial) -> None:
        assert await found.find(given.request, given.facts, given.decision) is None
        assert found._worker is None

    drive(story)


def test_without_a_bundle_there_is_nothing_to_explain() -> None:
    async def story(found: Explanations, given: Denial) -> None:
        given.replica.apply_snapshot(Snapshot("e", 2, ()))
        assert await found.find(given.request, given.facts, given.decision) is None

    drive(story)


def test_the_worker_answers_until_its_input_ends() -> None:
    given = denial()
    bundle = given.replica.bundle()
    assert bundle is not None
    questions = [
        Question(1, given.request, given.facts, bundle.bundle_id, bundle.files),
        Question(2, given.request, given.facts, bundle.bundle_id),
        Question(3, given.request, given.facts, "another bundle"),
        Question(4, given.request, given.facts, "broken", {"limen.yaml": "{"}),
        Question(5, given.request, given.facts, bundle.bundle_id),
    ]
    output = io.BytesIO()
    run(io.BytesIO(b"".join(map(render_frame, questions)) + b"\0\0"), output)
    answers, data = [], output.getvalue()
    while data:
        (size,) = PREFIX.unpack(data[: PREFIX.size])
        answers.append(parse_explained(data[PREFIX.size : PREFIX.size + size]))
        data = data[PREFIX.size + size :]
    assert [answer.n for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.explanation is not None for answer in answers] == [True, True, False, False, True]


def test_questions_cross_the_pipe_unchanged() -> None:
    given = denial()
    question = Question(1, given.request, given.facts, "b", {"a": "b"})
    assert parse_question(render_frame(question)[PREFIX.size :]) == question
    assert Worker().answer(question).n == 1
    assert parse_explained(render_frame(Explained(7))[PREFIX.size :]) == Explained(7)

"""Laws C1 (recorded first), C2 (fails closed), C3 (rubbish is free) and I1 (nothing forged) of the check."""

from collections.abc import Callable, Iterator

import pytest
from check_world import (
    PASSKEY,
    UNAVAILABLE,
    CheckWorld,
    Faults,
    request,
    upstream_headers,
)
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from limen.core.changes import PersonFact
from limen.core.record import DecisionRecord
from limen.enforcement.check.case import AskControl, Pending, Reply
from limen.enforcement.check.request import CheckRequest


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Failures are made here by the hundred; their tracebacks are slow and tell nothing."""
    with capture_logs():
        yield


HEADER_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
NAMES = st.sampled_from(
    (
        "accept",
        "authorization",
        "cookie",
        "origin",
        "referer",
        "sec-fetch-mode",
        "sec-fetch-site",
        "upgrade",
        "x-limen-token",
        "x-limen-peer",
        "x-limen-assertion",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-anything",
    )
)
VALUES = st.one_of(
    HEADER_TEXT,
    st.sampled_from(
        (
            "TOKEN",
            "__Host-limen=TOKEN",
            "a=1; __Host-limen=TOKEN; b=2",
            "a=1, __Host-limen=TOKEN",
            "Bearer TOKEN",
            "bearer\tTOKEN",
            "Digest x=TOKEN",
            "Bearer API",
            "navigate",
            "same-site",
            "https://wiki.limen.test:8443",
            "text/html",
            "websocket",
        )
    ),
)
HOSTS = st.sampled_from(
    ("wiki.limen.test:8443", "old.limen.test", "basic.limen.test", "WIKI.limen.test:8443", "x.limen.test", "")
)
TARGETS = st.one_of(
    st.sampled_from(("/", "/healthz", "/admin/x", "/open/x", "/a%2Fb", "/Admin", "/a;b", "//", "/?q=1")),
    st.binary(max_size=30),
)
METHODS = st.sampled_from(("GET", "HEAD", "POST", "OPTIONS", "DELETE", "CONNECT", "BREW"))


@st.composite
def requests(draw: st.DrawFn) -> CheckRequest:
    headers = draw(st.dictionaries(NAMES, VALUES, max_size=6))
    headers.setdefault("x-limen-peer", "203.0.113.7")
    headers["host"] = draw(HOSTS)
    target = draw(TARGETS)
    target = target.encode() if isinstance(target, str) else target
    return CheckRequest(draw(METHODS), target, {k.encode(): v.encode("latin-1") for k, v in headers.items()})


def with_tokens(world: CheckWorld, asked: CheckRequest) -> CheckRequest:
    """Put real tokens in the place of the words that stand for them."""
    app = "old" if b"old" in asked.headers[b"host"] else "basic" if b"basic" in asked.headers[b"host"] else ""
    token = world.sign_in(app) if app else world.token
    replaced = {
        name: value.replace(b"TOKEN", token.encode()).replace(b"API", world.api_token.encode())
        for name, value in asked.headers.items()
    }
    return CheckRequest(asked.method, asked.target, replaced)


@given(requests())
def test_c1_every_answer_that_allows_has_its_record_first(asked: CheckRequest) -> None:
    world = CheckWorld()
    answer = world.settle(with_tokens(world, asked))
    if answer.allows:
        ids = [value for name, value in answer.headers if name == "x-limen-decision-id"]
        assert [record.id for record in world.journal.decisions] == ids
        assert world.journal.decisions[0].verdict == "allow"
        assert isinstance(world.journal.records[-1], DecisionRecord)


@given(requests())
def test_i1_no_identity_from_outside_reaches_an_app(asked: CheckRequest) -> None:
    world = CheckWorld()
    world.commit(PersonFact(id="ada", name="Ada", email="", groups=()))
    asked = with_tokens(world, asked)
    answer = world.settle(asked)
    if not answer.allows:
        return
    sent = {name.decode(): value.decode("latin-1") for name, value in asked.headers.items()}
    given_names = {name: value for name, value in answer.headers if name != "cookie"}
    got = upstream_headers(sent, answer)
    forgeable = ["x-limen-assertion", "x-limen-token", "x-limen-peer"]
    if b"old" in asked.headers[b"host"]:
        forgeable += ["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups"]
    for name in forgeable:
        assert name not in got or got[name] == given_names[name]
    assert "__Host-limen" not in got.get("cookie", "")
    assert world.token not in got.get("authorization", "")
    assert world.api_token not in got.get("authorization", "")


FAULTS: list[Callable[[CheckWorld], Faults]] = [
    lambda world: world.engine,
    lambda world: world.journal,
    lambda world: world.signer,
    lambda world: world.pages,
    lambda world: world.explainer,
]
ERRORS = [UNAVAILABLE, RuntimeError("a bug"), OSError("broken"), KeyError("x"), AssertionError("never")]


@pytest.mark.parametrize("part", range(len(FAULTS)))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("deny", [False, True])
def test_c2_a_part_that_fails_gives_503_and_never_an_allow(
    part: int, error: Exception, after: int, deny: bool
) -> None:
    world = CheckWorld()
    if deny:
        world.engine.deny()
        world.explainer.known = True
        world.explainer.cures(PASSKEY)
    cookie = f"__Host-limen={world.token}; __Host-limen-cured=passkey"
    healthy = world.settle(request("/x", navigate=True, cookie=cookie)).status
    assert healthy == (403 if deny else 200)
    world.clock.advance(60)  # so that the assertion is signed again
    broken = FAULTS[part](world)
    broken.fail(error, after)
    written = len(world.journal.decisions)
    answer = world.settle(request("/y", navigate=True, cookie=cookie))
    faulted = not broken._queue
    assert answer.status == (503 if faulted else healthy)
    if answer.status == 503:
        assert len(world.journal.decisions) == written
    broken._queue.clear()
    assert world.settle(request("/z", navigate=True, cookie=cookie)).status == healthy


@pytest.mark.parametrize("lookup", ["closure", "grants", "age_s", "app_session", "session", "person"])
def test_c2_a_replica_that_fails_gives_503(lookup: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = CheckWorld()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.replica, lookup, fail)
    assert world.settle(request(token=world.token)).status == 503


@given(st.text(max_size=200))
def test_c3_rubbish_never_reaches_control(text: str) -> None:
    world = CheckWorld()
    raw = text.encode("utf-8", "surrogatepass")
    for name in (b"x-limen-token", b"cookie"):
        value = raw if name == b"x-limen-token" else b"__Host-limen=" + raw
        asked = CheckRequest("GET", b"/", {b"host": b"wiki.limen.test", b"x-limen-peer": b"::1", name: value})
        outcome = world.ask(asked)
        assert not isinstance(outcome, AskControl | Pending)
        assert isinstance(outcome, Reply) and outcome.answer.status in (400, 401)


@given(requests())
def test_no_answer_can_split_a_response(asked: CheckRequest) -> None:
    world = CheckWorld()
    world.engine.deny()
    world.explainer.cures(PASSKEY)
    for name, value in world.settle(with_tokens(world, asked)).headers:
        assert not {"\r", "\n", "\0"} & set(name + value)

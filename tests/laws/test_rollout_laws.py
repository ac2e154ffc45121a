"""Laws M1 (no assertion) and M2 (hard stops) of rollout modes, through the real check and re-assessment."""

from collections.abc import Iterator

import msgspec
import pytest
from check_world import APPS, CATALOGUE, SERVICES, CheckWorld, request, upstream_headers
from hypothesis import given
from hypothesis import strategies as st
from reassess_world import FACTOR, PERMITS, YAML, ReassessWorld, bundle_fact
from structlog.testing import capture_logs

from limen.core.catalogue import Catalogue
from limen.core.changes import BundleFact, PersonFact
from limen.core.decision import Code
from limen.core.entities import Status
from limen.core.ids import EntityRef
from limen.core.rollout import SOFT_CODES, STRICTNESS, Mode, Rollout, Stage
from limen.enforcement.check.case import Pending, Reply
from limen.enforcement.check.request import CheckRequest

IDENTITY = (
    "x-limen-assertion",
    "authorization",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
)

stages = st.builds(Stage, st.sampled_from(list(Mode)), until=st.sampled_from(("", "2026-12-31")))
rollouts = st.builds(
    Rollout,
    stages,
    st.booleans(),
    st.dictionaries(st.sampled_from(("hr", "staff", "dba")), stages, max_size=3),
)
codes = st.sampled_from([code for code in Code if code not in (Code.PERMITTED, Code.PUBLIC)])
hosts = st.sampled_from(("wiki", "old", "basic", "ledger-db"))
methods = st.sampled_from(("GET", "HEAD", "POST", "CONNECT"))


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


def staged(rollout: Rollout) -> Catalogue:
    """The catalogue with one rollout everywhere."""
    apps = {name: msgspec.structs.replace(app, rollout=rollout) for name, app in APPS.items()}
    services = {name: msgspec.structs.replace(one, rollout=rollout) for name, one in SERVICES.items()}
    return msgspec.structs.replace(CATALOGUE, apps=apps, services=services)


def settled(world: CheckWorld, asked: CheckRequest, leashed: bool) -> Reply:
    outcome = world.check.answer(asked, leashed=leashed)
    if isinstance(outcome, Pending):
        outcome = world.check.explained(outcome, None)
    assert isinstance(outcome, Reply)
    return msgspec.structs.replace(outcome, answer=world.check.settle(outcome))


@given(rollouts, hosts, methods, st.booleans(), st.booleans(), st.sampled_from(("", "rubbish", "Bearer x")))
def test_m1_no_mode_asserts_what_was_not_authenticated(
    rollout: Rollout, name: str, method: str, navigate: bool, leashed: bool, token: str
) -> None:
    world = CheckWorld(staged(rollout))
    sent = {"host": f"{name}.limen.test:443", "x-forwarded-user": "root", "x-limen-assertion": "forged"}
    asked = request(
        "" if method == "CONNECT" else "/",
        method,
        host=sent["host"],
        navigate=navigate,
        token=token or None,
        x_forwarded_user="root",
        x_limen_assertion="forged",
    )
    reply = settled(world, asked, leashed)
    allows = reply.answer.allows
    if name == "ledger-db":
        assert not allows
        return
    lenient = rollout.stage.mode is not Mode.ENFORCE
    unasked = not rollout.sign_in or not navigate
    assert allows == (lenient and unasked and method != "CONNECT")
    if not allows:
        return
    reached = upstream_headers(sent, reply.answer)
    own = IDENTITY if name == "old" else IDENTITY[:2]
    assert not [header for header in own if header in reached]
    assert world.signer.signed == []
    [record] = world.journal.decisions
    assert (record.verdict, record.would_be, record.code) == ("allow", "deny", Code.NO_SESSION)
    assert (record.subject, record.session, record.mode) == (None, None, rollout.stage.mode)
    told = [value for header, value in reply.answer.headers if header == "limen-warning"]
    assert bool(told) == (rollout.stage.mode is Mode.WARN)
    assert (reply.opening is not None) == leashed


@given(rollouts, codes, hosts, st.booleans(), st.booleans(), st.booleans())
def test_m2_only_judgements_of_policies_are_let_through(
    rollout: Rollout, code: Code, name: str, navigate: bool, leashed: bool, quiet_cookie: bool
) -> None:
    world = CheckWorld(staged(rollout))
    world.engine.deny(code)
    kind = "token" if name == "ledger-db" else "cookie"
    token = world.sign_in("@connect" if name == "ledger-db" else name, kind)
    if name == "ledger-db":
        asked = request(b"", "CONNECT", host="ledger-db.limen.test", authorization=f"Bearer {token}")
        leashed = True
    else:
        asked = request("/", host=f"{name}.limen.test:8443", token=token, navigate=navigate)
    reply = settled(world, asked, leashed)
    groups = frozenset({EntityRef("Group", "hr"), EntityRef("Group", "staff")})
    mode = rollout.stage_of(groups).mode
    soft = code in SOFT_CODES - {Code.NO_SESSION} and mode is not Mode.ENFORCE
    page = soft and mode is Mode.WARN and navigate and name != "ledger-db"
    assert reply.answer.allows == (soft and not page)
    assert (reply.answer.status == 203) == page
    [record] = world.journal.decisions
    assert record.code == code
    assert record.verdict == ("allow" if soft else "deny")
    assert record.would_be == ("deny" if soft else None)
    assert record.mode == mode
    assert record.policies == ("f",) and record.subject == 'User::"ada"'
    assert (reply.opening is not None) == (leashed and reply.answer.allows)
    if reply.answer.allows and name != "ledger-db":  # who is signed in is asserted as such
        assert len(world.signer.signed) == 1


@given(rollouts, st.sampled_from(("stale", "quarantined", "cross-app", "upgrade", "broken")), st.booleans())
def test_m2_what_stops_everybody_stops_strangers_too(rollout: Rollout, stop: str, leashed: bool) -> None:
    world = CheckWorld(staged(rollout))
    asked = request("/")
    if stop == "stale":
        world.clock.advance(301)
    elif stop == "quarantined":  # by its session: the engine says so, the mode does not matter
        world.engine.deny(Code.QUARANTINED)
        asked = request("/", token=world.token)
    elif stop == "cross-app":
        asked = request("/", "POST", origin="https://evil.example")
    elif stop == "upgrade":
        asked = request("/", upgrade="spdy/3")
    else:
        world.journal.fail(RuntimeError("full"))
    assert not settled(world, asked, leashed).answer.allows


@given(rollouts, st.frozensets(st.sampled_from(("hr", "staff", "dba", "other"))))
def test_the_strictest_stage_of_one_s_groups_counts(rollout: Rollout, names: frozenset[str]) -> None:
    found = rollout.stage_of(frozenset(EntityRef("Group", name) for name in names))
    own = [stage for name, stage in rollout.groups.items() if name in names]
    assert found in own if own else found == rollout.stage
    assert all(STRICTNESS[found.mode] >= STRICTNESS[stage.mode] for stage in own)


# --- live streams -----------------------------------------------------------------------------------------

CLOSED = bundle_fact(permits="")


def staged_bundle(mode: str, permits: str = "", *, groups: str = "{}") -> BundleFact:
    said = f"    mode: {{stage: {mode}, groups: {groups}}}\n"
    yaml = YAML.replace("  wiki:\n", "  wiki:\n" + said)
    return bundle_fact(yaml=yaml, permits=permits, guardrails=FACTOR)


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_a_stream_that_would_be_denied_is_recorded_once_and_goes_on(mode: str) -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(staged_bundle(mode))
    for _ in range(3):
        world.settle()
        world.commit(PersonFact(id="ada", name="A.", email="", groups=("dba", "staff")))
        world.settle()
    assert world.is_live(stream)
    [record] = world.journal.decisions
    assert (record.verdict, record.would_be, record.mode, record.code) == ("allow", "deny", mode, "NO_PERMIT")
    assert (record.point, record.subject, record.id != stream.id) == ("reassess", 'User::"ada"', True)
    world.commit(staged_bundle(mode, PERMITS))
    world.settle()
    world.commit(staged_bundle(mode))
    world.settle()
    assert len(world.journal.decisions) == 2  # it flipped twice


def test_a_bundle_that_enforces_closes_what_was_observed() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(staged_bundle("observe"))
    world.settle()
    assert world.is_live(stream)
    world.commit(CLOSED)
    world.settle()
    assert not world.is_live(stream)
    assert [record.verdict for record in world.journal.decisions] == ["allow", "deny"]


def test_who_leaves_the_observing_group_is_closed() -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(staged_bundle("enforce", groups="{staff: observe}"))
    world.settle()
    assert world.is_live(stream)
    world.commit(PersonFact(id="ada", name="Ada", email="", groups=("dba",)))
    world.settle()
    assert not world.is_live(stream)


@pytest.mark.parametrize("stop", ["quarantined", "suspended", "expired", "session", "stale"])
def test_m2_what_is_no_judgement_closes_streams_in_every_mode(stop: str) -> None:
    world = ReassessWorld()
    stream = world.open()
    world.commit(staged_bundle("observe"))
    world.settle()
    ada = PersonFact(id="ada", name="Ada", email="", groups=("dba", "staff"))
    if stop == "quarantined":
        world.commit(msgspec.structs.replace(ada, quarantined=True))
    elif stop == "suspended":
        world.commit(msgspec.structs.replace(ada, status=Status.SUSPENDED))
    elif stop == "expired":  # its deadline is known though it is denied
        world.commit(msgspec.structs.replace(ada, expires_at=world.clock.now() + 60))
        world.settle()
        assert world.is_live(stream)
        world.clock.advance(60)
        world.confirm()
    elif stop == "session":
        world.commit(("session", "s1"))
    else:
        world.clock.advance(301)
    world.settle()
    assert not world.is_live(stream)


def test_a_stranger_s_stream_lives_while_its_app_is_observed_and_is_recorded_once() -> None:
    world = ReassessWorld()
    world.commit(staged_bundle("observe"))
    stream = world.open(person=None, would_be="deny")  # as it was recorded when it was opened
    world.settle()
    assert world.is_live(stream)
    assert world.journal.decisions == []
    world.commit(CLOSED)
    world.settle()
    assert not world.is_live(stream)
    assert [record.code for record in world.journal.decisions] == ["NO_SESSION"]

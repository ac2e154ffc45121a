"""Laws of sign-in and sessions, on tables, buckets, paths, and a real store."""

import tempfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_world import World

from limen.administrator import enrolment_life, session_life, sign_in_life
from limen.administrator.session_life import SessionCommand, SessionEvent, SessionState
from limen.administrator.session_values import Browser, Proof
from limen.administrator.sign_in_life import SignInCommand, SignInState
from limen.console.destinations import Target, parse_flow, parse_path, render_flow
from limen.core.catalogue import AppConfig, Catalogue
from limen.core.errors import Conflict, Invalid
from limen.core.secret import Secret
from limen.information.identity import recovery, totp
from limen.information.identity.assurance import assess_methods
from limen.information.identity.throttle import Limit, Pass, Wait, take

# --- tables ----------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(SessionEvent), max_size=12))
def test_s1_an_ended_session_never_opens_again(events: list[SessionEvent]) -> None:
    state, ended = SessionState.NEW, False
    for event in events:
        try:
            state, commands = session_life.step(state, event)
        except Conflict:
            continue
        if ended:
            assert state is SessionState.ENDED and commands == ()
        ended = ended or state is SessionState.ENDED


def test_s2_every_gain_of_privilege_mints_a_token() -> None:
    for (_, event), (_, commands) in session_life.TRANSITIONS.items():
        gains = event in (SessionEvent.SIGN_IN, SessionEvent.STEP_UP)
        assert gains == (SessionCommand.MINT_TOKEN in commands)


def test_s3_children_end_with_their_parent() -> None:
    for (before, _), (after, commands) in session_life.TRANSITIONS.items():
        if (before, after) == (SessionState.ACTIVE, SessionState.ENDED):
            assert commands == (SessionCommand.END_CHILDREN, SessionCommand.TOMBSTONE)


def test_i1_a_flow_token_is_minted_never_adopted() -> None:
    for (before, _), (after, commands) in sign_in_life.TRANSITIONS.items():
        waits = after in (SignInState.SECOND, SignInState.CEREMONY, SignInState.UPSTREAM)
        if before is SignInState.BEGIN:
            assert waits == (SignInCommand.OPEN_FLOW in commands)
        else:
            assert SignInCommand.OPEN_FLOW not in commands


def test_i2_a_challenge_and_a_providers_state_are_looked_at_once() -> None:
    for (before, _), (after, commands) in sign_in_life.TRANSITIONS.items():
        if before in (SignInState.CEREMONY, SignInState.UPSTREAM):
            assert SignInCommand.CLOSE_FLOW in commands
            assert after in (SignInState.DONE, SignInState.OVER)


def test_a_session_opens_only_after_something_was_right() -> None:
    for (_, event), (_, commands) in sign_in_life.TRANSITIONS.items():
        assert (SignInCommand.OPEN_SESSION in commands) == (
            event.value.endswith(("-right", "-right-alone")) and event.value != "password-right"
        )


def test_e1_a_link_is_spent_before_anything_is_stored() -> None:
    command = enrolment_life.EnrolmentCommand
    for (before, _), (after, commands) in enrolment_life.TRANSITIONS.items():
        stores = {c for c in commands if c.value.startswith("store-") or c is command.OPEN_SESSION}
        if stores:
            assert commands[0] is command.SPEND_LINK
            assert after is enrolment_life.EnrolmentState.CODES and before is not after


# --- buckets ---------------------------------------------------------------------------------------

limits = st.builds(Limit, burst=st.integers(1, 20), interval_s=st.floats(1, 600))


@given(limits, st.lists(st.floats(0, 300), max_size=60))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(limit: Limit, gaps: list[float]) -> None:
    now, arrival, passed = 1000.0, None, []
    for gap in gaps:
        now += gap
        answer = take(limit, arrival, now)
        if isinstance(answer, Pass):
            arrival = answer.theoretical_at
            passed.append(now)
    for index, start in enumerate(passed):
        for count, end in enumerate(passed[index:], 1):
            assert count <= limit.burst + (end - start) / limit.interval_s + 1e-6


@given(limits, st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_h1_a_refused_attempt_costs_nothing(limit: Limit, gaps: list[float]) -> None:
    now, arrival = 1000.0, None
    for _ in range(limit.burst):
        answer = take(limit, arrival, now)
        assert isinstance(answer, Pass)
        arrival = answer.theoretical_at
    first = take(limit, arrival, now)
    assert isinstance(first, Wait)
    free_at = now + first.seconds
    for gap in gaps:
        now += gap
        answer = take(limit, arrival, now)
        if isinstance(answer, Pass):
            break
        assert now + answer.seconds == pytest.approx(free_at), "attempts do not push the end away"
    assert isinstance(take(limit, arrival, free_at + 1e-6), Pass)


# --- paths -----------------------------------------------------------------------------------------

CATALOGUE = Catalogue(
    domain="limen.localhost",
    apps={"wiki": AppConfig("wiki", "wiki.limen.localhost", ("http://127.0.0.1:1",))},
)


@given(st.text(alphabet=st.sampled_from("/\\.@:?#%a0 \t\r\n\u2028é-"), max_size=14))
def test_o1_no_open_redirect(text: str) -> None:
    try:
        path = parse_path(text)
    except Invalid:
        return
    base = "https://wiki.limen.localhost:8443/.limen/callback"
    assert urlsplit(urljoin(base, path)).netloc == "wiki.limen.localhost:8443"
    assert path[0] == "/" and path[1:2] not in ("/", "\\")
    assert path.isascii() and path.isprintable() and "\\" not in path


@given(st.text(max_size=200))
def test_o1_a_forged_flow_leads_home(text: str) -> None:
    found = parse_flow(text, CATALOGUE)
    assert found.app in ("", "wiki")
    parse_path(found.path)


@given(
    st.sampled_from(["", "second-factor", "passkey", "fresh-sign-in"]),
    st.none() | st.integers(30, 31_536_000),
    st.from_regex(r"/[a-z0-9?=&%._~-]{0,40}", fullmatch=True),
)
def test_a_destination_survives_the_form(need: str, age: int | None, path: str) -> None:
    target = Target("wiki", path, "a" * 64, need, age)
    assert parse_flow(render_flow(target), CATALOGUE) == target


# --- codes -----------------------------------------------------------------------------------------

SEED = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")


@given(st.lists(st.integers(-4, 4), max_size=30))
def test_t1_no_code_twice(shifts: list[int]) -> None:
    last, now, accepted = 0, 1_800_000_000.0, []
    for shift in shifts:
        now += 15
        code = totp.code_at(SEED, now + shift * 30)
        step = totp.accepted_step(SEED, code, now, last)
        if step is not None:
            assert abs(step - int(now // 30)) <= 1
            accepted.append(step)
            last = step
    assert accepted == sorted(set(accepted))


@given(st.text(max_size=40))
def test_recovery_codes_are_read_kindly_and_nothing_else_is(text: str) -> None:
    found = recovery.parse_code(text)
    if found is not None:
        again = recovery.parse_code(found.reveal().upper())
        assert again == found and len(found.reveal()) == 16


# --- sessions on a store -----------------------------------------------------------------------------

operations = st.lists(
    st.sampled_from(["start", "raise", "app", "token", "end", "end-all", "sweep", "minute", "hour"]),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(operations)
def test_the_feed_holds_exactly_the_live_sessions(todo: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.add("ada", password=None, with_totp=False)
        _play(world, todo)
        world.store.close()


def _play(world: World, todo: list[str]) -> None:
    sessions, tokens, dead = world.parts.sessions, {}, set()
    proof = Proof(("password",), assess_methods(("password",)), world.clock.now())
    for what in todo:
        live = sessions.list_live("ada")
        if what == "start":
            with sessions.ledger.entry("ada", "test") as entry:
                opened = sessions.start(entry, "ada", proof, Browser("192.0.2.1"))
            tokens[opened.session.id] = opened.token.reveal()
        elif what == "raise" and live:
            with sessions.ledger.entry("ada", "test") as entry:
                raised = sessions.raise_to(entry, live[0][0], proof)
            tokens[raised.session.id] = raised.token.reveal()
        elif what in ("app", "token") and live:
            sessions.issue_token(live[0][0], "wiki", what)
        elif what == "end" and live:
            sessions.end(live[-1][0].id, SessionEvent.SIGN_OUT, actor="ada", why="test")
        elif what == "end-all":
            sessions.end_person("ada", actor="ada", why="test", event=SessionEvent.REVOKE)
        elif what == "sweep":
            sessions.sweep()
        else:
            world.clock.advance({"minute": 60, "hour": 3600}.get(what, 0))
        sessions.sweep()
        alive = {s.id: s for s, _ in sessions.list_live("ada")}
        children = {c.token_hash for _, found in sessions.list_live("ada") for c in found}
        facts = [value for _, value in world.store.snapshot().values]
        assert {f.id for f in facts if type(f).__name__ == "SessionFact"} == set(alive)
        assert {f.id for f in facts if type(f).__name__ == "AppSessionFact"} == children
        dead |= tokens.keys() - alive.keys()
        for session_id, token in tokens.items():
            assert (sessions.find(token) is not None) == (session_id in alive)
        assert not dead & alive.keys()

"""The memo, case by case: what it must tell apart, what it may take for the same, what it never keeps."""

import msgspec
import pytest
from engine_world import NOON, device, facts, person, policies, ref, request, session

from limen.core.decision import Code, Facts, Grant, Network
from limen.engine.decide import decide
from limen.engine.memo import Memo

CHEAP = facts()


def differing(cedar: str, first: Facts, second: Facts, action: str = "read") -> Memo:
    """Decide both twice through one memo; they differ, and each time as fresh ones do."""
    compiled, memo = policies(cedar), Memo()
    answers = []
    for about in (first, second, first, second):
        found = memo.decide(request(about, action), about, compiled)
        assert msgspec.structs.replace(found, memo="none") == decide(request(about, action), about, compiled)
        answers.append(found.allowed)
    assert answers[0] is not answers[1]
    return memo


@pytest.mark.parametrize(
    ("condition", "first", "second"),
    [
        ("context.session.aal >= 2", CHEAP, facts(session=session(aal=1))),
        ("context.session.phishing_resistant", CHEAP, facts(session=session(phishing_resistant=True))),
        (
            'context.session.methods.contains("totp")',
            CHEAP,
            facts(session=session(methods=("password",))),
        ),
        (
            'context.session.auth_age < duration("5m")',
            CHEAP,
            facts(session=session(auth_at=NOON - 301)),
        ),
        ('context.session.age < duration("5m")', CHEAP, facts(session=session(started_at=NOON - 301))),
        ("context.risk < 5", CHEAP, facts(risk=9)),
        ('context.signals.contains("x")', CHEAP, facts(signals=("x",))),
        ("context has device", CHEAP, facts(device=device())),
        ("context.device.compliant", facts(device=device()), facts(device=device(compliant=False))),
        ("context.network.anonymizer", CHEAP, facts(network=Network(anonymizer=True))),
        ('context.network.country == "PT"', CHEAP, facts(network=Network(country="PT"))),
        ("context.network.asn == 7", CHEAP, facts(network=Network(asn=7))),
        (
            'context.network.ip.isInRange(ip("10.0.0.0/8"))',
            CHEAP,
            facts(network=Network(ip="10.0.0.1")),
        ),
        ("context.network.ip.isLoopback()", CHEAP, facts(network=Network(ip="10.0.0.1"))),
        ('principal.kind == "employee"', CHEAP, facts(person(kind="contractor"))),
        ('principal == User::"ada"', CHEAP, facts(person("eve"))),
        ('principal in Group::"hr"', CHEAP, facts(person(groups=("sre",)))),
        ("resource.owner == principal", facts(target="App::payroll"), CHEAP),
        ('resource in Label::"phi"', facts(target="App::payroll"), CHEAP),
    ],
)
def test_facts_that_the_policies_read_are_told_apart(condition: str, first: Facts, second: Facts) -> None:
    differing(f'@id("p") permit(principal, action, resource) when {{ {condition} }};', first, second)


def test_actions_that_share_a_slice_are_told_apart() -> None:
    compiled, memo = (
        policies('@id("p") permit(principal, action, resource) when { action == Action::"read" };'),
        Memo(),
    )
    about = facts()
    assert [memo.decide(request(about, name), about, compiled).allowed for name in ("read", "write")] == [
        True,
        False,
    ]


def test_grants_are_told_apart_and_their_ends_are_told() -> None:
    grant = Grant("g1", ref("User::ada"), ("read",), ref("App::wiki"), NOON + 60)
    longer = msgspec.structs.replace(grant, expires_at=NOON + 90)
    differing("", facts(grants=(grant,)), facts())
    compiled, memo = policies(""), Memo()
    ends = []
    for one in (grant, longer):
        about = facts(grants=(one,))
        ends.append(memo.decide(request(about), about, compiled).deadline_at)
    assert ends == [NOON + 60, NOON + 90]
    about = facts(grants=(grant,))
    assert memo.decide(request(about, at=NOON + 60), about, compiled).code is Code.NO_PERMIT


@pytest.mark.parametrize(
    "same",
    [
        facts(risk=50, signals=("x",)),
        facts(session=session(id="other", auth_at=NOON - 9, methods=("passkey",))),
        facts(network=Network(ip="192.0.2.99", country="NL")),
        facts(device=device()),
        facts(person("eve", ("hr",), attributes={"title": "x"})),
    ],
)
def test_facts_that_no_policy_reads_share_an_entry(same: Facts) -> None:
    compiled, memo = (
        policies('@id("p") permit(principal, action, resource) when { context.session.aal >= 2 };'),
        Memo(),
    )
    memo.decide(request(CHEAP), CHEAP, compiled)
    assert memo.decide(request(same), same, compiled).memo == "hit"


def test_an_address_that_rotates_within_a_range_is_no_new_key() -> None:
    compiled = policies(
        '@id("p") permit(principal, action, resource)'
        ' when { context.network.ip.isInRange(ip("10.0.0.0/8")) };'
    )
    memo = Memo()
    for last in range(50):
        about = facts(network=Network(ip=f"10.0.0.{last}"))
        assert memo.decide(request(about), about, compiled).allowed
    assert (len(memo), memo.misses) == (1, 1)


def test_sessions_that_end_at_other_times_share_an_entry_and_keep_their_ends() -> None:
    compiled, memo = policies('@id("p") permit(principal, action, resource);'), Memo()
    ends = []
    for later in (10, 20):
        about = facts(session=session(expires_at=NOON + later))
        ends.append(memo.decide(request(about), about, compiled).deadline_at)
    assert (ends, memo.hits) == ([NOON + 10, NOON + 20], 1)


def test_staleness_is_looked_at_outside_of_the_memo() -> None:
    compiled, memo = policies('@id("p") permit(principal, action, resource);'), Memo()
    memo.decide(request(CHEAP), CHEAP, compiled)
    stale = facts(age_s=301)
    assert memo.decide(request(stale), stale, compiled).code is Code.STATE_STALE


def test_a_clock_that_is_set_back_finds_no_answer_of_the_future() -> None:
    compiled, memo = (
        policies('@id("p") permit(principal, action, resource) when { context.hour >= 12 };'),
        Memo(),
    )
    assert memo.decide(request(CHEAP), CHEAP, compiled).allowed
    assert not memo.decide(request(CHEAP, at=NOON - 1), CHEAP, compiled).allowed


def test_unmemoisable_time_is_never_kept() -> None:
    compiled, memo = (
        policies('@id("p") permit(principal, action, resource) when { context.hour + 1 > 3 };'),
        Memo(),
    )
    for _ in range(3):
        assert memo.decide(request(CHEAP), CHEAP, compiled).memo == "miss"
    assert len(memo) == 0


def test_two_bundles_share_a_memo_and_no_entry() -> None:
    memo = Memo()
    allow, deny = policies('@id("p") permit(principal, action, resource);'), policies("")
    for compiled, expected in ((allow, True), (deny, False), (allow, True)):
        found = memo.decide(request(CHEAP), CHEAP, compiled)
        assert (found.allowed, found.bundle) == (expected, compiled.bundle)


def test_the_memo_is_bounded_and_forgets_what_was_used_least_recently() -> None:
    compiled, memo = (
        policies('@id("p") permit(principal, action, resource) when { context.risk < 90 };'),
        Memo(2),
    )
    seen = []
    for risk in (1, 2, 1, 3, 1, 2):
        about = facts(risk=risk)
        seen.append(memo.decide(request(about), about, compiled).memo)
    assert seen == ["miss", "miss", "hit", "miss", "hit", "miss"]
    assert len(memo) == 2

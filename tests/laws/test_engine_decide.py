"""Laws D1 to D4 of the decision, on generated policies, facts and instants."""

import msgspec
from engine_oracle import expected
from engine_strategies import (
    TIME_FORMS,
    UNMEMOISABLE,
    actions,
    any_facts,
    instants,
    neighbours,
    policy_texts,
)
from engine_world import NOON, facts, person, policies, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limen.core.decision import AccessRequest, Code, Decision, Facts, Verdict
from limen.core.entities import Entity, close_entity
from limen.core.ids import EntityRef
from limen.core.resources import ACTIONS_ON
from limen.engine.decide import decide, judge, pose, refusal
from limen.engine.memo import Memo
from limen.engine.policies import Policies, Slice
from limen.engine.reads import EVERYTHING

MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EVERY_FORM = policy_texts(TIME_FORMS, UNMEMOISABLE)


def verdict(decision: Decision) -> tuple[str, list[str], list[str]]:
    return str(decision.verdict), list(decision.policies), list(decision.errors)


@MANY
@given(EVERY_FORM, any_facts(), actions(), instants())
def test_d1_d2_d3_each_decision_is_what_each_policy_alone_demands(
    texts: list[str], about: Facts, action: str, at: float
) -> None:
    asked = request(about, action, at)
    found = decide(asked, about, policies("\n".join(texts), timezone="Europe/Lisbon"))
    if refusal(asked, about) is not None:
        assert not found.allowed
        return
    assert found.code is not Code.ENGINE_FAILED
    wanted, determining, erring = expected(asked, about, texts, "Europe/Lisbon")
    assert found.verdict == wanted
    assert set(determining) == set(found.policies)
    assert set(found.errors) <= set(erring)  # a slice can leave out none that matters, by scope


@MANY
@given(EVERY_FORM, any_facts(), actions(), instants())
def test_a_slice_decides_as_the_whole_bundle_does(
    texts: list[str], about: Facts, action: str, at: float
) -> None:
    compiled = policies("\n".join(texts))
    asked = request(about, action, at)
    if refusal(asked, about) is not None or action not in ACTIONS_ON[about.resource.root.type]:
        return  # the schema's actions are the engine's to heed: Cedar, asked without it, would not
    question = pose(asked, about, compiled)
    everything = Slice(compiled.whole().policies, EVERYTHING, compiled.calendar)
    part, whole = judge(question), judge(question._replace(part=everything))
    assert (part.verdict, part.code, part.policies) == (whole.verdict, whole.code, whole.policies)
    assert part.errors == whole.errors


def agrees_with_fresh(memo: Memo, compiled: Policies, asked: AccessRequest, about: Facts) -> None:
    remembered, fresh = memo.decide(asked, about, compiled), decide(asked, about, compiled)
    assert msgspec.structs.replace(remembered, memo="none") == fresh


@MANY
@given(
    EVERY_FORM,
    st.lists(any_facts(), min_size=1, max_size=4),
    st.lists(st.tuples(actions(), instants(), st.integers(0, 3)), min_size=2, max_size=25),
)
def test_d4_memo_is_invisible(
    texts: list[str], several: list[Facts], asked: list[tuple[str, float, int]]
) -> None:
    compiled = policies("\n".join(texts), timezone="Australia/Lord_Howe")
    memo = Memo(capacity=8)
    for action, at, which in asked:
        about = several[which % len(several)]
        agrees_with_fresh(memo, compiled, request(about, action, at), about)


@settings(MANY, max_examples=400)
@given(EVERY_FORM, any_facts().flatmap(lambda one: st.tuples(st.just(one), neighbours(one))), actions())
def test_d4_facts_that_differ_in_one_field_are_told_apart_where_it_matters(
    texts: list[str], pair: tuple[Facts, Facts], action: str
) -> None:
    compiled, memo = policies("\n".join(texts)), Memo()
    for about in (*pair, *pair):
        agrees_with_fresh(memo, compiled, request(about, action), about)


@MANY
@given(policy_texts(TIME_FORMS), any_facts(), actions(), st.integers(0, 5))
def test_d4_holds_on_both_sides_of_every_deadline(
    texts: list[str], about: Facts, action: str, steps: int
) -> None:
    compiled, memo, at = policies("\n".join(texts)), Memo(), NOON
    for _ in range(steps + 1):
        agrees_with_fresh(memo, compiled, request(about, action, at), about)
        deadline_at = decide(request(about, action, at), about, compiled).deadline_at
        if deadline_at is None:
            return
        assert deadline_at > at
        agrees_with_fresh(memo, compiled, request(about, action, deadline_at - 0.001), about)
        agrees_with_fresh(memo, compiled, request(about, action, deadline_at), about)
        agrees_with_fresh(memo, compiled, request(about, action, deadline_at + 0.001), about)
        at = deadline_at


@MANY
@given(policy_texts(TIME_FORMS), any_facts(), actions(), instants(), st.floats(0, 1, exclude_max=True))
def test_no_decision_changes_before_its_deadline(
    texts: list[str], about: Facts, action: str, at: float, part: float
) -> None:
    compiled = policies("\n".join(texts))
    first = decide(request(about, action, at), about, compiled)
    deadline_at = at + 30 * 86_400 if first.deadline_at is None else first.deadline_at
    later = at + (deadline_at - at) * part
    if round(later * 1000) >= round(deadline_at * 1000):
        return
    assert verdict(decide(request(about, action, later), about, compiled)) == verdict(first)


@MANY
@given(policy_texts(TIME_FORMS), any_facts(), actions())
def test_a_repeated_request_is_a_memo_hit(texts: list[str], about: Facts, action: str) -> None:
    compiled, memo = policies("\n".join(texts)), Memo()
    first = memo.decide(request(about, action), about, compiled)
    again = memo.decide(request(about, action), about, compiled)
    assert (first.memo, again.memo) in {("miss", "hit"), ("none", "none")}


@given(policy_texts(), any_facts(), actions())
@settings(max_examples=50, deadline=None)
def test_d1_a_fault_is_a_deny_with_and_without_memo(texts: list[str], about: Facts, action: str) -> None:
    root = EntityRef("User", "ada")
    crooked = close_entity(root, {root: Entity(root, {"status": 7})}.get)
    broken = msgspec.structs.replace(about, subject=crooked)
    compiled, memo = policies("\n".join(texts)), Memo()
    asked = request(broken, action)
    if refusal(asked, broken) is not None:
        return
    for found in (decide(asked, broken, compiled), memo.decide(asked, broken, compiled)):
        assert (found.verdict, found.code) == (Verdict.DENY, Code.ENGINE_FAILED)
    assert len(memo) == 0


def test_d4_a_subject_that_does_not_fit_the_schema_shares_no_entry_of_one_that_does() -> None:
    compiled = policies('@id("all") permit(principal, action, resource);')
    memo = Memo()
    good = facts(person("ada"))
    assert memo.decide(request(good), good, compiled).allowed
    root = EntityRef("User", "ada")
    bad = facts(close_entity(root, {root: Entity(root, {"status": 7})}.get))
    assert memo.decide(request(bad), bad, compiled).code is Code.ENGINE_FAILED


def test_subjects_whom_the_policies_can_not_tell_apart_share_one_entry() -> None:
    compiled = policies('@id("staff") permit(principal in Group::"staff", action, resource);')
    memo = Memo()
    for name in ("ada", "eve", "bob"):
        about = facts(person(name, ("hr",)))
        assert memo.decide(request(about), about, compiled).allowed
    assert (len(memo), memo.hits) == (1, 2)

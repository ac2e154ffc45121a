"""Laws of the change of who can: nothing changes between equals (W1), and what is told is exact (W2)."""

from typing import Any

import msgspec
from engine_strategies import people, policy_texts
from engine_world import NOON, RESOURCES, bundle, person, ref, resource, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.decision import Grant
from limen.core.entities import Closure
from limen.core.ids import EntityRef
from limen.core.resources import ACTIONS_ON
from limen.engine.policies import compile_policies
from limen.engine.who_can import who_can
from limen.engine.who_can_diff import Changes, Effect, World, needs_more, who_can_diff

ASKED = tuple(ref(name) for name in RESOURCES if ref(name).type in ACTIONS_ON)


def world(
    cedar: list[str],
    subjects: list[Closure],
    resources: tuple[EntityRef, ...] = ASKED,
    grants: dict[EntityRef, tuple[Grant, ...]] | None = None,
) -> World:
    made = bundle("\n".join(cedar))
    closures = {one: resource(str(one).replace('"', "")) for one in resources}
    return World(made, compile_policies(made), {one.root: one for one in subjects}, closures, grants or {})


def subjects() -> st.SearchStrategy[list[Closure]]:
    some = st.lists(people(), min_size=1, max_size=4, unique_by=lambda one: one.root)
    return some.map(
        lambda many: [one for one in many if one.root.type == "User"] + [workload("backup", ("sre",))]
    )


def grants() -> st.SearchStrategy[dict[EntityRef, tuple[Grant, ...]]]:
    one = st.builds(
        lambda who, what, until: {who: (Grant("g", who, ("read",), what, NOON + until),)},
        st.sampled_from([EntityRef("User", "ada"), EntityRef("Group", "staff")]),
        st.sampled_from(ASKED),
        st.sampled_from([-1.0, 3600.0]),
    )
    return st.just({}) | one


def allowed(of: World, action: str, target: EntityRef) -> dict[EntityRef, Any]:
    if target not in of.resources:
        return {}
    found = who_can(
        action, target, of.policies, of.subjects.values(), of.resources[target], at=NOON, grants=of.grants
    )
    return {who: one.conditions for one in found if one.allowed for who in one.subjects}


def told(found: Changes, effect: Effect, action: str, target: EntityRef) -> set[EntityRef]:
    return {
        who
        for change in found.changes
        if (change.effect, change.action, change.resource) == (effect, action, target)
        for who in found.subjects(change)
    }


@given(policy_texts(), subjects(), grants())
@settings(max_examples=15, deadline=None)
def test_w1_same(cedar: list[str], who: list[Closure], given_: dict[EntityRef, tuple[Grant, ...]]) -> None:
    one, other = world(cedar, who, grants=given_), world(cedar[::-1], who, grants=given_)
    assert who_can_diff(one, one, at=NOON).changes == ()
    assert who_can_diff(one, other, at=NOON).changes == ()


@given(policy_texts(), policy_texts(), subjects(), grants(), st.sets(st.sampled_from(ASKED), max_size=2))
@settings(max_examples=20, deadline=None)
def test_w2_exact(
    old: list[str],
    new: list[str],
    who: list[Closure],
    given_: dict[EntityRef, tuple[Grant, ...]],
    gone: set[EntityRef],
) -> None:
    before = world(old, who, grants=given_)
    after = world(new, who, tuple(one for one in ASKED if one not in gone), grants=given_)
    found = who_can_diff(before, after, at=NOON)
    for target in ASKED:
        for action in ACTIONS_ON[target.type]:
            had, has = allowed(before, action, target), allowed(after, action, target)
            more = {one for one in had.keys() & has.keys() if needs_more(had[one], has[one])}
            less = {one for one in had.keys() & has.keys() - more if needs_more(has[one], had[one])}
            assert told(found, Effect.REMOVED, action, target) == had.keys() - has.keys()
            assert told(found, Effect.ADDED, action, target) == has.keys() - had.keys()
            assert told(found, Effect.STEP_UP, action, target) == more
            assert told(found, Effect.EASED, action, target) == less


def test_a_guardrail_that_asks_for_more_is_a_step_up_and_names_what_it_asks() -> None:
    staff = '@id("staff") permit(principal in Group::"staff", action, resource == App::"wiki");'
    mfa = '@id("mfa") forbid(principal is User, action, resource) unless { context.session.aal >= 2 };'
    passkey = '@id("pk") forbid(principal, action, resource) unless { context.session.phishing_resistant };'
    who = [person("p1", ("hr",)), person("p2", ("contractors",))]
    found = who_can_diff(world([staff], who), world([staff, mfa], who), at=NOON)
    assert {one.effect for one in found.changes} == {Effect.STEP_UP}
    assert {found.subjects(one) for one in found.changes} == {(EntityRef("User", "p1"),)}
    assert [r.id for r in found.changes[0].after.conditions] == ["second-factor"]
    eased = who_can_diff(world([staff, passkey], who), world([staff, mfa], who), at=NOON)
    assert {one.effect for one in eased.changes} == {Effect.EASED}, "a passkey is a second factor"


def test_equal_questions_under_other_names_are_answered_once_and_named_rightly() -> None:
    cedar = [
        f'@id("{app}") permit(principal in Group::"{group}", action, resource == App::"{app}");'
        for app, group in (("wiki", "hr"), ("payroll", "sre"))
    ]
    who = [person("p1", ("hr",)), person("p2", ("sre",))]
    found = who_can_diff(world([], who), world(cedar, who), at=NOON)
    named = {(one.resource.id, one.after.policies, found.subjects(one)[0].id) for one in found.changes}
    assert named == {("wiki", ("wiki",), "p1"), ("payroll", ("payroll",), "p2")}
    assert msgspec.structs.asdict(found.changes[0])["before"].policies == ()

"""`decide`: built-in refusals, laws D1 to D3 on plain cases, deadlines, grants."""

import msgspec
import pytest
from engine_world import NOON, device, facts, person, policies, ref, request, session, workload

from limen.core.decision import Code, Facts, Grant, Verdict
from limen.core.entities import Status
from limen.engine.decide import decide

STAFF_READ = '@id("staff") permit(principal in Group::"staff", action == Action::"read", resource);'
EVERYONE = '@id("all") permit(principal, action, resource);'


def answer(cedar: str, about: Facts | None = None, **asked: object):
    about = facts() if about is None else about
    return decide(request(about, **asked), about, policies(cedar))


def test_no_policy_at_all_is_a_deny() -> None:
    found = answer("")
    assert (found.verdict, found.code) == (Verdict.DENY, Code.NO_PERMIT)


def test_a_satisfied_permit_allows_and_is_named() -> None:
    found = answer(STAFF_READ)
    assert (found.verdict, found.code, found.policies) == (Verdict.ALLOW, Code.PERMITTED, ("staff",))


def test_forbid_wins_and_all_satisfied_forbids_are_named() -> None:
    found = answer(
        EVERYONE
        + '@id("b") forbid(principal, action, resource); @id("a") forbid(principal, action, resource);'
    )
    assert (found.code, found.policies) == (Code.FORBIDDEN, ("a", "b"))


def test_a_permit_that_errs_does_not_permit() -> None:
    found = answer('@id("p") permit(principal, action, resource) when { context.device.compliant };')
    assert (found.code, found.policies, found.errors) == (Code.NO_PERMIT, (), ("p",))


def test_an_erring_permit_beside_a_good_one_is_reported_and_harmless() -> None:
    found = answer(
        EVERYONE + '@id("p") permit(principal, action, resource) when { context.device.compliant };'
    )
    assert (found.verdict, found.policies, found.errors) == (Verdict.ALLOW, ("all",), ("p",))


def test_an_erring_forbid_counts_as_satisfied_where_cedar_would_skip_it() -> None:
    found = answer(
        EVERYONE + '@id("f") forbid(principal, action, resource) when { context.device.compliant };'
    )
    assert (found.verdict, found.code, found.policies, found.errors) == (
        Verdict.DENY,
        Code.POLICY_ERROR,
        ("f",),
        ("f",),
    )


def test_nobody_signed_in_has_no_session() -> None:
    about = msgspec.structs.replace(facts(), subject=None, session=None)
    assert answer(EVERYONE, about).code is Code.NO_SESSION


def test_a_person_without_a_session_has_no_session() -> None:
    assert answer(EVERYONE, facts(session=None)).code is Code.NO_SESSION


def test_an_expired_session_is_no_session() -> None:
    about = facts(session=session(expires_at=NOON))
    assert answer(EVERYONE, about).code is Code.NO_SESSION
    assert answer(EVERYONE, about, at=NOON - 0.001).allowed


def test_a_workload_needs_no_session() -> None:
    assert answer(EVERYONE, facts(workload(), session=None)).allowed


def test_a_subject_that_the_directory_does_not_know_is_unknown() -> None:
    about = facts(None)
    asked = request(about)
    unknown = msgspec.structs.replace(about, subject=None)
    assert decide(asked, unknown, policies(EVERYONE)).code is Code.SUBJECT_UNKNOWN


@pytest.mark.parametrize(
    ("closure", "code"),
    [
        ({"status": Status.SUSPENDED}, Code.SUBJECT_SUSPENDED),
        ({"status": Status.ENDED}, Code.SUBJECT_ENDED),
        ({"expires_at": NOON}, Code.SUBJECT_EXPIRED),
        ({"quarantined": True}, Code.QUARANTINED),
    ],
)
def test_what_ends_a_subject_ends_it_whatever_the_policies_say(closure: dict, code: Code) -> None:
    found = answer(EVERYONE, facts(person(**closure)))
    assert (found.verdict, found.code, found.policies) == (Verdict.DENY, code, ())


def test_a_quarantined_device_is_refused() -> None:
    assert answer(EVERYONE, facts(device=device(quarantined=True))).code is Code.QUARANTINED


@pytest.mark.parametrize("age_s", [300.001, float("nan"), float("inf")])
def test_stale_facts_are_refused_before_anything_else(age_s: float) -> None:
    about = facts(person(status=Status.SUSPENDED), age_s=age_s, staleness_max_s=300.0)
    assert answer(EVERYONE, about).code is Code.STATE_STALE


def test_facts_at_the_bound_are_fresh() -> None:
    assert answer(EVERYONE, facts(age_s=300.0, staleness_max_s=300.0)).allowed


def test_facts_about_another_subject_are_a_fault() -> None:
    about = facts()
    asked = request(about, subject=ref("User::eve"))
    assert decide(asked, about, policies(EVERYONE)).code is Code.ENGINE_FAILED


def test_facts_about_another_resource_are_a_fault() -> None:
    about = facts()
    asked = request(about, resource=ref("App::payroll"))
    assert decide(asked, about, policies(EVERYONE)).code is Code.ENGINE_FAILED


def test_an_unknown_action_is_permitted_by_nothing() -> None:
    assert answer(EVERYONE, action="fly").code is Code.NO_PERMIT


def test_every_decision_names_its_bundle() -> None:
    compiled = policies(EVERYONE)
    for about in (facts(), facts(session=None)):
        assert decide(request(about), about, compiled).bundle == compiled.bundle


# --- deadlines -----------------------------------------------------------------------------------


def test_the_deadline_is_the_end_of_the_session_when_nothing_comes_sooner() -> None:
    assert answer(EVERYONE).deadline_at == NOON + 43_200


def test_the_deadline_is_the_end_of_the_person_when_that_comes_sooner() -> None:
    assert answer(EVERYONE, facts(person(expires_at=NOON + 10))).deadline_at == NOON + 10


def test_the_deadline_is_the_age_at_which_a_fresh_sign_in_grows_old() -> None:
    fresh = (
        EVERYONE
        + """@id("fresh") forbid(principal, action, resource)
        unless { context has session && context.session.auth_age <= duration("15m") };"""
    )
    about = facts(session=session(auth_at=NOON - 60))
    compiled = policies(fresh)
    found = decide(request(about), about, compiled)
    assert found.deadline_at == NOON - 60 + 900.001
    assert found.allowed
    assert decide(request(about, at=found.deadline_at - 0.001), about, compiled).allowed
    assert decide(request(about, at=found.deadline_at), about, compiled).code is Code.FORBIDDEN


def test_office_hours_end_at_the_local_hour() -> None:
    office = (
        '@id("office") permit(principal, action, resource) when { context.hour >= 9 && context.hour < 18 };'
    )
    about = facts()
    found = decide(request(about), about, policies(office, timezone="Europe/Lisbon"))
    assert found.deadline_at == NOON + 6 * 3600
    assert decide(request(about), about, policies(office, timezone="Asia/Tokyo")).allowed is False


def test_time_that_can_not_be_memoised_is_to_be_decided_again_at_once() -> None:
    odd = '@id("odd") permit(principal, action, resource) when { context.now.toTime() < duration("20h") };'
    found = answer(odd)
    assert found.allowed
    assert found.deadline_at == NOON


# --- grants --------------------------------------------------------------------------------------


def grant(**changes: object) -> Grant:
    values = {
        "id": "g1",
        "principal": ref("User::ada"),
        "actions": ("read",),
        "resource": ref("App::payroll"),
        "expires_at": NOON + 60,
    }
    return Grant(**{**values, **changes})  # type: ignore[arg-type]


def test_a_grant_permits_and_ends_by_itself() -> None:
    about = facts(target="App::payroll", grants=(grant(),))
    compiled = policies("")
    found = decide(request(about), about, compiled)
    assert (found.verdict, found.policies, found.deadline_at) == (Verdict.ALLOW, ("grant:g1",), NOON + 60)
    assert decide(request(about, at=NOON + 60), about, compiled).code is Code.NO_PERMIT


def test_a_grant_covers_the_parts_of_its_app() -> None:
    assert answer("", facts(target="Route::payroll/exports", grants=(grant(),))).allowed


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": ("write",)},
        {"resource": ref("App::wiki")},
        {"principal": ref("User::eve")},
        {"expires_at": NOON},
    ],
)
def test_a_grant_for_something_else_permits_nothing(changes: dict) -> None:
    assert answer("", facts(target="App::payroll", grants=(grant(**changes),))).code is Code.NO_PERMIT


def test_a_grant_of_the_access_group_covers_each_action_and_a_group_its_members() -> None:
    about = facts(target="App::payroll", grants=(grant(actions=("access",), principal=ref("Group::staff")),))
    assert answer("", about, action="admin").allowed


def test_a_guardrail_bounds_a_grant() -> None:
    about = facts(target="App::payroll", grants=(grant(),))
    found = answer('@id("no") forbid(principal, action, resource in Label::"phi");', about)
    assert (found.code, found.policies) == (Code.FORBIDDEN, ("no",))

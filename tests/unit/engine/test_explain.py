"""What a denial tells a person: why, and what would cure it."""

import msgspec
import pytest
from engine_world import NOON, device, facts, person, policies, request, session

from limen.core.decision import Code, Explanation, Facts
from limen.core.entities import Status
from limen.engine.explain import EVALUATIONS_MAX, explain

STAFF = '@id("staff") permit(principal in Group::"staff", action, resource);'
MFA = """@id("mfa") @reason("Sign in with a second factor.")
    forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };"""
PHI = """@id("phi") @reason("Health data opens only from a compliant device and with a passkey.")
    forbid(principal, action, resource in Label::"phi") unless {
      context has session && context.session.phishing_resistant
      && context has device && context.device.compliant };"""
FRESH = """@id("fresh") @reason("Sign in again.") forbid(principal is User, action, resource)
    unless { context has session && context.session.auth_age <= duration("15m") };"""
OFFICE = """@id("office") @reason("Only in office hours.") forbid(principal, action, resource)
    unless { context.hour >= 9 && context.hour < 18 };"""
PASSWORD_ONLY = session(aal=1, methods=("password",))


def told(cedar: str, about: Facts, at: float = NOON, **kwargs: bool) -> Explanation:
    return explain(request(about, at=at), about, policies(cedar), **kwargs)


def ids(explanation: Explanation) -> list[str]:
    return [remedy.id for remedy in explanation.remedies]


def test_an_allowed_request_has_nothing_to_explain() -> None:
    assert told(STAFF, facts()) == Explanation((), ())


def test_the_reasons_are_the_sentences_of_the_policies_that_forbade() -> None:
    found = told(STAFF + MFA + FRESH, facts(session=session(aal=1, auth_at=NOON - 3600)))
    assert found.reasons == ("Sign in again.", "Sign in with a second factor.")


def test_a_missing_second_factor_is_cured_by_one() -> None:
    found = told(STAFF + MFA, facts(session=PASSWORD_ONLY))
    assert ids(found) == ["second-factor"]
    assert found.alternatives == ()  # a passkey would do too, but asks for more


def test_a_demand_for_a_passkey_is_not_cured_by_a_code() -> None:
    passkey = MFA.replace("context.session.aal >= 2", "context.session.phishing_resistant")
    assert ids(told(STAFF + passkey, facts(session=PASSWORD_ONLY))) == ["passkey"]


def test_a_demand_for_aal_3_is_cured_by_a_hardware_key_alone() -> None:
    hardware = MFA.replace(">= 2", ">= 3")
    found = told(STAFF + hardware, facts(session=session(aal=2, methods=("passkey",))))
    assert (ids(found), found.alternatives) == (["hardware-key"], ())


def test_an_old_sign_in_is_cured_by_a_fresh_one_that_says_how_fresh() -> None:
    found = told(STAFF + FRESH, facts(session=session(auth_at=NOON - 3600)))
    assert [(r.id, r.max_age_s) for r in found.remedies] == [("fresh-sign-in", 900)]
    assert "15 minutes" in found.remedies[0].sentence


def test_a_strict_comparison_leaves_no_second_too_many() -> None:
    strict = FRESH.replace("<=", "<")
    found = told(STAFF + strict, facts(session=session(auth_at=NOON - 3600)))
    assert found.remedies[0].max_age_s == 899


def test_an_old_session_is_cured_by_signing_in_anew() -> None:
    aged = FRESH.replace("auth_age", "age")
    found = told(STAFF + aged, facts(session=session(started_at=NOON - 3600, auth_at=NOON - 1)))
    assert ids(found) == ["sign-in"]


def test_two_lacks_are_cured_by_two_remedies_together() -> None:
    found = told(STAFF + MFA + FRESH, facts(session=session(aal=1, auth_at=NOON - 3600)))
    assert ids(found) == ["second-factor", "fresh-sign-in"]


def test_health_data_from_no_device_with_a_passkey_asks_for_a_compliant_device() -> None:
    about = facts(target="App::payroll", session=session(phishing_resistant=True))
    assert ids(told(STAFF + PHI, about)) == ["compliant-device"]


def test_an_enrolled_device_is_enough_where_policies_only_ask_for_one() -> None:
    enrolled = MFA.replace("context has session && context.session.aal >= 2", "context has device")
    assert ids(told(STAFF + enrolled, facts())) == ["enrolled-device"]


def test_each_failing_posture_check_is_named() -> None:
    rule = MFA.replace("context has session && context.session.aal >= 2", "context has device && POSTURE")
    posture = "context.device.posture has firewall && context.device.posture.firewall"
    about = facts(device=device(posture={"firewall": False}, compliant=True))
    assert ids(told(STAFF + rule.replace("POSTURE", posture), about)) == ["posture:firewall"]


def test_the_last_failing_check_makes_a_device_compliant() -> None:
    compliant = MFA.replace(
        "context has session && context.session.aal >= 2", "context has device && context.device.compliant"
    )
    about = facts(device=device(compliant=False, posture={"firewall": False, "screen_lock": True}))
    found = told(STAFF + compliant, about)
    assert ids(found) == ["posture:firewall"]


def test_below_aal2_nothing_is_told_about_devices() -> None:
    about = facts(target="App::payroll", session=PASSWORD_ONLY)
    found = told(STAFF + MFA + PHI, about)
    assert ids(found) == ["second-factor"]
    assert "device" not in str((found.reasons, found.remedies, found.alternatives))
    open_to_the_help_desk = told(STAFF + MFA + PHI, about, below_aal2_hides=False)
    assert ids(open_to_the_help_desk) == ["passkey", "compliant-device"]
    assert any("device" in reason for reason in open_to_the_help_desk.reasons)


def test_a_person_without_any_permit_may_ask_the_owner() -> None:
    found = told(STAFF, facts(person(groups=("contractors",)), target="App::payroll"))
    assert ids(found) == ["grant"]
    assert found.owner == "ada"
    assert found.reasons == ("No policy allows you to read payroll.",)


def test_a_part_of_an_app_is_owned_by_the_owner_of_the_app() -> None:
    found = told("", facts(target="Route::payroll/exports"))
    assert found.owner == "ada"


def test_office_hours_are_cured_by_the_next_morning() -> None:
    evening = NOON + 8 * 3600  # Friday, 20:00
    about = facts(session=session(evening))
    found = told(STAFF + OFFICE, about, at=evening)
    assert [(r.id, r.at) for r in found.remedies] == [("later", NOON + 21 * 3600)]
    assert "Saturday 16 January, 09:00" in found.remedies[0].sentence


def test_who_comes_back_later_has_signed_in_anew_by_then() -> None:
    evening = NOON + 8 * 3600
    about = facts(session=session(evening, auth_at=evening - 60))
    assert ids(told(STAFF + OFFICE + FRESH, about, at=evening)) == ["later"]


def test_risk_is_cured_when_it_passes() -> None:
    risky = '@id("risk") forbid(principal, action, resource) when { context.risk >= 70 };'
    assert ids(told(STAFF + risky, facts(risk=80))) == ["lower-risk"]


def test_remedies_of_equal_size_are_alternatives() -> None:
    either = """@id("e") forbid(principal, action, resource) unless {
      context.session.auth_age <= duration("15m") || (context has device && context.device.compliant) };"""
    found = told(STAFF + either, facts(session=session(auth_at=NOON - 3600)))
    assert ids(found) == ["fresh-sign-in"]
    assert [[r.id for r in one] for one in found.alternatives] == [["compliant-device"]]


def test_what_nothing_cures_has_no_remedy() -> None:
    found = told(STAFF + '@id("no") forbid(principal, action, resource);', facts())
    assert (found.remedies, found.alternatives) == ((), ())
    assert found.owner == "nobody-known"


@pytest.mark.parametrize(
    ("about", "code"),
    [
        (facts(person(status=Status.SUSPENDED)), Code.SUBJECT_SUSPENDED),
        (facts(person(quarantined=True)), Code.QUARANTINED),
        (facts(age_s=301), Code.STATE_STALE),
    ],
)
def test_built_in_refusals_have_their_own_sentence_and_no_remedy(about: Facts, code: Code) -> None:
    found = told(STAFF, about)
    assert len(found.reasons) == 1
    assert found.remedies == ()
    assert found.evaluations == 1


def test_no_session_is_cured_by_signing_in() -> None:
    about = msgspec.structs.replace(facts(), subject=None, session=None)
    assert ids(told(STAFF, about)) == ["sign-in"]


def test_a_hopeless_search_stays_within_its_evaluations() -> None:
    everything = """@id("x") forbid(principal, action, resource) when {
      (context.session.aal < 9 || context.session.age < duration("1h")
       || context.session.auth_age < duration("1h")
       || context.device.compliant || context.hour < 3 || context.weekday > 3 || context.risk > 100) };"""
    found = told(STAFF + everything, facts(session=PASSWORD_ONLY, risk=3))
    assert found.remedies == ()
    assert 20 < found.evaluations <= EVALUATIONS_MAX


def test_erring_forbids_are_explained_by_their_sentence_too() -> None:
    erring = """@id("e") @reason("Managed devices only.")
        forbid(principal, action, resource) unless { context.device.trust >= 2 };"""
    found = told(STAFF + erring, facts())
    assert found.reasons == ("Managed devices only.",)
    assert ids(found) == ["compliant-device"]

"""Bundle tests: what a careful employee is, and what a result says when it differs."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

import pytest

from limen.core.decision import AccessRequest, Explanation, Facts, Remedy
from limen.core.errors import BundleRefused
from limen.engine.bundle import parse_bundle
from limen.engine.bundle_tests import TestResult, run_tests
from limen.engine.check import check_bundle
from limen.engine.policies import Policies

YAML = """\
domain: corp.example
timezone: Europe/Lisbon
attributes: {clearance: Long}
apps:
  wiki:
    upstream: http://127.0.0.1:1
    owner: hr-lead
    allow: [group:staff]
    labels: [phi]
    routes: [{name: admin, path: /admin/**, action: admin}]
services:
  ledger-db: {address: "db1.internal:5432", protocol: postgres, allow: [group:dba]}
"""

MFA = '@id("mfa") @reason("Second factor.") forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };\n'


def results(tests: str, cedar: str = MFA) -> tuple[TestResult, ...]:
    return run_tests(parse_bundle({"limen.yaml": YAML, "policies/a.cedar": cedar, "tests/a.yaml": tests}))


def verdict(condition: str, context: str = "{}", subject: str = "{}") -> str:
    """The verdict of a permit with this condition, in this context."""
    cedar = f'@id("x") permit(principal, action, resource) when {{ {condition} }};'
    [result] = results(
        f"- {{name: n, subject: {subject}, action: read, resource: wiki, context: {context}, expect: allow}}",
        cedar,
    )
    return result.verdict


def test_a_careful_employee_is_at_work_with_a_second_factor_and_no_device() -> None:
    careful = (
        'context.session.aal == 2 && !context.session.phishing_resistant && context.session.methods == ["password", "totp"]'
        ' && context.session.auth_age == duration("5m") && context.session.age == duration("5m")'
        " && context.hour == 10 && context.weekday == 2 && context.risk == 0 && !(context has device)"
        ' && context.signals.isEmpty() && principal is User && principal.kind == "employee"'
        ' && context.network.ip == ip("192.0.2.10") && !context.network.anonymizer'
    )
    assert verdict(f"context has session && {careful}") == "allow"


@pytest.mark.parametrize(
    ("condition", "context"),
    [
        ("context.hour == 0 && context.weekday == 7", "{hour: 0, weekday: 7}"),
        ('context.now == datetime("2026-07-01T09:30:00Z")', "{now: '2026-07-01T10:30:00+01:00'}"),
        ('context has session && context.session.auth_age == duration("61m")', "{auth_age: 1h1m}"),
        ('context has session && context.session.age == duration("90s")', "{age: 90}"),
        ("context has session && context.session.aal == 1", "{aal: 1}"),
        ('context has session && context.session.methods.contains("passkey")', "{phishing_resistant: true}"),
        ('context.signals.contains("travel")', "{signals: [travel]}"),
        ("context.risk > 50", "{risk: 51}"),
        ('context.network.ip.isInRange(ip("10.0.0.0/8"))', "{network: {ip: 10.1.2.3}}"),
        ('context.network has country && context.network.country == "PT"', "{network: {country: PT}}"),
        ("context has device && context.device.compliant && context.device.trust == 2", "{device: {compliant: true}}"),
        ("context has device && context.device.posture has firewall && context.device.posture.firewall", "{device: {posture: {firewall: true}}}"),
    ],
)  # fmt: skip
def test_context_of_a_test_reaches_the_policies(condition: str, context: str) -> None:
    assert verdict(condition, context) == "allow"
    assert verdict(condition) == "deny"


@pytest.mark.parametrize(
    ("condition", "subject"),
    [
        ('principal in Group::"staff"', "{groups: [staff]}"),
        ('principal == User::"ada"', "{user: ada}"),
        ('principal == Workload::"backup"', "{workload: backup}"),
        ('principal is User && principal.kind == "contractor"', "{kind: contractor}"),
        ("principal is User && principal.attributes has clearance && principal.attributes.clearance > 3", "{attributes: {clearance: 4}}"),
    ],
)  # fmt: skip
def test_the_subject_of_a_test_reaches_the_policies(condition: str, subject: str) -> None:
    assert verdict(condition, subject=subject) == "allow"
    assert verdict(condition) == "deny"


def test_a_passing_test_says_nothing_and_a_failing_one_what_differs() -> None:
    passed, failed, other = results(
        "- {name: one, subject: {groups: [staff]}, action: read, resource: wiki, expect: allow, because: 'allow:wiki:group:staff'}\n"
        "- {name: two, subject: {groups: [staff]}, action: read, resource: wiki, expect: allow, context: {aal: 1}}\n"
        "- {name: six, subject: {}, action: admin, resource: wiki/admin, expect: deny, because: mfa}\n"
    )
    assert (passed.passed, passed.why) == (True, "")
    assert (failed.passed, failed.why) == (False, "expected allow, got deny (FORBIDDEN by mfa)")
    assert (failed.file, failed.line) == ("tests/a.yaml", 2)
    assert other.why == "deny because of NO_PERMIT, not of mfa"


@pytest.mark.parametrize("name", ["ledger-db", "'Service::\"ledger-db\"'"])
def test_services_are_tested_with_connect(name: str) -> None:
    opened, closed = results(
        f"- {{name: one, subject: {{groups: [dba]}}, action: connect, resource: {name}, expect: allow, because: 'allow:ledger-db:group:dba'}}\n"
        f"- {{name: two, subject: {{groups: [dba]}}, action: connect, resource: {name}, context: {{aal: 1}}, expect: deny, because: mfa, cure: second-factor}}\n"
    )
    assert (opened.why, closed.why) == ("", "")
    [closed] = results(
        f"- {{name: two, subject: {{groups: [staff]}}, action: connect, resource: {name}, expect: deny, because: NO_PERMIT, cure: grant}}\n"
    )
    assert closed.why == ""


def test_what_a_service_speaks_reaches_the_policies() -> None:
    cedar = '@id("x") permit(principal, action, resource is Service) when { resource.protocol == "postgres" && resource.port == 5432 };'
    [result] = results(
        "- {name: n, subject: {}, action: connect, resource: ledger-db, expect: allow, because: x}", cedar
    )
    assert result.why == ""


def test_nobody_is_signed_in() -> None:
    [result] = results(
        "- {name: n, subject: {anonymous: true}, action: read, resource: wiki, expect: deny, because: NO_SESSION}\n"
    )
    assert result.passed


@pytest.mark.parametrize(
    ("cure", "why"), [("[second-factor]", ""), ("[passkey]", "cured by second-factor, not by passkey")]
)
def test_a_cure_is_compared_with_the_explanation(cure: str, why: str) -> None:
    def explain(request: AccessRequest, facts: Facts, policies: Policies) -> Explanation:
        return Explanation(("Second factor.",), (Remedy("second-factor", "Sign in with a second factor."),))

    tests = f"- {{name: n, subject: {{groups: [staff]}}, action: read, resource: wiki, context: {{aal: 1}}, expect: deny, cure: {cure}}}\n"
    bundle = parse_bundle({"limen.yaml": YAML, "policies/a.cedar": MFA, "tests/a.yaml": tests})
    [result] = run_tests(bundle, explain=explain)
    assert result.why == why


WRONG = [
    ("- {name: n, subject: {}, action: reed, resource: wiki, expect: deny}", "value", "Did you mean `read`?"),
    ("- {name: n, subject: {}, action: connect, resource: wiki, expect: deny}", "value", "Use read or write or admin."),
    ("- {name: n, subject: {}, action: read, resource: ledger-db, expect: deny}", "value", "Use connect."),
    ("- {name: n, subject: {}, action: connect, resource: 'App::\"ledger-db\"', expect: deny}", "unknown-resource", "Did you mean"),
    ("- {name: n, subject: {}, action: connect, resource: 'Db::\"x\"', expect: deny}", "value", "as in Cedar"),
    ("- {name: n, subject: {}, action: read, resource: wikki, expect: deny}", "unknown-resource", "Did you mean `wiki`?"),
    ("- {name: n, subject: {}, action: read, resource: wiki, expect: deny, because: mfaa}", "unknown-policy", "Did you mean `mfa`?"),
    ("- {name: n, subject: {}, action: read, resource: wiki, expect: deny, cure: passkeys}", "unknown-remedy", "Did you mean `passkey`?"),
    ("- {name: n, subject: {}, action: read, resource: wiki, expect: allow, cure: passkey}", "value", "expect deny"),
    ("- {name: n, subject: {user: a, workload: b}, action: read, resource: wiki, expect: deny}", "value", "Keep one."),
    ("- {name: n, subject: {attributes: {clearance: high}}, action: read, resource: wiki, expect: deny}", "value", "of that type"),
    ("- {name: n, subject: {}, action: read, resource: wiki, expect: deny, context: {aal: 4}}", "value", "out of bounds"),
    ("- {name: n, subject: {}, action: read, resource: wiki, expect: deny, context: {hour: 3, now: '2026-01-01T00:00:00Z'}}", "value", "Keep one."),
    ("- {name: n, subject: {}, action: read, resource: wiki}", "missing-key", "Add `expect:`"),
    ("name: n", "value", "Begin each test"),
]  # fmt: skip


@pytest.mark.parametrize(("tests", "finding_id", "remedy"), WRONG)
def test_a_mistake_in_a_test_has_its_place_and_remedy(tests: str, finding_id: str, remedy: str) -> None:
    with pytest.raises(BundleRefused) as refused:
        results(tests)
    finding = refused.value.findings[0]
    assert (finding.file, finding.id) == ("tests/a.yaml", finding_id)
    assert remedy in finding.remedy


def test_a_failed_test_makes_the_check_fail() -> None:
    tests = "- {name: n, subject: {}, action: read, resource: wiki, expect: allow}\n"
    report = check_bundle({"limen.yaml": YAML, "policies/a.cedar": MFA, "tests/a.yaml": tests})
    assert report.bundle is not None
    assert not report.ok
    assert [result.passed for result in report.results] == [False]


def test_files_that_make_no_bundle_are_reported_whole() -> None:
    report = check_bundle({"limen.yaml": "domain: 1\n", "policies/a.cedar": "permit"})
    assert report.bundle is None
    assert not report.ok
    assert len(report.findings) == 2

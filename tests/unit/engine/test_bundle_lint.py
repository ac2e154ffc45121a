"""Lint: for each rule what it finds, and what stands near and is not found."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

import pytest

from limen.core.errors import Finding, Severity
from limen.engine.bundle import parse_bundle
from limen.engine.check import check_bundle
from limen.engine.lint import lint
from limen.engine.lint_rules import BY_ID, RULES

YAML = """\
domain: corp.example
attributes: {clearance: Long}
apps:
  wiki:
    upstream: http://127.0.0.1:1
    allow: [group:staff]
  payroll:
    upstream: http://127.0.0.1:2
    labels: [phi]
    segment: prod
    routes:
      - {name: exports, path: /exports/**, action: admin}
segments: {prod: {}}
"""

REST = """\
@id("mfa") @reason("Second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
@id("phi") @reason("Passkey.")
forbid(principal is User, action, resource in Label::"phi")
unless { context has session && context.session.phishing_resistant };
@id("hr") permit(principal in Group::"hr", action, resource in App::"payroll");
@id("admins") permit(principal in Group::"limen-admins", action in [Action::"read", Action::"admin"], resource in App::"limen");
"""

GROUPS = frozenset({"staff", "hr", "limen-admins"})


def found(
    cedar: str = "", *, yaml: str = YAML, rest: str = REST, groups: frozenset[str] | None = GROUPS
) -> tuple[Finding, ...]:
    return lint(
        parse_bundle({"limen.yaml": yaml, "policies/a.cedar": rest, "policies/x.cedar": cedar}), groups=groups
    )


def about_x(cedar: str) -> set[str]:
    """Ids of what is found in the policy `x`."""
    return {finding.id for finding in found(cedar) if finding.file == "policies/x.cedar"}


def permit(scope: str, condition: str = "true") -> str:
    return f'@id("x") permit({scope}) when {{ {condition} }};'


def forbid(scope: str, condition: str = "true") -> str:
    return f'@id("x") @reason("r") forbid({scope}) when {{ {condition} }};'


def test_a_good_bundle_is_clean() -> None:
    assert found() == ()


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        ("principal, action, resource", "true"),
        ('principal in Group::"hr", action, resource', "true"),
        ('principal in Group::"hr", action, resource is App', "true"),
        ('principal in Group::"hr", action, resource', "resource == resource || context.hour > 3"),
        ('principal, action, resource in App::"wiki"', "true"),
        ('principal, action, resource in App::"wiki"', "principal == principal"),
    ],
)
def test_a_permit_without_a_bound_is_an_error(scope: str, condition: str) -> None:
    assert "unbounded-permit" in about_x(permit(scope, condition))
    assert BY_ID["unbounded-permit"].severity is Severity.ERROR


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        ('principal is User, action, resource in App::"wiki"', "true"),
        ('principal in Group::"hr", action, resource', 'resource in Label::"phi"'),
        ('principal, action, resource in App::"wiki"', 'principal in Group::"hr"'),
        ('principal in Group::"hr", action, resource in Segment::"prod"', "true"),
    ],
)
def test_a_bounded_permit_is_none(scope: str, condition: str) -> None:
    assert "unbounded-permit" not in about_x(permit(scope, condition))


HR = 'principal in Group::"hr", action, resource in App::"payroll"'

IMPOSSIBLE = [
    (HR, "false"),
    (HR, "1 == 2"),
    (HR, "context.hour > 23"),
    (HR, "context.hour < 9 && context.hour >= 17"),
    (HR, "context.hour == 9 && context.hour != 9"),
    (HR, "[1, 2].contains(context.weekday) && context.weekday > 5"),
    (HR, "[1].contains(context.weekday) && [2].contains(context.weekday)"),
    (HR, "![1, 2, 3, 4, 5, 6, 7].contains(context.weekday)"),
    (HR, "context.risk == 101"),
    (HR, "context.network.anonymizer && !context.network.anonymizer"),
    (HR, "context.network.anonymizer == false && context.network.anonymizer"),
    (HR, "if context.network.anonymizer then context.hour > 30 else false"),
    (
        HR,
        'context has session && context.session.age < duration("1h") && context.session.age > duration("61m")',
    ),
    (HR, 'context has session && context.session.auth_age < duration("0s")'),
    (HR, "!(context has device) && context has device && context.device.compliant"),
    (HR, "context has session && context.session.aal == 4"),
    (HR, "principal is Workload && principal is User"),
    ('principal is User, action, resource in App::"wiki"', "principal is Workload"),
    ('principal is User, action, resource in App::"wiki"', 'principal.kind == "employe"'),
    ('principal is User, action, resource in App::"wiki"', "principal.quarantined"),
    ('principal is User, action, resource in App::"wiki"', 'principal.status == "suspended"'),
    ('principal == User::"ada", action, resource in App::"wiki"', "principal is Workload"),
    ('principal == User::"ada", action, resource in App::"wiki"', 'principal == Workload::"ada"'),
    (HR, 'resource in Label::"phi" && !(resource in Label::"phi")'),
    ('principal in Group::"hr", action, resource in App::"wiki"', 'resource in Label::"phi"'),
    (
        'principal in Group::"hr", action == Action::"read", resource in App::"wiki"',
        'action == Action::"write"',
    ),
    ('principal in Group::"hr", action, resource in App::"wiki"', "resource is Route"),
    ('principal in Group::"hr", action, resource == App::"payroll"', "resource is Route"),
]


@pytest.mark.parametrize(("scope", "condition"), IMPOSSIBLE)
def test_a_permit_no_one_can_satisfy_is_found(scope: str, condition: str) -> None:
    assert about_x(permit(scope, condition)) == {"unsatisfiable-permit"}


@pytest.mark.parametrize(("scope", "condition"), IMPOSSIBLE)
def test_a_guardrail_that_can_never_fire_is_found(scope: str, condition: str) -> None:
    assert about_x(forbid(scope, condition)) == {"dead-guardrail"}


POSSIBLE = [
    (HR, "true"),
    (HR, "context.hour >= 9 && context.hour < 10"),
    (HR, "context.hour == 1 || context.hour > 23"),
    (HR, "context.hour == 1"),
    (HR, "context.hour == 0"),
    (HR, "context.hour == 23"),
    (HR, "context.weekday == 7"),
    (HR, "context has session && context.session.aal == 3"),
    (HR, "context.risk == 100"),
    (HR, "[6, 7].contains(context.weekday)"),
    (HR, 'context.network.ip.isInRange(ip("10.0.0.0/8")) && context.network.ip == ip("10.0.0.1")'),
    (HR, 'ip("::1") == ip("0:0:0:0:0:0:0:1")'),
    (
        HR,
        'context has session && context.session.age >= duration("1h") && context.session.age < duration("61m")',
    ),
    (HR, 'context.network has country && context.network.country like "P*"'),
    (HR, "resource is Route"),
    (HR, 'resource in Segment::"prod" && resource in Label::"phi"'),
    (HR, 'principal in Group::"staff"'),
    (HR, "context.hour < context.weekday"),
    (HR, "context has device && !context.device.compliant"),
    (
        'principal in Group::"hr", action in Action::"access", resource in App::"payroll"',
        'action == Action::"admin"',
    ),
]


@pytest.mark.parametrize(("scope", "condition"), POSSIBLE)
def test_what_may_be_true_is_not_called_impossible(scope: str, condition: str) -> None:
    assert not about_x(permit(scope, condition)) & {"unsatisfiable-permit", "dead-guardrail"}
    assert not about_x(forbid(scope, condition)) & {"unsatisfiable-permit", "dead-guardrail"}


def test_a_permit_that_guardrails_always_defeat_is_unsatisfiable() -> None:
    alone = "context has session && context.session.aal == 1"
    assert about_x(permit('principal is User, action, resource in App::"wiki"', alone)) == {
        "unsatisfiable-permit"
    }
    either = permit('principal, action, resource in App::"wiki"', f"principal is Workload || {alone}")
    assert about_x(either) == set()


def test_a_guardrail_whose_unless_always_holds_is_dead() -> None:
    cedar = (
        '@id("x") @reason("r") forbid(principal is User, action, resource) unless { context has session };'
    )
    assert about_x(cedar) == {"dead-guardrail"}


def test_a_condition_with_too_many_alternatives_counts_as_possible() -> None:
    one = " && ".join(f"(context.hour == {n} || context.risk == {n})" for n in range(12))
    assert "unsatisfiable-permit" not in about_x(permit(HR, f"{one} && context.hour > 23"))


def test_a_forbid_that_reads_an_optional_attribute_without_has_is_an_error() -> None:
    cedar = '@id("x") @reason("r") forbid(principal, action, resource in Label::"phi") unless { context.device.compliant };'
    report = check_bundle({"limen.yaml": YAML, "policies/a.cedar": REST, "policies/x.cedar": cedar})
    [finding] = report.findings
    assert (finding.id, finding.line, finding.column) == ("unguarded-optional", 1, 84)
    assert "`context has device && …`" in finding.remedy
    assert not report.ok


def test_a_has_test_for_an_attribute_that_never_exists_is_an_error() -> None:
    cedar = forbid("principal is User, action, resource", "principal.attributes has clearence")
    [finding] = [f for f in found(cedar) if f.id == "unknown-attribute"]
    assert finding.remedy == "Did you mean `clearance`?"
    known = forbid(
        "principal is User, action, resource",
        "principal.attributes has clearance && context has device && context.device.posture has firewall",
    )
    assert about_x(known) == set()


@pytest.mark.parametrize(
    "condition",
    ["context.hour + 1 > 18", "context.hour < context.weekday", 'context.now.toTime() > duration("9h")',
     "context has session && context.session.age < context.session.auth_age", "[context.hour].contains(3)"],
)  # fmt: skip
def test_time_without_a_next_edge_is_found(condition: str) -> None:
    assert "unmemoisable-time" in about_x(forbid("principal is User, action, resource", condition))


@pytest.mark.parametrize(
    "condition",
    ["context.hour < 18", "18 > context.hour", "context.weekday != 7", "[6, 7].contains(context.weekday)",
     'context has session && context.session.auth_age <= duration("15m")', 'context.now < datetime("2030-01-01")'],
)  # fmt: skip
def test_time_compared_with_a_literal_is_memoisable(condition: str) -> None:
    assert about_x(forbid("principal is User, action, resource", condition)) == set()


def test_unknown_groups_warn_in_permits_and_are_errors_in_forbids() -> None:
    [one] = found(permit('principal in Group::"saff", action, resource in App::"wiki"'))
    assert (one.id, one.severity, one.remedy) == ("unknown-group", Severity.WARNING, "Did you mean `staff`?")
    [two] = found(forbid('principal in Group::"saff", action, resource'))
    assert (two.id, two.severity) == ("unknown-group", Severity.ERROR)
    assert found(forbid('principal in Group::"saff", action, resource'), groups=None) == ()


def test_groups_that_no_policy_names_are_listed_in_one_finding() -> None:
    [finding] = found(groups=GROUPS | {"interns", "board"})
    assert finding.id == "unreferenced-group"
    assert "(2): board, interns" in finding.message


def test_labels_are_matched_both_ways() -> None:
    [one] = found(forbid('principal, action, resource in Label::"pih"'))
    assert (one.id, one.severity, one.remedy) == ("unknown-label", Severity.ERROR, "Did you mean `phi`?")
    [two] = found(yaml=YAML.replace("labels: [phi]", "labels: [phi, pii]"))
    assert (two.id, two.file, two.line, two.column) == ("unreferenced-label", "limen.yaml", 9, 19)


@pytest.mark.parametrize(
    "name", ['App::"payrol"', 'Route::"payroll/export"', 'Segment::"production"', 'Service::"db"']
)
def test_resources_that_do_not_exist_are_found(name: str) -> None:
    [finding] = found(permit(f'principal in Group::"hr", action, resource in {name}')) if "Service" not in name else list(found(permit('principal in Group::"hr", action, resource', f'resource in App::"wiki" || resource == {name}')))  # fmt: skip
    assert finding.id == "unknown-resource"


def test_duplicates_are_found_across_layout_and_sugar() -> None:
    [one] = found('@id("x")\npermit ( principal in Group::"hr",\n action, resource in App::"payroll" ) ;')
    assert one.id == "duplicate-policy"
    [two] = found(
        permit(
            'principal in Group::"staff", action in [Action::"read", Action::"write"], resource in App::"wiki"'
        ).replace(" when { true }", "")
    )
    assert (two.id, two.file) == ("duplicate-policy", "limen.yaml")


def test_an_app_that_no_policy_names_is_found() -> None:
    yaml = YAML + "  # end\n"
    [finding] = found(yaml=yaml.replace("    allow: [group:staff]\n", ""), groups=None)
    assert (finding.id, finding.line, finding.column) == ("unnamed-resource", 4, 3)


SERVICES = """\
services:
  db: {address: "db:5432", protocol: postgres, segment: data, labels: [phi], allow: [group:staff]}
"""
WITH_SERVICE = YAML.replace("segments: {prod: {}}", "segments: {prod: {}, data: {}}") + SERVICES


def test_services_are_resources_as_apps_are() -> None:
    assert found(yaml=WITH_SERVICE) == ()
    [one] = found(yaml=WITH_SERVICE.replace(", allow: [group:staff]", ""))
    assert (one.id, one.line, one.column) == ("unnamed-resource", 15, 3)
    [two] = found(yaml=WITH_SERVICE.replace("labels: [phi], allow", "labels: [pii], allow"))
    assert (two.id, two.line, two.column) == ("unreferenced-label", 15, 72)
    [three] = found(permit('principal in Group::"hr", action, resource == Service::"dbs"'), yaml=WITH_SERVICE)
    assert (three.id, three.remedy) == ("unknown-resource", "Did you mean `db`?")


def test_a_service_behind_a_password_alone_is_found() -> None:
    plain = WITH_SERVICE.replace(", labels: [phi], allow", ", allow")
    without_mfa = REST.split("\n", 2)[2]
    assert [(f.id, f.line) for f in found(yaml=plain, rest=without_mfa)] == [
        ("no-mfa-resource", 4),
        ("no-mfa-resource", 15),
    ]


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        ('principal in Group::"hr", action == Action::"connect", resource in Segment::"prod"', "true"),
        ('principal in Group::"hr", action == Action::"connect", resource', "resource is App"),
        ('principal in Group::"hr", action == Action::"read", resource in Segment::"data"', "true"),
        ('principal in Group::"hr", action, resource == Service::"db"', 'action == Action::"write"'),
        ('principal in Group::"hr", action, resource is Service in Segment::"prod"', "true"),
    ],
)
def test_an_action_that_the_resource_does_not_have_never_applies(scope: str, condition: str) -> None:
    def ids(cedar: str) -> set[str]:
        return {f.id for f in found(cedar, yaml=WITH_SERVICE) if f.file == "policies/x.cedar"}

    assert "unsatisfiable-permit" in ids(permit(scope, condition))
    assert "dead-guardrail" in ids(forbid(scope, condition))


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        ('principal in Group::"hr", action == Action::"connect", resource in Segment::"data"', "true"),
        ('principal in Group::"hr", action, resource in Segment::"data"', 'resource.protocol == "postgres"'),
        ('principal in Group::"hr", action, resource in Label::"phi"', "resource is Service"),
        ('principal in Group::"hr", action == Action::"connect", resource', 'resource in Label::"phi"'),
    ],
)
def test_a_permit_of_connect_that_meets_a_service_is_clean(scope: str, condition: str) -> None:
    guard = "resource is Service && " if "protocol" in condition else ""
    assert found(permit(scope, guard + condition), yaml=WITH_SERVICE) == ()


def test_a_service_that_only_read_permits_meet_is_named_by_none() -> None:
    yaml = WITH_SERVICE.replace(", allow: [group:staff]", "")
    reads = permit('principal in Group::"hr", action == Action::"read", resource in Label::"phi"')
    assert [(f.id, f.line) for f in found(reads, yaml=yaml)] == [("unnamed-resource", 15)]


def test_an_app_behind_a_password_alone_is_found() -> None:
    rest = REST.split("\n", 2)[2]  # without the guardrail
    assert [(f.id, f.line) for f in found(rest=rest)] == [("no-mfa-resource", 4)]


@pytest.mark.parametrize(
    "guard",
    [
        'unless { context has session && context.session.methods.contains("passkey") }',
        "unless { context has session && (context.session.aal > 1 || context.session.phishing_resistant) }",
        "when { context has session && context.session.aal < 2 }",
        "when { context has session && !context.session.phishing_resistant }",
    ],
)
def test_any_wording_of_a_second_factor_is_understood(guard: str) -> None:
    rest = (
        REST.split("\n", 2)[2] + f'@id("g") @reason("r") forbid(principal is User, action, resource) {guard};'
    )
    assert found(rest=rest) == ()


def test_a_second_factor_may_be_demanded_by_the_permit_itself() -> None:
    rest = REST.split("\n", 2)[2]
    own = permit(
        'principal is User, action, resource in App::"wiki"',
        "context has session && context.session.aal >= 2",
    )
    yaml = YAML.replace("    allow: [group:staff]\n", "")
    assert [f.id for f in found(own, yaml=yaml, rest=rest, groups=None)] == []


def test_a_guardrail_for_another_label_does_not_count_as_second_factor() -> None:
    rest = REST.replace(
        "forbid(principal is User, action, resource) unless",
        'forbid(principal is User, action, resource in Label::"phi") unless',
    )
    assert [f.id for f in found(rest=rest)] == ["no-mfa-resource"]


@pytest.mark.parametrize(
    "change",
    [
        ("limen-admins", "gone"),
        ('Action::"admin"', 'Action::"write"'),
        ('App::"limen")', 'Route::"limen/people")'),
    ],
)
def test_somebody_must_be_able_to_administer_limen(change: tuple[str, str]) -> None:
    ids = {finding.id for finding in found(rest=REST.replace(*change), groups=None)}
    assert ("no-administrator" in ids) == (change[0] != "limen-admins")


def test_a_guardrail_without_a_reason_is_a_warning() -> None:
    assert about_x('@id("x") forbid(principal is User, action, resource) when { context.hour < 6 };') == {
        "missing-reason"
    }


def test_a_public_route_under_a_label_is_a_warning() -> None:
    yaml = YAML.replace("action: admin}", "public: true}")
    assert [(f.id, f.line) for f in found(yaml=yaml)] == [("public-labelled", 12)]


def test_every_rule_says_what_it_sees_and_what_it_does_not() -> None:
    for rule in RULES:
        assert all((rule.title, rule.why, rule.sees, rule.blind, rule.remedy, rule.example)), rule.id


def test_every_finding_of_lint_names_a_rule() -> None:
    ids = {
        f.id
        for f in found(
            permit("principal, action, resource", "context.hour + 1 > 3"), rest="", groups=frozenset({"a"})
        )
    }
    assert ids
    assert ids <= set(BY_ID)

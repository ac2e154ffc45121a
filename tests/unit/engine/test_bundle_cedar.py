"""Cedar files: policies one by one, each error at its place."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

import pytest

from limen.core.errors import BundleRefused, Finding
from limen.engine.bundle import Policy, parse_bundle, parse_with_warnings
from limen.engine.cedar_files import cedar_problem
from limen.engine.cedar_text import quote, split_policies, tokens

YAML = "domain: corp.example\nattributes: {clearance: Long}\napps:\n  wiki: {upstream: 'http://h:1', labels: [phi]}\n"


def policies(cedar: str, file: str = "policies/a.cedar", yaml: str = YAML) -> tuple[Policy, ...]:
    return parse_bundle({"limen.yaml": yaml, file: cedar}).policies


def refusal(cedar: str, file: str = "policies/a.cedar") -> Finding:
    with pytest.raises(BundleRefused) as refused:
        policies(cedar, file)
    return refused.value.findings[0]


def permit(condition: str) -> str:
    return f'@id("a") permit(principal, action, resource) when {{ {condition} }};'


def test_a_file_is_split_where_policies_end() -> None:
    text = '// ; "\n@id("a;\\"//") permit(principal, action, resource);\n\n  forbid(principal, action, resource); // x\n'
    assert [policy.text.split("(")[0] for policy in split_policies(text)] == ["@id", "forbid"]
    assert [token.kind for token in tokens('"a" b ::')] == ["string", "word", "mark"]


def test_each_policy_knows_its_place_text_and_tree() -> None:
    one, two = policies(
        '// first\n@id("one")\npermit(principal, action, resource);\n  @id("two") @reason("Because\n  so.") forbid(principal, action, resource);'
    )
    assert (one.line, one.column, one.layer, one.effect) == (2, 1, "entitlement", "permit")
    assert (two.line, two.column, two.layer, two.effect) == (4, 3, "guardrail", "forbid")
    assert one.cedar == '@id("one")\npermit(principal, action, resource);'
    assert two.reason == "Because so."
    assert two.est["annotations"]["id"] == "two"
    assert one.reason == "The rule “one” allows this."


MISTAKES = [
    ("permit(principal, action resource);", "cedar-syntax", (1, 26)),
    (permit("context.hour === 3"), "cedar-syntax", (1, 68)),
    ('@id("a") permit(principal, action, resource) when { foo bar };', "cedar-syntax", (1, 57)),
    ('@id("a") permit(principal, action, resource) when { a || };', "cedar-syntax", (1, 58)),
    ('@id("a") permit(principal, action, resource) when { "x };', "cedar-syntax", (1, 53)),
    ('@id("a") permit(principal, action, resource) when { true }', "cedar-syntax", (1, 58)),
    ('@id("a") permit(who, action, resource);', "cedar-syntax", (1, 17)),
    ('@id("a") @id("b") permit(principal, action, resource);', "cedar-syntax", (1, 2)),
    ('@id("a") permt(principal, action, resource);', "cedar-syntax", (1, 10)),
    (permit("foo(1)"), "cedar-syntax", (1, 53)),
    (permit('"\\q" == "a"'), "cedar-syntax", (1, 53)),
    ("@id(\"a\") permit(principal, action, resource)\nforbid(principal, action, resource);", "cedar-syntax", (2, 7)),
    (";", "cedar-syntax", (1, 1)),
    ("permit(principal, action, resource);", "missing-id", (1, 1)),
    ('@id("a b") permit(principal, action, resource);', "policy-id", (1, 1)),
    ('@id("allow:wiki:group:x") permit(principal, action, resource);', "policy-id", (1, 1)),
    ('@id("a") permit(principal == ?principal, action, resource);', "template", (1, 1)),
    (permit("principal in Grop::\"a\""), "unknown-entity-type", (1, 66)),
    (permit('action == Action::"reed"'), "unknown-action", (1, 71)),
    (permit("context.sesion.aal > 1"), "unknown-attribute", (1, 53)),
    (permit("context.hour == \"a\""), "schema-mismatch", (1, 1)),
    (permit("context.session.aal > 1"), "unguarded-optional", (1, 53)),
    ('@id("a") permit(principal, action == Action::"connect", resource in App::"wiki");', "impossible-scope", (1, 1)),
    ('@id("a") permit(principal, action == Action::"read", resource == Service::"db");', "impossible-scope", (1, 1)),
    ('@id("a") permit(principal, action in [Action::"read", Action::"write"], resource is Service);', "impossible-scope", (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("cedar", "finding_id", "place"), MISTAKES)
def test_a_mistake_is_found_where_it_is(cedar: str, finding_id: str, place: tuple[int, int]) -> None:
    finding = refusal(cedar)
    assert (finding.id, (finding.line, finding.column)) == (finding_id, place)
    assert finding.remedy


def test_a_mistake_in_the_second_policy_is_not_blamed_on_the_first() -> None:
    good = '@id("good") permit(principal is User, action, resource);\n\n'
    assert refusal(good + permit("context.foo == 1")).line == 3
    assert refusal(good + permit('context.hour == "policy0"')).line == 3


def test_near_names_are_suggested() -> None:
    assert "`session`" in refusal(permit("context.sesion.aal > 1")).remedy
    assert "`read`" in refusal(permit('action == Action::"reed"')).remedy
    assert "`Group`" in refusal(permit('principal in Grop::"a"')).remedy


def test_ids_are_unique_across_files() -> None:
    cedar = '@id("a") permit(principal is User, action, resource);'
    with pytest.raises(BundleRefused) as refused:
        parse_bundle({"limen.yaml": YAML, "policies/a.cedar": cedar, "policies/b/c.cedar": "\n" + cedar})
    [finding] = refused.value.findings
    assert (finding.id, finding.file, finding.line) == ("duplicate-id", "policies/b/c.cedar", 2)
    assert "policies/a.cedar:1" in finding.message


def test_guardrails_only_forbid_and_entitlements_only_permit() -> None:
    allow = '@id("a") permit(principal is User, action, resource);'
    deny = '@id("a") forbid(principal is User, action, resource);'
    assert refusal(allow, "policies/guardrails/a.cedar").id == "permit-in-guardrails"
    assert refusal(deny, "policies/entitlements/a.cedar").id == "forbid-in-entitlements"
    assert policies(deny, "policies/guardrails/a.cedar")[0].layer == "guardrail"
    assert policies(allow, "policies/entitlements/b/a.cedar")[0].layer == "entitlement"
    assert policies(deny, "policies/mixed.cedar")[0].layer == "guardrail"


def test_an_unknown_annotation_is_a_warning_with_the_nearest_known_one() -> None:
    cedar = '@id("a") @reson("x") forbid(principal is User, action, resource);'
    _, [warning] = parse_with_warnings({"limen.yaml": YAML, "policies/a.cedar": cedar})
    assert (warning.id, warning.column, warning.remedy) == (
        "unknown-annotation",
        10,
        "Did you mean `@reason`?",
    )


def test_own_attributes_extend_the_schema() -> None:
    cedar = '@id("a") permit(principal is User, action, resource) when { principal.attributes has clearance && principal.attributes.clearance > 2 };'
    assert policies(cedar)[0].id == "a"


@pytest.mark.parametrize(
    "condition",
    ["(" * 2000 + "true" + ")" * 2000, "[" * 2000 + "]" * 2000 + " == 1", " || ".join(["true"] * 2000),
     "if true then " * 500 + "true" + " else false" * 500, "context" + ".a" * 500],
    ids=["brackets", "sets", "operators", "ifs", "accesses"],
)  # fmt: skip
def test_a_policy_too_deep_for_cedar_s_stack_never_reaches_it(condition: str) -> None:
    assert refusal(permit(condition)).id == "too-complex"


def test_allow_is_written_out_as_cedar() -> None:
    yaml = "domain: d.example\napps:\n  wiki: {upstream: 'http://h:1', allow: [group:staff, user:ada, workload:backup]}\n"
    found = parse_bundle({"limen.yaml": yaml}).policies
    assert [(p.id, p.layer, p.file, p.line, p.column) for p in found] == [
        ("allow:wiki:group:staff", "sugar", "limen.yaml", 3, 42),
        ("allow:wiki:user:ada", "sugar", "limen.yaml", 3, 55),
        ("allow:wiki:workload:backup", "sugar", "limen.yaml", 3, 65),
    ]
    assert found[0].est["principal"] == {"op": "in", "entity": {"type": "Group", "id": "staff"}}
    assert found[1].est["principal"] == {"op": "==", "entity": {"type": "User", "id": "ada"}}
    assert [entity["id"] for entity in found[0].est["action"]["entities"]] == ["read", "write"]
    assert all(cedar_problem(policy.cedar) is None for policy in found)


@pytest.mark.parametrize(
    "name", ['a"b', "a\\", 'x"); permit(principal, action, resource); //', "Ünï", "a\u200bb", "'"]
)
def test_a_group_name_cannot_break_out_of_its_string(name: str) -> None:
    import json

    yaml = f"domain: d.example\napps:\n  wiki: {{upstream: 'http://h:1', allow: [{json.dumps('group:' + name)}]}}\n"
    [policy] = parse_bundle({"limen.yaml": yaml}).policies
    assert policy.est["principal"]["entity"] == {"type": "Group", "id": name}
    assert quote(name).isascii()

"""Claim rules (laws M1 to M3): what a source says to groups and attributes, without code."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.core.identity_config import ClaimRule
from limen.information.identity.claim_rules import (
    VALUE_LENGTH_MAX,
    apply_rules,
    fit_types,
    matches,
    read_values,
)

CLAIMS: dict[str, Any] = {
    "dept": "R&D",
    "roles": ["admin", "clinician:eu", "clinician:us", 7, None, {"x": 1}],
    "realm": {"roles": ["auditor"], "level": 3},
    "https://corp.example/tenant": "t-1",
    "vip": True,
    "none": None,
    "empty": "",
    "size": 1.5,
}


@pytest.mark.parametrize(
    ("rule", "groups", "attributes"),
    [
        (ClaimRule("dept", group="people"), ("people",), {}),
        (ClaimRule("dept", "Sales", group="people"), (), {}),
        (ClaimRule("dept", "R*", group="rnd"), ("rnd",), {}),
        (ClaimRule("roles", "clinician:*", group="corp/{}"), ("corp/clinician:eu", "corp/clinician:us"), {}),
        (ClaimRule("roles", "7", group="seven"), ("seven",), {}),
        (ClaimRule("realm.roles", group="{}"), ("auditor",), {}),
        (ClaimRule("https://corp.example/tenant", attribute="employer"), (), {"employer": "t-1"}),
        (ClaimRule("realm.level", attribute="clearance"), (), {"clearance": 3}),
        (ClaimRule("vip", "true", group="vips"), ("vips",), {}),
        (ClaimRule("vip", attribute="vip"), (), {"vip": True}),
        (ClaimRule("roles", "clinician:*", attribute="region"), (), {}),
        (ClaimRule("roles", "clinician:eu", attribute="region"), (), {"region": "clinician:eu"}),
        (ClaimRule("absent", group="g"), (), {}),
        (ClaimRule("none", group="g"), (), {}),
        (ClaimRule("empty", group="g"), (), {}),
        (ClaimRule("size", attribute="size"), (), {}),
        (ClaimRule("realm", attribute="realm"), (), {}),
        (ClaimRule("dept.x", attribute="x"), (), {}),
    ],
)
def test_a_rule_gives_what_the_claim_says(
    rule: ClaimRule, groups: tuple[str, ...], attributes: dict[str, Any]
) -> None:
    assert apply_rules((rule,), CLAIMS) == (groups, attributes)


def test_the_first_rule_that_gives_a_value_counts() -> None:
    rules = (
        ClaimRule("absent", attribute="title"),
        ClaimRule("dept", attribute="title"),
        ClaimRule("realm.level", attribute="title"),
    )
    assert apply_rules(rules, CLAIMS)[1] == {"title": "R&D"}


def test_values_fit_the_types_that_the_bundle_declares() -> None:
    types = {"title": "String", "clearance": "Long", "vip": "Bool"}
    said = {"title": 5, "clearance": "42", "vip": "TRUE", "undeclared": "x"}
    assert fit_types(said, types) == {"title": "5", "clearance": 42, "vip": True}
    assert fit_types({"title": "a\nb", "clearance": "4.2", "vip": "yes"}, types) == {}
    assert fit_types({"clearance": True, "vip": 1}, types) == {}
    assert fit_types({"clearance": str(2**63)}, types) == {}
    assert fit_types({"clearance": "٤"}, types) == {}


@given(st.lists(st.sampled_from("ab"), max_size=8).map("".join), st.text("ab*", max_size=8))
def test_a_pattern_means_what_a_shell_would_say(value: str, pattern: str) -> None:
    from fnmatch import fnmatchcase

    assert matches(pattern, value) == (not pattern or fnmatchcase(value, pattern))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a.b", max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
_RULES = st.lists(
    st.builds(ClaimRule, st.text("a.b", max_size=5), st.text("a*", max_size=3), st.text("{}g", max_size=3),
              st.sampled_from(["", "x", "y"])), max_size=4,
)  # fmt: skip


@given(st.dictionaries(st.text("a.b", max_size=4), _JSON, max_size=4), _RULES)
def test_m1_m3_nothing_comes_from_nothing_and_nothing_raises(
    claims: dict[str, Any], rules: list[ClaimRule]
) -> None:
    groups, attributes = apply_rules(rules, claims)
    silent = [rule for rule in rules if not read_values(claims, rule.claim)]
    assert apply_rules(silent, claims) == ((), {})
    assert apply_rules(rules, {}) == ((), {})
    assert all(groups) and all(isinstance(value, str | int) for value in attributes.values())
    assert list(fit_types(attributes, {"x": "String"})) in ([], ["x"])


@given(st.lists(st.sampled_from(["u", "v"]), min_size=2, max_size=4))
def test_m2_an_attribute_has_one_value(values: list[str]) -> None:
    _, attributes = apply_rules((ClaimRule("c", attribute="a"),), {"c": values})
    assert attributes == ({"a": values[0]} if len(set(values)) == 1 else {})


def test_m3_hostile_claims_cost_linear_time() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    claims = {"groups": ["a" * 1_000] * 10_000, "a": deep, "long": "x" * (VALUE_LENGTH_MAX + 1)}
    pattern = "*a" * 200 + "b"
    begun = time.process_time()
    assert apply_rules((ClaimRule("groups", pattern, group="g"),), claims) == ((), {})
    assert apply_rules((ClaimRule(".".join(["a"] * 256), group="g"),), claims) == ((), {})
    assert read_values(claims, "long") == ()
    assert time.process_time() - begun < 4.0

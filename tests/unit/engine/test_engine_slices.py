"""Slices: exactly the policies whose scope matches; equal ones are one object, parsed once."""

import pytest
from engine_world import facts, person, policies, workload

MANY = """
@id("any") permit(principal, action, resource);
@id("is-user") permit(principal is User, action, resource);
@id("is-workload") permit(principal is Workload, action, resource);
@id("ada") permit(principal == User::"ada", action, resource);
@id("staff") permit(principal in Group::"staff", action, resource);
@id("sre") permit(principal in Group::"sre", action, resource);
@id("user-in-hr") permit(principal is User in Group::"hr", action, resource);
@id("workload-in-hr") permit(principal is Workload in Group::"hr", action, resource);
@id("in-ada") permit(principal in User::"ada", action, resource);
@id("read") permit(principal, action == Action::"read", resource);
@id("write") permit(principal, action in [Action::"write"], resource);
@id("access") permit(principal, action in Action::"access", resource);
@id("wiki") permit(principal, action, resource == App::"wiki");
@id("in-wiki") permit(principal, action, resource in App::"wiki");
@id("route") permit(principal, action, resource is Route);
@id("route-in-wiki") permit(principal, action, resource is Route in App::"wiki");
@id("phi") permit(principal, action, resource in Label::"phi");
@id("prod") permit(principal, action, resource in Segment::"prod");
"""

ALWAYS = {"any", "access"}
ADA = {"is-user", "ada", "staff", "user-in-hr", "in-ada"}


def in_slice(about, action: str = "read") -> set[str]:
    return {policy.id for policy in policies(MANY).plan(action, about).policies}


@pytest.mark.parametrize(
    ("about", "action", "expected"),
    [
        (facts(), "read", ALWAYS | ADA | {"read", "wiki", "in-wiki"}),
        (facts(), "write", ALWAYS | ADA | {"write", "wiki", "in-wiki"}),
        (
            facts(target="Route::wiki/edit"),
            "admin",
            ALWAYS | ADA | {"in-wiki", "route", "route-in-wiki", "phi"},
        ),
        (facts(target="App::payroll"), "admin", ALWAYS | ADA | {"phi", "prod"}),
        (facts(target="Route::payroll/exports"), "admin", ALWAYS | ADA | {"phi", "prod", "route"}),
        (facts(person("eve", ("sre",))), "admin", ALWAYS | {"is-user", "staff", "sre", "wiki", "in-wiki"}),
        (
            facts(workload("w", ("hr",)), session=None),
            "admin",
            ALWAYS | {"is-workload", "staff", "workload-in-hr", "wiki", "in-wiki"},
        ),
        (facts(), "fly", set()),
    ],
)
def test_a_slice_holds_exactly_the_policies_whose_scope_matches(
    about, action: str, expected: set[str]
) -> None:
    assert in_slice(about, action) == expected


def test_equal_slices_are_one_object_with_one_parsed_set() -> None:
    compiled = policies('@id("staff") permit(principal in Group::"staff", action, resource);')
    first = compiled.plan("read", facts(person("ada", ("hr",))))
    second = compiled.plan("write", facts(person("eve", ("sre",)), target="App::payroll"))
    assert first is second
    assert first.parsed is second.parsed


def test_a_changed_group_is_another_slice() -> None:
    compiled = policies('@id("hr") permit(principal in Group::"hr", action, resource);')
    assert compiled.plan("read", facts(person("ada", ("hr",)))).policies
    assert not compiled.plan("read", facts(person("ada", ("sre",)))).policies

"""Each trap of cedarpy 4.12 that the design names, sprung on purpose, and how Limen stands by it."""

import cedarpy
import pytest
from engine_world import NOON, bundle, device, facts, person, policies, ref, request, session

from limen.core.catalogue import Catalogue
from limen.core.decision import Code, Grant, Network
from limen.core.entities import Entity, close_entity
from limen.core.errors import Invalid
from limen.core.ids import EntityRef
from limen.engine import cedar
from limen.engine.decide import decide
from limen.engine.policies import compile_policies
from limen.engine.schema import cedar_schema

SCHEMA = cedar_schema(Catalogue(domain="corp.example"))
ALL = '@id("all") permit(principal, action, resource);'
INSIDE = """@id("in") permit(principal, action, resource)
    when { context.network.ip.isInRange(ip("10.0.0.0/8")) };"""
USER = {"status": "active", "kind": "employee", "quarantined": False, "attributes": {}}


@pytest.mark.parametrize("name", ["new\nline", 'quo"te', "back\\slash", "nul\x00", "snö", "ada@corp.example"])
def test_trap_unusual_ids_decide_as_any_other(name: str) -> None:
    about = facts(person(name, ("hr",)))
    compiled = policies('@id("hr") permit(principal in Group::"hr", action, resource);')
    assert decide(request(about), about, compiled).allowed


def test_trap_the_string_form_of_references_gives_no_decision_and_we_deny() -> None:
    raw = cedarpy.is_authorized(
        {
            "principal": 'User::"new\nline"',
            "action": 'Action::"read"',
            "resource": 'App::"wiki"',
            "context": {},
        },
        "permit(principal, action, resource);",
        [],
    )
    assert raw.decision is cedarpy.Decision.NoDecision
    entities = cedar.parse_entities((), cedar.parse_schema(SCHEMA))
    with pytest.raises(cedar.EngineFault):
        cedar.ask(
            ref("User::ada"),
            "read",
            ref("App::wiki"),
            context="{",
            policies=cedar.parse_policies({}),
            entities=entities,
        )


def test_trap_references_in_attributes_are_references() -> None:
    about = facts(target="App::payroll")
    compiled = policies(
        '@id("own") permit(principal, action, resource) when { resource.owner == principal };'
    )
    assert decide(request(about), about, compiled).allowed


def test_trap_an_entity_that_does_not_fit_the_schema_is_a_deny_whatever_the_policies_say() -> None:
    root = EntityRef("User", "ada")
    crooked = close_entity(root, {root: Entity(root, {**USER, "kind": 7})}.get)
    about = facts(crooked)
    found = decide(request(about), about, policies(ALL))
    assert (found.allowed, found.code) == (False, Code.ENGINE_FAILED)


def test_trap_an_erring_forbid_is_skipped_by_cedar_and_not_by_us() -> None:
    text = ALL + '@id("f") forbid(principal, action, resource) when { context.device.compliant };'
    raw = cedarpy.is_authorized(
        {
            "principal": {"type": "User", "id": "a"},
            "action": {"type": "Action", "id": "read"},
            "resource": {"type": "App", "id": "wiki"},
            "context": {},
        },
        text,
        [],
    )
    assert raw.allowed
    about = facts()
    assert decide(request(about), about, policies(text)).code is Code.POLICY_ERROR


def test_trap_error_texts_hold_entities_and_no_fault_of_ours_repeats_them() -> None:
    entity = Entity(EntityRef("User", "ada"), {**USER, "kind": 7, "secret": "top-secret"})
    raw = cedarpy.is_authorized(
        {
            "principal": {"type": "User", "id": "ada"},
            "action": {"type": "Action", "id": "read"},
            "resource": {"type": "App", "id": "wiki"},
            "context": {},
        },
        "permit(principal, action, resource);",
        [{"uid": {"type": "User", "id": "ada"}, "attrs": dict(entity.attrs), "parents": []}],
        SCHEMA,
    )
    assert raw.decision is cedarpy.Decision.NoDecision
    assert "top-secret" in str(raw.diagnostics.errors)
    with pytest.raises(cedar.EngineFault) as caught:
        cedar.parse_entities([entity], cedar.parse_schema(SCHEMA))
    assert "ada" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_trap_the_schema_brings_the_action_hierarchy_with_the_entities() -> None:
    actions = cedar.action_ancestors(cedar.parse_schema(SCHEMA))
    assert actions["read"] == {"read", "access"}
    about = facts()
    compiled = policies('@id("any") permit(principal, action in Action::"access", resource);')
    for action in ("read", "write", "admin"):
        assert decide(request(about, action), about, compiled).allowed


def test_trap_policy_ids_are_ours_and_not_positional() -> None:
    about = facts()
    compiled = policies('@id("other") permit(principal in Group::"nobody", action, resource);' + ALL)
    assert decide(request(about), about, compiled).policies == ("all",)


def test_trap_an_id_can_look_like_the_start_of_another_in_an_error() -> None:
    error = "error while evaluating policy `a`: b`: record does not have the attribute `x`"
    assert cedar.erring_ids(error, ("a", "a`: b", "c")) == ("a", "a`: b")
    assert cedar.erring_ids("something else about `a`", ("a",)) == ()


def test_trap_an_error_that_could_be_a_forbids_counts_as_one() -> None:
    text = (
        ALL
        + '@id("a`: b") permit(principal, action, resource) when { context.device.compliant };'
        + '@id("a") forbid(principal, action, resource) when { context.risk > 100 };'
    )
    about = facts()
    found = decide(request(about), about, policies(text))
    assert (found.code, found.policies) == (Code.POLICY_ERROR, ("a",))


def test_trap_a_bare_entity_would_break_the_schema_and_is_left_out() -> None:
    about = facts(target="App::wiki")  # owned by someone whom the directory does not know
    assert any(one.ref.id == "nobody-known" and not one.attrs for one in about.resource.entities)
    assert decide(request(about), about, policies(ALL)).allowed


def test_trap_closures_that_differ_on_an_entity_do_not_break_the_parse() -> None:
    stale_owner = close_entity(
        ref("App::payroll"),
        {
            ref("App::payroll"): Entity(
                ref("App::payroll"), {"owner": {"__entity": {"type": "User", "id": "ada"}}}
            ),
            ref("User::ada"): Entity(ref("User::ada"), {**USER, "kind": "contractor"}),
        }.get,
    )
    about = facts(person("ada", kind="employee"))
    about = type(about)(subject=about.subject, resource=stale_owner, session=session())
    compiled = policies('@id("e") permit(principal, action, resource) when { principal.kind == "employee" };')
    assert decide(request(about), about, compiled).allowed  # of the subject, its own closure speaks


def test_trap_a_policy_may_not_bear_the_name_of_a_grant() -> None:
    with pytest.raises(Invalid):
        compile_policies(bundle('@id("grant:g1") permit(principal, action, resource);'))


def test_trap_grants_with_unusual_ids_link() -> None:
    grant = Grant('g"\n1', EntityRef("User", 'od\nd "one'), ("read",), ref("App::wiki"), NOON + 60)
    about = facts(person('od\nd "one'), grants=(grant,))
    assert decide(request(about), about, policies("")).policies == ('grant:g"\n1',)


@pytest.mark.parametrize("ip", ["", "not-an-address", "fe80::1%eth0", "10.0.0.256"])
def test_trap_an_address_that_can_not_be_read_is_a_deny_where_it_matters(ip: str) -> None:
    about = facts(network=Network(ip=ip))
    assert decide(request(about), about, policies(INSIDE)).code is Code.ENGINE_FAILED
    assert decide(request(about), about, policies(ALL)).allowed


def test_trap_a_mapped_address_is_the_address_that_policies_mean() -> None:
    about = facts(network=Network(ip="::ffff:10.1.2.3"))
    assert decide(request(about), about, policies(INSIDE)).allowed


def test_a_device_that_no_policy_reads_is_not_handed_to_cedar() -> None:
    root = EntityRef("Device", "odd")
    about = facts(device=type(device())(close_entity(root, {root: Entity(root, {"trust": "high"})}.get)))
    assert decide(request(about), about, policies(ALL)).allowed
    reading = policies('@id("d") permit(principal, action, resource) when { context has device };')
    assert decide(request(about), about, reading).code is Code.ENGINE_FAILED


def test_a_panic_below_python_is_a_deny() -> None:
    class Panic(BaseException):
        pass

    class Broken:
        bundle = "b"

        def plan(self, *_: object) -> None:
            raise Panic

    about = facts()
    assert decide(request(about), about, Broken()).code is Code.ENGINE_FAILED  # type: ignore[arg-type]


def test_an_interrupt_is_no_fault() -> None:
    class Interrupted:
        bundle = "b"

        def plan(self, *_: object) -> None:
            raise KeyboardInterrupt

    about = facts()
    with pytest.raises(KeyboardInterrupt):
        decide(request(about), about, Interrupted())  # type: ignore[arg-type]

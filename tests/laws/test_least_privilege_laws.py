"""Law G1 of least privilege, on generated organisations, bundles and uses."""

import msgspec
from engine_world import NOON, person, request, session
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.core.decision import Facts, Grant
from limen.core.entities import Closure, close_entity
from limen.core.ids import EntityRef
from limen.core.record import DecisionRecord, InputsRecord
from limen.core.resources import catalogue_entities
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.decide import decide
from limen.engine.policies import compile_policies
from limen.engine.replay import stable_inputs
from limen.governance.least_privilege import Proposal, Standing, propose
from limen.governance.needs import without
from limen.governance.uses import collect_uses

GROUPS = ("staff", "hr", "engineers", "contractors", "sre")
PERMITS = {
    "staff-wiki": 'permit(principal in Group::"staff", action, resource in App::"wiki");',
    "hr-pay": 'permit(principal in Group::"hr", action in [Action::"read", Action::"write"], resource in App::"payroll");',  # noqa: E501
    "sre-all": 'permit(principal in Group::"sre", action in Action::"access", resource);',
    "ada-pay": 'permit(principal == User::"ada", action == Action::"read", resource in App::"payroll");',
    "engineers-late": 'permit(principal in Group::"engineers", action, resource in App::"wiki") when { context.hour > 9 };',  # noqa: E501
}
ALLOWS = ("group:staff", "group:contractors", "user:bob")


def make_bundle(permits: list[str], allows: list[str]) -> Bundle:
    listed = "\n".join(f"    - {entry}" for entry in allows)
    allow = f"    allow:\n{listed}\n".replace("    - ", "      - ") if allows else ""
    return parse_bundle(
        {
            "limen.yaml": "domain: corp.example\napps:\n"
            f"  wiki:\n    upstream: http://127.0.0.1:1  # kept\n{allow}"
            "  payroll: {upstream: 'http://127.0.0.1:2', allow: [group:hr, user:bob]}\n",
            "policies/entitlements/all.cedar": "\n\n".join(
                f'// about {name}\n@id("{name}")\n{PERMITS[name]}' for name in permits
            ),
        }
    )


def grant(number: int, principal: EntityRef) -> Grant:
    return Grant(f"g{number}", principal, ("access",), EntityRef("App", "payroll"), NOON + 3_600)


people = st.tuples(st.sampled_from(["ada", "bob", "eve"]), st.lists(st.sampled_from(GROUPS), unique=True))
asked = st.tuples(
    people, st.sampled_from(["read", "write"]), st.sampled_from(["wiki", "payroll"]), st.integers(0, 23)
)


def resource_of(bundle: Bundle, name: str) -> Closure:
    return close_entity(EntityRef("App", name), catalogue_entities(bundle.catalogue).get)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(PERMITS)), unique=True),
    st.lists(st.sampled_from(ALLOWS), unique=True),
    st.lists(asked, max_size=12),
    st.lists(
        st.sampled_from([EntityRef("User", "eve"), EntityRef("Group", "contractors")]),
        max_size=2,
        unique=True,
    ),
)
def test_g1_nobody_loses(
    permits: list[str],
    allows: list[str],
    questions: list[tuple[tuple[str, list[str]], str, str, int]],
    granted: list[EntityRef],
) -> None:
    bundle = make_bundle(permits, allows)
    policies = compile_policies(bundle)
    grants = tuple(grant(number, ref) for number, ref in enumerate(granted))
    memberships: dict[EntityRef, tuple[str, ...]] = {}
    records, used = [], []
    for number, ((name, groups), action, app, hour) in enumerate(questions):
        groups = list(memberships.setdefault(EntityRef("User", name), tuple(groups)))
        subject = person(name, tuple(groups))
        held = tuple(one for one in grants if app == "payroll" and one.principal in subject.ancestors)
        at = NOON - 43_200 + hour * 3_600
        facts = Facts(subject=subject, resource=resource_of(bundle, app), session=session(at), grants=held)
        question = request(facts, action, at)
        decision = decide(question, facts, policies)
        inputs = InputsRecord(f"i{number}", stable_inputs(question, facts, policies))
        records += [inputs, recorded(question, decision, inputs.id)]
        if decision.allowed:
            used.append((question, facts))
    proposal = propose(bundle, collect_uses(records, 0.0), Standing(tuple(memberships.items()), grants), 0.0)
    assert proposal.losers == ()
    check_nobody_loses(proposal, used)


def recorded(question, decision, inputs_id: str) -> DecisionRecord:  # type: ignore[no-untyped-def]
    return DecisionRecord(
        question.id, question.at, "gw", "gateway", decision.verdict.value, decision.code.value,
        decision.bundle,
        inputs_id, question.action, str(question.resource), subject=str(question.subject),
        session=question.session_id, ip="127.0.0.1", policies=decision.policies,
    )  # fmt: skip


def check_nobody_loses(proposal: Proposal, used: list) -> None:  # type: ignore[type-arg]
    candidate = parse_bundle(proposal.files)
    policies = compile_policies(candidate)
    gone = frozenset(f"grant:{one.id}" for one in proposal.unused if one.kind == "grant")
    for question, facts in used:
        left = {
            one.id for one in proposal.unused if one.kind == "membership" and one.who == str(question.subject)
        }
        resource = resource_of(candidate, question.resource.id)
        after = without(msgspec.structs.replace(facts, resource=resource), gone, frozenset(left))
        assert decide(question, after, policies).allowed
    if not used:
        assert not [p for p in candidate.policies if p.layer != "template"], "nothing used, nothing kept"


def test_the_text_of_the_rest_is_left_as_it_was_written() -> None:
    bundle = make_bundle(["staff-wiki", "hr-pay"], ["group:staff", "user:bob"])
    subject = person("ada", ("hr",))
    policies = compile_policies(bundle)
    facts = Facts(subject=subject, resource=resource_of(bundle, "payroll"), session=session(NOON))
    question = request(facts, "read", NOON)
    inputs = InputsRecord("i", stable_inputs(question, facts, policies))
    use = recorded(question, decide(question, facts, policies), "i")
    proposal = propose(bundle, collect_uses([inputs, use], 0.0), Standing(), 0.0)
    text = proposal.files["limen.yaml"]
    assert "# kept" in text
    assert "allow: []" in text
    kept = {policy.id for policy in parse_bundle(proposal.files).policies if policy.layer != "template"}
    assert len(kept) == 1, "either of the two permits would do, and one stays"
    assert proposal.diff.startswith("--- a/limen.yaml")
    assert proposal.losers == ()


def test_a_permit_of_which_only_reading_is_used_is_narrowed_to_reading() -> None:
    bundle = make_bundle(["staff-wiki"], [])
    facts = Facts(
        subject=person("ada", ("staff",)), resource=resource_of(bundle, "wiki"), session=session(NOON)
    )
    question, policies = request(facts, "read", NOON), compile_policies(bundle)
    records = [
        InputsRecord("i", stable_inputs(question, facts, policies)),
        recorded(question, decide(question, facts, policies), "i"),
    ]
    proposal = propose(bundle, collect_uses(records, 0.0), Standing(), 0.0)
    assert 'action in [Action::"read"]' in proposal.files["policies/entitlements/all.cedar"]
    assert ("action", "staff-wiki") in {(one.kind, one.id) for one in proposal.unused}

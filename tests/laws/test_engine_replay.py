"""D5: a decision is derived again from its record and inputs, after both went through the journal's JSON."""

import msgspec
import pytest
from engine_strategies import TIME_FORMS, UNMEMOISABLE, actions, any_facts, instants, policy_texts
from engine_world import NOON, facts, policies, request
from hypothesis import HealthCheck, given, settings

from limen.core.decision import AccessRequest, Decision, Facts
from limen.core.errors import Invalid
from limen.core.record import DecisionRecord, InputsRecord
from limen.engine.decide import decide
from limen.engine.policies import Policies
from limen.engine.replay import agrees, rederive, stable_inputs

MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALL = '@id("all") permit(principal, action, resource);'


def recorded(
    asked: AccessRequest, about: Facts, decision: Decision, compiled: Policies
) -> tuple[DecisionRecord, InputsRecord]:
    record = DecisionRecord(
        id=asked.id,
        at=asked.at,
        node="n1",
        point="gateway",
        verdict=decision.verdict.value,
        code=decision.code.value,
        bundle=decision.bundle,
        inputs="in1",
        action=asked.action,
        resource=str(asked.resource),
        subject=None if asked.subject is None else str(asked.subject),
        ip=about.network.ip,
        policies=decision.policies,
        errors=decision.errors,
        age_s=about.age_s,
    )
    inputs = InputsRecord("in1", stable_inputs(asked, about, compiled))
    return (
        msgspec.json.decode(msgspec.json.encode(record), type=DecisionRecord),
        msgspec.json.decode(msgspec.json.encode(inputs), type=InputsRecord),
    )


@MANY
@given(policy_texts(TIME_FORMS, UNMEMOISABLE), any_facts(), actions(), instants())
def test_d5_every_decision_can_be_derived_again(
    texts: list[str], about: Facts, action: str, at: float
) -> None:
    cedar = "\n".join(texts)
    compiled, asked = policies(cedar), request(about, action, at)
    decision = decide(asked, about, compiled)
    record, inputs = recorded(asked, about, decision, compiled)
    again = rederive(record, inputs, compiled)
    assert again == decision
    assert agrees(record, again)


@MANY
@given(any_facts(), instants())
def test_stable_inputs_do_not_depend_on_instant_address_or_position(about: Facts, at: float) -> None:
    compiled = policies(ALL)
    later = msgspec.structs.replace(
        about, network=msgspec.structs.replace(about.network, ip="198.51.100.9"), age_s=3.0, seq=99
    )
    first = stable_inputs(request(about), about, compiled)
    assert stable_inputs(request(later, at=at), later, compiled) == first
    assert msgspec.json.encode(first) == msgspec.json.encode(stable_inputs(request(about), about, compiled))


def test_stale_and_unknown_subjects_are_derived_again_too() -> None:
    compiled = policies(ALL)
    for about in (facts(age_s=999.0), msgspec.structs.replace(facts(), subject=None)):
        asked = request(facts())
        decision = decide(asked, about, compiled)
        record, inputs = recorded(asked, about, decision, compiled)
        assert agrees(record, rederive(record, inputs, compiled))


def test_a_changed_record_does_not_agree() -> None:
    compiled, about = policies(ALL), facts()
    asked = request(about)
    record, inputs = recorded(asked, about, decide(asked, about, compiled), compiled)
    forged = msgspec.structs.replace(record, verdict="deny", code="FORBIDDEN")
    assert not agrees(forged, rederive(forged, inputs, compiled))


def test_a_decision_that_was_not_enforced_is_compared_by_what_would_have_been() -> None:
    compiled, about = policies(""), facts()
    asked = request(about)
    record, inputs = recorded(asked, about, decide(asked, about, compiled), compiled)
    observed = msgspec.structs.replace(record, verdict="allow", would_be="deny", mode="observe")
    assert agrees(observed, rederive(observed, inputs, compiled))


@pytest.mark.parametrize(
    "change", [{"bundle": "other"}, {"inputs": "other"}, {"subject": 'User::"eve"'}, {"resource": 'App::"x"'}]
)
def test_a_record_with_the_inputs_of_another_is_refused(change: dict[str, str]) -> None:
    compiled, about = policies(ALL), facts()
    asked = request(about, at=NOON)
    record, inputs = recorded(asked, about, decide(asked, about, compiled), compiled)
    with pytest.raises(Invalid):
        rederive(msgspec.structs.replace(record, **change), inputs, compiled)


def test_inputs_that_are_no_facts_are_refused() -> None:
    compiled, about = policies(ALL), facts()
    asked = request(about)
    record, inputs = recorded(asked, about, decide(asked, about, compiled), compiled)
    with pytest.raises(Invalid):
        rederive(record, InputsRecord("in1", {**inputs.facts, "resource": 7}), compiled)

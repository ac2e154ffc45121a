"""Remedies cure, are minimal, bounded and deterministic: on generated policies and facts."""

import msgspec
from engine_strategies import TIME_FORMS, actions, any_facts, policy_texts
from engine_world import policies, request
from hypothesis import HealthCheck, given, settings

from limen.core.decision import Facts
from limen.engine.decide import decide, refusal
from limen.engine.explain import EVALUATIONS_MAX, explain
from limen.engine.remedies import DEVICE_REMEDIES, apply, candidates

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(policy_texts(TIME_FORMS, max_size=5), any_facts(), actions())
def test_each_set_of_remedies_cures_and_no_part_of_it_does(
    texts: list[str], about: Facts, action: str
) -> None:
    compiled, asked = policies("\n".join(texts)), request(about, action)
    if refusal(asked, about) is not None:
        return
    found = explain(asked, about, compiled, below_aal2_hides=False)
    offered = {one.remedy: one for one in candidates(asked, about, compiled.plan(action, about))}
    for remedies in (found.remedies, *found.alternatives) if found.remedies else ():
        cured = apply([offered[remedy] for remedy in remedies], asked, about)
        assert decide(*cured, compiled).allowed
        for remedy in remedies if len(remedies) > 1 else ():
            assert not decide(*apply([offered[remedy]], asked, about), compiled).allowed


@MANY
@given(policy_texts(TIME_FORMS, max_size=5), any_facts(), actions())
def test_an_explanation_is_bounded_and_always_the_same(texts: list[str], about: Facts, action: str) -> None:
    cedar, asked = "\n".join(texts), request(about, action)
    first, second = (explain(asked, about, policies(cedar)) for _ in range(2))
    assert first == second
    assert first.evaluations <= EVALUATIONS_MAX


@MANY
@given(policy_texts(TIME_FORMS, max_size=5), any_facts(), actions())
def test_below_aal2_no_explanation_offers_a_device_remedy(
    texts: list[str], about: Facts, action: str
) -> None:
    if about.session is None:
        return
    weak = msgspec.structs.replace(about, session=msgspec.structs.replace(about.session, aal=1))
    found = explain(request(weak, action), weak, policies("\n".join(texts)))
    for remedies in (found.remedies, *found.alternatives):
        assert DEVICE_REMEDIES.isdisjoint(remedy.id for remedy in remedies)

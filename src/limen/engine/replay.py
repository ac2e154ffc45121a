"""Deriving a recorded decision again, from what was stored.

Law:
    D5 recorded: every decision leaves a record from which it can be derived again.

Stable inputs (entities at their versions, session, device, grants) are stored once; instant, address and
age of the replica stand in the record. Ages of sessions follow from instants, so all records of one
session share their inputs.
"""

from typing import Any

import msgspec

from limen.core.decision import AccessRequest, Decision, Facts, Network
from limen.core.errors import Invalid
from limen.core.ids import DecisionId, EntityRef
from limen.core.record import DecisionRecord, InputsRecord
from limen.engine.decide import decide
from limen.engine.policies import Policies

_IN_THE_RECORD = {"age_s": 0.0, "seq": 0}
"""Fields of `Facts` that differ from request to request: the record has them, or the decision does not."""


def stable_inputs(request: AccessRequest, facts: Facts, policies: Policies) -> dict[str, Any]:
    """Return the facts to store once, JSON-ready. Equal for all requests of a session on a resource."""
    network = msgspec.structs.replace(facts.network, ip="")
    stable = msgspec.structs.replace(facts, network=network, **_IN_THE_RECORD)
    found: dict[str, Any] = msgspec.to_builtins(stable, order="deterministic")
    return found


def rederive(record: DecisionRecord, inputs: InputsRecord, policies: Policies) -> Decision:
    """Derive a recorded decision again.

    Raises:
        Invalid: the inputs or the policies are not those of the record.
    """
    if record.inputs != inputs.id or record.bundle != policies.bundle:
        raise Invalid(
            f"The decision {record.id} was made from other inputs or under another bundle.",
            remedy="Find the inputs and the bundle that the record names.",
        )
    return decide(*restore(record, inputs), policies)


def restore(record: DecisionRecord, inputs: InputsRecord) -> tuple[AccessRequest, Facts]:
    """Return the question of a recorded decision as it was asked.

    Raises:
        Invalid: the inputs cannot be read, or are not about what the record names.
    """
    facts = _facts(record, inputs)
    request = AccessRequest(
        id=DecisionId(record.id),
        at=record.at,
        subject=_subject(record, facts),
        action=record.action,
        resource=_same(record.resource, facts.resource.root),
        session_id=record.session,
        method=record.method,
        host=record.host,
        path=record.path,
        ip=record.ip,
    )
    return request, facts


def agrees(record: DecisionRecord, decision: Decision) -> bool:
    """Say whether a derived decision is the recorded one: verdict, code, policies, errors, bundle.

    In a mode that does not enforce, what would have been is compared.
    """
    return (
        (record.would_be or record.verdict) == decision.verdict
        and record.code == decision.code
        and record.policies == decision.policies
        and record.errors == decision.errors
        and record.bundle == decision.bundle
    )


def _facts(record: DecisionRecord, inputs: InputsRecord) -> Facts:
    try:
        facts = msgspec.convert(inputs.facts, Facts)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"The stored inputs {inputs.id} can not be read: {error}.",
            remedy="Verify the journal: `limen decisions show` needs it whole.",
        ) from None
    network: Network = msgspec.structs.replace(facts.network, ip=record.ip)
    return msgspec.structs.replace(facts, network=network, age_s=record.age_s)


def _subject(record: DecisionRecord, facts: Facts) -> EntityRef | None:
    if record.subject is None:
        return None
    if facts.subject is None:  # a session of someone whom the directory does not know
        return EntityRef("User", record.subject)
    return _same(record.subject, facts.subject.root)


def _same(recorded: str, stored: EntityRef) -> EntityRef:
    """Return the stored reference; the record must name the same.

    Raises:
        Invalid: it names another.
    """
    if recorded != str(stored):
        raise Invalid(
            f"The record names {recorded}, its inputs {stored}.",
            remedy="Verify the journal: a record or its inputs were changed.",
        )
    return stored

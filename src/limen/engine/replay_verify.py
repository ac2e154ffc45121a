"""Comparing a recorded decision with the derived one: which field does not follow, if any."""

from limen.core.decision import Facts
from limen.core.record import DecisionRecord
from limen.engine.replay_cases import Answer
from limen.engine.replay_places import Standing

GATEWAY = "gateway"  # the enforcement point that has modes


def first_mismatch(
    record: DecisionRecord, answer: Answer, standing: Standing, facts: Facts
) -> tuple[str, str, str] | None:
    """Return the first field that is not what follows: its name, as recorded, as derived."""
    derived, side = answer.decision, answer.side
    subject = None if facts.subject is None else str(facts.subject.root)
    pairs = (
        ("subject", record.subject, subject if subject is not None else record.subject),
        ("resource", record.resource, str(facts.resource.root)),
        ("resource", record.resource, str(standing.resource)),
        ("action", record.action, standing.action),
        ("verdict", record.would_be or record.verdict, derived.verdict.value),
        ("code", record.code, derived.code.value),
        ("policies", record.policies, derived.policies),
        ("errors", record.errors, derived.errors),
        ("mode", record.mode, side.mode if record.point == GATEWAY else record.mode),
        ("enforced", record.verdict, side.enforced if record.point == GATEWAY else record.verdict),
    )
    return next(((name, _text(one), _text(other)) for name, one, other in pairs if one != other), None)


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)

"""Whom records are about: each kind of event that the sources name is in the table, or is about nobody."""

import re
from pathlib import Path

import pytest

import limen
from limen.core.record import DecisionRecord, EventRecord, InputsRecord
from limen.journal.owners import ABOUT, decision_owner, event_owners, inputs_owner, person

ADA, GRACE = 'User::"ada"', 'User::"grace"'
NOBODY = frozenset(
    {"signing_key", "secret", "gateway", "bundle", "group", "journal", "shadow", "rollout", "policy", "audit"}
)
"""First words of kinds that are about no person: what they say is the actor's."""

_NOTED = re.compile(r"""(?:\.note\(\s*|kind=|KIND = )"([a-z_]+)\.[a-z_]+""")


def test_every_kind_of_event_is_in_the_table_or_about_nobody() -> None:
    sources = Path(limen.__file__).parent.rglob("*.py")
    named = {word for path in sources for word in _NOTED.findall(path.read_text())}
    assert {"sign_in", "session", "person"} & named
    assert named <= set(ABOUT) | NOBODY


@pytest.mark.parametrize(
    ("kind", "actor", "target", "data", "about", "caused"),
    [
        ("person.changed", "grace", "ada", {}, ADA, GRACE),
        ("person.changed", "limen", "ada", {}, ADA, None),
        ("enrolment.link_made", "host-operator:uid=0", "ada", {}, ADA, None),
        ("sign_in.failed", "nobody", "", {"why": "unknown"}, None, None),
        ("sign_in.failed", "ada", "", {}, ADA, ADA),
        ("sign_in.succeeded", "ada", "ada", {"session": "ses_1"}, ADA, ADA),
        ("session.ended", "grace", "ses_1", {"person": "ada"}, ADA, GRACE),
        ("session.stepped_up", "ada", "ses_1", {"aal": 2}, ADA, ADA),
        ("token.created", "ada", "ses_1", {"app": "wiki"}, ADA, ADA),
        ("stream.ended", "ada", "01", {"cause": "denied"}, ADA, ADA),
        ("streams.end_asked", "grace", "ada", {"user": "ada"}, ADA, GRACE),
        ("streams.end_asked", "grace", 'App::"wiki"', {"resource": 'App::"wiki"'}, None, GRACE),
        ("grant.added", "grace", "g1", {"before": None, "after": {"principal": ADA}}, ADA, GRACE),
        (
            "grant.revoked",
            "grace",
            "g1",
            {"before": {"principal": ["User", "ada"]}, "after": None},
            ADA,
            GRACE,
        ),
        ("grant.added", "grace", "g1", {"after": {"principal": 'Group::"staff"'}}, None, GRACE),
        ("workload.changed", "grace", "ci", {"after": {"owner": "ada"}}, ADA, GRACE),
        ("bundle.applied", "grace", "b1", {}, None, GRACE),
        ("gateway.joined", "gateway:g1", "g1", {}, None, None),
        ("journal.loss", "journal", "x.seg", {}, None, None),
        ("of.tomorrow", "grace", "x", {"person": "ada"}, ADA, GRACE),
    ],
)
def test_whom_an_event_is_about_and_who_caused_it(
    kind: str, actor: str, target: str, data: dict[str, object], about: str | None, caused: str | None
) -> None:
    event = EventRecord("e", 1.0, "control", kind, actor, target=target, data=data)
    assert event_owners(event) == (about, caused)


def test_a_decision_is_about_a_person_or_about_nobody() -> None:
    record = DecisionRecord("d", 1.0, "gw", "gateway", "allow", "PUBLIC", "b", "", "read", 'App::"wiki"')
    assert decision_owner(record) is None
    for subject, owner in ((ADA, ADA), ('Workload::"ci"', None)):
        mine = DecisionRecord(
            "d", 1.0, "gw", "gateway", "allow", "P", "b", "", "read", "App", subject=subject
        )
        assert decision_owner(mine) == owner


def test_inputs_are_those_of_the_subject_or_of_who_answers_for_it() -> None:
    root = {"root": ["User", "ada"], "entities": []}
    assert inputs_owner(InputsRecord("i", {"subject": root})) == ADA
    owner = {"owner": {"__entity": {"type": "User", "id": "grace"}}}
    machine = {"root": ["Workload", "ci"], "entities": [{"ref": ["Workload", "ci"], "attrs": owner}]}
    assert inputs_owner(InputsRecord("i", {"subject": machine})) == GRACE
    for facts in ({}, {"subject": None}, {"subject": {"root": ["Workload", "ci"], "entities": []}}):
        assert inputs_owner(InputsRecord("i", facts)) is None


def test_a_person_is_a_username_or_a_reference() -> None:
    assert person("ada") == person(ADA) == person(["User", "ada"]) == ADA
    for other in ("", "limen", "nobody", "gateway:g1", 'Group::"staff"', ["Group", "staff"], None, 3, [], {}):
        assert person(other) is None

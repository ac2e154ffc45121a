"""The replica: what it holds, what it refuses, and when its closures change."""

import math

import pytest

from limen.administrator.active import ActiveBundle
from limen.administrator.projections import entity_of
from limen.administrator.replica import Replica, Touched, session_facts
from limen.core.catalogue import AppConfig, Catalogue
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GrantFact,
    GroupFact,
    PersonFact,
    Projection,
    SessionFact,
    Snapshot,
    WorkloadFact,
)
from limen.core.entities import Status
from limen.core.errors import BundleRefused, Finding, Invalid
from limen.core.ids import EntityRef
from limen.core.resources import catalogue_entities

WIKI = AppConfig(name="wiki", host="wiki.limen.test", upstream=("http://127.0.0.1:1",), owner="grace")
CATALOGUE = Catalogue(domain="limen.test", apps={"wiki": WIKI})
ADA = EntityRef("User", "ada")


def load(fact: BundleFact) -> ActiveBundle:
    if "broken" in fact.files:
        raise BundleRefused((Finding("limen.yaml", 1, 1, "broken", "Broken.", "Mend it."),))
    return ActiveBundle(fact.bundle_id, CATALOGUE, object(), catalogue_entities(CATALOGUE))  # type: ignore[arg-type]


def person(name: str = "ada", **more: object) -> PersonFact:
    return PersonFact(id=name, name=name.title(), email=f"{name}@limen.test", **more)  # type: ignore[arg-type]


def tx(first: int, *values: tuple[str, str, Projection | None]) -> tuple[Change, ...]:
    last = first + len(values) - 1
    return tuple(
        Change(first + n, last, kind, row_id, value, "test", "test", 1.0)
        for n, (kind, row_id, value) in enumerate(values)
    )


def replica_of(*values: Projection) -> Replica:
    replica = Replica(load)
    replica.apply_snapshot(Snapshot("e1", 10, tuple(enumerate(values, 1))))
    return replica


def test_a_fresh_replica_knows_nobody_and_is_infinitely_old() -> None:
    replica = Replica(load)
    assert (replica.seq, replica.epoch, replica.active) == (-1, "", None)
    assert replica.session("s") is None and replica.closure(ADA) is None
    assert replica.age_s(5.0) == math.inf


def test_a_gap_is_refused_and_changes_nothing() -> None:
    replica = replica_of()
    with pytest.raises(Invalid, match="expected seq 11, got 12"):
        replica.apply(tx(12, ("person", "ada", person())))
    assert replica.seq == 10 and replica.person("ada") is None


def test_half_a_transaction_is_refused_and_changes_nothing() -> None:
    replica = replica_of()
    whole = tx(11, ("person", "ada", person()), ("person", "bob", person("bob")))
    with pytest.raises(Invalid, match="inside transaction 12"):
        replica.apply(whole[:1])
    assert replica.seq == 10 and replica.person("ada") is None


def test_what_was_applied_is_skipped_when_it_comes_again() -> None:
    replica = replica_of()
    changes = tx(11, ("person", "ada", person()))
    replica.apply(changes)
    stamp = replica.stamp
    replica.apply(changes)
    assert (replica.seq, replica.stamp) == (11, stamp)


def test_a_tombstone_removes_the_row() -> None:
    replica = replica_of(SessionFact("s1", "ada", 2, False, ("totp",), 1.0, 1.0, 9.0))
    replica.apply(tx(11, ("session", "s1", None)))
    assert replica.session("s1") is None


def test_a_subject_closure_follows_people_and_nested_groups() -> None:
    replica = replica_of(person(groups=("hr",)), GroupFact("hr", ("staff",)), GroupFact("staff"))
    before = replica.closure(ADA)
    assert before is not None and EntityRef("Group", "staff") in before.ancestors
    assert replica.closure(ADA) is before

    replica.apply(tx(11, ("group", "hr", GroupFact("hr", ()))))
    after = replica.closure(ADA)
    assert after is not None and EntityRef("Group", "staff") not in after.ancestors
    assert after.digest != before.digest


def test_a_group_that_appears_later_is_noticed() -> None:
    replica = replica_of(person(groups=("new",)))
    assert replica.closure(ADA) is not None
    replica.apply(tx(11, ("group", "new", GroupFact("new", ("staff",)))))
    after = replica.closure(ADA)
    assert after is not None and EntityRef("Group", "staff") in after.ancestors


def test_closures_that_a_change_does_not_touch_stay() -> None:
    replica = replica_of(person(), person("bob"))
    before = replica.closure(ADA)
    replica.apply(tx(11, ("person", "bob", person("bob", quarantined=True))))
    assert replica.closure(ADA) is before


def test_status_quarantine_and_expiry_stand_in_the_closure() -> None:
    replica = replica_of(person(status=Status.SUSPENDED, quarantined=True, expires_at=5.0))
    closure = replica.closure(ADA)
    assert closure is not None
    assert (closure.status, closure.quarantined, closure.expires_at) == (Status.SUSPENDED, True, 5.0)


def test_somebody_who_is_not_in_the_directory_has_no_closure() -> None:
    replica = replica_of(person())
    replica.apply(tx(11, ("person", "ada", None)))
    assert replica.closure(ADA) is None


def test_a_resource_closure_follows_the_owner_and_the_bundle() -> None:
    replica = replica_of(BundleFact("active", "b1", {}), person("grace"))
    wiki = replica.closure(WIKI.ref)
    assert wiki is not None and EntityRef("User", "grace") in {e.ref for e in wiki.entities}
    replica.apply(tx(11, ("person", "grace", person("grace", groups=("hr",)))))
    changed = replica.closure(WIKI.ref)
    assert changed is not None and changed.digest != wiki.digest
    replica.apply(tx(12, ("bundle", "active", None)))
    assert replica.closure(WIKI.ref) is None and replica.active is None


def test_a_bundle_that_cannot_be_loaded_leaves_none_in_force() -> None:
    replica = replica_of(BundleFact("active", "b1", {}))
    assert replica.active is not None
    replica.apply(tx(11, ("bundle", "active", BundleFact("active", "b2", {"broken": ""}))))
    assert replica.active is None and isinstance(replica.bundle_error, BundleRefused)


def test_grants_are_found_by_the_subjects_ancestors_and_end_with_time() -> None:
    grant = GrantFact("g1", ("Group", "hr"), ("read",), ("App", "wiki"), 100.0)
    replica = replica_of(BundleFact("active", "b1", {}), person(groups=("hr",)), GroupFact("hr"), grant)
    subject, resource = replica.closure(ADA), replica.closure(WIKI.ref)
    assert subject is not None and resource is not None
    assert [g.id for g in replica.grants(subject, resource, 99.0)] == ["g1"]
    assert replica.grants(subject, resource, 100.0) == ()
    replica.apply(tx(11, ("grant", "g1", None)))
    assert replica.grants(subject, resource, 1.0) == ()


def test_a_grant_that_changes_hands_leaves_the_first_hand() -> None:
    replica = replica_of(
        BundleFact("active", "b1", {}),
        person(),
        person("bob"),
        GrantFact("g1", ("User", "ada"), ("read",), ("App", "wiki"), 100.0),
    )
    replica.apply(
        tx(11, ("grant", "g1", GrantFact("g1", ("User", "bob"), ("read",), ("App", "wiki"), 100.0)))
    )
    facts = replica.facts(ADA, WIKI.ref, at=1.0)
    assert facts is not None and facts.grants == ()


def test_facts_of_an_unknown_resource_are_none_and_of_an_unknown_subject_have_no_closure() -> None:
    replica = replica_of(BundleFact("active", "b1", {}))
    assert replica.facts(ADA, EntityRef("App", "gone"), at=1.0) is None
    facts = replica.facts(ADA, WIKI.ref, at=1.0)
    assert facts is not None and facts.subject is None and facts.seq == 10


def test_watchers_hear_which_kinds_were_touched() -> None:
    replica, heard = replica_of(), []
    replica.subscribe(heard.append)
    replica.apply(tx(11, ("person", "ada", person()), ("group", "hr", GroupFact("hr"))))
    rows = frozenset({("person", "ada"), ("group", "hr")})
    assert heard == [Touched(frozenset({"person", "group"}), rows)]


def test_sessions_share_the_strings_they_repeat() -> None:
    session = SessionFact("s1", "ada", 2, False, ("password", "totp"), 1.0, 1.0, 9.0)
    other = SessionFact("s2", "ada", 2, False, (session.methods[0], session.methods[1]), 1.0, 1.0, 9.0)
    replica = replica_of(session, other, AppSessionFact("h" * 64, "s" + "1", "wiki", 9.0))
    one, two, child = replica.session("s1"), replica.session("s2"), replica.app_session("h" * 64)
    assert one is not None and two is not None and child is not None
    assert one.methods is two.methods and child.parent is one.id
    assert (one, child) == (session, AppSessionFact("h" * 64, "s1", "wiki", 9.0))


def test_entities_have_the_attributes_of_the_schema() -> None:
    attributes = {"clearance": 2, "left_over": "x", "title": 7}
    ada = entity_of(
        7, person(groups=("hr",), attributes=attributes), {"clearance": "Long", "title": "String"}
    )
    assert ada.attrs == {
        "status": "active",
        "kind": "employee",
        "quarantined": False,
        "attributes": {"clearance": 2},
    }
    assert (ada.version, ada.parents) == (7, (EntityRef("Group", "hr"),))
    robot = entity_of(8, WorkloadFact("ci", "ada"), {})
    assert robot.attrs["owner"] == {"__entity": {"type": "User", "id": "ada"}}


def test_session_facts_have_sorted_methods() -> None:
    facts = session_facts(SessionFact("s1", "ada", 2, False, ("totp", "password"), 1.0, 2.0, 9.0))
    assert facts.methods == ("password", "totp") and facts.auth_at == 2.0

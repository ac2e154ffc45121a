"""Laws L1 to L5 of `administrator.ldap_plan`: a model of people here, and any directory."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.administrator.ldap_plan import SyncPlan, plan_sync
from limen.core.entities import Kind, Status
from limen.core.identity_config import LdapConfig
from limen.information.identity.ldap_values import DirectoryPerson, DirectoryRead, Problem
from limen.store.directory.people import Person
from limen.store.sources import Known

CONFIG = LdapConfig("corp", "ldaps://ldap.corp.example:636", "dc=corp", attributes={"department": "ou"})
TYPES = {"department": "String"}
NOW = 1_800_000_000.0
SOURCES = ("ldap:corp", "local", "oidc:corp")

people = st.builds(
    Person,
    id=st.sampled_from([f"p{n}" for n in range(6)]),
    name=st.sampled_from(["Ada", "Bo"]),
    email=st.just("a@corp.example"),
    status=st.sampled_from(list(Status)),
    kind=st.just(Kind.EMPLOYEE),
    quarantined=st.booleans(),
    groups=st.sampled_from([(), ("staff",), ("devs", "staff")]),
    attributes=st.sampled_from([{}, {"department": "x"}, {"clearance": 3}]),
    expires_at=st.sampled_from([None, NOW + 9]),
    created_at=st.just(1.0),
    source=st.sampled_from(SOURCES),
)
entries = st.builds(
    DirectoryPerson,
    subject=st.sampled_from([f"s{n}" for n in range(8)]),
    dn=st.just("uid=x,dc=corp"),
    username=st.sampled_from(["p0", "P1", "new", "new.too", "", "-"]),
    name=st.sampled_from(["Ada", ""]),
    email=st.sampled_from(["a@corp.example", "b@corp.example", "no address"]),
    groups=st.sampled_from([(), ("staff",), ("limen-admins", "devs")]),
    claims=st.sampled_from([{}, {"ou": "y"}, {"ou": ["y", "z"]}]),
    disabled=st.sampled_from(["", "nsaccountlock"]),
    ends_at=st.sampled_from([None, NOW - 1, NOW + 5]),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Known, DirectoryRead]:
    """Return what is here, and what a directory lists."""
    here = {one.id: one for one in draw(st.lists(people, max_size=6))}
    linked = {f"s{n}": one for n, one in enumerate(here.values()) if draw(st.booleans())}
    listed = {one.subject: one for one in draw(st.lists(entries, max_size=8))}
    groups = {one.id: frozenset(one.groups[:1]) for one in linked.values()}
    broken = tuple(
        Problem("x", "y", "z", subject) for subject in draw(st.sets(st.sampled_from(["s0", "s1"])))
    )
    listed = {subject: one for subject, one in listed.items() if subject not in {b.subject for b in broken}}
    return Known(linked, {}, groups, frozenset(here)), DirectoryRead(tuple(listed.values()), problems=broken)


def plan(known: Known, read: DirectoryRead, *, at_most: float = 100) -> SyncPlan:
    """Return the plan, without the safety stop unless it is asked for."""
    return plan_sync(CONFIG, read, known, TYPES, now=NOW, at_most_percent=at_most)


def carry_out(known: Known, made: SyncPlan) -> Known:
    """Return what is here when a plan was carried out, as the store does it."""
    linked, accounts, groups = dict(known.linked), dict(known.accounts), dict(known.groups)
    for one in made.writes:
        fields = dict(one.fields)
        before = one.seen or Person(
            one.person, one.person, "", Status.ACTIVE, one.kind, False, (), {}, None, NOW, CONFIG.source
        )
        fields = {name: value for name, value in fields.items() if value or name != "name"}
        if one.groups is not None:
            kept = set(before.groups) - groups.get(one.person, frozenset())
            given_now = set(one.groups) - kept
            fields["groups"] = tuple(sorted(kept | given_now))
            groups[one.person] = frozenset(given_now)
        linked[one.subject] = msgspec.structs.replace(before, **fields)
        if one.account is not None:
            accounts[one.person] = one.account
    usernames = known.usernames | {one.id for one in linked.values()}
    return Known(linked, accounts, groups, usernames)


@given(situations())
def test_l1_nobody_is_taken_over(situation: tuple[Known, DirectoryRead]) -> None:
    known, read = situation
    made = plan(known, read)
    for one in made.writes:
        if one.new:
            assert one.person not in known.usernames
        else:
            assert known.linked[one.subject].id == one.person
            if known.linked[one.subject].source != CONFIG.source:
                assert not one.fields
        assert not any(name.startswith("limen-") for name in one.groups or ())
    created = [one.person for one in made.writes if one.new]
    assert len(created) == len(set(created))


@given(situations())
def test_l2_never_deleted_and_only_the_directorys_own_suspension_is_lifted(
    situation: tuple[Known, DirectoryRead],
) -> None:
    known, read = situation
    made = plan(known, read)
    listed = {one.subject: one for one in read.people}
    for one in made.writes:
        assert one.fields.get("status") in {None, Status.ACTIVE, Status.SUSPENDED}
        if one.person in made.suspended:
            entry = listed.get(one.subject)
            assert entry is None or entry.disabled
    assert made.released == ()  # nothing here was suspended by the directory
    later = carry_out(known, made)
    back = {
        subject: msgspec.structs.replace(
            listed.get(subject, DirectoryPerson(subject, "uid=x,dc=corp", "p0")), disabled="", ends_at=None
        )
        for subject in (*listed, *known.linked)
    }
    again = plan(later, DirectoryRead(tuple(back.values()), problems=()))
    assert set(again.released) == set(made.suspended)


@given(situations(), st.sampled_from([0, 10, 50, 99]))
def test_l3_safety_stop(situation: tuple[Known, DirectoryRead], percent: float) -> None:
    known, read = situation
    made = plan(known, read, at_most=percent)
    gone, active = len(made.suspended), made.active
    too_many = gone > 1 and gone * 100 > percent * active
    assert bool(made.stop) is bool(gone and (too_many or gone >= active > 1))


@given(situations())
def test_l4_settled(situation: tuple[Known, DirectoryRead]) -> None:
    known, read = situation
    assert plan(carry_out(known, plan(known, read)), read).writes == ()


@given(situations())
def test_l5_kept(situation: tuple[Known, DirectoryRead]) -> None:
    known, read = situation
    unreadable = {one.subject for one in read.problems}
    assert not unreadable & {one.subject for one in plan(known, read).writes}


@pytest.mark.parametrize(
    ("active", "gone", "percent", "stopped"),
    [
        (20, 1, 10, False),
        (20, 2, 10, False),
        (20, 3, 10, True),
        (20, 20, 99, True),
        (20, 20, 100, False),  # said by hand
        (3, 1, 10, False),  # one leaver of several
        (3, 1, 0, False),
        (2, 2, 50, True),
        (1, 1, 10, False),
    ],
)
def test_l3_by_example(active: int, gone: int, percent: float, stopped: bool) -> None:
    here = {
        f"s{n}": Person(
            f"p{n}", "P", "", Status.ACTIVE, Kind.EMPLOYEE, False, (), {}, None, 1.0, source=CONFIG.source
        )
        for n in range(active)
    }
    listed = [DirectoryPerson(f"s{n}", "uid=x", f"p{n}", "P") for n in range(gone, active)]
    known = Known(here, {}, {}, frozenset(one.id for one in here.values()))
    made = plan(known, DirectoryRead(tuple(listed)), at_most=percent)
    assert (len(made.suspended), bool(made.stop)) == (gone, stopped)

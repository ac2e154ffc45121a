"""Laws I1 to I6 of `assurance.identity_report`."""

import random
import re

import msgspec
from cures import runs
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.assurance.identity_facts import (
    DAY_S,
    IdentityFacts,
    PersonFacts,
    ResourceFacts,
    Says,
    SecretFacts,
    WorkloadFacts,
)
from limen.assurance.identity_people import has_mfa, has_phishing_resistant
from limen.assurance.identity_report import assess_identity, measure_coverage

NOW = 1_800_000_000.0
NAMES = [f"p{n}" for n in range(6)]
GROUPS = ["staff", "devs", "limen-admins"]

ages = st.sampled_from([None, NOW, NOW - 40 * DAY_S, NOW - 400 * DAY_S])
people = st.builds(
    PersonFacts,
    id=st.sampled_from(NAMES),
    email=st.sampled_from(["", "a@corp.example", "b@corp.example"]),
    status=st.sampled_from(["active", "active", "suspended", "ended"]),
    kind=st.sampled_from(["employee", "partner"]),
    source=st.sampled_from(["local", "ldap:corp", "scim:gone"]),
    sponsor=st.sampled_from([None, *NAMES]),
    expires_at=st.sampled_from([None, NOW - 1, NOW + 1]),
    created_at=ages,
    signed_in_at=ages,
    uses_known=st.booleans(),
    groups=st.lists(st.sampled_from(GROUPS), unique=True).map(tuple),
    factors=st.one_of(
        st.none(),
        st.lists(st.sampled_from(["password", "totp", "passkey", "recovery"]), unique=True).map(tuple),
    ),
    providers=st.sampled_from([(), ("oidc:corp",)]),
    proven_aal=st.sampled_from([None, 1, 2]),
    proven_phishing_resistant=st.sampled_from([None, False, True]),
    says=st.lists(
        st.builds(Says, st.sampled_from(["ldap:corp", "scim:x"]), st.booleans(), st.just("c@x.example"))
    ).map(tuple),
    given=st.sampled_from([{}, {"devs": "ldap:old", "two words": "ldap:old"}]),
    groups_unknown=st.sampled_from(["", "oidc:corp"]),
    moved_at=ages,
    kept=st.sampled_from([(), ("group devs", 'grant g1 on App::"pay"')]),
)
machines = st.builds(
    WorkloadFacts,
    id=st.sampled_from(["ci", "backup"]),
    owner=st.sampled_from(["", *NAMES]),
    status=st.sampled_from(["active", "ended"]),
    created_at=ages,
    review_at=ages,
    used_at=ages,
    may=st.one_of(st.none(), st.just(('read App::"wiki"', 'write App::"wiki"'))),
    did=st.one_of(st.none(), st.just(('read App::"wiki"',))),
)


@st.composite
def facts(draw: st.DrawFn) -> IdentityFacts:
    """Return any facts."""
    found = {one.id: one for one in draw(st.lists(people, max_size=6))}
    return IdentityFacts(
        at=NOW,
        people=tuple(found.values()),
        sources=draw(st.sampled_from([None, ("ldap:corp",)])),
        parents={"devs": ("staff",), "staff": ("devs",)},
        privileged=("limen-admins",),
        privileged_people=("p1",),
        workloads=draw(st.one_of(st.none(), st.lists(machines, max_size=3).map(tuple))),
        secrets=(SecretFacts("stored secret", "s", "Limen", NOW - 500 * DAY_S, "`limen secret set s`"),),
        resources=(ResourceFacts("pay", draw(st.sampled_from(NAMES))),),
        looked_s=90 * DAY_S,
    )


@settings(max_examples=50)
@given(facts())
def test_i1_cured(given_facts: IdentityFacts) -> None:
    report = assess_identity(given_facts)
    assert all(row.cure and row.what and row.severity in ("high", "medium", "low") for row in report.rows)
    assert all(one.cure and one.what for one in report.unknown)
    for one in report.coverage:
        whole = one.mfa == one.phishing_resistant == one.people
        assert bool(one.cure) is not whole


@settings(max_examples=50)
@given(facts())
def test_i2_adds_up(given_facts: IdentityFacts) -> None:
    active = {
        one.id: one
        for one in given_facts.people
        if one.status == "active" and (one.expires_at is None or one.expires_at > NOW)
    }
    for row in measure_coverage(given_facts):
        members = [
            one
            for one in active.values()
            if not row.group
            or row.group in one.groups
            or (row.group in ("devs", "staff") and {"devs", "staff"} & set(one.groups))
        ]
        assert row.people == len(members)
        assert row.mfa + row.unknown + row.no_mfa == row.people
        assert len(row.without) == row.no_mfa
        assert row.phishing_resistant + row.unknown_resistant + len(row.phishable) == row.people


@settings(max_examples=50)
@given(facts())
def test_i3_unknown_is_no_verdict(given_facts: IdentityFacts) -> None:
    blind = tuple(
        msgspec.structs.replace(one, factors=None, proven_aal=None, proven_phishing_resistant=None)
        for one in given_facts.people
    )
    for row in measure_coverage(msgspec.structs.replace(given_facts, people=blind)):
        assert (row.mfa, row.phishing_resistant, row.without, row.phishable) == (0, 0, (), ())
        assert row.unknown == row.unknown_resistant == row.people


@settings(max_examples=50)
@given(facts(), st.randoms())
def test_i4_order_free(given_facts: IdentityFacts, dice: random.Random) -> None:
    shuffled = list(given_facts.people)
    dice.shuffle(shuffled)
    again = msgspec.structs.replace(given_facts, people=tuple(shuffled))
    assert assess_identity(again) == assess_identity(given_facts)


@settings(max_examples=50)
@given(facts())
def test_i5_the_ended_are_at_rest(given_facts: IdentityFacts) -> None:
    gone = {
        one.id for one in given_facts.people if one.status != "active" or (one.expires_at or NOW + 1) <= NOW
    }
    told = {row.about for row in assess_identity(given_facts).rows}
    assert not told & gone


@settings(max_examples=50)
@given(facts(), st.integers(0, 5))
def test_i6_stronger_is_never_worse(given_facts: IdentityFacts, number: int) -> None:
    stronger = tuple(
        msgspec.structs.replace(one, factors=(*(one.factors or ()), "passkey"))
        if one.id == f"p{number}" and "passkey" not in (one.factors or ())
        else one
        for one in given_facts.people
    )
    before = assess_identity(given_facts)
    after = assess_identity(msgspec.structs.replace(given_facts, people=stronger))
    assert {(row.check, row.about) for row in after.rows} <= {(row.check, row.about) for row in before.rows}
    had = {one.group: one for one in before.coverage}
    for one in after.coverage:
        assert one.mfa >= had[one.group].mfa
        assert one.phishing_resistant >= had[one.group].phishing_resistant


@given(people)
def test_phishing_resistance_is_never_without_a_second_factor(one: PersonFacts) -> None:
    if has_phishing_resistant(one) and not one.proven_phishing_resistant:
        assert has_mfa(one)


@settings(max_examples=40, deadline=None)
@given(facts())
def test_every_cure_is_a_command_that_runs(given_facts: IdentityFacts) -> None:
    report = assess_identity(given_facts)
    cures = [one.cure for one in (*report.rows, *report.unknown, *report.coverage)]
    for command in {found for cure in cures for found in re.findall(r"`limen ([^`]*)`", cure)}:
        assert runs(command), f"limen {command}"


def test_a_cure_that_does_not_run_is_seen() -> None:
    assert not runs("user suspend ada")  # no --reason
    assert not runs("user vanish ada")
    assert not runs("user link ada --hard")

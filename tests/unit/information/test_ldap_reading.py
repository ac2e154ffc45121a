"""Entries of a directory into people and groups: names, nesting, what cannot be taken."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.core.errors import Invalid
from limen.core.identity_config import ClaimRule, LdapConfig, SourceRules
from limen.information.identity.ldap_entries import Entry, resolve, stable_id, wanted_attributes
from limen.information.identity.ldap_names import parse_dn
from limen.information.identity.ldap_values import DirectoryPerson

CONFIG = LdapConfig("corp", "ldaps://ldap.corp.example:636", "dc=corp", stable_id="id")


def entry(dn: str, **values: str | list[str] | bytes) -> Entry:
    """Return an entry as the reader gives it."""
    listed = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    return dn, {
        name: [one if isinstance(one, bytes) else one.encode() for one in found]
        for name, found in listed.items()
    }


def person(uid: str, dn: str = "", **more: str | list[str] | bytes) -> Entry:
    """Return a person's entry."""
    return entry(dn or f"uid={uid},dc=corp", **{"uid": uid, "id": f"id-{uid}", **more})


def group(name: str, *members: str, dn: str = "") -> Entry:
    """Return a group's entry."""
    return entry(dn or f"cn={name},dc=corp", cn=name, member=list(members))


def groups_of(*groups: Entry, config: LdapConfig = CONFIG) -> tuple[str, ...]:
    """Return the groups that ada is in."""
    return resolve(config, [person("ada")], groups).people[0].groups


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=ada,dc=corp", "UID=Ada , DC=corp"),
        (r"cn=Doe\, John,dc=corp", r"cn=Doe\2C John,dc=corp"),
        (r'cn="Doe, John",dc=corp', r"cn=Doe\, John,dc=corp"),
        (r"cn=a\+b+uid=x,dc=corp", r"uid=x+cn=a\2bb,dc=corp"),
        ("cn=Ren\\C3\\A9,dc=corp", "cn=René,dc=corp"),
        (r"cn=a  b,dc=corp", "cn=a b,dc=corp"),
        (r"cn=#x\ ,dc=corp", r"cn=\#x\20,dc=corp"),
    ],
)
def test_one_name_written_in_two_ways_is_one_name(one: str, other: str) -> None:
    assert parse_dn(one) == parse_dn(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"cn=admins\,dc=corp,dc=evil", "cn=admins,dc=corp,dc=evil"),
        (r"cn=a\+uid=x,dc=corp", "cn=a+uid=x,dc=corp"),
        ("uid=ada,dc=corp", "uid=ada,dc=corp,dc=evil"),
        ("uid=ada,dc=corp", "cn=ada,dc=corp"),
    ],
)
def test_two_names_are_never_one(one: str, other: str) -> None:
    assert parse_dn(one) != parse_dn(other)


@pytest.mark.parametrize("text", ["", "ada", "=x", "cn=a\\", 'cn="a', "cn=a,,dc=b", "cn=\\ff", "cn=a,"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_dn(text)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda t: t.strip()), min_size=1, max_size=4))
def test_an_escaped_name_reads_as_its_values(values: list[str]) -> None:
    def escape(value: str) -> str:
        return "".join(f"\\{byte:02x}" for byte in value.encode())

    plain = parse_dn(",".join(f"cn={escape(value)}" for value in values))
    assert len(plain) == len(values)


def test_n1_somebody_is_in_the_groups_around_their_groups() -> None:
    inner, middle, outer = (
        group("inner", "UID=ADA,DC=corp"),
        group("middle", "cn=inner,dc=corp"),
        group("outer", "cn=middle,dc=corp", "cn=outer,dc=corp"),
    )
    assert groups_of(inner, middle, outer, group("other", "uid=bo,dc=corp")) == ("inner", "middle", "outer")


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30), st.integers(0, 7))
def test_n1_closed_whatever_the_nesting(pairs: list[tuple[int, int]], start: int) -> None:
    members: dict[int, list[str]] = {number: [] for number in range(8)}
    for child, parent in pairs:
        members[parent].append(f"cn=g{child},dc=corp")
    members[start].append("uid=ada,dc=corp")
    found = groups_of(*(group(f"g{number}", *listed) for number, listed in members.items()))
    reached = {start}
    while more := {parent for child, parent in pairs if child in reached} - reached:
        reached |= more
    assert found == tuple(sorted(f"g{number}" for number in reached))


def test_n1_by_the_attribute_of_the_members() -> None:
    config = LdapConfig("ad", "", "dc=corp", stable_id="id", member_of="memberOf")
    inner = entry("cn=inner,dc=corp", cn="inner", memberof="cn=outer,dc=corp")
    outer = entry("cn=outer,dc=corp", cn="outer", member="uid=bo,dc=corp")
    ada = person("ada", memberof=["cn=inner,dc=corp", "cn=elsewhere,dc=other"])
    assert resolve(config, [ada], [inner, outer]).people[0].groups == ("inner", "outer")


def test_posix_groups_list_usernames() -> None:
    assert groups_of(entry("cn=devs,dc=corp", cn="devs", memberuid=["ada", "bo"])) == ("devs",)


def test_n2_a_name_of_two_groups_is_nobodys() -> None:
    mine = group("finance", "uid=ada,dc=corp", dn="cn=finance,ou=rogue,dc=corp")
    read = resolve(CONFIG, [person("ada")], [mine, group("finance", "uid=bo,dc=corp")])
    assert read.people[0].groups == ()
    assert "2 groups are called 'finance'" in read.problems[0].why


def test_n2_a_stable_id_of_two_entries_is_nobodys() -> None:
    read = resolve(CONFIG, [person("ada"), person("eve", id="id-ada"), person("bo")], [])
    assert [one.username for one in read.people] == ["bo"]
    assert [one.subject for one in read.problems] == ["id-ada", "id-ada"]


def test_n3_an_entry_without_a_username_is_a_problem_with_its_id() -> None:
    read = resolve(CONFIG, [entry("cn=x,dc=corp", id="id-x"), entry("cn=y,dc=corp", uid="y")], [])
    assert read.people == ()
    assert [(one.about, one.subject) for one in read.problems] == [
        ("cn=x,dc=corp", "id-x"),
        ("cn=y,dc=corp", ""),
    ]


@pytest.mark.parametrize(
    ("mark", "value", "off"),
    [
        ("useraccountcontrol", "514", True),
        ("useraccountcontrol", "512", False),
        ("useraccountcontrol", "rubbish", False),
        ("nsaccountlock", "TRUE", True),
        ("pwdaccountlockedtime", "000001010000Z", True),
        ("pwdaccountlockedtime", "20260101120000Z", False),  # wrong passwords: it passes
    ],
)
def test_marks_of_an_account_that_is_off(mark: str, value: str, off: bool) -> None:
    assert bool(one_person(**{mark: value}).disabled) is off


@pytest.mark.parametrize(
    ("mark", "value", "at"),
    [
        ("accountexpires", "0", None),
        ("accountexpires", str(0x7FFFFFFFFFFFFFFF), None),
        ("accountexpires", "133801632000000000", 1735689600.0),  # 2025-01-01
        ("shadowexpire", "20089", 1735689600.0),
        ("shadowexpire", "-1", None),
    ],
)
def test_when_an_account_expires(mark: str, value: str, at: float | None) -> None:
    assert one_person(**{mark: value}).ends_at == at


def test_stable_ids_are_text() -> None:
    guid = uuid.uuid4()
    assert stable_id("objectGUID", [guid.bytes_le]) == str(guid)
    sid = bytes.fromhex("010500000000000515000000a065cf7e784b9b5fe77c8770091c0100")
    assert stable_id("objectSid", [sid]) == "S-1-5-21-2127521184-1604012920-1887927527-72713"
    assert stable_id("id", [b"\xff\x00"]) == "ff00"
    assert stable_id("id", []) == stable_id("id", [b"a", b"b"]) == stable_id("id", [b""]) == ""


def test_what_rules_and_attributes_read_is_asked_for() -> None:
    rules = SourceRules(rules=(ClaimRule("departmentNumber", group="d-{}"),))
    config = LdapConfig("corp", "", "dc=corp", people=rules, attributes={"office": "l"}, stable_id="id")
    assert {"departmentNumber", "l", "uid", "id"} <= set(wanted_attributes(config)[0])
    read = resolve(config, [person("ada", departmentnumber=["a", "b"], l="Lisbon", other="x")], [])
    assert read.people[0].claims == {"departmentNumber": ["a", "b"], "l": "Lisbon"}


def one_person(**values: str) -> DirectoryPerson:
    """Return somebody whose entry has these values."""
    return resolve(CONFIG, [person("ada", **values)], []).people[0]

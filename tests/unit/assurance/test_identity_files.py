"""Exports of a directory as facts: CSV, LDIF of OpenLDAP and Active Directory, SCIM."""

import base64
import json
import shlex

import pytest

from limen.assurance.identity_facts import DAY_S, PersonFacts
from limen.assurance.identity_files import facts_of, read_csv, read_ldif, read_scim
from limen.assurance.identity_html import render_html
from limen.assurance.identity_people import has_mfa, has_phishing_resistant
from limen.assurance.identity_report import assess_identity
from limen.core.errors import Invalid
from limen.information.identity.ldif import parse_ldif

NOW = 1_800_000_000.0  # 2027-01-15
CSV = """username,Name,email,groups,status,last_sign_in,created,factors,phone
ada,Ada,ada@corp.example,staff; Domain Admins,active,2027-01-14,2020-01-01,password;passkey,1
bo,Bo,bo@corp.example,staff,active,2026-01-01,2020-01-01,password,2
cy,Cy,,staff,suspended,,2020-01-01,,3
di,Di,,staff,active,,2020-01-01,,4
"""
OPENLDAP = """version: 1

# people
dn: uid=ada,ou=people,dc=corp
objectClass: inetOrgPerson
uid: ada
cn:: {name}
mail: ada@corp
 .example
createTimestamp: 20200101000000Z

dn: cn=devs,dc=corp
objectClass: groupOfNames
cn: devs
member: UID=Ada,ou=people,dc=corp
""".format(name=base64.b64encode("Ada Š".encode()).decode())
ACTIVE_DIRECTORY = """dn: CN=Bo,OU=Staff,DC=corp
objectClass: user
sAMAccountName: Bo
userAccountControl: 514
lastLogonTimestamp: 133801632000000000
whenCreated: 20200101000000.0Z

dn: CN=Domain Admins,DC=corp
objectClass: group
cn: Domain Admins
member: CN=Bo,OU=Staff,DC=corp
"""


def test_a_csv_says_who_is_dormant_unused_and_weak() -> None:
    report = assess_identity(facts_of(NOW, read_csv(CSV)))
    found = {(row.check, row.about) for row in report.rows}
    assert found == {("dormant", "bo"), ("never-used", "di"), ("privileged", "ada")}
    everybody = report.coverage[0]
    assert (everybody.people, everybody.mfa, everybody.without) == (3, 1, ("bo", "di"))
    assert report.rows[0].what.startswith("ada is privileged by Domain Admins")


def test_what_an_export_does_not_say_is_not_known() -> None:
    people = read_csv("username\nada\n")
    assert people == (PersonFacts("ada", uses_known=False),)
    report = assess_identity(facts_of(NOW, people))
    assert report.rows == ()
    assert len(report.unknown) == 7
    assert (report.coverage[0].mfa, report.coverage[0].unknown) == (0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column username"),
        ("name\nada\n", "no column username"),
        ("username,created\nada,soon\n", "line 2"),
    ],
)
def test_a_csv_that_cannot_be_read_says_where(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_csv(text)


def test_an_ldif_of_openldap() -> None:
    assert read_ldif(OPENLDAP) == (
        PersonFacts(
            "ada",
            "Ada Š",
            "ada@corp.example",
            source="ldap:export",
            created_at=1577836800.0,
            uses_known=False,
            groups=("devs",),
        ),
    )


def test_an_ldif_of_active_directory() -> None:
    (bo,) = read_ldif(ACTIVE_DIRECTORY)
    assert (bo.id, bo.status, bo.groups) == ("bo", "suspended", ("Domain Admins",))
    assert (bo.signed_in_at, bo.created_at, bo.uses_known) == (1735689600.0, 1577836800.0, True)


@pytest.mark.parametrize(
    "text", ["", "uid: ada\n", "dn: x\nbroken\n", "dn: x\na:: §\n", "dn: x\na:< file:///etc/passwd\n"]
)
def test_an_ldif_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_ldif(text)
    assert not any("passwd" in str(one) for one in list(parse_ldif("dn: y\nb: c\n")))


@pytest.mark.parametrize("wrap", ["list", "response", "lines"])
def test_what_a_scim_service_lists(wrap: str) -> None:
    users = [
        {
            "userName": "ada",
            "displayName": "Ada",
            "active": "False",
            "emails": [{"value": "b@x.example"}, {"value": "a@x.example", "primary": True}],
            "groups": [{"value": "1", "display": "staff"}, {"value": "2"}],
            "meta": {"created": "2020-01-01T00:00:00Z"},
        },
        {"userName": "bo"},
    ]
    texts = {
        "list": json.dumps(users),
        "response": json.dumps({"Resources": users}),
        "lines": "\n".join(json.dumps(one) for one in users),
    }
    ada, bo = read_scim(texts[wrap])
    assert (ada.status, ada.email, ada.groups) == ("suspended", "a@x.example", ("2", "staff"))
    assert ada.created_at == 1577836800.0
    assert bo == PersonFacts("bo", source="scim:export", uses_known=False)
    for text in ("", "{", "[]", '{"Resources": 3}', '[{"userName": 3}]'):
        with pytest.raises(Invalid):
            read_scim(text)


def test_the_page_shows_hostile_names_as_text() -> None:
    hostile = PersonFacts("<script>alert(1)</script>", signed_in_at=NOW - 400 * DAY_S, groups=("<b>admins",))
    page = render_html(assess_identity(facts_of(NOW, [hostile])))
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_twenty_thousand_people_are_assessed() -> None:
    rows = "".join(f"p{n},staff;g{n % 200},2026-01-01,password\n" for n in range(20_000))
    report = assess_identity(facts_of(NOW, read_csv(f"username,groups,last_sign_in,factors\n{rows}")))
    assert report.counts["dormant"] == report.coverage[0].no_mfa == 20_000
    assert len(report.coverage) == 202


@pytest.mark.parametrize(
    ("person", "mfa", "resistant"),
    [
        (PersonFacts("a"), None, None),
        (PersonFacts("a", factors=()), False, False),
        (PersonFacts("a", factors=("password",)), False, False),
        (
            PersonFacts("a", factors=("password", "recovery")),
            False,
            False,
        ),  # a recovery code is no factor to live on
        (PersonFacts("a", factors=("password", "totp")), True, False),
        (PersonFacts("a", factors=("totp",)), False, False),
        (PersonFacts("a", factors=("passkey",)), True, True),
        (PersonFacts("a", factors=("hardware-key",)), True, True),
        (PersonFacts("a", factors=(), providers=("oidc:x",)), None, None),
        (PersonFacts("a", factors=("totp",), providers=("oidc:x",)), True, None),
        (PersonFacts("a", factors=(), providers=("oidc:x",), proven_aal=1), False, False),
        (PersonFacts("a", factors=(), providers=("oidc:x",), proven_aal=2), True, False),
        (
            PersonFacts("a", factors=(), providers=("oidc:x",), proven_aal=2, proven_phishing_resistant=True),
            True,
            True,
        ),
    ],
)
def test_what_factors_are_worth(person: PersonFacts, mfa: bool | None, resistant: bool | None) -> None:
    assert (has_mfa(person), has_phishing_resistant(person)) == (mfa, resistant)


def test_a_hostile_name_is_one_word_of_the_command_that_cures() -> None:
    hostile = PersonFacts("x; rm -rf ~", signed_in_at=NOW - 400 * DAY_S)
    (row,) = assess_identity(facts_of(NOW, [hostile])).rows
    assert shlex.split(row.cure.split("`")[1])[3] == hostile.id

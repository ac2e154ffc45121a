"""`oidc:` of `limen.yaml`: what is read, and what is said of what cannot be."""

from typing import Any

import pytest
import yaml

from limen.core.catalogue import Catalogue
from limen.core.entities import Kind
from limen.core.identity_config import AssuranceRule, ClaimRule
from limen.engine.limen_yaml import parse_limen_yaml

CORP: dict[str, Any] = {"issuer": "https://idp.corp.example", "client_id": "limen"}


def _parse(**changes: Any) -> tuple[Catalogue | None, list[str]]:
    document = {"domain": "corp.example", "oidc": {"corp": {**CORP, **changes}}}
    return _parse_all(document)


def _parse_all(document: dict[str, Any]) -> tuple[Catalogue | None, list[str]]:
    found = parse_limen_yaml(yaml.safe_dump(document), {})
    catalogue = getattr(found, "catalogue", None)
    return catalogue, [finding.message for finding in found.findings]


def test_a_provider_with_everything() -> None:
    catalogue, findings = _parse(
        auth="private_key_jwt",
        title="Corp",
        trust_email=True,
        amr={"hwk": {"aal": 3, "phishing_resistant": True}},
        acr={"gold": {"aal": 2}},
        step_up={"second-factor": "gold", "passkey": ["phrh", "phr"]},
        groups_endpoint="https://graph.corp.example/v1.0/me/memberOf?$select=id",
        groups_field="displayName",
        groups_from="endpoint",
        kind="contractor",
        sponsor="ada",
        expires="90d",
        domains=["Corp.Example", "corp.test"],
        group_prefix="corp/",
        rules=[
            {"claim": "roles", "matches": "eng-*", "group": "engineers"},
            {"claim": "dept", "attribute": "department"},
        ],
    )
    assert findings == [] and catalogue is not None
    (corp,) = catalogue.oidc
    assert (corp.auth, corp.title, corp.trust_email) == ("private_key_jwt", "Corp", True)
    assert corp.amr == {"hwk": AssuranceRule(3, phishing_resistant=True)} and corp.acr == {
        "gold": AssuranceRule(2)
    }
    assert corp.step_up == {"second-factor": ("gold",), "passkey": ("phrh", "phr")}
    people = corp.people
    assert (people.kind, people.sponsor, people.expires_s) == (Kind.CONTRACTOR, "ada", 90 * 86_400.0)
    assert people.domains == ("corp.example", "corp.test") and people.groups_from == "endpoint"
    assert people.rules == (
        ClaimRule("roles", "eng-*", group="engineers"),
        ClaimRule("dept", attribute="department"),
    )


def test_a_provider_with_nothing_more_is_as_it_was() -> None:
    catalogue, findings = _parse()
    assert findings == [] and catalogue is not None
    (corp,) = catalogue.oidc
    assert (corp.auth, corp.amr, corp.people.create, corp.people.kind) == ("none", None, True, Kind.EMPLOYEE)
    catalogue, findings = _parse(client_secret="corp-oidc")
    assert catalogue is not None and catalogue.oidc[0].auth == "secret"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "partner", "sponsor": "ada", "group_prefix": "p/"}, "would stay without end"),
        ({"kind": "partner", "group_prefix": "p/"}, "Nobody answers for people of kind partner"),
        ({"kind": "partner", "sponsor": "ada"}, "could name any group of yours"),
        ({"auth": "secret"}, "no secret to prove Limen with"),
        ({"auth": "none", "client_secret": "s"}, "uses no secret"),
        ({"auth": "private_key_jwt", "client_secret": "s"}, "uses no secret"),
        ({"groups_from": "endpoint"}, "No endpoint is named"),
        ({"groups_from": "somewhere"}, "groups_from"),
        ({"groups_from": "scim:okta"}, "There is no source `scim:okta`"),
        ({"link": {"source": "ldap:hq", "claim": "oid"}}, "There is no source `ldap:hq`"),
        ({"link": {"source": "oidc:x", "claim": "oid"}}, "source"),
        ({"groups_endpoint": "http://graph.corp.example"}, "groups_endpoint"),
        ({"groups_endpoint": "https://user@graph.corp.example"}, "groups_endpoint"),
        ({"rules": [{"claim": "r"}]}, "A rule gives a group or an attribute"),
        (
            {"rules": [{"claim": "r", "group": "a", "attribute": "title"}]},
            "A rule gives a group or an attribute",
        ),
        ({"rules": [{"claim": "r", "group": "limen-admins"}]}, "No source gives groups named limen-"),
        ({"rules": [{"claim": "r", "attribute": "titel"}]}, "There is no attribute `titel`"),
        ({"amr": {"mfa": {"aal": 4}}}, "aal"),
        ({"acr": {"x": {}}}, "aal"),
        ({"step_up": {"coffee": "x"}}, "coffee"),
        ({"scopes": ["profile"]}, "lacks openid"),
        ({"sponsor": "Ada Lovelace"}, "sponsor"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], said: str) -> None:
    _, findings = _parse(**changes)
    assert any(said in message for message in findings), findings


def test_a_long_name_and_a_domain_of_two_are_said() -> None:
    _, findings = _parse_all({"domain": "corp.example", "oidc": {"x" * 49: CORP}})
    assert any("too long" in message for message in findings)
    both = {name: {**CORP, "domains": ["corp.example"]} for name in ("a", "b")}
    _, findings = _parse_all({"domain": "corp.example", "oidc": both})
    assert any("has the domain corp.example already" in message for message in findings)

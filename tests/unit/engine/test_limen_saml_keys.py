"""`saml:` of limen.yaml, and clients that speak SAML."""

import pytest
import saml_forger as forger

from limen.core.errors import Finding
from limen.core.identity_config import AssuranceRule
from limen.engine.limen_yaml import parse_limen_yaml

HEAD = "domain: corp.example\n"
PROVIDER = "saml:\n  corp:\n    metadata: corp.xml\n"
CLIENT = "clients:\n  crm:\n    saml:\n      metadata: crm.xml\n"
GOOD = {"corp.xml": forger.idp_metadata(forger.party()), "crm.xml": forger.sp_metadata()}


def corp(old: str, new: str) -> str:
    """Return the provider's metadata with a change."""
    return GOOD["corp.xml"].replace(old, new)


def findings(text: str, **changed: str) -> list[Finding]:
    files = {**GOOD, **{f"{name}.xml": value for name, value in changed.items()}}
    named = {name: value for name, value in files.items() if name in text}
    return list(parse_limen_yaml(HEAD + text, named).findings)


def test_a_provider_is_read_with_its_metadata_and_its_table_of_contexts() -> None:
    text = PROVIDER + (
        "    title: Corp\n    subject: uid\n    groups: memberOf\n    create: false\n    contexts:\n"
        "      https://refeds.org/profile/mfa: {aal: 2}\n"
        "      urn:x:card: {aal: 3, phishing_resistant: true}\n"
    )
    reading = parse_limen_yaml(HEAD + text, GOOD)
    assert reading.catalogue is not None
    (config,) = reading.catalogue.sources.saml
    assert (config.name, config.title, config.subject, config.groups) == ("corp", "Corp", "uid", "memberOf")
    assert config.contexts is not None and config.contexts["urn:x:card"] == AssuranceRule(3, True)
    assert not config.people.create


def test_a_client_is_read_with_its_metadata_and_what_it_is_told() -> None:
    text = (
        CLIENT
        + "      name_id: email\n      attributes: {urn:oid:2.5.4.11: department}\n      session: 10m\n"
    )
    reading = parse_limen_yaml(HEAD + text, GOOD)
    assert reading.catalogue is not None
    saml = reading.catalogue.clients["crm"].saml
    assert saml is not None
    assert (saml.name_id, dict(saml.attributes), saml.session_s) == (
        "email",
        {"urn:oid:2.5.4.11": "department"},
        600.0,
    )


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("<x/>", "0 of an identity provider"),
        (GOOD["crm.xml"], "0 of an identity provider"),
        (corp("2.0:protocol", "1.1:protocol"), "0 of"),
        (corp("https://idp.example/sso", "http://idp.example/sso"), "is not an https:// one"),
        (corp("https://idp.example/sso", "javascript:alert(1)//x"), "is not an https:// one"),
        (corp('use="signing"', 'use="encryption"'), "no certificate to sign with"),
        (corp(forger.party().body, "AAAA"), "certificates cannot be read"),
        (corp("HTTP-Redirect", "SOAP"), "no SingleSignOnService"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + GOOD["corp.xml"][21:], "document type"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_used_is_said_at_its_place(metadata: str, said: str) -> None:
    (finding,) = findings(PROVIDER, corp=metadata)
    assert said in finding.message
    assert (finding.file, finding.line) == ("limen.yaml", 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLIENT + "      attributes: {mail: adress}\n", "no field or attribute `adress`"),
        (CLIENT + "      session: 5s\n", "too short or too long"),
        (CLIENT + "      name_id: nickname\n", "username or email or persistent"),
        (CLIENT + "  erp:\n    saml:\n      metadata: crm.xml\n", "same entityID"),
        ("saml:\n  corp: {title: Corp}\n", "metadata"),
        ("saml:\n  corp:\n    metadata: crop.xml\n", "no file `crop.xml`"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert any(said in finding.message for finding in findings(text))


def test_signed_requests_need_a_key_to_check_them_with() -> None:
    (finding,) = findings(CLIENT, crm=forger.sp_metadata(signed=True))
    assert "no certificate to check them with" in finding.message

"""`machines:` of `limen.yaml`: what it may say, and what is refused with a cure."""

import base64
import json
from typing import Any

import pytest

from limen.core.errors import BundleRefused
from limen.core.identity_config import MachineConfig
from limen.engine.bundle import parse_bundle

DER = base64.b64encode(b"d" * 100).decode()
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ISSUER = {"issuer": "https://ci.example", "audience": "https://auth.d.test"}
RULE = {"ci": {"sub": "repo:acme/*:ref:refs/heads/main"}}
SPIFFE = {"bundle": "ca.pem", "workloads": {"billing": "spiffe://prod.example/billing"}}


def read(machines: Any, **files: str) -> MachineConfig:
    text = json.dumps({"domain": "d.test", "machines": machines})  # which is YAML
    named = {name.replace("_", "."): content for name, content in files.items()}
    return parse_bundle({"limen.yaml": text, **named}).catalogue.sources.machines


def refusal(machines: Any, **files: str) -> str:
    with pytest.raises(BundleRefused) as refused:
        read(machines, **files)
    return str([finding.message for finding in refused.value.findings])


def test_nothing_said_is_keys_alone() -> None:
    assert read({}) == MachineConfig()
    assert MachineConfig().secrets == () and MachineConfig().port is None


def test_all_of_it_is_read() -> None:
    found = read(
        {
            "port": 9443,
            "access": "15m",
            "review": "90d",
            "owner_grace": "3d",
            "secrets": ["legacy"],
            "issuers": {"ci": {**ISSUER, "jwks": "keys.json", "workloads": RULE}},
            "spiffe": {"prod.example": SPIFFE},
        },
        ca_pem=PEM,
        keys_json='{"keys": [{"kty": "EC"}]}',
    )
    assert (found.port, found.access_s, found.review_s, found.grace_s) == (9443, 900, 7_776_000, 259_200)
    assert found.secrets == ("legacy",) and found.spiffe[0].bundle_pem == PEM
    assert found.issuers[0].workloads == RULE and found.issuers[0].jwks is not None


def test_a_spiffe_bundle_in_json_is_taken_for_its_x509_authorities() -> None:
    keys = [{"use": "jwt-svid", "kid": "a"}, {"use": "x509-svid", "x5c": [DER]}]
    text = json.dumps({"keys": keys, "spiffe_sequence": 1})
    found = read({"port": 1, "spiffe": {"prod.example": {**SPIFFE, "bundle": "td.json"}}}, td_json=text)
    assert found.spiffe[0].bundle_pem.count("BEGIN CERTIFICATE") == 1
    assert DER[:64] in found.spiffe[0].bundle_pem


@pytest.mark.parametrize(
    ("machines", "says"),
    [
        ({"spiffe": {"prod.example": SPIFFE}}, "needs `port`"),
        ({"access": "1s"}, "too short"),
        ({"access": "1d"}, "too short or too long"),
        ({"review": "500d"}, "more than a year"),
        ({"port": 70_000}, "port"),
        ({"secrets": ["Not A Name"]}, "secrets"),
        ({"issuers": {"ci": {**ISSUER, "workloads": {"ci": {"sub": "**"}}}}}, "anybody"),
        ({"issuers": {"ci": {**ISSUER, "workloads": {"ci": {}}}}}, "anybody"),
        (
            {"issuers": {"a": {**ISSUER, "workloads": RULE}, "b": {**ISSUER, "workloads": RULE}}},
            "same issuer",
        ),
        ({"issuers": {"ci": {"issuer": "http://ci.example", "audience": "x", "workloads": RULE}}}, "issuer"),
        ({"issuers": {"ci": {"issuer": "https://ci.example", "workloads": RULE}}}, "audience"),
        ({"issuers": {"ci": {**ISSUER, "jwks": "bad.json", "workloads": RULE}}}, "no JWK Set"),
        (
            {"port": 1, "spiffe": {"other.example": SPIFFE}},
            "It is not of `other.example`",
        ),
        (
            {
                "port": 1,
                "spiffe": {
                    "prod.example": {
                        "bundle": "ca.pem",
                        "workloads": {"a": "spiffe://prod.example/x", "b": "spiffe://prod.example/x"},
                    }
                },
            },
            "Two workloads have one",
        ),
        ({"port": 1, "spiffe": {"prod.example": {**SPIFFE, "bundle": "bad.json"}}}, "no X.509"),
        ({"port": 1, "spiffe": {"Prod.Example": SPIFFE}}, "cannot be used"),
        (
            {"port": 1, "spiffe": {"prod.example": {**SPIFFE, "workloads": {"a": "spiffe://prod.example"}}}},
            "SPIFFE ID",
        ),
    ],
)
def test_what_opens_too_much_or_leads_nowhere_is_refused(machines: Any, says: str) -> None:
    assert says in refusal(machines, ca_pem=PEM, bad_json="{}")

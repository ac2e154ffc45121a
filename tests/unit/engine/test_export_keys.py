"""`exports:` of `limen.yaml`: sinks, and what is wrong with them."""

import jsonschema
import pytest
import yaml

from limen.core.catalogue import ExportConfig
from limen.core.errors import BundleRefused, Finding
from limen.engine.bundle import parse_bundle
from limen.engine.json_schema import json_schema

PEM = "-----BEGIN CERTIFICATE-----\n"
GOOD = """
domain: corp.example
exports:
  siem: {kind: syslog, url: "SIEM.corp.example:6514", ca: ca.pem, classes: [decisions], pseudonyms: p}
  lake: {kind: https, url: "https://lake.corp.example/in?index=limen", format: jsonl, secret: lake-token}
  otel: {kind: otlp, url: "https://otel.corp.example:4318/v1/logs"}
"""


def refused(entry: str) -> tuple[Finding, ...]:
    with pytest.raises(BundleRefused) as found:
        parse_bundle({"limen.yaml": f"domain: corp.example\nexports:\n  siem: {entry}\n", "ca.pem": PEM})
    return found.value.findings


def test_sinks_are_read_with_safe_defaults() -> None:
    exports = parse_bundle({"limen.yaml": GOOD, "ca.pem": PEM}).catalogue.exports
    assert exports["siem"] == ExportConfig(
        "siem",
        "syslog",
        "siem.corp.example:6514",
        classes=("decisions",),
        pseudonyms="p",
        ca_pem=PEM,
    )
    assert exports["lake"] == ExportConfig(
        "lake", "https", "https://lake.corp.example/in?index=limen", format="jsonl", secret="lake-token"
    )
    assert (exports["otel"].format, exports["otel"].classes) == ("ocsf", ("decisions", "events"))


def test_the_json_schema_takes_them() -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(GOOD))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{kind: https, url: 'http://lake.corp.example/in'}", "TLS alone"),
        ("{kind: https, url: 'https://ada:pw@lake.corp.example'}", "stored secret"),
        ("{kind: https, url: 'https://lake.corp.example/in\\r\\nx'}", ""),
        ("{kind: https, url: 'lake.corp.example:443'}", "https:// address"),
        ("{kind: syslog, url: 'https://siem.corp.example'}", "host:port"),
        ("{kind: syslog, url: 'siem.corp.example'}", "port"),
        ("{kind: syslog, url: 'h:1', secret: token}", "Remove"),
        ("{kind: kafka, url: 'h:1'}", ""),
        ("{kind: syslog, url: 'h:1', ca: other.pem}", ""),
        ("{kind: syslog, url: 'h:1', classes: [inputs]}", ""),
        ("{url: 'h:1'}", "Add `kind:`"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(entry: str, says: str) -> None:
    (finding, *_) = refused(entry)
    assert says in finding.remedy
    assert finding.line == 3

"""Generated pages and the published JSON Schema are current, and agree with the parser."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

from pathlib import Path

import jsonschema
import pytest
import yaml

from limen.core.errors import BundleRefused
from limen.engine.bundle import parse_bundle
from limen.engine.json_schema import json_schema
from limen.engine.reference import PAGES
from limen.engine.starter import starter_files

ROOT = Path(__file__).parents[3]

SCHEMA = json_schema()


@pytest.mark.parametrize("path", sorted(PAGES), ids=str)
def test_a_generated_page_is_current(path: Path) -> None:
    written = (ROOT / path).read_text("utf-8")
    assert written == PAGES[path](), "run: python -m limen.engine.reference"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def schema_accepts(text: str) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text))


def parser_accepts(text: str) -> bool:
    try:
        parse_bundle({"limen.yaml": text, "ca.pem": "-----BEGIN CERTIFICATE-----"})
    except BundleRefused:
        return False
    return True


GOOD = [
    starter_files("corp.example")["limen.yaml"],
    "domain: d.example\napps: {a: {upstream: 'http://h:1'}}\nsegments: {p: {in: q}, r: }\n",
    "domain: d.example\napps: {a: {upstream: ['https://h', 'https://i'], max_body_bytes: 3 GiB, identity: {basic: {user: u, secret: s}}, upstream_tls: {ca: ca.pem}, routes: [{name: n, path: /x/*, methods: [GET]}]}}\n",
    "domain: d.example\nstreams: {max_s: 60}\nservices: {db: {address: 'h:1', protocol: ssh, allow: group:dba}, e: {address: '[::1]:22'}}\napps: {a: {upstream: 'http://h:1', upgrades: [], http2: true, streams: {idle_s: 5}, routes: [{name: n, path: /x, streaming: true}]}}\n",
    "domain: d.example\noidc: {idp: {issuer: 'https://id.example', client_id: c, groups_claim: roles}}\nsessions: {max_s: 3600, idle_s: 600}\n",
    "domain: d.example\njournal: {on_full: buffer, buffer: 64MB, sync: true, keep: {decisions: 90d}, bytes_max: 20GB, compact: false, witness: /mnt/w}\npolicy: {guardrails: approved}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', mode: observe, routes: [{name: n, path: /x, mode: {stage: warn, owner: sam, until: '2026-12-31', sign_in: optional, groups: {pilots: enforce, old: {stage: observe}}}}]}}\nservices: {db: {address: 'h:1', mode: {stage: warn}}}\n",
]
BAD = [
    "apps: {}\n",
    "domain: d.example\nserices: {}\n",
    "domain: d.example\napps: {Wiki: {upstream: 'http://h:1'}}\n",
    "domain: d.example\napps: {a: {upstream: ftp://h}}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', mode: {until: 2026-12-31}}}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', mode: {stage: warn, until: soon}}}\n",
    "domain: d.example\nservices: {db: {address: 'h:1', mode: {stage: warn, sign_in: optional}}}\n",
    "domain: d.example\njournal: {on_full: wait}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', timeout_s: 0}}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', allow: [staff]}}\n",
    "domain: d.example\napps: {a: {upstream: 'http://h:1', routes: [{name: n, path: x}]}}\n",
    "domain: d.example\nsessions: {max_s: 1}\n",
    "domain: d.example\nservices: {db: {}}\n",
    "domain: d.example\nservices: {db: {address: h}}\n",
    "domain: d.example\nservices: {db: {address: 'tcp://h:1'}}\n",
    "domain: d.example\nservices: {db: {address: 'h:1', protocol: TCP}}\n",
    "domain: d.example\nstreams: {per_session: 0}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_schema_and_parser_accept_alike(text: str) -> None:
    assert parser_accepts(text)
    assert schema_accepts(text)


@pytest.mark.parametrize("text", BAD)
def test_schema_and_parser_refuse_alike(text: str) -> None:
    assert not parser_accepts(text)
    assert not schema_accepts(text)

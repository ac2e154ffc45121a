"""limen.yaml and bundle files: what is read, and what is refused with which words, where."""

# ruff: noqa: E501 (a policy or a test reads better on one line)

import pytest

from limen.core.catalogue import IdentityConfig, ServiceConfig, StreamLimits, UpstreamTls
from limen.core.errors import BundleRefused, Finding
from limen.engine.bundle import Bundle, bundle_id, parse_bundle
from limen.engine.bundle_tests import run_tests

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

PAGE = """\
domain: corp.example              # apps at <name>.corp.example
timezone: Europe/Lisbon
edge: {trusted_proxies: [10.1.0.0/16], proxy_protocol: false}
attributes: {clearance: Long}
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    allow: [group:staff]
  payroll:
    upstream: [https://pay1.internal:8443, https://pay2.internal:8443]
    host: pay.other.example
    upstream_tls: {ca: internal-ca.pem, name: payroll.internal}
    owner: hr-lead
    labels: [phi]
    mode: enforce
    identity: assertion
    upstream_host: preserve
    timeout_s: 60
    max_body_bytes: 50MB
    staleness_max_s: 30
    paths: {allow: [encoded_slash]}
    cors: {origins: [https://wiki.corp.example]}
    routes:
      - {name: exports, path: /exports/**, action: admin}
      - {name: events,  path: /events, streaming: true}
      - {name: health,  path: /healthz, public: true}
services:
  ledger-db: {address: "db1.internal:5432", protocol: postgres, segment: prod-data, owner: dba}
  bastion:   {address: "10.0.0.5:22", protocol: ssh, segment: prod}
segments:
  prod-data: {in: prod}
"""

SENTENCES = """\
- name: HR opens payroll from a compliant laptop with a passkey
  subject: {groups: [hr]}
  action: read
  resource: payroll
  context: {phishing_resistant: true, device: {compliant: true}}
  expect: allow
- name: nobody opens payroll from a phone that is not ours
  subject: {groups: [hr]}
  action: read
  resource: payroll
  context: {phishing_resistant: true}
  expect: deny
  because: [phi]
  cure: [compliant-device]
"""

GUARDRAILS = """\
@id("mfa-everywhere") @reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
@id("phi") @reason("Health data opens only from a compliant device and with a passkey.")
forbid(principal, action, resource in Label::"phi")
unless { context has session && context.session.phishing_resistant && context has device && context.device.compliant };
@id("fresh-auth-admin")
forbid(principal is User, action == Action::"admin", resource)
unless { context has session && context.session.auth_age <= duration("15m") };
"""

ENTITLEMENTS = '@id("hr") permit(principal in Group::"hr", action, resource in App::"payroll");\n'

DESIGN = {
    "limen.yaml": PAGE,
    "policies/guardrails/all.cedar": GUARDRAILS,
    "policies/entitlements/hr.cedar": ENTITLEMENTS,
    "tests/payroll.yaml": SENTENCES,
    "internal-ca.pem": CERTIFICATE,
}


def refusals(text: str, **others: str) -> tuple[Finding, ...]:
    with pytest.raises(BundleRefused) as refused:
        parse_bundle({"limen.yaml": text, **others})
    return refused.value.findings


def parsed(text: str, **others: str) -> Bundle:
    return parse_bundle({"limen.yaml": text, **others})


def with_app(line: str) -> str:
    return f"domain: corp.example\napps:\n  wiki:\n    upstream: http://127.0.0.1:1\n    {line}\n"


def test_the_design_page_parses() -> None:
    bundle = parse_bundle(DESIGN)
    payroll = bundle.catalogue.apps["payroll"]
    assert bundle.catalogue.auth_host == "auth.corp.example"
    assert bundle.catalogue.apps["wiki"].host == "wiki.corp.example"
    assert payroll.host == "pay.other.example"
    assert payroll.upstream == ("https://pay1.internal:8443", "https://pay2.internal:8443")
    assert payroll.upstream_tls == UpstreamTls(CERTIFICATE, "payroll.internal")
    assert payroll.max_body_bytes == 50_000_000
    assert payroll.allow_encoded_slash
    assert payroll.cors is not None
    assert payroll.cors.origins == ("https://wiki.corp.example",)
    assert [(r.name, r.action, r.public) for r in payroll.routes] == [
        ("exports", "admin", False),
        ("events", None, False),
        ("health", None, True),
    ]
    assert [route.name for route in payroll.routes if route.streaming] == ["events"]
    assert bundle.catalogue.services == {
        "ledger-db": ServiceConfig(
            "ledger-db",
            "ledger-db.corp.example",
            "db1.internal",
            5432,
            "postgres",
            owner="dba",
            segment="prod-data",
        ),
        "bastion": ServiceConfig("bastion", "bastion.corp.example", "10.0.0.5", 22, "ssh", segment="prod"),
    }
    assert bundle.catalogue.segments == {"prod-data": "prod", "prod": None}
    assert "clearance?: Long" in bundle.cedar_schema
    assert [policy.id for policy in bundle.policies] == [
        "hr",
        "mfa-everywhere",
        "phi",
        "fresh-auth-admin",
        "allow:wiki:group:staff",
    ]
    assert [(test.expect, test.because, test.cure) for test in bundle.tests] == [
        ("allow", None, None),
        ("deny", ("phi",), ("compliant-device",)),
    ]


def test_the_design_page_s_later_keys_are_refused_by_name_and_nothing_else_is() -> None:
    page = PAGE.replace("mode: enforce", "mode: warn").replace("owner: dba", "mode: observe")
    parse_bundle({**DESIGN, "limen.yaml": page})
    with pytest.raises(BundleRefused) as refused:
        parse_bundle({**DESIGN, "limen.yaml": page + "agents: {}\n"})
    found = [(finding.id, finding.line) for finding in refused.value.findings]
    assert found == [("later-capability", 32)]


@pytest.mark.parametrize("key", ["console", "agents", "signals", "acme"])
def test_keys_of_later_capabilities_are_refused_by_name(key: str) -> None:
    [finding] = refusals(f"domain: corp.example\n{key}: {{}}\n")
    assert (finding.id, finding.line, finding.column) == ("later-capability", 2, 1)
    assert f"`{key}`" in finding.message


def test_the_smallest_bundle_has_safe_defaults() -> None:
    app = parsed(with_app("allow: [group:staff]")).catalogue.apps["wiki"]
    assert app.identity == IdentityConfig("assertion")
    assert app.staleness_max_s == 300
    assert app.preserve_host
    assert not app.allow_encoded_slash
    assert app.cors is None


def test_labelled_apps_are_stale_sooner() -> None:
    assert parsed(with_app("labels: [phi]")).catalogue.apps["wiki"].staleness_max_s == 30
    routes = "routes: [{name: a, path: /a, labels: [phi]}]"
    assert parsed(with_app(routes)).catalogue.apps["wiki"].staleness_max_s == 30


def with_service(keys: str) -> str:
    return f"domain: corp.example\nservices:\n  db: {{{keys}}}\n"


WRONG = [
    ("domain: corp.example\ntimezon: UTC\n", "unknown-key", 2, 1, "Did you mean `timezone`?"),
    ("domain: corp.example\ndomain: b.example\n", "duplicate-key", 2, 1, "Keep one"),
    ("timezone: UTC\n", "missing-key", 1, 1, "Add `domain:`"),
    ("domain: 10.0.0.1\n", "value", 1, 9, "name"),
    ("domain: https://corp.example\n", "value", 1, 9, "no scheme"),
    ("domain: corp.example\ntimezone: Europe/Lisbonn\n", "value", 2, 11, "time zone"),
    ("domain: corp.example\napps: [wiki]\n", "value", 2, 7, "Correct"),
    ("domain: [\n", "yaml-syntax", 2, 1, "brackets"),
    ("domain: &a x.example\ntimezone: *a\n", "yaml-unsupported", 2, 11, "plainly"),
    ("domain: corp.example\n---\ndomain: b\n", "yaml-unsupported", 2, 1, "plainly"),
    ("", "missing-key", 1, 1, "Start with"),
    (with_app("upstreem: x"), "unknown-key", 5, 5, "Did you mean `upstream`?"),
    ("domain: corp.example\nmode: warn\n", "unknown-key", 2, 1, "Say it of an app"),
    (with_app("mode: enforced"), "value", 5, 11, "Did you mean `enforce`?"),
    (with_app("timeout_s: 0"), "value", 5, 16, "out of bounds"),
    (with_app("timeout_s: soon"), "value", 5, 16, "Correct"),
    (with_app("timeout_s:"), "value", 5, 15, "Give it a number"),
    (with_app("max_body_bytes: 50XB"), "value", 5, 21, "Correct"),
    (with_app("allow: [staff]"), "value", 5, 13, "group:staff"),
    (with_app("allow: [group:a, group:a]"), "value", 5, 22, "Remove one"),
    (with_app("host: auth.corp.example"), "value", 5, 11, "another host"),
    (with_app("cors: {origins: ['*']}"), "value", 5, 22, "named"),
    (with_app("cors: {origins: [https://a.example/]}"), "value", 5, 22, "no slash"),
    (with_app("trusts: [wikki]"), "value", 5, 14, "Did you mean `wiki`?"),
    (with_app("segment: prod"), "value", 5, 14, "Declare it"),
    (with_app("identity: {}"), "value", 5, 5, "Keep the one"),
    (with_app("identity: {headers: {user: Cookie}}"), "value", 5, 32, "meaning of its own"),
    (with_app("identity: {headers: {user: X-Limen-User}}"), "value", 5, 32, "meaning of its own"),
    (with_app("identity: {headers: {user: Remote_User}}"), "value", 5, 32, "dropped"),
    (with_app("identity: {basic: {user: 'a:b', secret: s}}"), "value", 5, 30, "Remove"),
    (with_app("upstream_tls: {name: a.internal}"), "value", 5, 5, "https://"),
    (with_app("routes: [{name: a, path: a}]"), "value", 5, 30, "starts with"),
    (with_app("routes: [{name: a, path: /a//b}]"), "value", 5, 30, "never reach"),
    (with_app("routes: [{name: a, path: /a/../b}]"), "value", 5, 30, "never reach"),
    (with_app("routes: [{name: a, path: /**/b}]"), "value", 5, 30, "only at the end"),
    (with_app("routes: [{name: a, path: /a*}]"), "value", 5, 30, "whole segment"),
    (with_app("routes: [{name: a, path: /%2e}]"), "value", 5, 30, "decoded"),
    (with_app("routes: [{name: a, path: /a, methods: [get]}]"), "value", 5, 44, "Correct"),
    (with_app("routes: [{name: a, path: /a, streaming: 1}]"), "value", 5, 45, "Correct"),
    (
        with_app("routes: [{name: a, path: /a, websocket: true}]"),
        "unknown-key",
        5,
        34,
        "upgrades: [websocket]",
    ),
    (with_app("streaming: true"), "unknown-key", 5, 5, "Mark the routes"),
    (with_app("upgrades: [h2c]"), "value", 5, 16, "http2: true"),
    (with_app("upgrades: [HTTP/2.0]"), "value", 5, 16, "http2: true"),
    (with_app("upgrades: [CONNECT-UDP]"), "value", 5, 16, "services"),
    (with_app("upgrades: ['a, b']"), "value", 5, 16, "RFC 9110"),
    (with_app("upgrades: [websocket, WebSocket]"), "value", 5, 27, "Remove one"),
    (with_app("http2: yes"), "value", 5, 12, "Correct"),
    (with_app("streams: {per_session: 0}"), "value", 5, 28, "out of bounds"),
    (with_app("streams: {idle: 5}"), "unknown-key", 5, 15, "Did you mean `idle_s`?"),
    (with_app("streams: {idle_s: 50_000}"), "value", 5, 23, "Correct"),
    (with_app("streams: {idle_s: 60000}"), "value", 5, 23, "whole life"),
    ("domain: d.example\nstreams: {max_s: 60, idle_s: 61}\n", "value", 2, 30, "whole life"),
    (with_service("adress: h:1"), "missing-key", 3, 3, "Add `address:`"),
    (with_service("address: db1.internal"), "value", 3, 17, "Say the port"),
    (with_service("address: 'db1.internal:0'"), "value", 3, 17, "1 to 65535"),
    (with_service("address: 'db1.internal:65536'"), "value", 3, 17, "65535"),
    (with_service("address: 'tcp://db1.internal:1'"), "value", 3, 17, "without a scheme"),
    (with_service("address: 'fe80::1:22'"), "value", 3, 17, "brackets"),
    (with_service("address: '[fe80::1%eth0]:22'"), "value", 3, 17, "without a zone"),
    (with_service("address: 'u@h:22'"), "value", 3, 17, "Leave out user"),
    (with_service("address: 'h:1', protocol: PostgreSQL"), "value", 3, 34, "Correct"),
    (with_service("address: 'h:1', port: 5"), "unknown-key", 3, 24, "behind the address"),
    (with_service("upstream: 'h:1', address: 'h:1'"), "unknown-key", 3, 8, "web apps"),
    (with_service("address: 'h:1', allow: [dba]"), "value", 3, 32, "group:staff"),
    (
        with_service("address: 'h:1', segment: prd") + "segments: {prod: }\n",
        "value",
        3,
        33,
        "Did you mean `prod`?",
    ),
]


@pytest.mark.parametrize(("text", "finding_id", "line", "column", "remedy"), WRONG)
def test_an_error_says_where_and_what_to_do(
    text: str, finding_id: str, line: int, column: int, remedy: str
) -> None:
    found = refusals(text)
    assert (found[0].id, found[0].line, found[0].column) == (finding_id, line, column)
    assert remedy in found[0].remedy


@pytest.mark.parametrize("name", ["auth", "limen", "Wiki", "wi_ki", "-a", "a" * 64, "a.b"])
def test_app_names_are_free_dns_labels(name: str) -> None:
    [finding] = refusals(f"domain: corp.example\napps:\n  {name}: {{upstream: 'http://h:1'}}\n")
    assert (finding.id, finding.line, finding.column) == ("name", 3, 3)


def test_two_apps_do_not_share_a_host() -> None:
    text = "domain: d.example\napps:\n  a: {upstream: 'http://h:1'}\n  b: {upstream: 'http://h:1', host: A.d.example}\n"
    [finding] = refusals(text)
    assert "same host" in finding.message
    assert finding.line == 4


@pytest.mark.parametrize("name", ["auth", "limen", "Db", "d_b", "-a", "a.b"])
def test_service_names_are_free_dns_labels(name: str) -> None:
    [finding] = refusals(f"domain: corp.example\nservices:\n  {name}: {{address: 'h:1'}}\n")
    assert (finding.id, finding.line, finding.column) == ("name", 3, 3)


def test_a_service_has_neither_the_name_nor_the_host_of_an_app() -> None:
    services = "services:\n  wiki: {address: 'h:1'}\n  db: {address: 'h:1'}\n"
    [name, host] = refusals(with_app("host: db.corp.example") + services)
    assert (name.line, name.column) == (7, 3)
    assert "named `wiki`" in name.message
    assert (host.line, host.column) == (8, 3)
    assert "same host db.corp.example" in host.message


def test_a_service_s_address_is_split_and_its_defaults_are_those_of_apps() -> None:
    text = "domain: d.example\nservices:\n  a: {address: '[2001:DB8::1]:22', labels: [phi]}\n  b: {address: 'Db1.Internal:5432'}\n"
    one, other = parsed(text).catalogue.services.values()
    assert (one.address, one.port, one.protocol, one.staleness_max_s) == ("2001:db8::1", 22, "tcp", 30)
    assert (other.address, other.port, other.host, other.staleness_max_s) == (
        "db1.internal",
        5432,
        "b.d.example",
        300,
    )
    assert other.streams == StreamLimits()


def test_limits_on_streams_are_the_organisation_s_unless_a_resource_has_its_own() -> None:
    text = (
        with_app("streams: {per_session: 7}") + "services: {db: {address: 'h:1', streams: {max_s: 3600}}}\n"
    )
    found = parsed(text + "streams: {per_subject: 9, max_s: 7200, idle_s: 60}\n").catalogue
    assert found.apps["wiki"].streams == StreamLimits(7, 9, 10_000, 60.0, 7200.0)
    assert found.services["db"].streams == StreamLimits(100, 9, 10_000, 60.0, 3600.0)


def test_what_an_app_may_be_upgraded_to_is_websocket_unless_it_says_otherwise() -> None:
    assert parsed(with_app("http2: true")).catalogue.apps["wiki"].upgrades == ("websocket",)
    assert parsed(with_app("upgrades: []")).catalogue.apps["wiki"].upgrades == ()
    assert parsed(with_app("upgrades: [SPDY/3.1]")).catalogue.apps["wiki"].upgrades == ("spdy/3.1",)
    assert parsed(with_app("http2: true")).catalogue.apps["wiki"].http2
    assert not parsed(with_app("upgrades: []")).catalogue.apps["wiki"].http2


def test_allow_on_a_service_is_a_permit_to_connect() -> None:
    [policy] = parsed(with_service("address: 'h:1', allow: [group:dba]")).policies
    assert (policy.id, policy.layer, policy.line, policy.column) == ("allow:db:group:dba", "sugar", 3, 32)
    assert policy.reason == "Members of dba may connect to db."
    assert policy.cedar.endswith(
        'principal in Group::"dba",\n  action == Action::"connect",\n  resource == Service::"db"\n);'
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("{name: x, path: /a/*}", "{name: y, path: /*/b}", True),
        ("{name: x, path: /a/*}", "{name: y, path: /b/*}", False),
        ("{name: x, path: /a/**}", "{name: y, path: /a/*}", False),
        ("{name: x, path: /a, methods: [GET]}", "{name: y, path: /a, methods: [POST]}", False),
        ("{name: x, path: /a, methods: [GET]}", "{name: y, path: /a, methods: [GET, POST]}", True),
        ("{name: x, path: /a, methods: [GET]}", "{name: y, path: /a}", False),
    ],
)
def test_equally_specific_routes_that_meet_are_an_error(one: str, other: str, equal: bool) -> None:
    text = with_app(f"routes: [{one}, {other}]")
    if equal:
        assert [finding.id for finding in refusals(text)] == ["equal-routes"]
    else:
        assert len(parsed(text).catalogue.apps["wiki"].routes) == 2


def test_segments_do_not_run_in_a_circle() -> None:
    [finding] = refusals("domain: d.example\nsegments:\n  a: {in: b}\n  b: {in: a}\n")
    assert "circle" in finding.message


def test_every_error_is_told_at_once() -> None:
    found = refusals(
        "domain: d.example\nzone: UTC\napps:\n  a: {upstream: ftp://x, timeout_s: -1}\n",
        **{
            "policies/a.cedar": "permit(principal, action, resource);\nforbid(",
            "tests/a.yaml": "- name: x\n",
        },
    )
    assert {finding.file for finding in found} == {"limen.yaml", "policies/a.cedar", "tests/a.yaml"}
    assert len(found) >= 6


def test_a_preset_names_the_headers() -> None:
    text = with_app("identity: {headers: {preset: authelia, name: X-Name}}")
    identity = parsed(text).catalogue.apps["wiki"].identity
    assert identity.kind == "headers"
    assert identity.headers["user"] == "Remote-User"
    assert identity.headers["name"] == "X-Name"


def test_upstreams_get_their_port() -> None:
    text = "domain: d.example\napps:\n  a: {upstream: ['https://h', 'https://[::1]:8443/']}\n"
    assert parsed(text).catalogue.apps["a"].upstream == ("https://h:443", "https://[::1]:8443")


def test_certificates_come_from_the_bundle_and_keys_do_not() -> None:
    text = with_app("upstream_tls: {ca: ca.pem}").replace("http:", "https:")
    assert "no file" in refusals(text)[0].message
    assert (
        "private key" in refusals(text, **{"ca.pem": CERTIFICATE + "-----BEGIN PRIVATE KEY-----"})[0].message
    )
    assert parsed(text, **{"ca.pem": CERTIFICATE}).catalogue.apps["wiki"].upstream_tls is not None


def test_yaml_1_1_surprises_are_text() -> None:
    bundle = parsed("domain: corp.example\napps:\n  no: {upstream: 'http://h:1'}\n")
    assert list(bundle.catalogue.apps) == ["no"]


@pytest.mark.parametrize(
    "path", ["a.cedar", "policies/x.ceder", "tests/x.json", "limen.yml", "policies/../../x.cedar"]
)
def test_a_file_that_looks_like_policy_and_would_not_be_read_is_an_error(path: str) -> None:
    found = refusals("domain: corp.example\n", **{path: ""})
    assert found[0].file == path


def test_readmes_may_lie_about() -> None:
    assert parsed("domain: corp.example\n", **{"README.md": "x", "policies/README.md": "y"}).policies == ()


def test_a_bundle_without_limen_yaml_is_refused() -> None:
    with pytest.raises(BundleRefused) as refused:
        parse_bundle({"policies/a.cedar": ""})
    assert refused.value.findings[0].id == "missing-file"


def test_the_id_ignores_line_ends_and_files_that_are_not_read() -> None:
    one = parse_bundle(DESIGN)
    windows = {path: "\ufeff" + text.replace("\n", "\r\n") for path, text in DESIGN.items()}
    other = parse_bundle({**windows, "README.md": "x", "unused.pem": CERTIFICATE})
    assert one.id == other.id
    assert len(one.id) == 64
    assert parse_bundle(one.files).id == one.id


def test_the_id_tells_content_from_names() -> None:
    assert bundle_id({"a": "b", "c": ""}) != bundle_id({"a": "", "c": "b"})
    assert bundle_id({"ab": "c"}) != bundle_id({"a": "bc"})


def test_the_design_page_s_sentences_hold() -> None:
    results = run_tests(parse_bundle(DESIGN))
    assert [(result.name, result.why) for result in results if not result.passed] == []
    assert len(results) == 2
